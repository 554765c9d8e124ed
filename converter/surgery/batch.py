"""Several samples in one run: another batch, as one tensor or as one tensor per sample."""

from __future__ import annotations

from ..errors import GraphError, UnsupportedError, UsageError
from ..ir import Graph, Shape, Tensor
from ..schema.builder import Builder, specialize
from ..schema.rebatch import rebatch


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
    shapes: dict[str, Shape] = {t.name: (batch, *t.shape[1:]) for t in graph.inputs if t.shape}
    before = {t.shape[0] if t.shape else None for t in graph.inputs}
    if len(before) != 1 or len(shapes) != len(graph.inputs):
        shown = ", ".join(f"{t.name!r} {t.type_text()}" for t in graph.inputs)
        raise UnsupportedError(f"the inputs do not have one batch along their first axis: {shown}")
    old = before.pop()
    try:
        single: dict[str, Shape] = {name: (1, *sizes[1:]) for name, sizes in shapes.items()}
        fixed = specialize(graph, single) if old is None else graph
        changed = rebatch(fixed, shapes, (old or 1, batch))
    except GraphError as error:
        raise UnsupportedError(f"a batch of {batch}: {error.message}") from error
    for was, now in zip(graph.outputs, changed.outputs):
        _check(was, now, old or 1, batch)
    return changed


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
