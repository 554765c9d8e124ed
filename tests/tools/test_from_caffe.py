"""A Caffe network with a data layer, from its database to int8."""

from __future__ import annotations

import sys
from pathlib import Path

import bitlite
import numpy as np
import pytest
from bitlite.quant.calibrate.lmdb_files import _messages
from bitlite.tools.benchmark import main as benchmark
from bitlite.tools.converter_lite import main

sys.path.insert(0, str(Path(__file__).parents[1] / "converter"))
from caffe_networks import layer, write

lmdb = pytest.importorskip("lmdb")
RNG = np.random.default_rng(4)
IMAGES = RNG.integers(0, 256, (12, 3, 16, 14)).astype(np.uint8)
CONV = "convolution_param { num_output: 8 kernel_size: 3 stride: 2 }"
BLOBS = {"conv": [RNG.standard_normal((8, 3, 3, 3)) * 0.2, RNG.standard_normal(8) * 0.1],
         "fc": [RNG.standard_normal((5, 8 * 3 * 2)) * 0.1, np.zeros(5)]}  # fmt: skip
OPS = """transform_op { op: RESIZE resize_h: 12 resize_w: 10 }
         transform_op { op: STAND mean_value: 100 mean_value: 110 mean_value: 120 scale: 0.02 bgr2rgb: true }"""


def database(folder, records):
    with lmdb.open(str(folder), map_size=1 << 24) as base, base.begin(write=True) as transaction:
        for k, record in enumerate(records):
            transaction.put(f"{k:08}".encode(), record)
    return folder


def datum(pixels, kind="Datum"):
    made = _messages()["Datum"](channels=pixels.shape[0], height=pixels.shape[1], width=pixels.shape[2], label=1)
    if pixels.dtype == np.uint8:
        made.data = pixels.tobytes()
    else:
        made.float_data.extend(pixels.ravel())
    if kind == "AnnotatedDatum":
        made = _messages()[kind](datum=made, type=0)
    return made.SerializeToString()


def network(folder, transform, source="base", kind="Data", conv=CONV, relu="", batch=0):
    data = f"""layer {{ name: "data" type: "{kind}" top: "x" top: "label" include {{ phase: TEST }}
        transform_param {{ {transform} }}
        data_param {{ source: "{source}" batch_size: {batch} backend: LMDB }} }}\n"""
    fc = "inner_product_param { num_output: 5 }"
    text = data + layer("Convolution", conv, "x", "y", "conv") + layer("ReLU", relu, "y", "y", "relu")
    text += layer("Pooling", "pooling_param { kernel_size: 2 stride: 2 }", "y", "p", "pool")
    return write(folder, text + layer("InnerProduct", fc, "p", "z", "fc"), BLOBS)


def quantized(path, folder, **options):
    report = bitlite.convert(path, folder / "out", quant_type="PostTraining", calibrate_size=12, **options)
    return report, bitlite.load(folder / "out.ms")


def ready(pixels):
    """What OPS makes of a BGR image: resized at half-pixel centres, RGB, shifted and scaled."""
    high, wide = pixels.shape[1:]

    def taps(m, n):
        at = (np.arange(m) + 0.5) * n / m - 0.5
        low = np.floor(at).astype(int)
        return low.clip(0, n - 1), (low + 1).clip(0, n - 1), at - low

    (a, b, t), (c, d, s) = taps(12, high), taps(10, wide)
    rows = pixels[:, a] * (1 - t)[:, None] + pixels[:, b] * t[:, None]
    return ((rows[..., c] * (1 - s) + rows[..., d] * s)[::-1] - np.array([100, 110, 120])[:, None, None]) * 0.02


def input_range(session):
    q = next(n.outputs[0] for n in session.graph.nodes if n.op == "Quantize").qparams
    return (-128 - q.zero_point[0]) * q.scale[0], (127 - q.zero_point[0]) * q.scale[0]


@pytest.mark.parametrize("kind", ["Data", "AnnotatedData"])
def test_a_data_layer_gives_the_calibration_data(tmp_path, capsys, kind):
    records = [datum(p, "AnnotatedDatum" if kind == "AnnotatedData" else "Datum") for p in IMAGES]
    database(tmp_path / "base", records)
    path = network(tmp_path, OPS, kind=kind)
    given = [f"--modelFile={path}", f"--weightFile={tmp_path / 'net.caffemodel'}", f"--outputFile={tmp_path / 'out'}"]
    config = tmp_path / "config.cfg"
    config.write_text("method_x=MAX_MIN\nbatch_count=12\n")
    assert not main(["--fmk=CAFFE", *given, "--quantType=PostTraining", f"--configFile={config}"])
    assert "CONVERTER RESULT SUCCESS:0" in capsys.readouterr().out
    values = np.stack([ready(p.astype(np.float64)) for p in IMAGES])
    low, high = input_range(bitlite.load(tmp_path / "out.ms"))
    np.testing.assert_allclose([low, high], [values.min(), values.max()], atol=0.02 * np.ptp(values))


def test_floats_and_raw_values_need_no_steps(tmp_path):
    values = RNG.standard_normal((12, 3, 12, 10)).astype(np.float32)
    path = network(tmp_path, "crop_h: 12 crop_w: 10", source="")
    ranges = []
    for k, records in enumerate(([datum(v) for v in values], [v.tobytes() for v in values])):
        base = database(tmp_path / f"base{k}", records)
        ranges.append(input_range(quantized(path, tmp_path, calibrate_path={"x": str(base)}, image_to_format="BGR")[1]))
    assert ranges[0] == ranges[1]
    np.testing.assert_allclose(ranges[0], [values.min(), values.max()], atol=0.1)


@pytest.mark.parametrize(
    ("transform", "options"),
    [
        ("transform_op { op: RESIZE resize_side: 13 } transform_op { op: CROP crop_h: 12 crop_w: 10 }",
         {"resize_height": 13, "resize_width": 13, "resize_mode": "FIT_SMALL_SIZE", "center_crop_height": 12,
          "center_crop_width": 10}),
        ("resize_param { resize_mode: FIT_LARGE_SIZE_AND_PAD height: 12 width: 10 pad_value: 99 }",
         {"resize_height": 12, "resize_width": 10, "resize_mode": "FIT_LARGE_SIZE_AND_PAD", "resize_pad": 99}),
    ],
)  # fmt: skip
def test_proportions_are_kept_where_the_layer_says_so(tmp_path, transform, options):
    base = database(tmp_path / "base", [datum(p) for p in IMAGES])
    path, x = network(tmp_path, transform), RNG.uniform(0, 255, (1, 12, 10, 3)).astype(np.float32)
    said = quantized(path, tmp_path)[1].run({"x": x})
    given = quantized(path, tmp_path, calibrate_path={"x": str(base)}, image_to_format="BGR", **options)[1].run(
        {"x": x}
    )
    warped = quantized(path, tmp_path, calibrate_path={"x": str(base)}, image_to_format="BGR", resize_height=12,
                       resize_width=10)[1].run({"x": x})  # fmt: skip
    (name,) = said
    assert np.array_equal(said[name], given[name]) and not np.array_equal(said[name], warped[name])


def test_layers_keep_to_float_and_to_their_thresholds(tmp_path):
    database(tmp_path / "base", [datum(p) for p in IMAGES])
    # AUTO would leave in float what this threshold costs.
    _, session = quantized(network(tmp_path, OPS, relu="threshold: 3"), tmp_path, activation_quant_method="MAX_MIN")
    scale = next(n for n in session.graph.nodes if n.op == "Conv").outputs[0].qparams.scale[0]
    np.testing.assert_allclose(scale, 3 / 255, rtol=1e-3)
    report, session = quantized(network(tmp_path, OPS, conv=CONV + " forward_with_float: true"), tmp_path)
    assert next(n for n in session.graph.nodes if n.op == "Conv").outputs[0].dtype == np.float32
    assert any("in float: conv" in note for note in report.notes)


@pytest.mark.parametrize(
    ("transform", "records", "said"),
    [
        ("transform_op { op: CROP crop_h: 12 crop_w: 10 } transform_op { op: RESIZE resize_h: 12 resize_w: 10 }",
         [datum(IMAGES[0])], "data: calibration does not have RESIZE behind another RESIZE or CROP"),
        ("scale: 2 " + OPS, [datum(IMAGES[0])], "one of the two kinds is allowed"),
        (OPS, [b"\x01\x02"] * 12, "record '00000000': 2 bytes are neither a Datum nor raw values"),
    ],
)  # fmt: skip
def test_what_calibration_cannot_do_is_named(tmp_path, transform, records, said):
    database(tmp_path / "base", records)
    with pytest.raises(bitlite.Error, match=said.replace("(", r"\(")):
        quantized(network(tmp_path, transform), tmp_path)


def test_without_a_database_the_line_says_what_is_missing(tmp_path):
    with pytest.raises(bitlite.Error, match="needs calibration data, and no data layer names any"):
        quantized(network(tmp_path, OPS, source=""), tmp_path)


def test_a_benchmark_shows_and_runs_a_network_whose_weights_stand_elsewhere(tmp_path, capsys):
    path = network(tmp_path, "", batch=1)
    text, weights = Path(path), Path(path).with_suffix(".caffemodel")
    size = text.stat().st_size + weights.stat().st_size
    moved = weights.rename(tmp_path / "trained.bin")
    flags = [f"--modelFile={path}"]
    assert benchmark([*flags, "--info"]) != 0 and "try --weightFile=FILE" in capsys.readouterr().err
    flags.append(f"--weightFile={moved}")
    assert benchmark([*flags, "--info"]) == 0 and f"caffe, {size} bytes" in capsys.readouterr().out
    assert benchmark([*flags, f"--graph={tmp_path / 'g.svg'}"]) == 0 and "Conv" in (tmp_path / "g.svg").read_text()
    assert benchmark([*flags, "--loopCount=1", "--inputShapes=x:1,3,12,10"]) == 0
