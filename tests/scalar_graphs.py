"""Scalar functions of a given size: chains, trees, grids, bodies, arms, polynomials.

Each family builds its inputs and a value of about ``nodes`` scalar operations with plain Python
loops, as users do.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt

import numpy as np

import graphc as gr

Family = Callable[[int, str], tuple[list[gr.Expr], gr.Expr]]


def chain(nodes: int, dtype: str = "float64") -> tuple[list[gr.Expr], gr.Expr]:
    """Each operation on the result of the one before, with derivatives near 1."""
    factors = np.random.default_rng(5).uniform(0.9, 1.1, nodes).tolist()
    x, y = gr.scalar("x", dtype), gr.scalar("y", dtype)
    t = x
    for factor in factors[: nodes // 4]:
        t = t + gr.sin(t * x) * 1e-3
        t = t * factor + y
    return [x, y], t


def tree(nodes: int, dtype: str = "float64") -> tuple[list[gr.Expr], gr.Expr]:
    """Pairs of pairs of the elements of a vector, added and multiplied in turn."""
    count = nodes // 2 + 2
    x = gr.vector("x", count, dtype)
    level = [gr.sin(x[i]) for i in range(count)]
    depth = 0
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        joined = [a * b if depth % 4 == 3 else a + b for a, b in pairs]
        level = joined + level[len(level) // 2 * 2 :]
        depth += 1
    return [x], level[0]


def grid(nodes: int, dtype: str = "float64") -> tuple[list[gr.Expr], gr.Expr]:
    """Each point from its neighbours above and to the left."""
    side = isqrt(nodes // 4) + 2
    x, c = gr.vector("x", side, dtype), gr.scalar("c", dtype)
    above = [x[j] for j in range(side)]
    for i in range(1, side):
        row = [gr.cos(above[0])]
        for j in range(1, side):
            row.append(gr.tanh(c * row[j - 1] + above[j] * (0.1 + i / side)))
        above = row
    total = above[0]
    for value in above[1:]:
        total = total + value
    return [x, c], total


def bodies(nodes: int, dtype: str = "float64") -> tuple[list[gr.Expr], gr.Expr]:
    """The gravitational potential of bodies in space: all pairs."""
    count = isqrt(nodes // 6) + 2
    mass = np.random.default_rng(1).uniform(0.5, 2.0, count).tolist()
    x = gr.matrix("x", count, 3, dtype)
    at = [[x[i, k] for k in range(3)] for i in range(count)]
    energy = None
    for i in range(count):
        for j in range(i + 1, count):
            square = None
            for k in range(3):
                d = at[i][k] - at[j][k]
                square = d * d if square is None else square + d * d
            term = mass[i] * mass[j] / gr.sqrt(square + 0.01)
            energy = -term if energy is None else energy - term
    return [x], energy


def arm(nodes: int, dtype: str = "float64") -> tuple[list[gr.Expr], gr.Expr]:
    """Where the end of a chain of links is: products of rotations by each joint's angle."""
    joints = nodes // 50 + 2
    q = gr.vector("q", joints, dtype)
    rotation = [[1.0 if i == j else 0.0 for j in range(3)] for i in range(3)]
    place = [0.0, 0.0, 0.0]
    for n in range(joints):
        c, s = gr.cos(q[n]), gr.sin(q[n])
        turn = [[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]
        if n % 2:
            turn = [[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]
        rotation = [
            [sum(rotation[i][k] * turn[k][j] for k in range(3)) for j in range(3)]
            for i in range(3)
        ]
        place = [place[i] + rotation[i][0] * (1.0 / joints) for i in range(3)]
    return [q], place[0] * place[0] + place[1] * place[2]


def polynomial(nodes: int, dtype: str = "float64") -> tuple[list[gr.Expr], gr.Expr]:
    """A sum of random monomials in six variables."""
    rng = np.random.default_rng(2)
    names = "abcdef"
    xs = [gr.scalar(n, dtype) for n in names]
    total = gr.constant(0.5, dtype)
    for _ in range(max(1, nodes // 6)):
        term = float(rng.normal())
        for place in rng.choice(6, 3, replace=False):
            term = term * xs[place] ** int(rng.integers(1, 5))
        total = total + term
    return xs, total


def triangle(nodes: int, dtype: str = "float64") -> tuple[list[gr.Expr], gr.Expr]:
    """Each point from two neighbours, in rows that become shorter."""
    side = isqrt(nodes // 2) + 2
    x = gr.vector("x", side, dtype)
    above = [x[j] for j in range(side)]
    total = above[0]
    for i in range(1, side):
        row = [gr.cos(above[0])]
        for j in range(1, side - i):
            row.append(gr.tanh(row[j - 1] * 0.3 + above[j] * above[j + 1]))
        total = total + row[-1]
        above = row
    return [x], total


FAMILIES: dict[str, Family] = {
    "chain": chain,
    "tree": tree,
    "grid": grid,
    "bodies": bodies,
    "arm": arm,
    "polynomial": polynomial,
    "triangle": triangle,
}


def point(inputs: list[gr.Expr], seed: int = 0) -> list[np.ndarray]:
    """Values for the inputs."""
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.uniform(0.2, 0.9, x.shape), x.dtype.name) for x in inputs]
