"""The op table: what every operation means, grouped by family."""

from graphc.ops import contraction, elementwise, indexing, leaves, movement, reduction
from graphc.ops.table import OPS, Op

__all__ = [
    "OPS",
    "Op",
    "contraction",
    "elementwise",
    "indexing",
    "leaves",
    "movement",
    "reduction",
]
