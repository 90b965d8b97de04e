"""What the functions of a module share at run time: one frame of 8-byte slots on the stack.

A kernel receives the frame, finds its buffers through it, and writes errors into it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from graphc.errors import VerificationError
from graphc.loops.ir import Buffer, Kernel, Load, LoopKernel, Program, Store, statements
from graphc.types import Size, product
from graphc_llvm.emit import Module, Value
from graphc_llvm.lower.code import Code
from graphc_llvm.lower.memory import Place

ALIGNMENT = 64


class Slot(IntEnum):
    """Slots of the frame."""

    BUFFERS = 0
    DIMS = 1
    WORKSPACE = 2
    RUNTIME = 3
    ROWS = 4
    ROW_BYTES = 5
    SCRATCH = 6
    STATUS = 7


@dataclass(frozen=True)
class Home:
    """Where a buffer lives: a slot of the caller's array, an offset, or a symbol."""

    kind: Literal["argument", "workspace", "row", "constant"]
    where: Size | str


def homes(program: Program) -> dict[str, Home]:
    """Where the buffers of a program live, but for row buffers."""
    arguments = (*program.inputs, *program.outputs, *program.parameters)
    names = [b.name for b in (*arguments, *program.constants, *(b for b, _ in program.offsets))]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise VerificationError(f"several buffers are named {', '.join(twice)}")
    found = {b.name: Home("argument", slot) for slot, b in enumerate(arguments)}
    found.update({b.name: Home("workspace", offset) for b, offset in program.offsets})
    return found


def aligned(nbytes: Size) -> Size:
    """The next multiple of the alignment."""
    return (nbytes + (ALIGNMENT - 1)) // ALIGNMENT * ALIGNMENT


def row_layout(kernel: LoopKernel) -> tuple[dict[str, Home], Size]:
    """Where the row buffers of a kernel live in a thread's scratch, and its size in bytes."""
    found: dict[str, Home] = {}
    total: Size = 0
    for statement in statements(kernel.body):
        if isinstance(statement, Load | Store):
            buffer = statement.buffer
            if buffer.kind == "row" and buffer.name not in found:
                found[buffer.name] = Home("row", total)
                total = total + aligned(product(buffer.shape) * buffer.dtype.itemsize)
    return found, total


@dataclass(frozen=True)
class Context:
    """What the functions of a module have in common."""

    module: Module
    name: str
    symbols: tuple[str, ...]
    homes: Mapping[str, Home]
    fused: bool

    def code(self, name: str, params: Sequence[tuple[str, str]]) -> Code:
        """A new internal function without a result."""
        if name in self.module.functions:
            raise VerificationError(f"several kernels are named {name}")
        return Code(self.module, name, "void", params, self.symbols)

    def symbol(self, kernel: Kernel) -> str:
        """Name of a kernel's function."""
        return f"{self.name}.{re.sub(r'[^A-Za-z0-9_.]', '_', kernel.name)}"


def slot(code: Code, frame: Value, index: int, type: str = "ptr") -> Value:
    """The content of a slot, read at the top of the function."""
    key = ("slot", frame, index)
    return code.once(-1, key, lambda: code.load(type, code.slot(frame, index)))


def finder(
    code: Code, frame: Value, where: Mapping[str, Home], worker: Value
) -> Callable[[Buffer], Place]:
    """A function that finds a buffer; ``worker`` numbers the thread (an i64)."""

    def find(buffer: Buffer) -> Place:
        def compute() -> Value:
            return _pointer(code, frame, where[buffer.name], worker)

        pointer = code.once(-1, ("buffer", buffer.name), compute)
        return Place(pointer, buffer.dtype.name, -1)

    return find


def _pointer(code: Code, frame: Value, home: Home, worker: Value) -> Value:
    if isinstance(home.where, str):
        return home.where
    if home.kind == "argument":
        array = slot(code, frame, Slot.BUFFERS)
        return code.load("ptr", code.op(f"getelementptr ptr, ptr {array}, i64 {home.where}"))
    if home.kind == "workspace":
        return code.offset(slot(code, frame, Slot.WORKSPACE), code.size(home.where))
    nbytes = slot(code, frame, Slot.ROW_BYTES, "i64")
    own = code.offset(slot(code, frame, Slot.ROWS), code.mul(nbytes, worker))
    return code.offset(own, code.size(home.where))
