"""Numba: derivatives by hand in loops; those of the arm written out by SymEngine."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import symengine
from science import BODIES, FUNCTIONS
from workloads import Data, Run, Workload

VERSION = numba.__version__
THREADS = 1
jit = numba.njit(fastmath=True, error_model="numpy")


def start(threads: int) -> None:
    global THREADS
    THREADS = threads
    numba.set_num_threads(threads)


# For one point: x to the value, the gradient g and, if it is asked for, the Hessian h


def rosenbrock(x: Any, g: Any, h: Any, second: bool) -> float:
    total = 0.0
    g[:] = 0.0
    for i in range(len(x) - 1):
        bend, rest = x[i + 1] - x[i] * x[i], 1.0 - x[i]
        total += 100.0 * bend * bend + rest * rest
        g[i] += -400.0 * bend * x[i] - 2.0 * rest
        g[i + 1] += 200.0 * bend
    if second:
        h[:] = 0.0
        for i in range(len(x) - 1):
            h[i, i] += 1200.0 * x[i] * x[i] - 400.0 * x[i + 1] + 2.0
            h[i + 1, i + 1] += 200.0
            h[i, i + 1] = h[i + 1, i] = -400.0 * x[i]
    return total


def bodies(x: Any, g: Any, h: Any, second: bool) -> float:
    total = 0.0
    g[:] = 0.0
    for i in range(BODIES):
        for j in range(i + 1, BODIES):
            square = 0.01
            for k in range(3):
                square += (x[3 * i + k] - x[3 * j + k]) ** 2
            inverse = 1.0 / math.sqrt(square)
            energy = (1.0 + 0.1 * i) * (1.0 + 0.1 * j) * inverse
            slope = energy * inverse * inverse
            total -= energy
            for k in range(3):
                pull = slope * (x[3 * i + k] - x[3 * j + k])
                g[3 * i + k] += pull
                g[3 * j + k] -= pull
    return total


def arm() -> Callable[..., float]:
    """The function, compiled from text."""
    angles = symengine.symbols("angle0:6")
    value = FUNCTIONS["arm"](symengine, angles)
    gradient = [value.diff(a) for a in angles]
    second = [g.diff(a) for g in gradient for a in angles]
    steps, wanted = symengine.cse([value, *gradient, *second])
    lines = [f"angle{k} = x[{k}]" for k in range(6)]
    lines += [f"{name} = {term}" for name, term in steps]
    lines += [f"g[{k}] = {wanted[1 + k]}" for k in range(6)]
    lines += [f"h[{k // 6}, {k % 6}] = {wanted[7 + k]}" for k in range(36)]
    body = "\n    ".join([*lines, f"return {wanted[0]}"])
    found: dict[str, Any] = {"sin": math.sin, "cos": math.cos}
    exec(f"def arm(x, g, h, second):\n    {body}\n", found)
    function: Callable[..., float] = found["arm"]
    return function


def derivatives(w: Workload, data: Data) -> Run:
    functions = {"rosenbrock": lambda: rosenbrock, "bodies": lambda: bodies, "arm": arm}
    one = jit(functions[w.options["function"]]())
    second = w.options["order"] == 2
    points = np.ascontiguousarray(np.atleast_2d(data["x"].T))
    count, n = points.shape
    values, g = np.empty(count), np.empty((count, n))
    h = np.empty((count, n, n) if second else (count, 1, 1))

    def loop(x: Any, values: Any, g: Any, h: Any) -> None:
        for i in numba.prange(len(x)):
            values[i] = one(x[i], g[i], h[i], second)

    def single(x: Any, values: Any, g: Any, h: Any) -> None:
        values[0] = one(x[0], g[0], h[0], second)

    mapped = data["x"].ndim == 2
    parallel = mapped and THREADS > 1
    f = numba.njit(loop if mapped else single, parallel=parallel, fastmath=True)

    def arrays(_: Any) -> list[Any]:
        found = [values, g, h] if second else [values, g]
        return [np.moveaxis(a, 0, -1) if mapped else a[0] for a in found]

    return Run(f, (points, values, g, h), arrays)


TASKS = {"derivatives": derivatives}
