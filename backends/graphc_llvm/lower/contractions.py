"""A contraction kernel: calls of products over the batch, of the library's or of own ones.

The library multiplies floats. Products of few numbers have functions of their own, for their
sizes and strides; products of other types are written as loops.
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
from graphc.types import Shape, Size, product, same_size
from graphc_llvm.emit import Value
from graphc_llvm.gemm.small import Small, small_product
from graphc_llvm.lower.blocks import PARAMS, block_count, block_size, run_blocks
from graphc_llvm.lower.closure import Closure
from graphc_llvm.lower.code import Bound, Code
from graphc_llvm.lower.epilogue import epilogue
from graphc_llvm.lower.frame import Finder, Frame
from graphc_llvm.lower.kernels import lower_kernel

SYMBOLS: Final = {"float32": "gc_gemm_f32", "float64": "gc_gemm_f64"}

#: Products of at most so many multiply-adds are small: one, which threads may share above that,
#: or one of a batch. So is B, of at most so many elements.
MOST_ALONE, MOST_WORK, MOST_ELEMENTS = 1 << 18, 10**6, 10**4

#: Multiply-adds that take as long as an operation of a loop.
_WORK = 4


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
    return kernel.dtype.name in SYMBOLS and small(kernel) is None


def small(kernel: ContractionKernel) -> Small | None:
    """A product that takes less time than choosing how to cut it: its sizes and strides are
    numbers."""
    operands = (kernel.a, kernel.b, kernel.out)
    sizes = (kernel.m, kernel.k, kernel.n, *(s for o in operands for s in (o.row, o.column)))
    numbers = [s for s in sizes if isinstance(s, int)]
    if kernel.dtype.name not in SYMBOLS or len(numbers) < len(sizes):
        return None
    m, k, n, *steps = numbers
    a, b, c = ((steps[i], steps[i + 1]) for i in (0, 2, 4))
    most = MOST_WORK if kernel.batch_shape else MOST_ALONE
    if min(m, k, n) < 1 or m * k * n > most or k * min(m, n) > MOST_ELEMENTS:
        return None
    return Small(kernel.dtype.name, m, k, n, a, b, c, kernel.accumulate)


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
    body: tuple[Statement, ...] = (_sum(kernel, batch, column), add)
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


def _sum(kernel: ContractionKernel, batch: list[str], column: str) -> Statement:
    """The sum of an element: a loop, whose lanes are columns or terms."""
    body = (
        Load("a", kernel.a.buffer, _element(kernel.a, batch, "i", "k")),
        Load("b", kernel.b.buffer, _element(kernel.b, batch, "k", column)),
        Compute("ab", "mul", ("a", "b"), kernel.dtype),
        Accumulate("sum", "ab"),
    )
    kind: Literal["serial", "vector"] = "serial" if column else "vector"
    return Loop("k", kernel.k, kind, body, (Accumulator("sum", "sum", kernel.dtype),))


def _element(operand: Operand, batch: list[str], row: str, column: str) -> Index:
    terms = (
        *zip(batch, operand.batch, strict=True),
        (row, operand.row),
        (column, operand.column),
    )
    return Index(tuple(term for term in terms if term[0]), operand.offset)


def lower_contraction(frame: Frame, kernel: ContractionKernel) -> None:
    """Let the entry run a contraction."""
    own = small(kernel)
    if own is not None:
        return _lower_small(frame, kernel, own)
    code, symbol = frame.code, frame.symbol(kernel)
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
        _start(code, find(o.buffer).pointer, o, s, position)
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
    code: Code, base: Value, operand: Operand, strides: Shape, position: list[Bound]
) -> Value:
    """Address of an operand at a position of the batch's first axes."""
    total = code.size(operand.offset)
    for index, stride in zip(position, strides, strict=False):
        total = code.add(total, code.mul(index, code.size(stride)))
    return code.offset(base, code.mul(total, operand.buffer.dtype.itemsize))


# Small products ------------------------------------------------------------------------------


def _lower_small(frame: Frame, kernel: ContractionKernel, own: Small) -> None:
    """Call a function that products of these sizes and strides share, then run the epilogue."""
    total = product(collapsed(kernel)[0])
    work = max(1, own.m * own.k * own.n // _WORK)
    loop = Loop("", total, "serial", (), parallel=True, work=work)
    symbol, count = frame.symbol(kernel), frame.code.size(total)
    blocks = block_count(frame.code, count, loop)
    function = small_product(frame.module, own)
    if blocks == 1:
        _multiply(frame, frame.code, kernel, function, 0, count)
    else:
        _share(frame, kernel, function, symbol, count, blocks)
    if kernel.epilogue is not None:
        body = _reading(kernel.epilogue.body, kernel.epilogue.result, kernel.out.buffer)
        lower_kernel(frame, LoopKernel(f"{kernel.name}.epilogue", body, kernel.label), {})


def _share(
    frame: Frame,
    kernel: ContractionKernel,
    function: str,
    symbol: str,
    count: Bound,
    blocks: Bound,
) -> None:
    """Let threads run a batch of small products in blocks."""
    outer = frame.code
    code = Closure(outer, symbol, PARAMS)
    size = code.outside("i64", block_size(outer, count, blocks, 1))
    first, last = (code.mul(x, size) for x in ("%begin", "%end"))
    end = code.minimum(last, code.outside("i64", count))
    _multiply(frame, code, kernel, function, first, end)
    args = code.close()
    shared = ("ptr", f"@{code.name}")
    values = [("ptr", "%rt"), shared, ("ptr", args), ("i64", str(blocks))]
    frame.stop_if_interrupted(outer.call("i32", run_blocks(outer.module), *values))


def _multiply(
    frame: Frame, code: Code, kernel: ContractionKernel, function: str, begin: Bound, end: Bound
) -> None:
    """Products begin..end-1 of the batch, as many in a call as the last axis has."""
    shape, _ = collapsed(kernel)
    if len(shape) < 2:
        position = [begin] if shape else []
        return _multiply_run(frame, code, kernel, function, position, code.sub(end, begin))
    length = code.maximum(1, code.size(shape[-1]))
    with code.loop(code.floor_div(begin, length), code.ceil_div(end, length), 1) as it:
        start = code.mul(it.index, length)
        first = code.maximum(0, code.sub(begin, start))
        last = code.minimum(length, code.sub(end, start))
        position = [*_unravelled(code, it.index, shape[:-1]), first]
        _multiply_run(frame, code, kernel, function, position, code.sub(last, first))


def _unravelled(code: Code, index: Bound, shape: Shape) -> list[Bound]:
    """The position along each axis of a number in row-major order."""
    out: list[Bound] = []
    for extent in shape[:0:-1]:
        size = code.size(extent)
        quotient = code.floor_div(index, size)
        out.append(code.sub(index, code.mul(quotient, size)))
        index = quotient
    return [index, *out[::-1]]


def _multiply_run(
    frame: Frame,
    code: Code,
    kernel: ContractionKernel,
    function: str,
    position: list[Bound],
    count: Bound,
) -> None:
    """So many products that follow each other from a position in the batch on."""
    find, strides = Finder(frame, code, {}, "0"), collapsed(kernel)[1]
    operands = (kernel.a, kernel.b, kernel.out)
    pairs = list(zip(operands, strides, strict=True))
    pointers = [_start(code, find(o.buffer).pointer, o, s, position) for o, s in pairs]
    steps = [code.size((s[-1] if s else 0) * kernel.dtype.itemsize) for s in strides]
    values = [("ptr", pointer) for pointer in pointers]
    values += [("i64", str(n)) for n in (count, *steps)]
    code.call("void", function, *values)


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
