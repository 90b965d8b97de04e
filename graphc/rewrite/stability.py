"""Naive spellings become stable operations.

The rules are of the class ``reassociating``: equal in real arithmetic, other rounding, and
finite where the naive form over- or underflows. They look through broadcasting, and through
products and quotients in any order (see `product_lift`), so that gradients of naive
spellings become stable too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from graphc.expr import Expr, apply
from graphc.ops import elementwise as ew
from graphc.ops.movement import reshape
from graphc.ops.reduction import LOGSUMEXP, NORM, SOFTMAX, reduced_shape
from graphc.rewrite.engine import REASSOCIATING, rule
from graphc.rewrite.match import constant_along, is_number, like, same_shape

# Pieces that rules ask for --------------------------------------------------------------------


def opposite(x: Expr, y: Expr) -> bool:
    """Whether x is written as -y, or y as -x."""
    return (x.op is ew.neg and x.args[0] is y) or (y.op is ew.neg and y.args[0] is x)


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


def normaliser(x: Expr, of: Expr) -> tuple[int, ...] | None:
    """Axes where x is the sum of ``of`` along them, kept with size 1; None for other nodes."""
    if x.op.name == "reshape":
        inner = x.args[0]
        if inner.op.name != "sum" or inner.args[0] is not of:
            return None
        kept = reduced_shape(of.shape, inner.attrs["axes"], True)
        return inner.attrs["axes"] if same_shape(kept, x.shape) else None
    if x.op.name != "sum" or x.args[0] is not of:
        return None
    kept = reduced_shape(of.shape, x.attrs["axes"], True)
    return x.attrs["axes"] if same_shape(kept, x.shape) else None


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


@rule("sub", REASSOCIATING, stage="stabilize", has="sigmoid")
def one_minus_sigmoid(node: Expr, one: Expr, x: Expr) -> Expr | None:
    """1 - sigmoid(x) -> sigmoid(-x)."""
    return ew.sigmoid(-x.args[0]) if x.op is ew.sigmoid and is_number(one, 1) else None


@rule("sub", REASSOCIATING, of="sigmoid", stage="stabilize")
def sigmoid_minus_one(node: Expr, x: Expr, one: Expr) -> Expr | None:
    """sigmoid(x) - 1 -> -sigmoid(-x)."""
    return -ew.sigmoid(-x.args[0]) if is_number(one, 1) else None


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


# Products and quotients -----------------------------------------------------------------------

#: Functions that are never zero where nothing underflows: they may be cancelled.
_POSITIVE = (ew.exp, ew.sigmoid, SOFTMAX)


@dataclass
class _Product:
    """A product as lists of factors above and below the line."""

    over: list[Expr] = field(default_factory=list)
    under: list[Expr] = field(default_factory=list)

    def of(self, x: Expr, limit: int) -> _Product | None:
        """Flatten mul, div and square; None where there are too many factors."""
        stack = [(x, True)]
        while stack:
            node, above = stack.pop()
            if len(stack) + len(self.over) + len(self.under) > limit:
                return None
            if node.op is ew.mul:
                stack += [(a, above) for a in reversed(node.args)]
            elif node.op is ew.square:
                stack += [(node.args[0], above)] * 2
            elif node.op is ew.div:
                stack += [(node.args[1], not above), (node.args[0], above)]
            elif node.op.name == "reshape" and node.args[0].op in (ew.mul, ew.div):
                stack.append((_reshaped(node), above))
            else:
                (self.over if above else self.under).append(node)
        return self

    def node(self, like_: Expr) -> Expr:
        """The product as a node."""
        over = _multiplied(self.over)
        under = _multiplied(self.under)
        if over is None:
            over = like(1, like_)
        return over if under is None else over / under


def _reshaped(x: Expr) -> Expr:
    """reshape(f(x, y)) as f(reshape(x), reshape(y)), where shapes allow."""
    inner = x.args[0]
    if any(a.ndim and not same_shape(a.shape, inner.shape) for a in inner.args):
        return x
    return apply(inner.op, [reshape(a, x.shape) if a.ndim else a for a in inner.args])


def _multiplied(factors: Sequence[Expr]) -> Expr | None:
    total: Expr | None = None
    for factor in factors:
        total = factor if total is None else total * factor
    return total


def _flat(x: Expr, limit: int = 8) -> _Product | None:
    return _Product().of(x, limit)


def _lift(product: _Product) -> bool:
    """Replace what belongs together by stable functions; whether anything was found."""
    found = False
    while _lift_once(product):
        found = True
    return found


def _lift_once(product: _Product) -> bool:
    if any(_lift_divisor(product, d) for d in list(product.under)):
        return True
    return _lift_pair(product)


def _lift_divisor(product: _Product, divisor: Expr) -> bool:
    """One divisor against the factors above the line, or by itself."""
    for factor in product.over:
        lifted = _quotient(factor, divisor)
        if lifted is not None:
            product.over.remove(factor)
            product.under.remove(divisor)
            product.over += lifted
            return True
    inner = one_plus(divisor)
    if inner is None or inner.op is not ew.exp:
        return False
    product.under.remove(divisor)
    product.over.append(ew.sigmoid(-inner.args[0]))
    return True


def _quotient(factor: Expr, divisor: Expr) -> list[Expr] | None:
    """factor / divisor as stable factors, None if they have nothing to do with each other."""
    if factor is divisor and factor.op in _POSITIVE:
        return []
    x = exponent(factor)
    if x is None:
        return None
    if one_plus(divisor) is factor:
        return [ew.sigmoid(x)]
    axes = normaliser(divisor, factor)
    if axes is not None:
        return [apply(SOFTMAX, (x,), {"axes": axes})]
    return _share(factor, divisor)


def _share(factor: Expr, divisor: Expr) -> list[Expr] | None:
    """exp(x) / (exp(x) + exp(y)) is sigmoid(x - y)."""
    if divisor.op is not ew.add or factor not in divisor.args:
        return None
    other = divisor.args[1] if divisor.args[0] is factor else divisor.args[0]
    if other.op is not ew.exp:
        return None
    return [ew.sigmoid(factor.args[0] - other.args[0])]


def _lift_pair(product: _Product) -> bool:
    """Two factors: exp(x) * sigmoid(-x) is sigmoid(x), (1 + exp(x)) * sigmoid(-x) is 1."""
    for s in [f for f in product.over if f.op is ew.sigmoid]:
        for e in product.over:
            inner = one_plus(e)
            x = exponent(e if inner is None else inner)
            if x is None or not opposite(x, s.args[0]):
                continue
            product.over.remove(e)
            product.over.remove(s)
            if inner is None:
                product.over.append(ew.sigmoid(x))
            return True
    return False


@rule(
    "mul div",
    REASSOCIATING,
    stage="stabilize",
    has="exp mul div square sigmoid softmax add reshape sum",
)
def product_lift(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """Among the factors of a product: exp(x) / sum(exp(x)) -> softmax(x), 1 / (1 + exp(-x)) and
    exp(x) / (1 + exp(x)) -> sigmoid(x), exp(x) * sigmoid(-x) -> sigmoid(x), exp(x) /
    (exp(x) + exp(y)) -> sigmoid(x - y), p / p -> 1 for p an exp, sigmoid or softmax."""
    if not node.dtype.is_float:
        return None
    product = _flat(node)
    if product is None or not _lift(product):
        return None
    return product.node(node)


@rule("mul", REASSOCIATING, of="add sub", stage="stabilize")
def distribute_to_cancel(node: Expr, total: Expr, y: Expr) -> Expr | None:
    """(a / p + b) * p -> a + b * p for p an exp, sigmoid or softmax among the factors of y."""
    rest = _flat(y)
    if rest is None or not any(p.op in _POSITIVE for p in rest.over):
        return None
    pieces = [_lifted(t * y) for t in total.args]
    if all(p is None for p in pieces):
        return None
    left, right = (t * y if p is None else p for t, p in zip(total.args, pieces, strict=True))
    return total.op(left, right)


def _lifted(x: Expr) -> Expr | None:
    """The product with what belongs together replaced, None if nothing does."""
    product = _flat(x, 16)
    return product.node(x) if product is not None and _lift(product) else None


@rule("div", REASSOCIATING, of="add sub", stage="stabilize")
def distribute_quotient(node: Expr, total: Expr, y: Expr) -> Expr | None:
    """(a + b) / y -> a / y + b / y, where both quotients become stable functions."""
    if y.op is not ew.add or total.shape != node.shape:
        return None
    left, right = (_lifted(t / y) for t in total.args)
    return None if left is None or right is None else total.op(left, right)


@rule("add", REASSOCIATING, of="mul", stage="stabilize")
def cross_entropy_residual_negated(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """(t - 1) * sigmoid(z) + t * sigmoid(-z) -> t - sigmoid(z)."""
    for rest, s in (x.args, x.args[::-1]):
        minus_one = rest.op is ew.sub and is_number(rest.args[1], 1)
        if minus_one and _complement(y, rest.args[0], s):
            return rest.args[0] - s
    return None


@rule("sub", REASSOCIATING, of="mul", stage="stabilize")
def cross_entropy_residual(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """(1 - t) * sigmoid(z) - t * sigmoid(-z) -> sigmoid(z) - t, and with the sides changed."""
    found = _residual(x, y)
    if found is not None:
        return found[0] - found[1]
    found = _residual(y, x)
    return None if found is None else found[1] - found[0]


def _residual(x: Expr, y: Expr) -> tuple[Expr, Expr] | None:
    """sigmoid(z) and t where x is (1 - t) * sigmoid(z) and y is t * sigmoid(-z)."""
    for rest, s in (x.args, x.args[::-1]) if x.op is ew.mul else ():
        t = one_minus(rest)
        if t is not None and _complement(y, t, s):
            return s, t
    return None


def _complement(y: Expr, t: Expr, s: Expr) -> bool:
    """Whether y is t * sigmoid(-z), given s = sigmoid(z)."""
    if y.op is not ew.mul or s.op is not ew.sigmoid or t not in y.args:
        return False
    other = y.args[1] if y.args[0] is t else y.args[0]
    return other.op is ew.sigmoid and opposite(other.args[0], s.args[0])


@rule("mul", REASSOCIATING, of="sigmoid", stage="expand")
def sigmoid_derivative(node: Expr, s: Expr, other: Expr) -> Expr | None:
    """sigmoid(x) * sigmoid(-x) -> s * (1 - s), s = sigmoid(x): one exponential less."""
    if other.op is not ew.sigmoid or not opposite(s.args[0], other.args[0]):
        return None
    return s * (like(1, s) - s) if s.args[0].op is not ew.neg else None
