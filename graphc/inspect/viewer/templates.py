"""Formulas with slots for operands: the page fills in names, or dots where lines are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphc.diff.reverse import pull
from graphc.errors import GraphcError
from graphc.expr import Expr, topological
from graphc.inspect.text.notation import Phrase, inline, inline_phrase, phrase
from graphc.ops.leaves import tensor
from graphc.ops.movement import sum_to

#: Characters of Unicode's private area: the operands in order, the node itself, its adjoint.
_FIRST, OUT, ADJOINT = 0xE010, "\ue000", "\ue001"
#: Characters of a formula that is not cut to its last operation.
LONGEST = 110


def slot(position: int) -> str:
    """The character that stands for an operand."""
    return chr(_FIRST + position)


def template(node: Expr) -> str:
    """A node on the slots of its operands; numbers and sizes are written out."""
    if node.op.name in ("input", "parameter"):
        return node.op.name
    return phrase(node, [_operand(a, slot(i)) for i, a in enumerate(node.args)]).text


def _operand(node: Expr, name: str) -> Phrase:
    number = inline(node)
    return Phrase(name) if number is None else inline_phrase(number)


class Locals:
    """Local derivatives as templates; equal operations on equal types share them."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], tuple[str | None, ...]] = {}

    def of(self, node: Expr) -> tuple[str | None, ...]:
        """For each operand: d node / d operand, or for a linear map what it makes of the
        adjoint S; None where no derivative flows."""
        if not node.args or not node.dtype.is_float:
            return ()
        fixed = tuple(a.attrs if inline(a) is not None else None for a in node.args)
        key = (node.op, node.attrs, node.type, tuple(a.type for a in node.args), fixed)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = _locals(node)
        return found


def _locals(node: Expr) -> tuple[str | None, ...]:
    args = tuple(
        a if inline(a) is not None else tensor(slot(i), a.shape, a.dtype)
        for i, a in enumerate(node.args)
    )
    local = Expr(node.op, args, node.attrs, node.type)
    names = {local: OUT} | {a: slot(i) for i, a in enumerate(args) if inline(a) is None}
    try:
        if node.op.partials is not None:
            parts = node.op.partials(local, *args)
            return tuple(_partial(p, a, names) for p, a in zip(parts, args, strict=True))
        ct = tensor(ADJOINT, node.shape, node.dtype)
        pieces = pull(local, ct)
        names[ct] = ADJOINT
        return tuple(_pulled(p, a, names) for p, a in zip(pieces, args, strict=True))
    except GraphcError:  # no derivative
        return ()


def _partial(part: Expr | int | None, operand: Expr, names: Mapping[Expr, str]) -> str | None:
    if part is None or not operand.dtype.is_float:
        return None
    return str(part) if isinstance(part, int) else written(part, names)


def _pulled(piece: Expr | None, operand: Expr, names: Mapping[Expr, str]) -> str | None:
    if piece is None or not operand.dtype.is_float:
        return None
    return written(sum_to(piece, operand.shape) if piece.ndim else piece, names)


def written(term: Expr, names: Mapping[Expr, str]) -> str:
    """A term on one line, down to the nodes that have names."""
    done: dict[Expr, Phrase] = {}
    for node in topological([term]):
        if node in names:
            done[node] = Phrase(names[node])
        else:
            done[node] = _step(node, [done[a] for a in node.args])
    return done[term].text


def _step(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    number = inline(node)
    return phrase(node, operands) if number is None else inline_phrase(number)


def formulas(
    nodes: Sequence[Expr], names: Mapping[Expr, str], uses: Mapping[Expr, int]
) -> list[str]:
    """Each node written out, as far as its operands have no name and no other use.

    ``nodes`` has operands first. Longer texts than `LONGEST` are cut to the last operation.
    """
    whole: dict[Expr, Phrase] = {}
    for node in nodes:
        if node.op.name in ("input", "parameter"):
            whole[node] = Phrase(node.op.name)
            continue
        short = [_operand(a, names[a]) for a in node.args]
        long = [
            whole[a] if uses[a] == 1 and a.name is None and a.args else s
            for a, s in zip(node.args, short, strict=True)
        ]
        text = _step(node, long)
        whole[node] = text if len(text.text) <= LONGEST else _step(node, short)
    return [whole[n].text for n in nodes]
