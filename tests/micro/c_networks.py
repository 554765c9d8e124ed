"""Small networks of the kinds that microcontrollers run, written as .tflite with seeded weights."""

from __future__ import annotations

import math

import numpy as np
from bitlite.converter.formats import tflite_write
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder


class Net:
    """Emits layers with random weights."""

    def __init__(self, name, shape):
        self.graph, self.rng = Graph(name), np.random.default_rng(2)
        self.builder = Builder(self.graph)
        self.y = self.builder.input("image", np.dtype(np.float32), shape)

    def weights(self, *shape):
        fan = math.prod(shape[1:]) or 1
        return self.builder.constant((self.rng.normal(0, 1, shape) / math.sqrt(fan)).astype(np.float32), "w")

    def bias(self, n):
        return self.builder.constant(self.rng.normal(0, 0.1, n).astype(np.float32), "b")

    def emit(self, op, *inputs, **attrs):
        self.y = self.builder.emit(op, [self.y, *inputs], attrs)[0]
        return self.y

    def conv(self, channels, kernel=3, stride=1, act="relu", depthwise=False):
        c = self.y.shape[-1]
        w = self.weights(channels, kernel, kernel, 1 if depthwise else c)
        attrs = {"stride": [stride] * 2, "dilation": [1, 1], "pad": [0] * 4, "pad_mode": "same_upper", "act": act}
        return self.emit("Conv", w, self.bias(channels), group=c if depthwise else 1, **attrs)

    def dense(self, n, act="none"):
        return self.emit("FullyConnected", self.weights(n, self.y.shape[-1]), self.bias(n), keep_dims=True, act=act)

    def save(self, path, outputs=None):
        self.graph.outputs = outputs or [self.y]
        tflite_write.write(self.graph, str(path))
        return path


def residual(path):
    """Convolutions, an addition, pools, a join, softmax: what ResNet-8 and SqueezeNet are made of."""
    net = Net("residual", (1, 12, 12, 3))
    x = net.conv(8)
    net.conv(8, act="none")
    net.emit("Add", x, act="relu")
    net.emit("MaxPool", kernel=[2, 2], stride=[2, 2], dilation=[1, 1], pad=[0] * 4)
    left = net.conv(8, 1)
    net.emit("AveragePool", kernel=[3, 3], stride=[1, 1], dilation=[1, 1], pad=[1] * 4)
    net.emit("Concat", left, axis=-1)
    net.emit("Reduce", mode="mean", axes=[1, 2], keep_dims=False)
    net.dense(5)
    net.emit("Softmax")
    return net.save(path)


def keywords(path):
    """Depthwise convolutions, as networks that spot keywords have them."""
    net = Net("keywords", (1, 13, 10, 1))
    net.conv(16, 4, 2)
    for _ in range(2):
        net.conv(16, 3, depthwise=True, act="relu6")
        net.conv(16, 1)
    net.emit("Reduce", mode="mean", axes=[1, 2], keep_dims=False)
    net.dense(6)
    net.emit("Softmax")
    return net.save(path)


def autoencoder(path):
    """Dense layers alone."""
    net = Net("autoencoder", (1, 40))
    for n in (24, 8, 24):
        net.dense(n, "relu")
    net.dense(40)
    return net.save(path)


NETWORKS = {"residual": residual, "keywords": keywords, "autoencoder": autoencoder}


def samples(path, n=8):
    """Calibration data of the model."""
    import bitlite

    port = bitlite.load(str(path)).inputs[0]
    rng = np.random.default_rng(4)
    return [{port.name: rng.normal(0, 1, port.shape).astype(np.float32)} for _ in range(n)]
