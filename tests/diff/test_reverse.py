"""The reverse sweep: structure of the table, policies at kinks, masks, errors."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gr
from graphc.diff.reverse import accumulate
from graphc.errors import DifferentiationError
from graphc.expr import constant, topological
from graphc.interpret import evaluate
from graphc.testing import check_grads


def value(expr, **values):
    """The value of an expression for leaves given by name."""
    leaves = {n.name: n for n in topological([expr]) if n.op.name == "input"}
    return evaluate([expr], {leaves[k]: v for k, v in values.items() if k in leaves})[0]


def slope(f, at):
    """``f'`` at a number, or at each of several."""
    x = gr.tensor("x", np.shape(at), "float64")
    return value(gr.grad(gr.sum(f(x)), x), x=np.asarray(at, float))


# Structure ----------------------------------------------------------------------------------


def test_a_chain_of_100000_nodes_needs_no_recursion():
    x = y = gr.scalar("x", "float64")
    for _ in range(99_999):
        y = -y
    y = gr.square(y)
    assert len(topological([y])) == 100_001 > sys.getrecursionlimit()
    g = gr.grad(y, x)
    assert len(topological([g])) < 2.1 * 100_001
    assert value(g, x=3.0) == 6


def test_a_node_with_many_users():
    x = y = gr.scalar("x", "float64")
    for _ in range(5_000):
        y = y + x
    assert value(gr.grad(y, x), x=0.0) == 5_001


@pytest.mark.parametrize("n", [50, 2_000])
def test_masks_of_a_deep_chain_do_not_nest(n):
    x = y = gr.scalar("x", "float64")
    for _ in range(n):
        y = gr.nn.relu(y * 1.0)
    g = gr.grad(y, x)
    assert len(topological([g])) < 10 * n
    assert value(g, x=2.0) == 1
    assert value(g, x=-2.0) == 0


def test_parallel_edges_count_each():
    x = gr.scalar("x", "float64")
    assert value(gr.grad(x * x, x), x=3.0) == 6
    assert value(gr.grad(x + x, x), x=3.0) == 2
    assert value(gr.grad(x / x, x), x=3.0) == 0
    assert value(gr.grad(gr.maximum(x, x), x), x=3.0) == 1
    assert value(gr.grad(gr.where(x > 0, x, x), x), x=3.0) == 1


def test_fan_out_adds_the_paths():
    x = gr.scalar("x", "float64")
    a = gr.exp(x)
    y = a * gr.sin(a) + gr.log(a)
    e = np.exp(0.3)
    expected = e * np.sin(e) + e * e * np.cos(e) + 1
    np.testing.assert_allclose(value(gr.grad(y, x), x=0.3), expected, rtol=1e-15)


def test_with_respect_to_nodes_on_the_way():
    x = gr.scalar("x", "float64")
    a = gr.sin(x)
    b = a * x
    y = b * b + a
    da, db, dx, dy = gr.grad(y, [a, b, x, y])
    s, c = np.sin(0.7), np.cos(0.7)
    np.testing.assert_allclose(value(db, x=0.7), 2 * s * 0.7)
    np.testing.assert_allclose(value(da, x=0.7), 2 * s * 0.7 * 0.7 + 1)
    np.testing.assert_allclose(value(dx, x=0.7), 2 * s * 0.7 * (s + 0.7 * c) + c)
    assert value(dy, x=0.7) == 1


def test_a_gradient_has_the_type_of_its_target():
    x = gr.tensor("x", ("n", 3))
    w = gr.tensor("w", (1, 3), "float64")
    gx, gw = gr.grad(gr.sum(x * w), [x, w])
    assert gx.type == x.type
    assert gw.type == w.type
    given = np.arange(6, dtype="float32").reshape(2, 3)
    np.testing.assert_array_equal(value(gw, x=given, w=np.ones((1, 3))), [[3, 5, 7]])


def test_one_target_gives_one_expression_and_targets_may_repeat():
    x = gr.scalar("x", "float64")
    assert isinstance(gr.grad(x * x, x), gr.Expr)
    first, second = gr.grad(x * x, [x, x])
    assert value(first, x=2.0) == value(second, x=2.0) == 4


def test_nodes_of_a_gradient_say_where_they_stem_from():
    x = gr.scalar("x")
    y = gr.sin(x) * x
    made = set(topological([gr.grad(y, x)])) - set(topological([y]))
    rules = {n.origin.rule for n in made if n.origin is not None}
    assert {"d mul", "d sin"} <= rules
    assert {n.source.file for n in made if n.origin is not None} == {__file__}


def test_gradients_of_gradients():
    x = gr.scalar("x", "float64")
    y = gr.sin(x) * gr.exp(-x)
    for _ in range(4):
        y = gr.grad(y, x)
    np.testing.assert_allclose(value(y, x=0.4), -4 * np.sin(0.4) * np.exp(-0.4), rtol=1e-13)


def test_mixed_derivatives_are_symmetric():
    x, y = gr.scalar("x", "float64"), gr.scalar("y", "float64")
    f = gr.exp(x * y) * gr.sin(x - y**3)
    xy = gr.grad(gr.grad(f, x), y)
    yx = gr.grad(gr.grad(f, y), x)
    a, b = (value(d, x=0.6, y=0.8) for d in (xy, yx))
    np.testing.assert_allclose(a, b, rtol=1e-13)


def test_integers_on_the_way_stop_the_sweep():
    x = gr.scalar("x", "float64")
    steps = x.astype("int64").astype("float64")
    assert value(gr.grad(steps * x, x), x=2.5) == 2
    assert value(gr.grad(steps, x), x=2.5) == 0


def test_through_a_change_of_element_type():
    x = gr.tensor("x", (2,))
    g = gr.grad(gr.sum(gr.square(x.astype("float64"))), x)
    assert g.dtype is x.dtype
    np.testing.assert_array_equal(value(g, x=np.float32([1, -3])), [2, -6])


def test_several_outputs_with_cotangents():
    x = gr.tensor("x", (2,), "float64")
    a, b = gr.exp(x), gr.sum(x)
    table = accumulate([(a, constant([1.0, 2.0])), (b, constant(3.0)), (b, constant(4.0))], [x])
    np.testing.assert_allclose(value(table[x], x=np.zeros(2)), [8, 9])


def test_symbolic_sizes():
    x = gr.tensor("x", ("n", "m"), "float64")
    w = gr.tensor("w", ("m",), "float64")
    loss = gr.mean(gr.square(x @ w)) + gr.sum(gr.std(x, axis=0))
    for n, m in ((1, 1), (4, 3)):
        rng = np.random.default_rng(n)
        check_grads(
            loss, {x: rng.normal(size=(n, m)) + 3 * np.eye(n, m), w: rng.normal(size=m)}
        )


# Masks --------------------------------------------------------------------------------------


def test_the_side_not_taken_never_meets_its_derivative():
    """``0 * inf`` would be NaN: the mask stays outside of every product."""
    x = np.array([-1.0, 0.0, 4.0])
    safe = lambda f: lambda x: gr.where(x > 0, f(x), 0)  # noqa: E731
    np.testing.assert_array_equal(slope(safe(gr.log), x), [0, 0, 0.25])
    np.testing.assert_array_equal(slope(safe(gr.sqrt), x), [0, 0, 0.25])
    np.testing.assert_array_equal(slope(safe(gr.reciprocal), x), [0, 0, -1 / 16])
    np.testing.assert_array_equal(
        slope(lambda x: gr.where(x <= 0, 0, gr.log(x)), x), [0, 0, 0.25]
    )
    np.testing.assert_array_equal(
        slope(safe(lambda x: gr.log(gr.sqrt(x)) * 3), x), [0, 0, 0.375]
    )


def test_masks_inside_masks():
    x = np.array([-2.0, 0.0, 1.0, 4.0])
    f = lambda x: gr.where(x > 0, gr.where(x < 2, gr.sqrt(x), 3 * gr.log(x)), gr.exp(1 / x))  # noqa: E731
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = [-np.exp(-0.5) / 4, np.nan, 0.5, 0.75]
    found = slope(f, x)
    np.testing.assert_allclose(found[[0, 2, 3]], np.array(expected)[[0, 2, 3]], rtol=1e-15)
    second = slope(lambda x: gr.where(x < 2, 0, gr.where(x > 0, x * gr.log(x), x)), x)
    np.testing.assert_allclose(second, [0, 0, 0, 1 + np.log(4)])


@pytest.mark.parametrize("outer", [True, False])
@pytest.mark.parametrize("inner", [True, False])
def test_every_pair_of_masks(outer, inner):
    """The joined condition keeps exactly what both masks keep."""
    pick = lambda keep, c, x: gr.where(c, x, 0) if keep else gr.where(c, 0, x)  # noqa: E731
    x = np.array([-2.0, -0.5, 0.5, 2.0])
    f = lambda x: pick(outer, gr.abs(x) > 1, 3 * pick(inner, x > 0, gr.square(x)))  # noqa: E731
    expected = np.where((np.abs(x) > 1) == outer, 1, 0) * np.where((x > 0) == inner, 6 * x, 0)
    np.testing.assert_array_equal(slope(f, x), expected)


def test_second_derivative_under_a_mask():
    x = gr.tensor("x", (2,), "float64")
    first = gr.grad(gr.sum(gr.where(x > 0, gr.sqrt(x), 0)), x)
    second = gr.grad(gr.sum(first), x)
    np.testing.assert_array_equal(value(second, x=np.array([0.0, 4.0])), [0, -1 / 32])


# Kinks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "at", "expected"),
    [
        (gr.abs, 0.0, 0.0),
        (gr.sqrt, 0.0, np.inf),
        (gr.sign, 0.0, 0.0),
        (gr.floor, 1.0, 0.0),
        (gr.round, 0.5, 0.0),
        (lambda x: x % 1.5, 2.0, 1.0),
        (lambda x: x**0, 0.0, 0.0),
        (lambda x: x**1, 0.0, 1.0),
        (lambda x: x**2, 0.0, 0.0),
        (lambda x: x**3.0, 0.0, 0.0),
        (lambda x: gr.pow(2.0, x), 0.0, np.log(2)),
        (lambda x: gr.maximum(x, 1.0), 1.0, 0.5),
        (lambda x: gr.minimum(x, 1.0), 1.0, 0.5),
        (lambda x: gr.clip(x, 0, 1), 2.0, 0.0),
        (lambda x: gr.hypot(x, 0.0), 0.0, 0.0),
        (lambda x: gr.norm(gr.stack([x, x])), 0.0, 0.0),
        (lambda x: gr.std(gr.stack([x, 1 * x])), 1.0, 0.0),
        (lambda x: gr.copysign(x, -1.0), 2.0, -1.0),
    ],
)
def test_policy_at_a_kink(f, at, expected):
    assert slope(f, at) == expected


def test_ties_share_equally():
    x = np.array([1.0, 3.0, 3.0, 3.0])
    np.testing.assert_allclose(slope(gr.max, x), [0, 1 / 3, 1 / 3, 1 / 3])
    np.testing.assert_allclose(slope(gr.min, x), [1, 0, 0, 0])


def test_pow_with_both_operands_moving():
    x, y = gr.scalar("x", "float64"), gr.scalar("y", "float64")
    dx, dy = gr.grad(gr.pow(x, y), [x, y])
    for at, expected in [((0.0, 2.0), (0, 0)), ((0.0, 0.0), (0, 0)), ((0.0, 1.0), (1, 0))]:
        found = value(dx, x=at[0], y=at[1]), value(dy, x=at[0], y=at[1])
        assert found == expected, at
    assert value(dx, x=-2.0, y=3.0) == 12


def test_logaddexp_at_ties():
    x, y = gr.scalar("x", "float64"), gr.scalar("y", "float64")
    dx = gr.grad(gr.logaddexp(x, y), x)
    dxx, dxy = gr.grad(dx, [x, y])
    assert [value(d, x=2.0, y=2.0) for d in (dx, dxx, dxy)] == [0.5, 0.25, -0.25]
    assert value(dx, x=-np.inf, y=-np.inf) == 0.5
    assert value(dx, x=np.inf, y=0.0) == 1


def test_derivatives_of_large_operands_do_not_overflow():
    y, x = gr.scalar("y"), gr.scalar("x")
    dy, dx = gr.grad(gr.atan2(y, x), [y, x])
    big = np.float32(1e25)
    np.testing.assert_allclose(value(dy, x=big, y=big), 5e-26, rtol=1e-6)
    np.testing.assert_allclose(value(dx, x=big, y=big), -5e-26, rtol=1e-6)
    np.testing.assert_allclose(value(gr.grad(gr.acosh(x), x), x=big), 1e-25, rtol=1e-6)


def test_products_with_zeros():
    x = np.array([2.0, 0.0, 5.0])
    np.testing.assert_array_equal(slope(gr.prod, x), [0, 10, 0])
    np.testing.assert_array_equal(slope(gr.prod, x * [0, 1, 1]), [0, 0, 0])
    np.testing.assert_array_equal(slope(lambda x: gr.cumprod(x)[2], x), [0, 10, 0])


def test_eight_bit_labels_of_a_long_axis():
    x, i = gr.tensor("x", (300,), "float64"), gr.tensor("i", (1,), "uint8")
    g = gr.grad(gr.sum(gr.take_along_axis(x, i, 0)), x)
    np.testing.assert_array_equal(
        value(g, x=np.zeros(300), i=np.array([200], "uint8")), np.eye(300)[200]
    )


# Errors -------------------------------------------------------------------------------------


def _error(*args, **options):
    with pytest.raises(DifferentiationError) as caught:
        gr.grad(*args, **options)
    return caught.value


def test_the_output_must_be_a_scalar():
    x = gr.tensor("x", (3,))
    error = _error(x * 2, x)
    line = error.where[0].split()[2]
    assert str(error) == (
        "grad: the output has shape (3,), not ()\n"
        f"  output  f32[3]  {line}  mul\n"
        "  hint: sum it (gr.sum), or use gr.vjp for a weighted sum, gr.jacobian for all rows"
    )
    assert isinstance(error, ValueError)


def test_the_output_must_be_a_float():
    x = gr.tensor("x", (3,), "int32")
    assert _error(gr.sum(x), x).summary == "grad: the output is int64, not a float"


def test_the_target_must_be_a_float():
    x, n = gr.scalar("x"), gr.scalar("n", "int64")
    error = _error(x * n.astype("float32"), n)
    assert error.summary == "grad: the target is int64; only floats have derivatives"


def test_an_unused_target():
    x, w = gr.scalar("x"), gr.tensor("w", (2, "n"))
    error = _error(gr.sin(x), w)
    assert error.summary == "grad: the output does not depend on w"
    assert error.hint == 'check which node was meant, or pass unused="zero" for zeros'
    zeros = gr.grad(gr.sin(x), w, unused="zero")
    assert zeros.type == w.type
    full = gr.grad(gr.sin(x) + gr.sum(w) * 0, w)
    np.testing.assert_array_equal(
        evaluate([full], {w: np.ones((2, 3), "float32")})[0], np.zeros((2, 3))
    )


# Random graphs ------------------------------------------------------------------------------

_UNARY = [
    gr.sin,
    gr.tanh,
    gr.nn.sigmoid,
    gr.square,
    lambda a: gr.exp(-gr.square(a)),
    gr.negative,
]
_BINARY = [
    gr.add,
    gr.subtract,
    gr.multiply,
    lambda a, b: a / (2 + gr.square(b)),
    gr.hypot,
    gr.logaddexp,
]
_SHAPES = [(), (3,), (2, 1), (2, 3)]


@st.composite
def programs(draw):
    """Shapes of two leaves, and steps that pick a function and earlier values."""
    shapes = draw(st.lists(st.sampled_from(_SHAPES), min_size=2, max_size=2))
    steps = draw(
        st.lists(
            st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 9), st.integers(0, 9)),
            min_size=1,
            max_size=8,
        )
    )
    return shapes, steps


def _run(steps, leaves):
    values = list(leaves)
    for unary, op, i, j in steps:
        a, b = values[i % len(values)], values[j % len(values)]
        values.append(_UNARY[op](a) if unary else _BINARY[op](a, b))
    return values[-1] + sum(gr.sum(leaf) for leaf in leaves)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(programs())
def test_random_graphs_against_differences(program):
    shapes, steps = program
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-1, 1, s) for s in shapes]
    check_grads(lambda *leaves: _run(steps, leaves), arrays, order=2, rtol=1e-5)


def test_targets_in_dicts_and_nested():
    """Gradients come in the form of the targets."""
    a, b, c = (gr.scalar(name, "float64") for name in "abc")
    loss = a * b + gr.square(c)
    named = gr.grad(loss, {"w": a, 3: c})
    assert list(named) == ["w", 3]
    nested = gr.grad(loss, {"layer": [a, (b, c)], "none": []})
    value, again = gr.value_and_grad(loss, {"a": a})
    f = gr.compile([a, b, c], [named, nested, value, again], backend="interpret")
    assert f(2.0, 3.0, 5.0) == [
        {"w": 3, 3: 10}, {"layer": [3, (2, 10)], "none": []}, 31, {"a": 3},
    ]  # fmt: skip
    assert gr.grad(loss, []) == []
    assert type(gr.grad(loss, (a, b))) is list
