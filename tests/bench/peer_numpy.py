"""NumPy: gradients by hand, in place where that is natural; floats through ``math``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from formulas import OPTIMIZERS, backward, cross_entropy, forward, logistic, swish_tanh
from workloads import Data, Run, Workload

VERSION = np.__version__


def surface(m: Any, x: Any, y: Any, z: Any) -> tuple[Any, Any, Any, Any]:
    """Value and gradients of ``formulas.surface``."""
    r = m.sqrt(x * x + y * y + z * z + 1.0)
    s, c, e = m.sin(3.0 * r), m.cos(3.0 * r), m.exp(-0.5 * r)
    sd, cd, q = m.sin(x - y), m.cos(x - y), 1.0 / (1.0 + z * z)
    u, t = m.exp(x * z), m.tanh(y * z)
    radial = e * (3.0 * c - 0.5 * s) / r
    p, k = u / (1.0 + u), 0.1 * (1.0 - t * t)
    value = s * e + cd * q + m.log(1.0 + u) - 0.1 * t
    dx = radial * x - sd * q + p * z
    dy = radial * y + sd * q - k * z
    dz = radial * z - 2.0 * z * cd * q * q + p * x - k * y
    return value, dx, dy, dz


def floats(w: Workload, data: Data) -> Run:
    return Run(lambda x, y, z: surface(math, x, y, z), tuple(data.values()))


def points(w: Workload, data: Data) -> Run:
    return Run(lambda x, y, z: surface(np, x, y, z), tuple(data.values()))


def rosenbrock(w: Workload, data: Data) -> Run:
    def call(x: Any) -> tuple[Any, Any]:
        left, gradient = x[:-1], np.zeros_like(x)
        bend, rest = x[1:] - left * left, 1.0 - left
        gradient[:-1] = -400.0 * bend * left - 2.0 * rest
        gradient[1:] += 200.0 * bend
        return 100.0 * (bend @ bend) + rest @ rest, gradient

    return Run(call, (data["x"],))


def potential(w: Workload, data: Data) -> Run:
    pairs, masses = data["pairs"], data["masses"]
    back = np.ascontiguousarray(pairs.T)

    def call(q: Any) -> tuple[Any, Any]:
        d = pairs @ q
        inverse = 1.0 / np.sqrt((d * d).sum(1) + 0.01)
        energy = masses * inverse
        return -energy.sum(), back @ (d * (energy * inverse * inverse)[:, None])

    return Run(call, (data["q"],))


def training(w: Workload, data: Data) -> Run:
    params = [p.copy() for p in data["params"]]
    optimizer = OPTIMIZERS[w.options["optimizer"]](params, w.options["rate"])

    def call(x: Any, labels: Any) -> Any:
        loss, *gradients = backward(params, x, labels, w.options["activation"])
        optimizer.update(params, gradients)
        return loss

    return Run(call, (data["x"], data["labels"]), lambda loss: [loss, *params])


def inference(w: Workload, data: Data) -> Run:
    return Run(lambda x: forward(data["params"], x, "relu")[-1:], (data["x"],))


def product(w: Workload, data: Data) -> Run:
    a, b = data["A"], data["B"]
    out = np.empty((len(a), b.shape[1]), np.float32)
    return Run(lambda a, b: np.matmul(a, b, out=out), (a, b), lambda c: [c])


TASKS = {
    "floats": floats,
    "points": points,
    "rosenbrock": rosenbrock,
    "potential": potential,
    "swish": lambda w, data: Run(swish_tanh, tuple(data.values())),
    "softmax": lambda w, data: Run(cross_entropy, tuple(data.values())),
    "logistic": lambda w, data: Run(logistic, tuple(data.values())),
    "training": training,
    "inference": inference,
    "product": product,
}


def start(threads: int) -> None:
    """Threads are set by the environment."""
