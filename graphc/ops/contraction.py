"""Products that sum over shared axes: matmul, einsum, outer, dot. One primitive."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.expr import Attrs, Expr, ExprLike, apply, as_expr
from graphc.ops.movement import expand_dims, reshape, transpose
from graphc.ops.table import Op, explained, promoted
from graphc.types import Size, TensorType, broadcast_shapes, normalise_axis, same_size


def parse(subscripts: str) -> tuple[str, str, str]:
    """Letters of left operand, right operand and result of ``"ij,jk->ik"``."""
    inputs, out = subscripts.split("->")
    left, right = inputs.split(",")
    return left, right, out


def axis_sizes(subscripts: str, left: TensorType, right: TensorType) -> dict[str, Size]:
    """Size of each letter (ShapeError where the operands disagree)."""
    a, b, _ = parse(subscripts)
    sizes = dict(zip(a, left.shape, strict=True))
    for letter, size in zip(b, right.shape, strict=True):
        if not same_size(sizes.setdefault(letter, size), size):
            raise ShapeError(
                f"inner sizes differ ({sizes[letter]} and {size})",
                hint="transpose the right operand, or swap the operands",
            )
    return sizes


def _type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    left, right = types
    if left.dtype != right.dtype:
        raise DTypeError(f"element types differ ({left.dtype} and {right.dtype})")
    sizes = axis_sizes(attrs["subscripts"], left, right)
    out = parse(attrs["subscripts"])[2]
    return TensorType(left.dtype, tuple(sizes[c] for c in out))


def _evaluate(left: Any, right: Any, subscripts: str) -> Any:
    return np.einsum(subscripts, left, right, optimize=left.dtype.kind == "f").astype(
        left.dtype, copy=False
    )


def _vjp(ct: Expr, out: Expr, left: Expr, right: Expr) -> tuple[Expr, Expr]:
    a, b, c = parse(out.attrs["subscripts"])
    return contract(f"{c},{b}->{a}", ct, right), contract(f"{a},{c}->{b}", left, ct)


def _jvp(tangents: Sequence[Expr | None], out: Expr, left: Expr, right: Expr) -> Expr:
    terms = []
    if tangents[0] is not None:
        terms.append(apply(CONTRACT, (tangents[0], right), out.attrs))
    if tangents[1] is not None:
        terms.append(apply(CONTRACT, (left, tangents[1]), out.attrs))
    return terms[0] if len(terms) == 1 else terms[0] + terms[1]


CONTRACT = Op(
    "contract",
    "contraction",
    _type,
    _evaluate,
    vjp=_vjp,
    jvp=_jvp,
    roles=("left", "right"),
    domain=((-3.0, 3.0), (-3.0, 3.0)),
    cost=2,
    doc="Sum of products over the letters that the result has not: ``ij,jk->ik`` is a matmul.",
)


def contract(subscripts: str, left: Expr, right: Expr) -> Expr:
    """One contraction. Every letter is in two of the three places, none twice in one."""
    return apply(CONTRACT, (left, right), {"subscripts": subscripts})


def _pair(left: ExprLike, right: ExprLike) -> list[Expr]:
    from graphc.ops.elementwise import mul

    return promoted(mul, (left, right))


def matmul(left: ExprLike, right: ExprLike) -> Expr:
    """Matrix product, as `numpy.matmul`: vectors are rows or columns, leading axes are batches.

    Shapes ``(..., m, k) @ (..., k, n) -> (..., m, n)``.
    """
    a, b = _pair(left, right)
    if not a.ndim or not b.ndim:
        raise _matmul_error(a, b, "operands must have at least one axis", "multiply with *")
    inner = a.shape[-1], b.shape[-2] if b.ndim > 1 else b.shape[0]
    if not same_size(*inner):
        hint = "transpose the right operand, or swap the operands"
        raise _matmul_error(a, b, f"inner sizes differ ({inner[0]} and {inner[1]})", hint)
    rows = "m" if a.ndim > 1 else ""
    columns = "n" if b.ndim > 1 else ""
    batch_a, batch_b = a.shape[: -1 - len(rows)], b.shape[: -1 - len(columns)]
    try:
        batch = broadcast_shapes(batch_a, batch_b)
    except ShapeError as error:
        raise _matmul_error(a, b, f"batch axes: {error.summary}", error.hint) from None
    letters = string.ascii_lowercase[: len(batch)]  # a, b, ... before k, m, n
    la, a = _batch_letters(a, batch_a, letters)
    lb, b = _batch_letters(b, batch_b, letters)
    kept = "".join(c for c in letters if c in la or c in lb)
    product = contract(f"{la}{rows}k,{lb}k{columns}->{kept}{rows}{columns}", a, b)
    return reshape(product, (*batch, *product.shape[len(kept) :]))


def _batch_letters(x: Expr, batch: Sequence[Size], letters: str) -> tuple[str, Expr]:
    """Letters for batch axes; an axis of size 1 is dropped where it broadcasts."""
    own = letters[len(letters) - len(batch) :]
    kept = [a for a, size in enumerate(batch) if not same_size(size, 1)]
    if len(kept) < len(batch):
        x = reshape(x, (*(batch[a] for a in kept), *x.shape[len(batch) :]))
    return "".join(own[a] for a in kept), x


def _matmul_error(a: Expr, b: Expr, text: str, hint: str) -> ShapeError:
    from graphc.expr import describe

    return ShapeError(f"matmul: {text}", where=describe([("left", a), ("right", b)]), hint=hint)


@explained
def dot(left: ExprLike, right: ExprLike) -> Expr:
    """`numpy.dot`: products of scalars, matmul of matrices, else last axis by last but one."""
    a, b = _pair(left, right)
    if not a.ndim or not b.ndim:
        return a * b
    if b.ndim <= 2 and a.ndim <= 2:
        return matmul(a, b)
    outer = string.ascii_uppercase
    la = outer[: a.ndim - 1] + "k"
    free = outer[a.ndim - 1 : a.ndim + b.ndim - 2]
    lb = free[:-1] + "k" + free[-1:] if b.ndim > 1 else "k"
    return contract(f"{la},{lb}->{la[:-1]}{free}", a, b)


def outer(left: ExprLike, right: ExprLike) -> Expr:
    """All products of two flattened tensors, shape ``(left.size, right.size)``."""
    a, b = _pair(left, right)
    return reshape(a, (a.size, 1)) * reshape(b, (1, b.size))


@explained
def einsum(subscripts: str, *operands: ExprLike) -> Expr:
    """Einstein summation, as `numpy.einsum` with letters and ``...``; any number of operands.

    Operands are contracted from left to right; repeated letters take diagonals.
    """
    nodes = [as_expr(o) for o in operands]
    inputs, out = _letters(subscripts, nodes)
    terms = [_prepare(letters, node) for letters, node in zip(inputs, nodes, strict=True)]
    while len(terms) > 1:
        (la, a), (lb, b), *rest = terms
        needed = set(out).union(*(t[0] for t in rest))
        terms = [_contract_pair(la, a, lb, b, needed), *rest]
    letters, node = terms[0]
    summed = [i for i, c in enumerate(letters) if c not in out]
    if summed:
        node = _summed(node, summed)
        letters = "".join(c for c in letters if c in out)
    return transpose(node, [letters.index(c) for c in out])


def _letters(subscripts: str, nodes: Sequence[Expr]) -> tuple[list[str], str]:
    """Letters of each operand and of the result, with ``...`` written out."""
    text = subscripts.replace(" ", "")
    left, arrow, out = text.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(nodes):
        raise ShapeError(f"{subscripts!r} names {len(inputs)} operands, not {len(nodes)}")
    spare = [c for c in string.ascii_letters if c not in text]
    hidden = max(
        [
            n.ndim - len(i.replace("...", ""))
            for i, n in zip(inputs, nodes, strict=True)
            if "..." in i
        ],
        default=0,
    )
    dots = "".join(spare[:hidden])
    full = []
    for letters, node in zip(inputs, nodes, strict=True):
        own = node.ndim - len(letters.replace("...", ""))
        if own < 0 or (own and "..." not in letters):
            raise ShapeError(f"{letters!r} does not fit {node.type}")
        full.append(letters.replace("...", dots[len(dots) - own :]))
    if not arrow:
        every = "".join(full)
        out = "..." + "".join(
            sorted(c for c in set(every) if every.count(c) == 1 and c not in dots)
        )
    out = out.replace("...", dots)
    if any(c not in "".join(full) for c in out) or len(set(out)) != len(out):
        raise ShapeError(f"the result {out!r} does not fit the operands {inputs}")
    return full, out


def _prepare(letters: str, x: Expr) -> tuple[str, Expr]:
    """Take diagonals of repeated letters."""
    for c in sorted(set(letters)):
        while letters.count(c) > 1:
            i = letters.index(c)
            j = letters.index(c, i + 1)
            x = diagonal(x, i, j)
            letters = letters[:i] + letters[i + 1 : j] + letters[j + 1 :] + c
    return letters, x


@explained
def diagonal(x: ExprLike, axis1: int = 0, axis2: int = 1) -> Expr:
    """Elements with equal positions on two axes of one size; the new axis is last."""
    node = as_expr(x)
    i, j = normalise_axis(axis1, node.ndim), normalise_axis(axis2, node.ndim)
    if i == j:
        raise ShapeError(f"axis {i} is named twice")
    n = node.shape[i]
    if not same_size(n, node.shape[j]):
        raise ShapeError(f"sizes {n} and {node.shape[j]} differ")
    rest = [a for a in range(node.ndim) if a not in (i, j)]
    kept = tuple(node.shape[a] for a in rest)
    flat = reshape(transpose(node, [*rest, i, j]), (*kept, n * n))
    ranges: list[Any] = [(0, s, 1) for s in kept]
    if not isinstance(n, int):
        raise ShapeError(f"the size {n} must be a number")
    from graphc.ops.movement import take_ranges

    return take_ranges(flat, [*ranges, (0, n, n + 1)])


def _contract_pair(la: str, a: Expr, lb: str, b: Expr, needed: set[str]) -> tuple[str, Expr]:
    """Multiply two operands and sum over letters nobody needs any more."""
    a, b = _pair(a, b)
    la, a = _drop_ones(la, a, lb, b)
    lb, b = _drop_ones(lb, b, la, a)
    la, a = _sum_private(la, a, needed | set(lb))
    lb, b = _sum_private(lb, b, needed | set(la))
    out = "".join(c for c in la if c in needed) + "".join(
        c for c in lb if c in needed and c not in la
    )
    if all(c in out for c in la + lb):
        return out, _align(la, a, out) * _align(lb, b, out)
    return out, contract(f"{la},{lb}->{out}", a, b)


def _sum_private(letters: str, x: Expr, needed: set[str]) -> tuple[str, Expr]:
    axes = tuple(i for i, c in enumerate(letters) if c not in needed)
    kept = "".join(c for c in letters if c in needed)
    return (kept, _summed(x, axes)) if axes else (letters, x)


def _summed(x: Expr, axes: Sequence[int]) -> Expr:
    """Sum in the operand's own type: `numpy.einsum` does not widen integers."""
    from graphc.ops.reduction import SUM

    return apply(SUM, (x,), {"axes": tuple(axes), "keepdims": False})


def _drop_ones(la: str, a: Expr, lb: str, b: Expr) -> tuple[str, Expr]:
    """Drop axes of size 1 that broadcast against a larger size."""
    sizes = dict(zip(lb, b.shape, strict=True))
    kept = [
        i for i, c in enumerate(la)
        if c not in sizes or not same_size(a.shape[i], 1) or same_size(sizes[c], 1)
    ]  # fmt: skip
    return "".join(la[i] for i in kept), reshape(a, tuple(a.shape[i] for i in kept))


def _align(letters: str, x: Expr, out: str) -> Expr:
    """Axes in the order of ``out``, with size 1 where a letter is missing."""
    present = [c for c in out if c in letters]
    moved = transpose(x, [letters.index(c) for c in present])
    missing = [i for i, c in enumerate(out) if c not in letters]
    return expand_dims(moved, missing) if missing else moved
