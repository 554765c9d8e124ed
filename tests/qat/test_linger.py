"""linger's workflows, line by line."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from bitlite import qat
from bitlite.converter.errors import UsageError
from bitlite.qat import linger
from torch import nn

_MODULES = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, linger.NormalizeConvBN2d)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 10)

    def forward(self, x):
        return self.fc(F.relu(self.bn(self.conv(x))).mean((2, 3)))


@pytest.fixture
def images():
    return torch.randn(24, 3, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def example():
    return torch.zeros(1, 3, 8, 8)


def normalized(example):
    net = Net()
    linger.disable_normalize(net.fc)
    linger.trace_layers(net, net, example)
    return linger.normalize_layers(
        net, normalize_modules=_MODULES, normalize_weight_value=8, normalize_bias_value=8, normalize_output_value=8
    )


def test_straight_to_integers(images, example, trained, tmp_path):
    net = Net()
    linger.trace_layers(net, net, example, fuse_bn=True)
    torch.save(net.state_dict(), tmp_path / "float.pt")
    net = linger.init(net, quant_modules=(nn.Conv2d, linger.NormalizeConvBN2d, nn.Linear))
    net.load_state_dict(torch.load(tmp_path / "float.pt"))
    losses = trained(net, images)
    assert losses[-1] < losses[0]
    assert qat.verify(net, images).other == {}
    qat.export(net, tmp_path / "net.ms", verify=images)
    assert qat.verify(net, images, tmp_path / "net.ms").other == {}


def test_normalize_train_then_integers(images, example, trained, tmp_path):
    net = normalized(example)
    assert net.conv.normalize_data == 8 and net.conv.ahead_relu and type(net.fc) is nn.Linear
    assert isinstance(net.bn, linger.EmptyBatchNorm)
    assert {"conv.conv.weight", "conv.bn.running_mean", "fc.bias"} <= set(net.state_dict())
    assert all(name in repr(net) for name in ("normalize_data", "normalize_weight", "normalize_bias", "ahead_relu"))
    trained(net, images)
    torch.save(net.state_dict(), tmp_path / "normalize.pt")

    net = normalized(example)
    linger.disable_quant(net.fc)
    net = linger.init(net)
    net.load_state_dict(torch.load(tmp_path / "normalize.pt"))
    trained(net, images)
    assert qat.verify(net, images).other == {}
    layer = next(node for node in net.graph().nodes if node.op == "FullyConnected")
    assert all(t is None or t.dtype == "f4" for t in layer.inputs)


def test_normalize_without_training_then_integers(images, example, tmp_path):
    torch.manual_seed(0)
    net = normalized(example).eval()
    torch.save(net.state_dict(), tmp_path / "float.pt")
    expected = net(images)
    net = linger.init(normalized(example))
    net.load_state_dict(torch.load(tmp_path / "float.pt"))
    net.eval()
    error = (net(images) - expected).square().mean() / expected.square().mean()
    assert error < 1e-2  # scales come from the images, not from the zeros of the example
    assert qat.verify(net, images).other == {}


def test_a_state_dict_from_before_the_layers_were_joined_loads_at_each_stage(images, example):
    plain = Net().eval()
    wanted = plain(images)
    traced = Net()
    linger.trace_layers(traced, traced, example)
    for net in (traced, normalized(example), linger.init(normalized(example))):
        net.load_state_dict(plain.state_dict())
        error = (net.eval()(images) - wanted).square().mean() / wanted.square().mean()
        assert error < 1e-2


def test_what_was_trained_on_integers_is_loaded_with_its_scales(images, example, trained, tmp_path):
    net = Net()
    linger.trace_layers(net, net, example)
    net = linger.init(net, parameter_bits=4)
    trained(net, images)
    torch.save(net.state_dict(), tmp_path / "integers.pt")
    again = Net()
    linger.trace_layers(again, again, example)
    again = linger.init(again, parameter_bits=4)
    again.load_state_dict(torch.load(tmp_path / "integers.pt"))
    assert torch.equal(again.eval()(images), net.eval()(images))


def test_an_optimizer_made_before_the_first_run_trains_the_scales(images, example):
    net = Net()
    linger.trace_layers(net, net, example)
    net = linger.init(net)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    F.cross_entropy(net(images), torch.arange(24) % 10).backward()
    before = net.bitlite.activations.ratio.clone()
    optimizer.step()
    assert not torch.equal(net.bitlite.activations.ratio, before)


def test_bounds_of_a_joined_layer_are_of_the_folded_weight(images, example):
    net = normalized(example)
    net.conv.normalize_weight = net.conv.normalize_bias = 1e3
    net.conv.normalize_data = None
    for training in (True, False):
        net.train(training)
        assert torch.allclose(net.conv(images), net.conv.bn(net.conv.conv(images)), atol=1e-5)
    net.conv.normalize_weight = 1e-6
    assert net.conv(images).std((0, 2, 3)).max() < 1e-3


def test_a_convolution_that_something_else_reads_stays_apart(example):
    class Tapped(Net):
        def forward(self, x):
            y = self.conv(x)
            return self.fc((self.bn(y) + y).mean((2, 3)))

    net = Tapped()
    linger.trace_layers(net, net, example)
    assert type(net.conv) is nn.Conv2d and type(net.bn) is nn.BatchNorm2d
    assert net.training and net.bn.training


def test_without_inputs_init_says_what_is_missing():
    with pytest.raises(UsageError, match="no inputs are known"):
        linger.init(Net())
    with pytest.raises(UsageError, match="bits=4"):
        linger.quant_tensor(Net(), torch.zeros(1), "x", bits=4)
