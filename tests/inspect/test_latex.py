"""LaTeX that KaTeX and MathJax accept, and that says what the graph says."""

from __future__ import annotations

import re

import numpy as np
import pytest

import graphc as gr
from graphc.expr import topological
from graphc.inspect.text.latex import expr_latex, symbol, to_latex
from graphc.ops import OPS
from graphc.ops.reduction import prod

X = gr.tensor("X", ("n", 3))
A, B = gr.tensor("A", (3, 3)), gr.tensor("B", (3, 3))
V, S = gr.vector("v", 3), gr.scalar("s")


def balanced(text: str) -> bool:
    """Braces, \\left with \\right, \\begin with \\end."""
    plain = re.sub(r"\\[{}]", "", text)
    depth = 0
    for c in plain:
        depth += (c == "{") - (c == "}")
        if depth < 0:
            return False
    lefts, rights = (len(re.findall(rf"\\{w}(?![a-z])", text)) for w in ("left", "right"))
    opened, closed = (sorted(re.findall(rf"\\{w}{{(\w+)}}", text)) for w in ("begin", "end"))
    return depth == 0 and lefts == rights and opened == closed


def test_softmax_cross_entropy_gradient(softmax_ce, golden):
    loss, z = softmax_ce
    golden("softmax_ce.tex", to_latex([loss, gr.cse(gr.grad(loss, z))]))


def test_softmax_cross_entropy_simplified(softmax_ce, golden):
    loss, z = softmax_ce
    t = next(n for n in topological([loss]) if n.name == "t")
    f = gr.compile([z, t], gr.grad(loss, z))
    golden("softmax_ce_simplified.tex", to_latex(f, stage="simplify"))


def test_least_squares(lsq, golden):
    loss, w = lsq
    golden("lsq.tex", to_latex([loss.named("L"), gr.cse(gr.grad(loss, w))]))


def test_training_step_with_updates(mlp, golden):
    loss, parameters = mlp(4, 3, 2)
    inputs = [n for n in topological([loss]) if n.op.name == "input"]
    updates = {
        p: p - 0.1 * g for p, g in zip(parameters, gr.grad(loss, parameters), strict=True)
    }
    step = gr.compile(inputs, loss, updates, backend="interpret")
    golden("mlp_step.tex", to_latex(step, stage="input"))


@pytest.mark.parametrize(
    ("name", "latex"),
    [
        ("x", "x"),
        ("W1", "W_{1}"),
        ("W_12", "W_{12}"),
        ("beta", r"\beta"),
        ("beta_2", r"\beta_{2}"),
        ("loss", r"\mathrm{loss}"),
        ("x_max", r"x_{\mathrm{max}}"),
        ("running_mean_1", r"\mathrm{running\_mean\_1}"),
        ("50%{", r"\mathrm{50\%\{}"),
        ("layer1/W", r"\mathrm{layer1/W}"),
    ],
)
def test_names(name, latex):
    assert symbol(name) == latex
    assert balanced(latex)


@pytest.mark.parametrize(
    ("expr", "latex"),
    [
        (A @ B, r"A \, B"),
        (A.T @ B, r"A^{\top} \, B"),
        ((A + B) @ V, r"\left(A + B\right) \, v"),
        (A * B, r"A \odot B"),
        (gr.expr.apply(OPS["fma"], (S, V, V)), r"s \, v + v"),
        (gr.expr.apply(OPS["fma"], (A, B, A)), r"A \odot B + A"),
        ((A * B) @ V, r"\left(A \odot B\right) \, v"),
        (S * A, r"s \, A"),
        (S * 2, r"s \cdot 2"),
        (A / S, r"\frac{A}{s}"),
        ((A / S) ** 2, r"\left(\frac{A}{s}\right)^{2}"),
        (A - (B - V), r"A - \left(B - v\right)"),
        (-(A + B), r"-\left(A + B\right)"),
        (A * -B, r"A \odot \left(-B\right)"),
        (X.sum(), r"\sum_{i,j} X"),
        (X.sum(1) * V[0], None),
        ((X.sum(0) * 2).sum() + 1, r"\sum_{i} \left(\sum_{i} X\right) \cdot 2 + 1"),
        (prod(A, 0), r"\prod_{i} A"),
        (gr.exp(V), r"e^{v}"),
        (gr.exp(V) ** 2, r"\left(e^{v}\right)^{2}"),
        (gr.sigmoid(V), r"\sigma\left(v\right)"),
        (gr.softmax(X), r"\operatorname{softmax}\left(X\right)"),
        (gr.softmax(X, 0), r"\operatorname{softmax}_{i}\left(X\right)"),
        (gr.norm(V), r"\left\lVert v\right\rVert_{2}"),
        (gr.where(V > 0, 1.0, 0.0), r"\mathbb{1}\left[v > 0\right]"),
        (S * 1e-8, r"s \cdot 10^{-8}"),
        (S - 2.5e-7, r"s - 2.5 \cdot 10^{-7}"),
        (gr.outer(V, V), None),
        (gr.einsum("ij,kj->ijk", A, B), None),
        (X.sum() / S, r"\frac{\sum_{i,j} X}{s}"),
    ],
)
def test_notation(expr, latex):
    text = to_latex(expr)
    assert balanced(text)
    assert latex is None or text == latex


def _operands(op):
    for dtype in ("float32", "int32", "bool"):
        try:
            return op(*(gr.tensor(f"x{i}", (2, 3), dtype) for i in range(len(op.roles))))
        except gr.GraphcError:
            continue
    raise AssertionError(op)


@pytest.mark.parametrize("name", [n for n, op in OPS.items() if op.promote is not None])
def test_every_elementwise_op_can_be_written(name):
    text = to_latex(_operands(OPS[name]))
    assert balanced(text)
    assert "x_{0}" in text


def test_structured_ops_can_be_written():
    i, k = gr.tensor("i", (2, 3), "int64"), gr.tensor("k", ("n", 1), "int64")
    p, q = gr.tensor("P", (2, 3, 4)), gr.tensor("Q", (2, 3, 4))
    exprs = [
        gr.take_along_axis(X, k),
        gr.scatter_add(A[:2], i, 0, 5),
        gr.concatenate([A, B]),
        gr.pad(A, 1),
        gr.cumsum(A, 0),
        gr.argmax(A, 1),
        gr.max(A),
        gr.iota((3,)),
        A[::-1],
        gr.transpose(p, (2, 0, 1)),
        gr.einsum("bij,bkj->bik", p, q),
        gr.constant(np.ones((2, 2))),
        gr.constant([1.0, 2.0]),
        gr.mean(X),
        gr.logsumexp(X, (0, 1)),
    ]
    for expr in exprs:
        assert balanced(to_latex(expr)), to_latex(expr)


def test_notebooks_get_mathematics_mode_and_no_giants():
    assert expr_latex(A @ B) == r"$\displaystyle A \, B$"
    y = S
    for _ in range(200):
        y = gr.sin(y)
    assert expr_latex(y) is None


def test_expressions_show_themselves_in_notebooks():
    assert (A @ B)._repr_latex_() == r"$\displaystyle A \, B$"
    assert gr.parameter("w", [1.0])._repr_svg_().startswith("<svg ")
