"""A loop kernel: written into the entry, as a function of its own, or as blocks."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.loops.ir import CheckedIndex, Loop, LoopKernel, statements
from graphc_llvm.lower.blocks import Blocks
from graphc_llvm.lower.closure import Closure
from graphc_llvm.lower.frame import Frame, Home
from graphc_llvm.lower.nest import open_nest


def lower_kernel(frame: Frame, kernel: LoopKernel, rows: Mapping[str, Home]) -> None:
    """Let the entry run a kernel; ``rows`` are its row buffers.

    Kernels without loops become part of the entry; others are functions that it calls, whose
    code LLVM optimises.
    """
    symbol = frame.symbol(kernel)
    loops = [s for s in kernel.body if isinstance(s, Loop)]
    parallel = next((s for s in loops if s.parallel), None)
    if parallel is not None:
        Blocks(frame, rows, symbol, kernel.body, parallel).write()
    elif loops:
        _write_function(frame, symbol, kernel, rows)
    else:
        open_nest(frame, frame.code, rows, "0").run(kernel.body)
    if any(isinstance(s, CheckedIndex) for s in statements(kernel.body)):
        frame.stop_if_failed()


def _write_function(
    frame: Frame, symbol: str, kernel: LoopKernel, rows: Mapping[str, Home]
) -> None:
    code = Closure(frame.code, symbol)
    open_nest(frame, code, rows, "0").run(kernel.body)
    frame.code.call("void", symbol, ("ptr", code.close()))
