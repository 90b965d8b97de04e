"""Python's operators, methods and NumPy's protocols on Expr."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np

from graphc.errors import DTypeError
from graphc.expr import Expr, ExprLike, constant_value, describe
from graphc.ops import OPS, contraction, indexing, movement, reduction
from graphc.ops import elementwise as ew
from graphc.ops.table import is_weak
from graphc.types import Dim, DTypeLike

_BINARY: dict[str, Callable[..., Expr]] = {
    "add": ew.add,
    "sub": ew.sub,
    "mul": ew.mul,
    "truediv": ew.div,
    "floordiv": ew.floor_divide,
    "mod": ew.remainder,
    "matmul": contraction.matmul,
    "and": ew.bitwise_and,
    "or": ew.bitwise_or,
    "xor": ew.bitwise_xor,
    "lshift": ew.left_shift,
    "rshift": ew.right_shift,
}
_COMPARE: dict[str, Callable[..., Expr]] = {
    "lt": ew.less,
    "le": ew.less_equal,
    "gt": ew.greater,
    "ge": ew.greater_equal,
}


def _accepts(value: Any) -> bool:
    return isinstance(value, (Expr, int, float, bool, np.ndarray, np.generic, Dim))


def _operator(function: Callable[..., Expr], swapped: bool) -> Callable[[Expr, Any], Any]:
    def method(self: Expr, other: Any) -> Any:
        if not _accepts(other):
            return NotImplemented
        return function(other, self) if swapped else function(self, other)

    return method


_SPECIAL = {2: ew.square, 1: ew.positive, 0.5: ew.sqrt, -1: ew.reciprocal}


def power(base: ExprLike, exponent: ExprLike) -> Expr:
    """``base ** exponent``; squares, roots and reciprocals become their own operations."""
    weak = is_weak(exponent) and not isinstance(exponent, Dim)
    if isinstance(base, Expr) and base.dtype.is_float and weak:
        special = _SPECIAL.get(cast(float, exponent))
        if special is not None:
            return base if special is ew.positive else special(base)
    if _is_integer(base):
        _refuse_negative(base, exponent)
    return ew.pow(base, exponent)


def _is_integer(value: ExprLike) -> bool:
    if isinstance(value, Expr):
        return value.dtype.is_integer
    return isinstance(value, Dim) or np.asarray(value).dtype.kind in "iu"


def _refuse_negative(base: ExprLike, exponent: ExprLike) -> None:
    """An integer to a known negative power is no integer (DTypeError)."""
    known = constant_value(exponent) if isinstance(exponent, Expr) else exponent
    if known is None or isinstance(known, Dim):
        return
    powers = np.asarray(known)
    if powers.dtype.kind == "i" and (powers < 0).any():
        operands = [("base", base), ("exponent", exponent)]
        raise DTypeError(
            f"pow: an integer to the negative power {powers.min()} is no integer",
            where=describe((role, x) for role, x in operands if isinstance(x, Expr)),
            hint='cast the base: .astype("float64")',
        )


def _reshape(self: Expr, *shape: Any) -> Expr:
    whole = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    return movement.reshape(self, whole)


def _transpose(self: Expr, *axes: Any) -> Expr:
    whole = axes[0] if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
    return movement.transpose(self, whole or None)


def _astype(self: Expr, dtype: DTypeLike) -> Expr:
    return ew.cast(self, dtype)


_UFUNCS: dict[np.ufunc, Callable[..., Expr]] = {u: op for op in OPS.values() for u in op.ufuncs}
_UFUNCS.update({np.matmul: contraction.matmul, np.power: power})


def _array_ufunc(self: Expr, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
    """NumPy's functions of Exprs are Exprs (those that have an operation)."""
    function = _UFUNCS.get(ufunc)
    if method == "reduce" and ufunc in _REDUCTIONS and set(kwargs) <= {"axis", "keepdims"}:
        return _REDUCTIONS[ufunc](*inputs, **{"axis": 0, **kwargs})
    if function is None or method != "__call__" or kwargs:
        return NotImplemented
    return function(*inputs)


_REDUCTIONS: dict[np.ufunc, Callable[..., Expr]] = {
    np.add: reduction.sum,
    np.multiply: reduction.prod,
    np.maximum: reduction.max,
    np.minimum: reduction.min,
    np.logical_and: reduction.all,
    np.logical_or: reduction.any,
}


_WITH_DTYPE = {
    np.sum, np.prod, np.max, np.min, np.any, np.all, np.mean, np.var, np.std,
    np.argmax, np.argmin,
}  # fmt: skip


def _array_function(
    self: Expr, function: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """``np.sum(x)``, ``np.concatenate``...: the function of that name here."""
    import graphc

    if function is np.linalg.norm:
        return _norm(*args, **kwargs)
    ours = getattr(graphc, function.__name__, None)
    if ours is None or function.__module__ != "numpy":
        nodes = [a for a in args if isinstance(a, Expr)]
        raise DTypeError(
            f"{function.__module__}.{function.__name__} is not defined for expressions",
            where=describe([("operand", x) for x in nodes]),
            hint="write it with the functions of graphc, or compute it before the call",
        )
    if function in _WITH_DTYPE and len(args) > 2:
        return NotImplemented  # the third operand is NumPy's dtype or out
    kwargs = {k: v for k, v in kwargs.items() if v is not np._NoValue}
    return ours(*args, **kwargs)


def _norm(x: Expr, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Expr:
    """`numpy.linalg.norm`: lengths of vectors, and of matrices the Frobenius norm."""
    axes = axis if isinstance(axis, tuple) else (axis,)
    flat = (axis is None and ord is None) or len(axes) == 2 or (axis is None and x.ndim == 2)
    known = (None, "fro") if flat else (None, 2)
    if ord not in known or (axis is None and ord is not None and x.ndim > 2):
        raise DTypeError(
            f"numpy.linalg.norm: ord={ord!r} is not defined for expressions",
            where=describe([("operand", x)]),
            hint="gr.norm is the Euclidean norm; others are gr.sum(abs(x)), gr.max(abs(x))...",
        )
    return reduction.norm(x, axis, keepdims)


def attach() -> None:
    """Give `Expr` its operators and methods."""
    members: dict[str, Any] = {
        "__pow__": _operator(power, False),
        "__rpow__": _operator(power, True),
        "__neg__": lambda self: ew.neg(self),
        "__pos__": lambda self: ew.positive(self),
        "__abs__": lambda self: ew.abs(self),
        "__invert__": lambda self: ew.bitwise_invert(self),
        "__getitem__": indexing.getitem,
        "__array_ufunc__": _array_ufunc,
        "__array_function__": _array_function,
        "T": property(movement.transpose),
        "reshape": _reshape,
        "transpose": _transpose,
        "astype": _astype,
    }
    for name, function in _BINARY.items():
        members[f"__{name}__"] = _operator(function, False)
        members[f"__r{name}__"] = _operator(function, True)
    for name, function in _COMPARE.items():
        members[f"__{name}__"] = _operator(function, False)
    for name in ("sum", "prod", "max", "min", "any", "all", "argmax", "argmin", "cumsum"):
        members[name] = getattr(reduction, name)
    for name in ("mean", "var", "std"):
        from graphc.functions import statistics

        members[name] = getattr(statistics, name)
    for name, member in members.items():
        setattr(Expr, name, member)
