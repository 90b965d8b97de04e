"""The command: what it prints and writes, what it says when it cannot, its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import graphc as gr
from graphc import cli
from graphc.backend import InterpretBackend

MODEL = """
import numpy as np
import graphc as gr

x = gr.matrix("x", "n", 4)
t = gr.vector("t", "n", dtype="int64")
W = gr.parameter("W", np.ones((4, 3), np.float32))
mean = gr.parameter("mean", np.zeros(4, np.float32), trainable=False)
z = (x - mean) @ W
loss = gr.nn.cross_entropy(z, t)
step = gr.compile([x, t], loss, updates={W: W - 0.1 * gr.grad(loss, W)}, name="step")
pair = [loss, z]
table = {"inner": z}
number = 3

def make():
    return loss * 2

def scaled(factor):
    return loss * factor

def broken():
    return x @ x
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_model.py").write_text(MODEL)
    return "a_model.py"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(words)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    code, out, err = run(capsys, *words)
    assert (code, err) == (0, "")
    return out


def test_show_lists_nodes_with_the_users_lines(model, capsys):
    text = printed(capsys, "show", f"{model}:loss")
    assert "f32[n, 3]" in text
    assert "a_model.py:9" in text


@pytest.mark.parametrize("name", ["pair", "step", "make", "table.inner", "a_model"])
def test_what_can_be_named(model, capsys, name):
    reference = "a_model:loss" if name == "a_model" else f"{model}:{name}"
    assert "@ W" in printed(capsys, "show", reference, "--format", "formula")


@pytest.mark.parametrize(
    ("kind", "part"),
    [("formula", "logsumexp"), ("latex", r"\operatorname"), ("python", "def f(x, t, mean, W)")],
)
def test_show_formats(model, capsys, kind, part):
    assert part in printed(capsys, "show", f"{model}:loss", "--format", kind)


def test_show_a_stage(model, capsys):
    kernels = printed(capsys, "show", f"{model}:loss", "--stage", "loops")
    assert kernels.startswith("program") or "kernel" in kernels
    assert "softmax" not in printed(capsys, "show", f"{model}:loss", "--stage", "input")


def test_grad_is_of_all_trained_parameters(model, capsys):
    text = printed(capsys, "grad", f"{model}:loss")
    assert "d_W" in text
    assert "d_mean" not in text


def test_grad_by_named_leaves(model, capsys):
    text = printed(capsys, "grad", f"{model}:loss", "--wrt", "x, mean", "--format", "formula")
    assert "d_x" in text
    assert "d_mean" in text


def test_grad_as_python_agrees(model, capsys):
    text = printed(
        capsys, "grad", f"{model}:loss", "--format", "python", "--stage", "stabilize"
    )
    scope: dict[str, object] = {}
    exec(text, scope)
    x, t = np.eye(4, dtype="f4"), np.array([0, 1, 2, 0])
    mean, W = np.zeros(4, "f4"), np.ones((4, 3), "f4")
    expected = x.T @ ((1 / 3 - np.eye(3)[t]) / 4)
    found = scope["f"](x=x, t=t, W=W, mean=mean)  # type: ignore[operator]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_draw_writes_what_the_file_is_named(model, capsys, tmp_path):
    for ending in ("svg", "html", "dot"):
        file = tmp_path / f"loss.{ending}"
        assert printed(capsys, "draw", f"{model}:loss", "--output", str(file)) == ""
        assert file.stat().st_size > 500
    assert ElementTree.parse(tmp_path / "loss.svg").getroot().tag.endswith("svg")
    assert printed(capsys, "draw", f"{model}:loss").startswith("<svg")
    assert "<html" in printed(capsys, "draw", f"{model}:loss", "--format", "html")
    assert "digraph" in printed(capsys, "draw", f"{model}:loss", "--format", "dot")


def test_report(model, capsys):
    assert "simplify" in printed(capsys, "report", f"{model}:step")
    told = json.loads(printed(capsys, "report", f"{model}:loss", "--format", "json"))
    assert told["stages"]
    assert "<table" in printed(capsys, "report", f"{model}:loss", "--format", "html")


def test_export(model, capsys, tmp_path):
    assert "define" in printed(capsys, "export", f"{model}:step")
    assert ".text" in printed(capsys, "export", f"{model}:loss", "--format", "asm")
    file = tmp_path / "loss.o"
    printed(capsys, "export", f"{model}:loss", "--output", str(file))
    assert file.read_bytes().startswith(b"\x7fELF")


FAULTS = [
    (("show", "a_model.py"), 2, ["which graph of a_model.py?", "loss, step, pair, table"]),
    (("show", "a_model.py:lost"), 1, ["has no 'lost'", "Graphs there: x, t, W"]),
    (("show", "a_model.py:number"), 1, ["number is int, not a graph"]),
    (("show", "a_model.py:scaled"), 1, ["scaled takes arguments (factor)"]),
    (("show", "a_model.py:broken"), 1, ["a_model.py", "return x @ x", "ShapeError"]),
    (("show", "none.py:loss"), 1, ["there is no file none.py"]),
    (("show", "none:loss"), 1, ["there is no module none"]),
    (("show", "a_model.py:loss", "--stage", "last"), 1, ["no stage 'last'", "simplify"]),
    (("grad", "a_model.py:loss", "--wrt", "V"), 1, ["no leaf V", "leaves: x, t, "]),
    (("grad", "a_model.py:z"), 1, ["has shape (n, 3), not ()", "hint"]),
    (("draw", "a_model.py:loss", "--format", "png"), 2, ["needs --output FILE.png"]),
    (("draw", "a_model.py:loss", "--output", "loss.pdf"), 2, ["which format is .pdf?", ".svg"]),
    (
        ("draw", "a_model.py:loss", "--format", "html", "--output", "loss.svg"),
        2,
        ["--format html does not go with loss.svg: .svg is svg"],
    ),
    (("draw", "a_model.py:loss", "--output", "loss.o"), 2, ["draw does not write object"]),
    (("draw", "a_model.py:loss", "--output", "no/loss.svg"), 1, ["no/loss.svg"]),
]


@pytest.mark.parametrize(("words", "code", "parts"), FAULTS, ids=lambda x: str(x)[:40])
def test_faults_say_what_to_do(model, capsys, words, code, parts):
    found, out, err = run(capsys, *words)
    assert (found, out) == (code, "")
    assert err.startswith(f"graphc {words[0]}: ")
    for part in parts:
        assert part in err
    assert "cli.py" not in err


def test_a_fault_in_the_users_file_shows_its_line(model, capsys, tmp_path):
    (tmp_path / "bad_model.py").write_text(
        "import graphc as gr\nx = gr.scalar('x')\ny = 1 / 0\n"
    )
    code, _, err = run(capsys, "show", "bad_model.py:y")
    assert code == 1
    assert 'bad_model.py", line 3' in err
    assert "ZeroDivisionError" in err
    assert "importlib" not in err


@pytest.mark.parametrize("words", [(), ("dance",), ("show",), ("show", "m:x", "--format", "c")])
def test_a_wrong_command_ends_with_2(words, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2
    assert "usage: graphc" in capsys.readouterr().err


def test_doctor_tries_every_backend(capsys):
    text = printed(capsys, "doctor")
    for part in (gr.__version__, "backend interpret", "backend llvm", "vectors", "cache"):
        assert part in text
    assert text.count("works") == 2


def test_doctor_finds_a_wrong_number(capsys, monkeypatch):
    def wrong(self, job):
        raise gr.GraphcError("out of order")

    monkeypatch.setattr(InterpretBackend, "load", wrong)
    code, out, _ = run(capsys, "doctor")
    assert code == 1
    assert "FAILS: GraphcError: out of order" in out


def test_the_module_is_the_command(model, tmp_path):
    command = [sys.executable, "-m", "graphc", "show", f"{model}:loss", "--format", "formula"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "logsumexp" in done.stdout


def test_a_file_may_be_called_like_a_module_in_use(model, tmp_path, capsys):
    (tmp_path / "json.py").write_text(MODEL)
    assert "logsumexp" in printed(capsys, "show", "json.py:loss", "--format", "formula")
    assert sys.modules["json"] is json
    assert "kernels" in json.loads(
        printed(capsys, "report", "json.py:step", "--format", "json")
    )


def test_a_reader_that_stops_early_is_no_error(model, tmp_path):
    line = f"set -o pipefail; {sys.executable} -m graphc export {model}:step --format llvm | :"
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("reference", ["", ":loss"])
def test_a_reference_without_a_file(reference, capsys):
    code, _, err = run(capsys, "show", reference)
    assert code == 2
    assert "names no file or module" in err


def test_generated_code_is_of_no_stage(model, capsys):
    code, _, err = run(capsys, "export", f"{model}:step", "--format", "asm", "--stage", "input")
    assert code == 2
    assert "--format asm is of no stage" in err
