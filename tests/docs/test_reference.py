"""The reference lists every public name, and says what its docstring says."""

from __future__ import annotations

import pytest

from docs import reference


def test_the_page_is_what_the_docstrings_say() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), (
        "write it anew: python tests/docs/reference.py"
    )


@pytest.mark.parametrize("name", ["grad", "compile", "einsum", "cross_entropy", "ShapeError"])
def test_names_that_people_look_for_are_there(name: str) -> None:
    assert f"`{name}`" in reference.page()
