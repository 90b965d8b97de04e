"""Graphs with arrays and expected values, one table for every way to run a graph.

Each `Case` builds an expression from leaves and says what NumPy gives for its arrays. The
interpreter and every backend run the same table:

>>> @pytest.mark.parametrize("case", cases.ALL, ids=str)
... def test_value(case): ...
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.special as sp

import graphc as gr
from graphc.ops import OPS
from graphc.testing import samples
from graphc.types import from_numpy

RTOL = {"float32": 2e-6, "float64": 4e-15}


@dataclass(frozen=True, eq=False)
class Case:
    """A graph, its operands, and its expected value.

    ``rtol`` holds relative to the largest magnitude of the result, 0 for exact results.
    """

    id: str
    build: Callable[..., gr.Expr]
    reference: Callable[..., Any]
    arrays: tuple[np.ndarray, ...]
    rtol: float | None = None

    def __str__(self) -> str:
        return self.id

    def graph(self, prefix: str = "x") -> tuple[list[gr.Expr], gr.Expr]:
        """Leaves of the arrays' types, and the result."""
        leaves = [
            gr.tensor(f"{prefix}{i}", a.shape, from_numpy(a.dtype))
            for i, a in enumerate(self.arrays)
        ]
        return leaves, self.build(*leaves)

    def cast(self, dtype: str) -> Case:
        """The same case with operands of another float type."""
        arrays = tuple(a.astype(dtype) if a.dtype.kind == "f" else a for a in self.arrays)
        return replace(self, id=f"{self.id}-{dtype}", arrays=arrays)

    def expected(self) -> np.ndarray:
        """NumPy's value; element types that graphc has not are widened."""
        with np.errstate(all="ignore"):
            value = np.asarray(self.reference(*self.arrays))
        return value.astype(from_numpy(value.dtype).numpy)

    def check(self, actual: np.ndarray) -> None:
        """Element type, shape and value."""
        expected = self.expected()
        assert actual.dtype == expected.dtype
        assert actual.shape == expected.shape
        if expected.dtype.kind != "f":
            np.testing.assert_array_equal(actual, expected)
            return
        rtol = RTOL[expected.dtype.name] if self.rtol is None else self.rtol
        finite = expected[np.isfinite(expected)]
        scale = float(np.max(np.abs(finite), initial=0.0))
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol * scale)


# Every operation of the table, on its samples -----------------------------------------------


def _of_table(name: str) -> list[Case]:
    return [
        Case(s.name, s.build, lambda *a, s=s: s.op.evaluate(*a, **s.attrs), s.arrays)
        for s in samples(name)
    ]


BY_OPERATION = {name: _of_table(name) for name in OPS}
OPERATIONS = [case for found in BY_OPERATION.values() for case in found]


# Functions of NumPy's names -----------------------------------------------------------------

_rng = np.random.default_rng(20)


def _reals(*shape: int, dtype: str = "float64") -> np.ndarray:
    return _rng.normal(size=shape).astype(dtype)


def _ints(low: int, high: int, *shape: int, dtype: str = "int64") -> np.ndarray:
    return _rng.integers(low, high, shape).astype(dtype)


A = _reals(3, 5)
B = _reals(5, 4)
C = _reals(2, 3, 4)
V = _reals(5)
I8 = _ints(-9, 9, 3, 5, dtype="int8")
BOOL = _ints(0, 2, 3, 5).astype(bool)
NANS = np.where(BOOL, np.nan, A)

_NUMPY: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "sum": (lambda xp, x: xp.sum(x), (A,)),
    "sum-axis": (lambda xp, x: xp.sum(x, axis=-1), (A,)),
    "sum-axes-keepdims": (lambda xp, x: xp.sum(x, axis=(2, 0), keepdims=True), (C,)),
    "sum-int8": (lambda xp, x: xp.sum(x, axis=0), (I8,)),
    "sum-bool": (lambda xp, x: xp.sum(x, axis=0), (BOOL,)),
    "sum-rank0": (lambda xp, x: xp.sum(x), (np.float64(2.5),)),
    "sum-noaxes": (lambda xp, x: xp.sum(x, axis=()), (A,)),
    "prod-zeros": (lambda xp, x: xp.prod(xp.where(x > 1, 0.0, x), axis=0), (A,)),
    "prod-int8": (lambda xp, x: xp.prod(x, axis=1), (I8,)),
    "max-nan": (lambda xp, x: xp.max(x, axis=1), (NANS,)),
    "min-int8": (lambda xp, x: xp.min(x, axis=1), (I8,)),
    "any": (lambda xp, x: xp.any(x, axis=1), (I8,)),
    "all": (lambda xp, x: xp.all(x, axis=0, keepdims=True), (I8,)),
    "argmax-flat": (lambda xp, x: xp.argmax(x), (A,)),
    "argmax-nan": (lambda xp, x: xp.argmax(x, axis=1), (NANS,)),
    "argmin-keepdims": (lambda xp, x: xp.argmin(x, axis=0, keepdims=True), (I8,)),
    "mean": (lambda xp, x: xp.mean(x, axis=(0, 2)), (C,)),
    "mean-int8": (lambda xp, x: xp.mean(x, axis=0), (I8,)),
    "mean-bool": (lambda xp, x: xp.mean(x), (BOOL,)),
    "var": (lambda xp, x: xp.var(x, axis=1, ddof=1), (A,)),
    "std": (lambda xp, x: xp.std(x, axis=0, keepdims=True), (A,)),
    "std-int8": (lambda xp, x: xp.std(x), (I8,)),
    "cumsum": (lambda xp, x: xp.cumsum(x, axis=1), (A,)),
    "cumsum-flat-int8": (lambda xp, x: xp.cumsum(x), (I8,)),
    "cumprod": (lambda xp, x: xp.cumprod(x, axis=-2), (C,)),
    "clip": (lambda xp, x: xp.clip(x, -0.5, 0.5), (NANS,)),
    "where-broadcast": (lambda xp, c, x, y: xp.where(c, x, y), (BOOL, A[:1], I8)),
    "where-weak": (lambda xp, c, x: xp.where(c, x, 1.5), (BOOL, I8)),
    "reshape": (lambda xp, x: xp.reshape(x, (4, -1)), (C,)),
    "reshape-rank0": (lambda xp, x: xp.reshape(x, ()), (_reals(1, 1),)),
    "ravel": (lambda xp, x: xp.ravel(x), (C,)),
    "transpose": (lambda xp, x: xp.transpose(x), (C,)),
    "transpose-axes": (lambda xp, x: xp.transpose(x, (1, -1, 0)), (C,)),
    "swapaxes": (lambda xp, x: xp.swapaxes(x, 0, -1), (C,)),
    "moveaxis": (lambda xp, x: xp.moveaxis(x, 0, -1), (C,)),
    "expand_dims": (lambda xp, x: xp.expand_dims(x, (0, -1)), (A,)),
    "squeeze": (lambda xp, x: xp.squeeze(x, 1), (C[:, :1],)),
    "squeeze-all": (lambda xp, x: xp.squeeze(x), (C[:1, :, :1],)),
    "broadcast_to": (lambda xp, x: xp.broadcast_to(x, (2, 3, 5)), (A,)),
    "flip": (lambda xp, x: xp.flip(x), (C,)),
    "flip-axis": (lambda xp, x: xp.flip(x, 1), (C,)),
    "concatenate": (lambda xp, x, y: xp.concatenate([x, y, x], axis=-1), (A, A[:, :2])),
    "concatenate-dtypes": (lambda xp, x, y: xp.concatenate([x, y]), (A, I8)),
    "stack": (lambda xp, x, y: xp.stack([x, y], axis=1), (A, -A)),
    "split": (lambda xp, x: xp.split(x, 2, axis=2)[1], (C,)),
    "split-at": (lambda xp, x: xp.split(x, [1, 3], axis=1)[1], (A,)),
    "split-past-end": (lambda xp, x: xp.split(x, [2, 9], axis=1)[2], (A,)),
    "split-back": (lambda xp, x: xp.split(x, [4, 2], axis=1)[1], (A,)),
    "pad": (lambda xp, x: xp.pad(x, ((1, 0), (0, 2))), (A,)),
    "pad-value": (lambda xp, x: xp.pad(x, 1, constant_values=7), (I8,)),
    "tile": (lambda xp, x: xp.tile(x, (2, 1, 3)), (A,)),
    "tile-zero": (lambda xp, x: xp.tile(x, 0), (A,)),
    "take": (lambda xp, x, i: xp.take(x, i, axis=1), (A, _ints(-5, 5, 2, 3))),
    "take-flat": (lambda xp, x, i: xp.take(x, i), (A, _ints(-15, 15, 4))),
    "take-rank0": (lambda xp, x, i: xp.take(x, i, axis=0), (A, np.int64(-1))),
    "take-uint8": (
        lambda xp, x, i: xp.take(x, i, axis=0),
        (_reals(300), np.array([0, 255], "uint8")),
    ),
    "take_along_axis": (
        lambda xp, x, i: xp.take_along_axis(x, i, 1),
        (A, _ints(-5, 5, 3, 2)),
    ),
    "take_along_axis-broadcast": (
        lambda xp, x, i: xp.take_along_axis(x, i, 2),
        (C, _ints(0, 4, 1, 3, 1)),
    ),
    "arange": (lambda xp: xp.arange(3, 17, 4), ()),
    "arange-back": (lambda xp: xp.arange(5, -2, -3), ()),
    "arange-float": (lambda xp: xp.arange(0.0, 1.0, 0.25), ()),
    "diagonal": (lambda xp, x: xp.diagonal(x, axis1=2, axis2=0), (_reals(3, 2, 3),)),
    "matmul": (lambda xp, x, y: xp.matmul(x, y), (A, B)),
    "matmul-vector": (lambda xp, x, y: xp.matmul(x, y), (A, V)),
    "matmul-row": (lambda xp, x, y: xp.matmul(x, y), (V, B)),
    "matmul-inner": (lambda xp, x, y: xp.matmul(x, y), (V, V)),
    "matmul-batch": (lambda xp, x, y: xp.matmul(x, y), (_reals(2, 1, 3, 5), _reals(7, 5, 4))),
    "matmul-batch-ones": (lambda xp, x, y: xp.matmul(x, y), (_reals(1, 3, 5), _reals(1, 5, 2))),
    "matmul-int8": (lambda xp, x, y: xp.matmul(x, y), (I8, I8.T.copy())),
    "matmul-empty": (lambda xp, x, y: xp.matmul(x, y), (_reals(3, 0), _reals(0, 2))),
    "matmul-mixed": (lambda xp, x, y: xp.matmul(x, y), (A.astype("float32"), B)),
    "dot-ranks": (lambda xp, x, y: xp.dot(x, y), (C, _reals(2, 4, 3))),
    "dot-scalar": (lambda xp, x, y: xp.dot(x, y), (np.float64(2.0), B)),
    "outer": (lambda xp, x, y: xp.outer(x, y), (A, V)),
    "einsum-matmul": (lambda xp, x, y: xp.einsum("ij,jk", x, y), (A, B)),
    "einsum-order": (lambda xp, x, y: xp.einsum("ij,jk->ki", x, y), (A, B)),
    "einsum-chain": (lambda xp, x, y, z: xp.einsum("ij,jk,j->i", x, y, z), (A, B, V)),
    "einsum-trace": (lambda xp, x: xp.einsum("ii->", x), (_reals(4, 4),)),
    "einsum-diagonal": (lambda xp, x: xp.einsum("iji->ij", x), (_reals(3, 2, 3),)),
    "einsum-private": (lambda xp, x, y: xp.einsum("ij,kl->il", x, y), (A, B)),
    "einsum-dots": (lambda xp, x, y: xp.einsum("...ij,jk->...ik", x, y), (_reals(2, 3, 5), B)),
    "einsum-dots-broadcast": (
        lambda xp, x, y: xp.einsum("...i,...i->...", x, y),
        (_reals(4, 1, 5), _reals(3, 5)),
    ),
    "einsum-outer": (lambda xp, x, y: xp.einsum("i,j->ij", x, y), (V, V)),
    "einsum-int8": (lambda xp, x, y: xp.einsum("ij,kl->jl", x, y), (I8, I8)),
    "einsum-sum-int32": (lambda xp, x: xp.einsum("ij->j", x), (I8.astype("int32"),)),
    "getitem-int": (lambda xp, x: x[1], (A,)),
    "getitem-negative": (lambda xp, x: x[-1, 1:], (A,)),
    "getitem-step": (lambda xp, x: x[::-2, 3:0:-2], (A,)),
    "getitem-empty": (lambda xp, x: x[2:1], (A,)),
    "getitem-beyond": (lambda xp, x: x[-9:9, 4:99], (A,)),
    "getitem-none": (lambda xp, x: x[:, None, ..., None], (C,)),
    "getitem-list": (lambda xp, x: x[[0, 2]], (A,)),
    "getitem-array": (lambda xp, x, i: x[:, i], (A, _ints(-5, 5, 2, 2))),
    "getitem-arrays": (lambda xp, x, i, j: x[i, j], (A, _ints(0, 3, 4), _ints(-5, 5, 2, 1))),
    "getitem-arrays-apart": (
        lambda xp, x, i, j: x[i, :, j],
        (C, _ints(0, 2, 5), _ints(0, 4, 5)),
    ),
    "getitem-arrays-middle": (
        lambda xp, x, i, j: x[:, i, j],
        (C, _ints(0, 3, 5), _ints(0, 4, 5)),
    ),
    "getitem-int-apart": (lambda xp, x, i: x[0, :, i], (C, _ints(0, 4, 3))),
    "getitem-int-beside": (lambda xp, x, i: x[:, 1, i], (C, _ints(0, 4, 3))),
    "getitem-none-apart": (lambda xp, x, i: x[0, None, i], (C, _ints(0, 3, 2))),
    "getitem-int8": (lambda xp, x, i: x[i, i], (A, np.array([0, 2, -1], "int8"))),
    "power-square": (lambda xp, x: x**2, (A,)),
    "power-cube": (lambda xp, x: x**3, (I8,)),
    "power-weak": (lambda xp, x: 2.5**x, (A.astype("float32"),)),
    "operators": (lambda xp, x, y: (-x + 2 * y) / (1 + abs(y)) % 0.7 // 0.2, (A, A[:1])),
    "operators-int": (lambda xp, x: (x * 3 - 1) // 2 % 5 & 6 | 1, (I8,)),
    "operators-array-left": (lambda xp, x: V * x - np.float32(2), (A.astype("float32"),)),
}


def _numpy_case(name: str, f: Callable[..., Any], arrays: tuple[Any, ...]) -> Case:
    return Case(
        name,
        lambda *a: f(gr, *a),
        lambda *a: f(np, *a),
        tuple(map(np.asarray, arrays)),
        rtol=2e-14 if name.startswith(("matmul", "einsum", "dot", "std", "var")) else None,
    )


NUMPY = [_numpy_case(name, *row) for name, row in _NUMPY.items()]


# Activations and losses ---------------------------------------------------------------------

_X = np.array([-30.0, -5.0, -2.0, -1.0, -1e-3, 0.0, 1e-3, 1.0, 2.0, 3.5, 5.0, 30.0])
_Z = _reals(4, 6) * 3
_LABELS = np.array([0, 5, 2, 5])
_P = sp.softmax(_reals(4, 6), -1)
_T = sp.softmax(_reals(4, 6), -1)
_PROB = np.array([0.1, 0.5, 0.9, 0.0, 1.0])
_TARGET = np.array([0.0, 1.0, 0.3, 0.0, 1.0])
_ONE_HOT = np.eye(6)[_LABELS]


def _phi(x: np.ndarray) -> np.ndarray:
    return sp.ndtr(x)


def _mish(x: np.ndarray) -> np.ndarray:
    return x * np.tanh(np.logaddexp(x, 0))


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    return x * sp.expit(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))


def _selu(x: np.ndarray) -> np.ndarray:
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _nll(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return -sp.log_softmax(z, -1)[np.arange(len(labels)), labels]


def _norm(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def _bce(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    return -np.mean(sp.xlogy(t, p) + sp.xlog1py(1 - t, -p))


def _smooth(z: np.ndarray, t: np.ndarray) -> np.ndarray:
    even = 0.9 * np.eye(6)[t] + 0.1 / 6
    return -np.sum(even * sp.log_softmax(z, -1), -1)


nn = gr.nn
_NN: dict[str, tuple[Callable[..., gr.Expr], Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "relu": (nn.relu, lambda x: np.maximum(x, 0), (_X,)),
    "leaky_relu": (nn.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x), (_X,)),
    "leaky_relu-0.1": (
        lambda x: nn.leaky_relu(x, 0.1), lambda x: np.maximum(0.1 * x, x), (_X,),
    ),
    "prelu": (
        nn.prelu, lambda x, a: np.where(x > 0, x, a * x), (_Z, np.linspace(-1, 2, 6)),
    ),
    "generalised_relu": (lambda x: nn.generalised_relu(x, -1), np.abs, (_X,)),
    "absolute_rectifier": (nn.absolute_rectifier, np.abs, (_X,)),
    "relu6": (nn.relu6, lambda x: np.clip(x, 0, 6), (_X,)),
    "hard_tanh": (nn.hard_tanh, lambda x: np.clip(x, -1, 1), (_X,)),
    "hard_sigmoid": (nn.hard_sigmoid, lambda x: np.clip(x / 6 + 0.5, 0, 1), (_X,)),
    "hard_swish": (nn.hard_swish, lambda x: x * np.clip(x / 6 + 0.5, 0, 1), (_X,)),
    "step": (nn.step, lambda x: np.heaviside(x, 1.0), (_X,)),
    "step-at": (lambda x: nn.step(x, 1), lambda x: np.heaviside(x - 1, 1.0), (_X,)),
    "maxout": (
        lambda x: nn.maxout(x, 3), lambda x: x.reshape(4, 2, 3).max(-1), (_Z,),
    ),
    "maxout-axis": (
        lambda x: nn.maxout(x, 2, axis=0), lambda x: x.reshape(2, 2, 6).max(1), (_Z,),
    ),
    "sigmoid": (nn.sigmoid, sp.expit, (_X,)),
    "log_sigmoid": (nn.log_sigmoid, sp.log_expit, (_X,)),
    "softplus": (nn.softplus, lambda x: np.logaddexp(x, 0), (_X,)),
    "softsign": (nn.softsign, lambda x: x / (1 + np.abs(x)), (_X,)),
    "elu": (
        lambda x: nn.elu(x, 1.5),
        lambda x: np.where(x > 0, x, 1.5 * np.expm1(np.minimum(x, 0))),
        (_X,),
    ),
    "selu": (nn.selu, _selu, (_X,)),
    "gelu": (nn.gelu, lambda x: x * _phi(x), (_X,)),
    "gelu-tanh": (lambda x: nn.gelu(x, "tanh"), _gelu_tanh, (_X,)),
    "silu": (nn.silu, lambda x: x * sp.expit(x), (_X,)),
    "swish-beta": (
        nn.swish, lambda x, b: x * sp.expit(b * x), (_Z, np.linspace(-1, 3, 6)),
    ),
    "mish": (nn.mish, _mish, (_X,)),
    "sinc": (nn.sinc, lambda x: np.sinc(x / np.pi), (_X,)),
    "softmax": (nn.softmax, lambda x: sp.softmax(x, -1), (_Z,)),
    "softmax-axis": (lambda x: nn.softmax(x, 0), lambda x: sp.softmax(x, 0), (_Z,)),
    "log_softmax": (nn.log_softmax, lambda x: sp.log_softmax(x, -1), (_Z * 300,)),
    "logsumexp": (
        lambda x: nn.logsumexp(x, axis=1), lambda x: sp.logsumexp(x, 1), (_Z * 300,),
    ),
    "layer_norm": (nn.layer_norm, _norm, (_Z,)),
    "layer_norm-affine": (
        lambda x, w, b: nn.layer_norm(x, weight=w, bias=b),
        lambda x, w, b: _norm(x) * w + b,
        (_Z, np.linspace(-1, 2, 6), np.linspace(0, 1, 6)),
    ),
    "squared_error": (
        nn.squared_error, lambda o, t: 0.5 * np.sum((o - t) ** 2), (_P, _T),
    ),
    "squared_error-whole": (
        lambda o, t: nn.squared_error(o, t, half=False, reduction="none"),
        lambda o, t: (o - t) ** 2,
        (_P, _T),
    ),
    "mse": (nn.mse, lambda o, t: np.mean((o - t) ** 2), (_P, _T)),
    "mae": (nn.mae, lambda o, t: np.mean(np.abs(o - t)), (_P, _T)),
    "huber": (
        lambda o, t: nn.huber(o, t, delta=2.0),
        lambda o, t: np.mean(sp.huber(2.0, o - t)),
        (_Z, _T),
    ),
    "hinge": (
        nn.hinge,
        lambda y, t: np.mean(np.maximum(0, 1 - t * y)),
        (_Z, np.sign(_Z.T.reshape(4, 6))),
    ),
    "binary_cross_entropy": (nn.binary_cross_entropy, _bce, (_PROB, _TARGET)),
    "binary_cross_entropy-logits": (
        lambda z, t: nn.binary_cross_entropy(z, t, from_logits=True, reduction="none"),
        lambda z, t: -t * sp.log_expit(z) - (1 - t) * sp.log_expit(-z),
        (_X, np.linspace(0, 1, 12)),
    ),
    "cross_entropy-labels": (
        nn.cross_entropy, lambda z, y: np.mean(_nll(z, y)), (_Z, _LABELS),
    ),
    "cross_entropy-labels-uint8": (
        nn.cross_entropy, lambda z, y: np.mean(_nll(z, y)), (_Z, np.uint8([0, 5, 2, 1])),
    ),
    "cross_entropy-one-hot": (
        lambda z, t: nn.cross_entropy(z, t, reduction="sum"),
        lambda z, t: -np.sum(t * sp.log_softmax(z, -1)),
        (_Z, _ONE_HOT),
    ),
    "cross_entropy-int-one-hot": (
        nn.cross_entropy,
        lambda z, t: -np.mean(np.sum(t * sp.log_softmax(z, -1), -1)),
        (_Z, _ONE_HOT.astype("int32")),
    ),
    "cross_entropy-axis": (
        lambda z, y: nn.cross_entropy(z, y, axis=0, reduction="none"),
        lambda z, y: _nll(z.T, y),
        (_Z.T.copy(), _LABELS),
    ),
    "cross_entropy-smooth": (
        lambda z, y: nn.cross_entropy(z, y, label_smoothing=0.1, reduction="none"),
        _smooth,
        (_Z, _LABELS),
    ),
    "categorical_cross_entropy": (
        nn.categorical_cross_entropy,
        lambda p, t: -np.mean(np.sum(t * np.log(p), -1)),
        (_P, _T),
    ),
    "categorical_cross_entropy-labels": (
        nn.categorical_cross_entropy,
        lambda p, y: -np.mean(np.log(p[np.arange(4), y])),
        (_P, _LABELS),
    ),
    "negative_log_likelihood": (
        nn.negative_log_likelihood,
        lambda x, y: -np.mean(x[np.arange(4), y]),
        (np.log(_P), _LABELS),
    ),
    "kl": (nn.kl, lambda p, q: np.mean(np.sum(sp.rel_entr(p, q), -1)), (_P, _T)),
    "l1": (lambda w: nn.l1(w, 0.1), lambda w: 0.1 * np.sum(np.abs(w)), (_Z,)),
    "l2": (lambda w: nn.l2(w, 0.1), lambda w: 0.1 * np.sum(w**2), (_Z,)),
    "l2-half-several": (
        lambda w, v: nn.l2([w, v], 0.1, half=True),
        lambda w, v: 0.05 * (np.sum(w**2) + np.sum(v**2)),
        (_Z, _P),
    ),
    "accuracy": (
        nn.accuracy,
        lambda z, y: np.mean(np.argmax(z, -1) == y),
        (_Z, np.array([0, 5, 2, 1])),
    ),
}  # fmt: skip

NETWORKS = [Case(name, *row, rtol=1e-13) for name, row in _NN.items()]

ALL: Sequence[Case] = [*OPERATIONS, *NUMPY, *NETWORKS]
