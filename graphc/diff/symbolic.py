"""Textbook differentiation: the rules of calculus applied to the structure of an expression.

Nothing is shared: a subexpression is written out wherever a rule mentions it, as on paper.
So the result grows faster than the function ("expression swell"), exponentially in the worst
case. It is here to be compared with the reverse sweep (`graphc.diff.reverse`), which gives the
same values from a graph of proportional size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from graphc.diff.checks import Unused, check_output, check_targets
from graphc.diff.paths import count_text
from graphc.diff.reverse import scale, spread
from graphc.errors import DifferentiationError, UnsupportedOpError
from graphc.expr import Expr, copied, describe, scalar_like, topological
from graphc.ops import elementwise as ew
from graphc.ops.table import Partial
from graphc.origin import note_parts, stemming, uncollected

#: Larger derivatives are not written out unless asked for.
LIMIT = 100_000


def diff(expr: Expr, x: Expr, *, unused: Unused = "error", limit: int = LIMIT) -> Expr:
    """Derivative by the textbook: sum, product, quotient and chain rule, nothing shared.

    Parameters
    ----------
    expr
        A float, made of ``x`` by elementwise operations. For tensors the derivative is taken
        elementwise and has the shape of ``expr``.
    x
        The node to differentiate with respect to.
    unused
        ``"error"``: an ``x`` that does not matter raises; ``"zero"``: the derivative is 0.
    limit
        Largest size of the result, in nodes of the written-out expression.

    Raises
    ------
    DifferentiationError
        If the result would be larger (the message says how large), or ``expr`` does not depend
        on ``x``, or one of them is no float.
    UnsupportedOpError
        If ``expr`` depends on ``x`` through an operation that is not elementwise.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.scalar("x")
    >>> print(gr.formula(gr.diff(gr.sin(x) * gr.exp(x), x)))
    cos(x) * exp(x) + sin(x) * exp(x)
    >>> print(gr.formula(gr.diff(x / (1 + x), x)))
    (1 + x - x) / (1 + x)**2
    """
    derivative = shared_derivative(expr, x, unused)
    size = tree_size(derivative)
    if size > limit:
        raise DifferentiationError(
            f"diff: the derivative would have {count_text(size)} nodes, the limit is {limit}",
            where=describe([("expression", expr), ("variable", x)]),
            hint="gr.grad shares what is equal, gr.swell compares the sizes; or pass limit=",
        )
    return written_out(derivative)


def shared_derivative(expr: Expr, x: Expr, unused: Unused = "error") -> Expr:
    """The derivative before it is written out: each node's derivative is one node.

    Its tree is the textbook's result, so the size of that is known without making it.
    """
    check_output("diff", expr)
    check_targets("diff", [expr], [x], unused)
    derivatives: dict[Expr, Partial] = {x: 1}
    with uncollected():
        for node in topological([expr]):
            known = [derivatives.get(a) for a in node.args]
            if node is x or not node.dtype.is_float or all(d is None for d in known):
                continue
            with stemming(f"d {node.op.name}", node):
                found = _derivative(node, known)
            if found is not None:
                derivatives[node] = found
    return spread(_lifted(derivatives.get(expr, 0), expr), expr)


# Rules --------------------------------------------------------------------------------------

Known: TypeAlias = "Sequence[Partial | None]"


def _derivative(node: Expr, known: Known) -> Partial | None:
    """Derivative of a node from those of its operands (None: does not depend on x)."""
    rule = RULES.get(node.op.name)
    if rule is not None:
        return rule(node, known)
    if node.op.family not in ("elementwise", "derivative"):
        raise UnsupportedOpError(
            f"diff: {node.op.name} is not elementwise",
            where=describe([("node", node)]),
            hint="use gr.grad, gr.jvp or gr.jacobian",
        )
    if node.op.partials is None:
        assert node.op.jvp is not None
        pairs = zip(known, node.args, strict=True)
        full = [None if d is None else spread(_lifted(d, a), a) for d, a in pairs]
        return node.op.jvp(full, node, *node.args)
    return _chain(node, known)


def _chain(node: Expr, known: Known) -> Partial | None:
    """``d f(u, v) = f_u du + f_v dv``"""
    assert node.op.partials is not None
    partials = node.op.partials(node, *node.args)
    pairs = zip(partials, known, strict=True)
    return _sum([None if p is None or d is None else _times(p, d) for p, d in pairs], node)


def _product(node: Expr, known: Known) -> Partial | None:
    """``d (u v) = du v + u dv``"""
    (u, v), (du, dv) = node.args, known
    left = None if du is None else _times(du, v)
    return _sum([left, None if dv is None else _times(u, dv)], node)


def _quotient(node: Expr, known: Known) -> Partial | None:
    """``d (u / v) = (du v - u dv) / v^2``, and ``du / v`` where ``v`` is a constant."""
    (u, v), (du, dv) = node.args, known
    if dv is None:
        assert du is not None
        return _sum([_lifted(du, u) / v, None], node)
    below = _lifted(_times(u, dv), node)
    if du is None:
        return _sum([None, ew.neg(below) / ew.square(v)], node)
    above = _lifted(_times(du, v), node)
    note_parts([above, below])
    return (above - below) / ew.square(v)


RULES: dict[str, Callable[[Expr, Known], Partial | None]] = {"mul": _product, "div": _quotient}


def _times(a: Partial, b: Partial) -> Partial:
    """A product, without factors 1."""
    if isinstance(a, int):
        return b if a == 1 else -b
    return scale(a, b)


def _sum(parts: Known, node: Expr) -> Partial | None:
    """The sum of what each operand gives."""
    note_parts([part if isinstance(part, Expr) else None for part in parts])
    return _total([part for part in parts if part is not None], node)


def _total(terms: Sequence[Partial], like: Expr) -> Partial | None:
    if len(terms) < 2:
        return terms[0] if terms else None
    total = _lifted(terms[0], like)
    for term in terms[1:]:
        total = total - 1 if term == -1 else total + _lifted(term, like)
    return total


def _lifted(d: Partial, like: Expr) -> Expr:
    return scalar_like(d, like) if isinstance(d, int) else d


# Trees --------------------------------------------------------------------------------------


def tree_size(root: Expr) -> int:
    """Nodes of the expression when written out, each use of a node counted; exact."""
    sizes: dict[Expr, int] = {}
    for node in topological([root]):
        sizes[node] = 1 + sum(sizes[a] for a in node.args)
    return sizes[root]


def written_out(root: Expr) -> Expr:
    """The same expression as a tree: a copy of each node for each use, leaves excepted."""
    pending: list[tuple[Expr, bool]] = [(root, False)]
    done: list[Expr] = []
    with uncollected():
        while pending:
            node, operands_done = pending.pop()
            if not node.args:
                done.append(node)
            elif operands_done:
                place = len(done) - len(node.args)
                done[place:] = [copied(node, tuple(done[place:]))]
            else:
                pending.append((node, True))
                pending.extend((a, False) for a in reversed(node.args))
    return done[0]


__all__ = ["diff"]
