"""From a model to a module in training: captured, calibrated, its integer graph laid out."""

from __future__ import annotations

import copy
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from ..converter.errors import UsageError
from ..converter.ir import Graph, Node
from ..quant.calibrate.data import Dataset, DataSpec
from ..quant.calibrate.first_layer import input_specs
from ..quant.progress import no_progress
from ..quant.ptq.calibration import calibration_statistics
from ..quant.ptq.integer_forms import IntegerForms, placement
from ..quant.ptq.layer_ranges import LayerRange
from ..quant.ptq.placement import weight_index
from ..quant.ptq.post_training import corrected_form
from ..quant.ptq.prepare import prepare as prepare_graph
from ..quant.ptq.result import Result
from ..quant.ptq.settings import Settings
from ..quant.selection import select
from ..quant.selectors import Selector, parse_selector
from ..quant.weights.weight_quant import WeightSettings
from .capture import capture
from .clamp import clamp as clamped
from .clamp import output_bounds, unclamped
from .distillation import Teacher
from .module import QatModule
from .skeleton import Skeleton, skeleton_of

Names = str | Sequence[str]
Bits = int | Mapping[str, int]


def prepare(
    model: nn.Module,
    example: Any,
    *,
    data: Any = None,
    weights: Bits = 8,
    activations: Bits = 8,
    keep_float: Names = (),
    freeze_norms_after: int | None = None,
    method: Names = "AUTO",
    calibrate_size: int = 100,
    teacher: nn.Module | None = None,
    clamp: float | None = None,
) -> QatModule:
    """A module that computes what the integer graph of `model` will, and trains like any other.

    Args:
        model: left as it is. example: its positional inputs, a float32 tensor or a tuple of them.
        data: calibration samples, as `bitlite.convert` takes them (arrays, a DataLoader, a function); the example
            where none are given. calibrate_size: how many of them are taken.
        weights: bits, 2 to 8; or bits by selector (a layer's name, "type:Conv", "re:…"), "" for all others.
        activations: bits, 8 or 16 (symmetric), or bits by selector; a later selector overrules an earlier one.
        keep_float: selectors of layers that stay in float.
        freeze_norms_after: training steps after which BatchNorms keep their statistics; None: never in training.
        teacher: a float model; after each forward in training, `distillation_loss` says how far the outputs are from
            its own, to be added to the loss.
        method: how the first ranges are chosen, an activation_quant_method of `bitlite.convert`.
        clamp: the largest magnitude of weights, biases and outputs of layers, as `qat.clamp(model, clamp)` sets it; a
            model that has such bounds keeps them without.
    Raises:
        UnsupportedError: control flow depends on values, or an operator is not read or cannot be trained.
        UsageError: bits out of range, a selector that names nothing. DataError: samples that do not fit.
    """
    model = model if clamp is None else clamped(model, clamp)
    skeleton = skeleton_of_model(model, example, data, weights, keep_float, method, calibrate_size, activations)
    taught = None if teacher is None else Teacher(teacher)
    return QatModule(copy.deepcopy(model), skeleton, freeze_norms_after, taught)


def skeleton_of_model(
    model: nn.Module,
    example: Any,
    data: Any,
    weights: Bits,
    keep_float: Names = (),
    method: Names = "AUTO",
    calibrate_size: int = 100,
    activations: Bits = 8,
) -> Skeleton:
    """The integer graph of a module with the scales of a calibration; the arguments are those of `prepare`."""
    chosen: dict[str, Any] = {}

    def finish(graph: Graph) -> None:
        kept = select(graph, selectors("keep_float", keep_float))
        prepare_graph(graph, kept)
        chosen["kept"] = kept

    captured = capture(unclamped(model), example, finish)
    captured.graph.name = type(model).__name__
    names = [n.name for n in chosen["kept"]]
    kept = {n for n in captured.graph.nodes if n.name in names}
    ranges = {name: LayerRange(most=most) for name, most in output_bounds(model).items()}
    samples = rows_of(example) if data is None else data
    result = laid_out(captured.graph, samples, weights, kept, method, calibrate_size, activations, ranges)
    free = {name: t.value for t in captured.graph.constants() if (name := t.name) in captured.free}
    return skeleton_of(result, captured.constants, free)


def rows_of(example: Any) -> Any:
    """Positional inputs as calibration samples, one of each row of their first axes."""
    inputs = example if isinstance(example, (tuple, list)) else (example,)
    arrays = [_unwrapped(x) for x in inputs]
    if len(arrays) == 1:
        return arrays[0]
    return list(zip(*arrays)) if all(a.ndim for a in arrays) else [tuple(arrays)]


def laid_out(
    graph: Graph,
    data: Any,
    weights: Bits,
    kept: Iterable[Node],
    method: Names = "AUTO",
    calibrate_size: int = 100,
    activations: Bits = 8,
    ranges: Mapping[str, LayerRange] | None = None,
    fitted: bool = False,
) -> Result:
    """The integer graph of a prepared float one as PostTraining makes it, with calibrated scales.

    ranges: by the name of a submodule. fitted: channels are evened out, codes and biases rounded and corrected on the
    samples; where not, weights are those of `graph`, rounded to the nearest.
    """
    bits, by_node = _weight_bits(graph, weights)
    samples = Dataset(DataSpec(source=_unwrapped(data), count=calibrate_size, where="data"), input_specs(graph))
    settings = Settings(
        methods=(method,) if isinstance(method, str) else tuple(method),
        bits=bits,
        layer_bits=by_node,
        activation_bits=_activation_bits(activations),
        kept=frozenset(kept),
        equalize=fitted,
        bias_correction="sequential" if fitted else "off",
        # Symmetric, without corrections: what every format can say.
        float_weights=WeightSettings(bits=bits, correction=False, container="tflite"),
        threads=os.cpu_count() or 1,
        layer_ranges=ranges or {},
    )
    graph.meta["rounding"] = "rne_f32"
    plan = placement(graph, settings)
    statistics = calibration_statistics(graph, plan, samples, settings, no_progress)
    return corrected_form(IntegerForms(graph, samples, settings, statistics), samples, no_progress)


def selectors(option: str, names: Names) -> list[Selector]:
    found = []
    for text in [names] if isinstance(names, str) else names:
        try:
            found.append(parse_selector(text))
        except ValueError as error:
            raise UsageError(f"{option}: {text!r} {error}") from None
    return found


def _weight_bits(graph: Graph, weights: Bits) -> tuple[int, dict[Node, int]]:
    by_name = _by_selector("weights", weights, range(2, 9), "2 to 8")
    rest = by_name.pop("", 8)
    # Every layer by its name: what PostTraining keeps at 8 bits by itself, training does not.
    found = {node: rest for node in graph.nodes if weight_index(node) is not None}
    for name, bits in by_name.items():
        found |= dict.fromkeys(select(graph, selectors("weights", name)), bits)
    return rest, found


def _activation_bits(activations: Bits) -> dict[str | int, int]:
    by_name = _by_selector("activations", activations, (8, 16), "8 and 16")
    selectors("activations", [name for name in by_name if name])
    return {0: by_name.pop("", 8), **by_name}


def _by_selector(option: str, given: Bits, allowed: Collection[int], said: str) -> dict[str, int]:
    """Selector → bits, "" for what no other means."""
    by_name = dict(given) if isinstance(given, Mapping) else {"": given}
    for name, bits in by_name.items():
        if isinstance(bits, bool) or not isinstance(bits, (int, np.integer)) or bits not in allowed:
            where = f" of {name!r}" if name else ""
            raise UsageError(f"{option}{where}: {bits!r} bits, allowed are {said}")
    return {name: int(bits) for name, bits in by_name.items()}


def _unwrapped(data: Any) -> Any:
    import torch

    return data.detach().cpu().numpy() if isinstance(data, torch.Tensor) else data
