"""Loop programs of every kind, and how their lowered code is run beside the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from graphc.loops.ir import (
    Accumulate,
    Accumulator,
    BandKernel,
    Buffer,
    CheckedIndex,
    Compute,
    Const,
    ContractionKernel,
    Epilogue,
    Index,
    Load,
    Loop,
    LoopKernel,
    Operand,
    Position,
    Program,
    Store,
)
from graphc.types import (
    DType,
    Size,
    bool_,
    evaluate_size,
    float32,
    float64,
    int8,
    int32,
    int64,
    product,
    symbol,
    uint8,
)
from graphc_llvm.target import host
from loops_jit import Loaded
from tests.reference.loops import evaluate

LEVELS = ("native", "avx2", "sse2")
#: Around the vector widths of all targets, and what takes the main loop and its tail.
EXTENTS = (0, 1, 4, 7, 8, 15, 16, 17, 53, 200)
#: Work that makes a block of every few iterations.
HEAVY = 1 << 13


def at(*terms: Any, offset: Size = 0) -> Index:
    """``at("i", ("j", n))`` is ``i + n*j``."""
    return Index(tuple(t if isinstance(t, tuple) else (t, 1) for t in terms), offset)


def vector(var: str, extent: Size, *body: Any, **options: Any) -> Loop:
    return Loop(var, extent, "vector", tuple(body), **options)


def serial(var: str, extent: Size, *body: Any, **options: Any) -> Loop:
    return Loop(var, extent, "serial", tuple(body), **options)


def inputs(**shapes: tuple[DType, Any]) -> tuple[Buffer, ...]:
    return tuple(Buffer(n, d, s, "input") for n, (d, s) in shapes.items())


def outputs(**shapes: tuple[DType, Any]) -> tuple[Buffer, ...]:
    return tuple(Buffer(n, d, s, "output") for n, (d, s) in shapes.items())


def program(ins: Any, outs: Any, *kernels: Any, **options: Any) -> Program:
    """A program of kernels or bodies of one kernel."""
    made = tuple(
        k if isinstance(k, ContractionKernel | BandKernel) else LoopKernel(f"k{i}", tuple(k))
        for i, k in enumerate(kernels)
    )
    buffers = (*ins, *outs, *options.get("parameters", ()))
    sizes = {s for b in buffers for d in b.shape if not isinstance(d, int) for s in d.symbols}
    defaults: dict[str, Any] = {
        "parameters": (), "constants": (), "commit": len(made), "offsets": (), "workspace": 0,
    }  # fmt: skip
    defaults.update(options)
    return Program(tuple(sorted(sizes)), ins, outs, kernels=made, **defaults)


@cache
def loaded(name: str, level: str, static: int | None) -> Loaded:
    n: Size = symbol("n") if static is None else static
    return Loaded(CASES[name](n), host(level))


def data(rng: Any, dtype: DType, shape: tuple[int, ...]) -> Any:
    if dtype.is_float:
        return (rng.standard_normal(shape) * 2).astype(dtype.numpy)
    if dtype.is_bool:
        return rng.random(shape) < 0.5
    return rng.integers(0 if dtype == uint8 else -50, 50, shape).astype(dtype.numpy)


def arrays_of(p: Program, sizes: Mapping[str, int], rng: Any) -> dict[str, Any]:
    return {
        b.name: data(rng, b.dtype, tuple(evaluate_size(s, sizes) for s in b.shape))
        for b in (*p.inputs, *p.outputs, *p.parameters)
    }


def compare(got: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for name, value in expected.items():
        if value.dtype.kind == "f":
            eps = np.finfo(value.dtype).eps
            scale = max(1.0, float(np.nanmax(np.abs(value[np.isfinite(value)]), initial=0)))
            np.testing.assert_allclose(
                got[name], value, rtol=30 * eps, atol=200 * eps * scale, err_msg=name
            )
        else:
            np.testing.assert_array_equal(got[name], value, err_msg=name)


def check(code: Loaded, n: int, arrays: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Run both ways, and serially and in blocks, which must agree to the bit."""
    sizes = dict.fromkeys(code.program.symbols, n)
    given = (
        arrays_of(code.program, sizes, np.random.default_rng(n)) if arrays is None else arrays
    )
    status, expected = evaluate(code.program, sizes, given)
    here = code.run(sizes, given)
    shared = code.run(sizes, given, shared=True)
    assert here[0] == shared[0] == status
    for name, array in here[1].items():
        assert array.tobytes() == shared[1][name].tobytes(), name
    if status == 0:
        compare(here[1], expected)
    return here[1]


# Programs ------------------------------------------------------------------------------------

CASES: dict[str, Callable[[Size], Program]] = {}


def case(make: Callable[[Size], Program]) -> Callable[[Size], Program]:
    CASES[make.__name__] = make
    return make


@case
def elementwise(n: Size) -> Program:
    """Uniform values, numbers, comparisons, booleans in memory, conversions."""
    ins = inputs(x=(float32, (n,)), m=(bool_, (n,)), a=(float32, ()))
    outs = outputs(y=(float32, (n,)), b=(bool_, (n,)), d=(float64, (n,)), k=(int32, (n,)))
    x, m, a = ins
    y, b, d, k = outs
    body = (
        Load("a", a, at()),
        Const("half", float32, 0.5),
        Compute("ah", "mul", ("a", "half"), float32),
        vector(
            "i",
            n,
            Load("x", x, at("i")),
            Load("m", m, at("i")),
            Compute("ax", "mul", ("ah", "x"), float32),
            Compute("s", "add", ("ax", "half"), float32),
            Compute("c", "greater", ("s", "x"), bool_),
            Compute("w", "where", ("m", "s", "a"), float32),
            Compute("e", "exp", ("w",), float32),
            Compute("wide", "cast", ("x",), float64),
            Compute("whole", "cast", ("x",), int32),
            Store(y, at("i"), "e"),
            Store(b, at("i"), "c"),
            Store(d, at("i"), "wide"),
            Store(k, at("i"), "whole"),
        ),
    )
    return program(ins, outs, body)


@case
def row_softmax(n: Size) -> Program:
    """Three passes over each row, with a row buffer; rows in parallel."""
    rows = 11
    ins, outs = inputs(x=(float32, (rows, n))), outputs(y=(float32, (rows, n)))
    row = Buffer("row", float32, (n,), "row")
    body = serial(
        "i",
        rows,
        vector(
            "j",
            n,
            Load("x", ins[0], at(("i", n), "j")),
            Accumulate("top", "x"),
            accumulators=(Accumulator("top", "max", float32),),
        ),
        vector(
            "j2",
            n,
            Load("x2", ins[0], at(("i", n), "j2")),
            Compute("shifted", "sub", ("x2", "top"), float32),
            Compute("e", "exp", ("shifted",), float32),
            Store(row, at("j2"), "e"),
            Accumulate("total", "e"),
            accumulators=(Accumulator("total", "sum", float32),),
        ),
        vector(
            "j3",
            n,
            Load("e3", row, at("j3")),
            Compute("p", "div", ("e3", "total"), float32),
            Store(outs[0], at(("i", n), "j3"), "p"),
        ),
        parallel=True,
        work=HEAVY,
    )
    return program(ins, outs, (body,))


@case
def column_sums(n: Size) -> Program:
    """Array accumulators over several blocks of rows: sum, max, any; one indexed per row."""
    rows = 13
    ins = inputs(x=(float64, (rows, n)))
    outs = outputs(
        total=(float64, (n,)),
        top=(float64, (n,)),
        some=(bool_, (n,)),
        per_row=(float64, (rows,)),
    )
    limit = 16
    partials = [
        Buffer(f"p{i}", b.dtype, (limit, *b.shape), "workspace") for i, b in enumerate(outs)
    ]
    kinds = ("sum", "max", "any", "sum")
    accumulators = tuple(
        Accumulator("acc " + b.name, kind, b.dtype, b.shape, b, p)  # type: ignore[arg-type]
        for b, p, kind in zip(outs, partials, kinds, strict=True)
    )
    body = serial(
        "i",
        rows,
        vector(
            "j",
            n,
            Load("x", ins[0], at(("i", n), "j")),
            Const("zero", float64, 2.0),
            Compute("big", "greater", ("x", "zero"), bool_),
            Accumulate("acc total", "x", at("j")),
            Accumulate("acc top", "x", at("j")),
            Accumulate("acc some", "big", at("j")),
            Accumulate("acc per_row", "x", at("i")),
        ),
        parallel=True,
        work=HEAVY,
        accumulators=accumulators,
    )
    offsets, end = [], 0
    for p in partials:
        offsets.append((p, end))
        end = end + (product(p.shape) * p.dtype.itemsize + 63) // 64 * 64
    return program(ins, outs, (body,), offsets=tuple(offsets), workspace=end)


@case
def vector_outer(n: Size) -> Program:
    """Serial loops in a vector loop: column statistics, running sums down the columns."""
    rows = 6
    ins = inputs(x=(float32, (rows, n)))
    outs = outputs(total=(float32, (n,)), run=(float32, (rows, n)), best=(int64, (n,)))
    body = vector(
        "j",
        n,
        serial(
            "i",
            rows,
            Load("x", ins[0], at(("i", n), "j")),
            Position("p", at("i")),
            Accumulate("t", "x"),
            Accumulate("best", "x", position="p"),
            Store(outs[1], at(("i", n), "j"), "t"),
            accumulators=(
                Accumulator("t", "sum", float32),
                Accumulator("best", "argmax", float32),
            ),
        ),
        Store(outs[0], at("j"), "t"),
        Store(outs[2], at("j"), "best"),
    )
    return program(ins, outs, (body,))


@case
def gathers(n: Size) -> Program:
    """Checked indices, gathered loads of several types, scattered stores, scatter-add."""
    ins = inputs(
        index=(int64, (n,)),
        f=(float32, (60, 3)),
        d=(float64, (60,)),
        m=(bool_, (60,)),
        b=(int8, (60,)),
    )
    outs = outputs(
        y=(float32, (n,)), z=(float64, (n,)), k=(bool_, (n,)), c=(int8, (n,)),
        spread=(float32, (2 * n + 3,)), hits=(float32, (60,)),
    )  # fmt: skip
    index, f, d, m, b = ins
    y, z, k, c, spread, hits = outs
    body = (
        vector(
            "i",
            n,
            Load("raw", index, at("i")),
            CheckedIndex("at", "raw", 60),
            Load("f", f, at(("at", 3), offset=1)),
            Load("d", d, at("at")),
            Load("m", m, at("at")),
            Load("b", b, at("at")),
            Store(y, at("i"), "f"),
            Store(z, at("i"), "d"),
            Store(k, at("i"), "m"),
            Store(c, at("i"), "b"),
            Store(spread, at(("i", 2), offset=3), "f"),
        ),
        serial(
            "i2",
            n,
            Load("raw2", index, at("i2")),
            CheckedIndex("at2", "raw2", 60),
            Load("f2", f, at(("at2", 3))),
            Store(hits, at("at2"), "f2", add=True),
        ),
    )
    return program(ins, outs, body)


@case
def strides(n: Size) -> Program:
    """Transposed and reversed loads and stores, a stride that is a symbol, narrow elements."""
    ins = inputs(x=(float32, (n, n)), m=(bool_, (n, n)), r=(float64, (n,)))
    outs = outputs(y=(float32, (n, n)), k=(bool_, (n, n)), q=(float64, (n,)), b=(bool_, (n,)))
    x, m, r = ins
    y, k, q, b = outs
    body = (
        serial(
            "i",
            n,
            vector(
                "j",
                n,
                Load("x", x, at(("j", n), "i")),
                Load("m", m, at(("j", n), "i")),
                Store(y, at(("i", n), "j"), "x"),
                Store(k, at(("i", n), "j"), "m"),
            ),
        ),
        vector(
            "p",
            n,
            Load("r", r, at(("p", -1), offset=n - 1)),
            Compute("neg", "neg", ("r",), float64),
            Store(q, at("p"), "neg"),
        ),
        vector(
            "s",
            n,
            Load("t", r, at("s")),
            Const("zero", float64, 0.0),
            Compute("c", "less", ("t", "zero"), bool_),
            Store(b, at(("s", -1), offset=n - 1), "c"),
        ),
    )
    return program(ins, outs, body)


@case
def transposed_store(n: Size) -> Program:
    """Scattered stores with a stride that may be a symbol, and iota values."""
    ins = inputs(x=(float64, (n, 5)))
    outs = outputs(y=(float64, (5, n)), z=(int64, (n, 5)), m=(bool_, (n, 5)))
    body = serial(
        "i",
        5,
        vector(
            "j",
            n,
            Load("x", ins[0], at(("j", 5), "i")),
            Position("p", at(("j", n), ("i", 7), offset=n + 2)),
            Position("q", at("i")),
            Compute("odd", "less", ("q", "p"), bool_),
            Store(outs[0], at(("i", n), "j"), "x"),
            Store(outs[1], at(("j", 5), "i"), "p"),
            Store(outs[2], at(("j", 5), "i"), "odd"),
        ),
    )
    return program(ins, outs, (body,))


@case
def vector_blocks(n: Size) -> Program:
    """A vector loop cut into blocks: stores, sums, positions; values before and after it."""
    ins, outs = (
        inputs(x=(float32, (n,)), a=(float32, ())),
        outputs(y=(float32, (n,)), s=(float32, ()), p=(int64, ()), z=(float32, ())),
    )
    x, a = ins
    y, s, p, z = outs
    body = (
        Load("a", a, at()),
        vector(
            "i",
            n,
            Load("x", x, at("i")),
            Compute("ax", "mul", ("x", "a"), float32),
            Position("p", at("i")),
            Store(y, at("i"), "ax"),
            Accumulate("sum", "ax"),
            Accumulate("best", "x", position="p"),
            accumulators=(
                Accumulator("sum", "sum", float32),
                Accumulator("best", "argmin", float32),
            ),
            parallel=True,
            work=HEAVY,
        ),
        Compute("twice", "add", ("sum", "a"), float32),
        Store(s, at(), "sum"),
        Store(p, at(), "best"),
        Store(z, at(), "twice"),
    )
    return program(ins, outs, body)


@case
def serial_blocks(n: Size) -> Program:
    """An accumulator of the outer loop that an inner vector loop adds to."""
    ins = inputs(x=(float32, (n, n)))
    outs = outputs(s=(float32, ()), p=(int64, ()), q=(float32, ()))
    body = (
        serial(
            "i",
            n,
            vector(
                "j",
                n,
                Load("x", ins[0], at(("i", n), "j")),
                Position("p", at(("i", n), "j")),
                Accumulate("sum", "x"),
                Accumulate("best", "x", position="p"),
                Accumulate("row", "x"),
                accumulators=(Accumulator("row", "max", float32),),
            ),
            Accumulate("rows", "row"),
            accumulators=(
                Accumulator("sum", "sum", float32),
                Accumulator("best", "argmax", float32),
                Accumulator("rows", "min", float32),
            ),
            parallel=True,
            work=HEAVY,
        ),
        Store(outs[0], at(), "sum"),
        Store(outs[1], at(), "best"),
        Store(outs[2], at(), "rows"),
    )
    return program(ins, outs, body)


@case
def running_sum(n: Size) -> Program:
    """A serial loop that reads its accumulator."""
    ins, outs = inputs(x=(int32, (n,))), outputs(y=(int32, (n,)), m=(int32, (n,)))
    body = serial(
        "i",
        n,
        Load("x", ins[0], at("i")),
        Store(outs[1], at("i"), "s"),
        Accumulate("s", "x"),
        Store(outs[0], at("i"), "s"),
        accumulators=(Accumulator("s", "sum", int32),),
    )
    return program(ins, outs, (body,))


@case
def quotients(n: Size) -> Program:
    """Extents, strides and offsets that are quotients; a loop over pairs and what is left."""
    ins, outs = inputs(x=(float32, (n,))), outputs(y=(float32, (n,)), k=(int64, ()))
    half = n // 2
    body = (
        vector(
            "i",
            half,
            Load("a", ins[0], at(("i", 2))),
            Load("b", ins[0], at(("i", 2), offset=1)),
            Store(outs[0], at("i"), "b"),
            Store(outs[0], at("i", offset=half), "a"),
        ),
        serial(
            "r",
            n - 2 * half,
            Load("l", ins[0], at(offset=n - 1)),
            Store(outs[0], at(offset=n - 1), "l"),
        ),
        Position("k", at(offset=(n - 7) // 3)),
        Store(outs[1], at(), "k"),
    )
    return program(ins, outs, body)


@case
def workspace_and_updates(n: Size) -> Program:
    """Kernels that hand on workspace; a constant; a parameter changed last."""
    ins, outs = inputs(x=(float32, (n,))), outputs(y=(float32, (n,)))
    w = Buffer("w", float32, (n,), "parameter")
    hidden = Buffer("hidden", float32, (n,), "workspace")
    other = Buffer("other", float64, (n,), "workspace")
    table = Buffer("table", float32, (4,), "constant", np.float32([1, -2, 3, 0.5]).tobytes())
    zeros = Buffer("zeros", float64, (2,), "constant", bytes(16))
    size = (n * 4 + 63) // 64 * 64
    first = vector(
        "i",
        n,
        Load("x", ins[0], at("i")),
        Load("t", table, at(offset=1)),
        Load("z", zeros, at(offset=1)),
        Compute("h", "mul", ("x", "t"), float32),
        Compute("d", "cast", ("h",), float64),
        Compute("dz", "add", ("d", "z"), float64),
        Store(hidden, at("i"), "h"),
        Store(other, at("i"), "dz"),
    )
    second = vector(
        "i",
        n,
        Load("h", hidden, at("i")),
        Load("d", other, at("i")),
        Compute("f", "cast", ("d",), float32),
        Compute("y", "add", ("h", "f"), float32),
        Store(outs[0], at("i"), "y"),
    )
    update = vector("i", n, Load("h", hidden, at("i")), Store(w, at("i"), "h", add=True))
    return program(
        ins,
        outs,
        (first,),
        (second,),
        (update,),
        parameters=(w,),
        constants=(table, zeros),
        commit=2,
        offsets=((hidden, 0), (other, size)),
        workspace=size + (n * 8 + 63) // 64 * 64,
    )


@case
def contraction(n: Size) -> Program:
    """A batch of products over axes that cannot be merged, then one that accumulates."""
    ins = inputs(a=(float32, (2, 3, n, 5)), b=(float32, (3, 5, 4)), c=(float64, (n, 3)))
    outs = outputs(y=(float32, (2, 3, n, 4)), z=(float64, (3, 3)))
    a, b, c = ins
    y, z = outs
    first = ContractionKernel(
        "k0",
        Operand(a, (15 * n, 5 * n), 5, 1),
        Operand(b, (0, 20), 4, 1),
        Operand(y, (12 * n, 4 * n), 4, 1),
        (2, 3), n, 5, 4, float32,
    )  # fmt: skip
    second = ContractionKernel(
        "k1", Operand(c, (), 1, 3), Operand(c, (), 3, 1), Operand(z, (), 3, 1),
        (), 3, n, 3, float64, accumulate=True,
    )  # fmt: skip
    return program(ins, outs, first, second)


@case
def whole_number_contraction(n: Size) -> Program:
    """Products that the library does not know, one of them added to what is there."""
    ins = inputs(a=(int32, (2, 3, n)), b=(int32, (n, 5)), c=(int8, (n, 4)))
    outs = outputs(y=(int32, (2, 3, 5)), z=(int8, (n, n)))
    a, b, c = ins
    y, z = outs
    first = ContractionKernel(
        "k0", Operand(a, (3 * n,), n, 1), Operand(b, (0,), 5, 1), Operand(y, (15,), 5, 1),
        (2,), 3, n, 5, int32,
    )  # fmt: skip
    second = ContractionKernel(
        "k1", Operand(c, (), 4, 1), Operand(c, (), 1, 4), Operand(z, (), n, 1),
        (), n, 4, n, int8, accumulate=True,
    )  # fmt: skip
    return program(ins, outs, first, second)


@case
def small_products(n: Size) -> Program:
    """Fixed sizes, called or in a batch; columns that are not contiguous, or one; finished."""
    ins = inputs(a=(float32, (n, 3, 5)), b=(float32, (n, 5, 4)), c=(float64, (6, 7)))
    ins += inputs(d=(float64, (7, 19)), e=(float32, (9,)), k=(int32, (n, 6)), q=(int32, (6,)))
    outs = outputs(y=(float32, (n, 3, 4)), z=(float64, (6, 19)), u=(float64, (19, 7)))
    outs += outputs(v=(float64, (6,)), w=(float64, (6, 19)), x=(float32, (9, 9)))
    outs += outputs(p=(int32, (n,)), r=(float32, (n, 3)))
    a, b, c, d, e, k, q = ins
    y, z, u, v, w, x, p, r = outs
    hidden = Buffer("hidden", float64, (6, 19), "workspace")

    def product(name: str, left: Operand, right: Operand, out: Operand, *sizes: Size,
                batch: Any = (), dtype: DType = float64, **options: Any) -> Any:  # fmt: skip
        m, inner, columns = sizes
        return ContractionKernel(
            name, left, right, out, batch, m, inner, columns, dtype, **options
        )

    finish = vector(
        "i",
        6 * 19,
        Load("s", hidden, at("i")),
        Load("t", z, at("i")),
        Compute("st", "sub", ("s", "t"), float64),
        Store(w, at("i"), "st"),
    )
    left, right = Operand(c, (), 7, 1), Operand(d, (), 19, 1)
    kernels = (
        product("k0", Operand(a, (15,), 5, 1), Operand(b, (20,), 4, 1), Operand(y, (12,), 4, 1),
                3, 5, 4, batch=(n,), dtype=float32),
        product("k1", left, right, Operand(z, (), 19, 1), 6, 7, 19),
        product("k2", Operand(d, (), 1, 19), Operand(c, (), 1, 7), Operand(u, (), 7, 1),
                5, 7, 6),
        product("k3", left, Operand(d, (), 19, 0, 3), Operand(v, (), 1, 0), 6, 7, 1),
        product("k4", left, right, Operand(w, (), 19, 1), 6, 7, 19,
                epilogue=Epilogue(hidden, (finish,), False)),
        product("k5", Operand(e, (), 1, 0), Operand(e, (), 0, 1), Operand(x, (), 9, 1), 9, 1, 9,
                dtype=float32, accumulate=True),
        product("k6", Operand(k, (), 6, 1), Operand(q, (), 1, 0), Operand(p, (), 1, 0),
                n, 6, 1, dtype=int32),
        product("k7", Operand(a, (15,), 5, 1), Operand(b, (20,), 4, 0, 2),
                Operand(r, (3,), 1, 0), 3, 5, 1, batch=(n,), dtype=float32),
    )  # fmt: skip
    return program(ins, outs, *kernels, offsets=((hidden, 0),), workspace=960)


@case
def finished_product(n: Size) -> Program:
    """Products that are finished by an update in place, by rows, in a column, or kept."""
    ins = inputs(a=(float32, (9, n)), b=(float32, (n, 21)), c=(float32, (21,)))
    outs = outputs(
        y=(float32, (9, 21)), z=(float64, (9, 21)), u=(float32, (9,)), q=(float32, (21, 9))
    )
    w = Buffer("w", float32, (9, 21), "parameter")
    hidden = Buffer("hidden", float32, (9, 21), "workspace")
    a, b, c = ins
    y, z, u, q = outs

    def product(name: str, out: Buffer, row: Size, last: Epilogue, columns: Size) -> Any:
        second = Operand(b, (), 21, 1)
        made = Operand(out, (), row, 1)
        return ContractionKernel(
            name, Operand(a, (), n, 1), second, made, (), 9, n, columns, float32, epilogue=last
        )

    element = at(("i", 21), "j")
    update = vector(
        "i",
        9 * 21,
        Load("x", hidden, at("i")),
        Load("old", w, at("i")),
        Compute("new", "fma", ("x", "rate", "old"), float32),
        Store(w, at("i"), "new"),
    )
    by_rows = serial(
        "i",
        9,
        Load("bias", c, at("i")),
        vector(
            "j",
            21,
            Load("x", hidden, element),
            Load("across", c, at("j")),
            Compute("s", "add", ("x", "bias"), float32),
            Compute("t", "maximum", ("s", "across"), float32),
            Compute("wide", "cast", ("across",), float64),
            Store(y, element, "t"),
            Store(z, element, "wide"),
        ),
    )
    column = vector(
        "i",
        9,
        Load("x", hidden, at("i")),
        Load("bias", c, at("i")),
        Compute("s", "mul", ("x", "bias"), float32),
        Store(u, at("i"), "s"),
    )
    kept = vector(
        "i", 9 * 21, Load("x", q, at("i")), Load("old", w, at("i")),
        Compute("s", "add", ("x", "old"), float32), Store(y, at("i"), "s"),
    )  # fmt: skip
    rate = Const("rate", float32, -0.25)
    first = (
        product("k0", y, 21, Epilogue(hidden, (by_rows,), False), 21),
        product("k1", hidden, 1, Epilogue(hidden, (column,), False), 1),
        product("k2", hidden, 21, Epilogue(hidden, (rate, update), False), 21),
    )
    transposed = ContractionKernel(
        "k3", Operand(b, (), 1, 21), Operand(a, (), 1, n), Operand(q, (), 9, 1), (), 21, n, 9,
        float32, epilogue=Epilogue(q, (kept,), True),
    )  # fmt: skip
    return program(
        ins,
        outs,
        *first,
        transposed,
        parameters=(w,),
        commit=2,
        offsets=((hidden, 0),),
        workspace=9 * 21 * 4 + 12,
    )


@case
def bands(n: Size) -> Program:
    """Rows of 90 are multiplied, passed over and summed up: by single numbers, and by three."""
    ins = inputs(x=(float32, (n, 90)), w=(float32, (90,)), q=(float64, (n, 70)))
    ins += inputs(v=(float64, (70, 3)), pick=(bool_, (n,)))
    outs = outputs(
        g=(float32, (90,)), s=(float32, ()), most=(float32, ()), h=(float64, (3, 70))
    )
    x, w, q, v, pick = ins
    g, s, most, h = outs
    z, r = (Buffer(name, float32, (n,), "workspace") for name in "zr")
    y, t = (Buffer(name, float64, (n, 3), "workspace") for name in "yt")
    copies = Buffer("copies", float32, (16, 90), "workspace")
    more = Buffer("more", float64, (16, 3, 70), "workspace")
    first = LoopKernel(
        "k0",
        (
            vector(
                "i",
                n,
                Load("z", z, at("i")),
                Compute("e", "tanh", ("z",), float32),
                Store(r, at("i"), "e"),
                Accumulate("a", "e"),
                Accumulate("b", "z"),
                accumulators=(
                    Accumulator("a", "sum", float32),
                    Accumulator("b", "max", float32),
                ),
                parallel=True,
                work=HEAVY,
            ),
            Store(s, at(), "a"),
            Store(most, at(), "b"),
        ),
    )
    second = LoopKernel(
        "k1",
        (
            serial(
                "i",
                n,
                Load("which", pick, at("i")),
                Compute("place", "cast", ("which",), int64),
                CheckedIndex("at", "place", 3),
                Load("chosen", y, at(("i", 3), "at")),
                vector(
                    "j",
                    3,
                    Load("u", y, at(("i", 3), "j")),
                    Compute("d", "sub", ("u", "chosen"), float64),
                    Store(t, at(("i", 3), "j"), "d"),
                ),
                parallel=True,
                work=HEAVY,
            ),
        ),
    )
    by_one = BandKernel(
        "k0",
        ContractionKernel(
            "a", Operand(x, (), 90, 1), Operand(w, (), 1, 0), Operand(z, (), 1, 0),
            (), n, 90, 1, float32,
        ),
        first,
        ContractionKernel(
            "b", Operand(x, (), 1, 90), Operand(r, (), 1, 0), Operand(g, (), 1, 0),
            (), 90, n, 1, float32,
        ),
        copies,
    )  # fmt: skip
    by_three = BandKernel(
        "k1",
        ContractionKernel(
            "c", Operand(q, (), 70, 1), Operand(v, (), 3, 1), Operand(y, (), 3, 1),
            (), n, 70, 3, float64,
        ),
        second,
        ContractionKernel(
            "d", Operand(t, (), 1, 3), Operand(q, (), 70, 1), Operand(h, (), 70, 1),
            (), 3, n, 70, float64,
        ),
        more,
    )  # fmt: skip
    step = (n * 8 + 63) // 64 * 64
    offsets = ((z, 0), (r, step), (y, 2 * step), (t, 5 * step))
    end: Size = 8 * step
    return program(
        ins,
        outs,
        by_one,
        by_three,
        offsets=(*offsets, (copies, end), (more, end + 64 * 90)),
        workspace=end + 64 * 90 + 128 * 210,
    )


#: Cases that take n*n iterations.
SQUARE = ("serial_blocks", "strides")
