# SPDX-License-Identifier: MIT
"""``iomapd``: one command per module, registered here; and the one place where errors become words.

    exit 0   done
    exit 1   refused or failed: one line on stderr says what, which rule, and where
    exit 2   the command line itself is wrong
    exit 130 interrupted (128 + SIGINT, as shells count; typer's doing)

``fsck`` has exit bits of its own, as fsck(8) has them.

The modules imported here are thin on purpose: they import what they need when
their command runs, so that help and completion answer at once (0.2 s, of which
typer is 0.1).
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from iomapd import __version__
from iomapd.cli import (
    bench,
    create,
    demo,
    doctor,
    fsck,
    info,
    layout,
    map,  # the command is called map
    migrate,
    mount,
    program,
    stats,
    umount,
)
from iomapd.errors import IomapdError, UsageError

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_PIPE_CLOSED: Final = 141  # 128 + SIGPIPE

VOLUMES: Final = "Volumes"
INSPECT: Final = "Look inside"
MEASURE: Final = "Try and measure"


class SectionedGroup(TyperGroup):
    """Lists commands under the headings they were registered with, in plain text."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one definition list per heading, in the order of registration."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                heading = getattr(command, "rich_help_panel", None) or "Commands"
                row = (name, command.get_short_help_str(formatter.width))
                sections.setdefault(str(heading), []).append(row)
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


app = typer.Typer(
    name="iomapd",
    cls=SectionedGroup,
    help="Files striped over several devices or files, mounted from user space.",
    epilog="A first look: iomapd demo.  What this machine can do: iomapd doctor.",
    rich_markup_mode=None,  # importing rich would double the time that help takes
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(rich_help_panel=VOLUMES)(create.create)
app.command(rich_help_panel=VOLUMES)(mount.mount)
app.command(rich_help_panel=VOLUMES)(umount.umount)
app.command(cls=fsck.FsckCommand, rich_help_panel=VOLUMES)(fsck.fsck)
app.command(rich_help_panel=INSPECT)(info.info)
app.command(name="map", rich_help_panel=INSPECT)(map.map_file)
app.add_typer(layout.app, name="layout", rich_help_panel=INSPECT)
app.command(rich_help_panel=INSPECT)(migrate.migrate)
app.add_typer(program.app, name="program", rich_help_panel=INSPECT)
app.command(rich_help_panel=INSPECT)(stats.stats)
app.command(rich_help_panel=MEASURE)(doctor.doctor)
app.command(rich_help_panel=MEASURE)(demo.demo)
app.command(rich_help_panel=MEASURE)(bench.bench)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"iomapd {__version__}")
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_print_version, is_eager=True, help="Show the version."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", envvar="IOMAPD_DEBUG", help="Show the traceback of an error."),
    ] = False,
) -> None:
    """Take the options that stand before the command."""
    if debug:
        # The environment carries it to the server of a mount as well.
        os.environ["IOMAPD_DEBUG"] = "1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status; the words go to stderr.

    Args:
        arguments: what follows the program's name; sys.argv's by default.
    """
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        status = app(args=given, prog_name="iomapd", standalone_mode=False)
        sys.stdout.flush()  # here, so that a closed pipe is noticed here
    except typer.TyperException as error:
        return _say(_usage(error), error, error.exit_code)
    except UsageError as error:
        return _say(str(error), error, EXIT_USAGE)
    except IomapdError as error:
        return _say(str(error), error, EXIT_FAILED)
    except BrokenPipeError:
        # `iomapd map FILE | head`: nobody listens, and Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED
    except OSError as error:
        return _say(_system(error), error, EXIT_FAILED)
    except Exception as error:
        return _say(_bug(error, given), error, EXIT_FAILED)
    return status if isinstance(status, int) else 0


def run() -> None:
    """Entry point of the ``iomapd`` program."""
    _open_closed_streams()
    sys.exit(main())


def _open_closed_streams() -> None:
    """Let what was closed (``>&-``) be /dev/null, so that no file opened later takes its place."""
    while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(null, True)
    os.close(null)
    # Python has no object for a stream that was closed when it started.
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _say(message: str, error: BaseException, status: int) -> int:
    if os.environ.get("IOMAPD_DEBUG"):
        traceback.print_exception(error, file=sys.stderr)
    one_line = " ".join(message.split("\n"))
    print(f"iomapd: {one_line}", file=sys.stderr)
    return status


def _usage(error: typer.TyperException) -> str:
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{message}; see {context.command_path} --help" if context else message


def _system(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{os.fsdecode(error.filename)}: {reason}" if error.filename else reason


def _bug(error: Exception, given: Sequence[str]) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    return (
        f"internal error: {type(error).__name__}: {error} ({place}); please report it "
        f"with the output of: iomapd --debug {' '.join(given)}"
    )
