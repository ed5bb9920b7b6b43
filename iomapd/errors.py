# SPDX-License-Identifier: MIT
"""Every error iomapd raises, and the errno the mounted file system reports.

* IomapdError                     EIO
  + UsageError                    EINVAL    arguments, options; exit status 2
  + LayoutFileError               EINVAL    a layout file breaks a rule
  + BadMappingError               EUCLEAN   a mapping broke the contract
  + ProgramError                  ENOEXEC
  + MemberError                   EIO
    - MemberMissingError          ENODEV
    - MemberBusyError             EBUSY     somebody else holds it
    - SuperblockError             EUCLEAN
      - UnknownFormatError        EUCLEAN   whole, but of a newer version
  + StoreError                    EIO
    - StoreMissingError           ENOENT
    - StoreStaleError             ESTALE    older than its members
    - StoreBusyError              EBUSY
  + MountError                    EIO       mountpoint, mount(2), fusermount3
  + SpaceError                    ENOSPC

A message is one line: it names the value, the rule it breaks, and the place.
(EUCLEAN is what the kernel spells EFSCORRUPTED, its answer to the same offence.)
"""

from __future__ import annotations

import errno as _errno


def on_one_line(text: str) -> str:
    """Return *text* with line breaks and other control characters written as escapes.

    Values in a message come from files that anybody may have written.
    """
    return "".join(c if c.isprintable() or c == " " else ascii(c)[1:-1] for c in text)


class IomapdError(Exception):
    """Base of all errors whose message is meant for a user: one line, no traceback."""

    errno: int = _errno.EIO

    def __str__(self) -> str:
        return on_one_line(super().__str__())


class UsageError(IomapdError):
    """The command line or a mount option is wrong; the program exits with 2."""

    errno = _errno.EINVAL


class LayoutFileError(IomapdError):
    """A layout file is malformed or contradicts a rule; names key, value and rule."""

    errno = _errno.EINVAL


class BadMappingError(IomapdError):
    """A mapping (from the store, a cache or a program) breaks the mapping contract."""

    errno = _errno.EUCLEAN


class ProgramError(IomapdError):
    """A mapping program is missing, unreadable or not admitted."""

    errno = _errno.ENOEXEC


class MemberError(IomapdError):
    """A member cannot be used; the message names it."""


class MemberMissingError(MemberError):
    """A member of the volume is not there."""

    errno = _errno.ENODEV


class MemberBusyError(MemberError):
    """A member is held by somebody else (mounted, another server, O_EXCL)."""

    errno = _errno.EBUSY


class SuperblockError(MemberError):
    """A superblock is damaged, foreign, stale or of an unknown version."""

    errno = _errno.EUCLEAN


class UnknownFormatError(SuperblockError):
    """A superblock is whole but of a format or with a feature that this version does not know."""


class StoreError(IomapdError):
    """The metadata store cannot be used or refuses an operation."""


class StoreMissingError(StoreError):
    """The metadata store is not where the layout says."""

    errno = _errno.ENOENT


class StoreStaleError(StoreError):
    """The metadata store is older than the members, or of another volume."""

    errno = _errno.ESTALE


class StoreBusyError(StoreError):
    """Another server holds the metadata store."""

    errno = _errno.EBUSY


class MountError(IomapdError):
    """Mounting or unmounting failed; the message names the mountpoint."""


class SpaceError(IomapdError):
    """No space is left after everything that could be given back was given back."""

    errno = _errno.ENOSPC
