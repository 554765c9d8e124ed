"""Types of what is said of a model's inputs: sizes, and values by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ...converter.text import unquote
from .types import Int, Listed, OptionType, split_quoted


class Shape(Listed):
    """The sizes of a tensor, each at least 1, or -1 for one that stays as the model has it."""

    def __init__(self) -> None:
        super().__init__(Int(-1), "D,D,...")

    def parse(self, text: str) -> Any:
        return self._read(super().parse, text)

    def check(self, value: Any) -> tuple[int, ...]:
        return self._read(super().check, value)

    def _read(self, read: Callable[[Any], tuple[int, ...]], value: Any) -> tuple[int, ...]:
        try:
            shape = read(value)
        except ValueError:
            shape = ()
        if not shape or 0 in shape:
            raise ValueError("must be sizes like 1,3,224,224, each at least 1 (or -1: as in the model)")
        return shape


_URL = re.compile(r"(?:^|:)([A-Za-z][A-Za-z0-9+.-]+://)")


def _pair(text: str) -> tuple[str, str, str]:
    """(name, colon, value), as `str.rpartition` gives them, but that colons of a URL belong to it."""
    url = _URL.search(text)
    if url is None:
        return text.rpartition(":")
    return text[: url.start()], ":" if url.start(1) else "", text[url.start(1) :]


class Paired(OptionType):
    """`name:value` pairs, kept as a dict. A pair splits at its last colon, or in front of a URL; a pair without one is
    keyed by its position.

    Args:
        value: type of the right side.
        separator: between pairs.
        named: every pair needs a name (else a bare value is taken for the input at that position).
    """

    def __init__(self, value: OptionType, metavar: str, separator: str, *, named: bool = False) -> None:
        self.value, self.metavar, self.separator, self.named = value, metavar, separator, named

    def parse(self, text: str) -> dict[str | int, Any]:
        pairs: dict[str | int, Any] = {}
        for position, part in enumerate(part for part in split_quoted(text.strip(), self.separator) if part):
            name, colon, right = _pair(part)
            key: str | int = name.strip() if colon else position
            if self.named and not colon:
                raise ValueError(f"must read {self.metavar}, and {part!r} has no colon")
            if colon and not key:
                raise ValueError(f"must read {self.metavar}, and {part!r} has no name before the colon")
            if not right.strip():
                raise ValueError(f"must read {self.metavar}, and {part!r} has nothing behind the colon")
            if key in pairs:
                raise ValueError(f"names {key!r} twice")
            pairs[key] = self._one(key, self.value.parse, unquote(right))
        return pairs

    def check(self, value: Any) -> dict[str | int, Any]:
        if isinstance(value, str):
            return self.parse(value)
        if not isinstance(value, Mapping):
            if self.named:
                self._refuse(value)
            several = isinstance(value, (list, tuple)) and any(isinstance(part, (list, tuple, str)) for part in value)
            value = dict(enumerate(value if several else (value,)))
        return {key: self._one(key, self.value.check, part) for key, part in value.items()}

    def _one(self, key: str | int, read: Callable[[Any], Any], right: Any) -> Any:
        try:
            return read(right)
        except ValueError as error:
            named = f" for {key!r}" if isinstance(key, str) else ""
            raise ValueError(f"{right!r}{named} {error}") from None

    def show(self, value: Any) -> str:
        pairs = (f"{key}:{self.value.show(part)}" for key, part in value.items())
        return self.separator.join(pairs)
