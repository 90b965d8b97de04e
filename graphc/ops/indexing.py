"""Reading and adding at positions that are values: gather, scatter_add, and ``x[...]``."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.expr import Attrs, Expr, ExprLike, apply, as_expr, constant, scalar_like
from graphc.ops import elementwise as ew
from graphc.ops.leaves import iota
from graphc.ops.movement import (
    Range,
    broadcast_to,
    expand_dims,
    reshape,
    take_ranges,
    transpose,
)
from graphc.ops.table import Op, explained
from graphc.types import (
    Dim,
    DTypeLike,
    Guard,
    Size,
    TensorType,
    as_size,
    broadcast_shapes,
    float32,
    int64,
    normalise_axis,
    product,
    same_size,
)


def _check_index(index: TensorType) -> None:
    if not index.dtype.is_integer:
        raise DTypeError(f"an index is {index.dtype}, not an integer", hint="cast with .astype")


def _gather_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    x, index = types
    _check_index(index)
    axis = attrs["axis"]
    for a, (s, t) in enumerate(zip(x.shape, index.shape, strict=True)):
        if a != axis and not same_size(s, t):
            raise ShapeError(f"sizes {s} and {t} of operand and index differ on axis {a}")
    return TensorType(x.dtype, index.shape)


def _evaluate_gather(x: Any, index: Any, axis: int, wrap: bool = True) -> Any:
    if not wrap and (index < 0).any():
        raise IndexError("index out of range in take_along_axis")
    return np.take_along_axis(x, index, axis)


def _gather_vjp(ct: Expr, out: Expr, x: Expr, index: Expr) -> tuple[Expr, None]:
    axis = out.attrs["axis"]
    if same_size(index.shape[axis], 1):
        index = _checked(_wide(index), x.shape[axis], out.attrs)
        chosen = ew.equal(iota(x.shape, axis, index.dtype), index)
        return ew.where(chosen, broadcast_to(ct, x.shape), scalar_like(0, ct)), None
    return scatter_add(ct, index, axis, x.shape[axis]), None


def _checked(index: Expr, size: Size, attrs: Attrs) -> Expr:
    """Positions counted from the start, each one's check kept: they are read off a ramp."""
    axis = attrs["axis"]
    shape = tuple(size if a == axis else s for a, s in enumerate(index.shape))
    return apply(GATHER, (iota(shape, axis, index.dtype), index), attrs)


def _wide(index: Expr) -> Expr:
    """An index whose type can hold every position of an axis."""
    return ew.cast(index, int64) if index.dtype.itemsize == 1 else index


def _wrapped(index: Expr, size: Size) -> Expr:
    """Positions counted from the start: negative ones count from the end."""
    return ew.where(ew.less(index, 0), index + size_value(size, index), index)


def size_value(size: Size, like: Expr) -> Expr:
    """A size as a value of rank 0 in an index's element type."""
    if isinstance(size, int):
        return scalar_like(size, like)
    return constant(size, like.dtype)


def _size_guards(types: Sequence[TensorType], attrs: Attrs) -> list[Guard]:
    """The element type must hold the size; every size is an int64."""
    if not attrs["dtype"].is_integer or attrs["dtype"] == int64:
        return []
    largest = int(np.iinfo(attrs["dtype"].numpy).max)
    return [Guard(largest - attrs["size"], 0, f"a size must fit into {attrs['dtype']}")]


SIZE = Op(
    "size",
    "leaf",
    lambda types, attrs: TensorType(attrs["dtype"], ()),
    lambda size, dtype: np.asarray(size, dtype.numpy),
    guards=_size_guards,
    doc="A symbolic size as a number.",
)

GATHER: Op = Op(
    "gather",
    "indexing",
    _gather_type,
    _evaluate_gather,
    vjp=_gather_vjp,
    jvp=lambda tangents, out, x, index: apply(GATHER, (tangents[0], index), out.attrs),
    roles=("operand", "index"),
    domain=((-3.0, 3.0), (-3, 3)),
    cost=1,
    doc="``out[..., i, ...] = x[..., index[..., i, ...], ...]`` along an axis.",
)


def _scatter_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    updates, index = types
    _check_index(index)
    if updates.shape != index.shape:
        raise ShapeError(f"shapes {updates.shape} and {index.shape} of values and index differ")
    axis = attrs["axis"]
    shape = tuple(attrs["size"] if a == axis else s for a, s in enumerate(updates.shape))
    return TensorType(updates.dtype, shape)


def _evaluate_scatter(updates: Any, index: Any, axis: int, size: Any) -> Any:
    shape = list(updates.shape)
    shape[axis] = size
    out = np.zeros(shape, updates.dtype)
    if ((index < -size) | (index >= size)).any():
        raise IndexError("index out of range in scatter_add")
    where = list(np.indices(index.shape, sparse=True))
    where[axis] = index
    np.add.at(out, tuple(where), updates)
    return out


SCATTER_ADD: Op = Op(
    "scatter_add",
    "indexing",
    _scatter_type,
    _evaluate_scatter,
    vjp=lambda ct, out, updates, index: (
        apply(GATHER, (ct, index), {"axis": out.attrs["axis"]}),
        None,
    ),
    jvp=lambda tangents, out, updates, index: apply(
        SCATTER_ADD, (tangents[0], index), out.attrs
    ),
    roles=("values", "index"),
    domain=((-3.0, 3.0), (-3, 3)),
    cost=1,
    doc="Zeros, then ``out[..., index[..., i, ...], ...] += values[..., i, ...]``.",
)


@explained
def scatter_add(values: ExprLike, index: ExprLike, axis: int, size: int | str | Dim) -> Expr:
    """Add values into zeros at positions along an axis: the transpose of `take_along_axis`.

    Parameters
    ----------
    values, index
        One shape (they are broadcast together); positions outside ``[-size, size)`` raise
        `InputError` when the function runs.
    axis, size
        The axis that ``index`` points into, and its size in the result.
    """
    v, i = as_expr(values), as_expr(index)
    shape = broadcast_shapes(v.shape, i.shape)
    attrs = {"axis": normalise_axis(axis, len(shape)), "size": as_size(size)}
    return apply(SCATTER_ADD, (broadcast_to(v, shape), broadcast_to(i, shape)), attrs)


@explained
def take_along_axis(x: ExprLike, index: ExprLike, axis: int = -1, *, wrap: bool = True) -> Expr:
    """Elements at positions along an axis, as `numpy.take_along_axis`; other axes broadcast.

    Negative positions count from the end, or with ``wrap=False`` are outside the axis. A
    position outside the axis raises `InputError` when the function runs.
    """
    node, i = as_expr(x), as_expr(index)
    if node.ndim != i.ndim:
        raise ShapeError(f"ranks {node.ndim} and {i.ndim} differ")
    place = normalise_axis(axis, node.ndim)
    rest = [
        broadcast_shapes((s,), (t,))[0] if a != place else 1
        for a, (s, t) in enumerate(zip(node.shape, i.shape, strict=True))
    ]
    spread = [
        broadcast_to(e, tuple(e.shape[a] if a == place else s for a, s in enumerate(rest)))
        for e in (node, i)
    ]
    return apply(GATHER, spread, {"axis": place} if wrap else {"axis": place, "wrap": False})


@explained
def take(x: ExprLike, index: ExprLike, axis: int | None = None) -> Expr:
    """Whole slices at positions along an axis (None: of the flat tensor), as `numpy.take`."""
    node, i = as_expr(x), as_expr(index)
    if axis is None:
        node, axis = reshape(node, (node.size,)), 0
    place = normalise_axis(axis, node.ndim)
    flat = reshape(i, (i.size,))
    spread = reshape(flat, tuple(i.size if a == place else 1 for a in range(node.ndim)))
    picked = take_along_axis(node, spread, place)
    return reshape(picked, (*node.shape[:place], *i.shape, *node.shape[place + 1 :]))


@explained
def one_hot(labels: ExprLike, size: int | str | Dim, dtype: DTypeLike = float32) -> Expr:
    """1 at the label's position of a new last axis, 0 elsewhere (all 0 for other labels)."""
    _check_index(as_expr(labels).type)
    node, n = _wide(as_expr(labels)), as_size(size)
    ramp = iota((*node.shape, n), node.ndim, node.dtype)
    return ew.cast(ew.equal(ramp, expand_dims(node, -1)), dtype)


@explained
def arange(
    start: int | float | str | Dim,
    stop: int | float | str | Dim | None = None,
    step: int | float = 1,
    dtype: DTypeLike | None = None,
) -> Expr:
    """Evenly spaced values, as `numpy.arange`; sizes may be symbolic where the step is 1."""
    if stop is None:
        start, stop = 0, start
    if step == 0:
        raise ShapeError("the step is 0", hint="a step above or below zero")
    if isinstance(start, (int, float)) and isinstance(stop, (int, float)):
        return _number_ramp(start, stop, step, dtype)
    if step != 1 or isinstance(start, float) or isinstance(stop, float):
        raise ShapeError("with symbolic sizes the step is 1 and the ends are sizes")
    low, high = as_size(start), as_size(stop)
    ramp = iota((high - low,), 0, dtype or int64)
    return ramp if same_size(low, 0) else ramp + size_value(low, ramp)


def _number_ramp(start: float, stop: float, step: float, dtype: DTypeLike | None) -> Expr:
    array = np.arange(start, stop, step)
    if array.dtype.kind == "f":
        return constant(array, dtype)
    ramp = iota((len(array),), 0, dtype or int64)
    return ramp if (start, step) == (0, 1) else ramp * step + start


# x[key] -------------------------------------------------------------------------------------


@explained
def getitem(x: Expr, key: Any) -> Expr:
    """``x[key]`` with ints, slices, None, Ellipsis and integer arrays, as in NumPy."""
    items = _expand_key(x, key if isinstance(key, tuple) else (key,))
    ranges: list[Range] = []
    arrays: list[tuple[int, Expr]] = []  # axis of the sliced tensor, index
    shape: list[Size | None] = []  # of the result; None: an axis dropped by an int
    axis = 0
    for item in items:
        if item is None:
            shape.append(1)
            continue
        size = x.shape[axis]
        if isinstance(item, slice):
            ranges.append(_range(item, size))
            shape.append(ranges[-1][1])
        elif _is_array(item):
            ranges.append((0, size, 1))
            arrays.append((len(shape), as_expr(item)))
            shape.append(size)
        else:
            ranges.append((_position(item, size), 1, 1))
        axis += 1
    sliced = reshape(take_ranges(x, ranges), [s for s in shape if s is not None])
    return _take_arrays(sliced, arrays, _separated(items)) if arrays else sliced


def _separated(items: Sequence[Any]) -> bool:
    """Whether arrays and ints are apart in the key; NumPy then puts their axes first."""
    places = [
        i for i, item in enumerate(items) if item is not None and not isinstance(item, slice)
    ]
    return places[-1] - places[0] >= len(places)


def _is_array(item: Any) -> bool:
    if isinstance(item, Expr):
        return True
    return isinstance(item, (list, np.ndarray)) and np.ndim(item) > 0


def _is_mask(item: Any) -> bool:
    if isinstance(item, Expr):
        return item.dtype.is_bool
    is_array = isinstance(item, (list, np.ndarray))
    return isinstance(item, bool) or (is_array and np.asarray(item).dtype == np.bool_)


def _expand_key(x: Expr, key: tuple[Any, ...]) -> list[Any]:
    """The key with Ellipsis written out, one item for each axis (and None for new ones)."""
    for item in key:
        if _is_mask(item):
            raise ShapeError(
                "the result of a boolean mask has no shape known in advance",
                hint="use gr.where(mask, x, fill)",
            )
    dots = [i for i, item in enumerate(key) if item is Ellipsis]
    used = sum(item is not None and item is not Ellipsis for item in key)
    if len(dots) > 1 or used > x.ndim:
        raise ShapeError(f"{used} indices for a tensor of rank {x.ndim}")
    fill = [slice(None)] * (x.ndim - used)
    place = dots[0] if dots else len(key)
    return [*key[:place], *fill, *key[place + 1 :]]


def _position(item: Any, size: Size) -> Size:
    try:
        position = int(item.__index__())
    except AttributeError:
        raise ShapeError(f"{item!r} is not an index") from None
    if isinstance(size, int) and not -size <= position < size:
        raise ShapeError(f"index {position} is out of range for an axis of size {size}")
    return position if position >= 0 else size + position


def _range(item: slice, size: Size) -> Range:
    if (
        isinstance(size, int)
        and not isinstance(item.start, Dim)
        and not isinstance(item.stop, Dim)
    ):
        positions = range(*item.indices(size))
        return positions.start if len(positions) else 0, len(positions), positions.step
    step = 1 if item.step is None else operator.index(item.step)
    if step == 0:
        raise ShapeError("a slice step cannot be zero")
    if step > 0:
        start = _end(item.start, size, 0)
        length = (_end(item.stop, size, size) - start + (step - 1)) // step
    else:
        start = _end(item.start, size, size - 1)
        length = (start - _end(item.stop, size, -1) + (-step - 1)) // -step
    return (0, 0, step) if isinstance(length, int) and length < 0 else (start, length, step)


def _end(value: Any, size: Size, default: Size) -> Size:
    if value is None:
        return default
    if isinstance(value, Dim):
        return value
    position = operator.index(value)
    return position if position >= 0 else size + position


def _take_arrays(x: Expr, arrays: list[tuple[int, Expr]], first: bool) -> Expr:
    """Integer arrays on one or several axes, broadcast together (NumPy's advanced indexing)."""
    for _, index in arrays:
        _check_index(index.type)
    axes = [a for a, _ in arrays]
    rest = [a for a in range(x.ndim) if a not in axes]
    place = 0 if first else axes[0]
    moved = transpose(x, [*rest[:place], *axes, *rest[place:]])
    if len(arrays) == 1:
        return take(moved, arrays[0][1], place)
    sizes = [x.shape[a] for a in axes]
    flat = reshape(
        moved, (*moved.shape[:place], product(sizes), *moved.shape[place + len(axes) :])
    )
    return take(flat, _linear([i for _, i in arrays], sizes), place)


def _linear(indices: Sequence[Expr], sizes: Sequence[Size]) -> Expr:
    """Row-major position; one outside its axis gives a position outside the whole."""
    position = ew.cast(scalar_like(0, indices[0]), int64)
    valid: Expr | None = None
    for raw, size in zip(indices, sizes, strict=True):
        n = size_value(size, position)
        index = _wrapped(ew.cast(raw, int64), size)
        inside = ew.logical_and(ew.greater_equal(index, 0), ew.less(index, n))
        valid = inside if valid is None else ew.logical_and(valid, inside)
        position = position * n + index
    assert valid is not None
    return ew.where(valid, position, size_value(product(sizes), position))
