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
import torch.nn.functional as F
from torch import nn


def cbr(i, o, k=3, s=1, g=1, act=nn.ReLU):
    L = [nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(o)]
    if act:
        L.append(act())
    return nn.Sequential(*L)


class IR(nn.Module):
    def __init__(s, i, o, st, e, act=nn.ReLU6, se=None, k=3):
        super().__init__()
        h = i * e
        s.res = st == 1 and i == o
        s.a = cbr(i, h, 1, act=act) if e > 1 else nn.Identity()
        s.d = cbr(h, h, k, st, h, act=act)
        s.se = se(h) if se else nn.Identity()
        s.p = cbr(h, o, 1, act=None)

    def forward(s, x):
        y = s.p(s.se(s.d(s.a(x))))
        return x + y if s.res else y


class SE(nn.Module):
    def __init__(s, c, gate=nn.Sigmoid, act=nn.SiLU):
        super().__init__()
        s.a = nn.Conv2d(c, max(c // 4, 4), 1)
        s.act = act()
        s.b = nn.Conv2d(max(c // 4, 4), c, 1)
        s.gate = gate()

    def forward(s, x):
        return x * s.gate(s.b(s.act(s.a(F.adaptive_avg_pool2d(x, 1)))))


class Head(nn.Module):
    def __init__(s, body, c, n=50):
        super().__init__()
        s.body = body
        s.fc = nn.Linear(c, n)

    def forward(s, x):
        return s.fc(s.body(x).mean((2, 3)))


def mobilenet():
    return Head(
        nn.Sequential(
            cbr(3, 16, 3, 2, act=nn.ReLU6),
            IR(16, 16, 1, 1),
            IR(16, 24, 2, 6),
            IR(24, 24, 1, 6),
            IR(24, 40, 2, 6),
            IR(40, 40, 1, 6),
            cbr(40, 160, 1, act=nn.ReLU6),
        ),
        160,
    )


def efficientnet():
    return Head(
        nn.Sequential(
            cbr(3, 16, 3, 2, act=nn.SiLU),
            IR(16, 16, 1, 1, nn.SiLU, SE),
            IR(16, 24, 2, 6, nn.SiLU, SE),
            IR(24, 24, 1, 6, nn.SiLU, SE),
            IR(24, 40, 2, 6, nn.SiLU, SE, 5),
            cbr(40, 160, 1, act=nn.SiLU),
        ),
        160,
    )


def mobilenetv3():
    def se(c):
        return SE(c, nn.Hardsigmoid, nn.ReLU)

    return Head(
        nn.Sequential(
            cbr(3, 16, 3, 2, act=nn.Hardswish),
            IR(16, 16, 1, 1, nn.ReLU, se),
            IR(16, 24, 2, 4, nn.ReLU),
            IR(24, 24, 1, 4, nn.Hardswish, se, 5),
            IR(24, 40, 2, 6, nn.Hardswish, se, 5),
            cbr(40, 160, 1, act=nn.Hardswish),
        ),
        160,
    )


class Basic(nn.Module):
    def __init__(s, i, o, st):
        super().__init__()
        s.a = cbr(i, o, 3, st)
        s.b = cbr(o, o, 3, act=None)
        s.d = cbr(i, o, 1, st, act=None) if st > 1 or i != o else nn.Identity()

    def forward(s, x):
        return F.relu(s.b(s.a(x)) + s.d(x))


def resnet():
    return Head(
        nn.Sequential(
            cbr(3, 16, 7, 2),
            nn.MaxPool2d(3, 2, 1),
            Basic(16, 16, 1),
            Basic(16, 32, 2),
            Basic(32, 64, 2),
            Basic(64, 64, 1),
        ),
        64,
    )


class UNet(nn.Module):
    def __init__(s):
        super().__init__()
        s.a = cbr(3, 16)
        s.b = cbr(16, 32)
        s.c = cbr(32, 64)
        s.u1 = nn.ConvTranspose2d(64, 32, 2, 2)
        s.d1 = cbr(64, 32)
        s.u2 = nn.ConvTranspose2d(32, 16, 2, 2)
        s.d2 = cbr(32, 16)
        s.o = nn.Conv2d(16, 4, 1)

    def forward(s, x):
        a = s.a(x)
        b = s.b(F.max_pool2d(a, 2))
        c = s.c(F.max_pool2d(b, 2))
        y = s.d1(torch.cat([s.u1(c), b], 1))
        y = s.d2(torch.cat([s.u2(y), a], 1))
        return torch.sigmoid(s.o(y))


class Bott(nn.Module):
    def __init__(s, c):
        super().__init__()
        s.a = cbr(c, c, 1, act=nn.SiLU)
        s.b = cbr(c, c, 3, act=nn.SiLU)

    def forward(s, x):
        return x + s.b(s.a(x))


class C2f(nn.Module):
    def __init__(s, i, o):
        super().__init__()
        s.a = cbr(i, o, 1, act=nn.SiLU)
        s.m = Bott(o // 2)
        s.b = cbr(o * 3 // 2, o, 1, act=nn.SiLU)

    def forward(s, x):
        p, q = s.a(x).chunk(2, 1)
        return s.b(torch.cat([p, q, s.m(q)], 1))


class Yolo(nn.Module):
    def __init__(s, na=3, nc=5):
        super().__init__()
        s.na, s.no = na, nc + 5
        A = nn.SiLU
        s.s = nn.Sequential(cbr(3, 16, 3, 2, act=A), cbr(16, 32, 3, 2, act=A))
        s.c1 = C2f(32, 32)
        s.d = cbr(32, 64, 3, 2, act=A)
        s.c2 = C2f(64, 64)
        s.e = cbr(64, 64, 3, 2, act=A)
        s.sp = cbr(256, 64, 1, act=A)
        s.n = C2f(128, 64)
        s.h = nn.ModuleList([nn.Conv2d(64, na * s.no, 1) for _ in range(2)])

    def forward(s, x):
        a = s.c2(s.d(s.c1(s.s(x))))
        b = s.e(a)
        m1 = F.max_pool2d(b, 5, 1, 2)
        m2 = F.max_pool2d(m1, 5, 1, 2)
        m3 = F.max_pool2d(m2, 5, 1, 2)
        b = s.sp(torch.cat([b, m1, m2, m3], 1))
        u = s.n(torch.cat([F.interpolate(b, scale_factor=2, mode="nearest"), a], 1))
        z = []
        for f, h in zip((u, b), s.h):
            y = h(f)
            n, _c, hh, ww = y.shape
            y = y.view(n, s.na, s.no, hh, ww).permute(0, 1, 3, 4, 2).sigmoid()
            xy, wh, cf = y.split((2, 2, s.no - 4), 4)
            gy, gx = torch.meshgrid(torch.arange(hh), torch.arange(ww), indexing="ij")
            g = torch.stack((gx, gy), -1).float()[None, None]
            xy = (xy * 2 - 0.5 + g) * (64 / hh)
            wh = (wh * 2) ** 2 * 20
            z.append(torch.cat([xy, wh, cf], 4).view(n, -1, s.no))
        return torch.cat(z, 1)


class Block(nn.Module):
    def __init__(s, d, h):
        super().__init__()
        s.n1 = nn.LayerNorm(d)
        s.q = nn.Linear(d, 3 * d)
        s.o = nn.Linear(d, d)
        s.n2 = nn.LayerNorm(d)
        s.f = nn.Linear(d, 4 * d)
        s.g = nn.Linear(4 * d, d)
        s.h = h

    def forward(s, x):
        n, t, d = x.shape
        q, k, v = s.q(s.n1(x)).view(n, t, 3, s.h, d // s.h).permute(2, 0, 3, 1, 4).unbind(0)
        a = (q @ k.transpose(-1, -2) * (d // s.h) ** -0.5).softmax(-1)
        x = x + s.o((a @ v).transpose(1, 2).reshape(n, t, d))
        return x + s.g(F.gelu(s.f(s.n2(x))))


class ViT(nn.Module):
    def __init__(s, d=64):
        super().__init__()
        s.p = nn.Conv2d(3, d, 8, 8)
        s.c = nn.Parameter(torch.randn(1, 1, d))
        s.e = nn.Parameter(torch.randn(1, 65, d) * 0.3)
        s.b = nn.Sequential(*[Block(d, 4) for _ in range(3)])
        s.n = nn.LayerNorm(d)
        s.o = nn.Linear(d, 50)

    def forward(s, x):
        y = s.p(x).flatten(2).transpose(1, 2)
        y = torch.cat([s.c.expand(y.shape[0], -1, -1), y], 1) + s.e
        return s.o(s.n(s.b(y))[:, 0])


class Shuf(nn.Module):
    def __init__(s, i, o, st):
        super().__init__()
        s.st = st
        h = o // 2
        j = i if st == 2 else h
        s.l = nn.Sequential(cbr(i, i, 3, 2, i, act=None), cbr(i, h, 1)) if st == 2 else nn.Identity()
        s.r = nn.Sequential(cbr(j, h, 1), cbr(h, h, 3, st, h, act=None), cbr(h, h, 1))

    def forward(s, x):
        if s.st == 2:
            y = torch.cat([s.l(x), s.r(x)], 1)
        else:
            a, b = x.chunk(2, 1)
            y = torch.cat([a, s.r(b)], 1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def shufflenet():
    return Head(
        nn.Sequential(
            cbr(3, 24, 3, 2),
            nn.MaxPool2d(3, 2, 1),
            Shuf(24, 48, 2),
            Shuf(48, 48, 1),
            Shuf(48, 96, 2),
            Shuf(96, 96, 1),
            cbr(96, 128, 1),
        ),
        128,
    )


class DenseL(nn.Module):
    def __init__(s, i, g):
        super().__init__()
        s.n = nn.BatchNorm2d(i)
        s.a = nn.Conv2d(i, 4 * g, 1, bias=False)
        s.m = nn.BatchNorm2d(4 * g)
        s.b = nn.Conv2d(4 * g, g, 3, 1, 1, bias=False)

    def forward(s, x):
        return torch.cat([x, s.b(F.relu(s.m(s.a(F.relu(s.n(x))))))], 1)


def densenet():
    return Head(
        nn.Sequential(
            cbr(3, 16, 3, 2),
            *[DenseL(16 + 8 * i, 8) for i in range(4)],
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.Conv2d(48, 32, 1),
            nn.AvgPool2d(2),
            *[DenseL(32 + 8 * i, 8) for i in range(4)],
            nn.BatchNorm2d(64),
            nn.ReLU(),
        ),
        64,
    )


class Pre(nn.Module):
    def __init__(s, i, o, st):
        super().__init__()
        s.n = nn.BatchNorm2d(i)
        s.a = nn.Conv2d(i, o, 3, st, 1, bias=False)
        s.m = nn.BatchNorm2d(o)
        s.b = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        s.d = nn.Conv2d(i, o, 1, st, bias=False) if st > 1 else None

    def forward(s, x):
        y = F.relu(s.n(x))
        r = s.d(y) if s.d is not None else x
        return r + s.b(F.relu(s.m(s.a(y))))


def preact():
    return Head(
        nn.Sequential(
            nn.Conv2d(3, 16, 3, 1, 1, bias=False),
            Pre(16, 16, 1),
            Pre(16, 32, 2),
            Pre(32, 32, 1),
            Pre(32, 64, 2),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        ),
        64,
    )


def face():
    P = nn.PReLU

    def pc(i, o, k, s, g=1):
        return nn.Sequential(cbr(i, o, k, s, g, act=None), P(o))

    return Head(
        nn.Sequential(
            nn.BatchNorm2d(3),
            pc(3, 16, 3, 2),
            pc(16, 16, 3, 1, 16),
            pc(16, 32, 1, 1),
            pc(32, 32, 3, 2, 32),
            nn.Sequential(nn.Conv2d(32, 64, 1), nn.LeakyReLU(0.1)),
            nn.Conv2d(64, 64, 3, 2, 1),
            nn.Tanh(),
            nn.Conv2d(64, 64, 1),
            nn.ELU(),
        ),
        64,
    )


class CNX(nn.Module):
    def __init__(s, c):
        super().__init__()
        s.d = nn.Conv2d(c, c, 7, 1, 3, groups=c)
        s.n = nn.LayerNorm(c)
        s.a = nn.Linear(c, 4 * c)
        s.b = nn.Linear(4 * c, c)
        s.g = nn.Parameter(torch.rand(c))

    def forward(s, x):
        y = s.d(x).permute(0, 2, 3, 1)
        y = s.g * s.b(F.gelu(s.a(s.n(y))))
        return x + y.permute(0, 3, 1, 2)


def convnext():
    return Head(nn.Sequential(nn.Conv2d(3, 32, 4, 4), CNX(32), CNX(32), nn.Conv2d(32, 64, 2, 2), CNX(64)), 64)


class SegHead(nn.Module):
    def __init__(s):
        super().__init__()
        s.s = nn.Sequential(cbr(3, 16, 3, 2), cbr(16, 32, 3, 2))
        s.a = cbr(32, 32, 1)
        s.b = nn.Sequential(nn.Conv2d(32, 32, 3, 1, 4, 4), nn.BatchNorm2d(32), nn.ReLU())
        s.c = cbr(32, 32, 1)
        s.p = cbr(96, 32, 1)
        s.o = nn.Conv2d(32, 5, 1)

    def forward(s, x):
        y = s.s(x)
        g = F.interpolate(s.c(F.adaptive_avg_pool2d(y, 1)), size=y.shape[2:], mode="bilinear", align_corners=False)
        y = s.o(s.p(torch.cat([s.a(y), s.b(y), g], 1)))
        return F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False).softmax(1)


class Style(nn.Module):
    def __init__(s):
        super().__init__()
        s.a = nn.Conv2d(3, 16, 9)
        s.n = nn.InstanceNorm2d(16, affine=True)
        s.b = nn.Conv2d(16, 32, 3, 2)
        s.c = nn.Conv2d(32, 16, 3)
        s.o = nn.Conv2d(16, 3, 9)

    def forward(s, x):
        y = F.relu(s.n(s.a(F.pad(x, (4,) * 4, mode="reflect"))))
        y = F.relu(s.b(F.pad(y, (1,) * 4, mode="reflect")))
        y = F.interpolate(y, scale_factor=2, mode="nearest")
        y = F.relu(s.c(F.pad(y, (1,) * 4, mode="reflect")))
        return torch.tanh(s.o(F.pad(y, (4,) * 4, mode="reflect")))


class SR(nn.Module):
    def __init__(s):
        super().__init__()
        s.a = nn.Conv2d(3, 32, 5, 1, 2)
        s.b = nn.Conv2d(32, 32, 3, 1, 1)
        s.c = nn.Conv2d(32, 12, 3, 1, 1)
        s.p = nn.PixelShuffle(2)

    def forward(s, x):
        return s.p(s.c(F.relu(s.b(F.relu(s.a(x))))))


class CRNN(nn.Module):
    def __init__(s, kind=nn.GRU):
        super().__init__()
        s.s = nn.Sequential(cbr(3, 16, 3, 2), cbr(16, 32, 3, 2))
        s.r = kind(32 * 16, 48, batch_first=True, bidirectional=True)
        s.o = nn.Linear(96, 20)

    def forward(s, x):
        y = s.s(x)
        n, c, h, w = y.shape
        y = y.permute(0, 3, 1, 2).reshape(n, w, c * h)
        return s.o(s.r(y)[0])


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
