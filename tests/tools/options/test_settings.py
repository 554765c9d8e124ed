"""Settings that errors of the layers below name: keywords in Python, flags on a command line."""

import ast
import re
from pathlib import Path

import pytest
from bitlite.converter.errors import Setting, UnsupportedError
from bitlite.tools.convert import convert
from bitlite.tools.converter_lite import main
from bitlite.tools.options.convert import ConvertOptions, flag_of
from bitlite.tools.options.flags import fields_of

ROOT = Path(__file__).parents[3]
BELOW = [path for layer in ("converter", "quant", "native") for path in sorted((ROOT / layer).rglob("*.py"))]
CODE = [*BELOW, *sorted((ROOT / "tools").rglob("*.py"))]


def settings_named(path):
    """The constant first arguments of Setting(...) in a file."""
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Setting" and call.args:
            name = call.args[0]
            if isinstance(name, ast.Constant):
                yield name.value


@pytest.mark.parametrize("path", BELOW, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_layer_below_the_commands_spells_a_flag(path):
    flags = re.findall(r"(?<![\w-])--[a-zA-Z]\w*", path.read_text(encoding="utf-8"))
    assert not flags, "name it as errors.Setting"


def test_every_setting_that_is_named_is_an_option():
    named = {name for path in CODE for name in settings_named(path)}
    assert "input_shape" in named
    assert named <= set(fields_of(ConvertOptions))


@pytest.mark.parametrize(
    ("setting", "keyword", "flag"),
    [
        (Setting("input_shape"), "input_shape", "--inputShape"),
        (Setting("input_shape", "name:dims"), "input_shape='name:dims'", "--inputShape=name:dims"),
        (Setting("bit_num", 4), "bit_num=4", "--bitNum=4"),
        (Setting("weight_correction", False), "weight_correction=False", "--weightCorrection=false"),
        (
            Setting("output_format", ("MS", "ONNX")),
            "output_format=('MS', 'ONNX')",
            "--outputFormat=MS,ONNX",
        ),
    ],
)
def test_a_setting_is_a_keyword_in_python_and_a_flag_of_the_command(setting, keyword, flag):
    error = UnsupportedError("is not known", hint=("first ", setting), file="m.onnx")
    assert str(error) == f"m.onnx: is not known; try first {keyword}"
    assert error.line(flag_of) == f"m.onnx: is not known; try first {flag}"


def test_rewording_keeps_kind_and_hint():
    error = UnsupportedError("is open", hint=Setting("input_shape")).reworded("m.ms: is open")
    assert isinstance(error, UnsupportedError)
    assert error.line(flag_of) == "m.ms: is open; try --inputShape"


def test_one_failure_reads_well_through_both_faces(tmp_path, capsys):
    model = ROOT / "demo" / "digits.onnx"
    with pytest.raises(UnsupportedError, match=r"; try bit_num=4 or output_format='MS'$"):
        convert(model, tmp_path / "m", output_format="ONNX", quant_type="WeightQuant", bit_num=3)
    flags = ["--outputFormat=ONNX", "--quantType=WeightQuant", "--bitNum=3"]
    assert main([f"--modelFile={model}", f"--outputFile={tmp_path}/m", *flags]) != 0
    assert "; try --bitNum=4 or --outputFormat=MS\n" in capsys.readouterr().err


def test_what_an_option_lacks_is_named_as_it_would_be_given(tmp_path):
    with pytest.raises(Exception, match=r"^quant_type='PostTraining' needs .*try config_file='config.cfg' with"):
        convert("m.onnx", tmp_path / "m", quant_type="PostTraining")
