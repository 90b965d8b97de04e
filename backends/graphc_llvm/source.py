"""The LLVM text of what the backend loads, and what stands for it in the cache.

The many modules that write loops are imported when the first text is written: a process that
finds all it needs in the cache does without them.
"""

from __future__ import annotations

import hashlib

from graphc.backend import Job
from graphc.loops.ir import Program
from graphc.types import Size
from graphc_llvm import cache
from graphc_llvm.call import Signature, emit_entry
from graphc_llvm.emit import Module
from graphc_llvm.functions import take_out
from graphc_llvm.target import Target


def signature(job: Job, program: Program) -> Signature:
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


def identity(job: Job, program: Program, target: Target) -> tuple[str, ...]:
    """Texts that are the same for two programs only if the same code is made of them."""
    text = repr(program)
    if "value=nan" in text:  # which does not tell its bits
        text = program_text(job, program, target)
    constants = [hashlib.sha256(b.value or b"").hexdigest() for b in program.constants]
    return cache.SOURCE, job.name, job.math, text, str(constants)


def program_module(job: Job, program: Program, target: Target) -> tuple[Module, dict[str, str]]:
    """The program's module with its Python entry, and the formulas that it calls."""
    from graphc_llvm.lower import lower_into

    module = Module(target)
    lower_into(module, program, job.name, flush=job.math == "fast")
    emit_entry(module, job.name, signature(job, program))
    formulas = take_out(module)
    return module, formulas


def program_text(job: Job, program: Program, target: Target) -> str:
    return program_module(job, program, target)[0].text()


def timed_module(job: Job, program: Program, target: Target) -> tuple[Module, dict[str, str]]:
    """As `program_module`, of a program that takes its kernels' times; without an entry."""
    from graphc_llvm.lower import lower_into

    module = Module(target)
    lower_into(module, program, job.name, flush=job.math == "fast", timed=True)
    formulas = take_out(module)
    return module, formulas


def contractions_text(target: Target, dtype: str) -> str:
    from graphc_llvm import gemm

    return gemm.library(target, dtype)
