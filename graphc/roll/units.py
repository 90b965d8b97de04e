"""Units: the pieces that are computed as a whole.

A repetition found in the order of the nodes is cut into units where that frees work from a
recurrence (loop distribution; Allen and Kennedy, Optimizing Compilers for Modern
Architectures, chapter 2): what does not depend on an earlier repetition of itself can run for
all repetitions side by side. Every node outside of repetitions is a unit of its own. Units of
one kind are equal in shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphc.roll.periods import Stretch
from graphc.roll.regions import Ints

Edge = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Units:
    """A region cut into units.

    Attributes
    ----------
    of
        The unit of each node.
    kind, first
        Of each unit: its kind, and the node that the places of its nodes are counted from.
    places
        Of each kind: where the nodes of a unit are.
    """

    of: Ints
    kind: Ints
    first: Ints
    places: list[Ints]

    def nodes(self, units: Ints) -> Ints:
        """The nodes of units of one kind: a row for each unit."""
        return self.first[units][:, None] + self.places[int(self.kind[units[0]])]


def find_units(
    tokens: Ints, operands: Ints, stretches: Sequence[Stretch], *, divided: bool = True
) -> Units:
    """Cut a region, given its repetitions, which may be left whole."""
    of = np.full(len(tokens), -1, np.int64)
    kinds: dict[object, int] = {}
    places: list[Ints] = []
    kind, first = [], []
    count = 0
    for stretch in stretches:
        parts = _parts(operands, stretch) if divided else [np.arange(stretch.period)]
        for part in parts:
            key = _shape(tokens, operands, stretch, part)
            number = kinds.setdefault(key, len(places))
            if number == len(places):
                places.append(part)
            starts = stretch.first + stretch.period * np.arange(stretch.times)
            of[starts[:, None] + part] = count + np.arange(stretch.times)[:, None]
            kind.append(np.full(stretch.times, number))
            first.append(starts)
            count += stretch.times
    single = np.flatnonzero(of < 0)
    of[single] = count + np.arange(len(single))
    kind.append(len(places) + _single_kinds(tokens[single], operands[single]))
    first.append(single)
    found = np.concatenate(kind)
    places += [np.zeros(1, np.int64)] * (int(found.max(initial=-1)) + 1 - len(places))
    return Units(of, found, np.concatenate(first), places)


def _single_kinds(tokens: Ints, operands: Ints) -> Ints:
    """Kinds of units of one node: what it computes, and whether its operands are the same."""
    same = operands[:, :1] == operands
    key = (tokens * (1 << operands.shape[1])) + same @ (1 << np.arange(operands.shape[1]))
    kinds: Ints = np.unique(key, return_inverse=True)[1].reshape(-1)
    return kinds


def _shape(tokens: Ints, operands: Ints, stretch: Stretch, part: Ints) -> object:
    """What units of one kind have in common."""
    row = stretch.first + part
    inner = np.isin(operands[row], row)
    wiring = np.where(inner, operands[row] - stretch.first, -1)
    return part.tobytes(), tokens[row].tobytes(), wiring.tobytes()


def _parts(operands: Ints, stretch: Stretch) -> list[Ints]:
    """The places of a repetition, in parts that run one after the other."""
    p = stretch.period
    inner, across = _edges(operands, stretch)
    component = components(p, [*inner, *across])
    recurrent = {component[w] for w, u in across if component[w] == component[u]}
    level = _levels(component, recurrent, inner, across)
    keys = [(level[c], c in recurrent) for c in component]
    return [
        np.array([x for x in range(p) if keys[x] == key], np.int64) for key in sorted(set(keys))
    ]


def _edges(operands: Ints, stretch: Stretch) -> tuple[list[Edge], list[Edge]]:
    """Which place of a repetition is read at which: of the same one, and of earlier ones."""
    p, size = stretch.period, stretch.period * stretch.times
    sources = operands[stretch.first : stretch.first + size] - stretch.first
    node, column = np.nonzero(sources >= 0)
    source = sources[node, column]
    same = source // p == node // p
    codes = source % p * p + node % p
    pairs = [np.unique(codes[m]) for m in (same, ~same)]
    inner, across = ([divmod(int(c), p) for c in found] for found in pairs)
    return inner, across


def components(count: int, edges: Sequence[Edge]) -> list[int]:
    """Strongly connected components, numbered with sources first (Kosaraju)."""
    after: list[list[int]] = [[] for _ in range(count)]
    before: list[list[int]] = [[] for _ in range(count)]
    for w, u in edges:
        after[w].append(u)
        before[u].append(w)
    component = [-1] * count
    for number, root in enumerate(reversed(_finished(after))):
        if component[root] < 0:
            pending = [root]
            component[root] = number
            while pending:
                for w in before[pending.pop()]:
                    if component[w] < 0:
                        component[w] = number
                        pending.append(w)
    return component


def _finished(after: Sequence[Sequence[int]]) -> list[int]:
    """Vertices in the order in which a depth-first walk leaves them."""
    done: list[int] = []
    seen = [False] * len(after)
    for root in range(len(after)):
        stack = [] if seen[root] else [(root, iter(after[root]))]
        seen[root] = True
        while stack:
            vertex, rest = stack[-1]
            following = next((u for u in rest if not seen[u]), None)
            if following is None:
                done.append(vertex)
                stack.pop()
            else:
                seen[following] = True
                stack.append((following, iter(after[following])))
    return done


def _levels(
    component: Sequence[int], recurrent: set[int], inner: Sequence[Edge], across: Sequence[Edge]
) -> dict[int, int]:
    """When each component runs: later than what it reads, if that is of the other sort.

    What reads earlier repetitions, but is not recurrent, comes after all of them.
    """
    incoming: dict[int, list[tuple[int, bool]]] = {c: [] for c in component}
    for edges, crosses in ((inner, False), (across, True)):
        for w, u in edges:
            if component[w] != component[u]:
                incoming[component[u]].append((component[w], crosses))
    level: dict[int, int] = {}
    for c in sorted(incoming):
        later = [
            level[w]
            + ((w in recurrent) != (c in recurrent) or (crosses and c not in recurrent))
            for w, crosses in incoming[c]
        ]
        level[c] = max(later, default=0)
    return level
