"""Mapping over an axis at graph level: each operation in the form that has one axis more.

Nodes that depend on a mapped value get the mapped axis first; all others stay as they are,
so that what does not vary is computed once.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from graphc.diff.custom import Rule
from graphc.errors import GraphError, ShapeError, UnsupportedOpError
from graphc.expr import Expr, ExprLike, apply, as_expr, describe, scalar_like, topological
from graphc.ops.contraction import contract, parse
from graphc.ops.elementwise import cast, equal, where
from graphc.ops.leaves import iota, tensor
from graphc.ops.movement import broadcast_to, concatenate, moveaxis, pad_spread, reshape
from graphc.origin import stemming
from graphc.types import DType, Shape, Size, normalise_axis, same_size

#: ``rule(node, args, mapped, size)``: the node on operands of which some have the mapped axis
#: first (``mapped`` says which), of that size; the result has it first.
BatchRule: TypeAlias = "Callable[[Expr, list[Expr], list[bool], Size], Expr]"


def batched(
    outputs: Sequence[Expr], values: Mapping[Expr, Expr], size: Size
) -> list[Expr | None]:
    """The outputs for every slice of some nodes' values; None where none of them matters.

    ``values`` gives for a node its values along a new first axis, all of one size.
    """
    moved = dict(values)
    for node in topological(outputs):
        if node in moved or not any(a in moved for a in node.args):
            continue
        args = [moved.get(a, a) for a in node.args]
        mapped = [a in moved for a in node.args]
        with _stamp(node):
            moved[node] = _rule(node)(node, args, mapped, size)
    return [moved.get(o) for o in outputs]


def _stamp(node: Expr) -> stemming:
    origin = node.origin
    rule, stem = (origin.rule, origin.stem) if origin else ("map", node)
    return stemming(rule, stem, node)


def _rule(node: Expr) -> BatchRule:
    rule = RULES.get(node.op.name) or RULES.get(node.op.family)
    if rule is None:
        raise UnsupportedOpError(
            f"vmap: no rule for {node.op.name}", where=describe([("node", node)])
        )
    return rule


# Rules --------------------------------------------------------------------------------------


def _raised(x: Expr, rank: int) -> Expr:
    """A mapped value whose slices get leading axes of size 1, to line up in broadcasting."""
    missing = rank - (x.ndim - 1)
    return reshape(x, (x.shape[0], *(1,) * missing, *x.shape[1:]))


def _full(x: Expr, mapped: bool, size: Size) -> Expr:
    """A value with the mapped axis, repeated if it has not."""
    return x if mapped else broadcast_to(x, (size, *x.shape))


def _elementwise(node: Expr, args: list[Expr], mapped: list[bool], size: Size) -> Expr:
    lined = [_raised(x, node.ndim) if m else x for x, m in zip(args, mapped, strict=True)]
    return apply(node.op, lined, node.attrs)


def _along_axes(node: Expr, args: list[Expr], mapped: list[bool], size: Size) -> Expr:
    """Reductions, scans, gather and scatter: their axes move up by one."""
    attrs = dict(node.attrs)
    if "axes" in attrs:
        attrs["axes"] = tuple(a + 1 for a in attrs["axes"])
    if "axis" in attrs:
        attrs["axis"] += 1
    full = [_full(x, m, size) for x, m in zip(args, mapped, strict=True)]
    return apply(node.op, full, attrs)


def _contract(node: Expr, args: list[Expr], mapped: list[bool], size: Size) -> Expr:
    """One letter more, in the result and in the operands that are mapped."""
    subscripts = node.attrs["subscripts"]
    left, right, out = parse(subscripts)
    new = next(c for c in string.ascii_letters if c not in subscripts)
    a, b = (new * m for m in mapped)
    return contract(f"{a}{left},{b}{right}->{new}{out}", *args)


def _reshape(node: Expr, args: list[Expr], mapped: list[bool], size: Size) -> Expr:
    return reshape(args[0], (size, *node.shape))


def _broadcast(node: Expr, args: list[Expr], mapped: list[bool], size: Size) -> Expr:
    return broadcast_to(_raised(args[0], node.ndim), (size, *node.shape))


def _transpose(node: Expr, args: list[Expr], mapped: list[bool], size: Size) -> Expr:
    axes = (0, *(a + 1 for a in node.attrs["axes"]))
    return apply(node.op, args, {"axes": axes})


def _slice(node: Expr, args: list[Expr], mapped: list[bool], size: Size) -> Expr:
    return apply(node.op, args, {"ranges": ((0, size, 1), *node.attrs["ranges"])})


def _pad(node: Expr, args: list[Expr], mapped: list[bool], size: Size) -> Expr:
    widths = ((0, 0, 0), *node.attrs["widths"])
    x, value = _full(args[0], mapped[0], size), args[1]
    if not mapped[1]:
        return pad_spread(x, widths, value)
    inside = pad_spread(broadcast_to(scalar_like(1, x), x.shape), widths)
    return where(equal(inside, 0), _raised(value, node.ndim), pad_spread(x, widths))


def _concatenate(node: Expr, args: list[Expr], mapped: list[bool], size: Size) -> Expr:
    full = [_full(x, m, size) for x, m in zip(args, mapped, strict=True)]
    return concatenate(full, node.attrs["axis"] + 1)


def _same(node: Expr, args: list[Expr], mapped: list[bool], size: Size) -> Expr:
    return apply(node.op, args, node.attrs)


def _custom(node: Expr, args: list[Expr], mapped: list[bool], size: Size) -> Expr:
    full = [_full(x, m, size) for x, m in zip(args, mapped, strict=True)]
    return apply(node.op, full, {"rule": _mapped_rule(node.attrs["rule"])})


def _mapped_rule(rule: Rule) -> Rule:
    """The rule of a slice, for all slices. Operands that are no floats have no tangents."""

    def jvp(tangents: Sequence[Expr | None], out: Expr, *args: Expr) -> Expr:
        assert rule.jvp is not None
        moving = [t is not None for t in tangents]

        def slice_jvp(out: Expr, *rest: Expr) -> Expr:
            assert rule.jvp is not None
            given = iter(rest[len(args) :])
            filled = tuple(next(given) if m else None for m in moving)
            return rule.jvp(filled, out, *rest[: len(args)])

        mapped: Expr = vmap(slice_jvp)(out, *args, *(t for t in tangents if t is not None))
        return mapped

    def vjp(ct: Expr, out: Expr, *args: Expr) -> tuple[Expr | None, ...]:
        floats = [x.dtype.is_float for x in args]

        def slice_vjp(ct: Expr, out: Expr, *rest: Expr) -> list[Expr]:
            assert rule.vjp is not None
            made = rule.vjp(ct, out, *rest)
            each = (made,) if isinstance(made, Expr) or made is None else tuple(made)
            zero = (broadcast_to(scalar_like(0, x), x.shape) for x in rest)
            filled = [z if g is None else g for g, z in zip(each, zero, strict=True)]
            return [g for g, is_float in zip(filled, floats, strict=True) if is_float]

        found = iter(vmap(slice_vjp)(ct, out, *args))
        return tuple(next(found) if is_float else None for is_float in floats)

    return Rule(rule.name, jvp if rule.jvp else None, vjp if rule.vjp else None)


#: By name of the operation, else by its family.
RULES: dict[str, BatchRule] = {
    "elementwise": _elementwise,
    "reduction": _along_axes,
    "indexing": _along_axes,
    "contract": _contract,
    "reshape": _reshape,
    "copy": _same,
    "transpose": _transpose,
    "broadcast_to": _broadcast,
    "slice": _slice,
    "pad": _pad,
    "concatenate": _concatenate,
    "stop_gradient": _same,
    "custom_gradient": _custom,
}


def basis(shape: Shape, dtype: DType, size: Size) -> Expr:
    """Unit tensors of a shape along a new first axis of ``size``, its number of elements."""
    square = (size, size)
    ones = cast(equal(iota(square, 0), iota(square, 1)), dtype)
    return reshape(ones, (size, *shape))


# The public function ------------------------------------------------------------------------


def vmap(
    function: Callable[..., Any], in_axes: Any = 0, out_axes: int = 0
) -> Callable[..., Any]:
    """A function of single examples, mapped over an axis of its operands.

    The function is called once, with leaves that stand for one slice; the graph it gives is
    rewritten so that each operation does all slices. Derivatives may be taken inside (gradients
    of each example) and outside.

    Parameters
    ----------
    function
        From expressions to an expression, or a tuple or list of them.
    in_axes
        The mapped axis of each operand, one number for all or a sequence; None: the same
        operand for every slice.
    out_axes
        Where the mapped axis is in the results. A result that does not depend on a slice is
        repeated.

    Returns
    -------
    function
        Takes the whole operands, numbers and arrays too; gives results in the same form.

    Raises
    ------
    ShapeError
        If no operand is mapped, the sizes of the mapped axes differ, an axis is out of range,
        or ``in_axes`` has another length than the operands.
    UnsupportedOpError
        If an operation has no rule for one axis more.

    Examples
    --------
    >>> import graphc as gr
    >>> w, x = gr.vector("w", 3, dtype="float64"), gr.matrix("x", "n", 3, dtype="float64")
    >>> each = gr.vmap(lambda row: gr.grad(gr.square(row @ w), w))(x)
    >>> each.type
    f64[n, 3]
    """

    if not callable(function):
        raise GraphError(
            f"vmap: {type(function).__name__} is not a function",
            hint="gr.vmap(function)(operands): the function sees one slice of each operand",
        )

    def mapped(*args: ExprLike) -> Any:
        nodes = [as_expr(a) for a in args]
        axes = _axes(in_axes, nodes)
        fronts = {
            i: moveaxis(x, a, 0) for i, (x, a) in enumerate(zip(nodes, axes, strict=True))
            if a is not None
        }  # fmt: skip
        size = _common_size(list(fronts.values()))
        leaves = [
            tensor(x.name or f"slice{i}", fronts[i].shape[1:], x.dtype) if i in fronts else x
            for i, x in enumerate(nodes)
        ]
        made = function(*leaves)
        if made is None:
            raise GraphError("vmap: the function returned None", hint="did it forget `return`?")
        outputs = [as_expr(o) for o in (made if isinstance(made, (tuple, list)) else [made])]
        found = batched(outputs, {leaves[i]: front for i, front in fronts.items()}, size)
        results = [
            moveaxis(broadcast_to(o, (size, *o.shape)) if b is None else b, 0, out_axes)
            for o, b in zip(outputs, found, strict=True)
        ]
        return type(made)(results) if isinstance(made, (tuple, list)) else results[0]

    return mapped


def _axes(in_axes: Any, nodes: Sequence[Expr]) -> list[int | None]:
    """The mapped axis of each operand, from the start."""
    given = list(in_axes) if isinstance(in_axes, (tuple, list)) else [in_axes] * len(nodes)
    if len(given) != len(nodes):
        raise ShapeError(
            f"vmap: {len(given)} axes for {len(nodes)} operands",
            where=describe([("operand", x) for x in nodes]),
            hint="in_axes has one axis, or None, for each operand",
        )
    return [
        None if a is None else normalise_axis(a, x.ndim)
        for a, x in zip(given, nodes, strict=True)
    ]


def _common_size(fronts: Sequence[Expr]) -> Size:
    if not fronts:
        raise ShapeError("vmap: no operand is mapped", hint="in_axes names at least one axis")
    for x in fronts:
        if not same_size(x.shape[0], fronts[0].shape[0]):
            raise ShapeError(
                f"vmap: mapped axes have sizes {fronts[0].shape[0]} and {x.shape[0]}",
                where=describe([("first", fronts[0]), ("second", x)]),
            )
    return fronts[0].shape[0]


__all__ = ["RULES", "BatchRule", "basis", "batched", "vmap"]
