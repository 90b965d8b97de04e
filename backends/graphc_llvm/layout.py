"""Where CPython and NumPy keep the fields that native entries read.

The offsets are those of the default build; `matches` compares them with live objects, and
where they do not hold, compiled functions are called through Python instead.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
import sysconfig
from functools import cache
from typing import Any

import numpy as np

from graphc.types import DTYPES

#: Offsets in bytes.
OBJECT_REFERENCES = 0
OBJECT_TYPE = 8
OBJECT_VALUE = 16  # of a float and of a NumPy scalar
SCALAR_SIZE = 24  # of a NumPy scalar of any type that there is
VAR_SIZE = 16
LIST_ITEMS = 24
TUPLE_ITEMS = tuple.__basicsize__
ARRAY_DATA, ARRAY_RANK, ARRAY_DIMS, ARRAY_DTYPE, ARRAY_FLAGS = 16, 24, 32, 56, 64

_HEAP_TYPE = 1 << 9  # instances of such types own a reference to it
_NEW_FROM_DESCR = 94  # in NumPy's table of C functions, stable since 1.7

#: Addresses that entries need, in the order of `addresses`.
ADDRESS_NAMES = (
    "ndarray",
    "tuple",
    "list",
    "None",
    "True",
    "False",
    "out",
    "PyArray_NewFromDescr",
)

_OUT = sys.intern("out")


@cache
def addresses() -> tuple[int, ...]:
    """The addresses of `ADDRESS_NAMES` in this process. ``True`` and ``False`` are NumPy's."""
    objects: list[Any] = [np.ndarray, tuple, list, None, np.True_, np.False_, _OUT]
    return (*map(id, objects), _numpy_function(_NEW_FROM_DESCR))


def _numpy_function(index: int) -> int:
    module = importlib.import_module("numpy._core._multiarray_umath")
    capsule = module._ARRAY_API
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = (ctypes.c_void_p * (index + 1)).from_address(pointer(capsule, None))
    if table[2] != id(np.ndarray) or not table[index]:
        raise ImportError("NumPy's C functions are not where they were expected")
    return int(table[index] or 0)


@cache
def matches() -> bool:
    """Whether objects of this interpreter are laid out as this module says."""
    if sysconfig.get_config_var("Py_GIL_DISABLED") or sys.implementation.name != "cpython":
        return False
    if object.__basicsize__ != 16 or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    try:
        addresses()
    except (ImportError, AttributeError):
        return False
    return _array_matches() and _containers_match() and _scalars_match()


def _word(thing: object, offset: int) -> int:
    return ctypes.c_int64.from_address(id(thing) + offset).value


def _array_matches() -> bool:
    array = np.zeros((3, 5), "float64")
    array.flags.writeable = False
    half = ctypes.c_int32.from_address
    fits = (
        _word(array, OBJECT_TYPE) == id(np.ndarray)
        and _word(array, ARRAY_DATA) == array.ctypes.data
        and half(id(array) + ARRAY_RANK).value == 2
        and _word(array, ARRAY_DTYPE) == id(array.dtype) == id(np.dtype("float64"))
        and half(id(array) + ARRAY_FLAGS).value == array.flags.num
    )
    # A pointer is followed only if what is around it is where it should be.
    pair = ctypes.c_int64 * 2
    return fits and tuple(pair.from_address(_word(array, ARRAY_DIMS))) == (3, 5)


def _containers_match() -> bool:
    one, two = object(), object()
    pair, items = (one, two), [one, two]
    fits = (
        _word(pair, VAR_SIZE) == _word(items, VAR_SIZE) == 2
        and _word(pair, TUPLE_ITEMS) == id(one)
        and _word(pair, TUPLE_ITEMS + 8) == id(two)
    )
    second = ctypes.c_int64.from_address
    return fits and second(_word(items, LIST_ITEMS) + 8).value == id(two)


def _scalars_match() -> bool:
    number = ctypes.c_double.from_address(id(value := 1.25) + OBJECT_VALUE)
    if number.value != value:
        return False
    for name in DTYPES:
        scalar = np.dtype(name).type(1)
        kind = type(scalar)
        if kind.__basicsize__ != SCALAR_SIZE or kind.__flags__ & _HEAP_TYPE:
            return False
        references = ctypes.c_int64.from_address(id(scalar)).value
        if references != sys.getrefcount(scalar) - 1 or _word(scalar, 8) != id(kind):
            return False
        stored = ctypes.string_at(id(scalar) + OBJECT_VALUE, scalar.itemsize)
        if stored != scalar.tobytes():
            return False
    return True
