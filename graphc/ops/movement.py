"""Operations that move elements without changing them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.expr import Attrs, Expr, ExprLike, apply, as_expr, scalar_like
from graphc.ops.table import Op, explained
from graphc.types import (
    Dim,
    Guard,
    Shape,
    ShapeLike,
    Size,
    TensorType,
    as_shape,
    as_size,
    broadcast_shapes,
    normalise_axes,
    normalise_axis,
    product,
    same_size,
)

_REAL = ((-3.0, 3.0),)


def _shape_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    return TensorType(types[0].dtype, attrs["shape"])


def _again(tangents: Sequence[Expr | None], out: Expr, x: Expr) -> Expr:
    """Tangent of a linear one-operand op: the op itself."""
    assert tangents[0] is not None
    return apply(out.op, (tangents[0],), out.attrs)


def _movement(name: str, infer: Any, evaluate: Any, vjp: Any, **extra: Any) -> Op:
    facts = frozenset(["movement", "linear"])
    return Op(
        name, "movement", infer, evaluate, vjp=vjp, jvp=_again, facts=facts,
        roles=("operand",), domain=_REAL, cost=0, **extra,
    )  # fmt: skip


# reshape ------------------------------------------------------------------------------------


def _reshape_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    old, new = types[0].size, product(attrs["shape"])
    if not same_size(old, new):
        raise ShapeError(
            f"{types[0].shape} has {old} elements, {attrs['shape']} has {new}",
            hint="the number of elements must stay the same",
        )
    return _shape_type(types, attrs)


RESHAPE = _movement(
    "reshape",
    _reshape_type,
    lambda x, shape: np.reshape(x, shape),
    lambda ct, out, x: (reshape(ct, x.shape),),
)


@explained
def reshape(x: ExprLike, shape: ShapeLike) -> Expr:
    """The same elements in row-major order in another shape; one size may be -1."""
    node = as_expr(x)
    new = _resolve(node, shape)
    return node if _same_shape(new, node.shape) else apply(RESHAPE, (node,), {"shape": new})


def _same_shape(a: Shape, b: Shape) -> bool:
    return len(a) == len(b) and all(map(same_size, a, b))


def _resolve(x: Expr, shape: ShapeLike) -> Shape:
    given = (shape,) if isinstance(shape, (int, str, Dim)) else tuple(shape)
    unknown = [a for a, s in enumerate(given) if not isinstance(s, (str, Dim)) and s == -1]
    if not unknown:
        return as_shape(given)
    if len(unknown) > 1:
        raise ShapeError("only one size can be -1")
    known = product(as_shape([s for a, s in enumerate(given) if a != unknown[0]]))
    rest = 0 if same_size(known, 0) else x.size // known
    if not same_size(rest * known, x.size):
        raise ShapeError(f"{x.size} elements do not divide into {known}")
    return tuple(rest if a == unknown[0] else as_shape([s])[0] for a, s in enumerate(given))


@explained
def expand_dims(x: ExprLike, axis: int | Sequence[int]) -> Expr:
    """Insert axes of size 1 at the given places of the result."""
    node = as_expr(x)
    count = 1 if hasattr(axis, "__index__") else len(tuple(axis))
    axes = normalise_axes(axis, node.ndim + count)
    sizes = iter(node.shape)
    full = range(node.ndim + count)
    return reshape(node, tuple(1 if a in axes else next(sizes) for a in full))


@explained
def squeeze(x: ExprLike, axis: int | Sequence[int] | None = None) -> Expr:
    """Remove axes of size 1 (all of them by default)."""
    node = as_expr(x)
    ones = [a for a, s in enumerate(node.shape) if same_size(s, 1)]
    axes = ones if axis is None else normalise_axes(axis, node.ndim)
    for a in axes:
        if a not in ones:
            raise ShapeError(f"axis {a} has size {node.shape[a]}, not 1")
    return reshape(node, tuple(s for a, s in enumerate(node.shape) if a not in axes))


@explained
def ravel(x: ExprLike) -> Expr:
    """The elements in one axis."""
    node = as_expr(x)
    return reshape(node, (node.size,))


COPY = _movement(
    "copy",
    lambda types, attrs: types[0],
    lambda x: np.array(x),
    lambda ct, out, x: (ct,),
    doc="The same elements in memory of their own.",
)


# transpose ----------------------------------------------------------------------------------


def _transpose_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    return TensorType(types[0].dtype, tuple(types[0].shape[a] for a in attrs["axes"]))


def inverse_permutation(axes: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes ``axes``."""
    return tuple(int(i) for i in np.argsort(axes))


TRANSPOSE = _movement(
    "transpose",
    _transpose_type,
    lambda x, axes: np.transpose(x, axes),
    lambda ct, out, x: (transpose(ct, inverse_permutation(out.attrs["axes"])),),
)


@explained
def transpose(x: ExprLike, axes: Sequence[int] | None = None) -> Expr:
    """Permute axes (reverse them by default), as `numpy.transpose`."""
    node = as_expr(x)
    order = range(node.ndim)[::-1] if axes is None else axes
    full = tuple(normalise_axis(a, node.ndim) for a in order)
    if sorted(full) != list(range(node.ndim)):
        raise ShapeError(f"{tuple(order)} is not a permutation of {node.ndim} axes")
    if full == tuple(range(node.ndim)):
        return node
    return apply(TRANSPOSE, (node,), {"axes": full})


@explained
def swapaxes(x: ExprLike, a: int, b: int) -> Expr:
    """Exchange two axes."""
    node = as_expr(x)
    order = list(range(node.ndim))
    i, j = normalise_axis(a, node.ndim), normalise_axis(b, node.ndim)
    order[i], order[j] = order[j], order[i]
    return transpose(node, order)


@explained
def moveaxis(x: ExprLike, source: int, destination: int) -> Expr:
    """Move one axis to another place."""
    node = as_expr(x)
    i, j = normalise_axis(source, node.ndim), normalise_axis(destination, node.ndim)
    order = [a for a in range(node.ndim) if a != i]
    order.insert(j, i)
    return transpose(node, order)


# broadcast_to -------------------------------------------------------------------------------


def _broadcast_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    if not _same_shape(broadcast_shapes(types[0].shape, attrs["shape"]), attrs["shape"]):
        raise ShapeError(f"{types[0].shape} does not broadcast to {attrs['shape']}")
    return _shape_type(types, attrs)


BROADCAST = _movement(
    "broadcast_to",
    _broadcast_type,
    lambda x, shape: np.broadcast_to(x, shape),
    lambda ct, out, x: (sum_to(ct, x.shape),),
)


@explained
def broadcast_to(x: ExprLike, shape: ShapeLike) -> Expr:
    """Repeat along axes of size 1 and new leading axes, as `numpy.broadcast_to`."""
    node, full = as_expr(x), as_shape(shape)
    return node if _same_shape(full, node.shape) else apply(BROADCAST, (node,), {"shape": full})


def sum_to(x: Expr, shape: Shape) -> Expr:
    """Sum away what broadcasting from ``shape`` repeated: the transpose of `broadcast_to`."""
    from graphc.ops.reduction import sum as sum_over

    if _same_shape(x.shape, shape):
        return x
    lead = x.ndim - len(shape)
    axes = [
        a for a, s in enumerate(x.shape)
        if a < lead or (same_size(shape[a - lead], 1) and not same_size(s, 1))
    ]  # fmt: skip
    return reshape(sum_over(x, axes) if axes else x, shape)


# slice, flip --------------------------------------------------------------------------------


def _slice_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    return TensorType(types[0].dtype, tuple(length for _, length, _ in attrs["ranges"]))


def _evaluate_slice(x: Any, ranges: Any) -> Any:
    for axis, (start, length, step) in enumerate(ranges):
        x = np.take(x, np.arange(length) * step + start, axis=axis)
    return x


def _slice_vjp(ct: Expr, out: Expr, x: Expr) -> tuple[Expr]:
    """Put the cotangent back in place: reverse where the step is negative, spread, pad."""
    ranges = out.attrs["ranges"]
    back = [axis for axis, (_, _, step) in enumerate(ranges) if step < 0]
    widths = []
    for (start, length, step), size in zip(ranges, x.shape, strict=True):
        reach = _reach(length, step)
        low = start if step > 0 else start - reach + 1
        widths.append((low, size - low - reach, _abs(step) - 1))
    return (pad_spread(flip(ct, back) if back else ct, widths),)


def _abs(step: int) -> int:
    return step if step > 0 else -step


def _reach(length: Size, step: int) -> Size:
    """Extent that ``length`` elements ``step`` apart cover."""
    return 0 if same_size(length, 0) else (length - 1) * _abs(step) + 1


def _slice_guards(types: Sequence[TensorType], attrs: Attrs) -> list[Guard]:
    """Where a step is 1 or -1 a slice may be empty; the gradient of others needs an element."""
    guards = []
    for (start, length, step), size in zip(attrs["ranges"], types[0].shape, strict=True):
        if same_size(length, 0) or all(isinstance(s, int) for s in (size, length, start)):
            continue
        last = start + (length - 1) * step
        lowest, highest = (start, last) if step > 0 else (last, start)
        least = 0 if _abs(step) == 1 else 1
        for inside, minimum in ((lowest, 0), (size - 1 - highest, 0), (length, least)):
            if not isinstance(inside, int) or inside < minimum:
                guards.append(Guard(inside, minimum, "a slice must lie inside its axis"))
    return guards


SLICE = _movement("slice", _slice_type, _evaluate_slice, _slice_vjp, guards=_slice_guards)

#: Along one axis: first position, number of elements, step (not 0).
Range = tuple[Size, Size, int]


def take_ranges(x: Expr, ranges: Sequence[Range]) -> Expr:
    """Elements ``start, start + step, ...`` along every axis."""
    whole = [
        same_size(start, 0) and same_size(length, size) and step == 1
        for (start, length, step), size in zip(ranges, x.shape, strict=True)
    ]
    return x if False not in whole else apply(SLICE, (x,), {"ranges": tuple(ranges)})


@explained
def flip(x: ExprLike, axis: int | Sequence[int] | None = None) -> Expr:
    """Reverse the order along axes (all by default)."""
    node = as_expr(x)
    axes = normalise_axes(axis, node.ndim)
    ranges: list[Range] = [
        (size - 1, size, -1) if a in axes and not same_size(size, 0) else (0, size, 1)
        for a, size in enumerate(node.shape)
    ]
    return take_ranges(node, ranges)


# pad ----------------------------------------------------------------------------------------


def _pad_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    shape: list[Size] = []
    for size, (low, high, inner) in zip(types[0].shape, attrs["widths"], strict=True):
        shape.append(low + high + _reach(size, inner + 1))
    return TensorType(types[0].dtype, tuple(shape))


def _evaluate_pad(x: Any, value: Any, widths: Any) -> Any:
    out = np.full(
        [
            low + high + (0 if n == 0 else (n - 1) * (inner + 1) + 1)
            for n, (low, high, inner) in zip(x.shape, widths, strict=True)
        ],
        value,
        x.dtype,
    )
    inside = tuple(
        slice(low, low + n * (inner + 1), inner + 1) if n else slice(0, 0)
        for n, (low, _, inner) in zip(x.shape, widths, strict=True)
    )
    out[inside] = x
    return out


def _pad_vjp(ct: Expr, out: Expr, x: Expr, value: Expr) -> tuple[Expr, Expr]:
    from graphc.ops.reduction import sum as sum_over

    ranges = tuple(
        (low, n, inner + 1)
        for n, (low, _, inner) in zip(x.shape, out.attrs["widths"], strict=True)
    )
    inside = take_ranges(ct, ranges)
    return inside, sum_over(ct) - sum_over(inside)


def _pad_jvp(tangents: Sequence[Expr | None], out: Expr, x: Expr, value: Expr) -> Expr:
    zero = scalar_like(0, out)
    inside = tangents[0] if tangents[0] is not None else broadcast_to(zero, x.shape)
    return apply(PAD, (inside, zero if tangents[1] is None else tangents[1]), out.attrs)


PAD = Op(
    "pad",
    "movement",
    _pad_type,
    _evaluate_pad,
    vjp=_pad_vjp,
    jvp=_pad_jvp,
    facts=frozenset(["linear"]),
    roles=("operand", "value"),
    domain=(*_REAL, *_REAL),
    cost=0,
    doc="Surround with ``value``: ``widths`` are (before, after, between elements) per axis.",
)


def pad_spread(x: Expr, widths: Sequence[tuple[Size, Size, int]], value: ExprLike = 0) -> Expr:
    """Pad before, after and between the elements of each axis."""
    if all(same_size(w, 0) for triple in widths for w in triple):
        return x
    fill = value if isinstance(value, Expr) else scalar_like(value, x)  # type: ignore[arg-type]
    return apply(PAD, (x, fill), {"widths": tuple(widths)})


@explained
def pad(
    x: ExprLike,
    pad_width: Any,
    mode: str = "constant",
    constant_values: float | int | bool = 0,
) -> Expr:
    """Surround with a constant, as `numpy.pad` (mode "constant")."""
    node = as_expr(x)
    if mode != "constant":
        raise ShapeError(f"mode {mode!r} is not supported", hint='mode="constant"')
    given = np.asarray(pad_width)
    if given.dtype.kind not in "iu":
        raise ShapeError(f"widths must be integers ({pad_width})")
    widths = np.broadcast_to(given, (node.ndim, 2))
    if (widths < 0).any():
        raise ShapeError(f"widths cannot be negative ({pad_width})")
    return pad_spread(node, [(int(a), int(b), 0) for a, b in widths], constant_values)


# concatenate --------------------------------------------------------------------------------


def _concatenate_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    axis, total = attrs["axis"], types[0].shape[attrs["axis"]]
    first = types[0].shape
    for type in types[1:]:
        if len(type.shape) != len(first):
            raise ShapeError("operands have different ranks")
        for a, (s, t) in enumerate(zip(first, type.shape, strict=True)):
            if a != axis and not same_size(s, t):
                raise ShapeError(
                    f"sizes {s} and {t} differ on axis {a}",
                    hint=f"all axes but the joined one ({axis}) must agree",
                )
        total = total + type.shape[axis]
    shape = tuple(total if a == axis else s for a, s in enumerate(first))
    return TensorType(types[0].dtype, shape)


def _concatenate_vjp(ct: Expr, out: Expr, *args: Expr) -> tuple[Expr, ...]:
    axis = out.attrs["axis"]
    start: Size = 0
    pieces = []
    for x in args:
        ranges: list[Range] = [(0, s, 1) for s in x.shape]
        ranges[axis] = (start, x.shape[axis], 1)
        pieces.append(take_ranges(ct, ranges))
        start = start + x.shape[axis]
    return tuple(pieces)


def _concatenate_jvp(tangents: Sequence[Expr | None], out: Expr, *args: Expr) -> Expr:
    zero = scalar_like(0, out)
    full = [
        t if t is not None else broadcast_to(zero, x.shape)
        for t, x in zip(tangents, args, strict=True)
    ]
    return apply(CONCATENATE, full, out.attrs)


CONCATENATE = Op(
    "concatenate",
    "movement",
    _concatenate_type,
    lambda *args, axis: np.concatenate(args, axis=axis),
    vjp=_concatenate_vjp,
    jvp=_concatenate_jvp,
    facts=frozenset(["linear"]),
    domain=(*_REAL, *_REAL),
    cost=0,
)


@explained
def concatenate(parts: Sequence[ExprLike], axis: int = 0) -> Expr:
    """Join along an existing axis; element types are promoted together."""
    nodes = _promoted_parts(parts)
    if len(nodes) == 1:
        return nodes[0]
    return apply(CONCATENATE, nodes, {"axis": normalise_axis(axis, nodes[0].ndim)})


def _promoted_parts(parts: Sequence[ExprLike]) -> list[Expr]:
    from graphc.ops.elementwise import cast
    from graphc.types import promote

    nodes = [as_expr(p) for p in parts]
    if not nodes:
        raise ShapeError("there is nothing to join")
    dtype = promote(*(n.dtype for n in nodes))
    return [cast(n, dtype) for n in nodes]


@explained
def stack(parts: Sequence[ExprLike], axis: int = 0) -> Expr:
    """Join equal shapes along a new axis."""
    nodes = _promoted_parts(parts)
    for node in nodes:
        if not _same_shape(node.shape, nodes[0].shape):
            raise ShapeError(f"shapes {nodes[0].shape} and {node.shape} differ")
    place = normalise_axis(axis, nodes[0].ndim + 1)
    return concatenate([expand_dims(n, place) for n in nodes], place)


@explained
def split(x: ExprLike, sections: int | Sequence[int], axis: int = 0) -> list[Expr]:
    """Equal parts (a number), or parts that end at the given positions, as `numpy.split`."""
    node = as_expr(x)
    place = normalise_axis(axis, node.ndim)
    size = node.shape[place]
    cuts = _cuts(size, sections)
    pieces = []
    for start, stop in pairwise(cuts):
        ranges: list[Range] = [(0, s, 1) for s in node.shape]
        ranges[place] = _between(start, stop, size)
        pieces.append(take_ranges(node, ranges))
    return pieces


def _cuts(size: Size, sections: Any) -> list[Size]:
    if hasattr(sections, "__index__") and not np.ndim(sections):
        return _equal_cuts(size, int(sections.__index__()))
    if not isinstance(sections, Iterable) or isinstance(sections, str):
        raise ShapeError(
            f"{sections!r} is no number of parts", hint="a number, or positions in a list"
        )
    return [0, *map(_position, sections), size]


def _position(value: Any) -> Size:
    if isinstance(value, Dim):
        return value
    if not hasattr(value, "__index__"):
        raise ShapeError(f"{value!r} is not a position", hint="positions are whole numbers")
    return int(value.__index__())


def _equal_cuts(size: Size, count: int) -> list[Size]:
    part = size // count if count > 0 else 0
    if count <= 0 or not same_size(part * count, size):
        raise ShapeError(f"size {size} does not divide into {count} equal parts")
    return [part * i for i in range(count + 1)]


def _between(start: Size, stop: Size, size: Size) -> Range:
    """Positions ``start:stop`` of an axis, cut at its ends if all are numbers."""
    if isinstance(start, int) and isinstance(stop, int) and isinstance(size, int):
        inside = range(size)[start:stop]
        return inside.start if len(inside) else 0, len(inside), 1
    return start, stop - start, 1


def _counts(reps: Any) -> tuple[Size, ...]:
    """Numbers of copies: whole, not negative; sizes are allowed."""
    whole = hasattr(reps, "__index__") and not np.ndim(reps)
    given = (reps,) if whole or isinstance(reps, Dim) else reps
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise ShapeError(f"{reps!r} is no number of copies", hint="a number, or a list of them")
    for count in given:
        if isinstance(count, str):
            raise ShapeError(f"{count!r} is no number of copies", hint="a number, or a size")
    return tuple(as_size(count) for count in given)


@explained
def tile(x: ExprLike, reps: int | Sequence[int]) -> Expr:
    """Repeat whole copies along axes, as `numpy.tile`."""
    node = as_expr(x)
    counts = _counts(reps)
    rank = len(counts) if len(counts) > node.ndim else node.ndim
    counts = (1,) * (rank - len(counts)) + tuple(counts)
    shape = (1,) * (rank - node.ndim) + node.shape
    spread = tuple(s for n, size in zip(counts, shape, strict=True) for s in (n, size))
    ones = tuple(s for size in shape for s in (1, size))
    repeated = broadcast_to(reshape(node, ones), spread)
    return reshape(repeated, tuple(n * size for n, size in zip(counts, shape, strict=True)))
