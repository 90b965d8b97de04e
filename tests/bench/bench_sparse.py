"""Sparse derivatives: pattern, colouring, compilation and a call, beside the dense ones.

Milliseconds of the thread's CPU time, calls by one thread, the fastest of many. Compilation
finds nothing on disk. Dense derivatives are left out where they would take over a gigabyte.

Run as ``python tests/bench/bench_sparse.py [name filter]``.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()

import numpy as np
from tables import Figures, Table, parser, save

import graphc as gr
from graphc.diff.colouring import column_colors, star_colors
from graphc.diff.sparsity import sparsity

SIZES = (1_000, 10_000, 100_000)
COLUMNS = "system variables entries directions pattern colours graph compile call dense"


def rosenbrock(size: int) -> tuple[gr.Expr, gr.Expr]:
    """Tridiagonal Hessian."""
    x = gr.vector("x", size)
    return x, gr.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def arrow(size: int) -> tuple[gr.Expr, gr.Expr]:
    """Hessian with a full first row and column, and a diagonal."""
    x = gr.vector("x", size)
    return x, gr.exp(x[0]) * gr.sum(gr.sin(x[1:]))


def border(size: int) -> tuple[gr.Expr, gr.Expr]:
    """Jacobian with a full first row and column, and a diagonal."""
    x = gr.vector("x", size)
    return x, gr.concatenate([gr.sum(x**2, keepdims=True), gr.sin(x[1:]) * x[0]])


def blocks(size: int) -> tuple[gr.Expr, gr.Expr]:
    """Jacobian of 4 x 4 blocks."""
    x = gr.vector("x", size)
    mixed = gr.reshape(x, (size // 4, 4)) @ np.random.default_rng(0).normal(size=(4, 4))
    return x, gr.tanh(mixed)


def bratu(size: int) -> tuple[gr.Expr, gr.Expr]:
    """Jacobian of the residual of ``-laplace(u) = exp(u)`` on a square, five points each."""
    side = round(size**0.5)
    u = gr.matrix("u", side, side)
    p = gr.pad(u, 1)
    near = p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:]
    return u, 4 * u - near - gr.exp(u) / size


SYSTEMS = (rosenbrock, arrow, border, blocks, bratu)


def clocked(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.thread_time()
    result = function()
    return result, 1e3 * (time.thread_time() - start)


def call_time(function: Callable[..., Any], at: Any, rounds: int = 30) -> float:
    function(at)
    times = []
    for _ in range(rounds):
        times.append(clocked(lambda: function(at))[1])
    return min(times)


def row(system: Callable[[int], tuple[gr.Expr, gr.Expr]], size: int) -> list[str]:
    x, y = system(size)
    symmetric = y.ndim == 0
    derive: Any = gr.hessian if symmetric else gr.jacobian
    slope = gr.grad(y, x) if symmetric else y
    pattern, found = clocked(lambda: sparsity(slope, x))
    _, coloured = clocked(lambda: (star_colors if symmetric else column_colors)(pattern))
    matrix, made = clocked(lambda: derive(y, x, sparse=True))
    f, compiled = clocked(lambda: gr.compile(x, matrix, threads=1))
    at = np.random.default_rng(1).normal(size=x.shape)
    cells = [
        system.__name__,
        f"{x.size}",
        f"{matrix.nnz}",
        f"{matrix.directions} {matrix.mode}",
    ]
    cells += [f"{ms:.1f}" for ms in (found, coloured, made, compiled)]
    cells += [f"{call_time(f, at):.3f}", dense(derive, y, x, at)]
    return cells


def dense(derive: Any, y: gr.Expr, x: gr.Expr, at: Any) -> str:
    if x.size * max(y.size, x.size) > 10**7:
        return "-"
    f, compiled = clocked(lambda: gr.compile(x, derive(y, x), threads=1))
    return f"{compiled:.1f} + {call_time(f, at, 5):.3f}"


def main() -> None:
    made = parser(__doc__)
    made.add_argument("filter", nargs="?", default="")
    given = made.parse_args()
    title = "Sparse derivatives, ms of CPU time; dense is compile + call."
    table = Table("sparse", title, COLUMNS.split())
    figures: Figures = {}
    with gr.default_dtype("float64"):
        for system in SYSTEMS:
            if given.filter not in system.__name__:
                continue
            row(system, 16)  # what is shared between programs is made
            for size in SIZES:
                table.add(*row(system, size))
                place = table.head.index("call")
                title = f"sparse {system.__name__} {size}"
                figures[title] = [float(table.rows[-1][place]) / 1e3]
    save(given.json, [table], figures)


if __name__ == "__main__":
    main()
