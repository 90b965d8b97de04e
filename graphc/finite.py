"""Functions that refuse results which are not finite, and then leave everything as it was.

What runs is a graph with one more result, which says whether all are finite, and whose
parameters keep their values where it does not hold. So a step is all or nothing whatever
happens around it: another thread, an interruption.
"""

from __future__ import annotations

from functools import reduce

from graphc.expr import constant
from graphc.graph import Graph
from graphc.ops.elementwise import isfinite, logical_and, where
from graphc.ops.reduction import all as all_of


def with_finite_flag(graph: Graph) -> Graph:
    """The graph with a last output: whether outputs and next values are finite, all of them.

    Next values are taken only if it holds.
    """
    flags = [all_of(isfinite(root)) for root in graph.roots if root.dtype.is_float]
    finite = reduce(logical_and, flags) if flags else constant(True)
    updates = tuple((p, where(finite, value, p)) for p, value in graph.updates)
    return Graph(graph.inputs, (*graph.outputs, finite), updates)
