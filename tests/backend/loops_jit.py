"""Runs lowered programs in a test process, with fences around every array.

Arrays lie against a page that may not be touched, so that an access behind them ends the
process; in front of them lie bytes that must not change.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Mapping
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from graphc.loops.ir import Program
from graphc.types import evaluate_size
from graphc_llvm.gemm import library
from graphc_llvm.lower import lower_program
from graphc_llvm.target import Target

_FENCE = 0xA5

#: gc_parallel on one thread: odd blocks first, backwards, then even ones; workers 0..2.
SCATTERED = """
define internal void @one(ptr %fn, ptr %args, i64 %block) {
  %next = add i64 %block, 1
  %worker = urem i64 %block, 3
  call void %fn(ptr %args, i64 %block, i64 %next, i64 %worker)
  ret void
}
define i32 @gc_parallel(ptr %rt, ptr %fn, ptr %args, i64 %blocks) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %following, %done ]
  %parity = phi i64 [ 1, %entry ], [ %other, %done ]
  %last = sub i64 %blocks, 1
  %block = sub i64 %last, %i
  %bit = and i64 %block, 1
  %mine = icmp eq i64 %bit, %parity
  br i1 %mine, label %run, label %done
run:
  call void @one(ptr %fn, ptr %args, i64 %block)
  br label %done
done:
  %after = add i64 %i, 1
  %wrap = icmp eq i64 %after, %blocks
  %following = select i1 %wrap, i64 0, i64 %after
  %other = select i1 %wrap, i64 0, i64 %parity
  %was_even = icmp eq i64 %parity, 0
  %end = and i1 %wrap, %was_even
  br i1 %end, label %out, label %loop
out:
  ret i32 0
}
define void @gc_no_poll(ptr %rt, i32 %on) {
  ret void
}
define i32 @gc_poll(ptr %rt) {
  ret i32 0
}
"""

#: Runs nothing in parallel and reports an interruption, unless it may not be interrupted.
INTERRUPTED = """
@off = internal global i32 0
define i32 @gc_parallel(ptr %rt, ptr %fn, ptr %args, i64 %blocks) {
  %quiet = load i32, ptr @off
  %may = icmp eq i32 %quiet, 0
  br i1 %may, label %stop, label %run
stop:
  ret i32 2
run:
  call void %fn(ptr %args, i64 0, i64 %blocks, i64 0)
  ret i32 0
}
define i32 @gc_poll(ptr %rt) {
  %quiet = load i32, ptr @off
  %may = icmp eq i32 %quiet, 0
  %found = select i1 %may, i32 2, i32 0
  ret i32 %found
}
define void @gc_no_poll(ptr %rt, i32 %on) {
  store i32 %on, ptr @off
  ret void
}
"""


def fenced(nbytes: int) -> tuple[mmap.mmap, int]:
    """Memory that ends at an inaccessible page, and the offset of its last ``nbytes``."""
    page = mmap.PAGESIZE
    room = (nbytes + 2 * page - 1) // page * page
    memory = mmap.mmap(-1, room + page)
    memory[:room] = bytes([_FENCE]) * room
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    ctypes.CDLL(None).mprotect(ctypes.c_void_p(address + room), page, 0)
    return memory, room - nbytes


class Fenced:
    """A copy of an array between fences. ``align`` bytes may stay free behind it."""

    def __init__(self, array: Any, align: int = 1) -> None:
        nbytes = -(-array.nbytes // align) * align
        self.memory, self.start = fenced(nbytes)
        flat = np.frombuffer(self.memory, array.dtype, array.size, self.start)
        self.array = flat.reshape(array.shape)
        self.array[...] = array

    @property
    def address(self) -> int:
        return ctypes.addressof(ctypes.c_char.from_buffer(self.memory)) + self.start

    def check(self) -> None:
        assert set(self.memory[: self.start]) <= {_FENCE}, "a write in front of an array"


class Loaded:
    """A program as machine code."""

    def __init__(
        self,
        program: Program,
        target: Target,
        runtime: str = SCATTERED,
        *,
        flush: bool = False,
    ) -> None:
        self.program = program
        self.text = lower_program(program, "f", target, flush=flush)
        module = llvm.parse_assembly(self.text)
        module.verify()
        module.link_in(llvm.parse_assembly(f'target triple = "{target.triple}"\n{runtime}'))
        for dtype, suffix in (("float32", "f32"), ("float64", "f64")):
            if f"@gc_gemm_{suffix}" in self.text:
                module.link_in(llvm.parse_assembly(library(target, dtype)))
        machine = llvm.Target.from_triple(target.triple).create_target_machine(
            features=target.features, opt=2, jit=True
        )
        self.engine = llvm.create_mcjit_compiler(module, machine)
        self.engine.finalize_object()
        i64, pointer = ctypes.c_int64, ctypes.c_void_p
        types = (ctypes.c_int32, pointer, pointer, pointer, pointer, i64)
        self.entry = ctypes.CFUNCTYPE(*types)(self.engine.get_function_address("f"))
        asked = "@f_workspace(" in self.text and self.engine.get_function_address("f_workspace")
        need = ctypes.CFUNCTYPE(i64, pointer, i64)
        self.workspace = need(asked) if asked else lambda *_: 0

    def run(
        self, sizes: Mapping[str, int], arrays: Mapping[str, Any], *, shared: bool = False
    ) -> tuple[int, dict[str, Any]]:
        """Status, and copies of the arrays afterwards. ``shared``: blocks through a runtime."""
        program, threads = self.program, 3
        dims = (ctypes.c_int64 * max(1, len(program.symbols)))(
            *(sizes[s] for s in program.symbols)
        )
        needed = self.workspace(dims, threads)
        assert needed >= evaluate_size(program.workspace, sizes)
        assert needed % 64 == 0
        workspace = Fenced(np.zeros(needed, np.uint8))
        buffers = (*program.inputs, *program.outputs, *program.parameters)
        places = {b.name: Fenced(arrays[b.name]) for b in buffers}
        pointers = (ctypes.c_void_p * len(buffers))(*(places[b.name].address for b in buffers))
        runtime = ctypes.addressof(dims) if shared else None
        status = self.entry(runtime, pointers, dims, workspace.address, threads)
        for place in (workspace, *places.values()):
            place.check()
        return status, {name: place.array.copy() for name, place in places.items()}
