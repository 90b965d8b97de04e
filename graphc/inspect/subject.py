"""What is looked at: one Expr, several, a Graph, or a stage of a compiled function."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from graphc.errors import GraphError
from graphc.expr import Expr, topological
from graphc.graph import Graph
from graphc.loops.ir import Program
from graphc.ops.leaves import Parameter
from graphc.pipeline import Snapshot


@runtime_checkable
class Compiled(Protocol):
    """What the inspection room needs of a compiled function."""

    @property
    def snapshots(self) -> Sequence[Snapshot]: ...
    @property
    def program(self) -> Program | None: ...


Inspectable: TypeAlias = "Expr | Sequence[Expr] | Graph | Compiled"

#: Stages after the graph stages; what they leave behind is the loop program.
PROGRAM_STAGES = ("fuse", "plan", "loops")


@dataclass(frozen=True)
class Subject:
    """Roots to look at, in order, which of them are next values of parameters, and whose they
    are, if a function was given."""

    outputs: tuple[Expr, ...]
    updates: tuple[tuple[Parameter, Expr], ...] = ()
    function: Compiled | None = None

    @property
    def roots(self) -> tuple[Expr, ...]:
        return (*self.outputs, *(value for _, value in self.updates))

    def nodes(self) -> list[Expr]:
        return topological(self.roots)


def subject_of(given: Inspectable, stage: str | None = None) -> Subject:
    """The graph to look at (GraphError if there is no such stage or nothing to see)."""
    if isinstance(given, Expr):
        return Subject((given,))
    function = given if isinstance(given, Compiled) else None
    if isinstance(given, Compiled):
        given = snapshot(given.snapshots, stage).graph
    if isinstance(given, Graph):
        return Subject(given.outputs, given.updates, function)
    outputs = tuple(given) if isinstance(given, Iterable) else ()
    if not outputs or not all(isinstance(o, Expr) for o in outputs):
        raise GraphError(
            f"{type(given).__name__} is not a graph",
            hint="give an Expr, a list of them, or a compiled function",
        )
    return Subject(outputs)


def snapshot(snapshots: Sequence[Snapshot], stage: str | None) -> Snapshot:
    """The last snapshot of that stage; the last of all if none is named."""
    for found in reversed(snapshots):
        if stage is None or found.stage == stage:
            return found
    names = ", ".join(dict.fromkeys(s.stage for s in snapshots))
    raise GraphError(
        f"there is no stage {stage!r}",
        hint=f"one of {names}; listings also have {PROGRAM_STAGES[-1]!r}",
    )


def is_derivative_rule(rule: str) -> bool:
    """Whether an `Origin.rule` names a step of differentiation, not a rewrite."""
    return rule == "sum of paths" or rule.startswith("d ")


def derivative_orders(nodes: Iterable[Expr]) -> dict[Expr, int]:
    """How often each node stems from a differentiation: 0 for what the user wrote.

    The stem of a node may itself be a derivative (a second derivative) or be gone from the
    graph (rewritten), so the whole chain of origins counts; and a derivative that is computed
    from derivatives of some order is of that order. ``nodes`` has operands first.
    """
    chains: dict[Expr, int] = {}
    orders: dict[Expr, int] = {}
    for node in nodes:
        order = _rules_in_chain(node, chains)
        orders[node] = max([order, *(orders.get(a, 0) for a in node.args)]) if order else 0
    return orders


def _rules_in_chain(node: Expr, known: dict[Expr, int]) -> int:
    """Number of derivative rules on the way from a node back along its origins."""
    chain: list[Expr] = []
    at: Expr | None = node
    while at is not None and at not in known:
        chain.append(at)
        at = at.origin.stem if at.origin else None
    count = known[at] if at is not None else 0
    for link in reversed(chain):
        count += bool(link.origin and is_derivative_rule(link.origin.rule))
        known[link] = count
    return count
