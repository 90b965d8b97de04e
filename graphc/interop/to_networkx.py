"""A graph as a networkx graph, for its algorithms and file formats."""

from __future__ import annotations

from typing import Any

from graphc.expr import Expr
from graphc.inspect.subject import Inspectable, subject_of
from graphc.inspect.tables.cost import node_cost
from graphc.inspect.text.listing import name_nodes, right_side
from graphc.inspect.text.notation import shape_text
from graphc.types import Size


def to_networkx(given: Inspectable, *, stage: str | None = None) -> Any:
    """A `networkx.MultiDiGraph`: an edge from each operand to its user, parallel ones kept.

    Nodes are numbered ``0, 1, ...`` in an order with operands before users. Their attributes
    are plain values, so that every networkx writer takes them:

    ``op``, ``name``, ``label``
        Operation, the user's name or '', what `show` writes.
    ``shape``, ``dtype``, ``flops``
        As text ``[batch, 784]``, ``float32``; flops a number, or text with symbolic sizes.
    ``depth``
        Length of the longest way from a leaf.
    ``source``, ``scope``, ``rule``
        Line of the program, named part, derivative rule or rewrite; '' if there is none.
    ``output``
        Whether it is one of the graph's outputs.

    An edge has the ``position`` of the operand. ``networkx.DiGraph(g)`` merges parallel edges.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.scalar("x")
    >>> g = gr.to_networkx(x * x)
    >>> sorted(g.edges(data="position"))
    [(0, 1, 0), (0, 1, 1)]
    """
    import networkx

    subject = subject_of(given, stage)
    nodes = subject.nodes()
    number = {node: i for i, node in enumerate(nodes)}
    names = name_nodes(nodes)
    roots = set(subject.roots)
    graph = networkx.MultiDiGraph()
    depth: dict[Expr, int] = {}
    for node in nodes:
        depth[node] = max((depth[a] + 1 for a in node.args), default=0)
        graph.add_node(
            number[node],
            op=node.op.name,
            name=node.name or "",
            label=f"{names[node]} = {right_side(node, names)}",
            shape=shape_text(node.shape),
            dtype=node.dtype.name,
            flops=_plain(node_cost(node).flops),
            depth=depth[node],
            source=str(node.source or ""),
            scope=node.scope.path if node.scope else "",
            rule=node.origin.rule if node.origin else "",
            output=node in roots,
        )
        for position, operand in enumerate(node.args):
            graph.add_edge(number[operand], number[node], position=position)
    return graph


def _plain(size: Size) -> int | str:
    return size if isinstance(size, int) else str(size)
