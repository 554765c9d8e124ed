"""`benchmark --verify`: agrees where kernels are right, and names the node where one is not."""

from pathlib import Path

import bitlite
import numpy as np
import pytest
from bitlite.tools import verify as module
from bitlite.tools.bench_inputs import random_feed
from bitlite.tools.benchmark import main
from bitlite.tools.verify import verify

DIGITS = Path(__file__).parents[2] / "demo" / "digits.onnx"


@pytest.fixture(scope="module")
def session():
    return bitlite.load(str(DIGITS), shapes={0: (2, -1, -1, -1)})


def test_every_node_is_run_alone(session):
    rows = verify(session, random_feed(session.inputs, 0))
    assert [row.name for row in rows] == [node.name for node in session.graph.nodes]
    assert all(row.ok and row.error < 1e-5 for row in rows)


@pytest.mark.parametrize(
    "damage", [lambda y: y + np.float32(0.01) * np.ptp(y), lambda y: np.where(y == y.max(), np.nan, y)]
)
def test_a_node_that_differs_is_named(session, monkeypatch, capsys, damage):
    """The reference is damaged at one node: the same as a kernel that is wrong there."""
    real = module.execute

    def execute(node, arrays):
        results = real(node, arrays)
        return (damage(results[0]).astype(np.float32),) if node.name == "fc4" else results

    monkeypatch.setattr(module, "execute", execute)
    assert [row.name for row in verify(session, random_feed(session.inputs, 0)) if not row.ok] == ["fc4"]
    assert main([f"--modelFile={DIGITS}", "--verify", "--loopCount=1"]) == 1
    captured = capsys.readouterr()
    assert "1 differ" in captured.out and "fc4 (FullyConnected)" in captured.err


def test_integer_outputs_must_be_equal(tmp_path):
    samples = np.load(DIGITS.parent / "heldout.npz")["x"][:16]
    bitlite.convert(DIGITS, tmp_path / "d", quant_type="PostTraining", calibration_data=samples)
    session = bitlite.load(str(tmp_path / "d.ms"), shapes={0: (1, -1, -1, -1)})
    rows = verify(session, random_feed(session.inputs, 0))
    assert rows and all(row.ok and row.wrong == 0 for row in rows)
