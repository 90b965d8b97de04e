"""Python's side of a compiled function: its builtin, its memory, its lock."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from graphc.errors import IndexOutOfRangeError, VerificationError
from graphc.types import DTYPES, DType, evaluate_size
from graphc_llvm import builtin, layout, runtime
from graphc_llvm.builtin import RELEASE, RESULTS, Axis, Bound, MethodDef, State, Tensor, Turn
from graphc_llvm.call import Signature
from graphc_llvm.jit import Code

_METH_FASTCALL_KEYWORDS = 0x82
_ALIGNMENT = 64
#: A call that waits for another one looks this often (s).
_WAIT = 50e-6
#: An answer of ``gc_turn``: the call would wait for one of its own thread.
_OWN = 2
#: Guards the list of calls where no GIL does.
_turns = threading.RLock()

Array = np.ndarray[Any, Any]

_word, _pointer, _flag = ctypes.c_int64, ctypes.c_void_p, ctypes.c_int32
#: Types of native functions, which hold the GIL; to make one takes longer than to use it.
_Run = ctypes.PYFUNCTYPE(_flag, _pointer, _pointer, _pointer, _pointer, _word, ctypes.c_bool)
_Need = ctypes.PYFUNCTYPE(_word, _pointer, _word)
_TryLock = ctypes.PYFUNCTYPE(_flag, _pointer, _word)
_Leave = ctypes.PYFUNCTYPE(None, _pointer)
_Want = ctypes.PYFUNCTYPE(None, _pointer, _flag)
_Enter = ctypes.PYFUNCTYPE(None, _pointer, _pointer)
_Ask = ctypes.PYFUNCTYPE(_flag, _pointer)


def _nothing(dims: object, threads: int) -> int:
    """What a program needs that has no workspace."""
    return 0


def _words(structure: type[ctypes.Structure]) -> int:
    return ctypes.sizeof(structure) // 8


def _number(dtype: DType) -> int | None:
    """The Python type (its address) of a rank-0 input."""
    if dtype.is_float:
        return id(float)
    return id(int) if dtype.is_integer else None


class Entry:
    """A loaded program with all that its calls need.

    Parameters
    ----------
    code
        The loaded module, made with `emit_entry`.
    name
        The program's name in it.
    parameters
        The parameter arrays, in the program's order: contiguous, aligned, never reallocated.
    threads
        The number of threads of parallel kernels, at least 1.
    slow
        Called with the arguments of a call that is not exactly as the native entry wants it.
        It converts them and uses `run`, or raises.

    Attributes
    ----------
    callable
        The function that users call: a builtin, or ``slow`` where native entries cannot be.
    """

    callable: Callable[..., Any]

    def __init__(
        self,
        code: Code,
        name: str,
        signature: Signature,
        *,
        slow: Callable[..., Any],
        parameters: Sequence[Array] = (),
        threads: int = 1,
    ) -> None:
        self.name = name
        self.signature = signature
        self.threads = threads
        self._code = code
        self._parameters = tuple(parameters)
        self._queue = threading.Lock()
        self._workspace: Array | None = None
        self._state = self._make_state()
        self._bind()
        self.callable = self._builtin("gc_call", self._table, slow)
        _entries.add(self)

    def _make_state(self) -> State:
        """The tables of the builtin, in one array."""
        s, plan = self.signature, self.signature.plan
        types, axes = [*s.inputs, *s.outputs], [*plan.inputs, *plan.outputs]
        edges = [e for p in self._parameters for e in (p.ctypes.data, p.ctypes.data + p.nbytes)]
        flat = [word for shape in axes for axis in shape for word in axis]
        head, tensors = _words(State), _words(Tensor) * len(types)
        self._table = np.zeros(head + tensors + len(flat) + len(edges), np.int64)
        self._table[head + tensors :] = [*flat, *edges]
        state = State.from_buffer(self._table.data)
        start = self._table.ctypes.data
        state.inputs = start + 8 * head
        state.outputs = state.inputs + ctypes.sizeof(Tensor) * len(s.inputs)
        place = start + 8 * (head + tensors)
        for i, ((dtype, _), shape) in enumerate(zip(types, axes, strict=True)):
            tensor = Tensor.from_buffer(self._table.data, 8 * (head + i * _words(Tensor)))
            tensor.dtype, tensor.scalar = id(dtype.numpy), id(dtype.numpy.type)
            tensor.number = _number(dtype)
            tensor.plain = id(float) if dtype.name == "float64" else tensor.scalar
            tensor.kind, tensor.itemsize = list(DTYPES).index(dtype.name), dtype.itemsize
            tensor.rank, tensor.axes = len(shape), place
            place += ctypes.sizeof(Axis) * len(shape)
        state.ranges = place
        return self._fill(state)

    def _fill(self, state: State) -> State:
        s, plan, symbols = self.signature, self.signature.plan, self._code.symbols
        state.n_inputs, state.n_outputs = len(s.inputs), len(s.outputs)
        state.n_parameters, state.n_symbols = len(self._parameters), len(s.symbols)
        state.n_found, state.n_derived = len(plan.found), len(plan.derived)
        state.threads, state.result, state.updates = self.threads, RESULTS[s.result], s.updates
        state.work = s.work if isinstance(s.work, int) else 0
        state.program = symbols[self.name]
        state.need = symbols.get(f"{self.name}_workspace")
        state.sizes = symbols.get(f"{self.name}_sizes")
        if layout.matches():
            for name, address in zip(layout.ADDRESS_NAMES, layout.addresses(), strict=True):
                setattr(state, name, address)
        return state

    def _bind(self) -> None:
        """Python functions for the native ones."""
        library, calls = runtime.load().symbols, builtin.load().symbols
        self._call = _Run(calls["gc_run"])
        self._need = _Need(self._state.need) if self._state.need else _nothing
        self._try_lock = _TryLock(library["gc_lock"])
        self._unlock = _Leave(library["gc_unlock"])
        self._want = _Want(library["gc_want"])
        self._enter = _Enter(calls["gc_enter"])
        self._ask = _Ask(calls["gc_turn"])
        self._lock = ctypes.addressof(self._state)
        fixed = not self.signature.symbols or not self._state.need
        self._state.fixed_need = self._need(None, self.threads) if fixed else -1

    def _builtin(
        self, symbol: str, table: Array, slow: Callable[..., Any], *kept: object
    ) -> Callable[..., Any]:
        """The builtin of a function of `graphc_llvm.builtin`, if this interpreter allows it."""
        if not layout.matches():
            return slow
        address = builtin.load().symbols[symbol]
        method = MethodDef(self.name.encode(), address, _METH_FASTCALL_KEYWORDS, None)
        create = ctypes.pythonapi.PyCFunction_NewEx
        create.restype = ctypes.py_object
        create.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
        # The function holds this tuple, which holds everything that it points to.
        held = (table, slow, self, kept, method)
        function: Callable[..., Any] = create(ctypes.addressof(method), held, None)
        return function

    def bind(
        self,
        inputs: Sequence[Array],
        outputs: Sequence[Array],
        dims: Sequence[int],
        result: object,
        slow: Callable[[], Any],
    ) -> Callable[..., Any]:
        """A function without arguments that does what `run` does and returns ``result``.

        Where it cannot run at once it calls ``slow``. It keeps the arrays, whose memory must
        stay where it is.
        """
        self._verify(inputs, outputs)
        head, arrays = _words(Bound), self._addresses(inputs, outputs)
        table = np.array([*[0] * head, *arrays, *dims], np.int64)
        bound = Bound.from_buffer(table.data)
        bound.state, bound.result = self._lock, id(result)
        bound.bufs = table.ctypes.data + 8 * head
        bound.symbols = bound.bufs + 8 * len(arrays)
        bound.need = self._need(bound.symbols, self.threads)
        bound.work = self._work(dims)
        with self._memory(bound.need):
            pass  # now the workspace is large enough
        return self._builtin("gc_bound", table, slow, inputs, outputs, result)

    def _addresses(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> list[int]:
        return [a.ctypes.data for a in (*inputs, *outputs, *self._parameters)]

    def _work(self, dims: Sequence[int]) -> int:
        values = dict(zip(self.signature.symbols, dims, strict=True))
        return evaluate_size(self.signature.work, values)

    def run(
        self, inputs: Sequence[Array], outputs: Sequence[Array], dims: Sequence[int]
    ) -> None:
        """Run the program on arrays that have been prepared: right types and sizes, contiguous.

        ``dims`` are the values of ``signature.symbols``. An input must not overlap an output,
        nor a parameter that the program writes to.

        Raises
        ------
        IndexOutOfRangeError
            If an index in the inputs is out of range. Parameters are unchanged.
        KeyboardInterrupt
            (or what a signal handler raises) if interrupted. Parameters are unchanged.
        MemoryError
            If the workspace cannot be had; nothing has been run.
        """
        self._verify(inputs, outputs)
        arrays = self._addresses(inputs, outputs)
        buffers = (ctypes.c_void_p * (len(arrays) + 1))(*arrays)
        sizes = (ctypes.c_int64 * (len(dims) + 1))(*dims)
        release = self._work(dims) > RELEASE
        with self._memory(self._need(sizes, self.threads)) as workspace, self._turn():
            status = self._call(
                self._state.program, buffers, sizes, workspace, self.threads, release
            )
        if status and self._is_index_error(status):
            raise IndexOutOfRangeError(f"{self.name}: an index is out of range")

    @staticmethod
    def _is_index_error(status: int) -> bool:
        from graphc.loops.ir import INDEX_ERROR  # of a module that calls do without

        return status == INDEX_ERROR

    def _verify(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        types = (*self.signature.inputs, *self.signature.outputs)
        for array, (dtype, shape) in zip((*inputs, *outputs), types, strict=True):
            ready = array.flags.c_contiguous and array.flags.aligned
            if not ready or array.dtype != dtype.numpy or array.ndim != len(shape):
                raise VerificationError(f"{self.name}: an array was not prepared for the run")

    # Memory and lock --------------------------------------------------------------------

    @contextmanager
    def _memory(self, need: int) -> Iterator[int]:
        """``need`` bytes of workspace, and the lock if the program updates parameters."""
        if self.signature.updates:
            self._wait()
        elif not need:
            yield 0
            return
        elif not self._try_lock(self._lock, 0):
            private = allocate(need, self.name)
            yield private.ctypes.data
            return
        try:
            if self.signature.updates:
                self._state.owner = threading.get_ident()
            yield self._reserve(need)
        finally:
            self._state.owner = 0
            self._unlock(self._lock)

    def _reserve(self, need: int) -> int:
        """The cached workspace, grown if need be. Only for the holder of the lock."""
        if need > self._state.capacity:
            self._state.capacity = 0
            self._workspace = None
            self._workspace = allocate(need, self.name)
            self._state.workspace = self._workspace.ctypes.data
            self._state.capacity = need
        return self._state.workspace or 0

    def _wait(self) -> None:
        """Take the lock. Others may run Python code meanwhile."""
        if self._state.owner == threading.get_ident():
            raise self._nested()
        with self._queue:
            self._want(self._lock, True)
            try:
                while not self._try_lock(self._lock, 2):
                    time.sleep(_WAIT)
            except BaseException:
                self._want(self._lock, False)
                raise

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for calls of functions that use the same parameters, if one updates them."""
        if not self._parameters:
            yield
            return
        place = _Place()
        try:
            with _turns:
                self._enter(place.address, self._lock)
            while answer := self._ask(place.address):
                if answer == _OWN:
                    raise self._nested()
                time.sleep(_WAIT)
            yield
        finally:
            place.leave()

    def _nested(self) -> RuntimeError:
        return RuntimeError(
            f"{self.name} was called while a function that uses its parameters runs in the "
            "same thread (signal handler?)"
        )


class _Place:
    """A place in the list of calls; it is left at the latest when the object dies."""

    def __init__(self) -> None:
        self._turn = Turn()
        self.address = ctypes.addressof(self._turn)
        self._leave = _Leave(builtin.load().symbols["gc_leave"])

    def leave(self) -> None:
        with _turns:
            self._leave(self.address)

    __del__ = leave


_entries: weakref.WeakSet[Entry] = weakref.WeakSet()


def _after_fork() -> None:
    """In the child no other thread runs."""
    global _turns
    _turns = threading.RLock()
    for entry in _entries:
        entry._queue = threading.Lock()
        entry._state.lock = entry._state.owner = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def allocate(nbytes: int, name: str) -> Array:
    """64-byte aligned memory; MemoryError with the number of bytes if there is not so much."""
    if not 0 <= nbytes <= _physical_memory():
        raise MemoryError(f"{name} needs {nbytes} bytes of workspace")
    try:
        memory = np.empty(nbytes + _ALIGNMENT, np.uint8)
    except MemoryError as error:
        raise MemoryError(f"{name} needs {nbytes} bytes of workspace") from error
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + nbytes]


@cache
def _physical_memory() -> int:
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return sys.maxsize
