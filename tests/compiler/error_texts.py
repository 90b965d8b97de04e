"""The text of an error, with the lines of the test that provokes it taken out."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from typing import Any

import pytest


def message(kind: type[Exception], act: Callable[[], Any]) -> str:
    """The text of the error that is raised, with each line of this file as ``LINE``."""
    with pytest.raises(kind) as caught:
        act()
    assert type(caught.value) is kind
    return re.sub(
        r"test_errors_\w+\.py:\d+( ( +))?",
        lambda m: "LINE" + ("  " if m[1] else ""),
        str(caught.value),
    )


def line_of(error: Exception, role: str) -> int:
    """The line of this file that an error names beside a role."""
    found = re.search(rf"^  {role} .*test_errors_\w+\.py:(\d+)", str(error), re.MULTILINE)
    assert found is not None
    return int(found[1])


def exactly(text: str) -> str:
    return textwrap.dedent(text).strip()
