"""How calls scale with threads, and what happens when other programs keep the cores busy.

Each function is compiled for one and for several threads; the two are called in turn, and the
best and the median wall times are compared. ``--busy N`` does it beside N endless loops: then
a call may be as slow as one core less makes it, but no slower. To be run on a quiet machine.

Run as ``python tests/bench/bench_threads.py [filter] [--threads N] [--busy N] [--json FILE]``.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from tables import Figures, Table, parser, save

import graphc as gr

SECONDS = 1.0  # for each function
Case = tuple[str, list[Any], Any, dict[Any, Any] | None, list[np.ndarray[Any, Any]]]


def array(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def cases() -> Iterator[Case]:
    """Title, inputs, outputs, updates and arguments of each function."""
    x = gr.tensor("x", ("n",))
    for n in (1_000, 10_000, 100_000, 1_000_000, 10_000_000):
        yield f"tanh, {n} elements", [x], gr.tanh(x), None, [array(n)]
    for n in (100_000, 1_000_000, 10_000_000):
        yield f"sum, {n} elements", [x], gr.sum(x), None, [array(n)]
    a, b = gr.tensor("a", ("m", "k")), gr.tensor("b", ("k", "n"))
    for n in (32, 64, 128, 256, 512, 1024):
        yield f"product, {n} x {n}", [a, b], a @ b, None, [array(n, n), array(n, n)]
    v = gr.tensor("v", ("k",))
    yield "vector by matrix, 784 x 500", [v, b], v @ b, None, [array(784), array(784, 500)]
    c, d = gr.tensor("c", ("batch", "m", "k")), gr.tensor("d", ("batch", "k", "n"))
    operands = [array(16, 16, 16), array(16, 16, 256)]
    yield "16 products, 16 x 16 x 256", [c, d], c @ d, None, operands
    for n in (32, 128, 1024):
        yield f"softmax, {n} x 1000", [a], gr.softmax(a), None, [array(n, 1000)]
    for batch in (1, 8, 32, 128, 1024):
        yield f"training step, batch {batch}", *training(batch)


def training(batch: int) -> tuple[list[Any], Any, dict[Any, Any], list[np.ndarray[Any, Any]]]:
    """A step of an MLP 784-500-500-10 with SGD."""
    x, t = gr.tensor("x", ("n", 784)), gr.tensor("t", ("n",), "int64")
    h, parameters = x, []
    for i, (m, n) in enumerate([(784, 500), (500, 500), (500, 10)]):
        w, c = gr.parameter(f"w{i}", array(m, n) / 20), gr.parameter(f"c{i}", array(n))
        h = (gr.nn.relu(h) if i else h) @ w + c
        parameters += [w, c]
    loss = gr.mean(gr.nn.cross_entropy(h, t))
    gradient = gr.grad(loss, parameters)
    updates = {p: p - 0.01 * g for p, g in zip(parameters, gradient, strict=True)}
    labels = np.random.default_rng(1).integers(0, 10, batch)
    return [x, t], loss, updates, [array(batch, 784), labels]


def measure(calls: list[Callable[[], Any]]) -> list[list[float]]:
    """Wall times of calls, made in turn."""
    for call in calls:
        call()
    times: list[list[float]] = [[] for _ in calls]
    deadline = time.perf_counter() + SECONDS
    while time.perf_counter() < deadline or len(times[0]) < 5:
        for call, found in zip(calls, times, strict=True):
            call()  # so that workers are awake, as in a loop of calls
            start = time.perf_counter()
            call()
            found.append(time.perf_counter() - start)
    return times


@contextmanager
def busy(count: int) -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def main() -> None:
    made = parser(__doc__)
    made.add_argument("filter", nargs="?", default="")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--busy", type=int, default=0)
    options = made.parse_args()
    beside = f" beside {options.busy} endless loops" if options.busy else ""
    title = f"One thread by {options.threads}{beside}: us at best, ratios of times."
    head = ["function", "1 thread", f"{options.threads} threads", "best", "median"]
    table = Table("busy" if options.busy else "threads", title, head)
    figures: Figures = {}
    with busy(options.busy):
        for name, inputs, outputs, updates, values in cases():
            if options.filter not in name:
                continue
            calls = [
                gr.compile(inputs, outputs, updates, threads=n).bind(*values)
                for n in (1, options.threads)
            ]
            one, many = measure(calls)
            times = [f"{min(found) * 1e6:.2f}" for found in (one, many)]
            best = min(one) / min(many)
            median = statistics.median(one) / statistics.median(many)
            table.add(name, *times, f"{best:.2f}", f"{median:.2f}")
            figures[f"{name}, {options.threads} threads{beside}"] = many[:200]
    save(options.json, [table], figures)


if __name__ == "__main__":
    main()
