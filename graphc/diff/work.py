"""Number of operations of a graph: what the choice between modes goes by.

A node counts its op's ``cost`` for each element: of the result (elementwise, indexing), of
the operand (reductions, scans); a contraction one multiplication and one addition for each
combination of its letters. Equal nodes count once, as they are merged when compiled.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.expr import Expr, topological
from graphc.ops.contraction import axis_sizes
from graphc.types import Size, evaluate_size, product, size_symbols

#: What a symbolic size counts where a number is needed.
TYPICAL_SIZE = 64


def node_flops(node: Expr) -> Size:
    """Operations of one node."""
    if node.op.family == "leaf":
        return 0
    if node.op.name == "rolled":
        return int(node.attrs["program"].flops)
    if node.op.name == "contract":
        sizes = axis_sizes(node.attrs["subscripts"], node.args[0].type, node.args[1].type)
        return node.op.cost * product(sizes.values())
    counted = node.args[0] if node.op.family == "reduction" else node
    return node.op.cost * counted.size


def distinct(outputs: Sequence[Expr]) -> list[Expr]:
    """Nodes of a graph, one of each kind of equal ones."""
    numbers: dict[object, int] = {}
    number_of: dict[Expr, int] = {}
    found = []
    for node in topological(outputs):
        args = tuple(number_of[a] for a in node.args)
        named = node if node.op.name in ("input", "parameter") else None
        key = (node.op, node.attrs, args, named)
        if key not in numbers:
            numbers[key] = len(numbers)
            found.append(node)
        number_of[node] = numbers[key]
    return found


def flops(outputs: Sequence[Expr]) -> Size:
    """Operations of a whole graph."""
    total: Size = 0
    for node in distinct(outputs):
        total = total + node_flops(node)
    return total


def typical(size: Size) -> int:
    """A size as a number, 64 for each symbol."""
    return evaluate_size(size, dict.fromkeys(size_symbols(size), TYPICAL_SIZE))
