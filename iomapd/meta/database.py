# SPDX-License-Identifier: MIT
"""SQLite as the store uses it: one writing connection, transactions, the WAL file.

Facts about SQLite (sqlite.org/wal.html, sqlite.org/pragma.html)
  - In WAL mode with ``synchronous=NORMAL`` a commit appends to the ``-wal`` file
    and does not fsync: a killed process loses nothing, a power cut keeps a
    prefix of the transactions.
  - SQLITE_FULL and SQLITE_IOERR roll back the whole open transaction; hence one
    transaction per operation, never one that collects many operations.
  - POSIX locks vanish when *any* descriptor of the file is closed by the
    process.  The lock descriptor here is therefore opened before the first
    connection and closed after the last.

What this means here: every operation commits in about 10 us without waiting for
the disk; a durability point fdatasyncs the ``-wal`` file itself, in a thread.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import copyfile, rmtree
from typing import TYPE_CHECKING

from iomapd.errors import StoreBusyError, StoreError, StoreMissingError
from iomapd.meta.rows import words_of
from iomapd.meta.schema import APPLICATION_ID, SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE_CACHE_KIB = 65536  # enough for the index pages of about a million names
LOG_KEPT = 16 << 20
"""Bytes that stay of the log when it begins anew after a checkpoint.

SQLite does not shorten it by itself, and `Database.wal_size` is the size of the file: a log that
had once grown long would look worth a checkpoint at every durability point from then on.  Some
of it stays, so that commits overwrite blocks that the file has already.
"""


class Database:
    """The connection behind a `Store`; not thread-safe except where said."""

    def __init__(self, path: Path, *, read_only: bool, wait: float) -> None:
        """Open the store at *path*, holding it against every other server.

        Args:
            path: the SQLite file; it must exist.
            read_only: work on a private copy; nothing beside *path* is written.
            wait: seconds to wait for another holder to finish.

        Raises:
            StoreMissingError, StoreBusyError, StoreError: in words.
        """
        self.path = path
        self.read_only = read_only
        self._private: Path | None = None
        self._wal_fd = -1
        self._lock_fd = _lock(path, shared=read_only, wait=wait)
        try:
            self.connection = self._connect(self._working_path())
            self._check_format()
            self._enter_wal_mode()
        except BaseException:
            self._release()
            raise

    def _working_path(self) -> Path:
        if not self.read_only:
            return self.path
        # A WAL needs recovery and recovery writes; a read-only mount writes
        # nothing, so it recovers a copy.
        self._private = Path(tempfile.mkdtemp(prefix="iomapd-ro-"))
        copy = self._private / self.path.name
        copyfile(self.path, copy)
        wal = self.path.with_name(self.path.name + "-wal")
        if wal.exists():
            copyfile(wal, copy.with_name(copy.name + "-wal"))
        return copy

    def _connect(self, path: Path) -> sqlite3.Connection:
        try:
            return sqlite3.connect(
                path, isolation_level=None, cached_statements=256, check_same_thread=False
            )
        except (sqlite3.Error, UnicodeDecodeError) as exc:
            raise self._unreadable(exc) from None

    def _check_format(self) -> None:
        try:
            (app,) = self.connection.execute("PRAGMA application_id").fetchone()
            (version,) = self.connection.execute("PRAGMA user_version").fetchone()
        except (sqlite3.Error, UnicodeDecodeError) as exc:
            raise self._unreadable(exc) from None
        if app != APPLICATION_ID:
            raise StoreError(f"{self.path}: not an iomapd metadata store (application id {app:#x})")
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"{self.path}: schema version {version}; this iomapd knows {SCHEMA_VERSION}"
            )

    def _enter_wal_mode(self) -> None:
        # Only now that this is known to be a store: the first pragma would turn
        # an empty file into a database.  A store is in WAL mode already, so
        # opening and closing it changes no byte.
        try:
            self.connection.execute("PRAGMA journal_mode=WAL").fetchone()
            self.connection.execute("PRAGMA synchronous=NORMAL")
            self.connection.execute("PRAGMA wal_autocheckpoint=0")
            self.connection.execute(f"PRAGMA journal_size_limit={LOG_KEPT}").fetchone()
            # As sqlite.org/security.html advises for files that anybody may have written.
            self.connection.execute("PRAGMA trusted_schema=OFF")
            self.connection.execute("PRAGMA cell_size_check=ON")
            self.connection.execute(f"PRAGMA cache_size=-{PAGE_CACHE_KIB}")
        except (sqlite3.Error, UnicodeDecodeError) as exc:
            raise self._unreadable(exc) from None

    def _unreadable(self, exc: Exception) -> StoreError:
        return StoreError(f"{self.path}: not a readable metadata store ({words_of(exc)})")

    def _open_wal(self) -> int:
        # The -wal file exists only after the first write; an empty write
        # transaction is not enough, rewriting user_version is.
        self.connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        fd = os.open(f"{self.path}-wal", os.O_RDWR | os.O_CLOEXEC)
        # Its *name* must survive a power cut as well as its bytes.
        fsync_directory(self.path.parent)
        return fd

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run one operation as one transaction, committed without fsync.

        Raises:
            StoreError: the transaction failed and was rolled back; ``errno`` is
                ENOSPC when the store's own file system is full.
        """
        connection = self.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except BaseException as exc:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if isinstance(exc, sqlite3.Error):
                raise store_error(self.path, exc) from exc
            raise

    def sync_wal(self) -> None:
        """Make every committed transaction durable; blocks, may run in any thread.

        Raises:
            OSError: the flush failed; what was committed is not known durable.
        """
        if self._wal_fd < 0:
            # Not when the store is opened: a mount that is refused writes nothing.
            # The first flush belongs to `Store.begin_generation`, before any thread.
            self._wal_fd = self._open_wal()
        os.fdatasync(self._wal_fd)

    def wal_size(self) -> int:
        """Return the size of the write-ahead log, bytes; `LOG_KEPT` of them may be spent."""
        return os.fstat(self._wal_fd).st_size if self._wal_fd >= 0 else 0

    def checkpoint(self, mode: str = "PASSIVE") -> None:
        """Move the log into the database file; blocks, on a connection of its own.

        Never during a durability point, and PASSIVE while the mount is live: it
        then waits for nobody and nobody waits for it.
        """
        helper = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            helper.execute("PRAGMA synchronous=FULL")
            helper.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except sqlite3.Error as exc:
            raise store_error(self.path, exc) from exc
        finally:
            helper.close()

    def copy_to(self, path: Path) -> None:
        """Write a consistent copy of what is committed to *path*; blocks, any thread.

        Uses SQLite's online backup (sqlite.org/backup.html) on a connection of
        its own; operations go on beside it.

        Raises:
            OSError: something is at *path* already, or it cannot be made.
        """
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(path)) as copy:
            source.backup(copy)

    def close(self) -> None:
        """Close the connection, then give up the lock."""
        self.connection.close()
        self._release()

    def _release(self) -> None:
        if self._wal_fd >= 0:
            os.close(self._wal_fd)
            self._wal_fd = -1
        os.close(self._lock_fd)
        if self._private is not None:
            rmtree(self._private, ignore_errors=True)


def store_error(path: Path, exc: sqlite3.Error) -> StoreError:
    """Turn a SQLite error into one line and an errno."""
    error = StoreError(f"{path}: {words_of(exc)}")
    if getattr(exc, "sqlite_errorname", "").startswith("SQLITE_FULL"):
        error.errno = errno.ENOSPC
    return error


def fsync_directory(path: Path) -> None:
    """Make the names in directory *path* durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _lock(path: Path, *, shared: bool, wait: float) -> int:
    flags = os.O_RDONLY if shared else os.O_RDWR
    try:
        fd = os.open(path, flags | os.O_CLOEXEC)
    except FileNotFoundError:
        raise StoreMissingError(f"{path}: the metadata store is missing") from None
    except OSError as exc:
        raise StoreError(f"{path}: cannot open the metadata store: {exc.strerror}") from None
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(fd)
                raise StoreBusyError(
                    f"{path}: the volume is in use{_holder(path)}; unmount it first"
                ) from None
            time.sleep(0.05)
        else:
            return fd


def _holder(path: Path) -> str:
    """Return `` by process N`` from /proc/locks, or an empty string."""
    try:
        inode = path.stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if "FLOCK" in fields and fields[5].rsplit(":", 1)[-1] == str(inode):
                return f" by process {fields[4]}"
    except (OSError, IndexError):
        pass
    return ""
