"""Contraction kernels: C[m,n] (+)= A[m,k] B[k,n], for all sizes and strides at run time."""

from __future__ import annotations

from graphc_llvm.emit import Module
from graphc_llvm.gemm.entry import DESCRIPTION, entry
from graphc_llvm.gemm.tiling import SCRATCH_BYTES_PER_THREAD, tiling
from graphc_llvm.target import Target

__all__ = ["DESCRIPTION", "SCRATCH_BYTES_PER_THREAD", "library"]


def library(target: Target, dtype: str) -> str:
    """LLVM assembly of the contraction library for ``"float32"`` or ``"float64"``.

    It defines ``i32 @gc_gemm_f32(ptr %rt, ptr %desc, ptr %scratch)`` (``_f64``) and needs
    ``i32 @gc_parallel(ptr %rt, ptr %fn, ptr %args, i64 %blocks)``, where ``fn`` is
    ``void (ptr %args, i64 %begin, i64 %end, i64 %worker)``. ``desc`` points to 8-byte
    slots in the order of ``DESCRIPTION``, strides in elements. ``scratch`` is aligned to
    64 bytes and holds ``SCRATCH_BYTES_PER_THREAD`` for every worker. The result is 0, or
    what ``gc_parallel`` returned. Values do not depend on how blocks are distributed.
    """
    module = Module(target)
    entry(module, tiling(target, dtype))
    return module.text()
