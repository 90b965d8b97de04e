"""Parts of a function whose inner values the derivative computes again: `checkpoint`."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from graphc.origin import Scope, building, inside

P = ParamSpec("P")
R = TypeVar("R")


def checkpoint(function: Callable[P, R]) -> Callable[P, R]:
    """A function whose inner values are not kept for its derivative, but computed again.

    The values between its operands and its results, which the reverse sweep needs, are computed
    a second time when the sweep comes to them. So memory holds them only for one such part at a
    time, at the price of the part's work. Results, values and derivatives, are the same.

    Parameters
    ----------
    function
        Takes and gives what it likes; the expressions that it makes are the part. What it reads
        from outside (operands, parameters, other expressions) is kept, and so are its results.

    Returns
    -------
    function
        Takes and gives the same. Parts can lie in each other: the inner values of one are
        computed again for each time that the outer part is.

    Notes
    -----
    The mark concerns compiled functions only, which copy the nodes in their last stage
    (``recompute``; their report says what was copied): rewriting sees the graph as if there
    were no mark. Only what has to wait is computed again: a derivative in forward mode, which
    uses inner values at once, costs nothing more.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.vector("x", 4, dtype="float64")
    >>> @gr.checkpoint
    ... def block(h):
    ...     return gr.sin(gr.exp(gr.sin(h)))
    >>> f = gr.compile(x, gr.grad(gr.sum(block(block(x))), x))
    >>> [s.fired for s in f.snapshots if s.stage == "recompute"]
    [{'recompute': 3}]
    """
    name = getattr(function, "__name__", "checkpoint")

    @wraps(function)
    def marked(*args: P.args, **kwargs: P.kwargs) -> R:
        with inside(Scope(name, building.scope, checkpoint=True)):
            return function(*args, **kwargs)

    return marked


__all__ = ["checkpoint"]
