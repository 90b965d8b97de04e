"""What became of nodes in one stage: its own tables, kept for those who ask later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graphc.expr import Expr


@dataclass(frozen=True, eq=False)
class Moves:
    """What a stage made of nodes, of those that it was given and of those that it met.

    Attributes
    ----------
    final
        The last form of each node of the graph before, and of others.
    passes
        For each pass over the graph the next form of nodes, which may have a next form too.
    applied
        Names of rules, by the node that they were applied to.
    """

    final: Mapping[Expr, Expr] = field(default_factory=dict)
    passes: tuple[Mapping[Expr, Expr], ...] = ()
    applied: Mapping[Expr, str] = field(default_factory=dict)

    def next(self, node: Expr) -> Expr | None:
        """The next form of a node, None if it has none."""
        if self.final.get(node) is node:
            return None
        found = (table.get(node, node) for table in self.passes)
        return next((form for form in found if form is not node), None)

    def forms(self, node: Expr) -> list[Expr]:
        """A node and its later forms, in order."""
        found = [node]
        while (after := self.next(found[-1])) is not None:
            found.append(after)
        return found
