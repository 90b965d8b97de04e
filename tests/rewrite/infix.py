"""Expressions as one line of text, for golden tests: shared nodes are written out each time."""

from __future__ import annotations

from graphc.expr import Expr, constant_value, topological

_INFIX = {"add": (" + ", 1), "sub": (" - ", 1), "mul": (" * ", 2), "div": (" / ", 2)}


def infix(root: Expr) -> str:
    """The expression with operators; movements and reductions with their attributes."""
    text: dict[Expr, tuple[str, int]] = {}
    for node in topological([root]):
        text[node] = _node(node, [text[a] for a in node.args])
    return text[root][0]


def _node(node: Expr, args: list[tuple[str, int]]) -> tuple[str, int]:
    name = node.op.name
    if name in ("input", "parameter"):
        return node.name or "?", 9
    if name == "constant":
        value = constant_value(node)
        return (f"{value[()]:.9g}" if value.ndim == 0 else str(value.tolist())), 9
    if name == "size":
        return f"#{node.attrs['size']}", 9
    if name in _INFIX:
        sign, level = _INFIX[name]
        left = _wrap(args[0], level)
        right = _wrap(args[1], level + (name in ("sub", "div")))
        return f"{left}{sign}{right}", level
    if name == "neg":
        return f"-{_wrap(args[0], 3)}", 2
    inner = ", ".join(a for a, _ in args)
    return f"{name}({inner}{_attrs(node)})", 9


def _wrap(arg: tuple[str, int], level: int) -> str:
    return arg[0] if arg[1] >= level else f"({arg[0]})"


def _attrs(node: Expr) -> str:
    attrs = node.attrs
    shown = []
    if "subscripts" in attrs:
        shown.append(attrs["subscripts"])
    if "axes" in attrs:
        shown.append("axes=" + "".join(map(str, attrs["axes"])))
    if attrs.get("keepdims"):
        shown.append("keep")
    if node.op.name == "cast":
        shown.append(str(attrs["dtype"]))
    if node.op.name in ("reshape", "broadcast_to", "iota"):
        shown.append(str(node.type))
    if "ranges" in attrs:
        shown.append(str(attrs["ranges"]))
    prefix = "; " if node.args else ""
    return prefix + " ".join(shown) if shown else ""
