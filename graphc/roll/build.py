"""From segments of a region to the node that computes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from graphc.expr import Expr, Literal, constant, rebuild
from graphc.ops.leaves import tensor
from graphc.ops.rolled import Piece, Read, Rolled, Round, Run
from graphc.roll.regions import Element, Ints, Region, slot_dtype
from graphc.roll.schedule import SHORTEST, Turns
from graphc.types import DType

#: Externals that are copied into slots by one block.
COPIES = 200


@dataclass(eq=False)
class _Column:
    """What one operand of a piece is, for each repetition."""

    operands: Ints
    dtype: DType
    read: Read | None = None
    literal: Literal | None = None


@dataclass(eq=False)
class _Draft:
    """A run under construction: ``turn`` repetitions in each round.

    ``inputs`` tells the column of each operand from outside.
    """

    nodes: Ints
    turn: int
    columns: list[_Column] = field(default_factory=list)
    inputs: dict[tuple[int, int], int] = field(default_factory=dict)
    results: list[int] = field(default_factory=list)
    out: int = 0


@dataclass(frozen=True, eq=False)
class Build:
    """The program of a region: its operands, the slots of nodes, and those of stacks."""

    program: Rolled
    operands: list[Element | Ints]
    slots: Ints
    stacks: dict[Expr, int]


def build(region: Region, operands: Ints, turns: Sequence[Turns]) -> Build:
    """The runs of a region."""
    return _Builder(region, operands, turns).build()


class _Builder:
    def __init__(self, region: Region, operands: Ints, turns: Sequence[Turns]) -> None:
        self.region = region
        self.operands = operands
        self.groups = [
            (t.times, [_Draft(s.nodes, len(s.nodes) // t.times) for s in t.segments])
            for t in turns
        ]
        self.drafts = [draft for _, group in self.groups for draft in group]
        self.stacks = [
            _Column(np.array(e, np.int64), node.dtype) for node, e in region.stacks.items()
        ]
        self.sources: list[Element | Ints] = []
        self.source_of: dict[object, int] = {}
        self.slots = np.full(len(operands), -1, np.int64)
        self.copies: dict[int, int] = {}  # external: slot
        self.place_externals()

    # externals --------------------------------------------------------------------------------

    def place_externals(self) -> None:
        """Give each external a source, and a position in it."""
        externals = self.region.externals
        self.source = np.zeros(len(externals), np.int64)
        self.position = np.zeros(len(externals), np.int64)
        numbers: dict[str, list[int]] = {}
        for e, meaning in enumerate(externals):
            if isinstance(meaning, Literal):
                numbers.setdefault(meaning.array.dtype.name, []).append(e)
            else:
                self.source[e] = self.source_number(meaning.base, meaning)
                self.position[e] = meaning.index
        for members in numbers.values():
            values = np.stack([externals[e].array for e in members])  # type: ignore[union-attr]
            self.source[members] = self.source_number(values.tobytes(), values)
            self.position[members] = np.arange(len(members))

    def source_number(self, key: object, value: Element | Ints) -> int:
        number = self.source_of.setdefault(key, len(self.sources))
        if number == len(self.sources):
            self.sources.append(value)
        return number

    # slots ------------------------------------------------------------------------------------

    def build(self) -> Build:
        self.find_results()
        for draft in self.drafts:
            self.find_columns(draft)
        for column in self.stacks:
            self.settle(column)
        end = self.place_slots()
        rounds = [Round((run,)) for run in self.copy_runs()]
        for times, group in self.groups:
            rounds.append(Round(tuple(self.run(draft) for draft in group), times))
        starts: dict[Expr, int] = {}
        for stack, column in zip(self.region.stacks, self.stacks, strict=True):
            starts[stack] = end
            run = self.moving(column, end)
            rounds.append(Round((run,)))
            end += run.size
        program = Rolled(rounds, slot_dtype(self.region))
        return Build(program, self.sources, self.slots, starts)

    def find_results(self) -> None:
        """Nodes that are read outside of the repetition that computes them have slots."""
        home = np.zeros(len(self.operands), np.int64)
        count = 0
        for draft in self.drafts:
            rows = len(draft.nodes)
            home[draft.nodes] = count + np.arange(rows)[:, None]
            count += rows
        self.home = home
        node, column = np.nonzero(self.operands >= 0)
        read = self.operands[node, column]
        needed = np.zeros(len(self.operands), bool)
        needed[read[home[read] != home[node]]] = True
        needed[list(self.region.wanted)] = True
        for stack in self.stacks:
            needed[stack.operands[stack.operands >= 0]] = True
        for draft in self.drafts:
            draft.results = np.flatnonzero(needed[draft.nodes].any(axis=0)).tolist()

    def find_columns(self, draft: _Draft) -> None:
        """The operands that come from outside of a piece, equal ones once."""
        first = draft.nodes[0]
        homes = self.home[draft.nodes[:, 0]]
        known: dict[tuple[bytes, str], int] = {}
        for place, node in enumerate(first.tolist()):
            for number, arg in enumerate(self.region.operands[node]):
                if arg >= 0 and self.home[arg] == homes[0]:
                    continue
                found = self.operands[draft.nodes[:, place], number]
                dtype = self.argument(node, number).dtype
                key = found.tobytes(), dtype.name
                column = known.setdefault(key, len(draft.columns))
                if column == len(draft.columns):
                    draft.columns.append(_Column(found, dtype))
                    self.settle(draft.columns[column])
                draft.inputs[place, number] = column

    def argument(self, node: int, number: int) -> Expr:
        return self.region.nodes[node].args[number]

    def settle(self, column: _Column) -> None:
        """Read a column where it lies, if all of it lies in one source; else from slots."""
        outside = column.operands < 0
        if not outside.any():
            return
        externals = -2 - column.operands[outside]
        meaning = self.region.externals[externals[0]]
        if outside.all() and (externals == externals[0]).all() and isinstance(meaning, Literal):
            column.literal = meaning
        elif outside.all() and (self.source[externals] == self.source[externals[0]]).all():
            column.read = self.reading(int(self.source[externals[0]]), self.position[externals])
        else:
            self.copies.update(dict.fromkeys(externals.tolist(), -1))

    def reading(self, source: int | None, positions: Ints) -> Read:
        """A read of a source at positions, with a table if they do not move evenly."""
        start = int(positions[0])
        step = int(positions[1]) - start if len(positions) > 1 else 0
        if (positions == start + step * np.arange(len(positions))).all():
            return Read(source, start, step)
        table = positions.astype(np.int32)
        return Read(source, table=self.source_number(("table", table.tobytes()), table))

    def place_slots(self) -> int:
        """Give copies and results their slots, and return the next one."""
        by_source = sorted(self.copies, key=lambda e: (self.source[e], self.position[e]))
        self.copies = {e: slot for slot, e in enumerate(by_source)}
        end = len(self.copies)
        for draft in self.drafts:
            draft.out = end
            rows = len(draft.nodes)
            for k, place in enumerate(draft.results):
                self.slots[draft.nodes[:, place]] = end + k * rows + np.arange(rows)
            end += rows * len(draft.results)
        return end

    # runs -------------------------------------------------------------------------------------

    def copy_runs(self) -> list[Run]:
        """Copies of externals: loops over those in one source, blocks of single ones."""
        runs: list[Run] = []
        single: list[int] = []
        for _, members in groupby(self.copies, key=lambda e: int(self.source[e])):
            part = list(members)
            column = _Column(np.array([-2 - e for e in part]), self.external_dtype(part[0]))
            self.settle(column)
            if len(part) >= SHORTEST:
                self.block(runs, single)
                runs.append(self.moving(column, self.copies[part[0]]))
            else:
                single += part
                if len(single) >= COPIES:
                    self.block(runs, single)
        self.block(runs, single)
        return runs

    def block(self, runs: list[Run], single: list[int]) -> None:
        """Copy externals that follow each other in slots, one by one, and forget them."""
        if not single:
            return
        leaves = tuple(
            tensor(f"p{k}", (), self.external_dtype(e)) for k, e in enumerate(single)
        )
        reads = tuple(Read(int(self.source[e]), int(self.position[e])) for e in single)
        runs.append(Run(Piece(leaves, leaves), reads, 1, self.copies[single[0]], True))
        single.clear()

    def moving(self, column: _Column, out: int) -> Run:
        """Copy a column into slots."""
        leaf = tensor("p0", (), column.dtype)
        value: Expr = leaf if column.literal is None else constant(column.literal.array)
        reads = () if column.literal else (column.read or self.slot_reading(column),)
        piece = Piece((leaf,) if reads else (), (value,))
        return Run(piece, reads, len(column.operands), out, True)

    def external_dtype(self, e: int) -> DType:
        meaning = self.region.externals[e]
        if isinstance(meaning, Literal):
            return constant(meaning.array).dtype
        return meaning.base.dtype

    def run(self, draft: _Draft) -> Run:
        leaves: list[Expr] = []
        reads: list[Read] = []
        values: list[Expr] = []
        for column in draft.columns:
            if column.literal is not None:
                values.append(constant(column.literal.array))
                continue
            leaves.append(tensor(f"p{len(leaves)}", (), column.dtype))
            values.append(leaves[-1])
            reads.append(column.read or self.slot_reading(column))
        made: dict[int, Expr] = {}
        for place, number in enumerate(draft.nodes[0].tolist()):
            args = [
                values[draft.inputs[place, k]] if (place, k) in draft.inputs else made[a]
                for k, a in enumerate(self.region.operands[number])
            ]
            made[number] = rebuild(self.region.nodes[number], args)
        outputs = tuple(made[int(draft.nodes[0, place])] for place in draft.results)
        independent = not any(self.is_own(draft, c) for c in draft.columns)
        piece = Piece(tuple(leaves), outputs)
        return Run(piece, tuple(reads), len(draft.nodes), draft.out, independent)

    def slot_reading(self, column: _Column) -> Read:
        return self.reading(None, self.places(column))

    def places(self, column: _Column) -> Ints:
        """The slots that a column is read from."""
        places = self.slots[np.maximum(column.operands, 0)]
        for k in np.flatnonzero(column.operands < 0).tolist():
            places[k] = self.copies[int(-2 - column.operands[k])]
        return places

    def is_own(self, draft: _Draft, column: _Column) -> bool:
        """Whether a column holds a result of its own run and round."""
        if column.literal is not None or column.read is not None:
            return False
        rows = len(draft.nodes)
        places = self.places(column) - draft.out
        inside = (places >= 0) & (places < len(draft.results) * rows)
        same = places % rows // draft.turn == np.arange(rows) // draft.turn
        return bool((inside & same).any())
