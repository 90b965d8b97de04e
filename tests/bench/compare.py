"""Has anything become slower? Two files of figures, or two commits side by side.

``compare.py OLD.json NEW.json`` compares what both files have timed. ``compare.py REVISION``
runs the workloads on the working tree and on a commit in turns, which sees smaller changes:
the best of each turn counts, in processor time if there is one thread, and what has changed is
measured once more, in new processes (where the data lie matters) with twice the rounds; of both
the smaller change is told.

A change counts if it is larger than ``LEAST`` and than what the rounds of each side differ by:
their medians must differ by more than three times the errors of both, an error being the median
deviation of rounds from their median, scaled to that of a normal distribution, over the root of
their number. The exit code is 1 if anything is slower by that.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import hypot, log, sqrt
from pathlib import Path

from bench_workloads import plan, wanted
from peers import Peer, Plan, run, started
from tables import Table, parser, save
from workloads import Workload

LEAST = 0.05
ERRORS = 3


@dataclass(frozen=True)
class Change:
    """The new time over the old one, and from where on it is no noise."""

    name: str
    ratio: float
    threshold: float

    @property
    def verdict(self) -> str:
        if self.ratio > 1 + self.threshold:
            return "slower"
        return "faster" if self.ratio < 1 / (1 + self.threshold) else ""


def change(name: str, old: list[float], new: list[float]) -> Change:
    ratio = statistics.median(new) / statistics.median(old)
    noise = ERRORS * hypot(error(old), error(new))
    return Change(name, ratio, max(LEAST, noise))


def error(rounds: list[float]) -> float:
    """Relative error of the median; of a single round that of one that varies by a tenth."""
    if len(rounds) < 2:
        return 0.1
    middle = statistics.median(rounds)
    deviation = statistics.median(abs(x - middle) for x in rounds)
    return 1.4826 * deviation / middle / sqrt(len(rounds))


def changes(old: Mapping[str, list[float]], new: Mapping[str, list[float]]) -> list[Change]:
    return [change(name, old[name], new[name]) for name in new if name in old]


def of_files(old: Path, new: Path) -> list[Change]:
    found = [json.loads(path.read_text())["figures"] for path in (old, new)]
    missing = sorted(found[0].keys() - found[1].keys())
    if missing:
        print(f"not in {new}: {', '.join(missing)}")
    return changes(*found)


@dataclass(frozen=True)
class Sides:
    """The working tree, and a commit; processes that take turns."""

    new: Peer
    old: Peer
    plan: Plan

    def compared(self, w: Workload) -> Change | None:
        """What is different beyond noise is so twice."""
        found = self.measured(w, self.plan)
        if found is None or not found.verdict:
            return found
        self.new.renew()
        self.old.renew()
        again = self.measured(w, replace(self.plan, rounds=2 * self.plan.rounds))
        return min(found, again or found, key=lambda c: abs(log(c.ratio)))

    def measured(self, w: Workload, plan: Plan) -> Change | None:
        new, old = run(w, [self.new, self.old], plan)
        if new.good and old.good:
            best = ([min(turn) for turn in r.turns] for r in (old, new))
            return change(w.name, *best)
        if not (new.absent or old.absent):
            print(f"{w.name}: {new.failed or old.failed or 'wrong'}")
        return None


def side_by_side(
    revision: str, pattern: str, threads: int, rounds: int, quick: bool
) -> list[Change]:
    """The workloads on both, in turns."""
    name = f"graphc@{revision}"
    timing = plan(quick, rounds, "cpu" if threads == 1 else "wall")
    with started(["graphc", name], {}, threads) as peers:
        if len(peers) < 2:
            raise SystemExit(f"{name} does not start")
        sides = Sides(*peers, timing)
        found = [sides.compared(w) for w in wanted(pattern, quick)]
    return [c for c in found if c is not None]


def main() -> int:
    made = parser(__doc__)
    made.add_argument("old", help="a file of figures, or a revision")
    made.add_argument("new", nargs="?", type=Path, help="a file of figures")
    made.add_argument("--only", default="", metavar="PATTERN", help="part of a workload's name")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--rounds", type=int, default=9)
    made.add_argument("--full", action="store_true", help="also the large workloads")
    given = made.parse_args()
    if given.new:
        found = of_files(Path(given.old), given.new)
    else:
        found = side_by_side(given.old, given.only, given.threads, given.rounds, not given.full)
    table = Table("changes", "New time by old time.", ["", "new/old", "noise", ""])
    for c in sorted(found, key=lambda c: c.ratio):
        table.add(c.name, f"{c.ratio:.3f}", f"{c.threshold:.3f}", c.verdict)
    save(given.json, [table], {})
    slower = [c.name for c in found if c.verdict == "slower"]
    print(f"\n{len(found)} compared, {len(slower)} slower")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
