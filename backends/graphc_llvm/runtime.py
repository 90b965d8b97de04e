"""What compiled programs need while they run: worker threads and interruption.

Written in LLVM IR and compiled once per process. A call of a program has a record on its
caller's stack, handed to the program as ``rt``::

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
that the system has not given a core. Blocks are handed out by an atomic counter.

The word ``state`` of a region is ``active | entered << 10 | open << 20 | waiting << 21 |
limit << 32``: workers inside, workers that ever entered, whether more may, whether the caller
sleeps until none is inside, how many may enter.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

from graphc_llvm.jit import Code, engine, provide
from graphc_llvm.target import Target, host

#: LLVM type of the record.
RECORD = "{ i64, i32, i32, ptr, i64 }"
#: A worker or caller spins this long (ns) before it sleeps.
SPIN = 50_000
#: Signals are looked at this often (ns).
POLL = 30_000_000
#: Functions that programs may call.
EXPORTS = ("gc_parallel", "gc_poll", "gc_no_poll")

_MAX_THREADS = 1000

_COMMON = """
%record = type RECORD
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare i32 @PyErr_CheckSignals()
declare ptr @PyObject_Vectorcall(ptr, ptr, i64, ptr)

define void @gc_no_poll(ptr %rt, i32 %on) {
entry:
  %none = icmp eq ptr %rt, null
  br i1 %none, label %done, label %set
set:
  %field = getelementptr %record, ptr %rt, i32 0, i32 1
  store i32 %on, ptr %field
  br label %done
done:
  ret void
}

define i32 @gc_poll(ptr %rt) {
entry:
  %none = icmp eq ptr %rt, null
  br i1 %none, label %quiet, label %look
look:
  %no_poll_field = getelementptr %record, ptr %rt, i32 0, i32 1
  %no_poll = load i32, ptr %no_poll_field
  %off = icmp ne i32 %no_poll, 0
  br i1 %off, label %quiet, label %status
status:
  %status_field = getelementptr %record, ptr %rt, i32 0, i32 2
  %before = load i32, ptr %status_field
  %stopped = icmp ne i32 %before, 0
  br i1 %stopped, label %stop, label %time
time:
  %last_field = getelementptr %record, ptr %rt, i32 0, i32 4
  %last = load i64, ptr %last_field
  %now = call i64 @now()
  %passed = sub i64 %now, %last
  %recent = icmp slt i64 %passed, POLL
  br i1 %recent, label %quiet, label %due
due:
  store i64 %now, ptr %last_field
  %first = icmp eq i64 %last, 0
  br i1 %first, label %quiet, label %check
check:
  %thread_field = getelementptr %record, ptr %rt, i32 0, i32 3
  %thread = load ptr, ptr %thread_field
  %holding = icmp eq ptr %thread, null
  br i1 %holding, label %handle, label %acquire
acquire:
  call void @PyEval_RestoreThread(ptr %thread)
  br label %handle
handle:
  %raised = call i32 @PyErr_CheckSignals()
  br i1 %holding, label %handled, label %release
release:
  %again = call ptr @PyEval_SaveThread()
  store ptr %again, ptr %thread_field
  br label %handled
handled:
  %fine = icmp eq i32 %raised, 0
  br i1 %fine, label %quiet, label %interrupt
interrupt:
  store i32 2, ptr %status_field
  br label %stop
stop:
  ret i32 2
quiet:
  ret i32 0
}

; The vectorcall of a `NativeCallable`: passes the arguments on to the callable it holds.
define ptr @gc_forward(ptr %self, ptr %args, i64 %nargs, ptr %kwnames) {
  %field = getelementptr i8, ptr %self, i64 24
  %target = load ptr, ptr %field
  %result = tail call ptr @PyObject_Vectorcall(ptr %target, ptr %args, i64 %nargs, ptr %kwnames)
  ret ptr %result
}

; The lock word of a function: 0 free, bit 0 held, bit 1 somebody waits (so that whoever
; comes later does not overtake). Taking it clears the bit of the one who waited.
define i32 @gc_lock(ptr %word, i64 %free) {
  %swap = cmpxchg ptr %word, i64 %free, i64 1 acquire monotonic
  %won = extractvalue { i64, i1 } %swap, 1
  %result = zext i1 %won to i32
  ret i32 %result
}

define void @gc_unlock(ptr %word) {
  %old = atomicrmw and ptr %word, i64 -2 release
  ret void
}

define void @gc_want(ptr %word, i32 %on) {
entry:
  %set = icmp ne i32 %on, 0
  br i1 %set, label %want, label %give_up
want:
  %old1 = atomicrmw or ptr %word, i64 2 monotonic
  ret void
give_up:
  %old2 = atomicrmw and ptr %word, i64 -3 monotonic
  ret void
}

define internal i32 @serial(ptr %rt, ptr %fn, ptr %args, i64 %blocks) {
entry:
  %some = icmp sgt i64 %blocks, 0
  br i1 %some, label %block, label %done
block:
  %b = phi i64 [ 0, %entry ], [ %next, %more ]
  %next = add i64 %b, 1
  call void %fn(ptr %args, i64 %b, i64 %next, i64 0)
  %status = call i32 @gc_poll(ptr %rt)
  %stop = icmp ne i32 %status, 0
  br i1 %stop, label %interrupted, label %more
more:
  %left = icmp slt i64 %next, %blocks
  br i1 %left, label %block, label %done
interrupted:
  ret i32 2
done:
  ret i32 0
}
"""

#: Where there are no futexes: blocks run on the calling thread, signals are looked at after each.
_SERIAL = """
@polls = internal global i64 0

; No clock: each look is due.
define internal i64 @now() {
  %before = atomicrmw add ptr @polls, i64 POLL monotonic
  %time = add i64 %before, POLL
  ret i64 %time
}

define i32 @gc_parallel(ptr %rt, ptr %fn, ptr %args, i64 %blocks) {
  %status = call i32 @serial(ptr %rt, ptr %fn, ptr %args, i64 %blocks)
  ret i32 %status
}

define void @gc_reset() {
  ret void
}

define i64 @gc_workers() {
  ret i64 0
}
"""

_POOL = """
@generation = internal global i32 0, align 64
@sleepers = internal global i32 0
@state = internal global i64 0, align 64
@next = internal global i64 0, align 64
@fn = internal global ptr null, align 64
@args = internal global ptr null
@blocks = internal global i64 0
@chunk = internal global i64 0
@float_mode = internal global i64 0
@started = internal global i64 0, align 64
@busy = internal global i32 0, align 64

declare i64 @syscall(i64, ...)
declare i32 @clock_gettime(i32, ptr)
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_detach(i64)
declare i32 @pthread_sigmask(i32, ptr, ptr)
declare i64 @llvm.umin.i64(i64, i64)
declare i64 @llvm.umax.i64(i64, i64)

define internal i64 @now() {
  %time = alloca { i64, i64 }
  %ok = call i32 @clock_gettime(i32 1, ptr %time)
  %s = load i64, ptr %time
  %ns_field = getelementptr { i64, i64 }, ptr %time, i32 0, i32 1
  %ns = load i64, ptr %ns_field
  %scaled = mul i64 %s, 1000000000
  %sum = add i64 %scaled, %ns
  ret i64 %sum
}

define internal void @futex_wait(ptr %word, i32 %seen) {
  %r = call i64 (i64, ...) @syscall(i64 FUTEX, ptr %word, i32 128, i32 %seen, ptr null)
  ret void
}

define internal void @futex_wake(ptr %word, i32 %count) {
  %r = call i64 (i64, ...) @syscall(i64 FUTEX, ptr %word, i32 129, i32 %count)
  ret void
}

; Spin until (*word & mask) differs from seen; whether it does.
define internal i1 @spin(ptr %word, i32 %mask, i32 %seen) {
entry:
  %start = call i64 @now()
  br label %round
round:
  br label %pause
pause:
  %i = phi i32 [ 0, %round ], [ %j, %again ]
  %value = load atomic i32, ptr %word acquire, align 4
  %part = and i32 %value, %mask
  %changed = icmp ne i32 %part, %seen
  br i1 %changed, label %yes, label %again
again:
  PAUSE
  %j = add i32 %i, 1
  %more = icmp ult i32 %j, 32
  br i1 %more, label %pause, label %clock
clock:
  %now = call i64 @now()
  %passed = sub i64 %now, %start
  %late = icmp sgt i64 %passed, SPIN
  br i1 %late, label %no, label %round
yes:
  ret i1 true
no:
  ret i1 false
}

define internal ptr @worker(ptr %unused) {
entry:
  br label %top
top:
  %seen = load atomic i32, ptr @generation seq_cst, align 4
  br label %look
look:
  %s = load atomic i64, ptr @state acquire, align 8
  %open = and i64 %s, 1048576
  %closed = icmp eq i64 %open, 0
  %entered_bits = lshr i64 %s, 10
  %entered = and i64 %entered_bits, 1023
  %limit = lshr i64 %s, 32
  %full = icmp uge i64 %entered, %limit
  %out = or i1 %closed, %full
  br i1 %out, label %idle, label %enter
enter:
  %inside = add i64 %s, 1025
  %swap = cmpxchg ptr @state, i64 %s, i64 %inside acq_rel acquire
  %won = extractvalue { i64, i1 } %swap, 1
  br i1 %won, label %work, label %look
work:
  %id = add i64 %entered, 1
  %mode = load i64, ptr @float_mode
  call void @set_float_mode(i64 %mode)
  %fn = load ptr, ptr @fn
  %args = load ptr, ptr @args
  %blocks = load i64, ptr @blocks
  %chunk = load i64, ptr @chunk
  br label %take
take:
  %begin = atomicrmw add ptr @next, i64 %chunk monotonic
  %left = icmp slt i64 %begin, %blocks
  br i1 %left, label %block, label %leave
block:
  %stop = add i64 %begin, %chunk
  %end = call i64 @llvm.umin.i64(i64 %stop, i64 %blocks)
  call void %fn(ptr %args, i64 %begin, i64 %end, i64 %id)
  br label %take
leave:
  %old = atomicrmw sub ptr @state, i64 1 acq_rel
  %active = and i64 %old, 2098175
  %last = icmp eq i64 %active, 2097153
  br i1 %last, label %wake, label %top
wake:
  call void @futex_wake(ptr @state, i32 1)
  br label %top
idle:
  %soon = call i1 @spin(ptr @generation, i32 -1, i32 %seen)
  br i1 %soon, label %top, label %sleep
sleep:
  %more = atomicrmw add ptr @sleepers, i32 1 seq_cst
  call void @futex_wait(ptr @generation, i32 %seen)
  %less = atomicrmw sub ptr @sleepers, i32 1 seq_cst
  br label %top
}

; Have `wanted` workers if the system gives them; how many there are. Signals stay with the
; threads of Python.
define internal i64 @start(i64 %wanted) {
entry:
  %thread = alloca i64
  %all = alloca [16 x i64]
  %old = alloca [16 x i64]
  %have = load i64, ptr @started
  %enough = icmp uge i64 %have, %wanted
  br i1 %enough, label %done, label %block
block:
  store [16 x i64] [EVERY], ptr %all
  %r1 = call i32 @pthread_sigmask(i32 2, ptr %all, ptr %old)
  br label %create
create:
  %n = phi i64 [ %have, %block ], [ %m, %created ]
  %r2 = call i32 @pthread_create(ptr %thread, ptr null, ptr @worker, ptr null)
  %ok = icmp eq i32 %r2, 0
  br i1 %ok, label %created, label %restore
created:
  %id = load i64, ptr %thread
  %r3 = call i32 @pthread_detach(i64 %id)
  %m = add i64 %n, 1
  %more = icmp ult i64 %m, %wanted
  br i1 %more, label %create, label %restore
restore:
  %count = phi i64 [ %n, %create ], [ %m, %created ]
  %r4 = call i32 @pthread_sigmask(i32 2, ptr %old, ptr null)
  store i64 %count, ptr @started
  br label %done
done:
  %result = phi i64 [ %have, %entry ], [ %count, %restore ]
  ret i64 %result
}

define i32 @gc_parallel(ptr %rt, ptr %fn, ptr %args, i64 %blocks) {
entry:
  %none = icmp eq ptr %rt, null
  br i1 %none, label %alone, label %ask
ask:
  %asked = load i64, ptr %rt
  %capped = call i64 @llvm.umin.i64(i64 %asked, i64 MAX_THREADS)
  %wanted = call i64 @llvm.umin.i64(i64 %capped, i64 %blocks)
  %several = icmp sgt i64 %wanted, 1
  br i1 %several, label %acquire, label %alone
acquire:
  %swap = cmpxchg ptr @busy, i32 0, i32 1 acquire monotonic
  %won = extractvalue { i32, i1 } %swap, 1
  br i1 %won, label %ready, label %alone
ready:
  %limit = sub i64 %wanted, 1
  %workers = call i64 @start(i64 %limit)
  %deserted = icmp eq i64 %workers, 0
  br i1 %deserted, label %give_up, label %publish
publish:
  %part = lshr i64 %blocks, 12
  %chunk = call i64 @llvm.umax.i64(i64 %part, i64 1)
  store ptr %fn, ptr @fn
  store ptr %args, ptr @args
  store i64 %blocks, ptr @blocks
  store i64 %chunk, ptr @chunk
  %mode = call i64 @float_mode_now()
  store i64 %mode, ptr @float_mode
  store atomic i64 0, ptr @next monotonic, align 8
  %limit_bits = shl i64 %limit, 32
  %opened = or i64 %limit_bits, 1048576
  store atomic i64 %opened, ptr @state seq_cst, align 8
  %g = atomicrmw add ptr @generation, i32 1 seq_cst
  %asleep = load atomic i32, ptr @sleepers seq_cst, align 4
  %all_awake = icmp eq i32 %asleep, 0
  br i1 %all_awake, label %take, label %wake
wake:
  %count = trunc i64 %limit to i32
  call void @futex_wake(ptr @generation, i32 %count)
  br label %take
take:
  %begin = atomicrmw add ptr @next, i64 %chunk monotonic
  %left = icmp slt i64 %begin, %blocks
  br i1 %left, label %block, label %close
block:
  %stop = add i64 %begin, %chunk
  %end = call i64 @llvm.umin.i64(i64 %stop, i64 %blocks)
  call void %fn(ptr %args, i64 %begin, i64 %end, i64 0)
  %polled = call i32 @gc_poll(ptr %rt)
  %go_on = icmp eq i32 %polled, 0
  br i1 %go_on, label %take, label %cancel
cancel:
  store atomic i64 4611686018427387904, ptr @next monotonic, align 8
  br label %close
close:
  %status = phi i32 [ 0, %take ], [ 2, %cancel ]
  %before = atomicrmw and ptr @state, i64 -1048577 acq_rel
  %inside = and i64 %before, 1023
  %nobody = icmp eq i64 %inside, 0
  br i1 %nobody, label %done, label %join
join:
  %value = load atomic i64, ptr @state acquire, align 8
  %active = and i64 %value, 1023
  %empty = icmp eq i64 %active, 0
  br i1 %empty, label %done, label %patience
patience:
  %low = trunc i64 %active to i32
  %changed = call i1 @spin(ptr @state, i32 1023, i32 %low)
  br i1 %changed, label %join, label %sleep
sleep:
  %marked = atomicrmw or ptr @state, i64 2097152 acq_rel
  %now_waiting = or i64 %marked, 2097152
  %still = and i64 %marked, 1023
  %over = icmp eq i64 %still, 0
  br i1 %over, label %done, label %wait
wait:
  %expected = trunc i64 %now_waiting to i32
  call void @futex_wait(ptr @state, i32 %expected)
  br label %join
done:
  store atomic i32 0, ptr @busy release, align 4
  ret i32 %status
give_up:
  store atomic i32 0, ptr @busy release, align 4
  br label %alone
alone:
  %alone_status = call i32 @serial(ptr %rt, ptr %fn, ptr %args, i64 %blocks)
  ret i32 %alone_status
}

; In the child of a fork there are no workers, and nobody is in a region.
define void @gc_reset() {
  store i64 0, ptr @started
  store i32 0, ptr @sleepers
  store i64 0, ptr @state
  store i32 0, ptr @busy
  ret void
}

define i64 @gc_workers() {
  %n = load i64, ptr @started
  ret i64 %n
}
"""

_X86 = """
declare void @llvm.x86.sse2.pause()
declare void @llvm.x86.sse.ldmxcsr(ptr)
declare void @llvm.x86.sse.stmxcsr(ptr)

define internal i64 @float_mode_now() {
  %word = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %word)
  %mode = load i32, ptr %word
  %control = and i32 %mode, -64
  %wide = zext i32 %control to i64
  ret i64 %wide
}

define internal void @set_float_mode(i64 %mode) {
  %word = alloca i32
  %narrow = trunc i64 %mode to i32
  store i32 %narrow, ptr %word
  call void @llvm.x86.sse.ldmxcsr(ptr %word)
  ret void
}
"""

_ARM = """
define internal i64 @float_mode_now() {
  %mode = call i64 asm sideeffect "mrs $0, fpcr", "=r"()
  ret i64 %mode
}

define internal void @set_float_mode(i64 %mode) {
  call void asm sideeffect "msr fpcr, $0", "r"(i64 %mode)
  ret void
}
"""

#: By architecture: the futex system call, a pause, and the floating-point mode of a thread.
_LINUX = {
    "x86_64": ("202", "call void @llvm.x86.sse2.pause()", _X86),
    "aarch64": ("98", 'call void asm sideeffect "yield", ""()', _ARM),
}


def text(target: Target) -> str:
    """The runtime as LLVM text for a target."""
    architecture, *_ = target.triple.split("-")
    source = _COMMON + _SERIAL
    if "linux" in target.triple and architecture in _LINUX:
        futex, pause, modes = _LINUX[architecture]
        source = (_COMMON + _POOL + modes).replace("FUTEX", futex).replace("PAUSE", pause)
    values = {"RECORD": RECORD, "POLL": POLL, "SPIN": SPIN, "MAX_THREADS": _MAX_THREADS}
    for name, value in values.items():
        source = source.replace(name, str(value))
    every = ", ".join(["i64 -1"] * 16)
    return f'target triple = "{target.triple}"\n' + source.replace("EVERY", every)


@cache
def load() -> Code:
    """The runtime in this process, for modules loaded into any engine after it.

    The workers outlive the interpreter's shutdown, so the code is never unloaded.
    """
    target = host()
    code = engine(target).compile(text(target), verify=True)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(code._tracker))
    for name in EXPORTS:
        provide(name, code.symbols[name])
    reset = ctypes.PYFUNCTYPE(None)(code.symbols["gc_reset"])
    if sys.platform != "win32":
        os.register_at_fork(after_in_child=reset)
    return code
