# ruff: noqa: RUF009  (flag() makes a dataclass field: its call is the declaration)
"""What becomes codes, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...quant.selectors import Selector
from .convert_types import (
    ActivationBits,
    Bits,
    BlockSize,
    Selection,
)
from .flags import flag
from .port_types import Paired
from .sections import (
    COMMON,
    FLAT,
    FULL,
    MIXED,
    QUANT,
    WEIGHT,
)
from .types import Choice, Drop, Int, Listed, Real, RunTime, Size, Switch, Text

if TYPE_CHECKING:
    from ...quant.search.goal import MaxDrop, MaxTime


@dataclass(init=False, repr=False, eq=False)  # ConvertOptions makes these of all its rows
class QuantizationOptions:
    """What becomes codes, and how. One row per option; see `ConvertOptions`."""

    quant_type: str = flag(
        "quantType",
        Choice(
            {"": "", "WeightQuant": "WeightQuant", "PostTraining": "PostTraining", "DynamicQuant": "DynamicQuant"},
            {
                "WEIGHT_QUANT": "WeightQuant",
                "FULL_QUANT": "PostTraining",
                "DYNAMIC_QUANT": "DynamicQuant",
                "AwareTraining": "AwareTraining",
            },
        ),
        "",
        "weights only, everything int8 (needs data), or activations quantized at run time",
        group=QUANT,
        refused={"AwareTraining": "nothing is trained here; a model with fake quantization keeps its own scales"},
    )
    bit_num: int = flag(
        "bitNum",
        Int(0, 16),
        8,
        "bits of a quantized weight; PostTraining takes 1..8, DynamicQuant 8; 0: as few in each layer as initScale"
        " says",
        group=QUANT,
        sections=(COMMON,),
    )
    quant_weight_size: int = flag(
        "quantWeightSize",
        Int(0),
        0,
        "a weight is quantized when it has more elements than this",
        group=QUANT,
        aliases=("quantSize",),
    )
    quant_weight_channel: int = flag(
        "quantWeightChannel",
        Int(0),
        16,
        "a convolution is quantized when it has more output channels than this; with data, and this not given, others"
        " may have 8 bits and more",
        group=QUANT,
        aliases=("convWeightQuantChannelThreshold",),
    )
    gain_gate: bool = flag(
        "gainGate",
        Switch(on_off=True),
        True,
        "leave weights in float where the scales would eat the gain",
        group=QUANT,
        sections=(COMMON,),
    )
    fp16: bool = flag("fp16", Switch(on_off=True), False, "store the other float constants as float16", group=QUANT)
    keep_float: tuple[Selector, ...] = flag(
        "keepFloat",
        Listed(Selection(), "WHAT,..."),
        (),
        "parts to leave in float: name, /regex/, type:Op, 'from A to B', 'to A', 'from A'; !name takes out again",
        group=QUANT,
        sections=(FLAT, COMMON),
        joins=True,
    )
    accuracy_opt: bool = flag(
        "accuracyOpt",
        Switch(),
        False,
        "leave depthwise convolutions in float (PostTraining)",
        group=QUANT,
        advanced=True,
        sections=(FLAT, COMMON),
    )
    conv_group: bool = flag(
        "convGroup",
        Switch(),
        False,
        "group the channels of activations by their ranges where that makes the outputs better (PostTraining)",
        group=QUANT,
        advanced=True,
        sections=(FLAT, COMMON),
    )
    fold_concat_scale: bool = flag(
        "foldConcatScale",
        Switch(),
        True,
        "scales behind a Concat, and the ranges of its inputs, go into the layers around it",
        group=QUANT,
        advanced=True,
        sections=(FLAT, COMMON),
    )
    layer_bits: dict[str, int] = flag(
        "layerBits",
        Paired(Bits(), "NAME:BITS,...", ",", named=True),
        {},
        "bits of single layers, names as in keepFloat",
        group=QUANT,
        sections=(FLAT, COMMON),
        joins=True,
    )
    activation_bits: dict[str | int, int] = flag(
        "activationBits",
        Paired(ActivationBits(), "BITS,NAME:BITS,...", ","),
        {},
        "8 or 16 bits of activations: of all layers, of single ones, names as in keepFloat (PostTraining)",
        group=QUANT,
        joins=True,
    )
    mixed: bool = flag(
        "mixed",
        Switch(),
        False,
        "search for the bits of each layer on calibration data: the smallest file within meanErrorThreshold",
        group=QUANT,
        sections=(FLAT, COMMON),
    )
    mean_error_threshold: float = flag(
        "meanErrorThreshold",
        Real(0, 1, open_ends=True),
        0.04,
        "mean relative error of the outputs that mixed may cost",
        group=QUANT,
        sections=(FLAT, COMMON),
    )
    init_scale: float = flag(
        "initScale",
        Real(0, 1, open_ends=True),
        0.02,
        "relative error that weights of bitNum=0 may have, the mean over output channels: the larger, the fewer bits",
        group=QUANT,
        sections=(MIXED,),
    )
    auto_tune: bool = flag(
        "autoTune",
        Switch(),
        False,
        "with bitNum=0, search on calibration data for the smallest file whose outputs have a cosine of 0.995 with"
        " float, instead of initScale",
        group=QUANT,
        sections=(MIXED,),
    )
    max_drop: MaxDrop | None = flag(
        "maxDrop",
        Drop(),
        None,
        "the most that may be lost on samples held back, for which a search finds the smallest file: points of top-1 by"
        " labels, or of the metric in its own unit (0.5); share of samples whose class changes (1%); SQNR (20dB) or"
        " cosine (0.99cos) that the worst output must keep",
        group=QUANT,
        sections=(FLAT, COMMON),
    )
    target_size: float | None = flag(
        "targetSize",
        Size(),
        None,
        "the most bytes of the file, or share of those of the float model, within which a search loses least",
        group=QUANT,
        sections=(FLAT, COMMON),
    )
    target_time: MaxTime | None = flag(
        "targetTime",
        RunTime(),
        None,
        "the most time of one run here, or share of the float model's, within which a search stays (PostTraining)",
        group=QUANT,
        sections=(FLAT, COMMON),
    )
    pareto: str = flag(
        "pareto",
        Text("DIR"),
        "",
        "a folder for the front of size, time and loss over bits of layers and operators in float: a file for each form"
        " on it, a table and a picture of all that were tried",
        group=QUANT,
    )
    resume: bool = flag(
        "resume",
        Switch(),
        False,
        "go on with the search of the same model, data and options that was interrupted: its journal stands beside the"
        " output file",
        group=QUANT,
    )
    per_channel: bool = flag(
        "perChannel",
        Switch(),
        True,
        "one scale per output channel of a weight",
        group=QUANT,
        advanced=True,
        sections=(FLAT, FULL, WEIGHT),
    )
    float_weights: str = flag(
        "floatWeights",
        Choice(("int8", "float")),
        "int8",
        "how PostTraining stores the weights of layers that compute in float",
        group=QUANT,
        advanced=True,
    )
    block_size: int = flag(
        "blockSize",
        BlockSize(),
        0,
        "weights of 4 and 8 bits of matrix products in blocks of so many inputs, each with a scale; 0: one per output"
        " (WeightQuant)",
        group=QUANT,
        sections=(FLAT, COMMON),
    )
    block_zero_points: bool = flag(
        "blockZeroPoints",
        Switch(),
        False,
        "blocks have zero points, too: their codes span minimum to maximum",
        group=QUANT,
        advanced=True,
        sections=(FLAT, COMMON),
    )
    block_form: str = flag(
        "blockForm",
        Choice(("MatMulNBits", "DequantizeLinear")),
        "MatMulNBits",
        "how a .onnx says weights in blocks: onnxruntime's own operator, or the standard's from opset 21",
        group=QUANT,
        advanced=True,
    )
    weight_correction: bool = flag(
        "weightCorrection",
        Switch(),
        True,
        "keep mean and variance of each weight channel (WeightQuant)",
        group=QUANT,
        advanced=True,
    )
    weight_rounding: str = flag(
        "weightRounding",
        Choice(("output", "nearest")),
        "output",
        "with calibration data, round weights by what each layer gives, or each weight by itself; nearest also leaves"
        " biases alone, which at 4 and 5 bits follow images of noise where there are no data (WeightQuant)",
        group=QUANT,
        sections=(FLAT, COMMON),
    )
    enable_encode: bool = flag(
        "enableEncode",
        Switch(),
        True,
        "pack and compress weights; false only with 8 or 16 bits",
        group=QUANT,
        advanced=True,
        sections=(COMMON,),
    )
    onnx_weights: str = flag(
        "onnxWeights",
        Choice(("auto", "int8", "uint8")),
        "auto",
        "weights beside integers in a .onnx: int8 ones whose products no CPU saturates and uint8 for codes that come"
        " with the model (auto); int8 whatever they are; uint8, exact and slower",
        group=QUANT,
    )
