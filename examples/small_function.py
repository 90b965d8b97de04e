"""A function of two numbers with its gradient, called with floats.

Run: python examples/small_function.py
"""

from __future__ import annotations

import math
import time

import graphc as gr


def surface(x: gr.Expr, y: gr.Expr) -> gr.Expr:
    """Some twenty operations on two numbers."""
    r = gr.sqrt(x * x + y * y + 1)
    wave = gr.sin(3 * r) * gr.exp(-0.5 * r) + gr.cos(x - y) / (1 + r)
    return wave + 0.1 * gr.tanh(x * y) - gr.log(1 + x * x * y * y)


def in_python(x: float, y: float) -> float:
    """The same with Python's own numbers."""
    r = math.sqrt(x * x + y * y + 1)
    wave = math.sin(3 * r) * math.exp(-0.5 * r) + math.cos(x - y) / (1 + r)
    return wave + 0.1 * math.tanh(x * y) - math.log(1 + x * x * y * y)


def main() -> None:
    x, y = gr.scalar("x", dtype="float64"), gr.scalar("y", dtype="float64")
    z = surface(x, y)
    f = gr.compile([x, y], [z, *gr.grad(z, [x, y])])
    value, dx, dy = f(0.7, -0.4)
    h = 1e-6
    central = (in_python(0.7 + h, -0.4) - in_python(0.7 - h, -0.4)) / (2 * h)
    print(f"value    {value: .12f}   by math  {in_python(0.7, -0.4): .12f}")
    print(f"d/dx     {dx: .9f}      by differences  {central: .9f}")
    print(f"d/dy     {dy: .9f}")
    print(f"a call with value and gradient takes {seconds_per_call(f) * 1e9:.0f} ns")


def seconds_per_call(f: gr.CompiledFunction, calls: int = 20_000) -> float:
    """Processor time of one call, the least of five measurements."""
    times = []
    for _ in range(5):
        start = time.thread_time()
        for _ in range(calls):
            f(0.7, -0.4)
        times.append(time.thread_time() - start)
    return min(times) / calls


if __name__ == "__main__":
    main()
