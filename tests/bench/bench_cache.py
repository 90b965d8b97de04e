"""What the cache saves: the backend's part of compiling, cold and warm.

Two processes one after the other compile the same functions; the first finds an empty
directory, the second what the first has left. Milliseconds of the thread's CPU time, best of
several pairs: ``libraries`` is done once per process, the rest for each function.

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

STEPS = ("libraries", "emit", "codegen", "load")


def compiled() -> dict[str, dict[str, float]]:
    """Times of the backend's steps for each function, in milliseconds."""
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
    found = {}
    for name, arguments in functions.items():
        timings = gr.compile(*arguments).timings
        found[name] = {step: timings.get(step, 0.0) * 1e3 for step in STEPS}
    return found


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(compiled()))
        return
    pairs = [pair() for _ in range(options.rounds)]
    print(f"{'ms':<36}" + "".join(f"{step:>12}" for step in STEPS))
    for place, kind in enumerate(("cold", "warm")):
        for name in pairs[0][0]:
            best = [min(p[place][name][step] for p in pairs) for step in STEPS]
            print(f"{kind}: {name:<30}" + "".join(f"{value:>12.2f}" for value in best))


if __name__ == "__main__":
    main()
