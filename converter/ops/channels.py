"""ChannelsLast and ChannelsFirst: the Transposes at the border of a channels-last operator in a channels-first file.

They exist only while an ONNX file is written. Unlike Transpose no pass moves them, so that the Transposes around them
cancel outside, and the ones that the operator's writer puts inside cancel with them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir import Node
from ..schema.op import Case, Inferred, op, writes
from ..schema.writing import Writing
from ._support.layout import first_perm, last_perm, permuted_shape


def _declare(name: str, order: Any) -> None:
    def infer(node: Node) -> Inferred:
        x = node.required(0)
        return [(x.dtype, None if x.shape is None else permuted_shape(x.shape, order(len(x.shape))))]

    @op(name, infer=infer, foldable=False, cases=[Case(((2, 3, 4, 5),)), Case(((2, 3, 4),))])
    def channels(x: np.ndarray) -> np.ndarray:
        return x.transpose(order(x.ndim))

    @writes("onnx", name)
    def write(w: Writing, node: Node) -> None:
        x = node.required(0)
        w.node("Transpose", node, [x], fields={"perm": list(order(x.known_rank))})


_declare("ChannelsLast", last_perm)
_declare("ChannelsFirst", first_perm)
