# SPDX-License-Identifier: MIT
"""A minimal file system on the transport, for tests: one root, a few files in memory.

    python -m tests.transport.tiny_server MOUNTPOINT [--ordinary]

Speaks JSON lines: {"event": "ready", ...} once mounted, {"event": "end", ...} at the end.  Reads
commands from standard input: "invalidate", "stop", "close".
"""

import argparse
import errno
import json
import os
import stat
import sys
import threading
import time
from pathlib import Path

import pyfuse3
import trio

from iomapd.transport import MountOptions, Transport, Wishes

FILE = 2
NAME = b"file"
SIZE = 64 << 20


class TinyOperations(pyfuse3.Operations):
    """Directory with one file; remembers what requests carried."""

    enable_writeback_cache = False

    def __init__(self):
        super().__init__()
        self.seen = {name: [] for name in ("reads", "writes", "fhs", "open_flags", "setattr_fhs")}
        self.gate = None  # set to a trio.Event to hold reads back
        self.mode = stat.S_IFREG | 0o666

    async def getattr(self, inode, ctx=None):
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        if inode == pyfuse3.ROOT_INODE:
            entry.st_mode, entry.st_nlink = stat.S_IFDIR | 0o777, 2
        else:
            entry.st_mode, entry.st_size, entry.st_nlink = self.mode, SIZE, 1
        entry.st_uid, entry.st_gid = os.getuid(), os.getgid()
        entry.attr_timeout = entry.entry_timeout = 60
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
        return pyfuse3.FileInfo(fh=inode, direct_io=bool(flags & os.O_DIRECT))

    async def read(self, fh, off, size):
        self.seen["reads"].append([off, size])
        size = max(0, min(size, SIZE - off))
        if self.gate is not None:
            await self.gate.wait()
        return bytes([off >> 20 & 255]) * size

    async def write(self, fh, off, buf):
        self.seen["writes"].append([off, len(buf)])
        self.seen["fhs"].append(fh)
        return len(buf)

    async def flush(self, fh):
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
        self.ended = threading.Event()
        self.reason = None
        self.transport = Transport(
            Path(arguments.mountpoint),
            MountOptions(subtype=arguments.subtype, allow_other=arguments.allow_other),
            self.on_end,
            wishes=Wishes(max_pages=arguments.max_pages),
            send_buffer=arguments.send_buffer,
        )

    def on_end(self, reason):
        self.reason = reason
        self.ended.set()
        trio.from_thread.run_sync(pyfuse3.terminate, trio_token=self.token)

    async def commands(self):
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            word = line.strip()
            if word == "hold":
                self.operations.gate = trio.Event()
            elif word == "release":
                self.operations.gate.set()
            elif word == "invalidate":
                pyfuse3.invalidate_inode(FILE)
            elif word == "seen":
                say("seen", **self.operations.seen)
                continue
            elif word == "statistics":
                stats = self.transport.statistics()
                say("statistics", **{n: getattr(stats, n) for n in stats.__slots__})
                continue
            elif word == "block":
                # A server that hangs in Python, interpreter lock held now and then.
                time.sleep(0.2)  # noqa: ASYNC251
            elif word == "close":
                pyfuse3.terminate()
            say("done", command=word)

    async def main(self):
        self.token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.announce)
            nursery.start_soon(self.commands)
            await pyfuse3.main()
            nursery.cancel_scope.cancel()

    async def announce(self):
        await trio.to_thread.run_sync(self.transport.ready.wait, abandon_on_cancel=True)
        limits = self.transport.limits
        say(
            "ready",
            connection=self.transport.connection,
            limits={name: getattr(limits, name) for name in limits.__slots__},
            untuned=self.transport.tune(),
        )

    def run(self):
        before = count_fds()
        self.transport.start()
        pyfuse3.init(self.operations, self.transport.server_path, {"fsname=tiny"})
        try:
            trio.run(self.main)
        finally:
            pyfuse3.close(unmount=False)
            self.transport.stop()
        say("end", reason=self.reason, fds=count_fds() - before, threads=threading.active_count())


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("mountpoint")
    parser.add_argument("--subtype", default="tiny")
    parser.add_argument("--allow-other", action="store_true")
    parser.add_argument("--max-pages", type=int, default=256)
    parser.add_argument("--send-buffer", type=int, default=8 << 20)
    return parser.parse_args()


if __name__ == "__main__":
    TinyServer(parse()).run()
