"""Work of derivatives, on the count of operations: bounds that hold for every graph."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gr
from graphc.diff.work import distinct, flops, node_flops
from graphc.graph import Graph
from graphc.inspect.tables.cost import cost
from graphc.interpret import evaluate
from graphc.options import Options
from graphc.pipeline import run_stages


def _rewritten(outputs):
    """The graph after all stages."""
    leaves = tuple(n for n in distinct(outputs) if n.op.name == "input")
    return run_stages(Graph(leaves, tuple(outputs)), Options())[-1].graph.roots


def _assert_cheap(output, targets):
    """The gradient adds at most four times the function's work, as written and rewritten."""
    whole = [output, *gr.grad(output, targets, unused="zero")]
    assert flops(whole) <= 5 * flops([output])
    assert flops(_rewritten(whole)) <= 5 * flops(_rewritten([output]))


# Products -------------------------------------------------------------------------------------


def test_speelpennings_product_is_linear():
    """``x1 x2 ... xn``: 3(n - 1) multiplications with the gradient, not ``n^2``."""
    for n in (8, 16, 32, 64):
        leaves = [gr.scalar(f"x{i}", "float64") for i in range(n)]
        y = leaves[0]
        for x in leaves[1:]:
            y = y * x
        gradient = gr.grad(y, leaves)
        assert flops([y, *gradient]) == 3 * (n - 1)
        at = {x: np.float64(1 + i / n) for i, x in enumerate(leaves)}
        expected = np.prod(list(at.values())) / np.array(list(at.values()))
        np.testing.assert_allclose(evaluate(gradient, at), expected, rtol=1e-13)


def test_the_product_of_a_vector_is_linear():
    """`prod` by exclusive products from both ends: zeros cost nothing and lose nothing."""
    counts = []
    for n in (100, 200, 400):
        x = gr.vector("x", n, "float64")
        counts.append(flops([gr.prod(x), gr.grad(gr.prod(x), x)]))
    assert counts[2] - counts[1] == 2 * (counts[1] - counts[0])
    assert counts[0] <= 5 * 100 + 10


# Scalar graphs --------------------------------------------------------------------------------

_UNARY = [
    gr.sin,
    gr.exp,
    gr.tanh,
    gr.square,
    gr.negative,
    gr.sqrt,
    gr.reciprocal,
    gr.log,
    gr.abs,
]
_BINARY = [gr.add, gr.subtract, gr.multiply, gr.divide, gr.hypot]


@st.composite
def graphs(draw):
    step = st.tuples(st.integers(0, 13), st.integers(0, 40), st.integers(0, 40))
    return draw(st.lists(step, min_size=1, max_size=40))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(graphs())
def test_gradients_of_scalar_graphs_cost_at_most_four_times_the_function(steps):
    """Baur and Strassen 1983; Griewank and Walther 2008, chapter 4."""
    leaves = [gr.scalar(n, "float64") for n in "abc"]
    nodes = list(leaves)
    for op, i, j in steps:
        a, b = nodes[i % len(nodes)], nodes[j % len(nodes)]
        nodes.append(_UNARY[op](a) if op < 9 else _BINARY[op - 9](a, b))
    _assert_cheap(nodes[-1], leaves)


# Networks -------------------------------------------------------------------------------------

ACTIVATIONS = {
    "tanh": gr.tanh,
    "sigmoid": gr.nn.sigmoid,
    "relu": gr.nn.relu,
    "softplus": gr.nn.softplus,
    "gelu": gr.nn.gelu,
}


def _mlp(sizes, activation, batch=32):
    x = gr.tensor("x", (batch, sizes[0]))
    labels = gr.tensor("labels", (batch,), "int64")
    weights, h = [], x
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        w, c = gr.tensor(f"w{i}", (a, b)), gr.tensor(f"b{i}", (b,))
        weights += [w, c]
        h = h @ w + c
        h = activation(h) if i < len(sizes) - 2 else h
    return weights, gr.nn.cross_entropy(h, labels)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [(64, 32, 10), (784, 500, 500, 10), (8, 16, 16, 16, 4)])
def test_gradients_of_networks(name, sizes):
    weights, loss = _mlp(sizes, ACTIVATIONS[name])
    _assert_cheap(loss, weights)


def _matmul_flops(outputs):
    return sum(node_flops(n) for n in distinct(outputs) if n.op.name == "contract")


def test_products_of_matrices_on_the_way_back():
    """Two for each layer but one for the first, whose inputs need no derivative."""
    sizes, batch = (784, 500, 500, 10), 32
    weights, loss = _mlp(sizes, gr.tanh)
    forward = _matmul_flops([loss])
    layers = [2 * batch * a * b for a, b in itertools.pairwise(sizes)]
    assert forward == sum(layers)
    backward = _matmul_flops([loss, *gr.grad(loss, weights)]) - forward
    assert backward == 2 * forward - layers[0]


def test_a_product_with_the_hessian_costs_as_a_constant_times_the_function():
    counts = []
    for n in (50, 100, 200):
        x = gr.vector("x", n, "float64")
        w = gr.matrix("w", n, n, "float64")
        f = gr.sum(gr.tanh(w @ gr.tanh(w @ x)))
        counts.append(flops([gr.hvp(f, x, np.ones(n))]) / flops([f]))
    assert max(counts) < 4


def test_tangents_cost_at_most_three_times_the_function():
    for name in ("tanh", "sigmoid", "relu"):
        weights, loss = _mlp((64, 32, 10), ACTIVATIONS[name])
        tangents = [gr.tensor(f"t{i}", w.shape) for i, w in enumerate(weights)]
        t = gr.jvp(loss, weights, tangents)
        assert (flops([loss, t]) - flops([loss])) / flops([loss]) <= 3


# The count itself -----------------------------------------------------------------------------


def test_the_count_is_that_of_reports():
    """Where no two nodes are equal, the count is the one that cost reports print."""
    _, loss = _mlp((6, 5, 4), gr.tanh, "n")
    assert flops([loss]) == cost(gr.cse(loss)).flops


def test_equal_nodes_count_once():
    x, y = gr.scalar("x"), gr.scalar("y")
    assert flops([gr.sin(x) + gr.sin(x)]) == flops([gr.sin(x)]) + 1
    assert flops([gr.sin(x) + gr.sin(y)]) == 2 * flops([gr.sin(x)]) + 1
