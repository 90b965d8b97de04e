"""What a ``rolled`` node computes, as text: each round, each run, the piece of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from graphc.expr import Expr
from graphc.inspect.text.notation import Phrase, inline, inline_phrase, phrase
from graphc.ops.rolled import Read, Rolled, Run

#: Runs, and lines of a piece, that are shown.
RUNS, LINES = 24, 24


def show_rolled(nodes: Sequence[Expr], names: Mapping[Expr, str]) -> Iterator[str]:
    """Lines that say what each ``rolled`` node among some nodes does."""
    for node in nodes:
        program = node.attrs.get("program")
        if isinstance(program, Rolled):
            yield ""
            yield f"{names[node]} fills {program.size} slots in {len(program.runs)} runs"
            yield from _rounds(program, [names[a] for a in node.args])


def _rounds(program: Rolled, operands: Sequence[str]) -> Iterator[str]:
    shown = 0
    for group in program.rounds:
        if shown >= RUNS:
            yield f"... {len(program.runs) - shown} more runs"
            return
        turns = group.times > 1
        if turns:
            yield f"  {group.times} rounds, in each an equal part of"
        for run in group.runs:
            shown += 1
            yield from (f"{'  ' * turns}  {line}" for line in _run(run, operands))


def _run(run: Run, operands: Sequence[str]) -> Iterator[str]:
    kind = "side by side" if run.independent else "one after the other"
    how = f"{run.count} times, {kind}" if run.count > 1 else "once"
    yield f"slots {run.out} to {run.out + run.size - 1}: {how}"
    names = dict(zip(run.piece.inputs, (_read(r, operands) for r in run.reads), strict=True))
    lines: list[str] = []
    for node in run.piece.operations:
        names[node] = f"t{len(lines) + 1}"
        args = [_operand(a, names) for a in node.args]
        lines.append(f"    {names[node]} = {phrase(node, args).text}")
    yield from lines[:LINES]
    if len(lines) > LINES:
        yield f"    ... {len(lines) - LINES} more operations"
    results = [_operand(o, names).text for o in run.piece.outputs]
    more = ", ..." if len(results) > LINES else ""
    yield f"    result {', '.join(results[:LINES])}{more}"


def _operand(x: Expr, names: Mapping[Expr, str]) -> Phrase:
    constant = inline(x)
    return inline_phrase(constant) if constant is not None else Phrase(names[x])


def _read(read: Read, operands: Sequence[str]) -> str:
    """``slots[i + 3]``, ``x[%4[i]]``; ``i`` counts the repetitions."""
    source = "slots" if read.source is None else operands[read.source]
    if read.table is not None:
        return f"{source}[{operands[read.table]}[i]]"
    moving = {0: "", 1: "i", -1: "-i"}.get(read.step, f"{read.step}*i")
    start = str(read.start) if read.start or not moving else ""
    return f"{source}[{' + '.join(t for t in (moving, start) if t)}]"
