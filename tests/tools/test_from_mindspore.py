"""The command lines that users of MindSpore Lite r1.x have, on a network that mindspore exported."""

from __future__ import annotations

from pathlib import Path

import bitlite
import numpy as np
import pytest
from bitlite.tools.converter_lite import main

MODELS = Path(__file__).parents[1] / "models" / "mindir"
CONFIG = """image_path={images}
batch_count=100
method_x={method}
thread_num=1
bias_correction=true
"""


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(100):
        rng.standard_normal((1, 28, 28, 1)).astype(np.float32).tofile(folder / f"{k:03}.bin")
    return folder


def outputs(path):
    session = bitlite.load(path)
    x = np.load(MODELS / "lenet.npz")["in0"].transpose(0, 2, 3, 1)
    found = session.run({session.inputs[0].name: x})
    return found[session.outputs[0].name]


def error(path):
    wanted = np.load(MODELS / "lenet.npz")["out0"]
    return np.abs(outputs(path) - wanted).max() / np.ptp(wanted)


def test_lenet_with_weights_of_8_bits(tmp_path, capsys):
    target = tmp_path / "lenet_weights"
    assert not main(
        ["--fmk=MINDIR", f"--modelFile={MODELS / 'lenet.mindir'}", f"--outputFile={target}", "--quantType=WeightQuant",
         "--bitNum=8", "--quantWeightSize=0", "--quantWeightChannel=0"]
    )  # fmt: skip
    assert "CONVERTER RESULT SUCCESS:0" in capsys.readouterr().out
    weights = {n.name: n.inputs[1].dtype for n in bitlite.load(f"{target}.ms").graph.nodes if n.op == "FullyConnected"}
    assert set(weights.values()) == {np.dtype(np.int8)}
    assert error(f"{target}.ms") < 0.01


@pytest.mark.parametrize("method", ["MAX_MIN", "KL", "RemovalOutlier"])
def test_lenet_in_integers(tmp_path, images, capsys, method):
    config, target = tmp_path / "config.cfg", tmp_path / "lenet_quant"
    config.write_text(CONFIG.format(images=images, method=method))
    assert not main(
        ["--fmk=MINDIR", f"--modelFile={MODELS / 'lenet.mindir'}", f"--outputFile={target}", "--quantType=PostTraining",
         f"--configFile={config}"]
    )  # fmt: skip
    assert "CONVERTER RESULT SUCCESS:0" in capsys.readouterr().out
    assert np.dtype(np.int8) in {t.dtype for n in bitlite.load(f"{target}.ms").graph.nodes for t in n.outputs}
    assert error(f"{target}.ms") < 0.05


def test_the_check_lists_the_primitives_of_a_file(capsys):
    assert not main([f"--check={MODELS / 'lstm.mindir'}"])
    said = capsys.readouterr().out
    assert "LSTM" in said
    assert "UpdateState" not in said
