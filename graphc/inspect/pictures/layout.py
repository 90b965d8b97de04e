"""Layered drawing of a directed acyclic graph, top down.

The method of Sugiyama, Tagawa and Toda (1981): layers, then an order within each layer with
few crossings (barycentres), then coordinates. An edge that spans several layers runs through
one bend point in each; all edges of a source share them. Coordinates are least-squares
positions between the neighbours under the order's distances, found exactly layer by layer
(pool adjacent violators).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

#: Distances in pixels: between boxes of a layer, between lines, between layers.
GAP, LINE_GAP, LAYER_GAP = 22.0, 14.0, 34.0
_LAYER_SWEEPS, _ORDER_SWEEPS, _EXCHANGE_SWEEPS, _PLACE_SWEEPS, _STRAIGHT_SWEEPS = (
    3,
    16,
    6,
    24,
    4,
)


@dataclass(frozen=True)
class Segment:
    """A piece of an edge between adjacent layers; ``edge`` is set on its last piece."""

    upper: int
    lower: int
    edge: int | None = None


@dataclass(frozen=True)
class Layout:
    """Centres of boxes (first) and bend points, their layers, and the pieces of edges.

    ``spans`` gives the top and bottom of each layer.
    """

    x: tuple[float, ...]
    layer: tuple[int, ...]
    spans: tuple[tuple[float, float], ...]
    segments: tuple[Segment, ...]
    width: float

    @property
    def height(self) -> float:
        return self.spans[-1][1] if self.spans else 0.0

    def y(self, vertex: int) -> float:
        top, bottom = self.spans[self.layer[vertex]]
        return (top + bottom) / 2


def arrange(sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]]) -> Layout:
    """Place boxes of given (width, height).

    Parameters
    ----------
    sizes
        Of the boxes, in an order in which sources stand before targets.
    edges
        Pairs of positions; an edge may occur several times.
    """
    layer = assign_layers(len(sizes), edges)
    segments = _bend(layer, edges)
    widths = [w for w, _ in sizes] + [0.0] * (len(layer) - len(sizes))
    rows: list[list[int]] = [[] for _ in range(max(layer, default=-1) + 1)]
    for vertex, at in enumerate(layer):
        rows[at].append(vertex)
    above, below = _neighbours(len(layer), segments)
    rows = _reduce_crossings(rows, above, below)
    x = _place(rows, above, below, widths, len(sizes))
    left = min((x[v] - widths[v] / 2 for v in range(len(x))), default=0.0)
    x = [value - left for value in x]
    right = max((x[v] + widths[v] / 2 for v in range(len(x))), default=0.0)
    spans = _spans(rows, sizes, segments, layer, x)
    return Layout(tuple(x), tuple(layer), spans, tuple(segments), right)


# Layers -------------------------------------------------------------------------------------


def assign_layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Layer of each vertex: sources above targets, lines short.

    Starts as high and as low as possible; each is improved by moving single vertices, and the
    one with shorter lines is kept. All lines of a source share one trunk, so a source counts
    with its farthest target.
    """
    above: list[set[int]] = [set() for _ in range(count)]
    below: list[set[int]] = [set() for _ in range(count)]
    for source, target in edges:
        above[target].add(source)
        below[source].add(target)
    high = [0] * count
    for v in range(count):
        high[v] = max((high[u] + 1 for u in above[v]), default=0)
    low = [max(high, default=0)] * count
    for v in reversed(range(count)):
        low[v] = min((low[u] - 1 for u in below[v]), default=low[v])
    candidates = [_shortened(start, above, below) for start in (high, low)]
    best = min(candidates, key=lambda layer: _length(layer, below))
    lowest = min(best, default=0)
    return [at - lowest for at in best]


def _length(layer: Sequence[int], below: Sequence[set[int]]) -> int:
    return sum(max(layer[v] for v in b) - at for at, b in zip(layer, below, strict=True) if b)


def _shortened(
    layer: list[int], above: Sequence[set[int]], below: Sequence[set[int]]
) -> list[int]:
    layer = list(layer)
    for _ in range(_LAYER_SWEEPS):
        for v in reversed(range(len(layer))):
            layer[v] = _lowered(v, layer, above, below)
        for v in range(len(layer)):
            layer[v] = _raised(v, layer, above, below)
    return layer


def _lowered(
    vertex: int, layer: list[int], above: Sequence[set[int]], below: Sequence[set[int]]
) -> int:
    """The lowest layer, if what the line below saves is not less than what those above cost."""
    if not below[vertex]:
        return layer[vertex]
    here, there = layer[vertex], min(layer[v] for v in below[vertex]) - 1
    cost = 0
    for u in above[vertex]:
        follows = not above[u] and len(below[u]) == 1
        if not follows:
            cost += max(0, there - max(here, _reach(u, vertex, layer, below)))
    return there if cost <= there - here else here


def _raised(
    vertex: int, layer: list[int], above: Sequence[set[int]], below: Sequence[set[int]]
) -> int:
    """The highest layer, if the lines above save more than the line below costs."""
    if not above[vertex]:
        return layer[vertex]
    here, there = layer[vertex], max(layer[u] for u in above[vertex]) + 1
    saved = sum(
        max(0, here - max(there, _reach(u, vertex, layer, below))) for u in above[vertex]
    )
    cost = here - there if below[vertex] else 0
    return there if saved > cost else here


def _reach(u: int, without: int, layer: Sequence[int], below: Sequence[set[int]]) -> int:
    """The lowest layer that the line of ``u`` reaches for the sake of others."""
    return max((layer[v] for v in below[u] if v != without), default=0)


def _bend(layer: list[int], edges: Sequence[tuple[int, int]]) -> list[Segment]:
    """Pieces of edges between adjacent layers; bend points are added to ``layer``."""
    trunk: dict[tuple[int, int], int] = {}
    segments = []
    for number, (source, target) in enumerate(edges):
        at = source
        for level in range(layer[source] + 1, layer[target]):
            bend = trunk.get((source, level))
            if bend is None:
                bend = trunk[source, level] = len(layer)
                layer.append(level)
                segments.append(Segment(at, bend))
            at = bend
        segments.append(Segment(at, target, number))
    return segments


def _neighbours(
    count: int, segments: Sequence[Segment]
) -> tuple[list[list[int]], list[list[int]]]:
    above: list[list[int]] = [[] for _ in range(count)]
    below: list[list[int]] = [[] for _ in range(count)]
    for s in segments:
        above[s.lower].append(s.upper)
        below[s.upper].append(s.lower)
    return above, below


# Order within layers ------------------------------------------------------------------------


def _reduce_crossings(
    rows: list[list[int]], above: Sequence[Sequence[int]], below: Sequence[Sequence[int]]
) -> list[list[int]]:
    """Sort layers by the mean place of their neighbours, down and up; the best is kept."""
    best, fewest = [list(row) for row in rows], crossings(rows, below)
    for sweep in range(_ORDER_SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        near = above if down else below
        for level in range(1, len(rows)) if down else reversed(range(len(rows) - 1)):
            fixed = rows[level - 1 if down else level + 1]
            rows[level] = _by_barycentre(rows[level], fixed, near, sweep)
        count = crossings(rows, below)
        if count < fewest:
            best, fewest = [list(row) for row in rows], count
    for _ in range(_EXCHANGE_SWEEPS):
        if not _exchange(best, above, below):
            break
    return best


def _by_barycentre(
    row: list[int], fixed: list[int], near: Sequence[Sequence[int]], sweep: int
) -> list[int]:
    """The row sorted by mean neighbour place; what has no neighbours keeps its share.

    Every other pair of sweeps turns ties round, so that sorting does not get stuck on them.
    """
    place = {v: i for i, v in enumerate(fixed)}
    scale = len(fixed) / max(1, len(row))
    key = {}
    for i, v in enumerate(row):
        around = near[v]
        mean = (
            sum(place[u] for u in around) / len(around) if around else (i + 0.5) * scale - 0.5
        )
        key[v] = mean, (i if sweep % 4 < 2 else -i)
    return sorted(row, key=key.__getitem__)


def _exchange(
    rows: Sequence[list[int]], above: Sequence[Sequence[int]], below: Sequence[Sequence[int]]
) -> bool:
    """Exchange neighbours in a layer where fewer lines cross then; whether any were."""
    place = {v: i for row in rows for i, v in enumerate(row)}
    near = [
        (sorted(place[u] for u in above[v]), sorted(place[u] for u in below[v]))
        for v in range(len(above))
    ]
    changed = False
    for row in rows:
        for i in range(len(row) - 1):
            v, w = row[i], row[i + 1]
            now = sum(map(_inversions, near[v], near[w]))
            if now and now > sum(map(_inversions, near[w], near[v])):
                row[i], row[i + 1] = w, v
                changed = True
        for i, v in enumerate(row):
            moved = place[v] != i
            place[v] = i
            if moved:
                for u in {*above[v], *below[v]}:
                    near[u] = (
                        sorted(place[t] for t in above[u]),
                        sorted(place[t] for t in below[u]),
                    )
    return changed


def _inversions(left: Sequence[int], right: Sequence[int]) -> int:
    """Crossings of the lines of two neighbours, given the sorted places of their other ends."""
    return sum(bisect_left(right, end) for end in left)


def crossings(rows: Sequence[Sequence[int]], below: Sequence[Sequence[int]]) -> int:
    """How many pairs of edges cross."""
    total = 0
    for row, following in pairwise(rows):
        place = {v: i for i, v in enumerate(following)}
        seen: list[int] = []
        for v in row:
            ends = sorted(place[u] for u in below[v])
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


# Coordinates --------------------------------------------------------------------------------


def _place(
    rows: Sequence[Sequence[int]],
    above: Sequence[Sequence[int]],
    below: Sequence[Sequence[int]],
    widths: Sequence[float],
    boxes: int,
) -> list[float]:
    """Horizontal centres: each layer in turn is pulled to its neighbours, lines most of all."""
    x = [0.0] * len(widths)
    offsets = [_offsets(row, widths, boxes) for row in rows]
    for row, offset in zip(rows, offsets, strict=True):
        for v, at in zip(row, offset, strict=True):
            x[v] = at - (offset[-1] / 2)
    for sweep in range(_PLACE_SWEEPS):
        down = sweep % 2 == 0
        last = sweep >= _PLACE_SWEEPS - 6
        for level in range(len(rows)) if down else reversed(range(len(rows))):
            pulls = []
            for v in rows[level]:
                near = [*above[v], *below[v]] if last else above[v] if down else below[v]
                pulls.append(_pull(v, near, x, boxes, above))
            for v, at in zip(rows[level], _spread(pulls, offsets[level]), strict=True):
                x[v] = at
    for _ in range(_STRAIGHT_SWEEPS):
        _straighten(rows, offsets, below, x, boxes)
    return x


def _straighten(
    rows: Sequence[Sequence[int]],
    offsets: Sequence[Sequence[float]],
    below: Sequence[Sequence[int]],
    x: list[float],
    boxes: int,
) -> None:
    """Make each line vertical over as many layers as its neighbours leave room for."""
    room = {
        v: (row, i, offset)
        for row, offset in zip(rows, offsets, strict=True)
        for i, v in enumerate(row)
    }

    def free(v: int) -> tuple[float, float]:
        row, i, offset = room[v]
        low = x[row[i - 1]] + offset[i] - offset[i - 1] if i else -inf
        high = x[row[i + 1]] - offset[i + 1] + offset[i] if i + 1 < len(row) else inf
        return low, high

    started: set[int] = set()
    for row in rows:
        for v in row:
            if v < boxes or v in started:
                continue
            run, low, high = [v], *free(v)
            while following := [u for u in below[run[-1]] if u >= boxes]:
                a, b = free(following[0])
                if max(low, a) > min(high, b):
                    break
                low, high = max(low, a), min(high, b)
                run.append(following[0])
            started.update(run)
            middle = sorted(x[u] for u in run)[len(run) // 2]
            for u in run:
                x[u] = min(max(middle, low), high)


def _offsets(row: Sequence[int], widths: Sequence[float], boxes: int) -> list[float]:
    """Smallest distance of each vertex of a layer from the first."""
    offsets = [0.0]
    for a, b in pairwise(row):
        gap = LINE_GAP if a >= boxes and b >= boxes else GAP
        offsets.append(offsets[-1] + (widths[a] + widths[b]) / 2 + gap)
    return offsets


def _pull(
    v: int,
    near: Sequence[int],
    x: Sequence[float],
    boxes: int,
    above: Sequence[Sequence[int]],
) -> tuple[float, float]:
    """Where a vertex wants to be, and how strongly.

    Bend points of one line stay in line; leaves follow the operation, not it them.
    """
    if not near:
        return x[v], 0.05
    total = weight = 0.0
    for u in near:
        leaf = not above[u] or not above[v]
        w = (
            (0.1 if leaf else 1.0)
            + 2.0 * (u >= boxes)
            + 2.0 * (v >= boxes)
            + 4.0 * (u >= boxes and v >= boxes)
        )
        total += w * x[u]
        weight += w
    return total / weight, weight


def _spread(pulls: Sequence[tuple[float, float]], offsets: Sequence[float]) -> list[float]:
    """Positions nearest to the wanted ones (weighted squares) that keep the distances.

    In ``x - offset`` the distances say: not decreasing. Violating neighbours are pooled.
    """
    pools: list[tuple[float, float, int]] = []  # mean, weight, members
    for (wanted, weight), offset in zip(pulls, offsets, strict=True):
        mean, members = wanted - offset, 1
        while pools and pools[-1][0] > mean:
            m, w, n = pools.pop()
            mean = (mean * weight + m * w) / (weight + w)
            weight, members = weight + w, members + n
        pools.append((mean, weight, members))
    means = [mean for mean, _, members in pools for _ in range(members)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _spans(
    rows: Sequence[Sequence[int]],
    sizes: Sequence[tuple[float, float]],
    segments: Sequence[Segment],
    layer: Sequence[int],
    x: Sequence[float],
) -> tuple[tuple[float, float], ...]:
    """Top and bottom of each layer; the space below it grows with how far lines run across."""
    across = [0.0] * len(rows)
    for s in segments:
        level = layer[s.upper]
        across[level] = max(across[level], abs(x[s.upper] - x[s.lower]))
    spans, top = [], 0.0
    for level, row in enumerate(rows):
        height = max((sizes[v][1] for v in row if v < len(sizes)), default=0.0)
        spans.append((top, top + height))
        top += height + LAYER_GAP + min(60.0, across[level] / 10)
    return tuple(spans)
