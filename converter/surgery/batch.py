"""Several samples in one run: another batch, as one tensor or as one tensor per sample."""

from __future__ import annotations

import numpy as np

from ..errors import GraphError, UnsupportedError, UsageError
from ..ir import Graph, Node, Tensor
from ..schema.builder import Builder, specialize


def change_batch(graph: Graph, batch: int) -> Graph:
    """A copy of the graph whose inputs and outputs hold `batch` samples along their first axis.

    Raises:
        UsageError: batch is no positive number.
        UnsupportedError: the inputs do not have one batch, or an output would not hold sample behind sample.
    """
    if batch < 1:
        raise UsageError(f"a batch of {batch} samples; allowed is 1 or more")
    if graph.states:
        raise UnsupportedError("a model that keeps states from run to run keeps its batch")
    before = {t.shape[0] if t.shape else None for t in graph.inputs}
    if len(before) != 1 or any(not t.shape for t in graph.inputs):
        shown = ", ".join(f"{t.name!r} {t.type_text()}" for t in graph.inputs)
        raise UnsupportedError(f"the inputs do not have one batch along their first axis: {shown}")
    old = before.pop()
    fresh = graph.copy()
    for node in fresh.nodes:
        _scale_batch(node, old or 1, batch)
    shapes = {t.name: (batch, *t.shape[1:]) for t in fresh.inputs if t.shape}
    try:
        changed = specialize(fresh, shapes)  # pyright: ignore[reportArgumentType]
    except GraphError as error:
        raise UnsupportedError(f"a batch of {batch}: {error.message}") from error
    for was, now in zip(graph.outputs, changed.outputs):
        _check(was, now, old or 1, batch)
    return changed


def _scale_batch(node: Node, old: int, batch: int) -> None:
    """Multiplies the first size of a constant shape where it holds the samples."""
    if node.op != "Reshape" or not node.required(1).is_const:
        return
    x, shape = node.required(0), node.required(1)
    sizes = shape.value.reshape(-1).tolist()
    if x.shape and x.shape[0] in (old, None) and sizes and sizes[0] > 0 and sizes[0] % old == 0:
        scaled = np.array([sizes[0] // old * batch, *sizes[1:]], shape.dtype)
        node.inputs[1] = Tensor(f"{shape.name}/batch", shape.dtype, shape.shape, scaled)


def _check(was: Tensor, now: Tensor, old: int, batch: int) -> None:
    if not was.shape or not now.shape or None in now.shape:
        return
    rows, first = was.shape[0], now.shape[0]
    expected = None if rows is None else rows * batch // old
    if now.shape[1:] != was.shape[1:] or (expected is not None and first != expected):
        raise UnsupportedError(
            f"output {was.name!r} would be {now.type_text()} with a batch of {batch}, and is {was.type_text()}:"
            " its samples do not stand along its first axis"
        )


def split_batch(graph: Graph, batch: int) -> Graph:
    """A copy that takes each of `batch` samples as a tensor of its own: input "x" becomes "x_0", "x_1", …

    Outputs hold all samples along their first axis. Raises as `change_batch`.
    """
    changed = change_batch(graph, batch)
    whole, changed.inputs = changed.inputs, []
    build, count = Builder(changed), len(changed.nodes)
    readers = changed.consumers()
    for t in whole:
        build.reserve([t.name])
        parts = [
            build.input(f"{t.name}_{k}", t.dtype, (1, *t.known_shape[1:]), quant=t.quant, layout=t.layout)
            for k in range(batch)
        ]
        # Bytes become floats first: not every runtime joins tensors of bytes.
        casts = readers.get(t, [])
        if len(casts) == 1 and casts[0].op == "Cast" and t not in changed.outputs:
            parts = [build.emit("Cast", [p], casts[0].attrs, name=f"{p.name}/cast")[0] for p in parts]
            changed.nodes.remove(casts[0])
            count, t = count - 1, casts[0].outputs[0]
        joined = build.emit("Concat", parts, {"axis": 0}, name=f"{t.name}/batch")[0]
        joined.quant = t.quant
        changed.replace(t, joined)
    changed.nodes = changed.nodes[count:] + changed.nodes[:count]
    return changed
