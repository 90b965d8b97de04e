"""Compiled graphs against NumPy and the interpreter, on the table of all cases."""

from __future__ import annotations

import numpy as np
import pytest

import cases
import graphc as gr
from graphc.interpret import evaluate
from graphc.ops import OPS

FUNCTIONS = [*cases.NUMPY, *cases.NETWORKS]


@pytest.mark.parametrize("name", OPS)
def test_operation(name):
    """All samples of an operation in one compiled function."""
    inputs, arrays, outputs = [], [], []
    chosen = [c for c in cases.BY_OPERATION[name] if not _missing(c)]
    for i, case in enumerate(chosen):
        leaves, out = case.graph(f"x{i}_")
        inputs += leaves
        arrays += case.arrays
        outputs.append(out)
    values = gr.compile(inputs, outputs)(*arrays)
    for case, value in zip(chosen, values, strict=True):
        case.check(np.asarray(value))


def _missing(case):
    """The vector math has no reciprocal of integers."""
    return case.id.startswith(("reciprocal-int", "reciprocal-uint"))


@pytest.mark.parametrize("case", FUNCTIONS, ids=str)
def test_value(case):
    leaves, out = case.graph()
    case.check(np.asarray(gr.compile(leaves, out)(*case.arrays)))


def _differentiable():
    for case in FUNCTIONS:
        for dtype in ("float32", "float64"):
            variant = case.cast(dtype)
            leaves, out = variant.graph()
            if out.dtype.is_float and any(x.dtype.is_float for x in leaves):
                yield variant


@pytest.mark.parametrize("case", list(_differentiable()), ids=str)
def test_gradient_is_the_interpreters(case):
    leaves, out = case.graph()
    weights = np.random.default_rng(0).normal(size=out.shape).astype(out.dtype.name)
    targets = [x for x in leaves if x.dtype.is_float]
    gradients = gr.grad(gr.sum(out * weights), targets, unused="zero")
    expected = evaluate(gradients, dict(zip(leaves, case.arrays, strict=True)))
    for actual, e in zip(gr.compile(leaves, gradients)(*case.arrays), expected, strict=True):
        assert actual.dtype == e.dtype
        rtol = {"float32": 2e-5, "float64": 1e-12}[e.dtype.name]
        scale = float(np.max(np.abs(e[np.isfinite(e)]), initial=0.0))
        np.testing.assert_allclose(actual, e, rtol=rtol, atol=rtol * scale)


EXTREMES = [
    *(-np.inf, -1e300, -1e30, -1e4, -5.5, -1.0, -1e-30, -0.0, 0.0, 1e-310, 1e-40, 0.5),
    *(1.0, 2.0, 3.0, 710.0, 1e4, 1e30, 1e300, np.inf, np.nan),
]
ON_FLOATS = [
    op
    for op in OPS.values()
    if op.promote is not None and not op.name.startswith(("bitwise", "left", "right"))
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", ON_FLOATS, ids=str)
def test_special_values(op, dtype):
    """Infinities, NaN, signed zeros and denormals: equal to NumPy up to four last places."""
    with np.errstate(all="ignore"):
        points = np.array(EXTREMES).astype(dtype)
        grids = np.meshgrid(*[points] * len(op.roles))
        expected = op.evaluate(*grids)
    leaves = [gr.tensor(f"x{i}", g.shape, dtype) for i, g in enumerate(grids)]
    value = gr.compile(leaves, op(*leaves))(*grids)
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(value, expected)
        return
    with np.errstate(all="ignore"):
        near = np.abs(value - expected) <= 4 * np.spacing(np.abs(expected))
    same = (value == expected) | (np.isnan(value) & np.isnan(expected)) | near
    signs = (np.signbit(value) == np.signbit(expected)) | np.isnan(expected)
    wrong = np.argwhere(~(same & signs))
    assert not len(wrong), [(*(g[tuple(i)] for g in grids), value[tuple(i)]) for i in wrong[:5]]
