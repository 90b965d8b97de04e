"""Copies of blocks of A and B in the order in which the micro-kernels read them."""

from __future__ import annotations

from graphc_llvm.emit import Module, Value
from graphc_llvm.gemm.code import Code
from graphc_llvm.gemm.micro import constant_mask, load_vector, mask_below, store_vector
from graphc_llvm.gemm.tiling import Tiling

#: Rows that a panel's copy asks for in advance: its accesses are too short to be foreseen.
_AHEAD = 16

_PANEL = (
    ("ptr", "to"),
    ("ptr", "b"),
    ("i64", "b_rs"),
    ("i64", "b_cs"),
    ("i64", "n"),
    ("i64", "k"),
    ("i64", "vectors"),
)


def pack_b(module: Module, t: Tiling) -> str:
    """Copy B[k,n] to ``to[k][vectors * lanes]``; columns from n on repeat the last one.

    Strides are in bytes. What a column beyond n holds never reaches C.
    """
    item, width = str(t.itemsize), str(t.target.vector_bytes)
    copy, transpose = _copy_vector(module, t), _transpose_vector(module, t)
    f = Code(module, f"pack_b_{t.suffix}", "void", _PANEL, internal=True)
    to_rs = f.mul("%vectors", width)
    contiguous = f.compare("eq", "%b_cs", item)
    strip = f.select(contiguous, f"@{copy}", f"@{transpose}", "ptr")
    with f.loop("0", "%vectors") as v:
        first = f.mul(v.index, str(t.lanes))
        to, b = f.at("%to", (v.index, width)), f.at("%b", (first, "%b_cs"))
        n = f.min(f.sub("%n", first), str(t.lanes))
        values = f"ptr {to}, i64 {to_rs}, ptr {b}, i64 %b_rs, i64 %b_cs, i64 {n}, i64 %k"
        f.do(f"call void {strip}({values})")
    f.do("ret void")
    f.finish()
    return f.name


def pack_b_rows(module: Module, t: Tiling) -> str:
    """Copy ``panels`` full panels of contiguous columns row by row, in the order of memory."""
    params = [("ptr", "to"), ("ptr", "b"), ("i64", "b_rs"), ("i64", "panels"), ("i64", "k")]
    f = Code(module, f"pack_b_rows_{t.suffix}", "void", params, internal=True)
    width = t.vectors * t.target.vector_bytes
    panel = f.mul("%k", str(width))
    ahead = f.op("shl i64 %b_rs, 1")
    with f.loop("0", "%k", carried=[("ptr", "%to"), ("ptr", "%b")]) as row:
        state = [("ptr", row.values[0]), ("ptr", row.values[1])]
        with f.loop("0", "%panels", carried=state) as column:
            to, b = column.values
            for line in range(0, width, 64):
                f.prefetch(f.offset(f.offset(b, ahead), str(line)))
            for j in range(0, width, t.target.vector_bytes):
                store_vector(f, t, load_vector(f, t, f.offset(b, str(j))), f.offset(to, str(j)))
            column.next = [f.offset(to, panel), f.offset(b, str(width))]
        row.next = [f.offset(row.values[0], str(width)), f.offset(row.values[1], "%b_rs")]
    f.do("ret void")
    f.finish()
    return f.name


_STRIP = (
    ("ptr", "to"),
    ("i64", "to_rs"),
    ("ptr", "b"),
    ("i64", "b_rs"),
    ("i64", "b_cs"),
    ("i64", "n"),
    ("i64", "k"),
)


def _copy_vector(module: Module, t: Tiling) -> str:
    """Copy one vector of contiguous columns, n <= lanes."""
    f = Code(module, f"copy_strip_{t.suffix}", "void", _STRIP, internal=True)
    mask = mask_below(f, t, "%n") if t.masked else ""
    whole = "true" if t.masked else f.compare("eq", "%n", str(t.lanes))
    state = [("ptr", "%to"), ("ptr", "%b")]
    with f.guard(whole, "void"), f.loop("0", "%k", carried=state) as row:
        to, b = row.values
        store_vector(f, t, load_vector(f, t, b, mask), to)
        row.next = [f.offset(to, "%to_rs"), f.offset(b, "%b_rs")]
    _copy_elements(f, t, "0")
    f.do("ret void")
    f.finish()
    return f.name


def _copy_elements(f: Code, t: Tiling, first: Value) -> None:
    """Copy rows ``first`` to k of a strip one by one, whatever the strides."""
    last = f.sub("%n", "1")
    with f.loop(first, "%k") as row, f.loop("0", str(t.lanes)) as column:
        b = f.at("%b", (row.index, "%b_rs"), (f.min(column.index, last), "%b_cs"))
        to = f.at("%to", (row.index, "%to_rs"), (column.index, str(t.itemsize)))
        f.store(t.type, f.load(t.type, b, t.itemsize), to, t.itemsize)


def _transpose_vector(module: Module, t: Tiling) -> str:
    """Copy one vector of columns, each contiguous along k (other strides: element-wise)."""
    f = Code(module, f"transpose_strip_{t.suffix}", "void", _STRIP, internal=True)
    block = 16 // t.itemsize
    aligned = f.op(f"and i64 %k, {-block}")
    whole = f.select(f.compare("eq", "%b_rs", str(t.itemsize)), aligned, "0")
    last = f.sub("%n", "1")
    columns = [f.at("%b", (f.min(str(j), last), "%b_cs")) for j in range(t.lanes)]
    with f.loop("0", whole, str(block), carried=[("ptr", "%to")]) as k:
        step = f.mul(k.index, str(t.itemsize))
        to = k.values[0]
        for row in _transposed(f, t, [f.offset(c, step) for c in columns]):
            store_vector(f, t, row, to)
            to = f.offset(to, "%to_rs")
        k.next = [to]
    _copy_elements(f, t, whole)
    f.do("ret void")
    f.finish()
    return f.name


def _transposed(f: Code, t: Tiling, columns: list[Value]) -> list[Value]:
    """Rows of the block whose columns start at ``columns``, 16 bytes of each.

    Column 4i + j goes to the i-th 16 bytes of the j-th vector, so that what is left
    is a transposition inside 16-byte lanes, for which every processor has shuffles.
    """
    block = 16 // t.itemsize
    parts = [f.load(f"<{block} x {t.type}>", c, t.itemsize) for c in columns]
    mixed = [_concatenate(f, t, parts[j::block]) for j in range(block)]
    if block == 2:
        return [_interleave(f, t, mixed[0], mixed[1], half) for half in (0, 1)]
    low = [_interleave(f, t, mixed[0], mixed[2], h) for h in (0, 1)]
    high = [_interleave(f, t, mixed[1], mixed[3], h) for h in (0, 1)]
    return [_interleave(f, t, low[h], high[h], g) for h in (0, 1) for g in (0, 1)]


def _concatenate(f: Code, t: Tiling, parts: list[Value]) -> Value:
    """One vector of the parts' elements in order; their number is a power of two."""
    size = 16 // t.itemsize
    while len(parts) > 1:
        order = ", ".join(f"i32 {i}" for i in range(2 * size))
        type = f"<{size} x {t.type}>"
        parts = [
            f.op(f"shufflevector {type} {a}, {type} {b}, <{2 * size} x i32> <{order}>")
            for a, b in zip(parts[::2], parts[1::2], strict=True)
        ]
        size *= 2
    return parts[0]


def _interleave(f: Code, t: Tiling, a: Value, b: Value, half: int) -> Value:
    """The low or high halves of all 16-byte lanes of a and b, alternating."""
    block = 16 // t.itemsize
    order = [
        lane + half * block // 2 + i + source
        for lane in range(0, t.lanes, block)
        for i in range(block // 2)
        for source in (0, t.lanes)
    ]
    mask = ", ".join(f"i32 {i}" for i in order)
    vector = f"{t.vector} {a}, {t.vector} {b}"
    return f.op(f"shufflevector {vector}, <{t.lanes} x i32> <{mask}>")


def pack_a(module: Module, t: Tiling, rows: int) -> str:
    """Copy A[m,k], m <= ``Tiling.a_rows``: rows if contiguous, else ``[tile][k][rows]``."""
    params = [(p, n.replace("b", "a")) for p, n in _PANEL[:4]] + [("i64", "m"), ("i64", "k")]
    f = Code(module, f"pack_a_{rows}_{t.suffix}", "void", params, internal=True)
    with f.guard(f.compare("eq", "%a_cs", str(t.itemsize)), "void"):
        f.do(f"call void @{_copy_rows(module, t)}(ptr %to, ptr %a, i64 %a_rs, i64 %m, i64 %k)")
    # Whole tiles side by side: a cache line of A serves two of them.
    tight = f.compare("eq", "%a_rs", str(t.itemsize))
    tiles = f.select(tight, f.div("%m", str(rows)), "0")
    ahead = f.mul("%a_cs", str(_AHEAD))
    pitch, tile_bytes = str(t.a_pitch(rows)), str(t.a_tile_bytes(rows))
    with f.loop("0", f.select(f.compare("eq", tiles, "0"), "0", "%k")) as k:
        source = f.at("%a", (k.index, "%a_cs"))
        to = f.at("%to", (k.index, pitch))
        with f.loop("0", tiles, carried=[("ptr", source), ("ptr", to)]) as tile:
            x, y = tile.values
            f.prefetch(f.offset(x, ahead))
            _copy_tile_row(f, t, rows, y, x)
            tile.next = [f.offset(x, str(rows * t.itemsize)), f.offset(y, tile_bytes)]
    with f.loop(f.mul(tiles, str(rows)), "%m") as i:
        tile_index = f.div(i.index, str(rows))
        row = f.sub(i.index, f.mul(tile_index, str(rows)))
        to = f.at("%to", (tile_index, tile_bytes), (row, str(t.itemsize)))
        a = f.at("%a", (i.index, "%a_rs"))
        with f.loop("0", "%k") as k:
            x = f.load(t.type, f.at(a, (k.index, "%a_cs")), t.itemsize)
            f.store(t.type, x, f.at(to, (k.index, pitch)), t.itemsize)
    f.do("ret void")
    f.finish()
    return f.name


def _copy_tile_row(f: Code, t: Tiling, rows: int, to: Value, a: Value) -> None:
    """Copy ``rows`` contiguous elements; up to ``Tiling.a_pitch`` bytes may be written."""
    if t.a_pitch(rows) == rows * t.itemsize:
        type = f"<{rows} x {t.type}>"
        return f.store(type, f.load(type, a, t.itemsize), to, t.itemsize)
    for first in range(0, rows, t.lanes):
        at = str(first * t.itemsize)
        count = min(t.lanes, rows - first)
        mask = "" if count == t.lanes else constant_mask(t, count)
        store_vector(f, t, load_vector(f, t, f.offset(a, at), mask), f.offset(to, at))


def _copy_rows(module: Module, t: Tiling) -> str:
    params = [("ptr", "to"), ("ptr", "a"), ("i64", "a_rs"), ("i64", "m"), ("i64", "k")]
    f = Code(module, f"copy_rows_{t.suffix}", "void", params, internal=True)
    whole = f.op(f"and i64 %k, {-t.lanes}")
    with f.loop("0", "%m") as i:
        row = f.at("%a", (i.index, "%a_rs"))
        to = f.at("%to", (i.index, str(t.a_row_bytes)))
        with f.loop("0", whole, str(t.lanes)) as k:
            step = f.mul(k.index, str(t.itemsize))
            source = f.offset(row, step)
            f.prefetch(f.offset(source, "%a_rs"))
            store_vector(f, t, load_vector(f, t, source), f.offset(to, step))
        with f.loop(whole, "%k") as k:
            step = f.mul(k.index, str(t.itemsize))
            x = f.load(t.type, f.offset(row, step), t.itemsize)
            f.store(t.type, x, f.offset(to, step), t.itemsize)
    f.do("ret void")
    f.finish()
    return f.name


def unpack_tile(module: Module, t: Tiling) -> str:
    """Copy or add a tile of C from scratch to C[m,n] with any strides (bytes)."""
    params = [
        ("ptr", "c"),
        ("i64", "c_rs"),
        ("i64", "c_cs"),
        ("ptr", "tile"),
        ("i64", "tile_rs"),
    ]
    params += [("i64", "m"), ("i64", "n"), ("i64", "accumulate")]
    f = Code(module, f"unpack_tile_{t.suffix}", "void", params, internal=True)
    adds = f.compare("ne", "%accumulate", "0")
    if t.masked:
        by_column = f.compare("eq", "%c_rs", str(t.itemsize))
        with f.guard(f.both(by_column, f.negate(adds)), "void"):
            _unpack_columns(f, t)
    with f.loop("0", "%m") as i, f.loop("0", "%n") as j:
        tile = f.at("%tile", (i.index, "%tile_rs"), (j.index, str(t.itemsize)))
        c = f.at("%c", (i.index, "%c_rs"), (j.index, "%c_cs"))
        x = f.load(t.type, tile, t.itemsize)
        total = f.op(f"fadd {t.type} {x}, {f.load(t.type, c, t.itemsize)}")
        f.store(t.type, f.select(adds, total, x, t.type), c, t.itemsize)
    f.do("ret void")
    f.finish()
    return f.name


def _unpack_columns(f: Code, t: Tiling) -> None:
    """Gather the columns of a tile and store them, each contiguous in C."""
    lanes = f"<{t.lanes} x i32>"
    numbers = "<" + ", ".join(f"i32 {i}" for i in range(t.lanes)) + ">"
    one = f.op(f"insertelement {lanes} poison, i32 {f.op('trunc i64 %tile_rs to i32')}, i64 0")
    pitch = f.op(f"shufflevector {lanes} {one}, {lanes} poison, {lanes} zeroinitializer")
    steps = f.op(f"mul {lanes} {pitch}, {numbers}")
    name = f"llvm.masked.gather.v{t.lanes}{t.suffix}.v{t.lanes}p0"
    kinds = f"<{t.lanes} x i1>", t.vector
    f.module.declare(f"{t.vector} @{name}(<{t.lanes} x ptr>, {', '.join(kinds)})")
    with f.loop("0", "%m", str(t.lanes)) as i:
        mask = mask_below(f, t, f.sub("%m", i.index))
        tile, c = f.at("%tile", (i.index, "%tile_rs")), f.at("%c", (i.index, "%c_rs"))
        with f.loop("0", "%n", carried=[("ptr", tile), ("ptr", c)]) as j:
            tile, c = j.values
            where = f.op(f"getelementptr i8, ptr {tile}, {lanes} {steps}")
            rest = f"<{t.lanes} x i1> {mask}, {t.vector} zeroinitializer"
            source = f"<{t.lanes} x ptr> align {t.itemsize} {where}"
            x = f.op(f"call {t.vector} @{name}({source}, {rest})")
            store_vector(f, t, x, c, mask)
            j.next = [f.offset(tile, str(t.itemsize)), f.offset(c, "%c_cs")]
