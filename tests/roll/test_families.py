"""Rolled families of scalar functions: values, gradients, bits, and how much code there is."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gr
from graphc.interpret import evaluate
from graphc.roll import stage
from scalar_graphs import FAMILIES, point

EACH = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


@pytest.fixture
def small(monkeypatch):
    """Graphs of some hundred nodes are rolled, too."""
    monkeypatch.setenv("GRAPHC_CACHE", "off")  # which knows nothing of thresholds
    monkeypatch.setattr(stage, "SMALLEST", 200)


def differentiated(family, nodes, dtype="float64"):
    inputs, value = family(nodes, dtype)
    return inputs, [value, *gr.grad(value, inputs)]


def is_rolled(function):
    return any(s.stage == "roll" for s in function.snapshots)


def close(found, expected, dtype="float64"):
    rtol = {"float64": 1e-12, "float32": 2e-3}[dtype]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.max(np.abs(b)))


@EACH
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_value_and_gradient(small, family, dtype):
    inputs, outputs = differentiated(family, 400, dtype)
    at = point(inputs)
    function = gr.compile(inputs, outputs, verify=True)
    assert is_rolled(function)
    values = function(*at)
    assert [v.dtype for v in values] == [dtype] * len(values)
    close(values, evaluate(outputs, dict(zip(inputs, at, strict=True))), dtype)


@EACH
def test_the_interpreter_knows_rolled_graphs(small, family):
    inputs, outputs = differentiated(family, 400)
    at = dict(zip(inputs, point(inputs), strict=True))
    function = gr.compile(inputs, outputs)
    rolled = next(s.graph for s in function.snapshots if s.stage == "roll")
    close(evaluate(rolled.roots, at), evaluate(outputs, at))


@EACH
@pytest.mark.parametrize("target", ["native", "avx2", "sse2"])
def test_strict_code_gives_the_bits_of_the_unrolled_graph(small, family, target):
    inputs, outputs = differentiated(family, 400)
    rolled = gr.compile(inputs, outputs, math="strict", target=target)
    plain = gr.compile(inputs, outputs, math="strict", target=target, skip="roll")
    assert is_rolled(rolled)
    assert not is_rolled(plain)
    for seed in range(3):
        at = point(inputs, seed)
        for a, b in zip(rolled(*at), plain(*at), strict=True):
            np.testing.assert_array_equal(a, b)


def instructions(function):
    """Lines of code, without the tables."""
    return sum(not line.startswith("@") for line in function.llvm_ir.splitlines())


@EACH
def test_code_does_not_grow_with_the_graph(family):
    """Six times the nodes need a quarter more code at most.

    A tree needs some more for each new level, a triangle some for each row.
    """
    found = []
    for nodes in (2_500, 15_000):
        inputs, outputs = differentiated(family, nodes)
        function = gr.compile(inputs, outputs)
        assert is_rolled(function)
        found.append(instructions(function))
    named = {"tree": 5000, "triangle": 3 * found[0]}
    assert found[1] < named.get(family.__name__, 1.25 * found[0] + 200)


def test_small_graphs_are_left_alone():
    inputs, outputs = differentiated(FAMILIES["chain"], 200)
    assert not is_rolled(gr.compile(inputs, outputs))
