"""Derivatives of any function against differences, and the two modes against each other."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from graphc.diff.checks import as_list
from graphc.diff.forward import jvp
from graphc.diff.reverse import grad
from graphc.errors import DTypeError, InputError, VerificationError
from graphc.expr import Expr, apply, describe, topological
from graphc.interpret import bind_sizes, evaluate
from graphc.ops.elementwise import mul
from graphc.ops.leaves import tensor
from graphc.ops.reduction import sum as sum_over
from graphc.types import float64, from_numpy

Array: TypeAlias = "np.ndarray[Any, Any]"

Modes: TypeAlias = Literal["reverse", "forward", "both"]


def check_grads(
    f: Callable[..., Expr | Sequence[Expr]] | Expr,
    inputs: Sequence[Any] | Mapping[Expr, Any],
    order: int = 1,
    *,
    modes: Modes = "both",
    rtol: float = 1e-6,
    seed: int = 0,
) -> None:
    """Compare derivatives with central differences, and the two modes with each other.

    Parameters
    ----------
    f
        A function from expressions to one expression or several, or an expression itself.
    inputs
        Arrays (or numbers) for the function's operands; for an expression a mapping from its
        leaves to arrays. Floats are differentiated for; leaves of an expression that are
        floats must be float64.
    order
        Highest derivative to check.
    modes
        ``"reverse"``: gradients against differences, entry by entry. ``"forward"``: the tangent
        along a random direction against differences along it. ``"both"``: gradients against
        differences, and tangents against gradients, ``<w, J v> = <J^T w, v>``; for a second
        derivative that is forward over reverse against reverse over reverse.
    rtol
        Allowed error, relative to the derivative where that is above 1.

    Raises
    ------
    InputError
        If there is nothing to check: no float, values that are not finite, an order below 1.
    VerificationError
        If a derivative differs. It names the input, the entry, the mode, and the first rule on
        the way whose own local derivative differs, with the user's line.

    Notes
    -----
    Outputs are weighed with random numbers and summed, so that a single sweep shows every
    wrong entry. Differences are of fourth order (Abramowitz and Stegun 25.3.6); where they do
    not agree, their step is adapted by Ridders' method before they are believed. Inputs with
    more than 64 entries are checked at 64 of them. Do not ask for derivatives within 0.002 of a
    kink.

    Examples
    --------
    >>> import graphc as gr
    >>> gr.testing.check_grads(lambda x: gr.sin(x) * x, [[0.5, 2.0]], order=2)
    """
    if modes not in ("reverse", "forward", "both"):
        raise InputError(f"check_grads: modes is reverse, forward or both, not {modes!r}")
    rng = np.random.default_rng(seed)
    if type(order) is not int or order < 1:
        raise InputError(f"check_grads: order is 1 or more, not {order!r}")
    values, outputs = _trace(f, inputs)
    sizes = bind_sizes(values)
    targets = _targets(values)
    for degree in range(1, order + 1):
        scalar = _weighed_sum(outputs, values, sizes, rng)
        check = _Check(scalar, values, sizes, degree, rtol)
        outputs = grad(check.scalar, targets, unused="zero")
        gradients = dict(zip(targets, evaluate(outputs, values, sizes), strict=True))
        if modes != "forward":
            for target, gradient in gradients.items():
                check.entries(target, gradient, _entries(gradient.shape, rng))
        if modes != "reverse":
            directions = {
                t: np.asarray(rng.uniform(-1, 1, g.shape)) for t, g in gradients.items()
            }
            check.direction(directions, gradients if modes == "both" else None)


def _trace(
    f: Callable[..., Expr | Sequence[Expr]] | Expr, inputs: Sequence[Any] | Mapping[Expr, Any]
) -> tuple[dict[Expr, Array], list[Expr]]:
    """Arrays of the leaves, and the outputs."""
    if isinstance(f, Expr):
        return _leaf_values(f, inputs), [f]
    if not isinstance(inputs, Sequence) or isinstance(inputs, str):
        raise InputError(
            f"check_grads: the inputs of a function are a list, not {type(inputs).__name__}",
            hint="one array or number for each operand, [x] for one",
        )
    arrays = [np.array(a) for a in inputs]
    arrays = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]
    leaves = [tensor(f"x{i}", a.shape, from_numpy(a.dtype)) for i, a in enumerate(arrays)]
    return dict(zip(leaves, arrays, strict=True)), as_list(f(*leaves))


def _leaf_values(f: Expr, inputs: Any) -> dict[Expr, Array]:
    """Arrays of the leaves of an expression."""
    if not isinstance(inputs, Mapping) or not all(isinstance(x, Expr) for x in inputs):
        raise InputError(
            "check_grads: the inputs of an expression are a mapping",
            hint="{x: array} for each leaf x",
        )
    missing = [x for x in topological([f]) if x.op.name == "input" and x not in inputs]
    if missing:
        raise InputError(
            f"check_grads: no values for {missing[0].name!r}",
            where=describe([("input", x) for x in missing]),
        )
    return {leaf: np.array(a, leaf.dtype.numpy) for leaf, a in inputs.items()}


def _targets(values: Mapping[Expr, Array]) -> list[Expr]:
    """Leaves that can be moved: floats of double precision with finite values."""
    found = [leaf for leaf in values if leaf.dtype.is_float]
    if not found:
        raise InputError(
            "check_grads: no input is a float: there is nothing to differentiate for",
            where=describe([("input", leaf) for leaf in values]),
        )
    if any(leaf.dtype is not float64 for leaf in found):
        raise DTypeError(
            "check_grads: differences need float64", where=describe([("", x) for x in found])
        )
    for leaf in found:
        if not np.isfinite(values[leaf]).all():
            raise InputError(
                f"check_grads: the values of {leaf.name} are not finite",
                where=describe([("input", leaf)]),
            )
    return found


def _weighed_sum(
    outputs: Sequence[Expr],
    values: dict[Expr, Array],
    sizes: Mapping[str, int],
    rng: np.random.Generator,
) -> Expr:
    """Sum of all elements of all outputs, each times a random weight (a new leaf)."""
    terms = []
    for output, value in zip(outputs, evaluate(outputs, values, sizes), strict=True):
        weight = tensor("weight", output.shape, output.dtype)
        drawn = rng.uniform(0.5, 1.5, value.shape) * rng.choice([-1.0, 1.0], value.shape)
        values[weight] = drawn.astype(value.dtype)
        terms.append(sum_over(mul(output, weight)))
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _entries(shape: tuple[int, ...], rng: np.random.Generator) -> list[tuple[int, ...]]:
    every = list(np.ndindex(*shape))
    if len(every) <= 64:
        return every
    return [every[i] for i in sorted(rng.choice(len(every), 64, replace=False))]


@dataclass(frozen=True)
class _Check:
    """One degree of differentiation: the scalar, where, and how closely it must agree."""

    scalar: Expr
    values: dict[Expr, Array]
    sizes: Mapping[str, int]
    degree: int
    rtol: float

    def entries(
        self, target: Expr, gradient: Array, entries: Sequence[tuple[int, ...]]
    ) -> None:
        """Compare entries of a gradient with differences."""
        for entry in entries:
            unit = np.zeros(gradient.shape)
            unit[entry] = 1.0
            step = max(1.0, abs(float(self.values[target][entry])))
            actual, along = float(gradient[entry]), {target: unit}
            expected = self._difference(along, step, actual)
            if not self._agree(actual, expected):
                name = f"derivative {self.degree} for {target.name}{list(entry)}"
                self._fail(name, actual, "differences give", expected, [target])

    def direction(
        self, directions: dict[Expr, Array], gradients: dict[Expr, Array] | None
    ) -> None:
        """Compare the tangent along a direction with gradients, or with differences."""
        targets, actual = list(directions), self.tangent(directions)
        if gradients is None:
            largest = [np.max(np.abs(self.values[t]), initial=1.0) for t in targets]
            expected = self._difference(directions, float(min(largest, default=1.0)), actual)
            size = 1.0
        else:
            products = [gradients[t] * v for t, v in directions.items()]
            expected = float(math.fsum(np.sum(p) for p in products))
            size = max(1.0, math.fsum(np.sum(np.abs(p)) for p in products))
        if not self._agree(actual, expected, size):
            name = f"derivative {self.degree} in forward mode"
            said = "differences give" if gradients is None else "reverse mode gives"
            self._fail(name, actual, said, expected, targets)

    def _value(self, scalar: Expr, moved: Mapping[Expr, Array] | None = None) -> float:
        return float(evaluate([scalar], {**self.values, **(moved or {})}, self.sizes)[0])

    def tangent(self, directions: dict[Expr, Array]) -> float:
        """Derivative along a direction, in forward mode."""
        leaves = [tensor("direction", t.shape, t.dtype) for t in directions]
        found = jvp(self.scalar, list(directions), leaves, unused="zero")
        return self._value(found, dict(zip(leaves, directions.values(), strict=True)))

    def _agree(self, actual: float, expected: float, size: float = 1.0) -> bool:
        return abs(actual - expected) <= self.rtol * max(size, abs(expected))

    def _difference(self, along: dict[Expr, Array], size: float, actual: float) -> float:
        """Derivative along a direction: a fixed step, adapted if it does not agree."""

        def value(t: float) -> float:
            moved = {x: self.values[x] + t * v for x, v in along.items()}
            return self._value(self.scalar, moved)

        step = np.finfo(np.float64).eps ** 0.2 * size
        found = sum(w * value(k * step) for k, w in _STENCIL) / step
        return found if self._agree(actual, found) else ridders(value, 0.1 * size)

    def _fail(
        self, name: str, actual: float, said: str, expected: float, targets: Sequence[Expr]
    ) -> None:
        rows, hint = [("input", t) for t in targets], ""
        if math.isnan(expected):
            hint = "there is nothing to compare with: the function is not finite around there"
        elif (rule := _wrong_rule(self)) is not None:
            rows.append(("rule", rule))
            hint = f"the local derivative of {rule.op.name} differs first"
        raise VerificationError(
            f"check_grads: {name} is {actual:.10g}, {said} {expected:.10g}",
            where=describe(rows),
            hint=hint,
        )


#: Offsets and weights of the derivative's five-point formula (Abramowitz and Stegun 25.3.6).
_STENCIL = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))

#: Of Neville's table; later ones hold rounding errors only.
_COLUMNS = 12


def ridders(f: Callable[[float], float], step: float, rounds: int = 40) -> float:
    """Derivative at 0 by central differences of shrinking steps, extrapolated to step 0.

    Each step is half the last one; Neville's table removes even powers of the error;
    the entry with the smallest estimated error is taken (Ridders 1982; Press et al., Numerical
    Recipes, 5.7). To that estimate the rounding error of the difference is added, so that steps
    may become small: where a function is not finite a step away, or changes within much less.
    NaN if no step gives a number.

    Examples
    --------
    >>> import math
    >>> round(ridders(math.sin, 0.5), 12)
    1.0
    """
    best, error = math.nan, math.inf
    above: list[float] = []
    for _ in range(rounds):
        ahead, behind = f(step), f(-step)
        row = [(ahead - behind) / (2 * step)]
        rounding = sys.float_info.epsilon * (abs(ahead) + abs(behind)) / (2 * step)
        factor = 1.0
        for k, before in enumerate(above[:_COLUMNS]):
            factor *= 4.0
            row.append((factor * row[k] - before) / (factor - 1))
            gap = max(abs(row[k + 1] - row[k]), abs(row[k + 1] - before)) + rounding
            if gap < error:
                best, error = row[k + 1], gap
        above, step = row, step / 2
    return best


def _wrong_rule(check: _Check) -> Expr | None:
    """The first node whose own derivative differs from differences of its own evaluation.

    A declared derivative need not be that of its value; one is named if no other is wrong.
    """
    known, declared = dict(check.values), None
    for node in topological([check.scalar]):
        if node in known:
            continue
        known[node] = evaluate([node], known, check.sizes)[0]
        if node.op.family == "derivative":
            declared = declared or node
        elif node.dtype is float64 and not _is_right(node, known, check):
            return node
    return declared


def _is_right(node: Expr, known: Mapping[Expr, Array], whole: _Check) -> bool:
    """Whether a node's local derivative agrees with differences, in both modes."""
    leaves = [tensor(f"x{i}", x.shape, x.dtype) for i, x in enumerate(node.args)]
    targets = [leaf for leaf in leaves if leaf.dtype is float64]
    if not targets:
        return True
    values = {leaf: known[x] for leaf, x in zip(leaves, node.args, strict=True)}
    rng = np.random.default_rng(0)
    alone = apply(node.op, leaves, node.attrs)
    scalar = _weighed_sum([alone], values, whole.sizes, rng)
    local = _Check(scalar, values, whole.sizes, 1, whole.rtol)
    directions = {t: np.asarray(rng.uniform(-1, 1, values[t].shape)) for t in targets}
    gradients = evaluate(grad(scalar, targets, unused="zero"), values, whole.sizes)
    products = zip(gradients, directions.values(), strict=True)
    back = math.fsum(np.sum(g * v) for g, v in products)
    ahead = local.tangent(directions)
    expected = local._difference(directions, 1.0, back)
    return local._agree(back, expected) and local._agree(ahead, expected)
