"""A loop program as pseudo-code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from graphc.inspect.text.notation import INFIX, Phrase, infix, number
from graphc.loops.ir import (
    Accumulate,
    BandKernel,
    Buffer,
    CheckedIndex,
    Compute,
    Const,
    ContractionKernel,
    Index,
    Kernel,
    Load,
    Loop,
    Operand,
    Position,
    Program,
    Statement,
    Store,
    nest_of,
)
from graphc.types import Size

_SIGNS = {"sum": "+", "prod": "*", "any": "|", "all": "&"}


def show_program(program: Program) -> str:
    """Buffers, then each kernel as a loop nest with its loads, sums and stores."""
    lines = [f"program({', '.join(program.symbols)})"]
    kinds = ("inputs", "parameters", "constants", "outputs")
    for kind in kinds:
        lines += [f"  {kind[:-1]:<10} {_declared(b)}" for b in getattr(program, kind)]
    lines += [f"  workspace  {_declared(b)} at byte {at}" for b, at in program.offsets]
    lines += [f"  workspace total {program.workspace} bytes"] if program.offsets else []
    lines += [f"  require {g.size} >= {g.minimum}: {g.text}" for g in program.guards]
    for place, kernel in enumerate(program.kernels):
        if place == program.commit:
            lines += ["", "commit  # from here on parameters change"]
        lines += ["", *_kernel(kernel)]
    return "\n".join(lines)


def _declared(buffer: Buffer) -> str:
    text = f"{buffer.name}: {buffer.dtype.short}[{', '.join(map(str, buffer.shape))}]"
    if buffer.value is None:
        return text
    values = np.frombuffer(buffer.value, buffer.dtype.numpy)
    return f"{text} = {np.array2string(values, threshold=6, edgeitems=2)}".replace("\n", "")


def _kernel(kernel: Kernel) -> list[str]:
    notes = [kernel.label] if kernel.label else []
    notes += [f"{kernel.flops} flops, {kernel.nbytes} bytes"]
    head = f"kernel {kernel.name}  # {'; '.join(notes)}"
    if isinstance(kernel, BandKernel):
        first, last = map(_contraction, (kernel.rows, kernel.total))
        inside = (*first, *_body(kernel.nest.body, 1), *last)
        return [head, "  in bands of rows:", *(f"  {line}" for line in inside)]
    if isinstance(kernel, ContractionKernel):
        return [head, *_contraction(kernel), *_body(nest_of(kernel), 1)]
    return [head, *_body(kernel.body, 1)]


def _contraction(kernel: ContractionKernel) -> list[str]:
    sign = "+=" if kernel.accumulate else "="
    batch = [f"for b in {shape(kernel.batch_shape)}:"] if kernel.batch_shape else []
    size = f"(m={kernel.m}, k={kernel.k}, n={kernel.n}, {kernel.dtype.short})"
    out, a, b = map(_matrix, (kernel.out, kernel.a, kernel.b))
    indent = "    " if batch else "  "
    return [*(f"  {line}" for line in batch), f"{indent}{out} {sign} {a} @ {b}  {size}"]


def shape(sizes: Sequence[Size]) -> str:
    return f"({', '.join(map(str, sizes))})"


def _matrix(operand: Operand) -> str:
    strides = f"row {operand.row}, column {operand.column}"
    batch = f"batch {shape(operand.batch)}, " if operand.batch else ""
    start = f"from {operand.offset}, " if str(operand.offset) != "0" else ""
    return f"{operand.buffer.name}[{start}{batch}{strides}]"


def _body(body: Iterable[Statement], depth: int) -> list[str]:
    lines: list[str] = []
    pending = [(s, depth) for s in body][::-1]
    while pending:
        statement, at = pending.pop()
        lines += [f"{'  ' * at}{line}" for line in _statement(statement)]
        if isinstance(statement, Loop):
            pending += [(s, at + 1) for s in statement.body][::-1]
    return lines


def _statement(s: Statement) -> list[str]:
    match s:
        case Loop():
            return _loop(s)
        case Const():
            return [f"{s.name} = {number(np.asarray(s.value, s.dtype.numpy))}: {s.dtype.short}"]
        case Position():
            return [f"{s.name} = {index(s.index)}"]
        case Load():
            return [f"{s.name} = {s.buffer.name}[{index(s.index)}]"]
        case Compute():
            return [f"{s.name} = {_computed(s)}"]
        case CheckedIndex():
            return [f"{s.name} = check_index({s.arg}, {s.size})"]
        case Store():
            sign = "+=" if s.add else "="
            return [f"{s.buffer.name}[{index(s.index)}] {sign} {s.value}"]
        case Accumulate():
            return [_accumulated(s)]


def _loop(loop: Loop) -> list[str]:
    lines = []
    for a in loop.accumulators:
        sizes = f"[{', '.join(map(str, a.shape))}]" if a.shape else ""
        into = f" into {a.target.name}" if a.target else ""
        lines.append(f"accumulator {a.name}: {a.kind} {a.dtype.short}{sizes}{into}")
    kind = "parallel " if loop.parallel else ""
    kind += "vector " if loop.kind == "vector" else ""
    return [*lines, f"{kind}for {loop.var} in range({loop.extent}):"]


def _computed(s: Compute) -> str:
    if s.op in INFIX:
        return infix(*INFIX[s.op], *map(Phrase, s.args)).text
    name = s.dtype.short if s.op == "cast" else s.op
    return f"{name}({', '.join(s.args)})"


def _accumulated(s: Accumulate) -> str:
    place = f"[{index(s.index)}]" if s.index is not None else ""
    position = f" at {s.position}" if s.position else ""
    return f"{s.accumulator}{place} <- {s.value}{position}"


def index(i: Index) -> str:
    """``b*784 + j + 3``"""
    terms = [_term(name, stride) for name, stride in i.terms]
    if not terms or str(i.offset) != "0":
        terms.append(str(i.offset))
    return " + ".join(terms)


def _term(name: str, stride: Size) -> str:
    text = str(stride)
    if text == "1":
        return name
    return f"{name}*({text})" if " " in text else f"{name}*{text}"
