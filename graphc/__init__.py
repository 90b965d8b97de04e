"""graphc: a compiler for symbolic computational graphs.

Write a function as a graph of expressions, differentiate it into graphs, look at them,
and compile forward, backward and update together to native code.
"""

from importlib import import_module as _import
from typing import TYPE_CHECKING
from typing import Any as _Any

from graphc import errors as errors
from graphc import nn as nn
from graphc.compiler import compile as compile
from graphc.diff.batching import vmap as vmap
from graphc.diff.checkpoint import checkpoint as checkpoint
from graphc.diff.custom import custom_gradient as custom_gradient
from graphc.diff.custom import stop_gradient as stop_gradient
from graphc.diff.forward import jvp as jvp
from graphc.diff.forward import linearize as linearize
from graphc.diff.higher import hessian as hessian
from graphc.diff.higher import hvp as hvp
from graphc.diff.higher import jacobian as jacobian
from graphc.diff.higher import jacobian_cost as jacobian_cost
from graphc.diff.paths import adjoints as adjoints
from graphc.diff.paths import count_paths as count_paths
from graphc.diff.paths import paths as paths
from graphc.diff.reverse import grad as grad
from graphc.diff.reverse import value_and_grad as value_and_grad
from graphc.diff.reverse import vjp as vjp
from graphc.diff.sparse import SparseMatrix as _SparseMatrix
from graphc.diff.sparsity import sparsity as sparsity
from graphc.diff.symbolic import diff as diff
from graphc.errors import GraphcError as GraphcError
from graphc.expr import Expr as Expr
from graphc.expr import constant as constant
from graphc.expr import default_dtype as default_dtype
from graphc.function import CompiledFunction as CompiledFunction
from graphc.functions.operators import attach as _attach
from graphc.functions.operators import power as power
from graphc.functions.statistics import mean as mean
from graphc.functions.statistics import std as std
from graphc.functions.statistics import var as var
from graphc.ops.contraction import diagonal as diagonal
from graphc.ops.contraction import dot as dot
from graphc.ops.contraction import einsum as einsum
from graphc.ops.contraction import matmul as matmul
from graphc.ops.contraction import outer as outer
from graphc.ops.elementwise import abs as abs
from graphc.ops.elementwise import acos as acos
from graphc.ops.elementwise import acosh as acosh
from graphc.ops.elementwise import add as add
from graphc.ops.elementwise import asin as asin
from graphc.ops.elementwise import asinh as asinh
from graphc.ops.elementwise import atan as atan
from graphc.ops.elementwise import atan2 as atan2
from graphc.ops.elementwise import atanh as atanh
from graphc.ops.elementwise import bitwise_and as bitwise_and
from graphc.ops.elementwise import bitwise_invert as bitwise_invert
from graphc.ops.elementwise import bitwise_or as bitwise_or
from graphc.ops.elementwise import bitwise_xor as bitwise_xor
from graphc.ops.elementwise import cast as cast
from graphc.ops.elementwise import ceil as ceil
from graphc.ops.elementwise import clip as clip
from graphc.ops.elementwise import copysign as copysign
from graphc.ops.elementwise import cos as cos
from graphc.ops.elementwise import cosh as cosh
from graphc.ops.elementwise import div as divide
from graphc.ops.elementwise import equal as equal
from graphc.ops.elementwise import erf as erf
from graphc.ops.elementwise import erfc as erfc
from graphc.ops.elementwise import exp as exp
from graphc.ops.elementwise import exp2 as exp2
from graphc.ops.elementwise import expm1 as expm1
from graphc.ops.elementwise import floor as floor
from graphc.ops.elementwise import floor_divide as floor_divide
from graphc.ops.elementwise import greater as greater
from graphc.ops.elementwise import greater_equal as greater_equal
from graphc.ops.elementwise import hypot as hypot
from graphc.ops.elementwise import isfinite as isfinite
from graphc.ops.elementwise import isinf as isinf
from graphc.ops.elementwise import isnan as isnan
from graphc.ops.elementwise import left_shift as left_shift
from graphc.ops.elementwise import less as less
from graphc.ops.elementwise import less_equal as less_equal
from graphc.ops.elementwise import log as log
from graphc.ops.elementwise import log1p as log1p
from graphc.ops.elementwise import log2 as log2
from graphc.ops.elementwise import log10 as log10
from graphc.ops.elementwise import logaddexp as logaddexp
from graphc.ops.elementwise import logical_and as logical_and
from graphc.ops.elementwise import logical_not as logical_not
from graphc.ops.elementwise import logical_or as logical_or
from graphc.ops.elementwise import logical_xor as logical_xor
from graphc.ops.elementwise import maximum as maximum
from graphc.ops.elementwise import minimum as minimum
from graphc.ops.elementwise import mul as multiply
from graphc.ops.elementwise import neg as negative
from graphc.ops.elementwise import nextafter as nextafter
from graphc.ops.elementwise import not_equal as not_equal
from graphc.ops.elementwise import positive as positive
from graphc.ops.elementwise import reciprocal as reciprocal
from graphc.ops.elementwise import remainder as remainder
from graphc.ops.elementwise import right_shift as right_shift
from graphc.ops.elementwise import round as round
from graphc.ops.elementwise import sigmoid as sigmoid
from graphc.ops.elementwise import sign as sign
from graphc.ops.elementwise import signbit as signbit
from graphc.ops.elementwise import sin as sin
from graphc.ops.elementwise import sinh as sinh
from graphc.ops.elementwise import sqrt as sqrt
from graphc.ops.elementwise import square as square
from graphc.ops.elementwise import sub as subtract
from graphc.ops.elementwise import tan as tan
from graphc.ops.elementwise import tanh as tanh
from graphc.ops.elementwise import trunc as trunc
from graphc.ops.elementwise import where as where
from graphc.ops.indexing import arange as arange
from graphc.ops.indexing import one_hot as one_hot
from graphc.ops.indexing import scatter_add as scatter_add
from graphc.ops.indexing import take as take
from graphc.ops.indexing import take_along_axis as take_along_axis
from graphc.ops.leaves import Parameter as Parameter
from graphc.ops.leaves import iota as iota
from graphc.ops.leaves import matrix as matrix
from graphc.ops.leaves import parameter as parameter
from graphc.ops.leaves import scalar as scalar
from graphc.ops.leaves import tensor as tensor
from graphc.ops.leaves import vector as vector
from graphc.ops.movement import broadcast_to as broadcast_to
from graphc.ops.movement import concatenate as concatenate
from graphc.ops.movement import expand_dims as expand_dims
from graphc.ops.movement import flip as flip
from graphc.ops.movement import moveaxis as moveaxis
from graphc.ops.movement import pad as pad
from graphc.ops.movement import ravel as ravel
from graphc.ops.movement import reshape as reshape
from graphc.ops.movement import split as split
from graphc.ops.movement import squeeze as squeeze
from graphc.ops.movement import stack as stack
from graphc.ops.movement import swapaxes as swapaxes
from graphc.ops.movement import tile as tile
from graphc.ops.movement import transpose as transpose
from graphc.ops.reduction import all as all
from graphc.ops.reduction import any as any
from graphc.ops.reduction import argmax as argmax
from graphc.ops.reduction import argmin as argmin
from graphc.ops.reduction import cumprod as cumprod
from graphc.ops.reduction import cumsum as cumsum
from graphc.ops.reduction import logsumexp as logsumexp
from graphc.ops.reduction import max as max
from graphc.ops.reduction import min as min
from graphc.ops.reduction import norm as norm
from graphc.ops.reduction import prod as prod
from graphc.ops.reduction import softmax as softmax
from graphc.ops.reduction import sum as sum
from graphc.origin import scope as scope
from graphc.types import Dim as Dim
from graphc.types import DType as DType
from graphc.types import TensorType as TensorType
from graphc.types import bool_ as bool_
from graphc.types import float32 as float32
from graphc.types import float64 as float64
from graphc.types import int8 as int8
from graphc.types import int32 as int32
from graphc.types import int64 as int64
from graphc.types import uint8 as uint8

if TYPE_CHECKING:
    from graphc import testing as testing
    from graphc.contracts import assert_cost as assert_cost
    from graphc.contracts import assert_one_kernel as assert_one_kernel
    from graphc.contracts import assert_workspace as assert_workspace
    from graphc.inspect.health.gradients import gradient_norms as gradient_norms
    from graphc.inspect.pictures.draw import draw as draw
    from graphc.inspect.tables.sweep import sweep as sweep
    from graphc.inspect.tables.swell import swell as swell
    from graphc.inspect.text.formula import formula as formula
    from graphc.inspect.text.latex import to_latex as to_latex
    from graphc.inspect.text.listing import show as show
    from graphc.interop.elementwise_op import elementwise_op as elementwise_op
    from graphc.interop.from_sympy import from_sympy as from_sympy
    from graphc.interop.numpy_source import to_python as to_python
    from graphc.interop.to_networkx import to_networkx as to_networkx
    from graphc.interop.to_sympy import to_sympy as to_sympy
    from graphc.rewrite.cse import cse as cse

# NumPy's and the array API's other spellings.
arccos, arccosh, arcsin, arcsinh = acos, acosh, asin, asinh
arctan, arctan2, arctanh = atan, atan2, atanh
absolute, mod, rint, true_divide = abs, remainder, round, divide
pow = power
invert = bitwise_not = bitwise_invert
permute_dims, concat, amax, amin = transpose, concatenate, max, min

_attach()

#: Rooms that are imported when a name of theirs is first used.
_LATER = {
    "graphc.contracts": ("assert_cost", "assert_one_kernel", "assert_workspace"),
    "graphc.inspect": (
        "draw",
        "formula",
        "gradient_norms",
        "show",
        "sweep",
        "swell",
        "to_latex",
    ),
    "graphc.interop": (
        "elementwise_op",
        "from_sympy",
        "to_networkx",
        "to_python",
        "to_sympy",
    ),
    "graphc.rewrite": ("cse",),
    "graphc.testing": (),
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> _Any:
        for room, names in _LATER.items():
            if name in names or room == f"graphc.{name}":
                found = _import(room)
                globals()[name] = found if room == f"graphc.{name}" else getattr(found, name)
                return globals()[name]
        raise AttributeError(_unknown(name))

    def _unknown(name: str) -> str:
        """What a name that is not there may have been meant to be."""
        from difflib import get_close_matches

        known = {n: f"gr.{n}" for n in __dir__() if n[0] != "_"}
        known |= {n: f"gr.nn.{n}" for n in dir(nn) if n[0] != "_" and n not in known}
        near = [known[n] for n in get_close_matches(name, known, 2, 0.7)]
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        return f"module 'graphc' has no attribute {name!r}{hint}"

    def __dir__() -> list[str]:
        return sorted({*globals(), *(n for names in _LATER.values() for n in names)})


def _shown(by: str) -> _Any:
    """A method by which notebooks show an object."""
    return lambda x: getattr(_import("graphc.inspect"), by)(x)


for _cls, _method, _by in (
    (Expr, "_repr_svg_", "expr_svg"),
    (Expr, "_repr_latex_", "expr_latex"),
    (_SparseMatrix, "_repr_svg_", "sparse_svg"),
):
    setattr(_cls, _method, _shown(_by))

__version__ = "0.1.0"
