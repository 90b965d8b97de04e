"""Formulas that programs share."""

from __future__ import annotations

import gc
import re
import weakref
from pathlib import Path

import numpy as np
import pytest

import graphc as gr
from graphc_llvm import functions
from graphc_llvm.emit import Module
from graphc_llvm.jit import Engine
from graphc_llvm.lower.code import Code
from graphc_llvm.target import host
from graphc_llvm.vmath import Lane, lower


def test_a_formula_leaves_with_what_it_calls() -> None:
    module = Module(host())
    code = Code(module, "f", "double", [("double", "x")], ())
    lane = Lane("float64", 1)
    code.do(f"ret double {lower(code, 'sin', lane, [(lane, '%x')])}")
    code.finish()
    inside = {name for name in module.functions if name.startswith("vmath.")}
    assert len(inside) > 1
    texts = functions.take_out(module)
    assert set(module.functions) == {"f"}
    assert list(texts) == ["vmath.sin.float64.1"]
    (text,) = [write() for write in texts.values()]
    defined = set(re.findall(r"^define .*@([\w.]+)\(", text, re.MULTILINE))
    assert defined == inside
    assert "declare double @vmath.sin.float64.1(double)" in module.text()
    assert not re.search(r"@vmath\.(?!sin)", module.text())


@pytest.mark.parametrize("target", ["native", "avx2", "sse2"])
def test_programs_call_formulas_from_the_cache(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHC_CACHE", str(tmp_path))
    x = np.linspace(-3, 3, 100)
    results = []
    for _ in range(2):  # compiled, then from the file
        monkeypatch.setattr(functions, "_loaded", {})
        u = gr.tensor("u", ("n",), "float64")
        f = gr.compile([u], gr.sin(u) + gr.exp(u), target=target)
        results.append(f(x))
    assert any(tmp_path.iterdir())
    np.testing.assert_array_equal(*results)
    np.testing.assert_allclose(results[0], np.sin(x) + np.exp(x), rtol=1e-14, atol=1e-15)


def test_what_programs_may_call_lives_as_long_as_the_engine() -> None:
    jit = Engine(host())
    code = jit.compile("define i64 @seven() {\n  ret i64 7\n}\n")
    jit.provide(code)
    alive = weakref.ref(code)
    del code
    gc.collect()
    assert alive() is not None
