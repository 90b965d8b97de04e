"""``import graphc`` loads what makes graphs; the rest is loaded when it is first used."""

import json
import subprocess
import sys

import pytest

import graphc

LATER = (
    "graphc.contracts",
    "graphc.inspect",
    "graphc.interop",
    "graphc.loops.ir",
    "graphc.pipeline",
    "graphc.rewrite",
    "graphc.testing",
)
OTHERS = ("importlib.metadata", "llvmlite", "networkx", "scipy", "socket", "sympy")


def run(code: str) -> object:
    command = [sys.executable, "-c", f"import json, sys; {code}"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def test_nothing_is_loaded_that_graphs_do_not_need() -> None:
    names = (*LATER, *OTHERS)
    code = f"import graphc; print(json.dumps([m for m in {names!r} if m in sys.modules]))"
    assert run(code) == []


def test_names_that_are_loaded_later_are_there() -> None:
    code = (
        "import graphc as gr; listed = dir(gr); "
        "names = [n for some in gr._LATER.values() for n in some]; "
        "usable = lambda n: n in listed and callable(getattr(gr, n)); "
        "print(json.dumps([n for n in names if not usable(n)]))"
    )
    assert run(code) == []


def test_rooms_are_attributes() -> None:
    code = "import graphc as gr; print(json.dumps([gr.inspect.__name__, gr.testing.__name__]))"
    assert run(code) == ["graphc.inspect", "graphc.testing"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    code = (
        "import graphc as gr\ntry:\n    gr.nope\n"
        "except AttributeError as e:\n    print(json.dumps(str(e)))"
    )
    assert run(f"pass\n{code}") == "module 'graphc' has no attribute 'nope'"


@pytest.mark.parametrize(
    ("name", "meant"),
    [("relu", "gr.nn.relu"), ("sigmod", "gr.sigmoid"), ("hesian", "gr.hessian"), ("xyzzy", "")],
)
def test_a_name_that_is_not_there_says_what_may_be_meant(name: str, meant: str) -> None:
    assert not hasattr(graphc, name)
    with pytest.raises(AttributeError) as caught:
        getattr(graphc, name)
    assert (f"did you mean {meant}" in str(caught.value)) is bool(meant)
