"""Strength reduction: the same value from cheaper operations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.expr import Expr
from graphc.ops import elementwise as ew
from graphc.ops.indexing import SIZE
from graphc.ops.movement import BROADCAST, RESHAPE
from graphc.rewrite.engine import DOMAIN_CHANGING, EXACT, REASSOCIATING, rule
from graphc.rewrite.match import aligned, is_number, is_one, like, number, usable


@rule("mul", EXACT)
def mul_self(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """x * x -> square(x)."""
    return ew.square(x) if x is y and not x.dtype.is_bool else None


@rule("add", EXACT)
def add_self(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """x + x -> 2 * x."""
    return like(2, x) * x if x is y and x.dtype.is_float else None


@rule("pow", REASSOCIATING, has="constant")
def pow_two(node: Expr, x: Expr, two: Expr) -> Expr | None:
    """x ^ 2 -> square(x): the same bits if pow rounds correctly."""
    return ew.square(x) if is_number(two, 2) and x.dtype.is_float else None


@rule("pow", REASSOCIATING, has="constant")
def pow_three(node: Expr, x: Expr, n: Expr) -> Expr | None:
    """x ^ 3 -> square(x) * x, x ^ 4 -> square(square(x)): more roundings than one."""
    if is_number(n, 3):
        return ew.square(x) * x
    return ew.square(ew.square(x)) if is_number(n, 4) else None


@rule("pow", REASSOCIATING, has="constant")
def pow_minus_one(node: Expr, x: Expr, n: Expr) -> Expr | None:
    """x ^ -1 -> 1 / x: the same bits if pow rounds correctly."""
    return like(1, x) / x if is_number(n, -1) and x.dtype.is_float else None


@rule("pow", REASSOCIATING, has="constant")
def pow_minus_two(node: Expr, x: Expr, n: Expr) -> Expr | None:
    """x ^ -2 -> 1 / square(x)."""
    return like(1, x) / ew.square(x) if is_number(n, -2) and x.dtype.is_float else None


@rule("pow", DOMAIN_CHANGING, has="constant")
def pow_half(node: Expr, x: Expr, half: Expr) -> Expr | None:
    """x ^ 0.5 -> sqrt(x): -inf would give NaN instead of inf, -0 gives -0 instead of 0."""
    return ew.sqrt(x) if is_number(half, 0.5) else None


@rule("pow", REASSOCIATING, has="constant")
def pow_half_of_positive(node: Expr, x: Expr, half: Expr) -> Expr | None:
    """x ^ 0.5 -> sqrt(x) for x that is never negative nor -0."""
    return ew.sqrt(x) if is_number(half, 0.5) and x.op.name in _NEVER_NEGATIVE else None


_NEVER_NEGATIVE = "square exp exp2 abs sigmoid softplus hypot cosh norm".split()


@rule("pow", REASSOCIATING, has="constant")
def pow_three_halves(node: Expr, x: Expr, n: Expr) -> Expr | None:
    """x ^ 1.5 -> x * sqrt(x), x ^ -0.5 -> 1 / sqrt(x) for x that is never negative nor -0."""
    if x.op.name not in _NEVER_NEGATIVE:
        return None
    if is_number(n, 1.5):
        return x * ew.sqrt(x)
    return like(1, x) / ew.sqrt(x) if is_number(n, -0.5) else None


@rule("pow", REASSOCIATING, has="constant")
def pow_of_two(node: Expr, base: Expr, y: Expr) -> Expr | None:
    """2 ^ y -> exp2(y), e ^ y -> exp(y)."""
    if is_number(base, 2) and y.dtype.is_float:
        return ew.exp2(y)
    return ew.exp(y) if is_number(base, base.dtype.numpy.type(math.e)) else None


@rule("sqrt", REASSOCIATING, of="square")
def sqrt_of_square(node: Expr, x: Expr) -> Expr:
    """sqrt(square(x)) -> abs(x), without overflow of the square."""
    return ew.abs(x.args[0])


@rule("sqrt", REASSOCIATING, of="exp")
def sqrt_of_exp(node: Expr, x: Expr) -> Expr:
    """sqrt(exp(x)) -> exp(0.5 * x)."""
    return ew.exp(like(0.5, x) * x.args[0])


# Divisions by numbers, for loops --------------------------------------------------------------


def _inverse(y: Expr) -> Any:
    """1 / c for a number c with a normal reciprocal, else None."""
    c = number(y)
    if c is None or not y.dtype.is_float or not usable(c) or not usable(1 / c):
        return None
    return 1 / c


@rule("div", EXACT, stage="expand", has="constant")
def div_power_of_two(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """x / c -> x * (1/c) for c a power of two: nothing is rounded."""
    inverse = _inverse(y)
    if inverse is None or np.frexp(np.abs(inverse))[0] != 0.5:
        return None
    return x * like(inverse, x)


@rule("div", REASSOCIATING, stage="expand", has="constant")
def div_constant(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """x / c -> x * (1/c) for a number c: multiplication is cheaper, one rounding more."""
    inverse = _inverse(y)
    return None if inverse is None else x * like(inverse, x)


@rule("div", REASSOCIATING, stage="expand", has="sqrt size reshape broadcast_to")
def div_repeated(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """x / c -> x * (1/c) for a root or a size c that many x share, x no reduction: one division
    for each c. 1/c is never denormal, and infinite or 0 where c is 0 or infinite."""
    shape = aligned(y.shape, node.ndim)
    shared = any(is_one(c) and not is_one(n) for c, n in zip(shape, node.shape, strict=True))
    if not shared or _unmoved(x).op.family == "reduction":
        return None
    return x * (like(1, y) / y) if _unmoved(y).op in (ew.sqrt, SIZE) else None


def _unmoved(x: Expr) -> Expr:
    """What is broadcast or reshaped."""
    while x.op in (RESHAPE, BROADCAST):
        x = x.args[0]
    return x
