"""The examples in docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import graphc

MODULES = ["graphc", *(m.name for m in pkgutil.walk_packages(graphc.__path__, "graphc."))]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_of_a_module(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    found = [t for n in MODULES for t in finder.find(importlib.import_module(n))]
    assert sum(bool(test.examples) for test in found) >= 1
