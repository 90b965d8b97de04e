"""The way of nodes through the stages of one compiled function, back and forth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Protocol, runtime_checkable
from weakref import WeakKeyDictionary

from graphc.expr import Expr
from graphc.inspect.history.kernel_map import KernelMap
from graphc.inspect.subject import Compiled
from graphc.loops.group import Fusion
from graphc.ops.elementwise import FMA
from graphc.rewrite.moves import Moves

#: What stands for the stage in which loops are written.
LOOPS = "loops"


@runtime_checkable
class Fused(Compiled, Protocol):
    """What is asked of a compiled function."""

    @property
    def fusion(self) -> Fusion | None: ...


class Passage:
    """One stage: the nodes before and after, and what became of them."""

    def __init__(
        self, stage: str, before: Sequence[Expr], after: Sequence[Expr], moves: Moves
    ) -> None:
        self.stage, self.moves = stage, moves
        self.before, self.after = dict.fromkeys(before), dict.fromkeys(after)

    @cached_property
    def sources(self) -> dict[Expr, list[Expr]]:
        """For each node afterwards the nodes before that it stands for."""
        found: dict[Expr, list[Expr]] = {}
        for node in self.before:
            found.setdefault(self.final(node), []).append(node)
        return found

    @cached_property
    def users(self) -> dict[Expr, list[Expr]]:
        """For each node before the nodes before that use it."""
        found: dict[Expr, list[Expr]] = {}
        for node in self.before:
            for x in dict.fromkeys(node.args):
                found.setdefault(x, []).append(node)
        return found

    @cached_property
    def _previous(self) -> dict[Expr, list[Expr]]:
        """For each form the forms that it followed."""
        found: dict[Expr, list[Expr]] = {}
        for table in self.moves.passes:
            for old, new in table.items():
                if old is not new:
                    found.setdefault(new, []).append(old)
        return found

    @cached_property
    def met(self) -> set[Expr]:
        """Every node that the stage has met."""
        tables = self.moves.passes
        made = {n for table in tables for pair in table.items() for n in pair}
        return made | self.before.keys() | self.after.keys()

    def final(self, node: Expr) -> Expr:
        """What a node is after the stage."""
        return self.moves.final.get(node, node)

    def rule(self, node: Expr) -> str | None:
        """The rule that was applied to a form, None if it was only put on other operands."""
        applied = self.moves.applied.get(node)
        if applied is not None:
            return applied
        after = self.moves.next(node)
        made = after.origin if after is not None else None
        if after is None or made is None or made is node.origin:
            return None
        known = made.stem is node or (self.stage == made.rule and after.op is not node.op)
        fused = self.stage == "multiply-add" and after.op is FMA and node.op is not FMA
        return rule_name(made.rule) if known or fused else None

    def rules(self, node: Expr) -> list[tuple[str, Expr]]:
        """The rules applied to a node in order, each with what it made."""
        forms = self.moves.forms(node)
        found = pairwise(forms)
        return [(rule, new) for old, new in found if (rule := self.rule(old)) is not None]

    def predecessor(self, node: Expr) -> tuple[str | None, Expr] | None:
        """What a node that the stage made was made of, and by which rule (None: by none)."""
        origin = node.origin
        stem = origin.stem if origin is not None else None
        if origin is not None and stem in self.met and self._was_made(node):
            rule = self.rule(stem)
            if rule is not None and rule == rule_name(origin.rule):
                return rule, stem
        for old in self._previous.get(node, ()):
            same = old.op is node.op and old.attrs == node.attrs and old.name == node.name
            stamped = old.origin is origin and old.source is node.source
            if same and stamped and self.rule(old) is None:
                return None, old
        return None

    def _was_made(self, node: Expr) -> bool:
        return node not in self.before

    def way_back(self, node: Expr) -> Iterator[tuple[str | None, Expr]]:
        """The rules that made a node, each with what it was made of, back to a node before."""
        seen = {node}
        while node not in self.before and (made := self.predecessor(node)) is not None:
            node = made[1]
            if node in seen:
                return
            seen.add(node)
            yield made

    def stem(self, node: Expr) -> Expr | None:
        """The node before that a node afterwards stems from, None if there is none."""
        *_, (_, first) = [(None, node), *self.way_back(node)]
        return first if first in self.before else None


def rule_name(rule: str) -> str:
    """The name of a rewrite rule as `RULES` has it."""
    return rule.removeprefix("rewrite:")


class Lineage:
    """The passages of a compiled function, and its kernels."""

    def __init__(self, function: Compiled) -> None:
        snapshots = function.snapshots
        given = snapshots[0].graph
        self.input = dict.fromkeys([*given.inputs, *given.parameters(), *given.nodes()])
        self.passages = [
            Passage(new.stage, old.graph.nodes(), new.graph.nodes(), new.moves)
            for old, new in pairwise(snapshots)
        ]
        self.kernels: KernelMap | None = None
        fusion = function.fusion if isinstance(function, Fused) else None
        if fusion is not None and function.program is not None:
            became = fusion.became
            last, fused = snapshots[-1].graph.nodes(), fusion.graph.nodes()
            self.passages.append(Passage(LOOPS, last, fused, Moves(became, (became,))))
            self.kernels = KernelMap(fusion, function.program)

    def last_passage(self, node: Expr) -> int:
        """How many passages a node has come through: to the last graph that it is in.

        -1: the function does not know it.
        """
        for count in range(len(self.passages), 0, -1):
            if node in self.passages[count - 1].after:
                return count
        if node in self.input:
            return 0
        met = (i for i, p in enumerate(self.passages, 1) if node in p.met)
        return next(met, -1)

    def later(self, node: Expr, start: int) -> Iterator[tuple[Passage, Expr, Expr]]:
        """The passages from a graph on: each with the node before and after it."""
        for passage in self.passages[start:]:
            after = passage.final(node)
            yield passage, node, after
            if after not in passage.after:
                return
            node = after

    def end(self, node: Expr) -> Expr | None:
        """What a node of some graph is in the last one; None if nothing needs it there."""
        start = self.last_passage(node)
        if start < 0:
            return None
        for passage, _, after in self.later(node, start):
            if after not in passage.after:
                return None
            node = after
        return node


_known: WeakKeyDictionary[Compiled, Lineage] = WeakKeyDictionary()


def lineage_of(function: Compiled) -> Lineage:
    """The lineage of a function; made once."""
    found = _known.get(function)
    if found is None:
        found = _known[function] = Lineage(function)
    return found
