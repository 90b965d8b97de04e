"""Where a node comes from and what became of it: line, derivative, rewrites, kernel."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from graphc.diff.custom import CUSTOM
from graphc.expr import Expr
from graphc.inspect.history.kernel_map import Place
from graphc.inspect.history.lineage import LOOPS, Lineage, Passage, lineage_of, rule_name
from graphc.inspect.subject import Compiled, is_derivative_rule
from graphc.inspect.text.notation import inline
from graphc.origin import Origin, Source
from graphc.rewrite.cse import merged_into
from graphc.rewrite.engine import RULES

Kind = Literal["written", "derivative", "rewrite", "merge", "kernel"]

#: The stage of what happened before compilation.
BUILDING = "graph"
#: Equal nodes of at most so many other lines are named.
LINES = 4
#: Characters of a rule's own words that are shown.
LONGEST = 96


@dataclass(frozen=True)
class Step:
    """One thing that happened to a node.

    Attributes
    ----------
    kind
        ``written`` by the user, made by a ``derivative`` or a ``rewrite``, ``merge``: it stands
        for others too or one stands for it, ``kernel``: where it ended.
    rule
        ``d mul/d 1`` (operands count from 0), ``mul-one``, ``cse``; of a kernel how it ended:
        ``computed``, ``inlined``, ``view``, ``number``, ``leaf``, ``folded``, ``dead``,
        ``interpreted``; ``unused``: no kernel computes it as such.
    stage
        The stage of compilation; ``graph`` for what happened before.
    detail
        A sentence.
    node
        The node as it is afterwards, None if it is gone.
    line
        The user's line that the node stems from.
    """

    kind: Kind
    rule: str
    stage: str
    detail: str
    node: Expr | None
    line: Source | None

    def to_dict(self) -> dict[str, Any]:
        """The step as JSON values."""
        return {
            "kind": self.kind,
            "rule": self.rule,
            "stage": self.stage,
            "detail": self.detail,
            "node": None if self.node is None else node_dict(self.node),
            "line": line_dict(self.line),
        }


@dataclass(frozen=True)
class History:
    """Everything known about a node. Prints itself, notebooks show a table.

    Attributes
    ----------
    node
        The node asked about.
    line
        The user's line that it stems from.
    scope
        The named part of the graph, ``layer1/softmax``; '' if it is in none.
    forward
        The node that the user wrote.
    steps
        What happened, the oldest first.
    kernel
        The kernel that computes it, None if there is none.
    """

    node: Expr
    line: Source | None
    scope: str
    forward: Expr | None
    steps: tuple[Step, ...]
    kernel: str | None

    def to_dict(self) -> dict[str, Any]:
        """The history as JSON values."""
        return {
            "node": node_dict(self.node),
            "line": line_dict(self.line),
            "scope": self.scope,
            "forward": None if self.forward is None else node_dict(self.forward),
            "steps": [step.to_dict() for step in self.steps],
            "kernel": self.kernel,
        }

    @property
    def ended(self) -> str:
        """The kernel, or in a word why there is none; '' if it is not known."""
        if self.kernel is not None or not self.steps or self.steps[-1].kind != "kernel":
            return self.kernel or ""
        return "" if self.steps[-1].rule == "leaf" else self.steps[-1].rule

    @property
    def title(self) -> str:
        """The node, its line and its scope, in one line."""
        scope = f"  [{self.scope}]" if self.scope else ""
        text = f"  {self.line.text}" if self.line is not None and self.line.text else ""
        return f"{said(self.node)}: {self.node.type}{text}{scope}"

    def __str__(self) -> str:
        rows = [[s.kind, s.stage, s.rule, s.detail] for s in self.steps]
        return "\n".join([self.title, *(f"  {line}" for line in _columns(rows))])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return table_html(self.title, [[s.kind, s.stage, s.rule, s.detail] for s in self.steps])


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as columns, all to the left."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def table_html(title: str, rows: Sequence[Sequence[str]]) -> str:
    """Rows as a table with a caption."""
    cells = (
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><caption>{html.escape(title)}</caption>{''.join(cells)}</table>"


def node_dict(node: Expr) -> dict[str, Any]:
    """A node as JSON values."""
    return {"op": node.op.name, "name": node.name, "type": str(node.type)}


def line_dict(line: Source | None) -> dict[str, Any] | None:
    """A line of the user's program as JSON values."""
    return None if line is None else {"file": line.file, "line": line.line, "text": line.text}


def said(node: Expr) -> str:
    """A node in a sentence: number, name or operation, and its line."""
    text = inline(node) or node.name or node.op.name
    return f"{text} ({node.source})" if node.source and inline(node) is None else text


# Histories ------------------------------------------------------------------------------------


def history(node: Expr, function: Compiled | None = None) -> History:
    """What is known about a node.

    Parameters
    ----------
    node
        Any node: of a graph that is being built, of a derivative, of any stage.
    function
        A compiled function: then the rewrites of its stages, the merges and the kernel are
        told too, if the node has to do with it.
    """
    lineage = lineage_of(function) if function is not None else None
    start = -1 if lineage is None else lineage.last_passage(node)
    back, first = _compiled_steps(lineage, node, start) if lineage is not None else ([], node)
    built, forward = _built_steps(first)
    steps = [*built, *back]
    kernel = None
    if lineage is not None and start >= 0:
        ahead, kernel = _later_steps(lineage, node, start)
        steps += ahead
    scope = node.scope.path if node.scope else ""
    return History(node, node.source, scope, forward, tuple(steps), kernel)


def rules_of(found: History) -> str:
    """The rules in order, after the operation they started from: ``tanh: d tanh/d 0 > ...``."""
    rules = [s.rule for s in found.steps if s.kind in ("derivative", "rewrite")]
    start = found.forward
    if not rules or start is None:
        return ""
    return f"{start.name or start.op.name}: {' > '.join(rules)}"


def kernel_of(function: Compiled) -> Mapping[Expr, tuple[str, ...]]:
    """For each node of each stage the kernels that evaluate it, its own one first.

    Inputs and nodes that nothing needs have none; a node that is merged, rewritten or folded
    has those of what stands for it.
    """
    lineage = lineage_of(function)
    graphs = [lineage.input, *(p.after for p in lineage.passages)]
    found: dict[Expr, tuple[str, ...]] = {}
    for depth in range(len(graphs))[::-1]:
        for node in graphs[depth]:
            if node not in found:
                found[node] = _kernels(lineage, node, depth, found)
    return found


def _kernels(
    lineage: Lineage, node: Expr, depth: int, known: Mapping[Expr, tuple[str, ...]]
) -> tuple[str, ...]:
    """Kernels of a node of some graph, given those of the later graphs' nodes."""
    if depth < len(lineage.passages):
        return known.get(lineage.passages[depth].final(node), ())
    if lineage.kernels is None:
        return ()
    place, names = lineage.kernels.place(node)
    return () if place == "leaf" else names


# Before compilation ---------------------------------------------------------------------------


def _built_steps(node: Expr) -> tuple[list[Step], Expr]:
    """How a node came to be before it was compiled, and the node that the user wrote."""
    steps: list[Step] = []
    at = node
    while True:
        twins = merged_into(at)
        if twins:
            steps.append(_merge(BUILDING, at, twins))
        if at.origin is None:
            break
        steps.append(_made(at))
        at = at.origin.stem if at.origin.copy_of is None else at.origin.copy_of
    steps.append(Step("written", at.op.name, BUILDING, _written(at), at, at.source))
    return steps[::-1], at


def _written(node: Expr) -> str:
    kind = node.op.name if node.op.family == "leaf" else "operation"
    line = node.source
    where = f" at {line}: {line.text}" if line and line.text else f" at {line}" if line else ""
    return f"{kind} {node.name or ''}".rstrip() + where


#: Rules that make all entries of a derivative, and how.
_MATRIX = re.compile(r"d (jacobian|hessian),? ?(.*)")


def _made(node: Expr) -> Step:
    origin = node.origin
    assert origin is not None
    matrix = _MATRIX.fullmatch(origin.rule)
    if matrix is not None:
        kind, how = matrix.groups()
        detail = f"{'the' if how else 'part of the'} {kind.title()} of {said(origin.stem)}"
        detail += f", {how}" if how else ""
        return Step("derivative", origin.rule, BUILDING, detail, node, node.source)
    if origin.copy_of is not None:
        detail = f"{said(origin.copy_of)} again, mapped or on other operands"
        rule = "map" if origin.rule == "map" else "copy"
        return Step("rewrite", rule, BUILDING, detail, node, node.source)
    if is_derivative_rule(origin.rule):
        rule, detail = derivative_rule(node)
        return Step("derivative", rule, BUILDING, detail, node, node.source)
    rule = rule_name(origin.rule)
    detail = _by_rule(rule, origin.stem)
    return Step("rewrite", rule, BUILDING, detail, node, node.source)


def _by_rule(rule: str, before: Expr) -> str:
    """What a rule did, with its own words."""
    return f"made of {said(before)}{_doc(rule)}"


def _merge(stage: str, node: Expr, others: Sequence[Expr], rules: Sequence[str] = ()) -> Step:
    """A node stands for others: for equal ones, or for what rules made it of."""
    if len(others) == 1 and rules:
        what = said(others[0])
    else:
        lines = list(dict.fromkeys(str(t.source) for t in others if t.source))
        shown = ", ".join(lines[:LINES]) + (", ..." if len(lines) > LINES else "")
        kind = "" if rules else "equal "
        what = f"{len(others)} {kind}nodes" if len(others) > 1 else f"an {kind}node"
        what += f" of {shown}" if lines else ""
    by = f", by {', '.join(rules)}" if rules else ""
    rule = rules[-1] if rules else "cse"
    return Step("merge", rule, stage, f"stands for {what}{by}", node, node.source)


# Derivatives ----------------------------------------------------------------------------------


def derivative_rule(node: Expr) -> tuple[str, str]:
    """Which derivative of which operation for which operand a node belongs to.

    Returns
    -------
    rule
        ``d mul/d 1``; without an operand where it serves several, ``d mul``.
    detail
        A sentence.
    """
    origin = node.origin
    assert origin is not None
    stem = origin.stem
    if origin.rule == "sum of paths":
        return origin.rule, f"sum of the derivatives that arrive at {said(stem)}"
    who = _whose(stem)
    found = operands_of_derivative(node)
    if len(found) != 1:
        places = " and ".join(str(place) for place in found)
        return origin.rule, f"part of {who}" + (f", for operands {places}" if found else "")
    (place,) = found
    whole = node in origin.parts
    text = f"{who} for operand {place}, {said(stem.args[place])}"
    text += ", times the derivative that arrives" if whole else ""
    return f"{origin.rule}/d {place}", text if whole else f"part of {text}"


def _whose(stem: Expr) -> str:
    rule = f", the rule of {stem.attrs['rule']}" if stem.op is CUSTOM else ""
    return f"the derivative of {said(stem)}{rule}"


def operands_of_derivative(node: Expr) -> list[int]:
    """The operands of its stem that a node of a derivative was made for."""
    origin = node.origin
    if origin is None:
        return []
    likeness = {
        place: max((_likeness(node, x) for x in _cone(part, origin)), default=0)
        for place, part in enumerate(origin.parts)
        if part is not None
    }
    best = max(likeness.values(), default=0)
    return [place for place, found in likeness.items() if best and found == best]


def _cone(part: Expr, origin: Origin) -> Iterator[Expr]:
    """A piece of a derivative and what was made for it."""
    pending, seen = [part], {part}
    while pending:
        x = pending.pop()
        if x.origin is not origin:
            continue
        yield x
        new = set(x.args) - seen
        seen |= new
        pending.extend(new)


def _likeness(node: Expr, made: Expr) -> int:
    """How well a node, perhaps put on other operands, fits one that was made; 0: not at all."""
    if node is made:
        return 1000
    if node.op is not made.op or node.attrs != made.attrs or node.type != made.type:
        return 0
    pairs = list(zip(node.args, made.args, strict=True))
    if any((a.op, a.name, a.attrs) != (b.op, b.name, b.attrs) for a, b in pairs):
        return 0
    return 1 + sum((a is b) + (a.source is b.source) for a, b in pairs)


# Stages ---------------------------------------------------------------------------------------


def _compiled_steps(lineage: Lineage, node: Expr, start: int) -> tuple[list[Step], Expr]:
    """What the stages did up to a node, oldest first, and the node of the input graph.

    A stage may take up a node that an earlier one has made and dropped.
    """
    steps: list[Step] = []
    at = node
    for passage in lineage.passages[:start][::-1]:
        if at in passage.after:
            steps += _merges(passage, at, passage.stem(at))
        for rule, before in passage.way_back(at):
            if rule is not None:
                steps.append(_rewritten(passage.stage, rule, before, at))
            at = before
    return steps[::-1], at


def _rewritten(stage: str, rule: str, before: Expr, after: Expr) -> Step:
    return Step("rewrite", rule, stage, _by_rule(rule, before), after, after.source)


def _merges(passage: Passage, node: Expr, source: Expr | None) -> list[Step]:
    """Other nodes that a node stands for after a stage; ``source`` is the one it stems from."""
    groups: dict[tuple[str, ...], list[Expr]] = {}
    for other in passage.sources.get(node, ()):
        if other is not source:
            groups.setdefault(tuple(r for r, _ in passage.rules(other)), []).append(other)
    return [_merge(passage.stage, node, others, rules) for rules, others in groups.items()]


def _later_steps(lineage: Lineage, node: Expr, start: int) -> tuple[list[Step], str | None]:
    """What became of a node from some graph on, and the kernel that it ended in."""
    steps: list[Step] = []
    for passage, before, after in lineage.later(node, start):
        for rule, made in passage.rules(before):
            detail = f"becomes {_shape_of(made)}" + _doc(rule)
            steps.append(Step("rewrite", rule, passage.stage, detail, made, made.source))
        if after not in passage.after:
            return [*steps, _dead(passage, before)], None
        steps += _arrival(passage, before, after)
        node = after
    if lineage.kernels is None:
        detail = "NumPy evaluates it, node by node"
        return [*steps, Step("kernel", "interpreted", LOOPS, detail, node, node.source)], None
    place, names = lineage.kernels.place(node)
    step = Step("kernel", place, LOOPS, _place_text(place, names), node, node.source)
    return [*steps, step], names[0] if names and place != "leaf" else None


def _arrival(passage: Passage, before: Expr, after: Expr) -> list[Step]:
    """Which nodes meet in one at the end of a stage."""
    source = passage.stem(after)
    if before is source or passage.rules(before):
        return _merges(passage, after, before) if before is source else []
    detail = f"{said(after)}, an equal node, stands for it"
    return [Step("merge", "cse", passage.stage, detail, after, after.source)]


def _shape_of(node: Expr) -> str:
    """A node that a rule made, in few words."""
    text = inline(node) or node.name
    if text:
        return text
    return f"{node.op.name}({', '.join(inline(a) or a.name or a.op.name for a in node.args)})"


def _doc(rule: str) -> str:
    """What a rule says of itself, cut where it goes on and on."""
    text = RULES[rule].doc if rule in RULES else ""
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
    return f": {text}" if text else ""


def _place_text(place: Place, names: Sequence[str]) -> str:
    first, rest = (names[0], names[1:]) if names else ("", ())
    also = f", and again in {', '.join(rest)}" if rest else ""
    every = ", ".join(names)
    texts: dict[Place, str] = {
        "computed": f"computed by kernel {first}{also}",
        "inlined": f"computed inside {every}, where it is needed",
        "view": f"read through index arithmetic in {every}",
        "number": f"a number in the code of {every}" if names else "a number, not needed",
        "leaf": f"read by {every}" if names else "read by no kernel",
        "unused": "part of how others address memory; no kernel computes it",
    }
    return texts[place]


def _dead(passage: Passage, node: Expr) -> Step:
    """Nothing needs a node after a stage: the rewrites of its users that made it so."""
    causes = dict(_causes(passage, node))
    if causes and all("fold-constants" in rules for rules in causes.values()):
        results = dict.fromkeys(said(passage.final(user)) for user in causes)
        detail = f"folded into {', '.join(results)}"
        return Step("kernel", "folded", passage.stage, detail, None, None)
    told = [f"{said(user)} was rewritten by {', '.join(r)}" for user, r in causes.items()]
    why = f": {'; '.join(list(dict.fromkeys(told))[:LINES])}" if told else ""
    return Step("kernel", "dead", passage.stage, f"nothing needs it any more{why}", None, None)


def _causes(passage: Passage, node: Expr) -> Iterator[tuple[Expr, list[str]]]:
    """Rewrites of those that used a node that did away with it."""
    pending, seen = [node], {node}
    while pending:
        at = pending.pop()
        rules = [rule for rule, _ in passage.rules(at)]
        if rules and at is not node:
            yield at, rules
            continue
        new = [u for u in passage.users.get(at, ()) if u not in seen]
        seen.update(new)
        pending += new
