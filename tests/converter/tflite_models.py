"""TFLite models of one operator, and LiteRT to run them: shared by the tests and `benchmarks/tflite_audit.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
from bitlite.converter.numeric.qparams import QuantParam


def tflite_model(
    op: str,
    inputs: list[Any],
    options: tuple[str, dict[str, Any]] | None = None,
    *,
    const: tuple[int, ...] = (),
    variable: tuple[int, ...] = (),
    outputs: tuple[Any, ...] = (None,),
    quant: dict[int, QuantParam] | None = None,
    output_quant: tuple[QuantParam | None, ...] = (None,),
    version: int = 1,
    custom: str = "",
    custom_options: bytes | None = None,
    types: dict[int, str] | None = None,
    intermediates: tuple[QuantParam, ...] = (),
    sparsity: dict[int, dict[str, Any]] | None = None,
) -> bytes:
    """A model of one operator.

    Args:
        inputs: arrays or None. const, variable: which of them are constants, or states that start as zeros.
        outputs: dtypes, None for that of input 0.
        quant: input index → parameters. output_quant: parameters of the outputs.
        types: input index → TensorType where the array's own dtype does not say it: "INT4", two to a byte in the file.
        intermediates: parameters of the tensors inside the operator (integer LSTM), int16 each.
        sparsity: input index → SparsityParameters; the array then holds the stored values, and "shape" the tensor's.
    """
    from bitlite.converter.formats.flat import encode
    from bitlite.converter.formats.tflite_schema import SCHEMA

    names = {
        "float32": "FLOAT32", "float16": "FLOAT16", "float64": "FLOAT64", "int8": "INT8", "uint8": "UINT8",
        "int16": "INT16", "int32": "INT32", "int64": "INT64", "uint32": "UINT32", "uint16": "UINT16", "bool": "BOOL",
    }  # fmt: skip
    buffers: list[dict[str, Any]] = [{}]
    tensors: list[dict[str, Any]] = []

    def parameters(q: QuantParam | None) -> dict[str, Any] | None:
        if q is None:
            return None
        fields = {"scale": q.scale.astype(np.float32), "zero_point": q.zero_point.astype(np.int64)}
        return fields | {"quantized_dimension": q.axis or 0}

    def tensor(name: str, dtype: Any, shape: Any, data: np.ndarray | None, q: QuantParam | None, kind: str = "") -> int:
        buffer = 0
        if data is not None:
            buffer = len(buffers)
            raw = np.ascontiguousarray(data).reshape(-1).view(np.uint8) if data.size else b""
            buffers.append({"data": _nibbles(raw) if kind == "INT4" else raw})
        kind = kind or names[np.dtype(dtype).name]
        fields = {"name": name, "type": kind, "shape": np.asarray(shape, np.int32), "buffer": buffer}
        tensors.append(fields | {"quantization": parameters(q)})
        return len(tensors) - 1

    index, live = [], []
    for i, a in enumerate(inputs):
        if a is None:
            index.append(-1)
            continue
        index.append(
            tensor(f"x{i}", a.dtype, a.shape, a if i in const else None, (quant or {}).get(i), (types or {}).get(i, ""))
        )
        if i in (sparsity or {}):
            tensors[-1] |= {"shape": np.int32(sparsity[i]["shape"]), "sparsity": sparsity[i]["levels"]}  # pyright: ignore
        if i in variable:
            tensors[-1]["is_variable"] = True
        elif i not in const:
            live.append(index[-1])
    first = next(a for a in inputs if a is not None).dtype
    results = [
        tensor(f"y{k}", dtype or first, [], None, output_quant[k] if k < len(output_quant) else None)
        for k, dtype in enumerate(outputs)
    ]
    number = SCHEMA.enums["BuiltinOperator"]["CUSTOM" if custom else op]
    code = {"deprecated_builtin_code": min(number, 127), "builtin_code": number, "version": version}
    operator: dict[str, Any] = {"opcode_index": 0, "inputs": np.int32(index), "outputs": np.int32(results)}
    if custom:
        code["custom_code"] = custom
        operator["custom_options"] = np.frombuffer(custom_options or b"", np.uint8)
    if options is not None:
        operator["builtin_options"] = options
    if intermediates:
        inside = [tensor(f"inside{k}", np.int16, [], None, q) for k, q in enumerate(intermediates)]
        operator["intermediates"] = np.int32(inside)
    subgraph = {"tensors": tensors, "inputs": np.int32(live), "outputs": np.int32(results), "operators": [operator]}
    model = {"version": 3, "operator_codes": [code], "subgraphs": [subgraph], "buffers": buffers}
    return b"".join(bytes(part) for part in encode(model, SCHEMA))


def tflite_file(*subgraphs: tuple[list[Any], list[int], list[int], list[Any]]) -> bytes:
    """A model of subgraphs (tensors, inputs, outputs, operators).

    A tensor is (TensorType, shape) or a constant array; an operator (name, inputs, outputs, options or None).
    """
    from bitlite.converter.formats.flat import encode
    from bitlite.converter.formats.tflite_schema import SCHEMA

    buffers: list[dict[str, Any]] = [{}]
    codes: list[str] = []
    bodies = []
    for tensors, inputs, outputs, operators in subgraphs:
        held, nodes = [], []
        for i, t in enumerate(tensors):
            kind, shape = (t.dtype.name.upper(), t.shape) if isinstance(t, np.ndarray) else t
            held.append({"name": f"t{i}", "type": kind, "shape": np.int32(shape), "buffer": 0})
            if isinstance(t, np.ndarray):
                held[-1]["buffer"] = len(buffers)
                buffers.append({"data": np.ascontiguousarray(t).reshape(-1).view(np.uint8)})
        for name, ins, outs, options in operators:
            codes += [name] * (name not in codes)
            nodes.append({"opcode_index": codes.index(name), "inputs": np.int32(ins), "outputs": np.int32(outs)})
            if options is not None:
                nodes[-1]["builtin_options"] = options
        bodies.append(
            {"tensors": held, "inputs": np.int32(inputs), "outputs": np.int32(outputs), "operators": nodes, "name": "g"}
        )
    numbers = [SCHEMA.enums["BuiltinOperator"][name] for name in codes]
    listed = [{"deprecated_builtin_code": min(n, 127), "builtin_code": n, "version": 1} for n in numbers]
    model = {"version": 3, "operator_codes": listed, "subgraphs": bodies, "buffers": buffers}
    return b"".join(bytes(part) for part in encode(model, SCHEMA))


def _nibbles(codes: np.ndarray) -> np.ndarray:
    """Four-bit codes, the first in the low half of its byte."""
    low = np.asarray(codes, np.uint8).reshape(-1) & 15
    low = np.concatenate([low, np.zeros(len(low) % 2, np.uint8)])
    return low[0::2] | low[1::2] << 4


def run_litert(data: bytes, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs in order, by LiteRT's reference-equal CPU kernels without delegates."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    runner = Interpreter(
        model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    for d in runner.get_input_details():
        runner.resize_tensor_input(d["index"], feeds[d["name"]].shape)
    runner.allocate_tensors()
    for d in runner.get_input_details():
        runner.set_tensor(d["index"], feeds[d["name"]])
    runner.invoke()
    return [runner.get_tensor(d["index"]) for d in runner.get_output_details()]
