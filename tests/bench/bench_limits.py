"""What the machine can do: fused multiply-adds, bandwidth of each level of memory.

Run as ``python tests/bench/bench_limits.py [--threads 1,2]``.
"""

from __future__ import annotations

from bench_workloads import counted
from tables import Figures, Table, parser, save

from graphc.backend import get_backend


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--threads", default="1,2")
    given = made.parse_args()
    counts = [int(n) for n in given.threads.split(",")]
    head = ["limit", *map(counted, counts)]
    table = Table("limits", "Limits of the machine, as measured.", head)
    backend = get_backend("llvm")
    found = [limits for n in counts if (limits := backend.limits(n)) is not None]
    for dtype in found[0].flops:
        table.add(f"{dtype}, GF/s", *(f"{x.flops[dtype] / 1e9:.0f}" for x in found))
    for k, level in enumerate(found[0].levels):
        for kind in ("read", "triad"):
            rates = (getattr(x.levels[k], kind) / 1e9 for x in found)
            table.add(f"{level.name} {kind}, GB/s", *(f"{rate:.3g}" for rate in rates))
    figures: Figures = {}
    save(given.json, [table], figures)


if __name__ == "__main__":
    main()
