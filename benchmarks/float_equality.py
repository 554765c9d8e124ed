"""Float equality: every model of the evaluation data in the Session against LiteRT or onnxruntime, on real inputs.

    python benchmarks/float_equality.py EVAL_DIR [SAMPLES]

Prints, per model, the largest absolute error as a share of the output's range and how many argmax agree. The keyword
model's weights are int8; LiteRT would compute it with int8 activations, so it is compared with a float copy.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile

import bitlite
import numpy as np

LIMIT = 1e-4


def pack(folder: str):
    spec = importlib.util.spec_from_file_location("evalpack", os.path.join(folder, "evalpack.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def samples(eval_pack, model: str, shape: tuple[int, ...], count: int) -> np.ndarray:
    """[count, *shape without the batch], NHWC: real images where the model takes them, seeded noise else."""
    if model in eval_pack.MODELS:
        data, _, how, _ = eval_pack.MODELS[model]
        return eval_pack.preprocess(eval_pack.images(data, "eval")[0][:count], how)
    rng = np.random.default_rng(0)
    return (rng.standard_normal((count, *shape[1:])) * 3).astype(np.float32)


def dequantized_copy(path: str, folder: str) -> str:
    """The .tflite with its int8 constant weights stored as the floats they stand for."""
    from bitlite.converter.formats import tflite_schema
    from bitlite.converter.formats.files import map_file
    from bitlite.converter.formats.flat import decode, write
    from bitlite.converter.formats.outputs import write_atomic

    model = decode(map_file(path), tflite_schema.SCHEMA, file=path)
    kinds = tflite_schema.SCHEMA.enums["TensorType"]
    for tensor in model.subgraphs[0].tensors:
        q, data = tensor.quantization, model.buffers[tensor.buffer].data
        if tensor.type != kinds["INT8"] or q is None or q.scale is None or data is None or not len(data):
            continue
        codes = np.frombuffer(data, np.int8).reshape(tensor.shape).astype(np.float32)
        shape = [1] * codes.ndim
        shape[q.quantized_dimension if len(q.scale) > 1 else 0] = len(q.scale)
        real = (codes * np.asarray(q.scale, np.float32).reshape(shape)).astype(np.float32)
        model.buffers[tensor.buffer].data = real.view(np.uint8).reshape(-1)
        tensor.type, tensor.quantization = kinds["FLOAT32"], None
    target = os.path.join(folder, "dequantized.tflite")
    with write_atomic(target) as out:
        write(out, model, tflite_schema.SCHEMA)
    return target


def reference(path: str):
    """x [1, …] NHWC → output, in the format's own runtime."""
    if path.endswith(".onnx"):
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda x: session.run(None, {name: x})[0]
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(x: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source, x)
        interpreter.invoke()
        return interpreter.get_tensor(target).copy()

    return run


def compare(eval_pack, path: str, count: int, scratch: str) -> tuple[float, int, int]:
    model = os.path.basename(path).rpartition(".")[0]
    if model.startswith("kws"):
        path = dequantized_copy(path, scratch)
    session = bitlite.load(path)
    port = session.inputs[0]
    run = reference(path)
    error, low, high, same = 0.0, np.inf, -np.inf, 0
    data = samples(eval_pack, model, port.shape, count)
    for x in data:
        x = x[None]
        if port.layout == "NCHW":
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        got, wanted = next(iter(session.run({port.name: x}).values())), run(x)
        error = max(error, float(np.abs(got - wanted).max()))
        low, high = min(low, float(wanted.min())), max(high, float(wanted.max()))
        same += int(got.argmax() == wanted.argmax())
    return error / (high - low), same, len(data)


def main(folder: str, count: int = 100) -> int:
    eval_pack, worst = pack(folder), 0
    with tempfile.TemporaryDirectory() as scratch:
        for name in sorted(os.listdir(os.path.join(folder, "models"))):
            error, same, n = compare(eval_pack, os.path.join(folder, "models", name), count, scratch)
            fine = error <= LIMIT and same == n
            worst |= not fine
            print(f"{name:36s} max error {error:.2e} of the range, argmax {same}/{n}  {'ok' if fine else 'FAILS'}")
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *(int(v) for v in sys.argv[2:3])))
