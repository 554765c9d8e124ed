"""Horizon's types of the model, of operators, of nodes and of stretches: what stays in float, and what has 16 bits.

The nearer word counts: node_config over subgraph_config over op_config over model_config.all_node_type over int8.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ...converter.errors import UsageError
from .config_key import config_bytes
from .flags import Given

_TYPES = {"int8": "int8", "int16": "int16"} | dict.fromkeys(
    ("float16", "float32", "float", "fp16", "fp32", "bfloat16"), "float"
)
_METHODS = {"kl": ("KL",), "max": ("MAX_MIN",), "default": ("AUTO",), "mix": ("AUTO",)}
SECTIONS = ("model_config", "op_config", "node_config", "subgraph_config")
ALL = "re:.*"

Typed = tuple[str, str]
"""A selection as in keepFloat, and its type: int8, int16 or float."""


def floats(types: Iterable[Typed]) -> list[str]:
    """What keepFloat takes of the types, in order; nothing where no part is float."""
    types = list(types)
    if not any(kind == "float" for _, kind in types):
        return []
    return [what if kind == "float" else f"!{what}" for what, kind in types]


def widths(types: Iterable[Typed]) -> dict[str | int, int]:
    """What activationBits takes of the types, in order, 0 for all nodes; nothing where no part has 16 bits."""
    bits: dict[str | int, int] = {}
    for what, kind in types:
        key: str | int = 0 if what == ALL else what
        bits.pop(key, None)
        if kind != "float":
            bits[key] = 16 if kind == "int16" else 8
    if 16 not in bits.values():
        return {}
    return {key: bits[key] for key in sorted(bits, key=lambda key: key != 0)}


def quant_config(config: Any, where: str, given: Given, nodes: bool = False) -> list[Typed]:
    """The types, the nearer ones last; other settings go into `given`.

    Args:
        config: the mapping, the path of a JSON file that holds it, or None. nodes: it is a node_info of J5.
    Raises:
        UsageError: a key or a type that is not there.
    """
    if config is None:
        return []
    if isinstance(config, str):
        config = _loaded(config, where)
    if not isinstance(config, Mapping):
        raise UsageError(f"{where}: holds no keys", hint=", ".join(SECTIONS))
    if nodes:
        config = {"node_config": {name: _info(name, value, where) for name, value in config.items()}}
    for name in config:
        if name not in SECTIONS:
            raise UsageError(f"{where}: {name} is not a known key", hint=", ".join(SECTIONS))
    types = _model(_mapping(config.get("model_config", {}), "model_config", where), where, given)
    for op, value in _mapping(config.get("op_config", {}), "op_config", where).items():
        types.append((f"type:{op}", _type(value, f"{where}: op_config {op}")))
    for name, value in _mapping(config.get("subgraph_config", {}), "subgraph_config", where).items():
        here = f"{where}: subgraph_config {name}"
        ends = _mapping(value, name, where)
        stretches = [f"from {a} to {b}" for a in _names(ends, "inputs", here) for b in _names(ends, "outputs", here)]
        kind = _type({k: v for k, v in ends.items() if k not in ("inputs", "outputs")}, here)
        types += [(text, kind) for text in stretches]
    for name, value in _mapping(config.get("node_config", {}), "node_config", where).items():
        types.append((name, _type(value, f"{where}: node_config {name}")))
    return types


def _loaded(path: str, where: str) -> Any:
    try:
        return json.loads(config_bytes(path, where))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: {path} is not JSON: {error}") from None


def _mapping(value: Any, name: str, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where}: {name} holds no keys")
    return value


def _names(ends: Mapping[str, Any], name: str, here: str) -> list[str]:
    names = ends.get(name)
    if not isinstance(names, list) or not names:
        raise UsageError(f"{here}: {name} is missing: a list of node names")
    return [str(n) for n in names]


def _info(name: str, value: Any, where: str) -> str:
    """{'ON': 'CPU', 'InputType': 'int16', …} as a type."""
    known = {"ON": ("CPU", "BPU"), "InputType": ("int8", "int16"), "OutputType": ("int8", "int16")}
    for key, word in _mapping(value, name, where).items():
        allowed = known.get(key.rstrip("0123456789"), ())
        if word not in allowed:
            raise UsageError(f"{where}: {name}: {key}={word} is not there", hint=" or ".join(allowed or known))
    if value.get("ON") == "CPU":
        return "float"
    return "int16" if "int16" in value.values() else "int8"


def _model(model: Mapping[str, Any], where: str, given: Given) -> list[Typed]:
    types: list[Typed] = []
    for key, value in model.items():
        here = f"{where}: model_config {key}"
        if key == "all_node_type":
            types.append((ALL, _type(value, here)))
        elif key == "model_output_type" and value in ("int8", "float32"):
            given.add("output_data_type", {"int8": "INT8", "float32": "FLOAT"}[value], here)
        elif key == "activation" and isinstance(value, Mapping):
            _activation(value, here, given)
        elif key == "weight" and isinstance(value, Mapping) and set(value) <= {"bias_correction"}:
            given.add("bias_correction", "sequential" if value else "off", here)
        else:
            raise UsageError(
                f"{here}: {value} is not there",
                hint="all_node_type, model_output_type of int8 or float32, activation, weight: bias_correction",
            )
    return types


def _activation(settings: Mapping[str, Any], here: str, given: Given) -> None:
    """calibration_type, max_percentile and num_bin, of which each may be a list to choose from: AUTO chooses."""
    for key, value in settings.items():
        values = value if isinstance(value, list) else [value]
        allowed = {"per_channel": (False, "false", "False"), "asymmetric": (True, "true", "True")}.get(key)
        if allowed is None and key not in ("calibration_type", "max_percentile", "num_bin"):
            raise UsageError(f"{here}: {key} is not there", hint="calibration_type, max_percentile, num_bin")
        if allowed is not None and not set(map(str, values)) <= set(map(str, allowed)):
            raise UsageError(f"{here}: {key}={value}: activations have one scale and zero point per tensor")
    kinds = settings.get("calibration_type", "default")
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if not isinstance(kind, str) or kind not in _METHODS:
            raise UsageError(f"{here}: calibration_type {kind} is not there", hint=", ".join(_METHODS))
    kind = _only(kinds, "mix")
    percentile = _number(_only(settings.get("max_percentile", 1), 1), 0.5, 1, f"{here}: max_percentile")
    methods = (f"PERCENTILE:{100 * percentile:g}",) if kind == "max" and percentile < 1 else _METHODS[kind]
    given.add("activation_quant_method", methods, here)
    bins = _only(settings.get("num_bin"), None)
    if bins is not None:
        given.add("th_binnum", int(_number(bins, 512, 4096, f"{here}: num_bin")), here)


def _only(value: Any, several: Any) -> Any:
    """The one value that is given; `several` for a list of more."""
    if not isinstance(value, list):
        return value
    return value[0] if len(value) == 1 else several


def _number(value: Any, low: float, high: float, here: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = low - 1
    if not low <= number <= high:
        raise UsageError(f"{here}: {value} must be {low:g} to {high:g}")
    return number


def _type(value: Any, here: str) -> str:
    """int8, int16 or float."""
    kinds = value if isinstance(value, Mapping) else {"qtype": value}
    other = next((key for key in kinds if key != "qtype"), None)
    if other is not None:
        raise UsageError(f"{here}: {other} is not there", hint="qtype")
    kind = kinds.get("qtype", "int8")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise UsageError(f"{here}: {kind} is not there", hint="int8, int16 or float32")
    return _TYPES[kind]
