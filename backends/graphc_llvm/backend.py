"""The backend: a loop program in, a loaded native function out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache as once
from functools import partial
from typing import Any

import llvmlite.binding as llvm

from graphc.backend import Array, Executable, Job, KernelTimes, Limits
from graphc.errors import CompileError
from graphc.loops.ir import Program, products_of
from graphc_llvm import cache, layout, runtime, source
from graphc_llvm.callable import NativeCallable, bind, vectorcallable
from graphc_llvm.entry import Entry
from graphc_llvm.functions import provide_functions, recall_functions
from graphc_llvm.jit import Code, engine
from graphc_llvm.target import Target, host


class LLVMBackend:
    """Native code through LLVM, in this process."""

    name = "llvm"

    def load(self, job: Job) -> Executable:
        return _Native(job)

    def function_class(self, base: type) -> type:
        return _native_class(base)

    def bind(self, function: Any, target: Callable[..., Any] | None) -> None:
        if target is not None:
            bind(function, target)

    def facts(self) -> dict[str, str]:
        target = host()
        on = [name.removeprefix("+") for name in target.features.split(",") if name[0] == "+"]
        return {
            "LLVM": ".".join(map(str, llvm.llvm_version_info)),
            "target": target.triple,
            "vectors": f"{8 * target.vector_bytes} bits, {target.registers} registers",
            "features": " ".join(sorted(on)),
            "calls": "native" if layout.matches() else "through Python",
            "cache": cache.state(),
        }

    def limits(self, threads: int) -> Limits:
        from graphc_llvm.limits import measured

        return measured(threads)


@once
def _native_class(base: type) -> type:
    made = type(base.__name__, (base, NativeCallable), {"__module__": base.__module__})
    return vectorcallable(made)


class _Native:
    """A program compiled and loaded."""

    callable: Callable[..., Any] | None

    def __init__(self, job: Job) -> None:
        program = job.program()
        self._made_of = job, program
        self.timings: dict[str, float] = {}
        self.notes: dict[str, str] = {}
        start = time.perf_counter()
        target = host(job.target)
        _provide_libraries(program, target)
        self.timings["libraries"] = time.perf_counter() - start
        self._code = self._obtain(job, program, target)
        by_name = {p.name: p for p in job.graph.parameters()}
        self._entry = Entry(
            self._code,
            job.name,
            source.signature(job, program),
            slow=job.slow,
            parameters=[by_name[b.name].value for b in program.parameters],
            threads=job.threads,
        )
        self.callable = self._entry.callable

    def _obtain(self, job: Job, program: Program, target: Target) -> Code:
        """The program's code: kept from another time, or made and kept."""
        start = time.perf_counter()
        name = cache.key(target, "program", *source.identity(job, program, target))
        record = cache.read(name)
        if record is not None and recall_functions(target, record.needs):
            text = partial(source.program_text, job, program, target)
            code = engine(target).load(record.object, record.exports, text)
            self.notes["object"] = "from the cache"
            self.timings["load"] = time.perf_counter() - start
            return code
        module, formulas = source.program_module(job, program, target)
        emitted = time.perf_counter()
        needs = provide_functions(target, formulas)
        code = engine(target).compile(module.text())
        cache.write(name, cache.Record(code.object, tuple(code.symbols), needs))
        self.notes["object"] = "compiled"
        self.timings["emit"] = emitted - start
        self.timings["codegen"] = time.perf_counter() - emitted
        return code

    def run(
        self, inputs: Sequence[Array], outputs: Sequence[Array], sizes: Sequence[int]
    ) -> None:
        self._entry.run(inputs, outputs, sizes)

    def bind(
        self,
        inputs: Sequence[Array],
        outputs: Sequence[Array],
        sizes: Sequence[int],
        result: object,
        slow: Callable[..., Any],
    ) -> Callable[..., Any]:
        return self._entry.bind(inputs, outputs, sizes, result, slow)

    def kernel_times(
        self, inputs: Sequence[Array], outputs: Sequence[Array], sizes: Sequence[int]
    ) -> KernelTimes:
        from graphc_llvm.timing import kernel_times

        return kernel_times(*self._made_of, inputs, outputs, sizes)

    def text(self, kind: str) -> str | bytes:
        if kind == "llvm_ir":
            return self._code.ir
        if kind == "asm":
            return self._code.asm
        if kind == "object":
            return self._code.object
        raise CompileError(f"the llvm backend generates no {kind}")


_libraries: dict[tuple[Target, str], Code] = {}


def _provide_libraries(program: Program, target: Target) -> None:
    """Load the runtime, and the contraction kernels of the element types that are used."""
    runtime.load()
    for kernel in program.kernels:
        for product in products_of(kernel):
            if product.dtype.is_float:
                _provide_gemm(target, product.dtype.name)


def _provide_gemm(target: Target, dtype: str) -> None:
    if (target, dtype) not in _libraries:
        jit = engine(target)
        text = partial(source.contractions_text, target, dtype)
        code = jit.library(text, cache.SOURCE, "contractions", dtype)
        _libraries[target, dtype] = code
        jit.provide(code)
