"""graphc: one compiled function for all sizes of a batch, kept between workloads."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import formulas
import numpy as np
import sizes
from formulas import BETA1, BETA2, EPSILON
from science import FUNCTIONS
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


def derivatives(w: Workload, data: Data) -> Run:
    """Of one point, bound once as CasADi's buffers are; or of all points along the last axis,
    for any number of them."""
    given, name, second = data["x"], w.options["function"], w.options["order"] == 2
    if given.ndim == 2:
        f = compiled(*mapped(name, len(given), second))
        out = f(given)
        return Run(lambda x: f(x, out=out), (given,))
    x = gr.tensor("x", given.shape, "float64")
    vectors = name == "rosenbrock"
    value = formulas.rosenbrock(gr, x) if vectors else FUNCTIONS[name](gr, list(x))
    results = [value, gr.grad(value, x), *([gr.hessian(value, x)] if second else [])]
    return Run(compiled([x], results).bind(given), ())


def mapped(name: str, variables: int, second: bool) -> tuple[list[gr.Expr], list[gr.Expr]]:
    """Input and results for many points: what belongs to one depends on no other."""
    x = gr.tensor("x", (variables, "n"), "float64")
    rows = list(x)
    value = FUNCTIONS[name](gr, rows)
    first = gr.grad(gr.sum(value), rows)
    results = [value, gr.stack(first)]
    if second:
        results.append(gr.stack([gr.stack(gr.grad(gr.sum(g), rows)) for g in first]))
    return [x], results


@cache
def swish_tanh() -> Any:
    x, y = gr.vector("x", "n"), gr.vector("y", "n")
    value = gr.sum(gr.nn.silu(formulas.SLOPE * x + formulas.SHIFT) * gr.tanh(y))
    return compiled([x, y], [value, *gr.grad(value, [x, y])])


@cache
def vectors(name: str, dtype: str, gradient: bool) -> Any:
    """A function of vectors of any size, and its gradient."""
    x, y = gr.vector("x", "n", dtype=dtype), gr.vector("y", "n", dtype=dtype)
    value = (sizes.VALUES if gradient else sizes.FUNCTIONS)[name](gr, x, y)
    return compiled([x, y], [value, gr.grad(value, x)] if gradient else value)


def sized(w: Workload, data: Data) -> Run:
    f = vectors(w.options["function"], data["x"].dtype.name, False)
    return Run(f, tuple(data.values()), lambda v: [v])


def sized_gradient(w: Workload, data: Data) -> Run:
    f = vectors(w.options["function"], data["x"].dtype.name, True)
    return Run(f, tuple(data.values()))


@cache
def cross_entropy() -> Any:
    z, labels = gr.matrix("z", "n", "classes"), gr.vector("labels", "n", dtype="int64")
    loss = gr.nn.cross_entropy(z, labels)
    return compiled([z, labels], [loss, gr.grad(loss, z)])


@cache
def distance() -> Any:
    x, y = gr.vector("x", "n"), gr.vector("y", "n")
    return compiled([x, y], [gr.sqrt(gr.sum((x - y) ** 2))])


@cache
def rows(name: str) -> Any:
    """A function of each row, and gradients of its sum with weights."""
    z, c = gr.matrix("z", "n", "m"), gr.matrix("c", "n", "m")
    if name == "logsumexp":
        c = gr.vector("c", "n")
        value = gr.logsumexp(z, axis=1)
        return compiled([z, c], [value, gr.grad(gr.sum(value * c), z)])
    if name == "softmax":
        value = gr.softmax(z)
        return compiled([z, c], [value, gr.grad(gr.sum(value * c), z)])
    scale, offset = gr.vector("scale", "m"), gr.vector("offset", "m")
    value = gr.nn.layer_norm(z, weight=scale, bias=offset)
    leaves = [z, scale, offset]
    return compiled([*leaves, c], [value, *gr.grad(gr.sum(value * c), leaves)])


def of_rows(w: Workload, data: Data) -> Run:
    return Run(rows(w.task), tuple(data.values()))


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
def trainer(
    activation: str, optimizer: str, rate: float, batch: int | str = "batch"
) -> tuple[State, Any]:
    state = State()
    x = gr.matrix("x", batch, SIZES[0])
    labels = gr.vector("labels", batch, dtype="int64")
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
def multiplied(a: tuple[Any, ...], b: tuple[Any, ...], kind: str, dtype: str) -> Any:
    x, y = gr.tensor("a", a, dtype), gr.tensor("b", b, dtype)
    left, right = (v.T if t == "T" else v for v, t in zip((x, y), kind, strict=True))
    return compiled([x, y], left @ right)


def product(w: Workload, data: Data) -> Run:
    """With one function for any number of rows where the first factor is stored by rows."""
    a, b, kind = data["A"], data["B"], w.options["kind"]
    shape = ("batch", *a.shape[1:]) if kind == "NN" and a.ndim == 2 else a.shape
    f = multiplied(shape, b.shape, kind, a.dtype.name)
    out = f(a, b)
    return Run(lambda a, b: f(a, b, out=out), (a, b), lambda c: [c])


TASKS = {
    "floats": floats,
    "points": points,
    "derivatives": derivatives,
    "sized": sized,
    "sized_gradient": sized_gradient,
    "swish": lambda w, data: Run(swish_tanh(), tuple(data.values())),
    "distance": lambda w, data: Run(distance(), tuple(data.values())),
    "cross_entropy": lambda w, data: Run(cross_entropy(), tuple(data.values())),
    "softmax": of_rows,
    "logsumexp": of_rows,
    "layer_norm": of_rows,
    "logistic": logistic,
    "training": training,
    "inference": inference,
    "product": product,
}
