"""Functions that NumPy has not. Their source text is copied into what `to_python` writes.

So each stands alone: nothing but ``np`` and ``math`` may be named outside.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), without overflow."""
    wide = np.asarray(x, np.float64)
    decay = np.exp(-np.abs(wide))
    return (np.where(np.signbit(wide), decay, 1.0) / (1.0 + decay)).astype(x.dtype)


def softplus(x: Any) -> Any:
    """log(1 + exp(x)), without overflow."""
    return np.logaddexp(np.asarray(x, np.float64), 0.0).astype(x.dtype)


def erf(x: Any) -> Any:
    """Error function."""
    return np.vectorize(math.erf, otypes=[np.float64])(x).astype(x.dtype)


def erfc(x: Any) -> Any:
    """Complementary error function."""
    return np.vectorize(math.erfc, otypes=[np.float64])(x).astype(x.dtype)


def logsumexp(x: Any, axes: Any, keepdims: Any) -> Any:
    """log(sum(exp(x))), shifted by the maximum."""
    if 0 in [x.shape[a] for a in axes]:
        return np.full_like(np.sum(x, axis=axes, keepdims=keepdims), -np.inf)
    top = np.max(x, axis=axes, keepdims=True)
    shift = np.where(np.isfinite(top), top, np.zeros_like(top))
    total = np.sum(np.exp(x - shift), axis=axes, keepdims=keepdims)
    return np.log(total) + (shift if keepdims else np.squeeze(shift, axes))


def softmax(x: Any, axes: Any) -> Any:
    """exp(x) / sum(exp(x)), shifted by the maximum."""
    if x.size == 0:
        return x.copy()
    top = np.max(x, axis=axes, keepdims=True)
    e = np.exp(x - np.where(np.isfinite(top), top, np.zeros_like(top)))
    return e / np.sum(e, axis=axes, keepdims=True)


def norm(x: Any, axes: Any, keepdims: Any) -> Any:
    """Square root of the sum of squares, without overflow."""
    if 0 in [x.shape[a] for a in axes]:
        return np.sum(x, axis=axes, keepdims=keepdims)
    wide = x.astype(np.float64)
    top = np.max(np.abs(wide), axis=axes, keepdims=True)
    scale = np.where((top == 0) | np.isinf(top), 1.0, top)
    root = np.sqrt(np.sum(np.square(wide / scale), axis=axes, keepdims=True)) * scale
    return (root if keepdims else np.squeeze(root, axes)).astype(x.dtype)


def scan(ufunc: Any, x: Any, axis: Any, exclusive: Any, reverse: Any) -> Any:
    """Running sums or products; exclusive leaves the element itself out."""
    y = np.flip(x, axis) if reverse else x
    total = ufunc.accumulate(y, axis=axis, dtype=x.dtype)
    if exclusive and x.shape[axis]:
        first = np.full_like(np.take(total, [0], axis=axis), ufunc.identity)
        kept = np.take(total, range(x.shape[axis] - 1), axis=axis)
        total = np.concatenate([first, kept], axis=axis)
    return np.flip(total, axis) if reverse else total


def take_ranges(x: Any, ranges: Any) -> Any:
    """Elements start, start + step, ... along every axis."""
    for axis, (start, length, step) in enumerate(ranges):
        x = np.take(x, np.arange(length) * step + start, axis=axis)
    return x


def pad(x: Any, value: Any, widths: Any) -> Any:
    """Surround with a value; widths are (before, after, between elements) for each axis."""
    sizes = [
        low + high + (n and (n - 1) * (inner + 1) + 1)
        for n, (low, high, inner) in zip(x.shape, widths, strict=True)
    ]
    out = np.full(sizes, value, x.dtype)
    inside = tuple(
        slice(low, low + n * (inner + 1), inner + 1) if n else slice(0, 0)
        for n, (low, _, inner) in zip(x.shape, widths, strict=True)
    )
    out[inside] = x
    return out


def gather(x: Any, index: Any, axis: Any) -> Any:
    """Elements at positions along an axis, counted from its start only."""
    if (index < 0).any():
        raise IndexError("a position is negative")
    return np.take_along_axis(x, index, axis)


def scatter_add(updates: Any, index: Any, axis: Any, size: Any) -> Any:
    """Zeros, with values added at positions along an axis."""
    shape = list(updates.shape)
    shape[axis] = size
    out = np.zeros(shape, updates.dtype)
    where = list(np.indices(index.shape, sparse=True))
    where[axis] = index
    np.add.at(out, tuple(where), updates)
    return out
