"""What stands in a box of a picture, and what it says when pointed at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from graphc.expr import Expr
from graphc.inspect.history.provenance import history, rules_of
from graphc.inspect.pictures.fold import Box, Folded
from graphc.inspect.subject import Compiled, Subject
from graphc.inspect.text.listing import leaving_nodes, name_nodes, right_side
from graphc.inspect.text.notation import Phrase, inline, inline_phrase, phrase

Kind = Literal["input", "parameter", "constant", "operation", "gradient", "scope", "dscope"]

#: Characters of a line in a box.
LONGEST = 30


@dataclass(frozen=True)
class Label:
    """Lines of a box: the name (may be ''), the operation, the type; its kind; its tooltip."""

    name: str
    what: str
    type: str
    kind: Kind
    output: bool
    tooltip: str

    @property
    def lines(self) -> list[str]:
        return [line for line in (self.name, self.what, self.type) if line]


def labels(subject: Subject, folded: Folded) -> list[Label]:
    """Labels of the boxes of a graph, in their order."""
    names = name_nodes(subject.nodes())
    roots = set(subject.roots)
    updates = {value: f"next {p.name}" for p, value in subject.updates}
    leaving = leaving_nodes(subject, folded.boxes)
    return [
        _group(box, roots, [n for n in box.nodes if n in leaving])
        if box.folded
        else _single(box, names, subject, updates)
        for box in folded.boxes
    ]


def _single(
    box: Box, names: Mapping[Expr, str], subject: Subject, updates: Mapping[Expr, str]
) -> Label:
    (node,) = box.nodes
    name = node.name or updates.get(node, "")
    what = "" if node.op.name in ("input", "parameter") else operation(node)
    return Label(
        _short(name), _short(what), _short(str(node.type)), _kind(box), node in subject.roots,
        tooltip(node, names, subject.function),
    )  # fmt: skip


def operation(node: Expr) -> str:
    """The operation with dots for operands that have their own box: ``· − 1``, ``sum``."""
    if inline(node) is not None:
        return str(inline(node))
    shown = [inline(a) for a in node.args]
    dots = [Phrase("·") if text is None else inline_phrase(text) for text in shown]
    text = phrase(node, dots).text
    if not any(shown):
        call = f"({', '.join('·' for _ in shown)})"
        text = text.removesuffix(call) if text != call else text
        if len(shown) == 2 and text.startswith("· ") and text.endswith(" ·"):
            text = {"*": "×", "-": "−"}.get(text[2:-2], text[2:-2])
        if node.op.name in ("reshape", "broadcast_to"):
            text = node.op.name.removesuffix("_to")
    return text.replace(" * ", " × ").replace(" - ", " − ").replace("-·", "−·")


def _kind(box: Box) -> Kind:
    if box.order:
        return "dscope" if box.folded else "gradient"
    if box.folded:
        return "scope"
    op = box.nodes[0].op
    if op.name in ("input", "parameter"):
        return "input" if op.name == "input" else "parameter"
    return "constant" if op.family == "leaf" else "operation"


def _group(box: Box, roots: set[Expr], results: Sequence[Expr]) -> Label:
    inside = Counter(n.op.name for n in box.nodes).most_common(12)
    parts = ", ".join(f"{n} {name}" if n > 1 else name for name, n in inside)
    path = f"scope {box.scope.path}\n" if box.scope else ""
    type = str(results[0].type) if len(results) == 1 else ""
    return Label(
        _short(box.title),
        f"{len(box.nodes)} nodes",
        _short(type),
        _kind(box),
        any(n in roots for n in box.nodes),
        f"{path}{len(box.nodes)} nodes: {parts}",
    )


def tooltip(node: Expr, names: Mapping[Expr, str], function: Compiled | None = None) -> str:
    """Formula, type, line, rules, kernel and scope, one a line."""
    lines = [f"{names[node]} = {right_side(node, names)}", str(node.type)]
    if node.source:
        lines.append(f"{node.source}  {node.source.text}".rstrip())
    found = history(node, function)
    rules = rules_of(found)
    if rules:
        lines.append(f"made by {rules}")
    if found.ended:
        lines.append(f"kernel {found.kernel}" if found.kernel else found.steps[-1].detail)
    if node.scope:
        lines.append(f"in {node.scope.path}")
    return "\n".join(lines)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
