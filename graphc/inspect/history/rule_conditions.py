"""Why a rewrite rule was not applied to a node: which of its conditions failed."""

from __future__ import annotations

import ast
import inspect
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import CodeType, FrameType
from typing import Any

from graphc.expr import Expr
from graphc.inspect.history.lineage import Lineage, Passage
from graphc.inspect.history.provenance import said
from graphc.ops import elementwise as ew
from graphc.options import Options
from graphc.rewrite import engine
from graphc.rewrite.engine import EXACT, RULES, Rule

#: The groups of rules that each stage applies.
GROUPS = {
    "fold": ("fold",),
    "simplify": ("fold", "simplify"),
    "stabilize": ("fold", "simplify", "stabilize"),
    "expand": ("expand",),
}


def not_applied(lineage: Lineage, options: Options, name: str, node: Expr) -> list[str]:
    """Why a rule was applied to no form of a node, the decisive reason first."""
    if name == "multiply-add":
        return _no_multiply_add(lineage, options, node)
    rule = RULES[name]
    said_of_rule = f"the rule: {rule.doc}"
    barred = _barred(rule, options)
    if barred is not None:
        return [barred, said_of_rule]
    tries = [
        _attempt(rule, passage, form)
        for passage, form in _forms(lineage, node)
        if rule.stage in GROUPS.get(passage.stage, ())
    ]
    tries = tries or [_attempt(rule, None, node)]
    best = max(t.progress for t in tries)
    reasons = dict.fromkeys(t.reason for t in tries if t.progress == best)
    return [*reasons, said_of_rule]


def _forms(lineage: Lineage, node: Expr) -> Iterator[tuple[Passage, Expr]]:
    """The forms of a node on which rules were tried."""
    start = lineage.last_passage(node)
    for passage, before, _ in lineage.later(node, start):
        for form in passage.moves.forms(before):
            if passage.rule(form) is not None or passage.moves.next(form) is None:
                yield passage, form


def _barred(rule: Rule, options: Options) -> str | None:
    """Why a rule is not among those that are tried."""
    if rule.stage in options.skip:
        return f"its stage was left out: skip={rule.stage!r}"
    if options.math == "strict" and rule.klass != EXACT:
        return f"it is {rule.klass}; math='strict' allows exact rules only"
    if rule.klass == "domain-changing":
        return "it is domain-changing: such rules are never applied by themselves"
    return None


# Attempts -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attempt:
    """How far a rule came on one form of a node, and what stopped it."""

    progress: int
    reason: str


def _attempt(rule: Rule, passage: Passage | None, form: Expr) -> Attempt:
    if rule.ops and form.op.name not in rule.ops:
        return Attempt(0, f"it is for {_or(rule.ops)}, {said(form)} is {form.op.name}")
    swaps = len(form.args) == 2 and "commutative" in form.op.facts
    orders = [form.args, form.args[::-1]] if swaps else [form.args]
    found = [_in_order(rule, passage, form, args) for args in orders]
    return max(found, key=lambda attempt: attempt.progress)


def _in_order(rule: Rule, passage: Passage | None, form: Expr, args: Sequence[Expr]) -> Attempt:
    names = [a.op.name for a in args]
    shown = f"of {said(form)}: {', '.join(map(said, form.args))}"
    if rule.of and (not names or names[0] not in rule.of):
        return Attempt(1, f"its first operand must be {_or(rule.of)}; operands {shown}")
    if rule.has and rule.has.isdisjoint(names):
        return Attempt(1, f"some operand must be {_or(rule.has)}; operands {shown}")
    condition = failed_condition(rule, form, args)
    if condition is not None:
        return Attempt(2, f"its condition fails on {said(form)}: {condition}")
    other = passage.rule(form) if passage is not None else None
    if other is not None:
        return Attempt(3, f"{other} was applied first, to {said(form)}")
    return Attempt(3, f"it would hold on {said(form)}, but no stage has tried it there")


def _or(names: frozenset[str]) -> str:
    *most, last = sorted(names)
    return f"{', '.join(most)} or {last}" if most else last


# Conditions -----------------------------------------------------------------------------------


def failed_condition(rule: Rule, node: Expr, args: Sequence[Expr]) -> str | None:
    """The condition in the rule's code that made it give up; None if it holds.

    The rule is run once more, and the lines where it and what it calls return None are noted.
    """
    own = inspect.unwrap(rule.apply).__code__
    notes = _Notes({os.path.dirname(own.co_filename), os.path.dirname(engine.__file__)})
    before = sys.gettrace()
    sys.settrace(notes.on_call)
    try:
        result = rule.apply(node, *args)
    finally:
        sys.settrace(before)
    if result is not None:
        return None
    last = max(i for i, (code, _) in enumerate(notes.returns) if code is own)
    code, line = notes.returns[last]
    for inner, at in notes.returns[:last][::-1]:
        called = _returned_call(code, line)
        if called is None or called != inner.co_name:
            break
        code, line = inner, at
    return _condition_at(code, line)


class _Notes:
    """Where functions of some folders returned None, in order."""

    def __init__(self, folders: set[str]) -> None:
        self.folders = folders
        self.returns: list[tuple[CodeType, int]] = []

    def on_call(self, frame: FrameType, event: str, arg: Any) -> Any:
        inside = os.path.dirname(frame.f_code.co_filename) in self.folders
        return self.in_frame if inside else None

    def in_frame(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "return" and arg is None:
            self.returns.append((frame.f_code, frame.f_lineno))
        return self.in_frame


@cache
def _tree(file: str) -> ast.Module:
    with open(file, encoding="utf-8") as source:
        return ast.parse(source.read())


def _statements(code: CodeType, line: int) -> list[ast.stmt]:
    """The statements around a line, from the outermost to the innermost."""
    found = [
        node
        for node in ast.walk(_tree(code.co_filename))
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or 0)
    ]
    return sorted(found, key=lambda node: (node.lineno, -(node.end_lineno or 0)))


def _returned_call(code: CodeType, line: int) -> str | None:
    """The function whose result a line returns."""
    last = _statements(code, line)[-1]
    value = last.value if isinstance(last, ast.Return) else None
    if isinstance(value, ast.IfExp):
        value = value.body if isinstance(value.orelse, ast.Constant) else value.orelse
    called = value.func if isinstance(value, ast.Call) else None
    return called.id if isinstance(called, ast.Name) else None


def _condition_at(code: CodeType, line: int) -> str:
    """The condition under which a line returns None, and where it stands."""
    around = _statements(code, line)
    last = around[-1]
    place = f"{os.path.basename(code.co_filename)}:{line}"
    if isinstance(last, ast.Return) and isinstance(last.value, ast.IfExp):
        given_up = isinstance(last.value.body, ast.Constant)
        test = ast.unparse(last.value.test)
        return f"{test if given_up else f'not ({test})'}  ({place})"
    guards = [s for s in around if isinstance(s, ast.If)]
    if guards and line != guards[-1].lineno:
        return f"{ast.unparse(guards[-1].test)}  ({place})"
    return f"{ast.unparse(last)}  ({place})"


# Multiply-add ---------------------------------------------------------------------------------


def _no_multiply_add(lineage: Lineage, options: Options, node: Expr) -> list[str]:
    if options.math == "strict":
        return ["it rounds once instead of twice; math='strict' rounds every operation"]
    if "multiply-add" in options.skip:
        return ["its stage was left out: skip='multiply-add'"]
    at = next((i for i, p in enumerate(lineage.passages) if p.stage == "multiply-add"), None)
    if at is None:
        return ["no stage has tried it: there are no kernels"]
    passage = lineage.passages[at]
    form: Expr | None = node
    for earlier in lineage.passages[max(0, lineage.last_passage(node)) : at]:
        form = earlier.final(form) if form is not None else None
    if form is None or form not in passage.before:
        return [f"{said(node)} is not in the graph any more when the stage runs"]
    return _unfit_sum(form, passage)


def _unfit_sum(node: Expr, passage: Passage) -> list[str]:
    """Why a sum and its product are not one operation."""
    if node.op not in (ew.add, ew.sub):
        return [f"it is for add or sub, {said(node)} is {node.op.name}"]
    if not node.dtype.is_float:
        return [f"it is for floats, {said(node)} is {node.dtype}"]
    uses = Counter(id(a) for n in passage.before for a in n.args)
    reasons = []
    for x in node.args:
        if x.op not in (ew.mul, ew.square):
            reasons.append(f"{said(x)} is no product")
        elif x.shape != node.shape:
            reasons.append(f"the product {said(x)} has shape {x.shape}, the sum {node.shape}")
        elif uses[id(x)] > 1:
            reasons.append(f"the product {said(x)} is needed elsewhere too")
        else:
            reasons.append(f"the product {said(x)} is a result itself")
    return reasons
