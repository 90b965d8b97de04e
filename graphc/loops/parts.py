"""Parts of joins: nodes that are computed where the node lies that is joined from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from graphc.expr import Expr, topological
from graphc.graph import Graph
from graphc.loops.access import Access, contiguous, only_ones, whole
from graphc.loops.group import Group
from graphc.types import Size, same_size


def origin(x: Expr) -> Expr:
    """The node whose elements these are, in order and with axes of size 1 more or less."""
    while x.op.name == "reshape" and only_ones(x.args[0].shape, x.shape):
        x = x.args[0]
    return x


def parts(join: Expr, place: Access) -> Iterator[tuple[Expr, Access]]:
    """The operands of a concatenation that lies at a place, and where each has to be."""
    axis, start = join.attrs["axis"], place.offset
    step = place.strides[axis]
    for x in join.args:
        yield x, Access(place.base, place.strides, start)
        start = start + step * x.shape[axis]


def parts_of_joins(graph: Graph, groups: Sequence[Group]) -> dict[Expr, Access]:
    """Where nodes lie that need no memory besides that of the node joined from them.

    They are concatenations, or computed element by element in a loop nest. Each is a part of
    one concatenation; parts whose rows are apart in memory are read element by element.
    """
    group_of = {node: group for group in groups for node in group.nodes}
    users: dict[Expr, list[Expr]] = {}
    for node in graph.nodes():
        for x in node.args:
            users.setdefault(x, []).append(node)
    roots, found = set(graph.roots), dict[Expr, Access]()
    for join in reversed(topological(graph.roots)):
        if join.op.name != "concatenate":
            continue
        for x, place in parts(join, found.get(join) or whole(join)):
            node = origin(x)
            if node in found or node in roots or not _is_placed(node, group_of.get(node)):
                continue
            access = Access(place.base, _strides(node, x, place), place.offset)
            if access.strides == contiguous(node.shape) or _by_element(node, users):
                found[node] = access
    return found


def _is_placed(node: Expr, group: Group | None) -> bool:
    """Whether a node is written element by element, to where it is wanted."""
    if group is None:
        return node.op.name == "concatenate"
    return node not in group.reduced or group.is_row(node)


def _strides(node: Expr, x: Expr, place: Access) -> tuple[Size, ...]:
    """Those of the axes of a node that ``x`` has with axes of size 1 more or less."""
    kept = (t for s, t in zip(x.shape, place.strides, strict=True) if not same_size(s, 1))
    return tuple(0 if same_size(s, 1) else next(kept) for s in node.shape)


def _by_element(node: Expr, users: Mapping[Expr, Sequence[Expr]]) -> bool:
    """Whether no reader needs the elements one after another."""
    pending = list(users[node])
    while pending:
        user = pending.pop()
        if user.op.name == "reshape" and origin(user) is node:
            pending += users.get(user, ())
        elif user.op.family != "elementwise" and user.op.name not in ("concatenate", "copy"):
            return False
    return True
