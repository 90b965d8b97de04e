"""Functions that refuse results which are not finite, and then leave everything as it was.

What runs is a graph without updates: next values are results like any other, and one more
result says whether all are finite. Parameters take their next values only after that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import repeat
from operator import setitem
from typing import Any

from graphc.expr import constant
from graphc.graph import Graph
from graphc.ops.elementwise import isfinite, logical_and
from graphc.ops.leaves import Parameter
from graphc.ops.reduction import all as all_of


def with_finite_flag(graph: Graph) -> Graph:
    """Outputs, then the next values, then a bool: whether all of them are finite."""
    flags = [all_of(isfinite(root)) for root in graph.roots if root.dtype.is_float]
    finite = reduce(logical_and, flags) if flags else constant(True)
    return Graph(graph.inputs, (*graph.roots, finite))


def commit(parameters: Sequence[Parameter], values: Sequence[Any]) -> None:
    """Give all parameters their next values.

    No Python code runs in between, so a signal handler cannot interrupt it halfway.
    """
    states = [p.value for p in parameters]
    assign: Callable[[Any, Any, Any], None] = setitem
    deque(map(assign, states, repeat(...), values), maxlen=0)
