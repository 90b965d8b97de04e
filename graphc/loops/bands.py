"""Products that read the same rows, with a pass between them: they are read once, in bands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from graphc.loops.epilogue import is_plain, passes, touched
from graphc.loops.ir import (
    MAX_ARRAY_BLOCKS,
    BandKernel,
    Buffer,
    CheckedIndex,
    ContractionKernel,
    Index,
    Kernel,
    Load,
    Loop,
    LoopKernel,
    Store,
    statements,
)
from graphc.types import Size, product, same_size

#: Rows of fewer bytes in all stay in a cache between two passes over them.
LEAST_BYTES = 1 << 20
#: Products with more columns are limited by arithmetic, not by reading the rows.
MOST_COLUMNS = 16


@dataclass(frozen=True)
class _Side:
    """An operand of a product by what its inner axis steps through."""

    buffer: Buffer
    offset: Size
    step: Size


def with_bands(kernels: Sequence[Kernel]) -> list[Kernel]:
    """The same kernels, those joined that can run together on bands of rows."""
    found = list(kernels)
    for kernel in kernels:
        if isinstance(kernel, ContractionKernel) and is_plain(kernel):
            _join(found, kernel)
    return found


def _join(kernels: list[Kernel], total: ContractionKernel) -> None:
    """Put a band kernel where a product was that can be the last of it."""
    end = next(i for i, kernel in enumerate(kernels) if kernel is total)
    a = _Side(total.a.buffer, total.a.offset, total.a.column)
    b = _Side(total.b.buffer, total.b.offset, total.b.row)
    for shared, other in ((a, b), (b, a)):
        if not _is_thin(total, shared):
            continue
        for start, middle in _before(kernels[:end], total, shared, other):
            rows, nest = kernels[start], kernels[middle]
            assert isinstance(rows, ContractionKernel)
            assert isinstance(nest, LoopKernel)
            early, late = kernels[start + 1 : middle], kernels[middle + 1 : end]
            kernels[start : end + 1] = [*early, _band(rows, nest, total), *late]
            return


def _before(
    kernels: Sequence[Kernel], total: ContractionKernel, shared: _Side, other: _Side
) -> Iterator[tuple[int, int]]:
    """Where the rows' product and the nest of a band kernel are."""
    writes = (i for i, k in enumerate(kernels) if other.buffer.name in touched(k)[1])
    middle = next(writes, None)
    if middle is None or not passes(total, kernels[middle + 1 :]):
        return
    nest = kernels[middle]
    if not isinstance(nest, LoopKernel) or touched(nest)[0] & touched(total)[1]:
        return
    for start in range(middle)[::-1]:
        rows = kernels[start]
        if (
            isinstance(rows, ContractionKernel)
            and _is_rows(rows, total, shared)
            and rows.out.buffer.name in touched(nest)[0]
            and passes(rows, kernels[start + 1 : middle])
            and _in_step(nest, total.k, _widths(rows, other))
        ):
            yield start, middle


def _widths(rows: ContractionKernel, other: _Side) -> dict[str, Size]:
    """Elements in a row of what lies between the products."""
    return {rows.out.buffer.name: rows.out.row, other.buffer.name: other.step}


def _band(rows: ContractionKernel, nest: LoopKernel, total: ContractionKernel) -> BandKernel:
    shape = (MAX_ARRAY_BLOCKS, *total.out.buffer.shape)
    partials = Buffer(f"{total.name}_partials", total.dtype, shape, "workspace")
    parts = rows, nest, total
    nbytes = sum((k.nbytes for k in parts), start=0)
    return BandKernel(
        nest.name,
        *parts,
        partials,
        "; ".join(k.label for k in parts),
        sum((k.flops for k in parts), start=0),
        nbytes - rows.m * rows.k * rows.dtype.itemsize,
    )


# Form ----------------------------------------------------------------------------------------


def _is_thin(total: ContractionKernel, shared: _Side) -> bool:
    """Whether reading the rows is what a sum over many of them costs.

    Rows that the program makes may still be in a cache, and their sums have epilogues.
    """
    if shared.buffer.kind == "workspace":
        return False
    columns = total.n if shared.buffer is total.a.buffer else total.m
    size = product(shared.buffer.shape)
    small = isinstance(size, int) and size * total.dtype.itemsize < LEAST_BYTES
    return isinstance(columns, int) and columns <= MOST_COLUMNS and not small


def _is_rows(rows: ContractionKernel, total: ContractionKernel, shared: _Side) -> bool:
    """Whether a product has a row of the shared operand in each of its rows."""
    return (
        is_plain(rows)
        and rows.dtype == total.dtype
        and isinstance(rows.n, int)
        and rows.n <= MOST_COLUMNS
        and rows.a.buffer is shared.buffer
        and same_size(rows.m, total.k)
        and same_size(rows.a.row, shared.step)
        and same_size(rows.a.column, 1)
        and same_size(rows.a.offset, shared.offset)
    )


def _in_step(nest: LoopKernel, extent: Size, width: dict[str, Size]) -> bool:
    """Whether a nest is one parallel loop that at i touches row i only of some buffers.

    ``width`` is how many elements a row of each has.
    """
    loops = [s for s in nest.body if isinstance(s, Loop)]
    if len(loops) != 1 or not loops[0].parallel or not same_size(loops[0].extent, extent):
        return False
    bounds = {s.var: s.extent for s in statements(nest.body) if isinstance(s, Loop)}
    checked = [s for s in statements(nest.body) if isinstance(s, CheckedIndex)]
    bounds.update((s.name, s.size) for s in checked)
    if not all(isinstance(s.size, int) and s.size > 0 for s in checked):
        return False  # an axis without elements takes a test before anything is run
    return all(
        _in_row(s.index, loops[0].var, width[s.buffer.name], bounds)
        for s in statements(nest.body)
        if isinstance(s, Load | Store) and s.buffer.name in width
    )


def _in_row(index: Index, var: str, width: Size, bounds: dict[str, Size]) -> bool:
    """Whether an index stays in the row of ``width`` elements that a loop variable counts."""
    steps = {name: step for name, step in index.terms if not same_size(step, 0)}
    own = steps.pop(var, 0)
    if not same_size(own, width) or not same_size(index.offset, 0):
        return False
    inside = all(
        same_size(step, 1) and name in bounds and same_size(bounds[name], width)
        for name, step in steps.items()
    )
    return inside and len(steps) <= 1
