"""A graph as NumPy source text that runs without this package."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from inspect import getsource
from itertools import count
from typing import Any

import numpy as np

from graphc.errors import GraphError, UnsupportedOpError
from graphc.expr import Expr, Literal, describe
from graphc.graph import Graph
from graphc.inspect.subject import Compiled, Inspectable, subject_of
from graphc.inspect.text.notation import INFIX, matrix_product
from graphc.interop import numpy_helpers
from graphc.types import Dim, DType, same_size

HELPERS = ("sigmoid", "softplus", "erf", "erfc", "logsumexp", "softmax", "norm", "scan",
           "take_ranges", "pad", "gather", "scatter_add")  # fmt: skip
_RESERVED = {*keyword.kwlist, *dir(builtins), *HELPERS, "np", "math"}


def to_python(
    given: Inspectable,
    name: str = "f",
    *,
    inputs: Sequence[Expr] | None = None,
    stage: str | None = None,
) -> str:
    """Source text of a Python function that computes the graph with NumPy.

    The text imports only NumPy (and ``math`` for the error functions). Names that are no
    Python identifiers, or mean something already, are changed; text of the user's never
    becomes code. Operands are converted to the element types of the graph.

    Parameters
    ----------
    given
        One Expr (the function returns its value), a list of them (it returns a tuple), or a
        compiled function (it returns the outputs, then the new values of parameters).
    name
        Name of the function.
    inputs
        Its operands, in order. By default those of the compiled function, or the inputs in the
        order of their first use; then the parameters.
    stage
        Of a compiled function: the stage to write.

    Raises
    ------
    GraphError
        If the name is no identifier, or an input is missing.
    UnsupportedOpError
        If an operation has no NumPy text.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.vector("x", 3, dtype="float64")
    >>> print(gr.to_python(gr.grad(gr.sum(gr.exp(x)), x), "slope"))
    import numpy as np
    <BLANKLINE>
    <BLANKLINE>
    @np.errstate(all="ignore")
    def slope(x):
        x = np.asarray(x, np.float64)
        v1 = np.float64(1.0)
        v2 = np.reshape(v1, (1,))
        v3 = np.broadcast_to(v2, (3,))
        v4 = np.exp(x)
        v5 = v3 * v4
        return v5
    <BLANKLINE>
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name in _RESERVED:
        raise GraphError(f"to_python: {name!r} cannot be the name of a function")
    subject = subject_of(given, stage)
    nodes = subject.nodes()
    leaves = _leaves(nodes, _declared(given), inputs)
    identifiers = Identifiers([name])
    names = _names(nodes, leaves, identifiers)
    writer = _Writer(names, _size_names(leaves, identifiers))
    results = [names[root] for root in subject.roots]
    alone = len(results) == 1 and not isinstance(given, (list, tuple))
    lines = [
        f"def {name}({', '.join(names[x] for x in leaves)}):",
        *writer.statements(nodes, leaves),
        f"return {results[0] if alone else _tuple(results)}",
    ]
    return _module("\n    ".join(lines), writer.used)


def _module(function: str, used: set[str]) -> str:
    """The function with its imports and helpers."""
    header = "import numpy as np"
    if used & {"erf", "erfc"}:
        header = f"import math\n\n{header}"
    helpers = [_source(h) for h in HELPERS if h in used]
    decorated = f'@np.errstate(all="ignore")\n{function}\n'
    return "\n\n\n".join([header, *helpers, decorated])


def _declared(given: Inspectable) -> Sequence[Expr]:
    """Inputs that a compiled function says it has."""
    graph = given.snapshots[0].graph if isinstance(given, Compiled) else given
    return graph.inputs if isinstance(graph, Graph) else ()


def _leaves(
    nodes: Sequence[Expr], declared: Sequence[Expr], inputs: Sequence[Expr] | None
) -> list[Expr]:
    """The function's operands."""
    found = [*declared, *(n for n in nodes if n.op.name == "input")]
    found = list(dict.fromkeys([*found, *(n for n in nodes if n.op.name == "parameter")]))
    if inputs is None:
        return found
    missing = [n for n in found if n not in inputs]
    if missing:
        raise GraphError(
            f"to_python: {missing[0].name} is not among the inputs",
            where=describe([("leaf", n) for n in missing]),
        )
    return list(inputs)


# Names --------------------------------------------------------------------------------------


class Identifiers:
    """Python names like given ones, each handed out once."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = _RESERVED | set(taken)
        self._uses: dict[str, int] = {}

    def fresh(self, name: str) -> str:
        """The name itself if it can be: ASCII, no word of the language, not given before."""
        plain = re.sub(r"[^0-9a-zA-Z_]", "_", name)
        plain = text = plain if plain[:1].isalpha() else f"v_{plain}"
        while text in self._taken:
            self._uses[plain] = self._uses.get(plain, 1) + 1
            text = f"{plain}_{self._uses[plain]}"
        self._taken.add(text)
        return text

    def numbered(self) -> Iterator[str]:
        """v1, v2... as far as they are not given."""
        return (self.fresh(text) for k in count(1) if (text := f"v{k}") not in self._taken)


def _names(
    nodes: Sequence[Expr], leaves: Sequence[Expr], identifiers: Identifiers
) -> dict[Expr, str]:
    """A name for each node: the user's, made safe and unique, or v1, v2..."""
    names: dict[Expr, str] = {}
    for node in [*leaves, *(n for n in nodes if n.name)]:
        if node not in names:
            names[node] = identifiers.fresh(node.name or "x")
    numbered = identifiers.numbered()
    for node in nodes:
        if node not in names:
            names[node] = next(numbered)
    return names


def _size_names(leaves: Sequence[Expr], identifiers: Identifiers) -> dict[str, str]:
    """A name for each symbolic size of the operands."""
    sizes = [s for leaf in leaves for s in leaf.shape if isinstance(s, Dim) and s.name]
    return {name: identifiers.fresh(name) for name in dict.fromkeys(s.name for s in sizes)}


# Statements ---------------------------------------------------------------------------------


def _dtype(node: Expr) -> str:
    return f"np.{_numpy_name(node.dtype)}"


def _numpy_name(dtype: DType) -> str:
    return "bool_" if dtype.is_bool else dtype.name


def _source(helper: str) -> str:
    """Source of a helper without annotations."""
    tree = ast.parse(getsource(getattr(numpy_helpers, helper)))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
    return ast.unparse(tree)


def _literal(array: np.ndarray[Any, Any]) -> str:
    """A constant array as text that gives back every bit of it (but a NaN's payload)."""
    dtype = f"np.{array.dtype.name if array.dtype != bool else 'bool_'}"
    items = [_number(v) for v in array.ravel().tolist()]
    if array.ndim == 0:
        return f"{dtype}({items[0]})"
    flat = f"np.array([{', '.join(items)}], {dtype})"
    return flat if array.ndim == 1 else f"{flat}.reshape({_tuple(map(str, array.shape))})"


def _number(value: float | int | bool) -> str:
    if isinstance(value, float) and not np.isfinite(value):
        return "np.nan" if np.isnan(value) else "np.inf" if value > 0 else "-np.inf"
    return repr(value)


def _tuple(items: Iterable[str]) -> str:
    found = list(items)
    return f"({', '.join(found)}{',' if len(found) == 1 else ''})"


class _Writer:
    """Writes one node at a time; remembers which helpers that took."""

    def __init__(self, names: Mapping[Expr, str], sizes: Mapping[str, str]) -> None:
        self.names = names
        self.sizes = sizes
        self.used: set[str] = set()

    def statements(self, nodes: Sequence[Expr], leaves: Sequence[Expr]) -> list[str]:
        """The body of the function, without its result."""
        lines = [f"{self.names[x]} = np.asarray({self.names[x]}, {_dtype(x)})" for x in leaves]
        lines += self.bind_sizes(leaves)
        given = set(leaves)
        return lines + [f"{self.names[n]} = {self.write(n)}" for n in nodes if n not in given]

    def bind_sizes(self, leaves: Sequence[Expr]) -> list[str]:
        """Statements that read symbolic sizes off the operands."""
        lines: dict[str, str] = {}
        for leaf in leaves:
            for axis, size in enumerate(leaf.shape):
                if isinstance(size, Dim) and size.name:
                    name = self.sizes[size.name]
                    lines.setdefault(name, f"{name} = {self.names[leaf]}.shape[{axis}]")
        return list(lines.values())

    def size(self, size: Any) -> str:
        """A size as an expression of the names that sizes have here."""
        if not isinstance(size, Dim):
            return str(size)
        terms = [
            "*".join([str(factor), *(self._atom(a) for a in atoms)])
            for atoms, factor in size.terms
        ]
        plain = [t.removeprefix("1*") for t in terms]
        return plain[0] if len(plain) == 1 else f"({' + '.join(plain)})"

    def _atom(self, atom: Any) -> str:
        if isinstance(atom, str):
            return self.sizes[atom]
        return f"(({self.size(atom.numerator)}) // ({self.size(atom.denominator)}))"

    def value(self, value: Any) -> str:
        """An attribute as text."""
        if isinstance(value, tuple):
            return _tuple(self.value(v) for v in value)
        if isinstance(value, DType):
            return f"np.{_numpy_name(value)}"
        return self.size(value)

    def helper(self, name: str, *operands: str) -> str:
        self.used.add(name)
        return f"{name}({', '.join(operands)})"

    def write(self, node: Expr) -> str:
        """The right side of the statement for a node."""
        operands = [self.names[a] for a in node.args]
        name = node.op.name
        if name in INFIX:
            return f"{operands[0]} {INFIX[name][0]} {operands[1]}"
        form = FORMS.get(name)
        if form is not None:
            return form(self, node, operands)
        if node.op.ufuncs:
            return f"np.{node.op.ufuncs[0].__name__}({', '.join(operands)})"
        raise UnsupportedOpError(
            f"to_python: {name} has no NumPy text", where=describe([("node", node)])
        )


Form = Callable[[_Writer, Expr, Sequence[str]], str]


def _call(function: str, *attrs: str) -> Form:
    """``np.function(operands, attr=value)``"""

    def write(w: _Writer, node: Expr, operands: Sequence[str]) -> str:
        given = [f"{attr}={w.value(node.attrs[attr])}" for attr in attrs]
        return f"np.{function}({', '.join([*operands, *given])})"

    return write


def _with_helper(name: str, *attrs: str) -> Form:
    return lambda w, node, o: w.helper(name, *o, *(w.value(node.attrs[a]) for a in attrs))


def _reduction(function: str, typed: bool = False, single: bool = False) -> Form:
    def write(w: _Writer, node: Expr, operands: Sequence[str]) -> str:
        axes = node.attrs["axes"]
        axis = str(axes[0]) if single else w.value(tuple(axes))
        keep = ", keepdims=True" if node.attrs["keepdims"] else ""
        dtype = f", dtype={_dtype(node)}" if typed else ""
        return f"np.{function}({operands[0]}, axis={axis}{keep}{dtype})"

    return write


def _scan(ufunc: str) -> Form:
    def write(w: _Writer, node: Expr, operands: Sequence[str]) -> str:
        attrs = [repr(node.attrs[a]) for a in ("axis", "exclusive", "reverse")]
        return w.helper("scan", f"np.{ufunc}", operands[0], *attrs)

    return write


def _contract(w: _Writer, node: Expr, operands: Sequence[str]) -> str:
    subscripts = node.attrs["subscripts"]
    product = matrix_product(subscripts)
    if product is None:
        return f"np.einsum({subscripts!r}, {operands[0]}, {operands[1]})"
    sides = [
        f"{operands[i]}.T" if turned else operands[i]
        for i, turned in zip(product.order, product.transposed, strict=True)
    ]
    return " @ ".join(sides)


def _iota(w: _Writer, node: Expr, operands: Sequence[str]) -> str:
    axis, shape = node.attrs["axis"], node.shape
    ones = _tuple(w.size(s) if a == axis else "1" for a, s in enumerate(shape))
    ramp = f"np.arange({w.size(shape[axis])}, dtype={_dtype(node)})"
    return f"np.broadcast_to({ramp}.reshape({ones}), {w.value(shape)})"


def _concatenate(w: _Writer, node: Expr, operands: Sequence[str]) -> str:
    return f"np.concatenate([{', '.join(operands)}], axis={node.attrs['axis']})"


def _slice(w: _Writer, node: Expr, operands: Sequence[str]) -> str:
    """Basic indexing where the sizes are numbers."""
    parts = [
        _part(along, size)
        for along, size in zip(node.attrs["ranges"], node.args[0].shape, strict=True)
    ]
    if None in parts:
        return w.helper("take_ranges", operands[0], w.value(node.attrs["ranges"]))
    return f"{operands[0]}[{', '.join(str(p) for p in parts)}]"


def _part(along: tuple[Any, Any, int], size: Any) -> str | None:
    start, length, step = along
    if same_size(start, 0) and same_size(length, size) and step == 1:
        return ":"
    if isinstance(start, Dim) or isinstance(length, Dim):
        return None
    stop = start + length * step if length else start
    last = "" if stop < 0 else str(stop)
    return f"{start}:{last}" + (f":{step}" if step != 1 else "")


def _gather(w: _Writer, node: Expr, operands: Sequence[str]) -> str:
    x, index = operands
    axis = str(node.attrs["axis"])
    if node.attrs.get("wrap", True):
        return f"np.take_along_axis({x}, {index}, {axis})"
    return w.helper("gather", x, index, axis)


#: Operations that are no ufunc. No text of the user's comes in here: names were made safe, and
#: attributes are numbers, sizes, element types and checked subscripts.
FORMS: dict[str, Form] = {
    "constant": lambda w, n, o: _literal(_array_of(n)),
    "size": lambda w, n, o: f"{_dtype(n)}({w.size(n.attrs['size'])})",
    "iota": _iota,
    "cast": lambda w, n, o: f"{o[0]}.astype({_dtype(n)})",
    "where": _call("where"),
    "neg": lambda w, n, o: f"-{o[0]}",
    "fma": lambda w, n, o: f"{o[0]} * {o[1]} + {o[2]}",
    **{h: _with_helper(h) for h in ("sigmoid", "softplus", "erf", "erfc")},
    "sum": _reduction("sum", typed=True),
    "prod": _reduction("prod", typed=True),
    **{r: _reduction(r) for r in ("max", "min", "any", "all")},
    **{r: _reduction(r, single=True) for r in ("argmax", "argmin")},
    "logsumexp": _with_helper("logsumexp", "axes", "keepdims"),
    "softmax": _with_helper("softmax", "axes"),
    "norm": _with_helper("norm", "axes", "keepdims"),
    "cumsum": _scan("add"),
    "cumprod": _scan("multiply"),
    "reshape": lambda w, n, o: f"np.reshape({o[0]}, {w.value(n.shape)})",
    "broadcast_to": lambda w, n, o: f"np.broadcast_to({o[0]}, {w.value(n.shape)})",
    "copy": lambda w, n, o: f"np.array({o[0]})",
    "transpose": lambda w, n, o: f"np.transpose({o[0]}, {w.value(n.attrs['axes'])})",
    "slice": _slice,
    "pad": _with_helper("pad", "widths"),
    "concatenate": _concatenate,
    "contract": _contract,
    "gather": _gather,
    "scatter_add": _with_helper("scatter_add", "axis", "size"),
    "stop_gradient": lambda w, n, o: o[0],
    "again": lambda w, n, o: o[0],
    "custom_gradient": lambda w, n, o: o[0],
}


def _array_of(node: Expr) -> np.ndarray[Any, Any]:
    literal = node.attrs["value"]
    assert isinstance(literal, Literal)
    return literal.array
