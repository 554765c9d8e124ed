"""One operator in an independent runtime and in bitlite: models are built in the test, results compared.

onnx_check("Conv", [x, w, b], {"strides": [2, 2]}, const=(1, 2))
tflite_check("CONV_2D", [x, w, b], ("Conv2DOptions", {"stride_w": 2, "stride_h": 2}), const=(1, 2))
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bitlite.converter.execute import execute
from bitlite.converter.ir import Graph
from bitlite.converter.numeric.qparams import QuantParam


def run_graph(graph: Graph, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Runs every node by its reference and checks that each result has the inferred type."""
    graph.verify()
    values = {t: feeds[t.name] for t in graph.inputs}
    for node in graph.nodes:
        made = execute(node, [None if t is None else t.data if t.is_const else values[t] for t in node.inputs])
        for t, a in zip(node.outputs, made, strict=True):
            assert a.dtype == t.dtype, (node, t, a.dtype)
            if t.shape is not None:
                assert len(t.shape) == a.ndim, (node, t, a.shape)
                assert all(n in (None, m) for n, m in zip(t.shape, a.shape)), (node, t, a.shape)
            values[t] = a
    return [t.data if t.is_const else values[t] for t in graph.outputs]


def compare(got: np.ndarray, want: np.ndarray, tolerance: float = 1e-5, steps: int = 0) -> None:
    """Floats within `tolerance` of the largest magnitude; integers equal, or `steps` codes apart."""
    assert got.shape == want.shape, (got.shape, want.shape)
    assert got.dtype == want.dtype, (got.dtype, want.dtype)
    if want.dtype.kind == "f":
        finite = np.abs(want[np.isfinite(want)])
        if want.dtype == np.float16:
            tolerance = max(tolerance, 2e-3)
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * float(finite.max(initial=0)) + 1e-30)
    elif steps and want.dtype.kind in "iu":
        assert np.abs(got.astype(np.int64) - want.astype(np.int64)).max(initial=0) <= steps
    else:
        np.testing.assert_array_equal(got, want)


def onnx_model(
    op: str,
    inputs: list[Any],
    attrs: dict[str, Any] | None = None,
    *,
    const: tuple[int, ...] = (),
    opset: int = 21,
    domain: str = "",
    outputs: int | tuple[str, ...] = 1,
) -> Any:
    """A model of one node. Inputs are arrays or None; those in `const` are initializers, the others x0, x1, …"""
    from onnx import TensorProto, helper, numpy_helper

    names = [f"x{i}" if a is not None else "" for i, a in enumerate(inputs)]
    made = [f"y{k}" for k in range(outputs)] if isinstance(outputs, int) else list(outputs)
    node = helper.make_node(op, names, made, name="node", domain=domain, **(attrs or {}))
    typed = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for i, (n, a) in enumerate(zip(names, inputs))
        if a is not None and i not in const
    ]
    fixed = [numpy_helper.from_array(np.asarray(inputs[i], order="C"), names[i]) for i in const]
    results = [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in made if n]
    for info in results:
        info.ClearField("type")
    imports = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    graph = helper.make_graph([node], "g", typed, results, fixed)
    return helper.make_model(graph, opset_imports=imports, ir_version=min(10, helper.find_min_ir_version_for(
        [o for o in imports if not o.domain])) if not domain else 10)  # fmt: skip


@pytest.fixture
def onnx_check(tmp_path: Path) -> Any:
    """check(op, inputs, attrs, …) → bitlite's results, equal to onnxruntime's."""

    def check(
        op: str,
        inputs: list[Any],
        attrs: dict[str, Any] | None = None,
        *,
        tolerance: float = 1e-5,
        steps: int = 0,
        want: list[np.ndarray] | None = None,
        **how: Any,
    ) -> list[np.ndarray]:
        import onnxruntime
        from bitlite.converter.formats.onnx import read

        model = onnx_model(op, inputs, attrs, **how)
        data = model.SerializeToString()
        feeds = {
            f"x{i}": np.asarray(a) for i, a in enumerate(inputs) if a is not None and i not in how.get("const", ())
        }
        if want is None:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            options.intra_op_num_threads = 1
            want = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, feeds)
        path = tmp_path / "model.onnx"
        path.write_bytes(data)
        got = run_graph(read(str(path)), feeds)
        assert len(got) == len(want)
        for g, w in zip(got, want):
            compare(g, np.asarray(w), tolerance, steps)
        return got

    return check


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
) -> bytes:
    """A model of one operator.

    Args:
        inputs: arrays or None. const, variable: which of them are constants, or states that start as zeros.
        outputs: dtypes, None for that of input 0.
        quant: input index → parameters. output_quant: parameters of the outputs.
    """
    from bitlite.converter.formats.flat import encode
    from bitlite.converter.formats.tflite_schema import SCHEMA

    types = {
        "float32": "FLOAT32", "float16": "FLOAT16", "float64": "FLOAT64", "int8": "INT8", "uint8": "UINT8",
        "int16": "INT16", "int32": "INT32", "int64": "INT64", "uint32": "UINT32", "uint16": "UINT16", "bool": "BOOL",
    }  # fmt: skip
    buffers: list[dict[str, Any]] = [{}]
    tensors: list[dict[str, Any]] = []

    def parameters(q: QuantParam | None) -> dict[str, Any] | None:
        if q is None:
            return None
        made = {"scale": q.scale.astype(np.float32), "zero_point": q.zero_point.astype(np.int64)}
        return made | {"quantized_dimension": q.axis or 0}

    def tensor(name: str, dtype: Any, shape: Any, data: np.ndarray | None, q: QuantParam | None) -> int:
        buffer = 0
        if data is not None:
            buffer = len(buffers)
            buffers.append({"data": np.ascontiguousarray(data).reshape(-1).view(np.uint8) if data.size else b""})
        tensors.append(
            {"name": name, "type": types[np.dtype(dtype).name], "shape": np.asarray(shape, np.int32), "buffer": buffer}
            | {"quantization": parameters(q)}
        )
        return len(tensors) - 1

    index, live = [], []
    for i, a in enumerate(inputs):
        if a is None:
            index.append(-1)
            continue
        index.append(tensor(f"x{i}", a.dtype, a.shape, a if i in const else None, (quant or {}).get(i)))
        if i in variable:
            tensors[-1]["is_variable"] = True
        elif i not in const:
            live.append(index[-1])
    first = next(a for a in inputs if a is not None).dtype
    made = [
        tensor(f"y{k}", dtype or first, [], None, output_quant[k] if k < len(output_quant) else None)
        for k, dtype in enumerate(outputs)
    ]
    number = SCHEMA.enums["BuiltinOperator"]["CUSTOM" if custom else op]
    code = {"deprecated_builtin_code": min(number, 127), "builtin_code": number, "version": version}
    operator: dict[str, Any] = {"opcode_index": 0, "inputs": np.int32(index), "outputs": np.int32(made)}
    if custom:
        code["custom_code"] = custom
        operator["custom_options"] = np.frombuffer(custom_options or b"", np.uint8)
    if options is not None:
        operator["builtin_options"] = options
    subgraph = {"tensors": tensors, "inputs": np.int32(live), "outputs": np.int32(made), "operators": [operator]}
    model = {"version": 3, "operator_codes": [code], "subgraphs": [subgraph], "buffers": buffers}
    return b"".join(bytes(part) for part in encode(model, SCHEMA))


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


@pytest.fixture
def tflite_check(tmp_path: Path) -> Any:
    """check(op, inputs, options, …) → bitlite's results, equal to LiteRT's. `steps`: codes that may lie between."""

    def check(
        op: str,
        inputs: list[Any],
        options: tuple[str, dict[str, Any]] | None = None,
        *,
        tolerance: float = 1e-5,
        steps: int = 0,
        want: list[np.ndarray] | None = None,
        **how: Any,
    ) -> list[np.ndarray]:
        from bitlite.converter.formats.tflite import read

        data = tflite_model(op, inputs, options, **how)
        feeds = {
            f"x{i}": np.asarray(a) for i, a in enumerate(inputs) if a is not None and i not in how.get("const", ())
        }
        want = run_litert(data, feeds) if want is None else want
        path = tmp_path / "model.tflite"
        path.write_bytes(data)
        got = run_graph(read(str(path)), feeds)
        assert len(got) == len(want)
        for g, w in zip(got, want):
            compare(g, w, tolerance, steps)
        return got

    return check
