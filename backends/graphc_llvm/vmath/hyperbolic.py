"""sinh, cosh, asinh, acosh, atanh, by exponentials and logarithms without cancellation."""

from __future__ import annotations

import math
from typing import Final

from graphc_llvm.vmath.exponential import exp_parts, expm1_parts
from graphc_llvm.vmath.lanes import V, copysign, fma, select
from graphc_llvm.vmath.logarithm import log1p
from graphc_llvm.vmath.polynomial import clamp, power_of_two, scale
from graphc_llvm.vmath.registry import FLOATS, lowering

#: Above this, cosh overflows.
_OVERFLOW: Final = {"float32": 90.0, "float64": 711.0}

#: Above this, 2 sinh(x) rounds to e^x.
_LARGE: Final = {"float32": 12.0, "float64": 22.0}

#: Above this, sqrt(x^2 + 1) rounds to x.
_HUGE: Final = 2.0**60


@lowering("sinh", ulp=(3, 3), outline=FLOATS)
def sinh(x: V) -> V:
    """(t + t/(t+1)) / 2 with t = e^|x| - 1; beyond `_LARGE`, e^|x| / 2."""
    a = clamp(abs(x), None, _OVERFLOW[x.lane.dtype])
    n, r, t = expm1_parts(a)
    s = power_of_two(clamp(n, None, 60.0))
    e = fma(s, t, fma(s, r, s - 1.0))
    small = (e + e / (e + 1.0)) * 0.5
    large = scale((r + t) + 1.0, n - 1.0)
    return copysign(select(a > _LARGE[x.lane.dtype], large, small), x)


@lowering("cosh", ulp=(2, 2), outline=FLOATS)
def cosh(x: V) -> V:
    """h + 1/(4h) with h = e^|x| / 2."""
    a = clamp(abs(x), None, _OVERFLOW[x.lane.dtype])
    n, p = exp_parts(a)
    h = scale(p + 1.0, n - 1.0)
    return h + 0.25 / h


@lowering("asinh", ulp=(3, 3), outline=FLOATS)
def asinh(x: V) -> V:
    """log(1 + (|x| + x^2 / (1 + sqrt(1 + x^2))))."""
    a = abs(x)
    square = a * a
    root = (square + 1.0).intrinsic("sqrt")
    return copysign(_log_double(a, a + square / (root + 1.0)), x)


@lowering("acosh", ulp=(3, 3), outline=FLOATS)
def acosh(x: V) -> V:
    """log(1 + (t + sqrt(t (t + 2)))) with t = x - 1."""
    t = x - 1.0
    y = _log_double(t, t + (t * (t + 2.0)).intrinsic("sqrt"))
    return select(x < 1.0, math.nan, y)


def _log_double(a: V, near: V) -> V:
    """log(1 + near), or log(2a) where ``a`` is so large that ``near`` may overflow."""
    large = a > _HUGE
    return log1p(select(large, a, near)) + select(large, a.const(math.log(2)), 0.0)


@lowering("atanh", ulp=(3, 3), outline=FLOATS)
def atanh(x: V) -> V:
    """log(1 + 2|x| / (1 - |x|)) / 2."""
    a = abs(x)
    return copysign(log1p((a + a) / (1.0 - a)) * 0.5, x)
