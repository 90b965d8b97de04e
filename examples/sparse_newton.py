"""Newton's method on a partial differential equation, with a sparse Jacobian.

Bratu's problem on the unit square: ``-laplace(u) = strength * exp(u)``, u = 0 on the border, by
five-point differences. Each residual sees five values of u, so that of a Jacobian with 10^8
entries for 100 x 100 points 49 600 are computed, by seven directional derivatives.

Run as ``python examples/sparse_newton.py``; needs SciPy (``pip install graphc[sparse]``).
"""

from __future__ import annotations

import time

import numpy as np
from scipy.sparse.linalg import spsolve

import graphc as gr

POINTS = 100
STRENGTH = 1.0


def residual(u: gr.Expr) -> gr.Expr:
    """``-laplace(u) h^2 - strength exp(u) h^2`` at the inner points; h is their distance."""
    border = gr.pad(u, 1)
    beside = border[:-2, 1:-1] + border[2:, 1:-1] + border[1:-1, :-2] + border[1:-1, 2:]
    return 4 * u - beside - STRENGTH / (POINTS + 1) ** 2 * gr.exp(u)


def main() -> None:
    u = gr.matrix("u", POINTS, POINTS, dtype="float64")
    r = residual(u)
    start = time.perf_counter()
    jacobian = gr.jacobian(r, u, sparse=True)
    f = gr.compile(u, (r, jacobian))
    print(f"{jacobian}, made in {time.perf_counter() - start:.2f} s")
    x = np.zeros((POINTS, POINTS))
    for step in range(8):
        start = time.perf_counter()
        value, matrix = f(x)
        seconds = time.perf_counter() - start
        size = np.abs(value).max()
        print(f"step {step}: largest residual {size:.1e}, Jacobian in {1e3 * seconds:.2f} ms")
        if size < 1e-14:
            break
        x -= spsolve(matrix, value.ravel()).reshape(x.shape)
    print(f"largest u: {x.max():.5f}")


if __name__ == "__main__":
    main()
