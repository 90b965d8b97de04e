"""Libraries of linear algebra, called by machine code: no interpreter is in their figures."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from graphc_llvm.jit import Code, Engine
from graphc_llvm.target import host

_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112

_REPEAT = """
define void @repeat(ptr %gemm, ptr %x, i64 %times) {
entry:
  LOADS
  br label %body
body:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
  call void %gemm(ARGUMENTS)
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %times
  br i1 %more, label %body, label %done
done:
  ret void
}"""


class Blas:
    """``cblas_sgemm`` or ``cblas_dgemm`` at an address, with integers of any width."""

    def __init__(self, name: str, address: int, dtype: str) -> None:
        self.name, self._address = name, address
        self._code = _repeater(dtype)
        kinds = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64
        self._repeat = ctypes.CFUNCTYPE(None, *kinds)(self._code.symbols["repeat"])

    def product(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Callable[[int], object]:
        """A function that makes ``out = a @ b`` as often as it is told."""
        (m, k), n = a.shape, b.shape[1]
        (ta, lda), (tb, ldb) = _stored(a), _stored(b)
        numbers = [_ROW_MAJOR, ta, tb, m, n, k, a.ctypes.data, lda, b.ctypes.data, ldb]
        numbers += [out.ctypes.data, n]
        slots = np.array(numbers, np.int64)

        def run(times: int) -> tuple[np.ndarray, ...]:
            self._repeat(self._address, slots.ctypes.data, times)
            return a, b, out

        return run


def _repeater(dtype: str) -> Code:
    real = {"float32": "float", "float64": "double"}[dtype]
    loads = [
        f"%p{i} = getelementptr i64, ptr %x, i64 {i}\n  %v{i} = load i64, ptr %p{i}"
        for i in range(12)
    ]
    values = [f"i64 %v{i}" for i in range(12)]
    values[10:10] = [f"{real} 0.0"]
    values[6:6] = [f"{real} 1.0"]
    text = _REPEAT.replace("LOADS", "\n  ".join(loads))
    return Engine(host()).compile(text.replace("ARGUMENTS", ", ".join(values)), verify=True)


def _stored(x: np.ndarray) -> tuple[int, int]:
    """Whether it is stored transposed, and the distance of its rows."""
    if x.flags.c_contiguous:
        return _PLAIN, x.shape[1]
    return _TRANSPOSED, x.shape[0]


def libraries(dtype: str) -> Iterator[Blas]:
    """NumPy's own OpenBLAS, if it is bundled, and the MKL that ``GRAPHC_BENCH_MKL`` names."""
    function = {"float32": "sgemm", "float64": "dgemm"}[dtype]
    bundled = Path(np.__file__).parents[1] / "numpy.libs"
    found = [("OpenBLAS", str(p)) for p in bundled.glob("lib*openblas*")]
    if mkl := os.environ.get("GRAPHC_BENCH_MKL"):
        found.append(("MKL", mkl))
    for name, path in found:
        library = ctypes.CDLL(path)
        for symbol in (f"scipy_cblas_{function}64_", f"cblas_{function}"):
            if hasattr(library, symbol):
                address = ctypes.cast(getattr(library, symbol), ctypes.c_void_p).value
                yield Blas(name, address or 0, dtype)
                break
