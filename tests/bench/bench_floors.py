"""How near the machine's limits workloads come: beside C by hand and beside bare memory.

``memory`` reads and writes, once each, the arrays that the workload must, with next to no
arithmetic; ``arithmetic`` is the time of its multiplications and additions at the peak of the
processor. No program can take less than the larger of both, the limit. The C is compiled at
the start; C and memory are processes that take turns with graphc, as peers do, and write their
results to the same place each time.

Run as ``python tests/bench/bench_floors.py [--threads N]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from bench_workloads import counted, figures, plan, unit_of
from peers import Result, run, started
from tables import Figures, Table, digits, parser, save
from workloads import SIZES, WORKLOADS

from graphc.backend import get_backend

PEERS = ("graphc", "by_hand", "memory")
NAMES = (
    "logistic 100000x100",
    "swish tanh 1e6",
    "swish tanh 1e7",
    "distance 1e6",
    "distance 1e7",
    "product 1x2000x2000",
    *(f"MLP relu sgd {batch}" for batch in (1, 8, 32, 128, 1024)),
)


def flops(name: str) -> float:
    """Multiplications and additions of products; 0 where others count more."""
    if not name.startswith("MLP"):
        return 0.0
    layers = [n * m for n, m in pairwise(SIZES)]
    return 2.0 * int(name.split()[-1]) * (3 * sum(layers) - layers[0])


def cells(name: str, found: Mapping[str, Result], peak: float) -> list[str]:
    """Times of each, and graphc's by the larger bound."""
    times = {peer: r.median for peer, r in found.items() if r.good}
    times["arithmetic"] = flops(name) / peak
    scale, unit = unit_of(times["graphc"])
    order = ("graphc", "by_hand", "memory", "arithmetic")
    shown = [digits(times[k] * scale) if times.get(k) else "" for k in order]
    limit = max(times.get("memory", 0.0), times["arithmetic"])
    return [name, unit, *shown, f"{times['graphc'] / limit:.2f}" if limit else ""]


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--rounds", type=int, default=9)
    given = made.parse_args()
    limits = get_backend("llvm").limits(given.threads)
    assert limits is not None
    title = f"Median of a call beside its limits, {counted(given.threads)}."
    head = ["workload", "", "graphc", "C by hand", "memory", "arithmetic", "by the limit"]
    table, times = Table(f"floors-{given.threads}", title, head), Figures()
    with started(PEERS, {}, given.threads) as peers:
        for name in NAMES:
            results = run(WORKLOADS[name], peers, plan(quick=False, rounds=given.rounds))
            found = {r.peer: r for r in results}
            if found["graphc"].good:
                table.add(*cells(name, found, limits.flops["float32"]))
            times |= figures(results, given.threads)
    save(given.json, [table], {f"{name}, beside limits": t for name, t in times.items()})


if __name__ == "__main__":
    main()
