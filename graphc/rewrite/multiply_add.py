"""Fused multiply-add, chosen in the graph.

Were the choice left to a backend, a value computed twice (by two kernels, or in two passes
over a row) could be rounded differently each time, and ``x == max(x)`` might never hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from graphc.expr import Expr, apply, rebuild, stemming, topological
from graphc.ops import elementwise as ew


def fuse_multiply_add(roots: Sequence[Expr]) -> tuple[dict[Expr, Expr], int]:
    """Sums with a product that nothing else needs become ``fma``: what each node becomes, and
    how many did."""
    order = topological(roots)
    uses = Counter(id(a) for node in order for a in node.args)
    uses.update(id(r) for r in roots)
    memo: dict[Expr, Expr] = {}
    count = 0
    for node in order:
        fused = _fused(node, memo, uses)
        count += fused is not None
        memo[node] = rebuild(node, [memo[a] for a in node.args]) if fused is None else fused
    return memo, count


def _fused(node: Expr, memo: dict[Expr, Expr], uses: Counter[int]) -> Expr | None:
    if node.op not in (ew.add, ew.sub) or not node.dtype.is_float:
        return None
    for place, x in enumerate(node.args):
        if x.op not in (ew.mul, ew.square) or uses[id(x)] > 1 or x.shape != node.shape:
            continue
        left, right = memo[x.args[0]], memo[x.args[-1]]
        other = memo[node.args[1 - place]]
        with stemming("rewrite:multiply-add", node):
            if node.op is ew.sub:
                left, other = (-left, other) if place else (left, -other)
            return apply(ew.FMA, (left, right, other))
    return None
