"""Settings tried by workers give what they give one after the other."""

from pathlib import Path

import numpy as np
import pytest
from bitlite.converter.errors import UsageError
from bitlite.quant.cluster.pool import WorkerPool
from bitlite.quant.cluster.processes import Processes
from bitlite.tools.conversions import convert_each

DEMO = Path(__file__).parents[2] / "demo" / "digits.onnx"


@pytest.fixture(scope="module")
def pool():
    with WorkerPool(Processes(2)) as pool:
        yield pool


def test_settings_tried_by_two_workers_give_the_files_of_one_after_the_other(pool):
    data = [np.full((1, 1, 8, 8), k, np.float32) for k in range(8)]
    post = {"quant_type": "PostTraining", "calibration_data": data, "output_format": "TFLITE"}
    choices = [post | {"activation_quant_method": method} for method in ("MAX_MIN", "KL")]
    choices.append({"quant_type": "WeightQuant", "bit_num": 4, "output_format": "TFLITE,MS"})
    here, there = (list(convert_each(DEMO, choices, p)) for p in (None, pool))
    assert [c.files for c in there] == [c.files for c in here]
    assert [sorted(c.files) for c in here] == [[".tflite"], [".tflite"], [".ms", ".tflite"]]
    assert [c.report.fidelity for c in there] == [c.report.fidelity for c in here]
    assert all(c.report.files == {ending: len(data) for ending, data in c.files.items()} for c in here)


def test_settings_that_a_conversion_refuses_raise_its_line(pool):
    with pytest.raises(UsageError, match="bit_num"):
        list(convert_each(DEMO, [{"quant_type": "WeightQuant", "bit_num": 99}], pool))
