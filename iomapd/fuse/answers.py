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
        except _EXPECTED as exc:
            number = exc.errno or errno.EIO
            if number == errno.EIO or number in _OURS:
                log.error("%s: %s", name, exc)
            raise pyfuse3.FUSEError(_OURS.get(number, number)) from exc
        except Exception:
            log.exception("%s failed", name)
            raise pyfuse3.FUSEError(errno.EIO) from None
        finally:
            counted = self.requests.setdefault(name, [0, 0])
            counted[0] += 1
            counted[1] += time.perf_counter_ns() - started

    return answered  # type: ignore[return-value]
