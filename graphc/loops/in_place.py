"""Results that can lie where an operand lay that nobody reads again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from graphc.loops.ir import Buffer, Index, Kernel, Load, Loop, LoopKernel, Statement, Store
from graphc.loops.place import Span
from graphc.types import Size, product, same_size

#: Smaller buffers (in bytes) are not worth it.
_SMALL = 64


def successors(
    kernels: Sequence[Kernel], spans: Mapping[Buffer, Span]
) -> Iterator[tuple[Buffer, Buffer]]:
    """Pairs of buffers, the second of which can take the place of the first.

    A kernel reads the first for the last time and writes the second; each element of one is
    read by the iteration that writes the same element of the other, before it does, and by no
    other. No buffer is first or second in two pairs.
    """
    begins: dict[int, list[Buffer]] = {}
    ends: dict[int, list[Buffer]] = {}
    for buffer, (first, last) in spans.items():
        size = product(buffer.shape) * buffer.dtype.itemsize
        if isinstance(size, int) and size <= _SMALL:
            continue
        begins.setdefault(first, []).append(buffer)
        if first < last:
            ends.setdefault(last, []).append(buffer)
    for time in begins.keys() & ends.keys():
        kernel = kernels[time]
        if isinstance(kernel, LoopKernel):
            yield from _pairs(kernel, ends[time], begins[time])


def _pairs(
    kernel: LoopKernel, old: Sequence[Buffer], new: Sequence[Buffer]
) -> Iterator[tuple[Buffer, Buffer]]:
    left, accesses = list(old), _accesses(kernel, {*old, *new})
    for result in new:
        found = next((b for b in left if _follows(accesses[b], accesses[result])), None)
        if found is not None:
            left.remove(found)
            yield found, result


@dataclass(frozen=True)
class _Access:
    """An access to a buffer in a statement list, at a number among all statements.

    ``whole`` tells whether the loops around it visit each element of the buffer once.
    """

    buffer: Buffer
    body: int
    number: int
    index: Index
    kind: type[Load] | type[Store] | None
    whole: bool


def _accesses(kernel: LoopKernel, buffers: set[Buffer]) -> dict[Buffer, list[_Access]]:
    found: dict[Buffer, list[_Access]] = {b: [] for b in buffers}
    pending: list[tuple[tuple[Statement, ...], dict[str, Size]]] = [(kernel.body, {})]
    numbers = count()
    while pending:
        body, around = pending.pop()
        for number, s in zip(numbers, body, strict=False):
            if isinstance(s, Loop):
                pending.append((s.body, {**around, s.var: s.extent}))
                for b in (b for a in s.accumulators for b in (a.target, a.partials)):
                    if b in found:
                        found[b].append(_Access(b, id(body), number, Index(), None, False))
            elif isinstance(s, Load | Store) and s.buffer in buffers:
                whole = isinstance(s, Store) and not s.add and _each_once(s, around)
                access = _Access(s.buffer, id(body), number, s.index, type(s), whole)
                found[s.buffer].append(access)
    return found


def _each_once(s: Store, around: Mapping[str, Size]) -> bool:
    """Whether the loops around a store visit each element of its buffer once.

    All elements are written, so that holds if there are as many iterations as elements.
    """
    names = [name for name, _ in s.index.terms]
    whole = same_size(product(tuple(around.values())), product(s.buffer.shape))
    return whole and sorted(names) == sorted(around)


def _follows(old: Sequence[_Access], new: Sequence[_Access]) -> bool:
    """Whether each iteration reads one element of the old and then writes that of the new."""
    if len(new) != 1 or not old:
        return False
    (store,) = new
    return (
        store.kind is Store
        and store.whole
        and _same_type(old[0].buffer, store.buffer)
        and all(
            a.kind is Load
            and a.body == store.body
            and a.number < store.number
            and _same_index(a.index, store.index)
            for a in old
        )
    )


def _same_type(a: Buffer, b: Buffer) -> bool:
    same = len(a.shape) == len(b.shape) and all(map(same_size, a.shape, b.shape))
    return same and a.dtype.itemsize == b.dtype.itemsize


def _same_index(a: Index, b: Index) -> bool:
    one, other = dict(a.terms), dict(b.terms)
    strides = one.keys() == other.keys() and all(same_size(one[n], other[n]) for n in one)
    return strides and same_size(a.offset, b.offset)
