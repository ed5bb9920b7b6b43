# SPDX-License-Identifier: MIT
"""Accepted programs come from the cache, whole and never stale."""

import subprocess
import sys
from pathlib import Path

import pytest

from iomapd.abi.program import CTX_WORDS, NR_WORDS
from iomapd.errors import ProgramError
from iomapd.jit import cache
from iomapd.jit.admission import load, load_program, program_key
from iomapd.jit.admission import load_program as load_function
from iomapd.native.calls import call1
from iomapd.native.memory import load64, store64
from iomapd.native.region import Region
from tests.jit.admission.sources import EVERYTHING, RAID0

module = sys.modules[load_function.__module__]
assert load is module

FILE = "programs/made.py"

HELPED = """\
def first(seed):
    return seed * 1

def iomap_begin(ctx):
    unit_index = ctx.pos // ctx.unit
    row = unit_index // ctx.nr_strips
    ctx.strip = (unit_index + first(ctx.seed)) % ctx.nr_strips
    ctx.addr = row * ctx.unit + ctx.pos % ctx.unit
    ctx.length = min(ctx.unit - ctx.pos % ctx.unit, ctx.count)
    return 1

def iomap_end(ctx):
    x = ctx.written
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A cache that has raid0."""
    directory = tmp_path_factory.mktemp("load") / "objects"
    assert not load_program("raid0", RAID0, FILE, directory=directory).from_cache
    return directory


@pytest.fixture
def no_child(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a child was started")

    monkeypatch.setattr(module, "examine", refuse)


def answer(address, **fields):
    ctx = Region(8 * NR_WORDS)
    for name, value in fields.items():
        store64(ctx.addr + 8 * CTX_WORDS.index(name), value)
    status = call1(address, ctx.addr)
    return status, *(load64(ctx.addr + 8 * index) for index in (14, 15, 16))


def test_what_was_examined_once_comes_from_the_cache(directory, no_child):
    loaded = load_program("another name", RAID0, FILE, directory=directory)
    assert loaded.from_cache
    assert loaded.admission.name == "another name"
    assert loaded.admission.accepted
    assert loaded.admission.is_raid0
    assert [stage.name for stage in loaded.admission.stages][-1] == "prove"
    fields = {"pos": 5 * 65536 + 4096, "count": 1 << 20, "unit": 65536, "nr_strips": 4}
    assert answer(loaded.address, **fields) == (1, 1, 65536 + 4096, 65536 - 4096)
    assert loaded.end_address == loaded.ioend_address == 0


def test_two_programs_keep_their_own_code(directory):
    other = RAID0.replace("ctx.strip = ", "ctx.strip = ctx.nr_strips - 1 - (").replace(
        "row * ctx.nr_strips\n", "row * ctx.nr_strips)\n", 1
    )
    first = load_program("raid0", RAID0, FILE, directory=directory)
    second = load_program("mirror", other, FILE, directory=directory)
    fields = {"count": 1 << 20, "unit": 65536, "nr_strips": 4}
    assert answer(first.address, **fields)[1] == 0
    assert answer(second.address, **fields)[1] == 3


def test_a_helper_that_is_edited_is_a_new_program(directory):
    before = load_program("helped", HELPED, FILE, directory=directory)
    edited = HELPED.replace("seed * 1", "seed * 1 + 1")
    after = load_program("helped", edited, FILE, directory=directory)
    assert before.key != after.key
    assert not after.from_cache
    fields = {"count": 1 << 20, "unit": 65536, "nr_strips": 4, "seed": 1}
    assert answer(before.address, **fields)[1] == 1
    assert answer(after.address, **fields)[1] == 2
    assert before.end_address
    assert not before.ioend_address


def test_a_refused_program_raises_and_is_not_kept(directory):
    wrong = RAID0.replace("ctx.length = ", "ctx.length = 1 + ")
    with pytest.raises(ProgramError, match=r"^programs/made\.py:6: the block at pos 0 gets length"):
        load_program("wrong", wrong, FILE, directory=directory)
    store = cache.ObjectStore(directory)
    assert store.load("program", program_key(wrong)) is None


def test_what_another_kernel_said_does_not_count_for_new_programs(directory, monkeypatch):
    monkeypatch.setattr(module, "environment", lambda: "x86_64 6.99: ")
    monkeypatch.setattr(module, "examine", lambda *_, **how: pytest.fail(f"asked again: {how}"))
    with pytest.raises(pytest.fail.Exception, match="'kernel': True"):
        load_program("raid0", RAID0, FILE, directory=directory)


def test_a_new_kernel_takes_no_stored_program_away(directory, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "environment", lambda: "x86_64 6.99: ")
    with monkeypatch.context() as context:
        context.setattr(module, "examine", lambda *_, **__: pytest.fail("asked again"))
        loaded = load_program("raid0", RAID0, FILE, directory=directory, stored=True)
    assert loaded.from_cache
    cold = load_program("raid0", RAID0, FILE, directory=tmp_path / "cold", stored=True)
    assert [stage.status for stage in cold.admission.stages] == ["pass"] * 3 + ["skip"] + [
        "pass"
    ] * 2
    assert cold.admission.kernel == ""


def test_a_damaged_object_is_examined_again(directory):
    path = cache.ObjectStore(directory).path_of("program", program_key(RAID0))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert not load_program("raid0", RAID0, FILE, directory=directory).from_cache
    assert load_program("raid0", RAID0, FILE, directory=directory).from_cache


def test_without_a_directory_everything_is_examined(tmp_path):
    (tmp_path / "open").mkdir(mode=0o755)
    loaded = load_program("raid0", RAID0, FILE, directory=tmp_path / "open")
    assert not loaded.from_cache
    assert loaded.address


def test_the_proof_of_unknown_parameters_is_left_to_each_extent(directory):
    text = RAID0.replace("\n\n\n", '\n\nPARAMS = ("shift",)\n\n', 1)
    loaded = load_program("made", text, FILE, directory=directory)
    assert loaded.admission.stages[-1].status == "skip"
    assert loaded.admission.accepted
    assert loaded.admission.prefix is None
    known = load_program("made", text, FILE, directory=directory, params=[7])
    assert known.key != loaded.key
    assert known.admission.prefix is True


WARM = """
import sys
from pathlib import Path
from iomapd.jit.admission import load_program
loaded = load_program("raid0", Path(sys.argv[1]).read_text(), "f", directory=Path(sys.argv[2]))
assert loaded.from_cache
assert "numba" not in sys.modules
assert "iomapd.jit.build" not in sys.modules
"""


def test_the_warm_path_needs_neither_numba_nor_a_child(directory, tmp_path):
    path = tmp_path / "raid0.py"
    path.write_text(RAID0)
    load_program("raid0", RAID0, FILE, directory=directory)
    command = [sys.executable, "-c", WARM, str(path), str(directory)]
    subprocess.run(command, check=True, env={"PATH": "/nonexistent"})


def test_the_key_depends_on_the_text_and_the_parameters():
    keys = {
        program_key(RAID0), program_key(RAID0 + "\n"), program_key(EVERYTHING),
        program_key(RAID0, [1]), program_key(RAID0, [2]),
    }  # fmt: skip
    assert len(keys) == 5


@pytest.mark.parametrize(
    "file",
    ["jit/build.py", "jit/division.py", "jit/bpf/wrapper.py", "jit/admission/prove.py",
     "mapping/proof.py", "native/integers.py", "abi/program.py"],
)  # fmt: skip
def test_the_key_depends_on_everything_that_makes_code_or_verdict(monkeypatch, file):
    before = program_key(RAID0)
    read_bytes = Path.read_bytes

    def edited(path):
        return read_bytes(path) + b"# edited" * str(path).endswith(f"iomapd/{file}")

    monkeypatch.setattr(Path, "read_bytes", edited)
    assert program_key(RAID0) != before
