# SPDX-License-Identifier: MIT
"""The one place where errors become errnos, and requests are counted.

An exception that leaves a pyfuse3 handler ends the mount for all users; so an
`OSError` or `IomapdError` becomes its errno, anything else EIO and a traceback
in the log.
"""

from __future__ import annotations

import errno
import functools
import logging
import time
from typing import TYPE_CHECKING, Any, TypeVar

import pyfuse3

from iomapd.errors import IomapdError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

F = TypeVar("F", bound="Callable[..., Awaitable[Any]]")

# Logged by the room that noticed them; the caller learns them by their errno.
# What says more to us than to applications, which know EIO.
_OURS = {errno.EUCLEAN: errno.EIO, errno.ENOEXEC: errno.EIO}

_EXPECTED = (IomapdError, OSError)


def answers(handler: F) -> F:
    """Wrap a handler method: errors become errnos, calls and their ns are counted."""
    name = handler.__name__

    @functools.wraps(handler)
    async def answered(self: Any, *args: Any) -> Any:
        started = time.perf_counter_ns()
        try:
            return await handler(self, *args)
        except pyfuse3.FUSEError:
            raise
        except Exception as exc:
            raise pyfuse3.FUSEError(errno_of(name, exc)) from exc
        finally:
            count(self.requests, name, started)

    return answered  # type: ignore[return-value]


def errno_of(name: str, exc: Exception) -> int:
    """Return the errno that the caller of request *name* gets for *exc*; log what is ours."""
    if not isinstance(exc, _EXPECTED):
        log.error("%s failed", name, exc_info=exc)
        return errno.EIO
    number = exc.errno or errno.EIO
    if number == errno.EIO or number in _OURS:
        log.error("%s: %s", name, exc)
    return _OURS.get(number, number)


def count(requests: dict[str, list[int]], name: str, started_ns: int) -> None:
    """Count a request that has ended, and its ns."""
    counted = requests.setdefault(name, [0, 0])
    counted[0] += 1
    counted[1] += time.perf_counter_ns() - started_ns
