"""What compiled programs need while they run: worker threads and interruption.

Written in LLVM IR (in ``native/``) and compiled once per process. A call of a program has a
record on its caller's stack, handed to the program as ``rt``::

    { i64 threads, i32 no_poll, i32 status, ptr thread_state, i64 last_check }

``thread_state`` is CPython's if the call has released the GIL, else null; ``last_check`` is
the time (ns) when signals were looked at last. Functions for programs (``rt`` may be null,
which means one thread and no interruption):

``i32 @gc_parallel(ptr rt, ptr fn, ptr args, i64 blocks)``
    Runs ``void fn(ptr args, i64 begin, i64 end, i64 worker)`` over all blocks, on up to
    ``threads`` threads; ``worker < threads`` tells which. Returns 0, or 2 if interrupted.
``i32 @gc_poll(ptr rt)``
    Lets Python handle signals if the last time was long ago. Returns 0, or 2 if a handler
    raised (its exception is set).
``void @gc_no_poll(ptr rt, i32 on)``
    From here on (until switched off) this call is not interrupted.

The pool serves one region at a time; a call that finds it taken runs its blocks itself.
Workers wait for a region by spinning for `SPIN` ns, then asleep. A region is open while
blocks are left: a worker that comes later does not enter, so nobody ever waits for a worker
that the system has not given a core.

Each thread has a share of the blocks, those that follow each other: so it copies operands
once that several blocks use, and finds in its cache what it had there in the last region. Of
what is left of a share three of four blocks, at most `CLAIM`, are taken at a time. Who has
used up the own share takes from those of others.

A worker that holds blocks while the system lets something else run on its core keeps the
caller waiting, and one that the system puts on the caller's own core delays it, until it has
moved to another. So there is an account of the time that regions save: a region that took
longer than the caller would have taken alone, or had a worker on the caller's core, may bring
it below zero. Then regions run on one thread until 1 / `REPAID` of their time has paid that
back. Of what is saved, `SAVED` counts for one region at most, as a caller that has lost its
core itself overrates it, and `CREDIT` in all.

The first word of a region is ``active | entered << 10 | open << 20 | waiting << 21 |
limit << 22 | generation << 32``: workers inside, workers that ever entered, whether more may,
whether the caller sleeps until none is inside, how many may enter, and a number that each
region changes.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache as once
from pathlib import Path

from graphc_llvm import cache
from graphc_llvm.jit import Code, engine, provide
from graphc_llvm.target import Target, host

_NAME = re.compile(r"(?<![%@\w.])[A-Z]\w*(?:\.\w+)?")

#: LLVM type of the record.
RECORD = "{ i64, i32, i32, ptr, i64 }"
#: A worker or caller spins this long (ns) before it sleeps.
SPIN = 50_000
#: Blocks that are taken at a time, at most.
CLAIM = 8
#: The most (ns) that the account of time saved holds, and that one region adds to it.
CREDIT, SAVED = 4_000_000, 500_000
#: One part in so many of the time of regions on one thread pays back what threads have lost.
REPAID = 16
#: Signals are looked at this often (ns).
POLL = 30_000_000
#: Functions that programs may call.
EXPORTS = ("gc_parallel", "gc_poll", "gc_no_poll")

_MAX_THREADS = 1000

#: By architecture: the futex system call, and a pause.
_LINUX = {
    "x86_64": ("202", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("98", 'call void asm sideeffect "yield", ""()'),
}


def text(target: Target) -> str:
    """The runtime as LLVM text for a target."""
    values = {"RECORD": RECORD, "POLL": str(POLL), "SPIN": str(SPIN), "CLAIM": str(CLAIM)}
    values |= {"CREDIT": str(CREDIT), "SAVED": str(SAVED), "REPAID": str(REPAID)}
    values |= {"MAX_THREADS": str(_MAX_THREADS), "EVERY": ", ".join(["i64 -1"] * 16)}
    files = ["common.ll", "serial.ll"]
    architecture, *_ = target.triple.split("-")
    if "linux" in target.triple and architecture in _LINUX:
        values["FUTEX"], values["PAUSE"] = _LINUX[architecture]
        files = ["common.ll", "pool.ll", f"{architecture}.ll"]
    return f'target triple = "{target.triple}"\n' + native(files, values)


def native(files: Sequence[str], values: Mapping[str, str]) -> str:
    """LLVM text from files of ``native/``, without comments, names replaced by values."""
    folder = Path(__file__).parent / "native"
    source = "".join((folder / name).read_text("utf-8") for name in files)
    source = re.sub(";.*", "", source)
    return _NAME.sub(lambda match: values.get(match[0], match[0]), source)


@once
def load() -> Code:
    """The runtime in this process, for modules loaded into any engine after it.

    The workers outlive the interpreter's shutdown, so the code is never unloaded.
    """
    target = host()
    code = engine(target).library(lambda: text(target), cache.SOURCE, "runtime", verify=True)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(code._tracker))
    for name in EXPORTS:
        provide(name, code.symbols[name])
    reset = ctypes.PYFUNCTYPE(None)(code.symbols["gc_reset"])
    if sys.platform != "win32":
        os.register_at_fork(after_in_child=reset)
    return code
