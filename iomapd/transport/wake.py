# SPDX-License-Identifier: MIT
"""Waking a thread that sleeps in read(2) on /dev/fuse: a signal whose handler does nothing.

Nothing else ends such a read while the mount lives: closing the descriptor does not.
Polling would; it costs a system call for every request.  A signal may come just before the read
begins, so who waits for the thread sends it again until the thread is gone.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

from iomapd.native.syscalls import syscall

if TYPE_CHECKING:
    import threading

WAKE: Final = signal.SIGUSR2
"""Of no meaning to anybody else in a server; its default action would end the process."""

_NR_TGKILL: Final = 234
_INTERVAL: Final = 0.01  # s


def allow_waking() -> None:
    """Make `WAKE` interrupt system calls and do nothing else; from the main thread.

    Raises:
        ValueError: this is not the main thread.
    """
    # Python's handlers are installed without SA_RESTART.
    signal.signal(WAKE, lambda *_: None)


def may_wake() -> bool:
    """Tell whether `allow_waking` has been called."""
    return signal.getsignal(WAKE) not in (signal.SIG_DFL, signal.SIG_IGN, None)


def wake_and_join(thread: threading.Thread) -> None:
    """Interrupt *thread*'s system calls until it has ended; something tells it to."""
    while thread.is_alive():
        # Not pthread_kill(3): a thread that is just gone has no valid handle.
        syscall(_NR_TGKILL, os.getpid(), thread.native_id or 0, WAKE, 0, 0, 0)
        thread.join(_INTERVAL)
