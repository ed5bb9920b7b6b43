# SPDX-License-Identifier: MIT
"""An inode's entry in the shared table: its words, and what compiled code does with them.

    OFFSET  FIELD    MEANING                                            WRITTEN BY
         0  ino      whose entry this is; 0 = nobody's                  server
         8  size     what applications see, bytes                       all (rises by fetch_max)
        16  atime    ns since the epoch                                 all
        24  mtime    ns                                                 all
        32  ctime    ns                                                 all
        40  flags    FORWARD_WRITES, FORWARD_ALL                        server
        48  hold     how many want no lane to work on the inode         server
        56  cookie   another when extents go; none comes twice          server
        64  extents  address of the extent block, below; 0 = none       server
        72  places   address of member-level records; 0 = none          server
        80  touched  bit per member written to and not flushed          all
        88  marked   goes up with every mark                            all
        96  shrink   size that a truncate under way goes down to; -1    server
       104  marks    arena offset of the inode's first bitmap; 0        server
       112  dirty    1 = something changed since the last point looked  all
       120  -        reserved, zero

An extent block is immutable: ``count``, then *count* triples (start, end, words) in file order,
bytes; *words* is the address of the extent as `mapping.walk` reads it, 0 for a hole.  What
lies between the triples is not known here.

Entries lie in buckets of `WAYS`; an inode's bucket is chosen by the low bits of its number, and
inode numbers are handed out one by one, so buckets fill evenly.

Slots, not locks, keep an entry in place: whoever works on an inode shows its number in a slot
of its own *before* it looks for the entry (store, full fence, load); whoever changes what must not
change under it raises ``hold`` and waits until no slot shows the inode (store, full fence,
load).  One of the two always sees the other (Dekker).
"""

from __future__ import annotations

from typing import Final

from iomapd.native.memory import (
    exchange,
    fence,
    fetch_add,
    fetch_max,
    fetch_or,
    load64,
    load_acquire,
    store64,
    store_release,
)

INO: Final = 0
SIZE: Final = 8
ATIME: Final = 16
MTIME: Final = 24
CTIME: Final = 32
FLAGS: Final = 40
HOLD: Final = 48
COOKIE: Final = 56
EXTENTS: Final = 64
PLACES: Final = 72
TOUCHED: Final = 80
MARKED: Final = 88
SHRINK: Final = 96
MARKS: Final = 104
DIRTY: Final = 112
ENTRY_SIZE: Final = 128

WAYS: Final = 8
BUCKET_SIZE: Final = WAYS * ENTRY_SIZE

FORWARD_WRITES: Final = 1  # suid, sgid or capabilities to clear, or a failed flush
FORWARD_ALL: Final = 2

NOT_SHRINKING: Final = -1

# Extent blocks.
TRIPLE: Final = 24

# A slot is a cache line of its own: the ino it shows, or 0.
SLOT_SIZE: Final = 64

# Answers; zero is what a compiled function that crashed returns.
SHOWN: Final = 1
NOT_SHOWN: Final = 2


def show(slot: int, ino: int) -> None:
    """Show *ino* in the slot at address *slot*, before anything of the inode is looked at."""
    store64(slot, ino)
    fence()


def withdraw(slot: int) -> None:
    """Show nothing any more: the last member I/O is over and the reply is sent."""
    store_release(slot, 0)


def find_entry(entries: int, nr_buckets: int, ino: int) -> int:
    """Return the address of *ino*'s entry, or 0.

    Args:
        entries: address of the first bucket.
        nr_buckets: a power of two.
        ino: > 0; shown in a slot by the caller, so that the entry stays.
    """
    entry = entries + (ino & (nr_buckets - 1)) * BUCKET_SIZE
    for _ in range(WAYS):
        if load_acquire(entry + INO) == ino:
            return entry
        entry += ENTRY_SIZE
    return 0


def hold(entry: int) -> int:
    """Raise the entry's hold; lanes that come after this withdraw.  Returns how many hold it."""
    holders = fetch_add(entry + HOLD, 1) + 1
    fence()
    return holders


def release(entry: int) -> int:
    """Take one hold back; returns how many are left, negative for a fault of the caller's."""
    return fetch_add(entry + HOLD, -1) - 1


def is_shown(slots: int, nr_slots: int, ino: int) -> int:
    """Tell whether one of the slots shows *ino*: SHOWN or NOT_SHOWN."""
    for index in range(nr_slots):
        if load_acquire(slots + index * SLOT_SIZE) == ino:
            return SHOWN
    return NOT_SHOWN


def find_extent(block: int, pos: int) -> int:
    """Return the address of the triple that covers *pos* in an extent block, or 0."""
    low = 0
    high = load64(block)
    while low < high:
        middle = (low + high) >> 1
        triple = block + 8 + middle * TRIPLE
        if load64(triple + 8) <= pos:
            low = middle + 1
        else:
            high = middle
    triple = block + 8 + low * TRIPLE
    if low < load64(block) and load64(triple) <= pos:
        return triple
    return 0


def note_write(entry: int, end: int, now: int) -> int:
    """A write has been marked: raise the size to *end*, and set times unless *now* is 0.

    The order matters: a durability point reads size, then marks, then touched, so it never
    takes a size whose marks it has not seen.  TOUCHED must be in the entry before the marks.

    Returns:
        The size before.
    """
    if now:
        store64(entry + MTIME, now)
        store64(entry + CTIME, now)
    before = fetch_max(entry + SIZE, end)
    store_release(entry + DIRTY, 1)
    return before


def next_dirty(entries: int, nr_entries: int, start: int) -> int:
    """Return the index >= *start* of the next entry with something to copy, or -1."""
    index = start
    while index < nr_entries:
        entry = entries + index * ENTRY_SIZE
        if load_acquire(entry + DIRTY) != 0 and load64(entry + INO) != 0:
            return index
        index += 1
    return -1


def take(word: int) -> int:
    """Return the word at address *word* and leave 0 in its place, in one step."""
    return exchange(word, 0)


def add_bits(word: int, bits: int) -> int:
    """Set *bits* in the word at address *word* in one step; return what was there."""
    return fetch_or(word, bits)


def raise_to(word: int, value: int) -> int:
    """Raise the word at address *word* to at least *value* in one step; return what was there."""
    return fetch_max(word, value)


def put(word: int, value: int) -> int:
    """Store *value* in the word at address *word*, fenced; return what was there."""
    return exchange(word, value)
