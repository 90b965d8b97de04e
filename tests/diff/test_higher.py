"""Jacobians, Hessians, products with them, and derivatives of higher order."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import graphc as gr
from graphc.errors import DifferentiationError
from graphc.interpret import evaluate


def both(outputs, values):
    """Values by the interpreter, after comparing them with those of the compiled graph."""
    found = evaluate(outputs, values)
    compiled = gr.compile(list(values), outputs)(*values.values())
    for a, b in zip(found, compiled, strict=True):
        np.testing.assert_allclose(
            b, a, rtol=1e-12, atol=1e-13 * max(1.0, np.abs(a).max(initial=0.0))
        )
    return found


# Jacobians ------------------------------------------------------------------------------------


def _mixer(x):
    """(2, 3) to (3, 2), every kind of operation."""
    a = gr.tanh(x) @ np.arange(6.0).reshape(3, 2)
    b = gr.softmax(gr.concatenate([a, gr.flip(a, 0)[:1] * gr.max(x)]), axis=0)
    return gr.cumsum(b, 1) + gr.norm(x, axis=0)[:, None] * x.T


@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
def test_entries_of_a_jacobian(mode):
    x = gr.matrix("x", 2, 3, "float64")
    y = _mixer(x)
    at = {x: np.random.default_rng(0).normal(size=(2, 3))}
    (found,) = both([gr.jacobian(y, x, mode=mode)], at)
    assert found.shape == (3, 2, 2, 3)
    for i in np.ndindex(3, 2):
        row = evaluate([gr.grad(y[i], x)], at)[0]
        np.testing.assert_allclose(found[i], row, rtol=1e-12, atol=1e-14)


def test_shapes_of_rank_0_and_symbolic_sizes():
    s, x = gr.scalar("s", "float64"), gr.tensor("x", ("n",), "float64")
    for mode in ("forward", "reverse"):
        jacobians = gr.jacobian(gr.exp(s) * x, [s, x], mode=mode)
        assert [str(j.type) for j in jacobians] == ["f64[n]", "f64[n, n]"]
        by_s, by_x = both(jacobians, {s: np.float64(0.5), x: np.array([1.0, 2.0])})
        np.testing.assert_allclose(by_s, np.exp(0.5) * np.array([1, 2]), rtol=1e-14)
        np.testing.assert_allclose(by_x, np.exp(0.5) * np.eye(2), rtol=1e-14)


def test_the_type_is_that_of_the_target_in_either_mode():
    x = gr.vector("x", 2, "float32")
    y = gr.exp(x.astype("float64"))
    assert {gr.jacobian(y, x, mode=m).dtype.name for m in ("forward", "reverse")} == {"float32"}


def test_the_cheaper_mode_is_chosen_and_reported():
    x = gr.vector("x", 50, "float64")
    w = np.random.default_rng(0).normal(size=(2, 50))
    few = gr.vector("few", 2, "float64")
    wide, tall = gr.tanh(w @ gr.sin(x)), gr.tanh(w.T @ gr.sin(few))
    for y, target, mode in [(wide, x, "reverse"), (tall, few, "forward")]:
        cost = gr.jacobian_cost(y, target)
        assert cost.mode == mode
        assert (cost.forward < cost.reverse) == (mode == "forward")
        assert str(cost) == (
            f"{mode} (operations: forward {cost.forward}, reverse {cost.reverse})"
        )
        made = gr.jacobian(y, target)
        assert made.origin is not None
        assert made.origin.rule == f"d jacobian by {cost}"
        assert gr.jacobian(y, target, mode=mode).origin.rule == f"d jacobian by {mode}"


def test_zero_and_disconnected_jacobians():
    x, w = gr.vector("x", 3, "float64"), gr.vector("w", 2, "float64")
    y = gr.floor(x) + gr.sum(gr.stop_gradient(x))
    for mode in ("forward", "reverse"):
        (zero,) = both([gr.jacobian(y, x, mode=mode)], {x: np.ones(3)})
        np.testing.assert_array_equal(zero, np.zeros((3, 3)))
        with pytest.raises(DifferentiationError, match="jacobian: the output does not depend"):
            gr.jacobian(y, w, mode=mode)
        assert gr.jacobian(y, w, mode=mode, unused="zero").shape == (3, 2)
    with pytest.raises(DifferentiationError, match=r"^jacobian: mode is auto, forward or"):
        gr.jacobian(y, x, mode="fwd")


@pytest.mark.parametrize("n", [0, 1])
def test_few_elements(n):
    x = gr.vector("x", n, "float64")
    for mode in ("forward", "reverse"):
        (found,) = both([gr.jacobian(gr.sin(x), x, mode=mode)], {x: np.zeros(n)})
        np.testing.assert_array_equal(found, np.eye(n))


# Hessians -------------------------------------------------------------------------------------


def _loss(x, w):
    return gr.sum(gr.logsumexp(gr.tanh(w @ x) * gr.sum(gr.square(w)), axis=0)) + gr.prod(x)


def test_hessian_blocks():
    rng = np.random.default_rng(3)
    x, w = gr.vector("x", 3, "float64"), gr.matrix("w", 4, 3, "float64")
    at = {x: rng.normal(size=3), w: rng.normal(size=(4, 3))}
    f = _loss(x, w)
    blocks = gr.hessian(f, [x, w])
    (xx, xw), (wx, ww) = (both(row, at) for row in blocks)
    assert (xx.shape, xw.shape) == ((3, 3), (3, 4, 3))
    assert (wx.shape, ww.shape) == ((4, 3, 3), (4, 3, 4, 3))
    np.testing.assert_array_equal(xx, xx.T)
    np.testing.assert_array_equal(ww, ww.transpose(2, 3, 0, 1))
    np.testing.assert_array_equal(wx, xw.transpose(1, 2, 0))
    gx, gw = gr.grad(f, [x, w])
    for i in range(3):
        own, other = evaluate(gr.grad(gx[i], [x, w]), at)
        np.testing.assert_allclose(xx[i], own, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(xw[i], other, rtol=1e-10, atol=1e-12)
    row = evaluate([gr.grad(gw[1, 2], w)], at)[0]
    np.testing.assert_allclose(ww[1, 2], row, rtol=1e-10, atol=1e-12)


def test_hvp_is_the_product():
    rng = np.random.default_rng(4)
    x, w = gr.vector("x", 3, "float64"), gr.matrix("w", 4, 3, "float64")
    at = {x: rng.normal(size=3), w: rng.normal(size=(4, 3))}
    u, v = rng.normal(size=3), rng.normal(size=(4, 3))
    f = _loss(x, w)
    (xx, xw), (wx, ww) = (evaluate(row, at) for row in gr.hessian(f, [x, w]))
    hx, hw = both(gr.hvp(f, [x, w], [u, v]), at)
    np.testing.assert_allclose(hx, xx @ u + np.tensordot(xw, v), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(hw, wx @ u + np.tensordot(ww, v), rtol=1e-10, atol=1e-12)
    (single,) = both([gr.hvp(f, x, u)], at)
    np.testing.assert_allclose(single, xx @ u, rtol=1e-10, atol=1e-12)


def test_hessian_of_a_quadratic_and_of_a_linear_function():
    """Least squares: ``X^T X``; a saddle: both signs; a linear function: zeros."""
    xs = np.random.default_rng(1).normal(size=(6, 3))
    w = gr.vector("w", 3, "float64")
    at = {w: np.ones(3)}
    quadratic = 0.5 * gr.sum(gr.square(gr.constant(xs) @ w - 1.0))
    saddle = gr.square(w[0]) - gr.square(w[1])
    found = both([gr.hessian(f, w) for f in (quadratic, saddle, gr.sum(w))], at)
    np.testing.assert_allclose(found[0], xs.T @ xs, rtol=1e-13)
    np.testing.assert_array_equal(found[1], np.diag([2.0, -2.0, 0.0]))
    np.testing.assert_array_equal(found[2], np.zeros((3, 3)))
    np.testing.assert_array_equal(evaluate([gr.hvp(gr.sum(w), w, np.ones(3))], at)[0], [0] * 3)


def test_errors_of_second_derivatives():
    x, w = gr.vector("x", 3), gr.scalar("w")
    with pytest.raises(DifferentiationError, match=r"the output has shape \(3,\), not \(\)"):
        gr.hessian(x * x, x)
    with pytest.raises(DifferentiationError, match="does not depend on w"):
        gr.hessian(gr.sum(x), [x, w])
    blocks = gr.hessian(gr.sum(x * x), [x, w], unused="zero")
    assert [[b.shape for b in row] for row in blocks] == [[(3, 3), (3,)], [(3,), ()]]
    with pytest.raises(DifferentiationError, match="hvp: 2 directions for 1 values"):
        gr.hvp(gr.sum(x), [x], [np.ones(3)] * 2)


# Orders and modes -----------------------------------------------------------------------------

SCALARS = {
    "sin-exp": (lambda x: gr.sin(x) * gr.exp(-x), lambda x: mpmath.sin(x) * mpmath.exp(-x)),
    "tanh": (gr.tanh, mpmath.tanh),
    "log-sqrt": (
        lambda x: gr.log(x) / gr.sqrt(1 + x * x),
        lambda x: mpmath.log(x) / mpmath.sqrt(1 + x * x),
    ),
    "pow": (lambda x: x**3.7 + 2.0**x, lambda x: x ** mpmath.mpf(3.7) + 2**x),
    "erf-atan": (
        lambda x: gr.erf(x) * gr.atan(x),
        lambda x: mpmath.erf(x) * mpmath.atan(x),
    ),
    "softplus": (gr.nn.softplus, lambda x: mpmath.log(1 + mpmath.exp(x))),
    "logaddexp-hypot": (
        lambda x: gr.logaddexp(x, gr.cos(x)) + gr.hypot(x, 2.0),
        lambda x: (
            mpmath.log(mpmath.exp(x) + mpmath.exp(mpmath.cos(x))) + mpmath.sqrt(x * x + 4)
        ),
    ),
}


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("modes", ["rrrr", "ffff", "frfr", "rfrf", "ffr", "rrf"])
def test_derivatives_up_to_the_fourth_against_50_digits(name, modes):
    f, reference = SCALARS[name]
    x = gr.scalar("x", "float64")
    y = f(x)
    for mode in reversed(modes):
        y = gr.jvp(y, x, 1.0) if mode == "f" else gr.grad(y, x)
    with mpmath.workdps(50):
        expected = float(mpmath.diff(reference, mpmath.mpf(0.7), len(modes)))
    (found,) = both([y], {x: np.float64(0.7)})
    np.testing.assert_allclose(found, expected, rtol=1e-11)


def _mlp(number):
    """A 2-3-1 network along a line of its input, in the arithmetic of ``number``."""
    rng = np.random.default_rng(8)
    w1, b1, w2 = rng.normal(size=(3, 2)), rng.normal(size=3), rng.normal(size=3)

    def at(s):
        inputs = [number(0.3) + s, number(-0.8) + 2 * s]
        total = number(0.0)
        for row, b, v in zip(w1, b1, w2, strict=True):
            z = sum((number(a) * i for a, i in zip(row, inputs, strict=True)), number(b))
            total += number(v) * mpmath.tanh(z)
        return mpmath.exp(total)

    return at, (w1, b1, w2)


@pytest.mark.parametrize("modes", ["rrr", "frr", "ffr", "fff", "ffffr"])
def test_higher_derivatives_of_a_network_along_a_line(modes):
    """Directional derivatives ``D^k f [v, ..., v]`` of a network."""
    with mpmath.workdps(50):
        reference, (w1, b1, w2) = _mlp(mpmath.mpf)
        expected = float(mpmath.diff(reference, 0, len(modes)))
    x = gr.vector("x", 2, "float64")
    v = np.array([1.0, 2.0])
    y = gr.exp(gr.sum(gr.tanh(gr.constant(w1) @ x + b1) * w2))
    for mode in reversed(modes):
        y = gr.jvp(y, x, v) if mode == "f" else gr.sum(gr.grad(y, x) * v)
    (found,) = both([y], {x: np.array([0.3, -0.8])})
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_the_tensor_of_third_derivatives():
    """The Jacobian of a Hessian is symmetric in all its axes and agrees with 50 digits."""
    with mpmath.workdps(50):
        reference, (w1, b1, w2) = _mlp(mpmath.mpf)
        expected = float(mpmath.diff(reference, 0, 3))
    x = gr.vector("x", 2, "float64")
    y = gr.exp(gr.sum(gr.tanh(gr.constant(w1) @ x + b1) * w2))
    third = gr.jacobian(gr.hessian(y, x), x)
    (found,) = both([third], {x: np.array([0.3, -0.8])})
    for order in ((1, 0, 2), (0, 2, 1), (2, 1, 0)):
        np.testing.assert_allclose(found, found.transpose(order), rtol=1e-12, atol=1e-13)
    v = np.array([1.0, 2.0])
    np.testing.assert_allclose(found @ v @ v @ v, expected, rtol=1e-11)


def test_a_gradient_of_a_gradient_norm_trains():
    """Double backpropagation through a network's input gradient compiles."""
    rng = np.random.default_rng(0)
    w = gr.parameter("w", rng.normal(size=(3, 4)))
    x = gr.tensor("x", ("n", 3), "float64")
    slope = gr.grad(gr.sum(gr.tanh(x @ w)), x)
    penalty = gr.grad(gr.mean(gr.square(gr.norm(slope, axis=1) - 1)), w)
    at = rng.normal(size=(5, 3))
    found = gr.compile(x, penalty)(at)
    np.testing.assert_allclose(found, evaluate([penalty], {x: at})[0], rtol=1e-11, atol=1e-13)
    gr.testing.check_grads(
        gr.mean(gr.square(gr.norm(slope, axis=1) - 1)), {x: at, w: w.value}, rtol=1e-5
    )


def test_jacobians_come_in_the_form_of_the_targets():
    x, s = gr.vector("x", 3, dtype="float64"), gr.scalar("s", dtype="float64")
    found = gr.jacobian(x * s, {"x": x, "s": [s]})
    values = gr.compile([x, s], found)([1.0, 2.0, 3.0], 4.0)
    np.testing.assert_array_equal(values["x"], 4 * np.eye(3))
    np.testing.assert_array_equal(values["s"][0], [1.0, 2.0, 3.0])
    assert isinstance(gr.jacobian(x * s, (x, s)), list)
    assert set(gr.jacobian(x * s, {"x": x}, sparse=True)) == {"x"}
