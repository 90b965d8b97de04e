"""What a call from Python costs: of compiled functions, of NumPy, of an extension in C.

The functions are small, so that the call is what is measured. Those in a group are timed in
turn, on one thread, and compared by their best; the table tells nanoseconds of the thread's
CPU time and the ratio to the first of the group. The extension, ``by_hand.c``, is compiled
at the start if there is a C compiler.

Run as ``python tests/bench/bench_calls.py [--rounds N] [--json FILE]``.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sysconfig
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from tables import Figures, Table, parser, save

import graphc as gr

SAMPLE = 2e-3  # seconds
POINT = (0.7, 1.3, 0.4)

Candidate = tuple[str, str, dict[str, Any]]  # title, expression, names in it
Group = tuple[str, list[Candidate]]


def by_hand() -> ModuleType | None:
    """The extension, or None if it cannot be compiled here."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    folder = Path(tempfile.mkdtemp())
    library = folder / f"by_hand{sysconfig.get_config_var('EXT_SUFFIX')}"
    source = Path(__file__).with_name("by_hand.c")
    includes = [
        f"-I{folder}" for folder in (sysconfig.get_paths()["include"], np.get_include())
    ]
    options = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC", *includes]
    command = [compiler, *options, str(source), "-o", str(library), "-lm"]
    if subprocess.run(command, check=False).returncode:
        return None
    spec = importlib.util.spec_from_file_location("by_hand", library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def formula(m: Any, x: Any, y: Any, z: Any) -> Any:
    """A scalar function of some twenty operations."""
    square = x * x
    return (
        m.exp(m.sin(x) * y)
        + m.log(square + y * y + 1.0) * m.cos(z)
        - x * y * z / (1.0 + m.exp(-z))
        + m.sin(x * y) * m.exp(-z * z)
        + m.sqrt(square + z * z + 2.0)
    )


def reference() -> tuple[float, ...]:
    """The value and the gradient at `POINT`, by complex steps."""
    gradient = []
    for i in range(3):
        point = [complex(v, 1e-30 * (k == i)) for k, v in enumerate(POINT)]
        gradient.append(formula(np, *point).imag / 1e-30)
    return formula(np, *POINT), *gradient


def scalars(c: ModuleType | None) -> Group:
    leaves = [gr.scalar(name, dtype="float64") for name in "xyz"]
    value = formula(gr, *leaves)
    gradient = gr.grad(value, leaves)
    f = gr.compile(leaves, (value, *gradient), threads=1)
    call = f.bind(*POINT)
    np.testing.assert_allclose(f(*POINT), reference(), rtol=1e-14)
    np.testing.assert_allclose(call(), reference(), rtol=1e-14)
    names = {"f": f, "call": call, **dict(zip("xyz", POINT, strict=True))}
    candidates = [("graphc", "f(x, y, z)", names), ("graphc, bound", "call()", names)]
    if c is not None:
        kinds = ("C, NumPy scalars", c.numpy_results), ("C, floats", c.value_and_gradient)
        for title, function in kinds:
            np.testing.assert_allclose(function(*POINT), reference(), rtol=1e-13)
            candidates.insert(0, (title, "f(x, y, z)", names | {"f": function}))
    return "value and gradient of 20 operations on floats, a tuple of 4", candidates


def arrays(c: ModuleType | None, n: int) -> Group:
    a, b = gr.tensor("a", ("n",), "float64"), gr.tensor("b", ("n",), "float64")
    f = gr.compile([a, b], 2 * a + b, threads=1)
    rng = np.random.default_rng(0)
    x, y, out = rng.random(n), rng.random(n), np.zeros(n)
    names = {"f": f, "call": f.bind(x, y, out=out), "x": x, "y": y, "out": out, "add": np.add}
    for result in (f(x, y), f(x, y, out=out).copy(), names["call"]()):
        np.testing.assert_allclose(result, 2 * x + y, rtol=1e-15)
    candidates = [
        ("np.add(out=)", "add(x, y, out=out)", names),
        ("graphc, bound", "call()", names),
        ("graphc, out=", "f(x, y, out=out)", names),
        ("graphc, result allocated", "f(x, y)", names),
    ]
    if c is not None:
        candidates.insert(0, ("C, buffer protocol", "f(x, y, out)", names | {"f": c.combine}))
    return f"2 a + b on arrays of {n} float64", candidates


def updates() -> Group:
    w = gr.parameter("w", np.zeros(16))
    x = gr.tensor("x", (16,), "float64")
    step = gr.compile([x], None, {w: w - 0.1 * (w - x)}, threads=1)
    values = np.ones(16)
    names = {"step": step, "call": step.bind(values), "x": values}
    return "an update of a parameter of 16 float64", [
        ("graphc, bound", "call()", names),
        ("graphc", "step(x)", names),
    ]


def floor(c: ModuleType | None) -> Group:
    names = {"f": lambda: None}
    candidates: list[Candidate] = [("Python function", "f()", names)]
    if c is not None:
        candidates.append(("C function", "f()", {"f": c.nothing}))
    return "nothing", candidates


def groups(c: ModuleType | None) -> Iterator[Group]:
    yield floor(c)
    yield scalars(c)
    for n in (8, 16, 32, 64, 1024):
        yield arrays(c, n)
    yield updates()


def measure(candidates: list[Candidate], rounds: int) -> list[list[float]]:
    """Seconds of one call of each in each round, measured in turn."""
    timers = [
        timeit.Timer(expression, timer=time.thread_time, globals=names)
        for _, expression, names in candidates
    ]
    samples: list[Callable[[], float]] = []
    for timer in timers:
        timer.timeit(1000)
        count = max(1, int(SAMPLE / (timer.timeit(1000) / 1000)))
        samples.append(partial(lambda t, n: t.timeit(n) / n, timer, count))
    found = [[sample() for sample in samples] for _ in range(rounds)]
    return [list(times) for times in zip(*found, strict=True)]


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--rounds", type=int, default=50)
    options = made.parse_args()
    c = by_hand()
    if c is None:
        print("no C compiler: without the extension")
    title = "Calls: ns of CPU time at best, and by the first of the group."
    table = Table("calls", title, ["function", "call", "ns", "ratio"])
    figures: Figures = {}
    for group, candidates in groups(c):
        rounds = measure(candidates, options.rounds)
        best = [min(times) for times in rounds]
        table.add(f"**{group}**", "", "", "")
        for (name, call, _), seconds, times in zip(candidates, best, rounds, strict=True):
            table.add(name, f"`{call}`", f"{seconds * 1e9:.1f}", f"{seconds / best[0]:.2f}")
            if name.startswith("graphc"):
                figures[f"{group}: {name}"] = times
    save(options.json, [table], figures)


if __name__ == "__main__":
    main()
