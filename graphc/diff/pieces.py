"""Sums of terms that are zero but for a place each: the places put side by side.

A tensor that is read piece by piece (``x[0]``, ``x[1]``...) gets a cotangent from each piece,
padded with zeros to the tensor's shape. Added up as they are, n pieces cost n additions of
whole tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import TypeAlias

from graphc.expr import Expr, constant_value, scalar_like
from graphc.ops.movement import PAD, broadcast_to, concatenate, pad_spread
from graphc.types import Size

#: Where a piece begins and ends on each axis, and its elements.
Piece: TypeAlias = tuple[tuple[tuple[int, int], ...], Expr]


def side_by_side(terms: Sequence[Expr]) -> list[Expr]:
    """The terms of a sum with all pieces as one term; as they are, if fewer than two are."""
    pieces = [p for p in map(_piece, terms) if p is not None]
    if len(pieces) < 2:
        return list(terms)
    others = [t for t in terms if _piece(t) is None]
    return [*others, _assembled(pieces, 0, terms[0].shape)]


def _piece(term: Expr) -> Piece | None:
    """A term that is zero outside one block whose place is known in numbers."""
    if term.op is not PAD:
        return None
    x, fill = term.args
    value = constant_value(fill)
    if value is None or value:
        return None
    place = []
    for (low, _, between), size in zip(term.attrs["widths"], x.shape, strict=True):
        if between or not isinstance(low, int) or not isinstance(size, int):
            return None
        place.append((low, low + size))
    return tuple(place), x


def _assembled(pieces: Sequence[Piece], axis: int, shape: tuple[Size, ...]) -> Expr:
    """The sum of pieces that agree on the axes before ``axis``, whole on those after."""
    if axis == len(shape):
        return reduce(add, [x for _, x in pieces])
    groups = _overlapping(pieces, axis)
    start = end = groups[0][0]
    parts: list[Expr] = []
    for low, high, members in groups:
        part = _assembled([_widened(p, axis, low, high) for p in members], axis + 1, shape)
        gap = [_zeros(part, axis, low - end)] if low > end else []
        parts += [*gap, part]
        end = high
    return _padded(concatenate(parts, axis), axis, start, shape[axis] - end)


def _overlapping(pieces: Sequence[Piece], axis: int) -> list[tuple[int, int, list[Piece]]]:
    """Groups of pieces that overlap on an axis, in order, with the range each group covers."""
    groups: list[tuple[int, int, list[Piece]]] = []
    for piece in sorted(pieces, key=lambda p: p[0][axis]):
        low, high = piece[0][axis]
        if groups and low < groups[-1][1]:
            first, last, members = groups[-1]
            groups[-1] = (first, max(last, high), [*members, piece])
        else:
            groups.append((low, high, [piece]))
    return groups


def _widened(piece: Piece, axis: int, low: int, high: int) -> Piece:
    """The piece with zeros around it on an axis, so that it covers a range."""
    place, x = piece
    start, end = place[axis]
    wide = _padded(x, axis, start - low, high - end)
    return (*place[:axis], (low, high), *place[axis + 1 :]), wide


def _padded(x: Expr, axis: int, before: Size, after: Size) -> Expr:
    none: tuple[Size, Size, int] = (0, 0, 0)
    widths = [(before, after, 0) if a == axis else none for a in range(x.ndim)]
    return pad_spread(x, widths)


def _zeros(like: Expr, axis: int, length: int) -> Expr:
    shape = (*like.shape[:axis], length, *like.shape[axis + 1 :])
    return broadcast_to(scalar_like(0, like), shape)
