"""Where nodes come from, what became of them, and the kernels that compute them."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import graphc as gr
from compiler.random_graphs import graphs
from graphc.expr import topological
from graphc.inspect.history.kernel_map import KernelMap
from graphc.inspect.history.lineage import lineage_of
from graphc.inspect.history.provenance import history, kernel_of, rules_of
from graphc.interpret import bind_sizes, evaluate
from graphc.pipeline import GRAPH_STAGES


def vector(name: str = "x", size: int | str = 3) -> gr.Expr:
    return gr.vector(name, size, dtype="float64")


def rules(node: gr.Expr, function: gr.CompiledFunction | None = None) -> list[str]:
    return [s.rule for s in history(node, function).steps]


def kinds(node: gr.Expr, function: gr.CompiledFunction | None = None) -> list[str]:
    return [s.kind for s in history(node, function).steps]


# Derivatives ----------------------------------------------------------------------------------

X, Y = vector("x"), vector("y")
A, B = (gr.matrix(n, 3, 3, dtype="float64") for n in "ab")

TWO_OPERANDS = {
    "mul": (gr.multiply, X, Y),
    "div": (gr.divide, X, Y),
    "pow": (gr.power, X, Y),
    "atan2": (gr.atan2, X, Y),
    "logaddexp": (gr.logaddexp, X, Y),
    "contract": (gr.matmul, A, B),
    "maximum": (gr.maximum, X, Y),
    "concatenate": (lambda x, y: gr.concatenate([x, y]), X, Y),
}


def of_operand(made: gr.Expr, op: str) -> set[str]:
    """The rules of an operation's derivative among the nodes of a derivative."""
    found = {s.rule for n in topological([made]) for s in history(n).steps}
    return {rule for rule in found if rule.startswith(f"d {op}")}


@pytest.mark.parametrize("op", TWO_OPERANDS)
@pytest.mark.parametrize("place", [0, 1])
def test_reverse_mode_names_the_operand(op: str, place: int) -> None:
    function, *operands = TWO_OPERANDS[op]
    y = function(*(gr.tanh(x) for x in operands))
    slope = gr.grad(gr.sum(gr.tanh(y)), operands[place])
    found = of_operand(slope, op)
    assert f"d {op}/d {place}" in found
    assert not [r for r in found if r.startswith(f"d {op}/d ") and r[-1] != str(place)]


def test_sums_over_repeated_operands_belong_to_the_operand() -> None:
    bias = vector("bias")
    y = gr.sum(gr.tanh(A + bias))
    assert rules(gr.grad(y, bias)) == ["add", "d add/d 1"]
    assert gr.grad(y, bias).op.name == "sum"


@pytest.mark.parametrize("op", ["mul", "div", "pow", "atan2", "logaddexp"])
@pytest.mark.parametrize("place", [0, 1])
def test_forward_mode_and_textbook_name_the_operand(op: str, place: int) -> None:
    function, *operands = TWO_OPERANDS[op]
    y = function(*(gr.tanh(x) for x in operands))
    tangent = gr.jvp(y, operands[place], vector("v"))
    assert f"d {op}/d {place}" in of_operand(tangent, op)
    assert f"d {op}/d {place}" in of_operand(gr.diff(y, operands[place]), op)


def test_copies_still_know_their_operand() -> None:
    x, y = vector(), vector("y")
    _, pullback = gr.vjp(x * gr.sin(y), [x, y])
    for made, place in zip(pullback(vector("ct")), (0, 1), strict=True):
        assert f"d mul/d {place}" in of_operand(made, "mul")
    _, along = gr.linearize(x * gr.sin(y), [x, y])
    assert {"d mul/d 0", "d mul/d 1"} <= of_operand(along([vector("u"), vector("v")]), "mul")


def test_mapped_gradients_stem_from_the_gradient() -> None:
    w, batch = vector("w"), gr.matrix("batch", 5, 3, dtype="float64")
    line = lambda x: gr.grad(gr.sum(gr.tanh(w * x)), w)  # noqa: E731
    each = gr.vmap(line)(batch)
    assert {"d mul/d 0", "d tanh/d 0", "copy", "map"} <= {
        s.rule for n in topological([each]) for s in history(n).steps
    }


def test_a_second_derivative_goes_through_the_first() -> None:
    x = vector()
    y = gr.sum(gr.exp(x) * x)
    second = gr.hvp(y, x, vector("v"))
    chains = [
        [s.kind for s in history(n).steps].count("derivative") for n in topological([second])
    ]
    assert max(chains) >= 2
    for node in topological([second]):
        assert history(node).steps[0].kind == "written"
        assert history(node).forward in set(topological([y])) | {node}


def test_a_users_rule_is_named() -> None:
    x = vector()
    soft = gr.custom_gradient(gr.round, vjp=lambda ct, out, x: 3 * ct)
    slope = gr.grad(gr.sum(soft(x)), x)
    details = [s.detail for n in topological([slope]) for s in history(n).steps]
    assert any("the rule of round" in d for d in details)


def test_the_way_back_ends_at_the_users_line() -> None:
    x = vector()
    y = gr.tanh(x)
    slope = gr.grad(gr.sum(y), x)
    found = history(slope)
    assert found.forward is y
    assert found.line is not None
    assert "gr.tanh(x)" in found.line.text
    assert [s.rule for s in found.steps] == ["tanh", "d tanh/d 0"]
    assert found.kernel is None
    assert rules_of(found) == "tanh: d tanh/d 0"


def test_merges_outside_of_compilation_are_told() -> None:
    x = vector()
    one = gr.exp(x)
    two = gr.exp(x)
    both = gr.cse(one * two)
    (kept,) = set(both.args)
    step = history(kept).steps[-1]
    assert (step.kind, step.rule) == ("merge", "cse")
    assert str(two.source) in step.detail


# Stages ---------------------------------------------------------------------------------------


def test_a_node_of_the_graph_is_followed_to_its_kernel() -> None:
    x = vector(size="n")
    y = gr.log(gr.exp(x) + 0.0) * 1
    f = gr.compile(x, gr.sin(y))
    found = history(y, f)
    shown = [(s.kind, s.stage, s.rule) for s in found.steps]
    assert shown == [
        ("written", "graph", "mul"),
        ("rewrite", "simplify", "mul-one"),
        ("rewrite", "stabilize", "log-of-exp"),
        ("kernel", "loops", "leaf"),
    ]
    assert found.kernel is None
    exp = y.args[0].args[0].args[0]
    gone = history(exp, f).steps[-1]
    assert (gone.stage, gone.rule, gone.node) == ("stabilize", "dead", None)
    assert "was rewritten by log-of-exp" in gone.detail


def test_a_node_of_the_last_stage_is_followed_back() -> None:
    x = vector(size="n")
    y = gr.sigmoid(x) * 2.5
    slope = gr.grad(gr.sum(y), x)
    f = gr.compile(x, [y, slope])
    last = f.snapshots[-1].graph.outputs[1]
    found = history(last, f)
    assert found.steps[0].kind == "written"
    assert found.steps[0].node in set(topological([y]))
    assert any(s.kind == "derivative" for s in found.steps)
    assert found.kernel == f.program.kernels[-1].name


def test_merged_lines_are_named_from_both_sides() -> None:
    x = vector(size="n")
    a = gr.exp(x)
    b = gr.exp(x)
    f = gr.compile(x, [a * 3, b * 4])
    kept, gone = (history(n, f).steps[1] for n in (a, b))
    assert kept.kind == gone.kind == "merge"
    assert kept.detail == f"stands for an equal node of {b.source}"
    assert gone.detail == f"exp ({a.source}), an equal node, stands for it"
    assert kept.node is gone.node


def test_constants_are_numbers_in_the_code_or_folded_into_them() -> None:
    x = vector(size="n")
    three = gr.constant(3.0, "float64")
    four = three + 1
    f = gr.compile(x, gr.sin(x) * four)
    assert rules(four, f) == ["add", "fold-constants", "number"]
    last = history(three, f).steps[-1]
    assert (last.rule, last.stage, last.detail) == ("folded", "fold", "folded into 4")
    assert history(four, f).kernel == "k0"


def test_views_are_read_by_kernels() -> None:
    x = gr.matrix("x", 3, 4, dtype="float64")
    part = x[1:3]
    f = gr.compile(x, gr.exp(part))
    assert history(part, f).steps[-1].rule == "view"
    assert kernel_of(f)[part] == ("k0",)
    assert kernel_of(f)[x] == ()


def test_an_interpreted_function_has_no_kernels() -> None:
    x = vector()
    y = gr.sin(x)
    f = gr.compile(x, y, backend="interpret")
    assert history(y, f).steps[-1].rule == "interpreted"
    assert kernel_of(f) == {x: (), y: ()}


def test_multiply_add_and_what_memory_needs_are_steps() -> None:
    a, b = (gr.matrix(n, 3, 3, dtype="float64") for n in "ab")
    y = a * b + 1.5
    f = gr.compile([a, b], [y, a])
    assert ("rewrite", "multiply-add") in [(s.kind, s.rule) for s in history(y, f).steps]
    copies = [n for n in f.fusion.graph.nodes() if n.op.name == "copy"]
    assert copies
    assert all("copy" in rules(n, f) for n in copies)


def test_large_scalar_graphs_are_followed_into_their_loops() -> None:
    x = gr.scalar("x", dtype="float64")
    y = x
    for _ in range(3000):
        y = gr.sin(y) * x
    f = gr.compile(x, y)
    middle = topological([y])[3001]
    found = history(middle, f)
    assert "roll" in [s.rule for s in found.steps]
    assert found.kernel in {k.name for k in f.program.kernels}
    assert len(str(history(f.snapshots[-1].graph.nodes()[-1], f)).splitlines()) < 20


def test_histories_print_and_are_json() -> None:
    x = vector(size="n")
    with gr.scope("part"):
        y = gr.tanh(x) * 1
    f = gr.compile(x, y)
    found = history(y, f)
    lines = str(found).splitlines()
    assert lines[0].startswith(f"mul ({y.source}): f64[n]  y = gr.tanh(x) * 1  [part]")
    assert [line.split()[:3] for line in lines[1:]] == [
        ["written", "graph", "mul"],
        ["rewrite", "simplify", "mul-one"],
        ["kernel", "loops", "computed"],
    ]
    told = json.loads(json.dumps(found.to_dict()))
    assert told["scope"] == "part"
    assert told["kernel"] == "k0"
    assert told["steps"][1]["node"] == {"op": "tanh", "name": None, "type": "f64[n]"}
    assert found._repr_html_().startswith("<table><caption>mul")


# Every node of every stage --------------------------------------------------------------------

_COUNT = int(os.environ.get("GRAPHC_EXAMPLES", "0"))


@given(graphs())
@settings(
    max_examples=_COUNT or 15,
    derandomize=not _COUNT,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_every_node_of_every_stage_is_accounted_for(graph) -> None:
    f = gr.compile(graph.inputs, graph.outputs, graph.updates)
    names = {k.name for k in f.program.kernels}
    mapping = kernel_of(f)
    written = {n for s in f.snapshots[:1] for n in s.graph.nodes()}
    for snapshot in f.snapshots:
        for node in snapshot.graph.nodes():
            found = history(node, f)
            assert found.steps[0].kind == "written", snapshot.stage
            assert found.steps[-1].kind == "kernel"
            assert set(mapping[node]) <= names
            built = [s.node for s in found.steps if s.stage == "graph"]
            assert written & set(built) or snapshot.graph is f.graph
    computed = {k for kernels in mapping.values() for k in kernels}
    assert {k for k in names if not k.endswith("_commit")} <= computed
    _check_values(graph, f)


def _check_values(graph, f) -> None:
    """What stands for a node has its value."""
    values = dict(zip(graph.inputs, graph.arrays, strict=True))
    values |= {p: p.value for p in graph.parameters}
    sizes = bind_sizes(values)
    lineage = lineage_of(f)
    pairs = [(n, lineage.end(n)) for n in f.graph.nodes()]
    kept = [(n, end) for n, end in pairs if end is not None and n.dtype.is_float]
    before = evaluate([n for n, _ in kept], values, sizes)
    after = evaluate([end for _, end in kept], values, sizes)
    for (node, end), a, b in zip(kept, before, after, strict=True):
        scale = 1e-3 if node.dtype.itemsize == 4 else 1e-9
        np.testing.assert_allclose(a, b, scale, scale, err_msg=f"{node!r} {end!r}")


@pytest.mark.parametrize("skip", [s.name for s in GRAPH_STAGES if s.optional] + ["fuse"])
def test_every_stage_can_be_left_out(skip: str) -> None:
    x = gr.matrix("x", 4, 3, dtype="float64")
    y = gr.mean(gr.log(gr.exp(x) + 0.0) * gr.softmax(x) + 1)
    f = gr.compile(x, [y, gr.grad(y, x)], skip=skip)
    for snapshot in f.snapshots:
        for node in snapshot.graph.nodes():
            assert history(node, f).steps[0].kind == "written"
            assert history(node, f).steps[-1].kind == "kernel"


def test_kernels_of_a_fused_graph_cover_the_program() -> None:
    x = gr.matrix("x", "n", 8, dtype="float64")
    y = gr.softmax(x) @ x.T
    f = gr.compile(x, gr.sum(gr.cumsum(y, 0) * y, 1))
    kernels = KernelMap(f.fusion, f.program)
    found = {name for names in kernels.inside.values() for name in names}
    assert found == {k.name for k in f.program.kernels}


# Whole matrices -------------------------------------------------------------------------------

M = gr.matrix("m", 3, 3, dtype="float64")
V = gr.tanh(M @ X)
SUM = gr.sum(V * X)

WHOLE = {
    "jacobian by forward": lambda: (V, gr.jacobian(V, X, mode="forward")),
    "jacobian by reverse": lambda: (V, gr.jacobian(V, M, mode="reverse")),
    "sparse jacobian": lambda: (V, gr.jacobian(V, X, sparse=True).values),
    "hessian": lambda: (SUM, gr.hessian(SUM, X)),
    "mixed block": lambda: (SUM, gr.hessian(SUM, [X, M])[1][0]),
    "sparse hessian": lambda: (SUM, gr.hessian(SUM, X, sparse=True).values),
    "hvp": lambda: (SUM, gr.hvp(SUM, X, [1.0, 2.0, 3.0])),
    "linearize": lambda: (V, gr.linearize(V, X)[1]([1.0, 2.0, 3.0])),
}


@pytest.mark.parametrize("name", WHOLE)
def test_every_node_of_a_matrix_of_derivatives_is_known_as_derivative(name: str) -> None:
    function, made = WHOLE[name]()
    written = set(topological([function]))
    added = [n for n in topological([made]) if n not in written and n.args]
    assert added
    for node in added:
        assert node.origin is not None, node
        assert "derivative" in kinds(node), node


def test_a_hessian_tells_how_it_was_made() -> None:
    y = gr.sum(gr.tanh(X) * Y).named("y")
    whole = history(gr.hessian(y, X))
    assert [s.rule for s in whole.steps][-2:] == [
        "d hessian by forward over reverse",
        "d hessian, made symmetric",
    ]
    assert whole.steps[-1].detail.startswith("the Hessian of y (")
    assert whole.steps[-1].detail.endswith("), made symmetric")
    assert "part of the Jacobian of" in " ".join(s.detail for s in whole.steps)


# Listings -------------------------------------------------------------------------------------


def test_listings_show_rules_and_kernels_when_asked() -> None:
    x = vector(size="n")
    y = gr.sum(gr.tanh(x) * 1)
    f = gr.compile(x, [y, gr.grad(y, x)])
    plain, told = gr.show(f), gr.show(f, origin=True)
    assert "k0" not in plain
    lines = [line for line in told.splitlines() if "d tanh/d 0" in line]
    assert lines
    assert all(line.endswith("k0") for line in lines)
    before = gr.show(f, stage="input", origin=True)
    assert any("mul: mul-one" in line for line in before.splitlines())
    folded = gr.show(gr.grad(gr.mean(gr.tanh(x)), x), scopes="folded", origin=True)
    assert "tanh: d tanh/d 0" in folded
    assert "d mean(" in folded


def test_pictures_name_rules_and_kernels_in_tooltips() -> None:
    x = vector(size="n")
    y = gr.sum(gr.tanh(x))
    f = gr.compile(x, gr.grad(y, x))
    svg = gr.draw(f).svg
    assert "made by tanh: d tanh/d 0" in svg
    assert "\nkernel k0" in svg
