"""Memory plan: where workspace buffers lie, by the time they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.loops.ir import Buffer, ContractionKernel, Kernel, Load, Loop, Store, statements
from graphc.types import Dim, Size, product, same_size

ALIGNMENT = 64


def buffers_of(kernel: Kernel) -> list[tuple[Buffer, bool]]:
    """Buffers that a kernel touches, with whether it writes them."""
    if isinstance(kernel, ContractionKernel):
        return [(kernel.a.buffer, False), (kernel.b.buffer, False), (kernel.out.buffer, True)]
    found: list[tuple[Buffer, bool]] = []
    for statement in statements(kernel.body):
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
    spans: list[tuple[int, int]]

    def free(self, span: tuple[int, int]) -> bool:
        return all(span[1] < first or last < span[0] for first, last in self.spans)


def plan(kernels: Sequence[Kernel]) -> tuple[tuple[tuple[Buffer, Size], ...], Size]:
    """Offset in bytes of every workspace buffer, and the total.

    Sizes that are numbers are placed best-fit: largest first, each at the lowest offset that is
    free while it lives. Symbolic sizes share slots of provably sufficient size.
    """
    spans = _lifetimes(kernels)
    numbers = [b for b in spans if isinstance(aligned_bytes(b), int)]
    symbolic = [b for b in spans if not isinstance(aligned_bytes(b), int)]
    placed: list[tuple[Buffer, int]] = []
    for buffer in sorted(numbers, key=lambda b: (-_number(b), spans[b], b.name)):
        placed.append((buffer, _lowest(buffer, placed, spans)))
    total: Size = max((offset + _number(b) for b, offset in placed), default=0)
    slots: list[_Slot] = []
    chosen: dict[Buffer, _Slot] = {}
    for buffer in symbolic:
        chosen[buffer] = _slot(aligned_bytes(buffer), spans[buffer], slots)
    starts: dict[int, Size] = {}
    for slot in slots:
        starts[id(slot)] = total
        total = total + slot.size
    offsets = [*placed, *((b, starts[id(s)]) for b, s in chosen.items())]
    return tuple(offsets), total


def _lifetimes(kernels: Sequence[Kernel]) -> dict[Buffer, tuple[int, int]]:
    spans: dict[Buffer, tuple[int, int]] = {}
    for time, kernel in enumerate(kernels):
        for buffer, _ in buffers_of(kernel):
            if buffer.kind == "workspace":
                first, _ = spans.get(buffer, (time, time))
                spans[buffer] = (first, time)
    return spans


def _number(buffer: Buffer) -> int:
    size = aligned_bytes(buffer)
    assert isinstance(size, int)
    return size


def _lowest(
    buffer: Buffer, placed: Sequence[tuple[Buffer, int]], spans: dict[Buffer, tuple[int, int]]
) -> int:
    first, last = spans[buffer]
    size = _number(buffer)
    busy = sorted(
        (offset, offset + _number(other))
        for other, offset in placed
        if not (last < spans[other][0] or spans[other][1] < first)
    )
    start = 0
    for low, high in busy:
        if start + size <= low:
            break
        start = max(start, high)
    return start


def _slot(size: Size, span: tuple[int, int], slots: list[_Slot]) -> _Slot:
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
