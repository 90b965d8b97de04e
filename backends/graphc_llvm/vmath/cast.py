"""Conversions between element types, as NumPy's ``astype`` makes them."""

from __future__ import annotations

from graphc_llvm.vmath.comparison import truth
from graphc_llvm.vmath.lanes import Lane, V


def convert(x: V, dtype: str) -> V:
    """``x`` as another element type.

    Floats truncate to integers (a value out of range gives an unspecified one, as in
    NumPy), integers wrap, and everything but zero is true.
    """
    source, target = x.lane, x.lane.of(dtype)
    if source.dtype == dtype:
        return x
    if dtype == "bool":
        return truth(x)
    if source.is_float and target.is_float:
        return x.convert("fpext" if target.bits > source.bits else "fptrunc", dtype)
    if source.is_float:
        return _to_int(x, target)
    if target.is_float:
        return x.convert("sitofp" if source.is_signed else "uitofp", dtype)
    return _resize(x, target)


def _to_int(x: V, target: Lane) -> V:
    """By way of a wider integer, which then wraps: most values out of range are defined."""
    wide = "int64" if target.bits == 64 else "int32"
    whole = x.convert("fptosi", wide)
    return _resize(whole.new(f"freeze {whole.lane.llvm} {whole.text}"), target)


def _resize(x: V, target: Lane) -> V:
    if target.bits == x.lane.bits:
        return V(x.f, target, x.text)
    if target.bits < x.lane.bits:
        return x.convert("trunc", target.dtype)
    return x.convert("sext" if x.lane.is_signed else "zext", target.dtype)
