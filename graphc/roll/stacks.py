"""Sums of padded scalars, as derivatives for the elements of a vector leave them.

The gradient of ``f(x[0], x[1], ...)`` for ``x`` is a sum of vectors with one element each: work
and code quadratic in their number. Here such vectors are kept as their elements until something
needs the whole; it is then put together at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphc.expr import Expr, apply, constant, constant_value, rebuild, scalar_like
from graphc.ops import elementwise as ew
from graphc.ops.movement import PAD, broadcast_to, concatenate, pad_spread, reshape
from graphc.origin import stemming
from graphc.types import TensorType, same_size

#: Vectors with fewer elements than one in so many are sums of padded scalars again.
SPARSEST = 16
#: Operations other than sums are done element by element on so many elements.
FEW = 8

Cells = dict[int, tuple[Expr, int]]


@dataclass(eq=False)
class Sparse:
    """A tensor of ``fill`` but for some elements, by their position in row-major order.

    It stands for a sum of ``terms`` tensors; a cell that is a sum of fewer had zeros added.
    """

    type: TensorType
    cells: Cells
    fill: Expr
    terms: int = 1

    @property
    def size(self) -> int:
        return int(np.prod([int(str(s)) for s in self.type.shape], dtype=np.int64))

    def cell(self, index: int) -> Expr:
        """An element: adding zero turns -0 into 0."""
        if index not in self.cells:
            return self.fill
        value, terms = self.cells[index]
        zeros = terms < self.terms and value.dtype.is_float
        return value + scalar_like(0, value) if zeros else value


def join_pads(order: Sequence[Expr], roots: Sequence[Expr]) -> dict[Expr, Expr]:
    """What becomes of each node, or nothing if there are no padded scalars.

    ``order`` has operands first.
    """
    if not any(_is_padded_scalar(n) for n in order):
        return {}
    return _Joining(order, roots).run()


def _is_padded_scalar(node: Expr) -> bool:
    if node.op is not PAD:
        return False
    x, fill = node.args
    known = all(isinstance(s, int) for s in node.shape)
    return known and same_size(x.size, 1) and not _nonzero(fill)


def _nonzero(fill: Expr) -> bool:
    value = constant_value(fill)
    return value is None or value.size != 1 or bool(value.any())


class _Joining:
    """A walk that keeps sparse tensors apart."""

    def __init__(self, order: Sequence[Expr], roots: Sequence[Expr]) -> None:
        self.order = order
        self.uses = Counter(a for n in order for a in n.args)
        self.uses.update(roots)
        self.roots = roots
        self.sparse: dict[Expr, Sparse] = {}
        self.became: dict[Expr, Expr] = {}

    def run(self) -> dict[Expr, Expr]:
        for node in self.order:
            found = self.keep_apart(node)
            if found is not None:
                self.sparse[node] = found
            else:
                self.became[node] = rebuild(node, [self.whole(a) for a in node.args])
        for root in self.roots:
            self.whole(root)
        return self.became

    def keep_apart(self, node: Expr) -> Sparse | None:
        if _is_padded_scalar(node):
            return self.padded(node)
        if node.op.family != "elementwise" or not any(a in self.sparse for a in node.args):
            return None
        parts = [self.sparse.get(a) or self.number(a) for a in node.args]
        if any(
            p is None or (isinstance(p, Sparse) and p.type.shape != node.shape) for p in parts
        ):
            return None
        with stemming("roll", node):
            sums = [p for p in parts if isinstance(p, Sparse)]
            if node.op in (ew.add, ew.logical_or) and len(sums) == 2:
                return self.added(node, *sums)
            return self.computed(node, parts)  # type: ignore[arg-type]

    def number(self, x: Expr) -> Expr | None:
        """A constant number, also if it is repeated."""
        while x.op.name == "broadcast_to":
            x = x.args[0]
        value = constant_value(x)
        return x if value is not None and not x.shape else None

    def padded(self, node: Expr) -> Sparse:
        x, fill = node.args
        index = 0
        for (low, _, _), size in zip(node.attrs["widths"], node.shape, strict=True):
            index = index * size + low
        with stemming("roll", node):
            return Sparse(node.type, {index: (reshape(self.whole(x), ()), 1)}, fill)

    def added(self, node: Expr, left: Sparse, right: Sparse) -> Sparse:
        """A sum, written over the larger operand if nothing else needs that."""
        small, large = sorted((left, right), key=lambda s: len(s.cells))
        owner = node.args[1] if large is right else node.args[0]
        cells = large.cells if self.uses[owner] == 1 else dict(large.cells)
        for index, (value, terms) in small.cells.items():
            if index in cells:
                other, more = cells[index]
                pair = (other, value) if large is left else (value, other)
                cells[index] = apply(node.op, pair), terms + more
            else:
                cells[index] = value, terms
        return Sparse(node.type, cells, large.fill, left.terms + right.terms)

    def computed(self, node: Expr, parts: Sequence[Sparse | Expr]) -> Sparse | None:
        """Any other operation, element by element."""
        sparse = [p for p in parts if isinstance(p, Sparse)]
        indices = dict.fromkeys(i for p in sparse for i in p.cells)
        if len(indices) > FEW:
            return None

        def at(index: int) -> Expr:
            args = [p.cell(index) if isinstance(p, Sparse) else p for p in parts]
            return apply(node.op, args, node.attrs)

        fills = [constant_value(p.fill if isinstance(p, Sparse) else p) for p in parts]
        with np.errstate(all="ignore"):
            fill = node.op.evaluate(*fills, **node.attrs)
        made = constant(np.asarray(fill), node.dtype)
        if _nonzero(made):
            return None
        return Sparse(node.type, {i: (at(i), 1) for i in indices}, made)

    def whole(self, node: Expr) -> Expr:
        """The node as a tensor."""
        if node not in self.became:
            with stemming("roll", node):
                self.became[node] = _assembled(self.sparse[node])
        return self.became[node]


def _assembled(sparse: Sparse) -> Expr:
    cells = {i: sparse.cell(i) for i in sorted(sparse.cells)}
    if len(cells) * SPARSEST < sparse.size:
        return _padded_again(sparse, cells)
    parts: list[Expr] = []
    end = 0
    for index, value in (*cells.items(), (sparse.size, None)):
        if index > end:
            parts.append(broadcast_to(sparse.fill, (index - end,)))
        if value is not None:
            parts.append(reshape(value, (1,)))
        end = index + 1
    return reshape(concatenate(parts), sparse.type.shape)


def _padded_again(sparse: Sparse, cells: dict[int, Expr]) -> Expr:
    total: Expr | None = None
    for index, value in cells.items():
        widths = [(index, sparse.size - index - 1, 0)]
        term = pad_spread(reshape(value, (1,)), widths, sparse.fill)
        if total is not None:
            term = (ew.logical_or if value.dtype.is_bool else ew.add)(total, term)
        total = term
    assert total is not None
    return reshape(total, sparse.type.shape)
