# SPDX-License-Identifier: MIT
"""The model's own rule of what a crash may leave: too lenient, and it proves nothing."""

import pytest

from tests.model import content
from tests.model.content import BLOCK, Bytes, Content


@pytest.fixture(autouse=True)
def data_may_be_lost(monkeypatch):
    """The rule of a power cut, the more lenient one; what needs the other says so."""
    monkeypatch.setattr(content, "ACKNOWLEDGED_DATA_SURVIVES", False)


def settled(size):
    """A file of ones that a durability point covered."""
    file = Bytes()
    file.write(0, b"1" * size)
    file.settle()
    return file


def found(file, data, size=None):
    """Adopt *data* as what a crash left."""
    file.adopt(len(data) if size is None else size, lambda pos, n: data[pos : pos + n], "file")


def test_content_is_what_a_bytearray_is():
    plain, state = bytearray(), Content()
    for pos, length in ((5, 10), (BLOCK - 3, 7), (3 * BLOCK, BLOCK), (0, 1), (20_000, 100)):
        plain.extend(bytes(max(0, pos + length - len(plain))))
        plain[pos : pos + length] = b"x" * length
        state = state.write(pos, b"x" * length)
        assert state.read(0, 1 << 20) == plain
    for size in (13_000, 5, BLOCK, 9000):
        plain = plain[:size].ljust(size, b"\0")
        state = state.resize(size)
        assert state.read(0, 1 << 20) == plain
        assert state.read(3, 2) == plain[3:5]


@pytest.mark.parametrize("left", [b"1" * 100, b"1" * 100 + b"2" * 50], ids=["old", "new"])
def test_an_append_may_be_lost_or_there(left):
    file = settled(100)
    file.write(100, b"2" * 50)
    found(file, left)
    assert file.now.read(0, 1000) == left


@pytest.mark.parametrize(
    "left",
    [b"1" * 99, b"1" * 150, b"1" * 100 + bytes(50), b"1" * 100 + b"2" * 49 + b"3", b""],
    ids=["short", "more of the old", "zeros", "foreign", "nothing"],
)
def test_nothing_else_is_right_after_an_append(left):
    file = settled(100)
    file.write(100, b"2" * 50)
    with pytest.raises(AssertionError):
        found(file, left)


def test_a_truncate_is_never_undone():
    file = settled(2 * BLOCK)
    file.resize(10)
    file.resize(BLOCK)
    with pytest.raises(AssertionError):
        found(file, b"1" * 2 * BLOCK)
    with pytest.raises(AssertionError):
        found(file, b"1" * BLOCK)
    found(file, b"1" * 10)


def test_a_truncate_up_of_a_settled_file_is_there():
    file = settled(BLOCK)
    file.resize(BLOCK + 5)
    with pytest.raises(AssertionError):
        found(file, b"1" * BLOCK)
    found(file, b"1" * BLOCK + bytes(5))


def test_what_is_acknowledged_is_there_once_that_is_promised(monkeypatch):
    monkeypatch.setattr(content, "ACKNOWLEDGED_DATA_SURVIVES", True)
    file = settled(100)
    file.write(100, b"2" * 50)
    with pytest.raises(AssertionError):
        found(file, b"1" * 100)
    file.try_write(150, b"3")
    found(file, b"1" * 100 + b"2" * 50 + b"3")


def test_a_sparse_file_is_looked_at_where_it_was_written():
    file = Bytes()
    far = 1 << 40
    file.write(far, b"far")
    seen = []
    file.adopt(far + 3, lambda pos, n: seen.append(pos) or file.now.read(pos, n), "file")
    assert seen == [far - BLOCK, far]
