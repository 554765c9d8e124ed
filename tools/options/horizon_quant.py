"""Horizon's quant_config: types of the model, of operators, of nodes and of stretches, as what stays in float.

The nearer word counts: node_config over subgraph_config over op_config over model_config.all_node_type over int8.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...converter.errors import UsageError
from .config_key import config_bytes
from .flags import Given

_FLOAT = ("float16", "float32", "float", "fp16", "fp32", "bfloat16")
_METHODS = {"kl": ("KL",), "max": ("MAX_MIN",), "default": ("AUTO",), "mix": ("AUTO",)}
SECTIONS = ("model_config", "op_config", "node_config", "subgraph_config")


def quant_config(config: Any, where: str, given: Given, nodes: bool = False) -> list[str]:
    """The selections, in order, that keepFloat takes; other settings go into `given`.

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
    model = _mapping(config.get("model_config", {}), "model_config", where)
    selections = _model(model, where, given)
    for op, value in _mapping(config.get("op_config", {}), "op_config", where).items():
        selections += _typed(f"type:{op}", value, f"{where}: op_config {op}")
    for name, value in _mapping(config.get("subgraph_config", {}), "subgraph_config", where).items():
        here = f"{where}: subgraph_config {name}"
        ends = _mapping(value, name, where)
        stretches = [f"from {a} to {b}" for a in _names(ends, "inputs", here) for b in _names(ends, "outputs", here)]
        qtype = {k: v for k, v in ends.items() if k not in ("inputs", "outputs")}
        selections += [s for text in stretches for s in _typed(text, qtype, here)]
    for name, value in _mapping(config.get("node_config", {}), "node_config", where).items():
        selections += _typed(name, value, f"{where}: node_config {name}")
    return selections


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


def _info(name: str, value: Any, where: str) -> dict[str, Any]:
    """{'ON': 'CPU', 'InputType': 'int8', …} as a qtype."""
    known = {"ON": ("CPU", "BPU"), "InputType": ("int8",), "OutputType": ("int8",)}
    for key, word in _mapping(value, name, where).items():
        allowed = known.get(key.rstrip("0123456789"), ())
        if word not in allowed:
            raise UsageError(f"{where}: {name}: {key}={word} is not there", hint=" or ".join(allowed))
    return {"qtype": "float32" if value.get("ON") == "CPU" else "int8"}


def _model(model: Mapping[str, Any], where: str, given: Given) -> list[str]:
    selections: list[str] = []
    for key, value in model.items():
        here = f"{where}: model_config {key}"
        if key == "all_node_type":
            selections += _typed("re:.*", {"qtype": value}, here)
        elif key == "model_output_type" and value in ("int8", "float32"):
            given.add("output_data_type", {"int8": "INT8", "float32": "FLOAT"}[value], here)
        elif key == "activation" and isinstance(value, Mapping) and set(value) <= {"calibration_type"}:
            kind = value.get("calibration_type", "default")
            if not isinstance(kind, str) or kind not in _METHODS:
                raise UsageError(f"{here}: calibration_type {kind} is not there", hint=", ".join(_METHODS))
            given.add("activation_quant_method", _METHODS[kind], here)
        else:
            raise UsageError(f"{here}: {value} is not there", hint="all_node_type, model_output_type, activation")
    return selections


def _typed(what: str, value: Any, here: str) -> list[str]:
    """What a type makes of a selection."""
    kinds = value if isinstance(value, Mapping) else {"qtype": value}
    other = next((key for key in kinds if key != "qtype"), None)
    if other is not None:
        raise UsageError(f"{here}: {other} is not there", hint="qtype")
    kind = kinds.get("qtype", "int8")
    if kind in _FLOAT:
        return [what]
    if kind == "int8":
        return [f"!{what}"]
    raise UsageError(f"{here}: {kind} is not there", hint="int8 or float32")
