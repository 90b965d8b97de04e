"""Where nodes come from: the user's line, the named part, the rule that made them.

New nodes are stamped with what holds at the time in their thread (`building`).
"""

from __future__ import annotations

import gc
import linecache
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from graphc.expr import Expr


@dataclass(frozen=True, slots=True)
class Source:
    """A line of the user's program."""

    file: str
    line: int

    @property
    def text(self) -> str:
        """The line itself, '' if the file is not there."""
        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        return f"{_notebook_cell(self.file) or os.path.basename(self.file)}:{self.line}"


def _notebook_cell(file: str) -> str | None:
    """``In[3]``, if that is what IPython calls the cell that has this file name."""
    running: Any = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = running and running()
    found = shell and shell.compile.format_code_name(file)
    return str(found[1]) if found else None


@dataclass(frozen=True, eq=False, slots=True)
class Scope:
    """A named part of a graph: one use of a function such as ``softmax``, or a user's block.

    The inner values of a ``checkpoint`` are computed again for its derivative.
    """

    name: str
    parent: Scope | None
    checkpoint: bool = False

    @property
    def path(self) -> str:
        """Names from the outermost scope on, joined by '/'."""
        return f"{self.parent.path}/{self.name}" if self.parent else self.name


@dataclass(eq=False, slots=True)
class Origin:
    """Why nodes exist, if the user did not write them.

    Attributes
    ----------
    rule
        The derivative (``d mul``) or the rewrite (``rewrite:mul-one``) that made them.
    stem
        The node that they were made for.
    parts
        Of a derivative: the piece for each operand of the stem, None where there is none.
    copy_of
        The node that this one stands for, if a function was mapped, or put on other operands,
        after its derivative was taken.
    """

    rule: str
    stem: Expr
    parts: Sequence[Expr | None] = ()
    copy_of: Expr | None = None


class Building(threading.local):
    """What new nodes of this thread are stamped with."""

    scope: Scope | None = None
    source: Source | None = None
    origin: Origin | None = None


building = Building()
_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_internal: dict[str, bool] = {}
_sources: dict[tuple[str, int], Source] = {}


def user_line() -> Source | None:
    """The innermost line outside this package."""
    if building.source is not None:
        return building.source
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        internal = _internal.get(file)
        if internal is None:
            internal = _internal[file] = file.startswith(_PACKAGE)
        if not internal:
            key = (file, frame.f_lineno)
            found = _sources.get(key)
            if found is None:
                found = _sources[key] = Source(*key)
            return found
        frame = cast(Any, frame.f_back)
    return None


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Nodes made inside belong to the named part; pictures and listings can fold it."""
    with inside(Scope(name, building.scope)):
        yield


@contextmanager
def inside(scope: Scope) -> Iterator[None]:
    """Nodes made inside belong to this part."""
    outer = building.scope
    building.scope = scope
    try:
        yield
    finally:
        building.scope = outer


F = TypeVar("F", bound=Callable[..., Any])


def scoped(function: F) -> F:
    """Give every use of a function a scope of its name."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with scope(function.__name__):
            return function(*args, **kwargs)

    return cast(F, wrapped)


class stemming:
    """Nodes made inside are made by ``rule`` for ``stem`` and keep its line and scope.

    The context gives their `Origin`, whose rule may be named later, when it is known.
    """

    __slots__ = ("_origin", "_outer")

    def __init__(self, rule: str, stem: Expr, copy_of: Expr | None = None) -> None:
        self._origin = Origin(rule, stem, (), copy_of)

    def __enter__(self) -> Origin:
        origin = self._origin
        self._outer = building.scope, building.source, building.origin
        building.scope, building.source = origin.stem.scope, origin.stem.source
        building.origin = origin
        return origin

    def __exit__(self, *_: object) -> None:
        building.scope, building.source, building.origin = self._outer


def note_parts(parts: Sequence[Expr | None]) -> None:
    """Tell which of the nodes that are being made stand for which operand of the stem."""
    if building.origin is not None:
        building.origin.parts = parts


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause garbage collection while many nodes are made: they are no garbage, and looking
    through them again and again would take time quadratic in their number."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
