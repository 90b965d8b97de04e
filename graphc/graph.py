"""A graph to compile: inputs, outputs, updates of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from graphc.errors import DTypeError, GraphError, ShapeError
from graphc.expr import Expr, describe, topological
from graphc.ops.leaves import Parameter
from graphc.types import Guard, size_symbols

if TYPE_CHECKING:
    from graphc.rewrite.engine import Settled


@dataclass(frozen=True, eq=False)
class Graph:
    """What a stage receives and returns.

    ``updates`` pairs a parameter with its next value; all next values are computed from
    the parameters as they were. ``settled`` tells the next stage which rules have nothing left
    to do.
    """

    inputs: tuple[Expr, ...]
    outputs: tuple[Expr, ...]
    updates: tuple[tuple[Parameter, Expr], ...] = ()
    settled: Settled | None = None

    @property
    def roots(self) -> tuple[Expr, ...]:
        """Outputs, then the next values of the updates."""
        return (*self.outputs, *(value for _, value in self.updates))

    def with_roots(self, roots: Sequence[Expr], settled: Settled | None = None) -> Graph:
        """The same graph with its outputs and next values replaced, in order of `roots`."""
        n = len(self.outputs)
        updates = zip((p for p, _ in self.updates), roots[n:], strict=True)
        return Graph(self.inputs, tuple(roots[:n]), tuple(updates), settled)

    def nodes(self) -> tuple[Expr, ...]:
        """All nodes the roots depend on, operands first."""
        return self._nodes

    @cached_property
    def _nodes(self) -> tuple[Expr, ...]:
        return tuple(topological(self.roots))

    def parameters(self) -> tuple[Parameter, ...]:
        """Parameters that are read or updated, in order of appearance."""
        read = [n for n in self._nodes if isinstance(n, Parameter)]
        return tuple(dict.fromkeys([*read, *(p for p, _ in self.updates)]))


def check(graph: Graph) -> Graph:
    """The graph itself, if it is well formed (GraphError, ShapeError, DTypeError otherwise)."""
    _check_inputs(graph)
    _check_leaves(graph)
    for parameter, value in graph.updates:
        _check_update(parameter, value)
    return graph


def _check_inputs(graph: Graph) -> None:
    names: dict[str, Expr] = {}
    for x in graph.inputs:
        if not isinstance(x, Expr) or x.op.name != "input":
            shown = describe([("input", x)]) if isinstance(x, Expr) else [repr(x)]
            if isinstance(x, Parameter):
                raise GraphError(
                    f"the parameter {x.name!r} is no input: its value is read at each call",
                    where=shown,
                    hint="leave it out of the inputs, or make a leaf with gr.tensor",
                )
            raise GraphError(
                "an input of a compiled function must be a leaf",
                where=shown,
                hint="make it with gr.tensor(name, shape); parameters are read by themselves",
            )
        other = names.setdefault(x.name or "", x)
        if other is x and graph.inputs.count(x) > 1:
            raise GraphError(
                f"the input {x.name!r} is given twice", where=describe([("input", x)])
            )
        if other is not x:
            raise GraphError(
                f"two inputs are named {x.name!r}",
                where=describe([("first", other), ("second", x)]),
                hint="give each leaf its own name",
            )


def _check_leaves(graph: Graph) -> None:
    given = set(graph.inputs)
    missing = [n for n in graph.nodes() if n.op.name == "input" and n not in given]
    if missing:
        names = ", ".join(repr(n.name) for n in missing)
        raise GraphError(
            f"the outputs depend on {names}, not among the inputs",
            where=describe([("leaf", n) for n in missing]),
            hint="add it to the inputs, or replace it by a constant",
        )
    leaves: dict[str, Expr] = {x.name or "": x for x in graph.inputs}
    for p in graph.parameters():
        other = leaves.setdefault(p.name or "", p)
        if other is not p:
            both = isinstance(other, Parameter)
            raise GraphError(
                f"two parameters are named {p.name!r}"
                if both
                else f"an input and a parameter are named {p.name!r}",
                where=describe([("first", other), ("second", p)]),
                hint="give each leaf its own name",
            )


def _check_update(parameter: Parameter, value: Expr) -> None:
    shown = describe([("parameter", parameter), ("next value", value)])
    if parameter.shape != value.shape:
        raise ShapeError(
            f"the update of {parameter.name!r} has shape {value.shape}, not {parameter.shape}",
            where=shown,
        )
    if parameter.dtype != value.dtype:
        raise DTypeError(
            f"the update of {parameter.name!r} is {value.dtype}, not {parameter.dtype}",
            where=shown,
            hint=f"cast it: .astype({parameter.dtype.name!r})",
        )


def graph_symbols(graph: Graph) -> tuple[str, ...]:
    """Names of the symbolic sizes of a graph's leaves, in order of appearance."""
    names: dict[str, None] = {}
    for leaf in (*graph.inputs, *graph.parameters()):
        for size in leaf.shape:
            names.update(dict.fromkeys(sorted(size_symbols(size))))
    return tuple(names)


def graph_guards(graph: Graph) -> tuple[Guard, ...]:
    """Conditions on symbolic sizes that the graph's operations rely on."""
    found: dict[Guard, None] = {}
    for node in graph.nodes():
        if node.op.guards is not None:
            for guard in node.op.guards([a.type for a in node.args], node.attrs):
                found[guard] = None
    return tuple(found)
