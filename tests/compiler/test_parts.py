"""Parts of joins are computed where the joined result lies."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

import graphc as gr
from graphc.interpret import evaluate
from graphc.loops.ir import LoopKernel, Store, statements
from graphc_llvm.lower.program import lower_program
from graphc_llvm.target import host

Case = tuple[str, int, list[gr.Expr], list[gr.Expr]]


def columns(n: int | str = "n", count: int = 6) -> tuple[gr.Expr, list[gr.Expr]]:
    x = gr.tensor("x", (count, n), "float64")
    return x, list(x)


def cases() -> Iterator[Case]:
    """Inputs and results, and how many kernels compute them."""
    x, rows = columns()
    made = [gr.sin(a) * b for a, b in pairwise(rows)]
    yield "rows", 1, [x], [gr.stack(made)]
    yield "columns", 1, [x], [gr.stack(made, axis=1)]
    yield "a row twice", 1, [x], [gr.stack([made[0], made[1], made[0]])]
    yield "a row that is a result too", 1, [x], [gr.stack(made), made[2]]
    yield "two joins of the same rows", 1, [x], [gr.stack(made), gr.stack(made[::-1])]
    yield "joins of joins", 1, [x], [gr.stack([gr.stack(made[:3]), gr.stack(made[2:])])]
    inner = [gr.stack(made[:3], axis=1), gr.stack(made[2:], axis=1)]
    yield "joins of joins, columns", 1, [x], [gr.stack(inner, axis=2)]
    yield "joins of joins, both ways", 1, [x], [gr.stack(inner)]
    value = sum((a * a for a in made), start=gr.constant(0.0))
    first = gr.grad(gr.sum(value), rows)
    second = gr.stack([gr.stack(gr.grad(gr.sum(g), rows, unused="zero")) for g in first])
    yield "value, gradient, Hessian", 1, [x], [value, gr.stack(first), second]
    total = gr.exp(gr.stack(made)) * 2
    yield "a join that is read", 3, [x], [gr.stack(made), gr.sum(total, axis=0)]
    yield "an input among them", 2, [x], [gr.stack([made[0], rows[3], made[1]])]
    yield "a number among them", 1, [x], [gr.stack([made[0], 0 * made[0], made[1]])]
    yield "sums of rows", 1, [x], [gr.concatenate([gr.sum(x, 1), gr.sum(x * x, 1)])]
    turned = gr.stack(made, axis=1)
    flat = gr.reshape(gr.stack([turned, turned + 1], axis=1), (-1, 5))
    yield "what is reshaped", 2, [x], [flat]
    a = gr.tensor("x", (6, 4), "float64")
    halves = gr.concatenate([gr.tanh(a), a * a], axis=1)
    yield "halves that a product reads", 5, [a], [gr.tanh(a) @ (a * a).T, halves @ halves.T]


@pytest.mark.parametrize(
    ("kernels", "inputs", "results"), [pytest.param(*c[1:], id=c[0]) for c in cases()]
)
def test_values_and_kernels(
    kernels: int, inputs: list[gr.Expr], results: list[gr.Expr]
) -> None:
    f = gr.compile(inputs, results, verify=True, threads=1)
    assert f.program is not None
    assert len(f.program.kernels) == kernels
    for n in (0, 1, 7, 8, 65):
        shape = tuple(n if isinstance(s, gr.Dim) else s for s in inputs[0].shape)
        x = np.random.default_rng(n).standard_normal(shape)
        found = f(x)
        expected = evaluate(results, {inputs[0]: x})
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def random_join(rng: np.random.Generator) -> tuple[gr.Expr, list[gr.Expr]]:
    """Functions of rows, joined again and again, some of them results."""
    x = gr.tensor("x", (4, "n"), "float64")
    pool: list[gr.Expr] = [*x, x]
    for _ in range(rng.integers(3, 12)):
        a = pool[rng.integers(len(pool))]
        same = [b for b in pool if b.shape == a.shape]
        b = same[rng.integers(len(same))]
        axis = int(rng.integers(a.ndim))
        kinds = [gr.tanh(a), a + b, a * b, gr.concatenate([a, b, gr.sin(b)], axis)]
        kinds += [gr.stack([a, b, a], axis), gr.flip(a, axis), gr.sum(a, axis, keepdims=True)]
        new = kinds[rng.integers(len(kinds))]
        if new.ndim < 4:
            pool.append(new)
    return x, [pool[k] for k in rng.integers(4, len(pool), 3)]


@pytest.mark.parametrize("seed", range(30))
def test_random_joins(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, results = random_join(rng)
    f = gr.compile([x], results, verify=True, threads=1)
    for n in (1, 9):
        value = rng.standard_normal((4, n))
        for a, b in zip(f(value), evaluate(results, {x: value}), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_parts_have_no_memory_of_their_own() -> None:
    x, rows = columns()
    f = gr.compile([x], gr.stack([gr.stack([a * b for b in rows]) for a in rows]))
    assert f.program is not None
    (kernel,) = f.program.kernels
    assert isinstance(kernel, LoopKernel)
    stores = [s for s in statements(kernel.body) if isinstance(s, Store)]
    assert {s.buffer.name for s in stores} == {"out0"}
    assert f.program.offsets == ()
    assert str(kernel.nbytes) == "336*n"


@pytest.mark.parametrize(("count", "asked"), [(3, False), (40, True)])
def test_memory_is_asked_for_where_there_are_many_streams(count: int, asked: bool) -> None:
    x, rows = columns(count=count)
    program = gr.compile([x], sum(rows, start=gr.constant(0.0))).program
    assert program is not None
    assert ("llvm.prefetch" in lower_program(program, "f", host())) == asked
