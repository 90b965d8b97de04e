"""JAX: ``jit`` of ``value_and_grad``, compiled by XLA; one compilation per shape."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import formulas
import jax
import jax.numpy as jnp
import sizes
from formulas import BETA1, BETA2, EPSILON
from science import FUNCTIONS
from workloads import Data, Run, Workload

VERSION = jax.__version__


def start(threads: int) -> None:
    """Threads are set by the environment; float64 is allowed, float32 stays float32."""
    jax.config.update("jax_enable_x64", True)
    jax.jit(jax.grad(jnp.exp))(1.0).block_until_ready()


def waited(f: Callable[..., Any]) -> Callable[..., Any]:
    """``f``, returning when its results are there."""
    return lambda *args: jax.block_until_ready(f(*args))


def flat(found: Any) -> list[Any]:
    return list(jax.tree.leaves(found))


def differentiated(value: Callable[..., Any], data: Data, *leaves: str) -> Run:
    """Value and gradients to the inputs named by ``leaves``, the first of ``value``."""
    f = jax.jit(jax.value_and_grad(value, argnums=tuple(range(len(leaves)))))
    rest = (name for name in data if name not in leaves)
    return Run(waited(f), tuple(jnp.asarray(data[n]) for n in (*leaves, *rest)), flat)


def floats(w: Workload, data: Data) -> Run:
    value = partial(formulas.surface, jnp)
    f = jax.jit(jax.value_and_grad(value, argnums=(0, 1, 2)))
    return Run(waited(f), tuple(data.values()), flat)


def points(w: Workload, data: Data) -> Run:
    value = partial(formulas.surface, jnp)
    f = jax.jit(jax.vmap(jax.value_and_grad(value, argnums=(0, 1, 2))))
    return Run(waited(f), tuple(jnp.asarray(a) for a in data.values()), flat)


def derivatives(w: Workload, data: Data) -> Run:
    name, x = w.options["function"], jnp.asarray(data["x"])

    def value(x: Any) -> Any:
        if name == "rosenbrock":
            return formulas.rosenbrock(jnp, x)
        return FUNCTIONS[name](jnp, [x[k] for k in range(len(data["x"]))])

    def both(x: Any) -> Any:
        found = jax.value_and_grad(value)(x)
        return (*found, jax.hessian(value)(x)) if w.options["order"] == 2 else found

    f = jax.vmap(both, in_axes=-1, out_axes=-1) if x.ndim == 2 else both
    return Run(waited(jax.jit(f)), (x,), flat)


def swish(w: Workload, data: Data) -> Run:
    def value(x: Any, y: Any) -> Any:
        return jnp.sum(jax.nn.silu(formulas.SLOPE * x + formulas.SHIFT) * jnp.tanh(y))

    return differentiated(value, data, "x", "y")


def distance(w: Workload, data: Data) -> Run:
    f = jax.jit(lambda x, y: jnp.sqrt(jnp.sum((x - y) ** 2)))
    return Run(waited(f), tuple(map(jnp.asarray, data.values())), lambda v: [v])


def sized(w: Workload, data: Data) -> Run:
    f = jax.jit(partial(sizes.FUNCTIONS[w.options["function"]], jnp))
    return Run(waited(f), tuple(map(jnp.asarray, data.values())), lambda v: [v])


def sized_gradient(w: Workload, data: Data) -> Run:
    return differentiated(partial(sizes.VALUES[w.options["function"]], jnp), data, "x")


def layer_norm(z: Any, scale: Any, offset: Any) -> Any:
    centred = z - z.mean(1, keepdims=True)
    inverse = jax.lax.rsqrt((centred * centred).mean(1, keepdims=True) + 1e-5)
    return scale * centred * inverse + offset


ROWS = {
    "softmax": jax.nn.softmax,
    "logsumexp": partial(jax.nn.logsumexp, axis=1),
    "layer_norm": layer_norm,
}


def of_rows(w: Workload, data: Data) -> Run:
    def both(*args: Any) -> Any:
        value, back = jax.vjp(ROWS[w.task], *args[:-1])
        return value, back(args[-1])

    return Run(waited(jax.jit(both)), tuple(map(jnp.asarray, data.values())), flat)


def cross_entropy(z: Any, labels: Any) -> Any:
    chosen = jnp.take_along_axis(z, labels[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(z, axis=1) - chosen)


def labelled(w: Workload, data: Data) -> Run:
    return differentiated(cross_entropy, data, "z")


def logistic(w: Workload, data: Data) -> Run:
    def value(weights: Any, b: Any, X: Any, t: Any) -> Any:
        z = X @ weights + b
        return jnp.mean(jax.nn.softplus(z) - t * z)

    return differentiated(value, data, "w", "b")


def network(params: list[Any], x: Any, activation: str) -> Any:
    apply = jax.nn.relu if activation == "relu" else jax.nn.sigmoid
    for k in (0, 2):
        x = apply(x @ params[k] + params[k + 1])
    return x @ params[4] + params[5]


def training(w: Workload, data: Data) -> Run:
    activation, rate = w.options["activation"], w.options["rate"]

    def loss(params: list[Any], x: Any, labels: Any) -> Any:
        return cross_entropy(network(params, x, activation), labels)

    def sgd(state: Any, x: Any, labels: Any) -> tuple[Any, Any]:
        value, gradients = jax.value_and_grad(loss)(state, x, labels)
        return value, [p - rate * g for p, g in zip(state, gradients, strict=True)]

    def adam(state: Any, x: Any, labels: Any) -> tuple[Any, Any]:
        params, first, second, steps = state
        value, gradients = jax.value_and_grad(loss)(params, x, labels)
        steps = steps + 1
        first = [BETA1 * m + (1 - BETA1) * g for m, g in zip(first, gradients, strict=True)]
        second = [
            BETA2 * v + (1 - BETA2) * g * g for v, g in zip(second, gradients, strict=True)
        ]
        step = rate / (1 - BETA1**steps)
        scale = 1 / (1 - BETA2**steps)
        params = [
            p - step * m / (jnp.sqrt(scale * v) + EPSILON)
            for p, m, v in zip(params, first, second, strict=True)
        ]
        return value, (params, first, second, steps)

    params = [jnp.array(p) for p in data["params"]]
    zeros = [[jnp.zeros_like(p) for p in params] for _ in range(2)]
    simple = w.options["optimizer"] == "sgd"
    state: Any = params if simple else (params, *zeros, jnp.float32(0))
    update = jax.jit(sgd if simple else adam, donate_argnums=0)

    def call(x: Any, labels: Any) -> Any:
        nonlocal state
        value, state = jax.block_until_ready(update(state, x, labels))
        return value

    inputs = jnp.asarray(data["x"]), jnp.asarray(data["labels"])
    return Run(call, inputs, lambda value: [value, *(state if simple else state[0])])


def inference(w: Workload, data: Data) -> Run:
    params = [jnp.asarray(p) for p in data["params"]]
    f = jax.jit(lambda params, x: network(params, x, "relu"))
    return Run(waited(f), (params, jnp.asarray(data["x"])), flat)


def product(w: Workload, data: Data) -> Run:
    def multiply(a: Any, b: Any) -> Any:
        factors = zip((a, b), w.options["kind"], strict=True)
        return jnp.matmul(*(x.swapaxes(-1, -2) if t == "T" else x for x, t in factors))

    return Run(waited(jax.jit(multiply)), tuple(map(jnp.asarray, data.values())), flat)


TASKS = {
    "floats": floats,
    "points": points,
    "derivatives": derivatives,
    "swish": swish,
    "sized": sized,
    "sized_gradient": sized_gradient,
    "distance": distance,
    "cross_entropy": labelled,
    "softmax": of_rows,
    "logsumexp": of_rows,
    "layer_norm": of_rows,
    "logistic": logistic,
    "training": training,
    "inference": inference,
    "product": product,
}
