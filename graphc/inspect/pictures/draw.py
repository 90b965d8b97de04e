"""Pictures of graphs, without any program outside Python."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from graphc.errors import GraphError
from graphc.expr import Expr
from graphc.inspect.pictures.fold import Box, Folded, Link
from graphc.inspect.pictures.fold import fold as fold_boxes
from graphc.inspect.pictures.labels import Label, labels
from graphc.inspect.pictures.layout import Layout, arrange
from graphc.inspect.pictures.svg import COLOURS, box_size, render
from graphc.inspect.subject import Inspectable, Subject, subject_of
from graphc.inspect.viewer.page import page
from graphc.inspect.viewer.values import Samples

#: A notebook gets no picture larger than this, in bytes.
NOTEBOOK_BYTES = 250_000


@dataclass(frozen=True, eq=False)
class Drawing:
    """A picture: ``svg``, ``dot`` and ``html`` are texts; notebooks show it by themselves."""

    given: Inspectable
    title: str
    stage: str | None = None
    fold: bool | int | None = None
    inputs: Samples | None = None

    @cached_property
    def subject(self) -> Subject:
        return subject_of(self.given, self.stage)

    @cached_property
    def folded(self) -> Folded:
        return fold_boxes(self.subject, self.fold)

    @cached_property
    def labels(self) -> tuple[Label, ...]:
        return tuple(labels(self.subject, self.folded))

    @cached_property
    def layout(self) -> Layout:
        return arrange([box_size(x) for x in self.labels], self.edges)

    @property
    def edges(self) -> list[tuple[int, int]]:
        return [(link.source, link.target) for link in self.folded.links]

    @property
    def svg(self) -> str:
        marks = _operand_marks(self.folded.boxes, self.folded.links)
        return render(self.layout, self.labels, self.edges, marks, self.title)

    @property
    def dot(self) -> str:
        """The same boxes and edges for Graphviz, which lays them out itself."""
        return _dot(self)

    @cached_property
    def html(self) -> str:
        """A page of its own: graph and gradient side by side, stages, values, the sweep."""
        return page(self.given, self.title, self.stage, self.inputs)

    def save(self, path: str | Path) -> None:
        """Write .svg, .dot, .html or .png, as the name ends (GraphError otherwise)."""
        target = Path(path)
        writers = {".svg": "svg", ".dot": "dot", ".gv": "dot", ".html": "html"}
        if target.suffix == ".png":
            target.write_bytes(self._png())
        elif target.suffix in writers:
            target.write_text(getattr(self, writers[target.suffix]), encoding="utf-8")
        else:
            raise GraphError(
                f"cannot draw to {target.name!r}", hint="end it in .svg, .dot, .html or .png"
            )

    def _png(self) -> bytes:
        if find_spec("cairosvg"):
            cairosvg = importlib.import_module("cairosvg")
            return bytes(cairosvg.svg2png(bytestring=self.svg.encode(), scale=2))
        if find_spec("pygraphviz"):
            graph = importlib.import_module("pygraphviz").AGraph(string=self.dot)
            return bytes(graph.draw(format="png", prog="dot"))
        raise GraphError(
            "a .png needs cairosvg or pygraphviz",
            hint="pip install graphc[viz], or draw to .svg",
        )

    def _repr_svg_(self) -> str | None:
        return notebook_svg(self)


def draw(
    given: Inspectable,
    path: str | Path | None = None,
    *,
    stage: str | None = None,
    fold: bool | int | None = None,
    inputs: Samples | None = None,
) -> Drawing:
    """A picture of a graph, top down, with boxes for nodes or folded scopes.

    Parameters
    ----------
    given
        An Expr, a list of them, a Graph or a compiled function.
    path
        Where to write it; ``.svg``, ``.dot``, ``.html`` and (with cairosvg or pygraphviz)
        ``.png``.
    stage
        Of a compiled function, as in `show`; an ``.html`` page has all stages and starts with
        this one, else with the graph as written.
    fold
        False: every node has a box. True: every outermost scope is one box. A number: scopes
        (innermost first), then stretches of the graph, are folded until at most so many boxes
        are left; 150 unless told otherwise. A page folds and unfolds by itself.
    inputs
        Sample arrays for the page to show values of: by input or its name, or in order.

    Raises
    ------
    GraphError
        If there is no such stage, or the file type is unknown or needs a missing package.
    InputError, InputTypeError
        If a sample is missing, or has another type or size than its input.
    """
    subject_of(given, stage)
    drawing = Drawing(given, _title(given, stage), stage, fold, inputs)
    if path is not None:
        drawing.save(path)
    return drawing


def expr_svg(expr: Expr) -> str | None:
    """The picture that a notebook shows; None if it would be too large."""
    return notebook_svg(draw(expr))


def notebook_svg(drawing: Drawing) -> str | None:
    """The picture, folded further where it would be too large; None if that does not help."""
    for boxes in (drawing.fold, 60, 20):
        svg = replace(drawing, fold=boxes).svg
        if len(svg) <= NOTEBOOK_BYTES:
            return svg
    return None


def _title(given: Inspectable, stage: str | None) -> str:
    name = getattr(given, "name", None) or "graph"
    return f"{name} after {stage}" if stage else str(name)


def _operand_marks(boxes: Sequence[Box], links: Sequence[Link]) -> list[str]:
    """Numbers at the heads of edges into operations whose operands cannot be exchanged."""
    heads: dict[int, int] = {}
    for link in links:
        heads[link.target] = heads.get(link.target, 0) + 1
    marks = []
    for link in links:
        box = boxes[link.target]
        ordered = not box.folded and "commutative" not in box.nodes[0].op.facts
        marks.append(str(link.operand + 1) if ordered and heads[link.target] > 1 else "")
    return marks


def _dot(drawing: Drawing) -> str:
    lines = [
        "digraph {",
        '  node [shape=box, style="rounded,filled", fontname="monospace", fontsize=11];',
        '  edge [arrowsize=0.6, color="#8b929c"];',
    ]
    for i, label in enumerate(drawing.labels):
        fill, line, _ = COLOURS[label.kind]
        pen = 'color="#23272e", penwidth=2' if label.output else f'color="{line}"'
        text, tip = _dot_text("\n".join(label.lines)), _dot_text(label.tooltip)
        lines.append(f'  n{i} [label="{text}", tooltip="{tip}", fillcolor="{fill}", {pen}];')
    lines += [f"  n{a} -> n{b};" for a, b in drawing.edges]
    return "\n".join([*lines, "}", ""])


def _dot_text(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
