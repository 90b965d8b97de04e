"""From LLVM text to machine code in this process.

One engine serves one target for the life of the process; every module is a library of its
own in it, which goes away with the `Code` that stands for it.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import llvmlite.binding as llvm

from graphc.errors import CompileError
from graphc_llvm import cache
from graphc_llvm.target import Target, host, initialize

#: LLVM keeps some 10 kB of each library that it has unloaded, so a linker is replaced after
#: this many; it goes away with the last of its libraries.
_LIBRARIES = 256

#: Functions that a module's text defines for others.
_EXPORTED = re.compile(r"^define (?!internal |private )[^@]*@([\w.$]+)\(", re.MULTILINE)

#: Functions that it expects of others.
_DECLARED = re.compile(r"^declare [^@]*@([\w.$]+)\(", re.MULTILINE)

#: Takes 40 % of the time and gains nothing on code that steps its pointers itself.
_STRENGTH = {"disable-lsr": True}

#: Of programs: 5 % of the time, for an order of instructions that processors find themselves.
_SCHEDULING = {"enable-misched": False}

_provided: dict[str, int] = {}


def provide(name: str, address: int) -> None:
    """Let modules that are loaded from now on call the function at ``address`` by name."""
    _provided[name] = address


class Code:
    """Loaded machine code, unloaded when the object dies.

    Attributes
    ----------
    symbols
        Addresses of the functions it exports.
    object
        The relocatable object file, in the target's native format.
    """

    def __init__(
        self,
        engine: Engine,
        symbols: dict[str, int],
        text: Callable[[], str],
        obj: bytes,
        tracker: object,
    ) -> None:
        self.symbols = symbols
        self.object = obj
        self._text = text
        self._engine = engine
        self._tracker = tracker

    @functools.cached_property
    def ir(self) -> str:
        """The LLVM text it was compiled from, written now if it was loaded as an object."""
        return self._text()

    @property
    def asm(self) -> str:
        """The machine code as assembly, made anew at each access."""
        return self._engine.assembly(self.ir)


class Engine:
    """Compiles and loads modules for one target. All methods may be called from any thread."""

    def __init__(self, target: Target) -> None:
        initialize()
        self.target = target
        self._lock = threading.RLock()
        self._machine = self._create_machine()
        self._linker = self._create_linker()
        self._loaded = 0
        self._own: dict[str, int] = {}
        self._kept: list[Code] = []

    def provide(self, code: Code) -> None:
        """Let modules that this engine loads from now on call the code's functions by name.

        The code lives as long as the engine: modules that call it may come at any time.
        """
        self._own.update(code.symbols)
        self._kept.append(code)

    def _create_machine(self) -> llvm.TargetMachine:
        return llvm.Target.from_triple(self.target.triple).create_target_machine(
            cpu=self.target.cpu,
            features=self.target.features,
            opt=2,
            reloc="pic",
            codemodel="default",
        )

    def _create_linker(self) -> llvm.LLJIT:
        return llvm.create_lljit_compiler(
            self._create_machine(), use_jit_link=True, suppress_errors=True
        )

    def compile(self, text: str, verify: bool = False, keep: bool = False) -> Code:
        """Generate code for a module without IR passes, and load it.

        With ``keep`` the object file is kept for other processes, and taken from there if one
        has compiled the same text before. That is meant for texts that seldom change.

        Raises
        ------
        CompileError
            If the text is malformed or an external function cannot be found.
        """
        if keep:
            return self.library(lambda: text, "text", text, verify=verify)
        return self._compile(text, verify, _STRENGTH | _SCHEDULING)

    def library(
        self,
        text: Callable[[], str],
        *identity: str,
        verify: bool = False,
        inline: bool = False,
    ) -> Code:
        """As `compile` with ``keep``, of a text that is written only if it must be compiled.

        ``identity`` determines the text. With ``inline``, functions that are ``alwaysinline``
        become part of those that call them.
        """
        name = self.record_name(*identity)
        record = cache.read(name)
        if record is not None:
            return self.load(record.object, record.exports, text)
        code = self._compile(text(), verify, _STRENGTH, inline)
        cache.write(name, cache.Record(code.object, tuple(code.symbols)))
        return code

    def record_name(self, *identity: str) -> str:
        """The name in the cache of what `library` makes."""
        return cache.key(self.target, "library", *identity)

    def _compile(
        self, text: str, verify: bool, left_out: Mapping[str, bool], inline: bool = False
    ) -> Code:
        with self._lock:
            module = self._parse(text, verify)
            if inline:
                self._inline(module)
            self._check_externals(_DECLARED.findall(text))
            # Passes do not run on cold functions, and to switch one takes 40 us.
            cold = text.count("\ndefine ") == text.count(" optnone {\n")
            with _left_out({} if cold else left_out):
                obj = self._machine.emit_object(module)
            return self.load(obj, _EXPORTED.findall(text), lambda: text)

    def _inline(self, module: llvm.ModuleRef) -> None:
        passes = llvm.create_new_module_pass_manager()
        passes.add_always_inliner_pass()
        options = llvm.create_pipeline_tuning_options()
        passes.run(module, llvm.create_pass_builder(self._machine, options))

    def load(
        self,
        obj: bytes,
        exported: Iterable[str],
        text: Callable[[], str] = lambda: "",
        more: Iterable[bytes] = (),
    ) -> Code:
        """Load an object file made by `compile`, now or in another process.

        ``text`` writes the LLVM text it was made from. ``more`` are objects of the same
        library: one library with many is loaded faster than many libraries.
        """
        with self._lock:
            library = llvm.JITLibraryBuilder().add_object_img(obj).add_current_process()
            for other in more:
                library.add_object_img(other)
            names = list(exported)
            for name in names:
                library.export_symbol(name)
            for name, address in {**_provided, **self._own}.items():
                if name not in names:
                    library.import_symbol(name, address)
            tracker = self._link(library)
            return Code(self, {name: tracker[name] for name in names}, text, obj, tracker)

    def _link(self, library: llvm.JITLibraryBuilder) -> llvm.ResourceTracker:
        self._loaded += 1
        if self._loaded % _LIBRARIES == 0:
            self._linker = self._create_linker()
        try:
            return library.link(self._linker, f"library{self._loaded}")
        except RuntimeError as error:
            raise CompileError(f"machine code could not be loaded: {error}") from error

    def assembly(self, text: str) -> str:
        """The assembly that a module compiles to (if it is not one to be kept)."""
        with self._lock, _left_out(_STRENGTH | _SCHEDULING):
            return str(self._machine.emit_assembly(self._parse(text, False)))

    def _parse(self, text: str, verify: bool) -> llvm.ModuleRef:
        try:
            module = llvm.parse_assembly(text)
            if verify:
                module.verify()
        except RuntimeError as error:
            raise CompileError(f"invalid LLVM text: {error}") from error
        return module

    def _check_externals(self, names: Iterable[str]) -> None:
        missing = [
            n
            for n in names
            if not n.startswith("llvm.")
            and n not in _provided
            and n not in self._own
            and not llvm.address_of_symbol(n)
        ]
        if missing:
            raise CompileError(f"external functions are missing: {', '.join(sorted(missing))}")


@contextmanager
def _left_out(passes: Mapping[str, bool]) -> Iterator[None]:
    """Set switches of LLVM. They are global to it, so they are put back."""
    for name, value in passes.items():
        llvm.set_option("", f"-{name}={str(value).lower()}")
    try:
        yield
    finally:
        for name, value in passes.items():
            llvm.set_option("", f"-{name}={str(not value).lower()}")


def engine(target: Target | None = None) -> Engine:
    """The engine of a target (this machine's if none is given), made once per process."""
    return _engine(target or host())


@functools.cache
def _engine(target: Target) -> Engine:
    return Engine(target)
