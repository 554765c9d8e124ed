"""The operators, one family a file: importing this declares every row."""

from . import conv, dense, norm, pool

__all__ = ["conv", "dense", "norm", "pool"]
