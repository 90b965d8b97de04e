"""Results do not depend on the number of threads, and busy cores do not stop a call."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gr
from graphc.loops.ir import (
    BLOCK_WORK,
    MAX_ARRAY_BLOCKS,
    MAX_BLOCKS,
    PARALLEL_WORK,
    blocks,
)
from graphc_llvm import runtime

RNG = np.random.default_rng(0)


def array(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape).astype(np.float32)


Made = tuple[list[Any], Any, list[np.ndarray[Any, Any]]]


def on_matrix(make: Callable[[Any], Any], *shape: int) -> Callable[[], Made]:
    def made() -> Made:
        x = gr.tensor("x", tuple(f"n{i}" for i in range(len(shape))))
        return [x], make(x), [array(*shape)]

    return made


def product(m: int, k: int, n: int, spec: str = "ij,jk->ik") -> Callable[[], Made]:
    sizes = {"i": m, "j": k, "k": n, "b": 5}

    def made() -> Made:
        inputs, _ = spec.split("->")
        shapes = [[sizes[c] for c in term] for term in inputs.split(",")]
        leaves = [gr.tensor(f"x{i}", tuple(s)) for i, s in enumerate(shapes)]
        return leaves, gr.einsum(spec, *leaves), [array(*s) for s in shapes]

    return made


def network() -> Made:
    x, t = gr.tensor("x", ("n", 96)), gr.tensor("t", ("n",), "int64")
    v, w = gr.parameter("v", array(96, 128) / 10), gr.parameter("w", array(128, 10) / 10)
    loss = gr.mean(gr.nn.cross_entropy(gr.nn.relu(x @ v) @ w, t))
    return [x, t], (loss, *gr.grad(loss, [v, w])), [array(700, 96), RNG.integers(0, 10, 700)]


def gathered() -> Made:
    x, i = gr.tensor("x", ("n", 8)), gr.tensor("i", ("m",), "int64")
    rows = gr.take(x, i, 0)
    gradient = gr.grad(gr.sum(rows**2), x)
    return [x, i], (rows, gradient), [array(50, 8), RNG.integers(0, 50, 20_000)]


CASES: dict[str, Callable[[], Made]] = {
    "elementwise": on_matrix(lambda x: gr.tanh(x) * gr.exp(-x * x), 317, 511),
    "broadcast": on_matrix(lambda x: x[:, :1] * x[:1] + x, 500, 301),
    "sum": on_matrix(gr.sum, 701, 303),
    "sum of columns": on_matrix(lambda x: gr.sum(x * x, 0), 5000, 31),
    "sum of rows": on_matrix(lambda x: gr.mean(x * x, 1), 501, 303),
    "extremes": on_matrix(lambda x: (gr.max(x), gr.min(x, 0), gr.argmax(x, 1)), 501, 203),
    "arg of all": on_matrix(lambda x: gr.argmin(gr.reshape(x, (-1,))), 400, 500),
    "product": on_matrix(lambda x: gr.prod(1 + x / 1000, 0), 3000, 41),
    "any and all": on_matrix(lambda x: (gr.any(x > 5), gr.all(x < 9, 0)), 700, 303),
    "softmax": on_matrix(gr.softmax, 401, 207),
    "logsumexp": on_matrix(lambda x: gr.logsumexp(x, 1), 401, 207),
    "layer norm": on_matrix(lambda x: gr.nn.layer_norm(x), 401, 207),
    "variance": on_matrix(lambda x: (gr.var(x), gr.std(x, 0)), 601, 203),
    "transpose": on_matrix(lambda x: gr.transpose(x) + 1, 503, 301),
    "cumulative": on_matrix(lambda x: gr.cumsum(x, 1), 401, 207),
    "concatenate": on_matrix(lambda x: gr.concatenate([x, 2 * x]), 401, 303),
    "flip and pad": on_matrix(lambda x: gr.pad(gr.flip(x, 0), 2), 401, 303),
    "gather and scatter": gathered,
    "NN": product(257, 129, 193),
    "TN": product(257, 129, 193, "ji,jk->ik"),
    "NT": product(257, 129, 193, "ij,kj->ik"),
    "TT": product(257, 129, 193, "ji,kj->ik"),
    "batched": product(65, 63, 97, "bij,bjk->bik"),
    "long sums": product(33, 20_001, 17),
    "matrix and vector": product(2001, 1003, 1, "ij,j->i"),
    "vector and matrix": product(1, 2001, 1003, "j,jk->k"),
    "dot": product(1, 200_001, 1, "j,j->"),
    "outer": product(501, 1, 503, "i,k->ik"),
    "network": network,
}


def results(made: Made, threads: int, **options: Any) -> list[bytes]:
    inputs, outputs, values = made
    found = gr.compile(inputs, outputs, threads=threads, **options)(*values)
    return [np.asarray(f).tobytes() for f in (found if isinstance(found, tuple) else [found])]


@pytest.mark.parametrize("name", CASES)
def test_results_are_bitwise_equal_for_any_number_of_threads(name: str) -> None:
    made = CASES[name]()
    expected = results(made, 1)
    for threads in range(2, 9):
        assert results(made, threads) == expected


@pytest.mark.parametrize("name", ["sum", "softmax", "long sums", "network"])
@pytest.mark.parametrize(
    "options",
    [{"math": "fast"}, {"math": "strict"}, {"target": "avx2"}, {"target": "sse2"}],
    ids=str,
)
def test_so_they_are_in_every_mode(name: str, options: dict[str, Any]) -> None:
    made = CASES[name]()
    expected = results(made, 1, **options)
    for threads in (2, 3, 8):
        assert results(made, threads, **options) == expected


def test_threads_are_used_at_all() -> None:
    if sys.platform != "linux":
        pytest.skip("threads need futexes")
    results(CASES["elementwise"](), 3)
    results(CASES["NN"](), 3)
    workers = runtime.load().symbols["gc_workers"]
    assert ctypes.CFUNCTYPE(ctypes.c_int64)(workers)() >= 2


@pytest.mark.parametrize("name", ["elementwise", "NN", "network"])
def test_small_work_starts_no_threads(name: str) -> None:
    """In a process of its own, whose pool is still empty."""
    script = f"""
import ctypes, sys
sys.path[:0] = {sys.path!r}
import numpy as np
import graphc as gr
from graphc_llvm import runtime
x = gr.tensor("x", ("n", 16))
f = gr.compile([x], {{"elementwise": gr.tanh(x), "NN": x @ np.ones((16, 16), "f"),
    "network": gr.sum(gr.nn.relu(x @ np.ones((16, 16), "f")))}}[{name!r}], threads=4)
f(np.ones((20, 16), np.float32))
print(ctypes.CFUNCTYPE(ctypes.c_int64)(runtime.load().symbols["gc_workers"])())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "0\n"


def test_calls_end_while_other_threads_keep_all_cores_busy() -> None:
    """More threads than cores, beside loops that never rest."""
    cases = {name: CASES[name]() for name in ("elementwise", "sum", "NN", "network")}
    expected = {name: results(made, 1) for name, made in cases.items()}
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        for name, made in cases.items():
            inputs, outputs, values = made
            f = gr.compile(inputs, outputs, threads=8)
            for _ in range(20):
                found = f(*values)
                flat = found if isinstance(found, tuple) else [found]
                assert [np.asarray(v).tobytes() for v in flat] == expected[name]
                time.sleep(0.001)  # lets the workers fall asleep now and then
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("extent", "work", "arrays", "expected"),
    [
        (0, 8, False, 1),
        (PARALLEL_WORK - 1, 1, False, 1),
        (PARALLEL_WORK, 1, False, PARALLEL_WORK // BLOCK_WORK),
        (3, PARALLEL_WORK, False, 3),
        (10**9, 1, False, MAX_BLOCKS),
        (PARALLEL_WORK, 1, True, 1),
        (10**9, 1, True, MAX_ARRAY_BLOCKS),
    ],
)
def test_blocks_of_a_loop(extent: int, work: int, arrays: bool, expected: int) -> None:
    assert blocks(extent, work, arrays) == expected
