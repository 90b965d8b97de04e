"""Colouring: entries of a sparse matrix that one product with a direction can share.

Columns without a common row do not disturb each other in ``J v``, so all columns of one
colour take one direction. In a symmetric matrix ``H[i, j] = H[j, i]`` gives each entry a second
chance, so that fewer colours do. After Gebremedhin, Manne, Pothen, What color is your
Jacobian?, SIAM Review 47 (2005), and Gebremedhin, Tarafdar, Manne, Pothen, New acyclic and
star coloring algorithms, SIAM J. Sci. Comput. 29 (2007).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from graphc.errors import DifferentiationError, VerificationError

Array: TypeAlias = "np.ndarray[Any, Any]"

#: An order of greedy colouring: those with most entries first, or a strategy of networkx.
Order: TypeAlias = str
LARGEST_FIRST: Order = "largest_first"


def column_colors(pattern: Any, order: Order = LARGEST_FIRST) -> Array:
    """Colours (0, 1, ...) of the columns such that no row has two entries of one colour.

    Parameters
    ----------
    pattern
        A ``scipy.sparse`` CSR array, rows without duplicates.
    order
        Which column is next; each takes the first colour that is free.
    """
    columns = pattern.T.tocsr()
    colors: dict[int, int] = {}
    start, rows = columns.indptr.tolist(), columns.indices.tolist()
    used: list[dict[int, int]] = [{} for _ in range(pattern.shape[0])]
    for j in _ordered(columns, order, colors, lambda: columns @ pattern):
        own = [used[i] for i in rows[start[j] : start[j + 1]]]
        color = _free_in_all(own)
        colors[j] = color
        for taken in own:
            taken[color] = color + 1
    return _as_array(colors)


def _free_in_all(used: Sequence[dict[int, int]]) -> int:
    """The first colour that none has used. Each maps its colours to later ones, see below."""
    color, tried = 0, -1
    while color != tried:
        tried = color
        for taken in used:
            if color in taken:
                color = _next_free(taken, color)
    return color


def _next_free(taken: dict[int, int], color: int) -> int:
    """The first colour from one on that is not taken.

    All colours between a taken one and the one it maps to are taken. What was looked up is
    mapped to the result, so that a long row is not gone through again for each column.
    """
    found = color
    while found in taken:
        found = taken[found]
    while color != found:
        taken[color], color = found, taken[color]
    return found


def star_colors(pattern: Any, order: Order = LARGEST_FIRST) -> Array:
    """Colours of the variables of a symmetric matrix that let every entry be read directly.

    Neighbours differ, and every path of four has at least three colours: of the ends of an
    entry one is then the only neighbour of its colour that the other has.

    Parameters
    ----------
    pattern
        A ``scipy.sparse`` CSR array, symmetric, rows without duplicates.
    order
        As in `column_colors`.
    """
    colors: dict[int, int] = {}
    star = _Star(pattern, colors)
    for v in _ordered(pattern, order, colors, lambda: pattern):
        star.put(v, _first_free(star.forbidden(v)))
    return _as_array(colors)


class _Star:
    """What has to be known of a partial star colouring, kept up at each step.

    Attributes
    ----------
    first
        Of each vertex, for each colour next to it, the first neighbour of that colour.
    shared
        The colours that several of its neighbours have.
    blocked
        The colours of neighbours that have another neighbour of this vertex's colour: a new
        neighbour of one of them would end a path of four in two colours.
    """

    def __init__(self, pattern: Any, colors: dict[int, int]) -> None:
        self.colors = colors
        self.start, self.near = pattern.indptr.tolist(), pattern.indices.tolist()
        count = pattern.shape[0]
        self.first: list[dict[int, int]] = [{} for _ in range(count)]
        self.shared: list[set[int]] = [set() for _ in range(count)]
        self.blocked: list[set[int]] = [set() for _ in range(count)]

    def neighbours(self, v: int) -> list[int]:
        return [w for w in self.near[self.start[v] : self.start[v + 1]] if w != v]

    def forbidden(self, v: int) -> set[int]:
        found: set[int] = set()
        for w in self.neighbours(v):
            color = self.colors.get(w)
            if color is None:
                continue
            found.add(color)
            found |= self.blocked[w]  # v would be an end of the path
            if color in self.shared[v]:
                found.update(self.first[w])  # v would be inside it
        return found

    def put(self, v: int, color: int) -> None:
        self.colors[v] = color
        for x in self.neighbours(v):
            ends = [v]
            other = self.first[x].setdefault(color, v)
            if other != v and color not in self.shared[x]:
                self.shared[x].add(color)
                ends.append(other)
            if x not in self.colors:
                continue
            if color in self.shared[x]:
                for end in ends:
                    self.blocked[end].add(self.colors[x])
            if self.colors[x] in self.shared[v]:
                self.blocked[x].add(color)


def _first_free(taken: set[int]) -> int:
    color = 0
    while color in taken:
        color += 1
    return color


def _as_array(colors: dict[int, int]) -> Array:
    return np.array([colors[j] for j in range(len(colors))], dtype=np.int64)


def _ordered(lists: Any, order: Order, colors: dict[int, int], conflicts: Any) -> Iterable[int]:
    """Rows of ``lists`` in the order they are to be coloured.

    The strategies of networkx look at the graph of conflicts, which is made only for them:
    it has an edge for each pair of entries in a row.
    """
    if order == LARGEST_FIRST or not lists.shape[0]:
        sizes = np.diff(lists.indptr)
        return np.argsort(-sizes, kind="stable").tolist()  # type: ignore[no-any-return]
    import networkx as nx
    from networkx.algorithms.coloring.greedy_coloring import STRATEGIES

    if order not in STRATEGIES:
        raise DifferentiationError(
            f"sparse is True, False or an order of colouring, not {order!r}",
            hint=f"orders: {', '.join(STRATEGIES)}",
        )
    edges = conflicts().tocoo()
    graph = nx.Graph()
    graph.add_nodes_from(range(lists.shape[0]))
    upper = edges.row < edges.col
    graph.add_edges_from(zip(edges.row[upper].tolist(), edges.col[upper].tolist(), strict=True))
    found: Iterable[int] = STRATEGIES[order](graph, colors)
    return found


# Recovery -----------------------------------------------------------------------------------


def alone(pattern: Any, colors: Array) -> Array:
    """For each entry, in CSR order, whether it is the only one of its row in its colour.

    Columns of colour -1 take part in no product.
    """
    rows, columns = entries(pattern)
    found = colors[columns]
    keys = rows * (colors.max(initial=0) + 2) + found + 1
    _, place, count = np.unique(keys, return_inverse=True, return_counts=True)
    return np.asarray((count[place] == 1) & (found >= 0))


def by_products(pattern: Any, columns: Array, rows: Array) -> Array:
    """Where the entries are, in CSR order, in the flat tables of products, one after the other.

    The first has the products ``J v`` for the colours of columns, (colour, row), the second
    ``w J`` for those of rows, (colour, column).
    """
    row, column = entries(pattern)
    first = alone(pattern, columns)
    second = np.empty(pattern.nnz, bool)
    second[mirror(pattern)] = alone(pattern.T.tocsr(), rows)
    if not (first | second).all():
        raise VerificationError("colouring: an entry has no place of its own")
    (height, width), count = pattern.shape, columns.max(initial=-1) + 1
    backward = count * height + rows[row] * width + column
    return np.asarray(np.where(first, columns[column] * height + row, backward))


def by_star(pattern: Any, colors: Array) -> Array:
    """The same for a symmetric pattern; both entries of a pair are read at one place."""
    count, (rows, columns) = pattern.shape[0], entries(pattern)
    single, mirrored = alone(pattern, colors), mirror(pattern)
    upper = np.where(rows <= columns, single, single[mirrored])
    lower = np.where(rows <= columns, single[mirrored], single)
    if not (upper | lower).all():
        raise VerificationError("colouring: an entry has no place of its own")
    low, high = np.minimum(rows, columns), np.maximum(rows, columns)
    return np.asarray(np.where(upper, colors[high] * count + low, colors[low] * count + high))


def entries(pattern: Any) -> tuple[Array, Array]:
    """Rows and columns of the entries in CSR order."""
    rows = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
    return rows, pattern.indices.astype(np.int64)


def mirror(pattern: Any) -> Array:
    """For each entry of the transpose, in CSR order, its place among the pattern's."""
    places = pattern.astype(np.int64)
    places.data = np.arange(pattern.nnz)
    return np.asarray(places.T.tocsr().data)
