"""Errors of calls, word by word, on both backends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gr
from compiler.error_texts import exactly, message
from graphc.errors import (
    CompileError,
    DifferentiationError,
    DTypeError,
    GraphError,
    IndexOutOfRangeError,
    InputError,
    InputTypeError,
    ShapeError,
)

ZERO = np.zeros(3, np.float32)

x = gr.tensor("x", ("n", 3))
y = gr.tensor("y", (4, 5))
i = gr.tensor("i", (3,), "int32")
s = gr.scalar("s")
p = gr.parameter("p", ZERO)


X, T = np.zeros((4, 3), np.float32), np.zeros(4, np.float32)
INDICES = np.zeros(3, np.int32)


@pytest.fixture(scope="module", params=["llvm", "interpret"])
def functions(request: pytest.FixtureRequest) -> dict[str, gr.CompiledFunction]:
    t, window = gr.tensor("t", ("n",)), gr.tensor("w", ("m", 3))
    backend = request.param
    return {
        "step": gr.compile([x, t], [x * 1, x.sum()], name="step", backend=backend),
        "dicts": gr.compile({"x": x}, {"y": x * 2, "z": x + 1}, name="dicts", backend=backend),
        "one": gr.compile(x, x * 2, name="one", backend=backend),
        "pick": gr.compile([x, i], gr.take(x, i, axis=0), name="pick", backend=backend),
        "highest": gr.compile(window, gr.max(window, axis=0), name="highest", backend=backend),
        "none": gr.compile([], p + 1, name="none", backend=backend),
        "tree": gr.compile(
            [[x, {"b": t}], i], (x * 1, {"a": [x.sum(), i]}), name="tree", backend=backend
        ),
    }


READ_ONLY = np.zeros((4, 3), np.float32)
READ_ONLY.flags.writeable = False

CALL: dict[str, tuple[str, type[Exception], tuple[Any, ...], dict[str, Any], str]] = {
    "sizes disagree": (
        "step", InputError, (X, T[:2]), {},
        """
        step: axis 0 of 't' has size 2, expected n = 4
          expected  f32[n]  LINE  t
          found     f32[2]
          n = 4 by axis 0 of 'x'
        """,
    ),
    "size": (
        "step", InputError, (X[:, :2], T), {},
        """
        step: axis 1 of 'x' has size 2, expected 3
          expected  f32[n, 3]  LINE  x
          found     f32[4, 2]
        """,
    ),
    "rank": (
        "step", InputError, (X[0], T), {},
        """
        step: the input 'x' has 1 axes, expected 2
          expected  f32[n, 3]  LINE  x
          found     f32[3]
        """,
    ),
    "lossy cast": (
        "step", InputTypeError, (X.astype(float), T), {},
        """
        step: the input 'x' is float64, expected float32
          expected  f32[n, 3]  LINE  x
          found     f64[4, 3]
          hint: convert it: x.astype('float32')
        """,
    ),
    "complex": (
        "step", InputTypeError, (X.astype(complex), T), {},
        """
        step: the input 'x' is complex128, expected float32
          expected  f32[n, 3]  LINE  x
          found     complex128[4, 3]
          hint: convert it: x.astype('float32')
        """,
    ),
    "None": (
        "step", InputTypeError, (None, T), {},
        """
        step: the input 'x' got NoneType, not an array of numbers
          expected  f32[n, 3]  LINE  x
        """,
    ),
    "an expression": (
        "step", InputTypeError, (x, T), {},
        """
        step: the input 'x' got Expr, not an array of numbers
          expected  f32[n, 3]  LINE  x
        """,
    ),
    "ragged": (
        "step", InputTypeError, ([[1, 2, 3], [4]], T), {},
        """
        step: the input 'x' got list, not an array of numbers
          expected  f32[n, 3]  LINE  x
        """,
    ),
    "keyword": (
        "step", InputTypeError, (X,), {"u": T},
        """
        step has no input 'u'
          hint: inputs: x, t
        """,
    ),
    "one list": (
        "step",
        InputTypeError,
        ([X, T],),
        {},
        """
        step takes 2 inputs (x, t), one list given
          hint: unpack it: step(*values)
        """,
    ),
    "one dict": (
        "step",
        InputTypeError,
        ({"x": X, "t": T},),
        {},
        """
        step takes 2 inputs (x, t), one dict given
          hint: unpack it: step(**values)
        """,
    ),
    "missing": (
        "step", InputTypeError, (X,), {},
        """
        step: the input 't' is missing
          hint: inputs: x, t
        """,
    ),
    "too many": (
        "step", InputTypeError, (X, T, T), {},
        "step takes 2 inputs (x, t), 3 given",
    ),
    "too many for none": (
        "none", InputTypeError, (X,), {},
        "none takes 0 inputs (none), 1 given",
    ),
    "given twice": (
        "step", InputTypeError, (X, T), {"x": X},
        "step: the input 'x' is given twice",
    ),
    "missing key": (
        "dicts", InputTypeError, (), {},
        """
        dicts takes a dict with the keys x
          missing  x
        """,
    ),
    "unknown key": (
        "dicts", InputTypeError, ({"x": X, "q": X},), {},
        """
        dicts takes a dict with the keys x
          unknown  q
        """,
    ),
    "no dict": (
        "dicts", InputTypeError, (X,), {},
        """
        dicts takes a dict with the keys x
          missing  x
          found    ndarray
        """,
    ),
    "form of an input": (
        "tree", InputTypeError, ([X, {"c": T}], INDICES), {},
        """
        tree: the input[0][1] is a dict with the keys b
          found  a dict with the keys c
        """,
    ),
    "array for a list of inputs": (
        "tree", InputTypeError, (X, INDICES), {},
        """
        tree: the input[0] is a list of length 2
          found  ndarray
        """,
    ),
    "missing nested input": (
        "tree", InputTypeError, (), {"i": INDICES},
        """
        tree: the input 'inputs[0]' is missing
          hint: inputs: inputs[0], i
        """,
    ),
    "form of out": (
        "tree", InputTypeError, ([X, {"b": T}], INDICES), {"out": (X.copy(), {"a": X})},
        """
        tree: out[1]['a'] is a list of length 2
          found  ndarray
        """,
    ),
    "dict for a list of inputs": (
        "one", InputTypeError, ({"x": X},), {},
        """
        one: the input 'x' got dict, not an array of numbers
          expected  f32[n, 3]  LINE  x
          hint: give values by name: one(**values)
        """,
    ),
    "number of outs": (
        "step", InputTypeError, (X, T), {"out": [X.copy()]},
        "step: out has length 1, there are 2 outputs",
    ),
    "type of out": (
        "one", InputTypeError, (X,), {"out": np.zeros((4, 3))},
        "one: out[0] is float64, expected float32",
    ),
    "shape of out": (
        "one", InputError, (X,), {"out": np.zeros((3, 4), np.float32)},
        "one: out[0] has shape (3, 4), expected (4, 3)",
    ),
    "read-only out": (
        "one", InputError, (X,), {"out": READ_ONLY},
        "one: out[0] is read-only",
    ),
    "out that is no array": (
        "one", InputTypeError, (X,), {"out": 5},
        """
        one: out is an array
          found  int
        """,
    ),
    "out that holds no arrays": (
        "step", InputTypeError, (X, T), {"out": [1, 2]},
        "step: out[0] is int, not an array",
    ),
    "keys of out": (
        "dicts", InputTypeError, ({"x": X},), {"out": {"y": X.copy()}},
        """
        dicts: out is a dict with the keys y, z
          found  a dict with the keys y
        """,
    ),
    "empty maximum": (
        "highest", InputError, (X[:0],), {},
        """
        highest: a reduction without identity needs at least one element
          m = 0, at least 1 needed (m = 0)
        """,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CALL)
def test_calling(case: str, functions: dict[str, gr.CompiledFunction]) -> None:
    name, kind, args, kwargs, text = CALL[case]
    assert message(kind, lambda: functions[name](*args, **kwargs)) == exactly(text)


@pytest.mark.parametrize("bad", [4, -5, 2**31 - 1, -(2**31)])
def test_index_out_of_range(bad: int, functions: dict[str, gr.CompiledFunction]) -> None:
    pick = functions["pick"]
    with pytest.raises(IndexOutOfRangeError) as caught:
        pick(X, np.array([0, 1, bad], np.int32))
    assert isinstance(caught.value, IndexError)
    assert isinstance(caught.value, InputError)
    assert str(caught.value).startswith("pick: ")
    assert "out of range" in str(caught.value)
    np.testing.assert_array_equal(pick(X, [0, 0, 0]), X[:3])


def test_builtin_kin() -> None:
    for kind, builtin in [
        (ShapeError, ValueError), (DTypeError, TypeError), (GraphError, ValueError),
        (DifferentiationError, ValueError), (CompileError, RuntimeError),
        (InputError, ValueError), (InputTypeError, TypeError),
        (IndexOutOfRangeError, IndexError),
    ]:  # fmt: skip
        assert issubclass(kind, gr.GraphcError)
        assert issubclass(kind, builtin)


@pytest.mark.parametrize(
    "build",
    [
        lambda x: gr.where(x == 0, 1.0, x),
        lambda x: gr.mean(x != 0),
        lambda x: gr.sum(x == 0),
    ],
)
def test_comparing_nodes_by_identity_is_not_taken_for_a_condition(
    build: Callable[[gr.Expr], gr.Expr],
) -> None:
    with pytest.raises(gr.errors.DTypeError, match=r"write gr\.equal or gr\.not_equal"):
        build(gr.vector("x", 3))
