"""One peer in a process of its own: it answers lines of JSON.

``python worker.py PEER THREADS CORES`` pins itself to the cores, imports ``peer_PEER`` and
says how long that took. ``{"prepare": name, "clock": "wall"}`` builds a workload, calls it and
compares it with the reference; ``{"measure": seconds}`` times it, after some calls that wake up
its threads.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import timeit
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workloads import Run

SAMPLE = 1e-3  # seconds; quicker calls are repeated for as long
WARMING = 0.01  # seconds; calls at the start of a turn that do not count
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class Timed:
    """A run, called from a compiled loop whose cost is that of the call alone."""

    def __init__(self, run: Run, clock: str) -> None:
        self.run = run  # which may own what the call has only pointers to
        names = [f"x{k}" for k in range(len(run.inputs))]
        values = dict(zip(names, run.inputs, strict=True))
        values["f"] = run.call
        self.loop = timeit.Timer(f"f({', '.join(names)})", timer=CLOCKS[clock], globals=values)
        self.repeats = 1

    def calibrate(self) -> None:
        """Choose repeats such that a sample takes ``SAMPLE``."""
        while (seconds := self.loop.timeit(self.repeats)) < SAMPLE:
            self.repeats *= max(2, min(100, int(SAMPLE / max(seconds, 1e-7))))

    def measure(self, budget: float) -> dict[str, Any]:
        """Seconds of a call, in as many samples as fit; ``cpu``: share of a core in use."""
        self.during(WARMING)
        cpu, start = time.process_time(), time.perf_counter()
        samples = self.during(budget)
        used = (time.process_time() - cpu) / (time.perf_counter() - start)
        return {"samples": samples, "cpu": used}

    def during(self, budget: float) -> list[float]:
        """Samples of some seconds, at least one."""
        samples: list[float] = []
        start = time.perf_counter()
        while not samples or time.perf_counter() - start < budget:
            samples.append(self.loop.timeit(self.repeats) / self.repeats)
        return samples


def prepare(peer: Any, name: str, clock: str) -> tuple[Timed, dict[str, Any]]:
    """Build, call and check a workload; ``compile`` is the time to build and call once."""
    from workloads import STEPS, WORKLOADS

    workload = WORKLOADS[name]
    data = workload.make()
    start = time.perf_counter()
    run = peer.TASKS[workload.task](workload, data)
    found = run.call(*run.inputs)
    seconds = time.perf_counter() - start
    for _ in range(STEPS - 1 if workload.task == "training" else 0):
        found = run.call(*run.inputs)
    error = workload.error(run.results(found), data) if run.results else 0.0
    timed = Timed(run, clock)
    timed.calibrate()
    return timed, {"compile": seconds, "error": error, "wrong": error > workload.tolerance}


def serve(peer: Any, answers: IO[str]) -> None:
    timed: Timed | None = None
    for line in sys.stdin:
        command = json.loads(line)
        answer: dict[str, Any]
        try:
            if "prepare" in command:
                timed = None  # frees the last workload's data
                timed, answer = prepare(peer, command["prepare"], command["clock"])
            else:
                assert timed is not None
                answer = timed.measure(command["measure"])
        except Exception as e:
            answer = {"failed": f"{type(e).__name__}: {str(e).splitlines()[0]}"}
        print(json.dumps(answer), file=answers, flush=True)


def main(name: str, threads: str, cores: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(c) for c in cores.split(",")])
    start = time.perf_counter()
    try:
        peer = importlib.import_module(f"peer_{name}")
        peer.start(int(threads))
    except (ImportError, OSError) as e:
        print(json.dumps({"failed": str(e)}), file=answers, flush=True)
        return
    seconds = time.perf_counter() - start
    about = {"version": peer.VERSION, "start": seconds, "tasks": sorted(peer.TASKS)}
    print(json.dumps(about), file=answers, flush=True)
    serve(peer, answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
