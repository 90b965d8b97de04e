"""NumPy: gradients by hand, in place where that is natural; floats through ``math``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import formulas
import numpy as np
import sizes
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
    factors = zip((data["A"], data["B"]), w.options["kind"], strict=True)
    a, b = (x.swapaxes(-1, -2) if kind == "T" else x for x, kind in factors)
    out = np.matmul(a, b)
    return Run(lambda a, b: np.matmul(a, b, out=out), (a, b), lambda c: [c])


def written(function: Callable[..., Any]) -> Callable[[Workload, Data], Run]:
    """A task that is a function of the data."""
    return lambda w, data: Run(function, tuple(data.values()))


def sized(w: Workload, data: Data) -> Run:
    function, inputs = sizes.FUNCTIONS[w.options["function"]], tuple(data.values())
    return Run(lambda x, y: function(np, x, y), inputs, lambda v: [v])


def sized_gradient(w: Workload, data: Data) -> Run:
    name = w.options["function"]
    return Run(lambda x, y: sizes.value_and_gradient(name, x, y), tuple(data.values()))


TASKS = {
    "sized": sized,
    "sized_gradient": sized_gradient,
    "floats": floats,
    "points": points,
    "swish": written(swish_tanh),
    "distance": written(formulas.distance),
    "cross_entropy": written(cross_entropy),
    "softmax": written(formulas.softmax),
    "logsumexp": written(formulas.logsumexp),
    "layer_norm": written(formulas.layer_norm),
    "logistic": written(logistic),
    "training": training,
    "inference": inference,
    "product": product,
}


def start(threads: int) -> None:
    """Threads are set by the environment."""
