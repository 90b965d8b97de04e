"""Where infinities and NaNs come from, and what to write instead."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gr
from compiler.random_graphs import RandomGraph, graphs
from graphc.inspect.health.nonfinite import Explanation
from graphc.interpret import evaluate

X = gr.vector("x", 3, "float64")
Y = gr.vector("y", 3, "float64")
S = gr.scalar("s", "float64")
INF, NAN = np.inf, np.nan


def explained(outputs: Any, *arrays: Any, inputs: Any = None, **options: Any) -> Explanation:
    leaves = [X, Y, S][: len(arrays)] if inputs is None else inputs
    return gr.compile(leaves, outputs, backend="interpret", **options).explain_nonfinite(
        *arrays
    )


def first_of(outputs: Any, *arrays: Any, **options: Any) -> Any:
    found = explained(outputs, *arrays, **options)
    assert found.first is not None
    return found.first


# Kinds of accidents -------------------------------------------------------------------------

ACCIDENTS: list[tuple[Callable[..., gr.Expr], float, float, str, str]] = [
    (lambda x, y: gr.exp(x), 1000, 0, "overflow", "exp(1000) = inf"),
    (lambda x, y: gr.sinh(x), -800, 0, "overflow", "sinh(-800) = -inf"),
    (lambda x, y: x * y, 1e200, 1e200, "overflow", "1e+200 * 1e+200 = inf"),
    (lambda x, y: x + y, 1.5e308, 1.5e308, "overflow", "1.5e+308 + 1.5e+308 = inf"),
    (lambda x, y: gr.square(x), -1e200, 0, "overflow", "(-1e+200)**2 = inf"),
    (lambda x, y: x / y, 1, 1e-310, "overflow", "1 / 1e-310 = inf"),
    (lambda x, y: x**y, 10, 400, "overflow", "10**400 = inf"),
    (lambda x, y: x / y, 2, 0, "division by zero", "2 / 0 = inf"),
    (lambda x, y: gr.reciprocal(x), 0, 0, "division by zero", "1 / 0 = inf"),
    (lambda x, y: gr.remainder(x, y), 5, 0, "division by zero", "5 % 0 = nan"),
    (lambda x, y: gr.floor_divide(x, y), 5, 0, "division by zero", "5 // 0 = inf"),
    (lambda x, y: x / y, 0, 0, "0 / 0", "0 / 0 = nan"),
    (lambda x, y: gr.log(x), 0, 0, "logarithm of zero", "log(0) = -inf"),
    (lambda x, y: gr.log10(x), 0, 0, "logarithm of zero", "log10(0) = -inf"),
    (lambda x, y: gr.log1p(x), -1, 0, "logarithm of zero", "log1p(-1) = -inf"),
    (lambda x, y: gr.log2(x), -2, 0, "logarithm of a negative number", "log2(-2) = nan"),
    (lambda x, y: gr.log1p(x), -3, 0, "logarithm of a negative number", "log1p(-3) = nan"),
    (lambda x, y: gr.sqrt(x), -4, 0, "root of a negative number", "sqrt(-4) = nan"),
    (lambda x, y: x**y, 0, -2, "zero to a negative power", "0**-2 = inf"),
    (
        lambda x, y: x**y, -8, 1 / 3,
        "negative number to a fractional power", "(-8)**0.333333 = nan",
    ),
    (lambda x, y: gr.asin(x), 2, 0, "outside the domain", "asin(2) = nan"),
    (lambda x, y: gr.acosh(x), 0.5, 0, "outside the domain", "acosh(0.5) = nan"),
    (lambda x, y: gr.atanh(x), 1, 0, "outside the domain", "atanh(1) = inf"),
    (lambda x, y: gr.prod(x * y), 1e200, 1e5, "overflow", "prod(<3 values in"),
    (lambda x, y: gr.cast(x, "float32"), 1e200, 0, "overflow", "f32(1e+200) = inf"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("build", "x", "y", "kind", "text"), ACCIDENTS, ids=[a[4] for a in ACCIDENTS]
)
def test_kinds_of_accidents(
    build: Callable[..., gr.Expr], x: float, y: float, kind: str, text: str
) -> None:
    first = first_of(build(X, Y), [x, x, x], [y, y, y])
    assert first.cause.kind == kind
    assert first.cause.text.startswith(text)
    assert first.count == first.size
    assert first.stem is None


LATER: list[tuple[Callable[..., gr.Expr], list[float], str]] = [
    (lambda x, y: gr.exp(x) - gr.exp(y), [800, 900], "inf - inf"),
    (lambda x, y: gr.exp(x) / gr.exp(y), [800, 900], "inf / inf"),
    (lambda x, y: (x - 800) * gr.exp(x), [800, 0], "0 * inf"),
    (lambda x, y: gr.sin(gr.exp(x)), [800, 0], "outside the domain"),
    (lambda x, y: gr.sum(gr.stack([gr.exp(x), -gr.exp(x)]), 0), [800, 0], "inf - inf"),
    (
        lambda x, y: gr.stack([gr.exp(x), gr.exp(x)]).T
        @ gr.stack([x - 800, x - 800]),
        [800, 0],
        "0 * inf",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("build", "at", "kind"), LATER, ids=[k for _, _, k in LATER])
def test_infinities_that_become_nan(
    build: Callable[..., gr.Expr], at: list[float], kind: str
) -> None:
    found = explained(build(X, Y), [at[0]] * 3, [at[1]] * 3)
    assert found.first is not None
    assert found.first.cause.kind == "overflow"
    assert [event.cause.kind for event in found.then] == [kind]


def test_the_mean_of_nothing():
    x = gr.vector("x", "n", "float64")
    found = explained(gr.mean(x), np.empty(0), inputs=[x])
    assert found.first is not None
    assert found.first.cause.kind == "mean of nothing"
    assert "at least one element" in found.hint


# What to write instead ----------------------------------------------------------------------

Formula = Callable[[gr.Expr, gr.Expr], Any]
#: The naive formula, what is hinted at, the formula of the hint, x and y.
HINTS: dict[str, tuple[Formula, str, Formula, list[float], list[float]]] = {
    "logsumexp": (
        lambda x, y: gr.log(gr.sum(gr.exp(x))), "gr.logsumexp(x)",
        lambda x, y: gr.logsumexp(x), [1000, 1, 2], [0, 0, 0],
    ),
    "logsumexp underflow": (
        lambda x, y: gr.log(gr.sum(gr.exp(x), keepdims=True)), "gr.logsumexp(x)",
        lambda x, y: gr.logsumexp(x), [-1000, -1001, -2000], [0, 0, 0],
    ),
    "softmax": (
        lambda x, y: gr.exp(x) / gr.sum(gr.exp(x)), "gr.softmax(x)",
        lambda x, y: gr.softmax(x), [1000, 1, 2], [0, 0, 0],
    ),
    "softmax underflow": (
        lambda x, y: gr.exp(x) / gr.sum(gr.exp(x)), "gr.softmax(x)",
        lambda x, y: gr.softmax(x), [-1000, -1001, -2000], [0, 0, 0],
    ),
    "log softmax by hand": (
        lambda x, y: gr.log(gr.exp(x) / gr.sum(gr.exp(x))), "gr.nn.log_softmax(x)",
        lambda x, y: gr.nn.log_softmax(x), [0, 1, -2000], [0, 0, 0],
    ),
    "log softmax": (
        lambda x, y: gr.log(gr.softmax(x)), "gr.nn.log_softmax(x)",
        lambda x, y: gr.nn.log_softmax(x), [1000, 1, 2], [0, 0, 0],
    ),
    "softplus": (
        lambda x, y: gr.log(1 + gr.exp(x)), "gr.nn.softplus(x)",
        lambda x, y: gr.nn.softplus(x), [1000, 1, 2], [0, 0, 0],
    ),
    "logaddexp": (
        lambda x, y: gr.log(gr.exp(x) + gr.exp(y)), "gr.logaddexp(x, y)",
        lambda x, y: gr.logaddexp(x, y), [1000, 1, 2], [999, 0, 0],
    ),
    "sigmoid": (
        lambda x, y: gr.square(1 - 1 / (1 + gr.exp(x))) * gr.exp(x) / (1 + gr.exp(x)),
        "gr.nn.sigmoid(x)", lambda x, y: gr.nn.sigmoid(x), [1000, 1, 2], [0, 0, 0],
    ),
    "log sigmoid": (
        lambda x, y: gr.log(gr.sigmoid(x)), "gr.nn.log_sigmoid(x)",
        lambda x, y: gr.nn.log_sigmoid(x), [-1000, 1, 2], [0, 0, 0],
    ),
    "log of one minus sigmoid": (
        lambda x, y: gr.log(1 - gr.sigmoid(x)), "gr.nn.log_sigmoid(-x)",
        lambda x, y: gr.nn.log_sigmoid(-x), [1000, 1, 2], [0, 0, 0],
    ),
    "log of one minus exp": (
        lambda x, y: gr.log(1 - gr.exp(x)), "gr.log(-gr.expm1(x))",
        lambda x, y: gr.log(-gr.expm1(x)), [-1e-20, -1, -2], [0, 0, 0],
    ),
    "log of one minus p": (
        lambda x, y: gr.log(1 - x), "gr.log1p(-x)", lambda x, y: gr.log1p(-x * 0.5),
        [1, 0.5, 0.2], [0, 0, 0],
    ),
    "tanh": (
        lambda x, y: (gr.exp(x) - gr.exp(-x)) / (gr.exp(x) + gr.exp(-x)), "gr.tanh(x)",
        lambda x, y: gr.tanh(x), [1000, 1, 2], [0, 0, 0],
    ),
    "log cosh": (
        lambda x, y: gr.log(gr.cosh(x)), "gr.nn.softplus(-2 * abs(x))",
        lambda x, y: abs(x) + gr.nn.softplus(-2 * abs(x)) - np.log(2), [1000, 1, 2], [0, 0, 0],
    ),
    "product of probabilities": (
        lambda x, y: gr.log(gr.prod(x)), "gr.sum(gr.log(x))",
        lambda x, y: gr.sum(gr.log(x)), [1e-200, 1e-200, 1], [0, 0, 0],
    ),
    "entropy": (
        lambda x, y: gr.sum(y * gr.log(x)), "y * gr.log(gr.where(y > 0, x, 1))",
        lambda x, y: gr.sum(y * gr.log(gr.where(y > 0, x, 1))), [0, 1, 2], [0, 1, 1],
    ),
    "logarithm": (
        lambda x, y: gr.log(x), "gr.where(x > 0, gr.log(gr.where(x > 0, x, 1)), 0)",
        lambda x, y: gr.where(x > 0, gr.log(gr.where(x > 0, x, 1)), 0), [0, 1, 2], [0, 0, 0],
    ),
    "division": (
        lambda x, y: x / y,
        "gr.where(gr.not_equal(y, 0), x / gr.where(gr.not_equal(y, 0), y, 1), 0)",
        lambda x, y: gr.where(gr.not_equal(y, 0), x / gr.where(gr.not_equal(y, 0), y, 1), 0),
        [1, 1, 1], [0, 1, 2],
    ),
    "unit vector": (
        lambda x, y: x / gr.sqrt(gr.sum(gr.square(x))), "gr.maximum(gr.norm(x, axis, keepdims=",
        lambda x, y: x / gr.maximum(gr.norm(x), 1e-12), [0, 0, 0], [0, 0, 0],
    ),
    "unit vector by norm": (
        lambda x, y: x / gr.norm(x), "gr.maximum(gr.norm(x, axis, keepdims=",
        lambda x, y: x / gr.maximum(gr.norm(x), 1e-12), [0, 0, 0], [0, 0, 0],
    ),
    "norm": (
        lambda x, y: gr.sqrt(gr.sum(gr.square(x))), "gr.norm(x)",
        lambda x, y: gr.norm(x), [1e200, 1, 2], [0, 0, 0],
    ),
    "norm of products": (
        lambda x, y: gr.sqrt(gr.sum(x * x)), "gr.norm(x)",
        lambda x, y: gr.norm(x), [1e200, 1, 2], [0, 0, 0],
    ),
    "hypot": (
        lambda x, y: gr.sqrt(x**2 + y**2), "gr.hypot(x, y)",
        lambda x, y: gr.hypot(x, y), [1e200, 1, 2], [0, 0, 0],
    ),
    "variance": (
        lambda x, y: gr.sqrt(gr.mean(gr.square(x)) - gr.square(gr.mean(x))), "gr.std",
        lambda x, y: gr.std(x), [0.4, 0.4, 0.4], [0, 0, 0],
    ),
    "sine from cosine": (
        lambda x, y: gr.sqrt(1 - gr.square(x)), "sqrt((1 - x) * (1 + x))",
        lambda x, y: gr.sqrt((1 - gr.clip(x, -1, 1)) * (1 + gr.clip(x, -1, 1))),
        [1.0000001, 0, 0], [0, 0, 0],
    ),
    "power": (
        lambda x, y: x**-3, "gr.where(x > 0, gr.where(x > 0, x, 1) ** p, 0)",
        lambda x, y: gr.where(x > 0, gr.where(x > 0, x, 1) ** -3, 0), [0, 1, 2], [0, 0, 0],
    ),
    "arc": (
        lambda x, y: gr.acos(x), "gr.clip(x, -1 + eps, 1 - eps)",
        lambda x, y: gr.acos(gr.clip(x, -1 + 1e-9, 1 - 1e-9)), [1.1, 0, 0], [0, 0, 0],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HINTS)
def test_what_to_write_instead(name: str) -> None:
    """The naive formula is not finite and the hint names the other, which is."""
    naive, hint, stable, x, y = HINTS[name]
    found = explained(naive(X, Y), x, y)
    assert not found.finite
    assert hint in found.hint
    assert explained(stable(X, Y), x, y).finite


SLOPES: dict[str, tuple[Formula, str, Formula, list[float], list[float]]] = {
    "root": (
        lambda x, y: gr.sum(gr.sqrt(x)),
        "gr.where(x > 0, gr.sqrt(gr.where(x > 0, x, 1)), 0)",
        lambda x, y: gr.sum(gr.where(x > 0, gr.sqrt(gr.where(x > 0, x, 1)), 0)),
        [0, 1, 2], [0, 0, 0],
    ),
    "norm": (
        lambda x, y: gr.sqrt(gr.sum(gr.square(x))), "gr.norm(x)",
        lambda x, y: gr.norm(x), [0, 0, 0], [0, 0, 0],
    ),
    "hypot": (
        lambda x, y: gr.sum(gr.sqrt(gr.square(x) + gr.square(y))), "gr.hypot(x, y)",
        lambda x, y: gr.sum(gr.hypot(x, y)), [0, 1, 2], [0, 0, 0],
    ),
    "root of a power": (
        lambda x, y: gr.sum(x**0.3), "gr.where(x > 0, gr.where(x > 0, x, 1) ** p, 0)",
        lambda x, y: gr.sum(gr.where(x > 0, gr.where(x > 0, x, 1) ** 0.3, 0)),
        [0, 1, 2], [0, 0, 0],
    ),
    "arc": (
        lambda x, y: gr.sum(gr.asin(x)), "gr.clip(x, ...)",
        lambda x, y: gr.sum(gr.asin(gr.clip(x, -0.999, 0.999))), [1, 0, 0], [0, 0, 0],
    ),
    "angle": (
        lambda x, y: gr.sum(gr.atan2(x, y)), "mask both operands",
        lambda x, y: gr.sum(gr.atan2(x, gr.where(gr.equal(y, 0), 1, y))),
        [0, 1, 2], [0, 1, 1],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SLOPES)
def test_slopes_that_are_infinite(name: str) -> None:
    """The value is finite, the gradient is not, and the formula of the hint has one."""
    naive, hint, stable, x, y = SLOPES[name]
    loss = naive(X, Y)
    found = explained([loss, gr.grad(loss, X)], x, y)
    assert [bad.what for bad in found.results] == ["output 1"]
    assert found.first is not None
    assert found.first.stem is not None
    assert hint in found.hint
    other = stable(X, Y)
    assert explained([other, gr.grad(other, X)], x, y).finite


def test_a_mask_that_comes_after_a_product_of_infinities():
    """The other side of a select leaks through a matrix product: mask the operand."""
    w = gr.constant(np.ones((3, 3)))
    loss = gr.sum(gr.where(S > 0, gr.log(X) @ w, 0))
    found = explained([loss, gr.grad(loss, X)], [0.0, 1.0, 1.0], [0.0] * 3, -1.0)
    assert [bad.what for bad in found.results] == ["output 1"]
    assert found.first is not None
    assert found.first.cause.text == "1 / 0 = inf"
    assert "gr.where(x > 0, gr.log(gr.where(x > 0, x, 1)), 0)" in found.hint


def test_a_product_with_a_mask():
    found = explained((X > 0) * gr.exp(-1 / X), [0.0, 1.0, -0.001])
    assert found.first is not None
    assert found.first.cause.text == "exp(1000) = inf"
    assert [event.cause.text for event in found.then] == ["0 * inf = nan"]
    assert found.hint.startswith("a factor 0 does not hide an infinity: choose with gr.where")
    hidden = gr.exp(1000 - X) + 1
    found = explained(hidden, [-1.0, 1.0, 1.0])
    assert found.hint.startswith("exp overflows above 88.7 in float32, 709.7 in float64")


def test_growth_without_a_better_formula():
    x = gr.vector("x", 3)
    found = explained(gr.square(gr.square(x)), [1e15, 1, 1], inputs=[x])
    assert found.hint == (
        "the operands grew too large: scale or clip before this step, or compute in float64 "
        "(up to 1.8e308)"
    )


# Which value is the first -------------------------------------------------------------------


def test_the_function_comes_before_its_derivative():
    loss = gr.sum(gr.log(X))
    for outputs in ([gr.grad(loss, X), loss], [loss, gr.grad(loss, X)]):
        first = first_of(outputs, [1.0, 0.0, 2.0])
        assert (first.cause.text, first.index, first.stem) == ("log(0) = -inf", (1,), None)


def test_what_a_select_leaves_out_is_not_blamed():
    inner = gr.where(X > 0, gr.log(X), 0)
    assert explained(gr.sum(inner), [0.0, 1.0, 2.0]).finite
    both = gr.sum(inner) + gr.sum(gr.sqrt(Y))
    first = first_of(both, [0.0, 1.0, 2.0], [1.0, 1.0, -4.0])
    assert (first.cause.text, first.index) == ("sqrt(-4) = nan", (2,))


def test_infinities_that_do_no_harm():
    masked = gr.softmax(gr.where(X > 0, X, -INF))
    assert explained(masked, [1.0, -1.0, 2.0]).finite
    found = explained(masked, [-1.0, -1.0, -1.0])
    assert found.first is not None
    assert (found.first.cause.kind, found.first.node.op.name) == ("given", "constant")
    assert "the constant is not finite" in found.hint


def test_inputs_that_are_not_finite_come_first():
    p = gr.parameter("p", np.array([1.0, INF, 2.0]))
    found = explained(gr.log(X) * p, [0.0, 1.0, NAN])
    assert [bad.what for bad in found.given] == ["input 'x'", "parameter 'p'"]
    assert str(found).splitlines()[1:3] == [
        "  already given: input 'x', 1 of 3 values not finite, the first nan at [2]",
        "  already given: parameter 'p', 1 of 3 values not finite, the first inf at [1]",
    ]
    assert found.first is not None
    assert found.first.cause.text == "input x = nan"
    assert found.hint == "mend the values of 'x': compare with np.isfinite before the call"


LOG = gr.log(gr.matrix("m", 2, 3, "float64"))
M = LOG.args[0]
#: Structured operations on a matrix that has one bad element, at [1, 2].
PATHS: dict[str, Callable[[gr.Expr], gr.Expr]] = {
    "transpose": lambda x: x.T,
    "reshape": lambda x: gr.reshape(x, (3, 2)),
    "slice": lambda x: x[::-1, 1:],
    "broadcast": lambda x: gr.broadcast_to(x, (4, 2, 3)),
    "pad": lambda x: gr.pad(x, 1),
    "concatenate": lambda x: gr.concatenate([M, x, M], 1),
    "twice": lambda x: gr.concatenate([x, x], 0),
    "gather": lambda x: gr.take(x, np.array([1, 1, 0]), 0),
    "along": lambda x: gr.take_along_axis(x, np.array([[0, 1, 2], [2, 2, 0]]), 1),
    "scatter": lambda x: gr.scatter_add(x, np.array([[0, 1, 2], [2, 2, 0]]), 1, 4),
    "sum": lambda x: gr.sum(x, 1),
    "sum over both": lambda x: gr.sum(x),
    "kept": lambda x: gr.sum(x, 0, keepdims=True),
    "max": lambda x: gr.min(x, 0),
    "prod": lambda x: gr.prod(x, 1),
    "softmax": lambda x: gr.softmax(-x, 0),
    "logsumexp": lambda x: gr.logsumexp(-x, 1),
    "norm": lambda x: gr.norm(x, 1),
    "cumsum": lambda x: gr.cumsum(x, 1),
    "matmul": lambda x: x @ gr.constant(np.ones((3, 4))),
    "matmul from the right": lambda x: gr.constant(np.ones((4, 2))) @ x,
    "einsum": lambda x: gr.einsum("ij,kj->kij", x, np.ones((5, 3))),
    "outer": lambda x: gr.outer(x[1], x[0]),
    "select": lambda x: gr.where(M > 5, M, x),
    "bias": lambda x: x[1] + M,
}


@pytest.mark.parametrize("name", PATHS)
def test_through_structured_operations(name: str) -> None:
    value = np.arange(1.0, 7.0).reshape(2, 3)
    value[1, 2] = 0
    result = PATHS[name](LOG)
    first = first_of(gr.sum(result * 2), value, inputs=[M])
    assert (first.node, first.index) == (LOG, (1, 2))
    assert first.operands[0][1:] == (M, "0")


def test_the_earliest_of_many():
    """Elements of one value may be bad for other reasons: the earliest is named."""
    e = gr.exp(X)
    p = e / gr.sum(e)
    found = explained(-gr.sum(Y * gr.log(p)), [1.0, 1000.0, 2.0], [1.0, 0.0, 0.0])
    assert found.first is not None
    assert (found.first.node, found.first.index) == (e, (1,))
    assert found.hint.endswith("its logarithm is gr.nn.log_softmax(x)")


@settings(deadline=None, max_examples=20, derandomize=True, database=None)
@given(graphs(), st.randoms(use_true_random=False))
def test_random_graphs(graph: RandomGraph, random: Any) -> None:
    """Finite exactly if NumPy's results are; the first bad value has finite operands."""
    arrays = [a.copy() for a in graph.arrays]
    for a in arrays:
        if a.dtype.kind == "f" and a.size:
            a.flat[random.randrange(a.size)] = random.choice([INF, NAN, 1e38, 0, -1e-300])
    f = gr.compile(graph.inputs, graph.outputs, graph.updates, backend="interpret")
    found = f.explain_nonfinite(*arrays)
    roots = [*graph.outputs, *graph.updates.values()]
    sizes = {
        str(s): n
        for x, a in zip(graph.inputs, arrays, strict=True)
        for s, n in zip(x.shape, a.shape, strict=True)
    }
    results = evaluate(roots, dict(zip(graph.inputs, arrays, strict=True)), sizes)
    assert found.finite == all(np.isfinite(r).all() for r in results)
    assert found.finite == (found.first is None)
    if found.first is not None:
        assert all(
            "not finite" not in text.replace("all finite", "")
            for *_, text in found.first.operands
            if found.first.cause.kind != "given"
        )
        assert found.first.index == () or len(found.first.index) == found.first.node.ndim
        json.dumps(found.to_dict())


# What compilation repairs -------------------------------------------------------------------


def test_rules_that_repair():
    found = explained(gr.log(gr.sum(gr.exp(X))), [1000.0, 1, 2])
    assert found.repaired
    assert [rule.name for rule in found.rules] == ["log-of-sum-of-exp"]
    assert str(found).splitlines()[-3:-1] == [
        "  compiled, it is finite: repaired by the stage stabilize",
        "    log-of-sum-of-exp: log(sum(exp(x))) -> logsumexp(x).",
    ]
    assert np.isfinite(gr.compile(X, gr.log(gr.sum(gr.exp(X))))([1000.0, 1, 2]))


@pytest.mark.parametrize("options", [{"math": "strict"}, {"skip": "stabilize"}])
def test_rules_that_may_not_be_applied(options: dict[str, Any]) -> None:
    found = explained(gr.log(gr.sum(gr.exp(X))), [1000.0, 1, 2], **options)
    assert not found.repaired
    assert str(found).splitlines()[-2] == "  compiled, it is not finite either"


def test_two_accidents_one_of_them_repaired():
    """The compiled function fails for another reason than the graph as written."""
    first = gr.log(gr.sum(gr.exp(X)))
    second = gr.sum(gr.sqrt(Y))
    found = explained([first, second], [1000.0, 1, 2], [1.0, -4.0, 1.0])
    assert found.first is not None
    assert found.first.cause.text == "exp(1000) = inf"
    assert found.remaining is not None
    assert found.remaining.first is not None
    assert found.remaining.first.cause.text == "sqrt(-4) = nan"
    assert "after the rewrites of compilation the first bad value is another one" in str(found)
    assert "    first: sqrt(-4) = nan, root of a negative number" in str(found).splitlines()


# Text ---------------------------------------------------------------------------------------


def test_the_whole_text():
    n = gr.tensor("n", ("batch", 2))
    length = gr.sqrt(gr.sum(gr.square(n), axis=1))
    total = gr.sum(length).named("total")
    f = gr.compile(n, [total, gr.grad(total, n)], backend="interpret", name="lengths")
    found = f.explain_nonfinite([[3.0, 4.0], [0.0, 0.0]])
    text = re.sub(r"test_nonfinite\.py:\d+", "LINE", str(found))
    assert text.splitlines() == [
        "lengths: not finite: output 1",
        "  output 1: 2 of 4 values not finite, the first nan at [1, 0]",
        "  first: 0.5 / 0 = inf, division by zero",
        "    in the derivative of sqrt",
        "    LINE  length = gr.sqrt(gr.sum(gr.square(n), axis=1))",
        "    f32[batch], element [1]; 1 of 2 not finite",
        "    left   f32[]       LINE  constant  = 0.5",
        "    right  f32[batch]  LINE  sqrt      = 0",
        "  then: inf * 0 = nan",
        "    in the derivative of square",
        "    LINE  length = gr.sqrt(gr.sum(gr.square(n), axis=1))",
        "    f32[batch, 2], element [1, 0]; 2 of 4 not finite",
        "    left   f32[batch, 2]  LINE  broadcast_to  = inf",
        "    right  f32[batch, 2]  LINE  mul           = 0",
        "  compiled, it is not finite either",
        "  hint: sqrt has slope inf at 0: sqrt(sum(n**2)) is gr.norm(n), "
        "whose gradient at 0 is 0",
    ]
    assert found._repr_html_().startswith("<pre>lengths: not finite: output 1\n")
    assert repr(found) == str(found)
    plain = found.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["first"]["derivative_of"] == "sqrt"


def test_a_finite_call():
    found = explained(gr.exp(X), [1.0, 2.0, 3.0])
    assert found.finite
    assert str(found) == "f: all results are finite"
    assert found.to_dict()["first"] is None


def test_arguments_are_those_of_a_call():
    f = gr.compile({"a": X, "rest": [Y, S]}, {"z": X / Y / S}, backend="interpret")
    found = f.explain_nonfinite({"a": [1, 1, 1], "rest": [[1, 1, 0], 2]})
    assert found.first is not None
    assert found.first.index == (2,)
    again = f.explain_nonfinite(a=[1, 1, 1], rest=([1, 1, 0], 2))
    assert str(again) == str(found)
    flat = gr.compile([X, Y], X / Y, backend="interpret")
    texts = {
        str(flat.explain_nonfinite(*given, **named))
        for given, named in [
            (([1, 1, 1], [1, 1, 0]), {}),
            (([1, 1, 1],), {"y": [1, 1, 0]}),
            (([[1, 1, 1], [1, 1, 0]],), {}),
            (({"y": [1, 1, 0], "x": [1, 1, 1]},), {}),
        ]
    }
    assert len(texts) == 1
    with pytest.raises(gr.errors.InputError, match="axis 0 of 'y' has size 2, expected 3"):
        f.explain_nonfinite({"a": [1, 1, 1], "rest": [[1, 1], 2]})


def test_updates_are_results_and_parameters_stay():
    w = gr.parameter("w", np.array([0.0, 4.0]))
    f = gr.compile([], None, {w: w - gr.grad(gr.sum(gr.sqrt(w)), w)})
    found = f.explain_nonfinite()
    assert [bad.what for bad in found.results] == ["the update of 'w'"]
    assert w.value.tolist() == [0.0, 4.0]


def test_of_many_bad_results_some_are_named():
    x = gr.vector("x", 3, dtype="float64")
    f = gr.compile(x, [gr.log(x - k) for k in range(30)])
    found = f.explain_nonfinite([-1.0, -1.0, -1.0])
    assert len(found.results) == 30
    assert found.summary.endswith(", output 9, 20 others")
    assert "20 others" in found.where
    assert len(found.to_dict()["results"]) == 30


@pytest.mark.parametrize("ask", ["explain_nonfinite", "gradient_report"])
def test_labels_out_of_range_are_the_error_of_calls(ask: str) -> None:
    z, labels = gr.matrix("z", "n", 3), gr.vector("labels", "n", dtype="int64")
    f = gr.compile([z, labels], gr.nn.cross_entropy(z * 1, labels))
    with pytest.raises(gr.errors.IndexOutOfRangeError, match="3 is out of range"):
        getattr(f, ask)(np.zeros((2, 3), np.float32), np.array([0, 3]))
