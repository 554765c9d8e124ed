"""Makes the plan and the files that `latency.py` times, from the evaluation data.

    python benchmarks/latency_plan.py EVAL_DIR PEERS_DIR WORK_DIR      → WORK_DIR/plan.json
    python benchmarks/latency.py WORK_DIR/plan.json --write docs/benchmarks.md --section Networks

ResNet-8, MobileNetV2, SqueezeNet 1.1, the autoencoder and the keyword model, each quantized to int8 by bitlite (100
calibration samples; seeded noise where there are no images) and as float, written in every format, so that each peer
runs the same network in its own form; int8 also with --target=mslite, which bitlite runs as that runtime rounds.
PEERS_DIR holds `py/` (LiteRT, onnxruntime, OpenVINO) and, when there, `mslite/` with the real runtime.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

import bitlite
import numpy as np
from float_equality import dequantized_copy, pack
from latency import EXACT

MODELS = {
    "ResNet-8": "resnet8_cifar10",
    "MobileNetV2": "mobilenet_v2_1.0_224_tf",
    "SqueezeNet 1.1": "squeezenet1.1",
    "autoencoder": "ad01_fp32",
    "keywords": "kws_ref_model_float32",
}

_EVERY = "MS,TFLITE,ONNX"
_FORMS = {"bitlite": "ms", "litert": "tflite", "onnxruntime": "onnx", "openvino": "onnx", "mslite": "ms"}


def samples(eval_pack, model: str, path: str) -> Iterator[np.ndarray]:
    """100 calibration samples in the model's own layout."""
    if model in eval_pack.MODELS:
        yield from (x[None] for x in eval_pack.calibration(model))
        return
    rng = np.random.default_rng(0)
    shape = bitlite.load(path).inputs[0].shape
    yield from (rng.standard_normal(shape).astype(np.float32) * 3 for _ in range(100))


def runtimes(peers: str) -> dict[str, list[str]]:
    python = [os.path.join(peers, "py/bin/python")]
    commands = dict.fromkeys(("litert", "onnxruntime", "openvino"), python)
    theirs = os.path.join(peers, "mslite/bin/python")
    if os.path.exists(theirs):
        commands["mslite"] = ["env", f"LD_PRELOAD={os.path.join(peers, 'libpackweight.so')}", theirs]
    return commands


def main(data: str, peers: str, work: str) -> None:
    eval_pack, plan = pack(data), {"runtimes": runtimes(peers), "models": {}}
    os.makedirs(work, exist_ok=True)
    for title, model in MODELS.items():
        stem = os.path.join(work, model)
        sources = [os.path.join(data, "models", f"{model}.{ending}") for ending in ("tflite", "onnx")]
        source = next(path for path in sources if os.path.exists(path))
        data_of = list(samples(eval_pack, model, source))
        exact = f"{stem}_int8_mslite"
        bitlite.convert(source, exact, quant_type="PostTraining", calibration_data=data_of, target="mslite")
        bitlite.convert(
            source, f"{stem}_int8", quant_type="PostTraining", calibration_data=data_of, output_format=_EVERY
        )
        if model.startswith("kws"):
            source = dequantized_copy(source, work)
        bitlite.convert(source, f"{stem}_float", output_format=_EVERY)
        for kind in ("int8", "float"):
            plan["models"][f"{title} {kind}"] = {
                runtime: f"{stem}_{kind}.{ending}"
                for runtime, ending in _FORMS.items()
                if runtime == "bitlite" or runtime in plan["runtimes"]
            }
        plan["models"][f"{title} int8"][EXACT] = f"{exact}.ms"
    plan["models"] = dict(sorted(plan["models"].items(), key=lambda item: "float" in item[0]))
    with open(os.path.join(work, "plan.json"), "w", encoding="utf-8") as out:
        json.dump(plan, out, indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:4])
