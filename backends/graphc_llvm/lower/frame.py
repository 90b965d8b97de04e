"""What the kernels of a program share: where buffers live, the status, the way out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from graphc.errors import VerificationError
from graphc.loops.ir import Buffer, Kernel, Load, LoopKernel, Program, Store, statements
from graphc.types import Size, product
from graphc_llvm.emit import Module, Value
from graphc_llvm.lower.code import Bound, Code
from graphc_llvm.lower.memory import Place

ALIGNMENT = 64


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


@dataclass
class Frame:
    """The entry function of a program while its kernels are being written.

    Attributes
    ----------
    code
        The entry. It runs once a call, so LLVM compiles it quickly instead of well.
    status
        Where the number of an error is written (an i32).
    rows, row_bytes
        Row scratch of the first thread, and bytes of it for each thread.
    scratch
        Memory for contractions.
    stops
        Whether the kernel being written may be interrupted, and ends the run if it fails.
    described
        What slots of the descriptor of contractions hold.
    """

    code: Code
    name: str
    homes: Mapping[str, Home]
    status: Value
    rows: Value
    row_bytes: Bound
    scratch: Value
    stops: bool = True
    names: set[str] = field(default_factory=set)
    described: dict[int, str] = field(default_factory=dict)

    @property
    def module(self) -> Module:
        return self.code.module

    def symbol(self, kernel: Kernel) -> str:
        """Name of a kernel's function."""
        name = f"{self.name}.{re.sub(r'[^A-Za-z0-9_.]', '_', kernel.name)}"
        if name in self.names:
            raise VerificationError(f"several kernels are named {name}")
        self.names.add(name)
        return name

    def pointer(self, home: Home) -> Value:
        """Where a buffer starts, as a value of the entry (of the first thread's, if a row)."""
        return self.code.once(-1, home, lambda: self._pointer(home))

    def _pointer(self, home: Home) -> Value:
        if isinstance(home.where, str):
            return home.where
        if home.kind == "argument":
            slot = self.code.op(f"getelementptr ptr, ptr %bufs, i64 {home.where}")
            return self.code.load("ptr", slot)
        start = "%ws" if home.kind == "workspace" else self.rows
        return self.code.offset(start, self.code.size(home.where))

    def describe(self, contents: Sequence[tuple[str, Bound]]) -> Value:
        """The descriptor of contractions, filled with (type, value) of each slot."""
        code, count = self.code, len(contents)
        table = code.once(-1, "table", lambda: code.alloca(f"[{count} x i64], align 8"))
        for index, (type, value) in enumerate(contents):
            text = f"{type} {value}"
            if code.depth or self.described.get(index) != text:
                code.store(type, value, code.slot(table, index))
            self.described[index] = "" if code.depth else text
        return table

    def stop_if_interrupted(self, stopped: Value) -> None:
        """End the run if ``stopped`` (an i32, what the runtime returned) is not 0."""
        if self.stops:
            self._leave(stopped, "interrupted")

    def stop_if_failed(self) -> None:
        """End the run if a kernel has written an error."""
        if self.stops:
            self._leave(self.code.load("i32", self.status, 4), "failed")

    def poll(self) -> None:
        """Give signals a chance."""
        if self.stops:
            self.stop_if_interrupted(self.code.call("i32", "gc_poll", ("ptr", "%rt")))

    def _leave(self, found: Value, label: str) -> None:
        """Go to one of the ends of the entry unless ``found`` is 0."""
        going = self.code.fresh("going")
        self.code.branch_if(self.code.op(f"icmp ne i32 {found}, 0"), label, going)
        self.code.label(going)


@dataclass(frozen=True)
class Finder:
    """Finds buffers for code of a kernel that runs on one thread.

    ``worker`` numbers the thread (an i64), ``own`` are the kernel's row buffers.
    """

    frame: Frame
    code: Code
    own: Mapping[str, Home]
    worker: Value

    def __call__(self, buffer: Buffer) -> Place:
        home = self.own.get(buffer.name) or self.frame.homes[buffer.name]
        pointer = self.code.outside("ptr", self.frame.pointer(home))
        if home.kind == "row":
            pointer = self.code.once(-1, ("row", home), lambda: self._of_worker(pointer))
        return Place(pointer, buffer.dtype.name, -1)

    def _of_worker(self, first: Value) -> Value:
        nbytes = self.code.outside("i64", self.frame.row_bytes)
        distance = 0 if self.worker == "0" else self.code.mul(self.worker, nbytes)
        return self.code.offset(first, distance)
