"""A graph to compile: inputs, outputs, updates of parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from graphc.errors import DTypeError, GraphError, ShapeError
from graphc.expr import Expr, Literal, describe, topological
from graphc.ops.leaves import Parameter
from graphc.types import Dim, DType, Guard, TensorType, size_symbols

if TYPE_CHECKING:
    from graphc.origin import Scope
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
        after = Graph(self.inputs, tuple(roots[:n]), tuple(updates), settled)
        if tuple(roots) == self.roots and "_nodes" in vars(self):
            vars(after)["_nodes"] = self._nodes
        return after

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


# Content --------------------------------------------------------------------------------------

#: Names of rewrite rules that are not graphc's own: what they do, nothing tells.
foreign_rules: set[str] = set()


def content(graph: Graph) -> str | None:
    """What a graph says, but for lines and scopes: two with one text compile to the same code.

    None if that cannot be told: with rules or constants of unknown making, or if parts are to
    be computed again, which depends on where nodes come from. Nodes stand in the order in
    which they were made, as it breaks ties.
    """
    leaves = (*graph.inputs, *graph.parameters())
    order = sorted({*graph.nodes(), *leaves}, key=attrgetter("number"))
    if foreign_rules or any(map(_is_checkpoint, {n.scope for n in order})):
        return None
    place = {node: str(i) for i, node in enumerate(order)}

    def places(nodes: Sequence[Expr]) -> str:
        return " ".join([place[n] for n in nodes])

    targets = [p for p, _ in graph.updates]
    lines = list(map(places, (graph.inputs, graph.outputs, targets, graph.roots)))
    try:
        for node in order:
            name = repr(node.name) if node.name else ""
            lines.append(f"{node.op.name}({places(node.args)}){_told(node)}{name}")
    except KeyError:
        return None
    return "\n".join(lines)


def _is_checkpoint(scope: Scope | None) -> bool:
    while scope is not None and not scope.checkpoint:
        scope = scope.parent
    return scope is not None


def _told(node: Expr) -> str:
    """The constants of a node (KeyError if one is of an unknown type). Marks that only
    differentiation sees have none that matter."""
    if not node.attrs or node.op.family == "derivative":
        return ""
    return " ".join([f"{name}={_text(value)}" for name, value in node.attrs.items()])


def _text(value: Any) -> str:
    if type(value) is tuple:
        return f"({','.join(map(_text, value))})"
    return _TEXTS[type(value)](value)


def _literal(value: Literal) -> str:
    data = value.array.tobytes()
    if len(data) <= 32:
        told = data.hex()
    else:
        from hashlib import sha256  # slow to import

        told = sha256(data).hexdigest()
    return f"{value.array.dtype.str}{value.array.shape}{told}"


#: How constants of nodes are told, by type; each says all that there is to say.
_TEXTS: dict[type, Callable[[Any], str]] = {
    **dict.fromkeys((type(None), bool, int, Dim, DType, TensorType), str),
    str: repr,
    float: float.hex,
    Literal: _literal,
}
