"""What a model's names hold reaches no terminal, page or table as it is."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.formats import tflite_write
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.tools.benchmark import main as benchmark
from bitlite.tools.converter_lite import main as convert

NAME = "=\x1b[31m\x07\x9b2J\u202elayer"


@pytest.fixture
def model(tmp_path):
    graph = Graph("m")
    build = Builder(graph)
    rng = np.random.default_rng(0)
    x = build.input(f"{NAME}/x", np.float32, (1, 64))
    weight = build.constant(rng.normal(size=(64, 64)).astype(np.float32), f"{NAME}/w")
    y = build.emit("FullyConnected", [x, weight], {"keep_dims": True}, name=f"{NAME}/fc")[0]
    graph.outputs = build.emit("Tanh", [y], name=f"{NAME}/tanh")
    tflite_write.write(graph, str(tmp_path / "m.tflite"))
    return str(tmp_path / "m.tflite")


def harmless(text: str) -> bool:
    return not any(c in text for c in "\x1b\x07\x9b\u202e")


def test_nothing_that_the_commands_print_acts_on_the_terminal(model, tmp_path, capfd):
    flags = [f"--modelFile={model}", f"--outputFile={tmp_path}/out", "--infer"]
    assert convert([*flags, "--quantType=WeightQuant"]) == 0
    assert convert([*flags, "--inputShape=nothing:1,64"]) != 0
    for more in (["--info"], ["--timeProfiling=true", "--loopCount=1"], ["--verify"], ["--inDataFile=none"]):
        benchmark([f"--modelFile={model}", "--warmUpLoopCount=0", *more])
    out, err = capfd.readouterr()
    assert harmless(out) and harmless(err)
    assert "x1b[31m" in out and "x1b[31m" in err


@pytest.mark.parametrize("ending", ["txt", "html", "csv", "json"])
def test_nothing_in_a_report_acts(model, tmp_path, ending):
    report = tmp_path / f"r.{ending}"
    flags = [f"--modelFile={model}", f"--outputFile={tmp_path}/out", "--quantType=WeightQuant", "--quiet"]
    assert convert([*flags, f"--report={report}"]) == 0
    text = report.read_text(encoding="utf-8")
    assert harmless(text) and ("u001b[31m" if ending == "json" else "x1b[31m") in text
    if ending == "csv":
        assert text.splitlines()[1].startswith("'=")
