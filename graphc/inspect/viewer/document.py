"""What the viewer shows, as plain data: nodes, stages, scopes, the sweep. All of it is JSON.

Strings that repeat (types, lines, rules...) stand once, in ``texts``; nodes and stages hold
their places. A node of several stages is one node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

#: A JSON value; numbers that JSON has not are the strings "nan", "inf", "-inf".
Json: TypeAlias = "Any"
Kind = Literal["input", "parameter", "constant", "operation", "gradient", "update"]

#: Sides of the page.
FORWARD, BACKWARD = 0, 1


class Texts:
    """Strings, each once."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def place(self, text: str) -> int:
        return self._places.setdefault(text, len(self._places))

    def listed(self) -> list[str]:
        return list(self._places)


class Record:
    """Fields as a dict; what is empty or None is left out."""

    def to_dict(self) -> dict[str, Json]:
        found = ((f.name, getattr(self, f.name)) for f in fields(self))  # type: ignore[arg-type]
        return {name: _plain(v) for name, v in found if v is not None and v not in ((), {}, "")}


def _plain(value: Any) -> Json:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return value


@dataclass(frozen=True)
class Node(Record):
    """What a node is in every stage that has it. Numbers named below are places in ``texts``.

    Attributes
    ----------
    op, type, source, scope, rule, flops, nbytes
        Places in ``texts``; ``rule`` made the node.
    steps
        Its history, the oldest first: places of kind, stage, rule and a sentence.
    template
        Its formula, with the slot character of each operand (`templates.slot`).
    args
        Numbers of the operands.
    name
        The user's name.
    local
        For each operand the local derivative, a template too; None where there is none.
    ordered
        Whether its operands cannot be exchanged.
    number
        The text of a number or a symbolic size, which has no box of its own.
    """

    op: int
    type: int
    template: int
    args: tuple[int, ...] = ()
    name: str | None = None
    number: str | None = None
    source: int | None = None
    scope: int | None = None
    rule: int | None = None
    steps: tuple[tuple[int, ...], ...] = ()
    flops: int | None = None
    nbytes: int | None = None
    local: tuple[int | None, ...] = ()
    ordered: bool | None = None


@dataclass(frozen=True)
class Cluster(Record):
    """A named part of one side, folded or open; ``parent`` is -1 for the outermost."""

    title: str
    path: str
    parent: int
    side: int
    order: int


@dataclass(frozen=True)
class Summary(Record):
    """An array in numbers: statistics are over its finite elements.

    ``whole`` holds all elements of a small one, ``bars`` counts for a histogram of another.
    """

    shape: tuple[int, ...]
    nan: int = 0
    inf: int = 0
    least: Json = None
    largest: Json = None
    mean: Json = None
    norm: Json = None
    whole: Json = None
    bars: tuple[int, ...] = ()


@dataclass(frozen=True)
class StageView(Record):
    """The graph after one stage. Lists without another word run along ``nodes``.

    Attributes
    ----------
    nodes
        Numbers of nodes, operands first.
    names
        What each is called.
    kinds, sides, clusters
        The kind of box, the side of the page, the cluster or -1.
    stems
        The node of the other side that a derivative stems from (its place in ``nodes``), or -1.
    formulas
        Each node in terms of its neighbourhood, a place in ``texts``.
    before
        Numbers of the nodes of the stage before that became this one.
    changed
        "same", "new", "rewritten" or "merged".
    gone
        Numbers of nodes of the stage before that nothing became of, or no box is left of.
    roots
        (place in ``nodes``, what it is).
    adjoints
        What adjoints it is: (number of a node of the first stage, place of the output).
    outside
        Places of nodes that are shown for their derivatives, but are not computed.
    kernels
        Places in ``texts``, or -1.
    values
        Summaries, or None.
    """

    name: str
    nodes: tuple[int, ...]
    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    sides: tuple[int, ...]
    clusters: tuple[int, ...]
    stems: tuple[int, ...]
    formulas: tuple[int, ...]
    scopes: tuple[Cluster, ...]
    roots: tuple[tuple[int, str], ...]
    adjoints: tuple[tuple[tuple[int, int], ...], ...]
    outside: tuple[int, ...] = ()
    before: tuple[tuple[int, ...], ...] = ()
    changed: tuple[str, ...] = ()
    gone: tuple[int, ...] = ()
    seconds: float | None = None
    fired: dict[str, int] = field(default_factory=dict)
    kernels: tuple[int, ...] = ()
    values: tuple[Summary | None, ...] = ()


@dataclass(frozen=True)
class Term(Record):
    """What the use by ``user`` (a node) gives to an adjoint, as text and as a number."""

    text: str
    user: int | None = None
    value: str | None = None


@dataclass(frozen=True)
class Row(Record):
    """One row of the table of the reverse sweep."""

    node: int
    what: str
    users: tuple[int, ...]
    terms: tuple[Term, ...]
    value: str | None = None
    adjoint: str | None = None
    size: Summary | None = None


@dataclass(frozen=True)
class SweepView(Record):
    """The reverse sweep of one output (its place and name), over the first stage."""

    place: int
    output: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class KernelView(Record):
    """A kernel of the loop program."""

    name: str
    label: str
    flops: str
    nbytes: str


@dataclass(frozen=True)
class Document(Record):
    """Everything on the page. ``outputs`` are names of what was differentiated."""

    title: str
    shown: int
    texts: tuple[str, ...]
    nodes: tuple[Node, ...]
    stages: tuple[StageView, ...]
    outputs: tuple[str, ...] = ()
    sweeps: tuple[SweepView, ...] = ()
    kernels: tuple[KernelView, ...] = ()
    sizes: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
