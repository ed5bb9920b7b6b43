# SPDX-License-Identifier: MIT
"""``iomapd program draw`` and ``diff``: layouts as coloured cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iomapd.cli import cells, console
from iomapd.cli.parameters import STRIPS_MAX, ParamOption, params_of
from iomapd.errors import UsageError
from iomapd.geometry.sizes import format_size, parse_size

if TYPE_CHECKING:
    from iomapd.tools.draw import Drawing
    from iomapd.tools.draw_diff import Difference
    from iomapd.tools.draw_source import Extent

UNIT = "64KiB"
STRIPS = 4
ROWS = 8
SEED = 1
FIRST = 8  # moves that are listed

UnitOption = Annotated[
    str | None, typer.Option(metavar="SIZE", help=f"Stripe unit; {UNIT} by default.")
]
StripsOption = Annotated[
    int | None,
    typer.Option(min=1, max=STRIPS_MAX, help=f"Strips of the extent; {STRIPS} by default."),
]
RowsOption = Annotated[int, typer.Option(min=1, help="Units on each strip.")]
SeedOption = Annotated[
    int | None, typer.Option(help=f"The file's inode number; {SEED} by default.")
]
SvgOption = Annotated[Path | None, typer.Option(help="Draw into this SVG file.")]
PngOption = Annotated[Path | None, typer.Option(help="Draw into this PNG file; needs matplotlib.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def draw(
    target: Annotated[
        str,
        typer.Argument(
            metavar="PROGRAM|FILE", help="A program (name or .py file), or a file on a mount."
        ),
    ],
    unit: UnitOption = None,
    strips: StripsOption = None,
    rows: RowsOption = ROWS,
    seed: SeedOption = None,
    param: ParamOption = None,
    svg: SvgOption = None,
    png: PngOption = None,
    json: JsonOption = False,
) -> None:
    """Draw where the units of a file lie.

    A column per strip (or member), addresses from top to bottom; each cell
    shows its number in the file.  A program is drawn for an extent of --strips
    strips of --rows units; it need not be admitted.
    """
    from iomapd.tools.draw_source import is_program

    _check_pictures(png)
    if is_program(target):
        body, drawing = _draw_program(target, _extent(unit, strips, rows, seed), param)
    else:
        if unit or strips or seed is not None or param:
            raise UsageError(f"{target}: is no program; a file has its own layout: only --rows")
        body, drawing = _draw_file(target, rows)
    _save(drawing.title, drawing.caption, [drawing], svg, png)
    if json:
        console.echo_json(body)
    else:
        console.echo(f"{drawing.title}: {drawing.caption}\n")
        cells.show([drawing])


def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="A program: name or .py file.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    unit: UnitOption = None,
    strips: StripsOption = None,
    rows: RowsOption = ROWS,
    seed: SeedOption = None,
    param: ParamOption = None,
    svg: SvgOption = None,
    png: PngOption = None,
    json: JsonOption = False,
) -> None:
    """Show which units of a file lie elsewhere under another program.

    Both programs map the same extent; a parameter goes to those that know it.
    Nothing moves by itself: files keep the program they were made with.
    """
    from iomapd.tools.draw import caption_of
    from iomapd.tools.draw_diff import compare
    from iomapd.tools.draw_source import open_program, split_params

    _check_pictures(png)
    extent = _extent(unit, strips, rows, seed)
    programs = open_program(first), open_program(second)
    params = params_of(param)
    given = split_params(params, *programs)
    geometries = [p.geometry(extent, mine) for p, mine in zip(programs, given, strict=True)]
    maps = [p.walk(geometry) for p, geometry in zip(programs, geometries, strict=True)]
    # The same program with itself is a question, too: two files of one name, for example.
    names = (first, second) if programs[0].name == programs[1].name else _names(programs)
    found = compare(names, (maps[0], maps[1]), geometries[0])
    title, share = " and ".join(names), _share(found, extent.unit)
    caption = caption_of(geometries[0], params)
    _save(title, f"{caption}: {share}", found.drawings, svg, png, ["grey: stays where it is"])
    if json:
        who = {"a": _identity(programs[0]), "b": _identity(programs[1])}
        body = {**who, **_about(extent), "params": params, **found.body(FIRST)}
        console.echo_json({"schema": "iomapd.program.diff", "version": 1, **body})
        return
    console.echo(f"{title}: {caption}\n{share}\n")
    if found.moves:
        console.echo(_first_moves(found) + "\n")
    cells.show(found.drawings)
    if len(found.moves) < found.nr_cells:
        console.echo(f"\n{cells.RESTING} stays where it is")


def _draw_program(
    target: str, extent: Extent, param: list[str] | None
) -> tuple[dict[str, Any], Drawing]:
    from iomapd.tools.draw import cell_size, draw_program
    from iomapd.tools.draw_source import open_program

    program = open_program(target)
    given = params_of(param)
    geometry = program.geometry(extent, given)
    pieces = program.walk(geometry)
    cell = cell_size(geometry.unit, pieces)
    drawing = draw_program(program.name, pieces, geometry, cell=cell, params=given)
    body = {
        "schema": "iomapd.program.draw",
        "version": 1,
        "program": _identity(program),
        **_about(extent),
        "params": given,
        "cell": cell,
        "pieces": [
            {"offset": p.offset, "length": p.length, "strip": p.column, "address": p.addr}
            for p in pieces
        ],
        "notes": list(drawing.notes),
    }
    return body, drawing


def _draw_file(target: str, rows: int) -> tuple[dict[str, Any], Drawing]:
    from iomapd.tools.draw_file import draw_file
    from iomapd.tools.layout import layout_of
    from iomapd.tools.map import map_of_file

    path = Path(target)
    if not path.exists():
        from iomapd.abi.shipped import shipped_dir

        known = ", ".join(sorted(p.stem for p in shipped_dir("programs").glob("*.py")))
        raise UsageError(f"{target}: is neither a file nor one of the programs {known}")
    body = map_of_file(path)
    drawing = draw_file(path, body, layout_of(path)["unit"], rows)
    return {"schema": "iomapd.program.draw", "version": 1, "file": str(path), "map": body}, drawing


def _extent(unit: str | None, strips: int | None, rows: int, seed: int | None) -> Extent:
    from iomapd.tools.draw_source import Extent

    return Extent(
        parse_size(unit or UNIT, "--unit"), strips or STRIPS, rows, SEED if seed is None else seed
    )


def _about(extent: Extent) -> dict[str, int]:
    strip_length = extent.unit * extent.rows
    return {
        "unit": extent.unit,
        "nr_strips": extent.nr_strips,
        "strip_length": strip_length,
        "seed": extent.seed,
    }


def _identity(program: Any) -> dict[str, str]:
    return {"name": program.name, "sha256": program.source.sha256}


def _names(programs: tuple[Any, Any]) -> tuple[str, str]:
    return programs[0].name, programs[1].name


def _share(found: Difference, unit: int) -> str:
    what = "units" if found.cell == unit else f"pieces of {format_size(found.cell)}"
    return (
        f"{len(found.moves)} of {found.nr_cells} {what} move ({found.share:.0%}), "
        f"{found.nr_other_strip} to another strip"
    )


def _first_moves(found: Difference) -> str:
    rows = [
        (m.number, m.before[0], _size(m.before[1]), "->", m.after[0], _size(m.after[1]))
        for m in found.moves[:FIRST]
    ]
    left = len(found.moves) - len(rows)
    more = f"\n... and {left} more" if left else ""
    return console.table(("UNIT", "STRIP", "ADDRESS", "", "STRIP", "ADDRESS"), rows) + more


def _size(nbytes: int) -> str:
    return format_size(nbytes) if nbytes else "0"


def _check_pictures(png: Path | None) -> None:
    if png is not None:
        from iomapd.tools.scene_png import require_matplotlib

        require_matplotlib("--png")


def _save(
    title: str,
    caption: str,
    drawings: Sequence[Drawing],
    svg: Path | None,
    png: Path | None,
    notes: Sequence[str] = (),
) -> None:
    """Write the pictures that are asked for."""
    if svg is None and png is None:
        return
    from iomapd.tools.scene import compose
    from iomapd.tools.scene_png import write_png
    from iomapd.tools.scene_svg import to_svg

    scene = compose(title, caption, drawings, notes)
    if svg is not None:
        svg.write_text(to_svg(scene), encoding="utf-8")
    if png is not None:
        write_png(scene, png)
