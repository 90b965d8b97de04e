; When a call may run: its function's lock, and its turn among calls that use the same
; parameters. See builtin.py. All of this runs with the GIL held.

; The calls that run or wait to run of functions with parameters, in the order in which they
; came. (Even a short one may be overtaken: a signal handler lets other threads run.)
@calls = internal global ptr null

; Do two functions use a parameter in common that one of them updates?
define internal i1 @conflict(ptr %one, ptr %other) {
entry:
  %updates_one = field i64 %one State.updates
  %updates_other = field i64 %other State.updates
  %updates = or i64 %updates_one, %updates_other
  %readers = icmp eq i64 %updates, 0
  br i1 %readers, label %no, label %look
look:
  %n = field i64 %one State.n_parameters
  %m = field i64 %other State.n_parameters
  %pairs = mul i64 %n, %m
  %a = field ptr %one State.ranges
  %b = field ptr %other State.ranges
  %some = icmp ne i64 %pairs, 0
  br i1 %some, label %outer, label %no
outer:
  %i = phi i64 [ 0, %look ], [ %i2, %outer_next ]
  %pa = getelementptr { i64, i64 }, ptr %a, i64 %i
  %address_a = field i64 %pa 0
  br label %inner
inner:
  %j = phi i64 [ 0, %outer ], [ %j2, %inner_next ]
  %pb = getelementptr { i64, i64 }, ptr %b, i64 %j
  %address_b = field i64 %pb 0
  %same = icmp eq i64 %address_a, %address_b
  br i1 %same, label %yes, label %inner_next
inner_next:
  %j2 = add i64 %j, 1
  %more_j = icmp ult i64 %j2, %m
  br i1 %more_j, label %inner, label %outer_next
outer_next:
  %i2 = add i64 %i, 1
  %more_i = icmp ult i64 %i2, %n
  br i1 %more_i, label %outer, label %no
yes:
  ret i1 true
no:
  ret i1 false
}

; May a function run, seen from the calls before `until` (null: all)? 0, or 1 if it has to
; wait, or 2 if it would wait for a call of its own thread.
define internal i32 @turn(ptr %state, ptr %until) {
entry:
  %first = load ptr, ptr @calls
  br label %test
test:
  %call = phi ptr [ %first, %entry ], [ %next, %following ]
  %last = icmp eq ptr %call, %until
  %end = icmp eq ptr %call, null
  %over = or i1 %last, %end
  br i1 %over, label %free, label %compare
compare:
  %next = field ptr %call Turn.next
  %other = field ptr %call Turn.state
  %conflicting = call i1 @conflict(ptr %state, ptr %other)
  br i1 %conflicting, label %busy, label %following
following:
  br label %test
free:
  ret i32 0
busy:
  %thread = field i64 %call Turn.thread
  %own = call i64 @PyThread_get_thread_ident()
  %mine = icmp eq i64 %thread, %own
  %answer = select i1 %mine, i32 2, i32 1
  ret i32 %answer
}

; Put a call of a function at the end of the calls. It stays there until `gc_leave`.
define void @gc_enter(ptr %record, ptr %state) alwaysinline {
entry:
  %thread = call i64 @PyThread_get_thread_ident()
  put ptr null %record 0
  put ptr %state %record 1
  put i64 %thread %record 2
  br label %test
test:
  %place = phi ptr [ @calls, %entry ], [ %call, %test ]
  %call = load ptr, ptr %place
  %end = icmp eq ptr %call, null
  br i1 %end, label %append, label %test
append:
  store ptr %record, ptr %place
  ret void
}

; `turn` of a call that was put among the calls.
define i32 @gc_turn(ptr %record) {
  %state = field ptr %record Turn.state
  %answer = call i32 @turn(ptr %state, ptr %record)
  ret i32 %answer
}

define void @gc_leave(ptr %record) alwaysinline {
entry:
  br label %test
test:
  %place = phi ptr [ @calls, %entry ], [ %call, %other ]
  %call = load ptr, ptr %place
  %found = icmp eq ptr %call, %record
  %end = icmp eq ptr %call, null
  %stop = or i1 %found, %end
  br i1 %stop, label %stopped, label %other
other:
  br label %test
stopped:
  br i1 %end, label %done, label %remove
remove:
  %next = load ptr, ptr %record
  store ptr %next, ptr %place
  br label %done
done:
  ret void
}

; In the child of a fork nobody else runs.
define void @gc_forget() {
  store ptr null, ptr @calls
  ret void
}

; Run a function's program at once, with the cached workspace, and return its status: or
; REFUSED if it would have to wait, or the workspace is too small.
define internal i32 @run(ptr %state, ptr %bufs, ptr %symbols, i64 %need, i1 %long) alwaysinline {
entry:
  %record = alloca TURN
  %capacity = field i64 %state State.capacity
  %updates = field i64 %state State.updates
  %n_parameters = field i64 %state State.n_parameters
  %enough = icmp ule i64 %need, %capacity
  br i1 %enough, label %others, label %refuse
others:
  %calls = load ptr, ptr @calls
  %nobody = icmp eq ptr %calls, null
  %stateless = icmp eq i64 %n_parameters, 0
  %alone = or i1 %nobody, %stateless
  br i1 %alone, label %use, label %ask
ask:
  %answer = call i32 @turn(ptr %state, ptr null)
  %free = icmp eq i32 %answer, 0
  br i1 %free, label %use, label %refuse
use:
  %some_need = icmp ne i64 %need, 0
  %some_updates = icmp ne i64 %updates, 0
  %locked = or i1 %some_need, %some_updates
  br i1 %locked, label %lock, label %enter
lock:
  %swap = cmpxchg ptr %state, i64 0, i64 1 acquire monotonic
  %won = extractvalue { i64, i1 } %swap, 1
  br i1 %won, label %own, label %refuse
own:
  br i1 %some_updates, label %own_updates, label %enter
own_updates:
  %thread = call i64 @PyThread_get_thread_ident()
  %owner_field = getelementptr i8, ptr %state, i64 State.owner
  store i64 %thread, ptr %owner_field
  br label %enter
enter:
  br i1 %stateless, label %go, label %announce
announce:
  call void @gc_enter(ptr %record, ptr %state)
  br label %go
go:
  %program = field ptr %state State.program
  %workspace = field ptr %state State.workspace
  %threads = field i64 %state State.threads
  %status = call i32 @gc_run(ptr %program, ptr %bufs, ptr %symbols, ptr %workspace, i64 %threads, i1 %long)
  br i1 %stateless, label %left, label %leave
leave:
  call void @gc_leave(ptr %record)
  br label %left
left:
  br i1 %locked, label %unlock, label %done
unlock:
  %owned_field = getelementptr i8, ptr %state, i64 State.owner
  store i64 0, ptr %owned_field
  %old_lock = atomicrmw and ptr %state, i64 -2 release
  br label %done
done:
  ret i32 %status
refuse:
  ret i32 REFUSED
}
