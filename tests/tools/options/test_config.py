"""config.cfg: flat and with sections, never silently ignored."""

import random

import pytest
from bitlite.converter.errors import Error, UsageError
from bitlite.tools.options.config import KEYS, REFUSED_SECTIONS, keys_of, markdown, parse_config, read_config, sections
from bitlite.tools.options.convert import ConvertOptions
from bitlite.tools.options.flags import fields_of
from bitlite.tools.options.read import options_of_args
from hypothesis import given, settings
from hypothesis import strategies as st

FLAT = """\
image_path=/data/a,/data/b
batch_count=50
method_x=MAX_MIN
thread_num=2
bias_correction=True
"""

INI = """\
# comment
[common_quant_param]
quant_type=FULL_QUANT
bit_num=8
min_quant_weight_size=0
min_quant_weight_channel=16
skip_quant_node=conv1,conv2

[full_quant_param]
activation_quant_method=REMOVAL_OUTLIER
bias_correction=false
target_device=DSP

[data_preprocess_param]
; another comment
calibrate_path=in:0:/data/a,b:'/data/x,y'
calibrate_size=10
input_type=IMAGE
image_to_format=RGB
normalize_mean=[127.5, 127.5, 127.5]
resize_width=32
resize_height=32
resize_method=CUBIC
"""


def refusal(text):
    with pytest.raises(UsageError) as caught:
        parse_config(text, "c.cfg")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_flat_file():
    values = parse_config(FLAT).values
    assert values == {
        "calibrate_path": {0: "/data/a", 1: "/data/b"}, "calibrate_size": 50, "activation_quant_method": ("MAX_MIN",),
        "threads": 2, "bias_correction": "sequential"}  # fmt: skip


def test_the_file_with_sections():
    values = parse_config(INI).values
    assert values["quant_type"] == "PostTraining"
    assert values["calibrate_path"] == {"in:0": "/data/a", "b": "/data/x,y"}
    assert values["normalize_mean"] == (127.5, 127.5, 127.5)
    assert [str(part) for part in values["keep_float"]] == ["conv1", "conv2"]
    assert values["bias_correction"] == "off"


def test_origins_name_file_and_line():
    assert parse_config(INI, "c.cfg").origins["bit_num"] == "c.cfg:4 bit_num"


def test_windows_line_ends_and_byte_order_mark():
    assert parse_config(b"\xef\xbb\xbf" + FLAT.replace("\n", "\r\n").encode()).values == parse_config(FLAT).values


def test_both_spellings_of_a_method():
    assert parse_config("method_x=REMOVAL_OUTLIER").values["activation_quant_method"] == ("REMOVAL_OUTLIER",)
    assert parse_config("method_x=RemovalOutlier").values["activation_quant_method"] == ("REMOVAL_OUTLIER_R1",)
    modern = parse_config("[full_quant_param]\nactivation_quant_method=RemovalOutlier").values
    assert modern["activation_quant_method"] == ("REMOVAL_OUTLIER",)


def test_an_empty_quant_type_means_none():
    assert "quant_type" not in parse_config("[common_quant_param]\nquant_type=").values


@pytest.mark.parametrize(
    "text, line, words",
    [
        ("image_pat=a", 1, "try image_path"),
        ("\n\nbatch_count", 3, "no '='"),
        ("batch_count=", 1, "no value"),
        ("batch_count=0", 1, "1..65535"),
        ("batch_count=ten", 1, "1..65535"),
        ("batch_count=8 # eight", 1, "line of its own"),
        ("batch_count=8\nbatch_count=9", 2, "already given in line 1"),
        ("method_x=KLD", 1, "did you mean KL"),
        ("bias_correction=maybe", 1, "true|false"),
        ("thread_num=0", 1, "1..1024"),
        ("mixed=perhaps", 1, "true|false"),
        ("mean_error_threshold=1.5", 1, "(0, 1)"),
        ("input_shapes=1,2/1,3", 1, "per sample"),
        ("bit_num=8", 1, "[common_quant_param]"),
        ("bit_num=8\n[common_quant_param]", 1, "before the first [section]"),
        ("[common_quant_para]", 1, "try [common_quant_param]"),
        ("[common_quant_param", 1, "section header"),
        ("[]", 1, "not a known section"),
        ("[micro_param]\ncodegen_mode=Train", 2, "trained"),
        ("[micro_param]\nsupport_parallel=true", 2, "one core"),
        ("[micro_param]\nenable_micro=maybe", 2, "true"),
        ("[common_quant_param]\n[common_quant_param]", 2, "already opened in line 1"),
        ("[common_quant_param]\nimage_path=a", 2, "file without [sections]"),
        ("[common_quant_param]\ncalibrate_size=1", 2, "it belongs in [data_preprocess_param]"),
        ("[common_quant_param]\nquant_type=PostTrain", 2, "WEIGHT_QUANT|FULL_QUANT|DYNAMIC_QUANT"),
        ("[common_quant_param]\nbit_num=17", 2, "0..16"),
        ("[common_quant_param]\nmin_quant_weight_size=70000", 2, "0..65535"),
        ("[full_quant_param]\nfoo_key=1", 2, "not a known key in [full_quant_param]"),
        ("[full_quant_param]\ntarget_device=KIRIN", 2, "CPU"),
        ("[full_quant_param]\nsmooth_alpha=0.5", 2, "Ascend"),
        ("[dynamic_quant_param]\nquant_strategy=ACWL", 2, "ACWL"),
        ("[mixed_bit_weight_quant_param]\nmax_iterations=39", 2, "40..65535"),
        ("[mixed_bit_weight_quant_param]\ninit_scale=2", 2, "(0, 1)"),
        ("[data_preprocess_param]\ncalibrate_path=:x", 2, "no name"),
        ("[data_preprocess_param]\ncalibrate_path=a:'x", 2, "single quote"),
        ("[data_preprocess_param]\nnormalize_mean=[1,2]", 2, "1 or 3 values"),
        ("[data_preprocess_param]\nresize_width=65536", 2, "1..65535"),
        ("[registry]\nplugin_path=x.so", 2, "plugins"),
        ("image_path=a\x00b", 1, "control character"),
    ],
)
def test_a_wrong_line_is_named(text, line, words):
    message = refusal(text)
    assert message.startswith(f"c.cfg:{line}: ")
    assert words in message


def test_text_that_is_not_utf8_is_refused():
    assert refusal(b"batch_count=1\nmethod_x=\xff").startswith("c.cfg:2: ")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_config(tmp_path / "none.cfg")
    with pytest.raises(UsageError, match="directory"):
        read_config(tmp_path)
    big = tmp_path / "big.cfg"
    big.write_bytes(b"#" * (1 << 21))
    with pytest.raises(UsageError, match="larger"):
        read_config(big)


def options(tmp_path, text, *flags):
    path = tmp_path / "c.cfg"
    path.write_text(text)
    return options_of_args(["--modelFile=m.tflite", "--outputFile=m", f"--configFile={path}", *flags])


def test_config_sets_what_the_flags_leave_open(tmp_path):
    chosen = options(tmp_path, FLAT, "--quantType=PostTraining", "--bitNum=7")
    assert (chosen.bit_num, chosen.calibrate_size, chosen.threads) == (7, 50, 2)


def test_flag_and_config_that_agree_are_fine(tmp_path):
    assert options(tmp_path, "[common_quant_param]\nbit_num=4", "--bitNum=4").bit_num == 4
    assert options(tmp_path, INI, "--quantType=PostTraining").quant_type == "PostTraining"


def test_a_flag_wins_over_the_config_and_a_note_says_so(tmp_path):
    chosen = options(tmp_path, "[common_quant_param]\nbit_num=4", "--bitNum=8")
    assert chosen.bit_num == 8
    assert [n for n in chosen.notes if "bitNum" in n] == [f"--bitNum=8 is taken, and not {tmp_path}/c.cfg:2 bit_num=4"]
    chosen = options(tmp_path, INI, "--quantType=WeightQuant")
    assert chosen.quant_type == "WeightQuant" and any("--quantType=WeightQuant is taken" in n for n in chosen.notes)


def test_lists_of_flag_and_config_are_joined(tmp_path):
    chosen = options(tmp_path, INI, "--keepFloat=type:Softmax,conv1")
    assert {str(part) for part in chosen.keep_float} == {"conv1", "conv2", "type:Softmax"}
    assert len(chosen.keep_float) == 3


def test_calibration_without_a_quant_type_is_not_ignored(tmp_path):
    with pytest.raises(UsageError, match=r"c.cfg:1 image_path has no effect"):
        options(tmp_path, FLAT)


def test_bits_from_the_config_are_checked_against_the_type(tmp_path):
    with pytest.raises(UsageError, match=r"c.cfg:4 bit_num: 9 bits"):
        options(tmp_path, INI.replace("bit_num=8", "bit_num=9"))


def test_every_key_names_a_real_option():
    table = fields_of(ConvertOptions)
    for key in KEYS:
        assert key.option in table if key.option else (key.refused or key.note)
    assert len({(key.section, key.name) for key in KEYS}) == len(KEYS)
    assert set(keys_of()) <= set(table)


def test_docs_name_every_key():
    page = markdown()
    assert all(f"`{key.name}`" in page for key in KEYS)
    assert all(name in page for name in REFUSED_SECTIONS)


def check(data):
    """A config file gives a result or one line of error, never anything else."""
    try:
        given = parse_config(data)
    except Error as error:
        assert "\n" not in str(error)
        assert str(error).startswith("config.cfg:")
        return
    table = fields_of(ConvertOptions)
    for name, value in given.values.items():
        row = table[name]
        assert row.type.check(value) == value


PIECES = [key.name.encode() for key in KEYS] + [f"[{name}]".encode() for name in (*sections(), *REFUSED_SECTIONS)]
PIECES += [
    b"=",
    b"\n",
    b",",
    b":",
    b";",
    b"'",
    b"#",
    b"0",
    b"-1",
    b"1e999",
    b"nan",
    b"true",
    b"\xff",
    b"\x00",
    b"KL",
    b"[",
    b"]",
    b"/",
]


def test_mutated_files_give_a_result_or_an_error():
    chance = random.Random(20)
    for _ in range(3000):
        data = bytearray(chance.choice([FLAT, INI]).encode())
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(data) + 1)
            how = chance.randrange(4)
            if how == 0:
                data[at : at + chance.randint(1, 9)] = b""
            elif how == 1:
                data[at:at] = chance.choice(PIECES)
            elif how == 2:
                data[at : at + 1] = bytes([chance.randrange(256)])
            else:
                start = chance.randrange(len(data) + 1)
                data[at:at] = data[start : start + chance.randint(1, 40)]
        check(bytes(data))


@settings(max_examples=200)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))
def test_pieces_in_any_order_give_a_result_or_an_error(data):
    check(data)


@settings(max_examples=200)
@given(st.sampled_from(KEYS), st.text(max_size=30))
def test_any_value_gives_a_result_or_an_error(key, value):
    head = f"[{key.section}]\n" if key.section else ""
    check((head + f"{key.name}={value}").encode("utf-8", "surrogatepass"))


def test_micro_param_asks_for_c_code():
    given = parse_config("[micro_param]\nenable_micro=true\ntarget=Cortex-M\nproject_name=net\nsave_path=out", "c.cfg")
    assert given.values == {"output_format": ("C",), "project_name": "net", "save_path": "out"}
    assert "same for all" in given.notes[0]
    assert parse_config("[micro_param]\nenable_micro=false", "c.cfg").values == {}
