"""Trains small networks with other tools' quantization and exports them:  python tests/models/qat/export.py NAME…

NAME.onnx in this folder, with the versions that wrote the files there: torchao_x86, torchao_xnnpack (torchao 0.18),
eager_fbgemm (torch 2.13), brevitas_w8a8, brevitas_w4a4 (Brevitas 0.13), each with a few steps on random images; nncf
(NNCF 3.4, from eager's float network as ONNX). None of these packages is needed for anything else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

FOLDER = Path(__file__).parent
SHAPE = (8, 3, 8, 8)


def network(add: Callable[[Any, Any], Any] = lambda a, b: a + b) -> Any:
    """Convolutions, a depthwise one, a residual sum, pools, a dense layer."""
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 8, 3, padding=1)
            self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.second, self.dense = nn.Conv2d(8, 8, 1), nn.Linear(8, 5)

        def forward(self, x: Any) -> Any:
            x = torch.relu(self.first(x))
            x = torch.nn.functional.max_pool2d(self.second(add(torch.relu(self.depthwise(x)), x)), 2)
            return self.dense(x.mean((2, 3)))

    return Net()


def trained(module: Any) -> Any:
    """A few steps towards random classes; gives the images."""
    import torch

    x, optimizer = torch.randn(SHAPE), torch.optim.SGD(module.parameters(), 1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(x), torch.arange(len(x)) % 5).backward()
        optimizer.step()
    return x


def torchao(name: str) -> None:
    import torch
    from torchao.quantization.pt2e import move_exported_model_to_eval
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_qat_pt2e

    if name.endswith("x86"):
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as kind

        quantizer = kind.X86InductorQuantizer()
        quantizer.set_global(kind.get_default_x86_inductor_quantization_config(is_qat=True))
    else:
        from torchao.testing.pt2e import _xnnpack_quantizer as kind

        quantizer = kind.XNNPACKQuantizer()
        quantizer.set_global(kind.get_symmetric_quantization_config(is_per_channel=True, is_qat=True))
    graph = torch.export.export(network(), (torch.randn(SHAPE),)).module()
    module = prepare_qat_pt2e(graph, quantizer)
    x = trained(module)
    module = convert_pt2e(module)
    move_exported_model_to_eval(module)
    torch.onnx.export(module, (x,), str(FOLDER / f"{name}.onnx"), dynamo=True, external_data=False)


def eager(name: str) -> None:
    import torch
    from torch.ao import quantization

    torch.backends.quantized.engine = "fbgemm"
    # A sum is a module of its own there, which is replaced in place.
    net = network(lambda a, b: net.sums.add(a, b))
    net.sums = torch.ao.nn.quantized.FloatFunctional()
    module = torch.nn.Sequential(quantization.QuantStub(), net, quantization.DeQuantStub())
    module.qconfig = quantization.get_default_qat_qconfig("fbgemm")
    module = quantization.prepare_qat(module.train(), inplace=True)
    x = trained(module)
    converted = quantization.convert(module.eval(), inplace=True)
    torch.onnx.export(converted, (x,), str(FOLDER / f"{name}.onnx"), dynamo=False, opset_version=17)


def brevitas(name: str) -> None:
    import brevitas.nn as qnn
    from brevitas.export import export_onnx_qcdq
    from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerChannelFloat
    from torch import nn

    bits = 4 if name.endswith("w4a4") else 8
    weights = {"weight_quant": Int8WeightPerChannelFloat, "weight_bit_width": bits}
    module = nn.Sequential(
        qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat),
        qnn.QuantConv2d(3, 8, 3, padding=1, **weights),
        qnn.QuantReLU(bit_width=bits),
        qnn.QuantConv2d(8, 8, 3, padding=1, groups=8, **weights),
        qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, bit_width=bits),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        qnn.QuantLinear(8, 5, bias=True, **weights),
    )
    x = trained(module)
    path = str(FOLDER / f"{name}.onnx")
    export_onnx_qcdq(module.eval(), args=x, export_path=path, opset_version=17, dynamo=False)


def nncf(name: str) -> None:
    import nncf
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)
    constants = {
        "w0": (8, 3, 3, 3), "b0": (8,), "w1": (8, 1, 3, 3), "b1": (8,), "w2": (5, 8), "b2": (5,),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], name="c0", pads=[1] * 4),
        helper.make_node("Relu", ["c0"], ["r0"], name="r0"),
        helper.make_node("Conv", ["r0", "w1", "b1"], ["c1"], name="c1", pads=[1] * 4, group=8),
        helper.make_node("Add", ["c1", "r0"], ["s"], name="s"),
        helper.make_node("GlobalAveragePool", ["s"], ["g"], name="g"),
        helper.make_node("Flatten", ["g"], ["f"], name="f"),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["y"], name="y", transB=1),
    ]
    graph = helper.make_graph(
        nodes, name,
        [helper.make_tensor_value_info("x", 1, [1, *SHAPE[1:]])], [helper.make_tensor_value_info("y", 1, [1, 5])],
        [numpy_helper.from_array(rng.normal(0, 0.3, s).astype(np.float32), k) for k, s in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data = nncf.Dataset([{"x": rng.normal(size=(1, *SHAPE[1:])).astype(np.float32)} for _ in range(8)])
    onnx.save(nncf.quantize(model, data, subset_size=8), FOLDER / f"{name}.onnx")


MAKERS: dict[str, Callable[[str], None]] = {
    "torchao": torchao, "eager": eager, "brevitas": brevitas, "nncf": nncf,
}  # fmt: skip


def main() -> None:
    for name in sys.argv[1:]:
        maker = name.partition("_")[0]
        if maker != "nncf":
            import torch

            torch.manual_seed(0)
        MAKERS[maker](name)


if __name__ == "__main__":
    main()
