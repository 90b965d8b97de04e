"""A graph as boxes: one for each node, or for a whole scope where there are too many."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from graphc.expr import Expr
from graphc.inspect.subject import Subject, derivative_orders
from graphc.inspect.text.notation import inline
from graphc.origin import Scope

#: Boxes that a picture has at most, unless told otherwise.
LIMIT = 150


class Group(NamedTuple):
    """A scope's nodes of one order of differentiation: what is folded together.

    A derivative keeps the scope of what it was derived from, but lies elsewhere in the
    graph; one box for both would depend on itself.
    """

    scope: Scope
    order: int


@dataclass(frozen=True, eq=False)
class Box:
    """A node, or the nodes of a folded scope, or of a stretch of the graph (no scope)."""

    nodes: tuple[Expr, ...]
    order: int
    scope: Scope | None = None

    @property
    def folded(self) -> bool:
        return self.scope is not None or len(self.nodes) > 1

    @property
    def title(self) -> str:
        """The scope's name (``d relu`` for its derivative); of a stretch, first and last scope.

        Without scopes, the commonest operations.
        """
        if self.scope is not None:
            return "d " * self.order + self.scope.name
        names = [s.name for n in self.nodes if (s := _outermost(n.scope)) is not None]
        if names:
            ends = names[0] if names[0] == names[-1] else f"{names[0]} … {names[-1]}"
            return "d " * self.order + ends
        common = Counter(n.op.name for n in self.nodes).most_common(3)
        return " ".join(name for name, _ in common)


class Link(NamedTuple):
    """An edge between boxes, by position: ``operand`` of the target (0 if it is folded)."""

    source: int
    target: int
    operand: int


@dataclass(frozen=True)
class Folded:
    """Boxes, sources before targets, and the edges between them."""

    boxes: tuple[Box, ...]
    links: tuple[Link, ...]


def fold(subject: Subject, fold: bool | int | None = None) -> Folded:
    """Group the nodes of a graph into boxes. Numbers and symbolic sizes have no box.

    Parameters
    ----------
    fold
        False: a box for each node. True: a box for each outermost scope. A number: innermost
        scopes first, then stretches of the graph, until there are at most so many boxes
        (None: 150).
    """
    nodes = subject.nodes()
    roots = set(subject.roots)
    shown = [n for n in nodes if n in roots or inline(n) is None]
    orders = derivative_orders(shown)
    if fold is False:
        return _assemble(shown, [Box((n,), orders[n]) for n in shown])
    limit = None if fold is True else LIMIT if fold is None else fold
    folded = _choose(shown, orders, limit)
    while True:
        boxes = _boxes(shown, orders, folded)
        result, tangled = _ordered(shown, boxes)
        if not tangled:
            break
        folded -= tangled
    if limit is not None and len(result.boxes) > limit:
        result = _absorb(shown, result)
    if limit is not None and len(result.boxes) > limit:
        result = _cut(shown, result.boxes, limit)
    return result


def _outermost(scope: Scope | None) -> Scope | None:
    return max(_ancestors(scope), key=lambda s: s.parent is None, default=None)


def _ancestors(scope: Scope | None) -> Iterator[Scope]:
    while scope is not None:
        yield scope
        scope = scope.parent


def _choose(nodes: Sequence[Expr], orders: dict[Expr, int], limit: int | None) -> set[Group]:
    """Groups to fold, the deepest first, the larger ones before the smaller."""
    visible: Counter[Group] = Counter()
    for node in nodes:
        if node.op.name != "input":
            visible.update(Group(s, orders[node]) for s in _ancestors(node.scope))
    depth = {group: sum(1 for _ in _ancestors(group.scope)) for group in visible}
    folded: set[Group] = set()
    total = len(nodes)
    for group in sorted(visible, key=lambda g: (-depth[g], -visible[g])):
        if limit is not None and total <= limit:
            break
        saved = visible[group] - 1
        if saved <= 0:
            continue
        folded.add(group)
        total -= saved
        for scope in _ancestors(group.scope):
            visible[Group(scope, group.order)] -= saved
    return folded


def _boxes(nodes: Sequence[Expr], orders: dict[Expr, int], folded: set[Group]) -> list[Box]:
    members: dict[Group | Expr, list[Expr]] = {}
    for node in nodes:
        owner: Group | Expr = node
        if node.op.name != "input":
            for scope in _ancestors(node.scope):
                group = Group(scope, orders[node])
                owner = group if group in folded else owner
        members.setdefault(owner, []).append(node)
    return [
        Box(tuple(own), orders[own[0]], owner.scope if isinstance(owner, Group) else None)
        for owner, own in members.items()
    ]


def _links(nodes: Sequence[Expr], boxes: Sequence[Box]) -> list[Link]:
    place = {node: i for i, box in enumerate(boxes) for node in box.nodes}
    links: dict[Link, None] = {}
    for node in nodes:
        target = place[node]
        for position, operand in enumerate(node.args):
            source = place.get(operand, target)
            if source != target:
                exact = not boxes[target].folded
                links[Link(source, target, position if exact else 0)] = None
    return list(links)


def _ordered(nodes: Sequence[Expr], boxes: Sequence[Box]) -> tuple[Folded, set[Group]]:
    """Boxes in an order that respects the edges, and the groups that stand in the way."""
    links = _links(nodes, boxes)
    order = _peel(len(boxes), [(x.source, x.target) for x in links])
    if len(order) == len(boxes):
        place = {old: new for new, old in enumerate(order)}
        moved = [Link(place[x.source], place[x.target], x.operand) for x in links]
        return Folded(tuple(boxes[i] for i in order), tuple(moved)), set()
    back = _peel(len(boxes), [(x.target, x.source) for x in links])
    stuck = set(range(len(boxes))) - set(order) - set(back)
    groups = {Group(s, boxes[i].order) for i in stuck if (s := boxes[i].scope) is not None}
    return Folded((), ()), groups


def _peel(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Vertices in topological order, earliest first; those on or behind a cycle are missing."""
    targets: list[list[int]] = [[] for _ in range(count)]
    waiting = [0] * count
    for source, target in edges:
        targets[source].append(target)
        waiting[target] += 1
    ready = [i for i in range(count) if not waiting[i]]
    order = []
    while ready:
        vertex = heapq.heappop(ready)
        order.append(vertex)
        for target in targets[vertex]:
            waiting[target] -= 1
            if not waiting[target]:
                heapq.heappush(ready, target)
    return order


def _absorb(nodes: Sequence[Expr], whole: Folded) -> Folded:
    """Parameters and constants in the box of their first user, where that is a folded one."""
    user: dict[int, int] = {}
    for link in whole.links:
        user[link.source] = min(link.target, user.get(link.source, link.target))
    taken: dict[int, list[Expr]] = {}
    for i, box in enumerate(whole.boxes):
        leaf = not box.folded and box.nodes[0].op.family == "leaf"
        if leaf and box.nodes[0].op.name != "input" and i in user:
            taken.setdefault(user[i], []).extend(box.nodes)
    taken = {i: leaves for i, leaves in taken.items() if whole.boxes[i].folded}
    gone = {leaf for leaves in taken.values() for leaf in leaves}
    boxes = [
        Box((*taken[i], *box.nodes), box.order, box.scope) if i in taken else box
        for i, box in enumerate(whole.boxes)
        if box.folded or box.nodes[0] not in gone
    ]
    return _assemble(nodes, boxes)


def _cut(nodes: Sequence[Expr], boxes: Sequence[Box], limit: int) -> Folded:
    """Stretches of the order as boxes; leaves stay alone if they are few."""
    leaves = [b for b in boxes if b.nodes[0].op.family == "leaf" and not b.folded]
    if len(leaves) > limit // 3:
        leaves = []
    alone = set(leaves)
    rest = [b for b in boxes if b not in alone]
    length = -(-len(rest) // max(1, limit - len(leaves)))
    stretches = [rest[i : i + length] for i in range(0, len(rest), length)]
    merged = [
        s[0] if len(s) == 1 else Box(tuple(n for b in s for n in b.nodes), s[-1].order)
        for s in stretches
    ]
    return _assemble(nodes, [*leaves, *merged])


def _assemble(nodes: Sequence[Expr], boxes: Sequence[Box]) -> Folded:
    return _ordered(nodes, boxes)[0]
