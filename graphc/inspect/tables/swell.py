"""How large the derivative of one function is, by four ways to take it."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from graphc.diff.paths import count_operations, count_paths, count_text
from graphc.diff.reverse import accumulate, spread
from graphc.diff.symbolic import shared_derivative, tree_size
from graphc.expr import Expr, scalar_like, topological
from graphc.inspect.tables.report import aligned
from graphc.rewrite.cse import cse


@dataclass(frozen=True)
class Swell:
    """Sizes of a function and of its derivative. Prints as a table; notebooks show one.

    Attributes
    ----------
    forward, forward_tree
        Nodes of the function as a graph, and when written out as an expression.
    textbook
        Nodes of the written-out derivative by the textbook's rules, `diff`.
    paths, pathwise
        Number of paths, and the multiplications and additions of the sum over all of them.
    sweep
        Nodes of the graph that the reverse sweep gives.
    cse
        Nodes of that graph after equal nodes were merged.
    """

    forward: int
    forward_tree: int
    textbook: int
    paths: int
    pathwise: int
    sweep: int
    cse: int

    def to_dict(self) -> dict[str, int]:
        """The exact counts by name."""
        return asdict(self)

    def _rows(self) -> Iterator[tuple[str, str, str]]:
        yield "derivative by", "size", "counted"
        yield "textbook rules", count_text(self.textbook), "nodes of the written-out expression"
        yield "paths", count_text(self.paths), "paths"
        yield "pathwise aggregation", count_text(self.pathwise), "multiplications and additions"
        yield "reverse sweep", count_text(self.sweep), "nodes of the graph"
        yield "reverse sweep, merged", count_text(self.cse), "nodes of the graph"
        yield "the function itself", count_text(self.forward), "nodes of the graph"
        yield "", count_text(self.forward_tree), "nodes of the written-out expression"

    def __str__(self) -> str:
        rows = list(self._rows())
        width = max(len(row[0]) for row in rows)
        return "\n".join(aligned([(name.ljust(width), *rest) for name, *rest in rows]))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [
            "".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in self._rows()
        ]
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def swell(expr: Expr, x: Expr) -> Swell:
    """Count the derivative of one function by different ways to take it.

    Nothing large is built: expressions are counted exactly even where they could not be
    written down. The operations must be elementwise, as for `diff`.

    Examples
    --------
    >>> import graphc as gr
    >>> x = y = gr.scalar("x")
    >>> for _ in range(60):
    ...     y = y * y
    >>> print(gr.swell(y, x))
    derivative by                                 size  counted
    textbook rules         138 350 580 552 821 637 119  nodes of the written-out expression
    paths                    1 152 921 504 606 846 976  paths
    pathwise aggregation    69 175 290 276 410 818 559  multiplications and additions
    reverse sweep                                  241  nodes of the graph
    reverse sweep, merged                          181  nodes of the graph
    the function itself                             61  nodes of the graph
                             2 305 843 009 213 693 951  nodes of the written-out expression
    """
    textbook = tree_size(shared_derivative(expr, x))
    table = accumulate([(expr, scalar_like(1, expr))], [x])
    gradient = spread(table.get(x, scalar_like(0, x)), x)
    return Swell(
        forward=len(topological([expr])),
        forward_tree=tree_size(expr),
        textbook=textbook,
        paths=count_paths(expr, x),
        pathwise=count_operations(expr, x),
        sweep=len(topological([gradient])),
        cse=len(topological([cse(gradient)])),
    )


__all__ = ["Swell", "swell"]
