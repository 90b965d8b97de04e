"""From a group of nodes to one loop nest.

Values are emitted at the outermost loop where all they depend on is known, so what does not
change inside a loop is computed outside it. Rows are passed over in phases: a phase needs
row reductions of the phases before it. A value of an earlier phase is computed again if that
is cheap, read back if it is stored anyway, and kept in row memory otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from graphc.expr import Expr, constant_value
from graphc.loops.access import VIEWS, contiguous, only_ones, resolve
from graphc.loops.fuse import REDUCTIONS, Fusion, Group, is_scalar_constant
from graphc.loops.ir import (
    BLOCK_WORK,
    MAX_ARRAY_BLOCKS,
    Accumulate,
    Accumulator,
    AccumulatorKind,
    Buffer,
    CheckedIndex,
    Compute,
    Const,
    Index,
    Load,
    Loop,
    LoopKernel,
    Name,
    Position,
    Statement,
    Store,
)
from graphc.types import DType, Size, bool_, int64, product, same_size

#: Row values of earlier phases that cost more flops than this are kept in row memory.
SPILL_COST = 6
#: Sizes that are not numbers count as this many when loops are weighed against each other.
TYPICAL_SIZE = 64

Indices = tuple[Index, ...]
ZERO = Index()


@dataclass
class _Level:
    """A loop under construction: its statements and the values known inside it."""

    axis: int | None
    var: Name
    body: list[Statement] = field(default_factory=list)
    values: dict[object, Name] = field(default_factory=dict)
    accumulators: list[Accumulator] = field(default_factory=list)
    last: list[Statement] = field(default_factory=list)  # behind the body
    after: list[Statement] = field(default_factory=list)  # in the loop around, behind this one


def build_nest(
    group: Group, fusion: Fusion, buffer_of: Callable[[Expr], Buffer], name: str
) -> LoopKernel:
    """The kernel that computes a group, with adjacent loops joined where memory allows."""
    draft = _Nest(group, fusion, buffer_of, {}, name)
    kernel = draft.build()
    joined = draft.joinable()
    return _Nest(group, fusion, buffer_of, joined, name).build() if joined else kernel


class _Nest:
    def __init__(
        self,
        group: Group,
        fusion: Fusion,
        buffer_of: Callable[[Expr], Buffer],
        joined: dict[int, int],
        name: str,
    ) -> None:
        """``joined`` maps a space axis to the next inner one that its loop is merged into."""
        self.group = group
        self.fusion = fusion
        self.buffer_of = buffer_of
        self.joined = joined
        self.name = name
        self.members = set(group.nodes)
        self.row = group.row or frozenset()
        self.outer = [a for a in group.order() if a not in self.row and a not in joined]
        self.inner = [a for a in group.order() if a in self.row and a not in joined]
        self.vector_axis = self.choose_vector_axis()
        self.levels: list[_Level] = [_Level(None, "")]
        self.level_of: dict[Name, int] = {}
        self.indices: list[tuple[Index, bool]] = []
        self.spilled: dict[Expr, Buffer] = {}
        self.phase_of = self.find_phases()
        self.count = 0
        self.suffix: list[Statement] = []
        self.flops: Size = 0
        self.touched: dict[Buffer, Size] = {}

    # schedule ---------------------------------------------------------------------------------

    def choose_vector_axis(self) -> int | None:
        """The innermost loop, unless rows run down columns: then the last outer axis."""
        if not self.inner:
            return self.outer[-1] if self.outer else None
        last = len(self.group.space) - 1
        return self.inner[-1] if last in self.row or not self.outer else self.outer[-1]

    @property
    def row_vector(self) -> bool:
        return self.vector_axis in self.inner

    def extent(self, axis: int) -> Size:
        size = self.group.space[axis]
        for outer in sorted(self.joined, reverse=True):
            if self._target(outer) == axis:
                size = size * self.group.space[outer]
        return size

    def _target(self, axis: int) -> int:
        while axis in self.joined:
            axis = self.joined[axis]
        return axis

    def find_phases(self) -> dict[Expr, int]:
        """For each member the number of row reductions it has to wait for."""
        phase: dict[Expr, int] = {}
        for node in self.group.nodes:
            waits = 0
            for x in self.operands(node):
                finished = x in self.group.reduced and self.group.is_row(x)
                picked = node.op.name == "gather" and x is node.args[0]
                waits = max(waits, phase[x] + (1 if finished or picked else 0))
            phase[node] = waits
        return phase

    def operands(self, node: Expr) -> list[Expr]:
        """Members that a node reads, through views and through values computed again."""
        found, pending = [], list(node.args)
        while pending:
            x = pending.pop()
            if x in self.members and x is not node and not self.is_finished_elsewhere(x):
                found.append(x)
            elif x not in self.members and not self.fusion.owns_memory(x):
                pending.extend(x.args)
        return found

    def is_finished_elsewhere(self, x: Expr) -> bool:
        return x in self.group.reduced and not self.group.is_row(x)

    # building ---------------------------------------------------------------------------------

    def build(self) -> LoopKernel:
        for axis in self.outer:
            self.levels.append(_Level(axis, f"i{axis}"))
        self.plan_spills()
        phases = max(self.phase_of.values(), default=0) + 1
        for phase in range(phases):
            self.build_phase(phase)
        while len(self.levels) > 1:
            self.close_loop()
        body = (*self.levels[0].body, *self.levels[0].last, *self.suffix)
        return LoopKernel(
            self.name,
            tuple(body),
            _label(self.group),
            self.flops,
            sum(self.touched.values(), start=0),
        )

    def build_phase(self, phase: int) -> None:
        """One pass over the row (or the only pass): what this phase finishes or stores."""
        for axis in self.inner:
            self.levels.append(_Level(axis, f"r{axis}p{phase}"))
        self.finished: list[tuple[Expr, Name]] = []
        for node in self.group.nodes:
            if self.phase_of[node] == phase and self.is_needed(node):
                self.produce(node)
        for _ in self.inner:
            self.close_loop()
        for node, name in self.finished:
            self.remember(node, name, len(self.levels) - 1)
            if node in self.fusion.stored:
                self.store(node, name)

    def is_needed(self, node: Expr) -> bool:
        return node in self.group.reduced or node in self.fusion.stored or node in self.spilled

    def produce(self, node: Expr) -> None:
        if node in self.group.reduced:
            self.reduce(node)
            return
        name = self.value(node, self.canonical(node))
        if node in self.fusion.stored:
            self.store(node, name)
        elif node in self.spilled:
            buffer, index = self.spilled[node], self.row_index(node)
            level = self.deepest([name, *(var for var, _ in index.terms)])
            self.append(Store(buffer, index, name), level)

    def close_loop(self) -> None:
        level = self.levels.pop()
        level.body += level.last
        if not level.body:
            return
        assert level.axis is not None
        outermost = len(self.levels) == 1
        extent = self.extent(level.axis)
        work = _weight([self.extent(a) for a in (*self.outer, *self.inner)][1:])
        work *= max(1, self.group.cost)
        arrays = any(a.shape for a in level.accumulators)
        heavy = not isinstance(extent, int) or extent * work >= 2 * BLOCK_WORK
        kind = "vector" if level.axis == self.vector_axis else "serial"
        self.levels[-1].body.append(
            Loop(
                level.var,
                extent,
                kind,  # type: ignore[arg-type]
                tuple(level.body),
                tuple(level.accumulators),
                parallel=outermost and (heavy or arrays),
                work=work,
            )
        )
        self.levels[-1].body += level.after

    # spills -----------------------------------------------------------------------------------

    def plan_spills(self) -> None:
        """Find row values that a later phase needs and that are too costly to compute again."""
        if not self.row_vector:
            return
        for node in self.group.nodes:
            for x in self.operands(node):
                if self.phase_of[x] < self.phase_of[node] and self.is_inner(x):
                    self.consider_spill(x)

    def is_inner(self, node: Expr) -> bool:
        return node not in self.group.reduced and any(
            a in self.row for a in self.group.axes[node] if a is not None
        )

    def consider_spill(self, x: Expr) -> None:
        if x in self.fusion.stored or x in self.spilled:
            return
        if self.cost(x) <= SPILL_COST:
            return
        shape = tuple(self.extent(a) for a in self.inner)
        name = f"{self.name}_row{len(self.spilled)}"
        self.spilled[x] = Buffer(name, x.dtype, shape, "row")

    def cost(self, x: Expr) -> int:
        total, pending, seen = 0, [x], set()
        while pending and total <= SPILL_COST:
            y = pending.pop()
            if y in seen or y not in self.members or y in self.group.reduced:
                continue
            seen.add(y)
            total += y.op.cost
            pending.extend(self.operands(y))
        return total

    def row_index(self, node: Expr) -> Index:
        strides = contiguous(tuple(self.extent(a) for a in self.inner))
        prefix = {a: level.var for level in self.levels for a in [level.axis] if a is not None}
        terms = [
            (prefix[a], s)
            for a, s in zip(self.inner, strides, strict=True)
            if not same_size(s, 0)
        ]
        return Index(tuple(terms))

    # values -----------------------------------------------------------------------------------

    def canonical(self, node: Expr) -> Indices:
        """The index of a member's element at the current point of the space."""
        return tuple(self.axis_index(a) for a in self.group.axes[node])

    def axis_index(self, axis: int | None) -> Index:
        if axis is None or axis in self.joined:
            return ZERO
        for level in self.levels:
            if level.axis == axis:
                return Index(((level.var, 1),))
        return ZERO  # a finished reduction's axis

    def value(self, node: Expr, index: Indices) -> Name:
        """The name that holds a node's element, emitting what is missing on an explicit stack."""
        stack: list[tuple[Expr, Indices]] = [(node, index)]
        while stack:
            top, at = stack[-1]
            if self.known(top, at) is not None:
                stack.pop()
                continue
            missing = [(x, i) for x, i in self.reads(top, at) if self.known(x, i) is None]
            if missing:
                stack.extend(missing)
            else:
                self.emit(top, at)
                stack.pop()
        name = self.known(node, index)
        assert name is not None
        return name

    def known(self, node: Expr, index: Indices) -> Name | None:
        key = (node, index)
        for level in reversed(self.levels):
            if key in level.values:
                return level.values[key]
        return None

    def remember(self, node: Expr, name: Name, level: int) -> None:
        self.level_of[name] = level
        self.levels[level].values[(node, self.canonical(node))] = name

    def in_memory(self, node: Expr) -> bool:
        """Whether a node is read from a buffer at this point."""
        if not self.fusion.owns_memory(node):
            return False
        if node not in self.members:
            return True
        return self.is_finished_elsewhere(node) or self.phase_of[node] < self.phase

    @property
    def phase(self) -> int:
        for level in self.levels:
            if level.axis in self.row and "p" in level.var:
                return int(level.var.rpartition("p")[2])
        return 0

    def reads(self, node: Expr, at: Indices) -> list[tuple[Expr, Indices]]:
        """Operands, each with the index at which the node's element reads it."""
        if self.in_memory(node) or (node in self.spilled and self.phase_of[node] < self.phase):
            return []
        if node.op.name in VIEWS:
            return self.reads_view(node, at)
        if node.op.name == "gather":
            return [(node.args[1], at)]
        if node.op.name in REDUCTIONS:
            return [(node.args[0], _of_single(node, at))]
        return [(x, _broadcast(x, at)) for x in node.args]

    def reads_view(self, node: Expr, at: Indices) -> list[tuple[Expr, Indices]]:
        access = resolve(node, self.fusion.owns_memory)
        if (
            (access is not None
            and self.in_memory(access.base))
            or _constant_base(node) is not None
        ):
            return []
        return [(node.args[0], _through(node, at))]

    def emit(self, node: Expr, at: Indices) -> None:
        name = self.emit_value(node, at)
        self.levels[self.level_of[name]].values[(node, at)] = name

    def emit_value(self, node: Expr, at: Indices) -> Name:
        if node in self.spilled and self.phase_of[node] < self.phase:
            return self.load(self.spilled[node], self.row_index(node))
        if self.in_memory(node):
            return self.load(self.buffer_of(node), _flat(at, contiguous(node.shape)))
        if is_scalar_constant(node):
            value = constant_value(node)
            assert value is not None
            return self.assign(lambda n: Const(n, node.dtype, value.reshape(-1)[0].item()), [])
        if node.op.name == "iota":
            return self.position(at[node.attrs["axis"]], node.dtype)
        if node.op.name == "size":
            return self.position(Index((), node.attrs["size"]), node.dtype)
        if node.op.name in VIEWS:
            return self.emit_view(node, at)
        if node.op.name == "gather":
            return self.emit_gather(node, at)
        if node.op.name == "copy":
            return self.value(node.args[0], at)
        if node.op.name in REDUCTIONS:
            return self.emit_single(node, at)
        names = [self.value(x, i) for x, i in self.reads(node, at)]
        self.flops = self.flops + node.op.cost * product(self.extents_of(names))
        return self.assign(lambda n: Compute(n, node.op.name, tuple(names), node.dtype), names)

    def extents_of(self, names: Sequence[Name]) -> list[Size]:
        deepest = self.deepest(names)
        return [self.extent(v.axis) for v in self.levels[1 : deepest + 1] if v.axis is not None]

    def emit_view(self, node: Expr, at: Indices) -> Name:
        inner = self.reads_view(node, at)
        if inner:
            return self.value(*inner[0])
        constant = _constant_base(node)
        if constant is not None:
            return self.emit_value(constant, ())
        access = resolve(node, self.fusion.owns_memory)
        assert access is not None
        return self.load(self.buffer_of(access.base), _flat(at, access.strides, access.offset))

    def emit_gather(self, node: Expr, at: Indices) -> Name:
        source, index = node.args
        access = resolve(source, self.fusion.owns_memory)
        assert access is not None
        axis = node.attrs["axis"]
        raw = self.value(index, at)
        if index.dtype != int64:
            narrow = raw
            raw = self.assign(lambda n: Compute(n, "cast", (narrow,), int64), [narrow])
        size = source.shape[axis]
        if not node.attrs.get("wrap", True):
            raw = self.not_negative(raw, size)
        checked = self.assign(lambda n: CheckedIndex(n, raw, size), [raw])
        place = tuple(Index(((checked, 1),)) if a == axis else i for a, i in enumerate(at))
        return self.load(
            self.buffer_of(access.base), _flat(place, access.strides, access.offset)
        )

    def not_negative(self, raw: Name, size: Size) -> Name:
        """An index that is outside its axis if it is negative."""
        zero = self.assign(lambda n: Const(n, int64, 0), [])
        outside = self.position(Index((), size), int64)
        names = [raw, zero]
        low = self.assign(lambda n: Compute(n, "less", (raw, zero), bool_), names)
        names = [low, outside, raw]
        return self.assign(lambda n: Compute(n, "where", tuple(names), int64), names)

    def emit_single(self, node: Expr, at: Indices) -> Name:
        """A reduction over axes of size 1: the element itself."""
        assert node not in self.group.reduced
        if node.op.name in ("argmax", "argmin"):
            return self.assign(lambda n: Const(n, int64, 0), [])
        return self.value(node.args[0], _of_single(node, at))

    def position(self, index: Index, dtype: DType) -> Name:
        self.indices.append((index, True))
        name = self.assign(lambda n: Position(n, index), [t for t, _ in index.terms])
        if dtype == int64:
            return name
        return self.assign(lambda n: Compute(n, "cast", (name,), dtype), [name])

    def load(self, buffer: Buffer, index: Index) -> Name:
        self.indices.append((index, False))
        self.touch(buffer)
        return self.assign(lambda n: Load(n, buffer, index), [t for t, _ in index.terms])

    def assign(
        self,
        make: Callable[[Name], Statement],
        uses: Sequence[Name],
    ) -> Name:
        self.count += 1
        name = f"v{self.count}"
        level = self.deepest(uses)
        self.levels[level].body.append(make(name))
        self.level_of[name] = level
        return name

    def deepest(self, names: Sequence[Name]) -> int:
        """The innermost level that some name belongs to."""
        found = 0
        for name in names:
            if name in self.level_of:
                found = max(found, self.level_of[name])
            else:
                found = max(found, next(i for i, v in enumerate(self.levels) if v.var == name))
        return found

    def append(self, statement: Statement, level: int) -> None:
        self.levels[level].body.append(statement)

    def touch(self, buffer: Buffer) -> None:
        if buffer.kind != "row":
            self.touched[buffer] = product(buffer.shape) * buffer.dtype.itemsize

    # effects ----------------------------------------------------------------------------------

    def store(self, node: Expr, name: Name) -> None:
        buffer = self.buffer_of(node)
        index = _flat(self.canonical(node), contiguous(node.shape))
        self.indices.append((index, False))
        self.touch(buffer)
        level = max(self.deepest([name]), self.deepest([t for t, _ in index.terms]))
        if level == 0 and len(self.levels) > 1:
            self.suffix.append(Store(buffer, index, name))
        elif buffer.kind == "parameter":  # whoever reads it here means the old value
            self.levels[level].last.append(Store(buffer, index, name))
        else:
            self.append(Store(buffer, index, name), level)

    def reduce(self, node: Expr) -> None:
        """Accumulate an operand through the loops that the reduction runs over."""
        operand = node.args[0]
        at = self.operand_index(node)
        value = self.value(operand, at)
        over = self.group.reduced[node]
        kind: AccumulatorKind = node.op.name  # type: ignore[assignment]
        position = None
        if kind in ("argmax", "argmin"):
            (axis,) = (a for a in over)
            position = self.position(self.axis_index(axis), int64)
        self.flops = self.flops + product(self.extents_of([value]))
        self.chain(node, kind, value, position)

    def operand_index(self, node: Expr) -> Indices:
        """Where a reduction's operand is read: the space axis behind each of its axes."""
        operand = node.args[0]
        if operand in self.group.axes:
            return self.canonical(operand)
        kept = iter(self.group.axes[node])
        over = iter(sorted(self.group.reduced[node]))
        axes: list[int | None] = []
        for a, size in enumerate(operand.shape):
            if a in node.attrs["axes"]:
                if node.attrs["keepdims"]:
                    next(kept)
                axes.append(None if same_size(size, 1) else next(over))
            else:
                axes.append(next(kept))
        return tuple(self.axis_index(a) for a in axes)

    def chain(
        self, node: Expr, kind: AccumulatorKind, value: Name, position: Name | None
    ) -> None:
        """One accumulator for each reduced loop, from the innermost outwards.

        Where a loop is met that the result keeps, the rest is an array accumulator of the
        outermost loop.
        """
        dtype = node.args[0].dtype
        reduced = {self._target(a) for a in self.group.reduced[node]}
        kept = {self._target(a) for a in self.group.axes[node] if a is not None}
        row = self.group.is_row(node)
        loops = [
            i
            for i, v in enumerate(self.levels)
            if v.axis in (reduced if row else reduced | kept)
        ]
        target = self.levels[loops[-1]].body
        while loops:
            level = self.levels[loops[-1]]
            if level.axis in kept:
                self.accumulate_array(node, kind, value, target)
                return
            self.count += 1
            name = f"a{self.count}"
            level.accumulators.append(Accumulator(name, kind, dtype))
            target.append(Accumulate(name, value, None, position))
            self.level_of[name] = loops.pop() - 1
            value, target = name, level.after
        self.finish(node, value, row)

    def finish(self, node: Expr, name: Name, row: bool) -> None:
        if row:
            self.finished.append((node, name))
        elif node in self.fusion.stored:
            self.suffix.append(Store(self.buffer_of(node), ZERO, name))
            self.touch(self.buffer_of(node))

    def accumulate_array(
        self, node: Expr, kind: AccumulatorKind, value: Name, place: list[Statement]
    ) -> None:
        """Accumulate into an array that the outermost loop owns."""
        target = self.buffer_of(node)
        index = _flat(self.canonical(node), contiguous(node.shape))
        self.indices.append((index, False))
        self.touch(target)
        self.count += 1
        name = f"a{self.count}"
        dtype = node.args[0].dtype
        shape = (MAX_ARRAY_BLOCKS, *node.shape)
        partials = Buffer(f"{self.name}_partials{self.count}", dtype, shape, "workspace")
        accumulator = Accumulator(name, kind, dtype, node.shape, target, partials)
        self.levels[1].accumulators.append(accumulator)
        place.append(Accumulate(name, value, index))

    # joining loops ----------------------------------------------------------------------------

    def joinable(self) -> dict[int, int]:
        """Pairs of adjacent loops that every index steps through as if they were one."""
        joined: dict[int, int] = {}
        for axes in (self.outer, self.inner):
            for outer, inner in zip(axes, axes[1:], strict=False):
                if self._steps_alike(outer, inner):
                    joined[outer] = inner
        return joined

    def _steps_alike(self, outer: int, inner: int) -> bool:
        for reduced in self.group.reduced.values():
            if (outer in reduced) != (inner in reduced):
                return False
        extent = self.group.space[inner]
        for index, exact in self.indices:
            strides = {_axis_of(t): s for t, s in index.terms}
            step, under = strides.get(outer, 0), strides.get(inner, 0)
            if exact and (outer in strides or inner in strides):
                return False
            if not same_size(step, under * extent):
                return False
        return True


def _axis_of(name: Name) -> int:
    """The space axis of a loop variable; -1 for other names."""
    if name[0] not in "ir":
        return -1
    return int(name[1:].partition("p")[0])


def _constant_base(view: Expr) -> Expr | None:
    """The one number that a view repeats."""
    while view.op.name in VIEWS:
        view = view.args[0]
    return view if is_scalar_constant(view) else None


def _broadcast(x: Expr, at: Indices) -> Indices:
    """An element's index in an operand that is broadcast to it."""
    own = at[len(at) - x.ndim :] if x.ndim else ()
    return tuple(ZERO if same_size(s, 1) else i for s, i in zip(x.shape, own, strict=True))


def _of_single(node: Expr, at: Indices) -> Indices:
    """The operand's index for an element of a reduction over axes of size 1."""
    if node.attrs["keepdims"]:
        return at
    kept = iter(at)
    return tuple(
        ZERO if a in node.attrs["axes"] else next(kept) for a in range(node.args[0].ndim)
    )


def _flat(at: Indices, strides: Sequence[Size], offset: Size = 0) -> Index:
    """Position in memory of the element at an index."""
    terms: dict[Name, Size] = {}
    for index, stride in zip(at, strides, strict=True):
        offset = offset + index.offset * stride
        for name, factor in index.terms:
            terms[name] = terms.get(name, 0) + factor * stride
    return Index(tuple((n, s) for n, s in terms.items() if not same_size(s, 0)), offset)


def _scaled(index: Index, step: Size, start: Size) -> Index:
    return Index(tuple((n, f * step) for n, f in index.terms), index.offset * step + start)


def _through(view: Expr, at: Indices) -> Indices:
    """The operand's index for an element of a view."""
    x = view.args[0]
    if view.op.name == "transpose":
        back: list[Index] = [ZERO] * x.ndim
        for place, axis in enumerate(view.attrs["axes"]):
            back[axis] = at[place]
        return tuple(back)
    if view.op.name == "broadcast_to":
        return _broadcast(x, at)
    if view.op.name == "slice":
        return tuple(
            _scaled(i, step, start)
            for i, (start, _, step) in zip(at, view.attrs["ranges"], strict=True)
        )
    assert only_ones(x.shape, view.shape)
    kept = (i for i, s in zip(at, view.shape, strict=True) if not same_size(s, 1))
    return tuple(ZERO if same_size(s, 1) else next(kept) for s in x.shape)


def _weight(sizes: Sequence[Size]) -> int:
    total = 1
    for size in sizes:
        total *= size if isinstance(size, int) else TYPICAL_SIZE
    return max(1, total)


def _label(group: Group) -> str:
    """In words: the scopes and operations a kernel computes."""
    words: dict[str, None] = {}
    for node in group.nodes:
        name = node.scope.name if node.scope else node.op.name
        words[name] = None
    shown = list(words)
    return ", ".join(shown[:6]) + (", ..." if len(shown) > 6 else "")
