"""Random training steps: layers, products of all shapes, updates that read each other.

Made from a seed alone, so that a failure is found again by its number. All values are bounded,
next values of parameters too, so that many calls can follow one another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import graphc as gr
from graphc.ops.leaves import Parameter

Array = np.ndarray[Any, Any]


@dataclass(eq=False)
class Training:
    """What to compile, and how arrays for its inputs are made.

    ``batches`` are the sizes that the symbol ``b`` has, call after call.
    """

    dtype: str
    batches: list[int]
    inputs: list[gr.Expr] = field(default_factory=list)
    outputs: list[gr.Expr] = field(default_factory=list)
    updates: dict[Parameter, gr.Expr] = field(default_factory=dict)
    parameters: list[Parameter] = field(default_factory=list)

    def arguments(self, seed: int, batch: int) -> list[Array]:
        """Arrays for a call."""
        rng = np.random.default_rng(seed)
        shapes = [[batch if s == "b" else s for s in x.shape] for x in self.inputs]
        return [np.asarray(rng.uniform(-1, 1, shape), self.dtype) for shape in shapes]

    def __repr__(self) -> str:
        lines = [f"{x.name}: {x.type}" for x in [*self.inputs, *self.parameters]]
        lines += [f"updates {', '.join(str(p.name) for p in self.updates)}"]
        shown = gr.show([*self.outputs, *self.updates.values()])
        return "\n".join([f"Training, b in {self.batches}", *lines, shown])


def training(seed: int) -> Training:
    """The random training step of that number."""
    return _Maker(np.random.default_rng(seed)).make()


class _Maker:
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        dtype = self.pick(["float64", "float64", "float32"])
        self.symbolic = self.chance(50)
        sizes = [self.size(wide=True) for _ in range(3 if self.symbolic else 1)]
        self.made = Training(dtype, sizes)
        self.rows: Any = "b" if self.symbolic else sizes[0]
        #: Values of ``rows`` rows (no bound above 1).
        self.layers: list[gr.Expr] = []

    # choices --------------------------------------------------------------------------------

    def chance(self, percent: int) -> bool:
        return bool(self.rng.integers(100) < percent)

    def pick(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def size(self, wide: bool = False) -> int:
        if self.chance(3):
            return 0
        if self.chance(15):
            return 1
        if wide and self.chance(12):
            return self.pick([257, 700, 3000])
        return int(self.rng.integers(1, 71)) if self.chance(60) else self.pick([2, 3, 4, 8, 16])

    # leaves ---------------------------------------------------------------------------------

    def parameter(self, shape: Sequence[int], scale: float = 1.0) -> Parameter:
        name = f"p{len(self.made.parameters)}"
        value = np.asarray(self.rng.uniform(-scale, scale, shape), self.made.dtype)
        p = gr.parameter(name, value)
        assert isinstance(p, Parameter)
        self.made.parameters.append(p)
        return p

    def input(self, *shape: Any) -> gr.Expr:
        x = gr.tensor(f"x{len(self.made.inputs)}", shape, self.made.dtype)
        self.made.inputs.append(x)
        return x

    def like(self, p: gr.Expr) -> Parameter:
        """A parameter of the same shape, an old one or a new one."""
        same = [q for q in self.made.parameters if q is not p and q.shape == p.shape]
        return self.pick(same) if same and self.chance(40) else self.parameter(p.shape)

    # layers ---------------------------------------------------------------------------------

    def weights(self, k: int, n: int) -> gr.Expr:
        """A (k, n) matrix out of a parameter, in one of many ways."""
        same = [p for p in self.made.parameters if p.ndim == 2 and p.shape in ((k, n), (n, k))]
        if same and self.chance(50):
            p: gr.Expr = self.pick(same)
            return p if p.shape == (k, n) else p.T
        way = self.pick(["plain", "plain", "plain", "turned", "part", "flat", "stack", "flip"])
        if way == "turned":
            return self.parameter((n, k)).T
        if way == "part":
            return self.parameter((k + 2, n + 1))[1:-1, 1:]
        if way == "flat":
            return gr.reshape(self.parameter((k * n,)), (k, n))
        if way == "stack":
            return self.parameter((2, k, n))[self.pick([0, 1])]
        if way == "flip":
            return self.parameter((k, n))[:, ::-1]
        return self.parameter((k, n))

    def product(self, x: gr.Expr, n: int) -> gr.Expr:
        k = x.shape[1]
        assert isinstance(k, int)
        w = self.weights(k, n)
        scale = 1 / max(1, k) ** 0.5
        way = self.pick(["matmul", "matmul", "scaled", "einsum", "turned", "batch"])
        if way == "scaled":
            return x @ (w * scale)
        if way == "einsum":
            return gr.einsum("ij,jk->ik", x * scale, w)
        if way == "turned":
            return scale * (w.T @ x.T).T
        if way == "batch":
            return (gr.stack([x, -x]) @ gr.expand_dims(w * scale, 0))[1]
        return (x @ w) * scale

    def activation(self, z: gr.Expr) -> gr.Expr:
        way = self.pick(["tanh", "tanh", "sigmoid", "softmax", "none", "relu", "sin", "norm"])
        if way == "softmax" and z.shape[1]:
            return gr.softmax(z, -1)
        if way == "none":
            return z * 0.25
        if way == "relu":
            return gr.tanh(gr.nn.relu(z))
        if way == "norm":
            return z / gr.sqrt(gr.sum(z * z, -1, keepdims=True) + 1.0)
        return {"sigmoid": gr.sigmoid, "sin": gr.sin}.get(way, gr.tanh)(z)

    def layer(self) -> None:
        x = self.pick(self.layers[-2:])
        n = self.size() if self.chance(70) else x.shape[1]
        z = self.product(x, n)
        if self.chance(60):
            z = z + self.parameter(self.pick([(n,), (n,), (1,), (), (1, n)]))
        y = self.activation(z)
        if n == x.shape[1] and self.chance(40):
            y = 0.5 * (x + y)
        if self.chance(10):
            y = y * gr.cos(gr.mean(y, 0, keepdims=True)) if self.some(y) else y
        self.layers.append(y)

    def some(self, x: gr.Expr) -> bool:
        """Whether a value of the layers has elements in every call."""
        return min(self.made.batches) > 0 and all(s != 0 for s in x.shape)

    def thin(self) -> gr.Expr:
        """Rows times a thin matrix, a pass over the product, and rows times that."""
        x = self.layers[0]
        n = self.pick([1, 1, 2, 5, 16])
        z = self.product(x, n)
        z = self.pick([gr.sigmoid, gr.tanh, lambda z: z - gr.mean(z, 1, keepdims=True)])(z)
        total = self.pick([lambda: x.T @ z, lambda: (z.T @ x).T])()
        return gr.tanh(total * (1 / max(1, *self.made.batches)))

    def loss(self) -> gr.Expr:
        total: gr.Expr = gr.constant(0.0, self.made.dtype)
        for y in dict.fromkeys([self.layers[-1], self.pick(self.layers)]):
            if self.some(y):
                t = self.input(*y.shape) if self.chance(40) else gr.cos(y)
                total = total + gr.mean(gr.square(y - t))
        return total

    # updates --------------------------------------------------------------------------------

    def step(self, p: Parameter, g: gr.Expr) -> None:
        """An update by a gradient, with the state that it needs."""
        updates, rate = self.made.updates, 0.1
        way = self.pick(["sgd", "sgd", "momentum", "nesterov", "adam", "rate", "clipped"])
        if way == "momentum":
            v = self.state(p)
            updates[v] = 0.5 * v - rate * g
            updates[p] = p + updates[v]
        elif way == "nesterov":
            v = self.state(p)
            updates[v] = 0.5 * v - rate * g
            updates[p] = p + 0.5 * updates[v] - rate * g
        elif way == "adam":
            m, v, t = self.state(p), self.state(p), self.state(gr.scalar("t", p.dtype))
            updates[m], updates[v] = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * (g * g)
            updates[t] = 0.5 * t + 1.0
            scaled = updates[m] / (1.0 - 0.9 ** (updates[t] + 2.0))
            updates[p] = p - rate * scaled / (gr.sqrt(gr.abs(updates[v])) + 0.1)
        elif way == "rate":
            r = self.state(gr.scalar("r", p.dtype))
            updates[r] = r * 0.9
            updates[p] = p - r * g
        elif way == "clipped":
            updates[p] = p - rate * g / gr.sqrt(gr.sum(g * g) + 1.0)
        else:
            updates[p] = p - rate * g

    def state(self, p: gr.Expr) -> Parameter:
        shape = p.shape
        assert all(isinstance(s, int) for s in shape)
        return self.parameter([int(s) for s in shape])  # type: ignore[arg-type]

    def other_update(self, p: Parameter) -> gr.Expr:
        """A next value that is no step of an optimizer."""
        q = self.like(p)
        last = p.shape[-1] if p.ndim else 0
        made: list[Callable[[], gr.Expr]] = [
            lambda: q,
            lambda: 0.5 * (p + q),
            lambda: gr.tanh(self.made.updates.get(q, q)),
            lambda: gr.flip(p) if p.ndim else -p,
            lambda: gr.constant(np.full(p.shape, 0.5, self.made.dtype)),
            lambda: 0.5 * p + 0.5 * (p.T if p.shape == p.shape[::-1] else q),
            lambda: gr.tanh(p @ q) if p.ndim == 2 and p.shape[0] == last else gr.sin(p),
            lambda: gr.tanh(self.parameter((last, last)).T @ p) if p.ndim == 1 else p,
            lambda: gr.where(p > 0, q, p * 0.5),
            lambda: gr.concatenate([p[1:], p[:1]]) if p.ndim else p,
            lambda: p - 0.5 * gr.mean(p, 0, True) if p.ndim and p.shape[0] else p,
            lambda: p,
        ]
        if p.ndim == 2 and self.layers:
            ends = [y for y in self.layers if y.shape[1] == last]
            starts = [y for y in self.layers if y.shape[1] == p.shape[0]]
            if ends and starts:
                a, b = self.pick(starts), self.pick(ends)
                made += [
                    lambda: gr.tanh(0.1 * (a.T @ b)),
                    lambda: gr.tanh(p - 0.01 * (a.T @ b)),
                    lambda: gr.tanh(q + 0.01 * (b.T @ a).T),
                ]
        return self.pick(made)()

    # the whole ------------------------------------------------------------------------------

    def make(self) -> Training:
        made = self.made
        self.layers.append(self.input(self.rows, self.size()))
        if self.chance(15):
            n = self.layers[0].shape[1]
            p = self.parameter((self.size(), n))
            self.layers.append(gr.tanh(self.layers[0] @ p.T @ p * (1 / max(1, n))))
        for _ in range(int(self.rng.integers(1, 4))):
            self.layer()
        outputs: list[gr.Expr] = [self.layers[-1]]
        if self.chance(30):
            outputs.append(self.thin())
        trained = list(made.parameters)
        if trained and self.chance(80):
            loss = self.loss()
            outputs.append(loss)
            gradients = gr.grad(loss, trained, unused="zero")
            for p, g in zip(trained, gradients, strict=True):
                if p not in made.updates and self.chance(80):
                    self.step(p, g)
                if self.chance(15):
                    outputs.append(g)
        for p in list(made.parameters):
            if p not in made.updates and self.chance(30):
                made.updates[p] = self.other_update(p)
        if len(trained) > 1 and self.chance(15):
            p = self.pick(trained)
            q = self.like(p)
            made.updates[p], made.updates[q] = q, p
        outputs += [self.more() for _ in range(int(self.rng.integers(3)))]
        made.outputs = [o for o in outputs if self.chance(85)] or outputs[:1]
        return made

    def more(self) -> gr.Expr:
        """An output that is, or is near, something with memory of its own."""
        made = self.made
        p = self.pick(made.parameters) if made.parameters else self.pick(self.layers)
        return self.pick([
            lambda: p,
            lambda: p.T,
            lambda: made.updates.get(p, p),
            lambda: made.updates.get(p, p) * 2.0,
            lambda: self.pick(made.inputs),
            lambda: self.pick(self.layers),
            lambda: gr.sum(p * p) * 0.01,
            lambda: gr.reshape(p, (-1,)),
            lambda: p[1:] if p.ndim else p,
        ])()  # fmt: skip
