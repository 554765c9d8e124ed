# ruff: noqa: RUF009  (flag() makes a dataclass field: its call is the declaration)
"""What is done to the graph."""

from __future__ import annotations

from dataclasses import dataclass

from .convert_types import (
    Cut,
    Words,
)
from .flags import flag
from .port_types import Paired
from .sections import (
    GRAPH,
)
from .types import Choice, Int, Listed, Real, Switch, Text


@dataclass(init=False, repr=False, eq=False)  # ConvertOptions makes these of all its rows
class GraphOptions:
    """What is done to the graph. One row per option; see `ConvertOptions`."""

    cut: tuple[tuple[str, ...], tuple[str, ...]] | tuple[()] = flag(
        "cut",
        Cut(),
        (),
        "keep what lies between tensors: those that become inputs, a colon, those that become outputs; either side may"
        " be empty",
        group=GRAPH,
    )
    remove_node: tuple[str, ...] = flag(
        "removeNode",
        Words("NAME,..."),
        (),
        "nodes to remove from the ends of the model, by name, in order",
        group=GRAPH,
    )
    remove_node_type: tuple[str, ...] = flag(
        "removeNodeType",
        Words("OP,..."),
        (),
        "operators to remove from the ends of the model, in order: Quantize, Transpose, Dequantize, Cast, Reshape,"
        " Softmax, or another",
        group=GRAPH,
    )
    add_output: tuple[str, ...] = flag(
        "addOutput", Words("NAME,..."), (), "tensors, or nodes, that become outputs, too", group=GRAPH
    )
    rename: dict[str, str] = flag(
        "rename",
        Paired(Text("NAME"), "OLD:NEW,...", ",", named=True),
        {},
        "other names of inputs and outputs",
        group=GRAPH,
    )
    not_merge: tuple[str, ...] = flag(
        "notMerge",
        Words("NAME,..."),
        (),
        "convolutions into which no scale, bias or activation behind them is merged",
        group=GRAPH,
    )
    pad_value: dict[str, float] = flag(
        "padValue",
        Paired(Real(), "NAME:X,...", ",", named=True),
        {},
        "what convolutions pad with, instead of 0",
        group=GRAPH,
    )
    input_batch: int | None = flag(
        "inputBatch", Int(1, 65535), None, "samples of one run of the written model", group=GRAPH
    )
    separate_batch: bool = flag(
        "separateBatch", Switch(), False, "an input per sample of inputBatch, _0, _1, …", group=GRAPH
    )
    optimize: str = flag(
        "optimize",
        Choice(("general", "none"), {"gpu_oriented": "gpu_oriented", "ascend_oriented": "ascend_oriented"}),
        "general",
        "graph passes to run",
        group=GRAPH,
        refused={
            name: f"{name} fusions are made for other devices; bitlite targets CPUs"
            for name in ("gpu_oriented", "ascend_oriented")
        },
    )
    skip_pass: tuple[str, ...] = flag(
        "skipPass", Listed(Text("PASS")), (), "passes to leave out, by name", group=GRAPH, joins=True
    )
    dump_ir: str = flag("dumpIR", Text("DIR"), "", "write the graph as text before and after each pass", group=GRAPH)
    dump_stages: str = flag(
        "dumpStages",
        Text("DIR"),
        "",
        "write the model after each stage (original, optimized, calibrated, quantized) as files that run, and samples",
        group=GRAPH,
    )
    layer_outputs: bool = flag(
        "layerOutputs",
        Switch(),
        False,
        "with dumpStages, also a float and a quantized test network that give the values of every layer",
        group=GRAPH,
    )
