"""Textbook differentiation: right, written out, and as large as it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

import graphc as gr
from diff.test_paths import product_network, scalar, scalar_graphs
from graphc.diff.symbolic import shared_derivative, tree_size, written_out
from graphc.expr import topological
from graphc.interpret import evaluate


def test_rules():
    x = scalar("x")
    sin, cos = gr.sin, gr.cos
    expected = {
        x: "1",
        x + x: "1 + 1",
        3 - x: "-1",
        sin(x) * x: "cos(x) * x + sin(x)",
        3 * x: "3",
        sin(x) / x: "(cos(x) * x - sin(x)) / x**2",
        sin(x) / 4: "cos(x) / 4",
        4 / sin(x): "-4 * cos(x) / sin(x)**2",
        x**3: "3 * x**2",
        sin(cos(x)): "cos(cos(x)) * -sin(x)",
        -gr.exp(x): "-exp(x)",
        gr.sqrt(1 - x): "-(0.5 / sqrt(1 - x))",
        gr.where(gr.less(x, 0), x * x, x): "where(x < 0, x + x, 1)",
    }
    for function, text in expected.items():
        assert gr.formula(gr.diff(function, x)).replace("(4 * cos(x))", "4 * cos(x)") == text


def test_nothing_is_shared():
    """e^x e^x: each factor is written out in both terms."""
    x = scalar("x")
    d = gr.diff(gr.square(gr.exp(x)) * gr.exp(x), x)
    nodes = [n for n in topological([d]) if n.args]
    used = [a for n in nodes for a in n.args if a.args]
    assert len(used) == len(set(used)) == len(nodes) - 1
    assert d.origin is not None


@settings(deadline=None, max_examples=60)
@given(scalar_graphs())
def test_values_are_those_of_the_sweep_and_the_size_is_exact(nodes):
    o, x, y = nodes[-1], nodes[0], nodes[1]
    shared = shared_derivative(o, x, "zero")
    size = tree_size(shared)
    if size > 3000:
        return
    d = gr.diff(o, x, unused="zero")
    assert d.type == o.type
    found = topological([d])
    uses = 1 + sum(len(n.args) for n in found)
    assert uses == tree_size(d) == size
    values = {x: 0.7, y: -0.3}
    expected = evaluate([gr.grad(o, x, unused="zero")], values)[0]
    np.testing.assert_allclose(evaluate([d], values)[0], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "f",
    [gr.nn.gelu, gr.nn.silu, gr.nn.mish, gr.nn.elu, gr.nn.softplus, gr.nn.sinc],
    ids=lambda f: f.__name__,
)
def test_activations_elementwise(f):
    x = gr.matrix("x", "n", 3, "float64")
    values = {x: np.linspace(-2, 2, 12).reshape(4, 3)}
    d = gr.diff(f(x), x)
    assert d.type == x.type
    expected = evaluate([gr.grad(gr.sum(f(x)), x)], values)[0]
    np.testing.assert_allclose(evaluate([d], values)[0], expected, rtol=1e-12)


def test_broadcast_operands_keep_the_shape_of_the_result():
    x, a = gr.vector("x", 3, "float64"), gr.matrix("a", 2, 3, "float64")
    d = gr.diff(a * x + x, x)
    at = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(evaluate([d], {a: at, x: np.ones(3)})[0], at + 1)


def test_second_derivative():
    x = scalar("x")
    second = gr.diff(gr.diff(gr.sin(x) * x, x), x)
    expected = 2 * np.cos(0.4) - 0.4 * np.sin(0.4)
    np.testing.assert_allclose(evaluate([second], {x: 0.4})[0], expected, rtol=1e-14)


def test_a_deep_chain_is_differentiated_without_recursion():
    x = y = scalar("x")
    for _ in range(3000):
        y = y + 1
    assert evaluate([gr.diff(y, x)], {x: 0.0})[0] == 1


def test_swell_is_refused_and_its_size_said():
    x = y = scalar("x")
    for _ in range(200):
        y = y * gr.sin(y)
    with pytest.raises(gr.errors.DifferentiationError) as error:
        gr.diff(y, x)
    first = str(error.value).splitlines()[0]
    assert first.startswith("diff: the derivative would have about 10^")
    assert first.endswith("nodes, the limit is 100000")
    small = gr.sin(x) * x
    size = tree_size(shared_derivative(small, x))
    assert size == 7
    with pytest.raises(gr.errors.DifferentiationError, match="would have 7 nodes, the limit"):
        gr.diff(small, x, limit=6)
    assert tree_size(gr.diff(small, x, limit=7)) == 7


def test_refusals():
    x, y = gr.vector("x", 3), gr.vector("y", 3)
    n = gr.scalar("n", "int64")
    error = gr.errors.DifferentiationError
    with pytest.raises(error, match=r"^diff: the output does not depend on y"):
        gr.diff(x * x, y)
    with pytest.raises(error, match=r"^diff: the target is int64"):
        gr.diff(x * n, n)
    with pytest.raises(
        gr.errors.UnsupportedOpError, match=r"^diff: sum is not elementwise"
    ) as e:
        gr.diff(gr.sum(x), x)
    assert "gr.grad" in str(e.value)
    zero = gr.diff(x * x, y, unused="zero")
    assert zero.type == x.type
    assert not evaluate([zero], {})[0].any()


def test_structured_parts_that_do_not_depend_on_x_are_constants():
    x, a = scalar("x"), gr.vector("a", 3, "float64")
    d = gr.diff(gr.sum(a) * x, x)
    assert evaluate([d], {a: np.arange(3.0)})[0] == 3


def test_written_out_copies_each_use():
    x = scalar("x")
    s = gr.sin(x)
    out = written_out(s * s)
    left, right = out.args
    assert left is not right
    assert left.args == right.args == (x,)
    assert left.source == s.source


# How expressions swell ----------------------------------------------------------------------


def test_swell_of_the_product_network():
    w = scalar("w")
    _, o = product_network(w)
    found = gr.swell(o, w)
    assert found.paths == 32
    assert found.pathwise == 32 * 6 - 1
    assert found.forward == 12
    assert found.textbook == tree_size(gr.diff(o, w))
    assert found.sweep == len(topological([gr.grad(o, w)]))
    assert found.cse == len(topological([gr.cse(gr.grad(o, w))])) < found.sweep


def test_swell_is_exact_where_nothing_could_be_built():
    w = scalar("w")
    sizes = [gr.swell(product_network(w, layers)[1], w) for layers in (30, 60)]
    assert sizes[1].paths == 2**60
    assert sizes[1].textbook > 2**60
    assert sizes[1].sweep < 2.1 * sizes[0].sweep
    assert isinstance(sizes[1].to_dict()["textbook"], int)


def test_swell_reads_as_a_table():
    x = y = scalar("x")
    for _ in range(3):
        y = y * gr.sin(y)
    found = gr.swell(y, x)
    rows = {line[:22].strip(): line for line in str(found).splitlines()}
    assert rows["textbook rules"].split()[2] == str(found.textbook)
    assert rows["paths"].split()[1] == "8"
    assert set(found.to_dict()) == {
        "forward", "forward_tree", "textbook", "paths", "pathwise", "sweep", "cse",
    }  # fmt: skip
    page = found._repr_html_()
    assert page.startswith("<table>")
    assert page.count("<tr>") == len(str(found).splitlines())


def test_swell_of_a_tensor():
    x = gr.matrix("x", "n", 3)
    found = gr.swell(gr.nn.gelu(x), x)
    assert found.textbook >= found.cse
    assert found.paths == gr.count_paths(gr.nn.gelu(x), x)
