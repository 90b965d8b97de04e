"""How a vector loop is cut: lanes, vectors side by side, and what remains at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphc.loops import ir
from graphc.loops.ir import Loop
from graphc.types import DType
from graphc_llvm.lower.code import Bound, Code
from graphc_llvm.target import Target

#: Scalar operations that are one or two instructions; others count as `LONG`.
SHORT = frozenset(
    (
        *("add", "sub", "mul", "neg", "positive", "abs", "square", "fma", "maximum", "minimum"),
        *("floor", "ceil", "round", "trunc", "where", "cast", "isnan", "equal", "not_equal"),
        *("less", "less_equal", "greater", "greater_equal"),
        *("logical_and", "logical_or", "logical_xor", "logical_not"),
    )
)
LONG = 12

#: Vectors side by side for bodies of at most so many instructions, if each iteration adds to
#: what the one before has made: several such chains run at the same time. Others gain nothing.
UNROLL = ((3, 8), (8, 4), (24, 2))
#: Longer bodies are written once, all vectors masked; that costs an instruction a load.
TWICE = 24
#: At most so many if the chains run through a loop in the body, or a branch.
UNROLL_INNER = 2
#: Processors foresee what is read and written next in about so many places at a time.
FORESEEN = 16


@dataclass(frozen=True)
class Shape:
    """``width`` lanes, ``parts`` vectors side by side, a masked tail or a scalar one.

    With ``single`` all vectors are masked, so that the body is written, and compiled, once.
    With ``ahead`` memory is asked for before it is needed.
    """

    width: int
    parts: int
    masked: bool
    single: bool
    ahead: bool

    @property
    def step(self) -> int:
        """Iterations of one round of the main loop."""
        return self.width * self.parts


@dataclass(frozen=True)
class Pass:
    """A stretch of the range of a vector loop. Masked: the last vector may be partial."""

    begin: Bound
    end: Bound
    width: int
    parts: int
    masked: bool = False


def shape_of(loop: Loop, target: Target) -> Shape:
    """The vectors for a loop: it depends on the body and the target only."""
    types = _types(loop)
    floats = [t.itemsize for t in types if t.is_float]
    width = target.lanes(max(floats or [t.itemsize for t in types], default=1))
    narrow = any(t.itemsize < 4 for t in types) and target.vector_bytes < 64
    parts = _parts(loop)
    long = sum(map(_cost, ir.statements(loop.body))) > TWICE
    single = long and parts == 1 and target.masked and target.vector_bytes == 64
    return Shape(width, parts, target.masked and not narrow, single, _streams(loop) > FORESEEN)


def _types(loop: Loop) -> set[DType]:
    """Element types in the body; those that are narrow in memory included."""
    types: set[DType] = set()
    for s in ir.statements(loop.body):
        if isinstance(s, ir.Const | ir.Compute):
            types.add(s.dtype)
        elif isinstance(s, ir.Load | ir.Store):
            types.add(s.buffer.dtype)
        elif isinstance(s, ir.Loop):
            types.update(a.dtype for a in s.accumulators)
    return types | {a.dtype for a in loop.accumulators}


def _streams(loop: Loop) -> int:
    """In how many places of memory the lanes are side by side."""
    moves = (s for s in loop.body if isinstance(s, ir.Load | ir.Store))
    return len({(s.buffer.name, s.index) for s in moves if (loop.var, 1) in s.index.terms})


def _parts(loop: Loop) -> int:
    body = list(ir.statements(loop.body))
    chained = {s.accumulator for s in body if isinstance(s, ir.Accumulate) and s.index is None}
    if not chained:
        return 1
    cost = sum(_cost(s) for s in body)
    parts = next((parts for most, parts in UNROLL if cost <= most), 1)
    own = {a.name for a in loop.accumulators}
    records = any(isinstance(s, ir.Accumulate) and s.position is not None for s in body)
    return min(parts, UNROLL_INNER) if records or not chained & own else parts


def _cost(s: ir.Statement) -> int:
    if isinstance(s, ir.Compute):
        return 1 if s.op in SHORT else LONG
    if isinstance(s, ir.CheckedIndex):
        return LONG
    return int(isinstance(s, ir.Load | ir.Store | ir.Accumulate))


def passes(code: Code, shape: Shape, loop: Loop, begin: Bound, end: Bound) -> Iterator[Pass]:
    """The stretches of a vector loop in order; numbers where the bounds are numbers."""
    if isinstance(begin, int) and isinstance(end, int):
        yield from _static(shape, begin, end)
        return
    step, width = shape.step, shape.width
    aligned = isinstance(loop.extent, int) and loop.extent % step == 0
    if shape.single and not aligned:
        yield Pass(begin, end, width, 1, masked=True)
        return
    whole = code.op(f"and i64 {code.sub(end, begin)}, {-step}")
    middle = code.add(begin, whole)
    yield Pass(begin, middle, width, shape.parts)
    if aligned:
        return
    if shape.masked:
        yield Pass(middle, end, width, 1, masked=True)
        return
    if shape.parts > 1:
        whole = code.op(f"and i64 {code.sub(end, begin)}, {-width}")
        single = code.add(begin, whole)
        yield Pass(middle, single, width, 1)
        middle = single
    yield Pass(middle, end, 1, 1)


def _static(shape: Shape, begin: int, end: int) -> Iterator[Pass]:
    width, step = shape.width, shape.step
    if shape.single and (end - begin) % step and end - begin > 2 * width:
        yield Pass(begin, end, width, 1, masked=True)
        return
    middle = begin + (end - begin) // step * step
    if middle > begin:
        yield Pass(begin, middle, width, shape.parts)
    single = middle + (end - middle) // width * width
    if shape.masked and middle > begin and middle < single < end:
        yield Pass(middle, end, width, 1, masked=True)
        return
    if single > middle:
        yield Pass(middle, single, width, (single - middle) // width)
    if single < end:
        yield Pass(single, end, width if shape.masked else 1, 1, masked=shape.masked)
