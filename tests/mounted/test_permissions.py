# SPDX-License-Identifier: MIT
"""Ownership, set-group-id directories and the clearing of suid and sgid, as POSIX has them."""

import os
import stat
import subprocess
import sys

import pytest

from tests.mounted import syscalls
from tests.mounted.harness import is_root

NOBODY = 65534
VOLUME = {"options": ("allow_other",)}
CACHES = ("through", "kernel")
pytestmark = pytest.mark.skipif(not is_root(), reason="changes user ids: needs root")


def as_user(directory, code, uid=NOBODY, gid=NOBODY, groups=()):
    """Run Python *code* in *directory* as another user; its last line is the answer.

    The ids change late: the interpreter and the directory's parents may be private.
    """
    become = (
        f"os.setgroups({list(groups)})\nos.setresgid({gid}, {gid}, {gid})\n"
        f"os.setresuid({uid}, {uid}, {uid})"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import os, errno, mmap\n{become}\n{code}"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_dir(workdir):
    """A directory in which everybody may do everything."""
    workdir.chmod(0o777)
    return workdir


def test_a_new_file_belongs_to_its_maker(open_dir):
    as_user(
        open_dir,
        """
os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o640))
os.mkdir("dir", 0o750)
os.symlink("x", "link")
os.mkfifo("fifo")
""",
        gid=1234,
    )
    for name in ("file", "dir", "link", "fifo"):
        status = os.lstat(open_dir / name)
        assert (status.st_uid, status.st_gid) == (NOBODY, 1234), name


def test_umask_is_applied(open_dir):
    as_user(open_dir, "os.umask(0o027)\nos.close(os.open('f', os.O_CREAT, 0o777))\nos.mkdir('d')")
    assert mode_of(open_dir / "f") == 0o750
    assert mode_of(open_dir / "d") == 0o750


def test_a_setgid_directory_hands_its_group_on(open_dir):
    os.chown(open_dir, 0, 4321)
    open_dir.chmod(0o2777)
    as_user(
        open_dir,
        """
os.close(os.open('f', os.O_CREAT, 0o644))
os.mkdir('d')
os.mkdir('d/e')
os.symlink('x', 'l')
""",
    )
    for name in ("f", "d", "d/e", "l"):
        assert os.lstat(open_dir / name).st_gid == 4321, name
    assert mode_of(open_dir / "d") & stat.S_ISGID
    assert mode_of(open_dir / "d/e") & stat.S_ISGID
    assert not mode_of(open_dir / "f") & stat.S_ISGID


def test_sgid_is_not_given_to_a_file_of_a_group_one_is_not_in(open_dir):
    os.chown(open_dir, 0, 4321)
    open_dir.chmod(0o2777)
    as_user(open_dir, "os.close(os.open('f', os.O_CREAT, 0o2775))")
    assert mode_of(open_dir / "f") == 0o755


def test_chmod_by_somebody_outside_the_group_drops_sgid(open_dir):
    path = open_dir / "f"
    path.touch()
    os.chown(path, NOBODY, 4321)
    as_user(open_dir, "os.chmod('f', 0o2755)")
    assert mode_of(path) == 0o755
    os.chown(path, NOBODY, NOBODY)
    as_user(open_dir, "os.chmod('f', 0o2755)")
    assert mode_of(path) == 0o2755


WRITES = {
    "write": "fd = os.open('f', os.O_WRONLY); os.write(fd, b'y')",
    "append": "fd = os.open('f', os.O_WRONLY | os.O_APPEND); os.write(fd, b'y')",
    "truncate": "os.truncate('f', 1)",
    "truncate_up": "os.truncate('f', 9000)",
    "open_trunc": "os.open('f', os.O_WRONLY | os.O_TRUNC)",
    "direct": "os.pwrite(os.open('f', os.O_WRONLY | os.O_DIRECT), mmap.mmap(-1, 4096), 0)",
    "chown": "os.chown('f', -1, os.getgid())",
}


@pytest.mark.parametrize("how", WRITES)
def test_suid_and_sgid_are_cleared_by_an_ordinary_users_change(how, open_dir):
    path = open_dir / "f"
    path.write_bytes(b"x" * 5000)
    os.chown(path, NOBODY, NOBODY)
    path.chmod(0o6777)
    path.stat()  # the kernel has the old mode at hand
    as_user(open_dir, WRITES[how])
    assert mode_of(path) == 0o777


@pytest.mark.parametrize("how", ["write", "truncate", "direct"])
def test_sgid_without_group_execute_is_kept(how, open_dir):
    """There it means something else: mandatory locking, long ago."""
    path = open_dir / "f"
    path.write_bytes(b"x" * 5000)
    os.chown(path, NOBODY, NOBODY)
    path.chmod(0o6767)
    as_user(open_dir, WRITES[how])
    assert mode_of(path) == 0o2767


def test_root_keeps_suid_when_it_writes_and_loses_it_when_it_changes_the_owner(workdir):
    path = workdir / "f"
    path.write_bytes(b"x")
    path.chmod(0o6755)
    path.write_bytes(b"yy")
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
    syscalls.direct_write(fd, bytes(4096), 0)
    os.close(fd)
    assert mode_of(path) == 0o6755
    os.chown(path, 1, 1)
    assert mode_of(path) == 0o755


def test_capabilities_do_not_survive_a_write(open_dir):
    path = open_dir / "f"
    path.write_bytes(b"x")
    path.chmod(0o777)
    # VFS_CAP_REVISION_2 with CAP_NET_RAW permitted.
    capability = bytes.fromhex("0000000200200000" + "00000000" * 3)
    os.setxattr(path, "security.capability", capability)
    as_user(open_dir, WRITES["write"])
    assert "security.capability" not in os.listxattr(path)


REFUSED = {
    "open('secret')": "os.open('secret', os.O_RDONLY)",
    "open('readable') for writing": "os.open('readable', os.O_WRONLY)",
    "create in a directory of root": "os.open('locked/new', os.O_CREAT)",
    "list a private directory": "os.listdir('private')",
    "look into a private directory": "os.stat('private/inner')",
    "chmod of another's file": "os.chmod('readable', 0o777)",
    "chown to oneself": "os.chown('readable', os.getuid(), -1)",
    "unlink from a sticky directory": "os.unlink('sticky/file')",
    "rename in a sticky directory": "os.rename('sticky/file', 'sticky/other')",
    "setxattr": "os.setxattr('readable', 'user.x', b'')",
    "truncate": "os.truncate('readable', 0)",
    "mknod of a device": "os.mknod('dev', 0o60666, os.makedev(7, 0))",
}


@pytest.mark.parametrize("what", REFUSED)
def test_an_ordinary_user_is_refused(what, open_dir):
    for name, mode in (("secret", 0o600), ("readable", 0o644)):
        (open_dir / name).write_bytes(b"x")
        (open_dir / name).chmod(mode)
    for name, mode in (("locked", 0o755), ("private", 0o700), ("sticky", 0o1777)):
        (open_dir / name).mkdir()
        (open_dir / name).chmod(mode)
    (open_dir / "private/inner").touch()
    (open_dir / "sticky/file").touch()
    answer = as_user(
        open_dir,
        f"""
try:
    {REFUSED[what]}
except OSError as error:
    print(errno.errorcode[error.errno])
""",
    )
    assert answer in ("EACCES", "EPERM")


def test_without_allow_other_nobody_else_gets_in(make_volume):
    volume = make_volume(members=1)
    volume.mnt.chmod(0o777)
    if not volume.is_mounted():
        pytest.skip("the host's file system is open to all")
    volume.base.chmod(0o755)
    answer = as_user(
        volume.base,
        """
try:
    os.listdir("mnt")
except OSError as error:
    print(errno.errorcode[error.errno])
""",
    )
    assert answer == "EACCES"


def test_special_files_keep_kind_and_numbers(workdir, shared_volume):
    os.mknod(workdir / "block", stat.S_IFBLK | 0o600, os.makedev(7, 200))
    os.mknod(workdir / "char", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(workdir / "socket", stat.S_IFSOCK | 0o600)
    os.mkfifo(workdir / "fifo")
    shared_volume.remount()
    assert os.lstat(workdir / "block").st_rdev == os.makedev(7, 200)
    assert os.lstat(workdir / "char").st_rdev == os.makedev(1, 3)
    kinds = {p.name: stat.S_IFMT(p.lstat().st_mode) for p in workdir.iterdir()}
    assert kinds == {
        "block": stat.S_IFBLK,
        "char": stat.S_IFCHR,
        "socket": stat.S_IFSOCK,
        "fifo": stat.S_IFIFO,
    }
