# SPDX-License-Identifier: MIT
"""Making volumes: what is refused changes nothing, and what is interrupted can be repeated."""

import os
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from iomapd.errors import (
    IomapdError,
    LayoutFileError,
    MemberBusyError,
    MemberError,
    MemberMissingError,
    ProgramError,
    SpaceError,
    StoreBusyError,
    StoreError,
)
from iomapd.meta.store import Store
from iomapd.tools import image_file
from iomapd.tools.create import create_volume
from iomapd.volume import copies
from iomapd.volume.copies import read_superblock
from iomapd.volume.device import open_device
from iomapd.volume.layout_file import MemberSpec, load_layout, parse_layout, render_layout
from iomapd.volume.member import MemberIdentity, open_members
from iomapd.volume.signatures import find_signatures
from tests.volume.builders import flip
from tests.volume.conftest import attach  # noqa: F401  a fixture

SIZE = 8 << 20


@pytest.fixture
def layout(tmp_path):
    """A layout file for three images of 8 MiB that are not there yet."""
    return write_layout(tmp_path, [MemberSpec(Path(f"m{i}.img"), SIZE) for i in range(3)])


def write_layout(directory, members, **options):
    path = directory / "v.toml"
    path.write_text(render_layout(name="v", unit="64KiB", members=members, **options))
    return load_layout(path)


def open_volume(layout):
    """Open store and members as a mount does; return the members, closed again."""
    with closing(Store.open(layout.metadata)) as store:
        expected = [
            MemberIdentity(m.id, m.index, m.uuid, m.data_offset, m.data_size) for m in store.members
        ]
        generations = (store.generation, store.pending)
        members = open_members(
            [m.path for m in layout.members], expected, store.volume.uuid, generations, False, None
        )
        for member in members:
            member.close()
        return members


def snapshot(directory):
    """Every file below *directory* with its bytes."""
    return {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def refused(layout, error=IomapdError, **options):
    """Create, expect *error*; nothing below the layout's directory changes."""
    before = snapshot(layout.path.parent)
    with pytest.raises(error) as caught:
        create_volume(layout, **options)
    assert snapshot(layout.path.parent) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_volume_is_made_from_nothing(layout):
    told = []
    report = create_volume(layout, progress=lambda *report: told.append(report))
    assert [m.path for m in open_volume(layout)] == [m.path for m in layout.members]
    assert [m.is_made for m in report.members] == [True] * 3
    assert report.capacity == 3 * (SIZE - (1 << 20) - 4096)
    assert not report.repeated
    assert ("allocating m0.img", SIZE, SIZE) in told
    for member in layout.members:
        found = member.path.stat()
        assert (found.st_size, found.st_blocks * 512 >= SIZE) == (SIZE, True)
        assert found.st_mode & 0o777 == 0o600


def test_the_store_says_what_the_layout_said(layout):
    report = create_volume(layout)
    with closing(Store.open(layout.metadata, read_only=True)) as store:
        assert (store.volume.uuid, store.volume.name) == (report.uuid, "v")
        assert (store.generation, store.pending) == (1, 1)
        (row,) = store.layouts().values()
        assert (row.unit, row.width, row.copies, row.params) == (65536, 0, 1, (0,) * 8)
        assert (row.strip_min, row.strip_max) == (1 << 20, 1 << 30)
        (program,) = store.programs().values()
        assert (program.name, program.abi) == ("raid0", 1)
        assert "def iomap_begin(ctx):" in program.source
        assert [m.path for m in store.members] == [str(m.path) for m in layout.members]


def test_strips_are_whole_units(tmp_path):
    text = '[volume]\nname = "v"\nunit = "12KiB"\n[[member]]\npath = "m"\nsize = "8MiB"\n'
    layout = parse_layout(text, tmp_path / "v.toml")
    create_volume(layout)
    with closing(Store.open(layout.metadata, read_only=True)) as store:
        row = store.layouts()[store.root_layout]
        assert (row.strip_min % row.unit, row.strip_max % row.unit) == (0, 0)


def test_sparse_images_are_not_allocated(tmp_path):
    layout = write_layout(tmp_path, [MemberSpec(Path("m.img"), 1 << 40, sparse=True)])
    create_volume(layout)
    assert layout.members[0].path.stat().st_blocks * 512 < 1 << 20
    open_volume(layout)


def test_a_dry_run_writes_nothing(layout):
    before = snapshot(layout.path.parent)
    report = create_volume(layout, dry_run=True, layout_text="never written")
    assert snapshot(layout.path.parent) == before
    assert (report.dry_run, report.capacity) == (True, 3 * (SIZE - (1 << 20) - 4096))
    assert [m.is_made for m in report.members] == [True] * 3


def test_the_layout_file_is_written_on_the_way(tmp_path):
    text = render_layout(name="v", unit="64KiB", members=[MemberSpec(Path("m.img"), SIZE)])
    layout = parse_layout(text, tmp_path / "v.toml")
    create_volume(layout, layout_text=text)
    assert load_layout(tmp_path / "v.toml") == layout


def test_existing_files_are_taken_as_they_are(tmp_path):
    path = tmp_path / "m.img"
    path.write_bytes(bytes(SIZE + 5000))
    layout = write_layout(tmp_path, [MemberSpec(path)])
    report = create_volume(layout)
    assert path.stat().st_size == SIZE + 5000
    assert report.members[0].data_size == SIZE + 4096 - (1 << 20) - 4096
    assert not report.members[0].is_made


def test_an_empty_file_is_given_its_size(tmp_path):
    (tmp_path / "m.img").touch()
    layout = write_layout(tmp_path, [MemberSpec(Path("m.img"), SIZE)])
    create_volume(layout)
    assert (tmp_path / "m.img").stat().st_blocks * 512 >= SIZE


# -- refusals


def test_a_volume_is_not_made_twice(layout):
    create_volume(layout)
    message = refused(layout, StoreError)
    assert message.startswith(f"{layout.metadata}: is the store of a volume already; --force")


def test_a_volume_that_was_mounted_is_not_made_again_whatever_its_members_say(layout):
    create_volume(layout)
    with closing(Store.open(layout.metadata)) as store:
        store.begin_generation()
        store.settle_generation()
    assert "member 0 of volume" in refused(layout, MemberError)
    for member in layout.members:
        os.truncate(member.path, 0)
    assert "is the store of a volume already" in refused(layout, StoreError)


def test_force_makes_a_new_volume_over_the_old_one(layout):
    first = create_volume(layout)
    second = create_volume(layout, force=True)
    assert first.uuid != second.uuid
    assert second.members[0].overwritten == (f"member 0 of volume {first.uuid}",)
    assert not second.repeated
    open_volume(layout)


def test_a_store_that_is_none_is_refused_and_replaced_by_force(layout):
    layout.metadata.write_text("not a store")
    assert str(layout.metadata) in refused(layout, StoreError)
    create_volume(layout, force=True)
    open_volume(layout)


def test_a_volume_in_use_is_not_touched_even_by_force(layout):
    create_volume(layout)
    with closing(Store.open(layout.metadata)), pytest.raises(StoreBusyError):
        create_volume(layout, force=True)
    device = open_device(layout.members[1].path, read_only=False)
    try:
        with pytest.raises(MemberBusyError, match=r"m1\.img: is in use: locked by process"):
            create_volume(layout, force=True)
    finally:
        device.close()
    open_volume(layout)


def test_a_member_of_another_volume_is_refused(tmp_path, layout):
    other = create_volume(layout)
    layout.metadata.unlink()
    message = refused(layout, MemberError)
    assert f"m0.img: carries member 0 of volume {other.uuid}; --force" in message


def test_a_damaged_superblock_is_somebody_s_too(layout):
    create_volume(layout)
    layout.metadata.unlink()
    flip(layout.members[0].path, 100)
    flip(layout.members[0].path, SIZE - 4096 + 100)
    assert "m0.img: carries a damaged or newer iomapd superblock" in refused(layout, MemberError)
    create_volume(layout, force=True)
    open_volume(layout)


@pytest.mark.slow
@pytest.mark.parametrize("command", [["mkfs.ext4", "-q"], ["mkswap", "-q"]])
def test_a_file_system_is_refused_and_wiped_by_force(tmp_path, command):
    path = tmp_path / "m.img"
    path.touch()
    os.truncate(path, SIZE)
    subprocess.run([*command, path], check=True, capture_output=True, timeout=60)
    layout = write_layout(tmp_path, [MemberSpec(path)])
    assert "m.img: carries " in refused(layout, MemberError)
    report = create_volume(layout, force=True)
    assert report.members[0].overwritten
    open_volume(layout)
    with path.open("rb") as file:
        assert find_signatures(file.fileno(), SIZE) == []


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (MemberSpec(Path("absent.img")), "absent.img: no such file; an image file that is to be"),
        (MemberSpec(Path("/dev/absent"), SIZE), "/dev/absent: no such device"),
        (MemberSpec(Path("no/m.img"), SIZE), "its directory does not exist"),
        (MemberSpec(Path("there.img"), SIZE), "but the file has 5000 bytes"),
        (MemberSpec(Path("there.img")), "has 5000 bytes; a member has at least 1118208"),
        (MemberSpec(Path("empty.img")), "has 0 bytes; a member has at least 1118208"),
        (MemberSpec(Path("small.img"), 1118207), "has 1118207 bytes; a member has at least"),
        (MemberSpec(Path()), "is a directory; a member is"),
    ],
)
def test_members_that_cannot_be_are_refused(tmp_path, member, said):
    (tmp_path / "there.img").write_bytes(bytes(5000))
    (tmp_path / "empty.img").touch()
    layout = write_layout(tmp_path, [MemberSpec(Path("good.img"), SIZE), member])
    assert said in refused(layout)


def test_the_smallest_member_is_large_enough(tmp_path):
    layout = write_layout(tmp_path, [MemberSpec(Path("m.img"), (1 << 20) + 65536 + 4096)])
    assert create_volume(layout).capacity == 65536
    open_volume(layout)


def test_the_same_file_twice_is_refused(tmp_path):
    (tmp_path / "a.img").write_bytes(bytes(SIZE))
    (tmp_path / "b.img").hardlink_to(tmp_path / "a.img")
    layout = write_layout(tmp_path, [MemberSpec(Path("a.img")), MemberSpec(Path("b.img"))])
    assert "b.img: is " in refused(layout, MemberError)


def test_programs_and_parameters_are_checked_first(tmp_path):
    members = [MemberSpec(Path("m.img"), SIZE)]
    layout = write_layout(tmp_path, members, program="none")
    assert 'program "none"' in refused(layout, ProgramError)
    layout = write_layout(tmp_path, members, params={"depth": 1})
    assert 'parameter "depth" = 1: program raid0 takes' in refused(layout, ProgramError)


def test_parameters_reach_the_store_in_the_program_s_order(tmp_path):
    (tmp_path / "mine.py").write_text('PARAMS = ("b", "a")\n')
    members = [MemberSpec(Path("m.img"), SIZE)]
    layout = write_layout(tmp_path, members, program="mine.py", params={"a": 1, "b": -2})
    create_volume(layout)
    with closing(Store.open(layout.metadata, read_only=True)) as store:
        assert store.layouts()[1].params == (-2, 1, 0, 0, 0, 0, 0, 0)
        assert store.programs()[1].name == "mine"


def test_a_store_whose_directory_is_absent_is_refused(tmp_path):
    text = '[volume]\nname = "v"\nunit = 4096\nmetadata = "no/v.db"\n[[member]]\npath = "m"\n'
    (tmp_path / "v.toml").write_text(text)
    message = refused(load_layout(tmp_path / "v.toml"), StoreError)
    assert "directory of the metadata store does not exist" in message


def fill_up(fd, offset, length):
    """Stands in for posix_fallocate: the disk is full when m1.img is allocated."""
    if Path(f"/proc/self/fd/{fd}").readlink().name == "m1.img":
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_told_and_images_are_taken_back(layout, monkeypatch):
    monkeypatch.setattr(image_file.os, "posix_fallocate", fill_up)
    message = refused(layout, SpaceError)
    assert "m1.img: an image file of 8MiB does not fit: its file system has" in message
    assert "sparse = true" in message


def test_an_image_larger_than_its_file_system_takes_nobodys_room_before_it_is_refused(
    tmp_path, monkeypatch
):
    def allocate(fd, offset, length):
        raise AssertionError("nothing may be allocated of what cannot fit")

    monkeypatch.setattr(image_file.os, "posix_fallocate", allocate)
    space = os.statvfs(tmp_path)
    size = space.f_blocks * space.f_frsize + (1 << 30)
    layout = write_layout(tmp_path, [MemberSpec(Path("m0.img"), size)])
    assert "does not fit: its file system has" in refused(layout, SpaceError)
    assert not (tmp_path / "m0.img").exists()


def test_an_empty_file_is_empty_again_after_a_failure(tmp_path, monkeypatch):
    (tmp_path / "m0.img").touch()
    layout = write_layout(tmp_path, [MemberSpec(Path(f"m{i}.img"), SIZE) for i in range(2)])
    monkeypatch.setattr(image_file.os, "posix_fallocate", fill_up)
    refused(layout, SpaceError)


# -- interruption


class PowerCut(BaseException):
    """The process is gone: not an error that anything may handle."""


def cut_at_flush(monkeypatch, number):
    """Let the *number*-th flush of a superblock copy be the last thing that happens."""
    count = iter(range(1000))
    real = os.fdatasync

    def flush(fd):
        if next(count) == number:
            raise PowerCut
        real(fd)

    monkeypatch.setattr(copies.os, "fdatasync", flush)


@pytest.mark.parametrize("number", range(6))
def test_a_create_interrupted_at_any_superblock_is_repeated(layout, monkeypatch, number):
    cut_at_flush(monkeypatch, number)
    with pytest.raises(PowerCut):
        create_volume(layout)
    monkeypatch.undo()
    if number < 5:
        # Not every member carries a whole backup and first copy: it may be done again,
        # and be interrupted again while the remains are wiped.
        cut_at_flush(monkeypatch, 0)
        with pytest.raises(PowerCut):
            create_volume(layout)
        monkeypatch.undo()
    report = create_volume(layout, force=number == 5)
    assert report.repeated == (number < 5)
    open_volume(layout)


@pytest.mark.parametrize("where", ["create_store", "remove_store", "_write_layout"])
def test_a_create_interrupted_between_its_steps_is_repeated(layout, monkeypatch, where):
    def cut(*arguments):
        raise PowerCut

    monkeypatch.setattr(f"iomapd.tools.create.{where}", cut)
    with pytest.raises(PowerCut):
        create_volume(layout, layout_text=layout.path.read_text())
    monkeypatch.undo()
    create_volume(layout, layout_text=layout.path.read_text())
    open_volume(layout)


def test_a_create_killed_while_allocating_is_repeated(layout):
    first = layout.members[0].path
    first.touch()
    os.truncate(first, SIZE)
    create_volume(layout)
    assert first.stat().st_blocks * 512 >= SIZE
    open_volume(layout)


def test_somebody_s_data_beside_the_remains_is_still_refused(layout, monkeypatch):
    cut_at_flush(monkeypatch, 2)
    with pytest.raises(PowerCut):
        create_volume(layout)
    monkeypatch.undo()
    with layout.members[2].path.open("r+b") as file:
        file.write(b"XFSB")
    assert "m2.img: carries xfs" in refused(layout, MemberError)


# -- block devices


@pytest.mark.slow
def test_block_devices_keep_their_size_and_their_bytes(tmp_path, attach):  # noqa: F811
    backing = tmp_path / "backing.img"
    backing.write_bytes(b"x" * SIZE)
    loop = attach(backing)
    layout = write_layout(tmp_path, [MemberSpec(loop, SIZE * 2)])
    assert f"block devices keep their size: {SIZE} bytes" in refused(layout, LayoutFileError)
    layout = write_layout(tmp_path, [MemberSpec(loop)])
    create_volume(layout)
    assert open_volume(layout)[0].kind == "block"
    written = backing.read_bytes()
    assert written[4096 : SIZE - 4096] == b"x" * (SIZE - 8192)
    with loop.open("rb") as file:
        assert read_superblock(file.fileno(), loop, SIZE).warnings == ()


@pytest.mark.slow
def test_a_file_under_a_loop_device_is_in_use(tmp_path, attach):  # noqa: F811
    path = tmp_path / "m.img"
    path.write_bytes(bytes(SIZE))
    loop = attach(path)
    layout = write_layout(tmp_path, [MemberSpec(path)])
    assert f"is in use: attached to {loop}" in refused(layout, MemberBusyError, force=True)


@pytest.mark.slow
def test_a_mounted_device_is_refused_even_with_force(tmp_path, attach):  # noqa: F811
    backing = tmp_path / "backing.img"
    backing.touch()
    os.truncate(backing, SIZE)
    subprocess.run(["mkfs.ext4", "-q", backing], check=True, timeout=60)
    loop = attach(backing)
    (tmp_path / "mnt").mkdir()
    subprocess.run(["mount", loop, tmp_path / "mnt"], check=True, timeout=60)
    try:
        layout = write_layout(tmp_path, [MemberSpec(loop)])
        with pytest.raises(MemberBusyError, match=f"{loop}: is in use: mounted at"):
            create_volume(layout, force=True)
    finally:
        subprocess.run(["umount", tmp_path / "mnt"], check=True, timeout=60)


def test_an_absent_device_is_never_made_a_file(tmp_path):
    layout = write_layout(tmp_path, [MemberSpec(Path("/dev/iomapd-absent"), SIZE)])
    refused(layout, MemberMissingError, force=True)
    assert not Path("/dev/iomapd-absent").exists()
