"""What stands for a program in the cache: the same for two only if their code is the same."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest

import graphc as gr
from compiler.random_training import training
from graphc.types import symbol
from graphc_llvm import cache, source
from graphc_llvm.backend import _Native
from graphc_llvm.target import host


def names_and_texts(
    inputs: Any, outputs: Any, updates: Any = None, **options: Any
) -> Iterator[tuple[object, str]]:
    """The name in the cache of the program and its text, then those of its formulas.

    Formulas are looked up by name alone while a process runs.
    """
    executable = gr.compile(inputs, outputs, updates, **options)._executable
    assert isinstance(executable, _Native)
    job, program = executable._job, executable._job.program()
    target = host(options.get("target", "native"))
    module, formulas = source.program_module(job, program, target)
    texts = {formula: write() for formula, write in formulas.items()}
    text = str([target, module.text(), sorted(texts.items())])
    yield cache.key(target, "program", *source.identity(job, program, target)), text
    content = job.content()
    assert content is not None
    yield cache.key(target, "graph", job.name, job.math, content), text
    for formula, text in texts.items():
        yield (target, formula), text


def scaled(factor: Any, dtype: str = "float64", size: Any = 9, name: str = "x") -> Any:
    x = gr.tensor(name, (size,), dtype)
    return [x], gr.sum(x * gr.constant(factor, dtype))


def added(values: Any, dtype: str = "float64", swap: bool = False) -> Any:
    """Two arrays of constants of one size."""
    x = gr.tensor("x", (3,), dtype)
    first, second = (gr.constant(np.array(v, dtype)) for v in (values, [1.0, 2.0, 3.0]))
    made = x * first, gr.sin(x) / second
    return [x], [made[1], made[0]] if swap else list(made)


NAN, OTHER_NAN = (np.array([bits], np.uint64).view(np.float64)[0] for bits in (
    0x7FF8000000000000, 0xFFF8000000000123))  # fmt: skip


def parameters(swap: bool) -> Any:
    p, q = (gr.parameter(name, np.ones(3)) for name in "pq")
    x = gr.tensor("x", (3,), "float64")
    return [x], x + p, {p: q, q: p} if swap else {p: p + q}


def few_differences() -> Iterator[tuple[Any, dict[str, Any]]]:
    """Programs of which hardly two compile to the same code."""
    numbers = [0.0, -0.0, 1.0, 0.5, np.nextafter(0.5, 1), np.inf, 3.0, NAN, OTHER_NAN]
    for factor, dtype in product(numbers, ("float32", "float64")):
        yield scaled(factor, dtype), {}
    for size, name in product((1, 2, 8, 9, 64, "b", "c", 2 * symbol("b"), "x"), ("x", "y")):
        yield scaled(2.0, size=size, name=name), {}
    for values in ([0.0, 0.0, 0.0], [0.0, -0.0, 0.0], [1.0, 2.0, 3.0], [3.0, 2.0, 1.0],
                   [1.0, NAN, 3.0], [1.0, OTHER_NAN, 3.0]):  # fmt: skip
        for dtype, swap in product(("float32", "float64"), (False, True)):
            yield added(values, dtype, swap), {}
    for options in ({"math": "strict"}, {"math": "fast"}, {"target": "sse2"}, {"name": "g"},
                    {"skip": "fuse"}, {"check_finite": True}, {"threads": 1}):  # fmt: skip
        yield added([1.0, 2.0, 3.0]), options
        yield parameters(True), options
    yield parameters(False), {}


def random_programs() -> Iterator[tuple[Any, dict[str, Any]]]:
    for number in range(30):
        t = training(number)
        for options in ({}, {"math": "strict"}):
            yield (t.inputs, t.outputs, t.updates), options


@pytest.mark.parametrize("programs", [few_differences, random_programs])
def test_what_has_one_name_has_one_text(programs: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("GRAPHC_CACHE", "off")
    texts: dict[object, str] = {}
    for graph, options in programs():
        for name, text in names_and_texts(*graph, **options):
            assert texts.setdefault(name, text) == text, (name, graph, options)
    assert len(set(texts.values())) > 40
