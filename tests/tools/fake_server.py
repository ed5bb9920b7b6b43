# SPDX-License-Identifier: MIT
"""A server's admin socket without a server: real socket, real protocol, scripted answers.

Fault model: an answer may be a result, a refusal, raw bytes (whatever they are),
or the connection may be closed instead of an answer.
"""

import json
import socketserver
import threading
from contextlib import contextmanager
from pathlib import Path

from iomapd.abi.mountinfo import MountEntry
from iomapd.server.runtime import socket_of_mount

HANG_UP = object()


class FakeServer(socketserver.ThreadingUnixStreamServer):
    """Answers each operation from *answers* and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, path, answers):
        self.answers = answers
        self.asked = []
        super().__init__(str(path), _Handler)


class _Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            question = json.loads(line)
            self.server.asked.append(question)
            answer = self.server.answers[question["op"]]
            if answer is HANG_UP:
                return
            if not isinstance(answer, bytes):
                answer = json.dumps(answer).encode() + b"\n"
            self.wfile.write(answer)


def mount_entry(mountpoint="/mnt/x", device=(0, 9999), fstype="fuse.iomapd"):
    """Return the mountinfo entry of a mount that does not exist."""
    return MountEntry(9, device, Path("/"), Path(mountpoint), fstype, "x", ("rw",), ("rw",))


@contextmanager
def fake_server(entry, answers):
    """Serve *answers* on the socket that belongs to *entry*."""
    with FakeServer(socket_of_mount(entry), answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
