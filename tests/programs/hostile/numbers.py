# SPDX-License-Identifier: MIT
"""Numbers and operators that overflow, divide by zero, or are no integers."""

from tests.programs.hostile.case import beside, inside

DIVISOR = "divides by ctx.unit, ctx.nr_strips or a positive constant only"

NUMBERS = [
    inside("float", "fractions are not allowed", "x = 0.5"),
    inside("float in disguise", "fractions are not allowed", "x = 1e3"),
    inside("complex", "complex numbers are not allowed", "x = 1j"),
    inside("negative float", "fractions are not allowed", "x = -1.5"),
    inside("True", "True and False are not numbers", "x = True"),
    inside("negative True", "True and False are not numbers", "x = -True"),
    inside("None", "None is not allowed", "x = None"),
    inside("ellipsis", "... is not allowed", "x = ..."),
    inside("string", "strings are not allowed", "x = 'x' * 1000000"),
    inside("bytes", "bytes are not allowed", "x = b'x'"),
    inside("2**63", "0x8000000000000000 does not fit a signed 64-bit integer; the same 64 bits "
           "are -9223372036854775808", "x = 9223372036854775808"),
    inside("a hash's constant", "0x9e3779b97f4a7c15 does not fit", "x = 0x9E3779B97F4A7C15"),
    inside("a number of 70 digits", "a number of 233 bits does not fit", "x = " + "9" * 70),
    inside("a number of 5000 digits", "a number has 5000 digits", "x = " + "9" * 5000),
    inside("a product of constants", "0x10000000000000000 does not fit",
           "x = 2147483648 * 8589934592"),
    beside("a constant that overflows", "0x8000000000000000 does not fit", "X = 1 << 63\n"),
    inside("power", "** is not allowed", "x = 2 ** row"),
    inside("power of powers", "** is not allowed", "x = 9 ** 9 ** 9 ** 9"),
    inside("fraction", "/ gives fractions", "x = row / 2"),
    inside("in-place fraction", "/ gives fractions", "row /= 2"),
    inside("in-place power", "** is not allowed", "row **= 2"),
    inside("matrix product", "@ is not allowed", "x = row @ row"),
    inside("division by zero", f"// {DIVISOR}", "x = row // 0"),
    inside("modulo zero", f"% {DIVISOR}", "x = row % 0"),
    inside("division by a negative number", f"// {DIVISOR}", "x = row // -4096"),
    inside("division by a variable", f"// {DIVISOR}", "x = 1 // row"),
    inside("modulo an input that may be zero", f"% {DIVISOR}", "x = row % ctx.seed"),
    inside("division by a disguised zero", f"// {DIVISOR}", "x = 1 // (ctx.unit - ctx.unit)"),
    inside("in-place division by an answer", f"// {DIVISOR}", "row //= ctx.strip"),
    beside("division by a parameter", f"% {DIVISOR}", "def f(x, unit):\n    return x % unit\n",
           line=2),
    inside("shift by 64", "the count of << must be constant, 0..63", "x = row << 64"),
    inside("shift by a negative number", "the count of >> must be constant", "x = row >> -1"),
    inside("shift by a variable", "the count of << must be constant", "x = 1 << row"),
    inside("shift in place", "the count of << must be constant", "row <<= row"),
    inside("comparison as a number", "a condition is not a number", "x = row < 3"),
    inside("sum of comparisons", "a condition is not a number", "x = (row < 3) + (row < 4)"),
    inside("not as a number", "a condition is not a number", "x = not row"),
    inside("or as a number", "a condition is not a number", "x = row or 1"),
    inside("membership", "in is not allowed", "if row in (1, 2):\n    x = 1"),
    inside("identity", "is compares objects", "if row is 1:\n    x = 1"),
    inside("abs of two", "abs takes one argument, not 2", "x = abs(1, 2)"),
    inside("min of one", "min takes 2 to 8 arguments, not 1", "x = min(row)"),
]  # fmt: skip
