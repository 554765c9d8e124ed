"""Large ONNX models: constants in a file beside the model, small ones inside it."""

from __future__ import annotations

from pathlib import Path

import bitlite
import numpy as np
import onnx
import onnxruntime
import pytest
from bitlite.converter.formats import onnx_write

DEMO = Path(__file__).parents[2] / "demo" / "digits.onnx"


def test_constants_past_the_limit_stand_beside_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_write, "_EXTERNAL_ABOVE", 1000)
    target = tmp_path / "big.onnx"
    bitlite.convert(DEMO, target, output_format="ONNX")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["big.onnx", "big.onnx.data"]
    assert target.stat().st_size < 10_000
    onnx.checker.check_model(str(target))
    x = np.random.default_rng(0).random((2, 1, 8, 8), np.float32)
    wanted = onnxruntime.InferenceSession(DEMO).run(None, {"image": x})[0]
    theirs = onnxruntime.InferenceSession(target).run(None, {"image": x})[0]
    ours = bitlite.load(target).run({"image": x})["logits"]
    assert np.abs(theirs - wanted).max() < 1e-4
    assert np.abs(ours - wanted).max() < 1e-4


def test_the_size_of_a_model_is_that_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_write, "_EXTERNAL_ABOVE", 1000)
    first = bitlite.convert(DEMO, tmp_path / "big", output_format="ONNX")
    second = bitlite.convert(tmp_path / "big.onnx", tmp_path / "again", output_format="ONNX")
    whole = sum(p.stat().st_size for p in tmp_path.glob("big.onnx*"))
    assert second.source_bytes == whole
    assert first.files == {str(tmp_path / "big.onnx"): whole}


def test_a_link_leads_to_no_data_outside_the_folder_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_write, "_EXTERNAL_ABOVE", 1000)
    (tmp_path / "model").mkdir()
    bitlite.convert(DEMO, tmp_path / "model" / "m.onnx", output_format="ONNX")
    data = tmp_path / "model" / "m.onnx.data"
    data.rename(tmp_path / "elsewhere")
    data.symlink_to("../elsewhere")
    with pytest.raises(bitlite.ModelError, match=r"external data 'm\.onnx\.data' is not a file beside the model"):
        bitlite.load(tmp_path / "model" / "m.onnx")
    data.unlink()
    data.symlink_to(".")
    with pytest.raises(bitlite.ModelError, match="is a directory"):
        bitlite.load(tmp_path / "model" / "m.onnx")


def test_a_store_of_links_to_a_model_and_its_data_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_write, "_EXTERNAL_ABOVE", 1000)
    for name in ("blobs", "names", "model"):
        (tmp_path / name).mkdir()
    bitlite.convert(DEMO, tmp_path / "names" / "m.onnx", output_format="ONNX")
    for name in ("m.onnx", "m.onnx.data"):
        (tmp_path / "names" / name).rename(tmp_path / "blobs" / f"{len(name)}")
        (tmp_path / "names" / name).symlink_to(f"../blobs/{len(name)}")
    x = np.ones((1, 1, 8, 8), np.float32)
    logits = bitlite.load(tmp_path / "names" / "m.onnx").run(x)["logits"]
    assert np.allclose(logits, bitlite.load(DEMO).run(x)["logits"], atol=1e-4)


@pytest.mark.parametrize("location", [b"w\0.bin", b"w\xff.bin"])
def test_a_location_that_can_be_no_name_is_no_file(tmp_path: Path, location: bytes) -> None:
    weight = onnx.TensorProto(
        name="w", data_type=onnx.TensorProto.FLOAT, dims=[2], data_location=onnx.TensorProto.EXTERNAL
    )
    weight.external_data.add(key="location", value="@" * len(location))
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [value("x", onnx.TensorProto.FLOAT, [2])],
        [value("y", onnx.TensorProto.FLOAT, [2])],
        [weight],
    )
    (tmp_path / "m.onnx").write_bytes(
        onnx.helper.make_model(graph).SerializeToString().replace(b"@" * len(location), location)
    )
    with pytest.raises(bitlite.ModelError, match=r"is not a file beside the model|no such file"):
        bitlite.load(tmp_path / "m.onnx")
