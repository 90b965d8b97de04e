"""Jacobians, Hessians, and Hessian-vector products: the two modes, mapped and composed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from graphc.diff.batching import basis, batched
from graphc.diff.checks import (
    Unused,
    as_list,
    check_output,
    check_scalar,
    check_targets,
    directions,
    in_form,
)
from graphc.diff.dense import hessian_by_pattern, jacobian_by_pattern
from graphc.diff.elements import blocks_of, picked, second_derivatives
from graphc.diff.forward import pushed, seeds_of
from graphc.diff.reverse import grad, pulled
from graphc.diff.sparse import order_of, sparse_hessian, sparse_jacobian
from graphc.diff.work import flops, typical
from graphc.errors import DifferentiationError
from graphc.expr import Expr, scalar_like
from graphc.ops.elementwise import cast
from graphc.ops.leaves import tensor
from graphc.ops.movement import broadcast_to, moveaxis, reshape, transpose
from graphc.origin import stemming
from graphc.types import Size

Mode = Literal["auto", "forward", "reverse"]


@dataclass(frozen=True)
class JacobianCost:
    """Operations of a function with its Jacobian, in either mode.

    Attributes
    ----------
    forward, reverse
        Operations of the whole graph, equal nodes once; polynomials in symbolic sizes.
    """

    forward: Size
    reverse: Size

    @property
    def mode(self) -> Literal["forward", "reverse"]:
        """The cheaper mode, forward if both are equal; a symbolic size counts 64."""
        return "forward" if typical(self.forward) <= typical(self.reverse) else "reverse"

    def __str__(self) -> str:
        return f"{self.mode} (operations: forward {self.forward}, reverse {self.reverse})"


def _by_forward(y: Expr, x: Expr) -> Expr:
    """Columns: tangents for each unit direction of x."""
    with stemming("d jacobian", y):
        leaf = tensor("tangent", x.shape, x.dtype)
        column = pushed([y], {x: leaf})[0]
        columns = batched([column], {leaf: basis(x.shape, x.dtype, x.size)}, x.size)[0]
        if columns is None:
            return _zeros(y, x)
        return cast(reshape(moveaxis(columns, 0, -1), (*y.shape, *x.shape)), x.dtype)


def _by_reverse(y: Expr, x: Expr) -> Expr:
    """Rows: cotangents for each unit direction of y."""
    with stemming("d jacobian", y):
        leaf = tensor("cotangent", y.shape, y.dtype)
        row = pulled([y], [x], [leaf])[0]
        rows = batched([row], {leaf: basis(y.shape, y.dtype, y.size)}, y.size)[0]
        if rows is None:
            return _zeros(y, x)
        return reshape(rows, (*y.shape, *x.shape))


def _zeros(y: Expr, x: Expr) -> Expr:
    return broadcast_to(scalar_like(0, x), (*y.shape, *x.shape))


def jacobian(
    output: Expr,
    targets: Expr | Sequence[Expr],
    *,
    mode: Mode = "auto",
    unused: Unused = "error",
    sparse: bool | str = False,
) -> Any:
    """Jacobian ``J[i..., j...] = d y[i...] / d x[j...]``, all its entries.

    Parameters
    ----------
    output
        A float of any shape.
    targets
        A node to differentiate with respect to, or several in a list or dict.
    mode
        ``"forward"``: one tangent for each entry of x; ``"reverse"``: one cotangent for each
        entry of y; both in one mapped graph. ``"auto"``: the one with fewer operations, counted
        on both graphs (see `jacobian_cost`); or if most entries are always zero, and SciPy is
        installed, the directions that a sparse Jacobian takes, and zeros elsewhere.
    unused
        As in `grad`.
    sparse
        True: only the entries that may differ from zero, for sizes that are numbers. They are
        read off as few directions as a colouring of the pattern (see `sparsity`) needs, and
        ``mode`` "auto" is the one with fewer, or both modes for parts of the matrix where that
        halves them. A str: the order of the colouring, a strategy of `networkx.greedy_color`.

    Returns
    -------
    Expr or list of Expr
        Of shape ``(*y.shape, *x.shape)`` and x's element type, for each target and in the form
        of the targets. Its
        ``origin.rule`` names the mode, and with ``"auto"`` both counts.
    SparseMatrix or list of SparseMatrix
        If ``sparse``: of shape ``(y.size, x.size)``. As an output of a compiled function it
        gives a ``scipy.sparse.csr_array``.

    Raises
    ------
    DifferentiationError
        If the output or a target is not a float, a target does not matter, or the mode is
        unknown; if it is to be sparse, as `sparsity`.
    UnsupportedOpError
        If it is to be sparse and SciPy is not installed.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.vector("x", 2, dtype="float64")
    >>> y = gr.stack([x[0] * x[1], gr.sin(x[0])])
    >>> gr.compile(x, gr.jacobian(y, x))([0.0, 3.0])
    array([[3., 0.],
           [1., 0.]])

    >>> x = gr.vector("x", 1000, dtype="float64")
    >>> gr.jacobian(x[1:] * x[:-1], x, sparse=True)
    <sparse jacobian f64[999, 1000]: 2 directions (forward) for 1998 entries>
    """
    _check("jacobian", output, targets, unused)
    if mode not in ("auto", "forward", "reverse"):
        raise DifferentiationError(
            f"jacobian: mode is auto, forward or reverse, not {mode!r}",
        )
    found: list[Any] = [
        sparse_jacobian(output, x, mode, order_of(sparse))
        if sparse
        else _jacobian(output, x, mode)
        for x in as_list(targets)
    ]
    return in_form(targets, found)


def _jacobian(y: Expr, x: Expr, mode: Mode) -> Expr:
    if mode != "auto":
        made = _by_forward(y, x) if mode == "forward" else _by_reverse(y, x)
        return _marked(made, y, f"jacobian by {mode}")
    by_pattern = jacobian_by_pattern(y, x)
    if by_pattern is not None:
        return _marked(by_pattern[0], y, by_pattern[1])
    forward, reverse = _by_forward(y, x), _by_reverse(y, x)
    cost = _cost(y, forward, reverse)
    return _marked(forward if cost.mode == "forward" else reverse, y, f"jacobian by {cost}")


def _cost(y: Expr, forward: Expr, reverse: Expr) -> JacobianCost:
    return JacobianCost(flops([y, forward]), flops([y, reverse]))


def _marked(made: Expr, y: Expr, text: str) -> Expr:
    """The same node, with how it was made as its origin."""
    with stemming(f"d {text}", y, made):
        return Expr(made.op, made.args, made.attrs, made.type)


def jacobian_cost(output: Expr, target: Expr, *, unused: Unused = "error") -> JacobianCost:
    """Operations that `jacobian` needs in either mode, and which one it takes.

    Parameters, errors: as `jacobian`, for one target.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.vector("x", 100)
    >>> cost = gr.jacobian_cost(gr.sum(x * x), x)
    >>> cost.mode, cost.forward > cost.reverse
    ('reverse', True)
    """
    _check("jacobian_cost", output, target, unused)
    return _cost(output, _by_forward(output, target), _by_reverse(output, target))


def _check(who: str, output: Expr, targets: Expr | Sequence[Expr], unused: Unused) -> None:
    check_output(who, output)
    check_targets(who, [output], as_list(targets), unused)


def hessian(
    output: Expr,
    targets: Expr | Sequence[Expr],
    *,
    unused: Unused = "error",
    sparse: bool | str = False,
) -> Any:
    """Second derivatives of a scalar, ``H[i..., j...] = d^2 f / d x[i...] d x[j...]``.

    Forward mode over the gradient. Symmetric to the last bit: the mean of the matrix and its
    transpose. Zeros where the gradient does not depend on a target. Of a function of single
    elements, ``x[0] * sin(x[1])``, entry by entry: what is always zero, and one of two that
    are equal by symmetry, is not computed. If most entries are always zero, and SciPy is
    installed, by the directions that a sparse Hessian takes.

    Parameters
    ----------
    output
        A float of rank 0.
    targets
        A node to differentiate with respect to, or several.
    unused
        As in `grad`.
    sparse
        As in `jacobian`. The symmetry lets a star colouring do with fewer directions; one of
        all targets together.

    Returns
    -------
    Expr or list of list of Expr
        Of shape ``(*x.shape, *x.shape)`` for one target; for several, blocks ``H[a][b]`` of
        shape ``(*x_a.shape, *x_b.shape)``, those below the diagonal transposes of those above.
    SparseMatrix or list of list of SparseMatrix
        If ``sparse``: of shape ``(x_a.size, x_b.size)``.

    Raises
    ------
    DifferentiationError
        As `grad`; if it is to be sparse, as `sparsity`.
    UnsupportedOpError
        If it is to be sparse and SciPy is not installed.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.vector("x", 2, dtype="float64")
    >>> gr.compile(x, gr.hessian(x[0] * x[0] * x[1], x))([1.0, 3.0])
    array([[6., 2.],
           [2., 0.]])
    """
    wanted = as_list(targets)
    check_scalar("grad", output)
    check_targets("grad", [output], wanted, unused)
    blocks: Any = None if sparse else _hessian_by_elements(output, wanted)
    if blocks is None:
        slopes = grad(output, wanted, unused=unused)
        if sparse and wanted:
            blocks = sparse_hessian(output, wanted, slopes, order_of(sparse))
        else:
            blocks = _hessian_by_vectors(output, wanted, slopes)
    return blocks[0][0] if isinstance(targets, Expr) else blocks


def _hessian_by_elements(output: Expr, wanted: Sequence[Expr]) -> list[list[Expr]] | None:
    elements = picked(output, wanted)
    entries = second_derivatives(output, elements) if elements else None
    if entries is None:
        return None
    text = f"hessian by elements, {len(entries)} entries and their mirror images"
    return [[_marked(b, output, text) for b in row] for row in blocks_of(entries, wanted)]


def _hessian_by_vectors(
    output: Expr, wanted: Sequence[Expr], slopes: Sequence[Expr]
) -> list[list[Expr]]:
    by_pattern = hessian_by_pattern(output, wanted, slopes)
    if by_pattern is not None:
        return [[_marked(b, output, by_pattern[1]) for b in row] for row in by_pattern[0]]
    blocks: list[list[Expr]] = []
    for i, (a, slope) in enumerate(zip(wanted, slopes, strict=True)):
        left = [_swapped(output, blocks[j][i], b) for j, b in enumerate(wanted[:i])]
        by = "hessian by forward over reverse"
        right = [_marked(_by_forward(slope, b), output, by) for b in wanted[i:]]
        right[0] = _symmetric(output, right[0], a)
        blocks.append([*left, *right])
    return blocks


def _symmetric(y: Expr, block: Expr, target: Expr) -> Expr:
    """The mean of a diagonal block and its transpose."""
    mirrored = _swapped(y, block, target)
    with stemming("d hessian, made symmetric", y, block):
        return 0.5 * (block + mirrored)


def _swapped(y: Expr, block: Expr, first: Expr) -> Expr:
    """A block with the axes of its first target last."""
    order = [*range(first.ndim, block.ndim), *range(first.ndim)]
    with stemming("d hessian, transposed", y, block):
        return transpose(block, order)


def hvp(
    output: Expr,
    targets: Expr | Sequence[Expr],
    vectors: Any,
    *,
    unused: Unused = "error",
) -> Any:
    """Hessian-vector product ``H v`` of a scalar, without the Hessian: forward over reverse.

    Costs a small constant times the function, whatever the number of variables.

    Parameters
    ----------
    output
        A float of rank 0.
    targets
        A node to differentiate with respect to, or several.
    vectors
        A direction of each target's type, in the form of the targets.
    unused
        As in `grad`.

    Returns
    -------
    Expr or list of Expr
        ``sum over b of H[a][b] v[b]`` for each target, in the form of the targets.

    Raises
    ------
    DifferentiationError
        As `grad`, or if there are more or fewer directions than targets.
    ShapeError, DTypeError
        If a direction has another type than its target.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.vector("x", 2, dtype="float64")
    >>> gr.compile(x, gr.hvp(x[0] * x[0] * x[1], x, [1.0, 1.0]))([1.0, 3.0])
    array([8., 2.])
    """
    wanted = as_list(targets)
    given = directions("hvp", "direction", wanted, vectors, isinstance(targets, Expr))
    slopes = grad(output, wanted, unused=unused)
    found = pushed(slopes, seeds_of(wanted, given))
    return found[0] if isinstance(targets, Expr) else found
