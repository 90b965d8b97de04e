"""A base class whose instances are called without Python's dispatch to ``__call__``.

A class attribute ``__call__`` costs a tuple and a dict per call. An instance of
`NativeCallable` instead has the field that CPython's vectorcall protocol looks for (PEP 590),
so calling it passes the arguments straight on to the callable it was bound to.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from graphc_llvm import builtin, runtime

_VECTORCALL, _TARGET, _SIZE = 16, 24, 32  # offsets in an instance, its size
_DEFAULT, _BASETYPE, _HAVE_VECTORCALL = 1 << 18, 1 << 10, 1 << 11
_SLOT_CALL, _SLOT_MEMBERS = 50, 72  # from CPython's typeslots.h
_T_PYSSIZET, _READONLY = 19, 1
_TYPE_FLAGS = 168  # offset of tp_flags

Class = TypeVar("Class", bound=type)


class _Member(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("offset", ctypes.c_ssize_t),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


class _Slot(ctypes.Structure):
    _fields_ = [("slot", ctypes.c_int), ("value", ctypes.c_void_p)]


class _Spec(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("basicsize", ctypes.c_int),
        ("itemsize", ctypes.c_int),
        ("flags", ctypes.c_uint),
        ("slots", ctypes.POINTER(_Slot)),
    ]


def _create() -> tuple[type, Any]:
    """The class, and what must live as long as it does."""
    offset = _Member(b"__vectorcalloffset__", _T_PYSSIZET, _VECTORCALL, _READONLY, None)
    members = (_Member * 2)(offset)
    call = ctypes.cast(ctypes.pythonapi.PyVectorcall_Call, ctypes.c_void_p)
    slots = (_Slot * 3)(
        _Slot(_SLOT_CALL, call), _Slot(_SLOT_MEMBERS, ctypes.addressof(members))
    )
    flags = _DEFAULT | _BASETYPE | _HAVE_VECTORCALL
    spec = _Spec(b"graphc_llvm.callable.NativeCallable", _SIZE, 0, flags, slots)
    create = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.POINTER(_Spec))
    return create(("PyType_FromSpec", ctypes.pythonapi))(spec), (members, slots, spec)


if TYPE_CHECKING:

    class NativeCallable:
        """Base of callable objects. Call `bind` before the first call."""

        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

else:
    NativeCallable, _keep = _create()


def vectorcallable(cls: Class) -> Class:
    """Class decorator: let instances of a subclass of `NativeCallable` be called directly.

    Python does not always inherit that: before 3.12 never, later only if no class before
    `NativeCallable` defines ``__call__``, which then serves instances that were not bound.
    """
    flags = ctypes.c_ulong.from_address(id(cls) + _TYPE_FLAGS)
    if flags.value == cls.__flags__:
        flags.value |= _HAVE_VECTORCALL
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))
    return cls


def bind(instance: NativeCallable, target: Callable[..., Any]) -> None:
    """Let calls of ``instance`` call ``target``. To be done once, before the first call."""
    instance.__dict__["_target"] = target  # owns it, visible to the garbage collector
    held = builtin.holder(target)
    if held is None:
        forward = runtime.load().symbols["gc_forward"]
    else:
        forward = builtin.load().symbols[f"{builtin.symbol(held)}_direct"]
    address = id(instance)
    ctypes.c_void_p.from_address(address + _TARGET).value = id(target if held is None else held)
    ctypes.c_void_p.from_address(address + _VECTORCALL).value = forward
