"""Tensors that are read piece by piece: their cotangents are put together, not added up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gr
from graphc.diff.pieces import side_by_side
from graphc.expr import topological
from graphc.interpret import evaluate
from graphc.ops.movement import pad_spread

BACKENDS = ["interpret", "llvm"]


def ops(e):
    return [n.op.name for n in topological([e])]


@pytest.mark.parametrize("backend", BACKENDS)
def test_elements_of_a_vector(backend):
    x = gr.vector("x", 5, "float64")
    f = x[0] * x[1] + gr.sin(x[3]) * x[1] + x[4]
    gradient = gr.grad(f, x)
    assert ops(gradient).count("concatenate") == 1
    at = np.array([0.5, 2.0, 7.0, 0.3, 1.0])
    expected = [2.0, 0.5 + np.sin(0.3), 0.0, np.cos(0.3) * 2.0, 1.0]
    np.testing.assert_allclose(gr.compile(x, gradient, backend=backend)(at), expected)


def test_cost_is_linear_in_the_number_of_pieces():
    sizes = []
    for n in (20, 40, 80):
        x = gr.vector("x", n, "float64")
        f = sum((gr.square(x[i]) for i in range(n)), gr.constant(0.0, "float64"))
        sizes.append(sum(int(np.prod(m.shape)) for m in topological([gr.grad(f, x)])))
    assert sizes[2] - sizes[1] == 2 * (sizes[1] - sizes[0])


def test_overlapping_slices_are_added():
    x = gr.vector("x", 6, "float64")
    gradient = gr.grad(gr.sum(x[:-1] * x[1:]), x)
    assert "concatenate" not in ops(gradient)
    at = np.arange(6.0)
    np.testing.assert_allclose(evaluate([gradient], {x: at})[0], [1, 2, 4, 6, 8, 4])


def test_one_piece_and_steps_are_left_alone():
    x = gr.vector("x", 6, "float64")
    assert "concatenate" not in ops(gr.grad(gr.sum(gr.exp(x[2:4])), x))
    assert "concatenate" not in ops(gr.grad(gr.sum(x[::2] * x[1::2]), x))


def test_second_derivatives_and_mapping():
    x = gr.vector("x", 4, "float64")
    hessian = gr.hessian(x[0] * x[1] * x[2] + gr.exp(x[3] * x[0]), x)
    a, b, c, d = at = np.array([0.3, -1.0, 2.0, 0.5])
    e = np.exp(d * a)
    expected = np.array(
        [
            [d * d * e, c, b, (1 + a * d) * e],
            [c, 0, a, 0],
            [b, a, 0, 0],
            [(1 + a * d) * e, 0, 0, a * a * e],
        ]
    )
    np.testing.assert_allclose(gr.compile(x, hessian)(at), expected, rtol=1e-14)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.data())
def test_the_sum_is_unchanged(data):
    """Blocks anywhere in a tensor, overlapping or not, with whole terms among them."""
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    terms, expected = [], np.zeros(shape)
    values = {}
    for k in range(data.draw(st.integers(1, 6))):
        place = []
        for n in shape:
            low = data.draw(st.integers(0, n))
            place.append((low, data.draw(st.integers(low, n))))
        if data.draw(st.booleans()):
            place = [(0, n) for n in shape]
        size = tuple(b - a for a, b in place)
        x = gr.tensor(f"x{k}", size, "float64")
        value = 2.0**k * np.arange(1, 1 + int(np.prod(size))).reshape(size)
        values[x] = value
        terms.append(
            pad_spread(x, [(a, n - b, 0) for (a, b), n in zip(place, shape, strict=True)])
        )
        expected[tuple(slice(a, b) for a, b in place)] += value
    joined = side_by_side(terms)
    assert all(t.shape == tuple(shape) for t in joined)
    np.testing.assert_array_equal(sum(evaluate(joined, values)), expected)
    padded = [t for t in terms if t.op.name == "pad"]
    assert len(joined) == len(terms) - max(0, len(padded) - 1)
