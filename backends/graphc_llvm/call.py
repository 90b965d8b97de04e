"""What a call of a program takes and gives, and how its sizes are found.

Everything that the program relies on is checked at each call by the builtin in
`graphc_llvm.builtin`, which is driven by tables. Only arithmetic on sizes is
compiled for each function, as ``NAME_sizes``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from graphc.errors import CompileError
from graphc.types import Atom, Dim, DType, Guard, Shape, Size, size_symbols
from graphc_llvm.builtin import BIND, DERIVED, FIXED, SYMBOL
from graphc_llvm.emit import COLD, Function, Module, Value


@dataclass(frozen=True)
class Signature:
    """What a call of a program takes and gives; types are (dtype, shape).

    ``symbols`` are those of ``dims``, in order. ``parameters`` counts the arrays that follow
    inputs and outputs; ``updates`` tells whether the program writes to them. ``work`` is the
    estimated time of a call in ns.
    """

    inputs: tuple[tuple[DType, Shape], ...]
    outputs: tuple[tuple[DType, Shape], ...]
    symbols: tuple[str, ...] = ()
    guards: tuple[Guard, ...] = ()
    result: Literal["single", "tuple", "list", "none"] = "single"
    work: Size = 0
    parameters: int = 0
    updates: bool = False

    @cached_property
    def plan(self) -> Plan:
        return _plan(self)


@dataclass(frozen=True)
class Plan:
    """Codes of `builtin.Axis` for all axes of inputs and of outputs.

    ``found`` are the inputs' sizes left to ``sizes``, ``derived`` what it computes (the
    work first), ``bound`` the symbols that the builtin binds.
    """

    inputs: tuple[tuple[tuple[int, int], ...], ...]
    outputs: tuple[tuple[tuple[int, int], ...], ...]
    bound: tuple[str, ...]
    found: tuple[Size, ...]
    derived: tuple[Size, ...]
    guards: tuple[Guard, ...]

    @property
    def has_sizes(self) -> bool:
        """Whether anything is left to compute."""
        work, *sizes = self.derived
        return bool(self.found or sizes or self.guards or isinstance(work, Dim))


def _plan(signature: Signature) -> Plan:
    bound: list[str] = []
    found: list[Size] = []
    derived: list[Size] = [signature.work]
    symbols = signature.symbols

    def of_input(size: Size) -> tuple[int, int]:
        if not isinstance(size, Dim):
            return FIXED, size
        if size.name in bound:
            return SYMBOL, symbols.index(size.name)
        if size.name:
            bound.append(size.name)
            return BIND, symbols.index(size.name)
        found.append(size)
        return DERIVED, len(found) - 1

    def of_output(size: Size) -> tuple[int, int]:
        if not isinstance(size, Dim):
            return FIXED, size
        if size.name:
            return SYMBOL, symbols.index(size.name)
        if size not in derived[1:]:
            derived.append(size)
        return DERIVED, derived.index(size, 1)

    inputs = tuple(tuple(map(of_input, shape)) for _, shape in signature.inputs)
    outputs = tuple(tuple(map(of_output, shape)) for _, shape in signature.outputs)
    guards = signature.guards
    return Plan(inputs, outputs, tuple(bound), tuple(found), tuple(derived), guards)


def emit_entry(module: Module, name: str, signature: Signature) -> None:
    """Add to the module of the program ``NAME`` what its calls need.

    That is ``i1 @NAME_sizes(ptr symbols, ptr found, ptr derived)``, if there is anything to
    compute: it solves for symbols that no axis gives directly, writes derived sizes, and
    returns whether all sizes fit together, no guard is violated and nothing overflowed.

    Raises
    ------
    CompileError
        If the inputs' shapes do not determine all symbols.
    """
    writer = _SizesWriter(module, name, signature)
    if signature.plan.has_sizes or len(signature.plan.bound) < len(signature.symbols):
        writer.write()


class _SizesWriter:
    def __init__(self, module: Module, name: str, signature: Signature) -> None:
        params = [("ptr", "symbols"), ("ptr", "found"), ("ptr", "derived")]
        self.f = Function(module, f"{name}_sizes", "i1", params, attributes=COLD)
        self.signature = signature
        self.values: dict[str, Value] = {}
        self.conditions: list[Value] = []

    def write(self) -> None:
        f, plan = self.f, self.signature.plan
        for name in plan.bound:
            self.values[name] = self._load("%symbols", self.signature.symbols.index(name))
        self._solve([(size, self._load("%found", i)) for i, size in enumerate(plan.found)])
        for guard in plan.guards:
            self._require(f"icmp sge i64 {self._size(guard.size)}, {guard.minimum}")
        for i, size in enumerate(plan.derived):
            value = self._size(size)
            self._require(f"icmp sge i64 {value}, 0")
            self._store(value, "%derived", i)
        result: Value = "true"
        for condition in self.conditions:
            result = f.op(f"and i1 {result}, {condition}")
        f.do(f"ret i1 {result}")
        f.finish()

    def _solve(self, pending: list[tuple[Size, Value]]) -> None:
        while pending:
            rest = [(size, value) for size, value in pending if not self._settle(size, value)]
            if len(rest) == len(pending):
                break
            pending = rest
        missing = sorted(set(self.signature.symbols) - self.values.keys())
        if missing:
            raise CompileError(
                f"sizes {', '.join(missing)} cannot be found from the shapes of the inputs",
                hint="give some input an axis of that size",
            )

    def _settle(self, size: Size, found: Value) -> bool:
        """Compare a derived size, or solve it for its one unknown symbol if it is linear."""
        unknown = size_symbols(size) - self.values.keys()
        if not unknown:
            self._require(f"icmp eq i64 {found}, {self._size(size)}")
            return True
        (name, *others) = unknown
        factor = dict(size.terms).get((name,), 0) if isinstance(size, Dim) else 0
        rest = size - Dim({(name,): factor})
        if others or factor <= 0 or name in size_symbols(rest):
            return False
        scaled = self._checked("ssub", found, self._size(rest))
        self._require(f"icmp sge i64 {scaled}, 0")
        self._require(f"icmp eq i64 {self.f.op(f'srem i64 {scaled}, {factor}')}, 0")
        self.values[name] = self.f.op(f"sdiv i64 {scaled}, {factor}")
        self._store(self.values[name], "%symbols", self.signature.symbols.index(name))
        return True

    def _size(self, size: Size) -> Value:
        if not isinstance(size, Dim):
            return str(size)
        total: Value = "0"
        for monomial, coefficient in size.terms:
            term: Value = str(coefficient)
            for atom in monomial:
                term = self._checked("smul", self._atom(atom), term)
            total = self._checked("sadd", total, term)
        return total

    def _atom(self, atom: Atom) -> Value:
        if isinstance(atom, str):
            return self.values[atom]
        f = self.f
        numerator, given = self._size(atom.numerator), self._size(atom.denominator)
        positive = f.op(f"icmp sgt i64 {given}, 0")
        self.conditions.append(positive)
        denominator = f.op(f"select i1 {positive}, i64 {given}, i64 1")
        quotient = f.op(f"sdiv i64 {numerator}, {denominator}")
        rest = f.op(f"srem i64 {numerator}, {denominator}")
        below = f.op(f"lshr i64 {rest}, 63")  # rounds down, as Python does
        return f.op(f"sub i64 {quotient}, {below}")

    def _checked(self, operation: str, a: Value, b: Value) -> Value:
        neutral = "1" if operation == "smul" else "0"
        if b == neutral:
            return a
        if a == neutral and operation != "ssub":
            return b
        arguments = [("i64", a), ("i64", b)]
        intrinsic = f"llvm.{operation}.with.overflow.i64"
        pair = self.f.call("{ i64, i1 }", intrinsic, *arguments)
        overflow = self.f.op(f"extractvalue {{ i64, i1 }} {pair}, 1")
        self._require(f"xor i1 {overflow}, true")
        return self.f.op(f"extractvalue {{ i64, i1 }} {pair}, 0")

    def _require(self, condition: str) -> None:
        self.conditions.append(self.f.op(condition))

    def _load(self, array: Value, index: int) -> Value:
        return self.f.op(f"load i64, ptr {self._place(array, index)}")

    def _store(self, value: Value, array: Value, index: int) -> None:
        self.f.do(f"store i64 {value}, ptr {self._place(array, index)}")

    def _place(self, array: Value, index: int) -> Value:
        return self.f.op(f"getelementptr i64, ptr {array}, i64 {index}") if index else array
