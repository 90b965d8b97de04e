"""A row of meaning for each operation: type rule, NumPy evaluation, derivative, facts.

The table says nothing about how an operation is compiled; each backend has its own row,
and a test ties both tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, wraps
from inspect import signature
from typing import Any, TypeAlias, TypeGuard, TypeVar, cast

import numpy as np

from graphc.errors import DTypeError, GraphcError, ShapeError, UnsupportedOpError
from graphc.expr import Attrs, Expr, ExprLike, apply, as_expr, check_number, constant, describe
from graphc.origin import user_line
from graphc.types import (
    Dim,
    DType,
    Guard,
    TensorType,
    broadcast_shapes,
    from_numpy,
    normalise_axis,
)

Infer: TypeAlias = "Callable[[Sequence[TensorType], Attrs], TensorType]"
Evaluate: TypeAlias = "Callable[..., Any]"
Partial: TypeAlias = "Expr | int"
Partials: TypeAlias = "Callable[..., tuple[Partial | None, ...]]"
Pullback: TypeAlias = "Callable[..., tuple[Expr | None, ...]]"
Pushforward: TypeAlias = "Callable[..., Expr | None]"


@dataclass(frozen=True, eq=False, repr=False)
class Op:
    """One operation.

    Attributes
    ----------
    name, family
        ``sin``, ``elementwise``.
    infer
        Type rule: operand types and attrs to the result type; raises ShapeError, DTypeError.
    evaluate
        The NumPy column: arrays and attrs (as keywords) to an array.
    partials
        Elementwise ops: ``partials(out, *args)``, the local derivative for each operand, an
        Expr or the number 1 or -1; None where the derivative is structurally zero.
    vjp
        Structured ops: ``vjp(cotangent, out, *args)``, a cotangent (or None) for each operand.
    jvp
        Structured ops: ``jvp(tangents, out, *args)``, the tangent of the result; a tangent is
        None where it is structurally zero.
    facts
        Algebra that rewriting may use: ``commutative``, ``involution``, ``idempotent``,
        ``movement`` (moves elements without changing them), ``linear``.
    domain
        Where tests draw operands from: an interval for each operand.
    cost
        Flops for one element (transcendental functions count 8 to 20).
    guards
        Conditions on symbolic sizes that the type rule had to assume.
    internal
        Made by stages of the compiler only: no part of the table.
    """

    name: str
    family: str
    infer: Infer
    evaluate: Evaluate
    partials: Partials | None = None
    vjp: Pullback | None = None
    jvp: Pushforward | None = None
    facts: frozenset[str] = frozenset()
    roles: tuple[str, ...] = ()
    domain: tuple[tuple[float, float], ...] = ()
    cost: int = 1
    doc: str = ""
    guards: Callable[[Sequence[TensorType], Attrs], list[Guard]] | None = None
    promote: Callable[..., tuple[DType, ...]] | None = None
    ufuncs: tuple[Any, ...] = field(default=())
    internal: bool = False

    def __post_init__(self) -> None:
        if self.name in OPS:
            raise ValueError(f"op {self.name!r} is defined twice")
        if not self.internal:
            OPS[self.name] = self
        object.__setattr__(self, "__name__", self.name)
        object.__setattr__(self, "__doc__", self.doc or self.evaluate.__doc__)

    def __call__(self, *args: ExprLike) -> Expr:
        """Apply an elementwise operation: operands are promoted and broadcast as in NumPy."""
        if self.promote is None:
            raise UnsupportedOpError(f"{self.name} is not called directly")
        if len(args) != len(self.roles):
            raise TypeError(f"{self.name} takes {len(self.roles)} operands, {len(args)} given")
        return apply(self, promoted(self, args))

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<op {self.name}>"


#: Every operation by name.
OPS: dict[str, Op] = {}

#: Operations with identities of element types that they compute in as they are.
_unchanged: set[tuple[Op, tuple[int, ...]]] = set()


def promoted(op: Op, args: Sequence[ExprLike]) -> list[Expr]:
    """Operands in the element types that the op computes in. Python numbers are weak."""
    kinds = tuple([id(a.type.dtype) if isinstance(a, Expr) else 0 for a in args])
    if (op, kinds) in _unchanged:
        return list(args)  # type: ignore[arg-type]
    lifted = [a if isinstance(a, Expr) or is_weak(a) else as_expr(a) for a in args]
    if not any(isinstance(a, Expr) for a in lifted):
        lifted = [as_expr(a) for a in lifted]
    given = tuple([a.dtype if isinstance(a, Expr) else type(sample(a)) for a in lifted])
    try:
        dtypes = _promotion(op, given)
    except TypeError:
        shown = ", ".join(g.__name__ if isinstance(g, type) else str(g) for g in given)
        operands = zip(op.roles, lifted, strict=True)
        raise DTypeError(
            f"{op.name}: not defined for {shown}",
            where=_where((role, x) for role, x in operands if isinstance(x, Expr)),
            hint="cast an operand with .astype",
        ) from None
    if 0 not in kinds and given == dtypes:
        _unchanged.add((op, kinds))
    return [_converted(op, a, dtype) for a, dtype in zip(lifted, dtypes, strict=True)]


def is_weak(value: ExprLike) -> TypeGuard[bool | int | float | Dim]:
    """Whether a value is a Python number or a size, whose type gives way to its partner's."""
    return isinstance(value, (bool, int, float, Dim)) and not isinstance(value, np.generic)


def sample(value: bool | int | float | Dim) -> bool | int | float:
    """A Python number of the same kind: a size counts as an int."""
    return 0 if isinstance(value, Dim) else value


def _converted(op: Op, x: Any, dtype: DType) -> Expr:
    if not isinstance(x, Expr):
        return _weak_constant(op, x, dtype)
    if x.dtype is dtype:
        return x
    from graphc.ops import elementwise

    return elementwise.cast(x, dtype)


@cache
def _promotion(op: Op, given: tuple[Any, ...]) -> tuple[DType, ...]:
    assert op.promote is not None
    return op.promote(*given)


def _weak_constant(op: Op, value: float | int | bool | Dim, dtype: DType) -> Expr:
    if isinstance(value, Dim):
        return constant(value, dtype)
    check_number(value)
    if dtype.is_integer:
        info = np.iinfo(dtype.name)
        if not info.min <= value <= info.max:
            raise DTypeError(
                f"{op.name}: {value} is out of range for {dtype}",
                where=_where([]),
                hint="cast the other operand with .astype",
            )
    return constant(value, dtype)


def _as_numpy(given: Any) -> Any:
    """What `numpy.ufunc.resolve_dtypes` takes: bool is a type there, int and float are weak."""
    if isinstance(given, DType):
        return given.numpy
    return np.dtype(bool) if given is bool else given


def ufunc_promotion(ufunc: np.ufunc) -> Callable[..., tuple[DType, ...]]:
    """The element types NumPy computes in; its float16 becomes float32."""

    def resolve(*given: Any) -> tuple[DType, ...]:
        asked = tuple(_as_numpy(g) for g in given)
        found = ufunc.resolve_dtypes((*asked, *([None] * ufunc.nout)))
        return tuple(from_numpy(d) for d in found[: ufunc.nin])

    return resolve


@cache
def elementwise_type(ufunc_or_dtype: Any, types: tuple[TensorType, ...]) -> TensorType:
    """Result type of an elementwise op on operands of its loop types."""
    shape = broadcast_shapes(*(t.shape for t in types))
    if isinstance(ufunc_or_dtype, np.ufunc):
        asked = (*(t.dtype.numpy for t in types), None)
        try:
            dtype = from_numpy(ufunc_or_dtype.resolve_dtypes(asked)[-1])
        except TypeError as error:
            shown = ", ".join(str(t.dtype) for t in types)
            raise DTypeError(f"not defined for {shown}") from error
        return TensorType(dtype, shape)
    return TensorType(ufunc_or_dtype or types[-1].dtype, shape)


def elementwise(
    name: str,
    ufunc: np.ufunc,
    partials: Partials | None,
    *,
    evaluate: Evaluate | None = None,
    result: DType | None = None,
    roles: tuple[str, ...] = (),
    facts: Sequence[str] = (),
    domain: Sequence[tuple[float, float]] = (),
    cost: int = 1,
    doc: str = "",
) -> Op:
    """An op that promotes like NumPy's ``ufunc``; ``evaluate`` if it is not that ufunc."""
    roles = roles or {1: ("operand",), 2: ("left", "right")}[ufunc.nin]
    return Op(
        name,
        "elementwise",
        lambda types, attrs: elementwise_type(result or ufunc, tuple(types)),
        evaluate or ufunc,
        partials=partials,
        facts=frozenset(facts),
        roles=roles,
        domain=tuple(domain) or ((-3.0, 3.0),) * ufunc.nin,
        cost=cost,
        doc=doc or f"{name}, elementwise, as `numpy.{ufunc.__name__}`.",
        promote=ufunc_promotion(ufunc),
        ufuncs=(ufunc,) if evaluate is None else (),
    )


# Errors of functions ------------------------------------------------------------------------

F = TypeVar("F", bound=Callable[..., Any])


def explained(function: F) -> F:
    """Let the errors of a public function say its name, its operands and the user's line."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except GraphcError as error:
            prefix, _, rest = error.summary.partition(": ")
            summary = rest if prefix.isidentifier() else error.summary
            given = signature(function).bind(*args, **kwargs).arguments
            raise error.__class__(
                f"{function.__name__}: {summary}",
                where=_where(pair for item in given.items() for pair in _operands(*item)),
                hint=error.hint,
            ) from None

    return cast(F, wrapped)


def axis_of(who: str, x: Expr, axis: int) -> int:
    """A non-negative axis of a node; an error names the function and shows the node."""
    try:
        return normalise_axis(axis, x.ndim)
    except ShapeError as error:
        where = _where([("operand", x)])
        raise ShapeError(f"{who}: {error.summary}", where=where, hint=error.hint) from None


def _operands(role: str, value: Any) -> Iterable[tuple[str, Expr]]:
    """The expressions in an argument, numbered if there are several."""
    if isinstance(value, Expr):
        return [(role, value)]
    if not isinstance(value, (list, tuple)):
        return []
    return [(f"{role}[{i}]", x) for i, x in enumerate(value) if isinstance(x, Expr)]


def _where(operands: Iterable[tuple[str, Expr]]) -> list[str]:
    line = user_line()
    return [*describe(operands), *([f"at     {line}"] if line else [])]
