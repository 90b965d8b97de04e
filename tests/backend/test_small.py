"""Small products, which have functions of their own, in every layout and on every target."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

import graphc as gr
from graphc.loops.ir import Buffer, ContractionKernel, Operand, Program
from graphc.types import Size, symbol
from graphc_llvm.lower.contractions import small
from graphc_llvm.target import host
from loops_jit import Loaded
from lower_programs import LEVELS, check, program

#: m, k, n around the widths of vectors, and where tiles are cut; rows, columns, inner products.
SIZES = [
    *[(1, 1, 1), (2, 3, 4), (4, 4, 4), (5, 7, 6), (8, 8, 8), (9, 40, 10), (16, 16, 16)],
    *[(17, 19, 21), (3, 64, 63), (30, 33, 31), (100, 3, 5), (64, 64, 64), (13, 2, 49)],
    *[(1, 17, 33), (33, 17, 1), (1, 5, 9), (9, 3, 1), (1, 64, 1), (1, 20, 64), (2, 50, 1)],
]


class Layouts:
    """Buffers of some operands, each with a batch of 2 by 3 unless it is the same for all."""

    def __init__(self, dtype: Any, axes: tuple[Size, Size]) -> None:
        self.dtype, self.axes = dtype, axes
        self.inputs: list[Buffer] = []
        self.outputs: list[Buffer] = []

    def operand(self, rows: int, columns: int, kind: str, shared: str) -> Operand:
        """``kind``: stored by rows (N), by columns (T), by rows with gaps (S). The same for all
        of the outer or inner axis if that is ``shared``, or written to if that is ``C``."""
        size = rows * columns * (2 if kind == "S" else 1)
        outer, inner = self.axes
        shape = (1 if "o" in shared else outer, 1 if "i" in shared else inner, size)
        output = shared == "C"
        into = self.outputs if output else self.inputs
        buffer = Buffer(f"{'c' if output else 'x'}{len(into)}", self.dtype, shape,
                        "output" if output else "input")  # fmt: skip
        into.append(buffer)
        steps = (0 if "o" in shared else shape[1] * size, 0 if "i" in shared else size)
        row, column = {"N": (columns, 1), "T": (1, rows), "S": (2 * columns, 2)}[kind]
        return Operand(buffer, steps, row, column)


def products(sizes: tuple[int, int, int], dtype: Any, axes: tuple[Size, Size]) -> Program:
    """One size in many layouts; by turns operands are the same along an axis of the batch."""
    m, k, n = sizes
    made, kernels = Layouts(dtype, axes), []
    layouts = [*product("NT", "NT", "N"), "STT", "TST", "NNT", "TSS", "NTS", "SSN"]
    for number, (a, b, c) in enumerate(layouts):
        kernels.append(
            ContractionKernel(
                f"k{number}",
                made.operand(m, k, a, ("", "o", "oi", "i")[number % 4]),
                made.operand(k, n, b, ("i", "", "oi")[number % 3]),
                made.operand(m, n, c, "C"),
                axes,
                m,
                k,
                n,
                dtype,
                accumulate=number % 5 == 2,
            )
        )
    return program(tuple(made.inputs), tuple(made.outputs), *kernels)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_layouts(sizes: tuple[int, int, int], level: str) -> None:
    for dtype in (gr.float32, gr.float64):
        p = products(sizes, dtype, (2, 3))
        assert all(small(kernel) is not None for kernel in p.kernels)
        check(Loaded(p, host(level)), 1)


@pytest.mark.parametrize("length", [0, 1, 90])
def test_batches_of_any_length(length: int) -> None:
    """Both axes of the batch have a size that is known when it runs; blocks end anywhere."""
    for sizes, outer in product([(16, 16, 16), (3, 20, 1)], (True, False)):
        axes = (symbol("n"), 2) if outer else (3, symbol("n"))
        p = products(sizes, gr.float32, axes)
        check(Loaded(replace(p, kernels=p.kernels[2:7]), host("native")), length)


def test_rows_backwards() -> None:
    x, y = gr.tensor("x", (5, 4)), gr.tensor("y", (4, 6))
    run = gr.compile([x, y], x[::-1] @ y[:, ::-1])
    a, b = (
        np.random.default_rng(0).integers(-9, 9, s).astype(np.float32) for s in ((5, 4), (4, 6))
    )
    np.testing.assert_array_equal(run(a, b), a[::-1] @ b[:, ::-1])
