"""Fusion: which nodes are computed by one loop nest, and which values are kept in memory.

Nodes join the group of their operands when one loop nest over a common space can compute
them all. A group has a space (a list of sizes) and, if it holds row reductions, a set of row
axes: the loops over the other axes are outside, and each row is passed over as often as its
reductions require (a softmax: maximum, sum, quotient). A reduction over the outermost axis
ends the group's use of its result: it is complete only after the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphc.expr import Expr
from graphc.graph import Graph
from graphc.loops.access import VIEWS, Access, only_ones, resolve, whole
from graphc.loops.group import (
    LEAVES,
    OWN_KERNEL,
    REDUCTIONS,
    Axes,
    Fusion,
    Group,
    is_position,
    is_scalar_constant,
    owns_memory,
)
from graphc.loops.order import Order
from graphc.loops.parts import parts_of_joins
from graphc.types import Size, same_size

#: Straight-line code beyond this many nodes is cut: compilers are superlinear in its length.
MAX_NODES = 4000
#: A value is computed again rather than stored if that costs at most this many flops.
RECOMPUTE_COST = 4


def fuse(graph: Graph, *, merge: bool = True) -> Fusion:
    """Group the nodes of an expanded graph. ``merge=False``: every node on its own."""
    fuser = _Fuser(graph, merge)
    for node in graph.nodes():
        fuser.place(node)
    for root in graph.roots:
        fuser.keep(root)
    return fuser.result()


class _Fuser:
    def __init__(self, graph: Graph, merge: bool) -> None:
        self.graph = graph
        self.merging = merge
        self.groups: dict[int, Group] = {}
        self.group_of: dict[Expr, int] = {}  # to be resolved by `find`
        self.order = Order()
        self.stored: set[Expr] = set()
        self.readers: dict[Expr, dict[int, None]] = {}  # memory to groups that read it whole
        self.refused: dict[tuple[Expr, Expr], str] = {}
        self.position: dict[Expr, int] = {}

    # groups and their order -------------------------------------------------------------------

    def find(self, node: Expr) -> int | None:
        """The number of the group that computes a node."""
        number = self.group_of.get(node)
        return None if number is None else self.order.find(number)

    def new_group(self, space: Sequence[Size]) -> Group:
        group = Group(self.order.new(), list(space))
        self.groups[group.number] = group
        return group

    # operands ---------------------------------------------------------------------------------

    def base(self, x: Expr) -> Expr:
        """What a node reads through all views."""
        while x.op.name in VIEWS and x not in self.stored:
            x = x.args[0]
        return x

    def aligned(self, x: Expr) -> tuple[Expr, Axes] | None:
        """The fusible node behind broadcasts and size-1 reshapes, with x's axes in its terms.

        The result maps each axis of x to an axis of the base (None: new or of size 1).
        """
        axes: Axes = tuple(range(len(x.shape)))
        while x.op.name in VIEWS and x not in self.stored:
            inner = x.args[0]
            step = _alignment(x)
            if step is None:
                return None
            axes = tuple(None if a is None else step[a] for a in axes)
            x = inner
        return x, axes

    def keep(self, x: Expr) -> None:
        """Make sure that a node's elements can be read from memory."""
        base = self.base(x)
        if not owns_memory(base, self.stored) and not is_scalar_constant(base):
            self.stored.add(base)

    # placing ----------------------------------------------------------------------------------

    def place(self, node: Expr) -> None:
        name = node.op.name
        if name in LEAVES or name in VIEWS:
            return
        if name in OWN_KERNEL:
            self.place_alone(node)
            return
        if name == "gather" and not is_position(node):
            self.keep(node.args[0])
        if not self.joins_numbers(node):
            self.place_fused(node)

    def place_alone(self, node: Expr) -> None:
        group = self.new_group([])
        del self.groups[group.number]
        self.group_of[node] = group.number
        for x in node.args:
            self.keep(x)
        if self.merging and node.op.name == "concatenate":
            self.unite(self.sources(node))
        for number in self.sources(node):
            self.order.depend(group.number, number)

    def unite(self, parts: set[int]) -> None:
        """Merge groups that compute parts of a join, each element by itself, in like loops."""
        last: Group | None = None
        for number in sorted(parts & self.groups.keys()):
            group = self.groups[number]
            if group.reduced or not group.space:
                continue
            last = self.merge(last, group) if last and self.are_alike(last, group) else group

    def are_alike(self, one: Group, two: Group) -> bool:
        """Whether two groups have the same loops, and neither needs the other."""
        return (
            len(one.nodes) + len(two.nodes) <= MAX_NODES
            and len(one.space) == len(two.space)
            and all(map(same_size, one.space, two.space))
            and not self.order.is_after(one.number, two.number)
            and not self.order.is_after(two.number, one.number)
        )

    def sources(self, node: Expr) -> set[int]:
        """Groups that compute what a node reads."""
        return {number for x in self.operands(node) if (number := self.find(x)) is not None}

    def needed_whole(self, node: Expr, group: Group) -> Iterator[Expr]:
        """Results of other groups that must be complete before the node can be computed."""
        for x in node.args:
            found = self.aligned(x)
            if found is None:
                yield from self.operands_of([x])
            elif node.op.name == "gather" and x is node.args[0]:
                yield from (y for y in self.operands_of([x]) if self.find(y) != group.number)
            elif found[0].op.name in REDUCTIONS and self.find(found[0]) != group.number:
                yield found[0]

    def operands(self, node: Expr) -> list[Expr]:
        """Nodes of groups that a node reads, through views."""
        return self.operands_of(node.args)

    def operands_of(self, args: Sequence[Expr]) -> list[Expr]:
        found, pending = [], list(args)
        while pending:
            x = pending.pop()
            if x in self.group_of:
                found.append(x)
            else:
                pending.extend(x.args)
        return found

    def joins_numbers(self, node: Expr) -> bool:
        """Let a number join the one group that its operands are in, if that has numbers only:
        what `place_fused` comes to in scalar graphs, where it matters most."""
        if node.shape or node.op.family != "elementwise" or not self.merging:
            return False
        numbers = {self.find(x) for x in node.args if x.op.name not in LEAVES}
        number = numbers.pop() if len(numbers) == 1 else None
        group = None if number is None else self.groups.get(number)
        if group is None or group.space or group.reduced or len(group.nodes) >= MAX_NODES:
            return False
        self.join(group, node, ())
        return True

    def place_fused(self, node: Expr) -> None:
        sources = self.sources(node)
        group, axes = self.choose(node, sources)
        self.join(group, node, axes)
        group.finished.update(self.needed_whole(node, group))
        for number in sources - {group.number}:
            self.order.depend(group.number, number)
        if self.merging:
            group = self.absorb(group, node)
        self.settle(group, node)
        if node.op.name == "copy":
            self.stored.add(node)

    def choose(self, node: Expr, sources: set[int]) -> tuple[Group, Axes]:
        """The group to join: an operand's, or one that reads the same memory, or a new one."""
        if self.merging:
            candidates = sorted(sources & self.groups.keys(), reverse=True)
            for number in [*candidates, *self.siblings(node)]:
                group = self.groups.get(number)
                if group is None or any(self.order.is_after(s, number) for s in sources):
                    continue
                axes = self.fit(group, node)
                if axes is not None:
                    return group, axes
        operand = node.args[0] if node.op.name in REDUCTIONS else node
        group = self.new_group([s for s in operand.shape if not same_size(s, 1)])
        axes = self.fit(group, node)
        assert axes is not None, f"{node!r} does not fit a space of its own"
        return group, axes

    def siblings(self, node: Expr) -> list[int]:
        """Groups that read some operand's memory over the same space."""
        if not node.ndim:
            return []
        return [self.order.find(n) for x in node.args for n in self.readers.get(x, ())]

    def fit(self, group: Group, node: Expr) -> Axes | None:
        if len(group.nodes) >= MAX_NODES:
            return None
        if node.op.name in REDUCTIONS:
            return self.fit_reduction(group, node)
        return self.fit_pointwise(group, node)

    def fit_pointwise(self, group: Group, node: Expr) -> Axes | None:
        """Axes of the node in the group's space, which may be extended by trailing axes."""
        if node.op.name != "gather":
            axes = self.align(group, node, node.args, node.ndim, node.shape)
            return axes if axes is None or group.reaches(axes, group.row) else None
        source, index = node.args
        axes = self.align(group, node, [index], node.ndim, node.shape)
        if axes is None or not group.reaches(axes, group.row):
            return None
        if self.find(self.base(source)) != group.number:
            return axes
        return axes if self.picks_from_row(group, node, axes) else None

    def picks_from_row(self, group: Group, node: Expr, axes: Axes) -> bool:
        """Whether a gather from a value of its own group reads finished rows only."""
        source, axis = node.args[0], node.attrs["axis"]
        if source not in group.axes or source in group.reduced or group.row is None:
            return False
        own = group.axes[source]
        same = all(own[a] == axes[a] for a in range(node.ndim) if a != axis)
        return same and group.row == {own[axis]} and axes[axis] is None

    def fit_reduction(self, group: Group, node: Expr) -> Axes | None:
        operand = node.args[0]
        axes = self.align(group, operand, [operand], operand.ndim, operand.shape)
        if axes is None:
            return None
        over = frozenset(s for a in node.attrs["axes"] if (s := axes[a]) is not None)
        if over:
            group.reduced[node] = over
            group.spans[node] = frozenset(a for a in axes if a is not None)
            if not self.admit(group, over):
                del group.reduced[node], group.spans[node]
                return None
        if node.attrs["keepdims"]:
            return tuple(None if a in node.attrs["axes"] else s for a, s in enumerate(axes))
        return tuple(s for a, s in enumerate(axes) if a not in node.attrs["axes"])

    def admit(self, group: Group, over: frozenset[int]) -> bool:
        """Whether the group's loops can serve its reductions, if need be over rows ``over``."""
        if group.serves(group.row):
            return True
        inside = group.row is None and len(over) < len(group.space)
        if inside and group.serves(over) and group.reaches_all(over):
            group.row = over
            return True
        return False

    def align(
        self,
        group: Group,
        node: Expr,
        operands: Sequence[Expr],
        rank: int,
        shape: Sequence[Size],
    ) -> Axes | None:
        axes: list[int | None] = [None] * rank
        for x in operands:
            found = self.aligned(x)
            if found is None or self.find(found[0]) != group.number:
                continue
            member, view = found
            if member in group.reduced and not group.is_row(member):
                continue  # read from memory, after the kernel: not here
            own = group.axes[member]
            for a, inner in enumerate(view, rank - x.ndim):
                place = None if inner is None else own[inner]
                if place is None or same_size(shape[a], 1):
                    continue
                if axes[a] not in (None, place):
                    return None
                axes[a] = place
        if any(self.needs_finished(group, x) for x in operands):
            return None
        return self.complete(group, axes, shape)

    def needs_finished(self, group: Group, x: Expr) -> bool:
        """Whether an operand needs a result that the group has only at its end."""
        found = self.aligned(x)
        pending = [x]
        while pending:
            y = pending.pop()
            if self.find(y) == group.number:
                if y in group.reduced and not group.is_row(y):
                    return True
                if found is None or found[0] is not y:
                    return True
            elif self.find(y) is None:
                pending.extend(y.args)
        return False

    def complete(
        self, group: Group, axes: list[int | None], shape: Sequence[Size]
    ) -> Axes | None:
        """Place the axes that no operand placed; extend the space at its end if need be."""
        space = list(group.space)
        if not group.nodes and not space:
            space = [s for s in shape if not same_size(s, 1)]
        last = -1
        for a, size in enumerate(shape):
            if same_size(size, 1):
                axes[a] = None
                continue
            place = axes[a]
            if place is None:
                place = next(
                    (
                        i
                        for i in range(last + 1, len(space))
                        if same_size(space[i], size) and i not in axes
                    ),
                    None,
                )
                if place is None:
                    if not self.extensible(group, size) or any(
                        p is not None for p in axes[a + 1 :]
                    ):
                        return None
                    space.append(size)
                    place = len(space) - 1
            if place <= last:
                return None
            last = axes[a] = place
        if not all(
            p is None or same_size(space[p], s) for p, s in zip(axes, shape, strict=True)
        ):
            return None
        if len(space) > len(group.space) and group.nodes and not group.space:
            return None
        group.space = space
        return tuple(axes)

    def extensible(self, group: Group, size: Size) -> bool:
        """Whether per-row work may be done in front of a new innermost loop."""
        if not group.nodes:
            return True
        if not group.space or group.row is not None:
            return False
        return group.cost <= 8 or not isinstance(size, int) or size >= 16

    def join(self, group: Group, node: Expr, axes: Axes) -> None:
        self.position[node] = len(self.position)
        group.nodes.append(node)
        group.axes[node] = axes
        group.cost += node.op.cost
        self.group_of[node] = group.number
        for x in node.args:
            if owns_memory(x, self.stored) and len(x.shape) == len(group.space):
                self.readers.setdefault(x, {})[group.number] = None

    # merging ----------------------------------------------------------------------------------

    def absorb(self, group: Group, node: Expr) -> Group:
        """Merge the groups of the node's operands with its own where one nest serves both."""
        for x in node.args:
            found = self.aligned(x)
            number = self.find(found[0]) if found is not None else None
            if found is None or number not in self.groups or number == group.number:
                continue
            reason = self.obstacle(group, self.groups[number], node, found[0])
            if reason is None:
                group = self.merge(group, self.groups[number])
            else:
                self.refused[(found[0], node)] = reason
        return group

    def obstacle(self, group: Group, other: Group, node: Expr, member: Expr) -> str | None:
        """Why two groups cannot be one, or None."""
        if len(group.nodes) + len(other.nodes) > MAX_NODES:
            return "the kernel would be too long"
        if len(group.space) != len(other.space) or not all(
            map(same_size, group.space, other.space)
        ):
            return "their loops run over different spaces"
        if group.row is not None and other.row is not None and group.row != other.row:
            return "they reduce over different axes"
        row = group.row if group.row is not None else other.row
        if not group.serves(row) or not other.serves(row):
            return "a reduction needs another loop order"
        if not group.reaches_all(row) or not other.reaches_all(row):
            return "a loop without iterations would be around what is computed anyway"
        if member in other.reduced and (row is None or other.reduced[member] != row):
            return "the reduction is complete only after its kernel"
        for one, two in ((group, other), (other, group)):
            if any(
                r in two.axes and (row is None or two.reduced.get(r) != row)
                for r in one.finished
            ):
                return "the one needs results that are complete only after the other"
        if node.op.name in REDUCTIONS:
            placed = [p for p in other.axes[member] if p is not None]
            if placed != list(range(len(other.space))):
                return "their axes are not aligned"
        # Values of rows are not there for other rows, so all nodes that read them matter.
        readers = group.nodes if other.reduced else [node]
        if not all(self.in_step(group, other, n) for n in readers):
            return "their axes are not aligned"
        if self.order.has_between(group.number, other.number):
            return "a kernel between them needs the one and feeds the other"
        return None

    def in_step(self, group: Group, other: Group, node: Expr) -> bool:
        """Whether a node of a group reads another's members where its own loops stand."""
        own = group.operand_axes(node)
        for x in node.args:
            member, view = self.aligned(x) or (x, ())
            if member in other.axes:
                places = [None if a is None else other.axes[member][a] for a in view]
                here = own[len(own) - x.ndim :]
                if any(
                    o not in (p, None)
                    for p, o in zip(places, here, strict=True)
                    if p is not None
                ):
                    return False
        return True

    def merge(self, one: Group, two: Group) -> Group:
        """The larger group with the nodes of the smaller one added."""
        kept, gone = (one, two) if len(one.nodes) >= len(two.nodes) else (two, one)
        kept.nodes += gone.nodes
        kept.axes.update(gone.axes)
        kept.reduced.update(gone.reduced)
        kept.spans.update(gone.spans)
        kept.finished |= gone.finished
        kept.row = kept.row if kept.row is not None else gone.row
        kept.cost += gone.cost
        del self.groups[gone.number]
        self.order.merge(kept.number, gone.number)
        return kept

    # memory -----------------------------------------------------------------------------------

    def settle(self, group: Group, node: Expr) -> None:
        """Keep in memory what the node reads from other groups, unless it is cheap to redo."""
        for x in node.args:
            base = self.base(x)
            number = self.find(base)
            if number is None or number == group.number or owns_memory(base, self.stored):
                continue
            costly = base.op.name in REDUCTIONS or self.recompute_cost(base) > RECOMPUTE_COST
            if costly or not self.readable(x):
                self.keep(x)

    def readable(self, x: Expr) -> bool:
        """Whether index arithmetic alone reaches the base through the views."""
        while x.op.name in VIEWS and x not in self.stored:
            if x.op.name == "reshape" and not only_ones(x.args[0].shape, x.shape):
                return resolve(x, self.memory) is not None
            x = x.args[0]
        return True

    def memory(self, x: Expr) -> Access | None:
        return whole(x) if owns_memory(x, self.stored) else None

    def recompute_cost(self, node: Expr) -> int:
        total, pending = 0, [node]
        while pending and total <= RECOMPUTE_COST:
            x = pending.pop()
            if owns_memory(x, self.stored) or x.op.name in LEAVES:
                continue
            if x.op.name in REDUCTIONS or x.op.name == "gather":
                return RECOMPUTE_COST + 1
            total += x.op.cost
            pending.extend(x.args)
        return total

    # result -----------------------------------------------------------------------------------

    def result(self) -> Fusion:
        units: dict[int, Group | Expr] = dict(self.groups)
        for node, number in self.group_of.items():
            if node.op.name in OWN_KERNEL:
                units[number] = node
        for group in self.groups.values():
            group.nodes.sort(key=self.position.__getitem__)
        order = sorted(units, key=self.order.rank)
        parts = parts_of_joins(self.graph, list(self.groups.values()))
        return Fusion(
            self.graph,
            tuple(units[n] for n in order),
            frozenset(self.stored),
            parts if self.merging else {},
            self.refused,
        )


def _alignment(view: Expr) -> Axes | None:
    """Each axis of a broadcast or size-1 reshape as an axis of its operand (None: new)."""
    inner = view.args[0]
    if view.op.name == "again":
        return tuple(range(view.ndim))
    if view.op.name == "broadcast_to":
        lead = view.ndim - inner.ndim
        return tuple(
            None if a < lead or same_size(inner.shape[a - lead], 1) else a - lead
            for a in range(view.ndim)
        )
    if view.op.name == "reshape" and only_ones(inner.shape, view.shape):
        kept: Iterator[int] = (a for a, s in enumerate(inner.shape) if not same_size(s, 1))
        return tuple(None if same_size(s, 1) else next(kept) for s in view.shape)
    return None
