"""Running reductions: identities, how two partial results combine, sums over lanes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from graphc.errors import CompileError
from graphc_llvm.emit import Value
from graphc_llvm.lower.code import Code
from graphc_llvm.lower.spans import Span, any_lane, halves, splat
from graphc_llvm.vmath import Lane

Pair = tuple[Value, Value]
"""A value and its position; the position is "" where the kind keeps none."""


@dataclass(frozen=True)
class Reduction:
    """A kind of accumulator on an element type."""

    kind: str
    dtype: str

    @property
    def keeps_position(self) -> bool:
        return self.kind in ("argmax", "argmin")

    @property
    def identity(self) -> float:
        """What leaves any value as it is."""
        if self.kind in ("sum", "any"):
            return 0
        if self.kind in ("prod", "all"):
            return 1
        largest = self.kind in ("min", "argmin")
        if self.dtype.startswith("float"):
            return np.inf if largest else -np.inf
        if self.dtype == "bool":
            return int(largest)
        limits = np.iinfo(self.dtype)
        return int(limits.max if largest else limits.min)

    def start(self, width: int) -> Pair:
        """The state before the first value, in every lane."""
        position = Lane("int64", width).const(0) if self.keeps_position else ""
        return Lane(self.dtype, width).const(self.identity), position

    def types(self, width: int) -> tuple[str, ...]:
        """LLVM types of the state."""
        value = Lane(self.dtype, width).llvm
        return (value, Lane("int64", width).llvm) if self.keeps_position else (value,)


def combine(code: Code, r: Reduction, width: int, old: Pair, new: Pair) -> Pair:
    """A later value or partial result combined into an earlier one; the earlier wins ties."""
    lane = Lane(r.dtype, width)
    if not r.keeps_position:
        return _combine_values(code, r, lane, old[0], new[0]), ""
    return _choose(code, r, width, _beats(code, r, lane, new[0], old[0]), old, new)


def merge(code: Code, r: Reduction, width: int, a: Pair, b: Pair) -> Pair:
    """Two partial results over interleaved iterations; the lower position wins ties."""
    if not r.keeps_position:
        return combine(code, r, width, a, b)
    lane, bit = Lane(r.dtype, width), Lane("bool", width).llvm
    after = _beats(code, r, lane, b[0], a[0])
    before = _beats(code, r, lane, a[0], b[0])
    lower = code.op(f"icmp slt {Lane('int64', width).llvm} {b[1]}, {a[1]}")
    equal = code.op(f"xor {bit} {before}, {Lane('bool', width).const(1)}")
    tie = code.op(f"and {bit} {equal}, {lower}")
    return _choose(code, r, width, code.op(f"or {bit} {after}, {tie}"), a, b)


def _choose(code: Code, r: Reduction, width: int, take: Value, old: Pair, new: Pair) -> Pair:
    bit = Lane("bool", width).llvm
    value, position = (
        code.op(f"select {bit} {take}, {type} {after}, {type} {before}")
        for type, before, after in zip(r.types(width), old, new, strict=True)
    )
    return value, position


def _beats(code: Code, r: Reduction, lane: Lane, new: Value, old: Value) -> Value:
    """Whether ``new`` is strictly better: NaN is better than any number."""
    greater = r.kind == "argmax"
    if not lane.is_float:
        sign = "s" if lane.is_signed else "u"
        return code.op(f"icmp {sign}{'gt' if greater else 'lt'} {lane.llvm} {new}, {old}")
    bit = lane.of("bool").llvm
    better = code.op(f"fcmp {'ogt' if greater else 'olt'} {lane.llvm} {new}, {old}")
    nan = code.op(f"fcmp uno {lane.llvm} {new}, {new}")
    number = code.op(f"fcmp ord {lane.llvm} {old}, {old}")
    return code.op(f"or {bit} {better}, {code.op(f'and {bit} {nan}, {number}')}")


def _may_beat(code: Code, r: Reduction, lane: Lane, new: Value, old: Value) -> Value:
    """As `_beats`, but true where either is NaN."""
    if not lane.is_float:
        return _beats(code, r, lane, new, old)
    order = "ugt" if r.kind == "argmax" else "ult"
    return code.op(f"fcmp {order} {lane.llvm} {new}, {old}")


_BOOLEAN = {"sum": "or", "any": "or", "max": "or", "prod": "and", "all": "and", "min": "and"}


def _combine_values(code: Code, r: Reduction, lane: Lane, old: Value, new: Value) -> Value:
    t = lane.llvm
    if lane.dtype == "bool":
        return code.op(f"{_BOOLEAN[r.kind]} {t} {old}, {new}")
    if r.kind in ("any", "all"):
        raise CompileError(f"{r.kind} of {lane.dtype} values", hint="compare with 0 first")
    if r.kind in ("sum", "prod"):
        opcode = "add" if r.kind == "sum" else "mul"
        return code.op(
            f"f{opcode} {t} {old}, {new}" if lane.is_float else f"{opcode} {t} {old}, {new}"
        )
    if not lane.is_float:
        sign = "s" if lane.is_signed else "u"
        name = f"llvm.{sign}{r.kind}.{lane.suffix}"
        return code.call(t, name, (t, old), (t, new))
    # False if unordered, so that a NaN in ``old`` stays.
    better = code.op(f"fcmp {'ogt' if r.kind == 'max' else 'olt'} {t} {new}, {old}")
    bit = lane.of("bool").llvm
    number = code.op(f"select {bit} {better}, {t} {new}, {t} {old}")
    nan = code.op(f"fcmp uno {t} {new}, {new}")
    return code.op(f"select {bit} {nan}, {t} {new}, {t} {number}")


@dataclass(frozen=True)
class State:
    """The running value of an accumulator in each part of a span.

    With ``across`` the lanes are of one reduction, which runs over them.
    """

    reduction: Reduction
    width: int
    parts: tuple[Pair, ...]
    across: bool = False

    @staticmethod
    def initial(reduction: Reduction, span: Span) -> State:
        return State(reduction, span.width, (reduction.start(span.width),) * span.parts)

    def flat(self) -> list[tuple[str, Value]]:
        """Types and values of all that a loop has to carry."""
        types = self.reduction.types(self.width)
        return [(t, v) for pair in self.parts for t, v in zip(types, pair, strict=False)]

    def replaced(self, values: Sequence[Value]) -> State:
        """The same with the values of `flat` replaced."""
        if self.reduction.keeps_position:
            parts = tuple(zip(values[::2], values[1::2], strict=True))
        else:
            parts = tuple((value, "") for value in values)
        return replace(self, parts=parts)

    @property
    def results(self) -> tuple[Value, ...]:
        """What its name stands for: positions, or values."""
        return tuple(p[1] if self.reduction.keeps_position else p[0] for p in self.parts)

    @property
    def dtype(self) -> str:
        """The type of `results`."""
        return "int64" if self.reduction.keeps_position else self.reduction.dtype

    def accumulated(
        self,
        code: Code,
        values: Sequence[Value],
        positions: Sequence[Value],
        span: Span,
    ) -> State:
        """With one more value in every active lane."""
        if self.reduction.keeps_position and self.across:
            return self._with_records(code, values, positions, span)
        return self._by_lane(code, values, positions, span)

    def _with_records(
        self, code: Code, values: Sequence[Value], positions: Sequence[Value], span: Span
    ) -> State:
        """As `accumulated`, on a branch that is taken if a value beats all before it, which
        happens rarely: then the best of all lanes becomes the state of each."""
        lane, old = Lane(self.reduction.dtype, self.width), self.flat()
        beats = [
            _may_beat(code, self.reduction, lane, new, pair[0])
            for new, pair in zip(values, self.parts, strict=True)
        ]
        record, before = any_lane(code, span, beats), code.block
        with code.when(record):
            best = self._by_lane(code, values, positions, span).over_lanes(code).flat()
            spread = [splat(code, t, v, self.width) for t, v in best]
            after = code.block
        new = [
            code.op(f"phi {t} [ {v}, %{before} ], [ {n}, %{after} ]")
            for (t, v), n in zip(old, spread * len(self.parts), strict=True)
        ]
        return self.replaced(new)

    def _by_lane(
        self, code: Code, values: Sequence[Value], positions: Sequence[Value], span: Span
    ) -> State:
        parts = []
        for old, new in zip(self.parts, zip(values, positions, strict=True), strict=True):
            pair = combine(code, self.reduction, self.width, old, new)
            parts.append(self._where_active(code, span, pair, old))
        return replace(self, parts=tuple(parts))

    def _where_active(self, code: Code, span: Span, new: Pair, old: Pair) -> Pair:
        if span.mask is None:
            return new
        bit = f"<{span.width} x i1> {span.mask}"
        kept = [
            code.op(f"select {bit}, {t} {n}, {t} {o}")
            for t, n, o in zip(self.reduction.types(self.width), new, old, strict=False)
        ]
        return kept[0], kept[1] if len(kept) > 1 else ""

    def joined(self, code: Code) -> State:
        """All parts combined into one, pairwise."""
        parts = list(self.parts)
        while len(parts) > 1:
            half = (len(parts) + 1) // 2
            low, high = parts[:half], parts[half:]
            parts = [
                merge(code, self.reduction, self.width, a, b)
                for a, b in zip(low, high, strict=False)
            ] + low[len(high) :]
        return replace(self, parts=tuple(parts))

    def over_lanes(self, code: Code) -> State:
        """All lanes of all parts combined into a scalar: halves are added until one is left."""
        (pair,) = self.joined(code).parts
        width = self.width
        while width > 1:
            types = [Lane(self.reduction.dtype, width), Lane("int64", width)]
            split = [halves(code, t, v) for t, v in zip(types, pair, strict=True) if v]
            low = (split[0][0], split[1][0] if len(split) > 1 else "")
            high = (split[0][1], split[1][1] if len(split) > 1 else "")
            width //= 2
            pair = merge(code, self.reduction, width, low, high)
        return State(self.reduction, 1, (pair,))
