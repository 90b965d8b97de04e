"""compile(): from expressions to a function that runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from graphc.backend import (
    get_backend,
)
from graphc.diff.sparse import SparseMatrix
from graphc.errors import (
    CompileError,
    GraphError,
)
from graphc.expr import Expr, describe
from graphc.function import CompiledFunction, Contract, Kept
from graphc.graph import Graph, check
from graphc.ops.leaves import Parameter
from graphc.structure import Form, flatten

if TYPE_CHECKING:
    from graphc.options import Math, Memory

Structure: TypeAlias = (
    "Expr | SparseMatrix | Sequence[Structure] | Mapping[Any, Structure] | None"
)


def _flatten(
    what: str, structure: Structure, kinds: type | tuple[type, ...] = Expr
) -> tuple[tuple[Any, ...], Form]:
    """The Exprs of a structure, in order (GraphError if it holds anything else)."""
    hint = f"{what} is an Expr, or a list, tuple or dict of them"
    values, form = flatten(structure)
    for value in values:
        if not isinstance(value, kinds):
            found, verb = type(value).__name__, "is" if form.kind is None else "holds"
            raise GraphError(f"compile: {what} {verb} {found}, not an expression", hint=hint)
    return tuple(values), form


def _updates(updates: Mapping[Parameter, Any] | None) -> tuple[tuple[Parameter, Expr], ...]:
    pairs = []
    if updates is not None and not isinstance(updates, Mapping):
        raise GraphError(
            f"compile: updates is {type(updates).__name__}, not a dict",
            hint="updates={parameter: next value}",
        )
    for parameter, value in (updates or {}).items():
        if not isinstance(parameter, Parameter):
            shown = describe([("key", parameter)]) if isinstance(parameter, Expr) else []
            raise GraphError(
                f"compile: an update needs a parameter as its key, not {parameter!r}",
                where=shown,
                hint="make state with gr.parameter(name, value)",
            )
        if not isinstance(value, Expr):
            raise GraphError(
                f"compile: the update of {parameter.name!r} is {type(value).__name__}, "
                "not an expression",
                where=describe([("parameter", parameter)]),
                hint="for a fixed value gr.constant, broadcast to the parameter's shape",
            )
        pairs.append((parameter, value))
    return tuple(pairs)


def _skipped(skip: str | Sequence[str]) -> frozenset[str]:
    """The stages to leave out (CompileError if one is unknown or needed)."""
    if not skip:
        return frozenset()
    from graphc.pipeline import GRAPH_STAGES

    known = [*(s.name for s in GRAPH_STAGES if s.optional), "fuse"]
    for name in [skip] if isinstance(skip, str) else skip:
        if name not in known:
            raise CompileError(
                f"compile: there is no stage {name!r} to skip",
                hint=f"stages: {', '.join(known)}",
            )
    return frozenset([skip] if isinstance(skip, str) else skip)


def _memory(limit: Any, sizes: Any, backend: str) -> Memory | None:
    """The limit of the workspace (CompileError if it means nothing)."""
    if limit is None and sizes is None:
        return None
    from graphc.options import Memory

    if type(limit) is not int or limit < 0:
        raise CompileError(f"compile: memory_limit is a number of bytes, not {limit!r}")
    stated = {} if sizes is None else sizes
    if not isinstance(stated, Mapping) or not all(
        isinstance(s, str) and type(n) is int and n >= 0 for s, n in stated.items()
    ):
        raise CompileError(
            f"compile: memory_sizes gives a number for each symbolic size, not {sizes!r}",
            hint='memory_sizes={"batch": 128}',
        )
    if backend == "interpret":
        raise CompileError(
            'compile: the backend "interpret" keeps every value, whatever memory_limit is',
            hint='backend="llvm"',
        )
    return Memory(limit, dict(stated))


def available_threads() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def compile(
    inputs: Structure,
    outputs: Structure,
    updates: Mapping[Parameter, Expr] | None = None,
    *,
    backend: str = "llvm",
    threads: int | None = None,
    math: Math = "default",
    verify: bool = False,
    name: str = "f",
    target: str = "native",
    skip: str | Sequence[str] = (),
    contracts: Sequence[Contract] = (),
    check_finite: bool = False,
    memory_limit: int | None = None,
    memory_sizes: Mapping[str, int] | None = None,
) -> CompiledFunction:
    """Compile a graph to a function.

    Parameters
    ----------
    inputs
        The leaves that a call gives values for: an Expr, a list or tuple, or a dict, nested as
        you like; a call gives values in the same form.
    outputs
        What a call returns, in the same form: an Expr, a list, a tuple, a dict, or None, nested
        as you like: ``gr.compile([x, t], gr.value_and_grad(loss, [w, b]))``. Nested forms and
        dicts are put together in Python, which takes a few microseconds a call. A sparse
        Jacobian or Hessian comes as a ``scipy.sparse.csr_array``.
    updates
        The next value of parameters, by parameter. All are computed from the old values and
        the outputs; then the parameters change, all of them or, on any error, none.
    backend
        ``"llvm"`` (native code) or ``"interpret"`` (NumPy).
    threads
        Threads of large kernels; all cores that the process may use by default. Results do not
        depend on it.
    math
        ``"strict"``: exact rewrites only and every operation rounded. ``"default"``: rewrites
        that change rounding or the sign of a zero, fused multiply-add. ``"fast"``: as default,
        and denormal numbers may be taken as zero.
    verify
        Check the result of every stage.
    name
        For reports, errors and generated code: a Python identifier.
    target
        ``"native"``, or a lower level of this machine: ``"avx512"``, ``"avx2"``, ``"sse2"``.
    skip
        Names of stages to leave out, for comparison.
    contracts
        Promises to check: `graphc.assert_cost`, `graphc.assert_workspace`,
        `graphc.assert_one_kernel`. The report lists what was measured.
    check_finite
        Raise `NonFiniteError`, whose text is that of `CompiledFunction.explain_nonfinite`, if a
        result or the next value of a parameter is infinite or NaN; nothing has changed then.
        The function computes one more result, whether all are finite, and takes the next values
        of parameters only if that holds: some passes over results and parameters more, and a
        few microseconds a call.
    memory_limit
        The most bytes that the workspace may take. Where it would take more, values that wait
        between forward and backward pass are dropped and computed again (see `checkpoint`,
        which marks them by hand); the report says what and why. Results stay the same.
    memory_sizes
        Numbers for symbolic sizes, for which the limit is to hold: ``{"batch": 128}``.

    Raises
    ------
    CompileError
        If a name, a mode or a number is none; if no program within ``memory_limit`` is found.
    ContractError
        If a promise does not hold.
    GraphError
        If a leaf is missing from the inputs, a name is used twice, or an update is not of a
        parameter.
    ShapeError, DTypeError
        If an update has another type than its parameter.

    Examples
    --------
    >>> import graphc as gr
    >>> x = gr.scalar("x", dtype="float64")
    >>> f = gr.compile(x, gr.sin(x) ** 2)
    >>> float(f(0.0))
    0.0
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise CompileError(f"compile: {name!r} is not a name", hint="use a Python identifier")
    if math not in ("strict", "default", "fast"):
        raise CompileError(f"compile: math is strict, default or fast, not {math!r}")
    if threads is not None and (type(threads) is not int or threads < 1):
        raise CompileError(f"compile: threads is a positive number, not {threads!r}")
    takes, input_form = _flatten("inputs", inputs)
    given, output_form = _flatten("outputs", outputs, (Expr, SparseMatrix))
    matrices = {i: m for i, m in enumerate(given) if isinstance(m, SparseMatrix)}
    gives = tuple(m.values if isinstance(m, SparseMatrix) else m for m in given)
    graph = check(Graph(takes, gives, _updates(updates)))
    from graphc.options import Options

    memory = _memory(memory_limit, memory_sizes, backend)
    options = Options(math, verify, _skipped(skip), memory)
    chosen = get_backend(backend)
    simple = not matrices and not check_finite
    direct = simple and input_form.flat and (output_form.flat or outputs is None)
    cls = chosen.function_class(CompiledFunction) if direct else CompiledFunction
    workers = threads or available_threads()
    function: CompiledFunction = cls(
        name, graph, options, chosen, input_form, output_form, workers, target, matrices,
        check_finite,
    )  # fmt: skip
    if direct:
        chosen.bind(function, function._executable.callable)
    function.contracts = _kept(function, contracts)
    return function


def _kept(function: CompiledFunction, contracts: Sequence[Contract]) -> tuple[Kept, ...]:
    """What the contracts of a function have measured."""
    for contract in [contracts] if not isinstance(contracts, (list, tuple)) else contracts:
        if contract is contracts or not callable(getattr(contract, "check", None)):
            raise CompileError(
                f"compile: contracts is a list of contracts, not {contract!r}",
                hint="contracts=[gr.assert_cost(grad_to_forward=4.0)]",
            )
    return tuple([contract.check(function) for contract in contracts])
