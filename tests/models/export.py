"""Exports the small networks of this folder with random weights:  python tests/models/export.py [FOLDER]

encoder_*.onnx is a transformer encoder layer, lstm_*.onnx a two-layer bidirectional LSTM with a dense head; *_script by
PyTorch's TorchScript exporter, *_dynamo by its default one (which needs onnxscript). Needs torch and onnx.
"""

from __future__ import annotations

import os
import sys

import onnx
import torch
from torch import nn


class Sequence(nn.Module):
    """Last step of an LSTM's output through a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 12, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(24, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Encoder(nn.Module):
    """A transformer encoder layer: attention of four heads, then a dense block, each with LayerNorm before it."""

    def __init__(self, size: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(size), nn.LayerNorm(size)
        self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.dense = nn.Sequential(nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, c = x.shape
        q, k, v = self.qkv(self.before(x)).view(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, c)
        x = x + self.out(y)
        return x + self.dense(self.between(x))


def _strip(path: str) -> None:
    """Drops what the exporter notes of the machine's own paths."""
    model = onnx.load(path)
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    model.ClearField("metadata_props")
    onnx.save(model, path)


def main() -> int:
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    torch.manual_seed(0)
    networks = {"encoder": (Encoder(), torch.randn(1, 6, 16)), "lstm": (Sequence(), torch.randn(1, 7, 8))}
    for name, (network, x) in networks.items():
        network.eval()
        for form in ("script", "dynamo"):
            path = os.path.join(folder, f"{name}_{form}.onnx")
            options = (
                {"dynamo": False, "opset_version": 17} if form == "script" else {"dynamo": True, "external_data": False}
            )
            torch.onnx.export(network, (x,), path, input_names=["x"], output_names=["y"], **options)
            _strip(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
