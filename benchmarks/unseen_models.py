"""Small networks of common architectures, with seeded random weights, as PyTorch exports them.

    python benchmarks/unseen_models.py SAMPLES.npy FOLDER [NAME …]

SAMPLES: float32 images [n, 3, 64, 64], over which BatchNorm takes its statistics. Writes FOLDER/NAME.onnx. Needs torch
and onnx. `ptq_unseen.py` quantizes them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from unseen_classifiers import (
    ViT,
    convnext,
    densenet,
    efficientnet,
    face,
    mobilenet,
    mobilenetv3,
    preact,
    resnet,
    shufflenet,
)
from unseen_tasks import CRNN, SR, SegHead, Style, UNet, Yolo

MODELS = {
    "mobilenet": mobilenet,
    "resnet": resnet,
    "efficientnet": efficientnet,
    "mobilenetv3": mobilenetv3,
    "unet": UNet,
    "yolo": Yolo,
    "vit": ViT,
    "shufflenet": shufflenet,
    "densenet": densenet,
    "preact": preact,
    "face": face,
    "convnext": convnext,
    "seg": SegHead,
    "style": Style,
    "sr": SR,
    "crnn_gru": CRNN,
    "crnn_lstm": lambda: CRNN(nn.LSTM),
}


def make(name: str, samples: torch.Tensor) -> nn.Module:
    torch.manual_seed(len(name))
    model = MODELS[name]()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.data.uniform_(0.5, 1.5)
            layer.bias.data.uniform_(-0.5, 0.5)
            layer.momentum = None
        elif isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        elif isinstance(layer, nn.PReLU):
            layer.weight.data.uniform_(0.05, 0.4)
    model.train()
    with torch.no_grad():
        for batch in samples.split(50):
            model(batch)
    return model.eval()


def main() -> int:
    samples, folder = torch.from_numpy(np.load(sys.argv[1])), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[3:] or MODELS:
        path, names = str(folder / f"{name}.onnx"), {"input_names": ["image"], "output_names": ["out"]}
        torch.onnx.export(make(name, samples), (samples[:1],), path, dynamo=False, opset_version=17, **names)
    return 0


if __name__ == "__main__":
    sys.exit(main())
