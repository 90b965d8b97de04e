"""Calls whose arguments are bound once."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graphc import arguments
from graphc.arguments import Array
from graphc.errors import InputError, InputTypeError
from graphc.expr import Expr


class BoundCall:
    """A call of a compiled function on fixed arrays, made by `CompiledFunction.bind`.

    ``call()`` runs the function on what the arrays hold now, writes to the arrays that were
    bound as results, and returns them: the same objects every time. Nothing is checked,
    converted or allocated. The arrays live as long as the call, and NumPy refuses to resize
    them.

    Attributes
    ----------
    inputs
        The arrays of the inputs, in order. A number that was bound is an array of rank 0 here;
        writing to it changes the number.
    outputs
        What ``call()`` returns.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[Array],
        targets: Sequence[Array],
        outputs: Any,
        run: Callable[..., Any],
    ) -> None:
        self.name = name
        self.inputs = tuple(inputs)
        self.outputs = outputs
        self._run = run
        # An array that something refers to weakly cannot be resized.
        self._pins = [weakref.ref(a) for x in (*inputs, *targets) for a in owners(x)]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<bound call of {self.name}>"


def repeated(name: str, run: Callable[[], Any]) -> Callable[..., Any]:
    """``run``, which refuses arguments in words."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if args or kwargs:
            raise InputTypeError(
                f"{name}: the arguments of this call are bound, it takes none",
                hint="write to its inputs, or bind other arrays",
            )
        return run()

    return call


def owners(array: Array) -> Iterator[Array]:
    """An array, and those whose memory it looks into."""
    found: Any = array
    while isinstance(found, np.ndarray):
        yield found
        found = found.base


def inputs_to_bind(
    name: str, inputs: Sequence[Expr], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[Array]:
    """The arrays that were given, themselves, and numbers as arrays of their own.

    Raises
    ------
    InputTypeError, InputError
        If a value does not fit its input, or only a copy of it would.
    """
    values = arguments.match(name, [str(x.name) for x in inputs], args, kwargs)
    return [_to_bind(name, x, value) for x, value in zip(inputs, values, strict=True)]


def _to_bind(name: str, x: Expr, value: Any) -> Array:
    array = arguments.convert(name, x, value)
    if isinstance(value, (bool, int, float, np.generic)):
        return array.copy()
    if not isinstance(value, np.ndarray):
        found = f"found     {type(value).__name__}"
    elif value.dtype != array.dtype:
        found = f"found     {value.dtype}"
    elif not (value.flags.c_contiguous and value.flags.aligned):
        found = "found     an array that is not contiguous"
    else:
        return value
    raise InputTypeError(
        f"{name}: only a copy of the input {x.name!r} could be bound, "
        "which would not see later changes",
        where=[f"expected  a contiguous array {x.type}", found],
        hint=f"bind np.ascontiguousarray({x.name}, {x.dtype.name!r}) and write to that",
    )


def refuse_overlap(
    name: str, inputs: Sequence[Expr], arrays: Sequence[Array], states: Sequence[Array]
) -> None:
    """InputError if an input lies in the memory of a parameter that the function updates."""
    for x, array in zip(inputs, arrays, strict=True):
        if any(np.may_share_memory(array, state) for state in states):
            raise InputError(
                f"{name}: the input {x.name!r} shares memory with a parameter",
                hint=f"bind {x.name}.copy()",
            )


def refuse_copies(
    name: str, targets: Sequence[Array], copies: Sequence[tuple[Array, Array]]
) -> None:
    """InputError if a result cannot be computed in the array that was given for it."""
    for made, given in copies:
        (place,) = (i for i, target in enumerate(targets) if target is made)
        whole = given.flags.c_contiguous and given.flags.aligned
        why = "shares memory with another array" if whole else "is not contiguous"
        raise InputError(
            f"{name}: out[{place}] {why}", hint="bind a contiguous array of its own"
        )
