"""Numbers looked up by permutations of vectors of 512 bits."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

from graphc_llvm.emit import Value
from graphc_llvm.vmath.lanes import Lane, V

#: Numbers of a column.
LENGTH: Final = {"float32": 32, "float64": 16}

_NAMES: Final = {"float32": "ps", "float64": "pd"}


def can_look_up(x: V) -> bool:
    """Whether the target has the instruction, for as many lanes as a value has."""
    return x.f.target.scalef and x.lane.width * x.lane.bits <= 512


def lookup(column: Sequence[float], index: V, like: V) -> V:
    """``column[index % LENGTH]`` in the lanes of another value.

    The index has integers of the value's size.
    """
    if like.lane.width == 1:
        return _read(column, index, like)
    length = LENGTH[like.lane.dtype]
    wide = V(like.f, Lane(like.lane.dtype, length // 2), "")
    low, high = (_literal(wide, column[k : k + length // 2]) for k in (0, length // 2))
    t, where = wide.lane.llvm, _resized(index, length // 2)
    name = f"llvm.x86.avx512.vpermi2var.{_NAMES[like.lane.dtype]}.512"
    found = wide.call(name, [(t, low), (where.lane.llvm, where.text), (t, high)])
    return _resized(found, like.lane.width)


def _read(column: Sequence[float], index: V, like: V) -> V:
    """The same from memory: one number is not worth vectors of 512 bits."""
    f, lane, wide = like.f, like.lane, V(like.f, Lane(like.lane.dtype, len(column)), "")
    kind, numbers = f"[{len(column)} x {lane.llvm}]", _literal(wide, column)
    name = f"table.{lane.dtype}.{zlib.crc32(numbers.encode()):x}"
    f.module.globals[name] = f"@{name} = private constant {kind} [{numbers[1:-1]}]"
    place = f.op(f"and {index.lane.llvm} {index.text}, {len(column) - 1}")
    where = f.op(f"getelementptr {kind}, ptr @{name}, i64 0, {index.lane.llvm} {place}")
    return V(f, lane, f.op(f"load {lane.llvm}, ptr {where}"))


def _literal(wide: V, numbers: Sequence[float]) -> Value:
    scalar = Lane(wide.lane.dtype, 1)
    return "<" + ", ".join(f"{scalar.llvm} {scalar.const(x)}" for x in numbers) + ">"


def _resized(x: V, width: int) -> V:
    """The first ``width`` lanes, those that it has not undefined."""
    lane, old = Lane(x.lane.dtype, width), x.lane
    if width == old.width:
        return x
    if old.width == 1:
        text = f"insertelement {lane.llvm} poison, {old.llvm} {x.text}, i64 0"
    elif width == 1:
        text = f"extractelement {old.llvm} {x.text}, i64 0"
    else:
        kept = (f"i32 {k if k < old.width else 'poison'}" for k in range(width))
        text = f"shufflevector {old.llvm} {x.text}, {old.llvm} poison, "
        text += f"<{width} x i32> <{', '.join(kept)}>"
    return V(x.f, lane, x.f.op(text))
