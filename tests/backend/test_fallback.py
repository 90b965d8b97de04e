"""Calls where the layout of Python's objects is not certain: through Python, same results.

Free-threaded and future interpreters go this way; here it is forced.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gr
from graphc.errors import GraphcError
from graphc.types import DTYPES
from graphc_llvm import builtin, layout

RNG = np.random.default_rng(0)
A = RNG.standard_normal((6, 4))


def network() -> Any:
    x = gr.tensor("x", ("n", 4), "float64")
    w = gr.parameter("w", np.linspace(-1, 1, 12).reshape(4, 3))
    loss = gr.mean(gr.tanh(x @ w) ** 2)
    return [x], (loss, gr.softmax(x @ w)), {w: w - 0.1 * gr.grad(loss, w)}


def numbers() -> Any:
    leaves = [gr.scalar(f"{name}_", dtype=name) for name in DTYPES]
    return leaves, list(leaves), None


def lookup() -> Any:
    x, i = gr.tensor("x", ("n", 4), "float64"), gr.tensor("i", ("m",), "int64")
    return {"x": x, "i": i}, {"rows": gr.take(x, i, 0), "sum": (gr.sum(x),)}, None


def sizes() -> Any:
    x, y = gr.tensor("x", ("n", 4), "float64"), gr.tensor("y", ("n",), "float64")
    return [x, y], gr.concatenate([gr.sum(x, 1), y]), None


PLACES = np.array([0, 5, -1])
CALLS: list[tuple[Callable[[], Any], tuple[Any, ...], dict[str, Any]]] = [
    (network, (A,), {}),
    (network, (A[::2],), {}),
    (network, (A.astype(np.float32),), {}),
    (network, (A[:, :3],), {}),
    (network, (A.tolist(),), {}),
    (network, (), {"x": A}),
    (network, (), {}),
    (numbers, tuple(np.dtype(d).type(1) for d in DTYPES), {}),
    (numbers, (True, -7, 200, 5, -9, 0.25, 1e300), {}),
    (numbers, (True, 300, 200, 5, -9, 0.25, 1e300), {}),
    (numbers, (True, 0, 0, 0, 0, 1e300, 0), {}),
    (lookup, ({"x": A, "i": PLACES},), {}),
    (lookup, ({"x": A, "i": PLACES + 1},), {}),
    (lookup, ({"x": A},), {}),
    (sizes, (A, A[:, 0].copy()), {}),
    (sizes, (A, A[:5, 0].copy()), {}),
    (sizes, (A, A[:, 0].copy()), {"out": np.zeros(12)}),
    (sizes, (A, A[:, 0].copy()), {"out": np.zeros(13)}),
    (sizes, (A, A[:, 0].copy()), {"out": np.zeros(24)[::2]}),
]


def outcome(make: Callable[[], Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Results of calls and bound calls, or their errors, and the parameters after them."""
    inputs, outputs, updates = make()
    f = gr.compile(inputs, outputs, updates, threads=2)
    found: list[Any] = []
    for call in (lambda: f(*args, **kwargs), lambda: f.bind(*args, **kwargs)()):
        try:
            found += [call(), call()]
        except GraphcError as error:
            found.append(f"{type(error).__name__}: {error}")
    return found, [p.value for p in f.graph.parameters()]


@pytest.mark.parametrize(("make", "args", "kwargs"), CALLS, ids=range(len(CALLS)))
def test_results_and_errors_are_those_of_native_calls(
    make: Callable[[], Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    native = outcome(make, args, kwargs)
    monkeypatch.setattr(layout, "matches", lambda: False)
    other = outcome(make, args, kwargs)
    np.testing.assert_equal(other, native)
    assert flat_types(other) == flat_types(native)


def flat_types(value: Any) -> list[type]:
    """The types in nested lists, tuples and dicts."""
    pending, found = [value], []
    while pending:
        item = pending.pop()
        found.append(type(item))
        if isinstance(item, (list, tuple)):
            pending.extend(item)
        elif isinstance(item, dict):
            pending.extend(item.values())
    return found


def test_no_builtin_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    x = gr.tensor("x", (3,))
    native = gr.compile([x], 2 * x)
    assert builtin.holder(native._executable.callable) is not None
    monkeypatch.setattr(layout, "matches", lambda: False)
    f = gr.compile([x], 2 * x)
    assert builtin.holder(f._executable.callable) is None
    np.testing.assert_array_equal(f(np.ones(3, np.float32)), np.full(3, 2, np.float32))


@pytest.mark.parametrize(
    "name",
    [
        "OBJECT_VALUE",
        "OBJECT_TYPE",
        "VAR_SIZE",
        "TUPLE_ITEMS",
        "ARRAY_DATA",
        "ARRAY_RANK",
        "ARRAY_DTYPE",
        "ARRAY_FLAGS",
        "SCALAR_SIZE",
    ],
)
def test_a_field_in_another_place_is_noticed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert layout.matches.__wrapped__()
    monkeypatch.setattr(layout, name, getattr(layout, name) + 8)
    assert not layout.matches.__wrapped__()


def test_free_threaded_builds_are_called_through_python(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sysconfig, "get_config_var", lambda _: 1)
    assert not layout.matches.__wrapped__()
