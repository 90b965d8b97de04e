"""Values computed again for those who need them late, so that memory need not keep them.

A copy of a node does what the node does on the same operands, so its value is the same. It is
kept apart by ``again``: the operand, but not before other values are there. Nothing merges
such copies with the nodes that they stand for, and no kernel computes them early.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from graphc.expr import Expr, apply, constant_value, rebuild
from graphc.graph import Graph
from graphc.ops.table import Op
from graphc.origin import Scope, stemming
from graphc.rewrite.moves import Moves

#: Made by stages that are the last to rewrite a graph. Loops read through it.
AGAIN = Op(
    "again",
    "movement",
    lambda types, attrs: types[0],
    lambda x, *after: x,
    roles=("operand",),
    cost=0,
    doc="The operand, when the other operands are known.",
    internal=True,
)


@dataclass(eq=False)
class Replay:
    """What is computed again for the nodes that come late.

    Attributes
    ----------
    late
        Nodes that read copies instead.
    read
        Nodes of which they read copies.
    again
        Nodes that are copied if a copy needs them; others are read as they are.
    after
        For each node that may be copied, values that are known before its copy is made. None
        of them depends on a late node that needs this copy.
    """

    late: Set[Expr]
    read: Set[Expr]
    again: Set[Expr]
    after: Mapping[Expr, tuple[Expr, ...]]
    copies: dict[Expr, Expr] = field(default_factory=dict)


def replayed(order: Sequence[Expr], replays: Iterable[Replay]) -> dict[Expr, Expr]:
    """What each node of a graph becomes.

    ``order`` has operands before users, and what a replay waits for before its late nodes.
    """
    replays_of: dict[Expr, list[Replay]] = {}
    for replay in replays:
        for node in replay.late:
            replays_of.setdefault(node, []).append(replay)
    memo: dict[Expr, Expr] = {}
    for node in order:
        args = [memo[a] for a in node.args]
        for replay in replays_of.get(node, ()):
            for place, x in enumerate(node.args):
                if x in replay.read:
                    args[place] = _copy(x, replay, memo)
        memo[node] = rebuild(node, args)
    return memo


def _copy(x: Expr, replay: Replay, memo: Mapping[Expr, Expr]) -> Expr:
    """The copy of a node, made with those that it needs."""
    pending = [x]
    while pending:
        node = pending[-1]
        missing = [a for a in node.args if a in replay.again and a not in replay.copies]
        if node in replay.copies:
            pending.pop()
        elif missing:
            pending += missing
        else:
            replay.copies[pending.pop()] = _remade(node, replay, memo)
    return replay.copies[x]


def _remade(node: Expr, replay: Replay, memo: Mapping[Expr, Expr]) -> Expr:
    """A copy of a node whose operands have theirs; it waits, unless one of them does."""
    args = [replay.copies[a] if a in replay.again else memo[a] for a in node.args]
    after = replay.after[node]
    with stemming("recompute", node):
        if not any(replay.after[a] == after for a in node.args if a in replay.again):
            place = next((i for i, a in enumerate(args) if constant_value(a) is None), 0)
            args[place] = apply(AGAIN, (args[place], *(memo[c] for c in after)))
        return Expr(node.op, tuple(args), node.attrs, node.type, node.name)


# Blocks that the user marked -----------------------------------------------------------------


def recompute_blocks(graph: Graph) -> tuple[Graph, int, Moves]:
    """Each `gr.checkpoint` computes its inner values again for its derivative, the outermost
    first: the graph, and how many nodes were copied."""
    before = graph.nodes()
    became = {n: n for n in before}
    count = level = 0
    made_by: dict[Expr, Replay] = {}
    while found := _blocks(graph.nodes(), level, made_by):
        replays = [r for b in found.values() if (r := _block_replay(graph, b)) is not None]
        made = replayed(graph.nodes(), replays)
        graph = graph.with_roots([made[r] for r in graph.roots])
        became = {old: made.get(new, new) for old, new in became.items()}
        count += sum(len(r.copies) for r in replays)
        level += 1
        made_by = {made.get(node, node): r for node, r in made_by.items()}
        made_by.update({copy: r for r in replays for copy in r.copies.values()})
    left = set(graph.nodes())
    return graph, count, Moves({o: n for o, n in became.items() if n in left}, (became,))


def _blocks(
    nodes: Iterable[Expr], level: int, made_by: Mapping[Expr, Replay]
) -> dict[object, set[Expr]]:
    """The nodes of each block that so many others are around, with their derivatives.

    The copies of a block that is part of another one are a block of their own.
    """
    found: dict[object, set[Expr]] = {}
    around: dict[Scope, list[Scope]] = {}
    for node in nodes:
        if node.scope is None:
            continue
        if node.scope not in around:
            around[node.scope] = [s for s in _outwards(node.scope) if s.checkpoint][::-1]
        blocks = around[node.scope]
        if len(blocks) > level and node.args:
            found.setdefault((blocks[level], made_by.get(node)), set()).add(node)
    return found


def _outwards(scope: Scope | None) -> Iterator[Scope]:
    while scope is not None:
        yield scope
        scope = scope.parent


def _is_derivative(node: Expr) -> bool:
    """Whether differentiation made a node, or one that it is a rewritten form of."""
    while node.origin is not None:
        rule = node.origin.rule
        if rule == "sum of paths" or rule.startswith("d "):
            return True
        copied = node.origin.copy_of
        node = node.origin.stem if copied is None else copied
    return False


def _block_replay(graph: Graph, block: Set[Expr]) -> Replay | None:
    """Who reads a block's inner values late: nodes that depend on what is made of its results.

    Inner are values of the function and local derivatives. What others read before that is a
    result, and kept.
    """
    function = {n for n in block if not _is_derivative(n)}
    given = set(graph.roots)
    later: set[Expr] = set()
    exits: set[Expr] = set()
    for node in graph.nodes():
        reads = node not in function and any(a in function for a in node.args)
        if reads and not _is_derivative(node):
            exits.add(node)
        if node in exits or any(a in later for a in node.args):
            later.add(node)
        if node in exits or (node not in block and node not in later):
            given.update(node.args)
    inner: set[Expr] = set()
    late: list[Expr] = []
    for node in graph.nodes():
        reads = any(a in inner for a in node.args)
        if node in later:
            if reads and node not in exits:
                late.append(node)
        elif node not in given and (node in function or (reads and node in block)):
            inner.add(node)
    if not late:
        return None
    after = tuple(dict.fromkeys(a for a in late[0].args if a in later))
    return Replay(set(late), inner, inner, dict.fromkeys(inner, after))
