"""All benches, one after the other: a table of each, one file of figures, a picture.

Writes build/bench/<time>-<commit>.json (see ``tables.py``) and, with ``--write-docs``, the
tables into docs/performance.md and README.md between ``<!-- bench:begin NAME -->`` and
``<!-- bench:end -->``, and the picture docs/images/peers.svg, for which it needs matplotlib.
Besides the benches' own names there are ``about``, ``picture`` and ``summary``, a short table.
To be run on a quiet machine. ``--from FILE`` writes the documents from an earlier run.

Run as ``python tests/bench/suite.py [--quick] [--write-docs]``.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench_workloads import ratio, unit_of
from plot import draw, good
from tables import OUT, ROOT, Table, about, digits, parser

QUICK = (
    "bench_limits",
    "bench_workloads --quick",
    "bench_calls --rounds 5",
    "bench_compile --rounds 3 --processes 1",
)
FULL = (
    "bench_limits",
    "bench_workloads --threads 1",
    "bench_workloads --threads 2",
    "bench_floors --threads 1",
    "bench_floors --threads 2",
    "bench_batch --threads 1",
    "bench_batch --threads 2",
    "bench_calls",
    "bench_compile",
    "bench_cache",
    "bench_scaling",
    "bench_sparse",
    "bench_memory",
    "bench_threads",
    "bench_threads --busy 2",
    "bench_denormals",
    "bench_gemm float32",
    "bench_gemm float64",
)
LIMIT = 1800  # seconds for one of them
PAGES = ("docs/performance.md", "README.md")
PICTURE = "images/peers.svg"
#: Workloads of the short table for README.md.
SHORT = (
    "surface, floats",
    "8 bodies, gradient",
    "6 joints, Hessian, 10000",
    "cross-entropy 512x1000",
    "logistic 100000x100",
    "MLP relu sgd 1",
    "MLP relu sgd 32",
    "MLP relu adam 128",
    "MLP relu sgd 1024",
    "product 512x512x512",
)
_PLACE = re.compile(r"(<!-- bench:begin ([\w-]+) -->\n).*?(<!-- bench:end -->)", re.DOTALL)


def collect(commands: tuple[str, ...]) -> dict[str, Any]:
    """Run benches as processes of their own; what they have found, in one."""
    whole: dict[str, Any] = {"about": about(), "tables": [], "figures": {}, "failed": []}
    with tempfile.TemporaryDirectory() as folder:
        for command in commands:
            path, start = Path(folder) / "found.json", time.perf_counter()
            name, *options = command.split()
            script = str(Path(__file__).with_name(f"{name}.py"))
            print(f"\n## {command}", flush=True)
            if not succeeds([sys.executable, script, *options, "--json", str(path)]):
                whole["failed"].append(command)
            print(f"\n{time.perf_counter() - start:.0f} s")
            if path.exists():
                add(whole, json.loads(path.read_text()))
                path.unlink()
    return whole


def succeeds(command: Sequence[str]) -> bool:
    try:
        return subprocess.run(command, check=False, timeout=LIMIT).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def add(whole: dict[str, Any], found: dict[str, Any]) -> None:
    """Lists are appended, dicts united."""
    for key, value in found.items():
        if isinstance(value, list):
            whole[key] = whole.get(key, []) + value
        elif key != "about":
            whole[key] = whole.get(key, {}) | value


def filled(text: str, tables: Mapping[str, str]) -> str:
    """A page with what stands between markers replaced; other places keep what they have."""

    def place(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        return f"{begin}{tables[name]}{end}" if name in tables else match[0]

    return _PLACE.sub(place, text)


def write_documents(found: dict[str, Any]) -> None:
    tables = {t["name"]: Table(**t).markdown() for t in found["tables"]}
    tables["about"] = origin(found)
    results = found.get("results", [])
    tables["summary"] = summary(results).markdown()
    if importlib.util.find_spec("matplotlib") is None:
        print("no matplotlib: the picture stays as it is")
    elif results:
        draw(results, origin(found).splitlines()[0], ROOT / "docs" / PICTURE)
        tables["picture"] = f"![Times as fast as the best peer]({PICTURE})\n"
    pages = {ROOT / page: (ROOT / page).read_text() for page in PAGES}
    for path, text in pages.items():
        path.write_text(filled(text, tables))
    places = {place[1] for text in pages.values() for place in _PLACE.findall(text)}
    for kind, names in (("place", tables.keys() - places), ("table", places - tables.keys())):
        if names:
            print(f"no {kind} for {', '.join(sorted(names))}")


def summary(results: Sequence[dict[str, Any]]) -> Table:
    """Some workloads on one thread: graphc and the best peer."""
    title = "Median of a call, one thread."
    table = Table("summary", title, ["workload", "graphc", "best peer", "times as fast"])
    for name in SHORT:
        medians = {
            r["peer"]: r["median"]
            for r in results
            if r["workload"] == name and r["threads"] == 1 and good(r)
        }
        if (speed := ratio(medians)) is not None:
            own = medians["graphc"]
            peer, best = min(
                (pair for pair in medians.items() if not pair[0].startswith("graphc")),
                key=lambda pair: pair[1],
            )
            row = [name, in_units(own), f"{in_units(best)} {peer}", f"{speed:.2f}"]
            table.rows.append(row)
    return table


def in_units(seconds: float) -> str:
    scale, unit = unit_of(seconds)
    return f"{digits(seconds * scale)} {unit}"


def origin(found: dict[str, Any]) -> str:
    """Of what run the figures are."""
    a = found["about"]
    versions = ", ".join(f"{k} {v}" for k, v in found.get("versions", {}).items())
    where = f"{a['processor']}, {a['cores']} cores"
    return f"{a['time']}, commit {a['commit']}, {where}\nPython {a['python']}, {versions}\n"


def main() -> int:
    made = parser(__doc__)
    made.add_argument("--quick", action="store_true", help="minutes; not for the documents")
    made.add_argument("--write-docs", action="store_true", help="tables into the documents")
    made.add_argument("--from", dest="source", type=Path, help="a file of an earlier run")
    given = made.parse_args()
    if given.source:
        found = json.loads(given.source.read_text())
    else:
        found = collect(QUICK if given.quick else FULL)
        stamp = found["about"]["time"].replace(" ", "-").replace(":", "")
        path = given.json or OUT / f"{stamp}-{found['about']['commit']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
        print(f"\n{path}")
    if given.write_docs:
        write_documents(found)
    for command in found["failed"]:
        print(f"failed: {command}")
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
