"""Statements of a kernel to instructions: values, effects, serial and vector loops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from graphc.errors import CompileError
from graphc.loops import ir
from graphc.loops.ir import Buffer, Index, Loop, Name, Statement
from graphc.types import DType, Size, product, same_size
from graphc_llvm import vmath
from graphc_llvm.emit import Value
from graphc_llvm.lower import memory
from graphc_llvm.lower.accumulators import Reduction, State
from graphc_llvm.lower.code import Bound, Code
from graphc_llvm.lower.frame import Finder, Frame, Home
from graphc_llvm.lower.memory import Place
from graphc_llvm.lower.spans import WHOLE, Span, Val, any_lane, constant, first_lanes
from graphc_llvm.lower.vector import Pass, Shape, passes, shape_of
from graphc_llvm.vmath import Lane

#: Signals are looked at after so many scalar operations of a serial loop.
POLL_WORK = 1 << 20
#: Scalar operations of an iteration that are not known before the sizes are.
TYPICAL_WORK = 1 << 10

_ARITHMETIC = {"add": "fadd", "sub": "fsub", "mul": "fmul"}


@dataclass
class Nest:
    """The place in a kernel where code is being written, and what is known there.

    ``home`` finds a buffer; ``status`` is the place (of the entry) for the number of an error;
    ``places`` are buffers of the function's own. With ``polls`` signals are looked at now and
    then in serial loops that are in no other loop.
    """

    code: Code
    home: Callable[[Buffer], Place]
    status: Value
    env: dict[Name, Val] = field(default_factory=dict)
    states: dict[Name, State] = field(default_factory=dict)
    arrays: dict[Name, tuple[Reduction, Place]] = field(default_factory=dict)
    places: dict[Name, Place] = field(default_factory=dict)
    span: Span = WHOLE
    polls: bool = False

    def find(self, buffer: Buffer) -> Place:
        """Where a buffer is."""
        return self.places.get(buffer.name) or self.home(buffer)

    def buffer(self, name: Name, dtype: DType, place: Place) -> Buffer:
        """Memory of the function's own as a buffer."""
        self.places[name] = place
        return Buffer(name, dtype, (), "workspace")

    def run(self, body: Iterable[Statement]) -> None:
        """Write statements in order."""
        for statement in body:
            _WRITERS[type(statement)](self, statement)

    def value(self, name: Name) -> Val:
        """The value of a name; of an accumulator, the value so far."""
        state = self.states.get(name)
        if state is None:
            return self.env[name]
        return Val(state.dtype, state.width, state.results, self.code.depth)

    def values(self, index: Index) -> Mapping[Name, Val]:
        """The values of the names in an index."""
        return {name: self.value(name) for name, _ in index.terms}

    # Values ----------------------------------------------------------------------------------

    def const(self, s: ir.Const) -> None:
        self.env[s.name] = constant(s.dtype.name, s.value)

    def position(self, s: ir.Position) -> None:
        self.env[s.name] = self._number(s.index)

    def _number(self, index: Index) -> Val:
        code, span = self.code, self.span
        uniform, gathered, stride = memory.split(self.values(index), index, span)
        total = code.size(index.offset)
        for value, factor in uniform:
            total = code.add(total, memory.scaled(code, value.parts[0], factor))
        if not gathered and same_size(stride, 0):
            return self._scalar_int(total, max([v.depth for v, _ in uniform], default=-1))
        base = self._scalar_int(total, code.depth).spread(code, span)
        kind = f"<{span.width} x i64>"
        parts = []
        for p, start in enumerate(base):
            lanes = memory.lanes(code, span, gathered, stride, p)
            if p and not same_size(stride, 0):
                moved = memory.spread_size(code, span.width, p * span.width * stride)
                lanes = code.op(f"add {kind} {lanes}, {moved}")
            parts.append(code.op(f"add {kind} {start}, {lanes}"))
        return Val("int64", span.width, tuple(parts), code.depth)

    def _scalar_int(self, number: Bound, depth: int) -> Val:
        if isinstance(number, int):
            return constant("int64", number)
        # A sum of values was written here; a single value may be known further out.
        return Val("int64", 1, (number,), self.code.depth)

    def load(self, s: ir.Load) -> None:
        place = self.find(s.buffer)
        self.env[s.name] = memory.load(
            self.code, self.values(s.index), place, s.index, self.span
        )

    def compute(self, s: ir.Compute) -> None:
        args = [self.value(name) for name in s.args]
        width = max(a.width for a in args)
        if width == 1:
            self.env[s.name] = self._uniform(s, args)
            return
        columns = [[(a.dtype, p) for p in a.spread(self.code, self.span)] for a in args]
        parts = tuple(self._operation(s, width, row) for row in zip(*columns, strict=True))
        self.env[s.name] = Val(s.dtype.name, width, parts, self.code.depth)

    def _uniform(self, s: ir.Compute, args: list[Val]) -> Val:
        """A scalar, computed outside the loops that its arguments do not depend on."""
        row = tuple((a.dtype, a.parts[0]) for a in args)
        depth = max(a.depth for a in args)
        text = self.code.once(
            depth, (s.op, s.dtype.name, row), lambda: self._operation(s, 1, row)
        )
        return Val(s.dtype.name, 1, (text,), depth)

    def _operation(
        self, s: ir.Compute, width: int, args: tuple[tuple[str, Value], ...]
    ) -> Value:
        out = Lane(s.dtype.name, width)
        if s.op == "cast":
            return vmath.cast(self.code, out, args[0][1], Lane(args[0][0], width))
        if s.op in _ARITHMETIC and out.is_float:
            a, b = (text for _, text in args)
            return self.code.op(f"{_ARITHMETIC[s.op]} {out.llvm} {a}, {b}")
        lanes = [(Lane(dtype, width), text) for dtype, text in args]
        return vmath.lower(self.code, s.op, out, lanes)

    def checked_index(self, s: ir.CheckedIndex) -> None:
        arg = self.value(s.arg)
        span = self.span if arg.width > 1 else WHOLE
        lane, size = span.lane("int64"), memory.spread_size(self.code, arg.width, s.size)
        checked = [self._checked(lane, part, size) for part in arg.spread(self.code, span)]
        self._report(any_lane(self.code, span, [bad for _, bad in checked]))
        parts = tuple(index for index, _ in checked)
        self.env[s.name] = Val("int64", arg.width, parts, self.code.depth)

    def _checked(self, lane: Lane, arg: Value, size: Value) -> tuple[Value, Value]:
        """The index from the front, and whether it is out of range."""
        op, t, bit = self.code.op, lane.llvm, lane.of("bool").llvm
        below = op(f"icmp slt {t} {arg}, {lane.const(0)}")
        wrapped = op(f"add {t} {arg}, {size}")
        index = op(f"select {bit} {below}, {t} {wrapped}, {t} {arg}")
        bad = op(f"icmp uge {t} {index}, {size}")
        return op(f"select {bit} {bad}, {t} {lane.const(0)}, {t} {index}"), bad

    def _report(self, bad: Value) -> None:
        """Set the status if ``bad``, without a branch: else the store goes elsewhere."""
        code = self.code
        unused = code.once(-1, "unused", lambda: code.alloca("i64"))
        status = code.outside("ptr", self.status)
        target = code.op(f"select i1 {bad}, ptr {status}, ptr {unused}")
        code.store("i32", ir.INDEX_ERROR, target, 4)

    # Effects ---------------------------------------------------------------------------------

    def store(self, s: ir.Store) -> None:
        place, value = self.find(s.buffer), self.value(s.value)
        if s.add:
            self._update(place, s.index, value, Reduction("sum", place.dtype))
            return
        memory.store(self.code, self.values(s.index), place, s.index, value, self.span)

    def _update(self, place: Place, index: Index, value: Val, r: Reduction) -> None:
        """``place[index]`` combined with a value."""
        env, span = self.values(index), self.span
        if span.width > 1 and not self._varies(env, index):
            lanes = State.initial(r, span).accumulated(
                self.code, value.spread(self.code, span), ("",) * span.parts, span
            )
            total = lanes.over_lanes(self.code)
            value, span = Val(r.dtype, 1, total.results, self.code.depth), WHOLE
        old = memory.load(self.code, env, place, index, span)
        state = State(r, span.width, tuple((text, "") for text in old.parts))
        plain = replace(span, mask=None)
        new = state.accumulated(
            self.code, value.spread(self.code, span), ("",) * span.parts, plain
        )
        result = Val(r.dtype, span.width, new.results, self.code.depth)
        memory.store(self.code, env, place, index, result, span)

    def _varies(self, env: Mapping[Name, Val], index: Index) -> bool:
        """Whether an index differs between lanes."""
        _, gathered, stride = memory.split(env, index, self.span)
        return bool(gathered) or not same_size(stride, 0)

    def accumulate(self, s: ir.Accumulate) -> None:
        if s.accumulator in self.arrays:
            reduction, place = self.arrays[s.accumulator]
            self._update(place, s.index or Index(), self.value(s.value), reduction)
            return
        span, code = self.span, self.code
        positions: tuple[Value, ...] = ("",) * span.parts
        if s.position is not None:
            positions = self.value(s.position).spread(code, span)
        values = self.value(s.value).spread(code, span)
        state = self.states[s.accumulator]
        self.states[s.accumulator] = state.accumulated(code, values, positions, span)

    # Loops -----------------------------------------------------------------------------------

    def loop(self, s: Loop) -> None:
        self.declare(s)
        chunk = chunk_of(s) if self.polls and not self.code.depth else None
        if chunk is None:
            self.iterate(s, 0, self.code.size(s.extent))
        else:
            self._in_chunks(s, chunk)
        self.close(s)

    def _in_chunks(self, s: Loop, chunk: int) -> None:
        """A serial loop with looks at signals in between. Once interrupted it does nothing."""
        code, status = self.code, self.code.outside("ptr", self.status)
        extent, names = self.code.size(s.extent), self.touched(s)
        carried = [pair for name in names for pair in self.states[name].flat()]
        with code.loop(0, extent, chunk, carried) as it:
            self.resume(names, it.values)
            going = code.op(f"icmp ne i32 {code.load('i32', status, 4)}, {ir.INTERRUPTED}")
            following = code.minimum(code.add(it.index, chunk), extent)
            end = code.op(f"select i1 {going}, i64 {following}, i64 {it.index}")
            self.iterate(s, it.index, end)
            with code.when(code.op(f"icmp slt i64 {following}, {extent}")):
                self._poll(status)
            it.next = [v for name in names for _, v in self.states[name].flat()]
        self.resume(names, it.values)

    def _poll(self, status: Value) -> None:
        code = self.code
        stopped = code.call("i32", "gc_poll", ("ptr", code.outside("ptr", "%rt")))
        with code.when(code.op(f"icmp ne i32 {stopped}, 0")):
            code.store("i32", stopped, status, 4)

    def iterate(self, loop: Loop, begin: Bound, end: Bound) -> None:
        """The iterations of a loop from ``begin`` to ``end``."""
        if loop.kind == "vector":
            self._vector(loop, begin, end)
        else:
            self._iterate(loop, begin, end, 1)

    def declare(self, loop: Loop) -> None:
        """Start the accumulators of a loop; those in arrays, if not started before."""
        for a in loop.accumulators:
            if not a.shape:
                self.states[a.name] = State.initial(Reduction(a.kind, a.dtype.name), self.span)
            elif a.name not in self.arrays and a.target is not None:
                self.start_array(a, self.find(a.target))

    def start_array(self, a: ir.Accumulator, place: Place) -> None:
        """Let an array accumulator be at ``place``, and fill it with its identity."""
        reduction = Reduction(a.kind, a.dtype.name)
        if reduction.keeps_position:
            raise CompileError(f"{a.kind} into an array", hint="reduce with a serial loop")
        self.arrays[a.name] = reduction, place
        if not reduction.identity and not np.signbit(reduction.identity):
            self._fill_zeros(place, product(a.shape) * a.dtype.itemsize)
            return
        element, start = f"#{a.name}.element", f"#{a.name}.start"
        buffer = self.buffer(f"#{a.name}", a.dtype, place)
        body = (
            ir.Const(start, a.dtype, reduction.identity),
            ir.Store(buffer, Index(((element, 1),)), start),
        )
        self.loop(Loop(element, product(a.shape), "vector", body))

    def _fill_zeros(self, place: Place, nbytes: Size) -> None:
        target = (f"ptr align {place.align}", place.pointer)
        rest = [("i8", "0"), ("i64", str(self.code.size(nbytes))), ("i1", "false")]
        self.code.call("void", "llvm.memset.p0.i64", target, *rest)

    def close(self, loop: Loop) -> None:
        """Turn the accumulators of a loop into values."""
        for a in loop.accumulators:
            if a.name in self.states:
                self.env[a.name] = self.value(a.name)
                del self.states[a.name]

    def _iterate(self, loop: Loop, begin: Bound, end: Bound, step: int) -> None:
        """Write a loop whose body covers the current span."""
        if isinstance(begin, int) and isinstance(end, int) and begin >= end:
            return
        names = self.touched(loop)
        carried = [pair for name in names for pair in self.states[name].flat()]
        masks = self._first_mask(loop, begin, end)
        with self.code.loop(begin, end, step, [*carried, *masks]) as it:
            self.resume(names, it.values)
            self._index(loop, it.index, it.values[len(carried) :])
            self.run(loop.body)
            it.next = [v for name in names for _, v in self.states[name].flat()]
            it.next += [self._next_mask(it.index, end, step) for _ in masks]
        self.resume(names, it.values)

    def _index(self, loop: Loop, index: Bound, masks: Sequence[Value]) -> None:
        """Define the loop variable, and the mask of a masked span."""
        depth = -1 if isinstance(index, int) else self.code.depth
        self.env[loop.var] = Val("int64", 1, (str(index),), depth)
        for mask in masks:
            self.span = replace(self.span, mask=mask)

    def _first_mask(self, loop: Loop, begin: Bound, end: Bound) -> list[tuple[str, Value]]:
        """The mask that a loop begins with, if its span is masked: type and value."""
        if self.span.var != loop.var or self.span.mask is None:
            return []
        width = self.span.width
        return [(f"<{width} x i1>", first_lanes(self.code, self.code.sub(end, begin), width))]

    def _next_mask(self, index: Bound, end: Bound, step: int) -> Value:
        """The mask after that of ``index``: all lanes, without computing it, or the rest."""
        code, width = self.code, self.span.width
        rest = code.sub(end, code.add(index, step))
        full = "splat (i1 true)"
        if isinstance(rest, int) and (rest <= 0 or rest >= width):
            return full
        more = code.op(f"icmp sge i64 {rest}, {width}")
        if isinstance(self.span.index, int) and isinstance(end, int):
            partial = first_lanes(code, (end - self.span.index) % width or width, width)
            return code.op(f"select i1 {more}, <{width} x i1> {full}, <{width} x i1> {partial}")
        whole, last = code.fresh("whole"), code.fresh("last")
        before = code.block
        code.branch_if(more, whole, last)
        code.label(last)
        mask = first_lanes(code, rest, width)
        code.branch(whole)
        code.label(whole)
        return code.op(f"phi <{width} x i1> [ {full}, %{before} ], [ {mask}, %{last} ]")

    def touched(self, loop: Loop) -> list[Name]:
        """Running accumulators that the nest adds to."""
        found = (
            s.accumulator for s in ir.statements(loop.body) if isinstance(s, ir.Accumulate)
        )
        return [name for name in dict.fromkeys(found) if name in self.states]

    def resume(self, names: list[Name], values: list[Value]) -> None:
        """Replace the states of accumulators by values that a loop carried."""
        begin = 0
        for name in names:
            count = len(self.states[name].flat())
            self.states[name] = self.states[name].replaced(values[begin : begin + count])
            begin += count

    def _vector(self, loop: Loop, begin: Bound, end: Bound) -> None:
        """Vectors of iterations; what is left over masked or one by one."""
        shape = shape_of(loop, self.code.target)
        outer = {name: self.states[name] for name in self.touched(loop)}
        totals: dict[Name, State] = {}
        for p in passes(self.code, shape, loop, begin, end):
            if p.width == 1:
                self._finish_lanes(loop, outer, totals)
                self.states.update(outer)
                self._iterate(loop, p.begin, p.end, 1)
                return
            self._pass(loop, shape, p, outer, totals)
        self._finish_lanes(loop, outer, totals)
        self.states.update(outer)

    def _pass(
        self,
        loop: Loop,
        shape: Shape,
        p: Pass,
        outer: Mapping[Name, State],
        totals: dict[Name, State],
    ) -> None:
        """One loop over vectors; ``totals`` are its accumulators, one vector each."""
        mask = "" if p.masked else None
        self.span = Span(loop.var, p.begin, p.width, p.parts, mask, shape.ahead)
        for name, state in outer.items():
            fresh = State.initial(state.reduction, self.span)
            before = totals[name].parts if name in totals else fresh.parts[:1]
            parts = before + fresh.parts[1:]
            self.states[name] = replace(fresh, parts=parts, across=True)
        self._iterate(loop, p.begin, p.end, p.width * p.parts)
        totals.update({name: self.states[name].joined(self.code) for name in outer})
        self.span = WHOLE

    def _finish_lanes(
        self, loop: Loop, outer: dict[Name, State], totals: dict[Name, State]
    ) -> None:
        """Combine the lanes of the totals into the accumulators outside."""
        declared = {a.name for a in loop.accumulators}
        for name, total in totals.items():
            scalar = total.over_lanes(self.code)
            if name not in declared:
                ((value, position),) = scalar.parts
                scalar = outer[name].accumulated(self.code, (value,), (position,), WHOLE)
            outer[name] = scalar
        totals.clear()


def chunk_of(loop: Loop) -> int | None:
    """After how many iterations signals are looked at, if a serial loop may be long."""
    work = loop.work if isinstance(loop.work, int) else TYPICAL_WORK
    chunk = max(1, POLL_WORK // max(1, work))
    short = isinstance(loop.extent, int) and loop.extent <= chunk
    return None if short or loop.kind == "vector" else chunk


def open_nest(frame: Frame, code: Code, rows: Mapping[str, Home], worker: Value) -> Nest:
    """The top of a function (or of the entry) that runs on a thread."""
    return Nest(code, Finder(frame, code, rows, worker), frame.status)


_WRITERS: dict[type, Callable[[Nest, Any], None]] = {
    ir.Const: Nest.const,
    ir.Position: Nest.position,
    ir.Load: Nest.load,
    ir.Compute: Nest.compute,
    ir.CheckedIndex: Nest.checked_index,
    ir.Store: Nest.store,
    ir.Accumulate: Nest.accumulate,
    Loop: Nest.loop,
}
