"""Compile time: from a graph to a callable, and of ``import graphc``.

Each graph is compiled many times in one process, made anew each time, with nothing kept on
disk; and once as the first act of a fresh process, whose disk keeps what is shared between
programs, made by a variant of the same graph, but not the program itself. All figures are
milliseconds of the thread's CPU time; ``build`` is the user's part, not in the total.

Run as ``python tests/bench/bench_compile.py [name filter] [--rounds N]``.
"""

from __future__ import annotations

import time

time.perf_counter = time.thread_time  # the clock by which the compiler times its own steps

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tables import Figures, Table, parser, save

if TYPE_CHECKING:
    import graphc as gr

Graph = tuple[list[Any], list[Any], dict[Any, Any]]
Times = dict[str, float]

COLUMNS = ("build", "stages", "loops", "emit", "libraries", "codegen", "entry", "total")
IMPORTS = ("numpy", "graphc")


# The graphs; those of another ``variant`` use the same functions


def scalar(variant: int) -> Graph:
    """20 operations on three numbers, with the gradient."""
    import graphc as gr

    x, y, z = (gr.scalar(n, "float64") for n in "xyz")
    xy = x * y
    value = gr.exp(gr.sin(x) * y) + gr.log(x * x + y * y + 1.0) * gr.cos(z)
    value = value - xy * z / (variant + 1.5 + gr.exp(-z)) + gr.sin(xy) * gr.exp(-(z * z))
    return [x, y, z], [value, *gr.grad(value, [x, y, z])], {}


def rosenbrock(variant: int) -> Graph:
    """Sum of 100 (x[i+1] - x[i]^2)^2 + (1 - x[i])^2 over ten numbers, with the gradient."""
    import graphc as gr

    x = gr.vector("x", 10 + variant, dtype="float64")
    bend, rest = x[1:] - x[:-1] * x[:-1], 1.0 - x[:-1]
    value = gr.sum(100.0 * (bend * bend) + rest * rest)
    return [x], [value, gr.grad(value, x)], {}


def cross_entropy(variant: int) -> Graph:
    """Mean cross-entropy of a softmax over (batch, 10), with the gradient."""
    import graphc as gr

    logits = gr.tensor("logits", ("batch", 10 + variant))
    labels = gr.tensor("labels", ("batch",), dtype="int64")
    loss = gr.nn.cross_entropy(logits, labels)
    return [logits, labels], [loss, gr.grad(loss, logits)], {}


def _layers(sizes: list[int]) -> list[tuple[gr.Parameter, gr.Parameter]]:
    import numpy as np

    import graphc as gr

    def zeros(name: str, *shape: int) -> gr.Parameter:
        return gr.parameter(name, np.zeros(shape, np.float32))

    pairs = enumerate(itertools.pairwise(sizes), 1)
    return [(zeros(f"W{k}", m, n), zeros(f"b{k}", n)) for k, (m, n) in pairs]


def _network(sizes: list[int], batch: int | str) -> tuple[list[Any], list[Any], list[Any]]:
    """Inputs and labels, loss and accuracy, weights."""
    import graphc as gr

    x = gr.tensor("x", (batch, sizes[0]))
    t = gr.tensor("t", (batch,), dtype="int64")
    layers = _layers(sizes)
    out: gr.Expr = x
    for W, b in layers[:-1]:
        out = gr.nn.relu(out @ W + b)
    logits = out @ layers[-1][0] + layers[-1][1]
    results = [gr.nn.cross_entropy(logits, t), gr.nn.accuracy(logits, t)]
    return [x, t], results, [w for pair in layers for w in pair]


def two_layers(variant: int) -> Graph:
    """A step of SGD on 784-500-10 with a batch of 32."""
    import graphc as gr

    inputs, results, weights = _network([784, 500 + variant, 10], 32)
    gradients = gr.grad(results[0], weights)
    updates = {w: w - 0.1 * g for w, g in zip(weights, gradients, strict=True)}
    return inputs, results[:1], updates


def demo(variant: int) -> Graph:
    """A step with momentum on 784-500-500-10 for every batch size."""
    import numpy as np

    import graphc as gr

    inputs, results, weights = _network([784, 500 + variant, 500, 10], "batch")
    rate = gr.scalar("rate")
    updates: dict[gr.Parameter, gr.Expr] = {}
    for w, g in zip(weights, gr.grad(results[0], weights), strict=True):
        v = gr.parameter(f"v_{w.name}", np.zeros_like(w.value), trainable=False)
        updates[v] = 0.9 * v + g
        updates[w] = w - rate * updates[v]
    return [*inputs, rate], results, updates


GRAPHS: dict[str, Callable[[int], Graph]] = {
    "20-op scalar": scalar,
    "Rosenbrock-10": rosenbrock,
    "softmax cross-entropy": cross_entropy,
    "two-layer MLP step": two_layers,
    "demo step": demo,
}


# The measurement


def measure(make: Callable[[int], Graph], variant: int = 0) -> Times:
    """Milliseconds of each step of one compilation."""
    import graphc as gr

    start = time.thread_time()
    inputs, outputs, updates = make(variant)
    built = time.thread_time()
    function = gr.compile(inputs, outputs, updates)
    done = time.thread_time()
    times = {"stages": sum(s.seconds for s in function.snapshots), **function.timings}
    times["entry"] = done - built - sum(times.values())
    times |= {"build": built - start, "total": done - built}
    return {name: 1e3 * times.get(name, 0.0) for name in COLUMNS}


def in_process(command: str, cache: str) -> Any:
    """What a fresh Python prints, as JSON; bytecode and objects are kept in ``cache``."""
    code = f"import json, sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); {command}"
    kept = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": cache, "GRAPHC_CACHE": cache}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **kept},
        check=True,
        stdout=subprocess.PIPE,
    )
    return json.loads(done.stdout)


def first(name: str, variant: int, cache: str) -> Times:
    """Milliseconds of the first compilation in a fresh process."""
    command = f"import bench_compile as b; r = b.measure(b.GRAPHS[{name!r}], {variant})"
    found: Times = in_process(f"{command}; print(json.dumps(r))", cache)
    return found


def importing(module: str, cache: str) -> float:
    """Milliseconds of importing a module in a fresh process."""
    command = "from time import thread_time as t; s = t(); import "
    return float(in_process(f"{command}{module}; print(json.dumps(1e3 * (t() - s)))", cache))


def row(times: list[Times], choose: Callable[[list[float]], float]) -> list[str]:
    return [f"{choose([t[name] for t in times]):.1f}" for name in COLUMNS]


def firsts(name: str, processes: int) -> list[Times]:
    """First compilations, each in a process of its own that finds the same on the disk."""
    found = []
    for _ in range(processes):
        with tempfile.TemporaryDirectory() as cache:
            first(name, 1, cache)
            found.append(first(name, 0, cache))
    return found


def imports(count: int) -> Table:
    table = Table("imports", "Imports, ms of CPU time.", ["import", "min", "median"])
    with tempfile.TemporaryDirectory() as cache:
        for module in IMPORTS:
            importing(module, cache)
            found = [importing(module, cache) for _ in range(count)]
            table.add(module, f"{min(found):.0f}", f"{statistics.median(found):.0f}")
    return table


def main() -> None:
    made = parser(__doc__)
    made.add_argument("filter", nargs="?", default="")
    made.add_argument("--rounds", type=int, default=30)
    made.add_argument("--processes", type=int, default=5, help="for what is done once in each")
    options = made.parse_args()
    tables = [Table("compile", "Compilation, ms of CPU time.", ["graph", *COLUMNS])]
    figures: Figures = {}
    os.environ["GRAPHC_CACHE"] = ""
    for name, make in GRAPHS.items():
        if options.filter not in name:
            continue
        measure(make)
        times = [measure(make) for _ in range(options.rounds)]
        tables[0].add(f"{name}, min", *row(times, min))
        tables[0].add(f"{name}, median", *row(times, statistics.median))
        tables[0].add(
            f"{name}, first", *row(firsts(name, options.processes), statistics.median)
        )
        figures[f"compile {name}"] = [t["total"] / 1e3 for t in times]
    if not options.filter:
        tables.append(imports(3 * options.processes))
    save(options.json, tables, figures)


if __name__ == "__main__":
    main()
