# SPDX-License-Identifier: MIT
"""How a command speaks: tables and JSON on stdout, progress on stderr and on a terminal only.

Tables are plain aligned columns, so that ``awk`` reads them as well as people do, and never
fold to the width of a terminal that is not there.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from iomapd.tools.progress import Progress


def echo(text: str = "") -> None:
    """Write a line of data to stdout."""
    typer.echo(text)


def note(text: str) -> None:
    """Write a line to stderr: what a person wants to know and a pipe does not."""
    typer.echo(text, err=True)


def echo_json(body: dict[str, Any]) -> None:
    """Write one JSON document to stdout; sizes stay integers, in bytes."""
    typer.echo(json.dumps(body, indent=2))


def table(head: Sequence[str], rows: Sequence[Sequence[object]], left: str = "") -> str:
    """Lay out *rows* under *head* in aligned columns.

    Args:
        head: column titles.
        rows: cells, converted with `str`; every row as long as *head*.
        left: titles of the columns that are words, separated by blanks; the
            others are numbers and stand on the right.

    Returns:
        Lines without trailing blanks, joined by newlines.
    """
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    words = set(left.split())
    lines = []
    for row in cells:
        columns = [
            cell.ljust(width) if title in words else cell.rjust(width)
            for cell, width, title in zip(row, widths, head, strict=True)
        ]
        lines.append("  ".join(columns).rstrip())
    return "\n".join(lines)


def clear() -> None:
    """Empty the terminal that stdout is."""
    typer.echo("\x1b[2J\x1b[H", nl=False)


def is_coloured() -> bool:
    """Whether stdout is a terminal and NO_COLOR (no-color.org) is not set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def style(text: str, colour: str) -> str:
    """Colour *text* where colours are welcome."""
    return typer.style(text, fg=colour) if is_coloured() else text


def untouched(text: str) -> Path:
    """Turn an argument into a path, for ``parser=``.

    typer's own conversion calls stat(2) on it, which is a request to a server
    that may be stuck, and then the command that was to end it hangs as well.
    """
    return Path(text)


def stage_line() -> Callable[[str], None] | None:
    """Return what names a stage on a terminal's stderr while it runs; nothing elsewhere."""
    if not sys.stderr.isatty():
        return None
    return lambda stage: typer.echo(f"\r\033[K{stage} ...\r", err=True, nl=False)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show a progress bar on stderr while the block runs; nothing unless stderr is a terminal."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    # rich costs 0.1 s to import, so only those who look at a bar pay for it.
    from rich.console import Console
    from rich.progress import Progress as Bar

    # Lines for the same terminal pass above the bar; those for a file stay out of its hands.
    together = sys.stdout.isatty()
    with Bar(console=Console(stderr=True), transient=True, redirect_stdout=together) as bar:
        task = bar.add_task("", total=None)

        def report(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        yield report


def end_in_order() -> None:
    """Take SIGTERM and SIGHUP for Ctrl-C: being told to end is no reason to leave things behind."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup(1) means it
            signal.signal(number, signal.default_int_handler)
