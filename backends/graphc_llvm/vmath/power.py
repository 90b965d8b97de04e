"""pow and hypot.

x^y = e^(y log x), which multiplies the error of the logarithm by up to 745. In float64 the
logarithm is therefore an unevaluated sum of two numbers, good to 2^-68; float32 computes in
float64.
"""

from __future__ import annotations

import math
from typing import Final

from graphc_llvm.vmath import coefficients, double
from graphc_llvm.vmath.arithmetic import truncated
from graphc_llvm.vmath.exponential import EXP_RANGE
from graphc_llvm.vmath.lanes import V, fma, select
from graphc_llvm.vmath.logarithm import LOG2, split
from graphc_llvm.vmath.polynomial import (
    clamp,
    power_of_two,
    round_product,
    scale,
    short_polynomial,
)
from graphc_llvm.vmath.registry import FLOATS, INTS, lowering

#: log 2 as an upper part of 40 bits, whose product with an exponent is exact, and the rest.
_LOG2: Final = (0.6931471805592082, 7.371002565167799e-13)

#: 1/3 to twice the precision.
_THIRD: Final = (1 / 3, 1.850371707708594e-17)

#: An exponent beyond this gives 0, 1 or inf whatever the base.
_LARGE_EXPONENT: Final = 2.0**66


def _log_pair(a: V) -> double.Pair:
    """log(a) for positive normal or denormal ``a``, as an unevaluated sum.

    log m = 2 atanh(s) = 2 (s + s^3/3 + s^5 p(s^2)) with s = f/(2+f), f = m - 1.
    """
    tiny = a < a.format.tiny
    n, m, _ = split(select(tiny, a * 2.0**54, a))
    n = select(tiny, n - 54.0, n)
    f = m - 1.0
    s = _ratio(f)
    z = double.multiply(s, s)
    rest = fma(z[0], short_polynomial(coefficients.ATANH, z[0]), _THIRD[1])
    third = double.fast_two_sum(f.const(_THIRD[0]), rest)
    series = double.add_small(s, double.multiply(s, double.multiply(z, third)))
    m_log = (series[0] + series[0], series[1] + series[1])
    return double.add_small((n * _LOG2[0], n * _LOG2[1]), m_log)


def _ratio(f: V) -> double.Pair:
    """f / (2 + f) as an unevaluated sum: the quotient, and its residual divided likewise."""
    d, d_rest = double.fast_two_sum(f.const(2.0), f)
    inverse = 1.0 / d
    s = f * inverse
    product, error = double.two_product(s, d)
    residual = ((f - product) - error) - s * d_rest
    return s, residual * inverse


def _exp_pair(h: V, rest: V) -> V:
    """e^(h + rest)."""
    upper, lower = LOG2[h.lane.dtype]
    h = clamp(h, *EXP_RANGE[h.lane.dtype])
    n = round_product(h, 1 / math.log(2))
    r0 = fma(n, -upper, h)
    r1 = fma(n, -lower, r0)
    lost = fma(n, -lower, r0 - r1)
    r, lost2 = double.fast_two_sum(r1, rest)
    t = fma(r * r, short_polynomial(coefficients.EXPM1, r), lost + lost2)
    # Almost all of the error is that of the last addition, so exact powers come out exact.
    one_r, lost3 = double.fast_two_sum(h.const(1.0), r)
    return scale(one_r + (lost3 + t), n)


def _positive_power(a: V, y: V) -> V:
    """a^y for a >= 0 to within an ulp; what it gives for y = 0 is not used."""
    upper, lower = _log_pair(a)
    upper = select(a.equals(0.0), -math.inf, select(a < math.inf, upper, a))
    y = clamp(y, -_LARGE_EXPONENT, _LARGE_EXPONENT)
    h, rest = double.two_product(y, upper)
    rest = rest + y * lower
    return _exp_pair(h, select(abs(h) < 800.0, rest, 0.0))


def _wide_power(a: V, y: V) -> V:
    """a^y for float32 a >= 0 by 2^(y log2 a) in float64, whose spare 29 bits suffice."""
    n, m, _ = split(a.convert("fpext", "float64"))
    f = m - 1.0
    log2 = fma(f, short_polynomial(coefficients.POW_LOG2, f), n)
    exponent = clamp(y, -_LARGE_EXPONENT, _LARGE_EXPONENT).convert("fpext", "float64")
    t = clamp(exponent * log2, -300.0, 300.0)
    n = round_product(t, 1.0)
    r = t - n
    power = fma(r, short_polynomial(coefficients.POW_EXP2, r), 1.0) * power_of_two(n)
    end = select((y < 0.0) ^ a.equals(0.0), a.const(0.0), math.inf)
    inner = (a > 0.0) & (a < math.inf)
    return select(inner, power.convert("fptrunc", "float32"), end)


def _with_sign(power: V, x: V, y: V) -> V:
    """C99's pow from that of \\|x\\|."""
    whole = truncated(y).equals(y)
    half = y * 0.5
    odd = whole & truncated(half).differs(half)
    signed = select((x.as_int() < 0) & odd, -power, power)
    domain = (x < 0.0) & (x > -math.inf) & ~whole
    value = select(domain | x.is_nan() | y.is_nan(), math.nan, signed)
    return select(y.equals(0.0) | x.equals(1.0), 1.0, value)


@lowering("pow", (*FLOATS, *INTS), ulp=(1, 1), outline=(*FLOATS, *INTS))
def power(x: V, y: V) -> V:
    """C99's pow; for integers, the exact power, wrapped."""
    if not x.lane.is_float:
        return _integer_power(x, y)
    positive = _wide_power if x.lane.dtype == "float32" else _positive_power
    return _with_sign(positive(abs(x), y), x, y)


def _integer_power(x: V, y: V) -> V:
    """By repeated squaring; a negative exponent truncates x^y to an integer (0^-n gives 0)."""
    result, base = x.const(1), x
    for bit in range(x.lane.bits - x.lane.is_signed):
        result = select((y & (1 << bit)).differs(0), result * base, result)
        base = base * base
    if not x.lane.is_signed:
        return result
    parity = select((y & 1).differs(0), x, x * x)
    unit = select(abs(x).equals(1), parity, 0)
    return select(y < 0, unit, result)


@lowering("hypot", ulp=(1, 2), outline=FLOATS, widen=True)
def hypot(x: V, y: V) -> V:
    """sqrt(x^2 + y^2), scaled so that no square overflows or underflows; inf beats NaN."""
    a, b = abs(x), abs(y)
    larger = select(a > b, a, b)
    up, down = 2.0**600, 2.0**-600
    large, small = larger > 2.0**500, larger < 2.0**-500
    factor = select(large, a.const(down), select(small, a.const(up), 1.0))
    inverse = select(large, a.const(up), select(small, a.const(down), 1.0))
    p, q = a * factor, b * factor
    root = fma(p, p, q * q).intrinsic("sqrt") * inverse
    return select(a.equals(math.inf) | b.equals(math.inf), math.inf, root)
