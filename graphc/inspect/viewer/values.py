"""Arrays in numbers: what they are at sample inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from graphc import arguments
from graphc.expr import Expr
from graphc.inspect.viewer.document import Json, Summary
from graphc.interpret import evaluate

Array = np.ndarray[Any, Any]
#: Arrays up to this size are kept whole.
WHOLE = 64
BARS = 24

Samples = Mapping[Any, Any] | Sequence[Any]


@dataclass(frozen=True)
class Samplings:
    """Arrays of the inputs, and numbers of the symbolic sizes."""

    values: Mapping[Expr, Array]
    sizes: Mapping[str, int]


def bind(inputs: Sequence[Expr], given: Samples) -> Samplings:
    """Arrays for the inputs, and the symbolic sizes that they set.

    ``given`` holds one value for each input, in order, or values by input or by name
    (InputError if one is missing, or has another type or size).
    """
    names = [str(x.name) for x in inputs]
    if isinstance(given, Mapping):
        named = {str(k.name) if isinstance(k, Expr) else k: v for k, v in given.items()}
        values = arguments.match("draw", names, (), named)
    else:
        values = arguments.match("draw", names, tuple(given), {})
    arrays = [
        arguments.convert("draw", x, value) for x, value in zip(inputs, values, strict=True)
    ]
    sizes = arguments.bind_symbols("draw", inputs, arrays)
    return Samplings(dict(zip(inputs, arrays, strict=True)), sizes)


def summaries(nodes: Sequence[Expr], sample: Samplings) -> tuple[Summary, ...]:
    """Summaries of all nodes."""
    return tuple(map(summary, evaluate(nodes, sample.values, sample.sizes)))


def summary(array: Array) -> Summary:
    """Counts, extremes, mean, Euclidean norm, and all elements or a histogram."""
    array = np.asarray(array)
    small = array.size <= WHOLE
    whole = elements(array) if small else None
    if not array.size or array.dtype.kind not in "fiub":
        return Summary(array.shape, whole=whole)
    flat = array.astype(np.float64).ravel()
    finite = flat[np.isfinite(flat)]
    nan = int(np.isnan(flat).sum())
    inf = int(flat.size - finite.size - nan)
    if not finite.size:
        return Summary(array.shape, nan, inf, whole=whole)
    largest = float(np.abs(finite).max())
    scale = largest if largest else 1.0
    mean = scale * float(np.mean(finite / scale))
    norm = scale * float(np.sqrt(np.sum((finite / scale) ** 2)))
    return Summary(
        array.shape,
        nan,
        inf,
        plain(finite.min()),
        plain(finite.max()),
        plain(mean),
        plain(norm),
        whole,
        () if small else _bars(finite / scale),
    )


def _bars(finite: Array) -> tuple[int, ...]:
    """How many elements lie in each of equal intervals."""
    low, high = finite.min(), finite.max()
    if low == high:
        return ()
    return tuple(int(n) for n in np.histogram(finite, BARS)[0])


def elements(array: Array) -> Json:
    """An array as nested lists of numbers as short as they read back in its type."""
    if array.ndim:
        return [elements(row) for row in array]
    value = array[()]
    if array.dtype.kind != "f":
        return value.item()
    number = float(str(value))
    return number if isfinite(number) else str(number)


def plain(number: float) -> Json:
    """A statistic as JSON: whole numbers as they are, of others nine digits."""
    whole = abs(number) < 2**53 and number == int(number)
    return float(number) if whole else float(f"{number:.9g}")
