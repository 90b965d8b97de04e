"""The speed of graphc by that of the best peer, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench_workloads import counted, ratio
from workloads import WORKLOADS

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


def speeds(results: Sequence[dict[str, Any]]) -> dict[int, dict[str, float]]:
    """For each number of threads and workload, how many times as fast graphc is."""
    medians: dict[tuple[int, str], dict[str, float]] = {}
    for r in results:
        if good(r):
            place = medians.setdefault((r["threads"], r["workload"]), {})
            place[r["peer"]] = r["median"]
    found: dict[int, dict[str, float]] = {}
    for (threads, workload), times in medians.items():
        if (speed := ratio(times)) is not None:
            found.setdefault(threads, {})[workload] = speed
    return found


def good(r: dict[str, Any]) -> bool:
    """Whether a result counts."""
    return "median" in r and not (r["failed"] or r["wrong"])


def draw(results: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """A dot for each workload, right of the line where graphc is faster.

    Functions of vectors of every size are left to their table.
    """
    from matplotlib.figure import Figure

    found = speeds([r for r in results if WORKLOADS[r["workload"]].group != "sizes"])
    names = list(dict.fromkeys(name for by_name in found.values() for name in by_name))
    figure = Figure(figsize=(7.5, 1 + 0.19 * len(names)), layout="constrained")
    axes = figure.subplots()
    for (threads, by_name), colour in zip(sorted(found.items()), COLOURS, strict=False):
        places = [names.index(name) for name in by_name]
        style = {"ms": 5, "color": colour, "alpha": 0.8, "label": counted(threads)}
        axes.plot(by_name.values(), places, "o", **style)
    axes.axvline(1, color="black", lw=1)
    axes.set_xscale("log")
    ticks = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
    axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axes.minorticks_off()
    every = [speed for by_name in found.values() for speed in by_name.values()]
    axes.set_xlim(0.8 * min([0.5, *every]), 1.25 * max([2, *every]))
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="both", lw=0.3)
    axes.set_xlabel("times as fast as the best peer")
    axes.set_title(title, fontsize=9)
    axes.legend(loc="lower right", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
