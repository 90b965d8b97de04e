"""Lowered programs against the reference evaluator, on every target and at awkward sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from graphc.errors import VerificationError
from graphc.loops.ir import (
    INDEX_ERROR,
    Accumulate,
    Accumulator,
    Buffer,
    CheckedIndex,
    Compute,
    Const,
    Load,
    Loop,
    Position,
    Program,
    Store,
)
from graphc.loops.ir import (
    INTERRUPTED as STATUS_INTERRUPTED,
)
from graphc.types import (
    DTYPES,
    DType,
    Size,
    float32,
    float64,
    int8,
    int32,
    int64,
    symbol,
    uint8,
)
from graphc_llvm.lower import lower_program
from graphc_llvm.lower.nest import POLL_WORK
from graphc_llvm.lower.program import POLL_EVERY
from graphc_llvm.target import host
from loops_jit import INTERRUPTED, Loaded
from lower_programs import (
    CASES,
    EXTENTS,
    HEAVY,
    LEVELS,
    SQUARE,
    arrays_of,
    at,
    check,
    inputs,
    loaded,
    outputs,
    program,
    vector,
)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", CASES)
def test_symbolic(name: str, level: str) -> None:
    for n in EXTENTS:
        check(loaded(name, level, None), min(n, 40) if name in SQUARE else n)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", CASES)
def test_static(name: str, level: str) -> None:
    for n in (7,) if name == "contraction" else (0, 7, 16, 150):
        size = min(n, 40) if name in SQUARE else n
        check(loaded(name, level, size), size)


def test_bands_follow_each_other() -> None:
    """So many rows that every block has several bands, of which the last is short."""
    check(loaded("bands", "native", None), 20_011)


# Accumulators --------------------------------------------------------------------------------

KINDS = ("sum", "prod", "max", "min", "argmax", "argmin")


def reductions(dtype: DType, kinds: tuple[str, ...], kind: str, n: Size) -> Program:
    """Every accumulator kind in one loop, serial or vector."""
    ins = inputs(x=(dtype, (n,)))
    outs = outputs(**{k: (int64 if k.startswith("arg") else dtype, ()) for k in kinds})
    body = (
        Loop(
            "i",
            n,
            kind,  # type: ignore[arg-type]
            (
                Load("x", ins[0], at("i")),
                Position("p", at("i")),
                *(
                    Accumulate(f"acc {k}", "x", position="p" if k.startswith("arg") else None)
                    for k in kinds
                ),
            ),
            tuple(Accumulator(f"acc {k}", k, dtype) for k in kinds),  # type: ignore[arg-type]
        ),
        *(Store(o, at(), f"acc {o.name}") for o in outs),
    )
    return program(ins, outs, body)


def awkward(rng: Any, dtype: DType, n: int, trial: int) -> Any:
    """Values with ties; then with infinities; then with NaNs."""
    if dtype.is_bool:
        return rng.random(n) < (0, 0.5, 1)[trial]
    x = rng.integers(0 if dtype == uint8 else -3, 4, n).astype(dtype.numpy)
    if dtype.is_float and trial == 1:
        x[rng.random(n) < 0.3] = -np.inf
    if dtype.is_float and trial == 2:
        x[rng.random(n) < 0.05] = np.nan
    return x


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", ["vector", "serial"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_accumulators(dtype: str, kind: str, level: str) -> None:
    element = DTYPES[dtype]
    kinds = ("any", "all", "max", "min") if element.is_bool else KINDS
    code = Loaded(reductions(element, kinds, kind, symbol("n")), host(level))
    for n in (0, 1, 7, 16, 53, 150):
        for trial in range(3):
            x = awkward(np.random.default_rng(n + trial), element, n, trial)
            given = arrays_of(code.program, {"n": n}, np.random.default_rng(0))
            with np.errstate(all="ignore"):
                check(code, n, {**given, "x": x})


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("value", [-np.inf, np.nan, 3.0])
def test_first_position_wins(value: float, level: str) -> None:
    code = Loaded(reductions(float32, ("argmax", "argmin"), "vector", symbol("n")), host(level))
    for n in (1, 40, 333):
        given = arrays_of(code.program, {"n": n}, np.random.default_rng(0))
        got = check(code, n, {**given, "x": np.full(n, value, np.float32)})
        assert got["argmax"] == got["argmin"] == 0


@pytest.mark.parametrize("level", LEVELS)
def test_positions_where_records_are_many_or_few(level: str) -> None:
    code = Loaded(reductions(float32, ("argmax", "argmin"), "vector", symbol("n")), host(level))
    for n in (130, 1000):
        given = arrays_of(code.program, {"n": n}, np.random.default_rng(0))
        x = np.random.default_rng(n).standard_normal(n).astype(np.float32)
        late = np.where(np.arange(n) == n - 3, np.float32(np.nan), x)
        for values in (x, np.sort(x), np.sort(x)[::-1].copy(), late):
            check(code, n, {**given, "x": values})


@pytest.mark.parametrize("level", LEVELS)
def test_sum_of_a_value_without_lanes(level: str) -> None:
    n = symbol("n")
    outs = outputs(y=(float32, (n,)), s=(float32, ()))
    loop = vector(
        "i",
        n,
        Const("one", float32, 1.0),
        Accumulate("s", "one"),
        Store(outs[0], at("i"), "one"),
        accumulators=(Accumulator("s", "sum", float32),),
    )
    code = Loaded(program((), outs, (loop, Store(outs[1], at(), "s"))), host(level))
    for k in (0, 5, 16, 77, 130):
        assert check(code, k)["s"] == k


# Errors --------------------------------------------------------------------------------------


def lookup(n: Size, parallel: bool) -> Program:
    """Indices that only the addition brings into range: inactive lanes would be out of it."""
    ins = inputs(index=(int64, (n,)), table=(float32, (10,)))
    outs = outputs(y=(float32, (n,)))
    w = Buffer("w", float32, (), "parameter")
    loop = vector(
        "i",
        n,
        Load("low", ins[0], at("i")),
        Const("base", int64, 1000),
        Compute("raw", "add", ("low", "base"), int64),
        CheckedIndex("k", "raw", 10),
        Load("y", ins[1], at("k")),
        Store(outs[0], at("i"), "y"),
        parallel=parallel,
        work=HEAVY,
    )
    update = (Const("one", float32, 1.0), Store(w, at(), "one", add=True))
    return program(ins, outs, (loop,), update, parameters=(w,), commit=1)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("parallel", [False, True])
def test_index_out_of_range_stops_before_updates(parallel: bool, level: str) -> None:
    code = Loaded(lookup(symbol("n"), parallel), host(level))
    rng = np.random.default_rng(1)
    for n in (1, 5, 16, 39, 200):
        given = arrays_of(code.program, {"n": n}, rng)
        good = rng.integers(-10, 10, n) - 1000
        after = check(code, n, {**given, "index": good})
        assert after["w"] == given["w"] + np.float32(1)
        for place, bad in ((0, 10), (n - 1, -11), (n // 2, 1 << 40)):
            index = good.copy()
            index[place] = bad - 1000
            arrays = {**given, "index": index}
            status, got = code.run({"n": n}, arrays)
            assert status == INDEX_ERROR
            assert got["w"] == given["w"]
            assert got["y"][place] == given["table"][0]
            assert code.run({"n": n}, arrays, shared=True)[0] == INDEX_ERROR


def test_interruption_stops_before_updates_only() -> None:
    n = symbol("n")
    ins, outs = inputs(x=(float32, (n,))), outputs(y=(float32, (n,)))
    w = Buffer("w", float32, (n,), "parameter")

    def copy(target: Buffer) -> Any:
        load, store = Load("x", ins[0], at("i")), Store(target, at("i"), "x")
        return (vector("i", n, load, store, parallel=True, work=HEAVY),)

    given = {k: np.full(500, v, np.float32) for k, v in (("x", 1), ("y", 2), ("w", 3))}
    both = program(ins, outs, copy(outs[0]), copy(w), parameters=(w,), commit=1)
    status, got = Loaded(both, host(), runtime=INTERRUPTED).run({"n": 500}, given, shared=True)
    assert status == STATUS_INTERRUPTED
    assert (got["y"] == 2).all()
    assert (got["w"] == 3).all()
    update = program(ins, outs, copy(w), parameters=(w,), commit=0)
    status, got = Loaded(update, host(), runtime=INTERRUPTED).run(
        {"n": 500}, given, shared=True
    )
    assert status == 0
    assert (got["w"] == 1).all()


def test_interruption_ends_a_long_serial_loop() -> None:
    n = symbol("n")
    ins, outs = inputs(x=(float32, (n,))), outputs(y=(float32, (n,)), last=(float32, ()))
    total = Accumulator("total", "sum", float32)
    copy = (
        Load("x", ins[0], at("i")),
        Accumulate("total", "x"),
        Store(outs[0], at("i"), "total"),
    )
    body = (
        Loop("i", n, "serial", copy, (total,), work=POLL_WORK // 100),
        Store(outs[1], at(), "total"),
    )
    for size, commit, stopped in ((100, 1, False), (250, 1, True), (250, 0, False)):
        p = program(ins, outs, body, commit=commit)
        given = {"x": np.ones(size), "y": np.zeros(size), "last": np.zeros(())}
        arrays = {name: a.astype(np.float32) for name, a in given.items()}
        code = Loaded(p, host(), runtime=INTERRUPTED)
        status, got = code.run({"n": size}, arrays, shared=True)
        done = 100 if stopped else size
        assert status == (STATUS_INTERRUPTED if stopped else 0)
        np.testing.assert_array_equal(got["y"][:done], np.arange(1, done + 1))
        assert (got["y"][done:] == 0).all()


def test_interruption_between_short_kernels() -> None:
    outs = outputs(**{f"y{i}": (float32, ()) for i in range(40)})
    bodies = [(Const("one", float32, 1.0), Store(out, at(), "one")) for out in outs]
    given = {b.name: np.zeros((), np.float32) for b in outs}
    for commit, done in ((40, POLL_EVERY - 1), (0, 40)):
        code = Loaded(program((), outs, *bodies, commit=commit), host(), runtime=INTERRUPTED)
        status, got = code.run({}, given, shared=True)
        assert status == (STATUS_INTERRUPTED if done < 40 else 0)
        assert sum(float(y) for y in got.values()) == done


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", ["serial", "vector"])
@pytest.mark.parametrize("parallel", [False, True])
def test_an_axis_without_elements_is_not_read(parallel: bool, kind: Any, level: str) -> None:
    n, rows = symbol("n"), symbol("rows")
    ins = inputs(table=(float32, (rows, 3)), index=(int64, (n,)))
    outs = outputs(y=(float32, (n,)))
    lookup = (
        Load("raw", ins[1], at("i")),
        CheckedIndex("row", "raw", rows),
        Load("x", ins[0], at(("row", 3), offset=2)),
        Store(outs[0], at("i"), "x"),
    )
    loop = Loop("i", n, kind, lookup, parallel=parallel, work=HEAVY)
    code = Loaded(program(ins, outs, (loop,)), host(level))
    for size, count, expected in ((0, 0, 0), (0, 5, INDEX_ERROR), (2, 5, 0)):
        table = np.arange(3 * size, dtype=np.float32).reshape(size, 3)
        given = {"table": table, "index": np.zeros(count, np.int64)}
        given["y"] = np.full(count, 7, np.float32)
        status, got = code.run({"n": count, "rows": size}, given, shared=True)
        assert status == expected
        assert (got["y"] == (7 if expected else 2)).all()


def test_names_used_twice_are_refused() -> None:
    ins, outs = inputs(x=(float32, ())), outputs(y=(float32, ()))
    body = (Load("v", ins[0], at()), Store(outs[0], at(), "v"))
    p = program(ins, outs, body, body)
    with pytest.raises(VerificationError, match="several kernels are named"):
        lower_program(replace(p, kernels=(p.kernels[0], p.kernels[0])), "f", host())
    with pytest.raises(VerificationError, match="several buffers are named x"):
        lower_program(replace(p, inputs=(*ins, *ins)), "f", host())


# Rounding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [float32, float64])
def test_every_operation_is_rounded(dtype: DType) -> None:
    n = symbol("n")
    ins = inputs(a=(dtype, (n,)), b=(dtype, (n,)), c=(dtype, (n,)))
    outs = outputs(y=(dtype, (n,)))
    loop = vector(
        "i",
        n,
        *(Load(b.name, b, at("i")) for b in ins),
        Compute("ab", "mul", ("a", "b"), dtype),
        Compute("y", "add", ("ab", "c"), dtype),
        Store(outs[0], at("i"), "y"),
    )
    p = program(ins, outs, (loop,))
    given = arrays_of(p, {"n": 1000}, np.random.default_rng(0))
    _, got = Loaded(p, host()).run({"n": 1000}, given)
    np.testing.assert_array_equal(got["y"], given["a"] * given["b"] + given["c"])


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("dtype", [float32, float64])
def test_denormal_numbers_count_as_zero_if_asked(dtype: DType, shared: bool) -> None:
    n = symbol("n")
    ins, outs = inputs(x=(dtype, (n,))), outputs(y=(dtype, (n,)), s=(dtype, ()))
    half = (Const("half", dtype, 0.5),)
    body = (Load("x", ins[0], at("i")), Compute("y", "mul", ("x", "half"), dtype))
    loop = vector("i", n, *body, Store(outs[0], at("i"), "y"), parallel=True, work=HEAVY)
    first = (Load("x", ins[0], at()), Compute("y", "mul", ("x", "half"), dtype))
    p = program(ins, outs, (*half, loop), (*half, *first, Store(outs[1], at(), "y")))
    tiny = np.finfo(dtype.numpy).tiny
    given = {"x": np.full(100, tiny), "y": np.ones(100), "s": np.ones(())}
    arrays = {name: a.astype(dtype.numpy) for name, a in given.items()}
    for flush in (False, True):
        code = Loaded(p, host(), flush=flush)
        _, got = code.run({"n": 100}, arrays, shared=shared)
        expected = 0 if flush and host().flushes else tiny / 2
        assert (got["y"] == expected).all()
        assert got["s"] == expected
        assert arrays["x"][0] * dtype.numpy.type(0.5) > 0, "the mode was not restored"


@pytest.mark.parametrize("dtype", [int8, uint8, int32, int64])
def test_reciprocal_of_integers(dtype: DType) -> None:
    values = np.arange(256).astype(dtype.numpy)
    values = np.concatenate([values, -values])
    ins, outs = inputs(x=(dtype, values.shape)), outputs(y=(dtype, values.shape))
    inverse = Compute("y", "reciprocal", ("x",), dtype)
    loop = vector("i", 512, Load("x", ins[0], at("i")), inverse, Store(outs[0], at("i"), "y"))
    given = {"x": values, "y": np.zeros_like(values)}
    _, got = Loaded(program(ins, outs, (loop,)), host()).run({}, given)
    nonzero = values != 0
    np.testing.assert_array_equal(got["y"][nonzero], np.reciprocal(values[nonzero]))
    of_zero = np.iinfo(dtype.numpy).min if dtype.itemsize > 1 else 0
    assert set(got["y"][~nonzero].tolist()) == {of_zero}
