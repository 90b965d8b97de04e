"""Types of values: element types, sizes (numbers or named symbols), tensor types.

Promotion and broadcasting are decided here, once, by NumPy's rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from graphc.errors import DTypeError, ShapeError


@dataclass(frozen=True, eq=False)
class DType:
    """An element type: ``float32`` is printed ``f32`` in tensor types. Each exists once."""

    name: str
    short: str

    def __reduce__(self) -> str:
        return "bool_" if self.name == "bool" else self.name

    @cached_property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.name)

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.numpy.itemsize

    @property
    def is_float(self) -> bool:
        return self.name.startswith("float")

    @property
    def is_integer(self) -> bool:
        return self.name.startswith(("int", "uint"))

    @property
    def is_bool(self) -> bool:
        return self.name == "bool"

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"graphc.{'bool_' if self.is_bool else self.name}"


bool_ = DType("bool", "bool")
int8 = DType("int8", "i8")
uint8 = DType("uint8", "u8")
int32 = DType("int32", "i32")
int64 = DType("int64", "i64")
float32 = DType("float32", "f32")
float64 = DType("float64", "f64")

DTYPES = {d.name: d for d in (bool_, int8, uint8, int32, int64, float32, float64)}

DTypeLike: TypeAlias = "DType | str | np.dtype[Any] | type"

#: Types that NumPy's promotion can give and graphc has not: the next larger one.
_WIDENED = {"float16": "float32", "int16": "int32", "uint16": "int32", "uint32": "int64"}
_WIDENED["uint64"] = "int64"


@cache  # NumPy takes microseconds to make a name
def _dtype_of_numpy(dtype: np.dtype[Any], strict: bool) -> DType:
    name = dtype.name if strict else _WIDENED.get(dtype.name, dtype.name)
    if name not in DTYPES:
        raise DTypeError(
            f"element type {name!r} is not supported", hint=f"one of {', '.join(DTYPES)}"
        )
    return DTYPES[name]


def as_dtype(dtype: DTypeLike) -> DType:
    """The `DType` named by a string, a NumPy dtype or a Python type (DTypeError if none)."""
    if isinstance(dtype, DType):
        return dtype
    try:
        found = np.dtype(dtype)
    except TypeError as error:
        raise DTypeError(
            f"{dtype!r} is not an element type", hint=f"one of {', '.join(DTYPES)}"
        ) from error
    return _dtype_of_numpy(found, True)


def from_numpy(dtype: np.dtype[Any]) -> DType:
    """The type that holds a NumPy result type; float16 and the missing integers widen."""
    return _dtype_of_numpy(dtype, False)


def promote(*operands: DType | int | float | bool) -> DType:
    """NumPy 2 promotion; Python numbers are weak."""
    given = [o.numpy if isinstance(o, DType) else o for o in operands]
    return from_numpy(np.result_type(*given))


# Sizes ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Quotient:
    """``numerator // denominator``, an atom of a polynomial."""

    numerator: Dim
    denominator: Size

    def __str__(self) -> str:
        return f"({_factor(self.numerator)}//{_factor(self.denominator)})"


Atom: TypeAlias = "str | _Quotient"
Monomial: TypeAlias = "tuple[Atom, ...]"  # sorted atoms, repeated for powers


def _factor(size: Size) -> str:
    text = str(size)
    return f"({text})" if " " in text or "*" in text else text


class Dim:
    """A size that is not a number: a polynomial with integer coefficients over named symbols.

    Symbols stand for non-negative integers. Arithmetic normalises, so equal polynomials
    are equal objects by ``==`` and hash; a result without symbols is a plain ``int``.
    A single symbol also equals its name.

    ``2 * n``, ``n + 1``, ``n // 2`` can stand wherever a shape takes a size. With an expression
    a size is a number like any other: ``gr.sum(x) / x.shape[0]``. It takes the expression's
    element type as a Python int does; ``gr.constant(n)`` alone is int64.
    """

    __slots__ = ("_hash", "terms")

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        ordered = sorted(terms.items(), key=lambda t: (-len(t[0]), tuple(map(str, t[0]))))
        self.terms: tuple[tuple[Monomial, int], ...] = tuple(ordered)
        self._hash = hash(self.name) if self.name else hash(self.terms)

    @property
    def name(self) -> str:
        """The symbol's name if this is a bare symbol, else ''."""
        if len(self.terms) == 1 and self.terms[0][1] == 1 and len(self.terms[0][0]) == 1:
            atom = self.terms[0][0][0]
            return atom if isinstance(atom, str) else ""
        return ""

    @property
    def symbols(self) -> frozenset[str]:
        """Names of the symbols it contains."""
        found: set[str] = set()
        for monomial, _ in self.terms:
            for atom in monomial:
                if isinstance(atom, str):
                    found.add(atom)
                else:
                    found |= size_symbols(atom.numerator) | size_symbols(atom.denominator)
        return frozenset(found)

    def evaluate(self, values: Mapping[str, int]) -> int:
        """Its value for given symbols."""
        total = 0
        for monomial, coefficient in self.terms:
            for atom in monomial:
                if isinstance(atom, str):
                    coefficient *= values[atom]
                else:
                    numerator = atom.numerator.evaluate(values)
                    coefficient *= numerator // evaluate_size(atom.denominator, values)
            total += coefficient
        return total

    def __add__(self, other: Size) -> Size:
        return _sum(self, other) if _is_size(other) else NotImplemented

    def __mul__(self, other: Size) -> Size:
        return _product(self, other) if _is_size(other) else NotImplemented

    def __floordiv__(self, other: Size) -> Size:
        if not _is_size(other):
            return NotImplemented
        exact = _divide(self, other)
        if exact is not None:
            return exact
        return Dim({(_Quotient(self, other),): 1})

    def __rfloordiv__(self, other: int) -> Size:
        if not _is_size(other):
            return NotImplemented
        return 0 if other == 0 else _lift(other) // self

    def __mod__(self, other: Size) -> Size:
        if not _is_size(other):
            return NotImplemented
        return self - other * (self // other)

    def __rmod__(self, other: int) -> Size:
        if not _is_size(other):
            return NotImplemented
        return other - self * (other // self)

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size) -> Size:
        if not _is_size(other):
            return NotImplemented
        return self + other * -1

    def __rsub__(self, other: Size) -> Size:
        if not _is_size(other):
            return NotImplemented
        return self * -1 + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __truediv__(self, other: object) -> Size:
        if not _is_size(other):
            return NotImplemented
        raise ShapeError(
            f"the size {self} is divided by {other} with /, which gives no size",
            hint="// divides sizes; gr.constant(size) is the size as a value",
        )

    __rtruediv__ = __truediv__

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Dim):
            return self.terms == other.terms
        return isinstance(other, str) and self.name == other

    def __hash__(self) -> int:
        return self._hash

    def __bool__(self) -> bool:
        raise ShapeError(f"the size {self} is symbolic and has no truth value")

    def _compare(self, other: object) -> Any:
        if not isinstance(other, (int, float, str, Dim)):
            return NotImplemented
        raise ShapeError(f"the size {self} is symbolic and cannot be compared with {other}")

    __lt__ = __le__ = __gt__ = __ge__ = _compare

    if not TYPE_CHECKING:  # type checkers shall go on to refuse sizes as numbers

        def __index__(self) -> int:
            raise ShapeError(
                f"the size {self} is symbolic: it is a number in calls only",
                hint="loops of Python take axes whose size is a number; gr.sum, gr.cumsum, "
                "gr.vmap and the like take any axis; gr.constant(size) is the size as a value",
            )

        __int__ = __index__

    def __str__(self) -> str:
        text = ""
        for monomial, coefficient in self.terms:
            factors = [str(a) for a in monomial]
            if abs(coefficient) != 1 or not factors:
                factors.insert(0, str(abs(coefficient)))
            sign = "-" if coefficient < 0 else "+"
            term = "*".join(factors)
            text += f" {sign} {term}" if text else (f"-{term}" if sign == "-" else term)
        return text

    def __repr__(self) -> str:
        return str(self)


Size: TypeAlias = "int | Dim"
Shape: TypeAlias = tuple[Size, ...]
ShapeLike: TypeAlias = "Sequence[int | str | Dim] | int | str | Dim"


def _is_size(value: object) -> bool:
    return isinstance(value, (int, Dim))


def _lift(size: Size) -> Dim:
    """Any size as a polynomial object, constants too (only inside this module)."""
    return size if isinstance(size, Dim) else Dim({(): size})


def _terms(size: Size) -> Iterable[tuple[Monomial, int]]:
    return size.terms if isinstance(size, Dim) else (((), int(size)),)


@cache
def _sum(size: Dim, other: Size) -> Size:
    terms = dict(size.terms)
    for monomial, coefficient in _terms(other):
        terms[monomial] = terms.get(monomial, 0) + coefficient
    return _normalise(terms)


@cache
def _product(size: Dim, other: Size) -> Size:
    terms: dict[Monomial, int] = {}
    for m1, c1 in size.terms:
        for m2, c2 in _terms(other):
            key = tuple(sorted(m1 + m2, key=str))
            terms[key] = terms.get(key, 0) + c1 * c2
    return _normalise(terms)


def _normalise(terms: Mapping[Monomial, int]) -> Size:
    kept = {m: c for m, c in terms.items() if c}
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    return Dim(kept)


def _divide(size: Dim, by: Size) -> Size | None:
    """size / by if it divides term by term, else None."""
    divisor = list(_terms(by))
    if len(divisor) != 1:
        return 1 if size == by else None
    monomial, coefficient = divisor[0]
    if coefficient == 0:
        raise ShapeError(f"the size {size} is divided by zero")
    terms: dict[Monomial, int] = {}
    for m, c in size.terms:
        rest = list(m)
        for atom in monomial:
            if atom not in rest:
                return None
            rest.remove(atom)
        if c % coefficient:
            return None
        terms[tuple(rest)] = c // coefficient
    return _normalise(terms)


def symbol(name: str) -> Dim:
    """The size named ``name``."""
    if not name.isidentifier():
        raise ShapeError(f"{name!r} is not a name for a size", hint="use a Python identifier")
    return Dim({(name,): 1})


def as_size(size: int | str | Dim) -> Size:
    """A size given as a number, a name or a polynomial (ShapeError if negative)."""
    if isinstance(size, Dim):
        return size
    if isinstance(size, str):
        return symbol(size)
    try:
        number = int(size.__index__())
    except AttributeError:
        raise ShapeError(f"{size!r} is not a size", hint="a number or a name") from None
    if number < 0:
        raise ShapeError(f"a size cannot be negative ({number})")
    return number


def as_shape(shape: ShapeLike) -> Shape:
    """A shape given as one size or a sequence of them."""
    if isinstance(shape, Sequence) and not isinstance(shape, str):
        return tuple(as_size(s) for s in shape)
    return (as_size(shape),)


def size_symbols(size: Size) -> frozenset[str]:
    """Names of the symbols in a size."""
    return size.symbols if isinstance(size, Dim) else frozenset()


def evaluate_size(size: Size, values: Mapping[str, int]) -> int:
    """The number that a size stands for."""
    return size.evaluate(values) if isinstance(size, Dim) else size


@dataclass(frozen=True)
class Guard:
    """``size >= minimum`` must hold when the program runs; ``text`` says what needs it."""

    size: Size
    minimum: int
    text: str


def product(sizes: Iterable[Size]) -> Size:
    """Number of elements of a shape."""
    total: Size = 1
    for size in sizes:
        total = total * size
    return total


def same_size(a: Size, b: Size) -> bool:
    """Whether two sizes are known to be equal."""
    return type(a) is type(b) and a == b


def broadcast_shapes(*shapes: Shape) -> Shape:
    """NumPy broadcasting. A symbolic size never broadcasts against a different size but 1.

    Raises
    ------
    ShapeError
        If two sizes on one axis are neither equal nor 1.
    """
    rank = max(map(len, shapes), default=0)
    result: list[Size] = [1] * rank
    for shape in shapes:
        for axis, size in enumerate(shape, rank - len(shape)):
            if same_size(result[axis], 1):
                result[axis] = size
            elif not same_size(size, 1) and not same_size(size, result[axis]):
                raise ShapeError(
                    f"sizes {result[axis]} and {size} do not broadcast (axis {axis - rank})",
                    hint="sizes on one axis must be equal, or one of them 1",
                )
    return tuple(result)


def normalise_axis(axis: int, rank: int) -> int:
    """A non-negative axis (ShapeError if out of range)."""
    if not hasattr(axis, "__index__"):
        raise ShapeError(f"{axis!r} is not an axis", hint="axes are whole numbers")
    index = axis.__index__()
    if not -rank <= index < rank:
        raise ShapeError(f"axis {axis} is out of range for a tensor of rank {rank}")
    return index % rank


def normalise_axes(axis: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """Sorted non-negative axes; None means all of them."""
    if axis is None:
        return tuple(range(rank))
    single = isinstance(axis, str) or not isinstance(axis, Sequence)
    given: tuple[Any, ...] = (axis,) if single else tuple(cast(Sequence[int], axis))
    axes = sorted(normalise_axis(a, rank) for a in given)
    if len(set(axes)) != len(axes):
        raise ShapeError(f"an axis is named twice in {tuple(given)}")
    return tuple(axes)


@dataclass(frozen=True, eq=True)
class TensorType:
    """Element type and shape of a tensor, printed ``f32[batch, 784]``."""

    dtype: DType
    shape: Shape

    @cached_property
    def _key(self) -> int:
        return hash((self.dtype.name, self.shape))

    def __hash__(self) -> int:
        return self._key

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> Size:
        """Number of elements."""
        return product(self.shape)

    @property
    def nbytes(self) -> Size:
        return self.size * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype.short}[{', '.join(map(str, self.shape))}]"

    __repr__ = __str__


@dataclass(frozen=True)
class TupleType:
    """The type of a node with several results; a ``project`` node picks one."""

    items: tuple[TensorType, ...]

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.items))})"
