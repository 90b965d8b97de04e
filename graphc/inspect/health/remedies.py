"""What to write instead of a formula that overflows, divides by zero, or leaves its domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from graphc.expr import Expr, constant_value, rebuild
from graphc.inspect.subject import is_derivative_rule
from graphc.inspect.text.notation import inline, inline_phrase, phrase
from graphc.rewrite.cse import Interner

if TYPE_CHECKING:
    from graphc.inspect.health.nonfinite import Event

#: Longest formula that stands for a value in a hint.
_LONGEST = 24
#: Operations that hand values on.
_TRANSPARENT = frozenset("neg reshape broadcast_to transpose cast positive copy slice".split())


class Users:
    """The nodes that use a value; equal values, made twice, count as one."""

    def __init__(self, order: Sequence[Expr]) -> None:
        interner = Interner()
        self._same: dict[Expr, Expr] = {}
        self._users: dict[Expr, list[Expr]] = {}
        for node in order:
            args = [self._same[a] for a in node.args]
            self._same[node] = interner.intern(rebuild(node, args))
            for a in args:
                self._users.setdefault(a, []).append(node)

    def __call__(self, node: Expr) -> Sequence[Expr]:
        return self._users.get(self._same[node], ())


def derivative_of(node: Expr) -> Expr | None:
    """The node that a derivative was taken of, if a node belongs to one."""
    at: Expr | None = node
    while at is not None and at.origin is not None:
        if is_derivative_rule(at.origin.rule):
            return at.origin.stem
        at = at.origin.stem
    return None


def remedy(events: Sequence[Event], way: Sequence[Expr], order: Sequence[Expr]) -> str:
    """How to avoid the first event.

    Parameters
    ----------
    events
        The first bad element, then those where an infinity became NaN.
    way
        Nodes from the first one to the result.
    order
        All nodes of the graph.
    """
    users = Users(order)
    first = events[0]
    if first.cause.kind == "given":
        return _given(first.node)
    for rule in _DERIVATIVES if first.stem is not None else _FORWARD:
        found = rule(events, users)
        if found is not None:
            return found
    return _general(events)


def _given(node: Expr) -> str:
    if node.op.name == "constant":
        return "the constant is not finite; a mask by gr.where keeps it from sums and products"
    return f"mend the values of {node.name!r}: compare with np.isfinite before the call"


def _name(node: Expr) -> str:
    """What a value is called in a hint: its name, or the operation that makes it."""
    text = node.name or inline(node)
    if text is None and not node.args:
        text = node.op.name
    if text is None:
        operands = [a.name or inline(a) or "..." for a in node.args]
        text = phrase(node, [inline_phrase(o) for o in operands]).text
    return text if len(text) <= _LONGEST else "x"


def _behind(node: Expr) -> Expr:
    """The operation that made the values which a node hands on."""
    while node.op.name in _TRANSPARENT:
        node = node.args[0]
    return node


def _ahead(node: Expr, users: Users) -> Iterator[Expr]:
    """Operations that use the values, through those that only hand them on."""
    stack = list(users(node))
    seen = set(stack)
    while stack:
        user = stack.pop()
        if user.op.name in _TRANSPARENT:
            new = [u for u in users(user) if u not in seen]
            seen.update(new)
            stack.extend(new)
        else:
            yield user


def _user(node: Expr, users: Users, *ops: str) -> Expr | None:
    return next((u for u in _ahead(node, users) if u.op.name in ops), None)


def _used_by(node: Expr, users: Users, *ops: str) -> bool:
    return _user(node, users, *ops) is not None


def _masked(function: str, x: str, condition: str, safe: str = "1") -> str:
    """A select that keeps the function from the operand it has no value at."""
    return f"gr.where({condition}, {function.format(f'gr.where({condition}, {x}, {safe})')}, 0)"


# Forward --------------------------------------------------------------------------------------


def _exponential(events: Sequence[Event], users: Users) -> str | None:
    """exp that overflows: what is it part of?"""
    node = events[0].node
    if node.op.name not in ("exp", "exp2", "expm1", "sinh", "cosh"):
        return None
    z = _name(_behind(node.args[0]))
    if node.op.name == "cosh" and _used_by(node, users, "log"):
        return f"log(cosh({z})) is abs({z}) + gr.nn.softplus(-2 * abs({z})) - log(2)"
    total = _user(node, users, "sum")
    if total is not None:
        return _of_total(node, total, z, users)
    other = _user(node, users, "add", "sub")
    if other is not None:
        found = _of_shifted(other, z, users)
        if found is not None:
            return found
    if any(event.cause.kind == "0 * inf" for event in events):
        return None
    limit = "88.7 in float32, 709.7 in float64"
    return f"exp overflows above {limit}: subtract the largest operand, or work with logarithms"


def _of_total(node: Expr, total: Expr, z: str, users: Users) -> str:
    if _used_by(total, users, "log"):
        return f"log(sum(exp({z}))) is gr.logsumexp({z}), which does not overflow"
    if _used_by(total, users, "div", "reciprocal"):
        softmax = f"exp({z}) / sum(exp({z})) is gr.softmax({z}), which does not overflow"
        logged = any(_used_by(u, users, "log") for u in _ahead(total, users))
        return softmax + (f"; its logarithm is gr.nn.log_softmax({z})" if logged else "")
    return f"keep its logarithm: gr.logsumexp({z}) is log(sum(exp({z})))"


def _of_shifted(other: Expr, z: str, users: Users) -> str | None:
    terms = [_behind(a) for a in other.args]
    exponentials = [t for t in terms if t.op.name in ("exp", "expm1")]
    if len(exponentials) == 2:
        if _used_by(other, users, "log"):
            left, right = (_name(_behind(t.args[0])) for t in exponentials)
            return f"log(exp({left}) + exp({right})) is gr.logaddexp({left}, {right})"
        if _used_by(other, users, "div"):
            return f"(exp({z}) - exp(-{z})) / (exp({z}) + exp(-{z})) is gr.tanh({z})"
        return None
    if other.op.name == "add" and any(_is_one(a) for a in other.args):
        if _used_by(other, users, "log"):
            return f"log(1 + exp({z})) is gr.nn.softplus({z}), which does not overflow"
        if _used_by(other, users, "div", "reciprocal"):
            return f"1 / (1 + exp(-{z})) is gr.nn.sigmoid({z}), which does not overflow"
    return None


def _is_one(x: Expr) -> bool:
    value = constant_value(_behind(x))
    return value is not None and value.size == 1 and bool((value == 1).all())


def _logarithm(events: Sequence[Event], users: Users) -> str | None:
    node = events[0].node
    if node.op.name not in ("log", "log2", "log10", "log1p"):
        return None
    if "zero" not in events[0].cause.kind:
        return f"a logarithm wants a positive operand; {_name(node.args[0])} is negative here"
    return _log_of(_behind(node.args[0])) or _weighed(node, users) or _clipped_log(node)


def _log_of(p: Expr) -> str | None:
    """The stable logarithm of a probability."""
    z = _name(_behind(p.args[0])) if p.args else ""
    if p.op.name == "sigmoid":
        return f"log(sigmoid({z})) is gr.nn.log_sigmoid({z}), which does not underflow"
    if p.op.name == "softmax":
        return f"log(softmax({z})) is gr.nn.log_softmax({z}), which does not underflow"
    if p.op.name == "exp":
        return f"log(exp({z})) is {z}"
    if p.op.name == "prod":
        return f"the logarithm of a product is gr.sum(gr.log({z})), which does not underflow"
    if p.op.name == "sum" and _behind(p.args[0]).op.name == "exp":
        z = _name(_behind(_behind(p.args[0]).args[0]))
        return f"log(sum(exp({z}))) is gr.logsumexp({z}), which does not underflow"
    if p.op.name == "div" and _behind(p.args[0]).op.name == "exp":
        z = _name(_behind(_behind(p.args[0]).args[0]))
        return f"log(exp({z}) / sum(exp({z}))) is gr.nn.log_softmax({z})"
    if p.op.name in ("sub", "add"):
        return _log_of_complement(p)
    return None


def _log_of_complement(p: Expr) -> str | None:
    """log(1 - q), also where it is written as log1p(-q)."""
    parts = [_behind(a) for a in p.args if not _is_one(a)]
    if len(parts) != 1:
        return None
    q = parts[0]
    z = _name(_behind(q.args[0])) if q.args else ""
    if q.op.name == "sigmoid":
        return f"log(1 - sigmoid({z})) is gr.nn.log_sigmoid(-{z}), which does not underflow"
    if q.op.name == "exp":
        return f"log(1 - exp({z})) is gr.log(-gr.expm1({z}))"
    return (
        f"1 - {_name(q)} lost all digits: gr.log1p(-{_name(q)}) keeps small values, and "
        "gr.nn.binary_cross_entropy(z, t, from_logits=True) needs no 1 - p at all"
    )


def _weighed(node: Expr, users: Users) -> str | None:
    """t * log(p) with t = 0."""
    product = _user(node, users, "mul")
    if product is None:
        return None
    x, p = (_behind(a) for a in product.args)
    weight = x if p.op.name in ("log", "log2", "log10", "log1p") else p
    q = _name(_behind(node.args[0]))
    t = _name(weight)
    return (
        f"where {t} is 0 the term should be 0: gr.nn.categorical_cross_entropy and gr.nn.kl "
        f"count it so; by hand {t} * gr.log(gr.where({t} > 0, {q}, 1))"
    )


def _clipped_log(node: Expr) -> str:
    x = _name(_behind(node.args[0]))
    masked = _masked("gr.log({})", x, f"{x} > 0")
    return (
        f"mask the operand where the term does not count: {masked}; "
        f"or bound it: gr.log(gr.maximum({x}, tiny))"
    )


def _root(events: Sequence[Event], users: Users) -> str | None:
    node = events[0].node
    if node.op.name != "sqrt":
        return None
    x = _behind(node.args[0])
    squares = [a for a in x.args if _behind(a).op.name in ("square", "div", "mul")]
    if x.op.name == "sub" and len(squares) == 2:
        return "a difference of squares cancels: gr.var and gr.std subtract the mean first"
    if x.op.name == "sub" and squares and _is_one(x.args[0]):
        return "1 - x**2 cancels near 1: write sqrt((1 - x) * (1 + x)), and clip x to [-1, 1]"
    name = _name(x)
    return f"if {name} is negative by rounding only: gr.sqrt(gr.maximum({name}, 0))"


def _quotient(events: Sequence[Event], users: Users) -> str | None:
    first = events[0]
    if first.cause.kind == "mean of nothing":
        return "the average runs over an axis of size 0; call it with at least one element"
    if first.node.op.name not in ("div", "reciprocal", "remainder", "floor_divide"):
        return None
    if first.cause.kind not in ("division by zero", "0 / 0"):
        return None
    return _divisor(_behind(first.node.args[-1]))


def _divisor(y: Expr) -> str:
    """What to do about a divisor that is zero."""
    if _is_length(y):
        inner = y.args[0] if y.op.name == "norm" else _behind(y.args[0]).args[0]
        x = _name(_behind(inner.args[0] if y.op.name == "sqrt" else inner))
        return (
            f"the length of {x} is 0 there: divide by gr.maximum(gr.norm({x}, axis, "
            "keepdims=True), eps), which gives 0 / eps = 0"
        )
    if y.scope is not None and y.scope.path.split("/")[-1] in ("std", "var"):
        return "the spread is 0 there: add a small number, or gr.nn.layer_norm (which does)"
    if y.op.name == "sum" and _behind(y.args[0]).op.name == "exp":
        z = _name(_behind(_behind(y.args[0]).args[0]))
        return f"all exp({z}) underflow: exp({z}) / sum(exp({z})) is gr.softmax({z})"
    name = _name(y)
    masked = f"gr.where({name} != 0, x / gr.where({name} != 0, {name}, 1), 0)"
    masked = masked.replace(f"{name} != 0", f"gr.not_equal({name}, 0)")
    return f"mask the divisor, not the quotient: {masked}; or add a small number to it"


def _is_length(y: Expr) -> bool:
    if y.op.name == "norm":
        return True
    inner = _behind(y.args[0]) if y.op.name == "sqrt" else None
    return inner is not None and inner.op.name == "sum" and _is_square(inner.args[0])


def _is_square(x: Expr) -> bool:
    node = _behind(x)
    return node.op.name == "square" or (node.op.name == "mul" and node.args[0] is node.args[1])


def _power(events: Sequence[Event], users: Users) -> str | None:
    first = events[0]
    if first.node.op.name != "pow" or first.cause.kind == "overflow":
        return None
    base = _name(_behind(first.node.args[0]))
    if first.cause.kind == "zero to a negative power":
        return f"mask the base: {_masked('{} ** p', base, f'{base} > 0')}"
    return f"powers of negative numbers want whole exponents: gr.abs({base}), or gr.maximum"


def _squares(events: Sequence[Event], users: Users) -> str | None:
    """Squares that overflow on the way to a length."""
    first = events[0]
    if first.cause.kind != "overflow" or first.node.op.name not in ("square", "mul", "sum"):
        return None
    total = first.node if first.node.op.name == "sum" else None
    if total is None:
        total = _user(first.node, users, "sum", "add")
    if total is None or not _used_by(total, users, "sqrt"):
        return None
    squared = next((_behind(a) for a in total.args if _is_square(a)), None)
    if squared is None:
        return None
    x = _name(_behind(squared.args[0]))
    if total.op.name == "add":
        return "sqrt(x**2 + y**2) is gr.hypot(x, y), which does not overflow"
    return f"sqrt(sum({x}**2)) is gr.norm({x}), which does not overflow"


def _domain(events: Sequence[Event], users: Users) -> str | None:
    op = events[0].node.op.name
    x = _name(_behind(events[0].node.args[0]))
    if op in ("asin", "acos", "atanh"):
        return f"{op} is defined between -1 and 1: gr.clip({x}, -1 + eps, 1 - eps)"
    if op == "acosh":
        return f"acosh is defined from 1 on: gr.maximum({x}, 1)"
    return None


Remedy: TypeAlias = Callable[["Sequence[Event]", Users], "str | None"]
_FORWARD: tuple[Remedy, ...] = (
    _exponential, _logarithm, _root, _quotient, _power, _squares, _domain,
)  # fmt: skip


# Derivatives ----------------------------------------------------------------------------------


def _slope_of_root(events: Sequence[Event], users: Users) -> str | None:
    stem = events[0].stem
    if stem is None or stem.op.name != "sqrt":
        return None
    x = _behind(stem.args[0])
    if x.op.name == "sum" and _is_square(x.args[0]):
        inner = _name(_behind(_behind(x.args[0]).args[0]))
        return (
            f"sqrt has slope inf at 0: sqrt(sum({inner}**2)) is gr.norm({inner}), "
            "whose gradient at 0 is 0"
        )
    if x.op.name == "add" and all(map(_is_square, x.args)):
        return "sqrt has slope inf at 0: sqrt(x**2 + y**2) is gr.hypot(x, y), with gradient 0"
    name = _name(x)
    masked = _masked("gr.sqrt({})", name, f"{name} > 0")
    return f"sqrt has slope inf at 0: mask its operand, {masked}, or add a small number to it"


def _slope_of_log(events: Sequence[Event], users: Users) -> str | None:
    stem = events[0].stem
    if stem is None or stem.op.name not in ("log", "log2", "log10", "log1p"):
        return None
    found = _log_of(_behind(stem.args[0]))
    return found or f"the slope of log at 0 is inf: {_clipped_log(stem)}"


def _slope_of_power(events: Sequence[Event], users: Users) -> str | None:
    stem = events[0].stem
    if stem is None or stem.op.name != "pow":
        return None
    base = _name(_behind(stem.args[0]))
    masked = _masked("{} ** p", base, f"{base} > 0")
    return f"powers below 1 have slope inf at 0: mask the base, {masked}"


def _slope_of_quotient(events: Sequence[Event], users: Users) -> str | None:
    stem = events[0].stem
    if stem is None or stem.op.name not in ("div", "reciprocal"):
        return None
    if events[0].cause.kind not in ("division by zero", "0 / 0"):
        return None
    return _divisor(_behind(stem.args[-1]))


def _slope_of_arc(events: Sequence[Event], users: Users) -> str | None:
    stem = events[0].stem
    if stem is None:
        return None
    if stem.op.name == "atan2":
        return "the angle of the vector (0, 0) has no derivative: mask both operands there"
    if stem.op.name not in ("asin", "acos", "acosh", "atanh"):
        return None
    x = _name(_behind(stem.args[0]))
    ends = "1" if stem.op.name == "acosh" else "-1 and 1"
    return f"{stem.op.name} has slope inf at {ends}: keep {x} inside, gr.clip({x}, ...)"


_DERIVATIVES: tuple[Remedy, ...] = (
    _slope_of_root, _slope_of_log, _slope_of_power, _slope_of_quotient, _slope_of_arc,
    _exponential,
)  # fmt: skip


def _general(events: Sequence[Event]) -> str:
    """What holds whatever the formula."""
    first = events[0]
    if (
        any(event.cause.kind == "0 * inf" for event in events[1:])
        or first.cause.kind == "0 * inf"
    ):
        return (
            "a factor 0 does not hide an infinity: choose with gr.where, and mask the operand "
            "of the function that has none there, not its result"
        )
    if first.cause.kind == "overflow":
        narrow = first.node.dtype.itemsize < 8
        wider = ", or compute in float64 (up to 1.8e308)" if narrow else ""
        grown = "the gradient" if first.stem is not None else "the operands"
        return f"{grown} grew too large: scale or clip before this step{wider}"
    return "mask the operands by gr.where before the operation, not its result after it"
