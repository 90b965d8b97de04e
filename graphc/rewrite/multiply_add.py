"""Fused multiply-add, chosen in the graph.

Were the choice left to a backend, a value computed twice (by two kernels, or in two passes
over a row) could be rounded differently each time, and ``x == max(x)`` might never hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

from graphc.expr import Expr, apply, rebuild, topological
from graphc.ops import elementwise as ew
from graphc.origin import stemming
from graphc.rewrite.cse import Interner


def fuse_multiply_add(roots: Sequence[Expr]) -> tuple[dict[Expr, Expr], int]:
    """Sums with a product that nothing else needs become ``fma``, and nodes that are equal then
    one node: what each node becomes, and how many sums did."""
    order = topological(roots)
    uses = Counter(chain.from_iterable(node.args for node in order))
    uses.update(roots)
    interner = Interner()
    memo: dict[Expr, Expr] = {}
    count = 0
    for node in order:
        fused = _fused(node, memo, uses, interner)
        count += fused is not None
        new = rebuild(node, [memo[a] for a in node.args]) if fused is None else fused
        memo[node] = interner.intern(new)
    return memo, count


def _fused(
    node: Expr, memo: Mapping[Expr, Expr], uses: Counter[Expr], interner: Interner
) -> Expr | None:
    if node.op not in (ew.add, ew.sub) or not node.dtype.is_float:
        return None
    for place, x in enumerate(node.args):
        if x.op not in (ew.mul, ew.square) or uses[x] > 1 or x.shape != node.shape:
            continue
        left, right = memo[x.args[0]], memo[x.args[-1]]
        other = memo[node.args[1 - place]]
        with stemming("rewrite:multiply-add", node):
            if node.op is ew.sub and place:
                left = interner.intern(-left)
            elif node.op is ew.sub:
                other = interner.intern(-other)
            return apply(ew.FMA, (left, right, other))
    return None
