"""A parallel loop: cut into blocks that run on any thread, and their results combined.

The blocks are run by a block function ``void (ptr args, i64 begin, i64 end, i64 worker)`` for
blocks begin..end-1. Its arguments are the frame, the number of blocks, iterations a block,
and memory for the partial results of scalar accumulators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from graphc.errors import CompileError
from graphc.loops import ir
from graphc.loops.ir import Accumulate, Accumulator, Buffer, Index, Load, Loop, Statement, Store
from graphc.types import Dim, Size, int64, product
from graphc_llvm.emit import Value
from graphc_llvm.lower.code import Bound, Code
from graphc_llvm.lower.frame import Context, Home, Slot, slot
from graphc_llvm.lower.memory import Place, store
from graphc_llvm.lower.nest import Nest, open_nest
from graphc_llvm.lower.spans import WHOLE, Val
from graphc_llvm.lower.vector import shape_of


class Argument(IntEnum):
    """Slots of the block function's arguments."""

    FRAME = 0
    BLOCKS = 1
    SIZE = 2
    PARTIALS = 3


#: The number of blocks and the number of a block, named as no graph can name them.
BLOCKS = Dim({("#blocks",): 1})
BLOCK = "#block"


def block_count(code: Code, extent: Bound, loop: Loop) -> Bound:
    """`graphc.loops.ir.blocks` of an extent that may be known at run time only."""
    arrays = any(a.shape for a in loop.accumulators)
    if isinstance(extent, int):
        return ir.blocks(extent, loop.work, arrays)
    limit = ir.MAX_ARRAY_BLOCKS if arrays else ir.MAX_BLOCKS
    enough = code.floor_div(code.mul(extent, loop.work), ir.BLOCK_WORK)
    return code.maximum(1, code.minimum(limit, code.minimum(extent, enough)))


def block_size(code: Code, extent: Bound, blocks: Bound, step: int) -> Bound:
    """Iterations of a block: equal ones that begin at multiples of ``step``."""
    rounded_up = code.add(extent, code.sub(blocks, 1))
    return code.round_up(code.floor_div(rounded_up, blocks), step)


@dataclass
class Blocks:
    """A parallel loop being written. ``nest`` is that of the kernel function."""

    context: Context
    rows: Mapping[str, Home]
    nest: Nest
    before: tuple[Statement, ...]
    loop: Loop

    @property
    def scalars(self) -> list[Accumulator]:
        return [a for a in self.loop.accumulators if not a.shape]

    @property
    def arrays(self) -> list[Accumulator]:
        return [a for a in self.loop.accumulators if a.shape]

    @property
    def function(self) -> str:
        """Name of the block function."""
        return f"{self.nest.code.name}.blocks"

    def write(self) -> None:
        """Call the blocks from the kernel function, and make values of the accumulators."""
        code = self.nest.code
        with code.writing(code.scopes[0].before):
            blocks, size = self._division(code)
        code.define_size("#blocks", blocks)
        self._block_function(blocks)
        partials = self._allocate(code)
        self._call(blocks, size, partials)
        extent = blocks if isinstance(blocks, int) else BLOCKS
        for number, a in enumerate(self.scalars):
            self._combine_scalar(number, a, extent, partials)
        if blocks != 1 and self.arrays:
            with code.when(code.op(f"icmp sgt i64 {blocks}, 1")):
                for a in self.arrays:
                    self._combine_array(a, extent)

    def _division(self, code: Code) -> tuple[Bound, Bound]:
        """Number of blocks and iterations a block."""
        loop = self.loop
        step = shape_of(loop, code.target).step if loop.kind == "vector" else 1
        extent = code.size(loop.extent)
        blocks = block_count(code, extent, loop)
        return blocks, block_size(code, extent, blocks, step)

    # Kernel function -------------------------------------------------------------------------

    def _allocate(self, code: Code) -> Value:
        """Stack memory for partial results of scalars: values and positions of each."""
        count = 2 * ir.MAX_BLOCKS * len(self.scalars)
        return code.alloca(f"[{count} x i64], align 8") if count else "null"

    def _call(self, blocks: Bound, size: Bound, partials: Value) -> None:
        code = self.nest.code
        args = code.alloca(f"[{len(Argument)} x i64], align 8")
        code.store("ptr", "%frame", code.slot(args, Argument.FRAME))
        code.store("i64", blocks, code.slot(args, Argument.BLOCKS))
        code.store("i64", size, code.slot(args, Argument.SIZE))
        code.store("ptr", partials, code.slot(args, Argument.PARTIALS))
        direct = [("ptr", args), ("i64", "0"), ("i64", str(blocks)), ("i64", "0")]
        if blocks == 1:
            code.call("void", self.function, *direct)
            return
        runtime = slot(code, "%frame", Slot.RUNTIME)
        alone = code.op(f"icmp eq ptr {runtime}, null")
        single = code.op(f"icmp eq i64 {blocks}, 1")
        serial = code.op(f"or i1 {alone}, {single}")
        with code.when(serial):
            code.call("void", self.function, *direct)
        with code.when(code.op(f"xor i1 {serial}, true")):
            self._call_shared(runtime, args, blocks)

    def _call_shared(self, runtime: Value, args: Value, blocks: Bound) -> None:
        """Run the blocks on all threads; an interruption becomes the status."""
        code, status = self.nest.code, self.nest.status
        function = ("ptr", f"@{self.function}")
        stopped = code.call(
            "i32",
            "gc_parallel",
            ("ptr", runtime),
            function,
            ("ptr", args),
            ("i64", str(blocks)),
        )
        found = code.load("i32", status, 4)
        whole = code.op(f"icmp eq i32 {stopped}, 0")
        code.store("i32", code.op(f"select i1 {whole}, i32 {found}, i32 {stopped}"), status, 4)

    def _combine_scalar(
        self, number: int, a: Accumulator, blocks: Size, partials: Value
    ) -> None:
        """In block order, written as a loop of the loop language."""
        value, position = self._slots(self.nest, number, a, partials)
        index = Index(((BLOCK, 1),))
        body: list[Statement] = [Load("#value", value, index)]
        if a.kind in ("argmax", "argmin"):
            body.append(Load("#position", position, index))
            body.append(Accumulate(a.name, "#value", position="#position"))
        else:
            body.append(Accumulate(a.name, "#value"))
        self.nest.loop(Loop(BLOCK, blocks, "serial", tuple(body), (a,)))

    def _slots(
        self, nest: Nest, number: int, a: Accumulator, partials: Value
    ) -> tuple[Buffer, Buffer]:
        """Buffers of the partial values and positions of a scalar accumulator."""
        code, nbytes = nest.code, 8 * ir.MAX_BLOCKS
        start = 2 * number * nbytes
        values = code.once(-1, ("values", number), lambda: code.offset(partials, start))
        places = code.once(
            -1, ("positions", number), lambda: code.offset(partials, start + nbytes)
        )
        return (
            nest.buffer(f"#{a.name}", a.dtype, Place(values, a.dtype.name, -1)),
            nest.buffer(f"#{a.name}.position", int64, Place(places, "int64", -1)),
        )

    def _combine_array(self, a: Accumulator, blocks: Size) -> None:
        """Element by element in block order."""
        if a.partials is None or a.target is None:
            raise CompileError(f"the accumulator {a.name} has no memory for several blocks")
        element, total = "#element", f"#{a.name}.total"
        index = Index(((BLOCK, product(a.shape)), (element, 1)))
        over_blocks = Loop(
            BLOCK,
            blocks,
            "serial",
            (Load("#value", a.partials, index), Accumulate(total, "#value")),
            (Accumulator(total, a.kind, a.dtype),),
        )
        result = Store(a.target, Index(((element, 1),)), total)
        self.nest.loop(Loop(element, product(a.shape), "vector", (over_blocks, result)))

    # Block function --------------------------------------------------------------------------

    def _block_function(self, blocks: Bound) -> None:
        params = [("ptr", "args"), ("i64", "begin"), ("i64", "end"), ("i64", "worker")]
        code = self.context.code(self.function, params)
        frame = slot(code, "%args", Argument.FRAME)
        nest = open_nest(self.context, code, frame, self.rows, "%worker")
        nest.run(self.before)
        bounds: tuple[Bound, Bound] = (0, 1) if blocks == 1 else ("%begin", "%end")
        with code.loop(*bounds, 1) as it:
            self._block(nest, it.index, blocks)
        code.do("ret void")
        code.finish()

    def _block(self, nest: Nest, block: Bound, blocks: Bound) -> None:
        """The iterations of one block."""
        code = nest.code
        begin, end = self._bounds(code, block, blocks)
        for a in self.arrays:
            self._own_array(nest, a, block, blocks)
        nest.declare(self.loop)
        nest.iterate(self.loop, begin, end)
        nest.env[BLOCK] = Val("int64", 1, (str(block),), code.depth)
        partials = slot(code, "%args", Argument.PARTIALS)
        for number, a in enumerate(self.scalars):
            buffers = self._slots(nest, number, a, partials)
            types = (a.dtype.name, "int64")
            for buffer, dtype, text in zip(
                buffers, types, nest.states[a.name].parts[0], strict=True
            ):
                if text:
                    value = Val(dtype, 1, (text,), code.depth)
                    index = Index(((BLOCK, 1),))
                    store(code, nest.env, nest.find(buffer), index, value, WHOLE)

    def _bounds(self, code: Code, block: Bound, blocks: Bound) -> tuple[Bound, Bound]:
        extent = code.size(self.loop.extent)
        if blocks == 1:
            return 0, extent
        size = slot(code, "%args", Argument.SIZE, "i64")
        start = code.mul(size, block)
        return code.minimum(start, extent), code.minimum(code.add(start, size), extent)

    def _own_array(self, nest: Nest, a: Accumulator, block: Bound, blocks: Bound) -> None:
        """The memory in which a block accumulates: the target, if there is one block only."""
        if a.target is None:
            raise CompileError(f"the accumulator {a.name} has a shape and no target")
        place = nest.find(a.target)
        if blocks != 1:
            place = self._copy(nest, a, place, block)
        nest.start_array(a, place)

    def _copy(self, nest: Nest, a: Accumulator, target: Place, block: Bound) -> Place:
        if a.partials is None:
            raise CompileError(f"the accumulator {a.name} has no memory for several blocks")
        code, first = nest.code, nest.find(a.partials)
        distance = code.mul(code.size(product(a.shape) * a.dtype.itemsize), block)
        own = code.offset(first.pointer, distance)
        count = slot(code, "%args", Argument.BLOCKS, "i64")
        single = code.op(f"icmp eq i64 {count}, 1")
        pointer = code.op(f"select i1 {single}, ptr {target.pointer}, ptr {own}")
        return Place(pointer, a.dtype.name, code.depth)
