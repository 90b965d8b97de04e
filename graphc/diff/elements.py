"""Second derivatives of a function of single elements, ``x[0] * sin(x[1])``, entry by entry.

There all values have rank 0. Directions side by side in vectors would compute zeros, and each
pair of entries that are equal by symmetry twice; one tangent for each value and each element
that it depends on does not. What belongs to one entry is found by common subexpressions.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TypeAlias

import numpy as np

from graphc.diff.forward import push
from graphc.diff.known import Array, shape_of, symbolic
from graphc.diff.placing import spread_out
from graphc.diff.reverse import pulled, spread
from graphc.expr import Expr, scalar_like, topological
from graphc.ops.elementwise import cast
from graphc.ops.movement import broadcast_to, reshape, stack
from graphc.origin import stemming, uncollected
from graphc.types import Shape

#: Second derivatives by pairs of elements, the larger number first.
Entries: TypeAlias = dict[tuple[int, int], Expr]

#: With more tangents the code would be long: vectors of directions are loops.
MOST_TANGENTS = 4000
#: So many elements are put side by side one by one, even if most of them are zeros.
MOST_STACKED = 256
#: They put the elements of a target in other places.
_MOVES = frozenset(["slice", "reshape", "transpose"])


def picked(output: Expr, targets: Sequence[Expr]) -> dict[Expr, int] | None:
    """Nodes that are single elements of the targets, and which: numbered through all targets.

    None if the output sees the targets in another way, or has values of other ranks on the way;
    or where a user's own rule is on the way, whose second derivatives need not be symmetric.
    """
    if len(set(targets)) < len(targets) or any(symbolic(x) is not None for x in targets):
        return None
    places = _numbered(targets)
    depends: set[Expr] = set()
    for node in topological([output]):
        near = [a for a in node.args if a in depends]
        if node in places:
            if near:
                return None
        elif not near:
            continue
        elif node.op.name in _MOVES and near[0] in places and near[0].ndim:
            places[node] = node.op.evaluate(places[near[0]], **node.attrs)
        elif node.ndim or any(a.ndim for a in near) or node.op.name == "custom_gradient":
            return None
        depends.add(node)
    return {n: int(at) for n, at in places.items() if not n.ndim}


def _numbered(targets: Sequence[Expr]) -> dict[Expr, Array]:
    places: dict[Expr, Array] = {}
    start = 0
    for x in targets:
        size = math.prod(shape_of(x))
        places[x] = np.arange(start, start + size).reshape(shape_of(x))
        start += size
    return places


def second_derivatives(output: Expr, elements: Mapping[Expr, int]) -> Entries | None:
    """Those that are not always zero; None if there are too many tangents on the way.

    Forward mode over the gradient: the tangent of a value in a direction is made where a slope
    in this or a later direction needs it.
    """
    slopes = _slopes(output, elements)
    order = topological(slopes.values())
    last = {slope: k for k, slope in sorted(slopes.items())}
    for node in reversed(order):
        for x in node.args:
            last[x] = max(last.get(x, -1), last[node])
    tangents: dict[Expr, dict[int, Expr]] = {}
    left = MOST_TANGENTS
    for node in order:
        if node in elements:
            tangents[node] = {elements[node]: scalar_like(1, node)}
        elif node.dtype.is_float:
            ways = {k for a in node.args for k in tangents.get(a, ()) if k <= last[node]}
            left -= len(ways)
            if left < 0:
                return None
            tangents[node] = _pushed(node, sorted(ways), tangents)
    return {
        (i, k): tangent
        for i, slope in slopes.items()
        for k, tangent in tangents.get(slope, {}).items()
        if k <= i
    }


def _slopes(output: Expr, elements: Mapping[Expr, int]) -> dict[int, Expr]:
    """The gradient by elements, each of which may be there in several nodes."""
    found: dict[int, Expr] = {}
    for slope, k in zip(
        pulled([output], list(elements), [scalar_like(1, output)]),
        elements.values(),
        strict=True,
    ):
        found[k] = found[k] + slope if k in found else slope
    return found


def _pushed(
    node: Expr, ways: Sequence[int], tangents: Mapping[Expr, Mapping[int, Expr]]
) -> dict[int, Expr]:
    """Tangents of a node in those directions in which it moves."""
    found: dict[int, Expr] = {}
    with uncollected(), stemming(f"d {node.op.name}", node):
        for k in ways:
            moved = push(node, [tangents.get(a, {}).get(k) for a in node.args])
            if moved is not None:
                found[k] = spread(moved, node)
    return found


def blocks_of(entries: Entries, targets: Sequence[Expr]) -> list[list[Expr]]:
    """The Hessian's block for each two targets, symmetric."""
    sizes = [math.prod(shape_of(x)) for x in targets]
    ends = list(accumulate(sizes))
    found: dict[tuple[int, int], dict[int, Expr]] = {}
    for (i, k), entry in (entries | {(k, i): e for (i, k), e in entries.items()}).items():
        a, b = bisect_right(ends, i), bisect_right(ends, k)
        place = (i - ends[a] + sizes[a]) * sizes[b] + k - ends[b] + sizes[b]
        found.setdefault((a, b), {})[place] = entry

    def block(a: int, b: int) -> Expr:
        shape = (*targets[a].shape, *targets[b].shape)
        return _placed(found.get((a, b), {}), shape, targets[max(a, b)])

    span = range(len(targets))
    return [[block(a, b) for b in span] for a in span]


def _placed(entries: Mapping[int, Expr], shape: Shape, like: Expr) -> Expr:
    """A tensor of these elements, by their flat index, and of zeros."""
    size, zero = math.prod(s for s in shape if isinstance(s, int)), scalar_like(0, like)
    if not entries:
        return broadcast_to(zero, shape)
    if len(entries) < size / 2 and size > MOST_STACKED:
        places = np.array(sorted(entries))
        values = stack([cast(entries[k], like.dtype) for k in sorted(entries)])
        return spread_out(values, places, shape)
    return reshape(stack([cast(entries.get(k, zero), like.dtype) for k in range(size)]), shape)
