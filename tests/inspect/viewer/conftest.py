"""Models to view, and a browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc as gr

FLAGS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run
--disable-background-networking --disable-component-update --disable-sync
--window-size=1400,1043""".split()
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclass
class Model:
    """A compiled training step, its inputs' samples, loss and gradients as written."""

    function: gr.CompiledFunction
    samples: list[Any]
    loss: gr.Expr
    gradients: list[gr.Expr]


@pytest.fixture(scope="session")
def xor() -> Model:
    """The network of two hidden units that computes exclusive or."""
    x, t = gr.matrix("x", "n", 2), gr.vector("t", "n")
    W = gr.parameter("W", np.array([[1, 2], [3, 5]], np.float32))
    c = gr.parameter("c", np.array([0, -1], np.float32))
    w = gr.parameter("w", np.array([1, -2], np.float32))
    y = gr.nn.relu(x @ W + c) @ w
    loss = gr.nn.squared_error(y, t).named("loss")
    gradients = gr.grad(loss, [W, c, w])
    f = gr.compile([x, t], [loss, *gradients], name="xor")
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    return Model(f, [corners, np.array([0, 1, 1, 0], np.float32)], loss, gradients)


@pytest.fixture(scope="session")
def product() -> tuple[gr.Expr, gr.Expr]:
    """w, and w^32 by four layers of two products."""
    w = gr.scalar("w", dtype="float64")
    left, right = gr.positive(w).named("y1"), gr.positive(w).named("y2")
    for layer in range(2, 6):
        names = f"y{2 * layer - 1}", f"y{2 * layer}"
        left, right = (left * right).named(names[0]), (left * right).named(names[1])
    return w, (left * right).named("o")


# The browser --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    browser = next((path for name in NAMES if (path := shutil.which(name))), None)
    service = shutil.which("chromedriver")
    if browser is None or service is None:
        pytest.skip("no Chromium with chromedriver is installed")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    profile = tmp_path_factory.mktemp("profile")
    for flag in [*FLAGS, f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options, webdriver.ChromeService(service))
    yield found
    found.quit()


class Browser:
    """A page in the browser, and hands to use it."""

    def __init__(self, driver: Any, page: Path) -> None:
        from selenium.webdriver.support.wait import WebDriverWait

        self.driver = driver
        driver.get_log("browser")
        driver.get_log("performance")
        driver.get(page.as_uri())
        WebDriverWait(driver, 20).until(
            lambda d: d.find_element("tag name", "html").get_attribute("data-ready")
        )

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def find(self, css: str) -> Any:
        return self.driver.find_element("css selector", css)

    def all(self, css: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", css))

    def text(self, css: str) -> str:
        return str(self.find(css).text)

    def click(self, css: str) -> None:
        self.find(css).click()

    def boxes(self, side: str) -> list[str]:
        """What is written in the boxes that are drawn."""
        script = """return [...document.querySelectorAll(`#${arguments[0]} g.box`)].map(
          box => box.getAttribute("aria-label"));"""
        return list(self.run(script, side))

    def box(self, side: str, start: str) -> Any:
        """The box whose text starts so."""
        script = """return [...document.querySelectorAll(`#${arguments[0]} g.box`)].find(
          box => box.getAttribute("aria-label").startsWith(arguments[1]));"""
        found = self.run(script, side, start)
        assert found is not None, start
        return found

    def click_box(self, side: str, start: str) -> None:
        self.actions().click(self.box(side, start)).perform()

    def actions(self) -> Any:
        from selenium.webdriver.common.action_chains import ActionChains

        return ActionChains(self.driver)

    def keys(self, *keys: str) -> None:
        for key in keys:
            self.actions().send_keys(key).perform()

    def marked(self, side: str, style: str) -> int:
        """How many outlines of a style are drawn."""
        return len(self.all(f"#{side} .mark.{style}"))

    def outlined(self, side: str, start: str, style: str) -> bool:
        """Whether a box has an outline of a style."""
        return bool(
            self.run(
                """const [box, marks] = arguments, r = box.getBoundingClientRect();
                return marks.some(m => { const s = m.getBoundingClientRect();
                  return s.left <= r.left + 1 && s.right >= r.right - 1
                    && s.top <= r.top + 1 && s.bottom >= r.bottom - 1; });""",
                self.box(side, start),
                self.all(f"#{side} .mark.{style}"),
            )
        )

    def complaints(self) -> list[str]:
        """What the console says."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses that the page asked for; the browser's own pages ask for others."""
        messages = [
            json.loads(e["message"])["message"] for e in self.driver.get_log("performance")
        ]
        return [
            m["params"]["request"]["url"]
            for m in messages
            if m["method"] == "Network.requestWillBeSent"
            and not m["params"]["documentURL"].startswith("chrome://")
        ]


@pytest.fixture
def browse(driver: Any, tmp_path: Path) -> Iterator[Any]:
    """``browse(graph, inputs=...)`` opens the page; nothing may have gone wrong at the end."""
    opened: list[Browser] = []

    def browse(given: Any, **options: Any) -> Browser:
        path = tmp_path / "page.html"
        gr.draw(given, path, **options)
        opened.append(Browser(driver, path))
        return opened[-1]

    yield browse
    for browser in opened:
        assert browser.complaints() == []
