# SPDX-License-Identifier: MIT
import errno

import pytest

from iomapd.errors import UsageError
from tests.control.conftest import MIB, RAID0

OWNER = (0, 0)


async def test_new_files_of_a_directory_inherit_its_layout(control):
    top = control.names.make(1, b"d", 0o040755, OWNER)
    await control.layouts.set(top, unit="4KiB", width=2)
    made = control.names.make(top.ino, b"f", 0o100644, OWNER)
    described = control.layouts.describe(made)
    assert (described["unit"], described["width"], described["inherited"]) == (4096, 2, True)
    assert control.layouts.describe(control.core.inode(1))["unit"] == 65536


async def test_a_change_leaves_files_that_are_there_alone(live):
    inode = live.names.make(1, b"f", 0o100644, OWNER)
    await live.files.write(inode, 0, b"x" * MIB)
    await live.layouts.set(live.core.inode(1), unit=4096)
    await live.files.write(inode, MIB, b"y" * MIB)
    assert {e.unit for e in live.core.store.space.iter_extents(inode.ino)} == {65536}
    with pytest.raises(OSError, match="has extents"):
        await live.layouts.set(inode, unit=4096)


async def test_an_empty_file_takes_a_layout_of_its_own(live):
    inode = live.names.make(1, b"f", 0o100644, OWNER)
    await live.layouts.set_text(inode, b"unit=8KiB width=3")
    await live.files.write(inode, 0, b"x" * MIB)
    assert {(e.unit, len(e.strips)) for e in live.core.store.space.iter_extents(inode.ino)} >= {
        (8192, 3)
    }
    assert live.layouts.text(inode).startswith(b"unit=8192 width=3 ")


async def test_equal_layouts_share_a_row(control):
    one = control.names.make(1, b"a", 0o040755, OWNER)
    two = control.names.make(1, b"b", 0o040755, OWNER)
    for directory in (one, two):
        await control.layouts.set(directory, unit=4096)
    assert one.layout == two.layout != control.core.inode(1).layout


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (b"unit=0", "unit"),
        (b"unit=3000", "multiple of 4096"),
        (b"unit=64QB", "64QB"),
        (b"width=9", "width 9 is not in 0..4"),
        (b"width=two", "width 'two' is not an integer"),
        (b"program=nonesuch", "nonesuch"),
        (b"colour=3", "colour"),
        (b"unit", "'unit' is not key=value"),
        (b"strip_max=4096 strip_min=1MiB", "strip_min"),
    ],
)
async def test_each_bad_word_is_named(control, text, rule):
    before = control.layouts.text(control.core.inode(1))
    with pytest.raises(UsageError, match=rule):  # the caller sees EINVAL
        await control.layouts.set_text(control.core.inode(1), text)
    assert control.layouts.text(control.core.inode(1)) == before


async def test_a_symlink_has_no_layout(control):
    link = control.names.make(1, b"l", 0o120777, OWNER, target=b"x")
    with pytest.raises(OSError, check=lambda exc: exc.errno == errno.EINVAL):
        await control.layouts.set(link, unit=4096)


async def test_a_layout_that_was_not_stored_leaves_no_program_that_a_later_one_would_name(
    control, monkeypatch
):
    """The next file of that program had a layout whose program the store did not know."""
    root, text = control.core.inode(1), RAID0 + "\n# mine\n"
    before = dict(control.core.programs.rows)
    with monkeypatch.context() as patch:
        patch.setattr(control.core.store, "layout_id", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await control.layouts.set(root, program="mine", source=text)
    assert control.core.programs.rows == before == control.core.store.programs()
    await control.layouts.set(root, program="mine", source=text)
    assert control.core.programs.rows == control.core.store.programs()
    assert control.core.programs.rows[control.core.layouts[root.layout].program].name == "mine"
