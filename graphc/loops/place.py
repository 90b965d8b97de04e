"""Places for pieces of memory that live for a while: little more than live at once."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Span = tuple[int, int]  # first and last time, both included

#: Steps of work that an attempt to find a better plan may take in all.
_EFFORT = 100_000
_ATTEMPTS = 30


@dataclass(frozen=True, slots=True)
class Piece:
    """Memory that is needed for a while; ``size`` in any unit."""

    size: int
    span: Span


def peak(pieces: Sequence[Piece]) -> int:
    """The most that is needed at any time: no plan can take less."""
    changes: dict[int, int] = {}
    for piece in pieces:
        first, last = piece.span
        changes[first] = changes.get(first, 0) + piece.size
        changes[last + 1] = changes.get(last + 1, 0) - piece.size
    most = now = 0
    for time in sorted(changes):
        now += changes[time]
        most = max(most, now)
    return most


def place(pieces: Sequence[Piece]) -> tuple[list[int], int]:
    """The start of each piece, and the end of all. No two that live at once overlap.

    Pieces are placed one after another, each at the lowest start that is free while it lives:
    the largest first, or those that live longest, or in the order of time. While the end lies
    above the peak, the piece that ends highest goes to the front and all are placed anew, a
    limited number of times. The best plan is taken.
    """
    least, best = peak(pieces), ([0] * len(pieces), 0)
    attempts = min(_ATTEMPTS, _EFFORT // (len(pieces) ** 2 + 1))
    for n, order in enumerate(_orders(pieces)):
        found = _improved(pieces, order, least, attempts if n == 0 or attempts > 1 else 0)
        if n == 0 or found[1] < best[1]:
            best = found
        if best[1] == least or not attempts:
            break
    return best


def _orders(pieces: Sequence[Piece]) -> Iterator[list[int]]:
    def area(i: int) -> int:
        first, last = pieces[i].span
        return pieces[i].size * (last - first + 1)

    every = range(len(pieces))
    yield sorted(every, key=lambda i: (-pieces[i].size, pieces[i].span))
    yield sorted(every, key=lambda i: (pieces[i].span[0] - pieces[i].span[1], -pieces[i].size))
    yield sorted(every, key=lambda i: (-area(i), pieces[i].span))
    yield sorted(every, key=lambda i: (pieces[i].span[0], -pieces[i].size))


def _improved(
    pieces: Sequence[Piece], order: list[int], least: int, attempts: int
) -> tuple[list[int], int]:
    starts, end = best = _place(pieces, order)
    for _ in range(attempts):
        if best[1] == least:
            break
        highest = max(order, key=lambda i: (starts[i] + pieces[i].size, pieces[i].size))
        order.remove(highest)
        order.insert(0, highest)
        starts, end = _place(pieces, order)
        if end < best[1]:
            best = starts, end
    return best


def _place(pieces: Sequence[Piece], order: Sequence[int]) -> tuple[list[int], int]:
    starts = [0] * len(pieces)
    placed: list[tuple[int, int, int, int]] = []  # start, end, first and last time; sorted
    for i in order:
        starts[i] = start = _lowest(pieces[i], placed)
        insort(placed, (start, start + pieces[i].size, *pieces[i].span))
    return starts, max((end for _, end, _, _ in placed), default=0)


def _lowest(piece: Piece, placed: Sequence[tuple[int, int, int, int]]) -> int:
    """The lowest start with room for a piece while it lives."""
    size, (begins, ends), start = piece.size, piece.span, 0
    for low, high, first, last in placed:
        if first <= ends and begins <= last:
            if start + size <= low:
                break
            start = max(start, high)
    return start
