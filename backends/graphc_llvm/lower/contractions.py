"""A contraction kernel: calls of the library's matrix product over the batch.

The library multiplies floats; products of other types, and small ones, are written as loops.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import replace
from typing import Final, Literal

from graphc.loops.ir import (
    Accumulate,
    Accumulator,
    Buffer,
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
from graphc_llvm.emit import Module, Value
from graphc_llvm.lower.code import Bound, Code
from graphc_llvm.lower.epilogue import epilogue
from graphc_llvm.lower.frame import Finder, Frame
from graphc_llvm.lower.kernels import lower_kernel
from graphc_llvm.lower.memory import Place
from graphc_llvm.lower.nest import Nest

SYMBOLS: Final = {"float32": "gc_gemm_f32", "float64": "gc_gemm_f64"}

#: Products of at most so many multiply-adds and terms of a sum are small.
MOST_WORK = 1 << 11
MOST_TERMS = 32


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
    """Whether the library multiplies this: floats, unless they are few."""
    return kernel.dtype.name in SYMBOLS and not is_small(kernel)


def is_small(kernel: ContractionKernel) -> bool:
    """Whether a product takes less time than choosing how to cut it: sizes and strides are
    numbers, and its sums are written term by term."""
    steps = (s for o in (kernel.a, kernel.b, kernel.out) for s in (o.row, o.column))
    numbers = [s for s in (kernel.m, kernel.k, kernel.n, *steps) if isinstance(s, int)]
    if kernel.dtype.name not in SYMBOLS or len(numbers) < 9:
        return False
    m, k, n, *_, b_column, _, out_column = numbers
    side_by_side = n == 1 or (b_column == out_column == 1)
    most = MOST_WORK if side_by_side else MOST_WORK // 8
    return 1 <= k <= MOST_TERMS and m * k * n <= most


def as_loops(kernel: ContractionKernel) -> LoopKernel:
    """The same product as a nest: batch and rows, then columns side by side."""
    batch = [f"b{axis}" for axis in range(len(kernel.batch_shape))]
    single = same_size(kernel.n, 1)
    column = "" if single else "j"
    add = Store(
        kernel.out.buffer,
        _element(kernel.out, batch, "i", column),
        "sum",
        add=kernel.accumulate,
    )
    body = (*_terms(kernel, batch, column), add)
    if not single:
        body = (Loop("j", kernel.n, "vector", body),)
    extents = (*kernel.batch_shape, kernel.m)
    for depth, (var, extent) in reversed(
        list(enumerate(zip((*batch, "i"), extents, strict=True)))
    ):
        inner = (*extents[depth + 1 :], kernel.n, kernel.k)
        work = math.prod(max(n, 1) for n in inner if isinstance(n, int))
        body = (Loop(var, extent, "serial", body, parallel=depth == 0, work=work),)
    return LoopKernel(kernel.name, body, kernel.label)


def _terms(kernel: ContractionKernel, batch: list[str], column: str) -> tuple[Statement, ...]:
    """The sum of an element: term by term, or a loop, whose lanes are columns or terms."""
    a, b, dtype = kernel.a, kernel.b, kernel.dtype
    if not is_small(kernel):
        body = (
            Load("a", a.buffer, _element(a, batch, "i", "k")),
            Load("b", b.buffer, _element(b, batch, "k", column)),
            Compute("ab", "mul", ("a", "b"), dtype),
            Accumulate("sum", "ab"),
        )
        kind: Literal["serial", "vector"] = "serial" if column else "vector"
        return (Loop("k", kernel.k, kind, body, (Accumulator("sum", "sum", dtype),)),)
    assert isinstance(kernel.k, int)
    out: list[Statement] = []
    for k in range(kernel.k):
        left = replace(a, offset=a.offset + k * a.column)
        right = replace(b, offset=b.offset + k * b.row)
        out.append(Load(f"x{k}", a.buffer, _element(left, batch, "i", "")))
        out.append(Load(f"y{k}", b.buffer, _element(right, batch, "", column)))
        last = "sum" if k == kernel.k - 1 else f"sum{k}"
        old = (f"sum{k - 1}",) if k else ()
        out.append(Compute(last, "fma" if k else "mul", (f"x{k}", f"y{k}", *old), dtype))
    return tuple(out)


def _element(operand: Operand, batch: list[str], row: str, column: str) -> Index:
    terms = (
        *zip(batch, operand.batch, strict=True),
        (row, operand.row),
        (column, operand.column),
    )
    return Index(tuple(term for term in terms if term[0]), operand.offset)


def lower_contraction(frame: Frame, kernel: ContractionKernel) -> None:
    """Let the entry run a contraction."""
    code = frame.code
    if is_small(kernel):
        return _lower_small(frame, kernel)
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


# Small products ------------------------------------------------------------------------------


def _lower_small(frame: Frame, kernel: ContractionKernel) -> None:
    """Call a function that products of these sizes and strides share, then run the epilogue."""
    code, find = frame.code, Finder(frame, frame.code, {}, "0")
    pointers = [
        code.offset(
            find(o.buffer).pointer, code.mul(code.size(o.offset), o.buffer.dtype.itemsize)
        )
        for o in (kernel.a, kernel.b, kernel.out)
    ]
    symbol = _small_function(frame.module, kernel)
    code.call("void", symbol, *(("ptr", pointer) for pointer in pointers))
    if kernel.epilogue is not None:
        body = _reading(kernel.epilogue.body, kernel.epilogue.result, kernel.out.buffer)
        lower_kernel(frame, LoopKernel(kernel.name, body, kernel.label), {})


def _small_function(module: Module, kernel: ContractionKernel) -> str:
    """The function ``void (ptr a, ptr b, ptr c)`` of a small product; its symbol."""
    operands = {"a": kernel.a, "b": kernel.b, "out": kernel.out}
    steps = [step for o in operands.values() for step in (o.row, o.column)]
    sizes = (kernel.m, kernel.k, kernel.n, *steps, int(kernel.accumulate))
    symbol = f"product.{kernel.dtype.name}.{'.'.join(map(str, sizes))}"
    if symbol in module.functions:
        return symbol
    code = Code(module, symbol, "void", [("ptr", name) for name in operands], ())
    nest = Nest(code, _no_buffer, "")
    a, b, out = (
        replace(o, batch=(), offset=0, buffer=nest.buffer(name, kernel.dtype, Place(
            f"%{name}", kernel.dtype.name, -1)))
        for name, o in operands.items()
    )  # fmt: skip
    alone = replace(kernel, a=a, b=b, out=out, batch_shape=(), epilogue=None)
    nest.run(as_loops(alone).body)
    code.do("ret void")
    code.finish()
    return symbol


def _no_buffer(buffer: Buffer) -> Place:
    raise AssertionError(buffer.name)


def _reading(body: tuple[Statement, ...], old: Buffer, new: Buffer) -> tuple[Statement, ...]:
    """A nest that reads another buffer instead of one."""
    out: list[Statement] = []
    for s in body:
        if isinstance(s, Loop):
            s = replace(s, body=_reading(s.body, old, new))
        elif isinstance(s, Load) and s.buffer.name == old.name:
            s = replace(s, buffer=new)
        out.append(s)
    return tuple(out)
