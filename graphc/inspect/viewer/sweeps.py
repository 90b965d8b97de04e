"""The reverse sweep as rows of the page's table."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.expr import Expr
from graphc.inspect.tables.sweep import Step, named_sweep, number_text
from graphc.inspect.text.notation import inline
from graphc.inspect.viewer.document import Row, SweepView, Term
from graphc.inspect.viewer.nodes import NodeTable
from graphc.inspect.viewer.values import Samplings, summary


def sweep_view(
    place: int,
    o: Expr,
    names: Mapping[Expr, str],
    table: NodeTable,
    sample: Samplings | None,
) -> SweepView:
    """The sweep of one output with respect to all its leaves, in names of a listing.

    Raises
    ------
    DifferentiationError, UnsupportedOpError
        If an operation on the way has no derivative.
    """
    steps = named_sweep(o, None, None if sample is None else sample.values, names)
    numbers = {text: table.number(n) for n, text in names.items() if inline(n) is None}
    return SweepView(place, names[o], tuple(_row(s, numbers) for s in steps))


def _row(step: Step, numbers: Mapping[str, int]) -> Row:
    terms = tuple(
        Term(
            t.text,
            numbers[t.user] if t.user else None,
            None if t.value is None else number_text(t.value),
        )
        for t in step.terms
    )
    users = tuple(numbers[name] for name in step.users)
    if step.value is None or step.adjoint is None:
        return Row(numbers[step.name], step.what, users, terms)
    return Row(
        numbers[step.name],
        step.what,
        users,
        terms,
        number_text(step.value),
        number_text(step.adjoint),
        summary(step.adjoint),
    )
