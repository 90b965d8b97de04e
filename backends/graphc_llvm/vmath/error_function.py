"""erf and erfc.

Near zero, erf(x)/x is a polynomial in x^2. Beyond 1, erf = 1 - e^-(t p(t)) with
t p(t) = -log(erfc(t)). The complement is e^(-a^2) times the scaled function
g(a) = e^(a^2) erfc(a), with (1 + 2a) g(a) a polynomial in (a-4)/(a+4) over all a >= 0
(M. Shepherd and J. Laframboise, Math. Comp. 36, 1981).
"""

from __future__ import annotations

from typing import Final

from graphc_llvm.vmath import coefficients
from graphc_llvm.vmath.double import two_product
from graphc_llvm.vmath.exponential import exp_parts
from graphc_llvm.vmath.lanes import V, copysign, fma, select
from graphc_llvm.vmath.polynomial import clamp, polynomial, power_of_two, scale
from graphc_llvm.vmath.registry import FLOATS, lowering

#: From here on, erf rounds to 1.
_ERF_ONE: Final = {"float32": 4.0, "float64": 6.0}


@lowering("erf", ulp=(2, 2), outline=FLOATS)
def erf(x: V) -> V:
    a = clamp(abs(x), None, _ERF_ONE[x.lane.dtype])
    near = fma(a, polynomial(coefficients.ERF, a * a), a)
    n, p = exp_parts(-(a * polynomial(coefficients.LOG_ERFC, a)))
    far = 1.0 - power_of_two(n) * (p + 1.0)
    return copysign(select(a < 1.0, near, far), x)


@lowering("erfc", ulp=(1, 6), outline=FLOATS, widen=True)
def erfc(x: V) -> V:
    a = clamp(abs(x), None, 28.0)
    q = (a - 4.0) / (a + 4.0)
    g = polynomial(coefficients.ERFCX, q) / fma(a, 2.0, 1.0)
    square, rest = two_product(a, a)
    n, p = exp_parts(-square)
    e = p + 1.0
    tail = scale(fma(e, -rest, e) * g, n)
    return select(x < 0.0, 2.0 - tail, tail)
