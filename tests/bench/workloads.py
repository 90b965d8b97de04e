"""Whole workloads: data, the values and gradients they ask for, tolerances.

A workload names its ``task``, which every peer implements in its own way, and the data of
one call. Scalar functions are float64, everything else float32. References are computed in
float64: by the complex step where the gradient is of a short formula, by hand elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from formulas import (
    OPTIMIZERS,
    Array,
    backward,
    bodies,
    complex_step,
    cross_entropy,
    forward,
    logistic,
    potential,
    rosenbrock,
    surface,
    swish_tanh,
)

Data = dict[str, Any]

STEPS = 3  # of training, before parameters are compared
SIZES = (784, 500, 500, 10)


@dataclass(frozen=True)
class Workload:
    """One call to measure.

    ``reference`` gives, from the data, what a call returns; for training, the loss of step
    ``STEPS`` and the parameters after it. ``tolerance`` bounds ``error`` of each.
    """

    name: str
    task: str
    make: Callable[[], Data]
    reference: Callable[[Data], list[Array]]
    tolerance: float
    quick: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    def error(self, found: list[Array], data: Data) -> float:
        """Largest relative error of an output: Euclidean norms; of changes, for parameters."""
        expected = self.reference(data)
        start = (
            [np.float64(0), *data["params"]] if self.task == "training" else [0] * len(found)
        )
        return max(
            relative(np.asarray(f, np.float64) - s, e - s)
            for f, e, s in zip(found, expected, start, strict=True)
        )


@dataclass(frozen=True)
class Run:
    """What to time, ``call(*inputs)``, and the arrays in what it returns."""

    call: Callable[..., Any]
    inputs: tuple[Any, ...]
    results: Callable[[Any], list[Any]] = list


def relative(found: Array, expected: Array) -> float:
    if found.shape != np.shape(expected):
        raise ValueError(f"shape {found.shape} where {np.shape(expected)} is expected")
    error = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    return error if np.isfinite(error) else np.inf


# Data


def trained(data: Data, activation: str, optimizer: str, rate: float) -> list[Array]:
    """Loss of the last of ``STEPS`` steps, and the parameters after it."""
    params = in_float64(data["params"])
    chosen = OPTIMIZERS[optimizer](params, rate)
    for _ in range(STEPS):
        loss, *gradients = backward(params, np.float64(data["x"]), data["labels"], activation)
        chosen.update(params, gradients)
    return [loss, *params]


def in_float64(arrays: list[Array]) -> list[Array]:
    return [np.array(a, np.float64) for a in arrays]


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def labels(seed: int, n: int, classes: int) -> Array:
    return np.random.default_rng(seed).integers(0, classes, n)


def points(n: int) -> Data:
    x, y, z = normal(0, 3, n).astype(np.float64)
    return {"x": x, "y": y, "z": z}


def network(batch: int) -> Data:
    """Weights of He's variance, small biases, pixels from 0 to 1."""
    params = []
    for k, (n, m) in enumerate(pairwise(SIZES)):
        params.append(normal(k, n, m) * np.float32(np.sqrt(2 / n)))
        params.append(normal(10 + k, m) * np.float32(0.01))
    x = np.random.default_rng(20).random((batch, SIZES[0]), np.float32)
    return {"params": params, "x": x, "labels": labels(21, batch, SIZES[-1])}


def examples(n: int, features: int) -> Data:
    X, w, b = normal(0, n, features), 0.1 * normal(1, features), np.float32(0.1)
    t = (normal(2, n) < X @ w).astype(np.float32)
    return {"X": X, "w": w, "b": b, "t": t}


# The list


def scalar_workloads() -> Iterator[Workload]:
    def surface_reference(data: Data) -> list[Array]:
        return complex_step(partial(surface, np), *data.values(), elementwise=True)

    def rosenbrock_reference(data: Data) -> list[Array]:
        return complex_step(partial(rosenbrock, np), data["x"])

    def potential_reference(data: Data) -> list[Array]:
        return complex_step(
            lambda q: potential(np, q, data["pairs"], data["masses"]), data["q"]
        )

    def floats() -> Data:
        return {"x": 0.7, "y": -0.4, "z": 0.3}

    def bodies_at_random() -> Data:
        pairs, masses = bodies(8)
        return {"q": normal(0, 8, 3).astype(np.float64), "pairs": pairs, "masses": masses}

    yield Workload("surface, floats", "floats", floats, surface_reference, 1e-12)
    yield Workload("surface, 10000", "points", lambda: points(10_000), surface_reference, 1e-12)

    def line() -> Data:
        return {"x": points(100)["x"]}

    yield Workload("Rosenbrock 100", "rosenbrock", line, rosenbrock_reference, 1e-12)
    yield Workload("8 bodies", "potential", bodies_at_random, potential_reference, 1e-12)


def function_workloads() -> Iterator[Workload]:
    def swish_data(n: int) -> Data:
        return {"x": normal(0, n), "y": normal(1, n) + np.float32(0.5)}

    def softmax_data(n: int, classes: int) -> Data:
        return {"z": 2 * normal(0, n, classes), "labels": labels(1, n, classes)}

    def logistic_reference(data: Data) -> list[Array]:
        return logistic(*in_float64(list(data.values())))

    for n, name in ((1000, "1e3"), (100_000, "1e5"), (10_000_000, "1e7")):
        yield Workload(
            f"swish tanh {name}",
            "swish",
            partial(swish_data, n),
            lambda data: swish_tanh(*in_float64([data["x"], data["y"]])),
            1e-5,
            quick=n < 1e7,
        )
    for n, classes in ((64, 10), (512, 1000)):
        yield Workload(
            f"softmax {n}x{classes}",
            "softmax",
            partial(softmax_data, n, classes),
            lambda data: cross_entropy(np.float64(data["z"]), data["labels"]),
            1e-5,
        )
    yield Workload(
        "logistic 100000x100",
        "logistic",
        partial(examples, 100_000, 100),
        logistic_reference,
        1e-4,
    )


def network_workloads() -> Iterator[Workload]:
    def training(
        batch: int, activation: str, optimizer: str, rate: float, tolerance: float
    ) -> Workload:
        options = {"activation": activation, "optimizer": optimizer, "rate": rate}
        return Workload(
            f"MLP {activation} {optimizer} {batch}",
            "training",
            partial(network, batch),
            lambda data: trained(data, **options),
            tolerance,
            options=options,
        )

    for batch in (1, 8, 32, 128, 1024):
        yield training(batch, "relu", "sgd", 0.01, 1e-4)
    yield training(128, "relu", "adam", 1e-3, 1e-3)
    yield training(128, "sigmoid", "sgd", 0.1, 1e-4)
    yield Workload(
        "MLP inference 1",
        "inference",
        partial(network, 1),
        lambda data: forward(in_float64(data["params"]), np.float64(data["x"]), "relu")[-1:],
        1e-5,
    )


def product_workloads() -> Iterator[Workload]:
    def factors(m: int, k: int, n: int) -> Data:
        return {"A": normal(0, m, k), "B": normal(1, k, n)}

    squares = [(n, n, n) for n in (8, 32, 128, 512, 1024)]
    layers = [(batch, 784, 500) for batch in (1, 32, 128)]
    for m, k, n in squares + layers:
        yield Workload(
            f"product {m}x{k}x{n}",
            "product",
            partial(factors, m, k, n),
            lambda data: [np.float64(data["A"]) @ np.float64(data["B"])],
            1e-5,
        )


WORKLOADS = {
    w.name: w
    for group in (scalar_workloads, function_workloads, network_workloads, product_workloads)
    for w in group()
}
