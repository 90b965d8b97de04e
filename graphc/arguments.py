"""Arguments of compiled functions: conversion, and errors that name the input.

A native entry accepts arguments that are exactly right by itself; all others come here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from graphc.errors import InputError, InputTypeError
from graphc.expr import Expr, describe
from graphc.graph import Graph
from graphc.structure import Form, FormError
from graphc.types import (
    DTYPES,
    Dim,
    Guard,
    Shape,
    Size,
    TensorType,
    evaluate_size,
    size_symbols,
)

Array = np.ndarray[Any, Any]


def match(
    name: str, names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[Any]:
    """One value for each name, given by position or by name."""
    listed = ", ".join(names) or "none"
    if len(args) > len(names):
        raise InputTypeError(f"{name} takes {len(names)} inputs ({listed}), {len(args)} given")
    values = dict(zip(names, args, strict=False))
    for key, value in kwargs.items():
        if key not in names:
            raise InputTypeError(f"{name} has no input {key!r}", hint=f"inputs: {listed}")
        if key in values:
            raise InputTypeError(f"{name}: the input {key!r} is given twice")
        values[key] = value
    missing = [n for n in names if n not in values]
    if missing and len(args) == 1 and _holds_all(args[0], names):
        stars = "**" if isinstance(args[0], Mapping) else "*"
        raise InputTypeError(
            f"{name} takes {len(names)} inputs ({listed}), one {type(args[0]).__name__} given",
            hint=f"unpack it: {name}({stars}values)",
        )
    if missing:
        raise InputTypeError(
            f"{name}: the input {missing[0]!r} is missing", hint=f"inputs: {listed}"
        )
    return [values[n] for n in names]


def keywords(form: Form, inputs: Sequence[Expr]) -> list[str]:
    """By what names the items of nested inputs are given.

    Keys of a dict; of a list the leaves' names, and ``inputs[i]`` for what is nested.
    """
    if form.kind is dict:
        return [str(key) for key in form.keys]
    names, place = [], 0
    for number, part in enumerate(form.parts):
        nested = part.kind is not None
        names.append(f"inputs[{number}]" if nested else str(inputs[place].name))
        place += part.count
    return names


def by_key(
    name: str, form: Form, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[Any, Any]:
    """The items of a call of a function whose inputs are a dict."""
    given = dict(args[0]) if args and isinstance(args[0], Mapping) else {}
    given.update(kwargs)
    unknown = [k for k in given if k not in form.keys]
    missing = [k for k in form.keys if k not in given]
    if unknown or missing or len(args) > 1:
        found = ", ".join(type(a).__name__ for a in args)
        raise InputTypeError(
            f"{name} takes {form}",
            where=[
                *(f"missing  {k}" for k in missing),
                *(f"unknown  {k}" for k in unknown),
                *([f"found    {found}"] if (args and not given) or len(args) > 1 else []),
            ],
        )
    return given


def form_error(what: str, error: FormError) -> InputTypeError:
    """The error of a value that is not nested as it should be."""
    return InputTypeError(
        f"{what}{error.path} is {error.expected}", where=[f"found  {error.found}"]
    )


def _holds_all(given: Any, names: Sequence[str | None]) -> bool:
    """Whether one argument looks like all of them in a list, tuple or dict."""
    if isinstance(given, Mapping):
        return set(given) <= set(names)
    return isinstance(given, (list, tuple)) and len(given) == len(names)


def convert(name: str, x: Expr, value: Any) -> Array:
    """A value as an array of the input's element type and rank; only lossless casts."""
    weak = isinstance(value, (bool, int, float, list, tuple)) and not isinstance(
        value, np.generic
    )
    try:
        array = np.asarray(value)
    except Exception as error:
        raise _no_numbers(name, x, value) from error
    expected = x.dtype.numpy
    if weak and all(isinstance(v, int) for v in array.ravel().tolist()):
        array = _whole(name, x, array)
    if array.dtype.kind not in "biufc":
        raise _no_numbers(name, x, value)
    rule: Literal["same_kind", "safe"] = "same_kind" if weak else "safe"
    if array.dtype != expected and not np.can_cast(array.dtype, expected, rule):
        raise InputTypeError(
            f"{name}: the input {x.name!r} is {array.dtype}, expected {x.dtype}",
            where=_expected(x, array),
            hint=f"convert it: {x.name}.astype({x.dtype.name!r})",
        )
    if array.ndim != x.ndim:
        raise InputError(
            f"{name}: the input {x.name!r} has {array.ndim} axes, expected {x.ndim}",
            where=_expected(x, array),
        )
    with np.errstate(over="ignore"):
        cast = np.require(array, expected, ["C", "A"]).reshape(array.shape)
    if weak and x.dtype.is_float and not (np.isfinite(cast) == np.isfinite(array)).all():
        raise _out_of_range(name, x)
    return cast


def _whole(name: str, x: Expr, array: Array) -> Array:
    """Python's integers in a type that holds them (InputError if the input's does not)."""
    if x.dtype.is_float:
        largest = int(np.finfo(x.dtype.numpy).max)
        least = -largest
    elif x.dtype.is_integer:
        least, largest = np.iinfo(x.dtype.numpy).min, np.iinfo(x.dtype.numpy).max
    else:
        return array
    if not ((array >= least) & (array <= largest)).all():
        raise _out_of_range(name, x)
    return array.astype(x.dtype.numpy)


def _out_of_range(name: str, x: Expr) -> InputError:
    return InputError(f"{name}: a number given for {x.name!r} is out of range for {x.dtype}")


def _no_numbers(name: str, x: Expr, value: Any) -> InputTypeError:
    named = isinstance(value, Mapping) and x.name in value
    return InputTypeError(
        f"{name}: the input {x.name!r} got {type(value).__name__}, not an array of numbers",
        where=_expected(x),
        hint=f"give values by name: {name}(**values)" if named else "",
    )


def _expected(x: Expr, found: Array | None = None) -> list[str]:
    lines = describe([("expected", x)])
    if found is not None:
        dtype = DTYPES.get(found.dtype.name)
        text = TensorType(dtype, found.shape) if dtype else f"{found.dtype}{list(found.shape)}"
        lines.append(f"found     {text}")
    return lines


def samples(name: str, leaves: Sequence[Expr], given: Any) -> dict[Expr, Array]:
    """Arrays of some leaves: by leaf, by name, or one for each input in their order.

    Raises
    ------
    InputError
        If a name is unknown, there are more or fewer than inputs, or an array is of another
        rank or size than its leaf.
    InputTypeError
        If a value is no array of numbers.
    """
    by_name = {x.name: x for x in reversed(leaves)}
    inputs = [x for x in leaves if x.op.name == "input"]
    listed = ", ".join(str(x.name) for x in inputs)
    if not isinstance(given, Mapping):
        if not isinstance(given, (list, tuple)) or len(given) != len(inputs):
            raise InputError(
                f"{name}: samples are a dict, or a list of {len(inputs)} arrays",
                hint=f"inputs: {listed}",
            )
        given = dict(zip(inputs, given, strict=True))
    found = {}
    for key, value in given.items():
        x = by_name.get(key) if isinstance(key, str) else key
        if not isinstance(x, Expr):
            raise InputError(f"{name} has no input {key!r}", hint=f"inputs: {listed}")
        found[x] = _sample(name, x, value)
    return found


def _sample(name: str, x: Expr, value: Any) -> Array:
    try:
        array = np.asarray(value, x.dtype.numpy)
    except (TypeError, ValueError):
        raise _no_numbers(name, x, value) from None
    sizes = zip(x.shape, array.shape, strict=False)
    if array.ndim != x.ndim or any(isinstance(a, int) and a != b for a, b in sizes):
        raise InputError(
            f"{name}: the input {x.name!r} has another shape", where=_expected(x, array)
        )
    return array


def bind_symbols(name: str, inputs: Sequence[Expr], arrays: Sequence[Array]) -> dict[str, int]:
    """Values of the symbolic sizes; every size is compared with the array's."""
    found: dict[str, int] = {}
    setter: dict[str, str] = {}
    pending = [
        (x, axis, size, array.shape[axis])
        for x, array in zip(inputs, arrays, strict=True)
        for axis, size in enumerate(x.shape)
    ]
    while pending:
        later = []
        for x, axis, size, actual in pending:
            unknown = size_symbols(size) - found.keys()
            solved = _solve(size, unknown, actual, found)
            if solved is not None:
                found.update(solved)
                setter.update(dict.fromkeys(solved, f"axis {axis} of {x.name!r}"))
            elif unknown:
                later.append((x, axis, size, actual))
                continue
            if evaluate_size(size, found) != actual:
                array = arrays[inputs.index(x)]
                raise _size_error(name, x, axis, size, array, found, setter)
        if len(later) == len(pending):
            raise InputError(f"{name}: the size {later[0][2]} cannot be found from the inputs")
        pending = later
    return found


def _solve(
    size: Size, unknown: frozenset[str] | set[str], actual: int, found: Mapping[str, int]
) -> dict[str, int] | None:
    """The one unknown symbol of a linear size."""
    if len(unknown) != 1 or not isinstance(size, Dim):
        return None
    (symbol,) = unknown
    factor = dict(size.terms).get((symbol,), 0)
    rest = size - Dim({(symbol,): factor}) if factor else size
    if not factor or symbol in size_symbols(rest):
        return None
    value, left = divmod(actual - evaluate_size(rest, found), factor)
    return {symbol: value if not left and value >= 0 else 0}


def _size_error(
    name: str,
    x: Expr,
    axis: int,
    size: Size,
    array: Array,
    found: Mapping[str, int],
    setter: Mapping[str, str],
) -> InputError:
    where, actual = _expected(x, array), array.shape[axis]
    if not isinstance(size, Dim):
        text = f"expected {size}"
    else:
        value = evaluate_size(size, found)
        text = f"expected {size} = {value}"
        where += [f"{s} = {found[s]} by {setter[s]}" for s in sorted(size.symbols)]
    return InputError(
        f"{name}: axis {axis} of {x.name!r} has size {actual}, {text}", where=where
    )


def check_guards(name: str, guards: Sequence[Guard], sizes: Mapping[str, int]) -> None:
    """Raise InputError where a size is too small for what the graph does with it."""
    for guard in guards:
        value = evaluate_size(guard.size, sizes)
        if value < guard.minimum:
            given = ", ".join(f"{k} = {v}" for k, v in sizes.items())
            raise InputError(
                f"{name}: {guard.text}",
                where=[f"{guard.size} = {value}, at least {guard.minimum} needed ({given})"],
            )


def concrete(shape: Shape, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """A shape in numbers."""
    return tuple(evaluate_size(s, sizes) for s in shape)


def results(
    name: str,
    graph: Graph,
    out: Sequence[Any] | None,
    sizes: Mapping[str, int],
    busy: Sequence[Array],
) -> tuple[list[Array], list[tuple[Array, Array]]]:
    """Arrays to compute into, and pairs (from, to) to copy afterwards.

    ``out`` are the caller's arrays, or None. One that is not contiguous, or shares memory with
    ``busy`` or another one, is filled by a copy after the run.
    """
    if out is None:
        shapes = [concrete(x.shape, sizes) for x in graph.outputs]
        made = [np.empty(s, x.dtype.numpy) for s, x in zip(shapes, graph.outputs, strict=True)]
        return made, []
    shapes = check_outs(name, graph, out, sizes)
    targets: list[Array] = []
    copies: list[tuple[Array, Array]] = []
    for array, shape, x in zip(out, shapes, graph.outputs, strict=True):
        direct = array.flags.c_contiguous and array.flags.aligned and type(array) is np.ndarray
        if direct and not any(np.may_share_memory(array, b) for b in (*busy, *targets)):
            targets.append(array)
        else:
            targets.append(np.empty(shape, x.dtype.numpy))
            copies.append((targets[-1], array))
    return targets, copies


def check_outs(
    name: str, graph: Graph, out: Sequence[Any], sizes: Mapping[str, int]
) -> list[tuple[int, ...]]:
    """The outputs' shapes, if the caller's arrays fit (InputTypeError, InputError else)."""
    shapes = [concrete(x.shape, sizes) for x in graph.outputs]
    if len(out) != len(shapes):
        raise InputTypeError(
            f"{name}: out has length {len(out)}, there are {len(shapes)} outputs"
        )
    for number, (array, shape, x) in enumerate(zip(out, shapes, graph.outputs, strict=True)):
        _check_out(name, number, array, shape, x)
    return shapes


def _check_out(name: str, number: int, array: Any, shape: tuple[int, ...], x: Expr) -> None:
    what = f"{name}: out[{number}]"
    if not isinstance(array, np.ndarray):
        raise InputTypeError(f"{what} is {type(array).__name__}, not an array")
    if array.dtype != x.dtype.numpy or not array.dtype.isnative:
        raise InputTypeError(f"{what} is {array.dtype}, expected {x.dtype}")
    if array.shape != shape:
        raise InputError(f"{what} has shape {array.shape}, expected {shape}")
    if not array.flags.writeable:
        raise InputError(f"{what} is read-only")
