# SPDX-License-Identifier: MIT
"""Every way to access members gives the same bytes, and O_DIRECT gets what it insists on."""

import contextlib
import ctypes
import errno
import fcntl
import os
import random
from itertools import pairwise

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from iomapd.control.buffers import SIZE, BufferPool
from iomapd.control.member_io import MemberIO
from iomapd.control.transfer import transfer, transfer_direct
from iomapd.dataplane.plane import DIRECT
from iomapd.errors import MemberError
from iomapd.server.access import choose
from tests.control.conftest import MIB, FileMember, MemoryMember, make_control

BLOCK = 4096
MODES = ["buffered", "mapped", "direct"]
OWNER = (0, 0)


@pytest.fixture(autouse=True)
def aligned_only(monkeypatch):
    """Check what file systems in memory do not: whole blocks, also of memory, for O_DIRECT."""

    def checked(call):
        def check(fd, views, addr, *flags):
            if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
                assert addr % BLOCK == 0
                for view in views:
                    memory = ctypes.addressof(ctypes.c_char.from_buffer(view))
                    assert (memory % BLOCK, len(view) % BLOCK) == (0, 0)
            return call(fd, views, addr, *flags)

        return check

    monkeypatch.setattr(os, "preadv", checked(os.preadv))
    monkeypatch.setattr(os, "pwritev", checked(os.pwritev))


@contextlib.contextmanager
def control_on(directory, mode, sizes=(4 * MIB,) * 3):
    """A control plane whose members are accessed in *mode*."""
    members = [FileMember(i + 1, size, directory) for i, size in enumerate(sizes)]
    access = choose(members, mode)
    control = make_control(
        directory / "s.db", sizes, 8192, 65536, members=members, modes=access.modes
    )
    try:
        yield control
    finally:
        control.core.store.close()
        access.close()
        for member in members:
            member.close()


def new_file(control, name=b"f"):
    return control.names.make(1, name, 0o100644, OWNER)


# -- one transfer


@pytest.fixture(scope="module")
def raw_file(tmp_path_factory):
    """A descriptor with O_DIRECT, and one without, of a file of 4 MiB."""
    path = tmp_path_factory.mktemp("raw") / "file"
    path.write_bytes(bytes(4 * MIB))
    fds = os.open(path, os.O_RDWR | os.O_DIRECT), os.open(path, os.O_RDWR)
    yield fds
    for fd in fds:
        os.close(fd)


EDGES = st.one_of(
    st.integers(0, 3 * BLOCK),
    st.integers(SIZE - BLOCK, SIZE + 2 * BLOCK),
    st.sampled_from([BLOCK, 2 * BLOCK, SIZE, 2 * SIZE, 2 * SIZE - 1]),
)


@settings(max_examples=40, deadline=None)
@given(EDGES, EDGES, st.lists(st.integers(0, 4 * BLOCK), max_size=5), st.booleans())
def test_any_range_goes_through_o_direct_as_through_the_page_cache(
    raw_file, addr, count, cuts, writing
):
    direct, cached = raw_file
    count += 1
    before = random.Random(count).randbytes(addr + count + 2 * BLOCK)
    os.pwrite(cached, before, 0)
    data = bytearray(random.Random(addr).randbytes(count))
    edges = sorted({0, count, *(cut for cut in cuts if cut < count)})
    views = [memoryview(data)[a:b] for a, b in pairwise(edges)]
    expected = bytearray(before)
    transfer_direct(direct, addr, views, writing, BufferPool())
    if writing:
        expected[addr : addr + count] = data
    else:
        assert data == before[addr : addr + count]
    assert os.pread(cached, len(before), 0) == expected


@pytest.mark.parametrize("size", [0, 100, BLOCK, BLOCK + 100], ids=str)
def test_a_member_that_ends_early_is_eio_with_o_direct_too(raw_file, tmp_path, size):
    path = tmp_path / "short"
    path.write_bytes(bytes(size))
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    for count in (2 * BLOCK, 2 * BLOCK - 1):
        view = memoryview(bytearray(count))
        with pytest.raises(OSError, match="ends here") as caught:
            transfer_direct(fd, 0, [view], False, BufferPool())
        assert caught.value.errno == errno.EIO
    os.close(fd)


def test_whole_blocks_in_aligned_memory_take_no_bounce(raw_file):
    pool = BufferPool()
    with BufferPool().lent(SIZE) as buffer:
        transfer_direct(raw_file[0], 0, [buffer], False, pool)
        assert not pool._free
        transfer_direct(raw_file[0], 0, [buffer[1:]], False, pool)
        assert len(pool._free) == 1


def test_short_calls_are_continued(raw_file, monkeypatch):
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, views, addr: real(fd, [views[0][:BLOCK]], addr))
    data = random.Random(1).randbytes(5 * BLOCK)
    os.pwrite(raw_file[1], data, 0)
    for move in (transfer, lambda *what: transfer_direct(*what, BufferPool())):
        found = bytearray(len(data))
        with BufferPool().lent(len(data)) as buffer:
            move(raw_file[0], 0, [buffer[: 2 * BLOCK], buffer[2 * BLOCK :]], False)
            found[:] = buffer
        assert found == data


# -- files


OFFSETS = st.one_of(
    st.integers(0, 70_000), st.integers(0, 16).map(lambda n: n * BLOCK), st.integers(8180, 8200)
)
COUNTS = st.one_of(
    st.integers(1, 9000), st.integers(1, 5).map(lambda n: n * BLOCK), st.just(40_000)
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["write", "write", "read", "truncate"]), OFFSETS, COUNTS),
    min_size=5, max_size=20,
)  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_a_file_behaves_like_a_bytearray(tmp_path_factory, mode):
    with control_on(tmp_path_factory.mktemp(mode), mode) as control:
        numbers = iter(range(10**6))

        @settings(max_examples=25, deadline=None, database=None)
        @given(STEPS)
        def check(steps):
            trio.run(follow, control, steps, b"%d" % next(numbers))

        check()


async def follow(control, steps, name):
    inode, model = new_file(control, name), bytearray()
    for number, (what, pos, count) in enumerate(steps):
        if what == "write":
            data = random.Random(number * pos + count).randbytes(count)
            assert await control.files.write(inode, pos, data) == count
            model.extend(bytes(max(0, pos + count - len(model))))
            model[pos : pos + count] = data
        elif what == "truncate":
            await control.files.truncate(inode, pos)
            model = model[:pos] + bytes(max(0, pos - len(model)))
        else:
            assert bytes(await control.files.read(inode, pos, count)) == model[pos : pos + count]
    assert inode.size == len(model)
    assert bytes(await control.files.read(inode, 0, MIB)) == model
    await control.files.truncate(inode, 0)
    control.names.unlink(1, name)


@pytest.mark.parametrize("mode", MODES)
async def test_writers_of_one_block_lose_nothing(tmp_path, nursery, mode):
    """With O_DIRECT each rewrites the whole block, so they must take turns."""
    with control_on(tmp_path, mode) as control:
        inode = new_file(control)
        await control.files.write(inode, 0, bytes(4 * BLOCK))
        async with trio.open_nursery() as writers:
            for part in range(16):
                data = bytes([part + 1]) * 1000
                writers.start_soon(control.files.write, inode, part * 1000, data)
        found = bytes(await control.files.read(inode, 0, 4 * BLOCK))
        assert found[:16000] == b"".join(bytes([part + 1]) * 1000 for part in range(16))
        assert found[16000:] == bytes(4 * BLOCK - 16000)


async def test_only_writes_of_parts_of_blocks_are_alone_with_their_file(tmp_path, monkeypatch):
    with control_on(tmp_path, "direct") as control:
        inode, held = new_file(control), []
        write = control.core.io.write

        async def watch(runs, buffer):
            held.append(inode.held)
            await write(runs, buffer)

        monkeypatch.setattr(control.core.io, "write", watch)
        for pos, count in ((0, 2 * BLOCK), (BLOCK, BLOCK), (BLOCK, 100), (BLOCK + 1, BLOCK - 1)):
            await control.files.write(inode, pos, b"x" * count)
        assert held == [False, False, True, True]


@pytest.mark.parametrize("mode", MODES)
async def test_what_one_mode_writes_every_mode_reads(tmp_path, mode):
    data = random.Random(mode).randbytes(300_001)
    with control_on(tmp_path, mode) as control:
        inode = new_file(control)
        await control.files.write(inode, 4321, data)
        for other in MODES:
            for member in control.core.members:
                flags = fcntl.fcntl(member.fd, fcntl.F_GETFL) & ~os.O_DIRECT
                fcntl.fcntl(member.fd, fcntl.F_SETFL, flags)
            access = choose(control.core.members, other)
            control.core.io = MemberIO(control.core.members, access.modes)
            assert bytes(await control.files.read(inode, 4321, MIB)) == data
            for view in access.members:
                if view.map_addr:
                    member = control.core.members[view.id - 1]
                    there = ctypes.string_at(view.map_addr, view.map_size)
                    assert there == os.pread(member.fd, view.data_size, view.data_offset)
            access.close()


@pytest.mark.parametrize("mode", MODES)
async def test_a_member_that_shrank_gives_eio_and_is_counted(tmp_path, mode):
    with control_on(tmp_path, mode, sizes=(MIB,)) as control:
        inode = new_file(control)
        await control.files.write(inode, 0, b"x" * 100_000)
        (member,) = control.core.members
        os.ftruncate(member.fd, MIB + 8192)
        with pytest.raises(MemberError, match="ends here"):
            await control.files.read(inode, 0, 100_000)
        assert control.core.io.counters()[member.id].errors > 0


def test_the_mode_is_named(tmp_path):
    members = [MemoryMember(1, MIB), MemoryMember(2, MIB)]
    io = MemberIO(members, {2: DIRECT})
    assert [io.mode_name(member.id) for member in members] == ["buffered", "direct"]
    assert io.needs_whole_blocks
    assert not MemberIO(members).needs_whole_blocks
    for member in members:
        member.close()
