"""What the benches share: tables that are printed row by row, and files of a run's figures.

A file of figures is JSON::

    {"about": {commit, time, machine, python, ...}, "tables": [{name, title, head, rows}],
     "figures": {"title of what was timed": [seconds in each round]}}
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OUT = ROOT / "build" / "bench"

Figures = dict[str, list[float]]


@dataclass
class Table:
    """A table in Markdown; ``title`` says what is in it, in which units."""

    name: str
    title: str
    head: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Append a row, and print it."""
        if not self.rows:
            print(f"\n{self.title}\n\n{_line(self.head)}\n{self._rule()}")
        self.rows.append(list(cells))
        print(_line(cells), flush=True)

    def _rule(self) -> str:
        return "|---|" + "---:|" * (len(self.head) - 1)

    def markdown(self) -> str:
        lines = [_line(self.head), self._rule(), *map(_line, self.rows)]
        return f"{self.title}\n\n" + "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def digits(x: float) -> str:
    """Three figures that count."""
    return f"{x:.3g}" if x < 1000 else f"{x:.0f}"


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Options that all benches have."""
    made = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    made.add_argument("--json", type=Path, metavar="FILE", help="write tables and figures")
    return made


def save(
    path: Path | None, tables: Sequence[Table], figures: Mapping[str, list[float]], **more: Any
) -> None:
    """Write what was found, if a file is asked for."""
    if path is not None:
        shown = [asdict(t) for t in tables]
        found = {"about": about(), "tables": shown, "figures": dict(figures), **more}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")


def about() -> dict[str, Any]:
    """When, where and of what."""
    return {
        "time": time.strftime("%Y-%m-%d %H:%M"),
        "commit": commit(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
    }


def commit(revision: str = "HEAD") -> str:
    """A short name of a commit; with + if files differ from it."""
    name = git("describe", "--always", "--abbrev=8", "--exclude=*", revision)
    changed = revision == "HEAD" and git("status", "--porcelain", "--untracked-files=no")
    return name + "+" if name and changed else name


def git(*command: str) -> str:
    """What git says; nothing if there is no git."""
    try:
        done = subprocess.run(
            ["git", "-C", ROOT, *command], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip()


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
