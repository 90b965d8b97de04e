"""The native half of every compiled function: one builtin, driven by tables.

``ptr @gc_call(ptr self, ptr args, i64 nargs, ptr kwnames)`` is what CPython calls
(METH_FASTCALL | METH_KEYWORDS). ``self`` is a tuple; its first item is an array that holds
the `State` of the function, its second is ``slow``. The code is in ``native/``: LLVM IR with
names for constants and three abbreviations: ``x = field type p F`` loads from a byte offset
(a number, or a field of a structure here), ``x = item type p i`` loads element i, and
``put type v p i`` stores it.

A failed check goes to ``slow`` with all that was made so far released. The tables are
made by `graphc_llvm.entry`.

``gc_bound`` has the same form, for calls whose arguments were bound before: the array holds
a `Bound`, and nothing is left to check but whether the program may run now.

A program runs at once if it need not wait: neither for another call of its function that
holds its workspace or updates its parameters, nor for a call of another function that uses
the same parameters, if one of the two updates. Calls that use parameters are listed in the
order in which they came, and wait only for those before them, so none waits forever.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import re
import sys
from functools import cache as once
from functools import partial
from types import BuiltinFunctionType

from graphc.types import DTYPES
from graphc_llvm import cache, layout, runtime
from graphc_llvm.jit import Code, engine
from graphc_llvm.target import Target, host

_word, _pointer = ctypes.c_int64, ctypes.c_void_p


class MethodDef(ctypes.Structure):
    """CPython's description of a builtin."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


class Axis(ctypes.Structure):
    """A size: ``code`` says what ``value`` is.

    FIXED: the number itself. BIND: the symbol that takes the size found here. SYMBOL: a symbol
    bound before. DERIVED: of an input, the place where the size found is kept for ``sizes`` to
    check; of an output, the place where ``sizes`` leaves it.
    """

    _fields_ = [("code", _word), ("value", _word)]


FIXED, BIND, SYMBOL, DERIVED = range(4)


class Tensor(ctypes.Structure):
    """The type of an input or output.

    ``scalar`` is NumPy's scalar type, ``number`` Python's (null for bool); ``plain`` is the one
    of them whose objects hold the number as the program reads it, Python's if it is both.
    ``kind`` is the index of the dtype in `DTYPES`.
    """

    _fields_ = [
        ("dtype", _pointer),
        ("scalar", _pointer),
        ("number", _pointer),
        ("plain", _pointer),
        ("kind", _word),
        ("itemsize", _word),
        ("rank", _word),
        ("axes", _pointer),
    ]


class State(ctypes.Structure):
    """What a function needs at each call.

    ``lock`` is the lock word of the runtime, which guards ``workspace``; ``owner`` the thread
    that holds it, if the program updates parameters. ``program``, ``need`` and ``sizes`` are
    functions of the module (``sizes`` may be null, then ``work`` is the estimated time in ns).
    ``fixed_need`` is what ``need`` returns, or -1 if that depends on sizes.
    ``ranges`` are the (begin, end) addresses of the parameters.
    """

    _fields_ = [
        ("lock", _word),
        ("workspace", _pointer),
        ("capacity", _word),
        ("threads", _word),
        ("owner", _word),
        ("program", _pointer),
        ("need", _pointer),
        ("fixed_need", _word),
        ("sizes", _pointer),
        ("work", _word),
        ("updates", _word),
        ("result", _word),
        ("n_inputs", _word),
        ("n_outputs", _word),
        ("n_parameters", _word),
        ("n_symbols", _word),
        ("n_found", _word),
        ("n_derived", _word),
        ("inputs", _pointer),
        ("outputs", _pointer),
        ("ranges", _pointer),
        *((name, _pointer) for name in layout.ADDRESS_NAMES),
    ]


class Bound(ctypes.Structure):
    """A call whose arguments are known: ``result`` is returned, ``work`` is in ns."""

    _fields_ = [
        ("state", _pointer),
        ("bufs", _pointer),
        ("symbols", _pointer),
        ("need", _word),
        ("work", _word),
        ("result", _pointer),
    ]


class Turn(ctypes.Structure):
    """A call's place in the list of those that use parameters."""

    _fields_ = [("next", _pointer), ("state", _pointer), ("thread", _word)]


SINGLE, TUPLE, LIST, NONE = range(4)
#: Values of ``State.result``.
RESULTS = {"single": SINGLE, "tuple": TUPLE, "list": LIST, "none": NONE}

#: A call with more estimated work (ns) than this lets other Python threads run.
RELEASE = 20_000

_READABLE, _WRITEABLE = 0x101, 0x501  # NumPy's flags: C-contiguous, aligned, (writeable)

#: Values of a kind that a call has room for on the stack from its start. A power of 2.
FEW = 16

#: What the native half says if a program cannot run at once.
REFUSED = -1

_FILES = ("arguments.ll", "turns.ll", "call.ll")
_KINDS = {f"KIND_{name}": i for i, name in enumerate(DTYPES)}


def _constants() -> dict[str, str]:
    values: dict[str, object] = {
        "RECORD": runtime.RECORD,
        "AXIS": "{ i64, i64 }",
        "TENSOR": "{ ptr, ptr, ptr, ptr, i64, i64, i64, ptr }",
        "TURN": "{ ptr, ptr, i64 }",
        "READABLE": _READABLE,
        "WRITEABLE": _WRITEABLE,
        "RELEASE": RELEASE,
        **_KINDS,
    }
    for names in (globals(), vars(layout)):
        values |= {k: v for k, v in names.items() if k.isupper() and isinstance(v, int)}
    for structure in (Axis, Tensor, State, Bound, Turn):
        for name, *_ in structure._fields_:
            values[f"{structure.__name__}.{name}"] = getattr(structure, name).offset
    return {name: str(value) for name, value in values.items()}


_FIELD = re.compile(r"  (%\w+) = field (?:(i64|i32) |ptr )(%\w+) ([\w.]+)")
_ITEM = re.compile(r"  (%\w+) = item (?:(i64) |ptr )(%\w+) (%?\w+)")
_PUT = re.compile(r"  put (i64|ptr) (%?\w+) (%\w+) (%?\w+)")


def text(target: Target) -> str:
    """The builtin as LLVM text."""
    from graphc.loops.ir import INTERRUPTED  # of a module that calls do without

    number = itertools.count()

    def load(element: str, match: re.Match[str]) -> str:
        name, kind, base, place = match.groups()
        address = f"  {name}.at = getelementptr {element}, ptr {base}, i64 {place}\n"
        return f"{address}  {name} = load {kind or 'ptr'}, ptr {name}.at"

    def store(match: re.Match[str]) -> str:
        kind, value, base, index = match.groups()
        place = f"%place{next(number)}"
        address = f"  {place} = getelementptr {kind}, ptr {base}, i64 {index}\n"
        return f"{address}  store {kind} {value}, ptr {place}"

    source = runtime.native(_FILES, _constants() | {"INTERRUPTED": str(INTERRUPTED)})
    source = _FIELD.sub(partial(load, "i8"), source)
    source = _ITEM.sub(partial(load, "i64"), source)
    source = _PUT.sub(store, source)
    return f'target triple = "{target.triple}"\n{source}'


def holder(function: object) -> tuple[object, ...] | None:
    """``self`` of a builtin made of such code, None of anything else."""
    held = getattr(function, "__self__", None)
    if isinstance(function, BuiltinFunctionType) and type(held) is tuple and held:
        return held if isinstance(held[-1], MethodDef) else None
    return None


def symbol(held: tuple[object, ...]) -> str:
    """The name of a builtin's code, given its `holder`."""
    method = held[-1]
    assert isinstance(method, MethodDef)
    return "gc_call" if method.function == load().symbols["gc_call"] else "gc_bound"


@once
def load() -> Code:
    """The builtins' code in this process."""
    target, constants = host(), str(_constants())
    code = engine(target).library(
        lambda: text(target), cache.SOURCE, "builtin", constants, verify=True, inline=True
    )
    if sys.platform != "win32":
        forget = ctypes.PYFUNCTYPE(None)(code.symbols["gc_forget"])
        os.register_at_fork(after_in_child=forget)
    return code
