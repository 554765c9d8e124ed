# ruff: noqa: RUF009  (flag() makes a dataclass field: its call is the declaration)
"""Every option of a conversion: one dataclass behind `converter_lite` and `bitlite.convert`, one row per option.

A row gives flag, Python keyword, type and range, default, help, docs, and the sections of a config file where its
keyword is a key; `config.py` has the keys of other names. Spellings: r1.x flags of MindSpore Lite first, 2.x and r0.x
ones beside them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from ...converter.errors import DataError, OutputError, Setting, UsageError
from ...converter.surgery.image_steps import PIXEL_FORMATS, RESIZE_MODES
from ...converter.text import unquote
from ...quant.calibrate import methods
from ...quant.search.goal import MaxDrop, MaxTime
from ...quant.selectors import Selector, parse_selector
from .flags import Row, as_flag, flag, help_page
from .types import (
    Choice,
    Drop,
    Function,
    Int,
    Labels,
    Listed,
    OptionType,
    Paired,
    PythonOnly,
    Real,
    RunTime,
    Shape,
    Size,
    Switch,
    Text,
    split_quoted,
)
from .workers import WORKERS, cluster_flag, cluster_memory_flag, cluster_timeout_flag, cluster_tls_flag, workers_flag

# Sections of a config file; "" is the flat file of MindSpore Lite r1.x.
FLAT = ""
COMMON = "common_quant_param"
MIXED = "mixed_bit_weight_quant_param"
FULL = "full_quant_param"
WEIGHT = "weight_quant_param"
DATA = "data_preprocess_param"
DYNAMIC = "dynamic_quant_param"
TRANSFORM = "transform_quant_param"
REGISTRY = "registry"
MICRO = "micro_param"

MODEL, QUANT, CALIB, IMAGE, GRAPH, RUN = "Model", "Quantization", "Calibration", "Images", "Graph", "Run and report"

_UNRECORDED = (
    "model_file", "output_file", "config_file", "calibrate_path", "dump_dist", "load_dist", "debug_info_save_path",
    "dump_ir", "dump_stages", "weight_file", "labels", "sample_stage",
    "working_dir", "resume", "cascade",
)  # fmt: skip
ENDINGS = {"MS": ".ms", "TFLITE": ".tflite", "ONNX": ".onnx"}
FORMATS = (*ENDINGS, "C")
MIXED_BIT = "bit 0, mixed bit widths found without data, is not there; mixed=true finds them on calibration data"
_NOT_READ = {
    "TF": "frozen TensorFlow graphs are not read: make ONNX of it by `python -m tf2onnx.convert --graphdef m.pb"
    " --inputs x:0 --outputs y:0 --output m.onnx`",
    "PYTORCH": 'PyTorch files are not read: make ONNX of it by `python -c "import torch;'
    " torch.onnx.export(torch.jit.load('m.pt'), torch.zeros(1, 3, 224, 224), 'm.onnx')\"`",
    "OM": "OM models hold code for Ascend devices: convert the model they were made from",
}


class ActivationBits(Choice):
    """8 or 16, as a word or a number."""

    def __init__(self) -> None:
        super().__init__({"8": 8, "16": 16})

    def check(self, value: Any) -> int:
        return super().check(str(value) if type(value) is int else value)


class BlockSize(Choice):
    """The sizes that onnxruntime takes."""

    def __init__(self) -> None:
        super().__init__({str(size): size for size in (0, 16, 32, 64, 128, 256)})

    def check(self, value: Any) -> int:
        return super().check(str(value) if type(value) is int else value)


class Method(Choice):
    """A threshold method; PERCENTILE takes its value after a colon (50..100, default 99.99)."""

    def __init__(self) -> None:
        also = {"RemovalOutlier": "REMOVAL_OUTLIER_R1", "MAX": "MAX_MIN", "MINMAX": "MAX_MIN", "MIN_MAX": "MAX_MIN"}
        super().__init__(("AUTO", *methods.names()), also)

    def parse(self, text: str) -> str:
        if text.upper().startswith("PERCENTILE"):
            tail = text[len("PERCENTILE") :].lstrip(":").replace("%", "") or "99.99"
            tail = {"9999": "99.99", "999": "99.9"}.get(tail, tail)
            return f"PERCENTILE:{Real(50, 100).parse(tail):g}"
        return super().parse(text)


class Bits(Int):
    """Bits of one layer, 1..16."""

    metavar = "BITS"

    def __init__(self) -> None:
        super().__init__(1, 16)


class Selection(OptionType):
    """The type of one selector, for `keepFloat` lists."""

    metavar = "SELECTION"

    def parse(self, text: str) -> Selector:
        return parse_selector(text)

    def check(self, value: Any) -> Selector:
        return value if isinstance(value, Selector) else super().check(value)


class Words(Listed):
    """Names, between commas or, as Horizon's yaml has them, semicolons; single quotes protect either."""

    def __init__(self, metavar: str) -> None:
        super().__init__(Text("NAME"), metavar)

    def parse(self, text: str) -> tuple[str, ...]:
        parts = [word for part in split_quoted(text, ";") for word in split_quoted(part, ",")]
        return tuple(unquote(word) for word in parts if word)


class Cut(OptionType):
    """The tensors between which a model is cut out: names, a colon, names."""

    metavar = "IN,...:OUT,..."

    def parse(self, text: str) -> Any:
        sides = split_quoted(text, ":")
        if len(sides) != 2 or not any(sides):
            raise ValueError(f"must read {self.metavar}; a name with a colon stands in single quotes")
        words = Words("NAME")
        return self.check(tuple(words.parse(side) for side in sides))

    def check(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.parse(value)
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            raise ValueError("must be two lists of names, of inputs and of outputs")
        return tuple(Words("NAME").check(side) for side in value)

    def show(self, value: Any) -> str:
        return ":".join(",".join(side) for side in value)


_IO_TYPES = Choice(("DEFAULT", "FLOAT", "INT8", "UINT8"), {"FLOAT32": "FLOAT"})
_IO_REFUSED = {name: f"{name} graph inputs and outputs are kept as the model has them; leave it DEFAULT"
               for name in ("FLOAT16", "INT32", "INT64")}  # fmt: skip
_LAYOUT = Choice({"": "", "NHWC": "NHWC", "NCHW": "NCHW"})
_SIZE = Int(1, 65535)
_CHANNELS = Listed(Real(), "[R,G,B]", length=(1, 3))


@dataclass
class ConvertOptions:
    """What a conversion shall do. `read.py` builds it and checks everything.

    `origins` says where a value was given ("--bitNum", "config.cfg:3 bit_num"), `notes` what a user should know.
    `spell` writes a setting as the face has it that the options came through, a flag or a keyword.
    """

    model_file: str = flag(
        "modelFile",
        Text("FILE"),
        "",
        "the model to convert: .tflite, .onnx, .mindir, .prototxt or .ms",
        group=MODEL,
        aliases=("modelPath",),
        required=True,
    )
    output_file: str = flag(
        "outputFile", Text("FILE"), "", "the file to write; .ms is appended", group=MODEL, required=True
    )
    fmk: str = flag(
        "fmk",
        Choice(
            {"": "", "TFLITE": "TFLITE", "ONNX": "ONNX", "CAFFE": "CAFFE", "MINDIR": "MINDIR", "MSLITE": "MSLITE"},
            {"TF": "TF", "MS": "MINDIR", "PYTORCH": "PYTORCH", "OM": "OM"},
        ),
        "",
        "what the model file is; told from the file when not given",
        group=MODEL,
        refused=_NOT_READ,
    )
    weight_file: str = flag(
        "weightFile",
        Text("FILE"),
        "",
        "weights of a CAFFE model, a .caffemodel; the one beside the .prototxt when not given",
        group=MODEL,
    )
    config_file: str = flag(
        "configFile",
        Text("FILE"),
        "",
        "config.cfg, the flat file of r1.x or the sections of 2.x; or Horizon's .yaml",
        group=MODEL,
        aliases=("config_file",),
    )
    cascade: str = flag(
        "cascade",
        Text("FILE"),
        "",
        "a yaml file of several networks, each calibrated on what the one before it gives; other flags are for all",
        group=MODEL,
    )
    input_shape: dict[str | int, tuple[int, ...]] = flag(
        "inputShape",
        Paired(Shape(), "NAME:D,D;...", ";"),
        {},
        'sizes of inputs, e.g. "x:1,3,224,224;y:1,10"; -1 leaves one open',
        group=MODEL,
    )
    input_data_format: str = flag(
        "inputDataFormat", _LAYOUT, "", "layout of 4-D graph inputs in the .ms (NHWC when not given)", group=MODEL
    )
    output_data_format: str = flag(
        "outputDataFormat", _LAYOUT, "", "layout of 4-D graph outputs in the .ms", group=MODEL
    )
    input_data_type: str = flag(
        "inputDataType",
        _IO_TYPES,
        "DEFAULT",
        "type of graph inputs",
        group=MODEL,
        aliases=("inputInferenceType",),
        refused=_IO_REFUSED,
    )
    output_data_type: str = flag(
        "outputDataType", _IO_TYPES, "DEFAULT", "type of graph outputs", group=MODEL, refused=_IO_REFUSED
    )
    output_format: tuple[str, ...] = flag(
        "outputFormat",
        Listed(Choice(FORMATS), "MS,TFLITE,ONNX,C"),
        ("MS",),
        "formats to write, one file each: MS, TFLITE, ONNX; and C, a folder of C99 for microcontrollers",
        group=MODEL,
    )
    working_dir: str = flag(
        "workingDir",
        Text("DIR"),
        "",
        "folder that outputFile is written into, made where it is missing",
        group=MODEL,
        advanced=True,
    )
    save_path: str = flag(
        "savePath",
        Text("DIR"),
        "",
        "of C code, where its folder is made; that of outputFile by default",
        group=MODEL,
        advanced=True,
        sections=(MICRO,),
    )
    project_name: str = flag(
        "projectName",
        Text("NAME"),
        "",
        "of C code, its folder, and what its functions begin with; that of outputFile by default",
        group=MODEL,
        advanced=True,
        sections=(MICRO,),
    )
    save_type: str = flag(
        "saveType",
        Choice(("MINDIR_LITE", "MINDIR")),
        "MINDIR_LITE",
        "form of the MS file",
        group=MODEL,
        advanced=True,
        refused={"MINDIR": "bitlite writes .ms (MINDIR_LITE), not .mindir"},
    )
    target: str = flag(
        "target",
        Choice(("bitlite", "mslite")),
        "bitlite",
        "mslite rounds int8 as the MindSpore Lite kernels do and keeps clear of their bugs",
        group=MODEL,
    )

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
        Int(1, 16),
        8,
        "bits of a quantized weight; PostTraining takes 1..8, DynamicQuant 8",
        group=QUANT,
        refused={0: MIXED_BIT},
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
        "a convolution is quantized when it has more output channels than this",
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
        "choose 2 to 8 bits for each layer on calibration data, to stay within meanErrorThreshold (WeightQuant)",
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

    calibrate_path: dict[str | int, str] = flag(
        "calibratePath",
        Paired(Text("DIR"), "NAME:DIR,...", ","),
        {},
        "directory of calibration samples of each input",
        group=CALIB,
        aliases=("imagePath",),
        sections=(DATA,),
    )
    calibrate_size: int = flag(
        "calibrateSize",
        _SIZE,
        100,
        "number of calibration samples",
        group=CALIB,
        aliases=("batchCount",),
        sections=(DATA,),
    )
    calibration_data: Any = flag(
        "", PythonOnly(), None, "iterable of arrays, lists or dicts, or a function that returns one", group=CALIB
    )
    labels: Any = flag(
        "labels",
        Labels(),
        None,
        "class numbers from 0 of the calibration samples, which then also give top-1 before and after: a file of one a"
        ' line in the order of the samples, or of "file-name label"; in Python a sequence',
        group=CALIB,
        sections=(FLAT, DATA),
    )
    metric: Any = flag(
        "",
        Function(),
        None,
        "instead of top-1, a function of (outputs, labels), lists of a {name: array} and a label for each sample, that"
        " returns a number, the larger the better, or one for each sample",
        group=CALIB,
    )
    activation_quant_method: tuple[str, ...] = flag(
        "activationQuantMethod",
        Listed(Method(), "METHOD,..."),
        ("AUTO",),
        "how ranges are chosen; of several, the best per tensor",
        group=CALIB,
        aliases=("method",),
    )
    bias_correction: str = flag(
        "biasCorrection",
        Choice(
            {"true": "sequential", "false": "off", "lockstep": "lockstep"},
            {"sequential": "sequential", "on": "sequential", "off": "off"},
        ),
        "sequential",
        "correct the mean of each layer's output; lockstep is MindSpore Lite's way",
        group=CALIB,
        sections=(FLAT, FULL),
    )
    th_binnum: int = flag(
        "thBinnum",
        Int(512, 4096),
        2048,
        "histogram bins of the threshold methods",
        group=CALIB,
        advanced=True,
        sections=(FLAT, FULL),
    )
    dump_dist: str = flag(
        "dumpDist",
        Text("FILE"),
        "",
        "write the collected statistics as JSON",
        group=CALIB,
        advanced=True,
        sections=(FLAT, FULL),
    )
    load_dist: str = flag(
        "loadDist",
        Text("FILE"),
        "",
        "read statistics written by dumpDist instead of running the model",
        group=CALIB,
        advanced=True,
        sections=(FLAT, FULL),
    )
    debug_info_save_path: str = flag(
        "debugInfoSavePath",
        Text("DIR"),
        "",
        "write per-layer tables (CSV and JSON) to this directory",
        group=CALIB,
        sections=(FLAT, COMMON),
    )

    input_type: str = flag(
        "inputType",
        Choice({"": "", "IMAGE": "IMAGE", "BIN": "BIN"}),
        "",
        "what the samples are; told from the files when not given",
        group=IMAGE,
        advanced=True,
        sections=(FLAT, DATA),
    )
    image_to_format: str = flag(
        "imageToFormat",
        Choice(("BGR", "RGB", "GRAY", "YUV444")),
        "BGR",
        "channel order fed to the model",
        group=IMAGE,
        sections=(FLAT, DATA),
    )
    normalize_mean: tuple[float, ...] = flag(
        "normalizeMean",
        _CHANNELS,
        (),
        "subtracted per channel (of 0..255)",
        group=IMAGE,
        advanced=True,
        sections=(FLAT, DATA),
    )
    normalize_std: tuple[float, ...] = flag(
        "normalizeStd", _CHANNELS, (), "divisor per channel", group=IMAGE, advanced=True, sections=(FLAT, DATA)
    )
    resize_width: int | None = flag(
        "resizeWidth", _SIZE, None, "width after resizing", group=IMAGE, advanced=True, sections=(FLAT, DATA)
    )
    resize_height: int | None = flag(
        "resizeHeight", _SIZE, None, "height after resizing", group=IMAGE, advanced=True, sections=(FLAT, DATA)
    )
    resize_method: str = flag(
        "resizeMethod",
        Choice(("LINEAR", "NEAREST", "CUBIC")),
        "LINEAR",
        "interpolation",
        group=IMAGE,
        advanced=True,
        sections=(FLAT, DATA),
    )
    center_crop_width: int | None = flag(
        "centerCropWidth",
        _SIZE,
        None,
        "width cut from the centre, after resizing",
        group=IMAGE,
        advanced=True,
        sections=(FLAT, DATA),
    )
    center_crop_height: int | None = flag(
        "centerCropHeight", _SIZE, None, "height cut from the centre", group=IMAGE, advanced=True, sections=(FLAT, DATA)
    )

    resize_mode: str = flag(
        "resizeMode",
        Choice(RESIZE_MODES),
        "WARP",
        "what becomes of proportions: WARP drops them, FIT_SMALL_SIZE covers the size, FIT_LARGE_SIZE_AND_PAD stays"
        " inside it, centred",
        group=IMAGE,
        advanced=True,
        sections=(FLAT, DATA),
    )
    resize_pad: float = flag(
        "resizePad",
        Real(0, 255),
        0.0,
        "value of the pixels around an image that FIT_LARGE_SIZE_AND_PAD pads",
        group=IMAGE,
        advanced=True,
        sections=(FLAT, DATA),
    )
    sample_stage: str = flag(
        "sampleStage",
        Choice({"": "", "raw": "raw", "unnormalized": "unnormalized", "preprocessed": "preprocessed"}),
        "",
        "whether arrays (.bin, .npy, .npz, LMDB, Python) are pixels, lack only mean and std, or are behind these steps;"
        " preprocessed when not given, to be given with fusePreprocess",
        group=IMAGE,
        sections=(FLAT, DATA),
    )
    fuse_preprocess: bool = flag(
        "fusePreprocess",
        Switch(),
        False,
        "put these steps into the model, which takes pixels as uint8",
        group=IMAGE,
        sections=(FLAT, DATA),
    )
    pixel_format: str = flag(
        "pixelFormat",
        Choice((*PIXEL_FORMATS, "NV12")),
        "RGB",
        "what pixels are: of raw arrays, and of what the model takes with fusePreprocess (NV12 as inputs _y and _uv)",
        group=IMAGE,
        sections=(FLAT, DATA),
    )
    pixel_layout: str = flag(
        "pixelLayout",
        Choice(("NHWC", "NCHW")),
        "NHWC",
        "order of the axes of pixels",
        group=IMAGE,
        sections=(FLAT, DATA),
    )
    pixel_range: str = flag(
        "pixelRange",
        Choice(("full", "video")),
        "full",
        "range of YUV pixels by BT.601: 0..255, or 16..235",
        group=IMAGE,
        sections=(FLAT, DATA),
    )
    pixel_inputs: tuple[str, ...] = flag(
        "pixelInputs",
        Words("NAME,..."),
        (),
        "inputs whose preprocessing goes into the model; all that take images when not given",
        group=IMAGE,
        sections=(FLAT, DATA),
    )
    image_size: tuple[int, ...] = flag(
        "imageSize",
        Listed(_SIZE, "H,W", length=(2,)),
        (),
        "height and width of pixels, where resizing or cropping changes them",
        group=IMAGE,
        sections=(FLAT, DATA),
    )
    roi_input: bool = flag(
        "roiInput",
        Switch(),
        False,
        "with fusePreprocess, one more input, _roi: left, top, right, bottom of what is cut out and resized",
        group=IMAGE,
        sections=(FLAT, DATA),
    )

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

    check: str = flag(
        "check", Text("[=FILE]"), "", "convert nothing; list what is supported of the model", group=RUN, bare="true"
    )
    verify: bool = flag(
        "verify", Switch(), False, "run what was written in the runtime it is for, when installed", group=RUN
    )
    opset: int = flag(
        "opset", Int(0, 23), 0, "opset of a written .onnx, 18 to 23; 0 = the first that has it all", group=RUN
    )
    read_back: bool = flag(
        "readBack",
        Switch(),
        True,
        "read what was written and compare it with its source, on a calibration sample or random input",
        group=RUN,
    )
    cost: bool = flag(
        "cost",
        Switch(),
        True,
        "end a quantization with what it cost: outputs against float, on a random input without data; time of a run",
        group=RUN,
    )
    diagnose: str = flag(
        "diagnose",
        Choice(("auto", "full", "off")),
        "auto",
        "where a PostTraining loses too much, look for the causes and try the cure of each: as many as a few seconds"
        " allow, all (full), or none (off)",
        group=RUN,
    )
    infer: bool = flag("infer", Switch(), False, "run the written model once on random input", group=RUN)
    report: tuple[str, ...] = flag(
        "report",
        Listed(Text("FILE"), "FILE,..."),
        (),
        "write the report: a page (.html), .json, .csv or .txt by its ending",
        group=RUN,
    )
    threads: int = flag("threads", Int(0, 1024), 0, "threads of calibration runs; 0 = all cores", group=RUN)
    workers: int = workers_flag()
    cluster: str = cluster_flag()
    cluster_tls: tuple[str, ...] = cluster_tls_flag()
    cluster_memory: str = cluster_memory_flag()
    cluster_timeout: float = cluster_timeout_flag()
    seed: int = flag("seed", Int(0), 0, "seed of every random choice", group=RUN)
    strict: bool = flag(
        "strict",
        Switch(),
        False,
        "take a warning for an error: nothing is written, and the exit status is 3",
        group=RUN,
    )
    quiet: bool = flag("quiet", Switch(), False, "print errors and warnings only", group=RUN)

    origins: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    notes: list[str] = field(default_factory=list, repr=False, compare=False)
    spell: Callable[[Setting], str] = field(default=str, repr=False, compare=False)

    def output_path(self, fmt: str = "MS") -> str:
        """Returns the file to write for one format: the ending is appended unless it is there; C is a folder."""
        stem = os.path.join(self.working_dir, self.output_file)
        if fmt == "C":
            folder, name = os.path.split(stem)
            return os.path.join(self.save_path or folder, self.project_name or name)
        for ending in ENDINGS.values():
            if stem.lower().endswith(ending) and (len(self.output_format) > 1 or ending == ENDINGS[fmt]):
                stem = stem[: -len(ending)]
                break
        return stem + ENDINGS[fmt]

    @property
    def data_layout(self) -> str:
        """Layout of 4-D calibration samples: that of the inputs of the file written first, "" for the model's own."""
        return self.input_data_format or ("NHWC" if self.output_format[:1] == ("MS",) else "")

    def given(self, name: str) -> bool:
        """True when somebody set this option on purpose."""
        return name in self.origins

    def where(self, name: str) -> str:
        """Returns the place to name in an error line about this option."""
        return self.origins.get(name) or self.spell(Setting(name))

    @property
    def chooses_bits(self) -> bool:
        """Whether the bits of layers are found on calibration data."""
        return self.mixed or self.searches

    @property
    def searches(self) -> bool:
        """Whether forms are tried until a goal is met."""
        return any(goal is not None for goal in (self.max_drop, self.target_size, self.target_time))

    @property
    def scores(self) -> bool:
        """Whether outputs are scored, by labels or a metric."""
        return self.labels is not None or self.metric is not None

    @contextlib.contextmanager
    def blame(self, *names: str) -> Iterator[None]:
        """Puts the place where an option was given in front of an error that it causes: of several, the one that the
        error speaks of, else the first."""
        try:
            yield
        except (UsageError, DataError, OutputError) as error:
            line = error.line(self.spell)
            said = [name for name in names if self.where(name).split()[-1] in line] or list(names)
            given = [name for name in said if self.given(name)]
            if not given or any(self.where(name) in line for name in names):
                raise
            raise error.reworded(f"{self.where(given[0])}: {error.message}") from None

    def as_dict(self) -> dict[str, Any]:
        """Returns the options that differ from their defaults, JSON-ready, as the written file records them.

        What cannot change the model stays out, and so do the paths of this machine.
        """
        shown = {}
        for f in fields(self):
            row = f.metadata.get("row")
            if (
                row is None
                or not row.name
                or (row.group in (RUN, WORKERS) and f.name != "seed")
                or f.name in _UNRECORDED
            ):
                continue
            value = getattr(self, f.name)
            if value != row.default:
                shown[f.name] = row.type.show(value)
        return shown


def flag_of(setting: Setting) -> str:
    """Spells a setting of a conversion as `converter_lite` takes it."""
    return as_flag(ConvertOptions, setting)


def _off(name: str, default: Any, reason: str, option_type: OptionType | None = None, **row: Any) -> Row:
    """A flag of MindSpore Lite that bitlite knows and refuses unless it has its default."""
    return Row(name, option_type or Text(), default, "", refused={...: reason}, **row)


REFUSED: tuple[Row, ...] = (
    _off("trainModel", False, "bitlite does not train models on the device", Switch(), bare="true"),
    _off("encryption", False, "bitlite does not write encrypted models", Switch(), bare="true"),
    _off("encryptKey", "", "bitlite does not write encrypted models"),
    _off("decryptKey", "", "bitlite does not read encrypted models; decrypt the file first"),
    _off("decryptMode", "", "bitlite does not read encrypted models; decrypt the file first"),
    _off("device", "CPU", "bitlite makes models for CPUs; other devices need their own compilers"),
    _off("optimizeTransformer", False, "these fusions are made for GPUs and Ascend", Switch(), bare="true"),
    _off("obfuscation", False, "bitlite does not obfuscate models", Switch(), bare="true"),
    _off("inferenceType", "FLOAT", "it had no effect in the other tool; --quantType says what is stored"),
    _off("stdDev", "128", "input scales come from calibration; give --inputDataType=UINT8 for an integer input"),
    _off("mean", "-0.5", "input scales come from calibration; give --inputDataType=UINT8 for an integer input"),
)


USAGE = """\
converter_lite --modelFile=m.tflite --outputFile=m [--quantType=WeightQuant --bitNum=8]
Converts a model, quantizes it on request, and writes a MindSpore Lite .ms (or TFLite, ONNX)."""


def help_text(everything: bool = False) -> str:
    """Returns the page of `converter_lite --help`."""
    return help_page(ConvertOptions, USAGE, everything=everything, refused=REFUSED)
