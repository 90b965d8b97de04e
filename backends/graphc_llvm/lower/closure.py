"""A function written while its caller is, which uses values of the caller."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.types import Dim
from graphc_llvm.emit import Value
from graphc_llvm.lower.code import Bound, Code


class Closure(Code):
    """An internal function ``void (ptr args, ...)`` that is called from ``outer``.

    Sizes, and values of the caller that `outside` is asked for, are computed by the caller
    and passed in the array ``args``, one 8-byte slot each.
    """

    def __init__(self, outer: Code, name: str, params: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(outer.module, name, "void", [("ptr", "args"), *params], ())
        self.outer = outer
        self._captured: dict[tuple[str, Value], int] = {}

    def outside(self, type: str, value: Bound) -> Value:
        text = str(value)
        return self.passed(type, text) if text.startswith("%") else text

    def passed(self, type: str, value: Bound) -> Value:
        """A value of the caller, or a number that is not to make this function another one."""
        text = str(value)
        index = self._captured.setdefault((type, text), len(self._captured))

        def read() -> Value:
            return self.load(type, self.slot("%args", index))

        return self.once(-1, ("captured", text), read)

    def _polynomial(self, size: Dim) -> Bound:
        return self.outside("i64", self.outer.size(size))

    def close(self) -> Value:
        """End the function, which has its final name then; the array to call it with, filled at
        the caller's place."""
        self.do("ret void")
        self.finish(shared=True)
        outer = self.outer
        args = outer.alloca(f"[{len(self._captured)} x i64], align 8")
        for (type, value), index in self._captured.items():
            outer.store(type, value, outer.slot(args, index))
        return args
