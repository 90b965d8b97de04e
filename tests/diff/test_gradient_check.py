"""check_grads in every mode: what it finds, and how it says so."""

from __future__ import annotations

import math

import numpy as np
import pytest

import graphc as gr
from graphc.diff.gradient_check import ridders
from graphc.errors import GraphError, InputError, VerificationError
from graphc.ops.table import OPS, Op
from graphc.testing import check_grads


@pytest.fixture
def faulty():
    """Cubes whose rule for reverse mode, or for forward mode, is wrong."""
    made = []

    def make(backward, forward):
        op = Op(
            f"cube of a test {len(made)}",
            "elementwise",
            lambda types, attrs: types[0],
            lambda x: x**3,
            vjp=lambda ct, out, x: (ct * backward * x * x,),
            jvp=lambda tangents, out, x: tangents[0] * forward * x * x,
        )
        made.append(op)
        return lambda x: gr.expr.apply(op, (x,))

    yield make
    for op in made:
        del OPS[op.name]


def _error(*args, **options):
    with pytest.raises(VerificationError) as caught:
        check_grads(*args, **options)
    return caught.value


@pytest.mark.parametrize("modes", ["reverse", "forward", "both"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_right_derivatives_pass_in_every_mode(modes, order):
    f = lambda x, w: gr.sum(gr.tanh(w @ x) * gr.exp(-x[:2]))  # noqa: E731
    rng = np.random.default_rng(0)
    check_grads(f, [rng.normal(size=3), rng.normal(size=(2, 3))], order, modes=modes)


def test_the_wrong_rule_is_named_with_its_line(faulty):
    cube = faulty(2, 3)
    error = _error(lambda x, y: gr.sin(cube(gr.exp(x))) * y, [[0.1, 0.2], [1.0, 2.0]])
    assert error.summary.startswith("check_grads: derivative 1 for x0[0] is ")
    assert ", differences give " in error.summary
    assert error.where[0].startswith("input  f64[2]")
    assert error.where[1].startswith("rule ")
    assert "test_gradient_check.py:" in error.where[1]
    assert error.where[1].endswith("cube of a test 0")
    assert error.hint == "the local derivative of cube of a test 0 differs first"


def test_a_wrong_forward_rule_passes_in_reverse_mode_only(faulty):
    cube = faulty(3, 2)
    check_grads(cube, [0.7], modes="reverse")
    differs = _error(cube, [0.7], modes="forward")
    assert "derivative 1 in forward mode is" in differs.summary
    assert ", differences give " in differs.summary
    both = _error(cube, [0.7])
    assert ", reverse mode gives " in both.summary
    assert both.where[-1].endswith("cube of a test 0")


def test_a_wrong_rule_under_symbolic_sizes(faulty):
    cube = faulty(2, 3)
    x = gr.tensor("x", ("n", "m"), "float64")
    y = gr.sum(cube(gr.reshape(gr.flip(x, 0), (-1,))))
    error = _error(y, {x: np.arange(6.0).reshape(2, 3) + 1})
    assert error.where[-1].endswith("cube of a test 0")


def test_a_declared_derivative_is_named():
    f = gr.custom_gradient(gr.sin, vjp=lambda ct, out, x: ct)
    error = _error(lambda x: gr.square(f(x)), [0.7])
    assert error.where[-1].endswith("custom_gradient")
    right = gr.custom_gradient(gr.sin, jvp=lambda t, out, x: t[0] * gr.cos(x))
    check_grads(lambda x: gr.square(right(x)), [0.7], order=3)


def test_the_step_adapts_to_the_scale():
    """A fixed step of 1e-3 fails where a function changes within 1e-4."""
    check_grads(lambda x: gr.sin(3e3 * x), [0.1], order=2)
    check_grads(lambda x: gr.exp(-gr.square(x / 1e-2)), [0.004], order=2)


def test_steps_shrink_until_they_stay_in_the_domain():
    check_grads(gr.log, [[1e-9, 1e-5]])
    check_grads(gr.sqrt, [1e-8])
    wrong = gr.custom_gradient(gr.log, vjp=lambda ct, out, x: ct * 0)
    assert "is 0, differences give 1" in _error(wrong, [1e-9]).summary


def test_a_rounding_error_is_no_derivative():
    """Steps that change nothing do not show that a slope is zero."""
    assert ridders(lambda t: 1.0 + t, 1e-12, rounds=20) == pytest.approx(1.0, rel=1e-3)
    assert ridders(lambda t: 1.0 + t, 0.1) == pytest.approx(1.0, rel=1e-12)


def test_where_a_function_is_not_finite_no_rule_is_blamed():
    error = _error(gr.log, [0.0])
    assert error.hint.startswith("there is nothing to compare with")
    assert not any(line.startswith("rule") for line in error.where)


@pytest.mark.parametrize(
    ("f", "inputs", "options", "text"),
    [
        (gr.sin, [0.5], {"order": 0}, "order is 1 or more, not 0"),
        (gr.sin, [0.5], {"order": -1}, "order is 1 or more, not -1"),
        (gr.sin, [0.5], {"order": "2"}, "order is 1 or more, not '2'"),
        (gr.sin, [[1, 2]], {}, "no input is a float"),
        (gr.sin, [[1.0, math.nan]], {}, "the values of x0 are not finite"),
        (gr.sin, np.ones(1), {}, "the inputs of a function are a list, not ndarray"),
        (gr.sin, 0.5, {}, "the inputs of a function are a list, not float"),
        (gr.scalar("q") * 2, [0.5], {}, "the inputs of an expression are a mapping"),
        (gr.scalar("q") * 2, {"q": 0.5}, {}, "the inputs of an expression are a mapping"),
        (gr.scalar("q") * 2, {}, {}, "no values for 'q'"),
    ],
)
def test_what_cannot_be_checked_is_an_error(f, inputs, options, text):
    with pytest.raises(InputError, match=text):
        check_grads(f, inputs, **options)


def test_results_may_be_nested_and_must_be_expressions():
    check_grads(lambda x: {"a": gr.sin(x), "b": (x, x * x)}, [0.5])
    with pytest.raises(GraphError, match=r"a derivative was asked for with 3\.0"):
        check_grads(lambda x: 3.0, [0.5])


def test_ridders_is_exact_to_ten_digits():
    for f, slope in [
        (math.exp, 1.0),
        (lambda t: math.sin(1e3 * t), 1e3),
        (lambda t: 1 / (1.0 + t), -1.0),
        (lambda t: 7.0, 0.0),
    ]:
        assert ridders(f, 0.1) == pytest.approx(slope, rel=1e-9, abs=1e-12)
    assert math.isnan(ridders(lambda t: math.nan, 0.1))


def test_unknown_modes():
    with pytest.raises(InputError, match="modes is reverse, forward or both, not 'all'"):
        check_grads(gr.sin, [0.5], modes="all")
