"""Activation functions, written with the operations, in forms that neither overflow nor cancel.

All are elementwise unless an axis is named: the result has the operand's shape, and its element
type (integers and bools become float64). NaN gives NaN. At a kink the derivative is the left
one, so that ``relu'(0) = 0``. Functions that are a value times a gate between 0 and 1 take
their limits at infinity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphc.errors import GraphError, ShapeError
from graphc.expr import Expr, ExprLike, describe, scalar_like
from graphc.functions.statistics import mean, var
from graphc.ops import elementwise as ew
from graphc.ops import reduction
from graphc.ops.movement import reshape
from graphc.ops.reduction import Axis, as_float
from graphc.ops.table import axis_of
from graphc.origin import scoped
from graphc.types import Size, same_size

# Klambauer et al. (2017): with these, mean 0 and variance 1 are a fixed point.
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


# Piecewise linear ---------------------------------------------------------------------------


@scoped
def relu(x: ExprLike) -> Expr:
    """Rectifier ``max(0, x)``; the derivative is 1 for ``x > 0``, else 0.

    Nair and Hinton, Rectified linear units improve restricted Boltzmann machines (2010).

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.vector("x", 3)
    >>> f = gr.compile(x, gr.nn.relu(x), backend="interpret")
    >>> f([-1.0, 0.0, 2.0]).tolist()
    [0.0, 0.0, 2.0]
    """
    node = as_float(x)
    return ew.where(node <= 0, 0, node)


@scoped
def leaky_relu(x: ExprLike, slope: float = 0.01) -> Expr:
    """``x`` for ``x > 0``, else ``slope * x``; the derivatives are 1 and ``slope``.

    Maas et al., Rectifier nonlinearities improve neural network acoustic models (2013).
    """
    return _two_slopes(as_float(x), slope)


@scoped
def prelu(x: ExprLike, alpha: ExprLike) -> Expr:
    """``max(0, x) + alpha * min(0, x)`` with a slope ``alpha`` that can be learned.

    ``alpha`` broadcasts against ``x``: one for all, or one for each unit (the last axis).
    Its gradient is ``min(0, x)``, summed over what it was repeated for. He et al., Delving
    deep into rectifiers (2015).
    """
    return _two_slopes(as_float(x), alpha)


@scoped
def generalised_relu(x: ExprLike, alpha: ExprLike) -> Expr:
    """``max(0, x) + alpha * min(0, x)``: the family that holds the rectifiers.

    ``alpha`` 0 gives `relu`, a small one `leaky_relu`, a learned one `prelu`, and -1 the
    absolute value. Goodfellow, Bengio and Courville, Deep learning (2016), section 6.3.1.
    """
    return _two_slopes(as_float(x), alpha)


@scoped
def absolute_rectifier(x: ExprLike) -> Expr:
    """``|x|``, the derivative is ``sign(x)`` and 0 at 0. Jarrett et al. (2009)."""
    return ew.abs(as_float(x))


def _two_slopes(x: Expr, slope: ExprLike) -> Expr:
    return ew.where(x <= 0, slope * x, x)


@scoped
def relu6(x: ExprLike) -> Expr:
    """``min(max(0, x), 6)``; the derivative is 1 inside ``(0, 6)``, else 0."""
    return _limit(as_float(x), 0, 6)


@scoped
def hard_tanh(x: ExprLike) -> Expr:
    """``min(max(-1, x), 1)``; the derivative is 1 inside ``(-1, 1)``, else 0."""
    return _limit(as_float(x), -1, 1)


@scoped
def hard_sigmoid(x: ExprLike) -> Expr:
    """``min(max(0, x / 6 + 1/2), 1)``; the derivative is 1/6 inside ``(-3, 3)``, else 0."""
    return _hard_gate(as_float(x))


@scoped
def hard_swish(x: ExprLike) -> Expr:
    """``x * hard_sigmoid(x)``. Howard et al., Searching for MobileNetV3 (2019)."""
    node = as_float(x)
    return _gated(node, node, _hard_gate(node))


def _hard_gate(x: Expr) -> Expr:
    return ew.where(x <= -3, 0, ew.where(x >= 3, 1, (x + 3) / 6))


def _limit(x: Expr, lower: float, upper: float) -> Expr:
    return ew.where(x <= lower, lower, ew.where(x >= upper, upper, x))


@scoped
def step(x: ExprLike, threshold: ExprLike = 0.0) -> Expr:
    """1 for ``x >= threshold``, else 0 (McCulloch and Pitts); its derivative is zero."""
    return 1 - ew.maximum(ew.sign(threshold - as_float(x)), 0)


@scoped
def maxout(x: ExprLike, pieces: int, axis: int = -1) -> Expr:
    """Largest of each group of ``pieces`` neighbours along an axis.

    Shape ``(..., n) -> (..., n / pieces)``; ties share the gradient equally. Goodfellow et
    al., Maxout networks (2013).

    Examples
    --------
    >>> import graphc as gr
    >>> gr.nn.maxout(gr.tensor("z", ("batch", 12)), pieces=3).type
    f32[batch, 4]
    """
    node = as_float(x)
    place = axis_of("maxout", node, axis)
    size = node.shape[place]
    groups: Size = size // pieces if pieces > 0 else 0
    if not same_size(groups * pieces, size):
        raise ShapeError(
            f"maxout: {size} units do not divide into groups of {pieces}",
            where=describe([("operand", node)]),
            hint="the size of the axis must be a multiple of pieces",
        )
    split = (*node.shape[:place], groups, pieces, *node.shape[place + 1 :])
    return reduction.max(reshape(node, split), place + 1)


# Exponential --------------------------------------------------------------------------------


@scoped
def sigmoid(x: ExprLike) -> Expr:
    """Logistic function ``1 / (1 + exp(-x))``; the derivative is ``s * (1 - s)``."""
    return ew.sigmoid(as_float(x))


@scoped
def log_sigmoid(x: ExprLike) -> Expr:
    """``log(1 / (1 + exp(-x))) = -softplus(-x)``; the derivative is ``sigmoid(-x)``."""
    return -ew.softplus(-as_float(x))


@scoped
def softplus(x: ExprLike) -> Expr:
    """``log(1 + exp(x))``; the derivative is ``sigmoid(x)``. Dugas et al. (2001)."""
    return ew.softplus(as_float(x))


@scoped
def softsign(x: ExprLike) -> Expr:
    """``x / (1 + |x|)``; the derivative is ``1 / (1 + |x|)^2``.

    Far from zero it is written ``sign(x) * (1 - 1 / (1 + |x|))``, whose derivative does not
    cancel. Turian, Bergstra and Bengio (2009).
    """
    node = as_float(x)
    size = ew.abs(node)
    share = ew.reciprocal(1 + size)
    side = ew.sign(node)
    return ew.where(size <= 1, node * share, side - side * share)


@scoped
def elu(x: ExprLike, alpha: ExprLike = 1.0) -> Expr:
    """``x`` for ``x > 0``, else ``alpha * (exp(x) - 1)``; derivatives 1, ``alpha * exp(x)``.

    Clevert, Unterthiner and Hochreiter, Fast and accurate deep network learning by
    exponential linear units (2016).
    """
    return _elu(as_float(x), alpha)


@scoped
def selu(x: ExprLike) -> Expr:
    """``1.0507 * elu(x, 1.6733)``, which keeps mean 0 and variance 1 from layer to layer.

    Klambauer et al., Self-normalizing neural networks (2017).
    """
    return _SELU_SCALE * _elu(as_float(x), _SELU_ALPHA)


def _elu(x: Expr, alpha: ExprLike) -> Expr:
    negative = x <= 0
    decay = ew.expm1(ew.where(negative, x, 0))  # the side not taken must not overflow
    return ew.where(negative, alpha * decay, x)


@scoped
def gelu(x: ExprLike, approximate: str = "none") -> Expr:
    """``x * Phi(x)`` with the normal distribution function ``Phi(x) = erfc(-x / sqrt(2)) / 2``.

    Parameters
    ----------
    approximate
        ``"none"``, or ``"tanh"`` for ``Phi(x) = (1 + tanh(u)) / 2 = sigmoid(2 * u)`` with
        ``u = sqrt(2 / pi) * (x + 0.044715 * x^3)``.

    Hendrycks and Gimpel, Gaussian error linear units (2016).
    """
    node = as_float(x)
    if approximate == "none":
        return _gated(node, node, 0.5 * ew.erfc(-math.sqrt(0.5) * node))
    if approximate == "tanh":
        u = math.sqrt(2 / math.pi) * node * (1 + 0.044715 * ew.square(node))
        return _gated(node, node, ew.sigmoid(2 * u))
    raise GraphError(f"gelu: approximate={approximate!r} is not known", hint='"none" or "tanh"')


@scoped
def silu(x: ExprLike, beta: ExprLike = 1.0) -> Expr:
    """Swish, ``x * sigmoid(beta * x)``: ``x / 2`` for ``beta`` 0, near `relu` for large ones.

    The derivative is ``s + beta * x * s * (1 - s)`` with ``s = sigmoid(beta * x)``; the one
    for ``beta`` is ``x^2 * s * (1 - s)``, so that it can be learned. Elfwing et al. (2018);
    Ramachandran, Zoph and Le, Searching for activation functions (2017).

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.scalar("x", "float64")
    >>> f = gr.compile(x, gr.nn.silu(x), backend="interpret")
    >>> round(float(f(1.0)), 6)
    0.731059
    """
    node = as_float(x)
    z = node if isinstance(beta, (int, float)) and beta == 1 else ew.mul(beta, node)
    return _gated(node, z, ew.sigmoid(z))


swish = silu


@scoped
def mish(x: ExprLike) -> Expr:
    """``x * tanh(softplus(x))``. Misra, Mish: a self regularized activation function (2019)."""
    node = as_float(x)
    return _gated(node, node, ew.tanh(ew.softplus(node)))


def _gated(x: Expr, z: Expr, gate: Expr) -> Expr:
    """``x * gate``, where the gate closes (0) for ``z -> -inf`` and opens (1) for ``z -> inf``.

    At infinite ``x`` the product would be ``inf * 0``, and its derivative too.
    """
    limit = ew.where(z < 0, 0, x)
    return ew.where(ew.isinf(x), limit, x * gate)


# Trigonometric ------------------------------------------------------------------------------


@scoped
def sinc(x: ExprLike) -> Expr:
    """``sin(x) / x``, 1 at 0; the derivative is ``(x * cos(x) - sin(x)) / x^2``, 0 at 0.

    Unlike `numpy.sinc` there is no factor pi. Within ``|x| <= 1``, where the quotient's
    derivatives cancel, it is the power series ``sum of (-x^2)^k / (2 * k + 1)!``.
    """
    node = as_float(x)
    near = ew.abs(node) <= 1
    away = ew.where(near, 1, node)
    return ew.where(near, _sinc_series(ew.where(near, node, 0)), ew.sin(away) / away)


def _sinc_series(x: Expr) -> Expr:
    """Ten terms: the next one and its derivative are below 1e-17 for ``|x| <= 1``."""
    square = ew.square(x)
    total = scalar_like(-1 / math.factorial(19), x)
    for k in range(8, -1, -1):
        total = total * square + (-1) ** k / math.factorial(2 * k + 1)
    return total


# Along axes ---------------------------------------------------------------------------------


@scoped
def softmax(x: ExprLike, axis: int | Sequence[int] = -1) -> Expr:
    """``exp(x) / sum(exp(x))`` along an axis; shifting all ``x`` changes nothing.

    The Jacobian is ``d s_k / d x_j = s_k * (delta_kj - s_j)``. Bridle (1990).

    Examples
    --------
    >>> import graphc as gr
    >>> z = gr.vector("z", 2, "float64")
    >>> f = gr.compile(z, gr.nn.softmax(z), backend="interpret")
    >>> f([1000.0, 1000.0]).tolist()
    [0.5, 0.5]
    """
    return reduction.softmax(x, axis)


@scoped
def log_softmax(x: ExprLike, axis: int | Sequence[int] = -1) -> Expr:
    """``log(softmax(x)) = x - logsumexp(x)`` along an axis, finite where softmax underflows."""
    node = as_float(x)
    return node - reduction.logsumexp(node, axis, keepdims=True)


@scoped
def logsumexp(x: ExprLike, axis: Axis = None, keepdims: bool = False) -> Expr:
    """``log(sum(exp(x)))`` over axes (all by default); its gradient is `softmax`."""
    return reduction.logsumexp(x, axis, keepdims)


@scoped
def layer_norm(
    x: ExprLike,
    axis: int | Sequence[int] = -1,
    eps: float = 1e-5,
    weight: ExprLike | None = None,
    bias: ExprLike | None = None,
) -> Expr:
    """``weight * (x - mean) / sqrt(var + eps) + bias`` with mean and variance over axes.

    Without ``weight`` and ``bias`` (which broadcast against ``x``) the result has mean 0 and
    variance 1. Ba, Kiros and Hinton, Layer normalization (2016).

    Examples
    --------
    >>> import graphc as gr
    >>> gr.nn.layer_norm(gr.tensor("x", ("batch", 8))).type
    f32[batch, 8]
    """
    node = as_float(x)
    centred = node - mean(node, axis, keepdims=True)
    result = centred / ew.sqrt(var(node, axis, keepdims=True) + eps)
    result = result if weight is None else result * weight
    return result if bias is None else result + bias
