"""A torch module as a float graph: exported to ONNX in memory, read by the importer, its constants traced back to the
module's parameters."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ..converter.errors import DataError, UnsupportedError
from ..converter.formats import read_model
from ..converter.ir import Graph
from ..converter.passes import for_target, run_passes
from .lineage import traced
from .onnx_norms import fold_norms
from .sources import Fixed, Given, Source

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass
class Captured:
    """A float graph before it is prepared. constants: tensor name → where its values come from. free: names of those
    that are computed from parameters in a way that is no mere order of elements; they are parameters of their own."""

    graph: Graph
    constants: dict[str, Source]
    free: list[str]


def capture(model: nn.Module, example: Any, finish: Callable[[Graph], None]) -> Captured:
    """The graph that `model` computes, in evaluation mode, for inputs like `example`.

    Args:
        example: the positional inputs: a tensor, or a tuple of tensors. The first axis may have another size later.
        finish: what else is done to each graph that is read.
    Raises:
        UnsupportedError: control flow depends on data, or an operator is not read; the line names it.
    """
    args = tuple(example) if isinstance(example, (tuple, list)) else (example,)
    for k, value in enumerate(args):
        if not isinstance(value, torch.Tensor):
            raise DataError(f"example: input {k} is a {type(value).__name__}, expected a tensor")
    args = tuple(value.detach().cpu() for value in args)
    given = {name: t.detach().cpu() for name, t in tensors_of(model).items()}
    marked = _marked(model, given)
    _check_control_flow(marked, args)
    proto = _exported(marked, args)
    sources: dict[str, Source] = {}
    for item in proto.graph.initializer:
        sources[item.name] = Given(item.name) if item.name in given else Fixed(_array(item))
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            sources.setdefault(node.output[0], Fixed(_array(node.attribute[0].t)))
    fold_norms(proto, sources, given)
    held = {name for node in proto.graph.node if node.op_type == "Constant" for name in node.output}
    needed = {name for node in proto.graph.node for name in node.input} - held
    initial = {name: source for name, source in sources.items() if name in needed}

    def read(values: Mapping[str, np.ndarray]) -> Graph:
        graph = _read(proto, values)
        finish(graph)
        return graph

    values = {name: source.value(given).detach().numpy() for name, source in initial.items()}
    graph, constants, free = traced(read, initial, values)
    return Captured(graph, constants, free)


def tensors_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name; a shared one by its first name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _marked(model: nn.Module, given: Mapping[str, torch.Tensor]) -> nn.Module:
    """A copy in evaluation mode with values that differ everywhere: the exporter merges parameters of equal values."""
    twin = copy.deepcopy(model).cpu().eval()
    random = np.random.default_rng(0)
    with torch.no_grad():
        for t in tensors_of(twin).values():
            if t.is_floating_point():
                t.copy_(torch.from_numpy(random.uniform(0.5, 1.5, tuple(t.shape)).astype(np.float32)))
    return twin


def _check_control_flow(model: nn.Module, args: Sequence[Any]) -> None:
    """Raises UnsupportedError where what runs depends on values."""
    with _quiet():
        try:
            torch.export.export(model, tuple(args), strict=False)
        except Exception as error:  # torch raises kinds of its own, and what the model's code raises
            raise UnsupportedError(
                f"{type(model).__name__} cannot be captured: {_reason(error)}",
                hint="torch.where, or a submodule without what depends on values",
            ) from error


def _reason(error: Exception) -> str:
    """The line of the model that torch could not follow, where it says one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for k, line in enumerate(lines):
        if line.startswith('File "') and k + 1 < len(lines) and "_export/" not in line:
            _, path, rest = line.split('"', 2)
            place = f"{os.path.basename(path)}{rest.replace(', line ', ':').split(',')[0]}"
            if "data-dependent" in lines[0].lower() or "Dynamic" in lines[0]:
                return f"control flow depends on values at {place}: {lines[k + 1]}"
            return f"{lines[0]} at {place}: {lines[k + 1]}"
    return lines[0] if lines else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what torch says while it exports to itself: what matters comes as an exception."""
    before = logging.root.manager.disable
    unseen = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(unseen), contextlib.redirect_stderr(unseen):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def _exported(model: nn.Module, args: tuple[Any, ...]) -> ModelProto:
    import onnx

    names = [
        p.name
        for p in inspect.signature(model.forward).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ][: len(args)]
    names += [f"input_{k}" for k in range(len(names), len(args))]
    buffer = io.BytesIO()
    with _quiet():
        try:
            torch.onnx.export(
                model,
                args,
                buffer,
                input_names=names,
                dynamic_axes={name: {0: "batch"} for name, value in zip(names, args) if value.ndim},
                do_constant_folding=False,
                training=torch.onnx.TrainingMode.PRESERVE,
                dynamo=False,
            )
        except Exception as error:
            raise UnsupportedError(f"{type(model).__name__} cannot be exported: {_reason(error)}") from error
    model_proto = onnx.load_from_string(buffer.getvalue())
    _name_outputs(model_proto)
    return model_proto


def _name_outputs(proto: ModelProto) -> None:
    """Gives the outputs names instead of numbers."""
    outputs = proto.graph.output
    fresh = {o.name: "output" if len(outputs) == 1 else f"output_{k}" for k, o in enumerate(outputs)}
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [fresh.get(name, name) for name in names]
    for o in outputs:
        o.name = fresh[o.name]


def _array(item: Any) -> np.ndarray:
    from onnx import numpy_helper

    return np.array(numpy_helper.to_array(item))


def _read(proto: ModelProto, values: Mapping[str, np.ndarray]) -> Graph:
    """The graph of the model with these initializers, after the passes that every conversion runs."""
    import onnx

    filled = onnx.ModelProto()
    filled.CopyFrom(proto)
    del filled.graph.initializer[:]
    filled.graph.initializer.extend(onnx.numpy_helper.from_array(np.array(a), name) for name, a in values.items())
    with tempfile.TemporaryDirectory(prefix="bitlite-") as folder:
        path = os.path.join(folder, "captured.onnx")
        with open(path, "wb") as stream:
            stream.write(filled.SerializeToString())
        graph = read_model(path)
    run_passes(graph, for_target("general"))
    for node in graph.nodes:
        source = node.origin or (node.name,)
        node.origin = tuple(dict.fromkeys((*source, *(name for part in source for name in _modules(part)))))
    return graph


def _modules(name: str) -> list[str]:
    """The submodules that a node of the exporter stands in, innermost first: layer1.0.conv, layer1.0 and layer1 of
    "/layer1/layer1.0/conv/Conv"."""
    parts = [part.rpartition(".")[2] for part in name.split("/")[1:-1]]
    return [".".join(parts[:k]) for k in range(len(parts), 0, -1)]
