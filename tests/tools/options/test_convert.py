"""Options: one table gives the parser, the Python keywords, the help page and the checks."""

import subprocess
import sys
from dataclasses import fields

import pytest
from bitlite.converter.errors import UsageError
from bitlite.quant.selectors import Selector, parse_selector
from bitlite.tools.options.convert import REFUSED, ConvertOptions, flag_of, help_text
from bitlite.tools.options.flags import asked, fields_of, markdown, rows_of, snake
from bitlite.tools.options.read import options_of_args, options_of_kwargs

BASE = ("--modelFile=m.tflite", "--outputFile=m")


def parse(*flags):
    return options_of_args([*BASE, *flags])


def values(options):
    """What the options say, wherever they were given."""
    return {f.name: getattr(options, f.name) for f in fields(options) if f.compare}


def refusal(*flags):
    with pytest.raises(UsageError) as caught:
        parse(*flags)
    assert "\n" not in str(caught.value)
    return caught.value.line(flag_of)


def test_every_field_is_the_snake_case_of_its_flag():
    for name, row in fields_of(ConvertOptions).items():
        assert row.name == "" or snake(row.name) == name


def test_no_spelling_means_two_flags():
    spellings = [s for row in (*rows_of(ConvertOptions), *REFUSED) for s in (row.name, *row.aliases) if s]
    assert len(spellings) == len(set(spellings))


def test_defaults_pass_their_own_rows():
    for row in rows_of(ConvertOptions):
        if row.name and row.default not in (None, (), {}, ""):
            assert row.type.parse(row.type.show(row.default)) == row.default


def test_both_ways_to_write_a_value():
    assert parse("--bitNum=4").bit_num == parse("--bitNum", "4").bit_num == 4
    assert parse("--fp16=on").fp16 is parse("--fp16").fp16 is parse("--fp16", "--bitNum=8").fp16 is True
    assert parse("--no-gainGate").gain_gate is parse("--gainGate=off").gain_gate is False


def test_the_weight_quant_line_of_the_documents():
    options = parse(
        "--fmk=TFLITE", "--quantType=WeightQuant", "--bitNum=8", "--quantWeightSize=0", "--quantWeightChannel=0"
    )
    assert (options.quant_type, options.bit_num, options.quant_weight_size, options.quant_weight_channel) == (
        "WeightQuant", 8, 0, 0)  # fmt: skip
    assert options.fmk == "TFLITE"
    assert options.output_path() == "m.ms"


@pytest.mark.parametrize(
    "old, new",
    [("--quantSize=9", "--quantWeightSize=9"), ("--convWeightQuantChannelThreshold=9", "--quantWeightChannel=9")],
)
def test_names_of_older_versions(old, new):
    assert values(parse(old)) == values(parse(new))


def test_spellings_of_the_newer_tool():
    assert parse("--quantType=WEIGHT_QUANT").quant_type == "WeightQuant"
    assert parse("--quantType=FULL_QUANT", "--calibratePath=d").quant_type == "PostTraining"
    assert parse("--inputDataType=FLOAT32").input_data_type == "FLOAT"


@pytest.mark.parametrize(
    "flag, words",
    [
        ("--bitNum=0", "takes 1..16"),
        ("--bitNum=17", "0..16"),
        ("--bitNum=abc", "0..16"),
        ("--bitNum=4.0", "0..16"),
        ("--bitNum=", "0..16"),
        ("--quantWeightSize=-1", ">= 0"),
        ("--quantWeightChannel=x", ">= 0"),
        ("--bitnum=4", "try --bitNum"),
        ("--quantWieghtSize=4", "try --quantWeightSize"),
        ("--nothingLikeIt=4", "--help"),
        ("--quantType=WeightQuants", "WeightQuant|PostTraining"),
        ("--quantType=AwareTraining", "trained"),
        ("--fmk=TF", "python -m tf2onnx.convert --graphdef"),
        ("--fmk=PYTORCH", "torch.onnx.export"),
        ("--fmk=TFLIT", "did you mean TFLITE"),
        ("--trainModel=true", "train"),
        ("--encryption=true", "encrypted"),
        ("--decryptKey=00", "encrypted"),
        ("--device=Ascend", "CPU"),
        ("--saveType=MINDIR", "MINDIR_LITE"),
        ("--optimize=ascend_oriented", "other devices"),
        ("--inputShape=x:1,a", "'1,a' for 'x'"),
        ("--inputShape=x:1,0", "at least 1"),
        ("--inputShape=x:1;x:2", "twice"),
        ("--inputDataFormat=NHCW", "NHWC|NCHW"),
        ("--fp16=maybe", "on|off"),
        ("--layerBits=conv1", "no colon"),
        ("--layerBits=conv1:17", "1..16"),
        ("--keepFloat=/(/", "regular expression"),
        ("--keepFloat=conv1", "--quantType"),
        ("--calibrateSize=0", "1..65535"),
        ("--activationQuantMethod=KLD", "did you mean KL"),
        ("--thBinnum=100", "512..4096"),
        ("--quantType=PostTraining", "calibration data"),
        ("--calibratePath=d", "no effect"),
        ("--outputFormat=MS,PB", "MS|TFLITE|ONNX"),
        ("m.tflite", "--modelFile=m.tflite"),
        ("-v", "not a flag"),
    ],
)
def test_a_wrong_flag_is_one_clear_line(flag, words):
    line = refusal(flag)
    assert words in line
    assert flag.split("=")[0].lstrip("-") in line


def test_numbers_are_checked_without_a_quant_type():
    assert "0..16" in refusal("--bitNum=99")
    assert parse("--bitNum=3").quant_type == ""


@pytest.mark.parametrize("kind, bits, allowed", [("PostTraining", 9, "1..8"), ("DynamicQuant", 4, "8")])
def test_bits_fit_the_quantization_type(kind, bits, allowed):
    assert refusal(f"--quantType={kind}", f"--bitNum={bits}", "--calibratePath=d").endswith(f"takes {allowed}")


def test_contradictions_are_refused():
    assert "contradicts" in refusal("--bitNum=4", "--bitNum=5")
    assert "packed" in refusal("--quantType=WeightQuant", "--bitNum=4", "--enableEncode=false")
    assert "together" in refusal("--quantType=PostTraining", "--calibratePath=d", "--resizeWidth=8")
    assert parse("--bitNum=4", "--bitNum=4").bit_num == 4


def test_calibration_flags_that_a_type_does_not_use_are_noted():
    (note,) = parse("--quantType=WeightQuant", "--calibratePath=d", "--thBinnum=512").notes
    assert note == "not used by WeightQuant: --thBinnum"
    (note,) = parse("--quantType=WeightQuant", "--calibratePath=d", "--weightRounding=nearest").notes
    assert note == "not used by WeightQuant: --calibratePath"


def test_bias_correction_concerns_weights_that_are_rounded_by_output():
    assert not parse("--quantType=WeightQuant", "--calibratePath=d", "--biasCorrection=false").notes


def test_rounding_by_output_needs_data():
    with pytest.raises(UsageError, match=r"--weightRounding: rounds by what layers give.*there are none"):
        parse("--quantType=WeightQuant", "--weightRounding=output")


def test_harmless_values_of_refused_flags_are_taken():
    parse("--trainModel=false", "--device=CPU", "--encryption=false", "--saveType=MINDIR_LITE")


def test_missing_files_are_named():
    with pytest.raises(UsageError, match="--modelFile is missing"):
        options_of_args(["--outputFile=m"])
    with pytest.raises(UsageError, match="--outputFile is missing"):
        options_of_args(["--modelFile=m.onnx"])


@pytest.mark.parametrize("name", ["out/", "out\\", "dir/sub/"])
def test_an_output_that_is_a_directory_is_refused(name):
    with pytest.raises(UsageError, match="directory"):
        options_of_args(["--modelFile=m.onnx", f"--outputFile={name}"])


def test_the_model_is_never_overwritten(tmp_path):
    model = tmp_path / "m.ms"
    model.write_bytes(b"x")
    with pytest.raises(UsageError, match="overwrite"):
        options_of_args([f"--modelFile={model}", f"--outputFile={tmp_path / 'm'}"])


def test_endings_of_the_output():
    assert parse().output_path() == "m.ms"
    assert options_of_args(["--modelFile=a", "--outputFile=m.ms"]).output_path() == "m.ms"
    several = parse("--outputFormat=MS,TFLITE,ONNX")
    assert [several.output_path(f) for f in several.output_format] == ["m.ms", "m.tflite", "m.onnx"]


def test_input_shapes_by_name_and_position():
    assert parse("--inputShape=a:1,3,8,8;b:0:2,4").input_shape == {"a": (1, 3, 8, 8), "b:0": (2, 4)}
    assert parse("--inputShape=1,3,8,8").input_shape == {0: (1, 3, 8, 8)}
    assert parse("--inputShape=a:-1,3").input_shape == {"a": (-1, 3)}


def test_check_takes_the_model_itself():
    assert options_of_args(["--check", "m.tflite"]).model_file == "m.tflite"
    assert options_of_args(["--check", "--modelFile=n.tflite"]).model_file == "n.tflite"


def test_selections():
    options = parse("--quantType=WeightQuant", "--keepFloat=conv1,type:Softmax,/dw[0-9]+/,from a to b,to c,from d")
    assert options.keep_float == (
        Selector("name", "conv1"), Selector("type", "Softmax"), Selector("regex", "dw[0-9]+"),
        Selector("stretch", "a", "b"), Selector("stretch", "", "c"), Selector("stretch", "d", ""))  # fmt: skip
    assert parse_selector("re:dw").matches("dw") and not parse_selector("re:dw").matches("dw2")
    assert parse_selector("/dw/").matches("a/dw2")
    assert parse_selector("type:conv").matches("any", "Conv")


def test_a_comma_in_quotes_does_not_split():
    assert parse("--quantType=WeightQuant", "--keepFloat='/a{1,2}/',b").keep_float[0] == Selector("regex", "a{1,2}")


def test_methods_with_values():
    options = parse(
        "--quantType=PostTraining", "--calibratePath=d", "--method=KL,PERCENTILE,PERCENTILE:99.9,percentile9999"
    )
    assert options.activation_quant_method == ("KL", "PERCENTILE:99.99", "PERCENTILE:99.9", "PERCENTILE:99.99")


def test_python_keywords_pass_the_same_checks():
    given = {"bit_num": 4, "input_shape": {"x": [1, 2]}, "keep_float": "type:Softmax", "fp16": True}
    options = options_of_kwargs("m.tflite", "m", quant_type="WeightQuant", **given)
    flags = parse("--quantType=WeightQuant", "--bitNum=4", "--inputShape=x:1,2", "--keepFloat=type:Softmax", "--fp16")
    assert values(options) == values(flags)


@pytest.mark.parametrize(
    "keywords, words",
    [
        ({"bit_num": 0}, "takes 1..16"),
        ({"bit_num": 17}, "0..16"),
        ({"bit_num": True}, "bool"),
        ({"bit_num": 4.5}, "float"),
        ({"bitnum": 4}, "bit_num"),
        ({"bitNum": 4}, "bit_num"),
        ({"fp16": 3}, "int"),
        ({"input_shape": {"x": [0]}}, "at least 1"),
        ({"quant_type": "PostTraining"}, "calibration data"),
        ({"calibration_data": []}, "quantization type"),
    ],
)
def test_wrong_python_keywords(keywords, words):
    with pytest.raises(UsageError, match=words):
        options_of_kwargs("m.tflite", "m", **keywords)


def test_none_means_not_given():
    assert options_of_kwargs("a.onnx", "m", bit_num=None).bit_num == 8


def test_recorded_options_can_be_given_again():
    first = ("--quantType=PostTraining", "--calibratePath=x:d", "--bitNum=7", "--normalizeMean=[1,2,3]", "--fp16=on")
    more = ("--keepFloat=from a to b,type:Conv", "--layerBits=a:4", "--method=KL,PERCENTILE:99.9")
    options = parse(*first, *more)
    table = fields_of(ConvertOptions)
    recorded = options.as_dict()
    again = parse("--calibratePath=x:d", *(f"--{table[name].name}={value}" for name, value in recorded.items()))
    assert values(again) == values(options)


def test_no_path_of_this_machine_is_recorded():
    flags = (
        "--quantType=PostTraining",
        "--calibratePath=x:d",
        "--dumpIR=e",
        "--report=f.html",
        "--debugInfoSavePath=g",
    )
    assert parse(*flags, "--seed=3", "--verify").as_dict() == {"quant_type": "PostTraining", "seed": "3"}


def test_help_fits_eighty_columns_and_names_every_flag(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    page = help_text(everything=True)
    assert max(map(len, page.splitlines())) <= 80
    for row in (*rows_of(ConvertOptions), *REFUSED):
        assert f"--{row.name}" in page
    assert "0..16; default 8" in page


def test_docs_table_has_every_flag():
    page = markdown(ConvertOptions, refused=REFUSED)
    assert all(f"`--{row.name}`" in page for row in rows_of(ConvertOptions) if row.name)


def test_what_the_command_line_asks_for():
    assert asked([]) == "usage"
    assert asked(["--bitNum=3", "--help"]) == asked(["-h"]) == "help"
    assert asked(["--help=all"]) == "help=all"
    assert asked(["--version"]) == "version"
    assert asked(["--bitNum=3"]) == ""


def test_options_import_nothing_heavy():
    code = """if True:
        import sys, bitlite.converter
        before = set(sys.modules)
        import bitlite.tools.options.convert as options
        options.help_text()
        print([name for name in ("numpy", "scipy", "onnx", "rich", "PIL") if name in set(sys.modules) - before])
    """
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_every_method_has_its_threshold():
    from bitlite.quant.calibrate import methods
    from bitlite.tools.options.convert_types import Method

    kind = Method()
    for word in (*kind.words, *kind.also):
        assert word == "AUTO" or kind.parse(word).split(":")[0] in methods.names()
