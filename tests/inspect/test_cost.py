"""The cost model against counts by hand, and the report."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest

import graphc as gr
from graphc.expr import topological
from graphc.inspect.subject import derivative_orders
from graphc.inspect.tables.cost import Cost, cost, forward_nodes, gradient_cost_ratio, node_cost
from graphc.inspect.tables.report import Report
from graphc.options import Options
from graphc.types import symbol

N = symbol("batch")


def compiled(loss, parameters, **options):
    inputs = [n for n in topological([loss]) if n.op.name == "input"]
    gradients = gr.grad(loss, parameters)
    updates = {p: p - 0.1 * g for p, g in zip(parameters, gradients, strict=True)}
    return gr.compile(inputs, loss, updates, name="step", **options)


def test_node_costs():
    x, w = gr.tensor("x", ("batch", 784)), gr.tensor("w", (784, 500))
    assert node_cost(x) == Cost(0, 0)
    assert node_cost(x @ w) == Cost(2 * 784 * 500 * N, 4 * (784 * N + 784 * 500 + 500 * N))
    assert node_cost(x + x) == Cost(784 * N, 4 * 2 * 784 * N)
    assert node_cost(x.sum()) == Cost(784 * N, 4 * 784 * N + 4)
    assert node_cost(gr.reshape(x, (N * 784,))) == Cost(0, 0)
    assert node_cost(x.T) == Cost(0, 4 * 2 * 784 * N)
    assert node_cost(gr.exp(x)).flops == 10 * 784 * N
    batched = gr.einsum("bij,bjk->bik", *(gr.tensor(n, ("batch", 3, 3)) for n in "pq"))
    assert node_cost(batched).flops == 2 * 27 * N


def test_perceptron_flops(mlp):
    loss, parameters = mlp(784, 500, 500, 10)
    products = 2 * (784 * 500 + 500 * 500 + 500 * 10)
    additions = 500 + 500 + 10
    relus = 2 * 500 * 2  # a comparison and a choice
    softmax = 14 * 10 + 10 + 10 + 1 + 1  # logsumexp, product, sum, difference, mean
    assert cost(loss).flops == (products + additions + relus + softmax) * N + 4
    gradients = gr.cse([loss, *gr.grad(loss, parameters)])
    extra = 2 * products - 2 * 784 * 500  # no gradient for the input
    ratio = gradient_cost_ratio(gradients, {"batch": 10**6})
    assert ratio == pytest.approx(1 + extra / products, rel=0.01)
    assert cost(gradients).at({"batch": 1}).flops > 2_000_000


def test_forward_part_leaves_out_what_depends_on_derivatives(lsq):
    loss, w = lsq
    gradient = gr.grad(loss, w)
    update = w - 0.1 * gradient
    nodes = topological([loss, update])
    forward = forward_nodes(nodes)
    assert set(topological([loss])) <= set(forward)
    assert update not in forward
    assert gradient not in forward
    assert gradient_cost_ratio(loss) == 1.0


def test_orders_of_derivatives_follow_the_chain_of_origins():
    x = gr.scalar("x")
    y = gr.sin(x) * x
    first = gr.grad(y, x)
    second = gr.grad(first, x)
    orders = derivative_orders(topological([y, first, second]))
    assert [orders[n] for n in (y, first, second)] == [0, 1, 2]


def test_report_of_a_training_step(mlp):
    loss, parameters = mlp(20, 10, 5)
    step = compiled(loss, parameters)
    report = step.report()
    data = json.loads(json.dumps(report.to_dict()))
    stages = [s["stage"] for s in data["stages"]]
    assert stages[:3] == ["cse", "fold", "simplify"]
    assert "loops" in stages
    graphs = [s for s in data["stages"] if "nodes_after" in s]
    assert graphs[0]["nodes_before"] == step.snapshots[0].nodes
    for before, after in pairwise(graphs):
        assert before["nodes_after"] == after["nodes_before"]
    assert len(data["kernels"]) == len(step.program.kernels)
    assert data["flops"] == str(sum((k.flops for k in step.program.kernels), 0))
    assert 1.5 < data["gradient_cost_ratio"] < 5
    text = str(report)
    assert text.startswith("step\n\nstage")
    for kernel in step.program.kernels:
        assert kernel.label in text
    assert "mul-one 1" in text
    assert "abs'(0) = 0" in text
    assert "(at batch = 64)" in text


def test_report_lists_error_bounds_of_the_functions_used(mlp):
    loss, parameters = mlp(20, 10, 5)
    step = compiled(loss, parameters)
    bounds = {"exp": (1.5, 1.25), "sin": (2.0, 2.0)}
    report = Report(
        "step", step.snapshots, step.program, step.timings, step.options, ulp_bounds=bounds
    )
    assert report.used_bounds == {"exp": (1.5, 1.25)}
    assert re.search(r"^exp +1.5 +1.25$", str(report), re.MULTILINE)


def test_report_of_an_interpreted_function(lsq):
    loss, _ = lsq
    inputs = [n for n in topological([loss]) if n.op.name == "input"]
    f = gr.compile(inputs, loss, backend="interpret")
    data = Report("f", f.snapshots, None, {}, Options()).to_dict()
    assert (data["kernels"], data["workspace"]) == ([], 0)
    assert data["flops"] == str(cost(loss).flops)
    assert data["gradient_cost_ratio"] == 1.0


def test_report_without_work_has_no_ratio():
    x = gr.scalar("x")
    f = gr.compile(x, x, backend="interpret")
    assert Report("f", f.snapshots).to_dict()["gradient_cost_ratio"] is None


def test_reports_in_notebooks_are_escaped(lsq):
    loss, _ = lsq
    inputs = [n for n in topological([loss]) if n.op.name == "input"]
    f = gr.compile(inputs, loss, backend="interpret")
    page = Report("<script>", f.snapshots)._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<table>") == 1
