"""Kernels that pass over the same rows, one after another, as one: row by row.

A pad, a sum of shifted parts, and what is computed around them have loops over rows of
different lengths, so they are kernels of their own. What one writes in a row and the next
reads in that row only can stay in a cache, and needs memory for one row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from graphc.loops.epilogue import passes, touched
from graphc.loops.ir import (
    PARALLEL_WORK,
    Accumulate,
    Buffer,
    Compute,
    Const,
    Index,
    Kernel,
    Load,
    Loop,
    LoopKernel,
    Name,
    Position,
    Statement,
    Store,
    statements,
)
from graphc.loops.plan import buffers_of
from graphc.types import Size, product, same_size

#: Rows of more bytes would not stay in the nearest cache.
ROW_BYTES = 1 << 13
#: Shorter rows are passed over faster as one than each by itself.
LEAST_WIDTH = 32
#: So many other kernels may be between one and that which it joins.
REACH = 4


def by_rows(kernels: Sequence[Kernel], others: Sequence[Kernel] = ()) -> list[Kernel]:
    """The same kernels, those joined that can run together row by row.

    ``others`` are kernels that use the same buffers.
    """
    found: list[Kernel] = []
    joined: set[str] = set()
    for kernel in kernels:
        last, behind = kernel, list[Kernel]()
        while partner := _partner(found, last):
            place, last = partner
            joined.add(last.name)
            behind = [*found[place + 1 :], *behind]
            del found[place:]
        found += [last, *behind]
    every = [*found, *others]
    users = Counter(name for k in every for name in set().union(*touched(k)))
    return [_with_rows(k, users) if k.name in joined else k for k in found]


def _partner(found: Sequence[Kernel], kernel: Kernel) -> tuple[int, Kernel] | None:
    """An earlier kernel that one can be joined to, and both as one."""
    if not isinstance(kernel, LoopKernel):
        return None
    between: list[Kernel] = []
    for place in range(len(found))[: -REACH - 2 : -1]:
        first = found[place]
        if isinstance(first, LoopKernel) and passes(kernel, between):
            both = _joined(first, kernel)
            if both is not None:
                return place, both
        between.append(first)
    return None


@dataclass(frozen=True)
class _Rows:
    """A kernel as values and one loop over rows."""

    values: tuple[Statement, ...]
    loop: Loop


def _joined(first: LoopKernel, second: LoopKernel) -> LoopKernel | None:
    """Two kernels as one, if the second reads rows that the first has written."""
    shared = touched(first)[1] & touched(second)[0]
    if not shared:
        return None
    one, two = _rows(first), _rows(second)
    if one is None and two is not None:
        one = _cut(first, two, shared)
    if two is None and one is not None:
        two = _cut(second, one, shared)
    if one is None or two is None or not same_size(one.loop.extent, two.loop.extent):
        return None
    if not _in_step(one, two, _in_both(first, second), ROW_BYTES):
        return None
    written = touched(first)[1] | touched(second)[1]
    independent = _in_step(one, two, written) or (one.loop.parallel and two.loop.parallel)
    two = _renamed(two, one.loop.var, second.name)
    work = one.loop.work + two.loop.work
    total = one.loop.extent * work
    heavy = not isinstance(total, int) or total >= PARALLEL_WORK
    body = (*one.loop.body, *two.loop.body)
    loop = replace(one.loop, body=body, work=work, parallel=independent and heavy)
    return LoopKernel(
        first.name,
        (*one.values, *two.values, loop),
        f"{first.label}; {second.label}",
        first.flops + second.flops,
        first.nbytes + second.nbytes,
    )


def _rows(kernel: LoopKernel) -> _Rows | None:
    """A kernel that is one loop over rows."""
    *values, loop = kernel.body
    if not isinstance(loop, Loop) or loop.kind != "serial" or not _is_plain(kernel):
        return None
    inside = any(isinstance(s, Loop) for s in loop.body)
    return _Rows(tuple(values), loop) if inside else None


def _is_plain(kernel: LoopKernel) -> bool:
    """Whether a kernel is values, then a loop without sums in which nothing can fail."""
    *values, loop = kernel.body
    every = Const | Position | Load | Compute | Store | Accumulate | Loop
    return (
        not any(isinstance(s, Loop | Store) for s in values)
        and not (isinstance(loop, Loop) and loop.accumulators)
        and all(isinstance(s, every) for s in statements(kernel.body))
    )


def _cut(kernel: LoopKernel, rows: _Rows, shared: set[str]) -> _Rows | None:
    """A pass over all elements as one over rows, which are as long as those of another."""
    *values, loop = kernel.body
    widths = {width for buffer, width in _widths(rows) if buffer.name in shared}
    width = widths.pop() if len(widths) == 1 else None
    if not isinstance(loop, Loop) or not _is_plain(kernel) or width is None:
        return None
    simple = not any(isinstance(s, Loop | Position) for s in loop.body)
    whole = same_size(loop.extent, rows.loop.extent * width)
    if not (simple and whole and width >= LEAST_WIDTH):
        return None
    outer = f"{loop.var}_row"

    def cut(s: Statement) -> Statement:
        if not isinstance(s, Load | Store):
            return s
        terms = [(outer, step * width) for name, step in s.index.terms if name == loop.var]
        return replace(s, index=Index((*terms, *s.index.terms), s.index.offset))

    inner = replace(loop, extent=width, body=tuple(map(cut, loop.body)), parallel=False)
    work = loop.work * width
    return _Rows(tuple(values), Loop(outer, rows.loop.extent, "serial", (inner,), work=work))


# In the same row -----------------------------------------------------------------------------


def _in_both(first: LoopKernel, second: LoopKernel) -> set[str]:
    """Buffers that two kernels touch, and one of them writes."""
    (reads, writes), (other_reads, other_writes) = touched(first), touched(second)
    return (writes & (other_reads | other_writes)) | (reads & other_writes)


def _in_step(one: _Rows, two: _Rows, names: set[str], most: int | None = None) -> bool:
    """Whether all accesses to some buffers are in the row of the iteration, of one length and
    at ``most`` so many bytes."""
    found: dict[str, set[int | None]] = {}
    for buffer, width in (*_widths(one), *_widths(two)):
        if buffer.name in names:
            found.setdefault(buffer.name, set()).add(width)
            if width is None or (most and width * buffer.dtype.itemsize > most):
                return False
    return all(len(widths) == 1 for widths in found.values())


def _widths(rows: _Rows) -> Iterator[tuple[Buffer, int | None]]:
    """For each access the buffer and the length of its rows; None if it may be in any row."""
    bounds = {s.var: s.extent for s in statements(rows.loop.body) if isinstance(s, Loop)}
    for s in statements((*rows.values, rows.loop)):
        if isinstance(s, Load | Store):
            yield s.buffer, _width(s.index, rows.loop.var, bounds)


def _width(index: Index, var: Name, bounds: Mapping[Name, Size]) -> int | None:
    """The length of the rows of which an index stays in that of the loop variable."""
    steps = dict(index.terms)
    width, last = steps.pop(var, 0), index.offset
    for name, step in steps.items():
        extent = bounds.get(name)
        if not isinstance(step, int) or not isinstance(extent, int) or step < 0:
            return None
        last = last + step * max(extent - 1, 0)
    if not isinstance(width, int) or not isinstance(last, int):
        return None
    return width if index.offset >= 0 and last < width else None


# As one --------------------------------------------------------------------------------------


def _renamed(rows: _Rows, var: Name, suffix: str) -> _Rows:
    """The same with names of its own; the loop over rows counts ``var``."""

    def named(name: Name) -> Name:
        return var if name == rows.loop.var else f"{name}_{suffix}"

    loop = _with_names(rows.loop, named)
    assert isinstance(loop, Loop)
    return _Rows(tuple(_with_names(s, named) for s in rows.values), loop)


def _with_names(s: Statement, named: Callable[[Name], Name]) -> Statement:
    """A statement with other names, those inside it too."""

    def at(index: Index) -> Index:
        return replace(index, terms=tuple((named(name), step) for name, step in index.terms))

    if isinstance(s, Loop):
        body = tuple(_with_names(inner, named) for inner in s.body)
        own = tuple(replace(a, name=named(a.name)) for a in s.accumulators)
        return replace(s, var=named(s.var), body=body, accumulators=own)
    if isinstance(s, Compute):
        return replace(s, name=named(s.name), args=tuple(map(named, s.args)))
    if isinstance(s, Store):
        return replace(s, value=named(s.value), index=at(s.index))
    if isinstance(s, Load | Position):
        return replace(s, name=named(s.name), index=at(s.index))
    if isinstance(s, Const):
        return replace(s, name=named(s.name))
    assert isinstance(s, Accumulate)
    place = None if s.position is None else named(s.position)
    index = None if s.index is None else at(s.index)
    total, value = named(s.accumulator), named(s.value)
    return replace(s, accumulator=total, value=value, index=index, position=place)


def _with_rows(kernel: Kernel, users: Mapping[str, int]) -> Kernel:
    """A joined kernel with memory for one row of what nobody else needs."""
    assert isinstance(kernel, LoopKernel)
    rows = _rows(kernel)
    assert rows is not None
    widths: dict[Buffer, set[int | None]] = {}
    for buffer, width in _widths(rows):
        if buffer.kind == "workspace" and users[buffer.name] == 1:
            widths.setdefault(buffer, set()).add(width)
    own = {
        buffer.name: replace(buffer, shape=(width,), kind="row")
        for buffer, found in widths.items()
        if len(found) == 1 and (width := next(iter(found))) is not None
    }
    loop = _in_own_rows(rows.loop, rows.loop.var, own)
    assert isinstance(loop, Loop)
    kept = tuple(b for b in widths if b.name in own)
    found = replace(kernel, body=(*rows.values, loop), kept=kept)
    memory = {b: product(b.shape) * b.dtype.itemsize for b, _ in buffers_of(found)}
    return replace(found, nbytes=sum((n for b, n in memory.items() if b.kind != "row"), 0))


def _in_own_rows(s: Statement, var: Name, own: Mapping[str, Buffer]) -> Statement:
    """A statement that finds what is in ``own`` in memory of one row."""
    if isinstance(s, Loop):
        return replace(s, body=tuple(_in_own_rows(inner, var, own) for inner in s.body))
    if isinstance(s, Load | Store) and s.buffer.name in own:
        terms = tuple(t for t in s.index.terms if t[0] != var)
        return replace(s, buffer=own[s.buffer.name], index=Index(terms, s.index.offset))
    return s
