# SPDX-License-Identifier: MIT
"""The memory that the relays of one mount share with each other and with Python.

    OFFSET   SIZE  FIELD      MEANING
         0    256  counters   int64 each, one writer each: the relay named beside it
       256     16  polls      struct pollfd[2] of relay-in
       272     16  pause      struct timespec: how long relay-in waits for memory
       288     16  refusal    fuse_out_header with which relay-in refuses a request
       304      8  side       descriptor for requests that pyfuse3 cannot read; 0: there is none
       312     16  verdict    record of the control plane that a resume thread has read
      4096  32768  pending    requests on their way, see pending.py

Only relay-in writes ``refusal``; a stop writes it after the relays have ended.  Where lanes run
there is no relay-in: each of their threads has the first 4096 bytes in a block of its own,
and all share the pending table of the relays' block.
"""

from __future__ import annotations

import mmap
from typing import Final

from iomapd.native.memory import load64, store32, store64

# Written by relay-in.
REQUESTS: Final = 0  # forwarded to the server
READ_ERRORS: Final = 8  # requests the kernel could not hand over
REFUSED: Final = 16  # requests answered with an error here, or dropped if they take no answer
# Written by relay-out.
REPLIES: Final = 24  # written to the kernel
INTERRUPTED: Final = 32  # replies to requests that were gone: interrupted or aborted
WRITE_ERRORS: Final = 40  # replies the kernel did not take for any other reason
MALFORMED: Final = 48  # messages too short or too long to be replies
OPENS_EDITED: Final = 56
NOTIFICATIONS_QUEUED: Final = 64
NOTIFICATIONS_DROPPED: Final = 72  # the queue was full
# Written by the notifier.
NOTIFICATIONS_SENT: Final = 80
NOTIFICATIONS_UNKNOWN: Final = 88  # the kernel does not have that inode or name
NOTIFICATIONS_FAILED: Final = 96
# The last errno of each writer, for people.
IN_ERRNO: Final = 104
OUT_ERRNO: Final = 112
NOTIFIER_ERRNO: Final = 120

POLLS: Final = 256
PAUSE: Final = 272
REFUSAL: Final = 288
SIDE: Final = 304
VERDICT: Final = 312
PENDING: Final = 4096
PENDING_SLOTS: Final = 4096
OWN_SIZE: Final = PENDING  # what a lane has of it
BLOCK_SIZE: Final = PENDING + 8 * PENDING_SLOTS

# Memory for a message comes back as soon as the other side takes one; a millisecond is short.
PAUSE_NS: Final = 1_000_000

assert NOTIFIER_ERRNO < POLLS
assert PENDING % mmap.PAGESIZE == 0


def count(counter: int) -> None:
    """Add one to the counter at address *counter*, whose only writer is the caller."""
    store64(counter, load64(counter) + 1)


def prepare(block: int) -> None:
    """Fill in what the relays find in a fresh, zeroed block at address *block*."""
    store64(block + PAUSE, 0)
    store64(block + PAUSE + 8, PAUSE_NS)
    store32(block + REFUSAL, 16)
