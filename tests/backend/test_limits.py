"""The limits of the machine: their loops compute what they should, their figures make sense."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from graphc_llvm import limits
from graphc_llvm.jit import engine
from graphc_llvm.target import host


@pytest.mark.parametrize("level", ["native", "sse2"])
def test_the_loops_compute(level: str) -> None:
    target = host(level)
    code = engine(target).compile(limits.text(target), verify=True)
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 2)
    loops = {name: kind(address) for name, address in code.symbols.items()}
    turn = limits.UNROLL * target.lanes(4)
    block = limits.allocate(12 * 5 * turn + 64, "test").view(np.float32)
    a, b, c = block[: 15 * turn].reshape(3, -1)
    b[:], c[:] = np.arange(5 * turn), 4
    a[:] = -1
    addresses = [x.ctypes.data for x in (a, b, c)]
    loops["triad"](*addresses, 3, 2)
    np.testing.assert_array_equal(a[: 3 * turn], b[: 3 * turn] + 2)
    np.testing.assert_array_equal(a[3 * turn :], -1)
    loops["read"](*addresses, 5, 2)
    assert a[:turn].sum() == b.sum()
    for dtype in ("float32", "float64"):
        loops[f"peak_{dtype}"](*addresses, 2, 1)
        lanes = limits.SUMS * target.vector_bytes // np.dtype(dtype).itemsize
        np.testing.assert_array_equal(a.view(dtype)[:lanes], 1.5)


def test_limits_are_measured_once() -> None:
    found = limits.measured(1)
    assert found is limits.measured(1)
    assert found.threads == 1
    assert set(found.flops) == {"float32", "float64"}
    assert [level.name for level in found.levels] == ["L1", "L2", "L3", "memory"]
    holds = [level.nbytes for level in found.levels[:-1]]
    assert holds == sorted(holds)
    assert found.levels[-1].nbytes is None
    rates = [*found.flops.values(), *(x for v in found.levels for x in (v.read, v.triad))]
    assert all(1e7 < rate < 1e14 for rate in rates)
