"""Norms of gradients along a network, and verdicts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gr
from graphc.inspect.health.gradients import EXPLODING, SATURATED_SLOPE, VANISHING

X = gr.scalar("x", "float64")
V = gr.tensor("v", ("n", 4), "float64")


def chain(depth: int, link: Callable[[gr.Expr], gr.Expr]) -> gr.Expr:
    y = X
    for _ in range(depth):
        y = link(y)
    return y


# The lectures' chain ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "slope"), [(1, 0.25), (2, 0.0587509), (3, 0.0133521), (10, 3.87522e-7)]
)
def test_sigmoids_of_sigmoids(depth: int, slope: float) -> None:
    report = gr.gradient_norms(chain(depth, gr.sigmoid), X, {X: 0.0})
    assert report["x"].norm == pytest.approx(slope, rel=3e-6)
    assert report["x"].relative == report["x"].norm
    assert len(report) == depth + 1
    assert report["x"].verdict == ("vanishing" if depth == 10 else "ok")


def test_where_the_gradient_vanishes():
    report = gr.gradient_norms(chain(10, gr.nn.sigmoid), inputs={X: 0.0})
    names = ["x", "sigmoid", *(f"sigmoid#{i}" for i in range(2, 11))]
    assert [row.name for row in report] == names
    assert [row.name for row in report.marked] == names[:6]
    assert all(row.norm < VANISHING for row in report.marked)
    norms = [row.norm for row in report]
    assert norms == sorted(norms)


def test_exploding():
    report = gr.gradient_norms(chain(8, lambda y: gr.tanh(y) * 9), X, {X: 0.0})
    assert report["x"].norm == pytest.approx(9.0**8)
    assert report["x"].verdict == "exploding"
    assert report["tanh"].relative > EXPLODING
    assert report["tanh#8"].verdict == "ok"


def test_not_finite():
    report = gr.gradient_norms(gr.sqrt(gr.tanh(X)), X, {X: 0.0})
    assert report["x"].verdict == "not finite"


# Activations --------------------------------------------------------------------------------

VALUES = np.array([[-9.0, -1, 0, 1], [-9, 2, 0, 1], [-9, 2, 0, 9]])
#: Each way to write a rectifier, and the share of its dead units for these values.
RECTIFIERS: dict[str, tuple[Callable[[gr.Expr], gr.Expr], float]] = {
    "relu": (gr.nn.relu, 0.5),
    "maximum": (lambda v: gr.maximum(v, 0), 0.5),
    "maximum from the left": (lambda v: gr.maximum(0, v), 0.5),
    "where": (lambda v: gr.where(v > 0, v, 0), 0.5),
    "where the other way round": (lambda v: gr.where(v < 0, 0.0, v), 0.5),
}


@pytest.mark.parametrize("name", RECTIFIERS)
def test_dead_units(name: str) -> None:
    """A unit is dead if it is zero for every example; single zeros do not count."""
    rectifier, share = RECTIFIERS[name]
    row = gr.gradient_norms(gr.sum(rectifier(V)), V, {V: VALUES}).rows[1]
    assert row.dead == share
    assert row.saturated is None
    assert row.verdict == "dead"
    alive = gr.gradient_norms(gr.sum(rectifier(V)), V, {V: abs(VALUES) + 1}).rows[1]
    assert (alive.dead, alive.verdict) == (0.0, "ok")


def test_units_of_a_vector():
    v = gr.vector("w", 4, "float64")
    row = gr.gradient_norms(gr.sum(gr.nn.relu(v)), v, {v: [1.0, -1, 2, 3]}).rows[1]
    assert row.dead == 0.25


#: The operand from which on an activation is saturated, on both sides.
SATURATION: dict[str, tuple[Callable[[gr.Expr], gr.Expr], float, float]] = {
    "sigmoid": (gr.sigmoid, -4.3565, 4.3565),
    "tanh": (gr.tanh, -2.1783, 2.1783),
    "hard tanh": (gr.nn.hard_tanh, -1, 1),
    "hard sigmoid": (gr.nn.hard_sigmoid, -3, 3),
    "relu6": (gr.nn.relu6, 0, 6),
}


@pytest.mark.parametrize("name", SATURATION)
def test_saturation(name: str) -> None:
    activation, low, high = SATURATION[name]
    values = np.array([[low - 0.01, low + 0.01, high - 0.01, high + 0.01]])
    row = gr.gradient_norms(gr.sum(activation(V)), V, {V: values}).rows[1]
    assert (row.saturated, row.dead, row.verdict) == (0.5, None, "saturated")
    inside = values.clip(low + 0.01, high - 0.01)
    row = gr.gradient_norms(gr.sum(activation(V)), V, {V: inside}).rows[1]
    assert (row.saturated, row.verdict) == (0.0, "ok")


def test_the_slope_of_saturation():
    """4 s (1 - s) and 1 - t^2 are the slopes over their largest."""
    z = np.arctanh(np.sqrt(1 - SATURATED_SLOPE))
    assert z == pytest.approx(2.1783, abs=1e-4)
    assert 2 * z == pytest.approx(4.3565, abs=1e-4)


@pytest.mark.parametrize("other", [gr.nn.leaky_relu, gr.nn.gelu, gr.exp, gr.abs])
def test_activations_without_a_verdict(other: Callable[[gr.Expr], gr.Expr]) -> None:
    rows = gr.gradient_norms(gr.sum(other(V)), V, {V: VALUES}).rows
    assert all(row.dead is None and row.saturated is None for row in rows)


# Networks -----------------------------------------------------------------------------------


def network() -> tuple[gr.Expr, gr.Expr, list[gr.Parameter], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    x = gr.tensor("X", ("n", 5), "float64")
    w1 = gr.parameter("w1", rng.normal(size=(5, 8)))
    b1 = gr.parameter("b1", np.full(8, -100.0))
    w2 = gr.parameter("w2", rng.normal(size=(8, 3)))
    with gr.scope("hidden"):
        h = gr.nn.relu(x @ w1 + b1)
    with gr.scope("out"):
        y = h @ w2
    return gr.mean(gr.square(y)), x, [w1, b1, w2], rng.normal(size=(7, 5))


def test_norms_are_those_of_the_gradient():
    loss, x, parameters, data = network()
    parameters[1].value = np.linspace(-1, 1, 8)
    report = gr.gradient_norms(loss, inputs={x: data})
    found = gr.compile(x, gr.grad(loss, parameters), backend="interpret")(data)
    for p, g in zip(parameters, found, strict=True):
        row = report[p.name or ""]
        assert row.norm == pytest.approx(np.linalg.norm(g), rel=1e-12)
        assert row.weights == pytest.approx(np.linalg.norm(p.value), rel=1e-12)
        assert row.ratio == pytest.approx(np.linalg.norm(g) / np.linalg.norm(p.value))
        assert row.kind == "parameter"
    assert report["w2"].relative == 1
    with_input = gr.gradient_norms(loss, [x, *parameters], {x: data})
    slope = gr.compile(x, gr.grad(loss, x), backend="interpret")(data)
    assert with_input["X"].norm == pytest.approx(np.linalg.norm(slope), rel=1e-12)


def test_a_dead_layer():
    """The gradients of all that stands before dead rectifiers are zero."""
    loss, x, _, data = network()
    report = gr.gradient_norms(loss, inputs={x: data})
    verdicts = {row.name: row.verdict for row in report}
    assert verdicts["w1"] == verdicts["b1"] == verdicts["w2"] == "zero"
    assert verdicts["hidden"] == verdicts["hidden/relu"] == "zero, dead"
    assert report["hidden"].dead == 1


def test_of_a_compiled_function():
    loss, x, parameters, data = network()
    w1 = parameters[0]
    f = gr.compile({"x": x}, {"y": x * 2, "loss": loss}, {w1: w1 - gr.grad(loss, w1)})
    before = w1.value.copy()
    assert str(f.gradient_report({"x": data})) == str(gr.gradient_norms(loss, inputs={x: data}))
    np.testing.assert_array_equal(w1.value, before)
    with pytest.raises(gr.errors.GraphError) as caught:
        gr.compile(x, x * 2, name="twice").gradient_report(data)
    assert caught.value.summary == "twice.gradient_report: no output is a float of rank 0"


def test_derived_sizes():
    n = gr.tensor("q", ("n",)).shape[0]
    x = gr.tensor("x", (2 * n,), "float64")
    f = gr.compile(x, gr.sum(gr.square(gr.reshape(x, (n, 2)))))
    assert f.gradient_report([1.0, 2, 3, 4])["x"].norm == pytest.approx(2 * np.sqrt(30))


def test_norms_that_would_overflow():
    v = gr.vector("w", 2)
    report = gr.gradient_norms(gr.sum(v * 3e38), v, {v: [0.5, 0.5]})
    assert report["w"].norm == pytest.approx(3e38 * np.sqrt(2), rel=1e-6)


def test_untrainable_parameters_are_left_out():
    x = gr.vector("x", 3)
    mean = gr.parameter("mean", np.zeros(3), dtype="float32", trainable=False)
    assert [r.name for r in gr.gradient_norms(gr.sum(x - mean), inputs={x: [1, 2, 3]})] == ["x"]


# Text ---------------------------------------------------------------------------------------


def test_text_and_pages():
    loss, x, _, data = network()
    report = gr.gradient_norms(loss, inputs={x: data})
    lines = str(report).splitlines()
    assert lines[0].split() == [
        "gradient", "of", "type", "norm", "relative", "norm", "/", "weights", "dead",
        "saturated", "verdict",
    ]  # fmt: skip
    assert lines[3].split() == ["hidden", "f64[n,", "8]", "0", "0", "100.0%", "zero,", "dead"]
    page = report._repr_html_()
    assert page.startswith("<table><tr><th>gradient of</th>")
    assert page.count("<tr") == len(report) + 1
    assert page.count("background") == len(report.marked)
    plain = report.to_dict()
    assert json.loads(json.dumps(plain)) == plain


def test_errors():
    with pytest.raises(gr.errors.DifferentiationError, match="not \\(\\)"):
        gr.gradient_norms(V, V, {V: VALUES})
    with pytest.raises(gr.errors.InputError, match="gradient_norms: no values for 'x'"):
        gr.gradient_norms(gr.square(X), X)
    with pytest.raises(gr.errors.DifferentiationError, match="does not depend on v"):
        gr.gradient_norms(gr.square(X), V, {X: 1.0})
