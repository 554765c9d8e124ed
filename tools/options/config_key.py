"""A key of a config file, whatever the form of the file: the option that it sets, or why it is refused."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Any

from ...converter.errors import UsageError
from ...converter.formats.files import open_regular
from .convert import ConvertOptions
from .flags import Row, fields_of
from .types import OptionType, Text

MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Key:
    """One key of one section: the option it sets (or why it is refused unless the value is `harmless`)."""

    section: str
    name: str
    option: str = ""
    type: OptionType | None = None
    refused: str = ""
    harmless: tuple[Any, ...] = ()
    note: str = ""
    refused_values: dict[Any, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"[{self.section}] {self.name}" if self.section else self.name

    def row(self) -> Row:
        """Returns the option's row as this file spells it."""
        if not self.option:
            reasons: dict[Any, str] = {...: self.refused} if self.refused else {}
            default = self.harmless[0] if self.harmless else None
            reasons.update(dict.fromkeys(self.harmless, ""))
            return Row(self.name, self.type or Text(), default, self.refused or self.note, refused=reasons)
        row = fields_of(ConvertOptions)[self.option]
        return replace(row, type=self.type or row.type, refused={**row.refused, **self.refused_values})


def table_row(key: Key) -> str:
    """The line of a key in docs/: name, values, default, meaning."""
    row = key.row()
    values = (row.type.describe() or row.type.metavar).replace("|", "\\|")
    default = "" if row.default in (None, "", (), {}) else row.type.show(row.default)
    if not key.option and key.refused:
        default, meaning = "", f"refused: {key.refused}"
        if key.harmless:
            meaning += f" (accepted: {', '.join(row.type.show(value) for value in key.harmless)})"
    else:
        meaning = row.help
    return f"| `{key.name}` | `{values}` | {default} | {meaning.replace('|', chr(92) + '|')} |"


def config_bytes(path: str | os.PathLike[str], origin: str) -> bytes:
    """What a config file holds; `origin` says who named it, in an error line. Raises UsageError."""
    shown = os.fspath(path)
    try:
        if os.path.isdir(shown):
            raise UsageError(f"{origin}: {shown} is a directory")
        with open_regular(shown) as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{origin}: {shown}: {error.strerror or error}") from None
    except ValueError as error:
        raise UsageError(f"{origin}: {shown!r}: {error}") from None
    if len(data) > MAX_BYTES:
        raise UsageError(f"{origin}: {shown} is larger than {MAX_BYTES >> 20} MB: not a config file")
    return data
