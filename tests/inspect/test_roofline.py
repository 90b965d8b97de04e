"""Reports with measured kernels: what they contain, what they leave alone, what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import graphc as gr
from graphc.backend import KernelTimes, Level, Limits
from graphc.errors import GraphError, IndexOutOfRangeError, InputError
from graphc.inspect.tables.roofline import Placed, roofline
from graphc.types import evaluate_size

LIMITS = Limits(
    2,
    {"float32": 100e9, "float64": 50e9},
    (Level("L1", 1000, 200e9, 100e9), Level("memory", None, 8e9, 10e9)),
)
X, T = np.ones((5, 8), np.float32), np.array([0, 1, 2, 0, 1])
GIVEN = {"tuple": (X, T), "dict": {"t": T, "x": X}, "converted": (X.tolist(), T.tolist())}


def step(threads: int = 1, backend: str = "llvm") -> tuple[Any, list[Any]]:
    """An update of two parameters for any number of rows."""
    x, t = gr.tensor("x", ("n", 8)), gr.tensor("t", ("n",), "int64")
    w = gr.parameter("w", np.full((8, 3), 0.5, np.float32))
    b = gr.parameter("b", np.full((3,), 0.5, np.float32))
    loss = gr.nn.cross_entropy(x @ w + b, t)
    updates = {p: p - 0.1 * g for p, g in zip((w, b), gr.grad(loss, [w, b]), strict=True)}
    options = {"name": "step", "threads": threads, "backend": backend}
    return gr.compile([x, t], loss, updates, **options), [w, b]


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
@pytest.mark.parametrize("threads", [1, 2])
def test_every_kernel_is_placed_for_given_inputs(given: Any, threads: int) -> None:
    f, _ = step(threads)
    found = f.report(measure=given).roofline
    expected = [
        (k.name, evaluate_size(k.flops, {"n": 5}), evaluate_size(k.nbytes, {"n": 5}))
        for k in f.program.kernels
    ]
    assert [(k.name, k.flops, k.nbytes) for k in found.kernels] == expected
    assert found.given
    assert found.sizes == {"n": 5}
    assert list(found.shapes) == ["x float32[5, 8]", "t int64[5]"]
    assert found.limits.threads == threads
    assert found.runs >= 5
    assert found.clock > 0


def test_parameters_keep_their_values_and_calls_their_results() -> None:
    f, parameters = step()
    before = [p.value.copy() for p in parameters]
    f.report(measure=(X, T))
    for p, value in zip(parameters, before, strict=True):
        np.testing.assert_array_equal(p.value, value)
    other, others = step()
    assert f(X, T) == other(X, T)
    for p, q in zip(parameters, others, strict=True):
        np.testing.assert_array_equal(p.value, q.value)


def test_arrays_given_are_not_written_to() -> None:
    x = gr.vector("x", 4)
    f = gr.compile(x, gr.exp(x))
    given = np.arange(4, dtype=np.float32)
    f.report(measure=given)
    np.testing.assert_array_equal(given, np.arange(4))


def test_samples_are_made_where_sizes_are_numbers() -> None:
    x, i = gr.matrix("x", 300, 300, dtype="float64"), gr.vector("i", 7, dtype="int64")
    f = gr.compile([x, i], gr.sum(gr.tanh(x @ x)[i]), threads=1)
    found = f.report(measure=True).roofline
    assert not found.given
    assert list(found.shapes) == ["x float64[300, 300]", "i int64[7]"]
    product = found.kernels[0]
    assert product.seconds > 1e-6  # 2.7e7 multiplications and additions
    level = found.limits.level(product.nbytes)
    computing = product.flops / found.limits.flops["float64"]
    moving = product.nbytes / max(level.read, level.triad)
    assert product.limit == max(computing, moving)
    assert product.bound == ("flops" if computing > moving else level.name)
    assert product.rate(product.flops) == pytest.approx(product.flops / product.seconds / 1e9)
    assert product.share == pytest.approx(product.limit / product.seconds)


def test_inputs_in_a_dict_and_without_inputs() -> None:
    x, y = gr.vector("x", "n"), gr.vector("y", "n")
    f = gr.compile({"a": x, "b": y}, gr.sum(x * y))
    found = f.report(measure={"a": np.ones(3, np.float32), "b": np.ones(3, np.float32)})
    assert found.roofline.sizes == {"n": 3}
    constant = gr.compile([], gr.sum(gr.arange(10)))
    assert constant.report(measure=True).roofline.shapes == []


def test_the_report_shows_it_in_every_form() -> None:
    f, _ = step()
    plain, measured = f.report(), f.report(measure=(X, T))
    assert plain.roofline is None
    assert plain.to_dict()["roofline"] is None
    assert "% of limit" not in str(plain)
    for text in (str(measured), measured._repr_html_()):
        for word in ("% of limit", "GF/s", "the inputs given: x float32[5, 8], t int64[5]"):
            assert word in text
    found = json.loads(json.dumps(measured.to_dict()))["roofline"]
    assert [k["name"] for k in found["kernels"]] == [k.name for k in f.program.kernels]
    assert found["inputs"] == {"given": True, "shapes": ["x float32[5, 8]", "t int64[5]"]}
    assert [level["name"] for level in found["limits"]["levels"]] == [
        "L1",
        "L2",
        "L3",
        "memory",
    ]


def test_kernels_too_short_for_the_clock_are_said_to_be() -> None:
    x = gr.vector("x", 2000)
    f = gr.compile(x, gr.exp(x), threads=1)
    inputs, clock = [np.ones(2000, np.float32)], 50e-9
    rows = []
    for seconds in (249e-9, 1050e-9):
        times = KernelTimes(np.array([[2 * seconds], [seconds]]), clock)
        found = roofline(f.program, times, LIMITS, inputs, {}, True)
        rows.append((found.kernels[0], found.rows()[1][3:]))
    (short, shown), (known, cells) = rows
    assert short.seconds is None
    assert (short.share, short.rate(short.flops)) == (None, None)
    assert shown == ["< 0.25", "", "", "too short", "memory"]
    assert known.seconds == pytest.approx(1e-6)
    assert known.limit == pytest.approx(16000 / 10e9)
    assert cells == ["1.00", f"{known.flops / 1000:.1f}", "16.0", "160", "memory"]


PLACED = {
    "computing": (Placed("k", "", 10**6, 8, 1e-4, 1e-5, "flops"), 0.1),
    "short": (Placed("k", "", 1, 8, None, 1e-9, "L1"), None),
}


@pytest.mark.parametrize(("kernel", "share"), PLACED.values(), ids=PLACED)
def test_shares_are_of_the_limit(kernel: Placed, share: float | None) -> None:
    assert kernel.to_dict()["share"] == share
    assert replace(kernel, label="a").to_dict()["label"] == "a"


@pytest.mark.parametrize(("nbytes", "name"), [(0, "L1"), (1000, "L1"), (1001, "memory")])
def test_the_level_is_the_nearest_that_holds_the_bytes(nbytes: int, name: str) -> None:
    assert LIMITS.level(nbytes).name == name


def test_open_sizes_are_refused() -> None:
    f, _ = step()
    with pytest.raises(InputError) as error:
        f.report(measure=True)
    assert str(error.value) == (
        "step: kernels are measured on inputs whose sizes are known\n"
        "  x  f32[n, 8]\n"
        "  t  i64[n]\n"
        "  hint: give the arguments of a call: report(measure=(x, ...))"
    )


def test_what_does_not_fit_is_refused_as_in_a_call() -> None:
    f, parameters = step()
    with pytest.raises(InputError, match="step"):
        f.report(measure=(X[:, :7], T))
    with pytest.raises(InputError, match="step"):
        f.report(measure=X)
    with pytest.raises(IndexOutOfRangeError, match="the index 3 is out of range"):
        f.report(measure=(X, np.full(5, 3)))
    assert np.all(parameters[0].value == 0.5)


def test_the_interpreter_has_no_kernels() -> None:
    f, _ = step(backend="interpret")
    with pytest.raises(GraphError) as error:
        f.report(measure=(X, T))
    assert str(error.value) == (
        "step: the backend 'interpret' makes no kernels to measure\n  hint: backend=\"llvm\""
    )
