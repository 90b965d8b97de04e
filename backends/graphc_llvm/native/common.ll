; Interruption and locks, on every system. See runtime.py.

%record = type RECORD
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare i32 @PyErr_CheckSignals()
declare ptr @PyObject_Vectorcall(ptr, ptr, i64, ptr)
declare i64 @llvm.umin.i64(i64, i64)
declare i64 @llvm.umax.i64(i64, i64)

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

; Blocks on this thread: CLAIM, then four times as many while they take no longer than POLL, because
; a function that is given several can share work between them.
define internal i32 @serial(ptr %rt, ptr %fn, ptr %args, i64 %blocks) {
entry:
  %some = icmp sgt i64 %blocks, 0
  br i1 %some, label %block, label %done
block:
  %begin = phi i64 [ 0, %entry ], [ %end, %more ]
  %count = phi i64 [ CLAIM, %entry ], [ %following, %more ]
  %start = call i64 @now()
  %stop_at = add i64 %begin, %count
  %end = call i64 @llvm.umin.i64(i64 %stop_at, i64 %blocks)
  call void %fn(ptr %args, i64 %begin, i64 %end, i64 0)
  %status = call i32 @gc_poll(ptr %rt)
  %stop = icmp ne i32 %status, 0
  br i1 %stop, label %interrupted, label %more
more:
  %now = call i64 @now()
  %passed = sub i64 %now, %start
  %time = call i64 @llvm.umax.i64(i64 %passed, i64 1)
  %done_blocks = sub i64 %end, %begin
  %scaled = mul i64 %done_blocks, POLL
  %fitting = udiv i64 %scaled, %time
  %most = mul i64 %done_blocks, 4
  %fewer = call i64 @llvm.umin.i64(i64 %fitting, i64 %most)
  %following = call i64 @llvm.umax.i64(i64 %fewer, i64 1)
  %left = icmp slt i64 %end, %blocks
  br i1 %left, label %block, label %done
interrupted:
  ret i32 2
done:
  ret i32 0
}
