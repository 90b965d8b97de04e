"""Updates of parameters: all from the old values, all or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import graphc as gr
from graphc.ops.leaves import Parameter

Array = np.ndarray[Any, Any]
BACKENDS = ["llvm", "interpret"]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def parameters(*values: Any) -> list[Parameter]:
    return [gr.parameter(f"p{i}", np.asarray(v, np.float64)) for i, v in enumerate(values)]


# Labels -------------------------------------------------------------------------------------

Z, LABELS = gr.tensor("z", ("n", 4), "float64"), gr.tensor("t", ("n",), "int64")
#: What is computed of a loss, beside its value.
OF_A_LOSS: dict[str, Callable[[gr.Expr], Any]] = {
    "gradient": lambda loss: gr.grad(loss, Z),
    "weighed gradient": lambda loss: (Z * gr.grad(loss, Z)).sum(),
    "gradient's square": lambda loss: gr.square(gr.grad(loss, Z)).sum(0),
}
LOSSES: dict[str, Callable[[gr.Expr, gr.Expr], gr.Expr]] = {
    "cross entropy": gr.nn.cross_entropy,
    "smoothed": lambda z, t: gr.nn.cross_entropy(z, t, label_smoothing=0.1),
    "from probabilities": lambda z, t: gr.nn.categorical_cross_entropy(gr.softmax(z), t),
    "log likelihood": lambda z, t: gr.nn.negative_log_likelihood(gr.nn.log_softmax(z), t),
    "by hand": lambda z, t: gr.sum(gr.square(gr.take_along_axis(z, t[:, None], 1, wrap=False))),
}


@pytest.mark.parametrize("bad", [4, -1, 2**40])
@pytest.mark.parametrize("what", OF_A_LOSS)
@pytest.mark.parametrize("name", LOSSES)
def test_a_bad_label_is_an_error_of_every_derivative(
    name: str, what: str, bad: int, backend: str
) -> None:
    loss = LOSSES[name](Z, LABELS)
    f = gr.compile([Z, LABELS], OF_A_LOSS[what](loss), backend=backend)
    values = np.arange(20.0).reshape(5, 4)
    assert np.isfinite(f(values, [0, 1, 2, 3, 0])).all()
    with pytest.raises(gr.errors.IndexOutOfRangeError) as caught:
        f(values, [0, 1, 2, 3, bad])
    assert f"the index {bad} is out of range for an axis of size 4" in str(caught.value)
    assert "iota" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_a_bad_label_leaves_parameters_alone(dtype: str, backend: str) -> None:
    x, t = gr.tensor("x", ("n", 3)), gr.tensor("t", ("n",), dtype)
    w = gr.parameter("w", np.zeros((3, 4), np.float32))
    slope = gr.grad(gr.nn.cross_entropy(x @ w, t), w)
    step = gr.compile([x, t], None, {w: w - slope}, backend=backend)
    data = np.eye(3, dtype=np.float32)
    with pytest.raises(gr.errors.IndexOutOfRangeError):
        step(data, np.array([0, 4, 1], dtype))
    assert not w.value.any()
    step(data, np.array([0, 3, 1], dtype))
    assert w.value[0, 0] > 0
    assert w.value[1, 3] > 0


# Simultaneous -------------------------------------------------------------------------------

A = np.arange(12.0).reshape(3, 4)
SQUARE = np.arange(25.0).reshape(5, 5) / 7
LONG = np.linspace(0.5, 1, 40_000)

Next = Callable[..., Sequence[Any]]

#: Start values, and the next value of each from the old ones, in NumPy's words.
SIMULTANEOUS: dict[str, tuple[list[Any], Next]] = {
    "swap": ([A, -A], lambda xp, p, q: (q, p)),
    "rotation of three": ([A, -A, 2 * A], lambda xp, p, q, r: (q, r, p)),
    "of each other": ([A, A + 1], lambda xp, p, q: (2 * q, p * 3)),
    "a kernel reads what it wrote": ([A, -A, 0 * A], lambda xp, p, q, r: (2 * q, p * 3, q + p)),
    "old value after its update": ([A, -A], lambda xp, p, q: (2 * q, p + q)),
    "chain of next values": (
        [A, A + 1, A + 2],
        lambda xp, p, q, r: (p * 0.5 + 1, q + (p * 0.5 + 1), r * (q + (p * 0.5 + 1)) + p),
    ),
    "one value for two": ([A, -A], lambda xp, p, q: (p + q, p + q)),
    "itself": ([A, -A], lambda xp, p, q: (p, p)),
    "a constant": ([A, A], lambda xp, p, q: (np.full((3, 4), 7.0), p)),
    "rank 0": ([2.0, 3.0], lambda xp, p, q: (p * q, p - q)),
    "one element": ([[2.0], [[3.0]]], lambda xp, p, q: (p * q[0], q + p)),
    "empty": ([np.zeros((0, 3))], lambda xp, p: (p + 1,)),
    "long": ([LONG, LONG[::-1]], lambda xp, p, q: (p + q * q, q - p)),
    "transposed": ([SQUARE], lambda xp, p: (xp.transpose(p),)),
    "transposed in a sum": ([SQUARE], lambda xp, p: (p * 2 + xp.transpose(p + 1),)),
    "symmetric part": ([SQUARE], lambda xp, p: ((p + xp.transpose(p)) / 2,)),
    "reversed": ([LONG], lambda xp, p: (p[::-1],)),
    "shifted": ([LONG], lambda xp, p: (xp.concatenate([p[1:], p[:1]]),)),
    "shifted sum": ([LONG], lambda xp, p: (p + xp.concatenate([p[1:], p[:1]]),)),
    "gathered": ([A], lambda xp, p: (xp.take(p, np.array([2, 0, 1]), 0),)),
    "gathered along": ([A], lambda xp, p: (p + xp.take(p, np.array([1, 2, 3, 0]), 1),)),
    "product with itself": ([SQUARE], lambda xp, p: (xp.matmul(p, p) * 0.01,)),
    "product with itself, fused": ([SQUARE], lambda xp, p: (p - 0.01 * xp.matmul(p, p),)),
    "products of each other": (
        [SQUARE, SQUARE.T + 1],
        lambda xp, p, q: (p - 0.01 * xp.matmul(q, p), q - 0.01 * xp.matmul(p, q)),
    ),
    "products of the other": (
        [SQUARE, SQUARE.T + 1],
        lambda xp, p, q: (p - 0.01 * xp.matmul(q, q), q - 0.01 * xp.matmul(p, p)),
    ),
    "product into two": (
        [SQUARE, SQUARE.T, SQUARE + 2],
        lambda xp, p, q, r: (p - xp.matmul(r, r), q * 2 - xp.matmul(r, r), r + p),
    ),
    "row sums": ([SQUARE], lambda xp, p: (p / xp.sum(p, axis=1, keepdims=True),)),
    "whole sum": ([A, 0.0], lambda xp, p, s: (p / (1 + xp.sum(p)), xp.sum(p))),
    "running sum": ([LONG], lambda xp, p: (xp.cumsum(p) * 0.1,)),
    "broadcast": ([A, A[0], 2.0], lambda xp, p, q, s: (p * q + s, q * s, s + 1)),
}  # fmt: skip


@pytest.mark.parametrize("skip", [(), ("fuse",), ("simplify", "fold", "cse")], ids=str)
@pytest.mark.parametrize("case", SIMULTANEOUS)
def test_next_values_are_of_the_old_ones(case: str, skip: tuple[str, ...]) -> None:
    start, next_values = SIMULTANEOUS[case]
    leaves = parameters(*start)
    updates = dict(zip(leaves, map(gr.constant, next_values(gr, *leaves)), strict=True))
    step = gr.compile([], None, updates, skip=skip)
    expected: Sequence[Any] = [p.value.copy() for p in leaves]
    for _ in range(3):
        step()
        expected = next_values(np, *expected)
        for p, e in zip(leaves, expected, strict=True):
            np.testing.assert_allclose(p.value, e, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("case", SIMULTANEOUS)
def test_outputs_are_of_the_old_values(case: str) -> None:
    start, next_values = SIMULTANEOUS[case]
    leaves = parameters(*start)
    made = [gr.constant(v) for v in next_values(gr, *leaves)]
    outputs = [*(gr.sum(p) for p in leaves), *leaves, *made]
    step = gr.compile([], outputs, dict(zip(leaves, made, strict=True)))
    old = [p.value.copy() for p in leaves]
    found = step()
    expected = [*map(np.sum, old), *old, *next_values(np, *old)]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13)
    for p, result in zip(leaves, found[2 * len(leaves) :], strict=True):
        assert p.value.tobytes() == np.asarray(result).tobytes()


def random_updates(
    leaves: Sequence[Parameter], rng: np.random.Generator
) -> tuple[list[gr.Expr], dict[Parameter, gr.Expr]]:
    """Outputs and next values that share terms of one another's operands."""

    def term() -> gr.Expr:
        a, b = (leaves[k] for k in rng.integers(len(leaves), size=2))
        return [a, -a, a * 2, a[::-1], a + b, a - gr.mean(a)][rng.integers(6)]

    terms = [term() for _ in range(3)]
    updates: dict[Parameter, gr.Expr] = {}
    for p in leaves:
        value = term() * 0.5 + terms[rng.integers(len(terms))]
        updates[p] = value * p if rng.random() < 0.4 else value
        terms.append(updates[p])
    return [terms[k] for k in rng.integers(len(terms), size=2)], updates


@pytest.mark.parametrize("seed", range(20))
def test_random_next_values(seed: int) -> None:
    rng = np.random.default_rng(seed)
    start = rng.normal(size=(rng.integers(2, 6), 3, 4))
    leaves = parameters(*start)
    outputs, updates = random_updates(leaves, rng)
    found = []
    for backend in BACKENDS:
        for p, value in zip(leaves, start, strict=True):
            p.value = value
        results = gr.compile([], outputs, updates, backend=backend)()
        found.append([*results, *(p.value.copy() for p in leaves)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_update_without_a_read() -> None:
    (p,) = parameters(A)
    x = gr.tensor("x", (3, 4), "float64")
    gr.compile([x], None, {p: x})(A + 5)
    np.testing.assert_array_equal(p.value, A + 5)


def test_an_input_that_is_the_parameters_memory(backend: str) -> None:
    (p,) = parameters(A)
    x = gr.tensor("x", (3, 4), "float64")
    step = gr.compile([x], p + 0, {p: gr.flip(x) + p}, backend=backend)
    result = step(p.value)
    np.testing.assert_array_equal(result, A)
    np.testing.assert_array_equal(p.value, A[::-1, ::-1] + A)


def test_a_result_written_into_the_parameters_memory(backend: str) -> None:
    p, q = parameters(A, A)
    read = gr.compile([], p + q, backend=backend)
    read(out=p.value)
    np.testing.assert_array_equal(p.value, 2 * A)


# Optimizers ---------------------------------------------------------------------------------

RNG = np.random.default_rng(5)
X, T = RNG.normal(size=(16, 6)), RNG.normal(size=(16, 3))
W0, B0 = RNG.normal(size=(6, 3)), RNG.normal(size=3)


def model() -> tuple[list[gr.Expr], gr.Expr, list[Parameter], list[gr.Expr]]:
    x, t = gr.tensor("x", ("n", 6), "float64"), gr.tensor("t", ("n", 3), "float64")
    w, b = gr.parameter("w", W0), gr.parameter("b", B0)
    loss = gr.mean((gr.tanh(x @ w + b) - t) ** 2)
    return [x, t], loss, [w, b], gr.grad(loss, [w, b])


def gradient(w: Array, b: Array) -> tuple[Array, Array]:
    y = np.tanh(X @ w + b)
    d = 2 * (y - T) / y.size * (1 - y * y)
    return X.T @ d, d.sum(0)


def test_momentum(backend: str) -> None:
    inputs, loss, weights, gradients = model()
    speeds = [gr.parameter(f"v{p.name}", np.zeros(p.shape), trainable=False) for p in weights]
    updates: dict[Parameter, gr.Expr] = {}
    for p, v, g in zip(weights, speeds, gradients, strict=True):
        updates[v] = 0.9 * v - 0.1 * g
        updates[p] = p + updates[v]
    step = gr.compile(inputs, loss, updates, backend=backend)
    state = [W0, B0]
    velocity = [0 * W0, 0 * B0]
    for _ in range(20):
        step(X, T)
        found = gradient(*state)
        velocity = [0.9 * v - 0.1 * g for v, g in zip(velocity, found, strict=True)]
        state = [p + v for p, v in zip(state, velocity, strict=True)]
    for p, value in zip([*weights, *speeds], [*state, *velocity], strict=True):
        np.testing.assert_allclose(p.value, value, rtol=1e-11, atol=1e-13)


def test_adam(backend: str) -> None:
    inputs, loss, weights, gradients = model()
    count = gr.parameter("count", np.int64(0), trainable=False)
    now = (count + 1).astype("float64")
    updates: dict[Parameter, gr.Expr] = {count: count + 1}
    for p, g in zip(weights, gradients, strict=True):
        m = gr.parameter(f"m{p.name}", np.zeros(p.shape), trainable=False)
        s = gr.parameter(f"s{p.name}", np.zeros(p.shape), trainable=False)
        updates[m] = 0.9 * m + 0.1 * g
        updates[s] = 0.999 * s + 0.001 * g**2
        scaled = updates[m] / (1 - 0.9**now)
        updates[p] = p - 0.05 * scaled / (gr.sqrt(updates[s] / (1 - 0.999**now)) + 1e-8)
    step = gr.compile(inputs, loss, updates, backend=backend)
    state, m1, m2 = [W0, B0], [0 * W0, 0 * B0], [0 * W0, 0 * B0]
    for k in range(1, 21):
        step(X, T)
        found = gradient(*state)
        m1 = [0.9 * m + 0.1 * g for m, g in zip(m1, found, strict=True)]
        m2 = [0.999 * s + 0.001 * g**2 for s, g in zip(m2, found, strict=True)]
        state = [
            p - 0.05 * (m / (1 - 0.9**k)) / (np.sqrt(s / (1 - 0.999**k)) + 1e-8)
            for p, m, s in zip(state, m1, m2, strict=True)
        ]
    assert count.value == 20
    for p, value in zip(weights, state, strict=True):
        np.testing.assert_allclose(p.value, value, rtol=1e-9)


# All or none --------------------------------------------------------------------------------


def test_an_index_error_leaves_every_parameter(backend: str) -> None:
    table, other, labels = (
        gr.parameter("table", A),
        gr.parameter("other", A),
        gr.tensor("labels", ("n",), "int64"),
    )
    picked = gr.take(table, labels, axis=0)
    updates = {table: table + gr.sum(picked), other: 2 * other}
    step = gr.compile(labels, picked, updates, backend=backend)
    for bad in ([0, 3], [-4], [7, 0, 0]):
        with pytest.raises(IndexError):
            step(bad)
        np.testing.assert_array_equal(table.value, A)
        np.testing.assert_array_equal(other.value, A)
    step([2, -1])
    np.testing.assert_array_equal(table.value, A + 2 * A[2].sum())
    np.testing.assert_array_equal(other.value, 2 * A)


def test_an_index_that_only_an_update_uses(backend: str) -> None:
    p, q = parameters(A, A)
    i = gr.tensor("i", (3,), "int32")
    step = gr.compile(i, None, {q: q + 1, p: gr.take(p, i, axis=0) + p}, backend=backend)
    with pytest.raises(gr.errors.IndexOutOfRangeError):
        step(np.array([0, 1, 5], "int32"))
    np.testing.assert_array_equal(p.value, A)
    np.testing.assert_array_equal(q.value, A)


def test_wrong_arguments_leave_every_parameter(backend: str) -> None:
    (p,) = parameters(A)
    x = gr.tensor("x", ("n", 4), "float64")
    step = gr.compile(x, gr.max(x, axis=0), {p: p + gr.sum(x)}, backend=backend)
    for bad in (
        np.zeros((2, 3)),
        np.zeros(4),
        np.zeros((2, 4), complex),
        np.zeros((0, 4)),
        None,
    ):
        with pytest.raises(gr.errors.InputError):
            step(bad)
    with pytest.raises(gr.errors.InputError):
        step(np.zeros((2, 4)), out=np.zeros(5))
    np.testing.assert_array_equal(p.value, A)
    step(np.ones((2, 4)))
    np.testing.assert_array_equal(p.value, A + 8)


# Values from outside ------------------------------------------------------------------------


def test_a_value_that_is_set_is_read_by_the_next_call(backend: str) -> None:
    (p,) = parameters(A)
    read = gr.compile([], p * 2, {p: p + 1}, backend=backend)
    read()
    p.value = -A
    np.testing.assert_array_equal(read(), -2 * A)
    p.value[1] = 9
    assert (read()[1] == 18).all()


def test_results_are_no_views_of_a_parameter(backend: str) -> None:
    (p,) = parameters(A)
    step = gr.compile([], [p, p.T, p[1]], {p: p + 1}, backend=backend)
    whole, turned, row = step()
    step()
    np.testing.assert_array_equal(whole, A)
    np.testing.assert_array_equal(turned, A.T)
    np.testing.assert_array_equal(row, A[1])


def test_two_functions_share_a_parameter(backend: str) -> None:
    (p,) = parameters(A)
    up = gr.compile([], None, {p: p + 1}, backend=backend)
    read = gr.compile([], p.sum(), backend=backend)
    double = gr.compile([], None, {p: 2 * p}, backend="llvm")
    for call in (up, double, up):
        call()
    assert read() == (2 * (A + 1) + 1).sum()


def test_integer_and_boolean_state(backend: str) -> None:
    steps = gr.parameter("steps", np.int32(0))
    mask = gr.parameter("mask", np.array([True, False, True]))
    step = gr.compile([], steps, {steps: steps + 1, mask: ~mask & (steps < 2)}, backend=backend)
    assert [int(step()) for _ in range(3)] == [0, 1, 2]
    assert steps.value == 3
    assert not mask.value.any()


@pytest.mark.parametrize(
    ("dtype", "value", "error"),
    [
        ("float32", np.float64([1, 2]), gr.errors.DTypeError),
        ("float32", [1e300, 0.0], gr.errors.GraphError),
        ("int8", [300, 1], gr.errors.GraphError),
        ("int8", [1.5, 1.0], gr.errors.DTypeError),
        ("float32", [1.0], gr.errors.GraphError),
    ],
)
def test_a_value_that_a_parameter_cannot_hold_is_refused(
    dtype: str, value: object, error: type[Exception]
) -> None:
    p = gr.parameter("p", np.ones(2, dtype))
    with pytest.raises(error, match="'p'"):
        p.value = value
    np.testing.assert_array_equal(p.value, np.ones(2, dtype))
