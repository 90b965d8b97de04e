"""A program to a module: the entry function, the size of its workspace, its constants."""

from __future__ import annotations

import time

from graphc.loops.ir import (
    INTERRUPTED,
    BandKernel,
    Buffer,
    ContractionKernel,
    Kernel,
    LoopKernel,
    Program,
)
from graphc_llvm.emit import COLD, Module, Value
from graphc_llvm.gemm import SCRATCH_BYTES_PER_THREAD
from graphc_llvm.lower.bands import lower_bands
from graphc_llvm.lower.code import Bound, Code
from graphc_llvm.lower.contractions import (
    as_loops,
    in_library,
    lower_contraction,
    small,
)
from graphc_llvm.lower.frame import ALIGNMENT, Frame, Home, aligned, homes, row_layout
from graphc_llvm.lower.kernels import lower_kernel
from graphc_llvm.target import Target

#: Signals are looked at after so many kernels, if none of them does it itself.
POLL_EVERY = 16

#: Bits of MXCSR: denormal results are 0, denormal operands are 0.
_FLUSH = 0x8000 | 0x40

_ESCAPED = tuple(f"\\{byte:02X}" for byte in range(256))


def lower_program(program: Program, name: str, target: Target, *, flush: bool = False) -> str:
    """The text of a module with the functions that `lower_into` makes."""
    module = Module(target)
    lower_into(module, program, name, flush=flush)
    return module.text()


def lower_into(
    module: Module, program: Program, name: str, *, flush: bool = False, timed: bool = False
) -> None:
    """Let a module define, for other modules,

    ``i32 @name(ptr rt, ptr bufs, ptr dims, ptr ws, i64 threads)``
        Runs all kernels. ``bufs`` points to inputs, outputs and parameters in the program's
        order, ``dims`` to the values of its symbols, ``ws`` to a workspace, 64-byte aligned.
        Returns 0, INDEX_ERROR or INTERRUPTED. With a null ``rt`` it runs on this thread.
    ``i64 @name_workspace(ptr dims, i64 threads)``
        Bytes of workspace that a run needs; left out if that is none.

    Parameters
    ----------
    flush
        Whether denormal numbers count as 0 while the program runs, if the target can do that.
    timed
        Whether the program looks at the clock: at its start, and before each kernel and after
        the last. One more pointer in ``bufs`` is where it writes these times, (s, ns) each.
    """
    where = homes(program)
    for number, buffer in enumerate(program.constants):
        where[buffer.name] = _constant(module, f"{name}.constant{number}", buffer)
    layout = Layout(program)
    layout.write_workspace(module, name)
    flush = flush and module.target.flushes
    _write_entry(module, program, name, layout, where, flush, timed)


def _constant(module: Module, symbol: str, buffer: Buffer) -> Home:
    """A constant of the module that holds a buffer's bytes."""
    data = buffer.value or b""
    text = (
        f'c"{"".join([_ESCAPED[byte] for byte in data])}"' if any(data) else "zeroinitializer"
    )
    kind = f"[{len(data)} x i8]"
    module.globals[symbol] = (
        f"@{symbol} = private unnamed_addr constant {kind} {text}, align {ALIGNMENT}"
    )
    return Home("constant", f"@{symbol}")


class Layout:
    """The workspace: the buffers of the program, row scratch, scratch of contractions."""

    def __init__(self, program: Program) -> None:
        self.symbols = program.symbols
        self.buffers = aligned(program.workspace)
        self.nests = [_nest(kernel) for kernel in program.kernels]
        self.rows = [row_layout(nest) if nest else ({}, 0) for nest in self.nests]
        multiplies = any(map(_uses_library, program.kernels))
        self.scratch = SCRATCH_BYTES_PER_THREAD if multiplies else 0

    def row_bytes(self, code: Code) -> Bound:
        """Bytes of row scratch of one thread."""
        total: Bound = 0
        for size in dict.fromkeys(size for _, size in self.rows):
            total = code.maximum(total, code.size(size)) if total else code.size(size)
        return total

    def parts(self, code: Code) -> tuple[Bound, Bound, Bound]:
        """Where row scratch and the scratch of contractions begin, and the end."""
        rows = code.size(self.buffers)
        scratch = code.add(rows, code.mul(self.row_bytes(code), "%threads"))
        return rows, scratch, code.add(scratch, code.mul(self.scratch, "%threads"))

    def write_workspace(self, module: Module, name: str) -> None:
        """The function that tells the size of the workspace, if there is one."""
        params = [("ptr", "dims"), ("i64", "threads")]
        code = _once_a_call(module, f"{name}_workspace", "i64", params, self.symbols)
        need = self.parts(code)[2]
        if need != 0:
            code.do(f"ret i64 {need}")
            code.finish()


def _uses_library(kernel: Kernel) -> bool:
    own = isinstance(kernel, ContractionKernel) and in_library(kernel)
    return own or isinstance(kernel, BandKernel)


def _nest(kernel: Kernel) -> LoopKernel | None:
    """A kernel as a loop nest, or that in it; None if it is calls of products."""
    if isinstance(kernel, LoopKernel):
        return kernel
    if isinstance(kernel, BandKernel):
        return kernel.nest
    called = in_library(kernel) or small(kernel) is not None
    return None if called else as_loops(kernel)


def _once_a_call(
    module: Module,
    name: str,
    returns: str,
    params: list[tuple[str, str]],
    symbols: tuple[str, ...],
) -> Code:
    """A function for other modules that does little, and is compiled quickly."""
    return Code(module, name, returns, params, symbols, internal=False, attributes=COLD)


def _write_entry(
    module: Module,
    program: Program,
    name: str,
    layout: Layout,
    where: dict[str, Home],
    flush: bool,
    timed: bool,
) -> None:
    """The function that runs the kernels in order."""
    params = [
        ("ptr", "rt"),
        ("ptr", "bufs"),
        ("ptr", "dims"),
        ("ptr", "ws"),
        ("i64", "threads"),
    ]
    code = _once_a_call(module, name, "i32", params, program.symbols)
    frame = _frame(code, name, layout, where, flush)
    arguments = len((*program.inputs, *program.outputs, *program.parameters))
    if timed:
        _stamp(code, arguments, 0)
    for number, kernel in enumerate(program.kernels):
        if number == program.commit:
            code.call("void", "gc_no_poll", ("ptr", "%rt"), ("i32", "1"))
        frame.stops = number < program.commit
        if number % POLL_EVERY == POLL_EVERY - 1:
            frame.poll()
        nest, (rows, _) = layout.nests[number], layout.rows[number]
        if timed:
            _stamp(code, arguments, number + 1)
        if isinstance(kernel, BandKernel):
            lower_bands(frame, kernel, rows)
        elif nest is not None:
            lower_kernel(frame, nest, rows)
        elif isinstance(kernel, ContractionKernel):
            lower_contraction(frame, kernel)
    if timed:
        _stamp(code, arguments, len(program.kernels) + 1)
    if program.commit < len(program.kernels):
        code.call("void", "gc_no_poll", ("ptr", "%rt"), ("i32", "0"))
    for label in ("", "failed", "interrupted"):
        if label:
            code.label(label)
        if flush:
            _set_mode(code, "%before")
        status = INTERRUPTED if label == "interrupted" else code.load("i32", frame.status, 4)
        code.do(f"ret i32 {status}")
    code.finish()


def _stamp(code: Code, slot: int, number: int) -> None:
    """Write the time to place ``number`` of the memory that ``slot`` points to."""
    memory = code.once(
        -1,
        "times",
        lambda: code.load("ptr", code.op(f"getelementptr ptr, ptr %bufs, i64 {slot}")),
    )
    place = code.op(f"getelementptr {{ i64, i64 }}, ptr {memory}, i64 {number}")
    clock = str(time.CLOCK_MONOTONIC)
    code.call("i32", "clock_gettime", ("i32", clock), ("ptr", place))


def _frame(code: Code, name: str, layout: Layout, where: dict[str, Home], flush: bool) -> Frame:
    status = code.alloca("i32, align 4")
    with code.writing(code.scopes[0].before):
        code.store("i32", 0, status, 4)
        if flush:
            _flush_denormals(code)
        rows, scratch, _ = layout.parts(code)
        places = code.offset("%ws", rows), layout.row_bytes(code), code.offset("%ws", scratch)
    return Frame(code, name, where, status, *places)


def _flush_denormals(code: Code) -> None:
    """Set the mode in which denormal operands and results are 0; what was is ``%before``."""
    mode = code.alloca("i32, align 4")
    code.call("void", "llvm.x86.sse.stmxcsr", ("ptr", mode))
    code.do(f"%before = load i32, ptr {mode}, align 4")
    _set_mode(code, code.op(f"or i32 %before, {_FLUSH}"))
    # Arithmetic of another basic block is not moved in front of this.
    code.branch("run")
    code.label("run")


def _set_mode(code: Code, mode: Value) -> None:
    place = code.alloca("i32, align 4")
    code.store("i32", mode, place, 4)
    code.call("void", "llvm.x86.sse.ldmxcsr", ("ptr", place))
