"""What a backend is, and how the installed ones are found."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from graphc.errors import CompileError, IndexOutOfRangeError
from graphc.expr import Expr
from graphc.graph import Graph
from graphc.interpret import evaluate
from graphc.types import Guard

if TYPE_CHECKING:
    from graphc.loops.ir import Program

Array = np.ndarray[Any, Any]
ResultForm = Literal["single", "tuple", "list", "none"]
GROUP = "graphc.backends"

#: When this package was loaded (ns since 1970): source files that are newer are not what runs.
LOADED = time.time_ns()


@dataclass(frozen=True, eq=False)
class Job:
    """A graph on its way to a backend.

    ``program`` makes the loop program when it is first asked for. ``content`` is a text that,
    with ``name``, ``math`` and ``target``, determines the program, None if there is none.
    ``slow`` takes the arguments of a call that a native entry does not accept as they are.
    """

    name: str
    graph: Graph
    symbols: tuple[str, ...]
    guards: tuple[Guard, ...]
    program: Callable[[], Program]
    content: Callable[[], str | None]
    result: ResultForm
    threads: int
    math: str
    target: str
    slow: Callable[..., Any]


@dataclass(frozen=True, eq=False)
class KernelTimes:
    """Seconds of kernels, an array (runs, kernels), and of reading the clock."""

    seconds: Array
    clock: float


@dataclass(frozen=True)
class Level:
    """A level of memory: bytes that it holds (None: all), bytes a second it delivers.

    ``read`` is summing an array, ``triad`` is ``a = b + s * c``, counted as three arrays.
    """

    name: str
    nbytes: int | None
    read: float
    triad: float


@dataclass(frozen=True)
class Limits:
    """What a machine can do with some threads, as measured.

    Attributes
    ----------
    flops
        Operations a second by element type, a fused multiply-add being two.
    levels
        Memory, from the nearest level to the furthest.
    """

    threads: int
    flops: Mapping[str, float]
    levels: tuple[Level, ...]

    def level(self, nbytes: int) -> Level:
        """The nearest level that can hold so many bytes."""
        fits = (x for x in self.levels if x.nbytes is None or nbytes <= x.nbytes)
        return next(fits, self.levels[-1])


class Executable(Protocol):
    """A loaded function: arrays in, arrays out, parameters updated in place.

    ``callable``, if not None, takes the arguments of a call directly and falls back to
    ``Job.slow``. ``texts`` are views of the generated code by name (``llvm_ir``, ``asm``).
    ``timings`` are seconds of the backend's own steps, ``notes`` what its reports say.
    """

    callable: Callable[..., Any] | None
    timings: dict[str, float]
    notes: dict[str, str]

    def run(
        self, inputs: Sequence[Array], outputs: Sequence[Array], sizes: Sequence[int]
    ) -> None:
        """Run on arrays of exactly the right types and sizes, contiguous."""

    def bind(
        self,
        inputs: Sequence[Array],
        outputs: Sequence[Array],
        sizes: Sequence[int],
        result: object,
        slow: Callable[..., Any],
    ) -> Callable[..., Any] | None:
        """`run` of these arrays as a function without arguments that returns ``result``.

        It calls ``slow`` where it cannot run as it is; None if calls through Python are all
        there is.
        """

    def kernel_times(
        self, inputs: Sequence[Array], outputs: Sequence[Array], sizes: Sequence[int]
    ) -> KernelTimes | None:
        """Time the program's kernels in several runs, on copies of the parameters.

        ``outputs`` are written to. None if there are no kernels.
        """

    def text(self, kind: str) -> str | bytes:
        """Generated code: ``llvm_ir``, ``asm``, ``object``; CompileError if there is none."""


class Backend(Protocol):
    """Turns jobs into executables. ``lowers`` tells whether what runs is a loop program."""

    name: str
    lowers: bool

    def load(self, job: Job) -> Executable: ...

    def function_class(self, base: type) -> type:
        """The class of compiled functions: ``base``, or a subclass with a faster call."""

    def bind(self, function: Any, target: Callable[..., Any] | None) -> None:
        """Let calls of an object of such a class go straight to ``target``, if there is one."""

    def facts(self) -> dict[str, str]:
        """What it runs on here, by name, for people who look for a fault."""

    def limits(self, threads: int) -> Limits | None:
        """What the machine can do, measured in less than a second, once per process."""


@cache
def get_backend(name: str) -> Backend:
    """The backend of that name (CompileError that lists the installed ones)."""
    if name == "interpret":
        return InterpretBackend()
    place = _declared(name)
    if place is not None:
        module, _, attribute = place.partition(":")
        declared: Backend = getattr(import_module(module), attribute)()
        return declared
    from importlib.metadata import entry_points

    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        raise CompileError(
            f"there is no backend {name!r}",
            hint=f"installed: {', '.join(['interpret', *sorted(found)])}",
        )
    backend: Backend = found[name].load()()
    return backend


def _declared(name: str) -> str | None:
    """Where installed packages say that a backend is, ``"package.module:Class"``.

    `importlib.metadata` finds more, but to import it and to ask takes 25 ms.
    """
    for folder in sys.path:
        with suppress(OSError), os.scandir(folder or ".") as entries:
            for entry in entries:
                if entry.name.endswith((".dist-info", ".egg-info")):
                    found = _entries(os.path.join(entry.path, "entry_points.txt")).get(name)
                    if found is not None:
                        return found
    return None


def _entries(file: str) -> dict[str, str]:
    """The backends in a file of entry points, empty if there is none."""
    with suppress(OSError), open(file, encoding="utf-8", errors="replace") as lines:
        _, _, rest = lines.read().partition(f"[{GROUP}]\n")
        pairs = [line.partition("=") for line in rest.partition("\n[")[0].splitlines()]
        return {
            key.strip(): value.partition("[")[0].strip() for key, _, value in pairs if value
        }
    return {}


class InterpretBackend:
    """Evaluates the user's graph with NumPy, node by node."""

    name = "interpret"
    lowers = False

    def load(self, job: Job) -> Executable:
        return _Interpreted(job)

    def function_class(self, base: type) -> type:
        return base

    def bind(self, function: Any, target: Callable[..., Any] | None) -> None:
        return None

    def facts(self) -> dict[str, str]:
        return {"NumPy": np.__version__}

    def limits(self, threads: int) -> None:
        return None


#: Functions may share parameters, so one is evaluated at a time.
_evaluating = threading.RLock()


@dataclass(eq=False)
class _Interpreted:
    job: Job
    callable: Callable[..., Any] | None = None
    timings: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def run(
        self, inputs: Sequence[Array], outputs: Sequence[Array], sizes: Sequence[int]
    ) -> None:
        graph = self.job.graph
        values: dict[Expr, Array] = dict(zip(graph.inputs, inputs, strict=True))
        bound = dict(zip(self.job.symbols, sizes, strict=True))
        with _evaluating:
            try:
                results = evaluate(graph.roots, values, bound)
            except IndexError as error:
                raise IndexOutOfRangeError(
                    f"{self.job.name}: an index is out of range"
                ) from error
            count = len(graph.outputs)
            for out, value in zip(outputs, results[:count], strict=True):
                out[...] = value
            for (parameter, _), value in zip(graph.updates, results[count:], strict=True):
                parameter.value = value

    def bind(self, *arguments: Any) -> None:
        return None

    def kernel_times(self, *arguments: Any) -> None:
        return None

    def text(self, kind: str) -> str | bytes:
        raise CompileError(f"the interpreter generates no {kind}", hint='backend="llvm"')
