"""Types of option values: how each is read from text, checked when it comes from Python, and described to a user.

A type raises ValueError with the end of a sentence ("must be an integer in 1..16"); who reads the value puts in front
where it was given. Nothing heavy is imported here: this is on the path of the help page.
"""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ...converter.text import nearest

if TYPE_CHECKING:
    from types import ModuleType

    from ...quant.search.goal import MaxDrop, MaxTime


class OptionType:
    """Base: `parse` takes text, `check` takes a Python value."""

    metavar = "VALUE"

    def parse(self, text: str) -> Any:
        return self.check(text)

    def check(self, value: Any) -> Any:
        return self.parse(value) if isinstance(value, str) else self._refuse(value)

    def describe(self) -> str:
        """Returns the allowed values in a few words, empty when anything goes."""
        return ""

    def lacks(self, text: str) -> bool:
        """Whether a value must have more elements than this text says: they may follow as words of their own."""
        return False

    def show(self, value: Any) -> str:
        """Returns `value` as a user would type it."""
        return str(value)

    def _refuse(self, value: Any) -> Any:
        raise ValueError(f"cannot be a {type(value).__name__} ({value!r})")


class Text(OptionType):
    """Any text; from Python also a path."""

    def __init__(self, metavar: str = "TEXT") -> None:
        self.metavar = metavar

    def check(self, value: Any) -> str:
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if not isinstance(value, str):
            self._refuse(value)
        if "\0" in value:
            raise ValueError("holds a NUL character")
        return value


class Switch(OptionType):
    """true or false, also on/off, any letter case."""

    metavar = "true|false"
    words: ClassVar = {
        "true": True,
        "false": False,
        "on": True,
        "off": False,
        "yes": True,
        "no": False,
        "1": True,
        "0": False,
    }

    def __init__(self, on_off: bool = False) -> None:
        self.on_off = on_off
        if on_off:
            self.metavar = "on|off"

    def parse(self, text: str) -> bool:
        try:
            return self.words[text.strip().lower()]
        except KeyError:
            raise ValueError(f"must be {self.metavar}") from None

    def check(self, value: Any) -> bool:
        if isinstance(value, str):
            return self.parse(value)
        return bool(value) if type(value).__name__ in ("bool", "bool_") else self._refuse(value)

    def describe(self) -> str:
        return self.metavar

    def show(self, value: Any) -> str:
        return self.metavar.split("|")[0 if value else 1]


class Int(OptionType):
    """An integer in [lo, hi]; None leaves that side open."""

    metavar = "N"

    def __init__(self, lo: int | None = None, hi: int | None = None) -> None:
        self.lo, self.hi = lo, hi

    def parse(self, text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()):
            raise ValueError(f"must be an integer{self._range()}")
        return self._bounded(int(text))

    def check(self, value: Any) -> int:
        if isinstance(value, str):
            return self.parse(value)
        if isinstance(value, bool):
            self._refuse(value)
        try:
            return self._bounded(operator.index(value))
        except TypeError:
            return self._refuse(value)

    def _bounded(self, value: int) -> int:
        if (self.lo is not None and value < self.lo) or (self.hi is not None and value > self.hi):
            raise ValueError(f"must be an integer{self._range()}")
        return value

    def _range(self) -> str:
        if self.hi is None:
            return "" if self.lo is None else f" >= {self.lo}"
        return f" in {self.describe()}"

    def describe(self) -> str:
        if self.hi is None:
            return "" if self.lo is None else f">= {self.lo}"
        return f"{self.lo}..{self.hi}"


class Real(OptionType):
    """A finite number in [lo, hi], or in (lo, hi) when `open_ends`."""

    metavar = "X"

    def __init__(self, lo: float = -math.inf, hi: float = math.inf, open_ends: bool = False) -> None:
        self.lo, self.hi, self.open_ends = lo, hi, open_ends

    def parse(self, text: str) -> float:
        try:
            return self.check(float(text))
        except ValueError as error:
            raise ValueError(str(error) if "must" in str(error) else f"must be a number{self._range()}") from None

    def check(self, value: Any) -> float:
        if isinstance(value, str):
            return self.parse(value)
        if isinstance(value, bool) or not hasattr(value, "__float__"):
            self._refuse(value)
        number = float(value)
        inside = self.lo < number < self.hi if self.open_ends else self.lo <= number <= self.hi
        if not math.isfinite(number) or not inside:
            raise ValueError(f"must be a number{self._range()}")
        return number

    def _range(self) -> str:
        return f" {'' if math.isinf(self.hi) else 'in '}{self.describe()}" if self.describe() else ""

    def describe(self) -> str:
        if math.isinf(self.hi):
            return "" if math.isinf(self.lo) else f">= {self.lo:g}"
        left, right = ("(", ")") if self.open_ends else ("[", "]")
        return f"{left}{self.lo:g}, {self.hi:g}{right}"

    def show(self, value: Any) -> str:
        return f"{value:g}"


class Size(OptionType):
    """Bytes, with or without a unit (kB, MB, GB of 1000, KiB, MiB, GiB of 1024), or a share in (0, 1)."""

    metavar = "BYTES|SHARE"
    units: ClassVar = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}

    def parse(self, text: str) -> float:
        found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})\s*([a-z]*)", text.strip().lower())
        if not found or found[2] not in self.units:
            return self._wrong()
        number = float(found[1])
        if not found[2]:
            return self._allowed(number)
        size = number * self.units[found[2]]
        return self._allowed(size) if size >= 1 else self._wrong()

    def check(self, value: Any) -> float:
        if isinstance(value, str):
            return self.parse(value)
        if isinstance(value, bool) or not hasattr(value, "__float__"):
            self._refuse(value)
        return self._allowed(float(value))

    def _allowed(self, number: float) -> float:
        if 0 < number < 1:
            return number
        return float(math.floor(number)) if math.isfinite(number) and number >= 1 else self._wrong()

    def _wrong(self) -> float:
        raise ValueError("must be bytes (2282508, 2.2MB, 850kB) or a share in (0, 1)")

    def describe(self) -> str:
        return "bytes, 2.2MB, or a share in (0, 1)"

    def show(self, value: Any) -> str:
        return f"{value:g}" if value < 1 else f"{value:.0f}"


def _goals() -> ModuleType:
    """What the values of goals are; a help page does without."""
    from ...quant.search import goal

    return goal


class Drop(OptionType):
    """The most that may be lost: a number of points, or one with %, dB or cos behind it."""

    metavar = "D"

    def parse(self, text: str) -> MaxDrop:
        found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})\s*(points|%|db|cos|)", text.strip().lower())
        if not found:
            return self._wrong()
        goals = _goals()
        units = {unit.lower(): unit for unit in goals.BOUNDS} | {"": goals.POINTS}
        return self._allowed(goals.MaxDrop(float(found[1]), units[found[2]]))

    def check(self, value: Any) -> MaxDrop:
        goals = _goals()
        if isinstance(value, (str, goals.MaxDrop)):
            return self.parse(value) if isinstance(value, str) else value
        if isinstance(value, bool) or not hasattr(value, "__float__"):
            self._refuse(value)
        return self._allowed(goals.MaxDrop(float(value)))

    def _allowed(self, drop: MaxDrop) -> MaxDrop:
        low, high = _goals().BOUNDS[drop.unit]
        return drop if low <= drop.value <= high and math.isfinite(drop.value) else self._wrong()

    def _wrong(self) -> MaxDrop:
        raise ValueError(f"must be {self.describe()}")

    def describe(self) -> str:
        return "points (0.5), 1% of classes, 20dB or 0.99cos"

    def show(self, value: Any) -> str:
        return f"{value.value:g}{'' if value.unit == _goals().POINTS else value.unit}"


class RunTime(OptionType):
    """Milliseconds, or a share of the float model's time."""

    metavar = "T"

    def parse(self, text: str) -> MaxTime:
        found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})\s*(ms|)", text.strip().lower())
        return self._allowed(_goals().MaxTime(float(found[1]), found[2] == "ms")) if found else self._wrong()

    def check(self, value: Any) -> MaxTime:
        goals = _goals()
        if isinstance(value, (str, goals.MaxTime)):
            return self.parse(value) if isinstance(value, str) else value
        if isinstance(value, bool) or not hasattr(value, "__float__"):
            self._refuse(value)
        return self._allowed(goals.MaxTime(float(value)))

    def _allowed(self, time: MaxTime) -> MaxTime:
        return time if time.value > 0 and (time.milliseconds or time.value <= 1) else self._wrong()

    def _wrong(self) -> MaxTime:
        raise ValueError(f"must be {self.describe()}")

    def describe(self) -> str:
        return "milliseconds (3.5ms) or a share of float's time in (0, 1]"

    def show(self, value: Any) -> str:
        return f"{value.value:g}{'ms' if value.milliseconds else ''}"


class Choice(OptionType):
    """One of a few words, in their own letter case first and any case second.

    Args:
        words: accepted spelling → value; or the words themselves.
        also: further spellings → value, accepted but not shown.
    """

    def __init__(self, words: Iterable[str] | Mapping[str, Any], also: Mapping[str, Any] | None = None) -> None:
        self.words: dict[str, Any] = dict(words) if isinstance(words, Mapping) else {word: word for word in words}
        self.also = dict(also or {})
        self.metavar = "|".join(word for word in self.words if word)

    def parse(self, text: str) -> Any:
        table = {**self.words, **self.also}
        if text in table:
            return table[text]
        folded = {word.lower(): value for word, value in reversed(list(table.items()))}
        if text.strip().lower() in folded:
            return folded[text.strip().lower()]
        near = nearest(text, table)
        raise ValueError(f"must be {self.metavar}" + (f" (did you mean {near}?)" if near else ""))

    def check(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.parse(value)
        if isinstance(value, bool):
            return self.parse("true" if value else "false")
        return self.parse("") if value is None and "" in self.words else self._refuse(value)

    def describe(self) -> str:
        return self.metavar

    def show(self, value: Any) -> str:
        return next((word for word, known in self.words.items() if known == value), str(value))


class Listed(OptionType):
    """A comma list of another type, kept as a tuple; single quotes protect a comma, brackets around it are dropped.

    `item` parses one element; `length` fixes the number of elements (several allowed lengths as a tuple).
    """

    def __init__(self, item: OptionType, metavar: str = "", *, length: tuple[int, ...] = ()) -> None:
        self.item, self.length = item, length
        self.metavar = metavar or f"{item.metavar},..."

    def parse(self, text: str) -> tuple[Any, ...]:
        text = text.strip()
        if text.startswith("[") and text.endswith("]"):
            text = text[1:-1]
        return self._sized(tuple(self.item.parse(part) for part in split_quoted(text, ",") if part))

    def check(self, value: Any) -> tuple[Any, ...]:
        if isinstance(value, str):
            return self.parse(value)
        if isinstance(value, Mapping) or not isinstance(value, Iterable):
            value = (value,)
        return self._sized(tuple(self.item.check(part) for part in value))

    def _sized(self, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if value and self.length and len(value) not in self.length:
            raise ValueError(f"must have {' or '.join(map(str, self.length))} values, not {len(value)}")
        return value

    def lacks(self, text: str) -> bool:
        return bool(self.length) and len(split_quoted(text, ",")) < min(self.length)

    def describe(self) -> str:
        return f"comma list of {self.item.describe()}" if self.item.describe() else ""

    def show(self, value: Any) -> str:
        return ",".join(self.item.show(part) for part in value)


class PythonOnly(OptionType):
    """A value that only Python code can give, such as an iterable of arrays."""

    def check(self, value: Any) -> Any:
        return value


class Function(PythonOnly):
    """A function, which only Python code can give."""

    def check(self, value: Any) -> Any:
        return value if callable(value) else self._refuse(value)


class Labels(Text):
    """A file; from Python also a sequence with a label for each sample."""

    def __init__(self) -> None:
        super().__init__("FILE")

    def check(self, value: Any) -> Any:
        if isinstance(value, (str, os.PathLike)) or not (hasattr(value, "__len__") and hasattr(value, "__getitem__")):
            return super().check(value)
        if isinstance(value, (Mapping, bytes)):
            self._refuse(value)
        return list(value)

    def show(self, value: Any) -> str:
        return value if isinstance(value, str) else f"{len(value)} labels"


def split_quoted(text: str, separator: str) -> list[str]:
    """Splits at `separator` outside single quotes and strips blanks; the quotes stay (see `unquote`)."""
    parts, current, quoted = [], "", False
    for char in text:
        if char == "'":
            quoted = not quoted
        if char == separator and not quoted:
            parts.append(current.strip())
            current = ""
        else:
            current += char
    if quoted:
        raise ValueError("has a single quote (') without its partner")
    return [*parts, current.strip()]
