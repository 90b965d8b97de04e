"""Elements put at their places among zeros."""

from __future__ import annotations

import math

import numpy as np

from graphc.diff.known import Array
from graphc.expr import Expr, constant
from graphc.ops.indexing import scatter_add
from graphc.ops.movement import reshape
from graphc.types import Shape, int32, int64


def spread_out(values: Expr, places: Array, shape: Shape) -> Expr:
    """A tensor with the values, of rank 1, at these flat indices, which differ; else zeros."""
    size = math.prod(s for s in shape if isinstance(s, int))
    if np.array_equal(places, np.arange(size)):
        return reshape(values, shape)
    index = constant(places, int32 if size < 2**31 else int64)
    return reshape(scatter_add(values, index, 0, size), shape)
