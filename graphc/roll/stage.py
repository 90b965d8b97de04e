"""The stage ``roll``: large scalar parts of a graph become loops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from graphc.expr import Expr, apply, constant, rebuild, stemming
from graphc.ops.movement import RESHAPE, SLICE, reshape
from graphc.ops.rolled import ROLLED, Piece, Rolled
from graphc.roll.build import Build, build
from graphc.roll.periods import find_stretches
from graphc.roll.regions import Division, Element, Region, divide
from graphc.roll.schedule import schedule
from graphc.roll.units import find_units

#: Graphs with fewer scalar nodes than this are left as they are.
SMALLEST = 2000


#: Rewrites the results of a piece.
Finish: TypeAlias = Callable[[Piece], Sequence[Expr]]


def roll(
    nodes: Sequence[Expr], roots: Sequence[Expr], finish: Finish
) -> tuple[dict[Expr, Expr], int]:
    """What becomes of each node, and how many scalar nodes were put into loops.

    ``finish`` rewrites each piece, once.
    """
    if sum(not n.type.shape for n in nodes) < SMALLEST:
        return {}, 0
    division = divide(nodes, roots)
    rolled = {p: r for p, r in division.regions.items() if len(r.nodes) >= SMALLEST}
    if not rolled:
        return {}, 0
    return _Rebuilding(division, rolled, finish).run(), sum(
        len(r.nodes) for r in rolled.values()
    )


class _Rebuilding:
    """A graph whose regions become one node each."""

    def __init__(
        self, division: Division, rolled: Mapping[int, Region], finish: Finish
    ) -> None:
        self.division = division
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
                if region is None or node not in region.number:
                    self.keep(node)
        return self.became

    def keep(self, node: Expr) -> None:
        other = self.division.stands_for.get(node)
        if other is not None:
            if other in self.became:
                self.became[node] = self.became[other]
            return
        self.became[node] = rebuild(
            node, [self.became[self.division.stands_for.get(a, a)] for a in node.args]
        )

    def place(self, region: Region) -> None:
        """Make the node of a region, and a view of it for each value that is needed."""
        operands = region.table()
        tokens = np.array(region.tokens, np.int64)
        units = find_units(tokens, operands, find_stretches(tokens, operands))
        made = build(region, operands, schedule(operands, units))
        runs = [run.with_outputs(self.finish(run.piece)) for run in made.program.runs]
        with stemming("roll", region.nodes[-1]):
            program = Rolled(runs, made.program.dtype)
            whole = apply(ROLLED, self.operands(made), {"program": program})
        views: dict[int, Expr] = {}
        for node, number in region.number.items():
            if number in region.wanted:
                if number not in views:
                    views[number] = self.view(whole, int(made.slots[number]), node)
                self.became[node] = views[number]
            else:
                self.became[node] = whole

    def operands(self, made: Build) -> list[Expr]:
        return [
            reshape(self.became[x.base], (-1,)) if isinstance(x, Element) else constant(x)
            for x in made.operands
        ]

    def view(self, whole: Expr, slot: int, node: Expr) -> Expr:
        """The value of a node that has a slot."""
        with stemming("roll", node):
            piece = apply(SLICE, (whole,), {"ranges": ((slot, 1, 1),)})
            value = apply(RESHAPE, (piece,), {"shape": ()})
            if value.dtype is not node.dtype:
                from graphc.ops.elementwise import cast

                value = cast(value, node.dtype)
        return value.named(node.name) if node.name else value
