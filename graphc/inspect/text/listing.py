"""Listings: one line a node, operands before users."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeVar

from graphc.expr import Expr
from graphc.inspect.history.provenance import history, rules_of
from graphc.inspect.pictures.fold import Box, fold
from graphc.inspect.subject import (
    PROGRAM_STAGES,
    Compiled,
    Inspectable,
    Subject,
    subject_of,
)
from graphc.inspect.text.notation import Phrase, inline, inline_phrase, phrase
from graphc.inspect.text.program_text import show_program
from graphc.inspect.text.rolled_text import show_rolled
from graphc.loops.ir import Program

#: Lines of a listing unless told otherwise.
LIMIT = 400
#: Columns wider than this do not push the next column.
WIDEST = 56

Row = tuple[str, ...]


def show(
    given: Inspectable | Program,
    *,
    stage: str | None = None,
    scopes: Literal["open", "folded"] = "open",
    limit: int | None = LIMIT,
    origin: bool = False,
) -> str:
    """A listing of a graph: name, formula, type, line of the program, ``[scope]``, rule.

    Parameters
    ----------
    given
        An Expr, a list of them, a Graph, a compiled function, or a loop program.
    stage
        Of a compiled function: ``"input"``, the name of a graph stage (the last one unless
        said), or ``"loops"`` for the loop program.
    scopes
        ``"folded"`` writes each outermost named part (``softmax``, a user's ``gr.scope``) as
        one line, with its operands and its results.
    limit
        At most so many lines, from both ends; None for all.
    origin
        Instead of the last rule all of them in order, after the operation that they started
        from, and of a compiled function the kernel that each node ends in.

    Raises
    ------
    GraphError
        If there is no such stage.
    """
    if isinstance(given, Program):
        return show_program(given)
    if isinstance(given, Compiled) and stage in PROGRAM_STAGES and given.program is not None:
        return show_program(given.program)
    subject = subject_of(given, stage)
    nodes = subject.nodes()
    names = name_nodes(nodes)

    def row(node: Expr) -> Row:
        return _told(node, names, subject) if origin else _row(node, names)

    if scopes == "folded":
        boxes = fold(subject, True).boxes
        leaving = leaving_nodes(subject, boxes)
        kept = _kept(boxes, limit)
        lines = _columns([
            _box_row(b, leaving, names) if b.folded else row(b.nodes[0]) for b in kept
        ])  # fmt: skip
        return "\n".join([*_with_gap(lines, len(boxes)), *_results(subject, names)])
    listed = [node for node in nodes if inline(node) is None]
    lines = _columns([row(n) for n in _kept(listed, limit)])
    results = [*_results(subject, names), *show_rolled(listed, names)]
    return "\n".join([*_with_gap(lines, len(listed)), *results])


def leaving_nodes(subject: Subject, boxes: Sequence[Box]) -> set[Expr]:
    """Nodes that another box, or nobody in the graph, uses."""
    owner = {node: box for box in boxes for node in box.nodes}
    crossing = {a for n in owner for a in n.args if owner.get(a) is not owner[n]}
    return crossing | set(subject.roots)


def _box_row(box: Box, leaving: set[Expr], names: Mapping[Expr, str]) -> Row:
    own = set(box.nodes)
    results = [n for n in box.nodes if n in leaving]
    entering = dict.fromkeys(
        names[a] for n in box.nodes for a in n.args if a not in own and inline(a) is None
    )
    left = ", ".join(names[n] for n in results)
    types = ", ".join(str(n.type) for n in results)
    source = str(results[-1].source or "") if results else ""
    count = f"({len(box.nodes)} nodes)"
    return f"{left} = {box.title}({', '.join(entering)})", types, source, "", count


def name_nodes(nodes: Iterable[Expr]) -> dict[Expr, str]:
    """What each node is called in a text: the user's name, a number, or %1, %2...

    A name that two nodes have is numbered from the second on: ``h``, ``h#2``.
    """
    names: dict[Expr, str] = {}
    used: dict[str, int] = {}
    count = 0
    for node in nodes:
        text = inline(node)
        if text is None and node.name:
            used[node.name] = used.get(node.name, 0) + 1
            again = used[node.name]
            text = node.name if again == 1 else f"{node.name}#{again}"
        if text is None:
            count += 1
            text = f"%{count}"
        names[node] = text
    return names


def operand(node: Expr, names: Mapping[Expr, str]) -> Phrase:
    """A node as an operand in a line."""
    return inline_phrase(names[node]) if inline(node) is not None else Phrase(names[node])


def right_side(node: Expr, names: Mapping[Expr, str]) -> str:
    """What a line says a node is: a formula of its operands, or the kind of leaf."""
    if node.op.name in ("input", "parameter"):
        return node.op.name
    return phrase(node, [operand(a, names) for a in node.args]).text


def _row(node: Expr, names: Mapping[Expr, str]) -> Row:
    scope = f"[{node.scope.path}]" if node.scope else ""
    rule = node.origin.rule if node.origin else ""
    left = f"{names[node]} = {right_side(node, names)}"
    return left, str(node.type), str(node.source or ""), scope, rule


def _told(node: Expr, names: Mapping[Expr, str], subject: Subject) -> Row:
    """A row with all rules in place of the last one, and the kernel."""
    found = history(node, subject.function)
    return (*_row(node, names)[:-1], rules_of(found), found.ended)


Item = TypeVar("Item")


def _kept(items: Sequence[Item], limit: int | None) -> list[Item]:
    """All of them, or as many as allowed from both ends."""
    if limit is None or len(items) <= limit:
        return list(items)
    tail = limit // 2
    return [*items[: limit - tail], *items[len(items) - tail :]]


def _with_gap(lines: list[str], total: int) -> list[str]:
    missing = total - len(lines)
    if not missing:
        return lines
    middle = len(lines) - len(lines) // 2
    gap = f"... {missing} lines left out (limit=None shows all)"
    return [*lines[:middle], gap, *lines[middle:]]


def _columns(rows: Sequence[Row]) -> list[str]:
    """Rows as aligned text; an empty column takes no room."""
    count = max(map(len, rows), default=0)
    cells = [[*row, *[""] * (count - len(row))] for row in rows]
    widths = [min(WIDEST, max(len(row[i]) for row in cells)) for i in range(count)]
    shown = [i for i in range(count) if widths[i]]
    return ["   ".join(row[i].ljust(widths[i]) for i in shown).rstrip() for row in cells]


def _results(subject: Subject, names: Mapping[Expr, str]) -> list[str]:
    lines = (
        [f"return {', '.join(names[o] for o in subject.outputs)}"] if subject.outputs else []
    )
    return lines + [f"update {p.name} <- {names[value]}" for p, value in subject.updates]


__all__ = ["name_nodes", "operand", "right_side", "show", "show_program"]
