"""Kernels beside the limits of the machine: measured times, and what bounds them.

A kernel's limit is the time that it needs at least: its flops at the machine's peak or its
bytes at the bandwidth of the nearest memory that can hold them, whichever is longer
(Williams, Waterman and Patterson, Roofline, CACM 52(4), 2009). Elementary functions count
as the flops of the op table, so kernels that are full of them stay below the peak.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.arguments import concrete
from graphc.errors import InputError
from graphc.graph import Graph
from graphc.inspect.tables.report import quantity
from graphc.loops.ir import Compute, Kernel, Program, nest_of, products_of, statements
from graphc.types import evaluate_size

if TYPE_CHECKING:
    from graphc.backend import KernelTimes, Level, Limits

Array = np.ndarray[Any, Any]

#: A time is told if it is so many times that of reading the clock.
CLOCKS = 5


@dataclass(frozen=True)
class Placed:
    """A kernel, timed.

    Attributes
    ----------
    seconds
        Of its fastest run; None if it is too short to be told from reading the clock.
    limit
        Seconds that the machine needs at least.
    bound
        What sets this limit: ``flops`` or a level of memory.
    """

    name: str
    label: str
    flops: int
    nbytes: int
    seconds: float | None
    limit: float
    bound: str

    @property
    def share(self) -> float | None:
        """Of the machine's limit, 1 at best; measured limits and times vary by a few %."""
        return None if self.seconds is None else self.limit / self.seconds

    def rate(self, amount: int) -> float | None:
        """So much work in billions a second."""
        return None if self.seconds is None else amount / self.seconds / 1e9

    def to_dict(self) -> dict[str, Any]:
        return {
            **vars(self),
            "gflops": self.rate(self.flops),
            "gbytes": self.rate(self.nbytes),
            "share": self.share,
        }


@dataclass(frozen=True)
class Roofline:
    """All kernels of a program, for inputs of certain ``sizes``.

    Attributes
    ----------
    given
        Whether the inputs were the user's, or a sample.
    sizes
        Values of the symbols.
    clock
        Seconds that reading the clock takes; it is subtracted.
    """

    kernels: Sequence[Placed]
    limits: Limits
    given: bool
    shapes: Sequence[str]
    sizes: Mapping[str, int]
    runs: int
    clock: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "kernels": [k.to_dict() for k in self.kernels],
            "limits": {
                "threads": self.limits.threads,
                "flops": dict(self.limits.flops),
                "levels": [vars(level) for level in self.limits.levels],
            },
            "inputs": {"given": self.given, "shapes": list(self.shapes)},
            "sizes": dict(self.sizes),
            "runs": self.runs,
            "clock": self.clock,
        }

    def rows(self) -> list[list[str]]:
        """A table of the kernels, its head first."""
        head = ["kernel", "flops", "bytes", "us", "GF/s", "GB/s", "% of limit", "limit"]
        return [head, *(list(_cells(k, self.clock)) for k in self.kernels)]

    def facts(self) -> Iterator[tuple[str, str]]:
        """What the table needs to be understood: title and text."""
        inputs = "the inputs given" if self.given else "a sample"
        yield "measured on", f"{inputs}: {', '.join(self.shapes) or 'none'}"
        threads = self.limits.threads
        yield "threads", f"{threads}; the fastest of {self.runs} runs"
        known = [k.seconds for k in self.kernels if k.seconds is not None]
        short = len(self.kernels) - len(known)
        yield (
            "all kernels",
            f"{sum(known) * 1e6:.2f} us" + (f" + {short} short" if short else ""),
        )
        peaks = (f"{d} {f / 1e9:.0f} GF/s" for d, f in self.limits.flops.items())
        yield "machine", ", ".join([*peaks, *map(_bandwidth, self.limits.levels)])


def _bandwidth(level: Level) -> str:
    return f"{level.name} {max(level.read, level.triad) / 1e9:.0f} GB/s"


def _cells(k: Placed, clock: float) -> Iterator[str]:
    yield from (k.name, quantity(k.flops), quantity(k.nbytes))
    if k.seconds is None or k.share is None:
        yield f"< {CLOCKS * clock * 1e6:.2f}"
        yield from ("", "", "too short")
    else:
        yield f"{k.seconds * 1e6:.2f}"
        yield f"{k.flops / k.seconds / 1e9:.1f}"
        yield f"{k.nbytes / k.seconds / 1e9:.1f}"
        yield f"{100 * k.share:.0f}"
    yield k.bound


def roofline(
    program: Program,
    times: KernelTimes,
    limits: Limits,
    inputs: Sequence[Array],
    sizes: Mapping[str, int],
    given: bool,
) -> Roofline:
    """Kernels with their times, beside what the machine can do."""
    fastest = times.seconds.min(axis=0)
    kernels = [
        _placed(kernel, float(seconds), times.clock, limits, sizes)
        for kernel, seconds in zip(program.kernels, fastest, strict=True)
    ]
    shapes = [
        f"{b.name} {a.dtype}{list(a.shape)}"
        for b, a in zip(program.inputs, inputs, strict=True)
    ]
    used = {name: sizes[name] for name in program.symbols}
    return Roofline(kernels, limits, given, shapes, used, len(times.seconds), times.clock)


def _placed(
    kernel: Kernel, seconds: float, clock: float, limits: Limits, sizes: Mapping[str, int]
) -> Placed:
    flops, nbytes = evaluate_size(kernel.flops, sizes), evaluate_size(kernel.nbytes, sizes)
    level = limits.level(nbytes)
    computing = flops / limits.flops[_precision(kernel)]
    moving = nbytes / max(level.read, level.triad)
    return Placed(
        kernel.name,
        kernel.label,
        flops,
        nbytes,
        seconds - clock if seconds > CLOCKS * clock else None,
        max(computing, moving),
        "flops" if computing > moving else level.name,
    )


def _precision(kernel: Kernel) -> str:
    """float64 if anything is computed in it, else float32."""
    computed = {s.dtype.name for s in statements(nest_of(kernel)) if isinstance(s, Compute)}
    computed |= {product.dtype.name for product in products_of(kernel)}
    return "float64" if "float64" in computed else "float32"


def sample(name: str, graph: Graph) -> list[Array]:
    """Inputs to measure with: numbers from 0.5 to 1.5, 0 where integers are wanted.

    Raises
    ------
    InputError
        If a size is a symbol.
    """
    open_sizes = [x for x in graph.inputs if not all(isinstance(n, int) for n in x.shape)]
    if open_sizes:
        raise InputError(
            f"{name}: kernels are measured on inputs whose sizes are known",
            where=[f"{x.name}  {x.type}" for x in open_sizes],
            hint="give the arguments of a call: report(measure=(x, ...))",
        )
    rng = np.random.default_rng(0)
    return [
        np.asarray(
            rng.uniform(0.5, 1.5, concrete(x.shape, {})) * x.dtype.is_float, x.dtype.numpy
        )
        for x in graph.inputs
    ]
