"""The range of an activation by the name of a method."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Protocol

from . import methods
from .histogram import Histogram
from .methods._support import Range, settle


class Threshold(Protocol):
    """What a file of `methods` defines as `method`."""

    def __call__(self, h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range: ...


@cache
def method_of(name: str) -> Threshold:
    """The method of that name. Raises KeyError where there is none."""
    if name not in methods.names():
        raise KeyError(name)
    return importlib.import_module(f".methods.{name.lower()}", __package__).method


def choose(name: str, h: Histogram, bits: int = 8, *, symmetric: bool = False) -> Range:
    """The range by the method of that name ("PERCENTILE:99.9" takes its value after the colon), or as set by hand.

    A tensor of which nothing was seen gets (0, 0). Raises KeyError for a name that is no method's.
    """
    if h.fixed is not None:
        return settle(h.fixed, symmetric)
    if not len(h.counts):
        return 0.0, 0.0
    if name.startswith("PERCENTILE:"):
        from .methods.percentile import method

        return method(h, bits, symmetric=symmetric, percent=float(name.partition(":")[2]))
    return method_of(name)(h, bits, symmetric=symmetric)
