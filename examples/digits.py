"""Handwritten digits: define a network, differentiate it, look at it, compile and train it.

The data are the 1,797 images of 8 x 8 pixels that come with scikit-learn; 360 are held out.
Run: python examples/digits.py (a few seconds; writes to build/demo).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from tqdm import tqdm

import graphc as gr

Array = NDArray[np.float32]
Labels = NDArray[np.int64]

OUT = Path("build/demo")
SEED, HELD_OUT, WANTED = 0, 360, 0.97
HIDDEN, BATCH, EPOCHS, RATE, MOMENTUM, NOISE = 128, 32, 30, 0.1, 0.9, 0.25


# The data


@dataclass(frozen=True)
class Examples:
    """Images (n, 64) with pixels from 0 to 1, and the digits they show (n,)."""

    images: Array
    digits: Labels

    def __getitem__(self, rows: NDArray[np.int64]) -> Examples:
        return Examples(self.images[rows], self.digits[rows])

    def batches(self, rng: np.random.Generator) -> Iterator[Examples]:
        """All once, in random order, with normal noise on pixels; the last may be smaller."""
        order = rng.permutation(len(self.digits))
        for start in range(0, len(order), BATCH):
            batch = self[order[start : start + BATCH]]
            noise = rng.standard_normal(batch.images.shape, np.float32)
            yield Examples(batch.images + np.float32(NOISE) * noise, batch.digits)


def split() -> tuple[Examples, Examples]:
    """Examples to learn from, and examples held out."""
    images, digits = load_digits(return_X_y=True)
    everything = Examples((images / 16).astype(np.float32), digits.astype(np.int64))
    order = np.random.default_rng(SEED).permutation(len(digits))
    return everything[order[HELD_OUT:]], everything[order[:HELD_OUT]]


# The network


def layer(
    inputs: int, outputs: int, name: str, rng: np.random.Generator
) -> tuple[gr.Parameter, gr.Parameter]:
    """Weights (inputs, outputs) of He's variance 2 / inputs, and biases of zero."""
    start = rng.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs)
    W = gr.parameter(f"W{name}", start.astype(np.float32))
    return W, gr.parameter(f"b{name}", np.zeros(outputs, np.float32))


def momentum(
    weights: list[gr.Parameter], gradients: list[gr.Expr], rate: gr.Expr
) -> dict[gr.Parameter, gr.Expr]:
    """``v <- m v + g`` and ``w <- w - rate v``, as graphs."""
    updates: dict[gr.Parameter, gr.Expr] = {}
    for w, g in zip(weights, gradients, strict=True):
        v = gr.parameter(f"v_{w.name}", np.zeros_like(w.value), trainable=False)
        updates[v] = MOMENTUM * v + g
        updates[w] = w - rate * updates[v]
    return updates


# Training


def train(step: gr.CompiledFunction, examples: Examples) -> list[float]:
    """Mean loss of each epoch; the rate falls to zero along half a cosine."""
    rng = np.random.default_rng(SEED)
    curve = []
    epochs = tqdm(range(EPOCHS), unit="epoch", disable=not sys.stderr.isatty())
    for epoch in epochs:
        rate = np.float32(RATE * (1 + np.cos(np.pi * epoch / EPOCHS)) / 2)
        losses = [step(b.images, b.digits, rate)[0] for b in examples.batches(rng)]
        curve.append(float(np.mean(losses)))
        epochs.set_postfix(loss=f"{curve[-1]:.4f}")
    return curve


def main() -> int:
    known, held_out = split()
    rng = np.random.default_rng(SEED)

    x = gr.tensor("x", ("batch", 64))
    t = gr.tensor("t", ("batch",), dtype="int64")
    rate = gr.scalar("rate")
    W1, b1 = layer(64, HIDDEN, "1", rng)
    W2, b2 = layer(HIDDEN, 10, "2", rng)
    logits = gr.nn.relu(x @ W1 + b1) @ W2 + b2
    loss = gr.nn.cross_entropy(logits, t)
    accuracy = gr.nn.accuracy(logits, t)

    weights = [W1, b1, W2, b2]
    gradients = gr.grad(loss, weights)
    step = gr.compile(
        [x, t, rate], [loss, accuracy], updates=momentum(weights, gradients, rate), name="step"
    )
    evaluate = gr.compile([x, t], [loss, accuracy], name="evaluate")
    print(step.report())

    start = time.perf_counter()
    curve = train(step, known)
    print(f"{EPOCHS} epochs in {time.perf_counter() - start:.1f} s")
    print(f"epoch {EPOCHS}: loss {curve[-1]:.5f} (first epoch: {curve[0]:.3f})")
    share = float(evaluate(held_out.images, held_out.digits)[1])
    print(f"held-out digits right: {share:.2%} of {HELD_OUT}")

    functions = {
        "loss": gr.compile([x, t], loss, name="loss"),
        "gradient": gr.compile([x, t], gradients, name="gradient"),
    }
    sample = [held_out.images[:32], held_out.digits[:32], np.float32(RATE)]
    for path in write(step, sample, functions, curve):
        print(f"  {path} ({path.stat().st_size:,} bytes)")
    return 0 if share >= WANTED else 1


# Files


def write(
    step: gr.CompiledFunction,
    sample: list[Any],
    functions: dict[str, gr.CompiledFunction],
    curve: list[float],
) -> list[Path]:
    """Pictures, formulas and native code, in build/demo."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name, f in functions.items():
        gr.draw(f, OUT / f"{name}_before.svg", stage="input")
        gr.draw(f, OUT / f"{name}_after.svg", stage="stabilize")
    gr.draw(step, OUT / "step.html", inputs=sample)
    texts = {
        "gradient.txt": gr.show(functions["gradient"], stage="stabilize"),
        "gradient.tex": gr.to_latex(functions["gradient"], stage="stabilize"),
        "loops.txt": gr.show(step, stage="loops"),
        "report.txt": str(step.report()),
        "step.ll": step.llvm_ir,
        "step.s": step.asm,
    }
    for name, text in texts.items():
        (OUT / name).write_text(text + "\n")
    (OUT / "step.o").write_bytes(step.object_code)
    np.savetxt(OUT / "curve.csv", curve, fmt="%.6f", header="loss", comments="")
    return sorted(OUT.iterdir())


if __name__ == "__main__":
    sys.exit(main())
