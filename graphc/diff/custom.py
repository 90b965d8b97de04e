"""Derivatives that the user declares: `stop_gradient`, `custom_gradient`.

Both are marks on a value that only differentiation sees; compilation takes the value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TypeAlias

from graphc.diff.linear import transpose
from graphc.errors import DifferentiationError, DTypeError, ShapeError
from graphc.expr import Attrs, Expr, ExprLike, apply, as_expr, describe, scalar_like
from graphc.ops.leaves import tensor
from graphc.ops.movement import broadcast_to
from graphc.ops.table import Op
from graphc.types import TensorType

JVPRule: TypeAlias = "Callable[..., Expr]"
VJPRule: TypeAlias = "Callable[..., Expr | Sequence[Expr | None] | None]"


def _value_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    return types[0]


STOP = Op(
    "stop_gradient",
    "derivative",
    _value_type,
    lambda x: x,
    vjp=lambda ct, out, x: (None,),
    jvp=lambda tangents, out, x: None,
    roles=("operand",),
    domain=((-3.0, 3.0),),
    cost=0,
    doc="The operand, taken as a constant by differentiation.",
)


def stop_gradient(x: ExprLike) -> Expr:
    """The same value, taken as a constant by differentiation.

    Its derivative is zero (in every mode and order), which is no error: the output depends on
    ``x``, only not for derivatives.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.scalar("x", dtype="float64")
    >>> slope = gr.grad(gr.stop_gradient(x) * x, x)
    >>> float(gr.compile(x, slope)(3.0))
    3.0
    """
    return apply(STOP, (as_expr(x),))


@dataclass(frozen=True, eq=False, repr=False)
class Rule:
    """A user's derivative of a function: its name, and one of the two forms."""

    name: str
    jvp: JVPRule | None = None
    vjp: VJPRule | None = None

    def __repr__(self) -> str:
        return self.name


def _custom_vjp(ct: Expr, out: Expr, value: Expr, *args: Expr) -> tuple[Expr | None, ...]:
    rule: Rule = out.attrs["rule"]
    if rule.vjp is not None:
        return None, *_cotangents(rule, ct, out, args)
    leaves = [_leaf("tangent", x) for x in args]
    moving = [leaf for leaf in leaves if leaf is not None]
    image = _tangent(rule, leaves, out, args)
    found = iter(transpose(f"the jvp rule of {rule.name}", [image], moving, [ct]))
    return None, *(None if leaf is None else next(found) for leaf in leaves)


def _custom_jvp(
    tangents: Sequence[Expr | None], out: Expr, value: Expr, *args: Expr
) -> Expr | None:
    rule: Rule = out.attrs["rule"]
    given = tangents[1:]
    if all(t is None for t in given):
        return None
    if rule.jvp is not None:
        return _tangent(
            rule, [_filled(t, x) for t, x in zip(given, args, strict=True)], out, args
        )
    ct = tensor("cotangent", out.shape, out.dtype)
    pulled = zip(_cotangents(rule, ct, out, args), given, strict=True)
    pairs = [(p, t) for p, t in pulled if p is not None and t is not None]
    if not pairs:
        return None
    images, moving = zip(*pairs, strict=True)
    return transpose(f"the vjp rule of {rule.name}", images, [ct], moving)[0]


def _leaf(name: str, x: Expr) -> Expr | None:
    return tensor(name, x.shape, x.dtype) if x.dtype.is_float else None


def _filled(tangent: Expr | None, x: Expr) -> Expr | None:
    """Zeros for a float that does not move."""
    if tangent is None and x.dtype.is_float:
        return broadcast_to(scalar_like(0, x), x.shape)
    return tangent


def _tangent(
    rule: Rule, tangents: Sequence[Expr | None], out: Expr, args: Sequence[Expr]
) -> Expr:
    assert rule.jvp is not None
    return _fitting(f"the jvp rule of {rule.name}", rule.jvp(tuple(tangents), out, *args), out)


def _cotangents(
    rule: Rule, ct: Expr, out: Expr, args: Sequence[Expr]
) -> tuple[Expr | None, ...]:
    assert rule.vjp is not None
    who = f"the vjp rule of {rule.name}"
    made = rule.vjp(ct, out, *args)
    given = (made,) if isinstance(made, Expr) or made is None else tuple(made)
    if len(given) != len(args):
        raise DifferentiationError(
            f"{who} gives {len(given)} cotangents for {len(args)} operands",
            where=describe([("operand", x) for x in args]),
            hint="one for each operand, None where the derivative is zero",
        )
    return tuple(
        None if g is None or not x.dtype.is_float else _fitting(who, g, x)
        for g, x in zip(given, args, strict=True)
    )


def _fitting(who: str, given: ExprLike, like: Expr) -> Expr:
    """What a rule gave, if it has the type it must have."""
    found = as_expr(given)
    where = describe([("given", found), ("for", like)])
    if found.dtype != like.dtype:
        raise DTypeError(f"{who} gives {found.dtype}, not {like.dtype}", where=where)
    if found.shape != like.shape:
        raise ShapeError(f"{who} gives shape {found.shape}, not {like.shape}", where=where)
    return found


CUSTOM = Op(
    "custom_gradient",
    "derivative",
    _value_type,
    lambda value, *args, rule: value,
    vjp=_custom_vjp,
    jvp=_custom_jvp,
    roles=("value",),
    domain=((-3.0, 3.0),),
    cost=0,
    doc="The first operand, a function of the others whose derivative is ``rule``.",
)


def custom_gradient(
    function: Callable[..., Expr], *, jvp: JVPRule | None = None, vjp: VJPRule | None = None
) -> Callable[..., Expr]:
    """A function with a derivative of its own, given in one form and used in both modes.

    Parameters
    ----------
    function
        From expressions to one float expression.
    jvp
        ``jvp(tangents, out, *args)``: the tangent of the result, linear in the tangents (one
        for each operand, zeros where it does not move, None for integers). Reverse mode
        transposes it.
    vjp
        ``vjp(ct, out, *args)``: a cotangent of each operand's type (None: zero), linear in
        ``ct``; for one operand the cotangent itself. Forward mode transposes it.

    Returns
    -------
    function
        Takes the same operands. Derivatives of higher order go through the rule.

    Raises
    ------
    DifferentiationError
        If not exactly one of the rules is given; when it is differentiated, if the rule is not
        linear or gives more or fewer cotangents than there are operands.
    ShapeError, DTypeError
        When it is differentiated, if the rule's result has another type than it must have.

    Notes
    -----
    What the function or the rule takes from outside its operands is constant to derivatives.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.vector("x", 3, dtype="float64")
    >>> straight_through = gr.custom_gradient(gr.round, vjp=lambda ct, out, x: ct)
    >>> slope = gr.grad(gr.sum(straight_through(x)), x)
    >>> gr.compile(x, slope)([0.2, 0.5, 1.7])
    array([1., 1., 1.])
    """
    name = getattr(function, "__name__", "function")
    if (jvp is None) == (vjp is None):
        raise DifferentiationError(
            f"custom_gradient: {name} needs one rule, jvp or vjp",
            hint="the other mode follows by transposition",
        )
    rule = Rule(name, jvp, vjp)

    @wraps(function)
    def declared(*args: ExprLike) -> Expr:
        operands = [as_expr(a) for a in args]
        value = as_expr(function(*operands))
        if not value.dtype.is_float:
            raise DTypeError(
                f"custom_gradient: {name} gives {value.dtype}, not a float",
                where=describe([("result", value)]),
            )
        return apply(CUSTOM, (value, *operands), {"rule": rule})

    return declared


__all__ = ["custom_gradient", "stop_gradient"]
