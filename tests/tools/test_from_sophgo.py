"""The command lines of Sophgo's calibration_use_pb on a Caffe network with a database."""

from __future__ import annotations

import sys
from pathlib import Path

import bitlite
import numpy as np
import pytest
from bitlite.quant.calibrate.lmdb_files import _messages
from bitlite.tools.calibration_use_pb import main

sys.path.insert(0, str(Path(__file__).parents[1] / "converter"))
from caffe_networks import layer, write

lmdb = pytest.importorskip("lmdb")
MEAN, SCALE = np.float32([100, 110, 120]), np.float32(0.02)


def bn(name, bottom, blobs, rng, channels):
    """BatchNorm and Scale, in place."""
    blobs[f"{name}_bn"] = [rng.normal(size=channels), rng.uniform(0.5, 2, channels), [1.0]]
    blobs[f"{name}_scale"] = [rng.uniform(0.5, 2, channels), rng.normal(size=channels) * 0.1]
    text = layer("BatchNorm", "batch_norm_param { use_global_stats: true }", bottom, bottom, f"{name}_bn")
    return text + layer("Scale", "scale_param { bias_term: true }", bottom, bottom, f"{name}_scale")


@pytest.fixture
def net(tmp_path):
    """conv, depthwise conv, each with BatchNorm and Scale, a Concat and a classifier, of 16x14 BGR images."""
    rng, blobs = np.random.default_rng(4), {}
    with lmdb.open(str(tmp_path / "base"), map_size=1 << 24) as base, base.begin(write=True) as transaction:
        for k in range(12):
            pixels = rng.integers(0, 256, (3, 16, 14)).astype(np.uint8)
            made = _messages()["Datum"](channels=3, height=16, width=14, label=1, data=pixels.tobytes())
            transaction.put(f"{k:08}".encode(), made.SerializeToString())
    text = """layer { name: "data" type: "Data" top: "x" top: "label" include { phase: TEST }
        transform_param { transform_op { op: RESIZE resize_h: 16 resize_w: 14 }
        transform_op { op: STAND mean_value: 100 mean_value: 110 mean_value: 120 scale: 0.02 } }
        data_param { source: "base" batch_size: 0 backend: LMDB } }\n"""
    text += layer("Convolution", "convolution_param { num_output: 8 kernel_size: 3 pad: 1 }", "x", "a", "conv")
    blobs["conv"] = [rng.normal(size=(8, 3, 3, 3)) * 0.2, rng.normal(size=8) * 0.1]
    text += bn("conv", "a", blobs, rng, 8) + layer("ReLU", "", "a", "a", "relu")
    text += layer("Convolution", "convolution_param { num_output: 8 kernel_size: 3 group: 8 }", "a", "b", "dw")
    blobs["dw"] = [rng.normal(size=(8, 1, 3, 3)) * 0.3, rng.normal(size=8) * 0.1]
    text += bn("dw", "b", blobs, rng, 8) + layer("ReLU", "", "b", "b", "relu2")
    text += layer("Convolution", "convolution_param { num_output: 4 kernel_size: 1 }", "b", "c", "point")
    blobs["point"] = [rng.normal(size=(4, 8, 1, 1)) * 0.3, rng.normal(size=4) * 0.1]
    text += layer("Concat", "concat_param { axis: 1 }", "b c", "d", "concat")
    text += layer("InnerProduct", "inner_product_param { num_output: 5 }", "d", "prob", "fc")
    blobs["fc"] = [rng.normal(size=(5, 12 * 14 * 12)) * 0.05, np.zeros(5)]
    path = write(tmp_path, text, blobs)
    path.rename(tmp_path / "net_test_fp32.prototxt")
    return tmp_path


def run(net, command, *flags):
    return main([command, f"-model={net / 'net_test_fp32.prototxt'}", f"-weights={net / 'net.caffemodel'}", *flags])


def pixels(net, k=3):
    """A picture as NHWC bytes, and as the network takes it."""
    image = np.random.default_rng(k).integers(0, 256, (16, 14, 3)).astype(np.uint8)
    return image[None], ((image.astype(np.float32) - MEAN) * SCALE)[None]


def db(got, wanted):
    return 10 * np.log10(np.square(wanted).sum() / max(np.square(got - wanted).sum(), 1e-30))


def graph_of(path):
    return bitlite.read(path)


@pytest.mark.parametrize("method", ["KL", "SYMKL", "JSD", "ADMM", "ACIQ", "MAX", "PERCENTILE9999"])
def test_quantize_by_each_method(net, capsys, method):
    flags = ["-target=BM1684", f"-th_method={method}", "-iterations=200", "-bitwidth=TO_INT8", "-th_binnum=1024"]
    assert not run(net, "quantize", *flags)
    assert "the model is for CPUs" in capsys.readouterr().out
    quantized, real = (bitlite.load(net / f"net_deploy_{kind}_unique_top.ms") for kind in ("int8", "fp32"))
    assert any(n.op == "Conv" and n.outputs[0].dtype == np.int8 for n in quantized.graph.nodes)
    _, x = pixels(net)
    assert db(quantized.run({"x": x})["prob"], real.run({"x": x})["prob"]) > 15


def test_graph_and_group_and_test_networks(net, capsys):
    flags = ["-graph_transform", "-conv_group", "-save_test_proto", "-winograd", "-per_channel", "-fold_concat_scale"]
    assert not run(net, "quantize", *flags, "-output_format=MS,ONNX")
    printed = capsys.readouterr().out
    assert "graph_transform: is done whether" in printed and "conv_group: " in printed and "winograd: " in printed
    raw, x = pixels(net)
    test, deploy = (bitlite.load(net / f"net_{kind}_int8_unique_top.ms") for kind in ("test", "deploy"))
    assert test.inputs[0].dtype == np.uint8 and deploy.inputs[0].dtype == np.float32
    # Pixels are RGB where nothing else is asked for; the network takes BGR.
    got = test.run({"x": np.ascontiguousarray(raw[..., ::-1])})["prob"]
    assert db(got, deploy.run({"x": x})["prob"]) > 30
    assert (net / "net_test_fp32_unique_top.onnx").exists()


@pytest.mark.parametrize(("flag", "words"), [((), "random input"), (("-random_input_compare",), "samples of the data")])
def test_graph_transform_merges_and_compares(net, capsys, flag, words):
    assert not run(net, "graph_transform", *flag)
    printed = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if "outputs within" in line)
    assert words in line and float(line.split("within ")[1].split()[0]) < 1e-5
    kinds = [n.op for n in graph_of(net / "net_optimized.ms").nodes]
    assert "BatchNorm" not in kinds and "Mul" not in kinds and kinds.count("Conv") == 3


@pytest.mark.parametrize(
    ("flags", "factors"),
    [
        ((), 0),
        (("-merge_scale_to_conv=true", "-merge_depwise_scale=true"), 0),
        (("-merge_scale_to_conv=false",), 1),
        (("-merge_depwise_scale=false",), 1),
        (("-merge_scale_to_conv=false", "-merge_depwise_scale=false"), 2),
        (("-merge_depwise_scale=false", "-accuracy_opt"), 0),
    ],
)
def test_scales_are_merged_or_left(net, flags, factors):
    """Those of a convolution and of a depthwise one, each by its own flag; BatchNorm goes in either way."""
    _, x = pixels(net)
    assert not run(net, "quantize", *flags)
    graphs = [graph_of(net / f"net_deploy_{kind}_unique_top.ms") for kind in ("fp32", "int8")]
    assert [sum(n.op == "Mul" for n in graph.nodes) for graph in graphs] == [factors, factors]
    assert not any(n.op == "BatchNorm" for graph in graphs for n in graph.nodes)
    real, quantized = (bitlite.load(net / f"net_deploy_{kind}_unique_top.ms") for kind in ("fp32", "int8"))
    assert db(quantized.run({"x": x})["prob"], real.run({"x": x})["prob"]) > 15
    assert not run(net, "graph_transform")
    assert db(real.run({"x": x})["prob"], bitlite.load(net / "net_optimized.ms").run({"x": x})["prob"]) > 90


def test_scales_around_a_concat_are_folded_or_left(net):
    """One behind it, and the ranges of its inputs, of which one is 200 times the other."""
    rng, blobs = np.random.default_rng(6), {}
    text = (net / "net_test_fp32.prototxt").read_text().partition('layer { name: "conv"')[0]
    for name, size in (("large", 1.0), ("small", 0.005)):
        text += layer("Convolution", "convolution_param { num_output: 4 kernel_size: 3 }", "x", name, name)
        blobs[name] = [rng.normal(size=(4, 3, 3, 3)) * size, rng.normal(size=4) * size / 10]
    text += layer("Concat", "concat_param { axis: 1 }", "large small", "both", "both")
    text += layer("Scale", "scale_param { bias_term: true }", "both", "scaled", "scale")
    blobs["scale"] = [rng.uniform(0.5, 2, 8), rng.normal(size=8) * 0.001]
    text += layer("Convolution", "convolution_param { num_output: 5 kernel_size: 1 }", "scaled", "prob", "last")
    blobs["last"] = [rng.normal(size=(5, 8, 1, 1)) * np.repeat([1, 200], 4).reshape(1, 8, 1, 1), np.zeros(5)]
    write(net, text, blobs).rename(net / "net_test_fp32.prototxt")
    (_, x), got, kinds = pixels(net), {}, {}
    for word in ("true", "false"):
        assert not run(net, "quantize", f"-fold_concat_scale={word}")
        real, quantized = (bitlite.load(net / f"net_deploy_{kind}_unique_top.ms") for kind in ("fp32", "int8"))
        got[word] = db(quantized.run({"x": x})["prob"], real.run({"x": x})["prob"])
        kinds[word] = [n.op for n in graph_of(net / "net_deploy_fp32_unique_top.ms").nodes]
    assert "Mul" not in kinds["true"] and kinds["true"].count("Conv") == 3
    assert got["true"] > got["false"] + 6, got


def test_named_convolutions_are_not_merged(net):
    _, x = pixels(net)
    assert not run(net, "graph_transform")
    wanted = bitlite.load(net / "net_optimized.ms").run({"x": x})["prob"]
    merged = [n.op for n in graph_of(net / "net_optimized.ms").nodes]
    assert not run(net, "graph_transform", "-notmerge_conv_layer=conv,dw")
    apart = bitlite.load(net / "net_optimized.ms")
    kinds = [n.op for n in graph_of(net / "net_optimized.ms").nodes]
    assert len(kinds) > len(merged) and np.abs(apart.run({"x": x})["prob"] - wanted).max() < 1e-4
    assert run(net, "graph_transform", "-notmerge_conv_layer=conw") == 168


def test_padding_has_its_value(net):
    assert not run(net, "graph_transform", "-pad_value=conv:-1.5")
    graph = graph_of(net / "net_optimized.ms")
    pads = [n for n in graph.nodes if n.op == "Pad"]
    assert len(pads) == 1 and pads[0].attrs["value"] == -1.5
    assert run(net, "graph_transform", "-pad_value=point:1") == 168


@pytest.mark.parametrize(
    ("flags", "in_float"),
    [
        (("-accuracy_opt",), {"dw"}),
        (("-fpfwd_inputs=conv",), {"conv"}),
        (("-fpfwd_outputs=point",), {"point"}),
        (("-fpfwd_blocks=conv:dw",), {"conv", "dw"}),
        (("-fpfwd_blocks=point",), {"point"}),
    ],
)
def test_parts_in_float(net, flags, in_float):
    assert not run(net, "quantize", *flags)
    layers = [n for n in graph_of(net / "net_deploy_int8_unique_top.ms").nodes if n.op == "Conv"]
    assert {n.name.partition("/")[0] for n in layers if n.inputs[1].dtype != np.int8} == in_float


def test_a_database_made_here_says_the_sizes_of_the_network(net, capsys):
    """Samples that are ready, of a data layer without steps, by which no size is known."""
    ready = [np.random.default_rng(k).normal(size=(3, 16, 14)) for k in range(40)]
    assert bitlite.create_lmdb(net / "ready", ready) == 40
    path = net / "net_test_fp32.prototxt"
    head, _, rest = path.read_text().partition('layer { name: "conv"')
    layer_text = """layer { name: "data" type: "Data" top: "x" top: "label" include { phase: TEST }
        data_param { source: "ready" batch_size: 0 backend: LMDB } }\n"""
    assert "transform_op" in head
    path.write_text(f'{layer_text}layer {{ name: "conv"{rest}')
    assert not run(net, "quantize", "-save_test_proto") and not run(net, "graph_transform")
    for made in ("deploy_int8_unique_top", "test_int8_unique_top", "optimized"):
        (port,) = bitlite.load(net / f"net_{made}.ms").inputs
        assert (port.shape, port.dtype) == ((1, 16, 14, 3), np.float32)
    x = ready[0].transpose(1, 2, 0)[None].astype(np.float32)
    outputs = [bitlite.load(net / f"net_{n}.ms").run({"x": x})["prob"] for n in ("deploy_int8_unique_top", "optimized")]
    assert db(*outputs) > 15
    with lmdb.open(str(net / "ready"), map_size=1 << 24) as base, base.begin(write=True) as transaction:
        transaction.put(b"00000000", ready[0].astype(np.float32).tobytes())
    assert run(net, "quantize") and "try bitlite.create_lmdb" in capsys.readouterr().err


@pytest.mark.parametrize("samples", [[np.zeros((3, 4))], [np.zeros((3, 0, 4))], [np.array("a")]])
def test_samples_that_are_no_images_are_refused(tmp_path, samples):
    with pytest.raises(bitlite.DataError, match=r"sample 0: is .* numbers"):
        bitlite.create_lmdb(tmp_path / "base", samples)
    (tmp_path / "there").mkdir()
    with pytest.raises(bitlite.DataError, match="is there already"):
        bitlite.create_lmdb(tmp_path / "there", [np.zeros((3, 4, 4))])


def test_statistics_are_written_and_read(net):
    assert not run(net, "quantize", f"-dump_dist={net / 'dist.json'}")
    first = (net / "net_deploy_int8_unique_top.ms").stat().st_size
    assert not run(net, "quantize", f"-load_dist={net / 'dist.json'}")
    assert abs((net / "net_deploy_int8_unique_top.ms").stat().st_size - first) < 2000


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["quantise"], "'quantise' is no command; try quantize"),
        (["quantize"], "-model is missing"),
        (["quantize", "-model=a.prototxt", "-weights=a.fp32umodel"], "umodel format is not public"),
        (["quantize", "-model=a.prototxt", "-target=BM1880"], "must be BM1684|BM1686"),
        (["quantize", "-model=a.prototxt", "-th_methd=KL"], "--th_methd is not a known flag; try --th_method"),
        (["quantize", "-model=a.prototxt", "-bitwidth=TO_INT4"], "must be TO_INT8"),
    ],
)
def test_wrong_arguments_are_one_line(capsys, argv, words):
    assert main(argv) == 168
    assert words in capsys.readouterr().err


def test_help(capsys):
    assert not main([]) and "-th_method" in capsys.readouterr().out
