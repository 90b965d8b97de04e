"""asin, acos, atan, atan2.

atan is reduced to \\|z\\| <= tan(pi/8) by atan(b/a) = pi/4 + atan((b-a)/(b+a)), asin to
\\|x\\| <= 1/2 by asin(x) = pi/2 - 2 asin(sqrt((1-x)/2)).
"""

from __future__ import annotations

import math
from typing import Final

from graphc_llvm.vmath import coefficients
from graphc_llvm.vmath.lanes import V, copysign, fma, select
from graphc_llvm.vmath.polynomial import polynomial
from graphc_llvm.vmath.registry import FLOATS, lowering

#: pi, rounded and the rest.
_PI: Final = {
    "float32": (3.1415927410125732, -8.742277657347586e-08),
    "float64": (math.pi, 1.2246467991473532e-16),
}


def _from_pi(share: float, x: V) -> V:
    """``share * pi - x`` for a power of two ``share``."""
    upper, lower = _PI[x.lane.dtype]
    return share * upper - (x - share * lower)


def _quotient(b: V, a: V) -> V:
    """atan(b/a) for 0 <= b <= a, a > 0 finite or infinite, b finite."""
    steep = b > a * math.tan(math.pi / 8)
    z = select(steep, b - a, b) / select(steep, b + a, a)
    zz = z * z
    y = fma(z * zz, polynomial(coefficients.ATAN, zz), z)
    return select(steep, _from_pi(0.25, -y), y)


@lowering("atan", ulp=(3, 3), outline=FLOATS)
def atan(x: V) -> V:
    a = abs(x)
    above = a > 1.0
    y = _quotient(select(above, 1.0, a), select(above, a, 1.0))
    return copysign(select(above, _from_pi(0.5, y), y), x)


@lowering("atan2", ulp=(3, 3), outline=FLOATS)
def atan2(y: V, x: V) -> V:
    """The angle of the point (x, y), with C99's values at zeros and infinities."""
    above = abs(y) > abs(x)
    a, b = select(above, abs(y), abs(x)), select(above, abs(x), abs(y))
    # a + b must not overflow, nor infinite b/a or 0/0 become NaN.
    both = a.equals(math.inf) & b.equals(math.inf)
    shrink = select(a > 2.0 ** (x.format.bias - 1), a.const(0.25), 1.0)
    b = select(both, 1.0, b * shrink)
    a = select(both | a.equals(0.0), 1.0, a * shrink)
    angle, left = _quotient(b, a), x.as_int() < 0
    steep = _from_pi(0.5, select(left, -angle, angle))
    flat = select(left, _from_pi(1.0, angle), angle)
    return copysign(select(above, steep, flat), y)


def _asin_parts(x: V) -> tuple[V, V]:
    """Whether \\|x\\| > 1/2, and asin(\\|x\\|) or asin(sqrt((1-\\|x\\|)/2)) accordingly."""
    a = abs(x)
    outer = a > 0.5
    z = select(outer, (1.0 - a) * 0.5, a * a)
    s = select(outer, z.intrinsic("sqrt"), a)
    return outer, fma(s * z, polynomial(coefficients.ASIN, z), s)


@lowering("asin", ulp=(3, 3), outline=FLOATS)
def asin(x: V) -> V:
    outer, y = _asin_parts(x)
    return copysign(select(outer, _from_pi(0.5, y + y), y), x)


@lowering("acos", ulp=(3, 3), outline=FLOATS)
def acos(x: V) -> V:
    outer, y = _asin_parts(x)
    twice = y + y
    far = select(x < 0.0, _from_pi(1.0, twice), twice)
    return select(outer, far, _from_pi(0.5, copysign(y, x)))
