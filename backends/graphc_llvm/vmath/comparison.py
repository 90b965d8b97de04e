"""Comparisons, tests of floating-point classes, logic, and bits."""

from __future__ import annotations

import math

from graphc_llvm.vmath.lanes import V, select
from graphc_llvm.vmath.registry import ANY, INTS, NUMBERS, lowering

_RELATIONS = {
    "equal": "eq",
    "not_equal": "ne",
    "less": "lt",
    "less_equal": "le",
    "greater": "gt",
    "greater_equal": "ge",
}
_BITS = ("bool", *INTS)


def _register_comparisons() -> None:
    for name, relation in _RELATIONS.items():

        def compare(a: V, b: V, relation: str = relation) -> V:
            return a.compare(relation, b)

        lowering(name, ANY)(compare)


_register_comparisons()


def truth(x: V) -> V:
    """Whether ``x`` is not zero; NaN is true."""
    return x if x.lane.dtype == "bool" else x.differs(0)


def _never(x: V) -> V:
    return V(x.f, x.lane.of("bool"), x.lane.of("bool").const(0))


@lowering("isnan", ANY)
def isnan(x: V) -> V:
    return x.is_nan() if x.lane.is_float else _never(x)


@lowering("isinf", ANY)
def isinf(x: V) -> V:
    return abs(x).equals(math.inf) if x.lane.is_float else _never(x)


@lowering("isfinite", ANY)
def isfinite(x: V) -> V:
    return abs(x) < math.inf if x.lane.is_float else ~_never(x)


@lowering("signbit", NUMBERS)
def signbit(x: V) -> V:
    return (x.as_int() if x.lane.is_float else x) < 0


@lowering("logical_and", ANY)
def logical_and(a: V, b: V) -> V:
    return truth(a) & truth(b)


@lowering("logical_or", ANY)
def logical_or(a: V, b: V) -> V:
    return truth(a) | truth(b)


@lowering("logical_xor", ANY)
def logical_xor(a: V, b: V) -> V:
    return truth(a) ^ truth(b)


@lowering("logical_not", ANY)
def logical_not(x: V) -> V:
    return ~truth(x)


@lowering("bitwise_and", _BITS)
def bitwise_and(a: V, b: V) -> V:
    return a & b


@lowering("bitwise_or", _BITS)
def bitwise_or(a: V, b: V) -> V:
    return a | b


@lowering("bitwise_xor", _BITS)
def bitwise_xor(a: V, b: V) -> V:
    return a ^ b


@lowering("bitwise_invert", _BITS)
def bitwise_invert(x: V) -> V:
    return ~x


def _within(count: V) -> V:
    """Whether a shift count is at least 0 and below the width (LLVM's shifts need it)."""
    unsigned = f"icmp ult {count.lane.llvm} {count.text}, {count.const(count.lane.bits).text}"
    return count.new(unsigned, "bool")


@lowering("left_shift", INTS)
def left_shift(x: V, count: V) -> V:
    """``x << count``; 0 where the count reaches the width."""
    ok = _within(count)
    return select(ok, x << select(ok, count, 0), 0)


@lowering("right_shift", INTS)
def right_shift(x: V, count: V) -> V:
    """``x >> count``; 0 or -1 by the sign where the count reaches the width."""
    ok = _within(count)
    return (
        x >> select(ok, count, count.lane.bits - 1)
        if x.lane.is_signed
        else select(ok, x >> select(ok, count, 0), 0)
    )
