"""Memory: the most that a training run takes; plans of workspace beside what is alive.

Each run is a process of its own that imports a library and trains an MLP 784-500-500-10 on
batches of 128: the resident memory after the import, and the most of the run, in megabytes
(2^20 bytes). NumPy is in all of them. graphc compiles with an empty cache first, then with what
that has left.

Workspace is compared with the bytes of the buffers that are alive while one kernel runs, where
these are most: no plan for the same order of kernels can take less.

Run as ``python tests/bench/bench_memory.py [--steps N] [--threads N]``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from peers import environment, pythons
from tables import Table, parser, save

LIBRARIES = ("graphc", "graphc, cached", "numpy", "torch", "torch_compile", "jax", "pytensor")
RUNS = ("MLP relu sgd 128", "MLP relu adam 128")
BATCH = 128


def most() -> float:
    """Megabytes that this process has had in memory at most."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says includes the process that has started this one
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def train(peer: str, name: str, threads: int, steps: int) -> list[float]:
    """Megabytes after the import and after all steps, in this process."""
    module = importlib.import_module(f"peer_{peer}")
    imported = most()
    from workloads import WORKLOADS

    module.start(threads)
    data = WORKLOADS[name].make()
    run = module.TASKS["training"](WORKLOADS[name], data)
    for _ in range(steps):
        run.call(*run.inputs)
    return [imported, most()]


def measured(library: str, name: str, cache: str, given: argparse.Namespace) -> list[float]:
    """What ``train`` finds in a process of its own; nothing if the library is not there."""
    peer = library.split(",")[0]
    found = pythons([])
    python = found.get(peer) or found.get(peer.split("_")[0], sys.executable)
    command = [python, __file__, "--child", peer, name, "--steps", str(given.steps)]
    done = subprocess.run(
        [*command, "--threads", str(given.threads)],
        env=os.environ | environment(given.threads) | {"GRAPHC_CACHE": cache},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    megabytes: list[float] = json.loads(done.stdout.splitlines()[-1]) if done.stdout else []
    return megabytes


def runs(given: argparse.Namespace) -> Table:
    title = f"Resident memory at most, MB: {given.steps} steps with a batch of {BATCH}."
    table = Table("memory", title, ["library", "import", "SGD", "Adam"])
    with tempfile.TemporaryDirectory() as folder:
        for library in LIBRARIES:
            found = [measured(library, name, f"{folder}/{name[9:13]}", given) for name in RUNS]
            if all(found):
                table.add(library, f"{found[0][0]:.0f}", *(f"{peak:.0f}" for _, peak in found))
    return table


def plans() -> Table:
    """Of the models in the tests of memory."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from compiler.test_memory import MODELS, live
    from graphc.types import evaluate_size

    title = (
        f"Workspace of training steps, a batch of {BATCH}: bytes, and by those alive at once."
    )
    table = Table("workspace", title, ["model", "batch", "plan", "alive", "ratio"])
    for name, make in MODELS.items():
        for kind, batch in (("fixed", BATCH), ("symbolic", "n")):
            program = make(batch)
            sizes = {"n": BATCH} if batch == "n" else {}
            taken, alive = evaluate_size(program.workspace, sizes), live(program, sizes)
            table.add(name, kind, str(taken), str(alive), f"{taken / alive:.3f}")
    return table


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--steps", type=int, default=300)
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--child", nargs=2, metavar=("PEER", "RUN"), help=argparse.SUPPRESS)
    given = made.parse_args()
    if given.child:
        print(json.dumps(train(*given.child, given.threads, given.steps)))
        return
    save(given.json, [runs(given), plans()], {})


if __name__ == "__main__":
    main()
