"""The scalar parts of a graph as arrays of numbers.

A region holds scalar nodes between which no tensor lies, in the order in which they were
made. Equal nodes are one. What a region reads from outside are its externals: constants,
and elements of other nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import numpy as np

from graphc.expr import Expr, Literal, constant_value
from graphc.ops.movement import broadcast_to
from graphc.types import DType, Shape, bool_, float32, float64, int8, int32, same_size, uint8

Ints: TypeAlias = "np.ndarray[Any, Any]"

#: Element types that lie in a slot without loss: the first ones in float32, all in float64.
NARROW = (float32, bool_, int8, uint8)
STORABLE = (*NARROW, float64, int32)
_STORABLE = frozenset(map(id, STORABLE))

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
    vectors
        Tensors that are made of its values: their elements as operands.
    stacks
        Those that something outside the region reads.
    number
        The number of each node that is in the region, or equal to one that is.
    """

    nodes: list[Expr] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    operands: list[tuple[int, ...]] = field(default_factory=list)
    externals: list[Element | Literal] = field(default_factory=list)
    wanted: set[int] = field(default_factory=set)
    vectors: dict[Expr, list[int]] = field(default_factory=dict)
    stacks: dict[Expr, list[int]] = field(default_factory=dict)
    number: dict[Expr, int] = field(default_factory=dict)
    _known: dict[tuple[int, tuple[int, ...]], int] = field(default_factory=dict)
    _external: dict[Element | Literal, int] = field(default_factory=dict)
    _external_of: dict[Expr, int] = field(default_factory=dict)
    _tokens: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def add(self, node: Expr, args: Sequence[Expr]) -> None:
        """Take in a node whose operands are ``args``."""
        number, external = self.number, self._external_of
        operands = tuple([
            number[a] if a in number else external[a] if a in external else self.external(a)
            for a in args
        ])  # fmt: skip
        token, count = self.token(node, args), len(self.nodes)
        found = self._known.setdefault((token, operands), count)
        number[node] = found
        if found == count:
            self.nodes.append(node)
            self.tokens.append(token)
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

    def add_vector(self, node: Expr, phase: Mapping[Expr, int], own: int) -> None:
        """Remember the elements of a vector that is put together of values of the region."""
        elements: list[int] = []
        for x in _parts(node):
            if x in self.vectors:
                elements += self.vectors[x]
                continue
            number = constant_behind(x)
            if number is not None:
                elements += [self.external(number)] * (_length(x) or 0)
                continue
            found = element(x) if _length(x) == 1 else None
            if found is None or (found.base not in self.number and phase[found.base] >= own):
                return
            elements.append(self.number.get(found.base, NONE))
            if elements[-1] == NONE:
                elements[-1] = self.external(x)
        if 2 * sum(e >= 0 for e in elements) >= len(elements) > 1:
            self.vectors[node] = elements

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
    """What a node of one element stands for, looked at through views."""
    at: tuple[int, ...] = (0,) * x.ndim
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
    return (
        node.op.family == "elementwise"
        and (not type.shape or _length(node) == 1)
        and id(type.dtype) in _STORABLE
    )


def _length(x: Expr) -> int | None:
    """How many elements a node has, if that is a number."""
    if not x.shape:
        return 1
    size = x.type.size
    return size if isinstance(size, int) else None


def constant_behind(x: Expr) -> Expr | None:
    """The number that a node repeats, None if it does not."""
    while x.op.name in ("broadcast_to", "reshape"):
        x = x.args[0]
    return x if not x.shape and constant_value(x) is not None else None


def _parts(node: Expr) -> Sequence[Expr]:
    """What a tensor is put together of, in the order of its elements; nothing if unknown."""
    if any(not isinstance(s, int) for s in node.shape):
        return ()
    if node.op.name == "reshape":
        return node.args
    if node.op.name == "concatenate":
        leading = node.shape[: node.attrs["axis"]]
        return node.args if all(s == 1 for s in leading) else ()
    if node.op.name == "pad":
        return _padded_parts(node)
    return ()


def _padded_parts(node: Expr) -> Sequence[Expr]:
    """Padding before and after along the first axis that is not of size 1."""
    x, fill = node.args
    axis = next((a for a, s in enumerate(node.shape) if s != 1), 0)
    widths = [w for a, w in enumerate(node.attrs["widths"]) if a != axis]
    low, high, between = node.attrs["widths"][axis]
    if between or any(any(w) for w in widths):
        return ()
    rest = node.shape[axis + 1 :]
    sides = [broadcast_to(fill, (n, *rest)) if n else None for n in (low, high)]
    return [p for p in (sides[0], x, sides[1]) if p is not None]


@dataclass(frozen=True, eq=False)
class Division:
    """A graph cut into regions.

    Attributes
    ----------
    order
        All nodes, operands first.
    regions
        The regions by their phase.
    phase
        When a node is known: a tensor after the region of its phase, which comes after the
        tensors of the phase before.
    members
        The scalar nodes of the regions.
    stands_for
        For a node that only differentiation sees the operand that takes its place.
    behind
        For a node of one element that is another one reshaped that other one.
    """

    order: Sequence[Expr]
    regions: dict[int, Region] = field(default_factory=dict)
    phase: dict[Expr, int] = field(default_factory=dict)
    members: set[Expr] = field(default_factory=set)
    stands_for: dict[Expr, Expr] = field(default_factory=dict)
    behind: dict[Expr, Expr] = field(default_factory=dict)

    def meant(self, nodes: Sequence[Expr]) -> Sequence[Expr]:
        """The nodes, with those that only differentiation sees left out."""
        return [self.stands_for.get(n, n) for n in nodes] if self.stands_for else nodes

    def add(self, node: Expr) -> None:
        args = self.meant(node.args)
        if node.op.family == "derivative":
            self.stands_for[node] = args[0]
            self.phase[node] = self.phase[args[0]]
            return
        if is_member(node):
            behind = self.behind
            self.add_member(node, [behind.get(a, a) for a in args] if behind else args)
            return
        self.phase[node] = phase = max([self.phase[a] for a in args], default=0)
        if node.op.name == "reshape" and _length(node) == 1:
            base = element(node).base
            if _length(base) == 1:
                self.behind[node] = self.stands_for.get(base, base)
                return
        region = self.regions.get(phase)
        if region is not None and node.op.name in ("concatenate", "pad", "reshape"):
            region.add_vector(node, self.phase, phase)

    def add_member(self, node: Expr, args: Sequence[Expr]) -> None:
        phase, members, phases = 1, self.members, self.phase
        for a in args:
            reached = phases[a] if a in members else phases[a] + 1
            if reached > phase:
                phase = reached
        phases[node] = phase
        members.add(node)
        if phase not in self.regions:
            self.regions[phase] = Region()
        self.regions[phase].add(node, args)

    def settle(self, rolled: Mapping[int, Region], roots: Sequence[Expr]) -> set[Expr]:
        """Mark what is wanted of the rolled regions; gives the other nodes that are needed."""
        needed: set[Expr] = set()

        def need(x: Expr) -> None:
            if x in self.members and self.phase[x] in rolled:
                region = rolled[self.phase[x]]
                region.wanted.add(region.number[x])
            else:
                needed.add(x)

        for x in self.meant(roots):
            need(x)
        for region in rolled.values():
            for meaning in region.externals:
                if isinstance(meaning, Element):
                    need(meaning.base)
        for node in reversed(self.order):
            if node not in needed:
                continue
            phase = self.phase[node]
            if phase in rolled and node in rolled[phase].vectors:
                rolled[phase].stacks[node] = rolled[phase].vectors[node]
                continue
            for x in self.meant(node.args):
                need(x)
        return needed


def divide(order: Sequence[Expr]) -> Division:
    """Cut a graph into regions. A node is in the first region after all that it depends on."""
    found = Division(order)
    for node in order:
        found.add(node)
    return found


def slot_dtype(region: Region) -> DType:
    """The element type of slots that hold every value of a region exactly."""
    narrow = all(n.dtype in NARROW for n in region.nodes)
    return float32 if narrow else float64
