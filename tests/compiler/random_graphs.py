"""Random graphs with arrays to run them on.

Every value is bounded, and choices (comparisons, extrema, rounding, casts to int) are made
only on values that every way of computing gets exactly, so that two right ways of
computing a graph differ by rounding alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

import graphc as gr
from graphc.ops.leaves import Parameter
from graphc.types import evaluate_size

#: Values above this are squashed before they grow further.
LIMIT = 30.0
MAX_ELEMENTS = 60_000
SIZES = (1, 2, 3, 5, 8, 17, 33)


@dataclass(frozen=True, eq=False)
class Value:
    """A node, a bound of its magnitude, and whether it is free of rounding."""

    node: gr.Expr
    bound: float
    exact: bool


@dataclass(eq=False)
class RandomGraph:
    """What to compile, and arrays for two calls of it."""

    inputs: list[gr.Expr] = field(default_factory=list)
    arrays: list[np.ndarray[Any, Any]] = field(default_factory=list)
    outputs: list[gr.Expr] = field(default_factory=list)
    updates: dict[Parameter, gr.Expr] = field(default_factory=dict)
    parameters: list[Parameter] = field(default_factory=list)
    bounds: list[float] = field(default_factory=list)

    def __repr__(self) -> str:
        given = zip(self.inputs, self.arrays, strict=True)
        lines = [f"{x.name}: {x.type} = {a.shape}" for x, a in given]
        lines += [f"{p.name}: parameter {p.type}" for p in self.parameters]
        return "\n".join(
            ["RandomGraph", *lines, gr.show([*self.outputs, *self.updates.values()])]
        )


class _Maker:
    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self.draw = draw
        self.graph = RandomGraph()
        self.rng = np.random.default_rng(self.integer(0, 2**32 - 1))
        self.dtype = self.pick(["float64", "float64", "float32"])
        self.sizes: dict[str, int] = {}
        self.pool: list[Value] = []
        self.indices: list[gr.Expr] = []
        self.steps = {
            "unary": self.unary,
            "binary": self.binary,
            "choice": self.choice,
            "reduce": self.reduce,
            "view": self.view,
            "join": self.join,
            "pick": self.pick_elements,
            "scan": self.scan,
            "contract": self.contract,
            "whole": self.whole,
            "normalise": self.normalise,
        }

    # choices ----------------------------------------------------------------------------------

    def integer(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def pick(self, options: Sequence[Any]) -> Any:
        return options[self.integer(0, len(options) - 1)]

    def chance(self, percent: int) -> bool:
        return self.integer(0, 99) >= 100 - percent

    def value(self) -> Value:
        """A value made before, most likely a recent one."""
        back = self.integer(0, min(3, len(self.pool) - 1)) if self.chance(70) else None
        return self.pool[-1 - back] if back is not None else self.pick(self.pool)

    def axis(self, x: gr.Expr) -> int:
        return self.integer(-x.ndim, x.ndim - 1)

    def axes(self, x: gr.Expr) -> tuple[int, ...]:
        """Some axes, at least one."""
        chosen = tuple(a for a in range(x.ndim) if self.chance(50))
        return chosen or (self.integer(0, x.ndim - 1),)

    # leaves -----------------------------------------------------------------------------------

    def size(self) -> Any:
        if self.chance(3):
            return 0
        return self.pick((64, 257, 1000)) if self.chance(6) else self.pick(SIZES)

    def number(self, size: Any) -> int:
        return self.sizes[size] if isinstance(size, str) else size

    def reals(self, shape: Sequence[int], scale: float = 1.0) -> np.ndarray[Any, Any]:
        return np.asarray(self.rng.uniform(-scale, scale, shape), self.dtype)

    def leaves(self) -> None:
        self.sizes = {"b": self.size()}
        rows: Any = "b" if self.chance(50) else self.sizes["b"]
        columns = self.size()
        for number, shape in enumerate(
            [
                (rows, columns),
                (columns,),
                (rows, 1),
                (),
                (columns, self.size()),
                (3, rows, columns),
            ]
        ):
            actual = [self.number(s) for s in shape]
            if np.prod(actual) > MAX_ELEMENTS or (number and self.chance(25)):
                continue
            kind = self.integer(0, 9)
            if kind >= 6 and "b" not in shape:
                node: gr.Expr = gr.parameter(f"p{number}", self.reals(actual))
                assert isinstance(node, Parameter)
                self.graph.parameters.append(node)
            elif kind == 5 and "b" not in shape:
                node = gr.constant(self.reals(actual))
            else:
                node = gr.tensor(f"x{number}", shape, self.dtype)
                self.graph.inputs.append(node)
                self.graph.arrays.append(self.reals(actual))
            self.pool.append(Value(node, 1.0, True))
        for name, dtype, shape in (("i", "int32", (rows,)), ("j", "int64", (4,))):
            leaf = gr.tensor(name, shape, dtype)
            self.graph.inputs.append(leaf)
            self.indices.append(leaf)
            actual = [self.number(s) for s in shape]
            low = -min(columns, 4)
            self.graph.arrays.append(
                self.rng.integers(low, -low, actual).astype(dtype)
                if low
                else np.zeros(actual, dtype)
            )
        self.reach = min(columns, 4)

    # steps ------------------------------------------------------------------------------------

    def add(self, node: gr.Expr, bound: float, exact: bool) -> None:
        if node.ndim > 4 or node.dtype.name != self.dtype:
            return
        if _elements(node, self.sizes) > MAX_ELEMENTS:
            return
        if bound > LIMIT:
            node, bound, exact = gr.tanh(node * (2.0 / bound)), 1.0, False
        self.pool.append(Value(node, bound, exact))

    def step(self) -> None:
        kind = self.pick(list(self.steps))
        try:
            self.steps[kind]()
        except gr.GraphcError:
            return  # shapes do not fit; most steps do

    def unary(self) -> None:
        v = self.value()
        x, b = v.node, v.bound
        name = self.pick(["neg", "half", "tanh", "sin", "exp", "sigmoid", "square", "log1p",
                          "sqrt", "softplus", "gelu", "erf", "reciprocal"])  # fmt: skip
        made: dict[str, tuple[Callable[[], gr.Expr], float]] = {
            "neg": (lambda: -x, b),
            "half": (lambda: 0.5 * x, b / 2),
            "tanh": (lambda: gr.tanh(x), 1),
            "sin": (lambda: gr.sin(x), 1),
            "exp": (lambda: gr.exp(x * (2 / max(b, 1))), 8),
            "sigmoid": (lambda: gr.sigmoid(x), 1),
            "square": (lambda: gr.square(x), b * b),
            "log1p": (lambda: gr.log1p(gr.square(x)), b),
            "sqrt": (lambda: gr.sqrt(x * x + 1.0), b + 1),
            "softplus": (lambda: gr.nn.softplus(x), b + 1),
            "gelu": (lambda: gr.nn.gelu(x), b),
            "erf": (lambda: gr.erf(x), 1),
            "reciprocal": (lambda: 1 / (1.5 + gr.cos(x)), 2),
        }
        make, bound = made[name]
        self.add(make(), bound, v.exact and name in ("neg", "half"))

    def binary(self) -> None:
        v, w = self.value(), self.value()
        x, y = v.node, w.node
        name = self.pick(["add", "sub", "mul", "div", "hypot", "maximum"])
        if name == "maximum":
            if v.exact and w.exact:
                self.add(gr.maximum(x, y), max(v.bound, w.bound), True)
            return
        node, bound = {
            "add": lambda: (x + y, v.bound + w.bound),
            "sub": lambda: (x - y, v.bound + w.bound),
            "mul": lambda: (x * y, v.bound * w.bound),
            "div": lambda: (x / (1.0 + y * y), v.bound),
            "hypot": lambda: (gr.hypot(x, 1.0 + y * y), v.bound + w.bound**2 + 1),
        }[name]()
        self.add(node, bound, False)

    def choice(self) -> None:
        """Functions with jumps or kinks, of exact values."""
        exact = [v for v in self.pool if v.exact]
        v, w = self.pick(exact), self.pick(exact)
        x, y = v.node, w.node
        node = self.pick([
            lambda: gr.abs(x),
            lambda: gr.nn.relu(x),
            lambda: gr.floor(3 * x) / 4,
            lambda: gr.where(x < y, x, -y),
            lambda: gr.where((x > 0) & ~(y > 0.25), y, x),
            lambda: (4 * x).astype("int32").astype(self.dtype),
            lambda: ((8 * x).astype("int64") // 3 % 5).astype(self.dtype),
            lambda: (x > y).astype(self.dtype),
            lambda: gr.clip(x, -0.5, 0.25),
            lambda: gr.sign(x),
            lambda: gr.one_hot((2 * x).astype("int64"), 3, self.dtype),
        ])()  # fmt: skip
        self.add(node, 4 * max(v.bound, w.bound) + 5, True)

    def reduce(self) -> None:
        v = self.value()
        if v.node.ndim == 0 or not _elements(v.node, self.sizes):
            return
        x, axes, keep = v.node, self.axes(v.node), self.chance(40)
        count = max(1, _elements(x, self.sizes))
        name = self.pick(["sum", "mean", "logsumexp", "max", "min", "prod", "var", "norm",
                          "argmax", "any", "count"])  # fmt: skip
        if name in ("max", "min", "argmax", "any", "count") and not v.exact:
            name = "sum"
        if name in ("sum", "var", "norm"):
            x = x * (1 / count**0.5)
        scale = v.bound * count**0.5
        nodes: dict[str, Callable[[], tuple[gr.Expr, float]]] = {
            "sum": lambda: (gr.sum(x, axes, keep), scale),
            "mean": lambda: (gr.mean(x, axes, keep), v.bound),
            "logsumexp": lambda: (gr.logsumexp(x, axes, keep), v.bound + 12),
            "max": lambda: (gr.max(x, axes, keep), v.bound),
            "min": lambda: (gr.min(x, axes, keep), v.bound),
            "prod": lambda: (gr.prod(1 + x * (1 / (v.bound * count + 1)), axes, keep), 3),
            "var": lambda: (gr.var(x, axes, keepdims=keep), v.bound**2),
            "norm": lambda: (gr.norm(x + 1.0, axes, keep), scale + count**0.5),
            "argmax": lambda: (gr.argmax(x, axes[0], keep).astype(self.dtype), float(count)),
            "any": lambda: (gr.any(x > 0.5, axes, keep).astype(self.dtype), 1),
            "count": lambda: (gr.sum(x > 0, axes, keep).astype(self.dtype), float(count)),
        }
        node, bound = nodes[name]()
        self.add(node, bound, name in ("max", "min", "argmax", "any", "count"))

    def view(self) -> None:
        v = self.value()
        x = v.node
        name = self.pick(["transpose", "flip", "expand", "flat", "slice", "split", "broadcast",
                          "merge", "swap"])  # fmt: skip
        if name == "transpose" and x.ndim:
            x = gr.transpose(x, self.draw(st.permutations(range(x.ndim))))
        elif name == "flip" and x.ndim:
            x = gr.flip(x, self.axis(x))
        elif name == "expand":
            x = gr.expand_dims(x, self.integer(0, x.ndim))
        elif name == "flat":
            x = gr.reshape(x, (-1,))
        elif name == "slice" and x.ndim:
            x = x[tuple(self.slice() for _ in range(x.ndim))]
        elif name == "split" and x.ndim and x.shape[0] in (8, 64):
            x = gr.reshape(x, (2, x.shape[0] // 2, *x.shape[1:]))
        elif name == "broadcast":
            x = gr.broadcast_to(x, (self.pick([1, 2, 3]), *x.shape))
        elif name == "merge" and x.ndim > 1:
            x = gr.reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:]))
        elif name == "swap" and x.ndim > 1:
            x = gr.swapaxes(x, self.axis(x), self.axis(x))
        self.add(x, v.bound, v.exact)

    def slice(self) -> Any:
        return self.pick([slice(None), slice(None), slice(1, None), slice(None, -1),
                          slice(-2, None),
                          slice(None, None, 2), slice(None, None, -1), slice(None, None, -2),
                          slice(2, 0, -1), 0, -1])  # fmt: skip

    def join(self) -> None:
        v, w = self.value(), self.value()
        x, y = v.node, w.node
        if not x.ndim:
            return
        exact, bound = v.exact and w.exact, max(v.bound, w.bound)
        name = self.pick(["concatenate", "self", "pad", "stack", "tile"])
        axis = self.axis(x)
        node = {
            "concatenate": lambda: gr.concatenate([x, y], axis),
            "self": lambda: gr.concatenate([x, -x, x], axis),
            "pad": lambda: gr.pad(x, self.pick([1, ((2, 0),) * x.ndim]), constant_values=0.25),
            "stack": lambda: gr.stack([x, y], self.pick([0, -1])),
            "tile": lambda: gr.tile(x, 2),
        }[name]()
        self.add(node, bound, exact if name in ("concatenate", "stack") else v.exact)

    def pick_elements(self) -> None:
        v = self.value()
        x = v.node
        if not x.ndim or not self.reach:
            return
        axis, index = self.axis(x), self.pick(self.indices)
        if not evaluate_size(x.shape[axis], self.sizes):
            return
        if not isinstance(x.shape[axis], int) or x.shape[axis] < self.reach:
            index = gr.constant(np.array([0, -1, 0]))
        name = self.pick(["take", "along", "scatter"])
        if name == "take":
            node = gr.take(x, index, axis)
        else:
            shape = [1] * x.ndim
            shape[axis] = index.shape[0]
            node = gr.take_along_axis(x, gr.reshape(index, shape), axis)
        if name == "scatter":
            node = gr.scatter_add(node, gr.reshape(index, shape), axis, max(4, self.reach))
            self.add(node, 4 * v.bound, False)
            return
        self.add(node, v.bound, v.exact)

    def scan(self) -> None:
        v = self.value()
        if not v.node.ndim:
            return
        axis = self.axis(v.node)
        count = max(1, _elements(v.node, self.sizes))
        options = {"reverse": self.chance(50), "exclusive": self.chance(50)}
        if self.chance(60):
            self.add(
                gr.cumsum(v.node * (1 / count**0.5), axis, **options),
                v.bound * count**0.5,
                False,
            )
        else:
            x = 1 + v.node * (1 / (count * v.bound + 1))
            self.add(gr.cumprod(x, axis, **options), 3, False)

    def contract(self) -> None:
        v, w = self.value(), self.value()
        x, y = v.node, w.node
        if not x.ndim or not y.ndim:
            return
        inner = max(1, _elements(x, self.sizes))
        x = x * (1 / inner**0.5)
        name = self.pick(["matmul", "rows", "outer", "columns", "trace", "batch"])
        node = {
            "matmul": lambda: x @ y,
            "rows": lambda: gr.einsum("...ik,jk->...ij", x, y),
            "outer": lambda: gr.outer(x, y),
            "columns": lambda: gr.einsum("ki,kj->ji", x, y),
            "trace": lambda: gr.einsum("ij,ij->", x, y),
            "batch": lambda: gr.einsum("aij,akj->aik", x, y),
        }[name]()
        self.add(node, v.bound * w.bound * inner**0.5, False)

    def whole(self) -> None:
        """Whole numbers: sums, scans, casts, all exact."""
        i = self.pick(self.indices)
        node = self.pick([
            lambda: gr.cumsum(i * i - 1),
            lambda: i[::-1] * 2 // 3,
            lambda: gr.sum(i, keepdims=True) + i,
            lambda: gr.maximum(i, 1) % 3,
            lambda: i.astype("int8") - gr.constant(np.int8(3)),
            lambda: (i > 0) ^ (i < 2),
            lambda: gr.arange(5) * 2 - 3,
        ])()  # fmt: skip
        self.add(gr.tanh(node.astype(self.dtype)), 1, False)
        if self.chance(30):
            self.graph.outputs.append(node)
            self.graph.bounds.append(0.0)

    def normalise(self) -> None:
        v = self.value()
        x = v.node
        if not x.ndim:
            return
        axis = self.axis(x)
        name = self.pick(["softmax", "log_softmax", "layer_norm", "centre", "scale"])
        node = {
            "softmax": lambda: gr.softmax(x, axis),
            "log_softmax": lambda: gr.nn.log_softmax(x, axis),
            "layer_norm": lambda: x / gr.sqrt(gr.mean(x * x, axis, True) + 0.5),
            "centre": lambda: x - gr.mean(x, axis, True),
            "scale": lambda: x / (1 + gr.sum(x * x, axis, True)),
        }[name]()
        self.add(node, 2 * v.bound + 12, False)

    # the whole --------------------------------------------------------------------------------

    def make(self) -> RandomGraph:
        self.leaves()
        for _ in range(self.integer(2, 24)):
            self.step()
        graph = self.graph
        made = [self.pool[-1], *(self.value() for _ in range(self.integer(0, 3)))]
        graph.outputs += [v.node for v in made]
        graph.bounds += [v.bound for v in made]
        if self.chance(60):
            self.differentiate(made)
        for p in graph.parameters:
            if self.chance(75):
                graph.updates[p] = self.next_value(p)
        return graph

    def differentiate(self, made: Sequence[Value]) -> None:
        graph = self.graph
        targets = [v.node for v in self.pool[:6] if v.node.op.name in ("input", "parameter")]
        if not targets:
            return
        full = [v.node for v in made if _elements(v.node, self.sizes)]
        loss = sum((gr.mean(gr.sin(x)) for x in full), start=gr.constant(0.0, self.dtype))
        gradients = gr.grad(loss, targets, unused="zero")
        if self.chance(15):
            total = sum((gr.sum(g * g) for g in gradients), start=gr.constant(0.0, self.dtype))
            gradients = gr.grad(total, targets, unused="zero")
        graph.outputs += gradients
        graph.bounds += [0.0] * len(gradients)
        for g, p in zip(gradients, targets, strict=True):
            if isinstance(p, Parameter) and self.chance(70):
                graph.updates[p] = p - 0.1 * g

    def next_value(self, p: Parameter) -> gr.Expr:
        if p in self.graph.updates:
            return self.graph.updates[p]
        same = [v.node for v in self.pool if v.node.type == p.type]
        last = [v.node for v in self.pool if _broadcasts(v.node, p)]
        square = p.ndim == 2 and p.shape[0] == p.shape[1]
        return self.pick([
            lambda: self.pick(same),
            lambda: self.pick(same),
            lambda: 0.5 * p + 0.25 * self.pick(last),
            lambda: p * gr.cos(self.pick(last)),
            lambda: gr.flip(p) if p.ndim else -p,
            lambda: p * 0.5 + (0.25 * (p + 1)).T if square else p,
            lambda: (p @ p) * (1 / p.shape[0]) if square and p.shape[0] else gr.sin(p),
            lambda: gr.constant(np.full(p.shape, 0.5, self.dtype)),
        ])()  # fmt: skip


def _elements(x: gr.Expr, sizes: dict[str, int]) -> int:
    return math.prod(evaluate_size(s, sizes) for s in x.shape)


def _broadcasts(x: gr.Expr, p: gr.Expr) -> bool:
    """Whether an elementwise operation on both has p's shape."""
    if x.ndim > p.ndim:
        return False
    tail = p.shape[p.ndim - x.ndim :]
    return all(isinstance(s, int) and s in (1, t) for s, t in zip(x.shape, tail, strict=True))


@st.composite
def graphs(draw: Callable[[Any], Any]) -> RandomGraph:
    """Graphs of up to 24 steps, their gradients and updates."""
    return _Maker(draw).make()
