"""The LLVM text of what the backend loads, and what stands for it in the cache.

A program's object is found by what its graph says, without planning it, or where that cannot
be told by what the program says.

The many modules that write loops are imported when the first text is written: a process that
finds all it needs in the cache does without them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphc.backend import Job
from graphc.types import Dim, Guard, Size, symbol
from graphc_llvm import cache
from graphc_llvm.call import Signature, emit_entry
from graphc_llvm.emit import Module
from graphc_llvm.functions import take_out
from graphc_llvm.target import Target

if TYPE_CHECKING:
    from graphc.loops.ir import Program


@dataclass(frozen=True)
class Outline:
    """What calls need to know of a program, besides its code and the graph.

    Attributes
    ----------
    work
        The estimated time of a call in ns.
    guards
        Conditions on sizes that its kernels rely on.
    parameters
        Names, in the program's order.
    products
        Element types whose contraction kernels it calls.
    """

    work: Size
    guards: tuple[Guard, ...]
    parameters: tuple[str, ...]
    products: tuple[str, ...]

    @staticmethod
    def of(program: Program) -> Outline:
        from graphc.loops.ir import products_of

        work: Size = sum((2 * k.flops + k.nbytes for k in program.kernels), start=0) // 16
        dtypes = {p.dtype for k in program.kernels for p in products_of(k)}
        products = tuple(sorted(d.name for d in dtypes if d.is_float))
        names = tuple(b.name for b in program.parameters)
        return Outline(work, program.guards, names, products)

    def encode(self) -> str:
        guards = [(_encoded(g.size), g.minimum, g.text) for g in self.guards]
        return json.dumps((_encoded(self.work), guards, self.parameters, self.products))

    @staticmethod
    def decode(text: str) -> Outline:
        work, guards, parameters, products = json.loads(text)
        made = tuple(Guard(_decoded(size), *rest) for size, *rest in guards)
        return Outline(_decoded(work), made, tuple(parameters), tuple(products))


def _encoded(size: Size) -> Any:
    """A size as JSON: a number, or a list of terms."""
    if not isinstance(size, Dim):
        return size

    def atom(a: Any) -> Any:
        return a if isinstance(a, str) else (_encoded(a.numerator), _encoded(a.denominator))

    return [(factor, *map(atom, atoms)) for atoms, factor in size.terms]


def _decoded(value: Any) -> Size:
    if isinstance(value, int):
        return value
    total: Size = 0
    for term, *atoms in value:
        for a in atoms:
            factor = symbol(a) if isinstance(a, str) else _decoded(a[0]) // _decoded(a[1])
            term = factor * term
        total = term + total
    return total


def signature(job: Job, outline: Outline) -> Signature:
    return Signature(
        inputs=tuple((x.dtype, x.shape) for x in job.graph.inputs),
        outputs=tuple((x.dtype, x.shape) for x in job.graph.outputs),
        symbols=job.symbols,
        guards=outline.guards,
        result=job.result,
        work=outline.work,
        parameters=len(outline.parameters),
        updates=bool(job.graph.updates),
    )


def graph_name(job: Job, target: Target) -> str | None:
    """The name in the cache of what is made of a job's graph; None if nothing is kept, or
    nobody can tell what the graph says."""
    content = job.content() if cache.directory() else None
    parts = cache.SOURCE, job.name, job.math
    return content and cache.key(target, "graph", *parts, content)


def program_name(job: Job, program: Program, target: Target) -> str | None:
    """The name in the cache of what is made of a program; None if nothing is kept."""
    if cache.directory() is None:
        return None
    return cache.key(target, "program", *identity(job, program, target))


def identity(job: Job, program: Program, target: Target) -> tuple[str, ...]:
    """Texts that are the same for two programs only if the same code is made of them."""
    text = repr(program)
    if "value=nan" in text:  # which does not tell its bits
        text = program_text(job, program, target)
    constants = [hashlib.sha256(b.value or b"").hexdigest() for b in program.constants]
    return cache.SOURCE, job.name, job.math, text, str(constants)


#: Writes the text of a module, by the name of the formula that it defines.
Formulas = dict[str, Callable[[], str]]


def program_module(job: Job, program: Program, target: Target) -> tuple[Module, Formulas]:
    """The program's module with its Python entry, and the formulas that it calls."""
    from graphc_llvm.lower import lower_into

    module = Module(target)
    lower_into(module, program, job.name, flush=job.math == "fast")
    emit_entry(module, job.name, signature(job, Outline.of(program)))
    formulas = take_out(module)
    return module, formulas


def program_text(job: Job, program: Program, target: Target) -> str:
    return program_module(job, program, target)[0].text()


def timed_module(job: Job, program: Program, target: Target) -> tuple[Module, Formulas]:
    """As `program_module`, of a program that takes its kernels' times; without an entry."""
    from graphc_llvm.lower import lower_into

    module = Module(target)
    lower_into(module, program, job.name, flush=job.math == "fast", timed=True)
    formulas = take_out(module)
    return module, formulas


def contractions_text(target: Target, dtype: str) -> str:
    from graphc_llvm import gemm

    return gemm.library(target, dtype)
