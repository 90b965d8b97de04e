"""Backends are found by the entry points of installed packages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from graphc.backend import InterpretBackend, get_backend
from graphc.errors import CompileError


def install(folder: Path, name: str, entry_points: bytes) -> None:
    """Metadata of a package, as installers leave them."""
    metadata = folder / f"{name}-1.dist-info"
    metadata.mkdir()
    (metadata / "entry_points.txt").write_bytes(entry_points)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return tmp_path


@pytest.mark.parametrize(
    "line",
    [
        "other = graphc.backend:InterpretBackend",
        "a = b:C\nother=graphc.backend:InterpretBackend  \n\n[console_scripts]\nother = x:y",
        "other = graphc.backend:InterpretBackend [extra]",
    ],
)
def test_an_installed_backend_is_found(folder: Path, line: str) -> None:
    install(folder, "package", f"[graphc.backends]\n{line}\n".encode())
    assert isinstance(get_backend("other"), InterpretBackend)


def test_other_packages_metadata_may_be_of_any_encoding(folder: Path) -> None:
    install(folder, "alien", b"[console_scripts]\ncaf\xe9 = a:b\n")
    assert get_backend("llvm").name == "llvm"


def test_a_backend_that_nobody_installed(folder: Path) -> None:
    with pytest.raises(CompileError, match="there is no backend 'cuda'\n  hint: installed: "):
        get_backend("cuda")
