"""Weights and biases that no quantization can say."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ..converter.errors import DataError, Setting
from ..converter.formats.files import sweep
from ..converter.ir import Graph, Node
from ..converter.ops import row


def check_finite(graph: Graph, kept: Collection[Node] = ()) -> None:
    """Stops at a layer that holds NaN or infinity, and at NaN in a constant of any other operator than a choice, where
    infinities are masks.

    Args:
        kept: nodes that stay as they are.

    Raises:
        DataError: names the constant, its node, how many values they are and the first.
    """
    for node in sweep(graph.nodes, lambda n: sum(t.nbytes for t in n.inputs if t is not None and t.is_const)):
        if node in kept or node.op == "Where":
            continue
        cell = row(node.op).quant
        layer = cell is not None and any((w := node.input(i)) is not None and w.is_const for i in cell.weights)
        for t in node.inputs:
            if t is None or t.data is None or t.data.dtype.kind != "f":
                continue
            bad = ~np.isfinite(t.data) if layer else np.isnan(t.data)
            if count := int(np.count_nonzero(bad)):
                first = tuple(int(k) for k in np.argwhere(bad)[0])
                raise DataError(
                    f"constant {t.name!r} of {node.name} ({node.op}) holds NaN or infinity: {count} of {t.data.size} "
                    f"values, the first ({t.data[first]}) at {list(first)}",
                    hint=(Setting("keep_float", node.name), ", if they are meant"),
                )
