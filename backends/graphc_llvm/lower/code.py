"""A function under construction with structured loops, hoisting and size arithmetic.

Scopes
------
Scope 0 is the function, scope d the body of the d-th loop around the current place. A value
has the depth of the scope that it is computed in; sizes and what follows from them have depth
-1. What is needed inside a loop but is known outside is written before the loop, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, TypeAlias

from graphc.types import Dim, Size
from graphc_llvm.emit import Function, Module, Value

Bound: TypeAlias = "int | Value"
"""An i64: a number, or the text of a value."""


@dataclass
class Scope:
    """The body of a loop: the place before it, and what was computed there or in it."""

    before: list[str]
    known: dict[object, Value] = field(default_factory=dict)


@dataclass
class Iteration:
    """The body of a loop being written: its index, the carried values, what they become.

    After the loop ``values`` are the final ones.
    """

    index: Bound
    values: list[Value]
    next: list[Value]


class Code(Function):
    """A function with loops. ``dims`` points to the values of the size ``symbols``."""

    def __init__(
        self,
        module: Module,
        name: str,
        returns: str,
        params: Sequence[tuple[str, str]],
        symbols: Sequence[str],
        *,
        internal: bool = True,
        attributes: str = "nounwind",
    ) -> None:
        super().__init__(
            module, name, returns, params, internal=internal, attributes=attributes
        )
        self.symbol_slots = {name: slot for slot, name in enumerate(symbols)}
        self._insertions: list[tuple[int, list[str]]] = []
        self.entry = self._insertion()
        self.scopes = [Scope(self._insertion())]

    def _insertion(self) -> list[str]:
        """A place in the text, to be filled later."""
        lines: list[str] = []
        self._insertions.append((len(self._lines), lines))
        return lines

    def finish(self, shared: bool = False) -> None:
        lines: list[str] = []
        begin = 0
        for position, inserted in self._insertions:
            lines += self._lines[begin:position]
            lines += inserted
            begin = position
        self._lines = lines + self._lines[begin:]
        super().finish(shared)

    # Hoisting --------------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """Depth of the current place."""
        return len(self.scopes) - 1

    @contextmanager
    def writing(self, lines: list[str]) -> Iterator[None]:
        """Write to another place of the function."""
        current, self._lines = self._lines, lines
        try:
            yield
        finally:
            self._lines = current

    def once(self, depth: int, key: object, compute: Callable[[], Value]) -> Value:
        """``compute()`` where all values of ``depth`` are known, shared by equal keys."""
        here = len(self.scopes) - 1
        scope = self.scopes[min(depth + 1, here)]
        value = scope.known.get((depth, key))
        if value is None:
            if depth >= here:
                value = compute()
            else:
                with self.writing(scope.before):
                    value = compute()
            scope.known[depth, key] = value
        return value

    def alloca(self, text: str) -> Value:
        """Memory on the stack, released when the function returns."""
        with self.writing(self.entry):
            return self.op(f"alloca {text}")

    # Integers --------------------------------------------------------------------------------

    def add(self, a: Bound, b: Bound) -> Bound:
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if a == 0 or b == 0:
            return b if a == 0 else a
        return self.op(f"add i64 {a}, {b}")

    def sub(self, a: Bound, b: Bound) -> Bound:
        if isinstance(a, int) and isinstance(b, int):
            return a - b
        return a if b == 0 else self.op(f"sub i64 {a}, {b}")

    def mul(self, a: Bound, b: Bound) -> Bound:
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        if a == 0 or b == 0:
            return 0
        if a == 1 or b == 1:
            return b if a == 1 else a
        return self.op(f"mul i64 {a}, {b}")

    def minimum(self, a: Bound, b: Bound) -> Bound:
        return self._extreme("smin", a, b)

    def maximum(self, a: Bound, b: Bound) -> Bound:
        return self._extreme("smax", a, b)

    def _extreme(self, name: str, a: Bound, b: Bound) -> Bound:
        if isinstance(a, int) and isinstance(b, int):
            return min(a, b) if name == "smin" else max(a, b)
        return self.call("i64", f"llvm.{name}.i64", ("i64", str(a)), ("i64", str(b)))

    def floor_div(self, a: Bound, b: Bound) -> Bound:
        """``a // b`` rounded down; by zero it is anything, but does not trap."""
        if isinstance(a, int) and isinstance(b, int) and b:
            return a // b
        if isinstance(b, int) and b > 0 and b & (b - 1) == 0:
            return self.op(f"ashr i64 {a}, {b.bit_length() - 1}")
        zero = self.op(f"icmp eq i64 {b}, 0")
        divisor = self.op(f"select i1 {zero}, i64 1, i64 {b}")
        quotient = self.op(f"sdiv i64 {a}, {divisor}")
        remainder = self.op(f"srem i64 {a}, {divisor}")
        differ = self.op(f"icmp slt i64 {self.op(f'xor i64 {remainder}, {divisor}')}, 0")
        inexact = self.op(f"icmp ne i64 {remainder}, 0")
        low = self.op(f"and i1 {differ}, {inexact}")
        return self.op(f"add i64 {quotient}, {self.op(f'sext i1 {low} to i64')}")

    def ceil_div(self, a: Bound, b: Bound) -> Bound:
        """``a / b`` rounded up, of a >= 0 and b > 0."""
        if isinstance(a, int) and isinstance(b, int):
            return -(-a // b)
        return self.op(f"udiv i64 {self.add(a, self.sub(b, 1))}, {b}")

    def round_up(self, a: Bound, step: int) -> Bound:
        """The next multiple of ``step``, a power of two."""
        if isinstance(a, int):
            return -(-a // step) * step
        return a if step == 1 else self.op(f"and i64 {self.add(a, step - 1)}, {-step}")

    # Sizes -----------------------------------------------------------------------------------

    def size(self, size: Size) -> Bound:
        """A size as a number or an i64 value, computed at the top of the function."""
        if not isinstance(size, Dim):
            return int(size)
        return self.once(-1, size, lambda: str(self._polynomial(size)))

    def _polynomial(self, size: Dim) -> Bound:
        return reduce(self.add, [self._monomial(m, c) for m, c in size.terms])

    def _monomial(self, atoms: tuple[Any, ...], coefficient: int) -> Bound:
        factors: list[Bound] = [self._atom(atom) for atom in atoms]
        return reduce(self.mul, [*factors, coefficient])

    def _atom(self, atom: Any) -> Bound:
        if isinstance(atom, str):
            return self.once(-1, ("symbol", atom), lambda: self._symbol(atom))
        return self.once(-1, atom, lambda: str(self._quotient(atom)))

    def _quotient(self, atom: Any) -> Bound:
        return self.floor_div(self.size(atom.numerator), self.size(atom.denominator))

    def _symbol(self, name: str) -> Value:
        slot = self.symbol_slots[name]
        return self.load("i64", self.slot("%dims", slot))

    def outside(self, type: str, value: Bound) -> Value:
        """A value of the function in which this one is written."""
        return str(value)

    def define_size(self, name: str, value: Bound) -> None:
        """Give a symbol a value that was computed at the top of the function."""
        self.scopes[0].known[(-1, ("symbol", name))] = str(value)

    def slot(self, pointer: Value, index: int) -> Value:
        """Address of an 8-byte slot."""
        return self.op(f"getelementptr i64, ptr {pointer}, i64 {index}") if index else pointer

    def load(self, type: str, pointer: Value, align: int = 8) -> Value:
        return self.op(f"load {type}, ptr {pointer}, align {align}")

    def store(self, type: str, value: Bound, pointer: Value, align: int = 8) -> None:
        self.do(f"store {type} {value}, ptr {pointer}, align {align}")

    def offset(self, pointer: Value, nbytes: Bound) -> Value:
        """``pointer`` moved by a number of bytes."""
        return (
            pointer
            if nbytes == 0
            else self.op(f"getelementptr i8, ptr {pointer}, i64 {nbytes}")
        )

    # Control flow ----------------------------------------------------------------------------

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """``if condition:``, without a value."""
        then, done = self.fresh("then"), self.fresh("done")
        self.scopes.append(Scope(self._insertion()))
        self.branch_if(condition, then, done)
        self.label(then)
        yield
        self.branch(done)
        self.scopes.pop()
        self.label(done)

    @contextmanager
    def loop(
        self, begin: Bound, end: Bound, step: int, carried: Sequence[tuple[str, Value]] = ()
    ) -> Iterator[Iteration]:
        """``for index in range(begin, end, step)``, which is not known to be empty.

        ``carried`` are types and first values of what passes from one iteration to the next.
        """
        first = [v for _, v in carried]
        self.scopes.append(Scope(self._insertion()))
        if isinstance(begin, int) and isinstance(end, int) and begin + step >= end:
            it = Iteration(begin, first, first)
            yield it
            self.scopes.pop()
            it.values = it.next
            return
        body, done, before = self.fresh("loop"), self.fresh("done"), self.block
        if isinstance(begin, int) and isinstance(end, int):
            guard = "true"
            self.branch(body)
        else:
            guard = self.op(f"icmp slt i64 {begin}, {end}")
            self.branch_if(guard, body, done)
        self.label(body)
        heads = self._insertion()
        index = "%" + self.fresh("i")
        it = Iteration(index, ["%" + self.fresh("a") for _ in carried], [])
        inner = list(it.values)
        yield it
        following = self.op(f"add i64 {index}, {step}")
        self.branch_if(self.op(f"icmp slt i64 {following}, {end}"), body, done)
        last = self.block
        heads.append(f"  {index} = phi i64 [ {begin}, %{before} ], [ {following}, %{last} ]")
        for (type, _), name, start, after in zip(carried, inner, first, it.next, strict=True):
            heads.append(f"  {name} = phi {type} [ {start}, %{before} ], [ {after}, %{last} ]")
        self.scopes.pop()
        self.label(done)
        it.values = it.next
        if guard != "true":
            it.values = [
                self.op(f"phi {type} [ {start}, %{before} ], [ {after}, %{last} ]")
                for (type, _), start, after in zip(carried, first, it.next, strict=True)
            ]
