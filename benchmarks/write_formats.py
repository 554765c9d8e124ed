"""Measures the written formats in the runtimes that they are for, beside the files of these runtimes' own quantizers.

    python benchmarks/write_formats.py EVALUATION_DATA [--images=300] [--models=resnet8_cifar10,kws_ref_model_float32]

EVALUATION_DATA holds `models/` and `evalpack.py` (calibration and evaluation images). Needs onnxruntime, ai-edge-litert
and Pillow; ai-edge-quantizer's file appears where that is installed. Prints tables in markdown:

* float: largest difference to the source in the source's runtime, as a share of the range; operators read back.
* int8: the same graph in bitlite, LiteRT and onnxruntime: SQNR and equal top-1 between bitlite and the runtime, SQNR,
  agreement and top-1 against FP32 as that runtime gives them, nodes that differ by more than one code on equal inputs,
  partitions (LiteRT) or operators left in float (onnxruntime), and time over that of the runtime's own quantized file.
"""

from __future__ import annotations

import argparse
import collections
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from bitlite import Session, convert, load
from bitlite.converter.execute import is_quantized
from bitlite.converter.formats import onnx as onnx_format
from bitlite.converter.formats import read_model
from bitlite.converter.formats import tflite as tflite_format
from bitlite.converter.ir import Graph
from bitlite.converter.passes import GENERAL, for_target, run_passes

MODELS = {
    "resnet8_cifar10.tflite": "resnet8_cifar10",
    "mobilenet_v2_1.0_224_tf.tflite": "mobilenet_v2_1.0_224_tf",
    "squeezenet1.1.onnx": "squeezenet1.1",
    "kws_ref_model_float32.tflite": "",
    "ad01_fp32.tflite": "",
}
Run = Callable[[np.ndarray], np.ndarray]


def litert(path: str) -> tuple[Run, Any]:
    """(function of one NHWC sample, interpreter)."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=1)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(x: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source["index"], _codes(source, x))
        interpreter.invoke()
        y = interpreter.get_tensor(target["index"])
        scale, zero = target["quantization"]
        return y if y.dtype != np.int8 else (y.astype(np.float32) - zero) * np.float32(scale)

    return run, interpreter


def _codes(port: dict[str, Any], x: np.ndarray) -> np.ndarray:
    """x as an int8 input takes it."""
    if port["dtype"] != np.int8:
        return x
    scale, zero = port["quantization"]
    return np.clip(np.rint(x / scale) + zero, -128, 127).astype(np.int8)


def alone(engine: Any, x: np.ndarray) -> Callable[[], Any]:
    """One run of the engine on the sample, prepared beforehand."""
    if hasattr(engine, "invoke"):
        source, target = engine.get_input_details()[0], engine.get_output_details()[0]
        fed = _codes(source, x)

        def run() -> Any:
            engine.set_tensor(source["index"], fed)
            engine.invoke()
            return engine.get_tensor(target["index"])

        return run
    port = engine.get_inputs()[0]
    turned = x.ndim == 4 and tuple(port.shape[1:]) != x.shape[1:]
    feed = {port.name: np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if turned else x}
    return lambda: engine.run(None, feed)


def onnxruntime(path: str, optimized: str = "") -> tuple[Run, Any]:
    """(function of one NHWC sample, session)."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    if optimized:
        options.optimized_model_filepath = optimized
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    port = session.get_inputs()[0]

    def run(x: np.ndarray) -> np.ndarray:
        if x.ndim == 4 and tuple(port.shape[1:]) != x.shape[1:]:
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        return session.run(None, {port.name: x})[0]

    return run, session


def own(path: str) -> tuple[Run, Session]:
    session = load(path)
    port = session.inputs[0]

    def run(x: np.ndarray) -> np.ndarray:
        if x.ndim == 4 and port.shape is not None and tuple(port.shape[1:]) != x.shape[1:]:
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        return next(iter(session.run({port.name: x}).values()))

    return run, session


def outputs(run: Run, x: np.ndarray) -> np.ndarray:
    return np.concatenate([np.array(run(x[i : i + 1]), np.float64).reshape(1, -1) for i in range(len(x))])


def sqnr(signal: np.ndarray, noisy: np.ndarray) -> float:
    error = ((signal - noisy) ** 2).sum()
    return float("inf") if not error else 10 * np.log10((signal**2).sum() / error)


def same_top(a: np.ndarray, b: np.ndarray) -> float:
    return 100 * float((a.argmax(1) == b.argmax(1)).mean())


def milliseconds(runs: dict[str, Callable[[], Any]], seconds: float = 2.0) -> dict[str, float]:
    """The best of interleaved runs."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[next(iter(times))]) < 10:
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: 1e3 * min(each) for name, each in times.items()}


def partitions(interpreter: Any) -> str:
    """Parts that XNNPACK runs, and whether they are the whole graph."""
    ops = interpreter._get_ops_details()
    parts = [op for op in ops if op["op_name"] == "DELEGATE"]
    ends = {d["index"] for d in interpreter.get_output_details()}
    whole = len(parts) == 1 and ends <= set(parts[0]["outputs"])
    return "whole graph" if whole else f"{len(parts)} parts"


def left_in_float(optimized: str) -> str:
    """What onnxruntime computes outside integer operators, by its own optimized graph."""
    import onnx

    names = collections.Counter(node.op_type for node in onnx.load(optimized).graph.node)
    integer = sum(n for op, n in names.items() if op.startswith(("QLinear", "QGemm", "MatMulInteger")))
    heavy = {op: n for op, n in names.items() if op in ("Conv", "FusedConv", "Gemm", "MatMul", "Add", "Concat")}
    return f"{integer} fused" + "".join(f", {n} {op}" for op, n in sorted(heavy.items()))


def compare_nodes(path: str, x: np.ndarray, folder: str) -> tuple[int, int, int]:
    """(integer nodes, those that differ by more than one code in LiteRT, in onnxruntime), each on bitlite's inputs, for
    all samples of x."""
    graph = read_model(path)
    run_passes(graph, GENERAL)
    wanted = [n for n in graph.nodes if all(is_quantized(t) for t in n.outputs) and is_quantized(n.inputs[0])]
    probe = graph.copy()
    names = {t.name for n in wanted for t in (*n.inputs, *n.outputs) if t is not None and not t.is_const}
    probe.outputs = [t for n in probe.nodes for t in n.outputs if t.name in names]
    session = Session(probe)
    port = session.inputs[0]
    fed = x if x.shape[1:] == port.shape[1:] else x.transpose(0, 3, 1, 2).copy()
    values = [session.run({port.name: fed[k : k + 1]}) for k in range(len(fed))]
    far = [0, 0]
    for node in wanted:
        reads = [t for t in dict.fromkeys(node.inputs) if t is not None and not t.is_const]
        for k, (container, module, run) in enumerate(
            (("tflite", tflite_format, _litert_node), ("onnx", onnx_format, _onnx_node))
        ):
            alone = Graph("node", [node], list(reads), list(node.outputs), {}).copy()
            for t in (*alone.inputs, *alone.outputs):
                t.layout = ""
            run_passes(alone, for_target(container))
            file = f"{folder}/node.{container}"
            module.write(alone, file)
            found = run(file, [{t.name: held[t.name] for t in reads} for held in values])
            expected = [held[node.outputs[0].name] for held in values]
            far[k] += any(np.abs(y.astype(int) - e.astype(int)).max() > 1 for y, e in zip(found, expected))
    return len(wanted), far[0], far[1]


def _litert_node(file: str, feeds: list[dict[str, np.ndarray]]) -> list[np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(file)
    interpreter.allocate_tensors()
    found = []
    for feed in feeds:
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], feed[detail["name"]])
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return found


def _onnx_node(file: str, feeds: list[dict[str, np.ndarray]]) -> list[np.ndarray]:
    _, session = onnxruntime(file)
    return [session.run(None, feed)[0] for feed in feeds]


def float_rows(file: str, x: np.ndarray, folder: str) -> list[str]:
    """Source → each format: differences in LiteRT and onnxruntime, operators."""
    run, _ = (litert if file.endswith(".tflite") else onnxruntime)(file)
    expected = outputs(run, x)
    convert(file, f"{folder}/float", output_format="MS,TFLITE,ONNX")
    first = collections.Counter(n.op for n in load(file).graph.nodes)
    cells = []
    for name, make in (("ms", own), ("tflite", litert), ("onnx", onnxruntime)):
        actual = outputs(make(f"{folder}/float.{name}")[0], x)
        again = collections.Counter(n.op for n in load(f"{folder}/float.{name}").graph.nodes)
        cells.append(f"{np.abs(actual - expected).max() / np.ptp(expected):.1e}, {_graph(first, again)}")
    return cells


def _graph(first: collections.Counter[str], again: collections.Counter[str]) -> str:
    changed = (first - again) + (again - first)
    return "same graph" if not changed else "graph: " + ", ".join(f"{op} {again[op] - first[op]:+d}" for op in changed)


def ort_file(file: str, calibration: np.ndarray, folder: str) -> str:
    """onnxruntime's own quantizer: QDQ, min/max, int8 weights per channel."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source, prepared = f"{folder}/float.onnx", f"{folder}/prepared.onnx"
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    port = onnxruntime(prepared)[1].get_inputs()[0]

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.samples = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            x = next(self.samples, None)
            if x is None:
                return None
            x = x[None]
            turned = x.ndim == 4 and tuple(port.shape[1:]) != x.shape[1:]
            return {port.name: np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if turned else x}

    settings = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "per_channel": True}
    quantize_static(prepared, f"{folder}/theirs.onnx", Reader(), quant_format=QuantFormat.QDQ, **settings)
    return f"{folder}/theirs.onnx"


def litert_file(file: str, calibration: np.ndarray, folder: str) -> str | None:
    """ai-edge-quantizer's own int8 file, of the .tflite."""
    if importlib.util.find_spec("ai_edge_quantizer") is None:
        return None
    from ai_edge_quantizer import quantizer, recipe

    own = quantizer.Quantizer(f"{folder}/float.tflite", recipe.static_wi8_ai8())
    _, interpreter = litert(f"{folder}/float.tflite")
    key, runner = (
        next(iter(interpreter.get_signature_list().items())) if interpreter.get_signature_list() else ("", None)
    )
    name = runner["inputs"][0] if runner else interpreter.get_input_details()[0]["name"]
    statistics = own.calibrate({key or None: [{name: x[None]} for x in calibration]})
    own.quantize(statistics).export_model(f"{folder}/theirs.tflite", overwrite=True)
    return f"{folder}/theirs.tflite"


def int8_rows(file: str, data: tuple[np.ndarray, ...], folder: str) -> list[str]:
    calibration, x, labels = data
    options = {"quant_type": "PostTraining", "output_format": "MS,TFLITE,ONNX"}
    convert(file, f"{folder}/int8", calibration_data=list(_as_source(file, calibration)), **options)
    source, _ = (litert if file.endswith(".tflite") else onnxruntime)(file)
    reference = outputs(source, x)
    mine = outputs(own(f"{folder}/int8.ms")[0], x)
    count, *far = compare_nodes(f"{folder}/int8.ms", x[:1], folder)
    rows = []
    theirs = {"LiteRT": litert_file(file, calibration, folder), "onnxruntime": ort_file(file, calibration, folder)}
    rows.append(_row("bitlite", "bitlite .ms", mine, mine, reference, labels, "", "", None))
    for k, (runtime, ending, make) in enumerate(
        (("LiteRT", "tflite", litert), ("onnxruntime", "onnx", lambda p: onnxruntime(p, f"{folder}/optimized.onnx")))
    ):
        run, engine = make(f"{folder}/int8.{ending}")
        how = partitions(engine) if ending == "tflite" else left_in_float(f"{folder}/optimized.onnx")
        nodes = f"{far[k]} of {count}"
        runs = {"ours": alone(engine, x[:1]), "float": alone(make(f"{folder}/float.{ending}")[1], x[:1])}
        path = theirs[runtime]
        if path is not None:
            peer, engine = make(path)
            their_how = partitions(engine) if ending == "tflite" else left_in_float(f"{folder}/optimized.onnx")
            runs["theirs"] = alone(engine, x[:1])
        speed = milliseconds(runs)
        versus = speed["ours"] / speed["theirs"] if path is not None else None
        cost = f"{speed['ours']:.3f} ms, {speed['ours'] / speed['float']:.2f}x of float"
        rows.append(
            _row(runtime, f"bitlite .{ending}", outputs(run, x), mine, reference, labels, how, nodes, versus, cost)
        )
        if path is not None:
            results = outputs(peer, x)
            cost = f"{speed['theirs']:.3f} ms"
            rows.append(_row(runtime, "its own quantizer", results, None, reference, labels, their_how, "", None, cost))
    return rows


def _row(
    runtime: str,
    form: str,
    actual: np.ndarray,
    mine: np.ndarray | None,
    reference: np.ndarray,
    labels: np.ndarray | None,
    how: str,
    nodes: str,
    versus: float | None,
    cost: str = "",
) -> str:
    top = "" if labels is None else f"{100 * float((actual.argmax(1) == labels).mean()):.2f}"
    alike = "" if mine is None or mine is actual else f"{sqnr(mine, actual):.1f} dB, {same_top(mine, actual):.1f} %"
    ratio = "" if versus is None else f"{versus:.2f}x of theirs"
    cells = [
        runtime,
        form,
        alike,
        f"{sqnr(reference, actual):.2f}",
        f"{same_top(reference, actual):.2f}",
        top,
        nodes,
        how,
    ]
    return " | ".join([*cells, cost, ratio])


def _as_source(file: str, x: np.ndarray) -> Any:
    """Samples in the layout of the source's own input."""
    shape = read_model(file).inputs[0].shape or ()
    turned = x.ndim == 4 and tuple(shape[1:]) != x.shape[1:]
    for sample in x:
        yield np.ascontiguousarray(sample.transpose(2, 0, 1) if turned else sample)[None]


def samples(folder: str, file: str, name: str, images: int) -> tuple[Any, ...]:
    """(calibration, evaluation, labels or None), NHWC float32; seeded noise where there are no images."""
    if not name:
        shape = tuple(1 if d is None else d for d in read_model(f"{folder}/models/{file}").inputs[0].shape or ())
        rng = np.random.default_rng(0)
        x = rng.normal(size=(100 + images, *shape[1:])).astype(np.float32)
        return x[:100], x[100:], None
    import evalpack

    data, _, how, first = evalpack.MODELS[name]
    x, y = evalpack.images(data, "eval")
    return evalpack.calibration(name), evalpack.preprocess(x[:images], how), y[:images] + first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--models", default="")
    options = parser.parse_args()
    sys.path.insert(0, options.data)
    chosen = [file for file in MODELS if not options.models or file.rpartition(".")[0] in options.models.split(",")]
    floats, integers = [], []
    for file in chosen:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(options.data, "models", file)
            data = samples(options.data, file, MODELS[file], options.images)
            floats.append(f"| {file} | {' | '.join(float_rows(path, data[1][:8], folder))} |")
            integers += [f"| {file.rpartition('.')[0]} | {row} |" for row in int8_rows(path, data, folder)]
    print("| float model | .ms in bitlite | .tflite in LiteRT | .onnx in onnxruntime |\n|---|---|---|---|")
    print("\n".join(floats))
    print(f"\n{options.images} samples")
    head = "model | runtime | file | to bitlite: SQNR, same top-1 | SQNR to FP32 | agree % | top-1 % | nodes > 1 code"
    print(f"| {head} | how it runs | time | ratio |\n|{'---|' * 11}")
    print("\n".join(integers))


if __name__ == "__main__":
    main()
