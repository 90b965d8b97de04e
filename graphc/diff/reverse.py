"""Reverse mode: dynamic programming over the graph, one cotangent for each node.

For an output ``o`` and a node ``i``, the adjoint ``S(i, o) = sum over users j of
S(j, o) * d j / d i`` with ``S(o, o) = 1``, in reverse topological order (parallel edges
count each). The table is built of expressions, so the result is a graph again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

from graphc.errors import DifferentiationError, UnsupportedOpError
from graphc.expr import (
    Expr,
    constant_value,
    describe,
    scalar_like,
    stemming,
    topological,
    uncollected,
)
from graphc.ops.elementwise import mask_of, masked, neg
from graphc.ops.movement import broadcast_to, sum_to
from graphc.ops.table import Partial

Unused = Literal["error", "zero"]


def scale(ct: Expr, by: Partial) -> Expr:
    """``ct * by``, with selects kept outermost: what was not chosen never meets ``by``.

    ``where(c, v, 0) * p`` would be ``0 * inf`` where ``p`` is infinite on the side not taken.
    """
    if isinstance(by, int):
        return ct if by == 1 else neg(ct)
    if _is_constant(by, 1) and not by.ndim:
        return ct
    if _is_constant(by, 0) and not by.ndim:
        return scalar_like(0, ct)
    for x, other in ((ct, by), (by, ct)):
        mask = mask_of(x)
        if mask is not None:
            condition, value, keep = mask
            return masked(condition, scale(value, other), keep)
    return ct * by


def _is_constant(x: Expr, number: float) -> bool:
    value = constant_value(x)
    return value is not None and value.size == 1 and bool((value == number).all())


def pull(node: Expr, ct: Expr) -> Sequence[Expr | None]:
    """Cotangents of a node's operands, given the node's own; None where structurally zero."""
    op = node.op
    if op.vjp is not None:
        return op.vjp(ct, node, *node.args)
    if op.partials is None:
        raise UnsupportedOpError(
            f"{op.name} has no derivative", where=describe([("node", node)])
        )
    partials = op.partials(node, *node.args)
    return [None if p is None else scale(ct, p) for p in partials]


def _unbroadcast(ct: Expr, x: Expr) -> Expr:
    """A cotangent in its operand's shape: summed where the operand was repeated."""
    if len(ct.shape) == len(x.shape) and ct.shape == x.shape:
        return ct
    if not ct.ndim and x.ndim:
        return broadcast_to(ct, x.shape)
    return sum_to(ct, x.shape)


def _dependents(order: Sequence[Expr], targets: Sequence[Expr]) -> set[Expr]:
    """Nodes that depend on a target."""
    found = set(targets)
    for node in order:
        if node not in found and any(a in found for a in node.args):
            found.add(node)
    return found


def accumulate(
    outputs: Sequence[tuple[Expr, Expr]], targets: Sequence[Expr]
) -> dict[Expr, Expr]:
    """The table: cotangents of all nodes between the targets and the outputs.

    ``outputs`` pairs each output with its cotangent. A node on the way whose derivative is zero
    everywhere (it is reached through steps or integers only) is not in the table.
    """
    order = topological([o for o, _ in outputs])
    on_path = _dependents(order, targets)
    pending: dict[Expr, list[Expr]] = {}
    for output, ct in outputs:
        pending.setdefault(output, []).append(ct)
    table: dict[Expr, Expr] = {}
    for node in reversed(order):
        if node not in on_path or node not in pending:
            continue
        with stemming("sum of paths", node):
            ct = _total(pending.pop(node))
        table[node] = ct
        if not any(a in on_path for a in node.args):
            continue
        with stemming(f"d {node.op.name}", node):
            for x, piece in zip(node.args, pull(node, _spread(ct, node)), strict=True):
                if piece is not None and x in on_path and x.dtype.is_float:
                    pending.setdefault(x, []).append(_unbroadcast(piece, x))
    return table


def _spread(ct: Expr, node: Expr) -> Expr:
    return ct if ct.shape == node.shape else broadcast_to(ct, node.shape)


def _total(terms: Sequence[Expr]) -> Expr:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


@overload
def grad(output: Expr, targets: Expr, *, unused: Unused = "error") -> Expr: ...
@overload
def grad(output: Expr, targets: Sequence[Expr], *, unused: Unused = "error") -> list[Expr]: ...


def grad(
    output: Expr, targets: Expr | Sequence[Expr], *, unused: Unused = "error"
) -> Expr | list[Expr]:
    """Gradient of a scalar, as a graph: one Expr for each target, of the target's type.

    Parameters
    ----------
    output
        A float of rank 0.
    targets
        Nodes (leaves or not) to differentiate with respect to.
    unused
        ``"error"``: a target that the output does not depend on raises; ``"zero"``: its
        gradient is zeros.

    Raises
    ------
    DifferentiationError
        If the output is not a float scalar, a target is not a float, or does not matter.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.scalar("x")
    >>> print(gr.show(gr.grad(gr.sin(x) * x, x)))  # doctest: +SKIP
    """
    wanted = [targets] if isinstance(targets, Expr) else list(targets)
    _check_output(output)
    if unused not in ("error", "zero"):
        raise DifferentiationError(f"grad: unused is error or zero, not {unused!r}")
    order = topological([output])
    reached = set(order)
    for target in wanted:
        _check_target(target, output, reached, unused)
    with uncollected():
        table = accumulate([(output, scalar_like(1, output))], wanted)
    found = [_gradient(table, target) for target in wanted]
    return found[0] if isinstance(targets, Expr) else found


def _gradient(table: dict[Expr, Expr], target: Expr) -> Expr:
    if target not in table:
        return broadcast_to(scalar_like(0, target), target.shape)
    return _spread(table[target], target)


def _check_output(output: Expr) -> None:
    if not output.dtype.is_float:
        raise DifferentiationError(
            f"grad: the output is {output.dtype}, not a float",
            where=describe([("output", output)]),
            hint="cast it with .astype before, or differentiate what it was computed from",
        )
    if output.ndim:
        raise DifferentiationError(
            f"grad: the output has shape {output.shape}, not ()",
            where=describe([("output", output)]),
            hint="sum it (gr.sum), or use gr.vjp for a weighted sum, gr.jacobian for all rows",
        )


def _check_target(target: Expr, output: Expr, reached: set[Expr], unused: Unused) -> None:
    if not target.dtype.is_float:
        raise DifferentiationError(
            f"grad: the target is {target.dtype}; only floats have derivatives",
            where=describe([("target", target)]),
        )
    if target not in reached and unused == "error":
        raise DifferentiationError(
            f"grad: the output does not depend on {target.name or 'the target'}",
            where=describe([("output", output), ("target", target)]),
            hint='check which node was meant, or pass unused="zero" for zeros',
        )
