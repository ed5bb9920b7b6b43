# SPDX-License-Identifier: MIT
"""One hostile program."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent, indent

RAID0 = """\
unit_index = ctx.pos // ctx.unit
row = unit_index // ctx.nr_strips
within = ctx.pos - unit_index * ctx.unit
ctx.strip = unit_index - row * ctx.nr_strips
ctx.addr = row * ctx.unit + within
ctx.length = min(ctx.unit - within, ctx.count)
"""


@dataclass(frozen=True)
class Case:
    """A program, and what admission must say of it.

    Attributes:
        name: what it tries.
        stage: the one that refuses.
        line: the one that the refusal names.
        words: the refusal's sentence, or the beginning of it.
        text: the source.
    """

    name: str
    stage: str
    line: int
    words: str
    text: str


def whole(name, words, text, line=1, stage="parse"):
    """A program given in full; *line* counts from its first line."""
    return Case(name, stage, line, words, dedent(text))


def inside(name, words, lines, line=1, stage="parse"):
    """raid0 with *lines* before its end; *line* counts from the first of them."""
    body = RAID0 + dedent(lines).strip("\n") + "\nreturn HANDLED\n"
    text = "def iomap_begin(ctx):\n" + indent(body, "    ")
    return Case(name, stage, 7 + line, words, text)


def beside(name, words, lines, line=1, stage="parse"):
    """raid0 with *lines* above it; *line* counts from the first of them."""
    text = "def iomap_begin(ctx):\n" + indent(RAID0 + "return HANDLED\n", "    ")
    return Case(name, stage, line, words, dedent(lines).lstrip("\n") + text)


def answering(name, words, lines, stage="prove"):
    """A program that sets strip, addr and length by *lines*; refused at its def."""
    text = "def iomap_begin(ctx):\n" + indent(dedent(lines).strip("\n") + "\n", "    ")
    return Case(name, stage, 1, words, text + "    return HANDLED\n")
