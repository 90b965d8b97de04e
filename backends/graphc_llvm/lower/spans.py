"""Values of a loop nest: one scalar, or several vectors side by side.

In a vector loop a value that depends on the loop variable has ``parts`` vectors of ``width``
lanes: the loop body is written for ``parts * width`` iterations at a time. All other values
stay scalar and are spread over lanes where they meet vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc_llvm.emit import Value
from graphc_llvm.lower.code import Bound, Code
from graphc_llvm.vmath import Lane


@dataclass(frozen=True)
class Span:
    """The iterations that the code being written covers.

    ``mask`` is given if only some lanes (of the only part) are active. With ``ahead`` memory
    is asked for before it is needed.
    """

    var: str = ""
    index: Bound = 0
    width: int = 1
    parts: int = 1
    mask: Value | None = None
    ahead: bool = False

    def lane(self, dtype: str) -> Lane:
        return Lane(dtype, self.width)


#: Outside vector loops: one iteration, scalars.
WHOLE = Span()


@dataclass(frozen=True)
class Val:
    """A value: one scalar (``width`` 1) or the parts of a vector; ``depth`` is its scope's.

    ``number`` is given for constants.
    """

    dtype: str
    width: int
    parts: tuple[Value, ...]
    depth: int
    number: float | None = None

    @property
    def lane(self) -> Lane:
        return Lane(self.dtype, self.width)

    def spread(self, code: Code, span: Span) -> tuple[Value, ...]:
        """Its parts in ``span``: a scalar is repeated in all lanes."""
        if span.width == 1 or self.width > 1:
            return self.parts
        return (self._splat(code, span.width),) * span.parts

    def _splat(self, code: Code, width: int) -> Value:
        if self.number is not None:
            return Lane(self.dtype, width).const(self.number)
        lane, text = self.lane, self.parts[0]
        return code.once(
            self.depth, ("splat", text, width), lambda: splat(code, lane.llvm, text, width)
        )


def splat(code: Code, scalar: str, text: Value, width: int) -> Value:
    """``text`` in all lanes of a vector."""
    vector = f"<{width} x {scalar}>"
    first = code.op(f"insertelement {vector} poison, {scalar} {text}, i64 0")
    zero = f"<{width} x i32> zeroinitializer"
    return code.op(f"shufflevector {vector} {first}, {vector} poison, {zero}")


def constant(dtype: str, number: float) -> Val:
    """A number as a value."""
    return Val(dtype, 1, (Lane(dtype, 1).const(number),), -1, number)


def steps(scalar: str, stride: int, width: int, start: int = 0) -> Value:
    """The vector ``start, start + stride, ...``."""
    lanes = ", ".join(f"{scalar} {start + k * stride}" for k in range(width))
    return f"<{lanes}>"


def halves(code: Code, lane: Lane, text: Value) -> tuple[Value, Value]:
    """The lower and the upper half of a vector's lanes."""
    half = lane.width // 2
    if half == 1:
        return tuple(  # type: ignore[return-value]
            code.op(f"extractelement {lane.llvm} {text}, i64 {k}") for k in (0, 1)
        )
    low, high = steps("i32", 1, half), steps("i32", 1, half, half)
    pick = f"shufflevector {lane.llvm} {text}, {lane.llvm} poison, <{half} x i32>"
    return code.op(f"{pick} {low}"), code.op(f"{pick} {high}")


def first_lanes(code: Code, count: Bound, width: int) -> Value:
    """The mask of the first ``count`` (> 0) lanes."""
    if isinstance(count, int):
        return "<" + ", ".join(f"i1 {int(k < count)}" for k in range(width)) + ">"
    limited = code.minimum(count, width)
    narrow = code.op(f"trunc i64 {limited} to i32")
    wide = splat(code, "i32", narrow, width)
    return code.op(f"icmp ult <{width} x i32> {steps('i32', 1, width)}, {wide}")


def any_lane(code: Code, span: Span, parts: Sequence[Value]) -> Value:
    """Whether a condition holds in any active lane of any part (an i1)."""
    lane = span.lane("bool")
    if span.mask is not None:
        parts = [code.op(f"and {lane.llvm} {part}, {span.mask}") for part in parts]
    total = parts[0]
    for part in parts[1:]:
        total = code.op(f"or {lane.llvm} {total}, {part}")
    if span.width == 1:
        return total
    return code.call("i1", f"llvm.vector.reduce.or.v{span.width}i1", (lane.llvm, total))
