"""CasADi: SX graphs, compiled by a C compiler where there is one, on buffers bound once."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

import casadi
import numpy as np
from science import FUNCTIONS
from workloads import Data, Run, Workload

COMPILER = shutil.which("gcc") or shutil.which("cc")
VERSION = f"{casadi.__version__} ({'compiled C' if COMPILER else 'interpreted'})"
FLAGS = ["-O3", "-march=native", "-ffast-math"]
THREADS = 1


def start(threads: int) -> None:
    global THREADS
    THREADS = threads
    os.chdir(tempfile.mkdtemp())  # the generated C is written here


def options() -> dict[str, Any]:
    if COMPILER is None:
        return {"cse": True}
    flags = {"compiler": COMPILER, "flags": FLAGS}
    return {"cse": True, "jit": True, "compiler": "shell", "jit_options": flags}


def derivatives(w: Workload, data: Data) -> Run:
    points = np.ascontiguousarray(data["x"].T)
    x = casadi.SX.sym("x", points.shape[-1])
    value = FUNCTIONS[w.options["function"]](casadi, casadi.vertsplit(x))
    if w.options["order"] == 1:
        wanted = [value, casadi.gradient(value, x)]
    else:
        second, first = casadi.hessian(value, x)
        wanted = [value, first, casadi.densify(second)]
    f = casadi.Function("f", [x], [casadi.densify(e) for e in wanted], options())
    if points.ndim == 2:
        count = len(points)
        f = f.map(count) if THREADS == 1 else f.map(count, "thread", THREADS)
    buffer, call = f.buffer()
    n, results = points.shape[-1], []
    for k in range(f.n_out()):
        # column-major: a point after the other, of each all entries
        results.append(np.zeros((*points.shape[:-1], *[n] * k)))
        buffer.set_res(k, memoryview(results[k].reshape(-1)))
    buffer.set_arg(0, memoryview(points.reshape(-1)))

    held = f, buffer  # the call has pointers into them

    def arrays(_: Any) -> list[Any]:
        assert held
        return [np.moveaxis(r, 0, -1) if points.ndim == 2 else r for r in results]

    return Run(call, (), arrays)


TASKS = {"derivatives": derivatives}
