"""Polynomials of degree 6 for tanh in float32, one for each of 32 intervals, and how to choose.

Interval i is around i * `STEP`; its polynomial is in the distance from there. Those but the
first interpolate at the Chebyshev nodes of the interval, in 40-digit arithmetic; the first is
x + x^3 p(x), so that small numbers keep their relative precision. With rounded coefficients
and arithmetic in float32 the result is within 1.05 ulp.
"""

from __future__ import annotations

from typing import Final

from graphc_llvm.emit import Value
from graphc_llvm.vmath.lanes import Lane, V, fma
from graphc_llvm.vmath.polynomial import clamp

STEP: Final = 19 / 64

#: From here on, the last polynomial rounds to 1.
_ONE: Final = 9.1

#: A row for each interval, lowest degree first.
_TABLE: Final = """
0 1 0 -0.33333313 -4.3080654e-05 0.13478881 -0.015791716
0.2884502 0.91679645 -0.2644501 -0.22931652 0.15428467 0.052161686 -0.07128304
0.5325873 0.7163508 -0.38151932 -0.03560412 0.14612937 -0.0488728 -0.030610317
0.7117023 0.49347985 -0.35121074 0.085460015 0.0562493 -0.05717191 0.014031567
0.8298019 0.3114288 -0.2584242 0.110632956 -5.659809e-03 -0.02541009 0.017026931
0.90228444 0.18588278 -0.16771914 0.08937118 -0.024730694 -3.5028069e-03 7.572365e-03
0.94482946 0.10729734 -0.10137768 0.06001958 -0.02291535 3.962027e-03 1.6101816e-03
0.9691509 0.06074654 -0.058872566 0.03680773 -0.016048022 4.617243e-03 -4.370604e-04
0.982845 0.034015648 -0.03343211 0.021520026 -0.010006858 3.41844e-03 -7.631536e-04
0.9904896 0.018930351 -0.018750317 0.012261831 -5.895158e-03 2.1765435e-03 -6.0323783e-04
0.9947367 0.010498993 -0.010443733 6.8890615e-03 -3.3715905e-03 1.294292e-03 -3.9269266e-04
0.99708986 5.811783e-03 -5.7948697e-03 3.8407193e-03 -1.8979397e-03 7.436599e-04 -2.3574996e-04
0.9983918 3.2137576e-03 -3.2085893e-03 2.132161e-03 -1.0592147e-03 4.196234e-04 -1.360773e-04
0.9991116 1.7760842e-03 -1.7745062e-03 1.1808926e-03 -5.8834825e-04 2.3448464e-04 -7.69647e-05
0.9995093 9.812372e-04 -9.807555e-04 6.531901e-04 -3.2595493e-04 1.3033602e-04 -4.306129e-05
0.999729 5.420097e-04 -5.418628e-04 3.6104314e-04 -1.8032652e-04 7.223558e-05 -2.3951292e-05
0.99985033 2.993625e-04 -2.993177e-04 1.9948378e-04 -9.968256e-05 3.9970822e-05 -1.3279289e-05
0.9999173 1.6533476e-04 -1.653211e-04 1.10194946e-04 -5.5079476e-05 2.2097956e-05 -7.349436e-06
0.99995434 9.130991e-05 -9.130574e-05 6.086444e-05 -3.0426785e-05 1.2210965e-05 -4.063601e-06
0.9999748 5.042715e-05 -5.042588e-05 3.3615284e-05 -1.6806016e-05 6.7457663e-06 -2.2456154e-06
0.99998605 2.7848831e-05 -2.7848444e-05 1.856496e-05 -9.282001e-06 3.7260465e-06 -1.2405986e-06
0.9999923 1.5379681e-05 -1.5379563e-05 1.0252801e-05 -5.1262637e-06 2.057926e-06 -6.852615e-07
0.99999577 8.493496e-06 -8.49346e-06 5.6622125e-06 -2.8310697e-06 1.1365579e-06 -3.784794e-07
0.9999977 4.690563e-06 -4.690552e-06 3.1269944e-06 -1.5634889e-06 6.2768623e-07 -2.09029e-07
0.9999987 2.5903776e-06 -2.5903742e-06 1.7268976e-06 -8.6344784e-07 3.4664714e-07 -1.1544069e-07
0.9999993 1.4305432e-06 -1.4305422e-06 9.536857e-07 -4.768434e-07 1.9143853e-07 -6.3753596e-08
0.9999996 7.900212e-07 -7.900209e-07 5.2667593e-07 -2.6333862e-07 1.0572295e-07 -3.5208444e-08
0.99999976 4.3629123e-07 -4.3629115e-07 2.9085828e-07 -1.454296e-07 5.8385922e-08 -1.944406e-08
0.9999999 2.4094294e-07 -2.409429e-07 1.6062725e-07 -8.031392e-08 3.224382e-08 -1.0738064e-08
0.99999994 1.3306133e-07 -1.3306132e-07 8.870681e-08 -4.4353577e-08 1.7806745e-08 -5.9301324e-09
0.99999994 7.348345e-08 -7.348344e-08 4.898856e-08 -2.4494376e-08 9.833823e-09 -3.2749332e-09
1 4.0581416e-08 -4.0581412e-08 2.7054055e-08 -1.3527082e-08 5.430754e-09 -1.8085908e-09
"""

_ROWS: Final = [[float(c) for c in row.split()] for row in _TABLE.split("\n") if row]


def by_table(a: V) -> V:
    """tanh of a >= 0, with permutations of 512 bits to look coefficients up."""
    a = clamp(a, None, _ONE)
    shifted = fma(a, 1 / STEP, a.format.magic)
    d = fma(shifted - a.format.magic, -STEP, a)
    index = _widened(shifted.as_int())
    *rest, result = (_chosen(column, index, a) for column in zip(*_ROWS, strict=True))
    for coefficient in reversed(rest):
        result = fma(d, result, coefficient)
    return result


def _widened(index: V) -> V:
    """Lanes of an int32 vector or scalar as the first of sixteen."""
    width = index.lane.width
    wide = V(index.f, Lane("int32", 16), "")
    if width == 1:
        return wide.new(f"insertelement <16 x i32> poison, i32 {index.text}, i64 0")
    lanes = ", ".join(f"i32 {k if k < width else 'poison'}" for k in range(16))
    kind = index.lane.llvm
    return wide.new(f"shufflevector {kind} {index.text}, {kind} poison, <16 x i32> <{lanes}>")


def _chosen(column: tuple[float, ...], index: V, like: V) -> V:
    """column[index % 32] in the lanes of another value."""
    wide = V(index.f, Lane("float32", 16), "")
    halves = [("<16 x float>", _literal(column[k : k + 16])) for k in (0, 16)]
    args = [halves[0], ("<16 x i32>", index.text), halves[1]]
    found = wide.call("llvm.x86.avx512.vpermi2var.ps.512", args)
    width = like.lane.width
    if width == 1:
        return like.new(f"extractelement <16 x float> {found.text}, i64 0")
    lanes = ", ".join(f"i32 {k}" for k in range(width))
    pick = f"<16 x float> {found.text}, <16 x float> poison, <{width} x i32> <{lanes}>"
    return like.new(f"shufflevector {pick}")


def _literal(numbers: tuple[float, ...]) -> Value:
    scalar = Lane("float32", 1)
    return "<" + ", ".join(f"float {scalar.const(x)}" for x in numbers) + ">"
