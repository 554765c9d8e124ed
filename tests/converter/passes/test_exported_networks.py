"""Small networks as exporters write them, through the ONNX reader and all passes, against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.formats import onnx as onnx_format
from bitlite.converter.passes import GENERAL, run_passes

TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


class Export:
    """Writes an ONNX graph node by node: `b("Relu", x)`; weights are random."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(1)
        self.nodes, self.constants = [], []

    def const(self, values, dtype=np.float32):
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def w(self, *shape, scale=0.3):
        return self.const(self.rng.normal(size=shape) * scale)

    def ints(self, *values):
        return self.const(values, np.int64)

    def __call__(self, op, *inputs, outputs=1, **attrs):
        from onnx import helper

        names = [f"{op}_{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"{op}_{len(self.nodes)}", **attrs))
        return names[0] if outputs == 1 else names

    def save(self, path, result, shape):
        import onnx
        from onnx import helper

        x = helper.make_tensor_value_info("x", 1, shape)
        y = helper.make_tensor_value_info(result, 1, None)
        graph = helper.make_graph(self.nodes, "net", [x], [y], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(model, path)

    def block(self, x, ci, co, k=3, s=1, group=1, act="Relu"):
        """Conv, BatchNormalization and an activation."""
        y = self("Conv", x, self.w(co, ci // group, k, k), strides=[s, s], pads=[k // 2] * 4, group=group)
        variance = self.const(self.rng.uniform(0.5, 1.5, co))
        y = self("BatchNormalization", y, self.w(co), self.w(co), self.w(co), variance)
        if act == "HardSwish":
            gate = self("Clip", self("Add", y, self.const(3)), self.const(0), self.const(6))
            return self("Div", self("Mul", y, gate), self.const(6))
        if act == "Swish":
            return self("Mul", y, self("Sigmoid", y))
        return self(act, y) if act else y


def mobile(b, x):
    """Inverted residual with squeeze and excitation (MobileNetV3)."""
    y = b.block(x, 3, 16, s=2, act="HardSwish")
    z = b.block(y, 16, 16, group=16)
    p = b("Relu", b("Conv", b("GlobalAveragePool", z), b.w(8, 16, 1, 1), b.w(8)))
    p = b("HardSigmoid", b("Conv", p, b.w(16, 8, 1, 1), b.w(16)), alpha=1 / 6, beta=0.5)
    y = b("Add", y, b.block(b("Mul", z, p), 16, 16, k=1, act=None))
    y = b("Flatten", b("GlobalAveragePool", b.block(y, 16, 24)), axis=1)
    return b("Gemm", y, b.w(10, 24), b.w(10), transB=1)


def shuffle(b, x):
    """Channel split and shuffle (ShuffleNetV2)."""
    left, right = b("Split", b.block(x, 3, 16), outputs=2, axis=1)
    right = b.block(b.block(right, 8, 8, group=8, act=None), 8, 8, k=1)
    y = b("Reshape", b("Concat", left, right, axis=1), b.ints(1, 2, 8, 16, 16))
    y = b("Reshape", b("Transpose", y, perm=[0, 2, 1, 3, 4]), b.ints(1, 16, 16, 16))
    return b.block(y, 16, 4)


def unet(b, x):
    """Encoder, decoder, skip connections."""
    one = b.block(x, 3, 8)
    two = b.block(b("MaxPool", one, kernel_shape=[2, 2], strides=[2, 2]), 8, 16)
    three = b.block(b("MaxPool", two, kernel_shape=[2, 2], strides=[2, 2]), 16, 32)
    y = b("ConvTranspose", three, b.w(32, 16, 2, 2), b.w(16), strides=[2, 2])
    y = b.block(b("Concat", y, two, axis=1), 32, 16)
    y = b("Resize", y, "", b.const([1, 1, 2, 2]), mode="nearest", coordinate_transformation_mode="asymmetric")
    y = b.block(b("Concat", y, one, axis=1), 24, 8)
    return b("Sigmoid", b("Conv", y, b.w(2, 8, 1, 1), b.w(2)))


def detector(b, x):
    """Focus slices, pooling pyramid, boxes from a reshaped grid (YOLOv5)."""
    ends = b.ints(100, 100)
    parts = [b("Slice", x, b.ints(i, j), ends, b.ints(2, 3), b.ints(2, 2)) for i in (0, 1) for j in (0, 1)]
    y = b.block(b("Concat", *parts, axis=1), 12, 16, act="Swish")
    pools = [b("MaxPool", y, kernel_shape=[k, k], strides=[1, 1], pads=[k // 2] * 4) for k in (3, 5)]
    y = b("Conv", b("Concat", y, *pools, axis=1), b.w(18, 48, 1, 1), b.w(18))
    y = b("Transpose", b("Reshape", y, b.ints(1, 3, 6, 8, 8)), perm=[0, 1, 3, 4, 2])
    at, size, score = b("Split", b("Sigmoid", y), b.ints(2, 2, 2), outputs=3, axis=4)
    at = b("Mul", b("Add", b("Mul", at, b.const(2)), b.w(1, 3, 8, 8, 2)), b.const(8))
    return b("Reshape", b("Concat", at, b("Pow", size, b.const(2)), score, axis=4), b.ints(1, -1, 6))


def flattened(b, x):
    """Convolutions, a flatten of several pixels, dense layers (VGG)."""
    y = b("MaxPool", b.block(x, 3, 8), kernel_shape=[2, 2], strides=[2, 2])
    y = b("AveragePool", y, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, count_include_pad=1)
    y = b("Gemm", b("Flatten", y, axis=1), b.w(20, 128), b.w(20), transB=1)
    return b("Softmax", b("Gemm", b("Dropout", b("Relu", y)), b.w(10, 20), b.w(10), transB=1), axis=1)


def transformer(b, x):
    """Patches, attention, LayerNorm and Gelu in their parts (ViT)."""

    def norm(v):
        d = b("Sub", v, b("ReduceMean", v, axes=[-1]))
        s = b("Sqrt", b("Add", b("ReduceMean", b("Pow", d, b.const(2)), axes=[-1]), b.const(1e-5)))
        return b("Add", b("Mul", b("Div", d, s), b.w(32)), b.w(32))

    def dense(v, i, o):
        return b("Add", b("MatMul", v, b.w(i, o, scale=0.2)), b.w(o))

    y = b("Reshape", b("Conv", x, b.w(32, 3, 4, 4), b.w(32), strides=[4, 4]), b.ints(1, 32, 16))
    y = b("Concat", b.w(1, 1, 32), b("Transpose", y, perm=[0, 2, 1]), axis=1)
    heads = b("Reshape", dense(norm(y), 32, 96), b.ints(1, 17, 3, 4, 8))
    heads = b("Transpose", heads, perm=[2, 0, 3, 1, 4])
    q, k, v = (b("Gather", heads, b.const(j, np.int64), axis=0) for j in range(3))
    s = b("Softmax", b("Mul", b("MatMul", q, b("Transpose", k, perm=[0, 1, 3, 2])), b.const(8**-0.5)), axis=-1)
    s = b("Reshape", b("Transpose", b("MatMul", s, v), perm=[0, 2, 1, 3]), b.ints(1, 17, 32))
    y = b("Add", y, dense(s, 32, 32))
    f = dense(norm(y), 32, 64)
    f = b("Mul", b("Mul", f, b("Add", b("Erf", b("Div", f, b.const(2**0.5))), b.const(1))), b.const(0.5))
    return b("Add", y, dense(f, 64, 32))


@pytest.mark.parametrize(
    ("network", "operators", "transposes"),
    [
        (mobile, "Add Conv FullyConnected HardSigmoid HardSwish Mul Reduce Reshape", [TO_LAST]),
        (shuffle, "Concat Conv Reshape Split", [[0, 1, 2, 4, 3], TO_LAST, TO_FIRST]),
        (unet, "Concat Conv ConvTranspose MaxPool Resize Sigmoid", [TO_LAST, TO_FIRST]),
        (detector, "Add Concat Conv MaxPool Mul Reshape Sigmoid Slice Split Square Swish", [TO_LAST, [0, 3, 1, 2, 4]]),
        (flattened, "AveragePool Conv FullyConnected MaxPool Reshape Softmax", [TO_LAST]),
        (
            transformer,
            "Add Concat Conv FullyConnected Gather Gelu LayerNorm MatMul Mul Reshape Softmax",
            [[0, 2, 1, 3], TO_LAST, [2, 0, 3, 1, 4]],
        ),
    ],
)
def test_an_exported_network(tmp_path, outputs_of, network, operators, transposes):
    import onnxruntime

    path, b = str(tmp_path / "net.onnx"), Export()
    b.save(path, network(b, "x"), [1, 3, 16, 16])
    x = np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32)
    (wanted,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    graph = onnx_format.read(path)
    run_passes(graph, GENERAL)
    (actual,) = outputs_of(graph, {"x": x}).values()
    assert np.abs(actual - wanted).max() <= 2e-5 * np.ptp(wanted)
    assert sorted({n.op for n in graph.nodes} - {"Transpose"}) == operators.split()
    assert sorted(n.attrs["perm"] for n in graph.nodes if n.op == "Transpose") == sorted(transposes)
