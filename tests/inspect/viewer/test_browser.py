"""The viewer's page, used by a hand: real clicks and keys in headless Chromium."""

from __future__ import annotations

import re

import numpy as np
import pytest

import graphc as gr

ESCAPE, ENTER, TAB, END = "\ue00c", "\ue007", "\ue004", "\ue010"
UP, DOWN, LEFT, RIGHT = "\ue013", "\ue015", "\ue012", "\ue014"


def deep(nodes: int) -> list[gr.Expr]:
    """A function of many scalar operations and its derivative."""
    y = x = gr.scalar("x")
    for _ in range(nodes // 7):
        y = gr.sin(y) * x
    return [y, gr.grad(y, x)]


def wide(nodes: int) -> gr.Expr:
    """The sum of many results that share their operands."""
    rng = np.random.default_rng(0)
    made = [gr.scalar(f"x{i}") for i in range(40)]
    for _ in range(nodes // 2):
        a, b = rng.integers(max(0, len(made) - 200), len(made), 2)
        made.append(made[a] * made[b])
    unused = made
    while len(unused) > 1:
        rest = unused[:1] if len(unused) % 2 else []
        pairs = zip(unused[len(rest) :: 2], unused[len(rest) + 1 :: 2], strict=True)
        unused = [*rest, *(gr.maximum(a, b) for a, b in pairs)]
    return unused[0]


# Opening ------------------------------------------------------------------------------------


def test_both_graphs_stand_side_by_side_and_nothing_is_fetched(browse, xor):
    page = browse(xor.function, inputs=xor.samples)
    assert page.text("h1") == "xor"
    forward, backward = page.boxes("forward"), page.boxes("backward")
    assert {"x, f32[n, 2]", "W, f32[2, 2]"} <= set(forward)
    assert any(text.startswith("loss, sum") for text in forward)
    assert any(text.startswith("S(W), x.T @ ·") for text in backward)
    assert len(page.all(".frame")) >= 2
    addresses = [url for url in page.requests() if not url.startswith("data:")]
    assert len(addresses) == 1
    assert addresses[0].endswith("/page.html")


def test_a_graph_without_derivatives_has_one_side(browse, xor):
    page = browse(xor.loss)
    assert page.boxes("forward")
    assert not page.find("#backward").is_displayed()
    assert not page.find("#stages").is_displayed()
    page.click("#sweep-open")
    assert page.text("#sweep-count") == "1 of 14"


def test_names_cannot_become_markup(browse):
    evil = "</script><img src=x onerror=\"document.title='taken'\"><b>"
    x = gr.vector(evil, 3)
    with gr.scope(evil):
        y = gr.exp(gr.sin(x * 2))
    o = gr.sum(y).named("<script>alert(1)</script>")
    page = browse([o, gr.grad(o, x)], inputs=[[1.0, 2.0, 3.0]])
    page.click_box("forward", evil[:20])
    assert page.text("#content h3") == evil
    page.find("#search").send_keys("script")
    assert page.find("#results li").is_displayed()
    page.click("#sweep-open")
    assert page.driver.title == "graph"
    assert page.all("img, b b, #content script, #results script, #sweep script") == []


# Choosing -----------------------------------------------------------------------------------


def test_a_click_shows_type_line_formula_cost_kernel_and_value(browse, xor):
    page = browse(xor.function, inputs=xor.samples)
    page.click_box("forward", "@, %1")
    content = page.text("#content")
    for text in (
        "%1 = x @ W", "f32[n, 2]", "8*n flops", "bytes",
        "conftest.py", "y = gr.nn.relu(x @ W + c) @ w", "kernel", "S(x) += S(%1) @ W.T",
        "S(W) += x.T @ S(%1)", "used by", "written",
    ):  # fmt: skip
        assert text in content, text
    table = page.all("#content .elements")[-1]
    cells = [td.text for td in table.find_elements("tag name", "td")]
    expected = xor.samples[0] @ np.array([[1, 2], [3, 5]], np.float32)
    assert [float(c) for c in cells] == expected.ravel().tolist()


def test_an_elementwise_node_shows_its_partials_and_its_adjoint(browse):
    a, b = gr.scalar("a"), gr.scalar("b")
    o = (gr.sin(a) / b).named("o")
    page = browse([o, *gr.grad(o, [a, b])], inputs={a: 0.0, b: 2.0})
    page.click_box("forward", "o, ")
    content = page.text("#content")
    assert "∂o/∂b = " in content
    assert "∂o/∂%1 = 1 / b" in content
    page.click_box("forward", "sin")
    content = page.text("#content")
    assert "∂%1/∂a = cos(a)" in content
    assert re.search(r"S\(%1\) = .*\nshape\n\[\]\nmin, max\n0.5, 0.5", content)


def test_references_in_the_panel_lead_on(browse, xor):
    page = browse(xor.function)
    page.click_box("forward", "@, %1")
    next(b for b in page.all("#content .formula .ref") if b.text == "W").click()
    assert page.text("#content h3") == "W"
    assert page.outlined("forward", "W, ", "chosen")


def test_forward_and_gradient_are_linked(browse, product):
    w, o = product
    page = browse([o, gr.grad(o, w)])
    page.click_box("backward", "S(y7)")
    assert page.outlined("forward", "y7, ", "linked")
    assert page.marked("forward", "linked") == 1
    assert page.text("#content h3") == "S(y7)"
    page.click_box("forward", "y3, ")
    assert page.outlined("backward", "S(y3)", "linked")
    assert not page.outlined("backward", "S(y7)", "linked")
    assert page.marked("backward", "linked") >= 1
    assert len(page.all("#links path")) == page.marked("backward", "linked")


def test_pointing_links_too(browse, product):
    w, o = product
    page = browse([o, gr.grad(o, w)])
    page.actions().move_to_element(page.box("backward", "S(y5)")).perform()
    assert page.outlined("backward", "S(y5)", "hover")
    assert page.outlined("forward", "y5, ", "linked")
    page.actions().move_to_element(page.find("h1")).perform()
    assert page.marked("forward", "linked") == 0


def test_pointing_at_a_folded_scope_links_what_is_in_it(browse, xor):
    page = browse(xor.function)
    page.click("#fold")
    page.actions().move_to_element(page.box("backward", "▸ d squared_error")).perform()
    assert page.outlined("forward", "▸ squared_error", "linked")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("2*n + 3", 13),
        ("n**2*m - 2*n + 1", 25 * 2 - 10 + 1),
        ("-n", -5),
        ("(n - 3)//2", None),
        ("2*q", None),
    ],
)
def test_sizes_are_evaluated_where_they_are_polynomials(browse, text, value):
    page = browse(gr.scalar("x"))
    found = page.run("return evaluateSize(arguments[0], {n: 5, m: 2})", text)
    assert found == value


def test_a_click_beside_all_boxes_chooses_nothing(browse, xor):
    page = browse(xor.function)
    page.click_box("forward", "x, ")
    assert page.marked("forward", "chosen") == 1
    page.actions().move_to_element_with_offset(page.find("#forward svg"), -240, 300).click()
    page.keys(ESCAPE)
    assert page.marked("forward", "chosen") == 0
    assert "As written" in page.text("#content")


# Values -------------------------------------------------------------------------------------


def test_values_that_are_not_finite_are_counted_and_found(browse):
    x = gr.vector("x", 4)
    y = gr.log(x).named("y")
    o = gr.sum(y).named("o")
    page = browse([o, gr.grad(o, x)], inputs=[np.array([1, 0, -1, 2], np.float32)])
    page.click_box("forward", "y, ")
    content = page.text("#content")
    assert "NaN\n1 of 4" in content
    assert "infinite\n1 of 4" in content
    cells = [c.text for c in page.all("#content .elements td")]
    assert cells[-4:] == ["0", "-inf", "nan", "0.69315"]
    page.find("#tint").send_keys("not finite")
    fill = "return arguments[0].querySelector('.face').style.fill"
    fills = [page.run(fill, page.box("forward", n)) for n in ("x, ", "y, ", "o, ")]
    assert fills[0] != fills[1] == fills[2]


def test_colours_by_work_and_by_kernel(browse, xor):
    page = browse(xor.function)
    offered = [o.text for o in page.all("#tint option")]
    assert offered == ["kind", "work", "traffic", "kernel"]
    page.find("#tint").send_keys("kernel")
    face = page.box("forward", "@, %1").find_element("css selector", ".face")
    assert "color-mix" in face.get_attribute("style")


# Search -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "count", "first"),
    [
        ("loss", None, "loss"),
        ("op:where", 2, None),
        ("scope:relu", 3, None),
        ("type:bool", 1, None),
        ("kind:parameter", 3, None),
        ("gr.nn.relu(x", None, None),
        ("nothing-like-this", 0, None),
    ],
)
def test_search_by_name_operation_scope_type_and_line(browse, xor, query, count, first):
    page = browse(xor.function)
    page.find("#search").send_keys(query)
    found = int(page.text("#count"))
    assert found == count if count is not None else found > 0
    assert len(page.all("#results li:not(.none)")) == found
    if first:
        assert page.text("#results li b") == first


def test_enter_goes_to_what_was_found_even_in_a_folded_scope(browse, xor):
    page = browse(xor.function)
    page.click("#fold")
    assert not any("where" in text for text in page.boxes("forward"))
    page.keys("/")
    page.find("#search").send_keys("scope:relu op:where", ENTER)
    assert page.outlined("forward", "where(", "chosen")
    assert not page.find("#results").is_displayed()
    page.find("#search").send_keys(ESCAPE)
    assert page.find("#search").get_attribute("value") == ""
    assert page.marked("forward", "found") == 0


def test_arrows_walk_through_the_results(browse, xor):
    page = browse(xor.function)
    page.find("#search").send_keys("kind:parameter", DOWN, DOWN)
    second = page.all("#results li")[1]
    assert second.get_attribute("aria-selected") == "true"
    name = second.find_element("tag name", "b").text
    page.find("#search").send_keys(ENTER)
    assert page.text("#content h3") == name


# Scopes -------------------------------------------------------------------------------------


def test_scopes_fold_and_unfold_by_clicks(browse, xor):
    page = browse(xor.function)
    before = set(page.boxes("forward"))
    title = next(t for t in page.all("#forward .fold") if "relu" in t.text)
    page.actions().click(title).perform()
    folded = set(page.boxes("forward"))
    assert "▸ relu, 2 nodes" in folded
    assert folded - before == {"▸ relu, 2 nodes"}
    assert len(before - folded) == 2
    page.click_box("forward", "▸ relu")
    assert set(page.boxes("forward")) == before


def test_all_fold_and_unfold(browse, xor):
    page = browse(xor.function)
    page.click("#fold")
    assert page.all(".frame") == []
    assert "▸ d squared_error, 3 nodes" in page.boxes("backward")
    page.click("#unfold")
    assert not any(text.startswith("▸") for text in page.boxes("forward"))
    assert len(page.all(".frame")) >= 3


def test_a_folded_scope_stays_folded_in_the_next_stage(browse, xor):
    page = browse(xor.function)
    page.actions().click(page.find("#forward .fold")).perform()
    page.click("#stage-3")
    assert any(text.startswith("▸ relu") for text in page.boxes("forward"))


# Stages -------------------------------------------------------------------------------------


def test_stages_show_what_changed(browse, xor):
    page = browse(xor.function)
    names = [b.text for b in page.all("#stages b")]
    assert names == [s.stage for s in xor.function.snapshots]
    at = names.index("simplify")
    page.click(f"#stage-{at}")
    content = page.text("#content")
    snapshot = xor.function.snapshots[at]
    for rule, count in snapshot.fired.items():
        assert re.search(rf"{rule}\s+{count}", content), rule
    assert "REMOVED" in content.upper()
    assert page.marked("backward", "changed") > 0
    page.click("#content .changes.gone .ref")
    assert page.find(f"#stage-{at - 1}").get_attribute("aria-selected") == "true"
    assert page.marked("forward", "chosen") + page.marked("backward", "chosen") == 1


def test_a_chosen_node_is_followed_through_the_stages(browse, xor):
    page = browse(xor.function, stage="simplify")
    assert page.text("#stages [aria-selected=true] b") == "simplify"
    page.click_box("backward", "S(W)")
    assert "x.T @ " in page.text("#content .formula")
    page.keys("[", "[", "[")
    assert page.text("#stages [aria-selected=true] b") != "simplify"
    assert page.text("#content h3") == "S(W)"
    assert page.outlined("backward", "S(W)", "chosen")
    page.keys("]")
    assert page.text("#content h3") == "S(W)"


def test_the_last_stage_lists_the_kernels(browse, xor):
    page = browse(xor.function)
    last = len(xor.function.snapshots) - 1
    page.click(f"#stage-{last}")
    content = page.text("#content")
    for kernel in xor.function.program.kernels:
        assert kernel.name in content


# The sweep ----------------------------------------------------------------------------------


def rows(page):
    """What stands in the table, at one moment."""
    script = """return [...document.querySelectorAll("#sweep tbody tr")].map(
      tr => [...tr.cells].map(td => td.innerText));"""
    return page.run(script)


def test_the_sweep_fills_its_table_row_by_row(browse):
    a, b = gr.scalar("a"), gr.scalar("b")
    c = (a + b).named("c")
    d = (a * c).named("d")
    page = browse([d, *gr.grad(d, [a, b])], inputs={a: 4, b: 3})
    page.click("#sweep-open")
    assert rows(page) == [["1", "d", "a × c", "(output)", "1", "28", "1", "1"]]
    assert page.outlined("forward", "d, ", "now")
    page.click("#sweep-next")
    assert rows(page)[1] == ["2", "c", "a + b", "d", "S(d) × a", "7", "4", "4"]
    assert page.outlined("forward", "c, ", "now")
    assert page.outlined("forward", "d, ", "done")
    assert page.outlined("backward", "S(c)", "now")
    page.click("#sweep-last")
    assert rows(page)[3] == ["4", "a", "input", "d, c", "S(d) × c + S(c)", "4", "7 + 4", "11"]
    assert page.text("#sweep-count") == "4 of 4"
    page.click("#sweep-back")
    assert len(rows(page)) == 3
    page.click("#sweep-first")
    assert rows(page) == []
    assert page.marked("forward", "now") == page.marked("forward", "done") == 0


def test_the_sweep_of_the_product_graph_is_the_textbooks(browse, product):
    w, o = product
    page = browse([o, gr.grad(o, w)], inputs={w: 2.0})
    page.keys("s", END)
    table = {row[1]: float(row[-1]) for row in rows(page)}
    expected = {"o": 1.0, "w": 32 * 2.0**31}
    for layer, power in enumerate((31, 30, 28, 24, 16), 0):
        factor = 2.0**4 / 2**layer
        for k in (1, 2):
            expected[f"y{2 * layer + k}"] = factor * 2.0**power
    assert table == expected


def test_the_sweep_obeys_arrows_and_the_slider(browse, product):
    w, o = product
    page = browse([o, gr.grad(o, w)])
    page.keys("s", RIGHT, RIGHT, RIGHT, LEFT)
    assert page.text("#sweep-count") == "3 of 12"
    slider = page.find("#sweep-slider")
    page.actions().click(slider).perform()
    count = int(page.text("#sweep-count").split()[0])
    assert 4 < count < 8
    assert len(rows(page)) == count
    page.keys(ESCAPE)
    assert not page.find("#sweep").is_displayed()
    assert page.marked("forward", "now") == 0


def test_each_of_two_losses_has_its_adjoints(browse):
    x = gr.scalar("x")
    a, b = gr.sin(x).named("a"), gr.cos(x).named("b")
    page = browse([a, b, gr.grad(a, x), gr.grad(b, x)], inputs=[0.0])
    page.click_box("forward", "x, ")
    content = page.text("#content")
    assert "S(x, a) = " in content
    assert "S(x, b) = " in content
    page.click("#sweep-open")
    page.find("#sweep-output").send_keys("b")
    page.click("#sweep-last")
    assert [row[1] for row in rows(page)] == ["b", "x"]


def test_the_sweep_plays_by_itself(browse, product):
    from selenium.webdriver.support.wait import WebDriverWait

    w, o = product
    page = browse([o, gr.grad(o, w)])
    page.click("#sweep-open")
    page.click("#sweep-play")
    assert page.text("#sweep-play") == "pause"
    WebDriverWait(page.driver, 20).until(lambda _: len(rows(page)) > 1)
    page.click("#sweep-play")
    assert page.text("#sweep-play") == "play"


def test_the_sweep_shows_the_graph_as_written(browse, xor):
    page = browse(xor.function, stage="simplify", inputs=xor.samples)
    page.click("#sweep-open")
    assert page.text("#stages [aria-selected=true] b") == "input"
    samples = dict(zip(xor.function.graph.inputs, xor.samples, strict=True))
    adjoints = gr.sweep(xor.loss, None, samples)
    page.keys(END)
    assert [row[-1] for row in rows(page)] == [str(row[-1]) for row in adjoints._rows()[1:]]


# Keyboard -----------------------------------------------------------------------------------


def test_arrows_move_along_lines_and_within_layers(browse, xor):
    page = browse(xor.function)
    page.click_box("forward", "@, %1")
    page.keys(DOWN)
    assert page.text("#content h3") == "%2"
    page.keys(RIGHT)
    page.keys(UP, UP)
    assert page.text("#content h3") in ("x", "W", "c")
    page.click_box("forward", "x, ")
    page.keys(RIGHT)
    assert page.text("#content h3") == "W"
    page.keys(LEFT)
    assert page.text("#content h3") == "x"


def test_keys_link_fold_zoom_and_close(browse, product, xor):
    page = browse(xor.function)
    page.click_box("backward", "S(W)")
    page.keys("l")
    assert page.marked("forward", "chosen") == 1
    page.click_box("forward", "where(")
    page.keys(ENTER)
    assert any(text.startswith("▸ relu") for text in page.boxes("forward"))
    scale = "return page.panes[0].view.scale"
    page.keys("0")
    start = page.run(scale)
    page.click_box("forward", "x, ")
    page.keys("+", "+")
    assert page.run(scale) > start * 1.4
    page.keys("0")
    assert page.run(scale) == pytest.approx(start)
    page.keys("?")
    assert page.find("#help").is_displayed()
    page.keys(ESCAPE)
    assert not page.find("#help").is_displayed()


def test_everything_is_reached_by_tab_and_says_what_it_is(browse, xor):
    page = browse(xor.function)
    seen = set()
    page.run("document.activeElement.blur()")
    for _ in range(40):
        page.keys(TAB)
        focused = page.driver.switch_to.active_element
        seen.add(focused.get_attribute("id") or focused.get_attribute("role"))
    assert {"search", "tint", "fold", "fit", "sweep-open", "theme", "application"} <= seen
    page.click_box("forward", "loss")
    assert "loss, sum" in page.run("return document.getElementById('live').textContent")


def test_light_and_dark(browse, xor):
    page = browse(xor.function)
    colour = "return getComputedStyle(document.body).backgroundColor"
    page.run("document.documentElement.dataset.theme = 'light'")
    light = page.run(colour)
    page.keys("t")
    assert page.run(colour) != light
    page.click("#theme")
    assert page.run(colour) == light


# The mouse ----------------------------------------------------------------------------------


def test_dragging_moves_and_the_wheel_zooms(browse, xor):
    page = browse(xor.function)
    view = "const v = page.panes[0].view; return [v.x, v.y, v.scale]"
    x, y, scale = page.run(view)
    graph = page.find("#forward svg")
    hand = page.actions().move_to_element_with_offset(graph, -200, 200)
    hand.click_and_hold().move_by_offset(60, -40).release().perform()
    assert page.run(view) == pytest.approx([x + 60, y - 40, scale])
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    page.actions().scroll_from_origin(ScrollOrigin.from_element(graph), 0, -200).perform()
    assert page.run(view)[2] > scale


def test_the_border_between_the_sides_moves(browse, xor):
    page = browse(xor.function)
    width = "return document.getElementById('forward').clientWidth"
    before = page.run(width)
    page.actions().drag_and_drop_by_offset(page.find("#split"), 150, 0).perform()
    assert page.run(width) > before + 100


# Large graphs -------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [deep, wide])
def test_five_thousand_nodes_are_usable(browse, make):
    graph = make(5000)
    page = browse(graph)
    total = page.run("return page.stage.count")
    assert total > 4900
    drawn = len(page.all("g.box"))
    assert 0 < drawn < 600
    page.click("#fit")
    assert page.all("g.box") == []
    shapes = [path.get_attribute("d") for path in page.all("path.far.box")]
    assert sum(d.count("M") for d in shapes) == total
    page.find("#search").send_keys("%1234", ENTER)
    assert page.text("#content h3").endswith("%1234") or "%1234 =" in page.text("#content")
    assert page.marked("forward", "chosen") + page.marked("backward", "chosen") == 1
    assert 0 < len(page.all("g.box")) < 600
    page.click("#sweep-open")
    page.keys(END)
    assert 100 < len(rows(page)) < 200


def test_lines_that_would_cross_everything_are_names_instead(browse):
    x = gr.scalar("x")
    y, kept = x, []
    for i in range(300):
        y = gr.sin(y).named(f"h{i}")
        kept.append(y)
    for h in kept:
        y = y * h
    page = browse(y)
    assert page.run("return page.sceneOf(0).edges.filter(e => e.cut).length") > 0
    page.find("#search").send_keys("%299", ENTER)
    assert any(re.match(r"· × h\d+, %299", text) for text in page.boxes("forward"))


def test_many_scopes_are_folded_at_first(browse):
    x = gr.vector("x", 4)
    for i in range(60):
        with gr.scope(f"layer{i}"):
            x = gr.tanh(gr.sin(x) * 2 + 1)
    page = browse(x)
    assert page.run("return page.stage.count") == 241
    assert page.run("return page.sceneOf(0).boxes.length") == pytest.approx(70, abs=5)
    assert any(text.startswith("▸ layer0, 4 nodes") for text in page.boxes("forward"))


def test_numbers_are_written_whole_or_with_five_digits(browse):
    page = browse(gr.scalar("x"))
    numbers = [0, -7, 2**31 + 1, 0.1 + 0.2, 1e-5, 1234567.5, 1e300, -2.5e-200, "nan"]
    texts = page.run("return arguments[0].map(numberText)", numbers)
    assert texts == [
        "0", "-7", "2147483649", "0.3", "1e-5", "1.2346e6", "1e300", "-2.5e-200", "nan",
    ]  # fmt: skip
