"""Derivatives of every operation: against SymPy, differences, and each other."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import sympy

import cases
import graphc as gr
from graphc.diff.reverse import accumulate
from graphc.expr import apply, constant
from graphc.interpret import evaluate
from graphc.ops import OPS
from graphc.testing import check_grads, samples
from graphc.types import float64

x, y, z = sympy.symbols("x y z", real=True)

#: The functions in SymPy's words; the derivatives follow by its rules, not by ours.
FORMULAS = {
    "add": x + y,
    "sub": x - y,
    "mul": x * y,
    "div": x / y,
    "remainder": x - y * sympy.floor(x / y),
    "pow": x**y,
    "maximum": sympy.Piecewise((x, x > y), (y, True)),
    "minimum": sympy.Piecewise((x, x < y), (y, True)),
    "hypot": sympy.sqrt(x**2 + y**2),
    "logaddexp": sympy.log(sympy.exp(x) + sympy.exp(y)),
    "atan2": sympy.atan2(x, y),
    "copysign": sympy.Abs(x) * sympy.sign(y),
    "nextafter": x,
    "fma": x * y + z,
    "neg": -x,
    "positive": x,
    "abs": sympy.Abs(x),
    "square": x**2,
    "sqrt": sympy.sqrt(x),
    "reciprocal": 1 / x,
    "exp": sympy.exp(x),
    "exp2": 2**x,
    "expm1": sympy.exp(x) - 1,
    "log": sympy.log(x),
    "log1p": sympy.log(1 + x),
    "log2": sympy.log(x, 2),
    "log10": sympy.log(x, 10),
    "sin": sympy.sin(x),
    "cos": sympy.cos(x),
    "tan": sympy.tan(x),
    "asin": sympy.asin(x),
    "acos": sympy.acos(x),
    "atan": sympy.atan(x),
    "sinh": sympy.sinh(x),
    "cosh": sympy.cosh(x),
    "tanh": sympy.tanh(x),
    "asinh": sympy.asinh(x),
    "acosh": sympy.acosh(x),
    "atanh": sympy.atanh(x),
    "sigmoid": 1 / (1 + sympy.exp(-x)),
    "softplus": sympy.log(1 + sympy.exp(x)),
    "erf": sympy.erf(x),
    "erfc": sympy.erfc(x),
}  # fmt: skip
#: Steps: the derivative is zero by the declared policy.
STEPS = {
    "floor_divide", "sign", "floor", "ceil", "trunc", "round", "equal", "not_equal", "less",
    "less_equal", "greater", "greater_equal", "isnan", "isinf", "isfinite", "signbit",
    "logical_and", "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or",
    "bitwise_xor", "bitwise_invert", "left_shift", "right_shift",
}  # fmt: skip

ELEMENTWISE = [op for op in OPS.values() if op.family == "elementwise"]
WITH_PARTIALS = [op for op in ELEMENTWISE if op.partials is not None]
#: Marks of family "derivative" have a declared derivative, not their own: tests/diff.
STRUCTURED = [op for op in OPS.values() if op.vjp is not None and op.family != "derivative"]


@pytest.mark.parametrize("op", OPS.values(), ids=str)
def test_every_operation_has_samples_and_a_derivative(op):
    if op.name in ("input", "parameter"):
        return
    assert samples(op), f"no samples for {op.name}: extend graphc.testing"
    if op.family == "leaf":
        return
    assert (op.partials is None) != (op.vjp is None)
    if op.partials is not None:
        assert op.name in FORMULAS or op.name in STEPS, f"no formula for {op.name}"


def _points(op, count=40):
    rng = np.random.default_rng(3)
    return [rng.uniform(low, high, count) for low, high in op.domain]


def _symbolic(formula, symbols, arrays):
    """Values of a SymPy expression with 30 digits, rounded."""
    function = sympy.lambdify(symbols, formula, "mpmath")
    with mpmath.workdps(30):
        points = zip(*arrays, strict=True)
        return np.array([float(mpmath.re(function(*map(mpmath.mpf, p)))) for p in points])


def _clean(formula):
    """Without the derivatives of steps, which are zero between the steps."""
    formula = formula.replace(sympy.DiracDelta, lambda *_: sympy.Integer(0))
    return formula.replace(
        lambda e: isinstance(e, (sympy.Derivative, sympy.Subs)), lambda _: sympy.Integer(0)
    )


def _leaves(op, arrays):
    return [gr.tensor(f"x{i}", a.shape, "float64") for i, a in enumerate(arrays)]


@pytest.mark.parametrize("op", [o for o in WITH_PARTIALS if o.name in FORMULAS], ids=str)
def test_partials_are_sympys_to_second_order(op):
    """``d op / d x_i`` and ``d^2 op / d x_i d x_j``."""
    arrays = _points(op)
    leaves = _leaves(op, arrays)
    values = dict(zip(leaves, arrays, strict=True))
    symbols = (x, y, z)[: len(arrays)]
    firsts = gr.grad(gr.sum(apply(op, leaves)), leaves)
    for symbol, first in zip(symbols, firsts, strict=True):
        formula = _clean(sympy.diff(FORMULAS[op.name], symbol))
        expected = _symbolic(formula, symbols, arrays)
        np.testing.assert_allclose(
            evaluate([first], values)[0], expected, rtol=1e-12, atol=1e-14
        )
        seconds = gr.grad(gr.sum(first), leaves, unused="zero")
        for other, second in zip(symbols, seconds, strict=True):
            expected = _symbolic(_clean(sympy.diff(formula, other)), symbols, arrays)
            np.testing.assert_allclose(
                evaluate([second], values)[0], expected, rtol=1e-11, atol=1e-12
            )


@pytest.mark.parametrize("op", [o for o in WITH_PARTIALS if o.name in STEPS], ids=str)
def test_steps_have_no_derivative(op):
    leaves = _leaves(op, _points(op))
    assert set(op.partials(None, *leaves)) == {None}


#: A difference quotient may step over their kinks.
KINKED = {"abs", "copysign", "maximum", "minimum", "nextafter", "remainder"}


@pytest.mark.parametrize(
    "op", [o for o in WITH_PARTIALS if o.name not in STEPS | KINKED], ids=str
)
def test_broadcast_operands_against_differences(op):
    """Unbroadcasting and empty operands, first and second order."""
    for sample in samples(op, ["float64"]):
        check_grads(sample.build, sample.arrays, order=2 if sample.arrays[0].size < 20 else 1)


def _float_samples(op):
    return [s for s in samples(op, ["float64"]) if s.arrays and s.arrays[0].size < 30]


@pytest.mark.parametrize("op", STRUCTURED, ids=str)
def test_pullback_against_differences(op):
    if op.name in ("any", "all", "argmax", "argmin"):
        return
    for sample in _float_samples(op):
        if sample.attrs.get("dtype", float64) is not float64:  # of a cast
            continue
        order = 1 if op.name == "cumprod" and sample.arrays[0].size > 6 else 2
        check_grads(
            sample.build, sample.arrays, order=order, rtol=1e-5 if op.name == "norm" else 1e-6
        )


@pytest.mark.parametrize("op", STRUCTURED, ids=str)
def test_pushforward_is_the_transpose_of_the_pullback(op):
    """``<w, J v> = <J^T w, v>`` for random ``v`` and ``w``."""
    rng = np.random.default_rng(5)
    for sample in _float_samples(op):
        leaves = sample.leaves()
        out = sample.build(*leaves)
        values = dict(zip(leaves, sample.arrays, strict=True))
        moving = [leaf for leaf in leaves if leaf.dtype.is_float]
        if not out.dtype.is_float or op.jvp is None:
            assert op.vjp(out, out, *leaves) == (None,) * len(leaves)
            continue
        directions = {
            leaf: rng.normal(size=leaf.shape).astype(leaf.dtype.name) for leaf in moving
        }
        tangents = [constant(directions[x]) if x in directions else None for x in leaves]
        w = rng.normal(size=out.shape).astype(out.dtype.name)
        forward = evaluate([op.jvp(tangents, out, *leaves)], values)[0]
        assert forward.shape == w.shape
        table = accumulate([(out, constant(w))], moving)
        back = evaluate([table[leaf] for leaf in moving], values)
        right = sum(np.sum(b * directions[leaf]) for b, leaf in zip(back, moving, strict=True))
        np.testing.assert_allclose(
            np.sum(w * forward), right, rtol=1e-6, atol=1e-6 if op.name == "cast" else 1e-12
        )


@pytest.mark.parametrize("op", STRUCTURED, ids=str)
def test_one_tangent_alone(op):
    """A pushforward with some operands that do not move."""
    if op.jvp is None:
        return
    for sample in _float_samples(op):
        leaves = sample.leaves()
        out = sample.build(*leaves)
        if not out.dtype.is_float:
            continue
        values = dict(zip(leaves, sample.arrays, strict=True))
        ones = [constant(np.ones(x.shape, x.dtype.name)) for x in leaves]
        parts = 0.0
        full = [o if x.dtype.is_float else None for o, x in zip(ones, leaves, strict=True)]
        whole = evaluate([op.jvp(full, out, *leaves)], values)[0]
        for i, tangent in enumerate(full):
            if tangent is not None:
                alone = [tangent if j == i else None for j in range(len(full))]
                parts = parts + evaluate([op.jvp(alone, out, *leaves)], values)[0]
        np.testing.assert_allclose(whole, parts, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "case",
    [c for c in cases.NUMPY if c.arrays and all(a.dtype != np.float32 for a in c.arrays)],
    ids=str,
)
def test_functions_against_differences(case):
    """Every function of NumPy's names, where its result is a float and has no NaN."""
    _, out = case.graph()
    smooth = not any(np.isnan(a).any() for a in case.arrays if a.dtype.kind == "f")
    if out.dtype.name == "float64" and smooth and any(a.dtype.kind == "f" for a in case.arrays):
        check_grads(case.build, case.arrays, rtol=1e-6)
