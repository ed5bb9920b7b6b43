# SPDX-License-Identifier: MIT
"""Pictures: nothing overlaps, all text can be read, SVG and PNG are well-formed."""

import struct
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest

from iomapd.tools.colours import CLASH, HUES, INK_DARK, RESTING, ink, luminance, tint
from iomapd.tools.draw import Cell, Drawing
from iomapd.tools.scene import Box, Scene, Words, compose
from iomapd.tools.scene_png import write_png
from iomapd.tools.scene_svg import to_svg

SVG = "{http://www.w3.org/2000/svg}"


def drawing(nr_rows, nr_columns, title="p", **more):
    grid = tuple(
        tuple(
            Cell((row * nr_columns + column,), column, row / nr_rows, f"cell {row} {column}")
            for column in range(nr_columns)
        )
        for row in range(nr_rows)
    )
    rows = tuple(f"{64 * row}KiB" for row in range(nr_rows))
    columns = tuple(f"strip {column}" for column in range(nr_columns))
    return Drawing(title, "unit 64KiB", columns, rows, grid, **more)


def contrast(fill, text):
    low, high = sorted((luminance(fill), luminance(text)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("hue", range(len(HUES)))
def test_every_number_can_be_read(hue):
    # 4.5 is what WCAG 2 asks of text.
    for step in range(21):
        fill = tint(hue, step / 20)
        assert contrast(fill, ink(fill)) >= 4.5, (fill, ink(fill))


@pytest.mark.parametrize("fill", [RESTING, CLASH])
def test_special_cells_can_be_read(fill):
    assert contrast(fill, ink(fill)) >= 4.5


def test_tones_go_from_pale_to_full():
    tones = [luminance(tint(0, step / 10)) for step in range(11)]
    assert all(paler > fuller for paler, fuller in pairwise(tones))
    assert tint(0, 1) == "#0072b2"
    assert (tint(0, -5), tint(0, 7)) == (tint(0, 0), tint(0, 1))
    assert tint(len(HUES), 0.5) == tint(0, 0.5)


def boxes(scene):
    return [item for item in scene.items if isinstance(item, Box)]


@pytest.mark.parametrize(
    "drawings",
    [
        [drawing(1, 1)],
        [drawing(8, 4)],
        [drawing(40, 16)],
        [drawing(8, 4, "a"), drawing(5, 4, "b", notes=("something is odd",))],
    ],
    ids=["one cell", "usual", "large", "two"],
)
def test_cells_stay_apart_and_inside(drawings):
    scene = compose("title", "caption", drawings)
    for box in boxes(scene):
        assert box.x > 0
        assert box.y > 0
        assert box.x + box.width < scene.width
        assert box.y + box.height < scene.height
    for one, other in combinations(boxes(scene), 2):
        beside = one.x + one.width <= other.x or other.x + other.width <= one.x
        below = one.y + one.height <= other.y or other.y + other.height <= one.y
        assert beside or below
    assert len(boxes(scene)) == sum(len(row) for drawn in drawings for row in drawn.grid)


def test_notes_are_said_once():
    scene = compose("t", "c", [drawing(1, 1, notes=("odd",)), drawing(1, 1, notes=("odd",))])
    assert sum(isinstance(item, Words) and item.text == "odd" for item in scene.items) == 1


def test_places_without_a_unit_stay_empty_and_cuts_are_marked():
    cell = Cell((1,), 0, 0, "words", is_cut=True)
    scene = compose("t", "c", [Drawing("p", "c", ("s",), ("",), ((None,), (cell,))[1:])])
    mark, box = boxes(scene)
    assert mark.height < 2 < box.height
    empty = compose("t", "c", [Drawing("p", "c", ("s",), ("0",), ((None,),))])
    assert boxes(empty) == []


def test_the_svg_is_a_document_with_a_rectangle_per_cell():
    drawn = drawing(8, 4)
    scene = compose("raid0", "unit 64KiB", [drawn])
    root = ElementTree.fromstring(to_svg(scene))
    assert root.get("viewBox") == f"0 0 {scene.width} {scene.height}"
    assert root.find(f"{SVG}title").text == "raid0"
    cells = root.findall(f"{SVG}rect")
    assert len(cells) == 32
    assert cells[5].find(f"{SVG}title").text == "cell 1 1"
    words = [text.text for text in root.findall(f"{SVG}text")]
    assert {"raid0", "strip 3", "448KiB", "31"} <= set(words)


def test_the_svg_reads_on_dark_ground():
    assert "prefers-color-scheme: dark" in to_svg(compose("t", "c", [drawing(1, 1)]))


def test_names_are_no_markup():
    scene = compose("<b>&", '"</svg>', [drawing(1, 1, "<script>")])
    root = ElementTree.fromstring(to_svg(scene))
    assert "<b>&" in [text.text for text in root.findall(f"{SVG}text")]
    assert root.findall(f".//{SVG}script") == []


def test_the_png_has_two_pixels_for_one(tmp_path):
    scene = compose("raid0", "unit 64KiB", [drawing(2, 2)])
    path = tmp_path / "p.png"
    write_png(scene, path)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    assert (width, height) == (2 * scene.width, 2 * scene.height)


def test_the_png_has_the_colours_of_the_scene(tmp_path):
    pyplot = pytest.importorskip("matplotlib.image")
    box = Box(10, 10, 80, 60, "#0072b2", "")
    scene = Scene("t", 100, 80, (box, Words(50, 75, "t", "note", "middle")))
    write_png(scene, tmp_path / "p.png")
    pixels = pyplot.imread(tmp_path / "p.png")
    assert [round(part * 255) for part in pixels[80, 100][:3]] == [0x00, 0x72, 0xB2]
    assert [round(part * 255) for part in pixels[5, 5][:3]] == [255, 255, 255]
    assert ink(box.fill) != INK_DARK
