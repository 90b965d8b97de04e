"""Formulas of the lectures that are wrong: each is computed, found wrong, and ours right.

What is right is decided by differences of the function itself, not by another formula.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import sympy

import graphc as gr
from graphc import nn
from graphc.expr import constant, topological
from graphc.interpret import evaluate


def run(outputs, values=None):
    return [v[()] for v in evaluate(outputs, values or {})]


def slope(f, x, step=1e-6):
    """Central differences of a scalar function of an array."""
    x = np.asarray(x, float)
    result = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        e = np.zeros_like(x)
        e[i] = step
        result[i] = (f(x + e) - f(x - e)) / (2 * step)
    return result


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def differ(wrong, right):
    assert not np.allclose(wrong, right, rtol=1e-2, atol=1e-4)


def agree(ours, right):
    np.testing.assert_allclose(ours, right, rtol=1e-6, atol=1e-8)


def test_row_1_adjoints_of_twins():
    """S(9, 11) = w^16 and S(7, 11) = 2 w^24; the slide says 2 w^16 and 8 w^24."""
    w = gr.scalar("w", "float64")
    a = b = w
    layers = []
    for _ in range(5):
        a, b = (a * b, a * b) if layers else (gr.positive(w), gr.positive(w))
        layers.append((a, b))
    o = a * b
    table = gr.adjoints(o)
    y7, y9 = layers[3][0], layers[4][0]
    at = 1.1
    for node, power, right, wrong in ((y9, 16, 1, 2), (y7, 24, 2, 8)):
        (ours,) = run([table[node]], {w: at})
        value, twin = run([node, layers[3 if node is y7 else 4][1]], {w: at})
        assert value == twin
        # Only this node is moved: its twin keeps its value.
        above = slope(lambda y, node=node: run([o], {w: at, node: y})[0], value)
        agree(ours, above)
        np.testing.assert_allclose(ours, right * at**power)
        differ(wrong * at**power, above)


def test_row_2_jacobian():
    """d(x1 sin x2)/d x1 = sin x2; the slide says 2 sin x2."""
    x = gr.vector("x", 2, "float64")
    y = gr.stack([x[0], x[0] * gr.sin(x[1])])
    at = np.array([2.0, 0.5])
    (ours,) = run([gr.jacobian(y, x)], {x: at})
    right = slope(lambda v: v[0] * np.sin(v[1]), at)
    agree(ours, [[1, 0], right])
    differ(2 * np.sin(0.5), right[0])
    wrong = np.array([[1, 0], [2 * np.sin(0.5), 2 * np.cos(0.5)]])
    differ(wrong.T @ [1, 2], slope(lambda v: v[0] + 2 * v[0] * np.sin(v[1]), at))
    agree(ours.T @ [1, 2], slope(lambda v: v[0] + 2 * v[0] * np.sin(v[1]), at))


class TwoLayers:
    """Two sigmoid units and one on top, all weights 0.1, input (1, 0), target 0.9."""

    x, t, eta = np.array([1.0, 1.0, 0.0]), 0.9, 0.2

    @staticmethod
    def loss(hidden, out):
        h = np.concatenate([[1.0], sigmoid(hidden @ TwoLayers.x)])
        return 0.5 * (sigmoid(out @ h) - TwoLayers.t) ** 2

    @staticmethod
    def gradients(hidden, out):
        v, w = gr.matrix("v", 2, 3, "float64"), gr.vector("w", 3, "float64")
        h = nn.sigmoid(v @ constant(TwoLayers.x))
        o = nn.sigmoid(w @ gr.concatenate([constant([1.0]), h]))
        return run(gr.grad(nn.squared_error(o, TwoLayers.t), [v, w]), {v: hidden, w: out})


def test_rows_3_and_5_sign_of_the_step():
    """With delta = (t - o) f' the step is w + dw: 0.1172, 0.1095. Row 3 subtracts it (0.0828,
    0.0905), row 5 adds eta e z with e = o - t: both raise the error."""
    hidden, out = np.full((2, 3), 0.1), np.full(3, 0.1)
    _, gradient = TwoLayers.gradients(hidden, out)
    agree(gradient, slope(lambda w: TwoLayers.loss(hidden, w), out))
    ours = out - TwoLayers.eta * gradient
    np.testing.assert_allclose(ours, [0.1172, 0.1095, 0.1095], atol=5e-5)
    wrong = out + TwoLayers.eta * gradient
    np.testing.assert_allclose(wrong, [0.0828, 0.0905, 0.0905], atol=5e-5)
    before = TwoLayers.loss(hidden, out)
    assert TwoLayers.loss(hidden, ours) < before < TwoLayers.loss(hidden, wrong)


def test_row_4_hidden_weight():
    """0.1 + 0.0004 = 0.1004; the slide writes 0.1 - 0.0004 = 0.9996 (0.0996, of
    the wrong sign)."""
    hidden, out = np.full((2, 3), 0.1), np.full(3, 0.1)
    gradient, _ = TwoLayers.gradients(hidden, out)
    agree(gradient, slope(lambda v: TwoLayers.loss(v, out), hidden))
    ours = hidden - TwoLayers.eta * gradient
    np.testing.assert_allclose(ours[0], [0.1004, 0.1004, 0.1], atol=5e-5)
    differ(ours[0, 0], 0.9996)
    before = TwoLayers.loss(hidden, out)
    wrong = hidden + TwoLayers.eta * gradient
    np.testing.assert_allclose(wrong[0], [0.0996, 0.0996, 0.1], atol=5e-5)
    assert TwoLayers.loss(ours, out) < before < TwoLayers.loss(wrong, out)


def test_row_6_softmax_and_cross_entropy():
    """dE/dz = o - t; the slide says (o - t) o (1 - o)."""
    z = gr.vector("z", 4, "float64")
    t = np.array([0.0, 1.0, 0.0, 0.0])
    at = np.array([0.3, -1.0, 2.0, 0.1])

    def softmax(v):
        return np.exp(v) / np.exp(v).sum()

    loss = nn.cross_entropy(z, constant(t))
    right = slope(lambda v: -np.sum(t * np.log(softmax(v))), at)
    agree(run([gr.grad(loss, z)], {z: at})[0], right)
    o = softmax(at)
    agree(o - t, right)
    differ((o - t) * o * (1 - o), right)


def test_row_7_likelihood():
    """dJ/dy = y*/y - (1 - y*)/(1 - y); the slide adds the second term."""
    y = gr.scalar("y", "float64")
    for target in (0.0, 0.3):
        likelihood = target * gr.log(y) + (1 - target) * gr.log(1 - y)
        right = slope(lambda v, t=target: t * np.log(v) + (1 - t) * np.log(1 - v), 0.7)
        agree(run([gr.grad(likelihood, y)], {y: 0.7})[0], right)
        differ(target / 0.7 + (1 - target) / 0.3, right)


def test_row_8_sum_over_hidden_units():
    """dJ/dx_i = sum_j dJ/da_j alpha_ji; the slide drops the sum over j."""
    rng = np.random.default_rng(0)
    alpha, beta, at = rng.normal(size=(4, 3)), rng.normal(size=4), rng.normal(size=3)
    x = gr.vector("x", 3, "float64")
    a = constant(alpha) @ x
    output = gr.log(nn.sigmoid(constant(beta) @ nn.sigmoid(a)))
    ours, to_a = run(gr.grad(output, [x, a]), {x: at})
    right = slope(lambda v: np.log(sigmoid(beta @ sigmoid(alpha @ v))), at)
    agree(ours, right)
    agree(to_a @ alpha, right)
    for j in range(4):
        differ(to_a[j] * alpha[j], right)


def test_row_9_hidden_errors():
    """e_k = (e_(k+1) f'(a_(k+1))) W: the slide drops f', or takes it at z = f(a), and adds the
    step along the error."""
    rng = np.random.default_rng(1)
    w1, w2, x = rng.normal(size=(3, 2)), rng.normal(size=(2, 3)), rng.normal(size=2)
    t = np.array([0.1, 0.9])
    v = gr.matrix("v", 3, 2, "float64")
    z1 = nn.sigmoid(v @ constant(x))
    a2 = constant(w2) @ z1
    z2 = nn.sigmoid(a2)
    loss = nn.squared_error(z2, t)

    def numeric(weights):
        return 0.5 * np.sum((sigmoid(w2 @ sigmoid(weights @ x)) - t) ** 2)

    e1, e2, a, z, step = run([*gr.grad(loss, [z1, z2]), a2, z2, gr.grad(loss, v)], {v: w1})
    right = slope(lambda y: 0.5 * np.sum((sigmoid(w2 @ y) - t) ** 2), run([z1], {v: w1})[0])
    agree(e1, right)
    agree((e2 * sigmoid(a) * (1 - sigmoid(a))) @ w2, right)
    differ(e2 @ w2, right)
    differ((e2 * sigmoid(z) * (1 - sigmoid(z))) @ w2, right)
    assert numeric(w1 - 0.1 * step) < numeric(w1) < numeric(w1 + 0.1 * step)


def test_row_16_order_of_jacobians():
    """d f(g(x)) / dx = J_f J_g; in the other order the shapes need not even fit."""
    rng = np.random.default_rng(2)
    inner, outer = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
    x = gr.vector("x", 3, "float64")
    g = gr.tanh(constant(inner) @ x)
    f = gr.sin(constant(outer) @ g)
    at = rng.normal(size=3)
    whole, j_g, j_f = run([gr.jacobian(f, x), gr.jacobian(g, x), gr.jacobian(f, g)], {x: at})
    rows = [slope(lambda v, i=i: np.sin(outer @ np.tanh(inner @ v))[i], at) for i in range(3)]
    agree(whole, rows)
    agree(j_f @ j_g, rows)
    differ(j_g @ j_f, rows)
    narrow = gr.jacobian(gr.sum(g, keepdims=True), x)
    assert narrow.shape == (1, 3)


# Examples whose formulas are the point ------------------------------------------------------


def test_sum_of_paths_by_symbols():
    """d = a (a + b): 2 a + b along two paths, a along one."""
    a, b = gr.scalar("a", "float64"), gr.scalar("b", "float64")
    A, B = sympy.symbols("a b")
    d = a * (a + b)
    for derivative in (gr.grad(d, a), gr.diff(d, a), gr.adjoints(d)[a]):
        assert sympy.expand(gr.to_sympy(derivative)) == 2 * A + B
    products = [gr.to_sympy(path.product) for path in gr.paths(d, a)]
    assert sorted(products, key=str) == [A, A + B]
    assert gr.to_sympy(gr.diff(d, b)) == A
    assert B not in gr.to_sympy(gr.diff(d, b)).free_symbols


def test_logistic_regression_by_symbols():
    """dJ/dtheta = (y* - y) x, after simplification."""
    theta, x, t = (gr.scalar(n, "float64") for n in ("theta", "x", "t"))
    y = nn.sigmoid(theta * x)
    likelihood = t * gr.log(y) + (1 - t) * gr.log(1 - y)
    found = gr.to_sympy(gr.grad(likelihood, theta))
    expected = gr.to_sympy((t - y) * x)
    assert sympy.simplify(found - expected) == 0


def test_two_layers_by_symbols():
    """dJ/dalpha = (y* - y) beta z (1 - z) x."""
    alpha, beta, x, t = (gr.scalar(n, "float64") for n in ("alpha", "beta", "x", "t"))
    z = gr.scalar("z", "float64")
    y = nn.sigmoid(beta * z)
    likelihood = t * gr.log(y) + (1 - t) * gr.log(1 - y)
    for derivative in (gr.grad(likelihood, z), gr.diff(likelihood, z)):
        assert sympy.simplify(gr.to_sympy(derivative) - gr.to_sympy((t - y) * beta)) == 0
    hidden = nn.sigmoid(alpha * x)
    local = gr.to_sympy(gr.diff(hidden, alpha))
    assert sympy.simplify(local - gr.to_sympy(hidden * (1 - hidden) * x)) == 0


@pytest.mark.parametrize("loss", ["written out", "from logits"])
def test_cross_entropy_of_a_sigmoid_by_symbols(loss):
    """dE/dz = o - t exactly."""
    z, t = gr.scalar("z", "float64"), gr.scalar("t", "float64")
    o = nn.sigmoid(z)
    if loss == "written out":
        error = -(t * gr.log(o) + (1 - t) * gr.log(1 - o))
    else:
        error = nn.softplus(z) - t * z
    assert sympy.simplify(gr.to_sympy(gr.grad(error, z) - (o - t))) == 0


def test_least_squares_hessian():
    """Gradient X^T (X w - y), Hessian X^T X."""
    rng = np.random.default_rng(1)
    xs, ys, at = rng.normal(size=(6, 3)), rng.normal(size=6), rng.normal(size=3)
    w = gr.vector("w", 3, "float64")
    f = 0.5 * gr.sum(gr.square(constant(xs) @ w - ys))
    gradient, hessian = run([gr.grad(f, w), gr.hessian(f, w)], {w: at})
    np.testing.assert_allclose(gradient, xs.T @ (xs @ at - ys), rtol=1e-12)
    np.testing.assert_allclose(hessian, xs.T @ xs, rtol=1e-12)


def test_repeated_subexpressions_are_computed_once():
    """x = f(w), y = f(x), z = f(y): dz/dw = f'(f(f(w))) f'(f(w)) f'(w) applies f three times
    more when written out; merged, the gradient needs f twice and with z three times."""
    w = gr.scalar("w", "float64")
    z = gr.sin(gr.sin(gr.sin(w)))

    def applied(outputs):
        return [n.op.name for n in topological(outputs)].count("sin")

    textbook = gr.diff(z, w)
    assert applied([textbook]) == 3
    assert applied([z, textbook]) == 6
    assert applied([gr.cse(textbook)]) == 2
    assert applied(gr.cse([z, textbook])) == 3
    assert applied([gr.grad(z, w)]) == 2
    assert applied([z, gr.grad(z, w)]) == 3


def test_number_of_weights():
    """3-4-2 units: 20 weights and 6 biases; 784-500-500-10: 648 010."""
    for sizes, expected in (((3, 4, 2), 26), ((784, 500, 500, 10), 648010)):
        h = gr.tensor("x", ("batch", sizes[0]))
        parameters = []
        for a, b in pairwise(sizes):
            parameters += [gr.matrix(f"W{a}", a, b), gr.vector(f"b{b}", b)]
            h = gr.tanh(h @ parameters[-2] + parameters[-1])
        gradients = gr.grad(gr.sum(h), parameters)
        assert sum(g.size for g in gradients) == expected


# Convolutions from slices (E21 to E23) ------------------------------------------------------

IMAGE = np.array(
    [[int(c) for c in row] for row in ("11100", "01110", "00111", "00110", "01100")]
)
SHARPEN = [[0, -1, 0], [-1, 5, -1], [0, -1, 0]]
EDGE = [[1, 0, -1], [0, 0, 0], [-1, 0, 1]]
CROSS = [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
IDENTITY = [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


def correlate(image, kernel):
    """Valid cross-correlation with a 3 x 3 kernel."""
    rows, columns = (size - 2 for size in image.shape)
    terms = [
        image[i : i + rows, j : j + columns] * kernel[i, j] for i in range(3) for j in range(3)
    ]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        (CROSS, [[4, 3, 4], [2, 4, 3], [2, 3, 4]]),
        (SHARPEN, [[3, 1, 3], [-2, 2, 1], [-2, 2, 3]]),
        (EDGE, [[1, 2, 1], [0, 1, 0], [0, -2, -1]]),
        (IDENTITY, IMAGE[1:-1, 1:-1]),
    ],
    ids=["cross", "sharpen", "edge", "identity"],
)
def test_convolution_of_the_image(kernel, expected):
    image, k = gr.matrix("image", 5, 5, "float64"), gr.matrix("k", 3, 3, "float64")
    out = correlate(image, k)
    values = {image: IMAGE.astype(float), k: np.array(kernel, float)}
    np.testing.assert_array_equal(run([out], values)[0], expected)
    assert gr.count_paths(gr.sum(out), k) == 9
    found = run([gr.grad(gr.sum(out), k)], values)[0]
    patches = [[IMAGE[i : i + 3, j : j + 3].sum() for j in range(3)] for i in range(3)]
    np.testing.assert_array_equal(found, patches)


def test_shared_weights_sum_over_positions():
    """The gradient of a shared kernel is the sum over the positions it is used at."""
    x, k = gr.vector("x", 7, "float64"), gr.vector("k", 4, "float64")
    positions = [gr.sum(x[i : i + 4] * k) for i in range(4)]
    loss = sum((gr.square(p) for p in positions), gr.constant(0.0, "float64"))
    at = {x: np.arange(7.0), k: np.array([1.0, -1.0, 0.5, 2.0])}
    whole, *parts = run([gr.grad(loss, k), *(gr.grad(gr.square(p), k) for p in positions)], at)
    np.testing.assert_allclose(whole, sum(parts))
    assert gr.count_paths(loss, k) == sum(gr.count_paths(gr.square(p), k) for p in positions)
