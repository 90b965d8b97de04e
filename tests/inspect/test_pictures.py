"""Folding, layout and drawing."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gr
from graphc.errors import GraphError
from graphc.inspect.pictures.draw import Drawing, draw, expr_svg
from graphc.inspect.pictures.fold import fold
from graphc.inspect.pictures.layout import GAP, arrange, assign_layers
from graphc.inspect.pictures.svg import CHARACTER, box_size
from graphc.inspect.subject import subject_of
from graphc.origin import stemming

SVG = "{http://www.w3.org/2000/svg}"


def training_graph(mlp, *widths: int) -> list[gr.Expr]:
    loss, parameters = mlp(*widths)
    return [loss, *gr.grad(loss, parameters)]


def assert_sound(drawing: Drawing) -> None:
    """Edges go down, no two boxes overlap, no line runs through a box."""
    layout, sizes = drawing.layout, [box_size(x) for x in drawing.labels]
    for source, target in drawing.edges:
        assert layout.layer[source] < layout.layer[target]
    spans = [
        (layout.layer[v], x - (sizes[v][0] / 2 if v < len(sizes) else 0), v)
        for v, x in enumerate(layout.x)
    ]
    ordered = sorted(spans)
    for (level, left, v), (next_level, next_left, w) in pairwise(ordered):
        right = left + (sizes[v][0] if v < len(sizes) else 0)
        if level == next_level:
            assert next_left - right > GAP / 2, (v, w)
    for (_, bottom), (top, _) in pairwise(layout.spans):
        assert top > bottom
    assert min(left for _, left, _ in spans) >= -1e-9
    for vertex, (width, _) in enumerate(sizes):
        assert layout.x[vertex] + width / 2 <= layout.width + 1e-9


def texts(drawing: Drawing) -> list[str]:
    return [t.text or "" for t in ET.fromstring(drawing.svg).iter(f"{SVG}text")]


# Folding ------------------------------------------------------------------------------------


def test_every_node_is_in_one_box_and_links_go_forward(mlp):
    graph = training_graph(mlp, 8, 6, 6, 4)
    for how in (False, True, None, 5, 12, 30):
        folded = fold(subject_of(graph), how)
        nodes = [n for box in folded.boxes for n in box.nodes]
        assert len(nodes) == len(set(nodes))
        assert all(link.source < link.target for link in folded.links)
        if how is not None and how is not True and how is not False:
            assert len(folded.boxes) <= how


def test_outermost_scopes_fold_and_derivatives_apart(mlp):
    folded = fold(subject_of(training_graph(mlp, 8, 6, 4)), True)
    titles = [box.title for box in folded.boxes if box.folded]
    assert titles == ["layer1", "relu", "layer2", "d mean", "d layer2", "d layer1"]


def test_only_what_is_needed_is_folded():
    with gr.scope("outer"):
        x = gr.vector("x", 3)
        for _ in range(3):
            with gr.scope("inner"):
                x = gr.sin(gr.cos(x))
            x = gr.exp(x)
    assert [b.title for b in fold(subject_of(x), 8).boxes if b.folded] == ["inner", "inner"]
    assert [b.title for b in fold(subject_of(x), 3).boxes if b.folded] == ["outer"]


def test_scopes_that_would_depend_on_themselves_stay_open():
    x = gr.vector("x", 3)
    with gr.scope("part"):
        y = gr.sin(gr.cos(x))
    z = gr.exp(y)
    with stemming("again", y):  # in the scope of y
        w = gr.tanh(z) + y
    assert [b.folded for b in fold(subject_of(w), True).boxes] == [False] * 6


# Layout -------------------------------------------------------------------------------------


@st.composite
def dags(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    count = draw(st.integers(1, 25))
    edges = []
    for target in range(1, count):
        for _ in range(draw(st.integers(0, 3))):
            edges.append((draw(st.integers(0, target - 1)), target))
    return count, edges


@given(dags())
@settings(max_examples=150, deadline=None)
def test_layers_respect_edges_and_start_at_the_top(dag):
    count, edges = dag
    layer = assign_layers(count, edges)
    assert min(layer) == 0
    assert all(layer[source] < layer[target] for source, target in edges)


@given(dags(), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_boxes_keep_their_distance(dag, seed):
    count, edges = dag
    rng = np.random.default_rng(seed)
    sizes = [(float(w), 30.0) for w in rng.uniform(20, 200, count)]
    layout = arrange(sizes, edges)
    rows: dict[int, list[tuple[float, float]]] = {}
    for v, (x, level) in enumerate(zip(layout.x, layout.layer, strict=True)):
        half = sizes[v][0] / 2 if v < count else 0.0
        rows.setdefault(level, []).append((x - half, x + half))
    for row in rows.values():
        row.sort()
        for (_, right), (left, _) in pairwise(row):
            assert left - right > 13.9


def test_leaves_stand_just_above_their_use():
    edges = [(0, 1), (1, 2), (2, 4), (3, 4)]
    assert assign_layers(5, edges) == [0, 1, 2, 2, 3]


def test_trees_are_drawn_without_crossings():
    edges = [(i + 1, i // 2) for i in range(30)]
    flipped = [(30 - a, 30 - b) for a, b in edges]
    layout = arrange([(40.0, 20.0)] * 31, flipped)
    segments = [
        (layout.layer[s.upper], layout.x[s.upper], layout.x[s.lower]) for s in layout.segments
    ]
    for level, a, b in segments:
        for other, c, d in segments:
            assert not (level == other and a < c and b > d)


def test_an_empty_layout():
    layout = arrange([], [])
    assert (layout.width, layout.height) == (0.0, 0.0)


# Pictures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [False, True, None, 10])
def test_pictures_are_sound(mlp, how):
    drawing = draw(gr.cse(training_graph(mlp, 784, 500, 10)), fold=how)
    assert_sound(drawing)
    shown = texts(drawing)
    if how != 10:
        assert {"x", "t", "W1", "b1", "W2", "b2", "loss"} <= set(shown)
    assert "derivative" in shown or "folded derivative" in shown


def test_text_fits_its_box(mlp):
    drawing = draw(training_graph(mlp, 784, 500, 10), fold=True)
    for label in drawing.labels:
        assert max(map(len, label.lines)) * CHARACTER <= box_size(label)[0]


def test_names_are_escaped_and_long_ones_cut():
    evil = '<script>alert("x")</script> & more text that goes on and on'
    x = gr.tensor(evil, (3,))
    drawing = draw((x * x).named("]]>&'\"\\"))
    assert "<script>" not in drawing.svg
    assert "<script>alert" not in drawing.html
    assert "alert" in drawing.html
    root = ET.fromstring(drawing.svg)
    assert f"{evil} = input" in [t.text.split("\n")[0] for t in root.iter(f"{SVG}title")]
    assert max(map(len, drawing.labels[0].lines)) == 30
    assert '\\\\"' not in drawing.dot.replace('\\\\\\"', "")
    assert "]]>&'\\\"\\\\" in drawing.dot


def test_tooltips_say_where_a_node_comes_from(softmax_ce):
    loss, z = softmax_ce
    drawing = draw(gr.grad(loss, z))
    tips = [label.tooltip for label in drawing.labels]
    assert any(
        re.search(
            r"= softmax\(z\)\nf32\[n, 10\]\nconftest.py:\d+ .*\n"
            r"made by logsumexp: d logsumexp/d 0",
            t,
        )
        for t in tips
    )
    assert any("in mean" in t for t in tips)


def test_parallel_edges_are_two_lines():
    x = gr.scalar("x")
    drawing = draw(x * x)
    assert drawing.edges == [(0, 1), (0, 1)]
    heads = set(re.findall(r'<path d="M([\d.]+),', drawing.svg))
    assert len(heads) == 2


def test_numbers_stand_inside_operations():
    x = gr.scalar("x")
    drawing = draw(1 - gr.maximum(x, 0) * 2)
    assert [label.what for label in drawing.labels] == ["", "maximum(·, 0)", "· × 2", "1 − ·"]


def test_operands_that_cannot_be_exchanged_are_numbered():
    a, b = gr.scalar("a"), gr.scalar("b")
    assert {"1", "2"} <= set(texts(draw(a / b)))
    assert not {"1", "2"} & set(texts(draw(a * b)))


def test_large_graphs_are_folded_to_few_boxes(mlp):
    loss, parameters = mlp(16, *[8] * 390, 4)
    graph = [loss, *gr.grad(loss, parameters)]
    assert len(subject_of(graph).nodes()) > 5000
    drawing = draw(graph)
    assert len(drawing.labels) <= 150
    assert {"x", "t"} <= set(texts(drawing))
    assert "layer1 … layer" in drawing.svg
    assert_sound(drawing)


def test_large_graphs_without_scopes_are_cut_into_stretches():
    y = x = gr.scalar("x")
    for _ in range(2500):
        y = gr.sin(y) * x
    drawing = draw(y, fold=40)
    assert len(subject_of(y).nodes()) > 5000
    assert len(drawing.labels) <= 40
    assert "x" in texts(drawing)
    assert_sound(drawing)


def test_files(tmp_path, lsq):
    loss, _ = lsq
    for ending in ("svg", "dot", "html"):
        drawing = draw(loss, tmp_path / f"loss.{ending}")
        assert (tmp_path / f"loss.{ending}").read_text("utf-8") == getattr(drawing, ending)
    assert drawing.dot.count(" -> ") == len(drawing.edges)
    assert drawing.html.startswith("<!DOCTYPE html>")
    with pytest.raises(GraphError, match=r"cannot draw to 'loss.bmp'"):
        draw(loss, tmp_path / "loss.bmp")


def test_png_names_the_missing_package(tmp_path, lsq, monkeypatch):
    monkeypatch.setattr(
        sys.modules["graphc.inspect.pictures.draw"], "find_spec", lambda name: None
    )
    with pytest.raises(GraphError, match="needs cairosvg or pygraphviz\n  hint: pip install"):
        draw(lsq[0], tmp_path / "loss.png")
    assert not (tmp_path / "loss.png").exists()


def test_notebooks_get_the_picture_unless_it_is_huge(lsq, monkeypatch):
    assert expr_svg(lsq[0]) == draw(lsq[0]).svg
    monkeypatch.setattr(sys.modules["graphc.inspect.pictures.draw"], "NOTEBOOK_BYTES", 100)
    assert expr_svg(lsq[0]) is None


def test_a_notebook_gets_a_larger_graph_folded_further(mlp, monkeypatch):
    drawing = draw(training_graph(mlp, 8, *[6] * 40, 4))
    monkeypatch.setattr(
        sys.modules["graphc.inspect.pictures.draw"], "NOTEBOOK_BYTES", len(drawing.svg) - 1
    )
    shown = drawing._repr_svg_()
    assert shown is not None
    assert len(shown) < len(drawing.svg)
    assert shown == draw(drawing.given, fold=60).svg


def test_a_stage_of_a_compiled_function(lsq):
    loss, w = lsq
    inputs = [n for n in subject_of(loss).nodes() if n.op.name == "input"]
    step = gr.compile(inputs, loss, {w: w - gr.grad(loss, w)}, name="step")
    assert len(draw(step, stage="input").labels) > len(draw(step, stage="simplify").labels)
    assert "next w" in texts(draw(step))
    assert (
        ET.fromstring(draw(step, stage="cse").svg).find(f"{SVG}title").text == "step after cse"
    )
