"""One mechanism for the options of every command: a dataclass whose fields are the table of flags.

    @dataclass
    class Options:
        bit_num: int = flag("bitNum", Int(1, 16), 8, "bits of a quantized weight", group="Quantization")

The fields give the parser (`read_args`), the Python keywords (`read_kwargs`), the defaults and ranges, the help page
and the page in docs/. Nothing heavy is imported: `--help` must answer at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ...converter.errors import Setting, UsageError
from ...converter.text import nearest
from .types import OptionType, PythonOnly, Switch

_STEP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True)
class Row:
    """What is known of one flag.

    name: as typed after `--`; "" for a value that only Python can give. type: how its value is read.
    aliases: spellings of other versions.
    refused: value → reason, for values (or, under the key ..., every value but `harmless`) that bitlite does not do.
    bare: text taken when the flag stands without a value (None: a value is needed).
    advanced: shown by `--help=all` only. sections: those of the config file where a key of the Python name sets it.
    joins: what flags and config file give is put together; else a flag wins over the file.
    """

    name: str
    type: OptionType
    default: Any
    help: str
    group: str = ""
    aliases: tuple[str, ...] = ()
    refused: Mapping[Any, str] = field(default_factory=dict)
    bare: str | None = None
    advanced: bool = False
    required: bool = False
    sections: tuple[str, ...] = ()
    joins: bool = False

    @property
    def field(self) -> str:
        return snake(self.name)

    def refuse(self, value: Any) -> str:
        """Returns the reason why this value is not done, or ""."""
        if isinstance(value, (dict, tuple, list)):
            parts = value.values() if isinstance(value, dict) else value
            return next((reason for part in parts if (reason := self.refuse(part))), "")
        try:
            if value in self.refused:
                return self.refused[value]
        except TypeError:
            return ""
        return "" if value == self.default else self.refused.get(..., "")


def flag(name: str, option_type: OptionType, default: Any, help: str, **row: Any) -> Any:
    """Declares a dataclass field that is also the row of a flag; see `Row` for the keywords."""
    if isinstance(option_type, Switch) and "bare" not in row:
        row["bare"] = "true"
    option_row = Row(name, option_type, default, help, **row)
    if isinstance(default, (dict, list)):
        return field(default_factory=lambda: type(default)(default), metadata={"row": option_row})
    return field(default=default, metadata={"row": option_row})


def snake(name: str) -> str:
    """bitNum → bit_num, dumpIR → dump_ir."""
    return _STEP.sub("_", name).lower()


def rows_of(options: type) -> tuple[Row, ...]:
    """Returns the rows of a dataclass, in order."""
    return tuple(f.metadata["row"] for f in fields(options) if "row" in f.metadata)


def fields_of(options: type) -> dict[str, Row]:
    """Returns field name → row."""
    return {f.name: f.metadata["row"] for f in fields(options) if "row" in f.metadata}


def as_flag(options: type, setting: Setting) -> str:
    """Returns what a hint names as a command line has it: `--inputShape`, `--bitNum=4`."""
    row = fields_of(options)[setting.name]
    if setting.value is None:
        return f"--{row.name}"
    return f"--{row.name}={setting.value if isinstance(setting.value, str) else row.type.show(setting.value)}"


@dataclass
class Given:
    """Values that somebody gave on purpose, and where: "--bitNum", "config.cfg:3 bit_num", "argument bit_num"."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, value: Any, origin: str) -> None:
        self.values[name] = value
        self.origins[name] = origin


def asked(argv: Sequence[str]) -> str:
    """Returns "usage", "help", "help=all" or "version" when that is what the command line asks for, else ""."""
    if not argv:
        return "usage"
    for arg in argv:
        if arg in ("-h", "--help"):
            return "help"
        if arg.lower() in ("--help=all", "--version"):
            return arg.lower().lstrip("-")
    return ""


def read_args(options: type, argv: Sequence[str], refused: Iterable[Row] = ()) -> Given:
    """Reads a command line: `--key=value`, `--key value`, `--switch`, `--no-switch`.

    Args:
        options: a dataclass of flags.
        argv: the arguments after the program's name.
        refused: rows of flags that other tools have; known by name, and refused unless harmless.

    Raises:
        UsageError: unknown flag, missing, wrong or repeated value, positional argument.
    """
    given = Given()
    table: dict[str, tuple[str, Row]] = {}
    for name, row in fields_of(options).items():
        table.update({spelling: (name, row) for spelling in (row.name, *row.aliases) if spelling})
    table.update({spelling: ("", row) for row in refused for spelling in (row.name, *row.aliases)})
    rest = list(argv)
    while rest:
        arg = rest.pop(0)
        word, equals, text = arg.partition("=")
        if not word.startswith("--") or word == "--":
            raise UsageError(f"{arg!r} is not a flag", hint=_positional_hint(arg))
        spelling = word[2:]
        if spelling not in table and spelling.startswith("no-") and spelling[3:] in table and not equals:
            spelling, equals, text = spelling[3:], "=", "false"
        if spelling not in table:
            raise _unknown_flag(word, spelling, table)
        name, row = table[spelling]
        if not equals:
            text = _value_from(rest, word, row)
        value = read_value(row, text, f"--{spelling}={text}")
        if not name:
            continue
        origin = f"--{spelling}"
        if name in given.values and given.values[name] != value:
            raise UsageError(f"{origin}={text} contradicts {given.origins[name]} given before it")
        given.add(name, value, origin)
    return given


def _positional_hint(arg: str) -> str:
    ending = arg.rpartition(".")[2].lower()
    return f"--modelFile={arg}" if ending in ("tflite", "onnx", "ms", "mindir", "pb") else "--help"


def _unknown_flag(word: str, spelling: str, table: Mapping[str, Any]) -> UsageError:
    near = nearest(spelling, table)
    hint = f"--{table[near][1].name}" if near else "--help for the list"
    return UsageError(f"{word} is not a known flag", hint=hint)


def _value_from(rest: list[str], word: str, row: Row) -> str:
    """Takes the value that follows the flag as its own argument, or what the bare flag means."""
    follows = rest[0] if rest and not rest[0].startswith("--") else None
    if isinstance(row.type, Switch) and follows is not None and follows.lower() not in Switch.words:
        follows = None
    if follows is not None:
        words = [rest.pop(0)]
        while row.type.lacks(",".join(words)) and rest and not rest[0].startswith("--"):
            words.append(rest.pop(0))
        return ",".join(words)
    if row.bare is None:
        hint = f"{word}={row.type.metavar}"
        raise UsageError(f"{word} needs a value", hint=hint)
    return row.bare


def read_value(row: Row, text: Any, origin: str) -> Any:
    """Parses text, or checks a Python value, by the row; `origin` starts the error line.

    Raises:
        UsageError: the value is wrong or refused.
    """
    try:
        value = _refusable(row, text)
        if value is None:
            value = row.type.parse(text) if isinstance(text, str) else row.type.check(text)
    except ValueError as error:
        raise UsageError(f"{origin}: {error}") from None
    reason = row.refuse(value)
    if reason:
        raise UsageError(f"{origin}: {reason}")
    return value


def _refusable(row: Row, text: Any) -> Any:
    """Returns a refused value before its type calls it out of range: bits 0 is a feature, not a typing error."""
    if isinstance(text, bool):
        return None
    for known in row.refused:
        if known is not ... and str(known) == str(text).strip():
            return known
    return None


def read_kwargs(options: type, keywords: Mapping[str, Any]) -> Given:
    """Checks Python keywords by the same rows; None means "not given".

    Raises:
        UsageError: unknown keyword, wrong or refused value.
    """
    given, table = Given(), fields_of(options)
    for name, value in keywords.items():
        if name not in table:
            near = nearest(name, table) or nearest(snake(name), table)
            raise UsageError(f"{name!r} is not a known option", hint=near or ", ".join(list(table)[:8]) + ", ...")
        if value is not None:
            shown = repr(value)
            shown = shown if len(shown) < 80 else type(value).__name__
            given.add(name, read_value(table[name], value, f"{name}={shown}"), f"argument {name}")
    return given


def merge(options: type, first: Given, second: Given) -> Given:
    """Adds what a config file gives to what the flags give; lists that join are joined, else a flag wins and a note
    says so.
    """
    table, merged = fields_of(options), Given(dict(first.values), dict(first.origins), first.notes + second.notes)
    for name, value in second.values.items():
        if name not in merged.values:
            merged.add(name, value, second.origins[name])
        elif table[name].joins:
            mine = merged.values[name]
            joined = {**value, **mine} if isinstance(mine, dict) else tuple(dict.fromkeys((*mine, *value)))
            merged.values[name] = joined
        elif merged.values[name] != value:
            show = table[name].type.show
            taken, left = f"{first.origins[name]}={show(merged.values[name])}", f"{second.origins[name]}={show(value)}"
            merged.notes.append(f"{taken} is taken, and not {left}")
    return merged


def help_page(
    options: type, usage: str, *, everything: bool = False, refused: Iterable[Row] = (), width: int = 0
) -> str:
    """Returns the help text: rows by group, each with its values and default, folded to the terminal's width."""
    width = max(60, min(width or _terminal_width(), 110))
    lines = [*_fold(usage, width, 0), ""]
    left = 28
    for group, rows in _by_group(row for row in rows_of(options) if row.name and (everything or not row.advanced)):
        lines.append(f"{group}:")
        for row in rows:
            head = f"  --{row.name}" + _head_value(row)
            body = _fold(_sentence(row), width, left)
            if len(head) + 2 > left:
                lines += [head, *body]
            else:
                lines += [head.ljust(left) + body[0].lstrip(), *body[1:]]
        lines.append("")
    if everything:
        lines.append("Flags of MindSpore Lite that bitlite refuses:")
        for row in refused:
            reason = next(iter(row.refused.values()), "")
            lines += _fold(f"--{row.name}: {reason}", width, 4, first=2)
    else:
        lines.append("--help=all lists the flags for special needs too.")
    return "\n".join(lines).rstrip() + "\n"


def markdown(options: type, keys_of: Mapping[str, Sequence[str]] | None = None, refused: Iterable[Row] = ()) -> str:
    """Returns the tables of docs/: flag, values, default, config keys, meaning."""
    lines = []
    for group, rows in _by_group(rows_of(options)):
        keys_head, keys_rule = (" config key |", "---|") if keys_of is not None else ("", "")
        lines += [
            f"### {group}",
            "",
            f"| flag | values | default |{keys_head} meaning |",
            f"|---|---|---|{keys_rule}---|",
        ]
        for row in rows:
            name = f"`--{row.name}`" if row.name else f"`{_python_name(options, row)}=` (Python)"
            names = name + "".join(f", `--{alias}`" for alias in row.aliases)
            cells = [names, _cell(row.type.describe() or row.type.metavar), _cell(_default(row))]
            if keys_of is not None:
                cells.append(", ".join(f"`{key}`" for key in keys_of.get(_python_name(options, row), ())))
            cells.append(row.help.replace("|", "\\|"))
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    refused = list(refused)
    if refused:
        lines += ["### Refused", "", "| flag | reason |", "|---|---|"]
        lines += [f"| `--{row.name}` | {next(iter(row.refused.values()), '')} |" for row in refused]
        lines.append("")
    return "\n".join(lines)


def _python_name(options: type, row: Row) -> str:
    return next(name for name, known in fields_of(options).items() if known is row)


def _cell(text: str) -> str:
    return f"`{text}`".replace("|", "\\|") if text else ""


def _default(row: Row) -> str:
    if isinstance(row.type, PythonOnly) or row.default in ("", (), {}, None):
        return ""
    return row.type.show(row.default)


def _head_value(row: Row) -> str:
    """Returns what stands after the flag in the help page; long value lists stand in the text instead."""
    metavar = row.type.metavar
    if metavar.startswith("[="):
        return metavar
    return f"={metavar}" if len(metavar) <= 12 else ""


def _sentence(row: Row) -> str:
    facts = []
    values = row.type.describe()
    if values and not _head_value(row).endswith(values):
        facts.append(values.replace("|", " | ") if len(values) > 40 else values)
    if row.required:
        facts.append("required")
    elif _default(row):
        facts.append(f"default {_default(row)}")
    return row.help + (f" [{'; '.join(facts)}]" if facts else "")


def _by_group(rows: Iterable[Row]) -> Iterator[tuple[str, list[Row]]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    return iter(groups.items())


def _fold(text: str, width: int, indent: int, first: int | None = None) -> list[str]:
    """Folds `text` at blanks; a word longer than the line stands alone."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = " " * (indent if first is None or lines else first)
        empty = line
        for word in paragraph.split(" "):
            if line != empty and len(line) + 1 + len(word) > width:
                lines.append(line)
                line = empty = " " * indent
            line += word if line == empty else f" {word}"
        lines.append(line)
    return lines


def _terminal_width() -> int:
    try:
        return int(os.environ.get("COLUMNS") or os.get_terminal_size().columns)
    except (OSError, ValueError):
        return 80
