"""Polynomials, rounding by a magic constant, and powers of two."""

from __future__ import annotations

from graphc_llvm.vmath.coefficients import Table
from graphc_llvm.vmath.lanes import V, fma, select


def polynomial(table: Table, x: V) -> V:
    """The table's polynomial in ``x`` by Horner's rule (more accurate than Estrin's)."""
    *rest, last = table[x.lane.dtype]
    result = x.const(last)
    for coefficient in reversed(rest):
        result = fma(x, result, coefficient)
    return result


def short_polynomial(table: Table, x: V) -> V:
    """The same by Estrin's scheme: a shorter chain of operations, a larger error."""
    terms: list[V | float] = list(table[x.lane.dtype])
    while len(terms) > 1:
        pairs = zip(terms[::2], terms[1::2], strict=False)
        rest = terms[-1:] if len(terms) % 2 else []
        terms = [*(fma(x, high, low) for low, high in pairs), *rest]
        x = x * x
    return x.lift(terms[0])


def clamp(x: V, low: float | None, high: float | None) -> V:
    """``x`` between ``low`` and ``high``; NaN stays NaN."""
    if low is not None:
        x = select(x < low, low, x)
    return x if high is None else select(x > high, high, x)


def round_product(x: V, factor: float) -> V:
    """The integer nearest ``x * factor``, as a float; below 2^(mantissa - 1) in size."""
    magic = x.format.magic
    return fma(x, factor, magic) - magic


def power_of_two(n: V) -> V:
    """2^n for integral ``n`` within the range of normal numbers."""
    bits = (n + n.format.magic).as_int() << n.format.mantissa
    return (bits + n.format.one).as_float()


def scale(y: V, n: V) -> V:
    """``y * 2^n`` rounded once, for integral ``n`` of up to twice the exponent's range.

    ``llvm.ldexp`` is an instruction only on targets with ``scalef``; elsewhere two exact
    powers of two are multiplied, of which only the second product can round.
    """
    if _has_scalef(y):
        return _scalef(y, n)
    half = round_product(n, 0.5)
    return y * power_of_two(half) * power_of_two(n - half)


def scale_floor(y: V, n: V) -> V:
    """``y * 2^floor(n)`` rounded once; the instruction rounds ``n`` by itself."""
    return _scalef(y, n) if _has_scalef(y) else scale(y, n.intrinsic("floor"))


def _has_scalef(y: V) -> bool:
    return y.f.target.scalef and y.lane.width * y.lane.bits == 512


def _scalef(y: V, n: V) -> V:
    name = "ps" if y.lane.dtype == "float32" else "pd"
    t, mask = y.lane.llvm, f"i{y.lane.width}"
    args = [(t, y.text), (t, n.text), (t, y.text), (mask, "-1"), ("i32", "4")]
    return y.call(f"llvm.x86.avx512.mask.scalef.{name}.512", args)
