"""Graphs to look at, and golden texts.

Golden texts name lines of this file, so graphs stand first and new ones go below them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import graphc as gr
from graphc.expr import Expr, topological

GOLDEN = Path(__file__).parent / "golden"


def dense(x: Expr, number: int, outputs: int) -> Expr:
    inputs = x.shape[-1]
    w = gr.parameter(f"W{number}", np.zeros((inputs, outputs), np.float32))
    b = gr.parameter(f"b{number}", np.zeros(outputs, np.float32))
    with gr.scope(f"layer{number}"):
        return x @ w + b


def perceptron(*widths: int) -> tuple[Expr, list[Expr]]:
    """Loss of a classifier and its parameters: relu between layers, softmax at the end."""
    x = gr.tensor("x", ("batch", widths[0]))
    t = gr.tensor("t", ("batch", widths[-1]))
    for number, outputs in enumerate(widths[1:], 1):
        x = dense(gr.nn.relu(x) if number > 1 else x, number, outputs)
    loss = gr.mean(gr.logsumexp(x, -1) - (x * t).sum(-1)).named("loss")
    return loss, parameters_of(loss)


def least_squares() -> tuple[Expr, Expr]:
    """Mean squared error of a linear model, and its weights."""
    x, y = gr.tensor("X", ("n", 3)), gr.tensor("y", ("n",))
    w = gr.parameter("w", np.zeros(3, np.float32))
    return gr.mean(gr.square(x @ w - y)), w


def softmax_cross_entropy() -> tuple[Expr, Expr]:
    """Mean cross-entropy of logits z with targets t, and z."""
    z, t = gr.tensor("z", ("n", 10)), gr.tensor("t", ("n", 10))
    return gr.mean(gr.logsumexp(z, -1) - (z * t).sum(-1)), z


def parameters_of(loss: Expr) -> list[Expr]:
    return [n for n in topological([loss]) if n.op.name == "parameter"]


@pytest.fixture
def mlp() -> Callable[..., tuple[Expr, list[Expr]]]:
    return perceptron


@pytest.fixture
def lsq() -> tuple[Expr, Expr]:
    return least_squares()


@pytest.fixture
def softmax_ce() -> tuple[Expr, Expr]:
    return softmax_cross_entropy()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden texts")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden(name, text)``: the text is what the file holds."""
    update = request.config.getoption("--update-golden", default=False)

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if update:
            path.write_text(text + "\n", encoding="utf-8")
        assert text + "\n" == path.read_text(encoding="utf-8")

    return compare
