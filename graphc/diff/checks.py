"""What may be differentiated, and the errors that say why something may not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from graphc.errors import DifferentiationError, DTypeError, GraphError, ShapeError
from graphc.expr import Expr, ExprLike, constant, describe, topological
from graphc.structure import flatten

Unused = Literal["error", "zero"]


def as_list(given: Any) -> list[Expr]:
    """One expression or several, also in a dict or nested, as a list (else GraphError)."""
    found, _ = flatten(given)
    for x in found:
        check_expression(x)
    if given is None:
        raise GraphError("a derivative was asked for with None, not an expression", hint=_HINT)
    return found


def in_form(given: Any, values: Sequence[Any]) -> Any:
    """A value for each expression, in the form of these: dicts give dicts, sequences lists."""
    _, form = flatten(given)
    return list(values) if form.flat and form.kind is tuple else form.build(values)


_HINT = "give expressions: an input, a parameter or any other node, in lists or dicts"


def check_expression(x: Any) -> None:
    """GraphError, with the remedy, if something else was given."""
    if isinstance(x, Expr):
        return
    hint = _HINT
    if hasattr(x, "graph") and hasattr(x, "snapshots"):
        hint = "differentiate what it was compiled from, f.graph.outputs, and compile that too"
    elif callable(x):
        hint = "derivatives are taken of expressions: call the function on inputs first"
    elif isinstance(x, str):
        hint = (
            f"give the node itself, not its name: the {x} that gr.tensor or gr.parameter made"
        )
    what = f"{x!r}" if isinstance(x, (str, int, float)) else type(x).__name__
    raise GraphError(f"a derivative was asked for with {what}, not an expression", hint=hint)


def check_output(who: str, output: Expr) -> None:
    """The output must be a float."""
    check_expression(output)
    if not output.dtype.is_float:
        raise DifferentiationError(
            f"{who}: the output is {output.dtype}, not a float",
            where=describe([("output", output)]),
            hint="cast it with .astype before, or differentiate what it was computed from",
        )


def check_scalar(who: str, output: Expr) -> None:
    """The output must be a float of rank 0."""
    check_output(who, output)
    if output.ndim:
        raise DifferentiationError(
            f"{who}: the output has shape {output.shape}, not ()",
            where=describe([("output", output)]),
            hint="sum it (gr.sum), or use gr.vjp for a weighted sum, gr.jacobian for all rows",
        )


def check_targets(
    who: str, outputs: Sequence[Expr], targets: Iterable[Expr], unused: Unused
) -> None:
    """Targets must be floats that some output depends on, unless ``unused`` is "zero"."""
    if unused not in ("error", "zero"):
        raise DifferentiationError(f"{who}: unused is error or zero, not {unused!r}")
    reached = set(topological(outputs))
    for target in targets:
        check_expression(target)
        if not target.dtype.is_float:
            raise DifferentiationError(
                f"{who}: the target is {target.dtype}; only floats have derivatives",
                where=describe([("target", target)]),
            )
        if target not in reached and unused == "error":
            raise DifferentiationError(
                f"{who}: the output does not depend on {target.name or 'the target'}",
                where=describe([*(("output", o) for o in outputs), ("target", target)]),
                hint='check which node was meant, or pass unused="zero" for zeros',
            )


def directions(
    who: str, role: str, nodes: Sequence[Expr], values: Any, single: bool
) -> list[Expr]:
    """Tangents or cotangents, one of each node's type.

    Numbers and arrays take the node's element type; a form unlike that of the nodes, another
    shape or another element type is an error.
    """
    if not single and (not isinstance(values, Iterable) or isinstance(values, Expr)):
        raise DifferentiationError(
            f"{who}: the {role}s are a list, not {type(values).__name__}",
            where=describe([("value", n) for n in nodes]),
            hint=f"one {role} for each, in a list of the same order",
        )
    given = [values] if single else list(values)
    if len(given) != len(nodes):
        raise DifferentiationError(
            f"{who}: {len(given)} {role}s for {len(nodes)} values",
            where=describe([("value", n) for n in nodes]),
            hint=f"one {role} for each, in a list of the same order",
        )
    return [_direction(who, role, n, v) for n, v in zip(nodes, given, strict=True)]


def _direction(who: str, role: str, node: Expr, value: ExprLike) -> Expr:
    found = value if isinstance(value, Expr) else constant(value, node.dtype)
    where = describe([("value", node), (role, found)])
    if found.dtype != node.dtype:
        raise DTypeError(
            f"{who}: the {role} is {found.dtype}, its value {node.dtype}",
            where=where,
            hint=f"cast it: .astype({node.dtype.name!r})",
        )
    if found.shape != node.shape:
        raise ShapeError(
            f"{who}: the {role} has shape {found.shape}, its value {node.shape}",
            where=where,
            hint=f"a {role} has the shape of its value",
        )
    return found
