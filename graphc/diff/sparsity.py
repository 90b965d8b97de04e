"""Structural sparsity: on which elements of its leaves each element of a graph depends.

The sets are read off the graph of a directional derivative, which is linear in its direction.
There the nonlinear operations occur as factors only, so that no more than unions, placement
and factors that are always zero have to be followed. Sets are exact, but where an index or
a condition is known only when the function runs: there all that may be chosen counts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

import numpy as np

from graphc.diff.checks import Unused, check_output, check_targets
from graphc.diff.forward import pushed
from graphc.diff.known import Array, Known, shape_of, symbolic
from graphc.errors import DifferentiationError, UnsupportedOpError
from graphc.expr import Expr, describe, topological
from graphc.ops.contraction import parse
from graphc.ops.leaves import tensor

#: Most entries of one node's sets; beyond it (400 MB) nothing is gained by sparsity.
ENTRIES = 100_000_000


@dataclass(frozen=True, eq=False)
class Sets:
    """For each element of a tensor the set of columns it depends on.

    Attributes
    ----------
    which
        Of the tensor's shape: the number of a set. 0 is the empty set.
    table
        A ``scipy.sparse`` CSR array of bools; each row is a set. Moving elements moves their
        numbers only, so that equal sets are stored once.
    """

    which: Array
    table: Any

    @property
    def sizes(self) -> Array:
        """Number of elements of each set of the table."""
        return np.diff(self.table.indptr)


#: ``rule(node, operands, known)``: the sets of a node; an operand is None if it depends on
#: nothing.
SetRule: TypeAlias = "Callable[[Expr, list[Sets | None], Known], Sets | None]"


def scipy_sparse() -> Any:
    """The module `scipy.sparse`."""
    try:
        import scipy.sparse
    except ImportError as error:
        raise UnsupportedOpError(
            "sparse derivatives need SciPy", hint="pip install graphc[sparse]"
        ) from error
    return scipy.sparse


def dependence(outputs: Sequence[Expr], leaves: Sequence[Expr]) -> list[Any]:
    """For each output a boolean CSR array: the elements of the leaves that its elements see.

    A row for each element of the output, a column for each element of the leaves, one leaf
    after the other, both in row-major order.

    Raises
    ------
    DifferentiationError
        If a size on the way is not a number, or the result is not sparse.
    UnsupportedOpError
        If SciPy is missing, or an operation has no rule.
    """
    sparse, known = scipy_sparse(), Known()
    found = _seeds(leaves)
    order = topological(outputs)
    left = Counter(a for node in order for a in node.args)
    left.update(outputs)
    for node in order:
        operands = [found.get(a) for a in node.args]
        if any(s is not None for s in operands):
            made = _rule(node)(node, operands, known) if node.dtype.is_float else None
            if made is not None:
                found[node] = made
        elif node not in found:
            known.visit(node)
        for a in node.args:  # what no later node asks for is dropped
            left[a] -= 1
            if not left[a]:
                found.pop(a, None)
    columns = sum(_number(leaf) for leaf in leaves)
    return [_rows(sparse, found.get(o), o, columns) for o in outputs]


def _seeds(leaves: Sequence[Expr]) -> dict[Expr, Sets]:
    """Each element of the leaves is a column of its own."""
    total = sum(_number(leaf) for leaf in leaves)
    columns = np.arange(total, dtype=np.int32)
    table = _table(columns, np.concatenate([[0, 0], columns + 1]), total)
    seeds, start = {}, 1
    for leaf in leaves:
        which = np.arange(start, start + _number(leaf)).reshape(shape_of(leaf))
        seeds[leaf] = Sets(which, table)
        start += _number(leaf)
    return seeds


def check_sizes(role: str, node: Expr) -> None:
    """Refuse a node of which a size is not a number."""
    size = symbolic(node)
    if size is not None:
        raise DifferentiationError(
            f"sparse derivative: the size {size} is not a number",
            where=describe([(role, node)]),
            hint="give the sizes of the leaves as numbers, or leave out sparse=True",
        )


def _number(x: Expr) -> int:
    check_sizes("node", x)
    return math.prod(shape_of(x))


def _rule(node: Expr) -> SetRule:
    check_sizes("node", node)
    rule = RULES.get(node.op.name) or RULES.get(node.op.family)
    if rule is None:
        raise UnsupportedOpError(
            f"sparse derivative: no rule for {node.op.name}", where=describe([("node", node)])
        )
    return rule


def _rows(sparse: Any, sets: Sets | None, output: Expr, columns: int) -> Any:
    """The set of each element of an output as a row."""
    if sets is None:
        return sparse.csr_array((_number(output), columns), dtype=bool)
    which = sets.which.reshape(-1)
    _limit(output, int(sets.sizes[which].sum()))
    found = sets.table[which]
    found.sort_indices()
    return found


# Tables -------------------------------------------------------------------------------------


def _table(indices: Array, indptr: Array, columns: int) -> Any:
    """Rows of a boolean CSR array; none of their elements may be there twice."""
    shape = len(indptr) - 1, columns
    return scipy_sparse().csr_array(
        (np.ones(len(indices), bool), indices, indptr.astype(np.int32)), shape=shape
    )


def _limit(node: Expr, entries: int) -> None:
    if entries > ENTRIES:
        raise DifferentiationError(
            f"sparse derivative: more than {ENTRIES:,} dependences, this is not sparse",
            where=describe([("node", node)]),
            hint="leave out sparse=True, or use products: gr.jvp, gr.vjp, gr.hvp",
        )


def _masked(sets: Sets | None, support: Array | None) -> Sets | None:
    """Empty sets where a factor is always zero."""
    if sets is None or support is None:
        return sets
    return Sets(np.where(support, sets.which, 0), sets.table)


def _union(node: Expr, operands: Sequence[Sets | None]) -> Sets | None:
    """The sets of all operands, broadcast."""
    given = [s for s in operands if s is not None]
    if not given:
        return None
    both = reduce(lambda a, b: _united(node, a, b), given)
    return Sets(np.broadcast_to(both.which, shape_of(node)), both.table)


def _united(node: Expr, a: Sets, b: Sets) -> Sets:
    """Union of each pair of sets that meet; equal pairs share one."""
    count = b.table.shape[0]
    pairs = np.asarray(a.which * np.int64(count) + b.which)
    distinct, which = np.unique(np.append(pairs, 0), return_inverse=True)  # 0: both empty
    left, right = distinct // count, distinct % count
    _limit(node, int(a.sizes[left].sum() + b.sizes[right].sum()))
    table = a.table[left] + b.table[right]
    return Sets(which[:-1].reshape(pairs.shape), table)


def _grouped(
    node: Expr, sets: Sets, groups: Array, members: Array, shape: Sequence[int]
) -> Sets:
    """Element ``groups[k]`` of a tensor of that shape gets the set number ``members[k]``."""
    _limit(node, len(groups))
    count = math.prod(shape)
    size = count + 1, sets.table.shape[0]
    choice = scipy_sparse().csr_array(
        (np.ones(len(groups), bool), (groups + 1, members)), shape=size
    )
    _limit(node, int(sets.sizes[choice.indices].sum()))
    table = choice @ sets.table
    table.sort_indices()
    return Sets(np.arange(1, count + 1).reshape(shape), table)


def _reduced(node: Expr, sets: Sets, axes: Sequence[int]) -> Sets:
    """Unions along axes, which become axes of size 1."""
    which = sets.which
    shape = [1 if a in axes else s for a, s in enumerate(which.shape)]
    targets = np.arange(math.prod(shape)).reshape(shape)
    groups = np.broadcast_to(targets, which.shape)
    return _grouped(node, sets, groups.reshape(-1), which.reshape(-1), shape)


# Rules --------------------------------------------------------------------------------------

#: Factors: an operand counts only where the other one may differ from zero.
_FACTORS = {"mul": (1, 0), "fma": (1, 0)}


def _elementwise(node: Expr, operands: list[Sets | None], known: Known) -> Sets | None:
    partners = dict(enumerate(_FACTORS.get(node.op.name, ())))
    return _union(
        node,
        [
            _masked(s, known.support.get(node.args[partners[i]])) if i in partners else s
            for i, s in enumerate(operands)
        ],
    )


def _where(node: Expr, operands: list[Sets | None], known: Known) -> Sets | None:
    condition = known.values.get(node.args[0])
    then, otherwise = operands[1:]
    if condition is None:
        return _union(node, [then, otherwise])
    return _union(node, [_masked(then, condition), _masked(otherwise, ~condition)])


def _moved(node: Expr, operands: list[Sets | None], known: Known) -> Sets | None:
    """Set numbers take the way of the elements."""
    (sets,) = operands
    assert sets is not None
    return Sets(node.op.evaluate(sets.which, **node.attrs), sets.table)


def _joined(node: Expr, operands: list[Sets | None], known: Known) -> Sets | None:
    """Concatenation and padding: operands beside each other, with one table."""
    numbers, tables, start = [], {}, 1
    for sets, x in zip(operands, node.args, strict=True):
        if sets is None:
            numbers.append(np.zeros(shape_of(x), np.int64))
            continue
        if id(sets.table) not in tables:
            tables[id(sets.table)] = sets.table, start
            start += sets.table.shape[0] - 1
        numbers.append(np.where(sets.which > 0, sets.which + tables[id(sets.table)][1] - 1, 0))
    which = node.op.evaluate(*numbers, **node.attrs)
    (first, _), *rest = tables.values()
    stacked = [first, *(table[1:] for table, _ in rest)]
    table = scipy_sparse().vstack(stacked, format="csr") if rest else first
    return Sets(which, table)


def _reduction(node: Expr, operands: list[Sets | None], known: Known) -> Sets | None:
    (sets,) = operands
    assert sets is not None
    found = _reduced(node, sets, node.attrs["axes"])
    if node.op.name == "softmax":
        return Sets(np.broadcast_to(found.which, shape_of(node)), found.table)
    return Sets(found.which.reshape(shape_of(node)), found.table)


def _scan(node: Expr, operands: list[Sets | None], known: Known) -> Sets | None:
    """Along the axis, element i sees those before it: a triangle of unions."""
    (sets,) = operands
    assert sets is not None
    axis, exclusive = node.attrs["axis"], node.attrs["exclusive"]
    lines = np.moveaxis(sets.which, axis, -1)
    count = lines.shape[-1]
    _limit(node, lines.size * count // 2)
    triangle = np.tri(count, count, -1 if exclusive else 0, dtype=bool)
    i, k = np.nonzero(triangle.T if node.attrs["reverse"] else triangle)
    targets = np.moveaxis(np.arange(lines.size).reshape(shape_of(node)), axis, -1)
    groups, members = targets[..., i], lines[..., k]
    return _grouped(node, sets, groups.reshape(-1), members.reshape(-1), shape_of(node))


def _contraction(node: Expr, operands: list[Sets | None], known: Known) -> Sets | None:
    found = [
        None if s is None else _through(node, i, s, known.support.get(node.args[1 - i]))
        for i, s in enumerate(operands)
    ]
    return _union(node, found)


def _through(node: Expr, place: int, sets: Sets, support: Array | None) -> Sets:
    """One operand through a contraction whose other operand is that factor."""
    *letters, out = parse(node.attrs["subscripts"])
    own, other = letters[place], letters[1 - place]
    if support is None:
        summed = [i for i, c in enumerate(own) if c not in out]
        kept = [c for c in own if c in out]
        found = _reduced(node, sets, summed) if summed else sets
        which = np.squeeze(found.which, tuple(summed))
        moved = np.transpose(which, [kept.index(c) for c in out if c in kept])
        spread = [i for i, c in enumerate(out) if c not in kept]
        return Sets(np.broadcast_to(np.expand_dims(moved, spread), shape_of(node)), found.table)
    sizes = dict(zip(own, sets.which.shape, strict=True))
    free = [c for c in own if c not in other]
    extent = [sizes[c] for c in free]
    grid = np.indices(extent).reshape(len(free), 1, math.prod(extent))
    at = dict(zip(other, (i[:, None] for i in np.nonzero(support)), strict=True))
    at |= dict(zip(free, grid, strict=True))
    members = sets.which[tuple(at[c] for c in own)]
    groups = np.ravel_multi_index(tuple(at[c] for c in out), shape_of(node)) if out else 0
    members, groups = np.broadcast_arrays(members, groups)
    return _grouped(node, sets, groups.reshape(-1), members.reshape(-1), shape_of(node))


def _gather(node: Expr, operands: list[Sets | None], known: Known) -> Sets | None:
    (sets, _), axis = operands, node.attrs["axis"]
    assert sets is not None
    index = _positions(node, known, sets.which.shape[axis])
    if index is not None:
        return Sets(np.take_along_axis(sets.which, index, axis), sets.table)
    found = _reduced(node, sets, [axis])
    return Sets(np.broadcast_to(found.which, shape_of(node)), found.table)


def _scatter(node: Expr, operands: list[Sets | None], known: Known) -> Sets | None:
    (sets, _), axis = operands, node.attrs["axis"]
    assert sets is not None
    index = _positions(node, known, shape_of(node)[axis])
    if index is None:
        found = _reduced(node, sets, [axis])
        return Sets(np.broadcast_to(found.which, shape_of(node)), found.table)
    place: list[Any] = list(np.indices(index.shape, sparse=True))
    place[axis] = index
    groups = np.broadcast_to(np.ravel_multi_index(tuple(place), shape_of(node)), index.shape)
    return _grouped(node, sets, groups.reshape(-1), sets.which.reshape(-1), shape_of(node))


def _positions(node: Expr, known: Known, size: int) -> Array | None:
    """An index as positions from the start, None if it is not known or out of range."""
    index = known.values.get(node.args[1])
    if index is None:
        return None
    places = np.where(index < 0, index.astype(np.int64) + size, index)
    return places if ((places >= 0) & (places < size)).all() else None


def _value(node: Expr, operands: list[Sets | None], known: Known) -> Sets | None:
    """The first operand, whatever derivative it is declared to have."""
    return operands[0]


#: By name of the operation, else by its family.
RULES: dict[str, SetRule] = {
    "elementwise": _elementwise,
    "where": _where,
    "reduction": _reduction,
    "cumsum": _scan,
    "cumprod": _scan,
    "contract": _contraction,
    "reshape": _moved,
    "transpose": _moved,
    "copy": _moved,
    "slice": _moved,
    "broadcast_to": _moved,
    "pad": _joined,
    "concatenate": _joined,
    "gather": _gather,
    "scatter_add": _scatter,
    "stop_gradient": _value,
    "custom_gradient": _value,
}


# The public function ------------------------------------------------------------------------


def sparsity(output: Expr, target: Expr, *, unused: Unused = "error") -> Any:
    """Which entries of the Jacobian may differ from zero, whatever the inputs are.

    Parameters
    ----------
    output
        A float of any shape, all sizes numbers.
    target
        A node to differentiate with respect to.
    unused
        As in `grad`.

    Returns
    -------
    scipy.sparse.csr_array
        Of bools, shape ``(output.size, target.size)``, elements in row-major order. Exact up
        to what only values decide: with an index or condition that is not constant, all that
        may be chosen counts. For a scalar ``f``, the pattern of the Hessian is
        ``gr.sparsity(gr.grad(f, x), x, unused="zero")``.

    Raises
    ------
    DifferentiationError
        As `grad`, or if a size is not a number, or there are more than 10^8 dependences.
    UnsupportedOpError
        If SciPy is not installed.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.vector("x", 4)
    >>> print(gr.sparsity(x[1:] * x[:-1], x).astype(int).todense())
    [[1 1 0 0]
     [0 1 1 0]
     [0 0 1 1]]
    """
    check_output("sparsity", output)
    check_targets("sparsity", [output], [target], unused)
    return dependence(*directional(output, target))[0]


def directional(output: Expr, target: Expr) -> tuple[list[Expr], list[Expr]]:
    """The derivative along a direction, and the leaf that stands for the direction."""
    check_sizes("target", target)
    leaf = tensor("tangent", target.shape, target.dtype)
    return pushed([output], {target: leaf}), [leaf]
