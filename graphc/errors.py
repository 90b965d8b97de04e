"""Every exception that graphc raises on purpose.

A message says what failed, where (the user's own line), what was expected, what
was found, and what to do. All inherit `GraphcError`, and the builtin exception
that a NumPy user would expect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class GraphcError(Exception):
    """Base of all errors of graphc.

    Parameters
    ----------
    message
        What failed, in one line.
    where
        Lines that show the operands involved: role, type, source line, name.
    hint
        What to do about it.
    """

    def __init__(self, message: str, *, where: Sequence[str] = (), hint: str = "") -> None:
        self.summary = message
        self.where = tuple(where)
        self.hint = hint
        lines = [message, *(f"  {line}" for line in where)]
        if hint:
            lines.append(f"  hint: {hint}")
        super().__init__("\n".join(lines))


class ShapeError(GraphcError, ValueError):
    """Shapes do not fit together."""


class DTypeError(GraphcError, TypeError):
    """Element types do not fit together, or an operation is not defined for them."""


class GraphError(GraphcError, ValueError):
    """A graph is not well formed: a leaf missing from the inputs, a name used twice."""


class DifferentiationError(GraphcError, ValueError):
    """A derivative was asked for that does not exist."""


class UnsupportedOpError(GraphcError, NotImplementedError):
    """An operation has no rule where one is needed."""


class CompileError(GraphcError, RuntimeError):
    """A graph could not be compiled."""


class InputError(GraphcError, ValueError):
    """A compiled function was called with arguments that do not fit its inputs."""


class InputTypeError(InputError, TypeError):
    """A compiled function was called with an argument of the wrong element type or kind."""


class IndexOutOfRangeError(InputError, IndexError):
    """An index that a compiled function was given lies outside its axis."""


class NonFiniteError(GraphcError, FloatingPointError):
    """A result of a function compiled with ``check_finite=True`` is infinite or NaN.

    ``explanation`` tells where it comes from.
    """

    explanation: Any = None


class ContractError(GraphcError, AssertionError):
    """A promise that a function was compiled under does not hold."""


class VerificationError(GraphcError, AssertionError):
    """A stage produced something invalid: a fault of graphc, not of the user."""
