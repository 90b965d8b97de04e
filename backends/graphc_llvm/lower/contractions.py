"""A contraction kernel: calls of the library's matrix product over the batch.

The library multiplies floats; products of other types are written as loops.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Final

from graphc.loops.ir import (
    Accumulate,
    Accumulator,
    Compute,
    ContractionKernel,
    Index,
    Load,
    Loop,
    LoopKernel,
    Operand,
    Statement,
    Store,
)
from graphc.types import Shape, Size, same_size
from graphc_llvm.emit import Value
from graphc_llvm.lower.code import Bound, Code
from graphc_llvm.lower.epilogue import epilogue
from graphc_llvm.lower.frame import Finder, Frame

SYMBOLS: Final = {"float32": "gc_gemm_f32", "float64": "gc_gemm_f64"}


def collapsed(kernel: ContractionKernel) -> tuple[Shape, tuple[Shape, Shape, Shape]]:
    """The batch with axes merged that are one axis in all operands, and their strides."""
    axes: list[tuple[Size, tuple[Size, Size, Size]]] = []
    operands = (kernel.a.batch, kernel.b.batch, kernel.out.batch)
    for extent, a, b, out in zip(kernel.batch_shape, *operands, strict=True):
        inner = (a, b, out)
        if same_size(extent, 1):
            continue
        if axes and all(
            same_size(outer, stride * extent)
            for outer, stride in zip(axes[-1][1], inner, strict=True)
        ):
            axes[-1] = (axes[-1][0] * extent, inner)
        else:
            axes.append((extent, inner))
    shape = tuple(extent for extent, _ in axes)
    strides = [tuple(own[k] for _, own in axes) for k in range(3)]
    return shape, (strides[0], strides[1], strides[2])


def in_library(kernel: ContractionKernel) -> bool:
    """Whether the library multiplies this element type."""
    return kernel.dtype.name in SYMBOLS


def as_loops(kernel: ContractionKernel) -> LoopKernel:
    """The same product as a nest: batch and rows, then columns side by side."""
    batch = [f"b{axis}" for axis in range(len(kernel.batch_shape))]
    body: tuple[Statement, ...] = (
        Loop(
            "k",
            kernel.k,
            "serial",
            (
                Load("a", kernel.a.buffer, _element(kernel.a, batch, "i", "k")),
                Load("b", kernel.b.buffer, _element(kernel.b, batch, "k", "j")),
                Compute("ab", "mul", ("a", "b"), kernel.dtype),
                Accumulate("sum", "ab"),
            ),
            (Accumulator("sum", "sum", kernel.dtype),),
        ),
        Store(
            kernel.out.buffer,
            _element(kernel.out, batch, "i", "j"),
            "sum",
            add=kernel.accumulate,
        ),
    )
    body = (Loop("j", kernel.n, "vector", body),)
    extents = (*kernel.batch_shape, kernel.m)
    for depth, (var, extent) in reversed(
        list(enumerate(zip((*batch, "i"), extents, strict=True)))
    ):
        inner = (*extents[depth + 1 :], kernel.n, kernel.k)
        work = math.prod(max(n, 1) for n in inner if isinstance(n, int))
        body = (Loop(var, extent, "serial", body, parallel=depth == 0, work=work),)
    return LoopKernel(kernel.name, body, kernel.label)


def _element(operand: Operand, batch: list[str], row: str, column: str) -> Index:
    terms = (
        *zip(batch, operand.batch, strict=True),
        (row, operand.row),
        (column, operand.column),
    )
    return Index(terms, operand.offset)


def lower_contraction(frame: Frame, kernel: ContractionKernel) -> None:
    """Let the entry run a contraction."""
    code = frame.code
    symbol = frame.symbol(kernel)
    shape, strides = collapsed(kernel)
    outer = shape[:-1]
    with ExitStack() as loops:
        position = [loops.enter_context(code.loop(0, code.size(n), 1)).index for n in outer]
        _call(frame, kernel, symbol, shape, strides, position)


def _call(
    frame: Frame,
    kernel: ContractionKernel,
    symbol: str,
    shape: Shape,
    strides: tuple[Shape, Shape, Shape],
    position: list[Bound],
) -> None:
    """One call for the innermost batch axis."""
    code, find = frame.code, Finder(frame, frame.code, {}, "0")
    operands = (kernel.a, kernel.b, kernel.out)
    a, b, out = (
        _start(code, find(o.buffer).pointer, o, kernel.dtype.itemsize, s, position)
        for o, s in zip(operands, strides, strict=True)
    )
    steps = [s[-1] if s else 0 for s in strides]
    sizes: list[Size] = [shape[-1] if shape else 1, kernel.m, kernel.n, kernel.k]
    for operand, step in zip(operands, steps, strict=True):
        sizes += [step, operand.row, operand.column]
    sizes.append(int(kernel.accumulate))
    contents: list[tuple[str, Bound]] = [("ptr", pointer) for pointer in (out, a, b)]
    contents += (("i64", code.size(size)) for size in sizes)
    contents += epilogue(frame, kernel, symbol)
    descriptor = frame.describe(contents)
    arguments = [("ptr", "%rt"), ("ptr", descriptor), ("ptr", frame.scratch)]
    frame.stop_if_interrupted(code.call("i32", SYMBOLS[kernel.dtype.name], *arguments))


def _start(
    code: Code,
    base: Value,
    operand: Operand,
    itemsize: int,
    strides: Shape,
    position: list[Bound],
) -> Value:
    """Address of an operand at a position of the outer batch axes."""
    total = code.size(operand.offset)
    for index, stride in zip(position, strides, strict=False):
        total = code.add(total, code.mul(index, code.size(stride)))
    return code.offset(base, code.mul(total, itemsize))
