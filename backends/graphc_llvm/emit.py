"""LLVM IR as text: a module and a function under construction.

llvmlite's own IR builder is ten times slower on wide vectors (it prints every
lane of a splat), so the text is written directly and parsed once.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc_llvm.target import Target

Value = str
"""An operand as LLVM writes it: ``%t3``, ``0.0``, ``splat (float 0x3FF0000000000000)``."""

#: Attributes of functions that run once in a while: LLVM compiles them quickly instead of well.
COLD = "noinline nounwind optnone"


class Module:
    """Functions, globals and declarations of one LLVM module."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.functions: dict[str, str] = {}
        self.globals: dict[str, str] = {}
        self.declarations: dict[str, str] = {}
        self._shared: dict[tuple[str, ...], str] = {}

    def share(self, name: str, text: tuple[str, ...]) -> str:
        """The name of the first shared function of that text: this one, if there is none."""
        return self._shared.setdefault(text, name)

    def declare(self, signature: str) -> str:
        """Declare an external, as in ``float @llvm.fabs.f32(float)``; returns its symbol."""
        symbol = signature[signature.index("@") : signature.index("(")]
        self.declarations.setdefault(symbol, f"declare {signature}")
        return symbol

    def include(self, other: Module) -> None:
        """Define and declare what another module does, but for what is here already."""
        self.functions |= {n: t for n, t in other.functions.items() if n not in self.functions}
        self.globals |= other.globals
        self.declarations |= other.declarations

    def text(self) -> str:
        """The module as LLVM assembly; what is defined here is not declared."""
        head = [f'target triple = "{self.target.triple}"']
        external = [d for s, d in self.declarations.items() if s[1:] not in self.functions]
        parts = [head, self.globals.values(), external, self.functions.values()]
        return "\n".join(line for part in parts for line in part) + "\n"


class Function:
    """One function's text, written instruction by instruction.

    ``params`` are pairs of LLVM type and name; a parameter ``x`` is the value ``%x``.
    """

    def __init__(
        self,
        module: Module,
        name: str,
        returns: str,
        params: Sequence[tuple[str, str]],
        *,
        internal: bool = False,
        attributes: str = "",
    ) -> None:
        self.module = module
        self.target = module.target
        self.name = name
        self.returns = returns
        self.params = tuple(params)
        self.internal = internal
        self.attributes = attributes
        self.block = "entry"
        self._lines = ["entry:"]
        self._count = 0

    def fresh(self, hint: str = "t") -> str:
        """A name (without sigil) not used before in this function."""
        self._count += 1
        return f"{hint}{self._count}"

    def op(self, text: str, hint: str = "t") -> Value:
        """Write ``%name = text`` and return ``%name``."""
        self._count += 1
        name = f"%{hint}{self._count}"
        self._lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Write an instruction without a result."""
        self._lines.append("  " + text)

    def call(
        self, returns: str, symbol: str, *args: tuple[str, Value], flags: str = ""
    ) -> Value:
        """Call a function, declaring it if this module does not define it.

        ``args`` are pairs of type and value; the result is the value, or "" for void.
        """
        if f"@{symbol}" not in self.module.declarations:
            self.module.declare(f"{returns} @{symbol}({', '.join([t for t, _ in args])})")
        operands = ", ".join([f"{t} {v}" for t, v in args])
        text = f"call {flags + ' ' if flags else ''}{returns} @{symbol}({operands})"
        if returns == "void":
            self.do(text)
            return ""
        return self.op(text)

    def label(self, name: str) -> None:
        """Start the block ``name``; the previous one must have been terminated."""
        self._lines.append(f"{name}:")
        self.block = name

    def branch(self, target: str) -> None:
        self.do(f"br label %{target}")

    def branch_if(self, condition: Value, then: str, otherwise: str) -> None:
        self.do(f"br i1 {condition}, label %{then}, label %{otherwise}")

    def finish(self, shared: bool = False) -> None:
        """Add the function to its module. A ``shared`` one takes the name of an earlier one, if
        only their names differ: LLVM would do the same work again."""
        params = ", ".join(f"{t} %{n}" for t, n in self.params)
        linkage = "internal " if self.internal else ""
        tail = f"({params}) {self.attributes} {{"
        body = "\n".join([*self._lines, "}"])
        if shared:
            self.name = self.module.share(self.name, (self.returns, tail, body))
        head = f"define {linkage}{self.returns} @{self.name}{tail}"
        self.module.functions[self.name] = f"{head}\n{body}"
