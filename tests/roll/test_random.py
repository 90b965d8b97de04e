"""Random scalar graphs, periodic and not: rolled and unrolled agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import graphc as gr
from graphc.graph import Graph
from graphc.interpret import evaluate
from graphc.options import Options
from graphc.pipeline import run_stages
from graphc.roll import schedule, stage

TWO = [
    lambda a, b: a + b,
    lambda a, b: a - b * 0.5,
    lambda a, b: gr.tanh(a * b),
    lambda a, b: gr.where(a > b, a * 0.7, b + 0.1),
    lambda a, b: gr.maximum(a, b) * 0.9,
    lambda a, b: (a * a + 1.0) / (b * b + 2.0),
    lambda a, b: gr.where(gr.logical_and(a > 0, b < 0.5), gr.sin(a), b),
    lambda a, b: gr.cast(a > b, a.dtype) + a,
]


@pytest.fixture(autouse=True)
def everything_is_rolled(monkeypatch):
    monkeypatch.setenv("GRAPHC_CACHE", "off")  # which knows nothing of these thresholds
    monkeypatch.setattr(stage, "SMALLEST", 20)
    monkeypatch.setattr(schedule, "FEWEST", 6)


def _checked(inputs, outputs, at, compiled=True):
    given_at = dict(zip(inputs, at, strict=True))
    expected = evaluate(outputs, given_at)
    strict = Options(math="strict", verify=True)
    snapshots = run_stages(Graph(tuple(inputs), tuple(outputs)), strict)
    assume(snapshots[1].stage == "roll")  # not if equal nodes leave too few
    for a, b in zip(evaluate(snapshots[1].graph.roots, given_at), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13)
    if compiled:
        rolled = gr.compile(inputs, outputs, math="strict")(*at)
        plain = gr.compile(inputs, outputs, math="strict", skip="roll")(*at)
        for a, b in zip(rolled, plain, strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(gr.compile(inputs, outputs)(*at), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def _leaves(rng, dtype="float64"):
    x, y = gr.vector("x", 5, dtype), gr.scalar("y", dtype)
    at = [rng.normal(size=5).astype(dtype), np.asarray(rng.normal(), dtype)]
    return [x, y], [*(x[i] for i in range(5)), y], at


SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@FEW
@given(SEEDS, st.integers(20, 120), st.integers(1, 30))
def test_irregular_graphs(seed, count, reach):
    """Each node from two of the last few."""
    rng = np.random.default_rng(seed)
    inputs, values, at = _leaves(rng)
    for _ in range(count):
        a, b = rng.integers(max(0, len(values) - reach), len(values), 2)
        values.append(TWO[rng.integers(len(TWO))](values[a], values[b]))
    value = values[-1] + values[-2] * values[len(values) // 2]
    gradient = gr.grad(value, inputs, unused="zero")
    _checked(inputs, [value, *gradient], at)


@FEW
@given(SEEDS, st.integers(4, 40), st.integers(1, 6), st.integers(0, 3))
def test_periodic_graphs(seed, times, length, inner):
    """A loop whose body reads what it and earlier turns made, with a loop inside."""
    rng = np.random.default_rng(seed)
    inputs, values, at = _leaves(rng)
    kinds = rng.integers(len(TWO), size=length)
    backs = rng.integers(1, 7, size=(length, 2))
    fixed = rng.integers(-1, len(values), size=length)
    start = len(values)
    for turn in range(times):
        for k in range(length):
            a = values[-backs[k, 0]]
            b = values[fixed[k]] if fixed[k] >= 0 else values[-backs[k, 1]]
            values.append(TWO[kinds[k]](a, b))
        for j in range(inner):
            values.append(gr.sin(values[-1]) * (0.5 + j) + values[start + turn % 5])
    value = values[-1]
    for v in values[start::7]:
        value = value + v
    gradient = gr.grad(value, inputs, unused="zero")
    _checked(inputs, [value, values[-2], *gradient], at)


@FEW
@given(SEEDS, st.sampled_from(["float32", "float64"]))
def test_wide_graphs(seed, dtype):
    """Layers whose nodes do not depend on each other."""
    rng = np.random.default_rng(seed)
    inputs, layer, at = _leaves(rng, dtype)
    for _ in range(4):
        op = TWO[rng.integers(len(TWO))]
        places = rng.integers(len(layer), size=(24, 2))
        layer = [op(layer[a], layer[b]) for a, b in places]
    value = gr.sum(gr.stack(layer))
    snapshots = run_stages(Graph(tuple(inputs), (value,)), Options(verify=True))
    assert snapshots[1].stage == "roll"
    given_at = dict(zip(inputs, at, strict=True))
    (expected,) = evaluate([value], given_at)
    rtol = {"float32": 1e-4, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(gr.compile(inputs, value)(*at), expected, rtol=rtol, atol=rtol)
