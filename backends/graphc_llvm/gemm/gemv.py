"""Products with a vector: y[n] (+)= x[k] B[k,n], limited by reading B once."""

from __future__ import annotations

from graphc_llvm.emit import Module, Value
from graphc_llvm.gemm.block import UNIT_PARAMS, Slots, epilogue_call
from graphc_llvm.gemm.code import Code
from graphc_llvm.gemm.micro import fma, load_vector, mask_below, splat, store_vector
from graphc_llvm.gemm.tiling import Tiling

_ROWS = 8
_DOTS = 4
_UNROLL = 2

#: Columns that inner products ask for in advance, as long as that is no farther than ``_FAR``
#: bytes each: short ones are not foreseen by the processor.
_COLUMNS_AHEAD = 2 * _DOTS
_FAR = 2048


def gemv_unit(module: Module, t: Tiling, unpack: str) -> str:
    """A unit of a product with m = 1, where B has unit stride along n or along k."""
    combine, dots = _combination(module, t), _dots_any_x(module, t)
    f = Code(module, f"gemv_unit_{t.suffix}", "void", UNIT_PARAMS, internal=True)
    s = Slots(f)
    k = f.min(s["k"], f.sub(s["k_total"], f.mul("%batch", s["k_step"])))
    b_rs, b_cs, c_cs = s["b_rs"], s["b_cs"], s["c_cs"]
    x = f.at(s["a"], ("%batch", s["a_bs"]))
    b = f.at(s["b"], ("%batch", s["b_bs"]), ("%column", b_cs))
    y = f.at(s["c"], ("%batch", s["c_bs"]), ("%column", c_cs))
    source = f"ptr {x}, i64 {s['a_cs']}, ptr {b}"
    accumulate = s["accumulate"]
    finish = (
        f"call void @{epilogue_call(module, t)}(ptr %args, ptr {y}, i64 {s['c_rs']}, i64 0, "
        f"i64 1, i64 %column, i64 %n)"
    )
    with f.guard(f.compare("ne", s["by_dots"], "0"), "void"):
        f.do(
            f"call void @{dots}({source}, i64 {b_cs}, ptr {y}, i64 {c_cs}, i64 %n, i64 {k}, "
            f"i64 {accumulate}, ptr %scratch)"
        )
        f.do(finish)
    with f.guard(f.compare("eq", c_cs, str(t.itemsize)), "void"):
        f.do(
            f"call void @{combine}({source}, i64 {b_rs}, ptr {y}, i64 %n, i64 {k}, "
            f"i64 {accumulate})"
        )
        f.do(finish)
    f.do(f"call void @{combine}({source}, i64 {b_rs}, ptr %scratch, i64 %n, i64 {k}, i64 0)")
    f.do(
        f"call void @{unpack}(ptr {y}, i64 0, i64 {c_cs}, ptr %scratch, i64 0, i64 1, i64 %n, "
        f"i64 {accumulate})"
    )
    f.do(finish)
    f.do("ret void")
    f.finish()
    return f.name


def _combination(module: Module, t: Tiling) -> str:
    """y (+)= sum of x[i] times row i of B, several contiguous rows at a time."""
    many, one = _combine_rows(module, t, _ROWS), _combine_rows(module, t, 1)
    params = [("ptr", "x"), ("i64", "x_cs"), ("ptr", "b"), ("i64", "b_rs"), ("ptr", "y")]
    params += [("i64", "n"), ("i64", "k"), ("i64", "accumulate")]
    f = Code(module, f"gemv_combine_{t.suffix}", "void", params, internal=True)
    fresh = f.compare("eq", "%accumulate", "0")
    with f.loop("0", f.select(fresh, "%n", "0")) as j:
        zero = f.at("%y", (j.index, str(t.itemsize)))
        f.store(t.type, "0.0", zero, t.itemsize)
    whole = f.op(f"and i64 %k, {-_ROWS}")
    for begin, end, step, function in (("0", whole, _ROWS, many), (whole, "%k", 1, one)):
        with f.loop(begin, end, str(step)) as i:
            x, b = f.at("%x", (i.index, "%x_cs")), f.at("%b", (i.index, "%b_rs"))
            f.do(
                f"call void @{function}(ptr {x}, i64 %x_cs, ptr {b}, i64 %b_rs, ptr %y, i64 %n)"
            )
    f.do("ret void")
    f.finish()
    return f.name


def _combine_rows(module: Module, t: Tiling, rows: int) -> str:
    params = [("ptr", "x"), ("i64", "x_cs"), ("ptr", "b"), ("i64", "b_rs"), ("ptr", "y")]
    params += [("i64", "n")]
    f = Code(module, f"gemv_combine_{rows}_{t.suffix}", "void", params, internal=True)
    x = [f.load(t.type, f.at("%x", (str(i), "%x_cs")), t.itemsize) for i in range(rows)]
    b = [f.at("%b", (str(i), "%b_rs")) for i in range(rows)]
    whole = f.op(f"and i64 %n, {-t.lanes}")
    wide = [splat(f, t, v) for v in x]
    with f.loop("0", whole, str(t.lanes)) as j:
        _combine_at(f, t, wide, b, f.mul(j.index, str(t.itemsize)), "")
    if t.masked:
        with f.when(f.compare("ne", whole, "%n")):
            mask = mask_below(f, t, f.sub("%n", whole))
            _combine_at(f, t, wide, b, f.mul(whole, str(t.itemsize)), mask)
    else:
        with f.loop(whole, "%n") as j:
            at = f.mul(j.index, str(t.itemsize))
            y = f.offset("%y", at)
            row = [f.load(t.type, f.offset(p, at), t.itemsize) for p in b]
            total = _chains(f, t, x, row, f.load(t.type, y, t.itemsize), t.type)
            f.store(t.type, total, y, t.itemsize)
    f.do("ret void")
    f.finish()
    return f.name


def _combine_at(
    f: Code, t: Tiling, x: list[Value], b: list[Value], at: Value, mask: Value
) -> None:
    y = f.offset("%y", at)
    rows = [load_vector(f, t, f.offset(p, at), mask) for p in b]
    total = _chains(f, t, x, rows, load_vector(f, t, y, mask), t.vector)
    store_vector(f, t, total, y, mask)


def _chains(f: Code, t: Tiling, x: list[Value], b: list[Value], y: Value, type: str) -> Value:
    """y + sum of x[i] b[i], as four sums, for narrow B waits on latency."""
    sums = [y]
    for i, (v, row) in enumerate(zip(x, b, strict=True)):
        if 0 < i < 4:
            sums.append(f.op(f"fmul {type} {v}, {row}"))
        else:
            sums[i % 4] = fma(f, t, v, row, sums[i % 4], type)
    while len(sums) > 1:
        pairs = zip(sums[::2], sums[1::2], strict=True)
        sums = [f.op(f"fadd {type} {p}, {q}") for p, q in pairs]
    return sums[0]


_DOT_PARAMS = (
    ("ptr", "x"),
    ("i64", "x_cs"),
    ("ptr", "b"),
    ("i64", "b_cs"),
    ("ptr", "y"),
    ("i64", "y_cs"),
    ("i64", "n"),
    ("i64", "k"),
    ("i64", "accumulate"),
    ("ptr", "scratch"),
)


def _dots_any_x(module: Module, t: Tiling) -> str:
    """y[j] (+)= x . column j of B, contiguous; x is copied if it is not."""
    dots = _dots(module, t)
    f = Code(module, f"gemv_dots_{t.suffix}", "void", _DOT_PARAMS, internal=True)
    item = str(t.itemsize)
    tight = f.compare("eq", "%x_cs", item)
    chunk = f.select(tight, f.max("%k", "1"), str(16384 // t.itemsize))
    with f.loop("0", f.max("%k", "1"), chunk, [("i64", "%accumulate")]) as p:
        k = f.min(chunk, f.sub("%k", p.index))
        source = f.at("%x", (p.index, "%x_cs"))
        with f.loop("0", f.select(tight, "0", k)) as i:
            value = f.load(t.type, f.at(source, (i.index, "%x_cs")), t.itemsize)
            f.store(t.type, value, f.at("%scratch", (i.index, item)), t.itemsize)
        x = f.select(tight, source, "%scratch", "ptr")
        with f.loop("0", "%n", str(_DOTS)) as j:
            b = f.at("%b", (j.index, "%b_cs"), (p.index, item))
            y = f.at("%y", (j.index, "%y_cs"))
            f.do(
                f"call void @{dots}(ptr {x}, ptr {b}, i64 %b_cs, ptr {y}, i64 %y_cs, "
                f"i64 {f.sub('%n', j.index)}, i64 {k}, i64 {p.values[0]})"
            )
        p.next = ["1"]
    f.do("ret void")
    f.finish()
    return f.name


def _dots(module: Module, t: Tiling) -> str:
    """Up to ``_DOTS`` inner products at once; from n on the last one is repeated."""
    params = [p for p in _DOT_PARAMS if p[1] not in ("x_cs", "scratch")]
    f = Code(module, f"gemv_dot_{t.suffix}", "void", params, internal=True)
    last = f.sub("%n", "1")
    index = [f.min(str(i), last) for i in range(_DOTS)]
    b = [f.at("%b", (i, "%b_cs")) for i in index]
    y = [f.at("%y", (i, "%y_cs")) for i in index]
    adds = f.compare("ne", "%accumulate", "0")
    old = [f.select(adds, f.load(t.type, p, t.itemsize), "0.0", t.type) for p in y]
    step = _UNROLL * t.lanes
    whole = f.op(f"and i64 %k, {-step}")
    zeros = [(t.vector, "zeroinitializer")] * (_DOTS * _UNROLL)
    near = f.compare("ult", "%b_cs", str(_FAR))
    ahead = f.select(near, f.mul("%b_cs", str(_COLUMNS_AHEAD)), str(_FAR))
    with f.loop("0", whole, str(step), zeros) as k:
        at = f.mul(k.index, str(t.itemsize))
        for column in b:
            later = f.offset(f.offset(column, at), ahead)
            for line in range(0, step * t.itemsize, 64):
                f.prefetch(f.offset(later, str(line)))
        k.next = _dot_step(f, t, b, at, list(k.values), [""] * _UNROLL)
    acc = list(k.values)
    at = f.mul(whole, str(t.itemsize))
    if t.masked:
        left = f.sub("%k", whole)
        masks = [mask_below(f, t, f.sub(left, str(u * t.lanes))) for u in range(_UNROLL)]
        acc = _dot_step(f, t, b, at, acc, masks)
    sums = [_sum(f, t, acc[i * _UNROLL : (i + 1) * _UNROLL]) for i in range(_DOTS)]
    if not t.masked:
        with f.loop(whole, "%k", carried=[(t.type, s) for s in sums]) as rest:
            at = f.mul(rest.index, str(t.itemsize))
            x = f.load(t.type, f.offset("%x", at), t.itemsize)
            row = [f.load(t.type, f.offset(p, at), t.itemsize) for p in b]
            rest.next = [
                fma(f, t, x, v, s, t.type) for v, s in zip(row, rest.values, strict=True)
            ]
        sums = list(rest.values)
    for p, before, total in zip(y, old, sums, strict=True):
        f.store(t.type, f.op(f"fadd {t.type} {before}, {total}"), p, t.itemsize)
    f.do("ret void")
    f.finish()
    return f.name


def _dot_step(
    f: Code, t: Tiling, b: list[Value], at: Value, acc: list[Value], masks: list[Value]
) -> list[Value]:
    where = [f.offset(at_u, str(u * t.target.vector_bytes)) if u else at_u
             for u, at_u in enumerate([f.offset("%x", at)] * _UNROLL)]  # fmt: skip
    x = [load_vector(f, t, p, m) for p, m in zip(where, masks, strict=True)]
    out = []
    for i, row in enumerate(b):
        base = f.offset(row, at)
        for u in range(_UNROLL):
            p = f.offset(base, str(u * t.target.vector_bytes)) if u else base
            out.append(fma(f, t, x[u], load_vector(f, t, p, masks[u]), acc[i * _UNROLL + u]))
    return out


def _sum(f: Code, t: Tiling, vectors: list[Value]) -> Value:
    """The sum of all lanes; -0.0 is the neutral element of addition."""
    total = vectors[0]
    for v in vectors[1:]:
        total = f.op(f"fadd {t.vector} {total}, {v}")
    name = f"llvm.vector.reduce.fadd.v{t.lanes}{t.suffix}"
    return f.call(t.type, name, (t.type, "-0.0"), (t.vector, total), flags="reassoc")
