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
    cases = [(s, m) for s in (1.0, 1e-38) for m in ("default", "fast")]
    calls = [training(*case) for case in cases]
    best = [float("inf")] * len(calls)
    for _ in range(ROUNDS):
        for i, call in enumerate(calls):
            start = time.thread_time()
            call()
            best[i] = min(best[i], time.thread_time() - start)
    for (scale, math), seconds in zip(cases, best, strict=True):
        kind = "ordinary" if scale == 1.0 else "denormal"
        print(
            f"{kind} gradients, math={math:<8}{seconds * 1e6:10.1f} us{seconds / best[0]:8.2f}"
        )


if __name__ == "__main__":
    main()
