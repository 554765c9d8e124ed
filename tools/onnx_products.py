"""Integer products of a .onnx in onnxruntime: what the file holds, and what this CPU makes of it.

On x86 without VNNI onnxruntime's kernels add products uint8 × int8 in pairs in saturating 16 bits.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from ..converter.errors import Setting
from ..converter.formats import read_model
from ..converter.ir import Graph
from ..converter.passes import run_passes
from ..converter.passes.fuse_quantize import split_quantize
from ..converter.passes.unsigned_weights import products
from .outcome import WARNING

_NAMED = 3
_AUTO = Setting("onnx_weights", "auto")


def products_note(graph: Graph, onnx_weights: str, spell: Callable[[Setting], str] = str) -> list[str]:
    """What to say of the weights of integer products in a graph that is written to .onnx; `spell` writes the setting
    that helps."""
    layers = list(products(graph))
    if not layers:
        return []
    unsigned = sum(p.weight.dtype == np.uint8 for p in layers)
    beyond = [p.node.name for p in layers if p.saturates]
    line = f".onnx: {len(layers) - unsigned} of {len(layers)} layers on integers have int8 weights"
    if onnx_weights == "uint8":
        return [f"{line}: all are uint8, exact on every CPU, and slower without VNNI"] if unsigned else []
    if beyond:
        return [
            f"{WARNING}{line}, and products of {len(beyond)} saturate in onnxruntime on x86 without VNNI"
            f" ({_some(beyond)}): {spell(_AUTO)} avoids that"
        ]
    rest = f", {unsigned} uint8 ones (their int8 codes would saturate there)" if unsigned else ""
    return [f"{line} whose products fit 16 bits in pairs, on x86 without VNNI, too{rest}"]


def saturation_note(path: str, spell: Callable[[Setting], str] = str) -> list[str]:
    """A line that names the layers of a .onnx whose products onnxruntime may saturate on this CPU, if it does."""
    names = saturating_layers(path) if saturates() else []
    if not names:
        return []
    return [
        f"{path}: onnxruntime adds products uint8 × int8 in 16 bits on this CPU, which do not hold those of"
        f" {len(names)} layers ({_some(names)}): weights as uint8 ({spell(_AUTO)}) or its session option"
        " session.x64quantprecision=1 make them exact"
    ]


@functools.cache
def saturates() -> bool:
    """Whether onnxruntime loses part of a product uint8 × int8 on this CPU, found by one that does not fit 16 bits."""
    import onnx
    from onnx import helper, numpy_helper

    ort: Any = importlib.import_module("onnxruntime")
    a, w = np.full((4, 32), 255, np.uint8), np.full((32, 16), 127, np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("a", onnx.TensorProto.UINT8, a.shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.INT32, [4, 16])],
        [numpy_helper.from_array(w, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return bool((session.run(None, {"a": a})[0] != a.astype(np.int32) @ w.astype(np.int32)).any())


def saturating_layers(path: str) -> list[str]:
    """Names of the file's layers with int8 weights, pairs of whose products leave 16 bits for some activations."""
    graph = read_model(path)
    run_passes(graph, (split_quantize,))
    return [p.node.name for p in products(graph) if p.saturates]


def _some(names: list[str]) -> str:
    shown = ", ".join(name.partition(";")[0] for name in names[:_NAMED])
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
