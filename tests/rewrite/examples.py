"""For every rule, expressions whose last operation it rewrites."""

from __future__ import annotations

from collections.abc import Callable

import graphc as gr
from graphc.expr import Expr, apply, constant
from graphc.ops import elementwise as ew
from graphc.ops.contraction import contract
from graphc.ops.elementwise import cast, where
from graphc.ops.leaves import iota
from graphc.ops.movement import (
    BROADCAST,
    CONCATENATE,
    PAD,
    RESHAPE,
    SLICE,
    TRANSPOSE,
    pad_spread,
)
from graphc.ops.reduction import ALL, MAX

N = 48  #: elements of vectors


class Leaves:
    """Leaves by their letter: x y z floats, s r scalars, c d bools, i j integers (vectors);
    m n floats (3, 4), u (1, 4), k labels of 5 in (3,)."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.made: dict[str, Expr] = {}

    def __getattr__(self, name: str) -> Expr:
        shapes = {
            "s": (),
            "r": (),
            "m": (3, 4),
            "n": (3, 4),
            "q": (4, 3),
            "u": (1, 4),
            "k": (3,),
        }
        dtype = {"c": "bool", "d": "bool", "i": "int64", "j": "int64", "k": "int64"}
        shape = shapes.get(name, (N,))
        if name not in self.made:
            self.made[name] = gr.tensor(name, shape, dtype.get(name, self.dtype))
        return self.made[name]

    def number(self, value: float) -> Expr:
        return constant(value, self.dtype)


Example = Callable[[Leaves], Expr]


def raw(op: ew.Op, *args: Expr, **attrs: object) -> Expr:
    """A node as it is, without the tidying of the public functions."""
    return apply(op, args, attrs)


def spread(x: Expr, *shape: int) -> Expr:
    return raw(BROADCAST, x, shape=shape)


def masked(v: Leaves, value: Expr) -> Expr:
    """One-hot rows of ``value`` for labels k of 5."""
    hit = ew.equal(iota((3, 5), 1), gr.reshape(v.k, (3, 1)))
    return where(hit, value, v.number(0))


def sums_of_exp(v: Leaves) -> Expr:
    return gr.sum(gr.exp(v.m), 1, keepdims=True)


EXAMPLES: dict[str, list[Example]] = {
    # derivative marks
    "value-of-derivative-mark": [
        lambda v: gr.stop_gradient(v.x),
        lambda v: gr.custom_gradient(gr.square, jvp=lambda t, out, x: t[0] * x)(v.x),
    ],
    "value-of-derivative-mark-left": [
        lambda v: gr.stop_gradient(v.x),
        lambda v: gr.custom_gradient(gr.square, jvp=lambda t, out, x: t[0] * x)(v.x),
    ],
    # fold
    "fold-constants": [
        lambda v: v.number(2) * v.number(3),
        lambda v: gr.sum(constant([1.0, 2.5], v.dtype)),
    ],
    "uniform-constant": [lambda v: constant([[2.0, 2.0], [2.0, 2.0]], v.dtype)],
    # algebra
    "mul-one": [lambda v: v.x * 1, lambda v: v.i * 1],
    "mul-minus-one": [lambda v: v.x * -1, lambda v: v.i * -1],
    "div-one": [lambda v: v.x / 1],
    "div-minus-one": [lambda v: v.x / -1],
    "sub-zero": [lambda v: v.x - 0.0, lambda v: v.i - 0],
    "add-minus-zero": [lambda v: v.x + -0.0, lambda v: v.i + 0],
    "add-zero": [lambda v: v.x + 0.0],
    "zero-sub": [lambda v: 0.0 - v.x],
    "mul-zero": [lambda v: v.x * 0.0],
    "sub-self": [lambda v: v.x - v.x],
    "div-self": [lambda v: v.x / v.x],
    "pow-one": [lambda v: ew.pow(v.x, 1.0)],
    "pow-zero": [lambda v: ew.pow(v.x, 0.0)],
    "positive": [lambda v: ew.positive(v.x)],
    "involution": [
        lambda v: gr.negative(-v.x),
        lambda v: ~~v.i,
        lambda v: gr.logical_not(gr.logical_not(v.c)),
    ],
    "sub-neg": [lambda v: v.x - -v.y],
    "add-neg": [lambda v: v.x + -v.y, lambda v: -v.x + v.y],
    "neg-sub": [lambda v: -v.x - v.y],
    "neg-of-sub": [lambda v: -(v.x - v.y)],
    "add-negative-constant": [lambda v: v.x + -2.0, lambda v: v.x - -2.0],
    "add-negative-scaled": [lambda v: v.x + -2.0 * v.y, lambda v: v.x - -2.0 * v.y],
    "mul-neg": [lambda v: -v.x * v.y, lambda v: v.y * -v.x, lambda v: -v.x * 3.0],
    "neg-div": [lambda v: -v.x / v.y],
    "div-neg": [lambda v: v.x / -v.y],
    "neg-of-scaled": [lambda v: -(3.0 * v.x), lambda v: -(v.i * 3)],
    "negative-constant-div": [lambda v: -2.0 / v.x],
    "div-negative-constant": [lambda v: v.x / -3.0],
    "even-of-neg": [
        lambda v: abs(-v.x),
        lambda v: gr.square(-v.x),
        lambda v: gr.square(abs(v.x)),
    ],
    "even-function": [lambda v: gr.cos(-v.x), lambda v: gr.cosh(abs(v.x))],
    "odd-function": [
        lambda v: gr.sin(-v.x),
        lambda v: gr.tan(-v.x),
        lambda v: gr.asin(-v.x),
        lambda v: gr.atan(-v.x),
        lambda v: gr.sinh(-v.x),
        lambda v: gr.tanh(-v.x),
        lambda v: gr.asinh(-v.x),
        lambda v: gr.atanh(-v.x),
        lambda v: gr.erf(-v.x),
    ],
    "idempotent": [
        lambda v: abs(abs(v.x)),
        lambda v: gr.floor(gr.floor(v.x)),
        lambda v: gr.ceil(gr.round(v.x)),
        lambda v: gr.trunc(gr.sign(v.x)),
    ],
    "abs-of-positive": [lambda v: abs(gr.square(v.x)), lambda v: abs(gr.exp(v.x))],
    "same-operands": [
        lambda v: gr.maximum(v.x, v.x),
        lambda v: gr.minimum(v.x, v.x),
        lambda v: gr.logical_and(v.c, v.c),
        lambda v: v.i | v.i,
    ],
    "absorbed-extremum": [lambda v: gr.maximum(gr.maximum(v.x, v.y), v.y)],
    "nested-limits": [lambda v: gr.maximum(gr.maximum(v.x, 0.0), -1.0)],
    "mul-of-scaled": [lambda v: 2.0 * v.x * 3.0, lambda v: 2 * v.i * 3],
    "mul-of-quotient": [lambda v: v.x / 3.0 * 2.0, lambda v: 3.0 / v.x * 2.0],
    "div-of-scaled": [lambda v: 3.0 * v.x / 7.0],
    "div-of-quotient": [lambda v: v.x / 3.0 / 7.0],
    "div-by-scaled": [lambda v: 2.0 / (3.0 * v.x)],
    "constants-of-sum": [
        lambda v: v.x + 1.5 + 2.25,
        lambda v: v.x - 1.5 + 2.25,
        lambda v: 1.5 - v.x - 2.25,
        lambda v: 1.5 + v.x - 2.25,
        lambda v: 1.5 - (2.25 - v.x),
        lambda v: 1.5 - (v.x + 2.25),
        lambda v: 1.5 - (v.x - 2.25),
    ],
    "mul-reciprocal": [lambda v: v.x * (1 / v.y), lambda v: v.x * gr.reciprocal(v.y)],
    "div-reciprocal": [lambda v: v.x / (1 / v.y), lambda v: v.x / gr.reciprocal(v.y)],
    "reciprocal-as-div": [lambda v: gr.reciprocal(v.x)],
    # strength
    "mul-self": [lambda v: v.x * v.x, lambda v: v.i * v.i],
    "add-self": [lambda v: v.x + v.x],
    "pow-two": [lambda v: ew.pow(v.x, 2.0)],
    "pow-three": [lambda v: ew.pow(v.x, 3.0), lambda v: ew.pow(v.x, 4.0)],
    "pow-minus-one": [lambda v: ew.pow(v.x, -1.0)],
    "pow-minus-two": [lambda v: ew.pow(v.x, -2.0)],
    "pow-half": [lambda v: ew.pow(abs(v.x), 0.5)],
    "pow-half-of-positive": [lambda v: ew.pow(gr.exp(v.x), 0.5)],
    "pow-three-halves": [
        lambda v: ew.pow(gr.exp(v.x), 1.5),
        lambda v: ew.pow(gr.exp(v.x), -0.5),
    ],
    "pow-of-two": [
        lambda v: ew.pow(v.number(2), v.x),
        lambda v: ew.pow(v.number(2.718281828459045), v.x),
    ],
    "sqrt-of-square": [lambda v: gr.sqrt(gr.square(v.x))],
    "sqrt-of-exp": [lambda v: gr.sqrt(gr.exp(v.x))],
    "div-power-of-two": [lambda v: v.x / 4.0, lambda v: v.x / -0.25],
    "div-constant": [lambda v: v.x / 3.0],
    "div-repeated": [
        lambda v: v.x / gr.sqrt(gr.square(v.s)),
        lambda v: v.m / gr.sqrt(gr.sum(gr.square(v.m), 1, keepdims=True)),
    ],
    # factoring
    "scalar-out-of-mul": [
        lambda v: v.x * v.s * v.y,
        lambda v: v.y * (v.x / v.s),
        lambda v: gr.reshape(v.x[:1] * constant([1.5], v.dtype), ()) * v.s,
    ],
    "scalar-out-of-dividend": [lambda v: v.x * v.s / v.y, lambda v: v.x / v.s / v.y],
    "scalar-out-of-divisor": [lambda v: v.x / (v.y * v.s), lambda v: v.x / (v.y / v.s)],
    "scalars-together": [
        lambda v: v.x * v.s * v.r,
        lambda v: v.x / v.s * v.r,
        lambda v: v.x * v.s / v.r,
        lambda v: v.x / v.s / v.r,
        lambda v: gr.reshape(v.m * v.s, (4, 3)) * v.r,
    ],
    "common-factor": [
        lambda v: v.x * v.z + v.y * v.z,
        lambda v: v.x * v.z - v.z * v.y,
        lambda v: v.x / v.z - v.y / v.z,
        lambda v: v.x / v.z - v.y * (v.x / v.z),
        lambda v: v.x * 0.125 + where(v.c, v.number(0.125), v.number(0)),
    ],
    "self-minus-product": [lambda v: v.x - v.x * v.y, lambda v: v.x * v.y - v.x],
    "self-plus-scaled": [lambda v: v.x + 0.25 * v.x],
    # selection
    "where-constant": [
        lambda v: where(gr.constant(True), v.x, v.y),
        lambda v: where(gr.constant(False), v.x, v.y),
    ],
    "where-same": [lambda v: where(v.c, v.x, v.x)],
    "where-not": [lambda v: where(gr.logical_not(v.c), v.x, v.y)],
    "where-nested": [
        lambda v: where(v.c, where(v.c, v.x, v.y), v.z),
        lambda v: where(v.c, v.z, where(v.c, v.x, v.y)),
    ],
    "where-one-zero": [
        lambda v: where(v.c, v.number(1), v.number(0)),
        lambda v: where(v.c, v.number(0), v.number(1)),
    ],
    "where-of-negs": [lambda v: where(v.c, -v.x, -v.y)],
    "where-neg-zero": [
        lambda v: where(v.c, -v.x, v.number(0)),
        lambda v: where(v.c, v.number(0), v.number(-2)),
    ],
    "where-boolean": [
        lambda v: where(v.c, v.d, constant(False)),
        lambda v: where(v.c, constant(True), v.d),
    ],
    "and-constant": [lambda v: gr.logical_and(v.c, True), lambda v: gr.logical_and(v.c, False)],
    "or-constant": [lambda v: gr.logical_or(v.c, True), lambda v: gr.logical_or(v.c, False)],
    "xor-constant": [
        lambda v: ew.logical_xor(v.c, True),
        lambda v: ew.logical_xor(v.c, False),
        lambda v: gr.not_equal(v.c, False),
    ],
    "contradiction": [
        lambda v: gr.logical_and(v.c, gr.logical_not(v.c)),
        lambda v: gr.logical_or(v.c, gr.logical_not(v.c)),
    ],
    "absorption": [
        lambda v: gr.logical_or(gr.logical_and(v.c, v.d), v.d),
        lambda v: gr.logical_and(gr.logical_or(v.c, v.d), v.d),
        lambda v: gr.logical_and(gr.logical_and(v.c, v.d), v.d),
    ],
    "not-comparison": [
        lambda v: gr.logical_not(gr.equal(v.x, v.y)),
        lambda v: gr.logical_not(gr.not_equal(v.x, v.y)),
        lambda v: gr.logical_not(v.i < v.j),
        lambda v: gr.logical_not(v.i >= v.j),
    ],
    "compare-self": [
        lambda v: gr.equal(v.x, v.x),
        lambda v: gr.not_equal(v.x, v.x),
        lambda v: v.x < v.x,
        lambda v: v.x >= v.x,
        lambda v: v.i <= v.i,
    ],
    "classify-integer": [lambda v: raw(ew.isfinite, v.i), lambda v: raw(ew.isnan, v.i)],
    "classify-sign": [lambda v: gr.isnan(-v.x), lambda v: gr.isinf(abs(v.x))],
    "cast-identity": [lambda v: raw(ew.CAST, v.x, dtype=v.x.dtype)],
    "cast-of-cast": [
        lambda v: cast(cast(v.c, "int8"), v.dtype),
        lambda v: cast(cast(cast(v.i, "int8"), "float32"), "float64"),
    ],
    "cast-of-bool-nonzero": [lambda v: gr.not_equal(cast(v.c, v.dtype), 0)],
    "product-of-masks": [lambda v: cast(v.c, v.dtype) * cast(v.d, v.dtype)],
    # movement
    "transpose-identity": [lambda v: raw(TRANSPOSE, v.m, axes=(0, 1))],
    "reshape-identity": [
        lambda v: raw(RESHAPE, v.m, shape=(3, 4)),
        lambda v: spread(v.m, 3, 4),
    ],
    "slice-whole": [lambda v: raw(SLICE, v.m, ranges=((0, 3, 1), (0, 4, 1)))],
    "pad-nothing": [lambda v: raw(PAD, v.m, v.number(0), widths=((0, 0, 0), (0, 0, 0)))],
    "concatenate-one": [
        lambda v: raw(CONCATENATE, v.m, axis=0),
        lambda v: raw(CONCATENATE, v.m, v.m[:0], v.n, axis=0),
    ],
    "transpose-of-transpose": [lambda v: v.m.T.T],
    "reshape-of-reshape": [lambda v: v.m.reshape(2, 6).reshape(4, 3)],
    "broadcast-of-broadcast": [lambda v: spread(spread(v.u, 3, 4), 2, 3, 4)],
    "broadcast-of-leading-ones": [lambda v: spread(v.m.reshape(1, 3, 4), 2, 3, 4)],
    "slice-of-slice": [lambda v: v.m[1:, ::2][::-1, 1:], lambda v: v.x[::-3][2:9:2]],
    "slice-of-concatenate": [
        lambda v: gr.concatenate([v.m, v.n], 0)[3:5],
        lambda v: gr.concatenate([v.m, v.n], 0)[5:2:-1, 1:3],
    ],
    "slice-of-pad": [
        lambda v: gr.pad(v.m, 2)[2:4, 3:6],
        lambda v: pad_spread(v.m, [(1, 0, 1), (0, 2, 0)])[1::2, :4],
    ],
    "broadcast-adds-ones": [lambda v: spread(v.m, 1, 3, 4)],
    "movement-of-uniform": [
        lambda v: spread(v.s, 3, 4).T,
        lambda v: spread(v.s, 3, 4).reshape(2, 6),
        lambda v: spread(v.s, 3, 4)[1:],
    ],
    "transpose-of-broadcast": [lambda v: spread(v.u, 3, 4).T],
    "slice-of-broadcast": [lambda v: spread(v.u, 3, 4)[1:, 1::2]],
    "concatenate-uniform": [lambda v: gr.concatenate([spread(v.s, 3), spread(v.s, 4)])],
    "implicit-broadcast": [
        lambda v: spread(v.u, 3, 4) * v.m,
        lambda v: spread(v.u, 3, 4) + spread(v.s, 3, 4),
        lambda v: gr.sqrt(spread(v.u, 3, 4)),
        lambda v: where(v.m > 0, spread(v.s, 3, 4), v.n),
    ],
    "elementwise-of-movements": [
        lambda v: gr.sqrt(v.m.T),
        lambda v: v.m.T * v.n.T,
        lambda v: v.m.reshape(12) + v.s,
        lambda v: v.m.T * v.s,
        lambda v: abs(v.m.reshape(12) * v.s),
    ],
    "movement-of-neg": [lambda v: (-v.m).T, lambda v: (-v.m).reshape(12), lambda v: (-v.m)[1:]],
    "reshape-of-scaled": [
        lambda v: (v.m * v.s).reshape(12),
        lambda v: (2.0 / v.m).reshape(2, 6),
    ],
    "implicit-leading-ones": [
        lambda v: v.m - v.n[0].reshape(1, 4) / v.s,
        lambda v: v.m[0].reshape(1, 4) + v.n,
        lambda v: gr.where(v.c[:4].reshape(1, 4), v.m, v.n),
    ],
    "reshape-of-moved-ones": [lambda v: v.u.T.reshape(2, 2), lambda v: v.u.T.reshape(4)],
    "transpose-of-ones": [lambda v: v.u.T],
    # reductions
    "reduce-ones": [
        lambda v: gr.max(v.u, 0),
        lambda v: gr.prod(v.u, (0, 1)),
        lambda v: raw(ALL, v.u > 0, axes=(0,), keepdims=True),
    ],
    "sum-ones": [lambda v: gr.sum(v.u, 0), lambda v: gr.sum(v.u)],
    "softmax-without-axes": [lambda v: gr.softmax(v.u, (0, 1))],
    "reshape-of-reduction": [
        lambda v: gr.sum(v.m, 1).reshape(3, 1),
        lambda v: gr.max(v.m, 1, keepdims=True).reshape(3),
    ],
    "kept-leading-axes": [
        lambda v: gr.max(v.m, 0, keepdims=True),
        lambda v: gr.sum(v.m, keepdims=True),
        lambda v: gr.argmin(v.m, 0, keepdims=True),
    ],
    "reduce-transpose": [lambda v: gr.sum(v.m.T, 0), lambda v: gr.prod(v.m.T)],
    "extremum-of-transpose": [
        lambda v: gr.max(v.m.T, 0),
        lambda v: raw(MAX, v.m.reshape(3, 2, 2).transpose(2, 0, 1), axes=(1,), keepdims=True),
    ],
    "reduce-all-of-reshape": [lambda v: gr.sum(v.m.reshape(2, 6))],
    "reduction-of-reduction": [
        lambda v: gr.sum(gr.sum(v.m, 1)),
        lambda v: gr.sum(gr.sum(v.m.reshape(3, 2, 2), 1), 0, keepdims=True),
        lambda v: gr.prod(gr.prod(v.m, 0, keepdims=True), 1),
    ],
    "extremum-of-extremum": [lambda v: gr.min(gr.min(v.m, 1))],
    "sum-of-broadcast": [
        lambda v: gr.sum(spread(v.u, 3, 4), 0),
        lambda v: gr.sum(spread(v.u, 3, 4)),
        lambda v: gr.sum(spread(v.s, 3, 4), 1, keepdims=True),
    ],
    "extremum-of-broadcast": [
        lambda v: gr.max(spread(v.u, 3, 4), 0),
        lambda v: gr.min(spread(v.u, 3, 4)),
    ],
    "sum-of-scaled-factor": [
        lambda v: gr.sum(v.m * (1 / gr.sqrt(v.s * v.s + 1)) * v.n),
        lambda v: gr.sum(v.m * (v.n * (1 / gr.sqrt(gr.var(v.m, 0) + 0.1))), 0),
    ],
    "sum-of-scaled": [
        lambda v: gr.sum(v.m * v.s),
        lambda v: gr.sum(v.m * v.u, 0),
        lambda v: gr.sum(v.m * gr.sum(v.n, 1, keepdims=True), 1, keepdims=True),
    ],
    "sum-of-quotient": [lambda v: gr.sum(v.m / v.s), lambda v: gr.sum(v.m / v.u, 0)],
    "sum-of-neg": [lambda v: gr.sum(-v.m, 1)],
    "extremum-of-neg": [lambda v: gr.max(-v.m, 1), lambda v: gr.min(-v.m)],
    "sum-of-one-hot": [
        lambda v: gr.sum(gr.one_hot(v.k, 5, v.dtype), 1),
        lambda v: gr.sum(masked(v, v.number(3)), 1, keepdims=True),
        lambda v: gr.sum(masked(v, gr.reshape(v.m[:, 0], (3, 1))), 1),
    ],
    # contractions
    "contract-transposed": [
        lambda v: contract("ij,jk->ik", v.q.T, v.q),
        lambda v: contract("ij,kj->ki", v.m, v.q.T),
    ],
    "transpose-of-contract": [lambda v: contract("ij,jk->ik", v.m, v.q).T],
    "contract-dropped-ones": [
        lambda v: contract("aij,jk->aik", v.m.reshape(1, 3, 4), v.q),
        lambda v: contract("ij,bjk->ibk", v.m, v.q.reshape(1, 4, 3)),
    ],
    "contract-neg": [
        lambda v: contract("ij,jk->ik", -v.m, v.q),
        lambda v: contract("ij,jk->ik", v.m, -v.q),
    ],
    "contract-scaled": [
        lambda v: contract("ij,jk->ik", v.m * v.s, v.q),
        lambda v: contract("ij,jk->ik", v.m, v.q / v.s),
    ],
    "contract-repeated": [
        lambda v: contract("ij,jk->ik", spread(v.s, 3, 4), v.q),
        lambda v: contract("ij,jk->ik", v.m, spread(v.s, 4, 3)),
        lambda v: contract("ij,jk->ki", spread(v.u, 3, 4), v.q),
        lambda v: contract("ij,i->j", v.m, spread(v.s, 3)),
    ],
    "contract-letters": [lambda v: contract("mk,kn->mn", v.m, v.q)],
    # stability
    "log-of-exp": [lambda v: gr.log(gr.exp(v.x))],
    "log-of-softmax": [lambda v: gr.log(gr.softmax(v.m, 0))],
    "log-of-sum-of-exp": [lambda v: gr.log(gr.sum(gr.exp(v.m), 1))],
    "log-of-sigmoid": [lambda v: gr.log(gr.sigmoid(v.x))],
    "log-of-sum": [lambda v: gr.log(gr.exp(v.x) + gr.exp(v.y)), lambda v: gr.log(1 + abs(v.x))],
    "log-of-one-minus": [lambda v: gr.log(1 - gr.sigmoid(v.x))],
    "log1p-of-exp": [lambda v: gr.log1p(gr.exp(v.x))],
    "log1p-of-minus-sigmoid": [lambda v: gr.log1p(-gr.sigmoid(v.x))],
    "exp-of-log-softmax": [lambda v: gr.exp(v.m - gr.logsumexp(v.m, 1, keepdims=True))],
    "exp-of-log-of-positive": [lambda v: gr.exp(gr.log(gr.square(v.x)))],
    "exp-of-minus-softplus": [lambda v: gr.exp(-ew.softplus(v.x))],
    "exp-minus-one": [lambda v: gr.exp(v.x) - 1],
    "one-minus-exp": [lambda v: 1 - gr.exp(v.x)],
    "softmax-of-shifted": [
        lambda v: gr.softmax(v.m - gr.max(v.m, 1, keepdims=True), 1),
        lambda v: gr.softmax(v.s + v.m, 0),
    ],
    "root-of-sum-of-squares": [lambda v: gr.sqrt(gr.sum(gr.square(v.m), 1))],
    "root-of-two-squares": [lambda v: gr.sqrt(gr.square(v.x) + gr.square(v.y))],
    "product-lift": [
        lambda v: gr.exp(v.m) / sums_of_exp(v),
        lambda v: v.n / sums_of_exp(v) * gr.exp(v.m),
        lambda v: gr.exp(v.m) / gr.sum(gr.exp(v.m), 1).reshape(3, 1),
        lambda v: 1 / (1 + gr.exp(-v.x)),
        lambda v: gr.exp(v.x) * v.y / (1 + gr.exp(v.x)),
        lambda v: gr.exp(-v.x) * (v.y * gr.sigmoid(v.x)),
        lambda v: gr.exp(-v.x) * gr.square(gr.sigmoid(v.x)),
        lambda v: v.y * gr.sigmoid(v.x) * gr.sigmoid(-v.x),
        lambda v: v.y / (1 - gr.sigmoid(v.x)) * ((gr.sigmoid(v.x) - 1) * v.z),
        lambda v: gr.exp(-2.0 * v.x) * gr.sigmoid(2.0 * v.x),
        lambda v: gr.exp(v.x) / (gr.exp(v.x) + gr.exp(v.y)),
        lambda v: v.y / gr.sigmoid(v.x) * gr.sigmoid(v.x),
        lambda v: (1 + gr.exp(v.x)) * gr.sigmoid(-v.x) * v.y,
    ],
    "distribute-to-cancel": [
        lambda v: (v.y / gr.sigmoid(v.x) + v.z) * gr.sigmoid(v.x),
        lambda v: (v.y - v.z / gr.exp(v.x)) * gr.exp(v.x),
    ],
    "distribute-quotient": [
        lambda v: (gr.exp(v.x) - gr.exp(v.y)) / (gr.exp(v.x) + gr.exp(v.y)),
    ],
    "cross-entropy-residual": [
        lambda v: (1 - v.y) * gr.sigmoid(v.x) - v.y * gr.sigmoid(-v.x),
        lambda v: v.y * gr.sigmoid(-v.x) - (1 - v.y) * gr.sigmoid(v.x),
    ],
    "cross-entropy-residual-negated": [
        lambda v: (v.y - 1) * gr.sigmoid(v.x) + v.y * gr.sigmoid(-v.x)
    ],
    # expand
    "softmax-by-reciprocal": [lambda v: gr.softmax(v.m, 1), lambda v: gr.softmax(v.m[:0], 0)],
    "softmax-by-division": [lambda v: gr.softmax(v.m, (0, 1))],
    "logsumexp-shifted": [
        lambda v: gr.logsumexp(v.m, 1),
        lambda v: gr.logsumexp(v.m, 0, keepdims=True),
        lambda v: gr.logsumexp(v.m[:, :0], 1),
    ],
    "norm-in-double": [lambda v: gr.norm(cast(v.m, "float32"), 1)],
    "norm-scaled": [
        lambda v: gr.norm(cast(v.m, "float64"), 1),
        lambda v: gr.norm(cast(v.m, "float64"), 0, keepdims=True),
        lambda v: gr.norm(cast(v.m, "float64")[:0], 0),
    ],
    "contract-to-mul": [
        lambda v: contract("ij,j->ij", v.m, v.n[0]),
        lambda v: contract("i,j->ji", v.m[:, 0], v.n[0]),
    ],
    "contract-to-sum": [
        lambda v: contract("ij,ji->", v.m, v.q),
        lambda v: contract("ij,ij->j", v.m, v.n),
    ],
}
