"""The order in which units run: long segments of one kind, straight-line blocks between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import numpy as np

from graphc.roll.regions import Ints
from graphc.roll.units import Units

#: Fewer units than this in a row, or fewer nodes, are written out.
SHORTEST = 4
FEWEST = 32
#: Nodes of a block: compilers are superlinear in the length of straight-line code.
BLOCK = 400
#: A segment whose units depend on each other is cut into levels if there are few enough, and
#: each holds enough units to run side by side.
LEVELS = 24
WIDE = 16


@dataclass(frozen=True, eq=False)
class Segment:
    """Units of one kind in the order in which they run; rows of nodes."""

    nodes: Ints


def schedule(operands: Ints, units: Units) -> list[Segment]:
    """Segments that together compute each node once, after what it reads."""
    before, after = _dependences(operands, units.of)
    found: list[Segment] = []
    block: list[Ints] = []
    length = 0

    def close() -> None:
        nonlocal length
        if block:
            found.append(Segment(np.concatenate(block)[None, :]))
            block.clear()
            length = 0

    for run in _runs(before, after, units.kind):
        for part in _levels(before, after, run, units):
            nodes = units.nodes(part)
            if len(part) >= SHORTEST and nodes.size >= FEWEST:
                close()
                found.append(Segment(nodes))
                continue
            for row in nodes:
                if length + len(row) > BLOCK:
                    close()
                block.append(row)
                length += len(row)
    close()
    return found


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


def _runs(before: list[list[int]], after: list[list[int]], kinds: Ints) -> Iterator[list[int]]:
    """Units in an order that stays with a kind for as long as one is ready, in turn."""
    kind = kinds.tolist()
    missing = [len(b) for b in before]
    ready: dict[int, list[int]] = {}
    for unit, count in enumerate(missing):
        if not count:
            ready.setdefault(kind[unit], []).append(unit)
    for queue in ready.values():
        heapify(queue)
    while ready:
        current = max(ready, key=lambda k: len(ready[k]))
        queue = ready[current]
        run: list[int] = []
        while queue:
            unit = heappop(queue)
            run.append(unit)
            for other in after[unit]:
                missing[other] -= 1
                if not missing[other]:
                    heappush(ready.setdefault(kind[other], []), other)
        del ready[current]
        yield run


def _levels(
    before: list[list[int]], after: list[list[int]], run: list[int], units: Units
) -> list[Ints]:
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
