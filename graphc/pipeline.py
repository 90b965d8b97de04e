"""The stages from a graph to a loop program: one tuple, each stage named and visible.

``GRAPH_STAGES`` turn a graph into a graph. ``graphc.loops`` then fuses, plans and writes
loops. Between stages a verifier can check that inputs, types and updates are unchanged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from graphc.errors import VerificationError
from graphc.expr import Expr
from graphc.graph import Graph
from graphc.ops.rolled import Piece
from graphc.options import Options
from graphc.rewrite.cse import Interner, merged
from graphc.rewrite.engine import Rewriting, RuleSet, Settled, Stage, allowed
from graphc.rewrite.moves import Moves
from graphc.rewrite.multiply_add import fuse_multiply_add
from graphc.rewrite.recompute import recompute_blocks

#: A graph, how often each rule fired, and what the nodes of the graph before became.
StageResult: TypeAlias = tuple[Graph, dict[str, int], Moves]


@dataclass(frozen=True)
class GraphStage:
    """One step from a graph to a graph. ``run`` also returns how often each rule fired.

    A ``rare`` stage leaves no snapshot if nothing fired.
    """

    name: str
    run: Callable[[Graph, Options], StageResult]
    optional: bool = True
    rare: bool = False


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What a stage left behind.

    ``moves`` says what became of the nodes of the graph before; some of what they are now is
    no part of the graph any more.
    """

    stage: str
    graph: Graph
    seconds: float = 0.0
    fired: dict[str, int] = field(default_factory=dict)
    moves: Moves = field(default_factory=Moves, repr=False)

    @property
    def became(self) -> Mapping[Expr, Expr]:
        """What the nodes of the graph before are now."""
        return self.moves.final

    @property
    def nodes(self) -> int:
        return len(self.graph.nodes())


def _roll(graph: Graph, options: Options) -> StageResult:
    """Pieces are rewritten by the later stages here: those see the loops as one node."""
    from graphc.roll.stage import roll

    def finish(piece: Piece) -> Sequence[Expr]:
        inner = Graph(piece.inputs, piece.outputs)
        for stage in GRAPH_STAGES[1:-1]:  # what loops hold is never computed again
            if not (stage.optional and stage.name in options.skip):
                inner = stage.run(inner, options)[0]
        return inner.outputs

    became, count = roll(graph.nodes(), graph.roots, finish)
    if not count:
        return graph, {}, Moves()
    after = graph.with_roots([became[r] for r in graph.roots])
    return after, {"roll": count}, Moves(became, (became,))


def _cse(graph: Graph, options: Options) -> StageResult:
    interner = Interner()
    became = merged(graph.roots, interner)
    settled = Settled(RuleSet(()), frozenset(became.values()), interner)
    after = graph.with_roots([became[r] for r in graph.roots], settled)
    return after, {}, Moves(became, (became,))


def _rules(*groups: Stage) -> Callable[[Graph, Options], StageResult]:
    """Rewrite by the rules of some stages, but those that are to be skipped."""

    def run(graph: Graph, options: Options) -> StageResult:
        wanted = [g for g in groups if g not in options.skip or g == "expand"]
        run = Rewriting(allowed(wanted, options.math == "strict"), graph.settled)
        roots = run.run(graph.roots)
        return graph.with_roots(roots, run.settled()), dict(run.fired), run.moves()

    return run


def _multiply_add(graph: Graph, options: Options) -> StageResult:
    if options.math == "strict":
        return graph, {}, Moves({n: n for n in graph.nodes()})
    fused, count = fuse_multiply_add(graph.roots)
    after = graph.with_roots([fused[r] for r in graph.roots])
    left = set(after.nodes())
    became = {old: new for old, new in fused.items() if new in left}
    return after, {"multiply-add": count} if count else {}, Moves(became, (fused,))


def _recompute(graph: Graph, options: Options) -> StageResult:
    after, count, moves = recompute_blocks(graph)
    return after, {"recompute": count} if count else {}, moves


#: From the user's graph to the graph that is turned into loops. Each later stage repeats the
#: rules of the earlier ones on what it makes.
GRAPH_STAGES: tuple[GraphStage, ...] = (
    GraphStage("roll", _roll, rare=True),
    GraphStage("cse", _cse),
    GraphStage("fold", _rules("fold")),
    GraphStage("simplify", _rules("fold", "simplify")),
    GraphStage("stabilize", _rules("fold", "simplify", "stabilize")),
    GraphStage("expand", _rules("expand"), optional=False),
    GraphStage("multiply-add", _multiply_add),
    GraphStage("recompute", _recompute, rare=True),
)


def run_stages(
    graph: Graph, options: Options, stages: Sequence[GraphStage] = GRAPH_STAGES
) -> list[Snapshot]:
    """Snapshots of the graph as given and after each stage."""
    snapshots = [Snapshot("input", graph)]
    for stage in stages:
        if stage.optional and stage.name in options.skip:
            continue
        start = time.perf_counter()
        after, fired, moves = stage.run(snapshots[-1].graph, options)
        if stage.rare and not fired:
            continue
        seconds = time.perf_counter() - start
        if options.verify:
            verify(stage.name, snapshots[-1].graph, after)
        snapshots.append(Snapshot(stage.name, after, seconds, fired, moves))
    return snapshots


def verify(stage: str, before: Graph, after: Graph) -> None:
    """Raise VerificationError if a stage changed a type, an input or the form of the graph."""
    if after.inputs != before.inputs or len(after.roots) != len(before.roots):
        raise VerificationError(f"stage {stage!r} changed the inputs or the number of outputs")
    for old, new in zip(before.roots, after.roots, strict=True):
        if old.type != new.type:
            raise VerificationError(f"stage {stage!r} changed a type: {old.type} to {new.type}")
    for node in after.nodes():
        inferred = node.op.infer([a.type for a in node.args], node.attrs)
        if inferred != node.type:
            raise VerificationError(
                f"stage {stage!r}: {node.op.name} has type {node.type}, not {inferred}"
            )
