"""The public checks find what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gr
from graphc.errors import DTypeError, InputError, UnsupportedOpError, VerificationError
from graphc.ops import OPS
from graphc.ops.table import Op
from graphc.testing import check_grads, samples


def test_a_wrong_derivative_is_found_and_named():
    """At a kink the declared derivative is not the central difference."""
    with pytest.raises(VerificationError) as caught:
        check_grads(lambda x, y: y * gr.nn.relu(x), [[1.0, 0.0], [2.0, 3.0]])
    assert caught.value.summary.startswith(
        "check_grads: derivative 1 for x0[1] is 0, differences"
    )


def test_a_wrong_second_derivative_is_found():
    """The slope 0 of ``|x|`` at 0 agrees with differences, its own slope does not."""
    check_grads(gr.abs, [0.0])
    with pytest.raises(VerificationError, match="derivative 2 for x0"):
        check_grads(gr.abs, [0.0], order=2)


def test_nan_is_not_a_derivative():
    with pytest.raises(VerificationError):
        check_grads(lambda x: gr.log(x), [-1.0])


def test_an_expression_with_its_leaves():
    x = gr.tensor("x", ("n",), "float64")
    p = gr.parameter("p", np.array([0.5, 2.0]))
    check_grads(gr.sum(gr.sin(x * p[0])) + p[1] ** 3, {x: np.ones(3), p: p.value}, order=2)


def test_several_outputs_and_integer_operands():
    check_grads(
        lambda x, i: [gr.take(x, i), x * x], [[1.0, 2.0, 3.0], np.array([2, 0])], order=2
    )


def test_large_inputs_are_sampled():
    check_grads(lambda x: gr.sin(x), [np.linspace(0, 1, 1000)])


def test_misuse():
    x = gr.tensor("x", (2,))
    with pytest.raises(DTypeError, match="differences need float64"):
        check_grads(gr.sin(x), {x: np.ones(2)})
    with pytest.raises(InputError, match="mapping"):
        check_grads(gr.sin(x), [np.ones(2)])


def test_samples_lie_in_the_domain_and_are_repeatable():
    for op in OPS.values():
        for sample, again in zip(samples(op), samples(op.name), strict=True):
            assert sample.name == again.name
            assert all(
                np.array_equal(a, b) for a, b in zip(sample.arrays, again.arrays, strict=True)
            )
    for sample in samples("log", ["float32"]):
        assert (sample.arrays[0] >= 0.1).all()
        assert sample.arrays[0].dtype == "float32"


def test_samples_of_an_unknown_operation():
    op = Op("unknown op of a test", "control", lambda types, attrs: types[0], lambda x: x)
    try:
        with pytest.raises(UnsupportedOpError, match="no samples for unknown"):
            samples(op)
    finally:
        del OPS[op.name]
