; The builtin. See builtin.py.

define ptr @gc_call(ptr %self, ptr %args, i64 %nargs, ptr %kwnames) {
entry:
  %holder = field ptr %self TUPLE_ITEMS
  %state = field ptr %holder ARRAY_DATA
  %n_in = field i64 %state State.n_inputs
  %n_out = field i64 %state State.n_outputs
  %n_par = field i64 %state State.n_parameters
  %n_sym = field i64 %state State.n_symbols
  %n_found = field i64 %state State.n_found
  %n_derived = field i64 %state State.n_derived
  %n_io = add i64 %n_in, %n_out
  %n_bufs = add i64 %n_io, %n_par
  %one = alloca ptr
  %few_bufs = alloca [FEW x ptr]
  %few_slots = alloca [FEW x i64]
  %few_ranges = alloca [FEW x { i64, i64 }]
  %few_objects = alloca [FEW x ptr]
  %few_symbols = alloca [FEW x i64]
  %few_found = alloca [FEW x i64]
  %few_derived = alloca [FEW x i64]
  %count1 = or i64 %n_bufs, %n_sym
  %count2 = or i64 %n_found, %n_derived
  %counts = or i64 %count1, %count2
  %are_few = icmp ult i64 %counts, FEW
  br i1 %are_few, label %begin, label %many
many:
  %many_bufs = alloca ptr, i64 %n_bufs
  %many_slots = alloca i64, i64 %n_io
  %many_ranges = alloca { i64, i64 }, i64 %n_io
  %many_objects = alloca ptr, i64 %n_out
  %many_symbols = alloca i64, i64 %n_sym
  %many_found = alloca i64, i64 %n_found
  %many_derived = alloca i64, i64 %n_derived
  br label %begin
begin:
  %bufs = phi ptr [ %few_bufs, %entry ], [ %many_bufs, %many ]
  %slots = phi ptr [ %few_slots, %entry ], [ %many_slots, %many ]
  %ranges = phi ptr [ %few_ranges, %entry ], [ %many_ranges, %many ]
  %objects = phi ptr [ %few_objects, %entry ], [ %many_objects, %many ]
  %symbols = phi ptr [ %few_symbols, %entry ], [ %many_symbols, %many ]
  %found = phi ptr [ %few_found, %entry ], [ %many_found, %many ]
  %derived = phi ptr [ %few_derived, %entry ], [ %many_derived, %many ]
  %inputs = field ptr %state State.inputs
  %outputs = field ptr %state State.outputs
  %out_bufs = getelementptr ptr, ptr %bufs, i64 %n_in
  %out_slots = getelementptr i64, ptr %slots, i64 %n_in
  %par_ranges = field ptr %state State.ranges
  %result = field i64 %state State.result
  %no_outputs = icmp eq i64 %n_out, 0
  %count_ok = icmp eq i64 %nargs, %n_in
  br i1 %count_ok, label %keywords, label %slow

keywords:
  %positional = icmp eq ptr %kwnames, null
  br i1 %positional, label %inputs_begin, label %one_keyword
one_keyword:
  %n_keywords = field i64 %kwnames VAR_SIZE
  %is_one = icmp eq i64 %n_keywords, 1
  br i1 %is_one, label %keyword_name, label %slow
keyword_name:
  %name = field ptr %kwnames TUPLE_ITEMS
  %out_name = field ptr %state State.out
  %is_out = icmp eq ptr %name, %out_name
  br i1 %is_out, label %keyword_value, label %slow
keyword_value:
  %given_out = item ptr %args %n_in
  br label %inputs_begin

inputs_begin:
  %out = phi ptr [ null, %keywords ], [ %given_out, %keyword_value ]
  %no_inputs = icmp eq i64 %n_in, 0
  br i1 %no_inputs, label %sizes, label %input
input:
  %i = phi i64 [ 0, %inputs_begin ], [ %i2, %input_next ]
  %x = item ptr %args %i
  %tensor = getelementptr TENSOR, ptr %inputs, i64 %i
  %rank = field i64 %tensor Tensor.rank
  %is_scalar = icmp eq i64 %rank, 0
  br i1 %is_scalar, label %input_scalar, label %input_array
input_array:
  %fits = call i1 @array_fits(ptr %state, ptr %x, ptr %tensor, i32 READABLE)
  br i1 %fits, label %input_axes, label %slow
input_axes:
  %in_array = field ptr %x ARRAY_DATA
  %bound = call i1 @bind_axes(ptr %x, ptr %tensor, ptr %symbols, ptr %found)
  br i1 %bound, label %input_next, label %slow
input_scalar:
  %type = field ptr %x OBJECT_TYPE
  %plain = field ptr %tensor Tensor.plain
  %inside = getelementptr i8, ptr %x, i64 OBJECT_VALUE
  %is_plain = icmp eq ptr %type, %plain
  br i1 %is_plain, label %input_next, label %input_other
input_other:
  %slot = getelementptr i64, ptr %slots, i64 %i
  %in_scalar = call ptr @scalar(ptr %state, ptr %x, ptr %tensor, ptr %slot)
  %scalar_ok = icmp ne ptr %in_scalar, null
  br i1 %scalar_ok, label %input_next, label %slow
input_next:
  %data = phi ptr [ %in_array, %input_axes ], [ %inside, %input_scalar ], [ %in_scalar, %input_other ]
  put ptr %data %bufs %i
  %i2 = add i64 %i, 1
  %more_inputs = icmp ult i64 %i2, %n_in
  br i1 %more_inputs, label %input, label %sizes

sizes:
  %sizes_function = field ptr %state State.sizes
  %fixed_work = field i64 %state State.work
  %no_sizes = icmp eq ptr %sizes_function, null
  br i1 %no_sizes, label %sized, label %compute
compute:
  %sizes_ok = call i1 %sizes_function(ptr %symbols, ptr %found, ptr %derived)
  %computed_work = item i64 %derived 0
  br i1 %sizes_ok, label %sized, label %slow
sized:
  %work = phi i64 [ %fixed_work, %sizes ], [ %computed_work, %compute ]
  %updates = field i64 %state State.updates
  %no_updates = icmp eq i64 %updates, 0
  br i1 %no_updates, label %outputs_begin, label %inputs_apart
inputs_apart:
  call void @find_ranges(ptr %args, ptr %inputs, ptr %bufs, i64 %n_in, ptr %ranges)
  br label %apart_test
apart_test:
  %u = phi i64 [ 0, %inputs_apart ], [ %u2, %apart ]
  %more_apart = icmp ult i64 %u, %n_in
  br i1 %more_apart, label %apart, label %outputs_begin
apart:
  %u_range = getelementptr { i64, i64 }, ptr %ranges, i64 %u
  %u2 = add i64 %u, 1
  %in_parameter = call i1 @overlap(ptr %u_range, ptr %par_ranges, i64 %n_par)
  br i1 %in_parameter, label %slow, label %apart_test

outputs_begin:
  %allocating = icmp eq ptr %out, null
  br i1 %allocating, label %clear, label %given
given:
  call void @find_ranges(ptr %args, ptr %inputs, ptr %bufs, i64 %n_in, ptr %ranges)
  switch i64 %result, label %given_many [ i64 SINGLE, label %given_one i64 NONE, label %slow ]
given_one:
  store ptr %out, ptr %one
  br label %given_items
given_many:
  %out_type = field ptr %out OBJECT_TYPE
  %tuple = field ptr %state State.tuple
  %list = field ptr %state State.list
  %is_tuple = icmp eq ptr %out_type, %tuple
  br i1 %is_tuple, label %given_tuple, label %given_other
given_tuple:
  %tuple_items = getelementptr i8, ptr %out, i64 TUPLE_ITEMS
  br label %given_size
given_other:
  %is_list = icmp eq ptr %out_type, %list
  br i1 %is_list, label %given_list, label %slow
given_list:
  %list_items = field ptr %out LIST_ITEMS
  br label %given_size
given_size:
  %many_items = phi ptr [ %tuple_items, %given_tuple ], [ %list_items, %given_list ]
  %n_given = field i64 %out VAR_SIZE
  %right_number = icmp eq i64 %n_given, %n_out
  br i1 %right_number, label %given_items, label %slow
given_items:
  %items = phi ptr [ %one, %given_one ], [ %many_items, %given_size ]
  br i1 %no_outputs, label %ready, label %given_array
given_array:
  %g = phi i64 [ 0, %given_items ], [ %g2, %given_more ]
  %y = item ptr %items %g
  %y_tensor = getelementptr TENSOR, ptr %outputs, i64 %g
  %y_fits = call i1 @array_fits(ptr %state, ptr %y, ptr %y_tensor, i32 WRITEABLE)
  br i1 %y_fits, label %given_axes, label %slow
given_axes:
  %y_rank = field i64 %y_tensor Tensor.rank
  %y_axes = field ptr %y_tensor Tensor.axes
  br label %given_axes_test
given_axes_test:
  %a = phi i64 [ 0, %given_axes ], [ %a2, %given_axis ]
  %axes_left = icmp ult i64 %a, %y_rank
  br i1 %axes_left, label %given_axis, label %given_next
given_axis:
  %y_dims = field ptr %y ARRAY_DIMS
  %y_size = item i64 %y_dims %a
  %y_axis = getelementptr AXIS, ptr %y_axes, i64 %a
  %y_wanted = call i64 @size_of(ptr %y_axis, ptr %symbols, ptr %derived)
  %a2 = add i64 %a, 1
  %y_same = icmp eq i64 %y_size, %y_wanted
  br i1 %y_same, label %given_axes_test, label %slow
given_next:
  %y_data = field ptr %y ARRAY_DATA
  put ptr %y_data %out_bufs %g
  put ptr %y %objects %g
  %y_number = add i64 %n_in, %g
  %y_range = getelementptr { i64, i64 }, ptr %ranges, i64 %y_number
  call void @find_range(ptr %y, ptr %y_tensor, ptr %y_data, ptr %y_range)
  %on_other = call i1 @overlap(ptr %y_range, ptr %ranges, i64 %y_number)
  br i1 %on_other, label %slow, label %given_parameters
given_parameters:
  %on_parameter = call i1 @overlap(ptr %y_range, ptr %par_ranges, i64 %n_par)
  %g2 = add i64 %g, 1
  br i1 %on_parameter, label %slow, label %given_more
given_more:
  %more_given = icmp ult i64 %g2, %n_out
  br i1 %more_given, label %given_array, label %hold
hold:
  %h = phi i64 [ 0, %given_more ], [ %h2, %hold ]
  %held = item ptr %objects %h
  %references = field i64 %held OBJECT_REFERENCES
  %more_references = add i64 %references, 1
  put i64 %more_references %held OBJECT_REFERENCES
  %h2 = add i64 %h, 1
  %more_held = icmp ult i64 %h2, %n_out
  br i1 %more_held, label %hold, label %ready

clear:
  br i1 %no_outputs, label %ready, label %clear_one
clear_one:
  %c = phi i64 [ 0, %clear ], [ %c2, %clear_one ]
  put ptr null %objects %c
  %c2 = add i64 %c, 1
  %more_clear = icmp ult i64 %c2, %n_out
  br i1 %more_clear, label %clear_one, label %allocate
allocate:
  %k = phi i64 [ 0, %clear_one ], [ %k2, %allocated ]
  %k_tensor = getelementptr TENSOR, ptr %outputs, i64 %k
  %k_rank = field i64 %k_tensor Tensor.rank
  %k_slot = getelementptr i64, ptr %out_slots, i64 %k
  %k_scalar = icmp eq i64 %k_rank, 0
  br i1 %k_scalar, label %allocated, label %allocate_array
allocate_array:
  %array = call ptr @new_array(ptr %state, ptr %k_tensor, ptr %symbols, ptr %derived)
  put ptr %array %objects %k
  %no_array = icmp eq ptr %array, null
  br i1 %no_array, label %no_memory, label %allocated_array
allocated_array:
  %array_data = field ptr %array ARRAY_DATA
  br label %allocated
allocated:
  %k_data = phi ptr [ %k_slot, %allocate ], [ %array_data, %allocated_array ]
  put ptr %k_data %out_bufs %k
  %k2 = add i64 %k, 1
  %more_outputs = icmp ult i64 %k2, %n_out
  br i1 %more_outputs, label %allocate, label %ready

ready:
  %no_parameters = icmp eq i64 %n_par, 0
  br i1 %no_parameters, label %memory, label %parameter
parameter:
  %p = phi i64 [ 0, %ready ], [ %p2, %parameter ]
  %p_range = getelementptr { i64, i64 }, ptr %par_ranges, i64 %p
  %p_data = field ptr %p_range 0
  %p_buf = add i64 %n_io, %p
  put ptr %p_data %bufs %p_buf
  %p2 = add i64 %p, 1
  %more_parameters = icmp ult i64 %p2, %n_par
  br i1 %more_parameters, label %parameter, label %memory
memory:
  %fixed_need = field i64 %state State.fixed_need
  %is_fixed = icmp sge i64 %fixed_need, 0
  br i1 %is_fixed, label %start, label %ask
ask:
  %threads = field i64 %state State.threads
  %need_function = field ptr %state State.need
  %asked = call i64 %need_function(ptr %symbols, i64 %threads)
  br label %start
start:
  %need = phi i64 [ %fixed_need, %memory ], [ %asked, %ask ]
  %long = icmp sgt i64 %work, RELEASE
  %status = call i32 @run(ptr %state, ptr %bufs, ptr %symbols, i64 %need, i1 %long)
  switch i32 %status, label %drop [ i32 0, label %results i32 INTERRUPTED, label %fail ]

results:
  br i1 %no_outputs, label %pack, label %scalar_test
scalar_test:
  %s = phi i64 [ 0, %results ], [ %s2, %scalar_next ]
  %s_object = item ptr %objects %s
  %s_missing = icmp eq ptr %s_object, null
  br i1 %s_missing, label %scalar_make, label %scalar_next
scalar_make:
  %s_tensor = getelementptr TENSOR, ptr %outputs, i64 %s
  %s_slot = getelementptr i64, ptr %out_slots, i64 %s
  %s_new = call ptr @new_scalar(ptr %state, ptr %s_tensor, ptr %s_slot)
  put ptr %s_new %objects %s
  %s_failed = icmp eq ptr %s_new, null
  br i1 %s_failed, label %fail, label %scalar_next
scalar_next:
  %s2 = add i64 %s, 1
  %more_scalars = icmp ult i64 %s2, %n_out
  br i1 %more_scalars, label %scalar_test, label %pack
pack:
  switch i64 %result, label %pack_tuple [ i64 SINGLE, label %pack_single i64 LIST, label %pack_list
                                          i64 NONE, label %pack_none ]
pack_single:
  %single = load ptr, ptr %objects
  ret ptr %single
pack_none:
  call void @release(ptr %objects, i64 %n_out)
  %none = field ptr %state State.None
  call void @Py_IncRef(ptr %none)
  ret ptr %none
pack_tuple:
  %new_tuple = call ptr @PyTuple_New(i64 %n_out)
  %no_tuple = icmp eq ptr %new_tuple, null
  %new_tuple_items = getelementptr i8, ptr %new_tuple, i64 TUPLE_ITEMS
  br i1 %no_tuple, label %fail, label %pack_items
pack_list:
  %new_list = call ptr @PyList_New(i64 %n_out)
  %no_list = icmp eq ptr %new_list, null
  br i1 %no_list, label %fail, label %pack_list_items
pack_list_items:
  %new_list_items = field ptr %new_list LIST_ITEMS
  br label %pack_items
pack_items:
  %container = phi ptr [ %new_tuple, %pack_tuple ], [ %new_list, %pack_list_items ]
  %places = phi ptr [ %new_tuple_items, %pack_tuple ], [ %new_list_items, %pack_list_items ]
  br label %pack_test
pack_test:
  %t = phi i64 [ 0, %pack_items ], [ %t2, %pack_one ]
  %more_items = icmp ult i64 %t, %n_out
  br i1 %more_items, label %pack_one, label %packed
pack_one:
  %packed_item = item ptr %objects %t
  put ptr %packed_item %places %t
  %t2 = add i64 %t, 1
  br label %pack_test
packed:
  ret ptr %container

no_memory:
  call void @PyErr_Clear()
  br label %drop
fail:
  call void @release(ptr %objects, i64 %n_out)
  ret ptr null
drop:
  call void @release(ptr %objects, i64 %n_out)
  br label %slow
slow:
  %slow_field = getelementptr i8, ptr %self, i64 TUPLE_ITEMS
  %slow_function = field ptr %slow_field 8
  %slow_result = call ptr @PyObject_Vectorcall(ptr %slow_function, ptr %args, i64 %nargs, ptr %kwnames)
  ret ptr %slow_result
}

; The builtin of calls whose arguments are bound: everything is known but whether it may run.
define ptr @gc_bound(ptr %self, ptr %args, i64 %nargs, ptr %kwnames) {
entry:
  %holder = field ptr %self TUPLE_ITEMS
  %bound = field ptr %holder ARRAY_DATA
  %positional = icmp eq ptr %kwnames, null
  %none = icmp eq i64 %nargs, 0
  %fits = and i1 %positional, %none
  br i1 %fits, label %start, label %slow
start:
  %state = field ptr %bound Bound.state
  %bufs = field ptr %bound Bound.bufs
  %symbols = field ptr %bound Bound.symbols
  %need = field i64 %bound Bound.need
  %work = field i64 %bound Bound.work
  %result = field ptr %bound Bound.result
  %long = icmp sgt i64 %work, RELEASE
  %status = call i32 @run(ptr %state, ptr %bufs, ptr %symbols, i64 %need, i1 %long)
  switch i32 %status, label %slow [ i32 0, label %done i32 INTERRUPTED, label %fail ]
done:
  call void @Py_IncRef(ptr %result)
  ret ptr %result
fail:
  ret ptr null
slow:
  %slow_field = getelementptr i8, ptr %self, i64 TUPLE_ITEMS
  %slow_function = field ptr %slow_field 8
  %slow_result = call ptr @PyObject_Vectorcall(ptr %slow_function, ptr %args, i64 %nargs, ptr %kwnames)
  ret ptr %slow_result
}

; The vectorcalls of a `NativeCallable` that is bound to such a builtin: its `self` is at hand.
define ptr @gc_call_direct(ptr %object, ptr %args, i64 %nargs, ptr %kwnames) {
  %self = field ptr %object 24
  %count = and i64 %nargs, 9223372036854775807
  %result = tail call ptr @gc_call(ptr %self, ptr %args, i64 %count, ptr %kwnames)
  ret ptr %result
}

define ptr @gc_bound_direct(ptr %object, ptr %args, i64 %nargs, ptr %kwnames) {
  %self = field ptr %object 24
  %count = and i64 %nargs, 9223372036854775807
  %result = tail call ptr @gc_bound(ptr %self, ptr %args, i64 %count, ptr %kwnames)
  ret ptr %result
}
