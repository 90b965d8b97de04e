"""What the machine that runs the code can do: vector width, registers, features.

Nothing outside this module knows the name of a processor or of a feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm

from graphc.errors import CompileError

#: Feature strings of the x86-64 levels that tests force.
_SSE2 = "+sse,+sse2"
_AVX2 = f"{_SSE2},+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2,+f16c,+lzcnt"
_AVX512 = f"{_AVX2},+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512cd"
_LEVELS = {"sse2": _SSE2, "avx2": _AVX2, "avx512": _AVX512}


@dataclass(frozen=True)
class Target:
    """A code generation target.

    Parameters of every emitter: ``vector_bytes`` is the width of one vector
    register, ``registers`` how many of them there are, ``fma`` whether fused
    multiply-add is an instruction (else ``llvm.fma`` would be a library call),
    ``masked`` whether masked loads and stores are instructions, ``scalef``
    whether scaling by a power of two (``llvm.ldexp``) is one, ``rounding``
    whether floor/ceil/rint are.
    """

    triple: str
    cpu: str
    features: str
    vector_bytes: int
    registers: int
    fma: bool
    masked: bool
    scalef: bool
    rounding: bool

    def lanes(self, itemsize: int) -> int:
        """Elements of ``itemsize`` bytes in one vector register."""
        return self.vector_bytes // itemsize

    @property
    def flushes(self) -> bool:
        """Whether a mode of x86 that takes denormal numbers for 0 can be set."""
        return self.triple.startswith("x86_64")


def from_features(triple: str, cpu: str, features: str) -> Target:
    """The target described by an LLVM feature string (``+avx2,+fma,...``)."""
    on = {f[1:] for f in features.split(",") if f.startswith("+")}
    arm = triple.startswith(("aarch64", "arm64"))
    avx512 = {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= on
    avx2 = {"avx2", "fma"} <= on
    return Target(
        triple=triple,
        cpu=cpu,
        features=features,
        vector_bytes=64 if avx512 else 32 if avx2 else 16,
        registers=32 if avx512 or arm else 16,
        fma=avx2 or arm,
        masked=avx512 or avx2,
        scalef=avx512,
        rounding=arm or "sse4.1" in on,
    )


@cache
def initialize() -> None:
    """Register LLVM's native target once per process."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()


@cache
def host(level: str = "native") -> Target:
    """This machine's target, or one of its lower levels: sse2, avx2, avx512.

    The processor's name is not trusted (virtual machines misreport it): code is
    chosen by feature bits only.
    """
    initialize()
    triple = llvm.get_process_triple()
    own = llvm.get_host_cpu_features().flatten()
    if level == "native":
        return from_features(triple, "", own)
    if level not in _LEVELS:
        raise CompileError(
            f"target {level!r} is not known", hint=f"one of native, {', '.join(_LEVELS)}"
        )
    if missing := set(_LEVELS[level].split(",")) - set(own.split(",")):
        raise CompileError(f"this machine has no {level}", where=sorted(missing))
    return from_features(triple, "", _LEVELS[level])
