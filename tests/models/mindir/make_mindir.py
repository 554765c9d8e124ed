"""Exports the small MINDIR networks of this folder:  python tests/models/mindir/make_mindir.py [FOLDER]

Weights and inputs are seeded; NAME.npz holds the inputs (in0, …) and the outputs (out0, …) that mindspore computed, so
that the tests need no mindspore. Needs mindspore 2.x for CPUs.
"""

from __future__ import annotations

import os
import sys

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops


class LeNet(nn.Cell):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, pad_mode="valid")
        self.conv2 = nn.Conv2d(6, 8, 5, pad_mode="valid", has_bias=True)
        self.pool = nn.MaxPool2d(kernel_size=2, stride=2)
        self.relu, self.flatten = nn.ReLU(), nn.Flatten()
        self.fc1, self.fc2, self.fc3 = nn.Dense(8 * 4 * 4, 24), nn.Dense(24, 16), nn.Dense(16, 10)

    def construct(self, x):
        x = self.pool(self.relu(self.conv1(x)))
        x = self.flatten(self.pool(self.relu(self.conv2(x))))
        return self.fc3(self.relu(self.fc2(self.relu(self.fc1(x)))))


class Block(nn.Cell):
    """Two convolutions beside a shortcut."""

    def __init__(self, ci, co, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(ci, co, 3, stride, pad_mode="pad", padding=1)
        self.conv2 = nn.Conv2d(co, co, 3, pad_mode="same")
        self.bn1, self.bn2, self.relu = nn.BatchNorm2d(co), nn.BatchNorm2d(co), nn.ReLU()
        self.short = nn.SequentialCell(nn.Conv2d(ci, co, 1, stride), nn.BatchNorm2d(co)) if stride > 1 else None

    def construct(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.short is None else self.short(x)))


class ResNet(nn.Cell):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 7, 2, pad_mode="pad", padding=3)
        self.bn, self.relu = nn.BatchNorm2d(8), nn.ReLU()
        self.pool = nn.MaxPool2d(kernel_size=3, stride=2, pad_mode="same")
        self.blocks = nn.SequentialCell(Block(8, 8, 1), Block(8, 16, 2))
        self.fc = nn.Dense(16, 7)

    def construct(self, x):
        x = self.blocks(self.pool(self.relu(self.bn(self.conv(x)))))
        x = ops.ReduceMean(keep_dims=True)(x, (2, 3))
        return ops.Softmax()(self.fc(ops.reshape(x, (x.shape[0], -1))))


class Inverted(nn.Cell):
    """An inverted residual of MobileNet, with squeeze and excitation where it is asked for."""

    def __init__(self, ci, co, stride, act, squeeze=False):
        super().__init__()
        wide = ci * 3
        self.body = nn.SequentialCell(
            nn.Conv2d(ci, wide, 1), nn.BatchNorm2d(wide), act(),
            nn.Conv2d(wide, wide, 3, stride, pad_mode="pad", padding=1, group=wide), nn.BatchNorm2d(wide), act(),
        )  # fmt: skip
        self.squeeze = squeeze
        if squeeze:
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.down, self.up = nn.Conv2d(wide, 4, 1, has_bias=True), nn.Conv2d(4, wide, 1, has_bias=True)
            self.relu, self.gate = nn.ReLU(), nn.HSigmoid()
        self.last = nn.SequentialCell(nn.Conv2d(wide, co, 1), nn.BatchNorm2d(co))
        self.add = stride == 1 and ci == co

    def construct(self, x):
        y = self.body(x)
        if self.squeeze:
            y = y * self.gate(self.up(self.relu(self.down(self.pool(y)))))
        y = self.last(y)
        return x + y if self.add else y


class MobileNet(nn.Cell):
    def __init__(self, act=nn.ReLU6, squeeze=False):
        super().__init__()
        self.features = nn.SequentialCell(
            nn.Conv2d(3, 8, 3, 2, pad_mode="pad", padding=1), nn.BatchNorm2d(8), act(),
            Inverted(8, 8, 1, act, squeeze), Inverted(8, 12, 2, act, squeeze), Inverted(12, 12, 1, act),
        )  # fmt: skip
        self.pool, self.drop, self.fc = nn.AvgPool2d(8), nn.Dropout(p=0.2), nn.Dense(12, 6)

    def construct(self, x):
        x = self.pool(self.features(x))
        return self.fc(self.drop(ops.flatten(x)))


class Sequence(nn.Cell):
    """The last step of a recurrent layer through a dense one."""

    def __init__(self, layer, size=8, hidden=12, **more):
        super().__init__()
        self.layer = layer(size, hidden, batch_first=True, **more)
        self.fc = nn.Dense(hidden * (2 if more.get("bidirectional") else 1), 5)

    def construct(self, x):
        y, _ = self.layer(x)
        return self.fc(y[:, -1])


class Encoder(nn.Cell):
    """Embedding and an encoder layer written out: attention of four heads, GELU, LayerNorm."""

    def __init__(self, words=20, size=16, heads=4):
        super().__init__()
        self.size, self.heads = size, heads
        self.embed = nn.Embedding(words, size)
        self.norm1, self.norm2 = nn.LayerNorm((size,)), nn.LayerNorm((size,))
        self.q, self.k, self.v, self.out = (nn.Dense(size, size) for _ in range(4))
        self.up, self.down, self.act = nn.Dense(size, 32), nn.Dense(32, size), nn.GELU()
        self.softmax = nn.Softmax()

    def split(self, x):
        n, t, _ = x.shape
        return ops.transpose(ops.reshape(x, (n, t, self.heads, -1)), (0, 2, 1, 3))

    def construct(self, ids):
        x = self.embed(ids)
        n, t, c = x.shape
        h = self.norm1(x)
        q, k, v = self.split(self.q(h)), self.split(self.k(h)), self.split(self.v(h))
        scores = ops.BatchMatMul(transpose_b=True)(q, k) / 2.0
        y = ops.BatchMatMul()(self.softmax(scores), v)
        x = x + self.out(ops.reshape(ops.transpose(y, (0, 2, 1, 3)), (n, t, c)))
        return x + self.down(self.act(self.up(self.norm2(x))))


class UNet(nn.Cell):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 6, 3, 2, pad_mode="same", has_bias=True)
        self.mid = nn.Conv2d(6, 8, 3, dilation=2, pad_mode="pad", padding=2, has_bias=True)
        self.up = nn.Conv2dTranspose(8, 6, 2, 2, pad_mode="valid", has_bias=True)
        self.last = nn.Conv2d(9, 4, 1, has_bias=True)
        self.act = nn.LeakyReLU(0.1)

    def construct(self, x):
        y = self.act(self.mid(self.act(self.down(x))))
        wide = ops.concat((self.act(self.up(y)), x), 1)
        y = self.last(wide)
        y = ops.interpolate(y, size=(24, 24), mode="bilinear", align_corners=True)
        return ops.sigmoid(y), ops.argmax(y, 1)


class Fire(nn.Cell):
    """SqueezeNet's block, with a PReLU and pools of several kinds."""

    def __init__(self):
        super().__init__()
        self.squeeze = nn.Conv2d(4, 3, 1, has_bias=True)
        self.left, self.right = nn.Conv2d(3, 5, 1, has_bias=True), nn.Conv2d(3, 5, 3, has_bias=True)
        self.act = nn.PReLU(3, 0.2)
        self.average = nn.AvgPool2d(3, 2, pad_mode="same")
        self.lrn = nn.LRN(3, 1.0, 0.001, 0.75)

    def construct(self, x):
        y = self.act(self.squeeze(x))
        y = ops.concat((self.left(y), self.right(y)), 1)
        y = self.average(self.lrn(ops.relu(y)))
        a, b = ops.split(y, 5, 1)
        return ops.maximum(a, b), ops.square(a) - ops.sqrt(ops.abs(b) + 1.0)


class TextCnn(nn.Cell):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(30, 12)
        self.conv1, self.conv2 = nn.Conv1d(12, 8, 3, has_bias=True), nn.Conv1d(12, 8, 5, pad_mode="valid")
        self.fc = nn.Dense(16, 3)

    def construct(self, ids):
        x = ops.transpose(self.embed(ids), (0, 2, 1))
        a, b = ops.relu(self.conv1(x)), ops.tanh(self.conv2(x))
        y = ops.concat((ops.ReduceMax()(a, 2), ops.ReduceMax()(b, 2)), 1)
        return ops.log_softmax(self.fc(y), -1)


class Shapes(nn.Cell):
    """Operators that move, choose and count elements."""

    def __init__(self):
        super().__init__()
        self.bias = Parameter(Tensor(np.arange(6, dtype=np.float32).reshape(1, 1, 6)), "bias")

    def construct(self, x, y):
        a = x[:, 1:3, ::2]
        b = ops.stack((y, y * 2.0), 1)
        c = ops.tile(a, (1, 2, 1))
        d = ops.pad(x, (1, 2, 0, 1), mode="constant", value=0.5)
        e = ops.expand_dims(ops.squeeze(b[:, :1], 1), -1)
        f = ops.gather(x, Tensor([2, 0], ms.int32), 1)
        g = ops.select(x > 0.0, x, self.bias - x)
        h = ops.broadcast_to(y, (3, *y.shape)).sum(0) / ops.cast(ops.prod(y > -9.0), ms.float32)
        i = ops.clamp(x, -0.5, 0.75)
        return c, d, e, f, g, h, i, ops.strided_slice(x, (0, 0, 1), (2, 4, 6), (1, 3, 2)), ops.pow(i, 2.0)


class Activations(nn.Cell):
    """One after the other, each as an output."""

    def __init__(self):
        super().__init__()
        self.layers = nn.CellList([
            nn.ReLU(), nn.ReLU6(), nn.Sigmoid(), nn.Tanh(), nn.HSwish(), nn.HSigmoid(), nn.ELU(1.0), nn.LeakyReLU(0.2),
            nn.GELU(), nn.GELU(False), nn.SiLU(), nn.Softsign(), nn.Mish(), nn.LogSigmoid(), nn.Hardtanh(), nn.SeLU(),
        ])  # fmt: skip

    def construct(self, x):
        found = ()
        for cell in self.layers:
            found += (cell(x),)
        return (*found, ops.softplus(x), ops.exp(x), ops.floor(x), ops.neg(x), ops.rsqrt(ops.abs(x) + 0.5), ops.erf(x))


class Norms(nn.Cell):
    def __init__(self):
        super().__init__()
        self.group, self.instance = nn.GroupNorm(2, 6), nn.InstanceNorm2d(6)
        self.layer, self.shuffle = nn.LayerNorm((5,)), nn.PixelShuffle(1)

    def construct(self, x):
        y = self.layer(self.group(x))
        unit = ops.L2Normalize(1)(y)
        depth = ops.DepthToSpace(2)(ops.concat((unit, y[:, :2]), 1))
        return unit, depth, ops.SpaceToDepth(2)(depth), ops.mean(y, (2, 3)), ops.ReduceSum()(y, 1)


def networks():
    """name → (network, shapes of its inputs, or the values that indices are below)."""
    return {
        "lenet": (LeNet(), [(1, 1, 28, 28)]),
        "resnet": (ResNet(), [(1, 3, 32, 32)]),
        "mobilenet_v2": (MobileNet(), [(1, 3, 32, 32)]),
        "mobilenet_v3": (MobileNet(nn.HSwish, True), [(1, 3, 32, 32)]),
        "lstm": (Sequence(nn.LSTM), [(1, 6, 8)]),
        "lstm_both": (Sequence(nn.LSTM, num_layers=2, bidirectional=True), [(2, 5, 8)]),
        "gru": (Sequence(nn.GRU), [(1, 3, 8)]),
        "rnn": (Sequence(nn.RNN), [(1, 3, 8)]),
        "encoder": (Encoder(), [((1, 6), 20)]),
        "unet": (UNet(), [(1, 3, 16, 16)]),
        "fire": (Fire(), [(1, 4, 11, 9)]),
        "text_cnn": (TextCnn(), [((2, 9), 30)]),
        "shapes": (Shapes(), [(2, 4, 6), (3, 5)]),
        "activations": (Activations(), [(3, 7)]),
        "norms": (Norms(), [(2, 6, 4, 5)]),
    }


def seeded(network, rng):
    """Weights as a seed draws them; variances are positive."""
    for p in network.get_parameters():
        values = rng.standard_normal(p.shape) * (0.6 / max(np.prod(p.shape[1:]), 1) ** 0.5 if p.ndim > 1 else 0.3)
        if "variance" in p.name or p.name.endswith("gamma"):
            values = np.abs(values) + 0.5
        p.set_data(Tensor(values.astype(np.float32)))
    network.set_train(False)


def main() -> int:
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    only = sys.argv[2:]
    ms.set_context(mode=ms.GRAPH_MODE, device_target="CPU")
    failed = 0
    for name, (network, shapes) in networks().items():
        if only and name not in only:
            continue
        rng = np.random.default_rng(sum(map(ord, name)))
        seeded(network, rng)
        inputs = [
            rng.integers(0, s[1], s[0]).astype(np.int32) if isinstance(s[0], tuple)
            else rng.standard_normal(s).astype(np.float32)
            for s in shapes
        ]  # fmt: skip
        tensors = [Tensor(a) for a in inputs]
        try:
            found = network(*tensors)
            path = os.path.join(folder, name)
            ms.export(network, *tensors, file_name=path, file_format="MINDIR")
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)
            failed += 1
            continue
        os.chmod(path + ".mindir", 0o644)
        outputs = found if isinstance(found, tuple) else (found,)
        arrays = {f"in{i}": a for i, a in enumerate(inputs)} | {f"out{i}": t.asnumpy() for i, t in enumerate(outputs)}
        np.savez_compressed(path + ".npz", **arrays)
        print(f"{name}: {os.path.getsize(path + '.mindir')} bytes")
    return failed


if __name__ == "__main__":
    sys.exit(main())
