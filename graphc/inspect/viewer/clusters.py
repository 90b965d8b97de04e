"""Scopes as a forest of boxes in boxes, such that folding any of them leaves no cycle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphc.expr import Expr
from graphc.inspect.viewer.document import Cluster
from graphc.origin import Scope


@dataclass(frozen=True)
class Part:
    """A scope's nodes of one side and one order of differentiation."""

    scope: Scope
    order: int
    side: int


def clusters(
    nodes: Sequence[Expr], sides: Mapping[Expr, int], orders: Mapping[Expr, int]
) -> tuple[tuple[Cluster, ...], dict[Expr, int]]:
    """The clusters, outer ones first, and the innermost cluster of each node that has one.

    A part that would depend on itself through nodes outside is dissolved: its nodes belong to
    the part around it.
    """
    paths = {n: _path(n, sides[n], orders[n]) for n in nodes}
    found: list[Cluster] = []
    owner: dict[Expr, int] = {}
    pending = [(list(nodes), 0, -1)]
    while pending:
        members, depth, parent = pending.pop()
        _dissolve(members, paths, depth)
        inside: dict[Part, list[Expr]] = {}
        for node in members:
            if len(paths[node]) > depth:
                inside.setdefault(paths[node][depth], []).append(node)
            elif parent >= 0:
                owner[node] = parent
        for part, own in inside.items():
            title = "d " * part.order + part.scope.name
            pending.append((own, depth + 1, len(found)))
            found.append(Cluster(title, part.scope.path, parent, part.side, part.order))
    return tuple(found), owner


def _path(node: Expr, side: int, order: int) -> list[Part]:
    """The parts a node belongs to, outermost first. Inputs belong to none."""
    path: list[Part] = []
    scope = node.scope if node.op.name != "input" else None
    while scope is not None:
        path.append(Part(scope, order, side))
        scope = scope.parent
    return path[::-1]


def _dissolve(members: Sequence[Expr], paths: dict[Expr, list[Part]], depth: int) -> None:
    """Take away the parts of one level that hold one node only or lie on a cycle."""
    while wrong := _single(members, paths, depth) or _tangled(members, paths, depth):
        for node in members:
            if len(paths[node]) > depth and paths[node][depth] in wrong:
                del paths[node][depth]


def _single(members: Sequence[Expr], paths: Mapping[Expr, list[Part]], depth: int) -> set[Part]:
    sizes = Counter(paths[n][depth] for n in members if len(paths[n]) > depth)
    return {part for part, size in sizes.items() if size < 2}


def _tangled(
    members: Sequence[Expr], paths: Mapping[Expr, list[Part]], depth: int
) -> set[Part]:
    """Of each knot of parts all but the largest; the largest, if it is tangled by itself."""
    import networkx

    items: dict[Expr, Expr | Part] = {
        n: paths[n][depth] if len(paths[n]) > depth else n for n in members
    }
    graph = networkx.DiGraph()
    for node, item in items.items():
        graph.add_edges_from(
            (items[a], item) for a in node.args if a in items and items[a] != item
        )
    sizes = Counter(items.values())
    wrong: set[Part] = set()
    for knot in networkx.strongly_connected_components(graph):
        parts = sorted((p for p in knot if isinstance(p, Part)), key=lambda p: sizes[p])
        if len(knot) > 1:
            wrong.update(parts[:-1] or parts)
    return wrong
