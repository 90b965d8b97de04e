"""Four small graphs and their gradients, as listings.

Forward graph, gradient graph as it is derived, gradient graph after the rewrites of a
compilation. Run: python examples/gradient_graphs.py
"""

from __future__ import annotations

import numpy as np

import graphc as gr


def product() -> tuple[list[gr.Expr], gr.Expr, list[gr.Expr]]:
    """Four layers of two products of all nodes below, then one: w^32 along 32 paths."""
    w = gr.scalar("w", dtype="float64")
    left, right = gr.positive(w), gr.positive(w)
    for _ in range(4):
        left, right = left * right, left * right
    return [w], left * right, [w]


def xor() -> tuple[list[gr.Expr], gr.Expr, list[gr.Expr]]:
    """w' max(0, W'x + c): with the weights below exclusive or; half squared error."""
    x = gr.matrix("x", "n", 2)
    t = gr.vector("t", "n")
    W = gr.parameter("W", np.ones((2, 2), np.float32))
    c = gr.parameter("c", np.array([0, -1], np.float32))
    w = gr.parameter("w", np.array([1, -2], np.float32))
    y = gr.nn.relu(x @ W + c) @ w
    return [x, t], gr.nn.squared_error(y, t), [W, c, w]


def least_squares() -> tuple[list[gr.Expr], gr.Expr, list[gr.Expr]]:
    """1/2 ||Xw - y||^2, whose gradient is X'(Xw - y)."""
    X = gr.matrix("X", "n", 3)
    y = gr.vector("y", "n")
    w = gr.vector("w", 3)
    return [X, y, w], 0.5 * gr.sum(gr.square(X @ w - y)), [w]


def classifier() -> tuple[list[gr.Expr], gr.Expr, list[gr.Expr]]:
    """Softmax cross-entropy of integer labels, whose gradient is (softmax - one-hot) / n."""
    z = gr.matrix("z", "n", 10)
    label = gr.vector("label", "n", dtype="int64")
    return [z, label], gr.nn.cross_entropy(z, label), [z]


def main() -> None:
    for make in (product, xor, least_squares, classifier):
        inputs, output, targets = make()
        gradients = gr.grad(output, targets)
        f = gr.compile(inputs, gradients)
        print(f"== {make.__name__}: {make.__doc__}")
        print(gr.show(output), "\n")
        print("gradient, as derived")
        print(gr.show(gradients), "\n")
        print("gradient, compiled")
        print(gr.show(f, stage="stabilize"), "\n")
    print_values()


def print_values() -> None:
    """Numbers that can be checked by hand."""
    inputs, output, targets = product()
    f = gr.compile(inputs, [output, *gr.grad(output, targets)])
    value, slope = f(2.0)
    print(f"product: w = 2: w^32 = {value:.0f}, 32 w^31 = {slope:.0f}")
    inputs, output, targets = xor()
    f = gr.compile(inputs, [output, *gr.grad(output, targets)])
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    loss, *gradients = f(corners, np.array([0, 1, 1, 0], np.float32))
    largest = max(float(np.abs(g).max()) for g in gradients)
    print(f"xor: loss = {loss:g}, largest slope = {largest:g}")


if __name__ == "__main__":
    main()
