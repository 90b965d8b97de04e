"""Sizes as polynomials, promotion, broadcasting."""

from __future__ import annotations

import operator
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gr
from graphc.errors import DTypeError, ShapeError
from graphc.types import (
    DTYPES,
    Dim,
    as_dtype,
    as_shape,
    as_size,
    broadcast_shapes,
    evaluate_size,
    from_numpy,
    normalise_axes,
    promote,
    same_size,
    size_symbols,
    symbol,
)

n, m = symbol("n"), symbol("m")
OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}

sizes = st.recursive(
    st.one_of(st.integers(-4, 6), st.sampled_from([n, m])),
    lambda inner: st.tuples(st.sampled_from(sorted(OPERATIONS)), inner, inner),
    max_leaves=6,
)
values = st.fixed_dictionaries({"n": st.integers(0, 9), "m": st.integers(0, 9)})


def _build(tree):
    if isinstance(tree, tuple):
        return OPERATIONS[tree[0]](_build(tree[1]), _build(tree[2]))
    return tree


def _number(tree, given):
    if isinstance(tree, tuple):
        return OPERATIONS[tree[0]](_number(tree[1], given), _number(tree[2], given))
    return tree.evaluate(given) if isinstance(tree, Dim) else tree


@settings(max_examples=200, deadline=None, derandomize=True)
@given(sizes, values)
def test_polynomials_agree_with_integers(tree, given):
    assert evaluate_size(_build(tree), given) == _number(tree, given)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(sizes, sizes, values)
def test_equal_polynomials_are_equal(left, right, given):
    a, b = _build(left), _build(right)
    assert same_size(a * b, b * a)
    assert same_size(a + b - b, a)
    assert same_size((a + b) * (a - b), a * a - b * b)
    if same_size(a, b):
        assert evaluate_size(a, given) == evaluate_size(b, given)
        assert hash(a) == hash(b)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(sizes, st.one_of(st.integers(1, 5), st.just(n + 1), st.just(m + 2)), values)
def test_quotients_and_remainders_agree_with_integers(tree, divisor, given):
    a = _build(tree)
    number, by = _number(tree, given), evaluate_size(divisor, given)
    assert evaluate_size(a // divisor, given) == number // by
    assert evaluate_size(a % divisor, given) == number % by


@settings(max_examples=100, deadline=None, derandomize=True)
@given(sizes, values)
def test_names_cover_what_evaluation_needs(tree, given):
    size = _build(tree)
    known = {k: v for k, v in given.items() if k in size_symbols(size)}
    assert evaluate_size(size, known) == _number(tree, given)


def test_normal_forms():
    assert n + n == 2 * n
    assert same_size(n - n, 0)
    assert (n * m * 6) // (2 * n) == 3 * m
    assert n == "n"
    assert {n: 1}["n"] == 1
    assert (n + 1) != "n"
    assert str(n * m - 2 * n + 3) == "m*n - 2*n + 3"
    assert str(n // 2) == "(n//2)"
    assert str((n + 1) // 2 * 2) == "2*((n + 1)//2)"


def test_a_symbolic_size_has_no_order():
    with pytest.raises(ShapeError, match="the size n is symbolic"):
        bool(n)
    with pytest.raises(ShapeError, match="cannot be compared with 3"):
        n < 3  # noqa: B015
    with pytest.raises(ShapeError, match="divided by zero"):
        n // 0


def test_bad_sizes():
    with pytest.raises(ShapeError, match="cannot be negative"):
        as_size(-1)
    with pytest.raises(ShapeError, match="is not a size"):
        as_size(2.0)
    with pytest.raises(ShapeError, match="not a name"):
        symbol("2n")
    assert as_shape(np.int64(3)) == (3,)
    assert as_shape(("b", 3)) == (symbol("b"), 3)


# Broadcasting -------------------------------------------------------------------------------

shapes = st.lists(st.sampled_from([0, 1, 2, 3]), max_size=4).map(tuple)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(shapes, shapes, shapes)
def test_broadcasting_is_numpys(a, b, c):
    try:
        expected = np.broadcast_shapes(a, b, c)
    except ValueError:
        with pytest.raises(ShapeError, match="do not broadcast"):
            broadcast_shapes(a, b, c)
    else:
        assert broadcast_shapes(a, b, c) == expected


def test_a_symbolic_size_broadcasts_against_one_and_itself_only():
    assert broadcast_shapes((n, 1), (1, m)) == (n, m)
    assert broadcast_shapes((n + 1,), (1 + n,)) == (n + 1,)
    for other in (m, 3, 0, n + 1, 2 * n):
        with pytest.raises(ShapeError, match="do not broadcast"):
            broadcast_shapes((n,), (other,))


def test_error_of_operands_that_do_not_broadcast():
    x, y = gr.tensor("x", ("n", 3)), gr.tensor("y", (4,))
    with pytest.raises(ShapeError) as caught:
        x + y
    here = caught.value.where[0].split()[-2]
    assert str(caught.value).splitlines()[:3] == [
        "add: sizes 3 and 4 do not broadcast (axis -1)",
        f"  left   f32[n, 3]  {here}  x",
        f"  right  f32[4]     {here}  y",
    ]
    assert caught.value.where[2].startswith("at     test_types.py:")


def test_axes():
    assert normalise_axes(None, 3) == (0, 1, 2)
    assert normalise_axes(-1, 3) == (2,)
    assert normalise_axes((2, 0), 3) == (0, 2)
    with pytest.raises(ShapeError, match="named twice"):
        normalise_axes((0, -3), 3)
    with pytest.raises(ShapeError, match="axis 3 is out of range for a tensor of rank 3"):
        normalise_axes(3, 3)


# Element types ------------------------------------------------------------------------------


def test_promotion_of_three_is_numpys():
    for types in product(DTYPES.values(), repeat=3):
        assert promote(*types) == from_numpy(np.result_type(*(t.numpy for t in types)))


@pytest.mark.parametrize("number", [1, 1.5, True])
def test_python_numbers_promote_weakly(number):
    for dtype in DTYPES.values():
        assert promote(dtype, number) == from_numpy(np.result_type(dtype.numpy, number))


def test_names_of_element_types():
    assert as_dtype(float).name == "float64"
    assert as_dtype(np.float32) is as_dtype("float32") is as_dtype(np.dtype("f4"))
    assert str(gr.tensor("x", ("b", 2), "uint8").type) == "u8[b, 2]"
    for bad in ("float16", "int16", "complex128", "nonsense", object()):
        with pytest.raises(DTypeError):
            as_dtype(bad)


@pytest.mark.parametrize("name", ["float16", "int16", "uint16", "uint32"])
def test_missing_types_widen_without_loss(name):
    wide = from_numpy(np.dtype(name)).numpy
    assert np.can_cast(name, wide, "safe")


def test_default_element_type():
    assert gr.scalar("x").dtype.name == "float32"
    with gr.default_dtype("float64"):
        assert gr.scalar("x").dtype.name == "float64"
        assert gr.constant(1.0).dtype.name == "float64"
    assert gr.scalar("x").dtype.name == "float32"


@pytest.mark.parametrize("name", DTYPES)
def test_element_types_are_public(name: str) -> None:
    """What a repr prints can be written: ``graphc.float32``."""
    dtype = DTYPES[name]
    public = getattr(gr, name if name != "bool" else "bool_")
    assert public is dtype
    assert gr.tensor("x", (), public).dtype is dtype
    assert eval(repr(dtype), {"graphc": gr}) is dtype


@pytest.mark.parametrize(
    ("act", "kind", "text"),
    [
        (lambda n: n / 2, ShapeError, "the size n is divided by 2 with /"),
        (lambda n: 2 / (n + 1), ShapeError, r"the size n \+ 1 is divided by 2 with /"),
        (lambda n: n < 3, ShapeError, "the size n is symbolic and cannot be compared with 3"),
        (lambda n: bool(n), ShapeError, "the size n is symbolic and has no truth value"),
        (lambda n: int(n), ShapeError, "the size n is symbolic: it is a number in calls"),
        (
            lambda n: range(n),
            ShapeError,
            "hint: loops of Python take axes whose size is a number",
        ),
        (lambda n: n - 0.5, TypeError, "unsupported operand"),
        (lambda n: 0.5 // n, TypeError, "unsupported operand"),
        (lambda n: n % "m", TypeError, "unsupported operand|not all arguments"),
    ],
)
def test_what_a_size_is_not(act, kind, text):
    with pytest.raises(kind, match=text):
        act(symbol("n"))


def test_an_axis_of_a_symbolic_size_is_not_walked():
    with pytest.raises(DTypeError, match=r"the length of f32\[n\] .*\n  hint: gr.vmap maps"):
        list(gr.tensor("x", ("n",)))


def test_an_unknown_element_type_is_told_the_known_ones():
    with pytest.raises(DTypeError, match=r"'flot32' is not .*\n  hint: one of bool,.*float32"):
        gr.tensor("x", (2,), "flot32")
