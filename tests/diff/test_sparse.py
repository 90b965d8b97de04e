"""Sparse Jacobians and Hessians: equal to the dense ones, few directions, small programs."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gr
from graphc.diff.sparse import SparseMatrix
from graphc.errors import DifferentiationError, GraphError, InputTypeError
from graphc.interpret import evaluate

BACKENDS = ("interpret", "llvm")


@pytest.fixture(autouse=True)
def doubles():
    with gr.default_dtype("float64"):
        yield


def rosenbrock(x):
    return gr.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def laplacian(u):
    return 4 * u[1:-1, 1:-1] - u[:-2, 1:-1] - u[2:, 1:-1] - u[1:-1, :-2] - u[1:-1, 2:]


def bratu(u):
    """Residual of ``-laplace(u) = exp(u)`` at the inner points of a square."""
    return laplacian(u) - 0.1 * gr.exp(u[1:-1, 1:-1])


def numbers(*shape):
    return np.random.default_rng(3).normal(size=shape)


# Systems ------------------------------------------------------------------------------------

SYSTEMS = {
    "diagonal": (lambda x: gr.sin(x) * x, (9,), 1),
    "two diagonals": (lambda x: x[1:] * gr.exp(x[:-1]), (9,), 2),
    "blocks": (lambda x: (gr.reshape(x, (4, 3)) @ numbers(3, 3)) ** 2, (12,), 3),
    "one row": (lambda x: gr.sum(x**3), (9,), 1),
    "one column": (lambda x: gr.sin(x) * numbers(9), (), 1),
    "arrow": (lambda x: gr.concatenate([gr.sum(x**2, keepdims=True), x[1:] * x[0]]), (12,), 3),
    "flipped arrow": (
        lambda x: gr.concatenate([gr.sum(x[1:] ** 3, keepdims=True) * x[0], x[-1] * x[:-1]]),
        (12,),
        3,
    ),
    "small arrow": (
        lambda x: gr.concatenate([gr.sum(x**2, keepdims=True), x[1:] * x[0]]),
        (4,),
        4,
    ),
    "five points": (bratu, (9, 8), 7),
    "dense": (lambda x: gr.softmax(x), (5,), 5),
    "constant matrix": (lambda x: gr.tanh(np.triu(np.tri(8, 8, 2)) @ x), (8,), 3),
    "gathered": (lambda x: x[np.array([3, 1, 1, 0])] * x[:4], (6,), 2),
    "scattered": (lambda x: gr.scatter_add(x * x, np.array([0, 0, 1, 2, 2]), 0, 4), (5,), 1),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_jacobian_of_a_system(name, mode, backend):
    function, shape, least = SYSTEMS[name]
    x = gr.tensor("x", shape)
    y = function(x)
    matrix = gr.jacobian(y, x, sparse=True, mode=mode)
    f = gr.compile(x, [matrix, gr.jacobian(y, x)], backend=backend)
    found, expected = f(numbers(*shape))
    assert isinstance(found, sp.csr_array)
    assert found.shape == matrix.shape == (y.size, x.size)
    assert found.has_sorted_indices
    assert matrix.pattern.dtype == bool
    np.testing.assert_array_equal(found.todense() != 0, matrix.pattern.todense())
    np.testing.assert_allclose(
        found.todense(), expected.reshape(matrix.shape), rtol=1e-13, atol=1e-13
    )
    if mode == "auto":
        assert matrix.directions == least
    else:
        assert matrix.mode == mode
    sizes = {"forward": x.size, "reverse": y.size, "mixed": y.size + x.size}
    assert matrix.colors.shape == (sizes[matrix.mode],)


FUNCTIONS = {
    "rosenbrock": (rosenbrock, (12,), 3),
    "separable": (lambda x: gr.sum(gr.exp(x) * numbers(7)), (7,), 1),
    "arrow": (lambda x: x[0] ** 2 + gr.sum(x[0] * x[1:] ** 2), (9,), 2),
    "blocks": (lambda x: gr.sum(gr.prod(gr.reshape(x, (4, 3)), 1)), (12,), 3),
    "energy": (lambda u: 0.5 * gr.sum(bratu(u) ** 2), (7, 6), 11),
    "dense": (lambda x: gr.logsumexp(x), (5,), 5),
    "linear": (lambda x: gr.sum(gr.cumsum(x)), (5,), 0),
    "scalar": (lambda x: gr.sin(x), (), 1),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_hessian_of_a_function(name, backend):
    function, shape, least = FUNCTIONS[name]
    x = gr.tensor("x", shape)
    f = function(x)
    matrix = gr.hessian(f, x, sparse=True)
    found, expected = gr.compile(x, (matrix, gr.hessian(f, x)), backend=backend)(
        numbers(*shape)
    )
    assert matrix.mode == "symmetric"
    assert matrix.directions == least
    assert (found != found.T).nnz == 0  # symmetric to the last bit
    np.testing.assert_allclose(
        found.todense(), expected.reshape(matrix.shape), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_rosenbrock_of_a_thousand_variables(backend):
    x = gr.vector("x", 1000)
    f = gr.compile(x, gr.hessian(rosenbrock(x), x, sparse=True), backend=backend)
    at = numbers(1000)
    np.testing.assert_allclose(f(at).todense(), rosenbrock_hessian(at).todense(), rtol=1e-12)


def test_rosenbrock_of_a_hundred_thousand_variables():
    size = 100_000
    x = gr.vector("x", size)
    matrix = gr.hessian(rosenbrock(x), x, sparse=True)
    assert (matrix.directions, matrix.nnz) == (3, 3 * size - 2)
    f = gr.compile(x, matrix)
    at = numbers(size)
    found, expected = f(at), rosenbrock_hessian(at)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_allclose(found.data, expected.data, rtol=1e-12, atol=1e-11)
    assert f.report().workspace < 200 * size


def rosenbrock_hessian(x):
    """By hand: 1200 x^2 - 400 x' + 2 (and 200 but at the first) beside -400 x."""
    middle = np.append(1200 * x[:-1] ** 2 - 400 * x[1:] + 2, 0.0)
    middle[1:] += 200
    beside = -400 * x[:-1]
    made = sp.csr_array(sp.diags_array([beside, middle, beside], offsets=[-1, 0, 1]))
    made.sort_indices()
    return made


def test_the_program_has_nothing_of_the_size_of_the_matrix():
    """Directions are made from a byte for each variable, entries found by four for each."""
    size = 10_000
    x = gr.vector("x", size)
    matrix = gr.hessian(rosenbrock(x), x, sparse=True)
    f = gr.compile(x, matrix)
    constants = sum(len(b.value) for b in f.program.constants)
    assert constants <= size + 4 * matrix.nnz + 64
    assert f.report().workspace < 200 * size


# Random functions -----------------------------------------------------------------------------


@st.composite
def functions(draw):
    """A vector of 6 and a function of it, made of operations that are smooth at 0.3 to 0.7."""
    x = gr.vector("x", 6)
    made = [x, gr.sin(x), gr.constant(np.arange(6) % 2 * 0.7)]
    steps = [
        lambda a, b, k: a * b,
        lambda a, b, k: a + gr.flip(b),
        lambda a, b, k: gr.exp(a) / (2 + gr.square(b)),
        lambda a, b, k: gr.pad(a[k:], (0, k)) - b,
        lambda a, b, k: gr.concatenate([a[:k], b[k:]]),
        lambda a, b, k: gr.reshape(gr.reshape(a, (2, 3)).T, (6,)) * b,
        lambda a, b, k: a * gr.sum(b[:k]),
        lambda a, b, k: gr.cumsum(a * 0.3)[::-1],
        lambda a, b, k: gr.reshape(gr.tanh(gr.reshape(a, (3, 2)) @ WEIGHTS), (6,)),
        lambda a, b, k: gr.where(gr.arange(6) < k, a, gr.stop_gradient(b)),
        lambda a, b, k: gr.take(a, (gr.arange(6) * k) % 6),
        lambda a, b, k: gr.scatter_add(a, np.array([0, 0, 1, k, 5, 5]), 0, 6),
        lambda a, b, k: gr.maximum(a, b + 0.01),
        lambda a, b, k: gr.broadcast_to(gr.prod(0.5 + a[: k + 1]), (6,)),
    ]
    for _ in range(draw(st.integers(1, 7))):
        a, b = (made[draw(st.integers(0, len(made) - 1))] for _ in range(2))
        made.append(draw(st.sampled_from(steps))(a, b, draw(st.integers(1, 4))))
    return x, made[-1]


WEIGHTS = np.array([[1.0, 0.0], [0.5, 2.0]])


@given(functions(), st.sampled_from(["auto", "forward", "reverse"]))
@settings(max_examples=80, deadline=None)
def test_random_functions(function, mode):
    x, y = function
    f = gr.sum(gr.tanh(y))
    jacobian = gr.jacobian(y, x, sparse=True, mode=mode, unused="zero")
    hessian = gr.hessian(f, x, sparse=True, unused="zero")
    dense = [gr.jacobian(y, x, unused="zero"), gr.hessian(f, x, unused="zero")]
    at = np.linspace(0.3, 0.7, 6)
    j, h, *expected = evaluate([jacobian.values, hessian.values, *dense], {x: at})
    for matrix, values, whole in zip((jacobian, hessian), (j, h), expected, strict=True):
        np.testing.assert_allclose(
            matrix.matrix(values).todense(), whole, rtol=1e-11, atol=1e-11
        )


# Several targets, types, rules ----------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_blocks_of_several_targets(backend):
    a, b = gr.vector("a", 4), gr.matrix("b", 2, 2, dtype="float32")
    f = gr.sum(a * gr.sin(gr.reshape(b, (4,)).astype("float64"))) + a[0] * a[3] ** 2
    sparse, dense = gr.hessian(f, [a, b], sparse=True), gr.hessian(f, [a, b])
    given = numbers(4), numbers(2, 2).astype("float32")
    found, expected = gr.compile([a, b], [sparse, dense], backend=backend)(*given)
    for i in range(2):
        for j in range(2):
            assert found[i][j].dtype == expected[i][j].dtype == (a, b)[max(i, j)].dtype.numpy
            np.testing.assert_allclose(
                found[i][j].todense(), expected[i][j].reshape(4, 4), rtol=1e-6, atol=1e-7
            )
    assert {m.directions for row in sparse for m in row} == {3}


def test_jacobians_of_several_targets():
    a, b = gr.vector("a", 3), gr.vector("b", 4)
    y = gr.outer(a, gr.sin(b))
    by_a, by_b = gr.jacobian(y, [a, b], sparse=True)
    f = gr.compile([a, b], {"a": by_a, "b": by_b, "dense": gr.jacobian(y, [a, b])})
    found = f(numbers(3), numbers(4))
    for key, whole in zip("ab", found["dense"], strict=True):
        np.testing.assert_allclose(found[key].todense(), whole.reshape(12, -1), rtol=1e-14)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_the_entries_have_the_type_of_the_target(mode):
    x = gr.vector("x", 3, "float32")
    matrix = gr.jacobian(x.astype("float64") ** 2, x, sparse=True, mode=mode)
    assert matrix.dtype.name == "float32"
    assert gr.compile(x, matrix)(np.ones(3, "float32")).dtype == np.float32


def test_a_declared_rule_need_not_be_symmetric():
    """The mean of both triangles, as the dense Hessian has it."""
    rule = gr.custom_gradient(
        lambda x: x**2, vjp=lambda ct, out, x: ct * (2 * x + gr.pad(x[1:] ** 2, (0, 1)))
    )
    x = gr.vector("x", 4)
    f = gr.sum(rule(x))
    matrix = gr.hessian(f, x, sparse=True)
    assert matrix.mode == "forward"
    found, expected = gr.compile(x, [matrix, gr.hessian(f, x)])(numbers(4))
    assert np.count_nonzero(expected - np.diag(np.diag(expected)))
    np.testing.assert_allclose(found.todense(), expected, rtol=1e-14)


def test_a_pattern_without_entries():
    x, y = gr.vector("x", 3), gr.vector("y", 2)
    matrix = gr.jacobian(gr.sign(x[:2]) + y, x, sparse=True)
    assert (matrix.directions, matrix.nnz) == (0, 0)
    assert gr.compile([x, y], matrix)(np.ones(3), np.ones(2)).shape == (2, 3)
    empty = gr.vector("e", 0)
    assert gr.compile(empty, gr.jacobian(2 * empty, empty, sparse=True))([]).shape == (0, 0)


def test_no_targets_no_blocks():
    x = gr.vector("x", 3)
    assert gr.hessian(gr.sum(x), [], sparse=True) == gr.hessian(gr.sum(x), []) == []
    assert gr.jacobian(x, [], sparse=True) == []


def test_values_are_expressions_like_any_other():
    x = gr.vector("x", 5)
    matrix = gr.hessian(rosenbrock(x), x, sparse=True)
    squares = gr.sum(matrix.values**2)
    dense = gr.sum(gr.hessian(rosenbrock(x), x) ** 2)
    f = gr.compile(x, [gr.grad(squares, x), gr.grad(dense, x)])
    np.testing.assert_allclose(*f(numbers(5)), rtol=1e-12)


@pytest.mark.parametrize("order", ["smallest_last", "DSATUR", "independent_set"])
def test_the_order_of_the_colouring_can_be_chosen(order):
    u = gr.matrix("u", 6, 5)
    energy = gr.sum(bratu(u) ** 2)
    for matrix, dense in (
        (gr.jacobian(bratu(u), u, sparse=order), gr.jacobian(bratu(u), u)),
        (gr.hessian(energy, u, sparse=order), gr.hessian(energy, u)),
    ):
        found, expected = gr.compile(u, [matrix, dense])(numbers(6, 5))
        np.testing.assert_allclose(
            found.todense(), expected.reshape(matrix.shape), rtol=1e-12, atol=1e-12
        )


def test_reverse_mode_where_rows_are_fewer():
    x = gr.vector("x", 100)
    matrix = gr.jacobian(gr.sum(gr.reshape(x**2, (4, 25)), 1), x, sparse=True)
    assert (matrix.mode, matrix.directions) == ("reverse", 1)
    assert matrix.colors.tolist() == [0, 0, 0, 0]


def test_both_modes_together_where_one_would_need_too_many():
    """A row that sees all, and a column that all see: an arrow of any size takes three."""
    size = 20_000
    x = gr.vector("x", size)
    y = gr.concatenate([gr.sum(x[1:] ** 2, keepdims=True), x[1:] * x[0]])
    matrix = gr.jacobian(y, x, sparse=True)
    assert (matrix.mode, matrix.directions) == ("mixed", 3)
    rows, columns = np.split(matrix.colors, [size])
    assert rows.tolist() == [0] + [-1] * (size - 1)
    assert columns.tolist() == [0] + [1] * (size - 1)
    at = numbers(size)
    found = gr.compile(x, matrix)(at)
    expected = sp.diags_array(np.append(0.0, np.full(size - 1, at[0]))).tolil()
    expected[1:, 0] = at[1:, None]
    expected[0, 1:] = 2 * at[1:]
    assert np.abs(found - expected.tocsr()).max() == 0


def test_both_modes_together_for_a_long_column():
    z = gr.vector("z", 97)
    y = gr.sum(gr.reshape(z[1:], (12, 8)) ** 2, 1) * z[0]
    matrix = gr.jacobian(y, z, sparse=True)
    assert (matrix.mode, matrix.directions) == ("mixed", 2)
    found, dense = gr.compile(z, [matrix, gr.jacobian(y, z)])(numbers(97))
    np.testing.assert_allclose(found.todense(), dense, rtol=1e-14)
    for mode, count in (("forward", 9), ("reverse", 12)):
        assert gr.jacobian(y, z, sparse=True, mode=mode).directions == count


# Compiled functions ---------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_matrices_anywhere_among_the_outputs(backend):
    x = gr.vector("x", 4)
    f, h = rosenbrock(x), gr.hessian(rosenbrock(x), x, sparse=True)
    at, whole = numbers(4), rosenbrock_hessian(numbers(4)).todense()
    single = gr.compile(x, h, backend=backend)(at)
    pair = gr.compile([x], (f, h), backend=backend)(at)
    nested = gr.compile({"x": x}, {"f": f, "d": [h, (h, f)]}, backend=backend)({"x": at})
    assert type(pair) is tuple
    assert type(nested["d"][1]) is tuple
    for found in (single, pair[1], nested["d"][0], nested["d"][1][0]):
        np.testing.assert_allclose(found.todense(), whole, rtol=1e-12)
    assert nested["f"] == pair[0] == nested["d"][1][1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_results_are_independent_of_each_other(backend):
    x = gr.vector("x", 4)
    f = gr.compile(x, gr.hessian(rosenbrock(x), x, sparse=True), backend=backend)
    first = f(numbers(4))
    before = first.todense().copy()
    second = f(numbers(4))
    second.data[:] = 0
    second.eliminate_zeros()
    np.testing.assert_array_equal(first.todense(), before)
    np.testing.assert_array_equal(f(numbers(4)).todense(), before)


def test_results_are_written_into_a_matrix_of_the_pattern():
    x = gr.vector("x", 4)
    h = gr.hessian(rosenbrock(x), x, sparse=True)
    f, g = gr.compile(x, h), gr.compile(x, [rosenbrock(x), h])
    target, value = f(np.zeros(4)), np.zeros(())
    found = f(numbers(4), out=target)
    assert np.shares_memory(found.data, target.data)
    np.testing.assert_array_equal(target.todense(), f(numbers(4)).todense())
    g(np.zeros(4), out=[value, target])
    np.testing.assert_array_equal(target.todense(), f(np.zeros(4)).todense())
    entries = np.zeros(h.nnz)
    f(numbers(4), out=entries)
    np.testing.assert_array_equal(entries, f(numbers(4)).data)
    for wrong in (target.tocsc(), sp.csr_array(np.eye(4)), 3.0):
        with pytest.raises(InputTypeError) as error:
            f(numbers(4), out=wrong)
        assert str(error.value) == (
            "f: out of a sparse hessian is a CSR array of its pattern\n"
            "  expected  hessian f64[4, 4]: 3 directions (symmetric) for 10 entries\n"
            f"  found     {type(wrong).__name__}\n"
            "  hint: one that an earlier call returned, or an array for its entries"
        )


def test_the_report_says_how_many_directions():
    x = gr.vector("x", 4)
    h = gr.hessian(rosenbrock(x), x, sparse=True)
    f = gr.compile(x, [rosenbrock(x), h])
    assert repr(f) == "<compiled function f(x: f64[4]) -> f64[], sparse hessian f64[4, 4]>"
    report = f.report()
    line = "hessian f64[4, 4]: 3 directions (symmetric) for 10 entries"
    assert report.notes["output 1"] == line
    assert re.search(rf"^output 1 +{re.escape(line)}$", str(report), re.MULTILINE)
    assert report.to_dict()["notes"]["output 1"] == line


def test_a_matrix_shows_itself():
    x = gr.vector("x", 300)
    h = gr.hessian(rosenbrock(x), x, sparse=True)
    assert isinstance(h, SparseMatrix)
    assert repr(h) == (
        "<sparse hessian f64[300, 300]: 3 directions (symmetric) for 898 entries>"
    )
    picture = ElementTree.fromstring(h._repr_svg_())
    cells = picture.findall(".//{*}g/{*}rect")
    places = {(int(c.get("x")), int(c.get("y"))) for c in cells}
    assert places == {(i, j) for i in range(100) for j in range(100) if abs(i - j) < 2}
    y = gr.vector("y", 3)
    small = gr.jacobian(y[1:] * y[0], y, sparse=True)
    assert small._repr_svg_().count("<rect") == 2 + 4  # the paper, the frame, and the entries


def test_the_entries_say_how_they_were_made():
    x = gr.vector("x", 4)
    values = gr.hessian(rosenbrock(x), x, sparse=True).values
    assert values.origin.rule == "d hessian by symmetric, 3 directions"
    values = gr.jacobian(x[1:] * x[:-1], x, sparse=True).values
    assert values.origin.rule == "d jacobian by forward, 2 directions"


def test_what_is_no_matrix_is_still_refused():
    x = gr.vector("x", 4)
    h = gr.hessian(rosenbrock(x), x, sparse=True)
    with pytest.raises(GraphError, match="inputs is SparseMatrix, not an expression"):
        gr.compile(h, x)
    with pytest.raises(DifferentiationError, match="an order of colouring, not 'nice'"):
        gr.hessian(rosenbrock(x), x, sparse="nice")
