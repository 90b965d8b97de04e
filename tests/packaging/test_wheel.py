"""What the wheel holds: two import packages, typed, with the backend's entry point."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from configparser import ConfigParser
from email.parser import Parser
from pathlib import Path

import pytest

import graphc

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob("*.whl")
    return zipfile.ZipFile(file)


def read(wheel: zipfile.ZipFile, name: str) -> str:
    return wheel.read(f"graphc-{graphc.__version__}.dist-info/{name}").decode()


def test_the_top_level_is_two_packages_and_the_metadata(wheel: zipfile.ZipFile) -> None:
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert top == {"graphc", "graphc_llvm", f"graphc-{graphc.__version__}.dist-info"}


def test_every_source_file_is_in_it_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    expected = set()
    for root, package in ((ROOT, "graphc"), (ROOT / "backends", "graphc_llvm")):
        for pattern in ("*.py", "*.ll", "py.typed", "*.html", "*.css", "*.js"):
            found = (root / package).rglob(pattern)
            expected |= {f.relative_to(root).as_posix() for f in found}
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == expected


def test_the_backend_is_found_by_its_entry_point(wheel: zipfile.ZipFile) -> None:
    parser = ConfigParser()
    parser.read_string(read(wheel, "entry_points.txt"))
    assert dict(parser["graphc.backends"]) == {"llvm": "graphc_llvm.backend:LLVMBackend"}


def test_metadata(wheel: zipfile.ZipFile) -> None:
    fields = Parser().parsestr(read(wheel, "METADATA"))
    assert fields["Name"] == "graphc"
    assert fields["Version"] == graphc.__version__
    assert fields["Requires-Python"] == ">=3.11"
    assert fields["License-Expression"] == "MIT"
    required = [r for r in fields.get_all("Requires-Dist", []) if "extra ==" not in r]
    names = sorted(r.split(">")[0] for r in required)
    assert names == ["llvmlite", "networkx", "numpy", "sympy"]
    assert "MIT License" in read(wheel, "licenses/LICENSE")
