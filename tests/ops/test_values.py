"""Values and types of every operation and function, against NumPy."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import cases
import graphc as gr
from graphc.interpret import evaluate
from graphc.ops import OPS
from graphc.ops.elementwise import promote
from graphc.types import DTYPES, TensorType, from_numpy

UFUNCS = [op for op in OPS.values() if op.ufuncs]


@pytest.mark.parametrize("case", cases.NUMPY, ids=str)
def test_function_is_numpys(case):
    leaves, out = case.graph()
    value = evaluate([out], dict(zip(leaves, case.arrays, strict=True)))[0]
    case.check(value)
    assert out.type == TensorType(from_numpy(value.dtype), value.shape)


@pytest.mark.parametrize("name", OPS)
def test_type_rule_says_what_evaluation_gives(name):
    for case in cases.BY_OPERATION[name]:
        leaves, out = case.graph()
        value = evaluate([out], dict(zip(leaves, case.arrays, strict=True)))[0]
        assert out.type == TensorType(from_numpy(value.dtype), value.shape), case.id
        case.check(value)


def _numpy_result(ufunc, arrays):
    """The ufunc's value, or None if NumPy does not define it for these types."""
    with np.errstate(all="ignore"):
        try:
            return ufunc(*arrays)
        except (TypeError, ValueError):
            return None


def _operands(op, dtypes, rng):
    arrays = []
    for (low, high), dtype in zip(op.domain, dtypes, strict=True):
        low = max(low, 0) if dtype.startswith("u") or op.name == "pow" else low
        arrays.append(rng.uniform(low, high, 5).round(1).astype(dtype))
    if op.name in ("floor_divide", "remainder", "reciprocal"):
        arrays[-1] += arrays[-1] == 0
    return arrays


@pytest.mark.parametrize("op", UFUNCS, ids=str)
def test_ufunc_for_all_element_types(op):
    """Promotion, value and element type are the ufunc's; what NumPy refuses, we refuse."""
    rng = np.random.default_rng(1)
    for dtypes in product(DTYPES, repeat=len(op.roles)):
        arrays = _operands(op, dtypes, rng)
        expected = _numpy_result(op.ufuncs[0], arrays)
        leaves = [gr.tensor(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
        if expected is None:
            with pytest.raises(gr.errors.DTypeError):
                op(*leaves)
            continue
        value = evaluate([op(*leaves)], dict(zip(leaves, arrays, strict=True)))[0]
        assert value.dtype == from_numpy(expected.dtype).numpy, dtypes
        rtol = 1e-2 if expected.dtype == "float16" else 0
        np.testing.assert_allclose(value, expected.astype(value.dtype), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("op", [o for o in UFUNCS if len(o.roles) == 2], ids=str)
@pytest.mark.parametrize("number", [2, 0.5, True])
def test_python_numbers_are_weak(op, number):
    for dtype, left in product(DTYPES, [False, True]):
        array = np.array([1, 3], dtype)
        given = (number, array) if left else (array, number)
        expected = _numpy_result(op.ufuncs[0], given)
        x = gr.tensor("x", (2,), dtype)
        operands = (number, x) if left else (x, number)
        if expected is None:
            with pytest.raises(gr.errors.DTypeError):
                op(*operands)
            continue
        value = evaluate([op(*operands)], {x: array})[0]
        assert value.dtype == from_numpy(expected.dtype).numpy, (dtype, left)
        rtol = 1e-2 if expected.dtype == "float16" else 0
        np.testing.assert_allclose(value, expected.astype(value.dtype), rtol=rtol)


def _on_floats(op):
    return not op.name.startswith(("bitwise", "left", "right"))


EXTREMES = np.array(
    [-np.inf, -1e300, -1e4, -1.0, -0.0, 0.0, 1e-310, 1.0, 1e4, 1e300, np.inf, np.nan]
)


@pytest.mark.parametrize("op", [o for o in UFUNCS if _on_floats(o)], ids=str)
def test_special_values(op):
    """Infinities, NaN, signed zeros and denormals go through as in NumPy."""
    grids = np.meshgrid(*[EXTREMES] * len(op.roles))
    leaves = [gr.tensor(f"x{i}", g.shape, "float64") for i, g in enumerate(grids)]
    value = evaluate([op(*leaves)], dict(zip(leaves, grids, strict=True)))[0]
    with np.errstate(all="ignore"):
        expected = op.ufuncs[0](*grids)
    np.testing.assert_array_equal(value, expected)
    if expected.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(value), np.signbit(expected))


def test_operands_that_are_not_contiguous():
    base = np.arange(48.0).reshape(6, 8)
    x = gr.tensor("x", (3, 4), "float64")
    given = base[::-2, 1::2]
    value = evaluate([gr.sum(gr.exp(x * 0.01) @ x.T, axis=0)], {x: given})[0]
    np.testing.assert_allclose(
        value, np.sum(np.exp(given * 0.01) @ given.T, axis=0), rtol=1e-14
    )


def test_numpys_functions_accept_expressions():
    x = gr.tensor("x", (2, 3), "float64")
    array = np.arange(6.0).reshape(2, 3)
    out = np.mean(np.concatenate([np.exp(x), array * x]), axis=0) + np.float64(1) * np.sum(x)
    expected = np.mean(np.concatenate([np.exp(array), array * array]), axis=0) + array.sum()
    np.testing.assert_allclose(evaluate([out], {x: array})[0], expected, rtol=1e-14)


def test_numpys_dtype_operand_is_not_taken_for_keepdims():
    x = gr.tensor("x", (2, 3), "float64")
    with pytest.raises(TypeError):
        np.sum(x, 0, np.float32)
    with pytest.raises(TypeError):
        np.linalg.norm(x, 1)


def test_promotion_is_numpys():
    for a, b in product(DTYPES.values(), repeat=2):
        assert promote(a, b) == from_numpy(np.result_type(a.numpy, b.numpy))
        assert promote(a, 1.5) == from_numpy(np.result_type(a.numpy, 1.5))


@pytest.mark.parametrize("number", [np.float64(2), np.float32(2), np.int64(2), np.float64(0.5)])
def test_numpys_numbers_keep_their_type(number):
    x, array = gr.vector("x", 1), np.ones(1, np.float32)
    for f in (np.add, np.multiply, np.power):
        assert f(x, number).dtype.numpy == f(array, number).dtype


def test_numpys_numbers_keep_their_digits():
    y = gr.scalar("y", dtype="float64")
    for f in (gr.compile(y, y * np.sqrt(2.0), backend=b) for b in ("llvm", "interpret")):
        assert f(1.0) == np.sqrt(2.0)


@pytest.mark.parametrize("value", [2**63, np.uint64(2**63), [2**63]])
def test_constants_that_no_integer_type_holds(value):
    with pytest.raises(gr.errors.DTypeError, match="out of range for int64"):
        gr.constant(value)
    assert str(gr.constant(np.uint64(2**63 - 1)).dtype) == "int64"


EMPTY = {
    "[:0]": (np.s_[:0], 0), "[5:2]": (np.s_[5:2], 1), "[-1:-3]": (np.s_[-1:-3], 2),
    "[1:]": (np.s_[1:], 1), "[:-1]": (np.s_[:-1], 1), "[::-1]": (np.s_[::-1], 0),
    "[:0:2]": (np.s_[:0:2], 3),
}  # fmt: skip


@pytest.mark.parametrize("case", EMPTY)
@pytest.mark.parametrize("backend", ["llvm", "interpret"])
def test_slices_of_symbolic_sizes_may_be_empty(case, backend):
    key, size = EMPTY[case]
    x, array = gr.vector("x", "n"), np.ones(size, np.float32)
    gradient = gr.grad(gr.sum(x[key]), x)
    part, slope = gr.compile(x, [x[key], gradient], backend=backend)(array)
    np.testing.assert_array_equal(part, array[key])
    np.testing.assert_array_equal(slope, np.zeros_like(array))


def test_ends_of_slices_are_integers():
    for x in (gr.vector("x", "n"), gr.vector("x", 3)):
        with pytest.raises(TypeError):
            x[0.5:2]


def test_widths_are_integers():
    with pytest.raises(gr.errors.ShapeError, match=r"pad: widths must be integers \(1.5\)"):
        gr.pad(gr.vector("x", 3), 1.5)


def test_one_hot_is_zero_for_other_labels():
    y = gr.tensor("y", (4,), "uint8")
    labels = np.array([0, 2, 255, 9], "uint8")
    value = evaluate([gr.one_hot(y, 300)], {y: labels})[0]
    np.testing.assert_array_equal(value, np.eye(300, dtype="float32")[labels])
    beyond = evaluate([gr.one_hot(y, 3)], {y: labels})[0]
    np.testing.assert_array_equal(beyond[2:], 0)


def test_scatter_add_is_the_transpose_of_take_along_axis():
    v, i = gr.tensor("v", (2, 3), "float64"), gr.tensor("i", (2, 3), "int64")
    out = gr.scatter_add(v, i, axis=1, size=4)
    values, index = np.arange(6.0).reshape(2, 3), np.array([[0, 0, -1], [3, 3, 3]])
    expected = np.array([[1.0, 0, 0, 2], [0, 0, 0, 12]])
    np.testing.assert_array_equal(evaluate([out], {v: values, i: index})[0], expected)


@pytest.mark.parametrize("labels", [[0, 5], [-6, 0]])
def test_positions_outside_an_axis_are_an_error(labels):
    x, i = gr.tensor("x", (5,), "float64"), gr.tensor("i", (2,), "int64")
    for out in (gr.take(x, i), gr.scatter_add(x[:2], i, 0, 5), x[None][0 * i, i]):
        with pytest.raises(IndexError):
            evaluate([out], {x: np.zeros(5), i: np.array(labels)})


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64"])
@pytest.mark.parametrize("backend", ["llvm", "interpret"])
def test_integers_to_negative_powers(dtype, backend):
    """Known powers are refused; others are cut off to an integer, 0 for 0, by both backends."""
    base, power = gr.vector("b", "n", dtype), gr.vector("p", "n", dtype)
    low = np.iinfo(dtype).min
    b = np.array([2, 1, -1, -1, -1, 0, 0, 3, -2, -2, 1, -1], dtype)
    p = np.array([-1, -5, -3, -2, low, -1, 0, 2, 3, -2, low, 5], dtype)
    found = gr.compile([base, power], base**power, backend=backend)(b, p)
    assert found.tolist() == [0, 1, -1, 1, 1, 0, 1, 9, -8, 0, 1, -1]
    assert found.dtype == dtype


@pytest.mark.parametrize(
    "power", [-1, np.int64(-1), np.array([1, -1]), gr.constant(-1), gr.constant(np.int8(-1))]
)
def test_known_negative_powers_of_integers(power):
    base = gr.vector("b", 2, "int64")
    for act in (lambda: base**power, lambda: np.power(base, power), lambda: gr.power(2, power)):
        with pytest.raises(
            gr.errors.DTypeError, match="an integer to the negative power -1 is"
        ):
            act()
    assert (gr.vector("x", 2) ** power).dtype.is_float


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((4,), {}), ((4,), {"ord": 2}), ((3, 4), {}), ((3, 4), {"ord": "fro"}),
        ((3, 4), {"axis": 1}), ((3, 4), {"axis": -1, "keepdims": True, "ord": 2}),
        ((2, 3, 4), {}), ((2, 3, 4), {"axis": (0, 2), "ord": "fro"}),
    ],
)  # fmt: skip
def test_norm_of_numpy(shape, options):
    x = gr.tensor("x", shape, "float64")
    values = np.random.default_rng(0).normal(size=shape)
    found = evaluate([np.linalg.norm(x, **options)], {x: values})[0]
    np.testing.assert_allclose(found, np.linalg.norm(values, **options), rtol=1e-14)


@pytest.mark.parametrize("options", [{"ord": 2}, {"ord": np.inf}, {"ord": "nuc"}, {"ord": 0}])
def test_norms_that_are_not_euclidean(options):
    with pytest.raises(gr.errors.DTypeError, match="is not defined for expressions"):
        np.linalg.norm(gr.tensor("x", (3, 4)), **options)


def test_parts_and_copies_by_numpy_numbers():
    x = gr.tensor("x", (4, 6))
    assert [p.shape for p in gr.split(x, np.int64(2), axis=1)] == [(4, 3), (4, 3)]
    assert [p.shape for p in gr.split(x, np.array([1, 4]), axis=1)] == [(4, 1), (4, 3), (4, 2)]
    assert gr.tile(x, np.int64(2)).shape == (4, 12)
    assert gr.tile(x, np.array([2, 1])).shape == (8, 6)
    n = gr.tensor("v", ("n",)).shape[0]
    assert gr.tile(x, (n, 1)).shape == (4 * n, 6)
