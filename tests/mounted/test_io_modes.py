# SPDX-License-Identifier: MIT
"""Members accessed mapped, buffered and with O_DIRECT: the same files, and info says which."""

import subprocess

import pytest

from tests.mounted import tagged
from tests.mounted.fsx import FileMachine
from tests.mounted.harness import IO_MODE, ON_HOST, is_root, soak

pytestmark = [
    pytest.mark.skipif(ON_HOST, reason="a plain directory has no members"),
    pytest.mark.skipif(IO_MODE is not None, reason="the modes are chosen here"),
]
KIB, MIB, BLOCK = 1 << 10, 1 << 20, tagged.BLOCK
PLACES = {
    "files": {"members": 3, "unit": "8KiB", "sizes": ("24MiB",)},
    "devices": {"members": 3, "sizes": ("24MiB",), "loop": True},
    "memory": {"members": 3, "unit": "8KiB", "sizes": ("24MiB",), "memory": True},
}
# Where, how at first, how after a remount.
CELLS = [
    ("files", "direct", "mapped"),
    ("files", "buffered", "direct"),
    ("devices", "mapped", "direct"),
    ("devices", "direct", "buffered"),
    ("memory", "mapped", "direct"),
]


def modes(volume):
    return {member["io_mode"] for member in volume.info()["members"]}


@pytest.mark.parametrize(("place", "mode", "then"), CELLS)
def test_a_file_is_the_same_in_every_mode(place, mode, then, make_volume, tmp_path):
    volume = make_volume(**PLACES[place], options=(f"io={mode}",))
    assert modes(volume) == {mode}
    machine = FileMachine(
        volume.mnt / "file", tmp_path / "reference", 7, max_size=800 * KIB, max_io=300 * KIB
    )
    machine.run(soak(120))
    machine.around(lambda: volume.remount(f"io={then}"), "remount")
    assert modes(volume) == {then}
    machine.run(soak(60))
    reference = (tmp_path / "reference").read_bytes()
    machine.close()
    # What lies on the members, seen through another page cache than the server's.
    assert volume.mapped_bytes(volume.mnt / "file") == reference


@pytest.mark.parametrize(("place", "mode", "why"), [
    ("files", "buffered", "on a device"),
    ("memory", "mapped", "in memory"),
])  # fmt: skip
def test_auto_says_what_it_chose_and_why(place, mode, why, make_volume):
    volume = make_volume(**PLACES[place])
    (volume.mnt / "file").write_bytes(tagged.content(1, 40 * BLOCK))
    tagged.check((volume.mnt / "file").read_bytes(), 1)
    assert {(m["io_mode"], why in m["io_reason"]) for m in volume.info()["members"]} == {
        (mode, True)
    }
    assert f"access   {mode} (0, 1, 2): {why}" in volume.cli("info", volume.mnt).stdout
    assert f"members 0-2: {mode}: {why}" in volume.log_tail()


def test_a_layout_file_names_a_mode_and_an_option_overrides_it(make_volume):
    volume = make_volume(**PLACES["files"], mounted=False)
    volume.layout.write_text(volume.layout_text() + '\n[io]\nmode = "direct"\n')
    volume.mount()
    (volume.mnt / "file").write_bytes(tagged.content(1, 9999))
    assert modes(volume) == {"direct"}
    volume.remount("io=buffered")
    assert modes(volume) == {"buffered"}
    assert (volume.mnt / "file").read_bytes() == tagged.content(1, 9999)


def test_an_unknown_mode_is_refused_before_anything_is_opened(make_volume):
    volume = make_volume(**PLACES["files"], mounted=False)
    done = volume.cli("mount", volume.layout, volume.mnt, "-o", "io=fast", check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "io=fast: unknown; known: auto, mapped, buffered, direct" in done.stderr


@pytest.mark.skipif(not is_root(), reason="mounting a ramfs needs root")
def test_members_that_take_no_o_direct_are_refused_by_name(make_volume, tmp_path):
    ram = tmp_path / "ram"
    ram.mkdir()
    subprocess.run(["mount", "-t", "ramfs", "none", ram], check=True)
    try:
        volume = make_volume(members=1, sizes=("4MiB",), mounted=False)
        volume.expect_log("takes no O_DIRECT")
        volume.layout = ram / "volume.toml"
        member = f'[[member]]\npath = "{ram}/m0"\nsize = "8MiB"\n'
        volume.layout.write_text(f'[volume]\nname = "ram"\nunit = "64KiB"\n{member}')
        volume.cli("create", volume.layout)
        command = "mount", volume.layout, volume.mnt, "-o", "io=direct", "--log", volume.log
        done = volume.cli(*command, check=False)
        assert done.returncode == 1
        assert f"{ram}/m0: takes no O_DIRECT" in done.stderr
        assert done.stderr.count("\n") == 1
        assert not volume.is_mounted()
        # It is mapped instead, and nothing was left that would hold it.
        volume.mount()
        assert modes(volume) == {"mapped"}
        (volume.mnt / "file").write_bytes(tagged.content(1, 9 * BLOCK))
        volume.umount()
    finally:
        subprocess.run(["umount", "-l", ram], check=False)
