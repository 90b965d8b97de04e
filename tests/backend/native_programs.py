"""Tiny native programs, written by hand, that tests of the entry and the runtime call."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc_llvm import runtime
from graphc_llvm.call import Signature, emit_entry
from graphc_llvm.emit import Module
from graphc_llvm.entry import Entry
from graphc_llvm.jit import engine
from graphc_llvm.target import host

PROGRAM = "i32 @p(ptr %rt, ptr %bufs, ptr %dims, ptr %ws, i64 %threads)"
NO_WORKSPACE = "  ret i64 0"

#: ``n`` doubles: buffer 1 = 2 * buffer 0.
DOUBLE = """
entry:
  %x = load ptr, ptr %bufs
  %y_field = getelementptr ptr, ptr %bufs, i64 1
  %y = load ptr, ptr %y_field
  %n = load i64, ptr %dims
  %some = icmp sgt i64 %n, 0
  br i1 %some, label %loop, label %done
loop:
  %i = phi i64 [ 0, %entry ], [ %j, %loop ]
  %xi = getelementptr double, ptr %x, i64 %i
  %v = load double, ptr %xi
  %w = fadd double %v, %v
  %yi = getelementptr double, ptr %y, i64 %i
  store double %w, ptr %yi
  %j = add i64 %i, 1
  %more = icmp slt i64 %j, %n
  br i1 %more, label %loop, label %done
done:
  ret i32 0
"""

NOTHING = "entry:\n  ret i32 0\n"


def copy_scalars(kind: str, count: int, outputs: int) -> str:
    """A program: every rank-0 output k is input ``k % count``."""
    lines = ["entry:"]
    for k in range(outputs):
        lines += [
            f"  %f{k} = getelementptr ptr, ptr %bufs, i64 {k % count}",
            f"  %p{k} = load ptr, ptr %f{k}",
            f"  %v{k} = load {kind}, ptr %p{k}",
            f"  %g{k} = getelementptr ptr, ptr %bufs, i64 {count + k}",
            f"  %q{k} = load ptr, ptr %g{k}",
            f"  store {kind} %v{k}, ptr %q{k}",
        ]
    return "\n".join([*lines, "  ret i32 0"])


def status(number: int) -> str:
    """A program that does nothing but end with a status."""
    return f"entry:\n  ret i32 {number}\n"


def parallel(blocks: int, body: str) -> tuple[str, str]:
    """A program that runs ``body`` for all blocks, and the function of the blocks."""
    program = f"""
entry:
  %s = call i32 @gc_parallel(ptr %rt, ptr @block, ptr %bufs, i64 {blocks})
  ret i32 %s
"""
    head = "define internal void @block(ptr %bufs, i64 %begin, i64 %end, i64 %worker)"
    return program, f"{head} {{\n{body}\n}}"


def account() -> ctypes.c_int64:
    """The time (ns) that the worker threads have saved: below zero they are not used."""
    found = ctypes.CFUNCTYPE(ctypes.c_void_p)(runtime.load().symbols["gc_account"])()
    return ctypes.c_int64.from_address(found)


def build(
    body: str,
    signature: Signature,
    slow: Callable[..., Any],
    *,
    workspace: str = NO_WORKSPACE,
    block: str = "",
    parameters: Sequence[np.ndarray[Any, Any]] = (),
    threads: int = 1,
) -> Entry:
    """The entry of a program given by its body."""
    runtime.load()
    module = Module(host())
    head = "define i64 @p_workspace(ptr %dims, i64 %threads)"
    module.functions["p_workspace"] = f"{head} {{\n{workspace}\n}}"
    module.functions["p"] = f"define {PROGRAM} {{{body}}}"
    module.declare("void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
    if block:
        module.functions["block"] = block
        module.declare("i32 @gc_parallel(ptr, ptr, ptr, i64)")
    emit_entry(module, "p", signature)
    code = engine().compile(module.text(), verify=True)
    return Entry(code, "p", signature, slow=slow, parameters=parameters, threads=threads)
