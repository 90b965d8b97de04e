"""Movements of elements: what undoes itself, what repeats a number, what broadcasts anyway.

Most of these are exact by nature: elements are copied, never computed with.
"""

from __future__ import annotations

from graphc.expr import Expr, apply
from graphc.ops import elementwise as ew
from graphc.ops.movement import (
    BROADCAST,
    RESHAPE,
    TRANSPOSE,
    broadcast_to,
    concatenate,
    reshape,
    take_ranges,
    transpose,
)
from graphc.rewrite.engine import EXACT, rule
from graphc.rewrite.match import aligned, is_one, is_scalar, same_shape
from graphc.types import Size, same_size

# Identities -----------------------------------------------------------------------------------


@rule("transpose", EXACT)
def transpose_identity(node: Expr, x: Expr) -> Expr | None:
    """transpose(x) in the order that it has -> x."""
    return x if node.attrs["axes"] == tuple(range(x.ndim)) else None


@rule("reshape broadcast_to", EXACT)
def reshape_identity(node: Expr, x: Expr) -> Expr | None:
    """reshape or broadcast_to of x to its own shape -> x."""
    return x if same_shape(node.shape, x.shape) else None


@rule("slice", EXACT)
def slice_whole(node: Expr, x: Expr) -> Expr | None:
    """All elements of x in their order -> x."""
    kept = take_ranges(x, node.attrs["ranges"])
    return x if kept is x else None


@rule("pad", EXACT)
def pad_nothing(node: Expr, x: Expr, value: Expr) -> Expr | None:
    """pad(x) by no elements -> x."""
    return x if all(same_size(w, 0) for t in node.attrs["widths"] for w in t) else None


@rule("concatenate", EXACT)
def concatenate_one(node: Expr, *parts: Expr) -> Expr | None:
    """Parts without elements are left out; a single part is itself."""
    axis = node.attrs["axis"]
    kept = [p for p in parts if not same_size(p.shape[axis], 0)]
    if len(parts) > 1 and len(kept) == len(parts):
        return None
    return concatenate(kept or parts[:1], axis)


# Two movements in one -------------------------------------------------------------------------


@rule("transpose", EXACT, of="transpose")
def transpose_of_transpose(node: Expr, x: Expr) -> Expr:
    """transpose(transpose(x)) -> one transpose, or x."""
    inner = x.attrs["axes"]
    return transpose(x.args[0], [inner[a] for a in node.attrs["axes"]])


@rule("reshape", EXACT, of="reshape")
def reshape_of_reshape(node: Expr, x: Expr) -> Expr:
    """reshape(reshape(x)) -> one reshape, or x."""
    return reshape(x.args[0], node.shape)


@rule("broadcast_to", EXACT, of="broadcast_to")
def broadcast_of_broadcast(node: Expr, x: Expr) -> Expr:
    """broadcast_to(broadcast_to(x)) -> one broadcast."""
    return broadcast_to(x.args[0], node.shape)


@rule("broadcast_to", EXACT, of="reshape")
def broadcast_of_leading_ones(node: Expr, x: Expr) -> Expr | None:
    """broadcast_to(reshape(x)) -> broadcast_to(x), where reshape adds leading axes of 1."""
    inner = x.args[0]
    if same_shape(aligned(inner.shape, x.ndim), x.shape) and inner.ndim < x.ndim:
        return broadcast_to(inner, node.shape)
    return None


@rule("slice", EXACT, of="slice")
def slice_of_slice(node: Expr, x: Expr) -> Expr:
    """slice(slice(x)) -> one slice."""
    ranges = [
        (start + outer * step, length, step * stride)
        for (start, _, step), (outer, length, stride) in zip(
            x.attrs["ranges"], node.attrs["ranges"], strict=True
        )
    ]
    return take_ranges(x.args[0], ranges)


@rule("slice", EXACT, of="concatenate")
def slice_of_concatenate(node: Expr, x: Expr) -> Expr | None:
    """A slice inside one part of a concatenation -> a slice of that part."""
    axis = x.attrs["axis"]
    start, length, step = node.attrs["ranges"][axis]
    first = 0
    for part in x.args:
        size = part.shape[axis]
        if _inside(start - first, length, step, size):
            ranges = list(node.attrs["ranges"])
            ranges[axis] = (start - first, length, step)
            return take_ranges(part, ranges)
        first = first + size
    return None


@rule("slice", EXACT, of="pad")
def slice_of_pad(node: Expr, x: Expr) -> Expr | None:
    """A slice of a padded x that reads x only -> a slice of x."""
    ranges = []
    inner = x.args[0]
    for (start, length, step), (low, _, between), size in zip(
        node.attrs["ranges"], x.attrs["widths"], inner.shape, strict=True
    ):
        stride = between + 1
        numbers = isinstance(start, int) and isinstance(low, int)
        if step % stride or (numbers and (start - low) % stride):
            return None
        first = start - low if stride == 1 else (start - low) // stride
        if not _inside(first, length, step // stride, size):
            return None
        ranges.append((first, length, step // stride))
    return take_ranges(inner, ranges)


def _inside(start: Size, length: Size, step: int, size: Size) -> bool:
    """Whether all positions are known to lie on an axis."""
    if same_size(start, 0) and same_size(length, size) and step == 1:
        return True
    if not (isinstance(start, int) and isinstance(length, int) and isinstance(size, int)):
        return False
    last = start + (length - 1) * step
    return length > 0 and 0 <= start < size and 0 <= last < size


# Axes of size 1 -------------------------------------------------------------------------------


@rule("broadcast_to", EXACT)
def broadcast_adds_ones(node: Expr, x: Expr) -> Expr | None:
    """broadcast_to(x) that only adds axes of size 1 -> reshape(x)."""
    if x.ndim < node.ndim and same_shape(aligned(x.shape, node.ndim), node.shape):
        return reshape(x, node.shape)
    return None


# Repeated elements ----------------------------------------------------------------------------


@rule("reshape transpose slice", EXACT, of="broadcast_to")
def movement_of_uniform(node: Expr, x: Expr) -> Expr | None:
    """A movement of one repeated element -> that element, repeated."""
    inner = x.args[0]
    if not all(map(is_one, inner.shape)):
        return None
    return broadcast_to(reshape(inner, ()), node.shape)


@rule("transpose", EXACT, of="broadcast_to")
def transpose_of_broadcast(node: Expr, x: Expr) -> Expr:
    """transpose(broadcast_to(x)) -> broadcast_to(transpose(x)): the smaller one moves."""
    inner = reshape(x.args[0], aligned(x.args[0].shape, x.ndim))
    return broadcast_to(transpose(inner, node.attrs["axes"]), node.shape)


@rule("slice", EXACT, of="broadcast_to")
def slice_of_broadcast(node: Expr, x: Expr) -> Expr:
    """slice(broadcast_to(x)) -> broadcast_to(slice(x)), x where only repeated axes are cut."""
    inner = reshape(x.args[0], aligned(x.args[0].shape, x.ndim))
    ranges = [
        (0, 1, 1) if is_one(size) and not is_one(full) else cut
        for cut, size, full in zip(node.attrs["ranges"], inner.shape, x.shape, strict=True)
    ]
    return broadcast_to(take_ranges(inner, ranges), node.shape)


@rule("concatenate", EXACT, of="broadcast_to")
def concatenate_uniform(node: Expr, *parts: Expr) -> Expr | None:
    """Parts that all repeat one element -> that element, repeated."""
    first = parts[0].args[0]
    if is_scalar(first) and all(p.op is BROADCAST and p.args[0] is first for p in parts):
        return broadcast_to(first, node.shape)
    return None


# Elementwise operations broadcast by themselves -----------------------------------------------


@rule("", EXACT, has="broadcast_to")
def implicit_broadcast(node: Expr, *args: Expr) -> Expr | None:
    """f(broadcast_to(x), y) -> f(x, y), repeated afterwards if y has not the full shape."""
    if node.op.family != "elementwise" or not any(a.op is BROADCAST for a in args):
        return None
    bare = [_bare(a) if a.op is BROADCAST else a for a in args]
    return apply(node.op, bare, node.attrs)


def _bare(x: Expr) -> Expr:
    """What is broadcast; one element as rank 0."""
    inner = x.args[0]
    return reshape(inner, ()) if inner.ndim and all(map(is_one, inner.shape)) else inner


def _is_scaled(x: Expr) -> bool:
    """Whether a node is a product or quotient of a tensor and a scalar."""
    return x.op in (ew.mul, ew.div) and sum(map(is_scalar, x.args)) == 1


def _movement(x: Expr) -> tuple[Expr, Expr] | None:
    """The outer transpose or reshape of a node, and what it moves; scalars stay with that."""
    if x.op in (TRANSPOSE, RESHAPE):
        return x, x.args[0]
    if not _is_scaled(x):
        return None
    move = next(a for a in x.args if not is_scalar(a))
    if move.op is not RESHAPE:
        return None
    return move, x.op(*(a if is_scalar(a) else a.args[0] for a in x.args))


@rule("", EXACT, has="transpose reshape mul div")
def elementwise_of_movements(node: Expr, *args: Expr) -> Expr | None:
    """f(move(x), move(y), c) -> move(f(x, y, c)), move a transpose or reshape, c of rank 0."""
    if node.op.family != "elementwise" or node.op is ew.neg:
        return None
    full = [_movement(a) for a in args if not is_scalar(a)]
    if not full or full[0] is None:
        return None
    move, inner = full[0]
    if move.op is RESHAPE and _is_scaled(node):
        return None
    for other in full:
        if other is None or not _same_movement(other, move, inner):
            return None
    rest = iter(full)
    bare = [a if is_scalar(a) else (next(rest) or (a, a))[1] for a in args]
    return apply(move.op, (apply(node.op, bare, node.attrs),), move.attrs)


def _same_movement(other: tuple[Expr, Expr], move: Expr, inner: Expr) -> bool:
    if other[0].op is not move.op or other[0].attrs != move.attrs:
        return False
    return same_shape(other[1].shape, inner.shape)


@rule("reshape transpose slice", EXACT, of="neg")
def movement_of_neg(node: Expr, x: Expr) -> Expr:
    """move(-x) -> -move(x): signs are outermost."""
    return -apply(node.op, x.args, node.attrs)


@rule("reshape", EXACT, of="mul div")
def reshape_of_scaled(node: Expr, x: Expr) -> Expr | None:
    """reshape(c * x) -> c * reshape(x), c of rank 0: scalars are outermost."""
    if is_scalar(node) or not _is_scaled(x):
        return None
    return x.op(*(a if is_scalar(a) else reshape(a, node.shape) for a in x.args))


@rule("", EXACT, has="reshape mul div")
def implicit_leading_ones(node: Expr, *args: Expr) -> Expr | None:
    """f(x, y) -> f(x, z), where y is z with leading axes of size 1: broadcasting adds them."""
    if node.op.family != "elementwise" or len(args) < 2 or is_scalar(node):
        return None
    bare = [_without_leading_ones(a) for a in args]
    if all(a is b for a, b in zip(args, bare, strict=True)):
        return None
    if max(b.ndim for b in bare) < node.ndim:
        return None
    return apply(node.op, bare, node.attrs)


def _without_leading_ones(x: Expr) -> Expr:
    """What a reshape adds leading axes of 1 to, and its scalar factor; others unchanged."""
    found = _movement(x)
    if found is None or found[0].op is not RESHAPE:
        return x
    inner = found[1]
    added = inner.ndim < x.ndim and same_shape(aligned(inner.shape, x.ndim), x.shape)
    return inner if added else x


@rule("reshape", EXACT, of="transpose")
def reshape_of_moved_ones(node: Expr, x: Expr) -> Expr | None:
    """reshape(transpose(x)) -> reshape(x), where only axes of size 1 change their places."""
    inner = x.args[0]
    order = [a for a in x.attrs["axes"] if not is_one(inner.shape[a])]
    return reshape(inner, node.shape) if order == sorted(order) else None


@rule("transpose", EXACT, stage="expand")
def transpose_of_ones(node: Expr, x: Expr) -> Expr | None:
    """transpose(x) -> reshape(x), where only axes of size 1 change their places."""
    order = [a for a in node.attrs["axes"] if not is_one(x.shape[a])]
    return reshape(x, node.shape) if order == sorted(order) else None
