"""The rooms of docs/layout.md: they are the tree, and imports go one way only."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"graphc": ROOT / "graphc", "graphc_llvm": ROOT / "backends" / "graphc_llvm"}
ROOM = re.compile(r"^\| `(graphc(?:_llvm)?)/([\w./]+)` \|", re.MULTILINE)


def rooms(package: str) -> list[str]:
    """Names of a package's rooms, lowest first: the rows of its table in docs/layout.md."""
    page = (ROOT / "docs" / "layout.md").read_text()
    return [name for found, name in ROOM.findall(page) if found == package]


ROOMS = {package: rooms(package) for package in PACKAGES}


def entries(package: str) -> set[str]:
    """Files and directories that hold Python code at the top of a package."""
    top = PACKAGES[package]
    files = {p.name for p in top.glob("*.py")}
    return files | {f"{p.name}/" for p in top.iterdir() if any(p.glob("*.py"))}


def imported(file: Path) -> Iterator[str]:
    """Full names of the modules a file imports, anywhere but under TYPE_CHECKING."""
    pending: list[ast.AST] = [ast.parse(file.read_text(), str(file))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        pending.extend(ast.iter_child_nodes(node))


def room_of(package: str, module: str) -> str:
    """The room of a module, or of a name in one: the longest row that holds it."""
    path, found = "", "__init__.py"
    for part in module.split(".")[1:]:
        found = next(
            (r for r in (f"{path}{part}.py", f"{path}{part}/") if r in ROOMS[package]), found
        )
        path += f"{part}/"
    return found


def modules(package: str) -> list[tuple[str, Path]]:
    """(room, file) for each file of a package."""
    top = PACKAGES[package]
    return [
        (room_of(package, ".".join((package, *p.relative_to(top).with_suffix("").parts))), p)
        for p in sorted(top.rglob("*.py"))
    ]


# A number beside an expression becomes a leaf; NumPy's functions are looked up by name in the
# public face; a compiled function is asked for its report, and a call explains a NaN. All
# inside functions, long after the modules were loaded.
LATE = {
    ("expr.py", "ops/"),
    ("functions/", "__init__.py"),
    ("calls.py", "inspect/"),
    ("function.py", "inspect/"),
}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_page_names_every_room_and_no_other(package: str) -> None:
    listed = ROOMS[package]
    assert len(listed) == len(set(listed))
    assert {r for r in listed if "/" not in r.rstrip("/")} == entries(package)
    assert [r for r in listed if not (PACKAGES[package] / r).exists()] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_room_imports_only_rooms_below_it(package: str) -> None:
    height = {room: i for i, room in enumerate(ROOMS[package])}
    wrong = []
    for room, file in modules(package):
        for name in imported(file):
            if name.split(".")[0] != package:
                continue
            other = room_of(package, name)
            if height[other] > height[room] and (room, other) not in LATE:
                wrong.append(f"{file.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_the_core_imports_no_backend() -> None:
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for _, file in modules("graphc")
        for name in imported(file)
        if name.split(".")[0] in ("graphc_llvm", "llvmlite")
    ]
    assert wrong == []


def test_a_backend_reads_the_loop_program_only() -> None:
    """The way from a graph to loops, and the public face, are not a backend's business."""
    allowed = {"backend.py", "errors.py", "loops/ir.py", "types.py"}
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for _, file in modules("graphc_llvm")
        for name in imported(file)
        if name.split(".")[0] == "graphc" and room_of("graphc", name) not in allowed
    ]
    assert wrong == []


def test_nothing_imports_the_directory_of_backends() -> None:
    folders = ("graphc", "backends", "tests", "examples")
    files = [f for folder in folders for f in (ROOT / folder).rglob("*.py")]
    assert len(files) > 50
    wrong = [str(f) for f in files if any(m.split(".")[0] == "backends" for m in imported(f))]
    assert wrong == []


def test_importing_graphc_loads_none_of_the_heavy_packages() -> None:
    code = "import sys, graphc; print(*sorted(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "graphc" in loaded
    assert loaded & {"graphc_llvm", "llvmlite", "matplotlib", "networkx", "sympy"} == set()
