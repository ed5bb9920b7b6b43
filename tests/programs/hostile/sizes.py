# SPDX-License-Identifier: MIT
"""Programs that would take too long, or grow too large, when they run or when they are compiled."""

from textwrap import indent

from tests.programs.hostile.case import RAID0, beside, inside, whole

# A loop that only ends when it has ended: the verifier keeps every count apart, since a decision
# hangs on it.
COUNTING = """\
def iomap_begin(ctx):
    n = 0
    for i in range(600):
        if n * ctx.unit <= ctx.pos:
            n += 1
"""
COUNTING += indent(RAID0 + "if n == 123456789:\n    ctx.strip = 0\n", "    ")
COUNTING += "    return HANDLED\n"


def tripling(depth):
    """Functions of which each calls the one before three times."""
    lines = ["def f0(x):\n    return x + 1\n"]
    for n in range(1, depth):
        lines.append(f"def f{n}(x):\n    return f{n - 1}(f{n - 1}(f{n - 1}(x)))\n")
    return "".join(lines)


def choosing(depth):
    """Functions of which each has the one before on eight paths: few steps, much code."""
    lines = ["def f0(x):\n    return x + 1\n"]
    for n in range(1, depth):
        calls = [f"    if x == {k}:\n        return f{n - 1}(x + {k})\n" for k in range(8)]
        lines.append(f"def f{n}(x):\n" + "".join(calls) + "    return x\n")
    return "".join(lines)


SIZES = [
    inside("a loop of 10**9", "iomap_begin may take ", "for i in range(1000000000):\n    row += i",
           line=-6, stage="bounded"),
    inside("a loop of 2**62", "iomap_begin may take ", "for i in range(1 << 62):\n    row += i",
           line=-6, stage="bounded"),
    inside("a loop over everything, backwards", "iomap_begin may take ",
           "for i in range(9223372036854775807, -9223372036854775808, -1):\n    row += i",
           line=-6, stage="bounded"),
    inside("loops in loops", "iomap_begin may take ",
           "for i in range(60):\n    for j in range(60):\n        row += j",
           line=-6, stage="bounded"),
    inside("an empty loop in a loop", "iomap_begin may take ",
           "for i in range(70):\n    for j in range(70):\n        pass", line=-6, stage="bounded"),
    beside("calls that triple", "f6 becomes 2914 operations", tripling(9), line=13,
           stage="bounded"),
    beside("calls of calls of calls", "calls are nested deeper than 8",
           "".join(f"def f{n}(x):\n    return f{n - 1}(x)\n" for n in range(150, 0, -1))
           + "def f0(x):\n    return x\n", line=283),
    beside("code that multiplies", "f3 becomes ", choosing(8), line=39, stage="bounded"),
    inside("201 statements", "a program has at most 200 statements", "x = 1\n" * 194, line=-6),
    whole("more paths than the verifier follows", "at most 1000000 instructions in all", COUNTING,
          line=4, stage="verifier"),
]  # fmt: skip
