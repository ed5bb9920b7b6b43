# SPDX-License-Identifier: MIT
"""Paths on which something is not set, never ends, or is never reached."""

from tests.programs.hostile.case import inside, whole

PATHS = [
    inside("a variable never set", "nothing is not defined in this program", "x = nothing"),
    inside("a variable set later", "x may be read before it is set", "y = x\nx = 1"),
    inside("a variable set on one path", "x may be read before it is set",
           "if row:\n    x = 1\ny = x", line=3),
    inside("a variable set in a loop", "x may be read before it is set",
           "for i in range(3):\n    x = i\ny = x", line=3),
    inside("a loop's counter after the loop", "i may be read before it is set",
           "for i in range(3):\n    pass\ny = i", line=3),
    inside("a variable that counts from nothing", "x may be read before it is set", "x += 1"),
    whole("an answer read before it is set", "ctx.strip may be read before it is set",
          "def iomap_begin(ctx):\n    x = ctx.strip\n    return 0\n", line=2),
    whole("no return", "iomap_begin has a path without return",
          "def iomap_begin(ctx):\n    ctx.strip = 0\n"),
    whole("a path without return", "iomap_begin has a path without return",
          "def iomap_begin(ctx):\n    if ctx.pos:\n        return 0\n"),
    whole("return without a value", "return without a value",
          "def iomap_begin(ctx):\n    return\n", line=2),
    whole("an answer left out", "this return leaves ctx.addr, ctx.length unset on some path",
          "def iomap_begin(ctx):\n    ctx.strip = 0\n    return 1\n", line=3),
    whole("an answer left out on one path", "this return leaves ctx.length unset on some path",
          "def iomap_begin(ctx):\n    ctx.strip = 0\n    ctx.addr = ctx.pos\n"
          "    if ctx.pos < 1048576:\n        ctx.length = 4096\n    return 1\n", line=6),
    whole("a status that may be HANDLED", "this return leaves ctx.strip, ctx.addr, ctx.length",
          "def iomap_begin(ctx):\n    return ctx.pos // 4096\n", line=2),
    whole("code that is never reached", "this statement is never reached",
          "def iomap_begin(ctx):\n    return 0\n    ctx.strip = 1\n", line=3),
    whole("code behind both ends of an if", "this statement is never reached",
          "def iomap_begin(ctx):\n    if ctx.pos:\n        return 0\n    else:\n"
          "        return 0\n    return 1\n", line=6),
    inside("a loop whose bound is an input", "a bound of range must be constant",
           "for i in range(ctx.nr_strips):\n    pass"),
    inside("a loop whose bound is a variable", "a bound of range must be constant",
           "for i in range(0, row):\n    pass"),
    inside("a loop that stands still", "the step of range must not be 0",
           "for i in range(0, 10, 0):\n    pass"),
]  # fmt: skip
