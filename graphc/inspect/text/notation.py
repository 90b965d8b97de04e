"""How one node is written in a line of text: ``x @ W``, ``-y``, ``sum[axes=(0,)](x)``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphc.expr import Expr, constant_value
from graphc.ops.contraction import parse
from graphc.types import Dim, DType, same_size

ATOM, POSTFIX, POWER, UNARY, PRODUCT, SUM, COMPARISON = 14, 13, 12, 11, 10, 9, 4


class Phrase(NamedTuple):
    """Text, and how tightly its outermost operator binds (Python's precedence)."""

    text: str
    binding: int = ATOM

    def within(self, binding: int) -> str:
        """The text, in parentheses if it binds less tightly than its surroundings."""
        return self.text if self.binding >= binding else f"({self.text})"


#: Op to operator and precedence.
INFIX: dict[str, tuple[str, int]] = {
    "add": ("+", SUM),
    "sub": ("-", SUM),
    "mul": ("*", PRODUCT),
    "div": ("/", PRODUCT),
    "floor_divide": ("//", PRODUCT),
    "remainder": ("%", PRODUCT),
    "left_shift": ("<<", 8),
    "right_shift": (">>", 8),
    "bitwise_and": ("&", 7),
    "bitwise_xor": ("^", 6),
    "bitwise_or": ("|", 5),
    "less": ("<", COMPARISON),
    "less_equal": ("<=", COMPARISON),
    "greater": (">", COMPARISON),
    "greater_equal": (">=", COMPARISON),
    "equal": ("==", COMPARISON),
    "not_equal": ("!=", COMPARISON),
}


def infix(sign: str, binding: int, left: Phrase, right: Phrase) -> Phrase:
    """``left sign right``, grouped from the left; comparisons are not chained."""
    first = left.within(binding + (binding == COMPARISON))
    return Phrase(f"{first} {sign} {right.within(binding + 1)}", binding)


def number(value: Any) -> str:
    """A NumPy scalar, as short as it reads back: ``1``, ``0.5``, ``1e-08``."""
    text = str(np.asarray(value)[()])
    return text[:-2] if text.endswith(".0") else text


def inline(node: Expr) -> str | None:
    """Text of a node that needs no line of its own: a number or a symbolic size."""
    value = constant_value(node)
    if value is not None:
        return number(value) if value.ndim == 0 else None
    return str(node.attrs["size"]) if node.op.name == "size" else None


def inline_phrase(text: str) -> Phrase:
    """A number or a size as an operand: ``2*n`` is a product, ``n + 1`` a sum."""
    if text.startswith("-"):
        return Phrase(text, UNARY if " " not in text and "*" not in text else 0)
    if " " in text:
        return Phrase(text, 0)
    return Phrase(text, PRODUCT if "*" in text or "//" in text else ATOM)


# Contractions -------------------------------------------------------------------------------


class Product(NamedTuple):
    """A contraction as a matrix product: which operands, in order, and which are transposed."""

    order: tuple[int, int]
    transposed: tuple[bool, bool]


def matrix_product(subscripts: str) -> Product | None:
    """The matrix product that a contraction is, None if it is none.

    ``mk,kn->mn`` is ``a @ b``, ``km,kn->mn`` is ``a.T @ b``, ``km,kn->nm`` is ``b.T @ a``;
    common leading letters are a batch.
    """
    a, b, out = parse(subscripts)
    batch = 0
    while a[: batch + 1] == b[: batch + 1] == out[: batch + 1] and batch < len(out):
        batch += 1
    a, b, out = a[batch:], b[batch:], out[batch:]
    inner = [c for c in a if c in b]
    if len(inner) != 1 or inner[0] in out or len(a) > 2 or len(b) > 2:
        return None
    (k,) = inner
    order = (1, 0) if len(out) == 2 and out[0] in b else (0, 1)
    left, right = (a, b) if order == (0, 1) else (b, a)
    transposed = len(left) == 2 and left[0] == k, len(right) == 2 and right[1] == k
    if batch and (any(transposed) or len(a) + len(b) < 4):
        return None
    return Product(order, transposed)


def _contract(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    subscripts = node.attrs["subscripts"]
    product = matrix_product(subscripts)
    if product is not None:
        sides = [
            Phrase(f"{operands[i].within(POSTFIX)}.T", POSTFIX) if turned else operands[i]
            for i, turned in zip(product.order, product.transposed, strict=True)
        ]
        return infix("@", PRODUCT, sides[0], sides[1])
    a, b, out = parse(subscripts)
    if len(a) == len(b) == 1 and out == a + b:
        return _call("outer", operands)
    return _call(f'contract["{subscripts}"]', operands)


# Other forms --------------------------------------------------------------------------------


def _call(name: str, operands: Sequence[Phrase], *more: str) -> Phrase:
    return Phrase(f"{name}({', '.join([*(o.text for o in operands), *more])})", POSTFIX)


def _reduction(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    return _call(node.op.name + reduction_marks(node), operands)


def reduction_marks(node: Expr) -> str:
    """``[axes=(0,), keepdims]``; '' for what reads plainly: all axes, softmax over the last."""
    axes, rank = node.attrs["axes"], node.args[0].ndim
    usual = (rank - 1,) if node.op.name == "softmax" else tuple(range(rank))
    marks = [] if tuple(axes) == usual else [f"axes={tuple(axes)}"]
    if node.attrs.get("keepdims"):
        marks.append("keepdims")
    return f"[{', '.join(marks)}]" if marks else ""


def _scan(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    marks = [f"axis={node.attrs['axis']}"]
    marks += [word for word in ("exclusive", "reverse") if node.attrs[word]]
    return _call(f"{node.op.name}[{', '.join(marks)}]", operands)


def shape_text(shape: Sequence[Any]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _shaped(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    return _call(node.op.name.removesuffix("_to"), operands, shape_text(node.shape))


def is_matrix_transpose(node: Expr) -> bool:
    return node.op.name == "transpose" and tuple(node.attrs["axes"]) == (1, 0)


def _transpose(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    if is_matrix_transpose(node):
        return Phrase(f"{operands[0].within(POSTFIX)}.T", POSTFIX)
    return _call("transpose", operands, shape_text(node.attrs["axes"]))


def _slice(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    sizes = node.args[0].shape
    parts = [range_text(r, s) for r, s in zip(node.attrs["ranges"], sizes, strict=True)]
    return Phrase(f"{operands[0].within(POSTFIX)}[{', '.join(parts)}]", POSTFIX)


def range_text(along: tuple[Any, Any, int], size: Any) -> str:
    """A slice of one axis as Python writes it."""
    start, length, step = along
    if same_size(start, 0) and same_size(length, size) and step == 1:
        return ":"
    last = start + length * step
    stop = "" if isinstance(last, int) and last < 0 else str(last)
    if step > 0 and same_size(last, size):
        stop = ""
    first = "" if step > 0 and same_size(start, 0) else str(start)
    return f"{first}:{stop}" + (f":{step}" if step != 1 else "")


def attribute(value: Any) -> str:
    if isinstance(value, DType):
        return value.short
    if isinstance(value, tuple):
        return f"({', '.join(map(attribute, value))}{',' if len(value) == 1 else ''})"
    return str(value) if isinstance(value, (int, str, Dim)) else repr(value)


def _other(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    marks = ", ".join(f"{k}={attribute(v)}" for k, v in node.attrs.items() if k != "type")
    name = f"{node.op.name}[{marks}]" if marks else node.op.name
    return _call(name, operands) if operands else Phrase(name)


Writer = Callable[[Expr, Sequence[Phrase]], Phrase]

WRITERS: dict[str, Writer] = {
    "contract": _contract,
    "neg": lambda n, o: Phrase(f"-{o[0].within(UNARY)}", UNARY),
    "bitwise_invert": lambda n, o: Phrase(f"~{o[0].within(UNARY)}", UNARY),
    "square": lambda n, o: Phrase(f"{o[0].within(POSTFIX)}**2", POWER),
    "pow": lambda n, o: Phrase(f"{o[0].within(POSTFIX)}**{o[1].within(UNARY)}", POWER),
    "reciprocal": lambda n, o: infix("/", PRODUCT, Phrase("1"), o[0]),
    "cast": lambda n, o: _call(n.dtype.short, o),
    "reshape": _shaped,
    "broadcast_to": _shaped,
    "transpose": _transpose,
    "slice": _slice,
    "cumsum": _scan,
    "cumprod": _scan,
    "constant": lambda n, o: Phrase(f"constant {n.attrs['value']}"),
    "iota": lambda n, o: Phrase(f"iota[axis={n.attrs['axis']}]"),
}


def phrase(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    """The node as text, given its operands as text."""
    if node.op.name in INFIX:
        return infix(*INFIX[node.op.name], *operands)
    writer = WRITERS.get(node.op.name)
    if writer is None:
        writer = _reduction if node.op.family == "reduction" else _other
    return writer(node, operands)
