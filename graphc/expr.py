"""The one node of every graph, and iterative walks over graphs.

An `Expr` is immutable and keeps its identity: two nodes that say the same are still two
nodes, until the ``cse`` stage merges them. Each node knows the user's line that made it,
the scope it was made in, and, if a derivative rule or a rewrite made it, the node it
stems from.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isnan
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from graphc.errors import DTypeError, GraphcError, GraphError, ShapeError
from graphc.origin import Origin, Scope, Source, building, stemming, user_line
from graphc.types import (
    DTYPES,
    Dim,
    DType,
    DTypeLike,
    Shape,
    Size,
    TensorType,
    TupleType,
    as_dtype,
    float32,
    from_numpy,
    int64,
)

if TYPE_CHECKING:
    from graphc.ops.table import Op

ExprLike: TypeAlias = "Expr | np.ndarray[Any, Any] | np.generic | float | int | bool | Dim"


_numbers = itertools.count()


# Attributes ---------------------------------------------------------------------------------


class Attrs(dict[str, Any]):
    """The constants of a node (axes, target type...). Hashable; never modified."""

    __slots__ = ()

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self.items()))

    def __str__(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in self.items())


_NO_ATTRS = Attrs()


#: What arrays of constants hold, in NumPy's terms.
_HELD = frozenset(d.numpy for d in DTYPES.values())


class Literal:
    """The value of a constant: an array that compares by type, shape and bits."""

    __slots__ = ("_key", "array")

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = (array if array.flags.c_contiguous else array.copy()).view()
        self.array.setflags(write=False)
        self._key = (array.dtype.str, array.shape, self.array.tobytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Literal) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __str__(self) -> str:
        if self.array.ndim == 0:
            return str(self.array[()])
        return np.array2string(self.array, threshold=6, edgeitems=2).replace("\n", "")


# The node -----------------------------------------------------------------------------------


class Expr:
    """A node of a graph: an operation on other nodes, or a leaf.

    Attributes
    ----------
    op
        The operation, a row of the op table.
    args
        The operands.
    attrs
        Constants of the operation.
    type
        Element type and shape, printed ``f32[batch, 784]``.
    name
        The user's name, or None.
    source
        The user's line that made it.
    scope
        The named part of the graph it belongs to.
    origin
        The derivative rule or rewrite that made it, and for which node.
    number
        Counts nodes in the order in which they are made: operands have smaller numbers.
    """

    __slots__ = (
        "__weakref__",
        "args",
        "attrs",
        "name",
        "number",
        "op",
        "origin",
        "scope",
        "source",
        "type",
    )

    op: Op
    args: tuple[Expr, ...]
    attrs: Attrs
    type: TensorType
    name: str | None
    source: Source | None
    scope: Scope | None
    origin: Origin | None
    number: int

    __array_priority__ = 1000

    def __init__(
        self,
        op: Op,
        args: tuple[Expr, ...],
        attrs: Attrs,
        type: TensorType,
        name: str | None = None,
    ) -> None:
        _stamp(self, op, args, attrs, type, name, user_line(), building.scope, building.origin)

    def __setattr__(self, key: str, value: Any) -> None:
        raise AttributeError(f"an Expr is immutable ({key!r} cannot be set)")

    __delattr__ = __setattr__  # type: ignore[assignment]

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def ndim(self) -> int:
        return len(self.type.shape)

    @property
    def size(self) -> Size:
        return self.type.size

    def named(self, name: str) -> Expr:
        """The same value with a name for listings and pictures, in the current scope."""
        return _like(self, self.args, self.type, name, building.scope)

    def __repr__(self) -> str:
        label = f"{self.name}: " if self.name else ""
        return f"<{label}{self.op.name} {self.type}>"

    # Equality and hash are those of `object`: identity.

    def __bool__(self) -> bool:
        raise DTypeError(
            "a symbolic value has no truth value",
            where=describe([("value", self)]),
            hint=_truth_hint(self),
        )

    def __setitem__(self, key: Any, value: Any) -> None:
        raise DTypeError(
            "an expression cannot be assigned to: it does not change",
            where=describe([("value", self)]),
            hint="make a new one: gr.where(mask, new, x), or gr.concatenate of its parts",
        )

    def __getattr__(self, name: str) -> Any:
        hint = _HINTS.get(name)
        text = f"an expression has no attribute {name!r}"
        raise AttributeError(f"{text}\n  hint: {hint}" if hint else text)

    def __float__(self) -> float:
        raise _not_a_number(self, "float")

    def __int__(self) -> int:
        raise _not_a_number(self, "int")

    def __index__(self) -> int:
        raise _not_a_number(self, "an index")

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        raise _not_a_number(self, "a NumPy array")

    def __len__(self) -> int:
        size = self.shape[0] if self.shape else None
        if not isinstance(size, int):
            raise DTypeError(
                f"the length of {self.type} is not a number",
                hint="gr.vmap maps a function along an axis of any size" if self.shape else "",
            )
        return size

    def __iter__(self) -> Iterator[Expr]:
        return (self[i] for i in range(len(self)))

    if TYPE_CHECKING:
        # Operators and methods are attached by graphc.functions.operators.
        T: Expr

        def __add__(self, other: ExprLike) -> Expr: ...
        def __radd__(self, other: ExprLike) -> Expr: ...
        def __sub__(self, other: ExprLike) -> Expr: ...
        def __rsub__(self, other: ExprLike) -> Expr: ...
        def __mul__(self, other: ExprLike) -> Expr: ...
        def __rmul__(self, other: ExprLike) -> Expr: ...
        def __truediv__(self, other: ExprLike) -> Expr: ...
        def __rtruediv__(self, other: ExprLike) -> Expr: ...
        def __floordiv__(self, other: ExprLike) -> Expr: ...
        def __rfloordiv__(self, other: ExprLike) -> Expr: ...
        def __mod__(self, other: ExprLike) -> Expr: ...
        def __rmod__(self, other: ExprLike) -> Expr: ...
        def __pow__(self, other: ExprLike) -> Expr: ...
        def __rpow__(self, other: ExprLike) -> Expr: ...
        def __matmul__(self, other: ExprLike) -> Expr: ...
        def __rmatmul__(self, other: ExprLike) -> Expr: ...
        def __and__(self, other: ExprLike) -> Expr: ...
        def __or__(self, other: ExprLike) -> Expr: ...
        def __xor__(self, other: ExprLike) -> Expr: ...
        def __lshift__(self, other: ExprLike) -> Expr: ...
        def __rshift__(self, other: ExprLike) -> Expr: ...
        def __lt__(self, other: ExprLike) -> Expr: ...
        def __le__(self, other: ExprLike) -> Expr: ...
        def __gt__(self, other: ExprLike) -> Expr: ...
        def __ge__(self, other: ExprLike) -> Expr: ...
        def __neg__(self) -> Expr: ...
        def __pos__(self) -> Expr: ...
        def __abs__(self) -> Expr: ...
        def __invert__(self) -> Expr: ...
        def __getitem__(self, key: Any) -> Expr: ...
        def sum(self, axis: Any = None, keepdims: bool = False) -> Expr: ...
        def mean(self, axis: Any = None, keepdims: bool = False) -> Expr: ...
        def max(self, axis: Any = None, keepdims: bool = False) -> Expr: ...
        def min(self, axis: Any = None, keepdims: bool = False) -> Expr: ...
        def reshape(self, *shape: Any) -> Expr: ...
        def transpose(self, *axes: Any) -> Expr: ...
        def astype(self, dtype: DTypeLike) -> Expr: ...


def _stamp(
    x: Expr,
    op: Op,
    args: tuple[Expr, ...],
    attrs: Attrs,
    type: TensorType,
    name: str | None,
    source: Source | None,
    scope: Scope | None,
    origin: Origin | None,
    put: Callable[[Expr, str, Any], None] = object.__setattr__,
) -> None:
    """Give a new node its fields."""
    put(x, "op", op)
    put(x, "args", args)
    put(x, "attrs", attrs)
    put(x, "type", type)
    put(x, "name", name)
    put(x, "source", source)
    put(x, "scope", scope)
    put(x, "origin", origin)
    put(x, "number", next(_numbers))


_CALL = "compile it, f = gr.compile(inputs, value), and call f with arrays"
#: What to use for attributes that arrays of other libraries have.
_HINTS = {
    "backward": "gr.grad(loss, parameters) gives the gradients, as expressions",
    "grad": "gr.grad(loss, parameters) gives the gradients, as expressions",
    "requires_grad": "any float can be differentiated: gr.grad(loss, targets)",
    "detach": "gr.stop_gradient(x)",
    **dict.fromkeys(("numpy", "item", "tolist", "value", "data", "eval"), _CALL),
}


def _truth_hint(x: Expr) -> str:
    if x.op.name in ("less", "less_equal", "greater", "greater_equal"):
        return (
            "gr.where chooses; gr.maximum and gr.minimum for max and min, & for and, | for or"
        )
    if x.dtype.is_bool:
        return "gr.where chooses; &, | and ~ stand for and, or and not"
    return "use gr.where for a choice, gr.equal for a comparison, `is` for identity"


def _not_a_number(x: Expr, what: str) -> DTypeError:
    return DTypeError(
        f"a symbolic value cannot be turned into {what}",
        where=describe([("value", x)]),
        hint=_CALL,
    )


def describe(operands: Iterable[tuple[str, Expr]]) -> list[str]:
    """One line for each operand: role, type, source line, name (or operation)."""
    rows = [
        (role, str(x.type), str(x.source or ""), x.name or x.op.name) for role, x in operands
    ]
    if not rows:
        return []
    widths = [max(len(r[i]) for r in rows) for i in range(3)]
    return ["  ".join(t.ljust(w) for t, w in zip(r, (*widths, 0), strict=True)) for r in rows]


def apply(op: Op, args: Sequence[Expr], attrs: Mapping[str, Any] | None = None) -> Expr:
    """A new node. Errors of the type rule are shown with the operands' types and lines."""
    args = tuple(args)
    made = Attrs(attrs) if attrs else _NO_ATTRS
    try:
        type = op.infer([a.type for a in args], made)
    except GraphcError as error:
        if error.where:
            raise
        roles = op.roles or tuple(f"operand {i}" for i in range(len(args)))
        where = describe(zip(roles, args, strict=False))
        where += [f"at     {line}" for line in [user_line()] if line]
        raise error.__class__(
            f"{op.name}: {error.summary}", where=where, hint=error.hint
        ) from None
    return Expr(op, args, made, type)


def rebuild(node: Expr, args: Sequence[Expr]) -> Expr:
    """The node on other operands, with its line, scope and name kept."""
    operands, old = tuple(args), node.args
    if operands == old:
        return node
    type = node.type
    for a, b in zip(operands, old, strict=True):
        if a.type is not b.type:
            type = node.op.infer([a.type for a in operands], node.attrs)
            break
    return _like(node, operands, type, node.name, node.scope)


def _like(
    node: Expr, args: tuple[Expr, ...], type: TensorType, name: str | None, scope: Scope | None
) -> Expr:
    """A node of the same operation, line and origin."""
    made = Expr.__new__(Expr)
    _stamp(made, node.op, args, node.attrs, type, name, node.source, scope, node.origin)
    return made


# Leaves -------------------------------------------------------------------------------------


class _Defaults(threading.local):
    dtype: DType = float32


_defaults = _Defaults()


class default_dtype:
    """Set the element type of leaves that do not say theirs; float32 at first.

    Holds for this thread from the call on; as a context manager, within the block only.
    """

    def __init__(self, dtype: DTypeLike) -> None:
        self._outer = _defaults.dtype
        _defaults.dtype = as_dtype(dtype)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        _defaults.dtype = self._outer


def current_dtype() -> DType:
    """The element type of leaves that do not say theirs."""
    return _defaults.dtype


def constant(value: Any, dtype: DTypeLike | None = None) -> Expr:
    """A constant node from a Python number, a size, or anything NumPy makes an array of.

    Python floats take the default element type, ints and sizes int64, NumPy's values keep
    theirs (float16 and the integers without a type here widen).

    Raises
    ------
    DTypeError
        If no element type holds the value: a string, a complex number, an integer over 63 bits.
    """
    from graphc.ops.leaves import CONSTANT

    if isinstance(value, Expr):
        return value
    if isinstance(value, Dim):
        from graphc.ops.indexing import SIZE

        return apply(SIZE, (), {"size": value, "dtype": as_dtype(dtype or int64)})
    if dtype is None and isinstance(value, float) and not isinstance(value, np.generic):
        dtype = current_dtype()
    try:
        if dtype is not None and not isinstance(value, (int, float)):
            value = _castable(value)
        array = np.asarray(value, None if dtype is None else as_dtype(dtype).numpy)
    except OverflowError:
        raise _too_large(value, as_dtype(dtype or int64)) from None
    except ValueError:
        raise ShapeError("the rows of a constant have different lengths") from None
    if array.dtype.kind == "O" and isinstance(value, int):
        raise _too_large(value, int64)
    if array.dtype not in _HELD:
        if array.dtype.kind not in "fiu":
            raise _no_constant(array)
        if array.dtype == np.uint64 and (array > np.iinfo(np.int64).max).any():
            raise DTypeError(
                "a constant is out of range for int64", hint='convert it: .astype("float64")'
            )
        array = array.astype(from_numpy(array.dtype).numpy)
    return apply(CONSTANT, (), {"value": Literal(array)})


def _castable(value: Any) -> Any:
    """The value, if NumPy may cast it: to cast a complex number drops a part of it."""
    array = np.asarray(value)
    if array.dtype.kind in "biuf" or (array.dtype.kind == "O" and _all_integers(array)):
        return value
    raise _no_constant(array)


def _all_integers(array: Any) -> bool:
    return all(isinstance(v, int) for v in array.flat)


def _no_constant(array: Any) -> DTypeError:
    return DTypeError(
        f"{array.dtype.name} values cannot be a constant",
        hint=f"element types are {', '.join(DTYPES)}",
    )


def _too_large(value: Any, dtype: DType) -> DTypeError:
    bits = f"an integer of {value.bit_length()} bits" if isinstance(value, int) else "a number"
    return DTypeError(
        f"{bits} is out of range for {dtype}",
        where=[f"at  {line}" for line in [user_line()] if line],
        hint='scale it, or give it a wider type: gr.constant(value, "float64")',
    )


def as_expr(value: ExprLike) -> Expr:
    """An Expr, or a constant made of a number or array (GraphError if it holds a NaN)."""
    if isinstance(value, Expr):
        return value
    check_number(value)
    return constant(value)


def refuse_bool(what: str, value: Any) -> None:
    """Refuse Python's True and False where they come of comparing nodes with == or !=."""
    if isinstance(value, bool):
        raise DTypeError(
            f"{what}: the operand is the Python bool {value}, not an expression",
            where=[f"at  {line}" for line in [user_line()] if line],
            hint="== and != compare identity here; write gr.equal or gr.not_equal",
        )


def check_number(value: Any) -> None:
    """Refuse a NaN that slips into an expression: it would silently spread to every result."""
    if isinstance(value, (int, Dim)) or (isinstance(value, float) and not isnan(value)):
        return
    array = np.asarray(value)
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise GraphError(
            "a number in the expression is NaN",
            where=[f"at  {line}" for line in [user_line()] if line],
            hint="if it is meant, say so: gr.constant(float('nan'))",
        )


def scalar_like(value: float | int | bool, like: Expr) -> Expr:
    """A constant of rank 0 in another node's element type."""
    return constant(value, like.dtype)


def constant_value(x: Expr) -> np.ndarray[Any, Any] | None:
    """The array of a constant node, None for every other node."""
    literal = x.attrs.get("value")
    return literal.array if isinstance(literal, Literal) else None


# Walks --------------------------------------------------------------------------------------


def topological(outputs: Iterable[Expr]) -> list[Expr]:
    """All nodes that the outputs depend on, operands before users, each once."""
    done: dict[Expr, None] = {}
    entered: set[Expr] = set()
    stack = list(outputs)[::-1]
    while stack:
        node = stack.pop()
        if node in done:
            continue
        if not node.args or node in entered:
            done[node] = None
        else:
            entered.add(node)
            stack.append(node)
            stack += node.args[::-1]
    return list(done)


def replace(
    outputs: Sequence[Expr], step: Callable[[Expr, tuple[Expr, ...]], Expr]
) -> list[Expr]:
    """Rebuild a graph bottom up: ``step(node, new operands)`` gives each new node."""
    memo: dict[Expr, Expr] = {}
    for node in topological(outputs):
        memo[node] = step(node, tuple([memo[a] for a in node.args]))
    return [memo[o] for o in outputs]


def substitute(outputs: Sequence[Expr], mapping: Mapping[Expr, Expr]) -> list[Expr]:
    """The outputs with some nodes replaced by others; those that use them are copies."""

    def step(node: Expr, args: tuple[Expr, ...]) -> Expr:
        if node in mapping:
            return mapping[node]
        return node if args == node.args else copied(node, args)

    return replace(outputs, step)


def copied(node: Expr, args: tuple[Expr, ...]) -> Expr:
    """The node on other operands, which knows what it is a copy of."""
    rule, stem = (node.origin.rule, node.origin.stem) if node.origin else ("copy", node)
    type = node.op.infer([a.type for a in args], node.attrs)
    with stemming(rule, stem, node):
        return Expr(node.op, args, node.attrs, type, node.name)


__all__ = [
    "Attrs",
    "Expr",
    "ExprLike",
    "Literal",
    "ShapeError",
    "TensorType",
    "TupleType",
    "apply",
    "as_expr",
    "constant",
    "constant_value",
    "copied",
    "current_dtype",
    "default_dtype",
    "describe",
    "rebuild",
    "refuse_bool",
    "replace",
    "scalar_like",
    "substitute",
    "topological",
]
