"""The order in which units run: long segments of one kind, straight-line blocks between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np

from graphc.roll.periods import find_stretches
from graphc.roll.regions import Ints
from graphc.roll.units import Units, components, find_units

#: Fewer units than this in a row, or fewer nodes, are written out.
SHORTEST = 4
FEWEST = 32
#: Nodes of a block: compilers are superlinear in the length of straight-line code.
BLOCK = 400
#: A segment whose units depend on each other is cut into levels if there are few enough, and
#: each holds enough units to run side by side.
LEVELS = 24
WIDE = 16
#: Pieces with so many operations together are little code.
ENOUGH = 1000
#: A sequence of segments is looked for up to this length, with so many nodes; it is put
#: together if that saves more than so many.
LONGEST = 48
BODY = 2000
SAVED = 8


@dataclass(frozen=True, eq=False)
class Segment:
    """Pieces of one shape in the order in which they run: a row of nodes for each.

    ``shape`` is equal for segments of as many pieces of the same shape.
    """

    nodes: Ints
    shape: object


@dataclass(frozen=True, eq=False)
class Turns:
    """Segments that take turns, an equal part of each in each of ``times`` rounds."""

    segments: list[Segment]
    times: int = 1


def arrange(tokens: Ints, operands: Ints) -> list[Turns]:
    """Segments that together compute each node of a region once, after what it reads.

    If much code is left, because parts of a repetition wait for each other in loops whose
    lengths differ, repetitions are left whole where that is less.
    """
    stretches = find_stretches(tokens, operands)
    found = schedule(tokens, operands, find_units(tokens, operands, stretches))
    if code_size(found) <= max(ENOUGH, len(tokens) // 50):
        return found
    whole = find_units(tokens, operands, stretches, divided=False)
    return min(found, schedule(tokens, operands, whole), key=code_size)


def code_size(turns: list[Turns]) -> int:
    """Operations of all pieces together."""
    return sum(s.nodes.shape[1] for group in turns for s in group.segments)


def schedule(tokens: Ints, operands: Ints, units: Units) -> list[Turns]:
    """Segments of the units, in an order in which they can run."""
    before, after = _dependences(operands, units.of)
    kinds, component = _kinds(before, after, units)
    found: list[Segment] = []
    block: list[Ints] = []

    def close() -> None:
        if block:
            found.append(_block(np.concatenate(block), tokens, operands))
            block.clear()

    for run in _runs(before, after, kinds, component):
        for part in _levels(before, run):
            nodes = units.nodes(part)
            if len(part) >= SHORTEST and nodes.size >= FEWEST:
                close()
                found.append(Segment(nodes, (int(units.kind[part[0]]), len(part))))
                continue
            for row in nodes:
                if sum(map(len, block)) + len(row) > BLOCK:
                    close()
                block.append(row)
    close()
    return _turns(found)


def _block(nodes: Ints, tokens: Ints, operands: Ints) -> Segment:
    """Nodes that are written out."""
    place = {node: k for k, node in enumerate(nodes.tolist())}
    wiring = [tuple(place.get(a, -1) for a in row) for row in operands[nodes].tolist()]
    return Segment(nodes[None, :], (tokens[nodes].tobytes(), tuple(wiring)))


def _turns(segments: list[Segment]) -> list[Turns]:
    """Sequences of segments that come several times in a row are put together."""
    shapes: dict[object, int] = {}
    names = [shapes.setdefault(s.shape, len(shapes)) for s in segments]
    sizes = [s.nodes.shape[1] for s in segments]
    found: list[Turns] = []
    start = 0
    while start < len(names):
        period, times = _repeated(names, sizes, start)
        group = segments[start : start + period * times]
        merged = [
            Segment(np.concatenate([s.nodes for s in group[k::period]]), group[k].shape)
            for k in range(period)
        ]
        found.append(Turns(merged, times))
        start += period * times
    return found


def _repeated(names: list[int], sizes: list[int], start: int) -> tuple[int, int]:
    """How many segments from one on are a sequence that comes again, and how often."""
    best, saved = (1, 1), SAVED
    for period in range(1, min(LONGEST, (len(names) - start) // 2) + 1):
        first = names[start : start + period]
        length = sum(sizes[start : start + period])
        if length > BODY:
            break
        times = 1
        while names[start + times * period : start + (times + 1) * period] == first:
            times += 1
        if (times - 1) * length > saved:
            best, saved = (period, times), (times - 1) * length
    return best


def _dependences(operands: Ints, of: Ints) -> tuple[list[list[int]], list[list[int]]]:
    """For each unit the units that it reads, and those that read it."""
    node, column = np.nonzero(operands >= 0)
    reader, read = of[node], of[operands[node, column]]
    count = int(of.max(initial=-1)) + 1
    pairs = np.unique((read * count + reader)[read != reader])
    before: list[list[int]] = [[] for _ in range(count)]
    after: list[list[int]] = [[] for _ in range(count)]
    for w, u in zip((pairs // count).tolist(), (pairs % count).tolist(), strict=True):
        before[u].append(w)
        after[w].append(u)
    return before, after


def _kinds(
    before: list[list[int]], after: list[list[int]], units: Units
) -> tuple[list[int], list[int]]:
    """The kind of each unit, and the component of each kind in the order of kinds.

    Single nodes are told apart by how often the way to them changes between single nodes and
    repetitions: what prepares a repetition is not mixed with what follows it.
    """
    kind = units.kind.tolist()
    single = [len(p) == 1 for p in units.places]
    depth = [0] * len(kind)
    missing = [len(b) for b in before]
    ready = [u for u, count in enumerate(missing) if not count]
    while ready:
        unit = ready.pop()
        own = single[kind[unit]]
        for other in after[unit]:
            step = depth[unit] + (single[kind[other]] != own)
            depth[other] = max(depth[other], step)
            missing[other] -= 1
            if not missing[other]:
                ready.append(other)
    names: dict[tuple[int, int], int] = {}
    kinds = [
        names.setdefault((k, depth[u] if single[k] else -1), len(names))
        for u, k in enumerate(kind)
    ]
    edges = {(kinds[w], kinds[u]) for u, sources in enumerate(before) for w in sources}
    return kinds, components(len(names), sorted(edges))


def _runs(
    before: list[list[int]], after: list[list[int]], kind: list[int], component: list[int]
) -> Iterator[list[int]]:
    """Units in an order that stays with a kind for as long as one is ready.

    A component is begun when those before it are done.
    """
    missing = [len(b) for b in before]
    ready: dict[int, dict[int, list[int]]] = {}  # component: kind: units
    waiting: list[int] = []

    def add(unit: int) -> None:
        number = component[kind[unit]]
        if number not in ready:
            ready[number] = {}
            heappush(waiting, number)
        heappush(ready[number].setdefault(kind[unit], []), unit)

    for unit, count in enumerate(missing):
        if not count:
            add(unit)
    while waiting:
        queues = ready[waiting[0]]
        current = max(queues, key=lambda k: len(queues[k]))
        queue = queues[current]
        run: list[int] = []
        while queue:
            unit = heappop(queue)
            run.append(unit)
            for other in after[unit]:
                missing[other] -= 1
                if not missing[other]:
                    add(other)
        del queues[current]
        if not queues:
            del ready[heappop(waiting)]
        yield run


def _levels(before: list[list[int]], run: list[int]) -> list[Ints]:
    """The run, or its levels if each can run side by side."""
    whole = [np.array(run, np.int64)]
    if len(run) < 2 * WIDE:
        return whole
    level: dict[int, int] = {}
    for unit in run:
        level[unit] = 1 + max([level[b] for b in before[unit] if b in level], default=-1)
    depth = max(level.values()) + 1
    if depth == 1 or depth > LEVELS or len(run) < depth * WIDE:
        return whole
    cut: list[list[int]] = [[] for _ in range(depth)]
    for unit in run:
        cut[level[unit]].append(unit)
    return [np.array(part, np.int64) for part in cut]
