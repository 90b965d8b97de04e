"""The command ``graphc``: look at, differentiate and export a graph of a user's file.

Exit codes: 0; 1 if the file, the graph or the machine is at fault; 2 if the command is.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import inspect
import json
import os
import platform
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

import graphc as gr
from graphc.backend import GROUP, get_backend
from graphc.errors import GraphcError
from graphc.expr import topological
from graphc.graph import Graph
from graphc.ops.leaves import Parameter
from graphc.pipeline import GRAPH_STAGES

Subject: TypeAlias = "gr.Expr | list[gr.Expr] | Graph | gr.CompiledFunction"
Output: TypeAlias = str | bytes

_ENDINGS = {
    ".svg": "svg", ".html": "html", ".dot": "dot", ".gv": "dot", ".png": "png",
    ".tex": "latex", ".py": "python", ".txt": "text", ".json": "json",
    ".ll": "llvm", ".s": "asm", ".o": "object",
}  # fmt: skip
_PICTURES = ("svg", "html", "dot", "png")
_TEXTS = ("text", "formula", "latex", "python")
_OPTIONAL = ("scipy", "sklearn", "matplotlib", "pygraphviz", "cairosvg", "tqdm")


class CommandError(Exception):
    """The command cannot be carried out; ``code`` is what the shell gets."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


# What the command is about ------------------------------------------------------------------


def load(reference: str) -> Subject:
    """The graph that ``MODULE:NAME`` names.

    ``MODULE`` is a file or a module's dotted name; ``NAME`` is an expression, a list, tuple or
    dict of them, a `Graph` or a compiled function, or a function of no arguments that
    returns one. A part of it is reached by dots: ``model.py:net.loss``.
    """
    where, _, name = reference.partition(":")
    if not where:
        raise CommandError(f"{reference!r} names no file or module: model.py:loss", 2)
    module = _module(where)
    if not name:
        raise CommandError(f"which graph of {where}? {_listing(where, module)}", 2)
    found: Any = module
    for part in name.split("."):
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif hasattr(found, part):
            found = getattr(found, part)
        else:
            raise CommandError(f"{where} has no {name!r}. {_listing(where, module)}")
    if inspect.isfunction(found):
        found = _called(found, name)
    subject = _as_subject(found)
    if subject is None:
        raise CommandError(
            f"{name} is {type(found).__name__}, not a graph. {_listing(where, module)}"
        )
    return subject


def _module(where: str) -> ModuleType:
    """The user's module; its own errors are shown with its own lines."""
    path = Path(where)
    try:
        if path.suffix == ".py" or path.is_file():
            if not path.is_file():
                raise CommandError(f"there is no file {where}")
            sys.path.insert(0, str(path.resolve().parent))
            # A file may be called like a module that is in use, json.py: both are kept.
            name = path.stem if path.stem not in sys.modules else f"{path.stem} of {path}"
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            spec.loader.exec_module(module)
            return module
        sys.path.insert(0, os.getcwd())
        return importlib.import_module(where)
    except CommandError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and where.split(".")[0] == error.name.split(".")[0]:
            raise CommandError(
                f"there is no module {where}; a file is named with its ending .py"
            ) from error
        raise CommandError(_users_lines(error)) from error
    except Exception as error:
        raise CommandError(_users_lines(error)) from error


def _called(function: Callable[..., Any], name: str) -> Any:
    needed = [
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if needed:
        raise CommandError(f"{name} takes arguments ({', '.join(needed)}): name a graph")
    try:
        return function()
    except Exception as error:
        raise CommandError(_users_lines(error)) from error


def _users_lines(error: BaseException) -> str:
    """The traceback from the user's first line on."""
    own = {__file__, importlib.util.__file__, importlib.__file__}
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if f.filename not in own and not f.filename.startswith("<frozen")
    ]
    return "".join(
        [*traceback.format_list(frames), *traceback.format_exception_only(error)]
    ).rstrip()


def _as_subject(found: Any) -> Subject | None:
    if isinstance(found, (gr.Expr, gr.CompiledFunction, Graph)):
        return found
    values = list(found.values()) if isinstance(found, Mapping) else found
    many = isinstance(values, (list, tuple)) and values
    return list(values) if many and all(isinstance(v, gr.Expr) for v in values) else None


def _listing(where: str, module: ModuleType) -> str:
    names = [n for n, v in vars(module).items() if n[0] != "_" and _as_subject(v) is not None]
    return f"Graphs there: {', '.join(names)}" if names else f"There are no graphs in {where}"


# What is asked of it ------------------------------------------------------------------------


def _leaves(subject: Subject) -> list[gr.Expr]:
    """Inputs, then parameters, in the order of their first use."""
    roots = _expressions(subject)
    nodes = topological(roots)
    return [
        *(n for n in nodes if n.op.name == "input"),
        *(n for n in nodes if isinstance(n, Parameter)),
    ]


def _expressions(subject: Subject) -> list[gr.Expr]:
    if isinstance(subject, gr.Expr):
        return [subject]
    if isinstance(subject, gr.CompiledFunction):
        subject = subject.graph
    return list(subject.roots) if isinstance(subject, Graph) else subject


def _compiled(subject: Subject) -> gr.CompiledFunction:
    """The subject as a compiled function: of all inputs it depends on, unless it is one."""
    if isinstance(subject, gr.CompiledFunction):
        return subject
    if isinstance(subject, Graph):
        return gr.compile(
            list(subject.inputs), list(subject.outputs), updates=dict(subject.updates)
        )
    inputs = [x for x in _leaves(subject) if x.op.name == "input"]
    return gr.compile(inputs, subject)


def _gradient(subject: Subject, wanted: str | None) -> list[gr.Expr]:
    """Gradients of the first output, by leaves named or all that are trained."""
    loss, *_ = _expressions(subject)
    leaves = _leaves(subject)
    if wanted is None:
        trained: list[gr.Expr] = [x for x in leaves if isinstance(x, Parameter) and x.trainable]
        targets = trained or [x for x in leaves if x.dtype.is_float]
    else:
        by_name = {x.name: x for x in leaves}
        names = [n.strip() for n in wanted.split(",")]
        missing = [n for n in names if n not in by_name]
        if missing:
            known = ", ".join(str(x.name) for x in leaves)
            raise CommandError(f"there is no leaf {', '.join(missing)}; leaves: {known}")
        targets = [by_name[n] for n in names]
    if not targets:
        raise CommandError("there is nothing to differentiate by; name leaves by --wrt")
    return [
        g if g.name else g.named(f"d_{x.name}")
        for x, g in zip(targets, gr.grad(loss, targets), strict=True)
    ]


def _text(subject: Any, kind: str, stage: str | None) -> str:
    if kind == "formula":
        return gr.formula(subject, stage=stage)
    if kind == "latex":
        return gr.to_latex(subject, stage=stage)
    if kind == "python":
        name = subject.name if isinstance(subject, gr.CompiledFunction) else "f"
        return gr.to_python(subject, name, stage=stage)
    return gr.show(subject, stage=stage)


def _picture(subject: Any, kind: str, stage: str | None, output: str | None) -> Output | None:
    drawing = gr.draw(subject, stage=stage)
    if kind != "png":
        return str(getattr(drawing, kind))
    if output is None or Path(output).suffix != ".png":
        raise CommandError("--format png needs --output FILE.png", 2)
    drawing.save(output)
    return None


def _report(function: gr.CompiledFunction, kind: str) -> str:
    report = function.report()
    if kind == "json":
        return json.dumps(report.to_dict(), indent=2, default=str)
    return report._repr_html_() if kind == "html" else str(report)


def _code(function: gr.CompiledFunction, kind: str) -> Output:
    if kind == "object":
        return function.object_code
    return function.asm if kind == "asm" else function.llvm_ir


def _run(given: argparse.Namespace) -> Output | None:
    """What a command prints or writes; None if it has written it itself."""
    kind = _kind(given)
    subject: Any = load(given.graph)
    if given.command == "grad":
        subject = _gradient(subject, given.wrt)
    if given.command == "report":
        return _report(_compiled(subject), kind)
    if given.command == "export" and kind in ("llvm", "asm", "object"):
        if given.stage is not None:
            raise CommandError(f"--format {kind} is of no stage: it is what was compiled", 2)
        return _code(_compiled(subject), kind)
    stage = given.stage
    if stage is not None:
        subject = _compiled(subject)
    if kind in _PICTURES:
        return _picture(subject, kind, stage, given.output)
    return _text(subject, kind, stage)


def _kind(given: argparse.Namespace) -> str:
    """The format: as said, else as the file's name ends, else the command's first."""
    kinds: Sequence[str] = given.kinds
    suffix = Path(given.output).suffix if given.output else ""
    ending = _ENDINGS.get(suffix)
    if given.format and ending and ending != given.format:
        raise CommandError(
            f"--format {given.format} does not go with {given.output}: {suffix} is {ending}", 2
        )
    if suffix and not given.format and ending is None:
        endings = ", ".join(e for e, k in _ENDINGS.items() if k in kinds)
        raise CommandError(f"which format is {suffix}? Say --format, or end in {endings}", 2)
    kind = str(given.format or ending or kinds[0])
    if kind not in kinds:
        raise CommandError(f"{given.command} does not write {kind}: {', '.join(kinds)}", 2)
    return kind


def _deliver(content: Output, output: str | None) -> None:
    if output is not None:
        data = content.encode() if isinstance(content, str) else content
        Path(output).write_bytes(data)
    elif isinstance(content, bytes):
        if sys.stdout.isatty():
            raise CommandError("an object file is not for a terminal: use --output FILE", 2)
        sys.stdout.buffer.write(content)
    else:
        print(content)


# The machine --------------------------------------------------------------------------------


def doctor() -> tuple[str, bool]:
    """Versions, machine, backends, cache and a trial of each backend; whether all is well."""
    rows = [
        ("graphc", gr.__version__),
        ("Python", f"{platform.python_version()} ({platform.python_implementation()})"),
        ("machine", f"{platform.system()} {platform.machine()}"),
        *((name, _version(name)) for name in ("numpy", "llvmlite", "sympy", "networkx")),
        ("optional", ", ".join(f"{n} {v}" for n, v in _installed(_OPTIONAL)) or "none"),
    ]
    well = True
    for name in ("interpret", *sorted(p.name for p in entry_points(group=GROUP))):
        try:
            facts = get_backend(name).facts()
            _try_backend(name)
            rows.append((f"backend {name}", "works"))
            rows += [(f"  {key}", value) for key, value in facts.items()]
        except Exception as error:
            well = False
            rows.append((f"backend {name}", f"FAILS: {type(error).__name__}: {error}"))
    width = max(len(key) for key, _ in rows)
    return "\n".join(f"{key:{width}}  {value}" for key, value in rows), well


def _try_backend(name: str) -> None:
    """Compile and check one gradient whose value is known."""
    x = gr.vector("x", "n", dtype="float64")
    f = gr.compile(x, gr.grad(gr.sum(gr.sin(x) * x), x), backend=name)
    at = np.linspace(-3, 3, 37)
    if not np.allclose(f(at), np.cos(at) * at + np.sin(at), rtol=1e-12):
        raise GraphcError("a gradient came out wrong on this machine")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _installed(names: Iterable[str]) -> list[tuple[str, str]]:
    packages = {"sklearn": "scikit-learn"}
    pairs = [(n, _version(packages.get(n, n))) for n in names]
    return [(n, v) for n, v in pairs if v != "missing"]


# The command line ---------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="graphc",
        description="Look at, differentiate and export graphs of a Python file.",
        epilog="MODULE:NAME is a file or module, and a graph in it: model.py:loss",
    )
    parser.add_argument("--version", action="version", version=f"graphc {gr.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    rows: list[tuple[str, str, tuple[str, ...]]] = [
        ("show", "list the nodes of a graph", _TEXTS),
        ("draw", "draw a graph", _PICTURES),
        ("grad", "differentiate a graph and show the gradient", (*_TEXTS, *_PICTURES)),
        ("report", "compile a graph and tell what was done", ("text", "json", "html")),
        ("export", "write generated code", ("llvm", "asm", "object", "python", "latex")),
    ]
    for name, help_text, kinds in rows:
        command = commands.add_parser(name, help=help_text, description=f"{help_text}.")
        command.set_defaults(kinds=kinds)
        command.add_argument("graph", metavar="MODULE:NAME")
        command.add_argument("--format", choices=kinds, help=f"{kinds[0]} unless said")
        command.add_argument("--output", metavar="FILE", help="standard output unless said")
        if name == "grad":
            command.add_argument(
                "--wrt", metavar="A,B", help="leaves; all parameters unless said"
            )
        if name != "report":
            command.add_argument("--stage", help=f"as it is after a stage: {_stages()}")
    commands.add_parser("doctor", help="versions, machine, cache; does everything work?")
    return parser


def _stages() -> str:
    return ", ".join(["input", *(s.name for s in GRAPH_STAGES), "loops"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    given = _parser().parse_args(arguments)
    try:
        if given.command == "doctor":
            text, well = doctor()
            print(text)
            return 0 if well else 1
        content = _run(given)
        if content is not None:
            _deliver(content, given.output)
            sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (CommandError, GraphcError, OSError) as error:
        print(f"graphc {given.command}: {error}", file=sys.stderr)
        return error.code if isinstance(error, CommandError) else 1
    return 0
