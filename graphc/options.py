"""How to compile: what the stages and the planner are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Math = Literal["strict", "default", "fast"]


@dataclass(frozen=True)
class Memory:
    """The most bytes that the workspace may take, for these sizes of symbols."""

    limit: int
    sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """How to compile.

    Attributes
    ----------
    math
        ``strict``: exact rewrites only, no fused multiply-add. ``default``: rewrites that may
        change the sign of a zero or the order of additions, multiply-adds may be fused.
        ``fast``: as default, denormals may be flushed to zero.
    verify
        Check every stage's result.
    skip
        Names of stages to leave out (for tests and experiments).
    memory
        A limit for the workspace.
    """

    math: Math = "default"
    verify: bool = False
    skip: frozenset[str] = frozenset()
    memory: Memory | None = None
