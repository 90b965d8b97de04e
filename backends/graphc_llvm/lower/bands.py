"""Products and a nest that run together on bands of rows, which stay in cache meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from graphc.loops.ir import Accumulator, BandKernel, CheckedIndex, Loop, Operand, statements
from graphc.types import Size
from graphc_llvm.emit import Value
from graphc_llvm.gemm import SCRATCH_BYTES_PER_THREAD
from graphc_llvm.lower.blocks import Blocks
from graphc_llvm.lower.code import Bound, Code
from graphc_llvm.lower.contractions import SYMBOLS
from graphc_llvm.lower.frame import Frame, Home
from graphc_llvm.lower.nest import Nest

#: Bytes of rows in a band: part of a second-level cache.
BAND_BYTES = 1 << 17
#: Rows of a band are a multiple of this.
BAND_STEP = 16

#: The sum over all rows as an array accumulator, named as no graph can name it.
TOTAL = "#total"


def lower_bands(frame: Frame, kernel: BandKernel, rows: Mapping[str, Home]) -> None:
    """Let the entry run a band kernel; ``rows`` are the row buffers of its nest."""
    body = kernel.nest.body
    (loop,) = (s for s in body if isinstance(s, Loop))
    out = kernel.total.out.buffer
    total = Accumulator(TOTAL, "sum", out.dtype, out.shape, out, kernel.partials)
    summed = replace(loop, accumulators=(*loop.accumulators, total))
    whole = tuple(summed if s is loop else s for s in body)
    Bands(frame, rows, frame.symbol(kernel), whole, summed, kernel).write()
    if any(isinstance(s, CheckedIndex) for s in statements(body)):
        frame.stop_if_failed()


@dataclass
class Bands(Blocks):
    """A parallel loop whose iterations are run band by band between two products."""

    kernel: BandKernel

    def iterate(self, nest: Nest, begin: Bound, end: Bound) -> None:
        """The iterations of a block from ``begin`` to ``end``."""
        # A band may have any length, and adds to what the bands before it have made.
        code, loop = nest.code, replace(self.loop, extent=1, accumulators=())
        names = nest.touched(loop)
        carried = [pair for name in names for pair in nest.states[name].flat()]
        height = self._height(code)
        with code.loop(0, code.ceil_div(code.sub(end, begin), height), 1, carried) as it:
            nest.resume(names, it.values)
            first = code.add(begin, code.mul(it.index, height))
            count = code.minimum(height, code.sub(end, first))
            self._multiply_rows(nest, first, count)
            nest.iterate(loop, first, code.add(first, count))
            self._add_to_total(nest, first, count)
            it.next = [v for name in names for _, v in nest.states[name].flat()]
        nest.resume(names, it.values)

    def _height(self, code: Code) -> Bound:
        """Rows of a band."""
        row = code.maximum(1, code.mul(code.size(self.kernel.rows.k), self._itemsize))
        return code.maximum(BAND_STEP, code.mul(code.floor_div(BAND_BYTES, code.mul(
            row, BAND_STEP)), BAND_STEP))  # fmt: skip

    @property
    def _itemsize(self) -> int:
        return self.kernel.rows.dtype.itemsize

    def _multiply_rows(self, nest: Nest, first: Bound, count: Bound) -> None:
        p, code = self.kernel.rows, nest.code
        a = self._at(nest, p.a, first, p.a.row)
        out = self._at(nest, p.out, first, p.out.row)
        sizes = count, code.size(p.n), code.size(p.k)
        self._multiply(nest, (out, a, self._at(nest, p.b, 0, 0)), sizes, (p.a, p.b, p.out), 0)

    def _add_to_total(self, nest: Nest, first: Bound, count: Bound) -> None:
        p, code = self.kernel.total, nest.code
        a, b = self._at(nest, p.a, first, p.a.column), self._at(nest, p.b, first, p.b.row)
        _, place = nest.arrays[TOTAL]
        sizes = code.size(p.m), code.size(p.n), count
        self._multiply(nest, (place.pointer, a, b), sizes, (p.a, p.b, p.out), 1)

    def _at(self, nest: Nest, operand: Operand, index: Bound, step: Size) -> Value:
        """Where an operand begins for the rows from ``index`` on."""
        code = nest.code
        elements = code.add(code.size(operand.offset), code.mul(index, code.size(step)))
        pointer = nest.find(operand.buffer).pointer
        return code.offset(pointer, code.mul(elements, self._itemsize))

    def _multiply(
        self,
        nest: Nest,
        pointers: tuple[Value, Value, Value],
        sizes: tuple[Bound, Bound, Bound],
        operands: tuple[Operand, Operand, Operand],
        accumulate: int,
    ) -> None:
        """One product on this thread."""
        code = nest.code
        contents: list[tuple[str, Bound]] = [("ptr", pointer) for pointer in pointers]
        contents += (("i64", size) for size in (1, *sizes))
        for o in operands:
            contents += (("i64", code.size(size)) for size in (0, o.row, o.column))
        contents += [("i64", accumulate), ("ptr", "null"), ("ptr", "null"), ("i64", 1)]
        table = code.once(-1, "table", lambda: code.alloca(f"[{len(contents)} x i64], align 8"))
        for index, (type, value) in enumerate(contents):
            code.store(type, value, code.slot(table, index))
        scratch = code.outside("ptr", self.frame.scratch)
        own = code.offset(scratch, code.mul("%worker", SCRATCH_BYTES_PER_THREAD))
        arguments = [("ptr", "null"), ("ptr", table), ("ptr", own)]
        code.call("i32", SYMBOLS[self.kernel.rows.dtype.name], *arguments)
