"""The audit's table, a file per family: see `table.Row`."""

from . import elementwise, indexing, layers, recurrent, reductions, shapes
from .table import Row

ROWS: list[Row] = [
    *elementwise.ROWS,
    *reductions.ROWS,
    *shapes.ROWS,
    *indexing.ROWS,
    *layers.ROWS,
    *recurrent.ROWS,
]
