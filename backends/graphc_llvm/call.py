"""The entry of a compiled function: a CPython builtin written in LLVM IR.

``NAME_call`` takes the arguments as CPython passes them (METH_FASTCALL | METH_KEYWORDS),
checks everything that the program relies on (exact array type, element type, rank, sizes,
contiguity, alignment, guards, overlap of ``out=``), allocates results and workspace and runs
the program. Whatever is not exactly as it should be is left to ``slow``, a Python callable
with the same arguments, which converts and runs, or raises the precise error.

Threads: calls may come from many at once. The cached workspace serves one call, the others
get memory of their own through ``slow``. Calls of a function that updates its parameters run
one after the other (`Entry.run` waits with the GIL released). A call releases the GIL if
its estimated work exceeds `RELEASE` ns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from graphc.errors import CompileError
from graphc.loops.ir import INDEX_ERROR, INTERRUPTED, Guard
from graphc.types import Atom, Dim, DType, Shape, Size, size_symbols
from graphc_llvm.emit import Function, Module, Value
from graphc_llvm.layout import (
    ADDRESS_NAMES,
    ARRAY_DATA,
    ARRAY_DIMS,
    ARRAY_DTYPE,
    ARRAY_FLAGS,
    ARRAY_RANK,
    LIST_ITEMS,
    OBJECT_TYPE,
    OBJECT_VALUE,
    TUPLE_ITEMS,
    VAR_SIZE,
)
from graphc_llvm.runtime import RECORD

#: A call with more estimated work (ns) than this lets other Python threads run.
RELEASE = 20_000

#: NumPy's flags: C-contiguous and aligned; writeable.
_READABLE, _WRITEABLE = 0x101, 0x400

#: The state of a function, in bytes from its start: the lock word, the cached workspace, the
#: number of threads, the thread that holds the lock of a function with updates, addresses of
#: the interpreter, then (begin, end) of each parameter.
LOCK, WORKSPACE, CAPACITY, THREADS, OWNER, ADDRESSES = range(0, 48, 8)
PARAMETERS = ADDRESSES + 8 * len(ADDRESS_NAMES)


@dataclass(frozen=True)
class Signature:
    """What a call of a program takes and gives; types are (dtype, shape).

    ``symbols`` are those of ``dims``, in order. ``parameters`` counts the arrays that follow
    inputs and outputs; ``updates`` tells whether the program writes to them. ``work`` is the
    estimated time of a call in ns.
    """

    inputs: tuple[tuple[DType, Shape], ...]
    outputs: tuple[tuple[DType, Shape], ...]
    symbols: tuple[str, ...] = ()
    guards: tuple[Guard, ...] = ()
    result: Literal["single", "tuple", "list", "none"] = "single"
    work: Size = 0
    parameters: int = 0
    updates: bool = False


_LLVM_TYPES = {
    "bool": "i8",
    "int8": "i8",
    "uint8": "i8",
    "int32": "i32",
    "int64": "i64",
    "float32": "float",
    "float64": "double",
}


def emit_entry(module: Module, name: str, signature: Signature) -> None:
    """Add ``NAME_call`` and ``NAME_run`` for the program ``NAME`` to its module.

    ``i32 @NAME_run(ptr bufs, ptr dims, ptr ws, i64 threads, i64 release)`` runs the program
    with a runtime record of its own, the GIL being held by the caller, and released
    during the run if ``release`` is not 0.
    """
    _emit_run(module, name)
    _emit_overlap(module)
    _CallWriter(module, name, signature).write()


def _emit_run(module: Module, name: str) -> None:
    params = [("ptr", "bufs"), ("ptr", "dims"), ("ptr", "ws"), ("i64", "threads")]
    f = Function(module, f"{name}_run", "i32", [*params, ("i64", "release")])
    rt = f.op(f"alloca {RECORD}")
    f.do(f"store {RECORD} zeroinitializer, ptr {rt}")
    f.do(f"store i64 %threads, ptr {rt}")
    thread = f.op(f"getelementptr {RECORD}, ptr {rt}, i32 0, i32 3")
    holding = f.op("icmp eq i64 %release, 0")
    f.branch_if(holding, "run", "release_gil")
    f.label("release_gil")
    f.do(f"store ptr {f.call('ptr', 'PyEval_SaveThread')}, ptr {thread}")
    f.branch("run")
    f.label("run")
    program = [("ptr", rt), ("ptr", "%bufs"), ("ptr", "%dims"), ("ptr", "%ws")]
    status = f.call("i32", name, *program, ("i64", "%threads"))
    f.branch_if(holding, "done", "acquire_gil")
    f.label("acquire_gil")
    f.call("void", "PyEval_RestoreThread", ("ptr", f.op(f"load ptr, ptr {thread}")))
    f.branch("done")
    f.label("done")
    f.do(f"ret i32 {status}")
    f.finish()


def _emit_overlap(module: Module) -> None:
    """``i1 @gc_overlap(ptr a, i64 na, ptr b, i64 nb)``: do any two (begin, end) ranges?"""
    module.functions["gc_overlap"] = _OVERLAP


_OVERLAP = """\
define internal i1 @gc_overlap(ptr %a, i64 %na, ptr %b, i64 %nb) {
entry:
  %pairs = mul i64 %na, %nb
  %some = icmp ne i64 %pairs, 0
  br i1 %some, label %outer, label %no
outer:
  %i = phi i64 [ 0, %entry ], [ %i2, %outer_next ]
  %pa = getelementptr { i64, i64 }, ptr %a, i64 %i
  %pa_end = getelementptr i64, ptr %pa, i64 1
  %a_begin = load i64, ptr %pa
  %a_end = load i64, ptr %pa_end
  br label %inner
inner:
  %j = phi i64 [ 0, %outer ], [ %j2, %inner_next ]
  %pb = getelementptr { i64, i64 }, ptr %b, i64 %j
  %pb_end = getelementptr i64, ptr %pb, i64 1
  %b_begin = load i64, ptr %pb
  %b_end = load i64, ptr %pb_end
  %before = icmp ult i64 %a_begin, %b_end
  %after = icmp ult i64 %b_begin, %a_end
  %both = and i1 %before, %after
  br i1 %both, label %yes, label %inner_next
inner_next:
  %j2 = add i64 %j, 1
  %j_more = icmp ult i64 %j2, %nb
  br i1 %j_more, label %inner, label %outer_next
outer_next:
  %i2 = add i64 %i, 1
  %i_more = icmp ult i64 %i2, %na
  br i1 %i_more, label %outer, label %no
yes:
  ret i1 true
no:
  ret i1 false
}"""


class _CallWriter:
    """Writes ``NAME_call``. Every failed check goes to ``slow``."""

    def __init__(self, module: Module, name: str, signature: Signature) -> None:
        params = [("ptr", "self"), ("ptr", "args"), ("i64", "nargs"), ("ptr", "kwnames")]
        self.f = Function(module, f"{name}_call", "ptr", params)
        self.name = name
        self.signature = signature
        self.values: dict[str, Value] = {}
        self.invalid: list[Value] = []
        self.n_in, self.n_out = len(signature.inputs), len(signature.outputs)

    def write(self) -> None:
        self._prologue()
        self._keywords()
        self._inputs()
        self._sizes()
        self._outputs()
        self._run()
        self._results()
        self._exits()
        self.f.finish()

    # Parts ------------------------------------------------------------------------------

    def _prologue(self) -> None:
        f, s = self.f, self.signature
        rank = max([len(shape) for _, shape in s.outputs] + [1])
        self.buffers = f.op(f"alloca [{self.n_in + self.n_out + s.parameters + 1} x ptr]")
        self.dims = f.op(f"alloca [{len(s.symbols) + 1} x i64]")
        self.slots = f.op(f"alloca [{self.n_in + self.n_out + 1} x i64]")
        self.ranges = f.op(f"alloca [{2 * (self.n_in + self.n_out) + 1} x i64]")
        self.objects = f.op(f"alloca [{self.n_out + 1} x ptr]")
        self.shape = f.op(f"alloca [{rank} x i64]")
        self.flag = f.op("alloca i32")
        self.state = self._field("ptr", self._field("ptr", "%self", TUPLE_ITEMS), ARRAY_DATA)
        self._require(f.op(f"icmp eq i64 %nargs, {self.n_in}"))

    def _keywords(self) -> None:
        f = self.f
        none = f.op("icmp eq ptr %kwnames, null")
        before = f.block
        f.branch_if(none, "positional", "keywords")
        f.label("keywords")
        self._require(f.op(f"icmp eq i64 {self._field('i64', '%kwnames', VAR_SIZE)}, 1"))
        key = self._field("ptr", "%kwnames", TUPLE_ITEMS)
        self._require(f.op(f"icmp eq ptr {key}, {self._address('out')}"))
        out = self._field("ptr", "%args", 8 * self.n_in)
        inside = f.block
        f.branch("positional")
        f.label("positional")
        self.out = f.op(f"phi ptr [ null, %{before} ], [ {out}, %{inside} ]")

    def _inputs(self) -> None:
        self.deferred: list[tuple[Size, Value]] = []
        for i, (dtype, shape) in enumerate(self.signature.inputs):
            given = self._field("ptr", "%args", 8 * i)
            data = self._tensor(given, dtype, shape) if shape else self._scalar(i, given, dtype)
            self._store("ptr", data, self.buffers, 8 * i)

    def _tensor(self, given: Value, dtype: DType, shape: Shape) -> Value:
        dims = self._array(given, dtype, len(shape))
        for axis, size in enumerate(shape):
            self._bind(size, self._field("i64", dims, 8 * axis))
        return self._field("ptr", given, ARRAY_DATA)

    def _array(self, given: Value, dtype: DType, rank: int, flags: int = _READABLE) -> Value:
        """Check an array, all but its sizes; where these are."""
        f = self.f
        kind = self._field("ptr", given, OBJECT_TYPE)
        self._require(f.op(f"icmp eq ptr {kind}, {self._address('ndarray')}"))
        found = self._field("ptr", given, ARRAY_DTYPE)
        self._require(f.op(f"icmp eq ptr {found}, {self._address(dtype.name)}"))
        found = self._field("i32", given, ARRAY_RANK)
        self._require(f.op(f"icmp eq i32 {found}, {rank}"))
        bits = f.op(f"and i32 {self._field('i32', given, ARRAY_FLAGS)}, {flags}")
        self._require(f.op(f"icmp eq i32 {bits}, {flags}"))
        return self._field("ptr", given, ARRAY_DIMS) if rank else ""

    def _bind(self, size: Size, found: Value) -> None:
        if not isinstance(size, Dim):
            self._require(self.f.op(f"icmp eq i64 {found}, {size}"))
        elif size.name and size.name not in self.values:
            self.values[size.name] = found
        else:
            self.deferred.append((size, found))

    def _scalar(self, i: int, given: Value, dtype: DType) -> Value:
        """A rank-0 input: a NumPy scalar, a Python number or an array; where its value is."""
        f = self.f
        kind = self._field("ptr", given, OBJECT_TYPE)
        inside = self._offset(given, OBJECT_VALUE)
        done = f.fresh("scalar")
        found: list[tuple[Value, str]] = []

        def alternative(condition: Value, value: Callable[[], Value]) -> None:
            yes, no = f.fresh("is"), f.fresh("other")
            f.branch_if(condition, yes, no)
            f.label(yes)
            found.append((value(), f.block))
            f.branch(done)
            f.label(no)

        def of_type(name: str) -> Value:
            return f.op(f"icmp eq ptr {kind}, {self._address(name)}")

        alternative(of_type(f"{dtype.name} scalar"), lambda: inside)
        if dtype.name == "float64":
            alternative(of_type("float"), lambda: inside)
        elif dtype.is_float:
            alternative(of_type("float"), lambda: self._narrow_float(i, inside))
        elif dtype.is_integer:
            alternative(of_type("int"), lambda: self._integer(i, given, dtype))
        self._array(given, dtype, 0)
        found.append((self._field("ptr", given, ARRAY_DATA), f.block))
        f.branch(done)
        f.label(done)
        return f.op("phi ptr " + ", ".join(f"[ {v}, %{b} ]" for v, b in found))

    def _narrow_float(self, i: int, inside: Value) -> Value:
        """A Python float as float32; one that overflows is left to ``slow``."""
        f = self.f
        wide = f.op(f"load double, ptr {inside}")
        narrow = f.op(f"fptrunc double {wide} to float")
        size = f.call("float", "llvm.fabs.f32", ("float", narrow))
        infinite = f.op(f"fcmp oeq float {size}, 0x7FF0000000000000")
        back = f.op(f"fpext float {narrow} to double")
        changed = f.op(f"fcmp one double {back}, {wide}")
        self._reject(f.op(f"and i1 {infinite}, {changed}"))
        self._store("float", narrow, self.slots, 8 * i)
        return self._offset(self.slots, 8 * i)

    def _integer(self, i: int, given: Value, dtype: DType) -> Value:
        """A Python int in the range of the type."""
        f = self.f
        arguments = [("ptr", given), ("ptr", self.flag)]
        value = f.call("i64", "PyLong_AsLongLongAndOverflow", *arguments)
        self._require(f.op(f"icmp eq i32 {f.op(f'load i32, ptr {self.flag}')}, 0"))
        narrow, wide = value, _LLVM_TYPES[dtype.name]
        if wide != "i64":
            narrow = f.op(f"trunc i64 {value} to {wide}")
            extend = "zext" if dtype.name.startswith("u") else "sext"
            back = f.op(f"{extend} {wide} {narrow} to i64")
            self._require(f.op(f"icmp eq i64 {back}, {value}"))
        self._store(wide, narrow, self.slots, 8 * i)
        return self._offset(self.slots, 8 * i)

    def _sizes(self) -> None:
        """Solve for symbols, compare derived sizes, check guards."""
        f = self.f
        pending = self.deferred
        while pending:
            rest = [(s, v) for s, v in pending if not self._settle(s, v)]
            if len(rest) == len(pending):
                names = sorted({n for s, _ in rest for n in size_symbols(s)})
                raise CompileError(
                    f"sizes {', '.join(names)} cannot be found from the inputs' shapes",
                    hint="give some input an axis of that size",
                )
            pending = rest
        missing = [n for n in self.signature.symbols if n not in self.values]
        if missing:
            raise CompileError(f"no input has an axis of size {', '.join(missing)}")
        for guard in self.signature.guards:
            size = self._size(guard.size)
            self._require(f.op(f"icmp sge i64 {size}, {guard.minimum}"))
        for i, symbol in enumerate(self.signature.symbols):
            self._store("i64", self.values[symbol], self.dims, 8 * i)
        self.shapes = [[self._size(d) for d in shape] for _, shape in self.signature.outputs]
        for shape in self.shapes:
            for size in shape:
                if size.startswith("%"):
                    self._require(f.op(f"icmp sge i64 {size}, 0"))
        self._reject_invalid()

    def _settle(self, size: Size, found: Value) -> bool:
        """Compare a derived size, or solve it for its one unknown symbol if it is linear."""
        f = self.f
        unknown = size_symbols(size) - self.values.keys()
        if not unknown:
            self._require(f.op(f"icmp eq i64 {found}, {self._size(size)}"))
            return True
        (name, *others) = unknown
        factor = dict(size.terms).get((name,), 0) if isinstance(size, Dim) else 0
        if others or factor <= 0:
            return False
        rest = size - Dim({(name,): factor})
        if name in size_symbols(rest):
            return False
        scaled = self._checked("ssub", found, self._size(rest))
        self._require(f.op(f"icmp sge i64 {scaled}, 0"))
        self._require(f.op(f"icmp eq i64 {f.op(f'srem i64 {scaled}, {factor}')}, 0"))
        self.values[name] = f.op(f"sdiv i64 {scaled}, {factor}")
        return True

    def _outputs(self) -> None:
        f = self.f
        self._check_inputs()
        f.branch_if(f.op(f"icmp eq ptr {self.out}, null"), "allocate", "given")
        f.label("given")
        if self.signature.result == "none":
            f.branch("slow")
        else:
            self._given()
            f.branch("ready")
        f.label("allocate")
        self._allocate()
        f.branch("ready")
        f.label("ready")

    def _given(self) -> None:
        f, s = self.f, self.signature
        outs = self._unpack_out()
        for k, (dtype, shape) in enumerate(s.outputs):
            dims = self._array(outs[k], dtype, len(shape), _READABLE | _WRITEABLE)
            for axis, size in enumerate(self.shapes[k]):
                found = self._field("i64", dims, 8 * axis)
                self._require(f.op(f"icmp eq i64 {found}, {size}"))
            data = self._field("ptr", outs[k], ARRAY_DATA)
            self._store("ptr", data, self.buffers, 8 * (self.n_in + k))
        self._check_outputs()
        for k, out in enumerate(outs):
            f.call("void", "Py_IncRef", ("ptr", out))
            self._store("ptr", out, self.objects, 8 * k)

    def _unpack_out(self) -> list[Value]:
        """The arrays in ``out``: itself, or the items of a tuple or list."""
        f, n = self.f, self.n_out
        if self.signature.result == "single":
            return [self.out]
        kind = self._field("ptr", self.out, OBJECT_TYPE)
        f.branch_if(f.op(f"icmp eq ptr {kind}, {self._address('tuple')}"), "out_tuple", "out_list")
        f.label("out_tuple")
        in_tuple = self._offset(self.out, TUPLE_ITEMS)
        f.branch("out_items")
        f.label("out_list")
        self._require(f.op(f"icmp eq ptr {kind}, {self._address('list')}"))
        in_list = self._field("ptr", self.out, LIST_ITEMS)
        after = f.block
        f.branch("out_items")
        f.label("out_items")
        items = f.op(f"phi ptr [ {in_tuple}, %out_tuple ], [ {in_list}, %{after} ]")
        self._require(f.op(f"icmp eq i64 {self._field('i64', self.out, VAR_SIZE)}, {n}"))
        return [self._field("ptr", items, 8 * k) for k in range(n)]

    def _check_outputs(self) -> None:
        """No output may overlap an input, a parameter or another output."""
        s, outs = self.signature, self._offset(self.ranges, 16 * self.n_in)
        self._ranges(0, [self._shape(shape) for _, shape in s.inputs], s.inputs)
        self._ranges(self.n_in, self.shapes, s.outputs)
        self._disjoint(outs, self.n_out, self.ranges, self.n_in)
        self._disjoint(outs, self.n_out, self._offset(self.state, PARAMETERS), s.parameters)
        for k in range(1, self.n_out):
            self._disjoint(self._offset(outs, 16 * k), 1, outs, k)

    def _check_inputs(self) -> None:
        """No input of a program that writes to its parameters may overlap them."""
        s = self.signature
        if s.updates and s.parameters:
            self._ranges(0, [self._shape(shape) for _, shape in s.inputs], s.inputs)
            parameters = self._offset(self.state, PARAMETERS)
            self._disjoint(self.ranges, self.n_in, parameters, s.parameters)

    def _shape(self, shape: Shape) -> list[Value]:
        return [self._size(size) for size in shape]

    def _ranges(
        self, first: int, shapes: list[list[Value]], types: tuple[tuple[DType, Shape], ...]
    ) -> None:
        """Store where the buffers begin and end, from the ``first`` one on."""
        f = self.f
        for i, (sizes, (dtype, _)) in enumerate(zip(shapes, types, strict=True), first):
            nbytes: Value = str(dtype.itemsize)
            for size in sizes:
                nbytes = f.op(f"mul i64 {nbytes}, {size}")
            pointer = self._field("ptr", self.buffers, 8 * i)
            begin = f.op(f"ptrtoint ptr {pointer} to i64")
            self._store("i64", begin, self.ranges, 16 * i)
            self._store("i64", f.op(f"add i64 {begin}, {nbytes}"), self.ranges, 16 * i + 8)

    def _disjoint(self, a: Value, n_a: int, b: Value, n_b: int) -> None:
        if n_a and n_b:
            arguments = [("ptr", a), ("i64", str(n_a)), ("ptr", b), ("i64", str(n_b))]
            self._reject(self.f.call("i1", "gc_overlap", *arguments))

    def _allocate(self) -> None:
        """New arrays for the results; those of rank 0 become scalars after the run."""
        f = self.f
        for k in range(self.n_out):
            self._store("ptr", "null", self.objects, 8 * k)
        for k, (dtype, shape) in enumerate(self.signature.outputs):
            data = self._offset(self.slots, 8 * (self.n_in + k))
            if shape:
                array = self._new_array(k, dtype)
                self._store("ptr", array, self.objects, 8 * k)
                self._require(f.op(f"icmp ne ptr {array}, null"), "no_memory")
                data = self._field("ptr", array, ARRAY_DATA)
            self._store("ptr", data, self.buffers, 8 * (self.n_in + k))

    def _new_array(self, k: int, dtype: DType) -> Value:
        f, sizes = self.f, self.shapes[k]
        for axis, size in enumerate(sizes):
            self._store("i64", size, self.shape, 8 * axis)
        descriptor = self._address(dtype.name)
        f.call("void", "Py_IncRef", ("ptr", descriptor))  # the reference is consumed
        new, kind = self._address("PyArray_NewFromDescr"), self._address("ndarray")
        return f.op(
            f"call ptr {new}(ptr {kind}, ptr {descriptor}, i32 {len(sizes)}, "
            f"ptr {self.shape}, ptr null, ptr null, i32 0, ptr null)"
        )

    def _run(self) -> None:
        f, s = self.f, self.signature
        for i in range(s.parameters):
            pointer = self._field("ptr", self.state, PARAMETERS + 16 * i)
            self._store("ptr", pointer, self.buffers, 8 * (self.n_in + self.n_out + i))
        threads = self._field("i64", self.state, THREADS)
        program = [("ptr", self.dims), ("i64", threads)]
        need = f.call("i64", f"{self.name}_workspace", *program)
        capacity = self._field("i64", self.state, CAPACITY)
        self._require(f.op(f"icmp ule i64 {need}, {capacity}"), "drop")
        lock = self._offset(self.state, LOCK)
        using = "true" if s.updates else f.op(f"icmp ne i64 {need}, 0")
        before = f.block
        f.branch_if(using, "lock", "run")
        f.label("lock")
        swap = f.op(f"cmpxchg ptr {lock}, i64 0, i64 1 acquire monotonic")
        self._require(f.op(f"extractvalue {{ i64, i1 }} {swap}, 1"), "drop")
        if s.updates:
            owner = f.call("i64", "PyThread_get_thread_ident")
            self._store("i64", owner, self.state, OWNER)
        f.branch("run")
        f.label("run")
        release = f.op(f"icmp sgt i64 {self._size(s.work)}, {RELEASE}")
        workspace = self._field("ptr", self.state, WORKSPACE)
        arguments = [("ptr", self.buffers), *program[:1], ("ptr", workspace), ("i64", threads)]
        wide = f.op(f"zext i1 {release} to i64")
        status = f.call("i32", f"{self.name}_run", *arguments, ("i64", wide))
        f.branch_if(using, "unlock", "finished")
        f.label("unlock")
        if s.updates:
            self._store("i64", "0", self.state, OWNER)
        f.op(f"atomicrmw and ptr {lock}, i64 -2 release")
        f.branch("finished")
        f.label("finished")
        cases = f"i32 {INDEX_ERROR}, label %drop i32 {INTERRUPTED}, label %fail"
        f.do(f"switch i32 {status}, label %drop [ i32 0, label %results {cases} ]")

    def _results(self) -> None:
        f, s = self.f, self.signature
        f.label("results")
        for k, (dtype, shape) in enumerate(s.outputs):
            if not shape:
                self._make_scalar(k, dtype)
        if s.result == "single":
            f.do(f"ret ptr {self._field('ptr', self.objects, 0)}")
        elif s.result == "none":
            self._drop_objects()
            none = self._address("None")
            f.call("void", "Py_IncRef", ("ptr", none))
            f.do(f"ret ptr {none}")
        else:
            self._container("PyTuple_New" if s.result == "tuple" else "PyList_New")

    def _make_scalar(self, k: int, dtype: DType) -> None:
        """A NumPy scalar from the slot of result ``k``, unless an array was given for it."""
        f = self.f
        slot = self.n_in + k
        make, made = f.fresh("make"), f.fresh("made")
        given = self._field("ptr", self.objects, 8 * k)
        f.branch_if(f.op(f"icmp eq ptr {given}, null"), make, made)
        f.label(make)
        kind = _LLVM_TYPES[dtype.name]
        value = self._field(kind, self.slots, 8 * slot)
        if dtype.is_bool:
            true, false = self._address("True"), self._address("False")
            truth = f.op(f"icmp ne i8 {value}, 0")
            scalar = f.op(f"select i1 {truth}, ptr {true}, ptr {false}")
            f.call("void", "Py_IncRef", ("ptr", scalar))
        else:
            scalar = f.call("ptr", "_PyObject_New", ("ptr", self._address(f"{dtype.name} scalar")))
            self._require(f.op(f"icmp ne ptr {scalar}, null"), "fail")
            self._store(kind, value, scalar, OBJECT_VALUE)
        self._store("ptr", scalar, self.objects, 8 * k)
        f.branch(made)
        f.label(made)

    def _container(self, new: str) -> None:
        f = self.f
        result = f.call("ptr", new, ("i64", str(self.n_out)))
        self._require(f.op(f"icmp ne ptr {result}, null"), "fail")
        items = self._offset(result, TUPLE_ITEMS)
        if new == "PyList_New" and self.n_out:
            items = self._field("ptr", result, LIST_ITEMS)
        for k in range(self.n_out):
            item = self._field("ptr", self.objects, 8 * k)
            self._store("ptr", item, items, 8 * k)
        f.do(f"ret ptr {result}")

    def _exits(self) -> None:
        f = self.f
        f.label("fail")
        self._drop_objects()
        f.do("ret ptr null")
        f.label("no_memory")
        f.call("void", "PyErr_Clear")
        f.branch("drop")
        f.label("drop")
        self._drop_objects()
        f.branch("slow")
        f.label("slow")
        slow = self._field("ptr", "%self", TUPLE_ITEMS + 8)
        arguments = [("ptr", "%args"), ("i64", "%nargs"), ("ptr", "%kwnames")]
        f.do(f"ret ptr {f.call('ptr', 'PyObject_Vectorcall', ('ptr', slow), *arguments)}")

    def _drop_objects(self) -> None:
        for k in range(self.n_out):
            item = self._field("ptr", self.objects, 8 * k)
            self.f.call("void", "Py_DecRef", ("ptr", item))  # may be null

    # Pieces -----------------------------------------------------------------------------

    def _offset(self, pointer: Value, nbytes: int) -> Value:
        return self.f.op(f"getelementptr i8, ptr {pointer}, i64 {nbytes}") if nbytes else pointer

    def _field(self, kind: str, pointer: Value, nbytes: int) -> Value:
        return self.f.op(f"load {kind}, ptr {self._offset(pointer, nbytes)}")

    def _store(self, kind: str, value: Value, pointer: Value, nbytes: int) -> None:
        self.f.do(f"store {kind} {value}, ptr {self._offset(pointer, nbytes)}")

    def _address(self, name: str) -> Value:
        """An address of the interpreter or of NumPy, from the state."""
        return self._field("ptr", self.state, ADDRESSES + 8 * ADDRESS_NAMES.index(name))

    def _require(self, condition: Value, otherwise: str = "slow") -> None:
        ok = self.f.fresh("ok")
        self.f.branch_if(condition, ok, otherwise)
        self.f.label(ok)

    def _reject(self, condition: Value) -> None:
        ok = self.f.fresh("ok")
        self.f.branch_if(condition, "slow", ok)
        self.f.label(ok)

    def _size(self, size: Size) -> Value:
        """A size as i64. Overflow and division by zero are noted for `_reject_invalid`."""
        if not isinstance(size, Dim):
            return str(size)
        total: Value = "0"
        for monomial, coefficient in size.terms:
            term: Value = str(coefficient)
            for atom in monomial:
                term = self._checked("smul", self._atom(atom), term)
            total = self._checked("sadd", total, term)
        return total

    def _atom(self, atom: Atom) -> Value:
        if isinstance(atom, str):
            return self.values[atom]
        f = self.f
        numerator, given = self._size(atom.numerator), self._size(atom.denominator)
        invalid = f.op(f"icmp slt i64 {given}, 1")
        self.invalid.append(invalid)
        denominator = f.op(f"select i1 {invalid}, i64 1, i64 {given}")
        quotient = f.op(f"sdiv i64 {numerator}, {denominator}")
        rest = f.op(f"srem i64 {numerator}, {denominator}")
        below = f.op(f"lshr i64 {rest}, 63")  # rounds down, as Python does
        return f.op(f"sub i64 {quotient}, {below}")

    def _checked(self, operation: str, a: Value, b: Value) -> Value:
        neutral = "1" if operation == "smul" else "0"
        if neutral in (a, b) and operation != "ssub":
            return b if a == neutral else a
        pair = self.f.call(
            "{ i64, i1 }", f"llvm.{operation}.with.overflow.i64", ("i64", a), ("i64", b)
        )
        self.invalid.append(self.f.op(f"extractvalue {{ i64, i1 }} {pair}, 1"))
        return self.f.op(f"extractvalue {{ i64, i1 }} {pair}, 0")

    def _reject_invalid(self) -> None:
        for condition in self.invalid:
            self._reject(condition)
        self.invalid = []
