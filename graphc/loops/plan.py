"""Memory plan: where workspace buffers lie, by the time they are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

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
from graphc.types import Dim, Size, product, same_size

ALIGNMENT = 64

Span = tuple[int, int]


def buffers_of(kernel: Kernel) -> list[tuple[Buffer, bool]]:
    """Buffers that a kernel touches, with whether it writes them."""
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


def aligned_bytes(buffer: Buffer) -> Size:
    """Bytes of a buffer, rounded up to the alignment."""
    size = product(buffer.shape) * buffer.dtype.itemsize
    return (size + (ALIGNMENT - 1)) // ALIGNMENT * ALIGNMENT


@dataclass
class _Slot:
    """A piece of workspace that buffers with disjoint lifetimes share."""

    size: Size
    spans: list[Span]

    def free(self, span: Span) -> bool:
        return all(span[1] < first or last < span[0] for first, last in self.spans)


def plan(kernels: Sequence[Kernel]) -> tuple[tuple[tuple[Buffer, Size], ...], Size]:
    """Offset in bytes of every workspace buffer, and the total.

    Sizes that are numbers are placed best-fit: largest first, each at the lowest offset that is
    free while it lives. The many small ones of scalar graphs take turns in cells of one line.
    Symbolic sizes share slots of provably sufficient size.
    """
    spans = _lifetimes(kernels)
    sizes = {b: aligned_bytes(b) for b in spans}
    offsets, total = _cells([b for b in spans if sizes[b] == ALIGNMENT], spans)
    numbers = {b: n for b, n in sizes.items() if isinstance(n, int) and n != ALIGNMENT}
    top = total
    placed: list[_Placed] = []
    for buffer in sorted(numbers, key=lambda b: (-numbers[b], spans[b], b.name)):
        start = _lowest(numbers[buffer], spans[buffer], placed)
        placed.append(_Placed(start, start + numbers[buffer], spans[buffer]))
        offsets[buffer] = total + start
        top = max(top, total + start + numbers[buffer])
    end: Size = top
    slots: list[_Slot] = []
    chosen = {b: _slot(n, spans[b], slots) for b, n in sizes.items() if not isinstance(n, int)}
    starts: dict[int, Size] = {}
    for slot in slots:
        starts[id(slot)] = end
        end = end + slot.size
    symbolic = {b: starts[id(s)] for b, s in chosen.items()}
    return (*offsets.items(), *symbolic.items()), end


@dataclass(frozen=True, slots=True)
class _Placed:
    """Bytes that a buffer takes, and when."""

    start: int
    end: int
    span: Span


def _lifetimes(kernels: Sequence[Kernel]) -> dict[Buffer, Span]:
    """First and last kernel that touches each workspace buffer."""
    spans: dict[Buffer, Span] = {}
    for time, kernel in enumerate(kernels):
        for buffer, _ in buffers_of(kernel):
            if buffer.kind == "workspace":
                first, _ = spans.get(buffer, (time, time))
                spans[buffer] = (first, time)
    return spans


def _cells(
    buffers: Sequence[Buffer], spans: Mapping[Buffer, Span]
) -> tuple[dict[Buffer, Size], int]:
    """Offsets of buffers of one line each: a cell is free again after its buffer's last use."""
    free: list[int] = []
    busy: list[tuple[int, int]] = []  # last use, cell
    offsets: dict[Buffer, Size] = {}
    count = 0
    for buffer in sorted(buffers, key=lambda b: spans[b]):
        first, last = spans[buffer]
        while busy and busy[0][0] < first:
            heappush(free, heappop(busy)[1])
        if not free:
            free.append(count)
            count += 1
        cell = heappop(free)
        heappush(busy, (last, cell))
        offsets[buffer] = cell * ALIGNMENT
    return offsets, count * ALIGNMENT


def _lowest(size: int, span: Span, placed: Sequence[_Placed]) -> int:
    """The lowest offset with room for ``size`` bytes while ``span`` lasts."""
    busy = sorted(
        (p.start, p.end) for p in placed if p.span[0] <= span[1] and span[0] <= p.span[1]
    )
    start = 0
    for low, high in busy:
        if start + size <= low:
            break
        start = max(start, high)
    return start


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
