"""Nodes as rows of a table, numbered as they are met."""

from __future__ import annotations

from graphc.expr import Expr
from graphc.inspect.history.provenance import history
from graphc.inspect.subject import Compiled
from graphc.inspect.tables.cost import node_cost
from graphc.inspect.text.notation import inline
from graphc.inspect.viewer.document import Node, Texts
from graphc.inspect.viewer.templates import Locals, template


class NodeTable:
    """Rows of the nodes asked for, and of their operands."""

    def __init__(self, texts: Texts, function: Compiled | None = None) -> None:
        """``function`` tells what became of the nodes that it was made from."""
        self.rows: list[Node] = []
        self._function = function
        self._texts = texts
        self._numbers: dict[Expr, int] = {}
        self._locals = Locals()

    def number(self, node: Expr) -> int:
        """The place of a node's row."""
        pending = [node]
        while pending:
            at = pending[-1]
            missing = [n for n in at.args if n not in self._numbers]
            if missing and at not in self._numbers:
                pending.extend(missing)
                continue
            pending.pop()
            if at not in self._numbers:
                self._numbers[at] = len(self.rows)
                self.rows.append(self._row(at))
        return self._numbers[node]

    def _steps(self, node: Expr) -> tuple[tuple[int, ...], ...]:
        found = history(node, self._function).steps
        return tuple(
            tuple(map(self._texts.place, (s.kind, s.stage, s.rule, s.detail))) for s in found
        )

    def _row(self, node: Expr) -> Node:
        place = self._texts.place
        work = node_cost(node)
        local = [None if t is None else place(t) for t in self._locals.of(node)]
        source, scope, origin = node.source, node.scope, node.origin
        return Node(
            place(node.op.name),
            place(str(node.type)),
            place(template(node)),
            tuple(self._numbers[a] for a in node.args),
            node.name,
            inline(node),
            place(f"{source}\n{source.text}") if source else None,
            place(scope.path) if scope else None,
            place(origin.rule) if origin else None,
            self._steps(node) if inline(node) is None else (),
            place(str(work.flops)) if node.args else None,
            place(str(work.nbytes)) if node.args else None,
            tuple(local) if any(t is not None for t in local) else (),
            True if len(node.args) > 1 and "commutative" not in node.op.facts else None,
        )
