"""The order of axes that MindSpore Lite believes a tensor to have, NCHW or NHWC.

It follows from the operators, whatever the file says: a transposition from one order to the other changes it, so does
one of the last two of three axes; everything else hands on what its data have, whatever the rank. Operators on images
refuse NCHW, or take another axis for channels.
"""

from __future__ import annotations

import numpy as np

from ..errors import Setting
from ..ir import Graph, Tensor
from ..schema.writing import Emitted, Writing

NCHW, NHWC = 0, 1
"""The Format enum."""
_ON_IMAGES = {
    "AvgPoolFusion", "BatchToSpace", "BatchToSpaceND", "Conv2DFusion", "Conv2dTransposeFusion", "DepthToSpace",
    "LRN", "MaxPoolFusion", "PReLUFusion", "Resize", "SpaceToBatch", "SpaceToBatchND", "SpaceToDepth",
}  # fmt: skip


def believed(graph: Graph, writing: Writing) -> dict[Tensor, int]:
    """Tensor → NCHW or NHWC, as the runtime finds while it infers shapes."""
    tags = _ends(graph)
    for operator in writing.emitted:
        tags |= dict.fromkeys(operator.outputs, _handed_on(operator, tags))
    return tags


def layouts(graph: Graph, writing: Writing) -> dict[Tensor, int]:
    """What the file declares: what the runtime believes, and of outputs what their source says.

    An output that is no image of its input's order (Reshape, LSTM) has the order that its source declares.
    """
    return believed(graph, writing) | {t: NCHW for t in graph.outputs if t.layout == "NCHW" and t.rank == 4}


def turn_images(graph: Graph, writing: Writing) -> None:
    """Makes what operators on images read NHWC for the runtime, where it believes otherwise.

    Its values stay where they are: as an image of one channel [n,1,h,w] they are transposed to [n,h,w,1].
    """
    tags = _ends(graph)
    turned: dict[Tensor, Tensor] = {}
    emitted: list[Emitted] = []
    for operator in writing.emitted:
        x = operator.inputs[0] if operator.inputs else None
        if operator.op in _ON_IMAGES and x is not None and x.rank == 4 and tags.get(x, NHWC) == NCHW:
            if x not in turned:
                turned[x] = _turned(writing, operator, x, emitted)
                tags[turned[x]] = NHWC
            operator.inputs[0] = turned[x]
        emitted.append(operator)
        tags |= dict.fromkeys(operator.outputs, _handed_on(operator, tags))
    writing.emitted = emitted


def _ends(graph: Graph) -> dict[Tensor, int]:
    return {t: NCHW if t.layout == "NCHW" else NHWC for t in graph.inputs}


def _handed_on(operator: Emitted, tags: dict[Tensor, int]) -> int:
    rank = operator.outputs[0].rank if operator.outputs else None
    # A condition or a size says nothing of the images beside it.
    given = operator.inputs[1:] if operator.op == "Where" else operator.inputs
    activations = [t for t in given if t is not None and not t.is_const]
    data = next((t for t in activations if t.rank == rank), activations[0] if activations else None)
    tag = NHWC if data is None else tags.get(data, NHWC)
    order = operator.inputs[1] if operator.op == "Transpose" and len(operator.inputs) > 1 else None
    perm = None if order is None or order.data is None else order.data.tolist()
    if perm == [0, 2, 1]:
        return NHWC if tag == NCHW else NCHW
    return NCHW if perm == [0, 3, 1, 2] else NHWC if perm == [0, 2, 3, 1] else tag


def _turned(writing: Writing, operator: Emitted, x: Tensor, emitted: list[Emitted]) -> Tensor:
    if x.shape is None or sum(n is None for n in x.shape) > 1:
        writing.refuse(operator.source, "the sizes of its image must be known", hint=Setting("input_shape"))
    n, h, w, c = x.shape
    columns = None if w is None or c is None else w * c

    def step(op: str, given: Tensor, shape: tuple[int | None, ...], parameter: list[int], what: str) -> Tensor:
        y = writing.between(x, shape, f"{x.name}/{what}")
        second = writing.constant(parameter, np.int32, f"{y.name}/{op}")
        emitted.append(Emitted(op, writing.name(f"{operator.name}/{what}"), [given, second], [y], {}, operator.source))
        return y

    def sizes(shape: tuple[int | None, ...]) -> list[int]:
        return [-1 if d is None else d for d in shape]

    one = step("Reshape", x, (n, 1, h, columns), sizes((n, 1, h, columns)), "one_channel")
    last = step("Transpose", one, (n, h, columns, 1), [0, 2, 3, 1], "last")
    return step("Reshape", last, x.shape, sizes(x.shape), "nhwc")
