# SPDX-License-Identifier: MIT
"""One request buffer: a message, and everything that serving it needs.

    OFFSET  AREA     SIZE
         0  record   words below; scratch: ctx, reply header, record to post, timespec, batch
      4096  pieces   NR_PIECES_MAX * PIECE_SIZE, as `mapping.walk` writes them
     24576  iovecs   IOV_MAX * IOV_SIZE
     45056  buffer   DATA_MAX + two blocks of margin, page-aligned

A message is read to ``BUFFER - IO_END``, so the payload of a WRITE begins on a page and can go
to an O_DIRECT member as it is.  The data of a READ is gathered in the buffer behind its
message, which stays whole until the reply: a request can be parked or forwarded at any time.

    FREE -> BUSY      a lane reads into it, serves it
    BUSY -> PARKED    a mapping is missing and was asked for; nobody touches it meanwhile
    PARKED -> FREE    the resume thread has served or forwarded it
"""

from __future__ import annotations

from typing import Final

from iomapd.abi.fuse import IO_END
from iomapd.abi.program import CTX_SIZE
from iomapd.abi.units import BLOCK
from iomapd.mapping.walk import PIECE_SIZE
from iomapd.native.memory import store64
from iomapd.native.syscalls import IOV_MAX, IOV_SIZE

# Words of the record: what does not change.
INDEX: Final = 0  # its number; what a posted record names
SLOT: Final = 8  # address of the slot that shows its inode
MESSAGE: Final = 16  # addresses of its areas
BUFFER: Final = 24
PIECES: Final = 32
IOV: Final = 40
CTX: Final = 48
HEADER: Final = 56
BATCH: Final = 248
# What does.
STATE: Final = 64
LENGTH: Final = 72  # bytes of the message
PARKS: Final = 80  # how often parked without getting further
COOKIE: Final = 88  # the inode's, when its pieces were begun; NO_COOKIE = begin
NR_PIECES: Final = 96
WALKED: Final = 104  # file position up to which there are pieces
ORIGIN: Final = 112  # address at which file position 0 would lie, were it in the buffer
TOUCH: Final = 120  # bits of the members that its pieces lie on
MODES: Final = 128  # 1 << mode of each of them
STARTED: Final = 136  # cycles when the message was read
MISSING: Final = 144  # what is asked for when it is parked: file position,
MISSING_COUNT: Final = 152  # bytes,
KIND: Final = 160  # and MISS or UPCALL
EXTENTS: Final = 168  # address of the extent block that it works with
TIMESPEC: Final = 176  # two words for clock_gettime
ANSWER: Final = 192  # of the control plane, to an upcall: five words
ANSWER_STATUS: Final = ANSWER  # NO_ANSWER, ANSWERED, or anything else: forward the request
ANSWER_MEMBER: Final = ANSWER + 8
ANSWER_ADDR: Final = ANSWER + 16
ANSWER_START: Final = ANSWER + 24  # file positions
ANSWER_END: Final = ANSWER + 32
AIO: Final = 240  # context of Linux AIO; 0 = none
POST: Final = 256  # the record as it is posted, POST_SIZE

FREE: Final = 1
BUSY: Final = 2
PARKED: Final = 3

NO_COOKIE: Final = -1
NO_ANSWER: Final = 0
ANSWERED: Final = 1

# A posted record, 48 bytes: index, ino, pos, count, opflags, kind; of a FAULT, pos is an address
# in the data area of the member whose id takes the place of opflags.
POST_SIZE: Final = 48
POST_WRITE: Final = 1  # opflags: the request is a WRITE
MISS: Final = 1  # no entry, or nothing covers pos: publish it, and for a write allocate it
UPCALL: Final = 2  # where on which member is pos?  The answer goes into ANSWER
FAULT: Final = 3  # what is mapped there cannot be read; nobody waits for an answer

# What became of a request; zero is what a compiled function that crashed returns.
SERVED: Final = 1  # replied, maybe with an error
PARK: Final = 3  # something is missing, see MISSING; the request stays as it is
GO_ON: Final = 4  # inside: not decided yet
FAILED: Final = 5  # inside: member I/O failed
FORWARD: Final = 10  # from here on: nothing was done, the control plane takes it; reasons:
FORWARD_UNMAPPED: Final = 10  # the mapping was missing, and it could not be parked
FORWARD_HELD: Final = 11  # the inode is being changed
FORWARD_FLAGGED: Final = 12  # the inode or the mount wants it so
FORWARD_REFUSED: Final = 13  # the mapping answered is no good; the control plane says why
FORWARD_UNALIGNED: Final = 14  # a direct member, and not whole blocks
FORWARD_PARTIAL: Final = 15  # bytes around it must be zeroed first
FORWARD_SYNC: Final = 16  # durable before the reply
FORWARD_BUSY: Final = 17  # the last lane outside member I/O
FORWARD_OTHER: Final = 18  # too short, too long, beyond the largest file
FORWARD_FOREIGN: Final = 19  # neither READ nor WRITE
FORWARD_FAILED: Final = 20  # member I/O failed; the control plane tries, and says where
NR_REASONS: Final = 11

BATCH_SIZE: Final = 3072  # what `dataplane.batch` works in

DATA_MAX: Final = 1 << 20  # largest payload served, bytes
NR_PIECES_MAX: Final = 513  # a MiB is 257 blocks at most

_SCRATCH_CTX: Final = 512
_SCRATCH_HEADER: Final = 768
_BATCH_AT: Final = 1024
_PIECES_AT: Final = 4096
_IOV_AT: Final = 24576
_BUFFER_AT: Final = 45056

MESSAGE_MAX: Final = IO_END + DATA_MAX + 2 * BLOCK  # bytes that a message may have
REQUEST_SIZE: Final = _BUFFER_AT + DATA_MAX + 2 * BLOCK

assert POST + POST_SIZE <= _SCRATCH_CTX
assert _SCRATCH_CTX + CTX_SIZE <= _SCRATCH_HEADER
assert _BATCH_AT + BATCH_SIZE <= _PIECES_AT
assert _PIECES_AT + NR_PIECES_MAX * PIECE_SIZE <= _IOV_AT
assert _IOV_AT + IOV_MAX * IOV_SIZE <= _BUFFER_AT - IO_END
assert NR_PIECES_MAX < IOV_MAX  # a reply is one writev: a header and its pieces
assert _BUFFER_AT % BLOCK == REQUEST_SIZE % BLOCK == 0


def lay_out(request: int, index: int, slot: int) -> None:
    """Fill in the record of a fresh, zeroed request buffer.

    Args:
        request: its address, on a page.
        index: its number.
        slot: address of its slot.
    """
    store64(request + INDEX, index)
    store64(request + SLOT, slot)
    store64(request + MESSAGE, request + _BUFFER_AT - IO_END)
    store64(request + BUFFER, request + _BUFFER_AT)
    store64(request + PIECES, request + _PIECES_AT)
    store64(request + IOV, request + _IOV_AT)
    store64(request + CTX, request + _SCRATCH_CTX)
    store64(request + HEADER, request + _SCRATCH_HEADER)
    store64(request + BATCH, request + _BATCH_AT)
    store64(request + COOKIE, NO_COOKIE)
    store64(request + STATE, FREE)
