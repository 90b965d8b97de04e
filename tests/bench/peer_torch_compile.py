"""PyTorch compiled by Inductor: a value with its gradients is one graph.

Of a training step the loss and its gradients are compiled, the fused optimizer is called.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no pool of processes beside this one

import formulas
import peer_torch as eager
import torch
from workloads import Data, Run, Workload

VERSION = eager.VERSION
start = eager.start


def built(f: Callable[..., Any]) -> Callable[..., Any]:
    """As if it were the first: else functions count as versions of one, up to a limit."""
    torch._dynamo.reset()
    compiled: Callable[..., Any] = torch.compile(f, dynamic=False)
    return compiled


def differentiated(value: Callable[..., Any], leaves: Sequence[Any]) -> Run:
    which = tuple(range(len(leaves)))
    both = built(torch.func.grad_and_value(value, argnums=which))
    inputs = tuple(map(eager.tensor, leaves))
    return Run(both, inputs, lambda found: eager.arrays([found[1], *found[0]]))


@cache
def of_any_size(f: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled once for all sizes. Functions that differ in what they close over only count
    as versions of one, hence the limit."""
    torch._dynamo.config.recompile_limit = 100
    compiled: Callable[..., Any] = torch.compile(f, dynamic=True)
    return compiled


def surface() -> Callable[..., Any]:
    """Value and gradients of the formula of three tensors."""

    def total(*x: Any) -> tuple[Any, Any]:
        value = formulas.surface(torch, *x)
        return value.sum(), value

    def both(*x: Any) -> tuple[Any, ...]:
        gradients, (_, value) = torch.func.grad_and_value(total, (0, 1, 2), has_aux=True)(*x)
        return value, *gradients

    return built(both)


def floats(w: Workload, data: Data) -> Run:
    f = surface()

    def call(*numbers: float) -> Any:
        return f(*(torch.tensor(a, dtype=torch.float64) for a in numbers))

    return Run(call, tuple(data.values()), eager.arrays)


def points(w: Workload, data: Data) -> Run:
    return Run(surface(), tuple(map(eager.tensor, data.values())), eager.arrays)


def of_rows(w: Workload, data: Data) -> Run:
    def both(*x: Any) -> tuple[Any, ...]:
        *leaves, weights = x
        value, back = torch.func.vjp(eager.ROWS[w.task], *leaves)
        return value, *back(weights)

    return Run(built(both), tuple(map(eager.tensor, data.values())), eager.arrays)


TASKS = {
    "floats": floats,
    "points": points,
    **dict.fromkeys(eager.VALUES, lambda w, data: differentiated(*eager.VALUES[w.task](data))),
    **dict.fromkeys(eager.ROWS, of_rows),
    "sized": lambda w, data: eager.sized(w, data, of_any_size),
    "sized_gradient": lambda w, data: eager.sized_gradient(w, data, of_any_size),
    "distance": lambda w, data: eager.distance(w, data, built(eager.far)),
    "training": lambda w, data: eager.training(w, data, built(eager.network)),
    "inference": lambda w, data: eager.inference(w, data, built(eager.network)),
}
