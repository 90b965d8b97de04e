"""sin, cos, tan over the whole range, by polynomials on \\|r\\| <= pi/4."""

from __future__ import annotations

from graphc_llvm.vmath import coefficients
from graphc_llvm.vmath.lanes import V, fma, select
from graphc_llvm.vmath.polynomial import polynomial
from graphc_llvm.vmath.reduction import reduce
from graphc_llvm.vmath.registry import FLOATS, lowering


def _sin_cos(r: V) -> tuple[V, V]:
    """Sine and cosine of \\|r\\| <= pi/4."""
    z = r * r
    sin = fma(r * z, polynomial(coefficients.SIN, z), r)
    cos = z * fma(z, polynomial(coefficients.COS, z), -0.5) + 1.0
    return sin, cos


def _negate(y: V, odd: V) -> V:
    """``y``, negated where bit 0 of ``odd`` is set."""
    return (y.as_int() ^ (odd << (odd.lane.bits - 1))).as_float()


def _sign(x: V) -> V:
    """1 where the sign bit is set, else 0, as an integer."""
    return x.as_int().shift_right_zero(x.lane.bits - 1)


def _is_odd(n: V) -> V:
    return (n & 1).differs(0)


@lowering("sin", ulp=(2, 2), outline=FLOATS)
def sin(x: V) -> V:
    r, quadrant = reduce(abs(x))
    s, c = _sin_cos(r)
    y = select(_is_odd(quadrant), c, s)
    return _negate(y, quadrant.shift_right_zero(1) ^ _sign(x))


@lowering("cos", ulp=(2, 2), outline=FLOATS)
def cos(x: V) -> V:
    r, quadrant = reduce(abs(x))
    s, c = _sin_cos(r)
    y = select(_is_odd(quadrant), s, c)
    return _negate(y, (quadrant + 1).shift_right_zero(1))


@lowering("tan", ulp=(4, 4), outline=FLOATS)
def tan(x: V) -> V:
    r, quadrant = reduce(abs(x))
    s, c = _sin_cos(r)
    odd = _is_odd(quadrant)
    return _negate(select(odd, c, s) / select(odd, s, c), quadrant ^ _sign(x))
