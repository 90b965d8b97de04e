"""Which forward node a derivative stems from, and which adjoint it is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from graphc.diff.paths import adjoints
from graphc.errors import GraphcError
from graphc.expr import Expr, rebuild, topological
from graphc.inspect.subject import derivative_orders, is_derivative_rule
from graphc.rewrite.cse import Interner, merged

#: Outputs whose sweeps are shown.
MOST = 4


def forward_stem(node: Expr) -> Expr | None:
    """The node, no derivative itself, whose differentiation made this one; None if none did."""
    found = None
    while (origin := node.origin) is not None:
        if is_derivative_rule(origin.rule):
            found = origin.stem
        node = origin.stem if origin.copy_of is None else origin.copy_of
    return found


def differentiated(roots: Sequence[Expr]) -> tuple[list[Expr], dict[Expr, Expr]]:
    """Scalars whose derivatives a graph holds, and the heirs of what derivatives stem from.

    All derivatives stem from the differentiated node or from what it depends on; of the nodes
    they stem from, and of the scalar results, those count whose adjoints are most of what is
    there. A graph without derivatives gives its scalar results.
    """
    nodes = topological(roots)
    orders = derivative_orders(nodes)
    scalars = [r for r in dict.fromkeys(roots) if not orders[r] and _is_output(r)]
    stems = dict.fromkeys(s for n in nodes if (s := forward_stem(n)) is not None)
    if not stems:
        return scalars[:MOST], adopted([], roots)
    used = {a for n in topological(stems) for a in n.args}
    ends = [n for n in stems if n not in used]
    heirs = adopted(ends, roots)
    stemmed = [heirs[n] for n in ends if _is_output(n)]
    candidates = list(dict.fromkeys([*scalars, *stemmed]))[: 2 * MOST]
    derivatives = [n for n in nodes if orders[n] and n.args]
    return _explaining(candidates, derivatives) or stemmed[:MOST], heirs


def _is_output(node: Expr) -> bool:
    return node.ndim == 0 and node.dtype.is_float and bool(node.args)


def _explaining(candidates: Sequence[Expr], derivatives: Sequence[Expr]) -> list[Expr]:
    """The candidates of whose adjoints most are among some derivatives.

    What a chosen one depends on is not chosen too: its adjoints are parts of sums.
    """
    known = {c: set(adjoint_names([c], derivatives)) for c in candidates}
    chosen: list[Expr] = []
    inside: set[Expr] = set()
    explained: set[Expr] = set()
    for c in sorted(candidates, key=lambda c: -len(known[c])):
        if known[c] - explained and c not in inside and len(chosen) < MOST:
            chosen.append(c)
            inside.update(topological([c]))
            explained |= known[c]
    return sorted(chosen, key=candidates.index)


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


class Adjoint(NamedTuple):
    """S(node, o), where o is one of the differentiated outputs, by its number."""

    node: Expr
    output: int


def adjoint_names(
    outputs: Sequence[Expr], derivatives: Iterable[Expr]
) -> dict[Expr, tuple[Adjoint, ...]]:
    """For each derivative what adjoints it is, by its formula."""
    tables = [_adjoints(o) for o in outputs]
    wanted = list(derivatives)
    cotangents = [ct for table in tables for ct in table.values()]
    keys = _meanings([*wanted, *cotangents], set(topological(outputs)))
    owners: dict[int, list[Adjoint]] = {}
    for number, table in enumerate(tables):
        for node, ct in table.items():
            if ct.args:
                owners.setdefault(keys[ct], []).append(Adjoint(node, number))
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
