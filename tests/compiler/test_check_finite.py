"""Functions that refuse results which are not finite."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import graphc as gr
from graphc.errors import InputError, NonFiniteError


@pytest.fixture(params=["llvm", "interpret"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def step(backend: str, **options: Any) -> tuple[Any, gr.Parameter, gr.Parameter]:
    """Two updates, one of which fails where x * w is zero."""
    x = gr.vector("x", 3, "float64")
    w = gr.parameter("w", np.ones(3))
    count = gr.parameter("count", np.zeros(()))
    loss = gr.sum(gr.sqrt(x * w))
    updates = {count: count + 1, w: w - 0.1 * gr.grad(loss, w)}
    f = gr.compile(x, loss, updates, backend=backend, check_finite=True, name="step", **options)
    return f, w, count


def test_finite_calls_are_as_without_the_check(backend: str) -> None:
    f, w, count = step(backend)
    x = gr.vector("x", 3, "float64")
    v = gr.parameter("v", np.ones(3))
    loss = gr.sum(gr.sqrt(x * v))
    plain = gr.compile(x, loss, {v: v - 0.1 * gr.grad(loss, v)}, backend=backend)
    for _ in range(3):
        assert f([1.0, 2.0, 3.0]) == pytest.approx(plain([1.0, 2.0, 3.0]), rel=1e-15)
    np.testing.assert_allclose(w.value, v.value, rtol=1e-15)
    assert count.value == 3


def test_nothing_changes_on_an_error(backend: str) -> None:
    f, w, count = step(backend)
    f([1.0, 2.0, 3.0])
    before = w.value.copy()
    with pytest.raises(NonFiniteError) as caught:
        f([1.0, 0.0, 3.0])
    np.testing.assert_array_equal(w.value, before)
    assert count.value == 1
    error = caught.value
    assert isinstance(error, FloatingPointError)
    assert isinstance(error, gr.GraphcError)
    assert error.summary == "step: not finite: the update of 'w'"
    assert str(error) == str(f.explain_nonfinite([1.0, 0.0, 3.0]))
    assert error.explanation.first.cause.text == "0.5 / 0 = inf"
    assert error.explanation.first.stem.op.name == "sqrt"
    f([1.0, 2.0, 3.0])
    assert count.value == 2


def test_what_stable_forms_repair_is_no_error():
    x = gr.vector("x", 3)
    naive = gr.log(gr.sum(gr.exp(x)))
    f = gr.compile(x, naive, check_finite=True)
    assert f([1000.0, 0.0, 0.0]) == 1000
    g = gr.compile(x, naive, check_finite=True, math="strict")
    with pytest.raises(NonFiniteError, match=r"exp\(1000\) = inf"):
        g([1000.0, 0.0, 0.0])


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("place", [0, 1, 5, 40_000, 99_999])
def test_every_element_is_looked_at(bad: float, place: int) -> None:
    x = gr.vector("x", "n")
    f = gr.compile(x, [x * 2, gr.cast(x > 0, "int32")], check_finite=True)
    values = np.ones(100_000, np.float32)
    assert f(values)[0].sum() == 200_000
    values[place] = bad
    with pytest.raises(NonFiniteError) as caught:
        f(values)
    assert caught.value.explanation.first.index == (place,)
    assert f"already given: input 'x', 1 of 100000 values not finite, the first {bad}" in str(
        caught.value
    )


def test_forms(backend: str) -> None:
    x, y = gr.scalar("x", "float64"), gr.scalar("y", "float64")
    options: dict[str, Any] = {"backend": backend, "check_finite": True}
    assert gr.compile([x, y], x / y, **options)(1, 2) == 0.5
    assert gr.compile([x, y], [x / y, x], **options)(1, 2) == [0.5, 1]
    assert gr.compile([x, y], (x / y,), **options)(x=1, y=2) == (0.5,)
    p = gr.parameter("p", np.zeros(()))
    assert gr.compile([x, y], None, {p: x / y}, **options)(1, 2) is None
    nested = gr.compile({"a": [x, y]}, {"q": (x / y, [x])}, **options)
    assert nested({"a": [1, 2]}) == {"q": (0.5, [1])}
    with pytest.raises(NonFiniteError, match="1 / 0 = inf"):
        nested({"a": [1, 0]})
    whole = gr.compile([gr.scalar("i", "int64")], gr.arange(3), **options)
    assert whole(7).tolist() == [0, 1, 2]


def test_out_is_written_only_where_all_is_finite(backend: str) -> None:
    x = gr.vector("x", 2, "float64")
    f = gr.compile(x, [x + 1, 1 / x], backend=backend, check_finite=True)
    outs = [np.zeros(2), np.zeros(2)]
    assert f([1.0, 2.0], out=outs)[0] is outs[0]
    assert outs[1].tolist() == [1, 0.5]
    with pytest.raises(NonFiniteError):
        f([7.0, 0.0], out=outs)
    assert [o.tolist() for o in outs] == [[2, 3], [1, 0.5]]
    with pytest.raises(InputError, match=r"out\[1\] has shape \(3,\), expected \(2,\)"):
        f([1.0, 2.0], out=[outs[0], np.zeros(3)])
    assert outs[0].tolist() == [2, 3]
    with pytest.raises(InputError, match="out has length 1, there are 2 outputs"):
        f([1.0, 2.0], out=[outs[0]])


def test_a_bad_out_changes_nothing(backend: str) -> None:
    f, w, count = step(backend)
    for bad in (np.zeros(2), np.zeros((), np.float32), [np.zeros(()), np.zeros(())]):
        with pytest.raises(InputError, match="out"):
            f([1.0, 2.0, 3.0], out=bad)
    assert (w.value.tolist(), count.value) == ([1, 1, 1], 0)


def test_other_errors_come_through(backend: str) -> None:
    f, w, _ = step(backend)
    with pytest.raises(InputError, match="axis 0 of 'x' has size 2, expected 3"):
        f([1.0, 2.0])
    assert w.value.tolist() == [1, 1, 1]
    x, i = gr.vector("x", 3), gr.vector("i", 2, "int64")
    g = gr.compile([x, i], gr.take(x, i), backend=backend, check_finite=True, name="pick")
    with pytest.raises(gr.errors.IndexOutOfRangeError, match="the index 5 is out of range"):
        g([1.0, 2.0, 3.0], [0, 5])


def test_all_parameters_change_or_none(backend: str) -> None:
    """Swapped parameters keep their sum, whatever other threads see in between."""
    p, q = gr.parameter("p", np.zeros(1000)), gr.parameter("q", np.ones(1000))
    f = gr.compile([], None, {p: q, q: p}, backend=backend, check_finite=True)
    threads = [threading.Thread(target=lambda: [f() for _ in range(25)]) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert (p.value + q.value == 1).all()
    assert p.value[0] == 0


def test_calls_take_turns_with_other_functions(backend: str) -> None:
    """Steps of two functions that share a parameter do not get lost."""
    p = gr.parameter("p", np.zeros(2000))
    checked = gr.compile([], None, {p: p + 1}, backend=backend, check_finite=True)
    plain = gr.compile([], None, {p: p + 1}, backend="llvm")
    calls = [checked, plain] if backend == "llvm" else [checked]
    threads = [threading.Thread(target=lambda f=f: [f() for _ in range(50)]) for f in calls * 2]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert (p.value == 100 * len(calls)).all()


def test_arguments_that_are_the_parameter(backend: str) -> None:
    x, p = gr.vector("x", 3, "float64"), gr.parameter("p", np.array([1.0, 2.0, 3.0]))
    f = gr.compile(x, x + p, {p: 2 * x}, backend=backend, check_finite=True)
    assert f(p.value).tolist() == [2, 4, 6]
    assert p.value.tolist() == [2, 4, 6]


def test_derivatives_can_still_be_taken_of_the_graph():
    f, w, _ = step("llvm")
    assert len(f.graph.outputs) == 1
    assert len(f.graph.updates) == 2
    assert gr.grad(f.graph.outputs[0], w).type == w.type
