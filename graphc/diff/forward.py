"""Forward mode: one tangent for each node, operands before users.

For directions ``v`` of the targets, the tangent of a node ``j`` is ``sum over operands i of
(d j / d i) * tangent(i)``. The local derivatives are those of the reverse sweep, and so is
the policy at kinks and under selects: a product keeps masks outermost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphc.diff.checks import Unused, as_list, check_output, check_targets, directions
from graphc.diff.linear import transpose
from graphc.diff.reverse import scale, spread, total, under_mask
from graphc.errors import UnsupportedOpError
from graphc.expr import Expr, describe, scalar_like, substitute, topological
from graphc.ops.leaves import tensor
from graphc.origin import note_parts, stemming, uncollected

#: Of one operand; they put its elements in other places.
_KEEPS_MASKS = frozenset("reshape transpose copy slice broadcast_to".split())


def push(node: Expr, tangents: Sequence[Expr | None]) -> Expr | None:
    """Tangent of a node, given those of its operands; None where it is structurally zero."""
    op = node.op
    if op.jvp is not None:
        jvp, first = op.jvp, tangents[0]
        if op.name not in _KEEPS_MASKS or first is None:
            return jvp(tangents, node, *node.args)
        return under_mask(lambda part: [jvp([part], node, *node.args)], first)[0]
    if op.vjp is not None:
        return _push_by_pullback(node, tangents)
    if op.partials is None:
        raise UnsupportedOpError(
            f"{op.name} has no derivative", where=describe([("node", node)])
        )
    pairs = zip(tangents, op.partials(node, *node.args), strict=True)
    parts = [None if t is None or p is None else scale(t, p) for t, p in pairs]
    note_parts(parts)
    terms = [part for part in parts if part is not None]
    return total(terms) if terms else None


def _push_by_pullback(node: Expr, tangents: Sequence[Expr | None]) -> Expr | None:
    """The pushforward as the transpose of the pullback, which is linear in its cotangent."""
    assert node.op.vjp is not None
    ct = tensor("cotangent", node.shape, node.dtype)
    pulled = node.op.vjp(ct, node, *node.args)
    pairs = [
        (p, t) for p, t in zip(pulled, tangents, strict=True) if p is not None and t is not None
    ]
    if not pairs:
        return None
    images, moving = zip(*pairs, strict=True)
    return transpose(f"the pullback of {node.op.name}", images, [ct], moving)[0]


def propagate(outputs: Sequence[Expr], seeds: Mapping[Expr, Expr]) -> dict[Expr, Expr]:
    """The table: tangents of all nodes between the seeded nodes and the outputs.

    A node on the way whose derivative is zero everywhere is not in the table. The tangent of
    a seeded node that depends on others is its seed and what arrives from them, so that the
    table is the transpose of the reverse sweep's.
    """
    table: dict[Expr, Expr] = {}
    for node in topological(outputs):
        terms = [seeds[node]] if node in seeds else []
        if node.dtype.is_float and any(a in table for a in node.args):
            with stemming(f"d {node.op.name}", node):
                moved = push(node, [table.get(a) for a in node.args])
                terms += [] if moved is None else [spread(moved, node)]
        if terms:
            table[node] = total(terms)
    return table


def pushed(outputs: Sequence[Expr], seeds: Mapping[Expr, Expr]) -> list[Expr]:
    """Tangents of the outputs, zeros where there is no way from a seed."""
    with uncollected():
        table = propagate(outputs, seeds)
    return [spread(table.get(o, scalar_like(0, o)), o) for o in outputs]


def jvp(
    outputs: Expr | Sequence[Expr],
    targets: Expr | Sequence[Expr],
    tangents: Any,
    *,
    unused: Unused = "error",
) -> Any:
    """Jacobian-vector product ``J v``: the outputs' change along a direction of the targets.

    Parameters
    ----------
    outputs
        A float of any shape, or several.
    targets
        Nodes to differentiate with respect to.
    tangents
        A direction of each target's type (an Expr, or an array or number for it), in the form
        of the targets.
    unused
        ``"error"``: a target that no output depends on raises; ``"zero"``: it adds nothing.

    Returns
    -------
    Expr or list of Expr
        Tangents of the outputs' types, in the form of the outputs.

    Raises
    ------
    DifferentiationError
        If an output or target is not a float, a target does not matter, or there are more or
        fewer tangents than targets.
    ShapeError, DTypeError
        If a tangent has another type than its target.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.vector("x", 2, dtype="float64")
    >>> t = gr.jvp(gr.sum(x * x), [x], [[1.0, 0.0]])
    >>> float(gr.compile(x, t)([3.0, 5.0]))
    6.0
    """
    ends, wanted = as_list(outputs), as_list(targets)
    _check("jvp", ends, wanted, unused)
    given = directions("jvp", "tangent", wanted, tangents, isinstance(targets, Expr))
    found = pushed(ends, seeds_of(wanted, given))
    return found[0] if isinstance(outputs, Expr) else found


def linearize(
    outputs: Expr | Sequence[Expr],
    targets: Expr | Sequence[Expr],
    *,
    unused: Unused = "error",
) -> tuple[Any, Callable[[Any], Any]]:
    """The outputs, and the linear map ``v -> J v`` at this point.

    Parameters, errors: as `jvp`; the tangents are those of the returned function, whose
    results share the local derivatives.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.scalar("x", dtype="float64")
    >>> y, along = gr.linearize(gr.sin(x), x)
    >>> f = gr.compile(x, [y, along(1.0), along(-2.0)])
    >>> [float(v) for v in f(0.0)]
    [0.0, 1.0, -2.0]
    """
    ends, wanted = as_list(outputs), as_list(targets)
    _check("linearize", ends, wanted, unused)
    leaves = [tensor("tangent", x.shape, x.dtype) for x in wanted]
    found = pushed(ends, seeds_of(wanted, leaves))

    def along(tangents: Any) -> Any:
        given = directions("linearize", "tangent", wanted, tangents, isinstance(targets, Expr))
        made = substitute(found, dict(zip(leaves, given, strict=True)))
        return made[0] if isinstance(outputs, Expr) else made

    return outputs, along


def _check(who: str, ends: Sequence[Expr], wanted: Sequence[Expr], unused: Unused) -> None:
    for output in ends:
        check_output(who, output)
    check_targets(who, ends, wanted, unused)


def seeds_of(targets: Sequence[Expr], tangents: Sequence[Expr]) -> dict[Expr, Expr]:
    """Tangents by target; those of a target given twice add up."""
    seeds: dict[Expr, Expr] = {}
    for x, t in zip(targets, tangents, strict=True):
        seeds[x] = seeds[x] + t if x in seeds else t
    return seeds
