"""The reverse sweep, step by step."""

from __future__ import annotations

import json

import numpy as np
import pytest

import graphc as gr
from diff.test_paths import product_network, scalar
from graphc.interpret import evaluate


def test_the_example_of_the_lecture():
    """d = a c, c = a + b at a = 4, b = 3: two ways lead to a, 7 + 4 * 1 = 11."""
    a, b = scalar("a"), scalar("b")
    c = (a + b).named("c")
    table = gr.sweep((a * c).named("d"), [a, b], {a: 4, b: 3})
    assert str(table).splitlines() == [
        "step  node  is     users     S(node) = sum of S(user) * d user / d node"
        "  value  numbers  S",
        "1     d     a * c  (output)  1" + " " * 43 + "28     1        1",
        "2     c     a + b  d         S(d) * a" + " " * 36 + "7      4        4",
        "3     b     input  c         S(c)" + " " * 40 + "3      4        4",
        "4     a     input  d, c      S(d) * c + S(c)" + " " * 29 + "4      7 + 4    11",
    ]


def test_the_product_network_row_by_row():
    """S(9) = S(10) = w^16: each parent gives one term."""
    w = scalar("w")
    rows, o = product_network(w)
    table = gr.sweep(o, w, {w: 2.0})
    assert len(table) == 12
    by_node = {step.node: step for step in table}
    for row, power, factor in zip(rows, (31, 30, 28, 24, 16), (16, 8, 4, 2, 1), strict=True):
        for node in row:
            assert by_node[node].adjoint == factor * 2.0**power
    assert by_node[w].adjoint == 32 * 2.0**31
    assert [len(by_node[row[0]].terms) for row in rows] == [2, 2, 2, 2, 1]
    assert by_node[rows[4][0]].adjoint != 2 * 2.0**16


def test_parallel_edges_are_two_terms():
    x = scalar("x")
    (_, last) = gr.sweep((x * x).named("y"), x, {x: 3.0})
    assert last.users == ("y", "y")
    assert [term.text for term in last.terms] == ["S(y) * x", "S(y) * x"]
    assert last.adjoint == 6


def networks():
    rng = np.random.default_rng(0)
    x, t = gr.matrix("x", "n", 4, "float64"), gr.vector("t", "n", "int64")
    w, v = (
        gr.parameter("w", rng.normal(size=(4, 5))),
        gr.parameter("v", rng.normal(size=(5, 3))),
    )
    logits = gr.tanh(x @ w) @ v
    values = {x: rng.normal(size=(6, 4)), t: rng.integers(0, 3, 6)}
    yield gr.nn.cross_entropy(logits, t), values
    yield gr.mean(gr.nn.layer_norm(gr.nn.gelu(x @ w)) ** 2) + gr.nn.l2([w, v], 0.1), values
    yield gr.sum(gr.where(gr.greater(x, 0), gr.log(gr.abs(x)), x**3)), values
    yield gr.sum(gr.max(x[1:] * x[:-1], axis=1)) + gr.logsumexp(x) + gr.norm(x), values


@pytest.mark.parametrize("case", range(4))
def test_numbers_are_those_of_the_gradient(case):
    o, values = list(networks())[case]
    table = gr.sweep(o, inputs=values)
    leaves = [s for s in table if s.node.op.name in ("input", "parameter")]
    assert leaves
    gradients = evaluate(gr.grad(o, [s.node for s in leaves]), values)
    for step, gradient in zip(leaves, gradients, strict=True):
        np.testing.assert_allclose(step.adjoint, gradient, rtol=1e-11, atol=1e-12)
    for step in table:
        total = sum(term.value for term in step.terms)
        np.testing.assert_allclose(np.broadcast_to(total, step.value.shape), step.adjoint)
    assert next(iter(table)).node is o


def test_users_come_before_their_operands():
    o, _ = next(networks())
    seen = set()
    for step in gr.sweep(o):
        assert not set(step.node.args) & seen
        seen.add(step.node)


def test_steps_contribute_nothing():
    x = scalar("x")
    *_, last = gr.sweep((gr.floor(x) * 2 + x).named("o"), x, {x: 1.5})
    assert last.adjoint == 1
    assert [term.text for term in last.terms] == ["S(o)"]


def test_what_only_steps_use_has_adjoint_zero():
    x = scalar("x")
    *_, last = gr.sweep(gr.floor(x) * 2.0, x, {x: 1.5})
    assert last.terms == ()
    assert last.adjoint == 0
    assert " 0 " in str(gr.sweep(gr.floor(x) * 2.0, x, {x: 1.5})).splitlines()[-1]


def test_as_json_and_html():
    x = gr.vector("x", 3)
    o = gr.sum(gr.exp(x))
    found = json.loads(json.dumps(gr.sweep(o, x, {x: [0, 0, 0]}).to_dict()))
    assert found["steps"][-1] == {
        "node": "x", "is": "input", "users": ["%1"], "terms": ["S(%1) * %1"],
        "value": [0, 0, 0], "numbers": [[1, 1, 1]], "adjoint": [1, 1, 1],
    }  # fmt: skip
    assert "value" not in gr.sweep(o, x).to_dict()["steps"][0]
    y = gr.scalar("<b>")
    page = gr.sweep(y * 2, y)._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


def test_refusals():
    x, y = scalar("x"), scalar("y")
    with pytest.raises(gr.errors.InputError, match=r"^sweep: no sample for y"):
        gr.sweep(x * y, x, {x: 1.0})
    with pytest.raises(gr.errors.DifferentiationError, match=r"^sweep: the output has shape"):
        gr.sweep(gr.vector("v", 3))
    with pytest.raises(gr.errors.DifferentiationError, match=r"^sweep: the output does not"):
        gr.sweep(gr.sin(x), y)


@pytest.mark.parametrize(
    "table",
    [
        lambda o, samples: gr.sweep(o, None, samples),
        lambda o, samples: gr.gradient_norms(o, None, samples),
    ],
    ids=["sweep", "gradient_norms"],
)
def test_samples_are_given_by_input_by_name_or_in_order(table):
    a, b = gr.vector("a", 3, dtype="float64"), gr.vector("b", "n", dtype="float64")
    o = gr.sum(a) * gr.sum(gr.tanh(b))
    first, second = [1.0, 2.0, 3.0], [0.5, 0.25]
    expected = str(table(o, {a: first, b: second}))
    assert str(table(o, {"a": first, "b": second})) == expected
    assert str(table(o, [first, second])) == expected
    for wrong, text in [
        ([first], "a list of 2 arrays"),
        ("ab", "a list of 2 arrays"),
        ({"a": first, "c": second}, "has no input 'c'"),
        ({"a": first[1:], "b": second}, "the input 'a' has another shape"),
        ({"a": first, "b": 2.0}, "the input 'b' has another shape"),
        ({"a": "abc", "b": second}, "the input 'a'"),
    ]:
        with pytest.raises(gr.errors.InputError, match=text):
            table(o, wrong)
