"""The backend: a loop program in, a loaded native function out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache as once
from functools import partial
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm

from graphc.backend import Array, Executable, Job, KernelTimes, Limits
from graphc.errors import CompileError
from graphc_llvm import cache, layout, runtime, source
from graphc_llvm.callable import NativeCallable, bind, vectorcallable
from graphc_llvm.entry import Entry
from graphc_llvm.functions import provide_functions, recall_functions
from graphc_llvm.jit import Code, engine
from graphc_llvm.source import Outline
from graphc_llvm.target import Target, host

if TYPE_CHECKING:
    from graphc.loops.ir import Program


class LLVMBackend:
    """Native code through LLVM, in this process."""

    name = "llvm"
    lowers = True

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
        self._job = job
        self._target = host(job.target)
        self.timings: dict[str, float] = {}
        self.notes: dict[str, str] = {}
        self._code, outline = self._obtain()
        by_name = {p.name: p for p in job.graph.parameters()}
        self._entry = Entry(
            self._code,
            job.name,
            source.signature(job, outline),
            slow=job.slow,
            parameters=[by_name[name].value for name in outline.parameters],
            threads=job.threads,
        )
        self.callable = self._entry.callable

    def _obtain(self) -> tuple[Code, Outline]:
        """The code, and what calls need to know of it: kept from another time, or made.

        It is found by what the graph says; where that cannot be told, by the program.
        """
        name = source.graph_name(self._job, self._target)
        found = name and self._recalled(name)
        if found:
            return found
        program = self._job.program()
        if not name:
            name = source.program_name(self._job, program, self._target)
            found = name and self._recalled(name)
        return found or self._compiled(name, program)

    def _recalled(self, name: str) -> tuple[Code, Outline] | None:
        start = time.perf_counter()
        record = cache.read(name)
        if record is None:
            return None
        outline = Outline.decode(record.outline)
        self._provide_libraries(outline)
        if not recall_functions(self._target, record.needs):
            return None
        code = engine(self._target).load(record.object, record.exports, self._text)
        self.notes["object"] = "from the cache"
        self.timings["load"] = time.perf_counter() - start - self.timings["libraries"]
        return code, outline

    def _compiled(self, name: str | None, program: Program) -> tuple[Code, Outline]:
        outline = Outline.of(program)
        self._provide_libraries(outline)
        start = time.perf_counter()
        module, formulas = source.program_module(self._job, program, self._target)
        emitted = time.perf_counter()
        needs = provide_functions(self._target, formulas)
        code = engine(self._target).compile(module.text())
        if name:
            record = cache.Record(code.object, tuple(code.symbols), needs, outline.encode())
            cache.write(name, record)
        self.notes["object"] = "compiled"
        self.timings["emit"] = emitted - start
        self.timings["codegen"] = time.perf_counter() - emitted
        return code, outline

    def _provide_libraries(self, outline: Outline) -> None:
        """Load the runtime, and the contraction kernels of the element types that are used."""
        start = time.perf_counter()
        runtime.load()
        for dtype in outline.products:
            _provide_gemm(self._target, dtype)
        self.timings["libraries"] = time.perf_counter() - start

    def _text(self) -> str:
        return source.program_text(self._job, self._job.program(), self._target)

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

        return kernel_times(self._job, self._job.program(), inputs, outputs, sizes)

    def text(self, kind: str) -> str | bytes:
        if kind == "llvm_ir":
            return self._code.ir
        if kind == "asm":
            return self._code.asm
        if kind == "object":
            return self._code.object
        raise CompileError(f"the llvm backend generates no {kind}")


_libraries: dict[tuple[Target, str], Code] = {}


def _provide_gemm(target: Target, dtype: str) -> None:
    if (target, dtype) not in _libraries:
        jit = engine(target)
        text = partial(source.contractions_text, target, dtype)
        code = jit.library(text, cache.SOURCE, "contractions", dtype)
        _libraries[target, dtype] = code
        jit.provide(code)
