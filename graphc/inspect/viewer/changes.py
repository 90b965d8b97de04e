"""What a stage did to a graph, node by node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from graphc.expr import Expr
from graphc.inspect.history.lineage import Passage, lineage_of
from graphc.inspect.subject import Compiled

Fate = Literal["same", "new", "rewritten", "merged"]


@dataclass(frozen=True)
class Change:
    """From the graph before a stage to the graph after it.

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


def changes(function: Compiled) -> list[Change]:
    """What each graph stage changed, in order."""
    passages = lineage_of(function).passages[: len(function.snapshots) - 1]
    return [change(passage) for passage in passages]


def change(passage: Passage) -> Change:
    before = {n: passage.sources.get(n, []) for n in passage.after}
    gone = [n for n in passage.before if passage.final(n) not in passage.after]
    return Change(before, {n: _fate(n, stems) for n, stems in before.items()}, gone)


def _fate(node: Expr, before: Sequence[Expr]) -> Fate:
    if not before:
        return "new"
    if len(before) > 1:
        return "merged"
    (old,) = before
    alike = old.op is node.op and old.attrs == node.attrs and len(old.args) == len(node.args)
    return "same" if alike and old.origin is node.origin else "rewritten"
