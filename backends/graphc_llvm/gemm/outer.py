"""Sums of few outer products, C[m,n] (+)= A[m,k] B[k,n] with small k: limited by writing C."""

from __future__ import annotations

from graphc_llvm.emit import Module, Value
from graphc_llvm.gemm.block import UNIT_PARAMS, Slots, epilogue_call
from graphc_llvm.gemm.code import COLD, Code
from graphc_llvm.gemm.micro import fma, load_vector, mask_below, splat, store_vector
from graphc_llvm.gemm.tiling import Tiling

#: Sums of at most so many terms are done here.
MOST_TERMS = 2

#: Rows of C that the epilogue is run on at a time: they stay in the first-level cache.
_STRIP = 4

#: Bytes of C that are asked for in advance if its next row is farther away.
_AHEAD = 2048


def outer_unit(module: Module, t: Tiling) -> str:
    """A unit with 1 <= k <= ``MOST_TERMS``, rows of B and C contiguous."""
    f = Code(
        module, f"outer_unit_{t.suffix}", "void", UNIT_PARAMS, internal=True, attributes=COLD
    )
    s = Slots(f)
    a_rs, a_cs, b_rs, c_rs = s["a_rs"], s["a_cs"], s["b_rs"], s["c_rs"]
    a = f.at(s["a"], ("%batch", s["a_bs"]), ("%row", a_rs))
    b = f.at(s["b"], ("%batch", s["b_bs"]), ("%column", s["b_cs"]))
    c = f.at(s["c"], ("%batch", s["c_bs"]), ("%row", c_rs), ("%column", s["c_cs"]))
    finish = epilogue_call(module, t)
    some = f.op(f"icmp ne ptr {s['epilogue']}, null")
    needed = f.op(f"or i64 {s['keeps']}, {s['accumulate']}")
    own = f.both(some, f.compare("eq", needed, "0"))
    own_c, own_rs = f.offset("%scratch", str(t.own_offset)), str(t.own_row_bytes)
    out_rs = f.select(own, own_rs, c_rs)
    with f.loop("0", "%m", f.select(some, str(_STRIP), "%m")) as i:
        m = f.min(f.select(some, str(_STRIP), "%m"), f.sub("%m", i.index))
        a_part, c_part = f.at(a, (i.index, a_rs)), f.at(c, (i.index, c_rs))
        c_part = f.select(own, own_c, c_part, "ptr")
        for terms in range(1, MOST_TERMS + 1):
            for accumulate in (False, True):
                rows = _rows(module, t, terms, accumulate)
                adds = f.compare("ne" if accumulate else "eq", s["accumulate"], "0")
                with f.when(f.both(f.compare("eq", s["k"], str(terms)), adds)):
                    f.do(
                        f"call void @{rows}(ptr {a_part}, i64 {a_rs}, i64 {a_cs}, ptr {b}, "
                        f"i64 {b_rs}, ptr {c_part}, i64 {out_rs}, i64 {m}, i64 %n)"
                    )
        f.do(
            f"call void @{finish}(ptr %args, ptr {c_part}, i64 {out_rs}, "
            f"i64 {f.add('%row', i.index)}, i64 {m}, i64 %column, i64 %n)"
        )
    f.do("ret void")
    f.finish()
    return f.name


def _rows(module: Module, t: Tiling, terms: int, accumulate: bool) -> str:
    """All of C row by row, in the order of memory; strides in bytes."""
    params = [("ptr", "a"), ("i64", "a_rs"), ("i64", "a_cs"), ("ptr", "b"), ("i64", "b_rs")]
    params += [("ptr", "c"), ("i64", "c_rs"), ("i64", "m"), ("i64", "n")]
    name = f"outer_{terms}{'_add' * accumulate}_{t.suffix}"
    f = Code(module, name, "void", params, internal=True)
    b = [f.at("%b", (str(p), "%b_rs")) for p in range(terms)]
    whole = f.op(f"and i64 %n, {-t.lanes}")
    near = f.compare("ult", "%c_rs", str(2 * _AHEAD))
    ahead = f.select(near, "%c_rs", str(_AHEAD))
    mask = mask_below(f, t, f.sub("%n", whole)) if t.masked else ""
    with f.loop("0", "%m", carried=[("ptr", "%a"), ("ptr", "%c")]) as i:
        a, c = i.values
        x = [f.load(t.type, f.at(a, (str(p), "%a_cs")), t.itemsize) for p in range(terms)]
        wide = [splat(f, t, v) for v in x]
        with f.loop("0", whole, str(t.lanes)) as j:
            at = f.mul(j.index, str(t.itemsize))
            to = f.offset(c, at)
            f.prefetch(f.offset(to, ahead))
            y = [load_vector(f, t, f.offset(p, at)) for p in b]
            old = load_vector(f, t, to) if accumulate else ""
            store_vector(f, t, _sum(f, t, wide, y, old, t.vector), to)
        at = f.mul(whole, str(t.itemsize))
        if t.masked:
            to = f.offset(c, at)
            y = [load_vector(f, t, f.offset(p, at), mask) for p in b]
            old = load_vector(f, t, to, mask) if accumulate else ""
            store_vector(f, t, _sum(f, t, wide, y, old, t.vector), to, mask)
        else:
            with f.loop(whole, "%n") as j:
                at = f.mul(j.index, str(t.itemsize))
                to = f.offset(c, at)
                y = [f.load(t.type, f.offset(p, at), t.itemsize) for p in b]
                old = f.load(t.type, to, t.itemsize) if accumulate else ""
                f.store(t.type, _sum(f, t, x, y, old, t.type), to, t.itemsize)
        i.next = [f.offset(a, "%a_rs"), f.offset(c, "%c_rs")]
    f.do("ret void")
    f.finish()
    return f.name


def _sum(f: Code, t: Tiling, x: list[Value], y: list[Value], old: Value, type: str) -> Value:
    """Sum of x[p] y[p], added to ``old`` (if any) when it is complete."""
    total = f.op(f"fmul {type} {x[0]}, {y[0]}")
    for v, row in zip(x[1:], y[1:], strict=True):
        total = fma(f, t, v, row, total, type)
    return f.op(f"fadd {type} {old}, {total}") if old else total
