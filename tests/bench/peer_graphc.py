"""graphc: one compiled function for all sizes of a batch, kept between workloads."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import formulas
import numpy as np
from formulas import BETA1, BETA2, EPSILON
from workloads import SIZES, Data, Run, Workload

import graphc as gr

VERSION = gr.__version__
THREADS = 1


def start(threads: int) -> None:
    global THREADS
    THREADS = threads
    x = gr.scalar("x")
    compiled([x], gr.exp(x))(np.float32(0))


def compiled(inputs: Any, outputs: Any, **options: Any) -> Any:
    return gr.compile(inputs, outputs, threads=THREADS, **options)


@cache
def surface(*shape: str) -> Any:
    x = [gr.tensor(name, shape, "float64") for name in "xyz"]
    value = formulas.surface(gr, *x)
    return compiled(x, [value, *gr.grad(gr.sum(value), x)])


def floats(w: Workload, data: Data) -> Run:
    return Run(surface(), tuple(data.values()))


def points(w: Workload, data: Data) -> Run:
    return Run(surface("n"), tuple(data.values()))


def rosenbrock(w: Workload, data: Data) -> Run:
    x = gr.tensor("x", ("n",), "float64")
    value = formulas.rosenbrock(gr, x)
    return Run(compiled([x], [value, gr.grad(value, x)]), (data["x"],))


def potential(w: Workload, data: Data) -> Run:
    q = gr.tensor("q", data["q"].shape, "float64")
    value = formulas.potential(gr, q, data["pairs"], data["masses"])
    return Run(compiled([q], [value, gr.grad(value, q)]), (data["q"],))


@cache
def swish_tanh() -> Any:
    x, y = gr.vector("x", "n"), gr.vector("y", "n")
    value = gr.sum(gr.nn.silu(formulas.SLOPE * x + formulas.SHIFT) * gr.tanh(y))
    return compiled([x, y], [value, *gr.grad(value, [x, y])])


@cache
def cross_entropy() -> Any:
    z, labels = gr.matrix("z", "n", "classes"), gr.vector("labels", "n", dtype="int64")
    loss = gr.nn.cross_entropy(z, labels)
    return compiled([z, labels], [loss, gr.grad(loss, z)])


def logistic(w: Workload, data: Data) -> Run:
    X, t = gr.matrix("X", "n", "features"), gr.vector("t", "n")
    weights, b = gr.vector("w", "features"), gr.scalar("b")
    loss = gr.nn.binary_cross_entropy(X @ weights + b, t, from_logits=True)
    f = compiled([X, weights, b, t], [loss, *gr.grad(loss, [weights, b])])
    return Run(f, tuple(data.values()))


# Networks


class State:
    """Parameters of a network, and of its optimizer."""

    def __init__(self) -> None:
        shapes = [s for pair in pairwise(SIZES) for s in (pair, pair[1:])]
        self.params = [parameter(f"p{k}", shape) for k, shape in enumerate(shapes)]
        self.moments = [
            (parameter(f"m{k}", shape), parameter(f"v{k}", shape))
            for k, shape in enumerate(shapes)
        ]
        self.steps = parameter("steps", ())

    def reset(self, data: Data) -> None:
        for p, value in zip(self.params, data["params"], strict=True):
            p.value = value
        for q in (self.steps, *(q for pair in self.moments for q in pair)):
            q.value = np.zeros_like(q.value)


def parameter(name: str, shape: tuple[int, ...]) -> gr.Parameter:
    return gr.parameter(name, np.zeros(shape, np.float32))


def network(params: list[gr.Parameter], x: gr.Expr, activation: str) -> gr.Expr:
    apply = gr.nn.relu if activation == "relu" else gr.sigmoid
    for k in (0, 2):
        x = apply(x @ params[k] + params[k + 1])
    return x @ params[4] + params[5]


def sgd(state: State, gradients: list[gr.Expr], rate: float) -> dict[Any, Any]:
    return {p: p - rate * g for p, g in zip(state.params, gradients, strict=True)}


def adam(state: State, gradients: list[gr.Expr], rate: float) -> dict[Any, Any]:
    steps = state.steps + 1
    updates: dict[Any, Any] = {state.steps: steps}
    step, scale = rate / (1 - BETA1**steps), 1 / (1 - BETA2**steps)
    for p, g, (m, v) in zip(state.params, gradients, state.moments, strict=True):
        updates[m] = BETA1 * m + (1 - BETA1) * g
        updates[v] = BETA2 * v + (1 - BETA2) * g * g
        updates[p] = p - step * updates[m] / (gr.sqrt(scale * updates[v]) + EPSILON)
    return updates


@cache
def trainer(activation: str, optimizer: str, rate: float) -> tuple[State, Any]:
    state = State()
    x = gr.matrix("x", "batch", SIZES[0])
    labels = gr.vector("labels", "batch", dtype="int64")
    loss = gr.nn.cross_entropy(network(state.params, x, activation), labels)
    gradients = gr.grad(loss, state.params)
    updates = (sgd if optimizer == "sgd" else adam)(state, gradients, rate)
    return state, compiled([x, labels], loss, updates=updates)


def training(w: Workload, data: Data) -> Run:
    state, f = trainer(**w.options)
    state.reset(data)
    inputs = data["x"], data["labels"]
    return Run(f, inputs, lambda loss: [loss, *(p.value for p in state.params)])


def inference(w: Workload, data: Data) -> Run:
    state = State()
    state.reset(data)
    x = gr.matrix("x", "batch", SIZES[0])
    return Run(compiled([x], [network(state.params, x, "relu")]), (data["x"],))


@cache
def multiplied(k: int, n: int) -> Any:
    a, b = gr.matrix("a", "batch", k), gr.matrix("b", k, n)
    return compiled([a, b], a @ b)


def product(w: Workload, data: Data) -> Run:
    a, b = data["A"], data["B"]
    f, out = multiplied(*b.shape), np.empty((len(a), b.shape[1]), np.float32)
    return Run(lambda a, b: f(a, b, out=out), (a, b), lambda c: [c])


TASKS = {
    "floats": floats,
    "points": points,
    "rosenbrock": rosenbrock,
    "potential": potential,
    "swish": lambda w, data: Run(swish_tanh(), tuple(data.values())),
    "softmax": lambda w, data: Run(cross_entropy(), tuple(data.values())),
    "logistic": logistic,
    "training": training,
    "inference": inference,
    "product": product,
}
