"""The text that stands for a graph in the cache: it tells apart what is not the same."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest

import cases
import graphc as gr
from graphc.graph import Graph, content
from graphc.types import symbol


def told(inputs: list[gr.Expr], outputs: list[gr.Expr], updates: Any = None) -> str | None:
    return content(Graph(tuple(inputs), tuple(outputs), tuple((updates or {}).items())))


@pytest.mark.parametrize("case", cases.ALL, ids=str)
def test_graphs_made_alike_are_told_alike(case: cases.Case) -> None:
    found = set()
    for _ in range(2):
        leaves, value = case.graph()
        with gr.scope("anywhere"):
            found.add(told(leaves, [value, gr.stop_gradient(value)]))
    assert len(found) == 1
    assert None not in found


N = symbol("n")
X = ("x", (4, 4), "float64")

#: Graphs of one input that differ in little.
FUNCTIONS: dict[str, Callable[[gr.Expr], Any]] = {
    "itself": lambda x: x,
    "sum": lambda x: gr.sum(x, 0),
    "sum over the other axis": lambda x: gr.sum(x, 1),
    "sum over both": gr.sum,
    "keepdims": lambda x: gr.sum(x, 0, keepdims=True),
    "max": lambda x: gr.max(x, 0),
    "transposed": lambda x: x.T,
    "first rows": lambda x: x[:2],
    "last rows": lambda x: x[2:],
    "every other row": lambda x: x[::2],
    "backwards": lambda x: x[::-1],
    "float32": lambda x: x.astype("float32"),
    "int64": lambda x: x.astype("int64"),
    "difference": lambda x: x - x.T,
    "difference, swapped": lambda x: x.T - x,
    "scaled": lambda x: x * 2.0,
    "scaled by next": lambda x: x * np.nextafter(2.0, 3.0),
    "scaled by an array": lambda x: x * np.full(4, 2.0),
    "scaled by another array": lambda x: x * np.full((4, 1), 2.0),
    "zero": lambda x: x + 0.0,
    "other zero": lambda x: x + -0.0,
    "NaN": lambda x: x + gr.constant(np.array(np.nan)),
    "other NaN": lambda x: x + gr.constant(-np.array(np.nan)),
    "many constants": lambda x: x + np.arange(16.0).reshape(4, 4),
    "many other constants": lambda x: x + np.arange(1.0, 17.0).reshape(4, 4),
    "flat": lambda x: gr.reshape(x, (16,)),
    "rows of two": lambda x: gr.reshape(x, (8, 2)),
    "padded": lambda x: gr.pad(x, ((0, 1), (0, 0))),
    "padded before": lambda x: gr.pad(x, ((1, 0), (0, 0))),
    "two": lambda x: [x, x + 1.0],
    "two, swapped": lambda x: [x + 1.0, x],
    "one made twice": lambda x: [gr.sin(x), gr.sin(x)],
    "one given twice": lambda x: [y := gr.sin(x), y],
}


def graphs() -> dict[str, str | None]:
    found = {}
    for name, make in FUNCTIONS.items():
        x = gr.tensor(*X)
        made = make(x)
        found[name] = told([x], made if isinstance(made, list) else [made])
    for leaf in (("y", (4, 4), "float64"), ("x", (4, 5), "float64"), ("x", (4, 4), "float32"),
                 ("x", (4, N), "float64"), ("x", (4, N + 1), "float64"),
                 ("x", (4, "m"), "float64"), ("n", (4, N), "float64")):  # fmt: skip
        x = gr.tensor(*leaf)
        found[f"sum of {leaf}"] = told([x], [gr.sum(x, 0)])
    x, y, z = (gr.tensor(name, (4,)) for name in "xyz")
    found["x, y"], found["y, x"] = told([x, y], [x + y]), told([y, x], [x + y])
    found["unused"] = told([x, y, z], [x + y])
    p, q = (gr.parameter(name, np.ones(4, np.float32)) for name in "pq")
    found["parameter"] = told([x], [x + p])
    found["update"] = told([x], [x + p], {p: p + x})
    found["update by itself"] = told([x], [x + p], {p: x + p})
    found["other update"] = told([x], [x + p], {q: p + x})
    found["swap"] = told([x], [x], {p: q, q: p})
    found["no swap"] = told([x], [x], {p: p, q: q})
    return found


def test_graphs_that_differ_are_told_apart() -> None:
    found = graphs()
    assert None not in found.values()
    same = [(a, b) for a, b in combinations(found, 2) if found[a] == found[b]]
    assert not same
    assert graphs() == found


def test_lines_scopes_and_values_of_parameters_do_not_count() -> None:
    def one(value: float) -> str | None:
        x, p = gr.scalar("x"), gr.parameter("p", value)
        return told([x], [gr.tanh(x + p)])

    with gr.scope("part"):
        other = one(3.0)
    assert one(2.0) == other
    assert gr.parameter("p", 2.0).value == 2.0


def test_parts_to_be_computed_again_are_not_told() -> None:
    x = gr.tensor("x", (4,))
    part = gr.checkpoint(lambda v: gr.tanh(gr.sin(v)))
    assert told([x], [part(x)]) is None
