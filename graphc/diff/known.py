"""What is known of values before anything runs: constants, and where a value is always zero."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from graphc.diff.work import node_flops, typical
from graphc.expr import Expr
from graphc.types import Dim

Array: TypeAlias = "np.ndarray[Any, Any]"

#: Largest number of elements that are looked at; above it nothing is known.
ELEMENTS = 1 << 24
#: Most operations that one look at a node may take.
WORK = 1 << 28

#: Zero exactly where they are zero for operands of zeros and ones.
_MONOTONE = frozenset(
    "mul add fma sum prod max norm cumsum cumprod contract pad concatenate gather scatter_add "
    "reshape transpose broadcast_to slice copy".split()
)
#: Zero where their first operand is.
_FIRST = frozenset(
    "neg positive abs sign square sqrt floor ceil trunc round expm1 log1p sin tan asin atan "
    "sinh tanh asinh atanh erf cast div stop_gradient custom_gradient".split()
)
#: Zero where both operands are.
_EITHER = frozenset("sub maximum minimum hypot".split())


class Known:
    """Facts about the nodes of a graph, gathered operands first.

    Attributes
    ----------
    values
        Arrays of the nodes that depend on no input or parameter.
    support
        For a node with elements that are always zero, whether each may be another number.
    """

    def __init__(self) -> None:
        self.values: dict[Expr, Array] = {}
        self.support: dict[Expr, Array] = {}

    def visit(self, node: Expr) -> None:
        """Note what is known of a node, given what is known of its operands."""
        if any(symbolic(n) is not None for n in (node, *node.args)):
            return
        if math.prod(shape_of(node)) > ELEMENTS or typical(node_flops(node)) > WORK:
            return
        value = self._value(node)
        if value is not None:
            self.values[node] = value
        found = self._support(node) if value is None else value != 0
        if found is not None and not found.all():
            self.support[node] = np.broadcast_to(found, shape_of(node))

    def _value(self, node: Expr) -> Array | None:
        if node.op.name in ("input", "parameter"):
            return None
        args = [self.values.get(a) for a in node.args]
        if any(a is None for a in args):
            return None
        with np.errstate(all="ignore"):
            try:
                return np.asarray(node.op.evaluate(*args, **node.attrs))
            except IndexError:  # an error that belongs to the run
                return None

    def _support(self, node: Expr) -> Array | None:
        name, attrs = node.op.name, node.attrs
        if name in _MONOTONE:
            return self._evaluated(node.op.evaluate, node, attrs)
        if name in _EITHER:
            return self._evaluated(np.add, node, {})
        if name in _FIRST:
            return self.support.get(node.args[0])
        return self._chosen(node) if name == "where" else None

    def _evaluated(
        self, evaluate: Callable[..., Any], node: Expr, attrs: dict[str, Any]
    ) -> Array | None:
        """Where the function of ones, and zeros at the operands' zeros, is not zero."""
        if node.op.name != "scatter_add" and not any(a in self.support for a in node.args):
            return None
        args = [self._mask(a) for a in node.args]
        if node.op.family == "indexing":
            index = self.values.get(node.args[1])
            if index is None:
                return None
            args[1] = index
        try:
            return np.asarray(evaluate(*args, **attrs) != 0)
        except IndexError:
            return None

    def _mask(self, x: Expr) -> Array:
        found = self.support.get(x)
        return np.ones(shape_of(x)) if found is None else found.astype(np.float64)

    def _chosen(self, node: Expr) -> Array:
        condition = self.values.get(node.args[0])
        then, otherwise = (self._mask(a) != 0 for a in node.args[1:])
        if condition is None:
            return np.asarray(then | otherwise)
        return np.asarray(np.where(condition, then, otherwise))


def shape_of(x: Expr) -> tuple[int, ...]:
    """The shape of a node without named sizes."""
    return tuple(size for size in x.shape if isinstance(size, int))


def symbolic(node: Expr) -> Dim | None:
    """A named size that a node's type or constants hold."""
    pending: list[Any] = [*node.shape, *node.attrs.values()]
    while pending:
        value = pending.pop()
        if isinstance(value, Dim):
            return value
        if isinstance(value, tuple):
            pending.extend(value)
    return None
