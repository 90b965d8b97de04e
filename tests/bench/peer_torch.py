"""PyTorch, eager: autograd, and the fused optimizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import formulas
import numpy as np
import sizes
import torch
import torch.nn.functional as F
from formulas import Array
from science import FUNCTIONS
from workloads import Data, Run, Workload

VERSION = torch.__version__


def start(threads: int) -> None:
    torch.set_num_threads(threads)
    x = torch.zeros(1, requires_grad=True)
    torch.autograd.grad(torch.exp(x).sum(), x)


def arrays(found: Any) -> list[Array]:
    return [t.detach().numpy() for t in found]


def tensor(a: Any, *, leaf: bool = False) -> torch.Tensor:
    return torch.tensor(np.asarray(a), requires_grad=leaf)


def differentiated(value: Callable[..., Any], leaves: Sequence[Any]) -> Run:
    """Value at ``leaves`` and gradients to all of them."""
    inputs = tuple(tensor(x, leaf=True) for x in leaves)

    def call(*x: Any) -> tuple[Any, ...]:
        v = value(*x)
        return v, *torch.autograd.grad(v, x)

    return Run(call, inputs, arrays)


def floats(w: Workload, data: Data) -> Run:
    def call(*numbers: float) -> tuple[Any, ...]:
        x = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in numbers]
        v = formulas.surface(torch, *x)
        return v, *torch.autograd.grad(v, x)

    return Run(call, tuple(data.values()), arrays)


def points(w: Workload, data: Data) -> Run:
    def call(*x: Any) -> tuple[Any, ...]:
        v = formulas.surface(torch, *x)
        return v, *torch.autograd.grad(v.sum(), x)

    return Run(call, tuple(tensor(a, leaf=True) for a in data.values()), arrays)


def derivatives(w: Workload, data: Data) -> Run:
    """Gradients by autograd; Hessians by forward over reverse mode, mapped over points."""
    name, second = w.options["function"], w.options["order"] == 2

    def value(x: Any) -> Any:
        if name == "rosenbrock":
            return formulas.rosenbrock(torch, x)
        return FUNCTIONS[name](torch, list(x))

    hessian: Any = torch.func.hessian(value)
    if data["x"].ndim == 2:
        hessian = torch.func.vmap(hessian, in_dims=-1, out_dims=-1)

    def call(x: Any) -> tuple[Any, ...]:
        v = value(x)
        found = v, *torch.autograd.grad(v.sum(), x)
        return (*found, hessian(x.detach())) if second else found

    return Run(call, (tensor(data["x"], leaf=True),), arrays)


# Functions to differentiate, and where


def swish(data: Data) -> tuple[Callable[..., Any], list[Any]]:
    def value(x: Any, y: Any) -> Any:
        return (F.silu(formulas.SLOPE * x + formulas.SHIFT) * torch.tanh(y)).sum()

    return value, [data["x"], data["y"]]


def cross_entropy(data: Data) -> tuple[Callable[..., Any], list[Any]]:
    labels = tensor(data["labels"])
    return lambda z: F.cross_entropy(z, labels), [data["z"]]


def logistic(data: Data) -> tuple[Callable[..., Any], list[Any]]:
    X, t = tensor(data["X"]), tensor(data["t"])

    def value(weights: Any, b: Any) -> Any:
        return F.binary_cross_entropy_with_logits(X @ weights + b, t)

    return value, [data["w"], data["b"]]


@cache
def of_size(name: str, gradient: bool) -> Callable[..., Any]:
    """A function of vectors; variances divide by the number of elements."""
    functions = sizes.VALUES if gradient else sizes.FUNCTIONS
    if name == "var":
        return lambda x, y: torch.var(x, correction=0)
    return lambda x, y: functions[name](torch, x, y)


def sized(w: Workload, data: Data, built: Callable[..., Any] = lambda f: f) -> Run:
    call = torch.inference_mode()(built(of_size(w.options["function"], False)))
    return Run(call, tuple(map(tensor, data.values())), lambda v: arrays([v]))


def sized_gradient(w: Workload, data: Data, built: Callable[..., Any] = lambda f: f) -> Run:
    value = built(of_size(w.options["function"], True))

    def call(x: Any, y: Any) -> tuple[Any, ...]:
        v = value(x, y)
        return v, *torch.autograd.grad(v, x)

    return Run(call, (tensor(data["x"], leaf=True), tensor(data["y"])), arrays)


VALUES = {"swish": swish, "cross_entropy": cross_entropy, "logistic": logistic}


def of_values(w: Workload, data: Data) -> Run:
    return differentiated(*VALUES[w.task](data))


def far(x: Any, y: Any) -> Any:
    """Its vector_norm of 10^7 numbers is wrong in the fourth digit."""
    return (x - y).square().sum().sqrt()


def distance(w: Workload, data: Data, function: Callable[..., Any] = far) -> Run:
    call = torch.inference_mode()(function)
    return Run(call, tuple(map(tensor, data.values())), lambda v: [v.numpy()])


ROWS = {
    "softmax": lambda z: F.softmax(z, 1),
    "logsumexp": lambda z: torch.logsumexp(z, 1),
    "layer_norm": lambda z, scale, offset: F.layer_norm(z, z.shape[1:], scale, offset),
}


def of_rows(w: Workload, data: Data) -> Run:
    *leaves, weights = data.values()
    c = tensor(weights)

    def call(*x: Any) -> tuple[Any, ...]:
        value = ROWS[w.task](*x)
        return value, *torch.autograd.grad(value, x, c)

    return Run(call, tuple(tensor(x, leaf=True) for x in leaves), arrays)


def layers(data: Data) -> list[torch.Tensor]:
    """Weights (outputs, inputs), as ``torch.nn.Linear`` keeps them, and biases."""
    return [tensor(np.ascontiguousarray(p.T), leaf=True) for p in data["params"]]


def network(params: list[torch.Tensor], x: Any, activation: str) -> Any:
    apply = torch.relu if activation == "relu" else torch.sigmoid
    for k in (0, 2):
        x = apply(F.linear(x, params[k], params[k + 1]))
    return F.linear(x, params[4], params[5])


def training(w: Workload, data: Data, network: Callable[..., Any] = network) -> Run:
    params = layers(data)
    kind = torch.optim.SGD if w.options["optimizer"] == "sgd" else torch.optim.Adam
    optimizer = kind(params, lr=w.options["rate"], fused=True)

    def call(x: Any, labels: Any) -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(network(params, x, w.options["activation"]), labels)
        loss.backward()
        optimizer.step()
        return loss

    inputs = tensor(data["x"]), tensor(data["labels"])
    return Run(call, inputs, lambda loss: arrays([loss, *(p.t() for p in params)]))


def inference(w: Workload, data: Data, network: Callable[..., Any] = network) -> Run:
    params = [p.detach() for p in layers(data)]

    def call(x: Any) -> Any:
        with torch.inference_mode():
            return network(params, x, "relu")

    return Run(call, (tensor(data["x"]),), lambda z: arrays([z]))


def product(w: Workload, data: Data) -> Run:
    factors = zip((data["A"], data["B"]), w.options["kind"], strict=True)
    a, b = (tensor(x).mT if kind == "T" else tensor(x) for x, kind in factors)
    out = a @ b
    return Run(lambda a, b: torch.matmul(a, b, out=out), (a, b), lambda c: arrays([c]))


TASKS = {
    "sized": sized,
    "sized_gradient": sized_gradient,
    "floats": floats,
    "points": points,
    "derivatives": derivatives,
    **dict.fromkeys(VALUES, of_values),
    **dict.fromkeys(ROWS, of_rows),
    "distance": distance,
    "training": training,
    "inference": inference,
    "product": product,
}
