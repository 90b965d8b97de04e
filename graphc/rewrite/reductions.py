"""Reductions: of what is repeated, of axes of size 1, of reductions, of movements."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.expr import Expr, apply
from graphc.ops import elementwise as ew
from graphc.ops.indexing import size_value
from graphc.ops.movement import broadcast_to, reshape, transpose
from graphc.ops.reduction import MAX, MIN, reduced_shape
from graphc.ops.reduction import sum as sum_over
from graphc.rewrite.engine import EXACT, REASSOCIATING, SIGN_OF_ZERO, rule
from graphc.rewrite.match import (
    aligned,
    constant_along,
    is_number,
    is_one,
    is_op,
    is_scalar,
    like,
    may_leave,
    number,
    same_shape,
)
from graphc.types import product

# Axes of size 1 -------------------------------------------------------------------------------


def _drop_ones(node: Expr, x: Expr) -> Expr | None:
    """The reduction without its axes of size 1."""
    axes = node.attrs["axes"]
    real = tuple(a for a in axes if not is_one(x.shape[a]))
    if real == axes:
        return None
    if real:
        x = apply(node.op, (x,), {"axes": real, "keepdims": True})
    return reshape(x, node.shape)


@rule("prod max min any all", EXACT)
def reduce_ones(node: Expr, x: Expr) -> Expr | None:
    """Reducing axes of size 1 -> reshape."""
    return _drop_ones(node, x)


@rule("sum", SIGN_OF_ZERO)
def sum_ones(node: Expr, x: Expr) -> Expr | None:
    """Summing axes of size 1 -> reshape; a sum of -0 alone would be 0."""
    return _drop_ones(node, x)


@rule("softmax", SIGN_OF_ZERO)
def softmax_without_axes(node: Expr, x: Expr) -> Expr | None:
    """softmax over axes of size 1 only leaves the others out."""
    axes = tuple(a for a in node.attrs["axes"] if not is_one(x.shape[a]))
    if not axes or axes == node.attrs["axes"]:
        return None
    return apply(node.op, (x,), {"axes": axes})


# Reductions and movements ---------------------------------------------------------------------


@rule("reshape", EXACT, of="sum prod max min any all logsumexp norm argmax argmin")
def reshape_of_reduction(node: Expr, x: Expr) -> Expr | None:
    """reshape(reduce(x)) that adds or drops reduced axes -> the reduction does so itself."""
    keep = not x.attrs["keepdims"]
    if keep and _is_leading(x.attrs["axes"]):
        return None
    shape = reduced_shape(x.args[0].shape, x.attrs["axes"], keep)
    if not same_shape(shape, node.shape):
        return None
    return apply(x.op, x.args, {"axes": x.attrs["axes"], "keepdims": keep})


def _is_leading(axes: Sequence[int]) -> bool:
    return axes == tuple(range(len(axes)))


@rule("sum prod max min any all logsumexp norm argmax argmin", EXACT)
def kept_leading_axes(node: Expr, x: Expr) -> Expr | None:
    """reduce(x) that keeps leading axes with size 1 -> reshape(reduce(x)): broadcasting adds
    them, and one reduction serves both shapes."""
    if not node.attrs["keepdims"] or not _is_leading(node.attrs["axes"]):
        return None
    reduced = apply(node.op, (x,), {"axes": node.attrs["axes"], "keepdims": False})
    return reshape(reduced, node.shape)


@rule("sum prod", REASSOCIATING, of="transpose")
def reduce_transpose(node: Expr, x: Expr) -> Expr:
    """sum(transpose(x)) -> sum(x) along the axes they were, transposed if several are left."""
    return _reduced_before(node, x)


@rule("max min any all", SIGN_OF_ZERO, of="transpose")
def extremum_of_transpose(node: Expr, x: Expr) -> Expr:
    """max(transpose(x)) -> max(x) along the axes they were, transposed if several are left."""
    return _reduced_before(node, x)


def _reduced_before(node: Expr, x: Expr) -> Expr:
    order = x.attrs["axes"]
    axes = tuple(sorted(order[a] for a in node.attrs["axes"]))
    reduced = apply(node.op, x.args, {"axes": axes, "keepdims": True})
    return reshape(transpose(reduced, order), node.shape)


@rule("sum prod", REASSOCIATING, of="reshape")
def reduce_all_of_reshape(node: Expr, x: Expr) -> Expr | None:
    """sum(reshape(x)) over all axes -> sum(x) over all axes."""
    if len(node.attrs["axes"]) != x.ndim:
        return None
    inner = x.args[0]
    axes = tuple(range(inner.ndim))
    return reshape(apply(node.op, (inner,), {"axes": axes, "keepdims": False}), node.shape)


@rule("sum prod", REASSOCIATING, of="sum prod")
def reduction_of_reduction(node: Expr, x: Expr) -> Expr | None:
    """sum(sum(x)) -> one sum over the axes of both."""
    return _merged(node, x)


@rule("max min any all", SIGN_OF_ZERO, of="max min any all")
def extremum_of_extremum(node: Expr, x: Expr) -> Expr | None:
    """max(max(x)) -> one maximum over the axes of both."""
    return _merged(node, x)


def _merged(node: Expr, x: Expr) -> Expr | None:
    if node.op is not x.op:
        return None
    inner = x.args[0]
    left = list(range(inner.ndim))
    if not x.attrs["keepdims"]:
        left = [a for a in left if a not in x.attrs["axes"]]
    axes = sorted({left[a] for a in node.attrs["axes"]} | set(x.attrs["axes"]))
    merged = apply(node.op, (inner,), {"axes": tuple(axes), "keepdims": False})
    return reshape(merged, node.shape)


# Reductions of repeated elements --------------------------------------------------------------


def _repeated(x: Expr, axes: Sequence[int]) -> tuple[Expr, list[int], list[int]]:
    """What is broadcast (all axes present), the reduced axes it repeats, and the others."""
    inner = reshape(x.args[0], aligned(x.args[0].shape, x.ndim))
    along = [a for a in axes if is_one(inner.shape[a]) and not is_one(x.shape[a])]
    return inner, along, [a for a in axes if a not in along]


@rule("sum", REASSOCIATING, of="broadcast_to")
def sum_of_broadcast(node: Expr, x: Expr) -> Expr | None:
    """sum(broadcast_to(x)) over repeated axes -> x * n, n their size."""
    inner, along, others = _repeated(x, node.attrs["axes"])
    if not along:
        return None
    reduced = sum_over(inner, others, keepdims=True) if others else inner
    count = size_value(product(x.shape[a] for a in along), x)
    shape = reduced_shape(x.shape, node.attrs["axes"], True)
    return reshape(broadcast_to(reduced * count, shape), node.shape)


@rule("max min any all", EXACT, of="broadcast_to")
def extremum_of_broadcast(node: Expr, x: Expr) -> Expr | None:
    """max(broadcast_to(x)) over repeated axes -> x, where their size is a number but 0."""
    inner, along, others = _repeated(x, node.attrs["axes"])
    if not along or any(not isinstance(x.shape[a], int) or x.shape[a] == 0 for a in along):
        return None
    if others:
        inner = apply(node.op, (inner,), {"axes": tuple(others), "keepdims": True})
    shape = reduced_shape(x.shape, node.attrs["axes"], True)
    return reshape(broadcast_to(inner, shape), node.shape)


@rule("sum", REASSOCIATING, of="mul")
def sum_of_scaled(node: Expr, x: Expr) -> Expr | None:
    """sum(x * c) -> sum(x) * c, where c is the same along the summed axes, and not made of
    sizes where these may be empty."""
    left, right = x.args
    for c, other in ((left, right), (right, left)):
        if _leaves(c, node, x):
            return _outside(node, x, other) * _kept(node, x, c)
    return None


@rule("sum", REASSOCIATING, of="div")
def sum_of_quotient(node: Expr, x: Expr) -> Expr | None:
    """sum(x / c) -> sum(x) / c, where c is the same along the summed axes, and not made of
    sizes where these may be empty."""
    top, bottom = x.args
    if not _leaves(bottom, node, x):
        return None
    return _outside(node, x, top) / _kept(node, x, bottom)


def _leaves(c: Expr, node: Expr, x: Expr) -> bool:
    """Whether a factor or divisor of x may scale the reduction instead."""
    axes = node.attrs["axes"]
    return constant_along(c, axes, x.ndim) and may_leave(c, axes, x.shape)


@rule("sum", REASSOCIATING, of="mul", stage="expand")
def sum_of_scaled_factor(node: Expr, x: Expr) -> Expr | None:
    """sum((x * c) * y) -> sum(x * y) * c, where c is 1 / sqrt(v + k), k a positive number, and
    the same along the summed axes. Other factors may be what keeps x * y in range."""
    for scaled, other in (x.args, x.args[::-1]):
        if scaled.op is not ew.mul:
            continue
        for factor, c in (scaled.args, scaled.args[::-1]):
            if _is_normalisation(c) and _leaves(c, node, x):
                return _outside(node, x, factor * other) * _kept(node, x, c)
    return None


def _is_normalisation(c: Expr) -> bool:
    """Whether c is 1 / sqrt(v + k): by which a row is divided that has the variance v."""
    if not (is_op(c, "div") and is_number(c.args[0], 1) and is_op(c.args[1], "sqrt")):
        return False
    (square,) = c.args[1].args
    return is_op(square, "add") and any((number(k) or 0) > 0 for k in square.args)


def _outside(node: Expr, x: Expr, factor: Expr) -> Expr:
    """The reduction of one factor of x."""
    return apply(node.op, (broadcast_to(factor, x.shape),), node.attrs)


def _kept(node: Expr, x: Expr, c: Expr) -> Expr:
    """A value that is the same along the reduced axes, in a shape that fits the result's."""
    if is_scalar(c):
        return c
    shape = aligned(c.shape, x.ndim)
    return reshape(c, reduced_shape(shape, node.attrs["axes"], node.attrs["keepdims"]))


@rule("sum", SIGN_OF_ZERO, of="neg")
def sum_of_neg(node: Expr, x: Expr) -> Expr:
    """sum(-x) -> -sum(x)."""
    return -apply(node.op, x.args, node.attrs)


@rule("max min", SIGN_OF_ZERO, of="neg")
def extremum_of_neg(node: Expr, x: Expr) -> Expr:
    """max(-x) -> -min(x), min(-x) -> -max(x)."""
    other = MIN if node.op is MAX else MAX
    return -apply(other, x.args, node.attrs)


# Sums that select one element -----------------------------------------------------------------


def ramp_positions(hit: Expr, axis: int) -> Expr | None:
    """k of a comparison ``iota == k`` along an axis, k the same along it; None for others."""
    if hit.op is not ew.equal:
        return None
    for ramp, k in (hit.args, hit.args[::-1]):
        if ramp.op.name != "iota" or not same_shape(ramp.shape, hit.shape):
            continue
        if ramp.attrs["axis"] == axis and constant_along(k, [axis], hit.ndim):
            return k
    return None


def _is_position(k: Expr) -> bool:
    """Whether k was read off a ramp by a gather, which makes sure that it lies inside."""
    while k.op.name in ("reshape", "broadcast_to"):
        k = k.args[0]
    return k.op.name == "gather" and k.args[0].op.name == "iota"


@rule("sum", REASSOCIATING, of="where cast")
def sum_of_one_hot(node: Expr, x: Expr) -> Expr | None:
    """sum(where(iota == k, a, 0)) -> a where 0 <= k < n, else 0; a itself for a gather's
    positions, which lie inside the axis wherever the gather has a value."""
    axes = node.attrs["axes"]
    hit = x.args[0]
    if len(axes) != 1 or hit.ndim != x.ndim:
        return None
    k = ramp_positions(hit, axes[0])
    if k is None:
        return None
    value = _chosen(x, axes)
    if value is None:
        return None
    n = size_value(x.shape[axes[0]], k)
    value = broadcast_to(value, reduced_shape(x.shape, axes, True))
    if not _is_position(k):
        k = reshape(k, aligned(k.shape, x.ndim))
        inside = ew.logical_and(ew.greater_equal(k, like(0, k)), ew.less(k, n))
        value = ew.where(inside, value, like(0, x))
    return reshape(value, node.shape)


def _chosen(x: Expr, axes: Sequence[int]) -> Expr | None:
    """The value that a one-hot select has at its position, None if it is no such select."""
    if x.op is ew.CAST:
        return like(1, x)
    _, value, zero = x.args
    same = constant_along(value, axes, x.ndim)
    return value if same and (is_number(zero, 0) or is_number(zero, -0.0)) else None
