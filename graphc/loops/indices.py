"""Where the element at an index of one node lies in another, and in memory."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.expr import Expr, constant_value
from graphc.loops.access import VIEWS, only_ones
from graphc.loops.group import is_scalar_constant
from graphc.loops.ir import Index, Name
from graphc.types import Size, same_size

#: One index for each axis of a node.
Indices = tuple[Index, ...]
ZERO = Index()


def constant_base(view: Expr) -> Expr | None:
    """The one number that a view repeats."""
    while view.op.name in VIEWS:
        view = view.args[0]
    return view if is_scalar_constant(view) else None


def broadcast_index(x: Expr, at: Indices) -> Indices:
    """An element's index in an operand that is broadcast to it."""
    shape = x.shape
    if not shape:
        return ()
    own = at[len(at) - len(shape) :]
    return tuple([ZERO if same_size(s, 1) else i for s, i in zip(shape, own, strict=True)])


def single_index(node: Expr, at: Indices) -> Indices:
    """The operand's index for an element of a reduction over axes of size 1."""
    if node.attrs["keepdims"]:
        return at
    kept = iter(at)
    return tuple(
        ZERO if a in node.attrs["axes"] else next(kept) for a in range(node.args[0].ndim)
    )


def is_inside(index: Expr, size: Size) -> bool:
    """Whether an index is known to be one, counted from the start, and need not be checked."""
    value = constant_value(index)
    if value is None or not value.size or not isinstance(size, int):
        return False
    return bool(value.min() >= 0 and value.max() < size)


def flat_index(at: Indices, strides: Sequence[Size], offset: Size = 0) -> Index:
    """Position in memory of the element at an index."""
    terms: dict[Name, Size] = {}
    for index, stride in zip(at, strides, strict=True):
        offset = offset + index.offset * stride
        for name, factor in index.terms:
            terms[name] = terms.get(name, 0) + factor * stride
    return Index(tuple((n, s) for n, s in terms.items() if not same_size(s, 0)), offset)


def _scaled(index: Index, step: Size, start: Size) -> Index:
    return Index(tuple((n, f * step) for n, f in index.terms), index.offset * step + start)


def view_index(view: Expr, at: Indices) -> Indices:
    """The operand's index for an element of a view."""
    x = view.args[0]
    if view.op.name == "again":
        return at
    if view.op.name == "transpose":
        back: list[Index] = [ZERO] * x.ndim
        for place, axis in enumerate(view.attrs["axes"]):
            back[axis] = at[place]
        return tuple(back)
    if view.op.name == "broadcast_to":
        return broadcast_index(x, at)
    if view.op.name == "slice":
        return tuple(
            _scaled(i, step, start)
            for i, (start, _, step) in zip(at, view.attrs["ranges"], strict=True)
        )
    assert only_ones(x.shape, view.shape)
    kept = (i for i, s in zip(at, view.shape, strict=True) if not same_size(s, 1))
    return tuple(ZERO if same_size(s, 1) else next(kept) for s in x.shape)
