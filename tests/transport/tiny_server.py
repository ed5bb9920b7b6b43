# SPDX-License-Identifier: MIT
"""A minimal file system on the transport, for tests: a directory with one file.

    python -m tests.transport.tiny_server MOUNTPOINT [options]

Says what happens as JSON lines on standard output, and takes one command per line on standard
input: see `TinyServer.obey`.  The file remembers what its requests carried.
"""

import argparse
import contextlib
import errno
import functools
import json
import os
import stat
import sys
import threading
from dataclasses import asdict
from pathlib import Path

import pyfuse3
import trio

from iomapd.errors import MountError
from iomapd.transport import MountOptions, Transport, Wishes, forgo_splice

FILE = 2
NAME = b"file"
SIZE = 64 << 20


class TinyOperations(pyfuse3.Operations):
    """Every byte of the file is the number of its MiB."""

    enable_writeback_cache = False

    def __init__(self):
        super().__init__()
        self.seen = {name: [] for name in ("reads", "writes", "fhs", "open_flags", "setattr_fhs")}
        self.gate = None  # an event for which reads wait

    async def getattr(self, inode, ctx=None):
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        if inode == pyfuse3.ROOT_INODE:
            entry.st_mode, entry.st_nlink = stat.S_IFDIR | 0o777, 2
        else:
            entry.st_mode, entry.st_nlink, entry.st_size = stat.S_IFREG | 0o666, 1, SIZE
        entry.st_uid, entry.st_gid = os.getuid(), os.getgid()
        entry.attr_timeout = 60
        entry.entry_timeout = 0  # so that every open shows whether requests are answered
        return entry

    async def lookup(self, parent_inode, name, ctx=None):
        if parent_inode != pyfuse3.ROOT_INODE or name != NAME:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(FILE)

    async def setattr(self, inode, attr, fields, fh, ctx):
        self.seen["setattr_fhs"].append(fh)
        return await self.getattr(inode)

    async def open(self, inode, flags, ctx):
        self.seen["open_flags"].append(flags)
        return pyfuse3.FileInfo(fh=inode, direct_io=bool(flags & os.O_DIRECT), keep_cache=False)

    async def read(self, fh, off, size):
        self.seen["reads"].append([off, size])
        if self.gate is not None:
            await self.gate.wait()
        return bytes([off >> 20 & 255]) * max(0, min(size, SIZE - off))

    async def write(self, fh, off, buf):
        self.seen["writes"].append([off, len(buf)])
        self.seen["fhs"].append(fh)
        return len(buf)

    async def flush(self, fh):
        pass

    async def fsync(self, fh, datasync):
        pass

    async def release(self, fh):
        pass


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def count_fds():
    return len(list(Path("/proc/self/fd").iterdir()))


class TinyServer:
    def __init__(self, arguments):
        self.operations = TinyOperations()
        self.reason = None
        self.scope = trio.CancelScope()
        self.close_first = False
        self.transport = Transport(
            Path(arguments.mountpoint),
            MountOptions(subtype="tiny", allow_other=arguments.allow_other),
            self.on_end,
            wishes=Wishes(max_pages=arguments.max_pages),
            send_buffer=arguments.send_buffer,
        )

    def on_end(self, reason):
        self.reason = reason
        with contextlib.suppress(trio.RunFinishedError):  # on our way out already
            trio.from_thread.run_sync(pyfuse3.terminate, trio_token=self.token)

    async def obey(self, command):
        """Do one command; what it returns is said."""
        if command == "hold":
            self.operations.gate = trio.Event()
        elif command == "release":
            self.operations.gate.set()
        elif command == "invalidate":
            pyfuse3.invalidate_inode(FILE)
        elif command == "seen":
            return self.operations.seen
        elif command == "statistics":
            return asdict(self.transport.statistics())
        elif command in ("unmount", "unmount lazily"):
            lazy = command != "unmount"
            unmount = functools.partial(self.transport.unmount, lazy=lazy)
            try:
                # In a thread: the kernel may ask for something on the way.
                await trio.to_thread.run_sync(unmount)
            except MountError as error:
                return {"error": str(error)}
        elif command == "stop":
            self.scope.cancel()
        elif command == "leave":
            self.close_first = True
            self.scope.cancel()
        return {}

    async def commands(self):
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            say("done", **await self.obey(line.strip()))

    async def announce(self):
        await trio.to_thread.run_sync(self.transport.ready.wait, abandon_on_cancel=True)
        say(
            "ready",
            connection=self.transport.connection,
            limits=asdict(self.transport.limits),
            untuned=self.transport.tune(),
        )

    async def main(self):
        self.token = trio.lowlevel.current_trio_token()
        with self.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.announce)
                nursery.start_soon(self.commands)
                await pyfuse3.main()
                nursery.cancel_scope.cancel()

    def run(self):
        fds = count_fds()
        self.transport.start()
        forgo_splice()
        pyfuse3.init(self.operations, self.transport.server_path, {"fsname=tiny"})
        trio.run(self.main)
        if self.close_first:
            pyfuse3.close(unmount=False)
            self.transport.stop()
        else:
            self.transport.stop()
            pyfuse3.close(unmount=False)
        relays = [t.name for t in threading.enumerate() if t.name.startswith("iomapd")]
        say("end", reason=self.reason, fds=count_fds() - fds, relays=relays)


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("mountpoint")
    parser.add_argument("--allow-other", action="store_true")
    parser.add_argument("--max-pages", type=int, default=256)
    parser.add_argument("--send-buffer", type=int, default=8 << 20)
    return parser.parse_args()


if __name__ == "__main__":
    TinyServer(parse()).run()
