"""Elementwise operations: one row each, with its local derivatives.

``partials(out, *args)`` gives the derivative of the result for each operand, written with
the operations themselves. Kinks follow one policy: ``abs'(0) = 0``, ties of maximum and
minimum share equally, steps (sign, floor, comparisons...) have zero derivative,
``sqrt'(0) = inf``. Formulas: Abramowitz and Stegun, chapters 4 and 7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError
from graphc.expr import (
    Attrs,
    Expr,
    ExprLike,
    apply,
    as_expr,
    constant_value,
    refuse_bool,
    scalar_like,
)
from graphc.ops.table import Op, Partial, elementwise, elementwise_type, promoted
from graphc.types import DType, DTypeLike, TensorType, as_dtype, bool_, promote

_REAL = (-3.0, 3.0)
_POSITIVE = (0.1, 4.0)
_UNIT = (-0.95, 0.95)


def _zero(out: Expr, *args: Expr) -> tuple[None, ...]:
    return (None,) * len(args)


def _like(x: Expr, value: float) -> Expr:
    return scalar_like(value, x)


# Conversion and choice ----------------------------------------------------------------------


def _cast_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    return TensorType(attrs["dtype"], types[0].shape)


def _cast_vjp(ct: Expr, out: Expr, x: Expr) -> tuple[Expr | None]:
    return (cast(ct, x.dtype) if x.dtype.is_float and out.dtype.is_float else None,)


def _evaluate_cast(x: Any, dtype: DType) -> Any:
    with np.errstate(invalid="ignore"):
        return np.asarray(x).astype(dtype.numpy)


CAST = Op(
    "cast",
    "elementwise",
    _cast_type,
    _evaluate_cast,
    vjp=_cast_vjp,
    jvp=lambda tangents, out, x: cast(tangents[0], out.dtype),
    roles=("operand",),
    domain=(_REAL,),
    doc="Convert to the element type ``dtype``, as `numpy.ndarray.astype`.",
)


def cast(x: ExprLike, dtype: DTypeLike) -> Expr:
    """Convert to another element type, as `numpy.ndarray.astype` (floats are truncated)."""
    node, target = as_expr(x), as_dtype(dtype)
    return node if node.dtype == target else apply(CAST, (node,), {"dtype": target})


def _where_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    if not types[0].dtype.is_bool:
        raise DTypeError(
            f"the condition is {types[0].dtype}, not bool",
            hint="compare it: gr.not_equal(x, 0)",
        )
    return elementwise_type(types[1].dtype, tuple(types))


def _where_vjp(ct: Expr, out: Expr, condition: Expr, a: Expr, b: Expr) -> Any:
    return None, masked(condition, ct, True), masked(condition, ct, False)


def mask_of(x: Expr) -> tuple[Expr, Expr, bool] | None:
    """Condition, value and kept side of a select whose other side is zero; None otherwise."""
    if x.op is not WHERE:
        return None
    condition, then, otherwise = x.args
    if _is_zero(otherwise):
        return condition, then, True
    return (condition, otherwise, False) if _is_zero(then) else None


def _is_zero(x: Expr) -> bool:
    value = constant_value(x)
    return value is not None and value.size == 1 and not value.any()


def masked(condition: Expr, value: Expr, keep: bool) -> Expr:
    """``value`` where the condition is ``keep``, zero elsewhere.

    A mask of a mask becomes one select on the joined conditions, so that masks do not nest
    in the derivative of a deep graph.
    """
    inner = mask_of(value)
    if inner is not None:
        other, value, kept = inner
        if keep == kept:
            condition = (logical_and if keep else logical_or)(condition, other)
        else:
            yes, no = (condition, other) if keep else (other, condition)
            condition, keep = logical_and(yes, logical_not(no)), True
    zero = _like(value, 0)
    return apply(WHERE, (condition, value, zero) if keep else (condition, zero, value))


def _where_jvp(tangents: Sequence[Expr | None], out: Expr, c: Expr, a: Expr, b: Expr) -> Expr:
    zero = _like(out, 0)
    then, otherwise = (zero if t is None else t for t in tangents[1:])
    return apply(WHERE, (c, then, otherwise))


WHERE = Op(
    "where",
    "elementwise",
    _where_type,
    np.where,
    vjp=_where_vjp,
    jvp=_where_jvp,
    roles=("condition", "then", "otherwise"),
    domain=(_REAL, _REAL, _REAL),
    doc="``then`` where the condition holds, ``otherwise`` elsewhere, as `numpy.where`.",
)


def where(condition: ExprLike, then: ExprLike, otherwise: ExprLike) -> Expr:
    """``then`` where the condition holds, ``otherwise`` elsewhere.

    The condition is bool; the other two are promoted and all are broadcast, as in NumPy. The
    gradient of the branch that is not taken is zero, whatever its local derivative.
    """
    refuse_bool("where", condition)
    return apply(WHERE, (as_expr(condition), *promoted(add, (then, otherwise))))


# Arithmetic ---------------------------------------------------------------------------------


def _maximum_partials(out: Expr, x: Expr, y: Expr) -> tuple[Expr, Expr]:
    share = where(equal(x, y), _like(x, 0.5), _like(x, 0))
    one = _like(x, 1)
    return where(greater(x, y), one, share), where(less(x, y), one, share)


def _minimum_partials(out: Expr, x: Expr, y: Expr) -> tuple[Expr, Expr]:
    left, right = _maximum_partials(out, x, y)
    return right, left


def _pow_partials(out: Expr, x: Expr, y: Expr) -> tuple[Partial | None, Partial | None]:
    exponent = constant_value(y)
    if exponent is not None and exponent.ndim == 0:
        c = float(exponent)
        return (None if c == 0 else c * pow(x, _like(y, c - 1))), out * log(x)
    power = where(equal(y, 0), _like(x, 0), y * pow(x, y - 1))
    zero_base = logical_and(equal(x, 0), greater_equal(y, 0))
    return power, where(zero_base, _like(x, 0), out * log(x))


def _power(x: Any, y: Any) -> Any:
    """`numpy.power`; an integer to a negative power is cut off to an integer, and 0 for 0."""
    if np.asarray(y).dtype.kind != "i" or not np.any(np.less(y, 0)):
        return np.power(x, y)
    sign = np.where(np.bitwise_and(y, 1), x, 1)  # of a base that is 1 or -1
    cut = np.where(np.isin(x, (1, -1)), sign, 0)
    return np.where(np.less(y, 0), cut, np.power(x, np.maximum(y, 0)))


def _logaddexp_partials(out: Expr, x: Expr, y: Expr) -> tuple[Expr, Expr]:
    equal_infinities = logical_and(equal(x, y), isinf(x))
    difference = where(equal_infinities, _like(x, 0), x - y)
    return sigmoid(difference), sigmoid(-difference)


def _angle_partials(out: Expr, y: Expr, x: Expr) -> tuple[Expr, Expr]:
    radius = hypot(x, y)  # its square could overflow
    return x / radius / radius, -y / radius / radius


def _over_norm(x: Expr, out: Expr) -> Expr:
    return where(equal(out, 0), _like(x, 0), x / out)


def _same_sign(out: Expr, x: Expr, y: Expr) -> tuple[Partial, None]:
    return where(equal(signbit(x), signbit(y)), _like(x, 1), _like(x, -1)), None


add = elementwise("add", np.add, lambda out, x, y: (1, 1), facts=["commutative", "linear"])
sub = elementwise("sub", np.subtract, lambda out, x, y: (1, -1), facts=["linear"])
mul = elementwise("mul", np.multiply, lambda out, x, y: (y, x), facts=["commutative"])
div = elementwise(
    "div", np.divide, lambda out, x, y: (1 / y, -out / y), domain=(_REAL, _POSITIVE), cost=4
)
floor_divide = elementwise("floor_divide", np.floor_divide, _zero, domain=(_REAL, _POSITIVE))
remainder = elementwise(
    "remainder",
    np.remainder,
    lambda out, x, y: (1, -floor_divide(x, y)),
    domain=(_REAL, _POSITIVE),
    cost=4,
)
pow = elementwise(
    "pow", np.power, _pow_partials, domain=(_POSITIVE, (-2.0, 3.0)), cost=30,
    roles=("base", "exponent"), evaluate=_power,
    doc="``base ** exponent``, as `numpy.power`; of integers, a negative power is cut off to "
    "an integer: 1 and -1 stay, all else gives 0.",
)  # fmt: skip
object.__setattr__(pow, "ufuncs", (np.power,))
maximum = elementwise("maximum", np.maximum, _maximum_partials, facts=["commutative"])
minimum = elementwise("minimum", np.minimum, _minimum_partials, facts=["commutative"])
hypot = elementwise(
    "hypot",
    np.hypot,
    lambda out, x, y: (_over_norm(x, out), _over_norm(y, out)),
    facts=["commutative"],
    cost=8,
)
logaddexp = elementwise(
    "logaddexp", np.logaddexp, _logaddexp_partials, facts=["commutative"], cost=25
)
atan2 = elementwise(
    "atan2",
    np.arctan2,
    _angle_partials,
    roles=("y", "x"),
    domain=(_POSITIVE, _REAL),
    cost=20,
)
copysign = elementwise("copysign", np.copysign, _same_sign)
nextafter = elementwise("nextafter", np.nextafter, lambda out, x, y: (1, None))

neg = elementwise("neg", np.negative, lambda out, x: (-1,), facts=["involution", "linear"])
positive = elementwise("positive", np.positive, lambda out, x: (1,), facts=["linear"])
abs = elementwise("abs", np.absolute, lambda out, x: (sign(x),), facts=["idempotent"])
sign: Op = elementwise("sign", np.sign, _zero, facts=["idempotent"])
square = elementwise("square", np.square, lambda out, x: (2 * x,))
sqrt = elementwise("sqrt", np.sqrt, lambda out, x: (0.5 / out,), domain=(_POSITIVE,), cost=5)
reciprocal = elementwise(
    "reciprocal", np.reciprocal, lambda out, x: (-square(out),), domain=(_POSITIVE,), cost=4
)
floor = elementwise("floor", np.floor, _zero, facts=["idempotent"])
ceil = elementwise("ceil", np.ceil, _zero, facts=["idempotent"])
trunc = elementwise("trunc", np.trunc, _zero, facts=["idempotent"])
round = elementwise(
    "round", np.rint, _zero, facts=["idempotent"], doc="Nearest integer, halves to even."
)


def _fma_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    if not types[0].dtype.is_float:
        raise DTypeError(f"not defined for {types[0].dtype}")
    return elementwise_type(types[0].dtype, tuple(types))


FMA = Op(
    "fma",
    "elementwise",
    _fma_type,
    lambda x, y, z: x * y + z,
    partials=lambda out, x, y, z: (y, x, 1),
    roles=("left", "right", "addend"),
    domain=(_REAL, _REAL, _REAL),
    cost=2,
    doc="``left * right + addend``, rounded once where the target has the instruction.",
)

# Exponential, trigonometric, hyperbolic -----------------------------------------------------

exp = elementwise("exp", np.exp, lambda out, x: (out,), cost=10)
exp2 = elementwise("exp2", np.exp2, lambda out, x: (out * math.log(2),), cost=10)
expm1 = elementwise("expm1", np.expm1, lambda out, x: (exp(x),), cost=12)
log = elementwise("log", np.log, lambda out, x: (1 / x,), domain=(_POSITIVE,), cost=12)
log1p = elementwise(
    "log1p", np.log1p, lambda out, x: (1 / (1 + x),), domain=((-0.9, 4.0),), cost=14
)
log2 = elementwise(
    "log2", np.log2, lambda out, x: (1 / (x * math.log(2)),), domain=(_POSITIVE,), cost=12
)
log10 = elementwise(
    "log10", np.log10, lambda out, x: (1 / (x * math.log(10)),), domain=(_POSITIVE,), cost=12
)
sin = elementwise("sin", np.sin, lambda out, x: (cos(x),), cost=12)
cos: Op = elementwise("cos", np.cos, lambda out, x: (-sin(x),), cost=12)
tan = elementwise(
    "tan", np.tan, lambda out, x: (1 + square(out),), domain=((-1.4, 1.4),), cost=20
)
asin = elementwise(
    "asin", np.arcsin, lambda out, x: (1 / sqrt((1 - x) * (1 + x)),), domain=(_UNIT,), cost=15
)
acos = elementwise(
    "acos", np.arccos, lambda out, x: (-1 / sqrt((1 - x) * (1 + x)),), domain=(_UNIT,), cost=15
)
atan = elementwise("atan", np.arctan, lambda out, x: (1 / (1 + square(x)),), cost=15)
sinh = elementwise("sinh", np.sinh, lambda out, x: (cosh(x),), cost=15)
cosh: Op = elementwise("cosh", np.cosh, lambda out, x: (sinh(x),), cost=15)
tanh = elementwise("tanh", np.tanh, lambda out, x: (1 - square(out),), cost=14)
asinh = elementwise("asinh", np.arcsinh, lambda out, x: (1 / hypot(x, 1),), cost=20)
acosh = elementwise(
    "acosh",
    np.arccosh,
    lambda out, x: (1 / (sqrt(x - 1) * sqrt(x + 1)),),
    domain=((1.1, 4.0),),
    cost=20,
)
atanh = elementwise(
    "atanh", np.arctanh, lambda out, x: (1 / ((1 - x) * (1 + x)),), domain=(_UNIT,), cost=20
)

# Functions NumPy has not --------------------------------------------------------------------


def _through_float64(function: Any) -> Any:
    """Evaluate in float64 and round, so that the oracle is exact to the last float32 bit."""

    def evaluate(x: Any) -> Any:
        with np.errstate(all="ignore"):
            result = function(np.asarray(x, np.float64))
        return np.asarray(result).astype(np.asarray(x).dtype)

    return evaluate


def _sigmoid(x: Any) -> Any:
    decay = np.exp(-np.abs(x))
    return np.where(np.signbit(x), decay, 1.0) / (1.0 + decay)


_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])

sigmoid = elementwise(
    "sigmoid",
    np.exp,
    lambda out, x: (out * (1 - out),),
    evaluate=_through_float64(_sigmoid),
    cost=14,
    doc="Logistic function ``1 / (1 + exp(-x))``, without overflow.",
)
softplus = elementwise(
    "softplus",
    np.exp,
    lambda out, x: (sigmoid(x),),
    evaluate=_through_float64(lambda x: np.logaddexp(x, 0.0)),
    cost=22,
    doc="``log(1 + exp(x))``, without overflow or cancellation.",
)
erf = elementwise(
    "erf",
    np.exp,
    lambda out, x: (2 / math.sqrt(math.pi) * exp(-square(x)),),
    evaluate=_through_float64(_erf),
    cost=20,
    doc="Error function ``2/sqrt(pi) * integral of exp(-t^2) from 0 to x``.",
)
erfc = elementwise(
    "erfc",
    np.exp,
    lambda out, x: (-2 / math.sqrt(math.pi) * exp(-square(x)),),
    evaluate=_through_float64(_erfc),
    cost=25,
    doc="Complementary error function ``1 - erf(x)``, accurate for large ``x``.",
)

# Comparisons, predicates, logic, bits -------------------------------------------------------

equal = elementwise("equal", np.equal, _zero, result=bool_, facts=["commutative"])
not_equal = elementwise("not_equal", np.not_equal, _zero, result=bool_, facts=["commutative"])
less = elementwise("less", np.less, _zero, result=bool_)
less_equal = elementwise("less_equal", np.less_equal, _zero, result=bool_)
greater = elementwise("greater", np.greater, _zero, result=bool_)
greater_equal = elementwise("greater_equal", np.greater_equal, _zero, result=bool_)
isnan = elementwise("isnan", np.isnan, _zero, result=bool_)
isinf = elementwise("isinf", np.isinf, _zero, result=bool_)
isfinite = elementwise("isfinite", np.isfinite, _zero, result=bool_)
signbit = elementwise("signbit", np.signbit, _zero, result=bool_)


def _logical(name: str, ufunc: np.ufunc, **facts: Any) -> Op:
    """NumPy's logical functions: operands of any type are compared with zero first."""
    op = elementwise(name, ufunc, _zero, result=bool_, **facts)
    object.__setattr__(op, "promote", lambda *given: (bool_,) * len(given))
    return op


logical_and = _logical("logical_and", np.logical_and, facts=["commutative"])
logical_or = _logical("logical_or", np.logical_or, facts=["commutative"])
logical_xor = _logical("logical_xor", np.logical_xor, facts=["commutative"])
logical_not = _logical("logical_not", np.logical_not, facts=["involution"])

bitwise_and = elementwise("bitwise_and", np.bitwise_and, _zero, facts=["commutative"])
bitwise_or = elementwise("bitwise_or", np.bitwise_or, _zero, facts=["commutative"])
bitwise_xor = elementwise("bitwise_xor", np.bitwise_xor, _zero, facts=["commutative"])
bitwise_invert = elementwise("bitwise_invert", np.bitwise_invert, _zero, facts=["involution"])
left_shift = elementwise("left_shift", np.left_shift, _zero, domain=((-9, 9), (0, 5)))
right_shift = elementwise("right_shift", np.right_shift, _zero, domain=((-9, 9), (0, 5)))


def clip(x: ExprLike, lower: ExprLike | None = None, upper: ExprLike | None = None) -> Expr:
    """Limit values to ``[lower, upper]`` (None: no limit), as `numpy.clip`."""
    result = as_expr(x)
    if lower is not None:
        result = maximum(result, lower)
    return result if upper is None else minimum(result, upper)


__all__ = ["cast", "clip", "promote", "where"]
