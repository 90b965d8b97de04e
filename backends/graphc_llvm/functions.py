"""Long formulas, and what else does not depend on the program, as libraries.

They are compiled once, kept on disk, called by all programs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import copy
from functools import partial

from graphc_llvm import cache
from graphc_llvm.emit import Module
from graphc_llvm.jit import Code, engine
from graphc_llvm.target import Target

_SYMBOL = re.compile(r"@([\w.$]+)")

#: Of functions that do not depend on the program.
_PREFIXES = ("vmath.", "combine.", "product.")

_loaded: dict[tuple[Target, str], Code] = {}

#: Names of their records in the cache.
_records: dict[tuple[Target, str], str] = {}

#: A function of a program, and the name of its record in the cache.
Needs = tuple[tuple[str, str], ...]


def take_out(module: Module) -> dict[str, Callable[[], str]]:
    """Remove the formulas that are functions of a module.

    Returns, for each that the rest calls, what writes the text of a module that defines it.
    """
    whole = copy(module)
    rest = {n: text for n, text in module.functions.items() if not n.startswith(_PREFIXES)}
    called = set(_SYMBOL.findall("\n".join(rest.values())))
    module.functions = rest
    module.globals = {n: text for n, text in module.globals.items() if n in called}
    module.declarations = {s: d for s, d in module.declarations.items() if s[1:] in called}
    formulas = [n for n in whole.functions if n in called and n not in rest]
    return {n: partial(_alone, whole, n) for n in formulas}


def _alone(module: Module, name: str) -> str:
    """A module that exports one function, with all that it refers to."""
    own = Module(module.target)
    pending = [name]
    while pending:
        symbol = pending.pop()
        if symbol in own.functions:
            continue
        if symbol in module.functions:
            own.functions[symbol] = module.functions[symbol]
            pending += _SYMBOL.findall(module.functions[symbol])
        elif symbol in module.globals:
            own.globals[symbol] = module.globals[symbol]
        elif f"@{symbol}" in module.declarations:
            own.declarations[f"@{symbol}"] = module.declarations[f"@{symbol}"]
    own.functions[name] = own.functions[name].replace("define internal", "define", 1)
    return own.text()


def provide_functions(target: Target, texts: Mapping[str, Callable[[], str]]) -> Needs:
    """Let modules that are loaded from now on call the functions that `take_out` removed.

    Returns what `recall_functions` needs for that in another process.
    """
    jit = engine(target)
    for name, write in texts.items():
        if (target, name) not in _loaded:
            text = write()
            code = _loaded[target, name] = jit.compile(text, keep=True)
            _records[target, name] = jit.record_name("text", text)
            jit.provide(code)
    return tuple((name, _records[target, name]) for name in texts)


def recall_functions(target: Target, needs: Needs) -> bool:
    """Do the same from the cache alone; False if something is missing there."""
    missing = [(name, at) for name, at in needs if (target, name) not in _loaded]
    records = {name: cache.read(at) for name, at in missing}
    found = {name: record for name, record in records.items() if record is not None}
    if len(found) < len(missing):
        return False
    if found:
        first, *more = [record.object for record in found.values()]
        code = engine(target).load(first, found, more=more)
        engine(target).provide(code)
        _loaded.update({(target, name): code for name in found})
        _records.update({(target, name): at for name, at in missing})
    return True
