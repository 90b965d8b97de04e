"""Micro-kernels: one register tile of C over a whole block of k."""

from __future__ import annotations

from itertools import product

from graphc_llvm.emit import Module, Value
from graphc_llvm.gemm.code import Code
from graphc_llvm.gemm.tiling import Tiling


def splat(f: Code, t: Tiling, value: Value) -> Value:
    """The vector whose lanes are all ``value``."""
    one = f.op(f"insertelement {t.vector} poison, {t.type} {value}, i64 0")
    zeros = f"<{t.lanes} x i32> zeroinitializer"
    return f.op(f"shufflevector {t.vector} {one}, {t.vector} poison, {zeros}")


def fma(f: Code, t: Tiling, a: Value, b: Value, c: Value, type: str = "") -> Value:
    """``a * b + c``, fused if the target has the instruction."""
    type = type or t.vector
    if not t.target.fma:
        product = f.op(f"fmul {type} {a}, {b}")
        return f.op(f"fadd {type} {product}, {c}")
    name = t.suffix if type == t.type else f"v{t.lanes}{t.suffix}"
    return f.call(type, f"llvm.fma.{name}", (type, a), (type, b), (type, c))


def mask_below(f: Code, t: Tiling, count: Value) -> Value:
    """The mask of the lanes numbered less than ``count`` (i64)."""
    lanes = f"<{t.lanes} x i32>"
    limit = f.op(f"trunc i64 {f.min(count, str(t.lanes))} to i32")
    one = f.op(f"insertelement {lanes} poison, i32 {limit}, i64 0")
    limits = f.op(f"shufflevector {lanes} {one}, {lanes} poison, {lanes} zeroinitializer")
    numbers = "<" + ", ".join(f"i32 {i}" for i in range(t.lanes)) + ">"
    return f.op(f"icmp slt {lanes} {numbers}, {limits}")


def load_vector(f: Code, t: Tiling, pointer: Value, mask: Value = "") -> Value:
    """A vector at ``pointer``, aligned as an element; lanes outside ``mask`` are zero."""
    if not mask:
        return f.load(t.vector, pointer, t.itemsize)
    name = f"llvm.masked.load.v{t.lanes}{t.suffix}.p0"
    f.module.declare(f"{t.vector} @{name}(ptr, <{t.lanes} x i1>, {t.vector})")
    where = f"ptr align {t.itemsize} {pointer}"
    lanes = f"<{t.lanes} x i1> {mask}, {t.vector} zeroinitializer"
    return f.op(f"call {t.vector} @{name}({where}, {lanes})")


def store_vector(f: Code, t: Tiling, value: Value, pointer: Value, mask: Value = "") -> None:
    """Store the lanes in ``mask``, all if there is none."""
    if not mask:
        return f.store(t.vector, value, pointer, t.itemsize)
    name = f"llvm.masked.store.v{t.lanes}{t.suffix}.p0"
    f.module.declare(f"void @{name}({t.vector}, ptr, <{t.lanes} x i1>)")
    where = f"ptr align {t.itemsize} {pointer}"
    f.do(f"call void @{name}({t.vector} {value}, {where}, <{t.lanes} x i1> {mask})")


#: Rows of B that a kernel asks for in advance: they are too short to be foreseen.
_AHEAD = 8

KERNEL_PARAMS = (
    ("ptr", "a"),
    ("i64", "a_rs"),
    ("i64", "a_cs"),
    ("ptr", "b"),
    ("i64", "b_rs"),
    ("ptr", "c"),
    ("i64", "c_rs"),
    ("i64", "m"),
    ("i64", "n"),
    ("i64", "k"),
    ("i64", "accumulate"),
)


def kernel(module: Module, t: Tiling, rows: int, vectors: int) -> str:
    """C[m,n] (+)= A[m,k] B[k,n] for 1 <= m <= ``rows`` and ``vectors`` vectors of columns.

    Strides are in bytes, columns of B and C contiguous. With masks, n may end inside
    the last vector. Rows from m on repeat row m - 1: they compute and store the same
    values once more, which needs no branches.
    """
    f = Code(module, f"gemm_{rows}x{vectors}_{t.suffix}", "void", KERNEL_PARAMS, internal=True)
    last = f.sub("%m", "1")
    index = [f.min(str(i), last) for i in range(rows)]
    a = [f.at("%a", (i, "%a_rs")) for i in index]
    c = [f.at("%c", (i, "%c_rs")) for i in index]
    masks = [""] * vectors
    if t.masked:
        masks[-1] = mask_below(f, t, f.sub("%n", str((vectors - 1) * t.lanes)))
    zeros = [(t.vector, "zeroinitializer")] * (rows * vectors)
    state = [*zeros, ("i64", "0"), ("ptr", "%b")]
    ahead = f.mul("%b_rs", str(_AHEAD))
    with f.loop("0", "%k", carried=state) as k:
        later = f.offset(k.values[-1], ahead)
        for line in range(0, vectors * t.target.vector_bytes, 64):
            f.prefetch(f.offset(later, str(line)))
        k.next = _multiply_step(f, t, a, masks, list(k.values))
    tile = [
        (_vector_at(f, t, row, j), mask, acc)
        for (row, (j, mask)), acc in zip(
            product(c, enumerate(masks)), k.values[: rows * vectors], strict=True
        )
    ]
    # All of C is read before any is written: rows may repeat.
    for where, mask, x in _accumulated(f, t, tile):
        store_vector(f, t, x, where, mask)
    f.do("ret void")
    f.finish()
    return f.name


def _multiply_step(
    f: Code, t: Tiling, a: list[Value], masks: list[Value], state: list[Value]
) -> list[Value]:
    """One term of the sum: a column of A times a row of B; ``state`` is the tile and where."""
    *tile, step, row = state
    b = [load_vector(f, t, _vector_at(f, t, row, j), mask) for j, mask in enumerate(masks)]
    for i, start in enumerate(a):
        x = splat(f, t, f.load(t.type, f.offset(start, step), t.itemsize))
        for j, y in enumerate(b):
            n = i * len(b) + j
            tile[n] = fma(f, t, x, y, tile[n])
    return [*tile, f.add(step, "%a_cs"), f.offset(row, "%b_rs")]


def _vector_at(f: Code, t: Tiling, row: Value, j: int) -> Value:
    return f.offset(row, str(j * t.target.vector_bytes)) if j else row


Placed = tuple[Value, Value, Value]
"""Where a vector of C is, its mask, and its value."""


def _accumulated(f: Code, t: Tiling, tile: list[Placed]) -> list[Placed]:
    """The tile, plus what C holds if ``%accumulate``.

    Adding a block of k to C when it is complete, instead of starting from C, is one
    level of pairwise summation.
    """
    before, add, store = f.block, f.fresh("add"), f.fresh("store")
    f.branch_if(f.compare("ne", "%accumulate", "0"), add, store)
    f.label(add)
    totals = [
        f.op(f"fadd {t.vector} {x}, {load_vector(f, t, where, mask)}")
        for where, mask, x in tile
    ]
    f.branch(store)
    f.label(store)
    return [
        (where, mask, f.op(f"phi {t.vector} [ {x}, %{before} ], [ {total}, %{add} ]"))
        for (where, mask, x), total in zip(tile, totals, strict=True)
    ]
