"""Contracts: promises about cost, memory and kernels, checked when a function is compiled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import combinations
from math import isnan
from numbers import Integral, Real
from typing import Any

from graphc.errors import ContractError, GraphError
from graphc.expr import Expr, describe
from graphc.function import CompiledFunction, Kept
from graphc.graph import Graph
from graphc.inspect.history.fate import not_fused
from graphc.inspect.history.lineage import Lineage, lineage_of
from graphc.inspect.history.provenance import said
from graphc.inspect.subject import derivative_orders
from graphc.inspect.tables.cost import (
    TYPICAL_SIZE,
    forward_nodes,
    gradient_cost_ratio,
    total_cost,
)
from graphc.inspect.tables.report import quantity
from graphc.loops.ir import Buffer, Program
from graphc.origin import Scope
from graphc.types import Size, evaluate_size, size_symbols

#: So many lines, buffers or kernels are named in an error.
SHOWN = 5


# Cost -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CostContract:
    """See `assert_cost`."""

    grad_to_forward: float
    sizes: Mapping[str, int]

    def __str__(self) -> str:
        return _call("assert_cost", {"grad_to_forward": self.grad_to_forward, **self.sizes})

    def check(self, function: CompiledFunction) -> Kept:
        graph = _with_its_nodes(function)
        nodes = graph.nodes()
        symbols = size_symbols(total_cost(nodes).flops)
        _check_names(str(self), self.sizes, function)
        sizes = dict.fromkeys(symbols, TYPICAL_SIZE) | dict(self.sizes)
        ratio = gradient_cost_ratio(graph, sizes)
        assumed = sorted(symbols - self.sizes.keys())
        at = f" at {', '.join(f'{s} = {TYPICAL_SIZE}' for s in assumed)}" if assumed else ""
        if isnan(ratio):
            ratio = 1.0 if not _flops(nodes, sizes) else float("inf")
        if ratio > self.grad_to_forward:
            raise ContractError(
                f"{function.name}: {self} does not hold",
                where=[
                    f"expected  all flops / forward flops <= {self.grad_to_forward:g}",
                    f"found     {ratio:.2f}{at}",
                    *_dearest(nodes, sizes),
                ],
                hint="f.why(node) tells where a node comes from; take fewer derivatives in one "
                "function, or allow more",
            )
        return Kept(str(self), f"<= {self.grad_to_forward:g}", f"{ratio:.2f}{at}")


def assert_cost(*, grad_to_forward: float, **sizes: int) -> CostContract:
    """A bound on the work of a function with derivatives, for ``gr.compile(contracts=[...])``.

    Parameters
    ----------
    grad_to_forward
        Flops of the whole optimised graph (of the given one, if it is rolled into loops) over
        those of its forward part may not exceed this: the report's "all flops / forward flops".
        Reverse mode needs about 3 for networks of matrix products, 4 to 5 at most (Baur and
        Strassen 1983).
    sizes
        Values of symbolic sizes; 64 for those that are not given.

    Raises
    ------
    ContractError
        By `compile`, if it costs more; it names the lines with the costliest derivatives.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.vector("x", 100)
    >>> y = gr.sum(gr.tanh(x) * x)
    >>> f = gr.compile(x, [y, gr.grad(y, x)], contracts=[gr.assert_cost(grad_to_forward=4.0)])
    >>> [kept.name for kept in f.contracts]
    ['assert_cost(grad_to_forward=4.0)']
    """
    if not isinstance(grad_to_forward, Real) or not grad_to_forward > 0:
        raise GraphError(f"assert_cost: grad_to_forward is positive, not {grad_to_forward!r}")
    return CostContract(float(grad_to_forward), _sizes("assert_cost", sizes))


def _with_its_nodes(function: CompiledFunction) -> Graph:
    """The optimised graph; the one that was given, if loops hide the nodes of the other."""
    rolled = any(s.stage == "roll" for s in function.snapshots)
    return function.snapshots[0 if rolled else -1].graph


def _flops(nodes: Iterable[Expr], sizes: Mapping[str, int]) -> int:
    return evaluate_size(total_cost(nodes).flops, sizes)


def _dearest(nodes: Sequence[Expr], sizes: Mapping[str, int]) -> list[str]:
    """The lines whose derivatives cost most."""
    forward = set(forward_nodes(nodes))
    lines: dict[str, int] = {}
    for node in nodes:
        if node not in forward:
            text = f"{node.source}  {node.source.text}" if node.source else node.op.name
            lines[text] = lines.get(text, 0) + _flops([node], sizes)
    dearest = sorted(lines.items(), key=lambda item: -item[1])[:SHOWN]
    own = f"forward   {quantity(_flops(forward, sizes))} flops"
    return [own, *(f"at        {quantity(n)} flops: d of {line}" for line, n in dearest)]


# Workspace ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WorkspaceContract:
    """See `assert_workspace`."""

    max_bytes: int
    sizes: Mapping[str, int]

    def __str__(self) -> str:
        return _call("assert_workspace", {"max_bytes": self.max_bytes, **self.sizes})

    def check(self, function: CompiledFunction) -> Kept:
        program = _program(str(self), function)
        _check_names(str(self), self.sizes, function)
        missing = sorted(size_symbols(program.workspace) - self.sizes.keys())
        if missing:
            stated = ", ".join(f"{name}=..." for name in missing)
            raise GraphError(
                f"{self}: the workspace depends on {', '.join(missing)}",
                where=[f"workspace  {program.workspace} bytes"],
                hint=f"say for which: gr.assert_workspace({self.max_bytes}, {stated})",
            )
        found = evaluate_size(program.workspace, self.sizes)
        if found > self.max_bytes:
            raise ContractError(
                f"{function.name}: {self} does not hold",
                where=[
                    f"expected  at most {quantity(self.max_bytes)} bytes of workspace",
                    f"found     {quantity(found)}",
                    *_largest(function, program, self.sizes),
                ],
                hint="smaller sizes, fewer values that the derivative keeps, or allow more",
            )
        return Kept(str(self), f"<= {quantity(self.max_bytes)} bytes", quantity(found))


def assert_workspace(max_bytes: int, **sizes: int) -> WorkspaceContract:
    """A bound on memory for intermediate results, for ``gr.compile(contracts=[...])``.

    Parameters
    ----------
    max_bytes
        The peak of the workspace; inputs, parameters and results do not count.
    sizes
        Values of the symbolic sizes that it depends on.

    Raises
    ------
    ContractError
        By `compile`, if more is needed; it names the largest buffers and their lines.
    GraphError
        By `compile`, if a size is not given, or the backend has no workspace.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.matrix("x", "n", 8)
    >>> weights = gr.softmax(x @ x.T)
    >>> f = gr.compile(x, weights @ x, contracts=[gr.assert_workspace(100_000, n=100)])
    >>> f.contracts[0].promise
    '<= 100 000 bytes'
    """
    if not _is_count(max_bytes):
        raise GraphError(f"assert_workspace: max_bytes is a number of bytes, not {max_bytes!r}")
    return WorkspaceContract(int(max_bytes), _sizes("assert_workspace", sizes))


def _largest(
    function: CompiledFunction, program: Program, sizes: Mapping[str, int]
) -> list[str]:
    """The largest buffers of the workspace, with the line of what they hold."""
    fusion = function.fusion
    assert fusion is not None
    owner = {buffer.name: node for node, buffer in fusion.buffers.items()}

    def nbytes(buffer: Buffer) -> int:
        count: Size = buffer.dtype.itemsize
        for size in buffer.shape:
            count = count * size
        return evaluate_size(count, sizes)

    found = sorted((b for b, _ in program.offsets), key=nbytes, reverse=True)[:SHOWN]
    return [
        f"buffer    {quantity(nbytes(b))} bytes: {b.name}, "
        + (said(owner[b.name]) if b.name in owner else "scratch of a kernel")
        for b in found
    ]


# Kernels --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KernelContract:
    """See `assert_one_kernel`."""

    region: str | tuple[Expr, ...]

    def __str__(self) -> str:
        named = isinstance(self.region, str)
        what = repr(self.region) if named else ", ".join(map(said, self.region))  # type: ignore[arg-type]
        return f"assert_one_kernel({what})"

    def check(self, function: CompiledFunction) -> Kept:
        _program(str(self), function)
        lineage = lineage_of(function)
        names = []
        for nodes in self._parts(lineage):
            names.append(self._kernel(function, lineage, nodes))
        return Kept(str(self), "one kernel", ", ".join(names))

    def _parts(self, lineage: Lineage) -> list[list[Expr]]:
        """The nodes of each use of the scope, or those that were given."""
        if not isinstance(self.region, str):
            unknown = [x for x in self.region if lineage.last_passage(x) < 0]
            if unknown:
                raise GraphError(
                    f"{self}: the function has no such node",
                    where=describe([("node", x) for x in unknown]),
                )
            return [list(self.region)]
        return _uses(self.region, list(lineage.input))

    def _kernel(
        self, function: CompiledFunction, lineage: Lineage, nodes: Sequence[Expr]
    ) -> str:
        """The one kernel of some nodes (ContractError if there is none, or several)."""
        found = _computing(lineage, nodes)
        own = dict.fromkeys(names[0] for _, names in found)
        if len(own) == 1:
            return next(iter(own))
        where = ["expected  one kernel", f"found     {', '.join(own) or 'none'}"]
        where += [f"{names[0]:<8}  {said(x)}" for x, names in _first_of_each(found)]
        raise ContractError(
            f"{function.name}: {self} does not hold",
            where=where + _separated(function, lineage, found),
            hint='f.why_not("fuse", a, b) tells what keeps two nodes apart'
            if found
            else "nothing is computed there: it is read, folded, or not needed",
        )


def assert_one_kernel(region: str | Expr | Sequence[Expr]) -> KernelContract:
    """A promise that a part of the graph is one kernel, for ``gr.compile(contracts=[...])``.

    Parameters
    ----------
    region
        The name or path of a scope (``"layer1"``, ``"net/layer1"``): what was written in it,
        without derivatives; each use of it by itself. Or the nodes themselves. Inputs, numbers,
        and views count nowhere; nor does what nothing needs after simplification.

    Raises
    ------
    ContractError
        By `compile`, if there are several kernels; it says which, and what keeps them apart.
    GraphError
        By `compile`, if there is no such scope or node, or the backend has no kernels.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.matrix("x", "n", 8)
    >>> with gr.scope("weights"):
    ...     y = gr.softmax(gr.tanh(x) + 1)
    >>> f = gr.compile(x, y, contracts=[gr.assert_one_kernel("weights")])
    >>> f.contracts[0].measured
    'k0'
    """
    if isinstance(region, str):
        return KernelContract(region)
    if isinstance(region, Expr) or not isinstance(region, Iterable):
        nodes: tuple[Expr, ...] = (region,)
    else:
        nodes = tuple(region)
    if not nodes or not all(isinstance(x, Expr) for x in nodes):
        raise GraphError(
            f"assert_one_kernel: {region!r} is no part of a graph",
            hint="give the name of a scope, or expressions",
        )
    return KernelContract(nodes)


def _uses(name: str, nodes: Sequence[Expr]) -> list[list[Expr]]:
    """The nodes of each use of a scope (GraphError if there is none)."""
    orders = derivative_orders(nodes)
    uses: dict[Scope, list[Expr]] = {}
    known: dict[str, None] = {}
    for node in nodes:
        at = node.scope
        while at is not None:
            known.update(dict.fromkeys([at.path, at.name]))
            if name in (at.path, at.name) and not orders[node]:
                uses.setdefault(at, []).append(node)
                break
            at = at.parent
    if uses:
        return list(uses.values())
    near = get_close_matches(name, list(known), 3, 0.5)
    raise GraphError(
        f"assert_one_kernel: the graph has no scope {name!r}",
        hint=f"did you mean {' or '.join(map(repr, near))}?"
        if near
        else f"scopes: {', '.join(known) or 'none; name one with gr.scope(name)'}",
    )


Computing = tuple[Expr, tuple[str, ...]]


def _computing(lineage: Lineage, nodes: Sequence[Expr]) -> list[Computing]:
    """The nodes that kernels compute, each with its kernels."""
    kernels = lineage.kernels
    assert kernels is not None
    found = []
    for node in nodes:
        end = lineage.end(node)
        if end is not None and end.op.family != "leaf":
            place, names = kernels.place(end)
            if place in ("computed", "inlined"):
                found.append((node, names))
    own = {names[0] for node, names in found if len(names) == 1}
    return [(node, _first(names, own)) for node, names in found]


def _first(names: tuple[str, ...], wanted: set[str]) -> tuple[str, ...]:
    """Kernels of a value that is computed in several, those first that compute others too."""
    return tuple(sorted(names, key=lambda name: name not in wanted))


def _first_of_each(found: Sequence[Computing]) -> list[Computing]:
    """A node for each kernel."""
    first: dict[str, Computing] = {}
    for node, names in found:
        first.setdefault(names[0], (node, names))
    return list(first.values())[:SHOWN]


def _separated(
    function: CompiledFunction, lineage: Lineage, found: Sequence[Computing]
) -> list[str]:
    """What keeps kernels apart, of the pairs of nodes of which one reads the other."""
    reasons: dict[str, None] = {}
    for (a, names), (b, others) in combinations(found, 2):
        if (a in b.args or b in a.args) and not set(names) & set(others):
            _, why = not_fused(lineage, function.options, a, b)
            reasons.update(dict.fromkeys(why[:-1]))
    return [f"because   {reason}" for reason in list(reasons)[:SHOWN]]


# Shared ---------------------------------------------------------------------------------------


def _call(name: str, arguments: Mapping[str, object]) -> str:
    return f"{name}({', '.join(f'{key}={value}' for key, value in arguments.items())})"


def _sizes(who: str, given: Mapping[str, int]) -> dict[str, int]:
    """Values of sizes (GraphError if one is no size)."""
    for name, size in given.items():
        if not _is_count(size):
            raise GraphError(f"{who}: the size {name} is a whole number, not {size!r}")
    return {name: int(size) for name, size in given.items()}


def _is_count(value: Any) -> bool:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    return whole and int(value) >= 0


def _program(contract: str, function: CompiledFunction) -> Program:
    if function.program is None:
        raise GraphError(
            f"{contract}: the backend {function.backend!r} makes no kernels",
            hint='compile with backend="llvm"',
        )
    return function.program


def _check_names(contract: str, sizes: Mapping[str, int], function: CompiledFunction) -> None:
    """Every size that is given must be one of the function's (GraphError)."""
    leaves = (*function.graph.inputs, *function.graph.parameters())
    known = set().union(*(size_symbols(s) for x in leaves for s in x.shape))
    unknown = [name for name in sizes if name not in known]
    if unknown:
        raise GraphError(
            f"{contract}: the function has no size {', '.join(map(repr, unknown))}",
            hint=f"symbolic sizes: {', '.join(sorted(known)) or 'none'}",
        )


__all__ = ["assert_cost", "assert_one_kernel", "assert_workspace"]
