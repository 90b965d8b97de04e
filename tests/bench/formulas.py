"""The formulas of the workloads: for any array library, and in NumPy with gradients by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Parameters = list[Array]

SLOPE, SHIFT = 1.25, 0.25  # of the argument of swish: exact in float32
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # of Adam


# Scalar functions; ``m`` has the functions of NumPy that they use


def surface(m: Any, x: Any, y: Any, z: Any) -> Any:
    """26 operations on three numbers, or on many at once."""
    r = m.sqrt(x * x + y * y + z * z + 1.0)
    wave = m.sin(3.0 * r) * m.exp(-0.5 * r) + m.cos(x - y) / (1.0 + z * z)
    return wave + m.log(1.0 + m.exp(x * z)) - 0.1 * m.tanh(y * z)


def rosenbrock(m: Any, x: Any) -> Any:
    """Sum of 100 (x[i+1] - x[i]^2)^2 + (1 - x[i])^2 over the first axis."""
    left, right = x[:-1], x[1:]
    bend, rest = right - left * left, 1.0 - left
    return m.sum(100.0 * (bend * bend) + rest * rest, 0)


def complex_step(f: Callable[..., Any], *args: Array, elementwise: bool = False) -> list[Array]:
    """Value and gradients of a real analytic function: Im f(x + ih) / h.

    All elements are shifted at once if ``f`` is elementwise, else one after the other.
    """
    h = 1e-30
    gradients = []
    for k, x in enumerate(args):
        gradient = np.empty(np.shape(x))
        for where in [...] if elementwise else np.ndindex(np.shape(x)):
            shifted = np.asarray(x, complex)
            shifted[where] += 1j * h
            gradient[where] = np.imag(f(*args[:k], shifted, *args[k + 1 :])) / h
        gradients.append(gradient)
    return [np.real(f(*args)), *gradients]


# Value and gradients of larger functions, by hand; in the precision of what is given


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def swish_tanh(x: Array, y: Array) -> list[Array]:
    """Sum of z sigmoid(z) tanh(y), where z = SLOPE x + SHIFT, and both gradients."""
    z = SLOPE * x + SHIFT
    s, t = sigmoid(z), np.tanh(y)
    swish = z * s
    return [np.sum(swish * t), SLOPE * t * (s + swish * (1 - s)), swish * (1 - t * t)]


def cross_entropy(z: Array, labels: Array) -> list[Array]:
    """Mean of -log softmax(z)[label] over rows, and its gradient."""
    rows = np.arange(len(labels))
    z = z - z.max(1, keepdims=True)
    p = np.exp(z)
    total = p.sum(1, keepdims=True)
    loss = np.mean(np.log(total[:, 0]) - z[rows, labels])
    p /= total
    p[rows, labels] -= 1
    p /= len(labels)
    return [loss, p]


def softmax(z: Array, c: Array) -> list[Array]:
    """Of rows, and the gradient of its sum with weights ``c``."""
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return [p, p * (c - (p * c).sum(1, keepdims=True))]


def logsumexp(z: Array, c: Array) -> list[Array]:
    """Of rows, and the gradient of its sum with weights ``c``, one for each row."""
    top = z.max(1, keepdims=True)
    p = np.exp(z - top)
    total = p.sum(1, keepdims=True)
    p *= c[:, None] / total
    return [np.log(total[:, 0]) + top[:, 0], p]


def layer_norm(z: Array, scale: Array, offset: Array, c: Array) -> list[Array]:
    """Of rows, and the gradients of its sum with weights ``c``; variance + 1e-5."""
    centred = z - z.mean(1, keepdims=True)
    inverse = 1 / np.sqrt((centred * centred).mean(1, keepdims=True) + np.float32(1e-5))
    centred *= inverse
    g = c * scale
    inner = (g * centred).mean(1, keepdims=True)
    back = inverse * (g - g.mean(1, keepdims=True) - centred * inner)
    return [scale * centred + offset, back, (c * centred).sum(0), c.sum(0)]


def distance(x: Array, y: Array) -> list[Array]:
    """Euclidean."""
    d = x - y
    return [np.sqrt(np.dot(d, d))]


def logistic(X: Array, w: Array, b: Array, t: Array) -> list[Array]:
    """Mean of log(1 + exp z) - t z, where z = X w + b, with gradients to w and b."""
    z = X @ w + b
    loss = np.mean(np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))) - t * z)
    slope = (sigmoid(z) - t) / np.float32(len(t))
    return [loss, slope @ X, slope.sum()]


def forward(params: Parameters, x: Array, activation: str) -> list[Array]:
    """The input and the output of every layer; the last has no activation."""
    layers = [x]
    for k in range(0, len(params), 2):
        a = layers[-1] @ params[k]
        a += params[k + 1]
        if k + 2 < len(params):
            a = np.maximum(a, 0, out=a) if activation == "relu" else sigmoid(a)
        layers.append(a)
    return layers


def backward(params: Parameters, x: Array, labels: Array, activation: str) -> list[Array]:
    """Loss and the gradient of every parameter."""
    layers = forward(params, x, activation)
    loss, g = cross_entropy(layers[-1], labels)
    gradients: list[Array] = []
    for k in reversed(range(0, len(params), 2)):
        h = layers[k // 2]
        gradients[:0] = [h.T @ g, g.sum(0)]
        if k:
            g = g @ params[k].T
            g *= h > 0 if activation == "relu" else h * (1 - h)
    return [loss, *gradients]


class SGD:
    """``p <- p - rate g``, in place."""

    def __init__(self, params: Parameters, rate: float) -> None:
        self.rate = rate

    def update(self, params: Parameters, gradients: list[Array]) -> None:
        for p, g in zip(params, gradients, strict=True):
            g *= self.rate
            p -= g


class Adam:
    """Kingma and Ba, Adam: a method for stochastic optimization (2015), algorithm 1."""

    def __init__(self, params: Parameters, rate: float) -> None:
        self.rate, self.steps = rate, 0
        self.moments = [(np.zeros_like(p), np.zeros_like(p)) for p in params]

    def update(self, params: Parameters, gradients: list[Array]) -> None:
        self.steps += 1
        rate = self.rate / (1 - BETA1**self.steps)
        scale = 1 / (1 - BETA2**self.steps)
        for p, g, (m, v) in zip(params, gradients, self.moments, strict=True):
            m *= BETA1
            m += (1 - BETA1) * g
            v *= BETA2
            v += (1 - BETA2) * np.square(g)
            p -= rate * m / (np.sqrt(scale * v) + EPSILON)


OPTIMIZERS: dict[str, type[SGD] | type[Adam]] = {"sgd": SGD, "adam": Adam}
