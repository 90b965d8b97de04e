"""Paths, their number, and the table of adjoints: each against the other."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gr
from graphc.diff.paths import count_operations, count_text
from graphc.expr import topological
from graphc.interpret import evaluate

W = sympy.Symbol("w")


def product_network(w, layers=5):
    """Two nodes a layer, each the product of both nodes of the layer below."""
    rows = [(gr.positive(w), gr.positive(w))]
    for _ in range(layers - 1):
        a, b = rows[-1]
        rows.append((a * b, a * b))
    a, b = rows[-1]
    return rows, a * b


def scalar(name):
    return gr.scalar(name, "float64")


# The product network (E1 to E5) -------------------------------------------------------------


def test_product_network_has_32_paths_of_equal_product():
    w = scalar("w")
    _, o = product_network(w)
    found = list(gr.paths(o, w))
    assert len(found) == gr.count_paths(o, w) == 32
    assert {len(path) for path in found} == {6}
    assert {path.nodes[0] for path in found} == {w}
    assert {path.nodes[-1] for path in found} == {o}
    assert len({path.nodes for path in found}) == 32
    assert {gr.to_sympy(path.product) for path in found} == {W**31}
    first = [gr.to_sympy(z) for z in found[0].local]
    assert first == [1, W, W**2, W**4, W**8, W**16]


def test_local_derivative_is_the_other_factor():
    """z(4, 6) = y(3) = w^2."""
    w = scalar("w")
    rows, _ = product_network(w)
    (path,) = gr.paths(rows[2][1], rows[1][1])
    assert path.local == (rows[1][0],)
    assert gr.to_sympy(path.product) == W**2


def test_adjoints_before_merging():
    """S(9) = S(10) = w^16 and S(7) = S(8) = 2 w^24: not 2 w^16 and 8 w^24, which differentiate
    as if both twins were one and end at 1024 w^31."""
    w = scalar("w")
    rows, o = product_network(w)
    table = gr.adjoints(o)
    expected = [16 * W**31, 8 * W**30, 4 * W**28, 2 * W**24, W**16]
    for row, s in zip(rows, expected, strict=True):
        assert [gr.to_sympy(table[node]) for node in row] == [s, s]
    assert gr.to_sympy(table[o]) == 1
    assert gr.to_sympy(table[w]) == 32 * W**31
    wrong = W**16 * 2
    for power in (8, 4, 2, 1):
        wrong = wrong * 2 * W**power * 2
    assert wrong == 512 * W**31
    assert wrong * 2 == 1024 * W**31 != gr.to_sympy(table[w])


def test_adjoints_after_merging():
    """A chain of squares: the two edges between neighbours are parallel and count each."""
    w = scalar("w")
    o = gr.cse(product_network(w)[1])
    table = gr.adjoints(o)
    assert [gr.to_sympy(table[node]) for node in table] == [
        1,
        2 * W**16,
        4 * W**24,
        8 * W**28,
        16 * W**30,
        32 * W**31,
        32 * W**31,
    ]
    assert gr.count_paths(o, w) == 32
    assert len({path.nodes for path in gr.paths(o, w)}) == 1


def test_paths_grow_exponentially_and_edges_linearly():
    w = scalar("w")
    for layers in (1, 2, 10, 60):
        _, o = product_network(w, layers)
        assert gr.count_paths(o, w) == 2**layers
        assert sum(len(n.args) for n in topological([o])) == 4 * layers
    assert 2**60 == 1152921504606846976


# The lemma ----------------------------------------------------------------------------------


@st.composite
def scalar_graphs(draw):
    """A function of x and y in which nodes are used several times."""
    nodes = [scalar("x"), scalar("y")]
    unary = [gr.sin, gr.tanh, gr.square, gr.negative, gr.exp, gr.nn.relu]
    binary = [gr.add, gr.multiply, gr.subtract, gr.maximum, gr.hypot]
    for _ in range(draw(st.integers(1, 9))):
        a, b = (nodes[draw(st.integers(0, len(nodes) - 1))] for _ in range(2))
        pick = draw(st.integers(0, 2))
        if pick == 0:
            made = draw(st.sampled_from(unary))(gr.tanh(a))
        elif pick == 1:
            made = draw(st.sampled_from(binary))(a, b)
        else:
            made = gr.where(gr.less(a, b), a * b, b)
        nodes.append(made)
    return nodes


@settings(deadline=None, max_examples=60)
@given(scalar_graphs(), st.floats(-1.5, 1.5), st.floats(-1.5, 1.5))
def test_the_sum_over_paths_is_the_adjoint(nodes, x, y):
    o = nodes[-1]
    values = {nodes[0]: x, nodes[1]: y}
    table = gr.adjoints(o)
    for node in table:
        count = gr.count_paths(o, node)
        if count > 500:
            continue
        found = list(gr.paths(o, node))
        assert len(found) == count
        total = sum(evaluate([p.product for p in found], values), np.float64(0))
        (adjoint,) = evaluate([table[node]], values)
        np.testing.assert_allclose(total, adjoint, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(scalar_graphs())
def test_operations_are_counted_as_they_are_listed(nodes):
    o, x = nodes[-1], nodes[0]
    if 0 < gr.count_paths(o, x) < 500:
        found = list(gr.paths(o, x))
        listed = sum(max(len(p) - 1, 0) for p in found) + len(found) - 1
        if o is not x:
            assert count_operations(o, x) == listed


def test_paths_through_matrices():
    """Contractions have no local derivative for each element; their product still counts."""
    rng = np.random.default_rng(0)
    w, x = gr.matrix("W", 3, 4, "float64"), gr.vector("x", 4, "float64")
    z = w @ x
    o = gr.sum(z * gr.tanh(z))
    found = list(gr.paths(o, w))
    assert len(found) == gr.count_paths(o, w) == 2
    assert found[0].local[0] is None
    values = {w: rng.normal(size=(3, 4)), x: rng.normal(size=4)}
    total = sum(evaluate([p.product for p in found], values))
    (gradient,) = evaluate([gr.grad(o, w)], values)
    np.testing.assert_allclose(total, gradient, rtol=1e-13)


def test_a_path_over_what_is_broadcast():
    x, b = gr.vector("x", 5, "float64"), scalar("b")
    o = gr.sum(x * b)
    (path,) = gr.paths(o, b)
    values = {x: np.arange(5.0), b: 2.0}
    assert evaluate([path.product], values)[0] == 10


def test_an_output_has_one_path_to_itself():
    x = scalar("x")
    (path,) = gr.paths(x, x)
    assert path.nodes == (x,)
    assert len(path) == 0
    assert gr.count_paths(x, x) == 1


def test_steps_and_conditions_are_on_no_path():
    x = scalar("x")
    o = gr.where(gr.less(x, 0), gr.floor(x), 2.0)
    assert gr.count_paths(o, x) == 0
    assert list(gr.paths(o, x)) == []
    assert evaluate([gr.adjoints(o)[x]], {x: 1.0})[0] == 0


def test_no_path_from_what_does_not_matter():
    x, y = scalar("x"), scalar("y")
    assert gr.count_paths(gr.sin(x), y) == 0


def test_adjoints_have_their_nodes_types():
    x = gr.matrix("x", "n", 3)
    table = gr.adjoints(gr.mean(gr.square(x)))
    assert all(s.type == node.type for node, s in table.items())
    assert all(node.dtype.is_float for node in table)


def test_a_deep_chain_is_walked_without_recursion():
    x = y = scalar("x")
    for _ in range(5000):
        y = gr.sin(y)
    assert gr.count_paths(y, x) == 1
    (path,) = gr.paths(y, x)
    assert len(path) == 5000


# Guards -------------------------------------------------------------------------------------


def test_too_many_paths_are_counted_and_refused():
    w = scalar("w")
    _, o = product_network(w, 60)
    with pytest.raises(gr.errors.DifferentiationError) as error:
        gr.paths(o, w)
    assert str(error.value).splitlines()[0] == (
        "paths: there are 1 152 921 504 606 846 976 paths, the limit is 10000"
    )
    assert "gr.adjoints" in str(error.value)
    _, small = product_network(w, 4)
    with pytest.raises(gr.errors.DifferentiationError, match="there are 16 paths, the limit"):
        gr.paths(small, w, limit=15)
    assert len(list(gr.paths(small, w, limit=16))) == 16


def test_only_float_scalars_have_adjoints():
    x = gr.vector("x", 3)
    for f, name in ((gr.adjoints, "adjoints"), (lambda o: gr.paths(o, x), "paths")):
        with pytest.raises(gr.errors.DifferentiationError, match=rf"^{name}: the output has"):
            f(x * x)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (12345678, "12 345 678"), (2**5000, "about 10^1505")],
)
def test_count_text(number, text):
    assert count_text(number) == text


def test_names_are_no_nodes():
    x = gr.scalar("x")
    calls = [gr.count_paths, gr.paths, gr.diff, gr.swell]
    for call in calls:
        with pytest.raises(gr.errors.GraphError, match="give the node itself, not its name"):
            call(x * x, "x")
        with pytest.raises(gr.errors.GraphError, match="give the node itself, not its name"):
            call("y", x)
