"""The algebra of single elements: units, signs, repeated operations, constants.

Statements hold bit for bit where they say ``exact``: IEEE 754 rounding is symmetric in the
sign, and multiplication by a power of two does not round.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.expr import Expr, apply
from graphc.ops import elementwise as ew
from graphc.rewrite.engine import DOMAIN_CHANGING, EXACT, REASSOCIATING, SIGN_OF_ZERO, rule
from graphc.rewrite.match import is_number, like, negated, number, usable

# Units ----------------------------------------------------------------------------------------


@rule("mul", EXACT, has="constant")
def mul_one(node: Expr, x: Expr, one: Expr) -> Expr | None:
    """x * 1 -> x."""
    return x if is_number(one, 1) else None


@rule("mul", EXACT, has="constant")
def mul_minus_one(node: Expr, x: Expr, c: Expr) -> Expr | None:
    """x * -1 -> -x."""
    return -x if is_number(c, -1) else None


@rule("div", EXACT, has="constant")
def div_one(node: Expr, x: Expr, one: Expr) -> Expr | None:
    """x / 1 -> x."""
    return x if is_number(one, 1) else None


@rule("div", EXACT, has="constant")
def div_minus_one(node: Expr, x: Expr, c: Expr) -> Expr | None:
    """x / -1 -> -x."""
    return -x if is_number(c, -1) else None


@rule("sub", EXACT, has="constant")
def sub_zero(node: Expr, x: Expr, zero: Expr) -> Expr | None:
    """x - 0 -> x."""
    return x if is_number(zero, 0) else None


@rule("add", EXACT, has="constant")
def add_minus_zero(node: Expr, x: Expr, zero: Expr) -> Expr | None:
    """x + -0 -> x; for integers x + 0."""
    neutral = -0.0 if x.dtype.is_float else 0
    return x if is_number(zero, neutral) else None


@rule("add", SIGN_OF_ZERO, has="constant")
def add_zero(node: Expr, x: Expr, zero: Expr) -> Expr | None:
    """x + 0 -> x; x = -0 would give 0."""
    return x if is_number(zero, 0) else None


@rule("sub", SIGN_OF_ZERO, has="constant")
def zero_sub(node: Expr, zero: Expr, x: Expr) -> Expr | None:
    """0 - x -> -x; x = 0 would give 0."""
    return -x if is_number(zero, 0) or is_number(zero, -0.0) else None


@rule("mul", DOMAIN_CHANGING, has="constant")
def mul_zero(node: Expr, x: Expr, zero: Expr) -> Expr | None:
    """x * 0 -> 0, for finite x only."""
    return zero if number(zero) == 0 else None


@rule("sub", DOMAIN_CHANGING)
def sub_self(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """x - x -> 0, for finite x only."""
    return like(0, x) if x is y else None


@rule("div", DOMAIN_CHANGING)
def div_self(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """x / x -> 1, for finite x other than 0 only."""
    return like(1, x) if x is y else None


@rule("pow", EXACT, has="constant")
def pow_one(node: Expr, x: Expr, one: Expr) -> Expr | None:
    """x ^ 1 -> x."""
    return x if is_number(one, 1) else None


@rule("pow", EXACT, has="constant")
def pow_zero(node: Expr, x: Expr, zero: Expr) -> Expr | None:
    """x ^ 0 -> 1, for every x, NaN too."""
    return like(1, x) if number(zero) == 0 else None


@rule("positive", EXACT)
def positive(node: Expr, x: Expr) -> Expr:
    """+x -> x."""
    return x


# Signs move outwards --------------------------------------------------------------------------


@rule("neg bitwise_invert logical_not", EXACT)
def involution(node: Expr, x: Expr) -> Expr | None:
    """f(f(x)) -> x for f its own inverse."""
    return x.args[0] if x.op is node.op else None


@rule("sub", EXACT, has="neg")
def sub_neg(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """x - -y -> x + y."""
    return x + y.args[0] if y.op is ew.neg else None


@rule("add", EXACT, has="neg")
def add_neg(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """x + -y -> x - y."""
    return x - y.args[0] if y.op is ew.neg else None


@rule("sub", SIGN_OF_ZERO, of="neg")
def neg_sub(node: Expr, x: Expr, y: Expr) -> Expr:
    """-x - y -> -(x + y)."""
    return -(x.args[0] + y)


@rule("neg", SIGN_OF_ZERO, of="sub")
def neg_of_sub(node: Expr, x: Expr) -> Expr:
    """-(x - y) -> y - x; x = y would give -0."""
    left, right = x.args
    return right - left


@rule("add sub", EXACT, has="constant")
def add_negative_constant(node: Expr, x: Expr, c: Expr) -> Expr | None:
    """x + -2 -> x - 2, x - -2 -> x + 2: numbers are shown without sign."""
    value = number(c)
    if value is None or not x.dtype.is_float or not value < 0:
        return None
    return x - negated(c) if node.op is ew.add else x + negated(c)


@rule("add sub", EXACT, has="mul")
def add_negative_scaled(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """x + -2 * y -> x - 2 * y, x - -2 * y -> x + 2 * y: numbers are shown without sign."""
    if y.op is not ew.mul or not x.dtype.is_float:
        return None
    for c, other in (y.args, y.args[::-1]):
        value = number(c)
        if value is not None and value < 0:
            term = negated(c) * other
            return x - term if node.op is ew.add else x + term
    return None


@rule("mul", EXACT, of="neg")
def mul_neg(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """-x * y -> -(x * y), -x * c -> x * -c."""
    if number(y) is not None:
        return x.args[0] * negated(y)
    return -(x.args[0] * y)


@rule("div", EXACT, of="neg")
def neg_div(node: Expr, x: Expr, y: Expr) -> Expr:
    """-x / y -> -(x / y)."""
    return -(x.args[0] / y)


@rule("div", EXACT, has="neg")
def div_neg(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """x / -y -> -(x / y)."""
    return -(x / y.args[0]) if y.op is ew.neg else None


@rule("neg", EXACT, of="mul")
def neg_of_scaled(node: Expr, x: Expr) -> Expr | None:
    """-(c * x) -> (-c) * x for a number c."""
    for c, other in (x.args, x.args[::-1]):
        if number(c) is not None:
            return negated(c) * other
    return None


@rule("div", EXACT, of="constant")
def negative_constant_div(node: Expr, c: Expr, y: Expr) -> Expr | None:
    """-2 / x -> -(2 / x)."""
    value = number(c)
    return -(negated(c) / y) if value is not None and value < 0 else None


@rule("div", EXACT, has="constant")
def div_negative_constant(node: Expr, x: Expr, c: Expr) -> Expr | None:
    """x / -2 -> -(x / 2)."""
    value = number(c)
    return -(x / negated(c)) if value is not None and value < 0 else None


@rule("abs square", EXACT)
def even_of_neg(node: Expr, x: Expr) -> Expr | None:
    """abs(-x) -> abs(x), square(-x) -> square(x); the same for abs inside."""
    if x.op is ew.neg or (x.op is ew.abs and node.op is ew.square):
        return apply(node.op, x.args)
    return None


@rule("cos cosh", EXACT, of="neg abs")
def even_function(node: Expr, x: Expr) -> Expr:
    """f(-x) -> f(x) for the even functions."""
    return apply(node.op, x.args)


@rule("sin tan asin atan sinh tanh asinh atanh erf", EXACT, of="neg")
def odd_function(node: Expr, x: Expr) -> Expr:
    """f(-x) -> -f(x) for the odd functions."""
    return -apply(node.op, x.args)


# Repeated operations --------------------------------------------------------------------------

_INTEGER_VALUED = ("floor", "ceil", "trunc", "round", "sign")


@rule("abs sign floor ceil trunc round", EXACT)
def idempotent(node: Expr, x: Expr) -> Expr | None:
    """f(f(x)) -> f(x); rounding of what is rounded already."""
    rounded = node.op.name in _INTEGER_VALUED[:-1] and x.op.name in _INTEGER_VALUED
    return x if x.op is node.op or rounded else None


@rule("abs", EXACT, of="square exp exp2 sigmoid softplus hypot cosh norm")
def abs_of_positive(node: Expr, x: Expr) -> Expr:
    """abs(f(x)) -> f(x) for f that is never negative."""
    return x


@rule("maximum minimum logical_and logical_or bitwise_and bitwise_or", EXACT)
def same_operands(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """f(x, x) -> x."""
    return x if x is y and x.type == node.type else None


@rule("maximum minimum", SIGN_OF_ZERO, of="maximum minimum")
def absorbed_extremum(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """max(max(x, y), y) -> max(x, y)."""
    return x if x.op is node.op and y in x.args else None


@rule("maximum minimum", SIGN_OF_ZERO, of="maximum minimum", has="constant")
def nested_limits(node: Expr, x: Expr, c: Expr) -> Expr | None:
    """max(max(x, a), b) -> max(x, max(a, b)) for numbers a, b."""
    if x.op is not node.op or number(c) is None:
        return None
    for a, other in (x.args, x.args[::-1]):
        if number(a) is not None:
            return apply(node.op, (other, apply(node.op, (a, c))))
    return None


# Constants come together ----------------------------------------------------------------------


def _combined(ufunc: np.ufunc, a: Any, c: Any) -> Any:
    """A factor computed from two numbers, None where it over- or underflows."""
    with np.errstate(all="ignore"):
        result = ufunc(a, c)
    return result if usable(result) else None


@rule("mul", REASSOCIATING, of="mul", has="constant")
def mul_of_scaled(node: Expr, x: Expr, c: Expr) -> Expr | None:
    """(a * x) * c -> (a * c) * x for numbers a, c."""
    outer = number(c)
    if outer is None:
        return None
    for a, other in (x.args, x.args[::-1]):
        if number(a) is not None:
            factor = _combined(np.multiply, number(a), outer)
            return None if factor is None else like(factor, x) * other
    return None


@rule("mul", REASSOCIATING, of="div", has="constant")
def mul_of_quotient(node: Expr, x: Expr, c: Expr) -> Expr | None:
    """(x / d) * c -> x * (c / d), (a / y) * c -> (a * c) / y for numbers a, c, d."""
    outer = number(c)
    if outer is None or outer == 0:
        return None
    top, bottom = x.args
    if number(bottom) is not None:
        return _scaled_or_divided(top, outer, number(bottom))
    if number(top) is not None:
        factor = _combined(np.multiply, number(top), outer)
        return None if factor is None else like(factor, x) / bottom
    return None


@rule("div", REASSOCIATING, of="mul", has="constant")
def div_of_scaled(node: Expr, x: Expr, d: Expr) -> Expr | None:
    """(a * x) / d -> x * (a / d) for numbers a, d."""
    bottom = number(d)
    if bottom is None or bottom == 0:
        return None
    for a, other in (x.args, x.args[::-1]):
        if number(a) is not None:
            return _scaled_or_divided(other, number(a), bottom)
    return None


def _scaled_or_divided(x: Expr, factor: Any, divisor: Any) -> Expr | None:
    """x * factor / divisor as one operation, the one whose number is simpler."""
    with np.errstate(all="ignore"):
        up, down = factor / divisor, divisor / factor
    if usable(down) and down == np.rint(down) and up != np.rint(up):
        return x / like(down, x)
    return x * like(up, x) if usable(up) else None


@rule("div", REASSOCIATING, of="div", has="constant")
def div_of_quotient(node: Expr, x: Expr, d: Expr) -> Expr | None:
    """(x / c) / d -> x / (c * d) for numbers c, d."""
    top, bottom = x.args
    if number(bottom) is None or number(d) is None:
        return None
    divisor = _combined(np.multiply, number(bottom), number(d))
    return None if divisor is None else top / like(divisor, x)


@rule("div", REASSOCIATING, has="constant")
def div_by_scaled(node: Expr, a: Expr, y: Expr) -> Expr | None:
    """a / (c * x) -> (a / c) / x for numbers a, c."""
    if number(a) is None or y.op is not ew.mul:
        return None
    for c, other in (y.args, y.args[::-1]):
        if number(c):
            factor = _combined(np.divide, number(a), number(c))
            return None if factor is None else like(factor, a) / other
    return None


def _offset(x: Expr) -> tuple[int, Expr, Any] | None:
    """(s, y, a) where x is s * y + a for a sign s and a number a."""
    if x.op not in (ew.add, ew.sub) or not x.dtype.is_float:
        return None
    left, right = x.args
    if number(right) is not None:
        return 1, left, number(right) if x.op is ew.add else -number(right)
    if number(left) is not None:
        return (1 if x.op is ew.add else -1), right, number(left)
    return None


def _exact_sum(a: Any, c: Any) -> Any:
    """a + c if nothing is rounded, else None: a small c must not be lost in a large a."""
    with np.errstate(all="ignore"):
        total = a + c
        return total if total - a == c and total - c == a else None


@rule("add sub", REASSOCIATING, has="constant")
def constants_of_sum(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """(x + a) + c -> x + (a + c) for numbers a, c whose sum is exact, so for differences."""
    if number(y) is not None and (found := _offset(x)):
        sign, rest, a = found
        total = _exact_sum(a, number(y) if node.op is ew.add else -number(y))
    elif number(x) is not None and node.op is ew.sub and (found := _offset(y)):
        sign, rest, a = -found[0], found[1], -found[2]
        total = _exact_sum(number(x), a)
    else:
        return None
    if total is None:
        return None
    return rest + like(total, rest) if sign == 1 else like(total, rest) - rest


@rule("mul", REASSOCIATING, has="reciprocal div")
def mul_reciprocal(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """x * (1 / y) -> x / y, x * reciprocal(y) -> x / y."""
    if y.op is ew.reciprocal:
        return x / y.args[0]
    if y.op is ew.div and is_number(y.args[0], 1) and number(x) is None:
        return x / y.args[1]
    return None


@rule("div", REASSOCIATING, has="reciprocal div")
def div_reciprocal(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """x / (1 / y) -> x * y, x / reciprocal(y) -> x * y."""
    if y.op is ew.reciprocal:
        return x * y.args[0]
    if y.op is ew.div and is_number(y.args[0], 1):
        return x * y.args[1]
    return None


@rule("reciprocal", EXACT)
def reciprocal_as_div(node: Expr, x: Expr) -> Expr | None:
    """reciprocal(x) -> 1 / x for floats: one form for quotients."""
    return like(1, x) / x if x.dtype.is_float else None
