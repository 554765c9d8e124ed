"""A config file that does not fit data, model or disk: one line that names file and line, nothing written."""

import os
from pathlib import Path

import numpy as np
import pytest
from bitlite.tools.converter_lite import main

DIGITS = Path(__file__).parents[2] / "demo" / "digits.onnx"
FULL = ["[common_quant_param]", "quant_type=FULL_QUANT", "bit_num=8", "[data_preprocess_param]"]
GRAY = ["image_path={d}/pictures", "resize_width=8", "resize_height=8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from PIL import Image

    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("data")
    for name in ("good", "short", "nan", "empty", "pictures", "both"):
        (folder / name).mkdir()
    for i in range(6):
        sample = rng.random((8, 8, 1), np.float32)
        sample.tofile(folder / "good" / f"{i}.bin")
        (sample[:-1] if i == 4 else sample).tofile(folder / "short" / f"{i}.bin")
    np.full((8, 8, 1), np.nan, np.float32).tofile(folder / "nan" / "0.bin")
    for name in ("pictures/a.png", "both/b.png"):
        Image.fromarray(rng.integers(0, 255, (12, 10, 3), np.uint8)).save(folder / name)
    (folder / "both" / "a.bin").write_bytes(bytes(256))
    (folder / "file").write_text("x")
    (folder / "broken.json").write_text('{"format": "bitlite statistics", ')
    return folder


CASES = [
    (["image_path={d}/none"], 1, "No such file"),
    (["image_path={d}/good", "=5"], 2, "no key before the '='"),
    ([*FULL, "calibrate_path=image:"], 5, "nothing behind the colon"),
    (["image_path={d}/empty"], 1, "holds no files"),
    (["batch_count=6", "image_path={d}/short"], 2, "file_size: 224"),
    (["image_path={d}/nan"], 1, "NaN"),
    (["image_path={d}/good,{d}/good"], 1, "2 directories and 1 input(s)"),
    (["image_path={d}/both"], 1, "is not an image"),
    (["image_path={d}/good", "input_type=IMAGE"], 1, "is not an image"),
    (["image_path={d}/pictures", "input_type=BIN"], 1, "input_type=IMAGE"),
    (["image_path={d}/pictures"], 1, "image_to_format=GRAY"),
    ([*GRAY, "image_to_format=GRAY", "", "normalize_mean=[1,2,3]"], 6, "3 values"),
    ([*GRAY, "image_to_format=GRAY", "center_crop_width=9", "center_crop_height=9"], 2, "before the centre crop"),
    ([*GRAY[:2]], 2, "resize_height together"),
    (["image_path={d}/good", "keep_float=nothing"], 2, "'nothing' names no node"),
    (["image_path={d}/good", "keep_float=from conv1 to nothing"], 2, "'nothing' names no node"),
    (["image_path={d}/good", "keep_float=from logits to conv1"], 2, "no path"),
    (["image_path={d}/good", "keep_float=type:Convolution"], 2, "no operator of the model"),
    (["image_path={d}/good", "layer_bits=nothing:4"], 2, "'nothing' names no node"),
    (["image_path={d}/good", "layer_bits=conv1:9"], 2, "1..8"),
    (["image_path={d}/good", "input_shapes=1,8,8,1"], 2, "input_shapes"),
    (["image_path={d}/good", "dump_dist={d}/none/d.json"], 2, "does not exist"),
    (["image_path={d}/good", "load_dist={d}/none.json"], 2, "No such file"),
    (["image_path={d}/good", "load_dist={d}/broken.json"], 2, "broken.json"),
    (["image_path={d}/good", "debug_info_save_path={d}/file/t"], 2, "is not a directory"),
    ([*FULL, "calibrate_path=image:{d}/good", "calibrate_size=7"], 6, "7 samples are asked for"),
    ([*FULL, "calibrate_path=imag:{d}/good", "calibrate_size=6"], 5, "try image"),
    ([*FULL, "calibrate_path=image:{d}/short", "calibrate_size=6"], 5, "file_size: 224"),
    ([*FULL, "calibrate_path=image:{d}/none", "calibrate_size=6"], 5, "No such file"),
    (
        [*FULL[:3], "skip_quant_node=nothing", FULL[3], "calibrate_path=image:{d}/good", "calibrate_size=6"],
        4,
        "no node",
    ),
]


@pytest.mark.parametrize("lines,number,words", CASES, ids=lambda v: " ".join(v)[:60] if isinstance(v, list) else None)
def test_the_line_of_the_config_is_named(lines, number, words, folder, tmp_path, capsys):
    config = tmp_path / "c.cfg"
    config.write_text("\n".join(lines).format(d=folder))
    before = sorted(folder.rglob("*"))
    flags = [] if "[" in lines[0] else ["--quantType=PostTraining"]
    status = main([f"--modelFile={DIGITS}", f"--outputFile={tmp_path}/out", f"--configFile={config}", *flags])
    _, err = capsys.readouterr()
    assert status not in (0, None)
    assert err.startswith("ERROR: ") and err.count("\n") == 1
    assert f"{config}:{number}" in err and words in err
    assert list(tmp_path.iterdir()) == [config] and sorted(folder.rglob("*")) == before


def test_a_pipe_is_no_config_file(tmp_path, capsys):
    os.mkfifo(tmp_path / "c.cfg")
    assert main([f"--modelFile={DIGITS}", f"--outputFile={tmp_path}/m", f"--configFile={tmp_path}/c.cfg"]) == 168
    assert "c.cfg: not a regular file" in capsys.readouterr().err
