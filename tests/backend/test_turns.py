"""Functions that share parameters, called from several threads, from handlers, after forks."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import graphc as gr
from graphc_llvm import layout

N = 100_000  # elements: enough for calls to release the GIL


@pytest.fixture(params=["native", "through Python", "interpret"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Native calls, those of interpreters with another layout, and NumPy."""
    if request.param == "through Python":
        monkeypatch.setattr(layout, "matches", lambda: False)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield "interpret" if request.param == "interpret" else "llvm"
    sys.setswitchinterval(before)


def in_threads(*works: Callable[[], Any]) -> None:
    """Run all at once; the first exception is raised here."""
    errors: list[BaseException] = []

    def guarded(work: Callable[[], Any]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def repeat(function: Callable[[], Any], times: int) -> None:
    for _ in range(times):
        function()


def adding(*parameters: Any, by: float = 1.0, **options: Any) -> Any:
    return gr.compile([], None, {p: p + by for p in parameters}, **options)


@pytest.mark.parametrize("n", [1, N])
def test_functions_that_update_one_parameter_take_turns(n: int, backend: str) -> None:
    w = gr.parameter("w", np.zeros(n))
    functions = [adding(w, by=by, backend=backend, threads=1) for by in (1.0, 2.0, 4.0)]
    bound = functions[1].bind()

    in_threads(*[lambda f=f: repeat(f, 100) for f in (*functions, bound)])
    np.testing.assert_array_equal(w.value, np.full(n, 100.0 * (1 + 2 + 4 + 2)))


def test_readers_see_all_of_an_update_or_nothing(backend: str) -> None:
    w, v = gr.parameter("w", np.zeros(N)), gr.parameter("v", np.zeros(N))
    write = gr.compile([], None, {w: w + 1.0, v: w + 1.0}, backend=backend, threads=1)
    ends = (gr.min(w), gr.max(w), gr.min(v), gr.max(v))
    read = gr.compile([], ends, backend=backend, threads=1)
    done = threading.Event()

    def reader() -> None:
        while not done.is_set():
            assert len(set(map(float, read()))) == 1

    def writer() -> None:
        try:
            for _ in range(200):
                write()
        finally:
            done.set()

    in_threads(reader, reader, writer)
    assert w.value[0] == 200


def test_no_order_of_parameters_ends_in_waiting_for_each_other(backend: str) -> None:
    ps = [gr.parameter(f"p{i}", np.zeros(N)) for i in range(3)]
    pairs = [
        adding(*pair, backend=backend, threads=1) for pair in itertools.permutations(ps, 2)
    ]

    def work(f: Callable[[], Any]) -> None:
        for _ in range(30):
            f()

    in_threads(*[lambda f=f: work(f) for f in pairs])
    for p in ps:
        np.testing.assert_array_equal(p.value, np.full(N, 30.0 * 4))


def slow_sum(w: Any, **options: Any) -> Any:
    """A function of a parameter that takes a second or so, and can be interrupted."""
    x = gr.tensor("x", ("n",), "float64")
    y = x
    for _ in range(40):
        y = gr.sin(y) + gr.cos(y)
    return gr.compile([x], gr.sum(y) + gr.sum(w), **options)


TIMER = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")


@TIMER
@pytest.mark.parametrize("native", [True, False])
def test_a_handler_cannot_update_what_its_thread_reads(
    native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not native:
        monkeypatch.setattr(layout, "matches", lambda: False)
    w, v = gr.parameter("w", np.ones(4)), gr.parameter("v", np.ones(4))
    outer = slow_sum(w, threads=1)
    inner, other, reading = adding(w, name="inner"), adding(v), gr.compile([], gr.sum(w))
    x = np.ones(2_000_000)
    seen: list[Any] = []

    def handle(*_: Any) -> None:
        other()
        seen.append(float(reading()))
        inner()

    old = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(RuntimeError, match="inner was called while a function that uses"):
            outer(x)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert seen == [4.0]
    assert v.value[0] == 2.0
    assert w.value[0] == 1.0
    inner()  # nothing is left behind
    assert w.value[0] == 2.0


def test_a_call_that_waits_can_be_given_up() -> None:
    """The place of a call that fails while it waits is free again."""
    w = gr.parameter("w", np.ones(4))
    outer, inner = slow_sum(w, threads=1), adding(w)
    x = np.ones(1_000_000)
    thread = threading.Thread(target=outer, args=(x,))
    thread.start()
    time.sleep(0.02)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(KeyboardInterrupt):
            repeat(inner, 10**9)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    thread.join()
    before = w.value[0]
    inner()
    assert w.value[0] == before + 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_the_child_of_a_fork_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent forks while another of its threads runs a function with updates."""
    w = gr.parameter("w", np.ones(4))
    x = gr.tensor("x", ("n",), "float64")
    y = x
    for _ in range(40):
        y = gr.sin(y) + gr.cos(y)
    f = gr.compile([x], gr.sum(y), {w: w + 1.0}, threads=2)
    g = adding(w)
    large, small = np.ones(1_000_000), np.ones(100_000)
    expected = float(f(small))
    thread = threading.Thread(target=f, args=(large,))
    thread.start()
    time.sleep(0.02)
    child = os.fork()
    if child == 0:
        ok = all(float(f(small)) == expected for _ in range(3))
        before = w.value[0]
        g()
        os._exit(0 if ok and w.value[0] == before + 1 else 1)
    try:
        deadline = time.monotonic() + 60
        while not (done := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.01)
        assert os.waitstatus_to_exitcode(done[1]) == 0
    finally:
        thread.join()
    np.testing.assert_array_equal(w.value, np.full(4, 3.0))
