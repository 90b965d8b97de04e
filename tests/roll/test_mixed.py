"""Rolled graphs with other types, tensors between, vectors put together, and parameters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gr
from graphc.errors import DTypeError, ShapeError, UnsupportedOpError
from graphc.expr import apply, topological
from graphc.graph import Graph
from graphc.inspect.text.listing import show
from graphc.interpret import evaluate
from graphc.ops.leaves import tensor
from graphc.ops.rolled import ROLLED, Piece, Read, Rolled, Round, Run
from graphc.options import Options
from graphc.pipeline import run_stages
from graphc.roll import stage
from graphc.types import float64


@pytest.fixture(autouse=True)
def everything_is_rolled(monkeypatch):
    monkeypatch.setenv("GRAPHC_CACHE", "off")  # which knows nothing of these thresholds
    monkeypatch.setattr(stage, "SMALLEST", 30)


def rolled_nodes(function):
    (graph,) = (s.graph for s in function.snapshots if s.stage == "roll")
    return [n for n in graph.nodes() if n.op is ROLLED]


def checked(inputs, outputs, at, rtol=1e-12, regions=1):
    """Rolled, not rolled and interpreted agree; strictly, the bits do."""
    expected = evaluate(outputs, dict(zip(inputs, at, strict=True)))
    function = gr.compile(inputs, outputs, verify=True)
    assert len(rolled_nodes(function)) == regions
    for a, b in zip(function(*at), expected, strict=True):
        assert np.asarray(a).dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
    strict = gr.compile(inputs, outputs, math="strict")(*at)
    plain = gr.compile(inputs, outputs, math="strict", skip="roll")(*at)
    for a, b in zip(strict, plain, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(np.signbit(a), np.signbit(b))
    return function


def test_truth_values_and_integers_between_pieces():
    x, n = gr.vector("x", 20, "float64"), gr.vector("n", 20, "int32")
    flags, counts, total = [], [], x[0]
    for i in range(20):
        flags.append(x[i] > total * 0.1)
        counts.append(n[i] * n[19 - i] + (counts[-1] if counts else n[0]))
        total = gr.where(flags[-1], total + x[i], total - gr.cast(counts[-1], "float64"))
    any_flag = flags[0]
    for flag in flags[1:]:
        any_flag = gr.logical_xor(any_flag, flag)
    at = [np.random.default_rng(0).normal(size=20), np.arange(20, dtype="int32") - 7]
    checked([x, n], [total, any_flag, counts[-1]], at)


def test_single_precision_beside_double():
    a, b = gr.vector("a", 30, "float32"), gr.vector("b", 30, "float64")
    low, high = a[0], b[0]
    for i in range(30):
        low = gr.tanh(low + a[i] * 0.3)
        high = high * 0.5 + gr.cast(low, "float64") * b[i]
    rng = np.random.default_rng(1)
    at = [rng.normal(size=30).astype("float32"), rng.normal(size=30)]
    checked([a, b], [low, high], at, 1e-6)


def test_sixty_four_bit_integers_are_left_out():
    """They do not fit into slots, so the nodes stay as they are, and exact."""
    n = gr.vector("n", 40, "int64")
    total = n[0]
    for i in range(1, 40):
        total = total * 3 + n[i]
    function = gr.compile(n, total)
    at = np.arange(40) * 10**12
    assert int(function(at)) == int(evaluate([total], {n: at})[0])
    assert all(s.stage != "roll" for s in function.snapshots)


def test_tensors_between_regions():
    """A scalar part, a tensor made of it, and a scalar part that needs that."""
    x = gr.vector("x", 16, "float64")
    t = x[0]
    for i in range(40):
        t = gr.sin(t) + x[i % 16] * 0.3
    middle = gr.softmax(x * t)
    u = middle[0]
    for i in range(40):
        u = gr.tanh(u) * 1.2 + middle[i % 16]
    gradient = gr.grad(u, x)
    checked([x], [u, gradient], [np.linspace(-1, 1, 16)], 1e-11, regions=3)


def test_a_part_that_is_too_small_is_left_alone():
    x = gr.vector("x", 16, "float64")
    t = x[0]
    for i in range(40):
        t = gr.sin(t) + x[i % 16]
    u = gr.sum(gr.exp(x * t)) + 1.0
    checked([x], [u * t], [np.linspace(-1, 1, 16)], 1e-11)


def test_vectors_made_of_scalars():
    x = gr.vector("x", 12, "float64")
    parts = [x[0]]
    for i in range(40):
        parts.append(gr.sin(parts[-1]) + x[i % 12])
    stacked = gr.stack(parts)
    table = gr.reshape(gr.stack(parts[1:]), (8, 5))
    twice = gr.concatenate([gr.stack(parts[:5]), x])
    at = [np.linspace(0, 1, 12)]
    function = checked([x], [stacked, table @ gr.constant(np.ones(5)), twice], at)
    names = [n.op.name for n in function.snapshots[-1].graph.nodes()]
    assert names.count("concatenate") == 1  # of a stack with a whole vector


def test_gradient_under_conditions_on_elements():
    """Masked derivatives of elements are padded and added: they are put together at once."""
    x = gr.vector("x", 50, "float64")
    value = x[0]
    for i in range(50):
        value = value + gr.where(x[i] > 0.0, x[i] * x[i], 0.3)
    gradient = gr.grad(value, x)
    at = [np.random.default_rng(3).normal(size=50)]
    function = checked([x], [value, gradient], at)
    assert all(n.op.name != "pad" for n in function.snapshots[-1].graph.nodes())


def test_gradient_for_few_elements_of_a_long_vector():
    x = gr.vector("x", 3000, "float64")
    value = x[7] * x[11]
    for i in range(40):
        value = gr.where(value > 0.2, gr.sin(value + x[7 + i % 3]), value * 1.1)
    at = [np.random.default_rng(4).normal(size=3000)]
    checked([x], [value, gr.grad(value, x)], at)


def test_parameters_and_updates():
    w = gr.parameter("w", np.linspace(0, 1, 8))
    x = gr.scalar("x", "float64")
    y = x
    for i in range(60):
        y = gr.tanh(y * w[i % 8] + 0.1)
    step = w - 0.1 * gr.grad(y, w)
    expected = evaluate([y, step], {x: 0.7})
    function = gr.compile(x, y, updates={w: step})
    assert len(rolled_nodes(function)) == 1
    np.testing.assert_allclose(function(0.7), expected[0], rtol=1e-13)
    np.testing.assert_allclose(w.value, expected[1], rtol=1e-13)


def test_results_that_are_the_same_or_leaves():
    x = gr.scalar("x", "float64")
    y = x
    for _ in range(50):
        y = gr.sin(y) + x
    again = gr.sin(x)
    checked([x], [y, y, x, again + 0.0, gr.stop_gradient(y)], [np.float64(0.4)])


def test_equal_nodes_are_computed_once():
    x = gr.vector("x", 10, "float64")
    values = [gr.exp(x[i % 10]) * x[(i + 1) % 10] for i in range(200)]
    total = values[0]
    for v in values[1:]:
        total = total + v
    function = checked([x], [total], [np.linspace(0, 1, 10)], 1e-11)
    (rolled,) = rolled_nodes(function)
    runs = rolled.attrs["program"].runs
    count = sum(r.count * sum(n.op.name == "exp" for n in r.piece.operations) for r in runs)
    assert count == 10


def test_symbolic_sizes_beside_scalars():
    x, y = gr.vector("x", "n", "float64"), gr.scalar("y", "float64")
    s = gr.sum(x) + y
    for _ in range(50):
        s = gr.sin(s) + y
    value = gr.sum(x * s)
    checked([x, y], [value, gr.grad(value, y)], [np.arange(5.0), np.float64(0.2)], 1e-11)


def test_derivatives_of_higher_order():
    x = gr.vector("x", 3, "float64")
    y = x[0]
    for i in range(20):
        y = gr.sin(y * x[i % 3]) + x[(i + 1) % 3]
    checked([x], [gr.hessian(y, x)], [np.array([0.3, 0.8, 1.1])], 1e-10)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_order_of_making_does_not_matter(seed):
    """Nodes made in any order give the same function."""
    rng = np.random.default_rng(seed)
    x = gr.vector("x", 24, "float64")
    squares = {int(i): gr.sin(x[int(i)]) * 2.0 for i in rng.permutation(24)}
    pairs = [(i, j) for i in range(24) for j in range(i)]
    terms = {}
    for k in rng.permutation(len(pairs)):
        i, j = pairs[k]
        terms[i, j] = squares[i] * squares[j] + x[i]
    total = x[0]
    for i, j in pairs:
        total = total + terms[i, j]
    at = rng.normal(size=24)
    function = gr.compile(x, [total, gr.grad(total, x)])
    assert len(rolled_nodes(function)) == 1
    expected = evaluate([total, gr.grad(total, x)], {x: at})
    for a, b in zip(function(at), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


# the operation --------------------------------------------------------------------------------


def _recurrence(count=4):
    """``y[i] = y[i-1] * x[i] + 1`` with ``y[-1]`` in slot 0."""
    p, q = tensor("p", (), "float64"), tensor("q", (), "float64")
    first = Round((Run(Piece((p,), (p,)), (Read(0),), 1, 0, True),))
    body = Run(
        Piece((p, q), (p * q + 1.0,)), (Read(None, 0, 1), Read(1, 0, 1)), count, 1, False
    )
    return Rolled([first, Round((body,))], float64)


def test_a_run_reads_what_it_wrote():
    start, x = gr.vector("s", 1, "float64"), gr.vector("x", 4, "float64")
    node = apply(ROLLED, (start, x), {"program": _recurrence()})
    at = {start: np.array([2.0]), x: np.array([3.0, 0.5, 2.0, -1.0])}
    expected = [2.0, 7.0, 4.5, 10.0, -9.0]
    np.testing.assert_array_equal(evaluate([node], at)[0], expected)
    np.testing.assert_array_equal(gr.compile([start, x], node)(*at.values()), expected)


def test_rounds_take_turns():
    """Two runs that need each other: a = b + 1, b = 2*a, five times."""
    p = tensor("p", (), "float64")
    first = Round((Run(Piece((p,), (p,)), (Read(0),), 1, 0, True),))
    a = Run(Piece((p,), (p + 1.0,)), (Read(None, table=1),), 5, 1, True)
    b = Run(Piece((p,), (p * 2.0,)), (Read(None, 1, 1),), 5, 6, True)
    program = Rolled([first, Round((a, b), 5)], float64)
    x, table = gr.vector("x", 1, "float64"), gr.constant(np.array([0, 6, 7, 8, 9], "int32"))
    node = apply(ROLLED, (x, table), {"program": program})
    expected = [1.0, 2.0, 5.0, 11.0, 23.0, 47.0, 4.0, 10.0, 22.0, 46.0, 94.0]
    np.testing.assert_array_equal(evaluate([node], {x: np.ones(1)})[0], expected)
    np.testing.assert_array_equal(gr.compile(x, node)(np.ones(1)), expected)


def test_what_is_no_rolled_node():
    program = _recurrence()
    s, x = gr.vector("s", 1, "float64"), gr.matrix("x", 2, 2, "float64")
    with pytest.raises(ShapeError, match="rolled: operand 1 has rank 2, not 1"):
        apply(ROLLED, (s, x), {"program": program})
    piece = program.runs[1].piece
    bad = Run(piece, program.runs[1].reads[:1], 4, 1, False)
    with pytest.raises(ShapeError, match="a piece with 2 inputs has 1 reads"):
        apply(ROLLED, (s, s), {"program": Rolled([Round((bad,))], float64)})
    tabled = Run(piece, (Read(None), Read(0, table=1)), 4, 1, False)
    with pytest.raises(DTypeError, match=r"a table of 4 positions has type f64\[1\]"):
        apply(ROLLED, (s, s), {"program": Rolled([Round((tabled,))], float64)})


def test_a_rolled_node_is_not_differentiated():
    s, x = gr.vector("s", 1, "float64"), gr.vector("x", 4, "float64")
    node = apply(ROLLED, (s, x), {"program": _recurrence()})
    with pytest.raises(UnsupportedOpError, match="rolled has no derivative"):
        gr.grad(gr.sum(node), x)


# what one sees --------------------------------------------------------------------------------


def _example():
    x = gr.vector("x", 40, "float64")
    y = x[0]
    for i in range(1, 40):
        y = gr.sin(y) + x[i]
    return x, y


def test_listing():
    x, y = _example()
    text = show(gr.compile(x, y), stage="roll")
    assert "fills" in text
    assert "39 times, one after the other" in text or "38 times, one after the other" in text
    assert "sin(slots[" in text


def test_stage_in_reports_and_snapshots():
    x, y = _example()
    function = gr.compile(x, y)
    assert [s.stage for s in function.snapshots[:2]] == ["input", "roll"]
    assert "roll" in str(function.report())
    assert "for i1 in range(" in show(function, stage="loops")
    small = gr.compile(x, x[0] + x[1])
    assert "roll" not in [s.stage for s in small.snapshots]


@pytest.mark.parametrize(
    ("function", "count", "rolled"),
    [
        (gr.sin, 400, False),
        (gr.sin, 800, True),
        (gr.square, 800, False),
        (gr.square, 1800, True),
    ],
)
def test_graphs_of_functions_are_rolled_from_fewer_nodes_on(
    function, count, rolled, monkeypatch
):
    monkeypatch.undo()
    monkeypatch.setenv("GRAPHC_CACHE", "off")
    x = y = gr.scalar("x", "float64")
    for i in range(count):
        y = function(y) + float(i)
    made = gr.compile(x, y)
    assert ("roll" in [s.stage for s in made.snapshots]) == rolled


def test_moves_tell_what_became_of_nodes():
    x, y = _example()
    snapshot = run_stages(Graph((x,), (y,)), Options())[1]
    rolled = next(n for n in snapshot.graph.nodes() if n.op is ROLLED)
    inner = [n for n in topological([y]) if n.op.name == "sin"]
    assert all(snapshot.became[n] is rolled for n in inner)
    assert snapshot.became[y] is snapshot.graph.outputs[0]
