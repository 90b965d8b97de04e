"""How one element came to be infinite or NaN: the operation in numbers, the accident."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from graphc.expr import Expr
from graphc.inspect.text.notation import Phrase, inline_phrase, phrase

Array = np.ndarray[Any, Any]

Kind: TypeAlias = Literal[
    "given",
    "overflow",
    "division by zero",
    "0 / 0",
    "logarithm of zero",
    "logarithm of a negative number",
    "root of a negative number",
    "zero to a negative power",
    "negative number to a fractional power",
    "outside the domain",
    "0 * inf",
    "inf - inf",
    "inf / inf",
    "mean of nothing",
    "passed on",
]


@dataclass(frozen=True)
class Cause:
    """The kind of accident, and the operation in numbers: ``log(0) = -inf``."""

    kind: Kind
    text: str


def cause(node: Expr, operands: Sequence[Array], result: Any) -> Cause:
    """Why ``result`` is not finite.

    Parameters
    ----------
    operands
        What the element is computed from: of an elementwise operation one number each, else
        all elements that go into it.
    """
    if not node.args:
        return Cause(
            "given", f"{node.op.name} {node.name or ''}".strip() + f" = {shown(result)}"
        )
    kind = _kind(node, operands, float(result))
    return Cause(kind, f"{_formula(node, operands)} = {shown(result)}")


def shown(value: Any) -> str:
    """A number with six digits."""
    return f"{float(value):.6g}"


def summary(values: Array) -> str:
    """A number, or how many there are and between what they lie."""
    if values.size == 1:
        return shown(values.ravel()[0])
    if not values.size:
        return "no elements"
    bad = int(np.count_nonzero(~np.isfinite(values)))
    good = values[np.isfinite(values)]
    between = f" in [{shown(good.min())}, {shown(good.max())}]" if good.size else ""
    return f"{values.size} values{between}, " + (f"{bad} not finite" if bad else "all finite")


def _formula(node: Expr, operands: Sequence[Array]) -> str:
    texts = [
        inline_phrase(shown(o.ravel()[0])) if o.size == 1 else Phrase(f"<{summary(o)}>")
        for o in operands
    ]
    return phrase(node, texts).text


def _kind(node: Expr, operands: Sequence[Array], result: float) -> Kind:
    rule = _RULES.get(node.op.name)
    if rule is not None and all(o.size == 1 for o in operands):
        found = rule(*(float(o.ravel()[0]) for o in operands))
        if found == "0 / 0" and node.args[-1].op.name == "size":
            return "mean of nothing"
        if found is not None:
            return found
    if node.op.name in ("contract", "sum", "cumsum"):
        return _of_sum(operands, result)
    if not all(np.isfinite(o).all() for o in operands):
        return "passed on"
    return "overflow" if np.isinf(result) else "outside the domain"


def _of_sum(operands: Sequence[Array], result: float) -> Kind:
    """Sums and sums of products."""
    values = np.concatenate([o.ravel().astype(np.float64) for o in operands])
    if np.isfinite(values).all():
        return "overflow"
    if np.isnan(values).any() or np.isinf(result):
        return "passed on"
    if len(operands) == 2 and all((o == 0).any() or np.isinf(o).any() for o in operands):
        return "0 * inf"
    return "inf - inf"


Rule: TypeAlias = Callable[..., "Kind | None"]


def _log(x: float) -> Kind | None:
    if x == 0:
        return "logarithm of zero"
    return "logarithm of a negative number" if x < 0 else None


def _div(x: float, y: float) -> Kind | None:
    if y == 0:
        return "0 / 0" if x == 0 else "division by zero"
    return "inf / inf" if np.isinf(x) and np.isinf(y) else None


def _mul(x: float, y: float, z: float = 0.0) -> Kind | None:
    if (x == 0 and np.isinf(y)) or (np.isinf(x) and y == 0):
        return "0 * inf"
    return _add(x * y, z) if z else None


def _add(x: float, y: float) -> Kind | None:
    return "inf - inf" if np.isinf(x) and x == -y else None


def _pow(x: float, y: float) -> Kind | None:
    if x == 0 and y < 0:
        return "zero to a negative power"
    fractional = np.isfinite(y) and y != np.rint(y)
    return "negative number to a fractional power" if x < 0 and fractional else None


def _zero_divisor(x: float, y: float) -> Kind | None:
    return "division by zero" if y == 0 else None


def _outside(test: Callable[[float], bool]) -> Rule:
    return lambda x: "outside the domain" if test(x) else None


_RULES: dict[str, Rule] = {
    "log": _log,
    "log2": _log,
    "log10": _log,
    "log1p": lambda x: _log(1 + x) if x <= -1 else None,
    "sqrt": lambda x: "root of a negative number" if x < 0 else None,
    "div": _div,
    "reciprocal": lambda x: _div(1, x),
    "mul": _mul,
    "fma": _mul,
    "add": _add,
    "sub": lambda x, y: _add(x, -y),
    "pow": _pow,
    "remainder": _zero_divisor,
    "floor_divide": _zero_divisor,
    "asin": _outside(lambda x: abs(x) > 1),
    "acos": _outside(lambda x: abs(x) > 1),
    "acosh": _outside(lambda x: x < 1),
    "atanh": _outside(lambda x: abs(x) >= 1),
    "sin": _outside(np.isinf),
    "cos": _outside(np.isinf),
    "tan": _outside(np.isinf),
}
