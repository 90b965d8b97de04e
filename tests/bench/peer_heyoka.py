"""heyoka: expressions compiled by LLVM, lanes side by side over points."""

from __future__ import annotations

import heyoka
import numpy as np
from formulas import surface
from science import FUNCTIONS
from workloads import Data, Run, Workload

VERSION = heyoka.__version__
THREADS = 1


def start(threads: int) -> None:
    global THREADS
    THREADS = threads


def derivatives(w: Workload, data: Data) -> Run:
    given = np.ascontiguousarray(data["x"])
    n, order = len(given), w.options["order"]
    x = [heyoka.expression(f"x{k}") for k in range(n)]
    value = FUNCTIONS[w.options["function"]](heyoka, x)
    tensors = heyoka.diff_tensors([value], diff_args=x, diff_order=order)
    wanted = [value, *tensors.gradient]
    if order == 2:
        wanted += [entry for row in tensors.hessian(0) for entry in row]
    parallel = given.ndim == 2 and THREADS > 1
    f = heyoka.cfunc(wanted, vars=x, force_avx512=True, parallel_mode=parallel)
    out = np.empty((len(wanted), *given.shape[1:]))
    second = (n, n, *given.shape[1:])

    def arrays(found: np.ndarray) -> list[np.ndarray]:
        parts = [found[0], found[1 : n + 1], found[n + 1 :]]
        return parts[:2] if order == 1 else [*parts[:2], parts[2].reshape(second)]

    return Run(lambda x, out: f(inputs=x, outputs=out), (given, out), arrays)


def points(w: Workload, data: Data) -> Run:
    """Value and gradient of the surface, all points in one array."""
    x = heyoka.make_vars(*data)
    value = surface(heyoka, *x)
    gradient = heyoka.diff_tensors([value], diff_args=list(x), diff_order=1).gradient
    f = heyoka.cfunc(
        [value, *gradient], vars=list(x), force_avx512=True, parallel_mode=THREADS > 1
    )
    given = np.array(list(data.values()))
    out = np.empty((4, given.shape[1]))
    return Run(lambda x, out: f(inputs=x, outputs=out), (given, out), list)


TASKS = {"points": points, "derivatives": derivatives}
