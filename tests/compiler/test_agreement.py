"""Every case of the shared table gives the same compiled as interpreted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pytest

import cases
import graphc as gr
from cases import Case
from graphc.ops import OPS
from graphc.types import from_numpy
from graphc_llvm.vmath import ULP_BOUNDS

Array = np.ndarray[Any, Any]

#: Cases that are compiled into one function.
TOGETHER = 24
UNSUMMED = ("elementwise", "movement", "indexing", "leaf")
#: What NumPy's own elementary functions may be off by (ulp).
NUMPY_ULPS = 4


def op_of(case: Case) -> str:
    return case.id.split("-")[0]


def chunks(table: Sequence[Case]) -> Iterator[tuple[str, list[Case]]]:
    """Cases in groups, those of one operation together."""
    for name, group in groupby(table, op_of):
        same = list(group)
        for start in range(0, len(same), TOGETHER):
            yield f"{name}-{start}", same[start : start + TOGETHER]


def composed() -> Iterator[tuple[str, list[Case]]]:
    table = [*cases.NUMPY, *cases.NETWORKS]
    for start in range(0, len(table), TOGETHER):
        yield f"{table[start]}...", table[start : start + TOGETHER]


OPERATIONS = dict(chunks(cases.OPERATIONS))
ALL = {**OPERATIONS, **dict(composed())}


def graph_of(together: Sequence[Case]) -> tuple[list[gr.Expr], list[gr.Expr], list[Array]]:
    """Leaves, results and arrays of all cases."""
    inputs: list[gr.Expr] = []
    outputs, arrays = [], []
    for number, case in enumerate(together):
        leaves = [
            gr.tensor(f"x{number}_{i}", a.shape, from_numpy(a.dtype))
            for i, a in enumerate(case.arrays)
        ]
        inputs += leaves
        outputs.append(case.build(*leaves))
        arrays += case.arrays
    return inputs, outputs, arrays


def strided(array: Array) -> Array:
    """The same elements, every other one of a larger array, axes from last to first."""
    if array.ndim == 0:
        return array
    wide = np.repeat(array.T, 2, axis=0)
    return wide[::2].T


def check(case: Case, found: Any, expected: Array, exact_zeros: bool) -> None:
    actual = np.asarray(found)
    assert actual.dtype == expected.dtype, case.id
    assert actual.shape == expected.shape, case.id
    op = OPS.get(op_of(case))
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected, err_msg=case.id)
    elif op is not None and op.family in UNSUMMED and op.name != "fma":  # NumPy rounds twice
        check_ulps(case, actual, expected)
        if exact_zeros and op.family == "elementwise":
            numbers = ~np.isnan(expected)
            signs = np.signbit(actual) == np.signbit(expected)
            assert signs[numbers].all(), f"{case.id}: sign of a zero"
    else:
        rtol = cases.RTOL[expected.dtype.name] if case.rtol is None else case.rtol
        finite = expected[np.isfinite(expected)]
        scale = float(np.max(np.abs(finite), initial=0.0))
        np.testing.assert_allclose(actual, expected, rtol, rtol * scale, err_msg=case.id)


def check_ulps(case: Case, actual: Array, expected: Array) -> None:
    """Within the bounds of both; what rounds only once is exact."""
    bounds = ULP_BOUNDS.get(op_of(case))
    if bounds is None:
        np.testing.assert_array_equal(actual, expected, err_msg=case.id)
        return
    limit = bounds[expected.dtype == np.float64] + NUMPY_ULPS
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite], err_msg=case.id)
    error = np.abs(actual[finite] - expected[finite]) / np.spacing(np.abs(expected[finite]))
    assert np.all(error <= limit), f"{case.id}: {error.max()} ulp"


def agree(together: Sequence[Case], **options: Any) -> None:
    inputs, outputs, arrays = graph_of(together)
    expected = gr.compile(inputs, outputs, backend="interpret")(*arrays)
    f = gr.compile(inputs, outputs, verify=True, **options)
    found = f(*arrays)
    strict = options.get("math") == "strict"
    for case, a, b in zip(together, found, expected, strict=True):
        check(case, a, np.asarray(b), strict)
    again = f(*map(strided, arrays))
    for case, a, b in zip(together, found, again, strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), case.id


@pytest.mark.parametrize("group", ALL)
def test_compiled_agrees_with_interpreted(group: str) -> None:
    agree(ALL[group])


@pytest.mark.parametrize(
    "options", [{"target": "avx2"}, {"target": "sse2"}, {"math": "strict"}], ids=str
)
@pytest.mark.parametrize("group", ALL)
def test_levels_of_the_machine_and_strict_arithmetic(
    group: str, options: dict[str, Any]
) -> None:
    agree(ALL[group], **options)
