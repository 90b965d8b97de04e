"""Peers as worker processes that take turns; all but one are stopped.

Libraries let their threads spin for a while when a call has ended, which takes a core from
whoever comes next. So a worker and the processes it has started run in its own turn only: they
are stopped (SIGSTOP) before and after. Each is a process group of its own, so that the system
continues and ends those that are stopped when this process is killed.
"""

from __future__ import annotations

import io
import json
import os
import signal
import statistics
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tables import OUT, ROOT, git
from workloads import Workload

HERE = Path(__file__).parent
PEERS = (
    "graphc",
    "numpy",
    "mkl",
    "torch",
    "torch_compile",
    "jax",
    "pytensor",
    "casadi",
    "heyoka",
    "symengine",
    "numba",
)
PATIENCE = 180  # seconds for an answer; then the worker is killed


@dataclass
class Result:
    """One workload on one peer; times in seconds, ``turns`` holds those of each round."""

    workload: str
    peer: str
    failed: str = ""
    absent: bool = False
    compile: float = 0.0
    error: float = 0.0
    wrong: bool = False
    turns: list[list[float]] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return bool(self.turns) and not (self.failed or self.wrong or self.absent)

    @property
    def median(self) -> float:
        return statistics.median(x for turn in self.turns for x in turn)

    @property
    def least(self) -> float:
        return min(x for turn in self.turns for x in turn)

    def summary(self) -> dict[str, Any]:
        """For files: of each turn the median."""
        found = {k: v for k, v in vars(self).items() if k != "turns"}
        if self.turns:
            found |= {"median": self.median, "least": self.least}
        return found | {"turns": [statistics.median(turn) for turn in self.turns]}


class Peer:
    """A worker process. ``graphc@REVISION`` is graphc as it was at a commit."""

    def __init__(self, name: str, python: str, threads: int) -> None:
        self.name = name
        module, _, revision = name.partition("@")
        self.command = [python, str(HERE / "worker.py"), module, str(threads), cores(threads)]
        self.environment = environment(threads) | (sources(revision) if revision else {})
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | self.environment,
            **({"process_group": 0} if os.name == "posix" else {}),
        )
        self.about = self.answer()

    def answer(self) -> dict[str, Any]:
        """What the worker says; it is stopped when it has."""
        assert self.process.stdout is not None
        timer = threading.Timer(PATIENCE, self.send, ["SIGKILL"])
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        self.stop()
        found: dict[str, Any] = json.loads(line) if line else {"failed": "the process ended"}
        return found

    def ask(self, **command: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.send("SIGCONT")
        try:
            print(json.dumps(command), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            return {"failed": "the process ended"}
        return self.answer()

    def send(self, name: str) -> None:
        """A signal, where there are such, to the worker and all that it has started."""
        if hasattr(os, "killpg") and self.process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, getattr(signal, name))

    def stop(self) -> None:
        """Returns when no thread runs any more; only then the system would end it with us."""
        self.send("SIGSTOP")
        if hasattr(os, "waitid") and self.process.returncode is None:
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def revive(self) -> None:
        """Start anew, if the process has ended."""
        if self.process.poll() is not None:
            self.renew()

    def renew(self) -> None:
        """Another process."""
        self.close()
        self.start()

    def close(self) -> None:
        """The end of its input is that of a worker that still listens."""
        self.send("SIGCONT")
        try:
            self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.send("SIGKILL")
            self.process.communicate()


def environment(threads: int) -> dict[str, str]:
    """Variables that libraries read when they are imported."""
    single = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return {
        **{f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")},
        "XLA_FLAGS": single if threads == 1 else "",
        "JAX_PLATFORMS": "cpu",
    }


def sources(revision: str) -> dict[str, str]:
    """Where a commit's packages are found; they are put under build/bench if need be."""
    commit = git("rev-parse", "--short=12", "--verify", f"{revision}^{{commit}}")
    if not commit:
        raise SystemExit(f"git knows no revision {revision}")
    folder = OUT / f"graphc@{commit}"
    if not folder.exists():
        command = ["git", "-C", str(ROOT), "archive", commit, "graphc", "backends"]
        packed = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(folder / "backends")])}


def cores(threads: int) -> str:
    """The last cores that this process may use: interrupts are mostly served by the first."""
    if not hasattr(os, "sched_getaffinity"):
        return ""
    return ",".join(map(str, sorted(os.sched_getaffinity(0))[-threads:]))


@contextmanager
def started(
    names: Sequence[str], pythons: Mapping[str, str], threads: int
) -> Iterator[list[Peer]]:
    """Those peers that can be imported, and what is said of them."""
    found: list[Peer] = []
    try:
        for name in names:
            python = pythons.get(name) or pythons.get(name.split("_")[0], sys.executable)
            peer = Peer(name, python, threads)
            found.append(peer)
            if "failed" in peer.about:
                print(f"without {name}: {peer.about['failed']}")
                found.pop().close()
                continue
            print(f"{name} {peer.about['version']}, imported in {peer.about['start']:.1f} s")
        yield found
    finally:
        for peer in found:
            peer.close()


def pythons(named: Sequence[str]) -> dict[str, str]:
    """Interpreters of peers, from GRAPHC_BENCH_PYTHON and ``PEER=PATH`` arguments."""
    texts = [*os.environ.get("GRAPHC_BENCH_PYTHON", "").split(","), *named]
    return dict(text.split("=", 1) for text in texts if text)


@dataclass(frozen=True)
class Plan:
    """Rounds of turns of ``budget`` seconds; what a clock counts."""

    rounds: int
    budget: float
    clock: str = "wall"


def run(w: Workload, peers: Sequence[Peer], plan: Plan) -> list[Result]:
    """Prepare one after the other, then measure in turns, the order reversed each round."""
    results = {p: prepared(p, w, plan) for p in peers}
    turns = [p for p in peers if not (results[p].failed or results[p].absent)]
    for _ in range(plan.rounds):
        turns.reverse()
        for peer in turns:
            answer = peer.ask(measure=plan.budget)
            result = results[peer]
            result.failed = answer.get("failed", result.failed)
            if "samples" in answer:
                result.turns.append(answer["samples"])
                result.cpu.append(answer["cpu"])
    return list(results.values())


def prepared(peer: Peer, w: Workload, plan: Plan) -> Result:
    if w.task not in peer.about["tasks"]:
        return Result(w.name, peer.name, absent=True)
    peer.revive()
    return Result(w.name, peer.name, **peer.ask(prepare=w.name, clock=plan.clock))
