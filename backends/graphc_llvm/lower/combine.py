"""Copies of an array accumulator, one of each block, combined element by element."""

from __future__ import annotations

from functools import cache

from graphc.loops.ir import (
    Accumulate,
    Accumulator,
    AccumulatorKind,
    Buffer,
    Index,
    Load,
    Loop,
    Store,
)
from graphc.types import Dim, DType
from graphc_llvm.emit import Module, Value
from graphc_llvm.lower.code import Bound, Code
from graphc_llvm.lower.memory import Place
from graphc_llvm.lower.nest import Nest
from graphc_llvm.target import Target

_SIZES = ("count", "blocks")


def combine_copies(
    code: Code, a: Accumulator, target: Value, copies: Value, count: Bound, blocks: Bound
) -> None:
    """``target[i] = copies[0, i] + copies[1, i] + ...`` in this order, for ``count`` elements.

    "+" is what the accumulator does. There is one function for each kind and type.
    """
    symbol = f"combine.{a.kind}.{a.dtype.name}"
    if symbol not in code.module.functions:
        code.module.include(_combining(code.target, symbol, a.kind, a.dtype))
    sizes = [("i64", str(count)), ("i64", str(blocks))]
    code.call("void", symbol, ("ptr", target), ("ptr", copies), *sizes)


@cache
def _combining(target: Target, symbol: str, kind: AccumulatorKind, dtype: DType) -> Module:
    """The function, in a module of its own."""
    params = [("ptr", "target"), ("ptr", "copies"), *(("i64", name) for name in _SIZES)]
    code = Code(Module(target), symbol, "void", params, ())
    for name in _SIZES:
        code.define_size(name, f"%{name}")
    count, blocks = (Dim({(name,): 1}) for name in _SIZES)
    nest = Nest(code, _no_buffer, "")
    copies, combined = (
        nest.buffer(name, dtype, Place(f"%{name}", dtype.name, -1))
        for name in ("copies", "target")
    )
    over_blocks = Loop(
        "block",
        blocks,
        "serial",
        (
            Load("value", copies, Index((("block", count), ("element", 1)))),
            Accumulate("total", "value"),
        ),
        (Accumulator("total", kind, dtype),),
    )
    result = Store(combined, Index((("element", 1),)), "total")
    nest.loop(Loop("element", count, "vector", (over_blocks, result)))
    code.do("ret void")
    code.finish()
    return code.module


def _no_buffer(buffer: Buffer) -> Place:
    raise AssertionError(buffer.name)
