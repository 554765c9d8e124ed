"""Writes the pages that the browser's tests open: `python tests/browser/pages.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import bitlite
import numpy as np
from bitlite.converter.formats import onnx_write
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.tools.benchmark import main as benchmark

DIGITS = Path(__file__).parents[2] / "demo" / "digits.onnx"
HOSTILE = "</script><img src=x onerror=alert(1)>\u202e=1+1"


def digits(folder: Path) -> None:
    """The demo model in int8, with a diagnosis; in 4 bits; timed; and int8 beside 4 bits."""
    with np.load(DIGITS.parent / "heldout.npz") as data:
        samples = [data["x"][k : k + 1] for k in range(24)]
    quantized = bitlite.convert(
        DIGITS, folder / "int8", quant_type="PostTraining", calibration_data=samples, report=str(folder / "int8.html")
    )
    quantized.diagnosis = [{"layer": "conv3", "cause": "outlier channels", "cure": "--keepFloat=conv3", "gain": 3.5}]
    quantized.save(str(folder / "diagnosed.html"))
    quantized.save(str(folder / "int8.json"))
    weights = bitlite.convert(
        DIGITS, folder / "w4", quant_type="WeightQuant", bit_num=4, report=str(folder / "weights.html")
    )
    weights.save(str(folder / "weights.json"))
    benchmark([f"--modelFile={folder}/int8.ms", f"--report={folder}/timed.html", "--quiet", "--cpu=8,4"])
    benchmark(["--compareReport", f"{folder}/weights.json", f"{folder}/int8.json", f"--report={folder}/compared.html"])
    benchmark([f"--modelFile={folder}/int8.ms", f"--graph={folder}/graph.html"])


def hostile(folder: Path) -> None:
    """A model whose names would act on a page that took them for markup."""
    graph = Graph(HOSTILE)
    build = Builder(graph)
    x = build.input(f"{HOSTILE}/x", np.float32, (1, 64))
    weight = build.constant(np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32), f"{HOSTILE}/w")
    y = build.emit("FullyConnected", [x, weight], {"keep_dims": True}, name=f"{HOSTILE}/fc")[0]
    graph.outputs = build.emit("Tanh", [y], name=f"{HOSTILE}/tanh")
    onnx_write.write(graph, str(folder / "hostile.onnx"))
    bitlite.convert(
        folder / "hostile.onnx", folder / "hostile", quant_type="WeightQuant", report=str(folder / "hostile.html")
    )


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    digits(target)
    hostile(target)
