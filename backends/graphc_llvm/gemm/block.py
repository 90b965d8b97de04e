"""The blocked loop over one unit of work: a rectangle of C of one batch element."""

from __future__ import annotations

from graphc_llvm.emit import Module, Value
from graphc_llvm.gemm.code import COLD, Code
from graphc_llvm.gemm.micro import KERNEL_PARAMS, LONG, kernel
from graphc_llvm.gemm.pack import pack_a, pack_b, pack_b_rows
from graphc_llvm.gemm.tiling import Tiling

#: What the entry hands to the blocks, one 8-byte slot each. Strides are in bytes.
#: Batch element i sums over at most ``k`` terms of the ``k_total - i * k_step`` there are.
SLOTS = (
    *("c", "a", "b", "batch", "m", "n", "k"),
    *("a_bs", "a_rs", "a_cs", "b_bs", "b_rs", "b_cs", "c_bs", "c_rs", "c_cs"),
    *("accumulate", "epilogue", "epilogue_args", "keeps"),
    *("scratch", "k_step", "k_total", "depth"),
    *("m_block", "n_block", "m_blocks", "n_blocks", "group", "units", "pack_a", "pack_b"),
    *("unit", "by_dots", "n_merged", "swapped"),
)
POINTERS = ("a", "b", "c", "scratch", "unit", "epilogue", "epilogue_args")

BLOCK_PARAMS = (("ptr", "args"), ("i64", "begin"), ("i64", "end"), ("i64", "worker"))

#: One unit is C[row : row + m, column : column + n] of one batch element.
UNIT_PARAMS = (
    ("ptr", "args"),
    ("i64", "batch"),
    ("i64", "row"),
    ("i64", "m"),
    ("i64", "column"),
    ("i64", "n"),
    ("ptr", "scratch"),
)


class Slots:
    """Access to the argument block behind a pointer."""

    def __init__(self, f: Code, base: Value = "%args") -> None:
        self.f, self.base = f, base

    def at(self, name: str) -> Value:
        return self.f.offset(self.base, str(8 * SLOTS.index(name)))

    def __getitem__(self, name: str) -> Value:
        type = "ptr" if name in POINTERS else "i64"
        return self.f.load(type, self.at(name))

    def __setitem__(self, name: str, value: Value) -> None:
        type = "ptr" if name in POINTERS else "i64"
        self.f.store(type, value, self.at(name))


def block_function(module: Module, t: Tiling, scratch_bytes: int) -> str:
    """The function that runs blocks [begin, end) of units; its symbol.

    Units that follow each other in a column, and whole columns, run as one, so that few
    threads pack less often than many. Values are the same: they depend on how k is cut only.
    """
    f = Code(
        module, f"gemm_blocks_{t.suffix}", "void", BLOCK_PARAMS, internal=True, attributes=COLD
    )
    s = Slots(f)
    unit, group, n_blocks, m_blocks = s["unit"], s["group"], s["n_blocks"], s["m_blocks"]
    m_block, n_block, m, n = s["m_block"], s["n_block"], s["m"], s["n"]
    n_merged = s["n_merged"]
    per_batch = f.mul(n_blocks, m_blocks)
    scratch = f.at(s["scratch"], ("%worker", str(scratch_bytes)))
    end = f.min(f.mul("%end", group), s["units"])
    count = f.fresh("count")
    with f.loop(f.mul("%begin", group), end, "%" + count) as u:
        batch = f.div(u.index, per_batch)
        rest = f.sub(u.index, f.mul(batch, per_batch))
        j = f.div(rest, m_blocks)
        i = f.sub(rest, f.mul(j, m_blocks))
        left = f.sub(end, u.index)
        more_i = f.min(f.sub(m_blocks, i), left)
        whole = f.compare("eq", more_i, m_blocks)
        most_j = f.select(whole, f.min(n_merged, f.div(left, m_blocks)), "1")
        more_j = f.min(most_j, f.sub(n_blocks, j))
        f.do(f"%{count} = mul i64 {more_i}, {more_j}")
        row, column = f.mul(i, m_block), f.mul(j, n_block)
        rows = f.min(f.mul(more_i, m_block), f.sub(m, row))
        columns = f.min(f.mul(more_j, n_block), f.sub(n, column))
        f.do(
            f"call void {unit}(ptr %args, i64 {batch}, i64 {row}, i64 {rows}, i64 {column}, "
            f"i64 {columns}, ptr {scratch})"
        )
    f.do("ret void")
    f.finish()
    return f.name


def gemm_unit(module: Module, t: Tiling, unpack: str) -> str:
    """One unit: for each block of k, pack B, then run over the tiles.

    The epilogue is run on the tiles of the last block of k.
    """
    pack, sweep = pack_b(module, t), _sweep(module, t, unpack)
    f = Code(
        module, f"gemm_unit_{t.suffix}", "void", UNIT_PARAMS, internal=True, attributes=COLD
    )
    s = Slots(f)
    depth = s["depth"]
    left = f.sub(s["k_total"], f.mul("%batch", s["k_step"]))
    k = f.min(s["k"], left)
    a = f.at(s["a"], ("%batch", s["a_bs"]), ("%row", s["a_rs"]))
    b = f.at(s["b"], ("%batch", s["b_bs"]), ("%column", s["b_cs"]))
    c = f.at(s["c"], ("%batch", s["c_bs"]), ("%row", s["c_rs"]), ("%column", s["c_cs"]))
    b_rs, b_cs, packs = s["b_rs"], s["b_cs"], s["pack_b"]
    # Panels of B as wide as the registers allow for the tiles there are.
    only_low = f.compare("eq", _full_tiles(f, t, "%m"), "0")
    panel = f.select(only_low, str(t.low_vectors), str(t.vectors))
    chunk = "%n"
    if t.masked:
        # Each row of tiles would read B from memory: take a few columns for all rows first.
        nothing = f.compare("eq", f.op(f"or i64 {packs}, {s['pack_a']}"), "0")
        direct = f.both(nothing, f.compare("sgt", "%m", str(t.low)))
        chunk = f.select(direct, f.mul(panel, str(2 * t.lanes)), "%n")
    carried = [("i64", s["accumulate"])]
    # An empty sum still writes its zeros: the loop runs at least once.
    with f.loop("0", f.max(k, "1"), depth, carried) as p:
        kc = f.min(depth, f.sub(k, p.index))
        b_block = f.at(b, (p.index, b_rs))
        _pack_panels(f, t, pack, b_block, b_rs, b_cs, "%n", kc, packs, panel)
        a_block = f.at(a, (p.index, s["a_cs"]))
        is_last = f.compare("sge", f.add(p.index, depth), k)
        epilogue = f.select(is_last, s["epilogue"], "null", "ptr")
        with f.loop("0", "%n", chunk) as j:
            columns = f.min(chunk, f.sub("%n", j.index))
            b_part, c_part = f.at(b_block, (j.index, b_cs)), f.at(c, (j.index, s["c_cs"]))
            f.do(
                f"call void @{sweep}(ptr %args, ptr {a_block}, ptr {b_part}, ptr {c_part}, "
                f"i64 %m, i64 {columns}, i64 {kc}, i64 {p.values[0]}, i64 {panel}, "
                f"ptr %scratch, ptr {epilogue}, i64 %row, i64 {f.add('%column', j.index)})"
            )
        p.next = ["1"]
    f.do("ret void")
    f.finish()
    return f.name


def _panel_vectors(f: Code, t: Tiling, n: Value, panel: Value) -> Value:
    """Vectors of columns in the next panel when n columns are left."""
    return f.min(f.div(f.add(n, str(t.lanes - 1)), str(t.lanes)), panel)


def _is_packed(f: Code, t: Tiling, packs: Value, columns: Value, n: Value) -> Value:
    """Whether a panel of n columns is in scratch; without masks a partial one must be."""
    packed = f.compare("ne", packs, "0")
    return packed if t.masked else f.either(packed, f.compare("ne", columns, n))


def _pack_panels(
    f: Code, t: Tiling, pack: str, b: Value, b_rs: Value, b_cs: Value, n: Value, k: Value,
    packs: Value, panel: Value,
) -> None:  # fmt: skip
    if t.masked:
        some = f.compare("ne", packs, "0")
    else:
        partial = f.op(f"and i64 {n}, {t.lanes - 1}")
        some = f.either(f.compare("ne", packs, "0"), f.compare("ne", partial, "0"))
    k_bytes = f.mul(k, str(t.itemsize))
    width = f.fresh("width")
    whole = str(t.vectors * t.lanes)
    rows = f.both(f.compare("ne", packs, "0"), f.compare("eq", b_cs, str(t.itemsize)))
    rows = f.both(rows, f.compare("eq", panel, str(t.vectors)))
    done = f.select(rows, f.div(n, whole), "0")
    with f.when(f.compare("ne", done, "0")):
        f.do(
            f"call void @{pack_b_rows(f.module, t)}(ptr %scratch, ptr {b}, i64 {b_rs}, "
            f"i64 {done}, i64 {k})"
        )
    with f.loop(f.mul(done, whole), f.select(some, n, "0"), "%" + width) as p:
        vectors = _panel_vectors(f, t, f.sub(n, p.index), panel)
        f.do(f"%{width} = mul i64 {vectors}, {t.lanes}")
        columns = f.min("%" + width, f.sub(n, p.index))
        with f.when(_is_packed(f, t, packs, columns, "%" + width)):
            to = f.at("%scratch", (p.index, k_bytes))
            source = f.at(b, (p.index, b_cs))
            f.do(
                f"call void @{pack}(ptr {to}, ptr {source}, i64 {b_rs}, i64 {b_cs}, "
                f"i64 {columns}, i64 {k}, i64 {vectors})"
            )


_SWEEP = (
    ("ptr", "args"),
    ("ptr", "a"),
    ("ptr", "b"),
    ("ptr", "c"),
    ("i64", "m"),
    ("i64", "n"),
    ("i64", "k"),
    ("i64", "accumulate"),
    ("i64", "panel"),
    ("ptr", "scratch"),
    ("ptr", "epilogue"),
    ("i64", "row"),
    ("i64", "column"),
)


def _sweep(module: Module, t: Tiling, unpack: str) -> str:
    """All tiles of C[m,n] for one block of k: full tiles, then low ones."""
    panels = _panels(module, t, unpack)
    full, low = _tile_rows(module, t, panels, t.rows), _tile_rows(module, t, panels, t.low)
    f = Code(module, f"gemm_sweep_{t.suffix}", "void", _SWEEP, internal=True, attributes=COLD)
    rows = f.mul(_full_tiles(f, t, "%m"), str(t.rows))
    values = {name: f"{type} %{name}" for type, name in _SWEEP}
    values["m"] = f"i64 {rows}"
    f.do(f"call void @{full}({', '.join(values.values())})")
    s = Slots(f)
    values["m"] = f"i64 {f.sub('%m', rows)}"
    values["a"] = f"ptr {f.at('%a', (rows, s['a_rs']))}"
    values["c"] = f"ptr {f.at('%c', (rows, s['c_rs']))}"
    values["row"] = f"i64 {f.add('%row', rows)}"
    f.do(f"call void @{low}({', '.join(values.values())})")
    f.do("ret void")
    f.finish()
    return f.name


def _full_tiles(f: Code, t: Tiling, m: Value) -> Value:
    """Tiles of ``rows`` such that tiles of ``low`` fill the rest of m rows exactly.

    With 2h = rows and low = h + 1, m even, m mod h low tiles leave a multiple of rows. Odd
    sums have one row more in a low tile. Few rows are done greedily instead.
    """
    half = t.rows // 2
    even = f.op(f"and i64 {f.add(m, '1')}, -2")
    count = f.op(f"urem i64 {even}, {half}")
    odd = f.both(f.compare("ne", even, m), f.compare("eq", count, "0"))
    low = f.mul(f.select(odd, str(half), count), str(t.low))
    fits = f.compare("sle", low, even)
    return f.div(f.select(fits, f.sub(even, low), m), str(t.rows))


_HAS_EPILOGUE = "icmp ne ptr %epilogue, null"

_EPILOGUE = (
    ("ptr", "args"),
    ("ptr", "c"),
    ("i64", "c_rs"),
    ("i64", "row"),
    ("i64", "m"),
    ("i64", "column"),
    ("i64", "n"),
)


def epilogue_call(module: Module, t: Tiling) -> str:
    """Run the epilogue, if there is one, on C[row : row + m, column : column + n] at ``c``.

    Rows and columns are those of the caller's product, maybe this one's columns and rows.
    """
    name = f"gemm_epilogue_{t.suffix}"
    if name in module.functions:
        return name
    f = Code(module, name, "void", _EPILOGUE, internal=True, attributes=COLD)
    s = Slots(f)
    epilogue, args = s["epilogue"], s["epilogue_args"]
    with f.guard(f.op(f"icmp eq ptr {epilogue}, null"), "void"):
        pass
    swapped = f.compare("ne", s["swapped"], "0")
    rs = f.select(swapped, s["c_cs"], "%c_rs")
    row, column = f.select(swapped, "%column", "%row"), f.select(swapped, "%row", "%column")
    m, n = f.select(swapped, "%n", "%m"), f.select(swapped, "%m", "%n")
    f.do(
        f"call void {epilogue}(ptr {args}, ptr %c, i64 {rs}, i64 {row}, i64 {m}, "
        f"i64 {column}, i64 {n})"
    )
    f.do("ret void")
    f.finish()
    return name


def _tile_rows(module: Module, t: Tiling, panels: str, tile_rows: int) -> str:
    """Tiles of ``tile_rows`` rows: a row of tiles shares its rows of A."""
    table, pack = _kernel_table(module, t, tile_rows), pack_a(module, t, tile_rows)
    name = f"gemm_rows_{tile_rows}_{t.suffix}"
    f = Code(module, name, "void", _SWEEP, internal=True, attributes=COLD)
    s = Slots(f)
    a_rs, a_cs, packs = s["a_rs"], s["a_cs"], s["pack_a"]
    c_rs, c_cs = s["c_rs"], s["c_cs"]
    item = str(t.itemsize)
    to = f.offset("%scratch", str(t.b_bytes))
    # What only the epilogue needs of C stays in scratch.
    finish = epilogue_call(module, t)
    own = f.both(f.compare("eq", s["keeps"], "0"), f.compare("eq", c_cs, item))
    own = f.both(own, f.both(f.compare("eq", "%accumulate", "0"), f.op(_HAS_EPILOGUE)))
    own_c, own_rs = f.offset("%scratch", str(t.own_offset)), str(t.own_row_bytes)
    out_rs = f.select(own, own_rs, c_rs)
    packed = f.compare("ne", packs, "0")
    by_rows = f.compare("eq", a_cs, item)
    packed_rs = f.select(by_rows, str(t.a_row_bytes), item)
    packed_cs = f.select(by_rows, item, str(t.a_pitch(tile_rows)))
    tile_rs, tile_cs = f.select(packed, packed_rs, a_rs), f.select(packed, packed_cs, a_cs)
    # A cache line of A with contiguous columns may serve several tiles.
    most = f.select(by_rows, str(tile_rows), str(t.a_rows // tile_rows * tile_rows))
    ahead = f.select(packed, most, str(tile_rows))
    next_rs = f.select(by_rows, a_rs, a_cs)
    in_lines = f.ceil_div(f.mul("%k", item), "64")
    next_count = f.select(by_rows, in_lines, f.ceil_div("%k", str(tile_rows)))
    next_step = f.select(by_rows, "64", f.mul(a_cs, str(tile_rows)))
    with (
        f.loop("0", "%m", most) as block,
        f.loop(block.index, f.min(f.add(block.index, most), "%m"), str(tile_rows)) as i,
    ):
        m = f.min(f.sub("%m", i.index), str(tile_rows))
        a = f.at("%a", (i.index, a_rs))
        with f.when(f.both(packed, f.compare("eq", i.index, block.index))):
            rows = f.min(f.sub("%m", i.index), most)
            f.do(
                f"call void @{pack}(ptr {to}, ptr {a}, i64 {a_rs}, i64 {a_cs}, "
                f"i64 {rows}, i64 %k)"
            )
        index = f.div(f.sub(i.index, block.index), str(tile_rows))
        in_columns = str(t.a_tile_bytes(tile_rows))
        tile_bytes = f.select(by_rows, str(tile_rows * t.a_row_bytes), in_columns)
        here = f.at(to, (index, tile_bytes))
        tile = f.select(packed, here, a, "ptr")
        c = f.select(own, own_c, f.at("%c", (i.index, c_rs)), "ptr")
        next = f.at(a, (ahead, a_rs))
        f.do(
            f"call void @{panels}(ptr %args, ptr @{table}, ptr {tile}, i64 {tile_rs}, "
            f"i64 {tile_cs}, ptr %b, ptr {c}, i64 {out_rs}, i64 {m}, i64 %n, i64 %k, "
            f"i64 %accumulate, i64 %panel, ptr %scratch, ptr {next}, i64 {next_step}, "
            f"i64 {next_rs}, i64 {next_count})"
        )
        with f.when(f.op(_HAS_EPILOGUE)):
            f.do(
                f"call void @{finish}(ptr %args, ptr {c}, i64 {out_rs}, "
                f"i64 {f.add('%row', i.index)}, i64 {m}, i64 %column, i64 %n)"
            )
    f.do("ret void")
    f.finish()
    return f.name


def _kernel_table(module: Module, t: Tiling, rows: int) -> str:
    """Kernels by number of vectors: one for long sums of whole vectors of B, one for others."""
    most = t.low_vectors if rows == t.low else t.vectors
    kinds = (rows != t.low, False)
    names = [kernel(module, t, rows, v + 1, long) for v in range(most) for long in kinds]
    name = f"gemm_kernels_{rows}_{t.suffix}"
    entries = ", ".join(f"ptr @{n}" for n in names)
    module.globals[name] = f"@{name} = internal constant [{len(names)} x ptr] [{entries}]"
    return name


_PANELS = (
    ("ptr", "args"),
    ("ptr", "kernels"),
    ("ptr", "a"),
    ("i64", "a_rs"),
    ("i64", "a_cs"),
    ("ptr", "b"),
    ("ptr", "c"),
    ("i64", "c_rs"),
    ("i64", "m"),
    ("i64", "n"),
    ("i64", "k"),
    ("i64", "accumulate"),
    ("i64", "panel"),
    ("ptr", "scratch"),
    ("ptr", "next"),
    ("i64", "next_step"),
    ("i64", "next_rs"),
    ("i64", "next_count"),
)


def _panels(module: Module, t: Tiling, unpack: str) -> str:
    """One row of tiles: run the kernel of each panel of B."""
    f = Code(module, f"gemm_panels_{t.suffix}", "void", _PANELS, internal=True)
    s = Slots(f)
    b_rs, b_cs, c_cs, packs = (s[x] for x in ("b_rs", "b_cs", "c_cs", "pack_b"))
    k_bytes = f.mul("%k", str(t.itemsize))
    tile = f.offset("%scratch", str(t.tile_offset))
    tile_rs = str(t.tile_row_bytes)
    scattered = f.compare("ne", c_cs, str(t.itemsize))
    long = f.select(f.compare("sge", "%k", str(LONG)), "2", "1")
    width = f.fresh("width")
    with f.loop("0", "%m") as i:
        row = f.at("%c", (i.index, "%c_rs"))
        for at in range(0, 192, 64):
            f.prefetch(f.offset(row, str(at)))
    with f.loop("0", "%n", "%" + width, [("ptr", "%next"), ("i64", "%next_count")]) as p:
        next, lines = p.values
        p.next = [f.offset(next, "%next_step"), f.sub(lines, "1")]
        some = f.compare("sgt", lines, "0")
        next, next_rs = f.select(some, next, "%a", "ptr"), f.select(some, "%next_rs", "0")
        vectors = _panel_vectors(f, t, f.sub("%n", p.index), "%panel")
        f.do(f"%{width} = mul i64 {vectors}, {t.lanes}")
        n = f.min("%" + width, f.sub("%n", p.index))
        packed = _is_packed(f, t, packs, n, "%" + width)
        inside = f.at("%scratch", (p.index, k_bytes))
        b = f.select(packed, inside, f.at("%b", (p.index, b_cs)), "ptr")
        rs = f.select(packed, f.mul("%" + width, str(t.itemsize)), b_rs)
        c = f.at("%c", (p.index, c_cs))
        via_tile = scattered
        if not t.masked:
            via_tile = f.either(scattered, f.compare("ne", n, "%" + width))
        whole = f.either(packed, f.compare("eq", n, "%" + width))
        index = f.sub(f.mul(vectors, "2"), f.select(whole, long, "1"))
        kernel = f.load("ptr", f.at("%kernels", (index, "8")))
        into, into_rs = f.select(via_tile, tile, c, "ptr"), f.select(via_tile, tile_rs, "%c_rs")
        adds = f.select(via_tile, "0", "%accumulate")
        values = (
            "%a",
            "%a_rs",
            "%a_cs",
            b,
            rs,
            into,
            into_rs,
            "%m",
            n,
            "%k",
            adds,
            next,
            next_rs,
        )
        args = ", ".join(f"{t} {v}" for (t, _), v in zip(KERNEL_PARAMS, values, strict=True))
        f.do(f"call void {kernel}({args})")
        with f.when(via_tile):
            f.do(
                f"call void @{unpack}(ptr {c}, i64 %c_rs, i64 {c_cs}, ptr {tile}, "
                f"i64 {tile_rs}, i64 %m, i64 {n}, i64 %accumulate)"
            )
    f.do("ret void")
    f.finish()
    return f.name
