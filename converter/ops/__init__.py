"""The operators, one family a file: importing this declares every row."""

from . import conv

__all__ = ["conv"]
