"""Small products of any sizes: tiles read A and B where they are, a batch in one function."""

from __future__ import annotations

from graphc_llvm.emit import Module, Value
from graphc_llvm.gemm.block import BLOCK_PARAMS, Slots
from graphc_llvm.gemm.code import Code
from graphc_llvm.gemm.micro import fma, load_vector, mask_below, splat, store_vector
from graphc_llvm.gemm.tiling import Tiling

_ROWS = 8
_VECTORS = 3

#: Most rows of A and elements of B: beyond them it pays to choose tiles and to ask for lines.
_MOST_ROWS, _MOST_ELEMENTS = 95, 1024

_TILES = (
    *(("ptr", "a"), ("i64", "a_rs"), ("i64", "a_cs"), ("ptr", "b"), ("i64", "b_rs")),
    *(("ptr", "c"), ("i64", "c_rs"), ("i64", "m"), ("i64", "n"), ("i64", "k")),
    ("i64", "accumulate"),
)


def is_direct(f: Code, t: Tiling, s: Slots) -> Value:
    """Whether `direct_blocks` can run a problem that is one block for each of the batch."""
    item = str(t.itemsize)
    conditions = [
        f.compare("eq", s["b_cs"], item),
        f.compare("eq", s["c_cs"], item),
        f.op(f"icmp eq ptr {s['epilogue']}, null"),
        f.compare("eq", s["k_step"], "0"),
        f.compare("eq", s["units"], s["batch"]),
        f.compare("sge", s["m"], "2"),
        f.compare("sle", s["m"], str(_MOST_ROWS)),
        f.compare("sge", s["k"], "1"),
        f.compare("sle", f.mul(s["k"], s["n"]), str(_MOST_ELEMENTS)),
    ]
    out = conditions[0]
    for condition in conditions[1:]:
        out = f.both(out, condition)
    return out


def direct_blocks(module: Module, t: Tiling) -> str:
    """The function that runs blocks [begin, end) of units, which are whole products."""
    tiles = [_tiles(module, t, vectors + 1) for vectors in range(_VECTORS)]
    f = Code(module, f"gemm_direct_{t.suffix}", "void", BLOCK_PARAMS, internal=True)
    s = Slots(f)
    names = ("a_rs", "a_cs", "b_rs", "c_rs", "m", "n", "k", "accumulate", "group")
    a_rs, a_cs, b_rs, c_rs, m, n, k, accumulate, group = (s[name] for name in names)
    first, end = f.mul("%begin", group), f.min(f.mul("%end", group), s["units"])
    state = [("ptr", f.at(s[x], (first, s[f"{x}_bs"]))) for x in "abc"]
    steps = [s[f"{x}_bs"] for x in "abc"]
    width = f.fresh("width")
    with f.loop(first, end, "1", state) as unit:
        a, b, c = unit.values
        with f.loop("0", n, "%" + width) as j:
            left = f.sub(n, j.index)
            vectors = f.op(
                f"lshr i64 {f.add(left, str(t.lanes - 1))}, {t.lanes.bit_length() - 1}"
            )
            # Four are better as two and two than as three and one.
            vectors = f.min(vectors, f.select(f.compare("eq", vectors, "4"), "2", "3"))
            f.do(f"%{width} = mul i64 {vectors}, {t.lanes}")
            at = f.mul(j.index, str(t.itemsize))
            values = (a, a_rs, a_cs, f.offset(b, at), b_rs, f.offset(c, at), c_rs, m,
                      f.min("%" + width, left), k, accumulate)  # fmt: skip
            args = ", ".join(f"{type} {v}" for (type, _), v in zip(_TILES, values, strict=True))
            for count, function in enumerate(tiles):
                with f.when(f.compare("eq", vectors, str(count + 1))):
                    f.do(f"call void @{function}({args})")
        unit.next = [f.offset(p, step) for p, step in zip(unit.values, steps, strict=True)]
    f.do("ret void")
    f.finish()
    return f.name


def _tiles(module: Module, t: Tiling, vectors: int) -> str:
    """All rows of C in so many vectors of columns, of which the last may be cut off at n."""
    f = Code(module, f"gemm_tiles_{vectors}_{t.suffix}", "void", _TILES, internal=True)
    masks = [""] * (vectors - 1) + [mask_below(f, t, f.sub("%n", str((vectors - 1) * t.lanes)))]
    places = [str(j * t.target.vector_bytes) for j in range(vectors)]
    adds = f.compare("ne", "%accumulate", "0")
    with f.loop("0", "%m", str(_ROWS)) as i:
        last = f.sub(f.sub("%m", i.index), "1")
        rows = [f.min(str(r), last) for r in range(_ROWS)]
        a, c = f.at("%a", (i.index, "%a_rs")), f.at("%c", (i.index, "%c_rs"))
        distances = [f.mul(row, "%a_rs") for row in rows]
        zeros = [(t.vector, "zeroinitializer")] * (_ROWS * vectors)
        with f.loop("0", "%k", carried=[("ptr", a), ("ptr", "%b"), *zeros]) as k:
            x, y, *sums = k.values
            b = [
                load_vector(f, t, f.offset(y, p), m) for p, m in zip(places, masks, strict=True)
            ]
            for r, distance in enumerate(distances):
                scalar = splat(f, t, f.load(t.type, f.offset(x, distance), t.itemsize))
                for j in range(vectors):
                    n = r * vectors + j
                    sums[n] = fma(f, t, scalar, b[j], sums[n])
            k.next = [f.offset(x, "%a_cs"), f.offset(y, "%b_rs"), *sums]
        _finish(f, t, [f.at(c, (row, "%c_rs")) for row in rows], places, masks, adds,
                list(k.values[2:]))  # fmt: skip
    f.do("ret void")
    f.finish()
    return f.name


def _finish(
    f: Code, t: Tiling, rows: list[Value], places: list[Value], masks: list[Value],
    adds: Value, sums: list[Value],
) -> None:  # fmt: skip
    """Store the sums, or add them to C; rows that are there twice are read before any write."""
    where = [(f.offset(row, p), m) for row in rows for p, m in zip(places, masks, strict=True)]
    then, otherwise, done = (f.fresh(x) for x in ("adding", "storing", "stored"))
    f.branch_if(adds, then, otherwise)
    f.label(then)
    old = [load_vector(f, t, place, mask) for place, mask in where]
    totals = [f.op(f"fadd {t.vector} {x}, {y}") for x, y in zip(sums, old, strict=True)]
    for values, next in ((totals, otherwise), (sums, done)):
        for value, (place, mask) in zip(values, where, strict=True):
            store_vector(f, t, value, place, mask)
        f.branch(done)
        f.label(next)
