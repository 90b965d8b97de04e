"""Listings of graphs and loop programs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import graphc as gr
from graphc.errors import GraphError
from graphc.inspect.text.listing import show, show_program
from graphc.inspect.text.notation import (
    Phrase,
    inline_phrase,
    matrix_product,
    phrase,
    range_text,
)
from graphc.loops.ir import (
    Accumulate,
    Accumulator,
    Buffer,
    Compute,
    Const,
    ContractionKernel,
    Index,
    Load,
    Loop,
    LoopKernel,
    Operand,
    Program,
    Store,
)
from graphc.types import float32, symbol


def test_forward_listing(mlp, golden):
    golden("forward.txt", show(mlp(784, 500, 10)[0]))


def test_gradient_listing(mlp, golden):
    loss, parameters = mlp(784, 500, 10)
    golden("gradient.txt", show(gr.cse([loss, *gr.grad(loss, parameters)])))


def test_folded_listing(mlp, golden):
    loss, parameters = mlp(784, 500, 10)
    golden("folded.txt", show([loss, *gr.grad(loss, parameters)], scopes="folded"))


def test_compiled_function_shows_its_stages_and_its_loops(lsq):
    loss, w = lsq
    x, y = (n for n in _leaves(loss) if n.op.name == "input")
    step = gr.compile([x, y], loss, updates={w: w - 0.1 * gr.grad(loss, w)})
    before, after = show(step, stage="input"), show(step, stage="simplify")
    assert "= 1 * %" in before
    assert "= 1 * %" not in after
    assert before.splitlines()[-1].startswith("update w <- %")
    assert show(step, stage="loops") == show_program(step.program)
    with pytest.raises(
        GraphError, match=r"there is no stage 'soup'\n  hint: one of input, cse"
    ):
        show(step, stage="soup")


def _leaves(loss):
    from graphc.expr import topological

    return [n for n in topological([loss]) if n.op.family == "leaf"]


def test_deep_graphs_are_cut_in_the_middle():
    y = x = gr.scalar("x")
    for _ in range(10_000):
        y = (y + x) * x
    lines = show(y, limit=10).splitlines()
    assert len(lines) == 12
    assert lines[5] == "... 19991 lines left out (limit=None shows all)"
    assert lines[10].startswith("%20000 = %19999 * x")
    assert len(show(y, limit=None).splitlines()) == 20_002


def test_equal_names_are_told_apart():
    x = gr.scalar("x")
    text = show((x + 1).named("h") * (x + 2).named("h"))
    assert "h = x + 1" in text
    assert "%1 = h * h#2" in text


def test_what_is_no_graph_is_refused():
    with pytest.raises(GraphError, match="list is not a graph"):
        show([])
    with pytest.raises(GraphError, match="list is not a graph"):
        show([3.0])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2", "x / 2"),
        ("-2", "x / -2"),
        ("n", "x / n"),
        ("2*n", "x / (2*n)"),
        ("n + 1", "x / (n + 1)"),
    ],
)
def test_sizes_keep_their_grouping(text, shown):
    x = gr.scalar("x")
    assert phrase(x / 2, [Phrase("x"), inline_phrase(text)]).text == shown


def _subscripts():
    places = ["mk", "km", "k", "m", "bmk", "bkm", "mkb"], ["kn", "nk", "k", "n", "bkn", "bnk"]
    for left, right in itertools.product(*places):
        free = [
            c for c in "bmn" if (c in left) != (c in right) or (c == "b" and c in left + right)
        ]
        for out in itertools.permutations(free):
            yield f"{left},{right}->{''.join(out)}"


@pytest.mark.parametrize("subscripts", list(_subscripts()))
def test_matrix_products_are_what_the_contraction_says(subscripts):
    left, right = subscripts.split("->")[0].split(",")
    sizes = {"b": 2, "m": 3, "k": 4, "n": 5}
    draw = np.random.default_rng(0).normal
    operands = [draw(size=[sizes[c] for c in letters]) for letters in (left, right)]
    product = matrix_product(subscripts)
    if product is None:
        plain = len(left) <= 2 and len(right) <= 2 and "k" in left and "k" in right
        assert not plain
        return
    a, b = (
        operands[i].T if turned else operands[i]
        for i, turned in zip(product.order, product.transposed, strict=True)
    )
    np.testing.assert_allclose(a @ b, np.einsum(subscripts, *operands), rtol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 5, 6])
def test_ranges_are_written_as_python_slices(size):
    array = np.arange(size)
    for start, step in itertools.product(range(size), (-3, -2, -1, 1, 2, 3)):
        most = (size - 1 - start) // step + 1 if step > 0 else start // -step + 1
        for length in range(1, most + 1):
            text = range_text((start, length, step), size)
            expected = [start + i * step for i in range(length)]
            assert eval(f"array[{text}]", {"array": array}).tolist() == expected, text


def test_loop_program_as_pseudo_code(golden):
    n = symbol("n")
    x, w = Buffer("x", float32, (n, 4), "input"), Buffer("w", float32, (4, 3), "parameter")
    bias = Buffer("bias", float32, (3,), "constant", np.zeros(3, np.float32).tobytes())
    h, out = Buffer("h", float32, (n, 3), "workspace"), Buffer("out0", float32, (), "output")
    product = ContractionKernel(
        "k0", Operand(x, (), 4, 1), Operand(w, (), 3, 1), Operand(h, (), 3, 1),
        (), n, 4, 3, float32, label="ij,jk->ik", flops=n * 24, nbytes=n * 28 + 48,
    )  # fmt: skip
    place = Index((("i", 3), ("j", 1)))
    inner = Loop(
        "j", 3, "vector",
        (
            Load("v1", h, place),
            Load("v2", bias, Index((("j", 1),))),
            Compute("v3", "add", ("v1", "v2"), float32),
            Compute("v4", "exp", ("v3",), float32),
            Accumulate("a1", "v4"),
        ),
    )  # fmt: skip
    outer = Loop(
        "i", n, "serial", (inner,), (Accumulator("a1", "sum", float32),), parallel=True
    )
    scale = Const("c", float32, 0.1), Compute("v5", "mul", ("a1", "c"), float32)
    nest = LoopKernel("k1", (outer, *scale, Store(out, Index(), "v5")), "mean", n * 33, n * 12)
    program = Program(
        ("n",), (x,), (out,), (w,), (bias,), (product, nest), 2, ((h, 0),), n * 12
    )  # fmt: skip
    golden("program.txt", show(program))
