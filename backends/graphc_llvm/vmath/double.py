"""Sums and products with their rounding errors (T. Dekker, Numer. Math. 18, 1971)."""

from __future__ import annotations

from graphc_llvm.vmath.lanes import V, fma

Pair = tuple[V, V]
"""An unevaluated sum, the second part no more than a few ulp of the first."""


def fast_two_sum(a: V, b: V | float) -> Pair:
    """``a + b`` and its error, for \\|a\\| >= \\|b\\| or ``a`` = 0."""
    total = a + b
    return total, b - (total - a)


def two_sum(a: V, b: V) -> Pair:
    """``a + b`` and its error."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _halves(x: V) -> Pair:
    """``x`` as two numbers of half the precision."""
    upper = (x.as_int() & (-1 << (x.format.mantissa + 2) // 2)).as_float()
    return upper, x - upper


def two_product(a: V, b: V) -> Pair:
    """``a * b`` and its error; without fused multiply-add, its error but for the last bit."""
    product = a * b
    if a.f.target.fma:
        return product, fma(a, b, -product)
    (a1, a0), (b1, b0) = _halves(a), _halves(b)
    return product, ((a1 * b1 - product) + a1 * b0 + a0 * b1) + a0 * b0


def multiply(a: Pair, b: Pair) -> Pair:
    """The product of two unevaluated sums, to about twice the precision."""
    product, rest = two_product(a[0], b[0])
    return product, fma(a[0], b[1], fma(a[1], b[0], rest))


def add_small(a: Pair, b: Pair) -> Pair:
    """The sum of two unevaluated sums of which the first is larger or zero."""
    total, rest = fast_two_sum(a[0], b[0])
    return total, rest + (a[1] + b[1])
