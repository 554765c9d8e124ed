"""config.cfg: one table of keys for the flat file of MindSpore Lite r1.x and the INI sections of 2.x.

A file with a `[section]` line is INI, any other is flat. `#` and `;` start comment lines. Nothing is ignored silently:
an unknown, repeated, empty or refused key is an error with file and line. What a key means (type, range, default, help)
is said by the row of the option that it sets, in `convert.py`, and so are the sections where the keyword of the option
is a key; here stand keys of other names, or of a type of their own where the file differs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from ...converter.errors import UsageError
from ...converter.text import nearest
from .config_key import Key, config_bytes, table_row
from .convert import ConvertOptions
from .convert_types import Method
from .flags import Given, fields_of, read_value
from .port_types import Shape
from .sections import COMMON, DATA, DYNAMIC, FLAT, FULL, MICRO, MIXED, REGISTRY, TRANSFORM, WEIGHT
from .types import Choice, Int, Listed, Real, Switch, Text

SECTIONS = (FLAT, COMMON, MIXED, FULL, WEIGHT, DATA, DYNAMIC, TRANSFORM, REGISTRY, MICRO)


class Positions(Listed):
    """A comma list of directories, one per model input in the model's order."""

    def __init__(self) -> None:
        super().__init__(Text("DIR"), "DIR,DIR,...")

    def parse(self, text: str) -> Any:
        return dict(enumerate(super().parse(text)))


class SampleShapes(Shape):
    """`1,32,32,3;1,10`: sizes of the inputs by position. A shape per sample (split by slashes) is refused."""

    def parse(self, text: str) -> Any:
        if "/" in text.strip("/ "):
            raise ValueError("has a shape per sample ('/'), which is not supported; all samples must have one shape")
        return {i: super(SampleShapes, self).parse(part) for i, part in enumerate(text.strip("/ ").split(";")) if part}


_THRESHOLD = Int(0, 65535)
_NOT_CPU = "is made for other devices; bitlite makes models for CPUs"
_CPU_ONLY = Choice(("CPU", "DSP", "KIRIN", "NVGPU", "ASCEND"))
_TYPES_2X = Choice(
    {"": "", "WEIGHT_QUANT": "WeightQuant", "FULL_QUANT": "PostTraining", "DYNAMIC_QUANT": "DynamicQuant"},
    {name: name for name in ("WeightQuant", "PostTraining", "DynamicQuant")},
)
_METHODS_2X = Method()
_METHODS_2X.also = {**_METHODS_2X.also, "RemovalOutlier": "REMOVAL_OUTLIER"}

_OTHER_NAMES: tuple[Key, ...] = (
    Key(FLAT, "image_path", "calibrate_path", Positions()),
    Key(FLAT, "batch_count", "calibrate_size"),
    Key(FLAT, "method_x", "activation_quant_method"),
    Key(FLAT, "thread_num", "threads", Int(1, 1024)),
    Key(FLAT, "input_shapes", "input_shape", SampleShapes()),
    Key(COMMON, "quant_type", "quant_type", _TYPES_2X),
    Key(COMMON, "min_quant_weight_size", "quant_weight_size", _THRESHOLD),
    Key(COMMON, "min_quant_weight_channel", "quant_weight_channel", _THRESHOLD),
    Key(COMMON, "skip_quant_node", "keep_float"),
    Key(COMMON, "workspace", note="not needed: large models are streamed"),
    Key(MIXED, "use_cv_data", type=Switch(), note="auto_tune judges by the calibration data"),
    Key(MIXED, "max_iterations", type=Int(40, 65535), note="not needed: a search tries at most 8 forms"),
    Key(FULL, "activation_quant_method", "activation_quant_method", Listed(_METHODS_2X, "METHOD,...")),
    Key(FULL, "target_device", type=_CPU_ONLY, refused=_NOT_CPU, harmless=("CPU", "DSP")),
    Key(FULL, "smooth_alpha", type=Real(), refused="activation smoothing is made for transformers on Ascend"),
    Key(FULL, "enable_smooth_shift", type=Switch(), refused="activation smoothing is not there", harmless=(False,)),
    Key(WEIGHT, "dequant_strategy", type=Choice(("ON_THE_FLY",)),
        refused="is a matter of the runtime here: `benchmark --keepPacked` unpacks weights on the fly"),
    Key(WEIGHT, "quant_strategy", "weight_rounding", Choice({"GPTQ": "output", "MAX_MIN": "nearest"})),
    Key(WEIGHT, "update_mindir", type=Switch(), refused="belongs to .mindir files", harmless=(False,)),
    Key(WEIGHT, "max_segments", type=Int(), refused="belongs to decoding on Ascend", harmless=(1,)),
    Key(WEIGHT, "bias_correction", "weight_correction"),
    Key(DYNAMIC, "quant_strategy", type=Choice(("ALWC", "ACWL")),
        refused="ACWL (per-channel activations) is not there; ALWC is", harmless=("ALWC",)),
    Key(TRANSFORM, "export_precision_mode", type=Choice(("QUANT", "FLOAT32")),
        refused="models that come quantized are kept quantized", harmless=("QUANT",)),
    Key(MICRO, "enable_micro", "output_format", Choice({"true": ("C",), "false": None})),
    Key(MICRO, "target", type=Choice(("Cortex-M", "x86", "ARM32", "ARM64")), note="the C code is the same for all"),
    Key(MICRO, "codegen_mode", type=Choice(("Inference", "Train")), refused="nothing is trained here",
        harmless=("Inference",)),
    Key(MICRO, "support_parallel", type=Switch(), refused="the C code runs on one core", harmless=(False,)),
    Key(MICRO, "debug_mode", type=Switch(), refused="the C code prints no tensors; `make test` compares its outputs",
        harmless=(False,)),
    Key(MICRO, "keep_original_weight", type=Switch(), refused="weights are written as the kernels take them",
        harmless=(False,)),
    Key(MICRO, "changeable_weights_name", refused="weights are constants in flash"),
    Key(MICRO, "inputs_shape", refused="--inputShape gives sizes; C code has fixed ones"),
    Key(MICRO, "dynamic_dim_params", refused="C code has fixed sizes; --inputShape gives them"),
    Key(REGISTRY, "disable_fusion", "optimize", Choice({"off": "general", "on": "none"})),
    Key(REGISTRY, "plugin_path", refused="plugins are C++ libraries for the other tool and cannot be loaded"),
    Key(REGISTRY, "fusion_blacklists", refused="names fusions of the other tool; see --skipPass for those of this one"),
)  # fmt: skip

KEYS: tuple[Key, ...] = (
    *_OTHER_NAMES,
    *(Key(section, name, name) for name, row in fields_of(ConvertOptions).items() for section in row.sections),
)

REFUSED_SECTIONS = {
    "cpu_option_cfg_param": "belongs to code generation; bitlite chooses CPU instructions at run time",
    "ascend_context": "Ascend devices are not a target",
    "acl_option_cfg_param": "Ascend devices are not a target",
    "acl_build_options": "Ascend devices are not a target",
    "acl_init_options": "Ascend devices are not a target",
    "custom_opp_path": "Ascend devices are not a target",
    "om_converter": "Ascend devices are not a target",
    "graph_kernel_param": "belongs to graph kernels on GPU and Ascend",
    "gpu_context": "GPUs are not a target",
}


def sections() -> dict[str, dict[str, Key]]:
    """Returns section → key name → key; the flat file is the section ""."""
    table: dict[str, dict[str, Key]] = {section: {} for section in SECTIONS}
    for key in KEYS:
        table[key.section][key.name] = key
    return table


def keys_of() -> dict[str, list[str]]:
    """Returns option → the keys that set it, for the docs."""
    table: dict[str, list[str]] = {}
    for key in KEYS:
        if key.option:
            table.setdefault(key.option, []).append(key.title)
    return table


def read_config(path: str | os.PathLike[str], origin: str = "config_file") -> Given:
    """Reads and checks a config file; `origin` says who named it, in an error line.

    Raises:
        UsageError: "config.cfg:3: ..." with the key, what is wrong, what is allowed.
    """
    return parse_config(config_bytes(path, origin), os.fspath(path))


def parse_config(data: bytes | str, shown: str = "config.cfg") -> Given:
    """Parses the content of a config file; `shown` is its name in error lines. Raises as `read_config`."""
    lines = list(_lines(data, shown))
    ini = any(text.startswith("[") for _, text in lines)
    table, given = sections(), Given()
    section, seen, opened = (FLAT if not ini else None), {}, {}
    for number, text in lines:
        here = f"{shown}:{number}"
        if text.startswith("["):
            section = _section(text, here, table)
            if section in opened:
                raise UsageError(f"{here}: [{section}] was already opened in line {opened[section]}")
            opened[section] = number
            continue
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise UsageError(f"{here}: {_short(text)!r} has no '='", hint="key=value, one per line")
        if not name:
            raise UsageError(f"{here}: {_short(text)!r} has no key before the '='", hint="key=value, one per line")
        if section is None:
            raise UsageError(f"{here}: {name} stands before the first [section]", hint=_home_of(name, table))
        key = table[section].get(name) or _unknown(name, section, here, table)
        if (section, name) in seen:
            raise UsageError(f"{here}: {name} was already given in line {seen[section, name]}")
        seen[section, name] = number
        _apply(key, value, here, given)
    return given


def _lines(data: bytes | str, shown: str) -> Iterable[tuple[int, str]]:
    """Yields (line number, text) of the lines that say something."""
    if isinstance(data, bytes):
        try:
            data = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise UsageError(f"{shown}:{line}: is not UTF-8 text (byte 0x{data[error.start]:02x})") from None
    for number, text in enumerate(data.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        text = text.strip()
        if any(ord(char) < 32 and char != "\t" for char in text):
            raise UsageError(f"{shown}:{number}: holds a control character: not a text file?")
        if text and text[0] not in "#;":
            yield number, text


def _section(text: str, here: str, table: dict[str, dict[str, Key]]) -> str:
    if not text.endswith("]"):
        raise UsageError(f"{here}: {_short(text)!r} is not a section header", hint=f"{_short(text)}]")
    name = text[1:-1].strip()
    if name in REFUSED_SECTIONS:
        raise UsageError(f"{here}: [{name}] is not supported: {REFUSED_SECTIONS[name]}")
    if not name or name not in table:
        near = nearest(name, (*table, *REFUSED_SECTIONS))
        known = ", ".join(f"[{known}]" for known in table if known)
        raise UsageError(f"{here}: [{_short(name)}] is not a known section", hint=f"[{near}]" if near else known)
    return name


def _unknown(name: str, section: str, here: str, table: dict[str, dict[str, Key]]) -> Key:
    where = f"in [{section}]" if section else "in a file without [sections]"
    homes = [other for other, keys in table.items() if name in keys]
    if homes:
        home = f"[{homes[0]}]" if homes[0] else "a file without [sections]"
        raise UsageError(f"{here}: {name} is not a key {where}: it belongs in {home}")
    near = nearest(name, table[section]) or nearest(name, {key.name for key in KEYS})
    if near and near not in table[section]:
        near = _home_of(near, table)
    raise UsageError(f"{here}: {_short(name)} is not a known key {where}", hint=near or ", ".join(table[section]))


def _home_of(name: str, table: dict[str, dict[str, Key]]) -> str:
    """Returns "[section] key" of a key, for hints."""
    title = next((keys[name].title for section, keys in table.items() if section and name in keys), "")
    if title:
        return title
    if name in table[FLAT]:
        return f"{name} in a file without [sections], or {_modern(table[FLAT][name])}"
    return "a [section] line above it"


def _modern(key: Key) -> str:
    return next((other.title for other in KEYS if other.section and key.option and other.option == key.option), "none")


def _apply(key: Key, value: str, here: str, given: Given) -> None:
    """Checks one value and adds it to what is given."""
    row = key.row()
    origin = f"{here}: {key.name}={_short(value)}"
    if not value and not (isinstance(row.type, Choice) and "" in row.type.words):
        raise UsageError(f"{here}: {key.name} has no value", hint=f"{key.name}={row.type.metavar}")
    try:
        result = read_value(row, value, origin)
    except UsageError as error:
        if " #" in value or " ;" in value:
            raise UsageError(f"{error} (a comment needs a line of its own)") from None
        raise
    if key.note:
        given.notes.append(f"{here}: {key.name}: {key.note}")
    if not key.option or not value or result is None:
        return
    where = f"{here} {key.name}"
    if key.option in given.values and given.values[key.option] != result:
        if not row.joins:
            raise UsageError(f"{where} contradicts {given.origins[key.option]}")
        before = given.values[key.option]
        result = {**before, **result} if isinstance(result, dict) else tuple(dict.fromkeys((*before, *result)))
    given.add(key.option, result, where)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def markdown() -> str:
    """Returns the tables of docs/: one for the flat file, one per section, and what is refused."""
    lines = []
    for section, keys in sections().items():
        title = f"[{section}]" if section else "The flat file of r1.x"
        lines += [f"### {title}", "", "| key | values | default | meaning |", "|---|---|---|---|"]
        lines += map(table_row, keys.values())
        lines.append("")
    lines += ["### Sections that are refused", ""]
    lines += [f"* `[{name}]`: {reason}" for name, reason in REFUSED_SECTIONS.items()]
    return "\n".join(lines) + "\n"
