"""Reductions and scans along axes.

All reductions carry ``axes`` (sorted, non-negative) and ``keepdims``. ``softmax`` and
``logsumexp`` are primitives because their stable forms have stable derivatives; the
``expand`` stage spells them out for the loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.expr import Attrs, Expr, ExprLike, apply, as_expr, refuse_bool, scalar_like
from graphc.ops import elementwise as ew
from graphc.ops.movement import broadcast_to, reshape
from graphc.ops.table import Infer, Op, explained
from graphc.types import (
    DType,
    Guard,
    Shape,
    TensorType,
    bool_,
    float64,
    int64,
    normalise_axes,
    normalise_axis,
    product,
    same_size,
)


def reduced_shape(shape: Shape, axes: Sequence[int], keepdims: bool) -> Shape:
    """Shape after reducing over ``axes``."""
    if keepdims:
        return tuple(1 if a in axes else s for a, s in enumerate(shape))
    return tuple(s for a, s in enumerate(shape) if a not in axes)


def restore(x: Expr, out: Expr, like: Expr) -> Expr:
    """A value of a reduction's result shape, spread over the reduced operand's shape."""
    axes = out.attrs["axes"]
    kept = reshape(x, reduced_shape(like.shape, axes, True))
    return broadcast_to(kept, like.shape)


def _type(result: DType | None) -> Infer:
    def infer(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
        shape = reduced_shape(types[0].shape, attrs["axes"], attrs["keepdims"])
        return TensorType(result or types[0].dtype, shape)

    return infer


def _nonempty(result: DType | None) -> Infer:
    plain = _type(result)

    def infer(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
        for axis in attrs["axes"]:
            if same_size(types[0].shape[axis], 0):
                raise ShapeError(f"axis {axis} is empty and there is no identity to start from")
        return plain(types, attrs)

    return infer


def _nonempty_guards(types: Sequence[TensorType], attrs: Attrs) -> list[Guard]:
    sizes = [types[0].shape[a] for a in attrs["axes"]]
    text = "a reduction without identity needs at least one element"
    return [Guard(s, 1, text) for s in sizes if not isinstance(s, int)]


def _evaluate(function: Any) -> Any:
    def evaluate(x: Any, axes: Any, keepdims: bool) -> Any:
        return function(x, axis=tuple(axes), keepdims=keepdims)

    return evaluate


def _evaluate_sum(x: Any, axes: Any, keepdims: bool) -> Any:
    return np.sum(x, axis=tuple(axes), keepdims=keepdims, dtype=x.dtype)


def _evaluate_prod(x: Any, axes: Any, keepdims: bool) -> Any:
    return np.prod(x, axis=tuple(axes), keepdims=keepdims, dtype=x.dtype)


def _same_reduction(tangents: Sequence[Expr | None], out: Expr, x: Expr) -> Expr:
    assert tangents[0] is not None
    return apply(out.op, (tangents[0],), out.attrs)


def _prod_vjp(ct: Expr, out: Expr, x: Expr) -> tuple[Expr]:
    """Product of the other factors, exact with zeros: exclusive products from both ends."""
    return (restore(ct, out, x) * _product_of_others(x, out.attrs["axes"]),)


def _product_of_others(x: Expr, axes: tuple[int, ...]) -> Expr:
    from graphc.ops.movement import flip, transpose

    rank = x.ndim
    order = [a for a in range(rank) if a not in axes] + list(axes)
    moved = transpose(x, order)
    kept = moved.shape[: rank - len(axes)]
    flat = reshape(moved, (*kept, product(moved.shape[rank - len(axes) :])))
    before = _exclusive_product(flat)
    after = flip(_exclusive_product(flip(flat, -1)), -1)
    back = [order.index(a) for a in range(rank)]
    return transpose(reshape(before * after, moved.shape), back)


def _exclusive_product(x: Expr) -> Expr:
    return apply(CUMPROD, (x,), {"axis": x.ndim - 1, "exclusive": True, "reverse": False})


def _prod_jvp(tangents: Sequence[Expr | None], out: Expr, x: Expr) -> Expr:
    assert tangents[0] is not None
    others = _product_of_others(x, out.attrs["axes"])
    return apply(SUM, (tangents[0] * others,), out.attrs)


def _extremum_share(out: Expr, x: Expr) -> Expr:
    """1/(number of ties) at the extreme elements, 0 elsewhere."""
    hit = ew.equal(x, restore(out, out, x))
    count = apply(SUM, (ew.cast(hit, x.dtype),), out.attrs)
    return ew.where(hit, 1 / restore(count, out, x), scalar_like(0, x))


def _extremum_vjp(ct: Expr, out: Expr, x: Expr) -> tuple[Expr]:
    hit = ew.equal(x, restore(out, out, x))
    count = apply(SUM, (ew.cast(hit, x.dtype),), out.attrs)
    return (ew.where(hit, restore(ct / count, out, x), scalar_like(0, x)),)


def _extremum_jvp(tangents: Sequence[Expr | None], out: Expr, x: Expr) -> Expr:
    assert tangents[0] is not None
    return apply(SUM, (tangents[0] * _extremum_share(out, x),), out.attrs)


def _no_gradient(ct: Expr, out: Expr, *args: Expr) -> tuple[None, ...]:
    return (None,) * len(args)


SUM = Op(
    "sum",
    "reduction",
    _type(None),
    _evaluate_sum,
    vjp=lambda ct, out, x: (restore(ct, out, x),),
    jvp=_same_reduction,
    facts=frozenset(["linear"]),
    roles=("operand",),
    domain=((-3.0, 3.0),),
)
PROD = Op(
    "prod",
    "reduction",
    _type(None),
    _evaluate_prod,
    vjp=_prod_vjp,
    jvp=_prod_jvp,
    roles=("operand",),
    domain=((-2.0, 2.0),),
)
MAX = Op(
    "max",
    "reduction",
    _nonempty(None),
    _evaluate(np.max),
    vjp=_extremum_vjp,
    jvp=_extremum_jvp,
    roles=("operand",),
    domain=((-3.0, 3.0),),
    guards=_nonempty_guards,
)
MIN = Op(
    "min",
    "reduction",
    _nonempty(None),
    _evaluate(np.min),
    vjp=_extremum_vjp,
    jvp=_extremum_jvp,
    roles=("operand",),
    domain=((-3.0, 3.0),),
    guards=_nonempty_guards,
)
ANY = Op(
    "any", "reduction", _type(bool_), _evaluate(np.any), vjp=_no_gradient, roles=("operand",)
)
ALL = Op(
    "all", "reduction", _type(bool_), _evaluate(np.all), vjp=_no_gradient, roles=("operand",)
)


def _evaluate_arg(function: Any) -> Any:
    def evaluate(x: Any, axes: Any, keepdims: bool) -> Any:
        return np.asarray(function(x, axis=axes[0], keepdims=keepdims))

    return evaluate


ARGMAX = Op(
    "argmax",
    "reduction",
    _nonempty(int64),
    _evaluate_arg(np.argmax),
    vjp=_no_gradient,
    roles=("operand",),
    domain=((-3.0, 3.0),),
    guards=_nonempty_guards,
)
ARGMIN = Op(
    "argmin",
    "reduction",
    _nonempty(int64),
    _evaluate_arg(np.argmin),
    vjp=_no_gradient,
    roles=("operand",),
    domain=((-3.0, 3.0),),
    guards=_nonempty_guards,
)


# Stable exponentials over axes --------------------------------------------------------------


def _float_type(types: Sequence[TensorType]) -> TensorType:
    if not types[0].dtype.is_float:
        raise DTypeError(f"not defined for {types[0].dtype}", hint="cast with .astype")
    return types[0]


def _lse_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    _float_type(types)
    return _type(None)(types, attrs)


def _evaluate_lse(x: Any, axes: Any, keepdims: bool) -> Any:
    axes = tuple(axes)
    if 0 in [x.shape[a] for a in axes]:
        empty = np.sum(x, axis=axes, keepdims=keepdims)
        return np.full_like(empty, -np.inf)
    with np.errstate(all="ignore"):
        top = np.max(x, axis=axes, keepdims=True)
        shift = np.where(np.isfinite(top), top, np.zeros_like(top))
        total = np.sum(np.exp(x - shift), axis=axes, keepdims=keepdims)
        return np.log(total) + (shift if keepdims else np.squeeze(shift, axes))


def _lse_vjp(ct: Expr, out: Expr, x: Expr) -> tuple[Expr]:
    return (restore(ct, out, x) * softmax(x, out.attrs["axes"]),)


def _lse_jvp(tangents: Sequence[Expr | None], out: Expr, x: Expr) -> Expr:
    assert tangents[0] is not None
    return apply(SUM, (tangents[0] * softmax(x, out.attrs["axes"]),), out.attrs)


LOGSUMEXP = Op(
    "logsumexp",
    "reduction",
    _lse_type,
    _evaluate_lse,
    vjp=_lse_vjp,
    jvp=_lse_jvp,
    roles=("operand",),
    domain=((-3.0, 3.0),),
    cost=14,
    doc="``log(sum(exp(x)))``, shifted by the maximum.",
)


def _evaluate_softmax(x: Any, axes: Any) -> Any:
    if x.size == 0:
        return x.copy()
    with np.errstate(all="ignore"):
        top = np.max(x, axis=tuple(axes), keepdims=True)
        e = np.exp(x - np.where(np.isfinite(top), top, np.zeros_like(top)))
        return e / np.sum(e, axis=tuple(axes), keepdims=True)


def _softmax_vjp(ct: Expr, out: Expr, x: Expr) -> tuple[Expr]:
    total = apply(SUM, (ct * out,), {"axes": out.attrs["axes"], "keepdims": True})
    return (out * (ct - total),)


SOFTMAX = Op(
    "softmax",
    "reduction",
    lambda types, attrs: _float_type(types),
    _evaluate_softmax,
    vjp=_softmax_vjp,
    jvp=lambda tangents, out, x: _softmax_vjp(tangents[0], out, x)[0],
    roles=("operand",),
    domain=((-3.0, 3.0),),
    cost=14,
    doc="``exp(x) / sum(exp(x))``, shifted by the maximum.",
)


def _evaluate_norm(x: Any, axes: Any, keepdims: bool) -> Any:
    axes = tuple(axes)
    if 0 in [x.shape[a] for a in axes]:
        return np.sum(x, axis=axes, keepdims=keepdims)
    wide = x.astype(np.float64)
    top = np.max(np.abs(wide), axis=axes, keepdims=True)
    scale = np.where((top == 0) | np.isinf(top), 1.0, top)
    root = np.sqrt(np.sum(np.square(wide / scale), axis=axes, keepdims=True)) * scale
    return (root if keepdims else np.squeeze(root, axes)).astype(x.dtype)


def _direction(out: Expr, x: Expr) -> Expr:
    """Unit vector of x, zero where the norm is zero (the smallest subgradient)."""
    length = restore(out, out, x)
    return ew.where(ew.equal(length, 0), scalar_like(0, x), x / length)


def _norm_jvp(tangents: Sequence[Expr | None], out: Expr, x: Expr) -> Expr:
    assert tangents[0] is not None
    return apply(SUM, (tangents[0] * _direction(out, x),), out.attrs)


NORM = Op(
    "norm",
    "reduction",
    _lse_type,
    _evaluate_norm,
    vjp=lambda ct, out, x: (restore(ct, out, x) * _direction(out, x),),
    jvp=_norm_jvp,
    roles=("operand",),
    domain=((0.5, 3.0),),
    cost=2,
    doc="Square root of the sum of squares, without overflow or underflow.",
)


# Scans --------------------------------------------------------------------------------------


def _evaluate_cumulative(ufunc: np.ufunc) -> Any:
    def evaluate(x: Any, axis: int, exclusive: bool, reverse: bool) -> Any:
        y = np.flip(x, axis) if reverse else x
        total = ufunc.accumulate(y, axis=axis, dtype=x.dtype)
        if exclusive and x.shape[axis]:
            first = np.full_like(np.take(total, [0], axis=axis), ufunc.identity)
            kept = np.take(total, range(x.shape[axis] - 1), axis=axis)
            total = np.concatenate([first, kept], axis=axis)
        return np.flip(total, axis) if reverse else total

    return evaluate


def _reversed(attrs: Attrs) -> dict[str, Any]:
    return {**attrs, "reverse": not attrs["reverse"]}


CUMSUM: Op = Op(
    "cumsum",
    "reduction",
    lambda types, attrs: types[0],
    _evaluate_cumulative(np.add),
    vjp=lambda ct, out, x: (apply(CUMSUM, (ct,), _reversed(out.attrs)),),
    jvp=_same_reduction,
    facts=frozenset(["linear"]),
    roles=("operand",),
    domain=((-3.0, 3.0),),
    doc="Running sums along an axis; ``exclusive`` leaves the element itself out.",
)


def _cumprod_vjp(ct: Expr, out: Expr, x: Expr) -> tuple[Expr]:
    """Quadratic in the axis, but exact with zeros: d out_j / d x_i is the product of the
    factors of out_j other than x_i."""
    axis, n = out.attrs["axis"], x.shape[out.attrs["axis"]]
    return (_cumprod_pull(ct, x, axis, n, out.attrs["exclusive"], out.attrs["reverse"]),)


def _cumprod_pull(ct: Expr, x: Expr, axis: int, n: Any, exclusive: bool, reverse: bool) -> Expr:
    return _masked_products(x, axis, n, exclusive, reverse, lambda w: w * _column(ct, axis), -1)


def _column(x: Expr, axis: int) -> Expr:
    """(..., j, ...) to (..., j, 1) with the scanned axis last but one."""
    from graphc.ops.movement import moveaxis

    moved = moveaxis(x, axis, -1)
    return reshape(moved, (*moved.shape, 1))


def _masked_products(
    x: Expr, axis: int, n: Any, exclusive: bool, reverse: bool, weigh: Any, over: int
) -> Expr:
    """Sum over j of weighted d out_j / d x_i, with the table (..., j, i) written out."""
    from graphc.ops.leaves import iota
    from graphc.ops.movement import moveaxis

    moved = moveaxis(x, axis, -1)
    cube = (*moved.shape[:-1], n, n, n)  # (j, i, k): is x_k a factor of d out_j / d x_i?
    rank = len(cube)
    j, i, k = (iota(cube, rank - 3 + a) for a in range(3))
    before = _precedes(k, j, exclusive, reverse)
    factor = ew.logical_and(before, ew.not_equal(k, i))
    spread = broadcast_to(reshape(moved, (*moved.shape[:-1], 1, 1, n)), cube)
    table = apply(
        PROD,
        (ew.where(factor, spread, scalar_like(1, x)),),
        {"axes": (rank - 1,), "keepdims": False},
    )
    square = cube[:-1]
    row, column = iota(square, rank - 3), iota(square, rank - 2)
    table = ew.where(_precedes(column, row, exclusive, reverse), table, scalar_like(0, x))
    axis_summed = rank - 3 if over == -1 else rank - 2
    total = apply(SUM, (weigh(table),), {"axes": (axis_summed,), "keepdims": False})
    return moveaxis(total, -1, axis)


def _precedes(k: Expr, j: Expr, exclusive: bool, reverse: bool) -> Expr:
    k, j = (j, k) if reverse else (k, j)
    return ew.less(k, j) if exclusive else ew.less_equal(k, j)


def _cumprod_jvp(tangents: Sequence[Expr | None], out: Expr, x: Expr) -> Expr:
    from graphc.ops.movement import moveaxis

    assert tangents[0] is not None
    axis, n = out.attrs["axis"], x.shape[out.attrs["axis"]]
    moved = moveaxis(tangents[0], axis, -1)
    row = reshape(moved, (*moved.shape[:-1], 1, n))
    exclusive, reverse = out.attrs["exclusive"], out.attrs["reverse"]
    return _masked_products(x, axis, n, exclusive, reverse, lambda w: w * row, -2)


CUMPROD = Op(
    "cumprod",
    "reduction",
    lambda types, attrs: types[0],
    _evaluate_cumulative(np.multiply),
    vjp=_cumprod_vjp,
    jvp=_cumprod_jvp,
    roles=("operand",),
    domain=((-2.0, 2.0),),
    doc="Running products along an axis; ``exclusive`` leaves the element itself out.",
)


# Public functions ---------------------------------------------------------------------------

Axis = int | Sequence[int] | None


def _reduce(op: Op, x: ExprLike, axis: Axis, keepdims: bool) -> Expr:
    node = as_expr(x)
    axes = normalise_axes(axis, node.ndim)
    if not axes and op.name in ("sum", "prod", "max", "min"):
        return node
    return apply(op, (node,), {"axes": axes, "keepdims": bool(keepdims)})


def _widened(x: ExprLike) -> Expr:
    """Operand of a sum or product: bools and integers accumulate in int64, as in NumPy."""
    refuse_bool("a sum or product", x)
    node = as_expr(x)
    return node if node.dtype.is_float else ew.cast(node, int64)


@explained
def sum(x: ExprLike, axis: Axis = None, keepdims: bool = False) -> Expr:
    """Sum over axes (all by default); integers and bools sum to int64."""
    return _reduce(SUM, _widened(x), axis, keepdims)


@explained
def prod(x: ExprLike, axis: Axis = None, keepdims: bool = False) -> Expr:
    """Product over axes; integers and bools multiply to int64."""
    return _reduce(PROD, _widened(x), axis, keepdims)


@explained
def max(x: ExprLike, axis: Axis = None, keepdims: bool = False) -> Expr:
    """Largest element; NaN if there is one. Ties share the gradient equally."""
    return _reduce(MAX, x, axis, keepdims)


@explained
def min(x: ExprLike, axis: Axis = None, keepdims: bool = False) -> Expr:
    """Smallest element; NaN if there is one. Ties share the gradient equally."""
    return _reduce(MIN, x, axis, keepdims)


@explained
def any(x: ExprLike, axis: Axis = None, keepdims: bool = False) -> Expr:
    """Whether any element is non-zero."""
    return _reduce(ANY, _as_bool(x), axis, keepdims)


@explained
def all(x: ExprLike, axis: Axis = None, keepdims: bool = False) -> Expr:
    """Whether all elements are non-zero."""
    return _reduce(ALL, _as_bool(x), axis, keepdims)


def _as_bool(x: ExprLike) -> Expr:
    node = as_expr(x)
    return node if node.dtype.is_bool else ew.not_equal(node, 0)


def _arg(op: Op, x: ExprLike, axis: int | None, keepdims: bool) -> Expr:
    node = as_expr(x)
    if axis is None:
        rank, node = node.ndim, reshape(node, (node.size,))
        found = apply(op, (node,), {"axes": (0,), "keepdims": False})
        return reshape(found, (1,) * rank) if keepdims else found
    return _reduce(op, node, normalise_axis(axis, node.ndim), keepdims)


@explained
def argmax(x: ExprLike, axis: int | None = None, keepdims: bool = False) -> Expr:
    """Position (int64) of the first largest element along an axis, or of the flat tensor."""
    return _arg(ARGMAX, x, axis, keepdims)


@explained
def argmin(x: ExprLike, axis: int | None = None, keepdims: bool = False) -> Expr:
    """Position (int64) of the first smallest element along an axis, or of the flat tensor."""
    return _arg(ARGMIN, x, axis, keepdims)


def as_float(x: ExprLike) -> Expr:
    """The operand, or its conversion to float64 if it is an integer or bool (NumPy's rule)."""
    refuse_bool("a mean or other statistic", x)
    node = as_expr(x)
    return node if node.dtype.is_float else ew.cast(node, float64)


@explained
def logsumexp(x: ExprLike, axis: Axis = None, keepdims: bool = False) -> Expr:
    """``log(sum(exp(x)))`` over axes, without overflow."""
    return _reduce(LOGSUMEXP, as_float(x), axis, keepdims)


@explained
def norm(x: ExprLike, axis: Axis = None, keepdims: bool = False) -> Expr:
    """Euclidean norm over axes, without overflow; its gradient at zero is zero."""
    return _reduce(NORM, as_float(x), axis, keepdims)


@explained
def softmax(x: ExprLike, axis: int | Sequence[int] = -1) -> Expr:
    """``exp(x) / sum(exp(x))`` along axes (the last by default), without overflow."""
    node = as_float(x)
    return apply(SOFTMAX, (node,), {"axes": normalise_axes(axis, node.ndim)})


def _scan(op: Op, x: Expr, axis: int | None, exclusive: bool, reverse: bool) -> Expr:
    node = reshape(x, (x.size,)) if axis is None else x
    attrs = {
        "axis": normalise_axis(axis or 0, node.ndim),
        "exclusive": exclusive,
        "reverse": reverse,
    }
    return apply(op, (node,), attrs)


@explained
def cumsum(
    x: ExprLike, axis: int | None = None, *, exclusive: bool = False, reverse: bool = False
) -> Expr:
    """Running sums along an axis (of the flat tensor by default), as `numpy.cumsum`."""
    return _scan(CUMSUM, _widened(x), axis, exclusive, reverse)


@explained
def cumprod(
    x: ExprLike, axis: int | None = None, *, exclusive: bool = False, reverse: bool = False
) -> Expr:
    """Running products along an axis (of the flat tensor by default), as `numpy.cumprod`."""
    return _scan(CUMPROD, _widened(x), axis, exclusive, reverse)
