"""Kernels without loops, and with the smallest of loops, as one: values stay in registers.

Scalar results of a graph are computed by many kernels, and put together by more: parts of a
stack, paddings, copies. Those that follow one another become one list of statements. What it
stores and reads again is not read, and not stored where nobody else reads it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeGuard

from graphc.loops.epilogue import passes, touched
from graphc.loops.ir import (
    Buffer,
    Compute,
    Const,
    Index,
    Kernel,
    Load,
    Loop,
    LoopKernel,
    Name,
    Position,
    Statement,
    Store,
    statements,
)

#: Straight-line code beyond this many statements is cut: compilers are superlinear in it.
MAX_STATEMENTS = 4000
#: Loops that only move elements, at most so many, are written out.
MOST_MOVES = 16
#: So many other kernels may be between one and that which it joins.
REACH = 4
#: So many words of labels are kept.
_WORDS = 6


def straightened(*parts: Sequence[Kernel]) -> list[list[Kernel]]:
    """The parts of a program, in each the kernels joined that can be written without loops.

    A kernel runs where an earlier one stood if none between them needs or disturbs what it
    does. Loops are written out only where kernels are joined.
    """
    users = Counter(name for part in parts for k in part for name in set().union(*touched(k)))
    return [_straightened(part, users) for part in parts]


def _straightened(kernels: Sequence[Kernel], users: Mapping[str, int]) -> list[Kernel]:
    runs: list[_Run] = []
    for kernel in kernels:
        length = _length(kernel.body) if is_straight(kernel) else 0
        run = _reachable(runs, kernel, length) if length else None
        if run is None:
            runs.append(run := _Run())
        run.kernels.append(kernel)
        run.length += length
    return [_joined(run.kernels, users) for run in runs]


@dataclass
class _Run:
    """Kernels that become one; a kernel that is not straight has the length 0."""

    kernels: list[Kernel] = field(default_factory=list)
    length: int = 0


def _reachable(runs: Sequence[_Run], kernel: Kernel, length: int) -> _Run | None:
    """Straight kernels that one more can be the end of."""
    between: list[Kernel] = []
    for run in runs[: -REACH - 2 : -1]:
        if run.length:
            fits = run.length + length <= MAX_STATEMENTS and passes(kernel, between)
            return run if fits else None
        between += run.kernels
    return None


# Which kernels -------------------------------------------------------------------------------


def is_straight(kernel: Kernel) -> TypeGuard[LoopKernel]:
    """Whether all loops of a kernel together are a few moves, or run once."""
    if not isinstance(kernel, LoopKernel):
        return False
    body = list(statements(kernel.body))
    moves = not any(isinstance(s, Compute) for s in body)
    variables = {s.var for s in body if isinstance(s, Loop)}
    return all(
        _is_short(s, MOST_MOVES if moves else 1)
        if isinstance(s, Loop)
        else _is_fixed(s, variables)
        for s in body
    )


def _is_short(loop: Loop, most: int) -> bool:
    """Whether a loop, with those inside it, has at most so many iterations."""
    if not isinstance(loop.extent, int) or loop.accumulators or not loop.extent:
        return False
    inner = [s for s in loop.body if isinstance(s, Loop)]
    return loop.extent <= most and all(_is_short(s, most // loop.extent) for s in inner)


def _is_fixed(s: Statement, variables: set[Name]) -> bool:
    """Whether a statement does the same wherever it stands, at elements that are numbers."""
    if isinstance(s, Load | Store):
        adds = isinstance(s, Store) and s.add
        return _is_number(s.index, variables) and s.buffer.kind != "row" and not adds
    if isinstance(s, Position):
        return _is_number(s.index, variables)
    return isinstance(s, Const | Compute)


def _is_number(index: Index, variables: set[Name]) -> bool:
    """Whether an index is one where the loop variables are."""
    steps = [step for name, step in index.terms if name in variables]
    numbers = all(isinstance(n, int) for n in (index.offset, *steps))
    return numbers and len(steps) == len(index.terms)


def _length(body: Sequence[Statement]) -> int:
    """Number of statements without loops."""
    inner = [s for s in body if isinstance(s, Loop)]
    times = sum(s.extent * _length(s.body) for s in inner if isinstance(s.extent, int))
    return len(body) - len(inner) + times


# Joined --------------------------------------------------------------------------------------


def _joined(run: Sequence[Kernel], users: Mapping[str, int]) -> Kernel:
    if len(run) == 1:
        return run[0]
    own = Counter(name for k in run for name in set().union(*touched(k)))
    block = _Block({name for name, times in own.items() if times == users[name]})
    kernels = [k for k in run if isinstance(k, LoopKernel)]
    for kernel in kernels:
        block.write(kernel.body, {}, {})
    body = block.finished()
    words = list(dict.fromkeys(w for k in kernels for w in k.label.split(", ") if w != "..."))
    more = ["..."] if len(words) > _WORDS else []
    return LoopKernel(
        kernels[0].name,
        tuple(body),
        ", ".join(words[:_WORDS] + more),
        sum((k.flops for k in kernels), start=0),
        sum(s.buffer.dtype.itemsize for s in body if isinstance(s, Load | Store)),
        tuple(block.kept.values()),
    )


_Element = tuple[str, int]
_Value = Const | Compute | Position | Load


@dataclass
class _Block:
    """Statements without loops, equal values once.

    ``own`` are names of buffers that no other kernel touches: what is in ``workspace`` among
    them needs no memory and is ``kept`` in values.
    """

    own: set[str]
    kept: dict[str, Buffer] = field(default_factory=dict)
    body: list[_Value] = field(default_factory=list)
    known: dict[object, Name] = field(default_factory=dict)
    elements: dict[_Element, Name] = field(default_factory=dict)
    stores: dict[_Element, Store] = field(default_factory=dict)

    def write(
        self, body: Sequence[Statement], at: Mapping[Name, int], names: Mapping[Name, Name]
    ) -> None:
        """Add a body where its loop variables are the numbers ``at``.

        ``names`` are those of the block for values outside of the body.
        """
        names = dict(names)
        for s in body:
            if isinstance(s, Loop):
                assert isinstance(s.extent, int)
                for i in range(s.extent):
                    self.write(s.body, {**at, s.var: i}, names)
            elif isinstance(s, Store):
                self.store(s, _number(s.index, at), names[s.value])
            elif isinstance(s, Load):
                names[s.name] = self.load(s, _number(s.index, at))
            elif isinstance(s, Const | Compute | Position):
                names[s.name] = self.value(s, at, names)

    def load(self, s: Load, place: int) -> Name:
        element = s.buffer.name, place
        if element not in self.elements:
            name = f"v{len(self.body) + 1}"
            self.body.append(Load(name, s.buffer, Index((), place)))
            self.elements[element] = name
        return self.elements[element]

    def store(self, s: Store, place: int, value: Name) -> None:
        """The last value of an element is stored, at the end of the block."""
        element = s.buffer.name, place
        self.elements[element] = value
        if s.buffer.kind == "workspace" and s.buffer.name in self.own:
            self.kept[s.buffer.name] = s.buffer
        else:
            self.stores[element] = Store(s.buffer, Index((), place), value)

    def value(
        self, s: Const | Compute | Position, at: Mapping[Name, int], names: Mapping[Name, Name]
    ) -> Name:
        new: Const | Compute | Position
        name = f"v{len(self.body) + 1}"
        if isinstance(s, Compute):
            new = replace(s, name=name, args=tuple(names[a] for a in s.args))
        elif isinstance(s, Const):
            new = replace(s, name=name)
        else:
            offset = s.index.offset
            for var, step in s.index.terms:
                offset = offset + step * at[var]
            new = Position(name, Index((), offset))
        key = _key(new)
        if key not in self.known:
            self.known[key] = name
            self.body.append(new)
        return self.known[key]

    def finished(self) -> list[Statement]:
        """The statements that matter, each store behind its value or behind all loads."""
        read = {s.buffer.name for s in self.body if isinstance(s, Load)}
        behind: dict[Name, list[Store]] = {}
        last: list[Store] = []
        for s in self.stores.values():
            target = last if s.buffer.name in read else behind.setdefault(s.value, [])
            target.append(s)
        used = {s.value for s in self.stores.values()}
        found: list[Statement] = [*reversed(last)]
        for v in reversed(self.body):
            if v.name in used:
                used.update(v.args if isinstance(v, Compute) else ())
                found += [*behind.get(v.name, ()), v]
        return found[::-1]


def _number(index: Index, at: Mapping[Name, int]) -> int:
    """An index where the loop variables are numbers."""
    offset = index.offset + sum(step * at[var] for var, step in index.terms)
    assert isinstance(offset, int)
    return offset


def _key(value: Const | Compute | Position) -> object:
    """What equal values have in common."""
    if isinstance(value, Compute):
        return value.op, value.args, value.dtype
    if isinstance(value, Position):
        return value.index
    plain = value.value == value.value
    return (value.dtype, repr(value.value)) if plain else value.name
