"""Kernels over the same rows run as one, row by row."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import graphc as gr
from graphc.interpret import evaluate
from graphc.loops.by_rows import LEAST_WIDTH, ROW_BYTES
from graphc.ops.movement import pad_spread

Case = tuple[str, int, gr.Expr, list[gr.Expr]]


def chain(x: gr.Expr) -> gr.Expr:
    """Rosenbrock's function of each row."""
    left, right = x[:, :-1], x[:, 1:]
    return gr.sum(100 * (right - left * left) ** 2 + (1 - left) ** 2, axis=1)


def rows(width: int) -> gr.Expr:
    return gr.tensor("x", ("n", width), "float64")


def cases() -> Iterator[Case]:
    """The input and results, and how many kernels compute them."""
    x = rows(100)
    value = chain(x)
    yield "value and gradient", 1, x, [value, gr.grad(gr.sum(value), x)]
    shifted = gr.pad(gr.exp(x[:, 1:]), ((0, 0), (1, 0))) + gr.pad(x[:, :-1], ((0, 0), (0, 1)))
    yield "pads", 1, x, [shifted]
    yield "what is read again later", 2, x, [gr.cumsum(shifted, axis=0)]
    yield "in the opposite order of rows", 3, x, [gr.flip(shifted, axis=0) * 2]
    running = gr.cumsum(x * x, axis=1)
    yield (
        "a sum as it grows",
        1,
        x,
        [gr.pad(running, ((0, 0), (2, 3)), constant_values=1.0) * 3],
    )
    spread = pad_spread(gr.tanh(x), [(0, 0, 0), (1, 1, 1)], gr.sum(x))
    yield "a number that comes first", 3, x, [gr.sqrt(gr.abs(spread))]
    narrow = rows(LEAST_WIDTH // 2)
    both = gr.pad(gr.tanh(narrow), ((0, 0), (1, 0)))
    yield "narrow rows", 3, narrow, [gr.exp(both)]
    wide = rows(ROW_BYTES // 8 + 1)
    yield "wide rows", 3, wide, [gr.exp(gr.pad(gr.tanh(wide), ((0, 0), (1, 0))))]
    yield "rows that are added on top", 4, x, [gr.exp(gr.pad(gr.tanh(x), ((1, 0), (0, 0))))]
    vectors = gr.vmap(lambda v: gr.grad(gr.sum(gr.sin(v[1:] * v[:-1])), v))(x)
    yield "of one row, mapped", 1, x, [vectors]


CASES = [pytest.param(*case[1:], id=case[0]) for case in cases()]


@pytest.mark.parametrize(("kernels", "x", "results"), CASES)
def test_values_and_kernels(kernels: int, x: gr.Expr, results: list[gr.Expr]) -> None:
    f = gr.compile([x], results, verify=True, threads=1)
    assert f.program is not None
    assert len(f.program.kernels) == kernels
    for n in (0, 1, 9):
        value = np.random.default_rng(n).standard_normal((n, x.shape[1]))
        for a, b in zip(f(value), evaluate(results, {x: value}), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kernels", "x", "results"), CASES)
def test_threads_give_the_same_bits(kernels: int, x: gr.Expr, results: list[gr.Expr]) -> None:
    value = np.random.default_rng(0).standard_normal((3000, x.shape[1]))
    one, two = (gr.compile([x], results, threads=t)(value) for t in (1, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_lies_between_has_memory_for_one_row() -> None:
    x = rows(100)
    value = chain(x)
    f = gr.compile([x], [value, gr.grad(gr.sum(value), x)])
    assert f.program is not None
    (kernel,) = f.program.kernels
    assert f.program.workspace == 0
    assert kernel.kept
    assert str(kernel.nbytes) == "1608*n"
