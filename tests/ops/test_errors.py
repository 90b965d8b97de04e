"""Texts of errors: what failed, the operands and their lines, what to do."""

from __future__ import annotations

import re

import numpy as np
import pytest

import graphc as gr
from graphc.errors import DTypeError, ShapeError

A = gr.tensor("a", (2, 3))
B = gr.tensor("b", (4, 3))
N = gr.tensor("n", ("batch", 3))
I = gr.tensor("i", (2,), "int64")  # noqa: E741
K = gr.tensor("k", (3,), "int32")
MASK = gr.tensor("mask", (3,), "bool")

MESSAGES = [
    (lambda: A + B, ShapeError, "add: sizes 2 and 4 do not broadcast (axis -2)"),
    (lambda: A & A, DTypeError, "bitwise_and: not defined for float32, float32"),
    (lambda: -MASK, DTypeError, "neg: not defined for bool"),
    (lambda: MASK - MASK, DTypeError, "sub: not defined for bool, bool"),
    (lambda: gr.where(A, A, A), DTypeError, "where: the condition is float32, not bool"),
    (lambda: K**-1, DTypeError, "pow: an integer to the negative power -1 is no integer"),
    (
        lambda: gr.tensor("u", (), "uint8") + 300,
        DTypeError,
        "add: 300 is out of range for uint8",
    ),
    (lambda: A @ B, ShapeError, "matmul: inner sizes differ (3 and 4)"),
    (lambda: A @ gr.scalar("s"), ShapeError, "matmul: operands must have at least one axis"),
    (lambda: gr.dot(N, A), ShapeError, "dot: inner sizes differ (3 and 2)"),
    (lambda: gr.einsum("ij,jk->ik", A, B), ShapeError, "einsum: inner sizes differ (3 and 4)"),
    (lambda: gr.einsum("ij->ij", A, B), ShapeError, "einsum: 'ij->ij' names 1 operands, not 2"),
    (lambda: gr.einsum("ijk->i", A), ShapeError, "einsum: 'ijk' does not fit f32[2, 3]"),
    (lambda: gr.diagonal(A), ShapeError, "diagonal: sizes 2 and 3 differ"),
    (
        lambda: gr.diagonal(A, 0, 2),
        ShapeError,
        "diagonal: axis 2 is out of range for a tensor of rank 2",
    ),
    (
        lambda: gr.sum(A, axis=2),
        ShapeError,
        "sum: axis 2 is out of range for a tensor of rank 2",
    ),
    (
        lambda: gr.mean(A, axis=2),
        ShapeError,
        "mean: axis 2 is out of range for a tensor of rank 2",
    ),
    (
        lambda: gr.sum(A, axis="rows"),
        ShapeError,
        "sum: 'rows' is not an axis",
    ),
    (lambda: gr.flip(A, 0.5), ShapeError, "flip: 0.5 is not an axis"),
    (lambda: gr.nn.softmax(A, axis="a"), ShapeError, "softmax: 'a' is not an axis"),
    (
        lambda: gr.nn.maxout(A, 3, axis=2),
        ShapeError,
        "maxout: axis 2 is out of range for a tensor of rank 2",
    ),
    (
        lambda: gr.nn.cross_entropy(A, I, axis=4),
        ShapeError,
        "cross_entropy: axis 4 is out of range for a tensor of rank 2",
    ),
    (
        lambda: gr.nn.kl(A, A, axis=-3),
        ShapeError,
        "kl: axis -3 is out of range for a tensor of rank 2",
    ),
    (
        lambda: gr.iota((3,), 1),
        ShapeError,
        "iota: axis 1 is out of range for a tensor of rank 1",
    ),
    (lambda: gr.max(A, axis=(0, -2)), ShapeError, "max: an axis is named twice in (0, -2)"),
    (
        lambda: gr.max(A[:0], axis=0),
        ShapeError,
        "max: axis 0 is empty and there is no identity to start from",
    ),
    (lambda: gr.reshape(A, (4, 2)), ShapeError, "reshape: (2, 3) has 6 elements, (4, 2) has 8"),
    (lambda: gr.reshape(A, (-1, -1)), ShapeError, "reshape: only one size can be -1"),
    (
        lambda: gr.reshape(N, (2, -1)),
        ShapeError,
        "reshape: 3*batch elements do not divide into 2",
    ),
    (
        lambda: gr.transpose(A, (0, 0)),
        ShapeError,
        "transpose: (0, 0) is not a permutation of 2 axes",
    ),
    (
        lambda: gr.broadcast_to(A, (4, 3)),
        ShapeError,
        "broadcast_to: sizes 2 and 4 do not broadcast (axis -2)",
    ),
    (lambda: gr.squeeze(A, 0), ShapeError, "squeeze: axis 0 has size 2, not 1"),
    (
        lambda: gr.concatenate([A, B], axis=1),
        ShapeError,
        "concatenate: sizes 2 and 4 differ on axis 0",
    ),
    (lambda: gr.concatenate([A, I]), ShapeError, "concatenate: operands have different ranks"),
    (lambda: gr.concatenate([]), ShapeError, "concatenate: there is nothing to join"),
    (lambda: gr.stack([A, B]), ShapeError, "stack: shapes (2, 3) and (4, 3) differ"),
    (
        lambda: gr.split(A, 2, axis=1),
        ShapeError,
        "split: size 3 does not divide into 2 equal parts",
    ),
    (lambda: gr.split(A, 0), ShapeError, "split: size 2 does not divide into 0 equal parts"),
    (lambda: gr.pad(A, -1), ShapeError, "pad: widths cannot be negative (-1)"),
    (lambda: gr.take(A, A), DTypeError, "take: an index is float32, not an integer"),
    (lambda: gr.take_along_axis(A, I), ShapeError, "take_along_axis: ranks 2 and 1 differ"),
    (
        lambda: gr.scatter_add(A, gr.tensor("j", (4, 3), "int64"), 0, 9),
        ShapeError,
        "scatter_add: sizes 2 and 4 do not broadcast (axis -2)",
    ),
    (lambda: A[2], ShapeError, "getitem: index 2 is out of range for an axis of size 2"),
    (lambda: A[0, 0, 0], ShapeError, "getitem: 3 indices for a tensor of rank 2"),
    (lambda: A[0.5], ShapeError, "getitem: 0.5 is not an index"),
    (
        lambda: A[MASK],
        ShapeError,
        "getitem: the result of a boolean mask has no shape known in advance",
    ),
    (lambda: N[::0], ShapeError, "getitem: a slice step cannot be zero"),
    (
        lambda: gr.softmax(K, axis=1),
        ShapeError,
        "softmax: axis 1 is out of range for a tensor of rank 1",
    ),
]


@pytest.mark.parametrize(("f", "kind", "summary"), MESSAGES, ids=[m[2] for m in MESSAGES])
def test_summary(f, kind, summary):
    with pytest.raises(kind) as caught:
        f()
    assert caught.value.summary == summary


@pytest.mark.parametrize(("f", "summary"), [(f, s) for f, _, s in MESSAGES])
def test_operands_and_lines_are_shown(f, summary):
    """Every operand line gives role, type, the line that made it and its name."""
    with pytest.raises(gr.GraphcError) as caught:
        f()
    for line in caught.value.where:
        assert re.fullmatch(
            r"at     test_errors\.py:\d+|[\w\[\]]+ +\w+\[.*\] +test_errors\.py:\d+ +\w+", line
        ), line
    assert caught.value.where or "nothing" in summary


def test_the_whole_text():
    x = gr.tensor("x", (32, 784))
    w = gr.tensor("W2", (128, 10))
    with pytest.raises(ShapeError) as caught:
        x @ w
    first, second = (int(re.search(r":(\d+)", t).group(1)) for t in caught.value.where[:2])
    assert second == first + 1
    assert str(caught.value) == (
        "matmul: inner sizes differ (784 and 128)\n"
        f"  left   f32[32, 784]  test_errors.py:{first}  x\n"
        f"  right  f32[128, 10]  test_errors.py:{second}  W2\n"
        "  hint: transpose the right operand, or swap the operands"
    )


def test_the_outermost_function_is_named():
    with pytest.raises(ShapeError) as caught:
        gr.stack([A, A], axis=4)
    lines = str(caught.value).splitlines()
    assert lines[0] == "stack: axis 4 is out of range for a tensor of rank 3"
    assert [line.split()[0] for line in lines[1:]] == ["parts[0]", "parts[1]", "at"]


@pytest.mark.parametrize("convert", [bool, float, int, np.asarray, len])
def test_a_symbol_is_not_a_number(convert):
    with pytest.raises(DTypeError, match=r"symbolic|not a number"):
        convert(gr.scalar("s"))


def test_leaves():
    with pytest.raises(gr.errors.GraphError, match="a leaf needs a name, not ''"):
        gr.tensor("", (2,))
    with pytest.raises(ShapeError, match="a size cannot be negative"):
        gr.tensor("x", (-2,))
    with pytest.raises(DTypeError, match=r"str\d* values"):
        gr.constant("text")
    p = gr.parameter("p", np.zeros(2))
    with pytest.raises(gr.errors.GraphError, match=r"has shape \(2,\), the new value \(3,\)"):
        p.value = np.zeros(3)
    with pytest.raises(DTypeError, match="is float64, the new value complex128"):
        p.value = np.zeros(2, complex)
