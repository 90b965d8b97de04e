"""What the viewer's page is told: stages, links, values, scopes, the sweep."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import networkx
import numpy as np
import pytest

import graphc as gr
from graphc.errors import GraphError, InputError, InputTypeError
from graphc.expr import topological
from graphc.inspect.viewer.build import document
from graphc.inspect.viewer.clusters import clusters
from graphc.inspect.viewer.derivatives import differentiated, forward_stem
from graphc.inspect.viewer.document import BACKWARD, FORWARD
from graphc.inspect.viewer.page import page
from graphc.inspect.viewer.templates import ADJOINT, OUT, Locals, formulas, slot, template
from graphc.inspect.viewer.values import bind, summary
from graphc.origin import stemming


def classifier():
    """A training step with momentum: relu, cross-entropy, accuracy."""
    x, t = gr.tensor("x", ("batch", 6)), gr.tensor("t", ("batch",), dtype="int64")
    rng = np.random.default_rng(0)
    W = gr.parameter("W", rng.standard_normal((6, 3)).astype(np.float32))
    b = gr.parameter("b", np.zeros(3, np.float32))
    logits = gr.nn.relu(x @ W + b)
    loss = gr.nn.cross_entropy(logits, t).named("loss")
    gW, gb = gr.grad(loss, [W, b])
    v = gr.parameter("v", np.zeros((6, 3), np.float32), trainable=False)
    updates = {v: 0.9 * v + gW, W: W - 0.1 * (0.9 * v + gW), b: b - 0.1 * gb}
    step = gr.compile([x, t], [loss, gr.nn.accuracy(logits, t)], updates, name="step")
    return step, [rng.standard_normal((5, 6)).astype(np.float32), np.array([0, 1, 2, 0, 1])]


@pytest.fixture(scope="module")
def step():
    function, samples = classifier()
    return function, document(function, "step", None, samples)


def numbers(found):
    """The statistics of a summary."""
    return [found.least, found.largest, found.mean, found.norm]


# Stages -------------------------------------------------------------------------------------


def test_a_document_is_plain_json(step):
    _, doc = step
    text = json.dumps(doc.to_dict(), allow_nan=False)
    assert json.loads(text)["title"] == "step"


def test_stages_are_the_snapshots_with_operands_first(step):
    function, doc = step
    assert [s.name for s in doc.stages] == [s.stage for s in function.snapshots]
    for view, snapshot in zip(doc.stages, function.snapshots, strict=True):
        assert len(view.nodes) == snapshot.nodes == len(set(view.nodes))
        place = {n: i for i, n in enumerate(view.nodes)}
        for i, n in enumerate(view.nodes):
            assert all(place[a] < i for a in doc.nodes[n].args)
            assert view.stems[i] == -1 or view.sides[view.stems[i]] == FORWARD
        roles = [role for _, role in view.roots]
        assert roles == ["output 1", "output 2", "next v", "next W", "next b"]
        assert view.fired == snapshot.fired


def test_sides_are_forward_and_what_needs_derivatives(step):
    _, doc = step
    first = doc.stages[0]
    side = dict(zip(first.names, first.sides, strict=True))
    assert [side[n] for n in ("x", "t", "W", "b", "loss")] == [FORWARD] * 5
    assert side["v"] == BACKWARD
    kinds = {k for k, s in zip(first.kinds, first.sides, strict=True) if s == FORWARD}
    assert kinds == {"input", "parameter", "operation", "constant"}
    assert {"gradient", "update", "parameter"} <= set(first.kinds)
    for view in doc.stages:
        for i, n in enumerate(view.nodes):
            needs = [view.nodes.index(a) for a in doc.nodes[n].args]
            assert view.sides[i] == BACKWARD or all(view.sides[a] == FORWARD for a in needs)


def test_what_became_of_nodes_has_their_values(step):
    """Every node that a stage says another became has, at the sample, the same value."""
    _, doc = step
    compared = 0
    for old, new in zip(doc.stages, doc.stages[1:], strict=False):
        values = dict(zip(old.nodes, old.values, strict=True))
        for before, fate, value in zip(new.before, new.changed, new.values, strict=True):
            assert (fate == "new") == (not before)
            assert (fate == "merged") == (len(before) > 1)
            for node in before:
                assert values[node].shape == value.shape
                assert numbers(values[node]) == pytest.approx(
                    numbers(value), rel=1e-5, abs=1e-6
                )
                compared += 1
        gone = set(old.nodes) - {b for before in new.before for b in before}
        assert gone == set(new.gone)
    assert compared > 200


def test_equal_nodes_are_merged_and_rules_rewrite():
    x = gr.vector("x", 3)
    y = gr.sin(x) * 1.0 + gr.sin(x)
    views = document(gr.compile(x, y), "f").stages
    fates = {v.name: v.changed for v in views}
    assert fates["input"] == ()
    assert fates["cse"].count("merged") == 1
    assert "rewritten" in fates["simplify"] + fates["fold"] + fates["multiply-add"]
    assert any(v.gone for v in views)


def test_the_stage_shown_first(step):
    function, doc = step
    assert doc.shown == 0
    names = [s.stage for s in function.snapshots]
    assert document(function, "f", "simplify").shown == names.index("simplify")
    with pytest.raises(GraphError, match="no stage 'melt'"):
        document(function, "f", "melt")


def test_kernels_are_named(step):
    function, doc = step
    names = {k.name for k in function.program.kernels}
    assert {k.name for k in doc.kernels} == names
    last = doc.stages[-1]
    used = {name for k in last.kernels if k >= 0 for name in doc.texts[k].split(", ")}
    assert used
    assert used <= names


# Links --------------------------------------------------------------------------------------


def test_stems_are_the_nodes_that_were_differentiated(step):
    function, doc = step
    first = doc.stages[0]
    nodes = function.snapshots[0].graph.nodes()
    place = {n: i for i, n in enumerate(nodes)}
    for i, node in enumerate(nodes):
        stem = forward_stem(node)
        assert first.stems[i] == (place[stem] if stem is not None else -1)
    for view in doc.stages:
        assert sum(s >= 0 for s in view.stems) > 5


def test_adjoints_have_the_numbers_of_the_sweep(step):
    """What is headed S(node), at any stage, is the adjoint that the sweep finds."""
    _, doc = step
    swept = {row.node: row.size for row in doc.sweeps[0].rows}
    for view in doc.stages:
        known = 0
        for of, value in zip(view.adjoints, view.values, strict=True):
            for node, output in of:
                assert output == 0
                assert numbers(value) == pytest.approx(numbers(swept[node]), rel=1e-4, abs=1e-6)
                known += 1
        assert known >= 4
        named = {doc.nodes[n].name for of in view.adjoints for n, _ in of}
        assert {"W", "b"} <= named


def test_twins_keep_their_own_adjoints(product):
    w, o = product
    doc = document([o, gr.grad(o, w)], "product")
    view = doc.stages[0]
    owners = [[doc.nodes[n].name for n, _ in of] for of in view.adjoints if of]
    assert sorted(owners) == sorted([[f"y{k}"] for k in range(1, 11)] + [["w"]])


def test_a_gradient_alone_is_shown_beside_the_graph_it_stems_from(product):
    w, o = product
    view = document(gr.grad(o, w), "slope").stages[0]
    assert "o" in view.names
    outside = {view.names[i] for i in view.outside}
    assert "o" in outside
    assert "y9" not in outside
    assert all(view.sides[i] == FORWARD for i in view.outside)


def test_a_merged_gradient_finds_its_merged_forward_graph(product):
    w, o = product
    both = gr.cse([o, gr.grad(o, w)])
    view = document(both, "merged").stages[0]
    assert view.outside == ()
    assert len(view.nodes) == len(topological(both))
    assert differentiated(both)[0] == [both[0]]


def test_the_output_is_found_though_its_own_derivative_leaves_no_trace():
    """A sum passes its adjoint on, so no node stems from it."""
    x = gr.vector("x", 3)
    fit, penalty = gr.sum(gr.sin(x)), gr.sum(x * x)
    loss = fit + penalty
    slope = gr.grad(loss, x)
    outputs, _ = differentiated([loss, gr.sum(x), slope])
    assert outputs == [loss]
    (view,) = document([loss, slope], "f").stages
    assert ((view.nodes[view.names.index("x")], 0),) in view.adjoints
    total = loss + gr.sum(slope * slope)
    assert differentiated([total, gr.grad(total, x)])[0][0] is total


# Scopes -------------------------------------------------------------------------------------


def path_of(cluster, scopes):
    """The clusters around a node, the outermost first."""
    path = []
    while cluster >= 0:
        path.insert(0, cluster)
        cluster = scopes[cluster].parent
    return tuple(path)


def test_folding_any_scope_leaves_no_cycle(step):
    _, doc = step
    for view in doc.stages:
        paths = [path_of(c, view.scopes) for c in view.clusters]
        place = {n: i for i, n in enumerate(view.nodes)}
        for around in [(), *{p[:k] for p in paths for k in range(1, len(p) + 1)}]:
            depth = len(around)
            inside = [i for i, p in enumerate(paths) if p[:depth] == around]
            item = {i: ("c", paths[i][depth]) if len(paths[i]) > depth else i for i in inside}
            graph = networkx.DiGraph()
            for i in inside:
                for a in doc.nodes[view.nodes[i]].args:
                    a = place[a]
                    if a in item and item[a] != item[i]:
                        graph.add_edge(item[a], item[i])
            assert networkx.is_directed_acyclic_graph(graph)


def test_a_scope_that_depends_on_itself_is_dissolved():
    x = gr.vector("x", 3)
    with gr.scope("part"):
        y = gr.sin(gr.cos(x))
    z = gr.exp(y)
    with stemming("again", y):  # in the scope of y
        w = gr.tanh(z) + y
    nodes = topological([w])
    zeros = dict.fromkeys(nodes, 0)
    assert clusters(nodes, zeros, zeros) == ((), {})
    found, owner = clusters([n for n in nodes if n is not z], zeros, zeros)
    assert [c.title for c in found] == ["part"]
    assert len(owner) == 4


def test_scopes_of_derivatives_stand_apart(step):
    _, doc = step
    titles = {(c.title, c.side) for c in doc.stages[0].scopes}
    assert {("relu", FORWARD), ("cross_entropy", FORWARD), ("accuracy", FORWARD)} <= titles
    assert ("d cross_entropy", BACKWARD) in titles


# Formulas -----------------------------------------------------------------------------------


def filled(text, *names):
    for i, name in enumerate(names):
        text = text.replace(slot(i), name)
    return text.replace(OUT, "out").replace(ADJOINT, "S")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda a, b: a * b, ["b", "a"]),
        (lambda a, b: a / b, ["1 / b", "-out / b"]),
        (lambda a, b: a - b, ["1", "-1"]),
        (lambda a, b: gr.exp(a), ["out"]),
        (lambda a, b: gr.sin(a), ["cos(a)"]),
        (lambda a, b: a * 3.0, ["3", "a"]),
    ],
)
def test_local_derivatives_of_elementwise_operations(make, expected):
    a, b = gr.vector("a", 3, dtype="float64"), gr.vector("b", 3, dtype="float64")
    node = make(a, b)
    found = [None if t is None else filled(t, "a", "b") for t in Locals().of(node)]
    assert found == expected
    for place, text in enumerate(found):
        if text is None or node.args[place] not in (a, b):
            continue
        at = {"a": np.array([0.3, 0.7, 1.1]), "b": np.array([0.5, 0.9, 1.3])}
        leaf = node.args[place]
        slope = gr.compile([a, b], gr.grad(gr.sum(node), leaf))(*at.values())
        out = gr.compile([a, b], node)(*at.values())
        value = eval(text, {"cos": np.cos, "sin": np.sin, **at, "out": out})
        np.testing.assert_allclose(np.broadcast_to(value, 3), slope, rtol=1e-12)


def test_local_derivatives_of_linear_maps():
    x, W = gr.tensor("x", ("n", 3)), gr.tensor("W", (3, 2))
    known = Locals()
    assert [filled(t, "x", "W") for t in known.of(x @ W)] == ["S @ W.T", "x.T @ S"]
    assert [filled(t, "x") for t in known.of(gr.sum(x))] == [
        "broadcast(reshape(S, [1, 1]), [n, 3])"
    ]
    assert known.of(gr.argmax(x, 1)) == ()


def test_formulas_reach_to_named_and_shared_operands():
    x, y = gr.scalar("x"), gr.scalar("y")
    shared = gr.sin(x)
    named = gr.cos(x).named("c")
    o = gr.exp(shared + named) * shared - y
    nodes = topological([o])
    names = {n: n.name or f"%{i}" for i, n in enumerate(nodes)}
    uses = {n: sum(u.args.count(n) for u in nodes) for n in nodes}
    found = dict(zip(nodes, formulas(nodes, names, uses), strict=True))
    assert found[o] == f"exp({names[shared]} + c) * {names[shared]} - y"
    assert template(o) == f"{slot(0)} - {slot(1)}"


# Values -------------------------------------------------------------------------------------


def test_summaries_count_what_is_not_finite():
    found = summary(np.array([[1.0, np.nan], [-np.inf, 3.0]], np.float32))
    assert (found.shape, found.nan, found.inf) == ((2, 2), 1, 1)
    assert (found.least, found.largest, found.mean) == (1.0, 3.0, 2.0)
    assert found.whole == [[1.0, "nan"], ["-inf", 3.0]]
    assert summary(np.full(3, np.nan)).least is None
    empty = summary(np.zeros((0, 3)))
    assert (empty.nan, empty.whole) == (0, [])


def test_summaries_of_large_and_of_huge_numbers():
    found = summary(np.linspace(0, 1, 240, dtype=np.float32))
    assert found.whole is None
    assert found.bars == (10,) * 24
    huge = summary(np.array([1e300, -1e300, 1e300]))
    assert huge.norm == pytest.approx(np.sqrt(3) * 1e300)
    assert huge.mean == pytest.approx(1e300 / 3)
    tiny = summary(np.full(4, 1e-200))
    assert tiny.norm == pytest.approx(2e-200)
    assert summary(np.array([0.1], np.float32)).whole == [0.1]
    exact = summary(np.array([2.0**31 + 1, 0.1 + 0.2]))
    assert exact.whole == [2.0**31 + 1, 0.1 + 0.2]
    assert exact.largest == 2.0**31 + 1
    assert summary(np.array([True, False])).whole == [True, False]


def test_values_are_the_interpreters(step):
    function, doc = step
    first = doc.stages[0]
    _, samples = classifier()
    loss = gr.compile(
        list(function.graph.inputs), function.graph.outputs[0], backend="interpret"
    )
    at = first.names.index("loss")
    assert first.values[at].whole == pytest.approx(float(loss(*samples)), rel=1e-6)
    assert doc.sizes == {"batch": 5}


def test_samples_by_input_by_name_or_in_order():
    x, t = gr.vector("x", "n"), gr.scalar("t")
    for given in ({x: [1.0, 2.0], t: 3.0}, {"x": [1.0, 2.0], "t": 3.0}, [[1.0, 2.0], 3.0]):
        found = bind([x, t], given)
        assert found.sizes == {"n": 2}
        np.testing.assert_array_equal(found.values[x], np.array([1, 2], np.float32))


@pytest.mark.parametrize(
    ("samples", "error", "text"),
    [
        ([[1.0]], InputTypeError, "draw: the input 't' is missing"),
        ({"x": [1.0], "q": 2.0}, InputTypeError, "draw has no input 'q'"),
        ([1.0, 2.0], InputError, "draw: the input 'x' has 0 axes, expected 1"),
    ],
)
def test_errors_of_samples_name_the_input(samples, error, text):
    x, t = gr.vector("x", "n"), gr.scalar("t")
    with pytest.raises(error, match=text):
        document(gr.sum(x) * t, "f", None, samples)


# The sweep ----------------------------------------------------------------------------------


def test_the_sweep_is_that_of_gr_sweep(step):
    function, doc = step
    loss = function.graph.outputs[0]
    _, samples = classifier()
    rows = gr.sweep(loss, None, dict(zip(function.graph.inputs, samples, strict=True)))
    (view,) = doc.sweeps
    assert view.output == "loss"
    assert len(view.rows) == len(rows)
    names = dict(zip(doc.stages[0].nodes, doc.stages[0].names, strict=True))
    for row, found in zip(rows, view.rows, strict=True):
        assert names[found.node] == row.name
        assert [names[u] for u in found.users] == list(row.users)
        assert [t.text for t in found.terms] == [t.text for t in row.terms]
        assert found.size.norm == pytest.approx(float(np.linalg.norm(row.adjoint)), rel=1e-6)


def test_graphs_without_a_sweep_say_why():
    x = gr.vector("x", 3)
    assert document(gr.exp(x), "f").notes == (
        "no scalar result: the reverse sweep starts from one number",
    )


def test_two_losses_have_two_sweeps():
    x = gr.scalar("x")
    a, b = gr.sin(x).named("a"), gr.cos(x).named("b")
    doc = document([a, b, gr.grad(a, x), gr.grad(b, x)], "f")
    assert [(s.place, s.output) for s in doc.sweeps] == [(0, "a"), (1, "b")]
    assert doc.outputs == ("a", "b")
    (view,) = doc.stages
    slopes = dict(view.roots)
    known = {role: view.adjoints[at] for at, role in slopes.items()}
    at = view.nodes[view.names.index("x")]
    assert known["output 3"] == ((at, 0),)
    assert known["output 4"] == ((at, 1),)


# The page -----------------------------------------------------------------------------------


class Elements(HTMLParser):
    """Elements of a page, and the text of its scripts and styles."""

    def __init__(self):
        super().__init__()
        self.tags, self.texts, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append(dict(attrs))
        self.texts.append("")

    def handle_endtag(self, tag):
        self.texts.append("")
        self.tags.append(f"/{tag}")
        self.attributes.append({})

    def handle_data(self, data):
        if self.texts:
            self.texts[-1] += data


def test_the_page_holds_everything_and_may_fetch_nothing(xor):
    text = page(xor.function, "xor", None, xor.samples)
    elements = Elements()
    elements.feed(text)
    assert not {"link", "img", "iframe", "object"} & set(elements.tags)
    assert all(not {"src", "href"} & a.keys() for a in elements.attributes)
    assert not any(name.startswith("on") for a in elements.attributes for name in a)
    addresses = set(re.findall(r"https?://[^\"'\s)]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    meta = next(a["content"] for a in elements.attributes if "http-equiv" in a)
    assert meta.startswith("default-src 'none'; ")
    for tag, content in zip(elements.tags, elements.texts, strict=True):
        if tag in ("style", "script") and not content.startswith("{"):
            digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in meta
    assert "eval(" not in text
    assert "innerHTML" not in text


@pytest.mark.parametrize(
    "name", ["</script><script>alert(1)</script>", "<!--", "]]>", "{{script}}", "\u2028", "\\1"]
)
def test_names_stay_inside_the_data(name):
    x = gr.vector(name, 3)
    text = page(gr.sum(gr.exp(x)).named(name), name)
    elements = Elements()
    elements.feed(text)
    assert elements.tags.count("script") == 2
    place = next(i for i, a in enumerate(elements.attributes) if a.get("id") == "document")
    doc = json.loads(elements.texts[place])
    assert doc["title"] == name
    assert name in [n.get("name") for n in doc["nodes"]]
    title = elements.texts[elements.tags.index("title")]
    assert title.strip() == name.strip()
