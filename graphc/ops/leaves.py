"""Leaves: inputs, parameters, constants, and index ramps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from graphc.errors import DTypeError, GraphError
from graphc.expr import Attrs, Expr, apply, current_dtype
from graphc.ops.table import Op, explained
from graphc.types import (
    DTypeLike,
    ShapeLike,
    TensorType,
    as_dtype,
    as_shape,
    as_size,
    from_numpy,
    int64,
    normalise_axis,
)


def _no_value(**attrs: Any) -> Any:
    raise GraphError("a leaf has no value of its own")


def _leaf(name: str, doc: str) -> Op:
    return Op(name, "leaf", lambda types, attrs: attrs["type"], _no_value, doc=doc)


INPUT = _leaf("input", "A value given at each call.")
PARAMETER = _leaf("parameter", "A value kept between calls.")
CONSTANT = Op(
    "constant",
    "leaf",
    lambda types, attrs: TensorType(
        from_numpy(attrs["value"].array.dtype), attrs["value"].array.shape
    ),
    lambda value: value.array,
    doc="A fixed value.",
)


def _iota_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    return TensorType(attrs["dtype"], attrs["shape"])


def _evaluate_iota(shape: Any, axis: int, dtype: Any) -> Any:
    ramp = np.arange(shape[axis], dtype=dtype.numpy)
    return np.broadcast_to(
        np.expand_dims(ramp, [a for a in range(len(shape)) if a != axis]), shape
    )


IOTA = Op(
    "iota",
    "leaf",
    _iota_type,
    _evaluate_iota,
    doc="``0, 1, 2, ...`` along one axis of a shape.",
)


@explained
def iota(shape: ShapeLike, axis: int = 0, dtype: DTypeLike = int64) -> Expr:
    """``0, 1, 2, ...`` along ``axis``, the same along the others."""
    full = as_shape(shape)
    attrs = {"shape": full, "axis": normalise_axis(axis, len(full)), "dtype": as_dtype(dtype)}
    return apply(IOTA, (), attrs)


def _check_name(name: str) -> str:
    if not isinstance(name, str) or not name:
        raise GraphError(f"a leaf needs a name, not {name!r}", hint='gr.tensor("x", shape=...)')
    return name


def tensor(name: str, shape: ShapeLike = (), dtype: DTypeLike | None = None) -> Expr:
    """An input of a graph.

    Sizes can be computed from others: ``gr.tensor("y", (2 * n + 1,))`` for a size ``n``, an
    item of another tensor's ``shape``.

    Parameters
    ----------
    name
        For errors, listings and pictures; unique within a compiled function.
    shape
        Numbers, or names for sizes that are known at the call: ``("batch", 784)``.
    dtype
        Element type; `default_dtype` (float32) if not said.
    """
    type = TensorType(
        as_dtype(dtype) if dtype is not None else current_dtype(), as_shape(shape)
    )
    return Expr(INPUT, (), Attrs(type=type), type, _check_name(name))


def scalar(name: str, dtype: DTypeLike | None = None) -> Expr:
    """An input of rank 0."""
    return tensor(name, (), dtype)


def vector(name: str, size: Any, dtype: DTypeLike | None = None) -> Expr:
    """An input of rank 1: ``gr.vector("v", 10)``."""
    return tensor(name, (as_size(size),), dtype)


def matrix(name: str, rows: Any, columns: Any, dtype: DTypeLike | None = None) -> Expr:
    """An input of rank 2: ``gr.matrix("m", "n", 3)``."""
    return tensor(name, (as_size(rows), as_size(columns)), dtype)


def _aligned_copy(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A C-contiguous copy whose data starts at a multiple of 64 bytes."""
    memory = np.empty(value.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy: np.ndarray[Any, Any] = memory[start : start + value.nbytes].view(value.dtype)
    copy = copy.reshape(value.shape)
    copy[...] = value
    return copy


class Parameter(Expr):
    """A leaf that owns an array: weights, running averages, optimizer state.

    Compiled functions read it at every call and change it in place by their updates.
    """

    __slots__ = ("_array", "trainable")

    _array: np.ndarray[Any, Any]
    trainable: bool

    @property
    def value(self) -> np.ndarray[Any, Any]:
        """A view of the array; writing to it, or setting it, changes the parameter."""
        return self._array

    @value.setter
    def value(self, new: Any) -> None:
        array = np.asarray(new)
        if array.shape != self._array.shape:
            raise GraphError(
                f"parameter {self.name!r} has shape {self._array.shape}, "
                f"the new value {array.shape}"
            )
        number = isinstance(new, (bool, int, float, list, tuple))
        rule: Literal["same_kind", "safe"] = "same_kind" if number else "safe"
        if not np.can_cast(array.dtype, self._array.dtype, rule):
            raise DTypeError(
                f"parameter {self.name!r} is {self.dtype}, the new value {array.dtype}",
                hint=f"convert it: value.astype({self.dtype.name!r})",
            )
        with np.errstate(over="ignore"):
            cast = array.astype(self._array.dtype)
        kept = np.isfinite(cast) == np.isfinite(array) if self.dtype.is_float else cast == array
        if not kept.all():
            raise GraphError(
                f"a number given for {self.name!r} is out of range for {self.dtype}"
            )
        self._array[...] = cast

    def __setattr__(self, key: str, value: Any) -> None:
        if key != "value":
            super().__setattr__(key, value)
        object.__setattr__(self, key, value)


def parameter(
    name: str, value: Any, *, dtype: DTypeLike | None = None, trainable: bool = True
) -> Parameter:
    """A leaf that owns a copy of an array.

    Parameters
    ----------
    value
        An array, or numbers; floats that are not a NumPy float array yet take `default_dtype`.
    trainable
        Whether optimizers should change it (a running average is not trainable).
    """
    array = np.asarray(value)
    if dtype is not None:
        array = array.astype(as_dtype(dtype).numpy)
    elif not isinstance(value, (np.ndarray, np.generic)) and array.dtype.kind == "f":
        array = array.astype(current_dtype().numpy)
    type = TensorType(as_dtype(array.dtype), array.shape)
    node = Parameter(PARAMETER, (), Attrs(type=type), type, _check_name(name))
    object.__setattr__(node, "_array", _aligned_copy(array))
    object.__setattr__(node, "trainable", trainable)
    return node
