"""Products of small matrices whose sizes and strides are numbers: nothing is looked up.

Tiles of C are held in registers while k runs. Rows of B are read where they are if they are
contiguous; otherwise B is transposed first, which is cheap next to the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from graphc_llvm.emit import Module, Value
from graphc_llvm.gemm.code import Code
from graphc_llvm.gemm.pieces import Piece, Vectors

#: Multiply-adds of vectors that are written one after the other in a loop over k.
_UNROLLED = 96

#: Independent sums that keep the processor's multiply-add units busy, and the most parts that
#: a sum is cut into to have as many.
_CHAINS, _PARTS = 8, 4

#: Vectors of columns in a tile of one row.
_WIDEST = 8

#: Bytes of an operand from which on the processor's own foresight does not suffice, and of both
#: operands of a product that the first-level cache holds beside those of the one before it.
_STREAMED, _NEAR = 2048, 1 << 14

#: More bytes than these in an iteration would only wait for each other.
_MOST_ASKED = 512

#: Cycles that a tile takes beside its multiply-adds, and what each size of tile more may gain:
#: it has to be compiled.
_TILE_CYCLES, _VARIANT = 12, 1.03


@dataclass(frozen=True)
class Small:
    """C[m,n] (+)= A[m,k] B[k,n]; strides of rows and columns in elements."""

    dtype: str
    m: int
    k: int
    n: int
    a: tuple[int, int]
    b: tuple[int, int]
    c: tuple[int, int]
    accumulate: bool

    @property
    def name(self) -> str:
        sizes = (self.m, self.k, self.n, *self.a, *self.b, *self.c, int(self.accumulate))
        return f"product.{self.dtype}.{'.'.join(map(str, sizes)).replace('-', '_')}"

    @property
    def transposed(self) -> Small:
        """The same values, as the product of the transposed matrices."""
        a, b, c = self.b[::-1], self.a[::-1], self.c[::-1]
        return replace(self, m=self.n, n=self.m, a=a, b=b, c=c)


def small_product(module: Module, p: Small) -> str:
    """``void (ptr a, ptr b, ptr c, i64 count, i64 a_bs, i64 b_bs, i64 c_bs)``: its symbol.

    It multiplies ``count`` matrices that follow each other at these distances (in bytes).
    """
    if p.name in module.functions:
        return p.name
    name, order = p.name, "abc"
    if p.n == 1 or (p.c[1] != 1 and p.c[0] == 1):
        p, order = p.transposed, "bac"
    params = [*(("ptr", x) for x in order), ("i64", "count")]
    params += (("i64", f"{x}_bs") for x in order)
    f = Code(module, name, "void", params, internal=True, attributes="nounwind")
    writer = _Writer(f, p)
    if writer.packs:
        f.do(f"%packed = alloca [{p.k * writer.packed_row} x i8], align 64")
    f.do("%ahead = alloca [2 x ptr], align 8")
    operands = [("ptr", "%a"), ("ptr", "%b"), ("ptr", "%c")]
    with f.loop("0", "%count", carried=operands) as it:
        writer.write(it.index, *it.values)
        steps = zip(it.values, ("%a_bs", "%b_bs", "%c_bs"), strict=True)
        it.next = [f.offset(pointer, step) for pointer, step in steps]
    f.do("ret void")
    f.finish()
    return f.name


class _Writer(Vectors):
    """Code of one product."""

    def __init__(self, f: Code, p: Small) -> None:
        super().__init__(f, p.dtype)
        self.p = p

    @property
    def by_dots(self) -> bool:
        """Whether a single row is multiplied with long contiguous columns."""
        return self.p.m == 1 and self.p.b[0] == self.p.a[1] == 1 and self.p.k >= self.lanes

    @property
    def packs(self) -> bool:
        return not (self.p.b[1] == 1 or self.p.n == 1 or self.by_dots)

    @property
    def packed_row(self) -> int:
        """Bytes of a row of packed B: whole vectors."""
        return -(-self.p.n // self.lanes) * self.target.vector_bytes

    def write(self, number: Value, a: Value, b: Value, c: Value) -> None:
        f = self.f
        if self.by_dots:
            return self._dots(a, b, c)
        if self._step:
            f.store("ptr", f.offset(a, "%a_bs"), "%ahead")
            f.store("ptr", f.offset(b, "%b_bs"), f.offset("%ahead", "8"))
        if self.packs:
            again = f.compare("ne", "%b_bs", "0")
            with f.when(f.either(again, f.compare("eq", number, "0"))):
                self._pack(b)
            b = "%packed"
        for panel, times in self._panels:
            self._columns(a, b, c, panel, times)

    # Cutting ---------------------------------------------------------------------------------

    @cached_property
    def _pieces(self) -> list[Piece]:
        """Vectors that cover the columns: what is left of them is masked or in halves."""
        n, lanes = self.p.n, self.lanes
        out = [Piece(j, lanes, lanes) for j in range(0, n - n % lanes, lanes)]
        begin, width = n - n % lanes, lanes
        while begin < n:
            left = n - begin
            if self.masked and left & (left - 1):
                width = max(1 << left.bit_length(), 16 // self.itemsize)
                return [*out, Piece(begin, width, left)]
            width = 1 << (left.bit_length() - 1)
            out.append(Piece(begin, width, width))
            begin += width
        return out

    @cached_property
    def _panels(self) -> list[tuple[list[Piece], int]]:
        """The vectors that tiles have, chosen for the least time, and how often."""
        most = _WIDEST if self.p.m == 1 else max(1, self.target.registers // 8)
        cuts = [self._cut(width) for width in range(1, min(most, len(self._pieces)) + 1)]
        return min(cuts, key=self._cycles)

    def _cut(self, width: int) -> list[tuple[list[Piece], int]]:
        """Panels of so many whole vectors, and one of the rest."""
        times = self.p.n // (width * self.lanes)
        parts = self._pieces[:width], self._pieces[times * width :]
        return [(panel, n) for panel, n in zip(parts, (times, 1), strict=True) if n and panel]

    def _cycles(self, cut: list[tuple[list[Piece], int]]) -> float:
        total = sum(n * (self._height(len(panel))[0] + self._a_lines) for panel, n in cut)
        return total * _VARIANT ** (len(cut) - 1)

    @property
    def _a_lines(self) -> float:
        """Cache lines of A: each panel reads all of it."""
        return self.p.m * self.p.k * self.itemsize / 64

    def _height(self, vectors: int) -> tuple[float, int]:
        """Cycles of all rows in tiles of so many vectors, and the rows of a tile."""
        m, most = self.p.m, max(1, (self.target.registers - vectors - 1) // vectors)
        fewest = -(-m // most)
        heights = {-(-m // tiles) for tiles in range(fewest, 2 * fewest + 1)}
        return min((self._rows_cycles(vectors, rows), -rows) for rows in heights)

    def _rows_cycles(self, vectors: int, rows: int) -> float:
        """Cycles of all rows in tiles of that size: two multiply-adds or loads each."""
        tiles, rest = divmod(self.p.m, rows)
        total = tiles * self._tile_cycles(vectors, rows)
        return (total + self._tile_cycles(vectors, rest)) * _VARIANT if rest else total

    def _tile_cycles(self, vectors: int, rows: int) -> float:
        size = rows * vectors
        steps = size / 2, (rows + vectors) / 2, 5 / self._parts(size)
        return self.p.k * max(steps) + _TILE_CYCLES

    def _parts(self, sums: int) -> int:
        """Parts that the sums of a tile are cut into."""
        return max(1, min(_PARTS, _CHAINS // max(sums, 1), self.p.k))

    # Tiles -----------------------------------------------------------------------------------

    def _columns(self, a: Value, b: Value, c: Value, panel: list[Piece], times: int) -> None:
        """All rows of C in the columns of some panels that follow each other."""
        f, first = self.f, panel[0].first * self.itemsize
        width = len(panel) * self.target.vector_bytes
        with f.loop("0", str(times)) as it:
            at = f.add(f.mul(it.index, str(width)), str(first))
            self._rows(a, f.offset(b, at), f.offset(c, f.mul(at, str(self.p.c[1]))), panel)

    def _rows(self, a: Value, b: Value, c: Value, panel: list[Piece]) -> None:
        """All rows of C in the columns of a panel."""
        f, p = self.f, self.p
        height = -self._height(len(panel))[1]
        a_step, c_step = (height * s[0] * self.itemsize for s in (p.a, p.c))
        tiles, rest = divmod(p.m, height)
        with f.loop("0", str(tiles), carried=[("ptr", a), ("ptr", c)]) as it:
            a, c = it.values
            self._tile(a, c, b, panel, height)
            it.next = [f.offset(a, str(a_step)), f.offset(c, str(c_step))]
        if rest:
            a, c = it.values
            self._tile(a, c, b, panel, rest)

    def _tile(self, a: Value, c: Value, b: Value, panel: list[Piece], rows: int) -> None:
        """So many rows of C in the columns of a panel, where both begin."""
        sums = self._sum(a, b, panel, rows)
        for i in range(rows):
            for j, piece in enumerate(panel):
                row = i * self.p.c[0] * self.itemsize
                at = row + self._at(panel, piece) * self.p.c[1]
                self._finish(piece, sums[i * len(panel) + j], self.f.offset(c, str(at)))

    def _at(self, panel: list[Piece], piece: Piece) -> int:
        """Bytes from the beginning of a panel's row to a piece of it."""
        return (piece.first - panel[0].first) * self.itemsize

    def _sum(self, a: Value, b: Value, panel: list[Piece], rows: int) -> list[Value]:
        """The elements of a tile: a loop over k, a few terms of it written out."""
        f, k = self.f, self.p.k
        size = rows * len(panel)
        parts = self._parts(size)
        unrolled = self._unrolled(size, parts)
        types = [self.vector(piece) for piece in panel] * (rows * parts)
        sums = ["zeroinitializer"] * len(types)
        a_step, b_step = self.p.a[1] * self.itemsize, self._b_row
        whole = self._loops(unrolled)
        if whole:
            ahead = self._ahead()
            state = [("ptr", x) for x in (a, b, *ahead)]
            with f.loop(
                "0", str(whole), carried=[*state, *zip(types, sums, strict=True)]
            ) as it:
                a, b = it.values[:2]
                later = self._ask(it.values[2 : len(state)])
                sums = self._terms(a, b, panel, rows, unrolled, it.values[len(state) :])
                moved = [f.offset(x, str(unrolled * n)) for x, n in ((a, a_step), (b, b_step))]
                it.next = [*moved, *later, *sums]
            a, b = it.values[:2]
            self._keep(it.values[2 : len(state)])
            sums = list(it.values[len(state) :])
        sums = self._terms(a, b, panel, rows, k - whole * unrolled, sums)
        for step in range(1, parts):
            own = zip(types, sums[:size], sums[step * size : (step + 1) * size], strict=False)
            sums[:size] = [f.op(f"fadd {t} {x}, {y}") for t, x, y in own]
        return sums[:size]

    def _loops(self, unrolled: int) -> int:
        """Iterations of the loop over k: none if there were only one."""
        return self.p.k // unrolled if self.p.k >= 2 * unrolled else 0

    # The next product's operands are asked for while this one is computed.

    @cached_property
    def _step(self) -> int:
        """Bytes of A and of B to ask for in an iteration of the loop over k; 0: none."""
        nbytes = self.p.k * max(self.p.m, self.p.n) * self.itemsize
        iterations = 0
        for panel, times in self._panels:
            height = -self._height(len(panel))[1]
            size = height * len(panel)
            loops = self._loops(self._unrolled(size, self._parts(size)))
            iterations += times * (self.p.m // height) * loops
        step = -(-nbytes // max(iterations, 1))
        return step if nbytes >= _STREAMED and step <= _MOST_ASKED else 0

    def _ahead(self) -> list[Value]:
        """What to ask for next, of A and of B."""
        f = self.f
        places = ["%ahead", f.offset("%ahead", "8")] if self._step else []
        return [f.load("ptr", place) for place in places]

    def _ask(self, places: Sequence[Value]) -> list[Value]:
        """Ask for the lines there; the first-level cache has room for small operands."""
        level = 1 if self.p.k * (self.p.m + self.p.n) * self.itemsize <= _NEAR else 2
        for place in places:
            for line in range(0, self._step, 64):
                self.f.prefetch(self.f.offset(place, str(line)), level)
        return [self.f.offset(place, str(self._step)) for place in places]

    def _keep(self, places: Sequence[Value]) -> None:
        for i, place in enumerate(places):
            self.f.store("ptr", place, self.f.offset("%ahead", str(8 * i)))

    def _unrolled(self, size: int, parts: int) -> int:
        """Terms in an iteration of the loop over k: of half as many on, what leaves no rest."""
        most = max(1, min(self.p.k, _UNROLLED // size) // parts)
        exact = (n * parts for n in range(most, most // 2, -1) if self.p.k % (n * parts) == 0)
        return next(exact, most * parts)

    @property
    def _b_row(self) -> int:
        """Bytes from a row of B to the next where tiles read it."""
        return self.packed_row if self.packs else self.p.b[0] * self.itemsize

    def _terms(
        self,
        a: Value,
        b: Value,
        panel: list[Piece],
        rows: int,
        count: int,
        old: Sequence[Value],
    ) -> list[Value]:
        """``old`` and ``count`` terms of each sum, by turns to each part of it."""
        sums, size = list(old), rows * len(panel)
        parts = len(sums) // size
        for k in range(count):
            row = [
                self._load_b(
                    self.f.offset(b, str(k * self._b_row + self._at(panel, piece))), piece
                )
                for piece in panel
            ]
            for i in range(rows):
                at = (i * self.p.a[0] + k * self.p.a[1]) * self.itemsize
                x = self.f.load(self.type, self.f.offset(a, str(at)), self.itemsize)
                for j, piece in enumerate(panel):
                    n = (k % parts) * size + i * len(panel) + j
                    sums[n] = self._fma(piece, x, row[j], sums[n])
        return sums

    def _load_b(self, where: Value, piece: Piece) -> Value:
        if self.packs:
            return self.f.load(self.vector(piece), where, self.itemsize)
        return self.load(piece, where)

    def _fma(self, piece: Piece, scalar: Value, y: Value, total: Value) -> Value:
        type, f = self.vector(piece), self.f
        one = f.op(f"insertelement {type} poison, {self.type} {scalar}, i64 0")
        zeros = f"<{piece.lanes} x i32> zeroinitializer"
        x = f.op(f"shufflevector {type} {one}, {type} poison, {zeros}")
        return self.multiply_add(piece, x, y, total)

    def _finish(self, piece: Piece, total: Value, where: Value) -> None:
        """Store elements of C that are complete: together, or one by one."""
        step, type = self.p.c[1] * self.itemsize, self.vector(piece)
        if self.p.c[1] == 1 and (piece.used == piece.lanes or self.masked):
            return self._update(piece, total, where)
        for j in range(piece.used):
            mask = f"<1 x i32> <i32 {j}>"
            x = self.f.op(f"shufflevector {type} {total}, {type} poison, {mask}")
            self._update(Piece(0, 1, 1), x, self.f.offset(where, str(j * step)))

    def _update(self, piece: Piece, total: Value, where: Value) -> None:
        if self.p.accumulate:
            old = self.load(piece, where)
            total = self.f.op(f"fadd {self.vector(piece)} {total}, {old}")
        self.store(piece, total, where)

    # Columns ---------------------------------------------------------------------------------

    def _pack(self, b: Value) -> None:
        """Copy B to ``%packed``, row by row in whole vectors; columns from n on are zero."""
        f, p = self.f, self.p
        with f.loop("0", str(p.n // self.lanes)) as strip:
            step = str(self.lanes * p.b[1] * self.itemsize)
            start = f.at(b, (strip.index, step))
            to = f.at("%packed", (strip.index, str(self.target.vector_bytes)))
            self._transpose_strip(start, to, self.lanes)
        if p.n % self.lanes:
            first = p.n // self.lanes
            start = f.offset(b, str(first * self.lanes * p.b[1] * self.itemsize))
            to = f.offset("%packed", str(first * self.target.vector_bytes))
            self._transpose_strip(start, to, p.n % self.lanes)

    def _transpose_strip(self, b: Value, to: Value, count: int) -> None:
        """A vector of so many columns: blocks of rows, then one by one."""
        f, p, block = self.f, self.p, 16 // self.itemsize
        column = p.b[1] * self.itemsize
        columns = [f.offset(b, str(j * column)) for j in range(count)]
        columns += [""] * (self.lanes - count)
        whole = p.k - p.k % block if p.b[0] == 1 else 0
        with f.loop("0", str(whole), str(block)) as k:
            at = f.mul(k.index, str(self.itemsize))
            rows = self.transposed([f.offset(c, at) if c else "" for c in columns])
            place = f.at(to, (k.index, str(self.packed_row)))
            for i, row in enumerate(rows):
                self.store(self.whole, row, f.offset(place, str(i * self.packed_row)))
        if whole < p.k:
            with f.loop(str(whole), str(p.k)) as k:
                at = f.mul(k.index, str(p.b[0] * self.itemsize))
                row = self.gathered([f.offset(c, at) if c else "" for c in columns])
                self.store(self.whole, row, f.at(to, (k.index, str(self.packed_row))))

    # A row times contiguous columns ----------------------------------------------------------

    def _dots(self, a: Value, b: Value, c: Value) -> None:
        """Elements of C as sums over the lanes, a vector of them at a time."""
        f, p = self.f, self.p
        b_step, c_step = (s[1] * self.lanes * self.itemsize for s in (p.b, p.c))
        whole, rest = divmod(p.n, self.lanes)
        if whole:
            with f.loop("0", str(whole), carried=[("ptr", b), ("ptr", c)]) as it:
                b, c = it.values
                self._dot_columns(a, b, c, self.lanes)
                it.next = [f.offset(b, str(b_step)), f.offset(c, str(c_step))]
            b, c = it.values
        if rest:
            self._dot_columns(a, b, c, rest)

    def _dot_columns(self, a: Value, b: Value, c: Value, count: int) -> None:
        step = self.p.b[1] * self.itemsize
        columns = [self.f.offset(b, str(j * step)) for j in range(count)]
        sums = self._dot_sums(a, columns)
        total = self.lane_sums(sums + ["zeroinitializer"] * (self.lanes - count))
        self._finish(Piece(0, self.lanes, count), total, c)

    def _dot_sums(self, a: Value, columns: list[Value]) -> list[Value]:
        """Sums of products in each lane, of A and of each column."""
        f, (whole, rest) = self.f, divmod(self.p.k, self.lanes)
        type, size = self.vector(self.whole), self.target.vector_bytes
        sums = ["zeroinitializer"] * len(columns)
        with f.loop("0", str(whole * size), str(size), [(type, x) for x in sums]) as it:
            row = self.load(self.whole, f.offset(a, it.index))
            it.next = [
                self.multiply_add(
                    self.whole, row, self.load(self.whole, f.offset(column, it.index)), x
                )
                for column, x in zip(columns, it.values, strict=True)
            ]
        sums, at = list(it.values), str(whole * size)
        if rest:
            row = self.first(f.offset(a, at), rest)
            for j, column in enumerate(columns):
                y = self.first(f.offset(column, at), rest)
                sums[j] = self.multiply_add(self.whole, row, y, sums[j])
        return sums
