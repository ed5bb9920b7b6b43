# SPDX-License-Identifier: MIT
"""``iomapd doctor``: what this machine can do, what is missing, the command that mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from iomapd.cli import console

if TYPE_CHECKING:
    from iomapd.tools.finding import Finding

COLOUR_OF: Final = {"ok": "green", "info": "cyan", "warn": "yellow", "fail": "red"}


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say why each thing matters, found or not.")
    ] = False,
) -> None:
    """Examine this machine and say how to mend it.

    Exit status 1 means that mounting will not work.
    """
    from iomapd.tools.doctor import examine, report

    findings = examine()
    body = report(findings)
    if json:
        console.echo_json(body)
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            _show(finding, width, verbose)
    if body["status"] == "fail":
        raise typer.Exit(1)


def _show(finding: Finding, width: int, verbose: bool) -> None:
    status = console.style(f"{finding.status:<4}", COLOUR_OF[finding.status])
    console.echo(f"{status}  {finding.name:<{width}}  {finding.found}")
    indent = " " * (width + 8)
    if verbose or finding.mend:
        console.echo(f"{indent}{finding.why}")
    if finding.mend:
        console.echo(f"{indent}-> {finding.mend}")
