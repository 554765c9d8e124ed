"""Types of graph inputs and outputs asked for, in every format: the file has them and computes the same."""

from pathlib import Path

import bitlite
import numpy as np
import pytest
from bitlite.converter.formats import read_model

DEMO = Path(__file__).parents[2] / "demo"
TYPES = {"FLOAT": np.float32, "INT8": np.int8, "UINT8": np.uint8, "DEFAULT": np.float32}


def input_parameters(path, port):
    """Scale and zero point of an integer input; in ONNX they stand at its DequantizeLinear."""
    if port.quant is not None:
        return port.quant.scale[0], port.quant.zero_point[0]
    reader = next(n for n in read_model(path).nodes if n.inputs[0] is not None and n.inputs[0].name == port.name)
    quant = reader.outputs[0].quant
    if quant is not None:
        return quant.scale[0], quant.zero_point[0]
    return reader.inputs[1].data.reshape(-1)[0], int(reader.inputs[2].data.reshape(-1)[0])


@pytest.mark.parametrize("given", TYPES)
@pytest.mark.parametrize("wanted", TYPES)
def test_types_of_inputs_and_outputs(given, wanted, tmp_path):
    images = np.load(DEMO / "heldout.npz")["x"][::15].astype(np.float32)
    want = np.concatenate([bitlite.load(DEMO / "digits.onnx").run({"image": x[None]})["logits"] for x in images])
    options = {"input_data_type": given, "output_data_type": wanted, "output_format": "MS,TFLITE,ONNX"}
    bitlite.convert(DEMO / "digits.onnx", tmp_path / "m", quant_type="PostTraining", calibration_data=images, **options)
    for ending in (".ms", ".tflite", ".onnx"):
        path = str(tmp_path / ("m" + ending))
        session = bitlite.load(path)
        source, target = session.inputs[0], session.outputs[0]
        assert (source.dtype, target.dtype) == (TYPES[given], TYPES[wanted])
        x = images if ending == ".onnx" else images.transpose(0, 2, 3, 1)
        if source.dtype != np.float32:
            scale, zero = input_parameters(path, source)
            limits = np.iinfo(source.dtype)
            x = np.clip(np.rint(x / scale) + zero, limits.min, limits.max).astype(source.dtype)
        y = np.concatenate([session.run({source.name: row[None]})[target.name] for row in x])
        if target.dtype != np.float32:
            y = (y.astype(np.float64) - target.quant.zero_point[0]) * target.quant.scale[0]
        assert 10 * np.log10(np.square(want).sum() / np.square(want - y).sum()) > 30
