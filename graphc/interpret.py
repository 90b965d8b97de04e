"""Evaluation of a graph with NumPy, node by node: the oracle of every test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.expr import Expr, topological
from graphc.ops.leaves import Parameter
from graphc.types import Dim, evaluate_size


def bind_sizes(values: Mapping[Expr, np.ndarray[Any, Any]]) -> dict[str, int]:
    """Symbols of the leaves' types, read off the arrays given for them."""
    sizes: dict[str, int] = {}
    for leaf, array in values.items():
        for size, actual in zip(leaf.shape, np.shape(array), strict=True):
            if isinstance(size, Dim) and size.name:
                sizes[size.name] = actual
    return sizes


def _concrete(value: Any, sizes: Mapping[str, int]) -> Any:
    """An attribute with symbolic sizes replaced by numbers."""
    if isinstance(value, Dim):
        return evaluate_size(value, sizes)
    if isinstance(value, tuple):
        return tuple(_concrete(v, sizes) for v in value)
    return value


def attributes(node: Expr, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The constants of a node with symbolic sizes replaced by numbers."""
    return {k: _concrete(v, sizes) for k, v in node.attrs.items()}


def evaluate(
    outputs: Sequence[Expr],
    values: Mapping[Expr, Any],
    sizes: Mapping[str, int] | None = None,
) -> list[np.ndarray[Any, Any]]:
    """Arrays of the outputs, given arrays for the input leaves.

    Parameters keep their own values unless ``values`` holds others. ``values`` may hold any
    node, not only leaves; what it stems from is then not evaluated.
    """
    given = {node: np.asarray(v) for node, v in values.items()}
    bound = bind_sizes(given) if sizes is None else sizes
    memo: dict[Expr, Any] = dict(given)
    with np.errstate(all="ignore"):
        for node in topological(outputs):
            if node not in memo:
                memo[node] = _node(node, memo, bound)
    return [np.asarray(memo[o]) for o in outputs]


def find_bad_index(
    outputs: Sequence[Expr], values: Mapping[Expr, Any], sizes: Mapping[str, int]
) -> tuple[Expr, int, int] | None:
    """The first node that reads or writes outside an axis, the position, the axis' size."""
    memo: dict[Expr, Any] = {node: np.asarray(v) for node, v in values.items()}
    with np.errstate(all="ignore"):
        for node in topological(outputs):
            if node.op.family == "indexing":
                size = _concrete(node.attrs.get("size"), sizes)
                size = memo[node.args[0]].shape[node.attrs["axis"]] if size is None else size
                index = memo[node.args[1]]
                low = -size if node.attrs.get("wrap", True) else 0
                outside = index[(index < low) | (index >= size)]
                if outside.size:
                    return node, int(outside.flat[0]), size
            if node not in memo:
                memo[node] = _node(node, memo, sizes)
    return None


def _node(node: Expr, memo: Mapping[Expr, Any], sizes: Mapping[str, int]) -> Any:
    if isinstance(node, Parameter):
        return node.value.copy()
    result = node.op.evaluate(*(memo[a] for a in node.args), **attributes(node, sizes))
    return np.asarray(result)
