"""Errors, word by word: of graphs that cannot be compiled, and of calls."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gr
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
from graphc.types import symbol

ZERO = np.zeros(3, np.float32)

x = gr.tensor("x", ("n", 3))
y = gr.tensor("y", (4, 5))
i = gr.tensor("i", (3,), "int32")
s = gr.scalar("s")
p = gr.parameter("p", ZERO)


def message(kind: type[Exception], act: Callable[[], Any]) -> str:
    """The text of the error that is raised, with each line of this file as ``LINE``."""
    with pytest.raises(kind) as caught:
        act()
    assert type(caught.value) is kind
    return re.sub(
        r"test_errors\.py:\d+( ( +))?",
        lambda m: "LINE" + ("  " if m[1] else ""),
        str(caught.value),
    )


def line_of(error: Exception, role: str) -> int:
    """The line of this file that an error names beside a role."""
    found = re.search(rf"^  {role} .*test_errors\.py:(\d+)", str(error), re.MULTILINE)
    assert found is not None
    return int(found[1])


def exactly(text: str) -> str:
    return textwrap.dedent(text).strip()


# Building -----------------------------------------------------------------------------------

BUILD: dict[str, tuple[type[Exception], Callable[[], Any], str]] = {
    "matmul": (
        ShapeError,
        lambda: x @ y,
        """
        matmul: inner sizes differ (3 and 4)
          left   f32[n, 3]  LINE  x
          right  f32[4, 5]  LINE  y
          hint: transpose the right operand, or swap the operands
        """,
    ),
    "add": (
        ShapeError,
        lambda: x + np.zeros(7, np.float32),
        """
        add: sizes 3 and 7 do not broadcast (axis -1)
          left   f32[n, 3]  LINE  x
          right  f32[7]     LINE  constant
          at     LINE
          hint: sizes on one axis must be equal, or one of them 1
        """,
    ),
    "two symbols": (
        ShapeError,
        lambda: x + gr.tensor("z", ("m", 3)),
        """
        add: sizes n and m do not broadcast (axis -2)
          left   f32[n, 3]  LINE  x
          right  f32[m, 3]  LINE  z
          at     LINE
          hint: sizes on one axis must be equal, or one of them 1
        """,
    ),
    "bitwise": (
        DTypeError,
        lambda: x & i,
        """
        bitwise_and: not defined for float32, int32
          left   f32[n, 3]  LINE  x
          right  i32[3]     LINE  i
          at     LINE
          hint: cast an operand with .astype
        """,
    ),
    "condition": (
        DTypeError,
        lambda: gr.where(x, x, 0),
        """
        where: the condition is float32, not bool
          condition  f32[n, 3]  LINE  x
          then       f32[n, 3]  LINE  x
          otherwise  f32[]      LINE  constant
          at     LINE
          hint: compare it: gr.not_equal(x, 0)
        """,
    ),
    "not a number": (
        GraphError,
        lambda: s + float("nan"),
        """
        a number in the expression is NaN
          at  LINE
          hint: if it is meant, say so: gr.constant(float('nan'))
        """,
    ),
    "empty maximum": (
        ShapeError,
        lambda: gr.max(gr.tensor("z", (0, 3)), axis=0),
        """
        max: axis 0 is empty and there is no identity to start from
          x  f32[0, 3]  LINE  z
          at     LINE
        """,
    ),
    "truth": (
        DTypeError,
        lambda: bool(s > 0),
        """
        a symbolic value has no truth value
          value  bool[]  LINE  greater
          hint: gr.where chooses; gr.maximum and gr.minimum for max and min, & for and, | for or
        """,
    ),
    "max": (
        DTypeError,
        lambda: max(s, 0),
        """
        a symbolic value has no truth value
          value  bool[]  LINE  less
          hint: gr.where chooses; gr.maximum and gr.minimum for max and min, & for and, | for or
        """,
    ),
    "chain": (
        DTypeError,
        lambda: 0 < s < 1,
        """
        a symbolic value has no truth value
          value  bool[]  LINE  greater
          hint: gr.where chooses; gr.maximum and gr.minimum for max and min, & for and, | for or
        """,
    ),
    "truth of a mask": (
        DTypeError,
        lambda: not gr.isnan(s),
        """
        a symbolic value has no truth value
          value  bool[]  LINE  isnan
          hint: gr.where chooses; &, | and ~ stand for and, or and not
        """,
    ),
    "truth of a number": (
        DTypeError,
        lambda: s or 1,
        """
        a symbolic value has no truth value
          value  f32[]  LINE  s
          hint: use gr.where for a choice, gr.equal for a comparison, `is` for identity
        """,
    ),
    "assignment": (
        DTypeError,
        lambda: x.__setitem__(0, 1),
        """
        an expression cannot be assigned to: it does not change
          value  f32[n, 3]  LINE  x
          hint: make a new one: gr.where(mask, new, x), or gr.concatenate of its parts
        """,
    ),
    "backward": (
        AttributeError,
        lambda: s.backward(),
        """
        an expression has no attribute 'backward'
          hint: gr.grad(loss, parameters) gives the gradients, as expressions
        """,
    ),
    "numpy": (
        AttributeError,
        lambda: s.numpy(),
        """
        an expression has no attribute 'numpy'
          hint: compile it, f = gr.compile(inputs, value), and call f with arrays
        """,
    ),
    "unknown attribute": (
        AttributeError,
        lambda: s.foo,
        "an expression has no attribute 'foo'",
    ),
    "mask in a list": (
        ShapeError,
        lambda: i[[True, False, True]],
        """
        getitem: the result of a boolean mask has no shape known in advance
          x  i32[3]  LINE  i
          at     LINE
          hint: use gr.where(mask, x, fill)
        """,
    ),
    "parts": (
        ShapeError,
        lambda: gr.split(y, 1.5),
        """
        split: 1.5 is no number of parts
          x  f32[4, 5]  LINE  y
          at     LINE
          hint: a number, or positions in a list
        """,
    ),
    "positions of parts": (
        ShapeError,
        lambda: gr.split(y, [1, "a"]),
        """
        split: 'a' is not a position
          x  f32[4, 5]  LINE  y
          at     LINE
          hint: positions are whole numbers
        """,
    ),
    "copies": (
        ShapeError,
        lambda: gr.tile(y, 1.5),
        """
        tile: 1.5 is no number of copies
          x  f32[4, 5]  LINE  y
          at     LINE
          hint: a number, or a list of them
        """,
    ),
    "copies by a name": (
        ShapeError,
        lambda: gr.tile(y, (2, "n")),
        """
        tile: 'n' is no number of copies
          x  f32[4, 5]  LINE  y
          at     LINE
          hint: a number, or a size
        """,
    ),
    "step of zero": (
        ShapeError,
        lambda: gr.arange(0, 5, 0),
        """
        arange: the step is 0
          at     LINE
          hint: a step above or below zero
        """,
    ),
    "huge integer": (
        DTypeError,
        lambda: gr.constant(10**5000),
        """
        an integer of 16610 bits is out of range for int64
          at  LINE
          hint: scale it, or give it a wider type: gr.constant(value, "float64")
        """,
    ),
    "huge factor": (
        DTypeError,
        lambda: x * 10**400,
        """
        an integer of 1329 bits is out of range for float32
          at  LINE
          hint: scale it, or give it a wider type: gr.constant(value, "float64")
        """,
    ),
    "derivative by a name": (
        GraphError,
        lambda: gr.grad(s, "s"),
        """
        a derivative was asked for with 's', not an expression
          hint: give the node itself, not its name: the s that gr.tensor or gr.parameter made
        """,
    ),
    "derivative of a compiled function": (
        GraphError,
        lambda: gr.grad(gr.compile(s, s * s, backend="interpret"), s),
        """
        a derivative was asked for with CompiledFunction, not an expression
          hint: differentiate what it was compiled from, f.graph.outputs, and compile that too
        """,
    ),
    "derivative of a function": (
        GraphError,
        lambda: gr.value_and_grad(abs, s),
        """
        a derivative was asked for with builtin_function_or_method, not an expression
          hint: derivatives are taken of expressions: call the function on inputs first
        """,
    ),
    "derivative by a number": (
        GraphError,
        lambda: gr.jacobian(s, [s, 3]),
        """
        a derivative was asked for with 3, not an expression
          hint: give expressions: an input, a parameter or any other node, in lists or dicts
        """,
    ),
    "another norm": (
        DTypeError,
        lambda: np.linalg.norm(x, 1),
        """
        numpy.linalg.norm: ord=1 is not defined for expressions
          operand  f32[n, 3]  LINE  x
          hint: gr.norm is the Euclidean norm; others are gr.sum(abs(x)), gr.max(abs(x))...
        """,
    ),
    "a function of NumPy": (
        DTypeError,
        lambda: np.linalg.inv(y),
        """
        numpy.linalg.inv is not defined for expressions
          operand  f32[4, 5]  LINE  y
          hint: write it with the functions of graphc, or compute it before the call
        """,
    ),
    "float": (
        DTypeError,
        lambda: float(s),
        """
        a symbolic value cannot be turned into float
          value  f32[]  LINE  s
          hint: compile it, f = gr.compile(inputs, value), and call f with arrays
        """,
    ),
    "array": (
        DTypeError,
        lambda: np.asarray(x),
        """
        a symbolic value cannot be turned into a NumPy array
          value  f32[n, 3]  LINE  x
          hint: compile it, f = gr.compile(inputs, value), and call f with arrays
        """,
    ),
    "grad of a tensor": (
        DifferentiationError,
        lambda: gr.grad(x * x, x),
        """
        grad: the output has shape (n, 3), not ()
          output  f32[n, 3]  LINE  mul
          hint: sum it (gr.sum), or use gr.vjp for a weighted sum, gr.jacobian for all rows
        """,
    ),
    "grad of an integer": (
        DifferentiationError,
        lambda: gr.grad(i.sum(), i),
        """
        grad: the output is int64, not a float
          output  i64[]  LINE  sum
          hint: cast it with .astype before, or differentiate what it was computed from
        """,
    ),
    "grad for an integer": (
        DifferentiationError,
        lambda: gr.grad(s, i),
        """
        grad: the target is int32; only floats have derivatives
          target  i32[3]  LINE  i
        """,
    ),
    "grad for a stranger": (
        DifferentiationError,
        lambda: gr.grad(s * s, [s, y]),
        """
        grad: the output does not depend on y
          output  f32[]      LINE  mul
          target  f32[4, 5]  LINE  y
          hint: check which node was meant, or pass unused="zero" for zeros
        """,
    ),
    "grad, unused": (
        DifferentiationError,
        lambda: gr.grad(s, s, unused="none"),  # type: ignore[call-overload]
        "grad: unused is error or zero, not 'none'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BUILD)
def test_building(case: str) -> None:
    kind, act, text = BUILD[case]
    assert message(kind, act) == exactly(text)


def test_lines_are_the_users_own() -> None:
    left = gr.tensor("left", (2, 3))
    right = gr.tensor("right", (2, 3))
    with pytest.raises(ShapeError) as caught:
        left @ right
    here = test_lines_are_the_users_own.__code__.co_firstlineno
    assert line_of(caught.value, "left") == here + 1
    assert line_of(caught.value, "right") == here + 2


def test_nan_that_is_meant() -> None:
    assert np.isnan(gr.compile(s, s + gr.constant(float("nan")))(1))


def test_zeros_for_unused_targets() -> None:
    _, none = gr.compile([s, y], gr.grad(s * s, [s, y], unused="zero"))(
        3, np.ones((4, 5), "f4")
    )
    np.testing.assert_array_equal(none, np.zeros((4, 5), np.float32))


# Compiling ----------------------------------------------------------------------------------

COMPILE: dict[str, tuple[type[Exception], Callable[[], Any], str]] = {
    "names of inputs": (
        GraphError,
        lambda: gr.compile([x, gr.tensor("x", ())], x),
        """
        two inputs are named 'x'
          first   f32[n, 3]  LINE  x
          second  f32[]      LINE  x
          hint: give each leaf its own name
        """,
    ),
    "names of parameters": (
        GraphError,
        lambda: gr.compile([], p + gr.parameter("p", ZERO)),
        """
        two parameters are named 'p'
          first   f32[3]  LINE  p
          second  f32[3]  LINE  p
          hint: give each leaf its own name
        """,
    ),
    "names of both": (
        GraphError,
        lambda: gr.compile(z := gr.tensor("p", (3,)), p + z),
        """
        an input and a parameter are named 'p'
          first   f32[3]  LINE  p
          second  f32[3]  LINE  p
          hint: give each leaf its own name
        """,
    ),
    "missing leaf": (
        GraphError,
        lambda: gr.compile([s], [x * s]),
        """
        the outputs depend on 'x', not among the inputs
          leaf  f32[n, 3]  LINE  x
          hint: add it to the inputs, or replace it by a constant
        """,
    ),
    "missing leaf of an update": (
        GraphError,
        lambda: gr.compile([], None, {p: p * s}),
        """
        the outputs depend on 's', not among the inputs
          leaf  f32[]  LINE  s
          hint: add it to the inputs, or replace it by a constant
        """,
    ),
    "twice": (
        GraphError,
        lambda: gr.compile([s, s], s),
        """
        the input 's' is given twice
          input  f32[]  LINE  s
        """,
    ),
    "no leaf": (
        GraphError,
        lambda: gr.compile([s * 2], s),
        """
        an input of a compiled function must be a leaf
          input  f32[]  LINE  mul
          hint: make it with gr.tensor(name, shape); parameters are read by themselves
        """,
    ),
    "a parameter as input": (
        GraphError,
        lambda: gr.compile([p], p),
        """
        an input of a compiled function must be a leaf
          input  f32[3]  LINE  p
          hint: make it with gr.tensor(name, shape); parameters are read by themselves
        """,
    ),
    "inputs": (
        GraphError,
        lambda: gr.compile(["s"], s),  # type: ignore[list-item]
        """
        compile: inputs holds str, not an expression
          hint: inputs is an Expr, or a list, tuple or dict of them
        """,
    ),
    "outputs": (
        GraphError,
        lambda: gr.compile(s, np.zeros(3)),  # type: ignore[arg-type]
        """
        compile: outputs is ndarray, not an expression
          hint: outputs is an Expr, or a list, tuple or dict of them
        """,
    ),
    "an output": (
        GraphError,
        lambda: gr.compile(s, {"a": s, "b": 3.0}),  # type: ignore[dict-item]
        """
        compile: outputs holds float, not an expression
          hint: outputs is an Expr, or a list, tuple or dict of them
        """,
    ),
    "key of an update": (
        GraphError,
        lambda: gr.compile(s, s, {s: s}),  # type: ignore[dict-item]
        """
        compile: an update needs a parameter as its key, not <s: input f32[]>
          key  f32[]  LINE  s
          hint: make state with gr.parameter(name, value)
        """,
    ),
    "updates": (
        GraphError,
        lambda: gr.compile(s, s, [(p, p)]),  # type: ignore[arg-type]
        """
        compile: updates is list, not a dict
          hint: updates={parameter: next value}
        """,
    ),
    "number as an update": (
        GraphError,
        lambda: gr.compile(s, s, {p: 3.0}),  # type: ignore[dict-item]
        """
        compile: the update of 'p' is float, not an expression
          parameter  f32[3]  LINE  p
          hint: for a fixed value gr.constant, broadcast to the parameter's shape
        """,
    ),
    "type of an update": (
        DTypeError,
        lambda: gr.compile(s, s, {p: (p * 1).astype("float64")}),
        """
        the update of 'p' is float64, not float32
          parameter   f32[3]  LINE  p
          next value  f64[3]  LINE  cast
          hint: cast it: .astype('float32')
        """,
    ),
    "shape of an update": (
        ShapeError,
        lambda: gr.compile(s, s, {p: s}),
        """
        the update of 'p' has shape (), not (3,)
          parameter   f32[3]  LINE  p
          next value  f32[]   LINE  s
        """,
    ),
    "backend": (
        CompileError,
        lambda: gr.compile(s, s, backend="cuda"),
        """
        there is no backend 'cuda'
          hint: installed: interpret, llvm
        """,
    ),
    "math": (
        CompileError,
        lambda: gr.compile(s, s, math="exact"),  # type: ignore[arg-type]
        "compile: math is strict, default or fast, not 'exact'",
    ),
    "threads": (
        CompileError,
        lambda: gr.compile(s, s, threads=0),
        "compile: threads is a positive number, not 0",
    ),
    "kind of threads": (
        CompileError,
        lambda: gr.compile(s, s, threads=True),
        "compile: threads is a positive number, not True",
    ),
    "target": (
        CompileError,
        lambda: gr.compile(s, s, target="mmx"),
        """
        target 'mmx' is not known
          hint: one of native, sse2, avx2, avx512
        """,
    ),
    "stage": (
        CompileError,
        lambda: gr.compile(s, s, skip=["cse", "fusion"]),
        """
        compile: there is no stage 'fusion' to skip
          hint: stages: roll, cse, fold, simplify, stabilize, multiply-add, fuse
        """,
    ),
    "stage that is needed": (
        CompileError,
        lambda: gr.compile(s, s, skip="expand"),
        """
        compile: there is no stage 'expand' to skip
          hint: stages: roll, cse, fold, simplify, stabilize, multiply-add, fuse
        """,
    ),
    "name": (
        CompileError,
        lambda: gr.compile(s, s, name="my step"),
        """
        compile: 'my step' is not a name
          hint: use a Python identifier
        """,
    ),
    "sizes": (
        CompileError,
        lambda: gr.compile(gr.tensor("z", (symbol("n") * symbol("m"),)), gr.constant(1)),
        """
        sizes m, n cannot be found from the shapes of the inputs
          hint: give some input an axis of that size
        """,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", COMPILE)
def test_compiling(case: str) -> None:
    kind, act, text = COMPILE[case]
    assert message(kind, act) == exactly(text)


# Calling ------------------------------------------------------------------------------------

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
