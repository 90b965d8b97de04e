"""How time, code and speed grow with the number of operations of scalar functions.

    python tests/bench/bench_scaling.py [--sizes 1e2,1e3,1e4,1e5] [--families chain,tree]

For each family and size: seconds of this thread to build the graph, to differentiate it and
to compile value and gradient, microseconds of a call, and bytes of machine code without tables.
The last row of a family holds exponents: slopes of logarithms, by least squares.
"""

from __future__ import annotations

import gc
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

os.environ["GRAPHC_CACHE"] = "off"
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from tables import Figures, Table, parser, save

import graphc as gr
from scalar_graphs import FAMILIES, Family, point

COLUMNS = ("nodes", "build s", "grad s", "compile s", "call us", "ns/node", "code kB", "runs")
_TABLE = re.compile(r"\[(\d+) x i8\]")


def measured(family: Family, size: int) -> list[float]:
    """The columns of one row."""
    clock = time.thread_time
    start = clock()
    inputs, value = family(size, "float64")
    built = clock()
    gradient = gr.grad(value, inputs)
    differentiated = clock()
    function = gr.compile(inputs, [value, *gradient], threads=1)
    compiled = clock()
    nodes = function.snapshots[0].nodes
    call = _call_seconds(function, point(inputs))
    tables = sum(int(n) for n in _TABLE.findall(function.llvm_ir))
    code = len(function.object_code) - tables
    assert function.program is not None
    return [
        nodes,
        built - start,
        differentiated - built,
        compiled - differentiated,
        call * 1e6,
        call * 1e9 / nodes,
        code / 1e3,
        len(function.program.kernels),
    ]


def _call_seconds(function: gr.CompiledFunction, arguments: Sequence[np.ndarray]) -> float:
    function(*arguments)
    best = np.inf
    for _ in range(20):
        start = time.perf_counter()
        function(*arguments)
        best = min(best, time.perf_counter() - start)
    return float(best)


def exponents(rows: Sequence[Sequence[float]]) -> list[float]:
    """Slopes of the logarithm of each column over that of the nodes."""
    logs = np.log(np.array(rows))
    return [float(np.polyfit(logs[:, 0], column, 1)[0]) for column in logs.T]


def shown(values: Sequence[float]) -> list[str]:
    return [f"{int(v)}" if v >= 1000 else f"{v:.3g}" for v in values]


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--sizes", default="1e2,1e3,1e4,1e5")
    made.add_argument("--families", default=",".join(FAMILIES))
    given = made.parse_args()
    sizes = [int(float(s)) for s in given.sizes.split(",")]
    x = gr.scalar("x")
    gr.compile(x, gr.sin(x))  # what is loaded once
    title = "Growth with the number of operations; exponents are slopes of logarithms."
    table = Table("scaling", title, ["function", *COLUMNS])
    figures: Figures = {}
    for name in given.families.split(","):
        rows = []
        for size in sizes:
            rows.append(measured(FAMILIES[name], size))
            table.add(f"{name} {size:.0e}", *shown(rows[-1]))
            figures[f"compile {name} {size:.0e}"] = [rows[-1][COLUMNS.index("compile s")]]
            gc.collect()
        table.add(f"{name}, exponent", *shown(exponents(rows)))
    save(given.json, [table], figures)


if __name__ == "__main__":
    main()
