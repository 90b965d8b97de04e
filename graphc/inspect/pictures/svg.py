"""A layout with labels as SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from graphc.inspect.pictures.labels import Kind, Label
from graphc.inspect.pictures.layout import Layout, Segment

#: Fill and line of each kind of box, and what the legend calls it.
COLOURS: dict[Kind, tuple[str, str, str]] = {
    "input": ("#e3eefa", "#4f81b5", "input"),
    "parameter": ("#e4f2e7", "#4f9a62", "parameter"),
    "constant": ("#f1f1f1", "#9a9a9a", "constant"),
    "operation": ("#ffffff", "#7d838c", "operation"),
    "gradient": ("#fcefe6", "#c98253", "derivative"),
    "scope": ("#eef0f4", "#7d838c", "folded part"),
    "dscope": ("#f8e3d4", "#c98253", "folded derivative"),
}
FONT = "'DejaVu Sans Mono', Menlo, Consolas, monospace"
#: Pixels of one character at font size 12 (fonts of this family are 0.6 em wide), of a line.
CHARACTER, LINE = 7.4, 15.0
PADDING = 9.0
MARGIN = 16.0
LEGEND = 30.0

_STYLE = f"""text {{ font-family: {FONT}; font-size: 12px; fill: #23272e; }}
text {{ text-anchor: middle; }}
.type {{ font-size: 10.5px; fill: #747b85; }}
.name {{ font-weight: bold; }}
.operand {{ font-size: 9px; fill: #8b929c; }}
.legend {{ font-size: 10.5px; text-anchor: start; fill: #555b64; }}
.edge {{ fill: none; stroke: #8b929c; stroke-width: 1.1; }}
.dedge {{ fill: none; stroke: #c98253; stroke-width: 1.1; }}"""


def box_size(label: Label) -> tuple[float, float]:
    """Width and height of a box that holds its lines."""
    longest = max(map(len, label.lines), default=1)
    width = max(38.0, longest * CHARACTER + 2 * PADDING)
    return width, len(label.lines) * LINE + PADDING


def render(
    layout: Layout,
    labels: Sequence[Label],
    edges: Sequence[tuple[int, int]],
    marks: Sequence[str],
    title: str,
) -> str:
    """The picture. ``marks`` is what stands at the head of each edge ('' mostly)."""
    kinds = [k for k in COLOURS if any(x.kind == k for x in labels)]
    outputs = any(x.output for x in labels)
    width = max(layout.width, _legend_width(kinds, outputs)) + 2 * MARGIN
    height = layout.height + 2 * MARGIN + LEGEND
    shift = (width - layout.width) / 2
    sizes = [box_size(x) for x in labels]
    body = [
        *_edges(layout, labels, sizes, edges, marks),
        *(_box(layout, i, x, sizes[i]) for i, x in enumerate(labels)),
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
            f' viewBox="0 0 {width:.0f} {height:.0f}">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
            f'<g transform="translate({shift:.1f},{MARGIN + LEGEND:.1f})">',
            *body,
            "</g>",
            *_legend(kinds, outputs),
            "</svg>",
        ]
    )


# Boxes --------------------------------------------------------------------------------------


def _box(layout: Layout, vertex: int, label: Label, size: tuple[float, float]) -> str:
    (width, height), x, y = size, layout.x[vertex], layout.y(vertex)
    left, top = x - width / 2, y - height / 2
    fill, line, _ = COLOURS[label.kind]
    stroke = f'stroke="{"#23272e" if label.output else line}"'
    stroke += f' stroke-width="{2 if label.output else 1.1}"'
    radius = 4 if label.kind in ("operation", "gradient") else 9
    parts = [f'<g class="box"><title>{escape(label.tooltip)}</title>']
    if label.kind in ("scope", "dscope"):
        radius = 3
        parts.append(_rect(left + 3, top + 3, width, height, radius, fill, stroke))
    parts.append(_rect(left, top, width, height, radius, fill, stroke))
    rows = [("name", label.name), ("what", label.what), ("type", label.type)]
    baseline = top + PADDING / 2 + LINE - 4
    for style, text in rows:
        if text:
            parts.append(
                f'<text class="{style}" x="{x:.1f}" y="{baseline:.1f}">{escape(text)}</text>'
            )
            baseline += LINE
    return "".join([*parts, "</g>"])


def _rect(
    x: float, y: float, width: float, height: float, radius: float, fill: str, stroke: str
) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
        f' rx="{radius}" fill="{fill}" {stroke}/>'
    )


# Edges --------------------------------------------------------------------------------------


def _edges(
    layout: Layout,
    labels: Sequence[Label],
    sizes: Sequence[tuple[float, float]],
    edges: Sequence[tuple[int, int]],
    marks: Sequence[str],
) -> list[str]:
    ports = _ports(layout, sizes, edges)
    source = _sources(layout.segments, len(labels))
    drawn = []
    for s in layout.segments:
        kind = labels[source[s.upper]].kind
        style = "dedge" if kind in ("gradient", "dscope") else "edge"
        colour = COLOURS[kind][1] if style == "dedge" else "#8b929c"
        x0, x1 = layout.x[s.upper], layout.x[s.lower] if s.edge is None else ports[s.edge]
        drawn.append(f'<path class="{style}" d="{_curve(layout, s, x0, x1, sizes)}"/>')
        if s.edge is not None:
            y = layout.y(s.lower) - sizes[s.lower][1] / 2
            drawn.append(f'<path d="M{x1:.1f},{y:.1f}l-3.2,-6.5h6.4z" fill="{colour}"/>')
            if marks[s.edge]:
                drawn.append(
                    f'<text class="operand" x="{x1 + 7:.1f}" y="{y - 3:.1f}">'
                    f"{escape(marks[s.edge])}</text>"
                )
    return drawn


def _sources(segments: Sequence[Segment], boxes: int) -> dict[int, int]:
    """The box that each vertex's line starts from."""
    source = {v: v for v in range(boxes)}
    for s in segments:
        if s.edge is None:
            source[s.lower] = source[s.upper]
    return source


def _ports(
    layout: Layout, sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]]
) -> dict[int, float]:
    """Where each edge meets the top of its box: side by side, from left to right."""
    arriving: dict[int, list[tuple[float, int]]] = {}
    for s in layout.segments:
        if s.edge is not None:
            arriving.setdefault(s.lower, []).append((layout.x[s.upper], s.edge))
    ports = {}
    for target, heads in arriving.items():
        room = sizes[target][0] - 2 * PADDING
        step = min(18.0, room / max(1, len(heads) - 1))
        first = layout.x[target] - step * (len(heads) - 1) / 2
        for place, (_, edge) in enumerate(sorted(heads)):
            ports[edge] = first + step * place
    return ports


def _curve(
    layout: Layout, s: Segment, x0: float, x1: float, sizes: Sequence[tuple[float, float]]
) -> str:
    """Straight through the layers, curved between them."""
    top0, bottom0 = layout.spans[layout.layer[s.upper]]
    top1, _ = layout.spans[layout.layer[s.lower]]
    start = layout.y(s.upper) + sizes[s.upper][1] / 2 if s.upper < len(sizes) else top0
    end = layout.y(s.lower) - sizes[s.lower][1] / 2 if s.lower < len(sizes) else top1
    middle = (bottom0 + top1) / 2
    return (
        f"M{x0:.1f},{start:.1f}V{bottom0:.1f}"
        f"C{x0:.1f},{middle:.1f} {x1:.1f},{middle:.1f} {x1:.1f},{top1:.1f}V{end:.1f}"
    )


# Legend -------------------------------------------------------------------------------------


def _legend_entries(kinds: Sequence[Kind], outputs: bool) -> list[tuple[str, str, float, str]]:
    entries = [(*COLOURS[k][:2], 1.1, COLOURS[k][2]) for k in kinds]
    return entries + ([("#ffffff", "#23272e", 2.0, "output")] if outputs else [])


def _legend_width(kinds: Sequence[Kind], outputs: bool) -> float:
    return sum(34 + 6.6 * len(text) for *_, text in _legend_entries(kinds, outputs))


def _legend(kinds: Sequence[Kind], outputs: bool) -> list[str]:
    drawn, x = [], MARGIN
    for fill, line, stroke, text in _legend_entries(kinds, outputs):
        drawn.append(
            f'<rect x="{x:.1f}" y="{MARGIN - 4:.1f}" width="14" height="11" rx="2"'
            f' fill="{fill}" stroke="{line}" stroke-width="{stroke}"/>'
            f'<text class="legend" x="{x + 19:.1f}" y="{MARGIN + 5:.1f}">{text}</text>'
        )
        x += 34 + 6.6 * len(text)
    return drawn
