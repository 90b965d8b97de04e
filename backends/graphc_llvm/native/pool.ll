; The worker threads, on Linux. See runtime.py.

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
