"""From a fused graph to a program: buffers, kernels in order, memory plan."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from graphc.expr import Expr, constant_value
from graphc.graph import Graph, graph_guards, graph_symbols
from graphc.loops.bands import with_bands
from graphc.loops.by_rows import by_rows
from graphc.loops.copies import with_copies
from graphc.loops.epilogue import with_epilogues
from graphc.loops.fuse import fuse
from graphc.loops.group import Fusion, Group
from graphc.loops.ir import Buffer, Kernel, Program
from graphc.loops.kernels import copy_kernel, own_kernels
from graphc.loops.nest import build_nest
from graphc.loops.plan import buffers_of, plan
from graphc.loops.straight import straightened
from graphc.ops.leaves import Parameter
from graphc.types import Shape


def build_program(
    graph: Graph, *, merge: bool = True, in_place: bool = True
) -> tuple[Program, Fusion]:
    """The loop program of an expanded graph. ``merge=False``: a kernel for every node.

    ``in_place``: next values are computed where their parameters lie, at the program's end.
    Else they have memory of their own, and what they are made of need not wait.
    """
    shapes = [x.shape for x in graph.outputs]
    graph, became = with_copies(graph)
    fusion = fuse(graph, merge=merge)
    builder = _Builder(graph, shapes, fusion, merge, in_place)
    return builder.build(), replace(fusion, became=became, buffers=builder.buffers)


class _Builder:
    def __init__(
        self,
        graph: Graph,
        shapes: Sequence[Shape],
        fusion: Fusion,
        merge: bool,
        in_place: bool,
    ) -> None:
        self.graph = graph
        self.shapes = shapes
        self.fusion = fusion
        self.merge = merge
        self.in_place = in_place
        self.buffers: dict[Expr, Buffer] = {}
        self.constants: list[Buffer] = []
        self.names: set[str] = set()
        self.inputs = tuple(self.leaf(x, "input") for x in graph.inputs)
        parameters = graph.parameters()
        self.parameters = tuple(self.leaf(p, "parameter") for p in parameters)
        self.outputs: list[Buffer] = []
        self.commits: list[tuple[Buffer, Buffer, str]] = []
        self.values = Counter(value for _, value in graph.updates)
        self.users: dict[Expr, list[Expr]] = {}
        for node in graph.nodes():
            for x in node.args:
                self.users.setdefault(x, []).append(node)
        self.units: dict[Expr, Group | Expr] = {}
        for unit in fusion.units:
            nodes = unit.nodes if isinstance(unit, Group) else [unit]
            self.units.update(dict.fromkeys(nodes, unit))
        self.place_outputs()
        self.place_updates()

    def leaf(self, x: Expr, kind: str) -> Buffer:
        assert x.name is not None
        self.names.add(x.name)
        self.buffers[x] = Buffer(x.name, x.dtype, x.shape, kind)  # type: ignore[arg-type]
        return self.buffers[x]

    def unique(self, name: str) -> str:
        """The name, or one like it, if a leaf or another buffer has it."""
        while name in self.names:
            name += "_"
        self.names.add(name)
        return name

    def kernel_prefix(self) -> str:
        """How names of kernels, and of buffers that they make, start; no leaf's name does."""
        prefix = "k"
        while any(re.match(rf"{prefix}\d", name) for name in self.names):
            prefix += "k"
        return prefix

    def place_outputs(self) -> None:
        """Every output is a node of its own by now, computed in its buffer, flat or not."""
        for number, (x, shape) in enumerate(zip(self.graph.outputs, self.shapes, strict=True)):
            name = self.unique(f"out{number}")
            self.buffers[x] = Buffer(name, x.dtype, shape, "output")
            self.outputs.append(self.buffers[x])

    def place_updates(self) -> None:
        """Write next values in place where nobody reads the old ones later."""
        for parameter, value in self.graph.updates:
            target = self.buffers[parameter]
            if value not in self.buffers and self.fits_in_place(parameter, value):
                self.buffers[value] = target
            else:
                self.commits.append((self.buffer_of(value), target, f"update {parameter.name}"))

    def fits_in_place(self, parameter: Parameter, value: Expr) -> bool:
        """Whether a value can be written over its parameter while it is computed.

        Its kernel must be an elementwise pass that reads the parameter at the written element
        only, and no other may need the value or, afterwards, the parameter.
        """
        unit = self.units[value]
        if not self.in_place or self.values[value] > 1:
            return False
        if not isinstance(unit, Group) or unit.row is not None:
            return False
        if any(n not in unit.axes for n in self.users.get(value, ())):
            return False
        return self.reads_in_step(unit, parameter) and self.last_reader(unit, parameter)

    def reads_in_step(self, unit: Group, parameter: Parameter) -> bool:
        """Whether a kernel reads a parameter only at the element that it stands at."""
        if len(unit.space) != len([s for s in parameter.shape if s != 1]):
            return False
        pending = [(node, False) for node in unit.nodes]
        seen = set(pending)
        while pending:
            node, moved = pending.pop()
            if node.op.name == "gather":
                return False
            moved = moved or node.op.family != "elementwise"
            if moved and parameter in node.args:
                return False
            inside = [x for x in node.args if not self.fusion.owns_memory(x)]
            new = {(x, moved) for x in inside if x not in unit.axes} - seen
            seen |= new
            pending += new
        return True

    def last_reader(self, unit: Group, parameter: Parameter) -> bool:
        """Whether the kernel that updates a parameter in place can be the last to read it."""
        stored = [n for n in unit.nodes if n in self.fusion.stored]
        if any(n not in unit.axes for x in stored for n in self.users.get(x, ())):
            return False  # its other results are needed before the parameters change
        for other in self.fusion.units:
            if other is not unit and self.is_commit(other) and self.reads(other, parameter):
                return False
        return True

    def is_commit(self, unit: Group | Expr) -> bool:
        """Whether a unit computes the next value of some parameter."""
        return isinstance(unit, Group) and any(n in self.values for n in unit.nodes)

    def reads(self, unit: Group | Expr, leaf: Expr) -> bool:
        nodes = unit.nodes if isinstance(unit, Group) else [unit]
        pending, seen = list(nodes), set(nodes)
        while pending:
            for x in pending.pop().args:
                if x is leaf:
                    return True
                if x not in seen and not self.fusion.owns_memory(x):
                    seen.add(x)
                    pending.append(x)
        return False

    def buffer_of(self, node: Expr) -> Buffer:
        if node not in self.buffers:
            value = constant_value(node)
            if value is not None:
                name = self.unique(f"constant{len(self.constants)}")
                buffer = Buffer(name, node.dtype, node.shape, "constant", value.tobytes())
                self.constants.append(buffer)
            else:
                name = self.unique(f"{node.name or node.op.name}_{len(self.buffers)}")
                buffer = Buffer(name, node.dtype, node.shape, "workspace")
            self.buffers[node] = buffer
        return self.buffers[node]

    def build(self) -> Program:
        kernels: list[Kernel] = []
        k = self.kernel_prefix()
        for number, unit in enumerate(self.fusion.units):
            kernels += self.kernels(unit, f"{k}{number}")
        safe = [k for k in kernels if not self.writes_parameter(k)]
        last = [k for k in kernels if self.writes_parameter(k)]
        for source, target, label in self.commits:
            last.append(
                copy_kernel(source, target, f"{k}{len(kernels) + len(last)}_commit", label)
            )
        ordered = (*safe, *last)
        if self.merge:
            ordered = tuple(with_epilogues(with_bands(ordered)))
        commit = sum(not self.writes_parameter(k) for k in ordered)
        if self.merge:
            safe, last = straightened(ordered[:commit], ordered[commit:])
            safe, last = by_rows(safe, last), by_rows(last, safe)
            ordered, commit = (*safe, *last), len(safe)
        offsets, total = plan(ordered)
        return Program(
            graph_symbols(self.graph),
            self.inputs,
            tuple(self.outputs),
            self.parameters,
            tuple(self.constants),
            ordered,
            commit,
            offsets,
            total,
            graph_guards(self.graph),
        )

    def kernels(self, unit: Group | Expr, name: str) -> list[Kernel]:
        if isinstance(unit, Group):
            kernel = build_nest(unit, self.fusion, self.buffer_of, name)
            return [kernel] if kernel.body else []
        return own_kernels(unit, self.fusion, self.buffer_of, name)

    def writes_parameter(self, kernel: Kernel) -> bool:
        return bool(self.graph.updates) and any(
            b.kind == "parameter" for b, written in buffers_of(kernel) if written
        )
