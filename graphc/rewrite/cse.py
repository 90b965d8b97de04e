"""Common-subexpression elimination: equal nodes become one node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload
from weakref import WeakKeyDictionary

from graphc.expr import Expr, rebuild, topological
from graphc.origin import uncollected

Key = tuple[Any, ...]


class Interner:
    """Gives the first node it met for each meaning: op, operands, attributes.

    Operands of commutative ops count in either order. Inputs and parameters are themselves.
    """

    def __init__(self, known: Mapping[Key, Expr] | None = None) -> None:
        self._known = dict(known or {})

    def copy(self) -> Interner:
        """Another one that has met the same nodes."""
        return Interner(self._known)

    def intern(self, node: Expr) -> Expr:
        """The node of this meaning; operands must have been interned before."""
        op, args = node.op, node.args
        if not args and op.name in ("input", "parameter"):
            return node
        if len(args) == 2 and id(args[0]) > id(args[1]) and "commutative" in op.facts:
            args = args[::-1]
        key = (op, args, node.attrs) if node.attrs else (op, args)
        return self._known.setdefault(key, node)


def merged(roots: Sequence[Expr], interner: Interner | None = None) -> dict[Expr, Expr]:
    """For each node of a graph the one that stands for it when equal nodes are merged, in one
    walk."""
    interner = interner or Interner()
    memo: dict[Expr, Expr] = {}
    with uncollected():
        for node in topological(roots):
            memo[node] = interner.intern(rebuild(node, [memo[a] for a in node.args]))
    return memo


#: What `cse` merged into a node.
_gone: WeakKeyDictionary[Expr, list[Expr]] = WeakKeyDictionary()


def merged_into(node: Expr) -> Sequence[Expr]:
    """Nodes that `cse` merged into a node, outside of any compilation."""
    return _gone.get(node, [])


@overload
def cse(exprs: Expr) -> Expr: ...
@overload
def cse(exprs: Sequence[Expr]) -> list[Expr]: ...


def cse(exprs: Expr | Sequence[Expr]) -> Expr | list[Expr]:
    """The graph with equal nodes merged: one Expr or a list, as given.

    Two nodes are equal if they apply the same operation with the same constants to equal
    operands (in any order where it is commutative). Constants are equal if their bits are.
    """
    memo = merged([exprs] if isinstance(exprs, Expr) else exprs)
    first: dict[Expr, Expr] = {}
    for node, kept in memo.items():
        if first.setdefault(kept, node) is not node:
            _gone.setdefault(kept, []).append(node)
    return memo[exprs] if isinstance(exprs, Expr) else [memo[e] for e in exprs]
