"""Repetitions in the order of a region's nodes.

Loops in the user's program, and sweeps over what they made, leave the same operations in
the same wiring again and again at a fixed distance, the period. Candidates for periods are the
distances at which stretches of operations come back; where a period holds is then a comparison
of each node with the one a period later, so all is linear in the number of nodes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from graphc.roll.regions import NONE, Ints

#: Lengths of the stretches that are looked up, and how many distances of each are tried.
STRETCHES = (3, 8, 24, 96)
CANDIDATES = 3
#: The longest piece.
LONGEST = 768
#: A repetition is worth a loop from this many times, and nodes beyond the first time, on.
TIMES = 3
SAVED = 24
#: A shorter period is as good if it holds on this part of a place.
NEARLY = 0.9


@dataclass(frozen=True)
class Stretch:
    """Nodes ``first ... first + period*times - 1``, equal in steps of ``period``."""

    first: int
    period: int
    times: int


def find_stretches(tokens: Ints, operands: Ints) -> list[Stretch]:
    """Disjoint repetitions, those that leave least first."""
    free = np.ones(len(tokens), bool)
    near = _distances(operands)
    matches = {p: _matching(tokens, near, p) for p in _candidates(tokens)}
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(_mixed(tokens))])
    found: list[Stretch] = []
    while matches:
        tried = {p: _cover(match, free, p) for p, match in matches.items()}
        saved = {p: _saved(places, p, sums) for p, places in tried.items()}
        best = max(saved, key=lambda p: saved[p])
        if saved[best] < SAVED:
            break
        for first, length, period in _refined(tried, best):
            stretch = _placed(first, length, period, tokens, near)
            free[stretch.first : stretch.first + stretch.period * stretch.times] = False
            found.append(stretch)
        del matches[best]
    return found


def _distances(operands: Ints) -> Ints:
    """How far back each operand lies; 0: there is none, very far: outside the region."""
    here = np.arange(len(operands))[:, None]
    far = np.where(operands == NONE, 0, np.int64(1) << 62)
    return np.where(operands >= 0, here - operands, far)


def _candidates(tokens: Ints) -> list[int]:
    """Distances at which stretches of tokens come back most often."""
    found: dict[int, None] = {}
    for length in STRETCHES:
        if len(tokens) > 2 * length:
            gaps = _gaps(_hashes(tokens, length))
            gaps = gaps[(gaps > 1) & (gaps <= LONGEST)]
            values, counts = np.unique(gaps, return_counts=True)
            weight = counts * values  # a long period comes back less often
            for place in np.argsort(-weight, kind="stable")[:CANDIDATES]:
                found[int(values[place])] = None
    return sorted(found)


def _hashes(tokens: Ints, length: int) -> Ints:
    """A number for each stretch of so many tokens, by its first one."""
    mixed = _mixed(tokens)
    count = len(tokens) - length + 1
    total = np.zeros(count, np.uint64)
    for k in range(length):
        total = total * np.uint64(0x100000001B3) + mixed[k : k + count]
    return total


def _mixed(tokens: Ints) -> Ints:
    """Tokens as large numbers without a pattern."""
    mixed = (tokens.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    return mixed ^ (mixed >> np.uint64(29))


def _gaps(hashes: Ints) -> Ints:
    """Distances between places of equal hashes that follow each other."""
    order = np.argsort(hashes, kind="stable")
    same = hashes[order[1:]] == hashes[order[:-1]]
    gaps: Ints = (order[1:] - order[:-1])[same]
    return gaps


def _matching(tokens: Ints, near: Ints, period: int) -> Ints:
    """Whether each node is like the one a period later.

    Their operands lie at the same distance, or all before the piece that they are in.
    """
    one, two = near[:-period], near[period:]
    wired = (one == two) | ((one >= period) & (two >= period))
    alike: Ints = (tokens[:-period] == tokens[period:]) & wired.all(axis=1)
    return alike


def _cover(match: Ints, free: Ints, period: int) -> list[tuple[int, int]]:
    """First nodes and lengths of the places where a period holds often enough."""
    held = np.zeros(len(match) + 2, np.int8)
    held[1:-1] = match & _free_ahead(free, period)[: len(match)]
    edges = np.diff(held)
    firsts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    lengths = ends - firsts + period
    enough = lengths >= TIMES * period
    kept: list[tuple[int, int]] = []
    end = 0
    for first, length in zip(firsts[enough].tolist(), lengths[enough].tolist(), strict=True):
        start = max(first, end)  # the end of one place may be the beginning of the next
        if first + length - start >= TIMES * period:
            kept.append((start, first + length - start))
            end = first + length
    return kept


def _refined(
    tried: dict[int, list[tuple[int, int]]], best: int
) -> Iterator[tuple[int, int, int]]:
    """The places of a period, with a shorter period where that holds nearly as long."""
    ends = {p: [a + n for a, n in tried[p]] for p in sorted(tried) if p < best}
    for first, length in tried[best]:
        found = [(first, length, best)]
        for period, last in ends.items():
            inside = []
            for a, n in tried[period][bisect_right(last, first) :]:
                if a >= first + length:
                    break
                start = max(a, first)
                inside.append((start, min(a + n, first + length) - start, period))
            inside = [place for place in inside if place[1] >= TIMES * period]
            if sum(n for _, n, _ in inside) >= NEARLY * length:
                found = inside
                break
        yield from found


def _free_ahead(free: Ints, period: int) -> Ints:
    """Whether the nodes from each one to a period later are all free."""
    taken = np.concatenate([[0], np.cumsum(~free)])
    ends = np.minimum(np.arange(len(free)) + period + 1, len(free))
    ahead: Ints = taken[ends] == taken[:-1]
    return ahead


def _saved(places: list[tuple[int, int]], period: int, sums: Ints) -> int:
    """Nodes that need not be written out; places with the same operations share one piece."""
    firsts = np.array([first for first, _ in places], np.int64)
    kinds = np.unique(sums[firsts + period] - sums[firsts])
    return sum(length for _, length in places) - len(kinds) * period


def _placed(first: int, length: int, period: int, tokens: Ints, near: Ints) -> Stretch:
    """The stretch cut into pieces where the fewest values pass from one to the next."""
    crossing = np.zeros(2 * period + 1, np.int64)
    place, column = np.nonzero((near[first : first + period] > 0) & (
        near[first : first + period] < period
    ))  # fmt: skip
    back = near[first + place, column]
    np.add.at(crossing, place + period - back + 1, 1)
    np.add.at(crossing, place + period + 1, -1)
    level = np.cumsum(crossing)[: 2 * period]
    level = level[:period] + level[period:]
    best = np.flatnonzero(level == level.min())
    start = min(best.tolist(), key=lambda s: _rotated(tokens, first, period, s, len(best)))
    return Stretch(first + start, period, (length - start) // period)


def _rotated(tokens: Ints, first: int, period: int, start: int, ties: int) -> tuple[int, ...]:
    """What a cut is judged by where several are as good: the order of operations it gives."""
    if ties > 16:
        return (start,)
    piece = np.roll(tokens[first : first + period], -start)
    return (*piece.tolist(), start)
