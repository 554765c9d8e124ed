"""The codes that the module computes are those of a Session, of every tensor, before and after training."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from bitlite import load, qat
from bitlite.converter.errors import OutputError, UnsupportedError, UsageError
from bitlite.converter.formats import read_model
from torch import nn


class Residual(nn.Module):
    """Functional calls, a residual, a branch, a module used twice, depthwise and strided layers, BatchNorms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.bn2 = nn.BatchNorm2d(8)
        self.twice = nn.Conv2d(8, 8, 1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        y = F.relu(self.bn(self.conv(x)))
        z = F.relu6(self.bn2(self.depthwise(y))) + y
        z = F.relu(self.twice(self.twice(z)))
        z = F.avg_pool2d(F.max_pool2d(torch.cat([z, y], 1), 2), 2)[:, :8]
        return self.fc(z.mean((2, 3)))


@pytest.fixture(scope="module")
def images():
    return torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def module(images):
    torch.manual_seed(1)
    return qat.prepare(Residual(), images[:2], data=images, weights=4)


def test_every_code_is_that_of_a_session_before_and_after_training(module, images, trained):
    untrained = qat.verify(module, images)
    losses = trained(module, images)
    found = qat.verify(module, images)
    assert untrained.other == found.other == {}
    assert found.inputs == 16 and len(found.tensors) > 8 and found.codes > 16 * 3 * 16 * 16
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("ending", ["ms", "tflite", "onnx"])
def test_a_written_file_computes_the_codes_of_the_module(module, images, trained, tmp_path, ending):
    trained(module, images)
    path = str(tmp_path / f"net.{ending}")
    report = qat.export(module, path, verify=images)
    assert any(note.startswith("trained and written") and "all equal" in note for note in report.notes)
    found = qat.verify(module, images, path)
    assert found.other == {} and len(found.tensors) > 8
    session = load(path)
    x = images.numpy().transpose(0, 2, 3, 1) if session.inputs[0].layout == "NHWC" else images.numpy()
    (given,) = session.run({session.inputs[0].name: np.ascontiguousarray(x)}).values()
    # A .onnx holds the last layer's bias as int32 codes, too.
    room = 2e-4 if ending == "onnx" else 1e-5
    np.testing.assert_allclose(given, module(images).detach().numpy(), rtol=1e-5, atol=room)


def test_a_part_of_the_codes_is_named_when_it_is_another(module, images, tmp_path):
    path = str(tmp_path / "net.onnx")
    qat.export(module, path)
    with torch.no_grad():
        module.twice.weight += 0.5
    found = qat.verify(module, images, path)
    first = next(name for name in found.tensors if name in found.other)
    assert found.first == first and "twice" in first and first in str(found)
    assert "/act" not in first


def test_export_refuses_codes_that_are_others(module, images, tmp_path, monkeypatch):
    wrong = qat.module.QatModule.codes

    def others(self, *x, **options):
        return {name: codes + 1 for name, codes in wrong(self, *x, **options).items()}

    monkeypatch.setattr(qat.module.QatModule, "codes", others)
    with pytest.raises(OutputError, match="part"):
        qat.export(module, str(tmp_path / "net.ms"), verify=images)
    assert not list(tmp_path.iterdir())


def test_the_exporter_of_torch_is_refused_with_the_call_to_take(module, images):
    with pytest.raises(UsageError, match="no integers of this module") as caught:
        torch.onnx.export(module, (images,), io.BytesIO(), dynamo=False)
    assert "bitlite.qat.export(" in caught.value.hint


def test_training_and_evaluation_compute_the_same_once_norms_are_frozen(module, images, trained):
    trained(module, images, steps=2)
    module.train()
    module.freeze_norms()
    assert torch.equal(module(images), module.eval()(images))


def test_norms_follow_the_batch_until_they_are_frozen(images):
    module = qat.prepare(Residual(), images[:2], data=images, freeze_norms_after=2).train()
    seen = []
    for _ in range(4):
        module(images)
        seen.append(module.bn.running_mean.clone())
    assert not torch.equal(seen[0], seen[1]) and torch.equal(seen[1], seen[3])


def test_parameters_keep_their_names_and_a_state_loads(module, images, trained):
    names = set(Residual().state_dict())
    trained(module, images)
    state = module.state_dict()
    assert names <= set(state) and all(name in names or name.startswith("bitlite.") for name in state)
    other = qat.prepare(Residual(), images[:2], data=images * 3, weights=4).eval()
    assert not torch.equal(other(images), module(images))
    other.load_state_dict(state)
    assert torch.equal(other(images), module(images))


def test_scales_learn(module, images, trained):
    before = [p.clone() for p in (module.bitlite.activations.ratio, *(s.ratio for s in module.bitlite.weights))]
    trained(module, images)
    after = [module.bitlite.activations.ratio, *(s.ratio for s in module.bitlite.weights)]
    assert all(not torch.equal(a, b) for a, b in zip(before, after))


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_weights_stay_within_their_bits(images, trained, tmp_path, bits):
    module = qat.prepare(Residual(), images[:2], data=images, weights={"": bits, "fc": 8})
    trained(module, images, steps=3)
    assert qat.verify(module, images).other == {}
    codes = {t.name: t.value for t in module.graph().constants() if t.dtype == np.int8 and t.quant.axis is not None}
    low, high = -(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1
    for name, value in codes.items():
        limit = 127 if name.startswith("fc") else high
        assert -limit <= value.min() and value.max() <= limit and value.any(), (name, low)
    path = str(tmp_path / "net.ms")
    qat.export(module, path)
    assert {t.quant.bits for t in read_model(path).constants() if t.dtype == np.int8} == {bits, 8}


@pytest.mark.parametrize(
    "activations, wide, narrow",
    [
        (16, {"/conv/Conv", "/depthwise/Conv", "/Add", "/fc/Gemm"}, set()),
        ({"": 16, "depthwise": 8}, {"/conv/Conv", "/Add", "/fc/Gemm"}, {"/depthwise/Conv"}),
        ({"depthwise": 16, "type:Add": 16}, {"/depthwise/Conv", "/Add"}, {"/conv/Conv"}),
    ],
    ids=["all", "all but one", "some"],
)
def test_activations_of_16_bits_are_those_of_a_session_and_of_the_files(
    images, trained, tmp_path, activations, wide, narrow
):
    torch.manual_seed(1)
    module = qat.prepare(Residual(), images[:2], data=images, weights=4, activations=activations)
    trained(module, images)
    types = {n.name: n.outputs[0].dtype.name for n in module.graph().nodes}
    assert {types[name] for name in wide} == {"int16"} and {types[name] for name in narrow} <= {"int8"}
    codes = module.codes(images)
    assert max(abs(int(c.max())) for c in codes.values() if c.dtype == np.int16) > 127
    assert all(t.quant.symmetric for t in module.graph().tensors() if t.dtype == np.int16)
    for ending in ("ms", "tflite"):
        path = str(tmp_path / f"net.{ending}")
        qat.export(module, path, verify=images)
        found = qat.verify(module, images, path)
        assert found.other == {} and found.tensors == qat.verify(module, images).tensors


def test_an_onnx_with_16_bits_computes_in_float_between_nearly_the_same_codes(images, trained, tmp_path):
    module = qat.prepare(Residual(), images[:2], data=images, activations=16)
    trained(module, images)
    path = str(tmp_path / "net.onnx")
    qat.export(module, path, verify=images)
    found = qat.verify(module, images, path)
    assert found.tensors == qat.verify(module, images).tensors
    assert sum(found.other.values()) < 0.01 * found.codes


def test_16_bits_hold_small_values_beside_large_ones():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)).eval().requires_grad_(False)
    for layer in (net[0], net[2]):
        layer.weight.copy_(torch.eye(4))
    x = torch.rand(32, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1000.0, 1, 1, 1])
    far = {bits: (qat.prepare(net, x, activations=bits).eval()(x) - net(x))[:, 1:].abs().mean() for bits in (8, 16)}
    assert far[16] < 0.05 * far[8]


def test_layers_can_stay_in_float(images, trained):
    module = qat.prepare(Residual(), images[:2], data=images, keep_float=["depthwise", "re:.*fc.*"])
    trained(module, images)
    kinds = {n.name: n.inputs[1].dtype.kind for n in module.graph().nodes if n.op in ("Conv", "FullyConnected")}
    assert kinds["/depthwise/Conv"] == "f" and kinds["/conv/Conv"] == "i"
    assert qat.verify(module, images).other == {}


def test_control_flow_on_values_is_refused_with_its_line(images):
    class Deciding(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(UnsupportedError, match=r"control flow.*test_trained_is_written.*x\.sum\(\) > 0"):
        qat.prepare(Deciding(), images)


@pytest.mark.parametrize(
    "options, line",
    [
        ({"weights": 1}, "weights: 1 bits, allowed are 2 to 8"),
        ({"weights": {"fc": 9}}, "weights of 'fc': 9 bits"),
        ({"weights": {"nothing": 4}}, "'nothing' names no node"),
        ({"activations": 7}, "activations: 7 bits, allowed are 8 and 16"),
        ({"activations": {"fc": 4}}, "activations of 'fc': 4 bits"),
        ({"activations": {"nothing": 16}}, "'nothing' names no node"),
        ({"activations": {"re:(": 16}}, "activations: 're:(' is not a regular expression"),
        ({"keep_float": "re:("}, "is not a regular expression"),
    ],
)
def test_wrong_settings_are_one_line(images, options, line):
    with pytest.raises((UsageError, UnsupportedError), match=line.replace("(", r"\(")):
        qat.prepare(Residual(), images[:2], data=images, **options)
