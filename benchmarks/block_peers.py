"""One model with 4-bit weights of another tool: `python block_peers.py METHOD SOURCE.onnx SAMPLES.npz OUT`.

Runs in the environment of that tool, without bitlite. METHOD: one of METHODS. SAMPLES: input name → values, samples in
front. OUT is a folder: the model's files, and `outputs.npy`, what it gives for the samples behind the first
CALIBRATION, the weights as float32 and everything else as the runtime computes it in float32.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

CALIBRATION = 64
Feed = dict[str, np.ndarray]


def _feeds(samples: Feed, first: int, last: int) -> list[Feed]:
    return [{name: x[i] for name, x in samples.items()} for i in range(first, last)]


def _run_onnx(path: str, feeds: list[Feed]) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")  # float32 inputs of products
    session = onnxruntime.InferenceSession(path, options)
    return np.stack([session.run(None, feed)[0] for feed in feeds])


def _onnxruntime(how: str, source: str, calibration: list[Feed], evaluation: list[Feed], out: Path) -> np.ndarray:
    from onnxruntime.quantization import CalibrationDataReader, matmul_nbits_quantizer, quant_utils

    class Reader(CalibrationDataReader):
        def __init__(self, rows: Iterator[Feed]) -> None:
            self.rows = rows

        def get_next(self) -> Feed | None:
            return next(self.rows, None)

        def __deepcopy__(self, _: object) -> Reader:
            return Reader(iter(calibration))

        def __iter__(self) -> Iterator[Feed]:
            return iter(calibration)

    tool, block = matmul_nbits_quantizer, 32
    config = {
        "RTN": lambda: None,
        "RTN, zero points": lambda: None,
        "k-quant": lambda: tool.KQuantWeightOnlyQuantConfig(),
        "HQQ": lambda: tool.HQQWeightOnlyQuantConfig(block_size=block),
        "GPTQ": lambda: tool.GPTQWeightOnlyQuantConfig(Reader(iter(calibration)), block_size=block),
    }[how]()
    symmetric = how == "RTN"
    model = quant_utils.load_model_with_shape_infer(Path(source))
    made = tool.MatMulNBitsQuantizer(
        model, block_size=block, is_symmetric=symmetric, accuracy_level=1, algo_config=config
    )
    made.process()
    made.model.save_model_to_file(str(out / "model.onnx"), False)
    return _run_onnx(str(out / "model.onnx"), evaluation)


def _nncf(how: str, source: str, calibration: list[Feed], evaluation: list[Feed], out: Path) -> np.ndarray:
    import nncf
    import openvino

    model = openvino.convert_model(source)
    model.reshape({name: x.shape for name, x in calibration[0].items()})
    kind = nncf.CompressWeightsMode.INT4_ASYM if "zero points" in how else nncf.CompressWeightsMode.INT4_SYM
    extra = {}
    if "scale estimation" in how:
        extra = {"dataset": nncf.Dataset(calibration), "awq": True, "scale_estimation": True}
    if "GPTQ" in how:
        extra = {"dataset": nncf.Dataset(calibration), "gptq": True}
    made = nncf.compress_weights(model, mode=kind, ratio=1.0, group_size=32, subset_size=len(calibration), **extra)
    openvino.save_model(made, out / "model.xml", compress_to_fp16=False)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    compiled = openvino.Core().compile_model(made, "CPU", settings)
    return np.stack([compiled(feed)[0] for feed in evaluation])


_TOOLS: dict[str, tuple[Callable[..., np.ndarray], tuple[str, ...]]] = {
    "onnxruntime": (_onnxruntime, ("RTN", "RTN, zero points", "k-quant", "HQQ", "GPTQ")),
    "NNCF": (
        _nncf,
        (
            "symmetric",
            "zero points",
            "symmetric, AWQ and scale estimation",
            "zero points, AWQ and scale estimation",
            "GPTQ",
        ),
    ),
}
METHODS = tuple(f"{tool}: {how}" for tool, (_, ways) in _TOOLS.items() for how in ways)


def main() -> int:
    method, source, samples, out = sys.argv[1:]
    tool, how = method.split(": ")
    data = dict(np.load(samples))
    count = len(next(iter(data.values())))
    folder = Path(out)
    calibration, evaluation = _feeds(data, 0, CALIBRATION), _feeds(data, CALIBRATION, count)
    np.save(folder / "outputs.npy", _TOOLS[tool][0](how, source, calibration, evaluation, folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
