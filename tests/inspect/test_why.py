"""Questions to a compiled function: why, and why not."""

from __future__ import annotations

import re

import pytest

import graphc as gr
from graphc.errors import GraphError
from graphc.expr import topological
from graphc.inspect.history.rule_conditions import failed_condition
from graphc.rewrite.engine import RULES
from graphc.types import TensorType, float64


def vector(name: str = "x", size: int | str = "n") -> gr.Expr:
    return gr.vector(name, size, dtype="float64")


# why ------------------------------------------------------------------------------------------


def test_nodes_are_named_as_listings_name_them() -> None:
    x = vector()
    y = (gr.tanh(x) * 1).named("y")
    f = gr.compile(x, y + gr.sin(x))
    sine = f.snapshots[-1].graph.outputs[0].args[1]
    assert gr.show(f).splitlines()[2].startswith("%2 = sin(x)")
    assert f.why("%2").node is sine
    assert f.why("%1", stage="input").node is y.args[0]
    assert f.why("y", stage="input").node is y
    assert f.why(y).steps == f.why("y").steps


def test_a_name_that_only_an_earlier_stage_has_is_found() -> None:
    x = vector()
    gone = (gr.exp(x)).named("gone")
    f = gr.compile(x, gr.log(gone))
    assert f.why("gone").node is gone


def test_unknown_nodes_are_refused() -> None:
    x = vector()
    f = gr.compile(x, gr.sin(x).named("wave"))
    with pytest.raises(GraphError, match=r"called 'wav'\n  hint: did you mean wave\?"):
        f.why("wav")
    with pytest.raises(GraphError, match=r"no node of stage 'cse' is called '%7'"):
        f.why("%7", stage="cse")
    with pytest.raises(GraphError, match="there is no stage 'soup'"):
        f.why("wave", stage="soup")
    with pytest.raises(GraphError, match=r"has no such node\n  node  f64\[n\]  test_why"):
        f.why(gr.cos(x))


# why_not: kernels -----------------------------------------------------------------------------


def reasons(f: gr.CompiledFunction, *question: object) -> str:
    answer = f.why_not(*question)
    assert not answer.happened
    return "\n".join(answer.reasons)


def test_nodes_of_one_kernel_are_fused() -> None:
    x = vector()
    a = gr.sin(x)
    b = gr.exp(a)
    answer = gr.compile(x, b).why_not("fuse", a, b)
    assert answer.happened
    assert answer.reasons == ("they are in one kernel: k0",)
    assert str(answer).startswith(f"fuse: sin ({a.source}) and exp ({b.source})\n  they are")
    assert "<td>they are in one kernel: k0</td>" in answer._repr_html_()


def test_what_keeps_nodes_in_two_kernels_is_said() -> None:
    x = gr.matrix("x", "n", 4, dtype="float64")
    h = gr.tanh(x)
    total = h.sum(0)
    centred = h - total
    again = gr.exp(h.T).sum(1)
    f = gr.compile(x, [centred, gr.cumsum(h, 0), again])
    assert "the reduction is complete only after its kernel" in reasons(f, "fuse", h, centred)
    scan = f.graph.outputs[1]
    assert "cumsum has a kernel of its own" in reasons(f, "fuse", h, scan)
    assert re.search(
        r"tanh .* is in k\d+, cumsum .* is in k\d+|is in k\d+, ", reasons(f, "fuse", h, scan)
    )


def test_what_is_no_part_of_a_product_is_said() -> None:
    x, w = gr.matrix("x", "n", 300), gr.matrix("w", 300, 200)
    before = gr.tanh(x)
    product = before @ w
    after = gr.softmax(product)
    f = gr.compile([x, w], after)
    found = reasons(f, "fuse", before, product)
    assert "contract has a kernel of its own" in found
    assert "a product reads each element many times" in found
    found = reasons(f, "fuse", product, after)
    assert (
        "a product takes in only a pass over its own elements; k2: it is no single pass"
        in found
    )
    h = gr.tanh(x @ w)
    assert gr.compile([x, w], h).why_not("fuse", h, h.args[0]).happened


def test_what_is_no_computation_has_no_kernel() -> None:
    x = vector()
    one = gr.constant(2.5, "float64")
    y = gr.sin(x) * one
    dead = gr.exp(y)
    f = gr.compile(x, gr.log(dead))
    assert "x" in reasons(f, "fuse", x, y)
    assert "kernels read it (k0)" in reasons(f, "fuse", x, y)
    assert "is a number in the code" in reasons(f, "fuse", one, y)
    assert "no result needs it any more" in reasons(f, "fuse", dead, y)


def test_independent_kernels_and_those_between_are_told() -> None:
    x, y = gr.matrix("x", "n", 4, dtype="float64"), gr.vector("y", "m", dtype="float64")
    a, b = gr.sin(x), gr.cos(y)
    f = gr.compile([x, y], [a, b])
    found = reasons(f, "fuse", a, b)
    assert "neither needs the other" in found
    assert "different spaces: (n, 4) and (m)" in found
    c = gr.tanh(x)
    g = gr.compile(x, gr.exp(gr.cumsum(c, 0)))
    assert "k1 between them needs the one and feeds the other" in reasons(
        g, "fuse", c, g.graph.outputs[0]
    )


def test_a_product_that_the_other_finishes_is_between_them() -> None:
    """It is in the other's kernel, which is therefore not between them."""
    x = gr.tensor("x", ("n", 8))
    A, B = gr.tensor("A", (8, 32)), gr.tensor("B", (32, 16))
    h = gr.tanh(x @ A).named("h")
    z = gr.tanh(h @ B).named("z")
    f = gr.compile([x, A, B], z)
    between, where = f.why_not("fuse", h, z).reasons
    assert between.startswith("contract (test_why.py:")
    assert re.search(r"h .* is in (k\d+), z .* in (?!\1)k\d+", where)


def test_fusion_that_was_left_out_is_the_reason() -> None:
    x = vector()
    a = gr.sin(x)
    b = gr.exp(a)
    assert "fusion was left out" in reasons(gr.compile(x, b, skip="fuse"), "fuse", a, b)
    interpreted = gr.compile(x, b, backend="interpret")
    assert "there are no kernels" in reasons(interpreted, "fuse", a, b)


# why_not: rules -------------------------------------------------------------------------------

A = gr.vector("a", "n", dtype="float64")
SINE = gr.sin(A)

RULE_REASONS = {
    "another operation": ("mul-one", gr.exp(A), {}, "it is for mul, exp (.*) is exp"),
    "another first operand": ("log-of-exp", gr.log(SINE), {}, "must be exp; operands .* sin"),
    "another operand": ("add-zero", SINE + A, {}, "some operand must be constant"),
    "its condition": ("mul-one", SINE * 2.0, {}, r"its condition fails on mul .*is_number"),
    "a condition of a helper": (
        "log-of-sum", gr.log(SINE + A), {}, r"its condition fails on log .*small is None",
    ),
    "another rule first": (
        "softmax-by-division", gr.softmax(A), {}, "softmax-by-reciprocal was applied first",
    ),
    "the math mode": (
        "log-of-exp", gr.log(gr.exp(A)), {"math": "strict"},
        "it is reassociating; math='strict' allows exact rules only",
    ),
    "a stage left out": (
        "mul-one", SINE * 1.0, {"skip": "simplify"}, "its stage was left out: skip='simplify'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", RULE_REASONS)
def test_why_a_rule_was_not_applied(case: str) -> None:
    rule, node, options, expected = RULE_REASONS[case]
    found = reasons(gr.compile(A, node, **options), rule, node)
    assert re.search(expected, found), found
    assert found.endswith(f"the rule: {RULES[rule].doc}")


MULTIPLY_ADD_REASONS = {
    "no sum": (SINE * A, {}, "it is for add or sub"),
    "no product": (SINE + A, {}, "is no product"),
    "strict": (SINE * A + A, {"math": "strict"}, "math='strict' rounds every operation"),
    "left out": (SINE * A + A, {"skip": "multiply-add"}, "its stage was left out"),
}


@pytest.mark.parametrize("case", MULTIPLY_ADD_REASONS)
def test_why_no_multiply_add(case: str) -> None:
    node, options, expected = MULTIPLY_ADD_REASONS[case]
    assert expected in reasons(gr.compile(A, node, **options), "multiply-add", node)


def test_a_product_that_is_used_twice_stays() -> None:
    product = SINE * A
    total = product + A
    f = gr.compile(A, [total, gr.exp(product)])
    assert "is needed elsewhere too" in reasons(f, "multiply-add", total)


def test_a_rule_that_was_applied_is_admitted() -> None:
    y = SINE * 1.0
    f = gr.compile(A, gr.exp(y))
    answer = f.why_not("mul-one", y)
    assert answer.happened
    assert answer.reasons == (f"in simplify: becomes sin(a): {RULES['mul-one'].doc}",)
    fused = SINE * A + 1.5
    assert gr.compile(A, fused).why_not("multiply-add", fused).happened


def test_a_question_says_what_did_not_happen() -> None:
    x = gr.vector("x", 3)
    f = gr.compile(x, gr.exp(x))
    with pytest.raises(GraphError, match=r"what did not happen\? Expr does not say\n.*fuse"):
        f.why_not(x, x)  # type: ignore[arg-type]


def test_questions_that_make_no_sense_are_refused() -> None:
    f = gr.compile(A, SINE)
    with pytest.raises(GraphError, match=r"no rule 'mulone'\n  hint: did you mean mul-one"):
        f.why_not("mulone", SINE)
    with pytest.raises(GraphError, match="'fuse' is asked of two nodes"):
        f.why_not("fuse", SINE)
    with pytest.raises(GraphError, match="'mul-one' is asked of one node"):
        f.why_not("mul-one", SINE, SINE)


@pytest.mark.parametrize("name", sorted(RULES))
def test_the_condition_of_every_rule_can_be_told(name: str) -> None:
    """On operands that no rule is made for, of as many as its operation takes."""
    rule = RULES[name]
    x, y, z = (gr.matrix(n, 3, 3, dtype="float64") for n in "xyz")
    for node in (x + y, gr.where(gr.less(x, y), y, z), gr.sum(x, 0), gr.tanh(x), x @ y):
        if not rule.concerns(node.op.name, [a.op.name for a in node.args]):
            continue
        told = failed_condition(rule, node, node.args)
        if rule.apply(node, *node.args) is None:
            assert told is not None
            assert re.search(r".+  \(\w+\.py:\d+\)$", told)
        else:
            assert told is None
    assert TensorType(float64, (3, 3)) == x.type


# why_not: equal nodes -------------------------------------------------------------------------

M = gr.matrix("m", 3, 4, dtype="float64")

DIFFERENCES = {
    "operations": (gr.sin(A), gr.cos(A), "is sin, cos .* is cos"),
    "inputs": (gr.sin(A), gr.sin(vector("b")), r"operand 0 of both: a .* and b .* two inputs"),
    "constants": (A * 2.0, A * 3.0, r"operand 1 of both: .*value 2.0 and 3.0"),
    "axes": (gr.sum(M, 0), gr.sum(M, 1), r"sum with other constants: axes \(0,\) and \(1,\)"),
    "deep down": (
        gr.exp(gr.tanh(A + 1.0)), gr.exp(gr.tanh(A + 4.0)),
        "operand 0 of both: operand 0: operand 1: .*value 1.0 and 4.0",
    ),
    "order": (A - SINE, SINE - A, "operand 0 of both: a .* is input, sin .* is sin"),
}  # fmt: skip


@pytest.mark.parametrize("case", DIFFERENCES)
def test_the_first_difference_of_two_nodes_is_told(case: str) -> None:
    a, b, expected = DIFFERENCES[case]
    leaves = [n for n in topological([a, b]) if n.op.name == "input"]
    found = reasons(gr.compile(leaves, [a, b]), "cse", a, b)
    assert re.search(expected, found), found


def test_nodes_that_became_one_are_told_with_the_stage() -> None:
    a, b = gr.exp(A), gr.exp(A)
    c = gr.log(gr.exp(SINE))
    f = gr.compile(A, [a + b, c * SINE])
    assert f.why_not("cse", a, b).reasons[0].startswith("they are one node since cse: exp")
    answer = f.why_not("cse", c, SINE)
    assert answer.happened
    assert answer.reasons[0].startswith("they are one node since stabilize, by log-of-exp: sin")
    assert "is log" in answer.reasons[1]
    assert f.why_not("cse", a, a).reasons == ("they are one node",)


@pytest.mark.parametrize("which", [None, 3, []])
def test_a_node_is_an_expression_or_a_name(which):
    x = gr.vector("x", 3)
    f = gr.compile(x, gr.sin(x))
    for ask in (f.why, lambda node: f.why_not("mul-one", node)):
        with pytest.raises(GraphError, match="a node is an expression or a name, not"):
            ask(which)
