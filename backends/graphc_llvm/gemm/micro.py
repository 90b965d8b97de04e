"""Micro-kernels: one register tile of C over a whole block of k."""

from __future__ import annotations

from collections.abc import Sequence
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


def constant_mask(t: Tiling, count: int) -> Value:
    """The mask of the first ``count`` lanes."""
    return "<" + ", ".join(f"i1 {int(i < count)}" for i in range(t.lanes)) + ">"


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

#: Terms of the sum between two turns of a kernel's loop: counting takes the place of a product.
_UNROLL = 4

#: Sums of at least so many terms are worth kernels with such turns.
LONG = 64

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
    ("ptr", "next"),
    ("i64", "next_rs"),
)


def kernel(module: Module, t: Tiling, rows: int, vectors: int, long: bool) -> str:
    """C[m,n] (+)= A[m,k] B[k,n] for m = ``rows`` and ``vectors`` vectors of columns.

    Strides are in bytes, columns of B and C contiguous. With masks, n may end inside
    the last vector, in B too unless the kernel is one for ``long`` sums. If ``rows`` is the
    tiling's low number, m may be less: rows from m on repeat row m - 1, they compute and
    store the same values once more, without branches. Lines at ``next``, one for each row,
    are wanted by a later call.
    """
    name = f"gemm_{rows}x{vectors}{'_long' * long}_{t.suffix}"
    if name in module.functions:
        return name
    f = Code(module, name, "void", KERNEL_PARAMS, internal=True)
    masks = [""] * vectors
    if t.masked:
        masks[-1] = mask_below(f, t, f.sub("%n", str((vectors - 1) * t.lanes)))
    b_masks = [""] * vectors if long else masks
    last = f.sub("%m", "1")
    clamped = rows == t.low
    index = [f.min(str(i), last) if clamped else str(i) for i in range(rows)]
    a = _Gathered(f, index) if clamped else _Affine(f, rows)
    zeros = [(t.vector, "zeroinitializer")] * (rows * vectors)
    ahead = f.mul("%b_rs", str(_AHEAD))
    unroll = _UNROLL if long else 1
    most = f.op(f"and i64 %k, {-unroll}")
    first = f.min(most, str(rows * unroll))
    state = [*zeros, ("ptr", "%b"), *(("ptr", p) for p in a.start)]
    asked = [("ptr", "%c"), ("ptr", "%next")]
    parts = [("0", first, unroll), (first, most, unroll), (most, "%k", 1)]
    for begin, end, step in parts[: 3 if long else 2]:
        with f.loop(begin, end, str(step), state + asked) as k:
            *tile, b = k.values[: len(zeros) + 1]
            places = list(k.values[len(zeros) + 1 : len(state)])
            for _ in range(step):
                later = f.offset(b, ahead)
                for line in _lines(t, vectors, clamped):
                    f.prefetch(f.offset(later, str(line)))
                _multiply_step(f, t, a.at(places), b, b_masks, tile)
                b, places = f.offset(b, "%b_rs"), [f.offset(p, "%a_cs") for p in places]
            k.next = [*tile, b, *places]
            if asked:
                k.next += _ask(f, t, vectors, k.values[len(state) :])
        state = [(type, v) for (type, _), v in zip(state, k.values, strict=False)]
        if asked:
            c, next = k.values[len(state) :]
            done = f.div(first, str(unroll))
            with f.loop(done, str(rows), "1", [("ptr", c), ("ptr", next)]) as i:
                i.next = _ask(f, t, vectors, i.values)
            asked = []
    to = [f.at("%c", (i, "%c_rs")) for i in index]
    placed = [
        (_vector_at(f, t, row, j), mask, acc)
        for (row, (j, mask)), acc in zip(
            product(to, enumerate(masks)), k.values[: rows * vectors], strict=True
        )
    ]
    _update(f, t, placed, clamped)
    f.do("ret void")
    f.finish()
    return f.name


def _ask(f: Code, t: Tiling, vectors: int, rows: Sequence[Value]) -> list[Value]:
    """Ask for what follows a row of C and for a line of a later A; the rows after them."""
    c, a = rows
    width = vectors * t.target.vector_bytes
    for line in range(width + 63, 2 * width, 64):
        f.prefetch(f.offset(c, str(line)))
    f.prefetch(a, 2)
    return [f.offset(c, "%c_rs"), f.offset(a, "%next_rs")]


def _lines(t: Tiling, vectors: int, across: bool) -> list[int]:
    """Offsets of the cache lines of a row; ``across`` if it need not begin with one."""
    width = vectors * t.target.vector_bytes
    return [*range(0, width, 64), *[width - 1] * across]


class _Gathered:
    """Rows of A at any distances: a register for each."""

    def __init__(self, f: Code, index: list[Value]) -> None:
        self.f = f
        self.rows = [f.at("%a", (i, "%a_rs")) for i in index]
        self.start = [self.rows[0]]
        self.steps = [f.op(f"ptrtoint ptr {r} to i64") for r in self.rows]
        self.distances = [f.sub(s, self.steps[0]) for s in self.steps[1:]]

    def at(self, places: Sequence[Value]) -> list[Value]:
        return [places[0], *(self.f.offset(places[0], d) for d in self.distances)]


class _Affine:
    """Rows of A at equal distances: seven from each pointer by the processor's addressing."""

    def __init__(self, f: Code, rows: int) -> None:
        self.f, self.rows = f, rows
        self.start = [f.at("%a", (str(i), "%a_rs")) for i in range(0, rows, 7)]
        self.three, self.five = f.mul("%a_rs", "3"), f.mul("%a_rs", "5")

    def at(self, places: Sequence[Value]) -> list[Value]:
        steps = [("%a_rs", 1), ("%a_rs", 2), (self.three, 1), ("%a_rs", 4), (self.five, 1)]
        steps.append((self.three, 2))
        scaled = "getelementptr [{} x i8], ptr {}, i64 {}".format
        out = []
        for p in places:
            out += [p, *(self.f.op(scaled(scale, p, x)) for x, scale in steps)]
        return out[: self.rows]


def _multiply_step(
    f: Code, t: Tiling, a: list[Value], row: Value, masks: list[Value], tile: list[Value]
) -> None:
    """One term of the sum: a column of A times a row of B."""
    b = [load_vector(f, t, _vector_at(f, t, row, j), mask) for j, mask in enumerate(masks)]
    for i, where in enumerate(a):
        x = splat(f, t, f.load(t.type, where, t.itemsize))
        for j, y in enumerate(b):
            n = i * len(b) + j
            tile[n] = fma(f, t, x, y, tile[n])


def _vector_at(f: Code, t: Tiling, row: Value, j: int) -> Value:
    return f.offset(row, str(j * t.target.vector_bytes)) if j else row


Placed = tuple[Value, Value, Value]
"""Where a vector of C is, its mask, and its value."""


def _update(f: Code, t: Tiling, tile: list[Placed], together: bool) -> None:
    """Store the tile, or add it to C if ``%accumulate``.

    Adding a block of k to C when it is complete, instead of starting from C, is one
    level of pairwise summation. ``together`` reads all of C before any is written.
    """
    with f.guard(f.compare("eq", "%accumulate", "0"), "void"):
        for where, mask, x in tile:
            store_vector(f, t, x, where, mask)
    for group in [tile] if together else [[x] for x in tile]:
        totals = [
            f.op(f"fadd {t.vector} {x}, {load_vector(f, t, where, mask)}")
            for where, mask, x in group
        ]
        for (where, mask, _), total in zip(group, totals, strict=True):
            store_vector(f, t, total, where, mask)
