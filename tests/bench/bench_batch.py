"""What a symbolic batch costs: one step for all sizes beside one that is made for each.

Steps of the networks' bench, called in turn; wall times, ratios of medians.

Run as ``python tests/bench/bench_batch.py [--threads N]``.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import peer_graphc
from bench_workloads import counted, unit_of
from tables import Figures, Table, digits, parser, save
from workloads import network

SECONDS = 1.0  # for each batch size and optimizer
KINDS = {"sgd": 0.01, "adam": 1e-3}
BATCHES = (1, 8, 32, 128, 1024)


def steps(optimizer: str, batch: int) -> list[Any]:
    """Bound calls: of the step for all sizes, and of that for this one."""
    data, calls = network(batch), []
    for size in ("batch", batch):
        state, f = peer_graphc.trainer("relu", optimizer, KINDS[optimizer], size)
        state.reset(data)
        calls.append(f.bind(data["x"], data["labels"]))
    return calls


def measure(calls: list[Any]) -> list[list[float]]:
    """Seconds of each call, in turns of a few milliseconds."""
    times: list[list[float]] = [[] for _ in calls]
    deadline = time.perf_counter() + SECONDS
    while time.perf_counter() < deadline or len(times[0]) < 10:
        for call, found in zip(calls, times, strict=True):
            call()
            turn = time.perf_counter() + 2e-3
            while (start := time.perf_counter()) < turn:
                call()
                found.append(time.perf_counter() - start)
    return times


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--threads", type=int, default=1)
    given = made.parse_args()
    peer_graphc.start(given.threads)
    title = (
        f"Training steps by a symbolic and a fixed batch, {counted(given.threads)}; medians."
    )
    head = ["optimizer", "batch", "", "symbolic", "fixed", "symbolic / fixed"]
    table, figures = Table(f"batch-{given.threads}", title, head), Figures()
    for optimizer in KINDS:
        for batch in BATCHES:
            times = measure(steps(optimizer, batch))
            symbolic, fixed = map(statistics.median, times)
            scale, unit = unit_of(fixed)
            shown = (digits(x * scale) for x in (symbolic, fixed))
            table.add(optimizer, str(batch), unit, *shown, f"{symbolic / fixed:.3f}")
            for kind, found in zip(("symbolic", "fixed"), times, strict=True):
                figures[f"{kind} batch {optimizer} {batch}, {counted(given.threads)}"] = found[
                    -200:
                ]
    save(given.json, [table], figures)


if __name__ == "__main__":
    main()
