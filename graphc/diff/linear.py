"""Transposition of linear maps: one rule of a pair gives the other.

A pushforward ``t -> J t`` is linear, so the reverse sweep through its graph gives
``ct -> J^T ct``; the same on a pullback gives the pushforward. That a graph is linear is
checked: it must vanish with its leaves, and its derivative must not depend on them.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.diff.reverse import accumulate
from graphc.errors import DifferentiationError
from graphc.expr import Expr, constant_value, describe, topological

#: Operations that give zero as soon as one of these operands is zero.
_FACTORS = {"mul": (0, 1), "contract": (0, 1), "div": (0,)}
#: Operations that give zero if all of these operands are zero, beside the linear ones.
_ALL = {"where": (1, 2), "gather": (0,), "scatter_add": (0,), "cast": (0,)}


def transpose(
    name: str, images: Sequence[Expr], leaves: Sequence[Expr], cotangents: Sequence[Expr]
) -> list[Expr | None]:
    """Cotangents of the leaves of a linear map, None where it does not depend on one.

    Raises
    ------
    DifferentiationError
        If the map ``name`` is not linear in the leaves.
    """
    zero = _vanishing(images, leaves)
    table = accumulate(list(zip(images, cotangents, strict=True)), leaves)
    found = [table.get(leaf) for leaf in leaves]
    left = set(topological([f for f in found if f is not None])) & set(leaves)
    if left or not all(image in zero for image in images):
        raise DifferentiationError(
            f"{name} is not linear in its {leaves[0].name}s",
            where=describe([("result", image) for image in images]),
            hint="a derivative rule is a sum of products with them; it adds nothing else",
        )
    return found


def _vanishing(images: Sequence[Expr], leaves: Sequence[Expr]) -> set[Expr]:
    """Nodes known to be zero where the leaves are."""
    zero = set(leaves)
    for node in topological(images):
        value = constant_value(node)
        if _is_zero([a in zero for a in node.args], node) if value is None else not value.any():
            zero.add(node)
    return zero


def _is_zero(zero: Sequence[bool], node: Expr) -> bool:
    name = node.op.name
    if name in _FACTORS:
        return any(zero[i] for i in _FACTORS[name])
    if name in _ALL:
        return all(zero[i] for i in _ALL[name])
    if name in ("stop_gradient", "custom_gradient"):
        return zero[0]
    return "linear" in node.op.facts and bool(zero) and all(zero)
