"""Which forward node a derivative stems from, and which adjoint it is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from graphc.diff.paths import adjoints
from graphc.errors import GraphcError
from graphc.expr import Expr, rebuild, topological
from graphc.inspect.subject import is_derivative_rule
from graphc.rewrite.cse import Interner, merged

#: Outputs whose sweeps are shown.
MOST = 4


def forward_stem(node: Expr) -> Expr | None:
    """The node, no derivative itself, whose differentiation made this one; None if none did."""
    found = None
    while (origin := node.origin) is not None:
        if is_derivative_rule(origin.rule):
            found = origin.stem
        node = origin.copy_of or origin.stem
    return found


def differentiated(roots: Sequence[Expr]) -> list[Expr]:
    """Scalars whose derivatives a graph holds; if it holds none, its scalar results.

    All derivatives stem from the differentiated node or from what it depends on.
    """
    stems = [s for n in topological(roots) if (s := forward_stem(n)) is not None]
    candidates = list(dict.fromkeys(stems)) or list(roots)
    used = {a for n in topological(candidates) for a in n.args}
    ends = [n for n in candidates if n not in used and n.ndim == 0 and n.dtype.is_float]
    return [n for n in dict.fromkeys(ends) if n.args][:MOST]


def adopted(outputs: Sequence[Expr], roots: Sequence[Expr]) -> dict[Expr, Expr]:
    """For the nodes of some outputs the equal nodes of a graph; what it has not is rebuilt.

    A derivative that was rewritten, or taken alone, stems from nodes outside of its graph.
    """
    nodes = topological(roots)
    same = merged([*roots, *outputs], Interner())
    home = {same[n]: n for n in reversed(nodes)}
    found = {n: n for n in nodes}
    for node in topological(outputs):
        if node not in found:
            known = home.get(same[node])
            made = rebuild(node, [found[a] for a in node.args]) if known is None else known
            found[node] = made
    return found


def adjoint_names(
    outputs: Sequence[Expr], derivatives: Iterable[Expr]
) -> dict[Expr, tuple[Expr, ...]]:
    """For each derivative the nodes whose adjoint S(node) it is, by its formula."""
    tables = [table for o in outputs if (table := _adjoints(o))]
    wanted = list(derivatives)
    cotangents = [ct for table in tables for ct in table.values()]
    keys = _meanings([*wanted, *cotangents], set(topological(outputs)))
    owners: dict[int, list[Expr]] = {}
    for table in tables:
        for node, ct in table.items():
            if ct.args:
                owners.setdefault(keys[ct], []).append(node)
    return {n: tuple(owners[keys[n]]) for n in wanted if keys[n] in owners}


def _meanings(roots: Sequence[Expr], fixed: Collection[Expr]) -> dict[Expr, int]:
    """Numbers that are equal for equal formulas on the ``fixed`` nodes."""
    known: dict[tuple[object, ...], int] = {}
    numbers: dict[Expr, int] = {}
    for node in topological(roots):
        operands = [numbers[a] for a in node.args]
        if "commutative" in node.op.facts:
            operands.sort()
        leaf = node in fixed or node.op.name in ("input", "parameter")
        key = (node,) if leaf else (node.op, node.attrs, *operands)
        numbers[node] = known.setdefault(key, len(known))
    return numbers


def _adjoints(o: Expr) -> Mapping[Expr, Expr]:
    try:
        return adjoints(o)
    except GraphcError:
        return {}
