"""exp and what is built on it: exp2, expm1, tanh, sigmoid, softplus, logaddexp.

x = n log 2 + r with |r| <= log(2)/2, and e^x = 2^n e^r with a polynomial for e^r
(Muller, Elementary Functions, section 11.2). log 2 is split in two so that ``n`` times the
upper part is exact with and without fused multiply-add.
"""

from __future__ import annotations

import math
from typing import Final

from graphc_llvm.vmath import coefficients
from graphc_llvm.vmath.double import two_sum
from graphc_llvm.vmath.exp_table import exp_by_table
from graphc_llvm.vmath.lanes import V, copysign, fma, select
from graphc_llvm.vmath.logarithm import LINEAR, LOG2, log1p
from graphc_llvm.vmath.lookup import can_look_up
from graphc_llvm.vmath.polynomial import (
    clamp,
    polynomial,
    power_of_two,
    round_product,
    scale,
)
from graphc_llvm.vmath.registry import FLOATS, lowering
from graphc_llvm.vmath.tanh_table import tanh_by_table

#: Below the first, e^x rounds to zero; above the second, it overflows.
EXP_RANGE: Final = {"float32": (-104.0, 89.0), "float64": (-746.0, 710.0)}

_EXP2_RANGE: Final = {"float32": (-151.0, 129.0), "float64": (-1076.0, 1025.0)}

#: Below this, e^x - 1 rounds to -1.
_EXPM1_LOW: Final = {"float32": -20.0, "float64": -40.0}


#: From here on, tanh rounds to 1.
_TANH_ONE: Final = {"float32": 10.0, "float64": 20.0}


def exp_parts(x: V) -> tuple[V, V]:
    """``n`` and ``p`` with e^x = 2^n (1 + p)."""
    upper, lower = LOG2[x.lane.dtype]
    n = round_product(x, 1 / math.log(2))
    r = fma(n, -lower, fma(n, -upper, x))
    return n, fma(r * r, polynomial(coefficients.EXP, r), r)


@lowering("exp", ulp=(1.25, 1.25))
def exp(x: V) -> V:
    return _exp(clamp(x, *EXP_RANGE[x.lane.dtype]))


def exp_negative(x: V) -> V:
    """e^x for x <= 0, one comparison cheaper."""
    return _exp(clamp(x, EXP_RANGE[x.lane.dtype][0], None))


def _exp(x: V) -> V:
    if can_look_up(x):
        return exp_by_table(x)
    n, p = exp_parts(x)
    return scale(p + 1.0, n)


@lowering("exp2", ulp=(1.5, 1.5))
def exp2(x: V) -> V:
    x = clamp(x, *_EXP2_RANGE[x.lane.dtype])
    n = round_product(x, 1.0)
    r = x - n
    return scale(fma(r, polynomial(coefficients.EXP2, r), 1.0), n)


def expm1_parts(x: V) -> tuple[V, V, V]:
    """``n``, ``r``, ``t`` with e^x = 2^n (1 + r + t), the rounding error of ``r`` in ``t``."""
    upper, lower = LOG2[x.lane.dtype]
    n = round_product(x, 1 / math.log(2))
    r0 = fma(n, -upper, x)
    r = fma(n, -lower, r0)
    lost = fma(n, -lower, r0 - r)
    return n, r, fma(r * r, polynomial(coefficients.EXPM1, r), lost)


@lowering("expm1", ulp=(2, 2))
def expm1(x: V) -> V:
    high = EXP_RANGE[x.lane.dtype][1]
    n, r, t = expm1_parts(clamp(x, _EXPM1_LOW[x.lane.dtype], high))
    s = power_of_two(n - 1.0)
    # Halved, so that s does not overflow before the result does.
    half = fma(s, t, fma(s, r, s - 0.5))
    return select(abs(x) < LINEAR[x.lane.dtype], x, half + half)


@lowering("tanh", ulp=(3, 3))
def tanh(x: V) -> V:
    """By a table in float32 where that is fast; else t / (t + 2) with t = e^(2|x|) - 1."""
    if x.lane.dtype == "float32" and can_look_up(x):
        return copysign(tanh_by_table(abs(x)), x)
    a = clamp(abs(x), None, _TANH_ONE[x.lane.dtype])
    n, r, t = expm1_parts(a + a)
    s = power_of_two(n)
    y = fma(s, t, fma(s, r, s - 1.0))
    return copysign(y / (y + 2.0), x)


@lowering("sigmoid", ulp=(3, 3))
def sigmoid(x: V) -> V:
    """1 / (1 + e^-x), or e^x / (1 + e^x) for negative x, which cannot overflow."""
    e = exp_negative(-abs(x))
    return select(x < 0.0, e, 1.0) / (e + 1.0)


@lowering("softplus", ulp=(3, 3))
def softplus(x: V) -> V:
    """max(x, 0) + log(1 + e^-|x|)."""
    return select(x < 0.0, 0.0, x) + log1p(exp_negative(-abs(x)))


@lowering("logaddexp", ulp=(4, 4), outline=FLOATS)
def logaddexp(a: V, b: V) -> V:
    """max + log(1 + e^(min - max)), the rounding error of the difference made good.

    Where max(a, b) < 0 the terms may cancel: there the bound is relative to the larger of
    the result and max(a, b) in size. Equal infinities give themselves.
    """
    larger, smaller = select(a > b, a, b), select(a > b, b, a)
    difference, error = two_sum(smaller, -larger)
    difference = select(a.equals(b), 0.0, difference)
    e = exp_negative(difference)
    finite = (difference < 0.0) & (difference > EXP_RANGE[a.lane.dtype][0])
    e = select(finite, fma(e, error, e), e)
    return larger + log1p(e)
