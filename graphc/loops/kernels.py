"""Nodes with kernels of their own: contractions, joins, pads, scans, scatters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from graphc.expr import Expr, constant_value
from graphc.loops.access import Access, contiguous, merge_letters, resolve
from graphc.loops.group import Fusion
from graphc.loops.indices import is_inside
from graphc.loops.ir import (
    PARALLEL_WORK,
    Accumulate,
    Accumulator,
    Buffer,
    CheckedIndex,
    Compute,
    Const,
    ContractionKernel,
    Index,
    Kernel,
    Load,
    Loop,
    LoopKernel,
    Operand,
    Statement,
    Store,
)
from graphc.loops.parts import origin, parts
from graphc.loops.rolled import rolled_kernels
from graphc.ops.contraction import axis_sizes, parse
from graphc.types import Shape, Size, int64, product, same_size

BufferOf = Callable[[Expr], Buffer]


def own_kernels(node: Expr, fusion: Fusion, buffer_of: BufferOf, name: str) -> list[Kernel]:
    """The kernels of one node that fusion leaves alone."""
    build = {
        "contract": _contraction,
        "concatenate": _concatenate,
        "pad": _pad,
        "cumsum": _scan,
        "cumprod": _scan,
        "scatter_add": _scatter,
        "rolled": rolled_kernels,
    }[node.op.name]
    return build(node, fusion, buffer_of, name)


def _access(x: Expr, fusion: Fusion) -> Access:
    access = resolve(x, fusion.place)
    assert access is not None, f"{x!r} has no memory"
    return access


def _flat(vars: Sequence[str], strides: Sequence[Size], offset: Size = 0) -> Index:
    terms = [(v, s) for v, s in zip(vars, strides, strict=True) if v and not same_size(s, 0)]
    return Index(tuple(terms), offset)


def _nest(
    shape: Shape, body: Sequence[Statement], *, parallel: bool = True, cost: int = 1
) -> tuple[Statement, ...]:
    """Loops ``i0, i1, ...`` over a shape, the innermost as vectors."""
    inner: tuple[Statement, ...] = tuple(body)
    for axis in range(len(shape))[::-1]:
        work = product(shape[axis + 1 :]) * cost
        size = shape[axis]
        total = size * work
        heavy = not isinstance(total, int) or total >= PARALLEL_WORK
        inner = (
            Loop(
                f"i{axis}",
                size,
                "vector" if axis == len(shape) - 1 else "serial",
                inner,
                parallel=parallel and axis == 0 and heavy,
                work=work,
            ),
        )
    return inner


def _vars(shape: Shape) -> list[str]:
    return [f"i{a}" for a in range(len(shape))]


def _bytes(node: Expr) -> Size:
    return node.type.nbytes + sum((a.type.nbytes for a in node.args), start=0)


def copy_kernel(source: Buffer, target: Buffer, name: str, label: str) -> LoopKernel:
    """Copy a whole buffer."""
    size = product(target.shape)
    index = Index((("i0", 1),))
    body: list[Statement] = [Load("v", source, index), Store(target, index, "v")]
    return LoopKernel(name, _nest((size,), body), label, 0, size * (2 * target.dtype.itemsize))


# contract ------------------------------------------------------------------------------------


def _contraction(node: Expr, fusion: Fusion, buffer_of: BufferOf, name: str) -> list[Kernel]:
    """Letters become batch, row, inner and column axes of matrix products.

    Letters of one role are merged where their strides allow in every operand; further letters
    of rows and columns are batches.
    """
    left, right = node.args
    a, b, c = parse(node.attrs["subscripts"])
    sizes = axis_sizes(node.attrs["subscripts"], left.type, right.type)
    accesses = [_access(left, fusion), _access(right, fusion)]
    strides = [
        dict(zip(a, accesses[0].strides, strict=True)),
        dict(zip(b, accesses[1].strides, strict=True)),
        dict(zip(c, contiguous(node.shape), strict=True)),
    ]
    batch = [x for x in c if x in a and x in b]
    rows, batch_rows = merge_letters(
        [x for x in c if x in a and x not in b], sizes, strides[0], strides[2]
    )
    columns, batch_columns = merge_letters(
        [x for x in c if x in b and x not in a], sizes, strides[1], strides[2]
    )
    inner, rest = merge_letters(
        [x for x in a if x in b and x not in c], sizes, strides[0], strides[1]
    )
    assert not rest, "inner letters are made mergeable before fusion"
    batches = [*batch, *batch_rows, *batch_columns]

    def operand(index: int, buffer: Buffer, row: str, column: str, offset: Size) -> Operand:
        own = strides[index]
        return Operand(
            buffer,
            tuple(own.get(x, 0) for x in batches),
            own.get(row[-1:], 0),
            own.get(column[-1:], 0),
            offset,
        )

    m, k, n = (product(sizes[x] for x in letters) for letters in (rows, inner, columns))
    count = product(sizes[x] for x in batches)
    kernel = ContractionKernel(
        name,
        operand(0, buffer_of(accesses[0].base), rows, inner, accesses[0].offset),
        operand(1, buffer_of(accesses[1].base), inner, columns, accesses[1].offset),
        operand(2, buffer_of(node), rows, columns, 0),
        tuple(sizes[x] for x in batches),
        m,
        k,
        n,
        node.dtype,
        label=node.attrs["subscripts"],
        flops=2 * (m * k) * n * count,
        nbytes=_bytes(node),
    )
    return [kernel]


# concatenate, pad ----------------------------------------------------------------------------


def _concatenate(node: Expr, fusion: Fusion, buffer_of: BufferOf, name: str) -> list[Kernel]:
    place = _access(node, fusion)
    out = buffer_of(place.base)
    kernels: list[Kernel] = []
    for number, (x, part) in enumerate(parts(node, place)):
        if origin(x) not in fusion.parts:
            target = _flat(_vars(x.shape), _steps(x.shape, part.strides), part.offset)
            title = f"{name}_{number}"
            kernels.append(_copy_into(x, fusion, buffer_of, out, target, title, "concatenate"))
    return kernels


def _steps(shape: Shape, strides: Sequence[Size]) -> list[Size]:
    return [0 if same_size(s, 1) else t for s, t in zip(shape, strides, strict=True)]


def _copy_into(
    x: Expr,
    fusion: Fusion,
    buffer_of: BufferOf,
    out: Buffer,
    target: Index,
    name: str,
    label: str,
) -> LoopKernel:
    value = constant_value(x)
    if value is not None and not fusion.owns_memory(x):
        read: Statement = Const("v", x.dtype, value.reshape(-1)[0].item())
    else:
        access = _access(x, fusion)
        steps = _steps(x.shape, access.strides)
        index = _flat(_vars(x.shape), steps, access.offset)
        read = Load("v", buffer_of(access.base), index)
    body = [read, Store(out, target, "v")]
    return LoopKernel(name, _nest(x.shape, body), label, 0, 2 * x.type.nbytes)


def _pad(node: Expr, fusion: Fusion, buffer_of: BufferOf, name: str) -> list[Kernel]:
    x, fill = node.args
    out = buffer_of(node)
    size = node.type.size
    value = constant_value(fill)
    if value is not None and not fusion.owns_memory(fill):
        read: Const | Load = Const("v", fill.dtype, value.reshape(-1)[0].item())
    else:
        access = _access(fill, fusion)
        read = Load("v", buffer_of(access.base), Index((), access.offset))
    read = replace(read, name="fill")
    full = [product(node.shape[a + 1 :]) for a in range(node.ndim)]
    offset: Size = 0
    strides: list[Size] = []
    for (low, _, inner), step, s in zip(node.attrs["widths"], full, x.shape, strict=True):
        offset = offset + step * low
        strides.append(0 if same_size(s, 1) else step * (inner + 1))
    target = _flat(_vars(x.shape), strides, offset)
    inside = _copy_into(x, fusion, buffer_of, out, target, f"{name}_inside", "pad")
    width = product(node.shape[1:])
    if node.ndim > 1 and node.attrs["widths"][0] == (0, 0, 0) and not same_size(width, 1):
        (rows,) = inside.body
        assert isinstance(rows, Loop)
        row = Store(out, Index((("i0", width), ("f", 1))), "fill")
        fill_row = Loop("f", width, "vector", (row,))
        body = read, replace(rows, body=(fill_row, *rows.body))
        return [replace(inside, name=name, body=body)]
    everywhere = _nest((size,), [Store(out, Index((("i0", 1),)), "fill")])
    return [LoopKernel(f"{name}_fill", (read, *everywhere), "pad", 0, node.type.nbytes), inside]


# scans ---------------------------------------------------------------------------------------


def _scan(node: Expr, fusion: Fusion, buffer_of: BufferOf, name: str) -> list[Kernel]:
    """A running accumulator along the axis; lanes run over an axis inside it."""
    access = _access(node.args[0], fusion)
    out = buffer_of(node)
    axis, n = node.attrs["axis"], node.shape[node.attrs["axis"]]
    strides = contiguous(node.shape)
    names = _vars(node.shape)
    first: Size = n - 1 if node.attrs["reverse"] else 0
    sign = -1 if node.attrs["reverse"] else 1

    def index(steps: Sequence[Size], offset: Size) -> Index:
        signed = [s * sign if a == axis else s for a, s in enumerate(steps)]
        return _flat(names, signed, offset + first * steps[axis])

    kind = "sum" if node.op.name == "cumsum" else "prod"
    load = Load("x", buffer_of(access.base), index(access.strides, access.offset))
    store = Store(out, index(strides, 0), "total")
    add = Accumulate("total", "x")
    body: list[Statement] = (
        [load, store, add] if node.attrs["exclusive"] else [load, add, store]
    )
    total = Accumulator("total", kind, node.dtype)  # type: ignore[arg-type]
    nest: tuple[Statement, ...] = (Loop(names[axis], n, "serial", tuple(body), (total,)),)
    others = [a for a in range(node.ndim) if a != axis]
    for a in reversed(others):
        size = node.shape[a]
        vector = a == others[-1] and a > axis and not same_size(size, 1)
        nest = (Loop(names[a], size, "vector" if vector else "serial", nest),)
    return [LoopKernel(name, nest, node.op.name, node.type.size, _bytes(node))]


# scatter_add ---------------------------------------------------------------------------------


def _scatter(node: Expr, fusion: Fusion, buffer_of: BufferOf, name: str) -> list[Kernel]:
    updates, index = node.args
    out = buffer_of(node)
    axis = node.attrs["axis"]
    zero = Const("z", node.dtype, False if node.dtype.is_bool else 0)
    clear = _nest((node.type.size,), [Store(out, Index((("i0", 1),)), "z")])
    fill = LoopKernel(f"{name}_zero", (zero, *clear), "scatter_add", 0, node.type.nbytes)
    values, places = _access(updates, fusion), _access(index, fusion)
    names, known = _vars(updates.shape), is_inside(index, node.attrs["size"])
    apart = known and _are_apart(index, axis)
    place = "at" if known else "place"
    body: list[Statement] = [
        Load("raw", buffer_of(places.base), _flat(names, places.strides, places.offset)),
        Compute("at", "cast", ("raw",), int64),
        *([] if known else [CheckedIndex(place, "at", node.attrs["size"])]),
        Load("x", buffer_of(values.base), _flat(names, values.strides, values.offset)),
        Store(out, _target(names, node, axis, place), "x", add=not apart),
    ]
    inner: tuple[Statement, ...] = tuple(body)
    last = updates.ndim - 1
    for a in range(updates.ndim)[::-1]:
        kind = "vector" if a == last and (apart or a != axis) else "serial"
        inner = (Loop(names[a], updates.shape[a], kind, inner),)  # type: ignore[arg-type]
    kernel = LoopKernel(f"{name}_add", inner, "scatter_add", updates.type.size, _bytes(node))
    return [fill, kernel]


def _are_apart(index: Expr, axis: int) -> bool:
    """Whether a constant index names no element twice."""
    value = constant_value(index)
    assert value is not None
    return bool(np.diff(np.sort(value, axis), axis=axis).all())


def _target(names: Sequence[str], node: Expr, axis: int, place: str) -> Index:
    full = [product(node.shape[a + 1 :]) for a in range(node.ndim)]
    terms = [
        (place if a == axis else v, s) for a, (v, s) in enumerate(zip(names, full, strict=True))
    ]
    return Index(tuple(terms))
