"""A function under construction with 64-bit integer arithmetic and structured control flow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from graphc_llvm.emit import Function, Value

#: Attributes of functions that run once in a while: they are compiled quickly instead.
COLD = "noinline optnone"


@dataclass
class Loop:
    """A counted loop: its index, the carried values, and what they become.

    After the loop ``values`` are the final ones.
    """

    index: Value
    values: tuple[Value, ...]
    next: Sequence[Value]


class Code(Function):
    """``Function`` with short names for what index computations need; integers are i64."""

    def add(self, a: Value, b: Value) -> Value:
        return self.op(f"add i64 {a}, {b}")

    def sub(self, a: Value, b: Value) -> Value:
        return self.op(f"sub i64 {a}, {b}")

    def mul(self, a: Value, b: Value) -> Value:
        return self.op(f"mul i64 {a}, {b}")

    def div(self, a: Value, b: Value) -> Value:
        return self.op(f"udiv i64 {a}, {b}")

    def ceil_div(self, a: Value, b: Value) -> Value:
        """``a / b`` rounded up."""
        return self.div(self.add(a, self.sub(b, "1")), b)

    def compare(self, predicate: str, a: Value, b: Value) -> Value:
        return self.op(f"icmp {predicate} i64 {a}, {b}")

    def both(self, a: Value, b: Value) -> Value:
        return self.op(f"and i1 {a}, {b}")

    def either(self, a: Value, b: Value) -> Value:
        return self.op(f"or i1 {a}, {b}")

    def negate(self, a: Value) -> Value:
        return self.op(f"xor i1 {a}, true")

    def select(self, condition: Value, a: Value, b: Value, type: str = "i64") -> Value:
        return self.op(f"select i1 {condition}, {type} {a}, {type} {b}")

    def min(self, a: Value, b: Value) -> Value:
        return self.select(self.compare("slt", a, b), a, b)

    def max(self, a: Value, b: Value) -> Value:
        return self.select(self.compare("sgt", a, b), a, b)

    def offset(self, pointer: Value, count: Value) -> Value:
        """``pointer`` moved by ``count`` bytes."""
        return self.op(f"getelementptr i8, ptr {pointer}, i64 {count}")

    def at(self, pointer: Value, *steps: tuple[Value, Value]) -> Value:
        """``pointer`` moved by the sum of ``index * stride`` over ``steps``."""
        for index, stride in steps:
            pointer = self.offset(pointer, self.mul(index, stride))
        return pointer

    def load(self, type: str, pointer: Value, align: int = 8) -> Value:
        return self.op(f"load {type}, ptr {pointer}, align {align}")

    def store(self, type: str, value: Value, pointer: Value, align: int = 8) -> None:
        self.do(f"store {type} {value}, ptr {pointer}, align {align}")

    def prefetch(self, pointer: Value, level: int = 1) -> None:
        """Ask for the line at ``pointer`` in a cache; it need not be valid memory."""
        kind = ("i32", "0"), ("i32", str(4 - level)), ("i32", "1")
        self.call("void", "llvm.prefetch.p0", ("ptr", pointer), *kind)

    @contextmanager
    def loop(
        self,
        begin: Value,
        end: Value,
        step: Value = "1",
        carried: Sequence[tuple[str, Value]] = (),
    ) -> Iterator[Loop]:
        """``for index in range(begin, end, step)``; ``carried`` are types and first values."""
        head, body, latch, done = (self.fresh(h) for h in ("head", "body", "latch", "done"))
        before = self.block
        self.branch(head)
        self.label(head)
        types = ["i64", *(t for t, _ in carried)]
        first = [begin, *(v for _, v in carried)]
        phis = ["%" + self.fresh("v") for _ in types]
        place = len(self._lines)
        self._lines += [""] * len(phis)
        self.branch_if(self.compare("slt", phis[0], end), body, done)
        self.label(body)
        state = Loop(phis[0], tuple(phis[1:]), tuple(phis[1:]))
        yield state
        self.branch(latch)
        self.label(latch)
        last = [self.add(phis[0], step), *state.next]
        self.branch(head)
        for i, (name, type, start, after) in enumerate(
            zip(phis, types, first, last, strict=True)
        ):
            self._lines[place + i] = (
                f"  {name} = phi {type} [ {start}, %{before} ], [ {after}, %{latch} ]"
            )
        self.label(done)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """``if condition:`` without a value."""
        then, done = self.fresh("then"), self.fresh("done")
        self.branch_if(condition, then, done)
        self.label(then)
        yield
        self.branch(done)
        self.label(done)

    @contextmanager
    def guard(self, condition: Value, result: str) -> Iterator[None]:
        """``if condition: ...; return`` with ``result`` as in ``void`` or ``i32 0``."""
        then, done = self.fresh("then"), self.fresh("done")
        self.branch_if(condition, then, done)
        self.label(then)
        yield
        self.do(f"ret {result}")
        self.label(done)
