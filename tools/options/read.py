"""A command line or keywords, with the config file that they name, as checked options of a conversion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...converter.errors import Setting
from .checks import validate
from .convert import REFUSED, ConvertOptions, flag_of
from .flags import Given, merge, read_args, read_kwargs


def options_of_args(argv: Sequence[str]) -> ConvertOptions:
    """Reads a command line and the config file that it names.

    Raises:
        UsageError: one line that names the flag or the file and line, the value, and what is allowed.
    """
    return _checked(read_args(ConvertOptions, argv, REFUSED), flag_of)


def options_of_kwargs(model_file: Any, output_file: Any, **options: Any) -> ConvertOptions:
    """The same from Python: `bit_num=4`, `input_shape={"x": (1, 3, 224, 224)}`, `calibration_data=arrays`."""
    return _checked(read_kwargs(ConvertOptions, {"model_file": model_file, "output_file": output_file, **options}), str)


def options_of_tool(
    model_file: str, output_file: str, options: Mapping[str, Any], flags: Mapping[str, str]
) -> ConvertOptions:
    """The same of a tool with flags of its own. flags: keyword → how its user spells it, for error lines."""
    given = read_kwargs(ConvertOptions, {"model_file": model_file, "output_file": output_file, **options})
    given.origins |= {name: flag for name, flag in flags.items() if name in given.values}
    return _checked(given, flag_of)


def shapes_of(value: Any) -> dict[str | int, Any] | None:
    """An `input_shape` of Python, checked; None without."""
    return read_kwargs(ConvertOptions, {"input_shape": value}).values["input_shape"] if value else None


def _read_file(path: str, origin: str) -> Given:
    """What a config file gives: Horizon's yaml by its ending, or one of MindSpore Lite's two forms."""
    if path.lower().endswith((".yaml", ".yml")):
        from .config_key import config_bytes
        from .horizon import read_yaml

        return read_yaml(config_bytes(path, origin), path)
    from .config import read_config

    return read_config(path, origin)


def _checked(given: Given, spell: Callable[[Setting], str]) -> ConvertOptions:
    if given.values.get("config_file"):
        given = merge(ConvertOptions, given, _read_file(given.values["config_file"], given.origins["config_file"]))
    options = ConvertOptions(**given.values, origins=given.origins, notes=given.notes, spell=spell)
    validate(options)
    return options
