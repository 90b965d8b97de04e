"""From a fused graph to a program: buffers, kernels in order, memory plan."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.expr import Expr, apply, constant_value, substitute
from graphc.graph import Graph, graph_guards, graph_symbols
from graphc.loops.fuse import Fusion, Group, fuse
from graphc.loops.ir import Buffer, Kernel, Program
from graphc.loops.kernels import copy_kernel, own_kernels
from graphc.loops.nest import Scratch, build_nest
from graphc.loops.plan import buffers_of, plan
from graphc.ops.contraction import CONTRACT, axis_sizes, parse
from graphc.ops.leaves import Parameter
from graphc.ops.movement import transpose


def build_program(graph: Graph, *, merge: bool = True) -> tuple[Program, Fusion]:
    """The loop program of an expanded graph."""
    graph = _mergeable_contractions(graph)
    fusion = fuse(graph, merge=merge)
    return _Builder(graph, fusion).build(), fusion


def _mergeable_contractions(graph: Graph) -> Graph:
    """Transpose operands of contractions whose summed letters lie in different orders."""
    replaced: dict[Expr, Expr] = {}
    for node in graph.nodes():
        if node.op is CONTRACT and _inner_letters_differ(node):
            a, b, c = parse(node.attrs["subscripts"])
            inner = [x for x in a if x in b and x not in c]
            order = [b.index(x) for x in b if x not in inner] + [b.index(x) for x in inner]
            left = [a.index(x) for x in a if x not in inner] + [a.index(x) for x in inner]
            replaced[node] = _transposed(node, left, order)
    return graph.with_roots(substitute(graph.roots, replaced)) if replaced else graph


def _inner_letters_differ(node: Expr) -> bool:
    a, b, c = parse(node.attrs["subscripts"])
    inner = [x for x in a if x in b and x not in c]
    sizes = axis_sizes(node.attrs["subscripts"], node.args[0].type, node.args[1].type)
    inner = [x for x in inner if sizes[x] != 1]
    return len(inner) > 1 and not ("".join(inner) in a and "".join(inner) in b)


def _transposed(node: Expr, left: Sequence[int], right: Sequence[int]) -> Expr:
    a, b, c = parse(node.attrs["subscripts"])
    x, y = transpose(node.args[0], left), transpose(node.args[1], right)
    la, lb = "".join(a[i] for i in left), "".join(b[i] for i in right)
    return apply(CONTRACT, (x, y), {"subscripts": f"{la},{lb}->{c}"})


class _Builder:
    def __init__(self, graph: Graph, fusion: Fusion) -> None:
        self.graph = graph
        self.fusion = fusion
        self.buffers: dict[Expr, Buffer] = {}
        self.constants: list[Buffer] = []
        self.inputs = tuple(self.leaf(x, "input") for x in graph.inputs)
        parameters = graph.parameters()
        self.parameters = tuple(self.leaf(p, "parameter") for p in parameters)
        self.outputs: list[Buffer] = []
        self.copies: list[tuple[Buffer, Buffer, str]] = []
        self.commits: list[tuple[Buffer, Buffer, str]] = []
        self.place_outputs()
        self.place_updates()

    def leaf(self, x: Expr, kind: str) -> Buffer:
        assert x.name is not None
        self.buffers[x] = Buffer(x.name, x.dtype, x.shape, kind)  # type: ignore[arg-type]
        return self.buffers[x]

    def place_outputs(self) -> None:
        """An output is computed in place; one that is given twice is copied."""
        for number, x in enumerate(self.graph.outputs):
            buffer = Buffer(f"out{number}", x.dtype, x.shape, "output")
            self.outputs.append(buffer)
            if x in self.buffers or x.op.name == "constant" and x not in self.fusion.stored:
                self.copies.append((self.buffer_of(x), buffer, f"output {number}"))
            else:
                self.buffers[x] = buffer

    def place_updates(self) -> None:
        """The next value of a parameter is written in place where nobody reads the old one later."""
        values = [value for _, value in self.graph.updates]
        for parameter, value in self.graph.updates:
            target = self.buffers[parameter]
            if value not in self.buffers and self.fits_in_place(parameter, value, values):
                self.buffers[value] = target
            else:
                self.commits.append((self.buffer_of(value), target, f"update {parameter.name}"))

    def fits_in_place(self, parameter: Parameter, value: Expr, values: list[Expr]) -> bool:
        """Whether a value can be written over its parameter while it is computed.

        Its kernel must be an elementwise pass that reads the parameter at the written element
        only, and nothing else may need the value or, afterwards, the parameter.
        """
        if value.op.name in ("parameter", "input", "constant"):
            return False
        unit = self.unit_of(value)
        if not isinstance(unit, Group) or unit.row is not None or values.count(value) > 1:
            return False
        if any(value in n.args for n in self.graph.nodes()):
            return False
        return self.reads_in_step(unit, parameter) and self.last_reader(unit, parameter)

    def unit_of(self, node: Expr) -> Group | Expr:
        for unit in self.fusion.units:
            if unit is node or isinstance(unit, Group) and node in unit.axes:
                return unit
        raise AssertionError(f"{node!r} is in no kernel")

    def reads_in_step(self, unit: Group, parameter: Parameter) -> bool:
        """Whether a kernel reads a parameter only at the element that it stands at."""
        if len(unit.space) != len([s for s in parameter.shape if s != 1]):
            return False
        pending, seen = list(unit.nodes), set()
        while pending:
            node = pending.pop()
            for x in node.args:
                if x is parameter and node.op.family != "elementwise":
                    return False
                if x is not parameter and x.op.name == "gather":
                    return False
                if x not in unit.axes and x not in seen and not self.fusion.owns_memory(x):
                    seen.add(x)
                    pending.append(x)
        return not any(n.op.name == "gather" for n in unit.nodes)

    def last_reader(self, unit: Group, parameter: Parameter) -> bool:
        """Whether the kernel that updates a parameter in place can be the last to read it."""
        mine = set(unit.nodes)
        stored = {n for n in mine if n in self.fusion.stored}
        if any(a in stored for n in self.graph.nodes() if n not in mine for a in n.args):
            return False  # its other results are needed before the parameters change
        for other in self.fusion.units:
            if other is not unit and self.is_commit(other) and self.reads(other, parameter):
                return False
        return True

    def is_commit(self, unit: Group | Expr) -> bool:
        """Whether a unit computes the next value of some parameter."""
        values = {value for _, value in self.graph.updates}
        return isinstance(unit, Group) and any(n in values for n in unit.nodes)

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
            if value is not None and node not in self.fusion.stored:
                name = f"constant{len(self.constants)}"
                buffer = Buffer(name, node.dtype, node.shape, "constant", value.tobytes())
                self.constants.append(buffer)
            else:
                name = f"{node.name or node.op.name}_{len(self.buffers)}"
                buffer = Buffer(name, node.dtype, node.shape, "workspace")
            self.buffers[node] = buffer
        return self.buffers[node]

    def build(self) -> Program:
        kernels: list[Kernel] = []
        for number, unit in enumerate(self.fusion.units):
            kernels += self.kernels(unit, f"k{number}")
        for source, target, label in self.copies:
            kernels.append(copy_kernel(source, target, f"k{len(kernels)}_copy", label))
        safe = [k for k in kernels if not self.writes_parameter(k)]
        last = [k for k in kernels if self.writes_parameter(k)]
        for source, target, label in self.commits:
            last.append(copy_kernel(source, target, f"k{len(kernels) + len(last)}_commit", label))
        ordered = (*safe, *last)
        offsets, total = plan(ordered)
        return Program(
            graph_symbols(self.graph),
            self.inputs,
            tuple(self.outputs),
            self.parameters,
            tuple(self.constants),
            ordered,
            len(safe),
            offsets,
            total,
            graph_guards(self.graph),
        )

    def kernels(self, unit: Group | Expr, name: str) -> list[Kernel]:
        if isinstance(unit, Group):
            kernel = build_nest(unit, self.fusion, self.buffer_of, name, Scratch(name))
            return [kernel] if kernel.body else []
        return own_kernels(unit, self.fusion, self.buffer_of, name)

    def writes_parameter(self, kernel: Kernel) -> bool:
        return any(b.kind == "parameter" for b, written in buffers_of(kernel) if written)
