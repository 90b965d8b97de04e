"""A parallel loop: cut into blocks that run on any thread, and their results combined.

The blocks are run by a function ``void (ptr args, i64 begin, i64 end, i64 worker)`` for blocks
begin..end-1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphc.errors import CompileError
from graphc.loops import ir
from graphc.loops.ir import Accumulate, Accumulator, Buffer, Index, Load, Loop, Statement
from graphc.types import int64, product
from graphc_llvm.emit import COLD, Module, Value
from graphc_llvm.lower.closure import Closure
from graphc_llvm.lower.code import Bound, Code
from graphc_llvm.lower.combine import combine_copies
from graphc_llvm.lower.frame import Frame, Home
from graphc_llvm.lower.memory import Place, store
from graphc_llvm.lower.nest import Nest, open_nest
from graphc_llvm.lower.spans import WHOLE, Val
from graphc_llvm.lower.vector import shape_of

#: The number of a block, named as no graph can name it.
BLOCK = "#block"

#: What such a function is given beside ``args``.
PARAMS = [("i64", "begin"), ("i64", "end"), ("i64", "worker")]


def block_count(code: Code, extent: Bound, loop: Loop) -> Bound:
    """`graphc.loops.ir.blocks` of an extent that may be known at run time only."""
    arrays = any(a.shape for a in loop.accumulators)
    if isinstance(extent, int) and isinstance(loop.work, int):
        return ir.blocks(extent, loop.work, arrays)
    least, most = ir.block_limits(arrays)
    total = code.mul(extent, code.size(loop.work))
    blocks = code.minimum(most, code.minimum(extent, code.floor_div(total, least)))
    small = code.op(f"icmp slt i64 {total}, {ir.PARALLEL_WORK}")
    return code.maximum(1, code.op(f"select i1 {small}, i64 1, i64 {blocks}"))


def block_size(code: Code, extent: Bound, blocks: Bound, step: int) -> Bound:
    """Iterations of a block: equal ones that begin at multiples of ``step``."""
    if isinstance(blocks, int):
        return code.round_up(code.ceil_div(extent, blocks), step)
    values = [("i64", str(extent)), ("i64", blocks)]
    return code.round_up(code.call("i64", _quotient(code.module), *values), step)


def _quotient(module: Module) -> str:
    """``i64 quotient(extent, blocks)``, rounded up: division takes long, mostly in vain."""
    name = "quotient"
    if name not in module.functions:
        code = Code(
            module, name, "i64", [("i64", "extent"), ("i64", "blocks")], (), attributes=COLD
        )
        code.branch_if(code.op("icmp eq i64 %blocks, 1"), "single", "several")
        code.label("single")
        code.do("ret i64 %extent")
        code.label("several")
        code.do(f"ret i64 {code.ceil_div('%extent', '%blocks')}")
        code.finish()
    return name


def run_blocks(module: Module) -> str:
    """``i32 run_blocks(rt, function, args, blocks)``: here if that is all there is."""
    name = "run_blocks"
    if name not in module.functions:
        params = [("ptr", "rt"), ("ptr", "function"), ("ptr", "args"), ("i64", "blocks")]
        code = Code(module, name, "i32", params, (), attributes=COLD)
        alone, single = code.op("icmp eq ptr %rt, null"), code.op("icmp eq i64 %blocks, 1")
        code.branch_if(code.op(f"or i1 {alone}, {single}"), "here", "shared")
        code.label("here")
        code.do("call void %function(ptr %args, i64 0, i64 %blocks, i64 0)")
        code.do("ret i32 0")
        code.label("shared")
        values = [(type, f"%{value}") for type, value in params]
        code.do(f"ret i32 {code.call('i32', 'gc_parallel', *values)}")
        code.finish()
    return name


@dataclass
class Blocks:
    """A kernel around a parallel loop being written."""

    frame: Frame
    rows: Mapping[str, Home]
    symbol: str
    body: tuple[Statement, ...]
    loop: Loop

    def __post_init__(self) -> None:
        self.code = self.frame.code
        self.nest = open_nest(self.frame, self.code, self.rows, "0")
        place = self.body.index(self.loop)
        self.before, self.after = self.body[:place], self.body[place + 1 :]
        self.scalars = [a for a in self.loop.accumulators if not a.shape]
        self.arrays = [a for a in self.loop.accumulators if a.shape]
        self.blocks, self.size = self._division()
        # Partial results of scalars: values and positions of each.
        count = 2 * ir.MAX_BLOCKS * len(self.scalars)
        self.partials = self.code.alloca(f"[{count} x i64], align 8") if count else ""

    def write(self) -> None:
        """Run the blocks, make values of the accumulators, run what follows the loop."""
        self._call(*self._block_function())
        for number, a in enumerate(self.scalars):
            self._combine_scalar(number, a)
        if self.blocks != 1 and self.arrays:
            with self.code.when(self.code.op(f"icmp sgt i64 {self.blocks}, 1")):
                for a in self.arrays:
                    self._combine_array(a)
        if self.after:
            self.nest.run((*self.before, *self.after))

    def _division(self) -> tuple[Bound, Bound]:
        """Number of blocks and iterations a block."""
        code, loop = self.code, self.loop
        step = shape_of(loop, code.target).step if loop.kind == "vector" else 1
        extent = code.size(loop.extent)
        key = ("blocks", extent, loop.work, bool(self.arrays))
        blocks = code.once(-1, key, lambda: str(block_count(code, extent, loop)))
        count: Bound = blocks if blocks.startswith("%") else int(blocks)
        return count, block_size(code, extent, count, step)

    # In the entry ----------------------------------------------------------------------------

    def _call(self, symbol: str, args: Value) -> None:
        code = self.code
        direct = [("ptr", args), ("i64", "0"), ("i64", str(self.blocks)), ("i64", "0")]
        if self.blocks == 1:
            code.call("void", symbol, *direct)
            return
        function, count = ("ptr", f"@{symbol}"), ("i64", str(self.blocks))
        shared = [("ptr", "%rt"), function, ("ptr", args), count]
        self.frame.stop_if_interrupted(code.call("i32", run_blocks(code.module), *shared))

    def _combine_scalar(self, number: int, a: Accumulator) -> None:
        """In block order, written as a loop of the loop language."""
        value, position = self._slots(self.nest, number, a)
        index = Index(((BLOCK, 1),))
        body: list[Statement] = [Load("#value", value, index)]
        if a.kind in ("argmax", "argmin"):
            body.append(Load("#position", position, index))
            body.append(Accumulate(a.name, "#value", position="#position"))
        else:
            body.append(Accumulate(a.name, "#value"))
        loop = Loop(BLOCK, 0, "serial", tuple(body), (a,))
        self.nest.declare(loop)
        self.nest.iterate(loop, 0, self.blocks)
        self.nest.close(loop)

    def _slots(self, nest: Nest, number: int, a: Accumulator) -> tuple[Buffer, Buffer]:
        """Buffers of the partial values and positions of a scalar accumulator."""
        code, nbytes = nest.code, 8 * ir.MAX_BLOCKS
        partials = code.outside("ptr", self.partials)

        def at(start: int) -> Value:
            return code.once(-1, (partials, start), lambda: code.offset(partials, start))

        values, places = at(2 * number * nbytes), at((2 * number + 1) * nbytes)
        return (
            nest.buffer(f"#{a.name}", a.dtype, Place(values, a.dtype.name, -1)),
            nest.buffer(f"#{a.name}.position", int64, Place(places, "int64", -1)),
        )

    def _combine_array(self, a: Accumulator) -> None:
        target, partials = self._memory(self.nest, a)
        count = self.code.size(product(a.shape))
        combine_copies(self.code, a, target, partials, count, self.blocks)

    def _memory(self, nest: Nest, a: Accumulator) -> tuple[Value, Value]:
        """An array accumulator's target, and memory for the copies of several blocks."""
        if a.target is None:
            raise CompileError(f"the accumulator {a.name} has a shape and no target")
        if self.blocks == 1:
            return nest.find(a.target).pointer, ""
        if a.partials is None:
            raise CompileError(f"the accumulator {a.name} has no memory for several blocks")
        return nest.find(a.target).pointer, nest.find(a.partials).pointer

    # Block function --------------------------------------------------------------------------

    def _block_function(self) -> tuple[str, Value]:
        """Write it; its name and the arguments to call it with."""
        code = Closure(self.code, self.symbol, PARAMS)
        nest = open_nest(self.frame, code, self.rows, "%worker")
        nest.run(self.before)
        bounds: tuple[Bound, Bound] = (0, 1) if self.blocks == 1 else ("%begin", "%end")
        with code.loop(*bounds, 1) as it:
            self._block(nest, it.index)
        args = code.close()
        return code.name, args

    def _block(self, nest: Nest, block: Bound) -> None:
        """The iterations of one block."""
        code = nest.code
        begin, end = self._bounds(code, block)
        for a in self.arrays:
            nest.start_array(a, self._own_array(nest, a, block))
        nest.declare(self.loop)
        self.iterate(nest, begin, end)
        nest.env[BLOCK] = Val("int64", 1, (str(block),), code.depth)
        index = Index(((BLOCK, 1),))
        for number, a in enumerate(self.scalars):
            buffers, types = self._slots(nest, number, a), (a.dtype.name, "int64")
            results = nest.states[a.name].parts[0]
            for buffer, dtype, text in zip(buffers, types, results, strict=True):
                if text:
                    value = Val(dtype, 1, (text,), code.depth)
                    store(code, nest.env, nest.find(buffer), index, value, WHOLE)

    def iterate(self, nest: Nest, begin: Bound, end: Bound) -> None:
        """The iterations of a block from ``begin`` to ``end``."""
        nest.iterate(self.loop, begin, end)

    def _bounds(self, code: Code, block: Bound) -> tuple[Bound, Bound]:
        extent = code.size(self.loop.extent)
        if self.blocks == 1:
            return 0, extent
        size = code.outside("i64", self.size)
        start = code.mul(size, block)
        return code.minimum(start, extent), code.minimum(code.add(start, size), extent)

    def _own_array(self, nest: Nest, a: Accumulator, block: Bound) -> Place:
        """The memory in which a block accumulates: the target, if there is one block only."""
        code, (target, partials) = nest.code, self._memory(nest, a)
        if self.blocks == 1:
            return Place(target, a.dtype.name, -1)
        distance = code.mul(code.size(product(a.shape) * a.dtype.itemsize), block)
        own = code.offset(partials, distance)
        count = code.outside("i64", self.blocks)
        single = code.op(f"icmp eq i64 {count}, 1")
        pointer = code.op(f"select i1 {single}, ptr {target}, ptr {own}")
        return Place(pointer, a.dtype.name, code.depth)
