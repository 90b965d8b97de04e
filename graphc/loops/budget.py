"""Programs within a limit of memory: values that are computed again, or not written in place.

At the kernel where a program needs most memory some values only wait: computed before, read
after it. They can be dropped and computed again for those who read them late, from what is
kept. Which ones is chosen among many plans, those with the least work first; each is built, so
what is promised is what the program takes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import accumulate

from graphc.diff.work import node_flops
from graphc.errors import CompileError
from graphc.expr import Expr
from graphc.graph import Graph
from graphc.loops.build import build_program
from graphc.loops.group import Fusion, Group
from graphc.loops.ir import Program
from graphc.options import Memory
from graphc.pipeline import Snapshot
from graphc.rewrite.moves import Moves
from graphc.rewrite.recompute import Replay, replayed
from graphc.types import Size, evaluate_size, size_symbols

#: So many plans are built at most before the search starts anew from the best.
_PLANS = 16
_ROUNDS = 3
#: What symbolic sizes count where nobody states them.
_TYPICAL = 100
#: How many values are dropped, and into how many runs what is kept cuts them.
_COUNTS = (1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 256, 512, 1024)
_RUNS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


@dataclass(frozen=True, eq=False)
class Lowered:
    """A program and where it comes from; ``note`` tells what was computed again, and why."""

    program: Program
    fusion: Fusion
    snapshots: Sequence[Snapshot]
    note: str = ""


@dataclass(frozen=True, eq=False)
class _Built:
    graph: Graph
    program: Program
    fusion: Fusion
    nbytes: int
    copies: int = 0
    moves: Moves = field(default_factory=Moves)

    @property
    def flops(self) -> Size:
        return sum((k.flops for k in self.program.kernels), start=0)


def lower(snapshots: Sequence[Snapshot], *, merge: bool, memory: Memory | None) -> Lowered:
    """The program of the last of some graphs.

    Raises
    ------
    CompileError
        If no program within the limit was found, or a size is not stated.
    """
    last = snapshots[-1]
    marked = last.stage == "recompute"
    if not marked and memory is None:
        program, fusion = build_program(last.graph, merge=merge)
        return Lowered(program, fusion, snapshots)
    sizes = memory.sizes if memory else {}
    builds = _builds(last.graph, merge, sizes)
    plain = _builds(snapshots[-2].graph, merge, sizes)[0] if marked else builds[0]
    if memory is None:
        best = min(builds, key=lambda b: b.nbytes)
    else:
        best = _within(builds, merge, memory)
    found = [*snapshots]
    if best.copies:
        fired = {"recompute": best.copies}
        found.append(Snapshot("memory", best.graph, 0.0, fired, best.moves))
    copies = best.copies + (last.fired["recompute"] if marked else 0)
    return Lowered(best.program, best.fusion, found, _note(plain, best, copies, memory))


def _note(plain: _Built, best: _Built, copies: int, memory: Memory | None) -> str:
    if best.program is plain.program:
        return "nothing: the workspace is within the limit"
    sizes = memory.sizes if memory else {}
    why = ["gr.checkpoint"] if memory is None else [f"memory_limit={memory.limit}"]
    symbols = size_symbols(plain.program.workspace) | size_symbols(best.program.workspace)
    why += [f"{s} = {_value(s, sizes)}" for s in sorted(symbols)]
    what = f"{copies} nodes, {best.flops - plain.flops} flops more"
    return (
        f"{what if copies else 'nothing, but next values do not wait for the end'}; "
        f"workspace {plain.nbytes} -> {best.nbytes} bytes ({', '.join(why)})"
    )


def _value(symbol: str, sizes: Mapping[str, int]) -> int:
    return sizes.get(symbol, _TYPICAL)


def _number(size: Size, sizes: Mapping[str, int]) -> int:
    return evaluate_size(size, {s: _value(s, sizes) for s in size_symbols(size)})


# Search --------------------------------------------------------------------------------------


def _builds(graph: Graph, merge: bool, sizes: Mapping[str, int]) -> list[_Built]:
    """The program, and that which writes no parameter in place: what the next values are made
    of must not wait then until no error can come any more."""
    ways = (True, False) if graph.updates else (True,)
    return [_build(graph, merge, sizes, in_place) for in_place in ways]


def _build(graph: Graph, merge: bool, sizes: Mapping[str, int], in_place: bool) -> _Built:
    program, fusion = build_program(graph, merge=merge, in_place=in_place)
    return _Built(graph, program, fusion, _number(program.workspace, sizes))


def _within(builds: Sequence[_Built], merge: bool, memory: Memory) -> _Built:
    """The first program found that is within the limit."""
    _check_stated(builds[0].graph, memory)
    fits = next((b for b in builds if b.nbytes <= memory.limit), None)
    if fits is not None:
        return fits
    best = min(builds, key=lambda b: b.nbytes)
    start = builds[-1]
    for _ in range(_ROUNDS):
        reached = best.nbytes
        for built in _dropping(start, merge, memory):
            if built.nbytes <= memory.limit:
                return built
            best = min(best, built, key=lambda b: b.nbytes)
        if best.nbytes == reached:
            break
        start = best
    raise CompileError(
        f"compile: the workspace takes {builds[0].nbytes} bytes; the least that was found, "
        f"with values computed again, is {best.nbytes}, but memory_limit is {memory.limit}",
        hint="raise the limit, make the batch smaller, or mark parts with gr.checkpoint",
    )


def _check_stated(graph: Graph, memory: Memory) -> None:
    known = {s for leaf in (*graph.inputs, *graph.parameters()) for size in leaf.shape
             for s in size_symbols(size)}  # fmt: skip
    missing = sorted(known - memory.sizes.keys())
    if missing:
        raise CompileError(
            f"compile: memory_limit needs the sizes of {', '.join(missing)}",
            hint=f"memory_sizes={{{', '.join(f'{s!r}: 128' for s in missing)}}}",
        )


def _dropping(start: _Built, merge: bool, memory: Memory) -> Iterator[_Built]:
    """Programs that drop some values, in the order in which to try them."""
    waits = _Waiting(start, memory.sizes)
    for dropped in waits.plans(memory.limit)[:_PLANS]:
        replay = waits.replay(dropped)
        became = replayed(waits.order, [replay])
        graph = start.graph.with_roots([became[r] for r in start.graph.roots])
        built = _build(graph, merge, memory.sizes, in_place=False)
        copies = start.copies + len(replay.copies)
        moved = {old: became.get(new, new) for old, new in start.moves.final.items()} or became
        moves = Moves(moved, (moved,))
        yield _Built(graph, built.program, built.fusion, built.nbytes, copies, moves)


class _Waiting:
    """The values of a program that wait while it needs most memory.

    Attributes
    ----------
    order
        The nodes of the graph in the order of the kernels that compute them.
    values
        Those that wait, in this order.
    """

    def __init__(self, built: _Built, sizes: Mapping[str, int]) -> None:
        self.fusion, self.sizes = built.fusion, sizes
        self.roots = set(built.graph.roots)
        self.computed: dict[Expr, int] = {}
        for number, unit in enumerate(self.fusion.units):
            nodes = unit.nodes if isinstance(unit, Group) else [unit]
            self.computed.update(dict.fromkeys(nodes, number))
        self.time: dict[Expr, int] = {}
        for node in built.graph.nodes():
            before = max((self.time[a] for a in node.args), default=-1)
            self.time[node] = self.computed.get(self.fusion.became[node], before)
        self.order = sorted(built.graph.nodes(), key=self.time.__getitem__)
        self.reads = self._reads()
        live = self._live()
        self.peak = max(live, default=0)
        self.turn = live.index(self.peak) if live else 0
        self.values = [v for v in self.order if self._waits(v)]

    def owned(self, node: Expr) -> bool:
        return self.fusion.owns_memory(self.fusion.became[node])

    def nbytes(self, node: Expr) -> int:
        return _number(node.type.nbytes, self.sizes)

    def _reads(self) -> dict[Expr, set[int]]:
        """When kernels read each value that lies in memory."""
        reads: dict[Expr, set[int]] = {}
        sources: dict[Expr, set[Expr]] = {}
        for node in self.order:
            parts = ({a} if self.owned(a) else sources[a] for a in node.args)
            sources[node] = set().union(*parts)
            if self.fusion.became[node] in self.computed:
                for x in sources[node]:
                    reads.setdefault(x, set()).add(self.time[node])
        return reads

    def _in_workspace(self, node: Expr) -> bool:
        buffer = self.fusion.buffers.get(self.fusion.became[node])
        return buffer is not None and buffer.kind == "workspace"

    def _live(self) -> list[int]:
        """Bytes in use while each unit runs."""
        change = [0] * (len(self.fusion.units) + 1)
        for node in self.order:
            if node in self.reads and self._in_workspace(node):
                change[self.time[node]] += self.nbytes(node)
                change[max(self.reads[node]) + 1] -= self.nbytes(node)
        return list(accumulate(change))[:-1]

    def _waits(self, node: Expr) -> bool:
        times = self.reads.get(node, set())
        return (
            self.time[node] < self.turn < max(times, default=-1)
            and self.turn not in times
            and self._in_workspace(node)
            and node not in self.roots
            and self.nbytes(node) > 0
        )

    # plans ------------------------------------------------------------------------------------

    def plans(self, limit: int) -> list[frozenset[Expr]]:
        """Sets of values to drop: first those that seem to fit, by their work."""
        works = {v: self.work({v}) / self.nbytes(v) for v in self.values}
        levels = _quartiles(sorted(works.values()))
        found: dict[frozenset[Expr], tuple[bool, int]] = {}
        for level in levels:
            cheap = [v for v in self.values if works[v] <= level]
            for count in [c for c in _COUNTS if c < len(cheap)] + [len(cheap)]:
                for runs in [r for r in _RUNS if r <= count]:
                    parts = self.cut(cheap[:count], runs)
                    dropped = frozenset(v for part in parts for v in part)
                    if dropped and dropped not in found:
                        peak = self.guess(parts)
                        found[dropped] = peak > limit, peak if peak > limit else 0
        work = {d: self.work(d) for d in found}
        return sorted(found, key=lambda d: (found[d], work[d]))

    def cut(self, values: Sequence[Expr], runs: int) -> list[list[Expr]]:
        """Runs of about equal size; between them one value is kept."""
        total = sum(map(self.nbytes, values))
        parts: list[list[Expr]] = [[]]
        done = 0
        for v in values:
            done += self.nbytes(v)
            if done * runs > total * len(parts) and len(parts) < runs:
                parts.append([])
            else:
                parts[-1].append(v)
        return parts

    def guess(self, parts: Sequence[Sequence[Expr]]) -> int:
        """Bytes at the peak, or when the values of one part are there again with those that
        were kept before."""
        dropped = {v for part in parts for v in part}
        most = self.peak - sum(map(self.nbytes, dropped))
        for part in parts:
            if part:
                kept = [v for v in self.values if v not in dropped]
                earlier = [v for v in kept if self.time[v] < self.time[part[-1]]]
                most = max(most, sum(map(self.nbytes, [*part, *earlier])))
        return most

    def work(self, dropped: Set[Expr]) -> int:
        return sum(_number(node_flops(n), self.sizes) for n in self.needed(dropped, dropped))

    # copies -----------------------------------------------------------------------------------

    def remade(self, node: Expr, dropped: Set[Expr]) -> bool:
        """Whether a copy that needs the node needs a copy of it."""
        if node in dropped:
            return True
        if not node.args or node in self.roots or self.time[node] > self.turn:
            return False
        if not self.owned(node):
            return True
        return (
            self._in_workspace(node) and max(self.reads.get(node, ()), default=-1) <= self.turn
        )

    def needed(self, wanted: Set[Expr], dropped: Set[Expr]) -> set[Expr]:
        """Nodes to copy for copies of some nodes."""
        found, pending = set(wanted), list(wanted)
        while pending:
            new = {a for a in pending.pop().args if a not in found and self.remade(a, dropped)}
            found |= new
            pending += new
        return found

    def replay(self, dropped: Set[Expr]) -> Replay:
        """What to compute again."""
        stale = set()
        for node in self.order:
            again = node in dropped or any(a in stale for a in node.args)
            if again and self.time[node] <= self.turn and self.remade(node, dropped):
                stale.add(node)
        late = [u for u in self.order if self.time[u] > self.turn]
        late = [u for u in late if any(a in stale for a in u.args)]
        wanted = {a for u in late for a in u.args if a in stale}
        copied = self.needed(wanted, dropped)
        return Replay(set(late), wanted, copied, self.waits_for(copied, late))

    def waits_for(
        self, copied: Set[Expr], late: Sequence[Expr]
    ) -> dict[Expr, tuple[Expr, ...]]:
        """For each copy the last value that is computed before some late node needs it."""
        need: dict[Expr, int] = {}
        for user in [*late, *(n for n in reversed(self.order) if n in copied)]:
            time = need[user] if user in copied else self.time[user]
            for a in user.args:
                if a in copied:
                    need[a] = min(time, need.get(a, time))
        last: dict[int, Expr] = {}
        for node in self.order:
            if self.fusion.became[node] in self.computed:
                last[self.time[node]] = node
        times = sorted(last)
        return {n: (last[times[bisect_left(times, t) - 1]],) for n, t in need.items()}


def _quartiles(values: Sequence[float]) -> list[float]:
    """Values that a quarter, a half, ... of sorted ones do not exceed."""
    found = (values[-(-len(values) * i // 4) - 1] for i in (1, 2, 3, 4) if values)
    return list(dict.fromkeys(found))
