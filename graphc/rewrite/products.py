"""Products and quotients of exponentials and sigmoids become stable, in any order of factors.

The gradient of a naive spelling is a product: ``t / s * (exp(-x) / square(1 + exp(-x)))``. It
is written as factors above and below one line, and what belongs together is replaced there.

``1 - sigmoid(x)`` alone stays as it is. As a factor it often meets the same difference below a
line that a rule cannot see through (a select), and there both must have the same rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc.expr import Expr, apply
from graphc.ops import elementwise as ew
from graphc.ops.movement import reshape
from graphc.ops.reduction import SOFTMAX, reduced_shape
from graphc.rewrite.engine import REASSOCIATING, rule
from graphc.rewrite.match import is_number, like, number, same_shape
from graphc.rewrite.stability import exponent, one_minus, one_plus

# Signs ----------------------------------------------------------------------------------------


def signed(x: Expr) -> tuple[tuple[Any, ...], int]:
    """A key and a sign: nodes with one key and opposite signs are each other's negative."""
    if x.op is ew.neg:
        key, sign = signed(x.args[0])
        return key, -sign
    if x.op is ew.mul:
        for c, other in (x.args, x.args[::-1]):
            if number(c) is not None:
                return ("mul", np.abs(number(c)), other), 1 if number(c) > 0 else -1
    if x.op is ew.sub:
        left, right = x.args
        in_order = id(left) < id(right)
        return ("sub", *((left, right) if in_order else (right, left))), 1 if in_order else -1
    return (x,), 1


def same(x: Expr, y: Expr) -> bool:
    """Whether two nodes are equal by their signs."""
    return signed(x) == signed(y)


def opposite(x: Expr, y: Expr) -> bool:
    """Whether two nodes are each other's negative."""
    (key, sign), (other, reverse) = signed(x), signed(y)
    return key == other and sign == -reverse


# Pieces ---------------------------------------------------------------------------------------


def logit(x: Expr) -> Expr | None:
    """z where x is sigmoid(z), or 1 - sigmoid(-z)."""
    if x.op is ew.sigmoid:
        return x.args[0]
    s = one_minus(x)
    return -s.args[0] if s is not None and s.op is ew.sigmoid else None


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


def cancels(factor: Expr, divisor: Expr) -> bool:
    """Whether both are one function that is never zero where nothing underflows."""
    if factor is divisor and factor.op in (ew.exp, SOFTMAX):
        return True
    x, y = logit(factor), logit(divisor)
    return x is not None and y is not None and same(x, y)


def is_positive(x: Expr) -> bool:
    """Whether a factor may be cancelled."""
    return x.op in (ew.exp, SOFTMAX) or logit(x) is not None


# A product as factors -------------------------------------------------------------------------


@dataclass
class _Product:
    """A product as a sign and lists of factors above and below the line."""

    over: list[Expr] = field(default_factory=list)
    under: list[Expr] = field(default_factory=list)
    negative: bool = False

    def node(self, kind: Expr) -> Expr:
        """The product as a node, in the element type of ``kind``."""
        over, under = _multiplied(self.over), _multiplied(self.under)
        if over is None:
            over = like(1, kind)
        value = over if under is None else over / under
        return -value if self.negative else value


def _multiplied(factors: Sequence[Expr]) -> Expr | None:
    total: Expr | None = None
    for factor in factors:
        total = factor if total is None else total * factor
    return total


def _flat(x: Expr, limit: int = 8) -> _Product | None:
    """The factors of nested products, quotients, squares and signs; None if they are many."""
    product = _Product()
    stack = [(x, True)]
    while stack:
        node, above = stack.pop()
        if len(stack) + len(product.over) + len(product.under) > limit:
            return None
        if node.op is ew.neg:
            product.negative ^= True
            stack.append((node.args[0], above))
        elif node.op is ew.sub and is_number(node.args[1], 1) and node.args[0].op is ew.sigmoid:
            product.negative ^= True
            stack.append((like(1, node) - node.args[0], above))
        else:
            parts = _parts(node, above)
            stack += parts
            if not parts:
                (product.over if above else product.under).append(node)
    return product


def _parts(node: Expr, above: bool) -> list[tuple[Expr, bool]]:
    """The factors of one node, the last one first; empty for a factor."""
    if node.op is ew.mul:
        return [(a, above) for a in reversed(node.args)]
    if node.op is ew.square:
        return [(node.args[0], above)] * 2
    if node.op is ew.div:
        return [(node.args[1], not above), (node.args[0], above)]
    if node.op.name == "reshape" and node.args[0].op in (ew.mul, ew.div):
        return _parts_of_reshape(node, above)
    return []


def _parts_of_reshape(node: Expr, above: bool) -> list[tuple[Expr, bool]]:
    """reshape(f(x, y)) as f(reshape(x), reshape(y)), where shapes allow."""
    inner = node.args[0]
    if any(a.ndim and not same_shape(a.shape, inner.shape) for a in inner.args):
        return []
    moved = [reshape(a, node.shape) if a.ndim else a for a in inner.args]
    return _parts(apply(inner.op, moved), above)


# What belongs together ------------------------------------------------------------------------


def _lift(product: _Product) -> bool:
    """Replace what belongs together by stable functions; whether anything was found."""
    found = False
    while any(_lift_divisor(product, d) for d in list(product.under)) or _lift_pair(product):
        found = True
    return _tidy_gates(product, found)


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
    if cancels(factor, divisor):
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
    for s in product.over:
        z = logit(s)
        for e in product.over if z is not None else ():
            inner = one_plus(e)
            x = exponent(e if inner is None else inner)
            if x is None or z is None or not opposite(x, z):
                continue
            product.over.remove(e)
            product.over.remove(s)
            if inner is None:
                product.over.append(ew.sigmoid(x))
            return True
    return False


def _tidy_gates(product: _Product, found: bool) -> bool:
    """sigmoid(x) * sigmoid(-x) is s * (1 - s), but a 1 - s left alone is sigmoid(-x)."""
    for i, factor in enumerate(product.over):
        z = logit(factor)
        if z is None:
            continue
        partner = [s for s in product.over if s.op is ew.sigmoid and opposite(s.args[0], z)]
        if factor.op is not ew.sigmoid and not partner and found:
            product.over[i] = ew.sigmoid(z)
        elif factor.op is ew.sigmoid and partner and signed(z)[1] < 0:
            product.over[i] = like(1, factor) - partner[0]
            found = True
    return found


def _lifted(x: Expr) -> Expr | None:
    """The product with what belongs together replaced, None if nothing does."""
    product = _flat(x, 16)
    return product.node(x) if product is not None and _lift(product) else None


# Rules ----------------------------------------------------------------------------------------


@rule(
    "mul div",
    REASSOCIATING,
    stage="stabilize",
    has="exp mul div square sigmoid softmax add sub reshape sum",
)
def product_lift(node: Expr, x: Expr, y: Expr) -> Expr | None:
    """Among the factors of a product: exp(x) / sum(exp(x)) -> softmax(x), 1 / (1 + exp(-x)) and
    exp(x) / (1 + exp(x)) -> sigmoid(x), exp(x) * sigmoid(-x) -> sigmoid(x), exp(x) /
    (exp(x) + exp(y)) -> sigmoid(x - y), sigmoid(x) * sigmoid(-x) -> s * (1 - s), p / p -> 1
    for p an exp, sigmoid or softmax."""
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
    if rest is None or not any(map(is_positive, rest.over)):
        return None
    pieces = [_lifted(t * y) for t in total.args]
    if all(p is None for p in pieces):
        return None
    left, right = (t * y if p is None else p for t, p in zip(total.args, pieces, strict=True))
    return total.op(left, right)


@rule("div", REASSOCIATING, of="add sub", stage="stabilize")
def distribute_quotient(node: Expr, total: Expr, y: Expr) -> Expr | None:
    """(a + b) / y -> a / y + b / y, where both quotients become stable functions."""
    if y.op is not ew.add:
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
    other = logit(y.args[1] if y.args[0] is t else y.args[0])
    return other is not None and opposite(other, s.args[0])
