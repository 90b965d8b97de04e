"""Calls of compiled functions: forms of arguments and results, all kinds of arrays, threads."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import graphc as gr
from graphc.types import symbol

Array = np.ndarray[Any, Any]


@pytest.fixture(params=["llvm", "interpret"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


X = np.arange(12, dtype=np.float32).reshape(3, 4)


def leaf(name: str = "x", shape: Any = ("n", 4), dtype: str = "float32") -> gr.Expr:
    return gr.tensor(name, shape, dtype)


# Forms --------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [lambda x: x, lambda x: [x], lambda x: (x,)])
def test_forms_of_inputs(given: Callable[[gr.Expr], Any], backend: str) -> None:
    x = leaf()
    f = gr.compile(given(x), 2 * x, backend=backend)
    np.testing.assert_array_equal(f(X), 2 * X)
    np.testing.assert_array_equal(f(x=X), 2 * X)


def test_forms_of_outputs(backend: str) -> None:
    x = leaf()

    def call(outputs: Any) -> Any:
        return gr.compile(x, outputs, backend=backend)(X)

    assert isinstance(call(x + 1), np.ndarray)
    assert call(None) is None
    assert call([]) == []
    assert call(()) == ()
    assert call({}) == {}
    for form in (list, tuple):
        found = call(form([x + 1, x.sum()]))
        assert type(found) is form
        np.testing.assert_array_equal(found[0], X + 1)
        assert found[1] == X.sum()
    named = call({"a": x + 1, 2: x.sum()})
    assert list(named) == ["a", 2]
    assert named[2] == X.sum()


def test_dict_of_inputs(backend: str) -> None:
    x, y = leaf(), leaf("y", ())
    f = gr.compile({"first": x, "second": y}, {"z": x * y}, backend=backend)
    for found in (
        f({"first": X, "second": 2}),
        f({"second": 2, "first": X}),
        f(second=2, first=X),
        f({"first": X}, second=2),
    ):
        np.testing.assert_array_equal(found["z"], 2 * X)
    assert type(gr.compile({"x": x}, [x])({"x": X})) is list
    assert isinstance(gr.compile({"x": x}, x)(x=X), np.ndarray)


class Pair(NamedTuple):
    left: Any
    right: Any


NESTED: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "list in tuple": (lambda a, b, c: (a, [b, c]), lambda a, b, c: (a, [b, c])),
    "tuple in list": (lambda a, b, c: [(a,), b, c], lambda a, b, c: [(a,), b, c]),
    "dict in dict": (
        lambda a, b, c: {"x": a, "rest": {"y": b, 3: c}},
        lambda a, b, c: {"x": a, "rest": {"y": b, 3: c}},
    ),
    "named tuple": (lambda a, b, c: Pair(a, [b, (c,)]), lambda a, b, c: Pair(a, [b, (c,)])),
    "empty parts": (
        lambda a, b, c: [(), a, None, {}, [b, c]],
        lambda a, b, c: [(), a, None, {}, [b, c]],
    ),
}


@pytest.mark.parametrize("form", NESTED)
def test_nested_forms(form: str, backend: str) -> None:
    """Inputs, outputs and ``out=`` in one form each."""
    takes, gives = NESTED[form]
    x, y, z = leaf("x", ()), leaf("y", ()), leaf("z", ())
    f = gr.compile(takes(x, y, z), gives(x + y, y * z, -z), backend=backend)
    given = takes(1, 2, 3)
    found = f(given) if isinstance(given, dict) else f(*given)
    assert found == gives(3, 6, -3)
    assert type(found) is type(gives(0, 0, 0))
    out = gives(*(np.zeros((), np.float32) for _ in range(3)))
    again = f(given, out=out) if isinstance(given, dict) else f(*given, out=out)
    assert again == gives(3, 6, -3)
    assert out == again


def test_value_and_grad_is_compiled_as_it_is(backend: str) -> None:
    a, b = leaf("a", (3,), "float64"), leaf("b", (), "float64")
    f = gr.compile([a, b], gr.value_and_grad(b * gr.square(a).sum(), [a, b]), backend=backend)
    value, (slope, factor) = f([1.0, 2.0, 3.0], 2.0)
    assert (value, slope.tolist(), factor) == (28.0, [4.0, 8.0, 12.0], 14.0)


def test_nested_inputs_by_keyword(backend: str) -> None:
    x, y, z = leaf("x", ()), leaf("y", ()), leaf("z", ())
    f = gr.compile([[x, y], z], x - 2 * y + 4 * z, backend=backend)
    assert f([1, 2], z=3) == f((1, 2), 3) == 9
    g = gr.compile({"first": [x, y], "z": z}, x - 2 * y + 4 * z, backend=backend)
    assert g(first=[1, 2], z=3) == g({"first": (1, 2)}, z=3) == 9


def test_keywords(backend: str) -> None:
    x, y, z = (leaf(n, ()) for n in "xyz")
    f = gr.compile([x, y, z], x - 2 * y + 4 * z, backend=backend)
    assert f(1, 2, 3) == f(1, z=3, y=2) == f(z=3, y=2, x=1) == 9


def test_no_inputs(backend: str) -> None:
    assert gr.compile([], gr.constant(2.0) + 1, backend=backend)() == 3
    assert gr.compile({}, {"a": gr.arange(3)}, backend=backend)({})["a"].tolist() == [0, 1, 2]


def test_an_input_that_nothing_needs(backend: str) -> None:
    x, y = leaf(), leaf("y", ("n", "m"))
    f = gr.compile([x, y], x + 1, backend=backend)
    np.testing.assert_array_equal(f(X, np.ones((3, 9), np.float32)), X + 1)
    with pytest.raises(gr.errors.InputError):
        f(X, np.ones((2, 9), np.float32))


def test_outputs_that_are_leaves_or_alike(backend: str) -> None:
    x, p, c = leaf(), gr.parameter("p", X), gr.constant(X)
    double = 2 * x
    f = gr.compile(x, [x, p, c, double, double, x.T, x[0], gr.constant(5)], backend=backend)
    found = f(X)
    expected = [X, X, X, 2 * X, 2 * X, X.T, X[0], 5]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    for number, a in enumerate(found[:-1]):
        assert a.flags.writeable
        assert a.flags.c_contiguous
        assert not any(np.may_share_memory(a, b) for b in [X, p.value, *found[:number]])


@pytest.mark.parametrize(
    "name", ["out0", "add_2", "constant0", "k0", "k0_row0", 'a "b"\n%x', "ü"]
)
def test_any_name_of_a_leaf(name: str) -> None:
    x, p = leaf(name), gr.parameter("out1", X[0])
    table = gr.constant(X[0])
    shifted = gr.exp(x + p) * table
    outputs = [gr.nn.log_softmax(gr.tanh(shifted)), x @ x.T + shifted.sum()]
    found = gr.compile(x, outputs)(X / 10)
    expected = gr.compile(x, outputs, backend="interpret")(X / 10)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


# Rank 0, Python numbers, lists --------------------------------------------------------------

DTYPES = ["bool", "int8", "uint8", "int32", "int64", "float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_rank_zero(dtype: str, backend: str) -> None:
    x = leaf("x", (), dtype)
    f = gr.compile(x, [x, gr.equal(x, 1)], backend=backend)
    one = np.dtype(dtype).type(1)
    for given in (one, np.asarray(one), True if dtype == "bool" else 1):
        same, equal = f(given)
        assert type(same) is type(one)
        assert same == one
        assert equal is np.True_


def test_python_numbers(backend: str) -> None:
    def call(dtype: str, value: Any, shape: Any = ()) -> Any:
        x = leaf("x", shape, dtype)
        return gr.compile(x, x + 0, backend=backend)(value)

    assert call("float32", 0.1) == np.float32(0.1)
    assert call("float64", 3) == 3.0
    assert call("float32", 2**70) == np.float32(2.0**70)
    assert np.isinf(call("float32", float("inf")))
    assert np.isnan(call("float32", float("nan")))
    assert call("int8", -128) == -128
    assert call("uint8", 255) == 255
    assert call("int32", True) == 1
    assert call("uint8", [0, 255], (2,)).tolist() == [0, 255]
    assert call("int8", ((1,), (-2,)), (2, 1)).tolist() == [[1], [-2]]
    assert call("int8", [], (0,)).tolist() == []
    assert call("bool", [True, False], (2,)).tolist() == [True, False]
    assert call("float32", [1, 2.5], (2,)).tolist() == [1, 2.5]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("int8", 128), ("int8", [1, -129]), ("uint8", -1), ("uint8", [256]), ("int32", 2**31),
        ("int64", 2**63), ("int64", [2**80]), ("float32", 1e39), ("float32", [-1e39]),
        ("float32", 10**39), ("float64", 10**400),
    ],
)  # fmt: skip
def test_python_numbers_out_of_range(dtype: str, value: Any, backend: str) -> None:
    x = leaf(
        "x", (1,) if isinstance(value, list) and len(value) == 1 else np.shape(value), dtype
    )
    f = gr.compile(x, x, backend=backend)
    with pytest.raises(gr.errors.InputError, match="a number given for 'x' is out of range"):
        f(value)


# Arrays of every kind -----------------------------------------------------------------------


def kinds_of_arrays() -> dict[str, Array]:
    wide = np.zeros((6, 8), np.float32)
    wide[::2, ::2] = X
    frozen = X.copy()
    frozen.flags.writeable = False
    buffer = np.zeros(X.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(X.shape)
    buffer[...] = X
    return {
        "strided": wide[::2, ::2],
        "fortran": np.asfortranarray(X),
        "reversed": X[::-1, ::-1].copy()[::-1, ::-1],
        "broadcast": np.broadcast_to(X[:1], X.shape),
        "swapped bytes": X.astype(">f4"),
        "read-only": frozen,
        "unaligned": buffer,
        "float16": X.astype(np.float16),
        "int8": X.astype(np.int8),
        "subclass": X.view(np.recarray),
        "list": X.tolist(),
        "empty": X[:0],
    }


@pytest.mark.parametrize("kind", kinds_of_arrays())
def test_arrays_of_every_kind(kind: str, backend: str) -> None:
    given = kinds_of_arrays()[kind]
    x = leaf()
    f = gr.compile(x, [x * 2, x.T + 1, x.sum()], backend=backend)
    plain = np.array(given, np.float32)
    double, turned, total = f(given)
    np.testing.assert_array_equal(double, 2 * plain)
    np.testing.assert_array_equal(turned, plain.T + 1)
    assert total == plain.sum()


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 0)])
def test_empty_arrays(shape: tuple[int, int], backend: str) -> None:
    x = leaf("x", ("n", "m"))
    outputs = [
        x + 1, x.sum(), x.sum(0), x.sum(1), gr.exp(x).T, x @ x.T, gr.cumsum(x, 0),
        gr.concatenate([x, x]), gr.pad(x, 1), gr.prod(x, 1), gr.all(x > 0), gr.ravel(x),
    ]  # fmt: skip
    f = gr.compile(x, outputs, backend=backend)
    a = np.zeros(shape, np.float32)
    expected = [
        a + 1, a.sum(), a.sum(0), a.sum(1), np.exp(a).T, a @ a.T, np.cumsum(a, 0),
        np.concatenate([a, a]), np.pad(a, 1), a.prod(1), np.all(a > 0), a.ravel(),
    ]  # fmt: skip
    for found, e in zip(f(a), expected, strict=True):
        assert found.shape == e.shape
        np.testing.assert_array_equal(found, e)


# out= ---------------------------------------------------------------------------------------


def test_out(backend: str) -> None:
    x = leaf()
    single = gr.compile(x, 2 * x, backend=backend)
    for out in (
        np.zeros_like(X),
        np.zeros((4, 3), np.float32).T,
        np.zeros((3, 8), "f4")[:, ::2],
    ):
        assert single(X, out=out) is out
        np.testing.assert_array_equal(out, 2 * X)
    several = gr.compile(x, (x + 1, x.sum()), backend=backend)
    outs = [np.zeros_like(X), np.zeros((), np.float32)]
    for given in (outs, tuple(outs)):
        found = several(X, out=given)
        assert type(found) is tuple
        assert all(a is b for a, b in zip(found, outs, strict=True))
        np.testing.assert_array_equal(outs[0], X + 1)
        assert outs[1] == X.sum()
    named = gr.compile({"x": x}, {"a": x + 1, "b": x.sum()}, backend=backend)
    assert named({"x": X}, out={"b": outs[1], "a": outs[0]})["b"] is outs[1]
    assert named(x=X)["b"] == X.sum()
    assert single(X, out=None) is not None


def test_out_that_overlaps(backend: str) -> None:
    """Results are as if they were computed before anything is written."""
    x = leaf()
    f = gr.compile(x, [gr.flip(x), x.T @ x], backend=backend)
    a = X.copy()
    f(a, out=[a, np.zeros((4, 4), np.float32)])
    np.testing.assert_array_equal(a, X[::-1, ::-1])
    shared = np.zeros((4, 4), np.float32)
    shared[:3] = X
    f(shared[:3], out=[np.zeros_like(X), shared])
    np.testing.assert_array_equal(shared, X.T @ X)
    memory = np.zeros(20, np.float32)
    _, product = f(X, out=[memory[:12].reshape(3, 4), memory[4:].reshape(4, 4)])
    np.testing.assert_array_equal(product, X.T @ X)


def test_out_of_a_subclass_keeps_its_kind() -> None:
    x = leaf()
    out = np.ma.zeros((3, 4), np.float32)
    assert gr.compile(x, 2 * x)(X, out=out) is out
    np.testing.assert_array_equal(out.data, 2 * X)


# Symbolic sizes -----------------------------------------------------------------------------


def test_one_function_for_all_sizes(backend: str) -> None:
    x, w = leaf("x", ("n", "m"), "float64"), leaf("w", ("m", 3), "float64")
    f = gr.compile([x, w], [gr.softmax(x @ w), x.sum(0), gr.mean(x, 1)], backend=backend)
    rng = np.random.default_rng(0)
    for n, m in [(1, 1), (7, 5), (128, 64), (3, 1000), (1000, 2), (7, 5)]:
        a, b = rng.normal(size=(n, m)), rng.normal(size=(m, 3))
        soft, down, across = f(a, b)
        e = np.exp(a @ b - (a @ b).max(1, keepdims=True))
        np.testing.assert_allclose(soft, e / e.sum(1, keepdims=True), rtol=1e-12)
        np.testing.assert_allclose(down, a.sum(0), atol=1e-11)
        np.testing.assert_allclose(across, a.mean(1), atol=1e-12)


def test_derived_sizes(backend: str) -> None:
    n = symbol("n")
    x, y = leaf("x", (n,)), leaf("y", (2 * n + 1,))
    f = gr.compile([x, y], gr.concatenate([x, y]), backend=backend)
    for size in (0, 1, 9):
        a, b = np.ones(size, np.float32), np.zeros(2 * size + 1, np.float32)
        np.testing.assert_array_equal(f(a, b), np.concatenate([a, b]))
    with pytest.raises(gr.errors.InputError, match=r"size 4, expected 2\*n \+ 1 = 3"):
        f(np.ones(1, np.float32), np.ones(4, np.float32))
    only = gr.compile(y, y * 1, backend=backend)
    assert only(np.ones(7, np.float32)).shape == (7,)
    with pytest.raises(gr.errors.InputError):
        only(np.ones(8, np.float32))


def test_sizes_in_values(backend: str) -> None:
    x = leaf("x", ("n", "m"), "float64")
    outputs = [gr.mean(x), gr.arange("n"), gr.reshape(x, (-1,)), gr.var(x, 0)]
    f = gr.compile(x, outputs, backend=backend)
    a = np.random.default_rng(1).normal(size=(6, 5))
    for found, e in zip(f(a), [a.mean(), np.arange(6), a.ravel(), a.var(0)], strict=True):
        np.testing.assert_allclose(found, e, rtol=1e-12)


V = gr.vector("v", "n", "float32")
N = V.shape[0]
WHOLE = gr.vector("k", "n", "int32")
#: Sizes in formulas, and the same in NumPy's words, for three elements 1, 2, 3.
SIZES: dict[str, tuple[Callable[[], Any], Callable[[Any, Any, int], Any]]] = {
    "quotient": (lambda: gr.sum(V) / N, lambda v, k, n: v.sum() / n),
    "from the left": (lambda: N / V, lambda v, k, n: n / v),
    "product": (lambda: V * N, lambda v, k, n: v * n),
    "product from the left": (lambda: (2 * N + 1) * V, lambda v, k, n: (2 * n + 1) * v),
    "sum": (lambda: V + (N - 1), lambda v, k, n: v + (n - 1)),
    "difference": (lambda: N - V, lambda v, k, n: n - v),
    "power": (lambda: V**N, lambda v, k, n: v**n),
    "remainder": (lambda: N % V, lambda v, k, n: n % v),
    "floor": (lambda: (N + 4) // V, lambda v, k, n: (n + 4) // v),
    "half": (lambda: V * (N // 2), lambda v, k, n: v * (n // 2)),
    "comparison": (lambda: V < N, lambda v, k, n: v < n),
    "comparison from the left": (lambda: N >= V + 1, lambda v, k, n: n >= v + 1),
    "maximum": (lambda: gr.maximum(V, N - 1), lambda v, k, n: np.maximum(v, n - 1)),
    "select": (lambda: gr.where(V > 1, V, N), lambda v, k, n: np.where(v > 1, v, n)),
    "NumPy's function": (lambda: np.multiply(V, N), lambda v, k, n: v * n),
    "integers": (lambda: WHOLE * N, lambda v, k, n: k * n),
    "alone": (lambda: gr.constant(N), lambda v, k, n: np.int64(n)),
    "with a type": (lambda: gr.constant(N * N, "float64"), lambda v, k, n: np.float64(n * n)),
    "of a function": (lambda: gr.sqrt(N), lambda v, k, n: np.sqrt(n)),
    "gradient": (lambda: gr.grad(gr.sum(V * V) / N, V), lambda v, k, n: 2 * v / n),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_numbers_in_formulas(name: str, backend: str) -> None:
    """Weak like Python's ints: the element type is that of the partner."""
    build, expected = SIZES[name]
    v, k = np.array([1, 2, 3], np.float32), np.array([1, 2, 3], np.int32)
    found = gr.compile([V, WHOLE], build(), backend=backend)(v, k)
    wanted = np.asarray(expected(v, k, 3))
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_sizes_that_an_element_type_cannot_hold(backend: str) -> None:
    x = gr.vector("x", "n", "uint8")
    f = gr.compile(x, x + x.shape[0], backend=backend)
    assert f(np.ones(255, np.uint8))[0] == 0
    with pytest.raises(gr.errors.InputError, match="a size must fit into uint8") as caught:
        f(np.ones(256, np.uint8))
    assert "at least 0 needed (n = 256)" in str(caught.value)


# Threads, memory, interruption --------------------------------------------------------------


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


@pytest.mark.parametrize("size", [10, 50_000])
def test_many_python_threads_call_at_once(size: int, backend: str) -> None:
    x = leaf("x", ("n",), "float64")
    f = gr.compile(x, [gr.cumsum(x * 2), (x * x).sum()], backend=backend, threads=2)

    def work(k: int) -> None:
        a = np.full(size, k + 1.0)
        for _ in range(20):
            running, total = f(a)
            assert running[-1] == 2 * (k + 1) * size
            assert total == (k + 1) ** 2 * size

    in_threads(8, work)


@pytest.mark.parametrize("size", [10, 50_000])
def test_calls_that_update_come_one_after_the_other(size: int, backend: str) -> None:
    p = gr.parameter("p", np.zeros(size))
    x = gr.scalar("x", dtype="float64")
    step = gr.compile(x, p[0], {p: p + x}, backend=backend, threads=2)
    in_threads(8, lambda k: [step(1.0) for _ in range(25)] and None)
    np.testing.assert_array_equal(p.value, np.full(size, 200.0))


def test_results_do_not_depend_on_threads() -> None:
    x = leaf("x", ("n", 300), "float64")
    outputs = [
        x.sum(),
        x.sum(0),
        gr.softmax(x),
        gr.nn.layer_norm(x),
        x.T @ x,
        gr.grad(gr.sum(gr.tanh(x) ** 3), x),
    ]
    a = np.random.default_rng(2).normal(size=(1000, 300))
    runs = [gr.compile(x, outputs, threads=n)(a) for n in (1, 2, 5)]
    for one, *others in zip(*runs, strict=True):
        assert all(one.tobytes() == o.tobytes() for o in others)


@pytest.mark.parametrize("rows", [1 << 38, 1 << 50])
def test_too_much_memory_is_refused_before_anything_runs(rows: int) -> None:
    x, p = leaf("x", ("n", 1)), gr.parameter("p", X)
    wide = gr.exp(x) * gr.constant(np.ones((1, 1000), np.float32))
    step = gr.compile(x, gr.cumsum(wide, 0).sum(), {p: p + 1 + 0 * gr.sum(gr.sin(wide))})
    huge = np.broadcast_to(np.float32(0), (rows, 1))
    with pytest.raises(MemoryError):
        step(huge)
    np.testing.assert_array_equal(p.value, X)
    step(X[:, :1])
    np.testing.assert_array_equal(p.value, X + 1)


def test_too_large_a_result_is_refused() -> None:
    x, y, p = leaf("x", ("n", 1)), leaf("y", (1, "m")), gr.parameter("p", X)
    step = gr.compile([x, y], x * y, {p: p + 1})
    a = np.ones((1 << 24, 1), np.float32)
    with pytest.raises(MemoryError):
        step(a, a.T)
    np.testing.assert_array_equal(p.value, X)


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    try:
        return process.communicate(timeout=100)
    finally:
        process.kill()


def child(code: str) -> subprocess.Popen[str]:
    program = (
        "import numpy as np, graphc as gr, os, signal, threading, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n" + textwrap.dedent(code)
    )
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", program], stdout=pipe, stderr=pipe, text=True
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_interruption_leaves_parameters(threads: int) -> None:
    process = child(f"""
        x, p = gr.tensor("x", ("n",), "float64"), gr.parameter("p", np.zeros(4))
        total = x
        for _ in range(40):
            total = gr.sin(total) + gr.tanh(total * x)
        outer = gr.sum(gr.sin(gr.expand_dims(total, 1) * gr.expand_dims(x, 0)))
        step = gr.compile(x, outer, {{p: p + 1 + 0 * outer}}, threads={threads})
        step(np.ones(10))
        print("ready", flush=True)
        try:
            step(np.ones(60_000))
        except KeyboardInterrupt:
            print("interrupted", p.value.tolist())
        print(step(np.ones(10)) == step(np.ones(10)), p.value.tolist())
    """)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    threading.Event().wait(0.3)
    process.send_signal(signal.SIGINT)
    out, err = finish(process)
    assert out.splitlines() == [
        "interrupted [1.0, 1.0, 1.0, 1.0]",
        "True [3.0, 3.0, 3.0, 3.0]",
    ], err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_fork() -> None:
    process = child("""
        import warnings
        warnings.simplefilter("ignore")
        x, p = gr.tensor("x", ("n", 400), "float64"), gr.parameter("p", np.zeros(400))
        f = gr.compile(x, gr.sum(gr.exp(x) @ gr.exp(x).T), {p: p + gr.mean(x, 0)}, threads=2)
        a = np.full((500, 400), 0.5)
        expected = f(a)
        pids = []
        for k in range(3):
            pid = os.fork()
            if not pid:
                new = gr.compile(x, gr.sum(x), threads=2)
                same = f(a) == expected and p.value[0] == 1.0 and new(a) == 100_000
                os._exit(0 if same else 1)
            pids.append(pid)
        print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids])
        print(f(a) == expected, p.value[0])
    """)
    out, err = finish(process)
    assert out.splitlines() == ["[0, 0, 0]", "True 1.0"], err


def test_functions_die_while_others_run() -> None:
    x = leaf("x", ("n",), "float64")
    kept = gr.compile(x, gr.cumsum(gr.sin(x)), threads=2)
    a = np.linspace(0, 1, 20_000)
    expected = kept(a)
    stop = threading.Event()

    def run(_: int) -> None:
        while not stop.is_set():
            assert kept(a).tobytes() == expected.tobytes()

    def churn() -> None:
        for k in range(15):
            state = gr.parameter("p", [1.0])
            f = gr.compile(x, gr.sin(x) * k, {state: 2 * state} if k % 2 else None)
            f(a)
            dead = weakref.ref(f)
            del f
            gc.collect()
            assert dead() is None
        stop.set()

    def work(k: int) -> None:
        try:
            churn() if k == 0 else run(k)
        finally:
            stop.set()

    in_threads(3, work)


def test_a_function_may_die_during_its_own_call() -> None:
    x = leaf("x", ("n",), "float64")
    a = np.linspace(0, 1, 200_000)
    assert gr.compile(x, gr.sum(gr.sin(x)) * 0)(a) == 0


def test_repr_names_types() -> None:
    inputs = [leaf(), leaf("t", ("n",), "int8")]
    f = gr.compile(inputs, [gr.constant(1.0)], name="step")
    assert repr(f) == "<compiled function step(x: f32[n, 4], t: i8[n]) -> f32[]>"
