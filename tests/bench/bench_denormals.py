"""What denormal numbers cost: training steps whose gradients have become tiny.

A step of an MLP 784-500-10 on one example that it has learnt long ago, with ordinary and with
denormal gradients, in the default and in the fast mode. One thread, thread CPU time, best of
many, in turn.

Run as ``python tests/bench/bench_denormals.py``.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from tables import Figures, Table, parser, save

import graphc as gr

ROUNDS = 200


def training(scale: float, math: Any) -> Any:
    """A bound step whose error signal is multiplied by ``scale``."""
    rng = np.random.default_rng(0)
    x, t = gr.tensor("x", (1, 784)), gr.tensor("t", (1, 10))
    v = gr.parameter("v", rng.standard_normal((784, 500), np.float32) / 28)
    w = gr.parameter("w", rng.standard_normal((500, 10), np.float32) / 22)
    loss = gr.sum((gr.nn.relu(x @ v) @ w - t) ** 2) * scale
    gradient = gr.grad(loss, [v, w])
    updates = {p: p - 1e-6 * g for p, g in zip((v, w), gradient, strict=True)}
    step = gr.compile([x, t], loss, updates, threads=1, math=math)
    return step.bind(rng.random((1, 784), np.float32), rng.random((1, 10), np.float32))


def main() -> None:
    given = parser(__doc__).parse_args()
    cases = [(s, m) for s in (1.0, 1e-38) for m in ("default", "fast")]
    calls = [training(*case) for case in cases]
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, found in zip(calls, times, strict=True):
            start = time.thread_time()
            call()
            found.append(time.thread_time() - start)
    title = "Training steps: us of CPU time at best, and by the first."
    table = Table("denormals", title, ["gradients", "math", "us", "ratio"])
    figures: Figures = {}
    for (scale, math), found in zip(cases, times, strict=True):
        kind = "ordinary" if scale == 1.0 else "denormal"
        best = min(found)
        table.add(kind, math, f"{best * 1e6:.1f}", f"{best / min(times[0]):.2f}")
        figures[f"{kind} gradients, {math}"] = found
    save(given.json, [table], figures)


if __name__ == "__main__":
    main()
