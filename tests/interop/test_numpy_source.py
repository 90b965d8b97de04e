"""The NumPy text of a graph: it runs by itself and agrees with the interpreter."""

from __future__ import annotations

import ast
import subprocess
import sys

import numpy as np
import pytest

import cases
import graphc as gr
from graphc.expr import Expr
from graphc.graph import Graph
from graphc.interpret import evaluate
from graphc.ops import OPS


def load(text, name="f"):
    """The function that a text defines, in a namespace of its own."""
    names = {"__builtins__": __builtins__}
    exec(compile(text, "made.py", "exec"), names)
    return names[name]


def agree(outputs, values):
    """Run the text of a graph beside the interpreter: types, shapes and values."""
    leaves = list(values)
    text = gr.to_python(outputs, inputs=leaves)
    found = load(text)(*values.values())
    expected = evaluate([outputs] if isinstance(outputs, Expr) else outputs, values)
    for got, want in zip(
        [found] if isinstance(outputs, Expr) else found, expected, strict=True
    ):
        assert np.shape(got) == want.shape, text
        assert np.asarray(got).dtype == want.dtype, text
        tolerance = 1e-5 if want.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", cases.ALL, ids=str)
def test_every_case(case):
    leaves, out = case.graph()
    agree(out, dict(zip(leaves, case.arrays, strict=True)))


@pytest.mark.parametrize("case", [*cases.NUMPY, *cases.NETWORKS], ids=str)
def test_gradient_of_every_case(case):
    leaves, out = case.graph()
    targets = [x for x in leaves if x.dtype.is_float]
    if out.dtype.is_float and targets:
        gradients = gr.grad(gr.sum(out), targets, unused="zero")
        agree(gradients, dict(zip(leaves, case.arrays, strict=True)))


def test_operations_without_text_are_none():
    from graphc.inspect.text.notation import INFIX
    from graphc.interop.numpy_source import FORMS

    written = {n for n, op in OPS.items() if n in INFIX or n in FORMS or op.ufuncs}
    assert set(OPS) - written == {"input", "parameter"}


def test_symbolic_sizes_are_read_off_the_operands():
    x, y = gr.tensor("x", ("n", 3), "float64"), gr.vector("y", "m", "float64")
    out = gr.mean(gr.outer(gr.sum(x, axis=1), y))
    gradient = gr.grad(out, x)
    for n, m in ((4, 2), (1, 7)):
        agree([out, gradient], {x: np.arange(3.0 * n).reshape(n, 3), y: np.ones(m)})


def test_symbolic_slices_and_joins():
    x = gr.vector("x", "n", "float64")
    out = gr.concatenate([x[1:], x[::-1], x[:-2]])
    agree([out, gr.grad(gr.sum(gr.square(out)), x)], {x: np.arange(5.0)})
    agree(gr.arange(0, "n") + gr.sum(x), {x: np.arange(4.0)})


def test_the_text_runs_in_a_process_without_the_package(tmp_path):
    x = gr.vector("x", 3, "float64")
    loss = gr.sum(gr.nn.gelu(x) * gr.nn.softmax(x))
    text = gr.to_python([loss, gr.grad(loss, x)], "value_and_slope")
    modules = {
        name.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import)
        for name in node.names
    }
    assert modules == {"numpy", "math"}
    code = f"{text}\nimport sys\nprint(*value_and_slope([0.5, -1.0, 2.0])[1])"
    code += "\nassert 'graphc' not in sys.modules"
    file = tmp_path / "made.py"
    file.write_text(code)
    done = subprocess.run(
        [sys.executable, "-I", str(file)], capture_output=True, text=True, check=True
    )
    expected = evaluate([gr.grad(loss, x)], {x: np.array([0.5, -1.0, 2.0])})[0]
    np.testing.assert_allclose([float(t) for t in done.stdout.split()], expected, rtol=1e-13)


def test_parameters_come_after_inputs():
    w = gr.parameter("w", np.ones(3))
    x = gr.vector("x", 3, "float64")
    text = gr.to_python(gr.sum(w * x))
    assert "def f(x, w):" in text
    assert load(text)(np.arange(3.0), np.ones(3)) == 3


def test_a_compiled_function_at_a_stage():
    x = gr.vector("x", 4, "float64")
    f = gr.compile(x, gr.nn.softmax(x), backend="interpret")
    given = f.snapshots[0].graph
    assert isinstance(given, Graph)
    np.testing.assert_allclose(load(gr.to_python(given))(np.arange(4.0)), f(np.arange(4.0)))


HOSTILE = [
    "class", "np", "x); import os; os.abort(); (", "a\nimport os", "x y", "1x", "é", "print",
    "sigmoid", "__import__", "f", "v1", '"""', "x#", "ﬁ", "fi", "math",
]  # fmt: skip


def test_names_are_made_safe():
    leaves = [gr.scalar(name, "float64") for name in HOSTILE]
    total = gr.sigmoid(leaves[0])
    for leaf in leaves[1:]:
        total = (total + leaf).named(leaf.name)
    text = gr.to_python(total)
    tree = ast.parse(text)
    (function,) = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "f"]
    names = [a.arg for a in function.args.args]
    assert len(set(names)) == len(HOSTILE)
    assert all(name.isascii() and name.isidentifier() for name in names)
    assert not set(names) & {"class", "np", "print", "sigmoid", "f", "math"}
    values = np.linspace(-1, 1, len(HOSTILE))
    expected = 1 / (1 + np.exp(-values[0])) + values[1:].sum()
    np.testing.assert_allclose(load(text)(*values), expected, rtol=1e-13)


def test_sizes_and_operands_of_one_name():
    n = gr.vector("n", "n", "float64")
    np_ = gr.vector("m", "np", "float64")
    agree(gr.mean(n) + gr.mean(np_), {n: np.arange(3.0), np_: np.arange(5.0)})


def test_constants_keep_every_bit():
    values = np.array([0.1, -0.0, np.inf, -np.inf, np.nan, 5e-324, 1 / 3])
    for array in (values, values.astype("float32"), np.zeros((0, 2)), values[:6].reshape(2, 3)):
        text = gr.to_python(gr.constant(array))
        found = load(text)()
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
        np.testing.assert_array_equal(np.signbit(found), np.signbit(array))


@pytest.mark.parametrize("name", ["", "a b", "lambda", "np", "f()", "sum"])
def test_the_function_needs_a_name(name):
    with pytest.raises(gr.errors.GraphError, match="cannot be the name of a function"):
        gr.to_python(gr.scalar("x"), name)


def test_a_missing_input_is_named():
    x, y = gr.scalar("x"), gr.scalar("y")
    with pytest.raises(gr.errors.GraphError, match=r"^to_python: y is not among the inputs"):
        gr.to_python(x + y, inputs=[x])


@pytest.mark.parametrize("stage", ["input", "simplify", "stabilize", "multiply-add"])
def test_stages_of_a_compiled_gradient(stage):
    """What the compiler made of a gradient, as text that runs."""
    x, w = gr.matrix("x", "n", 4, "float64"), gr.matrix("w", 4, 3, "float64")
    labels = gr.vector("labels", "n", "int64")
    loss = gr.nn.cross_entropy(gr.tanh(x @ w), labels)
    f = gr.compile([x, labels, w], [loss, gr.grad(loss, w)])
    rng = np.random.default_rng(0)
    arrays = rng.normal(size=(5, 4)), rng.integers(0, 3, 5), rng.normal(size=(4, 3))
    made = load(gr.to_python(f, stage=stage))
    for got, want in zip(made(*arrays), f(*arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_a_training_step_returns_the_new_parameters():
    x = gr.vector("x", 3, "float64")
    w = gr.parameter("w", np.array([1.0, -1.0, 2.0]))
    loss = gr.nn.squared_error(w * x, 1.0)
    step = gr.compile([x], loss, updates={w: w - 0.1 * gr.grad(loss, w)}, backend="interpret")
    before = w.value.copy()
    made = load(gr.to_python(step))(np.ones(3), before)
    np.testing.assert_allclose(made[0], step(np.ones(3)))
    np.testing.assert_allclose(made[1], w.value)
    assert not np.array_equal(before, w.value)
