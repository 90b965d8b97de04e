"""Values computed again: by mark and for a limit of memory; results do not change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphc as gr
from compiler.random_graphs import RandomGraph, graphs
from compiler.random_training import training
from compiler.test_random_graphs import few, run
from graphc.interpret import evaluate
from graphc.loops.build import build_program
from graphc.types import evaluate_size

LAYERS, WIDTH, BATCH = 16, 64, 128
UNIT = WIDTH * BATCH * 4  # bytes of one layer's values

Model = tuple[list[gr.Expr], gr.Expr, list[Any]]


def mlp(part: int = 0, batch: Any = BATCH, layers: int = LAYERS) -> Model:
    """Inputs, loss and weights of a deep MLP, in marked parts of so many layers (0: none)."""
    rng = np.random.default_rng(0)
    x, t = gr.tensor("x", (batch, WIDTH)), gr.tensor("t", (batch, WIDTH))
    shape = (layers, WIDTH, WIDTH)
    values = (rng.standard_normal(shape) / WIDTH**0.5).astype(np.float32)
    weights = [gr.parameter(f"w{i}", v) for i, v in enumerate(values)]

    def forward(h: gr.Expr, some: list[Any]) -> gr.Expr:
        for w in some:
            h = gr.tanh(h @ w)
        return h

    step = part or layers
    apply = gr.checkpoint(forward) if part else forward
    h = x
    for i in range(0, layers, step):
        h = apply(h, weights[i : i + step])
    return [x, t], gr.mean((h - t) ** 2), weights


def gradients(model: Model, **options: Any) -> Any:
    inputs, loss, weights = model
    return gr.compile(inputs, [loss, *gr.grad(loss, weights)], **options)


def step(model: Model, **options: Any) -> tuple[Any, list[Any]]:
    inputs, loss, weights = model
    moved = {w: w - 0.1 * g for w, g in zip(weights, gr.grad(loss, weights), strict=True)}
    return gr.compile(inputs, loss, moved, **options), weights


def arrays(batch: int = BATCH) -> Any:
    return np.random.default_rng(1).standard_normal((2, batch, WIDTH)).astype(np.float32)


def same(found: Any, expected: Any) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


# Marks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("part", "units"), [(1, 18), (2, 11), (4, 9), (8, 11), (16, 18)])
def test_parts_take_memory_one_at_a_time(part: int, units: int) -> None:
    plain, marked = gradients(mlp()), gradients(mlp(part))
    assert plain.program.workspace == 18 * UNIT
    assert marked.program.workspace <= units * UNIT
    same(marked(*arrays()), plain(*arrays()))


def test_memory_grows_with_the_root_of_the_depth() -> None:
    for root in (3, 5, 6):
        marked = gradients(mlp(root, layers=root * root))
        assert marked.program.workspace <= (2 * root + 2) * UNIT


def test_each_part_runs_forward_once_more() -> None:
    plain, marked = gradients(mlp()), gradients(mlp(4))
    products = [sum("ij,jk->ik" in k.label for k in f.program.kernels) for f in (plain, marked)]
    assert products == [16, 16 + 12]  # the results of parts are kept


def test_training_steps_take_less_too() -> None:
    """Gradients do not wait for the end, where parameters change."""
    (plain, old), (marked, new) = step(mlp()), step(mlp(4))
    for _ in range(3):
        same([marked(*arrays())], [plain(*arrays())])
    same([w.value for w in new], [w.value for w in old])
    assert marked.program.workspace <= 13 * UNIT < 31 * UNIT < plain.program.workspace


def test_parts_in_parts() -> None:
    def inner(h: gr.Expr, a: Any, b: Any) -> gr.Expr:
        return gr.tanh(gr.tanh(h @ a) @ b)

    def outer(h: gr.Expr, ws: list[Any], mark: Callable[[Any], Any]) -> gr.Expr:
        for a, b in zip(ws[::2], ws[1::2], strict=True):
            h = mark(inner)(h, a, b)
        return h

    def model(outside: Callable[[Any], Any], inside: Callable[[Any], Any]) -> Any:
        inputs, _, weights = mlp()
        h = inputs[0]
        for i in (0, 8):
            h = outside(outer)(h, weights[i : i + 8], inside)
        return gradients((inputs, gr.mean((h - inputs[1]) ** 2), weights))

    plain = model(lambda f: f, lambda f: f)
    once = model(gr.checkpoint, lambda f: f)
    twice = model(gr.checkpoint, gr.checkpoint)
    sizes = [f.program.workspace for f in (plain, once, twice)]
    assert sizes[0] > sizes[1] > sizes[2]
    for f in (once, twice):
        same(f(*arrays()), plain(*arrays()))


def bumpy(x: gr.Expr, w: gr.Expr) -> tuple[gr.Expr, gr.Expr]:
    """Several results; a value from outside; a softmax."""
    h = gr.tanh(x @ w)
    return gr.softmax(h @ w.T) * gr.exp(x), gr.sum(gr.sin(h) * gr.sigmoid(h), 1, keepdims=True)


def chained(mark: Callable[[Any], Any], dtype: str = "float64") -> tuple[Any, Any, Any]:
    x = gr.tensor("x", (6, 5), dtype)
    w = gr.parameter("w", np.random.default_rng(2).standard_normal((5, 5)).astype(dtype))
    a, b = mark(bumpy)(x, w)
    c, d = mark(bumpy)(a + b, w * 2)
    return x, w, gr.sum(gr.sin(c * d) + c) + gr.sum(b)


DERIVATIVES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "value": lambda x, w, y: [y],
    "gradient": lambda x, w, y: [y, *gr.grad(y, [x, w])],
    "gradient first": lambda x, w, y: [*gr.grad(y, [w, x]), y],
    "tangent": lambda x, w, y: [gr.jvp(y, [x, w], [x * 0 + 1, w])],
    "hessian times vector": lambda x, w, y: [gr.hvp(y, x, x * 0 + 1)],
    "gradient of gradient": lambda x, w, y: [
        gr.grad(gr.sum(gr.sin(gr.grad(y, x)) ** 2), [x, w])[1]
    ],
    "hessian": lambda x, w, y: [gr.hessian(y, w)],
}


@pytest.mark.parametrize("backend", ["llvm", "interpret"])
@pytest.mark.parametrize("math", ["strict", "default"])
@pytest.mark.parametrize("name", DERIVATIVES)
def test_values_and_derivatives_are_the_same(name: str, math: Any, backend: str) -> None:
    found = []
    for mark in (lambda f: f, gr.checkpoint):
        x, w, y = chained(mark)
        outputs = DERIVATIVES[name](x, w, y)
        f = gr.compile(x, outputs, math=math, backend=backend, verify=True)
        found.append(f(np.random.default_rng(3).standard_normal((6, 5))))
        fired = [s for s in f.snapshots if s.stage == "recompute"]
    same(found[1], found[0])
    if backend == "llvm" and name not in ("value", "tangent"):
        assert fired


def test_forward_mode_computes_nothing_again() -> None:
    x, _, y = chained(gr.checkpoint)
    f = gr.compile(x, gr.jvp(y, [x], [gr.sin(x)]))
    assert all(s.stage != "recompute" for s in f.snapshots)


def test_mapped_parts() -> None:
    found = []
    for mark in (lambda f: f, gr.checkpoint):
        part = mark(lambda v: gr.sin(gr.exp(v) * gr.sum(v)))
        x = gr.tensor("x", (4, 5), "float64")

        def slope(v: gr.Expr, part: Any = part) -> gr.Expr:
            return gr.grad(gr.sum(gr.sin(part(part(v)))), v)

        f = gr.compile(x, gr.vmap(slope)(x))
        found.append(f(np.random.default_rng(5).standard_normal((4, 5))))
    same([found[1]], [found[0]])
    assert f.snapshots[-1].stage == "recompute"


def test_numpy_computes_the_same_of_the_graph_with_copies() -> None:
    x, w, y = chained(gr.checkpoint)
    f = gr.compile(x, [y, gr.grad(y, w)])
    before, after = f.snapshots[-2], f.snapshots[-1]
    assert after.stage == "recompute"
    value = np.random.default_rng(4).standard_normal((6, 5))
    same(evaluate(after.graph.roots, {x: value}), evaluate(before.graph.roots, {x: value}))
    assert after.nodes > before.nodes


def test_the_graph_with_copies_can_be_written_and_drawn() -> None:
    x, w, y = chained(gr.checkpoint)
    f = gr.compile(x, gr.grad(y, w))
    value = np.random.default_rng(4).uniform(-0.1, 0.1, (6, 5))
    space: dict[str, Any] = {}
    exec(gr.to_python(f, "g"), space)
    np.testing.assert_allclose(space["g"](value, w.value), f(value), rtol=1e-12, atol=1e-12)
    assert "= again(" in gr.show(f)
    assert "again" in gr.formula(f)
    assert gr.draw(f).svg.startswith("<svg")


def test_marks_are_left_out_with_their_stage() -> None:
    f = gradients(mlp(4), skip="recompute")
    assert f.program.workspace == 18 * UNIT


# A limit ------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", [18, 17, 15, 13, 11, 9, 8])
def test_the_workspace_keeps_within_the_limit(units: int) -> None:
    plain, limited = gradients(mlp()), gradients(mlp(), memory_limit=units * UNIT)
    assert limited.program.workspace <= units * UNIT
    same(limited(*arrays()), plain(*arrays()))


def test_less_memory_is_more_work() -> None:
    work = [
        sum(k.flops for k in gradients(mlp(), memory_limit=units * UNIT).program.kernels)
        for units in (18, 15, 12, 9)
    ]
    assert work == sorted(set(work))


@pytest.mark.parametrize("units", [32, 30, 17, 13])
def test_so_does_that_of_training_steps(units: int) -> None:
    (plain, old), (limited, new) = step(mlp()), step(mlp(), memory_limit=units * UNIT)
    assert limited.program.workspace <= units * UNIT
    for _ in range(2):
        same([limited(*arrays())], [plain(*arrays())])
    same([w.value for w in new], [w.value for w in old])


def test_symbolic_sizes_need_numbers() -> None:
    model = mlp(batch="batch")
    limited = gradients(model, memory_limit=10 * UNIT, memory_sizes={"batch": BATCH})
    assert limited.report().workspace.terms  # a polynomial in the batch
    for batch in (1, 7, BATCH):
        same(limited(*arrays(batch)), gradients(model)(*arrays(batch)))
    assert "batch = 128" in str(limited.report())
    with pytest.raises(gr.errors.CompileError, match="needs the sizes of batch") as caught:
        gradients(model, memory_limit=10 * UNIT)
    assert "memory_sizes={'batch': 128}" in str(caught.value)


def test_the_report_says_what_was_computed_again_and_why() -> None:
    text = str(gradients(mlp(), memory_limit=9 * UNIT).report())
    assert "40 nodes, 11632640 flops more" in text
    assert f"workspace 589824 -> 262144 bytes (memory_limit={9 * UNIT})" in text
    assert "(gr.checkpoint)" in str(gradients(mlp(4)).report())
    kept = str(gradients(mlp(), memory_limit=99 * UNIT).report())
    assert "nothing: the workspace is within the limit" in kept
    assert "computed again" not in str(gradients(mlp()).report())


def test_marks_and_a_limit_together() -> None:
    f = gradients(mlp(8), memory_limit=9 * UNIT)
    assert f.program.workspace <= 9 * UNIT
    same(f(*arrays()), gradients(mlp())(*arrays()))


def test_a_limit_that_no_plan_keeps() -> None:
    with pytest.raises(gr.errors.CompileError) as caught:
        gradients(mlp(), memory_limit=2 * UNIT)
    text = str(caught.value)
    assert f"takes {18 * UNIT} bytes" in text
    assert f"but memory_limit is {2 * UNIT}" in text
    assert "gr.checkpoint" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory_limit": -1}, "memory_limit is a number of bytes, not -1"),
        ({"memory_limit": 1e6}, "not 1000000.0"),
        ({"memory_limit": True}, "not True"),
        ({"memory_sizes": {"batch": 3}}, "memory_limit is a number of bytes, not None"),
        ({"memory_limit": 9, "memory_sizes": 7}, "gives a number for each symbolic size"),
        ({"memory_limit": 9, "memory_sizes": {"b": 1.5}}, "gives a number for each symbolic"),
        ({"memory_limit": 9, "backend": "interpret"}, '"interpret" keeps every value'),
    ],
)
def test_what_is_no_limit(options: dict[str, Any], message: str) -> None:
    x = gr.vector("x", 3)
    with pytest.raises(gr.errors.CompileError, match=message):
        gr.compile(x, x + 1, **options)


# Random graphs ------------------------------------------------------------------------------


@few
@given(graph=graphs(), percent=st.integers(20, 95), merge=st.booleans())
def test_random_graphs_within_random_limits(
    graph: RandomGraph, percent: int, merge: bool
) -> None:
    skip = () if merge else ("fuse",)
    f = gr.compile(graph.inputs, graph.outputs, graph.updates, skip=skip)
    if f.program is None or f.program.symbols:
        return
    limit = int(f.program.workspace) * percent // 100
    try:
        found = run(graph, skip=skip, memory_limit=limit)
    except gr.errors.CompileError:
        return
    same(found, run(graph, skip=skip))


@pytest.mark.parametrize("seed", range(40))
def test_random_training_steps_within_a_limit(seed: int) -> None:
    made = training(seed)
    plain = gr.compile(made.inputs, made.outputs, made.updates)
    sizes = dict.fromkeys(plain.program.symbols, made.batches[-1])
    start = [p.value.copy() for p in made.parameters]
    given = made.arguments(seed, made.batches[-1])
    expected = [*plain(*given), *[p.value.copy() for p in made.parameters]]
    for p, value in zip(made.parameters, start, strict=True):
        p.value = value
    limit = int(evaluate_size(plain.program.workspace, sizes) * 0.8)
    try:
        limited = gr.compile(
            made.inputs, made.outputs, made.updates, memory_limit=limit, memory_sizes=sizes
        )
    except gr.errors.CompileError:
        return
    assert evaluate_size(limited.program.workspace, sizes) <= limit
    same([*limited(*given), *[p.value.copy() for p in made.parameters]], expected)


def test_next_values_need_not_be_written_in_place() -> None:
    x, w = gr.vector("x", 100), gr.parameter("w", np.ones(100, np.float32))
    f = gr.compile(x, None, {w: w + gr.sin(x)})
    plain, _ = build_program(f.snapshots[-1].graph)
    apart, _ = build_program(f.snapshots[-1].graph, in_place=False)
    assert plain.workspace == 0
    assert apart.workspace == 448
