# SPDX-License-Identifier: MIT
"""Extended attributes: any bytes up to the kernel's limits, create and replace kept apart."""

import errno
import os

import pytest

from tests.mounted import syscalls
from tests.mounted.harness import ON_HOST, is_root

CACHES = ("through", "kernel")


@pytest.fixture
def file(workdir):
    path = workdir / "file"
    path.touch()
    return path


def refused(number):
    return pytest.raises(OSError, check=lambda error: error.errno == number)


def test_values_are_any_bytes_and_survive_a_remount(file, shared_volume):
    values = {
        "user.empty": b"",
        "user.binary": bytes(range(256)),
        "user.ünïcode": b"\0\0",
        "user." + "n" * 250: b"long name",
    }
    for name, value in values.items():
        os.setxattr(file, name, value)
    shared_volume.remount()
    assert {n: os.getxattr(file, n) for n in os.listxattr(file) if n in values} == values


def test_create_and_replace_are_kept_apart(file):
    with refused(errno.ENODATA):
        os.setxattr(file, "user.x", b"1", os.XATTR_REPLACE)
    os.setxattr(file, "user.x", b"1", os.XATTR_CREATE)
    with refused(errno.EEXIST):
        os.setxattr(file, "user.x", b"2", os.XATTR_CREATE)
    assert os.getxattr(file, "user.x") == b"1"
    os.setxattr(file, "user.x", b"3", os.XATTR_REPLACE)
    assert os.getxattr(file, "user.x") == b"3"
    os.removexattr(file, "user.x")
    for call in (os.getxattr, os.removexattr):
        with refused(errno.ENODATA):
            call(file, "user.x")


def test_short_buffers_are_told_the_size(file):
    os.setxattr(file, "user.x", b"12345")
    assert syscalls.getxattr_into(file, "user.x", 0) == 5
    assert syscalls.getxattr_into(file, "user.x", 5) == 5
    with refused(errno.ERANGE):
        syscalls.getxattr_into(file, "user.x", 4)
    assert syscalls.listxattr_size(file) >= len("user.x\0")


@pytest.mark.skipif(ON_HOST, reason="ext4 keeps a few KiB only")
def test_a_value_of_64_kib_is_kept_and_a_larger_one_refused(file, shared_volume):
    value = bytes(range(256)) * 256
    os.setxattr(file, "user.big", value)
    shared_volume.remount()
    assert os.getxattr(file, "user.big") == value
    with refused(errno.E2BIG):
        os.setxattr(file, "user.big", value + b"x")
    assert os.getxattr(file, "user.big") == value


def test_names_beyond_255_bytes_are_refused(file):
    with refused(errno.ERANGE):
        os.setxattr(file, "user." + "n" * 251, b"")


def test_an_unknown_namespace_is_refused(file):
    for name in ("plain", "nospace.x"):
        with refused(errno.EOPNOTSUPP):
            os.setxattr(file, name, b"")


def test_symlinks_and_fifos_carry_no_user_attributes(workdir):
    os.symlink("nowhere", workdir / "link")
    os.mkfifo(workdir / "fifo")
    for name in ("link", "fifo"):
        with refused(errno.EPERM):
            os.setxattr(workdir / name, "user.x", b"", follow_symlinks=False)


@pytest.mark.skipif(not is_root(), reason="trusted.* needs root")
def test_trusted_attributes_are_roots(file, workdir):
    os.setxattr(file, "trusted.x", b"1")
    os.symlink("nowhere", workdir / "link")
    os.setxattr(workdir / "link", "trusted.y", b"2", follow_symlinks=False)
    assert os.getxattr(workdir / "link", "trusted.y", follow_symlinks=False) == b"2"
    assert "trusted.x" in os.listxattr(file)


def test_many_attributes_on_one_file(file):
    names = [f"user.number{i}" for i in range(20 if ON_HOST else 500)]
    for name in names:
        os.setxattr(file, name, name.encode())
    assert sorted(n for n in os.listxattr(file) if "number" in n) == sorted(names)
    for name in names[::2]:
        os.removexattr(file, name)
    assert sorted(n for n in os.listxattr(file) if "number" in n) == sorted(names[1::2])


def test_attributes_go_with_the_inode_not_with_the_name(file, workdir):
    os.setxattr(file, "user.x", b"1")
    os.link(file, workdir / "second")
    file.unlink()
    assert os.getxattr(workdir / "second", "user.x") == b"1"
    (workdir / "second").unlink()
    file.touch()
    assert [n for n in os.listxattr(file) if n == "user.x"] == []
