# SPDX-License-Identifier: MIT
"""A read-only mount writes nothing, nowhere."""

import errno
import hashlib
import os

import pytest

from tests.mounted import tagged
from tests.mounted.harness import ON_HOST

BLOCK = tagged.BLOCK
pytestmark = pytest.mark.skipif(ON_HOST, reason="the host's file system stays writable")


def fingerprint(volume):
    """Hashes of everything that belongs to the volume on the host."""
    files = [*volume.backing, volume.layout, *volume.base.glob(f"{volume.store.name}*")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


WRITES = {
    "create": lambda d: os.close(os.open(d / "new", os.O_CREAT | os.O_WRONLY)),
    "open for writing": lambda d: os.close(os.open(d / "file", os.O_WRONLY)),
    "truncate": lambda d: os.truncate(d / "file", 1),
    "unlink": lambda d: os.unlink(d / "file"),
    "mkdir": lambda d: os.mkdir(d / "new"),
    "rename": lambda d: os.rename(d / "file", d / "other"),
    "link": lambda d: os.link(d / "file", d / "other"),
    "symlink": lambda d: os.symlink("x", d / "other"),
    "chmod": lambda d: os.chmod(d / "file", 0o600),
    "utimens": lambda d: os.utime(d / "file"),
    "setxattr": lambda d: os.setxattr(d / "file", "user.x", b""),
}


@pytest.fixture
def written_volume(make_volume):
    """A volume with a file, a symlink and an attribute, not mounted."""
    volume = make_volume(members=3, sizes=("16MiB",))
    (volume.mnt / "file").write_bytes(tagged.content(1, 100 * BLOCK))
    os.setxattr(volume.mnt / "file", "user.kept", b"value")
    os.symlink("file", volume.mnt / "link")
    volume.umount()
    return volume


def test_reading_changes_no_byte_of_members_and_store(written_volume):
    before = fingerprint(written_volume)
    written_volume.mount("ro")
    directory = written_volume.mnt
    tagged.check((directory / "file").read_bytes(), 1)
    assert os.listdir(directory)
    assert os.readlink(directory / "link") == "file"
    assert os.getxattr(directory / "file", "user.kept") == b"value"
    for what, write in WRITES.items():
        with pytest.raises(OSError) as caught:
            write(directory)
        assert caught.value.errno == errno.EROFS, what
    written_volume.info()
    written_volume.map(directory / "file")
    assert fingerprint(written_volume) == before
    written_volume.umount()
    assert fingerprint(written_volume) == before


def test_after_a_crash_too_and_with_orphans_inside(make_volume):
    volume = make_volume(members=2, sizes=("16MiB",))
    with (volume.mnt / "file").open("wb") as file:
        file.write(tagged.content(1, 50 * BLOCK))
        os.fsync(file.fileno())
    orphan = (volume.mnt / "orphan").open("wb")
    orphan.write(b"x" * 100)
    orphan.flush()
    os.unlink(volume.mnt / "orphan")
    volume.kill9()
    with pytest.raises(OSError):  # its server is dead
        orphan.close()
    before = fingerprint(volume)
    volume.mount("ro")
    assert os.listdir(volume.mnt) == ["file"]
    tagged.check((volume.mnt / "file").read_bytes(), 1)
    volume.umount()
    assert fingerprint(volume) == before
    volume.mount()
    tagged.check((volume.mnt / "file").read_bytes(), 1)
