"""Mapping over an axis: every operation, every place of the axis, derivatives of examples."""

from __future__ import annotations

import numpy as np
import pytest

import cases
import graphc as gr
from graphc.diff.batching import RULES
from graphc.errors import GraphError, ShapeError, UnsupportedOpError
from graphc.expr import apply, topological
from graphc.interpret import evaluate
from graphc.ops.movement import pad_spread
from graphc.ops.table import OPS, Op


def _masks(count):
    """Which operands are mapped: all of them, and each alone."""
    alone = [[i == j for j in range(count)] for i in range(count)]
    return [[True] * count, *(alone if count > 1 else [])]


def _slices(array, rng, count=3):
    """The array and others of its type in its range, along a new first axis."""
    others = [rng.permutation(array.ravel()).reshape(array.shape) for _ in range(count - 1)]
    return np.stack([array, *others]) if count else np.empty((0, *array.shape), array.dtype)


def _check(build, arrays, compiled=False):
    rng = np.random.default_rng(0)
    for mapped in _masks(len(arrays)):
        given = [_slices(a, rng) if m else a for a, m in zip(arrays, mapped, strict=True)]
        leaves = [gr.tensor(f"x{i}", a.shape, a.dtype) for i, a in enumerate(given)]
        out = gr.vmap(build, [0 if m else None for m in mapped])(*leaves)
        run = gr.compile(leaves, out) if compiled else None
        values = dict(zip(leaves, given, strict=True))
        found = run(*given) if run else evaluate([out], values)[0]
        single = [gr.tensor(f"s{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
        slice_out = build(*single)
        for k in range(3):
            one = [g[k] if m else g for g, m in zip(given, mapped, strict=True)]
            expected = evaluate([slice_out], dict(zip(single, one, strict=True)))[0]
            assert found[k].shape == expected.shape
            np.testing.assert_allclose(
                found[k].astype(float), expected.astype(float), rtol=1e-12, atol=1e-13
            )


CASES = [
    c
    for c in [*cases.OPERATIONS, *cases.NUMPY, *cases.NETWORKS]
    if c.arrays
    and all(a.dtype not in (np.float32, np.int8, np.uint8, np.int32) for a in c.arrays)
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_case(case):
    _check(case.build, case.arrays)


@pytest.mark.parametrize("case", [c for c in CASES if c in cases.NETWORKS][::3], ids=str)
def test_compiled(case):
    _check(case.build, case.arrays, compiled=True)


@pytest.mark.parametrize("op", [o for o in OPS.values() if o.family != "leaf"], ids=str)
def test_every_operation_has_a_rule(op):
    assert op.name in RULES or op.family in RULES


def test_axes_of_operands_and_results():
    x, w = gr.tensor("x", (2, "n", 3), "float64"), gr.vector("w", 3, "float64")
    y = gr.vmap(lambda a, b: gr.exp(a) * b, in_axes=(1, None), out_axes=-1)(x, w)
    assert str(y.type) == "f64[2, 3, n]"
    a, b = np.random.default_rng(0).normal(size=(2, 4, 3)), np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(
        gr.compile([x, w], y)(a, b), np.moveaxis(np.exp(a) * b, 1, -1), rtol=1e-14
    )


def test_results_keep_their_form_and_constants_are_repeated():
    x, c = gr.vector("x", 4, "float64"), gr.scalar("c", "float64")
    a, b = gr.vmap(lambda x: (x + 1, c * 2))(x)
    assert (a.shape, b.shape) == ((4,), (4,))
    np.testing.assert_array_equal(evaluate([b], {c: 3.0, x: np.zeros(4)})[0], [6] * 4)
    (only,) = gr.vmap(lambda x: [x])(x)
    assert only.shape == (4,)


def test_what_does_not_vary_is_computed_once():
    x, w = gr.matrix("x", 5, 3, "float64"), gr.matrix("w", 3, 3, "float64")
    y = gr.vmap(lambda row: row @ gr.exp(w))(x)
    (exponential,) = [n for n in topological([y]) if n.op.name == "exp"]
    assert exponential.shape == (3, 3)


def test_mapping_of_mapping():
    x, y = gr.vector("x", 4, "float64"), gr.vector("y", 3, "float64")
    outer = gr.vmap(lambda a: gr.vmap(lambda b: a * b + gr.sin(b))(y))(x)
    at = {x: np.arange(4.0), y: np.arange(3.0)}
    expected = np.outer(at[x], at[y]) + np.sin(at[y])
    np.testing.assert_allclose(evaluate([outer], at)[0], expected, rtol=1e-15)


def test_padding_with_a_value_of_each_slice():
    x, value = gr.vector("x", 2, "float64"), gr.vector("value", 2, "float64")
    y = gr.vmap(lambda v: pad_spread(x, [(1, 0, 1)], v))(value)
    found = evaluate([y], {x: np.array([1.0, 2.0]), value: np.array([7.0, np.inf])})[0]
    np.testing.assert_array_equal(found, [[7, 1, 7, 2], [np.inf, 1, np.inf, 2]])


def test_an_axis_without_elements():
    x = gr.tensor("x", (0, 3), "float64")
    y = gr.vmap(lambda row: gr.max(row) + gr.sum(gr.softmax(row)))(x)
    assert gr.compile(x, y)(np.empty((0, 3))).shape == (0,)


# Derivatives inside and outside ---------------------------------------------------------------


def _network():
    rng = np.random.default_rng(1)
    w1 = gr.parameter("w1", rng.normal(size=(3, 4)))
    w2 = gr.parameter("w2", rng.normal(size=(4, 2)))
    loss = lambda row, t: gr.nn.squared_error(gr.tanh(row @ w1) @ w2, t)  # noqa: E731
    return w1, w2, loss, rng.normal(size=(5, 3)), rng.normal(size=(5, 2))


def test_gradients_of_each_example():
    w1, w2, loss, xs, ts = _network()
    x, t = gr.tensor("x", ("n", 3), "float64"), gr.tensor("t", ("n", 2), "float64")
    each = gr.vmap(lambda r, s: gr.grad(loss(r, s), [w1, w2]))(x, t)
    one, two = gr.compile([x, t], each)(xs, ts)
    row, target = gr.vector("row", 3, "float64"), gr.vector("target", 2, "float64")
    single = gr.grad(loss(row, target), [w1, w2])
    for k in range(5):
        a, b = evaluate(single, {row: xs[k], target: ts[k]})
        np.testing.assert_allclose(one[k], a, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(two[k], b, rtol=1e-12, atol=1e-14)


def test_derivatives_of_a_mapped_function():
    w1, _, loss, xs, ts = _network()
    x, t = gr.tensor("x", ("n", 3), "float64"), gr.tensor("t", ("n", 2), "float64")
    total = gr.sum(gr.vmap(loss)(x, t))
    whole = gr.grad(total, w1)
    each = gr.vmap(lambda r, s: gr.grad(loss(r, s), w1))(x, t)
    at = {x: xs, t: ts}
    a, b = evaluate([whole, gr.sum(each, axis=0)], at)
    np.testing.assert_allclose(a, b, rtol=1e-12)
    v = np.random.default_rng(2).normal(size=(3, 4))
    slopes = evaluate([gr.jvp(total, w1, v), gr.sum(whole * v)], at)
    np.testing.assert_allclose(*slopes, rtol=1e-12)


# Errors ---------------------------------------------------------------------------------------


def test_errors_of_axes():
    x, y = gr.matrix("x", 4, 3), gr.matrix("y", 5, 3)
    cases = [
        ((lambda a, b: a + b, 0, 0), (x, y), "vmap: mapped axes have sizes 4 and 5"),
        ((lambda a, b: a + b, (None, None), 0), (x, y), "vmap: no operand is mapped"),
        ((lambda a, b: a + b, (0,), 0), (x, y), "vmap: 1 axes for 2 operands"),
        ((lambda a: a, 2, 0), (x,), "axis 2 is out of range for a tensor of rank 2"),
    ]
    for options, args, text in cases:
        with pytest.raises(ShapeError) as caught:
            gr.vmap(*options)(*args)
        assert caught.value.summary == text


def test_an_operation_without_a_rule():
    op = Op("unmapped op of a test", "control", lambda types, attrs: types[0], lambda x: x)
    try:
        with pytest.raises(UnsupportedOpError, match="vmap: no rule for unmapped op"):
            gr.vmap(lambda x: apply(op, (x,)))(gr.vector("x", 3))
    finally:
        del OPS[op.name]


def test_what_is_no_function_of_slices_is_refused():
    x = gr.vector("x", 3)
    with pytest.raises(GraphError, match=r"vmap: Expr is not a function\n  hint: gr\.vmap\("):
        gr.vmap(x)
    with pytest.raises(GraphError, match=r"returned None\n  hint: did it forget `return`"):
        gr.vmap(lambda row: None)(x)
