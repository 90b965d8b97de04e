"""Random training steps, called again and again, agree with the interpreter.

The same steps on every run. With GRAPHC_EXAMPLES=2000 in the environment there are as many,
others on each run; a failure tells the number of its step.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import graphc as gr
from compiler.random_training import Training, training
from graphc.pipeline import GRAPH_STAGES

Array = np.ndarray[Any, Any]
#: Outputs of a call, then the parameters after it.
Results = list[Array]

_COUNT = int(os.environ.get("GRAPHC_EXAMPLES", "0"))
_FIRST = int(time.time()) * 1000 if _COUNT else 0
#: How many steps a test looks at.
_TOGETHER = 10
CALLS = 4
TOLERANCE = {"float64": 1e-9, "float32": 3e-4}

OPTIONAL = [stage.name for stage in GRAPH_STAGES if stage.optional]
WAYS: list[dict[str, Any]] = [
    {},
    {"verify": True},
    {"skip": ("fuse",)},
    {"skip": tuple(OPTIONAL)},
    {"math": "strict"},
    {"math": "fast"},
    {"target": "avx2"},
    {"target": "sse2"},
    {"check_finite": True},
    *({"skip": (name,)} for name in OPTIONAL),
]


def several(count: int) -> pytest.MarkDecorator:
    """A test of so many steps by default, ``_TOGETHER`` at a time."""
    starts = range(_FIRST, _FIRST + (_COUNT or count), _TOGETHER)
    return pytest.mark.parametrize("first", starts)


def numbers(first: int) -> range:
    return range(first, first + _TOGETHER)


def compiled(t: Training, **options: Any) -> Any:
    return gr.compile(t.inputs, t.outputs, t.updates, **options)


@contextmanager
def unchanged(t: Training) -> Iterator[None]:
    """Afterwards the parameters are what they were."""
    values = states(t)
    try:
        yield
    finally:
        assign(t, values)


def states(t: Training) -> list[Array]:
    return [p.value.copy() for p in t.parameters]


def assign(t: Training, values: Sequence[Array]) -> None:
    for p, value in zip(t.parameters, values, strict=True):
        p.value = value


def calls(number: int, t: Training, function: Any) -> Iterator[tuple[list[Array], Results]]:
    """The arguments and results of some calls in a row, from the same state every time."""
    with unchanged(t):
        for call in range(CALLS):
            arrays = t.arguments(number + call, t.batches[call % len(t.batches)])
            found = [np.array(a) for a in function(*arrays)]
            yield arrays, [*found, *states(t)]


def once(t: Training, function: Any, before: Sequence[Array], arrays: list[Array]) -> Results:
    """The results of one call from a state; the parameters stay what they are."""
    with unchanged(t):
        assign(t, before)
        return [*map(np.asarray, function(*arrays)), *states(t)]


def compare(found: Results, expected: Results, label: str) -> None:
    for place, (a, b) in enumerate(zip(found, expected, strict=True)):
        tolerance = TOLERANCE[b.dtype.name]
        assert (a.dtype, a.shape) == (b.dtype, b.shape), (label, place)
        scale = max(1.0, float(np.max(np.abs(b), initial=0.0)))
        np.testing.assert_allclose(
            a, b, rtol=tolerance, atol=tolerance * scale, err_msg=f"{label}: result {place}"
        )


def bits(number: int, t: Training, function: Any) -> list[bytes]:
    return [a.tobytes() for _, results in calls(number, t, function) for a in results]


@several(120)
def test_every_call_agrees_with_the_interpreter(first: int) -> None:
    """Each call is compared with one of the interpreter from the same state."""
    for number in numbers(first):
        t, way = training(number), WAYS[number % len(WAYS)]
        expected = compiled(t, backend="interpret")
        before = states(t)
        for call, (arrays, found) in enumerate(calls(number, t, compiled(t, **way))):
            wanted = once(t, expected, before, arrays)
            compare(found, wanted, f"step {number}, {way}, call {call}")
            before = found[len(t.outputs) :]


@several(30)
def test_bits_depend_on_neither_threads_nor_cache(
    first: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHC_CACHE", str(tmp_path))
    for number in numbers(first):
        t = training(number)
        wanted = bits(number, t, compiled(t, threads=1))
        again = compiled(t, threads=4)
        assert again._executable.notes["object"] == "from the cache"
        assert bits(number, t, again) == wanted, f"step {number}"


@several(30)
def test_results_may_go_where_arguments_lie(first: int) -> None:
    for number in numbers(first):
        t = training(number)
        function = compiled(t)
        wanted = bits(number, t, function)

        def given(*arrays: Array, t: Training = t, function: Any = function) -> Any:
            free = {a.shape: a for a in arrays}
            with unchanged(t):
                shapes = [np.shape(r) for r in function(*arrays)]
            # Each argument is taken for one result at most.
            out = [free.pop(s, None) for s in shapes]
            out = [np.empty(s, t.dtype) if a is None else a
                   for a, s in zip(out, shapes, strict=True)]  # fmt: skip
            return function(*arrays, out=out)

        assert bits(number, t, given) == wanted, f"step {number}"


@several(30)
def test_bound_calls_give_the_same_bits(first: int) -> None:
    for number in numbers(first):
        t = training(number)
        function = compiled(t)
        wanted = bits(number, t, function)
        assert bits(number, t, lambda *a, f=function: f.bind(*a)()) == wanted, f"step {number}"
