"""To SymPy, from SymPy, and back."""

from __future__ import annotations

import subprocess
import sys

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import given, settings

import graphc as gr
from diff.test_paths import scalar, scalar_graphs
from graphc.expr import topological
from graphc.interop.to_sympy import _formulas
from graphc.interpret import evaluate
from graphc.ops import OPS
from graphc.testing import samples

S, T = sympy.symbols("s t")


# To SymPy -----------------------------------------------------------------------------------

FORMULAS = [n for n in _formulas() if n not in ("equal", "not_equal")]


@pytest.mark.parametrize("name", FORMULAS)
def test_every_formula_has_the_operations_value(name):
    """On points of the operation's domain, with 30 digits."""
    op = OPS[name]
    boolean = name.startswith("logical")
    sample = next(
        s for s in samples(op, ["bool" if boolean else "float64"]) if s.arrays[-1].shape == (7,)
        or s.arrays[-1].shape == (5,) or s.arrays[-1].shape == (2, 9)
        or s.arrays[-1].shape == (3, 1)
    )  # fmt: skip
    arrays = np.broadcast_arrays(*sample.arrays)
    leaves = [gr.scalar(f"x{i}", a.dtype) for i, a in enumerate(arrays)]
    out = gr.expr.apply(op, leaves)
    symbols = [sympy.Symbol(f"x{i}") for i in range(len(leaves))]
    formula = gr.to_sympy(out)
    for point in zip(*(a.ravel() for a in arrays), strict=True):
        values = dict(zip(leaves, point, strict=True))
        expected = evaluate([out], values)[0]
        numbers = [
            sympy.S(bool(p)) if a.dtype == bool else sympy.Float(float(p), 30)
            for p, a in zip(point, arrays, strict=True)
        ]
        found = formula.subs(dict(zip(symbols, numbers, strict=True)))
        if expected.dtype == bool:
            assert bool(found) == bool(expected)
        else:
            np.testing.assert_allclose(float(found.evalf(30)), expected, rtol=1e-13, atol=1e-15)


def test_derivatives_are_sympys():
    x = scalar("x")
    f = gr.sin(x) * gr.exp(-gr.square(x)) / (1 + x)
    for d in (gr.grad(f, x), gr.diff(f, x)):
        difference = gr.to_sympy(d) - sympy.diff(gr.to_sympy(f), sympy.Symbol("x"))
        assert sympy.simplify(difference) == 0


def test_constants():
    x = scalar("x")
    assert gr.to_sympy(x * 0.5) == sympy.Symbol("x") / 2
    tenth = gr.to_sympy(x * 0.1).args[0]
    assert float(tenth) == 0.1
    assert gr.to_sympy(gr.constant(np.float32(0.1))) == sympy.Float(float(np.float32(0.1)))
    assert gr.to_sympy(gr.constant(float("inf"))) == sympy.oo
    assert gr.to_sympy(gr.constant(3)) == 3
    assert gr.to_sympy(gr.constant(np.full((2, 3), 0.25))) == sympy.Rational(1, 4)


def test_tensors_give_the_formula_of_an_element():
    x = gr.matrix("x", "n", 3)
    assert gr.to_sympy(gr.grad(gr.sum(gr.sin(x)), x), {gr.constant(1): S}).has(sympy.cos)


def test_symbols_with_assumptions():
    x = scalar("x")
    real = sympy.Symbol("x", real=True)
    assert sympy.diff(gr.to_sympy(gr.abs(x), {x: real}), real) == sympy.sign(real)
    y = gr.exp(x)
    assert gr.to_sympy(y * y, {y: S}) == S**2


def test_refusals_of_to_sympy():
    x, v = scalar("x"), gr.vector("v", 3, "float64")
    unsupported = gr.errors.UnsupportedOpError
    with pytest.raises(unsupported, match=r"^to_sympy: sum is not elementwise"):
        gr.to_sympy(gr.sum(v))
    with pytest.raises(unsupported, match=r"^to_sympy: round has no SymPy form"):
        gr.to_sympy(gr.round(x))
    with pytest.raises(unsupported, match="constant with different elements"):
        gr.to_sympy(v * np.arange(3.0))
    with pytest.raises(gr.errors.GraphError, match=r"^to_sympy: two inputs are named x"):
        gr.to_sympy(x + scalar("x"))
    y = x
    for _ in range(60):
        y = gr.sin(y) * y
    with pytest.raises(gr.errors.GraphError, match="has 3 458 764 513 820 540 926 nodes"):
        gr.to_sympy(y)


# From SymPy ---------------------------------------------------------------------------------


@settings(derandomize=True, deadline=None, max_examples=40)  # SymPy can take minutes
@given(scalar_graphs())
def test_there_and_back(nodes):
    o, x, y = nodes[-1], nodes[0], nodes[1]
    if len(topological([o])) > 12:
        return
    back = gr.from_sympy(gr.to_sympy(o), {"x": x, "y": y})
    values = {x: 0.7, y: -0.3}
    expected, found = evaluate([o, back], values)
    assert back.dtype == o.dtype or not gr.to_sympy(o).free_symbols
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


EXPRESSIONS = [
    S + T, S - T, 3 - S, -S, S * T / 2, S / T, 1 / S, -S / T**2, S**2, S**3, S**-3, S**0.5,
    1 / sympy.sqrt(S), S**T, 2**S, sympy.exp(-S), sympy.pi * S, S / sympy.sqrt(2),
    sympy.Rational(1, 3) * S, sympy.sqrt(2) / S, sympy.sin(S) ** 2 + sympy.cos(T) ** 2,
    sympy.Max(S, T, 1), sympy.Min(S, T), sympy.Abs(S - T), sympy.sign(S - 1), sympy.floor(S),
    sympy.Mod(S, T), sympy.atan2(S, T), sympy.erf(S), sympy.cot(S), sympy.sec(S),
    sympy.Piecewise((S, S > T), (T**2, sympy.Ne(S, 3)), (0, True)),
    sympy.Piecewise((S, sympy.And(S > T, T > 0)), (T, True)), sympy.Heaviside(S - T),
    sympy.log(S) * sympy.tanh(T), (S + T) ** 2 / (S * T) - S * (S + T), sympy.E * S,
]  # fmt: skip


@pytest.mark.parametrize("expr", EXPRESSIONS, ids=str)
def test_values_of_sympy_expressions(expr):
    x, y = scalar("x"), scalar("y")
    made = gr.from_sympy(expr, {S: x, "t": y})
    assert made.dtype.name == "float64"
    function = sympy.lambdify((S, T), expr, "mpmath")
    for a, b in ((0.7, 0.3), (1.9, 2.6)):
        with mpmath.workdps(30):
            expected = float(function(mpmath.mpf(a), mpmath.mpf(b)))
        found = evaluate([made], {x: a, y: b})[0]
        np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-15)


def test_equal_terms_are_one_node():
    x = scalar("x")
    e = sympy.sin(S)
    made = gr.from_sympy(e**2 + sympy.exp(e), {S: x})
    assert [n.op.name for n in topological([made])].count("sin") == 1


def test_float32_stays_float32():
    x = gr.scalar("x")
    made = gr.from_sympy(sympy.pi * S + sympy.Rational(1, 3), {S: x})
    assert made.dtype.name == "float32"


def test_a_deep_expression_is_walked_without_recursion():
    x = scalar("x")
    e = S
    for _ in range(300):
        e = sympy.sin(e, evaluate=False)
    assert len(topological([gr.from_sympy(e, {S: x})])) == 301


def test_a_missing_case_is_nan():
    x = scalar("x")
    made = gr.from_sympy(sympy.Piecewise((S, S > 0)), {S: x})
    assert np.isnan(evaluate([made], {x: -1.0})[0])


def test_text_is_never_evaluated():
    x = scalar("x")
    for text in ("s + 1", "__import__('os').abort()"):
        with pytest.raises(gr.errors.InputTypeError, match="str is not a SymPy expression"):
            gr.from_sympy(text, {"s": x})
        with pytest.raises(gr.errors.InputTypeError, match="is not a SymPy expr"):
            gr.elementwise_op("f", text, [S])
        with pytest.raises(gr.errors.InputTypeError, match="is not a SymPy symbol"):
            gr.elementwise_op("f", S, [text])
        with pytest.raises(gr.errors.InputTypeError, match="is not a SymPy expr"):
            gr.elementwise_op("f", S, [S], partials={S: text})


def test_refusals_of_from_sympy():
    x = scalar("x")
    with pytest.raises(gr.errors.GraphError, match=r"^from_sympy: no value for t$|^from_sympy"):
        gr.from_sympy(S + T, {S: x})
    with pytest.raises(gr.errors.UnsupportedOpError, match="no operation for gamma"):
        gr.from_sympy(sympy.gamma(S), {S: x})
    with pytest.raises(gr.errors.UnsupportedOpError, match="is not real"):
        gr.from_sympy(sympy.I * S, {S: x})


# User's operations --------------------------------------------------------------------------

R, Q = sympy.symbols("r q", real=True)
OPERATIONS = {
    "softsign": (R / (1 + sympy.Abs(R)), [R]),
    "swish": (R / (1 + sympy.exp(-Q * R)), [R, Q]),
    "gaussian": (sympy.exp(-((R - Q) ** 2) / 2) / sympy.sqrt(2 * sympy.pi), [R, Q]),
    "bent": ((sympy.sqrt(R**2 + 1) - 1) / 2 + R, [R]),
    "rational": ((R**3 + Q) / (1 + R**2 * Q**2), [R, Q]),
    "gated": (sympy.Piecewise((R * Q, R > 0), (sympy.sin(Q), True)), [R, Q]),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("backend", ["interpret", "llvm"])
def test_users_operations(name, backend):
    """Value and partials against SymPy's on arrays, broadcast, compiled by every backend."""
    expr, symbols = OPERATIONS[name]
    op = gr.elementwise_op(name, expr, symbols)
    rng = np.random.default_rng(1)
    shapes = [(4, 3), (3,)][: len(symbols)]
    arrays = [rng.uniform(-2, 2, s) for s in shapes]
    leaves = [gr.tensor(f"x{i}", s, "float64") for i, s in enumerate(shapes)]
    out = op(*leaves)
    assert out.scope.name == name
    f = gr.compile(leaves, [out, *gr.grad(gr.sum(out), leaves)], backend=backend)
    value, *slopes = f(*arrays)
    points = np.broadcast_arrays(*arrays)
    reference = np.vectorize(sympy.lambdify(symbols, expr, "mpmath"), otypes=[float])
    np.testing.assert_allclose(value, reference(*points), rtol=1e-13, atol=1e-15)
    for symbol, slope, array in zip(symbols, slopes, arrays, strict=True):
        partial = sympy.lambdify(symbols, sympy.diff(expr, symbol), "mpmath")
        expected = np.vectorize(partial, otypes=[float])(*points)
        if array.shape != expected.shape:
            expected = expected.sum(0)
        np.testing.assert_allclose(slope, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", OPERATIONS)
def test_users_operations_to_second_order(name):
    expr, symbols = OPERATIONS[name]
    op = gr.elementwise_op(name, expr, symbols)
    arrays = [[0.3, -1.2, 0.9], [0.5, 1.1, -0.8]][: len(symbols)]
    gr.testing.check_grads(op, arrays, order=2)


def test_users_operations_in_forward_mode_and_by_the_textbook():
    op = gr.elementwise_op("swish", *OPERATIONS["swish"])
    x = gr.vector("x", 3, "float64")
    values = {x: np.array([-1.0, 0.2, 2.0])}
    forward = gr.jvp(op(x, 1.5), x, np.ones(3))
    textbook = gr.diff(op(x, 1.5), x)
    reverse = gr.grad(gr.sum(op(x, 1.5)), x)
    found = evaluate([forward, textbook, reverse], values)
    np.testing.assert_allclose(found[0], found[2], rtol=1e-14)
    np.testing.assert_allclose(found[1], found[2], rtol=1e-14)


def test_kinks_are_as_declared():
    x = gr.vector("x", 3, "float64")
    relu = sympy.Max(R, 0)
    for declared in (0.0, 0.5, 1.0):
        op = gr.elementwise_op("relu", relu, [R], at={R: {0: declared}})
        slope = gr.grad(gr.sum(op(x)), x)
        found = evaluate([slope], {x: np.array([-1.0, 0.0, 2.0])})[0]
        np.testing.assert_array_equal(found, [0, declared, 1])


def test_a_declared_partial_replaces_sympys():
    x = gr.vector("x", 2, "float64")
    through = gr.elementwise_op("through", sympy.floor(R), [R], partials={R: sympy.S.One})
    values = {x: np.array([0.4, 1.7])}
    value, slope = evaluate([through(x), gr.grad(gr.sum(through(x)), x)], values)
    np.testing.assert_array_equal(value, [0, 1])
    np.testing.assert_array_equal(slope, [1, 1])


def test_element_types_of_users_operations():
    op = gr.elementwise_op("sum2", R + 2 * Q, [R, Q])
    single, double = gr.vector("x", 3), gr.vector("y", 3, "float64")
    count = gr.vector("n", 3, "int64")
    assert op(single, 2.0).dtype.name == "float32"
    assert op(2.0, single).dtype.name == "float32"
    assert op(single, double).dtype.name == "float64"
    assert op(count, 1).dtype.name == "float64"
    constant = gr.elementwise_op("one", sympy.S.One, [R])
    assert constant(single).type == single.type


def test_shared_terms_are_written_once():
    e = sympy.exp(sympy.sin(R))
    op = gr.elementwise_op("f", e / (1 + e) + e**2, [R])
    x = scalar("x")
    slope = gr.grad(op(x), x)
    made = [n for n in topological([slope]) if n.op.name == "exp"]
    assert len(made) == 1


def test_refusals_of_elementwise_op():
    with pytest.raises(gr.errors.GraphError, match=r"^elementwise_op: f has no argument q"):
        gr.elementwise_op("f", R * Q, [R])
    with pytest.raises(gr.errors.GraphError, match=r"^elementwise_op: f has no argument q"):
        gr.elementwise_op("f", R, [R], at={Q: {0: 1}})
    with pytest.raises(gr.errors.GraphError, match=r"^elementwise_op: f has no argument q"):
        gr.elementwise_op("f", R, [R], partials={R: Q})
    op = gr.elementwise_op("f", R, [R])
    with pytest.raises(TypeError, match="f takes 1 operands, 2 given"):
        op(1.0, 2.0)


#: Formulas that overflow or cancel as they are spelt, and values to be had.
STABLE = [
    (1 / (1 + sympy.exp(-R)), "sigmoid"),
    (sympy.exp(R) / (1 + sympy.exp(R)), "sigmoid"),
    (R / (1 + sympy.exp(-R)), "sigmoid"),
    (R / (1 + sympy.exp(-R)) ** 2, "sigmoid"),
    (sympy.log(1 + sympy.exp(R)), "softplus"),
    (sympy.log(1 + sympy.exp(-R)) / 3 + R, "softplus"),
    (sympy.log(1 + R**2 / 10**12), "log1p"),
    (sympy.exp(R / 1000) - 1, "expm1"),
    (R + 1 - sympy.exp(-(R**2)), "expm1"),
]


@pytest.mark.parametrize(("expr", "op"), STABLE, ids=str)
def test_stable_forms_are_recognised(expr, op):
    """Values and first derivatives at extreme operands, against 2000 digits."""
    x = gr.vector("x", 7, "float64")
    at = np.array([-800.0, -40.0, -1e-5, 0.0, 1e-5, 40.0, 800.0])
    out = gr.elementwise_op("f", expr, [R])(x)
    assert op in [n.op.name for n in topological([out])]
    value, slope = evaluate([out, gr.grad(gr.sum(out), x)], {x: at})
    with mpmath.workdps(2000):
        exact = sympy.lambdify(R, expr, "mpmath")
        exact_slope = sympy.lambdify(R, sympy.diff(expr, R), "mpmath")
        expected = [float(exact(mpmath.mpf(v))) for v in at]
        expected_slope = [float(exact_slope(mpmath.mpf(v))) for v in at]
    np.testing.assert_allclose(value, expected, rtol=1e-13, atol=0)
    np.testing.assert_allclose(slope, expected_slope, rtol=1e-13, atol=1e-300)


# Packages -----------------------------------------------------------------------------------


def test_networkx():
    networkx = pytest.importorskip("networkx")
    x = gr.matrix("x", "n", 3)
    y = x * x
    g = gr.to_networkx([gr.exp(y), y])
    assert isinstance(g, networkx.MultiDiGraph)
    assert [d["op"] for _, d in g.nodes(data=True)] == ["input", "mul", "exp"]
    assert g.number_of_edges(0, 1) == 2
    assert g.nodes[2] == {
        "op": "exp", "name": "", "label": "%2 = exp(%1)", "shape": "[n, 3]",
        "dtype": "float32", "flops": "30*n", "depth": 2, "source": g.nodes[2]["source"],
        "scope": "", "rule": "", "output": True,
    }  # fmt: skip
    assert g.nodes[2]["source"].startswith("test_sympy.py:")
    assert g.nodes[1]["output"]
    assert networkx.is_directed_acyclic_graph(g)
    assert networkx.DiGraph(g).number_of_edges() == 2


def test_networkx_writes_files(tmp_path):
    networkx = pytest.importorskip("networkx")
    x = gr.vector("x", "n")
    g = gr.to_networkx(gr.grad(gr.sum(gr.tanh(x)), x))
    networkx.write_graphml(g, tmp_path / "g.graphml")
    back = networkx.read_graphml(tmp_path / "g.graphml", node_type=int, force_multigraph=True)
    assert back.number_of_nodes() == g.number_of_nodes()
    assert {d["op"] for _, d in back.nodes(data=True)} >= {"tanh", "mul", "broadcast_to"}


def test_importing_graphc_imports_neither():
    code = "import sys, graphc; assert not {'sympy', 'networkx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
