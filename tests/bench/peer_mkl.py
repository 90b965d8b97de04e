"""MKL through ctypes: products, with pointers made once. GRAPHC_BENCH_MKL names the library."""

from __future__ import annotations

import ctypes
import os
from ctypes import c_double, c_float, c_int, c_longlong, c_void_p
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from workloads import Data, Run, Workload

PATH = os.environ.get("GRAPHC_BENCH_MKL", "")
if not PATH:
    raise ImportError("GRAPHC_BENCH_MKL names no library")
for _openmp in Path(PATH).parent.glob("libiomp5.so"):
    ctypes.CDLL(str(_openmp), ctypes.RTLD_GLOBAL)  # its threads, if they lie beside it
LIBRARY = ctypes.CDLL(PATH, ctypes.RTLD_GLOBAL)


def version() -> str:
    text = ctypes.create_string_buffer(198)
    LIBRARY.mkl_get_version_string(text, len(text))
    return next(word for word in text.value.decode().split() if word[:1].isdigit())


VERSION = version()
ROWS, PLAIN, TRANSPOSED = 101, 111, 112


def start(threads: int) -> None:
    LIBRARY.mkl_set_num_threads(ctypes.byref(c_int(threads)))


def product(w: Workload, data: Data) -> Run:
    a, b, kind = data["A"], data["B"], w.options["kind"]
    m, k = a.shape[-2:] if kind[0] == "N" else a.shape[:-3:-1]
    n = b.shape[-1 if kind[1] == "N" else -2]
    c = np.empty((*a.shape[:-2], m, n), a.dtype)
    letter, number = ("s", c_float) if a.dtype == np.float32 else ("d", c_double)
    stored = [c_int(PLAIN if t == "N" else TRANSPOSED) for t in kind]

    def where(x: Any) -> list[Any]:
        steps = [c_longlong(x.strides[0] // x.itemsize)] if x.ndim == 3 else []
        return [x.ctypes.data_as(c_void_p), c_int(x.shape[-1]), *steps]

    sizes = map(c_int, (m, n, k))
    arguments = [c_int(ROWS), *stored, *sizes, number(1), *where(a), *where(b), number(0)]
    arguments += [*where(c), *([c_int(len(a))] if a.ndim == 3 else [])]
    f = LIBRARY[f"cblas_{letter}gemm{'_batch_strided' if a.ndim == 3 else ''}"]
    f.restype = None
    return Run(partial(f, *arguments), (), lambda _: [c])


TASKS = {"product": product}
