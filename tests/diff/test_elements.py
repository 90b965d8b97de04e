"""Hessians of functions of single elements: what is computed entry by entry, and its values."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import graphc as gr
from graphc.diff import elements
from graphc.diff.elements import picked, second_derivatives
from graphc.expr import topological

N = 6
X = gr.tensor("x", (N,), "float64")
M = gr.tensor("m", (2, 3), "float64")
S, T = gr.scalar("s", "float64"), gr.scalar("t", "float64")
F32 = gr.tensor("f", (2,), "float32")
W = [f.astype("float64") for f in F32]
x = list(X)


def chain() -> gr.Expr:
    total = x[0]
    for other in x[1:]:
        total = gr.sin(total * other) + other / (2 + gr.cos(total))
    return total


def rosenbrock() -> gr.Expr:
    parts = [100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in pairwise(x)]
    return sum(parts[1:], parts[0])


#: Function, targets.
CASES: dict[str, tuple[gr.Expr, list[gr.Expr]]] = {
    "chain": (chain(), [X]),
    "sparse": (rosenbrock(), [X]),
    "one element": (gr.exp(x[2]) * x[2], [X]),
    "the same element twice": (X[1] * gr.sin(X[1]) * X[-5], [X]),
    "linear": (x[0] + 2 * x[1], [X]),
    "matrix": (M[0, 1] * M[1, 2] * gr.exp(M[0, 0]) + M.T[1, 0] ** 3, [M]),
    "reversed": (X[::-1][0] * X[1:4][2] ** 2, [X]),
    "scalars": (S * S * T + gr.sin(S * T), [S, T]),
    "several": (S * x[0] ** 2 + M[1, 1] * x[3] * S, [X, S, M]),
    "selected": (gr.where(x[0] > x[1], x[0] * x[1], gr.sqrt(x[2]) * x[0]), [X]),
    "kinks": (gr.maximum(x[0], x[1] * x[2]) * abs(x[3]) + gr.floor(x[1]) * x[2], [X]),
    "two types": (W[0] * x[0] ** 2 + W[1] ** 2, [F32, X]),
    "inner targets": (gr.exp(X * X)[0] * gr.exp(X * X)[3], [X]),
}  # fmt: skip
VECTORS = {"inner targets"}


def point(target: gr.Expr) -> np.ndarray:
    shape = tuple(int(s) for s in target.shape)  # type: ignore[call-overload]
    size = int(np.prod(shape, dtype=int))
    return np.linspace(0.4, 1.3, size).reshape(shape).astype(target.dtype.numpy)


def values(targets: list[gr.Expr], outputs: Any, **options: Any) -> list[np.ndarray]:
    return list(gr.compile(targets, outputs, **options)(*map(point, targets)))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("options", [{}, {"backend": "interpret"}, {"math": "strict"}])
def test_entries_are_those_of_the_gradients_jacobians(
    case: str, options: dict[str, Any]
) -> None:
    f, targets = CASES[case]
    blocks = gr.hessian(f, targets, unused="zero")
    slopes = gr.grad(f, targets, unused="zero")
    for a, slope in enumerate(slopes):
        expected = gr.jacobian(slope, targets, mode="forward", unused="zero")
        found = values(targets, blocks[a], **options)
        wanted = values(targets, expected, **options)
        for b, (got, want) in enumerate(zip(found, wanted, strict=True)):
            single = {targets[a].dtype.name, targets[b].dtype.name} & {"float32"}
            tolerance = 1e-6 if single else 1e-13
            assert blocks[a][b].dtype == targets[max(a, b)].dtype
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
            by = blocks[a][b].origin.rule
            assert by.startswith("d hessian by elements") == (case not in VECTORS), by


@pytest.mark.parametrize("case", CASES)
def test_symmetric_to_the_last_bit(case: str) -> None:
    f, targets = CASES[case]
    blocks = gr.hessian(f, targets)
    for a, target in enumerate(targets):
        for b in range(len(targets)):
            left, right = values(targets, [blocks[a][b], blocks[b][a]])
            order = [*range(target.ndim, left.ndim), *range(target.ndim)]
            np.testing.assert_array_equal(left.transpose(order), right)


def test_zeros_are_not_computed() -> None:
    found = second_derivatives(rosenbrock(), picked(rosenbrock(), [X]) or {})
    assert found is not None
    assert sorted(found) == sorted(
        [(i, i) for i in range(N)] + [(i, i - 1) for i in range(1, N)]
    )


def test_few_entries_are_put_among_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    f = gr.compile(X, gr.hessian(rosenbrock(), X))
    monkeypatch.setattr(elements, "MOST_STACKED", 4)
    placed = gr.hessian(rosenbrock(), X)
    assert any(n.op.name == "scatter_add" for n in topological([placed]))
    np.testing.assert_array_equal(gr.compile(X, placed)(point(X)), f(point(X)))


def test_long_code_is_left_to_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elements, "MOST_TANGENTS", 20)
    assert gr.hessian(chain(), X).origin.rule == "d hessian, made symmetric"


lopsided = gr.custom_gradient(
    lambda a, b: a * b, vjp=lambda ct, out, a, b: (ct * b * b, ct * a)
)


OTHERS: dict[str, Callable[[], tuple[gr.Expr, list[gr.Expr]]]] = {
    "vectors": lambda: (gr.sum(X * X), [X]),
    "a vector beside elements": lambda: (x[0] * x[1] + gr.max(X), [X]),
    "a symbolic size": lambda: ((v := gr.vector("v", "n", dtype="float64"))[0] * v[1], [v]),
    "a target of a target": lambda: ((y := x[0] * x[1]) * y * x[0], [X, y]),
    "a target given twice": lambda: (x[0] * x[1], [X, X]),
    "a rule of the user's": lambda: (lopsided(x[0], x[1]), [X]),
    "elements put together": lambda: (gr.sum(gr.stack([x[0], x[1]]) ** 2), [X]),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_is_not_a_function_of_elements(case: str) -> None:
    assert picked(*OTHERS[case]()) is None


def test_third_derivatives() -> None:
    third = gr.jacobian(gr.hessian(chain(), X), X)
    step = 1e-5
    f = gr.compile(X, gr.hessian(chain(), X))
    (found,) = values([X], [third])
    for k in range(N):
        shift = step * (np.arange(N) == k)
        difference = (f(point(X) + shift) - f(point(X) - shift)) / (2 * step)
        np.testing.assert_allclose(found[..., k], difference, rtol=1e-6, atol=1e-6)


def test_mapped() -> None:
    rows = gr.tensor("rows", ("n", N), "float64")
    mapped = gr.vmap(lambda row: gr.hessian(row[0] * gr.sin(row[1] * row[2]), row))(rows)
    given = np.stack([point(X), 2 * point(X)])
    single = gr.compile(X, gr.hessian(x[0] * gr.sin(x[1] * x[2]), X))
    expected = np.stack([single(row) for row in given])
    found = gr.compile(rows, mapped)(given)
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-15)
