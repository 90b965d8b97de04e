"""docs/reference.md: every public name with its first line, made from the docstrings.

Write it anew with ``python tests/docs/reference.py``.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import graphc as gr
from graphc import errors, nn, testing
from graphc.types import DType

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"

#: Sections in order, and the modules whose names they list.
SECTIONS = {
    "Leaves and expressions": ("ops.leaves", "expr", "types"),
    "Elementwise functions": ("ops.elementwise", "functions.operators", "ops.table"),
    "Reductions and statistics": ("ops.reduction", "functions.statistics"),
    "Products": ("ops.contraction",),
    "Shapes and parts": ("ops.movement", "ops.indexing"),
    "Derivatives": ("diff",),
    "Compiling": ("compiler", "contracts", "bound"),
    "Looking inside": ("inspect", "rewrite"),
    "Other tools": ("interop",),
}


def names(module: ModuleType) -> dict[str, Any]:
    """Public functions, classes, operations and element types of a module."""
    found = {n: getattr(module, n) for n in dir(module) if n[0] != "_"}
    return {n: v for n, v in found.items() if callable(v) or isinstance(v, DType)}


def home(value: Any) -> str:
    """The module that a name comes from."""
    return str(getattr(value, "__module__", type(value).__module__))


def section(value: Any) -> str:
    room = home(value).removeprefix("graphc.")
    for title, modules in SECTIONS.items():
        if any(room == m or room.startswith(f"{m}.") for m in modules):
            return title
    return "Errors"


def rows(values: dict[str, Any]) -> list[str]:
    spellings: dict[int, list[str]] = {}
    for name, value in sorted(values.items()):
        spellings.setdefault(id(value), []).append(name)
    return [
        f"| {', '.join(f'`{n}`' for n in same)} | {meaning(values[same[0]])} |"
        for same in spellings.values()
    ]


def meaning(value: Any) -> str:
    if isinstance(value, DType):
        return f"element type, printed `{value}`"
    text = (inspect.getdoc(value) or "").split("\n\n")[0]
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def page() -> str:
    """The text of the page."""
    titles: dict[str, dict[str, Any]] = {title: {} for title in SECTIONS}
    for name, value in names(gr).items():
        titles.setdefault(section(value), {})[name] = value
    titles["Networks: `gr.nn`"] = names(nn)
    titles["Checks: `gr.testing`"] = {
        n: v
        for n, v in names(testing).items()
        if "gradient_check" in home(v) or "testing" in home(v)
    }
    titles["Errors: `gr.errors`"] = {
        **titles.pop("Errors", {}),
        **{n: v for n, v in names(errors).items() if home(v) == errors.__name__},
    }
    lines = [
        "# Reference",
        "",
        "Every public name of `import graphc as gr`, with the first line of its description;",
        "`help(gr.grad)` has the rest. Names beside each other are the same function.",
    ]
    for title, values in titles.items():
        lines += ["", f"## {title}", "", "| name | meaning |", "|---|---|", *rows(values)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
