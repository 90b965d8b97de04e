"""Naive spellings of single functions become stable operations.

The rules are of the class ``reassociating``: equal in real arithmetic, other rounding, and
finite where the naive form over- or underflows. Gradients of naive
spellings are products, see `graphc.rewrite.products`.
"""

from __future__ import annotations

from graphc.expr import Expr, apply
from graphc.ops import elementwise as ew
from graphc.ops.reduction import LOGSUMEXP, NORM, SOFTMAX
from graphc.rewrite.engine import REASSOCIATING, rule
from graphc.rewrite.match import constant_along, is_number

# Pieces that rules ask for --------------------------------------------------------------------


def one_plus(x: Expr) -> Expr | None:
    """y where x is 1 + y."""
    if x.op is not ew.add:
        return None
    left, right = x.args
    if is_number(left, 1):
        return right
    return left if is_number(right, 1) else None


def one_minus(x: Expr) -> Expr | None:
    """y where x is 1 - y."""
    return x.args[1] if x.op is ew.sub and is_number(x.args[0], 1) else None


def exponent(x: Expr) -> Expr | None:
    """y where x is exp(y)."""
    return x.args[0] if x.op is ew.exp else None


# Logarithms -----------------------------------------------------------------------------------


@rule("log", REASSOCIATING, of="exp", stage="stabilize")
def log_of_exp(node: Expr, x: Expr) -> Expr:
    """log(exp(x)) -> x."""
    return x.args[0]


@rule("log", REASSOCIATING, of="softmax", stage="stabilize")
def log_of_softmax(node: Expr, x: Expr) -> Expr:
    """log(softmax(x)) -> x - logsumexp(x)."""
    logits = x.args[0]
    return logits - apply(LOGSUMEXP, (logits,), {"axes": x.attrs["axes"], "keepdims": True})


@rule("log", REASSOCIATING, of="sum", stage="stabilize")
def log_of_sum_of_exp(node: Expr, x: Expr) -> Expr | None:
    """log(sum(exp(x))) -> logsumexp(x)."""
    inner = exponent(x.args[0])
    return None if inner is None else apply(LOGSUMEXP, (inner,), x.attrs)


@rule("log", REASSOCIATING, of="sigmoid", stage="stabilize")
def log_of_sigmoid(node: Expr, x: Expr) -> Expr:
    """log(sigmoid(x)) -> -softplus(-x)."""
    return -ew.softplus(-x.args[0])


@rule("log", REASSOCIATING, of="add", stage="stabilize")
def log_of_sum(node: Expr, x: Expr) -> Expr | None:
    """log(exp(x) + exp(y)) -> logaddexp(x, y), log(1 + x) -> log1p(x)."""
    left, right = (exponent(a) for a in x.args)
    if left is not None and right is not None:
        return ew.logaddexp(left, right)
    small = one_plus(x)
    return None if small is None else ew.log1p(small)


@rule("log", REASSOCIATING, of="sub", stage="stabilize")
def log_of_one_minus(node: Expr, x: Expr) -> Expr | None:
    """log(1 - x) -> log1p(-x)."""
    small = one_minus(x)
    return None if small is None else ew.log1p(-small)


@rule("log1p", REASSOCIATING, of="exp", stage="stabilize")
def log1p_of_exp(node: Expr, x: Expr) -> Expr:
    """log1p(exp(x)) -> softplus(x)."""
    return ew.softplus(x.args[0])


@rule("log1p", REASSOCIATING, of="neg", stage="stabilize")
def log1p_of_minus_sigmoid(node: Expr, x: Expr) -> Expr | None:
    """log1p(-sigmoid(x)) -> -softplus(x)."""
    s = x.args[0]
    return -ew.softplus(s.args[0]) if s.op is ew.sigmoid else None


# Exponentials ---------------------------------------------------------------------------------


@rule("exp", REASSOCIATING, of="sub", stage="stabilize")
def exp_of_log_softmax(node: Expr, x: Expr) -> Expr | None:
    """exp(x - logsumexp(x)) -> softmax(x)."""
    logits, total = x.args
    if total.op is not LOGSUMEXP or total.args[0] is not logits or not total.attrs["keepdims"]:
        return None
    return apply(SOFTMAX, (logits,), {"axes": total.attrs["axes"]})


@rule("exp", REASSOCIATING, of="log", stage="stabilize")
def exp_of_log_of_positive(node: Expr, x: Expr) -> Expr | None:
    """exp(log(x)) -> x for x that is never negative."""
    inner = x.args[0]
    return inner if inner.op.name in ("square", "abs", "exp", "softmax", "sigmoid") else None


@rule("exp", REASSOCIATING, of="neg", stage="stabilize")
def exp_of_minus_softplus(node: Expr, x: Expr) -> Expr | None:
    """exp(-softplus(x)) -> sigmoid(-x)."""
    inner = x.args[0]
    return ew.sigmoid(-inner.args[0]) if inner.op is ew.softplus else None


@rule("sub", REASSOCIATING, of="exp", stage="stabilize")
def exp_minus_one(node: Expr, x: Expr, one: Expr) -> Expr | None:
    """exp(x) - 1 -> expm1(x)."""
    return ew.expm1(x.args[0]) if is_number(one, 1) else None


@rule("sub", REASSOCIATING, stage="stabilize", has="exp")
def one_minus_exp(node: Expr, one: Expr, x: Expr) -> Expr | None:
    """1 - exp(x) -> -expm1(x)."""
    return -ew.expm1(x.args[0]) if x.op is ew.exp and is_number(one, 1) else None


@rule("softmax", REASSOCIATING, of="sub add", stage="stabilize")
def softmax_of_shifted(node: Expr, x: Expr) -> Expr | None:
    """softmax(x - c) -> softmax(x), where c is the same along the axes."""
    logits, shift = x.args
    if x.op is ew.add and constant_along(logits, node.attrs["axes"], x.ndim):
        logits, shift = shift, logits
    if not constant_along(shift, node.attrs["axes"], x.ndim):
        return None
    return apply(SOFTMAX, (logits,), node.attrs) if logits.shape == node.shape else None


# Roots ----------------------------------------------------------------------------------------


@rule("sqrt", REASSOCIATING, of="sum", stage="stabilize")
def root_of_sum_of_squares(node: Expr, x: Expr) -> Expr | None:
    """sqrt(sum(square(x))) -> norm(x)."""
    squares = x.args[0]
    return apply(NORM, squares.args, x.attrs) if squares.op is ew.square else None


@rule("sqrt", REASSOCIATING, of="add", stage="stabilize")
def root_of_two_squares(node: Expr, x: Expr) -> Expr | None:
    """sqrt(square(x) + square(y)) -> hypot(x, y)."""
    left, right = x.args
    if left.op is not ew.square or right.op is not ew.square:
        return None
    return ew.hypot(left.args[0], right.args[0])
