"""The reverse sweep, step by step: the table of adjoints as it is filled."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from graphc.arguments import samples
from graphc.diff.checks import as_list, check_scalar, check_targets
from graphc.diff.reverse import pull
from graphc.errors import InputError
from graphc.expr import Expr, describe, topological
from graphc.inspect.text.listing import name_nodes, right_side
from graphc.inspect.text.notation import Phrase, inline, inline_phrase, phrase
from graphc.interpret import bind_sizes, evaluate
from graphc.ops.leaves import tensor
from graphc.ops.movement import sum_to

Array = np.ndarray[Any, Any]
Samples: TypeAlias = "Mapping[Expr, Any] | Mapping[str, Any] | Sequence[Any]"


@dataclass(frozen=True)
class Term:
    """What one use of a node gives to its adjoint: ``S(j) * z(i, j)``, and its number."""

    user: str
    text: str
    value: Array | None


@dataclass(frozen=True)
class Step:
    """One row of the table.

    Attributes
    ----------
    node
        The node, and ``name``, what it is called in the table.
    what
        The operation that makes it, on the names of its operands.
    users
        Names of the nodes that use it, one for each use; empty for the output.
    terms
        A term for each use that a derivative flows through.
    value, adjoint
        Numbers, where sample inputs were given.
    """

    node: Expr
    name: str
    what: str
    users: tuple[str, ...]
    terms: tuple[Term, ...]
    value: Array | None
    adjoint: Array | None


@dataclass(frozen=True)
class Sweep:
    """The whole table, in the order of the sweep. Prints as text; notebooks show a table."""

    steps: tuple[Step, ...]

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def to_dict(self) -> dict[str, Any]:
        """The rows as JSON values."""
        return {"steps": [_json(step) for step in self.steps]}

    def _rows(self) -> list[list[str]]:
        numbers = self.steps[0].value is not None
        head = ["step", "node", "is", "users", "S(node) = sum of S(user) * d user / d node"]
        rows = [head + (["value", "numbers", "S"] if numbers else [])]
        for count, step in enumerate(self.steps, 1):
            users = ", ".join(step.users) or "(output)"
            row = [str(count), step.name, step.what, users, _sum_text(step)]
            if numbers:
                row += [number_text(step.value), _numbers(step), number_text(step.adjoint)]
            rows.append(row)
        return rows

    def __str__(self) -> str:
        rows = self._rows()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [
            "".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in self._rows()
        ]
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def sweep(
    o: Expr,
    targets: Expr | Sequence[Expr] | None = None,
    inputs: Samples | None = None,
) -> Sweep:
    """The reverse sweep of ``grad(o, targets)``, one row a node, users before operands.

    Each row says which nodes use the node, what each use contributes to its adjoint, and,
    given sample inputs, the numbers.

    Parameters
    ----------
    o
        A float of rank 0.
    targets
        Nodes to differentiate with respect to; by default all float inputs and parameters.
    inputs
        Arrays for the inputs, by input, by name, or in a list in the order of their first use.

    Examples
    --------
    >>> import graphc as gr
    >>> a, b = gr.scalar("a"), gr.scalar("b")
    >>> c = (a + b).named("c")
    >>> print(gr.sweep((a * c).named("d"), [a, b], {a: 4, b: 3}))
    step  node  is     users     S(node) = sum of S(user) * d user / d node  value  numbers  S
    1     d     a * c  (output)  1                                           28     1        1
    2     c     a + b  d         S(d) * a                                    7      4        4
    3     b     input  c         S(c)                                        3      4        4
    4     a     input  d, c      S(d) * c + S(c)                             4      7 + 4    11
    """
    return named_sweep(o, targets, inputs, name_nodes(topological([o])))


def named_sweep(
    o: Expr,
    targets: Expr | Sequence[Expr] | None,
    inputs: Samples | None,
    names: Mapping[Expr, str],
) -> Sweep:
    """The same with names for all nodes, as another listing has given them."""
    check_scalar("sweep", o)
    order = topological([o])
    wanted = _leaves(order) if targets is None else as_list(targets)
    check_targets("sweep", [o], wanted, "error")
    values = None if inputs is None else _values(order, inputs)
    return Sweep(tuple(_Table(order, wanted, values, names).fill(o)))


def _leaves(order: Sequence[Expr]) -> list[Expr]:
    return [n for n in order if n.op.name in ("input", "parameter") and n.dtype.is_float]


def _values(order: Sequence[Expr], inputs: Samples) -> dict[Expr, Array]:
    """Values of all nodes."""
    given = samples("sweep", [n for n in order if n.op.family == "leaf"], inputs)
    missing = [n for n in order if n.op.name == "input" and n not in given]
    if missing:
        raise InputError(
            f"sweep: no sample for {missing[0].name}",
            where=describe([("input", n) for n in missing]),
        )
    return dict(zip(order, evaluate(order, given), strict=True))


class _Table:
    """The rows, and what was found on the way: names, values, terms by operand."""

    def __init__(
        self,
        order: Sequence[Expr],
        targets: Sequence[Expr],
        values: Mapping[Expr, Array] | None,
        names: Mapping[Expr, str],
    ) -> None:
        self.order = order
        self.names = names
        self.values = values
        self.sizes = bind_sizes({n: v for n, v in (values or {}).items() if not n.args})
        self.on_path = _dependents(order, targets)
        self.users: dict[Expr, list[str]] = {}
        self.terms: dict[Expr, list[Term]] = {}

    def fill(self, o: Expr) -> Iterator[Step]:
        one = None if self.values is None else np.asarray(1, o.dtype.numpy)
        self.terms[o] = [Term("", "1", one)]
        for node in reversed(self.order):
            if node not in self.on_path:
                continue
            adjoint = self._adjoint(node)
            yield Step(
                node,
                self.names[node],
                right_side(node, self.names),
                tuple(self.users.get(node, ())),
                tuple(self.terms.get(node, ())),
                None if self.values is None else self.values[node],
                adjoint,
            )
            if any(a in self.on_path for a in node.args):
                self._contribute(node, adjoint)

    def _adjoint(self, node: Expr) -> Array | None:
        if self.values is None:
            return None
        total = np.zeros(self.values[node].shape, node.dtype.numpy)
        for term in self.terms.get(node, ()):
            total = total + term.value
        return np.asarray(total)

    def _contribute(self, node: Expr, adjoint: Array | None) -> None:
        """The terms that a node gives to its operands."""
        for a in node.args:
            if a in self.on_path:
                self.users.setdefault(a, []).append(self.names[node])
        if node not in self.terms or not node.dtype.is_float:
            return
        local, ct = _placeholders(node, self.names)
        for a, x, piece in zip(node.args, local.args, pull(local, ct), strict=True):
            if piece is None or a not in self.on_path or not a.dtype.is_float:
                continue
            term = sum_to(piece, x.shape) if piece.ndim else piece
            text = _text(term, {local: self.names[node], ct: f"S({self.names[node]})"})
            value = self._value(term, node, local, ct, adjoint)
            self.terms.setdefault(a, []).append(Term(self.names[node], text, value))

    def _value(
        self, term: Expr, node: Expr, local: Expr, ct: Expr, adjoint: Array | None
    ) -> Array | None:
        if self.values is None:
            return None
        given = {x: self.values[a] for a, x in zip(node.args, local.args, strict=True)}
        given |= {local: self.values[node], ct: np.asarray(adjoint)}
        return evaluate([term], given, self.sizes)[0]


def _dependents(order: Sequence[Expr], targets: Sequence[Expr]) -> set[Expr]:
    found = set(targets)
    for node in order:
        if any(a in found for a in node.args):
            found.add(node)
    return found


def _placeholders(node: Expr, names: Mapping[Expr, str]) -> tuple[Expr, Expr]:
    """The node on leaves of its operands' names, and a leaf for its adjoint.

    Constants stay: a rule may look at them.
    """
    known: dict[Expr, Expr] = {}
    for a in node.args:
        if inline(a) is None and a.op.name != "constant":
            known.setdefault(a, tensor(names[a], a.shape, a.dtype))
    args = tuple(known.get(a, a) for a in node.args)
    local = Expr(node.op, args, node.attrs, node.type)
    return local, tensor(f"S({names[node]})", node.shape, node.dtype)


def _text(term: Expr, names: Mapping[Expr, str]) -> str:
    """A term on one line; named nodes by their names."""
    done: dict[Expr, Phrase] = {}
    for node in topological([term]):
        number = inline(node)
        if node in names or node.op.name == "input":
            done[node] = Phrase(names.get(node, node.name or ""))
        elif number is not None:
            done[node] = inline_phrase(number)
        else:
            done[node] = phrase(node, [done[a] for a in node.args])
    return done[term].text


# Cells --------------------------------------------------------------------------------------


def _sum_text(step: Step) -> str:
    return _joined([term.text for term in step.terms])


def _numbers(step: Step) -> str:
    return _joined([number_text(term.value) for term in step.terms])


def _joined(terms: Sequence[str]) -> str:
    text = " + ".join(terms) or "0"
    return text.replace("+ -", "- ")


def number_text(value: Array | None) -> str:
    """A number, whole if it is; elements of a small array; the largest size in another."""
    if value is None:
        return ""
    if value.ndim == 0:
        whole = abs(value) < 1e12 and value == np.rint(value)
        return f"{value[()]:.0f}" if whole else f"{value[()]:.6g}"
    if value.size <= 6:
        shown = np.array2string(value, formatter={"float": "{:.4g}".format}, separator=", ")
        return shown.replace("\n", "")
    return f"max |.| {np.max(np.abs(value)):.4g}"


def _json(step: Step) -> dict[str, Any]:
    row: dict[str, Any] = {
        "node": step.name,
        "is": step.what,
        "users": list(step.users),
        "terms": [term.text for term in step.terms],
    }
    if step.value is not None and step.adjoint is not None:
        row["value"] = step.value.tolist()
        row["numbers"] = [None if t.value is None else t.value.tolist() for t in step.terms]
        row["adjoint"] = step.adjoint.tolist()
    return row


__all__ = ["Sweep", "sweep"]
