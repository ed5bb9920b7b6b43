# SPDX-License-Identifier: MIT
"""Wrong input gives one line that names value, rule and place, exit 1 or 2, and changes nothing.

Through the command line, end to end; the rooms have their own, finer tests.
"""

import hashlib
import os
import shutil
import struct
import subprocess

import pytest

from iomapd.volume.crc32c import crc32c
from tests.mounted import plumbing, tagged
from tests.mounted.harness import ON_HOST, Volume, is_root, run_cli, run_program

pytestmark = pytest.mark.skipif(ON_HOST, reason="no command to be refused")
BLOCK = 4096


def fingerprint(base):
    """Names, kinds and hashes of everything below *base* but server logs."""
    found = {}
    for path in sorted(base.rglob("*")):
        if path.suffix == ".log":
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else path.is_dir()
        found[str(path.relative_to(base))] = digest
    return found


def refused(base, *arguments, names=()):
    """Run a command that must be refused; check its line, its status and that nothing changed."""
    before = fingerprint(base)
    done = run_cli(*arguments)
    assert done.returncode in (1, 2), f"accepted: {done.stdout}{done.stderr}"
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, f"not one line: {done.stderr}"
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    for name in names:
        assert str(name) in lines[0], f"{name!r} is not named: {lines[0]}"
    assert fingerprint(base) == before, "a refused command changed something"
    assert not plumbing.fuse_mounts_under(base)
    return lines[0]


# --- layout files -------------------------------------------------------------

MEMBER = '[[member]]\npath = "m0.img"\nsize = "8MiB"\nsparse = true\n'
VOLUME = '[volume]\nname = "v"\nunit = "64KiB"\nprogram = "raid0"\n'

LAYOUTS = {
    "malformed TOML": ("[volume\n", ("bad.toml:1:",)),
    "an unknown key": (VOLUME + "colour = 3\n" + MEMBER, ("bad.toml", "colour")),
    "an unknown key of a member": (VOLUME + MEMBER + "weight = 3\n", ("bad.toml", "weight")),
    "a wrong type": (VOLUME.replace('"v"', "[1]") + MEMBER, ("bad.toml", "name")),
    "unit 0": (VOLUME.replace('"64KiB"', "0") + MEMBER, ("bad.toml", "unit", "0")),
    "unit 3000": (VOLUME.replace('"64KiB"', "3000") + MEMBER, ("bad.toml", "unit", "3000", "4")),
    "unit 64QB": (VOLUME.replace("64KiB", "64QB") + MEMBER, ("bad.toml", "unit", "64QB")),
    "a negative unit": (VOLUME.replace('"64KiB"', "-4096") + MEMBER, ("bad.toml", "unit", "-4096")),
    "a huge unit": (VOLUME.replace("64KiB", "9999999999TiB") + MEMBER, ("bad.toml", "unit")),
    "no members": (VOLUME, ("bad.toml", "member")),
    "no volume": (MEMBER, ("bad.toml", "volume")),
    "an unknown program": (VOLUME.replace("raid0", "raid99") + MEMBER, ("raid99",)),
    "a member twice": (VOLUME + MEMBER + MEMBER, ("m0.img",)),
    "a member twice by another path": (
        VOLUME + MEMBER + MEMBER.replace("m0.img", "./m0.img"),
        ("m0.img",),
    ),
    "a member twice by a symlink": (
        VOLUME + MEMBER + MEMBER.replace("m0.img", "link.img"),
        ("link.img",),
    ),
    "a member twice by a hard link": (
        VOLUME + MEMBER.replace("m0", "there") + MEMBER.replace("m0", "hard"),
        ("hard.img",),
    ),
    "a member that is too small": (VOLUME + MEMBER.replace("8MiB", "64KiB"), ("m0.img", "64")),
    "a member without a size": (VOLUME + '[[member]]\npath = "new.img"\n', ("new.img", "size")),
    "a member that is a directory": (VOLUME + MEMBER.replace("m0.img", "dir"), ("dir",)),
    "a member in a missing directory": (
        VOLUME + MEMBER.replace("m0.img", "no/m.img"),
        ("no/m.img",),
    ),
    "a member that is a fifo": (VOLUME + MEMBER.replace("m0.img", "fifo"), ("fifo",)),
    "an unknown io mode": (VOLUME + '[io]\nmode = "turbo"\n' + MEMBER, ("bad.toml", "turbo")),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_create_refuses(case, tmp_path):
    text, names = LAYOUTS[case]
    (tmp_path / "bad.toml").write_text(text)
    (tmp_path / "dir").mkdir()
    os.mkfifo(tmp_path / "fifo")
    os.symlink("m0.img", tmp_path / "link.img")
    (tmp_path / "there.img").write_bytes(bytes(BLOCK))
    os.truncate(tmp_path / "there.img", 8 << 20)
    os.link(tmp_path / "there.img", tmp_path / "hard.img")
    refused(tmp_path, "create", tmp_path / "bad.toml", names=names)


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "missing.toml"),
        ("create",),
        ("create", "--unit", "64QB", "m0.img"),
        ("create", "--colour", "x.toml"),
        ("mount", "missing.toml", "mnt"),
        ("mount", "missing.toml"),
        ("info", "missing.toml"),
        ("umount", "mnt"),
        ("umount", "missing"),
        ("map", "missing"),
        ("fly",),
    ],
)
def test_a_command_line_is_refused(arguments, tmp_path):
    (tmp_path / "mnt").mkdir()
    before = fingerprint(tmp_path)
    done = run_program(*arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr
    assert fingerprint(tmp_path) == before


@pytest.mark.parametrize("what", ["ext4", "swap", "xfs-like", "partition table", "another volume"])
def test_create_refuses_a_member_that_holds_something(what, tmp_path):
    member = tmp_path / "m0.img"
    (tmp_path / "v.toml").write_text(VOLUME + MEMBER)
    with member.open("wb") as image:
        image.truncate(8 << 20)
        if what == "xfs-like":
            image.write(b"XFSB" + struct.pack(">I", 4096))
        elif what == "partition table":
            image.seek(446)
            image.write(bytes([0, 0, 2, 0, 0x83, 0, 0, 0]) + struct.pack("<II", 1, 1000))
            image.seek(510)
            image.write(b"\x55\xaa")
    if what == "another volume":
        other = tmp_path / "other"
        other.mkdir()
        (other / "o.toml").write_text((VOLUME + MEMBER).replace("m0.img", "../m0.img"))
        member.unlink()
        assert run_cli("create", other / "o.toml").returncode == 0
    maker = {"ext4": ["mkfs.ext4", "-q", "-F"], "swap": ["mkswap", "-q"]}.get(what)
    if maker:
        tool = shutil.which(maker[0], path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if tool is None:
            pytest.skip(f"{maker[0]} is not installed")
        subprocess.run([tool, *maker[1:], member], check=True, capture_output=True)
    refused(tmp_path, "create", tmp_path / "v.toml", names=("m0.img",))


# --- volumes that were spoiled after create ------------------------------------


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A volume with a file in it, not mounted, and all its files as they were then."""
    volume = Volume(tmp_path_factory.mktemp("bad") / "v0", members=3, sizes=("8MiB",))
    try:
        volume.create().mount()
        (volume.mnt / "file").write_bytes(tagged.content(1, 60 * BLOCK))
        volume.umount()
        files = {path: path.read_bytes() for path in volume.base.iterdir() if path.is_file()}
        yield volume, files
    finally:
        volume.close()


@pytest.fixture
def volume(pristine):
    """The pristine volume, restored: making a new one for each test would cost two seconds."""
    volume, files = pristine
    restore(volume, files)
    yield volume
    assert volume.close() == []
    restore(volume, files)


def restore(volume, files):
    for path in volume.base.rglob("*"):
        if path.is_file() and path not in files:
            path.unlink()
    for path, content in files.items():
        path.write_bytes(content)


def mount_refused(volume, *names):
    return refused(volume.base, "mount", volume.layout, volume.mnt, names=names)


def flip(path, position, mask=0x10):
    """Flip bits of one byte of *path*."""
    with path.open("r+b") as file:
        (byte,) = os.pread(file.fileno(), 1, position)
        os.pwrite(file.fileno(), bytes([byte ^ mask]), position)


def backup_address(path):
    """Where the first copy says that the backup lies (docs/design/superblock.md)."""
    with path.open("rb") as file:
        return struct.unpack("<q", os.pread(file.fileno(), 8, 120))[0]


def reseal(path, address, change):
    """Change one superblock copy by *change* and give it a right checksum again."""
    with path.open("r+b") as file:
        block = bytearray(os.pread(file.fileno(), BLOCK, address))
        change(block)
        block[8:12] = bytes(4)
        block[8:12] = struct.pack("<I", crc32c(bytes(block)))
        os.pwrite(file.fileno(), bytes(block), address)


@pytest.mark.parametrize("position", [0, 57, 700])
def test_one_flipped_byte_of_the_first_superblock_the_second_serves(position, volume):
    flip(volume.backing[1], position)
    volume.expect_log("superblock")
    volume.mount()
    tagged.check((volume.mnt / "file").read_bytes(), 1)
    assert any("m1.img" in warning for warning in volume.info()["warnings"])


def test_a_flipped_byte_of_both_superblocks_is_refused(volume):
    backup = backup_address(volume.backing[1])
    flip(volume.backing[1], 60)
    flip(volume.backing[1], backup + 60)
    mount_refused(volume, "m1.img")


def test_a_missing_member_is_refused_by_name(volume):
    volume.backing[2].rename(volume.base.parent / "away")
    mount_refused(volume, "m2.img")
    (volume.base.parent / "away").rename(volume.backing[2])
    volume.mount()


def test_a_member_of_another_volume_is_refused(volume, make_volume):
    other = make_volume(members=3, sizes=("8MiB",), mounted=False)
    shutil.copy(other.backing[1], volume.backing[1])
    mount_refused(volume, "m1.img")


def test_a_cloned_member_is_refused(volume):
    shutil.copy(volume.backing[0], volume.backing[1])
    mount_refused(volume, "m1.img")


def test_a_clone_beside_the_members_does_not_confuse(volume):
    """A backup copy lies in the same directory: the named paths are the members."""
    shutil.copy(volume.backing[0], volume.base / "backup-of-m0.img")
    volume.mount()
    tagged.check((volume.mnt / "file").read_bytes(), 1)


def test_members_whose_paths_were_swapped_are_known_by_their_uuid(volume):
    one, two = volume.backing[:2]
    one.rename(volume.base / "x")
    two.rename(one)
    (volume.base / "x").rename(two)
    volume.mount()
    tagged.check((volume.mnt / "file").read_bytes(), 1)


def test_a_truncated_member_is_refused(volume):
    size = volume.backing[1].stat().st_size
    os.truncate(volume.backing[1], size - 2 * BLOCK)
    mount_refused(volume, "m1.img")


def test_a_stale_member_is_refused(volume):
    old = volume.backing[1].read_bytes()
    volume.mount()
    volume.umount()
    volume.backing[1].write_bytes(old)
    mount_refused(volume, "m1.img")


def test_a_newer_format_version_is_refused(volume):
    def newer(block):
        block[12:16] = struct.pack("<I", 2)

    reseal(volume.backing[0], 0, newer)
    mount_refused(volume, "m0.img", "version 2")


def test_an_unknown_incompatible_feature_is_refused(volume):
    def newer(block):
        block[32:40] = struct.pack("<Q", 1 << 40)

    reseal(volume.backing[0], 0, newer)
    mount_refused(volume, "m0.img")


def test_a_missing_store_is_refused(volume):
    for path in volume.base.glob("volume.db*"):
        path.rename(volume.base.parent / path.name)
    mount_refused(volume, "volume.db")


def test_a_store_older_than_its_members_is_refused(volume):
    old = {path: path.read_bytes() for path in volume.base.glob("volume.db*")}
    volume.mount()
    volume.umount()
    for path in volume.base.glob("volume.db*"):
        path.unlink()
    for path, data in old.items():
        path.write_bytes(data)
    mount_refused(volume, "store", "older")


def test_a_store_of_another_volume_is_refused(volume, make_volume):
    other = make_volume(members=3, sizes=("8MiB",), mounted=False)
    shutil.copy(other.store, volume.store)
    mount_refused(volume, "store", "volume")


@pytest.mark.parametrize("content", [b"", b"not a database", bytes(8192)])
def test_a_store_that_is_none_is_refused(content, volume):
    volume.store.write_bytes(content)
    mount_refused(volume, "volume.db")


CONTRADICTIONS = {
    "unit": ('unit = "64KiB"', 'unit = "128KiB"', "unit"),
    "program": ('program = "raid0"', 'program = "other"', "program"),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_layout_file_that_contradicts_the_store_is_refused(case, volume):
    old, new, word = CONTRADICTIONS[case]
    volume.layout.write_text(volume.layout_text().replace(old, new))
    mount_refused(volume, volume.layout.name, word)


def test_a_layout_file_with_a_member_too_many_or_too_few_is_refused(volume):
    text = volume.layout_text()
    volume.layout.write_text(text + '\n[[member]]\npath = "m9.img"\nsize = "8MiB"\n')
    mount_refused(volume, volume.layout.name)


def test_create_again_is_refused_and_changes_nothing(volume):
    refused(volume.base, "create", volume.layout)
    volume.mount()
    tagged.check((volume.mnt / "file").read_bytes(), 1)


# --- mountpoints -----------------------------------------------------------------


def test_a_missing_mountpoint_is_refused(volume):
    refused(volume.base, "mount", volume.layout, volume.base / "nowhere", names=("nowhere",))


def test_a_mountpoint_that_is_a_file_is_refused(volume):
    refused(volume.base, "mount", volume.layout, volume.layout, names=(volume.layout.name,))


def test_a_log_file_that_cannot_be_written_is_refused_in_one_line(volume):
    log = volume.base / "nowhere" / "log"
    done = run_cli("mount", volume.layout, volume.mnt, "--log", log)
    assert done.returncode == 1
    assert done.stderr == f"iomapd: {log}: log file: No such file or directory\n"


def test_a_mountpoint_that_is_not_empty_is_refused(volume):
    (volume.mnt / "something").touch()
    mount_refused(volume, volume.mnt)
    (volume.mnt / "something").unlink()


@pytest.mark.skipif(is_root(), reason="root may mount anywhere")
def test_a_mountpoint_of_somebody_else_is_refused(volume):
    refused(volume.base, "mount", volume.layout, "/var", names=("/var",))


@pytest.mark.parametrize("option", ["mapper=magic", "io=turbo", "colour=blue", "cache=-3"])
def test_a_wrong_mount_option_is_refused(option, volume):
    word = option.partition("=")[2]
    refused(volume.base, "mount", volume.layout, volume.mnt, "-o", option, names=(word,))


# --- block devices -----------------------------------------------------------------


@pytest.mark.skipif(not is_root(), reason="loop devices need root")
def test_larger_logical_sectors_are_refused(tmp_path):
    backing = tmp_path / "backing"
    with backing.open("wb") as file:
        file.truncate(8 << 20)
    done = subprocess.run(
        ["losetup", "--find", "--show", "--sector-size", "8192", backing],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        plumbing.detach_loops(tmp_path)
        pytest.skip(f"this kernel has no loop device with sectors of 8 KiB: {done.stderr.strip()}")
    try:
        device = done.stdout.strip()
        (tmp_path / "v.toml").write_text(f'{VOLUME}[[member]]\npath = "{device}"\n')
        refused(tmp_path, "create", tmp_path / "v.toml", names=(device, "8192"))
    finally:
        plumbing.detach_loops(tmp_path)


@pytest.mark.skipif(not is_root(), reason="loop devices need root")
def test_a_mounted_block_device_is_refused(tmp_path):
    backing, mnt = tmp_path / "backing", tmp_path / "other-mnt"
    mnt.mkdir()
    with backing.open("wb") as file:
        file.truncate(32 << 20)
    device = plumbing.attach_loop(backing)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-F", device], check=True, capture_output=True)
        subprocess.run(["mount", device, mnt], check=True)
        (tmp_path / "v.toml").write_text(f'{VOLUME}[[member]]\npath = "{device}"\n')
        done = run_cli("create", tmp_path / "v.toml")
        assert done.returncode == 1
        assert device in done.stderr
        forced = run_cli("create", "--force", tmp_path / "v.toml")
        assert forced.returncode == 1, "--force must not touch a mounted device"
    finally:
        subprocess.run(["umount", mnt], check=False)
        plumbing.detach_loops(tmp_path)
    assert not (tmp_path / "volume.db").exists()
