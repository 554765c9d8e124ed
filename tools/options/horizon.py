"""Horizon's yaml (hb_mapper of J5, hb_compile of J6): its keys as the options of a conversion.

A row says what a key sets, or why it is refused; keys that mean something only together are read by a function of
their section. What belongs to the vendor's compiler is refused, or noted where its value changes no result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ...converter.errors import UsageError
from ...converter.text import nearest
from ...quant.selectors import parse_selector
from .config_key import Key, table_row
from .convert_types import Words
from .flags import Given, read_value
from .horizon_quant import ALL, Typed, floats, quant_config, widths
from .port_types import Paired, Shape
from .types import Choice, Int, Listed, OptionType, Real, Switch, Text

MODEL, INPUT, CALIBRATION, COMPILER, CUSTOM = (
    "model_parameters", "input_parameters", "calibration_parameters", "compiler_parameters", "custom_op",
)  # fmt: skip
_BPU = "belongs to the vendor's compiler; bitlite makes models for CPUs"
_NO_EFFECT = "has no effect: nothing is compiled for a BPU"
_SPACED = Choice(("rgb", "bgr", "yuv444", "gray", "featuremap"))


class _PerInput(OptionType):
    """Values of the inputs in their order, between semicolons."""

    def __init__(self, item: OptionType) -> None:
        self.item, self.metavar = item, f"{item.metavar};..."

    def parse(self, text: str) -> tuple[Any, ...]:
        return tuple(self.item.parse(part.strip()) for part in text.strip("; ").split(";"))

    def describe(self) -> str:
        return self.item.describe()


class _Values(Listed):
    """Numbers of channels, between blanks or commas."""

    def __init__(self) -> None:
        super().__init__(Real(), "R G B", length=(1, 3))

    def parse(self, text: str) -> tuple[Any, ...]:
        return super().parse(",".join(text.replace(",", " ").split()))


class _Sizes(Shape):
    """1x3x224x224"""

    metavar = "1x3x224x224"

    def parse(self, text: str) -> Any:
        return super().parse(text.replace("x", ","))


KEYS: tuple[Key, ...] = (
    Key(MODEL, "onnx_model", "model_file"),
    Key(MODEL, "prototxt", "model_file"),
    Key(MODEL, "caffe_model", "weight_file"),
    Key(MODEL, "march", type=Text("bayes-e|nash-e"), note=_NO_EFFECT + "; it says what calibration data are"),
    Key(MODEL, "output_model_file_prefix", "output_file"),
    Key(MODEL, "working_dir", "working_dir"),
    Key(MODEL, "output_nodes", type=Words("NAME;...")),
    Key(MODEL, "remove_node_type", "remove_node_type"),
    Key(MODEL, "remove_node_name", "remove_node"),
    Key(MODEL, "layer_out_dump", type=Switch(), refused="--dumpStages writes each stage as a file that runs",
        harmless=(False,)),
    Key(MODEL, "debug_mode", note="has no effect; --debugInfoSavePath, --dumpStages and --report show layers"),
    Key(MODEL, "log_level", note="has no effect"),
    Key(MODEL, "enable_vpu", type=Switch(), refused=_BPU, harmless=(False,)),
    Key(MODEL, "set_node_data_type",
        type=Paired(Choice(("int8", "int16", "float32")), "NAME:int16;...", ";", named=True)),
    Key(MODEL, "node_info"),
    Key(INPUT, "input_name", type=Words("NAME;...")),
    Key(INPUT, "input_type_rt", type=_PerInput(Choice(("rgb", "bgr", "yuv444", "gray", "nv12", "featuremap")))),
    Key(INPUT, "input_type_train", type=_PerInput(_SPACED)),
    Key(INPUT, "input_layout_rt", type=_PerInput(Choice(("NHWC", "NCHW")))),
    Key(INPUT, "input_layout_train", type=_PerInput(Choice(("NHWC", "NCHW"))), note="is told from the model"),
    Key(INPUT, "input_space_and_range", type=_PerInput(Choice({"regular": "full", "bt601_video": "video"}))),
    Key(INPUT, "input_shape", type=_PerInput(_Sizes())),
    Key(INPUT, "input_batch", "input_batch", Int(1, 128)),
    Key(INPUT, "separate_batch", "separate_batch"),
    Key(INPUT, "separate_name", type=Text("NAME"), refused="separate_batch makes inputs of every input"),
    Key(INPUT, "norm_type", type=_PerInput(
        Choice(("no_preprocess", "data_mean", "data_scale", "data_mean_and_scale", "data_std", "data_mean_and_std")))),
    Key(INPUT, "mean_value", type=_PerInput(_Values())),
    Key(INPUT, "scale_value", type=_PerInput(_Values())),
    Key(INPUT, "std_value", type=_PerInput(_Values())),
    Key(CALIBRATION, "cal_data_dir", type=_PerInput(Text("DIR"))),
    Key(CALIBRATION, "cal_data_type", type=_PerInput(Choice(("float32", "uint8", "int8"))),
        note="is told from the files"),
    Key(CALIBRATION, "preprocess_on", type=Switch(), note="is told from the files: images are resized to the network"),
    Key(CALIBRATION, "calibration_type", type=Choice(("default", "mix", "kl", "max", "load", "skip"))),
    Key(CALIBRATION, "max_percentile", type=Real(0.5, 1)),
    Key(CALIBRATION, "per_channel", type=Switch(), refused="activations have one scale per tensor, weights one per"
        " channel", harmless=(False,)),
    Key(CALIBRATION, "run_on_cpu", type=Words("NAME;...")),
    Key(CALIBRATION, "run_on_bpu", type=Words("NAME;..."), note="has no effect: what can be int8 is int8"),
    Key(CALIBRATION, "optimization", type=Words("WORD;...")),
    Key(CALIBRATION, "quant_config"),
    Key(COMPILER, "compile_mode", note=_NO_EFFECT),
    Key(COMPILER, "balance_factor", note=_NO_EFFECT),
    Key(COMPILER, "debug", note=_NO_EFFECT),
    Key(COMPILER, "optimize_level", note=_NO_EFFECT),
    Key(COMPILER, "jobs", note=_NO_EFFECT),
    Key(COMPILER, "cache_mode", note=_NO_EFFECT),
    Key(COMPILER, "cache_path", note=_NO_EFFECT),
    Key(COMPILER, "input_source"),
    Key(COMPILER, "core_num", type=Int(1), refused=_BPU, harmless=(1,)),
    Key(COMPILER, "max_time_per_fc", type=Int(0), refused=_BPU, harmless=(0,)),
    Key(COMPILER, "advice", type=Int(0), refused=_BPU, harmless=(0,)),
    Key(COMPILER, "ability_entry", refused=_BPU),
    Key(COMPILER, "extra_params", refused=_BPU),
    Key(COMPILER, "max_l2m_size", refused=_BPU),
    Key(COMPILER, "hbdk3_compatible_mode", type=Switch(), refused=_BPU, harmless=(False,)),
    Key(CUSTOM, "custom_op_method", refused="operators of one's own are not loaded"),
    Key(CUSTOM, "op_register_files", refused="operators of one's own are not loaded"),
    Key(CUSTOM, "custom_op_dir", refused="operators of one's own are not loaded"),
)  # fmt: skip
SECTIONS = tuple(dict.fromkeys(key.section for key in KEYS))
# Values that are mappings rather than text.
_NESTED = ("node_info", "input_source", "quant_config")


class _Sections:
    """What a file gives, section by section: values by key, and where each stands."""

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.values: dict[tuple[str, str], Any] = {}
        self.lines: dict[tuple[str, str], int] = {}

    def get(self, section: str, name: str, default: Any = None) -> Any:
        return self.values.get((section, name), default)

    def where(self, section: str, name: str) -> str:
        """ "x.yaml:3 norm_type"; without a line where the file does not have the key."""
        line = self.lines.get((section, name))
        return f"{self.shown}:{line} {name}" if line else f"{self.shown} {name}"


def read_yaml(data: bytes, shown: str) -> Given:
    """Reads and checks a yaml file; `shown` is its name in error lines.

    Raises:
        UsageError: "x.yaml:3: …" with the key, what is wrong, what is allowed; or PyYAML is missing.
    """
    given, found = Given(), _Sections(shown)
    table = {(key.section, key.name): key for key in KEYS}
    for section, name, value, line in _entries(data, shown):
        here = f"{shown}:{line}"
        key = table.get((section, name))
        if key is None:
            homes = [s for s, n in table if n == name]
            near = f"{homes[0]}: {name}" if homes else nearest(name, [n for s, n in table if s == section])
            raise UsageError(f"{here}: {name} is not a known key in {section}", hint=near)
        if (section, name) in found.values:
            raise UsageError(f"{here}: {name} was already given in line {found.lines[section, name]}")
        found.lines[section, name] = line
        if isinstance(value, (dict, list)) and name not in _NESTED:
            raise UsageError(f"{here}: {name} is a value, not a {'mapping' if isinstance(value, dict) else 'list'}")
        if name not in _NESTED or isinstance(value, str):
            value = read_value(key.row(), value, f"{here}: {name}={value}")
        found.values[section, name] = value
        if key.note:
            given.notes.append(f"{here}: {name}: {key.note}")
        if key.option:
            if key.option in given.values:
                raise UsageError(f"{here}: {name} contradicts {given.origins[key.option]}")
            given.add(key.option, value, f"{here} {name}")
    for fill in (_model, _inputs, _calibration):
        fill(found, given)
    return given


def _entries(data: bytes, shown: str) -> Iterator[tuple[str, str, Any, int]]:
    """Section, key, value (text, or a mapping or list of such) and line of each key that has a value."""
    try:
        import yaml
    except ImportError:
        raise UsageError(f"{shown}: reading yaml needs PyYAML", hint="pip install 'bitlite[yaml]'") from None
    try:
        root = yaml.compose(data, yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", "") or str(error).split("\n")[0]
        raise UsageError(f"{shown}{line}: is not yaml: {problem}") from None
    for section, block in _pairs(root, shown, "the file"):
        if section.value not in SECTIONS:
            near = nearest(section.value, SECTIONS)
            raise UsageError(
                f"{shown}:{section.start_mark.line + 1}: {section.value} is not a known section",
                hint=near or ", ".join(SECTIONS),
            )
        if block.tag.endswith(":null"):
            continue
        for key, value in _pairs(block, shown, section.value):
            plain = _plain(value)
            if plain not in ("", {}, []):
                yield section.value, str(key.value), plain, key.start_mark.line + 1


def _pairs(node: Any, shown: str, what: str) -> list[tuple[Any, Any]]:
    if node is None or node.id != "mapping" or any(key.id != "scalar" for key, _ in node.value):
        line = f":{node.start_mark.line + 1}" if node is not None else ""
        raise UsageError(f"{shown}{line}: {what} holds no keys", hint="key: value")
    return node.value


def _plain(node: Any, depth: int = 0) -> Any:
    """A node as text, lists and dicts of text; numbers and words of yaml as they are written."""
    if depth > 20:
        raise UsageError("yaml that deep is not read")
    if node.id == "mapping":
        return {str(key.value): _plain(value, depth + 1) for key, value in node.value}
    if node.id == "sequence":
        return [_plain(value, depth + 1) for value in node.value]
    return "" if node.tag.endswith(":null") else node.value


def _model(found: _Sections, given: Given) -> None:
    for name, fmk in (("onnx_model", "ONNX"), ("prototxt", "CAFFE")):
        if found.get(MODEL, name):
            given.add("fmk", fmk, found.where(MODEL, name))
    if nodes := found.get(MODEL, "output_nodes"):
        given.add("cut", ((), nodes), found.where(MODEL, "output_nodes"))
    if "output_file" not in given.values:
        given.add("output_file", "model", found.where(MODEL, "output_model_file_prefix"))
    if "working_dir" not in given.values:
        given.add("working_dir", "model_output", found.where(MODEL, "working_dir"))


def _inputs(found: _Sections, given: Given) -> None:
    """What the inputs are trained on and take."""
    names = found.get(INPUT, "input_name", ())
    count = max([len(v) for (s, n), v in found.values.items() if s == INPUT and isinstance(v, tuple)], default=1)

    def of(name: str, k: int, default: Any = None) -> Any:
        values = found.get(INPUT, name, ())
        if len(values) not in (0, count):
            raise UsageError(f"{found.where(INPUT, name)}: {len(values)} values for {count} inputs")
        return values[k] if values else default

    shapes = {names[k] if names else k: shape for k in range(count) if (shape := of("input_shape", k))}
    if shapes:
        given.add("input_shape", shapes, found.where(INPUT, "input_shape"))
    images = [k for k in range(count) if of("input_type_rt", k, "featuremap") != "featuremap"]
    if not images:
        return
    told = [_image_options(lambda name, default=None, k=k: of(name, k, default), found) for k in images]
    if any(other != told[0] for other in told):
        raise UsageError(f"{found.where(INPUT, 'input_type_rt')}: several images with steps of their own are not there")
    given.add("fuse_preprocess", True, found.where(INPUT, "input_type_rt"))
    if names and len(images) < count:
        given.add("pixel_inputs", tuple(names[k] for k in images), found.where(INPUT, "input_name"))
    for option, (value, key) in told[0].items():
        given.add(option, value, found.where(INPUT, key))
    if "resizer" in str(found.get(COMPILER, "input_source", "")):
        given.add("roi_input", True, found.where(COMPILER, "input_source"))


def _image_options(of: Callable[..., Any], found: _Sections) -> dict[str, tuple[Any, str]]:
    """One input's options, each with the key that says it."""
    train = of("input_type_train")
    if train in (None, "featuremap"):
        raise UsageError(f"{found.where(INPUT, 'input_type_train')}: an image input needs what it was trained on")
    told = {
        "image_to_format": (train.upper(), "input_type_train"),
        "pixel_format": (of("input_type_rt").upper(), "input_type_rt"),
        "pixel_layout": (of("input_layout_rt", "NHWC"), "input_layout_rt"),
        "pixel_range": (of("input_space_and_range", "full"), "input_space_and_range"),
    }
    mean, scale, std = of("mean_value"), of("scale_value"), of("std_value")
    if scale and std:
        raise UsageError(f"{found.where(INPUT, 'std_value')}: scale_value is given, too; one of them")
    kind = of("norm_type") or "".join(["mean"] * bool(mean) + ["scale"] * bool(scale) + ["std"] * bool(std))
    for word, values, key in (("mean", mean, "mean_value"), ("scale", scale, "scale_value"), ("std", std, "std_value")):
        if word not in kind:
            continue
        if not values and not (word == "scale" and std):
            raise UsageError(f"{found.where(INPUT, key)}: is missing with norm_type {kind}")
        if word == "mean":
            told["normalize_mean"] = (values, key)
            continue
        divisors = std or tuple(1 / v if v else 0.0 for v in values)
        if min(divisors) <= 0:
            raise UsageError(f"{found.where(INPUT, key)}: must be greater than 0 in every channel")
        told["normalize_std"] = (divisors, key)
    return told


def _calibration(found: _Sections, given: Given) -> None:
    kind = found.get(CALIBRATION, "calibration_type", "default")
    where = found.where(CALIBRATION, "calibration_type")
    if kind == "skip":
        raise UsageError(f"{where}: ranges come from data, not from random values", hint="max, with cal_data_dir")
    if kind != "load":
        given.add("quant_type", "PostTraining", where)
    percentile = found.get(CALIBRATION, "max_percentile", 1.0)
    methods = {"kl": ("KL",), "max": ("MAX_MIN",) if percentile == 1 else (f"PERCENTILE:{100 * percentile:g}",)}
    if kind in methods:
        given.add("activation_quant_method", methods[kind], where)
    names = found.get(INPUT, "input_name", ())
    if folders := found.get(CALIBRATION, "cal_data_dir"):
        if names and len(names) != len(folders):
            place = found.where(CALIBRATION, "cal_data_dir")
            raise UsageError(f"{place}: {len(folders)} directories for {len(names)} inputs")
        paths = {names[k] if names else k: folder for k, folder in enumerate(folders)}
        given.add("calibrate_path", paths, found.where(CALIBRATION, "cal_data_dir"))
    if march := found.get(MODEL, "march"):
        # J6 takes what the network takes; before it mean and scale are still to come.
        stage = "preprocessed" if march.startswith("nash") else "unnormalized"
        if given.values.get("fuse_preprocess"):
            given.add("sample_stage", stage, found.where(MODEL, "march"))
    types = _optimized(found.get(CALIBRATION, "optimization", ()), found.where(CALIBRATION, "optimization"), given)
    types += quant_config(found.get(CALIBRATION, "quant_config"), found.where(CALIBRATION, "quant_config"), given)
    types += [(f"'{n}'", k.removesuffix("32")) for n, k in found.get(MODEL, "set_node_data_type", {}).items()]
    types += quant_config(found.get(MODEL, "node_info"), found.where(MODEL, "node_info"), given, nodes=True)
    types += [(f"'{name}'", "float") for name in found.get(CALIBRATION, "run_on_cpu", ())]
    if not types:
        return
    where = next(found.where(*place) for place in _TYPING if found.get(*place))
    try:
        keep = tuple(dict.fromkeys(map(parse_selector, floats(types))))
    except ValueError as error:
        raise UsageError(f"{where}: a name {error}") from None
    for option, value in (("keep_float", keep), ("activation_bits", widths(types))):
        if value:
            given.add(option, value, where)


# The keys that say types, the one that errors are blamed on first.
_TYPING = (
    (CALIBRATION, "quant_config"), (CALIBRATION, "run_on_cpu"), (MODEL, "node_info"), (MODEL, "set_node_data_type"),
    (CALIBRATION, "optimization"),
)  # fmt: skip
_OPTIMIZATION: dict[str, tuple[str, Any]] = {
    "set_model_output_int8": ("output_data_type", "INT8"),
    "bias_correction": ("bias_correction", "sequential"),
}
_OF_TYPE = re.compile(r"set_(\w+)_(?:input|output)_(int8|int16)")


def _optimized(words: tuple[str, ...], where: str, given: Given) -> list[Typed]:
    """The types that words of `optimization` say; other settings go into `given`."""
    types: list[Typed] = []
    for word in words:
        named = _OF_TYPE.fullmatch(word)
        if word == "set_all_nodes_int16":
            types.insert(0, (ALL, "int16"))
        elif word in _OPTIMIZATION:
            given.add(*_OPTIMIZATION[word], where)
        elif word == "set_model_output_int16":
            raise UsageError(f"{where}: {word}: outputs are int8 or float", hint="set_model_output_int8")
        elif named:
            types.append((f"type:{named[1]}", named[2]))
        elif word != "asymmetric":
            known = ("set_all_nodes_int16", "set_OPERATOR_output_int16", "asymmetric", *_OPTIMIZATION)
            raise UsageError(f"{where}: {word} is not there", hint=", ".join(known))
    return types


def markdown() -> str:
    """The tables of docs/, one per section."""
    lines: list[str] = []
    for section in SECTIONS:
        lines += [f"### {section}", "", "| key | values | default | meaning |", "|---|---|---|---|"]
        lines += [table_row(key) for key in KEYS if key.section == section]
        lines.append("")
    return "\n".join(lines)
