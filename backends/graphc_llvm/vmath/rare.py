"""Rarely needed exact paths: a branch, and scalar functions called lane by lane.

Only formulas that are outlined may branch: the others are written into somebody else's block.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc_llvm.vmath.lanes import Lane, V, select


def patch(mask: V, fast: tuple[V, ...], slow: Callable[[], tuple[V, ...]]) -> tuple[V, ...]:
    """``slow()`` in the lanes of ``mask``, computed only if there are any; else ``fast``."""
    f, before = mask.f, mask.f.block
    rare, join = f.fresh("rare"), f.fresh("join")
    f.branch_if(_any(mask), rare, join)
    f.label(rare)
    patched = [select(mask, s, v) for s, v in zip(slow(), fast, strict=True)]
    after = f.block
    f.branch(join)
    f.label(join)
    return tuple(
        v.new(f"phi {v.lane.llvm} [ {v.text}, %{before} ], [ {p.text}, %{after} ]")
        for v, p in zip(fast, patched, strict=True)
    )


def _any(mask: V) -> str:
    """Whether any lane of a boolean is true, as an ``i1``."""
    width = mask.lane.width
    if width == 1:
        return mask.text
    bits = mask.f.op(f"bitcast {mask.lane.llvm} {mask.text} to i{width}")
    return mask.f.op(f"icmp ne i{width} {bits}, 0")


def by_lane(scalar: Callable[..., tuple[V, ...]], *args: V) -> tuple[V, ...]:
    """``scalar`` applied to each lane of the arguments."""
    if args[0].lane.width == 1:
        return scalar(*args)
    rows = [scalar(*(_extract(a, i) for a in args)) for i in range(args[0].lane.width)]
    return tuple(_gather(column) for column in zip(*rows, strict=True))


def _extract(v: V, i: int) -> V:
    lane = Lane(v.lane.dtype, 1)
    return V(v.f, lane, v.f.op(f"extractelement {v.lane.llvm} {v.text}, i32 {i}"))


def _gather(scalars: tuple[V, ...]) -> V:
    lane = Lane(scalars[0].lane.dtype, len(scalars))
    vector = V(scalars[0].f, lane, "poison")
    for i, s in enumerate(scalars):
        vector = vector.new(
            f"insertelement {lane.llvm} {vector.text}, {lane.scalar} {s.text}, i32 {i}"
        )
    return vector
