"""The code in README.md and docs/ runs, and prints what the pages say.

The ``python`` blocks of a page run one after the other in one namespace. A ``text`` block
right after one is what it prints (``...`` stands for anything). ``python
tests/docs/test_pages.py`` puts into the pages what is printed now.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"^```python\n(.*?)^```\n(?:\n*```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """Code of a page, the line it starts at, and what it prints (None: not shown)."""

    code: str
    line: int
    prints: str | None


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in BLOCK.finditer(text):
        yield Block(found[1], text[: found.start(1)].count("\n"), found[2])


def prints(page: Path) -> Iterator[tuple[Block, str]]:
    """Each block of a page with what it prints."""
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page):
        yield block, run(block, page, names)


def run(block: Block, page: Path, names: dict[str, Any]) -> str:
    """What the block prints; its lines are numbered as in the page."""
    printed = io.StringIO()
    code = compile("\n" * block.line + block.code, str(page), "exec")
    with contextlib.redirect_stdout(printed):
        exec(code, names)
    return printed.getvalue()


WITH_CODE = [p for p in PAGES if any(blocks(p))]


def test_the_pages_that_teach_have_code() -> None:
    assert {p.name for p in WITH_CODE} >= {"README.md", "tutorial.md"}


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda p: p.name)
def test_a_page_runs_and_prints_what_it_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for block, got in prints(page):
        if block.prints is None:
            continue
        same = doctest.OutputChecker().check_output(block.prints, got, doctest.ELLIPSIS)
        assert same, f"{page.name}:{block.line}: prints\n{got}\nthe page shows\n{block.prints}"


LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    missing = [t for t in LINK.findall(page.read_text()) if not (page.parent / t).exists()]
    assert missing == []


def update(page: Path) -> None:
    """Replace what a page shows by what its blocks print."""
    text = page.read_text()
    for block, got in prints(page):
        if block.prints is not None:
            shown = f"{block.code}```\n\n```text\n"
            text = text.replace(f"{shown}{block.prints}```", f"{shown}{got}```")
    page.write_text(text)


if __name__ == "__main__":
    for page in WITH_CODE:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            # Twice: listings name lines of the page, which move when it changes.
            update(page)
            update(page)
