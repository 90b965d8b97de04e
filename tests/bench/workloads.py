"""Whole workloads: data, the values and gradients they ask for, tolerances.

A workload names its ``task``, which every peer implements in its own way, and the data of
one call. Scalar functions are float64, everything else float32. References are computed in
float64: by the complex step where the gradient is of a short formula, by hand elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from formulas import (
    OPTIMIZERS,
    Array,
    backward,
    complex_step,
    cross_entropy,
    distance,
    forward,
    layer_norm,
    logistic,
    logsumexp,
    softmax,
    surface,
    swish_tanh,
)
from science import BODIES, derivatives
from sizes import FUNCTIONS, VALUES, value, value_and_gradient

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
    group: str = ""

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
    """What to time, ``call(*inputs)``, and the arrays in what it returns.

    Without ``results`` it is a lower bound that computes nothing.
    """

    call: Callable[..., Any]
    inputs: tuple[Any, ...]
    results: Callable[[Any], list[Any]] | None = list


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

    def floats() -> Data:
        return {"x": 0.7, "y": -0.4, "z": 0.3}

    yield Workload("surface, floats", "floats", floats, surface_reference, 1e-12)
    yield Workload("surface, 10000", "points", lambda: points(10_000), surface_reference, 1e-12)

    def at(start: Array, count: int) -> Data:
        if not count:
            return {"x": start}
        near = np.random.default_rng(7).standard_normal((len(start), count))
        return {"x": start[:, None] + 0.05 * near}

    rng = np.random.default_rng(3)
    starts = {
        "Rosenbrock 100": ("rosenbrock", rng.uniform(0.5, 1.5, 100)),
        "8 bodies": ("bodies", rng.uniform(-2, 2, 3 * BODIES)),
        "6 joints": ("arm", np.array([0.3, -1.1, 1.4, -0.6, 0.9, 0.2])),
    }
    wanted = [("Rosenbrock 100", 1, 0), ("Rosenbrock 100", 2, 0), ("Rosenbrock 100", 1, 10_000)]
    wanted += [("8 bodies", 1, 0), ("8 bodies", 1, 10_000)]
    wanted += [("6 joints", 2, 0), ("6 joints", 2, 10_000)]
    for title, order, count in wanted:
        function, start = starts[title]
        kind = ", Hessian" if order == 2 else ", gradient"
        yield Workload(
            f"{title}{kind}{f', {count}' if count else ''}",
            "derivatives",
            partial(at, start, count),
            partial(lambda f, k, data: derivatives(f, k, data["x"]), function, order),
            1e-12 if order == 1 or function == "rosenbrock" else 1e-8,
            quick=count == 0,
            options={"function": function, "order": order},
        )


def function_workloads() -> Iterator[Workload]:
    def pair(n: int) -> Data:
        return {"x": normal(0, n), "y": normal(1, n) + np.float32(0.5)}

    for k in range(1, 8):
        for title, task, reference, tolerance in (
            ("swish tanh", "swish", swish_tanh, 1e-5),
            ("distance", "distance", distance, 1e-5),
        ):
            yield Workload(
                f"{title} 1e{k}",
                task,
                partial(pair, 10**k),
                partial(lambda f, data: f(*in_float64(list(data.values()))), reference),
                tolerance,
                quick=k in (1, 3, 5),
            )
    for n, classes in ((64, 10), (128, 1000), (512, 1000), (4096, 256), (64, 30_000)):
        yield from row_workloads(n, classes)
    yield Workload(
        "logistic 100000x100",
        "logistic",
        partial(examples, 100_000, 100),
        lambda data: logistic(*in_float64(list(data.values()))),
        1e-4,
    )


def size_workloads() -> Iterator[Workload]:
    """Every function of a vector, of 10 to 10^7 elements."""

    def pair(n: int, dtype: str) -> Data:
        x, y = (normal(k, n).astype(dtype) + np.dtype(dtype).type(0.5) for k in range(2))
        return {"x": x, "y": y}

    def sized(name: str, k: int, dtype: str = "float32", *, gradient: bool = False) -> Workload:
        reference = value_and_gradient if gradient else value
        title = (
            name + (", gradient" if gradient else "") + (" f64" if dtype != "float32" else "")
        )
        return Workload(
            f"{title} 1e{k}",
            "sized_gradient" if gradient else "sized",
            partial(pair, 10**k, dtype),
            lambda data: reference(name, *in_float64(list(data.values()))),
            1e-3 if name == "cumsum" else 1e-5,
            quick=k in (3, 6) and dtype == "float32",
            options={"function": name},
        )

    for name in FUNCTIONS:
        yield from (sized(name, k) for k in range(1, 8))
    for name in ("add", "exp", "tanh", "sum", "argmax"):
        yield from (sized(name, k, "float64") for k in range(1, 8))
    for name in VALUES:
        yield from (sized(name, k, gradient=True) for k in range(1, 8))


def row_workloads(n: int, classes: int) -> Iterator[Workload]:
    """Functions of each row of a matrix, with gradients."""

    def labelled() -> Data:
        return {"z": 2 * normal(0, n, classes), "labels": labels(1, n, classes)}

    def weighted(*shape: int, affine: bool = False) -> Data:
        z, c = 2 * normal(0, n, classes), normal(1, *shape)
        more = {"scale": 1 + normal(2, classes) / 10, "offset": normal(3, classes)}
        return {"z": z, **(more if affine else {}), "c": c}

    yield Workload(
        f"cross-entropy {n}x{classes}",
        "cross_entropy",
        labelled,
        lambda data: cross_entropy(np.float64(data["z"]), data["labels"]),
        1e-5,
    )
    full = n, classes
    for title, make, reference in (
        ("softmax", partial(weighted, *full), softmax),
        ("logsumexp", partial(weighted, n), logsumexp),
        ("layer_norm", partial(weighted, *full, affine=True), layer_norm),
    ):
        yield Workload(
            f"{title} {n}x{classes}",
            title,
            make,
            partial(lambda f, data: f(*in_float64(list(data.values()))), reference),
            1e-5,
            quick=n == 512,
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
    def factors(a: tuple[int, ...], b: tuple[int, ...], kind: str, dtype: str) -> Data:
        stored = (
            (*x[:-2], x[-1], x[-2]) if t == "T" else x
            for x, t in zip((a, b), kind, strict=True)
        )
        A, B = (normal(k, *shape).astype(dtype) for k, shape in enumerate(stored))
        return {"A": A, "B": B}

    def multiplied(
        m: int, k: int, n: int, kind: str = "NN", dtype: str = "float32", batch: int = 0
    ) -> Workload:
        many = (batch,) if batch else ()
        title = f"product {m}x{k}x{n}" + (f" {kind}" if kind != "NN" else "")
        title = f"{title} f64" if dtype == "float64" else title
        return Workload(
            f"{title}, {batch}" if batch else title,
            "product",
            partial(factors, (*many, m, k), (*many, k, n), kind, dtype),
            lambda data: [oriented(data["A"], kind[0]) @ oriented(data["B"], kind[1])],
            1e-5 if dtype == "float32" else 1e-13,
            quick=max(m, k, n) <= 1024,
            options={"kind": kind},
        )

    for n in (8, 32, 128, 512, 1024, 2048):
        yield multiplied(n, n, n)
    for batch in (1, 32, 128):
        yield multiplied(batch, 784, 500)
    for n in (128, 512):
        for kind in ("NT", "TN", "TT"):
            yield replace(multiplied(n, n, n, kind), quick=False)
    for n in (32, 128, 512):
        yield replace(multiplied(n, n, n, dtype="float64"), quick=False)
    yield multiplied(1, 2000, 2000)
    yield multiplied(16, 16, 16, batch=256)
    yield multiplied(64, 64, 64, batch=64)


def oriented(x: Array, kind: str) -> Array:
    """In float64, as a factor of the product."""
    x = np.float64(x)
    return x.swapaxes(-1, -2) if kind == "T" else x


GROUPS: dict[str, Callable[[], Iterator[Workload]]] = {
    "science": scalar_workloads,
    "functions": function_workloads,
    "sizes": size_workloads,
    "networks": network_workloads,
    "products": product_workloads,
}
WORKLOADS = {w.name: replace(w, group=name) for name, of in GROUPS.items() for w in of()}
