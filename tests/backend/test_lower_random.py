"""Random loop programs: native code agrees with the reference on every target."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.types import evaluate_size
from graphc_llvm.target import host
from loops_jit import Loaded
from random_programs import Generator
from tests.reference.loops import evaluate

LEVELS = ("native", "avx2", "sse2")


@pytest.mark.parametrize("seed", range(24))
def test_random_program(seed: int) -> None:
    p = Generator(seed).program()
    code = Loaded(p, host(LEVELS[seed % 3]))
    rng = np.random.default_rng(seed)
    for n in (0, 1, 5, 34):
        arrays = {
            b.name: rng.integers(0 if b.dtype.name == "uint8" else -2, 3, shape).astype(
                b.dtype.numpy
            )
            for b in (*p.inputs, *p.outputs)
            for shape in [tuple(evaluate_size(s, {"n": n}) for s in b.shape)]
        }
        _, expected = evaluate(p, {"n": n}, arrays)
        for shared in (False, True):
            _, got = code.run({"n": n}, arrays, shared=shared)
            for name, array in expected.items():
                np.testing.assert_array_equal(got[name], array, err_msg=f"{name}, n={n}")
