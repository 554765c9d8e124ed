"""Where another runtime's values part from bitlite's: every tensor that both have under one name."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..converter.ir import Tensor
from ..converter.numeric.qparams import dequantize
from ..native.session import Session
from .accuracy import cosine, sqnr

Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Difference:
    """One node's first result in both runtimes, as reals."""

    node: str
    op: str
    cosine: float
    sqnr: float
    largest: float

    def __str__(self) -> str:
        return (
            f"{self.node} ({self.op}): cosine {self.cosine:.6f}, SQNR {self.sqnr:.1f} dB, "
            f"max difference {self.largest:g}"
        )


def differences(path: str, session: Session, feed: Values) -> list[Difference]:
    """How far each node's result in the file's own runtime is from bitlite's, in order of execution."""
    runtime = {"onnx": _onnxruntime, "tflite": _litert}.get(path.rpartition(".")[2].lower())
    if runtime is None:
        return []
    graph = session.graph.copy()
    produced = {t.name: (t, node) for node in graph.nodes for t in node.outputs[:1]}
    theirs = runtime(path, [feed[p.name] for p in session.inputs], produced.keys())
    given = {**feed, **graph.first_states}
    graph.outputs, graph.states = [produced[name][0] for name in theirs], ()
    mine = Session(graph, session.threads).run(given)
    differences = []
    for name, other in theirs.items():
        t, node = produced[name]
        pair = _matched(_real(mine[name], t), other)
        if pair is not None and pair[0].size:
            a, b = pair
            differences.append(Difference(node.name, node.op, cosine(a, b), sqnr(a, b), float(np.abs(a - b).max())))
    order = {node.name: i for i, node in enumerate(graph.nodes)}
    return sorted(differences, key=lambda item: order[item.node])


def _real(value: np.ndarray, t: Tensor) -> np.ndarray:
    return dequantize(value, t.quant) if t.quant is not None and value.dtype.kind in "iu" else value


def _matched(mine: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Both as float64 in one layout: of those in which the shapes agree, the one in which the values do most."""
    a, b = mine.astype(np.float64), other.astype(np.float64)
    if not np.isfinite(a).all() or not np.isfinite(b).all():
        return None
    views = [b] + ([b.transpose(0, 2, 3, 1), b.transpose(0, 3, 1, 2)] if b.ndim == 4 else [])
    fit = [view for view in views if view.shape == a.shape] or ([b.reshape(a.shape)] if a.size == b.size else [])
    if not fit:
        return None
    return a, min(fit, key=lambda view: float(((a - view) ** 2).sum()))


def _onnxruntime(path: str, inputs: list[np.ndarray], names: Any) -> dict[str, np.ndarray]:
    import onnx

    ort: Any = importlib.import_module("onnxruntime")
    model = onnx.load(path)
    kept = {t.name for t in model.graph.output}
    codes = {n.output[0]: n for n in model.graph.node if n.op_type == "QuantizeLinear"}
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    wanted = [n.output[0] for n in model.graph.node if n.output and n.output[0] in names]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in kept)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    # Optimized, a file whose every value is asked for would not be what runs otherwise: casts could not be fused.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = session.run(wanted, {node.name: value for node, value in zip(session.get_inputs(), inputs)})
    outputs = dict(zip(wanted, values))
    for name, node in codes.items():
        if name in outputs and len(node.input) > 2 and constants[node.input[1]].size == 1:
            scale, zero = (np.float64(constants[i].reshape(())) for i in node.input[1:3])
            outputs[name] = (outputs[name].astype(np.float64) - zero) * scale
    return outputs


def _litert(path: str, inputs: list[np.ndarray], names: Any) -> dict[str, np.ndarray]:
    module: Any = importlib.import_module("ai_edge_litert.interpreter")
    resolver = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    other = module.Interpreter(
        model_path=path, experimental_preserve_all_tensors=True, experimental_op_resolver_type=resolver
    )
    for detail, value in zip(other.get_input_details(), inputs):
        other.resize_tensor_input(detail["index"], value.shape)
    other.allocate_tensors()
    for detail, value in zip(other.get_input_details(), inputs):
        other.set_tensor(detail["index"], value)
    other.invoke()
    return dict(_tensors(other, names))


def _tensors(other: Any, names: Any) -> Iterator[tuple[str, np.ndarray]]:
    for detail in other.get_tensor_details():
        if detail["name"] not in names:
            continue
        try:
            value = other.get_tensor(detail["index"])
        except ValueError:
            continue  # not held by this runtime: an input of a fused step
        scale, zero = detail["quantization"]
        coded = value.dtype.kind in "iu" and scale
        yield detail["name"], (value.astype(np.float64) - zero) * scale if coded else value
