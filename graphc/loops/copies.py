"""Copies that memory needs: views that strides cannot express, results given twice."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.expr import Expr, apply, rebuild
from graphc.graph import Graph
from graphc.loops.access import VIEWS, Access, inner_merges, only_ones, resolve, whole
from graphc.loops.group import LEAVES, OWN_KERNEL, is_position, is_scalar_constant
from graphc.loops.parts import origin
from graphc.ops.contraction import CONTRACT, parse
from graphc.ops.movement import COPY, transpose
from graphc.origin import stemming

#: Leaves that are computed where they are needed and have no memory.
COMPUTED = frozenset(["iota", "size"])


def with_copies(graph: Graph) -> tuple[Graph, dict[Expr, Expr]]:
    """The graph with ``copy`` nodes wherever a kernel needs elements in memory of their own,
    and what its nodes became.

    Afterwards every view that is not a root can be read by strides from a node that is no view,
    every operand of a node with a kernel of its own has memory, and every root is computed
    by a kernel, once. For an output that is a reshape of such a node, that node is the root:
    its elements lie as those of the output do.
    """
    made: dict[Expr, Expr] = {}
    taken = {_reshaped(root) for root in graph.roots}
    for node in graph.nodes():
        args = [made[a] for a in node.args]
        if node.op.name == "concatenate":
            args = [
                copy(a) if _is_taken(x, taken) else a
                for a, x in zip(args, node.args, strict=True)
            ]
        made[node] = _prepared(rebuild(node, args))
    roots: list[Expr] = []
    for number, root in enumerate(graph.roots):
        new = made[root]
        base = _reshaped(new) if number < len(graph.outputs) else new
        plain = base.op.name in VIEWS | LEAVES or base in roots
        roots.append(copy(new) if plain else base)
    same = tuple(roots) == graph.roots
    return (graph if same else graph.with_roots(roots)), made


def _is_taken(x: Expr, taken: set[Expr]) -> bool:
    """Whether a node computed elsewhere is needed as a part of one more join."""
    node = origin(x)
    if node.op.name in VIEWS | LEAVES or node not in taken:
        taken.add(node)
        return False
    return True


def copy(x: Expr) -> Expr:
    """The same elements in memory of their own."""
    with stemming("copy", x):
        return apply(COPY, (x,))


def _reshaped(x: Expr) -> Expr:
    """What a node, or a reshape of a reshape, is a reshape of."""
    while x.op.name == "reshape":
        x = x.args[0]
    return x


def strided(x: Expr) -> Access | None:
    """The access of a node, if every node that is no view had memory."""
    return resolve(x, lambda n: None if n.op.name in VIEWS else whole(n))


def _prepared(node: Expr) -> Expr:
    if node.op.name == "reshape" and not _reshapes(node):
        return rebuild(node, [copy(node.args[0])])
    if node.op is CONTRACT:
        return _contraction(node)
    if node.op.name in OWN_KERNEL:
        constants = node.op.name in ("concatenate", "pad")
        return rebuild(node, [_readable(x, constants) for x in node.args])
    if node.op.name == "gather" and not is_position(node):
        return rebuild(node, [_readable(node.args[0]), node.args[1]])
    return node


def _reshapes(node: Expr) -> bool:
    """Whether strides, or index arithmetic, express a reshape."""
    access = strided(node)
    if access is None:
        return False
    return access.base.op.name not in COMPUTED or only_ones(node.args[0].shape, node.shape)


def _readable(x: Expr, constants: bool = False) -> Expr:
    """The node, or a copy if it is computed where it is needed."""
    access = strided(x)
    assert access is not None
    base = access.base
    if constants and is_scalar_constant(x):
        return x
    return copy(x) if base.op.name in COMPUTED or is_scalar_constant(base) else x


def _contraction(node: Expr) -> Expr:
    """Operands whose summed letters step through memory as one axis in both."""
    node = rebuild(node, [_readable(x) for x in node.args])
    if inner_merges(node, strided):
        return node
    a, b, c = parse(node.attrs["subscripts"])
    inner = [x for x in a if x in b and x not in c]
    left, right = (_inner_last(letters, inner) for letters in (a, b))
    la, lb = "".join(a[i] for i in left), "".join(b[i] for i in right)
    with stemming("summed axes last", node):
        x, y = (
            copy(transpose(operand, axes))
            for operand, axes in zip(node.args, (left, right), strict=True)
        )
        return apply(CONTRACT, (x, y), {"subscripts": f"{la},{lb}->{c}"})


def _inner_last(letters: str, inner: Sequence[str]) -> list[int]:
    outer = [i for i, x in enumerate(letters) if x not in inner]
    return outer + [letters.index(x) for x in inner]
