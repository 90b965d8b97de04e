"""Register tiles and cache blocks: how a contraction is cut for one target and dtype."""

from __future__ import annotations

from dataclasses import dataclass

from graphc_llvm.target import Target

#: Bytes of scratch that one thread of a contraction needs.
SCRATCH_BYTES_PER_THREAD = 3 << 19

_PARTIALS_BYTES = 1 << 18

#: Tiles of A that are packed at a time: a cache line of A may serve several.
_A_TILES = 4


@dataclass(frozen=True)
class Tiling:
    """Sizes of the blocked algorithm of Goto and van de Geijn (ACM TOMS 34(3), 2008).

    A micro-kernel holds ``rows`` x ``vectors`` accumulators in registers. What such
    tiles leave of the rows of C is done in tiles of ``low`` rows. ``depth`` terms of
    the sum are taken at a time, for at most ``columns`` columns of B, which together
    fit the second-level cache.
    """

    target: Target
    type: str
    itemsize: int
    rows: int
    low: int
    vectors: int
    low_vectors: int
    depth: int
    columns: int

    @property
    def lanes(self) -> int:
        return self.target.lanes(self.itemsize)

    @property
    def vector(self) -> str:
        """The LLVM vector type."""
        return f"<{self.lanes} x {self.type}>"

    @property
    def suffix(self) -> str:
        return f"f{8 * self.itemsize}"

    @property
    def masked(self) -> bool:
        """Whether a partial last vector is masked: without mask registers it costs too much."""
        return self.target.masked and self.target.registers >= 32

    @property
    def b_bytes(self) -> int:
        """Scratch for packed B."""
        return self.depth * self.columns * self.itemsize

    @property
    def a_row_bytes(self) -> int:
        """Distance of two packed rows of A: odd in cache lines, against set conflicts."""
        return self.depth * self.itemsize + 64

    def a_pitch(self, rows: int) -> int:
        """Distance of two packed columns of a tile of A with contiguous columns."""
        if not self.masked or rows & (rows - 1) == 0:
            return rows * self.itemsize
        return -(-rows // self.lanes) * self.lanes * self.itemsize

    def a_tile_bytes(self, rows: int) -> int:
        """Scratch for ``rows`` rows of A, whichever way they are packed."""
        size = max(rows * self.a_row_bytes, self.depth * self.a_pitch(rows))
        return size + 320

    @property
    def a_rows(self) -> int:
        """Rows of A that are packed at a time."""
        return _A_TILES * self.rows

    @property
    def tile_offset(self) -> int:
        """Where the tile of C lies in a thread's scratch, after packed B and A."""
        return self.b_bytes + 2 * _A_TILES * self.a_tile_bytes(self.rows)

    @property
    def tile_row_bytes(self) -> int:
        """Distance of the rows of a tile of C in scratch."""
        return self.low_vectors * self.target.vector_bytes

    @property
    def own_row_bytes(self) -> int:
        """Distance of the rows of C that are kept in scratch: odd in cache lines."""
        return self.columns * self.itemsize + 64 | 64

    @property
    def own_offset(self) -> int:
        """Where rows of C that only the epilogue needs lie in a thread's scratch."""
        return self.tile_offset + self.rows * self.tile_row_bytes

    @property
    def partials_offset(self) -> int:
        """Where partial sums over chunks of k lie in the first thread's scratch."""
        return SCRATCH_BYTES_PER_THREAD - _PARTIALS_BYTES

    @property
    def partials(self) -> int:
        """How many elements of partial sums there is room for."""
        return _PARTIALS_BYTES // self.itemsize


def tiling(target: Target, dtype: str) -> Tiling:
    """The tiling of ``"float32"`` or ``"float64"`` on ``target``."""
    itemsize = {"float32": 4, "float64": 8}[dtype]
    # rows * vectors accumulators, a row of B and one broadcast value must fit.
    rows, low, vectors, low_vectors = (14, 8, 2, 3) if target.registers >= 32 else (6, 4, 2, 3)
    depth = (1792 if target.vector_bytes == 64 else 1024) // itemsize
    budget = 7 << 17 if target.vector_bytes == 64 else 3 << 16
    width = vectors * target.lanes(itemsize)
    columns = budget // (depth * itemsize) // width * width
    type = "float" if itemsize == 4 else "double"
    return Tiling(target, type, itemsize, rows, low, vectors, low_vectors, depth, columns)
