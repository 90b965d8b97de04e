"""Errors of building graphs, word by word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gr
from compiler.error_texts import exactly, line_of, message
from graphc.errors import (
    DifferentiationError,
    DTypeError,
    GraphError,
    ShapeError,
)

ZERO = np.zeros(3, np.float32)

x = gr.tensor("x", ("n", 3))
y = gr.tensor("y", (4, 5))
i = gr.tensor("i", (3,), "int32")
s = gr.scalar("s")
p = gr.parameter("p", ZERO)


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
