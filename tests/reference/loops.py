"""What a `graphc.loops.ir.Program` means, one iteration at a time in NumPy scalars: an oracle.

Slow on purpose: nothing here is vectorised, reordered or split into blocks. Scalar sums and
products of floats are kept in extended precision, so that they err less than what is tested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphc.loops import ir
from graphc.types import evaluate_size, product

_UNARY = (
    "abs exp exp2 expm1 log log2 log10 log1p sqrt sin cos tan sinh cosh tanh floor ceil trunc "
    "square reciprocal isnan isinf isfinite signbit sign logical_not positive"
)
_BINARY = (
    "maximum minimum equal not_equal less less_equal greater greater_equal logical_and "
    "logical_or logical_xor copysign nextafter"
)

OPERATIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in (*_UNARY.split(), *_BINARY.split())},
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "neg": np.negative,
    "pow": np.power,
    "where": np.where,
    "fma": lambda a, b, c: a * b + c,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}

_COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "sum": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "any": np.logical_or,
    "all": np.logical_and,
}


def identity(kind: str, dtype: np.dtype[Any]) -> Any:
    """The value of an accumulator before anything was added."""
    if kind in ("sum", "any"):
        return dtype.type(0)
    if kind in ("prod", "all"):
        return dtype.type(1)
    largest = kind in ("min", "argmin")
    if dtype.kind == "f":
        return dtype.type(np.inf if largest else -np.inf)
    if dtype.kind == "b":
        return np.bool_(largest)
    return dtype.type(np.iinfo(dtype).max if largest else np.iinfo(dtype).min)


class Evaluator:
    """One run of a program. ``memory`` holds a flat array for every buffer, by name."""

    def __init__(
        self, program: ir.Program, sizes: Mapping[str, int], arrays: Mapping[str, Any]
    ) -> None:
        self.program = program
        self.sizes = dict(sizes)
        self.memory = {name: array.reshape(-1) for name, array in arrays.items()}
        for buffer in program.constants:
            self.memory[buffer.name] = np.frombuffer(buffer.value or b"", buffer.dtype.numpy)
        self.status = 0

    def run(self) -> int:
        """Run all kernels (in ``memory``); the status."""
        with np.errstate(all="ignore"):
            for number, kernel in enumerate(self.program.kernels):
                self.kernel(kernel)
                if self.status and number < self.program.commit:
                    return self.status
        return self.status

    def size(self, size: Any) -> int:
        return evaluate_size(size, self.sizes)

    def array(self, buffer: ir.Buffer) -> Any:
        """A buffer's memory; workspace and rows come into being at their first use."""
        if buffer.name not in self.memory:
            count = self.size(product(buffer.shape))
            self.memory[buffer.name] = np.zeros(count, buffer.dtype.numpy)
        return self.memory[buffer.name]

    def kernel(self, kernel: ir.Kernel) -> None:
        if isinstance(kernel, ir.LoopKernel):
            self.run_body(kernel.body, {}, {})
        elif isinstance(kernel, ir.BandKernel):
            for part in (kernel.rows, kernel.nest, kernel.total):
                self.kernel(part)
        else:
            self.contraction(kernel)
            if kernel.epilogue is not None:
                self.finish(kernel.epilogue, self.array(kernel.out.buffer))

    def finish(self, epilogue: ir.Epilogue, out: Any) -> None:
        self.memory[epilogue.result.name] = out if epilogue.keeps else out.copy()
        if not epilogue.keeps:
            out.fill(np.nan)
        self.run_body(epilogue.body, {}, {})

    def contraction(self, k: ir.ContractionKernel) -> None:
        shape = tuple(map(self.size, k.batch_shape))
        for position in np.ndindex(*shape):
            views = [self.matrix(o, position, r, c) for o, r, c in (
                (k.a, k.m, k.k), (k.b, k.k, k.n), (k.out, k.m, k.n))]  # fmt: skip
            a, b, out = views
            result = self.values(k.a, a) @ self.values(k.b, b)
            target = self.array(k.out.buffer)
            target[out] = target[out] + result if k.accumulate else result

    def values(self, o: ir.Operand, places: Any) -> Any:
        """The elements at flat indices, of which there may be none."""
        array = self.array(o.buffer)
        return array[places] if places.size else np.zeros(places.shape, array.dtype)

    def matrix(self, o: ir.Operand, position: tuple[int, ...], rows: Any, columns: Any) -> Any:
        """Flat indices of a matrix."""
        start = self.size(o.offset) + sum(
            p * self.size(s) for p, s in zip(position, o.batch, strict=True)
        )
        i, j = np.arange(self.size(rows)), np.arange(self.size(columns))
        return start + i[:, None] * self.size(o.row) + j[None, :] * self.size(o.column)

    def index(self, index: ir.Index, env: Mapping[str, Any]) -> int:
        total = self.size(index.offset)
        return total + sum(int(env[name]) * self.size(stride) for name, stride in index.terms)

    def run_body(self, body: Any, env: dict[str, Any], running: dict[str, Any]) -> None:
        """Statements in order; ``running`` are the accumulators of enclosing loops."""
        for statement in body:
            _MEANING[type(statement)](self, statement, env, running)

    def const(self, s: ir.Const, env: dict[str, Any], running: dict[str, Any]) -> None:
        env[s.name] = s.dtype.numpy.type(s.value)

    def position(self, s: ir.Position, env: dict[str, Any], running: Any) -> None:
        env[s.name] = np.int64(self.index(s.index, env))

    def load(self, s: ir.Load, env: dict[str, Any], running: Any) -> None:
        where = self.index(s.index, env)
        assert where >= 0, f"{s} reads in front of its buffer"
        env[s.name] = self.array(s.buffer)[where]

    def compute(self, s: ir.Compute, env: dict[str, Any], running: Any) -> None:
        args = [env[a] for a in s.args]
        result = args[0] if s.op == "cast" else OPERATIONS[s.op](*args)
        env[s.name] = np.asarray(result).astype(s.dtype.numpy)[()]

    def checked_index(self, s: ir.CheckedIndex, env: dict[str, Any], running: Any) -> None:
        size, value = self.size(s.size), int(env[s.arg])
        good = -size <= value < size
        if not good:
            self.status = ir.INDEX_ERROR
        env[s.name] = np.int64(value % size if good else 0)

    def store(self, s: ir.Store, env: dict[str, Any], running: Any) -> None:
        where = self.index(s.index, env)
        assert where >= 0, f"{s} writes in front of its buffer"
        target = self.array(s.buffer)
        target[where] = target[where] + env[s.value] if s.add else env[s.value]

    def accumulate(self, s: ir.Accumulate, env: dict[str, Any], running: Any) -> None:
        a: ir.Accumulator = running[s.accumulator]
        value = env[s.value]
        if a.shape:
            assert a.target is not None
            assert s.index is not None
            target, where = self.array(a.target), self.index(s.index, env)
            target[where] = _COMBINE[a.kind](target[where], value)
        elif a.kind in ("argmax", "argmin"):
            assert s.position is not None
            self.keep_best(a, value, env[s.position], env)
        else:
            total = _COMBINE[a.kind](env["value of " + a.name], value)
            env["value of " + a.name], env[a.name] = total, a.dtype.numpy.type(total)

    def keep_best(self, a: ir.Accumulator, value: Any, position: Any, env: Any) -> None:
        best = env["value of " + a.name]
        better = value > best if a.kind == "argmax" else value < best
        if better or (value != value and best == best):
            env["value of " + a.name], env[a.name] = value, np.int64(position)

    def loop(self, s: ir.Loop, env: dict[str, Any], running: dict[str, Any]) -> None:
        inner = {**running, **{a.name: a for a in s.accumulators}}
        for a in s.accumulators:
            start = identity(a.kind, a.dtype.numpy)
            if a.shape:
                assert a.target is not None
                assert s.parallel
                self.array(a.target)[:] = start
            else:
                exact = np.longdouble(start) if a.dtype.is_float else start
                keeps_position = a.kind in ("argmax", "argmin")
                env["value of " + a.name] = start if keeps_position else exact
                env[a.name] = np.int64(0) if keeps_position else start
        for number in range(self.size(s.extent)):
            env[s.var] = np.int64(number)
            self.run_body(s.body, env, inner)


_MEANING: dict[type, Callable[..., None]] = {
    ir.Const: Evaluator.const,
    ir.Position: Evaluator.position,
    ir.Load: Evaluator.load,
    ir.Compute: Evaluator.compute,
    ir.CheckedIndex: Evaluator.checked_index,
    ir.Store: Evaluator.store,
    ir.Accumulate: Evaluator.accumulate,
    ir.Loop: Evaluator.loop,
}


def evaluate(
    program: ir.Program, sizes: Mapping[str, int], arrays: Mapping[str, Any]
) -> tuple[int, dict[str, Any]]:
    """Run a program on copies of the arrays of its inputs, outputs and parameters, by name.

    Returns the status and the arrays afterwards.
    """
    copies = {name: np.array(array, order="C") for name, array in arrays.items()}
    status = Evaluator(program, sizes, copies).run()
    return status, copies
