"""Workspace: what lives at one time does not overlap, and little more is taken than that."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphc as gr
from compiler.random_graphs import RandomGraph, graphs
from compiler.test_random_graphs import compare, few, run
from graphc.loops.in_place import successors
from graphc.loops.ir import Buffer, Program
from graphc.loops.place import Piece, Span, peak, place
from graphc.loops.plan import buffers_of
from graphc.types import evaluate_size, product

pieces = st.builds(
    lambda size, first, length: Piece(size, (first, first + length)),
    st.integers(0, 50),
    st.integers(0, 12),
    st.integers(0, 8),
)


@given(st.lists(pieces, max_size=30))
def test_pieces_that_live_at_once_do_not_overlap(given: list[Piece]) -> None:
    starts, end = place(given)
    for i, (a, start) in enumerate(zip(given, starts, strict=True)):
        assert 0 <= start <= end - a.size
        for b, other in zip(given[:i], starts[:i], strict=True):
            together = a.span[0] <= b.span[1] and b.span[0] <= a.span[1]
            apart = start + a.size <= other or other + b.size <= start
            assert not together or apart or not a.size or not b.size
    times = range(30)
    live = [sum(p.size for p in given if p.span[0] <= t <= p.span[1]) for t in times]
    assert peak(given) == max(live)
    assert end >= peak(given)


@pytest.mark.parametrize("count", [5, 15, 30])
def test_places_are_close_to_what_lives_at_once(count: int) -> None:
    ratios = []
    for seed in range(60):
        rng = random.Random(seed)
        firsts = [rng.randrange(count) for _ in range(count)]
        given = [Piece(rng.randint(1, 99), (f, f + rng.randint(0, count))) for f in firsts]
        ratios.append(place(given)[1] / peak(given))
    assert max(ratios) <= 1.1
    assert sum(ratios) / len(ratios) <= 1.01


# Programs -----------------------------------------------------------------------------------


def program_of(*args: Any, **options: Any) -> Program:
    program = gr.compile(*args, **options).program
    assert program is not None
    return program


def spans_of(program: Program) -> dict[Buffer, Span]:
    spans: dict[Buffer, Span] = {}
    for time, kernel in enumerate(program.kernels):
        for buffer, _ in buffers_of(kernel):
            if buffer.kind == "workspace":
                spans[buffer] = spans.get(buffer, (time, time))[0], time
    return spans


def live(program: Program, sizes: dict[str, int]) -> int:
    """The most bytes of buffers (rounded to lines) that are needed while any kernel runs."""
    return peak(
        [
            Piece(-(-evaluate_size(product(b.shape), sizes) * b.dtype.itemsize // 64) * 64, s)
            for b, s in spans_of(program).items()
        ]
    )


def layers(batch: Any, *widths: int, steps: int = 0, **options: Any) -> Program:
    """A training step of an MLP."""
    x, t = gr.tensor("x", (batch, widths[0])), gr.tensor("t", (batch,), "int64")
    h, parameters = x, []
    for i, (m, n) in enumerate(pairwise(widths)):
        parameters.append(gr.parameter(f"w{i}", np.zeros((m, n), np.float32)))
        h = gr.tanh(gr.nn.layer_norm(h @ parameters[-1]))
    loss = gr.mean(gr.nn.cross_entropy(h, t))
    gradient = gr.grad(loss, parameters)
    updates = {p: p - 0.1 * g for p, g in zip(parameters, gradient, strict=True)}
    return program_of([x, t], loss, updates, **options)


MODELS: dict[str, Callable[[Any], Program]] = {
    "wide": lambda batch: layers(batch, 784, 500, 500, 10),
    "falling": lambda batch: layers(batch, 700, 300, 120, 50, 20, 10),
    "deep": lambda batch: layers(batch, *[64] * 20),
    "uneven": lambda batch: layers(batch, 30, 400, 17, 256, 31, 90),
    "kernel for each node": lambda batch: layers(batch, 64, 100, 30, 10, skip="fuse"),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch", [1, 20, 128, 1000])
def test_workspace_of_fixed_sizes_is_close_to_what_lives_at_once(name: str, batch: int) -> None:
    program = MODELS[name](batch)
    assert program.workspace <= 1.1 * live(program, {})


@pytest.mark.parametrize("name", MODELS)
def test_so_is_that_of_symbolic_sizes_and_that_of_fixed_ones_together(name: str) -> None:
    """Each kind has a region of its own."""
    program = MODELS[name]("n")
    for n in (128, 1000):
        spans = spans_of(program)
        regions: dict[bool, list[Piece]] = {True: [], False: []}
        for b, span in spans.items():
            nbytes = -(-evaluate_size(product(b.shape), {"n": n}) * b.dtype.itemsize // 64)
            regions[all(isinstance(s, int) for s in b.shape)].append(Piece(nbytes * 64, span))
        total = evaluate_size(program.workspace, {"n": n})
        assert total <= 1.1 * sum(map(peak, regions.values()))


@few
@given(graph=graphs())
def test_workspace_of_random_graphs(graph: RandomGraph) -> None:
    program = program_of(graph.inputs, graph.outputs, graph.updates, skip="fuse")
    if not program.symbols and live(program, {}):
        assert program.workspace <= 1.1 * live(program, {})


# In place -----------------------------------------------------------------------------------


def in_place(make: Callable[[Any], Any]) -> tuple[Any, int]:
    """A function of many kernels, and how many results lie in place of operands."""
    x = gr.tensor("x", ("n", 30), "float64")
    f = gr.compile([x], make(x), skip="fuse")
    found = dict(successors(f.program.kernels, spans_of(f.program)))
    offsets = dict(f.program.offsets)
    for old, new in found.items():
        assert offsets[old] == offsets[new]
    return f, len(found)


CASES: list[tuple[Callable[[Any], Any], int]] = [
    (lambda x: gr.tanh(gr.exp(gr.sin(x))), 1),  # the last one is the output
    (lambda x: gr.tanh(gr.exp(gr.sin(gr.cos(x)))), 2),
    (
        lambda x: gr.exp(gr.sin(x) * gr.cos(x)) + 1,
        1,
    ),
    (lambda x: gr.exp(gr.sin(gr.sin(x) * gr.cos(x))) + gr.sin(x), 2),
    (
        lambda x: gr.exp(gr.sin(x) + gr.flip(gr.cos(x), 0)) + 1,
        1,
    ),
    (lambda x: gr.tanh(gr.exp(gr.sin(x) + gr.sum(gr.cos(x), 0))) + 1, 2),
    (lambda x: gr.tanh(gr.sin(gr.exp(x[:, :1]) + x)) + 1, 1),
]


@pytest.mark.parametrize(("make", "expected"), CASES, ids=range(len(CASES)))
def test_results_in_place_of_operands(make: Callable[[Any], Any], expected: int) -> None:
    f, count = in_place(make)
    x = np.random.default_rng(0).standard_normal((400, 30))
    (output,) = f.graph.outputs
    wanted = gr.compile(f.graph.inputs, output, backend="interpret")(x)
    for threads in (1, 3):
        g = gr.compile(f.graph.inputs, output, skip="fuse", threads=threads)
        np.testing.assert_allclose(g(x), wanted, rtol=1e-12, atol=1e-14)
    assert count == expected


@pytest.mark.parametrize(
    "make",
    [
        lambda x: gr.exp(gr.flip(gr.sin(x), 0)) + 1,
        lambda x: gr.softmax(gr.sin(x)) * 2,
        lambda x: gr.cumsum(gr.sin(x), 1) + 1,
        lambda x: gr.sum(gr.sin(x), 1) + 1,
    ],
)
def test_elements_that_are_read_elsewhere_stay(make: Callable[[Any], Any]) -> None:
    f, _ = in_place(make)
    x = np.random.default_rng(0).standard_normal((100, 30))
    wanted = gr.compile(f.graph.inputs, f.graph.outputs[0], backend="interpret")(x)
    np.testing.assert_allclose(f(x), wanted, rtol=1e-12, atol=1e-14)


@few
@given(graph=graphs())
def test_random_graphs_of_many_small_kernels_run_the_same(graph: RandomGraph) -> None:
    compare(graph, run(graph, skip="fuse"), run(graph, backend="interpret"), "skip fuse")
