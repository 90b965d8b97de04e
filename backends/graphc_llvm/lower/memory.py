"""Loads and stores at affine and gathered indices, of scalars and of the lanes of a span.

Booleans are bytes in memory and ``i1`` in values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphc.errors import CompileError
from graphc.loops.ir import Index, Name
from graphc.types import Size, same_size
from graphc_llvm.emit import Value
from graphc_llvm.lower.code import Bound, Code
from graphc_llvm.lower.spans import Span, Val, splat, steps
from graphc_llvm.vmath import Lane

#: So many bytes ahead of where it is needed memory is asked for.
AHEAD = 192


@dataclass(frozen=True)
class Place:
    """Where a tensor starts, and the depth of the scope in which that is known."""

    pointer: Value
    dtype: str
    depth: int

    @property
    def element(self) -> str:
        """The element type in memory."""
        return Lane("uint8" if self.dtype == "bool" else self.dtype, 1).llvm

    def lanes(self, width: int) -> Lane:
        """``width`` elements as they are in memory."""
        return Lane("uint8" if self.dtype == "bool" else self.dtype, width)

    @property
    def align(self) -> int:
        return max(1, self.lanes(1).bits // 8)


@dataclass(frozen=True)
class Address:
    """Where the lanes of each part of a span are.

    ``stride`` is the distance of neighbouring lanes if it is a number and nothing is
    gathered; the lanes of part p are then at ``pointers[p] + lane * stride``. Otherwise they
    are at ``pointers[p] + lanes[p]``.
    """

    pointers: tuple[Value, ...]
    stride: Size | None
    lanes: tuple[Value, ...] = ()


def scaled(code: Code, value: Value, stride: Size) -> Bound:
    """``value * stride``."""
    number: Bound = int(value) if not value.startswith("%") else value
    return code.mul(number, code.size(stride))


def split(
    env: Mapping[Name, Val], index: Index, span: Span
) -> tuple[list[tuple[Val, Size]], list[tuple[Val, Size]], Size]:
    """The terms of an index: uniform ones, gathered ones, the stride of the vector loop."""
    uniform: list[tuple[Val, Size]] = []
    gathered: list[tuple[Val, Size]] = []
    stride: Size = 0
    for name, factor in index.terms:
        value = env[name]
        if span.width > 1 and name == span.var:
            stride = stride + factor
        (gathered if value.width > 1 else uniform).append((value, factor))
    return [t for t in uniform if not same_size(t[1], 0)], gathered, stride


def moved(
    code: Code, place: Place, uniform: Sequence[tuple[Val, Size]], offset: Size
) -> tuple[Value, int]:
    """The pointer moved by uniform terms, the outermost first, and its depth."""
    pointer = _step(code, place, place.pointer, place.depth, (), offset)
    depth = place.depth
    for level in sorted({value.depth for value, _ in uniform}):
        depth = max(depth, level)
        terms = tuple((v.parts[0], s) for v, s in uniform if v.depth == level)
        pointer = _step(code, place, pointer, depth, terms, 0)
    return pointer, depth


def _step(
    code: Code,
    place: Place,
    pointer: Value,
    depth: int,
    terms: tuple[tuple[Value, Size], ...],
    start: Size,
) -> Value:
    """The pointer moved by ``start`` and terms that are known at ``depth``, once."""

    def distance() -> Value:
        total = code.size(start)
        for value, stride in terms:
            total = code.add(total, scaled(code, value, stride))
        return str(total)

    def compute() -> Value:
        total = code.once(depth, ("distance", terms, start), distance)
        if total == "0":
            return pointer
        return code.op(f"getelementptr {place.element}, ptr {pointer}, i64 {total}")

    if not terms and same_size(start, 0):
        return pointer
    return code.once(depth, (place.element, pointer, terms, start), compute)


def address(
    code: Code, env: Mapping[Name, Val], place: Place, index: Index, span: Span
) -> Address:
    """Where an index leads in each part."""
    uniform, gathered, stride = split(env, index, span)
    pointer, depth = moved(code, place, uniform, index.offset)
    if not gathered and same_size(stride, 0):
        return Address((pointer,), 0)
    if span.width == 1:
        raise CompileError("an index depends on lanes outside a vector loop")
    pointers = tuple(
        _part(code, place, pointer, depth, p * span.width * stride) for p in range(span.parts)
    )
    if not gathered and isinstance(stride, int):
        return Address(pointers, stride)
    offsets = tuple(lanes(code, span, gathered, stride, p) for p in range(span.parts))
    return Address(pointers, None, offsets)


def _part(code: Code, place: Place, pointer: Value, depth: int, distance: Size) -> Value:
    if same_size(distance, 0):
        return pointer
    key = ("part", pointer, place.element, distance)
    move = f"getelementptr {place.element}, ptr {pointer}, i64"
    return code.once(depth, key, lambda: code.op(f"{move} {code.size(distance)}"))


def lanes(
    code: Code, span: Span, gathered: Sequence[tuple[Val, Size]], stride: Size, part: int
) -> Value:
    """Element offsets of the lanes of a part."""
    total = iota(code, span.width, stride)
    kind = f"<{span.width} x i64>"
    for value, factor in gathered:
        lane = value.parts[part]
        if not same_size(factor, 1):
            lane = code.op(f"mul {kind} {lane}, {spread_size(code, span.width, factor)}")
        total = code.op(f"add {kind} {total}, {lane}")
    return total


def spread_size(code: Code, width: int, size: Size) -> Value:
    """A size in every lane."""
    number = code.size(size)
    if isinstance(number, int):
        return Lane("int64", width).const(number)
    if width == 1:
        return number
    return code.once(-1, ("splat", number, width), lambda: splat(code, "i64", number, width))


def iota(code: Code, width: int, stride: Size) -> Value:
    """``0, stride, 2*stride, ...`` in the lanes of an int64 vector."""
    if isinstance(stride, int):
        return steps("i64", stride, width)

    def compute() -> Value:
        factor = spread_size(code, width, stride)
        return code.op(f"mul <{width} x i64> {steps('i64', 1, width)}, {factor}")

    return code.once(-1, ("iota", stride, width), compute)


# Loads ---------------------------------------------------------------------------------------


def load(code: Code, env: Mapping[Name, Val], place: Place, index: Index, span: Span) -> Val:
    """The value (of all parts) at an index."""
    where = address(code, env, place, index, span)
    if where.stride is not None and same_size(where.stride, 0):
        text = code.load(place.element, where.pointers[0], place.align)
        return Val(place.dtype, 1, (_as_value(code, place, 1, text),), code.depth)
    parts = tuple(
        _as_value(code, place, span.width, _load_part(code, place, where, span, p))
        for p in range(span.parts)
    )
    return Val(place.dtype, span.width, parts, code.depth)


def _as_value(code: Code, place: Place, width: int, text: Value) -> Value:
    if place.dtype != "bool":
        return text
    lane = place.lanes(width)
    return code.op(f"icmp ne {lane.llvm} {text}, {lane.const(0)}")


def _as_memory(code: Code, place: Place, width: int, text: Value) -> Value:
    if place.dtype != "bool":
        return text
    return code.op(f"zext {Lane('bool', width).llvm} {text} to {place.lanes(width).llvm}")


def _load_part(code: Code, place: Place, where: Address, span: Span, part: int) -> Value:
    if where.stride == 1:
        _ask_ahead(code, where.pointers[part], span, write=False)
        return _load_vector(code, place, where.pointers[part], span.width, span.mask)
    if where.stride == -1:
        pointer, mask = _reversed(code, place, where.pointers[part], span)
        return reverse(
            code, place.lanes(span.width), _load_vector(code, place, pointer, span.width, mask)
        )
    return _gather(code, place, where, span, part)


def _ask_ahead(code: Code, pointer: Value, span: Span, *, write: bool) -> None:
    """Ask for what will be read or written here some iterations later, if there are such."""

    def ask() -> Value:
        place = code.offset(pointer, AHEAD)
        kind = ("i32", str(int(write))), ("i32", "3"), ("i32", "1")
        code.call("void", "llvm.prefetch.p0", ("ptr", place), *kind)
        return place

    if span.ahead:
        code.once(code.depth, ("ahead", pointer), ask)


def _reversed(
    code: Code, place: Place, pointer: Value, span: Span
) -> tuple[Value, Value | None]:
    """The lowest address of lanes that run downwards, and the mask in memory order."""
    distance = f"ptr {pointer}, i64 {1 - span.width}"
    lowest = code.op(f"getelementptr {place.element}, {distance}")
    mask = span.mask and reverse(code, span.lane("bool"), span.mask)
    return lowest, mask


def reverse(code: Code, lane: Lane, text: Value) -> Value:
    """The lanes of a vector in reverse order."""
    order = steps("i32", -1, lane.width, lane.width - 1)
    return code.op(
        f"shufflevector {lane.llvm} {text}, {lane.llvm} poison, <{lane.width} x i32> {order}"
    )


def _load_vector(
    code: Code, place: Place, pointer: Value, width: int, mask: Value | None
) -> Value:
    lane = place.lanes(width)
    if mask is None:
        return code.load(lane.llvm, pointer, place.align)
    return code.call(
        lane.llvm,
        f"llvm.masked.load.{lane.suffix}.p0",
        (f"ptr align {place.align}", pointer),
        (f"<{width} x i1>", mask),
        (lane.llvm, "zeroinitializer"),
    )


def _lane_offsets(code: Code, where: Address, span: Span, part: int) -> Value:
    if where.stride is None:
        return where.lanes[part]
    return iota(code, span.width, where.stride)


def _pointers(code: Code, place: Place, where: Address, span: Span, part: int) -> Value:
    offsets = _lane_offsets(code, where, span, part)
    base = where.pointers[part if len(where.pointers) > 1 else 0]
    return code.op(f"getelementptr {place.element}, ptr {base}, <{span.width} x i64> {offsets}")


def _gather(code: Code, place: Place, where: Address, span: Span, part: int) -> Value:
    """Lane by lane: the instruction takes longer where it is kept from telling what it read."""
    lane = place.lanes(span.width)
    result = "poison"
    for k, pointer in enumerate(_lane_pointers(code, place, where, span, part)):
        item = code.load(place.element, pointer, place.align)
        result = code.op(f"insertelement {lane.llvm} {result}, {place.element} {item}, i64 {k}")
    return result


def _lane_pointers(
    code: Code, place: Place, where: Address, span: Span, part: int
) -> list[Value]:
    """One pointer a lane; an inactive lane repeats the first, which is active."""
    kind = f"<{span.width} x i64>"
    offsets = _lane_offsets(code, where, span, part)
    if span.mask is not None:
        first = splat(
            code, "i64", code.op(f"extractelement {kind} {offsets}, i64 0"), span.width
        )
        lanes = f"<{span.width} x i1> {span.mask}"
        offsets = code.op(f"select {lanes}, {kind} {offsets}, {kind} {first}")
    base = where.pointers[part if len(where.pointers) > 1 else 0]
    pointers = []
    for k in range(span.width):
        offset = code.op(f"extractelement {kind} {offsets}, i64 {k}")
        pointers.append(code.op(f"getelementptr {place.element}, ptr {base}, i64 {offset}"))
    return pointers


# Stores --------------------------------------------------------------------------------------


def store(
    code: Code, env: Mapping[Name, Val], place: Place, index: Index, value: Val, span: Span
) -> None:
    """Write a value (all parts of it) at an index."""
    where = address(code, env, place, index, span)
    if where.stride is not None and same_size(where.stride, 0):
        if value.width > 1:
            raise CompileError("lanes of a vector loop store to one element")
        text = _as_memory(code, place, 1, value.parts[0])
        code.store(place.element, text, where.pointers[0], place.align)
        return
    for part, text in enumerate(value.spread(code, span)):
        _store_part(code, place, where, _as_memory(code, place, span.width, text), span, part)


def _store_part(
    code: Code, place: Place, where: Address, text: Value, span: Span, part: int
) -> None:
    if where.stride == 1:
        _ask_ahead(code, where.pointers[part], span, write=True)
        _store_vector(code, place, where.pointers[part], text, span.width, span.mask)
    elif where.stride == -1:
        pointer, mask = _reversed(code, place, where.pointers[part], span)
        turned = reverse(code, place.lanes(span.width), text)
        _store_vector(code, place, pointer, turned, span.width, mask)
    else:
        _scatter(code, place, where, text, span, part)


def _store_vector(
    code: Code, place: Place, pointer: Value, text: Value, width: int, mask: Value | None
) -> None:
    lane = place.lanes(width)
    if mask is None:
        code.store(lane.llvm, text, pointer, place.align)
        return
    code.call(
        "void",
        f"llvm.masked.store.{lane.suffix}.p0",
        (lane.llvm, text),
        (f"ptr align {place.align}", pointer),
        (f"<{width} x i1>", mask),
    )


def _scatter(
    code: Code, place: Place, where: Address, text: Value, span: Span, part: int
) -> None:
    lane = place.lanes(span.width)
    if code.target.masked and place.align >= 4 and code.target.scalef:
        code.call(
            "void",
            f"llvm.masked.scatter.{lane.suffix}.v{span.width}p0",
            (lane.llvm, text),
            (
                f"<{span.width} x ptr> align {place.align}",
                _pointers(code, place, where, span, part),
            ),
            (f"<{span.width} x i1>", span.mask or "splat (i1 true)"),
        )
        return
    if span.mask is not None:
        kind = place.element
        first = splat(
            code, kind, code.op(f"extractelement {lane.llvm} {text}, i64 0"), span.width
        )
        lanes = f"<{span.width} x i1> {span.mask}"
        text = code.op(f"select {lanes}, {lane.llvm} {text}, {lane.llvm} {first}")
    # Inactive lanes write what the first lane writes, where it writes.
    for k, pointer in enumerate(_lane_pointers(code, place, where, span, part)):
        item = code.op(f"extractelement {lane.llvm} {text}, i64 {k}")
        code.store(place.element, item, pointer, place.align)
