"""The scripts in examples/ run and say what they found."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NUMBER = r"(-?\d+(?:\.\d+)?)"


def run(name: str, folder: Path) -> str:
    """What a script prints when run in a folder, each time with another order of sets."""
    command = [sys.executable, str(EXAMPLES / name)]
    environment = {**os.environ, "PYTHONHASHSEED": "random"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def numbers(pattern: str, text: str) -> list[float]:
    """The numbers at the places of a line that is there once; spaces count as one or more."""
    found = re.findall(
        re.escape(pattern).replace("NUMBER", NUMBER).replace(r"\ ", r"\s+"), text
    )
    assert len(found) == 1, f"{pattern!r} in\n{text}"
    return [float(n) for n in ([found[0]] if isinstance(found[0], str) else found[0])]


def test_every_example_is_run_here() -> None:
    scripts = {p.name for p in EXAMPLES.glob("*.py")}
    assert scripts == {
        "derivative_walk.py",
        "digits.py",
        "gradient_graphs.py",
        "small_function.py",
        "sparse_newton.py",
    }


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("digits")
    return run("digits.py", folder), folder / "build" / "demo"


def test_digits_are_learnt(digits: tuple[str, Path]) -> None:
    printed, _ = digits
    (share,) = numbers("held-out digits right: NUMBER% of 360", printed)
    assert share >= 97
    last, first = numbers("loss NUMBER (first epoch: NUMBER)", printed)
    assert 0 < last < first / 5


def test_digits_leave_pictures_formulas_and_code(digits: tuple[str, Path]) -> None:
    printed, folder = digits
    names = {f"{n}_{w}.svg" for n in ("loss", "gradient") for w in ("before", "after")}
    names |= {"gradient.txt", "gradient.tex", "loops.txt", "report.txt", "curve.csv"}
    assert {p.name for p in folder.iterdir()} == names | {
        f"step.{kind}" for kind in ("html", "ll", "o", "s")
    }
    for picture in folder.glob("*.svg"):
        assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    for file in folder.iterdir():
        assert f"build/demo/{file.name} (" in printed
        assert file.stat().st_size > 100
    assert "W_{1}" in (folder / "gradient.tex").read_text()
    assert "define" in (folder / "step.ll").read_text()
    assert len((folder / "curve.csv").read_text().splitlines()) == 31


def test_digits_are_learnt_the_same_way_again(digits: tuple[str, Path], tmp_path: Path) -> None:
    run("digits.py", tmp_path)
    for name in ("curve.csv", "gradient.txt", "step.ll", "gradient_after.svg"):
        again = (tmp_path / "build" / "demo" / name).read_bytes()
        assert again == (digits[1] / name).read_bytes(), name


def test_gradient_graphs(tmp_path: Path) -> None:
    printed = run("gradient_graphs.py", tmp_path)
    assert numbers("w = 2: w^32 = NUMBER, 32 w^31 = NUMBER", printed) == [2**32, 32 * 2**31]
    assert numbers("xor: loss = NUMBER, largest slope = NUMBER", printed) == [0, 0]
    assert printed.count("gradient, compiled") == 4


def test_small_function(tmp_path: Path) -> None:
    printed = run("small_function.py", tmp_path)
    value, by_math = numbers("value NUMBER by math NUMBER", printed)
    assert math.isclose(value, by_math, rel_tol=1e-11)
    slope, by_differences = numbers("d/dx NUMBER by differences NUMBER", printed)
    assert math.isclose(slope, by_differences, rel_tol=1e-6)
    (nanoseconds,) = numbers("gradient takes NUMBER ns", printed)
    assert nanoseconds > 0


def test_derivative_walk(tmp_path: Path) -> None:
    printed = run("derivative_walk.py", tmp_path)
    assert numbers("paths: NUMBER, counted without listing: NUMBER", printed) == [32, 32]
    assert "sum of the products: 32*w**31" in printed
    for line in ("S(y9) = w**16", "S(y7) = 2*w**24", "S(y9) = 2*w**16", "S(y7) = 4*w**24"):
        assert printed.count(line) == 1
    assert "1 152 921 504 606 846 976  paths" in printed
    assert "SymPy finds the same derivative: True" in printed
    x = 0.5
    rise = math.exp(-(x**2)) * (-2 * x * math.cos(3 * x) - 3 * math.sin(3 * x))
    left, middle, right = numbers("at -0.5, 0, 0.5: NUMBER NUMBER NUMBER", printed)
    assert (left, middle, right) == (round(-rise, 6), 0, round(rise, 6))


def test_a_boundary_value_problem_is_solved_with_a_sparse_jacobian(tmp_path: Path) -> None:
    printed = run("sparse_newton.py", tmp_path)
    assert "7 directions (forward) for 49600 entries" in printed
    (size,) = re.findall(r"step 3: largest residual (\S+),", printed)
    assert float(size) < 1e-14  # three steps double the digits
    assert numbers("largest u: NUMBER", printed) == [0.07808]
