"""A SymPy expression as a graph. Text is never evaluated: only SymPy objects are taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, reduce
from typing import Any

from graphc.errors import GraphError, InputTypeError, UnsupportedOpError
from graphc.expr import Expr, ExprLike, as_expr, scalar_like
from graphc.functions.operators import power
from graphc.interop.stable_forms import functions, named
from graphc.ops import elementwise as ew


def from_sympy(expr: Any, values: Mapping[Any, Expr]) -> Expr:
    """A SymPy expression on graph nodes.

    Equal subexpressions become one node. Numbers take the element type of what they meet.
    ``1/(1 + exp(-u))``, ``log(1 + exp(u))``, ``log(1 + u)`` and ``exp(u) - 1`` become the
    operations of that meaning, which neither overflow nor cancel.

    Parameters
    ----------
    expr
        A SymPy expression: arithmetic, powers, elementary functions, ``Abs``, ``sign``,
        ``Min``, ``Max``, ``floor``, ``Piecewise``, relations.
    values
        A node for each symbol, by the symbol or by its name.

    Raises
    ------
    InputTypeError
        If ``expr`` is not a SymPy expression (a string is refused: parsing one runs code).
    GraphError
        If a symbol has no value.
    UnsupportedOpError
        If there is no operation for a SymPy function.

    Examples
    --------
    >>> import sympy
    >>> import graphc as gr
    >>> s = sympy.Symbol("s")
    >>> x = gr.scalar("x")
    >>> print(gr.formula(gr.from_sympy(sympy.diff(sympy.sin(s) ** 2, s), {s: x})))
    2 * cos(x) * sin(x)
    """
    _check(expr)
    expr = named(expr)
    known = _symbols(expr, values)
    stack = [expr]
    while stack:
        node = stack[-1]
        missing = [] if node in known or _is_number(node) else _operands(node)
        missing = [a for a in missing if a not in known]
        stack.extend(missing)
        if not missing:
            stack.pop()
            if node not in known:
                known[node] = _number(node) if _is_number(node) else _convert(node, known)
    return as_expr(known[expr])


def _check(expr: Any) -> None:
    import sympy
    from sympy.logic.boolalg import Boolean

    if not isinstance(expr, (sympy.Expr, Boolean)):
        raise InputTypeError(
            f"from_sympy: {type(expr).__name__} is not a SymPy expression",
            hint="build it of sympy.Symbol; strings are refused, parsing them would run code",
        )


def _symbols(expr: Any, values: Mapping[Any, Expr]) -> dict[Any, ExprLike]:
    symbols = sorted(expr.free_symbols, key=str)
    missing = [s.name for s in symbols if s not in values and s.name not in values]
    if missing:
        raise GraphError(
            f"from_sympy: no value for {', '.join(missing)}",
            hint='give a node for each symbol: {"x": x}',
        )
    return {s: values[s] if s in values else values[s.name] for s in symbols}


def _operands(node: Any) -> list[Any]:
    """What must be known before; the pairs of a Piecewise are opened."""
    import sympy

    if isinstance(node, sympy.Piecewise):
        return [x for pair in node.args for x in pair.args]
    return list(node.args)


def _is_number(node: Any) -> bool:
    import sympy
    from sympy.logic.boolalg import BooleanAtom

    return isinstance(node, BooleanAtom) or (isinstance(node, sympy.Expr) and node.is_number)


def _number(node: Any) -> float | int | bool:
    """A SymPy number as a Python number, correctly rounded."""
    import sympy

    if not isinstance(node, sympy.Expr):
        return bool(node)
    if node.is_Integer and abs(int(node)) < 2**63:
        return int(node)
    if node.is_real is False and not node.is_infinite:
        raise UnsupportedOpError(f"from_sympy: {node} is not real")
    return float(node.evalf(25))


def _convert(node: Any, known: Mapping[Any, ExprLike]) -> ExprLike:
    import sympy

    if isinstance(node, sympy.Add):
        return _sum(node, known)
    if isinstance(node, sympy.Mul):
        return _product(node, known)
    if isinstance(node, sympy.Pow):
        return _power(known[node.base], node.exp, known)
    if isinstance(node, sympy.Piecewise):
        return _piecewise(node, known)
    function = _functions().get(node.func)
    if function is None:
        raise UnsupportedOpError(f"from_sympy: there is no operation for {node.func.__name__}")
    return function(*(known[a] for a in node.args))


def _sum(node: Any, known: Mapping[Any, ExprLike]) -> ExprLike:
    """Terms in SymPy's order; those with a factor -1 are subtracted."""
    terms = [known[a] for a in node.args]
    terms.sort(key=_is_negated)
    total: ExprLike = reduce(_plus, terms)
    return total


def _is_negated(x: ExprLike) -> bool:
    return isinstance(x, Expr) and x.op is ew.neg


def _plus(a: Any, b: Any) -> Any:
    return a - b.args[0] if _is_negated(b) else a + b


def _product(node: Any, known: Mapping[Any, ExprLike]) -> ExprLike:
    """Factors with negative exponents stand below a fraction line; -1 is a sign."""
    above: list[Any] = []
    below: list[Any] = []
    negative = False
    for factor in node.args:
        if factor == -1:
            negative = True
        elif _is_divisor(factor):
            below.append(_power(known[factor.base], -factor.exp, known))
        else:
            above.append(known[factor])
    top: Any = reduce(lambda a, b: a * b, above) if above else 1
    whole = top / reduce(lambda a, b: a * b, below) if below else top
    return ew.neg(whole) if negative else whole


def _is_divisor(factor: Any) -> bool:
    if _is_number(factor) or not factor.is_Pow:
        return False
    return bool(factor.exp.is_number and factor.exp.is_negative)


def _power(base: ExprLike, exponent: Any, known: Mapping[Any, ExprLike]) -> ExprLike:
    import sympy

    if exponent == 1:
        return base
    if exponent == -sympy.S.Half:
        return ew.reciprocal(ew.sqrt(base))
    if not isinstance(base, Expr) and base == 2:
        return ew.exp2(known[exponent])
    number = _number(exponent) if exponent.is_number else known[exponent]
    return power(base, 0.5 if exponent == sympy.S.Half else number)


def _piecewise(node: Any, known: Mapping[Any, ExprLike]) -> Expr:
    """Nested selects; NaN where no condition holds."""
    values = [(known[pair.expr], known[pair.cond]) for pair in node.args]
    like = next((v for v, _ in values if isinstance(v, Expr)), None)
    nan = scalar_like(float("nan"), like if like is not None else as_expr(1.0))
    result: ExprLike = nan
    for value, condition in reversed(values):
        result = value if condition is True else ew.where(condition, value, result)
    return as_expr(result)


def _choice(condition: ExprLike, then: ExprLike, otherwise: ExprLike) -> Expr:
    """A choice between conditions."""
    refused = ew.logical_not(condition)
    return ew.logical_or(ew.logical_and(condition, then), ew.logical_and(refused, otherwise))


def _step(x: Expr, at_zero: ExprLike) -> Expr:
    return ew.where(ew.equal(x, 0), at_zero, ew.cast(ew.greater(x, 0), x.dtype))


@cache
def _functions() -> dict[Any, Callable[..., ExprLike]]:
    import sympy as sp

    stable = functions()

    def joined(op: Callable[..., Expr]) -> Callable[..., ExprLike]:
        return lambda *args: reduce(op, args)

    return {
        sp.exp: ew.exp, sp.log: ew.log, sp.sin: ew.sin, sp.cos: ew.cos, sp.tan: ew.tan,
        sp.asin: ew.asin, sp.acos: ew.acos, sp.atan: ew.atan, sp.sinh: ew.sinh,
        sp.cosh: ew.cosh, sp.tanh: ew.tanh, sp.asinh: ew.asinh, sp.acosh: ew.acosh,
        sp.atanh: ew.atanh, sp.erf: ew.erf, sp.erfc: ew.erfc, sp.atan2: ew.atan2,
        sp.Abs: ew.abs, sp.sign: ew.sign, sp.floor: ew.floor, sp.ceiling: ew.ceil,
        sp.Mod: ew.remainder, sp.Max: joined(ew.maximum), sp.Min: joined(ew.minimum),
        sp.Eq: ew.equal, sp.Ne: ew.not_equal, sp.Lt: ew.less, sp.Le: ew.less_equal,
        sp.Gt: ew.greater, sp.Ge: ew.greater_equal, sp.And: joined(ew.logical_and),
        sp.Or: joined(ew.logical_or), sp.Xor: joined(ew.logical_xor), sp.Not: ew.logical_not,
        stable.sigmoid: ew.sigmoid, stable.softplus: ew.softplus,
        stable.log1p: ew.log1p, stable.expm1: ew.expm1, sp.ITE: _choice, sp.Heaviside: _step,
        sp.sec: lambda x: 1 / ew.cos(x), sp.csc: lambda x: 1 / ew.sin(x),
        sp.cot: lambda x: 1 / ew.tan(x),
    }  # fmt: skip
