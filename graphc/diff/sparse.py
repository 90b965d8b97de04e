"""Sparse Jacobians and Hessians: few directional derivatives, and what is read off them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from graphc.diff.batching import batched
from graphc.diff.colouring import (
    LARGEST_FIRST,
    Order,
    by_columns,
    by_star,
    column_colors,
    mirror,
    star_colors,
)
from graphc.diff.forward import pushed, seeds_of
from graphc.diff.known import Array, shape_of
from graphc.diff.reverse import pulled
from graphc.diff.sparsity import check_sizes, dependence, directional, scipy_sparse
from graphc.expr import Expr, constant, scalar_like, stemming, topological
from graphc.ops.elementwise import cast, equal
from graphc.ops.indexing import take_along_axis
from graphc.ops.leaves import iota, tensor
from graphc.ops.movement import broadcast_to, concatenate, reshape
from graphc.types import DType, int32, int64, uint8

SparseMode: TypeAlias = Literal["forward", "reverse", "symmetric"]


@dataclass(frozen=True, eq=False, repr=False)
class SparseMatrix:
    """A Jacobian or Hessian of which only the entries that may differ from zero are computed.

    `graphc.compile` takes it as an output; calls then give a ``scipy.sparse.csr_array``.

    Attributes
    ----------
    name
        ``"jacobian"`` or ``"hessian"``.
    pattern
        ``scipy.sparse.csr_array`` of bools, a row for each element of the output, a column for
        each one of the target, in row-major order.
    values
        The entries, in the order of the pattern's: an Expr of rank 1.
    mode
        ``"forward"``: directions of the target, ``"reverse"``: of the output, ``"symmetric"``:
        of the target, each entry read from its own column or its mirror image's.
    colors
        For each column (``"reverse"``: each row) the number of its direction.
    directions
        How many directional derivatives are computed.
    """

    name: str
    pattern: Any
    values: Expr
    mode: SparseMode
    colors: Array
    directions: int

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.pattern.shape
        return rows, columns

    @property
    def dtype(self) -> DType:
        return self.values.dtype

    @property
    def nnz(self) -> int:
        """Number of entries."""
        return int(self.pattern.nnz)

    def matrix(self, values: Array) -> Any:
        """Numbers for the entries as a ``scipy.sparse.csr_array``, which takes their memory."""
        indices, indptr = self.pattern.indices.copy(), self.pattern.indptr.copy()
        made = scipy_sparse().csr_array((values, indices, indptr), shape=self.shape)
        made.has_canonical_format = True
        return made

    def fits(self, given: Any) -> bool:
        """Whether something is a CSR array of this pattern, its entries in this order."""
        if not scipy_sparse().issparse(given) or given.format != "csr":
            return False
        same = np.array_equal(given.indptr, self.pattern.indptr)
        return same and np.array_equal(given.indices, self.pattern.indices)

    @property
    def title(self) -> str:
        """Its type and what it takes, in a line."""
        rows, columns = self.shape
        directions = f"{self.directions} direction{'s' * (self.directions != 1)}"
        kind = f"{self.name} {self.dtype.short}[{rows}, {columns}]"
        return f"{kind}: {directions} ({self.mode}) for {self.nnz} entries"

    def __repr__(self) -> str:
        return f"<sparse {self.title}>"


# Jacobian -----------------------------------------------------------------------------------


def sparse_jacobian(
    y: Expr, x: Expr, mode: Literal["auto", "forward", "reverse"], order: Order
) -> SparseMatrix:
    """The Jacobian by few directions; ``mode`` "auto": of the target or of the output."""
    images, leaves = directional(y, x)
    pattern = dependence(images, leaves)[0]
    chosen, colors = _direction_colors(pattern, mode, order)
    count = _count(pattern, colors)
    if chosen == "forward":
        table = _compressed(images, leaves, [colors], count)
        places = by_columns(pattern, colors)
    else:
        leaf = tensor("cotangent", y.shape, y.dtype)
        table = _compressed(pulled([y], [x], [leaf]), [leaf], [colors], count)
        places = _by_rows(pattern, colors)
    values = _read(table, [places], x.dtype, y, f"jacobian by {chosen}, {count} directions")
    return SparseMatrix("jacobian", pattern, values, chosen, colors, count)


def _count(pattern: Any, colors: Array) -> int:
    return int(colors.max(initial=-1)) + 1 if pattern.nnz else 0


def _direction_colors(
    pattern: Any, mode: Literal["auto", "forward", "reverse"], order: Order
) -> tuple[Literal["forward", "reverse"], Array]:
    """The mode with fewer colours, and its colours.

    No mode needs fewer than its longest row has entries, so that often one colouring decides.
    """
    sides: dict[Literal["forward", "reverse"], Any] = {
        "forward": pattern,
        "reverse": pattern.T.tocsr(),
    }
    tried = sorted(sides, key=lambda side: _longest_row(sides[side]))
    first, other = (mode, mode) if mode != "auto" else tried
    colors = column_colors(sides[first], order)
    if _longest_row(sides[other]) < _count(pattern, colors) and other != first:
        second = column_colors(sides[other], order)
        if _count(pattern, second) < _count(pattern, colors):
            return other, second
    return first, colors


def _longest_row(pattern: Any) -> int:
    return int(np.diff(pattern.indptr).max(initial=0))


def _by_rows(pattern: Any, colors: Array) -> Array:
    """Where the entries are in the flat table (colour, column), in the pattern's order."""
    flipped = pattern.T.tocsr()
    numbers = pattern.astype(np.int64)
    numbers.data = np.arange(pattern.nnz)
    places = np.empty(pattern.nnz, np.int64)
    places[numbers.T.tocsr().data] = by_columns(flipped, colors)
    return places


# Hessian ------------------------------------------------------------------------------------


def sparse_hessian(
    f: Expr, targets: Sequence[Expr], slopes: Sequence[Expr], order: Order
) -> list[list[SparseMatrix]]:
    """Blocks of the Hessian, given the gradient; one colouring for all targets together."""
    for x in targets:
        check_sizes("target", x)
    leaves = [tensor("tangent", x.shape, x.dtype) for x in targets]
    images = pushed(slopes, seeds_of(targets, leaves))
    whole = scipy_sparse().vstack(dependence(images, leaves), format="csr")
    pattern = (whole + whole.T).tocsr()
    pattern.sort_indices()
    colors, places, mode = _hessian_colors(f, pattern, order)
    count = _count(pattern, colors)
    ends = np.cumsum([math.prod(shape_of(x)) for x in targets])
    table = _compressed(images, leaves, np.split(colors, ends[:-1]), count)
    bounds = list(zip([0, *ends[:-1]], ends, strict=True))

    def block(a: int, b: int) -> SparseMatrix:
        parts = [_part(pattern, p, bounds[a], bounds[b]) for p in places]
        text = f"hessian by {mode}, {count} directions"
        values = _read(table, [p.data for p in parts], targets[max(a, b)].dtype, f, text)
        own = parts[0].astype(bool)
        own.data[:] = True
        return SparseMatrix("hessian", own, values, mode, colors[slice(*bounds[b])], count)

    span = range(len(targets))
    return [[block(a, b) for b in span] for a in span]


def _hessian_colors(
    f: Expr, pattern: Any, order: Order
) -> tuple[Array, list[Array], Literal["symmetric", "forward"]]:
    """Colours, and where the entries are read; more places than one have a mean.

    A user's own derivative rule need not be that of a function: then ``H[i, j]`` may differ
    from ``H[j, i]``, both are computed, and the mean is taken, as `hessian` does.
    """
    if any(node.op.name == "custom_gradient" for node in topological([f])):
        colors = column_colors(pattern, order)
        places = by_columns(pattern, colors)
        return colors, [places, places[mirror(pattern)]], "forward"
    colors = star_colors(pattern, order)
    return colors, [by_star(pattern, colors)], "symmetric"


def _part(pattern: Any, places: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Any:
    """A block of the pattern that holds where its entries are."""
    numbered = pattern.astype(np.int64)
    numbered.data = places
    return numbered[slice(*rows), slice(*columns)]


# Both ---------------------------------------------------------------------------------------


def _compressed(
    images: Sequence[Expr], leaves: Sequence[Expr], colors: Iterable[Array], count: int
) -> Expr | None:
    """The images of all directions, flat: (direction, element of all images)."""
    if not count:
        return None
    seeds = {leaf: _seeds(leaf, own, count) for leaf, own in zip(leaves, colors, strict=True)}
    widest = max((x.dtype for x in images), key=lambda d: d.itemsize)
    rows = []
    for image, found in zip(images, batched(images, seeds, count), strict=True):
        if found is None:  # this block of the matrix is empty
            found = broadcast_to(scalar_like(0, image), (count, *image.shape))
        rows.append(cast(reshape(found, (count, image.size)), widest))
    table = rows[0] if len(rows) == 1 else concatenate(rows, 1)
    return reshape(table, (table.size,))


def _seeds(leaf: Expr, colors: Array, count: int) -> Expr:
    """For each direction the sum of the unit vectors of its colour."""
    dtype = uint8 if count <= 256 else int32
    numbers = constant(colors.reshape(1, -1), dtype)
    chosen = equal(iota((count, len(colors)), 0, dtype), numbers)
    return reshape(cast(chosen, leaf.dtype), (count, *leaf.shape))


def _read(
    table: Expr | None, places: Sequence[Array], dtype: DType, stem: Expr, text: str
) -> Expr:
    """The entries at their places, the mean if there are several ones."""
    with stemming(f"d {text}", stem):
        if table is None or not places[0].size:
            return constant(np.zeros(0), dtype)
        found = [_taken(table, p) for p in places]
        values = found[0] if len(found) == 1 else 0.5 * (found[0] + found[1])
        made = cast(values, dtype)
        return Expr(made.op, made.args, made.attrs, made.type)


def _taken(table: Expr, places: Array) -> Expr:
    size = math.prod(shape_of(table))
    if np.array_equal(places, np.arange(size)):
        return table
    dtype = int32 if size < 2**31 else int64
    return take_along_axis(table, constant(places, dtype), 0, wrap=False)


def order_of(sparse: bool | Order) -> Order:
    """The order of colouring that the argument ``sparse`` names."""
    return LARGEST_FIRST if sparse is True else str(sparse)
