"""What the quantizers are asked for follows from the options."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from bitlite.converter.errors import UsageError
from bitlite.converter.formats import read_model
from bitlite.tools.options.read import options_of_kwargs
from bitlite.tools.options.settings import post_training_settings, settings_of, weight_settings

DIGITS = Path(__file__).parents[3] / "demo" / "digits.onnx"


def options(**keywords):
    return options_of_kwargs("m.onnx", "m", **keywords)


@dataclass
class Asked:
    gain_gate: bool = True
    th_binnum: int = 1
    alone: bool = False


def test_a_field_takes_the_option_of_its_name():
    given = options(quant_type="WeightQuant", gain_gate=False)
    assert settings_of(Asked, given, alone=True) == Asked(False, 2048, True)


def test_weights_are_asked_for_as_the_options_say():
    settings = weight_settings(options(quant_type="WeightQuant", bit_num=4, layer_bits={"a": 3}), container="onnx")
    assert (settings.bits, settings.layer_bits, settings.container) == (4, (("a", 3),), "onnx")
    assert settings.min_channels == 16 and settings.gain_gate and settings.per_channel


def test_post_training_knows_bits_by_node():
    graph = read_model(str(DIGITS))
    first = graph.nodes[0]
    data = {"quant_type": "PostTraining", "calibration_data": []}
    settings = post_training_settings(graph, options(**data, layer_bits={first.name: 5}, threads=3), None)
    assert settings.layer_bits == {first: 5} and settings.threads == 3 and settings.input_type == "DEFAULT"
    assert settings.float_weights is not None and settings.float_weights.bits == 8
    assert post_training_settings(graph, options(**data, float_weights="float"), None).float_weights is None
    with pytest.raises(UsageError, match="names no node"):
        post_training_settings(graph, options(**data, layer_bits={"nothing": 5}), None)
