# SPDX-License-Identifier: MIT
import errno
import stat

import pytest

from iomapd.errors import StoreError

OWNER = (7, 8)
FILE, DIRECTORY = 0o100644, 0o040755


def names_in(control, ino=1):
    return {name: attributes.ino for _, name, attributes in control.names.list(ino, 0)}


def raises(number):
    return pytest.raises(OSError, check=lambda exc: exc.errno == number)


def test_what_is_made_is_found_and_listed(control):
    made = control.names.make(1, b"a", FILE, OWNER)
    assert control.names.lookup(1, b"a") is made
    assert (made.uid, made.gid, made.nlink) == (7, 8, 1)
    assert names_in(control) == {b"a": made.ino}


def test_directories_count_their_subdirectories(control):
    top = control.names.make(1, b"d", DIRECTORY, OWNER)
    sub = control.names.make(top.ino, b"s", DIRECTORY, OWNER)
    assert (control.core.inode(1).nlink, top.nlink, sub.nlink) == (3, 3, 2)
    control.names.rename((top.ino, b"s"), (1, b"s"))
    assert (control.core.inode(1).nlink, top.nlink) == (4, 2)
    control.names.rmdir(1, b"s")
    assert control.core.inode(1).nlink == 3


def test_a_setgid_directory_passes_its_group_on(control):
    top = control.names.make(1, b"d", DIRECTORY | stat.S_ISGID, (0, 99))
    assert control.names.make(top.ino, b"f", FILE, OWNER).gid == 99
    sub = control.names.make(top.ino, b"s", DIRECTORY, OWNER)
    assert sub.gid == 99
    assert sub.mode & stat.S_ISGID


@pytest.mark.parametrize(
    ("action", "number"),
    [
        (lambda n: n.make(1, b"a", FILE, OWNER), errno.EEXIST),
        (lambda n: n.make(1, b"x" * 256, FILE, OWNER), errno.ENAMETOOLONG),
        (lambda n: n.unlink(1, b"none"), errno.ENOENT),
        (lambda n: n.unlink(1, b"d"), errno.EISDIR),
        (lambda n: n.rmdir(1, b"a"), errno.ENOTDIR),
        (lambda n: n.rmdir(1, b"d"), errno.ENOTEMPTY),
        (lambda n: n.rename((1, b"a"), (1, b"d")), errno.EISDIR),
        (lambda n: n.rename((1, b"e"), (1, b"a")), errno.ENOTDIR),
        (lambda n: n.rename((1, b"e"), (1, b"d")), errno.ENOTEMPTY),
        (lambda n: n.rename((1, b"a"), (1, b"d"), noreplace=True), errno.EEXIST),
        (lambda n: n.exchange((1, b"a"), (1, b"none")), errno.ENOENT),
        (lambda n: n.readlink(1), errno.EINVAL),
        (lambda n: n.make(999, b"a", FILE, OWNER), errno.ESTALE),
    ],
)
def test_each_refusal_has_its_errno_and_changes_nothing(control, action, number):
    control.names.make(1, b"a", FILE, OWNER)
    full = control.names.make(1, b"d", DIRECTORY, OWNER)
    control.names.make(full.ino, b"inside", FILE, OWNER)
    control.names.make(1, b"e", DIRECTORY, OWNER)
    before = list(control.core.store.iter_inodes()), list(control.core.store.iter_dirents())
    with raises(number):
        action(control.names)
    assert (
        list(control.core.store.iter_inodes()),
        list(control.core.store.iter_dirents()),
    ) == before


def test_a_replaced_file_loses_its_link(control):
    control.names.make(1, b"a", FILE, OWNER)
    old = control.names.make(1, b"b", FILE, OWNER)
    assert control.names.rename((1, b"a"), (1, b"b")) is old
    assert old.nlink == 0
    assert list(names_in(control)) == [b"b"]


def test_renaming_onto_another_name_of_the_same_file_does_nothing(control):
    inode = control.names.make(1, b"a", FILE, OWNER)
    control.names.link(inode.ino, 1, b"b")
    assert control.names.rename((1, b"a"), (1, b"b")) is None
    assert set(names_in(control)) == {b"a", b"b"}


def test_an_exchange_moves_directory_links(control):
    left = control.names.make(1, b"l", DIRECTORY, OWNER)
    right = control.names.make(1, b"r", DIRECTORY, OWNER)
    sub = control.names.make(left.ino, b"x", DIRECTORY, OWNER)
    plain = control.names.make(right.ino, b"x", FILE, OWNER)
    control.names.exchange((left.ino, b"x"), (right.ino, b"x"))
    assert (left.nlink, right.nlink) == (2, 3)
    assert control.names.lookup(right.ino, b"x") is sub
    assert control.names.lookup(left.ino, b"x") is plain


def test_a_listing_skips_nothing_while_names_come_and_go(control):
    for n in range(600):
        control.names.make(1, b"%03d" % n, FILE, OWNER)
    listing = control.names.list(1, 0)
    seen = [next(listing)[1] for _ in range(300)]
    control.names.unlink(1, b"000")
    control.names.unlink(1, b"299")
    control.names.rename((1, b"001"), (1, b"renamed"))
    control.names.make(1, b"new", FILE, OWNER)
    seen += [name for _, name, _ in listing]
    assert len(seen) == len(set(seen))
    assert {b"%03d" % n for n in range(2, 600)} <= set(seen)


async def test_an_unlinked_file_lives_until_the_kernel_forgets_it(live):
    inode = live.names.make(1, b"a", FILE, OWNER)
    live.names.remember(inode.ino)
    live.names.remember(inode.ino)
    await live.files.write(inode, 0, b"x" * 10_000)
    await live.delete(live.names.unlink(1, b"a"))
    assert bytes(await live.files.read(inode, 0, 99_999)) == b"x" * 10_000
    await live.forgotten(inode.ino, 1)
    assert live.core.store.names.inode(inode.ino) is not None
    await live.forgotten(inode.ino, 1)
    assert live.core.store.names.inode(inode.ino) is None
    assert live.core.space.free + live.core.space.held == sum(live.core.data_size_of.values())


async def test_an_evicted_orphan_is_still_deleted_when_forgotten(live):
    inode = live.names.make(1, b"a", FILE, OWNER)
    live.names.remember(inode.ino)
    await live.delete(live.names.unlink(1, b"a"))
    live.core.table.drop(inode.ino)
    await live.forgotten(inode.ino, 1)
    assert live.core.store.names.inode(inode.ino) is None


def test_a_failed_transaction_leaves_memory_as_it_was(control, monkeypatch):
    inode = control.names.make(1, b"a", FILE, OWNER)
    before = control.core.inode(1).mtime_ns

    def full(*_):
        raise StoreError("database or disk is full")

    monkeypatch.setattr(control.core.store.names, "update_inode", full)
    with pytest.raises(StoreError):
        control.names.unlink(1, b"a")
    monkeypatch.undo()
    assert inode.nlink == 1
    assert control.core.inode(1).mtime_ns == before
    assert set(names_in(control)) == {b"a"}
