"""Loops over equal-shaped pieces of a scalar computation, as one node.

Large scalar graphs repeat themselves: a time step, a pair of bodies, a link of an arm. The
stage ``roll`` replaces them by one node that keeps each piece once, with tables that say what
each repetition reads. The node's value is a vector of slots, one for each number that is needed
outside the piece that computes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.expr import Attrs, Expr, constant_value, topological
from graphc.ops.table import Op
from graphc.types import DType, TensorType


@dataclass(frozen=True)
class Read:
    """Which number a piece reads: element ``start + step*i`` of a source in repetition ``i``.

    Attributes
    ----------
    source
        The number of an operand, or None: the slots.
    start, step
        The element, if it moves evenly.
    table
        The number of the operand whose element ``i`` is the element to read instead.
    """

    source: int | None
    start: int = 0
    step: int = 0
    table: int | None = None


@dataclass(frozen=True, eq=False)
class Piece:
    """A small scalar graph: leaves for what it reads, and its results."""

    inputs: tuple[Expr, ...]
    outputs: tuple[Expr, ...]

    def nodes(self) -> tuple[Expr, ...]:
        """All nodes that the results depend on, operands first."""
        return self._nodes

    @cached_property
    def _nodes(self) -> tuple[Expr, ...]:
        return tuple(topological(self.outputs))

    @property
    def operations(self) -> list[Expr]:
        """The nodes that compute something."""
        return [n for n in self._nodes if n.op.family != "leaf"]


@dataclass(frozen=True, eq=False)
class Run:
    """Repetitions of a piece, one after the other.

    Result ``k`` of repetition ``i`` is slot ``out + k*count + i``. If the run is
    ``independent``, no repetition reads a slot that the run fills in the same round, otherwise
    those of earlier repetitions only.
    """

    piece: Piece
    reads: tuple[Read, ...]
    count: int
    out: int
    independent: bool

    @property
    def size(self) -> int:
        """How many slots it fills."""
        return len(self.piece.outputs) * self.count

    @property
    def flops(self) -> int:
        return self.count * sum(n.op.cost for n in self.piece.operations)

    def with_outputs(self, outputs: Sequence[Expr]) -> Run:
        """The run with its piece computed otherwise."""
        piece = Piece(self.piece.inputs, tuple(outputs))
        return Run(piece, self.reads, self.count, self.out, self.independent)


@dataclass(frozen=True, eq=False)
class Round:
    """Runs that take turns: in each of ``times`` rounds an equal part of every run."""

    runs: tuple[Run, ...]
    times: int = 1


class Rolled:
    """What a ``rolled`` node computes: rounds that fill slots. It equals only itself."""

    __slots__ = ("dtype", "rounds", "size")

    def __init__(self, rounds: Sequence[Round], dtype: DType) -> None:
        self.rounds = tuple(rounds)
        self.dtype = dtype
        self.size = sum(run.size for run in self.runs)

    @property
    def runs(self) -> list[Run]:
        return [run for group in self.rounds for run in group.runs]

    @property
    def flops(self) -> int:
        return sum(run.flops for run in self.runs)

    def __str__(self) -> str:
        parts = [f"{run.count} x {len(run.piece.operations)} ops" for run in self.runs]
        shown = parts if len(parts) <= 6 else [*parts[:5], f"... {len(parts) - 5} more"]
        return f"{len(parts)} runs: {', '.join(shown)}"

    __repr__ = __str__


def _rolled_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    rolled: Rolled = attrs["program"]
    for run in rolled.runs:
        if len(run.reads) != len(run.piece.inputs):
            raise ShapeError(
                f"a piece with {len(run.piece.inputs)} inputs has {len(run.reads)} reads"
            )
        for read in run.reads:
            _check_read(read, types, run.count)
    return TensorType(rolled.dtype, (rolled.size,))


def _check_read(read: Read, types: Sequence[TensorType], count: int) -> None:
    if read.source is not None and types[read.source].rank > 1:
        raise ShapeError(f"operand {read.source} has rank {types[read.source].rank}, not 1")
    if read.table is None:
        return
    table = types[read.table]
    if not table.dtype.is_integer or table.shape != (count,):
        raise DTypeError(f"a table of {count} positions has type {table}")


def positions(read: Read, count: int, operands: Sequence[Any]) -> Any:
    """The elements that ``count`` repetitions read."""
    if read.table is not None:
        return operands[read.table]
    return read.start + read.step * np.arange(count)


def evaluate_piece(piece: Piece, values: Sequence[Any]) -> list[Any]:
    """Results of a piece for values of its inputs: numbers, or arrays of repetitions."""
    memo = dict(zip(piece.inputs, values, strict=True))
    for node in piece.nodes():
        if node in memo:
            continue
        found = constant_value(node)
        if found is None:
            found = node.op.evaluate(*(memo[a] for a in node.args), **node.attrs)
        memo[node] = found
    return [memo[o] for o in piece.outputs]


def _evaluate_rolled(*operands: Any, program: Rolled) -> Any:
    slots = np.zeros(program.size, program.dtype.numpy)
    flat = [np.reshape(x, -1) for x in operands]
    for group in program.rounds:
        work = [_prepared(run, slots, flat) for run in group.runs]
        for turn in range(group.times):
            for run, read, out in work:
                part = run.count // group.times
                _evaluate_part(run, read, out, range(turn * part, (turn + 1) * part))
    return slots


_Reads: TypeAlias = "list[tuple[Any, Any, Any]]"


def _prepared(run: Run, slots: Any, operands: Sequence[Any]) -> tuple[Run, _Reads, Any]:
    """A run, for each input its source, positions and element type, and where results go."""
    reads = [
        (
            slots if r.source is None else operands[r.source],
            positions(r, run.count, operands),
            x.dtype.numpy,
        )
        for r, x in zip(run.reads, run.piece.inputs, strict=True)
    ]
    return run, reads, slots[run.out : run.out + run.size].reshape(-1, run.count)


def _evaluate_part(run: Run, reads: _Reads, out: Any, part: range) -> None:
    steps: Any = [slice(part.start, part.stop)] if run.independent else part
    for step in steps:
        values = [source[places[step]].astype(type) for source, places, type in reads]
        for row, value in zip(out, evaluate_piece(run.piece, values), strict=True):
            row[step] = value


ROLLED = Op(
    "rolled",
    "control",
    _rolled_type,
    _evaluate_rolled,
    doc="Loops over equal-shaped pieces of a scalar graph; a vector of their results.",
    internal=True,
)
