"""The scalar parts of a graph as arrays of numbers.

A region holds scalar nodes between which no tensor lies, in the order in which they were
made. Equal nodes are one. What a region reads from outside are its externals: constants,
and elements of other nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import numpy as np

from graphc.expr import Expr, Literal
from graphc.types import DType, Shape, bool_, float32, float64, int8, int32, same_size, uint8

Ints: TypeAlias = "np.ndarray[Any, Any]"

#: Element types that lie in a slot without loss: the first ones in float32, all in float64.
NARROW = (float32, bool_, int8, uint8)
STORABLE = (*NARROW, float64, int32)

#: No operand, in tables of operands. External ``e`` is ``-2 - e``.
NONE = -1


@dataclass(frozen=True)
class Element:
    """One element of a node that is not part of the region, by its position in memory."""

    base: Expr
    index: int


@dataclass(eq=False)
class Region:
    """Scalar nodes, operands first.

    Attributes
    ----------
    nodes
        The nodes.
    tokens
        A number for each node, the same if they compute alike from operands of like types.
    operands
        For each node its operands: nodes as their numbers, externals as ``-2 - e``.
    externals
        What the region reads.
    wanted
        Numbers of nodes that something outside the region reads.
    number
        The number of each node that is in the region, or equal to one that is.
    """

    nodes: list[Expr] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    operands: list[tuple[int, ...]] = field(default_factory=list)
    externals: list[Element | Literal] = field(default_factory=list)
    wanted: set[int] = field(default_factory=set)
    number: dict[Expr, int] = field(default_factory=dict)
    _known: dict[tuple[int, tuple[int, ...]], int] = field(default_factory=dict)
    _external: dict[Element | Literal, int] = field(default_factory=dict)
    _external_of: dict[Expr, int] = field(default_factory=dict)
    _tokens: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def add(self, node: Expr, args: Sequence[Expr]) -> None:
        """Take in a node whose operands are ``args``."""
        number = self.number
        operands = tuple([
            number[a] if a in number else self.external(a) for a in args
        ])  # fmt: skip
        key = (self.token(node, args), operands)
        found = self._known.setdefault(key, len(self.nodes))
        number[node] = found
        if found == len(self.nodes):
            self.nodes.append(node)
            self.tokens.append(key[0])
            self.operands.append(operands)

    def token(self, node: Expr, args: Sequence[Expr]) -> int:
        key: tuple[Any, ...] = (
            node.op,
            id(node.type.dtype),
            node.attrs or None,
            *[id(a.type.dtype) for a in args],
        )
        if node.op.name == "pow":  # constant exponents choose the formula
            key = (*key, args[1].attrs.get("value"))
        return self._tokens.setdefault(key, len(self._tokens))

    def external(self, x: Expr) -> int:
        """The number of what a node from outside stands for, as an operand."""
        found = self._external_of.get(x)
        if found is None:
            meaning = _meaning(x)
            e = self._external.setdefault(meaning, len(self.externals))
            if e == len(self.externals):
                self.externals.append(meaning)
            found = self._external_of[x] = -2 - e
        return found

    def table(self) -> Ints:
        """The operands as an array, `NONE` where a node has fewer."""
        width = max(map(len, self.operands), default=0)
        padded = [(*row, *([NONE] * (width - len(row)))) for row in self.operands]
        return np.array(padded, np.int64).reshape(len(padded), width)


def _meaning(x: Expr) -> Element | Literal:
    literal = x.attrs.get("value") if x.op.name == "constant" else None
    if isinstance(literal, Literal):
        return literal
    return element(x)


def element(x: Expr) -> Element:
    """The element that a scalar node stands for, looked at through views."""
    at: tuple[int, ...] = ()
    while x.op.name in _THROUGH and all(isinstance(s, int) for s in x.args[0].shape):
        at = _THROUGH[x.op.name](x, at)
        x = x.args[0]
    return Element(x, _flat(at, x.shape))


def _flat(at: tuple[int, ...], shape: Shape) -> int:
    index = 0
    for place, size in zip(at, shape, strict=True):
        index = index * cast(int, size) + place
    return index


def _reshaped(view: Expr, at: tuple[int, ...]) -> tuple[int, ...]:
    flat = _flat(at, view.shape)
    found = []
    for size in reversed(view.args[0].shape):
        flat, place = divmod(flat, cast(int, size))
        found.append(place)
    return tuple(reversed(found))


def _sliced(view: Expr, at: tuple[int, ...]) -> tuple[int, ...]:
    ranges = view.attrs["ranges"]
    return tuple(s + step * i for i, (s, _, step) in zip(at, ranges, strict=True))


def _transposed(view: Expr, at: tuple[int, ...]) -> tuple[int, ...]:
    places = dict(zip(view.attrs["axes"], at, strict=True))
    return tuple(places[a] for a in range(len(at)))


def _spread(view: Expr, at: tuple[int, ...]) -> tuple[int, ...]:
    shape = view.args[0].shape
    own = at[len(at) - len(shape) :]
    return tuple(0 if same_size(s, 1) else i for s, i in zip(shape, own, strict=True))


_THROUGH = {
    "reshape": _reshaped,
    "slice": _sliced,
    "transpose": _transposed,
    "broadcast_to": _spread,
}


def is_member(node: Expr) -> bool:
    """Whether a node can be part of a region."""
    type = node.type
    return node.op.family == "elementwise" and not type.shape and type.dtype in STORABLE


@dataclass(frozen=True, eq=False)
class Division:
    """A graph cut into regions.

    ``region_of`` tells the region of each scalar node; ``stands_for`` the operand that
    takes the place of a node that only differentiation sees; ``phase`` when a node is known: a
    tensor after the region of its phase, which comes after the tensors of the phase before.
    """

    order: list[Expr]
    regions: dict[int, Region]
    phase: dict[Expr, int]
    stands_for: dict[Expr, Expr]


def divide(nodes: Iterable[Expr], roots: Sequence[Expr]) -> Division:
    """Cut a graph into regions. A node is in the first region after all that it depends on."""
    order = sorted(nodes, key=lambda n: n.number)
    regions: dict[int, Region] = {}
    phase: dict[Expr, int] = {}
    stands_for: dict[Expr, Expr] = {}
    members: dict[Expr, int] = {}
    for node in order:
        args = [stands_for.get(a, a) for a in node.args] if stands_for else node.args
        if node.op.family == "derivative":
            stands_for[node] = args[0]
            phase[node] = phase[args[0]]
        elif is_member(node):
            own = 1
            for a in args:
                own = max(own, phase[a] if a in members else phase[a] + 1)
            phase[node] = members[node] = own
            if own not in regions:
                regions[own] = Region()
            regions[own].add(node, args)
        else:
            phase[node] = max([phase[a] for a in args], default=0)
        _note_uses(node, args, regions, members)
    for root in roots:
        root = stands_for.get(root, root)
        if root in members:
            regions[members[root]].wanted.add(regions[members[root]].number[root])
    return Division(order, regions, phase, stands_for)


def _note_uses(
    node: Expr, args: Sequence[Expr], regions: dict[int, Region], members: dict[Expr, int]
) -> None:
    """Mark operands that lie in other regions, or are read by a tensor."""
    own = members.get(node)
    for a in args:
        other = members.get(a)
        if other is not None and other != own:
            regions[other].wanted.add(regions[other].number[a])


def slot_dtype(region: Region) -> DType:
    """The element type of slots that hold every value of a region exactly."""
    narrow = all(n.dtype in NARROW for n in region.nodes)
    return float32 if narrow else float64
