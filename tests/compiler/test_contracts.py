"""Contracts: what holds is reported, what does not is explained."""

from __future__ import annotations

import re

import numpy as np
import pytest

import graphc as gr
from graphc.errors import CompileError, ContractError, GraphError
from graphc.inspect.tables.cost import gradient_cost_ratio
from graphc.types import evaluate_size
from scalar_graphs import bodies


def network() -> tuple[list[gr.Expr], gr.Expr, list[gr.Expr]]:
    """Inputs, loss and weights of two layers."""
    x, t = gr.tensor("x", ("n", 20)), gr.tensor("t", ("n", 5))
    weights = [gr.tensor("W1", (20, 30)), gr.tensor("W2", (30, 5))]
    with gr.scope("hidden"):
        h = gr.tanh(x @ weights[0])
    with gr.scope("error"):
        loss = gr.sum(gr.square(h @ weights[1] - t)).named("loss")
    return [x, t, *weights], loss, weights


def compiled(*contracts: object, **options: object) -> gr.CompiledFunction:
    inputs, loss, weights = network()
    return gr.compile(
        inputs, [loss, *gr.grad(loss, weights)], contracts=list(contracts), **options
    )


# What holds -----------------------------------------------------------------------------------


def test_kept_contracts_are_measured_and_reported() -> None:
    f = compiled(
        gr.assert_cost(grad_to_forward=4.0),
        gr.assert_cost(grad_to_forward=4, n=1000),
        gr.assert_workspace(1_000_000, n=100),
    )
    first, second, third = f.contracts
    ratios = [gradient_cost_ratio(f.snapshots[-1].graph, sizes) for sizes in ({}, {"n": 1000})]
    assert first.measured == f"{ratios[0]:.2f} at n = 64"
    assert second.measured == f"{ratios[1]:.2f}"
    assert second.name == "assert_cost(grad_to_forward=4.0, n=1000)"
    workspace = evaluate_size(f.program.workspace, {"n": 100})
    assert third.measured.replace(" ", "") == str(workspace)
    assert third.promise == "<= 1 000 000 bytes"
    text = str(f.report())
    assert re.search(r"assert_workspace\(max_bytes=1000000, n=100\) +<= 1 000 000 bytes", text)
    assert f.report().to_dict()["contracts"][0] == {
        "name": "assert_cost(grad_to_forward=4.0)",
        "promise": "<= 4",
        "measured": first.measured,
    }
    assert "contracts" in f.report()._repr_html_()
    assert "contracts" not in [t for t, _ in compiled().report()._tables()]


def test_the_bound_itself_is_allowed() -> None:
    f = compiled(gr.assert_workspace(10**9, n=7))
    exact = int(f.contracts[0].measured.replace(" ", ""))
    assert compiled(gr.assert_workspace(exact, n=7)).contracts
    with pytest.raises(ContractError):
        compiled(gr.assert_workspace(exact - 1, n=7))


def test_a_function_without_derivatives_costs_its_forward_part() -> None:
    x = gr.vector("x", 8)
    kept = gr.assert_cost(grad_to_forward=1.0)
    assert gr.compile(x, gr.sin(x), contracts=[kept]).contracts[0].measured == "1.00"
    assert gr.compile(x, x, contracts=[kept]).contracts[0].measured == "1.00"


def test_regions_of_one_kernel() -> None:
    x = gr.matrix("x", "n", 8)
    with gr.scope("one"):
        a = gr.softmax(gr.tanh(x) * 1 + 0.5)
    with gr.scope("two"):
        b = gr.exp(a) - 1.0
    f = gr.compile(
        x,
        [b, gr.grad(gr.sum(b), x)],
        contracts=[
            gr.assert_one_kernel("one"),
            gr.assert_one_kernel("two"),
            gr.assert_one_kernel([a, b]),
            gr.assert_one_kernel(b),
        ],
    )
    names = {kept.measured for kept in f.contracts}
    assert len(names) == 1
    assert names <= {k.name for k in f.program.kernels}


def test_each_use_of_a_scope_is_a_region() -> None:
    x = gr.matrix("x", "n", 8)

    def part(x: gr.Expr) -> gr.Expr:
        with gr.scope("part"):
            return gr.exp(x) * 2

    f = gr.compile(x, part(gr.cumsum(part(x), 0)), contracts=[gr.assert_one_kernel("part")])
    assert len(set(f.contracts[0].measured.split(", "))) == 2


def test_loops_over_pieces_do_not_hide_the_forward_part() -> None:
    inputs, value = bodies(6000)
    outputs = [value, *gr.grad(value, inputs)]
    f = gr.compile(inputs, outputs, contracts=[gr.assert_cost(grad_to_forward=4.0)])
    assert any(s.stage == "roll" for s in f.snapshots)
    assert 1.5 < float(f.contracts[0].measured) < 4
    assert f.contracts[0].measured == f"{f.report().gradient_cost_ratio:.2f}"


# What does not --------------------------------------------------------------------------------


def test_too_much_work_names_the_lines_with_the_costliest_derivatives() -> None:
    with pytest.raises(ContractError) as caught:
        compiled(gr.assert_cost(grad_to_forward=1.5, n=100))
    text = str(caught.value)
    assert text.startswith("f: assert_cost(grad_to_forward=1.5, n=100) does not hold")
    assert "expected  all flops / forward flops <= 1.5" in text
    (found,) = re.findall(r"found +(\d+\.\d\d)\n", text)
    assert float(found) > 1.5
    first = next(line for line in text.splitlines() if "flops: d of" in line)
    assert re.search(r"test_contracts.py:\d+  .*(h @ weights|x @ weights)", first)
    assert "hint: f.why(node)" in text


def test_too_much_memory_names_the_largest_buffers() -> None:
    with pytest.raises(ContractError) as caught:
        compiled(gr.assert_workspace(1000, n=100))
    text = str(caught.value)
    assert "expected  at most 1 000 bytes of workspace" in text
    sizes = [int(n.replace(" ", "")) for n in re.findall(r"buffer +([\d ]+) bytes", text)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 100 * 30 * 4
    assert re.search(r"buffer .* bytes: \w+, \w+ \(test_contracts.py:\d+\)", text)


def test_several_kernels_are_named_with_what_keeps_them_apart() -> None:
    x = gr.matrix("x", "n", 8)
    with gr.scope("centre"):
        y = gr.tanh(x)
        centred = y - y.sum(0)
    with pytest.raises(ContractError) as caught:
        gr.compile(x, centred, contracts=[gr.assert_one_kernel("centre")])
    text = str(caught.value)
    assert "assert_one_kernel('centre') does not hold\n  expected  one kernel" in text
    assert re.search(r"found +k0, k1", text)
    assert re.search(r"k1 +sub \(test_contracts.py:\d+\)", text)
    assert "because   the reduction is complete only after its kernel" in text
    assert 'hint: f.why_not("fuse", a, b)' in text


def test_a_region_that_computes_nothing_has_no_kernel() -> None:
    x = gr.vector("x", 3)
    with pytest.raises(ContractError, match=r"found     none\n.*nothing is computed there"):
        gr.compile(x, gr.sin(x), contracts=[gr.assert_one_kernel(x)])


def test_what_cannot_be_checked_is_refused() -> None:
    with pytest.raises(
        GraphError, match=r"depends on n\n.*\n  hint: .*assert_workspace\(10, n="
    ):
        compiled(gr.assert_workspace(10))
    with pytest.raises(GraphError, match=r"has no size 'm'\n  hint: symbolic sizes: n"):
        compiled(gr.assert_cost(grad_to_forward=4.0, m=3))
    with pytest.raises(GraphError, match=r"no scope 'hiden'\n  hint: did you mean 'hidden'\?"):
        compiled(gr.assert_one_kernel("hiden"))
    with pytest.raises(GraphError, match="the backend 'interpret' makes no kernels"):
        compiled(gr.assert_one_kernel("hidden"), backend="interpret")
    with pytest.raises(GraphError, match="has no such node"):
        compiled(gr.assert_one_kernel(gr.sin(gr.vector("z", 3))))


def test_contracts_that_say_nothing_are_refused() -> None:
    with pytest.raises(GraphError, match="grad_to_forward is positive, not 0"):
        gr.assert_cost(grad_to_forward=0)
    with pytest.raises(GraphError, match="grad_to_forward is positive, not '4'"):
        gr.assert_cost(grad_to_forward="4")
    with pytest.raises(GraphError, match="max_bytes is a number of bytes, not '1 MB'"):
        gr.assert_workspace("1 MB")
    for size in (-5, 1.5, "5", None):
        with pytest.raises(GraphError, match=f"the size n is a whole number, not {size!r}"):
            gr.assert_workspace(10, n=size)
        with pytest.raises(GraphError, match=f"the size n is a whole number, not {size!r}"):
            gr.assert_cost(grad_to_forward=4.0, n=size)
    for region in ([], None, 3, ["hidden"]):
        with pytest.raises(GraphError, match="is no part of a graph"):
            gr.assert_one_kernel(region)
    for wrong in ([3], gr.assert_cost(grad_to_forward=4.0), [gr.assert_cost]):
        with pytest.raises(CompileError, match="contracts is a list of contracts"):
            gr.compile(gr.vector("x", 3), None, contracts=wrong)


def test_numbers_of_numpy_are_numbers() -> None:
    kept = gr.assert_workspace(np.int64(10**6), n=np.int32(100))
    assert str(compiled(kept).contracts[0].name) == "assert_workspace(max_bytes=1000000, n=100)"


def test_contracts_do_not_change_what_is_computed() -> None:
    x = gr.vector("x", "n", dtype="float64")
    y = gr.sum(gr.tanh(x) * x)
    outputs = [y, gr.grad(y, x)]
    kept = [gr.assert_cost(grad_to_forward=4.0), gr.assert_workspace(10**6, n=100)]
    values = np.linspace(-1, 1, 7)
    for a, b in zip(
        gr.compile(x, outputs, contracts=kept)(values),
        gr.compile(x, outputs)(values),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
