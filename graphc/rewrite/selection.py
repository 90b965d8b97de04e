"""Choices, truth values, comparisons and conversions: nothing is rounded."""

from __future__ import annotations

import numpy as np

from graphc.expr import Expr, apply
from graphc.ops import elementwise as ew
from graphc.ops.elementwise import cast, where
from graphc.rewrite.engine import EXACT, SIGN_OF_ZERO, rule
from graphc.rewrite.match import is_number, like, negated, number
from graphc.types import DType, bool_

# where ----------------------------------------------------------------------------------------


@rule("where", EXACT, has="constant")
def where_constant(node: Expr, condition: Expr, a: Expr, b: Expr) -> Expr | None:
    """where(true, a, b) -> a, where(false, a, b) -> b."""
    known = number(condition)
    if known is None:
        return None
    return a if known else b


@rule("where", EXACT)
def where_same(node: Expr, condition: Expr, a: Expr, b: Expr) -> Expr | None:
    """where(c, a, a) -> a."""
    return a if a is b else None


@rule("where", EXACT, of="logical_not bitwise_invert")
def where_not(node: Expr, condition: Expr, a: Expr, b: Expr) -> Expr:
    """where(not c, a, b) -> where(c, b, a)."""
    return where(condition.args[0], b, a)


@rule("where", EXACT, has="where")
def where_nested(node: Expr, condition: Expr, a: Expr, b: Expr) -> Expr | None:
    """where(c, where(c, x, y), z) -> where(c, x, z), and so for the other side."""
    then = a.args[1] if a.op is ew.WHERE and a.args[0] is condition else a
    otherwise = b.args[2] if b.op is ew.WHERE and b.args[0] is condition else b
    if then is a and otherwise is b:
        return None
    return where(condition, then, otherwise)


@rule("where", EXACT, has="constant")
def where_one_zero(node: Expr, condition: Expr, a: Expr, b: Expr) -> Expr | None:
    """where(c, 1, 0) -> cast(c), where(c, 0, 1) -> cast(not c)."""
    if is_number(a, 1) and is_number(b, 0):
        return cast(condition, node.dtype)
    if is_number(a, 0) and is_number(b, 1):
        return cast(ew.logical_not(condition), node.dtype)
    return None


@rule("where", EXACT, has="neg")
def where_of_negs(node: Expr, condition: Expr, a: Expr, b: Expr) -> Expr | None:
    """where(c, -x, -y) -> -where(c, x, y)."""
    if a.op is not ew.neg or b.op is not ew.neg:
        return None
    return -where(condition, a.args[0], b.args[0])


@rule("where", SIGN_OF_ZERO, has="constant")
def where_neg_zero(node: Expr, condition: Expr, a: Expr, b: Expr) -> Expr | None:
    """where(c, -x, 0) -> -where(c, x, 0), where(c, 0, -x) -> -where(c, 0, x); -x may be -2."""
    if not node.dtype.is_float:
        return None
    then, otherwise = _positive(a), _positive(b)
    if is_number(b, 0) and then is not None:
        return -where(condition, then, b)
    if is_number(a, 0) and otherwise is not None:
        return -where(condition, a, otherwise)
    return None


def _positive(x: Expr) -> Expr | None:
    """y where x is -y, or a number below zero; None for other nodes."""
    if x.op is ew.neg:
        return x.args[0]
    value = number(x)
    return negated(x) if value is not None and value < 0 else None


@rule("where", EXACT, has="constant")
def where_boolean(node: Expr, condition: Expr, a: Expr, b: Expr) -> Expr | None:
    """where(c, x, false) -> c and x, where(c, true, x) -> c or x for bools."""
    if not node.dtype.is_bool:
        return None
    if is_number(b, False):
        return ew.logical_and(condition, a)
    return ew.logical_or(condition, b) if is_number(a, True) else None


# Truth values ---------------------------------------------------------------------------------


@rule("logical_and bitwise_and", EXACT, has="constant")
def and_constant(node: Expr, x: Expr, c: Expr) -> Expr | None:
    """x and true -> x, x and false -> false, for bools."""
    if number(c) is None or not x.dtype.is_bool or not c.dtype.is_bool:
        return None
    return x if number(c) else c


@rule("logical_or bitwise_or", EXACT, has="constant")
def or_constant(node: Expr, x: Expr, c: Expr) -> Expr | None:
    """x or false -> x, x or true -> true, for bools."""
    if number(c) is None or not x.dtype.is_bool or not c.dtype.is_bool:
        return None
    return c if number(c) else x


@rule("logical_xor bitwise_xor not_equal", EXACT, has="constant")
def xor_constant(node: Expr, x: Expr, c: Expr) -> Expr | None:
    """x xor false -> x, x xor true -> not x, for bools."""
    if number(c) is None or not x.dtype.is_bool or not c.dtype.is_bool:
        return None
    return ew.logical_not(x) if number(c) else x


@rule("logical_and logical_or", EXACT, has="logical_not")
def contradiction(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """x and not x -> false, x or not x -> true."""
    if y.op is not ew.logical_not or y.args[0] is not x:
        return None
    return like(node.op is ew.logical_or, node)


@rule("logical_and logical_or", EXACT, of="logical_and logical_or")
def absorption(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """(x and y) or y -> y, (x or y) and y -> y, (x and y) and y -> x and y."""
    if y not in x.args or not y.dtype.is_bool:
        return None
    return x if x.op is node.op else y


_NEGATED = {"equal": ew.not_equal, "not_equal": ew.equal}
_NEGATED_INTEGER = {
    "less": ew.greater_equal,
    "greater_equal": ew.less,
    "greater": ew.less_equal,
    "less_equal": ew.greater,
}


@rule("logical_not", EXACT, of="equal not_equal less less_equal greater greater_equal")
def not_comparison(node: Expr, x: Expr) -> Expr | None:
    """not x == y -> x != y; orders too, but not for floats (NaN)."""
    opposite = _NEGATED.get(x.op.name)
    if opposite is None and not x.args[0].dtype.is_float:
        opposite = _NEGATED_INTEGER.get(x.op.name)
    return opposite(*x.args) if opposite else None


@rule("equal less_equal greater_equal not_equal less greater", EXACT)
def compare_self(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """x == x -> true, x < x -> false; equality of a float with itself asks for NaN."""
    if x is not y:
        return None
    if node.op in (ew.less, ew.greater):
        return like(False, node)
    if not x.dtype.is_float:
        return like(node.op is not ew.not_equal, node)
    return ew.isnan(x) if node.op is ew.not_equal else ew.logical_not(ew.isnan(x))


@rule("isnan isinf isfinite", EXACT)
def classify_integer(node: Expr, x: Expr) -> Expr | None:
    """isfinite(x) -> true, isnan(x), isinf(x) -> false for x that is no float."""
    return None if x.dtype.is_float else like(node.op is ew.isfinite, node)


@rule("isnan isinf isfinite", EXACT, of="neg abs")
def classify_sign(node: Expr, x: Expr) -> Expr:
    """isnan(-x) -> isnan(x), and so for abs, isinf, isfinite."""
    return apply(node.op, x.args)


# Conversions ----------------------------------------------------------------------------------


def _lossless(source: DType, target: DType) -> bool:
    """Whether every value of a type is a value of another."""
    return bool(np.can_cast(source.numpy, target.numpy, "safe")) and not (
        source.name == "int64" and target.is_float
    )


@rule("cast", EXACT)
def cast_identity(node: Expr, x: Expr) -> Expr | None:
    """cast(x) to its own type -> x."""
    return x if x.dtype == node.dtype else None


@rule("cast", EXACT, of="cast")
def cast_of_cast(node: Expr, x: Expr) -> Expr | None:
    """cast(cast(x)) -> cast(x), where the inner one loses nothing; not float to integer."""
    inner = x.args[0]
    if inner.dtype.is_float and node.dtype.is_integer:
        return None
    return cast(inner, node.dtype) if _lossless(inner.dtype, x.dtype) else None


@rule("not_equal", EXACT, of="cast", has="constant")
def cast_of_bool_nonzero(node: Expr, x: Expr, zero: Expr) -> Expr | None:
    """cast(c) != 0 -> c, for a bool c."""
    inner = x.args[0]
    return inner if inner.dtype == bool_ and number(zero) == 0 else None


@rule("mul", EXACT, of="cast")
def product_of_masks(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """cast(c) * cast(d) -> cast(c and d) for bools."""
    if y.op is not ew.CAST or not x.args[0].dtype.is_bool or not y.args[0].dtype.is_bool:
        return None
    return cast(ew.logical_and(x.args[0], y.args[0]), node.dtype)
