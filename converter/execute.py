"""What a node computes on stored values: the definition that every kernel is tested against.

A float node computes on reals: an integer constant with a `QuantParam` among its inputs is dequantized first (a
weight-only quantized weight). A node with quantized integer outputs computes what its row's `integer` reference says,
and where the row has none, dequantize → float reference → quantize (round half to even).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .ir import Node, Tensor, is_quantized
from .numeric.qparams import dequantize, quantize
from .schema.op import computing, evaluate, row


def execute(node: Node, arrays: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
    """Runs one node on stored values by its numpy reference.

    Args:
        arrays: one per input, None where it is absent; a constant's own data may be given.
    Raises:
        GraphError: the values and attributes do not belong together.
    """
    definition = row(node.op)
    with np.errstate(all="ignore"):
        if definition.integer is not None:
            with computing(node):
                result = definition.integer(node, arrays)
            if result is not None:
                return tuple(result) if isinstance(result, (tuple, list)) else (np.asarray(result),)
        with computing(node):
            reals = [_real(t, a) for t, a in zip(node.inputs, arrays)]
        results = evaluate(node, reals)
        return tuple(_stored(t, a) for t, a in zip(node.outputs, results))


def _real(tensor: Tensor | None, array: np.ndarray | None) -> np.ndarray | None:
    if array is None or tensor is None or tensor.quant is None or array.dtype.kind not in "iu":
        return array
    tensor.check_quant()
    return dequantize(array, tensor.quant)


def _stored(tensor: Tensor, array: np.ndarray) -> np.ndarray:
    if is_quantized(tensor) and array.dtype.kind == "f":
        return quantize(array, tensor.qparams, tensor.dtype)
    return array.astype(tensor.dtype, copy=False)
