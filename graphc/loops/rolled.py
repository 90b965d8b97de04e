"""Kernels of a ``rolled`` node: one loop for each run, over the repetitions of its piece."""

from __future__ import annotations

from collections.abc import Callable

from graphc.expr import Expr, constant_value
from graphc.loops.access import resolve
from graphc.loops.group import Fusion
from graphc.loops.ir import (
    BLOCK_WORK,
    Buffer,
    Compute,
    Const,
    Index,
    Kernel,
    Load,
    Loop,
    LoopKernel,
    Name,
    Statement,
    Store,
)
from graphc.ops.rolled import Read, Rolled, Run
from graphc.types import DType, int64

BufferOf = Callable[[Expr], Buffer]


def rolled_kernels(node: Expr, fusion: Fusion, buffer_of: BufferOf, name: str) -> list[Kernel]:
    """A kernel for each run. Runs of one repetition are loops, too: functions of their own."""
    rolled: Rolled = node.attrs["program"]
    sources = [resolve(x, fusion.owns_memory) for x in node.args]
    places: list[tuple[Buffer, Index]] = []
    for access in sources:
        assert access is not None
        step = access.strides[0] if access.strides else 0
        places.append((buffer_of(access.base), Index((("i0", step),), access.offset)))
    slots = buffer_of(node), Index((("i0", 1),), 0)
    return [
        _Body(run, places, slots).kernel(f"{name}_{k}") for k, run in enumerate(rolled.runs)
    ]


class _Body:
    """The statements of one run while they are written."""

    def __init__(
        self,
        run: Run,
        sources: list[tuple[Buffer, Index]],
        slots: tuple[Buffer, Index],
    ) -> None:
        self.run = run
        self.sources = sources
        self.slots = slots
        self.outside: list[Statement] = []
        self.inside: list[Statement] = []
        self.count = 0
        self.nbytes = 0

    def fresh(self) -> Name:
        self.count += 1
        return f"v{self.count}"

    def kernel(self, name: str) -> LoopKernel:
        names: dict[Expr, Name] = {}
        for x, read in zip(self.run.piece.inputs, self.run.reads, strict=True):
            names[x] = self.read(read, x.dtype)
        for node in self.run.piece.nodes():
            if node not in names:
                names[node] = self.compute(node, names)
        for k, node in enumerate(self.run.piece.outputs):
            self.store(names[node], node.dtype, self.run.out + k * self.run.count)
        return LoopKernel(
            name, (*self.outside, self.loop()), self.label(), self.run.flops, self.nbytes
        )

    def loop(self) -> Loop:
        run = self.run
        work = max(1, len(self.inside))
        return Loop(
            "i0",
            run.count,
            "vector" if run.independent and run.count > 1 else "serial",
            tuple(self.inside),
            parallel=run.independent and run.count * work >= 2 * BLOCK_WORK,
            work=work,
        )

    def label(self) -> str:
        words = dict.fromkeys(n.op.name for n in self.run.piece.operations)
        shown = list(words) or ["copy"]
        more = ", ..." if len(shown) > 6 else ""
        return f"{self.run.count} x ({', '.join(shown[:6])}{more})"

    # values -----------------------------------------------------------------------------------

    def compute(self, node: Expr, names: dict[Expr, Name]) -> Name:
        name = self.fresh()
        value = constant_value(node)
        if value is not None:
            self.outside.append(Const(name, node.dtype, value.item()))
            return name
        args = tuple(names[a] for a in node.args)
        self.inside.append(Compute(name, node.op.name, args, node.dtype))
        return name

    def read(self, read: Read, dtype: DType) -> Name:
        """The element of a source that a repetition reads."""
        buffer, along = self.slots if read.source is None else self.sources[read.source]
        step = along.terms[0][1]
        if read.table is None:
            moved = read.step * step
            terms = (("i0", moved),) if self.run.count > 1 and moved else ()
        else:
            terms = ((self.position(read.table), step),)
        index = Index(terms, along.offset + read.start * step)
        return self.load(buffer, index, dtype)

    def position(self, table: int) -> Name:
        buffer, index = self.sources[table]
        return self.load(buffer, index, int64)

    def load(self, buffer: Buffer, index: Index, dtype: DType) -> Name:
        name = self.fresh()
        varies = bool(index.terms)
        target = self.inside if varies or buffer is self.slots[0] else self.outside
        target.append(Load(name, buffer, index))
        self.nbytes += buffer.dtype.itemsize * (self.run.count if varies else 1)
        return self.converted(name, buffer.dtype, dtype, target)

    def converted(
        self, name: Name, given: DType, wanted: DType, target: list[Statement]
    ) -> Name:
        if given == wanted:
            return name
        cast = self.fresh()
        target.append(Compute(cast, "cast", (name,), wanted))
        return cast

    def store(self, name: Name, dtype: DType, start: int) -> None:
        buffer = self.slots[0]
        name = self.converted(name, dtype, buffer.dtype, self.inside)
        terms = (("i0", 1),) if self.run.count > 1 else ()
        self.inside.append(Store(buffer, Index(terms, start), name))
        self.nbytes += buffer.dtype.itemsize * self.run.count
