"""Errors of compiling graphs, word by word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gr
from compiler.error_texts import exactly, message
from graphc.errors import (
    CompileError,
    DTypeError,
    GraphError,
    ShapeError,
)
from graphc.types import symbol

ZERO = np.zeros(3, np.float32)

x = gr.tensor("x", ("n", 3))
y = gr.tensor("y", (4, 5))
i = gr.tensor("i", (3,), "int32")
s = gr.scalar("s")
p = gr.parameter("p", ZERO)


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
        the parameter 'p' is no input: its value is read at each call
          input  f32[3]  LINE  p
          hint: leave it out of the inputs, or make a leaf with gr.tensor
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
          hint: stages: roll, cse, fold, simplify, stabilize, multiply-add, recompute, fuse
        """,
    ),
    "stage that is needed": (
        CompileError,
        lambda: gr.compile(s, s, skip="expand"),
        """
        compile: there is no stage 'expand' to skip
          hint: stages: roll, cse, fold, simplify, stabilize, multiply-add, recompute, fuse
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
