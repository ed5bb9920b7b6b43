# SPDX-License-Identifier: MIT
"""The pictures in docs/layouts are what `iomapd program draw` makes of the shipped programs."""

from pathlib import Path

import pytest

from iomapd.abi.shipped import shipped_dir
from iomapd.tools.draw import cell_size, draw_program
from iomapd.tools.draw_source import Extent, open_program
from iomapd.tools.scene import compose
from iomapd.tools.scene_svg import to_svg

GALLERY = Path(__file__).parent.parent / "docs" / "layouts"
PARAMS = {
    "interleave": {"chunk": 128 << 10},
    "ceph": {"stripe_count": 2, "object_size": 256 << 10},
}
AGAIN = "iomapd program draw {name} --seed 6{params} --svg docs/layouts/{name}.svg"


@pytest.mark.parametrize("name", sorted(path.stem for path in shipped_dir("programs").glob("*.py")))
def test_a_picture_is_up_to_date(name):
    program = open_program(name)
    params = PARAMS.get(name, {})
    geometry = program.geometry(Extent(64 << 10, 4, 8, 6), params)
    pieces = program.walk(geometry)
    cell = cell_size(geometry.unit, pieces)
    drawing = draw_program(name, pieces, geometry, cell=cell, params=params)
    svg = to_svg(compose(name, drawing.caption, [drawing]))
    given = "".join(f" --param {key}={value}" for key, value in params.items())
    command = AGAIN.format(name=name, params=given)
    assert (GALLERY / f"{name}.svg").read_text() == svg, f"again: {command}"


def test_every_picture_belongs_to_a_program():
    programs = {path.stem for path in shipped_dir("programs").glob("*.py")}
    assert {path.stem for path in GALLERY.iterdir()} == programs
