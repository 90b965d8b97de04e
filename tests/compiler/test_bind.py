"""Calls whose arguments are bound once."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import graphc as gr
from graphc.errors import IndexOutOfRangeError, InputError, InputTypeError

BACKENDS = pytest.mark.parametrize("backend", ["llvm", "interpret"])


def doubled(backend: str = "llvm", **options: Any) -> Any:
    x = gr.tensor("x", ("n",), "float64")
    return gr.compile([x], 2 * x, backend=backend, **options)


@BACKENDS
def test_a_bound_call_reads_and_writes_its_arrays(backend: str) -> None:
    x = np.arange(5.0)
    call = doubled(backend).bind(x)
    assert call.inputs[0] is x
    for _ in range(3):
        y = call()
        assert y is call.outputs
        np.testing.assert_array_equal(y, 2 * x)
        x += 1
    assert repr(call) == "<bound call of f>"


@BACKENDS
def test_results_are_written_to_out(backend: str) -> None:
    x, out = np.arange(5.0), np.zeros(5)
    call = doubled(backend).bind(x, out=out)
    assert call() is out
    np.testing.assert_array_equal(out, 2 * x)


@BACKENDS
@pytest.mark.parametrize("n", [0, 1, 1000])
def test_sizes_are_those_of_the_bound_arrays(n: int, backend: str) -> None:
    x, y = gr.tensor("x", ("n", "m"), "float32"), gr.tensor("y", ("n",), "float32")
    f = gr.compile([x, y], (gr.sum(x, 0), gr.concatenate([y, y])), backend=backend)
    a = np.random.default_rng(0).random((n, 3), np.float32)
    call = f.bind(a, y=a[:, 0].copy())
    sums, twice = call()
    assert sums.shape == (3,)
    assert twice.shape == (2 * n,)
    for found, expected in zip((sums, twice), f(a, a[:, 0]), strict=True):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(InputError, match="axis 0 of 'y'"):
        f.bind(a, np.zeros(n + 1, np.float32))


@BACKENDS
def test_numbers_become_arrays(backend: str) -> None:
    s, k = gr.scalar("s", dtype="float64"), gr.scalar("k", dtype="int64")
    f = gr.compile([s, k], s * k, backend=backend)
    call = f.bind(1.5, np.int64(4))
    assert float(call()) == 6.0
    assert type(call()) is np.ndarray
    assert call().shape == ()
    call.inputs[0][...] = 2.5
    assert float(call()) == 10.0


@BACKENDS
@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        (lambda x, y: {"x": x, "y": y}, lambda a, b: {"a": a, "b": b}),
        (lambda x, y: [x, {"in": (y,)}], lambda a, b: ({"a": a}, [(b,)])),
        (lambda x, y: (x, y), lambda a, b: [a, b]),
        (lambda x, y: [x, y], lambda a, b: None),
    ],
)
def test_arguments_have_the_form_of_the_function(
    inputs: Any, outputs: Any, backend: str
) -> None:
    x, y = gr.tensor("x", (3,)), gr.tensor("y", (3,))
    f = gr.compile(inputs(x, y), outputs(x + y, x - y), backend=backend)
    a, b = np.arange(3, dtype=np.float32), np.ones(3, np.float32)
    given = inputs(a, b)
    args = (given,) if isinstance(given, dict) else given
    call = f.bind(*args)
    expected = outputs(a + b, a - b)
    np.testing.assert_equal(call(), expected)
    a += 1
    np.testing.assert_equal(call(), outputs(a + b, a - b))
    assert [i.ctypes.data for i in call.inputs] == [a.ctypes.data, b.ctypes.data]
    if expected is not None:
        places = outputs(np.zeros(3, np.float32), np.zeros(3, np.float32))
        np.testing.assert_equal(f.bind(*args, out=places)(), outputs(a + b, a - b))
        np.testing.assert_equal(places, outputs(a + b, a - b))


@BACKENDS
def test_updates_happen_at_each_call(backend: str) -> None:
    w = gr.parameter("w", np.zeros(4))
    x = gr.tensor("x", (4,), "float64")
    f = gr.compile([x], gr.sum(w), {w: w + x}, backend=backend)
    call = f.bind(np.arange(4.0))
    assert [float(call()) for _ in range(3)] == [0.0, 6.0, 12.0]
    np.testing.assert_array_equal(w.value, 3 * np.arange(4.0))


@BACKENDS
def test_a_large_function_is_bound(backend: str) -> None:
    """One with workspace, threads and a released GIL."""
    x = gr.tensor("x", ("n", 64))
    w = gr.parameter("w", np.random.default_rng(0).random((64, 64), np.float32))
    f = gr.compile([x], gr.tanh(gr.tanh(x @ w) @ w), backend=backend, threads=2)
    a = np.random.default_rng(1).random((500, 64), np.float32)
    call = f.bind(a)
    for _ in range(3):
        assert call().tobytes() == f(a).tobytes()
        a *= 0.5


def test_nothing_is_allocated() -> None:
    call = doubled().bind(np.arange(8.0))
    call()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(1000):
        call()
    assert abs(sys.getallocatedblocks() - before) < 50


def test_bound_arrays_cannot_be_resized() -> None:
    x, out = np.arange(8.0), np.zeros(8)
    call = doubled().bind(x, out=out)
    for array in (x, out):
        for refcheck in (True, False):
            with pytest.raises(ValueError, match="cannot resize"):
                array.resize(10000, refcheck=refcheck)
    view = np.arange(16.0)
    other = doubled().bind(view[8:])
    with pytest.raises(ValueError, match="cannot resize"):
        view.resize(1, refcheck=False)
    del call
    x.resize(9, refcheck=False)
    assert other()[0] == 16.0


def test_a_bound_call_keeps_what_it_needs() -> None:
    x = np.arange(8.0)
    f = doubled()
    call = f.bind(x)
    alive = weakref.ref(x), weakref.ref(f)
    del x, f
    gc.collect()
    np.testing.assert_array_equal(call(), 2 * np.arange(8.0))
    del call
    gc.collect()
    assert [ref() for ref in alive] == [None, None]


def test_it_goes_away_without_the_garbage_collector() -> None:
    f = doubled()
    x = np.arange(8.0)
    call = f.bind(x)
    call()
    dead = weakref.ref(call)
    gc.disable()
    try:
        del call
        assert dead() is None
        assert sys.getrefcount(x) == 2
    finally:
        gc.enable()


@BACKENDS
def test_arguments_are_refused(backend: str) -> None:
    call = doubled(backend).bind(np.arange(3.0))
    for args, kwargs in (((1,), {}), ((), {"out": 1})):
        with pytest.raises(InputTypeError) as caught:
            call(*args, **kwargs)
        assert str(caught.value) == (
            "f: the arguments of this call are bound, it takes none\n"
            "  hint: write to its inputs, or bind other arrays"
        )


BIND_ERRORS: list[tuple[Any, str]] = [
    (np.arange(4.0)[::2], "found     an array that is not contiguous"),
    (np.arange(3, dtype=np.float32), "found     float32"),
    (np.arange(3.0).astype(">f8"), "found     >f8"),
    ([1.0, 2.0], "found     list"),
]


@BACKENDS
@pytest.mark.parametrize(("value", "found"), BIND_ERRORS, ids=[e[1][10:] for e in BIND_ERRORS])
def test_what_would_be_copied_is_refused(value: Any, found: str, backend: str) -> None:
    with pytest.raises(InputTypeError) as caught:
        doubled(backend).bind(value)
    assert str(caught.value) == (
        "f.bind: only a copy of the input 'x' could be bound, which would not see later "
        f"changes\n  expected  a contiguous array f64[n]\n  {found}\n"
        "  hint: bind np.ascontiguousarray(x, 'float64') and write to that"
    )


@BACKENDS
def test_other_errors_are_those_of_calls(backend: str) -> None:
    f = doubled(backend)
    with pytest.raises(InputTypeError, match=r"f\.bind: the input 'x' is missing"):
        f.bind()
    with pytest.raises(InputError, match=r"f\.bind: the input 'x' has 2 axes, expected 1"):
        f.bind(np.zeros((2, 2)))
    with pytest.raises(
        InputError, match=r"f\.bind: out\[0\] has shape \(3,\), expected \(2,\)"
    ):
        f.bind(np.zeros(2), out=np.zeros(3))
    with pytest.raises(InputTypeError, match=r"f: out is an array"):
        f.bind(np.zeros(2), out="x")


@BACKENDS
def test_results_need_memory_of_their_own(backend: str) -> None:
    x = np.zeros(8)
    f = doubled(backend)
    for out, why in (
        (x, "shares memory with another array"),
        (x[4:], "has shape"),
        (np.zeros(16)[::2], "is not contiguous"),
    ):
        with pytest.raises(InputError, match=rf"f\.bind: out\[0\] {why}"):
            f.bind(x, out=out)
    w = gr.parameter("w", np.zeros(8))
    x_ = gr.tensor("x", (8,), "float64")
    g = gr.compile([x_], x_ + w, {w: x_}, backend=backend)
    with pytest.raises(InputError) as caught:
        g.bind(w.value)
    assert str(caught.value) == (
        "f.bind: the input 'x' shares memory with a parameter\n  hint: bind x.copy()"
    )
    with pytest.raises(InputError, match=r"out\[0\] shares memory"):
        g.bind(x, out=w.value)


@BACKENDS
def test_indices_are_checked_at_each_call(backend: str) -> None:
    x, i = gr.tensor("x", (3,), "float64"), gr.tensor("i", ("n",), "int64")
    places = np.array([0, 2, -1])
    call = gr.compile([x, i], gr.take(x, i), backend=backend).bind(np.arange(3.0), places)
    np.testing.assert_array_equal(call(), [0, 2, 2])
    places[1] = 3
    with pytest.raises(IndexOutOfRangeError, match="index 3 is out of range for an axis of"):
        call()
    places[1] = 1
    np.testing.assert_array_equal(call(), [0, 1, 2])


def test_finite_results_are_checked_at_each_call() -> None:
    x = np.ones(3)
    u = gr.tensor("x", (3,), "float64")
    call = gr.compile([u], gr.log(u), check_finite=True).bind(x)
    np.testing.assert_array_equal(call(), np.zeros(3))
    x[1] = 0.0
    with pytest.raises(gr.errors.NonFiniteError):
        call()
    x[1] = 1.0
    assert call() is call.outputs


def test_bound_calls_of_many_threads() -> None:
    """Each has arrays of its own; they share the function's workspace and parameters."""
    x = gr.tensor("x", ("n", 8), "float64")
    w = gr.parameter("w", np.eye(8))
    f = gr.compile([x], gr.sum((x @ w) @ w, 0), threads=1)
    wrong: list[int] = []

    def work(k: int) -> None:
        a = np.full((10 + k, 8), float(k))
        call = f.bind(a)
        for _ in range(2000):
            if not (call() == k * (10.0 + k)).all():
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_a_long_bound_call_is_interrupted() -> None:
    x = gr.tensor("x", ("n", "n"))
    y = x
    for _ in range(200):
        y = gr.tanh(y @ x)
    a = np.random.default_rng(0).random((700, 700), np.float32) * 0.01
    call = gr.compile([x], y).bind(a)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
