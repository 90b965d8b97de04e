"""The page: one file that holds everything and may fetch nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import escape
from importlib.resources import files

from graphc.inspect.subject import Inspectable
from graphc.inspect.viewer.build import document
from graphc.inspect.viewer.values import Samples

_SCRIPTS = (
    "dom", "layout", "model", "scene", "pane", "colours", "details", "stages", "search",
    "sweep", "main",
)  # fmt: skip


def page(
    given: Inspectable, title: str, stage: str | None = None, inputs: Samples | None = None
) -> str:
    """HTML that shows a graph; parameters and errors as `build.document`."""
    content = document(given, title, stage, inputs).to_dict()
    text = json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    style, script = _read("viewer.css"), _script()
    parts = {
        "policy": _policy(style, script),
        "title": escape(title),
        "style": style,
        "document": _inert(text),
        "script": script,
    }
    return re.sub(r"{{(\w+)}}", lambda found: parts[found[1]], _read("viewer.html"))


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _script() -> str:
    return "\n".join(_read(f"js/{name}.js") for name in _SCRIPTS)


def _policy(style: str, script: str) -> str:
    """Only this style and this script run; nothing is fetched."""
    return f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}"


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _inert(text: str) -> str:
    """JSON that cannot end its element, whatever names are in it."""
    return text.replace("<", "\\u003c")
