"""log, log2, log10, log1p.

x = 2^n m with m in [sqrt(1/2), sqrt(2)), f = m - 1, and log(1+f) = f + t. In float32 t is a
polynomial in f; in float64 it comes from the series of atanh in s = f/(2+f), which is shorter
at the cost of one division (Muller, Elementary Functions, section 11.4).
"""

from __future__ import annotations

import math
from typing import Final

from graphc_llvm.vmath import coefficients
from graphc_llvm.vmath.double import two_sum
from graphc_llvm.vmath.lanes import V, fma, select
from graphc_llvm.vmath.polynomial import polynomial
from graphc_llvm.vmath.registry import lowering

#: log 2 and log10 2, each as an upper part with trailing zero bits and the rest.
LOG2: Final = {
    "float32": (0.693145751953125, 1.428606765330187e-06),
    "float64": (0.6931471803691238, 1.9082149292705877e-10),
}
_LOG10_2: Final = {
    "float32": (0.301025390625, 4.605039066518657e-06),
    "float64": (0.30102999566361177, 3.694239077158931e-13),
}

#: log2 e and log10 e, rounded and the rest.
_LOG2_E: Final = {
    "float32": (1.4426950216293335, 1.925963033500011e-08),
    "float64": (1.4426950408889634, 2.0355273740931033e-17),
}
_LOG10_E: Final = {
    "float32": (0.4342944920063019, -1.0103049952192578e-08),
    "float64": (0.4342944819032518, 1.098319650216765e-17),
}

#: Below this in size, log(1 + x) and e^x - 1 round to x.
LINEAR: Final = {"float32": 2.0**-26, "float64": 2.0**-55}

#: Bits of sqrt(1/2), rounded so that m in [sqrt(1/2), sqrt(2)) holds at both ends.
_SQRT_HALF: Final = {"float32": 0x3F3504F3, "float64": 0x3FE6A09E667F3BCD}


def split(x: V) -> tuple[V, V, V]:
    """``n``, ``m`` and the bits of 2^n, for positive normal ``x``."""
    fmt, offset = x.format, _SQRT_HALF[x.lane.dtype]
    bits = x.as_int()
    shifted = bits + (fmt.one - offset)
    exponent = shifted & (-1 << fmt.mantissa)
    m = (bits - exponent + fmt.one).as_float()
    # To a float without a conversion: the exponent as the low bits of 2^mantissa.
    big = 2.0**fmt.mantissa
    biased = (
        shifted.shift_right_zero(fmt.mantissa) | ((fmt.bias + fmt.mantissa) << fmt.mantissa)
    ).as_float()
    return biased - (big + fmt.bias), m, exponent


def series(f: V) -> V:
    """``t`` with log(1+f) = f + t."""
    if f.lane.dtype == "float32":
        return f * f * fma(f, polynomial(coefficients.LOG, f), -0.5)
    s = f / (f + 2.0)
    z = s * s
    half = f * f * 0.5
    return fma(s, fma(z, polynomial(coefficients.LOG, z), half), -half)


def _normalised(x: V) -> tuple[V, V, V]:
    """``n``, ``f``, ``t`` of positive ``x``, denormal or not."""
    shift = x.format.mantissa + 1
    tiny = x < x.format.tiny
    n, m, _ = split(select(tiny, x * 2.0**shift, x))
    f = m - 1.0
    return select(tiny, n - float(shift), n), f, series(f)


def _special(x: V, y: V) -> V:
    """``y`` where ``x`` is positive and finite, else what log gives there."""
    rest = select(x.equals(0.0), -math.inf, select(x < 0.0, math.nan, x))
    finite = (x > 0.0) & (x < math.inf)
    return select(finite, y, rest)


@lowering("log", ulp=(1, 1))
def log(x: V) -> V:
    n, f, t = _normalised(x)
    upper, lower = LOG2[x.lane.dtype]
    return _special(x, fma(n, upper, f + fma(n, lower, t)))


def _scaled(f: V, t: V, factor: tuple[float, float]) -> V:
    """``(f + t) * factor``, the factor given as its rounded value and the rest."""
    upper, lower = factor
    return fma(f, upper, fma(f, lower, t * upper))


@lowering("log2", ulp=(2, 2))
def log2(x: V) -> V:
    n, f, t = _normalised(x)
    return _special(x, n + _scaled(f, t, _LOG2_E[x.lane.dtype]))


@lowering("log10", ulp=(2, 2))
def log10(x: V) -> V:
    n, f, t = _normalised(x)
    upper, lower = _LOG10_2[x.lane.dtype]
    y = _scaled(f, t, _LOG10_E[x.lane.dtype])
    return _special(x, fma(n, upper, fma(n, lower, y)))


@lowering("log1p", ulp=(1.5, 1.5))
def log1p(x: V) -> V:
    u, error = two_sum(x.const(1.0), x)
    n, m, exponent = split(u)
    inverse = (exponent.const(2 * u.format.one) - exponent).as_float()
    big = u > 2.0 ** (u.format.mantissa + 2)
    f = select(big, m - 1.0, fma(error, inverse, m - 1.0))
    upper, lower = LOG2[x.lane.dtype]
    y = fma(n, upper, f + fma(n, lower, series(f)))
    y = select(u.equals(math.inf), x, _special(u, y))
    return select(abs(x) < LINEAR[x.lane.dtype], x, y)
