"""Named rewrite rules and the walk that applies them.

A rule says how one node can be written otherwise. Rules are kept in the public table `RULES`
under the name that listings show, and have one of four classes:

``exact``
    The result has the same bits for all operands (NaN is NaN, whatever its payload).
``sign-of-zero``
    The same bits, except that a zero may change its sign.
``reassociating``
    Equal in real arithmetic: rounding differs, intermediate results may overflow or underflow
    in other places, and where one of them did (0/0, inf/inf, inf*0), the result may now be
    finite: that is what the stable forms are for. Positions of a gather are taken to lie
    inside their axis, as the gather itself demands.
``domain-changing``
    Equal only where all operands are finite, or not zero... Never applied by itself.

Operands are simplified before their users. All nodes are built through one `Interner`, so
equal nodes are one node and rules compare operands by identity. Operands of commutative
operations are matched in either order, so no rule has to put them in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

from graphc.expr import Expr, rebuild
from graphc.graph import foreign_rules
from graphc.ops.movement import broadcast_to
from graphc.ops.table import Op
from graphc.origin import Origin, building
from graphc.rewrite.cse import Interner
from graphc.rewrite.moves import Moves

RuleClass: TypeAlias = Literal["exact", "sign-of-zero", "reassociating", "domain-changing"]
Stage: TypeAlias = Literal["fold", "simplify", "stabilize", "expand"]
Rewriter: TypeAlias = Callable[..., "Expr | None"]

EXACT: RuleClass = "exact"
SIGN_OF_ZERO: RuleClass = "sign-of-zero"
REASSOCIATING: RuleClass = "reassociating"
DOMAIN_CHANGING: RuleClass = "domain-changing"


@dataclass(frozen=True, eq=False)
class Rule:
    """One way to write a node otherwise.

    Attributes
    ----------
    name
        ``mul-one``.
    ops
        Operations it applies to; empty: all of them.
    of
        Operations of the first operand it applies to; empty: all of them.
    has
        Operations one of which some operand must be; empty: any.
    klass
        What it may change.
    stage
        The stage that applies it.
    apply
        ``apply(node, *operands)``: the other form, or None where the rule does not hold.
    """

    name: str
    ops: frozenset[str]
    of: frozenset[str]
    has: frozenset[str]
    klass: RuleClass
    stage: Stage
    apply: Rewriter

    @property
    def doc(self) -> str:
        """What it does and when it holds, in one line."""
        return " ".join((self.apply.__doc__ or "").split())

    def concerns(self, op: str, operands: Sequence[str]) -> bool:
        """Whether it is worth trying on an operation, given its operands' operations."""
        if self.ops and op not in self.ops:
            return False
        if self.of and (not operands or operands[0] not in self.of):
            return False
        return not self.has or not self.has.isdisjoint(operands)

    def __str__(self) -> str:
        return f"{self.name:32} {self.klass:16} {self.doc}"


#: Every rule by name, in the order in which they are tried.
RULES: dict[str, Rule] = {}


def rule(
    ops: str, klass: RuleClass, *, of: str = "", has: str = "", stage: Stage = "simplify"
) -> Callable[[Rewriter], Rewriter]:
    """Add a function to `RULES`, named as the function with hyphens.

    ``ops``, ``of`` and ``has`` are names of operations separated by spaces: of the node, of its
    first operand, and of any operand.
    """

    def add(apply: Rewriter) -> Rewriter:
        name = apply.__name__.replace("_", "-")
        if name in RULES:
            raise ValueError(f"rule {name!r} is defined twice")
        op_names, first, some = (frozenset(text.split()) for text in (ops, of, has))
        RULES[name] = Rule(name, op_names, first, some, klass, stage, apply)
        if not apply.__module__.startswith("graphc."):
            foreign_rules.add(name)
        return apply

    return add


Plan: TypeAlias = "tuple[tuple[Rule, bool], ...]"


class RuleSet(tuple[Rule, ...]):
    """Some rules, and for each combination of operations those of them to try."""

    __hash__ = object.__hash__  # sets are told apart by identity
    __eq__ = object.__eq__

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._plans: dict[tuple[Op, ...], Plan] = {}

    def without(self, others: RuleSet) -> RuleSet:
        """The rules that are not among others."""
        return _without(self, others)

    def plan(self, node: Expr) -> Plan:
        """The rules to try on a node, each with whether to swap the operands."""
        args = node.args
        if len(args) == 2:
            key: tuple[Op, ...] = (node.op, args[0].op, args[1].op)
        else:
            key = (node.op, *[a.op for a in args])
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = tuple(self._concerned(*key))
        return plan

    def _concerned(self, op: Op, *operands: Op) -> Iterator[tuple[Rule, bool]]:
        names = [o.name for o in operands]
        both = len(names) == 2 and "commutative" in op.facts
        for swap in (False, True) if both else (False,):
            order = names[::-1] if swap else names
            yield from ((r, swap) for r in self if r.concerns(op.name, order))


def allowed(stages: Iterable[Stage], strict: bool) -> RuleSet:
    """The rules of some stages that may be applied: the exact ones only, if ``strict``."""
    return _allowed(frozenset(stages), strict)


@cache
def _allowed(stages: frozenset[Stage], strict: bool) -> RuleSet:
    classes = {EXACT} if strict else {EXACT, SIGN_OF_ZERO, REASSOCIATING}
    return RuleSet(r for r in RULES.values() if r.stage in stages and r.klass in classes)


@cache
def _without(rules: RuleSet, others: RuleSet) -> RuleSet:
    return RuleSet(r for r in rules if r not in set(others))


@dataclass(frozen=True, eq=False)
class Settled:
    """Nodes on which some rules have nothing left to do, and the interner they are from."""

    rules: RuleSet
    nodes: frozenset[Expr]
    interner: Interner


class Rewriting:
    """One run of some rules over a graph.

    Attributes
    ----------
    fired
        How often each rule was applied; "stopped" counts nodes left as they were because rules
        undid each other or a node was rewritten too often.
    """

    #: A node is rewritten this often at most, counted along the chain of its forms.
    LIMIT = 200

    def __init__(self, rules: Iterable[Rule], settled: Settled | None = None) -> None:
        """``settled``: what an earlier run with some of the rules has left."""
        self.rules = rules if isinstance(rules, RuleSet) else RuleSet(rules)
        self._settled = settled.nodes if settled else frozenset[Expr]()
        self._new = self.rules.without(settled.rules) if settled else self.rules
        self.fired: Counter[str] = Counter()
        self._interner = settled.interner.copy() if settled else Interner()
        self._final: dict[Expr, Expr] = {}
        self._becomes: dict[Expr, Expr] = {}
        self._applied: dict[Expr, str] = {}
        self._depth: dict[Expr, int] = {}

    def run(self, roots: Sequence[Expr]) -> list[Expr]:
        """The roots in their final form."""
        outer = building.scope, building.source, building.origin
        try:
            for root in roots:
                self._settle(root)
        finally:
            building.scope, building.source, building.origin = outer
        return [self._final[r] for r in roots]

    def moves(self) -> Moves:
        """What became of the nodes, those given and those met on the way."""
        return Moves(self._final, (self._becomes,), self._applied)

    def settled(self) -> Settled:
        """For a later run: what this one has left."""
        return Settled(self.rules, frozenset(self._final.values()), self._interner)

    def _settle(self, root: Expr) -> None:
        """Find the final form of a node and of all it depends on."""
        final, becomes = self._final, self._becomes
        stack = [root]
        while stack:
            node = stack.pop()
            if node in final:
                continue
            target = becomes.get(node)
            if target is None:
                missing = [a for a in node.args if a not in final]
                if missing:
                    stack.append(node)
                    stack += missing
                    continue
                target = self._step(node)
                if target is node:
                    final[node] = node
                    continue
                becomes[node] = target
                if target not in final and target not in becomes:
                    stack += (node, target)
                    continue
            if target not in final:
                self.fired["stopped"] += 1
            final[node] = final.get(target, node)

    def _step(self, node: Expr) -> Expr:
        """The next form of a node whose operands are final; itself if it has none."""
        settled, final = node in self._settled, self._final
        args = tuple([final[a] for a in node.args])
        if not settled or args != node.args:
            same = self._interner.intern(rebuild(node, args))
            if same is not node:
                self._depth[same] = self._depth.get(node, 0)
                return same
        plan = (self._new if settled else self.rules).plan(node)
        return self._rewritten(node, plan) if plan else node

    def _rewritten(self, node: Expr, plan: Plan) -> Expr:
        """What the first rule that holds makes of a node; the node itself if none does."""
        args = node.args
        twins = len(args) == 2 and args[0] is args[1]
        origin = Origin("", node)
        building.scope, building.source, building.origin = node.scope, node.source, origin
        for rule, swap in plan:
            if swap and twins:
                break
            result = rule.apply(node, *(args[::-1] if swap else args))
            if result is not None:
                origin.rule = f"rewrite:{rule.name}"
                return self._counted(_fit(result, node, rule), node, rule)
        return node

    def _counted(self, result: Expr, node: Expr, rule: Rule) -> Expr:
        """The new form of a node, unless it has had too many."""
        depth = self._depth.get(node, 0)
        if depth >= self.LIMIT:
            self.fired["stopped"] += 1
            return node
        self.fired[rule.name] += 1
        self._applied[node] = rule.name
        self._depth[result] = depth + 1
        return result


def _fit(result: Expr, node: Expr, rule: Rule) -> Expr:
    """The result in the node's type: spread over its shape where that is larger."""
    if result.shape != node.shape:
        result = broadcast_to(result, node.shape)
    if result.type != node.type:
        raise AssertionError(f"rule {rule.name} changed {node.type} to {result.type}")
    made = result.origin is not None and result.origin.stem is node
    return result.named(node.name) if node.name and made else result


def rewrite(roots: Sequence[Expr], rules: Iterable[Rule]) -> tuple[list[Expr], dict[str, int]]:
    """The roots rewritten until no rule applies, and how often each rule was applied."""
    run = Rewriting(rules)
    return run.run(roots), dict(run.fired)
