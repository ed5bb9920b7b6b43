# SPDX-License-Identifier: MIT
"""``iomapd program``: look at mapping programs, examine them, ask them, time them, draw them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iomapd.cli import console, program_draw, program_live, program_show
from iomapd.cli.parameters import STRIPS_MAX, ParamOption, params_of
from iomapd.errors import UsageError
from iomapd.geometry.sizes import format_size, parse_size

if TYPE_CHECKING:
    from iomapd.jit.admission import Admission, Geometry
    from iomapd.tools.program import Answer, CostReport
    from iomapd.tools.program_sizes import SizeCost

app = typer.Typer(
    help="Look at mapping programs: check, show, run, time, draw; exchange those of a mount.",
    rich_markup_mode=None,
)

REFUSED = 1
COLOURS = {"pass": "green", "fail": "red", "skip": "yellow"}

ProgramArgument = Annotated[
    str, typer.Argument(metavar="PROGRAM", help="The name of a shipped program, or a .py file.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
UnitOption = Annotated[str, typer.Option(metavar="SIZE", help="Stripe unit.")]
StripsOption = Annotated[int, typer.Option(min=1, max=STRIPS_MAX, help="Strips of the extent.")]
LengthOption = Annotated[str, typer.Option(metavar="SIZE", help="Length of a strip.")]
SeedOption = Annotated[int, typer.Option(help="The file's inode number.")]


@app.command("list")
def list_all(json: JsonOption = False) -> None:
    """List the programs that come with iomapd."""
    from iomapd.tools.program import list_programs

    found = list_programs()
    if json:
        body = {"schema": "iomapd.program.list", "version": 1}
        console.echo_json(body | {"programs": [asdict(listing) for listing in found]})
        return
    rows = [(item.name, ", ".join(item.params), item.summary or item.refusal) for item in found]
    head = ("PROGRAM", "PARAMS", "SUMMARY")
    console.echo(console.table(head, rows, left=" ".join(head)))


@app.command()
def check(
    program: ProgramArgument,
    param: ParamOption = None,
    sizes: Annotated[
        bool, typer.Option("--sizes", help="Time the proof for 1 GiB, 100 GiB and 1 TiB.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Examine a program as a volume would, and say what came of it.

    The stages: parse, bounded, compile, verifier, agree, prove.  All run in a
    process of their own with 30 s of processor time.  Exit status 0 when the
    program is accepted, 1 when it is refused.
    """
    from iomapd.tools.program import check_program
    from iomapd.tools.program_sizes import time_proofs

    given, progress = params_of(param), console.stage_line()
    admission = check_program(program, given, progress)
    costs = time_proofs(program, given, progress) if sizes and admission.accepted else []
    if json:
        more = {"sizes": [asdict(cost) for cost in costs]} if sizes else {}
        console.echo_json(admission.to_json() | more)
    else:
        console.echo(_render_check(admission))
        if costs:
            console.echo(_render_sizes(costs))
    if not admission.accepted:
        raise typer.Exit(REFUSED)


@app.command()
def stats(
    mountpoint: Annotated[
        Path,
        typer.Argument(
            parser=console.untouched, metavar="MOUNTPOINT", help="Where the volume is mounted."
        ),
    ],
    json: JsonOption = False,
) -> None:
    """Show what programs of a mounted volume have counted, and what was proved.

    Counters are those that a program names in COUNTERS and raises in
    iomap_end and iomap_ioend; hints are counted with mapper=cache.
    """
    from iomapd.tools.admin import request

    found = request(mountpoint, "stats")
    body = {"answers": found["answers"], **found["programs"]}
    if json:
        console.echo_json({"schema": "iomapd.program.stats", "version": 1, **body})
        return
    answers, proofs = body["answers"], f"{body['proofs']} extents proved"
    console.echo(
        f"answers: {answers['program']} by programs, {answers['formula']} by the built-in "
        f"formula, {answers['linear']} linear, {answers['refused']} refused; {proofs}, "
        f"{body['proofs_failed']} refuted, {body['proof_blocks']} blocks in "
        f"{body['proof_ns'] / 1e6:.1f} ms"
    )
    rows = [
        (program, name, str(count))
        for program, counters in body["counters"].items()
        for name, count in counters.items()
    ]
    rows += [
        (program, f"hints {name}", str(count))
        for program, hints in body["hints"].items()
        for name, count in hints.items()
    ]
    if rows:
        console.echo(console.table(("PROGRAM", "COUNTER", "COUNT"), rows, left="PROGRAM COUNTER"))


@app.command()
def run(
    program: ProgramArgument,
    pos: Annotated[
        str, typer.Option(metavar="SIZE", help="Position in the extent, a multiple of 4KiB.")
    ] = "0",
    unit: UnitOption = "64KiB",
    strips: StripsOption = 4,
    strip_length: LengthOption = "1MiB",
    seed: SeedOption = 1,
    param: ParamOption = None,
    json: JsonOption = False,
) -> None:
    """Ask a program for one mapping.

    It runs in the interpreter that is the measure of compiled code, and need
    not be accepted.  Exit status 1 when its answer breaks a rule.
    """
    from iomapd.tools.program import ask_program

    geometry = _geometry(program, unit, strips, strip_length, seed, param)
    answer = ask_program(program, geometry, parse_size(pos, "--pos"))
    if json:
        body = {"schema": "iomapd.program.run", "version": 1}
        console.echo_json(body | asdict(answer))
    else:
        console.echo(_render_answer(answer))
    if answer.fault:
        raise typer.Exit(REFUSED)


@app.command()
def bench(
    program: ProgramArgument,
    unit: UnitOption = "64KiB",
    strips: StripsOption = 4,
    strip_length: LengthOption = "1MiB",
    seed: SeedOption = 1,
    param: ParamOption = None,
    json: JsonOption = False,
) -> None:
    """Time one mapping: compiled, interpreted, as BPF in the kernel, and the plain raid0 formula.

    All in the same run, turn by turn.  The program must be accepted.
    """
    from iomapd.tools.program import time_program

    geometry = _geometry(program, unit, strips, strip_length, seed, param)
    with console.progress_bar() as progress:
        report = time_program(program, geometry, progress)
    if json:
        from iomapd.tools.machine import describe

        console.echo_json(report.to_json() | {"machine": describe()})
    else:
        console.echo(_render_cost(report))


# In the order in which help lists them.
app.command("show")(program_show.show)
app.command("draw")(program_draw.draw)
app.command("diff")(program_draw.diff)
app.command("attach")(program_live.attach)
app.command("replace")(program_live.replace)


def _geometry(
    program: str, unit: str, strips: int, length: str, seed: int, param: list[str] | None
) -> Geometry:
    from iomapd.tools.program import geometry_of

    if not -(2**63) <= seed < 2**63:
        raise UsageError(f"--seed {seed}: must be a signed 64-bit integer")
    sizes = parse_size(unit, "--unit"), strips, parse_size(length, "--strip-length")
    return geometry_of(program, *sizes, seed, params_of(param))


def _render_check(admission: Admission) -> str:
    lines = [f"{admission.name}  sha256 {admission.sha256[:16]}"]
    for stage in admission.stages:
        status = console.style(stage.status, COLOURS[stage.status])
        lines.append(f"  {stage.name:<9} {status}  {stage.detail}")
    lines.append("accepted" if admission.accepted else "refused")
    return "\n".join(lines)


def _render_sizes(costs: list[SizeCost]) -> str:
    rows = [
        (
            format_size(cost.size), cost.blocks, f"{cost.ns / 1e9:.2f}", format_size(cost.memory),
            cost.sentence or ("measured" if cost.measured else "extrapolated"),
        )
        for cost in costs
    ]  # fmt: skip
    return console.table(("FILE", "BLOCKS", "SECONDS", "MEMORY", "PROOF"), rows, left="PROOF")


def _render_answer(answer: Answer) -> str:
    given = " ".join(f"{name}={value}" for name, value in answer.given.items())
    lines = [f"{answer.program}: {given}"]
    if answer.fault:
        return "\n".join([*lines, f"the block {answer.fault}"])
    found = answer.answers
    lines.append(f"strip {found['strip']}, address {found['addr']}, length {found['length']}")
    lines += [f"hint: {hint}" for hint in hints_in_words(answer.hints)]
    return "\n".join(lines)


def hints_in_words(hints: dict[str, int]) -> list[str]:
    """Write the hints beside an answer; what has no length is none."""
    words = []
    if length := hints.get("invalidate_length"):
        words.append(f"forget {length} bytes at {hints.get('invalidate_pos', 0)}")
    if length := hints.get("upsert_length"):
        at = [hints.get(f"upsert_{name}", 0) for name in ("pos", "strip", "addr")]
        words.append(f"{length} bytes at {at[0]} are in strip {at[1]} at address {at[2]}")
    return words


def _render_cost(report: CostReport) -> str:
    rows = [
        (what, f"{cost.median:.1f}", f"{cost.low:.1f}", f"{cost.high:.1f}")
        for what, cost in (
            ("program, compiled", report.compiled),
            ("raid0 formula, compiled", report.formula),
            ("program, interpreted", report.interpreted),
        )
    ]
    if report.in_kernel:
        cost = report.in_kernel
        rows.append(("program, BPF", f"{cost.median:.1f}", f"{cost.low:.1f}", f"{cost.high:.1f}"))
    else:
        rows.append((f"program, BPF: {report.why_not}", "-", "-", "-"))
    table = console.table(("MAPPING", "MEDIAN", "LOW", "HIGH"), rows, left="MAPPING")
    return f"{report.program}: {report.geometry}\nnanoseconds per mapping:\n{table}"
