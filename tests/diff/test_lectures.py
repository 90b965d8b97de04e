"""Worked examples of the lectures, with the right numbers where a slide is wrong."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gr
from graphc import nn
from graphc.diff.reverse import accumulate
from graphc.expr import constant, topological
from graphc.interpret import evaluate


def run(outputs, values):
    """Values of expressions as floats or arrays."""
    return [v[()] for v in evaluate(outputs, values)]


# The product network (E1 to E5) -------------------------------------------------------------


def product_network(w, layers=5):
    """Two nodes a layer, each the product of both nodes of the layer below."""
    rows = [(gr.positive(w), gr.positive(w))]
    for _ in range(layers - 1):
        a, b = rows[-1]
        rows.append((a * b, a * b))
    a, b = rows[-1]
    return rows, a * b


def test_product_network_has_32_paths():
    w = gr.scalar("w", "float64")
    _, o = product_network(w)
    g = gr.grad(o, w)
    assert run([o, g], {w: 2.0}) == [4294967296, 68719476736]
    np.testing.assert_allclose(run([o, g], {w: 1.1}), [21.113777, 614.218960], rtol=1e-7)
    np.testing.assert_allclose(run([g], {w: 0.5}), [1.4901161e-8], rtol=1e-7)


def test_local_derivative_is_the_other_factor():
    w = gr.scalar("w", "float64")
    rows, _ = product_network(w)
    y4, y6 = rows[1][1], rows[2][1]
    assert run([gr.grad(y6, y4)], {w: 3.0}) == [9]


def test_adjoint_table_before_merging():
    """``S(9) = S(10) = w^16``, not ``2 w^16``: twins are two nodes until they are merged."""
    w = gr.scalar("w", "float64")
    rows, o = product_network(w)
    table = accumulate([(o, constant(1.0, "float64"))], [w])
    expected = [16 * 1.1**31, 8 * 1.1**30, 4 * 1.1**28, 2 * 1.1**24, 1.1**16]
    for row, s in zip(rows, expected, strict=True):
        np.testing.assert_allclose(run([table[n] for n in row], {w: 1.1}), [s, s], rtol=1e-14)
    np.testing.assert_allclose(run([table[w], table[o]], {w: 1.1}), [32 * 1.1**31, 1])


def test_adjoint_table_after_merging():
    """A chain of five squarings: two parallel edges each."""
    w = gr.scalar("w", "float64")
    o = gr.cse(product_network(w)[1])
    chain = topological([o])
    assert [n.op.name for n in chain] == ["input", "positive"] + ["mul"] * 5
    table = accumulate([(o, constant(1.0, "float64"))], [chain[0]])
    expected = [
        32 * 1.1**31,
        32 * 1.1**31,
        16 * 1.1**30,
        8 * 1.1**28,
        4 * 1.1**24,
        2 * 1.1**16,
        1,
    ]
    np.testing.assert_allclose(run([table[n] for n in chain], {w: 1.1}), expected, rtol=1e-14)


def test_cost_is_linear_where_paths_are_exponential():
    w = gr.scalar("w", "float64")
    sizes = []
    for layers in (30, 60):  # 2^60 paths
        _, o = product_network(w, layers)
        sizes.append(len(topological([gr.grad(o, w)])))
    assert sizes[1] < 2.1 * sizes[0]


# Small graphs (E6, E7, E24 to E27) ----------------------------------------------------------


def test_automatic_differentiation_example():
    a, b = gr.scalar("a", "float64"), gr.scalar("b", "float64")
    d = a * (a + b)
    assert run([d, *gr.grad(d, [a, b])], {a: 4.0, b: 3.0}) == [28, 11, 4]


def test_vector_jacobian_example():
    """The entry (2, 1) of the Jacobian is ``sin x2``, not ``2 sin x2``."""
    x = gr.vector("x", 2, "float64")
    y = gr.stack([x[0], x[0] * gr.sin(x[1])])
    z = y[0] + 2 * y[1]
    at = {x: np.array([2.0, 0.5])}
    expected = [1 + 2 * np.sin(0.5), 4 * np.cos(0.5)]
    np.testing.assert_allclose(run([gr.grad(z, x)], at)[0], expected, rtol=1e-15)
    np.testing.assert_allclose(expected, [1.958851077208, 3.510330247561])
    row = run([gr.grad(y[1], x)], at)[0]
    np.testing.assert_allclose(row, [np.sin(0.5), 2 * np.cos(0.5)], rtol=1e-15)


def test_logistic_regression_by_modules():
    """``dJ/dy = y*/y - (1 - y*)/(1 - y)`` and ``dJ/dtheta = (y* - y) x``."""
    theta, x = gr.vector("theta", 3, "float64"), gr.vector("x", 3, "float64")
    target = gr.scalar("target", "float64")
    a = theta @ x
    y = nn.sigmoid(a)
    likelihood = target * gr.log(y) + (1 - target) * gr.log(1 - y)
    values = {theta: np.array([0.1, -0.4, 0.3]), x: np.array([1.0, 2.0, -0.5]), target: 0.0}
    p, slope, to_theta, to_x = run([y, *gr.grad(likelihood, [y, theta, x])], values)
    np.testing.assert_allclose(slope, -1 / (1 - p))
    np.testing.assert_allclose(to_theta, -p * values[x], rtol=1e-14)
    np.testing.assert_allclose(to_x, -p * values[theta], rtol=1e-14)


def test_two_layers_by_modules():
    """``dJ/dx_i = sum_j dJ/da_j alpha_ji``: the sum encloses the product."""
    rng = np.random.default_rng(0)
    alpha, beta = gr.matrix("alpha", 4, 3, "float64"), gr.vector("beta", 4, "float64")
    x, target = gr.vector("x", 3, "float64"), gr.scalar("target", "float64")
    a = alpha @ x
    z = nn.sigmoid(a)
    y = nn.sigmoid(beta @ z)
    likelihood = -nn.binary_cross_entropy(y, target)
    given = {
        alpha: rng.normal(size=(4, 3)),
        beta: rng.normal(size=4),
        x: rng.normal(size=3),
        target: 1.0,
    }
    zv, yv, ga, galpha, gx = run([z, y, *gr.grad(likelihood, [a, alpha, x])], given)
    expected = (1 - yv) * given[beta] * zv * (1 - zv)
    np.testing.assert_allclose(ga, expected, rtol=1e-13)
    np.testing.assert_allclose(galpha, np.outer(expected, given[x]), rtol=1e-13)
    np.testing.assert_allclose(gx, expected @ given[alpha], rtol=1e-13)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_cross_entropy_of_a_sigmoid(t):
    z = gr.vector("z", 5, "float64")
    loss = nn.binary_cross_entropy(nn.sigmoid(z), np.full(5, t), reduction="sum")
    at = np.array([-3.0, -0.5, 0.0, 1.0, 4.0])
    np.testing.assert_allclose(
        run([gr.grad(loss, z)], {z: at})[0], 1 / (1 + np.exp(-at)) - t, rtol=1e-12, atol=1e-15
    )


def test_least_squares():
    """Gradient ``X^T (X w - y)`` and Hessian ``X^T X``."""
    rng = np.random.default_rng(1)
    xs, ys = rng.normal(size=(6, 3)), rng.normal(size=6)
    w, v = gr.vector("w", 3, "float64"), gr.vector("v", 3, "float64")
    f = 0.5 * gr.sum(gr.square(constant(xs) @ w - ys))
    g = gr.grad(f, w)
    hv = gr.grad(gr.sum(g * v), w)
    at = {w: rng.normal(size=3), v: rng.normal(size=3)}
    gradient, product = run([g, hv], at)
    np.testing.assert_allclose(gradient, xs.T @ (xs @ at[w] - ys), rtol=1e-13)
    np.testing.assert_allclose(product, xs.T @ xs @ at[v], rtol=1e-13)


def test_multi_output_least_squares():
    rng = np.random.default_rng(2)
    xs, ws, ys = rng.normal(size=(5, 3)), rng.normal(size=(2, 3)), rng.normal(size=(5, 2))
    w = gr.matrix("w", 2, 3, "float64")
    g = gr.grad(nn.squared_error(constant(xs) @ w.T, ys), w)
    np.testing.assert_allclose(run([g], {w: ws})[0], (xs @ ws.T - ys).T @ xs, rtol=1e-13)


def test_one_hidden_layer_least_squares():
    """``[(r v^T) o h'(X W^T)]^T X`` for the hidden weights."""
    rng = np.random.default_rng(3)
    xs, ys = rng.normal(size=(5, 3)), rng.normal(size=5)
    w, v = gr.matrix("w", 4, 3, "float64"), gr.vector("v", 4, "float64")
    at = {w: rng.normal(size=(4, 3)), v: rng.normal(size=4)}
    loss = nn.squared_error(gr.tanh(constant(xs) @ w.T) @ v, ys)
    gw, gv = run(gr.grad(loss, [w, v]), at)
    h = np.tanh(xs @ at[w].T)
    r = h @ at[v] - ys
    np.testing.assert_allclose(gv, h.T @ r, rtol=1e-12)
    np.testing.assert_allclose(gw, (np.outer(r, at[v]) * (1 - h**2)).T @ xs, rtol=1e-12)


@pytest.mark.parametrize(
    ("depth", "expected"), [(1, 0.25), (2, 0.0587509), (3, 0.0133521), (10, 3.87522e-7)]
)
def test_vanishing_gradient(depth, expected):
    x = y = gr.scalar("x", "float64")
    for _ in range(depth):
        y = nn.sigmoid(y)
    np.testing.assert_allclose(run([gr.grad(y, x)], {x: 0.0})[0], expected, rtol=1e-5)


def test_two_forms_of_a_derivative_agree():
    x = gr.vector("x", 9, "float64")
    at = np.linspace(-4, 4, 9)
    tanh, sigmoid = (run([gr.grad(gr.sum(f(x)), x)], {x: at})[0] for f in (gr.tanh, nn.sigmoid))
    np.testing.assert_allclose(tanh, 1 / np.cosh(at) ** 2, rtol=1e-12)
    np.testing.assert_allclose(sigmoid, np.exp(-at) / (np.exp(-at) + 1) ** 2, rtol=1e-12)


# Backpropagation by hand (E8 to E16) --------------------------------------------------------


class Network:
    """2-2-1 sigmoid units with biases, momentum ``delta w = -eta dE/dw + alpha delta w``."""

    def __init__(self):
        self.x, self.t = gr.vector("x", 2, "float64"), gr.scalar("t", "float64")
        self.hidden, self.out = gr.matrix("v", 2, 3, "float64"), gr.vector("w", 3, "float64")
        one = constant([1.0])
        self.net = self.hidden @ gr.concatenate([one, self.x])
        self.h = nn.sigmoid(self.net)
        self.net_out = self.out @ gr.concatenate([one, self.h])
        self.o = nn.sigmoid(self.net_out)
        self.error = nn.squared_error(self.o, self.t)
        self.weights = {self.hidden: np.full((2, 3), 0.1), self.out: np.full(3, 0.1)}
        self.momentum = {w: np.zeros_like(v) for w, v in self.weights.items()}

    def given(self, x, t):
        return {self.x: np.array(x), self.t: t, **self.weights}

    def step(self, x, t, eta=0.2, alpha=0.9):
        gradients = run(gr.grad(self.error, list(self.weights)), self.given(x, t))
        for w, g in zip(list(self.weights), gradients, strict=True):
            self.momentum[w] = -eta * g + alpha * self.momentum[w]
            self.weights[w] = self.weights[w] + self.momentum[w]


def test_backpropagation_first_step():
    """The output weights rise to .1172 and .1095; the slide subtracts and raises the error."""
    net = Network()
    at = net.given([1.0, 0.0], 0.9)
    h, o, e = run([net.h, net.o, net.error], at)
    np.testing.assert_allclose(h, 0.549834, atol=1e-6)
    np.testing.assert_allclose([o, e], [0.5522997, 0.0604477], atol=1e-7)
    to_out, to_hidden = run(gr.grad(net.error, [net.net_out, net.net]), at)
    np.testing.assert_allclose(-to_out, 0.0859740, atol=1e-7)
    np.testing.assert_allclose(-to_hidden, 0.00212800, atol=1e-8)
    net.step([1.0, 0.0], 0.9)
    np.testing.assert_allclose(
        net.momentum[net.out], [0.0171948, 0.00945429, 0.00945429], atol=1e-7
    )
    np.testing.assert_allclose(
        net.weights[net.out], [0.1171948, 0.10945429, 0.10945429], atol=1e-7
    )
    row = [0.10042560, 0.10042560, 0.1]
    np.testing.assert_allclose(net.weights[net.hidden], [row, row], atol=1e-8)
    assert run([net.error], net.given([1.0, 0.0], 0.9))[0] == pytest.approx(0.0580985, abs=1e-7)


def test_backpropagation_second_step_and_test_instance():
    net = Network()
    net.step([1.0, 0.0], 0.9)
    at = net.given([0.0, 1.0], -0.3)
    h, o, e, d_out, d_hidden = run(
        [net.h, net.o, net.error, *gr.grad(net.error, [net.net_out, net.net])], at
    )
    np.testing.assert_allclose(h, 0.54993934, atol=1e-8)
    np.testing.assert_allclose([o, e, -d_out], [0.55911750, 0.36904144, -0.21177686], atol=1e-8)
    np.testing.assert_allclose(-d_hidden, -0.00573716, atol=1e-8)
    net.step([0.0, 1.0], -0.3)
    np.testing.assert_allclose(
        net.momentum[net.out], [-0.02688005, -0.01478403, -0.01478403], atol=1e-8
    )
    np.testing.assert_allclose(
        net.momentum[net.hidden][0], [-0.00076439, 0.00038304, -0.00114743], atol=1e-8
    )
    np.testing.assert_allclose(
        net.weights[net.out], [0.09031476, 0.09467026, 0.09467026], atol=1e-8
    )
    np.testing.assert_allclose(
        net.weights[net.hidden][0], [0.09966121, 0.10080864, 0.09885257], atol=1e-8
    )
    o, e = run([net.o, net.error], net.given([1.0, 1.0], 0.8))
    np.testing.assert_allclose([o, e], [0.54959851, 0.03135045], atol=1e-8)


def test_equal_units_stay_equal_for_ever():
    net = Network()
    for x, t in [([1.0, 0.0], 0.9), ([0.0, 1.0], -0.3)] * 5:
        net.step(x, t)
        first, second = net.weights[net.hidden]
        np.testing.assert_array_equal(first, second)
        assert net.weights[net.out][1] == net.weights[net.out][2]


def test_two_by_two_network_of_the_linked_example():
    w, v = gr.matrix("w", 2, 2, "float64"), gr.matrix("v", 2, 2, "float64")
    h = nn.sigmoid(w @ constant([0.05, 0.10]) + 0.35)
    error = nn.squared_error(nn.sigmoid(v @ h + 0.60), np.array([0.01, 0.99]))
    at = {w: np.array([[0.15, 0.20], [0.25, 0.30]]), v: np.array([[0.40, 0.45], [0.50, 0.55]])}
    before, gw, gv = run([error, *gr.grad(error, [w, v])], at)
    moved = {w: at[w] - 0.5 * gw, v: at[v] - 0.5 * gv}
    after = run([error], moved)[0]
    np.testing.assert_allclose([before, after], [0.298371109, 0.291027774], atol=1e-9)
    found = [moved[w][0, 0], moved[v][0, 0], moved[v][1, 1]]
    np.testing.assert_allclose(found, [0.14978072, 0.35891648, 0.56137012], atol=1e-8)


def test_hidden_error_holds_the_derivative_of_the_layer_above():
    """``e_kh = sum_l e_(k+1,l) f'(a_(k+1,l)) w_(k+1,lh)``: the slide drops ``f'``."""
    rng = np.random.default_rng(4)
    w, v = rng.normal(size=(4, 3)), rng.normal(size=(2, 4))
    z1 = nn.sigmoid(constant(w @ rng.normal(size=3)))
    a2 = constant(v) @ z1
    error = nn.squared_error(nn.sigmoid(a2), np.array([0.1, 0.8]))
    e1, a = run([gr.grad(error, z1), a2], {})
    o = 1 / (1 + np.exp(-a))
    expected = ((o - [0.1, 0.8]) * o * (1 - o)) @ v
    np.testing.assert_allclose(e1, expected, rtol=1e-12)


# Exclusive or (E17) -------------------------------------------------------------------------


def test_exclusive_or():
    x = gr.tensor("x", ("n", 2), "float64")
    hidden = nn.relu(x @ np.ones((2, 2)) + np.array([0.0, -1.0]))
    y = hidden @ np.array([1.0, -2.0])
    inputs = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
    h, out = run([hidden, y], {x: inputs})
    np.testing.assert_array_equal(h, [[0, 0], [1, 0], [1, 0], [2, 1]])
    np.testing.assert_array_equal(out, [0, 1, 1, 0])
