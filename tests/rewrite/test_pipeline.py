"""The stages together: values of random graphs, strict mode, large graphs, bookkeeping."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import graphc as gr
from graphc.errors import ShapeError
from graphc.expr import Expr, topological
from graphc.functions import activations, losses
from graphc.graph import Graph
from graphc.interpret import evaluate
from graphc.ops import elementwise as ew
from graphc.options import Options
from graphc.pipeline import GRAPH_STAGES, Snapshot, run_stages
from graphc.rewrite import RULES
from graphc.rewrite.engine import Rewriting, allowed
from graphc.types import broadcast_shapes
from rewrite.test_rules import SPECIALS, assert_same_bits

OPTIONAL = [s.name for s in GRAPH_STAGES if s.optional]

#: What a graph has after the last stage, besides elementwise operations and leaves.
LOOP_OPS = set(
    "sum prod max min any all argmax argmin cumsum cumprod reshape transpose broadcast_to slice"
    " pad concatenate gather scatter_add contract".split()
)


def stages(outputs: Sequence[Expr], **options: Any) -> list[Snapshot]:
    inputs = tuple(n for n in topological(outputs) if n.op.name == "input")
    return run_stages(Graph(inputs, tuple(outputs)), Options(verify=True, **options))


# Random graphs --------------------------------------------------------------------------------

SMOOTH = [
    lambda x, y: x + y,
    lambda x, y: x - y,
    lambda x, y: x * y,
    lambda x, y: -x,
    lambda x, y: x * 2.0 - 1.0,
    lambda x, y: 3.0 - x / 4.0,
    lambda x, y: gr.tanh(x),
    lambda x, y: gr.square(gr.sigmoid(x)),
    lambda x, y: 1 / (1 + gr.exp(-x)),
    lambda x, y: gr.log(1 + gr.exp(x)),
    lambda x, y: gr.log(gr.softmax(x, -1)) if x.ndim else x,
    lambda x, y: gr.exp(x) / gr.sum(gr.exp(x), -1, keepdims=True) if x.ndim else x,
    lambda x, y: gr.softmax(x, -1) * y if x.ndim else x,
    lambda x, y: gr.logsumexp(x, 0, keepdims=True) + y if x.ndim else x,
    lambda x, y: x / (1 + gr.square(y)),
    lambda x, y: gr.sum(x, 0) if x.ndim else x,
    lambda x, y: gr.mean(x * y),
    lambda x, y: gr.max(x, -1, keepdims=True) if x.ndim else x,
    lambda x, y: gr.maximum(x, y),
    lambda x, y: gr.maximum(gr.maximum(x, 0.0), 0.0),
    lambda x, y: gr.broadcast_to(x, (2, *x.shape))[0],
    lambda x, y: x.T,
    lambda x, y: x.reshape((x.size,)) if x.ndim else x,
    lambda x, y: gr.flip(x) if x.ndim else x,
    lambda x, y: gr.norm(x + 4.0, -1) if x.ndim else x,
    lambda x, y: gr.where(gr.equal(gr.iota(x.shape, 0), 1), x, 0.0) if x.ndim else x,
    lambda x, y: gr.einsum("ij,kj->ki", x, x) if x.ndim == 2 else x,
    lambda x, y: x.T @ x if x.ndim == 2 else x * x,
    lambda x, y: gr.pad(x, 1)[tuple(slice(1, -1) for _ in x.shape)] if x.ndim else x,
    lambda x, y: gr.concatenate([x, x])[: x.shape[0]] if x.ndim else x,
]


def fits(x: Expr, y: Expr) -> bool:
    try:
        broadcast_shapes(x.shape, y.shape)
    except ShapeError:
        return False
    return True


def build(leaves: list[Expr], steps: list[tuple[int, int, int]], table: Any) -> list[Expr]:
    pool = list(leaves)
    for what, i, j in steps:
        x, y = pool[i % len(pool)], pool[j % len(pool)]
        pool.append(table[what % len(table)](x, y if fits(x, y) else x))
    return pool[-3:]


STEPS = st.lists(st.tuples(*[st.integers(0, 200)] * 3), min_size=1, max_size=14)
SKIP = st.sets(st.sampled_from(OPTIONAL)).map(frozenset)
QUICK = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def leaves(dtype: str, rows: int | str = 3) -> list[Expr]:
    shapes = {"a": (rows, 4), "b": (rows, 4), "r": (1, 4), "v": (4,), "s": ()}
    return [gr.tensor(name, shape, dtype) for name, shape in shapes.items()]


@QUICK
@given(
    steps=STEPS,
    skip=SKIP,
    seed=st.integers(0, 99),
    with_gradient=st.booleans(),
    rows=st.sampled_from([3, "n"]),
)
def test_values_are_kept(
    steps: list[tuple[int, int, int]],
    skip: frozenset[str],
    seed: int,
    with_gradient: bool,
    rows: int | str,
) -> None:
    inputs = leaves("float64", rows)
    outputs = build(inputs, steps, SMOOTH)
    if with_gradient:
        total = gr.sum(gr.tanh(outputs[-1]))
        outputs += gr.grad(total, inputs, unused="zero")
    rng = np.random.default_rng(seed)
    values = {x: rng.normal(size=[3 if s == rows else s for s in x.shape]) for x in inputs}
    everything = evaluate(topological(outputs), values)
    largest = max(
        [1.0, *(np.abs(v).max() for v in everything if v.size and v.dtype.kind == "f")]
    )
    assume(largest < 1e6)
    expected = evaluate(outputs, values)
    for snapshot in stages(outputs, skip=skip):
        assert "stopped" not in snapshot.fired
        for one, two in zip(expected, evaluate(snapshot.graph.roots, values), strict=True):
            np.testing.assert_allclose(
                two, one, rtol=1e-9, atol=1e-11 * largest, err_msg=snapshot.stage
            )


#: Operations whose NumPy result does not depend on how operands lie in memory.
PLAIN = [
    lambda x, y: x + y,
    lambda x, y: x - y,
    lambda x, y: x * y,
    lambda x, y: x / y,
    lambda x, y: -x,
    lambda x, y: abs(x),
    lambda x, y: gr.square(x),
    lambda x, y: gr.sqrt(x),
    lambda x, y: x * 1 + 0.0,
    lambda x, y: (x - 0.0) / 1,
    lambda x, y: 2.0 * x * 3.0,
    lambda x, y: x / 3.0 / 7.0,
    lambda x, y: gr.maximum(x, y),
    lambda x, y: gr.where(x < y, x, -y),
    lambda x, y: gr.where(gr.isnan(x), 0.0, x),
    lambda x, y: gr.reciprocal(x),
    lambda x, y: gr.round(gr.floor(x)),
    lambda x, y: x.T,
    lambda x, y: x.reshape((x.size,)),
    lambda x, y: gr.broadcast_to(x, (2, *x.shape))[1],
    lambda x, y: gr.flip(x) if x.ndim else x,
    lambda x, y: gr.max(x, 0) if x.ndim else x,
    lambda x, y: gr.cumsum(x, 0) if x.ndim else x,
    lambda x, y: gr.concatenate([x, -x])[: x.shape[0]] if x.ndim else x,
]


@QUICK
@given(steps=STEPS, skip=SKIP, seed=st.integers(0, 99))
def test_strict_keeps_every_bit(
    steps: list[tuple[int, int, int]], skip: frozenset[str], seed: int
) -> None:
    inputs = leaves("float32")
    outputs = build(inputs, steps, PLAIN)
    rng = np.random.default_rng(seed)
    values = {x: rng.choice(SPECIALS, x.shape).astype("float32") for x in inputs}
    expected = evaluate(outputs, values)
    for snapshot in stages(outputs, math="strict", skip=skip):
        for one, two in zip(expected, evaluate(snapshot.graph.roots, values), strict=True):
            assert_same_bits(one, two)


@QUICK
@given(steps=STEPS)
def test_only_operations_of_loops_are_left(steps: list[tuple[int, int, int]]) -> None:
    last = stages(build(leaves("float32"), steps, SMOOTH))[-1].graph
    for node in last.nodes():
        assert node.op.family in ("elementwise", "leaf") or node.op.name in LOOP_OPS
        if node.op.name == "contract":
            left, right = (set(t) for t in node.attrs["subscripts"].split("->")[0].split(","))
            assert left != right
            assert (left | right) - set(node.attrs["subscripts"].split("->")[1])


#: Where a rewrite could turn a careful zero or limit into NaN.
POINTS = [0.0, 1.0, 0.5, 3.0, 6.0, 1e-3, 1e-20, 1e-42, 20.0, 88.0, 89.0, 104.0, 1e4, 1e20, 1e37]
POINTS += [-p for p in POINTS] + [np.inf, -np.inf, np.nan]
ACTIVATIONS = (
    "relu leaky_relu relu6 hard_tanh hard_sigmoid hard_swish sigmoid log_sigmoid softplus"
    " softsign elu selu gelu silu mish sinc absolute_rectifier softmax log_softmax"
).split()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_keep_values_and_derivatives(name: str, dtype: str) -> None:
    x = gr.vector("x", len(POINTS), dtype)
    y = getattr(activations, name)(x)
    outputs = [y, gr.grad(gr.sum(y), x)]
    values = {x: np.array(POINTS, dtype)}
    tolerance = 4e-6 if dtype == "float32" else 1e-13
    expected = evaluate(outputs, values)
    for snapshot in stages(outputs):
        for one, two in zip(expected, evaluate(snapshot.graph.roots, values), strict=True):
            np.testing.assert_allclose(two, one, rtol=tolerance, atol=tolerance * 1e-2)


@pytest.mark.parametrize("target", [0.0, 0.25, 1.0])
def test_binary_cross_entropy_of_probabilities(target: float) -> None:
    """s * (1 - s) / (1 - s), the divisor inside a select: both differences must round alike."""
    z = gr.vector("z", 9)
    loss = losses.binary_cross_entropy(gr.sigmoid(z), target, reduction="sum")
    gradient = gr.grad(loss, z)
    (after,) = stages([gradient])[-1].graph.roots
    values = {z: np.linspace(-12, 12, 9, dtype="float32")}
    (found,) = evaluate([after], values)
    wide = values[z].astype("float64")
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-wide)) - target, rtol=1e-5, atol=1e-7)


# Bookkeeping ----------------------------------------------------------------------------------


def test_rewritten_nodes_keep_line_and_scope() -> None:
    x, y = gr.vector("x", 3), gr.vector("y", 3)
    with gr.scope("block"):
        made = x - -y
    (after,) = stages([made])[-1].graph.roots
    assert after.op is ew.add
    assert after.source == made.source
    assert after.scope is made.scope
    assert after.origin is not None
    assert after.origin.rule == "rewrite:sub-neg"


def test_names_are_kept() -> None:
    x, y = gr.vector("x", 3), gr.vector("y", 3)
    (after,) = stages([(x - -y).named("total")])[-1].graph.roots
    assert after.name == "total"


def test_a_name_does_not_make_a_new_leaf() -> None:
    x = gr.vector("x", 3)
    (after,) = stages([gr.negative(-x).named("same")])[-1].graph.roots
    assert after is x


def test_rules_are_counted() -> None:
    x = gr.vector("x", 3)
    fired = {s.stage: s.fired for s in stages([x * 1 * 1 - -(x * 1)])}
    assert fired["simplify"] == {"mul-one": 1, "sub-neg": 1, "add-self": 1}


def test_strict_leaves_sums_alone() -> None:
    x = gr.vector("x", 3)
    (after,) = stages([x + 0.0], math="strict")[-1].graph.roots
    assert after.op is ew.add
    (after,) = stages([x + 0.0])[-1].graph.roots
    assert after is x


def test_small_numbers_are_not_lost_in_sums() -> None:
    p = gr.vector("p", 2)
    safe = gr.log(1 - p + 1e-8)
    (after,) = stages([safe])[-1].graph.roots
    (found,) = evaluate([after], {p: np.array([1.0, 0.0], "float32")})
    np.testing.assert_allclose(found, [np.log(1e-8), 0], atol=1e-6)


def test_never_by_default() -> None:
    x = gr.vector("x", 3)
    ops = [r.op.name for r in stages([x * 0.0, x - x, x / x])[-1].graph.roots]
    assert ops == ["mul", "sub", "div"]


def test_equal_nodes_stay_one_node() -> None:
    x, y = gr.vector("x", 3), gr.vector("y", 3)
    last = stages([gr.exp(x + y * 1) * gr.exp(gr.negative(-y) + x)])[-1]
    assert sorted(n.op.name for n in last.graph.nodes()) == [
        "add", "exp", "input", "input", "square",
    ]  # fmt: skip


def test_large_constants_are_not_repeated() -> None:
    (after,) = stages([gr.broadcast_to(gr.constant(2.0), (1000, 1000)) * 3.0])[-1].graph.roots
    assert [n.op.name for n in topological([after])] == ["constant", "broadcast_to"]


def test_index_errors_are_left_to_the_run() -> None:
    picked = gr.take_along_axis(gr.constant([1.0, 2.0]), gr.constant([7]), 0)
    assert stages([picked])[-1].graph.roots[0].op.name == "gather"


# Size and termination -------------------------------------------------------------------------


def chain(n: int) -> Expr:
    """About n nodes in a row."""
    x = gr.vector("x", 8)
    y = x
    for _ in range(n // 9):
        y = (gr.tanh(y * 1 + 0.5) - -x).reshape(8, 1).reshape(8)
    return y


class Counting(Rewriting):
    steps = 0

    def _step(self, node: Expr) -> Expr:
        self.steps += 1
        return super()._step(node)


@pytest.mark.parametrize("n", [1_000, 100_000])
def test_work_is_linear_in_the_graph(n: int) -> None:
    run = Counting(allowed(("fold", "simplify"), strict=False))
    (after,) = run.run([chain(n)])
    assert run.steps < 3 * n
    assert len(topological([after])) == 3 * (n // 9) + 2
    assert "stopped" not in run.fired


def test_rules_that_undo_each_other_stop() -> None:
    there = RULES["mul-self"]
    back = RULES["mul-one"]
    undo = type(back)(
        "undo", frozenset(["square"]), frozenset(), frozenset(), "exact", "simplify",
        lambda node, x: x * x,
    )  # fmt: skip
    x = gr.vector("x", 3)
    run = Rewriting([there, undo])
    (after,) = run.run([x * x])
    assert after.op.name in ("mul", "square")
    assert run.fired["stopped"] > 0


def test_stages_reach_a_fixed_point() -> None:
    x = gr.matrix("x", 3, 4)
    loss = -gr.mean(gr.log(gr.softmax(x, -1)))
    before = [loss, gr.grad(loss, x)]
    once = next(s for s in stages(before) if s.stage == "stabilize")
    rules = allowed(("fold", "simplify", "stabilize"), strict=False)
    run = Rewriting(rules)
    run.run(once.graph.roots)
    assert not run.fired


def test_snapshots_tell_the_story() -> None:
    x = gr.vector("x", 3)
    names = [s.stage for s in stages([x + x])]
    assert names == ["input", *(s.name for s in GRAPH_STAGES if not s.rare)]
    assert all(a.nodes >= b.nodes for a, b in pairwise(stages([gr.tanh(x * 1) * 1])))
