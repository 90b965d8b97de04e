"""The backend: a loop program in, a loaded native function out."""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable, Sequence
from functools import cache as once
from typing import Any

import llvmlite.binding as llvm

from graphc.backend import Array, Executable, Job
from graphc.errors import CompileError
from graphc.loops.ir import Const, ContractionKernel, LoopKernel, Program, statements
from graphc.types import Size
from graphc_llvm import cache, gemm, layout, runtime
from graphc_llvm.call import Signature, emit_entry
from graphc_llvm.callable import NativeCallable, bind, vectorcallable
from graphc_llvm.emit import Module
from graphc_llvm.entry import Entry
from graphc_llvm.functions import provide_functions, recall_functions, take_out
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


@once
def _native_class(base: type) -> type:
    made = type(base.__name__, (base, NativeCallable), {"__module__": base.__module__})
    return vectorcallable(made)


class _Native:
    """A program compiled and loaded."""

    callable: Callable[..., Any] | None

    def __init__(self, job: Job) -> None:
        program = job.program()
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
            _signature(job, program),
            slow=job.slow,
            parameters=[by_name[b.name].value for b in program.parameters],
            threads=job.threads,
        )
        self.callable = self._entry.callable

    def _obtain(self, job: Job, program: Program, target: Target) -> Code:
        """The program's code: kept from another time, or made and kept."""
        start = time.perf_counter()
        identity = cache.source(), job.name, job.math, program_text(program)
        name = cache.key(target, "program", *identity)
        record = cache.read(name)
        if record is not None and recall_functions(target, record.needs):
            code = engine(target).load(
                record.object, record.exports, lambda: _module_text(job, program, target)[0]
            )
            self.notes["object"] = "from the cache"
            self.timings["load"] = time.perf_counter() - start
            return code
        text, formulas = _module_text(job, program, target)
        emitted = time.perf_counter()
        needs = provide_functions(target, formulas)
        code = engine(target).compile(text)
        cache.write(name, cache.Record(code.object, tuple(code.symbols), needs))
        self.notes["object"] = "compiled"
        self.timings["emit"] = emitted - start
        self.timings["codegen"] = time.perf_counter() - emitted
        return code

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


def program_text(program: Program) -> str:
    """A text that is the same for two programs only if they are the same."""
    text = repr(program)
    constants = [hashlib.sha256(b.value or b"").hexdigest() for b in program.constants]
    return f"{text} {constants} {_nans(program) if 'value=nan' in text else ''}"


def _nans(program: Program) -> list[bytes]:
    """The bits of constants that are not numbers, which their text does not tell."""
    bodies = [k.body for k in program.kernels if isinstance(k, LoopKernel)]
    numbers = [s.value for body in bodies for s in statements(body) if isinstance(s, Const)]
    return [struct.pack("d", value) for value in numbers if value != value]


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
        code = jit.library(
            lambda: gemm.library(target, dtype), cache.source(), "contractions", dtype
        )
        _libraries[target, dtype] = code
        jit.provide(code)
