"""Classifiers of common architectures in small: residual, separable, dense, shuffled, attending."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from unseen_blocks import Head, cbr


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
