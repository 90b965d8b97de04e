"""From a group of nodes to one loop nest.

Values are emitted at the outermost loop where all they depend on is known, so what does not
change inside a loop is computed outside it. Rows are passed over in phases: a phase needs
row reductions of the phases before it. A value of an earlier phase is computed again if that
is cheap, read back if it is stored anyway, and kept in row memory otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from graphc.expr import Expr
from graphc.loops.access import contiguous
from graphc.loops.group import Fusion, Group
from graphc.loops.indices import ZERO, Indices, flat_index
from graphc.loops.ir import (
    MAX_ARRAY_BLOCKS,
    PARALLEL_WORK,
    Accumulate,
    Accumulator,
    AccumulatorKind,
    Buffer,
    Loop,
    LoopKernel,
    Name,
    Statement,
    Store,
)
from graphc.loops.values import Level, Values
from graphc.types import int64, product, same_size

#: Row values of earlier phases that cost more flops than this are kept in row memory.
SPILL_COST = 6


def build_nest(
    group: Group, fusion: Fusion, buffer_of: Callable[[Expr], Buffer], name: str
) -> LoopKernel:
    """The kernel that computes a group, with adjacent loops joined where memory allows."""
    draft = _Nest(group, fusion, buffer_of, {}, name)
    kernel = draft.build()
    joined = draft.joinable()
    return _Nest(group, fusion, buffer_of, joined, name).build() if joined else kernel


class _Nest(Values):
    # building ---------------------------------------------------------------------------------

    def build(self) -> LoopKernel:
        for axis in self.outer:
            self.levels.append(Level(axis, f"i{axis}"))
        self.plan_spills()
        phases = max(self.phase_of.values(), default=0) + 1
        for phase in range(phases):
            self.build_phase(phase)
        while len(self.levels) > 1:
            self.close_loop()
        body = (*self.levels[0].body, *self.levels[0].last, *self.suffix)
        return LoopKernel(
            self.name,
            tuple(body),
            _label(self.group),
            self.flops,
            sum(self.touched.values(), start=0),
        )

    def build_phase(self, phase: int) -> None:
        """One pass over the row (or the only pass): what this phase finishes or stores."""
        for axis in self.inner:
            self.levels.append(Level(axis, f"r{axis}p{phase}"))
        self.finished: list[tuple[Expr, Name]] = []
        for node in self.group.nodes:
            if self.phase_of[node] == phase and self.is_needed(node):
                self.produce(node)
        for _ in self.inner:
            self.close_loop()
        for node, name in self.finished:
            self.remember(node, name, len(self.levels) - 1)
            if node in self.fusion.stored:
                self.store(node, name)

    def is_needed(self, node: Expr) -> bool:
        return node in self.group.reduced or node in self.fusion.stored or node in self.spilled

    def produce(self, node: Expr) -> None:
        if node in self.group.reduced:
            self.reduce(node)
            return
        name = self.value(node, self.canonical(node))
        if node in self.fusion.stored:
            self.store(node, name)
        elif node in self.spilled:
            buffer, index = self.spilled[node], self.row_index(node)
            level = self.deepest([name, *(var for var, _ in index.terms)])
            self.append(Store(buffer, index, name), level)

    def close_loop(self) -> None:
        level = self.levels.pop()
        level.body += level.last
        if not level.body:
            return
        assert level.axis is not None
        outermost = len(self.levels) == 1
        extent = self.extent(level.axis)
        sizes = [self.extent(a) for a in (*self.outer, *self.inner)][1:]
        work = product(sizes) * max(1, self.group.cost)
        arrays = any(a.shape for a in level.accumulators)
        total = extent * work
        heavy = not isinstance(total, int) or total >= PARALLEL_WORK
        kind = "vector" if level.axis == self.vector_axis else "serial"
        self.levels[-1].body.append(
            Loop(
                level.var,
                extent,
                kind,  # type: ignore[arg-type]
                tuple(level.body),
                tuple(level.accumulators),
                parallel=outermost and (heavy or arrays),
                work=work,
            )
        )
        self.levels[-1].body += level.after

    # spills -----------------------------------------------------------------------------------

    def plan_spills(self) -> None:
        """Find row values that a later phase needs and that are too costly to compute again."""
        if not self.row_vector:
            return
        for node in self.group.nodes:
            for x in self.operands(node):
                if self.phase_of[x] < self.phase_of[node] and self.is_inner(x):
                    self.consider_spill(x)

    def is_inner(self, node: Expr) -> bool:
        return node not in self.group.reduced and any(
            a in self.row for a in self.group.axes[node] if a is not None
        )

    def consider_spill(self, x: Expr) -> None:
        if x in self.fusion.stored or x in self.spilled:
            return
        if self.cost(x) <= SPILL_COST:
            return
        shape = tuple(self.extent(a) for a in self.inner)
        name = f"{self.name}_row{len(self.spilled)}"
        self.spilled[x] = Buffer(name, x.dtype, shape, "row")

    def cost(self, x: Expr) -> int:
        total, pending, seen = 0, [x], set()
        while pending and total <= SPILL_COST:
            y = pending.pop()
            if y in seen or y not in self.members or y in self.group.reduced:
                continue
            seen.add(y)
            total += y.op.cost
            pending.extend(self.operands(y))
        return total

    # effects ----------------------------------------------------------------------------------

    def store(self, node: Expr, name: Name) -> None:
        buffer, index = self.element(node, self.canonical(node))
        self.indices.append((index, False))
        if node in self.fusion.parts:
            self.touched[node] = node.type.nbytes
        else:
            self.touch(buffer)
        level = max(self.deepest([name]), self.deepest([t for t, _ in index.terms]))
        if level == 0 and len(self.levels) > 1:
            self.suffix.append(Store(buffer, index, name))
        elif buffer.kind == "parameter":  # whoever reads it here means the old value
            self.levels[level].last.append(Store(buffer, index, name))
        else:
            self.append(Store(buffer, index, name), level)

    def reduce(self, node: Expr) -> None:
        """Accumulate an operand through the loops that the reduction runs over."""
        operand = node.args[0]
        at = self.operand_index(node)
        value = self.value(operand, at)
        over = self.group.reduced[node]
        kind: AccumulatorKind = node.op.name  # type: ignore[assignment]
        position = None
        if kind in ("argmax", "argmin"):
            (axis,) = (a for a in over)
            position = self.position(self.axis_index(axis), int64)
        self.flops = self.flops + product(self.extents_of([value]))
        self.chain(node, kind, value, position)

    def operand_index(self, node: Expr) -> Indices:
        """Where a reduction's operand is read: the space axis behind each of its axes."""
        operand = node.args[0]
        if operand in self.group.axes:
            return self.canonical(operand)
        kept = iter(self.group.axes[node])
        over = iter(sorted(self.group.reduced[node]))
        axes: list[int | None] = []
        for a, size in enumerate(operand.shape):
            if a in node.attrs["axes"]:
                if node.attrs["keepdims"]:
                    next(kept)
                axes.append(None if same_size(size, 1) else next(over))
            else:
                axes.append(next(kept))
        return tuple(self.axis_index(a) for a in axes)

    def chain(
        self, node: Expr, kind: AccumulatorKind, value: Name, position: Name | None
    ) -> None:
        """One accumulator for each reduced loop, from the innermost outwards.

        Where a loop is met that the result keeps, the rest is an array accumulator of the
        outermost loop.
        """
        dtype = node.args[0].dtype
        reduced = {self._target(a) for a in self.group.reduced[node]}
        kept = {self._target(a) for a in self.group.axes[node] if a is not None}
        row = self.group.is_row(node)
        loops = [
            i
            for i, v in enumerate(self.levels)
            if v.axis in (reduced if row else reduced | kept)
        ]
        target = self.levels[loops[-1]].body
        while loops:
            level = self.levels[loops[-1]]
            if level.axis in kept:
                self.accumulate_array(node, kind, value, target)
                return
            self.count += 1
            name = f"a{self.count}"
            level.accumulators.append(Accumulator(name, kind, dtype))
            target.append(Accumulate(name, value, None, position))
            self.level_of[name] = loops.pop() - 1
            value, target = name, level.after
        self.finish(node, value, row)

    def finish(self, node: Expr, name: Name, row: bool) -> None:
        if row:
            self.finished.append((node, name))
        elif node in self.fusion.stored:
            self.suffix.append(Store(self.buffer_of(node), ZERO, name))
            self.touch(self.buffer_of(node))

    def accumulate_array(
        self, node: Expr, kind: AccumulatorKind, value: Name, place: list[Statement]
    ) -> None:
        """Accumulate into an array that the outermost loop owns."""
        target = self.buffer_of(node)
        index = flat_index(self.canonical(node), contiguous(node.shape))
        self.indices.append((index, False))
        self.touch(target)
        self.count += 1
        name = f"a{self.count}"
        dtype = node.args[0].dtype
        shape = (MAX_ARRAY_BLOCKS, *node.shape)
        partials = Buffer(f"{self.name}_partials{self.count}", dtype, shape, "workspace")
        accumulator = Accumulator(name, kind, dtype, node.shape, target, partials)
        self.levels[1].accumulators.append(accumulator)
        place.append(Accumulate(name, value, index))

    # joining loops ----------------------------------------------------------------------------

    def joinable(self) -> dict[int, int]:
        """Pairs of adjacent loops that every index steps through as if they were one."""
        joined: dict[int, int] = {}
        for axes in (self.outer, self.inner):
            for outer, inner in pairwise(axes):
                if self._steps_alike(outer, inner):
                    joined[outer] = inner
        return joined

    def _steps_alike(self, outer: int, inner: int) -> bool:
        for reduced in self.group.reduced.values():
            if (outer in reduced) != (inner in reduced):
                return False
        extent = self.group.space[inner]
        for index, exact in self.indices:
            strides = {_axis_of(t): s for t, s in index.terms}
            step, under = strides.get(outer, 0), strides.get(inner, 0)
            if exact and (outer in strides or inner in strides):
                return False
            if not same_size(step, under * extent):
                return False
        return True


def _axis_of(name: Name) -> int:
    """The space axis of a loop variable; -1 for other names."""
    if name[0] not in "ir":
        return -1
    return int(name[1:].partition("p")[0])


def _label(group: Group) -> str:
    """In words: the scopes and operations a kernel computes."""
    words: dict[str, None] = {}
    for node in group.nodes:
        name = node.scope.name if node.scope else node.op.name
        words[name] = None
    shown = list(words)
    return ", ".join(shown[:6]) + (", ..." if len(shown) > 6 else "")
