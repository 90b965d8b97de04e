"""A graph in mathematical notation, for KaTeX and MathJax.

Shapes stay silent: reshaping and broadcasting are not written, sums name the axes they run
over (i for axis 0, j for axis 1...), and elementwise products of tensors are Hadamard
products.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.expr import Expr
from graphc.inspect.subject import Inspectable, subject_of
from graphc.inspect.text.formula import Language, lets
from graphc.inspect.text.notation import (
    ATOM,
    Phrase,
    Writer,
    is_matrix_transpose,
    matrix_product,
    number,
    range_text,
)
from graphc.ops.contraction import parse

#: How tightly notations bind, below ATOM: relations and cases, sums and signs, big operators,
#: Hadamard products, products without a sign, fractions and powers.
LOOSE, SUM, BIG, HADAMARD, PRODUCT, FACTOR = range(6)
#: Operations nested deeper than this are given a line of their own.
DEPTH = 8
#: Notebooks show graphs of more operations as pictures only.
NOTEBOOK_NODES = 150

_GREEK = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma "
    "tau upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega".split()
)
_ESCAPES = {c: f"\\{c}" for c in "_%#&${}"}
_ESCAPES |= {"\\": r"\backslash ", "^": r"\hat{}", "~": r"\sim ", " ": r"\ ", "<": r"\lt "}
_ESCAPES |= {">": r"\gt "}


def to_latex(given: Inspectable, *, stage: str | None = None, depth_limit: int = DEPTH) -> str:
    r"""A graph as LaTeX: ``\frac{\sigma\left(x\,w\right) - t}{n}``.

    Terms that are used more than once, or nested deeper than ``depth_limit``, are named in an
    ``aligned`` block. To be set in mathematics mode.

    Examples
    --------
    >>> import graphc as gr
    >>> x, w = gr.tensor("x", ("n", 3)), gr.vector("w1", 3)
    >>> print(to_latex(gr.sigmoid(x @ w) / 2))
    \frac{\sigma\left(x \, w_{1}\right)}{2}
    """
    subject = subject_of(given, stage)
    lines, results = lets(subject.roots, _LATEX, depth_limit)
    if not lines and len(results) == 1 and not subject.updates:
        return results[0]
    left = [f"{symbol(o.name)} &=" if o.name else "&" for o in subject.outputs]
    left += [f"{symbol(p.name or '')} &\\leftarrow" for p, _ in subject.updates]
    rows = [f"{name} &= {text}" for name, text in lines]
    for start, text in zip(left, results, strict=True):
        if start != f"{text} &=":
            rows.append(f"{start} {text}")
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def expr_latex(expr: Expr) -> str | None:
    """What a notebook shows; None for graphs too large to read as a formula."""
    if len(subject_of(expr).nodes()) > NOTEBOOK_NODES:
        return None
    return f"$\\displaystyle {to_latex(expr)}$"


# Names and numbers --------------------------------------------------------------------------


def symbol(name: str) -> str:
    """A name in mathematics: ``W1`` to ``W_{1}``, ``beta_0`` to ``\\beta_{0}``."""
    digits = re.fullmatch(r"([^\W\d_]+?)_?(\d+)", name)
    if digits:
        return f"{_word(digits[1])}_{{{digits[2]}}}"
    head, bar, rest = name.partition("_")
    if bar and head.isalnum() and rest.isalnum():
        return f"{_word(head)}_{{{_word(rest)}}}"
    return _word(name)


def _word(text: str) -> str:
    if text in _GREEK:
        return f"\\{text}"
    if not text.isascii():
        return f"\\text{{{_escaped(text)}}}"
    return text if len(text) == 1 and text.isalnum() else f"\\mathrm{{{_escaped(text)}}}"


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(c, c) for c in text)


def _number(text: str) -> Phrase:
    power = re.fullmatch(r"(-?[\d.]+)e([+-]\d+)", text)
    if power:
        mantissa = "" if power[1] == "1" else f"{power[1]} \\cdot "
        return Phrase(f"{mantissa}10^{{{int(power[2])}}}", FACTOR)
    if text.lstrip("-") in ("inf", "nan"):
        shown = text.replace("inf", r"\infty").replace("nan", r"\mathrm{nan}")
        return Phrase(shown, SUM if text.startswith("-") else ATOM)
    if re.fullmatch(r"-?[\d.]+", text):
        return Phrase(text, SUM if text.startswith("-") else ATOM)
    shown = re.sub(r"[^\W\d]\w*", lambda m: symbol(m[0]), text).replace("*", r"\,")
    return Phrase(shown, ATOM if text.isidentifier() else LOOSE)


# Terms --------------------------------------------------------------------------------------


def _within(term: Phrase, binding: int) -> str:
    return term.text if term.binding >= binding else f"\\left({term.text}\\right)"


def _call(name: str, *operands: Phrase) -> Phrase:
    inside = ", ".join(o.text for o in operands)
    return Phrase(f"{name}\\left({inside}\\right)")


def _operator(name: str) -> str:
    return f"\\operatorname{{{_escaped(name)}}}"


def _infix(sign: str, binding: int) -> Writer:
    def write(node: Expr, operands: Sequence[Phrase]) -> Phrase:
        left, right = operands
        return Phrase(f"{_within(left, SUM)} {sign} {_within(right, SUM + 1)}", binding)

    return write


def _add(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    left, right = operands
    if right.text.startswith("-") and right.binding == SUM:
        return Phrase(f"{_within(left, SUM)} {_within(right, SUM)}", SUM)
    return Phrase(f"{_within(left, SUM)} + {_within(right, SUM)}", SUM)


def _mul(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    if all(_bare(a).ndim for a in node.args[:2]):
        return _times(r"\odot", HADAMARD, *operands)
    digit = operands[1].text[:1].isdigit()
    return _times(r"\cdot" if digit else r"\,", PRODUCT, *operands)


def _times(sign: str, binding: int, left: Phrase, right: Phrase) -> Phrase:
    signed = left.binding == SUM and left.text.startswith("-")
    first = left.text if signed else _within(left, binding)
    return Phrase(f"{first} {sign} {_within(right, binding)}", SUM if signed else binding)


def _bare(node: Expr) -> Expr:
    """What a term is made of, under functions, reshapes and broadcasts."""
    while _silent(node) or (node.op.family == "elementwise" and len(node.args) == 1):
        node = node.args[0]
    return node


def _neg(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    return Phrase(f"-{_within(operands[0], BIG)}", SUM)


def _fraction(top: str, bottom: str) -> Phrase:
    return Phrase(f"\\frac{{{top}}}{{{bottom}}}", FACTOR)


def _power(base: Phrase, exponent: str) -> Phrase:
    return Phrase(f"{_within(base, ATOM)}^{{{exponent}}}", FACTOR)


def _exp(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    (x,) = operands
    return _power(Phrase("e"), x.text) if len(x.text) <= 24 else _call(r"\exp", x)


def _contract(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    subscripts = node.attrs["subscripts"]
    product = matrix_product(subscripts)
    if product is not None:
        left, right = (
            _power(operands[i], r"\top") if turned else operands[i]
            for i, turned in zip(product.order, product.transposed, strict=True)
        )
        return _times(r"\,", PRODUCT, left, right)
    a, b, out = parse(subscripts)
    if len(a) == len(b) == 1 and out == a + b:
        return _times(r"\,", PRODUCT, operands[0], _power(operands[1], r"\top"))
    inner = "".join(c for c in a if c in b and c not in out)
    first, second = (
        f"{_within(o, ATOM)}_{{{s}}}" for o, s in zip(operands, (a, b), strict=True)
    )
    total = f"\\sum_{{{inner}}} {first} \\, {second}" if inner else f"{first} \\, {second}"
    return Phrase(f"\\left[{total}\\right]_{{{out}}}")


def _axes(node: Expr) -> str:
    return ",".join("ijklmnpqrs"[a] if a < 10 else str(a) for a in node.attrs["axes"])


def _big(sign: str) -> Writer:
    """``\\sum_{i} x``: the operand may be a product, a sum is put in parentheses."""

    def write(node: Expr, operands: Sequence[Phrase]) -> Phrase:
        return Phrase(f"{sign}_{{{_axes(node)}}} {_within(operands[0], BIG)}", BIG)

    return write


def _over_axes(name: str) -> Writer:
    """``\\max_{j}(x)``; softmax and logsumexp over the last axis need no mark."""

    def write(node: Expr, operands: Sequence[Phrase]) -> Phrase:
        last = tuple(node.attrs["axes"]) == (node.args[0].ndim - 1,)
        plain = last and node.op.name in ("softmax", "logsumexp")
        return _call(name if plain else f"{name}_{{{_axes(node)}}}", *operands)

    return write


def _norm(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    every = len(node.attrs["axes"]) == node.args[0].ndim
    mark = "2" if every else f"2,{_axes(node)}"
    return Phrase(f"\\left\\lVert {operands[0].text}\\right\\rVert_{{{mark}}}", FACTOR)


def _where(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    condition, then, otherwise = (o.text for o in operands)
    if (then, otherwise) == ("1", "0"):
        return Phrase(f"\\mathbb{{1}}\\left[{condition}\\right]")
    rows = f"{then} & {condition} \\\\ {otherwise} & \\text{{otherwise}}"
    return Phrase(f"\\begin{{cases}} {rows} \\end{{cases}}", LOOSE)


def _transpose(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    if is_matrix_transpose(node):
        return _power(operands[0], r"\top")
    axes = ",".join(map(str, node.attrs["axes"]))
    return _power(operands[0], f"\\top({axes})")


def _slice(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    sizes = node.args[0].shape
    parts = [range_text(r, s) for r, s in zip(node.attrs["ranges"], sizes, strict=True)]
    inside = ", ".join(f"\\mathtt{{{_escaped(p)}}}" for p in parts)
    return Phrase(f"{_within(operands[0], ATOM)}_{{[{inside}]}}", FACTOR)


def _gather(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    return Phrase(f"{_within(operands[0], ATOM)}_{{[{operands[1].text}]}}", FACTOR)


def _constant(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    array: np.ndarray[Any, Any] = node.attrs["value"].array
    if array.ndim == 1 and array.size <= 4:
        return Phrase(f"\\left[{', '.join(_number(number(v)).text for v in array)}\\right]")
    shape = r" \times ".join(map(str, array.shape))
    return Phrase(f"C_{{{shape}}}" if shape else number(array))


def _cast(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    return Phrase(f"\\mathbb{{1}}\\left[{operands[0].text}\\right]")


def _silent(node: Expr) -> bool:
    """Reshaping, broadcasting, and conversions between numbers are not written."""
    if node.op.name == "cast":
        return not node.args[0].dtype.is_bool
    return node.op.name in ("reshape", "broadcast_to", "positive")


def _around(left: str, right: str) -> Writer:
    return lambda node, o: Phrase(f"\\left{left} {o[0].text} \\right{right}")


_CALLS = {
    **{f: f"\\{f}" for f in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "log")},
    "asin": r"\arcsin", "acos": r"\arccos", "atan": r"\arctan", "sigmoid": r"\sigma",
    "maximum": r"\max", "minimum": r"\min", "log2": r"\log_{2}", "log10": r"\log_{10}",
    "asinh": _operator("arsinh"), "acosh": _operator("arcosh"), "atanh": _operator("artanh"),
    "sign": _operator("sgn"),
}  # fmt: skip

_SIGNS = {
    "less": "<", "less_equal": r"\le", "greater": ">", "greater_equal": r"\ge",
    "equal": "=", "not_equal": r"\ne", "logical_and": r"\land", "logical_or": r"\lor",
    "logical_xor": r"\oplus",
}  # fmt: skip

_WRITERS: dict[str, Writer] = {
    "add": _add,
    "fma": lambda n, o: _add(n, (_mul(n, o[:2]), o[2])),
    "sub": _infix("-", SUM),
    "mul": _mul,
    "div": lambda n, o: _fraction(o[0].text, o[1].text),
    "reciprocal": lambda n, o: _fraction("1", o[0].text),
    "neg": _neg,
    "square": lambda n, o: _power(o[0], "2"),
    "pow": lambda n, o: _power(o[0], o[1].text),
    "sqrt": lambda n, o: Phrase(f"\\sqrt{{{o[0].text}}}"),
    "exp": _exp,
    "exp2": lambda n, o: _power(Phrase("2"), o[0].text),
    "expm1": lambda n, o: Phrase(f"{_exp(n, o).text} - 1", SUM),
    "log1p": lambda n, o: Phrase(f"\\log\\left(1 + {_within(o[0], SUM)}\\right)"),
    "abs": _around("|", "|"),
    "floor": _around(r"\lfloor", r"\rfloor"),
    "ceil": _around(r"\lceil", r"\rceil"),
    "contract": _contract,
    "transpose": _transpose,
    "slice": _slice,
    "gather": _gather,
    "where": _where,
    "cast": _cast,
    "constant": _constant,
    "logical_not": lambda n, o: Phrase(f"\\lnot {_within(o[0], BIG)}", LOOSE),
    "concatenate": lambda n, o: Phrase(f"\\left[{'; '.join(t.text for t in o)}\\right]"),
    "sum": _big(r"\sum"),
    "prod": _big(r"\prod"),
    "max": _over_axes(r"\max"),
    "min": _over_axes(r"\min"),
    "norm": _norm,
    "softmax": _over_axes(_operator("softmax")),
    "logsumexp": _over_axes(_operator("logsumexp")),
    "argmax": _over_axes(r"\operatorname*{arg\,max}"),
    "argmin": _over_axes(r"\operatorname*{arg\,min}"),
    **{op: _infix(sign, LOOSE) for op, sign in _SIGNS.items()},
}


def _write(node: Expr, operands: Sequence[Phrase]) -> Phrase:
    writer = _WRITERS.get(node.op.name)
    if writer is not None:
        return writer(node, operands)
    name = _CALLS.get(node.op.name, _operator(node.op.name))
    return _call(name, *operands) if operands else Phrase(name)


_LATEX = Language(_write, symbol, _number, _silent)
