"""What the benches conclude from figures, and that their references agree with one another."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pytest
import tables
from compare import LEAST, change, of_files
from peers import Plan, run, started
from plot import speeds
from science import FUNCTIONS, derivatives, gradient
from suite import SHORT, add, filled, summary
from workloads import WORKLOADS, oriented

QUIET, NOISY = [1.0, 1.001, 0.999, 1.002, 1.0], [1.0, 1.3, 0.8, 1.2, 0.75]
CHANGES = {
    "slower": (QUIET, [1.1 * x for x in QUIET], "slower"),
    "faster": (QUIET, [x / 1.1 for x in QUIET], "faster"),
    "less than what counts": (QUIET, [(1 + 0.8 * LEAST) * x for x in QUIET], ""),
    "less than the old noise": (NOISY, [1.1 * x for x in QUIET], ""),
    "less than the new noise": (QUIET, [1.1 * x for x in NOISY], ""),
    "more than noise": (NOISY, [2 * x for x in NOISY], "slower"),
    "single rounds": ([1.0], [1.2], ""),
    "single rounds, far apart": ([1.0], [1.5], "slower"),
}


@pytest.mark.parametrize(("old", "new", "verdict"), CHANGES.values(), ids=CHANGES)
def test_changes_count_beyond_noise(old: list[float], new: list[float], verdict: str) -> None:
    assert change("f", old, new).verdict == verdict


def test_files_are_compared_by_what_both_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps({"figures": {"a": QUIET, "gone": QUIET}}))
    new.write_text(json.dumps({"figures": {"a": [2 * x for x in QUIET], "new": QUIET}}))
    (found,) = of_files(old, new)
    assert (found.name, found.verdict) == ("a", "slower")
    assert found.ratio == pytest.approx(2)
    assert "gone" in capsys.readouterr().out


def test_tables_go_where_their_names_stand() -> None:
    table = tables.Table("b", "Of b.", ["x", "us"])
    table.add("first", "1.5")
    page = (
        "one\n<!-- bench:begin a -->\nkept\n<!-- bench:end -->\n"
        "<!-- bench:begin b -->\nold\n<!-- bench:end -->\nend"
    )
    found = filled(page, {"b": table.markdown()})
    assert found == page.replace("old\n", "Of b.\n\n| x | us |\n|---|---:|\n| first | 1.5 |\n")
    assert filled(found, {"b": table.markdown()}) == found


def test_parts_of_a_run_are_joined() -> None:
    whole: dict[str, Any] = {"tables": [1], "figures": {"a": [1.0]}}
    add(whole, {"about": {}, "tables": [2], "figures": {"b": [2.0]}, "results": [3]})
    assert whole == {
        "tables": [1, 2],
        "figures": {"a": [1.0], "b": [2.0]},
        "results": [3],
    }


def test_speeds_are_by_the_best_peer_that_is_right() -> None:
    def result(peer: str, median: float, **more: Any) -> dict[str, Any]:
        start = {"workload": "w", "threads": 1, "failed": "", "wrong": False}
        return {**start, "peer": peer, "median": median, **more}

    results = [
        result("graphc", 2.0),
        result("one", 5.0),
        result("two", 3.0),
        result("three", 1.0, wrong=True),
        result("graphc@old", 1.0),
    ]
    assert speeds(results) == {1: {"w": 1.5}}
    assert speeds(results[:1]) == {}
    row = [{**r, "workload": SHORT[0]} for r in results]
    assert summary(row).rows == [[SHORT[0], "2 s", "3 s two", "1.50"]]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("count", [None, 4])
def test_references_agree_with_differences(name: str, count: int | None) -> None:
    n = {"arm": 6, "bodies": 24, "rosenbrock": 7}[name]
    x = np.random.default_rng(0).uniform(-1, 1, (n, count) if count else n)
    value, first, second = derivatives(name, 2, x)
    assert value.shape == x.shape[1:]
    assert second.shape == (n, *x.shape)
    direction, h = np.random.default_rng(1).normal(size=x.shape), 1e-6
    slope = (
        FUNCTIONS[name](np, x + h * direction) - FUNCTIONS[name](np, x - h * direction)
    ) / (2 * h)
    np.testing.assert_allclose(np.sum(first * direction, 0), slope, rtol=1e-5, atol=1e-7)
    bend = (gradient(name, x + h * direction) - gradient(name, x - h * direction)) / (2 * h)
    product = np.einsum("ij...,j...->i...", second, direction)
    np.testing.assert_allclose(product, bend, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["NN", "NT", "TN", "TT"])
def test_factors_are_stored_as_their_kind_says(kind: str) -> None:
    suffix = "" if kind == "NN" else f" {kind}"
    data = WORKLOADS[f"product 128x128x128{suffix}"].make()
    a, b = oriented(data["A"], kind[0]), oriented(data["B"], kind[1])
    assert (a.flags.c_contiguous, b.flags.c_contiguous) == (kind[0] == "N", kind[1] == "N")
    batched = WORKLOADS["product 16x16x16, 256"].make()
    assert batched["A"].shape == batched["B"].shape == (256, 16, 16)


def test_errors_are_found() -> None:
    w = WORKLOADS["softmax 64x10"]
    data = w.make()
    right = w.reference(data)
    assert w.error(right, data) == 0
    assert w.error([right[0], 1.001 * right[1]], data) == pytest.approx(1e-3)
    assert w.error([right[0], np.nan * right[1]], data) == np.inf
    with pytest.raises(ValueError, match="shape"):
        w.error([right[0], right[1][:1]], data)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_peers_run_in_their_turn_only_and_start_anew_when_they_die() -> None:
    def states() -> list[str]:
        stats = [Path(f"/proc/{p.process.pid}/stat").read_text() for p in peers]
        return [text.rsplit(")", 1)[1].split()[0] for text in stats]

    w, plan = WORKLOADS["product 8x8x8"], Plan(rounds=2, budget=1e-3)
    with started(["numpy", "no_such_peer", "graphc"], {}, 1) as peers:
        assert [p.name for p in peers] == ["numpy", "graphc"]
        assert [r.good for r in run(w, peers, plan)] == [True, True]
        wait_for(lambda: states() == ["T", "T"])
        peers[0].process.kill()
        peers[0].process.wait()
        first = peers[0].process
        assert "ended" in peers[0].ask(measure=1e-3)["failed"]
        assert [r.good for r in run(w, peers, plan)] == [True, True]
        assert peers[0].process is not first
    assert [p.process.returncode for p in peers] == [0, 0]


def test_stopped_peers_end_with_a_process_that_is_killed() -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from peers import Peer\n"
        "peer = Peer('numpy', sys.executable, 1)\n"
        "print(peer.process.pid, flush=True)\n"
        "input()\n"
    )
    suite = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert suite.stdout is not None
    pid = int(suite.stdout.readline())
    suite.kill()
    suite.communicate()
    wait_for(lambda: ended(pid))


def ended(pid: int) -> bool:
    """Whether a process is gone, or waits only for somebody to ask how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
