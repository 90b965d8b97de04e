"""floor_divide and remainder with Python's signs, for integers and floats."""

from __future__ import annotations

import math
from typing import Final

from graphc_llvm.emit import Function, Module
from graphc_llvm.vmath.arithmetic import lowered, truncated
from graphc_llvm.vmath.lanes import Lane, V, copysign, fma, select
from graphc_llvm.vmath.rare import by_lane, patch
from graphc_llvm.vmath.registry import NUMBERS, lowering

#: Quotients up to these are exact enough for one subtraction to give the remainder.
_FUSED_BOUND: Final = {"float32": 2.0**22, "float64": 2.0**50}

#: Without fused multiply-add, float32 divides in float64, where the product is exact.
_WIDE_BOUND: Final = 2.0**28

_FMOD: Final = "vmath.fmod"


def _safe(b: V) -> tuple[V, V]:
    """A divisor that cannot trap, and where it replaces 0 (and -1, which may overflow)."""
    bad = b.equals(0)
    if b.lane.is_signed:
        bad = bad | b.equals(-1)
    return select(bad, 1, b), bad


def _integer_quotient(a: V, b: V) -> V:
    """floor(a / b); 0 for b = 0, and -a wraps for b = -1."""
    divisor, bad = _safe(b)
    if not a.lane.is_signed:
        return select(bad, 0, a.binary("udiv", divisor))
    quotient = a.binary("sdiv", divisor)
    rest = a - quotient * divisor
    inexact = rest.differs(0) & ((rest ^ divisor) < 0)
    floor = quotient - select(inexact, quotient.const(1), 0)
    return select(bad, select(b.equals(0), 0, -a), floor)


@lowering("floor_divide", NUMBERS, outline=NUMBERS)
def floor_divide(a: V, b: V) -> V:
    """The largest integer not above a / b; x // 0 is 0 for integers, x / 0 for floats."""
    if not a.lane.is_float:
        return _integer_quotient(a, b)
    rest = copysign(_fmod(abs(a), abs(b)), a)
    quotient = (a - rest) / b
    quotient = select(_opposite(rest, b), quotient - 1.0, quotient)
    floor = lowered(quotient)
    floor = select(quotient - floor > 0.5, floor + 1.0, floor)
    floor = select(quotient.equals(0.0), copysign(floor.const(0.0), a / b), floor)
    return select(b.equals(0.0), a / b, floor)


@lowering("remainder", NUMBERS, outline=NUMBERS)
def remainder(a: V, b: V) -> V:
    """a - b floor(a/b), with the sign of b; x % 0 is 0 for integers, NaN for floats."""
    if a.lane.is_float:
        return _remainder(a, b)
    quotient = _integer_quotient(a, b)
    return select(b.equals(0), 0, a - quotient * b)


def _remainder(a: V, b: V) -> V:
    rest = copysign(_fmod(abs(a), abs(b)), a)
    moved = select(_opposite(rest, b), rest + b, rest)
    return select(rest.equals(0.0), copysign(rest, b), moved)


def _opposite(rest: V, b: V) -> V:
    """Whether a remainder that is not zero has the other sign than the divisor."""
    return ((rest < 0.0) ^ (b < 0.0)) & rest.differs(0.0)


def _fmod(a: V, b: V) -> V:
    """The exact remainder of a >= 0 by b >= 0; NaN for infinite a and for b = 0."""
    fused, dtype = a.f.target.fma, a.lane.dtype
    if not fused and dtype == "float32":
        wide = _fmod_wide(a.convert("fpext", "float64"), b.convert("fpext", "float64"))
        return wide.convert("fptrunc", "float32")
    # Without fused multiply-add no quotient in float64 is safe.
    return _fmod_within(a, b, _FUSED_BOUND[dtype] if fused else 0.0)


def _fmod_wide(a: V, b: V) -> V:
    return _fmod_within(a, b, _WIDE_BOUND)


def _fmod_within(a: V, b: V, bound: float) -> V:
    """One subtraction where a/b < ``bound``; elsewhere, lane by lane, digit by digit."""
    ratio = a / b
    rest = fma(truncated(ratio), -b, a)
    rest = select(rest < 0.0, rest + b, rest)
    rest = select(b.equals(math.inf) & (a < math.inf), a, rest)
    slow = (ratio >= bound) & (a < math.inf) & (b > 0.0) & (b < math.inf)
    args = select(slow, a, 1.0), select(slow, b, 1.0)
    return patch(slow, (rest,), lambda: by_lane(_long_division, *args))[0]


def _long_division(a: V, b: V) -> tuple[V]:
    """The remainder of scalars, finite a >= 0 and b > 0."""
    _define_fmod(a.f.module)
    narrow = a.lane.dtype == "float32"
    args = [v.convert("fpext", "float64") if narrow else v for v in (a, b)]
    rest = args[0].call(_FMOD, [("double", v.text) for v in args])
    return (rest.convert("fptrunc", "float32") if narrow else rest,)


def _define_fmod(module: Module) -> None:
    """``double fmod(double a, double b)``: long division in base 2, once per module.

    ``multiple`` is b 2^k, doubled until it is above a/2; from then on, rest < 2 multiple
    makes every subtraction exact.
    """
    if _FMOD in module.functions:
        return
    params = [("double", "a"), ("double", "b")]
    f = Function(module, _FMOD, "double", params, internal=True, attributes="noinline nounwind")
    names = ("%a", "%b", "%multiple", "%part", "%rest")
    a, b, multiple, part, rest = (V(f, Lane("float64", 1), name) for name in names)
    half = a * 0.5
    f.branch("up")
    f.label("up")
    f.do("%multiple = phi double [ %b, %entry ], [ %doubled, %up ]")
    f.do("%doubled = fmul double %multiple, 2.0")
    f.branch_if((multiple <= half).text, "up", "down")
    f.label("down")
    f.do("%part = phi double [ %multiple, %up ], [ %halved, %down ]")
    f.do("%rest = phi double [ %a, %up ], [ %reduced, %down ]")
    f.do("%less = fsub double %rest, %part")
    f.do(f"%reduced = select i1 {(rest >= part).text}, double %less, double %rest")
    f.do("%halved = fmul double %part, 0.5")
    f.branch_if((part > b).text, "down", "done")
    f.label("done")
    f.do("ret double %reduced")
    f.finish()
