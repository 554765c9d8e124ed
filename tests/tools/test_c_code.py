"""C code as a user gets it: from a model to `make test`, and what is refused before anything is written."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import bitlite
import numpy as np
import pytest
from bitlite.converter.errors import OutputError, UnsupportedError, UsageError
from bitlite.converter.formats import c
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.tools.converter_lite import main

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ("micro", "converter")]
import c_code  # noqa: E402
from c_networks import NETWORKS, Net, samples  # noqa: E402

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None or shutil.which("make") is None, reason="no gcc or make")
PTQ = {"quant_type": "PostTraining"}
INT8 = {"input_data_type": "INT8", "output_data_type": "INT8"}
FORMS = {
    "float": {},
    "int8": PTQ | INT8,
    "int8_float_ends": PTQ,
    "uint8": PTQ | {"input_data_type": "UINT8", "output_data_type": "UINT8"},
    "mslite": PTQ | INT8 | {"target": "mslite"},
}
SANITIZED = "-O1 -Wpedantic -Werror -fsanitize=address,undefined -fno-sanitize-recover=all"
# Other compilers' ways with floats: x87, and products fused into sums.
CONTRACTED = "-O2 -Wpedantic -Werror -std=gnu11 -march=native -ffp-contract=fast"


def convert(model, folder, options):
    data = {"calibration_data": samples(model)} if "quant_type" in options else {}
    return bitlite.convert(model, folder, output_format="C", **options, **data)


@needs_gcc
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_gives_the_results_of_its_session(network, form, tmp_path):
    model = NETWORKS[network](tmp_path / "model.tflite")
    report = convert(model, tmp_path / "net", FORMS[form])
    assert any(note.startswith("flash ") for note in report.notes)
    for flags in (SANITIZED, CONTRACTED) if form in ("int8", "mslite") else (SANITIZED,):
        status, said = c_code.make(tmp_path / "net", "-B", "test", f"CFLAGS={flags}")
        assert status == 0 and "PASS" in said, said[:2000]


@needs_gcc
@pytest.mark.parametrize("form", ["int8", "mslite"])
@pytest.mark.parametrize("network", NETWORKS)
def test_codes_are_those_of_the_written_model_on_other_inputs(network, form, tmp_path):
    model = NETWORKS[network](tmp_path / "model.tflite")
    bitlite.convert(model, tmp_path / "net", output_format="C,MS", calibration_data=samples(model), **FORMS[form])
    session = bitlite.load(str(tmp_path / "net.ms"))
    (x,), (y,) = session.inputs, session.outputs
    library = c_code.library([tmp_path / "net"], tmp_path / "net.so", ("-O2",))

    class Output:
        name, dtype, static_shape = y.name, y.dtype, y.shape

    rng = np.random.default_rng(8)
    for _ in range(20):
        codes = rng.integers(-128, 128, x.shape).astype(np.int8)
        want = session.run({x.name: codes})[y.name]
        got = c_code.call(library, "net", [codes], [Output])[0]
        if y.dtype == np.int8:
            np.testing.assert_array_equal(got, want)
        else:  # MindSpore Lite's softmax is one of floats
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.ptp(want))


@needs_gcc
def test_the_command_follows_micro_param(tmp_path, capsys):
    model = NETWORKS["autoencoder"](tmp_path / "model.tflite")
    config = tmp_path / "micro.cfg"
    config.write_text(f"[micro_param]\nenable_micro=true\ntarget=Cortex-M\nproject_name=ad\nsave_path={tmp_path}\n")
    assert main([f"--modelFile={model}", f"--outputFile={tmp_path / 'unused'}", f"--configFile={config}"]) == 0
    assert "RAM" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ad", "micro.cfg", "model.tflite"]
    assert c_code.make(tmp_path / "ad", "test")[0] == 0


@needs_gcc
def test_hostile_names_become_identifiers_and_comments(tmp_path):
    net = Net('*/ int x; /* "\\\n??/', (1, 6))
    net.graph.inputs[0].name = 'int */\n#error "x"\\'
    net.dense(3)
    net.graph.nodes[0].name = "*/ } # ??/\n\\ é"
    net.graph.nodes[0].outputs[0].name = "step_0"
    net.graph.outputs = [net.y]
    for folder in ('a "quoted" \\ name', "1 + 1", "float", "ünïcode\nline", "main"):
        path = tmp_path / folder
        path.mkdir()
        c.write(net.graph, str(path))
        c_code.library([path], tmp_path / "x.so", ("-O0", "-Wtrigraphs"))


def test_only_kernels_that_are_used_are_written(tmp_path):
    model = NETWORKS["autoencoder"](tmp_path / "model.tflite")
    convert(model, tmp_path / "net", FORMS["int8"])
    kernels = {p.name for p in (tmp_path / "net").glob("bitlite_*.c")}
    assert kernels == {"bitlite_conv_s8.c"}
    assert "malloc" not in "".join(p.read_text() for p in (tmp_path / "net").glob("*.c"))


def test_bytes_are_the_same_each_time(tmp_path):
    model = NETWORKS["keywords"](tmp_path / "model.tflite")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        convert(model, tmp_path / name / "net", FORMS["int8"])
    for file in (tmp_path / "a" / "net").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / "net" / file.name).read_bytes()


def test_an_operator_without_a_kernel_is_refused_before_calibration(tmp_path):
    net = Net("m", (1, 4, 6))
    net.emit("CumSum", net.builder.constant(np.array(1, np.int32), "axis"))
    model = net.save(tmp_path / "m.tflite")
    with pytest.raises(UnsupportedError, match="operator CumSum has no form in c"):
        bitlite.convert(model, tmp_path / "net", output_format="C")
    assert not (tmp_path / "net").exists()


def test_sizes_beyond_the_batch_must_be_known(tmp_path):
    graph = Graph("m")
    builder = Builder(graph)
    x = builder.input("x", np.dtype(np.float32), (None, None, 3))
    graph.outputs = builder.emit("Relu", [x])
    with pytest.raises(UnsupportedError, match=r"fixed sizes.*input_shape"):
        c.with_fixed_sizes(graph)


def test_a_folder_of_others_is_left_alone_and_ones_own_is_replaced(tmp_path):
    model = NETWORKS["autoencoder"](tmp_path / "model.tflite")
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "main.c").write_text("mine")
    with pytest.raises(OutputError, match="not bitlite's"):
        convert(model, tmp_path / "net", {})
    assert [p.name for p in (tmp_path / "net").iterdir()] == ["main.c"]
    convert(model, tmp_path / "other", {})
    (tmp_path / "other" / "app.c").write_text("mine")
    convert(model, tmp_path / "other", {})
    assert (tmp_path / "other" / "app.c").read_text() == "mine"
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        convert(model, tmp_path / "file", {})
    with pytest.raises(OutputError, match="does not exist"):
        convert(model, tmp_path / "nowhere" / "net", {})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"quant_type": "WeightQuant"}, "int8 weights with int8 values"),
        ({"project_name": "a/b"}, "no name of a folder"),
        ({"output_format": "MS", "project_name": "a"}, "no effect without C code"),
    ],
)
def test_options_that_c_code_cannot_follow_are_refused(options, words, tmp_path):
    model = NETWORKS["autoencoder"](tmp_path / "model.tflite")
    with pytest.raises(UsageError, match=words):
        bitlite.convert(model, tmp_path / "net", **({"output_format": "C"} | options))
    assert not (tmp_path / "net").exists()
