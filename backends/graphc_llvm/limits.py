"""What this machine can do: arithmetic and memory bandwidth, measured by small native loops.

The loops use the widest vectors of the target. Each is run several times, on as many threads
at once as asked for, each on memory of its own; the best counts.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache as once
from functools import partial
from pathlib import Path
from threading import Barrier

from graphc.backend import Array, Level, Limits
from graphc_llvm import cache
from graphc_llvm.emit import Function, Module
from graphc_llvm.entry import allocate
from graphc_llvm.jit import engine
from graphc_llvm.target import Target, host

#: Results under way at once: more than the latency of an operation times those in a cycle.
SUMS = 12
#: Vectors of one turn of a loop over memory.
UNROLL = 12
#: Seconds of one measurement, and how many there are at least and at most.
SECONDS, LEAST, MOST = 2e-3, 3, 20
#: Bytes that no cache shall hold, at most; sizes of caches where the system tells none.
MEMORY = 1 << 28
CACHES = {1: 1 << 15, 2: 1 << 20, 3: 1 << 25}

_LLVM = {"float32": "float", "float64": "double"}

Loop = Callable[..., None]


# The loops: void (ptr a, ptr b, ptr c, i64 turns, i64 times) ----------------------------------


def text(target: Target) -> str:
    """LLVM text of ``peak_float32``, ``peak_float64``, ``read`` and ``triad``."""
    module = Module(target)
    for dtype, itemsize in (("float32", 4), ("float64", 8)):
        _write_peak(module, dtype, target.lanes(itemsize))
    _write_read(module, target.lanes(4))
    _write_triad(module, target.lanes(4))
    return module.text()


def _begin(module: Module, name: str) -> Function:
    """A function that is in the middle of its loops; ``%i`` counts turns."""
    params = [("ptr", "a"), ("ptr", "b"), ("ptr", "c"), ("i64", "turns"), ("i64", "times")]
    f = Function(module, name, "void", params)
    f.branch("again")
    f.label("again")
    f.do("%time = phi i64 [ 0, %entry ], [ %later, %over ]")
    f.branch("loop")
    f.label("loop")
    f.do("%i = phi i64 [ 0, %again ], [ %next, %loop ]")
    return f


def _end(f: Function) -> None:
    f.do("%next = add i64 %i, 1")
    f.branch_if(f.op("icmp ult i64 %next, %turns"), "loop", "over")
    f.label("over")
    f.do("%later = add i64 %time, 1")
    f.branch_if(f.op("icmp ult i64 %later, %times"), "again", "done")
    f.label("done")


def _write_peak(module: Module, dtype: str, lanes: int) -> None:
    """``s = s / 2 + 1`` for many independent vectors ``s``; they converge to 2."""
    scalar = _LLVM[dtype]
    f = _begin(module, f"peak_{dtype}")
    kind = _keep_sums(f, scalar, lanes)
    half, one = (f"splat ({scalar} {value})" for value in ("0.5", "1.0"))
    for k in range(SUMS):
        if module.target.fma:
            fma = f"llvm.fma.v{lanes}f{8 * (4 if scalar == 'float' else 8)}"
            module.declare(f"{kind} @{fma}({kind}, {kind}, {kind})")
            f.do(f"%n{k} = call {kind} @{fma}({kind} %s{k}, {kind} {half}, {kind} {one})")
        else:
            product = f.op(f"fmul {kind} %s{k}, {half}")
            f.do(f"%n{k} = fadd {kind} {product}, {one}")
    _end(f)
    _store_sums(f, kind)


def _write_read(module: Module, lanes: int) -> None:
    """Sums of the vectors at ``b``."""
    f = _begin(module, "read")
    kind = _keep_sums(f, "float", lanes)
    for k, place in enumerate(_places(f, kind, "b")):
        f.do(f"%n{k} = fadd {kind} %s{k}, {f.op(f'load {kind}, ptr {place}')}")
    _end(f)
    _store_sums(f, kind)


def _write_triad(module: Module, lanes: int) -> None:
    """``a = b + c / 2``"""
    kind = f"<{lanes} x float>"
    f = _begin(module, "triad")
    half = "splat (float 0.5)"
    places = zip(*(list(_places(f, kind, name)) for name in "abc"), strict=True)
    for a, b, c in places:
        scaled = f.op(f"fmul {kind} {f.op(f'load {kind}, ptr {c}')}, {half}")
        total = f.op(f"fadd {kind} {scaled}, {f.op(f'load {kind}, ptr {b}')}")
        f.do(f"store {kind} {total}, ptr {a}")
    _end(f)
    f.do("ret void")
    f.finish()


def _keep_sums(f: Function, scalar: str, lanes: int) -> str:
    """Begin with zeros ``%s0`` to ``%s11``, which become ``%n0`` to ``%n11``; their type."""
    kind = f"<{lanes} x {scalar}>"
    for k in range(SUMS):
        f.do(f"%s{k} = phi {kind} [ zeroinitializer, %again ], [ %n{k}, %loop ]")
    return kind


def _store_sums(f: Function, kind: str) -> None:
    for k in range(SUMS):
        place = f.op(f"getelementptr {kind}, ptr %a, i64 {k}")
        f.do(f"store {kind} %n{k}, ptr {place}")
    f.do("ret void")
    f.finish()


def _places(f: Function, kind: str, array: str) -> Iterator[str]:
    """The vectors of this turn."""
    first = f.op(f"mul i64 %i, {UNROLL}")
    for k in range(UNROLL):
        number = f.op(f"add i64 {first}, {k}")
        yield f.op(f"getelementptr {kind}, ptr %{array}, i64 {number}")


# The measurement ------------------------------------------------------------------------------


@once
def measured(threads: int) -> Limits:
    """What the machine can do with so many threads."""
    target = host()
    code = engine(target).library(partial(text, target), cache.SOURCE, "limits")
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 2)
    loops = {name: kind(address) for name, address in code.symbols.items()}
    with ThreadPoolExecutor(threads) as pool:
        team = _Team(pool, threads)
        flops = {
            dtype: team.rate(loops[f"peak_{dtype}"], 1000, 1) * 2000 * SUMS * target.lanes(size)
            for dtype, size in (("float32", 4), ("float64", 8))
        }
        turn = UNROLL * target.vector_bytes
        levels = []
        for name, holds, size in _levels(threads):
            read = team.rate(loops["read"], size // turn, 1) * (size // turn) * turn
            part = size // 3 // turn
            triad = team.rate(loops["triad"], part, 3) * 3 * part * turn
            levels.append(Level(name, holds, read, triad))
    return Limits(threads, flops, tuple(levels))


class _Team:
    """Threads that run a loop at the same time, each on memory of its own."""

    def __init__(self, pool: ThreadPoolExecutor, threads: int) -> None:
        self.pool = pool
        nbytes = _levels(threads)[-1][2]
        self.memory = [allocate(nbytes, "the measurement of limits") for _ in range(threads)]
        for block in self.memory:
            block[...] = 0  # or all pages are one

    def rate(self, loop: Loop, turns: int, arrays: int) -> float:
        """Loops a second, of all threads together, at best."""
        times = 1
        while (rate := self._once(loop, turns, arrays, times)) * SECONDS > times:
            times = max(2 * times, int(rate * SECONDS / len(self.memory)))
        found, start = [rate], time.perf_counter()
        while len(found) < LEAST or (
            len(found) < MOST and time.perf_counter() - start < SECONDS * MOST
        ):
            found.append(self._once(loop, turns, arrays, times))
        return max(found)

    def _once(self, loop: Loop, turns: int, arrays: int, times: int) -> float:
        barrier = Barrier(len(self.memory))

        def run(block: Array) -> float:
            step = block.nbytes // arrays // 64 * 64
            places = [block.ctypes.data + k * step * (arrays > 1) for k in range(3)]
            barrier.wait()
            start = time.perf_counter()
            loop(*places, turns, times)
            return times / (time.perf_counter() - start)

        return sum(self.pool.map(run, self.memory))


def _levels(threads: int) -> list[tuple[str, int | None, int]]:
    """Name, bytes that all threads' caches hold, bytes to measure with on each thread."""
    first, second, third = (_cache(level) for level in CACHES)
    shared = max(third // 4 // threads, 2 * second)
    memory = min(MEMORY, 4 * third) // threads
    return [
        ("L1", first * threads, first // 2),
        ("L2", second * threads, second // 2),
        ("L3", third, shared),
        ("memory", None, max(memory, 2 * shared)),
    ]


@once
def _cache(level: int) -> int:
    """Bytes of a cache of data, as Linux tells them."""
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            fields = [(folder / name).read_text().strip() for name in ("level", "type", "size")]
        except OSError:
            continue
        if fields[0] == str(level) and fields[1] != "Instruction":
            return int(fields[2].removesuffix("K")) * 1024
    return CACHES[level]
