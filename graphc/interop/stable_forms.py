"""Functions that SymPy spells out and that overflow or cancel when computed as spelt.

``1/(1 + exp(-u))``, ``log(1 + exp(u))``, ``log(1 + u)``, ``exp(u) - 1`` become functions of
their own, as they are operations here. Their derivatives are as stable as they are.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple


class Named(NamedTuple):
    """SymPy function classes."""

    sigmoid: Any
    softplus: Any
    log1p: Any
    expm1: Any


@cache
def functions() -> Named:
    """The classes; made at the first use, so that SymPy is imported then."""
    import sympy
    from sympy.codegen.cfunctions import expm1, log1p

    class sigmoid(sympy.Function):  # type: ignore[misc]
        """1 / (1 + exp(-u))"""

        def fdiff(self, argindex: int = 1) -> Any:
            return self * sigmoid(-self.args[0])

    class softplus(sympy.Function):  # type: ignore[misc]
        """log(1 + exp(u))"""

        def fdiff(self, argindex: int = 1) -> Any:
            return sigmoid(self.args[0])

    return Named(sigmoid, softplus, log1p, expm1)


def named(expr: Any) -> Any:
    """The expression with these functions recognised, operands first."""
    known: dict[Any, Any] = {}
    stack = [expr]
    while stack:
        node = stack[-1]
        missing = [a for a in node.args if a not in known]
        stack.extend(missing)
        if not missing:
            stack.pop()
            args = [known[a] for a in node.args]
            same = all(a is b for a, b in zip(args, node.args, strict=True))
            known[node] = _lifted(node if same else node.func(*args))
    return known[expr]


def _lifted(e: Any) -> Any:
    import sympy

    if isinstance(e, sympy.log):
        return _log(e)
    if isinstance(e, sympy.Pow):
        return _power(e)
    if isinstance(e, sympy.Add):
        return _sum(e)
    return _product(e) if isinstance(e, sympy.Mul) else e


def _rest_of_one(e: Any) -> Any:
    """``u`` of ``1 + u``, where that is all there is; else None."""
    if not e.is_Add or len(e.args) != 2 or 1 not in e.args or e.is_number:
        return None
    return next(a for a in e.args if a != 1)


def _exponent(e: Any) -> Any:
    """``u`` of ``exp(u)``, else None; numbers stay numbers."""
    import sympy

    return e.args[0] if isinstance(e, sympy.exp) and not e.is_number else None


def _log(e: Any) -> Any:
    rest = _rest_of_one(e.args[0])
    if rest is None:
        return e
    u = _exponent(rest)
    return functions().log1p(rest) if u is None else functions().softplus(u)


def _power(e: Any) -> Any:
    """(1 + exp(u))^-n -> sigmoid(-u)^n"""
    rest = _rest_of_one(e.base)
    u = None if rest is None else _exponent(rest)
    if u is None or not (e.exp.is_number and e.exp.is_negative):
        return e
    return functions().sigmoid(-u) ** (-e.exp)


def _sum(e: Any) -> Any:
    """exp(u) - 1 -> expm1(u), 1 - exp(u) -> -expm1(u)"""
    for one in (1, -1):
        for term in e.args if one in e.args else ():
            u = _exponent(-one * term)
            if u is not None:
                return e - one - term - one * functions().expm1(u)
    return e


def _product(e: Any) -> Any:
    """exp(u) sigmoid(-u) -> sigmoid(u)"""
    sigmoid = functions().sigmoid
    for factor in e.args:
        u = _exponent(factor)
        if u is not None and e.has(sigmoid(-u)) and _power_of(e, sigmoid(-u)) >= 1:
            return _product(e / factor / sigmoid(-u) * sigmoid(u))
    return e


def _power_of(product: Any, factor: Any) -> Any:
    found = product.as_powers_dict().get(factor, 0)
    return found if getattr(found, "is_number", True) else 0
