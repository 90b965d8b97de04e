"""A walk through one derivative: paths, the table of the reverse sweep, swell, other tools.

The graph is the product network: four layers of two nodes, each the product of both nodes
below it, and the output w^32. Run: python examples/derivative_walk.py
"""

from __future__ import annotations

import numpy as np
import sympy

import graphc as gr


def product(layers: int = 5) -> tuple[gr.Expr, gr.Expr]:
    """w, and the product of two nodes above ``layers`` layers of two equal nodes."""
    w = gr.scalar("w", dtype="float64")
    left, right = gr.positive(w).named("y1"), gr.positive(w).named("y2")
    for layer in range(2, layers + 1):
        left, right = (
            (left * right).named(f"y{2 * layer - 1}"),
            (left * right).named(f"y{2 * layer}"),
        )
    return w, (left * right).named("o")


def walk_paths() -> None:
    """Pathwise aggregation: a product for each path, and their sum."""
    w, o = product()
    listed = list(gr.paths(o, w))
    nodes = " > ".join(node.name or "" for node in listed[0].nodes)
    print(f"paths: {len(listed)}, counted without listing: {gr.count_paths(o, w)}")
    print(f"the first: {nodes}, product {gr.to_sympy(listed[0].product)}")
    total = sum(gr.to_sympy(path.product) for path in listed)
    print(f"sum of the products: {total}")


def walk_table() -> None:
    """The same sum by dynamic programming, before and after equal nodes are merged."""
    w, o = product()
    for title, output in (("as written", o), ("merged", gr.cse(o))):
        print(f"\nadjoints, {title}")
        for node, adjoint in gr.adjoints(output).items():
            print(f"  S({node.name}) = {gr.to_sympy(adjoint)}")
    print("\nthe sweep, step by step, at w = 2")
    print(gr.sweep(gr.cse(o), w, {w: 2.0}))


def walk_swell() -> None:
    """Sixty layers: the textbook's derivative could not be written down."""
    w, o = product(60)
    print(f"\n{gr.swell(o, w)}")
    try:
        gr.diff(o, w)
    except gr.errors.DifferentiationError as error:
        print(error)


def walk_tools() -> None:
    """The gradient for SymPy, for networkx, and as a NumPy program."""
    w, o = product()
    gradient = gr.cse(gr.grad(o, w))
    same = sympy.diff(gr.to_sympy(o), sympy.Symbol("w")) == gr.to_sympy(gradient)
    print(f"\nSymPy finds the same derivative: {same}")
    graph = gr.to_networkx(gradient)
    deepest = max(depth for _, depth in graph.nodes(data="depth"))
    print(f"as a networkx graph: {graph.number_of_edges()} edges, depth {deepest}")
    print("\nas a NumPy program")
    print(gr.to_python(gradient, "slope"))


def walk_own_operation() -> None:
    """A function that the library has not, from its formula."""
    s = sympy.Symbol("s", real=True)
    bump = gr.elementwise_op("bump", sympy.exp(-(s**2)) * sympy.cos(3 * s), [s])
    x = gr.vector("x", 3, dtype="float64")
    slope = gr.compile(x, gr.grad(gr.sum(bump(x)), x))
    at = np.array([-0.5, 0.0, 0.5])
    print("slope of the bump at -0.5, 0, 0.5:", *np.round(slope(at), 6) + 0.0)


def main() -> None:
    walk_paths()
    walk_table()
    walk_swell()
    walk_tools()
    walk_own_operation()


if __name__ == "__main__":
    main()
