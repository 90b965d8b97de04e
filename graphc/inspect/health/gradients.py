"""Sizes of gradients along a network: what vanishes, explodes, is dead or saturated.

Gradients are those of one call, computed with NumPy. A row's norm is the Euclidean norm of the
loss' derivative for a parameter, an input, an activation, or what leaves a named part.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from graphc.arguments import samples
from graphc.diff.checks import as_list, check_scalar, check_targets
from graphc.diff.reverse import accumulate, spread
from graphc.errors import GraphError, InputError
from graphc.expr import Expr, constant_value, describe, scalar_like, topological
from graphc.inspect.tables.report import aligned
from graphc.interpret import evaluate
from graphc.ops.leaves import Parameter
from graphc.origin import Scope

Array = np.ndarray[Any, Any]
Kind = Literal["parameter", "input", "node", "activation", "scope"]

#: A norm below this share of that of the row nearest to the loss is vanishing.
VANISHING = 1e-3
#: A norm above this multiple of that of the row nearest to the loss is exploding.
EXPLODING = 1e3
#: A sigmoid or tanh whose slope is below this share of its largest is saturated.
SATURATED_SLOPE = 0.05
#: Shares of dead units, of saturated elements, from which a row is marked.
DEAD_SHARE = SATURATED_SHARE = 0.5

#: Activations that are cut off on both sides, and their limits.
_LIMITS = {"hard_tanh": (-1.0, 1.0), "hard_sigmoid": (0.0, 1.0), "relu6": (0.0, 6.0)}


@dataclass(frozen=True)
class GradientRow:
    """The gradient at one place.

    Attributes
    ----------
    name, kind, type
        A parameter, an input or other target, an activation, or a named part of the graph.
    norm
        Euclidean norm of the gradient. Of a part: of the gradients of all that leaves it.
    weights
        Euclidean norm of a parameter's value; ``ratio`` is ``norm / weights``.
    dead
        Of rectifiers: the share of units that are zero for every example (the first axis;
        of a vector each element is a unit). They pass no gradient on.
    saturated
        The share of elements where the slope is below ``SATURATED_SLOPE`` of its largest.
    relative
        The norm over that of the row nearest to the loss (of parameters: among parameters).
    """

    name: str
    kind: Kind
    type: str
    norm: float
    weights: float | None = None
    dead: float | None = None
    saturated: float | None = None
    relative: float = 1.0

    @property
    def ratio(self) -> float | None:
        return None if not self.weights else self.norm / self.weights

    @property
    def verdict(self) -> str:
        """``vanishing``, ``exploding``, ``zero``, ``not finite``, ``dead``, ``saturated``."""
        found = [self._size()]
        if self.dead is not None and self.dead >= DEAD_SHARE:
            found.append("dead")
        if self.saturated is not None and self.saturated >= SATURATED_SHARE:
            found.append("saturated")
        return ", ".join(filter(None, found)) or "ok"

    def _size(self) -> str:
        if not np.isfinite(self.norm):
            return "not finite"
        if self.norm == 0:
            return "zero"
        if self.relative < VANISHING:
            return "vanishing"
        return "exploding" if self.relative > EXPLODING else ""


@dataclass(frozen=True)
class GradientReport:
    """Rows in the order of the graph, inputs first. Prints as text; notebooks show a table."""

    rows: tuple[GradientRow, ...]

    def __iter__(self) -> Iterator[GradientRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> GradientRow:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)

    @property
    def marked(self) -> tuple[GradientRow, ...]:
        """Rows whose verdict is not ``ok``."""
        return tuple(row for row in self.rows if row.verdict != "ok")

    def to_dict(self) -> dict[str, Any]:
        """The rows as JSON values."""
        names = ("name", "kind", "type", "norm", "weights", "ratio", "dead", "saturated")
        return {
            "rows": [
                {n: getattr(row, n) for n in (*names, "relative", "verdict")}
                for row in self.rows
            ]
        }

    def _table(self) -> list[list[str]]:
        head = ["gradient of", "type", "norm", "relative", "norm / weights", "dead"]
        rows = [[*head, "saturated", "verdict"]]
        for row in self.rows:
            shares = [_percent(row.dead), _percent(row.saturated)]
            numbers = [f"{row.norm:.6g}", f"{row.relative:.3g}"]
            ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
            rows.append([row.name, row.type, *numbers, ratio, *shares, row.verdict])
        return rows

    def __str__(self) -> str:
        return "\n".join(aligned(self._table()))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *rows = self._table()
        cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
        lines = [f"<tr>{cells}</tr>"]
        for row in rows:
            mark = "" if row[-1] == "ok" else ' style="background:#fbe3dd"'
            cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
            lines.append(f"<tr{mark}>{cells}</tr>")
        return f"<table>{''.join(lines)}</table>"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def gradient_norms(
    loss: Expr,
    targets: Expr | Sequence[Expr] | None = None,
    inputs: Mapping[Expr, Any] | Mapping[str, Any] | Sequence[Any] | None = None,
    *,
    sizes: Mapping[str, int] | None = None,
) -> GradientReport:
    """Norms of a loss' gradient for parameters and along the network, with verdicts.

    Parameters
    ----------
    loss
        A float of rank 0.
    targets
        Parameters, inputs or other nodes; by default the trainable parameters that the loss
        depends on, or, if there are none, its float inputs.
    inputs
        Arrays for the inputs, by input, by name, or in a list. Parameters have their own values
        unless others are given.
    sizes
        Values of symbolic sizes; by default those of the inputs' axes.

    Raises
    ------
    DifferentiationError
        As `grad`.
    InputError
        If values for an input are missing.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.scalar("x", "float64")
    >>> y = gr.sigmoid(gr.sigmoid(gr.sigmoid(x)))
    >>> print(gr.gradient_norms(y, x, {x: 0.0}))
    gradient of   type       norm  relative  norm / weights  dead  saturated  verdict
    x            f64[]  0.0133521    0.0134                                   ok
    sigmoid      f64[]  0.0534084    0.0534                             0.0%  ok
    sigmoid#2    f64[]   0.227266     0.227                             0.0%  ok
    sigmoid#3    f64[]          1         1                             0.0%  ok
    """
    check_scalar("gradient_norms", loss)
    order = topological([loss])
    wanted = default_targets(order) if targets is None else as_list(targets)
    check_targets("gradient_norms", [loss], wanted, "error")
    given = _given(order, inputs)
    table = accumulate([(loss, scalar_like(1, loss))], wanted)
    places = _places(order, table, set(wanted))
    nodes = list(dict.fromkeys(node for place in places for node in place.nodes))
    adjoints = [spread(table[node], node) for node in nodes]
    found = evaluate([*adjoints, *order], given, sizes)
    gradients = dict(zip(nodes, found[: len(nodes)], strict=True))
    values = dict(zip(order, found[len(nodes) :], strict=True))
    return GradientReport(_related([_row(p, gradients, values) for p in places]))


def default_targets(order: Sequence[Expr]) -> list[Expr]:
    """Trainable parameters, else float inputs."""
    floats = [n for n in order if n.dtype.is_float]
    found: list[Expr] = [n for n in floats if isinstance(n, Parameter) and n.trainable]
    return found or [n for n in floats if n.op.name == "input"]


def _given(order: Sequence[Expr], inputs: Any) -> dict[Expr, Array]:
    leaves = [n for n in order if n.op.family == "leaf"]
    given = {} if inputs is None else samples("gradient_norms", leaves, inputs)
    missing = [n for n in order if n.op.name == "input" and n not in given]
    if missing:
        raise InputError(
            f"gradient_norms: no values for {missing[0].name!r}",
            where=describe([("input", n) for n in missing]),
            hint="inputs={x: array} for each input of the loss",
        )
    return given


# Places -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """Where a gradient is taken: nodes, and the activations that belong to them."""

    name: str
    kind: Kind
    nodes: tuple[Expr, ...]
    activations: tuple[Expr, ...] = ()


def _places(
    order: Sequence[Expr], table: Mapping[Expr, Expr], targets: set[Expr]
) -> list[_Place]:
    """Targets, scopes and activations on the way of the gradient, in the order of the graph."""
    position = {node: number for number, node in enumerate(order)}
    acting = {n for n in order if n in table and is_activation(n)} - _limits_at_infinity(order)
    found = [_target(n, acting) for n in order if n in targets and n in table]
    scopes = list(_scopes(order, table, acting))
    alone = {p.nodes[0] for p in scopes if len(p.nodes) == 1}
    found += scopes
    found += [
        _Place(n.name or n.op.name, "activation", (n,), (n,))
        for n in order
        if n in acting and n not in alone and n not in targets
    ]
    found.sort(key=lambda place: max(position[n] for n in place.nodes))
    return list(_numbered(found))


def _limits_at_infinity(order: Sequence[Expr]) -> set[Expr]:
    """What activations such as gelu take at infinite operands only."""
    selects = [n for n in order if n.op.name == "where" and n.args[0].op.name == "isinf"]
    return {a for n in selects for a in n.args[1:]}


def _target(node: Expr, acting: set[Expr]) -> _Place:
    kind: Kind = "node"
    if node.op.name in ("parameter", "input"):
        kind = "parameter" if node.op.name == "parameter" else "input"
    own = (node,) if node in acting else ()
    return _Place(node.name or node.op.name, kind, (node,), own)


def _scopes(
    order: Sequence[Expr], table: Mapping[Expr, Expr], acting: set[Expr]
) -> Iterator[_Place]:
    """Named parts: what leaves them, and the activations inside."""
    members: dict[Scope, list[Expr]] = {}
    for node in order:
        for scope in _enclosing(node):
            members.setdefault(scope, []).append(node)
    users: dict[Expr, list[Expr]] = {}
    for node in order:
        for a in node.args:
            users.setdefault(a, []).append(node)
    for scope, nodes in members.items():
        inside = set(nodes)
        leaving = [
            n
            for n in nodes
            if n in table and n.args and any(u not in inside for u in users.get(n, [None]))
        ]
        if leaving:
            acts = tuple(n for n in nodes if n in acting)
            yield _Place(scope.path, "scope", tuple(leaving), acts)


def _enclosing(node: Expr) -> Iterator[Scope]:
    scope = node.scope
    while scope is not None:
        yield scope
        scope = scope.parent


def _numbered(places: Iterable[_Place]) -> Iterator[_Place]:
    """Names that come again are numbered: ``relu``, ``relu#2``."""
    seen: dict[str, int] = {}
    for place in places:
        seen[place.name] = seen.get(place.name, 0) + 1
        again = "" if seen[place.name] == 1 else f"#{seen[place.name]}"
        yield _Place(place.name + again, place.kind, place.nodes, place.activations)


# Activations --------------------------------------------------------------------------------


def is_activation(node: Expr) -> bool:
    """Whether dead units or saturation can be told of a node."""
    return node.op.name in ("sigmoid", "tanh") or is_relu(node) or _limits(node) is not None


def is_relu(node: Expr) -> bool:
    """``maximum(x, 0)``, or ``x`` where it is positive and 0 elsewhere."""
    if node.op.name == "maximum":
        return any(_is_zero(a) for a in node.args)
    if node.op.name != "where" or _limits(node) is not None:
        return False
    condition, then, otherwise = node.args
    kept = then if _is_zero(otherwise) else otherwise
    one_side = _is_zero(then) != _is_zero(otherwise)
    signs = ("less", "less_equal", "greater", "greater_equal")
    at_zero = condition.op.name in signs and any(_is_zero(a) for a in condition.args)
    return one_side and at_zero and kept in condition.args


def _is_zero(x: Expr) -> bool:
    value = constant_value(x)
    return value is not None and value.size == 1 and not value.any()


def _limits(node: Expr) -> tuple[float, float] | None:
    """Limits of an activation that is cut off: its outermost select."""
    if node.op.name != "where" or node.scope is None:
        return None
    return _LIMITS.get(node.scope.name) if node.args[2].op.name == "where" else None


def _dead(value: Array) -> tuple[int, int]:
    """Units that are zero for every example, and all units."""
    units = value if value.ndim < 2 else value.any(axis=0)
    return int(np.count_nonzero(units == 0)), units.size


def _saturated(node: Expr, value: Array) -> tuple[int, int]:
    """Elements with nearly no slope, and all elements."""
    limits = _limits(node)
    if limits is not None:
        flat = (value == limits[0]) | (value == limits[1])
    elif node.op.name == "sigmoid":
        flat = 4 * value * (1 - value) < SATURATED_SLOPE
    else:
        flat = 1 - np.square(value) < SATURATED_SLOPE
    return int(np.count_nonzero(flat)), value.size


def _share(counts: Sequence[tuple[int, int]]) -> float | None:
    total = sum(size for _, size in counts)
    return sum(hits for hits, _ in counts) / total if total else None


# Rows ---------------------------------------------------------------------------------------


def _row(
    place: _Place, gradients: Mapping[Expr, Array], values: Mapping[Expr, Array]
) -> GradientRow:
    acts = [(n, values[n]) for n in place.activations]
    return GradientRow(
        place.name,
        place.kind,
        ", ".join(str(n.type) for n in place.nodes),
        _norm([gradients[n] for n in place.nodes]),
        _norm([values[n] for n in place.nodes]) if place.kind == "parameter" else None,
        _share([_dead(v) for n, v in acts if is_relu(n)]),
        _share([_saturated(n, v) for n, v in acts if not is_relu(n)]),
    )


def _norm(arrays: Sequence[Array]) -> float:
    """Euclidean norm, scaled so that squares neither overflow nor underflow."""
    wide = [a.astype(np.float64).ravel() for a in arrays]
    top = max((float(np.max(np.abs(a))) for a in wide if a.size), default=0.0)
    if top == 0 or not np.isfinite(top):
        return top
    return top * float(np.sqrt(sum(float(np.sum(np.square(a / top))) for a in wide)))


def _related(rows: Sequence[GradientRow]) -> tuple[GradientRow, ...]:
    """Each norm over that of the row of its sort that is nearest to the loss."""
    nearest: dict[bool, float] = {}
    for row in rows:
        nearest[row.kind == "parameter"] = row.norm
    return tuple(
        GradientRow(
            **{
                **vars(row),
                "relative": _over(row.norm, nearest[row.kind == "parameter"]),
            }
        )
        for row in rows
    )


def _over(norm: float, reference: float) -> float:
    if reference == 0:
        return 1.0 if norm == 0 else float("inf")
    return norm / reference


def loss_of(outputs: Sequence[Expr], who: str) -> Expr:
    """The first output that is a float of rank 0 (GraphError if there is none)."""
    for node in outputs:
        if node.dtype.is_float and not node.ndim:
            return node
    raise GraphError(
        f"{who}: no output is a float of rank 0",
        where=describe([("output", o) for o in outputs]),
        hint="gr.gradient_norms(loss, parameters, inputs) takes any loss",
    )
