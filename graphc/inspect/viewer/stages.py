"""The graph after each stage, as the page shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from graphc.expr import Expr, topological
from graphc.inspect.subject import Subject, derivative_orders
from graphc.inspect.text.listing import name_nodes
from graphc.inspect.text.notation import inline
from graphc.inspect.viewer.changes import Change
from graphc.inspect.viewer.clusters import clusters
from graphc.inspect.viewer.derivatives import Adjoint, adjoint_names, forward_stem
from graphc.inspect.viewer.document import BACKWARD, FORWARD, Kind, StageView, Texts
from graphc.inspect.viewer.nodes import NodeTable
from graphc.inspect.viewer.templates import formulas
from graphc.inspect.viewer.values import Samplings, summaries
from graphc.pipeline import Snapshot


@dataclass
class Ancestry:
    """What the nodes of the first stage have become by now.

    ``heirs`` maps nodes that derivatives stem from to the nodes that stand for them,
    ``adjoints`` derivatives to what adjoints of the first stage they are.
    """

    heirs: dict[Expr, Expr]
    adjoints: dict[Expr, tuple[Adjoint, ...]] = field(default_factory=dict)

    def after(self, change: Change) -> Ancestry:
        """The same one stage later."""
        image = {old: new for new, stems in change.before.items() for old in stems}
        heirs = {stem: image[at] for stem, at in self.heirs.items() if at in image}
        adjoints = {
            new: tuple(dict.fromkeys(a for old in stems for a in self.adjoints.get(old, ())))
            for new, stems in change.before.items()
        }
        return Ancestry(heirs, {n: a for n, a in adjoints.items() if a})


class StageWriter:
    """Writes stages one after the other."""

    def __init__(
        self,
        texts: Texts,
        table: NodeTable,
        kernels: Mapping[Expr, Sequence[str]],
        sample: Samplings | None,
    ) -> None:
        self.texts = texts
        self.table = table
        self.kernels = kernels
        self.sample = sample

    def write(
        self,
        name: str,
        subject: Subject,
        outputs: Sequence[Expr],
        ancestry: Ancestry,
        after: Snapshot | None = None,
        change: Change | None = None,
    ) -> StageView:
        """One stage. ``outputs`` are shown even if the graph does not compute them."""
        nodes = topological([*outputs, *subject.roots])
        names, orders = name_nodes(nodes), derivative_orders(nodes)
        sides = _sides(nodes, orders, [*outputs, *subject.roots])
        scopes, owner = clusters([n for n in nodes if inline(n) is None], sides, orders)
        place = {n: i for i, n in enumerate(nodes)}
        uses = Counter(a for n in nodes for a in n.args)
        computed = set(subject.nodes())
        number, text = self.table.number, self.texts.place
        return StageView(
            name=name,
            nodes=tuple(map(number, nodes)),
            names=tuple(names[n] for n in nodes),
            kinds=tuple(_kind(n, orders[n], sides[n]) for n in nodes),
            sides=tuple(sides[n] for n in nodes),
            clusters=tuple(owner.get(n, -1) for n in nodes),
            stems=tuple(_stem(n, ancestry, place) for n in nodes),
            formulas=tuple(map(text, formulas(nodes, names, uses))),
            scopes=scopes,
            roots=tuple(_roots(subject, place)),
            adjoints=tuple(
                tuple((number(a.node), a.output) for a in ancestry.adjoints.get(n, ()))
                for n in nodes
            ),
            outside=tuple(i for n, i in place.items() if n not in computed),
            before=tuple(tuple(map(number, change.before[n])) for n in nodes) if change else (),
            changed=tuple(change.fate[n] for n in nodes) if change else (),
            gone=tuple(map(number, change.gone)) if change else (),
            seconds=after.seconds if after else None,
            fired=dict(after.fired) if after else {},
            kernels=self._kernels(nodes),
            values=() if self.sample is None else summaries(nodes, self.sample),
        )

    def _kernels(self, nodes: Sequence[Expr]) -> tuple[int, ...]:
        if not self.kernels:
            return ()
        found = [", ".join(self.kernels.get(n, ())) for n in nodes]
        return tuple(self.texts.place(names) if names else -1 for names in found)


def _sides(
    nodes: Sequence[Expr], orders: Mapping[Expr, int], roots: Sequence[Expr]
) -> dict[Expr, int]:
    """Derivatives, what is computed from them, and what only that needs: the other side."""
    sides: dict[Expr, int] = {}
    for node in nodes:
        later = orders[node] > 0 or any(sides[a] == BACKWARD for a in node.args)
        sides[node] = BACKWARD if later else FORWARD
    forward = [r for r in roots if sides[r] == FORWARD]
    needed = set(topological(forward)) if forward else set(nodes)
    return {n: side if n in needed else BACKWARD for n, side in sides.items()}


def _kind(node: Expr, order: int, side: int) -> Kind:
    if node.op.name == "input":
        return "input"
    if node.op.name == "parameter":
        return "parameter"
    if order:
        return "gradient"
    if node.op.family == "leaf":
        return "constant"
    return "update" if side == BACKWARD and node.args else "operation"


def _stem(node: Expr, ancestry: Ancestry, place: Mapping[Expr, int]) -> int:
    stem = forward_stem(node)
    heir = ancestry.heirs.get(stem) if stem is not None else None
    return place.get(heir, -1) if heir is not None else -1


def _roots(subject: Subject, place: Mapping[Expr, int]) -> Iterator[tuple[int, str]]:
    for number, output in enumerate(subject.outputs, 1):
        yield place[output], "output" if len(subject.outputs) == 1 else f"output {number}"
    for parameter, value in subject.updates:
        yield place[value], f"next {parameter.name}"


def first_ancestry(
    nodes: Sequence[Expr], outputs: Sequence[Expr], heirs: dict[Expr, Expr]
) -> Ancestry:
    """The ancestry at the first stage."""
    orders = derivative_orders(nodes)
    derivatives = [n for n in nodes if orders[n] and n.args]
    return Ancestry(heirs, adjoint_names(outputs, derivatives) if derivatives else {})
