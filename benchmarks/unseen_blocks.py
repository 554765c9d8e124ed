"""What several of the networks of `unseen_models.py` begin and end with."""

from __future__ import annotations

from torch import nn


def cbr(i, o, k=3, s=1, g=1, act=nn.ReLU):
    L = [nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(o)]
    if act:
        L.append(act())
    return nn.Sequential(*L)


class Head(nn.Module):
    def __init__(s, body, c, n=50):
        super().__init__()
        s.body = body
        s.fc = nn.Linear(c, n)

    def forward(s, x):
        return s.fc(s.body(x).mean((2, 3)))
