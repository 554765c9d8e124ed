"""A file becomes a module, learns from itself in float, and is written again."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from bitlite import Session, convert, load, qat
from bitlite.converter.errors import DataError, UnsupportedError, UsageError
from torch import nn


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A float .onnx of a network with a fixed batch of 1 that tells which row of its inputs is bright, and inputs."""
    torch.manual_seed(2)
    net = nn.Sequential(
        nn.Conv2d(2, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(256, 6), nn.Softmax(1),
    )  # fmt: skip
    x = np.random.default_rng(0).normal(size=(256, 2, 8, 8)).astype(np.float32)
    rows = np.arange(256) % 6
    x[np.arange(256), :, rows] += 1
    inputs, target = torch.from_numpy(x), torch.from_numpy(rows)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.nll_loss((net(inputs) + 1e-6).log(), target).backward()
        optimizer.step()
    path = str(tmp_path_factory.mktemp("source") / "net.onnx")
    torch.onnx.export(net.eval(), (torch.randn(1, 2, 8, 8),), path, dynamo=False)
    return path, x


def error(graph_or_path, source, x) -> float:
    session = Session(graph_or_path) if not isinstance(graph_or_path, str) else load(graph_or_path)
    plain = load(source)
    pairs = [
        (next(iter(session.run(x[k : k + 1]).values())), next(iter(plain.run(x[k : k + 1]).values())))
        for k in range(32)
    ]
    return float(np.mean([np.abs(a - b).mean() for a, b in pairs]))


def test_low_bits_come_nearer_to_float_than_where_they_begin(source):
    path, x = source
    before = error(qat.from_file(path, x, weights=2).graph(), path, x)
    module = qat.finetune(path, x, weights=2, steps=80, batch=32, rate=1e-2)
    assert error(module.graph(), path, x) < 0.7 * before
    assert qat.verify(module, [(torch.from_numpy(x[k : k + 1]),) for k in range(8)]).other == {}


def test_what_is_written_is_what_was_trained(source, tmp_path):
    path, x = source
    module = qat.finetune(path, x, weights=4, steps=5)
    written = str(tmp_path / "net.tflite")
    qat.export(module, written, verify=torch.from_numpy(x[:4]))
    assert qat.verify(module, [(torch.from_numpy(x[:1]),)], written).other == {}


def test_it_begins_at_what_post_training_gives(source, tmp_path):
    path, x = source
    out = str(tmp_path / "net.tflite")
    convert(path, out, quant_type="PostTraining", bit_num=3, calibration_data=x[:100], output_format=["TFLITE"])
    module = qat.from_file(path, x[:100], weights=3)
    assert qat.verify(module, [(torch.from_numpy(x[k : k + 1]),) for k in range(8)], out).other == {}


def test_no_step_is_kept_that_is_worse_on_samples_held_back(source):
    path, x = source
    began = qat.from_file(path, x, weights=4)
    ruined = qat.finetune(path, x, weights=4, steps=10, rate=10.0)
    inputs = torch.from_numpy(x[:4])
    first, second = began.codes(inputs), ruined.codes(inputs)
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_labels_teach_what_the_float_model_does_not_know(source):
    path, x = source
    labels = (x[..., :4].mean((1, 2, 3)) > x[..., 4:].mean((1, 2, 3))).astype(int)

    def right(module):
        with torch.no_grad():
            return float(np.mean(module.eval()(torch.from_numpy(x)).argmax(1).numpy() == labels))

    taught = qat.finetune(path, x, labels=labels, weights=4, batch=32, rate=1e-2, augment="mix", steps=60)
    assert right(taught) > right(qat.from_file(path, x, weights=4)) + 0.05


@pytest.mark.parametrize("labels, line", [([0] * 127, "127 for 256"), ([6] * 256, "6 to 6 for outputs")])
def test_labels_that_do_not_fit_are_one_line(source, labels, line):
    with pytest.raises(DataError, match=line):
        qat.finetune(*source, labels=labels)


def test_an_unknown_change_of_images_is_one_line(source):
    with pytest.raises(UsageError, match="'rotate' is unknown, allowed are flip, shift, mix"):
        qat.finetune(*source, augment="rotate")


def test_the_same_seed_gives_the_same_codes(source):
    path, x = source
    first, second = (qat.finetune(path, x, weights=4, steps=3).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_integer_model_is_refused(source, tmp_path):
    path, x = source
    out = str(tmp_path / "int8.onnx")
    convert(path, out, quant_type="PostTraining", calibration_data=x, output_format=["ONNX"])
    with pytest.raises(UnsupportedError, match="computes on codes already"):
        qat.finetune(out, x)


def test_no_data_is_one_line(source):
    with pytest.raises(DataError, match=r"inputs of \[0\] samples"):
        qat.finetune(source[0], source[1][:0])


def test_a_teacher_adds_its_distance(trained):
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)), torch.randn(32, 6)
    student = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
    module = qat.prepare(student, x, weights=4, teacher=net).train()
    optimizer, losses = torch.optim.Adam(module.parameters(), 1e-2), []
    for _ in range(60):
        module(x)
        optimizer.zero_grad()
        module.distillation_loss.backward()
        optimizer.step()
        losses.append(float(module.distillation_loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    assert not any(name.startswith("teacher") for name in module.state_dict())


def test_windows_of_the_same_size_train_as_a_session_runs_them(tmp_path):
    """SAME padding, uneven at stride 2, of an input whose sizes the file leaves open until it is fed."""
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(2, 8, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(8, 4, 1))
    path = str(tmp_path / "net.onnx")
    torch.onnx.export(net.eval(), (torch.randn(1, 2, 9, 9),), path, dynamo=False)
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type in ("Conv", "MaxPool"):
            kept = [a for a in node.attribute if a.name != "pads"]
            del node.attribute[:]
            node.attribute.extend([*kept, onnx.helper.make_attribute("auto_pad", "SAME_UPPER")])
    for value in (*model.graph.input, *model.graph.output):
        for k in (2, 3):
            value.type.tensor_type.shape.dim[k].dim_param = f"size{k}"
    del model.graph.value_info[:]
    onnx.save(model, path)
    x = np.random.default_rng(0).normal(size=(16, 2, 10, 10)).astype(np.float32)
    module = qat.finetune(path, x, steps=2, batch=8)
    assert qat.verify(module, [(torch.from_numpy(x[k : k + 1]),) for k in range(8)]).other == {}
