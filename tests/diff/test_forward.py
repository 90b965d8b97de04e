"""Forward mode: equal to the transpose of the sweep, the same policies, errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cases
import graphc as gr
from graphc.errors import DifferentiationError, DTypeError, ShapeError
from graphc.expr import topological
from graphc.interpret import evaluate


def along(f, at, direction=1.0):
    """``J v`` of a function at a number or array, with the interpreter and compiled."""
    x = gr.tensor("x", np.shape(at), "float64")
    v = gr.tensor("v", np.shape(at), "float64")
    t = gr.jvp(f(x), x, v)
    at, direction = np.asarray(at, float), np.broadcast_to(direction, np.shape(at))
    found = evaluate([t], {x: at, v: direction})[0]
    compiled = gr.compile([x, v], t)(at, direction)
    np.testing.assert_allclose(compiled, found, rtol=1e-13, atol=1e-15)
    return found


# Against the reverse sweep --------------------------------------------------------------------


def _adjoint_gap(outputs, values, rng):
    """``<w, J v> - <J^T w, v>``, relative to the sum of magnitudes."""
    leaves = [x for x in values if x.dtype.is_float]
    directions = [rng.normal(size=np.shape(values[x])) for x in leaves]
    moved = gr.jvp(outputs, leaves, directions, unused="zero")
    arrays = evaluate(moved, values)
    weights = [rng.normal(size=a.shape) for a in arrays]
    pulled = evaluate(gr.vjp(outputs, leaves, unused="zero")[1](weights), values)
    left = [w * a for w, a in zip(weights, arrays, strict=True)]
    right = [d * p for d, p in zip(directions, pulled, strict=True)]
    scale = sum(np.sum(np.abs(t)) for t in left + right)
    return abs(sum(map(np.sum, left)) - sum(map(np.sum, right))) / max(1.0, scale)


FUNCTIONS = [
    c
    for c in [*cases.NUMPY, *cases.NETWORKS]
    if any(a.dtype == np.float64 for a in c.arrays)
    and all(a.dtype != np.float32 for a in c.arrays)
]


@pytest.mark.parametrize("case", FUNCTIONS, ids=str)
def test_every_function_is_the_transpose_of_its_pullback(case):
    leaves, out = case.graph()
    if not out.dtype.is_float or any(
        np.isnan(a).any() for a in case.arrays if a.dtype.kind == "f"
    ):
        return
    values = dict(zip(leaves, case.arrays, strict=True))
    gap = _adjoint_gap([out], values, np.random.default_rng(1))
    assert gap < 1e-12 or np.isnan(gap) == np.isnan(evaluate([out], values)[0]).any()


_UNARY = [gr.sin, gr.tanh, gr.nn.sigmoid, gr.square, gr.negative, gr.abs, gr.cumsum]
_BINARY = [gr.add, gr.subtract, gr.multiply, gr.maximum, gr.hypot, gr.logaddexp]


@st.composite
def programs(draw):
    step = st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 9), st.integers(0, 9))
    return draw(st.lists(step, min_size=1, max_size=10))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(programs())
def test_random_graphs_are_transposes(steps):
    rng = np.random.default_rng(0)
    x, y = gr.vector("x", 3, "float64"), gr.matrix("y", 2, 3, "float64")
    nodes = [x, y]
    for unary, op, i, j in steps:
        a, b = nodes[i % len(nodes)], nodes[j % len(nodes)]
        if unary:
            nodes.append(_UNARY[op](a) if op < 6 else gr.cumsum(a, -1))
        else:
            nodes.append(_BINARY[op](a, b))
    outputs = nodes[-2:]
    values = {x: rng.uniform(-1, 1, 3), y: rng.uniform(-1, 1, (2, 3))}
    assert _adjoint_gap(outputs, values, rng) < 1e-13


def test_nodes_on_the_way_count_both_ways():
    """A target that depends on another one takes its own direction and what arrives."""
    x = gr.scalar("x", "float64")
    a = gr.sin(x)
    gap = _adjoint_gap([a * a * x], {x: np.float64(0.7)}, np.random.default_rng(0))
    t = gr.jvp(a * a * x, [x, a], [1.0, 1.0])
    gx, ga = gr.grad(a * a * x, [x, a])
    np.testing.assert_allclose(*evaluate([t, gx + ga], {x: 0.7}), rtol=1e-15)
    assert gap < 1e-15


# Policies -------------------------------------------------------------------------------------


def test_the_side_not_taken_never_meets_its_derivative():
    x = np.array([-1.0, 0.0, 4.0])
    for f in (gr.log, gr.sqrt, gr.reciprocal, lambda x: gr.log(gr.sqrt(x)) * 3):
        found = along(lambda x, f=f: gr.where(x > 0, f(x), 0), x)
        assert (found[:2] == 0).all()
        assert np.isfinite(found[2])
    before = along(lambda x: gr.sqrt(gr.where(x > 0, x, 0)), x)
    np.testing.assert_array_equal(before, [0, 0, 0.25])
    still = along(lambda x: gr.where(x > 0, gr.log(x), 0), x, np.zeros(3))
    np.testing.assert_array_equal(still, [0, 0, 0])


@pytest.mark.parametrize(
    ("f", "at", "expected"),
    [
        (gr.abs, 0.0, 0.0),
        (gr.sqrt, 0.0, np.inf),
        (gr.floor, 1.0, 0.0),
        (lambda x: x**2, 0.0, 0.0),
        (lambda x: gr.maximum(x, 1.0), 1.0, 0.5),
        (lambda x: gr.minimum(x, 1.0), 1.0, 0.5),
        (gr.nn.relu, 0.0, 0.0),
        (lambda x: gr.hypot(x, 0.0), 0.0, 0.0),
        (lambda x: gr.norm(gr.stack([x, x])), 0.0, 0.0),
        (lambda x: gr.max(gr.stack([x, 3.0])), 3.0, 0.5),
    ],
)
def test_the_policy_at_a_kink_is_that_of_reverse_mode(f, at, expected):
    assert along(f, at) == expected
    x = gr.scalar("x", "float64")
    assert evaluate([gr.grad(f(x), x)], {x: at})[0] == expected


def test_integers_on_the_way_give_zero():
    x = gr.scalar("x", "float64")
    steps = x.astype("int64").astype("float64")
    assert evaluate(gr.jvp([steps, steps * x], x, 1.0), {x: 2.5}) == [0, 2]


def test_a_deep_chain_needs_no_recursion():
    x = y = gr.scalar("x", "float64")
    for _ in range(20_000):
        y = -y
    t = gr.jvp(y, x, 1.0)
    assert len(topological([t])) <= 20_001
    assert evaluate([t], {x: 1.0}) == [1]


def test_symbolic_sizes():
    x, v = (gr.tensor(n, ("n", 3), "float64") for n in "xv")
    t = gr.jvp(gr.mean(gr.exp(x), axis=0), x, v)
    a, b = np.ones((4, 3)), np.full((4, 3), 2.0)
    np.testing.assert_allclose(gr.compile([x, v], t)(a, b), np.full(3, 2 * np.e), rtol=1e-15)


# linearize, vjp, value_and_grad ---------------------------------------------------------------


def test_linearize_shares_the_local_derivatives():
    x = gr.vector("x", 3, "float64")
    y, push = gr.linearize(gr.tanh(gr.sin(x)), x)
    first, second = push([1.0, 0.0, 0.0]), push([0.0, 2.0, 0.0])
    shared = set(topological([first])) & set(topological([second]))
    assert len(shared) >= len(topological([y])) + 2
    at = np.array([0.1, 0.2, 0.3])
    slope = (1 - np.tanh(np.sin(at)) ** 2) * np.cos(at)
    np.testing.assert_allclose(evaluate([first], {x: at})[0], [slope[0], 0, 0], rtol=1e-14)
    np.testing.assert_allclose(evaluate([second], {x: at})[0], [0, 2 * slope[1], 0], rtol=1e-14)


def test_vjp_of_several_outputs():
    x, w = gr.vector("x", 2, "float64"), gr.matrix("w", 3, 2, "float64")
    outputs, pullback = gr.vjp([w @ x, gr.sum(x)], [x, w])
    gx, gw = pullback([[1.0, 0.0, 2.0], 10.0])
    at = {x: np.array([1.0, 2.0]), w: np.arange(6.0).reshape(3, 2)}
    assert len(outputs) == 2
    np.testing.assert_array_equal(evaluate([gx], at)[0], [8 + 10, 11 + 10])
    np.testing.assert_array_equal(evaluate([gw], at)[0], [[1, 2], [0, 0], [2, 4]])


def test_value_and_grad():
    x, y = gr.scalar("x", "float64"), gr.scalar("y", "float64")
    value, (gx, gy) = gr.value_and_grad(x * x * y, [x, y])
    f = gr.compile([x, y], [value, gx, gy])
    assert [float(v) for v in f(3.0, 2.0)] == [18, 12, 9]


# Errors ---------------------------------------------------------------------------------------


def _summary(kind, function, *args, **options):
    with pytest.raises(kind) as caught:
        function(*args, **options)
    assert isinstance(caught.value, ValueError | TypeError)
    return caught.value.summary


@pytest.mark.parametrize(
    ("name", "f"),
    [
        ("jvp", lambda y, x: gr.jvp(y, x, 1.0)),
        ("linearize", gr.linearize),
        ("vjp", gr.vjp),
        ("jacobian", gr.jacobian),
        ("jacobian_cost", gr.jacobian_cost),
    ],
)
def test_errors_of_targets_and_outputs(name, f):
    x, n, w = gr.vector("x", 3), gr.scalar("n", "int64"), gr.scalar("w")
    y = gr.exp(x) * n.astype("float32")
    for output, target, problem in [
        (y, n, "the target is int64; only floats have derivatives"),
        (y, w, "the output does not depend on w"),
        (n + 1, x, "the output is int64, not a float"),
    ]:
        assert _summary(DifferentiationError, f, output, target) == f"{name}: {problem}"


def test_an_unused_target_on_request():
    x, w = gr.vector("x", 3), gr.scalar("w")
    y = gr.exp(x)
    zero = gr.jvp(y, w, 1.0, unused="zero")
    assert zero.type == y.type
    assert (evaluate([zero], {x: np.ones(3, "float32")})[0] == 0).all()
    assert (
        _summary(DifferentiationError, gr.jvp, y, x, [1.0] * 3, unused="no")
        == "jvp: unused is error or zero, not 'no'"
    )


def test_errors_of_directions():
    x = gr.vector("x", 3)
    y = gr.exp(x)
    assert (
        _summary(ShapeError, gr.jvp, y, x, [1.0, 2.0])
        == "jvp: the tangent has shape (2,), its value (3,)"
    )
    assert (
        _summary(DTypeError, gr.jvp, y, x, gr.vector("t", 3, "float64"))
        == "jvp: the tangent is float64, its value float32"
    )
    assert (
        _summary(DifferentiationError, gr.jvp, y, [x], [[1.0] * 3] * 2)
        == "jvp: 2 tangents for 1 values"
    )
    assert (
        _summary(ShapeError, gr.vjp(y, x)[1], 1.0)
        == "vjp: the cotangent has shape (), its value (3,)"
    )


@pytest.mark.parametrize("direction", [np.ones(3) * 1j, "abc", None, ["a", "b", "c"]])
def test_a_direction_is_made_of_real_numbers(direction):
    x = gr.vector("x", 3, dtype="float64")
    with pytest.raises(DTypeError, match="values cannot be a constant"):
        gr.jvp(x * x, x, direction)
    with pytest.raises(DTypeError, match="values cannot be a constant"):
        gr.vjp(x * x, x)[1](direction)


def test_directions_of_several_targets_are_a_list():
    x = gr.vector("x", 3, dtype="float64")
    for tangents in (3.0, x):
        with pytest.raises(DifferentiationError, match="jvp: the tangents are a list, not"):
            gr.jvp(x * x, [x], tangents)
    with pytest.raises(ShapeError, match="rows of a constant have different lengths"):
        gr.jvp(x * x, x, [[1.0], [1.0, 2.0]])
