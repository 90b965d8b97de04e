"""What a stage did to a graph, node by node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from graphc.expr import Expr
from graphc.pipeline import Snapshot

Fate = Literal["same", "new", "rewritten", "merged"]


@dataclass(frozen=True)
class Change:
    """From one snapshot to the next.

    Attributes
    ----------
    before
        For each node the nodes of the graph before that became it.
    fate
        ``merged``: several did. ``new``: none did. ``rewritten``: one did, which a rule wrote
        otherwise. ``same``: one did, at most on other operands.
    gone
        Nodes of the graph before that nothing in the graph stands for.
    """

    before: dict[Expr, list[Expr]]
    fate: dict[Expr, Fate]
    gone: list[Expr]


def changes(snapshots: Sequence[Snapshot]) -> list[Change | None]:
    """One for each snapshot; None for the first."""
    return [None, *(change(a, b) for a, b in pairwise(snapshots))]


def change(old: Snapshot, new: Snapshot) -> Change:
    before: dict[Expr, list[Expr]] = {n: [] for n in new.graph.nodes()}
    gone = []
    for node in old.graph.nodes():
        image = new.moves.final.get(node, node)
        if image in before:
            before[image].append(node)
        else:
            gone.append(node)
    return Change(before, {n: _fate(n, stems) for n, stems in before.items()}, gone)


def _fate(node: Expr, before: Sequence[Expr]) -> Fate:
    if not before:
        return "new"
    if len(before) > 1:
        return "merged"
    (old,) = before
    alike = old.op is node.op and old.attrs == node.attrs and len(old.args) == len(node.args)
    return "same" if alike and old.origin is node.origin else "rewritten"
