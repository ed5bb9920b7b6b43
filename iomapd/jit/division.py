# SPDX-License-Identifier: MIT
"""What division compiles to: one LLVM function for each of ``//`` and ``%``, per machine.

Compiled functions call these by name; `build` links the definitions in before it optimises, so
that each machine gets its own from the same code.  Both round down, as Python does, are defined
for a divisor > 0, and trap for none: x86 raises on 0 and on MIN // -1, and neither may end a
server.
"""

from __future__ import annotations

from typing import Final

DIVIDE: Final = "iomapd.divide"
MODULO: Final = "iomapd.modulo"

# x86: a 64-bit division takes 10 to 40 ns on processors of 2020, and divisors are powers of two
# nearly always, so look first.
PROCESSOR: Final = f"""
declare i64 @llvm.cttz.i64(i64, i1)

define i64 @{DIVIDE}(i64 %value, i64 %divisor) alwaysinline {{
  %below = sub i64 %divisor, 1
  %common = and i64 %divisor, %below
  %is_power = icmp eq i64 %common, 0
  br i1 %is_power, label %shift, label %divide
shift:
  %places = call i64 @llvm.cttz.i64(i64 %divisor, i1 false)
  %shifted = ashr i64 %value, %places
  ret i64 %shifted
divide:
  %positive = icmp sgt i64 %divisor, 0
  %safe = select i1 %positive, i64 %divisor, i64 1
  %quotient = sdiv i64 %value, %safe
  %product = mul i64 %quotient, %safe
  %rest = sub i64 %value, %product
  %negative = icmp slt i64 %rest, 0
  %one = sext i1 %negative to i64
  %floor = add i64 %quotient, %one
  %result = select i1 %positive, i64 %floor, i64 0
  ret i64 %result
}}

define i64 @{MODULO}(i64 %value, i64 %divisor) alwaysinline {{
  %below = sub i64 %divisor, 1
  %common = and i64 %divisor, %below
  %is_power = icmp eq i64 %common, 0
  br i1 %is_power, label %mask, label %divide
mask:
  %masked = and i64 %value, %below
  ret i64 %masked
divide:
  %positive = icmp sgt i64 %divisor, 0
  %safe = select i1 %positive, i64 %divisor, i64 1
  %rest = srem i64 %value, %safe
  %negative = icmp slt i64 %rest, 0
  %more = select i1 %negative, i64 %safe, i64 0
  %floor = add i64 %rest, %more
  %result = select i1 %positive, i64 %floor, i64 0
  ret i64 %result
}}
"""

# BPF: signed division came late (cpu v4, Linux 6.6), and counting zeros is twenty instructions.
# For value < 0 and divisor > 0, value // divisor == ~(~value // divisor); so unsigned division
# does, and where LLVM knows that value >= 0, nothing is left of the signs.  Division by 0 is 0.
KERNEL: Final = f"""
define i64 @{DIVIDE}(i64 %value, i64 %divisor) alwaysinline {{
  %sign = ashr i64 %value, 63
  %magnitude = xor i64 %value, %sign
  %quotient = udiv i64 %magnitude, %divisor
  %floor = xor i64 %quotient, %sign
  ret i64 %floor
}}

define i64 @{MODULO}(i64 %value, i64 %divisor) alwaysinline {{
  %sign = ashr i64 %value, 63
  %magnitude = xor i64 %value, %sign
  %quotient = udiv i64 %magnitude, %divisor
  %floor = xor i64 %quotient, %sign
  %product = mul i64 %floor, %divisor
  %rest = sub i64 %value, %product
  ret i64 %rest
}}
"""
