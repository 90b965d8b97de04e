"""Which kernels of a program compute which nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from graphc.expr import Expr
from graphc.loops.access import VIEWS
from graphc.loops.group import LEAVES, Fusion, Group, is_scalar_constant
from graphc.loops.ir import ContractionKernel, LoopKernel, Program
from graphc.loops.plan import buffers_of

#: ``computed``: by a kernel of its own group. ``inlined``: where others need it. ``view``: read
#: through index arithmetic. ``number``: written into code. ``leaf``: memory that is read.
Place = Literal["computed", "inlined", "view", "number", "leaf", "unused"]


class KernelMap:
    """Where the nodes of a fused graph ended.

    Attributes
    ----------
    kernels
        All kernels by name.
    own
        The kernels of the group of a node, or of the node itself.
    inside
        For each node the kernels that evaluate it.
    readers
        For each node with memory the kernels that read it.
    """

    def __init__(self, fusion: Fusion, program: Program) -> None:
        self.fusion = fusion
        self.kernels = {kernel.name: kernel for kernel in program.kernels}
        self._writers = _writers(program)
        self.own: dict[Expr, tuple[str, ...]] = {}
        self.inside: dict[Expr, list[str]] = {}
        self.readers: dict[Expr, list[str]] = {}
        for unit in fusion.units:
            self._add(unit)

    def _add(self, unit: Group | Expr) -> None:
        group = isinstance(unit, Group)
        nodes = unit.nodes if isinstance(unit, Group) else [unit]
        results = [n for n in nodes if not group or n in self.fusion.stored]
        names = self._names(results)
        for node in nodes:
            self.own[node] = names
        inside, read = self._walk(results, set(nodes))
        for found, table in ((inside, self.inside), (read, self.readers)):
            for node in found:
                known = table.setdefault(node, [])
                known += [name for name in names if name not in known]

    def _names(self, results: Sequence[Expr]) -> tuple[str, ...]:
        """Kernels that write some nodes' memory, in order."""
        buffers = [b.name for n in results if (b := self.fusion.buffers.get(n)) is not None]
        return tuple(dict.fromkeys(k for b in buffers for k in self._writers.get(b, ())))

    def _walk(
        self, results: Sequence[Expr], own: set[Expr]
    ) -> tuple[dict[Expr, None], dict[Expr, None]]:
        """Nodes that are evaluated for some results, and those that are read from memory."""
        inside = dict.fromkeys(results)
        read: dict[Expr, None] = {}
        pending = list(results)
        while pending:
            for x in pending.pop().args:
                if x not in own and self.fusion.owns_memory(x):
                    read[x] = None
                elif x not in inside:
                    inside[x] = None
                    pending.append(x)
        return inside, read

    def place(self, node: Expr) -> tuple[Place, tuple[str, ...]]:
        """How a node of the fused graph ended, and the kernels concerned, its own first."""
        inside = self.inside.get(node, [])
        if node in self.own:
            own = [name for name in self.own[node] if name in inside]
            names = (*own, *(name for name in inside if name not in own))
            return ("computed" if own else "inlined" if inside else "unused"), names
        if is_scalar_constant(node):
            return "number", tuple(inside)
        if node.op.name in LEAVES:
            return ("inlined", tuple(inside)) if inside else ("leaf", self._reading(node))
        if node.op.name in VIEWS:
            return ("view", tuple(inside)) if inside else ("unused", ())
        return "unused", ()

    def _reading(self, node: Expr) -> tuple[str, ...]:
        return tuple(self.readers.get(node, ()))


def _writers(program: Program) -> dict[str, list[str]]:
    """Names of the kernels that write each buffer."""
    found: dict[str, list[str]] = {}
    for kernel in program.kernels:
        made = [buffer for buffer, written in buffers_of(kernel) if written]
        if isinstance(kernel, ContractionKernel) and kernel.epilogue is not None:
            made.append(kernel.epilogue.result)
        if isinstance(kernel, LoopKernel):
            made += kernel.kept
        for buffer in made:
            if kernel.name not in found.setdefault(buffer.name, []):
                found[buffer.name].append(kernel.name)
    return found
