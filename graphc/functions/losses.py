"""Losses and penalties, written with the operations, in forms that stay finite and exact.

Conventions
-----------
A loss takes the prediction first, then the target. ``reduction`` is ``"mean"``, ``"sum"`` or
``"none"`` (one value for each element or example). Elementwise losses want equal shapes, or a
target of rank 0, so that ``(n, 1)`` never meets ``(n,)`` silently. Targets of integers and
bools take the prediction's element type. ``0 * log(0)`` counts as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from graphc.errors import DTypeError, GraphError, ShapeError
from graphc.expr import Expr, ExprLike, as_expr, describe
from graphc.functions.activations import log_softmax
from graphc.functions.statistics import mean
from graphc.ops import elementwise as ew
from graphc.ops.indexing import take_along_axis
from graphc.ops.movement import expand_dims, squeeze
from graphc.ops.reduction import argmax, as_float, logsumexp
from graphc.ops.reduction import sum as sum_over
from graphc.ops.table import axis_of
from graphc.origin import scoped
from graphc.types import Shape, same_size

_REDUCTIONS = ("mean", "sum", "none")


def _reduce(loss: str, values: Expr, how: str) -> Expr:
    if how not in _REDUCTIONS:
        raise GraphError(
            f"{loss}: reduction={how!r} is not known", hint='"mean", "sum" or "none"'
        )
    if how == "none":
        return values
    return mean(values) if how == "mean" else sum_over(values)


def _same_shape(a: Shape, b: Shape) -> bool:
    return len(a) == len(b) and all(map(same_size, a, b))


def _pair(loss: str, prediction: ExprLike, target: ExprLike) -> tuple[Expr, Expr]:
    """Prediction and target as floats, checked to have one shape."""
    x, t = as_float(prediction), as_expr(target)
    if t.ndim and not _same_shape(x.shape, t.shape):
        raise ShapeError(
            f"{loss}: shapes {x.shape} and {t.shape} differ",
            where=describe([("prediction", x), ("target", t)]),
            hint="reshape one of them; a single number may be the target of all",
        )
    return x, t if t.dtype.is_float else ew.cast(t, x.dtype)


# Distances ----------------------------------------------------------------------------------


@scoped
def squared_error(
    prediction: ExprLike, target: ExprLike, *, half: bool = True, reduction: str = "sum"
) -> Expr:
    """``1/2 * sum (o - t)^2`` with gradient ``o - t``; without ``half``, ``sum (o - t)^2``.

    Examples
    --------
    >>> import graphc as gr
    >>> o = gr.vector("o", 2, "float64")
    >>> f = gr.compile(o, gr.nn.squared_error(o, 1.0), backend="interpret")
    >>> float(f([2.0, 3.0]))
    2.5
    """
    x, t = _pair("squared_error", prediction, target)
    squares = ew.square(x - t)
    return _reduce("squared_error", 0.5 * squares if half else squares, reduction)


@scoped
def mse(prediction: ExprLike, target: ExprLike, *, reduction: str = "mean") -> Expr:
    """Mean squared error ``mean (o - t)^2``; its gradient is ``2 * (o - t) / n``."""
    x, t = _pair("mse", prediction, target)
    return _reduce("mse", ew.square(x - t), reduction)


@scoped
def mae(prediction: ExprLike, target: ExprLike, *, reduction: str = "mean") -> Expr:
    """Mean absolute error ``mean |o - t|``; its gradient is ``sign(o - t) / n``, 0 at 0."""
    x, t = _pair("mae", prediction, target)
    return _reduce("mae", ew.abs(x - t), reduction)


@scoped
def huber(
    prediction: ExprLike, target: ExprLike, *, delta: float = 1.0, reduction: str = "mean"
) -> Expr:
    """``e^2 / 2`` for ``|e| <= delta``, else ``delta * (|e| - delta / 2)``, with ``e = o - t``.

    Huber, Robust estimation of a location parameter (1964).
    """
    x, t = _pair("huber", prediction, target)
    if not delta > 0:
        raise GraphError(f"huber: delta={delta} is not positive")
    error = x - t
    size = ew.abs(error)
    values = ew.where(size <= delta, 0.5 * ew.square(error), delta * (size - 0.5 * delta))
    return _reduce("huber", values, reduction)


@scoped
def hinge(scores: ExprLike, target: ExprLike, *, reduction: str = "mean") -> Expr:
    """``max(0, 1 - t * y)`` for targets -1 and 1; the derivative is 0 at the hinge.

    Cortes and Vapnik, Support-vector networks (1995).
    """
    x, t = _pair("hinge", scores, target)
    margin = 1 - t * x
    return _reduce("hinge", ew.where(margin <= 0, 0, margin), reduction)


# Probabilities ------------------------------------------------------------------------------


def _weighed_log(weight: Expr, p: Expr) -> Expr:
    """``weight * log(p)`` with ``0 * log(0) = 0``, also in both derivatives.

    Where the weight is 0, a ``p`` whose reciprocal overflows is replaced by one that is
    a normal number.
    """
    tiny = 4 * float(np.finfo(p.dtype.name).tiny)
    unused = ew.logical_and(ew.equal(weight, 0), ew.less(p, tiny))
    return weight * ew.log(ew.where(unused, tiny, p))


def _weighed_log1p(weight: Expr, x: Expr) -> Expr:
    """``weight * log1p(x)`` for ``x >= -1``, 0 where the weight is 0 and ``x = -1``."""
    unused = ew.logical_and(ew.equal(weight, 0), ew.equal(x, -1))
    return weight * ew.log1p(ew.where(unused, 0, x))


@scoped
def binary_cross_entropy(
    prediction: ExprLike,
    target: ExprLike,
    *,
    from_logits: bool = False,
    reduction: str = "mean",
) -> Expr:
    """``-(t * log(o) + (1 - t) * log(1 - o))`` for targets ``t`` in ``[0, 1]``.

    Parameters
    ----------
    prediction
        Probabilities ``o``, or with ``from_logits`` the ``z`` of ``o = sigmoid(z)``. Where the
        probabilities are a `sigmoid` node, its operand is taken as the logits.
    from_logits
        Compute ``t * softplus(-z) + (1 - t) * softplus(z)``, which is exact where
        ``sigmoid(z)`` rounds to 0 or 1. Its gradient is ``sigmoid(z) - t``.

    Notes
    -----
    From probabilities the gradient is ``(o - t) / (o * (1 - o))``, and a wrong prediction of
    exactly 0 or 1 costs infinity.

    Examples
    --------
    >>> import graphc as gr
    >>> z = gr.scalar("z", "float64")
    >>> loss = gr.nn.binary_cross_entropy(z, 1.0, from_logits=True)
    >>> float(gr.compile(z, loss, backend="interpret")(1e4))
    0.0
    """
    if isinstance(prediction, Expr) and prediction.op is ew.sigmoid and not from_logits:
        prediction, from_logits = prediction.args[0], True
    x, t = _pair("binary_cross_entropy", prediction, target)
    if from_logits:
        values = t * ew.softplus(-x) + (1 - t) * ew.softplus(x)
    else:
        values = -(_weighed_log(t, x) + _weighed_log1p(1 - t, -x))
    return _reduce("binary_cross_entropy", values, reduction)


@scoped
def cross_entropy(
    logits: ExprLike,
    target: ExprLike,
    *,
    axis: int = -1,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Expr:
    """``-sum over k of t_k * log(softmax(z)_k)``, averaged over examples.

    Parameters
    ----------
    logits
        ``z``, classes along ``axis``: ``(batch, classes)``.
    target
        Integer labels ``(batch,)``, or one row of probabilities for each example
        ``(batch, classes)`` (one-hot rows may be integers). A label outside
        ``[-classes, classes)`` raises `InputError` when the function runs.
    label_smoothing
        The share of the target that is spread evenly over all classes.
    reduction
        Over examples; ``"none"`` gives ``(batch,)``.

    Notes
    -----
    For labels this is ``logsumexp(z) - z[label]``. The gradient is ``softmax(z) - t`` where
    the targets sum to one, in general ``softmax(z) * sum(t) - t``.

    Examples
    --------
    >>> import graphc as gr
    >>> z = gr.tensor("z", ("batch", 10))
    >>> y = gr.tensor("y", ("batch",), dtype="int64")
    >>> gr.nn.cross_entropy(z, y, reduction="none").type
    f32[batch]
    """
    z, t, place = _classes("cross_entropy", logits, target, axis)
    if not 0 <= label_smoothing <= 1:
        raise GraphError(
            f"cross_entropy: label_smoothing={label_smoothing} is not a share in [0, 1]"
        )
    values = _from_logits(z, t, place)
    if label_smoothing:
        even = -mean(log_softmax(z, place), place)
        values = (1 - label_smoothing) * values + label_smoothing * even
    return _reduce("cross_entropy", values, reduction)


def _from_logits(z: Expr, t: Expr, axis: int) -> Expr:
    if t.ndim < z.ndim:
        return logsumexp(z, axis) - _chosen(z, t, axis)
    log_p = log_softmax(z, axis)
    unused = ew.logical_and(ew.equal(t, 0), ew.isinf(log_p))
    return -sum_over(t * ew.where(unused, 0, log_p), axis)


@scoped
def categorical_cross_entropy(
    probabilities: ExprLike, target: ExprLike, *, axis: int = -1, reduction: str = "mean"
) -> Expr:
    """``-sum over k of t_k * log(o_k)``, averaged over examples, from probabilities ``o``.

    Targets as in `cross_entropy`, which takes logits and is exact where a probability
    underflows. The gradient is ``-t / o``.
    """
    p, t, place = _classes("categorical_cross_entropy", probabilities, target, axis)
    if t.ndim < p.ndim:
        values = -ew.log(_chosen(p, t, place))
    else:
        values = -sum_over(_weighed_log(t, p), place)
    return _reduce("categorical_cross_entropy", values, reduction)


@scoped
def negative_log_likelihood(
    log_probabilities: ExprLike, labels: ExprLike, *, axis: int = -1, reduction: str = "mean"
) -> Expr:
    """``-log_probabilities[label]``, averaged over examples: the step after `log_softmax`."""
    x, t, place = _classes("negative_log_likelihood", log_probabilities, labels, axis)
    if t.ndim == x.ndim:
        raise DTypeError(
            "negative_log_likelihood: the target must be integer labels",
            where=describe([("prediction", x), ("target", t)]),
            hint="cross_entropy and categorical_cross_entropy take rows of probabilities",
        )
    return _reduce("negative_log_likelihood", -_chosen(x, t, place), reduction)


def _classes(
    loss: str, prediction: ExprLike, target: ExprLike, axis: int
) -> tuple[Expr, Expr, int]:
    """Prediction, target and class axis; the target is labels if it lacks that axis."""
    x, t = as_float(prediction), as_expr(target)
    place = axis_of(loss, x, axis)
    if _same_shape(x.shape, t.shape):
        return x, t if t.dtype.is_float else ew.cast(t, x.dtype), place
    examples = x.shape[:place] + x.shape[place + 1 :]
    where = describe([("prediction", x), ("target", t)])
    if not _same_shape(t.shape, examples):
        raise ShapeError(
            f"{loss}: the target has shape {t.shape}",
            where=where,
            hint=f"integer labels of shape {examples}, or probabilities of shape {x.shape}",
        )
    if not t.dtype.is_integer:
        raise DTypeError(
            f"{loss}: labels are {t.dtype}, not integers",
            where=where,
            hint='cast them: .astype("int64")',
        )
    return x, t, place


def _chosen(x: Expr, labels: Expr, axis: int) -> Expr:
    return squeeze(take_along_axis(x, expand_dims(labels, axis), axis, wrap=False), axis)


@scoped
def kl(
    target: ExprLike, prediction: ExprLike, *, axis: int = -1, reduction: str = "mean"
) -> Expr:
    """Relative entropy ``sum over k of p_k * log(p_k / q_k)`` of two rows of probabilities.

    ``p`` is the target and comes first, as in ``D(p || q)``. Kullback and Leibler (1951).
    """
    p, q = as_float(target), as_float(prediction)
    if not _same_shape(p.shape, q.shape):
        raise ShapeError(
            f"kl: shapes {p.shape} and {q.shape} differ",
            where=describe([("target", p), ("prediction", q)]),
        )
    terms = _weighed_log(p, p) - _weighed_log(p, q)
    return _reduce("kl", sum_over(terms, axis_of("kl", p, axis)), reduction)


# Penalties and scores -----------------------------------------------------------------------


@scoped
def l1(weights: ExprLike | Sequence[ExprLike], scale: ExprLike = 1.0) -> Expr:
    """``scale * sum |w|`` over one tensor or several; the derivative at 0 is 0."""
    return ew.mul(scale, _total([sum_over(ew.abs(w)) for w in _several(weights)]))


@scoped
def l2(
    weights: ExprLike | Sequence[ExprLike], scale: ExprLike = 1.0, *, half: bool = False
) -> Expr:
    """``scale * sum w^2`` over one tensor or several, with ``half`` ``scale / 2 * sum w^2``.

    Weight decay: leave the biases out of ``weights``. The gradient is ``2 * scale * w``, with
    ``half`` it is ``scale * w``.
    """
    total = _total([sum_over(ew.square(w)) for w in _several(weights)])
    return ew.mul(scale, 0.5 * total if half else total)


def _several(weights: ExprLike | Sequence[ExprLike]) -> list[Expr]:
    given = weights if isinstance(weights, (list, tuple)) else [cast(ExprLike, weights)]
    if not given:
        raise GraphError("a penalty needs at least one tensor")
    return [as_float(w) for w in given]


def _total(terms: Sequence[Expr]) -> Expr:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


@scoped
def accuracy(scores: ExprLike, target: ExprLike, *, axis: int = -1) -> Expr:
    """Share of examples whose largest score is at the label, without gradient.

    ``target`` as in `cross_entropy`; the first of equal scores counts.
    """
    x, t, place = _classes("accuracy", scores, target, axis)
    labels = t if t.ndim < x.ndim else argmax(t, place)
    return mean(ew.cast(ew.equal(argmax(x, place), labels), x.dtype))
