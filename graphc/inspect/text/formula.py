"""A graph as a formula, with a line for each part that is used more than once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from graphc.expr import Expr
from graphc.inspect.subject import Inspectable, subject_of
from graphc.inspect.text.notation import (
    SUM,
    UNARY,
    Phrase,
    Writer,
    inline,
    inline_phrase,
    phrase,
)

#: Operations nested deeper than this are given a line of their own.
DEPTH = 12


@dataclass(frozen=True)
class Language:
    """How terms are written: the text of a node, of a name, and what is not written at all.

    ``silent`` nodes are written as their first operand and never named.
    """

    write: Writer
    name: Callable[[str], str]
    number: Callable[[str], Phrase]
    silent: Callable[[Expr], bool]


def lets(
    roots: Sequence[Expr], language: Language, depth_limit: int
) -> tuple[list[tuple[str, str]], list[str]]:
    """Named terms (name, text), operands first, and the texts of the roots.

    A node has a name if it is used more than once, if the user named it, or if it would be
    nested too deep. Text is therefore linear in the graph.
    """
    nodes = subject_of(roots).nodes()
    uses = _uses(nodes, roots, language)
    fresh = _fresh_names(nodes)
    terms: dict[Expr, Phrase] = {}
    height: dict[Expr, int] = {}
    lines: list[tuple[str, str]] = []
    alone = roots[0] if len(roots) == 1 else None
    for node in nodes:
        term, height[node] = _term(node, terms, height, language)
        leaf = node.op.name in ("input", "parameter") or inline(node) is not None
        wanted = uses[node] > 1 or node.name or height[node] >= depth_limit
        if wanted and not leaf and not language.silent(node) and node is not alone:
            name = language.name(node.name or next(fresh))
            lines.append((name, term.text))
            term, height[node] = Phrase(name), 0
        terms[node] = term
    return lines, [terms[r].text for r in roots]


def _uses(nodes: Sequence[Expr], roots: Sequence[Expr], language: Language) -> Counter[Expr]:
    uses = Counter(roots)
    for node in reversed(nodes):
        for operand in node.args:
            uses[operand] += uses[node] if language.silent(node) else 1
    return uses


def _term(
    node: Expr, terms: dict[Expr, Phrase], height: dict[Expr, int], language: Language
) -> tuple[Phrase, int]:
    text = inline(node)
    if text is not None:
        return language.number(text), 0
    if node.op.name in ("input", "parameter"):
        return Phrase(language.name(node.name or "")), 0
    if language.silent(node):
        return terms[node.args[0]], height[node.args[0]]
    term = language.write(node, [terms[a] for a in node.args])
    return term, 1 + max((height[a] for a in node.args), default=0)


def _fresh_names(nodes: Sequence[Expr]) -> Iterator[str]:
    taken = {node.name for node in nodes}
    return (name for k in count(1) if (name := f"t{k}") not in taken)


# As Python text -----------------------------------------------------------------------------


def _write(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    last = operands[-1] if operands else Phrase("")
    if node.op.name == "add" and last.binding == UNARY and last.text.startswith("-"):
        return Phrase(f"{operands[0].within(SUM)} - {last.text[1:]}", SUM)
    return phrase(node, operands)


_PYTHON = Language(_write, str, inline_phrase, lambda node: False)


def formula(given: Inspectable, depth_limit: int = DEPTH, *, stage: str | None = None) -> str:
    """A graph as text: ``(sigmoid(x @ w) - t) / batch``.

    What is used more than once, has a name, or would be nested deeper than ``depth_limit``
    stands on a line of its own before: ``t1 = x @ w``.

    Examples
    --------
    >>> import graphc as gr
    >>> x, w = gr.tensor("x", ("n", 3)), gr.vector("w", 3)
    >>> z = gr.sigmoid(x @ w)
    >>> print(formula(z * (1 - z)))
    t1 = sigmoid(x @ w)
    t1 * (1 - t1)
    """
    lines, results = lets(subject_of(given, stage).roots, _PYTHON, depth_limit)
    return "\n".join([*(f"{name} = {text}" for name, text in lines), ", ".join(results)])
