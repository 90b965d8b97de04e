"""A graph of elementwise operations as a SymPy expression."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from graphc.diff.paths import count_text
from graphc.diff.symbolic import tree_size
from graphc.errors import GraphError, UnsupportedOpError
from graphc.expr import Expr, constant_value, describe, topological
from graphc.types import same_size

#: Larger expressions are not made: SymPy works on what is written out.
LIMIT = 1_000_000

#: An element of the result is an element of the operand.
_SAME_ELEMENT = ("broadcast_to", "copy", "again", "stop_gradient", "custom_gradient")


def to_sympy(e: Expr, symbols: Mapping[Expr, Any] | None = None, *, limit: int = LIMIT) -> Any:
    """The expression in SymPy's words; for tensors, the formula of one element.

    Parameters
    ----------
    e
        Elementwise operations on inputs and parameters. Inputs become symbols of their names,
        without assumptions; constants that are fractions with a small denominator are exact.
    symbols
        SymPy expressions for some nodes, for example ``{x: sympy.Symbol("x", real=True)}``.
    limit
        Largest size of the expression when written out.

    Raises
    ------
    UnsupportedOpError
        If an operation is not elementwise, or SymPy has no words for it.
    GraphError
        If two inputs have one name, or the expression is too large.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.scalar("x")
    >>> gr.to_sympy(gr.grad(x**3 + gr.exp(x), x))
    3*x**2 + exp(x)
    """
    size = tree_size(e)
    if size > limit:
        raise GraphError(
            f"to_sympy: written out it has {count_text(size)} nodes, the limit is {limit}",
            where=describe([("expression", e)]),
            hint="pass limit=, or give symbols for inner nodes: symbols={node: symbol}",
        )
    known = dict(symbols or {})
    names: dict[str, Expr] = {}
    for node in topological([e]):
        if node not in known:
            known[node] = _element(node, [known.get(a) for a in node.args], names)
    return known[e]


def _element(node: Expr, operands: list[Any], names: dict[str, Expr]) -> Any:
    name = node.op.name
    if name in ("input", "parameter"):
        return _symbol(node, names)
    if name == "constant":
        return _number(node)
    if name == "cast":
        return _cast(node, operands[0])
    if name in _SAME_ELEMENT or (name == "reshape" and same_size(node.size, 1)):
        return operands[0]
    formula = _formulas().get(name)
    if formula is None:
        what = "has no SymPy form" if node.op.family == "elementwise" else "is not elementwise"
        raise UnsupportedOpError(f"to_sympy: {name} {what}", where=describe([("node", node)]))
    return formula(*operands)


def _symbol(node: Expr, names: dict[str, Expr]) -> Any:
    import sympy

    assert node.name is not None
    if names.setdefault(node.name, node) is not node:
        raise GraphError(
            f"to_sympy: two inputs are named {node.name}",
            where=describe([("first", names[node.name]), ("second", node)]),
            hint="give them symbols: to_sympy(e, {first: symbol, second: symbol})",
        )
    return sympy.Symbol(node.name)


def _number(node: Expr) -> Any:
    """A constant: exact where it is an integer or has a denominator up to 1024."""
    import sympy

    array = constant_value(node)
    assert array is not None
    if array.size == 0 or not (array == array.flat[0]).all():
        raise UnsupportedOpError(
            "to_sympy: a constant with different elements is not elementwise",
            where=describe([("constant", node)]),
        )
    value = array.flat[0].item()
    if isinstance(value, bool):
        return sympy.true if value else sympy.false
    if isinstance(value, int):
        return sympy.Integer(value)
    if not np.isfinite(value):
        return sympy.nan if np.isnan(value) else sympy.oo if value > 0 else -sympy.oo
    top, bottom = value.as_integer_ratio()
    return sympy.Rational(top, bottom) if bottom <= 1024 else sympy.Float(value)


def _cast(node: Expr, operand: Any) -> Any:
    import sympy

    source, target = node.args[0].dtype, node.dtype
    if source.is_bool and not target.is_bool:
        return sympy.Piecewise((1, operand), (0, True))
    if target.is_bool and not source.is_bool:
        return sympy.Ne(operand, 0)
    if source.is_float and not target.is_float:
        raise UnsupportedOpError(
            "to_sympy: a float truncated to an integer has no SymPy form",
            where=describe([("node", node)]),
        )
    return operand


@cache
def _formulas() -> dict[str, Callable[..., Any]]:
    """Operations in SymPy's words, as real functions."""
    import sympy as sp

    direct = {
        "pow": sp.Pow, "maximum": sp.Max, "minimum": sp.Min, "atan2": sp.atan2, "abs": sp.Abs,
        "sign": sp.sign, "sqrt": sp.sqrt, "floor": sp.floor, "ceil": sp.ceiling,
        "exp": sp.exp, "log": sp.log, "sin": sp.sin, "cos": sp.cos, "tan": sp.tan,
        "asin": sp.asin, "acos": sp.acos, "atan": sp.atan, "sinh": sp.sinh, "cosh": sp.cosh,
        "tanh": sp.tanh, "asinh": sp.asinh, "acosh": sp.acosh, "atanh": sp.atanh,
        "erf": sp.erf, "erfc": sp.erfc, "equal": sp.Eq, "not_equal": sp.Ne, "less": sp.Lt,
        "less_equal": sp.Le, "greater": sp.Gt, "greater_equal": sp.Ge, "remainder": sp.Mod,
        "logical_and": sp.And, "logical_or": sp.Or, "logical_xor": sp.Xor,
        "logical_not": sp.Not,
    }  # fmt: skip
    composed: dict[str, Callable[..., Any]] = {
        "add": lambda x, y: x + y,
        "sub": lambda x, y: x - y,
        "mul": lambda x, y: x * y,
        "div": lambda x, y: x / y,
        "fma": lambda x, y, z: x * y + z,
        "neg": lambda x: -x,
        "positive": lambda x: x,
        "square": lambda x: x**2,
        "reciprocal": lambda x: 1 / x,
        "floor_divide": lambda x, y: sp.floor(x / y),
        "trunc": lambda x: sp.sign(x) * sp.floor(sp.Abs(x)),
        "hypot": lambda x, y: sp.sqrt(x**2 + y**2),
        "logaddexp": lambda x, y: sp.log(sp.exp(x) + sp.exp(y)),
        "exp2": lambda x: 2**x,
        "expm1": lambda x: sp.exp(x) - 1,
        "log1p": lambda x: sp.log(1 + x),
        "log2": lambda x: sp.log(x) / sp.log(2),
        "log10": lambda x: sp.log(x) / sp.log(10),
        "sigmoid": lambda x: 1 / (1 + sp.exp(-x)),
        "softplus": lambda x: sp.log(1 + sp.exp(x)),
        "where": lambda c, x, y: sp.Piecewise((x, c), (y, True)),
    }
    return {**direct, **composed}
