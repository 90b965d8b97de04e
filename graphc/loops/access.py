"""Views: how a node that only moves elements reads the memory of another node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from graphc.expr import Expr
from graphc.ops.contraction import axis_sizes, parse
from graphc.types import Shape, Size, product, same_size

VIEWS = frozenset(["reshape", "transpose", "broadcast_to", "slice", "again"])


@dataclass(frozen=True)
class Access:
    """Element ``i`` of a view is at ``offset + sum(strides * i)`` of ``base``'s memory."""

    base: Expr
    strides: tuple[Size, ...]
    offset: Size = 0


def contiguous(shape: Shape) -> tuple[Size, ...]:
    """Row-major strides, in elements; 0 along axes of size 1."""
    strides: list[Size] = []
    step: Size = 1
    for size in reversed(shape):
        strides.append(0 if same_size(size, 1) else step)
        step = step * size
    return tuple(reversed(strides))


def whole(node: Expr) -> Access:
    """A node's elements in memory of its own."""
    return Access(node, contiguous(node.shape))


def resolve(node: Expr, place: Callable[[Expr], Access | None]) -> Access | None:
    """The access of a node through its views to memory.

    ``place`` tells where the elements of a node lie that has memory. None if a reshape on the
    way cannot be expressed by strides, or the base has no memory.
    """
    chain = []
    while (access := place(node)) is None:
        if node.op.name not in VIEWS:
            return None
        chain.append(node)
        node = node.args[0]
    for view in reversed(chain):
        assert access is not None
        access = _through(view, access)
        if access is None:
            return None
    return access


def _through(view: Expr, access: Access) -> Access | None:
    shape, strides = view.args[0].shape, access.strides
    if view.op.name == "again":
        return access
    if view.op.name == "transpose":
        return Access(access.base, tuple(strides[a] for a in view.attrs["axes"]), access.offset)
    if view.op.name == "broadcast_to":
        lead = view.ndim - len(shape)
        spread = [
            0 if same_size(s, 1) else step for s, step in zip(shape, strides, strict=True)
        ]
        return Access(access.base, (*([0] * lead), *spread), access.offset)
    if view.op.name == "slice":
        offset, steps = access.offset, []
        for (start, _, step), stride in zip(view.attrs["ranges"], strides, strict=True):
            offset = offset + stride * start
            steps.append(stride * step)
        return Access(access.base, tuple(steps), offset)
    regrouped = regroup(shape, strides, view.shape)
    return None if regrouped is None else Access(access.base, regrouped, access.offset)


def regroup(shape: Shape, strides: Sequence[Size], new: Shape) -> tuple[Size, ...] | None:
    """Strides of the same elements in another shape, or None if they need a copy."""
    if tuple(strides) == contiguous(shape):
        return contiguous(new)
    old_axes = [(s, t) for s, t in zip(shape, strides, strict=True) if not same_size(s, 1)]
    result: list[Size] = []
    pending = list(old_axes)
    sizes = [s for s in new if not same_size(s, 1)]
    while sizes:
        group = _next_group(pending, sizes)
        if group is None:
            return None
        result += group
    if pending:
        return None
    found = iter(result)
    return tuple(0 if same_size(s, 1) else next(found) for s in new)


def _next_group(old: list[tuple[Size, Size]], new: list[Size]) -> list[Size] | None:
    """Strides for the first new sizes that together cover the first old axes.

    Both are consumed.
    """
    if not old:
        return None
    taken, wanted = [old.pop(0)], [new.pop(0)]
    while not same_size(product(s for s, _ in taken), product(wanted)):
        have, need = product(s for s, _ in taken), product(wanted)
        if _divides(have, need) and old:
            taken.append(old.pop(0))
        elif _divides(need, have) and new:
            wanted.append(new.pop(0))
        else:
            return None
    for (_, outer), (size, inner) in pairwise(taken):
        if not same_size(outer, inner * size):
            return None
    step, strides = taken[-1][1], []
    for size in reversed(wanted):
        strides.append(step)
        step = step * size
    return strides[::-1]


def _divides(small: Size, large: Size) -> bool:
    if isinstance(small, int) and small == 0:
        return False
    return same_size((large // small) * small, large)


def only_ones(old: Shape, new: Shape) -> bool:
    """Whether a reshape only inserts and removes axes of size 1."""
    kept = [s for s in old if not same_size(s, 1)]
    also = [s for s in new if not same_size(s, 1)]
    return len(kept) == len(also) and all(map(same_size, kept, also))


def merge_letters(
    letters: Sequence[str],
    sizes: dict[str, Size],
    first: dict[str, Size],
    second: dict[str, Size],
) -> tuple[str, list[str]]:
    """The longest run of letters (from the last) that both operands step through as one axis.

    Returns that run and the letters before it. Letters of size 1, whose steps mean nothing,
    join any run, at its front.
    """
    ones = "".join(x for x in letters if same_size(sizes[x], 1))
    rest = [x for x in letters if x not in ones]
    run = ""
    size: Size = 1
    while rest:
        letter = rest[-1]
        if run and not all(same_size(s[letter], s[run[-1]] * size) for s in (first, second)):
            break
        run = letter + run
        size = size * sizes[letter]
        rest.pop()
    return ones + run, rest


def inner_merges(node: Expr, access_of: Callable[[Expr], Access | None]) -> bool:
    """Whether the summed letters of a contraction are one axis in both operands."""
    left, right = node.args
    a, b, c = parse(node.attrs["subscripts"])
    sizes = axis_sizes(node.attrs["subscripts"], left.type, right.type)
    first, second = access_of(left), access_of(right)
    assert first is not None
    assert second is not None
    letters = [x for x in a if x in b and x not in c]
    _, rest = merge_letters(
        letters,
        sizes,
        dict(zip(a, first.strides, strict=True)),
        dict(zip(b, second.strides, strict=True)),
    )
    return not rest
