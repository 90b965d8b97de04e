"""Random loop programs whose results do not depend on rounding: small whole numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from graphc.loops.ir import (
    Accumulate,
    Accumulator,
    Buffer,
    Compute,
    Const,
    Index,
    Load,
    Loop,
    LoopKernel,
    Position,
    Program,
    Statement,
    Store,
)
from graphc.types import (
    DType,
    Shape,
    Size,
    bool_,
    float32,
    float64,
    int32,
    int64,
    product,
    symbol,
    uint8,
)

TYPES = (float32, float64, int32, int64, bool_, uint8)
_BINARY = ("add", "sub", "maximum", "minimum")
_HEAVY = 1 << 13


@dataclass
class Scope:
    """What is visible at a place: loop variables with their extents, values, accumulators."""

    loops: tuple[tuple[str, Size], ...] = ()
    values: dict[str, DType] = field(default_factory=dict)
    accumulators: tuple[Accumulator, ...] = ()
    vector: bool = False


class Generator:
    """Writes one program. All names differ; every store has an element of its own."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.count = 0
        self.inputs: list[Buffer] = []
        self.outputs: list[Buffer] = []
        self.partials: list[Buffer] = []
        n = symbol("n")
        self.extents: tuple[Size, ...] = (n, n, n + 1, 3)

    def name(self, hint: str) -> str:
        self.count += 1
        return f"{hint}{self.count}"

    def program(self) -> Program:
        """One to three kernels."""
        kernels = []
        for number in range(self.random.randint(1, 3)):
            kernels.append(LoopKernel(f"k{number}", self.top()))
        offsets: list[tuple[Buffer, Size]] = []
        end: Size = 0
        for buffer in self.partials:
            offsets.append((buffer, end))
            end = end + (product(buffer.shape) * buffer.dtype.itemsize + 63) // 64 * 64
        return Program(
            ("n",), tuple(self.inputs), tuple(self.outputs), (), (), tuple(kernels),
            len(kernels), tuple(offsets), end,
        )  # fmt: skip

    def top(self) -> tuple[Statement, ...]:
        """A kernel: values, a loop that may be parallel, and what follows from it."""
        scope = Scope()
        before = [s for _ in range(2) for s in self.value(scope)]
        loop = self.loop(scope, parallel=self.random.random() < 0.6)
        after = [s for _ in range(2) for s in (*self.value(scope), *self.store(scope))]
        return (*before, loop, *after)

    def body(self, scope: Scope, depth: int) -> list[Statement]:
        out: list[Statement] = self.value(scope)
        for _ in range(self.random.randint(2, 5)):
            choice = self.random.random()
            if choice < 0.5:
                out += self.value(scope)
            elif choice < 0.65:
                out += self.store(scope)
            elif choice < 0.8:
                out += self.accumulate(scope)
            elif depth < 3:
                out.append(self.loop(scope))
        return out + self.store(scope)

    def loop(self, scope: Scope, parallel: bool = False) -> Loop:
        """A loop; what it accumulates is visible in ``scope`` afterwards."""
        kind = "serial" if scope.vector else self.random.choice(("serial", "vector"))
        few = self.extents[:4] if len(scope.loops) < 2 else (3,)
        var, extent = self.name("i"), self.random.choice((*few, 17 if not scope.loops else 2))
        made = [self.accumulator() for _ in range(self.random.randint(0, 2))]
        inner = Scope(
            (*scope.loops, (var, extent)),
            dict(scope.values),
            (*scope.accumulators, *made),
            scope.vector or kind == "vector",
        )
        running = [a for a in made if kind == "serial" and not parallel and a.kind == "sum"]
        inner.values.update({a.name: a.dtype for a in running})
        if kind == "vector":
            for a in scope.accumulators:
                inner.values.pop(a.name, None)
        body = self.body(inner, len(inner.loops))
        for a in made:
            body += self.finish(a, inner, var)
        scope.values.update({a.name: self.result(a) for a in made})
        if parallel and kind == "serial":
            arrays, extra = self.arrays(inner)
            made, body = made + arrays, body + extra
        work = _HEAVY if parallel else 1
        return Loop(var, extent, kind, tuple(body), tuple(made), parallel, work)

    def arrays(self, scope: Scope) -> tuple[list[Accumulator], list[Statement]]:
        """An array accumulator of a parallel loop, and a loop that fills it."""
        var, extent = self.name("j"), self.random.choice(self.extents)
        dtype = self.random.choice((float32, float64, int32))
        kind = self.random.choice(("sum", "max", "min"))
        target = self.buffer("t", dtype, (extent,), self.outputs, "output")
        copies = self.buffer("c", dtype, (16, extent), self.partials, "workspace")
        a = Accumulator(self.name("a"), kind, dtype, (extent,), target, copies)
        inner = Scope((*scope.loops, (var, extent)), {}, (), True)
        load = self.load(inner, dtype)
        add = Accumulate(a.name, load.name, Index(((var, 1),)))
        return [a], [Loop(var, extent, "vector", (load, add))]

    def accumulator(self) -> Accumulator:
        kind = self.random.choice(
            ("sum", "sum", "max", "min", "argmax", "argmin", "any", "all")
        )
        numbers = (float32, float64, int32, int64)
        dtype = bool_ if kind in ("any", "all") else self.random.choice(numbers)
        return Accumulator(self.name("a"), kind, dtype)

    def result(self, a: Accumulator) -> DType:
        return int64 if a.kind.startswith("arg") else a.dtype

    def finish(self, a: Accumulator, scope: Scope, var: str) -> list[Statement]:
        """At least one value for each accumulator."""
        load = self.load(scope, a.dtype)
        if not a.kind.startswith("arg"):
            return [load, Accumulate(a.name, load.name)]
        position = Position(self.name("p"), Index(((var, 1),)))
        return [load, position, Accumulate(a.name, load.name, position=position.name)]

    def accumulate(self, scope: Scope) -> list[Statement]:
        """A value of this scope added to an accumulator around it."""
        fitting = [
            (a, v)
            for a in scope.accumulators
            for v, t in scope.values.items()
            if t == a.dtype and v != a.name and not a.kind.startswith("arg")
        ]
        if not fitting:
            return []
        a, value = self.random.choice(fitting)
        # A running value that is added to itself grows beyond what is exact.
        if any(value == other.name for other in scope.accumulators):
            return []
        return [Accumulate(a.name, value)]

    def buffer(
        self, hint: str, dtype: DType, shape: Shape, among: list[Buffer], kind: str
    ) -> Buffer:
        buffer = Buffer(self.name(hint), dtype, shape, kind)  # type: ignore[arg-type]
        among.append(buffer)
        return buffer

    def index(self, loops: tuple[tuple[str, Size], ...]) -> tuple[Shape, Index]:
        """A tensor with an axis for each loop in any order, some of them backwards."""
        axes = list(loops)
        self.random.shuffle(axes)
        stride: Size = 1
        offset: Size = 0
        terms = []
        for var, extent in reversed(axes):
            backwards = self.random.random() < 0.25
            terms.append((var, -1 * stride if backwards else stride))
            offset = offset + ((extent - 1) * stride if backwards else 0)
            stride = stride * extent
        return tuple(e for _, e in axes), Index(tuple(terms), offset)

    def load(self, scope: Scope, dtype: DType) -> Load:
        count = self.random.randint(0, len(scope.loops))
        shape, index = self.index(tuple(self.random.sample(scope.loops, count)))
        buffer = self.buffer("x", dtype, shape, self.inputs, "input")
        load = Load(self.name("v"), buffer, index)
        scope.values[load.name] = dtype
        return load

    def store(self, scope: Scope) -> list[Statement]:
        if not scope.values:
            return []
        name = self.random.choice(list(scope.values))
        shape, index = self.index(scope.loops)
        buffer = self.buffer("y", scope.values[name], shape, self.outputs, "output")
        return [Store(buffer, index, name)]

    def value(self, scope: Scope) -> list[Statement]:
        """A new value: loaded, computed, a position, a number."""
        choice = self.random.random()
        if choice < 0.35 or not scope.values:
            return [self.load(scope, self.random.choice(TYPES))]
        if choice < 0.45:
            const = Const(self.name("v"), self.random.choice((float32, int32)), 2)
            scope.values[const.name] = const.dtype
            return [const]
        if choice < 0.55:
            return [self.position(scope)]
        return [self.compute(scope)]

    def position(self, scope: Scope) -> Statement:
        terms = tuple((v, self.random.choice((1, 2, -1, symbol("n")))) for v, _ in scope.loops)
        position = Position(self.name("v"), Index(terms, 5))
        scope.values[position.name] = int64
        return position

    def compute(self, scope: Scope) -> Statement:
        a, dtype = self.random.choice(list(scope.values.items()))
        same = [v for v, t in scope.values.items() if t == dtype]
        b = self.random.choice(same)
        masks = [v for v, t in scope.values.items() if t == bool_]
        name, choice = self.name("v"), self.random.random()
        if choice < 0.2:
            to = self.random.choice((float32, float64, int64))
            made = Compute(name, "cast", (a,), to)
        elif choice < 0.4:
            made = Compute(name, "less", (a, b), bool_)
        elif choice < 0.6 and masks:
            made = Compute(name, "where", (self.random.choice(masks), a, b), dtype)
        elif dtype == bool_:
            made = Compute(name, "logical_xor", (a, b), dtype)
        else:
            made = Compute(name, self.random.choice(_BINARY), (a, b), dtype)
        scope.values[name] = made.dtype
        return made
