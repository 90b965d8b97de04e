"""SymEngine: symbolic derivatives, compiled by LLVM after common subexpressions are found."""

from __future__ import annotations

from typing import Any

import formulas
import numpy as np
import symengine
from science import FUNCTIONS
from workloads import Data, Run, Workload

VERSION = symengine.__version__


def start(threads: int) -> None:
    """It uses one thread."""


def compiled(x: list[Any], wanted: list[Any]) -> Any:
    return symengine.Lambdify(x, wanted, backend="llvm", cse=True, opt_level=3)


def points(w: Workload, data: Data) -> Run:
    x = list(symengine.symbols("x:3"))
    value = formulas.surface(symengine, *x)
    f = compiled(x, [value, *(value.diff(a) for a in x)])
    given = np.ascontiguousarray(np.stack(list(data.values()), -1))
    return Run(f, (given,), lambda found: list(np.moveaxis(found, -1, 0)))


def derivatives(w: Workload, data: Data) -> Run:
    """Points are rows here: those of a point lie side by side."""
    given = np.ascontiguousarray(data["x"].T)
    n, second = given.shape[-1], w.options["order"] == 2
    x = list(symengine.symbols(f"x:{n}"))
    value = FUNCTIONS[w.options["function"]](symengine, x)
    gradient = [value.diff(a) for a in x]
    wanted = [value, *gradient]
    if second:
        wanted += [g.diff(a) for g in gradient for a in x]

    def parts(found: Any) -> list[Any]:
        found = np.moveaxis(found, -1, 0)
        split = [found[0], found[1 : n + 1], found[n + 1 :]]
        return [*split[:2], split[2].reshape(n, n, *found.shape[1:])] if second else split[:2]

    return Run(compiled(x, wanted), (given,), parts)


TASKS = {"floats": points, "points": points, "derivatives": derivatives}
