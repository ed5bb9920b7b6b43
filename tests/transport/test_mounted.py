# SPDX-License-Identifier: MIT
"""The transport on the real /dev/fuse, with a minimal pyfuse3 server in a process of its own."""

import contextlib
import errno
import json
import mmap
import os
import queue
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from iomapd.abi.fuse import (
    FH_DSYNC,
    FH_KILL_SUIDGID,
    FH_MASK,
    FH_NONE,
    FH_SYNC,
    INIT_AUTO_INVAL_DATA,
    INIT_DIRECT_IO_ALLOW_MMAP,
    INIT_EXPLICIT_INVAL_DATA,
    INIT_HANDLE_KILLPRIV_V2,
    OPEN_KILL_SUIDGID,
)
from iomapd.abi.mountinfo import find_mount
from iomapd.errors import MountError
from iomapd.transport import ABORTED, UNMOUNTED, MountOptions, Transport
from iomapd.transport.connection import Connection, mount_control
from tests.transport.tiny_server import SIZE

pytestmark = pytest.mark.mounted

ROOT = Path(__file__).parent.parent.parent
MIB = 1 << 20
TIMEOUT = 60
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes requests as another user: root only")


class Tiny:
    """A running tiny server; commands in, JSON lines out."""

    def __init__(self, mountpoint, *options, wrapper=()):
        self.mountpoint = mountpoint
        self.file = mountpoint / "file"
        self.process = subprocess.Popen(
            [*wrapper, sys.executable, "-m", "tests.transport.tiny_server", mountpoint, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self._lines = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.ready = self.expect("ready")

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put({"event": "eof"})

    def expect(self, event):
        line = self._lines.get(timeout=TIMEOUT)
        assert line["event"] == event, line
        return line

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.expect("done")

    def end(self):
        """Wait for the server's end and return its last line."""
        last = self.expect("end")
        assert self.process.wait(timeout=TIMEOUT) == 0
        assert (last["fds"], last["relays"]) == (0, [])
        return last

    def close(self):
        """End it in any state: abort, then kill."""
        if self.process.poll() is None:
            Connection(self.ready["connection"]).abort()
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(timeout=TIMEOUT)
        self.process.stdin.close()
        self.process.stdout.close()
        subprocess.run(["umount", "-l", self.mountpoint], check=False, capture_output=True)


@pytest.fixture
def start(tmp_path):
    """Return a function that starts tiny servers; all are ended, whatever they are in."""
    mount_control()
    with contextlib.ExitStack() as stack:

        def start(*options):
            mountpoint = tmp_path / "mnt"
            mountpoint.mkdir()
            return stack.enter_context(contextlib.closing(Tiny(mountpoint, *options)))

        yield start


@pytest.fixture
def tiny(start):
    return start()


@contextlib.contextmanager
def opened(path, flags):
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


class Task:
    """A call in a thread, with its result or its OSError."""

    def __init__(self, function, *arguments):
        self.result = None
        self.thread = threading.Thread(target=self._run, args=(function, arguments))
        self.thread.start()

    def _run(self, function, arguments):
        try:
            self.result = function(*arguments)
        except OSError as error:
            self.result = error

    def join(self):
        self.thread.join(timeout=TIMEOUT)
        assert not self.thread.is_alive(), "still waiting"
        return self.result


def wait_for(condition):
    """Poll *condition*; the kernel sends no event for it."""
    pause = threading.Event()
    for _ in range(TIMEOUT * 100):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it never came true")


def reads_seen(tiny):
    return len(tiny.ask("seen")["reads"])


def test_requests_of_one_mebibyte_arrive(tiny):
    with opened(tiny.file, os.O_RDWR | os.O_DIRECT) as fd:
        buffer = mmap.mmap(-1, 4 * MIB)
        assert os.preadv(fd, [buffer], 0) == 4 * MIB
        assert bytes(buffer[MIB : MIB + 2]) == b"\x01\x01"
        assert os.pwritev(fd, [buffer], 0) == 4 * MIB
    seen = tiny.ask("seen")
    assert sorted(seen["reads"]) == [[n * MIB, MIB] for n in range(4)]
    assert sorted(seen["writes"]) == [[n * MIB, MIB] for n in range(4)]


def test_the_kernel_has_taken_what_was_agreed(tiny):
    limits = tiny.ready["limits"]
    flags = limits["flags"]
    assert limits["max_write"] == MIB
    assert flags & INIT_HANDLE_KILLPRIV_V2
    assert flags & INIT_EXPLICIT_INVAL_DATA
    assert not flags & INIT_AUTO_INVAL_DATA
    assert flags & INIT_DIRECT_IO_ALLOW_MMAP
    connection = Connection(tiny.ready["connection"])
    assert (connection.directory / "max_background").read_text() == "64\n"
    assert (connection.directory / "congestion_threshold").read_text() == "48\n"
    if os.geteuid() == 0:
        assert (connection.bdi / "read_ahead_kb").read_text() == "4096\n"
        assert tiny.ready["untuned"] == []


def test_requests_are_as_small_as_the_pair_requires(start):
    tiny = start("--send-buffer", "100000")
    # The kernel doubles it: 200,000 bytes carry 128 KiB and their header.
    assert tiny.ready["limits"]["max_write"] == 128 << 10
    with opened(tiny.file, os.O_RDONLY | os.O_DIRECT) as fd:
        assert os.preadv(fd, [mmap.mmap(-1, MIB)], 0) == MIB
    assert {size for _, size in tiny.ask("seen")["reads"]} == {128 << 10}


@pytest.mark.slow
def test_a_full_pair_loses_nothing(start):
    """32 readers and 32 writers of 1 MiB through a pair that carries one message at a time."""
    tiny = start("--send-buffer", str((MIB + 8192) // 2))
    assert tiny.ready["limits"]["max_write"] == MIB

    def transfer(number):
        with opened(tiny.file, os.O_RDWR | os.O_DIRECT) as fd:
            buffer = mmap.mmap(-1, MIB)
            os.preadv(fd, [buffer], number * MIB)
            good = buffer[:] == bytes([number]) * MIB
            return good and os.pwritev(fd, [buffer], number * MIB) == MIB

    tasks = [Task(transfer, number % 32) for number in range(64)]
    assert [task.join() for task in tasks] == [True] * 64
    statistics = tiny.ask("statistics")
    assert statistics["requests"] >= statistics["replies"] >= 128
    assert statistics["refused"] == statistics["write_errors"] == 0


def test_direct_opens_get_parallel_writes(tiny):
    with opened(tiny.file, os.O_RDWR | os.O_DIRECT), opened(tiny.file, os.O_RDONLY):
        pass
    assert tiny.ask("statistics")["opens_edited"] == 1


@pytest.mark.parametrize(
    ("flags", "marks"), [(0, 0), (os.O_DSYNC, FH_DSYNC), (os.O_SYNC, FH_DSYNC | FH_SYNC)]
)
def test_synchronous_writes_say_so(tiny, flags, marks):
    with opened(tiny.file, os.O_WRONLY | os.O_DIRECT | flags) as fd:
        os.pwritev(fd, [mmap.mmap(-1, 4096)], 0)
    (fh,) = tiny.ask("seen")["fhs"]
    assert fh & FH_MASK == 2
    assert fh & (FH_DSYNC | FH_SYNC) == marks


CHANGE_AS_NOBODY = """
import mmap, os, sys
os.chdir(sys.argv[1])
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
os.truncate("file", 4096)
fd = os.open("file", os.O_RDWR | os.O_DIRECT | os.O_TRUNC)
os.pwritev(fd, [mmap.mmap(-1, 4096)], 0)
os.ftruncate(fd, 0)
"""


@as_root
def test_what_kills_suid_says_so(start):
    tiny = start("--allow-other")
    subprocess.run([sys.executable, "-c", CHANGE_AS_NOBODY, tiny.mountpoint], check=True)
    seen = tiny.ask("seen")
    assert [fh & ~FH_MASK for fh in seen["fhs"]] == [FH_KILL_SUIDGID]
    assert seen["open_flags"][-1] & OPEN_KILL_SUIDGID
    # By name there is no handle; by descriptor there is.
    assert seen["setattr_fhs"][0] == FH_NONE | FH_KILL_SUIDGID
    assert seen["setattr_fhs"][-1] == 2 | FH_KILL_SUIDGID


def test_invalidating_a_page_that_is_being_read_holds_nothing_up(tiny):
    tiny.ask("hold")
    with opened(tiny.file, os.O_RDONLY) as fd:
        reader = Task(os.pread, fd, 4096, 0)
        wait_for(lambda: reads_seen(tiny) > 0)
        # The notifier now waits in the kernel for the page that this READ holds.
        for _ in range(3):
            tiny.ask("invalidate")
        wait_for(lambda: tiny.ask("statistics")["notifications_queued"] == 3)
        assert tiny.ask("statistics")["notifications_sent"] == 0
        # Everybody else is served meanwhile.
        assert tiny.file.stat().st_size == SIZE
        tiny.ask("release")
        assert reader.join() == bytes(4096)
    wait_for(lambda: tiny.ask("statistics")["notifications_sent"] == 3)
    assert tiny.ask("statistics")["notifications_dropped"] == 0


def test_a_stop_ends_a_notifier_that_waits_in_the_kernel(tiny):
    tiny.ask("hold")
    fd = os.open(tiny.file, os.O_RDONLY)
    reader = Task(os.pread, fd, 4096, 0)
    wait_for(lambda: reads_seen(tiny) > 0)
    tiny.ask("invalidate")
    wait_for(lambda: tiny.ask("statistics")["notifications_queued"] == 1)
    tiny.ask("stop")
    assert tiny.end()["reason"] is None
    assert find_mount(tiny.mountpoint) is None
    assert reader.join().errno in (errno.EIO, errno.ENOTCONN, errno.ECONNABORTED)
    with contextlib.suppress(OSError):  # the connection is gone
        os.close(fd)


def test_an_unmount_ends_the_server(tiny):
    assert "error" not in tiny.ask("unmount")
    assert tiny.end()["reason"] == UNMOUNTED
    assert find_mount(tiny.mountpoint) is None


def test_a_busy_mount_says_so_and_goes_on(tiny):
    with opened(tiny.file, os.O_RDONLY):
        error = tiny.ask("unmount")["error"]
        assert str(tiny.mountpoint) in error
        assert "busy" in error
        assert tiny.file.stat().st_size == SIZE
    tiny.ask("unmount")
    assert tiny.end()["reason"] == UNMOUNTED


def test_a_lazy_unmount_ends_with_its_last_user(tiny):
    with opened(tiny.file, os.O_RDONLY) as fd:
        tiny.ask("unmount lazily")
        assert find_mount(tiny.mountpoint) is None
        assert os.pread(fd, 1, MIB) == b"\x01"
    assert tiny.end()["reason"] == UNMOUNTED


def test_a_transport_that_never_met_its_server_can_be_stopped(tmp_path):
    """In this very process: nothing may wait for a server that never comes."""
    ends = []
    before = len(list(Path("/proc/self/fd").iterdir()))
    transport = Transport(tmp_path, MountOptions(), ends.append)
    transport.start()
    waiting = Connection(transport.connection).directory / "waiting"
    visitor = subprocess.Popen(["stat", str(tmp_path)], stderr=subprocess.DEVNULL)
    wait_for(lambda: int(waiting.read_text()) == 2)  # INIT and the visitor
    transport.stop()
    transport.stop()
    assert visitor.wait(timeout=TIMEOUT) == 1
    assert find_mount(tmp_path) is None
    assert (ends, transport.ready.is_set()) == ([], False)
    assert transport.statistics().requests == 0
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_server_that_leaves_before_init_takes_its_mount_along(tmp_path):
    ends = queue.Queue()
    transport = Transport(tmp_path, MountOptions(), ends.put)
    transport.start()
    os.close(int(Path(transport.server_path).name))
    assert ends.get(timeout=TIMEOUT) == "the server closed its end"
    assert find_mount(tmp_path) is None
    assert not transport.ready.is_set()
    transport.stop()
    assert ends.empty()


def test_a_mountpoint_that_is_mounted_is_refused_and_left_alone(tiny):
    before = len(list(Path("/proc/self/fd").iterdir()))
    transport = Transport(tiny.mountpoint, MountOptions(), print)
    with pytest.raises(MountError, match="mounted here already"):
        transport.start()
    transport.stop()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert tiny.file.stat().st_size == SIZE


def test_an_abort_wakes_everyone_and_leaves_no_mount(tiny):
    tiny.ask("hold")
    fd = os.open(tiny.file, os.O_RDONLY | os.O_DIRECT)
    readers = [Task(os.preadv, fd, [mmap.mmap(-1, MIB)], n * MIB) for n in range(8)]
    wait_for(lambda: reads_seen(tiny) == 8)
    assert Connection(tiny.ready["connection"]).abort()
    assert {reader.join().errno for reader in readers} <= {errno.ECONNABORTED, errno.ENOTCONN}
    with contextlib.suppress(OSError):
        os.close(fd)
    wait_for(lambda: find_mount(tiny.mountpoint) is None)
    tiny.ask("release")  # late answers go nowhere and harm nobody
    assert tiny.end()["reason"] == ABORTED


def test_a_server_that_leaves_takes_its_mount_along(tiny):
    tiny.ask("hold")
    fd = os.open(tiny.file, os.O_RDONLY)
    reader = Task(os.pread, fd, 4096, 0)
    wait_for(lambda: reads_seen(tiny) > 0)
    tiny.ask("leave")
    assert isinstance(reader.join(), OSError)
    with contextlib.suppress(OSError):
        os.close(fd)
    tiny.end()
    assert find_mount(tiny.mountpoint) is None


def test_a_killed_server_strands_nobody(tiny):
    tiny.ask("hold")
    fd = os.open(tiny.file, os.O_RDONLY)
    reader = Task(os.pread, fd, 4096, 0)
    wait_for(lambda: reads_seen(tiny) > 0)
    tiny.process.kill()
    assert isinstance(reader.join(), OSError)
    with contextlib.suppress(OSError):
        os.close(fd)


# A mount namespace of its own, in which nobody may open /dev/fuse and reach the interpreter.
AS_NOBODY = """
mount -t tmpfs -o mode=755 none /mnt
mkdir /mnt/here /mnt/home /mnt/python
chown 65534:65534 /mnt/here /mnt/home
mknod /mnt/fuse c 10 229
chmod 666 /mnt/fuse
mount --bind /mnt/fuse /dev/fuse
# An interpreter below a closed home is shown at its place in an open one.
if [ -n "$1" ]; then
    mount --bind "$1" /mnt/python
    mount -t tmpfs -o mode=755 none /root
    mkdir -p "$1"
    mount --bind /mnt/python "$1"
fi
shift
export HOME=/mnt/home XDG_CACHE_HOME=/mnt/home
exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
"""
READ_ONE_BYTE = "print(open('/mnt/here/file', 'rb').read((1 << 20) + 1)[-1])"


@as_root
@pytest.mark.slow
def test_an_ordinary_user_mounts_through_fusermount3():
    for tool in ("unshare", "nsenter", "setpriv", "fusermount3"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}")
    python = Path(sys.executable).resolve()
    hidden = str(python.parent.parent) if python.is_relative_to("/root") else ""
    own_namespace = ["unshare", "-m", "--propagation", "private"]
    wrapper = [*own_namespace, "sh", "-ec", AS_NOBODY, "sh", hidden]
    with contextlib.closing(Tiny(Path("/mnt/here"), wrapper=wrapper)) as tiny:
        assert tiny.ready["limits"]["max_write"] >= 128 << 10
        # Nothing but read-ahead needs a privilege.
        assert [line for line in tiny.ready["untuned"] if "read_ahead_kb" not in line] == []
        inside = ["nsenter", "-t", str(tiny.process.pid), "-m"]
        nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        done = subprocess.run(
            [*inside, *nobody, sys.executable, "-c", READ_ONE_BYTE],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        assert done.stdout == "1\n"
        assert "error" not in tiny.ask("unmount")
        assert tiny.end()["reason"] == UNMOUNTED
