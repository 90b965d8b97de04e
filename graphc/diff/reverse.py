"""Reverse mode: dynamic programming over the graph, one cotangent for each node.

For an output ``o`` and a node ``i``, the adjoint ``S(i, o) = sum over users j of
S(j, o) * d j / d i`` with ``S(o, o) = 1``, in reverse topological order (parallel edges
count each). The table is built of expressions, so the result is a graph again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any, TypeVar, overload

from graphc.diff.checks import (
    Unused,
    as_list,
    check_output,
    check_scalar,
    check_targets,
    directions,
    in_form,
)
from graphc.diff.pieces import side_by_side
from graphc.errors import UnsupportedOpError
from graphc.expr import Expr, constant_value, describe, scalar_like, substitute, topological
from graphc.ops.elementwise import logical_not, logical_or, mask_of, masked, neg
from graphc.ops.leaves import tensor
from graphc.ops.movement import broadcast_to, sum_to
from graphc.ops.table import Partial
from graphc.origin import note_parts, stemming, uncollected

K = TypeVar("K")


def scale(ct: Expr, by: Partial) -> Expr:
    """``ct * by``, with selects kept outermost: what was not chosen never meets ``by``.

    ``where(c, v, 0) * p`` would be ``0 * inf`` where ``p`` is infinite on the side not taken.
    """
    if isinstance(by, int):
        return ct if by == 1 else _negated(ct)
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


def _negated(ct: Expr) -> Expr:
    mask = mask_of(ct)
    if mask is None:
        return neg(ct)
    condition, value, keep = mask
    return masked(condition, _negated(value), keep)


def _is_constant(x: Expr, number: float) -> bool:
    value = constant_value(x)
    return value is not None and value.size == 1 and bool((value == number).all())


def pull(node: Expr, ct: Expr) -> Sequence[Expr | None]:
    """Cotangents of a node's operands, given the node's own; None where structurally zero."""
    op = node.op
    if op.vjp is not None:
        vjp = op.vjp
        if op.name not in _KEEPS_MASKS:
            return vjp(ct, node, *node.args)
        return under_mask(lambda part: vjp(part, node, *node.args), ct)
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
        goes_on = any(a in on_path for a in node.args)
        with stemming("sum of paths", node):
            joined = goes_on and node.op.partials is not None
            ct = total(pending.pop(node), joined=joined)
        table[node] = ct
        if not goes_on:
            continue
        with stemming(f"d {node.op.name}", node):
            pieces = list(pull(node, spread(ct, node)))
            note_parts(pieces)
            for place, (x, piece) in enumerate(zip(node.args, pieces, strict=True)):
                if piece is not None and x in on_path and x.dtype.is_float:
                    pieces[place] = piece = _unbroadcast(piece, x)
                    pending.setdefault(x, []).append(piece)
    return table


def spread(ct: Expr, node: Expr) -> Expr:
    """A derivative in the shape of its node; of a mask, the value is spread."""
    if ct.shape == node.shape:
        return ct
    mask = mask_of(ct)
    if mask is None:
        return broadcast_to(ct, node.shape)
    condition, value, keep = mask
    return masked(condition, broadcast_to(value, node.shape), keep)


def total(terms: Sequence[Expr], *, joined: bool = True) -> Expr:
    """Sum of at least one term; those under one mask are added under it.

    Where all terms are masked and the sum is to meet a local derivative (``joined``), the sum
    is masked by their conditions together: zero plus zero is not to meet an infinity either.
    """
    if len(terms) == 1:
        return terms[0]
    groups: dict[tuple[Expr, bool] | None, list[Expr]] = {}
    for term in terms:
        mask = mask_of(term)
        key = (mask[0], mask[2]) if mask else None
        groups.setdefault(key, []).append(mask[1] if mask else term)
    found = [
        _added(values) if key is None else masked(key[0], _added(values), key[1])
        for key, values in groups.items()
    ]
    if not joined or len(found) == 1 or None in groups:
        return _added(found)
    kept = [key[0] if key[1] else logical_not(key[0]) for key in groups if key is not None]
    return masked(reduce(logical_or, kept), _added(found), True)


def _added(terms: Sequence[Expr]) -> Expr:
    return reduce(add, side_by_side(terms))


#: Their pullbacks put elements in other places, or fill places with zeros.
_KEEPS_MASKS = frozenset("reshape transpose copy slice concatenate sum".split())


def under_mask(
    move: Callable[[Expr], Sequence[Expr | None]], moving: Expr
) -> Sequence[Expr | None]:
    """``move(moving)``; of a mask, with the mask outermost again.

    ``move`` puts elements in other places, and False or zero where there are none.
    """
    mask = mask_of(moving)
    if mask is None:
        return move(moving)
    condition, value, keep = mask
    kept = condition if keep else logical_not(condition)
    places = move(broadcast_to(kept, moving.shape))
    values = move(broadcast_to(value, moving.shape))
    return [
        None if v is None or c is None else masked(c, v, True)
        for c, v in zip(places, values, strict=True)
    ]


@overload
def grad(output: Expr, targets: Expr, *, unused: Unused = "error") -> Expr: ...
@overload
def grad(output: Expr, targets: Sequence[Expr], *, unused: Unused = "error") -> list[Expr]: ...
@overload
def grad(
    output: Expr, targets: Mapping[K, Expr], *, unused: Unused = "error"
) -> dict[K, Expr]: ...


def grad(output: Expr, targets: Any, *, unused: Unused = "error") -> Any:
    """Gradient of a scalar, as a graph: one Expr for each target, of the target's type.

    Parameters
    ----------
    output
        A float of rank 0.
    targets
        Nodes (leaves or not) to differentiate with respect to: one, a list, a dict, or these
        nested. The gradients come in the same form.
    unused
        ``"error"``: a target that the output does not depend on raises; ``"zero"``: its
        gradient is zeros. A target that is reached through steps or integers only has a
        gradient, and it is zero.

    Raises
    ------
    DifferentiationError
        If the output is not a float scalar, a target is not a float, or does not matter.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.scalar("x", dtype="float64")
    >>> slope = gr.grad(gr.sin(x) * x, x)
    >>> round(float(gr.compile(x, slope)(1.0)), 6)
    1.381773
    """
    check_scalar("grad", output)
    wanted = as_list(targets)
    check_targets("grad", [output], wanted, unused)
    found = pulled([output], wanted, [scalar_like(1, output)])
    return in_form(targets, found)


def pulled(
    outputs: Sequence[Expr], targets: Sequence[Expr], cotangents: Sequence[Expr]
) -> list[Expr]:
    """``sum over outputs o of ct_o^T (d o / d t)`` for each target t, zeros without a way."""
    with uncollected():
        table = accumulate(list(zip(outputs, cotangents, strict=True)), targets)
    return [_gradient(table, target) for target in targets]


def _gradient(table: dict[Expr, Expr], target: Expr) -> Expr:
    return spread(table.get(target, scalar_like(0, target)), target)


def value_and_grad(output: Expr, targets: Any, *, unused: Unused = "error") -> tuple[Expr, Any]:
    """The output and its gradient, to be compiled together.

    Parameters, errors: as `grad`.

    Returns
    -------
    tuple
        The output itself, and what `grad` gives for the targets.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.scalar("x", dtype="float64")
    >>> f = gr.compile(x, gr.value_and_grad(x * x, x))
    >>> [float(v) for v in f(3.0)]
    [9.0, 6.0]
    """
    return output, grad(output, targets, unused=unused)


def vjp(
    outputs: Expr | Sequence[Expr],
    targets: Expr | Sequence[Expr],
    *,
    unused: Unused = "error",
) -> tuple[Any, Callable[[Any], Any]]:
    """Vector-Jacobian products: the outputs, and a function from cotangents to ``ct^T J``.

    Parameters
    ----------
    outputs
        A float of any shape, or several.
    targets
        Nodes to differentiate with respect to.
    unused
        As in `grad`.

    Returns
    -------
    outputs
        As given.
    pullback
        Takes a cotangent of each output's type (an Expr, or an array or number for it), in the
        form of the outputs; gives Exprs of the targets' types, in the form of the targets. The
        local derivatives are built once and shared by all calls.

    Raises
    ------
    DifferentiationError
        As `grad`; the pullback, if the number of cotangents is not that of outputs.
    ShapeError, DTypeError
        By the pullback, if a cotangent has another type than its output.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.vector("x", 3, dtype="float64")
    >>> y, pullback = gr.vjp(gr.exp(x), [x])
    >>> gr.compile(x, pullback([1.0, 0.0, 2.0])[0])([0.0, 0.0, 0.0])
    array([1., 0., 2.])
    """
    ends, wanted = as_list(outputs), as_list(targets)
    for output in ends:
        check_output("vjp", output)
    check_targets("vjp", ends, wanted, unused)
    leaves = [tensor("cotangent", o.shape, o.dtype) for o in ends]
    found = pulled(ends, wanted, leaves)

    def pullback(cotangents: Any) -> Any:
        given = directions("vjp", "cotangent", ends, cotangents, isinstance(outputs, Expr))
        made = substitute(found, dict(zip(leaves, given, strict=True)))
        return made[0] if isinstance(targets, Expr) else made

    return outputs, pullback
