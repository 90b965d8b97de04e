"""Reduction of an angle to \\|r\\| <= pi/4 and a quadrant, exact over the whole range.

Angles of moderate size are reduced by subtracting n pi/2 in parts (W. Cody and W. Waite,
1980). For the others the digits of 2/pi that matter are multiplied as integers (M. Payne and
R. Hanek, SIGNUM Newsletter 18, 1983), one lane at a time, on a branch that is rarely taken.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final

from graphc_llvm.emit import Function, Module
from graphc_llvm.vmath.double import two_product
from graphc_llvm.vmath.lanes import Lane, V, fma, select
from graphc_llvm.vmath.rare import by_lane, patch

#: pi/2 as a sum, each part with all the bits of its type; for use with fused multiply-add.
_FUSED: Final = {
    "float32": (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    "float64": (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
}

#: pi/2 as a sum of two parts of 33 bits and the rest: products with n < 2^20 are exact.
_SPLIT: Final = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21)

#: Up to these sizes the subtraction is exact, with and without fused multiply-add.
_FUSED_BOUND: Final = {"float32": 2.0**17, "float64": 2.0**30}
_SPLIT_BOUND: Final = 2.0**20

#: 2/pi: 128 zero bits, then its first 1216 binary digits, as 64-bit words.
_TWO_OVER_PI: Final = (
    "0000000000000000 0000000000000000 "
    "a2f9836e4e441529 fc2757d1f534ddc0 db6295993c439041 fe5163abdebbc561 "
    "b7246e3a424dd2e0 06492eea09d1921c fe1deb1cb129a73e e88235f52ebb4484 "
    "e99c7026b45f7e41 3991d639835339f4 9c845f8bbdf9283b 1ff897ffde05980f "
    "ef2f118b5a0a6d1f 6d367ecf27cb09b7 4f463f669e5fea2d 7527bac7ebe5f17b "
    "3d0739f78a5292ea 6bfb5fb11f8d5d08 56033046fc7b6bab"
)
_WORDS: Final = tuple(int(word, 16) for word in _TWO_OVER_PI.split())


def reduce(a: V) -> tuple[V, V]:
    """``r`` and the quadrant (an integer, its low two bits) of an angle ``a`` >= 0.

    Branches, so it is for outlined formulas only.
    """
    dtype, fused = a.lane.dtype, a.f.target.fma
    huge = a > (_FUSED_BOUND[dtype] if fused else _SPLIT_BOUND)
    fast = _subtract(a) if fused else _subtract_split(a)
    r, quadrant = patch(huge, fast, lambda: by_lane(_payne_hanek, a))
    return r, quadrant


def _quarters(a: V) -> tuple[V, V]:
    """``a * 2/pi`` rounded to an integer, as a float and as one whose low bits hold it."""
    shifted = fma(a, 2 / math.pi, a.format.magic)
    return shifted - a.format.magic, shifted.as_int()


def _subtract(a: V) -> tuple[V, V]:
    """``a - n pi/2`` and n, with fused multiply-add."""
    n, quadrant = _quarters(a)
    for part in _FUSED[a.lane.dtype]:
        a = fma(n, -part, a)
    return a, quadrant


def _subtract_split(a: V) -> tuple[V, V]:
    """``a - n pi/2`` and n, without fused multiply-add; float32 in float64."""
    if a.lane.dtype == "float32":
        r, quadrant = _subtract_split(a.convert("fpext", "float64"))
        return r.convert("fptrunc", "float32"), quadrant.convert("trunc", "int32")
    n, quadrant = _quarters(a)
    first = a - n * _SPLIT[0]
    second = n * _SPLIT[1]
    r = first - second
    lost = (first - r) - second
    return r + (lost - n * _SPLIT[2]), quadrant


def _payne_hanek(x: V) -> tuple[V, V]:
    """The reduction of a scalar x >= 0 of any size."""
    _define_payne_hanek(x.f.module)
    narrow = x.lane.dtype == "float32"
    wide = x.convert("fpext", "float64") if narrow else x
    pair = x.f.op(f"call {{ double, i64 }} @{_PAYNE_HANEK}(double {wide.text})")
    r = wide.new(f"extractvalue {{ double, i64 }} {pair}, 0")
    n = wide.new(f"extractvalue {{ double, i64 }} {pair}, 1", "int64")
    if narrow:
        return r.convert("fptrunc", "float32"), n.convert("trunc", "int32")
    return r, n


_PAYNE_HANEK: Final = "vmath.reduce_angle"
_TABLE: Final = "vmath.two_over_pi"


def _define_payne_hanek(module: Module) -> None:
    """``{r, quadrant} reduce_angle(double x)`` for x >= 0, once per module.

    x = m 2^e with integral m. The binary digits of 2/pi before 2^(1-e) contribute multiples
    of 4 to x 2/pi; the next 192 times m give x 2/pi modulo 4 to 2^-137, and no double comes
    closer to a multiple of pi/2 than 2^-62. NaN for infinite and NaN arguments.
    """
    if _PAYNE_HANEK in module.functions:
        return
    words = ", ".join(f"i64 {word}" for word in _WORDS)
    module.globals[_TABLE] = (
        f"@{_TABLE} = internal constant [{len(_WORDS)} x i64] [ {words} ], align 8"
    )
    f = Function(
        module,
        _PAYNE_HANEK,
        "{ double, i64 }",
        [("double", "x")],
        internal=True,
        attributes="noinline nounwind",
    )
    x = V(f, Lane("float64", 1), "%x")
    bits = x.as_int()
    exponent = bits.shift_right_zero(52)
    mantissa = (bits & ((1 << 52) - 1)) | (1 << 52)
    high, low = _times_digits(mantissa, exponent)
    r, quadrant = _fraction(f, high, low)
    r = select(x < math.inf, r, math.nan)
    pair = f.op(f"insertvalue {{ double, i64 }} poison, double {r.text}, 0")
    pair = f.op(f"insertvalue {{ double, i64 }} {pair}, i64 {quadrant.text}, 1")
    f.do(f"ret {{ double, i64 }} {pair}")
    f.finish()


def _times_digits(mantissa: V, exponent: V) -> tuple[V, V]:
    """The upper 128 of 192 bits of ``mantissa`` times the digits of 2/pi that matter."""
    f = mantissa.f
    # Digit k (from 0) is at 128 + k in the table; the first wanted has weight 2 in x 2/pi.
    offset = exponent - (1075 + 2 - 128)
    offset = select(offset < 0, 0, offset)
    word, shift = offset.shift_right_zero(6), offset & 63
    digits = [_table_word(word + i) for i in range(4)]
    w = [
        f.op(f"call i64 @{_fshl(f)}(i64 {a.text}, i64 {b.text}, i64 {shift.text})")
        for a, b in pairwise(digits)
    ]
    m = f.op(f"zext i64 {mantissa.text} to i128")
    third = f.op(f"mul i128 {m}, {f.op(f'zext i64 {w[2]} to i128')}")
    second = f.op(f"mul i128 {m}, {f.op(f'zext i64 {w[1]} to i128')}")
    second = f.op(f"add i128 {second}, {f.op(f'lshr i128 {third}, 64')}")
    low = mantissa.new(f"trunc i128 {second} to i64")
    carry = mantissa.new(f"trunc i128 {f.op(f'lshr i128 {second}, 64')} to i64")
    return mantissa * V(f, mantissa.lane, w[0]) + carry, low


def _fshl(f: Function) -> str:
    f.module.declare("i64 @llvm.fshl.i64(i64, i64, i64)")
    return "llvm.fshl.i64"


def _table_word(index: V) -> V:
    pointer = index.f.op(f"getelementptr i64, ptr @{_TABLE}, i64 {index.text}")
    return index.new(f"load i64, ptr {pointer}, align 8")


def _fraction(f: Function, high: V, low: V) -> tuple[V, V]:
    """``r`` and the quadrant from x 2/pi modulo 4 as a 128-bit fixed-point number."""
    quadrant = (high + (1 << 61)).shift_right_zero(62)
    upper = f.op(f"shl i128 {f.op(f'zext i64 {high.text} to i128')}, 64")
    both = f.op(f"or i128 {upper}, {f.op(f'zext i64 {low.text} to i128')}")
    fraction = f.op(f"shl i128 {both}, 2")
    negative = f.op(f"icmp slt i128 {fraction}, 0")
    size = f.op(
        f"select i1 {negative}, i128 {f.op(f'sub i128 0, {fraction}')}, i128 {fraction}"
    )
    size = f.op(f"or i128 {size}, 1")
    f.module.declare("i128 @llvm.ctlz.i128(i128, i1)")
    zeros = f.op(f"call i128 @llvm.ctlz.i128(i128 {size}, i1 true)")
    top = f.op(f"lshr i128 {f.op(f'shl i128 {size}, {zeros}')}, 64")
    digits = high.new(f"trunc i128 {top} to i64")
    count = high.new(f"trunc i128 {zeros} to i64")
    # In two parts, so that both conversions are exact.
    upper_part = digits.shift_right_zero(11)
    lower_part = digits & ((1 << 11) - 1)
    x = upper_part.convert("sitofp", "float64") * 2.0**11
    rest = lower_part.convert("sitofp", "float64")
    power = ((high.const(1023 - 64) - count) << 52).as_float()
    half_pi, half_pi_rest = _FUSED["float64"][:2]
    product, error = two_product(x, x.const(half_pi))
    low_order = fma(x, half_pi_rest, rest * half_pi)
    r = (product + (error + low_order)) * power
    return select(V(f, high.lane.of("bool"), negative), -r, r), quadrant
