"""The contraction kernels against numpy in double precision, on every target and layout."""

from __future__ import annotations

import ctypes
import itertools
import math
import mmap
import sys
from functools import cache

import numpy as np
import pytest

from gemm_jit import Gemm
from graphc_llvm.gemm.tiling import SCRATCH_BYTES_PER_THREAD, tiling
from graphc_llvm.target import host

SIZES = (0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 48, 64, 65, 100, 129, 257)
LEVELS = ("native", "avx2", "sse2")
DTYPES = ("float32", "float64")
SENTINEL = -77.5

#: Shapes m, n, k that take special paths: vectors, outer products, sums cut in parts.
SPECIAL = (
    (1, 1, 1), (1, 1, 5000), (1, 1, 70_001), (1, 5, 9000), (100, 1, 7003), (1, 700, 900),
    (1, 3000, 1), (1, 3000, 130), (3000, 1, 7), (10, 7, 9001), (64, 48, 4097), (1, 9, 0),
    (5, 0, 3), (0, 4, 4), (6, 9, 0), (300, 500, 1), (513, 700, 3), (100, 600, 700),
)  # fmt: skip


@cache
def gemm(level: str, dtype: str, pool: str = "serial") -> Gemm:
    return Gemm(host(level), dtype, pool)


def laid_out(
    rng: np.random.Generator, shape: tuple[int, int, int], layout: str, dtype: str
) -> np.ndarray:
    """Random [batch, rows, columns], N row-major or T column-major, with other traits."""
    batch, m, n = shape
    kind, *traits = layout.split("-")
    if "batch0" in traits:
        batch = 1
    if "spread" in traits:
        m, n = 2 * m, 3 * n
    size = (m, n) if kind == "N" else (n, m)
    padded = (size[0], size[1] + 5 * ("padded" in traits))
    x = rng.standard_normal((batch, *padded)).astype(dtype)[:, :, : size[1]]
    x = x if kind == "N" else x.transpose(0, 2, 1)
    if "spread" in traits:
        x = x[:, ::2, ::3]
    if "reversed" in traits:
        x = x[:, ::-1, ::-1]
    return np.broadcast_to(x, shape)


LAYOUTS = ("N", "T", "N-padded", "T-padded", "N-spread", "T-reversed", "N-batch0", "T-batch0")


def output(
    rng: np.random.Generator, shape: tuple[int, int, int], layout: str, dtype: str
) -> tuple[np.ndarray, np.ndarray]:
    """Memory full of sentinels, and a random C inside of it with gaps between rows."""
    batch, m, n = shape
    traits = layout.split("-")
    step = 2 if "spread" in traits else 1
    size = (m, n) if traits[0] == "N" else (n, m)
    memory = np.full((batch + 2, size[0] * step + 4, size[1] * step + 9), SENTINEL, dtype)
    c = memory[1:-1, 2 : 2 + size[0] * step : step, 4 : 4 + size[1] * step : step]
    c = c if traits[0] == "N" else c.transpose(0, 2, 1)
    c[...] = rng.standard_normal(shape)
    return memory, c


def check(
    run: Gemm, shape: tuple[int, int, int, int], layouts: tuple[str, str, str],
    accumulate: bool, seed: int,
) -> None:  # fmt: skip
    """One product: values within the bound of any order of summation, nothing else touched."""
    batch, m, n, k = shape
    rng = np.random.default_rng(seed)
    a = laid_out(rng, (batch, m, k), layouts[0], run.dtype)
    b = laid_out(rng, (batch, k, n), layouts[1], run.dtype)
    memory, c = output(rng, (batch, m, n), layouts[2], run.dtype)
    before = c.astype(np.float64) * accumulate
    outside = np.ones(memory.shape, bool)
    _view_like(memory, outside, c)[...] = False
    assert run(c, a, b, accumulate) == 0
    exact = a.astype(np.float64) @ b.astype(np.float64) + before
    size = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64) + np.abs(before)
    bound = (k + 2) * np.finfo(run.dtype).eps * size
    assert np.all(np.abs(c - exact) <= bound), (shape, layouts, accumulate)
    assert np.all(memory[outside] == SENTINEL), (shape, layouts, accumulate)


def _view_like(memory: np.ndarray, mask: np.ndarray, view: np.ndarray) -> np.ndarray:
    """The part of ``mask`` that covers the same elements as ``view`` does of ``memory``."""
    start = (view.ctypes.data - memory.ctypes.data) // memory.itemsize
    strides = [s // memory.itemsize for s in view.strides]
    return np.lib.stride_tricks.as_strided(mask.reshape(-1)[start:], view.shape, strides)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("level", LEVELS)
def test_values_for_all_layouts(level: str, dtype: str) -> None:
    run = gemm(level, dtype)
    rng = np.random.default_rng(1)
    choices = itertools.product(LAYOUTS, LAYOUTS, ("N", "T", "N-spread"))
    for seed, (a, b, c) in enumerate(choices):
        accumulate = bool(rng.integers(2))
        m, n, k = (int(x) for x in rng.choice(SIZES, 3))
        batch = int(rng.choice((1, 1, 3)))
        check(run, (batch, m, n, k), (a, b, c), accumulate, seed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("level", LEVELS)
def test_small_sizes(level: str, dtype: str) -> None:
    run = gemm(level, dtype)
    sizes = itertools.product(
        (1, 2, 5, 8, 9, 13), (1, 3, 8, 16, 17, 49, 64), (1, 2, 4, 5, 8, 35)
    )
    for seed, (m, n, k) in enumerate(sizes):
        kinds = ("N", "N"), ("T", "N"), ("N", "T"), ("T", "T")
        check(run, (1, m, n, k), (*kinds[seed % 4], "NT"[seed % 3 == 0]), seed % 5 == 0, seed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", ["NN", "TN", "NT", "TT"])
def test_special_paths(level: str, dtype: str, kind: str) -> None:
    run = gemm(level, dtype)
    for seed, (m, n, k) in enumerate(SPECIAL):
        for c, accumulate in (("N", False), ("T", True), ("N-spread", seed % 2 == 0)):
            check(run, (1, m, n, k), (kind[0], kind[1], c), accumulate, seed)


def test_strided_vectors() -> None:
    for dtype, (m, n, k) in itertools.product(
        DTYPES, ((1, 70, 4500), (40, 1, 5001), (1, 1, 77))
    ):
        layouts = itertools.product(("N-spread", "T-spread", "N"), ("N-spread", "T", "N"))
        for seed, (a, b) in enumerate(layouts):
            check(gemm("native", dtype), (1, m, n, k), (a, b, "N-spread"), True, seed)


def test_batches_of_small_products() -> None:
    for seed, (m, n, k) in enumerate(
        ((4, 4, 4), (1, 20, 9), (9, 1, 3), (16, 33, 0), (3, 50, 200))
    ):
        for level, dtype in itertools.product(LEVELS, DTYPES):
            layouts = ("N", "T-batch0", "N"), ("T-batch0", "N", "T")
            check(gemm(level, dtype), (500, m, n, k), layouts[seed % 2], False, seed)


#: Shapes whose parts are finished in different places of the library.
FINISHED = (
    *SPECIAL, (784, 500, 1), (37, 90, 2), (784, 500, 8), (500, 10, 32), (10, 500, 33),
    (130, 260, 460), (97, 1030, 70), (7, 7, 5000), (2, 500, 300), (200, 1, 50), (1100, 600, 40),
)  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("pool", ["serial", "reverse"])
def test_epilogue_sees_each_element_once(level: str, dtype: str, pool: str) -> None:
    """It adds to what is there the very numbers that are stored without it."""
    run = gemm(level, dtype, pool)
    rng = np.random.default_rng(3)
    for m, n, k in FINISHED:
        for kinds in ("NN", "TN", "NT", "TT"):
            a = laid_out(rng, (1, m, k), kinds[0], dtype)
            b = laid_out(rng, (1, k, n), kinds[1], dtype)
            c, kept = np.full((2, m, n), SENTINEL, dtype)
            run(c[None], a, b)
            start = rng.standard_normal((m, n)).astype(dtype)
            total = start.copy()
            keeps = bool(rng.integers(2))
            assert run.with_epilogue(kept, a[0], b[0], total, keeps=keeps) == 0
            np.testing.assert_array_equal(total, (start + np.dtype(dtype).type(100)) + c)
            if keeps:
                np.testing.assert_array_equal(kept, c)


def test_product_that_only_the_epilogue_needs_stays_in_scratch() -> None:
    a, b = np.ones((60, 30), "float32"), np.ones((30, 100), "float32")
    untouched, total = np.full((60, 100), SENTINEL, "float32"), np.zeros((60, 100), "float32")
    gemm("native", "float32").with_epilogue(untouched, a, b, total, keeps=False)
    assert np.all(total == 130)
    assert np.all(untouched == SENTINEL)


@pytest.mark.parametrize("level", LEVELS)
def test_values_do_not_depend_on_the_distribution_of_blocks(level: str) -> None:
    rng = np.random.default_rng(2)
    shapes = [(1, *s) for s in SPECIAL] + [
        (60, 40, 50, 30),
        (1, 257, 300, 500),
        (1, 1000, 520, 77),
    ]
    for dtype, (batch, m, n, k) in itertools.product(DTYPES, shapes):
        a = laid_out(rng, (batch, m, k), "N", dtype)
        b = laid_out(rng, (batch, k, n), "T", dtype)
        results = []
        for pool in ("serial", "reverse"):
            c = np.full((batch, m, n), SENTINEL, dtype)
            assert gemm(level, dtype, pool)(c, a, b) == 0
            results.append(c)
        np.testing.assert_array_equal(results[0], results[1])


def test_values_do_not_leak_between_lanes() -> None:
    """What pads a tile is never part of a result, be it infinite."""
    for dtype, level in itertools.product(DTYPES, LEVELS):
        a, b = np.ones((1, 9, 6), dtype), np.ones((1, 6, 19), dtype)
        a[0, 8], b[0, :, 18] = np.inf, np.nan
        c = np.empty((1, 9, 19), dtype)
        gemm(level, dtype)(c, a, b)
        assert np.all(c[0, :8, :18] == 6)
        assert np.all(np.isinf(c[0, 8, :18]))
        assert np.all(np.isnan(c[0, :, 18]))


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
@pytest.mark.parametrize("level", LEVELS)
def test_nothing_is_read_beyond_the_operands(level: str) -> None:
    """Operands and result end where an unreadable page begins."""
    shapes = (1, 1, 37), (1, 37, 21), (9, 1, 37), (5, 19, 7), (13, 50, 35), (100, 53, 41)
    for dtype, (m, n, k) in itertools.product(DTYPES, shapes):
        rng = np.random.default_rng(k)
        for kinds in ("NN", "TN", "NT", "TT"):
            shape = (m, k), (k, n)
            stored = [s if x == "N" else s[::-1] for s, x in zip(shape, kinds, strict=True)]
            arrays = [before_guard(s, dtype) for s in stored]
            for x in arrays:
                x[...] = rng.standard_normal(x.shape)
            a, b = (x if t == "N" else x.T for x, t in zip(arrays, kinds, strict=True))
            c = before_guard((m, n), dtype)
            gemm(level, dtype)(c[None], a[None], b[None])
            np.testing.assert_allclose(c, a @ b, rtol=1e-4, atol=1e-4)


def before_guard(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An array whose last byte is followed by an unreadable page."""
    count = math.prod(shape)
    size = count * np.dtype(dtype).itemsize
    room = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, room + mmap.PAGESIZE)
    pages = np.frombuffer(memory, np.uint8)
    guard = ctypes.c_void_p(pages.ctypes.data + room)
    assert ctypes.CDLL(None).mprotect(guard, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    return pages[room - size : room].view(dtype).reshape(shape)


def test_scratch_has_room_for_all_parts() -> None:
    for level, dtype in itertools.product(LEVELS, DTYPES):
        t = tiling(host(level), dtype)
        assert t.own_offset + t.rows * t.own_row_bytes <= t.partials_offset
        assert t.partials_offset + t.partials * t.itemsize == SCRATCH_BYTES_PER_THREAD


def test_status_of_the_pool_is_returned() -> None:
    run = gemm("native", "float32", "interrupted")
    for m, n, k in ((300, 300, 300), (3, 3, 50_000)):
        c = np.zeros((1, m, n), "float32")
        ones = np.ones((1, m, k), "float32"), np.ones((1, k, n), "float32")
        assert run(c, *ones) == 7
        assert not c.any()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_error_of_a_long_sum_grows_slowly(dtype: str, level: str) -> None:
    """Sums are taken in blocks and lanes: the error stays far below k * eps."""
    k, bound = 100_000, 700 * 64 // host(level).vector_bytes
    ones = np.full((1, 1, k), 0.1, dtype)
    for m, n in ((1, 1), (2, 3), (200, 200)):
        a, b = (
            np.broadcast_to(ones, (1, m, k)),
            np.broadcast_to(ones, (1, n, k)).transpose(0, 2, 1),
        )
        c = np.empty((1, m, n), dtype)
        gemm(level, dtype)(c, a, b)
        exact = k * float(ones[0, 0, 0]) ** 2
        assert np.abs(c - exact).max() <= bound * np.finfo(dtype).eps * exact
