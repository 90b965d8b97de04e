"""Activations and losses: values, derivatives, extremes, the lectures' numbers and errors."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special as sp

import cases
import graphc as gr
from graphc import nn
from graphc.interpret import evaluate
from graphc.testing import check_grads


@pytest.mark.parametrize("case", cases.NETWORKS, ids=str)
def test_value(case):
    leaves, out = case.graph()
    case.check(evaluate([out], dict(zip(leaves, case.arrays, strict=True)))[0])


#: Functions whose arrays in the table touch kinks, or whose target is no variable.
_KINKED = (
    "relu", "leaky", "prelu", "generalised", "absolute", "hard", "step", "elu", "selu", "soft"
)  # fmt: skip


@pytest.mark.parametrize("case", cases.NETWORKS, ids=str)
def test_derivatives_to_second_order(case):
    arrays = case.arrays
    if case.id.startswith(_KINKED):
        arrays = [a + 0.013 if a.ndim == 1 else a for a in arrays]
    if case.id == "binary_cross_entropy":
        arrays = [np.array([0.1, 0.5, 0.9, 0.3, 0.6]), arrays[1]]
    if case.id.startswith(("categorical", "kl", "negative")):
        arrays = [a + 0.2 if a.dtype.kind == "f" else a for a in arrays]  # away from log(0)
    order = 1 if case.id in ("accuracy", "step", "step-at", "huber", "selu", "elu") else 2
    check_grads(case.build, arrays, order=order)


@pytest.mark.parametrize("case", cases.NETWORKS, ids=str)
def test_element_type_is_kept(case):
    """float32 operands give a float32 result close to the float64 one."""
    arrays = [a.astype("float32") if a.dtype.kind == "f" else a for a in case.arrays]
    leaves = [gr.tensor(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
    value = evaluate([case.build(*leaves)], dict(zip(leaves, arrays, strict=True)))[0]
    assert value.dtype == "float32"
    expected = case.expected()
    scale = float(np.max(np.abs(expected), initial=0))
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=2e-6 * scale)


@pytest.mark.parametrize("case", cases.NETWORKS, ids=str)
def test_scope_names_the_function(case):
    _, out = case.graph()
    assert out.scope is not None
    name = case.id.split("-")[0]
    assert out.scope.path.split("/")[0] == ("silu" if name == "swish" else name)


# Spot values --------------------------------------------------------------------------------

POINTS = np.array([-2.0, -1.0, 1.0, 2.0])
SPOT = {
    "softplus": [0.126928, 0.313262, 1.313262, 2.126928],
    "softsign": [-2 / 3, -0.5, 0.5, 2 / 3],
    "log_sigmoid": [-2.126928, -1.313262, -0.313262, -0.126928],
    "swish": [-0.238406, -0.268941, 0.731059, 1.761594],
    "sinc": [0.454649, 0.841471, 0.841471, 0.454649],
    "mish": [-0.252501, -0.303401, 0.865098, 1.943959],
    "elu": [-0.864665, -0.632121, 1, 2],
    "gelu": [-0.045500, -0.158655, 0.841345, 1.954500],
    "selu": [-1.520166, -1.111331, 1.050701, 2.101402],
    "hard_sigmoid": [1 / 6, 1 / 3, 2 / 3, 5 / 6],
    "hard_swish": [-1 / 3, -1 / 3, 2 / 3, 5 / 3],
    "leaky_relu": [-0.02, -0.01, 1, 2],
    "step": [0, 0, 1, 1],
}


def _value_and_slope(f, points, dtype="float64"):
    x = gr.tensor("x", (len(points),), dtype)
    out = f(x)
    array = np.asarray(points, dtype)
    return evaluate([out, gr.grad(gr.sum(out), x)], {x: array})


@pytest.mark.parametrize("name", SPOT)
def test_spot_values(name):
    value, _ = _value_and_slope(getattr(nn, name), POINTS)
    np.testing.assert_allclose(value, SPOT[name], atol=1e-6)


@pytest.mark.parametrize(
    ("f", "place", "value"),
    [(nn.swish, -1.278465, -0.278465), (nn.mish, -1.192431, -0.308843)],
    ids=["swish", "mish"],
)
def test_minimum(f, place, value):
    at, slope = _value_and_slope(f, [place])
    np.testing.assert_allclose(at, value, atol=1e-6)
    np.testing.assert_allclose(slope, 0, atol=1e-6)


# Kinks and extremes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "point", "slope"),
    [
        (nn.relu, 0.0, 0.0),
        (nn.relu, -0.0, 0.0),
        (nn.leaky_relu, 0.0, 0.01),
        (nn.absolute_rectifier, 0.0, 0.0),
        (nn.relu6, 6.0, 0.0),
        (nn.hard_tanh, 1.0, 0.0),
        (nn.hard_tanh, -1.0, 0.0),
        (nn.hard_sigmoid, 3.0, 0.0),
        (nn.elu, 0.0, 1.0),
        (nn.sinc, 0.0, 0.0),
        (nn.softsign, 0.0, 1.0),
        (nn.silu, 0.0, 0.5),
        (nn.gelu, 0.0, 0.5),
        (nn.mish, 0.0, 0.6),
        (nn.step, 0.0, 0.0),
    ],
)
def test_slope_at_a_point(f, point, slope):
    np.testing.assert_allclose(_value_and_slope(f, [point])[1], slope, rtol=1e-15)


def test_maxout_ties_share_equally():
    _, slope = _value_and_slope(lambda x: nn.maxout(x, 2), [1.0, 1.0, 2.0, 3.0])
    np.testing.assert_array_equal(slope, [0.5, 0.5, 0, 1])


#: Limits: value and slope at -1e4, 1e4, -inf, inf.
LIMITS = {
    "relu": ([0, 1e4, 0, np.inf], [0, 1, 0, 1]),
    "leaky_relu": ([-100, 1e4, -np.inf, np.inf], [0.01, 1, 0.01, 1]),
    "relu6": ([0, 6, 0, 6], [0, 0, 0, 0]),
    "hard_tanh": ([-1, 1, -1, 1], [0, 0, 0, 0]),
    "hard_sigmoid": ([0, 1, 0, 1], [0, 0, 0, 0]),
    "hard_swish": ([0, 1e4, 0, np.inf], [0, 1, 0, 1]),
    "step": ([0, 1, 0, 1], [0, 0, 0, 0]),
    "sigmoid": ([0, 1, 0, 1], [0, 0, 0, 0]),
    "log_sigmoid": ([-1e4, 0, -np.inf, 0], [1, 0, 1, 0]),
    "softplus": ([0, 1e4, 0, np.inf], [0, 1, 0, 1]),
    "softsign": ([-1 / 1.0001, 1 / 1.0001, -1, 1], [1 / 10001**2, 1 / 10001**2, 0, 0]),
    "elu": ([-1, 1e4, -1, np.inf], [0, 1, 0, 1]),
    "silu": ([0, 1e4, 0, np.inf], [0, 1, 0, 1]),
    "gelu": ([0, 1e4, 0, np.inf], [0, 1, 0, 1]),
    "mish": ([0, 1e4, 0, np.inf], [0, 1, 0, 1]),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LIMITS)
def test_limits(name, dtype):
    value, slope = _value_and_slope(getattr(nn, name), [-1e4, 1e4, -np.inf, np.inf], dtype)
    np.testing.assert_allclose(value, LIMITS[name][0], rtol=1e-6)
    np.testing.assert_allclose(slope, LIMITS[name][1], rtol=1e-6)


@pytest.mark.parametrize("name", [*LIMITS, "selu", "sinc", "absolute_rectifier"])
def test_nan_stays_nan(name):
    assert np.isnan(_value_and_slope(getattr(nn, name), [np.nan])[0]).all()


@pytest.mark.parametrize("beta", [-2.0, 0.0, 0.5, 3.0])
def test_swish_limits_follow_beta(beta):
    value, _ = _value_and_slope(lambda x: nn.silu(x, beta), [-np.inf, np.inf])
    expected = {-2.0: [-np.inf, 0], 0.0: [-np.inf, np.inf]}.get(beta, [0, np.inf])
    np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("name", ["softsign", "sinc"])
def test_slope_does_not_cancel_in_float32(name):
    points = np.array([1e-4, 1e-2, 0.5, 0.99, 1.01, 30.0, 3e3], "float32")
    single = _value_and_slope(getattr(nn, name), points, "float32")[1]
    x = points.astype("longdouble")
    exact = {
        "softsign": 1 / (1 + x) ** 2,
        "sinc": np.where(x < 0.02, -x / 3 + x**3 / 30, (x * np.cos(x) - np.sin(x)) / x**2),
    }[name]
    np.testing.assert_allclose(single, exact.astype(float), rtol=3e-6)


def test_gelu_keeps_its_digits_in_the_tail():
    value, _ = _value_and_slope(nn.gelu, [-12.0])
    np.testing.assert_allclose(value, -12 * sp.ndtr(-12.0), rtol=1e-13)


def test_softmax_of_large_and_missing_scores():
    z = gr.vector("z", 3, "float64")
    given = np.array([1e4, -np.inf, 1e4])
    p, log_p = evaluate([nn.softmax(z), nn.log_softmax(z)], {z: given})
    np.testing.assert_array_equal(p, [0.5, 0, 0.5])
    np.testing.assert_allclose(log_p, [-np.log(2), -np.inf, -np.log(2)])


def test_softmax_does_not_see_a_shift():
    z = gr.vector("z", 4, "float64")
    given = np.array([1.0, -2.0, 0.5, 3.0])
    a, b = evaluate([nn.softmax(z), nn.softmax(z + 1000.0)], {z: given})
    np.testing.assert_allclose(a, b, rtol=1e-12)


# Losses -------------------------------------------------------------------------------------


def _loss_and_slope(loss, x, *others, **options):
    leaves = [
        gr.tensor(f"x{i}", np.shape(a), np.asarray(a).dtype) for i, a in enumerate((x, *others))
    ]
    out = loss(*leaves, **options)
    values = dict(zip(leaves, map(np.asarray, (x, *others)), strict=True))
    return evaluate([out, gr.grad(gr.sum(out), leaves[0])], values)


def test_softmax_cross_entropy_slope_is_o_minus_t():
    """Not ``(o - t) o (1 - o)``, and not the binary loss on softmax outputs."""
    z, t = np.array([[1.0, 2.0, 3.0]]), np.array([[0.0, 0.0, 1.0]])
    for target in (t, np.array([2])):
        _, slope = _loss_and_slope(nn.cross_entropy, z, target)
        np.testing.assert_allclose(slope[0], [0.0900, 0.2447, -0.3348], atol=5e-5)


def test_cross_entropy_of_targets_that_do_not_sum_to_one():
    z, t = np.array([[1.0, -2.0, 0.5]]), np.array([[0.5, 0.0, 0.2]])
    _, slope = _loss_and_slope(nn.cross_entropy, z, t)
    np.testing.assert_allclose(slope, sp.softmax(z, -1) * 0.7 - t, rtol=1e-14)


def test_likelihood_slope_has_a_minus():
    """``y*/y - (1 - y*)/(1 - y)`` is -1.4286 at y = 0.3, y* = 0; the loss has the opposite."""
    _, slope = _loss_and_slope(nn.binary_cross_entropy, np.array([0.3]), np.array([0.0]))
    np.testing.assert_allclose(-slope, -1 / 0.7, rtol=1e-14)


def test_binary_cross_entropy_slope_at_the_logit_is_o_minus_t():
    z = np.array([-3.0, -0.5, 0.0, 2.0, 40.0])
    t = np.array([0.0, 1.0, 0.25, 1.0, 1.0])
    _, slope = _loss_and_slope(nn.binary_cross_entropy, z, t, from_logits=True, reduction="sum")
    np.testing.assert_allclose(slope, sp.expit(z) - t, rtol=1e-12, atol=1e-16)


def test_binary_cross_entropy_from_logits_keeps_its_digits():
    z = np.array([20.0, 1e4, -1e4], "float32")
    t = np.array([1, 1, 0], "float32")
    value, slope = _loss_and_slope(
        nn.binary_cross_entropy, z, t, from_logits=True, reduction="none"
    )
    np.testing.assert_allclose(value, [np.log1p(np.exp(-20.0)), 0, 0], rtol=1e-6)
    np.testing.assert_allclose(slope, [-sp.expit(-20.0), 0, 0], rtol=1e-6)


def test_binary_cross_entropy_of_certain_predictions():
    p, t = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.0])
    value, slope = _loss_and_slope(nn.binary_cross_entropy, p, t, reduction="none")
    np.testing.assert_array_equal(value, [0, 0, np.inf, np.inf])
    np.testing.assert_array_equal(slope, [1, -1, -np.inf, np.inf])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_unused_classes_cost_nothing(dtype):
    """``0 * log(0)`` is 0 with a finite slope, also for probabilities that are denormal."""
    p = np.array([[0.0, 1.0, np.finfo(dtype).tiny / 8]], dtype)
    t = np.array([[0, 1, 0]], dtype)
    value, slope = _loss_and_slope(nn.categorical_cross_entropy, p, t)
    np.testing.assert_array_equal(value, 0)
    np.testing.assert_array_equal(slope, [[0, -1, 0]])
    z = np.array([[-np.inf, 1.0, -np.inf]], dtype)
    value, slope = _loss_and_slope(nn.cross_entropy, z, t)
    np.testing.assert_array_equal(value, 0)
    np.testing.assert_array_equal(slope, 0)


def test_cross_entropy_of_large_logits():
    z = np.array([[1e4, -1e4], [-1e4, 1e4]], "float32")
    value, slope = _loss_and_slope(nn.cross_entropy, z, np.array([0, 0]), reduction="none")
    np.testing.assert_array_equal(value, [0, 2e4])
    np.testing.assert_array_equal(slope, [[0, 0], [-1, 1]])


def test_squared_error_and_mse_differ_by_half_and_the_mean():
    o, t = np.array([1.0, 3.0, 5.0]), np.array([0.0, 0.0, 1.0])
    half, slope = _loss_and_slope(nn.squared_error, o, t)
    np.testing.assert_array_equal(slope, o - t)
    whole, _ = _loss_and_slope(nn.squared_error, o, t, half=False)
    mean, slope = _loss_and_slope(nn.mse, o, t)
    assert (half, whole, mean) == (13, 26, 26 / 3)
    np.testing.assert_allclose(slope, 2 * (o - t) / 3)


@pytest.mark.parametrize("loss", [nn.mse, nn.mae, nn.huber, nn.hinge, nn.squared_error])
def test_reductions(loss):
    o, t = np.array([[1.0, 3.0], [5.0, 0.5]]), np.array([[1.0, -1.0], [1.0, 1.0]])
    each = _loss_and_slope(loss, o, t, reduction="none")[0]
    assert each.shape == o.shape
    np.testing.assert_allclose(_loss_and_slope(loss, o, t, reduction="sum")[0], each.sum())
    np.testing.assert_allclose(_loss_and_slope(loss, o, t, reduction="mean")[0], each.mean())


def test_integer_targets_keep_the_element_type():
    x, t = gr.vector("x", 3), gr.tensor("t", (3,), "int64")
    assert nn.mse(x, t).dtype.name == "float32"
    assert nn.binary_cross_entropy(x, t).dtype.name == "float32"


def test_labels_outside_the_classes_are_an_error():
    z, y = gr.tensor("z", (2, 3), "float64"), gr.tensor("y", (2,), "int64")
    with pytest.raises(IndexError):
        evaluate([nn.cross_entropy(z, y)], {z: np.zeros((2, 3)), y: np.array([0, 3])})


def test_symbolic_batch():
    z, y = gr.tensor("z", ("batch", 3), "float64"), gr.tensor("y", ("batch",), "int64")
    loss = nn.cross_entropy(z, y)
    slope = gr.grad(loss, z)
    for n in (1, 5):
        given = {z: np.zeros((n, 3)), y: np.zeros(n, int)}
        value, g = evaluate([loss, slope], given)
        np.testing.assert_allclose(value, np.log(3))
        np.testing.assert_allclose(g, np.tile([-2 / 3, 1 / 3, 1 / 3], (n, 1)) / n)


# Errors -------------------------------------------------------------------------------------


def _raised(f):
    with pytest.raises(gr.GraphcError) as caught:
        f()
    return caught.value


def test_error_texts():
    column, row = gr.tensor("o", ("n", 1)), gr.tensor("t", ("n",))
    error = _raised(lambda: nn.mse(column, row))
    line = error.where[0].split()[-2]
    assert isinstance(error, gr.errors.ShapeError)
    assert line.startswith("test_networks.py:")
    assert str(error) == (
        "mse: shapes (n, 1) and (n,) differ\n"
        f"  prediction  f32[n, 1]  {line}  o\n"
        f"  target      f32[n]     {line}  t\n"
        "  hint: reshape one of them; a single number may be the target of all"
    )
    z = gr.tensor("z", ("n", 10))
    error = _raised(lambda: nn.cross_entropy(z, row))
    assert isinstance(error, gr.errors.DTypeError)
    assert error.summary == "cross_entropy: labels are float32, not integers"
    error = _raised(lambda: nn.cross_entropy(z, column))
    assert error.summary == "cross_entropy: the target has shape (n, 1)"
    assert error.hint == "integer labels of shape (n,), or probabilities of shape (n, 10)"
    error = _raised(lambda: nn.mse(row, row, reduction="avg"))
    assert str(error) == (
        'mse: reduction=\'avg\' is not known\n  hint: "mean", "sum" or "none"'
    )
    error = _raised(lambda: nn.maxout(z, 3))
    assert error.summary == "maxout: 10 units do not divide into groups of 3"
    assert (
        _raised(lambda: nn.gelu(z, "fast")).summary == "gelu: approximate='fast' is not known"
    )
    assert (
        _raised(lambda: nn.huber(row, row, delta=0)).summary == "huber: delta=0 is not positive"
    )
    assert "rank 2" in _raised(lambda: nn.softmax(z, axis=2)).summary
    assert _raised(lambda: nn.l2([])).summary == "a penalty needs at least one tensor"


@pytest.mark.parametrize("backend", ["interpret", "llvm"])
@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_outside_the_classes_is_an_error(backend: str, label: int) -> None:
    z, t = gr.tensor("z", ("n", 3)), gr.tensor("t", ("n",), "int64")
    f = gr.compile([z, t], gr.nn.cross_entropy(z, t), backend=backend, name="loss")
    with pytest.raises(IndexError, match=rf"loss: the index {label} is out of range .* size 3"):
        f(np.zeros((2, 3), "f"), [0, label])
