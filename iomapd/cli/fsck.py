# SPDX-License-Identifier: MIT
"""``iomapd fsck``: check a volume, mounted or not.

Exit status, as fsck(8) has it: 0 nothing is wrong, 4 errors are left, 8 the
check could not be made, 16 the command line is wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperCommand

from iomapd.cli import console
from iomapd.errors import IomapdError, UsageError
from iomapd.geometry.sizes import format_size

if TYPE_CHECKING:
    from iomapd.tools.fsck import FsckReport

EXIT_ERRORS_LEFT: Final = 4
EXIT_OPERATIONAL: Final = 8
EXIT_USAGE: Final = 16


class FsckCommand(TyperCommand):
    """The command with fsck's own status for a wrong command line."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the command line."""
        try:
            return super().make_context(*args, **kwargs)
        except typer.TyperException as error:
            error.exit_code = EXIT_USAGE
            raise


def fsck(
    where: Annotated[
        Path,
        typer.Argument(
            parser=console.untouched, metavar="LAYOUT|MEMBER", help="Layout file or member."
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print JSON; sizes in bytes.")] = False,
) -> None:
    """Check a volume: members, store, names, space.  Changes nothing.

    Exit status: 0 clean, 4 errors found, 8 the check could not be made,
    16 the command line is wrong.
    """
    from iomapd.tools.fsck import check_volume
    from iomapd.volume.layout_file import find_layout_or_member

    try:
        with console.progress_bar() as report_progress:
            report = check_volume(find_layout_or_member(where), report_progress)
    except UsageError as error:
        console.note(f"iomapd: {error}")
        raise typer.Exit(EXIT_USAGE) from error
    except (IomapdError, OSError) as error:
        console.note(f"iomapd: {error}")
        raise typer.Exit(EXIT_OPERATIONAL) from error
    if json:
        console.echo_json(report.body())
    else:
        console.echo("\n".join(_render(report)))
    if report.errors:
        raise typer.Exit(EXIT_ERRORS_LEFT)


def _render(report: FsckReport) -> list[str]:
    lines = [f"{finding.severity}: {finding.message}" for finding in report.findings]
    used = sum(report.usage.used.values())
    lines.append(
        f"{report.name}: {report.nr_inodes} inodes, {report.usage.nr_extents} extents, "
        f"{format_size(used)} of {format_size(report.size)} used"
    )
    count = len(report.errors)
    lines.append(f"{report.name}: {f'{count} errors' if count else 'clean'}")
    return lines
