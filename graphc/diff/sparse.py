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
    by_products,
    by_star,
    column_colors,
    mirror,
    star_colors,
)
from graphc.diff.forward import pushed, seeds_of
from graphc.diff.known import Array, shape_of
from graphc.diff.reverse import pulled
from graphc.diff.sparsity import check_sizes, dependence, directional, scipy_sparse
from graphc.expr import Expr, constant, scalar_like, topological
from graphc.ops.elementwise import cast, equal
from graphc.ops.indexing import take_along_axis
from graphc.ops.leaves import iota, tensor
from graphc.ops.movement import broadcast_to, concatenate, reshape
from graphc.origin import stemming
from graphc.types import DType, int32, int64, uint8

SparseMode: TypeAlias = Literal["forward", "reverse", "mixed", "symmetric"]


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
        ``"forward"``: directions of the target, ``"reverse"``: of the output, ``"mixed"``: of
        both, ``"symmetric"``: of the target, each entry read from its own column or its mirror
        image's.
    colors
        For each column the number of its direction, -1 if it has none (``"reverse"``: for each
        row; ``"mixed"``: for each row, then for each column).
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
    def kind(self) -> str:
        """Its name and type: ``hessian f64[9, 9]``."""
        rows, columns = self.shape
        return f"{self.name} {self.dtype.short}[{rows}, {columns}]"

    @property
    def title(self) -> str:
        """Its type and what it takes, in a line."""
        directions = _directions(self.directions)
        return f"{self.kind}: {directions} ({self.mode}) for {self.nnz} entries"

    def __repr__(self) -> str:
        return f"<sparse {self.title}>"


def _directions(count: int) -> str:
    return f"{count} direction{'s' * (count != 1)}"


# Jacobian -----------------------------------------------------------------------------------


def sparse_jacobian(
    y: Expr, x: Expr, mode: Literal["auto", "forward", "reverse"], order: Order
) -> SparseMatrix:
    """The Jacobian by few directions: of the target, of the output, or of both."""
    found = jacobian_by(y, x, mode, order)
    assert found is not None
    return found


def jacobian_by(
    y: Expr,
    x: Expr,
    mode: Literal["auto", "forward", "reverse"],
    order: Order,
    most: int | None = None,
) -> SparseMatrix | None:
    """The same; None if it takes more than ``most`` directions."""
    images, leaves = directional(y, x)
    pattern = dependence(images, leaves)[0]
    if most is not None and pattern.nnz > most * max(pattern.shape):
        return None
    columns, rows = _direction_colors(pattern, mode, order)
    forward, reverse = _count(columns), _count(rows)
    if most is not None and forward + reverse > most:
        return None
    tables = []
    with stemming("d jacobian", y):
        if forward:
            tables.append(_compressed(images, leaves, [columns], forward))
        if reverse:
            leaf = tensor("cotangent", y.shape, y.dtype)
            tables.append(_compressed(pulled([y], [x], [leaf]), [leaf], [rows], reverse))
    chosen: SparseMode = "mixed" if forward and reverse else "reverse" if reverse else "forward"
    if chosen == "mixed":
        colors = np.concatenate([rows, columns])
    else:
        colors = rows if reverse else columns
    places, count = by_products(pattern, columns, rows), forward + reverse
    text = f"jacobian by {chosen}, {_directions(count)}"
    values = _read(tables, [places], x.dtype, y, text)
    return SparseMatrix("jacobian", pattern, values, chosen, colors, count)


def _count(colors: Array) -> int:
    return int(colors.max(initial=-1)) + 1


def _direction_colors(
    pattern: Any, mode: Literal["auto", "forward", "reverse"], order: Order
) -> tuple[Array, Array]:
    """Colours of the columns and of the rows; -1 where one takes no part.

    No mode needs fewer than its longest row has entries, so that often one colouring decides.
    Both modes together need two graphs: they have to halve the number of directions.
    """
    flipped = pattern.T.tocsr()
    if mode == "forward":
        return _one_side(pattern, order)
    if mode == "reverse":
        return _one_side(flipped, order)[::-1]
    least = min(_longest_row(pattern), _longest_row(flipped))
    for side in (pattern, flipped):
        if 2 * _least_of_both(side) < least:
            found = _both_sides(side, order)
            if 2 * sum(map(_count, found)) < least:
                return found if side is pattern else found[::-1]
    return _fewer(pattern, flipped, order)


def _fewer(pattern: Any, flipped: Any, order: Order) -> tuple[Array, Array]:
    """Forward or reverse mode, whichever has fewer colours."""
    sides = sorted((pattern, flipped), key=_longest_row)
    found = _one_side(sides[0], order)
    if _longest_row(sides[1]) < _count(found[0]):
        other = _one_side(sides[1], order)
        if _count(other[0]) < _count(found[0]):
            return other if sides[1] is pattern else other[::-1]
    return found if sides[0] is pattern else found[::-1]


def _one_side(pattern: Any, order: Order) -> tuple[Array, Array]:
    """Colours of the columns that have entries."""
    colors = column_colors(pattern, order)
    filled = np.bincount(pattern.indices, minlength=pattern.shape[1]) > 0
    return np.where(filled, colors, -1), np.full(pattern.shape[0], -1)


def _longest_row(pattern: Any) -> int:
    return int(np.diff(pattern.indptr).max(initial=0))


def _by_length(pattern: Any) -> tuple[Array, Array]:
    """Rows, longest first; how many directions it takes if the first 0, 1, ... are apart."""
    lengths = np.diff(pattern.indptr)
    longest = np.argsort(-lengths, kind="stable")
    return longest, np.append(lengths[longest], 0) + np.arange(len(lengths) + 1)


def _least_of_both(pattern: Any) -> int:
    return int(_by_length(pattern)[1].min())


def _both_sides(pattern: Any, order: Order) -> tuple[Array, Array]:
    """Colours of some long rows, and of the columns by what the other rows have in them."""
    longest, directions = _by_length(pattern)
    apart = np.zeros(pattern.shape[0], bool)
    apart[longest[: directions.argmin()]] = True
    columns, _ = _one_side(_rows_of(pattern, ~apart), order)
    rows, _ = _one_side(_rows_of(pattern, apart).T.tocsr(), order)
    return columns, rows


def _rows_of(pattern: Any, kept: Array) -> Any:
    """The pattern with the other rows empty."""
    lengths = np.diff(pattern.indptr)
    indptr = np.append(0, np.cumsum(np.where(kept, lengths, 0)))
    indices = pattern.indices[np.repeat(kept, lengths)]
    ones = np.ones(len(indices), bool)
    return scipy_sparse().csr_array((ones, indices, indptr), shape=pattern.shape)


# Hessian ------------------------------------------------------------------------------------


def sparse_hessian(
    f: Expr, targets: Sequence[Expr], slopes: Sequence[Expr], order: Order
) -> list[list[SparseMatrix]]:
    """Blocks of the Hessian, given the gradient; one colouring for all targets together."""
    found = hessian_by(f, targets, slopes, order)
    assert found is not None
    return found


def hessian_by(
    f: Expr,
    targets: Sequence[Expr],
    slopes: Sequence[Expr],
    order: Order,
    most: int | None = None,
) -> list[list[SparseMatrix]] | None:
    """The same; None if it takes more than ``most`` directions.

    A direction tells as many entries as there are variables, and with their mirror images twice
    as many: most of what is not sparse need not be coloured.
    """
    for x in targets:
        check_sizes("target", x)
    leaves = [tensor("tangent", x.shape, x.dtype) for x in targets]
    images = pushed(slopes, seeds_of(targets, leaves))
    whole = scipy_sparse().vstack(dependence(images, leaves), format="csr")
    pattern = (whole + whole.T).tocsr()
    pattern.sort_indices()
    if most is not None and pattern.nnz > 2 * most * pattern.shape[0]:
        return None
    colors, places, mode = _hessian_colors(f, pattern, order)
    count = _count(colors)
    if most is not None and count > most:
        return None
    ends = np.cumsum([math.prod(shape_of(x)) for x in targets])
    split = np.split(colors, ends[:-1])
    with stemming("d hessian", f):
        tables = [_compressed(images, leaves, split, count)] if count else []
    bounds = list(zip([0, *ends[:-1]], ends, strict=True))

    def block(a: int, b: int) -> SparseMatrix:
        parts = [_part(pattern, p, bounds[a], bounds[b]) for p in places]
        text = f"hessian by {mode}, {_directions(count)}"
        values = _read(tables, [p.data for p in parts], targets[max(a, b)].dtype, f, text)
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
        colors, none = _one_side(pattern, order)
        places = by_products(pattern, colors, none)
        return colors, [places, places[mirror(pattern)]], "forward"
    colors = star_colors(pattern, order) if pattern.nnz else np.full(pattern.shape[0], -1)
    return colors, [by_star(pattern, colors)], "symmetric"


def _part(pattern: Any, places: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Any:
    """A block of the pattern that holds where its entries are."""
    numbered = pattern.astype(np.int64)
    numbered.data = places
    return numbered[slice(*rows), slice(*columns)]


# Both ---------------------------------------------------------------------------------------


def _compressed(
    images: Sequence[Expr], leaves: Sequence[Expr], colors: Iterable[Array], count: int
) -> Expr:
    """The images of all directions, flat: (direction, element of all images)."""
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
    dtype = uint8 if count < 256 else int32
    numbers = constant(np.where(colors < 0, count, colors).reshape(1, -1), dtype)
    chosen = equal(iota((count, len(colors)), 0, dtype), numbers)
    return reshape(cast(chosen, leaf.dtype), (count, *leaf.shape))


def _read(
    tables: Sequence[Expr], places: Sequence[Array], dtype: DType, stem: Expr, text: str
) -> Expr:
    """The entries at their places in the tables, the mean if there are several places."""
    with stemming(f"d {text}", stem):
        if not places[0].size:
            return constant(np.zeros(0), dtype)
        table = tables[0]
        if len(tables) > 1:
            table = concatenate([cast(t, dtype) for t in tables], 0)
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
