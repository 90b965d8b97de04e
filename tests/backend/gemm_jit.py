"""Compile the contraction library with a stand-in for the runtime's thread pool."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np

from graphc_llvm.gemm import SCRATCH_BYTES_PER_THREAD, library
from graphc_llvm.jit import Engine
from graphc_llvm.target import Target

#: One call for all blocks; or block by block from the last, on alternating workers.
POOLS = {
    "serial": """
define i32 @gc_parallel(ptr %rt, ptr %fn, ptr %args, i64 %blocks) {
  call void %fn(ptr %args, i64 0, i64 %blocks, i64 0)
  ret i32 0
}""",
    "reverse": """
define i32 @gc_parallel(ptr %rt, ptr %fn, ptr %args, i64 %blocks) {
entry:
  br label %head
head:
  %end = phi i64 [ %blocks, %entry ], [ %begin, %body ]
  %more = icmp sgt i64 %end, 0
  br i1 %more, label %body, label %done
body:
  %begin = sub i64 %end, 1
  %worker = and i64 %end, 1
  call void %fn(ptr %args, i64 %begin, i64 %end, i64 %worker)
  br label %head
done:
  ret i32 0
}""",
    "interrupted": """
define i32 @gc_parallel(ptr %rt, ptr %fn, ptr %args, i64 %blocks) {
  ret i32 7
}""",
}

#: An epilogue on dense C of n columns: ``args`` is an array like C (to which the product
#: and 100 are added) and n.
EPILOGUE = """
define void @epilogue(ptr %args, ptr %c, i64 %c_rs, i64 %row, i64 %m, i64 %column, i64 %n) {
entry:
  %to = load ptr, ptr %args
  %width_at = getelementptr i64, ptr %args, i64 1
  %width = load i64, ptr %width_at
  br label %row_head
row_head:
  %i = phi i64 [ 0, %entry ], [ %i_next, %row_done ]
  %more_rows = icmp slt i64 %i, %m
  br i1 %more_rows, label %head, label %out
head:
  %j = phi i64 [ 0, %row_head ], [ %j_next, %body ]
  %more = icmp slt i64 %j, %n
  br i1 %more, label %body, label %row_done
body:
  %down = mul i64 %i, %c_rs
  %c_row = getelementptr i8, ptr %c, i64 %down
  %c_at = getelementptr TYPE, ptr %c_row, i64 %j
  %x = load TYPE, ptr %c_at
  %to_row = add i64 %row, %i
  %to_start = mul i64 %to_row, %width
  %to_column = add i64 %column, %j
  %to_index = add i64 %to_start, %to_column
  %to_at = getelementptr TYPE, ptr %to, i64 %to_index
  %old = load TYPE, ptr %to_at
  %shifted = fadd TYPE %old, 100.0
  %new = fadd TYPE %shifted, %x
  store TYPE %new, ptr %to_at
  %j_next = add i64 %j, 1
  br label %head
row_done:
  %i_next = add i64 %i, 1
  br label %row_head
out:
  ret void
}"""

REPEAT = """
declare i32 @NAME(ptr, ptr, ptr)
define void @repeat(ptr %rt, ptr %desc, ptr %scratch, i64 %times) {
entry:
  br label %body
body:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
  %status = call i32 @NAME(ptr %rt, ptr %desc, ptr %scratch)
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %times
  br i1 %more, label %body, label %done
done:
  ret void
}"""


@dataclass
class Gemm:
    """The compiled library of one target, dtype and pool, callable on numpy arrays."""

    target: Target
    dtype: str
    pool: str = "serial"

    def __post_init__(self) -> None:
        name = "gc_gemm_" + ("f32" if self.dtype == "float32" else "f64")
        jit = Engine(self.target)
        pool = jit.compile(POOLS[self.pool], verify=True)
        jit.provide(pool)
        kernels = jit.compile(library(self.target, self.dtype), verify=True, keep=True)
        jit.provide(kernels)
        repeat = jit.compile(REPEAT.replace("NAME", name), verify=True)
        type = "float" if self.dtype == "float32" else "double"
        last = jit.compile(EPILOGUE.replace("TYPE", type), verify=True)
        self.epilogue = last.symbols["epilogue"]
        self._code = pool, kernels, repeat, last
        pointer = ctypes.c_void_p
        entry = ctypes.CFUNCTYPE(ctypes.c_int32, pointer, pointer, pointer)
        again = ctypes.CFUNCTYPE(None, pointer, pointer, pointer, ctypes.c_int64)
        self.entry = entry(kernels.symbols[name])
        self.repeat = again(repeat.symbols["repeat"])
        memory = np.empty(2 * SCRATCH_BYTES_PER_THREAD + 64, np.uint8)
        memory.fill(0xFF)
        self._memory = memory
        self.scratch = memory.ctypes.data + -memory.ctypes.data % 64

    def describe(
        self, c: np.ndarray, a: np.ndarray, b: np.ndarray, accumulate: bool = False
    ) -> np.ndarray:
        """The description of c (+)= a @ b, arrays of shape [batch, rows, columns]."""

        def strides(x: np.ndarray) -> list[int]:
            return [s // x.itemsize for s in x.strides]

        sizes = [c.shape[0], c.shape[1], c.shape[2], a.shape[2]]
        pointers = [x.ctypes.data for x in (c, a, b)]
        values = pointers + sizes + strides(a) + strides(b) + strides(c)
        values += [int(accumulate), 0, 0, 1]
        return np.array(values, np.int64)

    def with_epilogue(
        self, c: np.ndarray, a: np.ndarray, b: np.ndarray, total: np.ndarray, *, keeps: bool
    ) -> int:
        """Add the product and 100 to ``total``, shaped like ``c``; c is for the sums."""
        args = np.array([total.ctypes.data, total.shape[1]], np.int64)
        description = self.describe(c[None], a[None], b[None])
        description[-3:] = self.epilogue, args.ctypes.data, keeps
        status: int = self.entry(1, description.ctypes.data, self.scratch)
        return status

    def __call__(
        self, c: np.ndarray, a: np.ndarray, b: np.ndarray, accumulate: bool = False
    ) -> int:
        description = self.describe(c, a, b, accumulate)
        status: int = self.entry(1, description.ctypes.data, self.scratch)
        return status
