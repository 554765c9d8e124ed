"""Networks in small whose outputs are more than one class: masks, boxes, images, sequences."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from unseen_blocks import cbr


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
