"""The epilogue of a contraction: a function that the library calls for each finished part."""

from __future__ import annotations

from dataclasses import replace

from graphc.loops.ir import ContractionKernel, Epilogue, Loop
from graphc.types import same_size
from graphc_llvm.emit import Value
from graphc_llvm.lower.closure import Closure
from graphc_llvm.lower.code import Bound
from graphc_llvm.lower.frame import Frame
from graphc_llvm.lower.memory import Place
from graphc_llvm.lower.nest import Nest, open_nest
from graphc_llvm.lower.spans import Val

#: A part of ``m`` rows and ``n`` columns from ``row``, ``column`` on. Its rows lie at ``c``
#: and then every ``c_rs`` bytes, columns side by side.
_PARAMS = (
    *(("ptr", "c"), ("i64", "c_rs")),
    *(("i64", "row"), ("i64", "m"), ("i64", "column"), ("i64", "n")),
)


def epilogue(frame: Frame, kernel: ContractionKernel, symbol: str) -> list[tuple[str, Bound]]:
    """Write it; what the library is told of it: function, arguments, whether it keeps C."""
    last = kernel.epilogue
    if last is None:
        return [("ptr", "null"), ("ptr", "null"), ("i64", 1)]
    code = Closure(frame.code, f"{symbol}.epilogue", _PARAMS)
    nest = open_nest(frame, code, {}, "0")
    *before, loop = last.body
    assert isinstance(loop, Loop)
    nest.run(before)
    if same_size(kernel.n, 1):
        _find_result(nest, last, "%c", "%row")
        _iterate(nest, loop, "%row", "%m")
    else:
        length = code.passed("i64", frame.code.size(kernel.n))
        with code.loop(0, "%m", 1) as it:
            row = code.add("%row", it.index)
            start = code.add(code.mul(row, length), "%column")
            _find_result(nest, last, code.offset("%c", code.mul(it.index, "%c_rs")), start)
            _run_row(nest, loop, row, start)
    args = code.close()
    return [("ptr", f"@{code.name}"), ("ptr", args), ("i64", int(last.keeps))]


def _find_result(nest: Nest, last: Epilogue, here: Value, start: Bound) -> None:
    """Let the result be where it would begin if its element ``start`` were ``here``."""
    code, result = nest.code, last.result
    begin = code.offset(here, code.mul(start, -result.dtype.itemsize))
    nest.places[result.name] = Place(begin, result.dtype.name, code.depth)


def _run_row(nest: Nest, loop: Loop, row: Bound, start: Bound) -> None:
    """One row of a part: of a loop over rows, or the elements of a loop over all of them."""
    if loop.kind == "vector":
        return _iterate(nest, loop, start, "%n")
    nest.env[loop.var] = Val("int64", 1, (str(row),), nest.code.depth)
    *before, inner = loop.body
    assert isinstance(inner, Loop)
    nest.run(before)
    _iterate(nest, inner, "%column", "%n")


def _iterate(nest: Nest, loop: Loop, begin: Bound, count: Bound) -> None:
    # The count need be a multiple of nothing, even if that of the whole loop is.
    nest.iterate(replace(loop, extent=1), begin, nest.code.add(begin, count))
