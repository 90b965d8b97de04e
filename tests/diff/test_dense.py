"""Dense derivatives by the pattern of their entries: when, how many directions, the values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gr
from graphc.diff import dense

N = 40
X = gr.vector("x", N, dtype="float64")
Y = gr.vector("y", N, dtype="float64")
M = gr.tensor("m", (6, 8), "float64")


def rosenbrock(x: gr.Expr) -> gr.Expr:
    return gr.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


#: A function, its targets, directions.
HESSIANS: dict[str, tuple[gr.Expr, list[gr.Expr], int]] = {
    "tridiagonal": (rosenbrock(X), [X], 3),
    "diagonal": (gr.sum(gr.sin(X) * gr.exp(X)), [X], 1),
    "arrow": (gr.exp(X[0]) * gr.sum(gr.sin(X[1:])), [X], 2),
    "selected": (gr.sum(gr.where(X > 0.7, X**3, gr.sqrt(X) * X)), [X], 1),
    "several": (gr.sum(gr.sin(X * Y)) + rosenbrock(Y), [X, Y], 4),
    "matrix": (gr.sum(gr.exp(M[1:] * M[:-1])), [M], 3),
    "no entries": (gr.sum(3 * X), [X], 0),
}


def point(target: gr.Expr) -> np.ndarray:
    shape = tuple(int(s) for s in target.shape)  # type: ignore[call-overload]
    return np.linspace(0.4, 1.3, int(np.prod(shape, dtype=int))).reshape(shape)


def call(targets: list[gr.Expr], outputs: Any, **options: Any) -> Any:
    return gr.compile(targets, outputs, **options)(*map(point, targets))


def without_patterns(make: Callable[[], Any]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense, "MOST_DIRECTIONS", 1)
        return make()


@pytest.mark.parametrize("case", HESSIANS)
@pytest.mark.parametrize("options", [{}, {"backend": "interpret"}, {"math": "strict"}])
def test_hessians(case: str, options: dict[str, Any]) -> None:
    f, targets, directions = HESSIANS[case]
    blocks = gr.hessian(f, targets)
    plain = without_patterns(lambda: gr.hessian(f, targets))
    total = sum(int(np.prod(point(t).shape)) for t in targets)
    text = f"d hessian by pattern, {directions} directions of {total}"
    for row, expected in zip(blocks, plain, strict=True):
        assert [b.origin.rule for b in row] == [text] * len(row)
        assert not {b.origin.rule for b in expected} & {text}
        found, wanted = call(targets, row, **options), call(targets, expected, **options)
        for got, want in zip(found, wanted, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-13)
    for a in range(len(targets)):
        for b in range(a + 1):
            left, right = call(targets, [blocks[a][b], blocks[b][a]], **options)
            order = [*range(targets[a].ndim, left.ndim), *range(targets[a].ndim)]
            np.testing.assert_array_equal(left.transpose(order), right)


@pytest.mark.parametrize(
    ("y", "text"),
    [
        (gr.sin(X) * Y, "forward, 1 directions of 40"),
        (X[1:] * X[:-1], "forward, 2 directions of 39"),
        (gr.sum(gr.reshape(X, (20, 2)) ** 2, axis=1), "reverse, 1 directions of 20"),
        (gr.sin(gr.reshape(X, (5, 8))), "forward, 1 directions of 40"),
    ],
)
def test_jacobians(y: gr.Expr, text: str) -> None:
    made = gr.jacobian(y, X)
    assert made.origin.rule == f"d jacobian by pattern, {text}"
    wanted = call([X, Y], gr.jacobian(y, X, mode="forward"))
    np.testing.assert_allclose(call([X, Y], made), wanted, rtol=1e-14, atol=1e-14)


V = gr.vector("v", "n", dtype="float64")
OTHERS: dict[str, Callable[[], gr.Expr]] = {
    "few variables": lambda: gr.hessian(gr.sum(X[:6] ** 3), gr.vector("z", 6), unused="zero"),
    "dense": lambda: gr.hessian(gr.exp(gr.sum(X)), X),
    "a symbolic size": lambda: gr.hessian(rosenbrock(V), V),
    "a chosen mode": lambda: gr.jacobian(gr.sin(X), X, mode="reverse"),
    "many dependences": lambda: gr.jacobian(gr.reshape(X, (N, 1)) * Y, X),
}


@pytest.mark.parametrize("case", OTHERS)
def test_where_a_pattern_does_not_help(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "MOST_DEPENDENCES", N * N)
    assert "pattern" not in OTHERS[case]().origin.rule


def test_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "find_spec", lambda name: None)
    assert "pattern" not in gr.hessian(rosenbrock(X), X).origin.rule


def test_third_derivatives() -> None:
    third = gr.jacobian(gr.hessian(rosenbrock(X), X), X)
    found, x = call([X], third), point(X)
    i = np.arange(N - 1)
    expected = np.zeros((N, N, N))
    expected[i, i, i] = 2400 * x[:-1]
    for place in ((i, i, i + 1), (i, i + 1, i), (i + 1, i, i)):
        expected[place] = -400
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13)


def test_mapped() -> None:
    rows = gr.tensor("rows", ("n", N), "float64")
    mapped = gr.vmap(lambda row: gr.hessian(rosenbrock(row), row))(rows)
    given = np.stack([point(X), 2 * point(X), -point(X)])
    single = gr.compile(X, gr.hessian(rosenbrock(X), X))
    expected = np.stack([single(row) for row in given])
    np.testing.assert_allclose(gr.compile(rows, mapped)(given), expected, rtol=1e-14)
