# SPDX-License-Identifier: MIT
"""The limited process in which a program is examined: ``python -m iomapd.jit.admission.child``.

    stdin    one JSON document: name, text, file, params, guess, kernel, timing, listings
    stdout   one JSON document per line: {"begin": STAGE}, {"stage": {...}}, ...
             at last {"end": {...}}, and behind its newline the object file

A program is parsed here, compiled here, and its code runs here, so that whatever it does to
Python's parser, to numba, to LLVM or to the machine happens to a process that owns nothing.
numba is imported only for programs that have passed the stages before it.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from iomapd.abi.program import BEGIN, HINT_WORDS
from iomapd.errors import ProgramError
from iomapd.jit.admission.agree import agree
from iomapd.jit.admission.bounded import step_bound
from iomapd.jit.admission.judge_hints import judge_hints
from iomapd.jit.admission.limits import MEMORY, apply_limits
from iomapd.jit.admission.parse import parse_program
from iomapd.jit.admission.prove import prove
from iomapd.jit.admission.verdict import FAIL, PASS, SKIP, Stage
from iomapd.jit.admission.walks import WALK
from iomapd.jit.bpf.kernel import environment
from iomapd.jit.machine import load_object

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from iomapd.jit.admission.compile import Compiled
    from iomapd.jit.admission.prove import Ladder
    from iomapd.jit.admission.tree import ParsedProgram
    from iomapd.jit.admission.verifier import Verification


class Examiner:
    """Takes one program through the stages.

    Args:
        request: what came on stdin.
        send: takes the lines of the answer.

    Attributes:
        facts: what was found out, by the names of `Admission`.
        code: the object file; empty until every stage has passed.
    """

    def __init__(self, request: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
        self._request = request
        self._send = send
        self._stage = ""
        self.facts: dict[str, Any] = {}
        self.code = b""

    def run(self) -> None:
        """Run the stages in their order.

        Raises:
            ProgramError: a stage refused.
        """
        program = self._parse()
        self._begin("bounded")
        bound = step_bound(program)
        self.facts["step_bound"] = bound.steps
        self._pass(f"at most {bound.steps} steps, {bound.size} operations of code")
        compiled = self._compile(program)
        verified = self._verify(program, compiled)
        engine = load_object(compiled.object)
        addresses = {name: engine.get_function_address(name) for name in program.entries}
        walk = engine.get_function_address(WALK)
        self._agree(program, addresses, walk, bound.steps, verified)
        self._prove(program, addresses[BEGIN], bound.steps)
        self.code = compiled.object

    def fail(self, detail: str) -> None:
        """Report that the running stage has refused."""
        self._end(FAIL, detail)

    def _parse(self) -> ParsedProgram:
        request = self._request
        self._begin("parse")
        program = parse_program(request["name"], request["text"], request["file"])
        self.facts |= {
            "params": program.params,
            "counters": program.counters,
            "hints": [name for name in HINT_WORDS if name in program.hints],
            "uses_seed": program.uses_seed,
        }
        functions = _count(len(program.functions), "function")
        hints = ", with hints" if program.hints else ""
        self._pass(f"{_count(program.statements, 'statement')} in {functions}{hints}")
        return program

    def _compile(self, program: ParsedProgram) -> Compiled:
        from iomapd.jit.admission.compile import compile_program

        self._begin("compile")
        compiled = compile_program(program)
        size = len(compiled.object)
        how = "in a walk of its own" if compiled.has_walk else "called by pointer"
        self._pass(f"{compiled.instructions} machine instructions, {how}; {size} bytes of object")
        if self._request["listings"]:
            self.facts |= {"ir": compiled.ir, "assembly": compiled.assembly}
        return compiled

    def _verify(self, program: ParsedProgram, compiled: Compiled) -> Verification | None:
        self._begin("verifier")
        if not self._request["kernel"]:
            self._end(SKIP, "the kernel is asked about programs that are new to a volume")
            return None
        from iomapd.jit.admission.verifier import verify

        found = verify(program, compiled.linked)
        self._end(SKIP if found.why_not else PASS, found.detail)
        self.facts["kernel"] = environment()
        if self._request["listings"]:
            self.facts["bpf"] = base64.b64encode(found.object).decode()
        return found

    def _agree(
        self,
        program: ParsedProgram,
        addresses: dict[str, int],
        walk: int,
        steps: int,
        verified: Verification | None,
    ) -> None:
        self._begin("agree")
        loaded = verified.loaded if verified else {}
        found = agree(program, addresses, steps, loaded, walk)
        words = f"interpreter and x86 code agree on {found.compared} inputs and {found.walks} walks"
        if found.in_kernel:
            words += f", BPF in the kernel as well on {found.in_kernel} of them"
        if verified and verified.loaded and self._request["timing"]:
            cost = verified.time_call()
            words += f"; {cost:.0f} ns per mapping in the kernel" if cost is not None else ""
        self._pass(words)

    def _prove(self, program: ParsedProgram, address: int, steps: int) -> None:
        self._begin("prove")
        params = self._request["params"]
        if program.params and params is None and not self._request["guess"]:
            self._end(SKIP, "parameters belong to a layout; its extents are proved when made")
            return
        found = prove(program, address, steps, tuple(params) if params else None)
        guessed = bool(program.params) and not params
        if not guessed:
            # What holds for parameters that were guessed may not hold for others.
            self.facts |= {"prefix": found.prefix, "is_raid0": found.raid0}
        words = _words(found, program.params, guessed=guessed)
        if program.hints:
            judged = judge_hints(address, found.params)
            words += f"; {judged.true} of {judged.upserts} hinted upserts are true"
        self._pass(words)

    def _begin(self, stage: str) -> None:
        self._stage = stage
        self._send({"begin": stage})

    def _pass(self, detail: str) -> None:
        self._end(PASS, detail)

    def _end(self, status: str, detail: str) -> None:
        self._send({"stage": dataclasses.asdict(Stage(self._stage, status, detail))})


def _words(found: Ladder, names: Sequence[str], *, guessed: bool) -> str:
    given = [f"{name}={value}" for name, value in zip(names, found.params, strict=False)]
    words = f"a bijection in {found.geometries} geometries of {found.blocks} blocks"
    words += f" with {', '.join(given)}" if given else ""
    words += f", {found.declined} geometries declined" if found.declined else ""
    kind = "prefix" if found.prefix else "fixed"
    kind += ", maybe another with other parameters" if guessed else ""
    return f"{words}; class {kind}; {found.ns / found.blocks:.0f} ns per block"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def main() -> None:
    """Examine the program on stdin; the answer goes to what stdout was."""
    apply_limits()
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that prints may get between our lines

    def send(message: dict[str, Any]) -> None:
        answer.write(json.dumps(message).encode() + b"\n")
        answer.flush()

    request = json.load(sys.stdin.buffer)
    place = f"{request['file']}:1"
    examiner = Examiner(request, send)
    try:
        examiner.run()
    except ProgramError as error:
        examiner.fail(str(error))
    except MemoryError:
        examiner.fail(f"{place}: the program needs more than {MEMORY >> 20} MiB to be examined")
    except Exception as error:
        # Something that numba, LLVM or we ourselves did not foresee; the program pays for it.
        words = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        examiner.fail(f"{place}: the program could not be examined: {words}")
    send({"end": examiner.facts})
    answer.write(examiner.code)
    answer.flush()
    # LLVM's and numba's own farewells are of no use here, and take time.
    os._exit(0)


if __name__ == "__main__":
    main()
