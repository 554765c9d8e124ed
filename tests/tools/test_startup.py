"""What a command loads: for a page of help the words alone, for a conversion the stages that it has."""

import subprocess
import sys
from pathlib import Path

import bitlite
import pytest

DEMO = Path(__file__).parents[2] / "demo" / "digits.onnx"
HELP = (
    "bitlite.converter.errors",
    "bitlite.converter.surgery.image_words",
    "bitlite.converter.text",
    "bitlite.converter.version",
    "bitlite.quant.calibrate.methods",
    "bitlite.quant.selectors",
    "bitlite.tools.command",
    "bitlite.tools.converter_lite",
    "bitlite.tools.interrupts",
    "bitlite.tools.options",
    "bitlite.tools.progress",
)
"""With their parts, all that a page of help is made of."""
LOADED = """if True:
    import sys
    from bitlite.tools.converter_lite import main
    assert main(sys.argv[1:]) == 0
    print("loaded", *sys.modules)
"""
CALIBRATION = ("bitlite.quant.calibrate.data", "bitlite.quant.calibrate.observe", "bitlite.quant.calibrate.histogram")
INTEGERS = ("bitlite.quant.ptq.post_training", "bitlite.quant.ptq.emit", "bitlite.quant.ptq.rounding")
WEIGHTS = ("bitlite.quant.weights.weight_quant", "bitlite.quant.parallel", "bitlite.converter.surgery.cut")
ELSEWHERE = ("bitlite.quant.search.trials", "bitlite.quant.cluster", "bitlite.tools.report", "bitlite.qat")
FORMATS = ("bitlite.converter.formats.c", "bitlite.converter.formats.onnx", "bitlite.converter.formats.caffe")
FOREIGN = ("PIL", "onnx", "rich", "scipy", "yaml")


def loaded(*argv):
    done = subprocess.run([sys.executable, "-c", LOADED, *map(str, argv)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


def within(modules, rooms):
    return [name for name in modules if any(name == room or name.startswith(f"{room}.") for room in rooms)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("startup") / "digits.tflite"
    bitlite.convert(DEMO, path, output_format="TFLITE")
    return path


@pytest.mark.parametrize("argv", [["--help"], ["--help=all"], ["--version"]])
def test_a_page_of_help_loads_its_words_alone(argv):
    modules = loaded(*argv)
    packages = {name.rpartition(".")[0] for name in modules}
    ours = [name for name in within(modules, ["bitlite"]) if name not in packages]
    assert [name for name in ours if not within([name], HELP)] == []
    assert within(modules, ("numpy", "traceback", *FOREIGN)) == []


@pytest.mark.parametrize(
    "flags, idle",
    [
        ([], (*CALIBRATION, *INTEGERS, *ELSEWHERE, *FORMATS, *WEIGHTS, "bitlite.quant.ptq", "bitlite.tools.cost")),
        (["--quantType=WeightQuant"], (*CALIBRATION, *INTEGERS, *ELSEWHERE, *FORMATS)),
        (["--quantType=DynamicQuant"], (*CALIBRATION, *INTEGERS, *ELSEWHERE, *FORMATS)),
    ],
)
def test_a_conversion_loads_no_stage_that_it_does_not_have(model, tmp_path, flags, idle):
    modules = loaded(f"--modelFile={model}", f"--outputFile={tmp_path / 'm'}", *flags)
    assert within(modules, (*idle, *FOREIGN)) == []
