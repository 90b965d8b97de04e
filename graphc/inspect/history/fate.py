"""Why two nodes did not end in one kernel, or in one node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphc.expr import Expr
from graphc.inspect.history.kernel_map import KernelMap
from graphc.inspect.history.lineage import Lineage
from graphc.inspect.history.provenance import said
from graphc.inspect.text.notation import inline
from graphc.loops.access import VIEWS
from graphc.loops.epilogue import obstacle, touched
from graphc.loops.group import LEAVES, OWN_KERNEL, Group, is_scalar_constant
from graphc.loops.ir import ContractionKernel, LoopKernel
from graphc.options import Options
from graphc.types import same_size

Found = tuple[bool, list[str]]

# Kernels --------------------------------------------------------------------------------------


def not_fused(lineage: Lineage, options: Options, a: Expr, b: Expr) -> Found:
    """Whether two nodes are in one kernel, and why (not)."""
    kernels = lineage.kernels
    if kernels is None:
        return False, ["there are no kernels: NumPy evaluates the graph, node by node"]
    ends = [lineage.end(x) for x in (a, b)]
    for x, end in zip((a, b), ends, strict=True):
        reason = _outside(kernels, x, end)
        if reason is not None:
            return False, [reason]
    first, second = (_computed(end) for end in ends if end is not None)
    names = [kernels.place(x)[1] for x in (first, second)]
    both = [name for name in names[0] if name in names[1]]
    if both:
        return True, [f"they are in one kernel: {', '.join(both)}"]
    found = f"{said(a)} is in {names[0][0]}, {said(b)} in {names[1][0]}"
    if "fuse" in options.skip:
        return False, ["fusion was left out: skip='fuse'", found]
    return False, [*_apart(kernels, first, second), found]


def _outside(kernels: KernelMap, node: Expr, end: Expr | None) -> str | None:
    """Why a node has no kernel, None if it has one."""
    if end is None:
        return f"{said(node)} is in no kernel: no result needs it any more"
    end = _computed(end)
    place, names = kernels.place(end)
    if place == "leaf" or (end.op.name in LEAVES and not is_scalar_constant(end)):
        return f"{said(node)} is no computation: kernels read it ({', '.join(names) or 'none'})"
    if is_scalar_constant(end):
        return f"{said(node)} is a number in the code of every kernel that needs it"
    return None if names else f"{said(node)} is in no kernel"


def _computed(x: Expr) -> Expr:
    """What a node reads through views."""
    while x.op.name in VIEWS and x.op.name != "copy":
        x = x.args[0]
    return x


def _apart(kernels: KernelMap, a: Expr, b: Expr) -> list[str]:
    """The conditions that keep two computed nodes in two kernels."""
    fusion = kernels.fusion
    alone = [x for x in (a, b) if x.op.name in OWN_KERNEL]
    one, two = (_unit(kernels, x) for x in (a, b))
    if not alone and isinstance(one, Group) and isinstance(two, Group):
        pairs = [
            (x, y, reason)
            for (x, y), reason in fusion.refused.items()
            if (x in one.axes and y in two.axes) or (x in two.axes and y in one.axes)
        ]
        if pairs:
            return [
                f"{reason}: {said(y)} reads {said(x)}" for x, y, reason in dict.fromkeys(pairs)
            ]
        return list(_unrefused(kernels, one, two))
    reasons = [f"{said(x)}: {x.op.name} has a kernel of its own" for x in dict.fromkeys(alone)]
    return reasons + [r for x, y in ((a, b), (b, a)) if (r := _beside_product(kernels, x, y))]


def _beside_product(kernels: KernelMap, x: Expr, y: Expr) -> str | None:
    """Why the kernel of a node is no part of the kernel of a product."""
    names = [kernels.place(node)[1][0] for node in (x, y)]
    product, other = (kernels.kernels[name] for name in names)
    if not isinstance(product, ContractionKernel):
        return None
    reads, _ = touched(product)
    _, writes = touched(other)
    if reads & writes:
        return "a product reads each element many times: what it reads must be complete before"
    if not isinstance(other, LoopKernel):
        return None
    reason = obstacle(product, other) or "a kernel between them needs the one, or disturbs it"
    return f"a product takes in only a pass over its own elements; {names[1]}: {reason}"


def _unit(kernels: KernelMap, node: Expr) -> Group | Expr:
    for unit in kernels.fusion.units:
        if unit is node or (isinstance(unit, Group) and node in unit.axes):
            return unit
    return node


def _unrefused(kernels: KernelMap, one: Group, two: Group) -> Iterator[str]:
    """Reasons where no value passes straight from one group to the other."""
    for source, target in ((one, two), (two, one)):
        found = _moved_reading(source, target)
        if found is not None:
            reader, view = found
            yield (
                f"{said(reader)} reads it through {view.op.name}: its elements are needed in "
                "another order than they are computed in"
            )
            return
    for source, target in ((one, two), (two, one)):
        between = _between(kernels, source, target)
        if between:
            yield f"{', '.join(between)} between them needs the one and feeds the other"
            return
    yield "neither needs the other; they are joined only if they read the same memory alike"
    if len(one.space) != len(two.space) or not all(map(same_size, one.space, two.space)):
        yield f"their loops run over different spaces: {_space(one)} and {_space(two)}"


def _space(group: Group) -> str:
    return f"({', '.join(map(str, group.space))})"


def _moved_reading(source: Group, target: Group) -> tuple[Expr, Expr] | None:
    """A node of the target that reads the source through a view, and the view."""
    for node in target.nodes:
        for x in node.args:
            view = x
            while x.op.name in VIEWS and x not in target.axes:
                x = x.args[0]
            if x in source.axes and x is not view:
                return node, view
    return None


def _between(kernels: KernelMap, source: Group, target: Group) -> list[str]:
    """Kernels on the ways from one group to another; a product that one of them finishes is
    in its kernel, and named itself."""
    after = _reached(kernels, source, forward=True)
    before = _reached(kernels, target, forward=False)
    if id(target) not in after:
        return []
    ends = {name for end in (source, target) for name in kernels.own[_nodes(end)[0]]}
    names: dict[str, None] = {}
    for unit in kernels.fusion.units:
        if unit is source or unit is target or id(unit) not in after & before:
            continue
        last = _nodes(unit)[-1]
        own = kernels.own[last]
        names |= dict.fromkeys([said(last)] if ends & set(own) else own)
    return list(names)


def _nodes(unit: Group | Expr) -> Sequence[Expr]:
    return unit.nodes if isinstance(unit, Group) else [unit]


def _reached(kernels: KernelMap, start: Group, *, forward: bool) -> set[int]:
    """Ids of the units that need a unit, or that it needs."""
    owner = {n: u for u in kernels.fusion.units for n in _nodes(u)}
    edges: dict[int, set[int]] = {}
    for unit in kernels.fusion.units:
        for source in _sources(unit, owner):
            pair = (id(source), id(unit)) if forward else (id(unit), id(source))
            edges.setdefault(pair[0], set()).add(pair[1])
    reached: set[int] = set()
    pending = [id(start)]
    while pending:
        new = edges.get(pending.pop(), set()) - reached
        reached |= new
        pending += new
    return reached


def _sources(unit: Group | Expr, owner: dict[Expr, Group | Expr]) -> Iterator[Group | Expr]:
    """Units that compute what a unit reads, through views."""
    pending = [x for n in _nodes(unit) for x in n.args]
    seen = set(pending)
    while pending:
        x = pending.pop()
        found = owner.get(x)
        if found is not None:
            if found is not unit:
                yield found
            continue
        new = set(x.args) - seen
        seen |= new
        pending += new


# Equal nodes ----------------------------------------------------------------------------------


def different(lineage: Lineage, a: Expr, b: Expr) -> Found:
    """Whether two nodes are one by the end, and if not the first difference."""
    if a is b:
        return True, ["they are one node"]
    start = max(_entry(lineage, a), _entry(lineage, b))
    first, second = (_form(lineage, x, start) for x in (a, b))
    if first is second:
        return True, [f"they are one node: {said(first)}"]
    compared = None
    rules: list[str] = []
    for passage in lineage.passages[start:]:
        rules += [rule for x in (first, second) for rule, _ in passage.rules(x)]
        first, second = passage.final(first), passage.final(second)
        if first is second:
            by = f", by {', '.join(dict.fromkeys(rules))}" if rules else ""
            met = f"they are one node since {passage.stage}{by}: {said(first)}"
            return True, [met, *(_difference(*compared) if compared else ())]
        compared = compared or (first, second)
    return False, [*_difference(*(compared or (first, second)))]


def _entry(lineage: Lineage, node: Expr) -> int:
    """How many passages were over when a node came up."""
    found = (i for i, p in enumerate(lineage.passages) if node in p.before)
    return next(found, lineage.last_passage(node))


def _form(lineage: Lineage, node: Expr, start: int) -> Expr:
    """The node in the graph before a passage."""
    for passage in lineage.passages[_entry(lineage, node) : start]:
        node = passage.final(node)
    return node


def _difference(a: Expr, b: Expr) -> Iterator[str]:
    """The first difference of two nodes, and the way to it."""
    path = ""
    while True:
        reason = _own_difference(a, b)
        if reason is not None:
            yield f"{path}{reason}"
            return
        place, a, b = _unlike_operands(a, b)
        path = f"{path}operand {place}: " if path else f"operand {place} of both: "


def _own_difference(a: Expr, b: Expr) -> str | None:
    """What two nodes do not have in common themselves."""
    if a.op is not b.op:
        return f"{said(a)} is {_op(a)}, {said(b)} is {_op(b)}"
    if a.op.name in ("input", "parameter"):
        return f"{said(a)} and {said(b)} are two {a.op.name}s"
    if a.attrs != b.attrs:
        keys = [k for k in a.attrs if a.attrs[k] != b.attrs.get(k)]
        shown = ", ".join(f"{k} {a.attrs[k]} and {b.attrs.get(k)}" for k in keys)
        same = all(str(a.attrs[k]) == str(b.attrs.get(k)) for k in keys)
        types = f" ({a.type} and {b.type})" if same else ""
        return f"{a.op.name} with other constants: {shown}{types}"
    if a.type != b.type and not a.args:
        return f"{a.op.name} of {a.type} and of {b.type}"
    return None


def _op(node: Expr) -> str:
    return f"the number {inline(node)}" if inline(node) else node.op.name


def _unlike_operands(a: Expr, b: Expr) -> tuple[int, Expr, Expr]:
    """The first operands in which two nodes of one operation differ."""
    if "commutative" in a.op.facts:
        left = [x for x in a.args if x not in b.args] or list(a.args)
        right = [x for x in b.args if x not in a.args] or list(b.args)
        alike = [(x, y) for x in left for y in right if x.op is y.op]
        x, y = (alike or [(left[0], right[0])])[0]
        return a.args.index(x), x, y
    pairs = enumerate(zip(a.args, b.args, strict=True))
    return next((i, x, y) for i, (x, y) in pairs if x is not y)
