"""The backend: a loop program in, a loaded native function out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from graphc.backend import Array, Executable, Job
from graphc.errors import CompileError
from graphc.loops.ir import ContractionKernel, Program
from graphc.types import Size
from graphc_llvm import gemm, runtime
from graphc_llvm.call import Signature, emit_entry
from graphc_llvm.callable import NativeCallable, bind, vectorcallable
from graphc_llvm.emit import Module
from graphc_llvm.entry import Entry
from graphc_llvm.functions import provide_functions, take_out
from graphc_llvm.jit import Code, engine
from graphc_llvm.lower import lower_into
from graphc_llvm.target import Target, host


class LLVMBackend:
    """Native code through LLVM, in this process."""

    name = "llvm"

    def load(self, job: Job) -> Executable:
        return _Native(job)

    def function_class(self, base: type) -> type:
        return _native_class(base)

    def bind(self, function: Any, executable: Executable) -> None:
        if executable.callable is not None:
            bind(function, executable.callable)


@cache
def _native_class(base: type) -> type:
    made = type(base.__name__, (base, NativeCallable), {"__module__": base.__module__})
    return vectorcallable(made)


class _Native:
    """A program compiled and loaded."""

    callable: Callable[..., Any] | None

    def __init__(self, job: Job) -> None:
        program = job.program()
        self.timings: dict[str, float] = {}
        self._target = host(job.target)
        start = time.perf_counter()
        text, formulas = _module_text(job, program, self._target)
        emitted = time.perf_counter()
        _provide_libraries(program, self._target)
        provide_functions(self._target, formulas)
        loaded = time.perf_counter()
        self._code = engine(self._target).compile(text)
        done = time.perf_counter()
        self.timings["emit"] = emitted - start
        self.timings["libraries"] = loaded - emitted
        self.timings["codegen"] = done - loaded
        by_name = {p.name: p for p in job.graph.parameters()}
        self._entry = Entry(
            self._code,
            job.name,
            _signature(job, program),
            slow=job.slow,
            parameters=[by_name[b.name].value for b in program.parameters],
            threads=job.threads,
        )
        self.callable = self._entry.callable

    def run(
        self, inputs: Sequence[Array], outputs: Sequence[Array], sizes: Sequence[int]
    ) -> None:
        self._entry.run(inputs, outputs, sizes)

    def text(self, kind: str) -> str | bytes:
        if kind == "llvm_ir":
            return self._code.ir
        if kind == "asm":
            return self._code.asm
        if kind == "object":
            return self._code.object
        raise CompileError(f"the llvm backend generates no {kind}")


def _module_text(job: Job, program: Program, target: Target) -> tuple[str, dict[str, str]]:
    """The program's module with its Python entry, and the formulas that it calls."""
    module = Module(target)
    lower_into(module, program, job.name, flush=job.math == "fast")
    emit_entry(module, job.name, _signature(job, program))
    formulas = take_out(module)
    return module.text(), formulas


def _signature(job: Job, program: Program) -> Signature:
    work: Size = sum((2 * k.flops + k.nbytes for k in program.kernels), start=0) // 16
    return Signature(
        inputs=tuple((b.dtype, b.shape) for b in program.inputs),
        outputs=tuple((b.dtype, b.shape) for b in program.outputs),
        symbols=program.symbols,
        guards=program.guards,
        result=job.result,
        work=work,
        parameters=len(program.parameters),
        updates=bool(job.graph.updates),
    )


_libraries: dict[tuple[Target, str], Code] = {}


def _provide_libraries(program: Program, target: Target) -> None:
    """Load the runtime, and the contraction kernels of the element types that are used."""
    runtime.load()
    for kernel in program.kernels:
        if isinstance(kernel, ContractionKernel) and kernel.dtype.is_float:
            _provide_gemm(target, kernel.dtype.name)


def _provide_gemm(target: Target, dtype: str) -> None:
    if (target, dtype) not in _libraries:
        jit = engine(target)
        code = jit.compile(gemm.library(target, dtype), keep=True)
        _libraries[target, dtype] = code
        jit.provide(code)
