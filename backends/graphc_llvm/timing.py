"""Times of kernels: a program is compiled once more, with looks at the clock between them.

Kernels are timed where they run, after what they follow, so their data lies where it lies in
a call. What is short against a look at the clock cannot be told from it.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence

import numpy as np

from graphc.backend import Array, Job, KernelTimes
from graphc.errors import CompileError, IndexOutOfRangeError
from graphc.loops.ir import INDEX_ERROR, Program
from graphc_llvm import builtin, source
from graphc_llvm.entry import allocate
from graphc_llvm.functions import provide_functions
from graphc_llvm.jit import Code, engine
from graphc_llvm.target import host

#: Runs after the first, which warms up: as many as fit in so many seconds, within these bounds.
SECONDS, LEAST, MOST = 0.25, 5, 200


def kernel_times(
    job: Job,
    program: Program,
    inputs: Sequence[Array],
    outputs: Sequence[Array],
    sizes: Sequence[int],
) -> KernelTimes:
    """Run a program several times, each time from copies of its parameters.

    Raises
    ------
    CompileError
        On a system without the clock of POSIX.
    IndexOutOfRangeError
        If an index in the inputs is out of range.
    """
    if not hasattr(time, "CLOCK_MONOTONIC"):
        raise CompileError(f"{job.name}: this system has no clock to time kernels by")
    code = _compiled(job, program)
    by_name = {p.name: p for p in job.graph.parameters()}
    values = [np.ascontiguousarray(by_name[b.name].value) for b in program.parameters]
    copies = [v.copy() for v in values]
    run = _runner(code, job, [*inputs, *outputs, *copies], sizes, len(program.kernels))
    found: list[Array] = []
    start = time.perf_counter()
    while len(found) <= LEAST or (len(found) <= MOST and time.perf_counter() - start < SECONDS):
        for copy, value in zip(copies, values, strict=True):
            copy[...] = value
        found.append(run())
    steps = np.diff(np.array(found[1:]), axis=1) * 1e-9
    return KernelTimes(steps[:, 1:], float(np.median(steps[:, 0])))


def _compiled(job: Job, program: Program) -> Code:
    target = host(job.target)
    module, formulas = source.timed_module(job, program, target)
    provide_functions(target, formulas)
    return engine(target).compile(module.text())


def _runner(
    code: Code, job: Job, arrays: Sequence[Array], sizes: Sequence[int], kernels: int
) -> Callable[[], Array]:
    """A function that runs the program and returns its times (ns)."""
    word, pointer = ctypes.c_int64, ctypes.c_void_p
    times = np.zeros((kernels + 2, 2), np.int64)
    dims = (word * (len(sizes) + 1))(*sizes)
    asked = code.symbols.get(f"{job.name}_workspace")
    need = ctypes.PYFUNCTYPE(word, pointer, word)(asked)(dims, job.threads) if asked else 0
    workspace = allocate(need, job.name)
    buffers = (pointer * (len(arrays) + 1))(*(a.ctypes.data for a in (*arrays, times)))
    kinds = (ctypes.c_int32, pointer, pointer, pointer, pointer, word, ctypes.c_bool)
    call = ctypes.PYFUNCTYPE(*kinds)(builtin.load().symbols["gc_run"])
    entry = code.symbols[job.name]

    def run() -> Array:
        status = call(entry, buffers, dims, workspace.ctypes.data, job.threads, True)
        if status == INDEX_ERROR:
            raise IndexOutOfRangeError(f"{job.name}: an index is out of range")
        return times[:, 0] * 10**9 + times[:, 1]

    return run
