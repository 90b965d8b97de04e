"""From graphs to the document that the page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.errors import GraphcError
from graphc.expr import Expr, topological
from graphc.inspect.history.provenance import kernel_of
from graphc.inspect.subject import Compiled, Inspectable, Subject, snapshot, subject_of
from graphc.inspect.text.listing import name_nodes
from graphc.inspect.viewer.changes import changes
from graphc.inspect.viewer.derivatives import differentiated
from graphc.inspect.viewer.document import Document, KernelView, StageView, SweepView, Texts
from graphc.inspect.viewer.nodes import NodeTable
from graphc.inspect.viewer.stages import StageWriter, first_ancestry
from graphc.inspect.viewer.sweeps import sweep_view
from graphc.inspect.viewer.values import Samples, Samplings, bind


def document(
    given: Inspectable, title: str, stage: str | None = None, inputs: Samples | None = None
) -> Document:
    """Everything that the page of a graph shows; with sample inputs also values.

    Raises
    ------
    GraphError
        If there is no such stage.
    InputError, InputTypeError
        If a sample is missing, or has another type or size than its input.
    """
    function = given if isinstance(given, Compiled) else None
    first = subject_of(given if function is None else function.snapshots[0].graph)
    outputs, heirs = differentiated(first.roots)
    sample = None if inputs is None else _sample(given, [*outputs, *first.roots], inputs)
    texts = Texts()
    table = NodeTable(texts, function)
    kernels = kernel_of(function) if function and function.program else {}
    writer = StageWriter(texts, table, kernels, sample)
    stages = _stages(function, first, outputs, heirs, writer)
    names = name_nodes(topological([*outputs, *first.roots]))
    sweeps, notes = _sweeps(outputs, names, table, sample)
    return Document(
        title,
        _shown(given, stage),
        tuple(texts.listed()),
        tuple(table.rows),
        stages,
        tuple(names[o] for o in outputs),
        sweeps,
        _kernels(given),
        dict(sample.sizes) if sample else {},
        notes,
    )


def _shown(given: Inspectable, stage: str | None) -> int:
    if not isinstance(given, Compiled) or stage is None:
        return 0
    return list(given.snapshots).index(snapshot(given.snapshots, stage))


def _sample(given: Inspectable, roots: Sequence[Expr], inputs: Samples) -> Samplings:
    if isinstance(given, Compiled):
        return bind(given.snapshots[0].graph.inputs, inputs)
    return bind([n for n in topological(roots) if n.op.name == "input"], inputs)


def _stages(
    function: Compiled | None,
    first: Subject,
    outputs: Sequence[Expr],
    heirs: dict[Expr, Expr],
    writer: StageWriter,
) -> tuple[StageView, ...]:
    ancestry = first_ancestry(topological(first.roots), outputs, heirs)
    stages = [writer.write("input", first, outputs, ancestry)]
    if function is not None:
        for after, change in zip(function.snapshots[1:], changes(function), strict=True):
            ancestry = ancestry.after(change)
            subject = Subject(after.graph.outputs, after.graph.updates)
            stages.append(writer.write(after.stage, subject, (), ancestry, after, change))
    return tuple(stages)


def _sweeps(
    outputs: Sequence[Expr],
    names: Mapping[Expr, str],
    table: NodeTable,
    sample: Samplings | None,
) -> tuple[tuple[SweepView, ...], tuple[str, ...]]:
    """The sweeps, and why there are not more."""
    sweeps, notes = [], []
    for place, o in enumerate(outputs):
        try:
            sweeps.append(sweep_view(place, o, names, table, sample))
        except GraphcError as error:
            notes.append(error.summary)
    if not outputs:
        notes.append("no scalar result: the reverse sweep starts from one number")
    return tuple(sweeps), tuple(notes)


def _kernels(given: Inspectable) -> tuple[KernelView, ...]:
    program = given.program if isinstance(given, Compiled) else None
    return tuple(
        KernelView(k.name, k.label, str(k.flops), str(k.nbytes))
        for k in (program.kernels if program else ())
    )
