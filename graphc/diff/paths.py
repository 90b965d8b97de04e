"""Pathwise aggregation: a derivative as a sum over paths, and the table that avoids the sum.

``d o / d w`` is the sum, over all paths from ``w`` to ``o``, of the products of the local
derivatives ``z(i, j) = d j / d i`` along the path (Bauer, "Computational graphs and rounding
error", 1974). The number of paths grows exponentially with depth; it is counted, and the
adjoints ``S(i, o)`` are computed, in linear time by dynamic programming.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from graphc.diff.checks import check_expression, check_scalar
from graphc.diff.reverse import accumulate, pull, scale, spread
from graphc.errors import DifferentiationError, UnsupportedOpError
from graphc.expr import Expr, describe, scalar_like, topological
from graphc.ops.movement import broadcast_to, sum_to
from graphc.ops.table import Partial
from graphc.origin import stemming, uncollected

#: More paths than this are not listed unless asked for.
LIMIT = 10_000


@dataclass(frozen=True, eq=False)
class Edge:
    """One use of ``operand`` by ``user``, through which a derivative can flow.

    ``local`` is ``d user / d operand`` where the operation is elementwise, None where it is
    a linear map without a formula for each element (a contraction, a sum over axes).
    """

    user: Expr
    operand: Expr
    position: int
    local: Partial | None

    def pull(self, ct: Expr | None) -> Expr:
        """The user's cotangent (None: ones) times the local derivative."""
        with stemming(f"d {self.user.op.name}", self.user):
            if self.local is None:
                full = spread(_one(self.user) if ct is None else ct, self.user)
                piece = pull(self.user, full)[self.position]
                assert piece is not None
            elif ct is None:
                piece = _lifted(self.local, self.user)
            else:
                piece = scale(ct, self.local)
            return sum_to(piece, self.operand.shape) if piece.ndim else piece


def edges_of(node: Expr) -> list[Edge]:
    """The uses of a node's operands that a derivative can flow through."""
    if not node.dtype.is_float or not node.args:
        return []
    return [
        Edge(node, operand, place, local)
        for place, (operand, local) in enumerate(zip(node.args, _locals(node), strict=True))
        if local != 0 and operand.dtype.is_float
    ]


def _locals(node: Expr) -> list[Partial | None]:
    """Local derivatives for the operands: 0 if structurally zero, None if no formula."""
    op = node.op
    with stemming(f"d {op.name}", node):
        if op.partials is not None:
            return [0 if p is None else p for p in op.partials(node, *node.args)]
        if op.vjp is None:
            raise UnsupportedOpError(
                f"{op.name} has no derivative", where=describe([("node", node)])
            )
        pieces = pull(node, spread(_one(node), node))
    formula = op.family == "elementwise"
    return [0 if p is None else p if formula else None for p in pieces]


def _one(like: Expr) -> Expr:
    return scalar_like(1, like)


def _lifted(local: Partial, like: Expr) -> Expr:
    return scalar_like(local, like) if isinstance(local, int) else local


def edges_between(o: Expr, w: Expr) -> tuple[list[Expr], dict[Expr, list[Edge]]]:
    """Nodes on paths from ``w`` to ``o``, operands first, and the edges on those paths."""
    for node in (o, w):
        check_expression(node)
    alive, found = {w}, dict[Expr, list[Edge]]()
    order = topological([o])
    for node in order:
        if node is w or not any(a in alive for a in node.args):
            continue
        kept = [edge for edge in edges_of(node) if edge.operand in alive]
        if kept:
            alive.add(node)
            found[node] = kept
    return [n for n in order if n in alive], found


def _times_passed(
    o: Expr, order: Iterable[Expr], edges: Mapping[Expr, list[Edge]]
) -> dict[Expr, int]:
    """For each node the number of paths from it to ``o``; ``order`` has operands first."""
    counts = {o: 1}
    for node in reversed(list(order)):
        for edge in edges.get(node, ()) if node in counts else ():
            counts[edge.operand] = counts.get(edge.operand, 0) + counts[node]
    return counts


def count_paths(o: Expr, w: Expr) -> int:
    """Number of paths from ``w`` to ``o`` that a derivative can flow along, exactly.

    Parallel edges count each: ``x * x`` has two paths. Operands with a derivative that is zero
    everywhere (conditions, positions, what is rounded) are on no path. Takes linear time.

    Examples
    --------
    >>> import graphc as gr
    >>> x = y = gr.scalar("x")
    >>> for _ in range(100):
    ...     y = y * y
    >>> gr.count_paths(y, x) == 2**100
    True
    """
    return _times_passed(o, *edges_between(o, w)).get(w, 0)


def count_operations(o: Expr, w: Expr) -> int:
    """Multiplications and additions of the sum over all paths, each path by itself.

    A path of ``k`` edges takes ``k - 1`` multiplications, ``p`` paths ``p - 1`` additions: in
    all one less than the total length of the paths.
    """
    order, edges = edges_between(o, w)
    above = _times_passed(o, order, edges)
    below = {w: 1}
    length = 0
    for node in order:
        for edge in edges.get(node, ()):
            below[node] = below.get(node, 0) + below[edge.operand]
            length += above.get(node, 0) * below[edge.operand]
    return max(length - 1, 0)


@dataclass(frozen=True, eq=False)
class Path:
    """One way from ``w`` to ``o``.

    Attributes
    ----------
    nodes
        From ``w`` to ``o``.
    local
        ``d nodes[i + 1] / d nodes[i]``; None where the operation is not elementwise.
    product
        The product of the local derivatives, of the shape of ``w``.
    """

    nodes: tuple[Expr, ...]
    local: tuple[Expr | None, ...]
    product: Expr

    def __len__(self) -> int:
        """Number of edges."""
        return len(self.local)


def paths(o: Expr, w: Expr, *, limit: int = LIMIT) -> Iterator[Path]:
    """The paths from ``w`` to ``o``: nodes, local derivatives, product.

    The sum of the products is the derivative of ``o``: this is what `grad` computes without
    listing the paths.

    Parameters
    ----------
    o
        A float of rank 0.
    w
        A node that ``o`` depends on; where it does not, there are no paths.
    limit
        Largest number of paths to list.

    Raises
    ------
    DifferentiationError
        If there are more; the message says how many.

    Examples
    --------
    >>> import graphc as gr
    >>> a, b = gr.scalar("a"), gr.scalar("b")
    >>> d = a * (a + b)
    >>> for path in gr.paths(d, a):
    ...     print(len(path), gr.formula(path.product))
    1 a + b
    2 a
    """
    check_scalar("paths", o)
    order, edges = edges_between(o, w)
    number = _times_passed(o, order, edges).get(w, 0)
    if number > limit:
        raise DifferentiationError(
            f"paths: there are {count_text(number)} paths, the limit is {limit}",
            where=describe([("output", o), ("target", w)]),
            hint="gr.grad and gr.adjoints sum over all of them in linear time; or pass limit=",
        )
    return _listed(o, w, edges)


def _listed(o: Expr, w: Expr, edges: Mapping[Expr, list[Edge]]) -> Iterator[Path]:
    """Depth first from ``o``; what paths share above is multiplied once."""
    if o is w:
        yield Path((w,), (), _one(w))
        return
    trail: list[Edge] = []
    products: list[Expr | None] = [None]
    open_edges = [iter(edges.get(o, ()))]
    while open_edges:
        edge = next(open_edges[-1], None)
        if edge is None:
            open_edges.pop()
            products.pop()
            if trail:
                trail.pop()
            continue
        product = edge.pull(products[-1])
        if edge.operand is w:
            yield _path([*trail, edge], product)
            continue
        trail.append(edge)
        products.append(product)
        open_edges.append(iter(edges[edge.operand]))


def _path(trail: list[Edge], product: Expr) -> Path:
    upward = trail[::-1]
    local = tuple(None if e.local is None else _lifted(e.local, e.user) for e in upward)
    nodes = (upward[0].operand, *(e.user for e in upward))
    return Path(nodes, local, broadcast_to(product, nodes[0].shape))


def adjoints(o: Expr) -> dict[Expr, Expr]:
    """The table of the reverse sweep: for each node that ``o`` depends on, ``d o / d node``.

    ``S(o, o) = 1`` and ``S(i, o)`` is the sum over the users ``j`` of ``i`` of ``S(j, o) *
    z(i, j)``, users first. Nodes that are no floats are not in the table; the adjoint of a
    float that only steps depend on is zero.

    Examples
    --------
    >>> import graphc as gr
    >>> w = gr.scalar("w")
    >>> u = (w * w).named("u")
    >>> table = gr.adjoints(u * u)
    >>> print(gr.formula(table[u]))
    u = w * w
    1 * u + 1 * u
    """
    check_scalar("adjoints", o)
    order = [n for n in topological([o]) if n.dtype.is_float]
    with uncollected():
        table = accumulate([(o, _one(o))], order)
        return {
            node: spread(table.get(node, scalar_like(0, node)), node)
            for node in reversed(order)
        }


def count_text(number: int) -> str:
    """A count with spaces between thousands; its magnitude if it has over 30 digits."""
    if number < 10**30:
        return f"{number:,}".replace(",", " ")
    return f"about 10^{math.floor(math.log10(number))}"


__all__ = ["Path", "adjoints", "count_paths", "paths"]
