; The worker threads, on Linux. See runtime.py.

; A region: state, function, arguments, threads, floating-point mode, the caller's core, whether
; a worker was on it. One cache line.
%region = type { i64, ptr, ptr, i64, i64, i32, i32 }
@region = internal global %region zeroinitializer, align 64
; Of each thread: the next block of its share, and the end. Two cache lines, as processors
; fetch pairs of them.
@shares = internal global [MAX_THREADS x [16 x i64]] zeroinitializer, align 128
@sleepers = internal global i32 0, align 64
@busy = internal global i32 0, align 64
@started = internal global i64 0
@account = internal global i64 0

declare i64 @llvm.smin.i64(i64, i64)
declare i64 @syscall(i64, ...)
declare i32 @clock_gettime(i32, ptr)
declare i32 @sched_getcpu()
declare i32 @sched_getaffinity(i32, i64, ptr)
declare i32 @sched_setaffinity(i32, i64, ptr)
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

; The next blocks of a share: the first one and how many, none if it is used up. Three of
; four: those that are left are for threads that have nothing else to do.
define internal { i64, i64 } @claim(ptr %share) {
entry:
  %end_field = getelementptr i64, ptr %share, i64 1
  %end = load atomic i64, ptr %end_field monotonic, align 8
  %first = load atomic i64, ptr %share monotonic, align 8
  br label %look
look:
  %begin = phi i64 [ %first, %entry ], [ %seen, %some ]
  %left = sub i64 %end, %begin
  %any = icmp sgt i64 %left, 0
  br i1 %any, label %some, label %none
some:
  %quarter = lshr i64 %left, 2
  %most = sub i64 %left, %quarter
  %count = call i64 @llvm.umin.i64(i64 %most, i64 CLAIM)
  %after = add i64 %begin, %count
  %swap = cmpxchg ptr %share, i64 %begin, i64 %after monotonic monotonic
  %seen = extractvalue { i64, i1 } %swap, 0
  %won = extractvalue { i64, i1 } %swap, 1
  br i1 %won, label %mine, label %look
mine:
  %pair = insertvalue { i64, i64 } poison, i64 %begin, 0
  %claimed = insertvalue { i64, i64 } %pair, i64 %after, 1
  ret { i64, i64 } %claimed
none:
  ret { i64, i64 } zeroinitializer
}

; Run the blocks of the share of thread %id, then what is left of the shares of others. Returns
; how many it were, or -1 if interrupted.
define internal i64 @take(ptr %rt, i64 %id) {
entry:
  %fn = load ptr, ptr getelementptr (%region, ptr @region, i32 0, i32 1)
  %args = load ptr, ptr getelementptr (%region, ptr @region, i32 0, i32 2)
  %threads = load i64, ptr getelementptr (%region, ptr @region, i32 0, i32 3)
  br label %thread
thread:
  %k = phi i64 [ 0, %entry ], [ %k_next, %empty ]
  %before = phi i64 [ 0, %entry ], [ %done, %empty ]
  %turned = add i64 %id, %k
  %wrapped = sub i64 %turned, %threads
  %inside = icmp ult i64 %turned, %threads
  %owner = select i1 %inside, i64 %turned, i64 %wrapped
  %share = getelementptr [16 x i64], ptr @shares, i64 %owner
  br label %next
next:
  %done = phi i64 [ %before, %thread ], [ %more, %block ]
  %blocks = call { i64, i64 } @claim(ptr %share)
  %begin = extractvalue { i64, i64 } %blocks, 0
  %end = extractvalue { i64, i64 } %blocks, 1
  %some = icmp ult i64 %begin, %end
  br i1 %some, label %block, label %empty
block:
  call void %fn(ptr %args, i64 %begin, i64 %end, i64 %id)
  %count = sub i64 %end, %begin
  %more = add i64 %done, %count
  %polled = call i32 @gc_poll(ptr %rt)
  %go_on = icmp eq i32 %polled, 0
  br i1 %go_on, label %next, label %interrupted
empty:
  %k_next = add i64 %k, 1
  %others = icmp ult i64 %k_next, %threads
  br i1 %others, label %thread, label %finished
finished:
  ret i64 %done
interrupted:
  ret i64 -1
}

; Cut blocks into a share for each thread.
define internal void @divide(i64 %blocks, i64 %threads) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %j, %loop ]
  %begin = phi i64 [ 0, %entry ], [ %end, %loop ]
  %share = getelementptr [16 x i64], ptr @shares, i64 %i
  %end_field = getelementptr i64, ptr %share, i64 1
  %j = add i64 %i, 1
  %part = mul i64 %blocks, %j
  %end = udiv i64 %part, %threads
  store i64 %begin, ptr %share
  store i64 %end, ptr %end_field
  %more = icmp ult i64 %j, %threads
  br i1 %more, label %loop, label %done
done:
  ret void
}

; Leave nothing to take.
define internal void @cancel(i64 %threads) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %j, %loop ]
  %share = getelementptr [16 x i64], ptr @shares, i64 %i
  store atomic i64 4611686018427387904, ptr %share monotonic, align 8
  %j = add i64 %i, 1
  %more = icmp ult i64 %j, %threads
  br i1 %more, label %loop, label %done
done:
  ret void
}

; On the caller's core a worker notes that, and moves to another that it may use. Afterwards it
; may use the same ones as before.
define internal void @keep_off() {
entry:
  %allowed = alloca [16 x i64]
  %others = alloca [16 x i64]
  %mine = call i32 @sched_getcpu()
  %callers = load atomic i32, ptr getelementptr (%region, ptr @region, i32 0, i32 5)
      monotonic, align 4
  %same = icmp eq i32 %mine, %callers
  %known = icmp ult i32 %mine, 1024
  %crowded = and i1 %same, %known
  br i1 %crowded, label %look, label %out
look:
  store atomic i32 1, ptr getelementptr (%region, ptr @region, i32 0, i32 6)
      monotonic, align 4
  %unknown = call i32 @sched_getaffinity(i32 0, i64 128, ptr %allowed)
  %fine = icmp eq i32 %unknown, 0
  br i1 %fine, label %move, label %out
move:
  %cores = load [16 x i64], ptr %allowed
  store [16 x i64] %cores, ptr %others
  %number = zext i32 %mine to i64
  %word = lshr i64 %number, 6
  %place = getelementptr i64, ptr %others, i64 %word
  %shift = and i64 %number, 63
  %bit = shl i64 1, %shift
  %rest = xor i64 %bit, -1
  %old = load i64, ptr %place
  %new = and i64 %old, %rest
  store i64 %new, ptr %place
  %r1 = call i32 @sched_setaffinity(i32 0, i64 128, ptr %others)
  %r2 = call i32 @sched_setaffinity(i32 0, i64 128, ptr %allowed)
  br label %out
out:
  ret void
}

define internal ptr @worker(ptr %unused) {
entry:
  br label %top
top:
  %s = load atomic i64, ptr @region seq_cst, align 8
  %open = and i64 %s, 1048576
  %closed = icmp eq i64 %open, 0
  %entered_bits = lshr i64 %s, 10
  %entered = and i64 %entered_bits, 1023
  %limit_bits = lshr i64 %s, 22
  %limit = and i64 %limit_bits, 1023
  %full = icmp uge i64 %entered, %limit
  %out = or i1 %closed, %full
  br i1 %out, label %idle, label %enter
enter:
  %inside = add i64 %s, 1025
  %swap = cmpxchg ptr @region, i64 %s, i64 %inside acq_rel acquire
  %won = extractvalue { i64, i1 } %swap, 1
  br i1 %won, label %work, label %top
work:
  %id = add i64 %entered, 1
  %mode = load i64, ptr getelementptr (%region, ptr @region, i32 0, i32 4)
  call void @set_float_mode(i64 %mode)
  call void @keep_off()
  %done = call i64 @take(ptr null, i64 %id)
  %old = atomicrmw sub ptr @region, i64 1 acq_rel
  %active = and i64 %old, 2098175
  %last = icmp eq i64 %active, 2097153
  br i1 %last, label %wake, label %top
wake:
  call void @futex_wake(ptr @region, i32 1)
  br label %top
idle:
  %generation_bits = lshr i64 %s, 32
  %generation = trunc i64 %generation_bits to i32
  call void @keep_off()
  %soon = call i1 @spin(ptr getelementptr (i8, ptr @region, i64 4), i32 -1, i32 %generation)
  br i1 %soon, label %top, label %sleep
sleep:
  %more = atomicrmw add ptr @sleepers, i32 1 seq_cst
  call void @futex_wait(ptr getelementptr (i8, ptr @region, i64 4), i32 %generation)
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

; Enter in the account what a region has saved: the time that the caller would have taken for
; all blocks, as judged by those it has run, less the time that the region took. With a worker
; on the caller's core it has lost half of that, and what that worker has spun.
define internal void @settle(i64 %own, i64 %done, i64 %blocks, i64 %passed) {
  %scaled = mul i64 %own, %blocks
  %some = call i64 @llvm.umax.i64(i64 %done, i64 1)
  %alone = udiv i64 %scaled, %some
  %less = sub i64 %alone, %passed
  %half = sdiv i64 %passed, -2
  %lost = sub i64 %half, SPIN
  %beside = load atomic i32, ptr getelementptr (%region, ptr @region, i32 0, i32 6)
      monotonic, align 4
  store atomic i32 0, ptr getelementptr (%region, ptr @region, i32 0, i32 6) monotonic, align 4
  %apart = icmp eq i32 %beside, 0
  %saved = select i1 %apart, i64 %less, i64 %lost
  %counted = call i64 @llvm.smin.i64(i64 %saved, i64 SAVED)
  %old = load i64, ptr @account
  %sum = add i64 %old, %counted
  %new = call i64 @llvm.smin.i64(i64 %sum, i64 CREDIT)
  store i64 %new, ptr @account
  ret void
}

; Blocks on this thread, which pays back a part of the time they take.
define internal i32 @repay(ptr %rt, ptr %fn, ptr %args, i64 %blocks) {
  %start = call i64 @now()
  %status = call i32 @serial(ptr %rt, ptr %fn, ptr %args, i64 %blocks)
  %end = call i64 @now()
  %time = sub i64 %end, %start
  %part = udiv i64 %time, REPAID
  %old = load i64, ptr @account
  %new = add i64 %old, %part
  store i64 %new, ptr @account
  ret i32 %status
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
  br i1 %won, label %check, label %alone
check:
  %credit = load i64, ptr @account
  %debt = icmp slt i64 %credit, 0
  br i1 %debt, label %owing, label %ready
owing:
  %owing_status = call i32 @repay(ptr %rt, ptr %fn, ptr %args, i64 %blocks)
  store atomic i32 0, ptr @busy release, align 4
  ret i32 %owing_status
ready:
  %limit = sub i64 %wanted, 1
  %workers = call i64 @start(i64 %limit)
  %deserted = icmp eq i64 %workers, 0
  br i1 %deserted, label %give_up, label %publish
publish:
  call void @divide(i64 %blocks, i64 %wanted)
  store ptr %fn, ptr getelementptr (%region, ptr @region, i32 0, i32 1)
  store ptr %args, ptr getelementptr (%region, ptr @region, i32 0, i32 2)
  store i64 %wanted, ptr getelementptr (%region, ptr @region, i32 0, i32 3)
  %mode = call i64 @float_mode_now()
  store i64 %mode, ptr getelementptr (%region, ptr @region, i32 0, i32 4)
  %core = call i32 @sched_getcpu()
  store atomic i32 %core, ptr getelementptr (%region, ptr @region, i32 0, i32 5)
      monotonic, align 4
  %before = load atomic i64, ptr @region monotonic, align 8
  %generation = and i64 %before, -4294967296
  %limit_bits = shl i64 %limit, 22
  %opened = or i64 %limit_bits, 4296015872
  %new = add i64 %generation, %opened
  store atomic i64 %new, ptr @region seq_cst, align 8
  %start = call i64 @now()
  %asleep = load atomic i32, ptr @sleepers seq_cst, align 4
  %all_awake = icmp eq i32 %asleep, 0
  br i1 %all_awake, label %take, label %wake
wake:
  %count = trunc i64 %limit to i32
  call void @futex_wake(ptr getelementptr (i8, ptr @region, i64 4), i32 %count)
  %awake = call i64 @now()
  br label %take
take:
  %begin = phi i64 [ %start, %publish ], [ %awake, %wake ]
  %done = call i64 @take(ptr %rt, i64 0)
  %end = call i64 @now()
  %interrupted = icmp slt i64 %done, 0
  br i1 %interrupted, label %stop, label %close
stop:
  call void @cancel(i64 %wanted)
  br label %close
close:
  %status = phi i32 [ 0, %take ], [ 2, %stop ]
  %was = atomicrmw and ptr @region, i64 -1048577 acq_rel
  %inside = and i64 %was, 1023
  %nobody = icmp eq i64 %inside, 0
  br i1 %nobody, label %left, label %join
join:
  %value = load atomic i64, ptr @region acquire, align 8
  %active = and i64 %value, 1023
  %empty = icmp eq i64 %active, 0
  br i1 %empty, label %joined, label %patience
patience:
  %low = trunc i64 %active to i32
  %changed = call i1 @spin(ptr @region, i32 1023, i32 %low)
  br i1 %changed, label %join, label %sleep
sleep:
  %marked = atomicrmw or ptr @region, i64 2097152 acq_rel
  %now_waiting = or i64 %marked, 2097152
  %still = and i64 %marked, 1023
  %over = icmp eq i64 %still, 0
  br i1 %over, label %joined, label %wait
wait:
  %expected = trunc i64 %now_waiting to i32
  call void @futex_wait(ptr @region, i32 %expected)
  br label %join
joined:
  %late = call i64 @now()
  br label %left
left:
  %last = phi i64 [ %end, %close ], [ %late, %joined ]
  %own = sub i64 %end, %begin
  %passed = sub i64 %last, %start
  br i1 %interrupted, label %finished, label %settle
settle:
  call void @settle(i64 %own, i64 %done, i64 %blocks, i64 %passed)
  br label %finished
finished:
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
  store i64 0, ptr @region
  store i32 0, ptr @busy
  store i64 0, ptr @account
  ret void
}

define i64 @gc_workers() {
  %n = load i64, ptr @started
  ret i64 %n
}

define ptr @gc_account() {
  ret ptr @account
}
