"""CompiledFunction: what a user calls, and asks about what was compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from graphc import arguments
from graphc.backend import Array, get_backend
from graphc.calls import Calls
from graphc.errors import GraphError
from graphc.expr import Expr

if TYPE_CHECKING:
    from graphc.inspect.health.gradients import GradientReport
    from graphc.inspect.health.nonfinite import Explanation
    from graphc.inspect.history.provenance import History
    from graphc.inspect.history.why import Answer
    from graphc.inspect.tables.report import Report
    from graphc.inspect.tables.roofline import Roofline


@dataclass(frozen=True)
class Kept:
    """A contract that holds: its name, what it promises, what was measured."""

    name: str
    promise: str
    measured: str


class Contract(Protocol):
    """A promise about a compiled function, see `graphc.contracts`."""

    def check(self, function: CompiledFunction) -> Kept:
        """What was measured (ContractError if the promise does not hold)."""
        ...


class CompiledFunction(Calls):
    """A graph compiled to a function.

    Call it with arrays in the form that ``inputs`` was given in: ``f(x, t)``, also
    ``f(x=..., t=...)`` by the inputs' names, or ``f({"x": ...})`` for a dict. Results come
    in the form of ``outputs``. ``out=`` takes arrays to write the results into,
    in that form too.

    It may be called from many threads at once. Calls that update a parameter and calls of any
    function that use it run one after the other, in the order in which they came. Long calls
    release the GIL and can be interrupted.

    Code that was kept from another time is loaded without a look at the graph: its stages are
    run when `snapshots`, `program`, a report or the history of a node asks for them.

    Attributes
    ----------
    graph
        The graph as it was given; its outputs can still be differentiated.
    contracts
        What it was compiled under, and what was measured.
    """

    contracts: tuple[Kept, ...] = ()

    @property
    def llvm_ir(self) -> str:
        """The LLVM IR that was compiled."""
        return str(self._executable.text("llvm_ir"))

    @property
    def asm(self) -> str:
        """The machine code as assembly."""
        return str(self._executable.text("asm"))

    @property
    def object_code(self) -> bytes:
        """The machine code as a relocatable object file."""
        code = self._executable.text("object")
        assert isinstance(code, bytes)
        return code

    def why(self, node: Expr | str, *, stage: str | None = None) -> History:
        """Where a node comes from, the rules that made it, and what became of it.

        Parameters
        ----------
        node
            Of the graph as you wrote it, of a derivative, of any stage; or what `graphc.show`
            calls it: ``"loss"``, ``"%12"``.
        stage
            The stage whose listing has that name; the last one unless told otherwise.

        Raises
        ------
        GraphError
            If there is no such node.
        """
        from graphc.inspect.history.why import why

        return why(self, node, stage)

    def why_not(
        self, what: str, a: Expr | str, b: Expr | str | None = None, *, stage: str | None = None
    ) -> Answer:
        """The condition that failed, or that it did happen.

        Parameters
        ----------
        what
            ``"fuse"``: why are ``a`` and ``b`` not in one kernel? ``"cse"``: why are they not
            one node? The name of a rewrite rule: why was it not applied to ``a``?
        a, b, stage
            As in `why`.

        Raises
        ------
        GraphError
            If there is no such rule or node.
        """
        from graphc.inspect.history.why import why_not

        return why_not(self, what, a, b, stage)

    def report(self, measure: Any = False) -> Report:
        """What compilation did and what a call costs; prints itself.

        Parameters
        ----------
        measure
            The arguments of a call (a tuple of them, a dict by names, or the only one): each
            kernel is timed in several runs on them and placed beside the limits of this
            machine. True takes a sample of the inputs' types. Parameters keep their values.

        Raises
        ------
        InputError
            If the arguments do not fit; if True is given where sizes are symbols.
        GraphError
            If kernels are to be measured, but the backend makes none.

        Examples
        --------
        >>> import graphc as gr
        >>> x = gr.vector("x", 100_000)
        >>> f = gr.compile(x, gr.tanh(x), name="f")
        >>> [(k.name, k.nbytes) for k in f.report(measure=True).roofline.kernels]
        [('k0', 800000)]
        """
        from graphc.inspect.tables.report import Report

        note = self._lowered.note if self._lowers else ""
        return Report(
            self.name,
            self.snapshots,
            self.program,
            self.timings,
            self.options,
            contracts=self.contracts,
            notes={
                **self._executable.notes,
                **({"computed again": note} if note else {}),
                **{f"output {i}": m.title for i, m in self._matrices.items()},
            },
            roofline=None if measure is False else self._roofline(measure),
        )

    def _roofline(self, measure: Any) -> Roofline:
        """The kernels, timed on a sample of inputs or on the arguments of a call."""
        from graphc.inspect.tables.roofline import roofline, sample

        args, kwargs = (
            (sample(self.name, self.graph), {})
            if measure is True
            else self._call_arguments(measure)
        )
        arrays, sizes = self._prepared(args, kwargs)
        targets, _ = arguments.results(self.name, self._runs, None, sizes, [])
        dims = [sizes[s] for s in self._symbols]
        try:
            times = self._executable.kernel_times(arrays, targets, dims)
        except IndexError as error:
            raise self._index_error(arrays, sizes) from error
        limits = get_backend(self.backend).limits(self.threads)
        if self.program is None or times is None or limits is None:
            raise GraphError(
                f"{self.name}: the backend {self.backend!r} makes no kernels to measure",
                hint='backend="llvm"',
            )
        return roofline(self.program, times, limits, arrays, sizes, measure is not True)

    def _call_arguments(self, given: Any) -> tuple[Sequence[Any], dict[str, Any]]:
        """The arguments of a call: a tuple of them, a dict by names, or the only one."""
        if self._inputs.flat and isinstance(given, Mapping):
            return (), dict(given)
        args = given if isinstance(given, tuple) else (given,)
        return (args, {}) if self._inputs.flat else self._flat_arguments(args, {})

    def explain_nonfinite(self, *args: Any, **kwargs: Any) -> Explanation:
        """Where infinities and NaNs in the results for these inputs come from.

        Takes the arguments of a call, or one list or dict of them; the parameters keep their
        values. The graph is evaluated node by node with NumPy, as it was written and as it is
        after the rewrites. The text names the first value that is not finite on the way to the
        results (the function itself before its derivatives), the numbers it was computed from,
        the line, the kind of accident, and what to write instead; and whether compilation has
        repaired it.

        Examples
        --------
        >>> import graphc as gr
        >>> x = gr.vector("x", 2)
        >>> f = gr.compile(x, gr.log(gr.sum(gr.exp(x))), backend="interpret")
        >>> found = f.explain_nonfinite([1000.0, 0.0])
        >>> found.first.cause.text, found.rules[0].name
        ('exp(1000) = inf', 'log-of-sum-of-exp')
        >>> found.hint
        'log(sum(exp(x))) is gr.logsumexp(x), which does not overflow'
        """
        from graphc.inspect.health.nonfinite import explain

        arrays, sizes = self._sample(args, kwargs)
        try:
            return explain(self.name, self.graph, arrays, sizes, self.options)
        except IndexError as error:
            raise self._index_error(arrays, sizes) from error

    def gradient_report(self, *args: Any, **kwargs: Any) -> GradientReport:
        """Norms of the gradient of the first output that is a float of rank 0, as a table.

        Takes the arguments of a call, or one list or dict of them; the parameters keep their
        values. See `gradient_norms`.
        """
        from graphc.inspect.health.gradients import gradient_norms, loss_of

        arrays, sizes = self._sample(args, kwargs)
        loss = loss_of(self.graph.outputs, f"{self.name}.gradient_report")
        given = dict(zip(self.graph.inputs, arrays, strict=True))
        try:
            return gradient_norms(loss, inputs=given, sizes=sizes)
        except IndexError as error:
            raise self._index_error(arrays, sizes) from error

    def _sample(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[list[Array], dict[str, int]]:
        """Arrays and sizes for arguments that may also stand in one list or dict."""
        if not self._inputs.flat:
            args, kwargs = self._flat_arguments(args, kwargs)
            return self._prepared(args, kwargs)
        only = args[0] if len(args) == 1 and not kwargs else None
        if isinstance(only, Mapping):
            return self._prepared((), only)
        several = len(self.graph.inputs) > 1 and isinstance(only, (list, tuple))
        return self._prepared(only if several and only is not None else args, kwargs)

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()

    def __repr__(self) -> str:
        takes = ", ".join(f"{x.name}: {x.type}" for x in self.graph.inputs)
        results = dict(enumerate(str(x.type) for x in self.graph.outputs))
        results |= {i: f"sparse {m.kind}" for i, m in self._matrices.items()}
        gives = ", ".join(results.values())
        return f"<compiled function {self.name}({takes}) -> {gives}>"
