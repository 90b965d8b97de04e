"""Averages and spreads, written with the operations."""

from __future__ import annotations

from graphc.expr import Expr, ExprLike
from graphc.ops import elementwise as ew
from graphc.ops import reduction
from graphc.ops.indexing import size_value
from graphc.ops.reduction import Axis, as_float
from graphc.ops.table import explained
from graphc.origin import scoped
from graphc.types import Size, normalise_axes, product


def count(x: Expr, axis: Axis) -> Expr:
    """Number of elements that a reduction over ``axis`` combines, in the type of ``x``."""
    size: Size = product(x.shape[a] for a in normalise_axes(axis, x.ndim))
    return size_value(size, x)


@scoped
@explained
def mean(x: ExprLike, axis: Axis = None, keepdims: bool = False) -> Expr:
    """Arithmetic mean over axes; integers and bools give float64."""
    node = as_float(x)
    return reduction.sum(node, axis, keepdims) / count(node, axis)


@scoped
@explained
def var(x: ExprLike, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Expr:
    """Mean squared deviation from the mean, in two passes (no cancellation).

    ``ddof`` is subtracted from the number of elements: 1 for the unbiased estimate.
    """
    node = as_float(x)
    deviation = node - mean(node, axis, keepdims=True)
    total = reduction.sum(ew.square(deviation), axis, keepdims)
    return total / (count(node, axis) - ddof if ddof else count(node, axis))


@scoped
@explained
def std(x: ExprLike, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Expr:
    """Standard deviation, the root of `var`. Its gradient at zero spread is zero."""
    node = as_float(x)
    deviation = node - mean(node, axis, keepdims=True)
    return reduction.norm(deviation, axis, keepdims) / ew.sqrt(count(node, axis) - ddof)
