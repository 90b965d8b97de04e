"""Random graphs run the same by every way of compiling them.

The same few graphs on every run. With GRAPHC_EXAMPLES=2000 in the environment every test tries
as many new ones.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import graphc as gr
from compiler.random_graphs import RandomGraph, graphs
from graphc.pipeline import GRAPH_STAGES

#: The examples of every run; 2000 new ones with GRAPHC_EXAMPLES=2000.
_COUNT = int(os.environ.get("GRAPHC_EXAMPLES", "0"))
few = settings(
    max_examples=_COUNT or 20,
    derandomize=not _COUNT,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

TOLERANCE = {"float64": 1e-10, "float32": 1e-4}
Results = list[np.ndarray[Any, Any]]


def run(graph: RandomGraph, **options: Any) -> Results:
    """Outputs of two calls in a row and the parameters after each."""
    start = [p.value.copy() for p in graph.parameters]
    try:
        f = gr.compile(graph.inputs, graph.outputs, graph.updates, **options)
        found: Results = []
        for arrays in (graph.arrays, [_strided(a) for a in graph.arrays]):
            found += [np.asarray(r) for r in f(*arrays)]
            found += [p.value.copy() for p in graph.parameters]
    finally:
        for p, value in zip(graph.parameters, start, strict=True):
            p.value = value
    return found


def _strided(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same elements two steps apart in memory, last axis first."""
    wide = np.repeat(array.T, 2, axis=0) if array.ndim else array
    return wide[::2].T if array.ndim else wide


def compare(graph: RandomGraph, found: Results, expected: Results, label: str) -> None:
    bounds = [*graph.bounds, *[1.0] * len(graph.parameters)] * 2
    for number, (a, b, bound) in enumerate(zip(found, expected, bounds, strict=True)):
        assert a.dtype == b.dtype, (label, number)
        assert a.shape == b.shape, (label, number)
        if b.dtype.kind != "f":
            np.testing.assert_array_equal(a, b, err_msg=f"{label}: result {number}")
            continue
        tolerance = TOLERANCE[b.dtype.name]
        scale = max(1.0, bound, float(np.max(np.abs(b[np.isfinite(b)]), initial=0.0)))
        message = f"{label}: result {number}"
        np.testing.assert_allclose(
            a, b, rtol=tolerance, atol=tolerance * scale, err_msg=message
        )


OPTIONAL = [stage.name for stage in GRAPH_STAGES if stage.optional]
WAYS: dict[str, dict[str, Any]] = {
    "default": {"verify": True},
    "no fuse": {"skip": ("fuse",)},
    "no stage": {"skip": tuple(OPTIONAL)},
    "strict": {"math": "strict"},
    "avx2": {"target": "avx2"},
    "sse2": {"target": "sse2"},
    **{f"no {name}": {"skip": (name,)} for name in OPTIONAL},
}


@few
@given(graph=graphs())
def test_every_level_of_work_agrees_with_the_interpreter(graph: RandomGraph) -> None:
    check(graph, ["default", "no fuse", "strict"])


@few
@given(graph=graphs(), ways=st.sets(st.sampled_from([*WAYS][2:]), min_size=2, max_size=2))
def test_every_way_agrees_with_the_interpreter(graph: RandomGraph, ways: set[str]) -> None:
    check(graph, sorted(ways))


def check(graph: RandomGraph, ways: Sequence[str]) -> None:
    note(repr(graph))
    expected = run(graph, backend="interpret")
    for way in ways:
        compare(graph, run(graph, threads=2, **WAYS[way]), expected, way)


@few
@given(graph=graphs())
def test_results_do_not_depend_on_threads(graph: RandomGraph) -> None:
    one, two = (run(graph, threads=n) for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert a.tobytes() == b.tobytes()
