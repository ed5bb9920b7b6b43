# SPDX-License-Identifier: MIT
"""Keeping libfuse from splicing its requests out of the socket pair.

libfuse 3.14 splices each request into a pipe of max_write size when it can make one.
/dev/fuse fills that pipe with the pages of the request; a socket cannot, so the kernel allocates
all 257 pages of the pipe for a request of a hundred bytes and frees them again.  Measured on
Linux 6.18, 2026-11: 35 us instead of 5 us for a small message, 7,300 instead of 10,200 stat(2) a
second through the whole mount.  pyfuse3 offers no switch.

Only CAP_SYS_RESOURCE allows a pipe above /proc/sys/fs/pipe-max-size (1 MiB by default, one page
less than libfuse asks for); without it libfuse falls back to read(2), which is what we want.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Final

from iomapd.abi.fuse import BUFFER_HEADER_SIZE

_PIPE_MAX_SIZE: Final = Path("/proc/sys/fs/pipe-max-size")
_LARGEST_REQUEST: Final = (1 << 20) + BUFFER_HEADER_SIZE

# <linux/capability.h>
CAP_SYS_RESOURCE: Final = 24
_VERSION_3: Final = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Word(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def forgo_splice() -> bool:
    """Make libfuse read instead of splice, in the calling thread only.

    To be called in the thread that runs pyfuse3.main(), before it does.

    Returns:
        Whether that is now certain; False where pipe-max-size is larger than usual.
    """
    disarm(CAP_SYS_RESOURCE)
    return int(_PIPE_MAX_SIZE.read_text()) < _LARGEST_REQUEST


def disarm(capability: int) -> None:
    """Take *capability* out of the calling thread's effective set; it stays permitted.

    Raises:
        OSError: the kernel refused.
    """
    header, words = _Header(_VERSION_3, 0), (_Word * 2)()
    if _libc.capget(ctypes.byref(header), words) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    words[capability // 32].effective &= ~(1 << capability % 32)
    if _libc.capset(ctypes.byref(header), words) != 0:
        raise OSError(ctypes.get_errno(), "capset")
