"""A static model of work and traffic: flops and bytes of each node, sizes kept symbolic.

A node's flops are its op's ``cost`` for each element: of the result (elementwise,
indexing), of the operand (reductions, scans); a contraction does one multiplication and
one addition for each combination of its letters. Bytes are those of the operands and the
result, as if nothing were fused; reshaping moves none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graphc.diff.work import TYPICAL_SIZE as TYPICAL_SIZE
from graphc.diff.work import node_flops
from graphc.expr import Expr
from graphc.inspect.subject import Inspectable, derivative_orders, subject_of
from graphc.types import Size, evaluate_size, size_symbols


@dataclass(frozen=True)
class Cost:
    """Work (flops) and traffic (bytes); polynomials in the symbolic sizes."""

    flops: Size = 0
    nbytes: Size = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.nbytes + other.nbytes)

    def at(self, sizes: Mapping[str, int]) -> Cost:
        """The same with numbers for the symbols."""
        return Cost(evaluate_size(self.flops, sizes), evaluate_size(self.nbytes, sizes))


def node_cost(node: Expr) -> Cost:
    """What one node costs by itself."""
    if node.op.family == "leaf":
        return Cost()
    return Cost(node_flops(node), _nbytes(node))


def _nbytes(node: Expr) -> Size:
    if node.op.name == "reshape":
        return 0
    total: Size = node.type.nbytes
    for operand in dict.fromkeys(node.args):
        total = total + operand.type.nbytes
    return total


def cost(given: Inspectable, *, stage: str | None = None) -> Cost:
    """What a whole graph costs, each node once.

    Examples
    --------
    >>> import graphc as gr
    >>> x, w = gr.tensor("x", ("batch", 784)), gr.tensor("w", (784, 10))
    >>> cost(gr.exp(x @ w)).flops
    15780*batch
    """
    return total_cost(subject_of(given, stage).nodes())


def total_cost(nodes: Iterable[Expr]) -> Cost:
    return sum(map(node_cost, nodes), Cost())


def forward_nodes(nodes: Iterable[Expr]) -> list[Expr]:
    """Nodes that are no derivatives and depend on none; ``nodes`` has operands first."""
    order = list(nodes)
    derivative = {n for n, times in derivative_orders(order).items() if times}
    for node in order:
        if any(a in derivative for a in node.args):
            derivative.add(node)
    return [n for n in order if n not in derivative]


def gradient_cost_ratio(
    given: Inspectable, sizes: Mapping[str, int] | None = None, *, stage: str | None = None
) -> float:
    """Flops of all nodes over flops of the forward ones: 1.0 without derivatives.

    NaN if there are no forward flops.

    Reverse mode keeps this below a small constant, whatever the number of parameters (Baur
    and Strassen 1983).

    Parameters
    ----------
    given
        A graph that holds the outputs and their gradients.
    sizes
        Values of symbolic sizes; 64 for those that are not named.
    """
    nodes = subject_of(given, stage).nodes()
    whole, forward = total_cost(nodes).flops, total_cost(forward_nodes(nodes)).flops
    names = size_symbols(whole) | size_symbols(forward)
    values = dict.fromkeys(names, TYPICAL_SIZE) | dict(sizes or {})
    below = evaluate_size(forward, values)
    return evaluate_size(whole, values) / below if below else float("nan")
