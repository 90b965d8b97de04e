"""Kernels without loops become one: what is joined, in which order, and what it stores."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

import graphc as gr
from graphc.loops.ir import (
    Buffer,
    Compute,
    Index,
    Kernel,
    Load,
    Loop,
    LoopKernel,
    Program,
    Statement,
    Store,
)
from graphc.loops.plan import plan
from graphc.loops.straight import MAX_STATEMENTS, MOST_MOVES, straightened
from graphc.types import float64, int64
from tests.reference.loops import evaluate

SIZE = 4
IN = Buffer("a", float64, (SIZE,), "input")
OUT = Buffer("out", float64, (SIZE,), "output")
W, V = (Buffer(name, float64, (SIZE,), "workspace") for name in "wv")


def added(name: str, left: tuple[Buffer, int], right: tuple[Buffer, int], to: Buffer) -> Kernel:
    """``to[0] = left + right``"""
    body = (
        Load("l", left[0], Index((), left[1])),
        Load("r", right[0], Index((), right[1])),
        Compute("s", "add", ("l", "r"), float64),
        Store(to, Index(), "s"),
    )
    return LoopKernel(name, body, "add", 1)


def moved(name: str, source: Buffer, target: Buffer, count: int = SIZE) -> Kernel:
    body = (
        Load("x", source, Index((("i", 1),))),
        Store(target, Index((("i", 1),)), "x"),
    )
    return LoopKernel(name, (Loop("i", count, "vector", body),), "copy")


def program_of(*kernels: Kernel) -> Program:
    offsets, total = plan(kernels)
    return Program((), (IN,), (OUT,), (), (), kernels, len(kernels), offsets, total)


def result_of(*kernels: Kernel) -> np.ndarray:
    given = {"a": np.array([1.5, -2.0, 0.25, 7.0]), "out": np.full(SIZE, 99.0)}
    status, found = evaluate(program_of(*kernels), {}, given)
    assert status == 0
    return np.asarray(found["out"])


def check(*kernels: Kernel) -> list[Kernel]:
    """The kernels joined, which do what they did before."""
    (found,) = straightened(kernels)
    np.testing.assert_array_equal(result_of(*found), result_of(*kernels))
    return found


def test_values_between_kernels_need_no_memory() -> None:
    (kernel,) = check(
        added("k0", (IN, 0), (IN, 1), W), added("k1", (W, 0), (IN, 2), V), moved("k2", IN, OUT),
        added("k3", (V, 0), (W, 0), OUT),
    )  # fmt: skip
    assert isinstance(kernel, LoopKernel)
    assert kernel.kept == (W, V)
    stores = [s for s in kernel.body if isinstance(s, Store)]
    assert sorted((s.buffer.name, s.index.offset) for s in stores) == [
        ("out", 0), ("out", 1), ("out", 2), ("out", 3),
    ]  # fmt: skip
    assert sum(isinstance(s, Load) for s in kernel.body) == 4
    assert (kernel.flops, kernel.label) == (3, "add, copy")
    assert not program_of(kernel).workspace


def test_what_another_kernel_reads_is_stored() -> None:
    scaled = Compute("y", "add", ("x", "x"), float64)
    body = (
        Load("x", W, Index((("i", 0),))), scaled, Store(OUT, Index((("i", 1),)), "y"),
    )  # fmt: skip
    reader = LoopKernel("k2", (Loop("i", SIZE, "vector", body),))
    first, second = check(
        added("k0", (IN, 0), (IN, 1), W), added("k1", (W, 0), (IN, 2), V), reader
    )
    assert isinstance(first, LoopKernel)
    assert first.kept == (V,)
    assert second is reader


def test_no_kernel_overtakes_what_it_needs_or_disturbs() -> None:
    body = (
        Load("x", IN, Index((("i", 1),))),
        Compute("y", "add", ("x", "x"), float64),
        Store(W, Index((("i", 1),)), "y"),
    )
    writer = LoopKernel("k1", (Loop("i", SIZE, "vector", body),))
    first, sums = moved("k0", IN, OUT), added("k2", (W, 1), (IN, 3), OUT)
    assert [k.name for k in check(first, writer, sums)] == ["k0", "k1", "k2"]
    other = added("k2", (IN, 1), (IN, 3), OUT)
    assert [k.name for k in check(first, writer, other)] == ["k0", "k1"]


def test_equal_values_are_computed_once() -> None:
    (kernel,) = check(
        moved("k0", IN, OUT), added("k1", (IN, 0), (IN, 1), W),
        added("k2", (IN, 0), (IN, 1), V), added("k3", (W, 0), (V, 0), OUT),
    )  # fmt: skip
    assert isinstance(kernel, LoopKernel)
    assert sum(isinstance(s, Compute) for s in kernel.body) == 2


def test_long_code_and_long_loops_are_left() -> None:
    long = Buffer("long", float64, (MOST_MOVES + 1,), "workspace")
    fill, loop = moved("k0", IN, OUT), moved("k2", long, long, MOST_MOVES + 1)
    (found,) = straightened([fill, loop, added("k1", (IN, 0), (IN, 1), W)])
    assert [k.name for k in found] == ["k0", "k2"]
    count = MAX_STATEMENTS // 4 + 1
    (found,) = straightened([added(f"k{i}", (IN, 0), (IN, 1), OUT) for i in range(count)])
    assert len(found) == 2


def test_an_index_that_is_looked_up_is_no_number() -> None:
    table = Buffer("table", int64, (1,), "constant", np.array([2], np.int64).tobytes())
    body = (
        Load("place", table, Index()),
        Load("x", IN, Index((("place", 1),))),
        Store(W, Index(), "x"),
    )
    kernels = [LoopKernel("k0", body), added("k1", (W, 0), (IN, 1), OUT)]
    assert straightened(kernels) == [kernels]


def test_parts_are_not_mixed() -> None:
    parts = [added("k0", (IN, 0), (IN, 1), W)], [added("k1", (W, 0), (IN, 1), OUT)]
    first, second = straightened(*parts)
    assert (first, second) == parts


@pytest.mark.parametrize("seed", range(40))
def test_random_kernels(seed: int) -> None:
    """Elements are written and read in any order, through kernels with loops and without."""
    random = Random(seed)
    kernels = [moved("k0", IN, OUT), moved("k1", IN, W), moved("k2", IN, V)]
    for number in range(3, 3 + random.randrange(2, 14)):
        kernels.append(_random_kernel(random, f"k{number}"))
    check(*kernels)


def _random_kernel(random: Random, name: str) -> Kernel:
    body: list[Statement] = [Load("n0", random.choice((IN, W, V, OUT)), Index((("i", 1),)))]
    for step in range(1, random.randrange(2, 9)):
        place = random.choice((Index((), random.randrange(SIZE)), Index((("i", 1),))))
        value = f"n{random.randrange(step)}"
        body.append(
            random.choice(
                (
                    Load(f"n{step}", random.choice((IN, W, V, OUT)), place),
                    Compute(f"n{step}", "maximum", (value, "n0"), float64),
                    Compute(f"n{step}", "neg", (value,), float64),
                )
            )
        )
        if random.random() < 0.4:
            body.append(Store(random.choice((W, V, OUT)), place, value))
    extent = random.choice((1, SIZE))
    return LoopKernel(name, (Loop("i", extent, "serial", tuple(body)),))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scalars_of_a_graph_are_one_kernel(dtype: str) -> None:
    x = gr.vector("x", 5, dtype=dtype)
    terms = [gr.sin(x[i] * x[i + 1]) / (1 + x[i] * x[i]) for i in range(4)]
    total = sum(terms[1:], terms[0])
    outputs = [total, gr.grad(total, x), gr.stack([terms[2], total])]
    f = gr.compile([x], outputs)
    assert f.program is not None
    assert len(f.program.kernels) == 1
    given = np.linspace(-1, 2, 5, dtype=dtype)
    for got, alone in zip(
        f(given), gr.compile([x], outputs, skip=["fuse"])(given), strict=True
    ):
        tolerance = 8 * np.finfo(dtype).eps
        np.testing.assert_allclose(got, alone, rtol=tolerance, atol=tolerance)
