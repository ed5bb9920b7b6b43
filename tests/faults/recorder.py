# SPDX-License-Identifier: MIT
"""Shows the files of one directory and logs all that is done to them.

    python -m tests.faults.recorder BACKING MOUNTPOINT LOGS [FLUSH_SECONDS]

A file system in user space over BACKING, a flat directory.  Each file has a log in LOGS
(`tests.faults.log`): its writes, sizes and flushes; ``.log`` is the directory's own, with
names made, moved and removed, and with fsyncs of the directory.  A flush is logged
when it arrives and answered FLUSH_SECONDS later, like that of a disk: what is written
meanwhile is not covered by it.  Nothing is made durable in truth.

Log files carry the names of their files; a file that was removed keeps its log as
``NAME~NUMBER.log``.  Files that are there at the start are logged as written and flushed.

Facts
  - Requests are served one after another, so that the logs are one order.
  - FOPEN_DIRECT_IO: each write of a program is logged before it returns.  A shared
    mapping of a recorded file would change bytes unseen; the kernel refuses it (ENODEV).
  - SQLite maps its ``-shm`` file, which means nothing after a power cut.  It is not
    recorded, and has the page cache that mapping needs.
  - pyfuse3 hands over a file's open flags, not a write's: O_DSYNC of an open file is
    known and logged as FUA, RWF_DSYNC of one call is not.
  - pyfuse3 has no handler for fallocate: it fails with EOPNOTSUPP, for loop devices too.
  - Locks (flock, fcntl) stay in the kernel.  Modes, owners and times are not logged.

``setfattr -n user.mark -v TEXT MOUNTPOINT`` puts a mark into every log, at one instant.
"""

from __future__ import annotations

import errno
import functools
import itertools
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pyfuse3
import trio

from tests.faults.log import Clock, Kind, LogWriter

ROOT = pyfuse3.ROOT_INODE
MARK = b"user.mark"
# The kernel learns of every change: all of them pass through it.
VALID_SECONDS = 3600
UNRECORDED = "-shm"


def answers_errors(handler):
    """Turn an OSError of *handler* into the request's error; pyfuse3 would end over it.

    It does end over a LostEntryError: a log with a gap would accuse the innocent.
    """

    @functools.wraps(handler)
    async def wrapped(*args):
        try:
            return await handler(*args)
        except OSError as exc:
            raise pyfuse3.FUSEError(exc.errno or errno.EIO) from exc

    return wrapped


@dataclass(slots=True, eq=False)
class File:
    """A file of the directory, by whatever name, also after it was removed."""

    inode: int
    fd: int
    name: str
    log: LogWriter | None
    lookups: int = 0


class Recorder(pyfuse3.Operations):
    """The handlers; inode numbers are file numbers, counted from 2."""

    enable_writeback_cache = False

    def __init__(self, backing: Path, logs: Path, flush_seconds: float) -> None:
        super().__init__()
        self._backing = backing
        self._logs = logs
        self._flush_seconds = flush_seconds
        self._clock = Clock()
        self._names: dict[str, File] = {}
        self._files: dict[int, File] = {}
        self._handles: dict[int, tuple[File, bool]] = {}
        self._inodes = itertools.count(ROOT + 1)
        self._handle_numbers = itertools.count(1)
        self._directory = LogWriter(logs / ".log", self._clock, lambda _length, _offset: b"")
        for path in sorted(backing.iterdir()):
            self._take(path.name, os.open(path, os.O_RDWR | os.O_CLOEXEC))
        self._directory.mark("dirsync", Kind.FLUSH)

    # --- files ------------------------------------------------------------

    def _take(self, name: str, fd: int) -> File:
        """Begin to record a file that is at *name* now."""
        inode = next(self._inodes)
        log = None
        if not name.endswith(UNRECORDED):
            log = LogWriter(self._log_path(name), self._clock, lambda n, at: os.pread(fd, n, at))
            log.mark(f"file {inode}", Kind.FILE)
            if data := os.pread(fd, os.fstat(fd).st_size, 0):
                log.write(0, data)
                log.flush()
            self._directory.mark(f"create {inode} {name}", Kind.NAME)
        file = self._names[name] = self._files[inode] = File(inode, fd, name, log)
        return file

    def _log_path(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _put_away(self, file: File) -> None:
        """*file* has lost its name: its log makes room for another file's."""
        del self._names[file.name]
        if file.log is not None:
            file.log.move(self._log_path(f"{file.name}~{file.inode}"))

    def _named(self, name: bytes) -> File:
        try:
            return self._names[os.fsdecode(name)]
        except KeyError:
            raise pyfuse3.FUSEError(errno.ENOENT) from None

    def _attributes(self, inode: int) -> pyfuse3.EntryAttributes:
        found = os.stat(self._backing) if inode == ROOT else os.fstat(self._files[inode].fd)
        entry = pyfuse3.EntryAttributes()
        for name in ("mode", "nlink", "uid", "gid", "size", "blocks"):
            setattr(entry, f"st_{name}", getattr(found, f"st_{name}"))
        for name in ("atime_ns", "mtime_ns", "ctime_ns"):
            setattr(entry, f"st_{name}", getattr(found, f"st_{name}"))
        entry.st_ino, entry.st_blksize, entry.st_rdev = inode, 4096, 0
        entry.generation = 0
        entry.entry_timeout = entry.attr_timeout = VALID_SECONDS
        return entry

    def _entry(self, file: File) -> pyfuse3.EntryAttributes:
        file.lookups += 1
        return self._attributes(file.inode)

    # --- names ------------------------------------------------------------

    @answers_errors
    async def lookup(self, _parent, name, _ctx):
        return self._entry(self._named(name))

    @answers_errors
    async def forget(self, inode_list):
        for inode, count in inode_list:
            file = self._files.get(inode)
            if file is None:
                continue
            file.lookups -= count
            if file.lookups <= 0 and self._names.get(file.name) is not file:
                os.close(file.fd)
                if file.log is not None:
                    file.log.close()
                del self._files[inode]

    @answers_errors
    async def create(self, _parent, name, mode, flags, _ctx):
        text = os.fsdecode(name)
        way = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(self._backing / text, way, mode & 0o7777)
        os.fchmod(fd, mode & 0o7777)
        file = self._take(text, fd)
        return self._opened(file, flags), self._entry(file)

    @answers_errors
    async def unlink(self, _parent, name, _ctx):
        file = self._named(name)
        os.unlink(self._backing / file.name)
        if file.log is not None:
            self._directory.mark(f"unlink {file.name}", Kind.NAME)
        self._put_away(file)

    @answers_errors
    async def rename(self, _parent, name, _new_parent, new_name, flags, _ctx):
        if flags:
            raise OSError(errno.EINVAL, "no flags")
        file, new = self._named(name), os.fsdecode(new_name)
        if new == file.name:
            return
        os.rename(self._backing / file.name, self._backing / new)
        replaced = self._names.get(new)
        if replaced is not None:
            self._put_away(replaced)
        if file.log is not None:
            self._directory.mark(f"rename {file.name} {new}", Kind.NAME)
            file.log.move(self._log_path(new))
        del self._names[file.name]
        file.name = new
        self._names[new] = file

    async def opendir(self, _inode, _ctx):
        return ROOT

    async def readdir(self, _fh, start_id, token):
        for number, file in sorted((f.inode, f) for f in self._names.values()):
            if number > start_id:
                entry = self._entry(file)
                if not pyfuse3.readdir_reply(token, os.fsencode(file.name), entry, number):
                    file.lookups -= 1
                    break

    # --- content ----------------------------------------------------------

    def _opened(self, file: File, flags: int) -> pyfuse3.FileInfo:
        handle = next(self._handle_numbers)
        self._handles[handle] = (file, bool(flags & os.O_DSYNC))
        if flags & os.O_TRUNC:
            self._resize(file, 0)
        recorded = file.log is not None
        return pyfuse3.FileInfo(fh=handle, direct_io=recorded, keep_cache=not recorded)

    def _resize(self, file: File, size: int) -> None:
        if os.fstat(file.fd).st_size != size:
            os.ftruncate(file.fd, size)
            if file.log is not None:
                file.log.truncate(size)

    @answers_errors
    async def open(self, inode, flags, _ctx):
        return self._opened(self._files[inode], flags)

    async def release(self, fh):
        del self._handles[fh]

    @answers_errors
    async def read(self, fh, offset, length):
        return os.pread(self._handles[fh][0].fd, length, offset)

    @answers_errors
    async def write(self, fh, offset, data):
        file, durable = self._handles[fh]
        done = os.pwrite(file.fd, data, offset)
        if file.log is not None:
            file.log.write(offset, data[:done], durable=durable)
        return done

    @answers_errors
    async def fsync(self, fh, _datasync):
        file, _ = self._handles[fh]
        if file.log is not None:
            file.log.flush()
            await trio.sleep(self._flush_seconds)

    @answers_errors
    async def fsyncdir(self, _fh, _datasync):
        self._directory.mark("dirsync", Kind.FLUSH)
        await trio.sleep(self._flush_seconds)

    # --- attributes -------------------------------------------------------

    @answers_errors
    async def getattr(self, inode, _ctx=None):
        return self._attributes(inode)

    @answers_errors
    async def setattr(self, inode, attr, fields, _fh, _ctx):
        if inode == ROOT:
            raise OSError(errno.EPERM, "the directory stays as it is")
        file = self._files[inode]
        if fields.update_size:
            self._resize(file, attr.st_size)
        if fields.update_mode:
            os.fchmod(file.fd, attr.st_mode & 0o7777)
        if fields.update_uid or fields.update_gid:
            uid = attr.st_uid if fields.update_uid else -1
            os.fchown(file.fd, uid, attr.st_gid if fields.update_gid else -1)
        return self._attributes(inode)

    @answers_errors
    async def statfs(self, _ctx):
        found = os.statvfs(self._backing)
        answer = pyfuse3.StatvfsData()
        for name in ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail"):
            setattr(answer, f"f_{name}", getattr(found, f"f_{name}"))
        answer.f_namemax = 240  # a log's name is a few bytes longer
        return answer

    @answers_errors
    async def setxattr(self, inode, name, value, _ctx):
        if inode != ROOT or name != MARK:
            raise OSError(errno.EOPNOTSUPP, "no such attribute")
        self.mark(value.decode())

    def mark(self, text: str) -> None:
        """Put *text* into every log, also of removed files, at one instant."""
        sequence = self._clock.tick()
        try:
            for log in (self._directory, *(f.log for f in self._files.values())):
                if log is not None:
                    log.mark(text, sequence=sequence)
        except ValueError as exc:
            raise OSError(errno.E2BIG, str(exc)) from None


def main() -> int:
    """Serve until unmounted; says "ready" on stdout once mounted."""
    backing, mountpoint, logs, *rest = sys.argv[1:]
    recorder = Recorder(Path(backing), Path(logs), float(rest[0]) if rest else 0.0)
    options = {*pyfuse3.default_options, "fsname=recorder", "default_permissions"}
    pyfuse3.init(recorder, mountpoint, options)
    print("ready", flush=True)
    try:
        trio.run(pyfuse3.main)
    finally:
        # By then it is unmounted, unless this process failed.
        pyfuse3.close(unmount=sys.exc_info()[0] is not None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
