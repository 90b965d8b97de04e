"""Vector math: error bounds over the whole range, NumPy's results at the edges, no libcalls."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import llvmlite.binding as llvm
import mpmath
import numpy as np
import pytest
from scipy import special

from graphc.errors import UnsupportedOpError
from graphc_llvm import vmath
from graphc_llvm.emit import Function, Module
from graphc_llvm.target import Target, from_features, host
from graphc_llvm.vmath import LOWERINGS, ULP_BOUNDS, Lane
from vmath_harness import build, loop, machine, ulps

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

LEVELS = ("native", "avx2", "sse2")
FLOATS = ("float32", "float64")
DTYPES = (*FLOATS, "int8", "uint8", "int32", "int64", "bool")
Array = np.ndarray


def _sigmoid(x: Array) -> Array:
    return np.where(x < 0, np.exp(-abs(x)), 1) / (1 + np.exp(-abs(x)))


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-abs(x)))


def _mp(function: Callable[..., mpmath.mpf]) -> Callable[[Array], Array]:
    """A reference in 50 digits, for arguments that are float64 in a longdouble array."""

    def reference(x: Array) -> Array:
        with mpmath.workdps(50):
            texts = [mpmath.nstr(function(mpmath.mpf(float(v))), 25) for v in x]
        return np.array([np.longdouble(t.replace("+inf", "inf")) for t in texts])

    return reference


def _wide(name: str) -> Callable[..., Array]:
    """SciPy in float64 for float32 results, mpmath for float64 ones."""
    fast, exact = getattr(special, name), _mp(getattr(mpmath, name))
    return lambda x: fast(x) if x.dtype == np.float64 else exact(x)


#: Evaluated in float64 for float32 results and in 80-bit floats for float64 ones.
UNARY: dict[str, Callable[..., Array]] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "erf": _wide("erf"),
    "erfc": _wide("erfc"),
}
BINARY: dict[str, Callable[..., Array]] = {
    "pow": np.power,
    "atan2": np.arctan2,
    "hypot": np.hypot,
    "logaddexp": np.logaddexp,
}
EXACT: dict[str, Callable[..., Array]] = {
    "neg": np.negative,
    "positive": np.positive,
    "abs": np.abs,
    "square": np.square,
    "sign": np.sign,
    "sqrt": np.sqrt,
    "reciprocal": np.reciprocal,
    "round": np.rint,
    "trunc": np.trunc,
    "floor": np.floor,
    "ceil": np.ceil,
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
    "signbit": np.signbit,
    "logical_not": np.logical_not,
    "bitwise_invert": np.invert,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "copysign": np.copysign,
    "nextafter": np.nextafter,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "floor_divide": np.floor_divide,
    "remainder": np.remainder,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "left_shift": np.left_shift,
    "right_shift": np.right_shift,
}
PREDICATES = ("is", "signbit", "logical", "equal", "not_equal", "less", "greater")


def _result(op: str, dtype: str) -> str:
    return "bool" if op.startswith(PREDICATES) else dtype


def _specials(dtype: str) -> Array:
    info = np.finfo(dtype)
    ends = [info.max, info.tiny, info.smallest_subnormal, info.eps]
    values = np.array([0, 0.5, 1, 1.5, 2, 2.5, 3, 10, np.inf, *ends], dtype)
    return np.concatenate([values, -values, np.array([np.nan], dtype)])


def _bits(dtype: str, n: int, rng: np.random.Generator) -> Array:
    """Random bit patterns: every exponent, denormals, infinities, NaNs."""
    unsigned = np.dtype(dtype.replace("float", "uint"))
    return rng.integers(0, 2 ** (8 * unsigned.itemsize), n, unsigned).view(dtype)


@cache
def _sample(dtype: str, n: int = 12000) -> Array:
    rng = np.random.default_rng(7)
    sign = rng.choice([-1, 1], n)
    moderate = sign * np.exp(rng.uniform(-8, 7, n))
    near_one = sign * (1 + rng.standard_normal(n) * np.exp(rng.uniform(-12, 0, n)))
    smooth = [v.astype(dtype) for v in (moderate, near_one)]
    return np.concatenate([_bits(dtype, n, rng), *smooth, _specials(dtype)])


@cache
def _reference(op: str, dtype: str) -> tuple[Array, Array]:
    x = _sample(dtype)
    if dtype == "float64" and op in ("erf", "erfc"):
        x = np.concatenate([np.linspace(-7, 28, 2001), x[abs(x) < 1000][::40]])
    wider = np.float64 if dtype == "float32" else np.longdouble
    return x, UNARY[op](x.astype(wider))


def _worst(got: Array, want: Array, args: tuple[Array, ...]) -> tuple[float, str]:
    error = ulps(got, want)
    k = int(np.argmax(error))
    return error[k], f"at {[a[k] for a in args]}: {got[k]!r}, expected {want[k]!r}"


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", UNARY)
def test_unary_error_is_within_its_bound(op: str, dtype: str, level: str) -> None:
    x, want = _reference(op, dtype)
    vector = loop(level, op, (dtype,), dtype, 0)(x)
    scalar = loop(level, op, (dtype,), dtype, 1)(x)
    np.testing.assert_array_equal(vector, scalar)
    error, where = _worst(vector, want, (x,))
    assert error <= ULP_BOUNDS[op][FLOATS.index(dtype)], where


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", ["exp", "tanh"])
def test_tables_are_read_alike_by_vectors_of_every_width(op: str, dtype: str) -> None:
    x, _ = _reference(op, dtype)
    whole = loop("native", op, (dtype,), dtype, 0)(x)
    for width in (2, 4, 8):
        part = loop("native", op, (dtype,), dtype, width)(x)
        np.testing.assert_array_equal(part[: x.size], whole[: x.size])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("op", UNARY)
def test_float32_over_all_exponents_and_every_mantissa_region(op: str, level: str) -> None:
    x = np.arange(0, 2**32, 16007, dtype=np.uint64).astype(np.uint32).view(np.float32)
    error, where = _worst(
        loop(level, op, ("float32",), "float32", 0)(x), UNARY[op](x.astype(float)), (x,)
    )
    assert error <= ULP_BOUNDS[op][0], where


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", [*UNARY, "sqrt"])
def test_zeros_infinities_and_nan_as_numpy(op: str, dtype: str, level: str) -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype)
    reference = getattr(special, op) if op in ("erf", "erfc") else UNARY.get(op, np.sqrt)
    _same(loop(level, op, (dtype,), dtype, 0)(x), reference(x), (x,))


def _power_arguments(dtype: str, rng: np.random.Generator) -> tuple[Array, Array]:
    """Bases of every size with exponents that reach from underflow to overflow."""
    n, top = 5000, np.log(float(np.finfo(dtype).max))
    wide = np.exp(rng.uniform(-top, top, n)).astype(dtype)
    near = np.abs(1 + rng.standard_normal(n) * np.exp(rng.uniform(-20, 0, n))).astype(dtype)
    base = np.concatenate([wide, near])
    with np.errstate(all="ignore"):
        exponent = rng.uniform(-1.1 * top, top, 2 * n) / np.log(base.astype(np.longdouble))
    return base, exponent.astype(dtype)


@cache
def _pairs(op: str, dtype: str) -> tuple[Array, Array]:
    rng = np.random.default_rng(3)
    edges = np.meshgrid(_specials(dtype), _specials(dtype))
    a, b = _bits(dtype, 5000, rng), _bits(dtype, 5000, rng)
    near = (a * rng.uniform(0.1, 10, 5000)).astype(dtype)
    plain = (rng.standard_normal((2, 5000)) * 10).astype(dtype)
    parts = [edges, (a, b), (a, near), plain]
    if op == "pow":
        parts.append(_power_arguments(dtype, rng))
    return tuple(np.concatenate([p[i].ravel() for p in parts]) for i in range(2))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", BINARY)
def test_binary_error_is_within_its_bound(op: str, dtype: str, level: str) -> None:
    x, y = _pairs(op, dtype)
    wider = np.float64 if dtype == "float32" else np.longdouble
    want = BINARY[op](x.astype(wider), y.astype(wider))
    vector = loop(level, op, (dtype, dtype), dtype, 0)(x, y)
    scalar = loop(level, op, (dtype, dtype), dtype, 1)(x, y)
    np.testing.assert_array_equal(vector, scalar)
    if op == "logaddexp":
        # Below zero its terms may cancel; that has a test of its own.
        plain = ~(np.maximum(x, y) < 0)
        vector, want, x, y = (v[plain] for v in (vector, want, x, y))
    error, where = _worst(vector, want, (x, y))
    assert error <= ULP_BOUNDS[op][FLOATS.index(dtype)], where


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_logaddexp_where_its_terms_cancel(dtype: str, level: str) -> None:
    """Relative to the larger of the result and max(a, b), also where the result is zero."""
    rng = np.random.default_rng(11)
    a = -np.geomspace(1e-6, 0.69, 500).astype(dtype)
    zero = np.log(-np.expm1(a.astype(np.longdouble))).astype(dtype)
    a = np.concatenate([a, -np.exp(rng.uniform(-30, 5, 5000)).astype(dtype)])
    b = np.concatenate([zero, -np.exp(rng.uniform(-30, 5, 5000)).astype(dtype)])
    want = np.logaddexp(a.astype(np.longdouble), b.astype(np.longdouble))
    got = loop(level, "logaddexp", (dtype, dtype), dtype, 0)(a, b)
    size = np.maximum(abs(np.maximum(a, b)), abs(want).astype(dtype))
    bound = ULP_BOUNDS["logaddexp"][FLOATS.index(dtype)]
    assert np.all(abs(got - want) <= bound * np.spacing(size))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("op", ["pow", "atan2", "hypot"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_binary_edges_as_c99(op: str, dtype: str, level: str) -> None:
    edges = np.array([0, -0.0, 1, -1, 2, -2, 3, -3, np.inf, -np.inf, np.nan], dtype)
    x, y = (v.ravel() for v in np.meshgrid(edges, edges))
    keep = np.isin(abs(x), [0, 1, np.inf]) | np.isin(abs(y), [0, np.inf]) | np.isnan(x + y)
    x, y = x[keep], y[keep]
    got, want = loop(level, op, (dtype, dtype), dtype, 0)(x, y), BINARY[op](x, y)
    exact = ~np.isfinite(want) | np.isin(abs(want), [0, 1])
    _same(got[exact], want[exact], (x[exact], y[exact]))
    np.testing.assert_allclose(got, want, rtol=3 * np.finfo(dtype).eps)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_small_integer_powers_are_exact(dtype: str, level: str) -> None:
    x, y = (v.ravel() for v in np.meshgrid(np.arange(-15, 16), np.arange(6)))
    got = loop(level, "pow", (dtype, dtype), dtype, 0)(x.astype(dtype), y.astype(dtype))
    np.testing.assert_array_equal(got, (x**y).astype(dtype))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_integer_powers_wrap_as_numpy(dtype: str) -> None:
    x = np.array([0, 1, 2, 3, 5, 7, 10, 100] + [-1, -2, -10] * (dtype != "uint8"), dtype)
    y = np.array([0, 1, 2, 3, 4, 7, 15, 31, 63, 64, 100], dtype)
    x, y = (v.ravel() for v in np.meshgrid(x, y))
    for level in LEVELS:
        np.testing.assert_array_equal(loop(level, "pow", (dtype, dtype), dtype, 0)(x, y), x**y)


@pytest.mark.parametrize("level", LEVELS)
def test_negative_integer_exponents_truncate(level: str) -> None:
    x, y = np.array([[2, 1, -1, -1, 0, -3], [-1, -5, -3, -4, -1, -2]], np.int32)
    got = loop(level, "pow", ("int32", "int32"), "int32", 0)(x, y)
    np.testing.assert_array_equal(got, [0, 1, -1, 1, 0, 0])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("op", ["sin", "cos", "tan"])
def test_angles_next_to_multiples_of_half_pi(op: str, level: str) -> None:
    """Among them the double that comes closest of all, 6381956970095103 * 2^797."""
    n = np.unique(np.geomspace(1, 2.0**60, 400).round())
    x = np.concatenate([n * (np.pi / 2), [6381956970095103 * 2.0**797, 1e22, 1e308]])
    want = _mp(getattr(mpmath, op))(x)
    with mpmath.workdps(400):
        want[-3:] = [
            np.longdouble(mpmath.nstr(getattr(mpmath, op)(float(v)), 25)) for v in x[-3:]
        ]
    error, where = _worst(loop(level, op, ("float64",), "float64", 0)(x), want, (x,))
    assert error <= ULP_BOUNDS[op][1], where


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("op", "low"), [("tanh", -1), ("erf", -1), ("sigmoid", 0), ("erfc", 0)]
)
def test_results_stay_in_range(op: str, low: float, dtype: str, level: str) -> None:
    x = np.concatenate([np.linspace(-40, 40, 100001), np.linspace(-1, 1, 9999)]).astype(dtype)
    y = loop(level, op, (dtype,), dtype, 0)(x)
    high = 2 if op == "erfc" else 1
    assert low <= y.min()
    assert y.max() <= high
    order = np.argsort(x, kind="stable")
    steps = np.diff(y[order]) * (-1 if op == "erfc" else 1)
    assert np.all(steps >= -4 * np.spacing(abs(y[order][1:])))


def _numbers(dtype: str) -> Array:
    if dtype == "bool":
        return np.array([False, True])
    if dtype in FLOATS:
        odd = [0.3, 7, 1e5, 1e20, 4503599627370497.5, 8388609.5, 8388607.5, 0.49999997]
        values = np.array(odd, dtype)
        return np.concatenate([_specials(dtype), values, -values])
    info = np.iinfo(dtype)
    near = [0, 1, 2, 3, 7, 8, 31, 32, 33, 63, 64, 100, info.max, info.max - 1, info.min]
    return np.array(near + [-1, -2, -3, -7, -32, -100] * (info.min < 0), dtype)


def _same(got: Array, want: Array, args: tuple[Array, ...]) -> None:
    """Equal bit for bit but for the kind of NaN."""
    both_nan = (got != got) & (want != want)
    equal = (
        (got == want) & (np.signbit(got) == np.signbit(want))
        if got.dtype.kind == "f"
        else (got == want)
    )
    wrong = ~(equal | both_nan)
    k = int(np.argmax(wrong))
    assert not wrong.any(), f"at {[a[k] for a in args]}: {got[k]!r}, expected {want[k]!r}"


def _numpy(op: str, dtype: str, args: tuple[Array, ...]) -> Array | None:
    """NumPy's result if it has one of the type that the op has here."""
    try:
        want = EXACT[op](*args)
    except TypeError:
        return None
    return want if want.dtype == _result(op, dtype) else None


#: Defined by NumPy only by way of another type, or by truncation.
_UNDEFINED = {("signbit", "bool"), *(("reciprocal", dtype) for dtype in DTYPES[2:])}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("op", EXACT)
def test_exact_ops_are_numpys(op: str, level: str) -> None:
    compared = 0
    for dtype in DTYPES:
        x = _numbers(dtype)
        args = (x,) if EXACT[op].nin == 1 else tuple(v.ravel() for v in np.meshgrid(x, x))
        want = _numpy(op, dtype, args)
        if want is None or (op, dtype) in _UNDEFINED:
            continue
        for width in (0, 1) if level == "native" else (0,):
            got = loop(level, op, (dtype,) * len(args), _result(op, dtype), width)(*args)
            _same(got, want, args)
            compared += 1
    assert compared >= 2


@pytest.mark.parametrize("level", LEVELS)
def test_remainder_of_large_quotients_is_exact(level: str) -> None:
    rng = np.random.default_rng(5)
    for dtype in FLOATS:
        a, b = _bits(dtype, 300, rng), _bits(dtype, 300, rng)
        with np.errstate(all="ignore"):
            want = np.remainder(a, b)
        _same(loop(level, "remainder", (dtype, dtype), dtype, 0)(a, b), want, (a, b))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("source", DTYPES)
def test_casts_are_numpys(source: str, level: str) -> None:
    for target in DTYPES:
        x = _numbers(source)
        if source in FLOATS and target not in (*FLOATS, "bool"):
            low = 0 if target == "uint8" else -120
            x = np.random.default_rng(2).uniform(low, 120, 50).astype(source)
        for width in (0, 1) if level == "native" else (0,):
            got = loop(level, "cast", (source,), target, width)(x)
            _same(got, x.astype(target), (x,))


@pytest.mark.parametrize("dtype", DTYPES)
def test_where_selects(dtype: str) -> None:
    a = _numbers(dtype)
    b, condition = a[::-1].copy(), np.arange(a.size) % 3 == 0
    got = loop("native", "where", ("bool", dtype, dtype), dtype, 0)(condition, a, b)
    _same(got, np.where(condition, a, b), (condition, a, b))


@pytest.mark.parametrize("level", LEVELS)
def test_fma_rounds_once_only_with_the_instruction(level: str) -> None:
    a = np.array([1 + 2.0**-30])
    got = loop(level, "fma", ("float64",) * 3, "float64", 0)(a, a, -a * a)
    assert got[0] == (2.0**-60 if host(level).fma else 0.0)


@pytest.mark.parametrize("width", [2, 4, 8, 16])
@pytest.mark.parametrize("op", ["exp", "log", "sin", "pow", "remainder", "maximum"])
def test_any_width_on_any_target(op: str, width: int) -> None:
    count = 1 if op in UNARY else 2
    x = np.linspace(0.1, 2e6, 64).astype("float32")
    args = (x, np.linspace(-2, 2, 64).astype("float32"))[:count]
    for level in ("native", "sse2"):
        got = loop(level, op, ("float32",) * count, "float32", width)(*args)
        want = loop(level, op, ("float32",) * count, "float32", 1)(*args)
        np.testing.assert_array_equal(got, want)


#: A call or tail call in assembly, of x86 or ARM; jumps within a function go to ``.L`` labels.
_CALL = re.compile(r"^\s*(?:callq?|jmp|bl?)[ \t]+\*?([A-Za-z_\"]\S*)", re.MULTILINE)


def _arm() -> Target:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return from_features("aarch64-unknown-linux-gnu", "generic", "+neon,+fp-armv8")


@pytest.mark.parametrize("level", [*LEVELS, "arm"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
def test_nothing_calls_a_library(dtype: str, level: str) -> None:
    target = _arm() if level == "arm" else host(level)
    tm, arity = machine(target), _arity()
    for op in LOWERINGS:
        for width in (1, target.lanes(np.dtype(dtype).itemsize)):
            try:
                text = build(target, op, *_types(op, dtype, arity[op]), width).text()
            except UnsupportedOpError:
                continue
            parsed = llvm.parse_assembly(text)
            assembly = tm.emit_assembly(parsed)
            calls = set(_CALL.findall(assembly))
            assert all(c.strip('"').startswith("vmath.") for c in calls), (op, calls)


def _arity() -> dict[str, int]:
    known = {op: f.nin for op, f in EXACT.items()} | dict.fromkeys(UNARY, 1)
    return known | dict.fromkeys(BINARY, 2) | {"fma": 3, "where": 3}


def _types(op: str, dtype: str, arity: int) -> tuple[tuple[str, ...], str]:
    first = ("bool",) if op == "where" else (dtype,)
    return first + (dtype,) * (arity - 1), _result(op, dtype)


def test_every_lowering_is_tested() -> None:
    assert set(LOWERINGS) == set(_arity())
    assert set(ULP_BOUNDS) == {*UNARY, *BINARY}


def test_signed_and_unsigned_share_no_function() -> None:
    module = Module(host())
    f = Function(module, "f", "void", [])
    for dtype in ("int8", "uint8"):
        lane = Lane(dtype, 16)
        vmath.lower(f, "remainder", lane, [(lane, "%x"), (lane, "%y")])
    signed, unsigned = module.functions.values()
    assert "sdiv" in signed
    assert "udiv" in unsigned


def test_unknown_op_and_type_are_named() -> None:
    f = Function(Module(host()), "f", "void", [])
    lane = Lane("int32", 4)
    with pytest.raises(UnsupportedOpError, match="frobnicate has no lowering"):
        vmath.lower(f, "frobnicate", lane, [(lane, "%x")])
    with pytest.raises(UnsupportedOpError, match="exp is not defined for int32"):
        vmath.lower(f, "exp", lane, [(lane, "%x")])


@pytest.mark.parametrize(
    ("lane", "value", "text"),
    [
        (Lane("float32", 1), 0.1, "0x3FB99999A0000000"),
        (Lane("float64", 8), 0.1, "splat (double 0x3FB999999999999A)"),
        (Lane("float32", 16), float("-inf"), "splat (float 0xFFF0000000000000)"),
        (Lane("float32", 1), 1e300, "0x7FF0000000000000"),
        (Lane("float64", 1), float("nan"), "0x7FF8000000000000"),
        (Lane("int64", 4), -3, "splat (i64 -3)"),
        (Lane("bool", 8), True, "splat (i1 1)"),
    ],
)
def test_constants(lane: Lane, value: float, text: str) -> None:
    assert lane.const(value) == text
