"""Dense derivatives of sparse functions: by few directions, their entries put among zeros."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec

from graphc.diff.colouring import LARGEST_FIRST, entries
from graphc.diff.known import shape_of, symbolic
from graphc.diff.placing import spread_out
from graphc.diff.sparse import SparseMatrix, hessian_by, jacobian_by
from graphc.errors import UnsupportedOpError
from graphc.expr import Expr, topological

#: One direction has to do for so many ...
GAIN = 8
#: ... and more than so many are not looked for.
MOST_DIRECTIONS = 32
#: The pattern is looked for if no node can have more dependences: less than 0.1 s each.
MOST_DEPENDENCES = 4_000_000


def _limit(outputs: Sequence[Expr], rows: int, columns: int) -> int:
    """The most directions that pay for a matrix; 0 if its pattern is not looked for."""
    most = min(min(rows, columns) // GAIN, MOST_DIRECTIONS)
    if most < 2 or find_spec("scipy") is None:
        return 0
    order = topological(outputs)
    if any(symbolic(node) is not None for node in order):
        return 0
    largest = max(math.prod(shape_of(node)) for node in order)
    return most if largest * columns <= MOST_DEPENDENCES else 0


def jacobian_by_pattern(y: Expr, x: Expr) -> tuple[Expr, str] | None:
    """The Jacobian and how it was made; None if a pattern does not help."""
    rows, columns = _size(y), _size(x)
    most = _limit([y, x], rows, columns)
    try:
        found = jacobian_by(y, x, "auto", LARGEST_FIRST, most) if most else None
    except UnsupportedOpError:
        return None
    if found is None:
        return None
    text = f"{found.mode}, {found.directions} directions of {min(rows, columns)}"
    return _spread(found, y, x), f"jacobian by pattern, {text}"


def hessian_by_pattern(
    f: Expr, targets: Sequence[Expr], slopes: Sequence[Expr]
) -> tuple[list[list[Expr]], str] | None:
    """Blocks of the Hessian and how they were made; None if a pattern does not help."""
    count = sum(map(_size, targets))
    most = _limit([*slopes, *targets], count, count)
    try:
        found = hessian_by(f, targets, slopes, LARGEST_FIRST, most) if most else None
    except UnsupportedOpError:
        return None
    if found is None:
        return None
    made = [
        [_spread(block, a, b) for block, b in zip(row, targets, strict=True)]
        for row, a in zip(found, targets, strict=True)
    ]
    return made, f"hessian by pattern, {found[0][0].directions} directions of {count}"


def _size(x: Expr) -> int:
    return 0 if symbolic(x) is not None else math.prod(shape_of(x))


def _spread(matrix: SparseMatrix, y: Expr, x: Expr) -> Expr:
    rows, columns = entries(matrix.pattern)
    places = rows * matrix.shape[1] + columns
    return spread_out(matrix.values, places, (*y.shape, *x.shape))
