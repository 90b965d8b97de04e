"""The last stage of a graph: what loops do not know is spelled out.

Afterwards a graph has elementwise operations, casts, selects, leaves, plain reductions and
scans, movements, gather and scatter_add, and contractions that sum over a letter and keep one.
"""

from __future__ import annotations

from graphc.expr import Expr, apply
from graphc.ops import elementwise as ew
from graphc.ops.contraction import parse
from graphc.ops.elementwise import cast, where
from graphc.ops.movement import broadcast_to, reshape
from graphc.ops.reduction import MAX, SUM
from graphc.ops.table import Op
from graphc.rewrite.contraction import placed
from graphc.rewrite.engine import EXACT, REASSOCIATING, rule
from graphc.rewrite.match import like
from graphc.types import float64, same_size


def _over(op: Op, x: Expr, axes: tuple[int, ...], keepdims: bool = True) -> Expr:
    return apply(op, (x,), {"axes": axes, "keepdims": keepdims})


def _is_empty(x: Expr, axes: tuple[int, ...]) -> bool:
    return any(same_size(x.shape[a], 0) for a in axes)


def _shift(x: Expr, axes: tuple[int, ...]) -> Expr:
    """The maximum along axes where it is finite, 0 where it is not (inf - inf is NaN)."""
    top = _over(MAX, x, axes)
    return where(ew.isfinite(top), top, like(0, x))


def _dropped(x: Expr, node: Expr) -> Expr:
    """A value with reduced axes of size 1 in the node's shape."""
    return reshape(x, node.shape)


@rule("softmax", REASSOCIATING, stage="expand")
def softmax_by_reciprocal(node: Expr, x: Expr) -> Expr:
    """softmax(x) -> e * (1 / sum(e)), e = exp(x - max(x)): one division for each sum."""
    axes = node.attrs["axes"]
    if _is_empty(x, axes):
        return x
    e = ew.exp(x - _shift(x, axes))
    return e * ew.reciprocal(_over(SUM, e, axes))


@rule("softmax", EXACT, stage="expand")
def softmax_by_division(node: Expr, x: Expr) -> Expr:
    """softmax(x) -> e / sum(e), e = exp(x - max(x))."""
    axes = node.attrs["axes"]
    if _is_empty(x, axes):
        return x
    e = ew.exp(x - _shift(x, axes))
    return e / _over(SUM, e, axes)


@rule("logsumexp", EXACT, stage="expand")
def logsumexp_shifted(node: Expr, x: Expr) -> Expr:
    """logsumexp(x) -> log(sum(exp(x - m))) + m, m = max(x) where that is finite."""
    axes = node.attrs["axes"]
    if _is_empty(x, axes):
        return broadcast_to(like(float("-inf"), x), node.shape)
    shift = _shift(x, axes)
    total = _over(SUM, ew.exp(x - shift), axes)
    return _dropped(ew.log(total) + shift, node)


@rule("norm", EXACT, stage="expand")
def norm_in_double(node: Expr, x: Expr) -> Expr | None:
    """norm(x) -> sqrt(sum(x^2)) in float64, where squares of float32 cannot overflow."""
    if x.dtype == float64:
        return None
    total = _over(SUM, ew.square(cast(x, float64)), node.attrs["axes"], node.attrs["keepdims"])
    return cast(ew.sqrt(total), x.dtype)


@rule("norm", EXACT, stage="expand")
def norm_scaled(node: Expr, x: Expr) -> Expr:
    """norm(x) -> m * sqrt(sum((x/m)^2)), m = max(abs(x)) unless 0 or inf: no overflow."""
    axes = node.attrs["axes"]
    if _is_empty(x, axes):
        return _over(SUM, x, axes, node.attrs["keepdims"])
    top = _over(MAX, ew.abs(x), axes)
    plain = ew.logical_or(ew.equal(top, like(0, x)), ew.isinf(top))
    scale = where(plain, like(1, x), top)
    root = ew.sqrt(_over(SUM, ew.square(x / scale), axes))
    return _dropped(root * scale, node)


@rule("contract", EXACT, stage="expand")
def contract_to_mul(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """A contraction that sums nothing -> an elementwise product."""
    left, right, out = parse(node.attrs["subscripts"])
    if set(left + right) - set(out):
        return None
    return placed(left, x, out) * placed(right, y, out)


@rule("contract", EXACT, stage="expand")
def contract_to_sum(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """A contraction without free axes (dot products) -> sum(x * y)."""
    left, right, out = parse(node.attrs["subscripts"])
    if set(left) != set(right):
        return None
    order = out + "".join(c for c in left if c not in out)
    summed = tuple(range(len(out), len(order)))
    return _over(SUM, placed(left, x, order) * placed(right, y, order), summed, False)


@rule("stop_gradient custom_gradient", EXACT, stage="fold")
def value_of_derivative_mark(node: Expr, value: Expr, *operands: Expr) -> Expr:
    """stop_gradient(x), custom_gradient(x, ...) -> x: marks are for differentiation."""
    return value


@rule("stop_gradient custom_gradient", EXACT, stage="expand")
def value_of_derivative_mark_left(node: Expr, value: Expr, *operands: Expr) -> Expr:
    """stop_gradient(x), custom_gradient(x, ...) -> x where "fold" is left out."""
    return value
