"""Small networks beside the single operators: quantized, packed, external data, functions, control flow."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bitlite
import numpy as np

FILE_NAME = "m"
"""The name under which the bytes are read: ONNX seeds name it as external data, the one file that is beside them."""
WEIGHTS = b"\n# weights\n"
"""What parts a Caffe network's text from its weights."""
_ENDINGS = {"tflite": ".tflite", "onnx": ".onnx", "ms": ".ms"}


def networks(kind: str, folder: str) -> Iterator[bytes]:
    """Every network in every form that this container has."""
    for name, (model, shape) in _models().items():
        source = os.path.join(folder, f"{name}.onnx")
        Path(source).write_bytes(model)
        if kind == "onnx":
            yield model
        rng = np.random.default_rng(1)
        samples = [{"x": rng.standard_normal(shape).astype(np.float32)} for _ in range(3)]
        given = {"calibration_data": lambda samples=samples: iter(samples), "input_data_format": "NCHW"}
        int8 = {"quant_type": "PostTraining", **given}
        forms: list[dict[str, Any]] = [{}, int8, {"fp16": True}, {"quant_type": "DynamicQuant"}]
        weights = {"quant_type": "WeightQuant", "quant_weight_size": 0, "quant_weight_channel": 0, "gain_gate": False}
        forms += [{**weights, "bit_num": bits} for bits in ((2, 3, 4, 7, 8, 16) if kind == "ms" else (8,))]
        for form in forms:
            written = _converted(source, kind, form)
            if written is not None:
                yield written
                if kind == "tflite" and form is int8:
                    yield from (_retyped(written, "UINT8"), _retyped(written, "INT16"))
    if kind == "onnx":
        yield from _onnx_only()
    if kind == "tflite":
        yield from _tflite_only()


def _converted(source: str, kind: str, form: dict[str, Any]) -> bytes | None:
    target = f"{source[:-5]}-written"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bitlite.convert(source, target, output_format=(kind.upper(),), quiet=True, **form)
    except bitlite.Error:
        return None
    return Path(target + _ENDINGS[kind]).read_bytes()


def _retyped(data: bytes, kind: str) -> bytes:
    """An int8 TFLite file with activations of another integer type."""
    from bitlite.converter.formats.flat import decode, encode
    from bitlite.converter.formats.tflite_schema import SCHEMA

    model = decode(data, SCHEMA)
    types = SCHEMA.enums["TensorType"]
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            stored = model.buffers[tensor.buffer].data if tensor.buffer else None
            if tensor.type == types.INT8 and (stored is None or kind == "UINT8"):
                tensor.type = types[kind]
                if tensor.quantization is not None and kind == "UINT8":
                    tensor.quantization.zero_point = tensor.quantization.zero_point + 128
                elif tensor.quantization is not None:
                    tensor.quantization.zero_point = tensor.quantization.zero_point * 0
            elif tensor.type == types.INT32 and tensor.quantization is not None and kind == "INT16":
                tensor.type = types.INT64
                model.buffers[tensor.buffer].data = stored.view("<i4").astype("<i8").view(np.uint8)
    if kind == "UINT8":
        for t in {id(t): t for g in model.subgraphs for t in g.tensors}.values():
            if t.type == types.UINT8 and t.buffer and model.buffers[t.buffer].data is not None:
                model.buffers[t.buffer].data = model.buffers[t.buffer].data ^ np.uint8(128)
    return b"".join(bytes(part) for part in encode(model, SCHEMA, identifier=b"TFL3"))


def _models() -> dict[str, tuple[bytes, list[int]]]:
    """Name → (ONNX model with the input x, shape of x)."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(3)

    def model(nodes: list[Any], weights: dict[str, Any], shape: list[int], result: list[int] | None) -> bytes:
        ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), ("y", result))]
        stored = [numpy_helper.from_array(np.asarray(a), n) for n, a in weights.items()]
        graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], stored)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()

    def normal(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.5).astype(np.float32)

    node = helper.make_node
    convolutions = [
        node("Conv", ["x", "w0", "b0"], ["c0"], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", ["c0"], ["r0"]),
        node("Conv", ["r0", "w1"], ["c1"], pads=[1, 1, 1, 1], group=4),
        node("Add", ["r0", "c1"], ["a"]),
        node("MaxPool", ["a"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "w2", "b2"], ["g"], transB=1),
        node("Softmax", ["g"], ["y"]),
    ]
    branches = [
        node("ConvTranspose", ["x", "w0"], ["c0"], strides=[2, 2]),
        node("Sigmoid", ["c0"], ["s"]),
        node("Mul", ["c0", "s"], ["m"]),
        node("Split", ["m"], ["u", "v"], axis=1),
        node("Concat", ["v", "u"], ["k"], axis=1),
        node("Pad", ["k", "pads"], ["q"]),
        node("AveragePool", ["q"], ["o"], kernel_shape=[2, 2]),
        node("Resize", ["o", "", "scales"], ["z"], mode="nearest"),
        node("ReduceMean", ["z"], ["y"], axes=[2, 3]),
    ]
    attention = [
        node("MatMul", ["x", "w0"], ["q"]),
        node("Transpose", ["q"], ["t"], perm=[0, 2, 1]),
        node("MatMul", ["q", "t"], ["s"]),
        node("Softmax", ["s"], ["p"], axis=-1),
        node("MatMul", ["p", "q"], ["o"]),
        node("Add", ["o", "x"], ["r"]),
        node("LayerNormalization", ["r", "g", "b"], ["y"]),
    ]
    recurrent = [
        node("LSTM", ["x", "w", "r"], ["", "h"], hidden_size=3),
        node("Squeeze", ["h", "zero"], ["s"]),
        node("Gemm", ["s", "w2"], ["y"], transB=1),
    ]
    few = np.where(rng.random((12, 40)) < 0.9, np.float32(0), normal(12, 40))
    coded = rng.choice(np.array([-0.5, 0.25, 0.75], np.float32), (16, 32))
    return {
        "convolutions": (
            model(convolutions, {"w0": normal(4, 2, 3, 3), "b0": normal(4), "w1": normal(4, 1, 3, 3),
                                 "w2": normal(3, 4), "b2": normal(3)}, [1, 2, 4, 4], [1, 3]),
            [1, 2, 4, 4],
        ),
        "branches": (
            model(branches, {"w0": normal(2, 4, 2, 2), "pads": np.array([0, 0, 1, 0, 0, 0, 0, 1], np.int64),
                             "scales": np.array([1, 1, 2, 2], np.float32)}, [1, 2, 3, 3], None),
            [1, 2, 3, 3],
        ),
        "attention": (
            model(attention, {"w0": normal(4, 4), "g": normal(4), "b": normal(4)}, [1, 3, 4], [1, 3, 4]), [1, 3, 4]
        ),
        "recurrent": (
            model(recurrent, {"w": normal(1, 12, 2), "r": normal(1, 12, 3), "w2": normal(2, 3),
                              "zero": np.zeros(1, np.int64)}, [4, 1, 2], [1, 2]),
            [4, 1, 2],
        ),
        "sparse": (model([node("Gemm", ["x", "w"], ["y"], transB=1)], {"w": few}, [1, 40], [1, 12]), [1, 40]),
        "indexing": (model([node("Gemm", ["x", "w"], ["y"], transB=1)], {"w": coded}, [1, 32], [1, 16]), [1, 32]),
    }  # fmt: skip


def _onnx_only() -> Iterator[bytes]:
    """External data, functions, bodies that read names outside, an input without sizes, and onnxruntime's operators."""
    from onnx import TensorProto, helper, numpy_helper

    node, info = helper.make_node, helper.make_tensor_value_info
    x, y = info("x", TensorProto.FLOAT, [2, 3]), info("y", TensorProto.FLOAT, None)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("own", 1)]

    def model(nodes: list[Any], weights: list[Any] = (), functions: list[Any] = (), given: Any = x) -> bytes:
        graph = helper.make_graph(nodes, "g", [given], [y], list(weights))
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=8, functions=list(functions)
        ).SerializeToString()

    outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, 2], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", FILE_NAME), ("offset", "8"), ("length", "24")):
        outside.external_data.add(key=key, value=value)
    yield model([node("MatMul", ["x", "w"], ["y"])], [outside])
    missing = TensorProto()
    missing.CopyFrom(outside)
    missing.external_data[0].value = "weights/none.bin"
    yield model([node("MatMul", ["x", "w"], ["y"])], [missing])

    body = [node("Mul", ["a", "a"], ["s"]), node("Relu", ["s"], ["b"])]
    square = helper.make_function("own", "Square", ["a"], ["b"], body, opsets[:1])
    body = [node("Square", ["a"], ["t"], domain="own"), node("Square", ["t"], ["b"], domain="own")]
    twice = helper.make_function("own", "Twice", ["a"], ["b"], body, [opsets[0], opsets[2]])
    yield model([node("Twice", ["x"], ["y"], domain="own")], functions=[square, twice])

    ones = numpy_helper.from_array(np.ones((2, 3), np.float32), "w")
    true = numpy_helper.from_array(np.array(True), "c")
    trips = numpy_helper.from_array(np.array(3, np.int64), "n")
    branch = [
        helper.make_graph([node(op, ["x", "w"], ["z"])], op, [], [info("z", TensorProto.FLOAT, None)])
        for op in ("Add", "Sub")
    ]
    yield model([node("If", ["c"], ["y"], then_branch=branch[0], else_branch=branch[1])], [ones, true])
    loop = helper.make_graph(
        [node("Add", ["v", "w"], ["u"]), node("Identity", ["k"], ["k2"])],
        "loop",
        [info("i", TensorProto.INT64, []), info("k", TensorProto.BOOL, []), info("v", TensorProto.FLOAT, [2, 3])],
        [info("k2", TensorProto.BOOL, []), info("u", TensorProto.FLOAT, [2, 3])],
    )
    yield model([node("Loop", ["n", "c", "x"], ["y"], body=loop)], [ones, true, trips])
    yield model([node("NonZero", ["x"], ["i"]), node("Transpose", ["i"], ["y"])])
    yield model(
        [node("Shape", ["x"], ["s"]), node("ConstantOfShape", ["s"], ["o"]), node("Mul", ["x", "o"], ["y"])],
        given=info("x", TensorProto.FLOAT, ["batch", None]),
    )
    codes = numpy_helper.from_array(np.arange(64, dtype=np.uint8).reshape(4, 1, 16), "w")
    scales = numpy_helper.from_array(np.ones(4, np.float32), "s")
    nibbles = {"K": 32, "N": 4, "bits": 4, "block_size": 32, "domain": "com.microsoft"}
    wide = info("x", TensorProto.FLOAT, [2, 32])
    yield model([node("MatMulNBits", ["x", "w", "s"], ["y"], **nibbles)], [codes, scales], given=wide)
    for dtype in (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE, TensorProto.INT4):
        stored = helper.make_tensor("w", dtype, [3], [1, 2, 3])
        yield model([node("Cast", ["w"], ["v"], to=TensorProto.FLOAT), node("Add", ["x", "v"], ["y"])], [stored])


def _tflite_only() -> Iterator[bytes]:
    """Forms that no network above has: sparse constants, and variables that last from run to run."""
    segments, indices = (
        ("Uint8Vector", {"values": np.uint8([0, 1, 1, 2])}),
        ("Uint16Vector", {"values": np.uint16([0, 1])}),
    )
    blocks = [
        {"format": 0, "dense_size": 3},
        {"format": 1, "array_segments": segments, "array_indices": indices},
        {"format": 0, "dense_size": 2},
    ]
    sparse = {"traversal_order": np.int32([0, 1, 2]), "block_map": np.int32([1]), "dim_metadata": blocks}
    tensors = [
        {"name": "x", "shape": np.int32([1, 4])},
        {"name": "w", "shape": np.int32([3, 4]), "buffer": 1, "sparsity": sparse},
        {"name": "v", "shape": np.int32([3, 4])},
        {"name": "y", "shape": np.int32([1, 3])},
    ]
    operators = [("DENSIFY", [1], [2], ("DensifyOptions", {})), ("FULLY_CONNECTED", [0, 2, -1], [3], None)]
    yield _tflite([(tensors, operators, [0], [3])], [np.float32([1, -2, 3, 4]).view(np.uint8)])

    in_blocks = ("BlockwiseQuantization", {"scales": 2, "zero_points": -1, "block_size": 32})
    tensors = [
        {"name": "x", "shape": np.int32([2, 64])},
        {"name": "w", "shape": np.int32([3, 64]), "type": "INT4", "buffer": 1, "quantization": {"details": in_blocks}},
        {"name": "s", "shape": np.int32([3, 2]), "type": "FLOAT16", "buffer": 2},
        {"name": "y", "shape": np.int32([2, 3])},
    ]
    codes, scales = np.arange(96, dtype=np.uint8), np.linspace(0.5, 1, 6, dtype=np.float16)
    operators = [("FULLY_CONNECTED", [0, 1, -1], [3], ("FullyConnectedOptions", {}))]
    yield _tflite([(tensors, operators, [0], [3])], [codes, scales.view(np.uint8)])

    shape, handle = np.int32([2]), {"name": "h", "shape": np.int32([]), "type": "RESOURCE"}
    tensors = [handle, *({"name": n, "shape": shape} for n in "xsy")]
    var, assign = ("VAR_HANDLE", [], [0], ("VarHandleOptions", {"shared_name": "v"})), ("AssignVariableOptions", {})
    operators = [
        ("CALL_ONCE", [], [], ("CallOnceOptions", {"init_subgraph_index": 1})),
        var,
        ("READ_VARIABLE", [0], [2], ("ReadVariableOptions", {})),
        ("ADD", [1, 2], [3], ("AddOptions", {})),
        ("ASSIGN_VARIABLE", [0, 3], [], assign),
    ]
    first = (
        [handle, {"name": "c", "shape": shape, "buffer": 1}],
        [var, ("ASSIGN_VARIABLE", [0, 1], [], assign)],
        [],
        [],
    )
    yield _tflite([(tensors, operators, [1], [3]), first], [np.float32([1, -2]).view(np.uint8)])


def _tflite(graphs: list[tuple[list[Any], list[Any], list[int], list[int]]], buffers: list[np.ndarray]) -> bytes:
    """A file of subgraphs (tensors, operators as (name, inputs, outputs, options), inputs, outputs); buffers from 1."""
    from bitlite.converter.formats.flat import encode
    from bitlite.converter.formats.tflite_schema import SCHEMA

    numbers = SCHEMA.enums["BuiltinOperator"]
    names = list(dict.fromkeys(o[0] for _, operators, _, _ in graphs for o in operators))
    codes = [{"deprecated_builtin_code": min(numbers[n], 127), "builtin_code": numbers[n], "version": 1} for n in names]
    subgraphs = []
    for tensors, operators, inputs, outputs in graphs:
        made = []
        for name, given, results, options in operators:
            one = {"opcode_index": names.index(name), "inputs": np.int32(given), "outputs": np.int32(results)}
            made.append(one | ({} if options is None else {"builtin_options": options}))
        ports = {"inputs": np.int32(inputs), "outputs": np.int32(outputs)}
        subgraphs.append({"tensors": tensors, "operators": made, **ports})
    model = {"version": 3, "operator_codes": codes, "subgraphs": subgraphs}
    model["buffers"] = [{}, *({"data": b} for b in buffers)]
    return b"".join(bytes(part) for part in encode(model, SCHEMA))


def caffe_networks() -> Iterator[bytes]:
    """The networks of the tests of Caffe's layers, each as its text, `WEIGHTS`, and its weights."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "converter"))
    try:
        layers, whole = (importlib.import_module(f"test_caffe{part}") for part in ("_layers", ""))
        written = importlib.import_module("caffe_networks")
    finally:
        del sys.path[0]
    with tempfile.TemporaryDirectory() as folder:
        for name, (more, blobs, _) in layers.CASES.items():
            both = name.split()[0] in ("Eltwise", "Concat")
            text = written.inputs(layers.X.shape, *([layers.X.shape] if both else []))
            text += written.layer(name.split()[0], more, "x y" if both else "x")
            yield _joined(written.write(Path(folder), text, {"l": blobs}))
        yield _joined(written.write(Path(folder), whole.NEW, {"conv": [whole.W]}))
        yield _joined(written.write(Path(folder), whole.OLD, {"conv": [whole.W]}, older=True, legacy=True))
        data = whole.DATA + written.layer("Convolution", whole.CONV, "x", "y", "conv") + whole.ENDS
        yield _joined(written.write(Path(folder), data, {"conv": [whole.W]}))


def _joined(path: Path) -> bytes:
    return path.read_bytes() + WEIGHTS + path.with_suffix(".caffemodel").read_bytes()
