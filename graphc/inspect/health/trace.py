"""From an element that is not finite back to the first one that it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from graphc.expr import Expr
from graphc.interpret import attributes
from graphc.ops.contraction import parse

Array = np.ndarray[Any, Any]
Index: TypeAlias = "tuple[int, ...]"
Element: TypeAlias = "tuple[Expr, Index]"

#: The source of what is finite.
NONE = np.iinfo(np.int64).max


class Trace:
    """For each element that is not finite, the earliest node that the evil comes from.

    An element is the source if none of the elements that it was computed from is infinite or
    NaN; else it has the earliest source of theirs. What a select leaves out does not count.

    Attributes
    ----------
    values
        An array for each node.
    place
        The position of each node in the order, which has operands first.
    sources
        For each node that has elements which are not finite, an array of the positions of the
        nodes where they come from (`NONE` for the others).
    """

    def __init__(
        self, order: Sequence[Expr], values: Mapping[Expr, Array], sizes: Mapping[str, int]
    ) -> None:
        self.values = values
        self.sizes = sizes
        self.place = {node: number for number, node in enumerate(order)}
        self.sources: dict[Expr, Array] = {}
        for node in order:
            outside = ~np.isfinite(values[node])
            if outside.any():
                handed = np.broadcast_to(self._handed(node), outside.shape)
                own = np.where(handed == NONE, self.place[node], handed)
                self.sources[node] = np.where(outside, own, NONE)

    def source(self, node: Expr) -> Array:
        """The sources of a node's elements."""
        found = self.sources.get(node)
        return np.full(self.values[node].shape, NONE) if found is None else found

    def way(self, result: Expr) -> list[Element]:
        """From the earliest source of a result's elements to the element itself.

        Each element was computed from the one before.
        """
        way = [(result, _least(self.source(result)))]
        while True:
            node, index = way[-1]
            wanted = self.sources[node][index]
            if wanted == self.place[node]:
                return way[::-1]
            way.append(self._step(node, index, wanted))

    def _step(self, node: Expr, index: Index, wanted: int) -> Element:
        """An operand's element that has the same source."""
        for number, a in enumerate(node.args):
            flat = self.reads((node, index), number)
            hits = flat[self.source(a).ravel()[flat] == wanted]
            if hits.size:
                return a, _unravel(int(hits[0]), self.values[a].shape)
        raise AssertionError(f"the source of {node!r} was lost")

    # forwards -------------------------------------------------------------------------------

    def _handed(self, node: Expr) -> Array:
        """Sources that a node's elements have from their operands."""
        if not any(a in self.sources for a in node.args):
            return np.asarray(NONE)
        given = [self.source(a) for a in node.args]
        if node.op.name == "where":
            return np.where(self.values[node.args[0]], given[1], given[2])
        if node.op.family == "elementwise":
            return _minimum(given)
        if node.op.name == "gather":
            given[1] = self.values[node.args[1]]
        if node.op.name == "gather" or node.op.family == "movement":
            return np.asarray(node.op.evaluate(*given, **attributes(node, self.sizes)))
        if node.op.name == "contract":
            return _of_contraction(node.attrs["subscripts"], given)
        axes = _axes(node)
        if axes is None:
            return np.asarray(min(s.min(initial=NONE) for s in given))
        kept = given[0].ndim == self.values[node].ndim
        return np.asarray(given[0].min(axis=axes, keepdims=kept, initial=NONE))

    # backwards ------------------------------------------------------------------------------

    def operands(self, element: Element) -> list[Array]:
        """The numbers that an element was computed from, for each operand."""
        return [
            self.values[a].ravel()[self.reads(element, number)]
            for number, a in enumerate(element[0].args)
        ]

    def reads(self, element: Element, number: int) -> Array:
        """Flat positions in an operand that an element was computed from."""
        node, index = element
        operand = self.values[node.args[number]]
        if node.op.family == "elementwise":
            return self._of_elementwise(node, index, number)
        if node.op.family == "movement" or node.op.name == "gather":
            return self._of_movement(node, index, number)
        grid = np.arange(operand.size).reshape(operand.shape)
        found: Array = grid[_region(node, index, number, operand.ndim)].ravel()
        return found

    def _of_elementwise(self, node: Expr, index: Index, number: int) -> Array:
        if node.op.name == "where" and number:
            condition = self.values[node.args[0]]
            taken = 1 if condition[_aligned(index, condition.shape)] else 2
            if number != taken:
                return np.empty(0, np.int64)
        shape = self.values[node.args[number]].shape
        aligned = _aligned(index, shape)
        return np.array([np.ravel_multi_index(aligned, shape) if shape else 0])

    def _of_movement(self, node: Expr, index: Index, number: int) -> Array:
        """The operation is run on positions instead of values."""
        if node.op.name == "gather" and number == 1:
            return np.array([np.ravel_multi_index(index, self.values[node].shape)])
        nowhere = [np.full(self.values[a].shape, -1) for a in node.args]
        if node.op.name == "gather":
            nowhere[1] = self.values[node.args[1]]
        nowhere[number] = np.arange(nowhere[number].size).reshape(nowhere[number].shape)
        moved = np.asarray(node.op.evaluate(*nowhere, **attributes(node, self.sizes)))
        found = int(moved[index])
        return np.array([found] if found >= 0 else [], np.int64)


def _minimum(given: Sequence[Array]) -> Array:
    found = given[0]
    for other in given[1:]:
        found = np.minimum(found, other)
    return found


def _axes(node: Expr) -> tuple[int, ...] | None:
    """Axes that a reduction or scan runs over, None for other operations."""
    if node.op.family != "reduction":
        return None
    axes: tuple[int, ...] = node.attrs.get("axes", (node.attrs.get("axis"),))
    return None if None in axes else axes


def _of_contraction(subscripts: str, given: Sequence[Array]) -> Array:
    """The earliest source in the row and in the column of each element."""
    *operands, out = parse(subscripts)
    spread = []
    for letters, source in zip(operands, given, strict=True):
        dropped = tuple(i for i, letter in enumerate(letters) if letter not in out)
        kept = [letter for letter in letters if letter in out]
        rows = source.min(axis=dropped, initial=NONE)
        rows = rows.transpose([kept.index(letter) for letter in out if letter in kept])
        rows = np.expand_dims(rows, [i for i, letter in enumerate(out) if letter not in kept])
        spread.append(rows)
    return _minimum(spread)


def _region(node: Expr, index: Index, number: int, rank: int) -> tuple[Any, ...]:
    """The part of an operand, as a key, that an element of a structured operation reads."""
    whole = slice(None)
    if node.op.name == "contract":
        letters = parse(node.attrs["subscripts"])
        known = dict(zip(letters[2], index, strict=True))
        return tuple(known.get(letter, whole) for letter in letters[number])
    axes = _axes(node)
    if axes is None:
        return (whole,) * rank
    if len(index) == rank:
        return tuple(whole if a in axes else i for a, i in enumerate(index))
    kept = iter(index)
    return tuple(whole if a in axes else next(kept) for a in range(rank))


def _aligned(index: Index, shape: Sequence[int]) -> Index:
    """The element of a broadcast operand."""
    own = index[len(index) - len(shape) :]
    return tuple(0 if size == 1 else i for i, size in zip(own, shape, strict=True))


def _least(values: Array) -> Index:
    return _unravel(int(np.argmin(values)), values.shape)


def _unravel(flat: int, shape: Sequence[int]) -> Index:
    return tuple(int(i) for i in np.unravel_index(flat, shape)) if len(shape) else ()


def first_bad(value: Array) -> Index:
    """The index of the first element that is not finite."""
    return _unravel(int(np.argmax(~np.isfinite(value))), value.shape)
