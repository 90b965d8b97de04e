"""A loop kernel: written into the entry, as a function of its own, or as blocks."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.loops.ir import (
    INDEX_ERROR,
    CheckedIndex,
    Loop,
    LoopKernel,
    Statement,
    statements,
)
from graphc.types import Dim, Size
from graphc_llvm.emit import Value
from graphc_llvm.lower.blocks import Blocks
from graphc_llvm.lower.closure import Closure
from graphc_llvm.lower.code import Code
from graphc_llvm.lower.frame import Frame, Home
from graphc_llvm.lower.nest import chunk_of, open_nest

#: Code without loops up to this length is not worth a call ...
_SHORT = 100
#: ... and beyond this length takes too long to optimise.
_LONG = 4000


def lower_kernel(frame: Frame, kernel: LoopKernel, rows: Mapping[str, Home]) -> None:
    """Let the entry run a kernel; ``rows`` are its row buffers.

    If an axis that is indexed has no elements, every index is out of range: the kernel is not
    run then, as it would look at memory that there is not.
    """
    symbol = frame.symbol(kernel)
    code, lost = frame.code, _indexed_nothing(frame.code, kernel.body)
    if lost is None:
        _run(frame, symbol, kernel, rows)
    else:
        with code.when(lost):
            code.store("i32", INDEX_ERROR, frame.status, 4)
        with code.when(code.op(f"xor i1 {lost}, true")):
            _run(frame, symbol, kernel, rows)
    if any(_can_fail(s) for s in statements(kernel.body)):
        frame.stop_if_failed()


def _run(frame: Frame, symbol: str, kernel: LoopKernel, rows: Mapping[str, Home]) -> None:
    """Short kernels without loops become part of the entry; others are functions that it
    calls, whose code LLVM optimises."""
    loops = [s for s in kernel.body if isinstance(s, Loop)]
    parallel = next((s for s in loops if s.parallel), None)
    if parallel is not None:
        Blocks(frame, rows, symbol, kernel.body, parallel).write()
    elif loops or _SHORT < len(kernel.body) <= _LONG:
        _write_function(frame, symbol, kernel, rows)
    else:
        open_nest(frame, frame.code, rows, "0").run(kernel.body)


def _write_function(
    frame: Frame, symbol: str, kernel: LoopKernel, rows: Mapping[str, Home]
) -> None:
    code = Closure(frame.code, symbol)
    nest = open_nest(frame, code, rows, "0")
    nest.polls = frame.stops
    nest.run(kernel.body)
    args = code.close()
    frame.code.call("void", code.name, ("ptr", args))


def _can_fail(statement: Statement) -> bool:
    """Whether a kernel with this statement may leave a status."""
    if isinstance(statement, Loop):
        return not statement.parallel and chunk_of(statement) is not None
    return isinstance(statement, CheckedIndex)


def _indexed_nothing(code: Code, body: tuple[Statement, ...]) -> Value | None:
    """Whether (an i1) some index is looked up in an axis without elements; None: never."""
    found: Value | None = None
    pending: list[tuple[tuple[Statement, ...], Size]] = [(body, 1)]
    while pending:
        inside, times = pending.pop()
        for s in inside:
            if isinstance(s, Loop):
                pending.append((s.body, times * s.extent))
            elif isinstance(s, CheckedIndex) and (isinstance(s.size, Dim) or s.size == 0):
                empty = code.op(f"icmp eq i64 {code.size(s.size)}, 0")
                reached = code.op(f"icmp ne i64 {code.size(times)}, 0")
                lost = code.op(f"and i1 {empty}, {reached}")
                found = lost if found is None else code.op(f"or i1 {found}, {lost}")
    return found
