"""Declared derivatives: both rules in both modes, any order, mapped, compiled; errors."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gr
from graphc.errors import DifferentiationError, DTypeError, ShapeError
from graphc.interpret import evaluate

AT = np.array([-2.0, 0.3, 1.5])


def _tripled(ct, out, x):
    return 3 * ct * gr.cos(x)


BY_VJP = gr.custom_gradient(gr.sin, vjp=_tripled)
BY_JVP = gr.custom_gradient(gr.sin, jvp=lambda t, out, x: 3 * t[0] * gr.cos(x))


@pytest.mark.parametrize("f", [BY_VJP, BY_JVP], ids=["vjp", "jvp"])
def test_one_rule_serves_both_modes_and_all_orders(f):
    x = gr.vector("x", 3, "float64")
    y = f(x)
    back = gr.grad(gr.sum(y), x)
    along = gr.jvp(y, x, np.ones(3))
    second = gr.grad(gr.sum(back), x)
    mixed = gr.jvp(back, x, np.ones(3))
    other = gr.grad(gr.sum(along), x)
    found = gr.compile(x, [y, back, along, second, mixed, other])(AT)
    for value, expected in zip(
        found,
        [np.sin(AT), *[3 * np.cos(AT)] * 2, *[-3 * np.sin(AT)] * 3],
        strict=True,
    ):
        np.testing.assert_allclose(value, expected, rtol=1e-14)


@pytest.mark.parametrize("form", ["vjp", "jvp"])
def test_two_operands_and_an_integer(form):
    """A product with its true rule agrees with the product's own derivative."""
    rules = {
        "vjp": lambda ct, out, x, i, w: (ct * w, None, gr.sum(ct * x)),
        "jvp": lambda t, out, x, i, w: t[0] * w + x * t[2],
    }
    f = gr.custom_gradient(lambda x, i, w: x * w + i, **{form: rules[form]})
    x, w, i = gr.vector("x", 3, "float64"), gr.scalar("w", "float64"), gr.scalar("i", "int64")
    y, plain = f(x, i, w), x * w + i
    at = {x: AT, w: 2.5, i: 4}
    for target in (x, w):
        own, expected = (
            gr.grad(gr.sum(gr.exp(y)), target),
            gr.grad(gr.sum(gr.exp(plain)), target),
        )
        np.testing.assert_allclose(*evaluate([own, expected], at), rtol=1e-14)
        v = np.ones(np.shape(at[target]))
        pair = [gr.jvp(gr.exp(y), target, v), gr.jvp(gr.exp(plain), target, v)]
        np.testing.assert_allclose(*evaluate(pair, at), rtol=1e-14)


@pytest.mark.parametrize("f", [BY_VJP, BY_JVP], ids=["vjp", "jvp"])
def test_mapped(f):
    x = gr.matrix("x", "n", 3, "float64")
    each = gr.vmap(lambda row: gr.grad(gr.sum(gr.square(f(row))), row))(x)
    whole = gr.grad(gr.sum(gr.square(gr.vmap(f)(x))), x)
    at = np.stack([AT, -AT])
    expected = 6 * np.sin(at) * np.cos(at)
    for found in gr.compile(x, [each, whole])(at):
        np.testing.assert_allclose(found, expected, rtol=1e-14)


@pytest.mark.parametrize("form", ["vjp", "jvp"])
def test_mapped_with_an_operand_that_is_not(form):
    rules = {
        "vjp": lambda ct, out, x, i, w: (ct * w, None, gr.sum(ct * x)),
        "jvp": lambda t, out, x, i, w: t[0] * w + x * t[2],
    }
    f = gr.custom_gradient(lambda x, i, w: x * w + i, **{form: rules[form]})
    x, w, i = (
        gr.matrix("x", 2, 3, "float64"),
        gr.scalar("w", "float64"),
        gr.scalar("i", "int64"),
    )
    y = gr.vmap(lambda row: f(row, i, w))(x)
    at = {x: np.stack([AT, -2 * AT]), w: 2.5, i: 4}
    gx, gw = gr.grad(gr.sum(gr.square(y)), [x, w])
    value = at[x] * 2.5 + 4
    np.testing.assert_allclose(evaluate([gx], at)[0], 2 * value * 2.5, rtol=1e-14)
    np.testing.assert_allclose(evaluate([gw], at)[0], np.sum(2 * value * at[x]), rtol=1e-14)
    t = gr.jvp(y, [x, w], [np.ones((2, 3)), 1.0])
    np.testing.assert_allclose(evaluate([t], at)[0], 2.5 + at[x], rtol=1e-14)


def test_straight_through_and_reversal():
    x = gr.vector("x", 3, "float64")
    through = gr.custom_gradient(gr.round, vjp=lambda ct, out, x: ct)
    reversal = gr.custom_gradient(lambda x: 1 * x, jvp=lambda t, out, x: -t[0])
    y = gr.sum(gr.square(through(reversal(x))))
    np.testing.assert_array_equal(gr.compile(x, gr.grad(y, x))(AT), -2 * np.round(AT))


def test_stopped_is_zero_and_not_disconnected():
    x = gr.vector("x", 3, "float64")
    stopped = gr.stop_gradient(x)
    outputs = [
        gr.grad(gr.sum(stopped), x),
        gr.jvp(stopped, x, np.ones(3)),
        gr.jacobian(stopped * 2, x),
        gr.grad(gr.sum(gr.exp(x) * stopped), x),
        gr.vmap(gr.stop_gradient)(x),
    ]
    for skip in ([], ["fold"]):
        zero, tangent, matrix, product, same = gr.compile(x, outputs, skip=skip)(AT)
        assert not zero.any()
        assert not tangent.any()
        assert not matrix.any()
        np.testing.assert_allclose(product, np.exp(AT) * AT, rtol=1e-14)
        np.testing.assert_array_equal(same, AT)


# Errors ---------------------------------------------------------------------------------------


def _summary(kind, function):
    with pytest.raises(kind) as caught:
        function()
    return caught.value.summary


@pytest.mark.parametrize(
    "rule",
    [
        lambda t, out, x: gr.square(t[0]),
        lambda t, out, x: t[0] + 1.0,
        lambda t, out, x: gr.nn.relu(t[0]),
        lambda t, out, x: x / t[0],
        lambda t, out, x: x,
        lambda t, out, x: gr.where(t[0] > 0, t[0], 0),
    ],
)
def test_a_rule_that_is_not_linear(rule):
    x = gr.vector("x", 3, "float64")
    f = gr.custom_gradient(gr.exp, jvp=rule)
    text = "the jvp rule of exp is not linear in its tangents"
    assert _summary(DifferentiationError, lambda: gr.grad(gr.sum(f(x)), x)) == text
    back = gr.custom_gradient(gr.exp, vjp=lambda ct, out, x: rule((ct,), out, x))
    text = "the vjp rule of exp is not linear in its cotangents"
    assert _summary(DifferentiationError, lambda: gr.jvp(back(x), x, [1.0] * 3)) == text


@pytest.mark.parametrize(
    "rule",
    [
        lambda t, out, x: -t[0] / 3 + gr.flip(t[0]) * x,
        lambda t, out, x: gr.where(x > 0, t[0], 0),
        lambda t, out, x: gr.cumsum(t[0]) - gr.matmul(np.ones((3, 3)), t[0]),
        lambda t, out, x: gr.pad(t[0][1:], (0, 1)) + gr.concatenate([t[0][:2], np.zeros(1)]),
        lambda t, out, x: gr.take(t[0], [2, 0, 0]) + gr.sum(t[0]),
        lambda t, out, x: t[0].astype("float32").astype("float64"),
        lambda t, out, x: BY_VJP(x) * t[0],
    ],
)
def test_a_rule_that_is_linear_is_seen_to_be(rule):
    x = gr.vector("x", 3, "float64")
    y = gr.custom_gradient(gr.exp, jvp=rule)(x)
    v, w = np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.7, -1.1])
    forward, back = gr.jvp(y, x, v), gr.vjp(y, x)[1](w)
    a, b = evaluate([forward, back], {x: AT})
    np.testing.assert_allclose(a @ w, b @ v, rtol=1e-6)


def test_errors_of_rules():
    x, n = gr.vector("x", 3, "float64"), gr.vector("n", 3, "int64")
    both = {"jvp": lambda t, out, x: t[0], "vjp": lambda ct, out, x: ct}
    assert (
        _summary(DifferentiationError, lambda: gr.custom_gradient(gr.exp, **both))
        == "custom_gradient: exp needs one rule, jvp or vjp"
    )
    assert (
        _summary(DTypeError, lambda: gr.custom_gradient(gr.abs, vjp=both["vjp"])(n))
        == "custom_gradient: abs gives int64, not a float"
    )
    two = gr.custom_gradient(gr.exp, vjp=lambda ct, out, x: (ct, ct))
    assert (
        _summary(DifferentiationError, lambda: gr.grad(gr.sum(two(x)), x))
        == "the vjp rule of exp gives 2 cotangents for 1 operands"
    )
    flat = gr.custom_gradient(gr.exp, vjp=lambda ct, out, x: gr.sum(ct))
    assert (
        _summary(ShapeError, lambda: gr.grad(gr.sum(flat(x)), x))
        == "the vjp rule of exp gives shape (), not (3,)"
    )
    narrow = gr.custom_gradient(gr.exp, jvp=lambda t, out, x: t[0].astype("float32"))
    assert (
        _summary(DTypeError, lambda: gr.jvp(narrow(x), x, [1.0] * 3))
        == "the jvp rule of exp gives float32, not float64"
    )


def test_listings_call_a_rule_by_its_name():
    x = gr.vector("x", 3)
    square = gr.custom_gradient(gr.square, vjp=lambda ct, out, x: ct * x)
    assert "custom_gradient[rule=square](" in gr.show(square(x))
    assert " at 0x" not in gr.show(square(x))
