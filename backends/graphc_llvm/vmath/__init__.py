"""Elementwise operations as straight-line LLVM IR, on scalars and vectors of any width.

Every op has its NumPy meaning, specials included, and a documented error bound
(`ULP_BOUNDS`). Nothing calls a library: polynomials, bit operations, and only those
intrinsics that are instructions on the target. Booleans in registers are ``i1``.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.errors import UnsupportedOpError
from graphc_llvm.emit import Function, Value
from graphc_llvm.vmath import (
    arithmetic,
    comparison,
    division,
    error_function,
    exponential,
    hyperbolic,
    inverse,
    logarithm,
    power,
    trigonometric,
)
from graphc_llvm.vmath.cast import convert
from graphc_llvm.vmath.lanes import Lane, V
from graphc_llvm.vmath.registry import LOWERINGS, ULP_BOUNDS

__all__ = ["LOWERINGS", "ULP_BOUNDS", "Lane", "cast", "lower"]

# Importing a module of formulas registers them.
_FORMULAS = (
    arithmetic,
    comparison,
    division,
    error_function,
    exponential,
    hyperbolic,
    inverse,
    logarithm,
    power,
    trigonometric,
)


def lower(f: Function, op: str, out: Lane, args: Sequence[tuple[Lane, Value]]) -> Value:
    """Write the op's instructions into ``f`` and return the result.

    Parameters
    ----------
    op
        Name of an op in `LOWERINGS`.
    out
        Lane of the result: of the arguments' element type, or ``bool`` for predicates.
    args
        Lane and value of each argument; all of one width, and of one element type except
        the condition of ``where``.

    Raises
    ------
    UnsupportedOpError
        If the op is not known, or not defined for the element type.
    """
    if op not in LOWERINGS:
        raise UnsupportedOpError(f"{op} has no lowering to LLVM")
    lanes = tuple(lane for lane, _ in args)
    return LOWERINGS[op](f, out, lanes, tuple(value for _, value in args))


def cast(f: Function, to: Lane, value: Value, frm: Lane) -> Value:
    """``value`` converted as NumPy's ``astype`` does: floats truncate, integers wrap."""
    return convert(V(f, frm, value), to.dtype).text
