"""Gradients as a person would write them: texts, values, and finite where naive ones fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

import graphc as gr
from graphc.expr import Expr, topological
from graphc.graph import Graph
from graphc.interpret import evaluate
from graphc.ops import elementwise as ew
from graphc.options import Options
from graphc.pipeline import run_stages
from rewrite.infix import infix


def simplified(outputs: Sequence[Expr]) -> tuple[Expr, ...]:
    """The graph before its operations are spelled out for loops."""
    inputs = tuple(n for n in topological(outputs) if n.op.name == "input")
    snapshots = run_stages(Graph(inputs, tuple(outputs)), Options(verify=True))
    return next(s for s in snapshots if s.stage == "stabilize").graph.roots


def compiled(outputs: Sequence[Expr]) -> tuple[Expr, ...]:
    inputs = tuple(n for n in topological(outputs) if n.op.name == "input")
    return run_stages(Graph(inputs, tuple(outputs)), Options(verify=True))[-1].graph.roots


def text(output: Expr) -> str:
    return infix(simplified([output])[0])


Z = gr.tensor("z", ("n", 10))
T = gr.tensor("t", ("n", 10))
K = gr.tensor("k", ("n",), "int64")
V = gr.tensor("v", ("n",))
Y = gr.tensor("y", ("n",))


def log_softmax(z: Expr) -> Expr:
    return z - gr.logsumexp(z, -1, keepdims=True)


def count(x: Expr) -> Expr:
    return gr.ops.indexing.size_value(x.shape[0], x)


def labels_loss(z: Expr) -> Expr:
    return -gr.mean(gr.take_along_axis(log_softmax(z), gr.expand_dims(K, 1), 1))


# Softmax and cross-entropy --------------------------------------------------------------------

LABEL = "gather(iota(i64[n, 10]), reshape(k; i64[n, 1]))"
HIT = f"cast(equal(iota(i64[n, 10]), {LABEL}); float32)"


def test_cross_entropy_of_labels() -> None:
    assert text(gr.grad(labels_loss(Z), Z)) == f"(softmax(z; axes=1) - {HIT}) / #n"


def test_cross_entropy_of_one_hot_labels() -> None:
    """A label outside 0..9 has no one-hot row, so its gradient is zero: softmax is masked."""
    loss = -gr.sum(gr.one_hot(K, 10) * log_softmax(Z)) / count(Z)
    inside = "cast(logical_and(greater_equal(k, 0), less(k, 10)); float32)"
    hit = "cast(equal(iota(i64[n, 10]), reshape(k; i64[n, 1])); float32)"
    assert text(gr.grad(loss, Z)) == (
        f"(reshape({inside}; f32[n, 1]) * softmax(z; axes=1) - {hit}) / #n"
    )


SPELLINGS: dict[str, Callable[[Expr], Expr]] = {
    "log_softmax": log_softmax,
    "log of softmax": lambda z: gr.log(gr.softmax(z)),
    "log of quotient": lambda z: gr.log(gr.exp(z) / gr.sum(gr.exp(z), -1, keepdims=True)),
    "minus log of sum": lambda z: z - gr.log(gr.sum(gr.exp(z), -1, keepdims=True)),
    "shifted by hand": lambda z: gr.log(gr.softmax(z - gr.max(z, -1, keepdims=True))),
}
CROSS_ENTROPY = "(sum(t; axes=1 keep) * softmax(z; axes=1) - t) / #n"


@pytest.mark.parametrize("name", list(SPELLINGS)[:4])
def test_cross_entropy_of_target_rows(name: str) -> None:
    loss = -gr.mean(gr.sum(T * SPELLINGS[name](Z), -1))
    assert text(gr.grad(loss, Z)) == CROSS_ENTROPY


def test_softmax_by_hand() -> None:
    by_hand = gr.exp(Z) / gr.sum(gr.exp(Z), 1, keepdims=True)
    assert text(by_hand) == "softmax(z; axes=1)"
    assert text(gr.exp(log_softmax(Z))) == "softmax(z; axes=1)"
    assert text(gr.grad(gr.sum(gr.logsumexp(Z, 1)), Z)) == "softmax(z; axes=1)"
    assert text(gr.grad(gr.sum(gr.log(gr.sum(gr.exp(Z), 1))), Z)) == "softmax(z; axes=1)"


# Binary cross-entropy -------------------------------------------------------------------------

SIGMOIDS: dict[str, Callable[[Expr], Expr]] = {
    "sigmoid": gr.sigmoid,
    "1 / (1 + exp(-z))": lambda z: 1 / (1 + gr.exp(-z)),
    "exp(z) / (1 + exp(z))": lambda z: gr.exp(z) / (1 + gr.exp(z)),
}


def binary_cross_entropy(s: Expr, t: Expr) -> Expr:
    return -(t * gr.log(s) + (1 - t) * gr.log(1 - s))


@pytest.mark.parametrize("name", SIGMOIDS)
def test_binary_cross_entropy_by_hand(name: str) -> None:
    loss = binary_cross_entropy(SIGMOIDS[name](V), Y)
    assert text(loss) == "softplus(-v) * y + softplus(v) * (1 - y)"
    assert text(gr.grad(gr.sum(loss), V)) == "sigmoid(v) - y"
    assert text(gr.grad(gr.mean(loss), V)) == "(sigmoid(v) - y) / #n"


def test_binary_cross_entropy_of_logits() -> None:
    loss = ew.softplus(V) - Y * V
    assert text(gr.grad(gr.sum(loss), V)) == "sigmoid(v) - y"
    assert text(gr.grad(gr.mean(loss), V)) == "(sigmoid(v) - y) / #n"


def test_logistic_regression() -> None:
    """J = y* log y + (1 - y*) log(1 - y), y = sigmoid(theta . x): dJ/dtheta = (y* - y) x."""
    theta, x = gr.vector("theta", 3), gr.vector("x", 3)
    target = gr.scalar("target")
    y = 1 / (1 + gr.exp(-gr.sum(theta * x)))
    loss = target * gr.log(y) + (1 - target) * gr.log(1 - y)
    shown = text(gr.grad(loss, theta))
    assert shown == "(target - sigmoid(sum(theta * x; axes=0))) * x"


# Least squares and layers ---------------------------------------------------------------------


def test_least_squares() -> None:
    x, w = gr.tensor("X", ("n", 5)), gr.vector("w", 5)
    loss = 0.5 * gr.sum((x @ w - Y) ** 2)
    assert text(gr.grad(loss, w)) == "contract(X, contract(X, w; ij,j->i) - y; ij,i->j)"


def test_weights_of_layers_are_single_contractions() -> None:
    x = gr.tensor("X", ("n", 5))
    w1, b1 = gr.matrix("W1", 5, 7), gr.vector("b1", 7)
    w2, b2 = gr.matrix("W2", 7, 10), gr.vector("b2", 10)
    hidden = gr.tanh(x @ w1 + b1)
    gradients = gr.grad(labels_loss(hidden @ w2 + b2), [w1, b1, w2, b2])
    of_w1, of_b1, of_w2, of_b2 = simplified(gradients)
    assert [g.op.name for g in (of_w1, of_w2)] == ["contract", "contract"]
    assert "transpose" not in {n.op.name for n in topological([of_w1, of_b1, of_w2, of_b2])}
    assert of_w1.attrs["subscripts"] == of_w2.attrs["subscripts"] == "ij,ik->jk"
    (delta,) = [a for a in of_w1.args if a.op.name == "mul"]
    back = next(a for a in delta.args if a.op.name == "contract")
    assert back.attrs["subscripts"] == "ij,kj->ik"
    contractions = [
        n for n in topological([of_w1, of_b1, of_w2, of_b2]) if n.op.name == "contract"
    ]
    assert len(contractions) == 5  # two forward, two for weights, one for the hidden layer


# Values ---------------------------------------------------------------------------------------


def values(z: np.ndarray, **others: np.ndarray) -> dict[Expr, np.ndarray]:
    return {Z: z, **{{"t": T, "k": K, "v": V, "y": Y}[n]: a for n, a in others.items()}}


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(z / 2))


def test_values_of_cross_entropy() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(6, 10)).astype("float32")
    k = np.array([0, 9, 3, -1, -10, 5])
    (found,) = evaluate(compiled([gr.grad(labels_loss(Z), Z)]), values(z, k=k))
    hit = np.eye(10)[k]
    np.testing.assert_allclose(found, (softmax(z) - hit) / 6, rtol=0, atol=3e-8)


def test_one_hot_of_labels_outside() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(4, 10)).astype("float32")
    k = np.array([-1, 10, 3, 0])
    gradient = gr.grad(-gr.sum(gr.one_hot(K, 10) * log_softmax(Z)), Z)
    (naive,) = evaluate([gradient], values(z, k=k))
    (found,) = evaluate(compiled([gradient]), values(z, k=k))
    np.testing.assert_allclose(found, naive, rtol=0, atol=1e-7)
    assert (found[:2] == 0).all()


LARGE = np.array([0.0, 1.0, -1.0, 30.0, -30.0, 100.0, -100.0, 1e4, -1e4], "float32")


@pytest.mark.parametrize("name", SIGMOIDS)
@pytest.mark.parametrize("target", [0.0, 0.25, 1.0])
def test_naive_binary_cross_entropy_is_finite(name: str, target: float) -> None:
    loss = binary_cross_entropy(SIGMOIDS[name](V), Y)
    outputs = compiled([loss, gr.grad(gr.sum(loss), V)])
    y = np.full_like(LARGE, target)
    found, gradient = evaluate(outputs, {V: LARGE, Y: y})
    wide = LARGE.astype("float64")
    expected = y * np.logaddexp(0, -wide) + (1 - y) * np.logaddexp(0, wide)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=2e-45)
    np.testing.assert_allclose(gradient, sigmoid(wide) - y, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", SPELLINGS)
def test_naive_cross_entropy_is_finite(name: str) -> None:
    z = np.stack([np.roll(np.resize(LARGE, 10), i) for i in range(4)])
    t = np.eye(10, dtype="float32")[[0, 3, 8, 9]]
    loss = -gr.sum(T * SPELLINGS[name](Z))
    found, gradient = evaluate(compiled([loss, gr.grad(loss, Z)]), values(z, t=t))
    wide = z.astype("float64")
    top = wide.max(-1, keepdims=True)
    logs = wide - top - np.log(np.exp(wide - top).sum(-1, keepdims=True))
    np.testing.assert_allclose(found, -(t * logs).sum(), rtol=1e-6)
    np.testing.assert_allclose(gradient, softmax(wide) - t, rtol=1e-6, atol=1e-7)


NAIVE: dict[str, tuple[Callable[[Expr], Expr], Callable[[np.ndarray], np.ndarray]]] = {
    "log(1 / (1 + exp(-x)))": (
        lambda x: gr.log(1 / (1 + gr.exp(-x))), lambda x: sigmoid(-x)
    ),
    "log(1 + exp(x))": (lambda x: gr.log(1 + gr.exp(x)), sigmoid),
    "log1p(exp(x))": (lambda x: gr.log1p(gr.exp(x)), sigmoid),
    "log(exp(x) + exp(-x))": (lambda x: gr.log(gr.exp(x) + gr.exp(-x)), np.tanh),
    "log(1 - sigmoid(x))": (lambda x: gr.log(1 - gr.sigmoid(x)), lambda x: -sigmoid(x)),
    "log(exp(x))": (lambda x: gr.log(gr.exp(x)), np.ones_like),
    "x / (1 + exp(-x))": (
        lambda x: x / (1 + gr.exp(-x)), lambda x: sigmoid(x) + x * sigmoid(x) * sigmoid(-x)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NAIVE)
def test_naive_functions_have_finite_gradients(name: str) -> None:
    function, derivative = NAIVE[name]
    total = gr.sum(function(V))
    found, gradient = evaluate(compiled([function(V), gr.grad(total, V)]), {V: LARGE})
    assert np.isfinite(found).all()
    wide = LARGE.astype("float64")
    np.testing.assert_allclose(gradient, derivative(wide), rtol=2e-6, atol=1e-7)


def test_cross_entropy_of_a_sigmoid_has_the_difference_as_its_gradient() -> None:
    z, t = gr.tensor("z", ("n",)), gr.tensor("t", ("n",))
    loss = gr.nn.binary_cross_entropy(gr.sigmoid(z), t, reduction="sum")
    f = gr.compile([z, t], gr.grad(loss, z))
    assert gr.formula(f, stage="stabilize") == "sigmoid(z) - t"


# No rows --------------------------------------------------------------------------------------

MEANS = {
    "cross-entropy": lambda z: gr.nn.cross_entropy(z, K),
    "squares": lambda z: gr.mean((z - T) ** 2),
    "sigmoid": lambda z: gr.mean(gr.sigmoid(z)),
    "weighted": lambda z: 3 * gr.mean(gr.tanh(z) * T) / 7,
}


@pytest.mark.parametrize("name", MEANS)
def test_a_mean_over_no_rows_moves_no_weights(name: str) -> None:
    """The sum of nothing is 0, also if what is summed would be divided by 0."""
    x, w, b = gr.tensor("x", ("n", 4)), gr.tensor("w", (4, 10)), gr.tensor("b", (10,))
    loss = MEANS[name](x @ w + b)
    roots = compiled(gr.grad(loss, [w, b]))
    values: dict[Expr, np.ndarray] = {
        x: np.zeros((0, 4), np.float32),
        w: np.ones((4, 10), np.float32),
        b: np.ones(10, np.float32),
        T: np.zeros((0, 10), np.float32),
        K: np.zeros(0, np.int64),
    }
    leaves = {n for n in topological(roots) if n.op.name == "input"}
    for found in evaluate(roots, {k: v for k, v in values.items() if k in leaves}):
        np.testing.assert_array_equal(found, 0)


# In range -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scaled", "by"),
    [(lambda x, c: x * c, 1e200), (lambda x, c: c * x, 1e200), (lambda x, c: x / c, 1e-200)],
)
def test_factors_that_keep_terms_in_range_stay_where_they_are(
    scaled: Callable[[Expr, Expr], Expr], by: float
) -> None:
    """x y alone would be 0."""
    x, y = gr.tensor("x", (4, 8), "float64"), gr.tensor("y", (4, 8), "float64")
    c = gr.tensor("c", (4, 1), "float64")
    small = np.full((4, 8), 1e-200)
    values = {x: small, y: small, c: np.full((4, 1), by)}
    (found,) = evaluate(compiled([gr.sum(scaled(x, c) * y, axis=1)]), values)
    np.testing.assert_allclose(found, 8e-200)
