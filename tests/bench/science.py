"""Scalar functions of many variables, with derivatives of second order: formulas, references.

``x`` is a sequence of numbers, symbols or arrays, one for each variable; arrays hold one
entry for each point. ``m`` has the functions of NumPy that are used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from formulas import Array

#: Arm of six joints, after Denavit and Hartenberg: offsets, lengths, twists as cos and sin.
OFFSETS = (0.089159, 0, 0, 0.10915, 0.09465, 0.0823)
LENGTHS = (0, -0.425, -0.39225, 0, 0, 0)
TWISTS = ((0, 1), (1, 0), (1, 0), (0, 1), (0, -1), (1, 0))
#: Where its hand should be: rotation and place.
GOAL = ((0, 1, 0, 0.3), (0.6, 0, 0.8, -0.2), (0.8, 0, -0.6, 0.5))

BODIES = 8
MASSES = [1 + 0.1 * k for k in range(BODIES)]


def rosenbrock(m: Any, x: Sequence[Any]) -> Any:
    """Sum of 100 (x[i+1] - x[i]^2)^2 + (1 - x[i])^2, term by term."""
    total: Any = 0
    for left, right in pairwise(x):
        bend, rest = right - left * left, 1 - left
        total = total + 100 * (bend * bend) + rest * rest
    return total


def bodies(m: Any, x: Sequence[Any]) -> Any:
    """Softened gravity: minus the sum of m m' / distance; ``x`` is x, y, z of each body."""
    total: Any = 0
    for i in range(BODIES):
        for j in range(i + 1, BODIES):
            dx, dy, dz = (x[3 * i + k] - x[3 * j + k] for k in range(3))
            distance = m.sqrt(dx * dx + dy * dy + dz * dz + 0.01)
            total = total - MASSES[i] * MASSES[j] / distance
    return total


def arm(m: Any, x: Sequence[Any]) -> Any:
    """Squared distance of the hand from its goal, and a tenth of that of its rotation."""
    hand: list[list[Any]] = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    for angle, d, a, (ca, sa) in zip(x, OFFSETS, LENGTHS, TWISTS, strict=True):
        c, s = m.cos(angle), m.sin(angle)
        joint = [
            [c, _times(-ca, s), _times(sa, s), _times(a, c)],
            [s, _times(ca, c), _times(-sa, c), _times(a, s)],
            [0, sa, ca, d],
            [0, 0, 0, 1],
        ]
        hand = [[_dot(row, column) for column in zip(*joint, strict=True)] for row in hand]
    total: Any = 0
    for row, goal in zip(hand, GOAL, strict=True):
        for h, g, weight in zip(row, goal, (0.1, 0.1, 0.1, 1), strict=True):
            total = total + _times(weight, (h - g) * (h - g))
    return total


def _times(a: Any, b: Any) -> Any:
    """The product, with nothing computed for constants 0, 1 and -1."""
    for constant, other in ((a, b), (b, a)):
        if isinstance(constant, (int, float)) and constant in (0, 1, -1):
            return 0 if constant == 0 else other if constant == 1 else -other
    return a * b


def _dot(row: Sequence[Any], column: Sequence[Any]) -> Any:
    terms = [_times(a, b) for a, b in zip(row, column, strict=True)]
    kept = [t for t in terms if not (isinstance(t, (int, float)) and t == 0)]
    total: Any = kept[0] if kept else 0
    for term in kept[1:]:
        total = total + term
    return total


FUNCTIONS: dict[str, Callable[[Any, Sequence[Any]], Any]] = {
    "rosenbrock": rosenbrock,
    "bodies": bodies,
    "arm": arm,
}


# References, in float64


def gradient(name: str, x: Array) -> Array:
    """By hand for Rosenbrock's function, else by the complex step."""
    if name == "rosenbrock":
        bend, result = x[1:] - x[:-1] ** 2, np.zeros_like(x)
        result[:-1] = -400 * bend * x[:-1] - 2 * (1 - x[:-1])
        result[1:] += 200 * bend
        return result
    shifted = x.astype(complex)
    result = np.empty_like(x)
    for k in range(len(x)):
        shifted[k] += 1e-30j
        result[k] = np.imag(FUNCTIONS[name](np, shifted)) / 1e-30
        shifted[k] = x[k]
    return result


def hessian(name: str, x: Array) -> Array:
    """By hand for Rosenbrock's function, else differences of exact gradients (1e-9)."""
    n, h = len(x), 1e-5
    result = np.zeros((n, *x.shape))
    if name == "rosenbrock":
        i = np.arange(n - 1)
        result[i, i] = 1200 * x[:-1] ** 2 - 400 * x[1:] + 2
        result[i + 1, i + 1] += 200
        result[i, i + 1] = result[i + 1, i] = -400 * x[:-1]
        return result
    for k in range(n):
        step = np.zeros_like(x)
        step[k] = h
        result[k] = (gradient(name, x + step) - gradient(name, x - step)) / (2 * h)
    return result


def derivatives(name: str, order: int, x: Array) -> list[Array]:
    """Value, gradient and, of order 2, the Hessian; points are the last axis."""
    found = [np.asarray(FUNCTIONS[name](np, x)), gradient(name, x)]
    return found if order == 1 else [*found, hessian(name, x)]
