"""Networks exported from PyTorch (`tests/models/export.py`) give what onnxruntime gives."""

from __future__ import annotations

from pathlib import Path

import bitlite
import numpy as np
import pytest

MODELS = sorted((Path(__file__).parents[1] / "models").glob("*.onnx"))


def test_both_networks_are_there():
    assert {p.stem.split("_")[0] for p in MODELS} == {"encoder", "lstm"}


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_an_exported_network_equals_onnxruntime(path):
    import onnxruntime

    session = bitlite.load(str(path))
    (port,) = session.inputs
    x = np.random.default_rng(7).standard_normal(port.shape).astype(np.float32)
    runner = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (want,) = runner.run(None, {port.name: x})
    (got,) = session.run({port.name: x}).values()
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
