"""Shape of programs: what one kernel computes, what is written in place, where buffers lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import graphc as gr
from compiler.random_graphs import RandomGraph, graphs
from compiler.test_random_graphs import few
from graphc.expr import topological
from graphc.loops.in_place import successors
from graphc.loops.ir import (
    BandKernel,
    Buffer,
    CheckedIndex,
    ContractionKernel,
    Kernel,
    Load,
    Loop,
    LoopKernel,
    Program,
    Store,
    statements,
)
from graphc.loops.plan import buffers_of
from graphc.types import Size, evaluate_size, product


def program_of(*args: Any, **options: Any) -> Program:
    program = gr.compile(*args, **options).program
    assert program is not None
    return program


def passes(program: Program) -> list[LoopKernel]:
    """Loop kernels but those that compute single numbers."""
    return [
        k
        for k in program.kernels
        if isinstance(k, LoopKernel) and any(isinstance(s, Loop) for s in k.body)
    ]


def contractions(program: Program) -> list[ContractionKernel]:
    return [k for k in program.kernels if isinstance(k, ContractionKernel)]


def written(kernel: Kernel) -> set[Buffer]:
    return {b for b, writes in buffers_of(kernel) if writes}


def rows(*columns: Any, dtype: str = "float32") -> gr.Expr:
    return gr.tensor("x", ("n", *columns), dtype)


# One pass -----------------------------------------------------------------------------------


def one_kernel_graphs() -> Iterator[tuple[str, list[gr.Expr], list[gr.Expr]]]:
    x, y, a, b = rows(100), gr.tensor("y", ("n", 100)), rows(), gr.tensor("b", ("n",))
    weight, bias = gr.tensor("w", (100,)), gr.tensor("c", (100,))
    labels = gr.tensor("labels", ("n",), "int64")
    loss = gr.nn.cross_entropy(x, labels)
    yield "cross-entropy of labels and its gradient", [x, labels], [loss, gr.grad(loss, x)]
    loss = gr.nn.cross_entropy(x, y)
    yield "cross-entropy of one-hot rows and its gradient", [x, y], [loss, gr.grad(loss, x)]
    gate = gr.nn.swish(a) * gr.tanh(b)
    yield "gate and both gradients", [a, b], [gate, *gr.grad(gate.sum(), [a, b])]
    norm = gr.nn.layer_norm(x, weight=weight, bias=bias)
    yield "layer norm", [x, weight, bias], [norm]
    gradients = gr.grad((norm * y).sum(), [x, weight, bias])
    yield "layer norm and its gradients", [x, weight, bias, y], [norm, *gradients]
    soft = gr.nn.softmax(x)
    yield "softmax and its gradient", [x, y], [soft, gr.grad((soft * y).sum(), x)]
    yield (
        "statistics of rows",
        [x],
        [gr.max(x, 1), gr.var(x, 1), gr.argmax(x, 1), gr.norm(x, 1)],
    )
    yield "statistics of columns", [x], [gr.sum(x, 0), gr.sum(x * x, 0), gr.exp(x)]
    yield "views", [x], [gr.tanh(x[::-1, 1:]) * gr.exp(x[:, :-1])]
    yield "whole sums", [a, b], [a.sum(), (a * b).sum(), a + b]
    bce = gr.nn.binary_cross_entropy(a, b, from_logits=True)
    yield "binary cross-entropy and its gradient", [a, b], [bce, gr.grad(bce, a)]


ONE_KERNEL = {name: (inputs, outputs) for name, inputs, outputs in one_kernel_graphs()}


@pytest.mark.parametrize("case", ONE_KERNEL)
def test_one_pass_computes_all(case: str) -> None:
    inputs, outputs = ONE_KERNEL[case]
    program = program_of(inputs, outputs)
    assert len(passes(program)) == 1, [k.label for k in program.kernels]
    assert not contractions(program)
    assert len(passes(program_of(inputs, outputs, skip="fuse"))) > 1


def test_rows_are_read_at_most_thrice() -> None:
    """Softmax: maximum, sum, quotient; exponentials are not computed twice."""
    x = rows(100)
    (kernel,) = passes(program_of(x, gr.nn.softmax(x)))
    body = list(statements(kernel.body))
    assert sum(isinstance(s, Load) and s.buffer.kind == "input" for s in body) <= 3
    assert sum(getattr(s, "op", "") == "exp" for s in body) == 1


def test_sums_over_both_axes_meet_in_one_kernel() -> None:
    x = rows(64)
    assert len(passes(program_of(x, [x.sum(0), x.sum(1), x.sum()]))) <= 2


# Contractions -------------------------------------------------------------------------------


def test_transposes_are_strides_of_the_operand() -> None:
    x, w = rows(20), gr.tensor("w", (30, 20))
    for made in (x @ w.T, gr.transpose(w @ x.T), gr.einsum("nk,mk->nm", x, w)):
        program = program_of([x, w], made)
        assert len(contractions(program)) == 1
        (kernel,) = contractions(program)
        assert {kernel.a.buffer.kind, kernel.b.buffer.kind} == {"input"}


def test_gradients_of_a_layer_copy_no_operand() -> None:
    x, g = rows(20), gr.tensor("g", ("n", 30))
    w = gr.parameter("w", np.zeros((20, 30), np.float32))
    gradients = gr.grad(((x @ w) * g).sum(), [x, w])
    program = program_of([x, g], gradients)
    assert len(program.kernels) == len(contractions(program)) == 2


def test_slices_are_read_where_they_lie() -> None:
    x, w = rows(20), gr.tensor("w", (10, 5))
    program = program_of([x, w], x[:, 5:15] @ w)
    assert len(program.kernels) == 1


# Updates ------------------------------------------------------------------------------------


def mlp() -> tuple[list[gr.Expr], gr.Expr, list[Any], list[gr.Expr]]:
    x, t = gr.tensor("x", ("n", 64)), gr.tensor("t", ("n",), "int64")
    shapes = [(64, 48), (48,), (48, 10), (10,)]
    w1, b1, w2, b2 = (gr.parameter(f"p{i}", np.ones(s, "f4")) for i, s in enumerate(shapes))
    loss = gr.nn.cross_entropy(gr.tanh(x @ w1 + b1) @ w2 + b2, t)
    weights = [w1, b1, w2, b2]
    return [x, t], loss, weights, gr.grad(loss, weights)


def check_commit(program: Program) -> None:
    """Parameters are written by the kernels after ``commit``, and by no other."""
    for number, kernel in enumerate(program.kernels):
        writes = any(b.kind == "parameter" for b in written(kernel))
        assert writes == (number >= program.commit)


def test_descent_is_in_place() -> None:
    inputs, loss, weights, gradients = mlp()
    updates = {p: p - 0.1 * g for p, g in zip(weights, gradients, strict=True)}
    program = program_of(inputs, loss, updates)
    check_commit(program)
    assert len(program.kernels) - program.commit == 4
    assert not any("commit" in k.name for k in program.kernels)
    for kernel in program.kernels[program.commit :]:
        kept = written(kernel)
        if isinstance(kernel, ContractionKernel):
            assert kernel.epilogue is not None
            assert not kernel.epilogue.keeps
            kept.remove(kernel.out.buffer)
        assert {b.kind for b in kept} == {"parameter"}
    shapes = [b.shape for b, _ in program.offsets]
    for p in weights:
        assert shapes.count(p.shape) <= 1, "a gradient is held twice"


def test_momentum_is_in_place() -> None:
    inputs, loss, weights, gradients = mlp()
    updates: dict[Any, gr.Expr] = {}
    for p, g in zip(weights, gradients, strict=True):
        v = gr.parameter(f"v{p.name}", np.zeros(p.shape, np.float32))
        updates[v] = 0.9 * v - 0.1 * g
        updates[p] = p + updates[v]
    program = program_of(inputs, loss, updates)
    check_commit(program)
    assert len(program.kernels) - program.commit == 4
    assert not any("commit" in k.name for k in program.kernels)


def test_a_value_that_is_read_elsewhere_is_copied_last() -> None:
    p = gr.parameter("p", np.ones((4, 4)))
    program = program_of([], None, {p: p * 2 + (p + 1).T})
    check_commit(program)
    assert [k.name.endswith("commit") for k in program.kernels] == [False, True]


# Memory -------------------------------------------------------------------------------------


def check_plan(program: Program, sizes: dict[str, int]) -> None:
    """Buffers that live at one time do not overlap, unless one takes the place of the other in
    an elementwise kernel; all lie inside the workspace, aligned."""
    offsets = dict(program.offsets)
    spans: dict[Buffer, list[int]] = {}
    for time, kernel in enumerate(program.kernels):
        for buffer, _ in buffers_of(kernel):
            if buffer.kind == "workspace":
                spans.setdefault(buffer, []).append(time)
    assert spans.keys() == offsets.keys()
    total = evaluate_size(program.workspace, sizes)
    ends = {buffer: (times[0], times[-1]) for buffer, times in spans.items()}
    in_place = dict(successors(program.kernels, ends))
    places = []
    for buffer, times in spans.items():
        start = evaluate_size(offsets[buffer], sizes)
        nbytes = evaluate_size(product(buffer.shape), sizes) * buffer.dtype.itemsize
        assert start % 64 == 0
        assert start + nbytes <= total
        last = max(times) - (buffer in in_place)  # its successor is written at that time
        places.append((start, start + nbytes, min(times), last))
    for old, new in in_place.items():
        assert offsets[old] == offsets[new]
    for number, (start, end, first, last) in enumerate(places):
        for other_start, other_end, other_first, other_last in places[:number]:
            together = first <= other_last and other_first <= last
            assert not together or end <= other_start or other_end <= start


def check_order(program: Program) -> None:
    """Workspace is written before it is read, outputs are written."""
    done: set[Buffer] = set()
    for kernel in program.kernels:
        for buffer, writes in buffers_of(kernel):
            if not writes and buffer.kind in ("workspace", "output"):
                assert buffer in done | written(kernel)
        done |= written(kernel)
    assert set(program.outputs) <= done


@few
@given(graph=graphs())
def test_plans_of_random_graphs(graph: RandomGraph) -> None:
    for options in ({}, {"skip": "fuse"}):
        program = program_of(graph.inputs, graph.outputs, graph.updates, **options)
        check_commit(program)
        check_order(program)
        for n in (0, 1, 7, 1000):
            check_plan(program, dict.fromkeys(program.symbols, n))


# Products ------------------------------------------------------------------------------------


def finished(program: Program) -> list[str]:
    """What each kernel of a program is."""
    return [
        "loop"
        if isinstance(k, LoopKernel)
        else "product"
        if k.epilogue is None
        else "finished product"
        for k in program.kernels
    ]


def test_a_layer_is_one_kernel() -> None:
    x, w, b = rows(30), gr.tensor("w", (30, 20)), gr.tensor("b", (20,))
    program = program_of([x, w, b], gr.nn.relu(x @ w + b))
    assert finished(program) == ["finished product"]
    assert not program.offsets, "the product alone needs no memory"


def test_a_step_writes_no_gradient() -> None:
    inputs, loss, weights, gradients = mlp()
    updates = {p: p - 0.1 * g for p, g in zip(weights, gradients, strict=True)}
    program = program_of(inputs, loss, updates)
    matrices = [p for p in program.parameters if len(p.shape) == 2]
    for matrix in matrices:
        (last,) = (k for k in program.kernels if matrix in written(k))
        assert isinstance(last, ContractionKernel)
        assert last.epilogue is not None
        assert not last.epilogue.keeps


def unfinished() -> Iterator[tuple[str, list[gr.Expr], list[gr.Expr], list[str]]]:
    x, w, y = rows(30), gr.tensor("w", (30, 30)), gr.tensor("y", ("n", 30))
    product = x @ w
    yield "nothing follows", [x, w], [product], ["product"]
    yield "softmax", [x, w], [gr.nn.softmax(product)], ["product", "loop"]
    yield "mean", [x, w], [gr.mean(gr.exp(product))], ["product", "loop", "loop"]
    yield "transposed", [x, w], [gr.exp(gr.transpose(product)) + 1], ["product", "loop"]
    square = w @ w
    turned = gr.tanh(square + square[::-1])
    yield "itself across", [w], [turned], ["product", "loop"]
    whole = gr.tensor("k", (30, 30), "int64")
    yield "integers", [whole], [whole @ whole + 1], ["product", "loop"]
    batch = gr.tensor("z", (4, 30, 30))
    turn = gr.transpose(batch, (0, 2, 1))
    yield "a batch", [batch], [gr.tanh(batch @ turn)], ["product", "loop"]
    yield (
        "both of a sum",
        [x, w, y],
        [gr.tanh(product + y @ w)],
        ["product", "finished product"],
    )


@pytest.mark.parametrize(("inputs", "outputs", "kernels"), [
    pytest.param(*rest, id=name) for name, *rest in unfinished()
])  # fmt: skip
def test_what_is_finished_with_a_product(
    inputs: list[gr.Expr], outputs: list[gr.Expr], kernels: list[str]
) -> None:
    assert finished(program_of(inputs, outputs)) == kernels


@pytest.mark.parametrize("n", [0, 1, 2, 33, 1000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_finished_products_are_those_of_single_kernels(dtype: str, n: int) -> None:
    """To the bit, for every number of threads."""
    rng = np.random.default_rng(n)
    x, d = gr.tensor("x", ("n", 300), dtype), gr.tensor("d", ("n", 170), dtype)
    start = rng.standard_normal((2, 300, 170)).astype(dtype)
    arrays = [rng.standard_normal((n, k)).astype(dtype) for k in (300, 170)]
    found = []
    for options in ({"skip": "fuse"}, {"threads": 1}, {"threads": 2}, {"threads": 3}):
        w, m = (gr.parameter(name, v) for name, v in zip("wm", start, strict=True))
        gradient = gr.transpose(x) @ d
        moment = m * 0.9 + gradient
        step = gr.compile([x, d], gr.tanh(x @ w), {w: w - 0.1 * moment, m: moment}, **options)
        if "threads" in options:
            assert step.program is not None
            assert finished(step.program) == ["finished product", "finished product"]
        found.append([step(*arrays), step(*arrays), w.value, m.value])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


# Bands ---------------------------------------------------------------------------------------


def regressions() -> Iterator[tuple[str, list[gr.Expr], list[gr.Expr]]]:
    x, w, t = gr.matrix("x", "n", "features"), gr.vector("w", "features"), gr.vector("t", "n")
    b = gr.scalar("b")
    loss = gr.nn.binary_cross_entropy(x @ w + b, t, from_logits=True)
    yield "logistic", [x, w, b, t], [loss, *gr.grad(loss, [w, b])]
    loss = gr.sum(gr.square(x @ w - t))
    yield "least squares", [x, w, t], [loss, gr.grad(loss, w)]
    x, classes = rows(50), gr.tensor("W", (50, 7))
    labels = gr.tensor("labels", ("n",), "int64")
    loss = gr.nn.cross_entropy(x @ classes, labels)
    yield "of classes", [x, classes, labels], [loss, gr.grad(loss, classes)]
    x, t = gr.tensor("x", (40_000, 40)), gr.tensor("t", (40_000,))
    w = gr.tensor("w", (40,))
    yield "of fixed size", [x, w, t], [gr.transpose(x) @ gr.tanh(x @ w - t)]


REGRESSIONS = [pytest.param(*rest, id=name) for name, *rest in regressions()]


def bands(program: Program) -> list[BandKernel]:
    return [k for k in program.kernels if isinstance(k, BandKernel)]


@pytest.mark.parametrize(("inputs", "outputs"), REGRESSIONS)
def test_rows_are_read_once(inputs: list[gr.Expr], outputs: list[gr.Expr]) -> None:
    program = program_of(inputs, outputs)
    (band,) = bands(program)
    readers = [k for k in program.kernels if "x" in {b.name for b, _ in buffers_of(k)}]
    assert readers == [band]
    check_order(program)
    check_plan(program, {"n": 300, "features": 20})


@pytest.mark.parametrize("n", [0, 1, 17, 40_000])
@pytest.mark.parametrize(("inputs", "outputs"), REGRESSIONS)
def test_bands_agree_with_single_kernels(
    inputs: list[gr.Expr], outputs: list[gr.Expr], n: int
) -> None:
    """Between them also when there are several bands in each of several blocks."""
    sizes = {"n": n, "features": 40}
    rng = np.random.default_rng(n)
    arrays: list[Any] = []
    for x in inputs:
        shape = tuple(evaluate_size(s, sizes) for s in x.shape)
        whole = x.dtype.name == "int64"
        values = rng.integers(0, 7, shape) if whole else rng.standard_normal(shape, np.float32)
        arrays.append(values)
    with np.errstate(all="ignore"):
        apart = gr.compile(inputs, outputs, skip="fuse")(*arrays)
        one, two = (gr.compile(inputs, outputs, threads=k)(*arrays) for k in (1, 2))
    for a, b, e in zip(one, two, apart, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-6 * max(1, n))


def apart() -> Iterator[tuple[str, list[gr.Expr], list[gr.Expr]]]:
    x, w, t = gr.matrix("x", "n", "features"), gr.vector("w", "features"), gr.vector("t", "n")
    turned = gr.transpose(x)
    yield "sums of other rows", [x, w], [turned @ gr.tanh(x @ w)[::-1]]
    yield "a sum before the second product", [x, w], [turned @ gr.nn.softmax(x @ w)]
    yield "columns, not rows", [x, t], [x @ gr.tanh(turned @ t)]
    wide = gr.matrix("W", "features", "columns")
    yield "many columns", [x, wide], [turned @ gr.tanh(x @ wide)]
    small, u = gr.tensor("s", (30, 20)), gr.tensor("u", (20,))
    yield "few rows", [small, u], [gr.transpose(small) @ gr.tanh(small @ u)]
    other = gr.matrix("y", "n", "features")
    yield "other rows", [x, other, w], [gr.transpose(other) @ gr.tanh(x @ w)]


@pytest.mark.parametrize(("inputs", "outputs"), [
    pytest.param(*rest, id=name) for name, *rest in apart()
])  # fmt: skip
def test_what_is_not_done_in_bands(inputs: list[gr.Expr], outputs: list[gr.Expr]) -> None:
    assert not bands(program_of(inputs, outputs))


# Memory of products --------------------------------------------------------------------------


def test_sums_lie_where_results_go_unless_these_are_stored_first() -> None:
    """The product's memory is that of a result only if all of it is read before."""
    x, w = gr.matrix("x", 900, 900), gr.matrix("w", 900, 900)
    early = gr.exp(x)
    outputs = [early, gr.tanh(x @ w * early)]
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 900, 900), np.float32) / 30
    f = gr.compile([x, w], outputs)
    for got, expected in zip(f(a, b), (np.exp(a), np.tanh(a @ b * np.exp(a))), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_a_chain_reuses_its_memory() -> None:
    x = rows(30)
    w = gr.parameter("w", np.zeros((30, 30), np.float32))
    h = x
    for _ in range(10):
        h = gr.tanh(h @ w)
    program = program_of(x, h)
    check_plan(program, {"n": 17})
    assert evaluate_size(program.workspace, {"n": 64}) <= 2 * 64 * 30 * 4


def sizes_in(program: Program) -> list[Size]:
    return [program.workspace, *(offset for _, offset in program.offsets)]


def test_a_plan_of_numbers_is_numbers() -> None:
    x = gr.tensor("x", (8, 30))
    program = program_of(x, gr.softmax(x @ x.T) @ x)
    assert all(isinstance(s, int) for s in sizes_in(program))


X, Y = gr.tensor("x", (7,)), gr.tensor("y", (7, "b"))
P, Z = gr.tensor("p", (1, 12)), gr.tensor("z", ("b", 12))


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([P, Z], [gr.softmax(Z + P, 1), gr.exp(P)]),
        ([P, Z], [gr.tanh(Z + P) * gr.exp(P), gr.exp(P), gr.sin(P)]),
        ([X, Y], [2 * X, gr.softmax(gr.expand_dims(2 * X, 1) + Y, 0)]),
        ([X, Y], [gr.softmax(gr.expand_dims(2 * X, 1) + Y, 0), gr.expand_dims(2 * X, 1) - Y]),
    ],
)
def test_results_do_not_wait_for_rows_that_may_be_none(
    inputs: list[gr.Expr], outputs: list[gr.Expr], batch: int
) -> None:
    rng = np.random.default_rng(batch)
    shapes = [[batch if s == "b" else s for s in x.shape] for x in inputs]
    arrays = [rng.uniform(-1, 1, shape).astype("float32") for shape in shapes]
    expected = gr.compile(inputs, outputs, backend="interpret")(*arrays)
    function = gr.compile(inputs, outputs)
    found = [np.full(e.shape, np.nan, e.dtype) for e in expected]
    function(*arrays, out=found)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_what_is_needed_once_and_for_each_row_is_computed_once() -> None:
    """Not for each of rows, of which there may be none."""
    program = program_of([P, Z], [gr.softmax(Z + P, 1), gr.exp(P)])
    assert len(passes(program)) == 2


A, B, C = gr.tensor("a", (2, 1, 5)), gr.tensor("b", (1, 7)), gr.tensor("c", (2, 1, 7))


@pytest.mark.parametrize(
    ("inputs", "left", "right"),
    [
        ([A, C], gr.stack([gr.tanh(A[0]), A[1]]), C),
        ([A, B], A, gr.pad(gr.expand_dims(gr.tanh(B), 0), ((1, 0), (0, 0), (0, 0)))),
        ([A, B], gr.broadcast_to(A[:, :1], (2, 1, 5)), gr.stack([B, -B])),
        ([A, B], gr.sin(A), gr.broadcast_to(B, (2, 1, 7))),
    ],
)
@pytest.mark.parametrize("subscripts", ["amk,amn->kn", "amk,amn->nk", "amk,amn->akn"])
def test_summed_axes_of_size_one(
    inputs: list[gr.Expr], left: gr.Expr, right: gr.Expr, subscripts: str
) -> None:
    """Their steps mean nothing, wherever they stand among the others."""
    output = gr.einsum(subscripts, left, right)
    rng = np.random.default_rng(1)
    arrays = [rng.uniform(-1, 1, x.shape).astype("float32") for x in inputs]
    expected = gr.compile(inputs, output, backend="interpret")(*arrays)
    np.testing.assert_allclose(
        gr.compile(inputs, output)(*arrays), expected, rtol=1e-4, atol=1e-6
    )


def test_rows_that_are_read_in_other_rows_are_finished_before() -> None:
    """The last product reads a value of the rows by two ways, one of which crosses them."""
    x, y = (gr.tensor(name, (3, 4, 5, 5, 5), "float64") for name in "xy")
    z, w = gr.tensor("z", (3, 4, 5), "float64"), gr.tensor("w", (3, 4, 5, 5), "float64")
    row = gr.expand_dims(gr.cos(gr.sum(x * y, (2, 3)) + z), 2) * w
    crossed = gr.expand_dims(row, 4)
    rng = np.random.default_rng(3)
    arrays = [rng.uniform(-1, 1, leaf.shape) for leaf in (x, y, z, w)]
    for output in (
        crossed * (gr.cumprod(x, 4) * y),
        gr.sum(crossed * (gr.cumprod(x, 4) * y), 4),
        gr.sum(crossed * (gr.cumprod(x, 4) * y), (2, 3)),
    ):
        expected = gr.compile([x, y, z, w], output, backend="interpret")(*arrays)
        found = gr.compile([x, y, z, w], output)(*arrays)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def reshaped() -> Iterator[tuple[str, list[gr.Expr], int]]:
    x = gr.tensor("x", ("n", 3), "float64")
    e, total = gr.exp(x), gr.reshape(gr.sum(x, axis=1), ("n", 1))
    yield "elementwise", [gr.reshape(e, ("n", 1, 3))], 1
    yield "twice", [gr.reshape(gr.reshape(e, (-1,)), (1, "n", 3))], 1
    yield "joined", [gr.reshape(gr.concatenate([x, x], 0), (2, "n", 3))], 2
    yield "read by another", [total, e * total], 2
    yield "also as it is", [gr.reshape(e, (-1,)), e], 2
    yield "twice alike", [gr.reshape(e, (-1,)), gr.reshape(e, (1, "n", 3))], 2
    yield "of an input", [gr.reshape(x, (-1,))], 1
    yield "of a transpose", [gr.reshape(e.T, (-1,))], 2


@pytest.mark.parametrize(("_name", "outputs", "kernels"), list(reshaped()))
def test_reshaped_results_lie_where_they_are_computed(
    _name: str, outputs: list[gr.Expr], kernels: int
) -> None:
    x = next(n for n in topological(outputs) if n.op.name == "input")
    f = gr.compile([x], outputs)
    assert f.program is not None
    assert len(f.program.kernels) <= kernels
    given = np.arange(12.0).reshape(4, 3) / 8
    expected = gr.compile([x], outputs, backend="interpret")(given)
    for got, want in zip(f(given), expected, strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-15)


#: Index, whether it need not be checked, and whether no element is added to twice.
INDICES = {
    "apart": ([3, 0, 2], True, True),
    "twice": ([3, 0, 3], True, False),
    "from the end": ([-1, 0, 2], False, False),
}


@pytest.mark.parametrize("case", INDICES)
def test_known_indices_are_not_checked(case: str) -> None:
    given, inside, apart = INDICES[case]
    index = gr.constant(np.array(given, np.int32))
    x, v = gr.tensor("x", (4,), "float64"), gr.tensor("v", (3,), "float64")
    outputs = [gr.take_along_axis(x, index), gr.scatter_add(v, index, 0, 4)]
    program = program_of([x, v], outputs)
    nests = [
        s for k in program.kernels if isinstance(k, LoopKernel) for s in statements(k.body)
    ]
    assert any(isinstance(s, CheckedIndex) for s in nests) == (not inside)
    assert any(isinstance(s, Store) and s.add for s in nests) == (not apart)
    values = np.arange(4.0) + 0.5, np.array([1.25, 2.0, 4.0])
    expected = np.zeros(4)
    np.add.at(expected, given, values[1])
    taken, added = gr.compile([x, v], outputs)(*values)
    np.testing.assert_array_equal(taken, values[0][given])
    np.testing.assert_array_equal(added, expected)


@pytest.mark.parametrize("given", [[3, 4], [-5, 0]])
def test_known_indices_outside_are_refused(given: list[int]) -> None:
    index = gr.constant(np.array(given, np.int64))
    x = gr.tensor("x", (4,), "float64")
    for output in (gr.take_along_axis(x, index), gr.scatter_add(x[:2], index, 0, 4)):
        with pytest.raises(gr.errors.InputError, match="out of range"):
            gr.compile(x, output)(np.zeros(4))
