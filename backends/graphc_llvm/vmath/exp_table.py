"""e^x = 2^n 2^(j/N) e^r with |r| <= log(2) / (2 N), 2^(j/N) looked up: few terms for e^r.

(P. T. P. Tang, Table-driven implementation of the exponential function, ACM TOMS 15, 1989.)
"""

from __future__ import annotations

import math
from typing import Final

from graphc_llvm.vmath import coefficients
from graphc_llvm.vmath.lanes import V, fma
from graphc_llvm.vmath.logarithm import LOG2
from graphc_llvm.vmath.lookup import LENGTH, lookup
from graphc_llvm.vmath.polynomial import polynomial, scale_floor

#: 2^(j/32).
_ROOTS: Final = """
1.0                1.0218971486541166 1.0442737824274138 1.0671404006768237
1.0905077326652577 1.1143867425958924 1.1387886347566916 1.1637248587775775
1.189207115002721  1.215247359980469  1.241857812073484  1.2690509571917332
1.2968395546510096 1.3252366431597413 1.3542555469368927 1.383909881963832
1.4142135623730951 1.4451808069770467 1.4768261459394993 1.5091644275934228
1.5422108254079407 1.5759808451078865 1.6104903319492543 1.645755478153965
1.681792830507429  1.718619298122478  1.7562521603732995 1.7947090750031072
1.8340080864093424 1.8741676341103    1.9152065613971474 1.9571441241754002
"""

_COLUMN: Final = {
    dtype: [float(x) for x in _ROOTS.split()][:: 32 // length]
    for dtype, length in LENGTH.items()
}


def exp_by_table(x: V) -> V:
    """e^x for x within the range of its logarithms, or NaN."""
    upper, lower = LOG2[x.lane.dtype]
    magic = x.format.magic / LENGTH[x.lane.dtype]  # rounds to multiples of 1/N
    shifted = fma(x, 1 / math.log(2), magic)
    n = shifted - magic
    r = fma(n, -lower, fma(n, -upper, x))
    p = fma(r * r, polynomial(coefficients.EXP_NEAR_ZERO, r), r)
    root = lookup(_COLUMN[x.lane.dtype], shifted.as_int(), x)
    return scale_floor(fma(root, p, root), n)
