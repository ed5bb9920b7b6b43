# SPDX-License-Identifier: MIT
"""Names are bytes: any but / and NUL, up to 255 of them; targets are stored as they come."""

import errno
import os

import pytest


def test_every_byte_can_stand_in_a_name(workdir, shared_volume):
    root = os.fsencode(workdir)
    allowed = [bytes([b]) for b in range(1, 256) if b not in b"/."]
    # Alone, and at both ends of a longer name.
    names = allowed + [b + b" middle " + b for b in allowed]
    for name in names:
        with open(os.path.join(root, name), "wb") as file:
            file.write(name)
    for _ in range(2):
        assert sorted(os.listdir(root)) == sorted(names)
        for name in names:
            with open(os.path.join(root, name), "rb") as file:
                assert file.read() == name
        shared_volume.remount()


@pytest.mark.parametrize("name", [b"x" * 255, b"\xff" * 255, "ü".encode() * 127])
def test_names_of_255_bytes_work_everywhere(name, workdir):
    path = os.path.join(os.fsencode(workdir), name)
    os.mkdir(path)
    inner = os.path.join(path, name)
    with open(inner, "wb") as file:
        file.write(b"x")
    os.link(inner, os.path.join(path, name[:-1] + b"2"))
    os.rename(inner, os.path.join(path, name[:-1] + b"3"))
    assert sorted(os.listdir(path)) == sorted([name[:-1] + b"2", name[:-1] + b"3"])


@pytest.mark.parametrize("call", ["open", "mkdir", "symlink", "link", "rename", "stat"])
def test_names_of_256_bytes_are_refused(call, workdir):
    long = workdir / ("x" * 256)
    short = workdir / "short"
    short.touch()
    calls = {
        "open": lambda: os.open(long, os.O_CREAT),
        "mkdir": lambda: os.mkdir(long),
        "symlink": lambda: os.symlink("x", long),
        "link": lambda: os.link(short, long),
        "rename": lambda: os.rename(short, long),
        "stat": lambda: os.stat(long),
    }
    with pytest.raises(OSError) as caught:
        calls[call]()
    assert caught.value.errno == errno.ENAMETOOLONG


def test_names_that_look_alike_are_different(workdir):
    names = ["a", "A", "ä", "a\u0308", " a", "a ", "a\n", "-a", "a.", "...", "~"]
    for name in names:
        (workdir / name).write_text(repr(name))
    assert sorted(os.listdir(workdir)) == sorted(names)
    for name in names:
        assert (workdir / name).read_text() == repr(name)


def test_targets_of_symlinks_are_kept_verbatim_and_not_followed(workdir, shared_volume):
    targets = [b"x", b"/etc/passwd", b"\xff\xfe", b"..", b"y" * 4095]
    links = {os.path.join(os.fsencode(workdir), b"link%d" % i): t for i, t in enumerate(targets)}
    for link, target in links.items():
        os.symlink(target, link)
    shared_volume.remount()
    for link, target in links.items():
        assert os.readlink(link) == target
        assert os.lstat(link).st_size == len(target)


def test_paths_as_deep_as_the_kernel_takes_them(workdir):
    fd = os.open(workdir, os.O_RDONLY)
    for _ in range(60):  # 60 x 200 bytes: deeper than PATH_MAX, step by step
        os.mkdir("d" * 200, dir_fd=fd)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("file", os.O_CREAT, dir_fd=fd))
    assert os.listdir(fd) == ["file"]
    os.close(fd)
