# SPDX-License-Identifier: MIT
"""What admission says of a program: the stages, each with its figures or its refusal."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

from iomapd.errors import ProgramError

STAGES: Final = ("parse", "bounded", "compile", "verifier", "agree", "prove")
"""In the order in which they run."""

PASS: Final = "pass"
FAIL: Final = "fail"
SKIP: Final = "skip"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: its name, `PASS`, `FAIL` or `SKIP`, and one sentence."""

    name: str
    status: str
    detail: str


@dataclass(frozen=True, slots=True)
class Admission:
    """The verdict on a program.

    Attributes:
        name: what the volume calls it.
        sha256: of its source, hexadecimal.
        accepted: no stage failed.
        stages: those that ran, in order; the last one failed unless accepted.
        params: names of its parameters.
        counters: names of its counters.
        hints: names of the hints that it leaves.
        uses_seed: the map may differ between files.
        step_bound: most steps of one answer; 0 when unknown.
        prefix: the first k rows of a file lie in the first k units of every strip, whatever
            strip_length is, on the whole ladder; None when that is not known: refused, or
            proved with parameters that were guessed.
        is_raid0: it is known to have given the raid0 formula's map on the whole ladder.
        kernel: the kernel that was asked, and whether it could be; empty when none was.
    """

    name: str
    sha256: str
    accepted: bool
    stages: tuple[Stage, ...]
    params: tuple[str, ...] = ()
    counters: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    uses_seed: bool = False
    step_bound: int = 0
    prefix: bool | None = None
    is_raid0: bool = False
    kernel: str = ""

    @property
    def refusal(self) -> str:
        """The sentence of the stage that failed; empty when accepted."""
        failed = [stage.detail for stage in self.stages if stage.status == FAIL]
        return failed[0] if failed else ""

    def require(self) -> None:
        """Do nothing if the program is accepted.

        Raises:
            ProgramError: with the refusal.
        """
        if not self.accepted:
            raise ProgramError(self.refusal or f"program {self.name} was not examined to the end")

    def to_json(self) -> dict[str, Any]:
        """Return the body of ``iomapd program check --json``."""
        body = asdict(self)
        name = body.pop("name")
        return {"schema": "iomapd.program.check", "version": 1, "program": name, **body}


def verdict_to_bytes(verdict: Admission) -> bytes:
    """Encode an accepted verdict for the cache; the name is left out, for names differ."""
    return json.dumps({**asdict(verdict), "name": ""}).encode()


def verdict_from_bytes(data: bytes, name: str) -> Admission:
    """Decode what `verdict_to_bytes` wrote, under the name of the moment.

    Raises:
        ValueError, TypeError, KeyError: it is something else.
    """
    body = json.loads(data)
    stages = tuple(Stage(**stage) for stage in body.pop("stages"))
    body |= {key: tuple(body[key]) for key in ("params", "counters", "hints")} | {"name": name}
    return Admission(stages=stages, **body)
