# SPDX-License-Identifier: MIT
"""Texts that are not what they look like, or not Python at all."""

from tests.programs.hostile.case import beside, inside, whole

DEEP = "(" * 5000 + "1" + ")" * 5000
BLOCKS = "\n".join("    " * depth + "if row:" for depth in range(90)) + " pass"
ELIFS = "if row:\n    x = 0" + "".join(f"\nelif row == {n}:\n    x = {n}" for n in range(1, 99))

TEXTS = [
    whole("empty file", "there is no def iomap_begin(ctx)", ""),
    whole("only a comment", "there is no def iomap_begin(ctx)", "# nothing\n"),
    whole("not Python", "not Python: ", "def iomap_begin(ctx:\n", line=2),
    whole("another language", "not Python: ", "int iomap_begin(struct ctx *ctx) { }\n"),
    whole("an open string", "not Python: ", '"""RAID0\ndef iomap_begin(ctx):\n', line=1),
    whole("bad indentation", "not Python: ", "def iomap_begin(ctx):\nreturn 1\n", line=2),
    whole("Python 2", "not Python: ", "print 'x'\n"),
    beside("nul byte", "character U+0000 is not allowed", "# \0\n"),
    beside("form feed", "character U+000C is not allowed", "# page\f\n"),
    beside("carriage return in a line", "character U+000D is not allowed", "# a\rimport os\n"),
    beside("escape sequence for terminals", "character U+001B is not allowed", "# \x1b[2J\n"),
    beside("byte order mark", "character U+FEFF is not allowed", "\ufeff# x\n"),
    beside("text that reads backwards", "character U+202E is not allowed", "# \u202e x\n"),
    beside("hidden joiner", "character U+200D is not allowed", "# a\u200db\n"),
    beside("line separator", "character U+2028 is not allowed", "# a\u2028import os\n"),
    beside("half a surrogate pair", "a character is half a pair", "# \ud800\n"),
    inside("letters that look alike", "name 'r\\u043ew' is not plain ASCII", "r\u043ew = 1"),
    inside("wide letters that Python folds", "name '\\uff43tx' is not plain ASCII",
           "\uff43tx.unit = 1"),
    inside("an operator beyond ASCII", "character '\\xd7' stands outside comments", "x = 2 \xd7 3"),
    inside("5000 brackets", "brackets are nested deeper than 16", f"x = {DEEP}"),
    inside("brackets that never close", "brackets are nested deeper than 16", "x = " + "[" * 900),
    inside("5000 signs", "a statement has more than 400 words", "x = " + "-" * 5000 + "1"),
    inside("5000 nots", "a statement has more than 400 words", "if " + "not " * 5000 + "1: pass"),
    inside("a sum of 30000", "a statement has more than 400 words", "x = 1" + " + 1" * 15000),
    inside("a sum of 100", "statements and expressions are nested deeper than 40",
           "x = 1" + " + row" * 100),
    inside("100 blocks", "blocks are nested deeper than 16",
           BLOCKS, line=17),
    inside("100 elifs", "statements and expressions are nested deeper than 40",
           ELIFS, line=73),
    whole("70000 bytes", "it has 70001 bytes; a program has at most 65536", "#" * 70000 + "\n"),
    inside("continued lines", "a statement has more than 400 words",
           "x = 1" + " + \\\n    1" * 400, line=200),
]  # fmt: skip
