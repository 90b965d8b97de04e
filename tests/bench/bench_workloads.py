"""Whole workloads: graphc beside NumPy, PyTorch and JAX, those that can be imported.

Each peer is a process of its own, all pinned to the same cores. They take turns, so that
what disturbs the machine disturbs all alike, and every result is compared with a float64
reference. Prints a table: for each peer median and least time of a call, graphc's by the best
of the others', and the seconds to build and call once. There graphc keeps one function for
all sizes of a batch, so only the first size compiles. Writes build/bench/workloads_t<n>.json,
n being the number of threads.

Run as ``python tests/bench/bench_workloads.py --quick``; ``--python torch=PATH`` names the
interpreter of a peer that is installed elsewhere, as does GRAPHC_BENCH_PYTHON, which holds
several such, separated by commas.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from workloads import WORKLOADS, Workload

HERE = Path(__file__).parent
OUT = HERE.parents[1] / "build" / "bench"
PEERS = ("graphc", "numpy", "torch", "jax")
REST = 0.03  # seconds between turns, in which idle threads of the last peer stop to spin


@dataclass
class Result:
    """One workload on one peer; times in seconds."""

    workload: str
    peer: str
    failed: str = ""
    compile: float = 0.0
    error: float = 0.0
    wrong: bool = False
    samples: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def least(self) -> float:
        return min(self.samples)


class Peer:
    """A worker process."""

    def __init__(self, name: str, python: str, threads: int, cores: str) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [python, str(HERE / "worker.py"), name, str(threads), cores],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment(threads),
        )
        self.about = self.answer()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found: dict[str, Any] = json.loads(line) if line else {"failed": "the process ended"}
        return found

    def ask(self, **command: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            print(json.dumps(command), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            return {"failed": "the process ended"}
        return self.answer()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def environment(threads: int) -> dict[str, str]:
    """Variables that libraries read when they are imported."""
    single = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return {
        **{f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")},
        "XLA_FLAGS": single if threads == 1 else "",
        "JAX_PLATFORMS": "cpu",
    }


def cores(threads: int) -> str:
    """The last cores that this process may use: interrupts are mostly served by the first."""
    if not hasattr(os, "sched_getaffinity"):
        return ""
    return ",".join(map(str, sorted(os.sched_getaffinity(0))[-threads:]))


def start(pythons: dict[str, str], threads: int) -> list[Peer]:
    """The peers that can be imported."""
    found = []
    for name in PEERS:
        peer = Peer(name, pythons.get(name, sys.executable), threads, cores(threads))
        if "failed" in peer.about:
            print(f"without {name}: {peer.about['failed']}")
            peer.close()
            continue
        print(f"{name} {peer.about['version']}, imported in {peer.about['start']:.1f} s")
        found.append(peer)
    return found


def wanted(pattern: str, quick: bool) -> list[Workload]:
    """Workloads with the pattern in their name; * and ? as in a shell, case ignored."""
    found = f"*{pattern.lower()}*"
    return [
        w
        for name, w in WORKLOADS.items()
        if fnmatch.fnmatchcase(name.lower(), found) and (w.quick or not quick)
    ]


@dataclass(frozen=True)
class Plan:
    """Rounds of turns of ``budget`` seconds, after a ``rest``; what a clock counts."""

    rounds: int
    budget: float
    rest: float
    clock: str


def run(w: Workload, peers: list[Peer], plan: Plan) -> list[Result]:
    """Prepare one after the other, then measure in turns, the order reversed each round."""
    prepared = {p: p.ask(prepare=w.name, clock=plan.clock) for p in peers}
    results = {p: Result(w.name, p.name, **answer) for p, answer in prepared.items()}
    turns = [p for p in peers if not results[p].failed]
    for _ in range(plan.rounds):
        turns.reverse()
        for peer in turns:
            time.sleep(plan.rest)
            answer = peer.ask(measure=plan.budget)
            result = results[peer]
            result.failed = answer.get("failed", result.failed)
            result.samples += answer.get("samples", [])
            result.cpu.append(answer.get("cpu", 0.0))
    return list(results.values())


# The table


def header(names: list[str]) -> str:
    times = "".join(f"{name:>9}{'min':>8}" for name in names)
    compiled = "".join(f"{name:>8}" for name in names)
    return f"{'':25}{times}{'ratio':>7}{'min':>6}  compile, s:{compiled}"


def row(results: list[Result]) -> str:
    """Medians and minima in one unit; graphc's by the best of the others; compile times."""
    good = {r.peer: r for r in results if r.samples and not r.failed and not r.wrong}
    scale, unit = unit_of(min((r.least for r in good.values()), default=1.0))
    times = "".join(cell(r, good, scale) for r in results)
    ratios = f"{ratio(good, 'median'):>7}{ratio(good, 'least'):>6}"
    compiled = "".join(f"{r.compile:8.2f}" for r in results)
    return f"{results[0].workload:22}{unit:>3}{times}{ratios}{'':13}{compiled}"


def cell(r: Result, good: dict[str, Result], scale: float) -> str:
    if r.peer in good:
        return f"{digits(r.median * scale):>9}{digits(r.least * scale):>8}"
    return f"{'WRONG' if r.wrong else 'failed':>9}{'':8}"


def digits(x: float) -> str:
    return f"{x:.3g}" if x < 1000 else f"{x:.0f}"


def ratio(good: dict[str, Result], figure: str) -> str:
    others = [getattr(r, figure) for name, r in good.items() if name != "graphc"]
    if "graphc" not in good or not others:
        return "-"
    return f"{getattr(good['graphc'], figure) / min(others):.2f}"


def unit_of(seconds: float) -> tuple[float, str]:
    for scale, unit in ((1e9, "ns"), (1e6, "us"), (1e3, "ms")):
        if seconds * scale < 1000:
            return scale, unit
    return 1.0, "s"


def write(results: list[Result], peers: list[Peer], threads: int, plan: Plan) -> Path:
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / f"workloads_t{threads}.json"
    measured = [r for r in results if r.samples]
    figures = {(r.workload, r.peer): {"median": r.median, "min": r.least} for r in measured}
    table = {
        "machine": platform.processor() or platform.machine(),
        "threads": threads,
        "plan": asdict(plan),
        "peers": {p.name: p.about for p in peers},
        "results": [asdict(r) | figures.get((r.workload, r.peer), {}) for r in results],
    }
    path.write_text(json.dumps(table, indent=1) + "\n")
    return path


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 short rounds, no huge arrays")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", metavar="PATTERN", help="part of a name")
    parser.add_argument("--rounds", type=int, help="turns of each peer (7; quick: 3)")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: processor time of all threads, for one thread on a busy machine",
    )
    parser.add_argument("--cold", action="store_true", help="without kernels graphc has cached")
    parser.add_argument("--python", action="append", default=[], metavar="PEER=PATH")
    return parser.parse_args()


def main() -> int:
    chosen = options()
    named = os.environ.get("GRAPHC_BENCH_PYTHON", "").split(",") + chosen.python
    pythons = dict(text.split("=", 1) for text in named if text)
    rounds, budget = (3, 0.05) if chosen.quick else (7, 0.15)
    rest = REST if chosen.threads > 1 else 0.0
    plan = Plan(chosen.rounds or rounds, budget, rest, chosen.clock)
    if chosen.cold:
        os.environ["GRAPHC_CACHE"] = ""
    peers = start(pythons, chosen.threads)
    print("\n" + header([p.name for p in peers]))
    results: list[Result] = []
    for w in wanted(chosen.only, chosen.quick):
        found = run(w, peers, plan)
        print(row(found), flush=True)
        results += found
    for peer in peers:
        peer.close()
    bad = [r for r in results if r.failed or r.wrong]
    for r in bad:
        print(f"{r.workload}, {r.peer}: {r.failed or f'relative error {r.error:.1e}'}")
    print(f"\n{write(results, peers, chosen.threads, plan)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
