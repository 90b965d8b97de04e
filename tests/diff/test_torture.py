"""Derivatives where formulas break: extreme operands, kinks, untaken branches, zeros.

References are SymPy's derivatives evaluated by mpmath with 200 digits, so that at least 50
are right after the worst cancellation between 1e-30 and 1e30, or values that a comment or a
docstring derives. The interpreter and compiled code are both compared, in both modes.
"""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import sympy

import graphc as gr
from graphc.interpret import evaluate

x, y = sympy.symbols("x y", real=True)
TINY, HUGE = 1e-30, 1e30


def derivatives(f, at):
    """``f'`` by both modes, interpreted and compiled, for each operand; ``at`` are numbers."""
    leaves = [gr.scalar(f"x{i}", "float64") for i in range(len(at))]
    out = f(*leaves)
    back = gr.grad(out, leaves, unused="zero")
    ahead = [gr.jvp(out, leaf, 1.0, unused="zero") for leaf in leaves]
    values = {leaf: np.float64(a) for leaf, a in zip(leaves, at, strict=True)}
    interpreted = [float(v) for v in evaluate([*back, *ahead], values)]
    compiled = [float(v) for v in gr.compile(leaves, [*back, *ahead])(*at)]
    n = len(at)
    return [interpreted[:n], interpreted[n:], compiled[:n], compiled[n:]]


def reference(formula, at):
    """SymPy's derivatives for each operand as floats (inf beyond their range)."""
    symbols = (x, y)[: len(at)]
    found = []
    with mpmath.workdps(200):
        for s in symbols:
            slope = sympy.lambdify(symbols, sympy.diff(formula, s), "mpmath")
            found.append(float(mpmath.re(slope(*map(mpmath.mpf, at)))))
    return found


def agree(f, formula, at, rtol=8e-15, atol=1e-307):
    expected = reference(formula, at)
    for found in derivatives(f, at):
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol, err_msg=f"at {at}")


# One operand ----------------------------------------------------------------------------------

SIZES = [TINY, 1e-10, 0.5, 3.0, 40.0, 700.0, 1e10, HUGE]
REAL = [s * v for v in SIZES for s in (1, -1)]
POSITIVE = SIZES
ONE = {
    "softplus": (gr.nn.softplus, sympy.log(1 + sympy.exp(x)), [v for v in REAL if v < 1e3]),
    "log_sigmoid": (
        gr.nn.log_sigmoid,
        -sympy.log(1 + sympy.exp(-x)),
        [v for v in REAL if v > -1e3],
    ),
    "silu": (gr.nn.silu, x / (1 + sympy.exp(-x)), [v for v in REAL if abs(v) < 500]),
    "gelu": (
        gr.nn.gelu,
        x * (1 + sympy.erf(x / sympy.sqrt(2))) / 2,
        [v for v in REAL if -6 < v < 1e3],
    ),
    "atan": (gr.atan, sympy.atan(x), REAL),
    "asinh": (gr.asinh, sympy.asinh(x), REAL),
    "exp": (gr.exp, sympy.exp(x), [v for v in REAL if v < 701]),
    "expm1": (gr.expm1, sympy.exp(x) - 1, [v for v in REAL if v < 701]),
    "exp2": (gr.exp2, 2**x, [v for v in REAL if v < 701]),
    "log": (gr.log, sympy.log(x), POSITIVE),
    "log2": (gr.log2, sympy.log(x, 2), POSITIVE),
    "log10": (gr.log10, sympy.log(x, 10), POSITIVE),
    "log1p": (gr.log1p, sympy.log(1 + x), [*POSITIVE, -0.5, -TINY, -1 + 1e-10]),
    "sqrt": (gr.sqrt, sympy.sqrt(x), POSITIVE),
    "reciprocal": (gr.reciprocal, 1 / x, REAL),
    "square": (gr.square, x**2, REAL),
    "cube": (lambda x: x**3, x**3, REAL),
    "power": (lambda x: x**-2.5, x ** sympy.Rational(-5, 2), POSITIVE),
    "quotient": (lambda x: (x + 2.0) / (x * x), (x + 2) / x**2, REAL),
    "erf": (gr.erf, sympy.erf(x), [v for v in REAL if abs(v) < 4]),
    "erfc": (gr.erfc, sympy.erfc(x), [v for v in REAL if abs(v) < 4]),
    "sinh": (gr.sinh, sympy.sinh(x), [v for v in REAL if abs(v) < 701]),
    "cosh": (gr.cosh, sympy.cosh(x), [v for v in REAL if abs(v) < 701]),
    "acosh": (gr.acosh, sympy.acosh(x), [1.5, 3.0, 700.0, 1e10, HUGE]),
    "atanh": (gr.atanh, sympy.atanh(x), [TINY, -TINY, 0.5, -0.999999]),
    "asin": (gr.asin, sympy.asin(x), [TINY, -TINY, 0.5, -0.999999]),
    "acos": (gr.acos, sympy.acos(x), [TINY, -TINY, 0.5, -0.999999]),
    "sin": (gr.sin, sympy.sin(x), [v for v in REAL if abs(v) < 1e3]),
    "norm": (
        lambda x: gr.norm(gr.stack([x, 3 * x, gr.constant(2.0, "float64")])),
        sympy.sqrt(10 * x**2 + 4),
        REAL,
    ),
    "logsumexp": (
        lambda x: gr.logsumexp(gr.stack([x, x - 1, 2 * x])),
        sympy.log(sympy.exp(x) + sympy.exp(x - 1) + sympy.exp(2 * x)),
        [v for v in REAL if abs(v) < 1e3],
    ),
}


@pytest.mark.parametrize("name", ONE)
def test_one_operand_between_1e_30_and_1e30(name):
    f, formula, points = ONE[name]
    for at in points:
        agree(f, formula, [at])


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_saturated_units(name):
    """``1 - y^2`` and ``y (1 - y)``: right to a rounding of 1, and zero where y rounds to 1."""
    f, formula = {
        "tanh": (gr.tanh, sympy.tanh(x)),
        "sigmoid": (gr.sigmoid, 1 / (1 + sympy.exp(-x))),
    }[name]
    for at in [v for v in REAL if abs(v) < 1e3]:
        agree(f, formula, [at], atol=3e-16)
    for at in (HUGE, -HUGE):
        assert derivatives(f, [at]) == [[0.0]] * 4


# Two operands ---------------------------------------------------------------------------------

SIDES = [TINY, -TINY, 2.0, -2.0, HUGE, -HUGE]
GRID = [(a, b) for a in SIDES for b in SIDES]
TWO = {
    "hypot": (gr.hypot, sympy.sqrt(x**2 + y**2), GRID),
    "atan2": (gr.atan2, sympy.atan2(x, y), GRID),
    "div": (gr.divide, x / y, GRID),
    "mul": (gr.multiply, x * y, GRID),
    "pow": (gr.pow, x**y, [(TINY, 2.0), (HUGE, 2.0), (HUGE, -2.0), (TINY, 0.5), (2.0, 700.0)]),
    "logaddexp": (
        gr.logaddexp,
        sympy.log(sympy.exp(x) + sympy.exp(y)),
        [(TINY, -TINY), (700.0, -700.0), (700.0, 700.0), (-700.0, 1e-10), (1e4, 1e4 - 2.0)],
    ),
}


@pytest.mark.parametrize("name", TWO)
def test_two_operands_between_1e_30_and_1e30(name):
    f, formula, points = TWO[name]
    for at in points:
        agree(f, formula, list(at), rtol=3e-14 if name == "pow" else 8e-15)


def test_atan2_on_the_axes():
    """``(x, -y) / (x^2 + y^2)``: defined everywhere but at the origin, on the cut too."""
    for at, expected in [
        ((0.0, 2.0), [0.5, 0.0]),
        ((0.0, -2.0), [-0.5, 0.0]),
        ((2.0, 0.0), [0.0, -0.5]),
        ((-2.0, 0.0), [0.0, 0.5]),
        ((-0.0, -HUGE), [-TINY, 0.0]),
    ]:
        for found in derivatives(gr.atan2, at):
            np.testing.assert_allclose(found, expected, rtol=1e-15)
    for found in derivatives(gr.atan2, (0.0, 0.0)):
        assert np.isnan(found).all()  # undefined, and not a number that looks like one


# Zeros ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exponent", "expected"),
    [(0.0, 0.0), (1.0, 1.0), (2.0, 0.0), (3, 0.0), (0.5, np.inf), (-1.0, -np.inf), (1.5, 0.0)],
)
def test_a_power_with_base_zero(exponent, expected):
    """``c x^(c-1)`` as a limit from the right; the exponent a number or an operand."""
    for found in derivatives(lambda x: x**exponent, [0.0]):
        assert found == [expected]
    if exponent >= 0:
        for found in derivatives(gr.pow, [0.0, float(exponent)]):
            assert found[0] == expected
            assert found[1] == 0.0


def test_norms_at_zero():
    """The subgradient of the smallest norm; beside zero the direction, however small."""
    for f in (
        lambda x: gr.norm(gr.stack([x, x])),
        lambda x: gr.hypot(x, 2 * x),
        lambda x: gr.std(gr.stack([x, -x])),
    ):
        assert derivatives(f, [0.0]) == [[0.0]] * 4
    for at in (TINY, 1e-160, 1e160):
        for found in derivatives(lambda x: gr.norm(gr.stack([3 * x, 4 * x])), [at]):
            np.testing.assert_allclose(found, [5.0], rtol=1e-14)
    for found in derivatives(lambda x: gr.sqrt(gr.square(x) + 0.0), [0.0]):
        assert np.isnan(found[0])  # 0 * inf: as written; gr.norm and gr.abs are defined there


def test_logsumexp_of_huge_and_infinite_values():
    f = lambda a, b: gr.logsumexp(gr.stack([a, b]))  # noqa: E731
    for at, expected in [
        ((1e30, -1e30), [1, 0]),
        ((1e30, 1e30), [0.5, 0.5]),
        ((-1e30, -1e30), [0.5, 0.5]),
        ((1e4, 1e4 - np.log(3)), [0.75, 0.25]),
        ((-np.inf, 3.0), [0, 1]),
    ]:
        for found in derivatives(f, at):
            np.testing.assert_allclose(found, expected, rtol=2e-12)


def test_products_with_zeros():
    f = lambda a, b: gr.prod(gr.stack([a, b, 2 * a]))  # noqa: E731
    for at, expected in [((0.0, 3.0), [0, 0]), ((2.0, 0.0), [0, 8]), ((HUGE, TINY), None)]:
        for found in derivatives(f, at):
            wanted = expected or [4 * at[0] * at[1], 2 * at[0] * at[0]]
            np.testing.assert_allclose(found, wanted, rtol=1e-14)


# Branches -------------------------------------------------------------------------------------


def _shared(log, x):
    """One logarithm with two users under one condition."""
    return gr.where(x > 0, log * log + 2 * log, 0.0)


def _two_conditions(root, x):
    """One square root with a user under each of two conditions."""
    return gr.where(x > 0, root, 0.0) + gr.where(x > 1, 2 * root, 0.0)


def _table(x):
    """Two rows of logarithms: of x, and of 1 + x."""
    return gr.log(gr.stack([gr.stack([x, 2 * x]), gr.stack([1 + x, 1 + x])]))


def _line(x):
    return gr.log(gr.stack([x, x]))


def _four(x):
    return gr.stack([x, x, x, x])


BRANCHES = {
    "log": (lambda x: gr.where(x > 0, gr.log(x), 0.0), [(0.0, 0), (-HUGE, 0), (TINY, HUGE)]),
    "sqrt": (lambda x: gr.where(x > 0, gr.sqrt(x), -x), [(0.0, -1), (-4.0, -1), (4.0, 0.25)]),
    "quotient": (
        lambda x: gr.where(gr.not_equal(x, 0), gr.sin(x) / x, 1.0),
        [(0.0, 0), (np.pi, -1 / np.pi)],
    ),
    "overflow": (
        lambda x: gr.where(x < 1, gr.exp(-x), gr.exp(x * 1e-3)),
        [(-1.0, -np.e), (1e3, np.e * 1e-3)],
    ),
    "exp of a huge value": (lambda x: gr.where(x > 0, x, gr.exp(x)), [(1e4, 1), (-1e4, 0)]),
    "nested": (
        lambda x: gr.where(x > 0, gr.where(x < 1, gr.sqrt(1 - x), gr.log(x)), 1 / x),
        [(4.0, 0.25), (0.75, -1.0), (-2.0, -0.25)],
    ),
    "before": (lambda x: gr.log(gr.where(x > 0, x, 1.0)), [(0.0, 0), (-1.0, 0), (4.0, 0.25)]),
    "twice": (
        lambda x: gr.square(gr.where(x > 0, gr.sqrt(x) * gr.log(x), 0.0)),
        [(0.0, 0), (1.0, 0), (np.e, 3.0)],
    ),
    "used twice": (
        lambda x: gr.where(x > 0, gr.log(x) * gr.log(x) + gr.log(x) / x, 0.0),
        [(0.0, 0), (-1.0, 0), (1.0, 1)],
    ),
    "shared": (lambda x: _shared(gr.log(x), x), [(0.0, 0), (-1.0, 0), (np.e, 4 / np.e)]),
    "under two conditions": (
        lambda x: _two_conditions(gr.sqrt(x), x),
        [(0.0, 0), (-1.0, 0), (4.0, 0.75)],
    ),
    "turned": (
        lambda x: gr.sum(
            gr.where(gr.stack([x, x])[None] > 0, gr.log(gr.stack([x, x])[:, None]).T, 0)
        ),
        [(0.0, 0), (4.0, 0.5)],
    ),
    "turned before": (
        lambda x: gr.sum(gr.sqrt(gr.where(gr.stack([x, x])[None] > 0, x, 0.0).T)),
        [(0.0, 0), (4.0, 0.5)],
    ),
    "rows": (
        lambda x: gr.sum(gr.where(gr.stack([x, 1 + x]) > 0, gr.sum(_table(x), axis=1), 0.0)),
        [(0.0, 2), (-1.0, 0), (1.0, 3)],
    ),
    "joined and cut": (
        lambda x: gr.sum(
            gr.where(gr.stack([x, x]) > 0, gr.concatenate([_line(x), x[None]])[::-1][:2], 0)
        ),
        [(0.0, 0), (-1.0, 0), (4.0, 1.25)],
    ),
    "joined and cut before": (
        lambda x: gr.sum(
            gr.sqrt(gr.broadcast_to(gr.where(_four(x) > 0, _four(x), 0)[::2], (3, 2)))
        ),
        [(0.0, 0), (-1.0, 0), (4.0, 1.5)],
    ),
    "acos of one": (lambda x: gr.where(x < 1, gr.acos(x), 0.0), [(1.0, 0), (0.0, -1)]),
}


@pytest.mark.parametrize("name", BRANCHES)
def test_the_branch_not_taken_does_not_matter(name):
    f, points = BRANCHES[name]
    for at, expected in points:
        for found in derivatives(f, [at]):
            np.testing.assert_allclose(found, [expected], rtol=1e-13, atol=2e-16)


@pytest.mark.parametrize("name", ["log", "sqrt", "quotient", "before", "acos of one"])
def test_second_derivatives_under_branches_are_finite(name):
    f, points = BRANCHES[name]
    s = gr.scalar("s", "float64")
    out = f(s)
    seconds = [
        gr.grad(gr.grad(out, s), s),
        gr.jvp(gr.grad(out, s), s, 1.0),
        gr.grad(gr.jvp(out, s, 1.0), s),
        gr.jvp(gr.jvp(out, s, 1.0), s, 1.0),
    ]
    at = [p for p, slope in points if slope in (0, -1) and p <= 1]
    for point in at:
        found = evaluate(seconds, {s: np.float64(point)})
        np.testing.assert_allclose(found, [found[0]] * 4, rtol=1e-13)
        assert np.isfinite(found).all()


# Kinks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "at", "expected"),
    [
        (gr.abs, [0.0], [0.0]),
        (gr.abs, [-0.0], [0.0]),
        (gr.abs, [-TINY], [-1.0]),
        (gr.nn.relu, [0.0], [0.0]),
        (gr.nn.relu, [TINY], [1.0]),
        (gr.nn.leaky_relu, [-HUGE], [0.01]),
        (gr.maximum, [HUGE, HUGE], [0.5, 0.5]),
        (gr.minimum, [TINY, -TINY], [0.0, 1.0]),
        (gr.maximum, [0.0, -0.0], [0.5, 0.5]),
        (lambda a, b: gr.max(gr.stack([a, b, a])), [2.0, 2.0], [2 / 3, 1 / 3]),
        (gr.sign, [0.0], [0.0]),
        (gr.floor, [3.0], [0.0]),
        (lambda x: gr.clip(x, -1, 1), [1.0], [0.5]),
        (lambda x: gr.clip(x, -1, 1), [HUGE], [0.0]),
        (gr.sqrt, [0.0], [np.inf]),
        (gr.log, [0.0], [np.inf]),
        (gr.asin, [1.0], [np.inf]),
    ],
)
def test_the_declared_policy(f, at, expected):
    for found in derivatives(f, at):
        np.testing.assert_allclose(found, expected, rtol=1e-15)
