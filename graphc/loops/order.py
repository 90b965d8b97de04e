"""Which units of a program must run before which, kept closed under transitivity."""

from __future__ import annotations


class Order:
    """A partial order of numbered units that can be merged.

    For each unit the set of all units that run before it is kept as the bits of an integer.
    """

    def __init__(self) -> None:
        self._before: dict[int, int] = {}
        self._merged: dict[int, int] = {}
        self._count = 0

    def new(self) -> int:
        """A unit without relations."""
        number = self._count
        self._count += 1
        self._before[number] = 0
        return number

    def find(self, number: int) -> int:
        """The unit that a unit has been merged into (itself, if none)."""
        last = number
        while last in self._merged:
            last = self._merged[last]
        while number != last:
            self._merged[number], number = last, self._merged[number]
        return last

    def depend(self, number: int, on: int) -> None:
        """Let a unit run after another."""
        added = (self._before[on] | 1 << on) & ~self._before[number]
        if not added or number == on:
            return
        bit = 1 << number
        self._before[number] |= added
        for other, mask in self._before.items():
            if mask & bit:
                self._before[other] = mask | added

    def is_after(self, number: int, other: int) -> bool:
        """Whether a unit runs after another."""
        return bool(self._before[number] >> other & 1)

    def has_between(self, a: int, b: int) -> bool:
        """Whether some unit runs after one of two units and before the other."""
        first, last = 1 << a, 1 << b
        for number, mask in self._before.items():
            if mask & last and self._before[a] >> number & 1:
                return True
            if mask & first and self._before[b] >> number & 1:
                return True
        return False

    def merge(self, kept: int, gone: int) -> None:
        """Make two units one."""
        self._merged[gone] = kept
        lost, bit = 1 << gone, 1 << kept
        both = (self._before[kept] | self._before.pop(gone)) & ~lost & ~bit
        self._before[kept] = both
        for number, mask in self._before.items():
            if mask & (lost | bit):
                self._before[number] = (mask & ~lost) | bit | both

    def rank(self, number: int) -> tuple[int, int]:
        """Sorting units by rank gives an order in which they can run."""
        return self._before[number].bit_count(), number
