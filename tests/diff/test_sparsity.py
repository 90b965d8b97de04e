"""Patterns of derivatives: every operation, first and second order, against dense numbers."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import cases
import graphc as gr
from graphc.diff import known, sparsity
from graphc.errors import DifferentiationError, UnsupportedOpError
from graphc.expr import Attrs, apply, topological
from graphc.interpret import evaluate
from graphc.ops.indexing import take_along_axis
from graphc.ops.movement import pad_spread
from graphc.ops.table import OPS, Op

#: Their derivatives are zero or not depending on values; a pattern has all that may be.
BY_VALUE = set("where maximum minimum max min gather scatter_add remainder".split())


def floats_of_size(case, most):
    """A float64 case's float operands that are not too large."""
    fits = case.arrays and all(a.dtype != np.float32 for a in case.arrays)
    return [
        i for i, a in enumerate(case.arrays if fits else ())
        if a.dtype == np.float64 and a.size <= most
    ]  # fmt: skip


CASES = [
    c
    for c in [*cases.OPERATIONS, *cases.NUMPY, *cases.NETWORKS]
    if floats_of_size(c, 120) and c.graph()[1].dtype.is_float
]


def nonzeros(table, leaves, case, shape, least=0.0):
    """Entries that are greater for some arrangement of the case's numbers."""
    rng = np.random.default_rng(0)
    seen = np.zeros(shape, bool)
    for k in range(3):
        arrays = [rng.permutation(a.ravel()).reshape(a.shape) if k else a for a in case.arrays]
        (found,) = evaluate([table], dict(zip(leaves, arrays, strict=True)))
        found = found.reshape(shape)
        seen |= (np.abs(found) > least) & np.isfinite(found)
    return seen


def may_cancel(out):
    """A softmax over one element does not depend on it, and all of one do not add to more."""
    return any(
        n.op.name in ("softmax", "logsumexp", "norm") or n.op.name in BY_VALUE
        for n in topological([out])
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_pattern_of_every_case(case):
    leaves, out = case.graph()
    exact = not any(n.op.name in BY_VALUE for n in topological([out]))
    exact &= all(np.abs(a).max(initial=0) < 100 for a in case.arrays)  # exp goes to zero
    for i in floats_of_size(case, 120):
        pattern = gr.sparsity(out, leaves[i]).todense()
        seen = nonzeros(gr.jacobian(out, leaves[i]), leaves, case, pattern.shape)
        assert pattern.dtype == bool
        assert not (seen & ~pattern).any()
        if exact and not str(case).startswith(("softmax-float64[]", "softmax-float64[2,1,4]")):
            np.testing.assert_array_equal(pattern, seen)


@pytest.mark.parametrize("case", CASES[::2], ids=str)
def test_pattern_of_second_derivatives(case):
    leaves, out = case.graph()
    f = gr.sum(out)
    for i in floats_of_size(case, 40):
        slope = gr.grad(f, leaves[i])
        pattern = gr.sparsity(slope, leaves[i], unused="zero").todense()
        seen = nonzeros(gr.hessian(f, leaves[i]), leaves, case, pattern.shape, 1e-12)
        assert not (seen & ~pattern).any()
        if not may_cancel(out) and "layer_norm" not in str(case):
            np.testing.assert_array_equal(pattern, seen)


# The tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize("op", [o for o in OPS.values() if o.family != "leaf"], ids=str)
def test_every_operation_has_a_rule(op):
    assert op.name in sparsity.RULES or op.family in sparsity.RULES


def test_every_rule_is_of_an_operation():
    names = set(OPS) | {op.family for op in OPS.values()}
    assert set(sparsity.RULES) <= names
    assert set(sparsity._FACTORS) <= names
    assert set(OPS) >= known._MONOTONE | known._FIRST | known._EITHER


@pytest.mark.parametrize(
    "name", sorted(known._MONOTONE | known._FIRST | known._EITHER | {"where"})
)
def test_a_value_said_to_be_zero_is_zero(name):
    """Zeros of the operands, through every operation that is said to keep some."""
    rng = np.random.default_rng(1)
    for case in cases.BY_OPERATION[name]:
        if case.arrays[0].dtype != np.float64 and name != "where":
            continue
        leaves, _ = case.graph()
        spoiled = [
            x * rng.integers(0, 2, x.shape).astype("float64")
            if x.dtype.name == "float64"
            else x
            for x in leaves
        ]
        made = case.build(*spoiled)
        facts = known.Known()
        for node in topological([made]):
            facts.visit(node)
        support = facts.support.get(made)
        if support is None:
            continue
        (value,) = evaluate([made], dict(zip(leaves, case.arrays, strict=True)))
        assert not value[~support & np.isfinite(value)].any()
        assert not np.isinf(value[~support]).any()


# What is exact -------------------------------------------------------------------------------


def dense(y, x):
    return gr.sparsity(y, x, unused="zero").todense().astype(int).tolist()


def test_places_of_a_slice_stay_apart():
    x = gr.vector("x", 4)
    assert dense(x[::-2] * x[:2], x) == [[1, 0, 0, 1], [0, 1, 0, 0]]


def test_linear_operations_add_no_second_order_pattern_and_products_cross_terms():
    x = gr.vector("x", 4)
    f = gr.sum(gr.cumsum(3 * x[::-1])) + x[0] * x[2]
    assert dense(gr.grad(f, x), x) == [
        [0, 0, 1, 0],
        [0, 0, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_a_factor_that_is_always_zero_takes_no_part():
    """The cotangent of a slice is zero outside of it, and meets the slope of exp there."""
    x = gr.vector("x", 3)
    f = gr.sum(gr.exp(x)[1:] * gr.tanh(x[1:]))
    assert dense(gr.grad(f, x), x) == [[0, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_a_constant_matrix_has_its_own_pattern():
    matrix = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]], "float32")
    x = gr.matrix("x", 3, 2)
    assert dense((matrix @ x)[:, 0], x) == [[1, 0, 0, 0, 1, 0], [0, 0, 0, 0, 1, 0]]
    assert dense((x.T @ matrix.T)[0], x) == [[1, 0, 0, 0, 1, 0], [0, 0, 0, 0, 1, 0]]
    assert dense(gr.einsum("ij,jk->", matrix, x), x) == [[1, 1, 0, 0, 1, 1]]


def test_zeros_of_two_factors_meet_in_a_contraction():
    x, v = gr.vector("x", 2), gr.vector("v", 2)
    triangle = gr.constant(np.array([[0.0, 1.0], [0.0, 0.0]], "float32"))
    weights = triangle @ gr.pad(v[1:], ((0, 1),))  # zero: the column meets a zero
    assert dense(x * weights, x) == [[0, 0], [0, 0]]


def test_constant_indices_and_conditions_are_exact_others_are_not():
    x, i, c = gr.vector("x", 3), gr.vector("i", 2, "int64"), gr.tensor("c", 3, "bool")
    assert dense(x[np.array([2, -3])], x) == [[0, 0, 1], [1, 0, 0]]
    assert dense(x[i], x) == [[1, 1, 1], [1, 1, 1]]
    at = np.array([1, 1, -1])
    assert dense(gr.scatter_add(x, at, 0, 3), x) == [[0, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert dense(gr.scatter_add(x[:2], i, 0, 3), x) == [[1, 1, 0]] * 3
    first = np.array([True, False, False])
    assert dense(gr.where(first, x, x[::-1]), x) == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert dense(gr.where(c, x, x[::-1]), x) == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]


def test_an_index_out_of_range_leaves_the_error_to_the_run():
    x = gr.vector("x", 3)
    beyond = take_along_axis(x, gr.constant(np.array([7])), 0)
    assert dense(beyond, x) == [[1, 1, 1]]


def test_steps_and_stopped_values_have_no_pattern():
    x = gr.vector("x", 2)
    assert dense(gr.floor(x) * gr.stop_gradient(x), x) == [[0, 0], [0, 0]]
    assert dense(gr.sin(gr.cast(gr.cast(x, "int32"), "float32")), x) == [[0, 0], [0, 0]]


def test_a_declared_derivative_gives_the_pattern():
    x = gr.vector("x", 3)
    shifted = gr.custom_gradient(gr.round, vjp=lambda ct, out, x: gr.flip(ct))
    turned = gr.custom_gradient(gr.round, jvp=lambda t, out, x: gr.flip(t[0]))
    for function in (shifted, turned):
        assert dense(function(x), x) == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]


def test_padding_with_a_value_that_depends():
    x = gr.vector("x", 2)
    assert dense(pad_spread(x, [(1, 0, 1)], gr.sum(x)), x) == [[1, 1], [1, 0], [1, 1], [0, 1]]


def test_equal_sets_are_stored_once():
    """A mean that every element sees is one set, however many elements there are."""
    x = gr.vector("x", 50_000)
    centred = gr.broadcast_to(gr.mean(x), (50_000,)) * 2.0
    pattern = gr.sparsity(gr.sum(gr.exp(centred)), x)
    assert pattern.shape == (1, 50_000)
    assert pattern.nnz == 50_000


def test_the_target_may_be_inside_the_graph():
    x = gr.vector("x", 3)
    middle = gr.cumsum(x)
    assert dense(middle[1:] * 2, middle) == [[0, 1, 0], [0, 0, 1]]


# Errors ---------------------------------------------------------------------------------------


def test_a_symbolic_size_is_named():
    x = gr.vector("x", "n")
    with pytest.raises(DifferentiationError) as error:
        gr.sparsity(x * x, x)
    assert str(error.value) == (
        "sparse derivative: the size n is not a number\n"
        f"  target  f32[n]  {x.source}  x\n"
        "  hint: give the sizes of the leaves as numbers, or leave out sparse=True"
    )


def test_a_symbolic_size_on_the_way_is_named():
    x, y = gr.vector("x", 3), gr.matrix("y", "n", 3)
    for sparse in (True, "smallest_last"):
        with pytest.raises(DifferentiationError, match="the size n is not a number"):
            gr.jacobian(gr.sum(gr.sin(x * y), 0), x, sparse=sparse)


def test_what_is_not_sparse_is_refused_before_it_is_built():
    x = gr.vector("x", 20_000)
    with pytest.raises(DifferentiationError) as error:
        gr.hessian(gr.sum((x - gr.mean(x)) ** 2), x, sparse=True)
    text = str(error.value)
    assert "more than 100,000,000 dependences, this is not sparse" in text
    assert "hint: leave out sparse=True, or use products: gr.jvp, gr.vjp, gr.hvp" in text
    assert "test_sparsity.py" in text


def test_scipy_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    x = gr.vector("x", 3)
    with pytest.raises(UnsupportedOpError) as error:
        gr.sparsity(x * x, x)
    assert str(error.value) == (
        "sparse derivatives need SciPy\n  hint: pip install graphc[sparse]"
    )


def test_an_operation_without_rule_is_named():
    op = Op("unheard", "unheard", lambda types, attrs: types[0], lambda x: x)
    try:
        x = gr.vector("x", 3)
        with pytest.raises(UnsupportedOpError, match="no rule for unheard"):
            sparsity.dependence([apply(op, (x,), Attrs())], [x])
    finally:
        del OPS["unheard"]


def test_outputs_and_targets_are_checked():
    x, i = gr.vector("x", 3), gr.vector("i", 3, "int64")
    with pytest.raises(DifferentiationError, match="sparsity: the output is int64"):
        gr.sparsity(i, x)
    with pytest.raises(DifferentiationError, match="sparsity: the output does not depend on x"):
        gr.sparsity(gr.vector("y", 3), x)
