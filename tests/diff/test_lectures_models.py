"""Models, normalization and training steps of the lectures, and the rest of their mistakes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import graphc as gr
from graphc import nn
from graphc.expr import topological
from graphc.interpret import evaluate


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def run(outputs, values):
    """Values of expressions as floats or arrays."""
    return [v[()] for v in evaluate(outputs, values)]


def trained(loss, parameters, rate, steps):
    """Gradient descent in one compiled function."""
    gradients = gr.grad(loss, parameters)
    updates = {p: p - rate * g for p, g in zip(parameters, gradients, strict=True)}
    step = gr.compile([], loss, updates=updates)
    return [float(step()) for _ in range(steps)]


# LeNet-5 ------------------------------------------------------------------------------------


def windows(x, size, stride=1):
    """``(channels, rows, columns, size * size)``: the neighbourhoods of each place."""
    rows, columns = ((n - size) // stride + 1 for n in x.shape[1:])
    parts = [
        x[
            :,
            i : i + stride * (rows - 1) + 1 : stride,
            j : j + stride * (columns - 1) + 1 : stride,
        ]
        for i in range(size)
        for j in range(size)
    ]
    return gr.stack(parts, axis=-1)


class LeNet:
    """Convolutions of 5 x 5, pools of 2 x 2, dense layers; ``original`` has trained pools, a
    sparse second convolution, and an output of distances to fixed codes."""

    #: Maps of the first pool that each map of the second convolution reads.
    READS = (
        *((i, (i + 1) % 6, (i + 2) % 6) for i in range(6)),
        *((i, (i + 1) % 6, (i + 2) % 6, (i + 3) % 6) for i in range(6)),
        *((i, (i + 1) % 6, (i + 3) % 6, (i + 4) % 6) for i in range(3)),
        tuple(range(6)),
    )

    def __init__(self, original, rng):
        self.parameters, self.rng = [], rng
        image = gr.tensor("image", (1, 32, 32), "float64")
        h = self.pool(self.convolve(image, [(0,)] * 6), original)
        reads = self.READS if original else [tuple(range(6))] * 16
        h = self.pool(self.convolve(h, reads), original)
        h = self.dense(gr.reshape(h, (400,)), 120)
        h = self.dense(h, 84)
        if original:
            codes = rng.choice([-1.0, 1.0], (10, 84))
            out = gr.sum(gr.square(codes - h), axis=1)
        else:
            out = self.dense(h, 10)
        self.image, self.loss = image, gr.sum(out)

    def new(self, *shape):
        value = self.rng.normal(0, 0.1, shape)
        self.parameters.append(gr.parameter(f"p{len(self.parameters)}", value))
        return self.parameters[-1]

    def convolve(self, x, reads):
        patches, maps = windows(x, 5), []
        for read in reads:
            chosen = patches[list(read)]
            kernel, bias = self.new(len(read), 25), self.new()
            maps.append(gr.tanh(gr.einsum("crwk,ck->rw", chosen, kernel) + bias))
        return gr.stack(maps)

    def pool(self, x, is_trained):
        mean = gr.mean(windows(x, 2, stride=2), axis=-1)
        if not is_trained:
            return mean
        scale, bias = self.new(x.shape[0], 1, 1), self.new(x.shape[0], 1, 1)
        return gr.tanh(mean * scale + bias)

    def dense(self, h, units):
        return gr.tanh(h @ self.new(h.shape[0], units) + self.new(units))


@pytest.mark.parametrize(("original", "weights"), [(True, 60_000), (False, 61_706)])
def test_lenet_5_has_about_60_000_weights(original, weights, rng):
    net = LeNet(original, rng)
    gradients = gr.grad(net.loss, net.parameters)
    assert sum(g.size for g in gradients) == weights
    image = rng.normal(size=(1, 32, 32))
    first, last = gradients[0], gradients[-1]
    value = lambda: float(run([net.loss], {net.image: image})[0])  # noqa: E731
    for parameter, gradient in ((net.parameters[0], first), (net.parameters[-1], last)):
        found = np.ravel(run([gradient], {net.image: image})[0])[0]
        kept, h = parameter.value.copy(), 1e-6
        ends = []
        for sign in (1, -1):
            moved = kept.copy()
            moved.ravel()[0] += sign * h
            parameter.value = moved
            ends.append(value())
        parameter.value = kept
        np.testing.assert_allclose(found, (ends[0] - ends[1]) / (2 * h), rtol=1e-5, atol=1e-8)


# A recurrent network unfolded ---------------------------------------------------------------


def test_shared_weights_of_an_unfolded_network_sum_over_time(rng):
    """s(t) = f(s(t-1); theta): the gradient by theta is the sum over the steps of the gradients
    by a theta of each step."""
    xs = [gr.vector(f"x{t}", 3, "float64") for t in range(4)]
    W, U = gr.matrix("W", 5, 5, "float64"), gr.matrix("U", 3, 5, "float64")
    own = [gr.matrix(f"W{t}", 5, 5, "float64") for t in range(4)]

    def unfold(weights):
        s = gr.constant(np.full(5, 0.1))
        for x, w in zip(xs, weights, strict=True):
            s = gr.tanh(s @ w + x @ U)
        return gr.sum(gr.square(s))

    values = {x: rng.normal(size=3) for x in xs}
    values[U], values[W] = rng.normal(size=(3, 5)), rng.normal(size=(5, 5))
    (shared,) = run([gr.grad(unfold([W] * 4), W)], values)
    apart = run(gr.grad(unfold(own), own), values | dict.fromkeys(own, values[W]))
    np.testing.assert_allclose(shared, sum(apart), rtol=1e-12)
    assert all(np.abs(part).max() > 1e-6 for part in apart)


def test_an_unfolded_network_is_composition():
    """s(3) = f(f(s(1)))"""
    s, theta = gr.scalar("s", "float64"), gr.scalar("theta", "float64")
    f = lambda state: gr.tanh(theta * state)  # noqa: E731
    values = {s: 0.7, theta: 1.3}
    found = run([f(f(s)), gr.grad(f(f(s)), theta)], values)
    first = np.tanh(1.3 * 0.7)
    second = np.tanh(1.3 * first)
    slope = (1 - second**2) * (first + 1.3 * (1 - first**2) * 0.7)
    np.testing.assert_allclose(found, [second, slope], rtol=1e-14)


# A linear autoencoder -----------------------------------------------------------------------


def test_a_linear_autoencoder_finds_the_principal_subspace(rng):
    data = rng.normal(size=(200, 5)) * [1.4, 1.0, 0.2, 0.2, 0.1]
    data -= data.mean(0)
    encode = gr.parameter("encode", rng.normal(0, 0.3, (5, 2)))
    decode = gr.parameter("decode", rng.normal(0, 0.3, (2, 5)))
    X = gr.constant(data)
    loss = gr.mean(gr.sum(gr.square(X @ encode @ decode - X), axis=1))
    errors = trained(loss, [encode, decode], 0.1, 10_000)
    _, s, vt = np.linalg.svd(data, full_matrices=False)
    best = (s[2:] ** 2).sum() / len(data)
    np.testing.assert_allclose(errors[-1], best, rtol=1e-4)
    projection = encode.value @ decode.value
    np.testing.assert_allclose(projection, vt[:2].T @ vt[:2], atol=2e-3)


# Batch normalization ------------------------------------------------------------------------


def normalized(H, gamma, beta, delta=1e-8):
    mean = gr.mean(H, axis=0)
    variance = gr.mean(gr.square(H - mean), axis=0)
    return gamma * ((H - mean) / gr.sqrt(variance + delta)) + beta, mean, variance


@pytest.fixture
def batch(rng):
    return rng.normal(3.0, 2.0, (8, 4))


def test_batch_normalization_in_training(batch, rng):
    """Mean 0 and deviation 1 before gamma and beta; gradients flow through mean and deviation:
    moving or stretching a whole column changes nothing."""
    H = gr.matrix("H", 8, 4, "float64")
    gamma, beta = gr.vector("gamma", 4, "float64"), gr.vector("beta", 4, "float64")
    out, *_ = normalized(H, gamma, beta)
    weights = rng.normal(size=(8, 4))
    dH, dgamma, dbeta = gr.grad(gr.sum(out * weights), [H, gamma, beta])
    values = {H: batch, gamma: np.ones(4), beta: np.zeros(4)}
    y, dH, dgamma, dbeta = run([out, dH, dgamma, dbeta], values)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(0), 1, rtol=1e-7)
    np.testing.assert_allclose(dgamma, (weights * y).sum(0), rtol=1e-12)
    np.testing.assert_allclose(dbeta, weights.sum(0), rtol=1e-12)
    np.testing.assert_allclose(dH.sum(0), 0, atol=1e-12)
    np.testing.assert_allclose((dH * (batch - batch.mean(0))).sum(0), 0, atol=1e-6)


def test_row_14_mean_and_deviation_are_not_learnt(batch, rng):
    """Held constant on the way back, as learnt numbers would be, they give another gradient."""
    H = gr.matrix("H", 8, 4, "float64")
    _, mean, variance = normalized(H, 1.0, 0.0)
    held = (H - gr.stop_gradient(mean)) / gr.sqrt(gr.stop_gradient(variance) + 1e-8)
    out, *_ = normalized(H, 1.0, 0.0)
    weights = rng.normal(size=(8, 4))
    wrong, right = (gr.grad(gr.sum(o * weights), H) for o in (held, out))
    wrong, right = run([wrong, right], {H: batch})
    assert np.abs(wrong.sum(0)).max() > 0.01
    np.testing.assert_allclose(right.sum(0), 0, atol=1e-12)


def test_batch_normalization_of_one_example_by_running_statistics(batch):
    """Running averages are state that training steps update; one example can be evaluated."""
    H, one = gr.matrix("H", "n", 4, "float64"), gr.vector("one", 4, "float64")
    running = {
        name: gr.parameter(name, start, trainable=False)
        for name, start in (("mean", np.zeros(4)), ("variance", np.ones(4)))
    }
    out, mean, variance = normalized(H, 2.0, 1.0)
    observe = gr.compile(
        H,
        out,
        updates={
            running["mean"]: 0.9 * running["mean"] + 0.1 * mean,
            running["variance"]: 0.9 * running["variance"] + 0.1 * variance,
        },
    )
    expected_mean, expected_variance = np.zeros(4), np.ones(4)
    for _ in range(3):
        observe(batch)
        expected_mean = 0.9 * expected_mean + 0.1 * batch.mean(0)
        expected_variance = 0.9 * expected_variance + 0.1 * batch.var(0)
    spread = gr.sqrt(running["variance"] + 1e-8)
    apply = gr.compile(one, 2.0 * (one - running["mean"]) / spread + 1.0)
    expected = 2 * (batch[0] - expected_mean) / np.sqrt(expected_variance + 1e-8) + 1
    np.testing.assert_allclose(apply(batch[0]), expected, rtol=1e-12)


# Whitening ----------------------------------------------------------------------------------


def test_row_10_whitening(rng):
    """y = W x has covariance W M W' = I: W = M^(-1/2), L' with L L' = M^-1, or eigenvectors
    over roots of eigenvalues. The slide asks W W' = M^-1, takes M^-1, divides by those."""
    root = rng.normal(size=(4, 4))
    M = root @ root.T + 0.5 * np.eye(4)
    values, vectors = np.linalg.eigh(M)
    W = gr.matrix("W", 4, 4, "float64")
    covariance = gr.compile(W, W @ gr.constant(M) @ W.T)
    mahalanobis = vectors @ np.diag(values**-0.5) @ vectors.T
    cholesky = np.linalg.cholesky(np.linalg.inv(M))
    principal = np.diag(values**-0.5) @ vectors.T
    for right in (mahalanobis, cholesky.T, principal):
        np.testing.assert_allclose(covariance(right), np.eye(4), atol=1e-10)
        np.testing.assert_allclose(right.T @ right, np.linalg.inv(M), atol=1e-10)
    np.testing.assert_allclose(cholesky @ cholesky.T, np.linalg.inv(M), atol=1e-12)
    for wrong in (cholesky, np.linalg.inv(M), np.diag(1 / values) @ vectors.T):
        assert np.abs(covariance(wrong) - np.eye(4)).max() > 0.05


# Symmetries, saddles, canyons ---------------------------------------------------------------


def test_swapping_hidden_units_changes_nothing(rng):
    x = gr.vector("x", 3, "float64")
    W, v = gr.matrix("W", 3, 5, "float64"), gr.vector("v", 5, "float64")
    out = gr.tanh(x @ W) @ v
    at = {x: rng.normal(size=3), W: rng.normal(size=(3, 5)), v: rng.normal(size=5)}
    order = [3, 1, 0, 4, 2]
    swapped = {x: at[x], W: at[W][:, order], v: at[v][order]}
    values = run([out, gr.grad(out, W)], at)
    again = run([out, gr.grad(out, W)], swapped)
    np.testing.assert_allclose(again[0], values[0], rtol=1e-14)
    np.testing.assert_allclose(again[1], values[1][:, order], rtol=1e-14)


def test_a_saddle_holds_gradient_descent():
    """x^2 - y^2: curvatures of both signs; started on y = 0, descent ends at the saddle."""
    v = gr.vector("v", 2, "float64")
    f = v[0] * v[0] - v[1] * v[1]
    (hessian,) = run([gr.hessian(f, v)], {v: np.array([0.3, 0.0])})
    np.testing.assert_array_equal(np.linalg.eigvalsh(hessian), [-2.0, 2.0])
    for start, held in (([1.0, 0.0], True), ([1.0, 1e-6], False)):
        p = gr.parameter("p", np.array(start))
        trained(p[0] * p[0] - p[1] * p[1], [p], 0.1, 100)
        assert abs(p.value[0]) < 1e-8
        assert bool(p.value[1] == 0) is held
        assert held or abs(p.value[1]) > 1


def test_momentum_crosses_a_canyon_in_fewer_steps():
    scale = gr.constant(np.array([1.0, 100.0]))

    def steps(momentum):
        w = gr.parameter("w", np.array([1.0, 1.0]))
        velocity = gr.parameter("velocity", np.zeros(2), trainable=False)
        loss = 0.5 * gr.sum(scale * gr.square(w))
        change = momentum * velocity - 0.01 * gr.grad(loss, w)
        step = gr.compile([], loss, updates={w: w + change, velocity: change})
        return next(i for i in range(5000) if step() < 1e-8)

    assert steps(0.8) < steps(0.0) / 3


# Optimizers: three steps on w^2 from 1 with rate 0.1 ------------------------------------------


def three_steps(rule, *state):
    """w after each of three steps; ``rule(w, g, t, *state)`` gives its and the state's next."""
    w = gr.parameter("w", np.array(1.0))
    t = gr.parameter("t", np.array(1.0), trainable=False)
    held = [gr.parameter(f"s{i}", np.array(s), trainable=False) for i, s in enumerate(state)]
    following = rule(w, gr.grad(w * w, w), t, *held)
    updates = dict(zip([w, *held], following, strict=True))
    step = gr.compile([], None, updates={**updates, t: t + 1})
    found = []
    for _ in range(3):
        step()
        found.append(float(w.value))
    return found


def adam(w, g, t, s, r, corrected=True):
    s, r = 0.9 * s + 0.1 * g, 0.999 * r + 0.001 * g * g
    first, second = (1 - 0.9**t, 1 - 0.999**t) if corrected else (1 - s**t, 1 - r**t)
    return w - 0.1 * (s / first) / (gr.sqrt(r / second) + 1e-8), s, r


STEPS = {
    "descent": (lambda w, g, t: (w - 0.1 * g,), (), [0.8, 0.64, 0.512]),
    "velocity": (
        lambda w, g, t, v: (w + 0.9 * v - 0.1 * g, 0.9 * v - 0.1 * g), (0.0,),
        [0.8, 0.46, 0.062],
    ),
    "average": (
        lambda w, g, t, s: (w - 0.1 * (0.9 * s + 0.1 * g), 0.9 * s + 0.1 * g), (0.0,),
        [0.98, 0.9424, 0.889712],
    ),
    "adagrad": (
        lambda w, g, t, r: (w - 0.1 * g / (1e-7 + gr.sqrt(r + g * g)), r + g * g), (0.0,),
        [0.900000, 0.833104, 0.780456],
    ),
    "rmsprop": (
        lambda w, g, t, r: (
            w - 0.1 * g / gr.sqrt(1e-6 + 0.9 * r + 0.1 * g * g), 0.9 * r + 0.1 * g * g
        ), (0.0,),
        [0.683773, 0.498871, 0.369181],
    ),
    "adam": (adam, (0.0, 0.0), [0.900000, 0.800412, 0.701586]),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_three_steps_of_an_optimizer(name):
    rule, state, expected = STEPS[name]
    np.testing.assert_allclose(three_steps(rule, *state), expected, atol=1e-6)


def test_row_15_corrections_of_adam():
    """They divide by 1 - rho^t; the text has 1 - s^t, powers of the averages themselves."""
    wrong = three_steps(lambda *given: adam(*given, corrected=False), 0.0, 0.0)
    assert abs(wrong[0] - 0.9) > 0.05


def test_row_13_inverse_decay():
    """eta / (t + 1); the slide divides by the root of t + 1."""
    rule = lambda w, g, t, rate: (w, 0.1 / (t + 1))  # noqa: E731
    w = gr.parameter("w", np.array(1.0))
    t, rate = gr.parameter("t", np.array(0.0)), gr.parameter("rate", np.array(0.0))
    step = gr.compile([], rule(w, None, t, rate)[1], updates={t: t + 1})
    rates = [float(step()) for _ in range(4)]
    np.testing.assert_allclose(rates, [0.1, 0.05, 0.1 / 3, 0.025], rtol=1e-14)
    slide = 0.1 / np.sqrt(np.arange(4) + 1)
    assert np.abs(slide[1:] - rates[1:]).min() > 0.02
    assert (
        sum(1 / (i + 1) ** 2 for i in range(10_000)) < 1.65
    )  # and the sum of squares is finite


# The rest of the register -------------------------------------------------------------------


def test_row_11_binary_cross_entropy_of_a_softmax():
    """-sum c log p gives p - c; the slide's binary form applied to softmax does not."""
    z = gr.vector("z", 3, "float64")
    c = np.array([0.0, 0.0, 1.0])
    p = nn.softmax(z)
    slide = gr.sum(nn.binary_cross_entropy(p, c, reduction="none"))
    found = run(
        [gr.grad(loss, z) for loss in (nn.cross_entropy(z, c), slide)], {z: [1.0, 2, 3]}
    )
    np.testing.assert_allclose(found[0], [0.0900, 0.2447, -0.3348], atol=5e-5)
    np.testing.assert_allclose(found[1], [0.1509, 0.4652, -0.6161], atol=5e-5)


def test_row_12_variance_of_first_weights(rng):
    """randn * sqrt(2 / n) keeps the second moment from layer to layer of rectified units; the
    slide's randn / sqrt(2 n) leaves a quarter of it at each."""
    n, layers = 400, 6
    x = gr.vector("x", n, "float64")
    weights = [gr.matrix(f"W{i}", n, n, "float64") for i in range(layers)]
    h, moments = x, []
    for W in weights:
        h = nn.relu(h @ W)
        moments.append(gr.mean(gr.square(h)))
    noise = [rng.normal(size=(n, n)) for _ in weights]
    start = rng.normal(size=n)

    def growth(scale):
        drawn = {W: scale * z for W, z in zip(weights, noise, strict=True)}
        found = run(moments, {x: start, **drawn})
        return (found[-1] / found[0]) ** (1 / (layers - 1))

    np.testing.assert_allclose(growth(np.sqrt(2 / n)), 1.0, atol=0.1)
    np.testing.assert_allclose(growth(1 / np.sqrt(2 * n)), 0.25, atol=0.03)


def test_row_17_a_sigmoid_does_not_reach_a_negative_target():
    """Regression needs a linear output: a sigmoid stays above 0, -0.3 is out of its reach."""
    errors = {}
    for name, output in (("sigmoid", nn.sigmoid), ("linear", gr.positive)):
        w = gr.parameter("w", np.array(0.1))
        errors[name] = trained(0.5 * gr.square(output(w * 1.0) + 0.3), [w], 0.5, 400)[-1]
    assert errors["linear"] < 1e-20
    assert errors["sigmoid"] > 0.5 * 0.3**2


def test_row_18_the_way_back_takes_twice_the_products():
    """Backward is of the order of forward, but two products for each: by weights and by what
    comes from below; only the first layer needs no gradient of its input."""
    sizes = (8, 16, 16, 4)
    h = gr.matrix("x", 32, sizes[0], "float64")
    weights = [gr.matrix(f"W{i}", a, b, "float64") for i, (a, b) in enumerate(pairwise(sizes))]
    for W in weights:
        h = gr.tanh(h @ W)
    loss = gr.sum(h)

    def products(outputs):
        leaves = [n for n in topological(outputs) if n.op.name == "input"]
        compiled = gr.compile(leaves, outputs)
        nodes = compiled.snapshots[-1].graph.nodes()
        return sum(n.op.name == "contract" for n in nodes)

    assert products([loss]) == 3
    assert products([loss, *gr.grad(loss, weights)]) == 3 + 5
