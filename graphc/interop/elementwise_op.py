"""Elementwise functions that a user writes as a SymPy expression."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphc.diff.custom import custom_gradient
from graphc.diff.reverse import scale
from graphc.errors import GraphError, InputTypeError
from graphc.expr import Expr, ExprLike, as_expr, constant, scalar_like
from graphc.interop.from_sympy import from_sympy
from graphc.interop.stable_forms import named
from graphc.ops import elementwise as ew
from graphc.ops.movement import broadcast_to
from graphc.ops.table import is_weak, sample
from graphc.origin import scope
from graphc.types import broadcast_shapes, float64, promote


def elementwise_op(
    name: str,
    expr: Any,
    args: Sequence[Any],
    *,
    partials: Mapping[Any, Any] | None = None,
    at: Mapping[Any, Mapping[Any, float]] | None = None,
) -> Callable[..., Expr]:
    """An elementwise function from a SymPy expression, with the derivatives SymPy finds.

    Its value and its partials are made of built-in operations, so every backend computes it.
    Terms that a partial shares with itself are written once (`sympy.cse`); those it shares
    with the value are merged when a function is compiled. Derivatives of higher order
    differentiate the partials.

    Parameters
    ----------
    name
        Names the scope of its nodes in listings and pictures.
    expr
        The value, in the symbols of ``args``. A string is refused: parsing one runs code.
    args
        The symbols, in the order of the operands.
    partials
        Partial derivatives for some of the symbols, instead of SymPy's.
    at
        Values of partials where the function has a kink: ``{x: {0: 0.5}}`` declares the partial
        for ``x`` to be 0.5 where ``x`` is 0.

    Returns
    -------
    function
        Takes one operand for each symbol; they are promoted and broadcast as in NumPy.

    Raises
    ------
    InputTypeError
        If ``expr`` is not a SymPy expression, or an argument is not a symbol.
    GraphError
        If the expression has a symbol that is no argument, or a partial is for no argument.

    Examples
    --------
    >>> import sympy
    >>> import graphc as gr
    >>> s, b = sympy.symbols("s b", real=True)
    >>> swish = gr.elementwise_op("swish", s / (1 + sympy.exp(-b * s)), [s, b])
    >>> x = gr.vector("x", 3, dtype="float64")
    >>> slope = gr.grad(gr.sum(swish(x, 1.5)), x)
    >>> gr.compile(x, slope)([-1.0, 0.0, 1.0]).round(4)
    array([-0.0413,  0.5   ,  1.0413])
    """
    import sympy

    symbols = list(args)
    _check(name, expr, symbols, partials or {}, at or {})
    whole = named(expr)
    found = {s: _shortest(sympy.diff(whole, s)) for s in symbols} | dict(partials or {})
    forms = [_shared(found[s]) for s in symbols]

    def value(*operands: Expr) -> Expr:
        return broadcast_to(_lowered(([], whole), symbols, operands), operands[0].shape)

    def tangent(tangents: Sequence[Expr | None], out: Expr, *operands: Expr) -> Expr:
        total: Expr | None = None
        for symbol, form, t in zip(symbols, forms, tangents, strict=True):
            if t is None or form[1] == 0:
                continue
            partial = _lowered(form, symbols, operands)
            for point, slope in (at or {}).get(symbol, {}).items():
                here = ew.equal(operands[symbols.index(symbol)], float(point))
                partial = ew.where(here, scalar_like(float(slope), out), partial)
            term = scale(t, partial)
            total = term if total is None else total + term
        return broadcast_to(scalar_like(0, out) if total is None else total, out.shape)

    value.__name__ = tangent.__name__ = name
    declared = custom_gradient(value, jvp=tangent)

    def function(*operands: ExprLike) -> Expr:
        if len(operands) != len(symbols):
            raise TypeError(f"{name} takes {len(symbols)} operands, {len(operands)} given")
        with scope(name):
            return declared(*_floats(operands))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"``{expr}``, elementwise in {', '.join(map(str, symbols))}."
    return function


def _check(
    name: str,
    expr: Any,
    symbols: Sequence[Any],
    partials: Mapping[Any, Any],
    at: Mapping[Any, Any],
) -> None:
    import sympy

    for kind, given in ((sympy.Symbol, symbols), (sympy.Expr, [expr, *partials.values()])):
        for what in given:
            if not isinstance(what, kind):
                raise InputTypeError(
                    f"elementwise_op: {what!r} is not a SymPy {kind.__name__.lower()}",
                    hint="build it of sympy.Symbol; parsing a string would run code",
                )
    free = expr.free_symbols.union(*(p.free_symbols for p in partials.values()))
    strange = sorted(map(str, (free | set(partials) | set(at)) - set(symbols)))
    if strange:
        raise GraphError(
            f"elementwise_op: {name} has no argument {', '.join(strange)}",
            hint=f"its arguments are {', '.join(map(str, symbols))}",
        )


def _shortest(expr: Any) -> Any:
    """The expression, simplified if that has fewer operations."""
    import sympy

    return min(expr, sympy.simplify(expr), key=sympy.count_ops)


Form = tuple[list[tuple[Any, Any]], Any]


def _shared(expr: Any) -> Form:
    """Terms that are used more than once, and the expression on them."""
    import sympy

    terms, (rest,) = sympy.cse(expr)
    return terms, rest


def _lowered(form: Form, symbols: Sequence[Any], operands: Sequence[Expr]) -> Expr:
    """The expression on operands, in their element type."""
    known = dict(zip(symbols, operands, strict=True))
    terms, rest = form
    for symbol, term in terms:
        known[symbol] = _typed(from_sympy(term, known), operands[0])
    return _typed(from_sympy(rest, known), operands[0])


def _typed(x: Expr, like: Expr) -> Expr:
    """Values that hold no operand are numbers of another type."""
    return x if x.dtype.is_bool else ew.cast(x, like.dtype)


def _floats(operands: Sequence[ExprLike]) -> list[Expr]:
    """Operands promoted to one float type and broadcast to one shape, as rules need them."""
    lifted = [a if is_weak(a) else as_expr(a) for a in operands]
    dtype = promote(*(a.dtype if isinstance(a, Expr) else sample(a) for a in lifted))
    dtype = dtype if dtype.is_float else float64
    nodes = [ew.cast(a, dtype) if isinstance(a, Expr) else constant(a, dtype) for a in lifted]
    shape = broadcast_shapes(*(x.shape for x in nodes))
    return [broadcast_to(x, shape) for x in nodes]


__all__ = ["elementwise_op"]
