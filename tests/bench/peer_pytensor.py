"""PyTensor in its default mode: one function for all sizes, kept between workloads."""

from __future__ import annotations

from functools import cache
from typing import Any

import formulas
import numpy as np
import pytensor
import pytensor.tensor as pt
from formulas import BETA1, BETA2, EPSILON
from workloads import Data, Run, Workload

VERSION = pytensor.__version__


def start(threads: int) -> None:
    """Threads are set by the environment."""
    pytensor.config.floatX = "float32"


def compiled(inputs: list[Any], outputs: Any, **options: Any) -> Any:
    f = pytensor.function(inputs, outputs, **options)
    f.trust_input = True
    return f


@cache
def surface(rank: int) -> Any:
    x = [pt.tensor(name, dtype="float64", shape=(None,) * rank) for name in "xyz"]
    with pytensor.config.change_flags(floatX="float64"):  # that of the formula's constants
        value = formulas.surface(pt, *x)
    return compiled(x, [value, *pytensor.grad(value.sum(), x)])


def of_surface(w: Workload, data: Data) -> Run:
    inputs = tuple(map(np.asarray, data.values()))
    return Run(surface(inputs[0].ndim), inputs)


def far(x: Any, y: Any) -> list[Any]:
    return [pt.sqrt(pt.sum((x - y) ** 2))]


def swish(x: Any, y: Any) -> list[Any]:
    z = np.float32(formulas.SLOPE) * x + np.float32(formulas.SHIFT)
    value = pt.sum(z * pt.sigmoid(z) * pt.tanh(y))
    return [value, *pytensor.grad(value, [x, y])]


def entropy(z: Any, labels: Any) -> Any:
    return pt.mean(pt.logsumexp(z, axis=1) - z[pt.arange(z.shape[0]), labels])


def cross_entropy(z: Any, labels: Any) -> list[Any]:
    loss = entropy(z, labels)
    return [loss, pytensor.grad(loss, z)]


def softmax(z: Any, c: Any) -> list[Any]:
    value = pt.special.softmax(z, axis=1)
    return [value, pytensor.grad(pt.sum(value * c), z)]


def logsumexp(z: Any, c: Any) -> list[Any]:
    value = pt.logsumexp(z, axis=1)
    return [value, pytensor.grad(pt.sum(value * c), z)]


def layer_norm(z: Any, scale: Any, offset: Any, c: Any) -> list[Any]:
    centred = z - z.mean(1, keepdims=True)
    variance = (centred * centred).mean(1, keepdims=True)
    value = scale * centred / pt.sqrt(variance + np.float32(1e-5)) + offset
    return [value, *pytensor.grad(pt.sum(value * c), [z, scale, offset])]


def logistic(X: Any, w: Any, b: Any, t: Any) -> list[Any]:
    z = X @ w + b
    loss = pt.mean(pt.softplus(z) - t * z)
    return [loss, *pytensor.grad(loss, [w, b])]


FORMULAS = {
    "distance": far,
    "swish": swish,
    "cross_entropy": cross_entropy,
    "softmax": softmax,
    "logsumexp": logsumexp,
    "layer_norm": layer_norm,
    "logistic": logistic,
}


@cache
def written(task: str, *inputs: tuple[str, int]) -> Any:
    """A formula of tensors of element types and ranks."""
    leaves = [pt.tensor(dtype=dtype, shape=(None,) * rank) for dtype, rank in inputs]
    return compiled(leaves, FORMULAS[task](*leaves))


def of_formula(w: Workload, data: Data) -> Run:
    inputs = tuple(map(np.asarray, data.values()))
    return Run(written(w.task, *((x.dtype.name, x.ndim) for x in inputs)), inputs)


def network(params: list[Any], x: Any, activation: str) -> Any:
    for k in (0, 2):
        x = x @ params[k] + params[k + 1]
        x = pt.maximum(x, np.float32(0)) if activation == "relu" else pt.sigmoid(x)
    return x @ params[4] + params[5]


def adam(params: list[Any], gradients: list[Any], rate: float) -> list[tuple[Any, Any]]:
    steps = pytensor.shared(np.float32(0))
    b1, b2, one = np.float32(BETA1), np.float32(BETA2), np.float32(1)
    step = np.float32(rate) / (one - b1 ** (steps + one))
    scale = one / (one - b2 ** (steps + one))
    updates = [(steps, steps + one)]
    for p, g in zip(params, gradients, strict=True):
        m, v = (pytensor.shared(np.zeros_like(p.get_value())) for _ in range(2))
        first, second = b1 * m + (one - b1) * g, b2 * v + (one - b2) * g * g
        change = step * first / (pt.sqrt(scale * second) + np.float32(EPSILON))
        updates += [(m, first), (v, second), (p, p - change)]
    return updates


def training(w: Workload, data: Data) -> Run:
    params = [pytensor.shared(p.copy()) for p in data["params"]]
    x, labels = pt.fmatrix(), pt.lvector()
    loss = entropy(network(params, x, w.options["activation"]), labels)
    gradients = pytensor.grad(loss, params)
    rate = w.options["rate"]
    if w.options["optimizer"] == "adam":
        updates = adam(params, gradients, rate)
    else:
        updates = [
            (p, p - np.float32(rate) * g) for p, g in zip(params, gradients, strict=True)
        ]
    f = compiled([x, labels], loss, updates=updates)
    inputs = data["x"], data["labels"]
    return Run(f, inputs, lambda loss: [loss, *(p.get_value() for p in params)])


def inference(w: Workload, data: Data) -> Run:
    params = [pytensor.shared(p.copy()) for p in data["params"]]
    x = pt.fmatrix()
    return Run(compiled([x], [network(params, x, "relu")]), (data["x"],))


TASKS = {
    "floats": of_surface,
    "points": of_surface,
    **dict.fromkeys(FORMULAS, of_formula),
    "training": training,
    "inference": inference,
}
