"""Kernels of a ``rolled`` node: a nest for each round, a loop for each of its runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from graphc.expr import Expr, constant_value
from graphc.loops.access import resolve
from graphc.loops.group import Fusion
from graphc.loops.ir import (
    PARALLEL_WORK,
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
from graphc.ops.rolled import Read, Rolled, Round, Run
from graphc.types import DType, Size, int64, same_size

BufferOf: TypeAlias = Callable[[Expr], Buffer]
#: Memory, the distance of neighbours, and where the first element lies.
Source: TypeAlias = tuple[Buffer, tuple[Size, Size]]


def rolled_kernels(node: Expr, fusion: Fusion, buffer_of: BufferOf, name: str) -> list[Kernel]:
    """A kernel for each round. All have a loop: those are functions of their own."""
    rolled: Rolled = node.attrs["program"]
    sources = [resolve(x, fusion.place) for x in node.args]
    places: list[Source] = []
    for access in sources:
        assert access is not None
        step = access.strides[0] if access.strides else 0
        places.append((buffer_of(access.base), (step, access.offset)))
    slots = buffer_of(node)
    return [
        _Nest(group, places, slots).kernel(f"{name}_{k}")
        for k, group in enumerate(rolled.rounds)
    ]


class _Nest:
    """The loops of one round: values known outside, and the statements of each run."""

    def __init__(
        self,
        group: Round,
        sources: list[Source],
        slots: Buffer,
    ) -> None:
        self.group = group
        self.sources = sources
        self.slots = slots
        self.outside: list[Statement] = []
        self.count = 0
        self.nbytes = 0

    def fresh(self) -> Name:
        self.count += 1
        return f"v{self.count}"

    def kernel(self, name: str) -> LoopKernel:
        body: list[Statement] = []
        for k, run in enumerate(self.group.runs):
            body += _Body(self, run, f"i{k + 1}").statements()
        flops, times = sum(run.flops for run in self.group.runs), self.group.times
        if times > 1 or not isinstance(body[0], Loop):
            work = max(1, flops // times)
            body = [Loop("i0", times, "serial", tuple(body), work=work)]
        return LoopKernel(name, (*self.outside, *body), self.label(), flops, self.nbytes)

    def label(self) -> str:
        runs = [_words(run) for run in self.group.runs[:3]]
        more = ", ..." if len(self.group.runs) > 3 else ""
        return ", ".join(runs) + more


def _words(run: Run) -> str:
    """In words: how many pieces, and the operations of one."""
    names = list(dict.fromkeys(n.op.name for n in run.piece.operations)) or ["copy"]
    more = ", ..." if len(names) > 6 else ""
    return f"{run.count} x ({', '.join(names[:6])}{more})"


class _Body:
    """The statements of one run while they are written.

    Repetition ``j`` is number ``j % turn`` of round ``j // turn``.
    """

    def __init__(self, nest: _Nest, run: Run, var: Name) -> None:
        self.nest = nest
        self.run = run
        self.var = var
        self.turn = run.count // nest.group.times
        self.inside: list[Statement] = []

    def statements(self) -> list[Statement]:
        names: dict[Expr, Name] = {}
        run = self.run
        for x, read in zip(run.piece.inputs, run.reads, strict=True):
            names[x] = self.read(read, x.dtype)
        for node in run.piece.nodes():
            if node not in names:
                names[node] = self.compute(node, names)
        for k, node in enumerate(run.piece.outputs):
            self.store(names[node], node.dtype, run.out + k * run.count)
        return self.inside if self.turn == 1 else [self.loop()]

    def loop(self) -> Loop:
        work = max(1, len(self.inside))
        heavy = self.run.count * work >= PARALLEL_WORK
        return Loop(
            self.var,
            self.turn,
            "vector" if self.run.independent else "serial",
            tuple(self.inside),
            parallel=self.run.independent and self.nest.group.times == 1 and heavy,
            work=work,
        )

    def along(self, step: Size, start: Size) -> Index:
        """``start + step * j``."""
        terms = [("i0", step * self.turn)] if self.nest.group.times > 1 else []
        terms += [(self.var, step)] if self.turn > 1 else []
        return Index(tuple(t for t in terms if not same_size(t[1], 0)), start)

    # values -----------------------------------------------------------------------------------

    def compute(self, node: Expr, names: dict[Expr, Name]) -> Name:
        name = self.nest.fresh()
        value = constant_value(node)
        if value is not None:
            self.nest.outside.append(Const(name, node.dtype, value.item()))
            return name
        args = tuple(names[a] for a in node.args)
        self.inside.append(Compute(name, node.op.name, args, node.dtype))
        return name

    def read(self, read: Read, dtype: DType) -> Name:
        """The element of a source that a repetition reads."""
        nest = self.nest
        source: Source = (nest.slots, (1, 0))
        buffer, (step, offset) = source if read.source is None else nest.sources[read.source]
        start = offset + step * read.start
        if read.table is None:
            return self.load(buffer, self.along(step * read.step, start), dtype)
        table, (table_step, table_offset) = nest.sources[read.table]
        at = self.load(table, self.along(table_step, table_offset), int64)
        return self.load(buffer, Index(((at, step),), start), dtype)

    def load(self, buffer: Buffer, index: Index, dtype: DType) -> Name:
        """A load, outside of the loops if it is always the same element of an operand."""
        name = self.nest.fresh()
        fixed = not index.terms and buffer is not self.nest.slots
        target = self.nest.outside if fixed else self.inside
        target.append(Load(name, buffer, index))
        self.nest.nbytes += buffer.dtype.itemsize * (1 if fixed else self.run.count)
        return self.converted(name, buffer.dtype, dtype, target)

    def converted(
        self, name: Name, given: DType, wanted: DType, target: list[Statement]
    ) -> Name:
        if given == wanted:
            return name
        cast = self.nest.fresh()
        target.append(Compute(cast, "cast", (name,), wanted))
        return cast

    def store(self, name: Name, dtype: DType, start: int) -> None:
        buffer = self.nest.slots
        name = self.converted(name, dtype, buffer.dtype, self.inside)
        self.inside.append(Store(buffer, self.along(1, start), name))
        self.nest.nbytes += buffer.dtype.itemsize * self.run.count
