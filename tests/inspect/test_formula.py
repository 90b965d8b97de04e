"""Formulas say exactly what the graph computes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gr
from graphc.inspect.text.formula import formula
from graphc.interpret import evaluate


def test_least_squares_gradient(lsq, golden):
    loss, w = lsq
    golden("lsq_gradient.txt", formula(gr.cse(gr.grad(loss, w))))


def test_softmax_cross_entropy_gradient(softmax_ce, golden):
    loss, z = softmax_ce
    golden("softmax_ce_gradient.txt", formula([loss, gr.cse(gr.grad(loss, z))]))


def test_simplified_gradient(softmax_ce, golden):
    loss, z = softmax_ce
    t = next(n for n in gr.expr.topological([loss]) if n.name == "t")
    f = gr.compile([z, t], gr.grad(loss, z), backend="llvm")
    golden("softmax_ce_simplified.txt", formula(f, stage="simplify"))


def test_shared_and_named_terms_have_lines():
    x = gr.scalar("x")
    s = gr.sin(x)
    assert formula(s * s) == "t1 = sin(x)\nt1 * t1"
    assert formula((x + 1).named("h") * 2) == "h = x + 1\nh * 2"
    assert formula((x + 1).named("h")) == "x + 1"


def test_fresh_names_avoid_the_users():
    t1 = gr.scalar("t1")
    s = gr.sin(t1)
    assert formula(s * s) == "t2 = sin(t1)\nt2 * t2"


def test_deep_terms_are_named():
    y = gr.scalar("x")
    for _ in range(7):
        y = gr.sin(y)
    assert formula(y, 3) == "t1 = sin(sin(sin(x)))\nt2 = sin(sin(sin(t1)))\nsin(t2)"


def test_formulas_are_linear_in_the_graph():
    y = gr.scalar("x")
    for _ in range(4_000):
        y = y * 2 + 1
    assert len(formula(y)) < 8_000 * 12


UNARY = [gr.negative, gr.sin, gr.square, gr.reciprocal, gr.abs]
BINARY = [gr.add, gr.subtract, gr.multiply, gr.divide, gr.maximum, gr.less]
BINARY += [gr.floor_divide, gr.remainder, gr.matmul, lambda a, b: gr.sum(a, 0) + b]


@st.composite
def graphs(draw: st.DrawFn) -> list[gr.Expr]:
    """Three leaves and what is made of them, matrices all."""
    nodes = [gr.tensor(name, (3, 3), "float64") for name in "abc"]
    numbers = [gr.constant(v, "float64") for v in (-2.0, 0.5)]
    for _ in range(draw(st.integers(1, 12))):
        node = draw(st.sampled_from(nodes))
        if draw(st.booleans()):
            made = draw(st.sampled_from(UNARY))(node)
        elif draw(st.booleans()):
            made = draw(st.sampled_from(BINARY))(node, draw(st.sampled_from(nodes)))
        else:
            number = draw(st.sampled_from(numbers))
            pair = [node, number] if draw(st.booleans()) else [number, node]
            made = draw(st.sampled_from(BINARY[:8]))(*pair)
        nodes.append(made.astype("float64"))
    return nodes


def _run(text: str, values: dict[str, np.ndarray]) -> np.ndarray:
    """Evaluate a formula as Python."""
    names = {
        "sin": np.sin, "abs": np.abs, "maximum": np.maximum, "f64": np.float64,
        "sum": lambda axes: lambda x: np.sum(x, axes), **values,
    }  # fmt: skip
    *lines, last = re.sub(r"sum\[(axes=\(0,\))\]", r"sum(\1)", text).splitlines()
    for line in lines:
        name, _, term = line.partition(" = ")
        names[name] = eval(term, {}, names)
    return eval(last, {}, names)


@given(graphs())
@settings(max_examples=150, deadline=None)
def test_formulas_evaluate_to_the_same_numbers(nodes):
    rng = np.random.default_rng(0)
    values = {x: rng.uniform(0.5, 2.0, (3, 3)) for x in nodes[:3]}
    with np.errstate(all="ignore"):
        (expected,) = evaluate([nodes[-1]], values)
        found = _run(formula(nodes[-1], 4), {x.name: v for x, v in values.items()})
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("n", [2, 3])
def test_shapes_axes_and_slices_are_written(n):
    x = gr.tensor("x", (4, n))
    assert formula(gr.reshape(x, (n, 4)).T[1:3]) == f"reshape(x, [{n}, 4]).T[1:3, :]"
    assert formula(x.sum(0, keepdims=True)) == "sum[axes=(0,), keepdims](x)"
    assert formula(gr.cumsum(x, 1)) == "cumsum[axis=1](x)"
    assert formula(gr.softmax(x) - gr.softmax(x, 0)) == "softmax(x) - softmax[axes=(0,)](x)"
