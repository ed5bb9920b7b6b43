# SPDX-License-Identifier: MIT
"""The limited process in which a program is examined: ``python -m iomapd.jit.admission.child``.

    stdin    one JSON document: name, text, file, params, listings
    stdout   one JSON document per line: {"begin": STAGE}, {"stage": {...}}, ...
             at last {"end": {...}}, and behind its newline the object file

A program is parsed here, compiled here, and its code runs here, so that whatever it does to
Python's parser, to numba, to LLVM or to the machine happens to a process that owns nothing.
numba is imported only for programs that have passed the stages before it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from iomapd.errors import ProgramError
from iomapd.jit.admission.bounded import step_bound
from iomapd.jit.admission.limits import MEMORY, apply_limits
from iomapd.jit.admission.parse import parse_program
from iomapd.jit.admission.verdict import FAIL, PASS, SKIP, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from iomapd.jit.admission.compile import Compiled
    from iomapd.jit.admission.tree import ParsedProgram


class _Examination:
    """The stages of one program, and what they leave behind."""

    def __init__(self, request: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
        self._request = request
        self._send = send
        self.stage = "parse"
        self.facts: dict[str, Any] = {}
        self.code = b""

    def run(self) -> None:
        """Run the stages in their order.

        Raises:
            ProgramError: a stage refused.
        """
        request = self._request
        self._begin("parse")
        program = parse_program(request["name"], request["text"], request["file"])
        self.facts |= {
            "params": program.params,
            "counters": program.counters,
            "uses_seed": program.uses_seed,
        }
        functions = len(program.functions)
        self._pass(
            "parse", f"{_count(program.statements, 'statement')} in {_count(functions, 'function')}"
        )
        self._begin("bounded")
        bound = step_bound(program)
        self.facts["step_bound"] = bound.steps
        self._pass("bounded", f"at most {bound.steps} steps, {bound.size} operations of code")
        self._begin("compile")
        compiled = self._compile(program)
        self._send({"stage": dataclasses.asdict(_VERIFIER)})
        self._run_code(program, compiled, bound.steps)
        self.code = compiled.object

    def _compile(self, program: ParsedProgram) -> Compiled:
        from iomapd.jit.admission.compile import compile_program

        compiled = compile_program(program)
        size = len(compiled.object)
        self._pass(
            "compile", f"{compiled.instructions} machine instructions, {size} bytes of object"
        )
        if self._request.get("listings"):
            self.facts |= {"ir": compiled.ir, "assembly": compiled.assembly}
        return compiled

    def _run_code(self, program: ParsedProgram, compiled: Compiled, steps: int) -> None:
        from iomapd.jit.admission.agree import agree
        from iomapd.jit.admission.prove import prove
        from iomapd.jit.machine import load_object

        engine = load_object(compiled.object)
        addresses = {name: engine.get_function_address(name) for name in program.entries}
        self._begin("agree")
        compared = agree(program, addresses, steps)
        self._pass("agree", f"interpreter and x86 code agree on {compared} inputs")
        self._begin("prove")
        params = self._request.get("params")
        found = prove(program, addresses["iomap_begin"], steps, tuple(params) if params else None)
        if params or not program.params:
            self.facts |= {"prefix": found.prefix, "is_raid0": found.raid0}
        # What holds for parameters that were guessed may not hold for those of a layout.
        kind = "prefix" if found.prefix else "fixed"
        given = "".join(
            f", {name}={value}" for name, value in zip(program.params, found.params, strict=False)
        )
        self._pass(
            "prove",
            f"a bijection in {found.geometries} geometries of {found.blocks} blocks{given}; "
            f"class {kind}; {found.ns / max(found.blocks, 1):.0f} ns per block",
        )

    def _begin(self, stage: str) -> None:
        self.stage = stage
        self._send({"begin": stage})

    def _pass(self, stage: str, detail: str) -> None:
        self._send({"stage": dataclasses.asdict(Stage(stage, PASS, detail))})

    def fail(self, detail: str) -> None:
        """Report that the running stage has refused."""
        self._send({"stage": dataclasses.asdict(Stage(self.stage, FAIL, detail))})


_VERIFIER = Stage("verifier", SKIP, "arrives with the BPF back end")


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
    examination = _Examination(request, send)
    try:
        examination.run()
    except ProgramError as error:
        examination.fail(str(error))
    except MemoryError:
        examination.fail(f"{place}: the program needs more than {MEMORY >> 20} MiB to be examined")
    except Exception as error:
        # Something that numba, LLVM or we ourselves did not foresee; the program pays for it.
        words = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        examination.fail(f"{place}: the program could not be examined: {words}")
    send({"end": examination.facts})
    answer.write(examination.code)
    answer.flush()
    # LLVM's and numba's own farewells are of no use here, and take time.
    os._exit(0)


if __name__ == "__main__":
    main()
