"""One int8 model of another quantizer: `python ptq_peers.py METHOD SOURCE.onnx SAMPLES.npy OUT.onnx`.

Runs in the environment of that quantizer, without bitlite. METHOD: one of METHODS. SAMPLES: float32 [n, …] in the
layout of the model's only input. Settings are the quantizer's own, but for one scale per output channel of a weight.

`python ptq_peers.py run MODEL.onnx SAMPLES.npy OUT.npy` runs a model in onnxruntime, sample by sample.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

METHODS = ("onnxruntime MinMax", "onnxruntime Percentile", "NNCF", "NNCF, full bias correction")


def make(method: str, source: str, samples: np.ndarray, target: str) -> None:
    (_onnxruntime if method.startswith("onnxruntime") else _nncf)(method, source, samples, target)


def _onnxruntime(method: str, source: str, samples: np.ndarray, target: str) -> None:
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self, rows: Iterator[dict[str, np.ndarray]]) -> None:
            self.rows = rows

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rows, None)

    prepared = target + ".prepared"
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    name = _input(source)
    kind = CalibrationMethod.MinMax if method.endswith("MinMax") else CalibrationMethod.Percentile
    reader = Reader({name: x[None]} for x in samples)
    quantize_static(prepared, target, reader, per_channel=True, calibrate_method=kind)
    Path(prepared).unlink()


def _nncf(method: str, source: str, samples: np.ndarray, target: str) -> None:
    import nncf
    import onnx

    name = _input(source)
    data = nncf.Dataset(list(samples), lambda x: {name: x[None]})
    quantized = nncf.quantize(
        onnx.load(source), data, subset_size=len(samples), fast_bias_correction="full" not in method
    )
    onnx.save(quantized, target)


def _input(source: str) -> str:
    import onnx

    return onnx.load(source).graph.input[0].name


def run(model: str, samples: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.stack([session.run(None, {name: x[None]})[0].ravel() for x in samples])


if __name__ == "__main__":
    if sys.argv[1] == "run":
        np.save(sys.argv[4], run(sys.argv[2], np.load(sys.argv[3], mmap_mode="r")))
    else:
        make(sys.argv[1], sys.argv[2], np.load(sys.argv[3]), sys.argv[4])
