"""C by hand, compiled here: what the hardware allows. No peer, but what bench_floors shows."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from ctypes import c_float, c_long, c_void_p
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from formulas import SHIFT, SLOPE
from workloads import SIZES, Data, Run, Workload

FLAGS = "-O3 -march=native -mprefer-vector-width=512 -ffast-math -fopenmp -shared -fPIC".split()


def compiled() -> tuple[str, ctypes.CDLL]:
    """Version of the compiler, and what it has made of floors.c."""
    compiler = shutil.which("gcc")
    if compiler is None:
        raise ImportError("no gcc")
    version = subprocess.check_output([compiler, "-dumpfullversion"], text=True).strip()
    source, path = Path(__file__).with_name("floors.c"), Path(tempfile.mkdtemp()) / "floors.so"
    if subprocess.run([compiler, *FLAGS, source, "-o", path, "-lm"], check=False).returncode:
        raise ImportError("floors.c does not compile here")
    return version, ctypes.CDLL(str(path))


VERSION, C = compiled()
for _name in ("logistic", "step", "swish", "distance", "reading"):
    getattr(C, _name).restype = c_float


def start(threads: int) -> None:
    """Threads are set by the environment."""


def prepared(function: Any, *arguments: Any) -> Any:
    """A call with arguments converted once; pointers keep their arrays."""

    def made(a: Any) -> Any:
        if isinstance(a, np.ndarray):
            return a.ctypes.data_as(c_void_p)
        return c_long(a) if isinstance(a, int) else c_float(a)

    return partial(function, *map(made, arguments))


def logistic(w: Workload, data: Data) -> Run:
    X, weights, b, t = data.values()
    g = np.zeros(len(weights) + 1, np.float32)
    call = prepared(C.logistic, X, weights, float(b), t, g, *X.shape)
    return Run(call, (), lambda loss: [loss, g[:-1], g[-1]])


def training(w: Workload, data: Data) -> Run:
    if len(data["labels"]) > 1:
        raise NotImplementedError("one example only")
    params = [p.copy() for p in data["params"]]
    table = np.array([p.ctypes.data for p in params])
    label, rate = int(data["labels"][0]), w.options["rate"]
    call = prepared(C.step, table, np.array(SIZES), data["x"], label, rate)
    return Run(call, (), lambda loss: [loss, *params])


def swish(w: Workload, data: Data) -> Run:
    x, y = data.values()
    gx, gy = np.zeros_like(x), np.zeros_like(x)
    call = prepared(C.swish, x, y, gx, gy, len(x), SLOPE, SHIFT)
    return Run(call, (), lambda value: [value, gx, gy])


def distance(w: Workload, data: Data) -> Run:
    return Run(prepared(C.distance, *data.values(), len(data["x"])), (), lambda v: [v])


TASKS = {
    "logistic": logistic,
    "training": training,
    "swish": swish,
    "distance": distance,
}
