"""The library's entry: normalise the problem, cut it into units, run them."""

from __future__ import annotations

from graphc_llvm.emit import Module, Value
from graphc_llvm.gemm.block import (
    POINTERS,
    SLOTS,
    Slots,
    block_function,
    epilogue_call,
    gemm_unit,
)
from graphc_llvm.gemm.code import COLD, Code
from graphc_llvm.gemm.direct import direct_blocks, is_direct
from graphc_llvm.gemm.gemv import gemv_unit
from graphc_llvm.gemm.outer import MOST_TERMS, outer_unit
from graphc_llvm.gemm.pack import unpack_tile
from graphc_llvm.gemm.tiling import SCRATCH_BYTES_PER_THREAD, Tiling

#: The caller's description of a problem, one 8-byte slot each; strides in elements.
DESCRIPTION = SLOTS[:20]

#: Multiply-adds of a block, at least: a few microseconds.
_BLOCK = 1 << 18
#: Blocks of a problem, unless they would be too large.
_BLOCKS = 16

#: What an element of A, B or C costs beside the arithmetic, in multiply-adds.
_ELEMENT = 8
#: What the epilogue costs, in multiply-adds for each element.
_EPILOGUE = 16


def entry(module: Module, t: Tiling) -> str:
    """``i32 gc_gemm_<suffix>(rt, desc, scratch)``; its symbol."""
    unpack = unpack_tile(module, t)
    gemm, gemv = gemm_unit(module, t, unpack), gemv_unit(module, t, unpack)
    cut = _cut(module, t, gemm, gemv, outer_unit(module, t))
    run, split = _run(module, t), _split(module, t, unpack)
    params = [("ptr", "rt"), ("ptr", "desc"), ("ptr", "scratch")]
    f = Code(module, f"gc_gemm_{t.suffix}", "i32", params, attributes=COLD)
    f.do(f"%args = alloca [{len(SLOTS)} x i64], align 8")
    s = Slots(f)
    _normalise(f, t, s)
    with f.guard(f.compare("slt", f.min(f.min(s["m"], s["n"]), s["batch"]), "1"), "i32 0"):
        pass
    chunks = _chunks(f, t, s)
    long = f.compare("sgt", chunks, "1")
    then, otherwise = f.fresh("split"), f.fresh("whole")
    f.branch_if(long, then, otherwise)
    f.label(then)
    f.do(f"ret i32 {f.call('i32', split, ('ptr', '%rt'), ('ptr', '%args'), ('i64', chunks))}")
    f.label(otherwise)
    f.do(f"call void @{cut}(ptr %args)")
    f.do(f"ret i32 {f.call('i32', run, ('ptr', '%rt'), ('ptr', '%args'))}")
    f.finish()
    return f.name


def _chunks(f: Code, t: Tiling, s: Slots) -> Value:
    """Parts of the sum that are added up at the end.

    A small result of a long sum has too few parts for the threads otherwise. Of a matrix with
    contiguous rows that is multiplied by a vector each thread reads rows, as in other passes
    over it, so that they may be in its cache.
    """
    m, n, k = s["m"], s["n"], s["k"]
    area = f.mul(m, n)
    work = f.mul(area, k)
    long = f.both(f.compare("sge", k, "4096"), f.compare("sge", work, str(_BLOCK)))
    parts = f.min(f.min(f.op(f"lshr i64 {work}, 17"), "32"), f.op(f"lshr i64 {k}, 10"))
    rows = f.both(f.compare("eq", m, "1"), f.compare("eq", s["b_cs"], str(t.itemsize)))
    rows = f.both(rows, f.compare("sge", work, str(_BLOCK // 2)))
    few = f.select(rows, f.min("4", f.op(f"lshr i64 {k}, 6")), "1")
    chunks = f.max(few, f.select(long, parts, "1"))
    fits = f.compare("sle", area, str(t.partials // 4))
    return f.select(f.both(fits, f.compare("eq", s["batch"], "1")), chunks, "1")


def _normalise(f: Code, t: Tiling, s: Slots) -> None:
    """Fill the problem's slots, transposed if that makes rows of C contiguous or m = 1."""
    d = {name: f.load("ptr" if name in POINTERS else "i64", f.offset("%desc", str(8 * i)))
         for i, name in enumerate(DESCRIPTION)}  # fmt: skip
    by_column = f.both(f.compare("eq", d["c_rs"], "1"), f.compare("ne", d["c_cs"], "1"))
    swap = f.either(by_column, f.compare("eq", d["n"], "1"))
    swap = f.both(swap, f.compare("ne", d["m"], "1"))
    swap = f.either(swap, _transposes_less(f, d))
    for x, y in (("m", "n"), ("c_rs", "c_cs"), ("a", "b"), ("a_bs", "b_bs"),
                 ("a_rs", "b_cs"), ("a_cs", "b_rs")):  # fmt: skip
        type = "ptr" if x == "a" else "i64"
        d[x], d[y] = f.select(swap, d[y], d[x], type), f.select(swap, d[x], d[y], type)
    for name, value in d.items():
        is_stride = name.endswith(("_bs", "_rs", "_cs"))
        s[name] = f.mul(value, str(t.itemsize)) if is_stride else value
    s["swapped"] = f.op(f"zext i1 {swap} to i64")
    s["scratch"] = "%scratch"
    s["k_step"], s["k_total"] = "0", d["k"]


def _transposes_less(f: Code, d: dict[str, Value]) -> Value:
    """Whether columns of B are contiguous, and A and C much smaller: it is they that are
    transposed then."""
    m, n, k = d["m"], d["n"], d["k"]
    along_k = f.both(f.compare("eq", d["b_rs"], "1"), f.compare("ne", d["b_cs"], "1"))
    few = f.compare("slt", f.mul(f.mul(m, "6"), f.add(n, k)), f.mul(n, k))
    enough = f.both(f.compare("sge", m, "3"), f.compare("sge", k, "32"))
    return f.both(f.both(along_k, few), enough)


def _run(module: Module, t: Tiling) -> str:
    """Run all units, in parallel if that is worth it; the pool's status."""
    blocks = block_function(module, t, SCRATCH_BYTES_PER_THREAD)
    f = Code(module, f"gemm_run_{t.suffix}", "i32", [("ptr", "rt"), ("ptr", "args")],
             internal=True, attributes=COLD)  # fmt: skip
    s = Slots(f)
    units, group = s["units"], s["group"]
    blocks = f"@{blocks}"
    if t.masked:
        blocks = f.select(is_direct(f, t, s), f"@{direct_blocks(module, t)}", blocks, "ptr")
    one = f.compare("sle", units, group)
    serial = f.either(one, f.op("icmp eq ptr %rt, null"))
    with f.guard(serial, "i32 0"):
        f.do(f"call void {blocks}(ptr %args, i64 0, i64 {units}, i64 0)")
    count = f.ceil_div(units, group)
    values = (("ptr", "%rt"), ("ptr", blocks), ("ptr", "%args"), ("i64", count))
    f.do(f"ret i32 {f.call('i32', 'gc_parallel', *values)}")
    f.finish()
    return f.name


def _split(module: Module, t: Tiling, unpack: str) -> str:
    """Cut k into at most ``chunks`` parts that make a batch, then add up their results."""
    params = [("ptr", "rt"), ("ptr", "args"), ("i64", "chunks")]
    f = Code(module, f"gemm_split_{t.suffix}", "i32", params, internal=True, attributes=COLD)
    s = Slots(f)
    c, c_rs, c_cs, accumulate = s["c"], s["c_rs"], s["c_cs"], s["accumulate"]
    m, n, k = s["m"], s["n"], s["k"]
    area = f.op(f"and i64 {f.add(f.mul(m, n), str(t.lanes - 1))}, {-t.lanes}")
    chunks = f.min("%chunks", f.div(str(t.partials), area))
    part = f.op(f"and i64 {f.add(f.ceil_div(k, chunks), '15')}, -16")
    chunks = f.ceil_div(k, part)
    partials = f.offset(s["scratch"], str(t.partials_offset))
    item = str(t.itemsize)
    bytes = f.mul(area, item)
    n_bytes = f.mul(n, item)
    s["c"], s["c_bs"], s["c_rs"], s["c_cs"] = partials, bytes, n_bytes, item
    s["accumulate"], s["batch"], s["k"], s["k_step"] = "0", chunks, part, part
    epilogue = s["epilogue"]
    s["epilogue"] = "null"
    s["a_bs"], s["b_bs"] = f.mul(part, s["a_cs"]), f.mul(part, s["b_rs"])
    f.do(f"call void @gemm_cut_{t.suffix}(ptr %args)")
    status = f.call("i32", f"gemm_run_{t.suffix}", ("ptr", "%rt"), ("ptr", "%args"))
    with f.guard(f.op(f"icmp ne i32 {status}, 0"), f"i32 {status}"):
        pass
    with f.loop("1", chunks) as p, f.loop("0", bytes, str(t.target.vector_bytes)) as e:
        total = f.offset(partials, e.index)
        x = f.load(t.vector, total, t.itemsize)
        y = f.load(t.vector, f.at(total, (p.index, bytes)), t.itemsize)
        f.store(t.vector, f.op(f"fadd {t.vector} {x}, {y}"), total, t.itemsize)
    f.do(
        f"call void @{unpack}(ptr {c}, i64 {c_rs}, i64 {c_cs}, ptr {partials}, i64 {n_bytes}, "
        f"i64 {m}, i64 {n}, i64 {accumulate})"
    )
    s["epilogue"], s["c_cs"] = epilogue, c_cs
    f.do(
        f"call void @{epilogue_call(module, t)}(ptr %args, ptr {c}, i64 {c_rs}, i64 0, "
        f"i64 {m}, i64 0, i64 {n})"
    )
    f.do("ret i32 0")
    f.finish()
    return f.name


def _cut(module: Module, t: Tiling, gemm: str, gemv: str, outer: str) -> str:
    """Choose blocks by the sizes alone: what is computed does not depend on threads."""
    f = Code(
        module,
        f"gemm_cut_{t.suffix}",
        "void",
        [("ptr", "args")],
        internal=True,
        attributes=COLD,
    )
    s = Slots(f)
    m, n, k = s["m"], s["n"], s["k"]
    work = _work(f, s, m, n)
    s["m_block"], s["n_block"] = m, n
    s["m_blocks"] = s["n_blocks"] = s["group"] = "1"
    s["n_merged"] = "1"
    s["depth"] = str(t.depth)
    is_gemv = _choose_unit(f, t, s, gemm, gemv, outer)
    with f.when(f.compare("sgt", k, str(t.depth))):
        s["depth"] = f.ceil_div(k, f.ceil_div(k, str(t.depth)))
    small = f.both(f.compare("slt", work, str(2 * _BLOCK)), f.compare("sle", n, str(t.columns)))
    large = f.negate(small)
    with f.when(f.both(large, is_gemv)):
        _cut_vector(f, t, s, work)
    with f.when(f.both(large, f.negate(is_gemv))):
        _cut_matrix(f, t, s, work)
    s["units"] = f.mul(s["batch"], f.mul(s["n_blocks"], s["m_blocks"]))
    unit = _work(f, s, s["m_block"], s["n_block"])
    s["group"] = f.max("1", f.div(str(_BLOCK), unit))
    _choose_packing(f, t, s)
    f.do("ret void")
    f.finish()
    return f.name


def _choose_packing(f: Code, t: Tiling, s: Slots) -> None:
    """Pack B if its rows are not contiguous or read often, A if its rows are not contiguous."""
    item = str(t.itemsize)
    scattered = f.compare("ne", s["b_cs"], item)
    reused = f.compare("sge", s["m"], "96")
    s["pack_b"] = f.op(f"zext i1 {f.either(scattered, reused)} to i64")
    strided = f.compare("ne", s["a_cs"], item)
    wide = f.compare("sge", s["n_block"], str(2 * t.vectors * t.lanes))
    # Rows at a multiple of half a page meet in few sets of the first-level cache.
    conflicts = f.compare("eq", f.op(f"and i64 {s['a_rs']}, 2047"), "0")
    aligned = f.both(conflicts, f.compare("sge", s["n_block"], "256"))
    needed = f.either(f.both(strided, wide), aligned)
    s["pack_a"] = f.op(f"zext i1 {needed} to i64")


def _choose_unit(f: Code, t: Tiling, s: Slots, gemm: str, gemv: str, outer: str) -> Value:
    """Set the unit's function; whether it is the one for products with a vector."""
    item = str(t.itemsize)
    along_n, along_k = f.compare("eq", s["b_cs"], item), f.compare("eq", s["b_rs"], item)
    single = f.compare("eq", s["n"], "1")
    dots = f.both(along_k, f.either(single, f.negate(along_n)))
    s["by_dots"] = f.op(f"zext i1 {dots} to i64")
    is_gemv = f.both(f.compare("eq", s["m"], "1"), f.either(along_n, along_k))
    few = f.compare("ult", f.sub(s["k"], "1"), str(MOST_TERMS))
    contiguous = f.both(along_n, f.compare("eq", s["c_cs"], item))
    is_outer = f.both(f.both(few, contiguous), f.compare("sge", s["n"], str(4 * t.lanes)))
    matrix = f.select(is_outer, f"@{outer}", f"@{gemm}", "ptr")
    s["unit"] = f.select(is_gemv, f"@{gemv}", matrix, "ptr")
    return is_gemv


def _work(f: Code, s: Slots, m: Value, n: Value) -> Value:
    """What a part of C of m rows and n columns costs, in multiply-adds."""
    elements = f.add(f.mul(f.add(m, n), s["k"]), f.mul(m, n))
    finishes = f.op(f"icmp ne ptr {s['epilogue']}, null")
    each = f.add(s["k"], f.select(finishes, str(_EPILOGUE), "0"))
    return f.add(f.mul(elements, str(_ELEMENT)), f.mul(f.mul(m, n), each))


def _wanted(f: Code, work: Value) -> Value:
    """How many blocks a product should have."""
    return _power_of_two(f, f.min(f.div(work, str(_BLOCK)), str(_BLOCKS)))


def _power_of_two(f: Code, count: Value) -> Value:
    """The largest one up to ``count``, at least 1: it has as many parts for each thread."""
    zeros = f.call("i64", "llvm.ctlz.i64", ("i64", f.max("1", count)), ("i1", "true"))
    return f.op(f"lshr i64 {-1 << 63}, {zeros}")


def _cut_vector(f: Code, t: Tiling, s: Slots, work: Value) -> None:
    """Blocks of columns: whole cache lines."""
    n = s["n"]
    n_block = f.min(f.ceil_div(n, _wanted(f, work)), "2048")
    n_block = f.op(f"and i64 {f.add(n_block, '63')}, -64")
    s["n_block"], s["n_blocks"] = n_block, f.ceil_div(n, n_block)
    s["n_merged"] = str(_BLOCKS)


def _cut_matrix(f: Code, t: Tiling, s: Slots, work: Value) -> None:
    """Blocks of rows or of columns, whichever are more; none above 2^27 multiply-adds."""
    width = str(t.vectors * t.lanes)
    m, n = s["m"], s["n"]
    wanted = _wanted(f, work)
    panels = f.ceil_div(n, width)
    fewest = f.ceil_div(n, str(t.columns))
    # Blocks of a column share packed B, those of a row packed A.
    split = f.min(wanted, f.ceil_div(panels, "2"))
    n_blocks = f.max(fewest, f.select(f.compare("sgt", n, m), split, "1"))
    # Fewer rows would use packed B too little.
    most = _power_of_two(f, f.div(m, "48"))
    bound = f.op(f"lshr i64 {work}, 27")
    m_blocks = f.min(f.max(f.ceil_div(wanted, n_blocks), f.ceil_div(bound, n_blocks)), most)
    n_blocks = f.max(n_blocks, f.min(f.ceil_div(bound, m_blocks), f.ceil_div(panels, "2")))
    n_block = f.mul(f.ceil_div(panels, n_blocks), width)
    # Tiles fill an even number of rows.
    m_block = f.op(f"and i64 {f.add(f.ceil_div(m, m_blocks), '1')}, -2")
    s["n_block"], s["m_block"] = n_block, m_block
    s["n_blocks"], s["m_blocks"] = f.ceil_div(n, n_block), f.ceil_div(m, m_block)
    s["n_merged"] = f.div(str(t.columns), n_block)
