"""The library's entry: normalise the problem, cut it into units, run them."""

from __future__ import annotations

from graphc_llvm.emit import Module, Value
from graphc_llvm.gemm.block import SLOTS, Slots, block_function
from graphc_llvm.gemm.code import Code
from graphc_llvm.gemm.tiling import SCRATCH_BYTES_PER_THREAD, Tiling

#: The caller's description of a problem, one 8-byte slot each; strides in elements.
DESCRIPTION = SLOTS[:17]

_SMALL = 1 << 18
_SERIAL = 20_000


def entry(module: Module, t: Tiling) -> str:
    """``i32 gc_gemm_<suffix>(rt, desc, scratch)``; its symbol."""
    blocks = block_function(module, t, SCRATCH_BYTES_PER_THREAD)
    params = [("ptr", "rt"), ("ptr", "desc"), ("ptr", "scratch")]
    f = Code(module, f"gc_gemm_{t.suffix}", "i32", params)
    f.do(f"%args = alloca [{len(SLOTS)} x i64], align 8")
    s = Slots(f)
    _normalise(f, t, s)
    work = f.mul(f.mul(s["m"], s["n"]), s["k"])
    with f.guard(f.compare("slt", _smallest(f, s), "1"), "i32 0"):
        pass
    _cut(f, t, s, work)
    count = f.ceil_div(s["units"], s["group"])
    serial = f.both(
        f.compare("slt", f.mul(work, s["batch"]), str(_SERIAL)), f.compare("eq", count, "1")
    )
    serial = f.either(serial, f.op("icmp eq ptr %rt, null"))
    with f.guard(serial, "i32 0"):
        f.do(f"call void @{blocks}(ptr %args, i64 0, i64 {count}, i64 0)")
    values = (("ptr", "%rt"), ("ptr", f"@{blocks}"), ("ptr", "%args"), ("i64", count))
    f.do(f"ret i32 {f.call('i32', 'gc_parallel', *values)}")
    f.finish()
    return f.name


def _smallest(f: Code, s: Slots) -> Value:
    return f.min(f.min(s["batch"], s["m"]), s["n"])


def _normalise(f: Code, t: Tiling, s: Slots) -> None:
    """Fill the problem's slots, transposed if C's rows are not contiguous but its columns are."""
    d = {name: f.load("ptr" if name in "abc" else "i64", f.offset("%desc", str(8 * i)))
         for i, name in enumerate(DESCRIPTION)}  # fmt: skip
    by_column = f.compare("eq", d["c_rs"], "1")
    swap = f.both(by_column, f.compare("ne", d["c_cs"], "1"))
    for x, y in (("m", "n"), ("c_rs", "c_cs"), ("a", "b"), ("a_bs", "b_bs"),
                 ("a_rs", "b_cs"), ("a_cs", "b_rs")):  # fmt: skip
        type = "ptr" if x == "a" else "i64"
        d[x], d[y] = f.select(swap, d[y], d[x], type), f.select(swap, d[x], d[y], type)
    for name, value in d.items():
        is_stride = name.endswith(("_bs", "_rs", "_cs"))
        s[name] = f.mul(value, str(t.itemsize)) if is_stride else value
    s["scratch"] = "%scratch"
    s["k_step"], s["k_total"] = "0", d["k"]


def _cut(f: Code, t: Tiling, s: Slots, work: Value) -> None:
    """Choose blocks by the sizes alone, so that results do not depend on threads."""
    m, n, k = s["m"], s["n"], s["k"]
    s["m_block"], s["n_block"] = m, n
    s["m_blocks"] = s["n_blocks"] = s["group"] = "1"
    s["units"] = s["batch"]
    s["depth"] = str(t.depth)
    small = f.both(
        f.compare("slt", work, str(_SMALL)), f.compare("sle", n, str(t.columns))
    )
    with f.when(f.compare("sgt", k, str(t.depth))):
        s["depth"] = f.ceil_div(k, f.ceil_div(k, str(t.depth)))
    with f.when(f.negate(small)):
        _cut_large(f, t, s, work)
    unit = f.mul(f.mul(s["m_block"], s["n_block"]), f.max(k, "1"))
    with f.when(f.both(f.compare("ne", s["batch"], "1"), f.compare("slt", unit, str(_SMALL)))):
        s["group"] = f.ceil_div(str(_SMALL), unit)
    width = t.vectors * t.lanes
    strided = f.compare("ne", s["b_cs"], str(t.itemsize))
    reused = f.compare("sge", s["m_block"], "48")
    s["pack_b"] = f.op(f"zext i1 {f.either(strided, reused)} to i64")
    wide = f.compare("sge", s["n_block"], str(4 * width))
    s["pack_a"] = f.op(f"zext i1 {wide} to i64")


def _cut_large(f: Code, t: Tiling, s: Slots, work: Value) -> None:
    """About one unit per 2^20 multiply-adds, at most 16 but none above 2^27."""
    width = str(t.vectors * t.lanes)
    m, n = s["m"], s["n"]
    wanted = f.max("1", f.min(f.op(f"lshr i64 {work}, 20"), "16"))
    panels = f.ceil_div(n, width)
    fewest = f.ceil_div(n, str(t.columns))
    # Splitting n repeats no packing of B, but leaves fewer columns to share packed A.
    split = f.min(wanted, f.ceil_div(panels, "2"))
    low = f.compare("sle", m, "256")
    n_blocks = f.max(fewest, f.select(low, split, "1"))
    m_blocks = f.min(f.ceil_div(wanted, n_blocks), f.max("1", f.op(f"lshr i64 {m}, 7")))
    enough = f.ceil_div(f.op(f"lshr i64 {work}, 27"), n_blocks)
    m_blocks = f.max(m_blocks, enough)
    n_block = f.mul(f.ceil_div(panels, n_blocks), width)
    m_block = f.mul(f.ceil_div(f.ceil_div(m, str(t.rows)), m_blocks), str(t.rows))
    s["n_block"], s["m_block"] = n_block, m_block
    s["n_blocks"], s["m_blocks"] = f.ceil_div(n, n_block), f.ceil_div(m, m_block)
    s["units"] = f.mul(s["batch"], f.mul(s["n_blocks"], s["m_blocks"]))
