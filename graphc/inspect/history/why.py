"""Answers of a compiled function: why a node is there, and why something did not happen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Protocol, TypeAlias, runtime_checkable

from graphc.errors import GraphError
from graphc.expr import Expr, describe
from graphc.inspect.history.fate import different, not_fused
from graphc.inspect.history.lineage import Fused, Lineage, lineage_of
from graphc.inspect.history.provenance import History, history, said, table_html
from graphc.inspect.history.rule_conditions import not_applied
from graphc.inspect.subject import snapshot
from graphc.inspect.text.listing import name_nodes
from graphc.options import Options
from graphc.rewrite.engine import RULES

#: A node, or what `graphc.show` calls it.
Which: TypeAlias = "Expr | str"


@runtime_checkable
class Optioned(Fused, Protocol):
    """A compiled function that knows how it was compiled."""

    @property
    def options(self) -> Options: ...


@dataclass(frozen=True)
class Answer:
    """Why something did not happen, or that it did. Prints as a few lines.

    Attributes
    ----------
    question
        What was asked.
    happened
        Whether it did happen after all.
    reasons
        Sentences, the decisive one first.
    """

    question: str
    happened: bool
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([self.question, *(f"  {reason}" for reason in self.reasons)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return table_html(self.question, [[reason] for reason in self.reasons])


def why(function: Optioned, node: Which, stage: str | None = None) -> History:
    """The rules that made a node, and what became of it.

    Raises
    ------
    GraphError
        If the function has no such node.
    """
    return history(find(function, node, stage), function)


def why_not(
    function: Optioned, what: str, a: Which, b: Which | None = None, stage: str | None = None
) -> Answer:
    """Why two nodes are not in one kernel (``"fuse"``) or not one node (``"cse"``), or why a
    rule was not applied to a node.

    Raises
    ------
    GraphError
        If there is no such rule or node, or ``b`` is missing or too much.
    """
    known = ["fuse", "cse", "multiply-add", *RULES]
    if not isinstance(what, str):
        raise GraphError(
            f"why_not: what did not happen? {type(what).__name__} does not say",
            hint='"fuse", "cse" or the name of a rule comes first: why_not("fuse", a, b)',
        )
    if what not in known:
        near = get_close_matches(what, known, 3, 0.5)
        raise GraphError(
            f"why_not: there is no rule {what!r}",
            hint=f"did you mean {' or '.join(near)}?" if near else _ALL,
        )
    if (b is not None) != (what in ("fuse", "cse")):
        raise GraphError(
            f"why_not: {what!r} is asked of {'one node' if b is not None else 'two nodes'}",
            hint='why_not("fuse", a, b), why_not("cse", a, b), why_not("mul-one", a)',
        )
    first = find(function, a, stage)
    lineage = lineage_of(function)
    if b is None:
        question = f"{what} on {said(first)}"
        did = [s for s in history(first, function).steps if s.rule == what]
        if did:
            return Answer(question, True, tuple(f"in {s.stage}: {s.detail}" for s in did))
        reasons = not_applied(lineage, function.options, what, first)
        return Answer(question, False, tuple(reasons))
    second = find(function, b, stage)
    if what == "fuse":
        happened, reasons = not_fused(lineage, function.options, first, second)
    else:
        happened, reasons = different(lineage, first, second)
    return Answer(f"{what}: {said(first)} and {said(second)}", happened, tuple(reasons))


_ALL = 'rules: graphc.rewrite.RULES, and "multiply-add", "fuse", "cse"'


# Nodes ----------------------------------------------------------------------------------------


def find(function: Optioned, which: Which, stage: str | None = None) -> Expr:
    """The node of a function that is meant (GraphError if there is none).

    A text is what `graphc.show` calls a node in the listing of a stage: of the last one unless
    told otherwise, or, if there is none there, of the first one that has it.
    """
    lineage = lineage_of(function)
    if isinstance(which, Expr):
        return _known(lineage, which)
    if not isinstance(which, str):
        raise GraphError(
            f"a node is an expression or a name, not {type(which).__name__}",
            hint="gr.show(f) names the nodes",
        )
    stages = [s.stage for s in function.snapshots]
    order = [stage] if stage is not None else [stages[-1], *stages[:-1]]
    seen: dict[str, Expr] = {}
    for name in order:
        nodes = snapshot(function.snapshots, name).graph.nodes()
        names = {label: node for node, label in name_nodes(nodes).items()}
        if which in names:
            return names[which]
        seen = {**names, **seen}
    raise _no_such_name(which, order, list(seen))


def _no_such_name(which: str, stages: Sequence[str], names: Sequence[str]) -> GraphError:
    near = get_close_matches(which, names, 3, 0.5)
    where = f"stage {stages[0]!r}" if len(stages) == 1 else "any stage"
    return GraphError(
        f"no node of {where} is called {which!r}",
        hint=f"did you mean {' or '.join(near)}?" if near else "gr.show(f) names the nodes",
    )


def _known(lineage: Lineage, node: Expr) -> Expr:
    if lineage.last_passage(node) < 0:
        raise GraphError(
            "the function has no such node",
            where=describe([("node", node)]),
            hint="give a node that its outputs depend on, or of one of its stages",
        )
    return node
