"""The notebooks in examples/ run, and show what they were saved with."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples").glob("*.ipynb"))


def shown(notebook: Any) -> list[str]:
    """Printed text and plain results of each cell; printed text may come in pieces."""
    found = []
    for cell in notebook.cells:
        for stream, outputs in groupby(cell.get("outputs", []), lambda o: o.get("name")):
            texts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs]
            found += ["".join(texts)] if stream else texts
    return found


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda p: p.stem)
def saved_and_run(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    saved, fresh = (nbformat.read(request.param, as_version=4) for _ in range(2))
    NotebookClient(fresh, timeout=120, kernel_name="python3").execute()
    return saved, fresh


def test_there_is_a_notebook() -> None:
    assert NOTEBOOKS


def test_what_it_shows_is_what_it_was_saved_with(saved_and_run: tuple[Any, Any]) -> None:
    saved, fresh = saved_and_run
    assert shown(fresh) == shown(saved)


def test_it_shows_pictures_formulas_and_tables(saved_and_run: tuple[Any, Any]) -> None:
    _, fresh = saved_and_run
    kinds = {k for c in fresh.cells for o in c.get("outputs", []) for k in o.get("data", {})}
    assert {"image/svg+xml", "text/latex", "text/html"} <= kinds


def test_lines_are_named_after_their_cells(saved_and_run: tuple[Any, Any]) -> None:
    _, fresh = saved_and_run
    assert any("In[8]:1" in text for text in shown(fresh))
