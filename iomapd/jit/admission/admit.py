# SPDX-License-Identifier: MIT
"""The parent's side of admission: starts the limited child, and believes only what it finishes.

The child's death at any point is a refusal in words, by the stage that was running.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from iomapd.jit.admission.limits import ANSWER_MAX, WALL_SECONDS, words_of_death
from iomapd.jit.admission.proving import Prover
from iomapd.jit.admission.verdict import FAIL, STAGES, Admission, Stage
from iomapd.jit.admission.walks import linked_walk

_PACKAGES: Final = Path(__file__).parents[3]

_PLACES: Final = ("HOME", "XDG_CACHE_HOME", "TMPDIR")

Progress: TypeAlias = Callable[[str], None]
"""Called with the name of each stage when it begins."""


@dataclass(slots=True)
class Examination:
    """What the child said, and what it left.

    Attributes:
        admission: the verdict.
        code: the object file; empty unless accepted.
        ir: LLVM IR, when listings were asked for.
        assembly: assembly text, when listings were asked for.
        bpf: ELF object with the program as BPF, when listings were asked for.
    """

    admission: Admission
    code: bytes = b""
    ir: str = ""
    assembly: str = ""
    bpf: bytes = b""


def admit(
    name: str,
    text: str,
    file: str,
    *,
    params: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Admission:
    """Examine a program in a limited child process.

    Args:
        name: what the volume calls it.
        text: its source.
        file: what messages call the place.
        params: values of its parameters for the proof; None to try some.
        progress: told of every stage that begins.

    Returns:
        The verdict; a program that is refused is no error.

    Raises:
        OSError: the child cannot be started.
    """
    found = examine(name, text, file, params=params, timing=True, progress=progress)
    return found.admission


def examine(
    name: str,
    text: str,
    file: str,
    *,
    params: Sequence[int] | None = None,
    guess: bool = True,
    kernel: bool = True,
    timing: bool = False,
    listings: bool = False,
    progress: Progress | None = None,
) -> Examination:
    """Examine a program as `admit` does, and return all that was found.

    Args:
        name: what the volume calls it.
        text: its source.
        file: what messages call the place.
        params: values of its parameters for the proof.
        guess: without *params*, try some; otherwise leave the proof to each extent.
        kernel: ask the kernel's verifier, and the kernel.
        timing: measure a mapping in the kernel.
        listings: return IR, assembly and BPF as well.
        progress: told of every stage that begins.

    Raises:
        OSError: the child cannot be started.
    """
    request = {
        "name": name, "text": text, "file": file, "params": params and list(params),
        "guess": guess, "kernel": kernel, "timing": timing, "listings": listings,
    }  # fmt: skip
    # Compiled by us if need be, because the child cannot keep what it compiles.
    Prover()
    linked_walk()
    collected = _Collected(progress)
    death = _run_child(json.dumps(request).encode(), collected)
    return collected.examination(name, text, file, death)


@dataclass(slots=True)
class _Collected:
    """The child's lines as they come."""

    progress: Progress | None
    running: str = "parse"
    stages: list[Stage] = field(default_factory=list)
    facts: dict[str, Any] | None = None
    code: bytes = b""
    _rest: bytes = b""
    _size: int = 0

    def feed(self, data: bytes) -> None:
        """Take more of the child's answer.

        Raises:
            ValueError, KeyError, TypeError: it is no answer of ours.
        """
        self._size += len(data)
        if self._size > ANSWER_MAX:
            raise ValueError("too long")
        if self.facts is not None:
            self.code += data
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for index, line in enumerate(lines):
            if self._take(json.loads(line)):
                self.code = b"\n".join([*lines[index + 1 :], self._rest])
                return

    def _take(self, message: dict[str, Any]) -> bool:
        if "begin" in message:
            self.running = str(message["begin"])
            if self.progress:
                self.progress(self.running)
        elif "stage" in message:
            self.stages.append(Stage(**message["stage"]))
        else:
            self.facts = dict(message["end"])
        return self.facts is not None

    def examination(self, name: str, text: str, file: str, death: str) -> Examination:
        refused = any(stage.status == FAIL for stage in self.stages)
        facts = self.facts or {}
        complete = tuple(stage.name for stage in self.stages) == STAGES and self.code
        if not refused and (death or not complete):
            words = death or "was not examined to the end"
            self.stages.append(Stage(self.running, FAIL, f"{file}:1: the program {words}"))
            refused = True
        known = {key: tuple(facts.get(key, ())) for key in ("params", "counters", "hints")}
        admission = Admission(
            name,
            hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest(),
            accepted=not refused,
            stages=tuple(self.stages),
            uses_seed=bool(facts.get("uses_seed", False)),
            step_bound=int(facts.get("step_bound", 0)),
            prefix=None if refused else facts.get("prefix"),
            is_raid0=not refused and bool(facts.get("is_raid0")),
            kernel=str(facts.get("kernel", "")),
            **known,
        )
        code = b"" if refused else self.code
        listings = (facts.get("ir", ""), facts.get("assembly", ""))
        return Examination(admission, code, *listings, base64.b64decode(facts.get("bpf", "")))


def _run_child(request: bytes, collected: _Collected) -> str:
    """Run the child to its end; return why it ended badly, or nothing."""
    with open(os.memfd_create("program"), "w+b") as stdin:
        stdin.write(request)
        stdin.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-B", "-P", "-s", "-m", "iomapd.jit.admission.child"],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("IOMAPD_DEBUG") else subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,  # Ctrl-C ends the parent, and by that the child
        )
    try:
        words = _listen(process, collected)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    return words


def _listen(process: subprocess.Popen[bytes], collected: _Collected) -> str:
    assert process.stdout is not None
    fd = process.stdout.fileno()
    deadline = time.monotonic() + WALL_SECONDS
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            return f"took more than {WALL_SECONDS} s"
        data = os.read(fd, 1 << 16)
        if not data:
            return _words_of_end(process, deadline, collected.running)
        try:
            collected.feed(data)
        except (ValueError, KeyError, TypeError):
            return "made the examining process talk nonsense"


def _words_of_end(process: subprocess.Popen[bytes], deadline: float, stage: str) -> str:
    try:
        status = process.wait(timeout=max(deadline - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        return f"took more than {WALL_SECONDS} s"
    return words_of_death(status, stage) if status else ""


def _environment() -> dict[str, str]:
    """What the child sees: nothing of the user's that could change how it compiles."""
    # Where object files are: the child reads the proof there; it can write nothing.
    places = {name: os.environ[name] for name in _PLACES if name in os.environ}
    return places | {
        "PATH": os.defpath,
        "PYTHONPATH": str(_PACKAGES),
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
        # numpy starts one thread per processor otherwise, each with megabytes of address space.
        "OPENBLAS_NUM_THREADS": "1",
        # Vectorised loops are slower on the few steps of a mapping, and BPF has no vectors.
        "NUMBA_LOOP_VECTORIZE": "0",
        "NUMBA_SLP_VECTORIZE": "0",
    }
