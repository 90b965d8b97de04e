; The builtin's helpers: checks of arguments, new results, and the run itself. See builtin.py.
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare ptr @PyObject_Vectorcall(ptr, ptr, i64, ptr)
declare i64 @PyLong_AsLongLongAndOverflow(ptr, ptr)
declare i64 @PyThread_get_thread_ident()
declare ptr @PyTuple_New(i64)
declare ptr @PyList_New(i64)
declare ptr @PyObject_Malloc(i64)
declare void @PyErr_Clear()
declare void @Py_IncRef(ptr)
declare void @Py_DecRef(ptr)
declare float @llvm.fabs.f32(float)

; Run a program with a record of its own; the GIL is held before and after.
define i32 @gc_run(ptr %program, ptr %bufs, ptr %dims, ptr %ws, i64 %threads, i1 %release) alwaysinline {
entry:
  %rt = alloca RECORD
  store RECORD zeroinitializer, ptr %rt
  store i64 %threads, ptr %rt
  br i1 %release, label %save, label %run
save:
  %thread_field = getelementptr RECORD, ptr %rt, i32 0, i32 3
  %saved = call ptr @PyEval_SaveThread()
  store ptr %saved, ptr %thread_field
  br label %run
run:
  %status = call i32 %program(ptr %rt, ptr %bufs, ptr %dims, ptr %ws, i64 %threads)
  br i1 %release, label %restore, label %done
restore:
  %field = getelementptr RECORD, ptr %rt, i32 0, i32 3
  %thread = load ptr, ptr %field
  call void @PyEval_RestoreThread(ptr %thread)
  br label %done
done:
  ret i32 %status
}

; Is it an array with the right element type, rank and flags?
define internal i1 @array_fits(ptr %state, ptr %x, ptr %tensor, i32 %flags) alwaysinline {
entry:
  %type = field ptr %x OBJECT_TYPE
  %ndarray = field ptr %state State.ndarray
  %is_array = icmp eq ptr %type, %ndarray
  br i1 %is_array, label %look, label %no
look:
  %dtype = field ptr %x ARRAY_DTYPE
  %wanted = field ptr %tensor Tensor.dtype
  %same_dtype = icmp eq ptr %dtype, %wanted
  %nd = field i32 %x ARRAY_RANK
  %nd_wide = sext i32 %nd to i64
  %rank = field i64 %tensor Tensor.rank
  %same_rank = icmp eq i64 %nd_wide, %rank
  %found = field i32 %x ARRAY_FLAGS
  %bits = and i32 %found, %flags
  %good = icmp eq i32 %bits, %flags
  %two = and i1 %same_dtype, %same_rank
  %all = and i1 %two, %good
  ret i1 %all
no:
  ret i1 false
}

; Compare the sizes of an input, bind its symbols, keep what `sizes` will check.
define internal i1 @bind_axes(ptr %x, ptr %tensor, ptr %symbols, ptr %found) alwaysinline {
entry:
  %dims = field ptr %x ARRAY_DIMS
  %rank = field i64 %tensor Tensor.rank
  %axes = field ptr %tensor Tensor.axes
  br label %axis
axis:
  %i = phi i64 [ 0, %entry ], [ %j, %next ]
  %size = item i64 %dims %i
  %here = getelementptr AXIS, ptr %axes, i64 %i
  %code = field i64 %here Axis.code
  %value = field i64 %here Axis.value
  switch i64 %code, label %fixed [ i64 BIND, label %bind i64 SYMBOL, label %symbol
                                   i64 DERIVED, label %derived ]
fixed:
  %same = icmp eq i64 %size, %value
  br i1 %same, label %next, label %no
symbol:
  %bound = item i64 %symbols %value
  %equal = icmp eq i64 %size, %bound
  br i1 %equal, label %next, label %no
bind:
  put i64 %size %symbols %value
  br label %next
derived:
  put i64 %size %found %value
  br label %next
next:
  %j = add i64 %i, 1
  %more = icmp ult i64 %j, %rank
  br i1 %more, label %axis, label %yes
yes:
  ret i1 true
no:
  ret i1 false
}

; A size of an output.
define internal i64 @size_of(ptr %axis, ptr %symbols, ptr %derived) alwaysinline {
entry:
  %code = field i64 %axis Axis.code
  %value = field i64 %axis Axis.value
  switch i64 %code, label %fixed [ i64 SYMBOL, label %symbol i64 DERIVED, label %computed ]
fixed:
  ret i64 %value
symbol:
  %bound = item i64 %symbols %value
  ret i64 %bound
computed:
  %result = item i64 %derived %value
  ret i64 %result
}

; Where the value of a rank-0 input is: in a NumPy scalar, a Python float, an array, or in
; `slot`, converted from a Python number. Null if it is none of these, or out of range.
define internal ptr @scalar(ptr %state, ptr %x, ptr %tensor, ptr %slot) {
entry:
  %overflow = alloca i32
  %type = field ptr %x OBJECT_TYPE
  %inside = getelementptr i8, ptr %x, i64 OBJECT_VALUE
  %wanted = field ptr %tensor Tensor.scalar
  %exact = icmp eq ptr %type, %wanted
  br i1 %exact, label %in_object, label %number
in_object:
  ret ptr %inside
number:
  %python_type = field ptr %tensor Tensor.number
  %is_number = icmp eq ptr %type, %python_type
  br i1 %is_number, label %convert, label %array
convert:
  %kind = field i64 %tensor Tensor.kind
  switch i64 %kind, label %integer [ i64 KIND_float64, label %in_object
                                     i64 KIND_float32, label %narrow_float ]
narrow_float:
  %wide = load double, ptr %inside
  %narrow = fptrunc double %wide to float
  %magnitude = call float @llvm.fabs.f32(float %narrow)
  %infinite = fcmp oeq float %magnitude, 0x7FF0000000000000
  %back = fpext float %narrow to double
  %changed = fcmp one double %back, %wide
  %too_large = and i1 %infinite, %changed
  store float %narrow, ptr %slot
  %float_result = select i1 %too_large, ptr null, ptr %slot
  ret ptr %float_result
integer:
  %value = call i64 @PyLong_AsLongLongAndOverflow(ptr %x, ptr %overflow)
  store i64 %value, ptr %slot
  %over = load i32, ptr %overflow
  %in_64 = icmp eq i32 %over, 0
  br i1 %in_64, label %range, label %none
range:
  switch i64 %kind, label %in_slot [ i64 KIND_int8, label %range_8
                                     i64 KIND_uint8, label %range_u8
                                     i64 KIND_int32, label %range_32 ]
range_8:
  %raised_8 = add i64 %value, 128
  br label %range_u8
range_u8:
  %low_8 = phi i64 [ %raised_8, %range_8 ], [ %value, %range ]
  %in_8 = icmp ult i64 %low_8, 256
  br i1 %in_8, label %in_slot, label %none
range_32:
  %raised_32 = add i64 %value, 2147483648
  %in_32 = icmp ult i64 %raised_32, 4294967296
  br i1 %in_32, label %in_slot, label %none
in_slot:
  ret ptr %slot
array:
  %fits = call i1 @array_fits(ptr %state, ptr %x, ptr %tensor, i32 READABLE)
  br i1 %fits, label %data, label %none
data:
  %where = field ptr %x ARRAY_DATA
  ret ptr %where
none:
  ret ptr null
}

; Store where the memory of an object begins and ends (rank 0: one element at `data`).
define internal void @find_range(ptr %x, ptr %tensor, ptr %data, ptr %range) alwaysinline {
entry:
  %itemsize = field i64 %tensor Tensor.itemsize
  %rank = field i64 %tensor Tensor.rank
  %is_scalar = icmp eq i64 %rank, 0
  br i1 %is_scalar, label %store, label %array
array:
  %dims = field ptr %x ARRAY_DIMS
  br label %axis
axis:
  %a = phi i64 [ 0, %array ], [ %a2, %axis ]
  %part = phi i64 [ %itemsize, %array ], [ %product, %axis ]
  %size = item i64 %dims %a
  %product = mul i64 %part, %size
  %a2 = add i64 %a, 1
  %more_axes = icmp ult i64 %a2, %rank
  br i1 %more_axes, label %axis, label %store
store:
  %nbytes = phi i64 [ %itemsize, %entry ], [ %product, %axis ]
  %begin = ptrtoint ptr %data to i64
  %end = add i64 %begin, %nbytes
  put i64 %begin %range 0
  put i64 %end %range 1
  ret void
}

; `find_range` of some objects.
define internal void @find_ranges(ptr %objects, ptr %tensors, ptr %bufs, i64 %n, ptr %ranges) alwaysinline {
entry:
  br label %test
test:
  %i = phi i64 [ 0, %entry ], [ %i2, %object ]
  %more = icmp ult i64 %i, %n
  br i1 %more, label %object, label %done
object:
  %x = item ptr %objects %i
  %tensor = getelementptr TENSOR, ptr %tensors, i64 %i
  %data = item ptr %bufs %i
  %range = getelementptr { i64, i64 }, ptr %ranges, i64 %i
  call void @find_range(ptr %x, ptr %tensor, ptr %data, ptr %range)
  %i2 = add i64 %i, 1
  br label %test
done:
  ret void
}

; Does a range overlap one of others?
define internal i1 @overlap(ptr %range, ptr %others, i64 %n) alwaysinline {
entry:
  %begin = item i64 %range 0
  %end = item i64 %range 1
  br label %test
test:
  %i = phi i64 [ 0, %entry ], [ %i2, %other ]
  %more = icmp ult i64 %i, %n
  br i1 %more, label %other, label %no
other:
  %place = getelementptr { i64, i64 }, ptr %others, i64 %i
  %other_begin = item i64 %place 0
  %other_end = item i64 %place 1
  %before = icmp ult i64 %begin, %other_end
  %after = icmp ult i64 %other_begin, %end
  %both = and i1 %before, %after
  %i2 = add i64 %i, 1
  br i1 %both, label %yes, label %test
yes:
  ret i1 true
no:
  ret i1 false
}

; A new array for an output; null if there is no memory.
define internal ptr @new_array(ptr %state, ptr %tensor, ptr %symbols, ptr %derived) alwaysinline {
entry:
  %shape = alloca [64 x i64]
  %rank = field i64 %tensor Tensor.rank
  %axes = field ptr %tensor Tensor.axes
  br label %axis
axis:
  %i = phi i64 [ 0, %entry ], [ %j, %axis ]
  %here = getelementptr AXIS, ptr %axes, i64 %i
  %size = call i64 @size_of(ptr %here, ptr %symbols, ptr %derived)
  put i64 %size %shape %i
  %j = add i64 %i, 1
  %more = icmp ult i64 %j, %rank
  br i1 %more, label %axis, label %create
create:
  %new = field ptr %state State.PyArray_NewFromDescr
  %ndarray = field ptr %state State.ndarray
  %dtype = field ptr %tensor Tensor.dtype
  %nd = trunc i64 %rank to i32
  call void @Py_IncRef(ptr %dtype)
  %array = call ptr %new(ptr %ndarray, ptr %dtype, i32 %nd, ptr %shape, ptr null, ptr null, i32 0, ptr null)
  ret ptr %array
}

; A NumPy scalar of an output's type; null if there is no memory.
define internal ptr @new_scalar(ptr %state, ptr %tensor, ptr %slot) alwaysinline {
entry:
  %kind = field i64 %tensor Tensor.kind
  %value = load i64, ptr %slot
  %is_bool = icmp eq i64 %kind, KIND_bool
  br i1 %is_bool, label %bool, label %other
bool:
  %byte = trunc i64 %value to i8
  %truth = icmp ne i8 %byte, 0
  %true = field ptr %state State.True
  %false = field ptr %state State.False
  %result = select i1 %truth, ptr %true, ptr %false
  call void @Py_IncRef(ptr %result)
  ret ptr %result
other:
  %scalar = call ptr @PyObject_Malloc(i64 SCALAR_SIZE)
  %failed = icmp eq ptr %scalar, null
  br i1 %failed, label %done, label %fill
fill:
  %type = field ptr %tensor Tensor.scalar
  put i64 1 %scalar 0
  put ptr %type %scalar 1
  put i64 %value %scalar 2
  br label %done
done:
  ret ptr %scalar
}

; Drop what was made for a call.
define internal void @release(ptr %objects, i64 %n) {
entry:
  br label %test
test:
  %i = phi i64 [ 0, %entry ], [ %j, %one ]
  %more = icmp ult i64 %i, %n
  br i1 %more, label %one, label %done
one:
  %x = item ptr %objects %i
  call void @Py_DecRef(ptr %x)
  %j = add i64 %i, 1
  br label %test
done:
  ret void
}
