"""Elementwise kernels that run on a matrix product while its parts are in cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from graphc.loops.ir import (
    Buffer,
    CheckedIndex,
    Compute,
    Const,
    ContractionKernel,
    Epilogue,
    Index,
    Kernel,
    Load,
    Loop,
    LoopKernel,
    Position,
    Statement,
    Store,
    statements,
)
from graphc.loops.plan import buffers_of
from graphc.types import Size, same_size

Terms = dict[str, Size]


def with_epilogues(kernels: Sequence[Kernel]) -> list[Kernel]:
    """The same kernels, those joined that can be a product and its epilogue.

    A product runs where its epilogue stood, or its epilogue where the product was, if no kernel
    between needs the one or disturbs the other.
    """
    products = {k.out.buffer.name for k in kernels if isinstance(k, ContractionKernel)}
    if not products:
        return list(kernels)
    found = list(kernels)
    for kernel in kernels:
        if isinstance(kernel, LoopKernel) and products & touched(kernel)[0]:
            _join(found, kernel)
    users = Counter(name for k in found for name in set().union(*touched(k)))
    return [_without_memory(kernel, users) for kernel in found]


def _join(kernels: list[Kernel], last: LoopKernel) -> None:
    """Let the latest product that a kernel can be the epilogue of be one with it."""
    place = next(i for i, kernel in enumerate(kernels) if kernel is last)
    for start in range(place)[::-1]:
        product = kernels[start]
        if isinstance(product, ContractionKernel) and obstacle(product, last) is None:
            between = kernels[start + 1 : place]
            if passes(product, between):
                kernels[start : place + 1] = [*between, _joined(product, last)]
                return
            if not _writes_parameter(last) and passes(last, between):
                kernels[start : place + 1] = [_joined(product, last), *between]
                return


def _joined(product: ContractionKernel, last: LoopKernel) -> ContractionKernel:
    return replace(
        product,
        epilogue=Epilogue(product.out.buffer, last.body, True),
        label=f"{product.label}; {last.label}",
        flops=product.flops + last.flops,
        nbytes=product.nbytes + last.nbytes - _nbytes(product),
    )


def _without_memory(kernel: Kernel, users: Mapping[str, int]) -> Kernel:
    """A product that need not keep what only its epilogue reads.

    Sums that are not complete may then lie where the epilogue stores a result of that type.
    """
    if not isinstance(kernel, ContractionKernel) or kernel.epilogue is None:
        return kernel
    out = kernel.out.buffer
    if out.kind != "workspace" or users[out.name] > 1:
        return kernel
    return replace(
        kernel,
        out=replace(kernel.out, buffer=_room(kernel.epilogue.body, out)),
        epilogue=replace(kernel.epilogue, keeps=False),
        nbytes=kernel.nbytes - _nbytes(kernel),
    )


def _room(body: tuple[Statement, ...], product: Buffer) -> Buffer:
    """Where a product's elements may lie until they are read: where others are stored later."""
    steps = list(statements(body))
    reads = [s.buffer.name if isinstance(s, Load) else "" for s in steps]
    last = len(reads) - reads[::-1].index(product.name)
    for s in steps[last:]:
        if not isinstance(s, Store) or s.buffer.kind == "parameter":
            continue
        if s.buffer.dtype == product.dtype and s.buffer.name not in reads:
            return s.buffer
    return product


def _nbytes(kernel: ContractionKernel) -> Size:
    return kernel.m * kernel.n * kernel.dtype.itemsize


# Order ---------------------------------------------------------------------------------------


def passes(kernel: Kernel, others: Sequence[Kernel]) -> bool:
    """Whether a kernel may run before or after all others alike."""
    reads, writes = touched(kernel)
    for other in others:
        other_reads, other_writes = touched(other)
        if writes & (other_reads | other_writes) or reads & other_writes:
            return False
    return True


def touched(kernel: Kernel) -> tuple[set[str], set[str]]:
    """Names of the buffers that a kernel reads, and of those that it writes."""
    reads: set[str] = set()
    writes: set[str] = set()
    for buffer, written in buffers_of(kernel):
        (writes if written else reads).add(buffer.name)
    return reads, writes


def _writes_parameter(kernel: Kernel) -> bool:
    return any(b.kind == "parameter" for b, written in buffers_of(kernel) if written)


# Form ----------------------------------------------------------------------------------------


def obstacle(product: ContractionKernel, last: LoopKernel) -> str | None:
    """Why a kernel is not a pass over the elements of a product, each by itself; or None."""
    here = _element(product, last.body)
    if here is None:
        return "it is no single pass over the elements of the product"
    if not is_plain(product):
        return "the product is one of many, or not of floats, or not row by row in memory"
    if product.epilogue is not None:
        return "the product has another pass already"
    reads, _ = touched(product)
    if product.out.buffer.name not in touched(last)[0]:
        return "it does not read the product"
    stored = {s.buffer.name for s in statements(last.body) if isinstance(s, Store)}
    if stored & {*reads, product.out.buffer.name}:
        return "it stores where the product reads"
    for s in statements(last.body):
        if isinstance(s, Load | Store):
            moves = s.buffer.name in {*stored, product.out.buffer.name}
            if s.buffer.kind == "row" or (moves and not _is_at(s.index, here)):
                return "it reads or stores other elements than the one that it stands at"
            if isinstance(s, Store) and s.add:
                return "it adds to memory"
    return None


def is_plain(product: ContractionKernel) -> bool:
    """One product of floats, whose elements lie row by row and fill their buffer."""
    out = product.out
    return (
        product.dtype.is_float
        and not product.accumulate
        and all(same_size(size, 1) for size in product.batch_shape)
        and same_size(out.offset, 0)
        and (same_size(product.m, 1) or same_size(out.row, product.n))
        and (same_size(product.n, 1) or same_size(out.column, 1))
    )


def _element(product: ContractionKernel, body: Sequence[Statement]) -> Terms | None:
    """The index of an element of a product in the loops of a kernel, if they are over these."""
    loop = _last_loop(body)
    if loop is None:
        return None
    if loop.kind == "vector":
        inside = not any(isinstance(s, Loop) for s in loop.body)
        whole = same_size(loop.extent, product.m * product.n)
        return {loop.var: 1} if inside and whole else None
    inner = _last_loop(loop.body)
    if inner is None or inner.kind != "vector":
        return None
    if any(isinstance(s, Loop) for s in inner.body):
        return None
    over = same_size(loop.extent, product.m) and same_size(inner.extent, product.n)
    return {loop.var: product.n, inner.var: 1} if over else None


def _last_loop(body: Sequence[Statement]) -> Loop | None:
    """The loop that ends a body of values, if it has no accumulators."""
    *values, last = body
    if not isinstance(last, Loop) or last.accumulators:
        return None
    plain = all(isinstance(s, Const | Position | Load | Compute) for s in values)
    checked = any(isinstance(s, CheckedIndex) for s in statements(last.body))
    return last if plain and not checked else None


def _is_at(index: Index, terms: Terms) -> bool:
    steps = {name: step for name, step in index.terms if not same_size(step, 0)}
    return (
        same_size(index.offset, 0)
        and steps.keys() == terms.keys()
        and all(same_size(steps[name], terms[name]) for name in terms)
    )
