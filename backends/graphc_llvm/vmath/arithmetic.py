"""Arithmetic, rounding, and selection: exact ops, with NumPy's results at the edges."""

from __future__ import annotations

from graphc_llvm.vmath.lanes import V, copysign, fma, select
from graphc_llvm.vmath.registry import ANY, NUMBERS, lowering


@lowering("add", ANY)
def add(a: V, b: V) -> V:
    return a | b if a.lane.dtype == "bool" else a + b


@lowering("sub", NUMBERS)
def sub(a: V, b: V) -> V:
    return a - b


@lowering("mul", ANY)
def mul(a: V, b: V) -> V:
    return a & b if a.lane.dtype == "bool" else a * b


@lowering("div")
def div(a: V, b: V) -> V:
    return a / b


@lowering("fma", NUMBERS)
def multiply_add(a: V, b: V, c: V) -> V:
    """a*b + c, rounded once where the target has the instruction."""
    return fma(a, b, c) if a.lane.is_float else a * b + c


@lowering("neg", NUMBERS)
def neg(x: V) -> V:
    return -x


@lowering("positive", NUMBERS)
def positive(x: V) -> V:
    return x


@lowering("abs", ANY)
def absolute(x: V) -> V:
    return abs(x)


@lowering("square", ANY)
def square(x: V) -> V:
    return mul(x, x)


@lowering("sign", NUMBERS)
def sign(x: V) -> V:
    """-1, 0 or 1; NaN for NaN."""
    if not x.lane.is_signed and not x.lane.is_float:
        return select(x > 0, 1, x)
    unit = select(x > 0, x.const(1), select(x < 0, -1, x))
    # Zero of either sign gives +0, as in NumPy.
    return unit + 0.0 if x.lane.is_float else unit


@lowering("sqrt")
def sqrt(x: V) -> V:
    return x.intrinsic("sqrt")


@lowering("reciprocal", NUMBERS)
def reciprocal(x: V) -> V:
    """1/x, of an integer without its fraction; of 0 what NumPy makes of it there."""
    if x.lane.is_float:
        return 1.0 / x
    infinity = -1 << (x.lane.bits - 1) if x.lane.bits > 8 else 0
    unit = x.equals(1) | x.equals(-1) if x.lane.is_signed else x.equals(1)
    return select(unit, x, select(x.equals(0), x.const(infinity), 0))


@lowering("copysign")
def copy_sign(x: V, y: V) -> V:
    return copysign(x, y)


@lowering("nextafter")
def nextafter(x: V, y: V) -> V:
    """The neighbour of ``x`` towards ``y``, by stepping the bits as an integer."""
    bits = x.as_int()
    away = (x < y) ^ (bits < 0)
    stepped = (bits + select(away, bits.const(1), -1)).as_float()
    smallest = copysign((bits & 0 | 1).as_float(), y)
    moved = select(x.equals(0.0), smallest, stepped)
    same = select(x.equals(y), y, moved)
    return select(x.is_nan() | y.is_nan(), x + y, same)


@lowering("maximum", ANY)
def maximum(a: V, b: V) -> V:
    """The larger; NaN if either is NaN."""
    larger = select(a > b, a, b)
    return select(a.is_nan(), a, larger) if a.lane.is_float else larger


@lowering("minimum", ANY)
def minimum(a: V, b: V) -> V:
    """The smaller; NaN if either is NaN."""
    smaller = select(a < b, a, b)
    return select(a.is_nan(), a, smaller) if a.lane.is_float else smaller


def _nearest(x: V) -> V:
    """``x`` >= 0 rounded to an integer, halves to even, on targets without the instruction."""
    big = 2.0**x.format.mantissa
    return select(x < big, (x + big) - big, x)


def nearest(x: V) -> V:
    """``x`` rounded to an integer, halves to even."""
    if x.f.target.rounding:
        return x.intrinsic("rint")
    return copysign(_nearest(abs(x)), x)


def truncated(x: V) -> V:
    """``x`` rounded towards zero."""
    if x.f.target.rounding:
        return x.intrinsic("trunc")
    size = abs(x)
    n = _nearest(size)
    return copysign(select(n > size, n - 1.0, n), x)


def lowered(x: V) -> V:
    """``x`` rounded down."""
    if x.f.target.rounding:
        return x.intrinsic("floor")
    n = nearest(x)
    return copysign(select(n > x, n - 1.0, n), x)


def raised(x: V) -> V:
    """``x`` rounded up."""
    return x.intrinsic("ceil") if x.f.target.rounding else -lowered(-x)


@lowering("round", NUMBERS)
def round_(x: V) -> V:
    return nearest(x) if x.lane.is_float else x


@lowering("trunc", ANY)
def trunc(x: V) -> V:
    return truncated(x) if x.lane.is_float else x


@lowering("floor", ANY)
def floor(x: V) -> V:
    return lowered(x) if x.lane.is_float else x


@lowering("ceil", ANY)
def ceil(x: V) -> V:
    return raised(x) if x.lane.is_float else x


@lowering("where", ANY)
def where(condition: V, a: V, b: V) -> V:
    return select(condition, a, b)
