"""Values with a type, so that formulas in this package read as formulas.

A `Lane` is an element type and a number of lanes, a `V` one value of such a type in a
function under construction. Arithmetic on `V` writes one instruction per operator, in the
order written, without fast-math flags: LLVM neither reorders nor fuses it.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final

from graphc_llvm.emit import Function, Value

_SCALARS: Final = {
    "float32": "float",
    "float64": "double",
    "int8": "i8",
    "uint8": "i8",
    "int32": "i32",
    "int64": "i64",
    "bool": "i1",
}


@dataclass(frozen=True)
class Lane:
    """``width`` elements of ``dtype``: a scalar if ``width`` is 1, else an LLVM vector."""

    dtype: str
    width: int

    @property
    def scalar(self) -> str:
        """LLVM's name of the element type; booleans are ``i1``."""
        return _SCALARS[self.dtype]

    @property
    def llvm(self) -> str:
        """LLVM's name of the whole type, as in ``<16 x float>``."""
        return self.scalar if self.width == 1 else f"<{self.width} x {self.scalar}>"

    @property
    def is_float(self) -> bool:
        return self.dtype.startswith("float")

    @property
    def is_signed(self) -> bool:
        return self.dtype.startswith("int")

    @property
    def bits(self) -> int:
        """Width of one element in bits; 1 for booleans."""
        return {"float": 32, "double": 64}.get(self.scalar) or int(self.scalar[1:])

    @property
    def suffix(self) -> str:
        """How intrinsics spell the type, as in ``v16f32``."""
        element = ("f" if self.is_float else "i") + str(self.bits)
        return element if self.width == 1 else f"v{self.width}{element}"

    def of(self, dtype: str) -> Lane:
        """As many lanes of another element type."""
        return Lane(dtype, self.width)

    def const(self, value: float) -> Value:
        """The operand that holds ``value``, rounded to the element type, in every lane."""
        text = self._scalar_const(value)
        return text if self.width == 1 else f"splat ({self.scalar} {text})"

    def _scalar_const(self, value: float) -> str:
        if not self.is_float:
            return str(int(value))
        if self.dtype == "float32":
            value = _to_float32(value)
        return f"0x{struct.unpack('>Q', struct.pack('>d', value))[0]:016X}"


def _to_float32(value: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


@dataclass(frozen=True)
class Format:
    """The layout of an IEEE 754 type, and the constants that follow from it."""

    integer: str
    mantissa: int
    bias: int

    @property
    def one(self) -> int:
        """Bits of 1.0."""
        return self.bias << self.mantissa

    @property
    def infinity(self) -> int:
        """Bits of inf."""
        return (2 * self.bias + 1) << self.mantissa

    @property
    def sign(self) -> int:
        """The sign bit, as a signed integer."""
        return -1 << (self.mantissa + (self.bias + 1).bit_length())

    @property
    def magic(self) -> float:
        """1.5 * 2^mantissa: adding it rounds to an integer, kept in the low bits."""
        return 1.5 * 2.0**self.mantissa

    @property
    def tiny(self) -> float:
        """The smallest normal number."""
        return 2.0 ** (1 - self.bias)


FORMATS: Final = {
    "float32": Format("int32", 23, 127),
    "float64": Format("int64", 52, 1023),
}


class V:
    """A typed value in a function under construction.

    Operators take a `V` of the same lane or a Python number. Integers wrap; ``>>`` is
    arithmetic for signed types; comparisons are ordered (false for NaN), ``!=`` unordered.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, f: Function, lane: Lane, text: Value) -> None:
        self.f = f
        self.lane = lane
        self.text = text

    @property
    def format(self) -> Format:
        """The layout of the floating-point type."""
        return FORMATS[self.lane.dtype]

    def new(self, instruction: str, dtype: str = "") -> V:
        """The result of an instruction, of ``dtype`` if given, else of this lane."""
        lane = self.lane.of(dtype) if dtype else self.lane
        return V(self.f, lane, self.f.op(instruction))

    def const(self, value: float) -> V:
        """A constant of this lane."""
        return V(self.f, self.lane, self.lane.const(value))

    def lift(self, other: V | float) -> V:
        return other if isinstance(other, V) else self.const(other)

    def binary(self, opcode: str, other: V | float) -> V:
        """``opcode self, other``."""
        return self.new(f"{opcode} {self.lane.llvm} {self.text}, {self.lift(other).text}")

    def intrinsic(self, name: str, *others: V) -> V:
        """``llvm.name`` of this value and others of the same lane."""
        args = [(v.lane.llvm, v.text) for v in (self, *others)]
        return self.call(f"llvm.{name}.{self.lane.suffix}", args)

    def call(self, symbol: str, args: list[tuple[str, Value]]) -> V:
        """A call whose result is of this lane."""
        return V(self.f, self.lane, self.f.call(self.lane.llvm, symbol, *args))

    def _arithmetic(self, name: str, other: V | float) -> V:
        return self.binary(("f" if self.lane.is_float else "") + name, other)

    def __add__(self, other: V | float) -> V:
        return self._arithmetic("add", other)

    def __sub__(self, other: V | float) -> V:
        return self._arithmetic("sub", other)

    def __mul__(self, other: V | float) -> V:
        return self._arithmetic("mul", other)

    def __truediv__(self, other: V | float) -> V:
        return self.binary("fdiv", other)

    def __radd__(self, other: float) -> V:
        return self.const(other) + self

    def __rsub__(self, other: float) -> V:
        return self.const(other) - self

    def __rmul__(self, other: float) -> V:
        return self.const(other) * self

    def __rtruediv__(self, other: float) -> V:
        return self.const(other) / self

    def __neg__(self) -> V:
        if self.lane.is_float:
            return self.new(f"fneg {self.lane.llvm} {self.text}")
        return self.const(0) - self

    def __abs__(self) -> V:
        if self.lane.is_float:
            return self.intrinsic("fabs")
        return select(self < 0, -self, self) if self.lane.is_signed else self

    def __and__(self, other: V | int) -> V:
        return self.binary("and", other)

    def __or__(self, other: V | int) -> V:
        return self.binary("or", other)

    def __xor__(self, other: V | int) -> V:
        return self.binary("xor", other)

    def __invert__(self) -> V:
        return self.binary("xor", -1 if self.lane.bits > 1 else 1)

    def __lshift__(self, other: V | int) -> V:
        return self.binary("shl", other)

    def __rshift__(self, other: V | int) -> V:
        return self.binary("ashr" if self.lane.is_signed else "lshr", other)

    def shift_right_zero(self, count: int) -> V:
        """A right shift that brings in zeros whatever the sign."""
        return self.binary("lshr", count)

    def compare(self, relation: str, other: V | float) -> V:
        """``relation`` is lt, le, gt, ge, eq or ne."""
        if self.lane.is_float:
            code = "fcmp " + ("une" if relation == "ne" else "o" + relation)
        elif relation in ("eq", "ne"):
            code = "icmp " + relation
        else:
            code = "icmp " + ("s" if self.lane.is_signed else "u") + relation
        text = f"{code} {self.lane.llvm} {self.text}, {self.lift(other).text}"
        return self.new(text, "bool")

    def __lt__(self, other: V | float) -> V:
        return self.compare("lt", other)

    def __le__(self, other: V | float) -> V:
        return self.compare("le", other)

    def __gt__(self, other: V | float) -> V:
        return self.compare("gt", other)

    def __ge__(self, other: V | float) -> V:
        return self.compare("ge", other)

    def equals(self, other: V | float) -> V:
        return self.compare("eq", other)

    def differs(self, other: V | float) -> V:
        return self.compare("ne", other)

    def is_nan(self) -> V:
        return self.new(f"fcmp uno {self.lane.llvm} {self.text}, {self.text}", "bool")

    def convert(self, opcode: str, dtype: str) -> V:
        """``opcode self to dtype``: bitcast, fpext, fptrunc, zext, sitofp, ..."""
        target = self.lane.of(dtype)
        return self.new(f"{opcode} {self.lane.llvm} {self.text} to {target.llvm}", dtype)

    def as_int(self) -> V:
        """The bits of a floating-point value, as a signed integer."""
        return self.convert("bitcast", self.format.integer)

    def as_float(self) -> V:
        """The floating-point value whose bits this integer holds."""
        return self.convert("bitcast", "float32" if self.lane.bits == 32 else "float64")


def select(condition: V, a: V | float, b: V | float) -> V:
    """``a`` where the condition holds, else ``b``; at least one of them is a `V`."""
    model = a if isinstance(a, V) else b
    if not isinstance(model, V):
        raise TypeError("select needs one typed operand")
    x, y = model.lift(a), model.lift(b)
    c, t = condition, model.lane.llvm
    return model.new(f"select {c.lane.llvm} {c.text}, {t} {x.text}, {t} {y.text}")


def fma(a: V, b: V | float, c: V | float) -> V:
    """``a*b + c``, rounded once where the target has the instruction, else twice."""
    if not a.f.target.fma:
        return a * b + c
    return a.intrinsic("fma", a.lift(b), a.lift(c))


def copysign(x: V, sign: V) -> V:
    """``x`` with the sign of ``sign``."""
    bits = x.format.sign
    return ((x.as_int() & ~bits) | (sign.as_int() & bits)).as_float()
