"""A loop kernel to a function ``void (ptr frame)``, and a block function if it is parallel."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.loops.ir import Loop, LoopKernel
from graphc_llvm.lower.blocks import Blocks
from graphc_llvm.lower.frame import Context, Home
from graphc_llvm.lower.nest import open_nest


def lower_kernel(context: Context, kernel: LoopKernel, rows: Mapping[str, Home]) -> str:
    """Write the functions of a kernel; ``rows`` are its row buffers.

    Returns the name of its kernel function.
    """
    code = context.code(context.symbol(kernel), [("ptr", "frame")])
    nest = open_nest(context, code, "%frame", rows, "0")
    for place, statement in enumerate(kernel.body):
        if isinstance(statement, Loop) and statement.parallel:
            before, after = kernel.body[:place], kernel.body[place + 1 :]
            Blocks(context, rows, nest, before, statement).write()
            nest.run((*before, *after) if after else ())
            break
    else:
        nest.run(kernel.body)
    code.do("ret void")
    code.finish()
    return code.name
