"""Factors: scalars move outwards, common factors of sums are taken out."""

from __future__ import annotations

from typing import TypeAlias

from graphc.expr import Expr, apply
from graphc.ops import elementwise as ew
from graphc.ops.elementwise import cast, where
from graphc.ops.movement import reshape
from graphc.ops.table import Op
from graphc.rewrite.engine import REASSOCIATING, rule
from graphc.rewrite.match import is_number, is_scalar, like, number


def _is_factor(c: Expr, node: Expr) -> bool:
    """Whether c counts as a scalar in a node: a number, or of rank 0 where the node is not."""
    return number(c) is not None or (is_scalar(c) and not is_scalar(node))


def _split(x: Expr, node: Expr) -> tuple[Op, Expr, Expr] | None:
    """(mul or div, y, c) where x is y * c or y / c and c is a scalar, y is not."""
    if x.op.name in ("reshape", "transpose", "broadcast_to"):
        inner = _split(x.args[0], node)
        if inner is None:
            return None
        op, y, c = inner
        return op, apply(x.op, (y,), x.attrs), c if is_scalar(c) else reshape(c, ())
    if x.op not in (ew.mul, ew.div):
        return None
    orders = (x.args, x.args[::-1]) if x.op is ew.mul else (x.args,)
    for y, c in orders:
        if _is_factor(c, node) and not _is_factor(y, node):
            return x.op, y, c
    return None


@rule("mul", REASSOCIATING, of="mul div reshape transpose broadcast_to")
def scalar_out_of_mul(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """(x * c) * y -> (x * y) * c, (x / c) * y -> (x * y) / c, c the only scalar."""
    found = _split(x, node)
    if found is None or _is_factor(y, node):
        return None
    op, rest, c = found
    return op(rest * y, c)


@rule("div", REASSOCIATING, of="mul div reshape transpose broadcast_to")
def scalar_out_of_dividend(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """(x * c) / y -> (x / y) * c, (x / c) / y -> (x / y) / c, c the only scalar."""
    found = _split(x, node)
    if found is None or _is_factor(y, node):
        return None
    op, rest, c = found
    return op(rest / y, c)


@rule("div", REASSOCIATING, has="mul div reshape transpose broadcast_to")
def scalar_out_of_divisor(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """x / (y * c) -> (x / y) / c, x / (y / c) -> (x / y) * c, c the only scalar."""
    found = _split(y, node)
    if found is None or _is_factor(x, node):
        return None
    op, rest, c = found
    return (ew.div if op is ew.mul else ew.mul)(x / rest, c)


@rule("mul div", REASSOCIATING, of="mul div reshape transpose broadcast_to")
def scalars_together(node: Expr, x: Expr, s: Expr) -> Expr | None:
    """(x * c) * s -> x * (c * s) for scalars c, s, so for quotients: x is read once less."""
    if is_scalar(node) or not is_scalar(s) or not node.dtype.is_float:
        return None
    found = _split(x, node)
    if found is None or (number(found[2]) is not None and number(s) is not None):
        return None
    op, rest, c = found
    if node.op is ew.mul:
        return rest * (c * s if op is ew.mul else s / c)
    return rest * (c / s) if op is ew.mul else rest / (c * s)


# Common factors of sums -----------------------------------------------------------------------


#: A way to write a term as op(rest, factor), op multiplication or division.
_Factored: TypeAlias = tuple[Op, Expr, Expr]


def _terms(x: Expr) -> list[_Factored]:
    """The ways to take a factor out of a term."""
    if x.op is ew.mul:
        left, right = x.args
        pairs = ((left, right), (right, left))
        quotients = [(ew.div, a * q.args[0], q.args[1]) for a, q in pairs if q.op is ew.div]
        return [*((ew.mul, a, c) for a, c in pairs), *quotients]
    if x.op is ew.div:
        return [(ew.div, x.args[0], x.args[1])]
    if x.op is ew.WHERE and is_number(x.args[2], 0):
        return _selected(*x.args)
    return []


def _selected(condition: Expr, value: Expr, zero: Expr) -> list[_Factored]:
    """where(c, s, 0) is cast(c) * s and where(c, a / n, 0) is where(c, a, 0) / n, n a size."""
    if number(value) is not None and value.dtype.is_float:
        return [(ew.mul, cast(condition, value.dtype), value)]
    if value.op is ew.div and value.args[1].op.name == "size":
        return [(ew.div, where(condition, value.args[0], zero), value.args[1])]
    return []


def _same_factor(a: Expr, b: Expr) -> bool:
    value = number(a)
    return a is b or (value is not None and is_number(b, value))


@rule("add sub", REASSOCIATING, has="mul div")
def common_factor(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """a * c + b * c -> (a + b) * c, a / c + b / c -> (a + b) / c, so for differences."""
    if not x.dtype.is_float:
        return None
    right = _terms(y)
    for op, a, factor in _terms(x) if right else ():
        for other, b, same in right:
            if op is other and _same_factor(factor, same):
                return op(node.op(a, b), factor)
    return None


@rule("sub", REASSOCIATING, has="mul")
def self_minus_product(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """x - x * y -> x * (1 - y), x * y - x -> x * (y - 1)."""
    for a, product in ((x, y), (y, x)):
        if product.op is not ew.mul or a not in product.args or number(a) is not None:
            continue
        other = product.args[1] if product.args[0] is a else product.args[0]
        return a * (like(1, a) - other if a is x else other - like(1, a))
    return None


@rule("add", REASSOCIATING, has="mul")
def self_plus_scaled(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """x + c * x -> (1 + c) * x for a number c."""
    if y.op is not ew.mul or x not in y.args or not x.dtype.is_float:
        return None
    other = y.args[1] if y.args[0] is x else y.args[0]
    return x * (like(1, x) + other) if number(other) is not None else None
