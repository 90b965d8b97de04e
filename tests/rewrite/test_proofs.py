"""Bit-exact rules proved by z3 for all floats of a small format, and some for float32.

NaN payloads are not told apart. A rule of the class ``sign-of-zero`` must be refuted as exact
and proved up to the sign of zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import z3

from graphc.expr import Expr, constant_value, topological
from graphc.rewrite import RULES, rewrite
from rewrite.examples import EXAMPLES, Leaves

SMALL = z3.FPSort(4, 6)
SINGLE = z3.Float32()
RNE = z3.RNE()


class Unknown(Exception):
    """An operation that is not modelled."""


def fp(x: float, sort: Any) -> Any:
    value = float(x)
    if np.isnan(value):
        return z3.fpNaN(sort)
    if np.isinf(value):
        return z3.fpInfinity(sort, value < 0)
    if value == 0:
        return z3.fpZero(sort, bool(np.signbit(value)))
    return z3.FPVal(value, sort)


def extremum(pick: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's maximum and minimum: NaN wins, the first of equals."""

    def of(a: Any, b: Any) -> Any:
        nan = z3.fpNaN(a.sort())
        return z3.If(z3.Or(z3.fpIsNaN(a), z3.fpIsNaN(b)), nan, z3.If(pick(a, b), a, b))

    return of


def rounded(mode: Any) -> Callable[..., Any]:
    return lambda a: z3.fpRoundToIntegral(mode, a)


def sign(a: Any) -> Any:
    zero = z3.Or(z3.fpIsZero(a), z3.fpIsNaN(a))
    one = z3.If(z3.fpIsNegative(a), fp(-1, a.sort()), fp(1, a.sort()))
    return z3.If(zero, z3.If(z3.fpIsNaN(a), a, fp(0, a.sort())), one)


FLOAT: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: z3.fpAdd(RNE, a, b),
    "sub": lambda a, b: z3.fpSub(RNE, a, b),
    "mul": lambda a, b: z3.fpMul(RNE, a, b),
    "div": lambda a, b: z3.fpDiv(RNE, a, b),
    "reciprocal": lambda a: z3.fpDiv(RNE, fp(1, a.sort()), a),
    "square": lambda a: z3.fpMul(RNE, a, a),
    "sqrt": lambda a: z3.fpSqrt(RNE, a),
    "neg": z3.fpNeg,
    "abs": z3.fpAbs,
    "positive": lambda a: a,
    "floor": rounded(z3.RTN()),
    "ceil": rounded(z3.RTP()),
    "trunc": rounded(z3.RTZ()),
    "round": rounded(RNE),
    "sign": sign,
    "maximum": extremum(z3.fpGEQ),
    "minimum": extremum(z3.fpLEQ),
    "isnan": z3.fpIsNaN,
    "isinf": z3.fpIsInf,
    "isfinite": lambda a: z3.Not(z3.Or(z3.fpIsNaN(a), z3.fpIsInf(a))),
    "equal": z3.fpEQ,
    "not_equal": z3.fpNEQ,
    "less": z3.fpLT,
    "less_equal": z3.fpLEQ,
    "greater": z3.fpGT,
    "greater_equal": z3.fpGEQ,
    "where": z3.If,
}
LOGIC: dict[str, Callable[..., Any]] = {
    "logical_and": z3.And,
    "logical_or": z3.Or,
    "logical_xor": z3.Xor,
    "logical_not": z3.Not,
    "equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b,
    "where": z3.If,
}


def meaning(root: Expr, sort: Any) -> Any:
    """One element of an expression as a term."""
    terms: dict[Expr, Any] = {}
    for node in topological([root]):
        terms[node] = term(node, [terms[a] for a in node.args], sort)
    return terms[root]


def term(node: Expr, args: list[Any], sort: Any) -> Any:
    name = node.op.name
    if name == "input" and node.dtype.is_float:
        return z3.FP(node.name, sort)
    if name == "input" and node.dtype.is_bool:
        return z3.Bool(node.name)
    if name == "constant":
        value = constant_value(node)
        if value.size == 1:
            return z3.BoolVal(bool(value)) if node.dtype.is_bool else fp(value.item(), sort)
    if name == "broadcast_to" and not node.args[0].shape:
        return args[0]
    if name == "cast" and node.args[0].dtype == node.dtype:
        return args[0]
    if name == "cast" and node.args[0].dtype.is_bool and node.dtype.is_float:
        return z3.If(args[0], fp(1, sort), fp(0, sort))
    boolean = any(a.dtype.is_bool for a in node.args[-2:])
    table = LOGIC if boolean else FLOAT
    if name not in table or any(a.dtype.is_integer for a in node.args):
        raise Unknown(name)
    return table[name](*args)


def differ(a: Any, b: Any, zero_sign: bool = True) -> Any:
    """Bits differ; NaN is NaN."""
    if not z3.is_fp(a):
        return a != b
    same = a == b if zero_sign else z3.Or(a == b, z3.And(z3.fpIsZero(a), z3.fpIsZero(b)))
    return z3.Not(same)


def proved(claim: Any) -> bool:
    solver = z3.Solver()
    solver.set("timeout", 20_000)
    solver.add(claim)
    answer = solver.check()
    assert answer != z3.unknown
    return bool(answer == z3.unsat)


def pair(name: str, index: int, sort: Any) -> tuple[Any, Any]:
    before = EXAMPLES[name][index](Leaves("float32"))
    (after,), _ = rewrite([before], [RULES[name]])
    return meaning(before, sort), meaning(after, sort)


def modelled(klass: str) -> list[tuple[str, int]]:
    """The rules of a class, with the examples z3 can be asked about."""
    found = []
    for name, examples in EXAMPLES.items():
        for index in range(len(examples)):
            if RULES[name].klass == klass:
                try:
                    pair(name, index, SMALL)
                except Unknown:
                    continue
                found.append((name, index))
    return found


EXACT = modelled("exact")
SIGN = modelled("sign-of-zero")

#: Exact rules on single elements whose meaning is not floating-point arithmetic.
NOT_MODELLED = {
    "pow-one", "pow-zero", "even-function", "odd-function", "classify-integer",
}  # fmt: skip


def test_scalar_rules_are_modelled() -> None:
    here = ("graphc.rewrite.algebra", "graphc.rewrite.strength", "graphc.rewrite.selection")
    scalar = {
        r.name for r in RULES.values() if r.klass == "exact" and r.apply.__module__ in here
    }
    assert scalar - {name for name, _ in EXACT} == NOT_MODELLED | {"cast-of-cast"}


@pytest.mark.parametrize(("name", "index"), EXACT)
def test_exact_in_a_small_format(name: str, index: int) -> None:
    one, two = pair(name, index, SMALL)
    assert proved(differ(one, two))


#: Rules whose proof for float32 takes seconds: multiplication of two unknowns.
SLOW = ("mul-neg", "neg-div", "div-neg", "even-of-neg", "add-negative-scaled")
CHEAP = [(name, index) for name, index in EXACT if name not in SLOW]


@pytest.mark.parametrize(("name", "index"), CHEAP)
def test_exact_in_float32(name: str, index: int) -> None:
    one, two = pair(name, index, SINGLE)
    assert proved(differ(one, two))


@pytest.mark.parametrize(("name", "index"), SIGN)
def test_sign_of_zero(name: str, index: int) -> None:
    one, two = pair(name, index, SMALL)
    assert proved(differ(one, two, zero_sign=False))


@pytest.mark.parametrize(
    "name",
    ["add-zero", "mul-zero", "sub-self", "div-self", "neg-of-sub", "zero-sub", "neg-sub"],
)
def test_refuted_as_exact(name: str) -> None:
    one, two = pair(name, 0, SMALL)
    assert not proved(differ(one, two))
