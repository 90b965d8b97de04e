"""Vectors of any number of elements in a function under construction."""

from __future__ import annotations

from typing import NamedTuple

from graphc_llvm.emit import Value
from graphc_llvm.gemm.code import Code


class Piece(NamedTuple):
    """Elements that are one vector: the first one, lanes, and how many of them are used."""

    first: int
    lanes: int
    used: int


class Vectors:
    """Reading, writing and combining vectors of ``"float32"`` or ``"float64"``."""

    def __init__(self, f: Code, dtype: str) -> None:
        self.f, self.target = f, f.target
        self.itemsize = 4 if dtype == "float32" else 8
        self.type = "float" if dtype == "float32" else "double"
        self.lanes = self.target.lanes(self.itemsize)
        self.masked = self.target.masked and self.target.registers >= 32
        self.whole = Piece(0, self.lanes, self.lanes)

    def vector(self, piece: Piece) -> str:
        return f"<{piece.lanes} x {self.type}>"

    def _suffix(self, piece: Piece) -> str:
        return f"v{piece.lanes}f{8 * self.itemsize}"

    def _mask(self, piece: Piece) -> tuple[str, Value]:
        bits = ", ".join(f"i1 {int(i < piece.used)}" for i in range(piece.lanes))
        return f"<{piece.lanes} x i1>", f"<{bits}>"

    def load(self, piece: Piece, where: Value) -> Value:
        """Lanes that do not count are zero."""
        type = self.vector(piece)
        if piece.used == piece.lanes:
            return self.f.load(type, where, self.itemsize)
        name, zeros = f"llvm.masked.load.{self._suffix(piece)}.p0", (type, "zeroinitializer")
        return self.f.call(type, name, self._place(where), self._mask(piece), zeros)

    def store(self, piece: Piece, value: Value, where: Value) -> None:
        type = self.vector(piece)
        if piece.used == piece.lanes:
            return self.f.store(type, value, where, self.itemsize)
        name = f"llvm.masked.store.{self._suffix(piece)}.p0"
        self.f.call("void", name, (type, value), self._place(where), self._mask(piece))

    def _place(self, where: Value) -> tuple[str, Value]:
        return f"ptr align {self.itemsize}", where

    def first(self, where: Value, count: int) -> Value:
        """A vector of the first elements there, then zeros."""
        if self.masked:
            return self.load(Piece(0, self.lanes, count), where)
        steps = [self.f.offset(where, str(i * self.itemsize)) for i in range(count)]
        return self.gathered(steps)

    def multiply_add(self, piece: Piece, x: Value, y: Value, total: Value) -> Value:
        type, f = self.vector(piece), self.f
        if total == "zeroinitializer":
            return f.op(f"fmul {type} {x}, {y}")
        if not self.target.fma:
            return f.op(f"fadd {type} {f.op(f'fmul {type} {x}, {y}')}, {total}")
        return f.call(
            type, f"llvm.fma.{self._suffix(piece)}", (type, x), (type, y), (type, total)
        )

    def gathered(self, places: list[Value]) -> Value:
        """The vector of the elements at these places; zero where there is none."""
        f, type = self.f, self.vector(self.whole)
        vector = "zeroinitializer"
        for lane, where in enumerate(places):
            if where:
                x = f.load(self.type, where, self.itemsize)
                vector = f.op(f"insertelement {type} {vector}, {self.type} {x}, i64 {lane}")
        return vector

    def transposed(self, columns: list[Value]) -> list[Value]:
        """Rows of the block that has 16 bytes of each of the columns.

        Column 4i + j goes to the i-th 16 bytes of the j-th vector, so that what is left
        is a transposition inside 16-byte lanes, for which every processor has shuffles.
        """
        block = 16 // self.itemsize
        type = f"<{block} x {self.type}>"
        parts = [
            self.f.load(type, c, self.itemsize) if c else "zeroinitializer" for c in columns
        ]
        vectors = [self._joined(parts[j::block]) for j in range(block)]
        while block > 1:
            # In turn with the vector half a block away: its low halves, its high halves.
            half = len(vectors) // 2
            pairs = list(zip(vectors[:half], vectors[half:], strict=True))
            vectors = [self._interleaved(x, y, high) for x, y in pairs for high in (0, 1)]
            block //= 2
        return vectors

    def _joined(self, parts: list[Value]) -> Value:
        """One vector of the parts' elements in order."""
        size = 16 // self.itemsize
        while len(parts) > 1:
            order = ", ".join(f"i32 {i}" for i in range(2 * size))
            type = f"<{size} x {self.type}>"
            pairs = zip(parts[::2], parts[1::2], strict=True)
            mask = f"<{2 * size} x i32> <{order}>"
            parts = [
                self.f.op(f"shufflevector {type} {x}, {type} {y}, {mask}") for x, y in pairs
            ]
            size *= 2
        return parts[0]

    def _interleaved(self, x: Value, y: Value, high: int) -> Value:
        """The low or high halves of all 16-byte lanes of x and y, alternating."""
        block = 16 // self.itemsize
        order = [
            lane + high * block // 2 + i + source
            for lane in range(0, self.lanes, block)
            for i in range(block // 2)
            for source in (0, self.lanes)
        ]
        return self._shuffled(x, y, order)

    def _shuffled(self, x: Value, y: Value, order: list[int]) -> Value:
        type = self.vector(self.whole)
        mask = f"<{self.lanes} x i32> <{', '.join(f'i32 {i}' for i in order)}>"
        return self.f.op(f"shufflevector {type} {x}, {type} {y}, {mask}")

    def lane_sums(self, vectors: list[Value]) -> Value:
        """Lane j is the sum of the lanes of vector j; their number is that of the lanes."""
        even, odd = (list(range(i, 2 * self.lanes, 2)) for i in (0, 1))
        type = self.vector(self.whole)
        while len(vectors) > 1:
            pairs = zip(vectors[::2], vectors[1::2], strict=True)
            vectors = [
                self.f.op(
                    f"fadd {type} {self._shuffled(x, y, even)}, {self._shuffled(x, y, odd)}"
                )
                for x, y in pairs
            ]
        return vectors[0]
