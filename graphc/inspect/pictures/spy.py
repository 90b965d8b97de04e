"""The pattern of a sparse matrix as a picture."""

from __future__ import annotations

from html import escape

import numpy as np

from graphc.diff.colouring import entries
from graphc.diff.sparse import SparseMatrix

#: Most cells along a side, and the pixels of the longer side.
CELLS, PIXELS = 100, 300


def sparse_svg(matrix: SparseMatrix) -> str:
    """A square for each entry; in a large matrix for many, the darker the more there are."""
    rows, columns = (max(size, 1) for size in matrix.shape)
    scale = max(1.0, max(rows, columns) / CELLS)
    height, width = (max(1, round(size / scale)) for size in (rows, columns))
    row, column = entries(matrix.pattern)
    cells = row.astype(np.int64) * height // rows * width + (
        column.astype(np.int64) * width // columns
    )
    counts = np.bincount(cells, minlength=height * width)
    full = max(1, counts.max())
    side = PIXELS / max(height, width)
    squares = [
        f'<rect x="{cell % width}" y="{cell // width}" width="1" height="1"'
        f' opacity="{0.25 + 0.75 * counts[cell] / full:.2f}"/>'
        for cell in np.flatnonzero(counts)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{side * width:.0f}"'
            f' height="{side * height:.0f}" viewBox="0 0 {width} {height}">',
            f"<title>{escape(matrix.title)}</title>",
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            '<g fill="#4f81b5" shape-rendering="crispEdges">',
            *squares,
            "</g>",
            f'<rect width="{width}" height="{height}" fill="none" stroke="#9a9a9a"'
            ' vector-effect="non-scaling-stroke"/>',
            "</svg>",
        ]
    )
