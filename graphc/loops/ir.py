"""The loop language, whole. Every backend reads exactly this.

A `Program` is a list of kernels that run one after another over `Buffer`s. A kernel is
a loop nest (`LoopKernel`) or a contraction (`ContractionKernel`). Sizes, strides and
offsets are `Size`s: numbers, or polynomials in the program's symbols, which are known
when the program runs. All buffers are row-major and contiguous.

A statement list is in single assignment form: each name is assigned once, before its
uses, and is visible in the statements after it and in loops nested there. Scalar
operations are named as in the op table.

How loops run
-------------
``serial``    in order.
``vector``    iterations are independent (but for accumulators), lanes side by side. A
              vector loop may hold serial loops, never another vector loop.
``parallel``  may be set on the outermost loop of a kernel: its range is cut into blocks of
              equal size (the last may be shorter), ``blocks(extent)`` of them; blocks run on
              any thread in any order. The number of blocks depends on sizes only, so results
              do not depend on the number of threads. What stands before the loop in the
              kernel is values only (recomputed by each block); what follows it runs once,
              after all blocks. An accumulator of a parallel loop starts anew in each block,
              and the partial results are combined in block order.

Accumulators
------------
`Accumulate` adds a value to an accumulator of an enclosing loop. After the loop its name is the
result, an ordinary value. Within a serial loop its name is the running value so far. An
accumulator with a ``shape`` is an array, indexed by `Accumulate.index`, kept in private
memory of the block; it can be declared only by a parallel loop and ends up in the buffer
named as its ``target``; its ``partials`` are workspace for ``MAX_ARRAY_BLOCKS`` copies, used
if there is more than one block. Kinds: sum prod max min any all, argmax argmin (the value is
compared, ``position`` is kept; first wins; a NaN wins over all). max and min propagate NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from graphc.types import DType, Shape, Size
from graphc.types import Guard as Guard

Name: TypeAlias = str

BufferKind = Literal["input", "output", "parameter", "constant", "workspace", "row"]


@dataclass(frozen=True)
class Buffer:
    """Memory for a tensor.

    ``row`` memory is private scratch of one thread inside one kernel. ``value`` holds the
    bytes of a constant (row-major, native byte order).
    """

    name: str
    dtype: DType
    shape: Shape
    kind: BufferKind
    value: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Index:
    """``offset + sum(stride * value)``, in elements.

    A term's name is a loop variable or an int64 value of the block (a gathered index).
    """

    terms: tuple[tuple[Name, Size], ...] = ()
    offset: Size = 0


# Values: each assigns ``name`` --------------------------------------------------------------


@dataclass(frozen=True)
class Const:
    """A number of the given type."""

    name: Name
    dtype: DType
    value: float | int | bool


@dataclass(frozen=True)
class Position:
    """The int64 value of an index expression (iota, sizes)."""

    name: Name
    index: Index


@dataclass(frozen=True)
class Load:
    """``name = buffer[index]``"""

    name: Name
    buffer: Buffer
    index: Index


@dataclass(frozen=True)
class Compute:
    """``name = op(args)``: a scalar op of the table; ``cast`` converts to ``dtype``."""

    name: Name
    op: str
    args: tuple[Name, ...]
    dtype: DType


@dataclass(frozen=True)
class CheckedIndex:
    """An int64 index into an axis of ``size``: negative ones count from the end.

    If ``arg`` is not in ``[-size, size)`` the program stops with status ``INDEX_ERROR``
    and ``name`` is 0.
    """

    name: Name
    arg: Name
    size: Size


# Effects --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Store:
    """``buffer[index] = value``, or with ``add`` ``buffer[index] += value``.

    In vector loops an addition needs lanes that address different elements.
    """

    buffer: Buffer
    index: Index
    value: Name
    add: bool = False


AccumulatorKind = Literal["sum", "prod", "max", "min", "any", "all", "argmax", "argmin"]


@dataclass(frozen=True)
class Accumulator:
    """A running reduction of the loop that declares it. argmax and argmin give int64."""

    name: Name
    kind: AccumulatorKind
    dtype: DType  # of the accumulated values
    shape: Shape = ()
    target: Buffer | None = None
    partials: Buffer | None = None


@dataclass(frozen=True)
class Accumulate:
    """Combine ``value`` into an accumulator (element ``index`` of an array accumulator)."""

    accumulator: Name
    value: Name
    index: Index | None = None
    position: Name | None = None


@dataclass(frozen=True)
class Loop:
    """``for var in range(extent): body``"""

    var: Name
    extent: Size
    kind: Literal["serial", "vector"]
    body: tuple[Statement, ...]
    accumulators: tuple[Accumulator, ...] = ()
    parallel: bool = False
    work: Size = 1  # estimated scalar operations of one iteration


Statement: TypeAlias = (
    Const | Position | Load | Compute | CheckedIndex | Store | Accumulate | Loop
)

#: A parallel loop of fewer operations is one block: threads would save nothing.
PARALLEL_WORK = 1 << 15
#: Others are cut so that a block has at least this many ...
BLOCK_WORK = 1 << 13
#: ... and into at most this many blocks. Many are good: interruption is looked at between them.
MAX_BLOCKS = 256
#: With array accumulators (one private copy a block) there are fewer blocks, at most this many.
ARRAY_BLOCK_WORK = 1 << 15
MAX_ARRAY_BLOCKS = 16

INDEX_ERROR = 1
INTERRUPTED = 2


def blocks(extent: int, work: int, array_accumulators: bool) -> int:
    """Number of blocks of a parallel loop with ``work`` operations an iteration."""
    total = extent * work
    if total < PARALLEL_WORK:
        return 1
    least, most = block_limits(array_accumulators)
    return max(1, min(most, extent, total // least))


def block_limits(array_accumulators: bool) -> tuple[int, int]:
    """Operations of a block at least, and the most blocks there may be."""
    if array_accumulators:
        return ARRAY_BLOCK_WORK, MAX_ARRAY_BLOCKS
    return BLOCK_WORK, MAX_BLOCKS


# Kernels --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LoopKernel:
    """One fused loop nest. ``label`` says in words what it computes.

    ``kept`` are workspace buffers whose elements are values of the kernel, and lie nowhere.
    """

    name: str
    body: tuple[Statement, ...]
    label: str = ""
    flops: Size = 0
    nbytes: Size = 0
    kept: tuple[Buffer, ...] = ()


@dataclass(frozen=True)
class Operand:
    """A matrix batch inside a buffer: element (b, i, j) is at
    ``offset + b*batch + i*row + j*column`` (b flattened over ``batch_shape`` by strides)."""

    buffer: Buffer
    batch: tuple[Size, ...]
    row: Size
    column: Size
    offset: Size = 0


@dataclass(frozen=True)
class Epilogue:
    """A pass over the elements of a product, as if it came after it.

    ``body`` is values, then a loop over the elements of ``result``: one over all of them, or
    one over rows that holds values and ends with a vector loop over columns. It stores at the
    element that it stands at, and reads there what it stores. Parts of the product may be
    finished and passed over in any order, on any thread; no store goes where the product reads.
    If it ``keeps`` the product, ``result`` is the buffer of ``out``. Otherwise ``result`` may
    have no memory; ``out`` has room for sums of parts, and may be stored to after ``result`` is
    read. It is undefined where nothing is stored.
    """

    result: Buffer
    body: tuple[Statement, ...]
    keeps: bool


@dataclass(frozen=True)
class ContractionKernel:
    """``out = a @ b``: an (m, k) by (k, n) product for each index of ``batch_shape``.

    With an ``epilogue`` there is no batch, and all of ``out``'s buffer is written, row by row.
    """

    name: str
    a: Operand
    b: Operand
    out: Operand
    batch_shape: Shape
    m: Size
    k: Size
    n: Size
    dtype: DType
    accumulate: bool = False
    label: str = ""
    flops: Size = 0
    nbytes: Size = 0
    epilogue: Epilogue | None = None


@dataclass(frozen=True)
class BandKernel:
    """A product, a nest and a product, run together on bands of rows, which are read once.

    It means ``rows``, then ``nest``, then ``total``. One axis is common to them: the m of
    ``rows``, the one loop of ``nest``, which is parallel, and the k of ``total``. Of what is
    written on the way, the nest reads in iteration i that of row i only, and ``total`` reads
    at i what iteration i has written. ``total`` is an array accumulator of the loop, cut into
    blocks as it is; ``partials`` are its copies.
    """

    name: str
    rows: ContractionKernel
    nest: LoopKernel
    total: ContractionKernel
    partials: Buffer
    label: str = ""
    flops: Size = 0
    nbytes: Size = 0


Kernel: TypeAlias = LoopKernel | ContractionKernel | BandKernel


@dataclass(frozen=True)
class Program:
    """A compiled graph: buffers and the kernels that fill them, in order.

    ``commit`` is the number of kernels, counted from the start, that change no parameter:
    those may be interrupted and may fail; the rest runs to the end.
    ``offsets`` places each workspace buffer in the workspace, in bytes (64-byte aligned), and
    ``workspace`` is the total.
    """

    symbols: tuple[str, ...]
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    parameters: tuple[Buffer, ...]
    constants: tuple[Buffer, ...]
    kernels: tuple[Kernel, ...]
    commit: int
    offsets: tuple[tuple[Buffer, Size], ...]
    workspace: Size
    guards: tuple[Guard, ...] = ()


def statements(body: tuple[Statement, ...]) -> Iterator[Statement]:
    """All statements of a nest, outer before inner."""
    pending = list(reversed(body))
    while pending:
        statement = pending.pop()
        yield statement
        if isinstance(statement, Loop):
            pending.extend(reversed(statement.body))


def nest_of(kernel: Kernel) -> tuple[Statement, ...]:
    """The statements of a kernel besides its products."""
    if isinstance(kernel, BandKernel):
        kernel = kernel.nest
    if isinstance(kernel, LoopKernel):
        return kernel.body
    return kernel.epilogue.body if kernel.epilogue is not None else ()


def products_of(kernel: Kernel) -> tuple[ContractionKernel, ...]:
    """The products of a kernel, in order."""
    if isinstance(kernel, BandKernel):
        return kernel.rows, kernel.total
    return (kernel,) if isinstance(kernel, ContractionKernel) else ()
