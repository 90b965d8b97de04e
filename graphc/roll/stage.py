"""The stage ``roll``: large scalar parts of a graph become loops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from graphc.expr import Expr, apply, constant, rebuild, topological
from graphc.ops import elementwise as ew
from graphc.ops.elementwise import cast
from graphc.ops.movement import SLICE, reshape
from graphc.ops.rolled import ROLLED, Piece, Rolled, Round
from graphc.origin import stemming
from graphc.roll.build import Build, build
from graphc.roll.regions import Division, Element, Region, divide, is_member
from graphc.roll.schedule import arrange
from graphc.roll.stacks import join_pads

#: Graphs with fewer scalar nodes than this are left as they are: straight-line code holds
#: values in registers and merges more of them, so calls are up to five times faster ...
SMALLEST = 3000
#: ... but not where one node in eight is a function of some 10 ns. There loops lose nothing,
#: and less code is compiled from this many nodes on.
WITH_FUNCTIONS = 1000
_SHARE = 8
_FUNCTION = 8  # flops


#: Rewrites the results of a piece.
Finish: TypeAlias = Callable[[Piece], Sequence[Expr]]


def roll(
    nodes: Sequence[Expr], roots: Sequence[Expr], finish: Finish
) -> tuple[dict[Expr, Expr], int]:
    """What becomes of each node, and how many scalar nodes were put into loops.

    ``finish`` rewrites each piece, once.
    """
    if len(nodes) < min(SMALLEST, WITH_FUNCTIONS):
        return {}, 0
    members = list(filter(is_member, nodes))
    least = _least(members)
    if len(members) < least:
        return {}, 0
    order = sorted(nodes, key=lambda n: n.number)
    joined = join_pads(order, roots)
    if joined:
        roots = [joined[r] for r in roots]
        order = sorted(topological(roots), key=lambda n: n.number)
    division = divide(order)
    rolled = {p: r for p, r in division.regions.items() if len(r.nodes) >= least}
    if not rolled:
        return {}, 0
    needed = division.settle(rolled, roots)
    became = _Rebuilding(division, rolled, needed, finish).run()
    if joined:
        became = {n: became[j] for n, j in joined.items() if j in became}
    return became, sum(len(r.nodes) for r in rolled.values())


def _least(members: Sequence[Expr]) -> int:
    """How many scalar nodes are worth loops. Powers do not count as functions: those by a
    number become products."""
    functions = sum(n.op.cost >= _FUNCTION and n.op is not ew.pow for n in members)
    often = functions * _SHARE >= len(members)
    return min(SMALLEST, WITH_FUNCTIONS) if often else SMALLEST


class _Rebuilding:
    """A graph whose regions become one node each."""

    def __init__(
        self,
        division: Division,
        rolled: Mapping[int, Region],
        needed: set[Expr],
        finish: Finish,
    ) -> None:
        self.division = division
        self.needed = needed
        self.finish = finish
        self.rolled = rolled
        self.became: dict[Expr, Expr] = {}

    def run(self) -> dict[Expr, Expr]:
        by_phase: dict[int, list[Expr]] = {}
        for node in self.division.order:
            by_phase.setdefault(self.division.phase[node], []).append(node)
        for phase in sorted(by_phase):
            region = self.rolled.get(phase)
            if region is not None:
                self.place(region)
            for node in by_phase[phase]:
                if node in self.needed and node not in self.became:
                    args = [self.became[a] for a in self.division.meant(node.args)]
                    self.became[node] = rebuild(node, args)
        for node, other in self.division.stands_for.items():
            if other in self.became:
                self.became[node] = self.became[other]
        return self.became

    def place(self, region: Region) -> None:
        """Make the node of a region, and a view of it for each value that is needed."""
        operands = region.table()
        tokens = np.array(region.tokens, np.int64)
        made = build(region, operands, arrange(tokens, operands))
        rounds = [
            Round(tuple(r.with_outputs(self.finish(r.piece)) for r in group.runs), group.times)
            for group in made.program.rounds
        ]
        with stemming("roll", region.nodes[-1]):
            program = Rolled(rounds, made.program.dtype)
            whole = apply(ROLLED, self.operands(made), {"program": program})
        views: dict[int, Expr] = {}
        for node, number in region.number.items():
            if number in region.wanted:
                if number not in views:
                    views[number] = self.view(whole, int(made.slots[number]), node)
                self.became[node] = views[number]
            else:
                self.became[node] = whole
        for stack in region.stacks:
            self.became[stack] = self.view(whole, made.stacks[stack], stack)

    def operands(self, made: Build) -> list[Expr]:
        return [
            reshape(self.became[x.base], (-1,)) if isinstance(x, Element) else constant(x)
            for x in made.operands
        ]

    def view(self, whole: Expr, slot: int, node: Expr) -> Expr:
        """The value of a node whose elements lie in slots from one on."""
        with stemming("roll", node):
            length = node.type.size
            piece = apply(SLICE, (whole,), {"ranges": ((slot, length, 1),)})
            value = cast(reshape(piece, node.shape), node.dtype)
        return value.named(node.name) if node.name else value
