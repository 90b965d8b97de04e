"""Values of a loop nest, each emitted at the outermost loop that knows its operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from graphc.expr import Expr, constant_value
from graphc.loops.access import VIEWS, contiguous, resolve
from graphc.loops.group import REDUCTIONS, Fusion, Group, is_position, is_scalar_constant
from graphc.loops.indices import (
    ZERO,
    Indices,
    broadcast_index,
    constant_base,
    flat_index,
    is_inside,
    single_index,
    view_index,
)
from graphc.loops.ir import (
    Accumulator,
    Buffer,
    CheckedIndex,
    Compute,
    Const,
    Index,
    Load,
    Name,
    Position,
    Statement,
)
from graphc.types import DType, Size, bool_, int64, product, same_size


@dataclass
class Level:
    """A loop under construction: its statements and the values known inside it."""

    axis: int | None
    var: Name
    body: list[Statement] = field(default_factory=list)
    values: dict[object, Name] = field(default_factory=dict)
    accumulators: list[Accumulator] = field(default_factory=list)
    last: list[Statement] = field(default_factory=list)  # behind the body
    after: list[Statement] = field(default_factory=list)  # in the loop around, behind this one


class Values:
    """The loops of a group, and the values known in each of them while they are built.

    ``joined`` maps a space axis to the next inner one that its loop is merged into.
    """

    def __init__(
        self,
        group: Group,
        fusion: Fusion,
        buffer_of: Callable[[Expr], Buffer],
        joined: dict[int, int],
        name: str,
    ) -> None:
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
        self.levels: list[Level] = [Level(None, "")]
        self.level_of: dict[Name, int] = {}
        self.indices: list[tuple[Index, bool]] = []
        self.spilled: dict[Expr, Buffer] = {}
        self.phase_of = self.find_phases()
        self.count = 0
        self.suffix: list[Statement] = []
        self.flops: Size = 0
        self.touched: dict[Buffer | Expr, Size] = {}

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
        """The name that holds a node's element; what is missing is emitted first."""
        stack: list[tuple[Expr, Indices]] = [(node, index)]
        while stack:
            top, at = stack[-1]
            if self.known(top, at) is not None:
                stack.pop()
                continue
            reads = self.reads(top, at)
            names = [self.known(x, i) for x, i in reads]
            if None in names:
                stack += [read for read, name in zip(reads, names, strict=True) if not name]
            else:
                self.emit(top, at, [name for name in names if name])
                stack.pop()
        name = self.known(node, index)
        assert name is not None
        return name

    def row_index(self, node: Expr) -> Index:
        strides = contiguous(tuple(self.extent(a) for a in self.inner))
        prefix = {a: level.var for level in self.levels for a in [level.axis] if a is not None}
        terms = [
            (prefix[a], s)
            for a, s in zip(self.inner, strides, strict=True)
            if not same_size(s, 0)
        ]
        return Index(tuple(terms))

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
            return [(node.args[0], single_index(node, at))]
        return [(x, broadcast_index(x, at)) for x in node.args]

    def reads_view(self, node: Expr, at: Indices) -> list[tuple[Expr, Indices]]:
        access = resolve(node, self.fusion.place)
        if (access is not None and self.in_memory(access.base)) or constant_base(
            node
        ) is not None:
            return []
        return [(node.args[0], view_index(node, at))]

    def emit(self, node: Expr, at: Indices, names: Sequence[Name]) -> None:
        name = self.emit_value(node, at, names)
        self.levels[self.level_of[name]].values[(node, at)] = name

    def emit_value(self, node: Expr, at: Indices, names: Sequence[Name]) -> Name:
        """A name for a node's element; ``names`` hold what it `reads`."""
        if node in self.spilled and self.phase_of[node] < self.phase:
            return self.load(self.spilled[node], self.row_index(node))
        if self.in_memory(node):
            return self.load(*self.element(node, at))
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
        self.flops = self.flops + node.op.cost * product(self.extents_of(names))
        return self.assign(lambda n: Compute(n, node.op.name, tuple(names), node.dtype), names)

    def element(self, node: Expr, at: Indices) -> tuple[Buffer, Index]:
        """Where an element of a node with memory lies."""
        access = self.fusion.place(node)
        assert access is not None
        index = flat_index(at, access.strides, access.offset)
        return self.buffer_of(access.base), index

    def extents_of(self, names: Sequence[Name]) -> list[Size]:
        deepest = self.deepest(names)
        return [self.extent(v.axis) for v in self.levels[1 : deepest + 1] if v.axis is not None]

    def emit_view(self, node: Expr, at: Indices) -> Name:
        inner = self.reads_view(node, at)
        if inner:
            return self.value(*inner[0])
        constant = constant_base(node)
        if constant is not None:
            return self.emit_value(constant, (), ())
        access = resolve(node, self.fusion.place)
        assert access is not None
        return self.load(
            self.buffer_of(access.base), flat_index(at, access.strides, access.offset)
        )

    def emit_gather(self, node: Expr, at: Indices) -> Name:
        source, index = node.args
        axis = node.attrs["axis"]
        raw = self.value(index, at)
        if index.dtype != int64:
            narrow = raw
            raw = self.assign(lambda n: Compute(n, "cast", (narrow,), int64), [narrow])
        size = source.shape[axis]
        checked = raw if is_inside(index, size) else self.checked(node, raw, size)
        if is_position(node):
            return self.converted(checked, node.dtype)
        access = resolve(source, self.fusion.place)
        assert access is not None
        place = tuple(Index(((checked, 1),)) if a == axis else i for a, i in enumerate(at))
        return self.load(
            self.buffer_of(access.base), flat_index(place, access.strides, access.offset)
        )

    def checked(self, node: Expr, raw: Name, size: Size) -> Name:
        if not node.attrs.get("wrap", True):
            raw = self.not_negative(raw, size)
        return self.assign(lambda n: CheckedIndex(n, raw, size), [raw])

    def converted(self, name: Name, dtype: DType) -> Name:
        """An int64 value in another element type."""
        if dtype == int64:
            return name
        return self.assign(lambda n: Compute(n, "cast", (name,), dtype), [name])

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
        return self.value(node.args[0], single_index(node, at))

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
