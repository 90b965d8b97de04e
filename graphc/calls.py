"""The call path of a compiled function: from a user's arguments to results and back."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc import arguments
from graphc.backend import (
    Array,
    Backend,
    Executable,
    Job,
    ResultForm,
    get_backend,
)
from graphc.bound import (
    BoundCall,
    inputs_to_bind,
    refuse_copies,
    refuse_overlap,
    repeated,
)
from graphc.diff.sparse import SparseMatrix
from graphc.errors import (
    IndexOutOfRangeError,
    InputTypeError,
    NonFiniteError,
)
from graphc.expr import describe
from graphc.finite import with_finite_flag
from graphc.graph import Graph, content, graph_guards, graph_symbols
from graphc.interpret import find_bad_index
from graphc.origin import uncollected
from graphc.structure import Form, FormError

if TYPE_CHECKING:
    from graphc.loops.budget import Lowered
    from graphc.loops.group import Fusion
    from graphc.loops.ir import Program
    from graphc.options import Options
    from graphc.pipeline import Snapshot


class Calls:
    """A graph that a backend has made callable: calls, bound calls, arguments and results."""

    def __init__(
        self,
        name: str,
        graph: Graph,
        options: Options,
        backend: Backend,
        inputs: Form,
        outputs: Form,
        threads: int,
        target: str,
        matrices: Mapping[int, SparseMatrix],
        check_finite: bool,
    ) -> None:
        self.name = name
        self.graph = graph
        self._checks = check_finite
        self._runs = with_finite_flag(graph) if check_finite else graph
        self.options = options
        self.backend = backend.name
        self.threads = threads
        self.timings: dict[str, float] = {}
        self._lowers = backend.lowers
        self._planned: Lowered | None = None
        self._inputs = inputs
        self._outputs = outputs
        self._matrices = matrices
        self._names = arguments.keywords(inputs, graph.inputs)
        self._form: ResultForm = "list" if check_finite else _result_form(outputs)
        self._symbols = graph_symbols(self._runs)
        self._guards = graph_guards(self._runs)
        self._parameters = graph.parameters()
        self._executable: Executable = backend.load(
            Job(
                name,
                self._runs,
                self._symbols,
                self._guards,
                lambda: self._lowered.program,
                self._content,
                self._form,
                threads,
                options.math,
                target,
                self._slow,
            )
        )
        self.timings.update(self._executable.timings)

    @property
    def _lowered(self) -> Lowered:
        """What stages and loops make of the graph: by the backend's request, or, where code was
        kept from another time, when somebody asks what was compiled."""
        if self._planned is None:
            self._planned = self._lower()
        return self._planned

    def _lower(self) -> Lowered:
        from graphc.loops.budget import lower
        from graphc.pipeline import run_stages

        with uncollected():
            snapshots = run_stages(self._runs, self.options)
            start = time.perf_counter()
            merge = "fuse" not in self.options.skip
            lowered = lower(snapshots, merge=merge, memory=self.options.memory)
            self.timings["loops"] = time.perf_counter() - start
        return lowered

    def _content(self) -> str | None:
        """What determines the program. A stage that is to be verified must be run."""
        options = self.options
        told = None if options.verify or options.memory else content(self._runs)
        return told and f"{options.math} {sorted(options.skip)}\n{told}"

    @property
    def snapshots(self) -> Sequence[Snapshot]:
        """The graph after each stage."""
        return self._lowered.snapshots if self._lowers else self._given

    @cached_property
    def _given(self) -> Sequence[Snapshot]:
        from graphc.pipeline import Snapshot

        return [Snapshot("input", self.graph)]

    @property
    def program(self) -> Program | None:
        """The loop program, None for a backend that has none."""
        return self._lowered.program if self._lowers else None

    @property
    def fusion(self) -> Fusion | None:
        """How the program's kernels were chosen."""
        return self._lowered.fusion if self._lowers else None

    # calls -----------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._inputs.flat:
            args, kwargs = self._flat_arguments(args, kwargs)
        if self._checks:
            return self._checked(args, kwargs)
        result = self._run(*args, **kwargs)
        if self._matrices:
            result = self._with_matrices(result)
        if self._outputs.flat or self._form == "none":
            return result
        return self._outputs.build(result)

    def bind(self, *args: Any, out: Any = None, **kwargs: Any) -> BoundCall:
        """A call with its arguments fixed, which can be repeated at the least cost.

        All checks are done now. ``call()`` then runs the function on what the arrays hold,
        and allocates nothing (unless the function was compiled with ``check_finite``, or the
        backend has no native calls).

        Parameters
        ----------
        args, kwargs
            The arguments of a call. Arrays are bound themselves, so they must be of exactly
            the right type and contiguous; numbers become arrays of rank 0.
        out
            Arrays for the results as in a call; they are made if it is left out.

        Raises
        ------
        InputTypeError, InputError
            If an argument does not fit, or only a copy of it would; if a result shares memory
            with an input, a parameter or another result, or an input with a parameter that
            the function updates.

        Examples
        --------
        >>> import graphc as gr
        >>> x = gr.tensor("x", (3,), "float64")
        >>> values = np.array([1.0, 2.0, 3.0])
        >>> call = gr.compile([x], 2 * x).bind(values)
        >>> call()
        array([2., 4., 6.])
        >>> values[0] = 10.0
        >>> call() is call.outputs
        True
        >>> call.outputs
        array([20.,  4.,  6.])
        """
        if not self._inputs.flat:
            args, kwargs = self._flat_arguments(args, kwargs)
        name = f"{self.name}.bind"
        arrays = inputs_to_bind(name, self.graph.inputs, args, kwargs)
        _, sizes = self._prepared(arrays, {})
        targets, outputs = self._outputs_to_bind(name, arrays, sizes, out)
        backend = get_backend(self.backend)
        run = repeated(self.name, partial(self._again, arrays, sizes, targets, outputs))
        call: BoundCall = backend.function_class(BoundCall)(
            self.name, arrays, targets, outputs, run
        )
        if not self._checks:
            dims = [sizes[s] for s in self._symbols]
            backend.bind(call, self._executable.bind(arrays, targets, dims, outputs, run))
        return call

    def _outputs_to_bind(
        self, name: str, arrays: Sequence[Array], sizes: Mapping[str, int], out: Any
    ) -> tuple[list[Array], Any]:
        """Arrays to compute into, and what a bound call returns."""
        states = [p.value for p in self._parameters]
        if self.graph.updates:
            refuse_overlap(name, self.graph.inputs, arrays, states)
        given = self._listed(out)
        entries = given and [self._entries(i, value) for i, value in enumerate(given)]
        busy = [*arrays, *states]
        targets, copies = arguments.results(name, self.graph, entries, sizes, busy)
        refuse_copies(name, targets, copies)
        if given is None:
            sparse = self._matrices
            given = [sparse[i].matrix(t) if i in sparse else t for i, t in enumerate(targets)]
        return targets, self._outputs.build(given)

    def _again(
        self,
        arrays: Sequence[Array],
        sizes: Mapping[str, int],
        targets: Sequence[Array],
        outputs: Any,
    ) -> Any:
        """A bound call that is not native."""
        if self._checks:
            self._checked(arrays, {"out": outputs})
            return outputs
        try:
            self._executable.run(arrays, targets, [sizes[s] for s in self._symbols])
        except IndexError as error:
            raise self._index_error(arrays, sizes) from error
        return outputs

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        direct = self._executable.callable
        return (self._slow if direct is None else direct)(*args, **kwargs)

    def _checked(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Run, and hand the results out only if all of it is finite."""
        out = self._listed(kwargs.pop("out", None))
        if out is not None:
            out = [self._entries(i, value) for i, value in enumerate(out)]
            arguments.check_outs(self.name, self.graph, out, self._prepared(args, kwargs)[1])
        *results, finite = self._run(*args, **kwargs)
        if not finite:
            raise self._nonfinite_error(args, kwargs)
        if out is not None:
            for array, value in zip(out, results, strict=True):
                array[...] = value
            results = out
        if self._matrices:
            results = self._with_matrices(results)
        return self._outputs.build(results)

    def _nonfinite_error(self, args: Sequence[Any], kwargs: dict[str, Any]) -> NonFiniteError:
        from graphc.inspect.health.nonfinite import as_error, explain

        arrays, sizes = self._prepared(args, kwargs)
        return as_error(explain(self.name, self.graph, arrays, sizes, self.options))

    def _with_matrices(self, result: Any) -> Any:
        """The result with matrices for the values of their entries."""
        if self._form == "single":
            return self._matrices[0].matrix(result)
        made = list(result)
        for i, matrix in self._matrices.items():
            made[i] = matrix.matrix(made[i])
        return tuple(made) if self._form == "tuple" else made

    def _flat_arguments(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The inputs' values in order, and ``out`` if it was given."""
        form, names = self._inputs, self._names
        if not kwargs and len(args) == 1 and form.fits(args[0]):
            return tuple([args[0][key] for key in form.keys]), kwargs
        out = {k: kwargs.pop(k) for k in ("out",) if k in kwargs and "out" not in names}
        given: Any = args
        if form.kind is dict:
            given = arguments.by_key(self.name, form, args, kwargs)
        elif kwargs or len(args) != len(names):
            given = arguments.match(self.name, names, args, kwargs)
        try:
            return tuple(form.values(given)), out
        except FormError as error:
            raise arguments.form_error(f"{self.name}: the input", error) from None

    def _slow(self, *args: Any, **kwargs: Any) -> Any:
        """Convert the arguments and run, or raise the precise error and change nothing."""
        out = self._listed(kwargs.pop("out", None))
        if out is not None:
            out = [self._entries(i, value) for i, value in enumerate(out)]
        arrays, sizes = self._prepared(args, kwargs)
        states = [p.value for p in self._parameters]
        if self._runs.updates:
            arrays = [
                a.copy() if any(np.may_share_memory(a, s) for s in states) else a
                for a in arrays
            ]
        targets, copies = arguments.results(
            self.name, self._runs, out, sizes, [*arrays, *states]
        )
        try:
            self._executable.run(arrays, targets, [sizes[s] for s in self._symbols])
        except IndexError as error:
            raise self._index_error(arrays, sizes) from error
        for source, target in copies:
            target[...] = source
        return self._pack(targets, out)

    def _prepared(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[list[Array], dict[str, int]]:
        """Arrays of the inputs' types, and the values of the symbolic sizes."""
        inputs = self.graph.inputs
        values = arguments.match(self.name, [str(x.name) for x in inputs], args, kwargs)
        arrays = [
            arguments.convert(self.name, x, v) for x, v in zip(inputs, values, strict=True)
        ]
        sizes = arguments.bind_symbols(self.name, inputs, arrays)
        arguments.check_guards(self.name, self._guards, sizes)
        return arrays, sizes

    def _listed(self, out: Any) -> list[Any] | None:
        """The caller's arrays in the order of the outputs."""
        if out is None:
            return None
        if isinstance(out, np.ndarray) or (self._matrices and self._form == "single"):
            return [out]
        if isinstance(out, (list, tuple)) and self._outputs.shallow:
            return list(out)
        if self._outputs.kind is None:
            found = type(out).__name__
            raise InputTypeError(f"{self.name}: out is an array", where=[f"found  {found}"])
        try:
            return self._outputs.values(out)
        except FormError as error:
            raise arguments.form_error(f"{self.name}: out", error) from None

    def _entries(self, place: int, out: Any) -> Any:
        """The caller's array; of a sparse matrix the array of its entries."""
        matrix = self._matrices.get(place)
        if matrix is None or isinstance(out, np.ndarray):
            return out
        if not matrix.fits(out):
            raise InputTypeError(
                f"{self.name}: out of a sparse {matrix.name} is a CSR array of its pattern",
                where=[f"expected  {matrix.title}", f"found     {type(out).__name__}"],
                hint="one that an earlier call returned, or an array for its entries",
            )
        return out.data

    def _index_error(
        self, arrays: Sequence[Array], sizes: Mapping[str, int]
    ) -> IndexOutOfRangeError:
        """The error that names the index which lies outside its axis."""
        values = dict(zip(self.graph.inputs, arrays, strict=True))
        found = find_bad_index(self._runs.roots, values, sizes)
        if found is None:
            return IndexOutOfRangeError(f"{self.name}: an index is out of range")
        node, position, size = found
        stem = node.origin.stem if node.origin else node
        node = stem if stem.op is node.op else node  # a derivative reads an index ramp
        return IndexOutOfRangeError(
            f"{self.name}: the index {position} is out of range for an axis of size {size}",
            where=describe([("index", node.args[1]), (node.op.roles[0], node.args[0])]),
        )

    def _pack(self, targets: list[Array], out: list[Any] | None) -> Any:
        found = [t if t.ndim else t[()] for t in targets] if out is None else out
        if self._form == "none":
            return None
        if self._form == "single":
            return found[0]
        return tuple(found) if self._form == "tuple" else found


def _result_form(outputs: Form) -> ResultForm:
    """What the executable returns; other forms are built of a list."""
    if outputs.kind is type(None):
        return "none"
    if outputs.kind is None:
        return "single"
    return "tuple" if outputs.kind is tuple and outputs.flat else "list"
