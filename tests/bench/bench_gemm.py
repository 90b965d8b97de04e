"""Speed of the contraction kernels beside NumPy's OpenBLAS and MKL.

One thread, thread CPU time, best of many; own kernels and peers alternate, all called by
machine code. ``GRAPHC_BENCH_MKL`` is the path of an MKL, if there is one.

Run as ``python tests/bench/bench_gemm.py [float32|float64] [level] [name filter]``.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["MKL_THREADING_LAYER"] = "SEQUENTIAL"

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "backend"))

import numpy as np
from blas import Blas, libraries
from tables import Figures, Table, parser, save

from gemm_jit import Gemm
from graphc_llvm.target import host

Case = tuple[str, int, int, int, str]


def cases() -> Iterator[Case]:
    """Name, m, n, k and kind: N or T for each operand, T if stored transposed."""
    for batch in (1, 8, 32, 128, 1024):
        yield f"forward B={batch}", batch, 500, 784, "NN"
        yield f"weights B={batch}", 784, 500, batch, "TN"
        yield f"inputs B={batch}", batch, 500, 500, "NT"
        yield f"out forward B={batch}", batch, 10, 500, "NN"
        yield f"out weights B={batch}", 500, 10, batch, "TN"
        yield f"out inputs B={batch}", batch, 500, 10, "NT"
    for size in (8, 16, 32, 64, 100, 128, 256, 512, 1024, 2048):
        for kind in ("NN", "NT", "TN", "TT") if size >= 64 else ("NN",):
            yield f"square {size}", size, size, size, kind
    for n in (500, 2000):
        for kind in ("NN", "TN"):
            yield f"matvec {n}", n, 1, n, kind
    yield "X w", 100_000, 1, 100, "NN"
    yield "X^T r", 100, 1, 100_000, "TN"
    yield "X^T R", 100, 10, 100_000, "TN"
    yield "dot", 1, 1, 1_000_000, "NN"


def operand(
    rng: np.random.Generator, rows: int, columns: int, kind: str, dtype: str
) -> np.ndarray:
    shape = (rows, columns) if kind == "N" else (columns, rows)
    x = rng.standard_normal(shape).astype(dtype)
    return x if kind == "N" else x.T


def best(run: Callable[[int], object], flops: float) -> Callable[[], float]:
    """A function that measures GF/s once, repeating ``run`` for about 5 ms."""
    run(1)
    start = time.thread_time()
    run(3)
    times = max(1, int(3 * 5e-3 / (time.thread_time() - start + 1e-6)))

    def measure() -> float:
        start = time.thread_time()
        run(times)
        return flops * times / max(time.thread_time() - start, 1e-9) / 1e9

    return measure


def main() -> None:
    made = parser(__doc__)
    made.add_argument("dtype", nargs="?", default="float32")
    made.add_argument("level", nargs="?", default="native")
    made.add_argument("filter", nargs="?", default="")
    given = made.parse_args()
    gemm = Gemm(host(given.level), given.dtype)
    title = f"Kernels of products in {given.dtype}, GF/s at best on one thread."
    peers = list(libraries(given.dtype))
    head = ["product", "m, n, k", "stored", "own", *(p.name for p in peers)]
    table = Table(f"gemm-{given.dtype}", title, head)
    figures: Figures = {}
    for name, m, n, k, kind in cases():
        if given.filter in name:
            rates = measured(gemm, peers, given.dtype, m, n, k, kind)
            best = (f"{max(found):.1f}" for found in rates)
            table.add(name, f"{m}, {n}, {k}", kind, *best)
            seconds = [2.0 * m * n * k / rate / 1e9 for rate in rates[0]]
            figures[f"kernel {name} {kind} {given.dtype}"] = seconds
    save(given.json, [table], figures)


def measured(
    gemm: Gemm, peers: list[Blas], dtype: str, m: int, n: int, k: int, kind: str,
    rounds: int = 9,
) -> list[list[float]]:  # fmt: skip
    """GF/s of own kernels and of each peer, in each round."""
    rng = np.random.default_rng(0)
    a, b = operand(rng, m, k, kind[0], dtype), operand(rng, k, n, kind[1], dtype)
    c, out = np.empty((m, n), dtype), np.empty((m, n), dtype)
    desc = gemm.describe(c[None], a[None], b[None])
    own = partial(gemm.repeat, 1, desc.ctypes.data, gemm.scratch)
    calls = [own, *(peer.product(a, b, out) for peer in peers)]
    runs = [best(call, 2.0 * m * n * k) for call in calls]
    assert not peers or np.allclose(out, c, rtol=1e-3, atol=1e-3 * k**0.5)
    found = [[run() for run in runs] for _ in range(rounds)]
    return [list(rates) for rates in zip(*found, strict=True)]


if __name__ == "__main__":
    main()
