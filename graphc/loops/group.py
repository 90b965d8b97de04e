"""Groups of nodes that one loop nest computes, and the result of fusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graphc.expr import Expr, constant_value
from graphc.graph import Graph
from graphc.loops.access import Access, whole
from graphc.loops.ir import Buffer
from graphc.types import Size, same_size

REDUCTIONS = frozenset(["sum", "prod", "max", "min", "any", "all", "argmax", "argmin"])
LEAVES = frozenset(["input", "parameter", "constant", "iota", "size"])
OWN_KERNEL = frozenset(
    ["contract", "concatenate", "pad", "cumsum", "cumprod", "scatter_add", "rolled"]
)

Axes = tuple[int | None, ...]


@dataclass(eq=False)
class Group:
    """Nodes computed by one kernel.

    ``axes`` maps each axis of a node to an axis of the space (None: size 1). ``reduced`` are
    the space axes that a reduction runs over, ``spans`` all those that its operand has.
    ``finished`` are results of other groups that must be complete before it runs.
    """

    number: int
    space: list[Size] = field(default_factory=list)
    nodes: list[Expr] = field(default_factory=list)
    axes: dict[Expr, Axes] = field(default_factory=dict)
    reduced: dict[Expr, frozenset[int]] = field(default_factory=dict)
    spans: dict[Expr, frozenset[int]] = field(default_factory=dict)
    finished: set[Expr] = field(default_factory=set)
    row: frozenset[int] | None = None
    cost: int = 0

    def order(self, row: frozenset[int] | None = None) -> list[int]:
        """Space axes from the outermost loop to the innermost."""
        inner = row if row is not None else (self.row or frozenset())
        every = range(len(self.space))
        return [a for a in every if a not in inner] + [a for a in every if a in inner]

    def serves(self, row: frozenset[int] | None) -> bool:
        """Whether with these row axes every reduction can run.

        The loops around an operand must be its own (else it would be counted several times),
        and what is not a row reduction must run over the outermost loop.
        """
        order = self.order(row)
        for node, over in self.reduced.items():
            span = self.spans[node]
            if set(order[: len(span)]) != span or (over != row and order[0] not in over):
                return False
            if over != row and node.op.name in ("argmax", "argmin") and len(span) > 1:
                return False
        return True

    def reaches(self, axes: Axes, row: frozenset[int] | None) -> bool:
        """Whether every element of a node with these axes is computed, with these row axes.

        It is not if a loop around its own, over an axis that it lacks, may have no iteration.
        """
        lacks = False
        for axis in self.order(row):
            if axis not in axes:
                size = self.space[axis]
                lacks = lacks or not isinstance(size, int) or size == 0
            elif lacks:
                return False
        return True

    def reaches_all(self, row: frozenset[int] | None) -> bool:
        """Whether all nodes but reductions are computed whole, with these row axes."""
        if row == self.row or all(isinstance(s, int) and s for s in self.space):
            return True
        plain = (axes for n, axes in self.axes.items() if n.op.name not in REDUCTIONS)
        return all(self.reaches(axes, row) for axes in plain)

    def operand_axes(self, node: Expr) -> Axes:
        """Axes of what a node computes element by element: of a reduction's operand."""
        if node.op.name not in REDUCTIONS:
            return self.axes[node]
        alone = frozenset(a for a in self.axes[node] if a is not None)
        places = iter(sorted(self.spans.get(node, alone)))
        return tuple(None if same_size(s, 1) else next(places) for s in node.args[0].shape)

    def is_row(self, node: Expr) -> bool:
        """Whether a reduction is finished with each row, so that the group can use it."""
        return self.row is not None and self.reduced[node] == self.row


@dataclass(frozen=True)
class Fusion:
    """Groups, and single nodes with kernels of their own, in an order that can run.

    ``parts`` says where nodes lie that are computed in the memory of a node joined from them.
    ``refused`` says why the kernels of a value and of a node that reads it are not one;
    ``became`` says what the nodes of the last graph stage are in this graph, and ``buffers``
    which memory of the program nodes have.
    """

    graph: Graph
    units: tuple[Group | Expr, ...]
    stored: frozenset[Expr]
    parts: Mapping[Expr, Access]
    refused: dict[tuple[Expr, Expr], str]
    became: Mapping[Expr, Expr] = field(default_factory=dict)
    buffers: Mapping[Expr, Buffer] = field(default_factory=dict)

    def owns_memory(self, node: Expr) -> bool:
        return owns_memory(node, self.stored)

    def place(self, node: Expr) -> Access | None:
        """Where a node's elements lie, if they have memory."""
        if not self.owns_memory(node):
            return None
        return self.parts.get(node) or whole(node)


def is_position(node: Expr) -> bool:
    """Whether a gather reads an index ramp: its value is the index itself, checked."""
    ramp = node.args[0]
    return ramp.op.name == "iota" and ramp.attrs["axis"] == node.attrs["axis"]


def is_scalar_constant(node: Expr) -> bool:
    if node.op.name != "constant":
        return False
    value = constant_value(node)
    return value is not None and value.size == 1


def owns_memory(node: Expr, stored: frozenset[Expr] | set[Expr]) -> bool:
    """Whether a node's elements lie in a buffer."""
    if node.op.name == "constant":
        return not is_scalar_constant(node)
    return (
        node in stored or node.op.name in ("input", "parameter") or node.op.name in OWN_KERNEL
    )
