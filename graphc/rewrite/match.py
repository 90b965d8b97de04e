"""What rules ask of nodes: numbers, kinds of functions, shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.expr import Expr, constant, constant_value
from graphc.types import Shape, Size, same_size


def number(x: Expr) -> Any:
    """The value of a constant with one element (a NumPy scalar), None for other nodes."""
    if x.op.name != "constant":
        return None
    value = constant_value(x)
    return value.reshape(())[()] if value is not None and value.size == 1 else None


def is_number(x: Expr, value: float) -> bool:
    """Whether a node is the constant ``value``, of its sign if it is zero."""
    found = number(x)
    if found is None or found != value:
        return False
    return value != 0 or bool(np.signbit(found) == np.signbit(value))


def like(value: Any, x: Expr) -> Expr:
    """A constant of rank 0 in another node's element type."""
    return constant(value, x.dtype)


def negated(c: Expr) -> Expr:
    """The constant -c for a constant with one element."""
    with np.errstate(all="ignore"):
        return like(np.negative(number(c)), c)


def is_op(x: Expr, *names: str) -> bool:
    """Whether a node is one of some operations."""
    return x.op.name in names


def usable(value: Any) -> bool:
    """Whether a factor made of constants is a normal number: nothing was lost in making it."""
    array = np.asarray(value)
    if array.dtype.kind != "f":
        return True
    tiny = np.finfo(array.dtype).tiny
    return bool(np.isfinite(array)) and bool(np.abs(array) >= tiny)


def is_scalar(x: Expr) -> bool:
    """Whether a node has rank 0."""
    return not x.shape


def known_size(shape: Shape) -> int | None:
    """Number of elements, None if a size is symbolic."""
    total = 1
    for size in shape:
        if not isinstance(size, int):
            return None
        total *= size
    return total


def is_one(size: Size) -> bool:
    """Whether a size is 1."""
    return same_size(size, 1)


def same_shape(a: Shape, b: Shape) -> bool:
    """Whether two shapes are known to be equal."""
    return len(a) == len(b) and all(map(same_size, a, b))


def aligned(shape: Shape, rank: int) -> Shape:
    """A shape with leading axes of size 1 up to a rank."""
    return (1,) * (rank - len(shape)) + shape


def constant_along(x: Expr, axes: Sequence[int], rank: int) -> bool:
    """Whether a value that broadcasts to ``rank`` axes is repeated along the given ones."""
    shape = aligned(x.shape, rank)
    return all(is_one(shape[a]) for a in axes)


def may_leave(c: Expr, axes: Sequence[int], shape: Shape) -> bool:
    """Whether ``c`` may scale a sum over axes of ``shape`` rather than what is summed.

    Not what is made of sizes, such as 2/n, if an axis may be empty: the sum of nothing is 0,
    and 0 * (2/0) is not.
    """
    return all(isinstance(shape[a], int) and shape[a] for a in axes) or not _of_sizes(c)


def _of_sizes(c: Expr) -> bool:
    """Whether a size is a factor or divisor of a number."""
    left = [c]
    while left:
        x = left.pop()
        if is_op(x, "size"):
            return True
        if is_op(x, "mul", "div", "neg", "cast", "reshape", "broadcast_to"):
            left += (a for a in x.args if known_size(a.shape) == 1)
    return False
