"""What the compiler did with a graph: stages, rules, kernels, work, and promises."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import TYPE_CHECKING, Any

from graphc.inspect.tables.cost import TYPICAL_SIZE, Cost, cost, gradient_cost_ratio
from graphc.loops.ir import Compute, Program, nest_of, statements
from graphc.options import Options
from graphc.pipeline import Snapshot
from graphc.types import Size, size_symbols

if TYPE_CHECKING:
    from graphc.function import Kept
    from graphc.inspect.tables.roofline import Roofline

#: What derivatives are where functions have a kink or a step.
KINKS = (
    "relu'(0) = 0, abs'(0) = 0",
    "ties of maximum, minimum, max and min share the gradient equally",
    "sign, floor, ceil, round, comparisons and argmax have derivative 0",
    "sqrt'(0) = inf; the gradient of norm and std at 0 is 0",
)


@dataclass(frozen=True)
class Report:
    """An account of one compiled function. Prints as text; notebooks show tables.

    Attributes
    ----------
    snapshots
        The graph as given and after each graph stage, the first one first.
    program
        The loop program, None if none was made (an interpreted function).
    timings
        Seconds of the steps after the graph stages, in order: ``loops``, ``codegen``, ``load``.
    ulp_bounds
        For each inexact op its largest error in units in the last place, (float32, float64).
    notes
        What the backend says, by title.
    contracts
        What was promised when it was compiled, and what was measured.
    roofline
        Kernels timed and placed beside the limits of the machine, if that was asked for.
    """

    name: str
    snapshots: Sequence[Snapshot]
    program: Program | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    ulp_bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    contracts: Sequence[Kept] = ()
    roofline: Roofline | None = None

    @property
    def cost(self) -> Cost:
        """Of the program's kernels if there is one, else of the last graph."""
        if self.program is None:
            return cost(self.snapshots[-1].graph)
        kernels = (Cost(k.flops, k.nbytes) for k in self.program.kernels)
        return sum(kernels, Cost())

    @property
    def workspace(self) -> Size:
        """Bytes of memory for intermediate results, at its peak."""
        return self.program.workspace if self.program else 0

    @property
    def gradient_cost_ratio(self) -> float:
        """Flops of the optimised graph (of the given one, if loops hide its nodes) over those
        of its forward part."""
        rolled = any(s.stage == "roll" for s in self.snapshots)
        return gradient_cost_ratio(self.snapshots[0 if rolled else -1].graph)

    @property
    def used_bounds(self) -> dict[str, tuple[float, float]]:
        """Error bounds of the ops that the program computes."""
        if self.program is None:
            return {}
        bodies = [nest_of(k) for k in self.program.kernels]
        used = {s.op for body in bodies for s in statements(body) if isinstance(s, Compute)}
        return {op: self.ulp_bounds[op] for op in sorted(used) if op in self.ulp_bounds}

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values; symbolic sizes as text."""
        return {
            "name": self.name,
            "math": self.options.math,
            "stages": list(self._stages()),
            "kernels": self._kernels(),
            "flops": _plain(self.cost.flops),
            "bytes": _plain(self.cost.nbytes),
            "workspace": _plain(self.workspace),
            "gradient_cost_ratio": None if isnan(ratio := self.gradient_cost_ratio) else ratio,
            "contracts": [vars(c) for c in self.contracts],
            "kinks": list(KINKS),
            "ulp_bounds": {op: list(bounds) for op, bounds in self.used_bounds.items()},
            "notes": dict(self.notes),
            "roofline": None if self.roofline is None else self.roofline.to_dict(),
        }

    def _stages(self) -> Iterator[dict[str, Any]]:
        before = self.snapshots[0].nodes
        for snapshot in self.snapshots[1:]:
            after = snapshot.nodes
            yield {
                "stage": snapshot.stage,
                "seconds": snapshot.seconds,
                "nodes_before": before,
                "nodes_after": after,
                "fired": dict(snapshot.fired),
            }
            before = after
        for stage, seconds in self.timings.items():
            yield {"stage": stage, "seconds": seconds}

    def _kernels(self) -> list[dict[str, Any]]:
        kernels = self.program.kernels if self.program else ()
        return [
            {
                "name": k.name,
                "label": k.label,
                "flops": _plain(k.flops),
                "bytes": _plain(k.nbytes),
            }
            for k in kernels
        ]

    def _tables(self) -> Iterator[tuple[str, list[list[str]]]]:
        """Title and rows (the head first) of each table."""
        stages = [["stage", "ms", "before", "after", "rules"]]
        for s in self._stages():
            fired = ", ".join(f"{rule} {n}" for rule, n in s.get("fired", {}).items())
            sizes = [str(s.get(k, "")) for k in ("nodes_before", "nodes_after")]
            stages.append([s["stage"], f"{s['seconds'] * 1e3:.2f}", *sizes, fired])
        yield "stages", stages
        kernels = [["kernel", "flops", "bytes", "computes"]]
        for k in self._kernels():
            kernels.append([k["name"], quantity(k["flops"]), quantity(k["bytes"]), k["label"]])
        if len(kernels) > 1:
            yield "kernels", kernels
        if self.roofline is not None:
            yield "measured", self.roofline.rows()
        if self.contracts:
            kept = [[c.name, c.promise, c.measured] for c in self.contracts]
            yield "contracts", [["contract", "promise", "measured"], *kept]
        if self.used_bounds:
            bounds = [["largest error", "float32 ulp", "float64 ulp"]]
            bounds += [[op, f"{a:g}", f"{b:g}"] for op, (a, b) in self.used_bounds.items()]
            yield "accuracy", bounds

    def _facts(self) -> Iterator[tuple[str, str]]:
        yield "flops", quantity(_plain(self.cost.flops))
        yield "bytes", quantity(_plain(self.cost.nbytes))
        yield "workspace", f"{quantity(_plain(self.workspace))} bytes"
        whole = cost(self.snapshots[-1].graph).flops
        at = ", ".join(f"{name} = {TYPICAL_SIZE}" for name in sorted(size_symbols(whole)))
        ratio = f"{self.gradient_cost_ratio:.2f}" + (f" (at {at})" if at else "")
        yield "all flops / forward flops", ratio
        yield "math", self.options.math
        if self.roofline is not None:
            yield from self.roofline.facts()
        yield from self.notes.items()
        yield from zip(("at kinks", *[""] * len(KINKS)), KINKS, strict=False)

    def __str__(self) -> str:
        lines = [self.name]
        for _, rows in self._tables():
            lines += ["", *aligned(rows)]
        width = max(len(title) for title, _ in self._facts())
        lines += ["", *(f"{title:<{width}}  {text}" for title, text in self._facts())]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        parts = [f"<h4>{html.escape(self.name)}</h4>"]
        for title, rows in self._tables():
            parts.append(f"<table><caption>{title}</caption>{_html_rows(rows)}</table>")
        facts = "".join(
            f"<dt>{html.escape(a)}</dt><dd>{html.escape(b)}</dd>" for a, b in self._facts()
        )
        return "".join([*parts, f"<dl>{facts}</dl>"])


def _plain(size: Size) -> int | str:
    return size if isinstance(size, int) else str(size)


def quantity(number: int | str) -> str:
    """A count with spaces between thousands; a polynomial as it is."""
    return number if isinstance(number, str) else f"{number:,}".replace(",", " ")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as columns: numbers to the right, the first and the last column to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    last = len(widths) - 1
    return [
        "  ".join(
            cell.ljust(w) if i in (0, last) else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _html_rows(rows: Sequence[Sequence[str]]) -> str:
    lines = []
    for place, row in enumerate(rows):
        tag = "td" if place else "th"
        cells = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return "".join(lines)
