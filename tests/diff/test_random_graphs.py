"""Derivatives of random graphs by one way agree with those by another.

The same few graphs on every run. With GRAPHC_EXAMPLES=2000 in the environment every test tries
as many new ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from hypothesis import assume, given, note
from hypothesis import strategies as st

import graphc as gr
from compiler.random_graphs import RandomGraph, graphs
from compiler.test_random_graphs import few
from graphc.expr import substitute
from graphc.types import evaluate_size

Array = np.ndarray[Any, Any]
SLICES = 3
#: Of sums of many terms, by different paths.
TOLERANCE = 1e-7


class Problem:
    """A loss of a random graph's outputs, and leaves to differentiate it with respect to."""

    def __init__(self, graph: RandomGraph, seed: int) -> None:
        note(repr(graph))
        self.rng = np.random.default_rng(seed)
        shapes = zip(graph.inputs, graph.arrays, strict=True)
        self.sizes = {
            str(s): n for x, a in shapes for s, n in zip(x.shape, a.shape, strict=True)
        }
        self.values: dict[gr.Expr, Any] = dict(zip(graph.inputs, graph.arrays, strict=True))
        leaves = [*graph.inputs, *graph.parameters]
        self.targets = [x for x in leaves if self.fits(x)]
        self.outputs = [y for y in graph.outputs if self.fits(y)]
        assume(self.targets)
        assume(self.outputs)
        terms = [gr.mean(gr.sin(y)) for y in self.outputs]
        self.loss = sum(terms[1:], start=terms[0])

    def fits(self, x: gr.Expr) -> bool:
        return x.dtype.name == "float64" and 0 < np.prod(self.shape(x)) <= 3000

    def shape(self, x: gr.Expr) -> list[int]:
        return [evaluate_size(s, self.sizes) for s in x.shape]

    def leaves(self, like: Sequence[gr.Expr], name: str, *more: int) -> list[gr.Expr]:
        """New inputs with values, of the shapes of others with more axes in front."""
        made = [gr.tensor(f"{name}{i}", (*more, *x.shape), x.dtype) for i, x in enumerate(like)]
        for leaf, x in zip(made, like, strict=True):
            self.values[leaf] = self.rng.uniform(-1, 1, (*more, *self.shape(x)))
        return made

    def evaluate(self, outputs: Sequence[gr.Expr], **options: Any) -> list[Array]:
        function = gr.compile([*self.values], [*outputs], **options)
        return [np.asarray(r) for r in function(*self.values.values())]


def close(found: Sequence[Array], expected: Sequence[Array]) -> None:
    for a, b in zip(found, expected, strict=True):
        scale = max(1.0, float(np.max(np.abs(b), initial=0.0)))
        np.testing.assert_allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE * scale)


SEEDS = st.integers(0, 2**32 - 1)


@few
@given(graph=graphs(), seed=SEEDS)
def test_forward_mode_is_the_transpose_of_reverse_mode(graph: RandomGraph, seed: int) -> None:
    p = Problem(graph, seed)
    directions = p.leaves(p.targets, "v")
    gradients = gr.grad(p.loss, p.targets, unused="zero")
    along = gr.jvp(p.loss, p.targets, directions, unused="zero")
    terms = [gr.sum(g * v) for g, v in zip(gradients, directions, strict=True)]
    slope = sum(terms[1:], start=terms[0])
    second = gr.hvp(p.loss, p.targets, directions, unused="zero")
    again = gr.grad(slope, p.targets, unused="zero")
    expected = p.evaluate([slope, *again], backend="interpret")
    close(p.evaluate([along, *second], backend="interpret"), expected)
    close(p.evaluate([along, *second]), expected)


@few
@given(graph=graphs(), seed=SEEDS)
def test_mapped_gradients_are_gradients_of_slices(graph: RandomGraph, seed: int) -> None:
    p = Problem(graph, seed)
    mapped = [x for x in p.targets if x in graph.inputs]
    assume(mapped)
    stacked = p.leaves(mapped, "w", SLICES)
    results = [p.outputs[0], *gr.grad(p.loss, mapped, unused="zero")]

    def one(*xs: gr.Expr) -> list[gr.Expr]:
        return list(substitute(results, dict(zip(mapped, xs, strict=True))))

    found = p.evaluate(gr.vmap(one)(*stacked))
    for number, expected in enumerate(slices(p, mapped, stacked, results)):
        close([a[number] for a in found], expected)


def slices(
    p: Problem,
    mapped: Sequence[gr.Expr],
    stacked: Sequence[gr.Expr],
    results: Sequence[gr.Expr],
) -> Iterator[list[Array]]:
    """The results for each slice of the values of the stacked leaves."""
    whole = [p.values[w] for w in stacked]
    for number in range(SLICES):
        p.values.update({x: w[number] for x, w in zip(mapped, whole, strict=True)})
        yield p.evaluate(results, backend="interpret")
