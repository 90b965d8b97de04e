"""Whole workloads: graphc beside the peers that can be imported.

Each peer is a process of its own, all pinned to the same cores. They take turns, so that
what disturbs the machine disturbs all alike, and every result is compared with a float64
reference. Tables have medians of a call, and how many times as fast as the best peer graphc
is. ``--python torch=PATH`` names the interpreter of a peer that is installed elsewhere, as
does GRAPHC_BENCH_PYTHON, which holds several such, separated by commas.

Run as ``python tests/bench/bench_workloads.py --quick [--threads N] [--only PATTERN]``.
"""

from __future__ import annotations

import fnmatch
import os
import statistics
import sys
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from peers import PEERS, Plan, Result, pythons, run, started
from tables import Figures, Table, digits, parser, save
from workloads import WORKLOADS, Workload

#: Groups of so many workloads that rounds are few and short also in the full bench.
MANY = ("sizes",)


def wanted(pattern: str, quick: bool) -> list[Workload]:
    """Workloads with the pattern in their name; * and ? as in a shell, case ignored."""
    found = f"*{pattern.lower()}*"
    return [
        w
        for name, w in WORKLOADS.items()
        if fnmatch.fnmatchcase(name.lower(), found) and (w.quick or not quick)
    ]


def plan(quick: bool, rounds: int | None = None, clock: str = "wall") -> Plan:
    usual, budget = (3, 0.03) if quick else (5, 0.1)
    return Plan(rounds or usual, budget, clock)


def table(group: str, peers: Sequence[str], threads: int) -> Table:
    title = f"Median of a call, {counted(threads)}; last how many times as "
    title += (
        "fast as the best peer graphc is, and the seconds it takes to compile and call once."
    )
    return Table(f"{group}-{threads}", title, ["workload", "", *peers, "speed", "compile"])


def counted(threads: int) -> str:
    return f"{threads} thread{'s' * (threads > 1)}"


def cells(results: Sequence[Result]) -> list[str]:
    """Medians in one unit; then graphc's speed by the best peer's, and its compile time."""
    scale, unit = unit_of(min((r.median for r in results if r.good), default=1.0))
    times = [cell(r, scale) for r in results]
    own = next((r for r in results if r.peer == "graphc"), None)
    compiled = f"{own.compile:.2f}" if own else "-"
    return [results[0].workload, unit, *times, speed(results), compiled]


def cell(r: Result, scale: float) -> str:
    if r.absent:
        return ""
    if not r.turns:
        return "failed"
    return digits(r.median * scale) + (f" (off by {r.error:.0e})" if r.wrong else "")


def speed(results: Sequence[Result]) -> str:
    found = ratio({r.peer: r.median for r in results if r.good})
    return "-" if found is None else f"{found:.2f}"


def ratio(medians: dict[str, float]) -> float | None:
    """How many times as fast as the best other one graphc is."""
    others = [m for name, m in medians.items() if not name.startswith("graphc")]
    return min(others) / medians["graphc"] if others and "graphc" in medians else None


def unit_of(seconds: float) -> tuple[float, str]:
    for scale, unit in ((1e9, "ns"), (1e6, "us"), (1e3, "ms")):
        if seconds * scale < 1000:
            return scale, unit
    return 1.0, "s"


def figures(results: Sequence[Result], threads: int) -> Figures:
    """graphc's medians of each round."""
    return {
        f"{r.workload}, {counted(threads)}": [statistics.median(turn) for turn in r.turns]
        for r in results
        if r.good and r.peer == "graphc"
    }


def options() -> Any:
    made = parser(__doc__)
    made.add_argument("--quick", action="store_true", help="3 short rounds, no huge arrays")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--only", default="", metavar="PATTERN", help="part of a name")
    made.add_argument("--rounds", type=int, help="turns of each peer (5; quick: 3)")
    made.add_argument("--peers", default=",".join(PEERS))
    made.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: processor time of all threads, for one thread on a busy machine",
    )
    made.add_argument("--cold", action="store_true", help="without kernels graphc has cached")
    made.add_argument("--python", action="append", default=[], metavar="PEER=PATH")
    return made.parse_args()


def main() -> int:
    chosen = options()
    if chosen.cold:
        os.environ["GRAPHC_CACHE"] = ""
    threads = chosen.threads
    results: list[Result] = []
    tables: list[Table] = []
    with started(chosen.peers.split(","), pythons(chosen.python), threads) as peers:
        versions = {p.name: p.about["version"] for p in peers}
        of_groups = groupby(wanted(chosen.only, chosen.quick), lambda w: w.group)
        for name, several in ((name, list(ws)) for name, ws in of_groups):
            able = [p for p in peers if any(w.task in p.about["tasks"] for w in several)]
            tables.append(table(name, [p.name for p in able], threads))
            timing = plan(chosen.quick or name in MANY, chosen.rounds, chosen.clock)
            for w in several:
                found = run(w, able, timing)
                tables[-1].add(*cells(found))
                results += found
    bad = [r for r in results if r.failed or r.wrong]
    for r in bad:
        print(f"{r.workload}, {r.peer}: {r.failed or f'relative error {r.error:.1e}'}")
    details = [r.summary() | {"threads": threads} for r in results if not r.absent]
    save(chosen.json, tables, figures(results, threads), versions=versions, results=details)
    return 1 if any(r.peer == "graphc" for r in bad) else 0


if __name__ == "__main__":
    sys.exit(main())
