"""Denormal numbers: kept by default, zero in the fast mode, and nobody else's mode changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc as gr
from graphc.errors import IndexOutOfRangeError
from graphc_llvm.target import host

pytestmark = pytest.mark.skipif(not host().flushes, reason="this target has no such mode")

TINY = {"float32": 2.0**-140, "float64": 2.0**-1030}  # sums of them are exact
N = 70_000  # enough for several threads


def numpy_keeps_them() -> bool:
    """Whether this thread's mode is the usual one."""
    return bool(np.multiply(np.array([1e-30], np.float32), np.float32(1e-10))[0] > 0)


Case = Callable[[str], tuple[list[Any], Any, list[np.ndarray[Any, Any]]]]


def scaled(dtype: str) -> Any:
    """Normal operands, denormal results."""
    x = gr.tensor("x", ("n",), dtype)
    least = float(np.finfo(dtype).tiny)
    return [x], x * least, [np.full(N, 0.25, dtype)]


def read(dtype: str) -> Any:
    """Denormal operands, normal results if they are kept."""
    x = gr.tensor("x", ("n",), dtype)
    return [x], x * float(1 / np.finfo(dtype).tiny), [np.full(N, TINY[dtype], dtype)]


def summed(dtype: str) -> Any:
    x = gr.tensor("x", ("n", "m"), dtype)
    return [x], gr.sum(x, 0), [np.full((N // 16, 16), TINY[dtype], dtype)]


def multiplied(dtype: str) -> Any:
    """A product that the contraction library runs."""
    a, b = gr.tensor("a", ("m", "k"), dtype), gr.tensor("b", ("k", "n"), dtype)
    root = float(np.sqrt(np.finfo(dtype).tiny) / 8)
    return [a, b], a @ b, [np.full((150, 3), root, dtype), np.full((3, 170), root, dtype)]


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", [scaled, read, summed, multiplied])
def test_only_the_fast_mode_takes_them_for_zero(case: Case, dtype: str, threads: int) -> None:
    inputs, output, values = case(dtype)
    modes = ("default", "strict", "fast", "default")  # in turn, on the same workers
    functions = [gr.compile(inputs, output, threads=threads, math=m) for m in modes]
    expected = gr.compile(inputs, output, backend="interpret")(*values)
    assert (expected > 0).all()
    for _ in range(3):
        for mode, f in zip(modes, functions, strict=True):
            found = f(*values)
            if mode == "fast":
                assert not found.any()
            else:
                np.testing.assert_allclose(found, expected, rtol=1e-5)
            assert numpy_keeps_them()


def test_weights_that_decay_become_zero() -> None:
    for mode, least in (("default", 1e-45), ("fast", 0.0)):
        w = gr.parameter("w", np.full(100, 1e-37, np.float32))
        step = gr.compile([], None, {w: w * 0.5}, math=mode)
        for _ in range(24):
            step()
        assert w.value.max() == pytest.approx(1e-37 * 0.5**24 if least else 0.0, rel=0.2)


def test_the_mode_is_put_back_when_a_call_fails() -> None:
    x, i = gr.tensor("x", (3,)), gr.tensor("i", (2,), "int64")
    f = gr.compile([x, i], gr.take(x, i) * 2, math="fast")
    values = np.ones(3, np.float32)
    for _ in range(3):
        with pytest.raises(IndexOutOfRangeError):
            f(values, np.array([0, 3]))
        assert numpy_keeps_them()
    call = f.bind(values, np.array([0, 3]))
    with pytest.raises(IndexOutOfRangeError):
        call()
    assert numpy_keeps_them()
