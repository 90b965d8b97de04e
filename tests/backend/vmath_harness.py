"""Compile one op over arrays and measure its error."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import llvmlite.binding as llvm
import numpy as np

from graphc_llvm import vmath
from graphc_llvm.emit import Function, Module
from graphc_llvm.target import Target, host
from graphc_llvm.vmath import Lane

_keep: list[object] = []


def machine(target: Target) -> llvm.TargetMachine:
    triple = llvm.Target.from_triple(target.triple)
    return triple.create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, reloc="pic", codemodel="default"
    )


def _memory(lane: Lane) -> str:
    return Lane("uint8", lane.width).llvm if lane.dtype == "bool" else lane.llvm


def _load(f: Function, lane: Lane, pointer: str) -> str:
    value = f.op(f"load {_memory(lane)}, ptr {pointer}, align 1")
    if lane.dtype != "bool":
        return value
    return f.op(f"icmp ne {_memory(lane)} {value}, {Lane('uint8', lane.width).const(0)}")


def _store(f: Function, lane: Lane, value: str, pointer: str) -> None:
    if lane.dtype == "bool":
        value = f.op(f"zext {lane.llvm} {value} to {_memory(lane)}")
    f.do(f"store {_memory(lane)} {value}, ptr {pointer}, align 1")


def build(target: Target, op: str, dtypes: tuple[str, ...], result: str, width: int) -> Module:
    """A module with ``loop(n, out, in0, in1, ...)`` applying ``op`` to ``n`` vectors.

    The op ``cast`` converts its argument to the type of the result.
    """
    module = Module(target)
    params = [("i64", "n"), ("ptr", "out"), *(("ptr", f"in{i}") for i in range(len(dtypes)))]
    f = Function(module, "loop", "void", params)
    f.branch("body")
    f.label("body")
    f.do("%i = phi i64 [ 0, %entry ], [ %next, %body ]")
    args = []
    for k, dtype in enumerate(dtypes):
        lane = Lane(dtype, width)
        size = np.dtype(dtype).itemsize * width
        offset = f.op(f"mul i64 %i, {size}")
        pointer = f.op(f"getelementptr i8, ptr %in{k}, i64 {offset}")
        args.append((lane, _load(f, lane, pointer)))
    out = Lane(result, width)
    if op == "cast":
        value = vmath.cast(f, out, args[0][1], args[0][0])
    else:
        value = vmath.lower(f, op, out, args)
    offset = f.op(f"mul i64 %i, {np.dtype(result).itemsize * width}")
    _store(f, out, value, f.op(f"getelementptr i8, ptr %out, i64 {offset}"))
    f.do("%next = add i64 %i, 1")
    f.branch_if(f.op("icmp slt i64 %next, %n"), "body", "done")
    f.label("done")
    f.do("ret void")
    f.finish()
    return module


@dataclass
class Loop:
    """A compiled loop; calling it returns a new array, for lengths of whole vectors."""

    address: int
    result: str
    width: int

    def __call__(self, *arrays: np.ndarray) -> np.ndarray:
        n = arrays[0].size
        padded = -(-n // self.width) * self.width
        inputs = [np.resize(np.ascontiguousarray(a), padded) for a in arrays]
        out = np.empty(padded, self.result)
        kinds = [ctypes.c_int64] + [ctypes.c_void_p] * (1 + len(inputs))
        native = ctypes.CFUNCTYPE(None, *kinds)(self.address)
        native(padded // self.width, out.ctypes.data, *(a.ctypes.data for a in inputs))
        return out[:n]


def compile_text(target: Target, text: str) -> llvm.ExecutionEngine:
    parsed = llvm.parse_assembly(text)
    parsed.verify()
    engine = llvm.create_mcjit_compiler(parsed, machine(target))
    engine.finalize_object()
    _keep.append(engine)
    return engine


def loop(level: str, op: str, dtypes: tuple[str, ...], result: str, width: int) -> Loop:
    """``op`` compiled for a target level; ``width`` 0 is one vector register."""
    target = host(level)
    width = width or target.lanes(max(np.dtype(d).itemsize for d in (*dtypes, result)))
    engine = compile_text(target, build(target, op, dtypes, result, width).text())
    return Loop(engine.get_function_address("loop"), result, width)


def ulps(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Error of ``got`` in units in the last place of ``want``, given in higher precision.

    Equal specials count as 0, and a special where a number belongs as inf.
    """
    dtype = got.dtype
    rounded = want.astype(dtype)
    info = np.finfo(dtype)
    size = np.maximum(np.abs(want), info.tiny)
    _, exponent = np.frexp(size)
    ulp = np.ldexp(np.ones_like(want), exponent - 1 - info.nmant)
    special = ~np.isfinite(rounded) | ~np.isfinite(got)
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    with np.errstate(invalid="ignore"):
        error = np.abs(got.astype(want.dtype) - want) / ulp
    return np.where(special, np.where(same, 0.0, np.inf), error).astype(float)
