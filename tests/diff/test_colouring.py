"""Colourings: valid by their definition, few colours, every entry has a place to be read."""

from __future__ import annotations

from itertools import permutations

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.diff import colouring
from graphc.diff.colouring import by_products, by_star, column_colors, star_colors
from graphc.errors import DifferentiationError, VerificationError

ORDERS = [
    "largest_first",
    "smallest_last",
    "independent_set",
    "DSATUR",
    "connected_sequential_bfs",
    "random_sequential",
]


@st.composite
def patterns(draw, symmetric=False):
    rows = draw(st.integers(0, 9))
    columns = rows if symmetric else draw(st.integers(0, 9))
    flat = draw(st.lists(st.booleans(), min_size=rows * columns, max_size=rows * columns))
    dense = np.array(flat, bool).reshape(rows, columns)
    return sp.csr_array(dense | dense.T if symmetric else dense)


def band(size, half):
    offsets = range(-half, half + 1)
    ones = [np.ones(size)] * len(offsets)
    return sp.csr_array(
        sp.diags_array(ones, offsets=list(offsets), shape=(size, size)).astype(bool)
    )


def arrow(size):
    dense = np.eye(size, dtype=bool)
    dense[0] = dense[:, 0] = True
    return sp.csr_array(dense)


def grid(side):
    """The five points of each inner difference quotient."""
    line = band(side, 1).astype(int)
    one = sp.eye_array(side, dtype=int)
    return sp.csr_array((sp.kron(line, one) + sp.kron(one, line)).astype(bool))


def is_column_coloring(pattern, colors):
    dense = pattern.todense()
    return all(np.unique(colors[row]).size == row.sum() for row in dense) and colors.shape == (
        dense.shape[1],
    )


def is_star_coloring(pattern, colors):
    """Neighbours differ, and no path of four vertices has two colours."""
    near = pattern.todense() & ~np.eye(len(colors), dtype=bool)
    proper = not any(colors[i] == colors[j] for i, j in np.argwhere(near))
    paths = (p for p in permutations(range(len(colors)), 4) if near[p[:-1], p[1:]].all())
    return proper and all(np.unique(colors[list(p)]).size > 2 for p in paths)


def none_of(pattern):
    """No row takes part."""
    return np.full(pattern.shape[0], -1)


def products(pattern, colors, symmetric=False):
    """A random matrix of the pattern, and its products with the colours' directions, flat."""
    numbers = pattern.astype(float)
    numbers.data = np.random.default_rng(0).normal(size=pattern.nnz)
    if symmetric:
        numbers = sp.csr_array(numbers + numbers.T)
        numbers.sort_indices()
    directions = np.eye(int(colors.max(initial=-1)) + 1)[colors]
    return numbers, (numbers @ directions).T.ravel()


@given(patterns(), st.sampled_from(ORDERS))
@settings(max_examples=60, deadline=None)
def test_columns_of_one_colour_share_no_row(pattern, order):
    colors = column_colors(pattern, order)
    assert is_column_coloring(pattern, colors)
    if pattern.nnz:
        numbers, flat = products(pattern, colors)
        np.testing.assert_array_equal(
            flat[by_products(pattern, colors, none_of(pattern))], numbers.data
        )


@given(patterns(symmetric=True), st.sampled_from(ORDERS))
@settings(max_examples=60, deadline=None)
def test_no_path_of_four_has_two_colours(pattern, order):
    colors = star_colors(pattern, order)
    assert is_star_coloring(pattern, colors)
    if pattern.nnz:
        numbers, flat = products(pattern, colors, symmetric=True)
        np.testing.assert_allclose(flat[by_star(pattern, colors)], numbers.data, rtol=1e-14)


@pytest.mark.parametrize(
    ("pattern", "columns", "star"),
    [
        (band(50, 0), 1, 1),
        (band(50, 1), 3, 3),
        (band(50, 2), 5, 5),
        (arrow(50), 50, 2),
        (sp.csr_array(np.ones((6, 6), bool)), 6, 6),
        (sp.csr_array(sp.block_diag([np.ones((3, 3))] * 10).astype(bool)), 3, 3),
        (grid(12), 7, 5),
    ],
    ids=["diagonal", "tridiagonal", "pentadiagonal", "arrow", "full", "blocks", "grid"],
)
def test_number_of_colours(pattern, columns, star):
    assert column_colors(pattern).max() + 1 == columns
    assert star_colors(pattern).max() + 1 == star


@pytest.mark.parametrize("pattern", [band(40, 2), grid(7), arrow(30)])
def test_no_more_colours_than_networkx(pattern):
    meets = nx.from_scipy_sparse_array((pattern.T @ pattern).astype(int))
    meets.remove_edges_from(list(nx.selfloop_edges(meets)))
    best = max(nx.greedy_color(meets, "largest_first").values()) + 1
    assert column_colors(pattern).max() + 1 <= best
    assert column_colors(pattern, "largest_first").max() + 1 <= best


def test_a_large_star_takes_no_quadratic_time():
    """All neighbours of one vertex: looking through them for each would be 10^10 steps."""
    size = 100_000
    hub = np.zeros(size, int)
    spokes = np.arange(size)
    pattern = sp.csr_array(
        (np.ones(3 * size, bool), (np.r_[hub, spokes, spokes], np.r_[spokes, hub, spokes])),
        shape=(size, size),
    )
    assert star_colors(pattern).max() == 1
    assert column_colors(pattern).max() == size - 1


def test_a_long_row_takes_no_quadratic_time():
    """Every column but the first takes the next colour: to count up to it would be 10^10."""
    size = 100_000
    spokes = np.arange(1, size)
    rows = np.r_[np.zeros(size - 1, int), spokes, spokes]
    columns = np.r_[spokes, np.zeros(size - 1, int), spokes]
    ones = np.ones(3 * (size - 1), bool)
    colors = column_colors(sp.csr_array((ones, (rows, columns)), shape=(size, size)))
    assert colors[0] == 0
    np.testing.assert_array_equal(np.sort(colors[1:]), spokes)


def test_a_wrong_colouring_is_noticed():
    pattern = band(4, 1)
    with pytest.raises(VerificationError, match="an entry has no place of its own"):
        by_products(pattern, np.array([0, 1, 0, 1]), none_of(pattern))
    with pytest.raises(VerificationError, match="an entry has no place of its own"):
        by_star(pattern, np.array([0, 1, 0, 1]))


def test_an_unknown_order_lists_those_there_are():
    with pytest.raises(DifferentiationError) as error:
        column_colors(band(4, 1), "best")
    assert str(error.value).startswith(
        "sparse is True, False or an order of colouring, not 'best'\n  hint: orders: largest"
    )
    assert "smallest_last" in str(error.value)


def test_rows_and_columns_may_share_the_entries():
    """An arrow: its first row by one product with rows, the others by two with columns."""
    pattern = arrow(5)
    columns, rows = np.array([0, 1, 1, 1, 1]), np.array([0, -1, -1, -1, -1])
    numbers = pattern.astype(float)
    numbers.data = np.arange(1.0, pattern.nnz + 1)
    dense = numbers.todense()
    forward = dense @ np.stack([columns == c for c in range(2)], 1)
    backward = (rows == 0).astype(float) @ dense
    flat = np.concatenate([forward.T.ravel(), backward])
    np.testing.assert_array_equal(flat[by_products(pattern, columns, rows)], numbers.data)
    with pytest.raises(VerificationError):
        by_products(pattern, columns, none_of(pattern))


def test_entries_of_the_mirror_image():
    pattern = arrow(4)
    rows, columns = colouring.entries(pattern)
    mirrored = colouring.mirror(pattern)
    np.testing.assert_array_equal(rows[mirrored], columns)
    np.testing.assert_array_equal(columns[mirrored], rows)
