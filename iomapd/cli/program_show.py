# SPDX-License-Identifier: MIT
"""``iomapd program show``: a program as text, and all that it becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iomapd.cli import console


def show(
    program: Annotated[
        str, typer.Argument(metavar="PROGRAM", help="The name of a shipped program, or a .py file.")
    ],
    ir: Annotated[bool, typer.Option("--ir", help="LLVM IR, optimised.")] = False,
    asm: Annotated[bool, typer.Option("--asm", help="Assembly of this processor.")] = False,
    bpf: Annotated[
        bool, typer.Option("--bpf", help="BPF instructions, as bpftool writes them.")
    ] = False,
    emit: Annotated[
        Path | None, typer.Option(metavar="FILE.o", help="Write the BPF object for bpftool.")
    ] = None,
) -> None:
    """Print a program: its source, or what the compiler made of it.

    `bpftool prog load FILE.o /sys/fs/bpf/NAME type syscall` loads what --emit
    writes.
    """
    from iomapd.tools.program import open_source, translate_program

    if not (ir or asm or bpf or emit):
        console.echo(open_source(program).text.rstrip("\n"))
        return
    found = translate_program(program, console.stage_line())
    listings = [found.ir] * ir + [found.assembly] * asm
    if bpf or emit:
        from iomapd.tools.program_bpf import listing_of, write_object

        if bpf:
            listings.append(listing_of(found))
        if emit:
            console.note(f"{emit}: {write_object(found, emit)} bytes")
    if listings:
        console.echo("\n".join(text.rstrip("\n") for text in listings))
