"""What the cache saves: compiling from the graph to a callable, cold and warm.

Two processes one after the other compile the same functions, each twice; the first finds an
empty directory, the second what the first has left. Milliseconds of the thread's CPU time, best
of several pairs: ``first`` is what each takes in turn, with what is done once in a process;
then, made anew of what lies on the disk, ``again``, of which ``load`` is LLVM's part.

Run as ``python tests/bench/bench_cache.py [--rounds N]``.
"""

from __future__ import annotations

import time

time.perf_counter = time.thread_time  # the clock by which the compiler times its own steps

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tables import Figures, Table, parser, save

STEPS = ("first", "again", "load")


def compiled() -> dict[str, dict[str, float]]:
    """Times of compiling each function, in milliseconds."""
    import numpy as np
    from bench_calls import formula
    from bench_threads import training

    import graphc as gr

    leaves = [gr.scalar(name, dtype="float64") for name in "xyz"]
    value = formula(gr, *leaves)
    x = gr.tensor("x", ("n", 100))
    inputs, loss, updates, _ = training(32)
    functions: dict[str, Any] = {
        "training step of an MLP": (inputs, loss, updates),
        "20 operations and gradient": (leaves, (value, *gr.grad(value, leaves))),
        "softmax": (x, gr.softmax(x @ np.ones((100, 10), np.float32))),
    }
    found: dict[str, dict[str, float]] = {}
    for name, arguments in functions.items():
        found[name] = {"first": _compiled(arguments)[0]}
    for name, arguments in functions.items():
        again, load = min(_compiled(arguments) for _ in range(5))
        found[name] |= {"again": again, "load": load}
    return found


def _compiled(arguments: Any) -> tuple[float, float]:
    """Milliseconds of a compilation and of loading the object in it."""
    import graphc as gr

    start = time.thread_time()
    function = gr.compile(*arguments)
    whole = time.thread_time() - start
    return whole * 1e3, function.timings.get("load", 0.0) * 1e3


def pair() -> list[dict[str, dict[str, float]]]:
    """The times of two processes that share a new directory."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"GRAPHC_CACHE": str(Path(folder) / "cache")}
        command = [sys.executable, __file__, "--child"]
        return [
            json.loads(subprocess.check_output(command, env=environment, text=True))
            for _ in range(2)
        ]


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.child:
        print(json.dumps(compiled()))
        return
    pairs = [pair() for _ in range(options.rounds)]
    title = "From a graph to a callable, ms of CPU time at best."
    table = Table("cache", title, ["function", "cache", *STEPS])
    figures: Figures = {}
    for place, kind in enumerate(("cold", "warm")):
        for name in pairs[0][0]:
            found = [p[place][name] for p in pairs]
            best = [min(times[step] for times in found) for step in STEPS]
            table.add(name, kind, *(f"{value:.2f}" for value in best))
            figures[f"{name}, {kind}"] = [times["first"] / 1e3 for times in found]
    save(options.json, [table], figures)


if __name__ == "__main__":
    main()
