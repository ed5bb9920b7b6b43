# SPDX-License-Identifier: MIT
"""What the child that examines a program may use of the machine."""

from __future__ import annotations

import ctypes
import resource
import signal
from typing import Final

from iomapd.jit.admission.landlock import give_up_changes

CPU_SECONDS: Final = 30
"""Processor time.  An ordinary program takes one or two seconds, the longest that is shipped five,
and twice that where other work shares the processor: that is no reason to lose files."""

MEMORY: Final = 1 << 30
"""Address space, bytes.  Python, numba and LLVM map 300 MiB for a small program and
400 MiB for the largest (VmPeak, numba 0.68)."""

WALL_SECONDS: Final = 120
"""Time on the clock, enforced by the parent: a busy machine is slow, a sleeping child is wrong."""

ANSWER_MAX: Final = 4 << 20
"""Most bytes the child may answer with."""

_OPEN_FILES: Final = 64
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38


def apply_limits() -> None:
    """Limit this process for the rest of its life.

    It cannot change a file (where the kernel has Landlock; elsewhere it can make empty ones),
    dies with its parent, gains no privileges, and leaves no core behind.
    """
    for what, amount in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
    ):
        most = _at_most(amount, what)
        resource.setrlimit(what, (most, most))
    # The soft limit sends SIGXCPU, which has a name; the hard one kills without words.
    most = _at_most(CPU_SECONDS + 1, resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (max(most - 1, 1), most))
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    give_up_changes()


def _at_most(amount: int, what: int) -> int:
    """Return *amount*, or less where we ourselves are limited to less."""
    hard = resource.getrlimit(what)[1]
    return amount if hard == resource.RLIM_INFINITY else min(amount, hard)


def words_of_death(status: int, stage: str = "") -> str:
    """Say why a limited child ended without an answer.

    Args:
        status: its exit status; negative for a signal.
        stage: what it was doing.
    """
    if status == 1 and stage == "verifier":
        # LLVM's BPF back end prints and exits; it does so for nothing else that gets there.
        return "needs more than the 512 bytes of stack that a BPF program has"
    if status == -signal.SIGXCPU:
        return f"took too much processor time; at most {CPU_SECONDS} s are allowed"
    if status == -signal.SIGKILL:
        return "was killed; the machine may be out of memory"
    if status == -signal.SIGABRT:
        return f"made the compiler give up; it may need more than {MEMORY >> 20} MiB"
    if status < 0:
        return f"ended the examining process with {signal.Signals(-status).name}"
    return f"made the examining process exit with {status}"
