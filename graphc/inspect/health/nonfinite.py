"""Where infinities and NaNs come from: the first bad element, and what to write instead.

The graph is evaluated node by node as the user wrote it. From a bad element of a result the
way is followed back, element by element, to the first one whose operands are all finite; so
values that a select or a mask leaves out are not blamed.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from textwrap import shorten
from typing import Any

import numpy as np

from graphc.errors import NonFiniteError
from graphc.expr import Expr, describe, topological
from graphc.graph import Graph
from graphc.inspect.health.causes import Array, Cause, cause, summary
from graphc.inspect.health.remedies import derivative_of, remedy
from graphc.inspect.health.trace import Element, Index, Trace, first_bad
from graphc.inspect.subject import derivative_orders
from graphc.interpret import evaluate
from graphc.options import Options
from graphc.origin import Source
from graphc.rewrite import RULES, Rule, rewrite
from graphc.rewrite.engine import allowed

#: So many bad results are named in a text.
SHOWN = 10


@dataclass(frozen=True)
class Bad:
    """A value that is not finite: which, and its first bad element."""

    what: str
    node: Expr
    index: Index
    value: float
    count: int
    size: int

    @property
    def text(self) -> str:
        place = f", the first {self.value:g} at {list(self.index)}" if self.index else ""
        return f"{self.count} of {self.size} values not finite{place}"


@dataclass(frozen=True)
class Event:
    """A step on the way from the first bad element to the result.

    Attributes
    ----------
    node, index
        The element. ``count`` of the node's ``size`` elements are not finite.
    cause
        The kind of accident (``.kind``) and the operation in numbers (``.text``).
    operands
        Role, node and the numbers that the element was computed from.
    stem
        Of a derivative: the node of the user's graph that was differentiated.
    """

    node: Expr
    index: Index
    value: float
    count: int
    size: int
    cause: Cause
    operands: tuple[tuple[str, Expr, str], ...]
    stem: Expr | None

    @property
    def source(self) -> Source | None:
        """The user's line."""
        return self.node.source

    def lines(self, title: str) -> list[str]:
        """Cause, place, operands."""
        kind = "" if self.cause.kind in _PLAIN else f", {_with_limit(self)}"
        found = [f"{title}: {self.cause.text}{kind}"]
        if self.stem is not None:
            found.append(f"  in the derivative of {self.stem.op.name}")
        if self.source is not None:
            found.append(f"  {self.source}  {self.source.text}".rstrip())
        place = f", element {list(self.index)}" if self.index else ""
        found.append(f"  {self.node.type}{place}; {self.count} of {self.size} not finite")
        shown = describe((role, node) for role, node, _ in self.operands)
        width = max(map(len, shown), default=0)
        for line, (_, _, numbers) in zip(shown, self.operands, strict=True):
            found.append(f"  {line.ljust(width)}  = {numbers}")
        return found


#: Kinds that the formula shows.
_PLAIN = ("given", "passed on", "0 / 0", "0 * inf", "inf - inf", "inf / inf")


def _with_limit(event: Event) -> str:
    if event.cause.kind != "overflow":
        return event.cause.kind
    dtype = event.node.dtype
    return f"overflow (the largest {dtype} is {np.finfo(dtype.numpy).max:.6g})"


@dataclass(frozen=True)
class Explanation:
    """Why results are not finite, or that they are. Prints as text.

    Attributes
    ----------
    given
        Inputs and parameters that are not finite already.
    results
        Outputs and next values of parameters that are not finite in the graph as written.
    first
        The first bad element on the way to them, None if all results are finite.
    then
        Later steps where infinities became NaN.
    hint
        What to write instead.
    repaired
        Whether rewriting (which compilation does) makes all results finite; ``rules`` are
        those that are needed for it.
    remaining
        Where it does not: the explanation of the rewritten graph, if it has another cause.
    """

    name: str
    given: tuple[Bad, ...] = ()
    results: tuple[Bad, ...] = ()
    first: Event | None = None
    then: tuple[Event, ...] = ()
    hint: str = ""
    repaired: bool = False
    rules: tuple[Rule, ...] = ()
    remaining: Explanation | None = None

    @property
    def finite(self) -> bool:
        """Whether all results are finite in the graph as written."""
        return not self.results

    @property
    def summary(self) -> str:
        """The first line."""
        if self.first is None and self.remaining is not None:
            return f"{self.name}: finite as written, not after the rewrites of compilation"
        if self.first is None:
            return f"{self.name}: all results are finite"
        names = [bad.what for bad in self.results[:SHOWN]]
        return f"{self.name}: not finite: {', '.join(names)}{self._others(', ')}"

    def _others(self, before: str = "") -> str:
        """How many results are bad beyond those that are named."""
        count = len(self.results) - SHOWN
        return f"{before}{count} others" if count > 0 else ""

    @cached_property
    def where(self) -> list[str]:
        """The lines after the first, without the hint."""
        lines = [f"already given: {bad.what}, {bad.text}" for bad in self.given]
        lines += [f"{bad.what}: {bad.text}" for bad in self.results[:SHOWN]]
        lines += [self._others()] if self._others() else []
        if self.first is not None:
            lines += self.first.lines("first")
        for event in self.then:
            lines += event.lines("then")
        return lines + list(self._after())

    def _after(self) -> Iterator[str]:
        """What rewriting makes of it."""
        if self.remaining is not None and self.remaining.first is not None:
            yield "after the rewrites of compilation the first bad value is another one"
            yield from (f"  {line}" for line in self.remaining.first.lines("first"))
            if self.remaining.hint:
                yield f"  hint: {self.remaining.hint}"
        elif self.repaired:
            stages = ", ".join(dict.fromkeys(rule.stage for rule in self.rules))
            yield f"compiled, it is finite: repaired by the stage {stages or 'stabilize'}"
            yield from (f"  {rule.name}: {shorten(rule.doc, 80)}" for rule in self.rules)
        elif self.first is not None:
            yield "compiled, it is not finite either"

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "finite": self.finite,
            "given": [_bad_dict(bad) for bad in self.given],
            "results": [_bad_dict(bad) for bad in self.results],
            "first": _event_dict(self.first),
            "then": [_event_dict(event) for event in self.then],
            "hint": self.hint,
            "repaired": self.repaired,
            "rules": [rule.name for rule in self.rules],
            "remaining": self.remaining.to_dict() if self.remaining else None,
        }

    def __str__(self) -> str:
        hint = [f"  hint: {self.hint}"] if self.hint else []
        return "\n".join([self.summary, *(f"  {line}" for line in self.where), *hint])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def _bad_dict(bad: Bad) -> dict[str, Any]:
    return {"what": bad.what, "index": list(bad.index), "count": bad.count, "size": bad.size}


def _event_dict(event: Event | None) -> dict[str, Any] | None:
    if event is None:
        return None
    return {
        "op": event.node.op.name,
        "kind": event.cause.kind,
        "text": event.cause.text,
        "source": str(event.source or ""),
        "index": list(event.index),
        "count": event.count,
        "size": event.size,
        "operands": [[role, numbers] for role, _, numbers in event.operands],
        "derivative_of": None if event.stem is None else event.stem.op.name,
    }


def as_error(found: Explanation) -> NonFiniteError:
    """The error of a function that does not allow such results."""
    where = found.where
    if found.finite and found.remaining is None:
        where = [*where, "evaluated by NumPy they are finite: rounding differs in native code"]
    error = NonFiniteError(found.summary, where=where, hint=found.hint)
    error.explanation = found
    return error


# Explaining ---------------------------------------------------------------------------------


def explain(
    name: str,
    graph: Graph,
    inputs: Sequence[Array],
    sizes: Mapping[str, int],
    options: Options,
) -> Explanation:
    """Why results of a graph are not finite for these inputs.

    Parameters
    ----------
    inputs
        Arrays of the inputs' types, in their order; parameters have the values that they have.
    sizes
        Values of the symbolic sizes.
    options
        How the graph is compiled: the rewriting rules that may be applied.
    """
    given: dict[Expr, Array] = dict(zip(graph.inputs, inputs, strict=True))
    given |= {p: p.value.copy() for p in graph.parameters()}
    found = _explain(name, graph, given, sizes)
    rules = [
        rule
        for rule in allowed(("fold", "simplify", "stabilize"), options.math == "strict")
        if rule.stage not in options.skip
    ]
    after, fired = _rewritten(graph, rules)
    left = _explain(name, after, given, sizes)
    if left.first is not None:
        return found if _alike(left, found) else replace(found, remaining=left)
    if found.first is None:
        return found
    needed = [r for r in fired if not _is_finite(graph, rules, r, given, sizes)]
    return replace(found, repaired=True, rules=tuple(needed))


def _rewritten(graph: Graph, rules: Sequence[Rule]) -> tuple[Graph, list[Rule]]:
    """The graph after the rules, and those that were applied."""
    roots, fired = rewrite(graph.roots, rules)
    return graph.with_roots(roots), [RULES[name] for name in fired if name in RULES]


def _is_finite(
    graph: Graph,
    rules: Sequence[Rule],
    without: Rule,
    given: Mapping[Expr, Array],
    sizes: Mapping[str, int],
) -> bool:
    """Whether results are finite when one of the rules is not applied."""
    after, _ = _rewritten(graph, [rule for rule in rules if rule is not without])
    return all(np.isfinite(a).all() for a in evaluate(after.roots, given, sizes))


def _alike(left: Explanation, right: Explanation) -> bool:
    """Whether both blame the same line, of the function or of its derivative."""
    a, b = left.first, right.first
    if a is None or b is None:
        return a is b
    return a.source == b.source and (a.stem is None) == (b.stem is None)


def _explain(
    name: str, graph: Graph, given: Mapping[Expr, Array], sizes: Mapping[str, int]
) -> Explanation:
    order = _in_stages(topological(graph.roots))
    values = dict(zip(order, evaluate(order, given, sizes), strict=True))
    already = [b for x, v in given.items() if (b := _bad(f"{x.op.name} {x.name!r}", x, v))]
    results = _bad_results(graph, values)
    if not results:
        return Explanation(name, tuple(already))
    trace = Trace(order, values, sizes)
    start = min(results, key=lambda bad: int(trace.sources[bad.node].min()))
    way = trace.way(start.node)
    events = [_event(element, trace) for element in _turning_points(way, values)]
    hint = remedy(events, [node for node, _ in way], order)
    return Explanation(name, tuple(already), tuple(results), events[0], tuple(events[1:]), hint)


def _in_stages(order: Sequence[Expr]) -> list[Expr]:
    """Operands first; what is derived after what it is derived from, and updates last."""
    orders = derivative_orders(order)
    stage: dict[Expr, int] = {}
    for node in order:
        stage[node] = max([orders[node], *(stage[a] for a in node.args)])
    return sorted(order, key=lambda node: stage[node])


def _bad(what: str, node: Expr, value: Array) -> Bad | None:
    outside = ~np.isfinite(value)
    count = int(np.count_nonzero(outside))
    if not count:
        return None
    index = first_bad(value)
    return Bad(what, node, index, float(value[index]), count, value.size)


def _bad_results(graph: Graph, values: Mapping[Expr, Array]) -> list[Bad]:
    found = []
    for number, node in enumerate(graph.outputs):
        label = f" ({node.name})" if node.name else ""
        found.append(_bad(f"output {number}{label}", node, values[node]))
    for parameter, node in graph.updates:
        found.append(_bad(f"the update of {parameter.name!r}", node, values[node]))
    return [bad for bad in found if bad is not None]


def _turning_points(way: Sequence[Element], values: Mapping[Expr, Array]) -> list[Element]:
    """The first element of the way, and those where an infinity turns into NaN."""
    found = [way[0]]
    for before, after in pairwise(way):
        if np.isinf(values[before[0]][before[1]]) and np.isnan(values[after[0]][after[1]]):
            found.append(after)
    return found


def _event(element: Element, trace: Trace) -> Event:
    node, index = element
    own = trace.values[node]
    parts = trace.operands(element)
    roles = node.op.roles or tuple(f"operand {i}" for i in range(len(node.args)))
    shown = zip(roles, node.args, parts, strict=False)
    return Event(
        node,
        index,
        float(own[index]),
        int(np.count_nonzero(~np.isfinite(own))),
        own.size,
        cause(node, parts, own[index]),
        tuple((role, a, summary(part)) for role, a, part in shown),
        derivative_of(node),
    )
