"""A program to a module: the entry function, the size of its workspace, its constants."""

from __future__ import annotations

from graphc.loops.ir import Buffer, ContractionKernel, LoopKernel, Program
from graphc.types import Size
from graphc_llvm.emit import Module, Value
from graphc_llvm.gemm import SCRATCH_BYTES_PER_THREAD
from graphc_llvm.lower.code import Bound, Code
from graphc_llvm.lower.contractions import as_loops, in_library, lower_contraction
from graphc_llvm.lower.frame import ALIGNMENT, Context, Home, Slot, aligned, homes, row_layout
from graphc_llvm.lower.kernels import lower_kernel
from graphc_llvm.target import Target

_ESCAPED = tuple(f"\\{byte:02X}" for byte in range(256))


def lower_program(program: Program, name: str, target: Target, *, math: str = "default") -> str:
    """The text of a module that defines, for other modules,

    ``i32 @name(ptr rt, ptr bufs, ptr dims, ptr ws, i64 threads)``
        Runs all kernels. ``bufs`` points to inputs, outputs and parameters in the program's
        order, ``dims`` to the values of its symbols, ``ws`` to a workspace, 64-byte aligned.
        Returns 0, INDEX_ERROR or INTERRUPTED. With a null ``rt`` it runs on this thread.
    ``i64 @name_workspace(ptr dims, i64 threads)``
        Bytes of workspace that a run needs.

    Parameters
    ----------
    math
        "strict" rounds every operation; otherwise ``a*b + c`` may be rounded once.
    """
    module = Module(target)
    where = homes(program)
    for number, buffer in enumerate(program.constants):
        where[buffer.name] = _constant(module, f"{name}.constant{number}", buffer)
    context = Context(module, name, program.symbols, where, math != "strict")
    functions: list[str] = []
    rows: list[Size] = []
    for kernel in program.kernels:
        if isinstance(kernel, ContractionKernel) and in_library(kernel):
            functions.append(lower_contraction(context, kernel))
            continue
        nest = kernel if isinstance(kernel, LoopKernel) else as_loops(kernel)
        own, nbytes = row_layout(nest)
        rows.append(nbytes)
        functions.append(lower_kernel(context, nest, own))
    layout = Layout(program, rows)
    layout.write_workspace(context)
    _write_entry(context, program, layout, functions)
    return module.text()


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

    def __init__(self, program: Program, rows: list[Size]) -> None:
        self.buffers = aligned(program.workspace)
        self.rows = rows
        contracts = any(
            isinstance(k, ContractionKernel) and in_library(k) for k in program.kernels
        )
        self.scratch = SCRATCH_BYTES_PER_THREAD if contracts else 0

    def row_bytes(self, code: Code) -> Bound:
        """Bytes of row scratch of one thread."""
        total: Bound = 0
        for size in dict.fromkeys(self.rows):
            total = code.maximum(total, code.size(size)) if total else code.size(size)
        return total

    def parts(self, code: Code) -> tuple[Bound, Bound, Bound]:
        """Where row scratch and the scratch of contractions begin, and the end."""
        rows = code.size(self.buffers)
        scratch = code.add(rows, code.mul(self.row_bytes(code), "%threads"))
        return rows, scratch, code.add(scratch, code.mul(self.scratch, "%threads"))

    def write_workspace(self, context: Context) -> None:
        """The function that tells the size of the workspace."""
        params = [("ptr", "dims"), ("i64", "threads")]
        code = Code(
            context.module,
            f"{context.name}_workspace",
            "i64",
            params,
            context.symbols,
            internal=False,
        )
        code.do(f"ret i64 {self.parts(code)[2]}")
        code.finish()


def _write_entry(
    context: Context, program: Program, layout: Layout, functions: list[str]
) -> None:
    """The function that fills the frame and runs the kernels in order."""
    params = [
        ("ptr", "rt"),
        ("ptr", "bufs"),
        ("ptr", "dims"),
        ("ptr", "ws"),
        ("i64", "threads"),
    ]
    code = Code(context.module, context.name, "i32", params, context.symbols, internal=False)
    frame = code.alloca(f"[{len(Slot)} x i64], align 8")
    _fill(code, frame, layout)
    status = code.slot(frame, Slot.STATUS)
    for number, function in enumerate(functions):
        if number == program.commit:
            code.call("void", "gc_no_poll", ("ptr", "%rt"), ("i32", "1"))
        code.call("void", function, ("ptr", frame))
        if number < program.commit:
            _return_if_failed(code, status)
    if program.commit < len(functions):
        code.call("void", "gc_no_poll", ("ptr", "%rt"), ("i32", "0"))
    code.do(f"ret i32 {code.load('i32', status, 4)}")
    code.finish()


def _fill(code: Code, frame: Value, layout: Layout) -> None:
    rows, scratch, _ = layout.parts(code)
    contents = {
        Slot.BUFFERS: ("ptr", "%bufs"),
        Slot.DIMS: ("ptr", "%dims"),
        Slot.WORKSPACE: ("ptr", "%ws"),
        Slot.RUNTIME: ("ptr", "%rt"),
        Slot.ROWS: ("ptr", code.offset("%ws", rows)),
        Slot.ROW_BYTES: ("i64", layout.row_bytes(code)),
        Slot.SCRATCH: ("ptr", code.offset("%ws", scratch)),
        Slot.STATUS: ("i64", 0),
    }
    for index, (type, value) in contents.items():
        code.store(type, value, code.slot(frame, index))


def _return_if_failed(code: Code, status: Value) -> None:
    found = code.load("i32", status, 4)
    failed, going = code.fresh("failed"), code.fresh("going")
    code.branch_if(code.op(f"icmp ne i32 {found}, 0"), failed, going)
    code.label(failed)
    code.do(f"ret i32 {found}")
    code.label(going)
