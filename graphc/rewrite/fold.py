"""Constant folding: what depends on constants only is computed once, with NumPy."""

from __future__ import annotations

import numpy as np

from graphc.expr import Expr, constant, constant_value
from graphc.ops.movement import broadcast_to
from graphc.rewrite.engine import EXACT, rule
from graphc.rewrite.match import known_size

#: Largest number of elements of a folded result.
LIMIT = 1 << 16


@rule("", EXACT, stage="fold", has="constant")
def fold_constants(node: Expr, *args: Expr) -> Expr | None:
    """f(constants) -> its value, if it has no more elements than the operands together."""
    for a in args:
        if a.op.name != "constant":
            return None
    size = known_size(node.shape) if args else None
    given = sum(known_size(a.shape) or 0 for a in args)
    if size is None or size > LIMIT or size > given:
        return None
    try:
        with np.errstate(all="ignore"):
            value = node.op.evaluate(*(constant_value(a) for a in args), **node.attrs)
    except IndexError:  # an error that belongs to the run
        return None
    return constant(np.asarray(value), node.dtype)


@rule("constant", EXACT, stage="fold")
def uniform_constant(node: Expr) -> Expr | None:
    """A constant whose elements are all the same bits -> one number, broadcast."""
    value = constant_value(node)
    if value is None or value.size < 2:
        return None
    flat = value.reshape(-1)
    first = flat[:1].tobytes()
    if flat[-1:].tobytes() != first or flat.tobytes() != first * flat.size:
        return None
    return broadcast_to(constant(flat[0], node.dtype), node.shape)
