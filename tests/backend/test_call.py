"""The native entry: what it accepts, what it leaves to the slow path, what it gives back."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gr
from graphc import types
from graphc.errors import CompileError, VerificationError
from graphc.loops.ir import Guard
from graphc.types import DType, Shape, Size, float32, float64, symbol
from graphc_llvm import layout
from graphc_llvm.call import Signature
from graphc_llvm.callable import NativeCallable, bind, vectorcallable
from graphc_llvm.entry import Entry, IndexOutOfRangeError, allocate
from native_programs import DOUBLE, NOTHING, build, copy_scalars, parallel, status

N, M = symbol("n"), symbol("m")
VECTOR: tuple[DType, Shape] = (float64, (N,))
SLOW = "slow"
INDEXED = Signature((VECTOR,), (VECTOR,), ("n",))


def slow(*args: Any, **kwargs: Any) -> str:
    return SLOW


def double(result: Any = "single", **kwargs: Any) -> Entry:
    return build(DOUBLE, Signature((VECTOR,), (VECTOR,), ("n",), result=result), slow, **kwargs)


@pytest.fixture(scope="module")
def twice() -> Callable[..., Any]:
    return double().callable


X = np.arange(8.0)


def test_this_interpreter_has_native_entries() -> None:
    assert layout.matches()


@pytest.mark.parametrize("n", [0, 1, 8, 1000])
def test_result_is_allocated(twice: Callable[..., Any], n: int) -> None:
    x = np.arange(float(n))
    y = twice(x)
    assert type(y) is np.ndarray
    assert y.dtype == np.float64
    assert y.flags.owndata
    np.testing.assert_array_equal(y, 2 * x)


def test_out_is_filled_and_returned(twice: Callable[..., Any]) -> None:
    out = np.zeros(8)
    assert twice(X, out=out) is out
    np.testing.assert_array_equal(out, 2 * X)


def read_only(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def unaligned(n: int) -> np.ndarray[Any, Any]:
    return np.zeros(8 * n + 1, np.uint8)[1:].view(np.float64)


class Subclass(np.ndarray[Any, Any]):
    pass


def test_read_only_inputs_are_fine(twice: Callable[..., Any]) -> None:
    np.testing.assert_array_equal(twice(read_only(X)), 2 * X)


@pytest.mark.parametrize(
    "bad",
    [
        X.astype(np.float32),
        X.astype(np.int64),
        X.astype(">f8"),
        X.reshape(2, 4),
        np.array(1.0),
        np.arange(16.0)[::2],
        X[::-1],
        unaligned(8),
        X.view(Subclass),
        X.astype(np.dtype(np.float64, metadata={"unit": "m"})),
        list(X),
        1.0,
        None,
        memoryview(X),
    ],
    ids=lambda b: f"{type(b).__name__}-{getattr(b, 'dtype', '')}-{getattr(b, 'shape', '')}",
)
def test_other_inputs_are_left_to_slow(twice: Callable[..., Any], bad: Any) -> None:
    assert twice(bad) is SLOW


@pytest.mark.parametrize(
    "out",
    [
        np.zeros(7),
        np.zeros(9),
        np.zeros((8, 1)),
        np.zeros(8, np.float32),
        np.zeros(8, ">f8"),
        np.zeros(16)[::2],
        read_only(np.zeros(8)),
        unaligned(8),
        np.zeros(8).view(Subclass),
        [0.0] * 8,
        (np.zeros(8),),
        None,
    ],
    ids=lambda o: f"{type(o).__name__}-{getattr(o, 'dtype', '')}-{getattr(o, 'shape', '')}",
)
def test_other_outputs_are_left_to_slow(twice: Callable[..., Any], out: Any) -> None:
    assert twice(X, out=out) is SLOW


def test_other_arguments_are_left_to_slow(twice: Callable[..., Any]) -> None:
    assert twice() is SLOW
    assert twice(X, X) is SLOW
    assert twice(x=X) is SLOW
    assert twice(X, y=X) is SLOW
    assert twice(X, out=np.zeros(8), y=X) is SLOW
    assert twice(out=X) is SLOW


def test_slow_gets_the_arguments() -> None:
    seen: list[Any] = []
    signature = Signature((VECTOR,), (VECTOR,), ("n",))
    entry = build(DOUBLE, signature, lambda *a, **k: seen.append((a, k)))
    entry.callable(1, [2], out=3, other=4)
    assert seen == [((1, [2]), {"out": 3, "other": 4})]


def test_slow_raises() -> None:
    def fail(*args: Any) -> None:
        raise ValueError("text")

    with pytest.raises(ValueError, match="text"):
        build(DOUBLE, Signature((VECTOR,), (VECTOR,), ("n",)), fail).callable(1)


def test_overlapping_memory_is_left_to_slow() -> None:
    parameter = np.zeros(8)
    signature = Signature((VECTOR,), (VECTOR,), ("n",), parameters=1)
    f = build(DOUBLE, signature, slow, parameters=[parameter]).callable
    memory = np.zeros(24)
    assert f(memory[:8], out=memory[4:12]) is SLOW
    assert f(memory[4:12], out=memory[:8]) is SLOW
    assert f(memory[:8], out=memory[:8]) is SLOW
    assert f(X, out=parameter) is SLOW
    assert f(parameter) is not SLOW
    np.testing.assert_array_equal(f(X, out=memory[8:16]), 2 * X)
    assert f(memory[:8], out=memory[8:16]) is not SLOW


def test_overlapping_outputs_are_left_to_slow() -> None:
    f = build(NOTHING, Signature((), ((float64, (4,)),) * 3, result="list"), slow).callable
    m = np.zeros(12)
    assert f(out=[m[:4], m[4:8], m[8:]]) is not SLOW
    assert f(out=[m[:4], m[4:8], m[3:7]]) is SLOW


@pytest.mark.parametrize("count", [14, 15, 16, 40])
def test_any_number_of_arguments(count: int) -> None:
    """Few have room on the stack that is there in any call."""
    inputs = [gr.tensor(f"x{i}", (f"n{i}",), "float64") for i in range(count)]
    f = gr.compile(inputs, [2 * x for x in inputs], threads=1)
    arrays = [np.arange(i, dtype=np.float64) for i in range(1, count + 1)]
    given = [np.zeros_like(x) for x in arrays]
    references = [sys.getrefcount(x) for x in (*arrays, *given)]
    for results in (f(*arrays), f(*arrays, out=given)):
        for x, y in zip(arrays, results, strict=True):
            np.testing.assert_array_equal(y, 2 * x)
    assert all(x is y for x, y in zip(f(*arrays, out=given), given, strict=True))
    before = arrays[-1].copy()
    f(*arrays, out=[*given[:-1], arrays[-1]])
    np.testing.assert_array_equal(arrays[-1], 2 * before)
    del results, x, y
    assert [sys.getrefcount(x) for x in (*arrays, *given)] == references


def test_updating_program_does_not_read_its_parameters_as_inputs() -> None:
    parameter = np.zeros(8)
    signature = Signature((VECTOR,), (VECTOR,), ("n",), parameters=1, updates=True)
    f = build(DOUBLE, signature, slow, parameters=[parameter]).callable
    assert f(parameter) is SLOW
    assert f(X) is not SLOW


# Sizes ----------------------------------------------------------------------------------------


def sizes_entry(*shapes: Shape, guards: tuple[Guard, ...] = ()) -> Callable[..., Any]:
    """A function that returns the sizes n and m found in the shapes of its inputs."""
    names = tuple(sorted({s for shape in shapes for d in shape for s in types.size_symbols(d)}))
    inputs = tuple((float32, shape) for shape in shapes)
    body = ["entry:"]
    for k in range(len(names)):
        body += [
            f"  %d{k} = getelementptr i64, ptr %dims, i64 {k}",
            f"  %v{k} = load i64, ptr %d{k}",
            f"  %b{k} = getelementptr ptr, ptr %bufs, i64 {len(shapes) + k}",
            f"  %p{k} = load ptr, ptr %b{k}",
            f"  store i64 %v{k}, ptr %p{k}",
        ]
    outputs = ((types.int64, ()),) * len(names)
    signature = Signature(inputs, outputs, names, guards, "tuple")
    return build("\n".join([*body, "  ret i32 0"]), signature, slow).callable


def zeros(*shape: int) -> np.ndarray[Any, Any]:
    return np.zeros(shape, np.float32)


def test_symbol_must_have_one_size() -> None:
    f = sizes_entry((N, M), (M, 3), (N,))
    assert f(zeros(5, 2), zeros(2, 3), zeros(5)) == (2, 5)
    assert f(zeros(0, 2), zeros(2, 3), zeros(0)) == (2, 0)
    assert f(zeros(5, 2), zeros(4, 3), zeros(5)) is SLOW
    assert f(zeros(5, 2), zeros(2, 4), zeros(5)) is SLOW
    assert f(zeros(5, 2), zeros(2, 3), zeros(6)) is SLOW


def test_derived_sizes_are_compared() -> None:
    f = sizes_entry((N * M + 1,), (N, M))
    assert f(zeros(7), zeros(2, 3)) == (3, 2)
    assert f(zeros(8), zeros(2, 3)) is SLOW
    g = sizes_entry((N,), ((N - 3) // 2 + 1,))
    assert g(zeros(8), zeros(3)) == (8,)
    assert g(zeros(8), zeros(4)) is SLOW
    assert g(zeros(2), zeros(0)) == (2,)  # rounds down: (2 - 3) // 2 + 1 is 0


def test_linear_sizes_are_solved() -> None:
    f = sizes_entry((2 * N + 1,))
    assert f(zeros(9)) == (4,)
    assert f(zeros(8)) is SLOW
    assert f(zeros(0)) is SLOW
    g = sizes_entry((N + M,), (N,))
    assert g(zeros(9), zeros(4)) == (5, 4)
    assert g(zeros(3), zeros(4)) is SLOW


def test_overflow_and_division_by_zero_are_left_to_slow() -> None:
    f = sizes_entry((N, 0), (N * N,))
    assert f(zeros(3, 0), zeros(9)) == (3,)
    huge = np.zeros((1 << 32, 0), np.float32)
    assert f(huge, zeros(0)) is SLOW
    g = sizes_entry((N,), (M,), (N // M,))
    assert g(zeros(7), zeros(2), zeros(3)) == (2, 7)
    assert g(zeros(7), zeros(0), zeros(0)) is SLOW


def test_guards_are_checked() -> None:
    f = sizes_entry((N,), guards=(Guard(N - 4, 1, "window"),))
    assert f(zeros(5)) == (5,)
    assert f(zeros(4)) is SLOW


def test_unknown_sizes_are_refused() -> None:
    with pytest.raises(CompileError, match="m, n"):
        sizes_entry((N * M,))


@pytest.mark.parametrize(
    ("shape", "size"), [((N, 3), 24), ((2 * N,), 16), ((), 1), ((N, N), 64)]
)
def test_results_have_derived_shapes(shape: tuple[Size, ...], size: int) -> None:
    f = build(NOTHING, Signature((VECTOR,), ((float32, shape),), ("n",)), slow).callable
    result = f(X)
    assert result.size == size
    assert result.shape == tuple(types.evaluate_size(s, {"n": 8}) for s in shape)
    assert result.dtype == np.float32


def test_negative_result_size_is_left_to_slow() -> None:
    f = build(NOTHING, Signature((VECTOR,), ((float32, (N - 9,)),), ("n",)), slow).callable
    assert f(X) is SLOW


# Scalars --------------------------------------------------------------------------------------

KINDS = {
    "bool": "i8",
    "int8": "i8",
    "uint8": "i8",
    "int32": "i32",
    "int64": "i64",
    "float32": "float",
    "float64": "double",
}


def identity(name: str) -> Callable[..., Any]:
    scalar = ((types.DTYPES[name], ()),)
    return build(copy_scalars(KINDS[name], 1, 1), Signature(scalar, scalar), slow).callable


@pytest.mark.parametrize("name", KINDS)
def test_scalars_come_and_go(name: str) -> None:
    f = identity(name)
    scalar = np.dtype(name).type(1)
    for given in (scalar, np.array(1, name)):
        result = f(given)
        assert type(result) is type(scalar)
        assert result == 1
        assert repr(result) == repr(scalar)
    out = np.zeros((), name)
    assert f(scalar, out=out) is out
    assert out[()] == 1
    other = "float64" if name == "float32" else "float32"
    assert f(np.dtype(other).type(1)) is SLOW
    assert f(np.ones(1, name)) is SLOW
    assert f("1") is SLOW


def test_python_floats() -> None:
    f64, f32 = identity("float64"), identity("float32")
    assert f64(0.1) == 0.1
    assert f32(0.1) == np.float32(0.1)
    assert np.isnan(f32(float("nan")))
    assert f32(float("-inf")) == -np.inf
    assert f32(1e300) is SLOW
    assert f64(1) is SLOW
    assert f64(True) is SLOW


@pytest.mark.parametrize("name", ["int8", "uint8", "int32", "int64"])
def test_python_integers(name: str) -> None:
    f = identity(name)
    info = np.iinfo(name)
    for good in (info.min, info.max, 0, 7):
        assert f(good) == good
    for bad in (info.min - 1, info.max + 1, 1 << 80, -(1 << 80), True, 1.0):
        assert f(bad) is SLOW


def test_booleans() -> None:
    f = identity("bool")
    assert f(np.bool_(False)) is np.False_
    assert f(np.bool_(True)) is np.True_
    assert f(1) is SLOW


@pytest.mark.parametrize("result", ["tuple", "list"])
def test_containers(result: Any) -> None:
    scalar = (float64, ())
    signature = Signature((scalar,) * 3, (scalar,) * 4, result=result)
    f = build(copy_scalars("double", 3, 4), signature, slow).callable
    found = f(1.0, 2.0, 3.0)
    assert type(found) is {"tuple": tuple, "list": list}[result]
    assert list(found) == [1.0, 2.0, 3.0, 1.0]
    outs = [np.zeros(()) for _ in range(4)]
    for out in (outs, tuple(outs)):
        given = f(4.0, 5.0, 6.0, out=out)
        assert all(a is b for a, b in zip(given, outs, strict=True))
        assert [float(o) for o in outs] == [4.0, 5.0, 6.0, 4.0]
    assert f(1.0, 2.0, 3.0, out=outs[:3]) is SLOW
    assert f(1.0, 2.0, 3.0, out=outs[0]) is SLOW
    assert f(1.0, 2.0, 3.0, out=[*outs[:3], 1.0]) is SLOW


def test_no_results() -> None:
    f = build(NOTHING, Signature((VECTOR,), (), ("n",), result="none"), slow).callable
    assert f(X) is None
    assert f(X, out=X) is SLOW
    empty = build(NOTHING, Signature((), (), result="tuple"), slow).callable
    assert empty() == ()


# Errors, memory, references -------------------------------------------------------------------


def test_index_error_is_raised_by_run() -> None:
    entry = build(status(1), INDEXED, slow)
    assert entry.callable(X) is SLOW
    with pytest.raises(IndexOutOfRangeError, match="out of range"):
        entry.run([X], [np.zeros(8)], [8])


def test_run_is_the_same_program() -> None:
    out = np.zeros(8)
    double().run([X], [out], [8])
    np.testing.assert_array_equal(out, 2 * X)


def test_run_refuses_unprepared_arrays() -> None:
    entry = double()
    with pytest.raises(VerificationError):
        entry.run([np.arange(16.0)[::2]], [np.zeros(8)], [8])
    with pytest.raises(VerificationError):
        entry.run([X], [np.zeros(8, np.float32)], [8])


def with_workspace(size: str, work: int = 0) -> Entry:
    """A program that returns its input through the workspace."""
    body = """
entry:
  %n = load i64, ptr %dims
  %bytes = mul i64 %n, 8
  %x = load ptr, ptr %bufs
  %y_field = getelementptr ptr, ptr %bufs, i64 1
  %y = load ptr, ptr %y_field
  %low = ptrtoint ptr %ws to i64
  %rest = and i64 %low, 63
  call void @llvm.memcpy.p0.p0.i64(ptr %ws, ptr %x, i64 %bytes, i1 false)
  call void @llvm.memcpy.p0.p0.i64(ptr %y, ptr %ws, i64 %bytes, i1 false)
  %aligned = icmp eq i64 %rest, 0
  %status = select i1 %aligned, i32 0, i32 1
  ret i32 %status
"""
    need = f"  %n = load i64, ptr %dims\n  %b = mul i64 %n, {size}\n  ret i64 %b"
    prepared: list[Entry] = []

    def prepare(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        out = np.zeros_like(x)
        prepared[0].run([x], [out], [len(x)])
        return out

    signature = Signature((VECTOR,), (VECTOR,), ("n",), work=work)
    prepared.append(build(body, signature, prepare, workspace=need))
    return prepared[0]


def test_workspace_grows_and_stays() -> None:
    entry = with_workspace("8")
    for n in (8, 100, 3, 100_000, 5):
        x = np.random.default_rng(n).random(n)
        np.testing.assert_array_equal(entry.callable(x), x)
    assert entry._workspace is not None
    assert entry._workspace.nbytes == 800_000


@pytest.mark.parametrize("size", [str(1 << 50), str(1 << 59)])
def test_too_much_workspace_is_refused(size: str) -> None:
    entry = with_workspace(size)
    with pytest.raises(MemoryError, match="bytes of workspace"):
        entry.callable(X)


def test_allocation_is_aligned() -> None:
    for n in (1, 64, 1000):
        memory = allocate(n, "f")
        assert memory.nbytes == n
        assert memory.ctypes.data % 64 == 0


def test_impossible_result_is_left_to_slow() -> None:
    signature = Signature((VECTOR,), ((float64, (N, 1 << 45)),), ("n",))
    assert build(NOTHING, signature, slow).callable(X) is SLOW


def test_references_are_balanced() -> None:
    f = double().callable
    scalars = identity("bool")
    out = np.zeros(8)
    dtype, bad = X.dtype, X.astype(np.float32)
    watched = [X, out, dtype, bad, np.True_, f, None]
    pairs = build(NOTHING, Signature((), ((float64, (4,)), (float64, ())), result="list"), slow)
    failing = build(status(1), INDEXED, slow).callable

    def once() -> None:
        f(X)
        f(X, out=out)
        f(bad)
        f(X, out=bad)
        scalars(np.True_)
        pairs.callable()
        failing(X)
        failing(X, out=out)

    once()
    gc.collect()
    before = [sys.getrefcount(w) for w in watched]
    blocks = sys.getallocatedblocks()
    for _ in range(20_000):
        once()
    assert [sys.getrefcount(w) for w in watched] == before
    assert sys.getallocatedblocks() - blocks < 100


def test_function_dies_with_its_last_reference() -> None:
    entry = double()
    f = entry.callable
    dead = weakref.ref(entry)
    del entry
    gc.collect()
    np.testing.assert_array_equal(f(X), 2 * X)  # the builtin holds all that it needs
    del f
    gc.collect()
    assert dead() is None


def test_without_native_entries_slow_is_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "matches", lambda: False)
    entry = double()
    assert entry.callable is slow
    out = np.zeros(8)
    entry.run([X], [out], [8])
    np.testing.assert_array_equal(out, 2 * X)


# Threads --------------------------------------------------------------------------------------


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run ``work(k)`` in threads; the first exception is raised here."""
    errors: list[BaseException] = []

    def guarded(k: int) -> None:
        try:
            work(k)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(k,)) for k in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("work", [0, 10**9])
def test_many_threads_call_one_function(work: int) -> None:
    entry = with_workspace("8", work)

    def call(k: int) -> None:
        x = np.random.default_rng(k).random(50 + k)
        for _ in range(2000):
            assert entry.callable(x).tobytes() == x.tobytes()

    in_threads(8, call)


#: Parameter 0 (n doubles) += 1, slowly and with a gap between load and store.
COUNT = """
entry:
  %field = getelementptr ptr, ptr %bufs, i64 0
  %p = load ptr, ptr %field
  br label %outer
outer:
  %i = phi i64 [ 0, %entry ], [ %i2, %next ]
  %pi = getelementptr double, ptr %p, i64 %i
  %v = load volatile double, ptr %pi
  br label %inner
inner:
  %j = phi i64 [ 0, %outer ], [ %j2, %inner ]
  %again = load volatile double, ptr %pi
  %j2 = add i64 %j, 1
  %more = icmp slt i64 %j2, 1000
  br i1 %more, label %inner, label %next
next:
  %w = fadd double %v, 1.0
  store volatile double %w, ptr %pi
  %i2 = add i64 %i, 1
  %left = icmp slt i64 %i2, 16
  br i1 %left, label %outer, label %done
done:
  ret i32 0
"""


def test_updates_are_serialised() -> None:
    parameter = np.zeros(16)
    signature = Signature((), (), result="none", work=10**9, parameters=1, updates=True)
    waited: list[int] = []

    def wait() -> None:
        waited.append(1)
        entry.run([], [], [])

    entry = build(COUNT, signature, wait, parameters=[parameter])

    def call(k: int) -> None:
        for _ in range(200):
            entry.callable()

    in_threads(8, call)
    np.testing.assert_array_equal(parameter, np.full(16, 1600.0))
    assert entry._state.lock == entry._state.owner == 0
    assert entry.callable() is None


def test_gil_is_released_for_long_work() -> None:
    block = """
entry:
  br label %loop
loop:
  %flag = load ptr, ptr %bufs
  %value = load volatile double, ptr %flag
  %set = fcmp one double %value, 0.0
  br i1 %set, label %done, label %loop
done:
  ret void"""
    program, block = parallel(1, block)
    signature = Signature(((float64, (1,)),), (), result="none", work=10**9)
    f = build(program, signature, slow, block=block).callable
    flag = np.zeros(1)
    timer = threading.Timer(0.05, lambda: flag.fill(1.0))
    timer.start()
    f(flag)  # would never return if the timer's thread could not run
    timer.join()


# Callable objects -----------------------------------------------------------------------------


@vectorcallable
class Compiled(NativeCallable):
    def __init__(self, target: Callable[..., Any]) -> None:
        self.target = target
        bind(self, target)

    def name(self) -> str:
        return "compiled"


class Plain(NativeCallable):
    def __init__(self, target: Callable[..., Any]) -> None:
        bind(self, target)


@pytest.mark.parametrize("kind", [Compiled, Plain])
def test_callable_objects_pass_arguments_on(kind: Any) -> None:
    f = kind(lambda *a, **k: (a, k))
    assert f() == ((), {})
    assert f(1, 2, x=3) == ((1, 2), {"x": 3})
    assert f(*[1], y=2, z=3) == ((1,), {"y": 2, "z": 3})
    np.testing.assert_array_equal(kind(double().callable)(X), 2 * X)
    with pytest.raises(ZeroDivisionError):
        kind(lambda: 1 / 0)()


class Slow:
    def __call__(self, *args: Any) -> Any:
        return "slow", args


@vectorcallable
class Mixed(Slow, NativeCallable):
    pass


def test_callable_object_of_a_native_function() -> None:
    signature = Signature((VECTOR,), (VECTOR,), ("n",))
    f = Compiled(build(DOUBLE, signature, lambda *a, **k: (a, k)).callable)
    out = np.zeros(8)
    np.testing.assert_array_equal(f(X), 2 * X)
    np.testing.assert_array_equal(f(*[X]), 2 * X)
    assert f(X, out=out) is out
    assert f(out=out, x=1) == ((), {"out": out, "x": 1})
    assert f(1, 2) == ((1, 2), {})
    assert list(map(f, [1])) == [((1,), {})]
    assert Compiled((1, 2, 1).count)(1) == 2  # a builtin with a tuple, but not such a one


def test_call_method_serves_unbound_objects() -> None:
    f = Mixed()
    assert f(1) == ("slow", (1,))
    bind(f, len)
    assert f([1, 2]) == 2
    assert f(*[[1]]) == 1


def test_callable_object_is_an_ordinary_one() -> None:
    f = Compiled(len)
    f.note = "x"  # type: ignore[attr-defined]
    assert callable(f)
    assert f.name() == "compiled"
    assert f([1, 2]) == 2
    with pytest.raises(TypeError):
        NativeCallable()()


def test_callable_object_in_a_cycle_is_collected() -> None:
    f = Compiled(len)
    f.target = f.name
    entry = build(DOUBLE, INDEXED, f.target)
    bind(f, entry.callable)
    dead = weakref.ref(f), weakref.ref(entry)
    del f, entry
    gc.collect()
    assert [d() for d in dead] == [None, None]
