# SPDX-License-Identifier: MIT
"""Accepted programs, ready to be called: from the cache, or from the child.

    <unit "program">-<key>.o     4 bytes   length of the verdict, little-endian
                                 -         the verdict, JSON
                                 -         the object file

One file holds both, so there is no code without its verdict.  The key covers the source and all
that shapes code or verdict: compiler room, this room, proof, versions, processor.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import iomapd
from iomapd.abi import PROGRAM_ABI
from iomapd.abi.program import BEGIN, ENDS
from iomapd.jit import cache, machine
from iomapd.jit.admission.admit import Progress, examine
from iomapd.jit.admission.verdict import Admission, verdict_from_bytes, verdict_to_bytes
from iomapd.jit.admission.walks import WALK
from iomapd.jit.bpf.kernel import environment
from iomapd.jit.sources import OBJECT_ABI, add_environment

if TYPE_CHECKING:
    from iomapd.jit.admission.admit import Examination

_UNIT: Final = "program"
_KEPT: Final = 256
_LENGTH_SIZE: Final = 4
_PACKAGE: Final = Path(iomapd.__file__).parent


class LoadedProgram:
    """Compiled code of an accepted program; keep it as long as any of it may run.

    Attributes:
        admission: the verdict.
        key: hex SHA-256 of everything that code and verdict depend on.
        address: of ``iomap_begin``, for `native.calls.call1`.
        walk_address: of `mapping.walk.walk` with ``iomap_begin`` in it, or 0 without one.
        end_address: of ``iomap_end``, or 0 without one.
        ioend_address: of ``iomap_ioend``, or 0 without one.
        from_cache: whether nothing had to be examined.
    """

    def __init__(self, admission: Admission, key: str, code: bytes, *, from_cache: bool) -> None:
        self.admission = admission
        self.key = key
        self.from_cache = from_cache
        self._engine = machine.load_object(code)
        self.address = self._address_of(BEGIN)
        self.walk_address = self._address_of(WALK)
        self.end_address, self.ioend_address = map(self._address_of, ENDS)

    def _address_of(self, name: str) -> int:
        return int(self._engine.get_function_address(name))


def load_program(
    name: str,
    text: str,
    file: str,
    *,
    params: Sequence[int] | None = None,
    directory: Path | None = None,
    stored: bool = False,
    progress: Progress | None = None,
) -> LoadedProgram:
    """Return compiled code of a program, examining it first if that was not done before.

    Neither numba nor Python's parser sees the text in this process.

    Args:
        name: what the volume calls it.
        text: its source.
        file: what messages call the place.
        params: values of its parameters for the proof; without them a program that has any
            is not proved here, and its class is unknown: each extent is proved when it is made.
        directory: where object files are kept; by default that of the effective user.
        stored: the program is a volume's already.  Then the kernel is not asked: what it
            would say decides nothing about the code that runs here, and a new kernel must not
            take files away.
        progress: told of every stage that begins.

    Raises:
        ProgramError: the program is refused; the sentence of the stage.
        OSError: the child cannot be started.
    """
    key = program_key(text, params)
    store = cache.ObjectStore.open(directory)
    found = _unpack(store.load(_UNIT, key), name) if store else None
    if found and (stored or found[0].kernel == environment()):
        verdict, code = found
        return LoadedProgram(verdict, key, code, from_cache=True)
    examination = examine(
        name, text, file, params=params, guess=False, kernel=not stored, progress=progress
    )
    examination.admission.require()
    if store:
        store.save(_UNIT, key, _pack(examination), kept=_KEPT)
    return LoadedProgram(examination.admission, key, examination.code, from_cache=False)


def program_key(text: str, params: Sequence[int] | None = None) -> str:
    """Return the hex SHA-256 that names code and verdict of a program on this machine."""
    digest = hashlib.sha256()
    parts = [_UNIT, text, OBJECT_ABI, PROGRAM_ABI, tuple(params) if params else None]
    digest.update(repr(parts).encode(errors="surrogatepass"))
    add_environment(digest)
    for path in _examiners():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _examiners() -> list[Path]:
    """The files whose change must change every verdict, besides the compiler room."""
    rooms = [_PACKAGE / "jit" / "admission", _PACKAGE / "jit" / "bpf", _PACKAGE / "native"]
    files = [path for room in rooms for path in sorted(room.glob("*.py"))]
    abi = _PACKAGE / "abi"
    mapping = _PACKAGE / "mapping"
    parts = [abi / "__init__.py", abi / "program.py", mapping / "proof.py", mapping / "walk.py"]
    return [*files, *parts]


def _pack(examination: Examination) -> bytes:
    verdict = verdict_to_bytes(examination.admission)
    return len(verdict).to_bytes(_LENGTH_SIZE, "little") + verdict + examination.code


def _unpack(data: bytes | None, name: str) -> tuple[Admission, bytes] | None:
    if data is None:
        return None
    end = _LENGTH_SIZE + int.from_bytes(data[:_LENGTH_SIZE], "little")
    return verdict_from_bytes(data[_LENGTH_SIZE:end], name), data[end:]
