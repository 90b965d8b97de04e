"""Checks that users and the tests of graphc share: operands for every operation, gradients.

`samples` draws operands from an operation's row in the table; `check_grads` compares
derivatives of any function with differences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import numpy as np

from graphc.diff.custom import Rule
from graphc.diff.gradient_check import check_grads as check_grads
from graphc.errors import DTypeError, UnsupportedOpError
from graphc.expr import Attrs, Expr, apply, constant
from graphc.ops import OPS, Op
from graphc.ops.leaves import tensor
from graphc.types import DTYPES, DType, TensorType, float64, from_numpy, int64, uint8

Array: TypeAlias = "np.ndarray[Any, Any]"
Shapes: TypeAlias = "tuple[tuple[int, ...], ...]"
Layout: TypeAlias = "tuple[Shapes, dict[str, Any]]"


# Operands for operations --------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Sample:
    """One use of an operation: arrays for its operands, and its constants.

    Attributes
    ----------
    op
        The operation.
    arrays
        One array for each operand, drawn from the operation's domain.
    attrs
        The constants of the node (axes, target type...).
    """

    op: Op
    arrays: tuple[Array, ...]
    attrs: Mapping[str, Any]

    @property
    def name(self) -> str:
        """``add-float32[2,3]-float32[3]-axis=0``"""
        operands = [f"{a.dtype}[{','.join(map(str, a.shape))}]" for a in self.arrays]
        constants = [f"{k}={v}" for k, v in self.attrs.items()]
        return "-".join([self.op.name, *operands, *constants]).replace(" ", "")

    def build(self, *operands: Expr) -> Expr:
        """The operation applied to expressions of the arrays' types."""
        return apply(self.op, operands, self.attrs)

    def leaves(self) -> list[Expr]:
        """Inputs that the arrays fit."""
        return [
            tensor(f"x{i}", a.shape, from_numpy(a.dtype)) for i, a in enumerate(self.arrays)
        ]


#: Operand shapes of elementwise operations: one operand, two, three.
ELEMENTWISE_SHAPES: dict[int, list[Shapes]] = {
    1: [((),), ((0,),), ((1,),), ((7,),), ((3, 5),), ((2, 1, 17),)],
    2: [
        ((), ()),
        ((0,), (1,)),
        ((7,), (7,)),
        ((3, 5), (5,)),
        ((3, 1), (1, 5)),
        ((), (2, 3, 17)),
    ],
    3: [((), (), ()), ((0,), (), (1,)), ((3, 5), (5,), (3, 1)), ((1,), (2, 9), ())],
}


def _structured() -> dict[str, list[Layout]]:
    """Operand shapes and constants of operations that have some."""
    axes: list[tuple[Shapes, tuple[int, ...], bool]] = [
        (((),), (), False),
        (((5,),), (0,), False),
        (((3, 5),), (1,), True),
        (((3, 5),), (0,), False),
        (((2, 3, 17),), (0, 2), False),
        (((2, 1, 4),), (1,), False),
        (((0, 3),), (1,), False),
    ]
    reduce: list[Layout] = [(s, {"axes": a, "keepdims": k}) for s, a, k in axes]
    empty: list[Layout] = [(((3, 0),), {"axes": (1,), "keepdims": False})]
    one_axis = [(s, c) for s, c in reduce if len(c["axes"]) == 1]
    lines: list[tuple[Shapes, int]] = [
        (((5,),), 0),
        (((2, 4, 3),), 1),
        (((3, 0),), 1),
        (((1,),), 0),
    ]
    scan: list[Layout] = [
        (s, {"axis": a, "exclusive": e, "reverse": r})
        for s, a in lines
        for e, r in product([False, True], repeat=2)
    ]
    gather: list[Layout] = [
        (((5,), (3,)), {"axis": 0}),
        (((4, 5), (4, 1)), {"axis": 1}),
        (((4, 5), (7, 5)), {"axis": 0}),
        (((4, 5), (4, 0)), {"axis": 1}),
    ]
    forward = [(shapes, {**attrs, "wrap": False}) for shapes, attrs in gather]
    table: dict[str, list[Layout]] = {
        **dict.fromkeys(["sum", "prod", "logsumexp", "norm"], reduce + empty),
        **dict.fromkeys(["any", "all"], reduce + empty),
        **dict.fromkeys(["max", "min"], reduce),
        **dict.fromkeys(["argmax", "argmin"], one_axis),
        "softmax": [(s, {"axes": c["axes"]}) for s, c in reduce + empty],
        **dict.fromkeys(["cumsum", "cumprod"], scan),
        "reshape": [
            (((6,),), {"shape": (2, 3)}),
            (((2, 3),), {"shape": (3, 1, 2)}),
            (((1,),), {"shape": ()}),
            (((0, 3),), {"shape": (5, 0)}),
        ],
        "copy": [(s, {}) for s in ELEMENTWISE_SHAPES[1]],
        "transpose": [
            (((3, 5),), {"axes": (1, 0)}),
            (((2, 3, 4),), {"axes": (2, 0, 1)}),
            (((2, 0, 4),), {"axes": (1, 2, 0)}),
        ],
        "broadcast_to": [
            (((),), {"shape": (3, 5)}),
            (((3, 1),), {"shape": (2, 3, 4)}),
            (((1,),), {"shape": (0,)}),
        ],
        "slice": [
            (((7,),), {"ranges": ((1, 3, 2),)}),
            (((7,),), {"ranges": ((6, 7, -1),)}),
            (((4, 5),), {"ranges": ((0, 4, 1), (4, 2, -3))}),
            (((4, 5),), {"ranges": ((2, 0, 1), (0, 5, 1))}),
        ],
        "pad": [
            (((3,), ()), {"widths": ((1, 2, 0),)}),
            (((2, 3), ()), {"widths": ((0, 0, 2), (1, 0, 1))}),
            (((2, 0), ()), {"widths": ((0, 1, 0), (1, 1, 3))}),
        ],
        "concatenate": [
            (((2,), (3,)), {"axis": 0}),
            (((2, 1), (2, 3), (2, 0)), {"axis": 1}),
        ],
        "gather": gather + forward,
        "scatter_add": [
            (((5,), (5,)), {"axis": 0, "size": 3}),
            (((4, 5), (4, 5)), {"axis": 1, "size": 4}),
            (((0, 5), (0, 5)), {"axis": 0, "size": 3}),
        ],
        "contract": [
            (((3, 5), (5, 2)), {"subscripts": "mk,kn->mn"}),
            (((2, 3, 5), (2, 5, 4)), {"subscripts": "amk,akn->amn"}),
            (((5,), (5,)), {"subscripts": "k,k->"}),
            (((3, 0), (0, 2)), {"subscripts": "mk,kn->mn"}),
            (((1, 17), (9, 17)), {"subscripts": "mk,nk->nm"}),
        ],
        "cast": [(s, {"dtype": d}) for s in ELEMENTWISE_SHAPES[1] for d in DTYPES.values()],
        "iota": [
            ((), {"shape": (2, 0, 3), "axis": 2, "dtype": int64}),
            ((), {"shape": (4, 3), "axis": 0, "dtype": float64}),
            ((), {"shape": (4, 3), "axis": 1, "dtype": float64}),
        ],
        "size": [((), {"size": 7, "dtype": int64})],
        "stop_gradient": [(s, {}) for s in ELEMENTWISE_SHAPES[1]],
        "custom_gradient": [
            (((3,),), {"rule": _CONSTANT}),
            (((2, 3), (2,)), {"rule": _CONSTANT}),
        ],
        "constant": [((), constant([[1.0, -2.5]]).attrs)],
    }
    return table


#: A rule for samples: the result does not follow the operands.
_CONSTANT = Rule("constant", vjp=lambda ct, out, *args: [None] * len(args))

#: Operands that have one element type whatever the others have: conditions and positions.
_FIXED_TYPES = {
    ("where", 0): "bool",
    ("any", 0): "bool",
    ("all", 0): "bool",
    ("gather", 1): "int64",
    ("scatter_add", 1): "int64",
}


def samples(op: Op | str, dtypes: Sequence[str] | None = None, seed: int = 0) -> list[Sample]:
    """Uses of an operation on small arrays: empty, of one element, odd, broadcast.

    Parameters
    ----------
    op
        The operation or its name.
    dtypes
        Element types of the operands to try, by default all; those that the operation does
        not take are left out.

    Raises
    ------
    UnsupportedOpError
        If nothing is known about the operation's constants.

    Examples
    --------
    >>> import graphc as gr
    >>> [s.name for s in gr.testing.samples("sin", ["float32"])][:3]
    ['sin-float32[]', 'sin-float32[0]', 'sin-float32[1]']
    """
    row = OPS[op] if isinstance(op, str) else op
    rng = np.random.default_rng(seed)
    found: dict[str, Sample] = {}
    for shapes, attrs in _layouts(row):
        for dtype in dtypes if dtypes is not None else DTYPES:
            types = [_FIXED_TYPES.get((row.name, i), dtype) for i in range(len(shapes))]
            if not _takes(row, types, shapes, attrs):
                continue
            arrays = [
                _draw(row, i, shape, DTYPES[d], attrs, rng)
                for i, (shape, d) in enumerate(zip(shapes, types, strict=True))
            ]
            sample = Sample(row, tuple(arrays), attrs)
            found.setdefault(sample.name, sample)
    return list(found.values())


def _layouts(op: Op) -> list[Layout]:
    """Operand shapes and constants to try."""
    if op.name in ("input", "parameter"):
        return []
    known = _structured().get(op.name)
    if known is not None:
        return known
    if op.family != "elementwise":
        raise UnsupportedOpError(f"there are no samples for {op.name}")
    return [(shapes, {}) for shapes in ELEMENTWISE_SHAPES[len(op.roles)]]


def _takes(op: Op, types: Sequence[str], shapes: Shapes, attrs: Mapping[str, Any]) -> bool:
    """Whether the operation computes in these element types."""
    given = tuple(DTYPES[d] for d in types)
    try:
        if op.promote is not None:
            return op.promote(*given) == given
        op.infer([TensorType(d, s) for d, s in zip(given, shapes, strict=True)], Attrs(attrs))
    except (DTypeError, TypeError):
        return False
    return True


def _draw(
    op: Op,
    place: int,
    shape: tuple[int, ...],
    dtype: DType,
    attrs: Mapping[str, Any],
    rng: np.random.Generator,
) -> Array:
    """An array of operand ``place``, within the operation's domain."""
    if dtype.is_bool:
        return rng.integers(0, 2, shape).astype(bool)
    low, high = op.domain[min(place, len(op.domain) - 1)]
    if op.name in ("gather", "scatter_add") and place == 1:
        size = attrs.get("size", 4)
        return rng.integers(-size if attrs.get("wrap", True) else 0, size, shape)
    if dtype.is_integer:
        unsigned = dtype.name.startswith("u") or op.name == "pow"
        low = max(low, 0) if unsigned else low
        return rng.integers(math.ceil(low), math.floor(high) + 1, shape).astype(dtype.name)
    if attrs.get("dtype") is uint8:
        low = 0.0
    return np.asarray(rng.uniform(low, high, shape), dtype.name)
