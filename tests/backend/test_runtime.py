"""The worker threads and the interruption of programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest

from graphc.types import float64, int64
from graphc_llvm import runtime
from graphc_llvm.call import Signature
from graphc_llvm.entry import Entry
from graphc_llvm.target import host
from native_programs import account, build, parallel

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="threads need futexes")

BLOCKS = 1000
#: An account that lets threads take part whatever they have lost.
TRUST = 10**12

#: Input 0 (BLOCKS int64) counts how often each block ran; input 1 (16 int64) blocks per worker.
COUNT = """
entry:
  %counts = load ptr, ptr %bufs
  %field = getelementptr ptr, ptr %bufs, i64 1
  %workers = load ptr, ptr %field
  %mine = getelementptr i64, ptr %workers, i64 %worker
  br label %loop
loop:
  %i = phi i64 [ %begin, %entry ], [ %j, %loop ]
  %p = getelementptr i64, ptr %counts, i64 %i
  %old = atomicrmw add ptr %p, i64 1 monotonic
  %w = atomicrmw add ptr %mine, i64 1 monotonic
  %j = add i64 %i, 1
  %more = icmp slt i64 %j, %end
  br i1 %more, label %loop, label %done
done:
  ret void"""


def fail(*args: Any) -> None:
    raise AssertionError("the slow path was taken")


def counting(threads: int, blocks: int = BLOCKS, work: int = 10**9) -> Entry:
    program, block = parallel(blocks, COUNT)
    inputs = ((int64, (BLOCKS,)), (int64, (16,)))
    signature = Signature(inputs, (), result="none", work=work)
    return build(program, signature, fail, block=block, threads=threads)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("blocks", [0, 1, 2, 7, BLOCKS])
@pytest.mark.parametrize("work", [0, 10**9])
def test_every_block_runs_once(threads: int, blocks: int, work: int) -> None:
    f = counting(threads, blocks, work).callable
    counts, workers = np.zeros(BLOCKS, np.int64), np.zeros(16, np.int64)
    for _ in range(50):
        f(counts, workers)
    np.testing.assert_array_equal(counts[:blocks], 50)
    np.testing.assert_array_equal(counts[blocks:], 0)
    assert workers.sum() == 50 * blocks
    assert not workers[threads:].any()


@LINUX
def test_workers_take_part_also_after_a_pause() -> None:
    """Each of the two threads waits inside its block until the other is inside its own."""
    body = """
entry:
  %arrived = load ptr, ptr %bufs
  %old = atomicrmw add ptr %arrived, i64 1 seq_cst
  br label %wait
wait:
  %n = load atomic i64, ptr %arrived seq_cst, align 8
  %met = icmp sge i64 %n, 2
  br i1 %met, label %done, label %wait
done:
  ret void"""
    program, block = parallel(2, body)
    signature = Signature(((int64, (1,)),), (), result="none", work=10**9)
    f = build(program, signature, fail, block=block, threads=2).callable
    for pause in (0, 0, 0.01, 0):
        time.sleep(pause)
        account().value = TRUST
        f(np.zeros(1, np.int64))


@LINUX
def test_each_thread_begins_with_its_share() -> None:
    """No block of the first half ends before one of the second half has begun."""
    body = """
entry:
  %arrived = load ptr, ptr %bufs
  %second = icmp sge i64 %begin, 32
  %half = zext i1 %second to i64
  %mine = getelementptr i64, ptr %arrived, i64 %half
  %other_half = xor i64 %half, 1
  %other = getelementptr i64, ptr %arrived, i64 %other_half
  %worker_field = getelementptr ptr, ptr %bufs, i64 1
  %workers = load ptr, ptr %worker_field
  br label %note
note:
  %i = phi i64 [ %begin, %entry ], [ %j, %note ]
  %place = getelementptr i64, ptr %workers, i64 %i
  store i64 %worker, ptr %place
  %j = add i64 %i, 1
  %more = icmp slt i64 %j, %end
  br i1 %more, label %note, label %arrive
arrive:
  %count = sub i64 %end, %begin
  %old = atomicrmw add ptr %mine, i64 %count seq_cst
  br label %wait
wait:
  %n = load atomic i64, ptr %other seq_cst, align 8
  %met = icmp sge i64 %n, 1
  br i1 %met, label %done, label %wait
done:
  ret void"""
    program, block = parallel(64, body)
    signature = Signature(((int64, (2,)), (int64, (64,))), (), result="none", work=10**9)
    f = build(program, signature, fail, block=block, threads=2).callable
    for _ in range(20):
        arrived, workers = np.zeros(2, np.int64), np.full(64, -1)
        account().value = TRUST
        f(arrived, workers)
        assert arrived.tolist() == [32, 32]
        assert (workers[0], workers[32]) == (0, 1)
        assert set(workers.tolist()) == {0, 1}


#: One block of two waits for the other to begin. Then the one that is not the caller's runs
#: for long. Input 0: blocks that have begun; input 1: how often a worker ran any.
LATE = """
entry:
  %arrived = load ptr, ptr %bufs
  %worker_field = getelementptr ptr, ptr %bufs, i64 1
  %workers = load ptr, ptr %worker_field
  %mine = getelementptr i64, ptr %workers, i64 %worker
  %runs = atomicrmw add ptr %mine, i64 1 monotonic
  %count = sub i64 %end, %begin
  %old = atomicrmw add ptr %arrived, i64 %count seq_cst
  br label %wait
wait:
  %n = load atomic i64, ptr %arrived seq_cst, align 8
  %met = icmp sge i64 %n, 2
  br i1 %met, label %choose, label %wait
choose:
  %steps = mul i64 %worker, 100000000
  br label %loop
loop:
  %i = phi i64 [ 0, %choose ], [ %j, %more ]
  %go_on = icmp slt i64 %i, %steps
  br i1 %go_on, label %more, label %done
more:
  %v = load volatile i64, ptr %mine
  %j = add i64 %i, 1
  br label %loop
done:
  ret void"""


@LINUX
def test_workers_that_are_waited_for_are_not_used_for_a_while() -> None:
    program, block = parallel(2, LATE)
    signature = Signature(((int64, (1,)), (int64, (2,))), (), result="none", work=10**9)
    f = build(program, signature, fail, block=block, threads=2).callable
    arrived, workers = np.zeros(1, np.int64), np.zeros(2, np.int64)
    for _ in range(10):  # a worker that comes late itself is no loss
        account().value = 0
        arrived[0], workers[:] = 0, 0
        f(arrived, workers)
        assert workers.tolist() == [1, 1]
        if (debt := account().value) < 0:
            break
    assert debt < 0
    arrived[0] = 0
    f(arrived, workers)
    assert workers.tolist() == [2, 1]
    assert debt < account().value < 0


@LINUX
def test_regions_on_one_thread_pay_back() -> None:
    account().value = -(10**5)  # REPAID times as long on one thread
    f = counting(2).callable
    counts, workers = np.zeros(BLOCKS, np.int64), np.zeros(16, np.int64)
    while account().value < 0:
        f(counts, workers)
        assert workers[1] == 0
    np.testing.assert_array_equal(counts, counts[0])


@LINUX
def test_what_is_saved_counts_up_to_a_limit() -> None:
    account().value = TRUST
    f = counting(2).callable
    f(np.zeros(BLOCKS, np.int64), np.zeros(16, np.int64))
    assert account().value <= runtime.CREDIT


def test_regions_of_several_python_threads() -> None:
    f = counting(2).callable
    results = [(np.zeros(BLOCKS, np.int64), np.zeros(16, np.int64)) for _ in range(4)]

    def call(k: int) -> None:
        for _ in range(300):
            f(*results[k])

    threads = [threading.Thread(target=call, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for counts, workers in results:
        np.testing.assert_array_equal(counts, 300)
        assert workers.sum() == 300 * BLOCKS


@LINUX
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_pool_starts_again_after_fork() -> None:
    f = counting(2).callable
    counts, workers = np.zeros(BLOCKS, np.int64), np.zeros(16, np.int64)
    f(counts, workers)
    child = os.fork()
    if child == 0:
        counts[:] = 0
        for _ in range(20):
            f(counts, workers)
        os._exit(0 if (counts == 20).all() else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    f(counts, workers)
    np.testing.assert_array_equal(counts, 2)


@LINUX
def test_workers_have_the_callers_float_mode() -> None:
    """Blocks report their control word; the caller changes its rounding before the region."""
    if not runtime.text(host()).count("stmxcsr"):
        pytest.skip("x86 only")
    body = """
entry:
  %word = alloca i32
  call void asm sideeffect "stmxcsr $0", "=*m"(ptr elementtype(i32) %word)
  %modes = load ptr, ptr %bufs
  %arrived = getelementptr i64, ptr %modes, i64 2
  %old = atomicrmw add ptr %arrived, i64 1 seq_cst
  br label %wait
wait:
  %n = load atomic i64, ptr %arrived seq_cst, align 8
  %met = icmp sge i64 %n, 2
  br i1 %met, label %report, label %wait
report:
  %mode = load i32, ptr %word
  %control = and i32 %mode, -64
  %wide = zext i32 %control to i64
  %mine = getelementptr i64, ptr %modes, i64 %worker
  store i64 %wide, ptr %mine
  ret void"""
    _, block = parallel(2, body)
    for mode in (0x1F80, 0x9FC0, 0x1F80):
        within = f"""
entry:
  %new = alloca i32
  store i32 {mode}, ptr %new
  call void asm sideeffect "ldmxcsr $0", "*m"(ptr elementtype(i32) %new)
  %s = call i32 @gc_parallel(ptr %rt, ptr @block, ptr %bufs, i64 2)
  store i32 {0x1F80}, ptr %new
  call void asm sideeffect "ldmxcsr $0", "*m"(ptr elementtype(i32) %new)
  ret i32 %s
"""
        signature = Signature(((int64, (3,)),), (), result="none", work=10**9)
        f = build(within, signature, fail, block=block, threads=2).callable
        modes = np.zeros(3, np.int64)
        account().value = TRUST
        f(modes)
        assert modes[:2].tolist() == [mode & -64] * 2


#: Blocks that take some 10 ms each, and count in element 0 of the input.
SLOW = """
entry:
  %p = load ptr, ptr %bufs
  %blocks = sub i64 %end, %begin
  %steps = mul i64 %blocks, 10000000
  %number = sitofp i64 %blocks to double
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %j, %loop ]
  %v = load volatile double, ptr %p
  %j = add i64 %i, 1
  %more = icmp slt i64 %j, %steps
  br i1 %more, label %loop, label %done
done:
  %n = fadd double %v, %number
  store double %n, ptr %p
  ret void"""


def endless(threads: int, work: int, blocks: int = 4096, head: str = "") -> Entry:
    program, block = parallel(blocks, SLOW)
    program = program.replace("entry:", "entry:" + head)
    block += "\ndeclare void @gc_no_poll(ptr, i32)"
    signature = Signature(((float64, (1,)),), (), result="none", work=work)
    return build(program, signature, fail, block=block, threads=threads)


SCRIPT = """
import sys, time
sys.path[:0] = {paths!r}
import numpy as np
import signal
from test_runtime import endless
f = endless({threads}, {work})
x = np.zeros(1)
signal.signal(signal.SIGALRM, signal.default_int_handler)
for again in range(2):
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    start = time.monotonic()
    try:
        f.callable(x) if again else f.run([x], [], [])
    except KeyboardInterrupt:
        print(time.monotonic() - start)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
@pytest.mark.parametrize(("threads", "work"), [(1, 0), (1, 10**9), (2, 10**9)])
def test_interrupt_returns_soon(threads: int, work: int) -> None:
    paths = [str(Path(__file__).parent), *sys.path]
    script = SCRIPT.format(paths=paths, threads=threads, work=work)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    times = [float(line) for line in done.stdout.split()]
    assert len(times) == 2, (done.returncode, done.stderr)
    assert max(times) < 1.2


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_handler_without_exception_goes_on_and_no_poll_is_obeyed() -> None:
    x = np.zeros(1)
    seen: list[float] = []
    old = signal.signal(signal.SIGALRM, lambda *_: seen.append(x[0]))
    try:
        for on in (0, 1):
            f = endless(1, 10**9, 30, f"\n  call void @gc_no_poll(ptr %rt, i32 {on})").callable
            x[0] = 0
            signal.setitimer(signal.ITIMER_REAL, 0.03)
            f(x)
            assert x[0] == 30
    finally:
        signal.signal(signal.SIGALRM, old)
    assert len(seen) == 2
    assert 0 < seen[0] < 30
    assert seen[1] == 30


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_handler_may_call_compiled_functions() -> None:
    """Another one runs, on its own thread alone; the same one refuses if it updates."""
    inner = counting(2).callable
    counts, workers = np.zeros(BLOCKS, np.int64), np.zeros(16, np.int64)
    program, block = parallel(4096, SLOW)
    x = np.zeros(1)
    signature = Signature(
        ((float64, (1,)),), (), result="none", work=10**9, parameters=1, updates=True
    )

    def slow(*args: Any) -> None:
        outer.run([x], [], [])

    outer = build(program, signature, slow, block=block, threads=2, parameters=[np.zeros(1)])

    def handle(*_: Any) -> None:
        inner(counts, workers)
        outer.callable(x)

    old = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.03)
        with pytest.raises(RuntimeError, match="same thread"):
            outer.callable(x)
    finally:
        signal.signal(signal.SIGALRM, old)
    np.testing.assert_array_equal(counts, 1)
    assert workers[0] == BLOCKS
    assert outer._state.lock == outer._state.owner == 0


@pytest.mark.parametrize(
    ("triple", "threads"),
    [
        ("x86_64-unknown-linux-gnu", True),
        ("aarch64-unknown-linux-gnu", True),
        ("x86_64-pc-windows-msvc", False),
        ("arm64-apple-darwin24.0.0", False),
    ],
)
def test_runtime_text_of_other_systems(triple: str, threads: bool) -> None:
    text = runtime.text(replace(host(), triple=triple))
    llvm.parse_assembly(text).verify()
    assert ("@pthread_create" in text) == threads
