"""What onnxruntime's own tools write of a model, through bitlite, against onnxruntime itself.

    python benchmarks/onnxruntime_files.py MODEL.onnx … [--keep FOLDER]

Of each model: its quantized forms (dynamic, static QDQ and QLinear, weights in 4-bit blocks), the transformer
optimizer's file, and of each of these the graph that onnxruntime's optimizer leaves at the levels BASIC, EXTENDED, ALL.
Prints per file: equal (largest error as a share of the range), refused (by name), or WRONG, and the operators of
com.microsoft in it. The exit status says whether anything is wrong.
"""

from __future__ import annotations

import argparse
import collections
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import bitlite
import numpy as np

_FLOAT, _CODES = 1e-4, 3e-2  # of the range: sums in another order; int8 steps that round the other way


def feeds_of(path: str, seed: int = 0) -> dict[str, np.ndarray]:
    import onnx

    model = onnx.load(path, load_external_data=False)
    fixed = {t.name for t in model.graph.initializer}
    rng = np.random.default_rng(seed)
    feeds = {}
    for i in model.graph.input:
        if i.name in fixed:
            continue
        t = i.type.tensor_type
        shape = [d.dim_value or 2 for d in t.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(t.elem_type)
        feeds[i.name] = (rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 8, shape)).astype(dtype)
    return feeds


class _Samples:
    """Calibration data for onnxruntime's quantizer."""

    def __init__(self, path: str) -> None:
        self.left = [feeds_of(path, seed) for seed in range(4)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.left.pop() if self.left else None


def _dynamic(source: str, target: str, **more: Any) -> None:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(source, target, **more)


def _static(form: str, kind: str) -> Callable[[str, str], None]:
    def make(source: str, target: str) -> None:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        quantize_static(
            source,
            target,
            _Samples(source),
            quant_format=QuantFormat[form],
            activation_type=QuantType[kind],
            weight_type=QuantType.QInt8,
            per_channel=kind == "QInt8",
        )

    return make


def _blocks(bits: int, symmetric: bool) -> Callable[[str, str], None]:
    def make(source: str, target: str) -> None:
        import onnx
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        quantizer = MatMulNBitsQuantizer(onnx.load(source), bits=bits, block_size=32, is_symmetric=symmetric)
        quantizer.process()
        quantizer.model.save_model_to_file(target)

    return make


def _transformer(source: str, target: str) -> None:
    from onnxruntime.transformers.optimizer import optimize_model

    optimize_model(source, model_type="bert", opt_level=0).save_model_to_file(target)


FORMS: dict[str, Callable[[str, str], None]] = {
    "dynamic": _dynamic,
    "dynamic-u8": lambda a, b: _dynamic(a, b, weight_type=_quant_type("QUInt8"), per_channel=True),
    "qdq-u8": _static("QDQ", "QUInt8"),
    "qdq-s8": _static("QDQ", "QInt8"),
    "qdq-u16": _static("QDQ", "QUInt16"),
    "qlinear-u8": _static("QOperator", "QUInt8"),
    "qlinear-s8": _static("QOperator", "QInt8"),
    "blocks4": _blocks(4, True),
    "blocks4-zero": _blocks(4, False),
    "blocks8": _blocks(8, True),
    "transformer": _transformer,
}


def _quant_type(name: str) -> Any:
    from onnxruntime.quantization import QuantType

    return QuantType[name]


def session(path: str, level: str = "DISABLE_ALL", save: str = "") -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_{level}")
    if save:
        options.optimized_model_filepath = save
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def files(path: str, folder: str) -> Iterator[tuple[str, str]]:
    """(label, file) of everything that can be made of a model."""
    stem = os.path.splitext(os.path.basename(path))[0]
    written = {"float": path}
    for name, make in FORMS.items():
        target = os.path.join(folder, f"{stem}.{name}.onnx")
        try:
            make(path, target)
            written[name] = target
        except Exception as error:  # the tool does not take this model
            print(f"{stem:26s} {name:14s} not made: {type(error).__name__}: {str(error)[:80]}", flush=True)
    for name, file in written.items():
        yield f"{stem:26s} {name:14s} as made", file
        for level in ("BASIC", "EXTENDED", "ALL"):
            target = os.path.join(folder, f"{stem}.{name}.{level}.onnx")
            try:
                session(file, f"ENABLE_{level}", target)
            except Exception as error:
                print(f"{stem:26s} {name:14s} {level:8s} onnxruntime: {str(error)[:80]}", flush=True)
                continue
            yield f"{stem:26s} {name:14s} {level:8s}", target


def compare(path: str) -> tuple[str, str]:
    """("equal" | "refused" | "WRONG" | "unrun", detail)."""
    feeds = feeds_of(path)
    try:
        wanted = session(path).run(None, feeds)
    except Exception as error:
        return "unrun", str(error)[:90]
    try:
        mine = bitlite.load(path)
        got = mine.run({p.name: feeds[p.name] for p in mine.inputs})
    except bitlite.Error as error:
        return "refused", str(error).replace(path, "")[:150]
    except Exception as error:
        return "WRONG", f"{type(error).__name__}: {error}"[:150]
    worst = 0.0
    for port, want in zip(mine.outputs, wanted):
        y = got[port.name]
        if y.shape != want.shape or y.dtype != want.dtype:
            return "WRONG", f"{port.name}: {y.dtype}{y.shape}, expected {want.dtype}{want.shape}"
        spread = float(np.ptp(want.astype(np.float64))) or 1.0
        worst = max(worst, float(np.abs(y.astype(np.float64) - want).max(initial=0)) / spread)
    return ("equal" if worst <= limit(path) else "WRONG"), f"{worst:.1e}"


def limit(path: str) -> float:
    import onnx

    steps = ("Quantize", "QLinear", "Integer", "QGemm", "QAttention", "DynamicQuant")
    return _CODES if any(s in n.op_type for n in _nodes(onnx.load(path).graph) for s in steps) else _FLOAT


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for a in node.attribute:
            if a.HasField("g"):
                yield from _nodes(a.g)


def contributed(path: str) -> list[str]:
    import onnx

    return sorted({n.op_type for n in _nodes(onnx.load(path, load_external_data=False).graph) if n.domain})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--keep", default="")
    args = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        where = args.keep or folder
        os.makedirs(where, exist_ok=True)
        for path in args.models:
            for label, file in files(path, where):
                status, detail = compare(file)
                counts[status] += 1
                print(f"{label:52s} {status:8s} {detail:12s} {' '.join(contributed(file))}", flush=True)
    print(", ".join(f"{counts[s]} {s}" for s in ("equal", "refused", "WRONG", "unrun")))
    return int(counts["WRONG"] > 0)


if __name__ == "__main__":
    sys.exit(main())
