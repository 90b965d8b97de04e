"""The memory that a workload must read and write, with next to no arithmetic: a lower bound."""

from __future__ import annotations

from typing import Any

import numpy as np
from peer_by_hand import VERSION, C, prepared, start
from workloads import Data, Run, Workload

__all__ = ["TASKS", "VERSION", "start"]


def passes(*calls: Any) -> Run:
    def call() -> None:
        for f in calls:
            f()

    return Run(calls[0] if len(calls) == 1 else call, (), None)


def once(*arrays: Any) -> Run:
    """Each array is read once."""
    return passes(*(prepared(C.reading, a, a.size) for a in arrays))


def training(w: Workload, data: Data) -> Run:
    """Weights are read forward and once more, when they are written."""
    params = [p.copy() for p in data["params"]]
    forward = [prepared(C.reading, p, p.size) for p in params]
    backward = [prepared(C.updating, p, p.size) for p in reversed(params)]
    return passes(*forward, *backward)


def swish(w: Workload, data: Data) -> Run:
    x, y = data.values()
    return passes(prepared(C.passing, x, y, np.zeros_like(x), np.zeros_like(x), x.size))


TASKS = {
    "logistic": lambda w, data: once(data["X"]),
    "training": training,
    "swish": swish,
    "distance": lambda w, data: once(*data.values()),
    "product": lambda w, data: once(*data.values()),
}
