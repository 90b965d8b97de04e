"""Memory plan: where workspace buffers lie, by the time they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import gcd
from typing import Any

from graphc.loops.in_place import successors
from graphc.loops.ir import (
    BandKernel,
    Buffer,
    Kernel,
    Load,
    Loop,
    Store,
    nest_of,
    products_of,
    statements,
)
from graphc.loops.place import Piece, Span, place
from graphc.types import Dim, Size, evaluate_size, product, same_size, size_symbols

ALIGNMENT = 64

#: Cells for blocks of one line are worth while if there are as many.
_MANY = 200
#: The largest of several symbolic sizes is cut into at most so many units.
_UNITS = 64
#: Plans for symbolic sizes are compared where each symbol has this value.
_TYPICAL = 100


def buffers_of(kernel: Kernel) -> Sequence[tuple[Buffer, bool]]:
    """Buffers that a kernel touches, with whether it writes them; looked up once."""
    known: dict[str, Any] = vars(kernel)
    if "_buffers" not in known:
        known["_buffers"] = _buffers_of(kernel)
    found: Sequence[tuple[Buffer, bool]] = known["_buffers"]
    return found


def _buffers_of(kernel: Kernel) -> list[tuple[Buffer, bool]]:
    found: list[tuple[Buffer, bool]] = []
    inside: set[str] = set()
    for p in products_of(kernel):
        found += [(p.a.buffer, False), (p.b.buffer, False), (p.out.buffer, True)]
        if p.epilogue is not None:
            inside.add(p.epilogue.result.name)
    if isinstance(kernel, BandKernel):
        found.append((kernel.partials, True))
    for statement in statements(nest_of(kernel)):
        if isinstance(statement, Load) and statement.buffer.name in inside:
            continue
        if isinstance(statement, Load):
            found.append((statement.buffer, False))
        elif isinstance(statement, Store):
            found.append((statement.buffer, True))
        elif isinstance(statement, Loop):
            for accumulator in statement.accumulators:
                for buffer in (accumulator.target, accumulator.partials):
                    if buffer is not None:
                        found.append((buffer, True))
    return found


def aligned(size: Size) -> Size:
    """The next multiple of the alignment."""
    return (size + (ALIGNMENT - 1)) // ALIGNMENT * ALIGNMENT


@dataclass(eq=False)
class _Block:
    """A piece of workspace: one buffer, or several that follow one another in its place."""

    size: Size  # in bytes, not rounded
    span: Span
    buffers: list[Buffer]

    @property
    def nbytes(self) -> Size:
        return aligned(self.size)


#: Where blocks begin, and the end of all.
_Plan = tuple[dict[_Block, Size], Size]


def plan(kernels: Sequence[Kernel]) -> tuple[tuple[tuple[Buffer, Size], ...], Size]:
    """Offset in bytes of every workspace buffer, and the total.

    A result of an elementwise kernel lies where an operand lay that is read there for the last
    time. Sizes that are numbers are placed by `place`, but for the very many of one line in
    scalar graphs, which take turns in cells of their own. Symbolic sizes follow behind: those
    that are multiples of one product of symbols are placed as multiples of a common unit,
    others share slots of provably sufficient size.
    """
    blocks = _blocks(kernels)
    numbers = [b for b in blocks if isinstance(b.size, int)]
    cells = [b for b in numbers if b.nbytes == ALIGNMENT]
    if len(cells) < _MANY:
        cells = []
    first, end = _cells(cells)
    starts: dict[_Block, Size] = dict(first)
    rest = [b for b in numbers if b not in first]
    symbolic = [b for b in blocks if isinstance(b.size, Dim)]
    for found in (_numbers(rest), _symbolic(symbolic)):
        starts.update({block: end + start for block, start in found[0].items()})
        end = end + found[1]
    return tuple((buffer, starts[b]) for b in blocks for buffer in b.buffers), end


def _blocks(kernels: Sequence[Kernel]) -> list[_Block]:
    """The buffers that need memory, in order of their first use."""
    spans = _lifetimes(kernels)
    found = {
        b: _Block(product(b.shape) * b.dtype.itemsize, span, [b]) for b, span in spans.items()
    }
    for old, new in sorted(successors(kernels, spans), key=lambda pair: spans[pair[1]]):
        block = found[old]
        block.buffers.append(new)
        block.span = block.span[0], spans[new][1]
        found[new] = block
    return list(dict.fromkeys(found.values()))


def _lifetimes(kernels: Sequence[Kernel]) -> dict[Buffer, Span]:
    """First and last kernel that touches each workspace buffer."""
    spans: dict[Buffer, Span] = {}
    for time, kernel in enumerate(kernels):
        for buffer, _ in buffers_of(kernel):
            if buffer.kind == "workspace":
                first, _ = spans.get(buffer, (time, time))
                spans[buffer] = (first, time)
    return spans


def _numbers(blocks: Sequence[_Block]) -> _Plan:
    """Blocks whose sizes are numbers."""
    lines = [evaluate_size(b.nbytes, {}) // ALIGNMENT for b in blocks]
    pieces = [Piece(n, b.span) for n, b in zip(lines, blocks, strict=True)]
    starts, end = place(pieces)
    return {b: s * ALIGNMENT for b, s in zip(blocks, starts, strict=True)}, end * ALIGNMENT


def _cells(blocks: Sequence[_Block]) -> _Plan:
    """Blocks of one line each: a cell is free again after its block's last use."""
    free: list[int] = []
    busy: list[tuple[int, int]] = []  # last use, cell
    starts: dict[_Block, Size] = {}
    count = 0
    for block in sorted(blocks, key=lambda b: b.span):
        first, last = block.span
        while busy and busy[0][0] < first:
            heappush(free, heappop(busy)[1])
        if not free:
            free.append(count)
            count += 1
        cell = heappop(free)
        heappush(busy, (last, cell))
        starts[block] = cell * ALIGNMENT
    return starts, count * ALIGNMENT


# Symbolic sizes -------------------------------------------------------------------------------


def _symbolic(blocks: Sequence[_Block]) -> _Plan:
    """Blocks whose sizes are polynomials: the better of two plans, at typical sizes."""
    groups: dict[object, list[_Block]] = {}
    for block in blocks:
        assert isinstance(block.size, Dim)
        terms = block.size.terms
        groups.setdefault(terms[0][0] if len(terms) == 1 else None, []).append(block)
    parts = [_slots(g) if key is None else _units(g) for key, g in groups.items()]
    starts: dict[_Block, Size] = {}
    end: Size = 0
    for part, size in parts:
        starts.update({block: end + start for block, start in part.items()})
        end = end + size
    symbols = {s for block in blocks for s in size_symbols(block.size)}
    at = dict.fromkeys(symbols, _TYPICAL)
    simple = _slots(blocks)
    return simple if evaluate_size(simple[1], at) <= evaluate_size(end, at) else (starts, end)


def _units(blocks: Sequence[_Block]) -> _Plan:
    """Blocks of sizes ``c * m``, with numbers c and one product m of symbols."""
    terms = [b.size.terms[0] for b in blocks if isinstance(b.size, Dim)]
    factors = [factor for _, factor in terms]
    # A coarse unit wastes little of each block, and little is lost when it is rounded to lines.
    factor = max(gcd(*factors), -(-max(factors) // _UNITS))
    unit = aligned(Dim({terms[0][0]: factor}))
    pieces = [Piece(-(-f // factor), b.span) for f, b in zip(factors, blocks, strict=True)]
    starts, end = place(pieces)
    return {b: s * unit for b, s in zip(blocks, starts, strict=True)}, end * unit


@dataclass
class _Slot:
    """A piece of workspace that blocks with disjoint lifetimes share."""

    size: Size
    spans: list[Span]

    def free(self, span: Span) -> bool:
        return all(span[1] < first or last < span[0] for first, last in self.spans)


def _slots(blocks: Sequence[_Block]) -> _Plan:
    """Blocks of any sizes."""
    slots: list[_Slot] = []
    chosen = {b: _slot(b.nbytes, b.span, slots) for b in blocks}
    starts: dict[int, Size] = {}
    end: Size = 0
    for slot in slots:
        starts[id(slot)] = end
        end = end + slot.size
    return {b: starts[id(slot)] for b, slot in chosen.items()}, end


def _slot(size: Size, span: Span, slots: list[_Slot]) -> _Slot:
    for slot in slots:
        if slot.free(span) and (_covers(slot.size, size) or _covers(size, slot.size)):
            slot.size = slot.size if _covers(slot.size, size) else size
            slot.spans.append(span)
            return slot
    slots.append(_Slot(size, [span]))
    return slots[-1]


def _covers(large: Size, small: Size) -> bool:
    """Whether one size is at least the other for all values of the symbols."""
    if same_size(large, small):
        return True
    difference = large - small
    if isinstance(difference, Dim):
        return all(c >= 0 and all(isinstance(a, str) for a in m) for m, c in difference.terms)
    return difference >= 0
