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
