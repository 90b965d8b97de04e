"""Elementwise functions and reductions of vectors, for any array library, with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from formulas import Array

#: Of the modules ``m`` that have NumPy's functions; variances divide by the number of elements.
FUNCTIONS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "add": lambda m, x, y: x + y,
    "mul": lambda m, x, y: x * y,
    "exp": lambda m, x, y: m.exp(x),
    "tanh": lambda m, x, y: m.tanh(x),
    "sum": lambda m, x, y: m.sum(x),
    "max": lambda m, x, y: m.max(x),
    "mean": lambda m, x, y: m.mean(x),
    "var": lambda m, x, y: m.var(x),
    "argmax": lambda m, x, y: m.argmax(x),
    "cumsum": lambda m, x, y: m.cumsum(x, 0),
}
#: Functions that are differentiated: sums with weights y of those that give vectors.
VALUES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "exp": lambda m, x, y: m.sum(m.exp(x) * y),
    "tanh": lambda m, x, y: m.sum(m.tanh(x) * y),
    "max": lambda m, x, y: m.max(x),
    "var": lambda m, x, y: m.var(x),
    "cumsum": lambda m, x, y: m.sum(m.cumsum(x, 0) * y),
}
_SLOPES: dict[str, Callable[[Array, Array], Array]] = {
    "exp": lambda x, y: np.exp(x) * y,
    "tanh": lambda x, y: (1 - np.tanh(x) ** 2) * y,
    "max": lambda x, y: (x == x.max()) * np.ones_like(x),
    "var": lambda x, y: 2 / len(x) * (x - x.mean()),
    "cumsum": lambda x, y: y[::-1].cumsum()[::-1],
}


def value(name: str, x: Array, y: Array) -> list[Array]:
    return [FUNCTIONS[name](np, x, y)]


def value_and_gradient(name: str, x: Array, y: Array) -> list[Array]:
    """To x."""
    return [VALUES[name](np, x, y), _SLOPES[name](x, y)]
