"""The table from op names to lowerings, and the decorator that fills it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

from graphc.errors import UnsupportedOpError
from graphc_llvm.emit import Function, Module, Value
from graphc_llvm.target import Target
from graphc_llvm.vmath.lanes import Lane, V

Lowering = Callable[[Function, Lane, tuple[Lane, ...], tuple[Value, ...]], Value]
Formula = Callable[..., V]

#: By op name: (function, lane of the result, lanes of the arguments, arguments) -> value.
LOWERINGS: Final[dict[str, Lowering]] = {}

#: Largest error in units in the last place, (float32, float64), of the inexact ops.
ULP_BOUNDS: Final[dict[str, tuple[float, float]]] = {}

FLOATS: Final = ("float32", "float64")
INTS: Final = ("int8", "uint8", "int32", "int64")
NUMBERS: Final = FLOATS + INTS
ANY: Final = (*NUMBERS, "bool")


def lowering(
    name: str,
    dtypes: Sequence[str] = FLOATS,
    *,
    ulp: tuple[float, float] | None = None,
    outline: Sequence[str] = (),
    widen: bool = False,
) -> Callable[[Formula], Formula]:
    """Register a formula as the lowering of the op ``name``.

    Parameters
    ----------
    dtypes
        Element types of the last argument for which the formula holds.
    ulp
        Error bounds for float32 and float64 to document.
    outline
        Element types for which the formula is put in an internal function, one per module
        and type, that is called: long formulas would otherwise be repeated at every use. For
        single numbers every inexact formula is: they occur once, and code costs more time to
        make than it saves.
    widen
        Whether float32 is computed in float64 and rounded once.
    """

    def register(formula: Formula) -> Formula:
        if ulp is not None:
            ULP_BOUNDS[name] = ulp

        def body(*args: V) -> V:
            if widen and args[0].lane.dtype == "float32":
                wide = [a.convert("fpext", "float64") for a in args]
                return formula(*wide).convert("fptrunc", "float32")
            return formula(*args)

        def rule(
            f: Function, out: Lane, lanes: tuple[Lane, ...], values: tuple[Value, ...]
        ) -> Value:
            dtype = lanes[-1].dtype
            if dtype not in dtypes:
                raise UnsupportedOpError(f"{name} is not defined for {dtype}")
            args = [V(f, lane, value) for lane, value in zip(lanes, values, strict=True)]
            called = dtype in outline or (ulp is not None and args[0].lane.width == 1)
            result = outlined(name, body, args) if called else body(*args)
            if result.lane != out:
                raise UnsupportedOpError(
                    f"{name} of {', '.join(a.dtype for a in lanes)} gives {result.lane.dtype}, "
                    f"not {out.dtype}"
                )
            return result.text

        LOWERINGS[name] = rule
        return formula

    return register


def outlined(name: str, body: Formula, args: Sequence[V]) -> V:
    """``body(*args)`` as a call of an internal function, made at the first use in a module.

    Its result has the lane of the last argument.
    """
    f, lane = args[0].f, args[-1].lane
    symbol = f"vmath.{name}.{lane.dtype}.{lane.width}"
    if symbol not in f.module.functions:
        f.module.include(_formula(f.target, symbol, body, tuple(a.lane for a in args)))
    return args[-1].call(symbol, [(a.lane.llvm, a.text) for a in args])


@cache
def _formula(target: Target, symbol: str, body: Formula, lanes: tuple[Lane, ...]) -> Module:
    """The function of a formula, and all that it refers to."""
    module = Module(target)
    returns = lanes[-1].llvm
    params = [(lane.llvm, f"x{i}") for i, lane in enumerate(lanes)]
    f = Function(module, symbol, returns, params, internal=True, attributes="noinline nounwind")
    values = [V(f, lane, f"%x{i}") for i, lane in enumerate(lanes)]
    f.do(f"ret {returns} {body(*values).text}")
    f.finish()
    return module
